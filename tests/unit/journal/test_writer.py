"""The writing thread: what waits together becomes durable together, and the disk is told why."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import current_thread, main_thread
from typing import Any, Final

import apsw
import pytest

from holdfast.errors import JournalDamaged, JournalUnwritable, SequenceConflict
from holdfast.journal.rows import EXECUTIONS, ROWS_PER_STATEMENT_MAX, Insert, text
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch, StoredSnapshot
from holdfast.testing.journal_kit import (
    Receipt,
    accepted,
    execution_row,
    made,
    numbers,
    order_row,
    raised,
    write,
)

Open = Callable[..., SqliteJournal]
Change = Callable[..., None]


class Gate:
    """A first batch whose `done` holds the writing thread until `open` is called."""

    def __init__(self, journal: SqliteJournal, desk: str = "gate") -> None:
        self._held, self._opened = Flag(), Flag()
        journal.append(made(1, desk=desk), self._hold)
        assert self._held.wait(10)

    def _hold(self, error: BaseException | None) -> None:
        assert error is None
        self._held.set()
        assert self._opened.wait(10)

    def open(self) -> None:
        self._opened.set()


def test_what_waits_is_committed_together(opened: Open) -> None:
    """While a commit runs, batches gather, and one transaction takes them all."""
    journal = opened()
    gate = Gate(journal)
    receipts = [Receipt(journal, made(seq)) for seq in range(1, 101)]
    assert journal.statistics()["pending"] == 100
    gate.open()
    assert [receipt.wait() for receipt in receipts] == [None] * 100
    counts = journal.statistics()
    assert (counts["commits"], counts["batches"], counts["batches_per_commit_max"]) == (2, 101, 100)
    assert counts["pending"] == 0


def test_one_transaction_takes_a_bounded_number_of_events(opened: Open) -> None:
    """However much waits, the first is not made to wait for all of it."""
    journal = opened()
    gate = Gate(journal)
    receipts = [Receipt(journal, made(1 + 1000 * place, 1000)) for place in range(12)]
    gate.open()
    assert [receipt.wait() for receipt in receipts] == [None] * 12
    assert journal.statistics()["batches_per_commit_max"] == 5


def test_a_commit_takes_few_statements(opened: Open) -> None:
    """A transaction's statements do not grow with its rows: each gives up the interpreter's lock
    and waits for it again, which a busy desk makes long.
    """
    journal = opened()
    ran: list[str] = []
    journal._connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: ran.append(event["sql"]))
    batch = made(1, 256)
    batch.orders = [order_row(number, [f"c:{number}"]) for number in range(256)]
    batch.executions = [execution_row(f"e{number}", "1") for number in range(256)]
    write(journal, batch)
    journal._connection.trace_v2(0)
    assert len(ran) == 7
    assert (ran[0], ran[-1]) == ("BEGIN IMMEDIATE", "COMMIT")


def test_nobody_hears_before_a_second_connection_can_see_it(opened: Open, path: Path) -> None:
    """When `done` is called, the records are there for every other reader (scenario 97)."""
    journal = opened()
    reader = SqliteJournal.read_only(path)
    seen: list[tuple[int, bool]] = []
    finished = Flag()

    def look(error: BaseException | None) -> None:
        assert error is None
        seen.append((reader.head("alpha").seq, current_thread() is main_thread()))
        finished.set()

    for seq in range(1, 30):
        finished.clear()
        journal.append(made(seq), look)
        assert finished.wait(10)
    reader.close()
    assert seen == [(seq, False) for seq in range(1, 30)]


def test_a_listener_that_raises_is_logged_and_keeps_nobody_waiting(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """One faulty `done` does not stop the thread, nor the others from being told."""
    journal = opened()

    def fail(error: BaseException | None) -> None:
        raise ValueError("from the listener")

    journal.append(made(1), fail)
    write(journal, made(2))
    assert "from the listener" in caplog.text


def test_each_owner_gets_an_error_of_its_own(opened: Open) -> None:
    """Errors are raised on many threads at once, so no two batches share one."""
    journal = opened()
    gate = Gate(journal)
    receipts = [Receipt(journal, made(seq)) for seq in (5, 6, 7)]
    gate.open()
    errors = [receipt.wait() for receipt in receipts]
    assert all(isinstance(error, SequenceConflict) for error in errors)
    assert len({id(error) for error in errors}) == 3


def test_a_second_writer_is_found_out(opened: Open, path: Path, change: Change) -> None:
    """A record that somebody else wrote under our next number stops us; nothing of ours is kept
    beside it, and the desk goes on only behind what is stored.
    """
    journal = opened()
    write(journal, made(1))
    change(
        "INSERT INTO records SELECT desk, 2, at_ns, kind, body, hash, hash FROM records"
        " WHERE desk = ?",
        "alpha",
    )
    error = Receipt(journal, made(2)).wait()
    assert isinstance(error, SequenceConflict)
    assert "another process writes" in str(error)
    assert "record 2 was written by another" in str(raised(JournalDamaged, journal.recover))
    change("DELETE FROM records WHERE seq = 2")
    journal.recover()
    write(journal, made(2))


def test_a_locked_database_is_said(opened: Open, path: Path) -> None:
    """While another program holds the database, batches are refused in bounded time, and it goes
    on once that one has let go (scenario 87).
    """
    journal = opened(busy_ms=1)
    write(journal, made(1))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    error = Receipt(journal, made(2)).wait()
    assert isinstance(error, JournalUnwritable)
    assert "another program holds the database locked; end it" in str(error)
    journal.keep_raw("alpha", 1, 1, b"raw")
    with pytest.raises(JournalUnwritable, match="locked"):
        journal.recover()
    assert journal.statistics()["failures"] == 1  # nothing was tried again meanwhile
    other.execute("ROLLBACK")
    other.close()
    journal.recover()
    write(journal, made(2))


FULL: Final = """
import resource, signal, sys
from holdfast.errors import JournalUnwritable
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.journal_kit import Receipt, made, numbers, write
journal = SqliteJournal(sys.argv[1])
write(journal, made(1, 100))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
stored, error = 100, None
while error is None:
    error = Receipt(journal, made(stored + 1, 100)).wait()
    stored += 100 * (error is None)
assert isinstance(error, JournalUnwritable), error
try:
    journal.recover()
except JournalUnwritable:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.recover()
write(journal, made(stored + 1))
assert len(numbers(journal)) == stored + 1
journal.close()
"""


def test_a_file_that_may_not_grow_is_said(path: Path) -> None:
    """A real limit of the operating system fails the commit and the probe; when it is lifted the
    journal recovers, nothing lost (scenario 87).
    """
    assert resource.RLIMIT_FSIZE
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert f"{path} cannot be written" in result.stdout
    assert "quota" in result.stdout


def test_a_probe_needs_room(opened: Open) -> None:
    """Where the last pages have slack but the disk is full, recovering fails (scenario 87)."""
    journal = opened()
    write(journal, made(1))
    pages = journal._connection.execute("PRAGMA page_count").get
    journal._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    journal._connection.execute("BEGIN IMMEDIATE")  # an empty transaction needs no room
    journal._connection.execute("COMMIT")
    with pytest.raises(JournalUnwritable, match="full"):
        journal.recover()


def test_the_log_stays_small(opened: Open, path: Path) -> None:
    """The log is folded into the database again and again, also under a reader's eyes."""
    journal = opened(checkpoint_pages=50)
    reader = SqliteJournal.read_only(path)
    sizes = []
    for place in range(60):
        write(journal, made(1 + 100 * place, 100))
        list(reader.records("alpha", 100 * place))
        sizes.append(Path(f"{path}-wal").stat().st_size)
    reader.close()
    assert max(sizes) < 2 * 50 * 4120
    counts = journal.statistics()
    assert counts["checkpoints"] >= 5
    assert counts["journal_bytes"] == path.stat().st_size + sizes[-1]


def test_a_journal_that_was_removed_is_not_written_into_nowhere(opened: Open, path: Path) -> None:
    """A file that is no longer at its path is noticed within one checkpoint (scenario 87)."""
    journal = opened(checkpoint_pages=20)
    write(journal, made(1))
    away = path.rename(path.with_suffix(".old"))
    outcomes = [Receipt(journal, made(2 + 100 * place, 100)).wait() for place in range(10)]
    stored = outcomes.count(None)
    assert 0 < stored < 10
    assert isinstance(outcomes[-1], JournalUnwritable)
    assert "moved or removed" in str(outcomes[-1])
    raised(JournalUnwritable, journal.recover)
    away.rename(path)
    journal.recover()
    write(journal, made(2 + 100 * stored))


def test_a_listener_cannot_wait_for_its_own_thread(opened: Open) -> None:
    """Recovering from within `done` is an error and not a standstill."""
    journal = opened()
    seen: list[str] = []

    def recover(error: BaseException | None) -> None:
        try:
            journal.recover()
        except RuntimeError as wrong:
            seen.append(str(wrong))

    journal.append(made(1), recover)
    write(journal, made(2))
    assert seen == ["a listener cannot wait for the thread that calls it"]


def test_a_batch_that_is_none_does_not_end_the_thread(opened: Open) -> None:
    """Whatever is wrong with a batch, its owner is told, and the journal can recover."""
    journal = opened()
    desk: Any = ["no", "text"]
    wrong = Batch(desk=desk, first_seq=1, events=[accepted(1)])
    assert isinstance(Receipt(journal, wrong).wait(), JournalUnwritable)
    journal.recover()
    write(journal, made(1))
    events: Any = iter([accepted(2)])
    with pytest.raises(TypeError):
        Receipt(journal, Batch(desk="alpha", first_seq=2, events=events))
    write(journal, made(2))


def test_a_slow_reader_of_records_holds_nothing_up(opened: Open) -> None:
    """A half-read journal keeps no transaction open: the log can begin anew meanwhile."""
    journal = opened(checkpoint_pages=20)
    write(journal, made(1, 3000))
    reading = journal.records("alpha")
    assert next(reading).seq == 1
    for place in range(30):
        write(journal, made(3001 + 100 * place, 100))
    assert journal.statistics()["journal_bytes"] < 3_000_000
    assert [record.seq for record in reading] == list(range(2, 6001))


def test_raw_bodies_are_kept_so_many_days(opened: Open) -> None:
    """The last raw body of each order is kept until it is too old, and for ever if so wished."""
    day = 86_400_000_000_000
    for days, left in ((30, [b"new", None]), (0, [b"new", b"old"])):
        journal = opened(raw_days=days)
        journal.keep_raw("alpha", 2, 1, b"old")
        journal.keep_raw("alpha", 1, 1, b"older version")
        journal.keep_raw("alpha", 1, 31 * day, b"new")
        journal.close()
        reader = SqliteJournal.read_only(journal.path)
        assert [reader.raw("alpha", 1), reader.raw("alpha", 2)] == left
        reader.close()


def test_a_snapshot_of_what_was_not_stored_is_lost(opened: Open) -> None:
    """A snapshot queued behind a batch that fails is not kept."""
    journal = opened()
    write(journal, made(1))
    gate = Gate(journal)
    wrong = Receipt(journal, made(3))
    journal.save_snapshot("alpha", StoredSnapshot(seq=3, format=1, body=b"wrong"))
    gate.open()
    assert isinstance(wrong.wait(), SequenceConflict)
    journal.close()
    assert journal.statistics()["snapshots_lost"] == 1


def test_an_empty_batch_takes_no_number(opened: Open) -> None:
    """Rows may come without events; the next batch begins where this one would have."""
    journal = opened()
    write(journal, Batch(desk="alpha", first_seq=1, events=[], orders=[order_row(1, ["c:a"])]))
    assert journal.bodies("alpha", [1]) == {1: b"{}"}
    write(journal, made(1))
    assert numbers(journal) == [1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 600])
def test_any_number_of_rows_is_inserted_in_order(count: int) -> None:
    """Rows arrive whole and in order, whatever their number, and fill-ups leave no trace."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    rows = [(number, None if number % 2 else "x") for number in range(count)]
    Insert("t", "a, b").run(connection, rows)
    assert connection.execute("SELECT a, b FROM t").fetchall() == rows


def test_no_insert_is_too_long_to_stay_prepared() -> None:
    """The longest statement is short enough for the driver's cache of 16 KiB texts."""
    assert len(EXECUTIONS._text(ROWS_PER_STATEMENT_MAX)) < 16_384


def test_amounts_are_written_plainly() -> None:
    """No amount is stored with an exponent."""
    row = order_row(1, [])
    assert text(row.quantity or row.notional) == "10"
    assert text(row.notional) == "2503.00"


def test_equal_histories_make_equal_heads(opened: Open, tmp_path: Path) -> None:
    """The last hash tells whether two journals hold the same, however they were batched
    (scenario 99).
    """
    one, other = opened(), SqliteJournal(tmp_path / "other.db")
    write(one, made(1, 20))
    for seq in range(1, 21):
        write(other, Batch(desk="alpha", first_seq=seq, events=[accepted(seq)]))
    assert one.head("alpha") == other.head("alpha")
    other.close()
