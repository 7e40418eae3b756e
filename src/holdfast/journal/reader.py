"""Reading a SQLite journal, over a connection of its own that cannot write."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

import apsw

from holdfast.errors import JournalDamaged, JournalError
from holdfast.journal.codec import HASH_BYTES, Chain, damaged
from holdfast.journal.faults import DAMAGE, SQLITE_ERRORS, fault_of
from holdfast.journal.schema import is_new, open_reader
from holdfast.journal.wal import committed_frames
from holdfast.ports import Head, Record, StoredSnapshot

# Records are read in pieces of this many: a statement left open would keep the log from being
# written from its start again, however long the caller takes over each record.
RECORDS_PER_READ: Final = 1000
KEYS_PER_QUERY_MAX: Final = 128
# SQLITE_CHECKPOINT_NOOP, new in SQLite 3.51: only tells how long the log is.
NOOP: Final = -1

_RECORDS: Final = (
    "SELECT desk, seq, at_ns, kind, body, prev, hash FROM records "
    "WHERE desk = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_RECALL: Final = (
    "SELECT names.name, body, number, hash IS body_hash(CAST(body AS BLOB), desk, number) "
    "FROM names JOIN orders USING (desk, number) WHERE names.desk = ? AND names.name IN "
)
_BODIES: Final = (
    "SELECT number, body, number, hash IS body_hash(CAST(body AS BLOB), desk, number) "
    "FROM orders WHERE desk = ? AND number IN "
)
_SNAPSHOT: Final = (
    "SELECT seq, format, body, hash IS body_hash(CAST(body AS BLOB), desk, seq, format) "
    "FROM snapshots WHERE desk = ?"
)
_PLACES: Final = {
    count: f"({','.join('?' * count)})" for count in (1, 2, 4, 8, 16, 32, 64, KEYS_PER_QUERY_MAX)
}


class SqliteReader:
    """What stands in a journal, also while its owner writes; never changes the database.

    Methods may be called from any thread. SQLite may leave an empty `-wal` and `-shm` beside a
    journal that nobody had open.

    Raises:
        JournalError: there is no journal at that path, or it cannot be read, for instance because
            it is no SQLite database.
        JournalVersionError: a newer Holdfast wrote it.
    """

    def __init__(self, path: str | os.PathLike[str], *, vfs: str = "") -> None:
        file = Path(path).resolve()
        if not file.is_file():
            raise JournalError(f"there is no journal at {file}; check the path")
        self.path = str(file)
        self._lock = Lock()
        try:
            self._connection = self._connect(vfs)
            # Beside a log it may be a journal whose log is damaged, which `verify` tells.
            if is_new(self._connection, self.path) and not log_bytes(self.path):
                self._connection.close()
                raise JournalError(
                    f"{self.path} is empty: whoever creates this journal has not finished; try "
                    "again in a moment, or check the path"
                )
        except SQLITE_ERRORS as error:
            raise fault_of(error, self.path, reading=True) from error

    def _connect(self, vfs: str) -> apsw.Connection:
        try:
            return open_reader(self.path, vfs=vfs)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            # On read-only media SQLite cannot make the files that readers and writers share.
            # Without a log there is nothing beside the database, so it can do without them.
            if log_bytes(self.path):
                raise
            return open_reader(self.path, vfs=vfs, immutable=True)

    def desks(self) -> list[str]:
        """Return the desks that have records, by name."""
        return [desk for (desk,) in self._fetch("SELECT desk FROM heads ORDER BY desk", ())]

    def head(self, desk: str) -> Head:
        """Return where the desk's records end."""
        rows = self._fetch("SELECT seq, at_ns, hash FROM heads WHERE desk = ?", (desk,))
        if not rows:
            return Head()
        seq, at_ns, link = rows[0]
        return Head(seq=seq, at_ns=at_ns, hash=link)

    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        """Read records in order; raises JournalDamaged, naming the first that does not hold."""
        end = self.head(desk)
        chain = Chain(desk, after_seq, self._link(desk, after_seq, end))
        while rows := self.stored(desk, chain.seq):
            for record in rows:
                fault = chain.fault(record)
                if fault is not None:
                    raise fault
                yield record
        if chain.seq < end.seq:
            raise damaged(desk, chain.seq + 1, f"{chain.seq + 1} of {end.seq} is missing")
        if chain.seq == end.seq and chain.hash != end.hash:
            raise damaged(desk, end.seq, f"{end.seq} is not the one that was written last")

    def stored(self, desk: str, after_seq: int) -> list[Record]:
        """Read the next few records as they are stored, unchecked; none at the end.

        Raises:
            JournalDamaged: not even the first of them can be read.
        """
        found: list[Record] = []
        with self._lock:
            try:
                values = (desk, after_seq, RECORDS_PER_READ)
                for row in self._connection.execute(_RECORDS, values):
                    found.append(Record(*row))  # noqa: PERF401 - what came before an error counts
            except SQLITE_ERRORS as error:
                if found:
                    return found
                if isinstance(error, DAMAGE):
                    what = f"{after_seq + 1} or one near it cannot be read ({error})"
                    raise damaged(desk, after_seq + 1, what) from error
                raise fault_of(error, self.path, reading=True) from error
        return found

    def _link(self, desk: str, seq: int, end: Head) -> bytes:
        if seq == 0:
            return bytes(HASH_BYTES)
        rows = self._fetch("SELECT hash FROM records WHERE desk = ? AND seq = ?", (desk, seq))
        if not rows:
            raise damaged(desk, seq, f"{seq} is missing; the last one is {end.seq}")
        link: bytes = rows[0][0]
        return link

    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of ended orders by any of their names, as far as they are durable.

        Raises:
            JournalDamaged: one of them is not what was written.
        """
        return self._look_up(_RECALL, desk, names)

    def bodies(self, desk: str, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies of ended orders by their numbers, as far as they are durable.

        Raises:
            JournalDamaged: one of them is not what was written.
        """
        return self._look_up(_BODIES, desk, numbers)

    def _look_up(self, query: str, desk: str, keys: Sequence[Any]) -> dict[Any, bytes]:
        found: dict[Any, bytes] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY_MAX):
            part = keys[start : start + KEYS_PER_QUERY_MAX]
            places = 1 << (len(part) - 1).bit_length()
            spare = [None] * (places - len(part))
            rows = self._fetch(query + _PLACES[places], (desk, *part, *spare))
            for key, body, number, intact in rows:
                if not intact:
                    raise JournalDamaged(
                        f"desk {desk!r}: the body of order {number} is not what was written; run "
                        "`holdfast verify` to see all that is damaged, then restore the journal "
                        "from a backup",
                        desk=desk,
                    )
                found[key] = body
        return found

    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        """Return the desk's snapshot, unless it is newer than the records.

        Raises:
            JournalDamaged: it is not what was written.
        """
        rows = self._fetch(_SNAPSHOT, (desk,))
        if not rows or rows[0][0] > self.head(desk).seq:
            return None
        seq, form, body, intact = rows[0]
        if not intact:
            what = f"desk {desk!r}: the snapshot after record {seq} is not what was written"
            raise JournalDamaged(what, desk=desk)
        return StoredSnapshot(seq=seq, format=form, body=body)

    def raw(self, desk: str, number: int) -> bytes | None:
        """Return the last raw broker body of an order, if it is still kept."""
        rows = self._fetch("SELECT body FROM raw WHERE desk = ? AND number = ?", (desk, number))
        return rows[0][0] if rows else None

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT of one's own over the tables of schema.py."""
        return self._fetch(sql, values)

    def recovered_frames(self) -> int:
        """Return how many frames of the log SQLite takes as committed."""
        try:
            with self._lock:
                return self._connection.wal_checkpoint(mode=NOOP)[0]
        except apsw.ReadOnlyError:
            # On read-only media SQLite reads the log, but refuses even to tell how long it is.
            return committed_frames(self.path)
        except SQLITE_ERRORS as error:
            raise fault_of(error, self.path, reading=True) from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _fetch(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except apsw.SQLError as error:
            if not is_new(self._connection, self.path):
                raise fault_of(error, self.path, reading=True) from error
            raise JournalError(
                f"{self.path} has no tables yet: whoever creates this journal has not finished, or "
                "its log is damaged; try again in a moment"
            ) from error
        except SQLITE_ERRORS as error:
            raise fault_of(error, self.path, reading=True) from error


def load_heads(connection: apsw.Connection) -> dict[str, Head]:
    """Read where each desk's records end, and see that they do end there.

    Raises:
        JournalDamaged: a desk's last record is not the one that was written last.
    """
    rows: list[Any] = connection.execute("SELECT desk, seq, at_ns, hash FROM heads").fetchall()
    heads = {desk: Head(seq=seq, at_ns=at_ns, hash=link) for desk, seq, at_ns, link in rows}
    last = "SELECT seq, hash FROM records WHERE desk = ? ORDER BY seq DESC LIMIT 1"
    for desk, head in heads.items():
        try:
            stored: Any = connection.execute(last, (desk,)).fetchone()
        except DAMAGE as error:
            what = f"{head.seq} or one near it cannot be read ({error})"
            raise damaged(desk, head.seq, what) from error
        seq, link = stored or (0, b"")
        if seq < head.seq:
            raise damaged(desk, seq + 1, f"{seq + 1} of {head.seq} is missing")
        if seq > head.seq:
            what = f"{head.seq + 1} was written by another program than Holdfast"
            raise damaged(desk, head.seq + 1, what)
        if link != head.hash:
            raise damaged(desk, head.seq, f"{head.seq} is not the one that was written last")
    return heads


def log_bytes(path: str) -> int:
    """Return the size of the write-ahead log beside a database; 0 where there is none."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0
