"""The thread that writes: whatever has been queued meanwhile becomes one transaction.

Rule 1: one transaction is all or nothing, and so is the journal behind it: after a failure every
queued and later batch gets an error, until `recover` has proved that writing works again.
Rule 2: the thread gives up the interpreter's lock as rarely as it can; see rows.py.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Final, NamedTuple, TypeAlias

import apsw

from holdfast.errors import Closed, JournalError, JournalUnwritable, SequenceConflict
from holdfast.journal import rows
from holdfast.journal.codec import seal_rows
from holdfast.journal.faults import fault_of
from holdfast.journal.reader import load_heads
from holdfast.ports import Batch, Head, StoredSnapshot

Done: TypeAlias = Callable[[BaseException | None], None]

# Bounds how long the first of many waiting batches waits for the last, and one transaction's size.
EVENTS_PER_COMMIT_MAX: Final = 4096
# Big enough that it cannot fit into the slack of the last pages: on a full disk it must fail.
PROBE_BYTES: Final = 65536
NS_PER_DAY: Final = 86_400_000_000_000
_COUNTS: Final = (
    "records bytes commits batches batches_per_commit_max failures conflicts recoveries "
    "checkpoints snapshots snapshots_lost raw"
)

_log: Final = logging.getLogger(__name__)


class Append(NamedTuple):
    """A batch to be made durable, and whom to tell."""

    batch: Batch
    done: Done
    events: int


class KeepRaw(NamedTuple):
    """The last raw broker body of an order."""

    desk: str
    number: int
    at_ns: int
    body: bytes


class Save(NamedTuple):
    """A snapshot, written once the records before it are durable."""

    desk: str
    snapshot: StoredSnapshot


class Control(NamedTuple):
    """Something to be done between two transactions; `run` returns False to end the thread."""

    run: Callable[[], bool]
    result: "Future[None]"


Job: TypeAlias = Append | KeepRaw | Save | Control


class Writer:
    """Owns the writing connection; all methods but `submit` and `call` belong to its thread.

    `heads` is where each desk's durable records end; it is replaced as a whole, never changed.
    """

    def __init__(
        self, connection: apsw.Connection, path: str, *, checkpoint_pages: int, raw_days: int
    ) -> None:
        self.heads = load_heads(connection)
        self.counts = dict.fromkeys(_COUNTS.split(), 0)
        self._connection, self._path = connection, path
        self._checkpoint_pages, self._raw_ns = checkpoint_pages, raw_days * NS_PER_DAY
        self._inode = Path(path).stat().st_ino
        self._pages = 0  # written to the log since it was last folded into the database
        self._failed: JournalError | None = None
        self._refused: dict[str, JournalError] = {}
        self._gate, self._open = Lock(), True
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._thread = Thread(target=self._work, name="holdfast-journal", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many jobs wait for the next transaction."""
        return self._queue.qsize()

    def submit(self, job: Job) -> None:
        """Queue a job; from any thread.

        Raises:
            Closed: the journal was closed; the job was not taken.
        """
        with self._gate:
            if not self._open:
                raise Closed(f"{self._path} is closed; open the journal again to write to it")
            self._queue.put(job)

    def call(self, run: Callable[[], bool]) -> None:
        """Run something on the thread after all that is queued, and wait for it.

        Raises:
            Closed: the journal was closed.
            RuntimeError: called by a listener, for which the thread waits.
        """
        if current_thread() is self._thread:
            raise RuntimeError("a listener cannot wait for the thread that calls it")
        result: Future[None] = Future()
        self.submit(Control(run, result))
        result.result()

    def recover(self) -> bool:
        """Write a probe, count anew where the records end, and take batches again.

        Raises:
            JournalError: it still cannot be written.
        """
        try:
            self._check_place()
            self._probe(PROBE_BYTES)
            # Frames of a commit that failed must not be found behind later ones after a crash.
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self.heads = load_heads(self._connection)
        except Exception as error:
            raise fault_of(error, self._path) from error
        self._failed, self._pages = None, 0
        self._refused.clear()
        self.counts["recoveries"] += 1
        return True

    def finish(self) -> None:
        """Write what is queued and end the thread; twice does nothing."""
        with self._gate:
            if not self._open:
                return
            self._open = False
            result: Future[None] = Future()
            self._queue.put(Control(lambda: False, result))
        self._thread.join()

    def _work(self) -> None:
        going = True
        while going:
            jobs, control = self._drain()
            batches = [job for job in jobs if type(job) is Append]
            raws = [job for job in jobs if type(job) is KeepRaw]
            if batches or raws:
                self._commit(batches, raws)
            for job in jobs:
                if type(job) is Save:
                    self._save(job)
            if control is not None:
                going = _run(control)
            self._pages += self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, reset=True)[0]
            if self._pages >= self._checkpoint_pages:
                self._checkpoint()

    def _drain(self) -> tuple[list[Job], Control | None]:
        """Wait for a job and take what else is there, up to a control or the bound."""
        jobs: list[Job] = []
        get, events = self._queue.get, 0
        try:
            while events < EVENTS_PER_COMMIT_MAX:
                job = get(not jobs)
                if type(job) is Control:
                    return jobs, job
                jobs.append(job)
                events += job.events if type(job) is Append else 1
        except Empty:
            pass
        return jobs, None

    def _commit(self, jobs: Sequence[Append], raws: Sequence[KeepRaw]) -> None:
        """Make all batches durable together, then tell everyone in the order of appending."""
        try:
            errors = self._store(jobs, raws)
        except Exception as error:  # noqa: BLE001 - an end of this thread would be worse
            errors = [self._fail(error)] * len(jobs)
        for job, outcome in zip(jobs, errors, strict=True):
            _tell(job.done, outcome)

    def _store(self, jobs: Sequence[Append], raws: Sequence[KeepRaw]) -> list[JournalError | None]:
        """Seal and write what fits; return for each batch why it was not stored."""
        heads = dict(self.heads)
        sealed: list[rows.Row] = []
        errors = [self._failed or self._take(job.batch, heads, sealed) for job in jobs]
        taken = [job.batch for job, error in zip(jobs, errors, strict=True) if error is None]
        if self._failed is None and (taken or raws):
            failure = self._transact(taken, sealed, heads, raws)
            return [error or failure for error in errors]
        return errors

    def _take(
        self, batch: Batch, heads: dict[str, Head], sealed: list[rows.Row]
    ) -> JournalError | None:
        """Seal a batch behind its desk's head; a batch that does not fit refuses all later ones."""
        desk = batch.desk
        if desk in self._refused:
            return self._refused[desk]
        head = heads.get(desk) or Head()
        if batch.first_seq != head.seq + 1:
            self.counts["conflicts"] += 1
            self._refused[desk] = SequenceConflict(
                f"desk {desk!r} wanted to write record {batch.first_seq}, but the next one of "
                f"{self._path} is {head.seq + 1}: somebody else has written, or a batch before "
                "this one was refused. Load the desk again from the journal before going on"
            )
            return self._refused[desk]
        try:
            records, after = seal_rows(desk, head, batch.events)
        except Exception as error:  # noqa: BLE001 - whatever it is, this desk must not go on
            self._refused[desk] = JournalUnwritable(
                f"an event of desk {desk!r} after record {head.seq} cannot be written "
                f"({type(error).__name__}: {error}); none of its batch was. Load the desk again"
            )
            return self._refused[desk]
        sealed.extend(records)
        heads[desk] = after
        return None

    def _transact(
        self,
        batches: Sequence[Batch],
        sealed: Sequence[rows.Row],
        heads: dict[str, Head],
        raws: Sequence[KeepRaw],
    ) -> JournalError | None:
        """Write one transaction; return what went wrong, after which nothing of it is left."""
        try:
            moved = [
                (desk, head.seq, head.at_ns, head.hash)
                for desk, head in heads.items()
                if head is not self.heads.get(desk)
            ]
            orders = [row for item in batches for row in rows.order_rows(item.desk, item.orders)]
            names = [row for item in batches for row in rows.name_rows(item.desk, item.orders)]
            executions = chain.from_iterable(
                rows.execution_rows(item.desk, item.executions) for item in batches
            )
            inserts = (
                (rows.RECORDS, sealed), (rows.HEADS, moved), (rows.ORDERS, orders),
                (rows.NAMES, names), (rows.EXECUTIONS, list(executions)), (rows.RAW, raws),
            )  # fmt: skip
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            for insert, values in inserts:
                if values:
                    insert.run(self._connection, values)
            if raws:
                self._forget_raw(raws[-1].at_ns, len(raws))
            execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of it may be kept
            return self._fail(error)
        self.heads = heads
        self._count(len(batches), sealed, len(raws))
        return None

    def _forget_raw(self, now_ns: int, added: int) -> None:
        """Drop bodies that are too old, a few more than came, so that a backlog goes as well."""
        if self._raw_ns > 0:
            self._connection.execute(
                "DELETE FROM raw WHERE rowid IN "
                "(SELECT rowid FROM raw WHERE at_ns < ? ORDER BY at_ns LIMIT ?)",
                (now_ns - self._raw_ns, 2 * added + 10),
            )

    def _fail(self, error: Exception) -> JournalError:
        """Undo the transaction, and see to it that a crash cannot bring it back."""
        self._failed = failure = fault_of(error, self._path)
        failure.__cause__ = error
        self.counts["failures"] += 1
        try:
            # A commit whose sync failed may stand complete in the log, where the recovery after a
            # crash would find it; the next commit is written over it.
            self._probe(1)
        except Exception as again:  # noqa: BLE001 - the first error is the one to report
            _log.warning("the journal stays as the failed commit left it: %s", again)
        return failure

    def _probe(self, size: int) -> None:
        """Commit a row of that size, and take it away again."""
        connection = self._connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for part in (size, 0):
            connection.execute("REPLACE INTO probe (id, body) VALUES (1, zeroblob(?))", (part,))

    def _save(self, job: Save) -> None:
        """Write a snapshot; one that cannot be written, or runs ahead of the records, is lost."""
        desk, snapshot = job
        head = self.heads.get(desk)
        if self._failed or head is None or snapshot.seq > head.seq:
            self.counts["snapshots_lost"] += 1
            return
        try:
            intact = rows.body_hash(snapshot.body, desk, snapshot.seq, snapshot.format)
            self._connection.execute(
                "REPLACE INTO snapshots (desk, seq, format, body, hash) VALUES (?, ?, ?, ?, ?)",
                (desk, snapshot.seq, snapshot.format, snapshot.body, intact),
            )
        except Exception as error:  # noqa: BLE001 - a snapshot costs time, not truth
            self.counts["snapshots_lost"] += 1
            _log.warning("snapshot of desk %r at record %d not kept: %s", desk, snapshot.seq, error)
            return
        self.counts["snapshots"] += 1

    def _checkpoint(self) -> None:
        """Fold the log into the database; after `done`, so that nobody waits for it."""
        self._pages = 0
        try:
            self._check_place()
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except JournalUnwritable as error:
            self._failed = error
            return
        except apsw.Error as error:
            # The log holds everything; it only grows until a later checkpoint succeeds.
            _log.warning("the log of %s was not folded into it: %s", self._path, error)
            return
        self.counts["checkpoints"] += 1

    def _check_place(self) -> None:
        """See that the file is still the one at the path; SQLite would write on into nowhere."""
        try:
            there = Path(self._path).stat().st_ino == self._inode
        except FileNotFoundError:
            there = False
        if not there:
            raise JournalUnwritable(
                f"{self._path} was moved or removed while in use; stop this process, put the file "
                "and the log beside it back, and start again"
            )

    def _count(self, batches: int, sealed: Sequence[rows.Row], raws: int) -> None:
        counts = self.counts
        counts["records"] += len(sealed)
        counts["bytes"] += sum(len(row[4]) for row in sealed)
        counts["commits"] += 1
        counts["batches"] += batches
        counts["batches_per_commit_max"] = max(counts["batches_per_commit_max"], batches)
        counts["raw"] += raws


def _run(control: Control) -> bool:
    try:
        going = control.run()
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the result
        control.result.set_exception(error)
        return True
    control.result.set_result(None)
    return going


def _tell(done: Done, error: JournalError | None) -> None:
    """Tell one owner; each gets an error of its own, for it may be raised on another thread."""
    try:
        done(None if error is None else copy(error))
    except Exception:  # noqa: BLE001 - one listener must not keep the others from hearing
        _log.exception("a listener failed on hearing that its batch was written")
