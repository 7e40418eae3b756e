"""Ways out that are not free: exits that wait, rest, are too large, or have somebody in the way."""

from decimal import Decimal

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.flattening import LIMIT_PATIENCE_MS, STUCK_AFTER_MS
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import CloseGroup, ClosePosition, Protect, Replace
from holdfast.domain.policies import GroupRules
from holdfast.domain.reports import Outcome, RefusalCode, Refused
from holdfast.domain.values import OrderType, Side, Status, TimeInForce
from holdfast.errors import UnsupportedOrderTypeError
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

NO = Refused(text="busy")
CLOSED = Refused(text="closed", code=RefusalCode.MARKET_CLOSED)
BOUND_MS = GroupRules().unprotected_max_ms
BOTH = {"stop": 3, "target": 3}
# A broker at which a way out has to rest: neither market orders nor any that end at once.
RESTING = Capabilities(
    order_types=frozenset({OrderType.LIMIT, OrderType.STOP}),
    times_in_force=frozenset({TimeInForce.GTC}),
)
# Of two exits for the same units it takes one.
ONE_EXIT = Capabilities(exits_share_quantity=False)


def protected(can: Capabilities | None = None) -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk(can)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(1_000)
    assert bench.working() == BOTH
    return bench


def quote(bench: BrokeredDesk, bid: object, ask: object) -> None:
    """Let a quote arrive, and what follows from it."""
    bench.quote(bid, ask)
    bench.talk()


# A close that has to wait.


@pytest.mark.parametrize("answer", [CLOSED, NO])
def test_a_close_that_has_to_wait_takes_no_protection_away(answer: Outcome) -> None:
    """The exit is refused again and again: between its tries stop and target guard all, and it
    goes out in the end (P6).
    """
    bench = protected()
    bench.break_next("submit", "exit", *[answer] * 6)
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out"))
    for _ in range(20):
        if bench.working(2):
            break
        assert bench.working(1) == BOTH
        bench.advance(CLOSED_RETRY_MS // 4)
    bench.advance(6 * CLOSED_RETRY_MS)
    assert (bench.working(1), bench.working(2)) == ({}, {"exit": 3})
    bench.fill("exit", 3, group=2)
    assert bench.truth() == 0


def test_a_close_that_is_given_up_leaves_what_guarded() -> None:
    """The market is closed and somebody withdraws the close: stop and target are there (P6)."""
    bench = protected()
    bench.break_next("submit", "exit", *[CLOSED] * 50)
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out"))
    bench.advance(2 * CLOSED_RETRY_MS)
    bench.ask(CloseGroup(group=2, by="ann", reason="leave it"))
    bench.advance(1_000)
    assert (bench.working(1), bench.group(1).phase) == (BOTH, "protected")
    assert (bench.working(2), bench.group(2).phase) == ({}, "closed")


def test_a_resting_close_takes_no_stop_s_place() -> None:
    """Where exits share nothing a close with a price is refused while a stop has the units, with
    what to do; at the market it passes (P6, P7).
    """
    bench = BrokeredDesk(ONE_EXIT)
    bench.bracket(take_profit_price=None)
    bench.fill("entry", 3)
    calls = len(bench.calls)
    with pytest.raises(UnsupportedOrderTypeError, match="close at the market, or cancel the stop"):
        bench.ask(ClosePosition(symbol="X", limit_price="110", by="ann", reason="profit"))
    bench.advance(20_000)
    assert (bench.working(), len(bench.calls)) == ({"stop": 3}, calls)
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out"))
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == ({}, {"exit": 3})


def test_a_resting_close_has_the_units_that_nothing_guards() -> None:
    """Three of five are guarded: a close with a price may rest for the other two, no more."""
    bench = BrokeredDesk(ONE_EXIT)
    bench.bracket(take_profit_price=None)
    bench.fill("entry", 3)
    bench.buy(2)
    with pytest.raises(UnsupportedOrderTypeError):
        bench.ask(ClosePosition(symbol="X", quantity="3", limit_price="110", by="a", reason="b"))
    bench.ask(ClosePosition(symbol="X", quantity="2", limit_price="110", by="a", reason="b"))
    bench.advance(20_000)
    assert (bench.working(1), bench.working(2)) == ({"stop": 3}, {"exit": 2})


# What undoes an excess.


def raced(can: Capabilities | None = None) -> BrokeredDesk:
    """A desk whose stop and target both trade before either word arrives: three too many."""
    bench = protected(can)
    marks = [bench.held(role).broker_order_id for role in ("stop", "target")]
    for mark in marks:
        bench.broker.fill(mark, Decimal(3), Decimal(100))
    bench.talk()
    assert (bench.group().phase, bench.truth()) == ("excess", -3)
    return bench


def test_an_undoing_order_that_the_market_left_is_priced_anew() -> None:
    """It rests at a limit and the market runs away: it ages out, one more goes out at the new
    price, and people are told that it takes long (scenario 69, P6).
    """
    bench = raced(RESTING)
    quote(bench, "100", "100.1")
    bench.advance(100)
    first = bench.held("undo").limit_price
    for _ in range(LIMIT_PATIENCE_MS // 1_000 + 8):
        quote(bench, "120", "120.1")
        bench.advance(1_000)
    second = bench.held("undo").limit_price
    assert first is not None
    assert second is not None
    assert first < 120 < second
    assert bench.working() == {"undo": 3}
    for _ in range(STUCK_AFTER_MS // 1_000):
        quote(bench, "120", "120.1")
        bench.advance(1_000)
    assert bench.alerts()[:2] == ["EXCESS", "GROUP_STUCK"]
    bench.fill("undo", 3, "120.5")
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_what_is_undone_is_no_more_than_is_left_to_undo() -> None:
    """The undoing order waits at the broker while both trades of the stop are taken back: it is
    made smaller, and then it goes (scenario 83).
    """
    bench = raced()
    assert bench.working() == {"undo": 3}
    stop = next(one for one in bench.broker.orders.values() if ".stop." in one.wire_id)
    bench.broker.bust(stop.broker_order_id, next(iter(stop.executions)))
    bench.talk()
    bench.advance(5_000)
    assert (bench.truth(), bench.working(), bench.group().phase) == (0, {}, "closed")


# The exit of a flattening.


def test_an_exit_larger_than_what_is_left_is_sized_anew() -> None:
    """The exit waits at the broker and others sell two of three: it goes, and one for what is
    left takes its place; nothing is sold beyond flat (P6).
    """
    bench = protected()
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.advance(100)
    assert bench.working() == {"exit": 3}
    order = bench.submit("sell", "2", force=True, reduce_only=True)
    bench.talk()
    bench.broker.fill(order.broker_order_id, Decimal(2), Decimal(100))
    bench.talk()
    bench.advance(5_000)
    assert bench.working() == {"exit": 1}
    assert bench.sent("exit") == [(Side.SELL, 3), (Side.SELL, 1)]
    bench.fill("exit", 1)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_an_exit_that_trades_is_left_alone() -> None:
    """The exit itself sells two of three: it is for what is left, and no other goes out."""
    bench = protected()
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.fill("exit", 1)
    bench.fill("exit", 1)
    bench.advance(5_000)
    assert (bench.working(), bench.sent("exit")) == ({"exit": 1}, [(Side.SELL, 3)])


def test_entries_in_the_way_of_an_exit_are_cancelled() -> None:
    """What could not be protected is closed, and a purchase of ours that its exit might meet is
    cancelled as it goes out (P6, P7).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[NO] * 50)
    bench.bracket()
    plain = bench.submit("buy", "1", limit_price="95")
    bench.talk()
    bench.fill("entry", 3)
    bench.advance(BOUND_MS)
    assert bench.order(plain.number).status is Status.CANCELED
    assert bench.working() == {"exit": 3}


@pytest.mark.parametrize(("answers", "found"), [((), Status.OPEN), ((NO,), Status.CANCELED)])
def test_a_healthy_close_cancels_entries_only_where_its_exit_is_refused(
    answers: tuple[Outcome, ...], found: Status
) -> None:
    """Somebody closes a group that is well: other entries stay, unless they may be the reason why
    its exit was refused (P7).
    """
    bench = protected()
    plain = bench.submit("buy", "1", limit_price="95")
    bench.talk()
    bench.break_next("submit", "exit", *answers)
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.advance(5_000)
    assert bench.order(plain.number).status is found
    assert bench.working() == {"exit": 3}


# Getting smaller.


def test_a_shrink_that_is_refused_is_tried_on() -> None:
    """Two are left of three, and a smaller stop is refused five times: the larger one stays as
    long, it goes on ever more slowly, and in the end the stop is for two (P6).
    """
    bench = protected(BROKER_KINDS["no_replace"])
    bench.break_next("submit", "stop", *[NO] * 5)
    bench.trade_outside("sell", 1)
    assert bench.working()["stop"] == 3
    bench.advance(120_000)
    assert bench.working() == {"stop": 2, "target": 2}
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


# Moving a leg.


@pytest.mark.parametrize("kind", ["no_replace", "pairs_no_replace"])
@pytest.mark.parametrize(("role", "price"), [("stop", "96"), ("target", "111")])
def test_a_leg_is_moved_where_the_broker_has_no_replace(kind: str, role: str, price: str) -> None:
    """Another order at the new price takes its place; without sharing its pair is made anew."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 3)
    name = bench.order(next(n for n in bench.group().live if bench.order(n).role == role))
    bench.ask(
        Replace(
            client_order_id=name.client_order_id,
            **{"stop_price" if role == "stop" else "limit_price": price},
        )
    )
    bench.advance(20_000)
    held = bench.held(role)
    assert str(held.stop_price if role == "stop" else held.limit_price) == price
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")


def test_an_order_of_no_group_is_moved_by_the_broker_alone() -> None:
    """Without a replace at the broker a plain order, or an entry, stays as it is: refused."""
    bench = BrokeredDesk(BROKER_KINDS["no_replace"])
    bench.bracket()
    plain = bench.submit("buy", "1", limit_price="90")
    bench.talk()
    for number in (plain.number, bench.group().entry):
        with pytest.raises(UnsupportedOrderTypeError, match="cancel and submit anew"):
            bench.ask(
                Replace(client_order_id=bench.order(number).client_order_id, limit_price="91")
            )


# Trails without a price.


def test_a_trail_without_a_quote_begins_at_what_was_paid() -> None:
    """Nobody tells a price and the broker has no stops that follow: a plain stop goes out behind
    what was paid, and never a type of order that the broker has not (P6).
    """
    types = frozenset(OrderType) - {OrderType.TRAILING_STOP}
    bench = BrokeredDesk(Capabilities(order_types=types))
    bench.buy(3)
    bench.ask(Protect(symbol="X", role="stop", trail="5"))
    bench.advance(3_000)
    assert (bench.working(), bench.held("stop").stop_price) == ({"stop": 3}, 95)
    sent = [getattr(one, "terms", None) for one in bench.effects]
    assert OrderType.TRAILING_STOP not in {terms.order_type for terms in sent if terms is not None}
