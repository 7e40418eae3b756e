"""Whether entries may go out at all: the kill switch and the circuit breaker, before any limit.

Rule: only entries come here. A cancel, and what only closes, never asks.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.domain.breaker import check_breaker
from holdfast.domain.guard import NS_PER_S
from holdfast.domain.refusals import refused

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def check_open(desk: "Desk", *, is_new: bool = True) -> None:
    """Let an entry pass, or refuse it; with `is_new=False` it is an open order that would grow.

    Raises:
        OrderRefused: UNCLAIMED_DESK, KILL_SWITCH or BREAKER_OPEN.
    """
    if desk.settings.policies.profile == "exits_only":
        raise refused("UNCLAIMED_DESK", "exits pass; place entries on a desk of your own")
    kill = desk.guard.kill
    if kill is not None:
        since_s = (kill.at_ns + desk.wall_ns - desk.now_ns) // NS_PER_S
        raise refused(
            "KILL_SWITCH",
            "exits pass; release the kill switch to let entries out",
            by=kill.by,
            since=datetime.fromtimestamp(since_s, UTC).isoformat(),
            reason=repr(kill.reason),
        )
    check_breaker(desk, is_new=is_new)
