"""What people ask of groups: prices against the market, keys, and exits that are called off."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.events import AlertRaised
from holdfast.domain.inputs import (
    Cancel,
    CancelAll,
    CancelPositionOrders,
    CloseGroup,
    ClosePosition,
    PlaceOco,
    Protect,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import OrderType
from holdfast.errors import IdempotencyConflict, InputError
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
NO_TRAILING = frozenset(OrderType) - {OrderType.TRAILING_STOP}


def untouched(bench: BrokeredDesk, ask: Callable[[], object], error: type[Exception]) -> str:
    """Return what is said when something is refused that records nothing and calls nobody."""
    before = len(bench.calls), len(bench.events)
    with pytest.raises(error) as refusal:
        ask()
    assert (len(bench.calls), len(bench.events)) == before
    return str(refusal.value)


def market(price: object = 100, **bench_terms: Any) -> BrokeredDesk:
    """A desk with a fresh quote around a price."""
    bench = BrokeredDesk(**bench_terms)
    middle = Decimal(str(price))
    bench.quote(bid=middle - Decimal("0.1"), ask=middle + Decimal("0.1"))
    return bench


def oco(bench: BrokeredDesk, **terms: Any) -> Decision:
    """Place a pair of exits for one unit."""
    usual = {"symbol": "X", "side": "sell", "quantity": "1"}
    prices = {"limit_price": "110", "stop_price": "90"}
    return bench.ask(PlaceOco(**(usual | prices | terms)))


def call_off(bench: BrokeredDesk, *kinds: str) -> Decision:
    """Somebody cancels orders around the position."""
    return bench.ask(CancelPositionOrders(symbol="X", kinds=kinds, by="ann", reason="enough"))


# Prices against the market.


@pytest.mark.parametrize(
    ("side", "stop", "target", "wrong"),
    [
        ("buy", "120", "130", "stop"),
        ("buy", "100", "130", "stop"),
        ("buy", "80", "90", "target"),
        ("sell", "80", "70", "stop"),
        ("sell", "120", "110", "target"),
    ],
)
def test_a_market_bracket_s_exits_lie_around_the_market(
    side: str, stop: str, target: str, wrong: str
) -> None:
    """A stop or a target that would trade at once is refused with the market, and without a quote
    nobody can tell (scenario 61).
    """
    terms = {"stop_loss_price": stop, "take_profit_price": target, "entry_type": "market"}
    bench = market()
    text = untouched(bench, lambda: bench.bracket(side, **terms), InputError)
    assert f"the {wrong} is at" in text
    assert "the market, which is 100" in text
    bench = BrokeredDesk()
    bench.bracket(side, **terms)
    assert bench.calls


def test_an_entry_at_a_limit_is_compared_with_the_market_where_it_meets_it() -> None:
    """A limit that trades at once buys at the market, where its stop would sell; one that rests
    waits for the market to come down to it (scenario 61).
    """
    bench = market()
    terms = {"entry_price": "104", "stop_loss_price": "102"}
    text = untouched(bench, lambda: bench.bracket(**terms), InputError)
    assert "the stop is at 102" in text
    bench.bracket(entry_price="98", stop_loss_price="96", take_profit_price="99")
    assert bench.working() | {"entry": 3} == bench.working()


@pytest.mark.parametrize("types", [frozenset(OrderType), NO_TRAILING])
def test_a_trail_is_shorter_than_the_price(types: frozenset[OrderType]) -> None:
    """A stop that far behind the market is below zero: refused for a bracket and for a position."""
    bench = market(capabilities=Capabilities(order_types=types))
    far: dict[str, Any] = {"entry_type": "market", "stop_loss_price": None, "trail": "100"}
    assert "below zero" in untouched(bench, lambda: bench.bracket(**far), InputError)
    bench.buy(3)
    bench.quote(bid="100", ask="100")
    again = Protect(symbol="X", role="stop", trail="150")
    assert "below zero" in untouched(bench, lambda: bench.ask(again), InputError)


@pytest.mark.parametrize(("limit", "stop"), [("90", "80"), ("130", "120"), ("100", "90")])
def test_a_pair_lies_around_the_market(limit: str, stop: str) -> None:
    """Two prices on one side of the market: one of them would trade at once, so that it is refused;
    without a fresh quote nobody can tell (scenario 61).
    """
    bench = market()
    bench.buy(3)
    text = untouched(bench, lambda: oco(bench, limit_price=limit, stop_price=stop), InputError)
    assert "the market, which is 100" in text
    bench.advance(120_000)
    assert oco(bench, limit_price=limit, stop_price=stop).group == 1


def test_a_repeat_is_the_first_one_wherever_the_market_went() -> None:
    """The same keys and requests, after the market passed their prices: repeats (scenario 35)."""
    bench = market()
    terms = {"entry_type": "market", "idempotency_key": "b"}
    bench.bracket(**terms)
    bench.fill("entry", 3)
    bench.buy(1)
    first = oco(bench, idempotency_key="o")
    bench.quote(bid="80", ask="80")
    calls = len(bench.calls)
    assert (bench.bracket(**terms).repeat, bench.bracket(**terms).group) == (True, 1)
    again = oco(bench, idempotency_key="o")
    assert (again.repeat, again.group, len(bench.calls)) == (True, first.group, calls)


# Keys.


def test_a_key_for_another_symbol_is_a_conflict() -> None:
    """The same pair in another symbol is another request: nothing is placed, and nobody is told
    that it was (scenario 35).
    """
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    for symbol in ("X", "Y"):
        order = bench.submit("buy", "3", symbol=symbol)
        bench.talk()
        bench.broker.fill(order.broker_order_id, Decimal(3), Decimal(100))
        bench.talk()
    oco(bench, idempotency_key="mine")
    again = {"idempotency_key": "mine", "symbol": "Y"}
    assert "mine" in untouched(bench, lambda: oco(bench, **again), IdempotencyConflict)


def test_a_key_of_a_bracket_is_for_one_time_of_its_entry() -> None:
    """Another time for the entry is another request; what leaves it to the desk is a repeat
    (scenario 35).
    """
    bench = BrokeredDesk()
    bench.bracket(idempotency_key="mine", entry_timeout_ms=5_000)
    for other in (4_000, 0):
        terms: dict[str, Any] = {"idempotency_key": "mine", "entry_timeout_ms": other}
        text = untouched(bench, partial(bench.bracket, **terms), IdempotencyConflict)
        assert "entry_timeout_ms" in text
    for same in (5_000, None):
        assert bench.bracket(idempotency_key="mine", entry_timeout_ms=same).repeat


def test_a_key_of_a_close_that_has_no_order_yet_is_no_bracket_s() -> None:
    """After a start the close waits for the first look at the broker; its key is taken all the same
    (scenario 35).
    """
    bench = BrokeredDesk()
    bench.buy(3)
    bench.desk.memo.reconciled = False
    bench.ask(ClosePosition(symbol="X", idempotency_key="mine", by="ann"))
    assert bench.group().orders == []
    untouched(bench, lambda: bench.bracket(idempotency_key="mine"), IdempotencyConflict)


# Exits that are called off.


@EVERY_BROKER
@pytest.mark.parametrize("filled", [0, 1])
def test_an_entry_that_nothing_would_guard_goes_with_its_exits(kind: str, filled: int) -> None:
    """Stop and target are cancelled while the entry works: so is the entry, for that reason, and
    what it had filled stays as somebody wanted it (P6, P10).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(entry_timeout_ms=0)
    if filled:
        bench.fill("entry", filled)
    entry = bench.group().entry
    named = call_off(bench, "stop", "target").numbers
    bench.advance(60_000)
    assert entry in named
    assert (bench.working(), bench.truth(), bench.group().phase) == ({}, filled, "closed")
    assert "group_reduced" not in bench.kinds()
    assert "UNPROTECTED" not in bench.alerts()


@pytest.mark.parametrize("role", ["stop", "target"])
def test_an_entry_whose_other_exit_stands_goes_on(role: str) -> None:
    """One exit is enough to guard it: the entry fills, and what is left guards that."""
    bench = BrokeredDesk()
    bench.bracket()
    call_off(bench, role)
    bench.fill("entry", 3)
    bench.advance(5_000)
    other = "target" if role == "stop" else "stop"
    assert (bench.working(), bench.group().phase) == ({other: 3}, "protected")


def test_orders_that_are_cancelled_one_by_one_end_the_entry_as_well() -> None:
    """Somebody cancels the stop, then the target, while the entry still fills (P6)."""
    bench = BrokeredDesk()
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 1)
    for role in ("stop", "target"):
        assert "entry" in bench.working()
        orders = [bench.order(number) for number in bench.group().live]
        name = next(order.client_order_id for order in orders if order.role == role)
        bench.ask(Cancel(client_order_id=name, by="ann"))
    bench.advance(5_000)
    assert (bench.working(), bench.group().phase) == ({}, "closed")


def test_what_fills_although_its_entry_was_to_go_is_told() -> None:
    """The cancel of the entry comes too late and three are held bare: nothing is written off as if
    others had closed it, and people are told (P6, P10).
    """
    bench = BrokeredDesk()
    bench.bracket(entry_timeout_ms=0)
    late = Refused(text="too late", code=RefusalCode.TOO_LATE)
    bench.break_next("cancel", "entry", *lost(2), late)
    call_off(bench, "stop", "target")
    bench.fill("entry", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.group().phase) == (3, "closed")
    assert "group_reduced" not in bench.kinds()
    assert "UNPROTECTED" in bench.alerts()
    told = [event.text for event in bench.events if isinstance(event, AlertRaised)]
    assert any("3 of it is left" in text for text in told)


def test_cancelling_everything_bare_tells_nothing_new() -> None:
    """Who leaves a position unprotected on purpose is not told so (scenario 112)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.ask(CancelAll(leave_unprotected=True, by="ann"))
    bench.advance(10_000)
    assert (bench.working(), bench.truth(), bench.alerts()) == ({}, 3, [])
    assert "group_reduced" not in bench.kinds()


# What is closing is no target.


def test_a_resting_close_is_no_target() -> None:
    """Targets are cancelled and the limit exit of a close stays (scenario 77)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.ask(ClosePosition(symbol="X", quantity="3", limit_price="105", by="ann"))
    numbers = call_off(bench, "target").numbers
    bench.advance(5_000)
    assert [bench.order(number).role for number in numbers] == ["target"]
    assert (bench.working(1), bench.working(2)) == ({"stop": 3}, {"exit": 3})
    assert ("cancel", "exit") not in bench.calls


@pytest.mark.parametrize("kinds", [("target",), ("stop", "target", "entry")])
def test_an_exit_at_the_market_is_left_alone(kinds: tuple[str, ...]) -> None:
    """A group is being closed, and somebody sells by an order of no group: both go on (P7)."""
    bench = BrokeredDesk()
    bench.buy(2)
    bench.bracket()
    bench.fill("entry", 3)
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    sale = bench.submit("sell", "2", order_type="market", reduce_only=True)
    bench.talk()
    assert bench.working() == {"exit": 3}
    assert call_off(bench, *kinds).numbers == ()
    bench.advance(2_000)
    assert (bench.working(), bench.order(sale.number).open_quantity) == ({"exit": 3}, 2)


def test_loose_stops_and_targets_are_what_they_look_like() -> None:
    """Exits of no group go by their type, and what opens is an entry (scenario 77)."""
    bench = BrokeredDesk()
    bench.buy(4)
    stop = bench.submit("sell", "2", order_type="stop", stop_price="95", reduce_only=True)
    target = bench.submit("sell", "2", limit_price="110", reduce_only=True)
    entry = bench.submit("buy", "1", limit_price="90")
    bench.talk()
    found = {kind: call_off(bench, kind).numbers for kind in ("stop", "target", "entry")}
    named = {"stop": stop, "target": target, "entry": entry}
    assert found == {kind: (order.number,) for kind, order in named.items()}


def test_the_key_of_a_close_that_waits_is_no_other_order_s() -> None:
    """Nothing went out for it yet, and an order under its key is another request (scenario 35)."""
    bench = BrokeredDesk()
    bench.buy(10)
    bench.desk.memo.reconciled = False
    bench.ask(ClosePosition(symbol="X", quantity="5", idempotency_key="mine"))
    assert bench.sent("exit") == []
    terms: dict[str, Any] = {"order_type": "market", "idempotency_key": "mine"}
    again = partial(bench.submit, "sell", "3", reduce_only=True, **terms)
    assert "belongs to group 1" in untouched(bench, again, IdempotencyConflict)
