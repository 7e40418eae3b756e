"""Where what happened is numbered, booked and reported.

Rule 1: a trade changes both sides' orders and ledgers in one go, and the anonymous crowd has a
ledger too, so over all accounts positions add up to zero, and cash to minus the fees.
Rule 2: reports wait in a queue until the venue has finished its present act (`flush`), so a
listener may call the venue at once and still sees reports in the order in which things happened.
Rule 3: orders that are linked with one that trades or ends follow in the same act (`linked`).
"""

from collections import deque
from decimal import Decimal

from msgspec.structs import replace

from holdfast.domain.reports import Execution, Report, ReportKind
from holdfast.domain.values import (
    Condition,
    Liquidity,
    Status,
    add,
    neg,
    sub,
)
from holdfast.errors import InputError
from holdfast.venue.orders import Account, Deal, Fill, Ledger, Listing, VenueOrder


class Clearing:
    """Numbers, books and reports of one venue; `now_ns` is the time of the present act."""

    def __init__(self, history_max: int | None = None, life: str = "") -> None:
        self.now_ns = 0
        self._life = life
        self.crowd = Ledger()
        self.orders: dict[str, VenueOrder] = {}
        self._history_max = history_max
        self._history: deque[VenueOrder] = deque()
        self._fills: dict[str, Fill] = {}
        self._outbox: deque[tuple[Account, Report]] = deque()
        self._flushing = False
        self._orders_total = self._executions_total = self._reports_total = 0

    def _execution_id(self) -> str:
        self._executions_total += 1
        return f"X-{self._life}{self._executions_total}"

    def accept(self, order: VenueOrder) -> None:
        """Number a new order and enter it in its account's records."""
        self._orders_total += 1
        order.number = self._orders_total
        order.broker_order_id = f"V-{self._life}{order.number}"
        account = order.account
        order.stamp_ns = order.created_ns = self.now_ns
        self.orders[order.broker_order_id] = order
        account.orders[order.broker_order_id] = order
        account.working[order.broker_order_id] = order
        if order.wire_id:
            account.wires.setdefault(order.wire_id, []).append(order)

    def report(
        self,
        order: VenueOrder,
        kind: ReportKind,
        *,
        execution: Execution | None = None,
        execution_ref: str = "",
        wire_id: str = "",
        orig_wire_id: str = "",
        text: str = "",
    ) -> None:
        """Queue one report about the order as it is now, under its own wire id by default."""
        order.sequence += 1
        order.stamp_ns = self.now_ns
        if not order.account.listeners:
            return
        self._reports_total += 1
        listing = order.listing
        report = Report(
            kind=kind,
            wire_id=wire_id or order.wire_id,
            orig_wire_id=orig_wire_id,
            broker_order_id=order.broker_order_id,
            report_id=f"R-{self._life}{self._reports_total}",
            execution=execution,
            execution_ref=execution_ref,
            order_quantity=order.quantity,
            cumulative=order.cumulative,
            full=order.status is Status.FILLED,
            limit_price=None if order.limit is None else listing.price(order.limit),
            stop_price=None if order.stop is None else listing.price(order.stop),
            text=text,
            stamp_ns=self.now_ns,
            sequence=order.sequence,
        )
        self._outbox.append((order.account, report))

    def flush(self) -> None:
        """Deliver what is queued, oldest first; a listener may cause more, which follows."""
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._outbox:
                account, report = self._outbox.popleft()
                for listener in tuple(account.listeners):
                    listener(report)
        finally:
            self._flushing = False

    def end(self, order: VenueOrder, status: Status, text: str = "", word: str = "") -> None:
        """End an order and say so."""
        self.close(order, status, word)
        kind = {
            Status.CANCELED: ReportKind.CANCELED,
            Status.EXPIRED: ReportKind.EXPIRED,
            Status.REJECTED: ReportKind.REJECTED,
        }[status]
        self.report(order, kind, text=text)
        if order.link is not None:
            order.link.ended(order)

    def close(self, order: VenueOrder, status: Status, word: str = "") -> None:
        """Move an order to the account's history without a report; its link is not told."""
        order.status, order.word, order.condition = status, word, Condition.NONE
        order.stamp_ns = self.now_ns
        order.account.working.pop(order.broker_order_id, None)
        if self._history_max is not None:
            self._history.append(order)
            while len(self._history) > self._history_max:
                self._forget(self._history.popleft())

    def _forget(self, order: VenueOrder) -> None:
        if not order.ended:  # reinstated after a bust; it will come by again
            return
        self.orders.pop(order.broker_order_id, None)
        order.account.orders.pop(order.broker_order_id, None)
        for fill in order.fills:
            self._fills.pop(fill.execution.execution_id, None)
        for wire_id in (order.wire_id, *order.former_wires):
            # The key stays: a wire id that was used is spent, also once its order is forgotten.
            if order in order.account.wires.get(wire_id, ()):
                order.account.wires[wire_id].remove(order)

    def trade(
        self,
        listing: Listing,
        taker: VenueOrder | None,
        maker: VenueOrder | None,
        sign: int,
        lots: int,
        ticks: int,
    ) -> None:
        """Book a trade; `sign` is the taker's, and who is None is the anonymous crowd."""
        deal = listing.deal(listing.quantity(lots), listing.price(ticks))
        taken = self._fill(listing, taker, sign, lots, deal, Liquidity.TAKER)
        made = self._fill(listing, maker, -sign, lots, deal, Liquidity.MAKER)
        if taken is not None and made is not None:
            taken.other, made.other = made, taken

    def _fill(
        self,
        listing: Listing,
        order: VenueOrder | None,
        sign: int,
        lots: int,
        deal: Deal,
        liquidity: Liquidity,
    ) -> Fill | None:
        if order is None:
            self.crowd.book(listing.instrument, sign, deal)
            return None
        execution = self._executed(order, deal, liquidity, self._execution_id(), self.now_ns)
        fill = Fill(order=order, execution=execution)
        self._fills[execution.execution_id] = fill
        order.fills.append(fill)
        order.filled += lots
        order.spent = add(order.spent, deal.value)
        if order.notional is not None:
            order.notional = sub(order.notional, deal.money)
            if not listing.affordable(order.notional, listing.ticks(deal.price)):
                order.lots = order.filled
        if order.filled >= order.lots and order.lots:
            self.close(order, Status.FILLED)
        else:
            order.status = Status.PARTIAL_FILL
        self._book(order, sign, deal, execution)
        order.account.note(fill)
        self.report(order, ReportKind.TRADE, execution=execution)
        if order.link is not None:
            order.link.traded(order, lots)
        return fill

    def _executed(
        self, order: VenueOrder, deal: Deal, liquidity: Liquidity, execution_id: str, stamp_ns: int
    ) -> Execution:
        fee, currency = order.listing.fees.charge(
            order.listing.instrument, order.side, deal.quantity, deal.money, liquidity
        )
        return Execution(
            execution_id=execution_id,
            quantity=deal.quantity,
            price=deal.price,
            fee=fee,
            fee_currency=currency,
            liquidity=liquidity,
            stamp_ns=stamp_ns,
        )

    def _book(self, order: VenueOrder, sign: int, deal: Deal, execution: Execution) -> None:
        """Book a deal and its fee, or with the opposite of the order's sign take them back."""
        ledger, instrument = order.account.ledger, order.listing.instrument
        ledger.book(instrument, sign, deal)
        if execution.fee:
            fee = execution.fee if sign == order.sign else neg(execution.fee)
            ledger.charge(instrument, fee, execution.fee_currency)

    def fill_of(self, execution_id: str) -> Fill:
        """Return the fill an execution id names; raises InputError for an id never given."""
        fill = self._fills.get(execution_id)
        if fill is None or fill.busted:
            raise InputError(
                f"execution {execution_id!r} is not known or was busted; name one that stands"
            )
        return fill

    def revise(self, fill: Fill, quantity: Decimal, price: Decimal) -> int:
        """Give one side of a trade new terms, zero quantity being a bust, and report it.

        Returns by how many lots the order's filled quantity fell. Its status and place in the
        book are the caller's business.
        """
        order, old = fill.order, fill.execution
        listing = order.listing
        before, after = listing.deal(old.quantity, old.price), listing.deal(quantity, price)
        new = self._executed(order, after, old.liquidity, old.execution_id, old.stamp_ns)
        self._book(order, -order.sign, before, old)
        self._book(order, order.sign, after, new)
        if fill.other is None:
            self.crowd.book(listing.instrument, order.sign, before)
            self.crowd.book(listing.instrument, -order.sign, after)
        fallen = listing.lots(old.quantity) - listing.lots(quantity)
        order.filled -= fallen
        order.spent = add(order.spent, sub(after.value, before.value))
        fill.execution, fill.busted = new, not quantity
        order.account.note(fill)
        if fill.busted:
            self.report(order, ReportKind.TRADE_CANCEL, execution_ref=old.execution_id)
        else:
            alias = self._execution_id()
            self._fills[alias] = fill
            self.report(
                order,
                ReportKind.TRADE_CORRECT,
                execution=replace(new, execution_id=alias),
                execution_ref=old.execution_id,
            )
        return fallen
