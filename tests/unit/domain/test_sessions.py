"""Trading hours: when a market is open, and how much trading time lies between two moments."""

from datetime import UTC, datetime

import pytest

from holdfast.domain.sessions import NS_PER_S, Session
from holdfast.errors import InputError

HOUR_NS = 3_600 * NS_PER_S
STOCKS = Session(zone="America/New_York", opens="09:30", closes="16:00")
FUTURES = Session(zone="America/Chicago", opens="17:00", closes="16:00", days=(6, 0, 1, 2, 3))


def at(text: str) -> int:
    """A moment in UTC as nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2025-06-18 13:29:59", False),
        ("2025-06-18 13:30:00", True),
        ("2025-06-18 19:59:59", True),
        ("2025-06-18 20:00:00", False),
        ("2025-06-21 15:00:00", False),
        ("2025-12-18 13:30:00", False),
        ("2025-12-18 14:30:00", True),
    ],
)
def test_a_session_is_open_from_its_first_to_before_its_last_moment(
    moment: str, is_open: bool
) -> None:
    """Local hours on weekdays, in summer and in winter."""
    assert STOCKS.is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2025-06-15 21:59:59", False),
        ("2025-06-15 22:00:00", True),
        ("2025-06-16 03:00:00", True),
        ("2025-06-16 21:00:00", False),
        ("2025-06-16 22:00:00", True),
        ("2025-06-20 20:59:59", True),
        ("2025-06-20 22:30:00", False),
        ("2025-06-21 12:00:00", False),
    ],
)
def test_a_session_may_last_over_midnight(moment: str, is_open: bool) -> None:
    """Sunday evening to Friday afternoon, with an hour's pause each day."""
    assert FUTURES.is_open(at(moment)) is is_open


def test_trading_time_leaves_out_nights_and_weekends() -> None:
    """From Friday's last hour to Monday's first are two hours."""
    friday, monday = at("2025-06-20 19:00:00"), at("2025-06-23 14:30:00")
    assert STOCKS.open_ns(friday, monday) == 2 * HOUR_NS
    assert STOCKS.open_ns(friday, friday + HOUR_NS // 2) == HOUR_NS // 2
    assert STOCKS.open_ns(at("2025-06-21 00:00:00"), at("2025-06-22 23:00:00")) == 0


def test_a_day_that_loses_an_hour_has_an_hour_less() -> None:
    """Round the clock on the day on which the clocks go forward is 23 hours."""
    berlin = Session(zone="Europe/Berlin", days=(6,))
    since, until = at("2025-03-29 00:00:00"), at("2025-03-31 12:00:00")
    assert berlin.open_ns(since, until) == 23 * HOUR_NS


def test_moments_years_apart_are_long_overdue_and_cheap() -> None:
    """The days between are looked at up to a bound; no age limit is as long."""
    assert STOCKS.open_ns(at("2001-01-01 00:00:00"), at("2025-01-01 00:00:00")) > 1_000 * HOUR_NS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zone": "Mars/Base"}, "give a name such as"),
        ({"zone": "../etc/passwd"}, "give a name such as"),
        ({"opens": "9:30"}, "write it as HH:MM"),
        ({"opens": "09:30:15"}, "write it as HH:MM"),
        ({"closes": "24:00"}, "write it as HH:MM"),
        ({"closes": "16:00+01:00"}, "write it as HH:MM"),
        ({"days": ()}, "give weekdays"),
        ({"days": (0, 7)}, "give weekdays"),
    ],
)
def test_hours_that_do_not_exist_are_refused(fields: dict[str, object], message: str) -> None:
    """A zone, a time or a weekday that there is none of is named, with what to write."""
    with pytest.raises(InputError, match=message):
        Session(**fields)  # type: ignore[arg-type]  # wrong on purpose
