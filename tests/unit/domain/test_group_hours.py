"""Groups at a market that closes: protection stands over night, and what waits acts as it opens."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import ClockStep, CloseGroup, ClosePosition, Flatten, Protect
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Outcome, RefusalCode, Refused, Report, ReportKind
from holdfast.domain.sessions import Session
from holdfast.domain.values import Status
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

DAY = Session(opens="09:30", closes="16:00")
CLOSED = Refused(text="the market is closed", code=RefusalCode.MARKET_CLOSED)
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
OPENS = MONDAY + timedelta(days=1, hours=9, minutes=30)
BOTH = {"stop": 3, "target": 3}
EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
ASKED = pytest.mark.parametrize(
    "asked", [ClosePosition(symbol="X"), CloseGroup(group=1, by="ann", reason="bored")]
)


class DayMarket(BrokeredDesk):
    """A desk whose broker takes nothing but from 09:30 to 16:00."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        rules = Policies(limits=Limits.none(), sessions={"day": DAY})
        instruments = (Instrument.of("X", session="day"),)
        super().__init__(capabilities, policies=rules, instruments=instruments)
        self.tries: list[tuple[datetime, str]] = []
        call = self.broker.call

        def during_hours(effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
            if isinstance(effect, SubmitOrder):
                self.tries.append((self.clock(), effect.role))
                if not DAY.is_open(self.desk.wall_ns):
                    return CLOSED
            return call(effect)

        self.broker.call = during_hours  # type: ignore[method-assign] # a broker with hours

    def clock(self) -> datetime:
        """The wall time, in whole milliseconds."""
        return datetime.fromtimestamp(self.desk.wall_ns // 1_000_000 / 1_000, UTC)

    def set_clock(self, moment: datetime) -> None:
        """Set the wall clock."""
        wall_ns = int(moment.timestamp()) * 1_000_000_000
        self.ask(ClockStep(wall_offset_ns=wall_ns - self.now_ns), after_ms=0)

    def wait_until(self, moment: datetime) -> None:
        """Let time pass up to a moment of wall time."""
        while self.clock() < moment:
            left_ms = (moment - self.clock()) // timedelta(milliseconds=1)
            self.advance(min(left_ms, 600_000))

    def protected(self, hour: int, minute: int, second: int = 0) -> "DayMarket":
        """Let a bracket of three be filled at a time of Monday."""
        self.set_clock(MONDAY + timedelta(hours=hour, minutes=minute, seconds=second))
        self.bracket(quantity="3")
        self.fill("entry", "3")
        return self

    def since_the_open(self) -> list[tuple[timedelta, str]]:
        """What was tried on Tuesday, by how long after the open."""
        return [(at - OPENS, role) for at, role in self.tries if at >= OPENS]


@EVERY_BROKER
@pytest.mark.parametrize("second", [0, 31])
def test_stops_that_end_with_the_day_are_back_as_the_market_opens(kind: str, second: int) -> None:
    """They expire just after the close, whenever that is told: nothing is asked over night, they
    are placed in the moment of the open, and nothing is flattened (P6).
    """
    market = DayMarket(BROKER_KINDS[kind]).protected(15, 59)
    market.wait_until(MONDAY + timedelta(hours=16, seconds=second))
    for role in ("stop", "target"):
        if role in market.working():
            market.end(role, Status.EXPIRED)
    market.wait_until(OPENS - timedelta(seconds=1))
    before = len(market.tries)
    market.advance(1_000)
    assert market.working() == BOTH
    assert {at for at, _ in market.tries[before:]} == {OPENS}
    market.advance(60_000)
    assert (market.group().phase, market.sent("exit")) == ("protected", [])


def test_a_stop_that_is_refused_after_the_open_is_flattened_within_the_bound() -> None:
    """The broker takes it no more: the clock runs from the first try after the open (P6)."""
    market = DayMarket().protected(15, 59)
    market.wait_until(MONDAY + timedelta(hours=16, seconds=17))
    market.end("stop", Status.EXPIRED)
    market.wait_until(OPENS - timedelta(seconds=1))
    market.break_next("submit", "stop", *[Refused(text="no stops today")] * 100)
    market.advance(11_000)
    assert (market.group().phase, market.working()) == ("flattening", {"exit": 3})


@EVERY_BROKER
@ASKED
def test_what_is_to_be_closed_at_night_is_protected_until_the_open(
    kind: str, asked: ClosePosition | CloseGroup
) -> None:
    """Somebody closes after hours: stop and target stand all night, and one exit goes out as the
    market opens (P6, P7).
    """
    market = DayMarket(BROKER_KINDS[kind]).protected(15, 0)
    market.set_clock(MONDAY + timedelta(hours=20))
    market.ask(asked)
    market.wait_until(OPENS - timedelta(seconds=1))
    assert market.working(1) == BOTH
    market.advance(2_000)
    assert (market.sent("exit"), market.since_the_open()) == (
        [("sell", 3)],
        [(timedelta(), "exit")],
    )


@EVERY_BROKER
def test_a_part_that_is_to_be_closed_at_night_bares_no_other(kind: str) -> None:
    """One of three is to be closed after hours: what protects all three stands until then (P6)."""
    market = DayMarket(BROKER_KINDS[kind]).protected(15, 0)
    market.set_clock(MONDAY + timedelta(hours=20))
    market.ask(ClosePosition(symbol="X", quantity="1"))
    market.wait_until(OPENS - timedelta(seconds=1))
    assert market.working(1) == BOTH
    market.advance(5_000)
    assert market.working(1) == {"stop": 2, "target": 2}
    assert market.sent("exit") == [("sell", 1)]


def test_an_entry_goes_at_once_though_its_group_is_closed_at_night() -> None:
    """What is left of the entry is cancelled; what it filled stays protected till the open (P6)."""
    market = DayMarket()
    market.set_clock(MONDAY + timedelta(hours=15))
    market.bracket(quantity="3")
    market.fill("entry", "2")
    market.set_clock(MONDAY + timedelta(hours=20))
    market.ask(CloseGroup(group=1, by="ann", reason="bored"))
    assert market.working() == {"stop": 2, "target": 2}


def test_a_symbol_that_is_flattened_at_night_is_sold_as_the_market_opens() -> None:
    """The exit is refused while the market is closed, and goes out in the moment of the open."""
    market = DayMarket().protected(15, 0)
    market.set_clock(MONDAY + timedelta(hours=20))
    market.ask(Flatten(symbol="X", by="ann", reason="holiday"))
    market.wait_until(OPENS + timedelta(seconds=1))
    assert market.since_the_open() == [(timedelta(), "flat")]


def test_a_wall_clock_that_is_set_forward_finds_the_open_within_a_minute() -> None:
    """The machine's clock was ten hours behind: nobody waits for the open by the old one."""
    market = DayMarket().protected(15, 59)
    market.wait_until(MONDAY + timedelta(hours=16, seconds=5))
    market.end("stop", Status.EXPIRED)
    market.wait_until(MONDAY + timedelta(hours=23))
    market.set_clock(OPENS + timedelta(hours=1))
    market.advance(60_000)
    assert market.working() == BOTH


def test_a_stop_refused_moments_before_the_open_is_tried_at_the_open() -> None:
    """Asked for half a minute before the open it is refused, and placed as it opens (P6)."""
    market = DayMarket()
    market.set_clock(MONDAY + timedelta(hours=15))
    market.buy(3)
    market.set_clock(OPENS - timedelta(seconds=30))
    market.ask(Protect(symbol="X", role="stop", stop_price="95"))
    market.wait_until(OPENS + timedelta(seconds=1))
    assert (market.working(), market.since_the_open()) == ({"stop": 3}, [(timedelta(), "stop")])


def halted(bench: BrokeredDesk, role: str, kind: ReportKind) -> None:
    """Let the venue suspend the order of a role, or work it again."""
    held = bench.held(role)
    bench.broker.stamp += 1
    held.stamp = bench.broker.stamp
    told = Report(
        kind=kind, wire_id=held.wire_id, broker_order_id=held.broker_order_id, stamp_ns=held.stamp
    )
    bench.broker.words.append(told)
    bench.talk()


def test_a_halt_of_the_market_sells_nothing() -> None:
    """The venue suspends stop and target: people are told at the bound, nothing is flattened, and
    it is protected again once they work (P6, P10).
    """
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    for role in BOTH:
        halted(bench, role, ReportKind.SUSPENDED)
    assert bench.group().phase == "protecting"
    bench.advance(600_000)
    assert (bench.group().phase, set(bench.alerts())) == ("protecting", {"UNPROTECTED"})
    assert (bench.sent("exit"), bench.working()) == ([], BOTH)
    for role in BOTH:
        halted(bench, role, ReportKind.NEW)
    assert bench.group().phase == "protected"
