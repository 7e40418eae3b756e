"""The exits of a group: making what works of each role equal what is due.

Rule 1: level-triggered. `level` compares what works with what is due and asks for one step at a
time; an order that waits for an answer is left alone until it has one.
Rule 2: never cancel first: what replaces an exit works before that one goes. Only a broker that
lets no second exit rest for the same units leaves no other way, and what closes a position would
close it twice.
Rule 3: what the broker links it also sizes. Such exits are watched, and replaced by others where
they stay what they must not be.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import sweeping
from holdfast.domain.flattening import may_cancel
from holdfast.domain.fold_groups import is_doubtful
from holdfast.domain.group import ENTRY, EXIT, STOP, TARGET, Group, Slot, covers
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.group_pace import may_try, next_try_ns
from holdfast.domain.order import Order
from holdfast.domain.persons import OURS
from holdfast.domain.requests import OrderTerms
from holdfast.domain.shares import in_lots
from holdfast.domain.values import ZERO, Condition, OrderType, Status, TimeInForce, add, sub
from holdfast.domain.wish import WishKind
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# With more orders of one role than this, one takes the place of all.
LEGS_MAX: Final = 8
_LASTING: Final = (TimeInForce.GTC, TimeInForce.DAY)


def members(desk: "Desk", group: Group, *roles: str) -> list[Order]:
    """Return the orders of a group that may still trade, of some roles or of all."""
    found = (desk.state.order(number) for number in group.live)
    return [
        order
        for order in found
        if order is not None and order.is_exposed and (not roles or order.role in roles)
    ]


def covered(desk: "Desk", group: Group) -> Decimal:
    """Return what the working orders of the role that protects cover."""
    total, guard = ZERO, group.guard
    for order in members(desk, group, guard.role) if guard is not None else ():
        total = add(total, guards(desk, order))
    return total


def guards(desk: "Desk", order: Order) -> Decimal:
    """Return what of an exit works for sure; one that waits for its whole entry guards nothing."""
    if order.rides and desk.capabilities.native_bracket == "after_full_fill":
        carrier = desk.order(order.rides)
        if carrier is not None and carrier.role == ENTRY and carrier.status is not Status.FILLED:
            return ZERO
    return covers(order)


def earliest(*moments: int | None) -> int | None:
    """Return the first of some moments, leaving out those that never come."""
    return min((moment for moment in moments if moment is not None), default=None)


def is_two_sided(group: Group) -> bool:
    """Tell whether a group wants a stop and a target for the same units."""
    return len(group.wanted) > 1


def is_pairing(desk: "Desk", group: Group) -> bool:
    """Tell whether stop and target go out as a pair of which the broker lets one trade."""
    can = desk.capabilities
    if not is_two_sided(group) or not can.native_oco:
        return False
    return group.contingency == "oco" or not can.exits_share_quantity


def placeable(desk: "Desk", group: Group) -> list[Slot]:
    """Return the roles whose orders may rest side by side: one, where exits share nothing."""
    return group.wanted if desk.capabilities.exits_share_quantity else group.wanted[:1]


def exit_terms(desk: "Desk", group: Group, wanted: ExitTerms, quantity: Decimal) -> OrderTerms:
    """Return the terms of an exit, good as long as the broker lets it be."""
    in_force = desk.capabilities.times_in_force
    order_type = OrderType.LIMIT
    if wanted.stop_price is not None:
        order_type = OrderType.STOP if wanted.limit_price is None else OrderType.STOP_LIMIT
    elif wanted.trail is not None:  # where the broker has none, a stop price is known by now
        order_type = OrderType.TRAILING_STOP
    trails = order_type is OrderType.TRAILING_STOP
    return OrderTerms(
        symbol=group.symbol,
        side=group.side,
        quantity=quantity,
        order_type=order_type,
        limit_price=wanted.limit_price,
        stop_price=wanted.stop_price,
        trail=wanted.trail if trails else None,
        time_in_force=next((each for each in _LASTING if each in in_force), _LASTING[0]),
        reduce_only=True,
    )


def submit_member(  # noqa: PLR0913 - one argument per field, all by name
    desk: "Desk",
    group: Group,
    role: str,
    terms: OrderTerms,
    *,
    due: Decimal,
    link: str = "",
    attached: tuple[int, ...] = (),
    rides: int = 0,
) -> int:
    """Send an exit of a group, or let it ride with another order; return its number.

    With it the role comes to what is `due`.
    """
    now, settings, number = desk.now_ns, desk.settings, desk.next_number
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + settings.send_wait_ms * NS_PER_MS,
            idempotency_key=group.key if not group.orders else "",
            strategy=group.strategy,
            role=role,
            reducing=True,
            group=group.group,
            turn=group.slot(role).submits + 1,
            due=due,
            twin=role == TARGET and bool(members(desk, group, STOP)),
            link=link,
            attached=attached,
            rides=rides,
        )
    )
    return number


def cancel(desk: "Desk", orders: list[Order], reason: str) -> int | None:
    """Want orders gone; return when to try again where a refused cancel is given time.

    One that rides with an unanswered order is left to what becomes of that.
    """
    there = [order for order in orders if not order.wanted_gone and not is_riding(order)]
    due = [order for order in there if may_cancel(desk, order)]
    sweeping.sweep(desk, due, reason=reason, by=OURS)
    late = len(due) < len(there)
    return desk.now_ns + desk.settings.retry_first_ms * NS_PER_MS if late else None


def is_riding(order: Order) -> bool:
    """Tell whether an order is on its way in the call of another one."""
    return bool(order.rides) and order.status is Status.NEW


def is_unclear(desk: "Desk", order: Order) -> bool:
    """Tell whether nobody knows what became of a call about an order, or of its carrier's."""
    carrier = desk.state.order(order.rides) if is_riding(order) else None
    return is_doubtful(order) or (carrier is not None and is_doubtful(carrier))


def is_halted(guards: list[Order]) -> bool:
    """Tell whether the market has suspended what would protect."""
    return any(one.is_working and one.condition is Condition.SUSPENDED for one in guards)


def is_linked(order: Order) -> bool:
    """Tell whether the broker ties an exit to others."""
    return bool(order.rides or order.link)


def level(desk: "Desk", group: Group, slot: Slot, due: Decimal, attempts_max: int) -> int | None:
    """Bring what works of one role nearer to what is due; return when to look again.

    With `attempts_max` it is not tried again after so many failures in a row; 0 never gives up.
    """
    live = [one for one in members(desk, group, slot.role) if not is_linked(one)]
    if slot.role != EXIT:  # an exit never overlaps the one that takes its place
        live = [order for order in live if not is_going(order)]
    wanted = slot.exit
    if wanted is None or any(_is_moving(order) for order in live):
        return None
    if not due:
        return cancel(desk, live, "nothing is left for it")
    if len(live) == 1 and _may_replace(desk, live[0], wanted):
        return _replace(desk, group, slot, live[0], due)
    fit = [order for order in live if fits(order, wanted)]
    unfit = [order for order in live if order not in fit]
    have = _sum(order.open_quantity for order in fit)
    is_alone = slot.role == EXIT or not desk.capabilities.exits_share_quantity
    if is_alone and (unfit or have > due):
        return cancel(desk, unfit or fit, "its group wants another exit")
    if have < due:
        missing = sub(due, have)
        if len(live) >= LEGS_MAX:
            if is_alone:  # the next one takes its place as well
                smallest = min(live, key=lambda order: order.open_quantity)
                return cancel(desk, [smallest], "it makes room for a larger one")
            missing = due
        return _place(desk, group, slot, missing, due, attempts_max)
    if unfit:
        sure = _sum(guards(desk, order) for order in fit)
        return cancel(desk, unfit, "its group wants another price") if sure >= due else None
    return _shrink(desk, group, slot, fit, due)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for each in amounts:
        total = add(total, each)
    return total


def _is_moving(order: Order) -> bool:
    """Tell whether an answer is awaited that may change what the order is."""
    return bool(order.wishes) or order.alive is not None


def is_going(order: Order) -> bool:
    """Tell whether an order is being cancelled, and nothing else is asked of it."""
    return order.wanted_gone and all(wish.kind is WishKind.CANCEL for wish in order.wishes)


def fits(order: Order, wanted: ExitTerms) -> bool:
    """Tell whether an order was asked for at the prices that are wanted; the broker may round."""
    if order.asked.order_type is OrderType.TRAILING_STOP:
        return order.asked.trail == wanted.trail and wanted.stop_price is None
    return order.asked_prices == (wanted.stop_price, wanted.limit_price)


def _may_replace(desk: "Desk", order: Order, wanted: ExitTerms) -> bool:
    asked, can = order.asked, desk.capabilities
    same_type = (asked.stop_price is None, asked.limit_price is None) == (
        wanted.stop_price is None,
        wanted.limit_price is None,
    )
    trails = asked.order_type is OrderType.TRAILING_STOP and asked.trail != wanted.trail
    is_able = can.native_replace and not order.replace_refusals and order.is_working
    return is_able and same_type and not trails and not is_linked(order)


def _replace(desk: "Desk", group: Group, slot: Slot, order: Order, due: Decimal) -> int | None:
    """Give an exit the quantity that is due and the prices that are wanted, if it has others."""
    assert slot.exit is not None
    changes = price_changes(order, slot.exit)
    if order.open_quantity != due:
        changes["quantity"] = add(order.claimed_quantity, due)
    try_ns = next_try_ns(desk, group, slot, due)
    if changes and desk.now_ns < try_ns:
        return try_ns
    if changes:
        request_replace(desk, order, changes, due)
    return None


def price_changes(order: Order, wanted: ExitTerms) -> dict[str, Decimal]:
    """Return the wanted prices that an order was not asked for yet."""
    prices = zip(("stop_price", "limit_price"), order.asked_prices, strict=True)
    return {
        name: price
        for name, asked in prices
        if (price := getattr(wanted, name)) is not None and price != asked
    }


def request_replace(desk: "Desk", order: Order, changes: dict[str, Decimal], due: Decimal) -> None:
    """Ask for other terms of a member, whose role comes to what is due by them."""
    desk.out(
        e.ReplaceRequested(
            at_ns=desk.now_ns,
            number=order.number,
            wish=order.last_wish + 1,
            not_after_ns=desk.now_ns + desk.settings.send_wait_ms * NS_PER_MS,
            quantity=changes.get("quantity"),
            limit_price=changes.get("limit_price"),
            stop_price=changes.get("stop_price"),
            due=due,
        )
    )
    desk.touch(order.number)


def has_price(desk: "Desk", wanted: ExitTerms) -> bool:
    """Tell whether an exit can be placed: a stop that follows the market here needs a price."""
    follows = wanted.trail is not None and wanted.stop_price is None
    return not follows or OrderType.TRAILING_STOP in desk.capabilities.order_types


def _place(
    desk: "Desk", group: Group, slot: Slot, quantity: Decimal, due: Decimal, attempts_max: int
) -> int | None:
    """Place what is missing of a role, or is to take the place of others; return when to look."""
    try_ns = may_try(desk, group, slot, due, attempts_max)
    quantity = in_lots(desk, group.symbol, quantity)
    if try_ns is None or not quantity or slot.exit is None or not has_price(desk, slot.exit):
        return None
    if try_ns > desk.now_ns:
        return try_ns
    submit_member(desk, group, slot.role, exit_terms(desk, group, slot.exit, quantity), due=due)
    return None


def _shrink(desk: "Desk", group: Group, slot: Slot, live: list[Order], due: Decimal) -> int | None:
    """Take away what is too much: whole orders as far as that goes, then one gets smaller."""
    excess = sub(_sum(order.open_quantity for order in live), due)
    if excess < desk.lot(group.symbol):
        return None
    for order in live:
        if order.open_quantity <= excess:
            return cancel(desk, [order], "its group needs less")
    for order in live:
        if desk.capabilities.native_replace and not order.replace_refusals and order.is_working:
            left = sub(order.open_quantity, excess)
            request_replace(desk, order, {"quantity": add(order.claimed_quantity, left)}, due)
            return None
    largest = max(live, key=lambda order: order.open_quantity)
    return _place(desk, group, slot, sub(largest.open_quantity, excess), due, 0)
