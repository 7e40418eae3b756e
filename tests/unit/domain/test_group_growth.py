"""Protection that is resized again and again: a change of what is due is no repeat of a request."""

from decimal import Decimal

import pytest

from holdfast.domain.inputs import ClosePosition, Protect
from holdfast.domain.reports import Refused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

NO = Refused(text="not now")
EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
# Where exits hold the units, nothing is sold by hand beside them.
SHARING = [kind for kind, can in BROKER_KINDS.items() if can.exits_share_quantity]


def protected(kind: str, quantity: str) -> BrokeredDesk:
    """A desk that holds so much, protected as a position."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.buy(quantity)
    bench.ask(Protect(symbol="X", role="stop", stop_price="95"))
    return bench


@EVERY_BROKER
@pytest.mark.parametrize("apart_ms", [200, 1_000, 6_000])
def test_a_position_that_grows_unit_by_unit_is_covered_all_the_time(
    kind: str, apart_ms: int
) -> None:
    """An order of forty fills one by one beside a protected unit: the stop grows with each fill,
    and nothing is flattened (P6).
    """
    bench = protected(kind, "1")
    entry = bench.submit("buy", "40")
    bench.talk()
    entry_id = bench.order(entry.number).broker_order_id
    for held in range(2, 32):
        bench.broker.fill(entry_id, Decimal(1), Decimal(100))
        bench.talk()
        assert bench.working() == {"stop": held}
        bench.advance(apart_ms)
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


@pytest.mark.parametrize("kind", SHARING)
def test_a_position_that_shrinks_unit_by_unit_is_covered_all_the_time(kind: str) -> None:
    """Twelve units are sold by hand, one a second: the stop shrinks with each, and one that ends an
    hour later is placed again (P6).
    """
    bench = protected(kind, "20")
    for left in range(19, 7, -1):
        bench.trade_outside("sell", 1)
        assert bench.working() == {"stop": left}
        bench.advance(1_000)
    bench.advance(3_600_000)
    bench.end("stop")
    bench.advance(10_000)
    assert (bench.group().phase, bench.working()) == ("protected", {"stop": 8})


@EVERY_BROKER
def test_a_person_may_change_the_quantity_as_often_as_they_like(kind: str) -> None:
    """Fourteen changes of what a stop is for, two seconds apart, are fourteen stops (P6)."""
    bench = protected(kind, "20")
    for quantity in range(5, 19):
        bench.ask(Protect(symbol="X", role="stop", stop_price="95", quantity=str(quantity)))
        assert bench.working() == {"stop": quantity}
        bench.advance(2_000)
    assert bench.group().phase == "protected"


@EVERY_BROKER
def test_a_close_that_the_broker_refuses_leaves_the_rest_alone(kind: str) -> None:
    """One of three is to be closed and never may be: the other two stay protected, and so is the
    one between the tries (P6, P7).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 3)
    bench.break_next("submit", "exit", *[NO] * 1_000)
    bench.ask(ClosePosition(symbol="X", quantity="1"))
    for _ in range(600):
        bench.advance(100)
        assert bench.working(1) == {"stop": 3, "target": 3}
    assert bench.group(1).phase == "protected"
    assert bench.group(2).phase == "flattening"


def replaced(times: int, apart_ms: int) -> BrokeredDesk:
    """A bracket of ten with three filled, whose stop the venue has ended so often."""
    bench = BrokeredDesk()
    bench.bracket(quantity="10", entry_timeout_ms=0)
    bench.fill("entry", 3)
    for _ in range(times):
        bench.end("stop")
        bench.advance(apart_ms)
        assert bench.working()["stop"] == 3
    return bench


def test_a_fill_does_not_wait_for_the_pace_of_what_was_asked_before() -> None:
    """The stop for three was ended so often that the next one waits; one for four does not (P6)."""
    bench = replaced(3, 100)
    bench.end("stop")
    assert "stop" not in bench.working()
    bench.fill("entry", 1)
    assert bench.working()["stop"] == 4


def test_a_fill_is_not_judged_by_what_did_not_last_before() -> None:
    """The stop for three was placed as often as it may be, and works: one more unit fills, and is
    covered instead of sold (P6).
    """
    bench = replaced(8, 6_000)
    bench.fill("entry", 1)
    assert (bench.group().phase, bench.working()["stop"]) == ("protected", 4)
