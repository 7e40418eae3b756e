"""When a trading day begins and ends, and what was lost on it."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.days import VALUE_WAIT_MS, daily_loss, day_of, equity, profit
from holdfast.domain.inputs import ClockStep, Define, Resume, SetOpeningBalance
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import BreakerRules, DayRules, Limits, Policies
from holdfast.domain.reports import Refused
from holdfast.errors import OrderRefused
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


def test_setting_the_clock_neither_ends_a_day_nor_begins_one() -> None:
    """A day ahead and back again: its counts stand, and it ends when it was to (scenario 103)."""
    bench = desk(orders_per_day_max=1)
    bench.submit()
    bench.answer(Refused(text="no"))
    for offset_ms in (DAY_MS, 0, -DAY_MS, 0):
        bench.step(ClockStep(wall_offset_ns=offset_ms * 1_000_000))
        with pytest.raises(Exception, match="ORDERS_PER_DAY"):
            bench.submit()
    bench.advance(DAY_MS)
    bench.submit()
    assert [day for day, _ in days(bench)] == ["1970-01-01", "1970-01-02"]


def test_a_day_that_was_counted_is_not_begun_again() -> None:
    """Set back an hour before midnight, the next day begins at once and lasts an hour longer."""
    bench = desk(orders_per_day_max=5)
    assert refused(bench) == ""
    bench.step(ClockStep(wall_offset_ns=-3_600 * NS))
    bench.advance(DAY_MS - 1_000)
    assert refused(bench) == ""
    bench.advance(3_600_000)
    assert refused(bench) == ""
    assert [day for day, _ in days(bench)] == ["1970-01-01", "1970-01-02"]
    assert bench.desk.guard.day.until_ns == 2 * DAY_MS * 1_000_000 + 3_600 * NS


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


def restarted(bench: DeskDriver) -> None:
    """Start again from what was kept; no quote is."""
    bench.desk = type(bench.desk).load(bench.desk.dump(), bench.settings)
    bench.step(Resume(wall_offset_ns=0))


def refused(bench: DeskDriver, **terms: Any) -> str:
    """The code under which the desk refuses an order; empty where only the broker does."""
    try:
        order = bench.submit(**({"quantity": "1", "limit_price": "50"} | terms))
    except OrderRefused as error:
        return error.code
    bench.answer(Refused(text="no"), number=order.number)
    return ""


def test_a_restart_neither_trips_the_breaker_nor_blinds_it() -> None:
    """Without a quote nobody can tell the loss: entries wait, and the first quote tells it."""
    bench = desk(daily_loss_max=D(100))
    bought(bench)
    bench.quote(last="150")
    bench.advance(DAY_MS)
    assert days(bench)[1:] == [("1970-01-02", D(1000))]
    restarted(bench)
    assert daily_loss(bench.desk) is None
    assert not bench.desk.guard.breaker.reason
    assert refused(bench) == "NO_QUOTE"
    assert refused(bench, side="sell", reduce_only=True) == "", "an exit passes (P7)"
    bench.quote(last="146")
    assert daily_loss(bench.desk) == D(80)
    assert refused(bench) == ""
    bench.quote(last="144")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"


def test_a_loss_of_before_the_day_is_none_of_today() -> None:
    """What a position was worth before its first price of the day is not looked at."""
    bench = desk(daily_loss_max=D(100))
    bought(bench)
    bench.quote(last="95")
    restarted(bench)
    bench.advance(DAY_MS)
    assert days(bench)[1:] == [("1970-01-02", D(0))]
    assert bench.desk.guard.day.unvalued == ("X",)
    assert refused(bench) == "NO_QUOTE"
    bench.quote(last="90")
    assert (bench.desk.guard.day.equity, daily_loss(bench.desk)) == (D(-200), D(0))
    assert not bench.desk.guard.breaker.reason
    bench.quote(last="84")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"
    assert bench.refolded().guard.day == bench.desk.guard.day


def test_a_gain_of_before_the_day_hides_no_loss_of_today() -> None:
    """A position that was there before, worth 500 more than it cost, falls back to its cost."""
    bench = desk(daily_loss_max=D(100))
    bench.step(SetOpeningBalance(symbol="X", quantity="10", price="100"))
    assert refused(bench) == "NO_QUOTE"
    bench.quote(last="125")
    assert refused(bench) == ""
    bench.quote(last="100")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"


def test_a_position_that_is_told_of_during_the_day_is_valued_at_its_first_price() -> None:
    """Worth 500 more than it cost, then 500 less than that: the gain was none of today."""
    bench = desk(daily_loss_max=D(100))
    bought(bench)
    bench.quote(last="100")
    bench.step(Define(Instrument.of("Y")))
    bench.step(SetOpeningBalance(symbol="Y", quantity="10", price="100"))
    bench.quote(last="150", symbol="Y")
    assert (bench.desk.guard.day.equity, daily_loss(bench.desk)) == (D(500), D(0))
    bench.quote(last="100", symbol="Y")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"


def test_a_position_that_nobody_quotes_does_not_switch_the_limit_off() -> None:
    """Its price is waited for a minute; then it counts at cost, and people are told once a day."""
    bench = desk(daily_loss_max=D(100))
    bench.step(Define(Instrument.of("Y")))
    bench.step(SetOpeningBalance(symbol="Y", quantity="1", price="1"))
    bench.quote(last="100")
    assert refused(bench) == "NO_QUOTE"
    for day in (1, 2):
        bench.advance(VALUE_WAIT_MS)
        assert refused(bench) == ""
        alerts = [one for one in bench.events if isinstance(one, e.AlertRaised)]
        assert [one.code for one in alerts] == ["day_at_cost"] * day
        assert "Y" in alerts[-1].text
        bench.advance(DAY_MS - VALUE_WAIT_MS)
    bench.advance(VALUE_WAIT_MS)
    bought(bench)
    assert daily_loss(bench.desk) == 0
    bench.quote(last="94")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"


def test_a_lost_day_ends_with_the_day() -> None:
    """Whoever sets the clock; the next day begins with a closed breaker and what is left."""
    bench = desk(daily_loss_max=D(100))
    bought(bench)
    bench.quote(last="94")
    assert bench.desk.guard.breaker.reason == "DAILY_LOSS"
    for offset_ms in (DAY_MS, -DAY_MS, 0):
        bench.step(ClockStep(wall_offset_ns=offset_ms * 1_000_000))
        assert refused(bench) == "BREAKER_OPEN"
    bench.advance(DAY_MS)
    assert days(bench)[1:] == [("1970-01-02", D(-120))]
    assert not bench.desk.guard.breaker.reason
    assert [refused(bench), refused(bench)] == ["", ""], "no entry has to try it first"


def test_a_fee_in_the_base_asset_is_a_loss() -> None:
    """One of ten coins bought at 100 goes to the broker: 100 are lost, of equity and of capital."""
    limits = Limits(
        open_orders_max=None, price_collar_pct=None, buying_power=False, capital=D(1000)
    )
    coin = Instrument.of("X", lot="0.001", base="BTC")
    bench = DeskDriver(policies=Policies(limits=limits), instruments=[coin])
    bought(bench, fee="1", fee_currency="BTC")
    bench.quote(last="100")
    assert (profit(bench.desk), equity(bench.desk)) == (D(-100), D(-100))
    assert refused(bench, quantity="0.001") == "BUYING_POWER"


def test_before_any_day_began_nothing_was_lost() -> None:
    """A desk that never traded has no day and no loss."""
    assert daily_loss(desk(daily_loss_max=D(1)).desk) == 0
