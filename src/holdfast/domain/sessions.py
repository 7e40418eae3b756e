"""When an instrument trades, and how much trading time lies between two moments.

Wall times are UTC nanoseconds. A session is the same hours on some days of the week in one time
zone; an instrument without one trades round the clock.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from holdfast.errors import InputError

NS_PER_S: Final = 1_000_000_000
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
# Days that are looked at one by one; between moments further apart all is long overdue.
DAYS_MAX: Final = 400
WEEK_NS: Final = 7 * 86_400 * NS_PER_S


class Session(Struct, frozen=True, gc=False, kw_only=True):
    """Trading hours: from `opens` to `closes` (HH:MM) in `zone`, on `days` (0 is Monday).

    `closes` at or before `opens` means the next day: 18:00 to 17:00 is a futures session.
    """

    zone: str = "UTC"
    opens: str = "00:00"
    closes: str = "00:00"
    days: tuple[int, ...] = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        """Refuse hours and zones that do not exist."""
        zone_of(self.zone)
        time_of(self.opens)
        time_of(self.closes)
        if not self.days or any(day not in range(7) for day in self.days):
            raise InputError(f"days is {self.days}; give weekdays, 0 for Monday to 6 for Sunday")

    def is_open(self, wall_ns: int) -> bool:
        """Tell whether the session is open at a moment."""
        return any(begin <= wall_ns < end for begin, end in self._spans(wall_ns, wall_ns + 1))

    def next_open_ns(self, wall_ns: int) -> int:
        """Return when the session opens next, after a moment."""
        spans = self._spans(wall_ns, wall_ns + WEEK_NS)
        return min(begin for begin, _ in spans if begin > wall_ns)

    def open_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how much trading time lies between two moments, in nanoseconds."""
        spans = self._spans(since_ns, until_ns)
        return sum(max(0, min(end, until_ns) - max(begin, since_ns)) for begin, end in spans)

    def _spans(self, since_ns: int, until_ns: int) -> list[tuple[int, int]]:
        zone = zone_of(self.zone)
        first = datetime.fromtimestamp(since_ns // NS_PER_S, UTC).astimezone(zone).date()
        last = datetime.fromtimestamp(until_ns // NS_PER_S, UTC).astimezone(zone).date()
        count = min((last - first).days + 2, DAYS_MAX)
        return [_span(self, first + timedelta(days=n - 1)) for n in range(count + 1)]


@lru_cache(maxsize=4096)
def _span(session: Session, day: date) -> tuple[int, int]:
    if day.weekday() not in session.days:
        return (0, 0)
    opens, closes = time_of(session.opens), time_of(session.closes)
    end_day = day if closes > opens else day + timedelta(days=1)
    return at_ns(day, opens, session.zone), at_ns(end_day, closes, session.zone)


def at_ns(day: date, moment: time, zone: str) -> int:
    """Return a local date and time as UTC nanoseconds."""
    local = datetime.combine(day, moment, zone_of(zone))
    return int(local.timestamp()) * NS_PER_S


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InputError(f"zone is {name!r}; give a name such as America/New_York") from None


@lru_cache(maxsize=256)
def time_of(text: str) -> time:
    """Read HH:MM.

    Raises:
        InputError: it is not that.
    """
    if _CLOCK.fullmatch(text) is None:
        raise InputError(f"time is {text!r}; write it as HH:MM")
    return time.fromisoformat(text)
