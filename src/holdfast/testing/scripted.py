"""A broker that does what a test tells it: an obedient account, and faults on demand.

Left alone it takes every order, works it, and cancels and replaces at once. `script` queues what
the next calls of a kind do instead.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    NotSent,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.values import TERMINAL, ZERO, Status
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Broker, OpenOrders
from holdfast.testing.world import VirtualLoop
from holdfast.wiring import JournalChoice, OrderManager

_Kind = TypeVar("_Kind", SubmitOrder, CancelOrder, ReplaceOrder, LookupOrder)

EPOCH: Final = "0123456789ab"
INSTRUMENTS: Final = (
    Instrument.of("TSLA"),
    Instrument.of("BTC-USD", tick="0.5", lot="0.0001", base="BTC"),
)

Face: TypeAlias = Literal["submit", "cancel", "cancel_batch", "replace", "lookup", "poll"]
Act: TypeAlias = Callable[[], Outcome]


class Hang:
    """The call is carried out, or not, and never answered."""

    def __init__(self, *, carried_out: bool = True) -> None:
        self.carried_out = carried_out


class Raise:
    """The call raises, after it was carried out or not."""

    def __init__(self, error: BaseException, *, carried_out: bool = False) -> None:
        self.error = error
        self.carried_out = carried_out


class Batch:
    """A batch is answered by these outcomes; None carries an order's cancel out and says so."""

    def __init__(self, *outcomes: Outcome | None) -> None:
        self.outcomes = outcomes


Step: TypeAlias = Outcome | LookupResult | OpenOrders | Batch | Hang | Raise


class ScriptedBroker:
    """One account; see the module. `calls` holds every effect, in the order of the calls.

    `batches` holds the cancels that shared a call; they are not in `calls`.
    """

    modes = frozenset({"paper", "live"})

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.capabilities = capabilities or Capabilities()
        self.calls: list[Effect] = []
        self.batches: list[tuple[CancelOrder, ...]] = []
        self.polls = 0
        self.listens = 0
        self.before_call: Callable[[Effect], None] = lambda _effect: None
        self.orders: dict[str, Snapshot] = {}
        self.executions: dict[str, list[Execution]] = {}
        self._script: dict[str, deque[Step]] = {}
        self._listener: Callable[[Report], None] | None = None
        self._on_gap: Callable[[], None] | None = None
        self._broken: asyncio.Future[None] | None = None
        self._trades = 0

    def script(self, face: Face, *steps: Step) -> None:
        """Queue what the next calls of a kind do."""
        self._script.setdefault(face, deque()).extend(steps)

    def sent(self, kind: type[_Kind]) -> list[_Kind]:
        """Return the calls of one kind."""
        return [call for call in self.calls if isinstance(call, kind)]

    # The port.

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place a new order."""
        return await self._call("submit", order, lambda: self._place(order))

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Cancel an order at once."""
        return await self._call("cancel", order, lambda: self._cancel(order))

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        """Cancel orders at once, or as the script has it for the whole call or for each."""
        self.batches.append(tuple(orders))
        step = self._next("cancel_batch")
        if isinstance(step, Raise | Hang) and not step.carried_out:
            orders = ()
        if isinstance(step, Batch):
            pairs = zip(orders, step.outcomes, strict=False)
            return [self._cancel(order) if told is None else told for order, told in pairs]
        outcomes = [self._cancel(order) for order in orders]
        if isinstance(step, Raise):
            raise step.error
        if isinstance(step, Hang):
            await _for_ever()
        return outcomes

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Put new terms in force at once."""
        return await self._call("replace", order, lambda: self._replace(order))

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Look for an order by all its ids."""
        self.calls.append(order)
        self.before_call(order)
        step = self._next("lookup")
        if isinstance(step, LookupResult):
            return step
        if isinstance(step, Raise):
            raise step.error
        if isinstance(step, Hang):
            await _for_ever()
        found = [
            Sighting(
                snapshot=shown,
                executions=tuple(self.executions[wire_id]),
                executions_complete=True,
            )
            for wire_id, shown in self.orders.items()
            if wire_id in order.wire_ids or shown.broker_order_id in order.broker_order_ids
        ]
        return LookupResult(sightings=tuple(found), complete=True)

    async def poll(self) -> OpenOrders:
        """List the working orders and all executions."""
        self.polls += 1
        step = self._next("poll")
        if isinstance(step, OpenOrders):
            return step
        if isinstance(step, Raise):
            raise step.error
        if isinstance(step, Hang):
            await _for_ever()
        return OpenOrders(
            snapshots=tuple(o for o in self.orders.values() if o.status not in TERMINAL),
            executions=tuple(
                (self.orders[wire_id].broker_order_id, wire_id, each)
                for wire_id, trades in self.executions.items()
                for each in trades
            ),
            complete=True,
        )

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled or `break_stream`."""
        self.listens += 1
        self._listener, self._on_gap = on_report, on_gap
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._broken
        finally:
            self._listener = self._on_gap = None

    # What a test does to the account.

    def report(self, report: Report) -> None:
        """Send a report down the stream; it is lost while nobody listens."""
        if self._listener is not None:
            self._listener(report)

    def gap(self) -> None:
        """Tell the listener that something was missed."""
        if self._on_gap is not None:
            self._on_gap()

    def break_stream(self, error: Exception) -> None:
        """End the stream with an error."""
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    def fill(
        self, wire_id: str, quantity: object, price: object, *, told: bool = True
    ) -> Execution:
        """Let an order trade; `told=False` keeps it from the stream."""
        shown = self.orders[wire_id]
        self._trades += 1
        trade = Execution(
            execution_id=f"X-{self._trades}",
            quantity=Decimal(str(quantity)),
            price=Decimal(str(price)),
        )
        self.executions[wire_id].append(trade)
        filled = sum((each.quantity for each in self.executions[wire_id]), ZERO)
        full = filled == shown.order_quantity
        shown = self._show(
            wire_id,
            cumulative=filled,
            status=Status.FILLED if full else Status.PARTIAL_FILL,
        )
        if told:
            self.report(
                Report(
                    kind=ReportKind.TRADE,
                    wire_id=wire_id,
                    broker_order_id=shown.broker_order_id,
                    execution=trade,
                    cumulative=filled,
                    order_quantity=shown.order_quantity,
                    sequence=shown.sequence,
                )
            )
        return trade

    def bust(self, wire_id: str, report_id: str) -> Report:
        """Take back an order's last trade; returns the report of it, which is not sent."""
        trade = self.executions[wire_id].pop()
        filled = sum((each.quantity for each in self.executions[wire_id]), ZERO)
        status = Status.PARTIAL_FILL if filled else Status.OPEN
        shown = self._show(wire_id, cumulative=filled, status=status)
        return Report(
            kind=ReportKind.TRADE_CANCEL,
            broker_order_id=shown.broker_order_id,
            execution_ref=trade.execution_id,
            report_id=report_id,
            cumulative=filled,
            sequence=shown.sequence,
        )

    def place_by_hand(self, broker_order_id: str, symbol: str, quantity: object) -> None:
        """Let the account have an order that no desk sent."""
        self.executions[broker_order_id] = []
        self.orders[broker_order_id] = Snapshot(
            broker_order_id=broker_order_id,
            symbol=symbol,
            status=Status.OPEN,
            order_quantity=Decimal(str(quantity)),
            cumulative=ZERO,
        )

    # Inside.

    async def _call(self, face: Face, effect: Effect, act: Act) -> Outcome:
        self.calls.append(effect)
        self.before_call(effect)
        step = self._next(face)
        if isinstance(step, Hang):
            if step.carried_out:
                act()
            await _for_ever()
        if isinstance(step, Raise):
            if step.carried_out:
                act()
            raise step.error
        if isinstance(step, Unknown):
            act()  # an unknown outcome is the worst where the order lives
        if isinstance(step, Accepted | Refused | NotSent | Unknown):
            return step
        return act()

    def _next(self, face: Face) -> Step | None:
        waiting = self._script.get(face)
        return waiting.popleft() if waiting else None

    def _place(self, order: SubmitOrder) -> Outcome:
        if order.wire_id in self.orders:
            return Refused(text="this client id was used", code=RefusalCode.DUPLICATE_ID)
        terms = order.terms
        self.executions[order.wire_id] = []
        self.orders[order.wire_id] = shown = Snapshot(
            broker_order_id=f"B-{len(self.orders) + 1}",
            wire_id=order.wire_id,
            symbol=terms.symbol,
            side=terms.side,
            order_type=terms.order_type,
            status=Status.OPEN,
            order_quantity=terms.quantity,
            cumulative=ZERO,
            limit_price=terms.limit_price,
            stop_price=terms.stop_price,
            sequence=1,
        )
        return Accepted(broker_order_id=shown.broker_order_id)

    def _cancel(self, order: CancelOrder) -> Outcome:
        wire_id = self._find(order.orig_wire_id, order.broker_order_id)
        if wire_id is None:
            return Refused(text="no such order", code=RefusalCode.UNKNOWN_ORDER)
        if self.orders[wire_id].status in TERMINAL:
            return Refused(text="too late", code=RefusalCode.TOO_LATE)
        shown = self._show(wire_id, status=Status.CANCELED, word="canceled")
        self._tell(ReportKind.CANCELED, wire_id, shown)
        return Accepted(broker_order_id=shown.broker_order_id, final=True)

    def _replace(self, order: ReplaceOrder) -> Outcome:
        wire_id = self._find(order.orig_wire_id, order.broker_order_id)
        if wire_id is None:
            return Refused(text="no such order", code=RefusalCode.UNKNOWN_ORDER)
        if self.orders[wire_id].status in TERMINAL:
            return Refused(text="too late", code=RefusalCode.TOO_LATE)
        shown = self._show(
            wire_id,
            order_quantity=order.terms.quantity,
            limit_price=order.terms.limit_price,
            stop_price=order.terms.stop_price,
        )
        return Accepted(broker_order_id=shown.broker_order_id, final=True)

    def _find(self, wire_id: str, broker_order_id: str) -> str | None:
        for known, shown in self.orders.items():
            if known == wire_id or (broker_order_id and shown.broker_order_id == broker_order_id):
                return known
        return None

    def _show(self, wire_id: str, **changes: object) -> Snapshot:
        before = self.orders[wire_id]
        changed = msgspec.structs.replace(before, sequence=before.sequence + 1, **changes)
        self.orders[wire_id] = changed
        return changed

    def _tell(self, kind: ReportKind, wire_id: str, shown: Snapshot) -> None:
        self.report(
            Report(
                kind=kind,
                wire_id=wire_id,
                broker_order_id=shown.broker_order_id,
                cumulative=shown.cumulative,
                sequence=shown.sequence,
                text=shown.word,
            )
        )


@asynccontextmanager
async def open_desk(
    broker: Broker, journal: JournalChoice | None = None, **options: Any
) -> AsyncIterator[OrderManager]:
    """Open a desk with two instruments, on the virtual loop's clock and with a fixed epoch."""
    loop = asyncio.get_running_loop()
    options.setdefault("instruments", INSTRUMENTS)
    options.setdefault("epoch", EPOCH)
    if isinstance(loop, VirtualLoop):
        options.setdefault("clock", loop.clock)
    chosen = MemoryJournal() if journal is None else journal
    async with OrderManager.open(journal=chosen, broker=broker, **options) as manager:
        yield manager


async def crash(manager: OrderManager) -> None:
    """End a manager as a killed process ends: nothing is waited for, nothing is closed."""
    await manager.abandon()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
