"""Rows that stand beside the records: one per ended order and one per execution, for plain SQL."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from holdfast.domain.desk import Desk
from holdfast.domain.events import (
    AnyEvent,
    ExecutionCorrected,
    OrderFilled,
    OrderRecalled,
    OrdersArchived,
)
from holdfast.domain.order import Order
from holdfast.domain.packing import names_of
from holdfast.domain.reports import Execution
from holdfast.domain.values import ZERO
from holdfast.ports import ExecutionRow, OrderRow

_decode: Final = msgspec.json.Decoder(Order).decode


def order_of(body: bytes) -> Order:
    """Return an archived order, from its row's body."""
    return _decode(body)


class Rows:
    """Makes the rows of a batch; remembers which inferred executions are still waiting.

    A real execution takes the place of inferred ones; their rows must then shrink with them.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: dict[int, dict[tuple[str, str], Decimal]] = {}
        for order in desk.orders():
            self._remember(order)

    def of(self, events: Sequence[AnyEvent]) -> tuple[list[OrderRow], list[ExecutionRow]]:
        """Return the rows of a batch of events that were applied to the desk already."""
        desk = self._desk
        touched: dict[int, Order | None] = {}
        executions: list[ExecutionRow] = []
        for event in events:
            number = getattr(event, "number", 0)
            if number not in touched:
                touched[number] = desk.order(number) if number else None
            order = touched[number]
            if order is not None:
                self._note(event, order, executions)
            elif isinstance(event, OrdersArchived):
                for gone in event.numbers:
                    self._waiting.pop(gone, None)
        # Packed now, an ended order is encoded once, for its row and for its place in memory.
        desk.rest()
        orders = [
            _order_row(order, desk.state.body(order.number))
            for order in touched.values()
            if order is not None and order.is_terminal and desk.state.holds(order.number)
        ]
        return orders, executions

    def _note(self, event: AnyEvent, order: Order, rows: list[ExecutionRow]) -> None:
        if type(event) is OrderFilled:
            self._filled(event, order, rows)
        elif type(event) is ExecutionCorrected:
            self._corrected(event, order, rows)
        elif type(event) is OrderRecalled:
            self._remember(order)

    def _remember(self, order: Order) -> None:
        waiting = {
            (leg.broker_order_id, guess.execution_id): guess.quantity
            for leg in order.legs
            for guess in leg.waiting.values()
        }
        if waiting:
            self._waiting[order.number] = waiting

    def _filled(self, event: OrderFilled, order: Order, rows: list[ExecutionRow]) -> None:
        if not event.inferred and event.number in self._waiting:
            self._shrink(order, event.at_ns, rows)
        trade, guessed = event.execution, event.inferred
        rows.append(self._row(order, event.broker_order_id, trade, event.at_ns, inferred=guessed))
        if event.inferred:
            self._remember(order)

    def _corrected(self, event: ExecutionCorrected, order: Order, rows: list[ExecutionRow]) -> None:
        if event.number in self._waiting:
            self._shrink(order, event.at_ns, rows)
        leg = order.find_leg(event.broker_order_id)
        guessed = leg is not None and event.execution_id in leg.waiting
        version = Execution(
            execution_id=event.execution_id,
            quantity=event.quantity,
            price=event.price,
            fee=event.fee,
            fee_currency=event.fee_currency,
        )
        broker_order_id = event.broker_order_id
        rows.append(self._row(order, broker_order_id, version, event.at_ns, inferred=guessed))

    def _shrink(self, order: Order, at_ns: int, rows: list[ExecutionRow]) -> None:
        """Write the rows of inferred executions anew whose quantity was taken by real ones."""
        before = self._waiting.pop(order.number)
        self._remember(order)
        now = self._waiting.get(order.number, {})
        for (broker_order_id, execution_id), quantity in before.items():
            left = now.get((broker_order_id, execution_id), ZERO)
            if left != quantity:
                leg = order.find_leg(broker_order_id)
                guess = leg.waiting.get(execution_id) if leg is not None else None
                if guess is None:
                    guess = Execution(execution_id=execution_id, quantity=ZERO, price=ZERO)
                rows.append(self._row(order, broker_order_id, guess, at_ns, inferred=True))

    def _row(
        self, order: Order, broker_order_id: str, trade: Execution, at_ns: int, *, inferred: bool
    ) -> ExecutionRow:
        return ExecutionRow(
            account=self._desk.account,
            broker_order_id=broker_order_id,
            execution_id=trade.execution_id,
            number=order.number,
            symbol=order.terms.symbol,
            side=order.terms.side,
            quantity=trade.quantity,
            price=trade.price,
            fee=trade.fee,
            fee_currency=trade.fee_currency,
            at_ns=at_ns,
            inferred=inferred,
        )


def _order_row(order: Order, body: bytes) -> OrderRow:
    return OrderRow(
        number=order.number,
        names=names_of(order),
        client_order_id=order.client_order_id,
        symbol=order.terms.symbol,
        side=order.terms.side,
        order_type=order.terms.order_type,
        status=order.status,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        notional=order.notional,
        strategy=order.strategy,
        created_ns=order.created_ns,
        completed_ns=order.completed_ns,
        body=body,
    )
