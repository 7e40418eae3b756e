"""How a group comes to its end: what it holds is closed, what it closed too much is undone.

Rule 1: an exit at the market goes out only once everything else of its group is over and its
figure known, for what is left and no more; never two at a time.
Rule 2: it leaves room for other exits of the same units, and makes those of no group give way.
Rule 3: it never gives up; it slows down and alerts.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.alerts import raise_once
from holdfast.domain.exit_orders import submit_exit
from holdfast.domain.exposure import is_exit
from holdfast.domain.flattening import LIMIT_PATIENCE_MS, STUCK_AFTER_MS
from holdfast.domain.group import ENTRY, EXIT, UNDO, Group, Phase
from holdfast.domain.group_pace import next_try_ns
from holdfast.domain.hours import is_open, look_ns
from holdfast.domain.legs import cancel, earliest, level, members
from holdfast.domain.order import Order
from holdfast.domain.shares import closable, exits_of, in_lots, room, taken_over
from holdfast.domain.values import ZERO, Side
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

GROUP_STUCK: Final = "GROUP_STUCK"
# How soon what waits for something that tells nobody is looked at again.
LOOK_AGAIN_MS: Final = 1_000


def note_taken_over(desk: "Desk", symbol: str) -> None:
    """Record when what somebody closes loses its protection for it, and when it gets it back."""
    groups = desk.state.groups.of(symbol)
    closes = [group for group in groups if group.contingency == "close"]
    taken = taken_over(desk, symbol) if closes else {}
    for group in closes:
        quantity = taken.get(group.group, ZERO)
        if bool(quantity) is not bool(group.naked_ns):
            desk.out(e.GroupTookOver(at_ns=desk.now_ns, group=group.group, quantity=quantity))


def wind_up(desk: "Desk", group: Group) -> int | None:
    """Let nothing of the group work any more; then undo what it closed too much."""
    live = members(desk, group)
    rest = [order for order in live if order.role != UNDO]
    again_ns = cancel(desk, rest, f"its group is {group.phase}")
    quantity = undoable(desk, group)
    undoing = [order for order in live if order.role == UNDO]
    again_ns = earliest(again_ns, _age_out(desk, undoing))
    if sum((order.open_quantity for order in undoing), ZERO) > quantity:
        again_ns = earliest(again_ns, cancel(desk, undoing, "less is left to undo"))
    if group.phase is Phase.EXCESS:
        again_ns = earliest(again_ns, _warn_of_long(desk, group, quantity))
    if group.phase is not Phase.EXCESS or group.live or not quantity:
        return again_ns
    return earliest(again_ns, _close(desk, group, UNDO, group.side.opposite, quantity))


def flatten(desk: "Desk", group: Group, due: Decimal) -> int | None:
    """Cancel what works of a group, then close what it holds; return when to look again."""
    slot = group.slot(EXIT)
    if slot.exit is not None and slot.exit.limit_price is not None:
        own = room(desk, group.symbol, group.side, beside=group.group)
        if len(members(desk, group)) < len(group.live):  # what ended may have traded more
            return None
        if desk.capabilities.exits_share_quantity:
            return level(desk, group, slot, due, 0)
        blocked = own < due or slot.failures
        again_ns = _make_room(desk, group, group.side) if blocked else None
        return earliest(again_ns, level(desk, group, slot, min(due, own), 0))
    live = members(desk, group)
    exits = [order for order in live if order.role == EXIT]
    rest = [order for order in live if order.role != EXIT]
    if not exits and not is_open(desk, group.symbol):
        # Until the market opens nothing can be closed, and what protects it stands.
        entries = [order for order in rest if order.role == ENTRY]
        return earliest(cancel(desk, entries, "its group is closed"), look_ns(desk, group.symbol))
    again_ns = earliest(cancel(desk, rest, f"flattened: {group.reason}"), _age_out(desk, exits))
    again_ns = earliest(again_ns, _warn_of_long(desk, group, due))
    if sum((order.open_quantity for order in exits), ZERO) > due:
        again_ns = earliest(again_ns, cancel(desk, exits, "less is left to close"))
    if group.live:
        return again_ns
    if group.is_failing or group.slot(EXIT).failures:
        again_ns = earliest(again_ns, _clear_way(desk, group))
    return earliest(again_ns, _close(desk, group, EXIT, group.side, due))


def _clear_way(desk: "Desk", group: Group) -> int | None:
    """Cancel entries of ours that the exit might meet: no venue lets an account trade with itself,
    and nothing is to open in a symbol whose position is being closed.
    """
    active = desk.state.by_symbol.get(group.symbol, {}).values()
    against = [one for one in active if one.terms.side is not group.side and not is_exit(one)]
    return cancel(desk, against, f"clears the way: group {group.group} is closed")


def _close(desk: "Desk", group: Group, role: str, side: Side, wanted: Decimal) -> int | None:
    """Close at the market what other exits leave room for; return when to look again.

    What is undone does not wait for exits of no group: it should never have been.
    """
    closes, again_ns = role == EXIT, None
    quantity = min(wanted, room(desk, group.symbol, side, loose=closes))
    shares_units = desk.capabilities.exits_share_quantity
    if (closes and quantity < wanted) or (group.slot(role).failures and not shares_units):
        again_ns = _make_room(desk, group, side)
    if not quantity:
        return earliest(again_ns, desk.now_ns + LOOK_AGAIN_MS * NS_PER_MS)
    return earliest(again_ns, _send(desk, group, role, side, quantity))


def _make_room(desk: "Desk", group: Group, side: Side) -> int | None:
    """Exits of no group for the same units go: a position is being closed.

    Where exits share nothing, entries on that side may hold the units as well.
    """
    there = exits_of(desk, group.symbol, side)
    if not desk.capabilities.exits_share_quantity:
        active = desk.state.by_symbol.get(group.symbol, {}).values()
        there = [order for order in active if order.terms.side is side]
    loose = [order for order in there if not order.group or order.role == ENTRY]
    return cancel(desk, loose, f"makes room: group {group.group} is closed")


def _age_out(desk: "Desk", exits: list[Order]) -> int | None:
    """Cancel an exit with a limit that the market has left behind."""
    looks: list[int | None] = []
    for order in exits:
        if order.terms.limit_price is not None:
            old_ns = order.created_ns + LIMIT_PATIENCE_MS * NS_PER_MS
            late = desk.now_ns >= old_ns
            looks.append(cancel(desk, [order], "the market left it") if late else old_ns)
    return earliest(*looks)


def _send(desk: "Desk", group: Group, role: str, side: Side, quantity: Decimal) -> int:
    """Send an order at the market if it is time to; return when to look again."""
    try_ns = next_try_ns(desk, group, group.slot(role), quantity)
    if not desk.memo.reconciled:
        try_ns = desk.now_ns + LOOK_AGAIN_MS * NS_PER_MS
    if desk.now_ns >= try_ns:
        submit_exit(desk, group.symbol, side, quantity, role, group)
        return desk.now_ns + LIMIT_PATIENCE_MS * NS_PER_MS
    return try_ns


def _warn_of_long(desk: "Desk", group: Group, due: Decimal) -> int:
    stuck_ns = group.since_ns + STUCK_AFTER_MS * NS_PER_MS
    if desk.now_ns < stuck_ns:
        return stuck_ns
    waits = ", ".join(str(number) for number in group.live) or "none"
    text = (
        f"closing {due} {group.symbol} of group {group.group} takes long, orders that may still "
        f"trade: {waits}; it goes on, look at the broker and its quotes"
    )
    raise_once(desk, GROUP_STUCK, text, group.symbol)
    return desk.now_ns + STUCK_AFTER_MS * NS_PER_MS


def undoable(desk: "Desk", group: Group) -> Decimal:
    """Return what of a group's excess is there to be undone: no more than the position is off."""
    if not group.excess:
        return ZERO
    off = closable(desk, group.symbol, group.side.opposite)
    return in_lots(desk, group.symbol, min(group.excess, off))
