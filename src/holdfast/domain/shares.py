"""What each group may look after: never more, together, than there is to close.

Rule 1: a group owes what its own orders say. Where the position is smaller than all of that
together, somebody else closed a part of it: the newest groups owe less, for good, so that what is
bought later is nobody else's. What was closed past all desks is taken off as long as it is told.
Rule 2: what somebody is closing comes first, and what is undone; what follows a position gets
what is left. What is still being closed leaves its group, but may come back to it.
Rule 3: what a stop of no group guards needs no second one, and what follows a position leaves out
what a target of no group is for. They count once the broker works them, until somebody cancels.
Rule 4: a claim counts like a trade, so that protection does not wait for the executions.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain.dust import is_dust
from holdfast.domain.exposure import is_exit
from holdfast.domain.group import ENTRY, EXIT, STOP, Group, Phase, covers
from holdfast.domain.group_pace import next_try_ns
from holdfast.domain.hours import is_open
from holdfast.domain.instruments import signed
from holdfast.domain.order import Order
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.values import ZERO, OrderType, Side, add, neg, sub

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def closable(desk: "Desk", symbol: str, side: Side) -> Decimal:
    """Return what exits of a side may close, in whole lots; see `held`."""
    return in_lots(desk, symbol, held(desk, symbol, side))


def held(desk: "Desk", symbol: str, side: Side, *, own: bool = False) -> Decimal:
    """Return what a side could close of the position, claims of fills included.

    That is the desk's position, and unless it is `own` no more than the account holds, where it is
    known that somebody closed some of it past all desks.
    """
    position = desk.positions.get(symbol)
    net = position.quantity if position is not None else ZERO
    for order in _claiming(desk, symbol):
        claim = sub(order.claimed_quantity, order.filled_quantity)
        net = add(net, signed(order.terms.side, claim))
    account = net if own else add(net, desk.state.groups.elsewhere.get(symbol, ZERO))
    if side is Side.BUY:
        net, account = neg(net), neg(account)
    return max(min(net, account), ZERO)


def _claiming(desk: "Desk", symbol: str) -> list[Order]:
    active = desk.state.by_symbol.get(symbol, {}).values()
    ended = (order for order in desk.state.ended.values() if order.terms.symbol == symbol)
    return [order for order in (*active, *ended) if order.held is not None]


def in_lots(desk: "Desk", symbol: str, quantity: Decimal) -> Decimal:
    """Return a quantity rounded down to whole lots."""
    instrument = desk.instruments.get(symbol)
    return quantity if instrument is None else instrument.in_lots(quantity)


def shares(desk: "Desk", symbol: str) -> dict[int, Decimal]:
    """Return, by number, what each open group of a symbol is to look after now, in lots."""
    found = _shared(desk, symbol, before_closing=False)
    return _placeable(desk, symbol, found)


def stakes(desk: "Desk", symbol: str) -> dict[int, Decimal]:
    """Return, by number, what each open group has of the position until it is really closed."""
    found = _shared(desk, symbol, before_closing=True)
    return _placeable(desk, symbol, found)


def _placeable(desk: "Desk", symbol: str, found: dict[int, Decimal]) -> dict[int, Decimal]:
    """Return what exits can be placed for: whole lots that are no dust."""
    lots = {number: in_lots(desk, symbol, share) for number, share in found.items()}
    for group in desk.state.groups.of(symbol):
        if is_dust(desk, group, lots[group.group]):
            lots[group.group] = ZERO
    return lots


def left_of(desk: "Desk", group: Group) -> Decimal:
    """Return what a group has of the position in whole lots, dust or not."""
    found = _shared(desk, group.symbol, before_closing=True)
    return in_lots(desk, group.symbol, found.get(group.group, ZERO))


def taken_over(desk: "Desk", symbol: str) -> dict[int, Decimal]:
    """Return, by number, what each group that closes something takes the place of: units that
    other groups would have exits for.
    """
    groups, now, before = desk.state.groups.of(symbol), shares(desk, symbol), stakes(desk, symbol)
    given = dict.fromkeys(Side, ZERO)
    for group in groups:
        if group.contingency != "close" and group.phase is not Phase.FLATTENING:
            less = sub(before[group.group], now[group.group])
            given[group.side] = add(given[group.side], max(less, ZERO))
    found: dict[int, Decimal] = {}
    for group in groups:
        if group.contingency == "close" and _takes_place(desk, group):
            taken = found[group.group] = min(now[group.group], given[group.side])
            given[group.side] = sub(given[group.side], taken)
    return found


def shortages(desk: "Desk", symbol: str) -> dict[int, Decimal]:
    """Return, by number, what groups owe beyond what there is: others have closed that."""
    found = _shared(desk, symbol, before_closing=True, own=True)
    short = {
        group.group: sub(group.owed, found[group.group])
        for group in desk.state.groups.of(symbol)
        if group.owed is not None and wants_anything(group)
    }
    return {number: quantity for number, quantity in short.items() if quantity}


def surpluses(desk: "Desk", symbol: str, side: Side) -> dict[int, Decimal]:
    """Return what is held beyond all that is owed, as far as it was once written off.

    The oldest groups come first, closed ones too.
    """
    groups = [one for one in desk.state.groups.groups.values() if one.symbol == symbol]
    wanting = [one for one in groups if one.side is side and wants_anything(one)]
    protective = [one for one in wanting if one.contingency != "close"]
    left = _there(desk, symbol, desk.state.groups.of(symbol), own=True)[side]
    for group in protective:
        left = sub(left, group.owed or ZERO)
    found: dict[int, Decimal] = {}
    for group in protective:
        back = min(group.written_off, left)
        if back > 0:
            found[group.group] = back
            left = sub(left, back)
    return found


def _shared(
    desk: "Desk", symbol: str, *, before_closing: bool, own: bool = False
) -> dict[int, Decimal]:
    groups = desk.state.groups.of(symbol)
    there = _there(desk, symbol, groups, own=own)
    left = dict(there)
    for group in groups if before_closing else ():
        left[group.side] = add(left[group.side], _overdrawn(desk, group))
    loose = [] if before_closing else _loose(desk, symbol)
    for order in loose:
        if order.terms.order_type is OrderType.MARKET:  # what closes now needs no other exit
            side = order.terms.side
            left[side] = max(sub(left[side], order.most_open), ZERO)
    found: dict[int, Decimal] = {}
    for group in sorted(groups, key=_rank):
        is_close, most = group.contingency == "close", left[group.side]
        if (
            is_close or group.is_asked or group.phase is Phase.FLATTENING
        ):  # nothing can be closed but what is there
            most = min(most, there[group.side])
        elif loose:
            most = max(sub(most, _guarded_beside(desk, group, loose)), ZERO)
        owed = most if group.owed is None else min(group.owed, most)
        share = found[group.group] = owed if wants_anything(group) else ZERO
        if not (is_close and (before_closing or not _takes_place(desk, group))):
            left[group.side] = sub(left[group.side], share)
    return found


def _loose(desk: "Desk", symbol: str) -> list[Order]:
    """Return the exits of no group that may still trade."""
    orders = desk.state.by_symbol.get(symbol, {}).values()
    return [order for order in orders if not order.group and is_exit(order)]


def _guarded_beside(desk: "Desk", group: Group, loose: list[Order]) -> Decimal:
    """Return what exits of no group guard in the place of a group's own.

    Where exits share nothing, whatever rests leaves no room for one that follows the position.
    """
    total, guard, follows = ZERO, group.guard, group.owed is None
    has_stop = guard is not None and guard.role == STOP
    alone = not desk.capabilities.exits_share_quantity
    for order in loose:
        if order.terms.side is not group.side or order.wanted_gone:
            continue
        if order.terms.order_type in UNTRIGGERED:
            counts = has_stop or (follows and alone)
        else:
            rests = order.terms.reduce_only and order.terms.order_type is OrderType.LIMIT
            counts = follows and rests and (alone or not has_stop)
        total = add(total, covers(order)) if counts else total
    return total


def _there(desk: "Desk", symbol: str, groups: list[Group], *, own: bool) -> dict[Side, Decimal]:
    """Return what there is to share by side: what is about to be undone is nobody's."""
    left = {side: held(desk, symbol, side, own=own) for side in Side}
    for group in groups:
        if group.phase is Phase.EXCESS:
            wrong = Side.BUY if group.side is Side.SELL else Side.SELL
            left[wrong] = max(sub(left[wrong], group.excess), ZERO)
    return left


def _overdrawn(desk: "Desk", group: Group) -> Decimal:
    """Return what a group traded beyond its own: it is undone, or its entry's fill is told late."""
    other = Side.BUY if group.side is Side.SELL else Side.SELL
    off = min(group.excess, held(desk, group.symbol, other, own=True)) if group.excess else ZERO
    early = sub(group.exited, group.entered) if group.enters else ZERO
    return max(off, early, ZERO)


def _rank(group: Group) -> tuple[bool, bool, int]:
    return group.contingency != "close", group.owed is None, group.group


def wants_anything(group: Group) -> bool:
    """Tell whether a group wants any exit, so that there is something to look after."""
    slot = group.slots.get(EXIT)
    return bool(group.wanted) or (slot is not None and slot.exit is not None)


def _takes_place(desk: "Desk", group: Group) -> bool:
    """Tell whether what somebody is closing has to have room now, at the cost of its protection.

    It has none while it may rest beside the stops of the same units, nor while it has to wait: the
    market is closed, its last try came to nothing, or the desk has just started.
    """
    if rests(desk, group):
        return False
    if group.live:
        return True
    may_go = desk.now_ns >= next_try_ns(desk, group, group.slot(EXIT))
    return may_go and desk.memo.reconciled and is_open(desk, group.symbol)


def rests(desk: "Desk", group: Group) -> bool:
    """Tell whether a close is to rest at its price beside the stops of the same units."""
    wanted = group.slot(EXIT).exit
    at_price = wanted is not None and wanted.limit_price is not None
    return at_price and desk.capabilities.exits_share_quantity


def _rests_beside(desk: "Desk", order: Order) -> bool:
    group = desk.state.groups.get(order.group) if order.role == EXIT else None
    return group is not None and rests(desk, group)


def room(desk: "Desk", symbol: str, side: Side, *, beside: int = 0, loose: bool = True) -> Decimal:
    """Return what an exit may close beside all others that may still trade.

    Those of the group `beside` are not counted, nor without `loose` those of no group; two for the
    same units count once.
    """
    left = closable(desk, symbol, side)
    for order in exits_of(desk, symbol, side):
        counts = order.group != beside if order.group else loose
        if counts and not order.twin and not _rests_beside(desk, order):
            left = sub(left, _could_close(desk, order))
    return in_lots(desk, symbol, max(left, ZERO))


def _could_close(desk: "Desk", order: Order) -> Decimal:
    """Return what an exit may still trade; one that waits for its entry, what that filled."""
    carrier = desk.order(order.rides) if order.rides else None
    if carrier is None or carrier.role != ENTRY:
        return order.most_open
    return min(order.most_open, carrier.claimed_quantity)


def exits_of(desk: "Desk", symbol: str, side: Side) -> list[Order]:
    """Return the exits of a side that may still trade."""
    orders = desk.state.by_symbol.get(symbol, {}).values()
    return [order for order in orders if order.terms.side is side and is_exit(order)]
