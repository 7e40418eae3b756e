"""What a feed yields: one frozen record per row, times in UTC nanoseconds, amounts as Decimal.

`at_ns` is the time by which the file is ordered: the recorder's clock where there are several.
"""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.values import Side


class Quote(Struct, frozen=True, gc=False):
    """Best bid and offer after a change; prices in quote currency per unit, sizes in units."""

    symbol: str
    at_ns: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal


class Trade(Struct, frozen=True, gc=False):
    """One trade; `aggressor` is the side that crossed the spread, None where it is not known."""

    symbol: str
    at_ns: int
    price: Decimal
    size: Decimal
    aggressor: Side | None = None


class Bar(Struct, frozen=True, gc=False):
    """Open, high, low, close and volume of an interval that begins at `at_ns`."""

    symbol: str
    at_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class BookEvent(Struct, frozen=True, gc=False):
    """One market-by-order row.

    `action` is A add, M modify, C cancel, F fill of a resting order, T trade, R clear, N none;
    `side` is that of the order (of the aggressor for T), None where the row gives none; `size`
    is what the row adds, leaves, takes away or trades; `last` ends the matching event, and a row
    of the opening `snapshot` is an event of its own.
    """

    symbol: str
    at_ns: int
    row: int
    action: str
    side: Side | None
    price: Decimal
    size: Decimal
    order_id: int
    last: bool
    snapshot: bool


class LobsterMessage(Struct, frozen=True, gc=False):
    """One LOBSTER message.

    `kind` is 1 new order, 2 partial cancel, 3 delete, 4 visible execution, 5 hidden execution,
    6 cross, 7 halt. Kinds 5 to 7 name no order. `side` is that of the resting order.
    """

    symbol: str
    at_ns: int
    row: int
    kind: int
    order_id: int
    size: Decimal
    price: Decimal
    side: Side


class DepthSnapshot(Struct, frozen=True):
    """The whole book as of update `last_id`; levels are (price, size), best first."""

    symbol: str
    at_ns: int
    last_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class DepthUpdate(Struct, frozen=True):
    """New sizes of price levels (0: gone) through the updates `first_id` to `last_id`."""

    symbol: str
    at_ns: int
    first_id: int
    last_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


Record = Quote | Trade | Bar | BookEvent | LobsterMessage | DepthSnapshot | DepthUpdate
