"""The machine stops at any moment, or its disk loses what was not synced."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from holdfast.errors import JournalDamaged, JournalUnwritable, SequenceConflict
from holdfast.journal.codec import decode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import verify
from holdfast.journal.wal import read_log
from holdfast.ports import StoredSnapshot
from holdfast.testing.disk import Disk, Fate, Operation, crash, nothing, whole
from holdfast.testing.journal_kit import Receipt, execution_row, made, order_row, write

PAGE = 4096
FRAME = PAGE + 24


class Life(NamedTuple):
    """What was done to the disk, and after which operation each record was durable."""

    operations: list[Operation]
    durable: list[int]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A journal is made, written, folded into its file several times, closed and opened again."""
    folder = tmp_path_factory.mktemp("life")
    durable: list[int] = []
    with Disk("life") as disk:
        for rounds in (3, 2):
            journal = SqliteJournal(folder / "journal.db", vfs=disk.name, checkpoint_pages=8)
            for _ in range(rounds):
                first = len(durable) + 1
                batch = made(first, 3)
                batch.orders = [order_row(first, [f"c:{first}"])]
                batch.executions = [execution_row(f"e{first}", "1")]
                write(journal, batch)
                durable += [len(disk.operations)] * 3
            journal.save_snapshot("alpha", StoredSnapshot(seq=first, format=1, body=b"x" * 5000))
            journal.close()
        return Life(list(disk.operations), durable)


def torn(operation: Operation) -> int:
    """Let half of every other page arrive; what is within a sector arrives whole or not at all."""
    half = operation.offset % (2 * FRAME) < FRAME and len(operation.data) > 512
    return len(operation.data) // 2 if half else len(operation.data)


@pytest.fixture
def disk() -> Iterator[Disk]:
    with Disk("faulty") as made_disk:
        yield made_disk


@pytest.mark.parametrize("fate", [whole, nothing, torn])
def test_a_stop_after_any_operation_loses_nothing_durable(
    life: Life, fate: Fate, disk: Disk, tmp_path: Path
) -> None:
    """Whatever of the unsynced writes arrives, the records are a prefix of what was appended,
    whole batches, with everything that was reported durable (scenario 85; trap 49).
    """
    expected = made(1, len(life.durable)).events
    for stop in range(len(life.operations) + 1):
        if fate is nothing and stop and life.operations[stop - 1].kind != "sync":
            continue  # what arrived is the same as at the stop before
        folder = tmp_path / str(stop)
        crash(life.operations[:stop], folder, fate)
        journal = SqliteJournal(folder / "journal.db", vfs=disk.name)
        events = [decode(record) for record in journal.records("alpha")]
        told = sum(1 for after in life.durable if after <= stop)
        assert len(events) % 3 == 0
        assert told <= len(events) <= told + 3
        assert events == expected[: len(events)]
        assert sorted(journal.bodies("alpha", range(1, 99))) == list(range(1, len(events), 3))
        write(journal, made(len(events) + 1, 2))
        journal.close()
        assert verify(folder / "journal.db").problems == ()


def left_behind(folder: Path, batches: int) -> None:
    """Make a journal whose last batches stand in the log alone, as after SIGKILL."""
    with Disk("left") as disk:
        journal = SqliteJournal(folder / "made.db", vfs=disk.name)
        for first in range(1, batches + 1):
            write(journal, made(first))
        operations = list(disk.operations)
        journal.close()
    crash(operations, folder)
    for suffix in ("", "-wal"):
        (folder / f"made.db{suffix}").rename(folder / f"journal.db{suffix}")


def reopened(path: Path, vfs: str = "") -> tuple[int, str]:
    journal = SqliteJournal(path, vfs=vfs)
    try:
        return journal.head("alpha").seq, journal.recovery_report
    finally:
        journal.close()


def test_a_log_cut_anywhere_is_recovered_with_a_report(disk: Disk, tmp_path: Path) -> None:
    """Whole transactions before the cut are kept, what is left of the cut one is reported
    (scenario 86).
    """
    left_behind(tmp_path, 4)
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    database, content = path.read_bytes(), log.read_bytes()
    commits = read_log(str(path)).commits
    ends = [32 + number * FRAME for number in commits]
    cuts = {end + more for end in range(32, len(content), FRAME) for more in (-1, 0, 24)}
    for cut in sorted({0, 10, *cuts, len(content)}):
        path.write_bytes(database)
        log.write_bytes(content[:cut])
        seq, report = reopened(path, disk.name)
        kept = [end for end in ends if end <= cut]
        assert seq == max(0, len(kept) - (len(commits) - 4))
        whole_transactions = cut in {0, 32, *ends}
        assert bool(report) is not whole_transactions, cut
        if report:
            assert f"alpha {seq}" in report or seq == 0
            assert "reconcile" in report


def test_a_damaged_log_is_refused_and_left_for_examination(disk: Disk, tmp_path: Path) -> None:
    """A byte flipped in a transaction that others follow is damage, never a quiet loss
    (scenario 86).
    """
    left_behind(tmp_path, 4)
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    database, content = path.read_bytes(), log.read_bytes()
    commits = read_log(str(path)).commits
    last = 32 + commits[-2] * FRAME
    for place in [*range(0, 32, 5), *range(32, len(content), 1021)]:
        path.write_bytes(database)
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        log.write_bytes(damaged)
        if place >= last:
            seq, report = reopened(path, disk.name)
            assert seq == 3
            assert report
            continue
        with pytest.raises(JournalDamaged, match=r"durable records.*keep a copy"):
            SqliteJournal(path)
        assert log.read_bytes() == damaged
        assert path.read_bytes() == database
        assert [problem.text for problem in verify(path).problems if "log" in problem.text]


def test_what_to_do_about_a_damaged_log_works(tmp_path: Path) -> None:
    """After the step that the message names, the journal opens with what is intact."""
    left_behind(tmp_path, 4)
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    content = bytearray(log.read_bytes())
    content[-3 * FRAME * 3] ^= 1
    log.write_bytes(content)
    with pytest.raises(JournalDamaged):
        SqliteJournal(path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    seq, report = reopened(path)
    assert 0 < seq < 4
    assert report == ""


def full(_: Operation) -> Exception:
    return apsw.FullError("no space")


def broken(_: Operation) -> Exception:
    return apsw.IOError("input/output error")


def after(count: int, fault: Callable[[Operation], Exception]) -> Callable[[Operation], Any]:
    """Let so many operations pass and fail all later ones."""
    left = iter(range(count))
    return lambda operation: None if next(left, None) is not None else fault(operation)


@pytest.mark.parametrize("fault", [full, broken])
def test_a_disk_that_fails_at_any_operation(
    disk: Disk, fault: Callable[[Operation], Exception], path: Path
) -> None:
    """Each batch is stored whole and told so, or not at all and told so; `recover` says when it
    works again, and goes on behind what is stored (scenarios 87, 98).
    """
    journal = SqliteJournal(path, vfs=disk.name, checkpoint_pages=12)
    stored = 0
    for passing in range(40):
        with disk.failing(after(passing, fault)):
            receipts = [Receipt(journal, made(stored + 1)), Receipt(journal, made(stored + 2))]
            outcomes = [receipt.wait() for receipt in receipts]
            stored += outcomes.count(None)
            if outcomes[1] is not None:
                assert isinstance(outcomes[1], JournalUnwritable)
                assert "disk" in str(outcomes[1])
                with pytest.raises(JournalUnwritable):
                    journal.recover()
        assert journal.head("alpha").seq == stored
        journal.recover()
        assert journal.head("alpha").seq == stored
        assert [record.seq for record in journal.records("alpha")] == list(range(1, stored + 1))
    assert stored > 40
    journal.close()
    assert verify(path).intact


def test_a_batch_whose_sync_failed_stays_away_after_a_crash(disk: Disk, path: Path) -> None:
    """The frames of a commit that was reported failed are overwritten at once, so that no later
    recovery finds them in the log (scenario 98).
    """
    journal = SqliteJournal(path, vfs=disk.name)
    write(journal, made(1))
    syncs = iter([apsw.IOError("sync failed")])
    with disk.failing(lambda item: next(syncs, None) if item.kind == "sync" else None):
        assert isinstance(Receipt(journal, made(2)).wait(), JournalUnwritable)
    operations = list(disk.operations)
    journal.close()
    crash(operations, path.parent / "after")
    assert reopened(path.parent / "after" / "journal.db")[0] == 1


def test_a_round_of_the_log_that_could_not_begin_is_no_damage(disk: Disk, path: Path) -> None:
    """The disk was full at its first write: what the log still shows is in the file, whole, and
    while somebody reads, SQLite's memory says otherwise past the owner's end (scenarios 86, 87).
    """
    journal = SqliteJournal(path, vfs=disk.name, checkpoint_pages=1)
    write(journal, made(1))
    # Refused only after the log was folded in, on the same thread.
    assert isinstance(Receipt(journal, made(9)).wait(), SequenceConflict)
    with closing(SqliteJournal.read_only(path)) as reader, disk.failing(full):
        assert isinstance(Receipt(journal, made(1, desk="beta")).wait(), JournalUnwritable)
        assert reader.recovered_frames() == 0
        assert read_log(str(path)).commits
        assert verify(path).intact
        journal.close()
        assert verify(path).intact
        assert reopened(path) == (1, "")


def test_closing_on_a_broken_disk_gives_the_journal_up(disk: Disk, path: Path) -> None:
    """An owner that cannot write any more still releases the lock and ends its thread."""
    journal = SqliteJournal(path, vfs=disk.name)
    write(journal, made(1))
    with disk.failing(broken):
        receipt = Receipt(journal, made(2))
        journal.close()
        assert isinstance(receipt.wait(), JournalUnwritable)
    assert reopened(path)[0] == 1
