import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.reports import Accepted, Refused
from holdfast.engine.audit import audit, configure_logging
from holdfast.engine.jsonl_book import Book
from holdfast.engine.masking import forget_secrets, register_secret
from holdfast.errors import InputError
from holdfast.testing.builders import EPOCH, DeskDriver
from holdfast.testing.world import VirtualClock


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The log's stream; at INFO, on a clock that stands."""
    stream = io.StringIO()
    handle = configure_logging("info", stream=stream, clock=VirtualClock())
    yield stream
    handle.close()
    forget_secrets()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def tell(bench: DeskDriver) -> None:
    """Audit everything that happened on a desk."""
    book = Book()
    for seq, event in enumerate(bench.events, 1):
        given = book.take(seq, event)
        for line in (given.order, given.error):
            if line is not None:
                audit(line)


def test_an_order_is_audited_with_everything_that_identifies_it(stream: io.StringIO) -> None:
    """Session, order, symbol, side, price, attempt and latency stand in each line (scenario 48)."""
    bench = DeskDriver()
    bench.submit("buy", "10", limit_price="249.93", client_order_id="mine", strategy="momentum")
    bench.answer(Accepted(broker_order_id="B1"))
    tell(bench)

    _, accept = lines(stream)
    assert accept == {
        "event": "accept",
        "reason": None,
        "error": None,
        "seq": 4,
        "session_id": f"{EPOCH}-1",
        "team_id": "d",
        "strategy_name": "momentum",
        "order_id": "mine",
        "broker_order_id": "B1",
        "symbol": "X",
        "side": "buy",
        "quantity": "10",
        "limit_price": "249.93",
        "execution_mode": "paper",
        "status": "open",
        "attempt": 1,
        "latency_ms": 1.0,
        "recorded_at": "1970-01-01T00:00:01.005000000Z",
        "level": "info",
        "logger": "holdfast.audit",
        "timestamp": "2026-01-05T14:30:00.000000000Z",
    }


def test_what_went_wrong_is_a_warning_with_its_code(stream: io.StringIO) -> None:
    """A refusal is told twice: as the order's end and as an error with its code (scenario 48)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Refused(text="margin of user=bob, token=S3CRET"))
    tell(bench)

    told = [(line["level"], line["event"]) for line in lines(stream)]
    assert told == [("info", "submit"), ("info", "reject"), ("warning", "error")]
    assert lines(stream)[-1]["error_type"] == "REJECTED_OTHER"
    assert "margin" in stream.getvalue()
    assert "bob" not in stream.getvalue()
    assert "S3CRET" not in stream.getvalue()


def test_every_logger_of_the_package_is_masked_tracebacks_included(stream: io.StringIO) -> None:
    """Arguments, extras, nested values and exceptions of any holdfast logger (scenario 95)."""
    register_secret("hunter2-and-more")
    log = logging.getLogger("holdfast.link")
    log.warning("login of %s failed", "username=bob", extra={"headers": {"X-Api-Key": "K3Y"}})
    try:
        raise ValueError("refused: hunter2-and-more") from OSError("Authorization: Bearer B34R")
    except ValueError:
        log.exception("no luck with %r", {"password": "P4SS w0rd"})

    text = stream.getvalue()
    first, second = lines(stream)
    assert (first["event"], first["headers"]) == (
        "login of username=*** failed",
        {"X-Api-Key": "***"},
    )
    assert "ValueError: refused: ***" in second["exception"]
    assert "Traceback" in second["exception"]
    for secret in ("bob", "K3Y", "hunter2", "B34R", "P4SS", "w0rd"):
        assert secret not in text


def test_a_file_is_appended_to_and_others_are_left_alone(tmp_path: Path) -> None:
    """The log of one run follows that of another; loggers of the program are not touched."""
    path = tmp_path / "run.log"
    for run in range(2):
        handle = configure_logging("warning", file=path)
        logging.getLogger("holdfast.x").warning("run %d", run)
        logging.getLogger("holdfast.x").info("too small to be told")
        handle.close()
    logging.getLogger("holdfast.x").warning("after the end")

    assert [json.loads(each)["event"] for each in path.read_text().splitlines()] == [
        "run 0",
        "run 1",
    ]
    assert logging.getLogger("holdfast").propagate
    assert not logging.getLogger("holdfast").handlers


def test_a_log_that_cannot_be_set_up_is_refused(tmp_path: Path) -> None:
    """A level nobody knows, or two places at once, are refused and change nothing."""
    with pytest.raises(InputError, match="level is 'loud'"):
        configure_logging("loud")
    with pytest.raises(InputError, match="not both"):
        configure_logging(stream=io.StringIO(), file=tmp_path / "a.log")
    with pytest.raises(OSError, match="missing"):
        configure_logging(file=tmp_path / "missing" / "a.log")
    assert not logging.getLogger("holdfast").handlers


def test_without_a_log_audit_lines_are_masked_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A program with logging of its own gets the same lines, masked (scenario 95)."""
    bench = DeskDriver()
    bench.submit(strategy="abc@example.org")
    with caplog.at_level(logging.INFO, logger="holdfast.audit"):
        tell(bench)

    (record,) = caplog.records
    told: Any = record.msg
    assert told["event"] == "submit"
    assert told["strategy_name"] == "***"
