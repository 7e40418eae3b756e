"""Exits that the broker ties together: those that rode with an entry, and pairs of our own.

Rule 1: the broker sizes them. They are left alone while they may still become what is due, and
for a while after, as its words arrive one by one.
Rule 2: what stays too large is cancelled whole and placed anew; what is missing is added.
Rule 3: an exit that rides is known once its call is answered. Where the answer does not name it,
it is asked for; it never went out where that call came to nothing.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.group import ENTRY, STOP, TARGET, Group, Phase
from holdfast.domain.group_pace import failures_now, may_try, next_try_ns
from holdfast.domain.legs import (
    cancel,
    earliest,
    exit_terms,
    fits,
    guards,
    is_linked,
    is_pairing,
    is_riding,
    level,
    members,
    placeable,
    price_changes,
    request_replace,
    submit_member,
)
from holdfast.domain.order import Order
from holdfast.domain.reports import Child, RefusalCode
from holdfast.domain.shares import in_lots, stakes
from holdfast.domain.values import ZERO, Status, add, sub
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def meet(desk: "Desk", order: Order, children: tuple[Child, ...]) -> None:
    """Learn the broker's ids of the exits that rode with an order."""
    riders = [desk.state.order(number) for number in order.attached]
    for child in children:
        number = desk.owner_of(child.wire_id) if child.wire_id else 0
        for rider in riders:
            if rider is None or rider.status is not Status.NEW:
                continue
            if rider.number == number or (not number and rider.role == child.role):
                accepted = e.OrderAccepted(
                    at_ns=desk.now_ns, number=rider.number, broker_order_id=child.broker_order_id
                )
                desk.out(accepted)
                desk.control(rider)


def settle_riders(desk: "Desk", group: Group) -> int | None:
    """Bring about that each exit that rides is known, or known never to have gone out."""
    riders = [one for one in members(desk, group) if is_riding(one) and one.lookup is None]
    return earliest(*[_settle_rider(desk, order) for order in riders])


def _settle_rider(desk: "Desk", order: Order) -> int | None:
    carrier = desk.order(order.rides)
    if carrier is None or carrier.status in {Status.REJECTED, Status.FAILED}:
        _fail_with(desk, order, carrier)
        return None
    if carrier.status is Status.NEW:
        return None
    settings = desk.settings
    if order.asked_ns >= carrier.submitted_ns + settings.absence_grace_ms * NS_PER_MS:
        _fail(desk, order, "ABSENT", "the broker has no such exit of the order that it rode with")
        return None
    wait_ms = settings.retry_first_ms if not order.asked_ns else settings.absence_grace_ms
    due_ns = max(carrier.submitted_ns, order.asked_ns) + wait_ms * NS_PER_MS
    if desk.now_ns >= due_ns:
        desk.look_up(order, "it rode with an order that the broker took")
        return None
    return due_ns


def _fail_with(desk: "Desk", order: Order, carrier: Order | None) -> None:
    """Fail an exit whose call came to nothing; where the market is closed, for that reason."""
    is_closed = carrier is not None and carrier.code == RefusalCode.MARKET_CLOSED
    text = f": {carrier.text}" if carrier is not None and carrier.text else ""
    code = RefusalCode.MARKET_CLOSED if is_closed else "NOT_SENT"
    _fail(desk, order, code, f"the order that it rode with never was{text}"[:500])


def _fail(desk: "Desk", order: Order, code: str, text: str) -> None:
    failed = e.OrderFailed(at_ns=desk.now_ns, number=order.number, code=code, text=text)
    desk.out(failed)


def level_pairs(desk: "Desk", group: Group, due: Decimal, attempts_max: int) -> int | None:
    """Bring the pairs of a group nearer to what is due; return when to look again."""
    live = members(desk, group, STOP, TARGET)
    if not is_pairing(desk, group):
        live = [order for order in live if is_linked(order)]
    if any(order.wishes or order.alive is not None for order in live):
        return None
    unneeded = [order for order in live if group.slot(order.role).exit is None]
    if unneeded:
        return cancel(desk, unneeded, "no longer wanted")
    pairs, guard = _pairs(live), group.guard
    assert guard is not None
    have = _size(live, guard.role)
    wrong = [order for order in live if not _has_price(group, order)]
    if any(_waits_for_entry(desk, pair) for pair in pairs):
        movable = wrong if _can_move(desk, wrong) else []
        moves_ns = earliest(*[_move(desk, group, order, due) for order in movable])
        entry = desk.state.order(group.entry)
        if entry is not None and due < sub(group.entered, group.exited):
            return cancel(desk, [entry], "less is held than its exits would close")
        if wrong or desk.capabilities.native_bracket == "after_full_fill":
            return earliest(moves_ns, _await_entry(desk, group))
        too_much = _guarded(desk, live, guard.role) > due
        if too_much and entry is not None:  # the broker does not know what other exits traded
            return _after_grace(desk, group, [[entry]])
    else:
        broken = [pair for pair in pairs if _is_broken(desk, group, pair, attempts_max)]
        if broken or not due:
            gone = live if not due else [order for pair in broken for order in pair]
            return cancel(desk, gone, "its other half is gone" if due else "nothing is left for it")
        unwanted = _too_much(desk, group, pairs, sub(have, due))
        if have > due and due < stakes(desk, group.symbol).get(group.group, due):
            orders = [order for pair in unwanted for order in pair]
            return cancel(desk, orders, "somebody closes a part of it")
        if have > due or (wrong and not _can_move(desk, wrong)):
            return _after_grace(desk, group, unwanted)
    if wrong:
        return earliest(*[_move(desk, group, order, due) for order in wrong])
    return _fill_up(desk, group, live, due, attempts_max)


def _fill_up(
    desk: "Desk", group: Group, live: list[Order], due: Decimal, attempts_max: int
) -> int | None:
    """Guard what exits at their prices do not; return when to look again."""
    if any(_guarded(desk, live, slot.role) < due for slot in group.wanted):
        sized_ns = _await_sizing(desk, group, live)
        if sized_ns is not None:
            return sized_ns
    else:
        desk.memo.odd_ns.pop(group.group, None)
    rest = {slot.role: max(sub(due, _size(live, slot.role)), ZERO) for slot in group.wanted}
    if is_pairing(desk, group):
        return _add_pair(desk, group, rest[STOP], due, attempts_max)
    return earliest(
        *[
            level(desk, group, slot, rest[slot.role], attempts_max)
            for slot in placeable(desk, group)
        ]
    )


def _guarded(desk: "Desk", live: list[Order], role: str) -> Decimal:
    total = ZERO
    for order in live:
        if order.role == role:
            total = add(total, guards(desk, order))
    return total


def _is_broken(desk: "Desk", group: Group, pair: list[Order], attempts_max: int) -> bool:
    """Tell whether exits lack their half: the one that guards, or one that a pair can bring."""
    roles = {order.role for order in pair if order.open_quantity}
    if group.guard is None or group.guard.role not in roles:
        return True
    may_retry = failures_now(desk, group, group.slot(TARGET)) < attempts_max
    return is_pairing(desk, group) and TARGET not in roles and may_retry


def _pairs(live: list[Order]) -> list[list[Order]]:
    found: dict[int, list[Order]] = {}
    for order in live:
        found.setdefault(order.rides or order.number, []).append(order)
    return list(found.values())


def _size(orders: list[Order], role: str) -> Decimal:
    total = ZERO
    for order in orders:
        if order.role == role:
            total = add(total, order.open_quantity)
    return total


def _rides_with_entry(desk: "Desk", order: Order) -> bool:
    carrier = desk.order(order.rides) if order.rides else None
    return carrier is not None and carrier.role == ENTRY


def _waits_for_entry(desk: "Desk", pair: list[Order]) -> bool:
    carrier = desk.order(pair[0].rides) if pair[0].rides else None
    return carrier is not None and carrier.role == ENTRY and carrier.is_exposed


def _await_entry(desk: "Desk", group: Group) -> int | None:
    """Exits that wait for the whole entry leave a part of it bare: its rest goes in time."""
    if desk.capabilities.native_bracket != "after_full_fill" or group.phase is Phase.PROTECTED:
        return None
    half_ms = desk.settings.policies.groups.unprotected_max_ms // 2
    end_ns = group.since_ns + half_ms * NS_PER_MS
    if desk.now_ns < end_ns:
        return end_ns
    entry = desk.state.order(group.entry)
    if entry is None:
        return None
    return cancel(desk, [entry], "partly filled, and its exits wait for the whole")


def _has_price(group: Group, order: Order) -> bool:
    wanted = group.slot(order.role).exit
    return wanted is not None and fits(order, wanted)


def _can_move(desk: "Desk", orders: list[Order]) -> bool:
    able = desk.capabilities.native_replace
    return able and all(order.is_working and not order.replace_refusals for order in orders)


def _move(desk: "Desk", group: Group, order: Order, due: Decimal) -> int | None:
    slot = group.slot(order.role)
    assert slot.exit is not None
    changes, try_ns = price_changes(order, slot.exit), next_try_ns(desk, group, slot, due)
    if changes and desk.now_ns < try_ns:
        return try_ns
    if changes:
        request_replace(desk, order, changes, due)
    return None


def _too_much(
    desk: "Desk", group: Group, pairs: list[list[Order]], excess: Decimal
) -> list[list[Order]]:
    """Return what has to go: the pairs that are too much, or else the newest, to come back."""
    if excess < desk.lot(group.symbol):
        return pairs[-1:]
    guard = group.guard
    assert guard is not None
    for pair in pairs:
        if _size(pair, guard.role) <= excess:
            return [pair]
    return pairs[-1:]


def _after_grace(desk: "Desk", group: Group, pairs: list[list[Order]]) -> int | None:
    """Cancel what stays as it must not be; the broker is given time to set it right."""
    since_ns = desk.memo.odd_ns.setdefault(group.group, desk.now_ns)
    end_ns = since_ns + desk.settings.policies.groups.linked_grace_ms * NS_PER_MS
    if desk.now_ns < end_ns:
        return end_ns
    orders = [order for pair in pairs for order in pair]
    return cancel(desk, orders, "the broker's exits are not what is due")


def _await_sizing(desk: "Desk", group: Group, live: list[Order]) -> int | None:
    """Exits that a broker sizes follow a fill a moment later, or show one that was not told yet.

    They are asked for, and believed once they were; None where there is nothing to wait for.
    """
    sized = [one for one in live if _rides_with_entry(desk, one) or _shrank(desk, one)]
    if not sized:
        return None
    settings = desk.settings
    rules = settings.policies.groups
    most_ms = min(rules.linked_grace_ms, rules.unprotected_max_ms // 2)
    since_ns = desk.memo.odd_ns.setdefault(group.group, desk.now_ns)
    ask_ns = since_ns + min(settings.retry_first_ms, most_ms) * NS_PER_MS
    end_ns = since_ns + most_ms * NS_PER_MS
    if desk.now_ns < ask_ns:
        return ask_ns
    for order in sized:
        if order.asked_ns < since_ns:
            desk.look_up(order, "the broker sizes it, and it is not what is due")
        for half in _pair_of(desk, order):
            if half.asked_ns < since_ns:
                desk.look_up(half, "its other half is smaller than its trades tell")
    answered = all(half.lookup is None for order in sized for half in _pair_of(desk, order))
    return None if answered or desk.now_ns >= end_ns else end_ns


def _pair_of(desk: "Desk", order: Order) -> list[Order]:
    """Return the exits that the broker ties to one, itself included, whether or not they ended."""
    carrier = desk.state.order(order.rides) if order.rides else order
    if carrier is None:
        return [order]
    riders = [one for n in carrier.attached if (one := desk.state.order(n)) is not None]
    return riders if carrier.role == ENTRY else [carrier, *riders]


def _shrank(desk: "Desk", order: Order) -> bool:
    """Tell whether an exit is smaller than the known trades of its pair would leave it."""
    if not is_linked(order) or _rides_with_entry(desk, order) or order.asked.quantity is None:
        return False
    left = order.asked.quantity
    for half in _pair_of(desk, order):
        left = sub(left, half.claimed_quantity)
    return order.open_quantity < left


def _add_pair(
    desk: "Desk", group: Group, quantity: Decimal, due: Decimal, attempts_max: int
) -> int | None:
    """Place another pair, or the stop alone where the broker takes no target."""
    quantity = in_lots(desk, group.symbol, quantity)
    stop, target = group.slot(STOP), group.slot(TARGET)
    if not quantity:
        return None
    alone = failures_now(desk, group, target) >= attempts_max
    try_ns = may_try(desk, group, stop, due, attempts_max)
    if not alone:
        try_ns = max(try_ns or 0, next_try_ns(desk, group, target, due))
    if try_ns is None or try_ns > desk.now_ns:
        return try_ns
    assert stop.exit is not None
    assert target.exit is not None
    protection = exit_terms(desk, group, stop.exit, quantity)
    if alone:
        submit_member(desk, group, STOP, protection, due=due)
        return None
    rider = submit_member(desk, group, STOP, protection, due=due, rides=desk.next_number + 1)
    profit = exit_terms(desk, group, target.exit, quantity)
    submit_member(desk, group, TARGET, profit, due=due, link="oco", attached=(rider,))
    return None


def any_linked(orders: list[Order]) -> bool:
    """Tell whether the broker ties any of some exits to others."""
    return any(is_linked(order) for order in orders)
