"""The runner: the only writer of a desk, and what it does when something goes wrong.

Rule 1: a desk that raised, or whose events were not written, is worth nothing: it is folded anew
from the journal. What callers asked in a lost batch has failed and they are told; what the broker
said in it is stepped again.
Rule 2: an input that makes the desk raise twice is put aside as an anomaly.
Rule 3: while the journal cannot be written nothing is stepped (see `halted.py` for what still
goes out then), and writing is tried again, ever more slowly, for ever.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from holdfast.clock import NS_PER_S
from holdfast.domain.desk import Desk
from holdfast.domain.inputs import (
    AccountSeen,
    AdoptExternal,
    Archive,
    Command,
    Connected,
    Define,
    Input,
    Polled,
    Quarantined,
    Quoted,
    Reported,
    Tick,
)
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import Report, ReportKind
from holdfast.domain.settings import Settings
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.flight import settle
from holdfast.engine.group_views import GroupView
from holdfast.engine.inbox import Entry, adds_risk
from holdfast.engine.masking import described
from holdfast.engine.recovery import Recovered, recover
from holdfast.engine.rows import Rows
from holdfast.engine.turns import Turns
from holdfast.engine.views import OrderView
from holdfast.errors import Closed, Halted, HoldfastError, JournalError, JournalUnwritable
from holdfast.ports import Journal

_log = logging.getLogger("holdfast.runner")

# After a tick, or quotes, that made the desk raise twice, such inputs rest for so long.
TICK_REST_NS: Final = 60 * NS_PER_S
# A journal that cannot be written is tried again after a wait that doubles.
RECOVER_FIRST_S: Final = 0.5
RECOVER_MAX_S: Final = 30.0
# How long a close waits for the journal to take what is on its way to it.
DRAIN_MAX_S: Final = 10.0
# What the broker said is stepped again after a lost batch, but not if that is lost as well: it may
# be what cannot be written. A poll then tells it anew.
LOST_IN_A_ROW_MAX: Final = 2


class Mode(StrEnum):
    """How far the runner can be relied on."""

    RUNNING = "running"
    MENDING = "mending"  # a defect: waits for the disk, then folds the desk anew
    HALTED = "halted"  # the journal cannot be written
    FAILED = "failed"  # a person has to look; nothing goes out any more
    CLOSED = "closed"


class Runner(Turns):
    """Steps one desk, and is the link's port to it."""

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
        super().__init__(
            journal, name, recovered, time, settings=settings, snapshot_every=snapshot_every
        )
        self.mode = Mode.RUNNING
        self.fault: HoldfastError | None = None
        self.prefix = ""
        self.entries_open = True
        self.on_mode: Callable[[Mode], None] = lambda _mode: None
        self.on_missed: Callable[[], None] = lambda: None
        self._connected: Connected | None = None
        self._quotes: dict[str, Quote] = {}
        self._no_quotes_before_ns = 0
        self._recovery: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether the desk may be stepped."""
        return self.mode is Mode.RUNNING

    @property
    def port(self) -> "Runner":
        """What the link knows of this desk."""
        return self

    # What callers ask.

    def command(self, given: Input) -> "asyncio.Future[OrderView | None]":
        """Queue a command; the future ends once it is durable, with its order or its refusal.

        Raises:
            Busy: the inbox is full.
            Halted: the journal cannot be written.
            Closed: the desk is shut, or takes no more entries.
            JournalError: a person has to look at the journal first.
        """
        if self.mode is not Mode.RUNNING and self.mode is not Mode.MENDING:
            raise self.refusal()
        if not self.entries_open and adds_risk(given):
            raise Closed(f"desk {self._name!r} is shutting down and takes no new orders")
        waiter: asyncio.Future[OrderView | None] = self._loop.create_future()
        self.inbox.command(given, waiter)
        self._wake()
        if type(given) is Define:
            waiter.add_done_callback(lambda _: self._quote_anew())
        return waiter

    async def several(self, given: Input) -> tuple[OrderView, ...]:
        """Carry out a command that is about any number of orders; return them once it is durable.

        Raises what `command` raises.
        """
        result: object = await self.command(given)
        return result if isinstance(result, tuple) else ()

    async def grouped(self, given: Input) -> GroupView:
        """Carry out a command that is about a group; return that once it is durable.

        Raises what `command` raises.
        """
        result: object = await self.command(given)
        assert isinstance(result, GroupView), f"{type(given).__name__} is about a group"
        return result

    def refusal(self) -> HoldfastError:
        """Return why nothing is taken now."""
        if self.mode is Mode.HALTED:
            return Halted(
                f"the journal cannot be written ({self.fault}); only cancels and reduce-only exits "
                "go out until it can: free the disk or mend the folder, it is tried again"
            )
        if self.mode is Mode.FAILED and self.fault is not None:
            return type(self.fault)(str(self.fault))
        return Closed(f"desk {self._name!r} is shut down; open it again")

    # What the link says.

    def now_ns(self) -> int:
        """Return desk time."""
        return self._time.now_ns()

    def owns(self, broker_order_id: str) -> bool:
        """Tell whether this broker order is one of the desk's, archived ones included."""
        name = f"b:{broker_order_id}"
        state = self.desk.state
        if name in state.names:
            return True
        return bool(state.stored.archived and self._journal.recall(self._name, [name]))

    def word(self, said: Input) -> None:
        """Take an answer, a lookup's result, a poll, or what the shell itself has to say."""
        if self.mode in {Mode.FAILED, Mode.CLOSED}:
            return
        if self.mode is Mode.HALTED and isinstance(said, Polled | AccountSeen | AdoptExternal):
            return  # they would pile up; the journal being back, they are asked for anew
        if isinstance(said, Connected):
            self._connected = said
        self.inbox.word(said)
        self._wake()

    def tell(self, said: Input) -> "asyncio.Future[OrderView | None]":
        """Take a word like `word` does; the future ends once what followed from it is durable."""
        waiter: asyncio.Future[OrderView | None] = self._loop.create_future()
        if self.mode in {Mode.RUNNING, Mode.MENDING}:
            self.inbox.word(said, waiter)
            self._wake()
        else:
            waiter.set_exception(self.refusal())
        return waiter

    def first(self, given: Sequence[Input]) -> "list[asyncio.Future[OrderView | None]]":
        """Take what is to be stepped before all that waits; each future ends as `tell`'s does."""
        waiters = [self._loop.create_future() for _ in given]
        if self.mode in {Mode.RUNNING, Mode.MENDING}:
            connected = [(self._connected, None)] if self._connected is not None else []
            self.inbox.put_back([*connected, *zip(given, waiters, strict=True)])
            self._wake()
        else:
            for waiter in waiters:
                waiter.set_exception(self.refusal())
        return waiters

    def report(self, report: Reported) -> bool:
        """Take a report of the stream; False if the backlog had to be dropped."""
        if self.mode in {Mode.FAILED, Mode.CLOSED}:
            return True
        taken = self.inbox.report(report)
        self._wake()
        return taken

    def quoted(self, quote: Quote, age_ns: int = 0) -> None:
        """Take a quote that arrived so long ago; the next turn steps the latest of each symbol.

        One of a symbol that is not defined here waits until it is. Whoever calls bounds the number
        of symbols.
        """
        at_ns = self.now_ns() - age_ns
        stamped = Quote(
            symbol=quote.symbol, bid=quote.bid, ask=quote.ask, last=quote.last, at_ns=at_ns
        )
        self._quotes[quote.symbol] = stamped
        self._hand_on(stamped)

    def _hand_on(self, quote: Quote) -> None:
        if self.mode in {Mode.FAILED, Mode.CLOSED} or quote.at_ns < self._no_quotes_before_ns:
            return
        if quote.symbol in self.desk.instruments:
            self.inbox.quote(quote)
            self._wake()

    def _quote_anew(self) -> None:
        """Let the desk, or an instrument that is new on it, have the quotes there are."""
        for quote in self._quotes.values():
            self._hand_on(quote)

    def wants(self, number: int) -> bool:
        """Tell whether a new order may still go out: nobody has cancelled it meanwhile."""
        order = self.desk.state.active.get(number)
        return order is None or not order.wanted_gone

    def unclaimed(self, broker_order_id: str, wire_id: str) -> None:
        """Let the desk record that the account has an order of nobody."""
        report = Report(
            kind=ReportKind.ORDER_STATUS, wire_id=wire_id, broker_order_id=broker_order_id
        )
        self.word(Reported(report))

    # What goes wrong.

    def _defect(self, entries: list[Entry], entry: Entry, error: Exception) -> None:
        """Fold anew and step the same inputs again; the second time put the culprit aside."""
        given = entry[0]
        timed = isinstance(given, Tick | Archive | Quoted)
        twice = given is self._suspect or (timed and type(given) is type(self._suspect))
        self._suspect = given
        if twice:
            place = entries.index(entry)
            entries[place : place + 1] = self._put_aside(entry, error)
        # Ticks and archivings are made anew by the next turn, where they are still due.
        self.inbox.put_back(each for each in entries if not isinstance(each[0], Tick | Archive))
        self._set(Mode.MENDING)
        self._landed()

    def _put_aside(self, entry: Entry, error: Exception) -> list[Entry]:
        """Return what is stepped in the place of an input that raised twice."""
        given, waiter = entry
        self.counts["quarantined"] += 1
        if isinstance(given, Tick | Archive):
            self._no_tick_before_ns = self.now_ns() + TICK_REST_NS
        if isinstance(given, Quoted):
            self._no_quotes_before_ns = self.now_ns() + TICK_REST_NS
        if waiter is not None:
            message = (
                f"this {type(given).__name__} could not be processed ({described(error)}); "
                "nothing was recorded for it, and it is noted as an anomaly: please report it"
            )
            settle(waiter, HoldfastError(message))
        if isinstance(given, Quarantined):
            return []
        return [(Quarantined(kind=type(given).__name__, error=described(error)), None)]

    def _landed(self) -> None:
        if self.mode is not Mode.MENDING or self._flights:
            return
        try:
            self._refold()
        except HoldfastError as error:
            self._fail(error)
            return
        self._set(Mode.RUNNING)
        self._wake()

    def _unreadable(self, entries: list[Entry], error: JournalError) -> None:
        self.inbox.put_back(entries)
        self._halt(error)

    def _unwritten(self, error: BaseException) -> None:
        """Everything in flight is lost: tell who asked, keep what the broker said."""
        fault = error if isinstance(error, HoldfastError) else JournalUnwritable(described(error))
        self._lost_in_a_row += 1
        kept: list[Entry] = []
        for flight in self._flights:
            flight.is_lost = True
            self.counts["batches_lost"] += 1
            self._watch_again(flight)
            for waiter, _ in flight.results:
                settle(waiter, type(fault)(str(fault)))
            kept += [entry for entry in flight.entries if not isinstance(entry[0], Command)]
        self._flights.clear()
        if self._lost_in_a_row <= LOST_IN_A_ROW_MAX:
            self.inbox.put_back(kept)
        self._halt(fault)

    def _halt(self, fault: HoldfastError) -> None:
        """Take no more commands; try to write again if that can help."""
        self.fault = fault
        if type(fault) not in {JournalUnwritable, JournalError}:
            self._fail(fault)
            return
        _log.critical("halted: %s", fault)
        self._set(Mode.HALTED)
        self._refuse_waiting()
        if not self._flights:
            try:
                self._refold()
            except HoldfastError as error:
                # Nothing is stepped while halted; what was known before still helps to get out.
                _log.warning("the desk is shown as it was before the halt: %s", error)
        self._tell_idle()
        if self._recovery is None:
            self._recovery = self._loop.create_task(self._recover(), name="recover")

    def _fail(self, fault: HoldfastError) -> None:
        """Stop for good: going on would do harm."""
        _log.critical("failed: %s", fault)
        self.fault = fault
        self._set(Mode.FAILED)
        self._refuse_waiting()
        for watchers in self._watchers.values():
            for watcher in watchers:
                settle(watcher.future, self.refusal())
        self._watchers.clear()
        self._tell_idle()

    def _refuse_waiting(self) -> None:
        """Commands that were not stepped yet fail; what the broker said stays."""
        for entry in (waiting := self.inbox.drain()):
            if entry[1] is not None:
                settle(entry[1], self.refusal())
        kept = [entry for entry in waiting if not isinstance(entry[0], Command | Polled)]
        self.inbox.put_back(kept)

    def _refold(self) -> None:
        """Fold the desk anew from what is durable.

        Raises:
            HoldfastError: it cannot be read, or not be folded.
        """
        self.counts["refolds"] += 1
        try:
            recovered = recover(self._journal, self._name, self._settings)
        except HoldfastError:
            raise
        except Exception as error:
            message = f"the journal cannot be folded: {described(error)}; run `holdfast verify`"
            raise HoldfastError(message) from error
        self.desk = recovered.desk
        self._seq = self.durable_seq = recovered.seq
        self._durable_ns = recovered.at_ns
        self._snapshot_seq = recovered.snapshot_seq
        self._rows = Rows(self.desk)
        self._watch_anew()
        if self._connected is not None:
            self.inbox.put_back([(self._connected, None)])
        self._quote_anew()

    async def _recover(self) -> None:
        wait_s = RECOVER_FIRST_S
        while self.mode is Mode.HALTED:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RECOVER_MAX_S)
            try:
                await self._loop.run_in_executor(None, self._journal.recover)
                self._settle()
                self._refold()
            except JournalUnwritable as error:
                _log.warning("still halted: %s", error)
                continue
            except HoldfastError as error:
                self._fail(error)
                return
            _log.warning("the journal can be written again")
            self.fault = self._recovery = None
            self._set(Mode.RUNNING)
            self.on_missed()
            self._wake()

    def ahead(self) -> Desk:
        """Return the desk as it would be, had what waits here been stepped; for reading alone."""
        desk = Desk.load(self.desk.dump(), self._settings)
        desk.memo.only_hears = True
        now_ns = self.now_ns()
        for given in self.inbox.words():
            try:
                desk.step(given, now_ns)
            except Exception:  # noqa: BLE001 - getting out does not wait for a sound desk
                _log.exception("an exit is judged without a %s", type(given).__name__)
        return desk

    def _set(self, mode: Mode) -> None:
        if self.mode is not mode:
            self.mode = mode
            self.on_mode(mode)

    async def close(self) -> None:
        """Make durable what is queued, keep a snapshot, and take nothing any more."""
        try:
            async with asyncio.timeout(DRAIN_MAX_S):
                if self.mode in {Mode.RUNNING, Mode.MENDING}:
                    await self.drained()
            if self.mode is Mode.RUNNING:
                self._snapshot()
        except TimeoutError:
            _log.error("the journal has not answered in %s s: what it has not is lost", DRAIN_MAX_S)
        except Exception as error:  # noqa: BLE001 - a snapshot only saves time at the next start
            _log.warning("the last snapshot was not kept: %s", described(error))
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop at once; what is not durable is lost, as in a crash."""
        if self._timer is not None:
            self._timer.cancel()
        if self._recovery is not None:
            self._recovery.cancel()
        self._set(Mode.CLOSED)
        self._refuse_waiting()
        for flight in self._flights:
            flight.is_lost = True
            for waiter, _ in flight.results:
                settle(waiter, self.refusal())
        self._flights.clear()
        for watchers in self._watchers.values():
            for watcher in watchers:
                settle(watcher.future, self.refusal())
        self._watchers.clear()
        self._tell_idle()
