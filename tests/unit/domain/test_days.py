"""When a trading day begins and ends, and what was lost on it."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.days import daily_loss, day_of, equity
from holdfast.domain.inputs import ClockStep
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import BreakerRules, DayRules, Limits, Policies
from holdfast.domain.reports import Refused
from holdfast.testing.builders import DeskDriver

NS = 1_000_000_000
DAY_MS = 86_400_000


def utc_ns(text: str) -> int:
    """A moment in UTC nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


@pytest.mark.parametrize(
    ("start", "zone", "moment", "day", "ends"),
    [
        ("00:00", "UTC", "2026-03-01T00:00", "2026-03-01", "2026-03-02T00:00"),
        ("00:00", "UTC", "2026-03-01T23:59", "2026-03-01", "2026-03-02T00:00"),
        ("17:00", "America/Chicago", "2026-01-05T22:59", "2026-01-04", "2026-01-05T23:00"),
        ("17:00", "America/Chicago", "2026-01-05T23:00", "2026-01-05", "2026-01-06T23:00"),
        ("17:00", "America/Chicago", "2026-07-06T22:30", "2026-07-06", "2026-07-07T22:00"),
        # The clocks go back at 06:00 UTC on 1 November 2026: 01:30 comes twice, the first counts.
        ("01:30", "America/New_York", "2026-11-01T05:29", "2026-10-31", "2026-11-01T05:30"),
        ("01:30", "America/New_York", "2026-11-01T06:15", "2026-11-01", "2026-11-02T06:30"),
        # They go forward at 07:00 UTC on 8 March 2026: 02:30 never comes.
        ("02:30", "America/New_York", "2026-03-08T12:00", "2026-03-08", "2026-03-09T06:30"),
    ],
)
def test_a_day_begins_at_a_local_time(
    start: str, zone: str, moment: str, day: str, ends: str
) -> None:
    """It is named by the date on which it began; it ends when the next begins, in any season."""
    found = day_of(DayRules(start=start, zone=zone), utc_ns(moment))
    assert found == (day, utc_ns(ends))


def desk(**limits: Any) -> DeskDriver:
    """A desk with these limits by the day; the breaker stays out of it."""
    chosen = Limits(
        open_orders_max=None, price_collar_pct=None, buying_power=False, self_cross=False, **limits
    )
    breaker = BreakerRules(failures_max=0, insufficient_funds=False)
    return DeskDriver(
        policies=Policies(limits=chosen, breaker=breaker),
        instruments=[Instrument.of("X", multiplier="2")],
    )


def days(bench: DeskDriver) -> list[tuple[str, D]]:
    """The days that began, and what they began with."""
    return [(one.day, one.equity) for one in bench.events if isinstance(one, e.DayBegan)]


def bought(bench: DeskDriver, price: str = "100", **fee: Any) -> None:
    """Hold 10 X, bought at a price."""
    number = bench.opened(limit_price=price).number
    bench.trade(f"e{number}", "10", price, number=number, **fee)


def test_a_day_is_turned_with_its_first_order_and_once() -> None:
    """The counts begin anew; a second order of the day turns nothing."""
    bench = desk(orders_per_day_max=5)
    for _ in range(2):
        bench.submit()
        bench.answer(Refused(text="no"), number=bench.desk.next_number - 1)
    assert days(bench) == [("1970-01-01", D(0))]
    bench.advance(DAY_MS)
    assert len(days(bench)) == 1, "nobody asked yet"
    bench.submit()
    assert days(bench)[1:] == [("1970-01-02", D(0))]
    assert bench.desk.guard.day.orders == 1
    assert bench.refolded().guard.day == bench.desk.guard.day


def test_where_nothing_goes_by_the_day_no_day_is_written() -> None:
    """A desk without daily limits has no use for the record."""
    bench = desk()
    bench.submit()
    assert days(bench) == []


def test_days_go_by_the_wall_clock() -> None:
    """A clock that is set past midnight ends the day; one that is set back begins none."""
    bench = desk(orders_per_day_max=1)
    bench.submit()
    bench.answer(Refused(text="no"))
    bench.step(ClockStep(wall_offset_ns=DAY_MS * 1_000_000))
    bench.submit()
    bench.answer(Refused(text="no"), number=2)
    assert [day for day, _ in days(bench)] == ["1970-01-01", "1970-01-02"]
    bench.step(ClockStep(wall_offset_ns=0))
    with pytest.raises(Exception, match="ORDERS_PER_DAY"):
        bench.submit()


def test_equity_is_what_was_made_less_fees_and_what_is_open_at_the_latest_quotes() -> None:
    """Sold 4 of 10 at 110, the rest at 105, 3 in fees: 80 + 60 - 3; without a quote 80 - 3."""
    bench = desk()
    bought(bench, fee="3", fee_currency="USD")
    bench.opened("sell", "4", limit_price="110")
    bench.trade("s1", "4", "110", number=2, fee="9", fee_currency="EUR")
    assert equity(bench.desk) == D(77)
    bench.quote("104", "106")
    assert equity(bench.desk) == D(137)
    bench.advance(6_000)
    assert equity(bench.desk) == D(137), "going quiet is no loss"


def test_loss_is_measured_from_how_the_day_began() -> None:
    """A position carried over midnight loses today what it loses today, not what it lost before."""
    bench = desk(daily_loss_max=D(1000))
    bought(bench)
    bench.quote(last="95")
    assert daily_loss(bench.desk) == D(100)
    bench.advance(DAY_MS)
    assert days(bench)[1:] == [("1970-01-02", D(-100))]
    bench.quote(last="88")
    assert daily_loss(bench.desk) == D(140)
    bench.quote(last="120")
    assert daily_loss(bench.desk) == 0


def test_after_a_start_a_day_begins_once_what_is_held_can_be_valued() -> None:
    """Without a quote a loss of yesterday would look like one of today."""
    bench = desk(daily_loss_max=D(1000))
    bought(bench)
    bench.quote(last="95")
    bench.desk = type(bench.desk).load(bench.desk.dump(), bench.desk.settings)
    bench.advance(DAY_MS)
    assert len(days(bench)) == 1
    bench.quote(last="90")
    assert days(bench)[1:] == [("1970-01-02", D(-200))]
    assert daily_loss(bench.desk) == 0


def test_before_any_day_began_nothing_was_lost() -> None:
    """A desk that never traded has no day and no loss."""
    assert daily_loss(desk(daily_loss_max=D(1)).desk) == 0
