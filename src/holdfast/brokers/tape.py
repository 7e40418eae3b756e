"""A broker that follows a tape: it matches nothing, it does to each order what was recorded.

Rule 1: a request is carried out at once and answered. What nobody asked for, a trade or an end by
the venue's will, happens when `follow` is given the tape's operation, and is reported.
Rule 2: all that this venue says of an order follows from the operations on it, ids included. So
one that `restore` built after a crash says word for word what the one before it said.

What this module does not know: which rows may go out when (`trading/replay.py`).
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
)
from holdfast.domain.values import TERMINAL, ZERO, OrderType, Side, Status, TimeInForce, add
from holdfast.ports import OpenOrders
from holdfast.venue import flow

CAPABILITIES: Final = Capabilities(
    order_types=frozenset({OrderType.LIMIT}),
    times_in_force=frozenset({TimeInForce.GTC}),
    notional=False,
)


class TapeOrder(Struct, kw_only=True):
    """An order as this venue has it; `steps` counts what was done to it, its submit included.

    `reports` are those sent so far: its trades, and an end that nobody asked for.
    """

    wire_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal
    status: Status = Status.OPEN
    filled: Decimal = ZERO
    steps: int = 1
    reports: list[Report] = msgspec.field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Tell whether the order may still trade."""
        return self.status not in TERMINAL

    @property
    def executions(self) -> tuple[Execution, ...]:
        """The order's trades, oldest first."""
        return tuple(report.execution for report in self.reports if report.execution is not None)


class TapeBroker:
    """One account at a venue that follows a tape; implements `holdfast.ports.Broker`.

    It keeps every order of the tape, ended ones too: a lookup may ask for any of them.
    """

    capabilities = CAPABILITIES
    modes = frozenset({"paper"})

    def __init__(self, symbol: str) -> None:
        """Open a venue that trades one symbol and has no order yet."""
        self.submits = self.duplicates = self.lookups = 0
        self._symbol = symbol
        self._orders: dict[str, TapeOrder] = {}
        self._live: dict[str, TapeOrder] = {}
        self._wire_ids: dict[str, str] = {}
        self._unheard: list[tuple[str, str, Execution]] = []
        self._on_report: Callable[[Report], None] | None = None
        self._listening = asyncio.Event()

    def order(self, wire_id: str) -> TapeOrder | None:
        """Return an order by the wire id of its submit, if it arrived."""
        return self._orders.get(wire_id)

    # What a broker is asked.

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Take a limit order; a second one under the same wire id is refused."""
        self.submits += 1
        terms = order.terms
        if order.wire_id in self._orders:
            self.duplicates += 1
            return Refused(text=f"{order.wire_id} was used", code=RefusalCode.DUPLICATE_ID)
        if terms.quantity is None or terms.limit_price is None or terms.symbol != self._symbol:
            found = f"{terms.order_type} order in {terms.symbol}"
            return Refused(text=f"a {found}; this venue takes limit orders in {self._symbol}")
        placed = self._place(
            order.wire_id, order.number, terms.side, terms.quantity, terms.limit_price
        )
        return Accepted(broker_order_id=placed.broker_order_id)

    async def cancel(self, order: CancelOrder) -> Outcome:
        """End an order; one that is cancelled already is so once more."""
        found = self._named(order.orig_wire_id, order.broker_order_id)
        if found is None:
            return Refused(text="no such order", code=RefusalCode.UNKNOWN_ORDER)
        if found.status is Status.FILLED:
            return Refused(text="it is filled", code=RefusalCode.TOO_LATE)
        if found.is_live:
            self._end(found)
        return Accepted(broker_order_id=found.broker_order_id, final=True)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Give a live order new terms; terms that it has already are confirmed once more."""
        found = self._named(order.orig_wire_id, order.broker_order_id)
        if found is None:
            return Refused(text="no such order", code=RefusalCode.UNKNOWN_ORDER)
        if not found.is_live:
            return Refused(text=f"it is {found.status}", code=RefusalCode.TOO_LATE)
        quantity, price = order.terms.quantity, order.terms.limit_price
        if quantity is None or price is None or quantity <= found.filled:
            return Refused(text=f"{quantity} at {price} with {found.filled} filled")
        if (quantity, price) != (found.quantity, found.limit_price):
            self._replace(found, quantity, price)
        return Accepted(broker_order_id=found.broker_order_id, final=True)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Show an order and all its trades; it is known by each of its ids or not at all."""
        self.lookups += 1
        ids = [*order.wire_ids, *(self._wire_ids.get(each, "") for each in order.broker_order_ids)]
        found = {each: self._orders[each] for each in ids if each in self._orders}
        sightings = tuple(
            Sighting(snapshot=_shown(each), executions=each.executions, executions_complete=True)
            for each in found.values()
        )
        return LookupResult(sightings=sightings, complete=True)

    async def poll(self) -> OpenOrders:
        """List the live orders, and the trades that nobody heard of when they happened."""
        executions, self._unheard = tuple(self._unheard), []
        snapshots = tuple(_shown(each) for each in self._live.values())
        return OpenOrders(snapshots=snapshots, executions=executions, complete=True)

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled; what happened before is a gap."""
        if self._orders:
            on_gap()
        self._on_report = on_report
        self._listening.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._on_report = None
            self._listening.clear()

    # What the tape says.

    async def connected(self) -> None:
        """Wait until somebody listens."""
        await self._listening.wait()

    def follow(self, wire_id: str, operation: flow.Execution | flow.Cancel) -> None:
        """Let happen to an order what the tape says, and report it.

        Raises:
            KeyError: the order has not arrived.
        """
        order = self._orders[wire_id]
        self._apply(order, operation)
        report = order.reports[-1]
        if self._on_report is not None:
            self._on_report(report)
        elif report.execution is not None:
            self._unheard.append((order.broker_order_id, order.wire_id, report.execution))

    def retell(self, wire_id: str) -> None:
        """Deliver an order's reports once more, as a venue does on a new connection."""
        for report in self._orders[wire_id].reports:
            if self._on_report is not None:
                self._on_report(report)

    def restore(
        self,
        wire_id: str,
        number: int,
        operation: flow.Submit | flow.Replace | flow.Cancel | flow.Execution,
    ) -> None:
        """Redo an operation of an earlier process on order `number` of the desk; tell nobody."""
        if isinstance(operation, flow.Submit):
            self._place(wire_id, number, operation.side, operation.quantity, operation.limit_price)
            return
        order = self._orders[wire_id]
        if isinstance(operation, flow.Replace):
            self._replace(order, operation.quantity, operation.limit_price)
        elif isinstance(operation, flow.Execution) or operation.unsolicited:
            self._apply(order, operation)
        else:
            self._end(order)

    def _apply(self, order: TapeOrder, operation: flow.Execution | flow.Cancel) -> None:
        if isinstance(operation, flow.Cancel):
            self._end(order)
            order.reports.append(_report(order, operation, ReportKind.CANCELED))
            return
        execution = Execution(
            execution_id=operation.execution_id,
            quantity=operation.quantity,
            price=operation.price,
            stamp_ns=operation.at_ns,
        )
        order.steps += 1
        order.filled = add(order.filled, operation.quantity)
        order.status = Status.PARTIAL_FILL
        if order.filled >= order.quantity:
            order.status = Status.FILLED
            del self._live[order.wire_id]
        order.reports.append(_report(order, operation, ReportKind.TRADE, execution))

    def _place(
        self, wire_id: str, number: int, side: Side, quantity: Decimal, limit_price: Decimal
    ) -> TapeOrder:
        order = TapeOrder(
            wire_id=wire_id,
            broker_order_id=f"T{number}",
            symbol=self._symbol,
            side=side,
            quantity=quantity,
            limit_price=limit_price,
        )
        self._orders[wire_id] = self._live[wire_id] = order
        self._wire_ids[order.broker_order_id] = wire_id
        return order

    def _named(self, wire_id: str, broker_order_id: str) -> TapeOrder | None:
        return self._orders.get(self._wire_ids.get(broker_order_id, wire_id))

    def _replace(self, order: TapeOrder, quantity: Decimal, limit_price: Decimal) -> None:
        order.quantity, order.limit_price = quantity, limit_price
        order.steps += 1

    def _end(self, order: TapeOrder) -> None:
        order.status = Status.CANCELED
        order.steps += 1
        del self._live[order.wire_id]


def _report(
    order: TapeOrder,
    operation: flow.Execution | flow.Cancel,
    kind: ReportKind,
    execution: Execution | None = None,
) -> Report:
    return Report(
        kind=kind,
        wire_id=order.wire_id,
        broker_order_id=order.broker_order_id,
        report_id=f"r{operation.row}.{operation.part}",
        execution=execution,
        order_quantity=order.quantity,
        cumulative=order.filled,
        sequence=order.steps,
    )


def _shown(order: TapeOrder) -> Snapshot:
    return Snapshot(
        broker_order_id=order.broker_order_id,
        wire_id=order.wire_id,
        symbol=order.symbol,
        side=order.side,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        status=order.status,
        order_quantity=order.quantity,
        cumulative=order.filled,
        limit_price=order.limit_price,
        sequence=order.steps,
    )
