"""The time in which what somebody closes has no stop: it counts for the group that closes it."""

from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.events import GroupTookOver
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import CloseGroup, ClosePosition
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.work import NS_PER_MS
from holdfast.engine.group_views import GroupView, view_group
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, lost

BOTH = {"stop": 3, "target": 3}


def protected(can: Capabilities | None = None) -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk(can)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(1_000)
    assert bench.working() == BOTH
    return bench


def close(bench: BrokeredDesk, **terms: Any) -> None:
    """Let somebody close the position, or some of it."""
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out", **terms))


def seen(bench: BrokeredDesk, group: int) -> GroupView:
    """Return what people see of a group."""
    return view_group(bench.desk, bench.group(group), bench.now_ns)


@pytest.mark.parametrize("kind", BROKER_KINDS)
def test_what_is_closed_is_unprotected_until_its_exit_has_filled(kind: str) -> None:
    """Seven seconds without a stop are seven seconds of the close, while it lasts and after; the
    bracket says what covers it no more (P6).
    """
    bench = protected(BROKER_KINDS[kind])
    before = bench.now_ns
    close(bench)
    bench.advance(7_000)
    assert seen(bench, 2).unprotected_ms >= 7_000
    assert seen(bench, 1).reason == "0 of 3 is covered, group 2 is closing the rest"
    own = bench.group(1).unprotected_ns
    bench.fill("exit", 3, group=2)
    bench.advance(60_000)
    spent_ms = (bench.now_ns - before) // NS_PER_MS - 60_000
    view = seen(bench, 2)
    assert 7_000 <= view.unprotected_ms == view.longest_unprotected_ms <= spent_ms
    assert bench.group(1).unprotected_ns == own
    assert bench.refolded().dump() == bench.desk.dump()


def test_the_time_counts_from_when_the_stop_is_called_off() -> None:
    """The cancel of the stop is lost and sent again: the exit waits for it, the clock does not."""
    bench = protected()
    bench.break_next("cancel", "stop", *lost())
    close(bench)
    assert bench.group(2).naked_ns
    assert not bench.sent("exit")
    bench.advance(2_000)
    assert bench.sent("exit")
    assert seen(bench, 2).unprotected_ms >= 500


def test_what_stands_again_while_the_close_waits_is_not_its_time() -> None:
    """The exit is refused for a minute: the stop is placed again and the clock of the close stands
    still; it goes on with the next try (P6).
    """
    bench = protected()
    bench.break_next("submit", "exit", Refused(text="shut", code=RefusalCode.MARKET_CLOSED))
    close(bench)
    bench.advance(CLOSED_RETRY_MS // 2)
    assert bench.working(1) == BOTH
    assert (bench.group(2).naked_ns, bench.group(2).phase) == (0, "flattening")
    assert "is closing" not in seen(bench, 1).reason
    first = bench.group(2).unprotected_ns
    assert first < 1_000 * NS_PER_MS
    bench.advance(CLOSED_RETRY_MS)
    assert bench.working(2) == {"exit": 3}
    assert seen(bench, 2).unprotected_ms * NS_PER_MS > first
    told = [bool(one.quantity) for one in bench.events if isinstance(one, GroupTookOver)]
    assert told == [True, False, True]


def test_a_close_that_is_called_off_gives_the_time_back() -> None:
    """Somebody withdraws it: the stop stands again, and the clock of the close has ended."""
    bench = protected()
    close(bench)
    bench.advance(3_000)
    bench.ask(CloseGroup(group=2, by="ann", reason="no"))
    bench.advance(60_000)
    assert (bench.working(1), bench.group(2).phase) == (BOTH, "closed")
    assert 3_000 <= seen(bench, 2).unprotected_ms < 10_000


@pytest.mark.parametrize("terms", [{"limit_price": "110"}, {"quantity": "2"}])
def test_what_takes_no_stop_away_counts_nothing(terms: dict[str, str]) -> None:
    """A close that rests beside the stop, or closes what no group guards, bares nothing."""
    bench = protected()
    if "quantity" in terms:
        bench.buy(2)
    close(bench, **terms)
    bench.advance(5_000)
    assert bench.working(1) == BOTH
    assert bench.group(2).phase == "flattening"
    assert not [one for one in bench.events if isinstance(one, GroupTookOver)]
    assert seen(bench, 2).unprotected_ms == 0
    assert "is closing" not in seen(bench, 1).reason


def test_a_part_that_is_closed_counts_while_the_rest_is_covered() -> None:
    """Two of three are closed: one is covered, and the bracket says so."""
    bench = protected()
    close(bench, quantity="2")
    bench.advance(4_000)
    assert bench.working(1) == {"stop": 1, "target": 1}
    assert seen(bench, 1).reason == "1 of 3 is covered, group 2 is closing the rest"
    assert seen(bench, 2).unprotected_ms >= 4_000
