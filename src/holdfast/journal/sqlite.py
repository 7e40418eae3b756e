"""The journal in a SQLite file: one owner, one writing thread, every commit synced."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from holdfast.errors import JournalDamaged, JournalUnwritable
from holdfast.journal.faults import SQLITE_ERRORS, fault_of
from holdfast.journal.lock import OwnerLock
from holdfast.journal.reader import NOOP, SqliteReader, load_heads, log_bytes
from holdfast.journal.schema import fold_on_close, make_ready, open_writer
from holdfast.journal.wal import Log, Tail, left_out, read_log
from holdfast.journal.writer import Append, Done, KeepRaw, Save, Writer
from holdfast.ports import Batch, Head, Record, StoredSnapshot

# Pages of 4 KiB in the log before it is folded into the database: 4 MiB, which takes a few
# milliseconds on a good disk, and is all that a reader has to look through.
CHECKPOINT_PAGES: Final = 1000
BUSY_MS: Final = 1000
RAW_DAYS: Final = 30

_log: Final = logging.getLogger(__name__)


class SqliteJournal:
    """A journal in the file `path`; implements `holdfast.ports.Journal`.

    `recovery_report` says what a crash left unfinished in the log and was left out on opening, and
    which damaged snapshots were not used; it is empty after an orderly end. `busy_ms` is how long
    a lock held by another program is waited for, `raw_days` how long raw broker bodies are kept
    (0: for ever), `vfs` the name of a SQLite file system registered by a test.

    Reading methods see what is durable: rows of a batch are there once its `done(None)` was
    called. They may be called from any thread.

    Raises:
        JournalLocked: another process owns it; the message names it.
        JournalUnwritable: the folder is missing or read-only, the path is a folder or another
            program's file, or the file has several names.
        JournalDamaged: it is no database, or its log or its last records are not as written.
        JournalVersionError: a newer Holdfast wrote it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_ms: int = BUSY_MS,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        raw_days: int = RAW_DAYS,
        vfs: str = "",
    ) -> None:
        self.path = _usable(path)
        self.recovery_report = ""
        self._discarded = Tail(0, 0, durable_lost=False)
        with ExitStack() as undo:
            self._lock = OwnerLock(self.path)
            undo.callback(self._lock.withdraw)
            try:
                log = read_log(self.path)
                self._connection = open_writer(self.path, vfs=vfs, busy_ms=busy_ms)
                undo.callback(self._connection.close)
                self._examine(log)
            except SQLITE_ERRORS as error:
                raise fault_of(error, self.path) from error
            self._reader = SqliteReader(self.path, vfs=vfs)
            undo.callback(self._reader.close)
            self._writer = Writer(
                self._connection, self.path, checkpoint_pages=checkpoint_pages, raw_days=raw_days
            )
            undo.pop_all()

    @staticmethod
    def read_only(path: str | os.PathLike[str]) -> SqliteReader:
        """Open for reading alone, whether or not somebody owns it; takes no lock."""
        return SqliteReader(path)

    def _examine(self, log: Log) -> None:
        """Compare the log with what SQLite recovered; leave a damaged journal as it is."""
        left = left_out(self.path, log, self._connection.wal_checkpoint(mode=NOOP)[0])
        if left.durable_lost:
            raise JournalDamaged(
                f"the log {self.path}-wal is damaged: {left.frames} of its pages cannot be used, "
                "among them durable records. Restore both files from a backup. To go on without "
                "those records, keep a copy of both files, run "
                f"`sqlite3 {self.path} 'PRAGMA wal_checkpoint(TRUNCATE)'`, then reconcile"
            )
        make_ready(self._connection, self.path)
        heads = load_heads(self._connection)
        if left.frames or left.rest:
            ends = ", ".join(f"{desk} {head.seq}" for desk, head in sorted(heads.items()))
            self.recovery_report = (
                f"the last transaction in {self.path}-wal was not finished: {left.frames} pages "
                f"and {left.rest} bytes of it were left out. The desks end at records "
                f"{ends or '0'}. If the file was cut by anything but a crash, later records are "
                "lost: reconcile"
            )
            _log.warning("%s", self.recovery_report)
        self._discarded = left
        fold_on_close(self._connection)

    def head(self, desk: str) -> Head:
        """Return where the desk's durable records end."""
        return self._writer.heads.get(desk) or Head()

    def append(self, batch: Batch, done: Done) -> None:
        """Queue a batch for the next commit; it must not be changed until `done` was called.

        `done` is called on the writing thread. Handing the news to an event loop costs that
        thread a system call; let several batches share one.

        Raises:
            Closed: the journal was closed; `done` is not called.
        """
        self._writer.submit(Append(batch, done, len(batch.events)))

    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        """Read records in order; raises JournalDamaged, naming the first that does not hold."""
        return self._reader.records(desk, after_seq)

    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of ended orders by any of their names; raises JournalDamaged."""
        return self._reader.recall(desk, names)

    def bodies(self, desk: str, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies of ended orders by their numbers; raises JournalDamaged."""
        return self._reader.bodies(desk, numbers)

    def save_snapshot(self, desk: str, snapshot: StoredSnapshot) -> None:
        """Queue a snapshot, to be written once the records queued before it are durable."""
        self._writer.submit(Save(desk, snapshot))

    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        """Return the snapshot written last, unless it is damaged or newer than the records."""
        try:
            return self._reader.load_snapshot(desk)
        except JournalDamaged as error:
            text = f"{error}; it is not used, all records are folded instead"
            self.recovery_report = f"{self.recovery_report}\n{text}".lstrip()
            _log.warning("%s", text)
            return None

    def recover(self) -> None:
        """Prove that writing works again, and go on behind what is stored; not from a `done`.

        Raises:
            JournalUnwritable: it still cannot be written.
            JournalDamaged: the records do not end where they should.
        """
        self._writer.call(self._writer.recover)

    def keep_raw(self, desk: str, number: int, at_ns: int, body: bytes) -> None:
        """Queue an order's last raw broker body, masked by the caller."""
        self._writer.submit(KeepRaw(desk, number, at_ns, body))

    def statistics(self) -> dict[str, int]:
        """Return counts since opening, what is pending, and the size of the files in bytes.

        `bytes` are those of the records' bodies, `journal_bytes` the database and its log.
        `discarded_frames` and `discarded_bytes` are what `recovery_report` is about.
        """
        return {
            **self._writer.counts,
            "pending": self._writer.pending,
            "desks": len(self._writer.heads),
            "journal_bytes": Path(self.path).stat().st_size + log_bytes(self.path),
            "discarded_frames": self._discarded.frames,
            "discarded_bytes": self._discarded.rest,
        }

    def close(self) -> None:
        """Make everything queued durable, release the ownership and close; twice does nothing."""
        self._writer.finish()
        # The connection that closes last folds the log into the database: the one that may.
        self._reader.close()
        try:
            self._connection.close()
        except SQLITE_ERRORS as error:
            _log.warning("the log of %s was not folded into it: %s", self.path, error)
        self._lock.release()


def _usable(path: str | os.PathLike[str]) -> str:
    """Return the file's real path, so that all symbolic links to it share one lock."""
    file = Path(path).resolve()
    if not file.parent.is_dir():
        raise JournalUnwritable(
            f"the folder of the journal {file} does not exist; create it, or name another"
        )
    if file.is_dir():
        raise JournalUnwritable(f"{file} is a folder; the journal is a file: name one inside it")
    if file.exists() and file.stat().st_nlink > 1:
        raise JournalUnwritable(
            f"{file} has {file.stat().st_nlink} names (hard links); SQLite keeps a log for each "
            "name, so two would damage each other: leave only one of them"
        )
    return str(file)
