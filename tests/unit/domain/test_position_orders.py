"""Orders around a position: protecting it, closing it, cancelling what surrounds it."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.inputs import (
    CancelPositionOrders,
    CloseGroup,
    ClosePosition,
    PlaceBracket,
    Protect,
    SeenElsewhere,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Refused
from holdfast.domain.requests import Amount
from holdfast.domain.values import OrderType, Side
from holdfast.errors import (
    AmountError,
    IdempotencyConflict,
    InputError,
    OrderRefused,
    OrderStatusError,
    UnknownSymbolError,
    UnsupportedOrderTypeError,
)
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
SEPARATE = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
# Brokers on which an exit that rests leaves no room for another one.
HOLDING = pytest.mark.parametrize("kind", ["pairs", "pairs_no_replace"])
LONG_AND_SHORT = pytest.mark.parametrize(("side", "exit_side"), [("buy", "sell"), ("sell", "buy")])


def holding(kind: str = "plain", quantity: object = 3, side: str = "buy") -> BrokeredDesk:
    """A desk with a position at 100 and nothing around it."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.buy(quantity, side=side)
    return bench


def add_stop(bench: BrokeredDesk, price: Amount = "95", **terms: Any) -> Decision:
    """Want a stop for the position."""
    return bench.ask(Protect(symbol="X", role="stop", stop_price=price, **terms))


def add_target(bench: BrokeredDesk, price: Amount = "110", **terms: Any) -> Decision:
    """Want a target for the position."""
    return bench.ask(Protect(symbol="X", role="target", limit_price=price, **terms))


def close(bench: BrokeredDesk, quantity: Amount | None = None, **terms: Any) -> Decision:
    """Close the position or a part of it."""
    return bench.ask(ClosePosition(symbol="X", quantity=quantity, by="ann", **terms))


def untouched(bench: BrokeredDesk, ask: Callable[[], object], error: type[Exception]) -> str:
    """Return what is said when something is refused that changes no group and calls nobody."""
    before, groups = len(bench.calls), bench.kinds().count("group_opened")
    changed = bench.kinds().count("group_exit_changed")
    with pytest.raises(error) as refusal:
        ask()
    assert (len(bench.calls), bench.kinds().count("group_opened")) == (before, groups)
    assert bench.kinds().count("group_exit_changed") == changed
    return str(refusal.value)


# Protecting.


@EVERY_BROKER
@LONG_AND_SHORT
def test_a_stop_for_a_position(kind: str, side: str, exit_side: str) -> None:
    """It is for all that is held, on the closing side, reduce-only."""
    bench = holding(kind, side=side)
    decision = add_stop(bench, "95" if side == "buy" else "105")
    assert (decision.group, bench.working()) == (1, {"stop": 3})
    assert bench.held("stop").side == exit_side
    assert bench.group().phase == "protected"


@EVERY_BROKER
def test_a_target_joins_the_stop_of_the_same_position(kind: str) -> None:
    """Asked for one after the other they guard the same units, in one group."""
    bench = holding(kind)
    assert add_stop(bench).group == add_target(bench).group == 1
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert bench.sent("exit") == []
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    assert (bench.working(), bench.truth()) == ({}, 0)


@EVERY_BROKER
def test_asked_again_the_stop_moves(kind: str) -> None:
    """Another price is another wish for the same group: one stop, at the new price."""
    bench = holding(kind)
    add_stop(bench, "95")
    assert add_stop(bench, "96").group == 1
    bench.advance(30_000)
    assert bench.working() == {"stop": 3}
    assert bench.held("stop").stop_price == 96
    assert bench.sent("exit") == []


def test_the_old_stop_stays_until_the_new_one_works() -> None:
    """Where a stop cannot be replaced, what takes its place works first (P6)."""
    bench = holding("no_replace")
    add_stop(bench, "95")
    bench.is_blind = True
    bench.break_next("submit", "stop", *lost())
    add_stop(bench, "96")
    bench.advance(5_000)
    assert bench.held("stop").stop_price == 95
    assert bench.working() == {"stop": 3}
    bench.is_blind = False
    bench.advance(60_000)
    assert bench.held("stop").stop_price == 96
    assert bench.working() == {"stop": 3}


@pytest.mark.parametrize("kind", ["plain", "new_ids", "counts_anew", "pairs", "brackets"])
def test_protection_follows_its_position_down(kind: str) -> None:
    """Two of three are closed: the stop is for one (scenario 76)."""
    bench = holding(kind)
    add_stop(bench)
    close(bench, 2)
    bench.advance(1_000)
    bench.fill("exit", 2, group=2)
    bench.advance(30_000)
    assert (bench.truth(), bench.working(1)) == (1, {"stop": 1})
    assert bench.group(1).phase == "protected"


@EVERY_BROKER
def test_protection_follows_its_position_up(kind: str) -> None:
    """Two more are bought: the stop is for five."""
    bench = holding(kind)
    add_stop(bench)
    bench.trade_outside("buy", 2)
    bench.advance(30_000)
    assert bench.working() == {"stop": 5}


@EVERY_BROKER
def test_nothing_is_left_around_a_flat_position(kind: str) -> None:
    """The stop sells all: the target goes, and the group is over (scenario 76)."""
    bench = holding(kind)
    add_stop(bench)
    add_target(bench)
    bench.advance(30_000)
    bench.fill("stop", 3, 95)
    bench.advance(10_000)
    assert (bench.working(), bench.truth(), bench.group().phase) == ({}, 0, "closed")


@SEPARATE
def test_a_position_that_somebody_sells_loses_its_protection(kind: str) -> None:
    """Sold by a plain order to the last unit: stop and target are cancelled (scenario 76)."""
    bench = holding(kind)
    add_stop(bench)
    add_target(bench)
    bench.trade_outside("sell", 3)
    bench.advance(10_000)
    assert (bench.working(), bench.truth(), bench.group().phase) == ({}, 0, "closed")


def test_a_stop_for_a_part_stays_for_that_part() -> None:
    """Two of three are guarded, whatever is bought beside them and wherever the stop moves, until
    somebody wants all of it guarded.
    """
    bench = holding()
    add_stop(bench, quantity="2")
    assert bench.working() == {"stop": 2}
    bench.trade_outside("buy", 2)
    bench.advance(5_000)
    assert bench.working() == {"stop": 2}
    add_stop(bench, "94")
    bench.advance(5_000)
    assert (bench.working(), bench.held("stop").stop_price) == ({"stop": 2}, 94)
    add_stop(bench, quantity="all")
    bench.advance(5_000)
    assert bench.working() == {"stop": 5}
    bench.trade_outside("buy", 1)
    bench.advance(5_000)
    assert bench.working() == {"stop": 6}


@SEPARATE
def test_a_position_s_stop_leaves_brackets_their_units(kind: str) -> None:
    """Three are a bracket's and two are plain: the position's stop is for those two."""
    bench = holding(kind, 2)
    bench.bracket()
    bench.fill("entry", 3)
    add_stop(bench, "94")
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == (both(3), {"stop": 2})
    bench.fill("target", 3, 110, group=1)
    bench.advance(5_000)
    assert bench.working(2) == {"stop": 2}


def test_nothing_is_left_for_a_stop_where_a_bracket_guards_all() -> None:
    """All units are looked after: refused, with what is left to close."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    text = untouched(bench, lambda: add_stop(bench), OrderRefused)
    assert "closable=0" in text


@pytest.mark.parametrize(
    ("side", "ask", "price"),
    [
        ("buy", add_stop, "101"),
        ("buy", add_target, "100"),
        ("buy", add_target, "99"),
        ("sell", add_stop, "99"),
        ("sell", add_target, "101"),
    ],
)
def test_a_price_on_the_wrong_side_is_refused(
    side: str, ask: Callable[[BrokeredDesk, str], Decision], price: str
) -> None:
    """A stop that gains or a target that loses, seen from the average price, is refused."""
    bench = holding(side=side)
    assert "average price" in untouched(bench, lambda: ask(bench, price), InputError)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_stop_at_the_average_price_is_taken_without_a_quote(side: str) -> None:
    """Neither to gain nor to lose is what many stops are for."""
    bench = holding(side=side)
    add_stop(bench, "100")
    assert bench.held("stop").stop_price == 100


def test_a_fresh_quote_is_what_a_price_is_compared_with() -> None:
    """The market went to 120: a stop at 115 is right there, and one at 121 is not."""
    bench = holding()
    bench.quote(bid="119", ask="121", last="120")
    assert "the market" in untouched(bench, lambda: add_stop(bench, "121"), InputError)
    add_stop(bench, "115")
    assert bench.held("stop").stop_price == 115


def test_without_a_position_there_is_nothing_to_protect() -> None:
    """Flat, or closed past all desks: refused, with what is held."""
    bench = BrokeredDesk()
    assert "no position" in untouched(bench, lambda: add_stop(bench), InputError)
    bench.buy(3)
    bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(-3)))
    assert "no position" in untouched(bench, lambda: add_stop(bench), InputError)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"role": "stop"}, "give one"),
        ({"role": "stop", "stop_price": "95", "trail": "2"}, "give one"),
        ({"role": "target"}, "limit_price and nothing else"),
        ({"role": "target", "limit_price": "110", "stop_price": "95"}, "nothing else"),
        ({"role": "entry", "limit_price": "110"}, "give stop or target"),
    ],
)
def test_what_is_no_protection_is_refused(terms: dict[str, Any], message: str) -> None:
    """A wish that contradicts itself changes nothing."""
    bench = holding()
    wrong = Protect(symbol="X", **terms)
    assert message in untouched(bench, lambda: bench.ask(wrong), InputError)


def test_a_broker_that_holds_units_for_one_exit_takes_one() -> None:
    """Where no second exit may rest for the same units the second one is refused (scenario 107)."""
    bench = BrokeredDesk(Capabilities(exits_share_quantity=False))
    bench.buy(3)
    add_stop(bench)
    text = untouched(bench, lambda: add_target(bench), UnsupportedOrderTypeError)
    assert "cancel the other one first" in text
    assert bench.working() == {"stop": 3}
    types = frozenset({OrderType.LIMIT, OrderType.MARKET})
    bench = BrokeredDesk(Capabilities(order_types=types))
    bench.buy(3)
    assert "no stop orders" in untouched(bench, lambda: add_stop(bench), UnsupportedOrderTypeError)


# Closing.


@EVERY_BROKER
@LONG_AND_SHORT
def test_a_position_is_closed_exactly(kind: str, side: str, exit_side: str) -> None:
    """At the market, reduce-only, for what is held: flat, and over."""
    bench = holding(kind, side=side)
    assert close(bench).group == 1
    assert bench.sent("exit") == [(Side(exit_side), 3)]
    bench.fill("exit", 3)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")
    assert bench.alerts() == []


@EVERY_BROKER
def test_closing_makes_room_among_its_protection(kind: str) -> None:
    """A guarded position is closed whole: one exit, and nothing is left around it (P7)."""
    bench = holding(kind)
    add_stop(bench)
    add_target(bench)
    bench.advance(30_000)
    close(bench)
    bench.advance(30_000)
    bench.fill("exit", 3, group=2)
    bench.advance(30_000)
    assert bench.truth() == bench.position().quantity == 0
    assert (bench.working(1), bench.working(2)) == ({}, {})
    assert bench.sent("exit") == [(Side.SELL, 3)]
    assert bench.sent("undo") == []


@EVERY_BROKER
def test_a_part_of_a_bracket_is_closed(kind: str) -> None:
    """One of three is closed: the bracket guards two, and its stop closes them (scenario 76)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 3)
    close(bench, 1)
    bench.advance(30_000)
    bench.fill("exit", 1, group=2)
    bench.advance(30_000)
    assert (bench.truth(), bench.working(1), bench.group(2).phase) == (2, both(2), "closed")
    bench.fill("stop", 2, 95)
    bench.advance(10_000)
    assert (bench.truth(), bench.working(1)) == (0, {})


@pytest.mark.parametrize("kind", ["plain", "new_ids", "brackets"])
def test_a_limit_exit_rests_beside_the_stops(kind: str) -> None:
    """A close with a price rests as long as it takes, and the stop guards meanwhile."""
    bench = holding(kind)
    add_stop(bench)
    close(bench, limit_price="105")
    bench.advance(600_000)
    assert (bench.working(1), bench.working(2)) == ({"stop": 3}, {"exit": 3})
    assert bench.held("exit", group=2).limit_price == 105
    bench.fill("exit", 1, 105, group=2)
    bench.advance(20_000)
    assert (bench.working(1), bench.working(2)) == ({"stop": 2}, {"exit": 2})
    bench.fill("stop", 2, 95)
    bench.advance(20_000)
    assert (bench.truth(), bench.working(1), bench.working(2)) == (0, {}, {})
    assert bench.alerts() == []


def test_a_resting_close_that_somebody_withdraws_is_over() -> None:
    """Closing its group withdraws it: the position stays, and its stop."""
    bench = holding()
    add_stop(bench)
    close(bench, limit_price="105")
    bench.ask(CloseGroup(group=2, by="ann", reason="changed my mind"))
    bench.advance(20_000)
    assert (bench.working(1), bench.working(2), bench.truth()) == ({"stop": 3}, {}, 3)
    assert bench.group(2).phase == "closed"


def test_two_closes_share_the_position() -> None:
    """Two of three and then all: there is one left to ask for, and the third finds none."""
    bench = holding()
    close(bench, 2)
    text = untouched(bench, lambda: close(bench, 2), OrderRefused)
    assert "being_closed=2" in text
    close(bench, 1)
    bench.fill("exit", 2, group=1)
    bench.fill("exit", 1, group=2)
    bench.advance(5_000)
    assert bench.truth() == 0


def test_a_close_without_a_quantity_takes_what_is_left() -> None:
    """Two are being closed: all means the third unit, and more than that is refused."""
    bench = holding()
    close(bench, 2)
    assert "REDUCE_ONLY_EXCEEDED" in untouched(bench, lambda: close(bench, 3), OrderRefused)


@pytest.mark.parametrize(
    ("quantity", "error"),
    [("4", OrderRefused), ("0", AmountError), ("-1", AmountError), ("1.5", AmountError)],
)
def test_a_quantity_that_cannot_be_closed_is_refused(quantity: str, error: type[Exception]) -> None:
    """More than is held, or no quantity at all: nothing is sent."""
    bench = holding()
    untouched(bench, lambda: close(bench, quantity), error)


def test_a_close_is_sent_once_whatever_fails() -> None:
    """Lost after its arrival, or refused twice: flat in the end, by one exit (scenario 100)."""
    for answers, arrives in ((lost(), True), (lost(), False), ([Refused(text="busy")] * 2, False)):
        bench = holding()
        bench.break_next("submit", "exit", *answers, arrives=arrives)
        close(bench)
        bench.advance(120_000)
        assert bench.working() == {"exit": 3}
        bench.fill("exit", 3)
        bench.advance(20_000)
        assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_repeated_close_is_the_first_one() -> None:
    """The same key: the same group, nothing sent; for another symbol a conflict (scenario 35)."""
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.buy(3)
    first = close(bench, 1, idempotency_key="mine")
    again = close(bench, 1, idempotency_key="mine")
    assert (first.group, first.repeat, again.group, again.repeat) == (1, False, 1, True)
    assert bench.sent("exit") == [(Side.SELL, 1)]
    other = ClosePosition(symbol="Y", idempotency_key="mine")
    untouched(bench, lambda: bench.ask(other), IdempotencyConflict)
    untouched(bench, lambda: close(bench, 2, idempotency_key="mine"), IdempotencyConflict)
    limited = {"idempotency_key": "mine", "limit_price": "105"}
    untouched(bench, lambda: close(bench, 1, **limited), IdempotencyConflict)


def test_nothing_to_close_is_refused() -> None:
    """A flat or unknown symbol, or a group that there is not."""
    bench = BrokeredDesk()
    untouched(bench, lambda: close(bench), InputError)
    untouched(bench, lambda: bench.ask(ClosePosition(symbol="Z")), UnknownSymbolError)
    nobody = CloseGroup(group=7, by="ann", reason="x")
    untouched(bench, lambda: bench.ask(nobody), OrderStatusError)
    nameless = CloseGroup(group=1, by="", reason="x")
    untouched(bench, lambda: bench.ask(nameless), InputError)


# Cancelling what surrounds a position.


def surrounded() -> BrokeredDesk:
    """A desk with a bracket, another entry, and a plain stop of its own."""
    bench = holding(quantity=2)
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 3)
    bench.bracket(entry_timeout_ms=0)
    bench.submit("sell", "2", order_type="stop", stop_price="90", reduce_only=True)
    bench.submit("buy", "1", limit_price="80")
    bench.talk()
    return bench


def plain(bench: BrokeredDesk) -> list[str]:
    """Return the types of the working orders of no group."""
    orders = bench.desk.state.active.values()
    return sorted(str(order.terms.order_type) for order in orders if not order.group)


def cancel(bench: BrokeredDesk, *kinds: str) -> Decision:
    """Cancel orders around the position."""
    return bench.ask(CancelPositionOrders(symbol="X", kinds=kinds, by="ann"))


def test_stops_alone_are_cancelled() -> None:
    """Stops of groups and of none go and do not come back; targets and entries stay."""
    bench = surrounded()
    cancel(bench, "stop")
    bench.advance(30_000)
    assert (bench.working(1), bench.working(2)) == ({"target": 3}, {"entry": 3})
    assert plain(bench) == ["limit"]
    assert bench.sent("exit") == []
    bench.fill("entry", 1, group=2)
    bench.advance(5_000)
    assert bench.working(2) == {"entry": 2, "target": 1}


def test_targets_alone_are_cancelled() -> None:
    """Targets go and do not come back; the stop guards."""
    bench = surrounded()
    cancel(bench, "target")
    bench.advance(30_000)
    assert (bench.working(1), bench.working(2)) == ({"stop": 3}, {"entry": 3})
    assert plain(bench) == ["limit", "stop"]


def test_entries_alone_are_cancelled() -> None:
    """Entries of groups and of none go; all that protects stays."""
    bench = surrounded()
    cancel(bench, "entry")
    bench.advance(30_000)
    assert (bench.working(1), bench.working(2)) == (both(3), {})
    assert plain(bench) == ["stop"]
    assert bench.group(2).phase == "closed"


def test_everything_around_a_position_is_cancelled() -> None:
    """All kinds: nothing works, the position stays, and nobody flattens it."""
    bench = surrounded()
    cancel(bench, "stop", "target", "entry")
    bench.advance(60_000)
    assert (bench.working(1), bench.working(2), plain(bench)) == ({}, {}, [])
    assert (bench.truth(), bench.alerts()) == (5, [])
    assert {bench.group(number).phase for number in (1, 2)} == {"closed"}


def test_only_the_named_symbol_is_touched() -> None:
    """Counts are of what was cancelled, and another symbol keeps its orders (scenario 77)."""
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.bracket()
    bench.bracket(symbol="Y")
    bench.fill("entry", 3, group=1)
    bench.fill("entry", 3, group=2)
    decision = cancel(bench, "stop", "target")
    assert len(decision.numbers) == 2
    assert {bench.order(number).terms.symbol for number in decision.numbers} == {"X"}
    bench.advance(10_000)
    assert (bench.working(1), bench.working(2)) == ({}, both(3))


@pytest.mark.parametrize("kinds", [(), ("stops",), ("stop", "exit")])
def test_kinds_that_there_are_not_are_refused(kinds: tuple[str, ...]) -> None:
    """A word that names no kind cancels nothing."""
    bench = surrounded()
    untouched(bench, lambda: cancel(bench, *kinds), InputError)


def test_a_market_close_goes_out_beside_a_resting_one() -> None:
    """Who waits at a price holds up nobody who wants out now (P7)."""
    bench = BrokeredDesk()
    bench.bracket(quantity="2")
    bench.fill("entry", 2)
    bench.ask(ClosePosition(symbol="X", quantity="1", limit_price="120"))
    bench.ask(ClosePosition(symbol="X"))
    assert bench.working(3) == {"exit": 2}
    bench.fill("exit", 2, group=3)
    bench.advance(5_000)
    assert (bench.truth(), bench.working(1), bench.working(2)) == (0, {}, {})


@pytest.mark.parametrize("kind", ["pairs", "brackets_and_pairs"])
def test_a_part_is_closed_at_once_where_the_broker_sizes_exits(kind: str) -> None:
    """The pair that is too large goes now: nobody waits for the broker to shrink it (P7)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(10_000)
    bench.ask(ClosePosition(symbol="X", quantity="1"))
    bench.advance(500)
    assert bench.working(2) == {"exit": 1}


@pytest.mark.parametrize(
    "given",
    [
        PlaceBracket(
            symbol="X",
            side="buy",
            quantity=1,
            entry_price="100",
            stop_loss_price="95",
            stop_limit_price="96",
        ),
        PlaceBracket(symbol="X", side="buy", quantity=1, entry_price="100", trail="100"),
        PlaceBracket(
            symbol="X",
            side="sell",
            quantity=1,
            entry_price="100",
            stop_loss_price="105",
            stop_limit_price="104",
        ),
    ],
)
def test_a_stop_that_could_not_trade_is_refused(given: PlaceBracket) -> None:
    """A limit on the wrong side of its stop, or a stop below zero, guards nothing (61)."""
    bench = BrokeredDesk()
    with pytest.raises(InputError, match=r"could not trade|below zero"):
        bench.ask(given)
    assert bench.desk.state.stored.groups == {}
