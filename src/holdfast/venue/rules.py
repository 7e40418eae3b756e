"""What the venue refuses, and why; each function returns a refusal or None.

A refused request leaves no trace: no order, no number spent, and its wire id is free.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition, OrderType, TimeInForce
from holdfast.venue.matching import Matcher
from holdfast.venue.orders import Account, VenueOrder

UNKNOWN: Final = Refused(text="no such order on this account", code=RefusalCode.UNKNOWN_ORDER)

_NEEDS: Final = {
    OrderType.MARKET: (),
    OrderType.LIMIT: ("limit_price",),
    OrderType.STOP: ("stop_price",),
    OrderType.STOP_LIMIT: ("limit_price", "stop_price"),
    OrderType.TRAILING_STOP: ("trail",),
}


def refused(text: str, code: RefusalCode = RefusalCode.OTHER) -> Refused:
    """Build a refusal."""
    return Refused(text=text, code=code)


def duplicate(account: Account, wire_id: str) -> Refused | None:
    """Refuse a wire id that is spent: for ever, or while an order of it works."""
    orders = account.wires.get(wire_id)
    if orders is None or account.capabilities.unique_ids == "none":
        return None
    if account.capabilities.unique_ids == "while_open" and all(order.ended for order in orders):
        return None
    return refused(f"client order id {wire_id} was used already", RefusalCode.DUPLICATE_ID)


def terms_taken(account: Account, terms: OrderTerms, now_ns: int) -> Refused | None:
    """Refuse terms that the account or any venue cannot take."""
    capabilities = account.capabilities
    if terms.order_type not in capabilities.order_types:
        return refused(f"{terms.order_type} orders are not taken on this account")
    if terms.time_in_force not in capabilities.times_in_force:
        return refused(f"time in force {terms.time_in_force} is not taken on this account")
    if (terms.quantity is None) == (terms.notional is None):
        return refused("an order is sized either by quantity or by notional")
    if terms.notional is not None and not capabilities.notional:
        return refused("orders sized by notional are not taken on this account")
    if (terms.quantity or terms.notional or 0) <= 0:
        return refused(f"size {terms.quantity or terms.notional} is not above zero")
    for name in _NEEDS[terms.order_type]:
        if getattr(terms, name) is None:
            return refused(f"a {terms.order_type} order needs {name}")
    if terms.time_in_force is TimeInForce.GTD and (terms.expire_at_ns or 0) <= now_ns:
        return refused(f"a gtd order needs an end to come, not {terms.expire_at_ns}")
    return None


def entry(order: VenueOrder, matcher: Matcher) -> Refused | None:
    """Refuse an order that the market cannot take as it stands now."""
    if matcher.halted:
        return refused("trading in this symbol is halted", RefusalCode.MARKET_CLOSED)
    small = _too_small(order)
    if small is not None or order.is_held:
        return small
    if order.post_only and order.limit is not None and matcher.listing.matching:
        return post_only(order.sign, order.limit, matcher)
    if order.reduce_only and not order.waiting and not matcher.reducible(order):
        return refused("reduce-only, and there is no position that this side reduces")
    return None


def committed(
    order: VenueOrder, lots: int, matcher: Matcher, *, instead_of: VenueOrder | None = None
) -> Refused | None:
    """Refuse an order for so many lots where others have taken what it would close.

    That is for accounts whose exits cannot share a quantity. On the closing side an order counts
    as an exit up to the position, linked exits count once, and held ones not yet.
    """
    if order.account.capabilities.exits_share_quantity or order.is_held:
        return None
    position = matcher.reducible(order)
    wanted = min(lots, position)
    if wanted <= 0:
        return None
    left = position
    for each in reserving(order.account.working.values()):
        apart = each is not instead_of and (each.link is None or each.link is not order.link)
        if apart and each.listing is order.listing and each.sign == order.sign:
            left -= max(0, each.leaves)
    if wanted <= left:
        return None
    listing = order.listing
    return refused(
        f"insufficient quantity, held by other orders: {listing.quantity(wanted)} wanted, "
        f"{listing.quantity(max(left, 0))} of {listing.quantity(position)} available"
    )


def reserving(orders: Iterable[VenueOrder]) -> Iterator[VenueOrder]:
    """Yield the orders that need something of their own: of linked exits one, of held ones none."""
    counted: set[object] = set()
    for order in orders:
        if order.is_exit:
            if order.is_held or order.link in counted:
                continue
            counted.add(order.link)
        yield order


def post_only(sign: int, limit: int, matcher: Matcher) -> Refused | None:
    """Refuse a limit at which the order would trade at once."""
    if matcher.would_cross(sign, limit):
        return refused("post-only, and the limit price would trade at once")
    return None


def cancel(account: Account, order: VenueOrder | None, broker_order_id: str) -> Refused | None:
    """Refuse the cancel of an order that is unknown, has ended, or cannot be named like this."""
    if not broker_order_id and not account.capabilities.cancel_by_wire_id:
        return refused("this account cancels by broker order id only")
    if order is None:
        return UNKNOWN
    return _too_late(order)


def replacement(
    account: Account, order: VenueOrder, wire_id: str, terms: OrderTerms, matcher: Matcher
) -> Refused | None:
    """Refuse new terms that do not fit the order as it stands."""
    if not account.capabilities.native_replace:
        return refused("this account cannot replace orders")
    late = _too_late(order)
    if late is not None:
        return late
    again = duplicate(account, wire_id)
    if again is not None:
        return again
    if matcher.halted:
        return refused("trading in this symbol is halted", RefusalCode.MARKET_CLOSED)
    if order.condition is Condition.SUSPENDED:
        return refused("the order is suspended")
    listed = order.listing.instrument.symbol
    if (terms.symbol, terms.side, terms.order_type) != (listed, order.side, order.order_type):
        return refused("a replace keeps symbol, side and order type")
    if terms.quantity is None or order.notional is not None:
        return refused("only orders sized by quantity can be replaced")
    return None


def _too_small(order: VenueOrder) -> Refused | None:
    if order.notional is None and order.lots <= 0:
        return refused("the size pays no whole lot at the limit price")
    instrument = order.listing.instrument
    if order.limit is not None and instrument.minimum_notional:
        money = order.listing.money(order.lots, order.limit)
        if money < instrument.minimum_notional:
            return refused(f"worth {money}, less than the minimum {instrument.minimum_notional}")
    return None


def _too_late(order: VenueOrder) -> Refused | None:
    if not order.ended:
        return None
    successor = f", replaced by {order.successor.broker_order_id}" if order.successor else ""
    return refused(f"the order is {order.status}{successor}", RefusalCode.TOO_LATE)
