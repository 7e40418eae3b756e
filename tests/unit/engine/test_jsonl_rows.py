import json
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.reports import Accepted, NotSent, Refused, Unknown
from holdfast.engine.jsonl_book import Book
from holdfast.engine.jsonl_rows import Lines
from holdfast.testing.builders import EPOCH, DeskDriver


def rows(bench: DeskDriver, name: str = "order") -> list[dict[str, Any]]:
    """Return the rows of a file as plain tools read them."""
    book = Book()
    given = [book.take(seq, event) for seq, event in enumerate(bench.events, 1)]
    return [as_json(line) for each in given if (line := getattr(each, name)) is not None]


def as_json(line: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(line))
    return found


def actions(bench: DeskDriver) -> list[str]:
    return [row["action"] for row in rows(bench)]


def test_a_submit_and_its_answer_are_rows_with_true_figures() -> None:
    """Side, quantity, price, attempt, latency and ids are the order's, as strings (scenario 48)."""
    bench = DeskDriver()
    bench.submit("buy", "10", limit_price="249.93", client_order_id="mine", strategy="momentum")
    bench.now_ns += 249 * NS_PER_MS
    bench.answer(Accepted(broker_order_id="B1"))

    submit, accept = rows(bench)
    assert submit == {
        "seq": 3,
        "timestamp": "1970-01-01T00:00:01.004000000Z",
        "session_id": f"{EPOCH}-1",
        "bot_version": "",
        "config_hash": "",
        "action": "submit",
        "team_id": "d",
        "strategy_name": "momentum",
        "order_id": "mine",
        "broker_order_id": "",
        "symbol": "X",
        "side": "buy",
        "order_type": "limit",
        "quantity": "10",
        "limit_price": "249.93",
        "execution_mode": "paper",
        "status": "new",
        "filled_quantity": "0",
        "attempt": 1,
        "latency_ms": None,
        "error": None,
        "submitted_at": "1970-01-01T00:00:01.004000000Z",
        "reason": None,
    }
    assert (accept["action"], accept["status"], accept["broker_order_id"]) == (
        "accept",
        "open",
        "B1",
    )
    assert (accept["attempt"], accept["latency_ms"]) == (1, 250.0)
    assert accept["submitted_at"] == submit["timestamp"]


def test_a_row_names_the_program_and_configuration_of_its_run() -> None:
    """Version and digest are those of the start before it, also when rows are made anew (48)."""
    bench = DeskDriver()
    bench.submit()
    bench.step(inputs.Resume(wall_offset_ns=0, version="1.2.3", config="abc"))
    bench.submit()

    found = [
        (row["bot_version"], row["config_hash"]) for row in rows(bench) if row["action"] == "submit"
    ]
    assert found == [("", ""), ("1.2.3", "abc")]


def test_a_cancel_is_asked_sent_and_confirmed_with_who_and_why() -> None:
    """Each step of a cancel is a row; the wish's own attempt and latency are told (scenario 48)."""
    bench = DeskDriver()
    bench.opened()
    bench.step(inputs.Cancel(client_order_id=bench.wire_id(), by="ann", reason="enough"))
    bench.now_ns += 99 * NS_PER_MS
    bench.say("canceled")

    found = rows(bench)[2:]
    assert [row["action"] for row in found] == ["cancel", "cancel_sent", "cancel_confirmed"]
    assert found[0]["reason"] == "ann: enough"
    assert (found[2]["attempt"], found[2]["latency_ms"], found[2]["status"]) == (
        1,
        100.0,
        "canceled",
    )


def test_an_end_that_nobody_asked_for_is_no_confirmed_cancel() -> None:
    """The broker's own end, and the last fill, are rows called end (scenario 48)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("canceled")
    bench.opened()
    bench.trade("t1", "4", number=2)
    bench.trade("t2", "6", number=2)

    assert [(row["action"], row["status"]) for row in rows(bench) if row["action"] == "end"] == [
        ("end", "canceled"),
        ("end", "filled"),
    ]


def test_what_was_not_answered_or_not_sent_is_told_with_its_attempt() -> None:
    """Timeouts, repeats and refusals are rows and errors, none is left out (scenario 48)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(NotSent(text="429"))
    bench.advance(600)
    bench.answer(Unknown(text="timeout"))

    assert actions(bench)[:4] == ["submit", "submit_not_sent", "submit_retry", "submit_unknown"]
    assert [row["attempt"] for row in rows(bench)[:4]] == [1, 1, 2, 2]
    assert [(r["error_type"], r["timeout"], r["message"]) for r in rows(bench, "error")] == [
        ("SUBMIT_NOT_SENT", False, "429"),
        ("SUBMIT_UNKNOWN", True, "timeout"),
    ]


def test_a_failed_cancel_is_an_error_with_its_order() -> None:
    """A refused cancel names its phase, order and strategy (scenario 48)."""
    bench = DeskDriver()
    bench.opened(strategy="momentum")
    bench.cancel()
    bench.answer(Refused(text="not now"), wish=1)

    error = rows(bench, "error")[-1]
    assert (error["error_type"], error["phase"], error["strategy"]) == (
        "CANCEL_REFUSED",
        "cancel",
        "momentum",
    )
    assert error["order_id"] == bench.wire_id()
    assert "not now" in error["message"]
    assert "cancel_refused" in actions(bench)


def test_a_replace_and_a_status_check_are_rows() -> None:
    """What was asked beside submits and cancels stands there, answered or not (scenario 48)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(limit_price="101")
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    bench.step(inputs.Checked(number=1, tries=4))

    found = rows(bench)[2:]
    assert [row["action"] for row in found] == [
        "replace",
        "replace_sent",
        "replace_confirmed",
        "status_error",
    ]
    assert found[2]["limit_price"] == "101"
    assert (found[3]["attempt"], found[3]["error"]) == (4, "the broker gave no answer in 4 tries")


def test_the_trades_of_an_order_add_up_to_what_it_filled() -> None:
    """Corrections, busts and real trades for inferred ones add their difference (scenario 83)."""
    bench = DeskDriver()
    order = bench.opened("buy", "10")
    bench.trade("t1", "2", "100")
    bench.poll(bench.snapshot(cumulative="7", average_price="100"))
    bench.advance(3_000)
    bench.trade("t2", "5", "101", fee="0.5", fee_currency="USD")
    bench.correct("t1", "t1b", "3", "100")
    bench.bust("t2")

    found = rows(bench, "trade")
    assert [row["action"] for row in found] == ["trade", "trade", "trade", "correction", "bust"]
    assert [row["inferred"] for row in found] == [False, True, False, False, False]
    assert [row["net_quantity"] for row in found] == ["2", "5", "0", "1", "-5"]
    assert sum(D(row["net_quantity"]) for row in found) == order.filled_quantity
    assert sum(D(row["net_value"]) for row in found) == order.notional
    assert (found[2]["execution_price"], found[2]["fee"]) == ("101", "0.5")


def test_a_partial_fill_then_a_cancel_leaves_one_trade_row() -> None:
    """Five of ten, then canceled: one trade of five, and the order is not open (scenario 52)."""
    bench = DeskDriver()
    bench.opened("buy", "10", limit_price="530")
    bench.trade("t1", "5", "529.5")
    bench.say("canceled")

    (trade,) = rows(bench, "trade")
    assert (trade["trade_quantity"], trade["execution_price"], trade["requested_price"]) == (
        "5",
        "529.5",
        "530",
    )
    book = Book()
    for seq, event in enumerate(bench.events, 1):
        book.take(seq, event)
    assert list(book.pending()) == []


def test_alerts_refusals_and_anomalies_are_errors_by_their_codes() -> None:
    """A strategy's error is named with its strategy, phase and code (scenario 48)."""
    book, at_ns = Book(), NS_PER_S
    opened = e.DeskOpened(at_ns=at_ns, desk="d", epoch=EPOCH, account="a", currency="USD")
    events: list[e.AnyEvent] = [
        opened,
        e.AlertRaised(at_ns=at_ns, code="STRATEGY_TIMEOUT", text="slow", strategy="momentum"),
        e.RefusalRecorded(
            at_ns=at_ns, code="POSITION_LIMIT", text="limit=5", symbol="X", side="buy", quantity="9"
        ),
        e.AnomalyRecorded(at_ns=at_ns, code="OVERFILL", text="more than asked"),
        e.BreakerOpened(at_ns=at_ns, reason="INSUFFICIENT_FUNDS", until_ns=2),
    ]
    errors = [book.take(seq, event).error for seq, event in enumerate(events, 1)][1:]
    found = [as_json(error) for error in errors]

    assert [(row["error_type"], row["phase"], row["timeout"]) for row in found] == [
        ("STRATEGY_TIMEOUT", "strategy", True),
        ("POSITION_LIMIT", "limits", False),
        ("OVERFILL", "anomaly", False),
        ("BREAKER_OPENED", "breaker", False),
    ]
    assert found[0]["strategy"] == "momentum"
    assert (found[1]["symbol"], found[1]["side"], found[1]["quantity"]) == ("X", "buy", "9")


def test_secrets_in_texts_of_events_are_masked() -> None:
    """A broker's words can hold credentials; no row shows them (scenarios 48, 95)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Refused(text="bad token=S3CRET for account 5QR12345"))

    assert "reject" in actions(bench)
    text = json.dumps([rows(bench), rows(bench, "error")])
    assert "S3CRET" not in text
    assert "5QR12345" not in text


def test_times_are_shown_by_the_wall_and_sessions_by_the_journal() -> None:
    """A start begins a session named after its record; a set clock moves shown times only."""
    bench = DeskDriver()
    bench.opened()
    resumed = bench.step(inputs.Resume(wall_offset_ns=3_600 * NS_PER_S))
    bench.say("canceled")

    row = rows(bench)[-1]
    seq = bench.events.index(resumed.events[0]) + 1
    assert row["session_id"] == f"{EPOCH}-{seq}"
    assert row["timestamp"].startswith("1970-01-01T01:00:01")


def test_a_record_out_of_turn_is_refused() -> None:
    """A book that missed a record would tell lies; it refuses the next one."""
    bench = DeskDriver()
    book = Book()
    assert book.take(1, bench.events[0]) == Lines()
    with pytest.raises(ValueError, match="record 3 was given where 2 comes next"):
        book.take(3, bench.events[1])
