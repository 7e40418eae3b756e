"""What each event does to a group: its own events, and what happens to its orders."""

from decimal import Decimal
from typing import Final

from holdfast.domain import events as e
from holdfast.domain.group import (
    CUT_SHORT,
    EXIT,
    FAILURES_APART_NS,
    FIRST,
    HISTORY_MAX,
    PHASES,
    STOP,
    TARGET,
    Cause,
    Group,
    Moment,
    Phase,
    Slot,
    is_final,
)
from holdfast.domain.order import Order
from holdfast.domain.persons import OURS
from holdfast.domain.reports import RefusalCode
from holdfast.domain.transitions import DefectError
from holdfast.domain.values import TERMINAL, ZERO, Side, add, neg, sub
from holdfast.domain.wish import Stage, WishKind

# Members that a group remembers by number, the newest.
MEMBERS_MAX: Final = 100
_EXITS: Final = frozenset({STOP, TARGET, EXIT})
_GUARDS: Final = frozenset({STOP, TARGET})
# In these not all that is held is guarded.
_NAKED: Final = frozenset({Phase.PROTECTING, Phase.FLATTENING})


def new_group(event: e.GroupOpened) -> Group:
    """Begin a group in the phase in which its contingency begins."""
    group = Group(
        group=event.group,
        contingency=event.contingency,
        symbol=event.symbol,
        side=event.side,
        quantity=event.quantity,
        strategy=event.strategy,
        key=event.key,
        entry_end_ns=event.entry_end_ns,
        phase=FIRST[event.contingency],
        reason=event.reason,
        asked=event.exits,
        opened_ns=event.at_ns,
        since_ns=event.at_ns,
    )
    for wanted in event.exits:
        group.slots[wanted.role] = Slot(role=wanted.role, exit=wanted)
    if group.phase is Phase.PROTECTING:
        group.naked_ns = event.at_ns
    group.is_asked = group.phase is Phase.FLATTENING
    cause = Cause.ASKED if group.is_asked else ""
    _remember(group, Moment(at_ns=event.at_ns, phase=group.phase, cause=cause, by=event.by))
    return group


def change_phase(group: Group, event: e.GroupPhaseChanged) -> None:
    """Go on to another phase; a move that the table does not have is a defect."""
    cause = Cause(event.cause)
    after = PHASES[group.phase].get(cause)
    if after is None or after != event.phase:
        message = f"group {group.group}: no move from {group.phase} to {event.phase} by {cause}"
        raise DefectError(message)
    _count_unprotected(group, after, event.at_ns)
    group.phase, group.cause, group.since_ns = after, cause, event.at_ns
    group.reason = event.reason
    group.is_asked = group.is_asked or cause is Cause.ASKED
    if after is Phase.CLOSED:
        group.written_off = add(group.written_off, group.owed or ZERO)
        group.excess = ZERO
        for slot in group.slots.values():
            slot.failures = 0
    moment = Moment(at_ns=event.at_ns, phase=after, cause=cause, reason=event.reason, by=event.by)
    _remember(group, moment)


def _remember(group: Group, moment: Moment) -> None:
    group.history.append(moment)
    del group.history[:-HISTORY_MAX]


def _count_unprotected(group: Group, after: Phase, at_ns: int) -> None:
    """Count what is on its way out, too; a `close` counts from when it takes others' place."""
    if after in _NAKED and group.contingency != "close":
        group.naked_ns = group.naked_ns or at_ns
    elif after not in _NAKED:
        _end_unprotected(group, at_ns)


def _end_unprotected(group: Group, at_ns: int) -> None:
    if group.naked_ns:
        spent_ns = at_ns - group.naked_ns
        group.unprotected_ns += spent_ns
        group.longest_ns = max(group.longest_ns, spent_ns)
        group.naked_ns = 0


def take_over(group: Group, event: e.GroupTookOver) -> None:
    """Count for a `close` the time in which what it closes has no other exit."""
    if event.quantity:
        group.naked_ns = group.naked_ns or event.at_ns
    else:
        _end_unprotected(group, event.at_ns)


def _slot(group: Group, role: str) -> Slot:
    """Return a role's slot, begun where there is none."""
    return group.slots.setdefault(role, Slot(role=role))


def change_exit(group: Group, event: e.GroupExitChanged) -> None:
    """Want something else of a role, or nothing any more; what failed before is forgotten."""
    slot = _slot(group, event.role)
    slot.exit, slot.failures, slot.text = event.exit, 0, ""
    slot.mark, slot.repeats = None, 0
    follows = event.by == OURS and event.exit is not None and event.exit.trail is not None
    if not follows:  # what follows the market is no news
        did = "called_off" if event.exit is None else "changed"
        told = {"cause": f"{event.role}_{did}", "reason": event.reason, "by": event.by}
        _remember(group, Moment(at_ns=event.at_ns, phase=group.phase, **told))


def skip_time(group: Group, down_ns: int) -> None:
    """Leave out the time in which nobody could do anything."""
    group.since_ns += down_ns
    group.heard_ns += down_ns if group.heard_ns else 0
    group.proved_ns += down_ns if group.proved_ns else 0
    group.naked_ns += down_ns if group.naked_ns else 0
    for slot in group.slots.values():
        slot.resumed_ns += down_ns if slot.resumed_ns else 0


def join(group: Group, order: Order, due: Decimal | None) -> None:
    """Make a new order a member, with which its role is to come to what is due."""
    group.live.append(order.number)
    group.orders.append(order.number)
    del group.orders[:-MEMBERS_MAX]
    if order.role == "entry":
        group.entry = order.number
    else:
        _slot(group, order.role).submits += 1
        note_try(group, order.role, due, order.created_ns)


def note_try(group: Group, role: str, due: Decimal | None, at_ns: int) -> None:
    """Count a request for a role that repeats the last one: for as much, at the same prices."""
    slot = _slot(group, role)
    slot.repeats = slot.repeats + 1 if slot.repeats_at(due, at_ns) is not None else 0
    if slot.is_shut:
        slot.resumed_ns = at_ns
    slot.mark, slot.tried_ns = due, at_ns


def note(group: Group, order: Order, before: Decimal, *, doubted: bool, at_ns: int) -> None:
    """Follow what happened to a member: what it claimed to have filled before, and whether
    nobody could tell then what became of it.
    """
    grown = sub(order.claimed_quantity, before)
    if grown and order.role == "entry" and any(slot.closed_ns for slot in group.slots.values()):
        group.proved_ns = at_ns  # what trades is open, and may be tried from now on
    if grown:
        _count(group, order, grown, at_ns)
    settled = order.status in TERMINAL and is_final(order)
    if settled and order.number in group.live:
        group.live.remove(order.number)
    elif not settled and order.number not in group.live:
        group.live.append(order.number)
    if doubted and not is_doubtful(order):
        group.heard_ns = at_ns


def is_doubtful(order: Order) -> bool:
    """Tell whether nobody knows what became of an order's submit, or of a change of its terms."""
    unknown = (wish for wish in order.wishes if wish.stage is Stage.UNKNOWN)
    return any(wish.kind is not WishKind.CANCEL for wish in unknown)


def _count(group: Group, order: Order, grown: Decimal, at_ns: int) -> None:
    if order.role == "entry":
        if group.exited > group.entered:
            group.ahead_ns = at_ns
        group.entered = add(group.entered, grown)
        for slot in group.slots.values():
            slot.closed_ns = 0  # what trades is open
        if TARGET in group.slots:
            group.slots[TARGET].failures = 0
    elif order.role in _EXITS:
        group.exited = add(group.exited, grown)
        if order.role == EXIT:
            _slot(group, EXIT).failures = 0


def note_end(group: Group, order: Order, event: e.AnyEvent) -> None:
    """Count an order of a role that came to nothing, unasked.

    A stop or target that worked is no failure: it is placed again, ever more slowly. One that rode
    with a call that was refused counts for the role that made the call.
    """
    if order.role == "entry" or order.wanted_gone:
        return
    slot = _slot(group, order.role)
    slot.text = order.text or order.code
    if order.code == RefusalCode.MARKET_CLOSED:
        slot.closed_ns = event.at_ns
        return
    had_worked = order.status in CUT_SHORT and order.role in _GUARDS
    never_went = bool(order.rides) and order.code == "NOT_SENT"
    if not (had_worked or never_went):
        _count_failure(slot, event.at_ns)


def _count_failure(slot: Slot, at_ns: int) -> None:
    recent = at_ns - slot.failed_ns < FAILURES_APART_NS
    slot.failures = slot.failures + 1 if recent else 1
    slot.failed_ns = at_ns


def note_acceptance(group: Group, order: Order) -> None:
    """A stop or target that the broker took ends the row of failures before it."""
    if order.role in _GUARDS:
        slot = _slot(group, order.role)
        slot.failures = slot.closed_ns = 0


def note_trade(group: Group, before: Decimal, after: Decimal) -> None:
    """Follow how far a member's trade moved the position past flat, or back towards it."""
    if group.side is Side.BUY:
        before, after = neg(before), neg(after)
    over = sub(max(neg(after), ZERO), max(neg(before), ZERO))
    if over:
        group.excess = max(add(group.excess, over), ZERO)


ENDED: Final = frozenset({e.OrderRejected, e.OrderFailed, e.OrderCanceled, e.OrderExpired})
