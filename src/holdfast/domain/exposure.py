"""What open orders may still trade and cost: an index over the orders, kept as they change.

Rule 1: it is derived. A desk that is loaded counts its orders anew and holds the same figures.
Rule 2: an order weighs what could at worst come of it: pending and unknown ones like any other,
a replace in flight with the larger of both terms, and one that ended with what it is said to have
filled and is not booked yet.
Rule 3: exits cost nothing, and two of a pair for the same units count once; of all others it is
the full value, before any margin rate.
Rule 4: an order that changed is weighed when somebody asks, and not for each of its events. One
that came and went in between, as most do, never is.

The value is an estimate: the highest of the order's prices, for a sale no less than what the
quote offered when it was let through. An order without any price weighs nothing in money. What is
estimated is rounded up to a fixed scale, so that sums are exact and a recount finds the same.
"""

from collections.abc import Callable
from decimal import ROUND_UP, Decimal
from typing import Final

from msgspec import Struct

from holdfast.domain.order import Order
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import (
    DECIMALS_MAX,
    MOMENT_MAX,
    ONE,
    VIEW,
    ZERO,
    Condition,
    Side,
    rounded_add,
    rounded_div,
    rounded_mul,
    rounded_sub,
    sub,
)
from holdfast.domain.wish import WishKind


class Weight(Struct, frozen=True, gc=False):
    """What one order counts for: units, the part of them that are exits, and money.

    `submitted_ns` is when the broker accepted it, 0 before. `known` is what it was worth to the
    broker until when, oldest first; empty where that never changed.
    """

    quantity: Decimal = ZERO
    exits: Decimal = ZERO
    value: Decimal = ZERO
    submitted_ns: int = 0
    is_abandoned: bool = False
    known: tuple[tuple[int, Decimal], ...] = ()

    def uncovered(self, asked_ns: int) -> Decimal:
        """Return the part of its value that the broker did not know of when it was asked."""
        if not 0 < self.submitted_ns <= asked_ns:
            return self.value
        for until_ns, value in self.known:
            if asked_ns < until_ns:
                return max(rounded_sub(self.value, value), ZERO)
        return ZERO


NO_WEIGHT: Final = Weight()
# So many changed orders wait at most to be weighed, so that catching up stays short.
CHANGED_MAX: Final = 1_024
# Terms that an order once had are remembered this often; older ones count as worth nothing.
PAST_MAX: Final = 8
_SCALE: Final = ONE.scaleb(-DECIMALS_MAX)


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
        if order.held is None and number not in self._weights and not order.is_exposed:
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
        if order.is_exposed or order.held is not None:
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


def _moved(total: Decimal, old: Decimal, new: Decimal) -> Decimal:
    return rounded_add(rounded_sub(total, old), new)


def weigh(order: Order, multiplier: Decimal) -> Weight:
    """Return what an order counts for."""
    terms, wished, exposed = order.terms, order.last_wish > 0, order.is_exposed
    if wished or order.quantity is None or not exposed:
        quantity = order.most_open
    else:  # what `most_open` comes to, for most orders
        quantity = max(sub(order.quantity, order.filled_quantity), ZERO)
    abandoned = order.condition is Condition.ABANDONED
    if order.twin:
        return NO_WEIGHT
    if is_exit(order):
        return Weight(quantity, quantity, ZERO, order.submitted_ns, abandoned)
    price = in_force = unit_price(terms, order.estimate)
    if wished:
        price = max(_wished_prices(order, price), default=None)
    value = _money(quantity, price, multiplier)
    if terms.notional is not None and exposed:
        quantity, value = _sized_by_money(order, quantity, value, multiplier)
    known: tuple[tuple[int, Decimal], ...] = ()
    if order.past or (wished and order.wishes):
        known = _known(order, in_force, multiplier)
    return Weight(quantity, ZERO, value, order.submitted_ns, abandoned, known)


def _money(quantity: Decimal, price: Decimal | None, multiplier: Decimal) -> Decimal:
    if price is None or price <= 0:
        return ZERO
    return _to_scale(worth(quantity, price, multiplier))


def _to_scale(figure: Decimal) -> Decimal:
    """Round up what has more decimals than an amount may have; sums of the rest are exact."""
    exponent = figure.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return figure if exponent >= -DECIMALS_MAX else figure.quantize(_SCALE, ROUND_UP, VIEW)


def _sized_by_money(
    order: Order, quantity: Decimal, value: Decimal, multiplier: Decimal
) -> tuple[Decimal, Decimal]:
    """Return units and money of an order sized by notional, given what a wished quantity makes."""
    left = _left_of_notional(order, multiplier)
    resized = any(wish.quantity for wish in order.wishes if wish.kind is WishKind.REPLACE)
    price = least_price(order.terms, order.estimate) or unit_price(order.terms, order.estimate)
    price = min(_wished_prices(order, price), default=None)
    if order.quantity is None and price is not None and price > 0:
        units = _to_scale(rounded_div(left, rounded_mul(price, multiplier)))
        quantity = max(quantity, units)
    return quantity, max(value, left) if resized else left


def _left_of_notional(order: Order, multiplier: Decimal) -> Decimal:
    filled = rounded_mul(order.notional, multiplier)
    return max(_to_scale(rounded_sub(order.terms.notional or ZERO, filled)), ZERO)


def _known(
    order: Order, price: Decimal | None, multiplier: Decimal
) -> tuple[tuple[int, Decimal], ...]:
    """Return what an order was worth to the broker until when, its terms in force last."""
    if order.terms.notional is not None:
        now = _left_of_notional(order, multiplier)
    else:
        left = max(sub(order.quantity or ZERO, order.filled_quantity), ZERO)
        now = _money(left, price, multiplier)
    then = [
        (until_ns, _money(max(sub(quantity, order.filled_quantity), ZERO), price, multiplier))
        for until_ns, quantity, price in order.past
    ]
    return (*then, (MOMENT_MAX, now))


def remember(order: Order, at_ns: int) -> None:
    """Note the terms in force, which are about to change, for figures of the account till now.

    An order sized by notional is taken for nothing then.
    """
    price, quantity = unit_price(order.terms, order.estimate), order.quantity
    if quantity is None or price is None or order.terms.notional is not None:
        price = quantity = ZERO
    order.past.append((at_ns, quantity, price))
    if len(order.past) > PAST_MAX:
        order.past = order.past[1:]
        order.past[0] = (order.past[0][0], ZERO, ZERO)


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


def least_price(terms: OrderTerms, estimate: Decimal | None) -> Decimal | None:
    """Return the lowest price that an order may trade at: the one that its money buys most at.

    A limit bounds a purchase from above alone, so that the market has a say; None without it.
    """
    bounds = [price for price in (terms.limit_price, terms.stop_price) if price is not None]
    if not bounds or (terms.side is Side.BUY and terms.stop_price is None):
        if estimate is None:
            return None
        bounds.append(estimate)
    return min(bounds)


def _wished_prices(order: Order, price: Decimal | None) -> list[Decimal]:
    """Return a price, if it is one, and what replaces on their way would make of it."""
    prices = [] if price is None else [price]
    for wish in order.wishes:
        if wish.kind is WishKind.REPLACE:
            prices += [each for each in (wish.limit_price, wish.stop_price) if each is not None]
    return prices


def worth(quantity: Decimal, price: Decimal, multiplier: Decimal) -> Decimal:
    """Return what a quantity at a price comes to in money, as an estimate."""
    value = rounded_mul(quantity, price)
    return value if multiplier == ONE else rounded_mul(value, multiplier)


def grown_by(before: Decimal, after: Decimal) -> Decimal:
    """Return the quantity that a signed position was opened by; a flip opens all that it is."""
    if not before or (after and before.is_signed() is not after.is_signed()):
        return abs(after)
    return max(sub(abs(after), abs(before)), ZERO)
