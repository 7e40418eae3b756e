"""Two exits of which one trades: what one closes the other gives up."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.inputs import PlaceOco
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Refused
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    OrderRefused,
    UnknownSymbolError,
    UnsupportedOrderTypeError,
)
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
SEPARATE = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])


def oco(bench: BrokeredDesk, side: str = "sell", quantity: str = "3", **terms: Any) -> Decision:
    """Ask for a target at 110 and a stop at 95, or mirrored."""
    target, stop = ("110", "95") if side == "sell" else ("90", "105")
    wanted = {"limit_price": target, "stop_price": stop} | terms
    return bench.ask(PlaceOco(symbol="X", side=side, quantity=quantity, **wanted))


def guarded(kind: str = "plain", side: str = "sell") -> BrokeredDesk:
    """A desk that holds three with a pair around them."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.buy(3, side="buy" if side == "sell" else "sell")
    oco(bench, side)
    assert bench.working() == both(3)
    return bench


@EVERY_BROKER
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_pair_guards_from_the_start(kind: str, side: str) -> None:
    """Long or short: both exits work, reduce-only, on the closing side (scenario 62)."""
    bench = guarded(kind, side)
    assert bench.group().phase == "protected"
    assert bench.held("stop").side == bench.held("target").side == Side(side)
    orders = [bench.order(number) for number in bench.group().orders]
    assert all(order.terms.reduce_only for order in orders)
    assert bench.desk.next_deadline() is None


@EVERY_BROKER
@pytest.mark.parametrize(("first", "other"), [("target", "stop"), ("stop", "target")])
def test_a_whole_fill_ends_the_other(kind: str, first: str, other: str) -> None:
    """One closes all of it: the other is gone, and the group is over (scenario 67)."""
    bench = guarded(kind)
    bench.fill(first, 3)
    bench.advance(10_000)
    assert (bench.working(), bench.truth()) == ({}, 0)
    assert bench.group().phase == "closed"
    ended = [bench.order(n) for n in bench.group().orders if bench.order(n).role == other]
    assert {order.status for order in ended} <= {Status.CANCELED, Status.FAILED}


@EVERY_BROKER
@pytest.mark.parametrize(("first", "price"), [("target", 110), ("stop", 95)])
def test_a_partial_fill_shrinks_the_other(kind: str, first: str, price: int) -> None:
    """One closes a unit, then another: the other is for what is left each time (scenario 68)."""
    bench = guarded(kind)
    for left in (2, 1):
        bench.fill(first, 1, price)
        bench.advance(20_000)
        assert bench.working() == both(left)
        assert bench.truth() == left
    bench.fill(first, 1, price)
    bench.advance(20_000)
    assert (bench.working(), bench.truth()) == ({}, 0)


@SEPARATE
@pytest.mark.parametrize(("first", "other"), [("target", "stop"), ("stop", "target")])
def test_the_link_is_kept_while_the_other_s_cancel_fails(kind: str, first: str, other: str) -> None:
    """The cancel is refused, then lost, then refused: the group is not over before the broker
    confirms, and asks again until it does (scenario 67, the pair's cancel that fails).
    """
    bench = guarded(kind)
    busy = Refused(text="busy")
    bench.break_next("cancel", other, busy, *lost(), busy)
    bench.fill(first, 3)
    assert bench.working() == {other: 3}
    assert bench.group().phase == "closing"
    bench.advance(120_000)
    assert (bench.working(), bench.group().phase) == ({}, "closed")
    assert bench.calls.count(("cancel", other)) == 4
    assert bench.sent("undo") == []


@SEPARATE
def test_a_shrink_that_fails_is_tried_again(kind: str) -> None:
    """The stop cannot be made smaller at first: it is asked again, the position stays guarded
    (scenario 68).
    """
    bench = guarded(kind)
    busy = Refused(text="busy")
    bench.break_next("replace", "stop", busy)
    bench.break_next("cancel", "stop", busy)
    bench.fill("target", 1, 110)
    bench.advance(60_000)
    assert bench.working() == both(2)
    assert bench.sent("exit") == []


@SEPARATE
def test_both_trade_while_the_cancel_is_on_its_way(kind: str) -> None:
    """The stop trades before its cancel arrives: the excess is undone once (scenario 69)."""
    bench = guarded(kind)
    bench.break_next("cancel", "stop", *lost(3))
    bench.fill("target", 3, 110)
    bench.fill("stop", 3, 95)
    bench.advance(5_000)
    assert bench.sent("undo") == [(Side.BUY, 3)]
    bench.fill("undo", 3)
    bench.advance(30_000)
    assert (bench.truth(), bench.working(), bench.group().phase) == (0, {}, "closed")
    assert bench.sent("undo") == [(Side.BUY, 3)]


@EVERY_BROKER
@pytest.mark.parametrize("status", [Status.CANCELED, Status.EXPIRED])
@pytest.mark.parametrize("role", ["stop", "target"])
def test_an_exit_that_the_broker_ends_is_placed_again(kind: str, status: Status, role: str) -> None:
    """Cancelled or expired by the broker: both guard again, nothing is closed (P6)."""
    bench = guarded(kind)
    bench.end(role, status)
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert (bench.truth(), bench.sent("exit")) == (3, [])


def test_a_pair_whose_stop_is_refused_is_flattened() -> None:
    """What was to be guarded and cannot be is closed, as any other position (scenario 65)."""
    bench = BrokeredDesk()
    bench.buy(3)
    bench.break_next("submit", "stop", *[Refused(text="no")] * 9)
    oco(bench)
    bench.advance(10_000)
    assert bench.working() == {"exit": 3}
    bench.fill("exit", 3)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_pair_for_a_part_leaves_the_rest_alone() -> None:
    """Two of three are guarded: after the stop one is held and nothing else happens."""
    bench = BrokeredDesk()
    bench.buy(3)
    oco(bench, quantity="2")
    assert bench.working() == both(2)
    bench.fill("stop", 2, 95)
    bench.advance(30_000)
    assert (bench.truth(), bench.working(), bench.group().phase) == (1, {}, "closed")


def test_two_pairs_share_a_position() -> None:
    """One for two units and one for one: each has its own, and a third has nothing left."""
    bench = BrokeredDesk()
    bench.buy(3)
    oco(bench, quantity="2")
    oco(bench, quantity="1", limit_price="120")
    assert (bench.working(1), bench.working(2)) == (both(2), both(1))
    with pytest.raises(OrderRefused) as refusal:
        oco(bench, quantity="1")
    assert refusal.value.code == "REDUCE_ONLY_EXCEEDED"
    bench.fill("target", 1, 120, group=2)
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == (both(2), {})


# What is refused, before anything is recorded.


def untouched(bench: BrokeredDesk, ask: Callable[[], object], error: type[Exception]) -> str:
    """Return what is said when something is refused that leaves no group and calls nobody."""
    before = len(bench.calls), bench.kinds().count("group_opened")
    with pytest.raises(error) as refusal:
        ask()
    assert (len(bench.calls), bench.kinds().count("group_opened")) == before
    return str(refusal.value)


@pytest.mark.parametrize(
    ("side", "limit", "stop"),
    [("sell", "95", "95"), ("sell", "94", "95"), ("buy", "105", "105"), ("buy", "106", "105")],
)
def test_a_target_that_does_not_gain_is_refused(side: str, limit: str, stop: str) -> None:
    """The target must lie beyond the stop, on the tick (scenario 61)."""
    bench = BrokeredDesk()
    bench.buy(3, side="buy" if side == "sell" else "sell")
    text = untouched(
        bench, lambda: oco(bench, side, limit_price=limit, stop_price=stop), InputError
    )
    assert f"of a pair that {side}s" in text


def test_prices_are_aligned_before_they_are_compared() -> None:
    """They differ as given and meet on the tick: refused; else both go out on it (scenario 60)."""
    bench = BrokeredDesk(instruments=(Instrument.of("X", tick="0.25"),))
    bench.buy(3)
    untouched(bench, lambda: oco(bench, limit_price="95.1", stop_price="95.05"), InputError)
    oco(bench, limit_price="110.1", stop_price="94.9")
    assert (bench.held("target").limit_price, bench.held("stop").stop_price) == (110, 95)


@pytest.mark.parametrize(("held", "side"), [(0, "sell"), (2, "sell"), (3, "buy")])
def test_a_pair_never_opens(held: int, side: str) -> None:
    """For more than is held, or on the wrong side of it: refused with what could be closed."""
    bench = BrokeredDesk()
    if held:
        bench.buy(held)
    text = untouched(bench, lambda: oco(bench, side), OrderRefused)
    assert "closable=" in text


def test_a_broker_without_means_refuses_a_pair() -> None:
    """Neither pairs nor shared units: refused, with what can be done instead (scenario 107)."""
    bench = BrokeredDesk(Capabilities(exits_share_quantity=False))
    bench.buy(3)
    assert "place the stop alone" in untouched(bench, lambda: oco(bench), UnsupportedOrderTypeError)
    types = frozenset({OrderType.LIMIT, OrderType.MARKET})
    bench = BrokeredDesk(Capabilities(order_types=types))
    bench.buy(3)
    assert "no stop orders" in untouched(bench, lambda: oco(bench), UnsupportedOrderTypeError)


def test_an_unknown_symbol_or_a_bad_quantity_is_refused() -> None:
    """Nothing is half done for what cannot be done at all."""
    bench = BrokeredDesk()
    bench.buy(3)
    pair = PlaceOco(symbol="Y", side="sell", quantity="3", limit_price="110", stop_price="95")
    untouched(bench, lambda: bench.ask(pair), UnknownSymbolError)
    for quantity in ("0", "-1", "1.5", "many"):
        untouched(bench, partial(oco, bench, quantity=quantity), InputError)


# One key, one pair.


def test_a_repeated_pair_is_the_first_one() -> None:
    """The same key and request: the same group, also once it is over (scenario 35)."""
    bench = BrokeredDesk()
    bench.buy(3)
    first = oco(bench, idempotency_key="mine")
    calls = len(bench.calls)
    again = oco(bench, idempotency_key="mine")
    assert (first.group, first.repeat, again.group, again.repeat) == (1, False, 1, True)
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    late = oco(bench, idempotency_key="mine")
    assert (late.group, late.repeat, late.effects) == (1, True, [])
    assert bench.calls[calls:] == [("cancel", "stop")]


@pytest.mark.parametrize(
    "other", [{"quantity": "2"}, {"limit_price": "111"}, {"stop_price": "94"}, {"strategy": "b"}]
)
def test_the_same_key_for_another_pair_is_a_conflict(other: dict[str, str]) -> None:
    """Another size or other prices under a key that is taken: refused (scenario 35)."""
    bench = BrokeredDesk()
    bench.buy(3)
    oco(bench, idempotency_key="mine")
    wanted = {"idempotency_key": "mine"} | other
    untouched(bench, lambda: oco(bench, **wanted), IdempotencyConflict)
