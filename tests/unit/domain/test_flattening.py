"""Flattening: cancel, confirm, exit exactly what is left; never more, and never given up."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.flattening import (
    FLATTEN_STUCK,
    LIMIT_PATIENCE_MS,
    STUCK_AFTER_MS,
)
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import (
    Connected,
    EngageKillSwitch,
    Flatten,
    ReleaseKillSwitch,
    Resume,
    SetOpeningBalance,
    StopFlatten,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Accepted, Outcome, RefusalCode, Refused, Unknown
from holdfast.domain.sessions import Session
from holdfast.domain.values import OrderType, Side, Status, TimeInForce
from holdfast.errors import InputError, UnknownSymbolError
from holdfast.testing.builders import DeskDriver


def holding(side: str = "buy", quantity: str = "5", **driver: object) -> DeskDriver:
    """A desk that is long, or short."""
    bench = DeskDriver(**driver)  # type: ignore[arg-type]  # each by its own name
    bench.opened(side, quantity)
    bench.trade("e1", quantity)
    return bench


def flatten(bench: DeskDriver, symbol: str = "X") -> Decision:
    """Ask for a position to be closed."""
    return bench.step(Flatten(symbol=symbol, by="ann", reason="enough"))


def exits(bench: DeskDriver) -> list[tuple[int, Side, Decimal | None]]:
    """Return number, side and quantity of every order that was sent to flatten."""
    sent = [one for one in bench.effects if isinstance(one, SubmitOrder) and one.role == "flat"]
    return [(one.number, one.terms.side, one.terms.quantity) for one in sent]


def told_ended(bench: DeskDriver, number: int, **fields: object) -> Decision:
    """Answer the question for an order's final figure."""
    return bench.look(bench.snapshot(number, status=Status.CANCELED, **fields), number=number)


@pytest.mark.parametrize(("side", "exit_side"), [("buy", Side.SELL), ("sell", Side.BUY)])
def test_a_position_without_orders_is_exited_at_once(side: str, exit_side: Side) -> None:
    """Long or short: one reduce-only market order for exactly what is held, and it is over."""
    bench = holding(side)
    decision = flatten(bench)
    assert exits(bench) == [(2, exit_side, Decimal(5))]
    order = bench.order(2)
    assert (order.terms.order_type, order.terms.reduce_only) == (OrderType.MARKET, True)
    assert order.reducing
    assert decision.numbers == ()
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    bench.trade("e1", "5", number=2)
    assert bench.position().quantity == 0
    assert not bench.desk.guard.flattening
    assert bench.desk.next_deadline() is None
    assert len(exits(bench)) == 1


def test_nothing_is_exited_before_everything_else_is_gone() -> None:
    """Entries and protection are cancelled first, and a cancel counts once confirmed (P4)."""
    bench = holding()
    bench.opened("sell", "5", order_type="stop", stop_price="90", reduce_only=True)
    bench.opened("buy", "3")
    decision = flatten(bench)
    assert decision.numbers == (2, 3)
    assert [one.number for one in bench.effects if isinstance(one, CancelOrder)] == [2, 3]
    bench.answer(Unknown(text="timeout"), number=2, wish=1)
    bench.trade("e1", "1", number=3)
    bench.say("canceled", number=3)
    bench.advance(4_000)
    assert not exits(bench), "the stop may still trade"
    bench.say("canceled", number=2)
    assert not exits(bench), "and may have traded before it ended"
    told_ended(bench, 2, cumulative=0)
    assert exits(bench) == [(4, Side.SELL, Decimal(6))]


def test_a_trade_that_its_cancel_overtook_makes_the_exit_smaller() -> None:
    """The stop sold two before it was cancelled, told late: three are left to sell (P5)."""
    bench = holding()
    bench.opened("sell", "5", order_type="stop", stop_price="90", reduce_only=True)
    flatten(bench)
    bench.say("canceled", number=2)
    told_ended(bench, 2, cumulative=2, average_price=90)
    bench.advance(3_000)
    assert exits(bench) == [(3, Side.SELL, Decimal(3))]


def test_an_exit_of_unknown_outcome_is_waited_for() -> None:
    """It timed out and had been accepted: one exit, position zero, never flipped (scenario 100)."""
    bench = holding()
    flatten(bench)
    bench.answer(Unknown(text="timeout"), number=2)
    bench.advance(20_000)
    assert len(exits(bench)) == 1
    bench.look(bench.snapshot(2), number=2)
    bench.trade("e1", "5", number=2)
    bench.advance(20_000)
    assert (len(exits(bench)), bench.position().quantity) == (1, 0)
    assert not bench.desk.guard.flattening


def test_what_an_exit_leaves_is_exited_again() -> None:
    """Cancelled by the broker after two of five: another exit for three, after a pause."""
    bench = holding()
    flatten(bench)
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    bench.trade("e1", "2", number=2)
    bench.say("canceled", number=2)
    told_ended(bench, 2, cumulative=2)
    bench.advance(1_000)
    assert exits(bench)[1:] == [(3, Side.SELL, Decimal(3))]


def test_refused_exits_are_repeated_ever_more_slowly_and_alert() -> None:
    """It never gives up, it slows down, and people are told once per window (P9)."""
    bench = holding()
    flatten(bench)
    moments = []
    for number in range(2, 12):
        while len(exits(bench)) < number - 1:
            bench.advance(100)
        moments.append(bench.now_ns)
        bench.answer(Refused(text="no"), number=number)
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert pauses[-1] > 20 * pauses[0]
    alerts = [event for event in bench.events if isinstance(event, e.AlertRaised)]
    assert alerts
    assert {alert.code for alert in alerts} == {FLATTEN_STUCK}
    spread = bench.desk.settings.policies.alerts.window_minutes * 60_000_000_000
    times = [alert.at_ns for alert in alerts]
    assert all(b - a >= spread for a, b in pairwise(times))


def test_a_closed_market_is_asked_once_a_minute() -> None:
    """A refusal because the market is closed is repeated at its own, slower pace."""
    bench = holding()
    flatten(bench)
    bench.answer(Refused(text="closed", code=RefusalCode.MARKET_CLOSED), number=2)
    bench.advance(CLOSED_RETRY_MS - 1_000)
    assert len(exits(bench)) == 1
    bench.advance(2_000)
    assert len(exits(bench)) == 2


def test_a_known_session_is_waited_for() -> None:
    """Once the broker said that the market is closed, no exit goes before the session opens."""
    night = Session(opens="09:00", closes="17:00", days=tuple(range(7)))
    policies = Policies(limits=Limits.none(), sessions={"day": night})
    bench = holding(instruments=[Instrument.of("X", session="day")], policies=policies)
    flatten(bench)
    bench.answer(Refused(text="closed", code=RefusalCode.MARKET_CLOSED), number=2)
    bench.advance(8 * 3_600_000)
    assert len(exits(bench)) == 1
    bench.advance(3_600_000 + CLOSED_RETRY_MS)
    assert len(exits(bench)) == 2


def test_an_order_whose_cancel_is_refused_is_cancelled_again() -> None:
    """It is read, found working, and cancelled again after a pause; the exit waits."""
    bench = holding()
    bench.opened("buy", "3")
    flatten(bench)
    bench.answer(Refused(text="busy"), number=2, wish=1)
    bench.look(bench.snapshot(2), number=2)
    bench.advance(3_000)
    assert [one.number for one in bench.effects if isinstance(one, CancelOrder)] == [2, 2]
    assert not exits(bench)
    bench.answer(Accepted(final=True), number=2, wish=2)
    assert len(exits(bench)) == 1


def test_an_exit_that_could_flip_is_cancelled() -> None:
    """A late trade of another order leaves less than the exit would close: a smaller one goes."""
    bench = holding()
    bench.opened("sell", "3", limit_price="105")
    bench.say("canceled", number=2)
    bench.advance(6_000)
    flatten(bench)
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    bench.trade("late", "3", number=2)
    assert bench.effects[-1] == next(one for one in bench.effects if isinstance(one, CancelOrder))
    bench.say("canceled", number=3)
    told_ended(bench, 3)
    bench.advance(1_000)
    assert exits(bench)[-1] == (4, Side.SELL, Decimal(2))


def test_dust_below_a_lot_is_left() -> None:
    """What is no whole lot cannot be ordered: the exit is rounded down, the rest ends it."""
    bench = DeskDriver(instruments=[Instrument.of("X", lot="0.1")])
    bench.step(SetOpeningBalance(symbol="X", quantity="0.57", price="100"))
    flatten(bench)
    assert exits(bench) == [(1, Side.SELL, Decimal("0.5"))]
    bench.answer(Accepted(broker_order_id="B1"))
    bench.trade("e1", "0.5")
    assert not bench.desk.guard.flattening
    assert bench.position().quantity == Decimal("0.07")


def test_all_symbols_are_flattened_where_none_is_named() -> None:
    """Each with a position or with orders, each for itself; what has neither is left alone."""
    bench = DeskDriver(instruments=[Instrument.of(name) for name in ("X", "Y", "Z")])
    bench.opened(symbol="X", quantity="1")
    bench.trade("e1", "1")
    bench.opened(symbol="Y")
    flatten(bench, "")
    assert list(bench.desk.guard.flattening) == ["X", "Y"]
    bench.say("canceled", number=2)
    told_ended(bench, 2)
    assert list(bench.desk.guard.flattening) == ["X"]


def test_an_exit_that_was_cancelled_just_before_is_asked_for_first() -> None:
    """Its confirmation may have overtaken a trade, also if nothing else is open of it (P2)."""
    bench = holding()
    bench.opened("sell", "5", reduce_only=True)
    bench.say("canceled", number=2)
    bench.desk.rest()
    flatten(bench)
    assert not exits(bench), "its last trade may still be on its way"
    bench.trade("late", "5", number=2)
    told_ended(bench, 2, cumulative=5)
    bench.advance(10_000)
    assert (exits(bench), bench.position().quantity) == ([], 0)
    assert not bench.desk.guard.flattening


@pytest.mark.parametrize("outcome", [Unknown(text="timeout"), Refused(text="busy")])
def test_an_entry_that_cannot_be_got_rid_of_holds_up_no_exit(outcome: Outcome) -> None:
    """It can only add: the exit waits a moment for its end, and is as large as what is held."""
    bench = holding()
    bench.opened("buy", "3")
    flatten(bench)
    bench.answer(outcome, number=2, wish=1)
    bench.advance(4_000)
    assert not exits(bench)
    bench.advance(2_000)
    assert exits(bench) == [(3, Side.SELL, Decimal(5))]
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    bench.trade("e1", "5", number=3)
    assert bench.desk.guard.flattening, "what the entry buys is sold, too"
    bench.trade("e2", "3", number=2)
    assert exits(bench)[1:] == [(4, Side.SELL, Decimal(3))]


def test_an_exit_that_cannot_be_got_rid_of_leaves_the_rest_to_be_closed() -> None:
    """Of five, a stop of unknown fate may sell two: three are sold meanwhile, never more."""
    bench = holding()
    bench.opened("sell", "2", order_type="stop", stop_price="90", reduce_only=True)
    flatten(bench)
    bench.answer(Unknown(text="timeout"), number=2, wish=1)
    bench.advance(6_000)
    assert exits(bench) == [(3, Side.SELL, Decimal(3))]
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    bench.trade("e1", "3", number=3)
    bench.trade("e1", "2", number=2)
    bench.answer(Refused(text="too late", code=RefusalCode.TOO_LATE), number=2, wish=1)
    assert (len(exits(bench)), bench.position().quantity) == (1, 0)
    assert not bench.desk.guard.flattening


@pytest.mark.parametrize(("side", "price"), [("buy", "98.50"), ("sell", "101.51")])
def test_without_market_orders_a_limit_order_reaches_past_the_quote(side: str, price: str) -> None:
    """As far as the slippage guard; without a quote it waits, and an untraded one is renewed."""
    can = Capabilities(order_types=frozenset({OrderType.LIMIT}))
    bench = holding(side, capabilities=can)
    flatten(bench)
    bench.advance(1_000)
    assert not exits(bench), "nobody knows a price"
    bench.quote("99", "101")
    order = bench.order(2)
    assert (order.terms.order_type, order.terms.limit_price) == (OrderType.LIMIT, Decimal(price))
    assert (order.terms.reduce_only, order.terms.time_in_force) == (True, TimeInForce.IOC)
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    bench.advance(LIMIT_PATIENCE_MS)
    assert isinstance(bench.effects[-1], CancelOrder)
    bench.answer(Accepted(final=True), number=2, wish=1)
    told_ended(bench, 2)
    bench.quote("50", "50")
    bench.advance(1_000)
    assert bench.order(3).terms.limit_price in {Decimal("49.75"), Decimal("50.25")}
    assert len(exits(bench)) == 2


def test_a_person_stops_it() -> None:
    """Its exit is cancelled and nothing more is sent; who and why stand in the journal."""
    bench = holding()
    flatten(bench)
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    decision = bench.step(StopFlatten(symbol="X", by="bob", reason="a mistake"))
    assert decision.numbers == (2,)
    ended = next(event for event in decision.events if isinstance(event, e.FlattenEnded))
    assert (ended.by, ended.reason) == ("bob", "a mistake")
    assert isinstance(bench.effects[-1], CancelOrder)
    bench.answer(Accepted(final=True), number=2, wish=1)
    bench.advance(60_000)
    assert (len(exits(bench)), bench.position().quantity) == (1, 5)
    assert not bench.step(StopFlatten(by="bob", reason="again")).events
    assert bench.refolded().guard == bench.desk.guard


def test_what_the_kill_switch_flattens_is_stopped_by_releasing_it_first() -> None:
    """It would begin anew at once: the answer says what to do instead."""
    bench = holding()
    bench.step(EngageKillSwitch(by="ann", reason="out", action="flatten"))
    stop = StopFlatten(symbol="X", by="bob", reason="a mistake")
    assert "release it first" in str(bench.step(stop).error)
    bench.step(ReleaseKillSwitch(by="bob", reason="over"))
    assert "X" in bench.desk.guard.flattening
    assert bench.step(stop).error is None
    assert not bench.desk.guard.flattening


def test_a_second_person_is_journaled_and_starts_nothing_anew() -> None:
    """Who wants the same as well is written down once; what was tried so far still counts."""
    bench = holding()
    flatten(bench)
    bench.answer(Refused(text="no"), number=2)
    before = bench.desk.guard.closings["X"].since_ns, bench.desk.guard.closings["X"].tries
    second = Flatten(symbol="X", by="bob", reason="me too")
    assert isinstance(bench.step(second).events[0], e.FlattenStarted)
    assert not [x for x in bench.step(second).events if isinstance(x, e.FlattenStarted)]
    closing = bench.desk.guard.closings["X"]
    assert (closing.since_ns, closing.tries) == before
    assert bench.desk.guard.flattening == {"X": "bob"}


def test_it_goes_on_after_a_restart_once_the_orders_are_known() -> None:
    """Nothing is sent before the first complete poll; then the exit goes (P2, P6)."""
    bench = holding()
    bench.opened("buy", "3")
    flatten(bench)
    bench.desk = Desk.load(bench.desk.dump(), bench.settings)
    bench.step(Connected(Capabilities()))
    bench.step(Resume(wall_offset_ns=0))
    bench.say("canceled", number=2)
    told_ended(bench, 2)
    bench.advance(5_000)
    assert not exits(bench)
    bench.poll(complete=True)
    assert exits(bench) == [(3, Side.SELL, Decimal(5))]
    assert bench.refolded().guard == bench.desk.guard


def test_an_exit_has_a_time_in_force_that_the_broker_takes() -> None:
    """Where there is no good-till-cancel, a day order does."""
    can = Capabilities(times_in_force=frozenset({TimeInForce.DAY, TimeInForce.IOC}))
    bench = DeskDriver(capabilities=can)
    bench.step(SetOpeningBalance(symbol="X", quantity="5", price="100"))
    flatten(bench)
    assert bench.order().terms.time_in_force is TimeInForce.DAY


def test_a_flat_symbol_is_flat_at_once_and_twice_is_once() -> None:
    """Nothing to do is done in the same step; a second call starts nothing anew."""
    bench = DeskDriver()
    kinds = [e.KINDS[type(event)] for event in flatten(bench).events]
    assert kinds == ["flatten_started", "flatten_ended"]
    bench.opened()
    flatten(bench)
    assert flatten(bench).events == []


def test_bad_input_starts_nothing() -> None:
    """No name, no reason, an unknown symbol: refused whole."""
    bench = holding()
    number: Any = 5
    for given, error in (
        (Flatten(by="", reason="x"), InputError),
        (Flatten(by="ann", reason=""), InputError),
        (Flatten(symbol="NO", by="ann", reason="x"), UnknownSymbolError),
        (Flatten(symbol=number, by="ann", reason="x"), InputError),
        (StopFlatten(symbol="NO", by="ann", reason="x"), UnknownSymbolError),
        (StopFlatten(symbol="X", by="", reason="x"), InputError),
    ):
        decision = bench.step(given)
        assert isinstance(decision.error, error)
        assert not decision.events


def test_a_long_wait_names_what_it_waits_for() -> None:
    """The alert says which orders may still trade and how much is held."""
    bench = holding()
    bench.opened("sell", "5", reduce_only=True)
    flatten(bench)
    bench.advance(STUCK_AFTER_MS + 1_000)
    alerts = [event for event in bench.events if isinstance(event, e.AlertRaised)]
    alert = next(alert for alert in alerts if alert.code == FLATTEN_STUCK)
    assert alert.symbol == "X"
    assert "5 held" in alert.text
    assert "2 (open)" in alert.text
