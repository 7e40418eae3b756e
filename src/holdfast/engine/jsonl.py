"""JSONL files of one desk, kept up to date while it runs and rebuilt from its journal after a tear.

Rule 1: the files are never the truth. What is missing in them comes from the journal, from the
record after the last whole row on.
Rule 2: the desk never waits for them. News is taken from the ring that all readers share, in a
thread of its own; where the ring was faster, the journal fills the gap.
Rule 3: whatever goes wrong with the disk, it is tried again from what stands there, ever more
slowly, for as long as the desk runs.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from holdfast.domain.events import AnyEvent
from holdfast.domain.state import State
from holdfast.domain.stored import FORMAT
from holdfast.engine.feed import Feed, Gap, Notice
from holdfast.engine.jsonl_book import Book
from holdfast.engine.jsonl_file import LineFile, examine, put_aside, rewrite
from holdfast.engine.jsonl_rows import ErrorLine, Line, OrderLine, Session
from holdfast.engine.masking import described
from holdfast.errors import JournalError
from holdfast.journal.codec import decode
from holdfast.ports import Journal, Record

_log = logging.getLogger("holdfast.jsonl")

ORDERS: Final = "orders.jsonl"
TRADES: Final = "trades.jsonl"
ERRORS: Final = "errors.jsonl"
PENDING: Final = "pending_orders.jsonl"
# Up to which record the files are complete, so that a start need not fold the whole journal.
POSITION: Final = ".jsonl_position"

# Records folded before their rows are written: what a rebuild holds in memory.
BATCH_MAX: Final = 1_000
# The list of open orders is written anew at most so often, however much happens.
PENDING_APART_S: Final = 0.5
# After a failure everything is read anew, so it is not done in a hurry.
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 300.0
# How long a close waits for what is left to write.
CLOSE_MAX_S: Final = 5.0
# Like the callbacks' thread this one lets go of the interpreter now and then, or the engine would
# wait a switch interval (5 ms) to get it back.
_BREATH_EVERY: Final = 16
_BREATH_S: Final = 50e-6

COUNTS: Final = ("rows", "gaps", "torn", "damaged", "failures", "rewrites")

OnLine: TypeAlias = Callable[[OrderLine | ErrorLine], None]
_T = TypeVar("_T")

_encode: Final = msgspec.json.Encoder().encode


class Position(Struct, frozen=True, kw_only=True):
    """All rows up to record `seq` stand in the files, which then had these sizes."""

    seq: int
    session: Session
    sizes: dict[str, int]


_position: Final = msgspec.json.Decoder(Position).decode


class _StoppedError(Exception):
    """Nobody waits for what the thread is doing."""


class JsonlFiles:
    """`orders.jsonl`, `trades.jsonl`, `errors.jsonl` and `pending_orders.jsonl` of one desk.

    `feed` is the desk's, `journal` the one that it writes. `audit` is called, in the files'
    thread, with each row of orders and errors that is news to this process.
    """

    def __init__(
        self,
        folder: Path,
        feed: Feed,
        journal: Journal,
        name: str,
        *,
        audit: OnLine | None = None,
    ) -> None:
        self.folder = folder
        self.counts = dict.fromkeys(COUNTS, 0)
        self._feed = feed
        self._journal = journal
        self._name = name
        self._audit = audit
        self._audited = journal.head(name).seq
        self._reader = feed.reader("jsonl")
        self._book = Book()
        self._files: dict[str, LineFile] = {}
        self._lines: dict[str, list[bytes]] = {}
        self._is_stale = True
        self._is_stopped = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-jsonl")
        self._breath = Lock()
        self._breath.acquire()
        self._closing: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def seq(self) -> int:
        """The newest record that the files tell of; without rows of their own, most do not show."""
        return self._book.seq

    def start(self) -> None:
        """Begin: make the files whole, then follow the desk. Returns at once."""
        loop = asyncio.get_running_loop()
        self._closing = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"jsonl {self._name}")

    async def close(self) -> None:
        """Write what is left and close the files; before the journal is closed."""
        if self._task is None:
            return
        assert self._closing is not None
        if not self._closing.done():
            self._closing.set_result(None)
        _, late = await asyncio.wait({self._task}, timeout=CLOSE_MAX_S)
        if late:
            _log.warning("%s is behind; the next start writes the rest", self.folder)
        await self.abandon()

    async def abandon(self) -> None:
        """Stop at once, as a crash would; the next start writes what is missing."""
        self._feed.leave(self._reader)
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_MAX_S)
        self._thread.shutdown(wait=False)

    def statistics(self) -> dict[str, int]:
        """Return counters: rows written, gaps filled, lines cut, files put aside, failures."""
        return {**self.counts, "seq": self._book.seq}

    # On the loop.

    async def _run(self) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                await self._in_thread(self._open)
                wait_s = RETRY_FIRST_S
                await self._follow()
            except _StoppedError:
                return
            except (OSError, JournalError) as error:
                self.counts["failures"] += 1
                _log.warning("%s: %s; tried again in %g s", self.folder, described(error), wait_s)
            except Exception:  # noqa: BLE001 - a defect here must not end the files for good
                self.counts["failures"] += 1
                _log.exception("%s cannot be written; tried again in %g s", self.folder, wait_s)
            else:
                return
            finally:
                await self._in_thread(self._shut)
            if await self._is_closed_within(wait_s):
                return
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def _follow(self) -> None:
        """Write what comes, until the desk is closed and nothing is left."""
        loop = asyncio.get_running_loop()
        assert self._closing is not None
        next_list = loop.time()
        notice: Notice | Gap | None = None
        while True:
            closing = self._closing.done()
            lists = self._is_stale and (closing or loop.time() >= next_list)
            await self._in_thread(self._list if lists else self._drain, notice)
            if lists:
                next_list = loop.time() + PENDING_APART_S
            notice = None
            if self._reader.is_behind:
                continue
            if closing and not self._is_stale:
                await self._in_thread(self._sync)
                return
            if not closing:
                wait_s = max(next_list - loop.time(), 0.0) if self._is_stale else None
                notice = await self._news(wait_s)

    async def _news(self, wait_s: float | None) -> Notice | Gap | None:
        """Take the next notice; None when it is time for something else."""
        assert self._closing is not None
        waiting = asyncio.ensure_future(self._reader.wait())
        try:
            either: set[asyncio.Future[Any]] = {waiting, self._closing}
            await asyncio.wait(either, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # It takes a notice and ends in one go, so that none is lost by cancelling it.
            waiting.cancel()
        return waiting.result() if waiting.done() and not waiting.cancelled() else None

    async def _is_closed_within(self, wait_s: float) -> bool:
        assert self._closing is not None
        await asyncio.wait({self._closing}, timeout=wait_s)
        return self._closing.done()

    async def _in_thread(self, work: Callable[..., _T], *given: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *given)

    # In the thread.

    def _open(self) -> None:
        """Find the files as they are, make them whole, and bring them up to the journal's end."""
        journal, name = self._journal, self._name
        self._shut()
        self.folder.mkdir(parents=True, exist_ok=True)
        head_seq, epoch = journal.head(name).seq, self._epoch()
        for each in (ORDERS, TRADES, ERRORS):
            self._files[each] = self._opened(self.folder / each, epoch, head_seq)
        self._book, self._lines = self._begun(epoch, head_seq), {}
        self._from_journal()
        self._list(None)

    def _epoch(self) -> str:
        """Return what the sessions of this journal's desk begin with; empty before the first."""
        first: Record | None = next(iter(self._journal.records(self._name)), None)
        return str(getattr(decode(first), "epoch", "")) if first is not None else ""

    def _opened(self, path: Path, epoch: str, head_seq: int) -> LineFile:
        found = examine(path, epoch=epoch, head_seq=head_seq)
        if found.damage:
            self.counts["damaged"] += 1
            aside = put_aside(path)
            _log.warning(
                "%s holds %s; it is kept as %s and written anew from the journal",
                path,
                found.damage,
                aside.name,
            )
            found = examine(path, epoch=epoch, head_seq=head_seq)
        elif found.torn:
            self.counts["torn"] += 1
            _log.warning(
                "%s ended in %d bytes of an unfinished line after row %d; it is written again",
                path,
                found.torn,
                found.seq,
            )
        return LineFile(path, found)

    def _begun(self, epoch: str, head_seq: int) -> Book:
        """Return a book at the snapshot, if all rows up to there are written, or an empty one.

        Whatever is wrong with either of them costs time alone.
        """
        try:
            stood = _position((self.folder / POSITION).read_bytes())
            snapshot = self._journal.load_snapshot(self._name)
            if (
                snapshot is not None
                and snapshot.format == FORMAT
                and snapshot.seq <= stood.seq <= head_seq
                and stood.session.session_id.startswith(f"{epoch}-")
                and all(file.size >= stood.sizes[name] for name, file in self._files.items())
            ):
                state = State.load(snapshot.body)
                return Book(snapshot.seq, state, stood.session)
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - the records are there, whatever is wrong here
            _log.warning("%s: all records are folded: %s", self.folder, described(error))
        return Book()

    def _from_journal(self) -> None:
        """Fold every record that is durable and not folded yet."""
        for record in self._journal.records(self._name, self._book.seq):
            self._take(record.seq, decode(record))
        self._flush()

    def _drain(self, notice: Notice | Gap | None) -> None:
        """Fold what was published, from this notice on; where something is missing, the journal."""
        notice = notice or self._reader.take()
        while notice is not None:
            if isinstance(notice, Gap):
                self.counts["gaps"] += 1
                self._from_journal()
            elif notice.seq > self._book.seq:
                if notice.seq > self._book.seq + 1:
                    self._from_journal()
                else:
                    self._take(notice.seq, notice.event)
            notice = self._reader.take()
        self._flush()

    def _take(self, seq: int, event: AnyEvent) -> None:
        lines = self._book.take(seq, event)
        self._is_stale = True
        is_news, self._audited = seq > self._audited, max(seq, self._audited)
        if lines.trade is not None:
            self._add(TRADES, lines.trade)
        for name, line in ((ORDERS, lines.order), (ERRORS, lines.error)):
            if line is not None:
                self._add(name, line)
                if is_news and self._audit is not None:
                    self._audit(line)
        if seq % _BREATH_EVERY == 0:
            self._breath.acquire(timeout=_BREATH_S)
        if seq % BATCH_MAX == 0:
            self._flush()
        if self._is_stopped:
            raise _StoppedError

    def _add(self, name: str, line: Line) -> None:
        if line.seq > self._files[name].seq:
            self._lines.setdefault(name, []).append(_encode(line) + b"\n")

    def _flush(self) -> None:
        """Hand the system what was folded; every row of the batch, or an error."""
        for name, lines in self._lines.items():
            self._files[name].append(b"".join(lines), self._book.seq)
            self.counts["rows"] += len(lines)
        self._lines = {}
        self._book.rest()

    def _list(self, notice: Notice | Gap | None) -> None:
        """Fold what was published, then write down which orders are open."""
        self._drain(notice)
        self._is_stale = False
        rewrite(self.folder / PENDING, (_encode(each) + b"\n" for each in self._book.pending()))
        sizes = {name: file.size for name, file in self._files.items()}
        stands = Position(seq=self._book.seq, session=self._book.session, sizes=sizes)
        rewrite(self.folder / POSITION, [_encode(stands)])
        self.counts["rewrites"] += 1

    def _sync(self) -> None:
        for file in self._files.values():
            file.sync()

    def _shut(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}
