"""Groups at work: one idempotent look at a symbol's groups brings each nearer to what it owes.

Rule 1: level-triggered. `control` compares what is owed with what covers it; whatever happened, in
whatever order and however often, leads to the same next step.
Rule 2: a group changes its phase first, along its table, until nothing more follows; then it asks
for what its phase demands. Every change is an event with its reason.
Rule 3: an exit at the market goes out only once everything else of its group is over and its
figure known, for what is left and no more; never two at a time.
Rule 4: while a symbol is being flattened as a whole, its groups stand still, but for learning what
became of exits that ride with other orders.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.aftermath import follow_trades
from holdfast.domain.alerts import raise_once
from holdfast.domain.group import (
    PHASES,
    STOP,
    TARGET,
    UNDO,
    Cause,
    Group,
    Phase,
    is_final,
)
from holdfast.domain.group_closing import (
    LOOK_AGAIN_MS,
    flatten,
    note_taken_over,
    undoable,
    wind_up,
)
from holdfast.domain.group_pace import does_not_last, failures_now
from holdfast.domain.hours import age_ns, is_open, look_ns
from holdfast.domain.legs import (
    cancel,
    covered,
    earliest,
    is_halted,
    is_pairing,
    is_unclear,
    level,
    members,
    placeable,
)
from holdfast.domain.pairs import any_linked, level_pairs, settle_riders
from holdfast.domain.persons import OURS
from holdfast.domain.shares import in_lots, shares, shortages, stakes, wants_anything
from holdfast.domain.trailing import trail
from holdfast.domain.values import ZERO
from holdfast.domain.wanting import heed_refusals
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

UNPROTECTED: Final = "UNPROTECTED"
TARGET_REFUSED: Final = "TARGET_REFUSED"
EXCESS: Final = "EXCESS"
# No group goes through more phases than this in one look.
PHASES_PER_LOOK_MAX: Final = 8


def settle(desk: "Desk") -> None:
    """Look at every symbol whose groups something happened to, or that are due."""
    news = desk.news()
    follow_trades(desk, news)
    if desk.state.groups.by_symbol:
        heed_refusals(desk, news)
    book, due = desk.state.groups, desk.memo.group_ns
    if not book.stirred and not due:
        return
    for number in [number for number, at_ns in due.items() if at_ns <= desk.now_ns]:
        del due[number]
        group = book.get(number)
        if group is not None:
            book.stir(group.symbol)
    stirred = list(book.stirred)
    book.stirred.clear()
    for symbol in sorted(stirred):
        control(desk, symbol)


def due_ns(desk: "Desk") -> int | None:
    """Return when a group next wants a look, or None."""
    due = desk.memo.group_ns
    return min(due.values()) if due else None


def control(desk: "Desk", symbol: str) -> None:
    """Bring each open group of a symbol nearer to what it owes."""
    if symbol not in desk.guard.flattening:
        _write_off(desk, symbol)
        note_taken_over(desk, symbol)
    for group in desk.state.groups.of(symbol):
        look_ns = _look(desk, group)
        if look_ns is None:
            desk.memo.group_ns.pop(group.group, None)
        else:
            desk.memo.group_ns[group.group] = max(look_ns, desk.now_ns + NS_PER_MS)


def _write_off(desk: "Desk", symbol: str) -> None:
    """Take from groups what others closed, the newest first."""
    for number, quantity in shortages(desk, symbol).items():
        desk.out(e.GroupReduced(at_ns=desk.now_ns, group=number, quantity=quantity))


def _look(desk: "Desk", group: Group) -> int | None:
    """Let a group go on; return when to look again."""
    if group.symbol in desk.guard.flattening:
        return settle_riders(desk, group)
    _go_on(desk, group)
    if group.is_open:
        return _act(desk, group, _due(desk, group))
    for notes in (desk.memo.odd_ns, desk.memo.trailed_ns):
        notes.pop(group.group, None)
    return None


def _due(desk: "Desk", group: Group) -> Decimal:
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


# Phases.


def _go_on(desk: "Desk", group: Group) -> None:
    for _ in range(PHASES_PER_LOOK_MAX):
        found = _cause(desk, group, stakes(desk, group.symbol).get(group.group, ZERO))
        if found is None:
            return
        cause, reason = found
        change_phase(desk, group, cause, reason)
        if group.is_failing:
            text = f"{group.symbol}: group {group.group} is flattened, {reason}"
            raise_once(desk, UNPROTECTED, text, group.symbol)
        elif group.phase is Phase.CLOSING and in_lots(desk, group.symbol, group.owed or ZERO):
            _tell_of_rest(desk, group, cause)
        elif group.phase is Phase.EXCESS:
            raise_once(desk, EXCESS, f"{group.symbol}: group {group.group}, {reason}", group.symbol)
    raise AssertionError(f"group {group.group} does not come to rest in {group.phase}")


def _tell_of_rest(desk: "Desk", group: Group, cause: Cause) -> None:
    """Tell people of what a group leaves bare; who called its exits off knows what it held then."""
    advice = "look at what others traded, and protect it"
    if not wants_anything(group):
        if cause is not Cause.ENDED:
            return
        advice = "its exits were called off before that filled, and nothing guards it"
    text = f"{group.symbol}: group {group.group} ends though {group.owed} of it is left, as far as "
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


def _exited(group: Group) -> tuple[Cause, str]:
    if group.enters and not group.entered and group.entry in group.live:
        return Cause.UNFILLED, "what the entry had filled was undone"
    if not group.wanted:
        return Cause.EXITED, "its exits were called off"
    return Cause.EXITED, "nothing is left to protect"


def _protecting(desk: "Desk", group: Group, stake: Decimal) -> tuple[Cause, str] | None:
    if not stake:
        return _exited(group)
    due, covers = _due(desk, group), covered(desk, group)
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
    end_ns = _deadline_ns(desk, group)
    if end_ns is not None and desk.now_ns >= end_ns:
        return Cause.TOO_LONG, f"{covers} of {due} was covered in time"
    return None


def _deadline_ns(desk: "Desk", group: Group) -> int | None:
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
        return _exited(group)
    due, covers = _due(desk, group), covered(desk, group)
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


# What each phase asks for.


def _act(desk: "Desk", group: Group, due: Decimal) -> int | None:
    """Ask for what the phase demands; return when to look again."""
    _read_figures(desk, group)
    looks = [settle_riders(desk, group)]
    if group.phase is Phase.ENTERING:
        looks += [_end_entry(desk, group), _drop_needless(desk, group)]
    elif group.phase in {Phase.PROTECTING, Phase.PROTECTED}:
        looks += [_end_entry(desk, group), _protect(desk, group, due)]
        if group.phase is Phase.PROTECTING:
            looks.append(_deadline_ns(desk, group) or _look_again_ns(desk, group))
            looks.append(_warn_of_bare(desk, group, due))
    elif group.phase is Phase.FLATTENING:
        looks.append(flatten(desk, group, due))
    else:
        looks.append(wind_up(desk, group))
    return earliest(*looks)


def _look_again_ns(desk: "Desk", group: Group) -> int:
    """Return when to look at what no clock runs for: soon, or as its market opens."""
    if not is_open(desk, group.symbol) or (group.guard is not None and group.guard.is_shut):
        return look_ns(desk, group.symbol)
    return desk.now_ns + LOOK_AGAIN_MS * NS_PER_MS


def _warn_of_bare(desk: "Desk", group: Group, due: Decimal) -> int | None:
    """Tell people of what is not covered for long, whatever its flattening waits for; return when
    that will be.
    """
    most_ns = desk.settings.policies.groups.unprotected_max_ms * NS_PER_MS
    if not group.is_bare(desk.now_ns, most_ns):
        return group.naked_ns + most_ns
    text = (
        f"group {group.group} has {covered(desk, group)} of {due} {group.symbol} covered, and "
        "the market is closed or halted, or the broker does not answer; it goes on, look there"
    )
    raise_once(desk, UNPROTECTED, text, group.symbol)
    return None


def _read_figures(desk: "Desk", group: Group) -> None:
    """Ask for the final figure of what was cut short; a trade may be told after its end."""
    for number in list(group.live):
        order = desk.state.order(number)
        if order is None or not order.is_terminal or is_final(order):
            continue
        if all(_is_lost_cancel(wish) for wish in order.wishes) and order.alive is None:
            desk.look_up(order, "its final figure, for its group")


def _is_lost_cancel(wish: Wish) -> bool:
    return wish.kind is WishKind.CANCEL and wish.stage is Stage.UNKNOWN


def _end_entry(desk: "Desk", group: Group) -> int | None:
    entry = desk.state.order(group.entry) if group.entry in group.live else None
    if entry is None or not group.entry_end_ns or not entry.is_exposed:
        return None
    if desk.now_ns < group.entry_end_ns:
        return group.entry_end_ns
    return cancel(desk, [entry], "the entry took too long")


def _protect(desk: "Desk", group: Group, due: Decimal) -> int | None:
    attempts_max = desk.settings.policies.groups.attempts_max
    moves_ns = trail(desk, group)
    if is_pairing(desk, group) or any_linked(members(desk, group, STOP, TARGET)):
        looks = [moves_ns, level_pairs(desk, group, due, attempts_max)]
    else:
        looks = [moves_ns, _drop_unwanted(desk, group)]
        looks += [level(desk, group, slot, due, attempts_max) for slot in placeable(desk, group)]
    _tell_of_lost_target(desk, group, attempts_max)
    return earliest(*looks)


def _tell_of_lost_target(desk: "Desk", group: Group, attempts_max: int) -> None:
    """Tell people that a position has its stop and no target: it failed, or has no room there."""
    target = group.slot(TARGET)
    if target.exit is None or target is group.guard or group.phase is not Phase.PROTECTED:
        return
    may_rest = is_pairing(desk, group) or target in placeable(desk, group)
    is_lost = failures_now(desk, group, target) >= attempts_max
    if is_lost or not (may_rest or members(desk, group, TARGET)):
        why = target.text or "the broker lets one exit rest"
        text = f"group {group.group} has its stop and no target: {why}"
        raise_once(desk, TARGET_REFUSED, text, group.symbol)


def _drop_needless(desk: "Desk", group: Group) -> int | None:
    """Cancel exits whose entry was undone; those that the broker holds for it wait with it.

    Where others closed what the entry filled, it goes as well: the broker sizes its exits by it.
    """
    live = members(desk, group, STOP, TARGET)
    entry = desk.state.order(group.entry)
    tied = any(one.rides == group.entry for one in live)
    if tied and entry is not None and group.entered > group.exited:
        return cancel(desk, [entry], "others closed what it filled")
    return cancel(desk, [one for one in live if one.rides != group.entry], "nothing is held")


def _drop_unwanted(desk: "Desk", group: Group) -> int | None:
    """Cancel the orders of roles of which nothing is wanted any more."""
    roles = {slot.role for slot in group.wanted}
    live = members(desk, group, STOP, TARGET)
    return cancel(desk, [o for o in live if o.role not in roles], "no longer wanted")
