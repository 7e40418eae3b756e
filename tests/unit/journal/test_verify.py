"""`verify` finds whatever was changed, and says where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast.errors import JournalError
from holdfast.journal.codec import link_of
from holdfast.journal.schema import open_reader
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import PROBLEMS_MAX, verify
from holdfast.journal.wal import committed_frames, read_log
from holdfast.ports import Record
from holdfast.testing.journal_kit import made, write

Change = Callable[..., None]


def test_an_intact_journal_has_no_problems(written: Path) -> None:
    """The report counts every desk's records and names the hash they end in."""
    report = verify(written)
    assert report.intact
    assert report.problems == ()
    assert [(desk.desk, desk.records, desk.head.seq) for desk in report.desks] == [
        ("alpha", 10, 10),
        ("beta", 3, 3),
    ]
    assert report.records == 13
    journal = SqliteJournal(written)
    assert [desk.head for desk in report.desks] == [journal.head("alpha"), journal.head("beta")]
    journal.close()


@pytest.mark.parametrize(
    ("sql", "desk", "seq", "said"),
    [
        (
            "UPDATE records SET body = CAST(replace(body, 'b-4', 'b-5') AS BLOB) WHERE seq = 4",
            "alpha", 4, "not what was written",
        ),
        ("UPDATE records SET at_ns = 9 WHERE seq = 4", "alpha", 4, "not what was written"),
        ("UPDATE records SET kind = 'order_canceled' WHERE seq = 4", "alpha", 4, "not what was"),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 4", "alpha", 4, "not what was"),
        ("DELETE FROM records WHERE seq IN (4, 5)", "alpha", 4, "4 to 5 are missing"),
        ("DELETE FROM records WHERE seq = 1 AND desk = 'beta'", "beta", 1, "1 is missing"),
        ("DELETE FROM records WHERE seq > 7", "alpha", 8, "end at record 10 but ends at 7"),
        ("DELETE FROM records WHERE desk = 'beta'", "beta", 1, "end at record 3 but ends at 0"),
        ("DELETE FROM heads WHERE desk = 'beta'", "beta", 1, "end at record 0 but ends at 3"),
        ("UPDATE heads SET hash = zeroblob(32)", "alpha", 10, "not the one that was written last"),
        ("DELETE FROM orders WHERE number = 2", "alpha", 0, "'c:two' names order 2"),
        ("UPDATE orders SET body = x'7b' WHERE number = 2", "alpha", 0, "order 2 is no JSON"),
        ("INSERT INTO snapshots VALUES ('beta', 4, 1, x'00', x'')", "beta", 0, "after record 4"),
    ],
)  # fmt: skip
def test_each_change_is_found_where_it_is(
    written: Path, change: Change, sql: str, desk: str, seq: int, said: str
) -> None:
    """One change is one problem, or two where it stands in two tables (scenario 86)."""
    change(sql)
    problems = verify(written).problems
    found = [item for item in problems if (item.desk, item.seq) == (desk, seq)]
    assert found
    assert any(said in item.text for item in found)
    assert len(problems) <= 2


def rewrite(change: Change, record: Record) -> None:
    change("UPDATE records SET hash = ? WHERE seq = ?", link_of(record), record.seq)


def test_a_rewritten_record_with_a_fitting_hash_breaks_the_chain(
    written: Path, change: Change
) -> None:
    """Whoever changes a record and its hash is betrayed by the next one."""
    change("UPDATE records SET at_ns = 1005 WHERE seq = 4 AND desk = 'alpha'")
    journal = SqliteJournal.read_only(written)
    record = journal.stored("alpha", 3)[0]
    journal.close()
    rewrite(change, record)
    [problem] = verify(written).problems
    assert (problem.desk, problem.seq) == ("alpha", 5)
    assert "after another record" in problem.text


def test_what_a_newer_version_wrote_is_a_problem_of_reading(path: Path) -> None:
    """A kind that is not known here is named with its record."""
    journal = SqliteJournal(path)
    write(journal, made(1, 2))
    journal._connection.execute("UPDATE records SET kind = 'order_teleported' WHERE seq = 2")
    record = journal._reader.stored("alpha", 1)[0]
    journal._connection.execute("UPDATE records SET hash = ? WHERE seq = 2", (link_of(record),))
    journal._connection.execute("UPDATE heads SET hash = ?", (link_of(record),))
    journal.close()
    [problem] = verify(path).problems
    assert problem.seq == 2
    assert "order_teleported" in problem.text
    assert "upgrade" in problem.text


def test_time_never_falls(path: Path) -> None:
    """A record that is older than the one before it is a problem (scenario 103)."""
    journal = SqliteJournal(path)
    batch = made(1, 3)
    batch.events = [batch.events[0], batch.events[2], batch.events[1]]
    write(journal, batch)
    journal.close()
    [problem] = verify(path).problems
    assert (problem.seq, "1 ns older" in problem.text) == (3, True)


def test_the_report_is_bounded(path: Path, change: Change) -> None:
    """However much is damaged, the report stays readable."""
    journal = SqliteJournal(path)
    write(journal, made(1, 500))
    journal.close()
    change("UPDATE records SET at_ns = at_ns + 1")
    report = verify(path)
    assert len(report.problems) == PROBLEMS_MAX
    assert report.problems[0].seq == 1


class ReadOnlyMedia:
    """A connection to a journal that nothing can be written beside."""

    def __init__(self, connection: apsw.Connection, error: Exception) -> None:
        self.connection, self.error = connection, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def wal_checkpoint(self, **_: object) -> tuple[int, int]:
        raise self.error


@pytest.fixture
def left_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Path]:
    """A journal whose owner was killed, with its log beside it; asking for its length fails."""

    def left(error: Exception) -> Path:
        journal = SqliteJournal(path)
        write(journal, made(1, 5))
        write(journal, made(6, 5))
        copy = path.with_name("copy.db")
        for end in ("", "-wal"):
            Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
        journal.close()

        def opened(*args: Any, **options: Any) -> ReadOnlyMedia:
            return ReadOnlyMedia(open_reader(*args, **options), error)

        monkeypatch.setattr("holdfast.journal.reader.open_reader", opened)
        return copy

    return left


def test_a_log_on_read_only_media_is_counted_by_hand(
    left_log: Callable[[Exception], Path],
) -> None:
    """SQLite refuses to tell its length there; a log cut inside a durable commit is still found."""
    copy = left_log(apsw.ReadOnlyError("attempt to write a readonly database"))
    frames = read_log(str(copy)).commits
    assert committed_frames(str(copy)) == frames[-1]
    assert verify(copy).intact

    log = Path(f"{copy}-wal")
    content = bytearray(log.read_bytes())
    content[32 + 24 + 100] ^= 1  # within the first page; all commits after it cannot be used
    log.write_bytes(content)
    assert committed_frames(str(copy)) == 0
    assert "durable ones too" in verify(copy).problems[0].text


def test_a_log_that_cannot_be_asked_about_is_an_error_of_the_journal(
    left_log: Callable[[Exception], Path],
) -> None:
    """Whatever SQLite raises there has the journal's name and what to do."""
    copy = left_log(apsw.IOError("disk I/O error"))
    with pytest.raises(JournalError, match=r"copy\.db cannot be read: the disk reports an error"):
        verify(copy)


def test_the_frames_counted_by_hand_are_those_that_sqlite_takes(path: Path) -> None:
    """With a log that was begun again, one that was cut anywhere, and none."""
    journal = SqliteJournal(path, checkpoint_pages=20)
    for number in range(29):
        write(journal, made(1 + 5 * number, 5))
    database, whole = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    journal.close()
    copy = path.with_name("copy.db")
    log = Path(f"{copy}-wal")
    counts = set()
    for size in range(0, len(whole), 3001):
        copy.write_bytes(database)
        log.write_bytes(whole[:size])
        by_hand = committed_frames(str(copy))
        reader = SqliteJournal.read_only(copy)
        assert reader.recovered_frames() == by_hand
        reader.close()
        counts.add(by_hand)
    log.unlink()
    assert committed_frames(str(copy)) == 0
    assert len(counts) > 3


def test_a_flip_anywhere_is_never_read_as_truth(written: Path) -> None:
    """Wherever a byte of the file is flipped, reading gives the records as they were or an error
    of the journal's own, and so does verifying (scenario 86).
    """
    reader = SqliteJournal.read_only(written)
    good = {desk: list(reader.records(desk)) for desk in ("alpha", "beta")}
    reader.close()
    content = written.read_bytes()
    damaged = 0
    for place in range(0, len(content), 331):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        written.write_bytes(changed)
        try:
            verify(written)
            reader = SqliteJournal.read_only(written)
        except JournalError:
            damaged += 1
            continue
        for desk, records in good.items():
            try:
                assert list(reader.records(desk)) == records
            except JournalError:
                damaged += 1
        reader.close()
    assert damaged > 10
