"""Turns: a desk is stepped in batches, ahead of the disk, and heard of only behind it.

Rule 1: inputs in, events to the journal, and only when those are durable the effects go out and
anybody hears of them. While one batch is being committed the next ones are stepped.
Rule 2: one step's events are one transaction with their whole batch, never split.

What happens when a step raises or a batch is not written is in `runner.py`.
"""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from holdfast.clock import NS_PER_S
from holdfast.domain.desk import ARCHIVE_SLACK, FORMAT, Decision
from holdfast.domain.effects import Effect
from holdfast.domain.events import (
    AnyEvent,
    ExecutionCorrected,
    OpeningBalanceSet,
    OrderFilled,
)
from holdfast.domain.group_book import GROUP_EVENTS
from holdfast.domain.inputs import Archive, Input, Recalled, Tick
from holdfast.domain.settings import Settings
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.feed import Feed, Notice
from holdfast.engine.flight import Flight, GroupNumber, Subject, Watcher, settle
from holdfast.engine.group_views import GroupView, view_group
from holdfast.engine.inbox import Entry, Inbox
from holdfast.engine.recovery import Recovered, recall
from holdfast.engine.routing import DeskPort
from holdfast.engine.rows import Rows
from holdfast.engine.views import OrderView, view_order
from holdfast.errors import HoldfastError, JournalError
from holdfast.ports import Batch, Journal, StoredSnapshot

_log = logging.getLogger("holdfast.runner")

# Inputs of one turn: enough to share a commit, few enough that a cancel is not kept waiting.
BATCH_MAX: Final = 512
# Batches ahead of the disk: one being written, one stepped meanwhile. More would only make them
# smaller, and each commit costs the two threads the same number of hand-overs.
FLIGHTS_MAX: Final = 2
# A timer that is due again at once must not spin.
TICK_APART_MIN_S: Final = 0.001
# Records between two snapshots for each order in memory, of which a snapshot writes about a
# kilobyte: so snapshots stay a small part of what is written.
RECORDS_PER_ORDER_MIN: Final = 10

# What changes a position.
_TRADES: Final = frozenset({OrderFilled, ExecutionCorrected, OpeningBalanceSet})
# What a caller's command comes to: an order or several, a group, a refusal, or nothing.
Result: TypeAlias = OrderView | tuple[OrderView, ...] | GroupView | HoldfastError | None

COUNTS: Final = (
    "turns",
    "inputs",
    "events",
    "batches",
    "batches_lost",
    "refolds",
    "quarantined",
    "recalls",
    "snapshots",
)


class Turns(ABC):
    """Steps one desk and keeps count of what is on its way to the disk."""

    def __init__(
        self,
        journal: Journal,
        name: str,
        recovered: Recovered,
        time: DeskTime,
        *,
        settings: Settings,
        snapshot_every: int,
    ) -> None:
        self.desk = recovered.desk
        self.feed = Feed()
        self.inbox = Inbox()
        self.durable_seq = recovered.seq
        self.perform: Callable[[Sequence[Effect], DeskPort], None] = lambda _effects, _port: None
        self.on_durable: Callable[[Sequence[AnyEvent]], None] | None = None
        self.on_traded: Callable[[Sequence[AnyEvent]], None] | None = None
        self.counts = dict.fromkeys(COUNTS, 0)
        self._journal = journal
        self._name = name
        self._settings = settings
        self._time = time
        self._snapshot_every = snapshot_every
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._seq = recovered.seq
        self._snapshot_seq = recovered.snapshot_seq
        self._durable_ns = recovered.at_ns
        self._rows = Rows(self.desk)
        self._flights: deque[Flight] = deque()
        self._settled: deque[tuple[Flight, BaseException | None]] = deque()
        self._watchers: dict[Subject, list[Watcher[Any]]] = {}
        self._turn_due = self._settle_due = False
        self._no_tick_before_ns = 0
        self._suspect: Input | None = None
        self._alone = 0
        self._lost_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle: list[asyncio.Future[None]] = []

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Tell whether the desk may be stepped."""

    @property
    @abstractmethod
    def port(self) -> DeskPort:
        """What the link knows of this desk."""

    @abstractmethod
    def _defect(self, entries: list[Entry], entry: Entry, error: Exception) -> None:
        """The desk raised on one of these entries; nothing of this turn counts."""

    @abstractmethod
    def _unreadable(self, entries: list[Entry], error: JournalError) -> None:
        """The journal could not be read during this turn, of which nothing counts."""

    @abstractmethod
    def _unwritten(self, error: BaseException) -> None:
        """The oldest batch in flight was not written, nor anything after it."""

    @abstractmethod
    def _landed(self) -> None:
        """Something in flight came to its end."""

    def watch(self, number: int, check: Callable[[OrderView], bool]) -> Watcher[OrderView]:
        """Wait until an order in memory passes a check, judged on durable states alone."""
        watcher = Watcher(number, check, self._loop.create_future())
        self._begin(watcher)
        return watcher

    def watch_group(self, number: int, check: Callable[[GroupView], bool]) -> Watcher[GroupView]:
        """Wait until a group in memory passes a check, judged on durable states alone."""
        watcher = Watcher(GroupNumber(number), check, self._loop.create_future())
        self._begin(watcher)
        return watcher

    def _begin(self, watcher: Watcher[Any]) -> None:
        view = self._view(watcher.subject)
        outcome = watcher.outcome(view) if view is not None else None
        if outcome is None:
            self._watchers.setdefault(watcher.subject, []).append(watcher)
        elif self._flights:
            self._flights[-1].seen.append((watcher, outcome))
        else:
            settle(watcher.future, outcome)

    def unwatch(self, watcher: Watcher[Any]) -> None:
        """Stop waiting."""
        watchers = self._watchers.get(watcher.subject, [])
        if watcher in watchers:
            watchers.remove(watcher)
            if not watchers:
                del self._watchers[watcher.subject]

    def _watch_again(self, lost: Flight) -> None:
        """What a lost flight would have told nobody was told: whoever waits goes on waiting."""
        for watcher, _ in lost.seen:
            self._watchers.setdefault(watcher.subject, []).append(watcher)

    def _watch_anew(self) -> None:
        """After a refold judge every wait by what is durable: its news may have come and gone."""
        for subject, watchers in list(self._watchers.items()):
            view = self._view(subject)
            if view is None:
                continue
            for watcher in list(watchers):
                outcome = watcher.outcome(view)
                if outcome is not None:
                    self.unwatch(watcher)
                    settle(watcher.future, outcome)

    def _wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def nudge(self) -> None:
        """Look whether anything is due; timers may have missed it."""
        self._wake()

    def _turn(self) -> None:
        """Step what waits, and send what it gave on its way to the disk."""
        self._turn_due = False
        if not self.is_running or len(self._flights) >= FLIGHTS_MAX:
            return
        now_ns = self._time.now_ns()
        entries = self._take(now_ns)
        flight = Flight()
        for entry in entries:
            try:
                self._step(entry, flight, now_ns)
            except JournalError as error:
                self._watch_again(flight)
                self._unreadable(entries, error)
                return
            except Exception as error:  # noqa: BLE001 - a defect, whatever it is
                _log.exception("the desk raised on %s", type(entry[0]).__name__)
                self._watch_again(flight)
                self._defect(entries, entry, error)
                return
        flight.entries = entries
        try:
            batch = self._batch(flight)
        except Exception as error:  # noqa: BLE001 - what was decided cannot be written down
            _log.exception("%d inputs gave what cannot be written down", len(entries))
            self._watch_again(flight)
            # Which of them it was shows when they come one at a time.
            self._alone = len(entries) + 1
            self._defect(entries, entries[0], error)
            return
        if not self._alone:
            self._suspect = None
        self.counts["turns"] += 1
        self.counts["inputs"] += len(entries)
        self._launch(flight, batch)
        self._arm(now_ns)
        if self.inbox:
            self._wake()
        elif not self._flights:
            self._tell_idle()

    def _take(self, now_ns: int) -> list[Entry]:
        """Take a batch of what waits, then time: what was said before counts before what is due."""
        entries: list[Entry] = []
        alone, self._alone = self._alone > 0, max(self._alone - 1, 0)
        if not alone:
            entries += self.inbox.quoted()  # first: what follows is judged by the newest prices
        for _ in range(1 if alone else BATCH_MAX):
            entry = self.inbox.pop()
            if entry is None:
                break
            entries.append(entry)
        if alone:
            entries = entries or self.inbox.quoted()
        if alone and entries:
            return entries
        if now_ns < self._no_tick_before_ns:
            return entries
        due = self.desk.next_deadline()
        if due is not None and due <= now_ns:
            entries.append((Tick(), None))
        excess = len(self.desk.state.finished) - self._settings.finished_orders_max
        if excess >= ARCHIVE_SLACK:
            entries.append((Archive(durable_ns=self._durable_until_ns()), None))
        return entries

    def _durable_until_ns(self) -> int:
        """Return a time up to which every event is durable; ones in flight may share the last."""
        for flight in self._flights:
            if flight.events:
                return min(self._durable_ns, flight.events[0].at_ns - 1)
        return self._durable_ns

    def _step(self, entry: Entry, flight: Flight, now_ns: int) -> None:
        given, waiter = entry
        desk = self.desk
        names = desk.missing(given)
        if names:
            bodies = recall(self._journal, self._name, names)
            if bodies:
                self.counts["recalls"] += 1
                self._absorb(desk.step(Recalled(bodies), now_ns), flight)
        decision = desk.step(given, now_ns)
        self._absorb(decision, flight)
        if waiter is not None:
            flight.results.append((waiter, self._result(decision)))

    def _absorb(self, decision: Decision, flight: Flight) -> None:
        events = decision.events
        if not events:
            return
        if self.feed:
            self._note(events, flight)
        flight.events += events
        flight.effects += decision.effects
        if self._watchers:
            self._check(events, flight)

    def _note(self, events: list[AnyEvent], flight: Flight) -> None:
        views: dict[int, OrderView | None] = {0: None}
        seq = self._seq + len(flight.events)
        for event in events:
            seq += 1
            number = getattr(event, "number", 0)
            if number not in views:
                order = self.desk.order(number)
                views[number] = view_order(order) if order is not None else None
            group = self._group(getattr(event, "group", 0)) if type(event) in GROUP_EVENTS else None
            flight.notices.append(Notice(seq, event, views[number], group))

    def _check(self, events: list[AnyEvent], flight: Flight) -> None:
        for subject in self._subjects(events):
            view = self._view(subject) if subject in self._watchers else None
            if view is None:
                continue
            for watcher in list(self._watchers[subject]):
                outcome = watcher.outcome(view)
                if outcome is not None:
                    self.unwatch(watcher)
                    flight.seen.append((watcher, outcome))

    def _subjects(self, events: list[AnyEvent]) -> dict[Subject, None]:
        """Name the orders and groups that something happened to, each once."""
        found: dict[Subject, None] = {}
        has_groups = bool(self.desk.state.groups)
        for event in events:
            number = getattr(event, "number", 0)
            found[number] = None
            if not has_groups:
                continue
            order = self.desk.order(number) if number else None
            group = order.group if order is not None else getattr(event, "group", 0)
            found[GroupNumber(group)] = None
        return found

    def _view(self, subject: Subject) -> OrderView | GroupView | None:
        """Return an order or a group in memory as it is now, ahead of the disk."""
        if isinstance(subject, GroupNumber):
            return self._group(subject.number)
        order = self.desk.order(subject)
        return view_order(order) if order is not None else None

    def _group(self, number: int) -> GroupView | None:
        group = self.desk.state.groups.get(number)
        return view_group(self.desk, group, self.desk.now_ns) if group is not None else None

    def _result(self, decision: Decision) -> Result:
        if decision.error is not None:
            return decision.error
        if decision.group:
            return self._group(decision.group)
        if decision.numbers:
            orders = map(self.desk.order, decision.numbers)
            return tuple(view_order(order) for order in orders if order is not None)
        order = self.desk.order(decision.number) if decision.number else None
        return view_order(order) if order is not None else None

    # To the disk and back.

    def _batch(self, flight: Flight) -> Batch | None:
        """Return what is to be written of a flight, or None where nothing is."""
        if not flight.events:
            return None
        orders, executions = self._rows.of(flight.events)
        return Batch(
            desk=self._name,
            first_seq=self._seq + 1,
            events=flight.events,
            orders=orders,
            executions=executions,
        )

    def _launch(self, flight: Flight, batch: Batch | None) -> None:
        if batch is None:
            if self._flights:
                self._flights[-1].join(flight)
            else:
                self._release(flight)
            return
        self._seq = flight.last_seq = self._seq + len(flight.events)
        self._flights.append(flight)
        try:
            self._journal.append(batch, partial(self._done, flight))
        except Exception as error:  # noqa: BLE001 - however it refuses, nothing was written
            self._done(flight, error)
            return
        self._snapshot_if_due()

    def _done(self, flight: Flight, error: BaseException | None) -> None:
        """Hear from the journal, on whatever thread, and go on with it on the loop's."""
        self._settled.append((flight, error))
        if self._settle_due:
            return
        self._settle_due = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._settle)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._settle_due = False
        while self._settled:
            flight, error = self._settled.popleft()
            if flight.is_lost:
                continue
            if error is not None:
                self._unwritten(error)
                continue
            released = self._flights.popleft()
            assert released is flight, "batches become durable in their order"
            self._release(flight)
        self._landed()
        if self.inbox:
            self._wake()
        elif not self._flights:
            self._tell_idle()

    def _release(self, flight: Flight) -> None:
        """What the batch decided is durable: act on it, and tell those who wait."""
        if flight.events:
            self.durable_seq = flight.last_seq
            self._durable_ns = flight.events[-1].at_ns
            self.counts["batches"] += 1
            self.counts["events"] += len(flight.events)
            self._lost_in_a_row = 0
            if self.on_durable is not None:
                self.on_durable(flight.events)
            if self.on_traded is not None and not _TRADES.isdisjoint(map(type, flight.events)):
                self.on_traded(flight.events)
        if flight.effects:
            self.perform(flight.effects, self.port)
        flight.tell()
        if flight.notices:
            self.feed.publish(flight.notices)

    # Timers, snapshots, rest.

    def _arm(self, now_ns: int) -> None:
        """See to it that a turn comes when the desk next wants a tick."""
        due = self.desk.next_deadline()
        if due is None:
            return
        wait_s = max((max(due, self._no_tick_before_ns) - now_ns) / NS_PER_S, TICK_APART_MIN_S)
        when = self._loop.time() + wait_s
        if self._timer is not None and not self._timer.cancelled() and self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()

    def _snapshot_if_due(self) -> None:
        new = self._seq - self._snapshot_seq
        if new >= self._snapshot_every:
            state = self.desk.state
            if new >= RECORDS_PER_ORDER_MIN * (len(state.active) + len(state.finished)):
                self._snapshot()

    def _snapshot(self) -> None:
        """Hand the journal the desk as of the newest record, to be kept once that is durable."""
        if self._seq == self._snapshot_seq:
            return
        self._snapshot_seq = self._seq
        self.counts["snapshots"] += 1
        snapshot = StoredSnapshot(seq=self._seq, format=FORMAT, body=self.desk.dump())
        self._journal.save_snapshot(self._name, snapshot)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is queued and nothing is on its way to the disk."""
        return not self.inbox and not self._flights

    async def drained(self) -> None:
        """Wait until nothing is queued and nothing is on its way to the disk."""
        if not self.is_idle:
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def _tell_idle(self) -> None:
        waiting, self._idle = self._idle, []
        for idle in waiting:
            settle(idle, None)
