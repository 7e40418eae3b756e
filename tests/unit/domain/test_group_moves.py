"""Moving a stop or a target: where it may go, and what is left where the broker says no."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.inputs import ClosePosition, Protect, Replace
from holdfast.domain.order import Order
from holdfast.domain.reports import NotSent, RefusalCode, Refused
from holdfast.domain.values import OrderType, Status
from holdfast.errors import InputError
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
BOTH = {"stop": 3, "target": 3}
NO = Refused(text="not at that price")
PRICE = {"stop": "stop_price", "target": "limit_price"}


def guarded(kind: str = "plain", side: str = "buy", filled: int = 3) -> BrokeredDesk:
    """A desk with a bracket of three at 100, partly filled; stop 95 and target 110, or mirrored."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(side, entry_timeout_ms=0)
    if filled:
        bench.fill("entry", filled)
    return bench


def leg(bench: BrokeredDesk, role: str, group: int = 1) -> Order:
    """Return the order of a role that works."""
    orders = [bench.order(number) for number in bench.group(group).live]
    return next(order for order in orders if order.role == role and order.is_working)


def move(bench: BrokeredDesk, role: str, price: object) -> Decision:
    """Somebody moves the stop or the target."""
    name = leg(bench, role).client_order_id
    return bench.ask(Replace(client_order_id=name, **{PRICE[role]: str(price)}))


def price(bench: BrokeredDesk, role: str) -> Decimal | None:
    """Return where the stop or the target works at the broker."""
    held = bench.held(role)
    return held.stop_price if role == "stop" else held.limit_price


def wanted(bench: BrokeredDesk, role: str) -> Decimal | None:
    """Return where the group wants its stop or target."""
    exit_terms = bench.group().slot(role).exit
    return None if exit_terms is None else getattr(exit_terms, PRICE[role])


def untouched(bench: BrokeredDesk, ask: Callable[[], object]) -> str:
    """Return what is said when something is refused that changes nothing and calls nobody."""
    before = len(bench.calls), len(bench.events)
    with pytest.raises(InputError) as refusal:
        ask()
    assert (len(bench.calls), len(bench.events)) == before
    return str(refusal.value)


# Where it may go.


@pytest.mark.parametrize(
    ("side", "role", "to"),
    [
        ("buy", "stop", "101"),
        ("buy", "stop", "102"),
        ("buy", "target", "101"),
        ("buy", "target", "100"),
        ("sell", "stop", "101"),
        ("sell", "stop", "100"),
        ("sell", "target", "102"),
    ],
)
def test_an_exit_moves_to_no_place_where_it_would_trade_at_once(
    side: str, role: str, to: str
) -> None:
    """The market is at 101: a stop there or past it, or a target before it, is refused as it would
    be for a new one, and what works stays (scenario 61, trap 44).
    """
    bench = guarded(side=side)
    bench.quote(bid="100.5", ask="101.5", last="101")
    assert "the market, which is 101" in untouched(bench, lambda: move(bench, role, to))
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("role", ["stop", "target"])
def test_a_stop_and_a_target_never_pass_each_other(side: str, role: str) -> None:
    """Without any quote, too: on the other one's price, or past it (scenario 61)."""
    bench = guarded(side=side)
    bounds = {"stop": (110, 111), "target": (95, 94)}
    if side == "sell":
        bounds = {"stop": (90, 89), "target": (105, 106)}
    for to in bounds[role]:
        assert "must be below" in untouched(bench, partial(move, bench, role, to))


def test_while_the_entry_works_its_stop_stays_below_it() -> None:
    """One of three is filled: a stop above the entry would sell what that buys at once. Once the
    entry is over the stop may go where nothing is lost (scenario 61).
    """
    bench = guarded(filled=1)
    bench.quote(bid="105", ask="105")
    assert "the entry is 100" in untouched(bench, lambda: move(bench, "stop", "102"))
    bench.fill("entry", 2)
    move(bench, "stop", "102")
    bench.advance(5_000)
    assert (price(bench, "stop"), bench.working()) == (102, BOTH)


def test_without_a_quote_only_the_other_exit_is_in_the_way() -> None:
    """Nobody knows where the market is: a stop above what was paid moves."""
    bench = guarded()
    move(bench, "stop", "104")
    bench.advance(5_000)
    assert (price(bench, "stop"), bench.group().phase) == (104, "protected")


def test_exits_that_wait_for_their_entry_are_not_compared_with_the_market() -> None:
    """The market is below the stop of an entry that waits: when that fills it is elsewhere."""
    bench = guarded("late_brackets", filled=0)
    bench.quote(bid="93", ask="93")
    move(bench, "stop", "94")
    bench.fill("entry", 3)
    bench.advance(5_000)
    assert (price(bench, "stop"), bench.working()) == (94, BOTH)


def test_a_resting_close_moves_and_stays_there() -> None:
    """Its group wants the new price from then on, and another quantity is no business of a move."""
    bench = guarded()
    bench.ask(ClosePosition(symbol="X", quantity="3", limit_price="105", by="ann"))
    name = leg(bench, "exit", 2).client_order_id
    untouched(bench, lambda: bench.ask(Replace(client_order_id=name, quantity="2")))
    bench.ask(Replace(client_order_id=name, limit_price="104"))
    bench.advance(10_000)
    assert bench.held("exit", group=2).limit_price == 104
    assert bench.calls.count(("replace", "exit")) == 1


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_what_is_asked_for_again_is_compared_with_the_other_exit(side: str) -> None:
    """The market has left the target behind: a stop there is on its right side, and refused all the
    same (scenario 61).
    """
    bench = BrokeredDesk()
    bench.buy(3, side=side)
    target, past = ("110", "112") if side == "buy" else ("90", "88")
    bench.ask(Protect(symbol="X", role="target", limit_price=target))
    bench.quote(bid=past, ask=past)
    again = Protect(symbol="X", role="stop", stop_price=target)
    assert "must be below" in untouched(bench, lambda: bench.ask(again))


# Where the broker says no.


@EVERY_BROKER
@pytest.mark.parametrize(("role", "old", "new"), [("stop", 95, 99), ("target", 110, 105)])
def test_a_move_that_the_broker_refuses_leaves_what_worked(
    kind: str, role: str, old: int, new: int
) -> None:
    """The old exit is wanted again and people are told why; nothing is flattened, and the same is
    not tried for ever (scenario 65, P6, P9, P10).
    """
    bench = guarded(kind)
    for call in ("replace", "submit"):
        bench.break_next(call, role, NO)
    if "pairs" in kind or "late" in kind:  # the call that a stop rides with is its target's
        bench.break_next("submit", "target", NO)
    before = len(bench.calls)
    move(bench, role, new)
    bench.advance(10_000)
    bench.mend()
    bench.advance(60_000)
    assert (bench.working(), bench.group().phase, bench.sent("exit")) == (BOTH, "protected", [])
    assert price(bench, role) == wanted(bench, role) == old
    assert "EXIT_NOT_MOVED" in bench.alerts()
    assert len(bench.calls) - before <= 8


@EVERY_BROKER
def test_a_stop_that_ends_after_a_refused_move_comes_back_where_it_worked(kind: str) -> None:
    """Long after the broker refused a move the stop expires: it is placed where the broker took it,
    and not where it would be refused until all is flattened (P6).
    """
    bench = guarded(kind)
    bench.break_next("replace", "stop", NO)
    bench.break_next("submit", "target" if "pairs" in kind else "stop", NO)
    move(bench, "stop", 99)
    bench.advance(10_000)
    bench.mend()
    bench.advance(60_000)
    bench.end("stop", Status.EXPIRED)
    bench.advance(60_000)
    assert (bench.working(), price(bench, "stop")) == (BOTH, 95)
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


@EVERY_BROKER
def test_a_refused_move_can_be_asked_for_again(kind: str) -> None:
    """What is wanted anew is tried anew, also where the last move was refused."""
    bench = guarded(kind)
    bench.break_next("replace", "stop", NO)
    bench.break_next("submit", "target" if "pairs" in kind else "stop", NO)
    move(bench, "stop", 99)
    bench.advance(10_000)
    bench.mend()
    bench.advance(60_000)
    move(bench, "stop", 98)
    bench.advance(60_000)
    assert (bench.working(), price(bench, "stop"), wanted(bench, "stop")) == (BOTH, 98, 98)


def test_a_move_that_never_left_is_made_another_way() -> None:
    """The broker has said nothing about the price: an order at the new one takes its place, and the
    group does not believe that it moved.
    """
    bench = guarded()
    bench.break_next("replace", "stop", *[NotSent(text="busy")] * 50)
    move(bench, "stop", 99)
    bench.advance(120_000)
    assert (bench.working(), price(bench, "stop")) == (BOTH, 99)
    assert "EXIT_NOT_MOVED" not in bench.alerts()


def test_a_closed_market_says_nothing_about_a_new_stop_s_price() -> None:
    """The new stop waits for the market and the old one stays until then (trap 11)."""
    bench = guarded("no_replace")
    bench.break_next("submit", "stop", Refused(text="closed", code=RefusalCode.MARKET_CLOSED))
    move(bench, "stop", 99)
    assert price(bench, "stop") == 95
    bench.advance(120_000)
    assert (bench.working(), price(bench, "stop")) == (BOTH, 99)


def test_an_old_stop_whose_cancel_is_refused_does_not_come_back() -> None:
    """The new stop works, and the old one goes at the next try: a refused cancel moves nothing."""
    bench = guarded("no_replace")
    bench.break_next("cancel", "stop", Refused(text="busy"))
    move(bench, "stop", 99)
    bench.advance(60_000)
    assert (bench.working(), price(bench, "stop"), wanted(bench, "stop")) == (BOTH, 99, 99)
    assert "EXIT_NOT_MOVED" not in bench.alerts()


def test_a_first_stop_that_is_refused_has_nothing_to_go_back_to() -> None:
    """It is tried again, and flattened at last, as ever (scenario 65)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.break_next("submit", "stop", *[NO] * 9)
    bench.fill("entry", 3)
    bench.advance(20_000)
    assert (bench.group().phase, bench.working()) == ("flattening", {"exit": 3})
    assert "EXIT_NOT_MOVED" not in bench.alerts()


def test_a_stop_that_may_not_follow_the_market_stays_and_is_tried_rarely() -> None:
    """The broker refuses every move of a stop that follows here: it stays, it follows again when
    it may, and is tried no more often than every few seconds (P9).
    """
    no_trailing = frozenset(OrderType) - {OrderType.TRAILING_STOP}
    bench = BrokeredDesk(Capabilities(order_types=no_trailing))
    bench.bracket(stop_loss_price=None, trail="5")
    bench.fill("entry", 3)
    for call in ("replace", "submit"):
        bench.break_next(call, "stop", *[NO] * 500)
    before = len(bench.calls)
    for _ in range(60):
        bench.quote(bid="104", ask="104")
        bench.talk()
        bench.advance(500)
    assert (price(bench, "stop"), bench.group().phase) == (95, "protected")
    assert 2 <= len(bench.calls) - before <= 8
    bench.mend()
    bench.advance(10_000)
    bench.quote(bid="104", ask="104")
    bench.talk()
    bench.advance(1_000)
    assert (price(bench, "stop"), bench.working()) == (99, BOTH)


def changed(bench: BrokeredDesk, **terms: Any) -> None:
    """Somebody asks for the position's stop again."""
    bench.ask(Protect(symbol="X", role="stop", **terms))


def test_a_stop_that_somebody_asked_for_again_stays_where_the_broker_took_it() -> None:
    """`add_stop_loss` moves as `replace_order` does, and what the broker refuses is not wanted."""
    bench = BrokeredDesk()
    bench.buy(3)
    changed(bench, stop_price="95")
    bench.break_next("replace", "stop", NO)
    changed(bench, stop_price="99")
    bench.advance(30_000)
    assert (bench.working(), price(bench, "stop"), wanted(bench, "stop")) == ({"stop": 3}, 95, 95)
    assert "EXIT_NOT_MOVED" in bench.alerts()


def test_a_refused_move_does_not_go_back_to_where_the_market_has_been() -> None:
    """The stop at 95 ended, the market is at 93, and the broker is busy when it is to go to 90: it
    is tried there again, never at 95 (P6).
    """
    bench = BrokeredDesk(Capabilities(native_replace=False))
    bench.buy(3)
    bench.quote(bid="100", ask="100")
    bench.ask(Protect(symbol="X", role="stop", stop_price="95"))
    bench.break_next("submit", "stop", NO, Refused(text="too many requests"))
    bench.quote(bid="96", ask="96")
    bench.end("stop")
    bench.quote(bid="93", ask="93")
    bench.ask(Protect(symbol="X", role="stop", stop_price="90"))
    bench.advance(5_000)
    assert bench.held("stop").stop_price == 90
