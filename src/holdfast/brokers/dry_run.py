"""The dry-run broker: orders are tracked and filled at the quoted price, and nothing is ever sent.

Rule 1: no price is invented. A market order without a quote stays open until there is one; an
order that trades on arrival does so at the quoted price, one that rested at its limit.
Rule 2: a stop is reached by the price that its order would get: the offer for a buyer, the bid
for a seller, the last price where that side has none.
Rule 3: orders live as long as the process. One that was accepted in an earlier life is shown as
cancelled with the word "dry run ended": nobody watches the quotes for it any more. One that was
not is absent, and is placed anew or fails as the desk decides.

Orders fill as a whole, without fees. Positions outlive this memory, so that `reduce_only` is left
to the desk to judge; a day order stays, because nothing here knows when a day ends.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_MS
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.quotes import Quote
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
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import TERMINAL, ZERO, OrderType, Side, Status, TimeInForce, add, sub
from holdfast.errors import InputError
from holdfast.ports import OpenOrders

# Ended orders that are remembered, for whoever missed the report of their end.
ENDED_ORDERS_MAX: Final = 10_000
_STOPS: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})
_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})
_ENDED_WORD: Final = "dry run ended"
_NOTIONAL: Final = Refused(text="a dry run takes no orders sized by notional; give a quantity")

CAPABILITIES: Final = Capabilities(
    times_in_force=frozenset(TimeInForce) - {TimeInForce.GTD}, notional=False
)


class _Order(Struct, kw_only=True, eq=False):
    """One order; `armed` is a stop that was not reached yet, `stop` its price by now."""

    broker_order_id: str
    wire_id: str
    terms: OrderTerms
    quantity: Decimal
    stop: Decimal | None
    armed: bool
    status: Status = Status.OPEN
    execution: Execution | None = None
    sequence: int = 0
    former_wires: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.broker_order_id, self.wire_id, *self.former_wires)

    @property
    def filled(self) -> Decimal:
        return self.execution.quantity if self.execution is not None else ZERO

    def snapshot(self) -> Snapshot:
        return Snapshot(
            broker_order_id=self.broker_order_id,
            wire_id=self.wire_id,
            symbol=self.terms.symbol,
            side=self.terms.side,
            order_type=self.terms.order_type,
            time_in_force=self.terms.time_in_force,
            status=self.status,
            word=self.status.value,
            order_quantity=self.quantity,
            cumulative=self.filled,
            limit_price=self.terms.limit_price,
            stop_price=self.stop,
            sequence=self.sequence,
        )


class DryRunBroker:
    """A broker of nothing but memory.

    It follows the quotes (`quoted`), so that resting orders are looked at as they come. `quotes`
    returns the quote of a symbol that is fresh enough to trade at, or None; without it that is the
    latest one that was told, by the age that a desk bounds (`judge_age`) as it opens.
    """

    modes = frozenset({"dry_run"})

    def __init__(self, quotes: Callable[[str], Quote | None] | None = None) -> None:
        self.capabilities = CAPABILITIES
        self._told: dict[str, tuple[Quote, int]] = {}  # with the time of its arrival
        self._now_ns: Callable[[], int] = lambda: 0
        self._age_max_ns = 0
        self._quotes = quotes or self._fresh
        self._working: dict[str, dict[str, _Order]] = {}  # by symbol, then by broker order id
        self._orders: dict[str, _Order] = {}  # by every wire id and broker order id
        self._ended: dict[str, _Order] = {}
        self._fills: tuple[list[_Order], list[_Order]] = ([], [])  # before the last poll, and since
        self._on_report: Callable[[Report], None] | None = None
        self._missed = False

    def judge_age(self, now_ns: Callable[[], int], age_max_ms: int) -> None:
        """Trade at no quote older than this, where the quotes are not judged by somebody else."""
        self._now_ns, self._age_max_ns = now_ns, age_max_ms * NS_PER_MS
        # What was told before was told at an unknown time.
        self._told.clear()

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Take a new order, and fill it at once where the quote says so; see `Broker.submit`."""
        terms = order.terms
        if order.wire_id in self._orders:
            return _used(order.wire_id)
        if terms.quantity is None:
            return _NOTIONAL
        placed = _Order(
            broker_order_id=f"dry-{order.wire_id}",
            wire_id=order.wire_id,
            terms=terms,
            quantity=terms.quantity,
            stop=terms.stop_price,
            armed=terms.order_type in _STOPS,
        )
        quote = self._quotes(terms.symbol)
        if terms.post_only and quote is not None and _price(placed, quote) is not None:
            return Refused(text="post-only, and the limit price would trade at once")
        self._working.setdefault(terms.symbol, {})[placed.broker_order_id] = placed
        self._orders[placed.wire_id] = self._orders[placed.broker_order_id] = placed
        self._report(placed, ReportKind.NEW)
        self._arrive(placed, quote)
        return Accepted(broker_order_id=placed.broker_order_id)

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Cancel a working order at once; see `Broker.cancel`."""
        found = self._named(order.broker_order_id, order.wire_id, order.orig_wire_id)
        if found is None or found.status in TERMINAL:
            return _not_working(found)
        self._end(found, Status.CANCELED)
        return Accepted(broker_order_id=found.broker_order_id, final=True)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Give a working order new terms in its place at once; see `Broker.replace`."""
        found = self._named(order.broker_order_id, order.orig_wire_id)
        if found is None or found.status in TERMINAL:
            return _not_working(found)
        if order.terms.quantity is None:
            return _NOTIONAL
        if order.wire_id in self._orders:
            return _used(order.wire_id)
        before, found.terms, found.quantity = found.terms, order.terms, order.terms.quantity
        if (before.stop_price, before.trail) != (order.terms.stop_price, order.terms.trail):
            found.stop = order.terms.stop_price
        orig_wire_id, found.wire_id = found.wire_id, order.wire_id
        found.former_wires += (orig_wire_id,)
        self._orders[found.wire_id] = found
        self._report(found, ReportKind.REPLACED, orig_wire_id=orig_wire_id)
        self._arrive(found, self._quotes(found.terms.symbol))
        return Accepted(broker_order_id=found.broker_order_id, final=True)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Say what became of an order, by rule 3 where it is not known; see `Broker.lookup`."""
        found = self._named(*order.broker_order_ids, *order.wire_ids)
        if found is not None:
            executions = () if found.execution is None else (found.execution,)
            sighting = Sighting(
                snapshot=found.snapshot(), executions=executions, executions_complete=True
            )
            return LookupResult(sightings=(sighting,), complete=True)
        ended = tuple(
            Sighting(
                snapshot=Snapshot(
                    broker_order_id=broker_order_id,
                    symbol=order.symbol,
                    status=Status.CANCELED,
                    word=_ENDED_WORD,
                )
            )
            for broker_order_id in order.broker_order_ids
        )
        return LookupResult(sightings=ended, complete=True, text=_ENDED_WORD if ended else "")

    async def poll(self) -> OpenOrders:
        """List the working orders, and the executions since the poll before the last."""
        before, since = self._fills
        self._fills = (since, [])
        working = [order for orders in self._working.values() for order in orders.values()]
        return OpenOrders(
            snapshots=tuple(order.snapshot() for order in working),
            executions=tuple(
                (order.broker_order_id, order.wire_id, order.execution)
                for order in (*before, *since)
                if order.execution is not None
            ),
            complete=True,
        )

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled; one listener at a time, told first what it missed."""
        if self._on_report is not None:
            raise InputError("somebody listens to this dry run already; end that first")
        self._on_report = on_report
        try:
            if self._missed:
                self._missed = False
                on_gap()
            await asyncio.get_running_loop().create_future()
        finally:
            self._on_report = None

    def quoted(self, quote: Quote, age_ns: int = 0) -> None:
        """Look at the resting orders of a symbol, whose quote has changed."""
        self._told[quote.symbol] = (quote, self._now_ns() - age_ns)
        orders = self._working.get(quote.symbol)
        fresh = self._quotes(quote.symbol) if orders else None
        if not orders or fresh is None:
            return
        for order in list(orders.values()):
            rested = None if order.armed else order.terms.limit_price
            price = _price(order, fresh)
            if price is not None:
                self._fill(order, price if rested is None else rested)
            else:
                _follow(order, fresh)

    def _fresh(self, symbol: str) -> Quote | None:
        quote, at_ns = self._told.get(symbol, (None, 0))
        return quote if self._now_ns() - at_ns <= self._age_max_ns else None

    def _arrive(self, order: _Order, quote: Quote | None) -> None:
        price = None if quote is None else _price(order, quote)
        if price is not None:
            self._fill(order, price)
        elif quote is not None:
            _follow(order, quote)
        if order.status not in TERMINAL and order.terms.time_in_force in _IMMEDIATE:
            self._end(order, Status.CANCELED)

    def _fill(self, order: _Order, price: Decimal) -> None:
        order.execution = Execution(
            execution_id=f"{order.broker_order_id}-x",
            quantity=order.quantity,
            price=price,
            fee=ZERO,
        )
        self._fills[1].append(order)
        self._close(order, Status.FILLED)
        self._report(order, ReportKind.TRADE, execution=order.execution)

    def _end(self, order: _Order, status: Status) -> None:
        self._close(order, status)
        self._report(order, ReportKind.CANCELED)

    def _close(self, order: _Order, status: Status) -> None:
        order.status = status
        symbol = order.terms.symbol
        del self._working[symbol][order.broker_order_id]
        if not self._working[symbol]:
            del self._working[symbol]
        self._ended[order.broker_order_id] = order
        if len(self._ended) > ENDED_ORDERS_MAX:
            oldest = self._ended.pop(next(iter(self._ended)))
            for name in oldest.names:
                self._orders.pop(name, None)

    def _named(self, *names: str) -> _Order | None:
        return next((self._orders[name] for name in names if name in self._orders), None)

    def _report(
        self,
        order: _Order,
        kind: ReportKind,
        *,
        orig_wire_id: str = "",
        execution: Execution | None = None,
    ) -> None:
        order.sequence += 1
        if self._on_report is None:
            self._missed = True
            return
        self._on_report(
            Report(
                kind=kind,
                wire_id=order.wire_id,
                orig_wire_id=orig_wire_id,
                broker_order_id=order.broker_order_id,
                report_id=f"{order.broker_order_id}-{order.sequence}",
                execution=execution,
                order_quantity=order.quantity,
                cumulative=order.filled,
                full=order.status is Status.FILLED,
                limit_price=order.terms.limit_price,
                stop_price=order.stop,
                sequence=order.sequence,
            )
        )


def _used(wire_id: str) -> Refused:
    text = f"client order id {wire_id} was used already"
    return Refused(text=text, code=RefusalCode.DUPLICATE_ID)


def _not_working(found: _Order | None) -> Refused:
    if found is None:
        return Refused(text="no such order in this dry run", code=RefusalCode.UNKNOWN_ORDER)
    return Refused(text=f"the order is {found.status}", code=RefusalCode.TOO_LATE)


def _price(order: _Order, quote: Quote) -> Decimal | None:
    """Return the quoted price at which an order trades now; None where it does not.

    A stop that is reached is disarmed on the way: from then on it is what it turned into.
    """
    side, limit = order.terms.side, order.terms.limit_price
    price = quote.taken(side)
    if price is None:
        return None
    if order.armed:
        if order.stop is None or not _reached(side, price, order.stop):
            return None
        order.armed = False
    if limit is not None and not _reached(side.opposite, price, limit):
        return None
    return price


def _reached(side: Side, price: Decimal, mark: Decimal) -> bool:
    """Tell whether a price is at a mark or beyond it: above for buy, below for sell."""
    return price >= mark if side is Side.BUY else price <= mark


def _follow(order: _Order, quote: Quote) -> None:
    """Move a trailing stop after the price, towards it only."""
    trail, side = order.terms.trail, order.terms.side
    price = quote.taken(side)
    if trail is None or price is None or not order.armed:
        return
    stop = add(price, trail) if side is Side.BUY else sub(price, trail)
    if order.stop is None or _reached(side.opposite, stop, order.stop):
        order.stop = stop
