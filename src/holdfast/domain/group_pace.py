"""When a role of a group may be tried again.

Rule: what the broker never took is tried again after a wait that doubles, what it took and turned
into something else ever more slowly; what it refuses because the market is closed waits for that.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain.group import Group, Slot
from holdfast.domain.hours import retry_ns, was_closed
from holdfast.domain.work import NS_PER_MS, backoff_ns

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Requests for the same thing that may follow one another before they are slowed down; a broker
# that turns each of them into something else would be asked without end.
REPEATS_FREE: Final = 3
REPEAT_WAIT_MS_MAX: Final = 5_000
# So many of them say that it will not be had.
REPEATS_MAX: Final = 8


def next_try_ns(desk: "Desk", group: Group, slot: Slot, due: Decimal | None = None) -> int:
    """Return when a role may next be tried: at once, unless that came to nothing lately.

    `due` is what it is to come to, None for as much as the last time.
    """
    name = f"{group.group}.{slot.role}"
    repeats = slot.repeats_at(slot.mark if due is None else due, desk.now_ns) or 0
    again_ns = 0
    if repeats >= REPEATS_FREE:
        wait_ns = backoff_ns(desk, name, repeats - REPEATS_FREE)
        again_ns = slot.tried_ns + min(wait_ns, REPEAT_WAIT_MS_MAX * NS_PER_MS)
    if slot.closed_ns and slot.closed_ns >= slot.failed_ns:
        return max(again_ns, retry_ns(desk, group.symbol, slot.closed_ns))
    if slot.failures:
        return max(again_ns, slot.failed_ns + backoff_ns(desk, name, slot.failures - 1))
    return again_ns


def does_not_last(desk: "Desk", slot: Slot, due: Decimal) -> bool:
    """Tell whether a role was asked for the same so often that it will not be had."""
    return (slot.repeats_at(due, desk.now_ns) or 0) >= REPEATS_MAX


def failures_now(desk: "Desk", group: Group, slot: Slot) -> int:
    """Return a role's failures in a row; those before the market was last closed are forgiven."""
    if not slot.failures or was_closed(desk, group.symbol, slot.failed_ns):
        return 0
    return slot.failures


def may_try(desk: "Desk", group: Group, slot: Slot, due: Decimal, attempts_max: int) -> int | None:
    """Return when a role may be tried for what is due, now at the earliest; None for never."""
    if attempts_max and failures_now(desk, group, slot) >= attempts_max:
        return None
    return max(next_try_ns(desk, group, slot, due), desk.now_ns)
