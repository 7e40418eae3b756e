"""Bodies beside the records: what was changed in them is found, and not used."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import holdfast.sync
from holdfast.domain.instruments import Instrument
from holdfast.errors import JournalDamaged, JournalVersionError
from holdfast.journal.rows import body_hash
from holdfast.journal.schema import FORMAT
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import verify
from holdfast.ports import StoredSnapshot
from holdfast.testing.journal_kit import made, order_row, write
from holdfast.testing.scripted import ScriptedBroker

Change = Callable[..., None]

BODY = b'{"position":"125"}'
FLIP = "body = CAST(replace(CAST(body AS TEXT), '125', '725') AS BLOB)"


@pytest.fixture
def kept(path: Path) -> Path:
    """A closed journal with two ended orders of one body, and a snapshot of each of two desks."""
    journal = SqliteJournal(path)
    for desk in ("alpha", "beta"):
        batch = made(1, 3, desk=desk)
        batch.orders = [order_row(1, ["c:one"], BODY), order_row(2, ["c:two", "b:2"], BODY)]
        write(journal, batch)
        journal.save_snapshot(desk, StoredSnapshot(seq=2, format=1, body=BODY))
    journal.close()
    assert verify(path).intact
    return path


@pytest.mark.parametrize(
    "changed",
    [FLIP, "body = x''", "hash = zeroblob(32)", "hash = x''"],
)
def test_a_changed_order_is_named_and_not_given_out(
    kept: Path, change: Change, changed: str
) -> None:
    """One flipped digit that is still JSON: verify names the order, recall refuses it by number,
    and the orders beside it are given out as ever (scenario 86).
    """
    change(f"UPDATE orders SET {changed} WHERE desk = 'beta' AND number = 2")

    problems = verify(kept).problems
    journal = SqliteJournal(kept)

    assert {(each.desk, each.seq) for each in problems} == {("beta", 0)}
    assert any("desk 'beta': the body of order 2 is not what" in each.text for each in problems)
    with pytest.raises(JournalDamaged, match=r"desk 'beta': the body of order 2 .*backup"):
        journal.recall("beta", ["c:one", "b:2"])
    with pytest.raises(JournalDamaged, match="body of order 2 is not what was written"):
        journal.bodies("beta", [1, 2])
    assert journal.recall("beta", ["c:one"]) == {"c:one": BODY}
    assert journal.bodies("alpha", [1, 2]) == {1: BODY, 2: BODY}
    assert journal.recovery_report == ""
    journal.close()


def test_an_order_that_stands_under_another_number_is_named(kept: Path, change: Change) -> None:
    """The hash covers whose body it is, so two rows cannot change places unnoticed."""
    change("UPDATE orders SET number = 9 WHERE desk = 'alpha' AND number = 1")
    change("UPDATE orders SET number = 1 WHERE desk = 'alpha' AND number = 2")
    change("UPDATE orders SET number = 2 WHERE desk = 'alpha' AND number = 9")

    assert sorted(each.text[:36] for each in verify(kept).problems) == [
        "desk 'alpha': the body of order 1 is",
        "desk 'alpha': the body of order 2 is",
    ]


@pytest.mark.parametrize("changed", [FLIP, "seq = 1", "format = 7", "hash = zeroblob(32)"])
def test_a_changed_snapshot_is_named_and_not_used(
    kept: Path, change: Change, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    """Verify names the desk; at start it is left out, which is said, and all records are folded."""
    change(f"UPDATE snapshots SET {changed} WHERE desk = 'beta'")

    [problem] = verify(kept).problems
    journal = SqliteJournal(kept)

    assert (problem.desk, problem.seq) == ("beta", 0)
    assert "desk 'beta': the snapshot after record" in problem.text
    with caplog.at_level(logging.WARNING):
        assert journal.load_snapshot("beta") is None
    assert "snapshot after record" in caplog.text
    assert "desk 'beta': the snapshot" in journal.recovery_report
    assert "all records are folded" in journal.recovery_report
    assert journal.load_snapshot("alpha") == StoredSnapshot(seq=2, format=1, body=BODY)
    journal.close()


def test_the_next_snapshot_replaces_a_damaged_one(kept: Path, change: Change) -> None:
    """Once the desk was folded again and kept, the journal is intact."""
    change(f"UPDATE snapshots SET {FLIP} WHERE desk = 'beta'")
    journal = SqliteJournal(kept)
    journal.save_snapshot("beta", StoredSnapshot(seq=3, format=1, body=BODY))
    journal.close()

    assert verify(kept).intact


def test_a_position_does_not_change_with_its_snapshot(path: Path, change: Change) -> None:
    """A flipped digit in the snapshot of a desk costs a fold, and no wrong position (trap 49)."""
    broker = ScriptedBroker()

    def opened() -> AbstractContextManager[holdfast.sync.OrderManager]:
        return holdfast.sync.OrderManager.open(
            journal=path, broker=broker, instruments=[Instrument.of("TSLA")]
        )

    with opened() as om:
        order = om.place_limit_order("TSLA", "buy", 125, "250", wait="accepted")
        om.loop.call_soon_threadsafe(broker.fill, order.wire_id, 125, "250")
        om.wait(order.client_order_id, timeout=10.0)
    change(f"UPDATE snapshots SET {FLIP} WHERE instr(body, '125')")

    assert any("snapshot" in each.text for each in verify(path).problems)
    with opened() as om:
        assert om.positions()["TSLA"].quantity == 125


def test_a_long_body_is_covered_to_its_last_byte() -> None:
    """It is hashed piece by piece; no piece is left out, and no key passes for another."""
    body = bytes(range(256)) * 40
    changed = [body[:at] + b"?" + body[at + 1 :] for at in (0, 2046, 2047, 2048, len(body) - 1)]
    hashes = {body_hash(each, "alpha", 12) for each in (body, body[:-1], *changed)}
    keys = {body_hash(body, *key) for key in (("alpha", 12), ("alpha1", 2), ("alpha", 1, 2))}

    assert len(hashes) == 7
    assert len(keys) == 3


def test_a_format_of_before_the_hashes_is_refused(kept: Path, change: Change) -> None:
    """A journal without them cannot be checked; the message says which format it has."""
    change(f"PRAGMA user_version = {FORMAT - 1}")

    for open_it in (SqliteJournal, SqliteJournal.read_only, verify):
        with pytest.raises(JournalVersionError, match=f"format {FORMAT - 1}, from before"):
            open_it(kept)
