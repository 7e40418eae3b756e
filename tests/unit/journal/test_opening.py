"""What is refused on opening a journal, what is said about it, and that nothing is changed."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from holdfast.errors import (
    JournalDamaged,
    JournalError,
    JournalUnwritable,
    JournalVersionError,
)
from holdfast.journal.schema import APPLICATION_ID, FORMAT
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import verify
from holdfast.testing.journal_kit import made, numbers, write

Change = Callable[..., None]


def contents(folder: Path) -> dict[str, bytes]:
    """Return what stands in the files; an empty log holds nothing."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and file.stat().st_size and not file.name.endswith((".lock", "-shm"))
    }


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """The journal's folder must exist: it is not created by a typing error (scenario 87)."""
    with pytest.raises(JournalUnwritable, match=r"missing.*does not exist; create it"):
        SqliteJournal(tmp_path / "missing" / "journal.db")
    assert list(tmp_path.iterdir()) == []


def test_a_path_below_a_file_is_said(tmp_path: Path) -> None:
    """A folder that is a file is as good as missing (scenario 87)."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalUnwritable, match="does not exist"):
        SqliteJournal(tmp_path / "file" / "journal.db")


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    """The path of a folder is refused before anything is made in or beside it."""
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalUnwritable, match="is a folder"):
        SqliteJournal(tmp_path / "journal.db")
    assert [file.name for file in tmp_path.iterdir()] == ["journal.db"]


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """Some other file at the path is neither read as a journal nor overwritten."""
    path.write_text("orders,positions\n" * 100)
    with pytest.raises(JournalDamaged, match=r"not a SQLite database.*nothing was changed"):
        SqliteJournal(path)
    with pytest.raises(JournalError, match="name another file") as raised:
        SqliteJournal.read_only(path)
    assert raised.type is JournalError, "for whoever only reads it is another file, not damage"
    assert path.read_text() == "orders,positions\n" * 100


def test_another_programs_database_is_left_alone(path: Path, change: Change) -> None:
    """A database without the journal's mark is refused as it is."""
    change("CREATE TABLE bookmarks (url TEXT)")
    before = contents(path.parent)
    with pytest.raises(JournalUnwritable, match=r"another program.*Name another file"):
        SqliteJournal(path)
    with pytest.raises(JournalUnwritable, match="another program"):
        SqliteJournal.read_only(path)
    assert contents(path.parent) == before


def test_a_newer_format_is_refused_by_name(written: Path, change: Change) -> None:
    """A journal of a later version says which formats are known, and stays as it is."""
    change(f"PRAGMA user_version = {FORMAT + 1}")
    before = contents(written.parent)
    for open_it in (SqliteJournal, SqliteJournal.read_only, verify):
        with pytest.raises(JournalVersionError, match=f"format {FORMAT + 1}.*up to {FORMAT}"):
            open_it(written)
    assert contents(written.parent) == before


def test_a_journal_carries_its_mark(written: Path) -> None:
    """The file says what it is: application id, format, and a write-ahead log."""
    connection = apsw.Connection(str(written), flags=apsw.SQLITE_OPEN_READONLY)
    marks = ("application_id", "user_version", "journal_mode")
    found = [connection.execute(f"PRAGMA {mark}").get for mark in marks]
    connection.close()
    assert found == [APPLICATION_ID, FORMAT, "wal"]


def test_every_commit_is_synced(written: Path) -> None:
    """The writer syncs each commit and checkpoints by itself alone (trap 69)."""
    journal = SqliteJournal(written)
    pragmas = ("synchronous", "wal_autocheckpoint")
    found = [journal._connection.execute(f"PRAGMA {name}").get for name in pragmas]
    journal.close()
    assert found == [2, 0]


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite that can damage a journal in WAL mode is named before it touches one (trap 69)."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(JournalUnwritable, match=r"SQLite 3\.51\.2 can damage.*3\.51\.3 or later"):
        SqliteJournal(path)
    assert not path.exists()


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    """A crash before the tables were made leaves an empty database: it is made then."""
    path.touch()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    journal = SqliteJournal(path)
    write(journal, made(1))
    journal.close()


def test_a_truncated_database_is_damage(written: Path) -> None:
    """A file that lost its end is refused, or its first unreadable record named (scenario 86)."""
    whole = written.read_bytes()
    pages = len(whole) // 4096
    for left in range(1, pages):
        written.write_bytes(whole[: left * 4096])
        with pytest.raises(JournalDamaged, match=r"holdfast verify|backup"):
            read_all(written)


def read_all(path: Path) -> None:
    journal = SqliteJournal(path)
    try:
        numbers(journal)
        # Rows are no part of the chain: the walk over the whole file finds them.
        assert verify(path).intact, "JournalDamaged"
    except AssertionError:
        raise JournalDamaged("found by holdfast verify") from None
    finally:
        journal.close()


def test_reading_needs_a_journal(tmp_path: Path) -> None:
    """Reading makes no file where there is none."""
    for open_it in (SqliteJournal.read_only, verify):
        with pytest.raises(JournalError, match="no journal at"):
            open_it(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_reading_leaves_the_journal_as_it_is(written: Path) -> None:
    """A reader sees everything and changes no byte of database or log."""
    before = contents(written.parent)
    reader = SqliteJournal.read_only(written)
    assert reader.desks() == ["alpha", "beta"]
    assert reader.head("alpha").seq == 10
    assert [record.seq for record in reader.records("beta")] == [1, 2, 3]
    assert reader.recall("alpha", ["c:one"]) == {"c:one": b"{}"}
    with pytest.raises(JournalError, match="read-only"):
        reader.query("DELETE FROM records")
    reader.close()
    assert contents(written.parent) == before


def test_reading_works_where_nothing_can_be_written(written: Path) -> None:
    """On read-only media, where SQLite cannot make its shared files, the journal can be read."""
    # A folder in the place of the shared-memory file stands in for such media, for any user.
    Path(f"{written}-shm").mkdir()
    report = verify(written)
    assert report.intact
    assert report.records == 13


def test_reading_goes_on_while_the_owner_writes(path: Path) -> None:
    """A reader opened once sees each record as soon as it is durable (scenario 97)."""
    journal = SqliteJournal(path, checkpoint_pages=8)
    write(journal, made(1))
    reader = SqliteJournal.read_only(path)
    for seq in range(2, 100):
        write(journal, made(seq))
        assert reader.head("alpha").seq == seq
        assert [record.seq for record in reader.records("alpha", seq - 2)] == [seq - 1, seq]
    assert verify(path).intact
    journal.close()
    reader.close()


def test_an_orderly_end_leaves_one_file(written: Path) -> None:
    """After `close` the log is folded into the database, and there is nothing to report."""
    assert sorted(file.name for file in written.parent.iterdir()) == [
        "journal.db",
        "journal.db.lock",
    ]
    journal = SqliteJournal(written)
    assert journal.recovery_report == ""
    assert journal.statistics()["discarded_frames"] == 0
    journal.close()


def test_people_can_read_it_with_sql(written: Path) -> None:
    """The views show times as ISO-8601 and bodies as text."""
    reader = SqliteJournal.read_only(written)
    assert reader.query("SELECT at, kind, body FROM v_events WHERE desk = 'alpha' AND seq = 2") == [
        (
            "1970-01-01T00:00:00.000001002Z",
            "order_accepted",
            '{"kind":"order_accepted","at_ns":1002,"number":2,"broker_order_id":"b-2"}',
        )
    ]
    orders = reader.query("SELECT number, quantity, notional, completed FROM v_orders")
    assert orders[0] == (1, "10", "2503.00", "1970-01-01T00:00:00.000000002Z")
    assert reader.query("SELECT count(*), min(desk) FROM v_executions") == [(2, "alpha")]
    reader.close()


@pytest.mark.parametrize(
    ("sql", "seq"),
    [
        ("DELETE FROM records WHERE seq > 7", 8),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 10", 10),
        ("DELETE FROM heads WHERE desk = 'beta'; UPDATE heads SET seq = 9", 10),
    ],
)
def test_a_journal_that_does_not_end_where_it_did_is_not_written_to(
    written: Path, change: Change, sql: str, seq: int
) -> None:
    """Records missing from the end are found on opening, before a new one takes their numbers
    (scenario 86).
    """
    change(sql)
    before = contents(written.parent)
    with pytest.raises(JournalDamaged, match=f"record {seq}.*holdfast verify") as caught:
        SqliteJournal(written)
    assert (caught.value.desk, caught.value.seq) == ("alpha", seq)
    assert contents(written.parent) == before
