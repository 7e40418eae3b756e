"""Which phase a group goes to next, and why: what is owed against what covers it.

Rule 1: a group moves along its table alone, and only for what is so now.
Rule 2: the clock of P6 runs while something is bare, the market is open and somebody knows what
works; it begins anew where nothing could be done before.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.alerts import raise_once
from holdfast.domain.group import (
    PHASES,
    UNDO,
    Cause,
    Group,
    Phase,
)
from holdfast.domain.group_closing import undoable
from holdfast.domain.group_pace import does_not_last, failures_now
from holdfast.domain.hours import age_ns, is_open
from holdfast.domain.legs import covered, is_halted, is_unclear, members
from holdfast.domain.persons import OURS
from holdfast.domain.shares import in_lots, left_of, shares, stakes, wants_anything
from holdfast.domain.values import ZERO
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

UNPROTECTED: Final = "UNPROTECTED"
EXCESS: Final = "EXCESS"
# No group goes through more phases than this in one look.
PHASES_PER_LOOK_MAX: Final = 8


def due_of(desk: "Desk", group: Group) -> Decimal:
    """Return what a group is to look after now."""
    return shares(desk, group.symbol).get(group.group, ZERO)


def change_phase(desk: "Desk", group: Group, cause: Cause, reason: str, by: str = OURS) -> None:
    """Let a group go on along its table."""
    desk.out(
        e.GroupPhaseChanged(
            at_ns=desk.now_ns,
            group=group.group,
            phase=PHASES[group.phase][cause],
            cause=cause,
            reason=reason[:200],
            by=by,
        )
    )


def go_on(desk: "Desk", group: Group) -> None:
    """Let a group change its phase until nothing more follows; tell people what they must see."""
    for _ in range(PHASES_PER_LOOK_MAX):
        found = _cause(desk, group, stakes(desk, group.symbol).get(group.group, ZERO))
        if found is None:
            return
        cause, reason = found
        change_phase(desk, group, cause, reason)
        if group.is_failing:
            text = f"{group.symbol}: group {group.group} is flattened, {reason}"
            raise_once(desk, UNPROTECTED, text, group.symbol)
        elif group.phase is Phase.CLOSING:
            _tell_of_rest(desk, group, cause)
        elif group.phase is Phase.EXCESS:
            raise_once(desk, EXCESS, f"{group.symbol}: group {group.group}, {reason}", group.symbol)
    raise AssertionError(f"group {group.group} does not come to rest in {group.phase}")


def _tell_of_rest(desk: "Desk", group: Group, cause: Cause) -> None:
    """Tell people of what a group leaves bare; who called its exits off knows what it held then."""
    left = left_of(desk, group) if group.owed is None else in_lots(desk, group.symbol, group.owed)
    if not left:
        return
    advice = "look at what others traded, and protect it"
    if not wants_anything(group):
        if cause is not Cause.ENDED:
            return
        advice = "its exits were called off before that filled, and nothing guards it"
    text = f"{group.symbol}: group {group.group} ends though {left} of it is left, as far as "
    raise_once(desk, UNPROTECTED, f"{text}its own trades tell; {advice}", group.symbol)


def _cause(desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    excess = undoable(desk, group)
    if excess and Cause.OVER in PHASES[group.phase]:
        return Cause.OVER, f"{excess} more was closed than was held"
    judge = _JUDGES[group.phase]
    return judge(desk, group, stake)


def _entering(desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    if stake:
        return Cause.FILLED, f"{stake} filled"
    if group.entry in group.live:
        return None
    entry = desk.order(group.entry)
    return Cause.ENDED, f"the entry is {entry.status if entry is not None else 'gone'}"


def _exited(desk: "Desk", group: Group) -> tuple[Cause, str]:
    if group.enters and group.entry in group.live:
        if not group.entered:
            return Cause.UNFILLED, "what the entry had filled was undone"
        if left_of(desk, group):
            return Cause.UNFILLED, "what the entry filled is too little to place an exit for"
    if not group.wanted:
        return Cause.EXITED, "its exits were called off"
    return Cause.EXITED, "nothing is left to protect"


def _protecting(desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    if not stake:
        return _exited(desk, group)
    due, covers = due_of(desk, group), covered(desk, group)
    if covers >= due:
        return Cause.COVERED, "all that it holds is covered"
    guard = group.guard
    if guard is None or not is_open(desk, group.symbol):
        return None
    attempts_max = desk.settings.policies.groups.attempts_max
    waits = any(order.wishes for order in members(desk, group, guard.role))
    failures = failures_now(desk, group, guard)
    if failures >= attempts_max and not waits:
        return Cause.REFUSED, f"its {guard.role} failed {failures} times: {guard.text}"
    if does_not_last(desk, guard, due) and not waits:
        return Cause.REFUSED, f"its {guard.role} does not last: {guard.text}"
    end_ns = deadline_ns(desk, group)
    if end_ns is not None and desk.now_ns >= end_ns:
        return Cause.TOO_LONG, f"{covers} of {due} was covered in time"
    return None


def deadline_ns(desk: "Desk", group: Group) -> int | None:
    """Return until when what is owed must be covered; None while nobody can tell what works, and
    while nothing can be done: the market is closed, or halted what would cover it.
    """
    guard = group.guard
    if guard is None or not is_open(desk, group.symbol):
        return None
    guards = members(desk, group, guard.role)
    if any(is_unclear(desk, order) for order in guards) or is_halted(guards):
        return None
    since_ns = max(group.since_ns, group.heard_ns, group.proved_ns)
    most_ns = desk.settings.policies.groups.unprotected_max_ms * NS_PER_MS
    trades = group.proved_ns > 0 and guard.closed_ns <= group.proved_ns + most_ns
    if guard.closed_ns and not trades:
        if guard.is_shut:
            return None
        since_ns = max(since_ns, guard.resumed_ns)
    return desk.now_ns + most_ns - age_ns(desk, group.symbol, since_ns)


def _protected(desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    if not stake:
        return _exited(desk, group)
    due, covers = due_of(desk, group), covered(desk, group)
    if covers < due:
        return Cause.UNCOVERED, f"{covers} of {due} is covered"
    return None


def _flattening(_desk: "Desk", _group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    return None if stake else (Cause.EXITED, "nothing is left to close")


def _excess(desk: "Desk", group: Group, _stake: Decimal) -> tuple[Cause, str] | None:
    if undoable(desk, group) or members(desk, group, UNDO):
        return None
    return Cause.CORRECTED, "nothing is left to undo"


def _closing(_desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    if stake:
        return _back(group, stake)
    return None if group.live else (Cause.SETTLED, "all of its orders ended")


def _closed(_desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    return _back(group, stake) if stake else None


def _back(group: Group, stake: Decimal) -> tuple[Cause, str]:
    """What comes back is looked after; where somebody asked to close it, it is closed."""
    if group.is_asked:
        return Cause.ASKED, f"{stake} is there again, and was to be closed"
    return Cause.FILLED, f"{stake} has to be looked after again"


_JUDGES: Final[dict[Phase, Callable[["Desk", Group, Decimal], tuple[Cause, str] | None]]] = {
    Phase.ENTERING: _entering,
    Phase.PROTECTING: _protecting,
    Phase.PROTECTED: _protected,
    Phase.FLATTENING: _flattening,
    Phase.EXCESS: _excess,
    Phase.CLOSING: _closing,
    Phase.CLOSED: _closed,
}
