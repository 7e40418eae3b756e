"""Orders and trades that get other terms: drafts, replaces, busts and corrections."""

from decimal import Decimal

from holdfast.domain.reports import ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Side, Status
from holdfast.venue.clearing import Clearing
from holdfast.venue.matching import STOPS, Matcher
from holdfast.venue.orders import Account, Fill, Listing, VenueOrder


def draft(account: Account, wire_id: str, terms: OrderTerms, listing: Listing) -> VenueOrder:
    """Write an order of these terms, not yet accepted; raises AmountError off the grid."""
    limit = None if terms.limit_price is None else listing.ticks(terms.limit_price)
    lots, notional = 0, terms.notional
    if terms.quantity is not None:
        lots = listing.lots(terms.quantity)
    elif notional is not None and limit is not None:
        lots, notional = listing.affordable(notional, limit), None
    return VenueOrder(
        account=account,
        wire_id=wire_id,
        listing=listing,
        side=terms.side,
        sign=1 if terms.side is Side.BUY else -1,
        order_type=terms.order_type,
        time_in_force=terms.time_in_force,
        lots=lots,
        limit=limit,
        stop=None if terms.stop_price is None else listing.ticks(terms.stop_price),
        trail=None if terms.trail is None else listing.ticks(terms.trail),
        notional=notional,
        post_only=terms.post_only,
        reduce_only=terms.reduce_only,
        expire_at_ns=terms.expire_at_ns,
        waiting=terms.order_type in STOPS,
    )


def draft_replacement(order: VenueOrder, wire_id: str, terms: OrderTerms) -> VenueOrder:
    """Write what an order is to become: new size and prices, all else as it was."""
    new = draft(order.account, wire_id, terms, order.listing)
    new.time_in_force, new.expire_at_ns = order.time_in_force, order.expire_at_ns
    new.post_only, new.reduce_only = order.post_only, order.reduce_only
    new.waiting, new.condition = order.waiting, order.condition
    new.link, new.role = order.link, order.role
    if new.stop is None and new.trail == order.trail:
        new.stop = order.stop  # where a trailing stop has got to
    return new


def replace_in_place(
    order: VenueOrder, new: VenueOrder, matcher: Matcher, clearing: Clearing
) -> None:
    """Give an order new terms under its broker order id.

    It keeps its place in the queue if only its quantity falls. A total at or below what has
    filled becomes just that, and the order is FILLED.
    """
    account, orig_wire_id = order.account, order.wire_id
    if new.wire_id and new.wire_id != orig_wire_id:
        account.wires.setdefault(new.wire_id, []).append(order)
        order.former_wires += (orig_wire_id,)
        order.wire_id = new.wire_id
    lots = max(new.lots, order.filled)
    prices = (new.limit, new.stop, new.trail)
    keeps_place = prices == (order.limit, order.stop, order.trail) and lots <= order.lots
    if not keeps_place or lots == order.filled:
        matcher.withdraw(order)
    order.lots = lots
    order.limit, order.stop, order.trail = prices
    if lots == order.filled:
        clearing.close(order, Status.FILLED)
    clearing.report(order, ReportKind.REPLACED, orig_wire_id=orig_wire_id)
    if order.link is not None:
        order.link.replaced(order)
    if order.ended or keeps_place:
        matcher.resize(order)
        matcher.settle()
    else:
        matcher.arrive(order)


def hand_over(
    old: VenueOrder,
    new: VenueOrder,
    leaves_quantity: Decimal | None,
    matcher: Matcher,
    clearing: Clearing,
) -> None:
    """End an order in favour of a new one, which is still to be accepted.

    Where the account carries fills over, the new order begins with them; else it is for
    `leaves_quantity`, or for what is left by the venue's count.
    """
    if old.account.capabilities.replace_carries_fills:
        new.lots = max(new.lots, old.filled)
        new.carried = new.filled = old.filled
        new.status = Status.PARTIAL_FILL if new.filled else Status.OPEN
    else:
        new.lots = remainder(old, new, leaves_quantity)
    old.sequence += 1
    new.sequence = old.sequence
    matcher.withdraw(old)
    clearing.close(old, Status.CANCELED, word="replaced")
    old.successor = new
    if old.link is not None:
        old.link.succeed(old, new)


def remainder(old: VenueOrder, new: VenueOrder, leaves_quantity: Decimal | None) -> int:
    """Return the lots of a new order that starts its count anew; AmountError off the grid."""
    if leaves_quantity is None:
        return new.lots - old.filled
    return old.listing.lots(leaves_quantity)


def revise(
    fill: Fill,
    quantity: Decimal,
    price: Decimal,
    matcher: Matcher,
    clearing: Clearing,
    *,
    reinstate: bool,
) -> None:
    """Give one side of a trade new terms and let its order, and what replaced it, follow."""
    fallen = clearing.revise(fill, quantity, price)
    followers = [fill.order]
    while (successor := followers[-1].successor) is not None and successor.carried:
        successor.filled -= fallen
        successor.carried -= fallen
        followers.append(successor)
    revived = [order for order in followers if reinstate and _short(order)]
    for order in revived:
        order.status = Status.PARTIAL_FILL if order.filled else Status.OPEN
        order.account.working[order.broker_order_id] = order
    if fill.order.link is not None:
        fill.order.link.undone(fill.order, fallen)
    for order in followers:
        _follow(order, matcher, clearing)
    for order in revived:
        matcher.arrive(order)


def _short(order: VenueOrder) -> bool:
    """Tell whether an order that was filled whole no longer is."""
    return order.status is Status.FILLED and order.filled < order.lots


def _follow(order: VenueOrder, matcher: Matcher, clearing: Clearing) -> None:
    if _short(order):
        clearing.end(order, Status.CANCELED, "a trade was undone")
    elif not order.ended and order.filled >= order.lots:
        matcher.withdraw(order)
        clearing.close(order, Status.FILLED)
        if order.link is not None:
            order.link.ended(order)
    elif not order.ended:
        order.status = Status.PARTIAL_FILL if order.filled else Status.OPEN
        matcher.resize(order)
