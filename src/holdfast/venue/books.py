"""The venue's own books of an account, to be compared with those of whoever trades on it."""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.values import ZERO, Side, Status, add
from holdfast.venue.orders import Account, VenueOrder


class OrderBooks(Struct, frozen=True, kw_only=True):
    """How one broker order stands; `quantity` is None while a notional order still fills.

    `filled` includes what an order before a replace filled, where the account carries fills over;
    `notional` (sum of quantity times price) and `fees` by currency are of its own executions.
    """

    broker_order_id: str
    wire_id: str
    symbol: str
    side: Side
    status: Status
    quantity: Decimal | None
    filled: Decimal
    notional: Decimal
    fees: dict[str, Decimal]
    replaced_by: str = ""


class Books(Struct, frozen=True, kw_only=True):
    """An account: its orders oldest first, positions in units, cash and fees by currency.

    What is zero is left out.
    """

    account: str
    orders: tuple[OrderBooks, ...]
    positions: dict[str, Decimal]
    cash: dict[str, Decimal]
    fees: dict[str, Decimal]


def books_of(account: Account) -> Books:
    """Write down an account as it is now."""
    ledger = account.ledger
    return Books(
        account=account.name,
        orders=tuple(_order_books(order) for order in account.orders.values()),
        positions=_without_zero(ledger.positions),
        cash=_without_zero(ledger.cash),
        fees=_without_zero(ledger.fees),
    )


def _order_books(order: VenueOrder) -> OrderBooks:
    fees: dict[str, Decimal] = {}
    for fill in order.fills:
        currency = fill.execution.fee_currency
        fees[currency] = add(fees.get(currency, ZERO), fill.execution.fee or ZERO)
    return OrderBooks(
        broker_order_id=order.broker_order_id,
        wire_id=order.wire_id,
        symbol=order.listing.instrument.symbol,
        side=order.side,
        status=order.status,
        quantity=order.quantity,
        filled=order.cumulative,
        notional=order.spent,
        fees=_without_zero(fees),
        replaced_by=order.successor.broker_order_id if order.successor else "",
    )


def _without_zero(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: amount for name, amount in amounts.items() if amount}
