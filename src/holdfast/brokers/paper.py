"""The paper broker: the `Broker` port over the paper venue, with latency and faults between.

Without either, each call is carried out at once and never suspends. A request that is on its way
arrives even if its caller gives up or is cancelled: an order may land after nobody waits for it.
Time and waiting come in as `Delays`, so that a test can run all of it in virtual time.
"""

import asyncio
from asyncio import Task
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol, TypeVar

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import (
    LookupResult,
    NotSent,
    Outcome,
    Refused,
    Report,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.values import Status
from holdfast.errors import InputError
from holdfast.ports import AccountFigures, OpenOrders
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.history import seen_at, working_at
from holdfast.venue.latency import Latency
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import TopOfBook, Venue

_T = TypeVar("_T")


class Delays(Protocol):
    """The time of the world that the venue lives in, and how to wait in it."""

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        ...

    async def sleep(self, ns: int, /) -> None:
        """Wait for so many nanoseconds."""
        ...


class RealDelays:
    """The wall clock, and waiting for real."""

    def __init__(self) -> None:
        self._clock = SystemClock()

    def now_ns(self) -> int:
        """UTC nanoseconds by the wall clock."""
        return self._clock.wall_ns()

    async def sleep(self, ns: int, /) -> None:
        """Wait in real time."""
        await asyncio.sleep(ns / NS_PER_S)


class PaperBroker:
    """One account of a venue as a broker. Close it with `aclose` to end what is on its way.

    Args:
        venue: where orders match.
        account: the account's name there; it is opened if it is not.
        capabilities: what the account can do; None for what it was opened with, or everything.
        faults, latency: what goes wrong, and how long messages take; None for nothing.
        delays: time and waiting; None for real time.
        page_size: how many orders a page of a list holds. Given one, a lookup reads all pages of
            the account's orders instead of asking by id, as at brokers that cannot be asked.
    """

    modes = frozenset({"paper"})

    def __init__(
        self,
        venue: Venue,
        account: str,
        *,
        capabilities: Capabilities | None = None,
        faults: FaultPlan | None = None,
        latency: Latency | None = None,
        delays: Delays | None = None,
        page_size: int | None = None,
    ) -> None:
        self.capabilities = venue.open_account(account, capabilities)
        self._venue, self._account = venue, account
        self._direct = faults is None and latency is None
        self._faults = faults or FaultPlan()
        self._latency = latency or Latency()
        self._delays = delays or RealDelays()
        self._page_size = page_size
        self._sent = self._reported = 0
        self._tasks: set[Task[object]] = set()
        self._on_report: Callable[[Report], None] | None = None
        self._on_gap: Callable[[], None] | None = None
        self._missed = False
        self._held: list[Report] = []
        self._gap_ends_ns = 0
        self._pipe: deque[tuple[int, Report]] = deque()  # reports on their way, with arrival
        self._marks = (0, 0)  # how many fills the last two complete polls had seen
        self._unsubscribe = venue.subscribe(account, self._receive)

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place a new order; see `Broker.submit`."""
        return await self._call(
            "submit",
            lambda now_ns: self._venue.submit(
                self._account,
                order.wire_id,
                order.terms,
                now_ns,
                link=order.link,
                attached=order.attached,
            ),
        )

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Ask for an order to be cancelled; see `Broker.cancel`."""
        return await self._call("cancel", lambda now_ns: self._canceled(order, now_ns))

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        """Ask for several orders to be cancelled in one call; see `BatchCanceller`."""

        def act(now_ns: int) -> tuple[Outcome, ...]:
            return tuple(self._canceled_in_batch(order, now_ns) for order in orders)

        answer = await self._call("cancel_batch", act)
        return answer if isinstance(answer, tuple) else (answer,) * len(orders)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Ask for new terms; see `Broker.replace`."""
        return await self._call(
            "replace",
            lambda now_ns: self._venue.replace(
                self._account,
                wire_id=order.wire_id,
                terms=order.terms,
                broker_order_id=order.broker_order_id,
                orig_wire_id=order.orig_wire_id,
                leaves_quantity=order.leaves_quantity,
                now_ns=now_ns,
            ),
        )

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Ask for one order by all its ids; see `Broker.lookup`."""
        fault, answer_ns = await self._ask("lookup")
        if fault is not None and fault.kind is FaultKind.LOOKUP_INCOMPLETE:
            result = LookupResult(text=fault.text or "the broker answered in part")
        else:
            found = self._venue.find(self._account, order.wire_ids, order.broker_order_ids)
            complete = not self._venue.has_forgotten(self._account, order.wire_ids)
            if self._page_size is not None:
                read, whole = await self._pages(self._venue.orders(self._account)[::-1])
                found = [item for item in found if item in read]
                complete = complete and whole
            result = LookupResult(
                sightings=self._sightings(found, fault) or self._of_earlier_life(order),
                complete=complete,
                text="" if complete else "not all pages of the account's orders could be read",
            )
        await self._sleep(answer_ns)
        return result

    async def poll(self) -> OpenOrders:
        """List the working orders, and the executions since the poll before the last.

        Held exits are among them only where the account lists those.
        Executions come twice so that none is missed where an answer is lost on its way.
        """
        fault, answer_ns = await self._ask("poll")
        if fault is None:
            answer = await self._open_orders()
        elif fault.kind is FaultKind.SNAPSHOT_STALE:
            at_ns = self._delays.now_ns() - fault.lasts_ns
            orders = self._listed(self._venue.orders(self._account))
            answer = OpenOrders(snapshots=working_at(orders, at_ns), complete=True)
        else:
            answer = OpenOrders()
        await self._sleep(answer_ns)
        return answer

    async def account(self) -> AccountFigures:
        """Tell buying power and positions; raises OSError where the fault plan says so."""
        fault, answer_ns = await self._ask("account")
        figures = AccountFigures(
            buying_power=self._venue.power(self._account),
            positions=self._venue.positions(self._account),
        )
        await self._sleep(answer_ns)
        if fault is not None:
            raise ConnectionError(fault.text or "503: the account could not be read")
        return figures

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled; one listener at a time.

        `on_gap` is called at once where reports came while nobody listened.
        """
        if self._on_report is not None:
            raise InputError(
                f"somebody listens to account {self._account!r} already; end that first"
            )
        self._on_report, self._on_gap = on_report, on_gap
        try:
            self._tell_gap()
            await asyncio.get_running_loop().create_future()
        finally:
            self._on_report = self._on_gap = None

    async def aclose(self) -> None:
        """End everything that is on its way, and take no more reports."""
        self._unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _canceled(self, order: CancelOrder, now_ns: int) -> Outcome:
        return self._venue.cancel(
            self._account,
            broker_order_id=order.broker_order_id,
            wire_ids=(order.wire_id, order.orig_wire_id),
            now_ns=now_ns,
        )

    def _canceled_in_batch(self, order: CancelOrder, now_ns: int) -> Outcome:
        """Cancel one order of a batch, which may fail where the others do not."""
        fault = None if self._direct else self._faults.at("cancel")
        if fault is None:
            return self._canceled(order, now_ns)
        if (never_done := _never_done("cancel", fault)) is not None:
            return never_done
        if fault.kind is FaultKind.LANDS_LATE:
            self._later(fault.lasts_ns, lambda: self._canceled(order, self._delays.now_ns()))
        elif fault.kind is not FaultKind.TIMEOUT_BEFORE_ACCEPT:
            self._canceled(order, now_ns)
        return Unknown(text=fault.text or "the batch has no answer for this order")

    async def _call(self, face: str, act: Callable[[int], _T]) -> _T | Outcome:
        """Make a call; returns what the venue gave, or how the whole call failed."""
        if self._direct:
            return act(self._delays.now_ns())
        self._sent += 1
        way_ns, answer_ns = self._latency.request(self._sent), self._latency.answer(self._sent)
        fault = self._faults.at(face)
        if fault is not None:
            return await self._failed(face, fault, way_ns, answer_ns, act)
        outcome = await self._carried(way_ns, lambda: act(self._delays.now_ns()))
        await self._sleep(answer_ns)
        return outcome

    async def _failed(
        self,
        face: str,
        fault: Fault,
        way_ns: int,
        answer_ns: int,
        act: Callable[[int], object],
    ) -> Outcome:
        """Carry a call through its fault."""
        kind = fault.kind

        def land() -> object:
            return act(self._delays.now_ns())

        if kind is FaultKind.ERROR_AFTER_ACCEPT:
            await self._carried(way_ns, land)
            await self._sleep(answer_ns)
            return Unknown(text=fault.text or f"503: {face} was answered by a server error")
        if (never_done := _never_done(face, fault)) is not None:
            await self._sleep(way_ns + answer_ns)
            return never_done
        if kind is not FaultKind.TIMEOUT_BEFORE_ACCEPT:
            late = kind is FaultKind.LANDS_LATE
            self._later(fault.lasts_ns if late else way_ns, land)
        await self._sleep(fault.timeout_ns)
        return Unknown(text=fault.text or f"{face} was not answered in {fault.timeout_ns} ns")

    async def _ask(self, face: str) -> tuple[Fault | None, int]:
        """Send a question; returns its fault, and how long the answer will take."""
        if self._direct:
            return None, 0
        fault = self._faults.at(face)
        self._sent += 1
        await self._sleep(self._latency.request(self._sent))
        return fault, self._latency.answer(self._sent)

    async def _open_orders(self) -> OpenOrders:
        working = self._listed(self._venue.orders(self._account, working=True))
        orders, complete = await self._pages(working)
        fills, total = self._venue.fills_since(self._account, self._marks[0])
        if complete:
            self._marks = (self._marks[1], total)
        return OpenOrders(
            snapshots=tuple(order.snapshot() for order in orders),
            executions=tuple(
                (fill.order.broker_order_id, fill.order.wire_id, fill.execution)
                for fill in fills
                if not fill.busted
            ),
            complete=complete,
        )

    def _listed(self, orders: list[VenueOrder]) -> list[VenueOrder]:
        """Leave out the exits that are held, where the account's list does not have them."""
        if self.capabilities.lists_held_legs:
            return orders
        return [order for order in orders if not order.is_held]

    async def _pages(self, orders: Sequence[VenueOrder]) -> tuple[list[VenueOrder], bool]:
        """Read a list page by page; returns what was read, and whether that is all."""
        if self._page_size is None:
            return list(orders), True
        read: list[VenueOrder] = []
        for start in range(0, len(orders) or 1, self._page_size):
            fault, answer_ns = await self._ask("page")
            await self._sleep(answer_ns)
            if fault is not None:
                return read, False
            read += orders[start : start + self._page_size]
        return read, True

    def _sightings(self, found: list[VenueOrder], fault: Fault | None) -> tuple[Sighting, ...]:
        if fault is None:
            return tuple(order.sighting() for order in found)
        at_ns = self._delays.now_ns() - fault.lasts_ns
        seen = (seen_at(order, at_ns) for order in found)
        return tuple(sighting for sighting in seen if sighting is not None)

    def _of_earlier_life(self, order: LookupOrder) -> tuple[Sighting, ...]:
        """Show as ended what worked at a venue that ended with its process, and all its orders."""
        ids, life = order.broker_order_ids, self._venue.life
        if not life or not ids or any(each.startswith(f"V-{life}") for each in ids):
            return ()
        ended = Snapshot(
            broker_order_id=ids[-1],
            wire_id=order.wire_ids[0],
            status=Status.CANCELED,
            word="the paper venue ended",
        )
        return (Sighting(snapshot=ended),)

    def _receive(self, report: Report) -> None:
        """Take a report from the venue on its way to the listener."""
        if self._direct:
            self._deliver(report)
            return
        self._reported += 1
        fault = self._faults.at("report")
        now_ns = self._delays.now_ns()
        if now_ns < self._gap_ends_ns:
            self._missed = True
            return
        match fault.kind if fault is not None else None:
            case FaultKind.STREAM_GAP:
                assert fault is not None
                self._missed = True
                self._gap_ends_ns = now_ns + fault.lasts_ns
                self._later(fault.lasts_ns, self._tell_gap)
            case FaultKind.REPORT_LATE:
                assert fault is not None
                self._later(fault.lasts_ns, lambda: self._deliver(report))
            case FaultKind.REPORT_REORDERED:
                assert fault is not None
                self._held.append(report)
                self._later(fault.lasts_ns, self._let_go)
            case FaultKind.REPORT_REPEATED:
                self._stream(report)
                self._stream(report)
                self._let_go()
            case None:
                self._stream(report)
                self._let_go()

    def _stream(self, report: Report) -> None:
        """Send a report down the stream, in which none overtakes another."""
        now_ns = self._delays.now_ns()
        arrives_ns = now_ns + self._latency.report(self._reported)
        if not self._pipe and arrives_ns <= now_ns:
            self._deliver(report)
            return
        self._pipe.append((arrives_ns, report))
        if len(self._pipe) == 1:
            self._spawn(self._run_pipe())

    async def _run_pipe(self) -> None:
        while self._pipe:
            arrives_ns, report = self._pipe[0]
            await self._sleep(max(0, arrives_ns - self._delays.now_ns()))
            self._deliver(report)
            self._pipe.popleft()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for report in held:
            self._stream(report)

    def _deliver(self, report: Report) -> None:
        if self._on_report is None:
            self._missed = True
        else:
            self._on_report(report)

    def _tell_gap(self) -> None:
        if self._missed and self._on_gap is not None:
            self._missed = False
            self._on_gap()

    async def _carried(self, way_ns: int, act: Callable[[], _T]) -> _T:
        """Do something after a while, whether or not the caller still waits by then."""
        return await asyncio.shield(self._later(way_ns, act)) if way_ns else act()

    def _later(self, ns: int, act: Callable[[], _T]) -> "Task[_T]":
        async def wait() -> _T:
            await self._sleep(ns)
            return act()

        return self._spawn(wait())

    def _spawn(self, work: Coroutine[object, object, _T]) -> "Task[_T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _sleep(self, ns: int) -> None:
        if ns:
            await self._delays.sleep(ns)


def _never_done(face: str, fault: Fault) -> Outcome | None:
    """Return the answer to a request that the broker turns away; None for all other faults."""
    if fault.kind is FaultKind.REFUSED:
        return Refused(text=fault.text or f"{face} refused by the fault plan", code=fault.code)
    if fault.kind is FaultKind.NOT_SENT:
        text = fault.text or "429: too many requests"
        return NotSent(text=text, retry_after_ms=fault.retry_after_ms)
    return None


class SymbolAccess:
    """What a desk may know of the venue's markets: the listings, and their latest prices."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def instruments(self) -> tuple[Instrument, ...]:
        """Return what can be traded."""
        return self._venue.instruments()

    def quote(self, symbol: str) -> TopOfBook:
        """Return best bid, best offer and last price; UnknownSymbolError if not listed."""
        return self._venue.top(symbol)
