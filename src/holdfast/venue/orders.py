"""What the venue remembers: listings, accounts, orders, and the fills of both sides of a trade.

Inside the venue prices are whole ticks and quantities whole lots; `Listing` converts at the edge.
Signs: +1 buys, -1 sells. Nothing here knows the desk's own fold of the same facts: the venue's
books are there to be compared with the desk's.
"""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Execution, Report, Sighting, Snapshot
from holdfast.domain.values import (
    CONTEXT,
    TERMINAL,
    ZERO,
    Condition,
    OrderType,
    Side,
    Status,
    TimeInForce,
    add,
    ratio,
    sub,
)
from holdfast.errors import AmountError
from holdfast.venue.fees import NO_FEES, Fees

if TYPE_CHECKING:
    from holdfast.venue.linked import Link

# What an order is to those that it is linked with.
ENTRY: Final = "entry"
STOP: Final = "stop"
TARGET: Final = "target"

_multiply, _divmod = CONTEXT.multiply, CONTEXT.divmod


class Listing(Struct, frozen=True, kw_only=True, eq=False):
    """An instrument on this venue; `matching` is False where trades are dictated, not matched."""

    instrument: Instrument
    fees: Fees = NO_FEES
    matching: bool = True

    def ticks(self, price: Decimal) -> int:
        """Turn a price into ticks; raises AmountError off the grid."""
        whole, rest = _divmod(price, self.instrument.tick)
        if rest:
            raise AmountError(f"price {price} is not a multiple of the tick {self.instrument.tick}")
        return int(whole)

    def lots(self, quantity: Decimal) -> int:
        """Turn a quantity into lots; raises AmountError off the grid."""
        whole, rest = _divmod(quantity, self.instrument.lot)
        if rest:
            raise AmountError(
                f"quantity {quantity} is not a multiple of the lot {self.instrument.lot}"
            )
        return int(whole)

    def price(self, ticks: int) -> Decimal:
        """Turn ticks into a price."""
        return _multiply(ticks, self.instrument.tick)

    def quantity(self, lots: int) -> Decimal:
        """Turn lots into a quantity."""
        return _multiply(lots, self.instrument.lot)

    def money(self, lots: int, ticks: int) -> Decimal:
        """Return the value of lots at a price in ticks."""
        return self.instrument.money(self.quantity(lots), self.price(ticks))

    def deal(self, quantity: Decimal, price: Decimal) -> "Deal":
        """Work out what a trade of these terms is worth."""
        value = _multiply(quantity, price)
        return Deal(quantity, price, value, _multiply(value, self.instrument.multiplier))

    def affordable(self, money: Decimal, ticks: int) -> int:
        """Return how many whole lots an amount of money pays for; none at or below price zero."""
        if ticks <= 0 or money <= 0:
            return 0
        return int(CONTEXT.divide_int(money, self.money(1, ticks)))


class Deal(Struct, frozen=True):
    """The terms of a trade: `value` is quantity times price, `money` that times the multiplier."""

    quantity: Decimal
    price: Decimal
    value: Decimal
    money: Decimal


class Ledger(Struct, kw_only=True, eq=False):
    """Positions by symbol, cash and fees by currency, all signed from the account's view."""

    positions: dict[str, Decimal] = field(default_factory=dict)
    cash: dict[str, Decimal] = field(default_factory=dict)
    fees: dict[str, Decimal] = field(default_factory=dict)

    def book(self, instrument: Instrument, sign: int, deal: "Deal") -> None:
        """Count one side of a deal; the opposite sign takes it back."""
        positions, cash = self.positions, self.cash
        symbol, currency = instrument.symbol, instrument.currency
        gain, loss = (add, sub) if sign > 0 else (sub, add)
        positions[symbol] = gain(positions.get(symbol, ZERO), deal.quantity)
        cash[currency] = loss(cash.get(currency, ZERO), deal.money)

    def charge(self, instrument: Instrument, fee: Decimal, currency: str) -> None:
        """Take a fee: from the position where it is in the base asset, else from the cash."""
        if not fee:
            return
        self.fees[currency] = add(self.fees.get(currency, ZERO), fee)
        if currency == instrument.base:
            symbol = instrument.symbol
            self.positions[symbol] = sub(self.positions.get(symbol, ZERO), fee)
        else:
            self.cash[currency] = sub(self.cash.get(currency, ZERO), fee)


class VenueOrder(Struct, kw_only=True, eq=False):
    """One order of one account.

    `limit` and `stop` are in ticks, `lots` is the total in force (0 while a notional order still
    fills), `carried` the part of `filled` that an order before a replace had. `waiting` is a
    stop that has not been triggered. `entry` is its place in the book while it has one. `link` is
    what ties it to other orders, and `role` what it is to them.
    """

    account: "Account"
    wire_id: str
    listing: Listing
    side: Side
    sign: int
    order_type: OrderType
    time_in_force: TimeInForce
    lots: int
    limit: int | None = None
    stop: int | None = None
    trail: int | None = None
    number: int = 0
    broker_order_id: str = ""
    notional: Decimal | None = None
    post_only: bool = False
    reduce_only: bool = False
    expire_at_ns: int | None = None
    waiting: bool = False
    filled: int = 0
    carried: int = 0
    spent: Decimal = ZERO
    fills: "list[Fill]" = field(default_factory=list)
    status: Status = Status.OPEN
    condition: Condition = Condition.NONE
    word: str = ""
    former_wires: tuple[str, ...] = ()
    successor: "VenueOrder | None" = None
    entry: "Entry | None" = None
    link: "Link | None" = None
    role: str = ""
    stamp_ns: int = 0
    created_ns: int = 0
    sequence: int = 0

    @property
    def ended(self) -> bool:
        """Whether the order has reached its end."""
        return self.status in TERMINAL

    @property
    def is_exit(self) -> bool:
        """Whether the order is linked with others as an exit."""
        return self.role in {STOP, TARGET}

    @property
    def is_held(self) -> bool:
        """Whether the order waits for its entry to fill."""
        return self.condition is Condition.HELD

    @property
    def leaves(self) -> int:
        """Lots still to fill; means nothing for an order sized by notional."""
        return self.lots - self.filled

    @property
    def quantity(self) -> Decimal | None:
        """The total in force, None while a notional order still fills."""
        return self.listing.quantity(self.lots) if self.lots else None

    @property
    def cumulative(self) -> Decimal:
        """The filled quantity, what was carried over included."""
        return self.listing.quantity(self.filled)

    def snapshot(self) -> Snapshot:
        """Show the order as it is now."""
        own = self.listing.quantity(self.filled - self.carried)
        return Snapshot(
            broker_order_id=self.broker_order_id,
            wire_id=self.wire_id,
            symbol=self.listing.instrument.symbol,
            side=self.side,
            order_type=self.order_type,
            time_in_force=self.time_in_force,
            status=self.status,
            word=self.word or self.status.value,
            condition=self.condition,
            order_quantity=self.quantity,
            cumulative=self.cumulative,
            average_price=ratio(self.spent, own) if own else None,
            limit_price=None if self.limit is None else self.listing.price(self.limit),
            stop_price=None if self.stop is None else self.listing.price(self.stop),
            replaced_by=self.successor.broker_order_id if self.successor else "",
            stamp_ns=self.stamp_ns,
            sequence=self.sequence,
            children=() if self.link is None else self.link.children(self),
        )

    def sighting(self) -> Sighting:
        """Show the order with its executions; a busted one is no longer among them."""
        executions = tuple(fill.execution for fill in self.fills if not fill.busted)
        return Sighting(snapshot=self.snapshot(), executions=executions, executions_complete=True)


class Fill(Struct, kw_only=True, eq=False):
    """One account's side of a trade; `execution` is its newest version under its first id."""

    order: VenueOrder
    execution: Execution
    other: "Fill | None" = None
    busted: bool = False


class Entry(Struct, eq=False):
    """A place in the book: an account's order, or an anonymous one where there is no owner."""

    key: int | str
    sign: int
    price: int
    lots: int
    owner: VenueOrder | None = None


class Account(Struct, kw_only=True, eq=False):
    """One customer of the venue: the orders, the books, and where its reports go.

    `wires` holds the orders by every wire id they had, `log` the newest fills in the order in
    which they happened or changed, and `log_total` counts all that ever were. With
    `pending_reports` a cancel or a replace is first reported as pending, and its answer is not
    final. `cash` is what it was opened with, in `currency`; None for as much as it takes.
    """

    name: str
    capabilities: Capabilities
    pending_reports: bool = False
    cash: Decimal | None = None
    currency: str = "USD"
    ledger: Ledger = field(default_factory=Ledger)
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    working: dict[str, VenueOrder] = field(default_factory=dict)
    wires: dict[str, list[VenueOrder]] = field(default_factory=dict)
    log: deque[Fill] = field(default_factory=deque)
    log_total: int = 0
    listeners: list[Callable[[Report], None]] = field(default_factory=list)

    def note(self, fill: Fill) -> None:
        """Enter a fill, new or changed, in the log."""
        self.log.append(fill)
        self.log_total += 1

    def position(self, symbol: str) -> Decimal:
        """Return the signed position in units."""
        return self.ledger.positions.get(symbol, ZERO)
