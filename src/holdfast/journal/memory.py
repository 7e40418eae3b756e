"""The journal in memory: the same contract without a disk, and with faults to order.

`Store` is what survives: give it to a second journal and that one is the first after a restart.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import TypeAlias

from holdfast.errors import (
    Closed,
    JournalError,
    JournalLocked,
    JournalUnwritable,
    SequenceConflict,
)
from holdfast.journal.codec import Chain, damaged, seal
from holdfast.ports import Batch, ExecutionRow, Head, OrderRow, Record, StoredSnapshot

Done: TypeAlias = Callable[[BaseException | None], None]


class Store:
    """What a memory journal has made durable; tests may look into it and damage it."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {}
        self.heads: dict[str, Head] = {}
        self.orders: dict[tuple[str, int], OrderRow] = {}
        self.names: dict[tuple[str, str], int] = {}
        self.executions: dict[tuple[str, str, str], tuple[str, ExecutionRow]] = {}
        self.snapshots: dict[str, StoredSnapshot] = {}
        self.raw: dict[tuple[str, int], bytes] = {}
        self.owned = False

    def keep(self, batch: Batch, records: Sequence[Record], head: Head) -> None:
        """Store a sealed batch with its rows; newer versions of a row replace older ones."""
        desk = batch.desk
        self.records.setdefault(desk, []).extend(records)
        self.heads[desk] = head
        for order in batch.orders:
            self.orders[desk, order.number] = order
            self.names.update(((desk, name), order.number) for name in order.names)
        for row in batch.executions:
            key = row.account, row.broker_order_id, row.execution_id
            self.executions[key] = desk, row


class MemoryJournal:
    """A journal over a store; implements `holdfast.ports.Journal`.

    A batch is durable within `append`, and its `done` is called there, except between `pause` and
    `resume`.

    Raises:
        JournalLocked: another journal over this store was neither closed nor crashed.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store()
        if self.store.owned:
            raise JournalLocked("this store is in use by another journal; close that one first")
        self.store.owned = self._open = True
        self._queue: deque[tuple[Batch, Done]] = deque()
        self._paused = self._writing = False
        self._failed: JournalError | None = None
        self._refused: dict[str, JournalError] = {}
        self._fail_at, self._fault = 0, JournalError()
        self._recoveries_refused = 0
        self._counts = dict.fromkeys(
            ("records", "bytes", "commits", "batches", "failures", "conflicts", "recoveries"), 0
        )

    def fail_at(
        self, number: int, error: JournalError | None = None, *, recoveries_refused: int = 0
    ) -> None:
        """Let the append fail that holds the `number`-th record since this journal was opened.

        The journal then stays failed until `recover`, which itself fails `recoveries_refused`
        times. `error` is what the caller gets instead of a full disk.
        """
        self._fail_at, self._recoveries_refused = number, recoveries_refused
        self._fault = error or JournalUnwritable("the disk is full, as the test asked for")

    def pause(self) -> None:
        """Let batches wait, as they do while a disk is busy."""
        self._paused = True

    def resume(self, batches: int | None = None) -> None:
        """Write what waits: all of it and go on as usual, or only the next few."""
        self._paused = batches is not None
        self._write(batches)

    def crash(self) -> Store:
        """End without another word, as a killed process: what waits is lost; return the rest."""
        self._open = self.store.owned = False
        self._queue.clear()
        return self.store

    def head(self, desk: str) -> Head:
        """Return where the desk's records end."""
        return self.store.heads.get(desk) or Head()

    def append(self, batch: Batch, done: Done) -> None:
        """Make a batch durable, or queue it while paused.

        Raises:
            Closed: the journal was closed; `done` is not called.
        """
        if not self._open:
            raise Closed("the journal is closed; open it again to write to it")
        self._queue.append((batch, done))
        if not self._paused:
            self._write(None)

    def _write(self, batches: int | None) -> None:
        if self._writing:  # a listener appends: its batch waits for the ones before it
            return
        self._writing = True
        try:
            while self._queue and batches != 0:
                batch, done = self._queue.popleft()
                done(copy(self._take(batch)))
                batches = None if batches is None else batches - 1
        finally:
            self._writing = False

    def _take(self, batch: Batch) -> JournalError | None:
        """Store one batch, or return why it is not."""
        error = self._failed or self._refused.get(batch.desk)
        if error is not None:
            return error
        head = self.head(batch.desk)
        if batch.first_seq != head.seq + 1:
            self._counts["conflicts"] += 1
            self._refused[batch.desk] = SequenceConflict(
                f"desk {batch.desk!r} wanted to write record {batch.first_seq}, but the next one "
                f"is {head.seq + 1}: load the desk again from the journal before going on"
            )
            return self._refused[batch.desk]
        written = self._counts["records"]
        if written < self._fail_at <= written + len(batch.events):
            self._fail_at, self._failed = 0, self._fault
            self._counts["failures"] += 1
            return self._failed
        try:
            records, after = seal(batch.desk, head, batch.events)
        except Exception as problem:  # noqa: BLE001 - whatever it is, this desk must not go on
            self._refused[batch.desk] = JournalUnwritable(
                f"an event of desk {batch.desk!r} after record {head.seq} cannot be written "
                f"({type(problem).__name__}: {problem})"
            )
            return self._refused[batch.desk]
        self.store.keep(batch, records, after)
        self._counts["records"] += len(records)
        self._counts["bytes"] += sum(len(record.body) for record in records)
        self._counts["commits"] += 1
        self._counts["batches"] += 1
        return None

    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        """Read records in order; raises JournalDamaged, naming the first that does not hold."""
        stored, end = self.store.records.get(desk, []), self.head(desk)
        chain = Chain(desk)
        if after_seq:
            before = next((record for record in stored if record.seq == after_seq), None)
            if before is None:
                raise damaged(desk, after_seq, f"{after_seq} is missing; the last is {end.seq}")
            chain = Chain(desk, after_seq, before.hash)
        for record in tuple(stored):
            if record.seq <= after_seq:
                continue
            fault = chain.fault(record)
            if fault is not None:
                raise fault
            yield record
        if chain.seq < end.seq:
            raise damaged(desk, chain.seq + 1, f"{chain.seq + 1} of {end.seq} is missing")

    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of ended orders by any of their names."""
        found = ((name, self.store.names.get((desk, name))) for name in names)
        return {
            name: self.store.orders[desk, number].body
            for name, number in found
            if number is not None
        }

    def bodies(self, desk: str, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies of ended orders by their numbers."""
        found = ((number, self.store.orders.get((desk, number))) for number in numbers)
        return {number: row.body for number, row in found if row is not None}

    def save_snapshot(self, desk: str, snapshot: StoredSnapshot) -> None:
        """Keep a snapshot; one that is newer than the durable records is lost."""
        if self._failed is None and snapshot.seq <= self.head(desk).seq:
            self.store.snapshots[desk] = snapshot

    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        """Return the snapshot written last, unless it is newer than the records."""
        snapshot = self.store.snapshots.get(desk)
        return snapshot if snapshot and snapshot.seq <= self.head(desk).seq else None

    def recover(self) -> None:
        """Go on behind what is stored.

        Raises:
            JournalUnwritable: as often as `fail_at` was told.
        """
        if self._recoveries_refused > 0:
            self._recoveries_refused -= 1
            raise JournalUnwritable("the disk is still full, as the test asked for")
        self._failed = None
        self._refused.clear()
        self._counts["recoveries"] += 1

    def keep_raw(self, desk: str, number: int, at_ns: int, body: bytes) -> None:
        """Keep the last raw broker body of an order, for as long as the store lives."""
        del at_ns  # nothing grows too old here
        self.store.raw[desk, number] = body

    def statistics(self) -> dict[str, int]:
        """Return counts since opening, and what is pending."""
        return {**self._counts, "pending": len(self._queue), "desks": len(self.store.heads)}

    def close(self) -> None:
        """Write what waits and give the store up; twice does nothing."""
        if self._open:
            self.resume()
            self._open = self.store.owned = False
