"""One owner per journal, for as long as its process lives."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import apsw
import pytest

from holdfast.errors import JournalError, JournalLocked, JournalUnwritable
from holdfast.journal.lock import OwnerLock
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.journal_kit import made, numbers, write

# Appends until it is killed; says the number of each record as soon as it is durable.
OWNER: Final = """
import sys
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.journal_kit import made, write
journal = SqliteJournal(sys.argv[1])
seq = journal.head("alpha").seq
while True:
    seq += 1
    write(journal, made(seq))
    print(seq, flush=True)
"""


def start_owner(path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_owner_leaves_everything_it_was_told_is_durable(path: Path) -> None:
    """Another process is refused by name; SIGKILL frees the lock at once, and no record that was
    reported durable is gone (scenarios 85, 88; trap 49).
    """
    owner = start_owner(path)
    assert owner.stdout is not None
    said = [int(owner.stdout.readline()) for _ in range(20)]
    with pytest.raises(JournalLocked, match=f"process {owner.pid} on .* since 20"):
        SqliteJournal(path)
    reader = SqliteJournal.read_only(path)
    assert reader.head("alpha").seq >= said[-1]
    assert [record.seq for record in reader.records("alpha")][:20] == said
    reader.close()
    owner.send_signal(signal.SIGKILL)
    said += [int(line) for line in owner.stdout]
    owner.wait()
    owner.stdout.close()
    journal = SqliteJournal(path)
    kept = numbers(journal)
    assert kept[: len(said)] == said
    assert len(kept) <= len(said) + 1  # the one that was durable before it was said
    write(journal, made(len(kept) + 1))
    journal.close()


def test_a_second_name_of_the_journal_is_the_same_journal(path: Path, tmp_path: Path) -> None:
    """A symbolic link leads to the same lock; a hard link is refused before anything is written."""
    journal = SqliteJournal(path)
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "link.db").symlink_to(Path("..") / "link.db")
    for name in ("link.db", "deep/link.db", "deep/../journal.db"):
        with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
            SqliteJournal(tmp_path / name)
    (tmp_path / "hard.db").hardlink_to(path)
    with pytest.raises(JournalUnwritable, match="2 names"):
        SqliteJournal(tmp_path / "hard.db")
    journal.close()


def test_a_failed_opening_gives_the_lock_back(path: Path) -> None:
    """Whoever is refused for another reason does not keep the next one out."""
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    for _ in range(2):
        with pytest.raises(Exception, match="not a SQLite database"):
            SqliteJournal(path)
    path.unlink()
    SqliteJournal(path).close()


def test_an_owner_that_left_no_name_still_owns(path: Path) -> None:
    """The kernel's lock counts and not what stands in the file."""
    lock = OwnerLock(str(path))
    Path(lock.path).write_text("")
    with pytest.raises(JournalLocked, match="did not say who"):
        OwnerLock(str(path))
    lock.release()
    lock.release()
    OwnerLock(str(path)).release()


def test_a_stale_lock_file_owns_nothing(path: Path) -> None:
    """A file that a process left behind, of whatever content, locks nobody out."""
    Path(f"{path}.lock").write_text("process 1 on elsewhere since ever")
    SqliteJournal(path).close()


def test_a_folder_that_cannot_hold_the_lock_is_said(tmp_path: Path) -> None:
    """Where the lock file cannot be made, the message names it and what to do (scenario 87)."""
    (tmp_path / "journal.db.lock").mkdir()
    with pytest.raises(JournalUnwritable, match=r"journal\.db\.lock cannot be opened"):
        SqliteJournal(tmp_path / "journal.db")


@pytest.mark.parametrize("name", ["README.md", "other.db"])
def test_a_refused_file_gets_no_lock_beside_it(tmp_path: Path, name: str) -> None:
    """A text or another program's database is refused, and the folder is as it was before."""
    file = tmp_path / name
    if name.endswith(".db"):
        connection = apsw.Connection(str(file))
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
    else:
        file.write_text("# About this program\n" * 100)
    before = file.read_bytes()
    with pytest.raises(JournalError):
        SqliteJournal(file)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def test_a_lock_file_that_was_there_stays(path: Path) -> None:
    """Only what this opening has made is taken away, and only while it holds the lock."""
    file = Path(f"{path}.lock")
    file.write_text("process 1 on elsewhere since ever")
    OwnerLock(str(path)).withdraw()
    assert file.exists()
    file.unlink()
    lock = OwnerLock(str(path))
    lock.release()
    file.write_text("of the next one")
    lock.withdraw()
    assert file.exists()


def test_a_lock_on_a_file_that_was_removed_does_not_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opened the file just before its owner took it away locks the one that is there now."""
    first, lock = OwnerLock(str(path)), fcntl.flock
    left = [first]

    def after_its_removal(file: int, operation: int) -> None:
        while left:
            left.pop().withdraw()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_its_removal)
    second = OwnerLock(str(path))
    with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
        OwnerLock(str(path))
    assert Path(second.path).exists()
    second.release()
