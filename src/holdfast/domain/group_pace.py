"""When a role of a group may be tried again.

Rule: what the broker never took is tried again after a wait that doubles, what it took and turned
into something else ever more slowly; what it refuses because the market is closed waits for that.
"""

from typing import TYPE_CHECKING, Final

from holdfast.domain.flattening import CLOSED_RETRY_MS
from holdfast.domain.group import Group, Slot
from holdfast.domain.requoting import age_ns, is_open
from holdfast.domain.work import NS_PER_MS, backoff_ns

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Requests for the same thing that may follow one another before they are slowed down; a broker
# that turns each of them into something else would be asked without end.
REPEATS_FREE: Final = 3
REPEAT_WAIT_MS_MAX: Final = 5_000
# So many of them say that it will not be had.
REPEATS_MAX: Final = 8


def next_try_ns(desk: "Desk", group: Group, slot: Slot) -> int:
    """Return when a role may next be tried: at once, unless that came to nothing lately."""
    name = f"{group.group}.{slot.role}"
    again_ns, closed_ns = 0, slot.closed_ns
    if slot.repeats >= REPEATS_FREE:
        wait_ns = backoff_ns(desk, name, slot.repeats - REPEATS_FREE)
        again_ns = slot.tried_ns + min(wait_ns, REPEAT_WAIT_MS_MAX * NS_PER_MS)
    if closed_ns and closed_ns >= slot.failed_ns:
        retry_ns = CLOSED_RETRY_MS * NS_PER_MS
        return retry_ns + (closed_ns if is_open(desk, group.symbol) else desk.now_ns)
    if slot.failures:
        return max(again_ns, slot.failed_ns + backoff_ns(desk, name, slot.failures - 1))
    return again_ns


def failures_now(desk: "Desk", group: Group, slot: Slot) -> int:
    """Return a role's failures in a row; those before the market was last closed are forgiven."""
    since_ns = desk.now_ns - slot.failed_ns
    return slot.failures if age_ns(desk, group.symbol, slot.failed_ns) >= since_ns else 0


def may_try(desk: "Desk", group: Group, slot: Slot, attempts_max: int) -> int | None:
    """Return when a role may be tried, now at the earliest; None where it may not any more."""
    if attempts_max and failures_now(desk, group, slot) >= attempts_max:
        return None
    return max(next_try_ns(desk, group, slot), desk.now_ns)
