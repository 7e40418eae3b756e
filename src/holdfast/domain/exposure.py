"""What open orders may still trade and cost: an index over the orders, kept as they change.

Rule 1: it is derived. A desk that is loaded counts its orders anew and holds the same figures.
Rule 2: an order weighs what could at worst come of it: pending and unknown ones like any other,
a replace in flight with the larger of both terms, and one that ended with what it is said to have
filled and is not booked yet.
Rule 3: exits cost nothing; of all others it is the full value, before any margin rate.
Rule 4: an order that changed is weighed when somebody asks, and not for each of its events. One
that came and went in between, as most do, never is.

The value is an estimate: the highest of the order's prices, for a sale no less than what the
quote offered when it was let through. An order without any price weighs nothing in money.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.domain.order import Order, WishKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import (
    ONE,
    ZERO,
    Condition,
    Side,
    rounded_add,
    rounded_div,
    rounded_mul,
    rounded_sub,
    sub,
)


class Weight(Struct, frozen=True, gc=False):
    """What one order counts for: units, the part of them that are exits, and money.

    `submitted_ns` is when the broker accepted it, 0 before.
    """

    quantity: Decimal = ZERO
    exits: Decimal = ZERO
    value: Decimal = ZERO
    submitted_ns: int = 0
    is_abandoned: bool = False

    def uncovered(self, asked_ns: int) -> Decimal:
        """Return its value, unless the broker had accepted the order when it was asked."""
        return ZERO if 0 < self.submitted_ns <= asked_ns else self.value


NO_WEIGHT: Final = Weight()
# So many changed orders wait at most to be weighed, so that catching up stays short.
CHANGED_MAX: Final = 1_024


class SideExposure(Struct):
    """The sums of the weights of one side of a symbol."""

    quantity: Decimal = ZERO
    exits: Decimal = ZERO
    value: Decimal = ZERO


class Exposure:
    """The weights of all orders by number, summed per symbol and side, and in total."""

    def __init__(self, multiplier: Callable[[str], Decimal]) -> None:
        """Start empty; `multiplier` tells what turns the points of a symbol into money."""
        self._multiplier = multiplier
        self._weights: dict[int, Weight] = {}
        self._changed: dict[int, Order] = {}
        self._symbols: dict[str, tuple[SideExposure, SideExposure]] = {}
        self._value = ZERO
        self._abandoned = 0
        self._asked_ns: int | None = None
        self._uncovered = ZERO

    def note(self, order: Order) -> None:
        """Note that something happened to an order."""
        number = order.number
        if number not in self._weights and not _counts(order):
            self._changed.pop(number, None)
            return
        self._changed[number] = order
        if len(self._changed) >= CHANGED_MAX:
            self._catch_up()

    def of(self, symbol: str, side: Side) -> SideExposure:
        """Return the sums of a side of a symbol."""
        self._catch_up()
        return self._side(symbol, side)

    def weight(self, number: int) -> Weight:
        """Return what an order counts for."""
        self._catch_up()
        return self._weights.get(number, NO_WEIGHT)

    @property
    def value(self) -> Decimal:
        """The value of all open entries."""
        self._catch_up()
        return self._value

    @property
    def abandoned(self) -> int:
        """How many open orders are abandoned."""
        self._catch_up()
        return self._abandoned

    def uncovered(self, asked_ns: int) -> Decimal:
        """Return the value of entries that the broker had not accepted when it was asked.

        The first question about a moment looks at every order; from then on it is kept up.
        """
        self._catch_up()
        if self._asked_ns != asked_ns:
            self._asked_ns, self._uncovered = asked_ns, ZERO
            for weight in self._weights.values():
                self._uncovered = rounded_add(self._uncovered, weight.uncovered(asked_ns))
        return self._uncovered

    def _catch_up(self) -> None:
        if self._changed:
            changed, self._changed = self._changed, {}
            for order in changed.values():
                self._follow(order)

    def _side(self, symbol: str, side: Side) -> SideExposure:
        sides = self._symbols.get(symbol)
        if sides is None:
            sides = self._symbols[symbol] = (SideExposure(), SideExposure())
        return sides[0] if side is Side.BUY else sides[1]

    def _follow(self, order: Order) -> None:
        terms, number = order.terms, order.number
        if _counts(order):
            old = self._weights.get(number, NO_WEIGHT)
            new = self._weights[number] = weigh(order, self._multiplier(terms.symbol))
        else:
            old, new = self._weights.pop(number, NO_WEIGHT), NO_WEIGHT
        if old is not new:
            self._shift(self._side(terms.symbol, terms.side), old, new)

    def _shift(self, side: SideExposure, old: Weight, new: Weight) -> None:
        if old.quantity != new.quantity:
            side.quantity = _moved(side.quantity, old.quantity, new.quantity)
        if old.exits != new.exits:
            side.exits = _moved(side.exits, old.exits, new.exits)
        if old.value != new.value:
            side.value = _moved(side.value, old.value, new.value)
            self._value = _moved(self._value, old.value, new.value)
        if self._asked_ns is not None:
            told, tells = old.uncovered(self._asked_ns), new.uncovered(self._asked_ns)
            self._uncovered = _moved(self._uncovered, told, tells)
        self._abandoned += new.is_abandoned - old.is_abandoned


def _counts(order: Order) -> bool:
    return order.held is not None or order.is_exposed


def _moved(total: Decimal, old: Decimal, new: Decimal) -> Decimal:
    return rounded_add(rounded_sub(total, old), new)


def weigh(order: Order, multiplier: Decimal) -> Weight:
    """Return what an order counts for."""
    terms, wished, exposed = order.terms, order.last_wish > 0, order.is_exposed
    if wished or order.quantity is None or not exposed:
        quantity = order.most_open
    else:  # what `most_open` comes to, for most orders
        quantity = max(sub(order.quantity, order.filled_quantity), ZERO)
    exits, value = ZERO, ZERO
    if is_exit(order):
        exits = quantity
    else:
        price = unit_price(terms, order.estimate)
        if wished:
            price = _highest_wished(order, price)
        value = worth(quantity, max(price or ZERO, ZERO), multiplier)
        if terms.notional is not None and exposed:
            filled = rounded_mul(order.notional, multiplier)
            value = max(rounded_sub(terms.notional, filled), ZERO)
            if order.quantity is None and price is not None and price > 0:
                quantity = rounded_div(value, rounded_mul(price, multiplier))
    abandoned = order.condition is Condition.ABANDONED
    return Weight(quantity, exits, value, order.submitted_ns, abandoned)


def is_exit(order: Order) -> bool:
    """Tell whether an order was let through as one that only closes."""
    return order.reducing or order.terms.reduce_only


def unit_price(terms: OrderTerms, estimate: Decimal | None) -> Decimal | None:
    """Return what one unit may cost, as far as terms and an estimate tell.

    A sale at a low limit fetches what the market pays, and a short sale is as large as that.
    """
    price, stop = terms.limit_price, terms.stop_price
    if price is None or (stop is not None and stop > price):
        price = stop
    if estimate is not None and (price is None or (terms.side is Side.SELL and estimate > price)):
        return estimate
    return price


def _highest_wished(order: Order, price: Decimal | None) -> Decimal | None:
    """Return a price or what a replace on its way would make of it, whichever is higher."""
    for wish in order.wishes:
        if wish.kind is WishKind.REPLACE:
            for asked in (wish.limit_price, wish.stop_price):
                if asked is not None and (price is None or asked > price):
                    price = asked
    return price


def worth(quantity: Decimal, price: Decimal, multiplier: Decimal) -> Decimal:
    """Return what a quantity at a price comes to in money, as an estimate."""
    value = rounded_mul(quantity, price)
    return value if multiplier == ONE else rounded_mul(value, multiplier)


def grown_by(before: Decimal, after: Decimal) -> Decimal:
    """Return the quantity that a signed position was opened by; a flip opens all that it is."""
    if not before or (after and before.is_signed() is not after.is_signed()):
        return abs(after)
    return max(sub(abs(after), abs(before)), ZERO)
