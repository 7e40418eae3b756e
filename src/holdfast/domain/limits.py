"""What an entry is measured against before it is recorded: one function per limit, one code each.

Rule 1: a limit that is not set costs nothing: which functions run is settled once.
Rule 2: ways out never come here (`exits.py`); a change of terms that only reduces does not either.
Rule 3: money is an estimate: an order's own price, else the fresh quote's. Where a limit needs it
and there is neither, the entry is refused (`NO_QUOTE`). A collar without a quote measures nothing.

The codes are explained in `refusals.py`, in the order in which they are tried here.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Struct

from holdfast.domain.days import awaited, daily_loss, orders_today, profit
from holdfast.domain.exposure import NO_WEIGHT, Weight, is_exit, least_price, unit_price, worth
from holdfast.domain.gate import check_open
from holdfast.domain.guard import NS_PER_S, SECONDS_MAX
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, SymbolLimits
from holdfast.domain.quotes import Quote, fresh_quote
from holdfast.domain.refusals import refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.values import (
    ONE,
    ZERO,
    Side,
    neg,
    rounded_add,
    rounded_div,
    rounded_mul,
    rounded_sub,
)
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderRefused

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk
    from holdfast.domain.order import Order

_HUNDRED: Final = Decimal(100)
_PERCENT: Final = Decimal("0.01")
_NO_SYMBOL_LIMITS: Final = SymbolLimits()


class Entry(Struct, gc=False, kw_only=True):
    """An order that opens or adds to a position, as it would be.

    `filled` and `standing` belong to an order whose terms are to change: what it traded, and what
    it counts for now, which the new terms would take the place of.
    """

    terms: OrderTerms
    instrument: Instrument
    quote: Quote | None
    filled: Decimal = ZERO
    standing: Weight = NO_WEIGHT

    @property
    def taken(self) -> Decimal | None:
        """What the market would take for a unit, or give for it, as far as is known."""
        return self.quote.taken(self.terms.side) if self.quote is not None else None

    def price(self) -> Decimal:
        """Return what one unit may cost; refuse the order where nobody can tell."""
        price = unit_price(self.terms, self.taken)
        if price is None:
            advice = "a limit in money is set and nothing tells what the order is worth; give a "
            raise self._unquoted(f"{advice}limit price, or try again with a fresh quote")
        return price

    def size(self) -> Decimal:
        """Return the units of the whole order; where it is sized by notional, the most it may buy.

        A purchase fills at the market, however far above that its limit is.
        """
        terms = self.terms
        if terms.quantity is not None:
            return terms.quantity
        price = least_price(terms, self.taken)
        if price is None:
            advice = "a limit in units is set and nothing tells how many the order buys; give a "
            raise self._unquoted(f"{advice}quantity, or try again with a fresh quote")
        unit = rounded_mul(price, self.instrument.multiplier)
        return rounded_div(terms.notional or ZERO, unit)

    def _unquoted(self, advice: str) -> OrderRefused:
        terms = self.terms
        return refused("NO_QUOTE", advice, symbol=terms.symbol, order_type=terms.order_type)

    def notional(self) -> Decimal:
        """Return the money of the whole order."""
        terms = self.terms
        if terms.quantity is None:
            return terms.notional or ZERO
        return worth(terms.quantity, self.price(), self.instrument.multiplier)

    def added_size(self) -> Decimal:
        """Return the units that would be open beyond those that are."""
        return rounded_sub(rounded_sub(self.size(), self.filled), self.standing.quantity)

    def added_value(self) -> Decimal:
        """Return the money that would be open beyond what is."""
        value = self.notional()
        if self.filled:
            left = rounded_sub(self.size(), self.filled)
            value = worth(left, self.price(), self.instrument.multiplier)
        return rounded_sub(value, self.standing.value)


Check: TypeAlias = Callable[["Desk", Limits, Entry], None]


def check_entry(desk: "Desk", entry: Entry, *, is_new: bool = True) -> None:
    """Let an entry pass, or refuse it by the first limit that says no.

    With `is_new=False` it is an open order under other terms: counts of orders do not matter.

    Raises:
        OrderRefused: with the limit's code.
    """
    check_open(desk, is_new=is_new)
    _check_protected(desk)
    if entry.terms.symbol in desk.guard.flattening:
        raise refused(
            "FLATTENING",
            "entries pass again once the position is closed",
            symbol=entry.terms.symbol,
            by=desk.guard.flattening[entry.terms.symbol],
        )
    limits = desk.settings.policies.limits
    known = desk.memo.checks
    if known is None or known[0] is not limits:
        known = desk.memo.checks = (limits, checks_of(limits))
    for check in known[1]:
        if is_new or check not in _OF_NEW_ORDERS:
            check(desk, limits, entry)


def _check_protected(desk: "Desk") -> None:
    """Nothing opens while a position that could not be protected is being closed."""
    groups = desk.state.groups.open() if desk.state.groups else ()
    most_ns = desk.settings.policies.groups.unprotected_max_ms * NS_PER_MS
    for group in groups:
        if group.is_failing or group.is_bare(desk.now_ns, most_ns):
            advice = "entries pass again once it is covered or flat"
            raise refused("UNPROTECTED", advice, symbol=group.symbol, group=group.group)


def checks_of(limits: Limits) -> tuple[Check, ...]:
    """Return the checks that a desk's limits ask for, in the order in which they are tried."""
    return tuple(check for check, is_set in _CHECKS if is_set(limits))


def _too_much(code: str, entry: Entry, found: Decimal | int, most: Decimal | int) -> OrderRefused:
    return refused(
        code, "lower the order or raise the limit", symbol=entry.terms.symbol, found=found, max=most
    )


def _max_of(limits: Limits, symbol: str, name: str) -> Any:
    """Return a limit of a symbol, the desk's where the symbol has none of its own."""
    own = getattr(limits.symbols.get(symbol, _NO_SYMBOL_LIMITS), name)
    return own if own is not None else getattr(limits, name)


def _order_quantity(_desk: "Desk", limits: Limits, entry: Entry) -> None:
    most = _max_of(limits, entry.terms.symbol, "order_quantity_max")
    if most is not None and entry.size() > most:
        raise _too_much("ORDER_QUANTITY", entry, entry.size(), most)


def _order_notional(_desk: "Desk", limits: Limits, entry: Entry) -> None:
    most = _max_of(limits, entry.terms.symbol, "order_notional_max")
    if most is not None and entry.notional() > most:
        raise _too_much("ORDER_NOTIONAL", entry, entry.notional(), most)


def _position(desk: "Desk", limits: Limits, entry: Entry) -> None:
    """What is held the other way counts as gone: exits, which nothing stops, may close it first."""
    terms = entry.terms
    most = _max_of(limits, terms.symbol, "position_max")
    if most is None:
        return
    position = desk.positions.get(terms.symbol)
    held = position.quantity if position is not None else ZERO
    held = held if terms.side is Side.BUY else neg(held)
    side = desk.state.exposure.of(terms.symbol, terms.side)
    could = rounded_add(side.quantity, entry.added_size())
    if held < 0:
        exits = rounded_sub(side.exits, entry.standing.exits)
        could = rounded_sub(could, min(exits, neg(held)))
    else:
        could = rounded_add(could, held)
    if could > most:
        raise _too_much("POSITION", entry, could, most)


def _gross_exposure(desk: "Desk", limits: Limits, entry: Entry) -> None:
    assert limits.gross_exposure_max is not None
    total = rounded_add(desk.state.exposure.value, entry.added_value())
    for symbol, position in desk.positions.items():
        if not position.quantity:
            continue
        quote = fresh_quote(desk, symbol)
        mark = quote.mark if quote is not None else None
        points = position.book.cost if mark is None else rounded_mul(position.quantity, mark)
        total = rounded_add(total, worth(abs(points), ONE, desk.state.multiplier(symbol)))
    if total > limits.gross_exposure_max:
        raise _too_much("GROSS_EXPOSURE", entry, total, limits.gross_exposure_max)


def _open_orders(desk: "Desk", limits: Limits, entry: Entry) -> None:
    assert limits.open_orders_max is not None
    count = len(desk.state.active)
    if count < limits.open_orders_max:
        return
    count -= desk.state.exposure.abandoned
    if count >= limits.open_orders_max:
        raise _too_much("OPEN_ORDERS", entry, count, limits.open_orders_max)


def _orders_per_minute(desk: "Desk", limits: Limits, entry: Entry) -> None:
    assert limits.orders_per_minute_max is not None
    count = desk.guard.submitted.since(desk.now_ns // NS_PER_S - SECONDS_MAX + 1)
    if count >= limits.orders_per_minute_max:
        raise _too_much("ORDERS_PER_MINUTE", entry, count, limits.orders_per_minute_max)


def _orders_per_day(desk: "Desk", limits: Limits, entry: Entry) -> None:
    assert limits.orders_per_day_max is not None
    count = orders_today(desk)
    if count >= limits.orders_per_day_max:
        raise _too_much("ORDERS_PER_DAY", entry, count, limits.orders_per_day_max)


def _price_collar(_desk: "Desk", limits: Limits, entry: Entry) -> None:
    """A limit price may reach so far past what the other side offers, or past its own stop."""
    terms, quote = entry.terms, entry.quote
    latest = terms.stop_price
    if latest is None and quote is not None:
        latest = quote.taken(terms.side) or quote.mark
    if terms.limit_price is None or latest is None or limits.price_collar_pct is None:
        return
    past = rounded_sub(terms.limit_price, latest)
    past = past if terms.side is Side.BUY else neg(past)
    if rounded_mul(past, _HUNDRED) > rounded_mul(latest, limits.price_collar_pct):
        raise refused(
            "PRICE_COLLAR",
            "move the price nearer to the market or raise price_collar_pct",
            symbol=terms.symbol,
            limit_price=terms.limit_price,
            latest=latest,
            price_collar_pct=limits.price_collar_pct,
        )


def _daily_loss(desk: "Desk", limits: Limits, entry: Entry) -> None:
    assert limits.daily_loss_max is not None
    loss, without = daily_loss(desk), awaited(desk)
    if loss is None or without:
        raise refused(
            "NO_QUOTE",
            "daily_loss_max is set and what is held has no price yet; try again once it is quoted",
            symbol=entry.terms.symbol,
            without_quote=",".join(without[:10]),
        )
    if loss > limits.daily_loss_max:
        raise refused(
            "DAILY_LOSS",
            "only exits pass until the next trading day",
            symbol=entry.terms.symbol,
            found=loss,
            max=limits.daily_loss_max,
        )


def _capital(desk: "Desk", limits: Limits, entry: Entry) -> None:
    """The desk's own purse: what it began with and made, less what is held and reserved."""
    assert limits.capital is not None
    bound = desk.state.exposure.value
    for symbol, position in desk.positions.items():
        cost = worth(abs(position.book.cost), ONE, desk.state.multiplier(symbol))
        bound = rounded_add(bound, cost)
    free = rounded_add(limits.capital, profit(desk))
    free = rounded_sub(free, rounded_mul(bound, limits.margin_rate))
    _check_purse("capital", limits, entry, free)


def _account(desk: "Desk", limits: Limits, entry: Entry) -> None:
    """The account's figure, less what was opened since, and what is reserved."""
    power, exposure = desk.guard.power, desk.state.exposure
    if power is None:
        return
    if desk.capabilities.power_after_orders:
        bound = exposure.uncovered(power.asked_ns)
    else:
        bound = exposure.value
    bound = rounded_add(bound, rounded_sub(desk.guard.opened, power.opened))
    free = rounded_sub(power.amount, rounded_mul(bound, limits.margin_rate))
    _check_purse("account", limits, entry, free)


def _check_purse(purse: str, limits: Limits, entry: Entry, free: Decimal) -> None:
    needed = rounded_mul(entry.added_value(), limits.margin_rate)
    if needed > free:
        raise refused(
            "BUYING_POWER",
            "lower the order, or cancel what reserves the rest",
            symbol=entry.terms.symbol,
            purse=purse,
            needed=needed,
            free=free,
        )


def _self_cross(desk: "Desk", limits: Limits, entry: Entry) -> None:
    """The order may not reach an own one on the other side that rests in the book."""
    terms = entry.terms
    resting = desk.state.resting.of(terms.symbol, terms.side.opposite)
    other = resting.best()
    if other is None or terms.order_type in UNTRIGGERED:
        return
    price, reach = resting.price(other), terms.limit_price
    if reach is None:
        reach = _reach(entry, limits)
    if price is None or (reach is not None and not _meets(terms.side, reach, price)):
        return
    raise refused(
        "SELF_CROSS",
        "cancel the other order first, or give a limit price that keeps apart from it",
        symbol=terms.symbol,
        price="any" if reach is None else reach,
        other=other.client_order_id,
        other_price=price,
    )


def _meets(side: Side, reach: Decimal, price: Decimal) -> bool:
    return reach >= price if side is Side.BUY else reach <= price


def _reach(entry: Entry, limits: Limits) -> Decimal | None:
    """Return how far a market order may walk: as far as the collar lets any; None: anywhere."""
    touch, percent = entry.taken, limits.price_collar_pct
    if touch is None or percent is None:
        return None
    distance = rounded_mul(rounded_mul(touch, percent), _PERCENT)
    walked = rounded_add if entry.terms.side is Side.BUY else rounded_sub
    return walked(touch, distance)


def look_alike(desk: "Desk", terms: OrderTerms, strategy: str) -> "Order | None":
    """Return the pending order of the same strategy, symbol, side and limit price, if any.

    Among exits only one of the same quantity is alike: a smaller one would not get its caller out.
    """
    for order in desk.state.resting.of(terms.symbol, terms.side).orders.values():
        has_price = terms.limit_price is not None and terms.limit_price == order.terms.limit_price
        is_same_kind = terms.order_type is order.terms.order_type
        if has_price and is_same_kind and order.strategy == strategy and not order.wanted_gone:
            closes = is_exit(order)
            as_large = terms.quantity == order.quantity and (closes or not terms.reduce_only)
            if as_large or not (closes or terms.reduce_only):
                return order
    return None


def _of_symbols(name: str) -> Callable[[Limits], bool]:
    """Return whether a limit is set for the desk or for one of its symbols."""

    def is_set(limits: Limits) -> bool:
        return any(getattr(each, name) is not None for each in (limits, *limits.symbols.values()))

    return is_set


_CHECKS: Final[tuple[tuple[Check, Callable[[Limits], bool]], ...]] = (
    (_order_quantity, _of_symbols("order_quantity_max")),
    (_order_notional, _of_symbols("order_notional_max")),
    (_position, _of_symbols("position_max")),
    (_gross_exposure, lambda limits: limits.gross_exposure_max is not None),
    (_open_orders, lambda limits: limits.open_orders_max is not None),
    (_orders_per_minute, lambda limits: limits.orders_per_minute_max is not None),
    (_orders_per_day, lambda limits: limits.orders_per_day_max is not None),
    (_price_collar, lambda limits: limits.price_collar_pct is not None),
    (_daily_loss, lambda limits: limits.daily_loss_max is not None),
    (_capital, lambda limits: limits.capital is not None),
    (_account, lambda limits: limits.buying_power),
    (_self_cross, lambda limits: limits.self_cross),
)
_OF_NEW_ORDERS: Final = frozenset({_open_orders, _orders_per_minute, _orders_per_day})
