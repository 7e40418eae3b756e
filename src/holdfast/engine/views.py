"""What callers are given: frozen copies of orders, executions and positions."""

from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.domain.executions import Leg
from holdfast.domain.fix_view import leaves_quantity, ord_status
from holdfast.domain.order import Order
from holdfast.domain.positions import Position
from holdfast.domain.reports import Execution
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import (
    TERMINAL,
    ZERO,
    Condition,
    Liquidity,
    OrderType,
    OrdStatus,
    Side,
    Status,
    TimeInForce,
    ratio,
)
from holdfast.domain.wish import Stage

_NO_FEES: Final[dict[str, Decimal]] = {}


class OrderView(Struct, frozen=True):
    """An order as it was at `updated_ns`.

    Quantities are in instrument units, prices in quote currency per unit, times in UTC
    nanoseconds of desk time, 0 for not yet. `quantity` is the quantity in force, None while an
    order sized by notional has none. `pending` names the requests that are not answered yet,
    `unknown` tells that for one of them nobody knows whether it reached the broker. `code` and
    `text` give the reason of a rejection, a failure or an end. `asking` tells that the broker is
    being asked about the order, `refusal` why it last refused to cancel or replace it. An order
    that moves to another price by being cancelled is `moving` until its `successor` (a number)
    takes over what is left of it; that one `succeeds` it.
    """

    number: int
    client_order_id: str
    wire_id: str
    broker_order_id: str
    idempotency_key: str
    strategy: str
    terms: OrderTerms
    status: Status
    ord_status: OrdStatus
    condition: Condition
    quantity: Decimal | None
    filled_quantity: Decimal
    leaves_quantity: Decimal | None
    notional: Decimal
    fees: dict[str, Decimal]
    pending: tuple[str, ...]
    unknown: bool
    asking: bool
    code: str
    text: str
    refusal: str
    succeeds: int
    successor: int
    moving: bool
    created_ns: int
    submitted_ns: int
    first_fill_ns: int
    completed_ns: int
    updated_ns: int

    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.terms.symbol

    @property
    def side(self) -> Side:
        """Buy or sell."""
        return self.terms.side

    @property
    def order_type(self) -> OrderType:
        """Market, limit, stop, stop limit or trailing stop."""
        return self.terms.order_type

    @property
    def time_in_force(self) -> TimeInForce:
        """How long the order stands."""
        return self.terms.time_in_force

    @property
    def limit_price(self) -> Decimal | None:
        """The limit price in force."""
        return self.terms.limit_price

    @property
    def stop_price(self) -> Decimal | None:
        """The stop price in force."""
        return self.terms.stop_price

    @property
    def is_terminal(self) -> bool:
        """Tell whether the order ended."""
        return self.status in TERMINAL

    @property
    def average_price(self) -> Decimal:
        """Average price of what is filled, rounded to 60 digits; 0 before the first fill."""
        return ratio(self.notional, self.filled_quantity) if self.filled_quantity else ZERO


def view_order(order: Order) -> OrderView:
    """Copy what a caller may see of an order."""
    wishes = order.wishes
    return OrderView(
        order.number,
        order.client_order_id,
        order.wire_id,
        order.broker_order_id,
        order.idempotency_key,
        order.strategy,
        order.terms,
        order.status,
        ord_status(order),
        order.condition,
        order.quantity,
        order.filled_quantity,
        leaves_quantity(order),
        order.notional,
        dict(order.fees) if order.fees else _NO_FEES,
        tuple([wish.kind.value for wish in wishes]) if wishes else (),
        Stage.UNKNOWN in [wish.stage for wish in wishes] if wishes else False,
        order.lookup is not None,
        order.code,
        order.text,
        order.refusal,
        order.succeeds,
        order.successor,
        order.moving_to is not None,
        order.created_ns,
        order.submitted_ns,
        order.first_fill_ns,
        order.completed_ns,
        order.updated_ns,
    )


class ExecutionView(Struct, frozen=True, kw_only=True):
    """One execution of an order in its newest version; quantity zero when it was busted.

    `inferred` marks what follows from the broker's cumulative figure alone, so far.
    """

    number: int
    client_order_id: str
    broker_order_id: str
    execution_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    fee_currency: str
    liquidity: Liquidity
    stamp_ns: int
    inferred: bool


def view_executions(order: Order) -> list[ExecutionView]:
    """Copy an order's executions, broker order by broker order."""
    return [
        _view_execution(order, leg, execution, inferred=inferred)
        for leg in order.legs
        for booked, inferred in ((leg.executions, False), (leg.waiting, True))
        for execution in booked.values()
    ]


def _view_execution(
    order: Order, leg: Leg, execution: Execution, *, inferred: bool
) -> ExecutionView:
    return ExecutionView(
        number=order.number,
        client_order_id=order.client_order_id,
        broker_order_id=leg.broker_order_id,
        execution_id=execution.execution_id,
        symbol=order.terms.symbol,
        side=order.terms.side,
        quantity=execution.quantity,
        price=execution.price,
        fee=execution.fee,
        fee_currency=execution.fee_currency,
        liquidity=execution.liquidity,
        stamp_ns=execution.stamp_ns,
        inferred=inferred,
    )


class PositionView(Struct, frozen=True, kw_only=True):
    """What a desk holds of a symbol; the quantity is above zero when long.

    `cash` and `realised` are in points (price times quantity), before fees; times the
    instrument's multiplier they are money.
    """

    symbol: str
    quantity: Decimal
    average_price: Decimal
    cash: Decimal
    realised: Decimal
    fees: dict[str, Decimal]


def view_position(position: Position) -> PositionView:
    """Copy what a caller may see of a position."""
    return PositionView(
        symbol=position.symbol,
        quantity=position.quantity,
        average_price=position.average_price,
        cash=position.book.cash,
        realised=position.book.realised,
        fees=dict(position.fees),
    )


class OrderStatus(Struct, frozen=True, kw_only=True):
    """What is known of one order: how much of it is filled, at what price, and what is left.

    `raw` is what the broker said just now, and `fresh` tells whether it said anything.
    """

    client_order_id: str
    broker_order_id: str
    status: Status
    filled_quantity: Decimal
    average_price: Decimal
    pending_quantity: Decimal | None
    updated_ns: int
    fresh: bool
    raw: dict[str, object]


def view_status(order: OrderView, raw: dict[str, object]) -> OrderStatus:
    """Sum up an order beside the broker's own last word on it, if there is one."""
    return OrderStatus(
        client_order_id=order.client_order_id,
        broker_order_id=order.broker_order_id,
        status=order.status,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        pending_quantity=order.leaves_quantity,
        updated_ns=order.updated_ns,
        fresh=bool(raw),
        raw=raw,
    )
