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

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.aftermath import follow_trades
from holdfast.domain.alerts import raise_once
from holdfast.domain.group import (
    STOP,
    TARGET,
    Group,
    Phase,
    is_final,
)
from holdfast.domain.group_closing import (
    LOOK_AGAIN_MS,
    flatten,
    note_taken_over,
    wind_up,
)
from holdfast.domain.group_pace import failures_now
from holdfast.domain.group_phases import UNPROTECTED, deadline_ns, due_of, go_on
from holdfast.domain.hours import is_open, look_ns
from holdfast.domain.legs import (
    cancel,
    covered,
    earliest,
    is_pairing,
    level,
    members,
    placeable,
)
from holdfast.domain.pairs import any_linked, level_pairs, settle_riders
from holdfast.domain.shares import shortages
from holdfast.domain.trailing import trail
from holdfast.domain.wanting import heed_refusals
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

TARGET_REFUSED: Final = "TARGET_REFUSED"


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
        again_ns = _look(desk, group)
        if again_ns is None:
            desk.memo.group_ns.pop(group.group, None)
        else:
            desk.memo.group_ns[group.group] = max(again_ns, desk.now_ns + NS_PER_MS)


def _write_off(desk: "Desk", symbol: str) -> None:
    """Take from groups what others closed, the newest first."""
    for number, quantity in shortages(desk, symbol).items():
        desk.out(e.GroupReduced(at_ns=desk.now_ns, group=number, quantity=quantity))


def _look(desk: "Desk", group: Group) -> int | None:
    """Let a group go on; return when to look again."""
    if group.symbol in desk.guard.flattening:
        return settle_riders(desk, group)
    go_on(desk, group)
    if group.is_open:
        return _act(desk, group, due_of(desk, group))
    for notes in (desk.memo.odd_ns, desk.memo.trailed_ns):
        notes.pop(group.group, None)
    return None


def _act(desk: "Desk", group: Group, due: Decimal) -> int | None:
    """Ask for what the phase demands; return when to look again."""
    _read_figures(desk, group)
    looks = [settle_riders(desk, group)]
    if group.phase is Phase.ENTERING:
        looks += [_end_entry(desk, group), _drop_needless(desk, group)]
    elif group.phase in {Phase.PROTECTING, Phase.PROTECTED}:
        looks += [_end_entry(desk, group), _protect(desk, group, due)]
        if group.phase is Phase.PROTECTING:
            looks.append(deadline_ns(desk, group) or _look_again_ns(desk, group))
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
