"""The only reader of the system's clocks and of its entropy.

Rule 1: nothing else in the package calls `time`, `datetime.now` or a random source.
Rule 2: durations and deadlines use the boot-time clock, which no one can set; the wall clock is
for display, for GTD, and to place desk time after the last journaled moment at start.
"""

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Two readings, both in integer nanoseconds."""

    def wall_ns(self) -> int:
        """UTC nanoseconds since 1970; may be set forward or back by anyone."""
        ...

    def boot_ns(self) -> int:
        """Nanoseconds since an arbitrary start; counts on during suspend and never falls."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall_ns(self) -> int:
        """UTC nanoseconds since 1970."""
        return time.time_ns()

    def boot_ns(self) -> int:
        """Nanoseconds since boot, suspend included where the system can tell."""
        return time.clock_gettime_ns(_BOOTTIME)


def new_epoch() -> str:
    """Return 48 random bits as 12 hex digits: what tells one journal's wire ids from another's."""
    return secrets.token_hex(6)


def iso(at_ns: int) -> str:
    """Show UTC nanoseconds as ISO-8601 with nine decimals and a Z."""
    seconds, nanos = divmod(at_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
