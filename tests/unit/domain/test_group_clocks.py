"""What the clock of unprotected units waits for, what it does not, and who is told meanwhile."""

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import CloseGroup, Protect, Replace, Resolve
from holdfast.domain.order import Order
from holdfast.domain.policies import GroupRules
from holdfast.domain.reports import Outcome, RefusalCode, Refused
from holdfast.domain.values import Status
from holdfast.errors import OrderRefused
from holdfast.testing.brokered import BrokeredDesk, lost

CLOSED = Refused(text="stops only in regular hours", code=RefusalCode.MARKET_CLOSED)
NO = Refused(text="not this one")
BOUND_MS = GroupRules().unprotected_max_ms
HOUR_MS = 3_600_000
BOTH = {"stop": 3, "target": 3}
WAITING = pytest.mark.parametrize(("outcome", "is_blind"), [(lost()[0], True), (CLOSED, False)])


def leg(bench: BrokeredDesk, role: str) -> Order:
    """Return the oldest order of a role that may still trade."""
    return next(o for o in bench.desk.state.active.values() if o.role == role)


# What is on its way out.


def moved(is_native: bool) -> BrokeredDesk:
    """A desk with one of three filled, whose stop was moved; what became of the old one's cancel
    nobody ever hears.
    """
    bench = BrokeredDesk(Capabilities(native_replace=is_native))
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 1)
    bench.advance(1_000)
    bench.break_next("cancel", "stop", *lost(10_000))
    name = leg(bench, "stop").client_order_id
    bench.ask(Replace(client_order_id=name, stop_price="96"))
    bench.advance(1_000)
    return bench


def test_an_old_stop_that_will_not_go_keeps_no_new_one_from_growing() -> None:
    """The old stop's cancel stays unknown, and the entry fills two more: three are covered at
    once by stops at the new price, and stay so (P6).
    """
    bench = moved(is_native=False)
    bench.fill("entry", 2)
    bench.advance(1_000)
    assert bench.group().phase == "protected"
    for _ in range(10):
        bench.advance(60_000)
    at_new = [one for one in bench.broker.orders.values() if one.is_working and one.stop_price]
    assert sum(one.leaves for one in at_new if one.stop_price == 96) == 3
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


# Whatever the clock waits for, people are told and nothing else opens.


def uncovered(outcome: Outcome, *, is_blind: bool) -> BrokeredDesk:
    """A desk with a filled bracket whose stop comes to nothing that would end it."""
    bench = BrokeredDesk()
    bench.is_blind = is_blind
    bench.break_next("submit", "stop", *[outcome] * 1_000)
    bench.bracket()
    bench.fill("entry", 3)
    return bench


@WAITING
def test_people_are_told_once_the_bound_has_passed(outcome: Outcome, is_blind: bool) -> None:
    """Nobody knows whether the stop works, or the market is closed: nothing is flattened, and at
    the bound, not before, people are told of it (P6, P10).
    """
    bench = uncovered(outcome, is_blind=is_blind)
    bench.advance(BOUND_MS - 1_000)
    assert bench.alerts() == []
    bench.advance(2_500)
    assert bench.alerts() == ["UNPROTECTED"]
    bench.advance(BOUND_MS)
    assert (bench.group().phase, bench.sent("exit")) == ("protecting", [])


@WAITING
def test_nothing_opens_beside_units_that_were_bare_too_long(
    outcome: Outcome, is_blind: bool
) -> None:
    """From the bound on entries are refused with the group's number, until it is covered (P6)."""
    bench = uncovered(outcome, is_blind=is_blind)
    bench.advance(BOUND_MS - 1_000)
    bench.submit("buy", "1", limit_price="90")
    bench.advance(1_500)
    with pytest.raises(OrderRefused, match="once it is covered or flat") as refusal:
        bench.submit("buy", "1", limit_price="90")
    assert (refusal.value.code, "group=1" in str(refusal.value)) == ("UNPROTECTED", True)
    bench.is_blind = False
    bench.mend()
    bench.advance(10 * CLOSED_RETRY_MS)
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")
    bench.submit("buy", "1", limit_price="91")


def test_a_fill_proves_that_the_market_is_open() -> None:
    """Stops are refused because the market is closed while the entry fills again, beyond the
    bound: what trades is open, the position is flattened and its entry goes (P6).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[CLOSED] * 1_000)
    bench.bracket(quantity=10, entry_timeout_ms=0)
    bench.fill("entry", 1)
    bench.advance(10 * CLOSED_RETRY_MS)
    assert (bench.group().phase, bench.group().slot("stop").closed_ns > 0) == ("protecting", True)
    bench.fill("entry", 1)
    bench.advance(BOUND_MS)
    assert (bench.group().phase, bench.group().cause) == ("flattening", "too_long")
    assert bench.working() == {"exit": 2}


def test_a_market_that_was_closed_once_stops_no_later_clock() -> None:
    """An hour ago the stop was refused because the market was closed. Now every stop is refused,
    and somebody moves it each second: at the bound the position is sold (P6).
    """
    bench = BrokeredDesk(Capabilities(native_replace=False))
    bench.buy(3)
    bench.break_next("submit", "stop", CLOSED)
    bench.ask(Protect(symbol="X", role="stop", stop_price="90"))
    bench.advance(HOUR_MS)
    assert bench.group().phase == "protected"
    bench.break_next("submit", "stop", *[NO] * 1_000)
    bench.end("stop")
    for second in range(BOUND_MS // 1_000):
        assert bench.group().phase == "protecting"
        bench.ask(Protect(symbol="X", role="stop", stop_price=str(80 + second)))
        bench.advance(1_000)
    assert bench.group().phase == "flattening"


def test_a_start_gives_a_stop_that_was_just_tried_again_its_time() -> None:
    """The market opens, the first stop is refused, and the process is down for a minute: that is
    not counted, and the next stop works (P6).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", CLOSED, NO)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(CLOSED_RETRY_MS + 100)
    assert bench.group().slot("stop").resumed_ns
    bench.crash(down_ms=60_000)
    bench.advance(5_000)
    assert (bench.working(), bench.sent("exit")) == (BOTH, [])


# A person's word is final.


@pytest.mark.parametrize("hours", [0, 1])
def test_a_close_waits_for_no_figure_of_what_somebody_has_settled(hours: int) -> None:
    """The broker answers nothing, and the stop's and target's cancels are unknown; a person says
    that they are gone: what is held is sold, once, without asking for more (P4, P7).
    """
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.is_blind = True
    for role in ("stop", "target"):
        bench.break_next("cancel", role, *lost(10_000))
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.advance(60_000 + hours * HOUR_MS // 4)
    assert (bench.group().phase, bench.sent("exit")) == ("flattening", [])
    for role in ("stop", "target"):
        order = leg(bench, role)
        bench.broker.orders[order.broker_order_id].status = Status.CANCELED
        bench.ask(
            Resolve(client_order_id=order.client_order_id, verdict="canceled", by="a", reason="b")
        )
    bench.advance(2_000)
    assert bench.working() == {"exit": 3}
    bench.fill("exit", 3)
    assert bench.truth() == 0


def test_a_fill_after_a_closed_market_gives_the_stop_its_time() -> None:
    """Nobody knew that the market had opened: the bound runs from the fill that tells so (65)."""
    bench = BrokeredDesk()
    closed = Refused(text="closed", code=RefusalCode.MARKET_CLOSED)
    bench.break_next("submit", "stop", *[closed] * 20)
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 1)
    bench.advance(20 * 60_000)
    bench.mend()
    bench.fill("entry", 1)
    bench.advance(2_000)
    assert (bench.sent("exit"), bench.working()["stop"]) == ([], 2)
