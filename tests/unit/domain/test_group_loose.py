"""Protection beside exits of no group, and how much of a position it is for."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.inputs import CloseGroup, ClosePosition, Protect
from holdfast.domain.order import Order
from holdfast.domain.reports import Refused
from holdfast.errors import OrderRefused, UnsupportedOrderTypeError
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)


def holding(kind: str = "plain", quantity: object = 5) -> BrokeredDesk:
    """A desk that is long at 100, with nothing around its position."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.buy(quantity)
    return bench


def loose_stop(bench: BrokeredDesk, quantity: object = "3", **terms: Any) -> Order:
    """Place a stop of no group that only reduces."""
    usual = {"order_type": "stop", "stop_price": "95", "reduce_only": True}
    order = bench.submit("sell", str(quantity), **(usual | terms))
    bench.talk()
    return order


def loose_target(bench: BrokeredDesk, quantity: object = "3") -> Order:
    """Place a limit order of no group that only reduces."""
    order = bench.submit("sell", str(quantity), limit_price="110", reduce_only=True)
    bench.talk()
    return order


def add(bench: BrokeredDesk, role: Literal["stop", "target"] = "stop", **terms: Any) -> Decision:
    """Want a stop or a target for the position."""
    price = {"stop_price": "94"} if role == "stop" else {"limit_price": "111"}
    return bench.ask(Protect(symbol="X", role=role, **(price | terms)))


def stops(bench: BrokeredDesk) -> Decimal:
    """Return what all stops at the broker may sell together."""
    held = bench.broker.orders.values()
    return sum((one.leaves for one in held if one.is_working and one.stop_price), Decimal(0))


def fill_all(bench: BrokeredDesk, price: str) -> None:
    """Let everything that works at the broker trade."""
    for held in list(bench.broker.orders.values()):
        if held.is_working:
            bench.broker.fill(held.broker_order_id, held.leaves, Decimal(price))
    bench.talk()


# What somebody else guards.


@EVERY_BROKER
def test_a_stop_is_for_what_a_loose_one_does_not_guard(kind: str) -> None:
    """Three of five have a stop of no group: two get one, a drop triggers both and leaves the
    position flat, not short (scenario 76, design 6).
    """
    bench = holding(kind)
    loose_stop(bench)
    add(bench)
    bench.advance(5_000)
    assert (bench.working(), stops(bench)) == ({"stop": 2}, 5)
    assert bench.group().phase == "protected"
    fill_all(bench, "94")
    bench.advance(20_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")
    assert "EXCESS" not in bench.alerts()


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew", "brackets"])
def test_what_a_bracket_buys_beside_a_loose_stop_is_guarded(kind: str) -> None:
    """Three older units have a loose stop: the bracket's two get their own, from the first fill on
    (scenario 62, P6).
    """
    bench = holding(kind, 3)
    loose_stop(bench)
    bench.bracket(quantity=2)
    for filled in (1, 2):
        bench.fill("entry", 1)
        bench.advance(1_000)
        assert bench.working()["stop"] == bench.working()["target"] == filled
    assert (stops(bench), bench.group().phase) == (5, "protected")


def test_a_bracket_gives_up_what_a_loose_stop_guards_and_gets_it_back() -> None:
    """Two of five are sold: the loose stop guards all three that are left, the bracket none; once
    the loose one goes the bracket guards its two again, as nothing is written off (design 6).
    """
    bench = holding(quantity=3)
    loose = loose_stop(bench)
    bench.bracket(quantity=2)
    bench.fill("entry", 2)
    bench.trade_outside("sell", 2)
    bench.advance(5_000)
    assert (bench.truth(), stops(bench), bench.working()) == (3, 3, {})
    assert (bench.group().phase, bench.group().owed) == ("protected", 2)
    bench.cancel(loose.number)
    bench.talk()
    bench.advance(5_000)
    assert bench.working() == {"stop": 2, "target": 2}
    assert bench.group().written_off == 0


def test_protection_grows_before_a_loose_stop_is_gone() -> None:
    """Somebody cancels the loose stop and its broker is slow: what it guarded has a stop by then
    (P6).
    """
    bench = holding()
    loose = loose_stop(bench)
    add(bench)
    bench.break_next("cancel", "", *lost(3))
    bench.cancel(loose.number)
    bench.talk()
    assert bench.working() == {"stop": 5}
    bench.advance(60_000)
    assert (stops(bench), bench.truth()) == (5, 5)


def test_a_loose_stop_counts_once_it_works() -> None:
    """Nobody knows what became of it: all five are guarded; it is found, and the group gives up as
    much (P4, P6).
    """
    bench = holding()
    bench.is_blind = True
    bench.break_next("submit", "", *lost(), arrives=True)
    bench.is_deaf = True
    loose_stop(bench)
    add(bench)
    assert bench.working() == {"stop": 5}
    bench.is_blind = bench.is_deaf = False
    bench.advance(60_000)
    assert (bench.working(), stops(bench)) == ({"stop": 2}, 5)


def test_a_stop_and_a_loose_target_are_for_the_same_units() -> None:
    """A target protects nothing, and a stop sells where a target does not: both may be for all."""
    bench = holding()
    loose_target(bench)
    add(bench)
    bench.advance(5_000)
    assert bench.working() == {"stop": 5}


def test_a_target_is_for_what_a_loose_one_does_not_sell() -> None:
    """Three of five are offered by a target of no group: two get one, and a stop beside it does not
    count.
    """
    bench = holding()
    loose_target(bench)
    add(bench, "target")
    bench.advance(5_000)
    assert bench.working() == {"target": 2}
    fill_all(bench, "111")
    bench.advance(20_000)
    assert (bench.truth(), bench.sent("undo")) == (0, [])


def test_where_exits_share_nothing_a_loose_target_leaves_no_room() -> None:
    """The broker holds three units for a target of no group: the stop is for two and stands, and
    nothing is flattened for the others (scenario 107).
    """
    bench = BrokeredDesk(Capabilities(exits_share_quantity=False))
    bench.buy(5)
    loose_target(bench)
    add(bench)
    bench.advance(60_000)
    assert (bench.working(), bench.group().phase) == ({"stop": 2}, "protected")


@pytest.mark.parametrize("loose", [loose_stop, loose_target])
def test_a_close_needs_no_leave_of_loose_exits(loose: Callable[[BrokeredDesk], Order]) -> None:
    """All is closed though an exit of no group is for a part of it: that gives way (P7)."""
    bench = holding()
    loose(bench)
    bench.ask(ClosePosition(symbol="X", by="ann"))
    for quantity in (2, 3):
        bench.advance(5_000)
        bench.fill("exit", quantity)
    bench.advance(20_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_bracket_that_is_closed_closes_what_a_loose_stop_guards() -> None:
    """All that is left has a loose stop, and somebody wants the bracket closed: it is (P7)."""
    bench = holding(quantity=3)
    loose_stop(bench)
    bench.bracket(quantity=2)
    bench.fill("entry", 2)
    bench.trade_outside("sell", 2)
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.advance(5_000)
    bench.fill("exit", 2)
    bench.advance(20_000)
    assert (bench.truth(), bench.group().phase) == (1, "closed")


def test_a_limit_exit_takes_no_loose_stop_s_place() -> None:
    """Where exits share nothing, a limit order in the place of a stop of no group is refused."""
    bench = BrokeredDesk(Capabilities(exits_share_quantity=False))
    bench.buy(5)
    loose_stop(bench)
    add(bench)
    before = len(bench.events)
    with pytest.raises(UnsupportedOrderTypeError, match="0 of 3 X have none"):
        bench.ask(ClosePosition(symbol="X", quantity="3", limit_price="110", by="ann"))
    assert (len(bench.events), stops(bench)) == (before, 5)


# How much.


def test_a_target_that_joins_a_stop_is_for_as_much() -> None:
    """Two of five are guarded: a target without a quantity is for those two, and moves for them."""
    bench = holding()
    add(bench, quantity="2")
    add(bench, "target")
    bench.advance(5_000)
    assert bench.working() == {"stop": 2, "target": 2}
    add(bench, "target", limit_price="112")
    bench.advance(5_000)
    assert bench.working() == {"stop": 2, "target": 2}


@pytest.mark.parametrize("words", ["all", None])
def test_all_is_what_it_is_for_at_first(words: str | None) -> None:
    """Without a quantity, or for all, it follows the position."""
    bench = holding()
    add(bench, quantity=words)
    bench.trade_outside("buy", 1)
    bench.advance(5_000)
    assert bench.working() == {"stop": 6}


@pytest.mark.parametrize(("loose", "asked", "left"), [(0, "6", 5), (3, "3", 2), (0, "50", 5)])
def test_more_than_there_is_is_refused_also_when_asked_again(
    loose: int, asked: str, left: int
) -> None:
    """What others guard is taken off, the group's own stop is not; nothing moves (scenario 76)."""
    bench = holding()
    if loose:
        loose_stop(bench, loose)
    add(bench, quantity="2")
    before = len(bench.events), len(bench.calls)
    with pytest.raises(OrderRefused, match=f"closable={left}"):
        add(bench, quantity=asked, stop_price="93")
    assert len(bench.calls) == before[1]
    assert bench.kinds()[before[0] :] == ["refusal_recorded"]
    add(bench, quantity=str(left))
    bench.advance(5_000)
    assert bench.working() == {"stop": left}


def test_a_quantity_is_of_what_is_held_now() -> None:
    """Of three that it was for its target has sold one, and one it lost to others: asked for two of
    the three that are left, two are guarded.
    """
    bench = holding()
    add(bench, quantity="3")
    add(bench, "target")
    bench.fill("target", 1, 111)
    bench.trade_outside("sell", 3)
    bench.advance(5_000)
    assert (bench.truth(), bench.working()) == (1, {"stop": 1, "target": 1})
    bench.trade_outside("buy", 2)
    add(bench, quantity="2")
    bench.advance(5_000)
    assert bench.working() == {"stop": 2, "target": 2}


def test_a_loose_stop_that_is_refused_guards_nothing() -> None:
    """The position's stop is for all of it, whatever was asked for beside it."""
    bench = holding()
    bench.break_next("submit", "", Refused(text="no"))
    loose_stop(bench)
    add(bench)
    assert bench.working() == {"stop": 5}
