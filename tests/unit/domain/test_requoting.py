"""Pegged orders follow their price: when they move, how, and when they do not."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Limits, Policies, RequoteRules, StaleRules
from holdfast.domain.quotes import Quote, fresh_quote
from holdfast.domain.reports import Accepted, RefusalCode, Refused, Unknown
from holdfast.domain.sessions import Session
from holdfast.domain.values import Status, plain
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderCancellationError
from holdfast.testing.builders import DeskDriver

_Kind = TypeVar("_Kind", CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder)
EMULATED = Capabilities(native_replace=False)
SECOND_MS = 1_000


def desk(
    capabilities: Capabilities | None = None, *, stale: StaleRules | None = None, **rules: object
) -> DeskDriver:
    """A desk with a fresh quote of 99 to 101."""
    policies = Policies(
        requote=RequoteRules(**rules),  # type: ignore[arg-type]  # the test's own words
        stale=stale or StaleRules(),
        limits=Limits.none(),
    )
    bench = DeskDriver(policies=policies, capabilities=capabilities)
    bench.quote("99", "101")
    return bench


def follower(bench: DeskDriver, side: str = "buy", peg: str = "bid", **terms: object) -> Order:
    """A working order of ten that follows a price, old enough to move."""
    order = bench.opened(side, limit_price=None, peg=peg, **terms)
    bench.advance(SECOND_MS)
    return order


def sent(bench: DeskDriver, kind: type[_Kind]) -> list[_Kind]:
    """The effects of a kind so far."""
    return [effect for effect in bench.effects if isinstance(effect, kind)]


def decided(bench: DeskDriver) -> list[str]:
    """The prices that were decided on so far."""
    return [plain(x.price) for x in bench.events if isinstance(x, e.RequoteDecided)]


def dropped(bench: DeskDriver) -> list[str]:
    """Why moves were dropped so far."""
    return [x.reason for x in bench.events if isinstance(x, e.RequoteDropped)]


def moved(bench: DeskDriver, number: int = 1, *, filled: str = "0") -> Order:
    """Let the cancel of an order be confirmed and its figure be told; return the successor."""
    bench.answer(Accepted(broker_order_id=f"B{number}", final=True), number=number, wish=1)
    shown = bench.snapshot(number, status=Status.CANCELED, cumulative=filled)
    bench.look(shown, number=number)
    return bench.order(number + 1)


@pytest.mark.parametrize(
    ("side", "peg", "first", "later"),
    [
        ("buy", "bid", "99", "99.3"),
        ("buy", "mid", "100", "100.2"),
        ("sell", "ask", "101", "101.1"),
        ("sell", "mid", "100", "100.2"),
    ],
)
def test_an_order_follows_its_side_of_the_quote(
    side: str, peg: str, first: str, later: str
) -> None:
    """A better price is one replace, journaled with the quote that it was decided by."""
    bench = desk()
    order = follower(bench, side, peg)
    assert order.terms.limit_price == Decimal(first)
    bench.quote("99.3", "101.1")
    (replace,) = sent(bench, ReplaceOrder)
    assert (replace.terms.limit_price, replace.terms.quantity) == (Decimal(later), 10)
    (decision,) = [x for x in bench.events if isinstance(x, e.RequoteDecided)]
    assert (decision.native, decision.quote.bid) == (True, Decimal("99.3"))
    bench.say("replaced", wire_id=bench.wire_id(1, 1))
    assert bench.order().terms.limit_price == Decimal(later)
    assert bench.order().requotes == 1


def test_less_than_the_least_improvement_moves_nothing() -> None:
    """Two ticks are worth it here, one is not; the same price never is."""
    bench = desk(minimum_ticks=2)
    follower(bench)
    for bid in ("99", "99.01", "98.99"):
        bench.quote(bid, "101")
    assert not decided(bench)
    bench.quote("98.98", "101")
    assert decided(bench) == ["98.98"]


def test_a_price_that_comes_too_soon_is_caught_up_with_without_another_quote() -> None:
    """The interval passes; the newest quote counts, as long as it is fresh."""
    bench = desk(interval_ms=2_500)
    bench.opened(limit_price=None, peg="bid")
    bench.quote("99.1", "101")
    bench.quote("99.2", "101")
    bench.advance(2_000)
    assert not decided(bench)
    bench.advance(2_000)
    assert decided(bench) == ["99.2"]


def test_an_old_quote_moves_nothing() -> None:
    """What was too soon to follow and then too old is not followed."""
    bench = desk(interval_ms=6_000)
    bench.opened(limit_price=None, peg="bid")
    bench.quote("99.1", "101")
    bench.advance(60_000)
    assert not decided(bench)


def test_an_order_moves_at_most_so_often() -> None:
    """Each order has its bound, whatever comes of the moves."""
    bench = desk(per_order_max=3)
    follower(bench)
    for step in range(10):
        bench.quote(f"99.{step + 1}", "101")
        for replace in sent(bench, ReplaceOrder)[-1:]:
            bench.answer(Refused(text="no"), wish=replace.wish)
            bench.look(bench.snapshot())
        bench.advance(SECOND_MS)
    assert len(decided(bench)) == 3


def test_the_orders_of_a_symbol_move_at_most_so_often_a_day() -> None:
    """The bound of a symbol holds for all its orders, and begins anew with the trading day."""
    bench = desk(per_symbol_max=3)
    for _ in range(2):
        bench.opened(limit_price=None, peg="bid")
    for day in range(1, 4):
        for step in range(5):
            bench.advance(SECOND_MS)
            bench.quote(f"99.{day}{step}", "101")
            for number in (1, 2):
                for wish in bench.order(number).wishes:
                    bench.say("replaced", number=number, wire_id=bench.wire_id(number, wish.wish))
        assert len(decided(bench)) == 3 * day
        bench.now_ns += 24 * 3_600 * SECOND_MS * NS_PER_MS


@pytest.mark.parametrize("capabilities", [None, EMULATED])
@pytest.mark.parametrize(
    ("side", "bid", "ask", "worst"), [("buy", "150", "151", "100.5"), ("sell", "50", "51", "99.5")]
)
def test_an_order_never_goes_past_its_slippage_guard(
    capabilities: Capabilities | None, side: str, bid: str, ask: str, worst: str
) -> None:
    """However far the market runs, the price stops at the worst of the beginning."""
    bench = desk(capabilities)
    order = follower(bench, side, "bid" if side == "buy" else "ask")
    assert order.terms.peg is not None
    assert order.terms.peg.worst == Decimal(worst)
    bench.quote(bid, ask)
    assert decided(bench) == [worst]
    if capabilities is not None:
        assert moved(bench).terms.limit_price == Decimal(worst)


def test_without_a_replace_a_successor_takes_over_what_is_left() -> None:
    """Cancel, confirmation, final figure, and only then the rest under a new id."""
    bench = desk(EMULATED)
    follower(bench, strategy="maker", post_only=True, client_order_id="mine")
    bench.trade("e1", "3")
    bench.quote("99.5", "101")
    assert len(sent(bench, CancelOrder)) == 1
    assert bench.order().moving_to == Decimal("99.5")
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    bench.say("order_status")
    assert len(sent(bench, SubmitOrder)) == 1, "a trade may still be on its way"
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative="3"))
    before, after = bench.order(1), bench.order(2)
    assert (before.status, before.successor, before.moving_to) == (Status.CANCELED, 2, None)
    assert (after.succeeds, after.requotes, after.began_ns) == (1, 1, before.created_ns)
    assert (after.terms.quantity, after.terms.limit_price) == (7, Decimal("99.5"))
    assert (after.strategy, after.terms.post_only) == ("maker", True)
    assert after.terms.peg == before.terms.peg
    assert after.wire_id != before.wire_id


def test_a_trade_that_overtakes_the_cancel_makes_the_successor_smaller() -> None:
    """What the broker's final figure tells is counted before what is left is sent again."""
    bench = desk(EMULATED)
    follower(bench)
    bench.quote("99.5", "101")
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative="4"))
    assert len(sent(bench, SubmitOrder)) == 1, "the figure waits for its executions"
    bench.trade("e1", "4")
    bench.advance(3_000)
    assert bench.order(2).terms.quantity == 6
    assert bench.order(1).filled_quantity + bench.order(2).open_quantity == 10


def test_the_successor_has_the_latest_price() -> None:
    """Between decision and confirmation the market moves on; without a quote the decision holds."""
    bench = desk(EMULATED)
    follower(bench)
    bench.quote("99.5", "101")
    bench.quote("99.7", "101")
    assert moved(bench).terms.limit_price == Decimal("99.7")
    late = desk(EMULATED)
    follower(late)
    late.quote("99.5", "101")
    late.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    late.advance(30_000)
    late.look(late.snapshot(status=Status.CANCELED, cumulative="0"))
    assert late.order(2).terms.limit_price == Decimal("99.5")


@pytest.mark.parametrize("by_fill", [True, False])
def test_an_order_that_cannot_be_cancelled_gets_no_successor(by_fill: bool) -> None:
    """Filled or refused: the move is dropped with its reason, and the order is what it is."""
    bench = desk(EMULATED)
    follower(bench)
    bench.quote("99.5", "101")
    if by_fill:
        bench.trade("e1", "10")
        assert bench.order().status is Status.FILLED
    bench.answer(Refused(text="too late", code=RefusalCode.TOO_LATE), wish=1)
    (reason,) = dropped(bench)
    assert reason == ("it is filled" if by_fill else "its cancel was refused: too late")
    assert bench.order().moving_to is None
    bench.advance(60_000)
    assert bench.desk.next_number == 2


def engage(bench: DeskDriver) -> None:
    """Engage the kill switch."""
    bench.step(inputs.EngageKillSwitch(by="ann", reason="news"))


def cancel(bench: DeskDriver) -> None:
    """Cancel the order by its name."""
    assert bench.cancel().error is None


def cancel_all(bench: DeskDriver) -> None:
    """Cancel everything."""
    assert bench.step(inputs.CancelAll(by="ann")).numbers == (1,)


def flatten(bench: DeskDriver) -> None:
    """Close the position."""
    bench.step(inputs.Flatten(symbol="X", by="ann", reason="enough"))


@pytest.mark.parametrize("stop", [engage, cancel, cancel_all, flatten])
@pytest.mark.parametrize("confirmed", [True, False])
def test_whoever_stops_entries_meanwhile_ends_the_chain(
    stop: Callable[[DeskDriver], None], confirmed: bool
) -> None:
    """Before the confirmation or after it: no successor, and nothing left waiting."""
    bench = desk(EMULATED)
    follower(bench)
    bench.quote("99.5", "101")
    if confirmed:
        bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    stop(bench)
    bench.advance(SECOND_MS)
    assert len(dropped(bench)) == 1
    if not confirmed:
        bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    if sent(bench, LookupOrder):
        bench.look(bench.snapshot(status=Status.CANCELED, cumulative="0"))
    bench.advance(60_000)
    assert bench.desk.next_number == 2
    assert bench.order().is_settled
    assert bench.desk.statistics()["orders_active"] == 0


def test_what_waits_for_its_successor_is_exposure_and_can_be_cancelled() -> None:
    """Between the confirmed cancel and the successor nothing else can take its place."""
    bench = desk(EMULATED)
    follower(bench)
    bench.quote("99.5", "101")
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    order = bench.order()
    assert (order.status, order.open_quantity, order.most_open) == (Status.CANCELED, 10, 10)
    assert list(bench.desk.active()) == [order]
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative="0"))
    assert [one.number for one in bench.desk.active()] == [2]


def test_the_first_name_of_a_chain_cancels_its_last_order() -> None:
    """A caller need not know that the order moved; once that ended there is nothing to cancel."""
    bench = desk(EMULATED)
    follower(bench, client_order_id="mine")
    bench.quote("99.5", "101")
    moved(bench)
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    assert bench.step(inputs.Cancel(client_order_id="mine")).number == 2
    assert [x.number for x in sent(bench, CancelOrder)] == [1, 2]
    bench.say("canceled", number=2)
    late = bench.step(inputs.Cancel(client_order_id="mine"))
    assert isinstance(late.error, OrderCancellationError)


def test_no_order_moves_while_entries_are_stopped_but_exits_do() -> None:
    """A released switch lets orders move again; a reduce-only order never stopped (P7)."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "10")
    follower(bench, "sell", "ask", reduce_only=True)
    engage(bench)
    bench.quote("99", "100.5")
    (replace,) = sent(bench, ReplaceOrder)
    assert replace.number == 2


@pytest.mark.parametrize("marked", [True, False])
def test_a_breaker_keeps_no_exit_from_its_successor(marked: bool) -> None:
    """Marked or let through as one, an exit goes on while entries are refused (P7)."""
    bench = desk(EMULATED)
    bench.opened()
    bench.trade("e1", "10")
    follower(bench, "sell", "ask", reduce_only=marked)
    bench.quote("99", "100.5")
    engage(bench)
    bench.answer(Accepted(broker_order_id="B2", final=True), number=2, wish=1)
    bench.look(bench.snapshot(2, status=Status.CANCELED, cumulative="0"), number=2)
    assert not dropped(bench)
    after = bench.order(3)
    assert (after.reducing, after.terms.limit_price) == (True, Decimal("100.5"))


@pytest.mark.parametrize(("sold", "left"), [("4", "6"), ("10", "")])
def test_the_successor_of_an_exit_is_no_larger_than_what_is_left_to_close(
    sold: str, left: str
) -> None:
    """What was sold meanwhile by force is taken off; with nothing held there is none."""
    bench = desk(EMULATED)
    bench.opened()
    bench.trade("e1", "10")
    follower(bench, "sell", "ask", reduce_only=True)
    bench.quote("99", "100.5")
    bench.opened("sell", sold, order_type="market", reduce_only=True, force=True)
    bench.trade("e1", sold, number=3)
    bench.answer(Accepted(broker_order_id="B2", final=True), number=2, wish=1)
    bench.look(bench.snapshot(2, status=Status.CANCELED, cumulative="0"), number=2)
    if left:
        assert bench.order(4).terms.quantity == Decimal(left)
    else:
        assert dropped(bench) == ["nothing is left of it"]


def limited(capabilities: Capabilities | None = None, **limits: object) -> DeskDriver:
    """A desk with limits and a fresh quote of 99 to 101."""
    none = {"open_orders_max": None, "price_collar_pct": None, "buying_power": False}
    rules = Limits(**(none | limits))  # type: ignore[arg-type]  # the test's own words
    bench = DeskDriver(policies=Policies(limits=rules), capabilities=capabilities)
    bench.quote("99", "101")
    return bench


@pytest.mark.parametrize("capabilities", [None, EMULATED])
@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"order_notional_max": Decimal(991)}, "ORDER_NOTIONAL"),
        ({"capital": Decimal(991)}, "BUYING_POWER"),
        ({"gross_exposure_max": Decimal(991)}, "GROSS_EXPOSURE"),
    ],
)
def test_an_order_stays_where_a_limit_forbids_its_move(
    capabilities: Capabilities | None, limits: dict[str, object], code: str
) -> None:
    """A move is measured like a replace; the refusal is recorded once, cheaper prices pass (P9)."""
    bench = limited(capabilities, **limits)
    follower(bench)
    for bid in ("99.2", "99.3", "99.4"):
        bench.quote(bid, "101")
        bench.advance(2 * SECOND_MS)
    assert not decided(bench)
    assert [x.code for x in bench.events if isinstance(x, e.RefusalRecorded)] == [code]
    bench.quote("98.5", "101")
    assert decided(bench) == ["98.5"]


def test_an_order_does_not_move_into_an_own_one() -> None:
    """It would trade with the desk's own sale."""
    bench = limited()
    follower(bench)
    bench.opened("sell", "1", limit_price="99.1")
    bench.quote("99.1", "101")
    assert not decided(bench)
    assert bench.desk.guard.refusals == {"SELF_CROSS": 1}


def test_a_successor_that_the_limits_forbid_meanwhile_is_not_sent() -> None:
    """Between the decision and the end of the old order the room was taken: the move is dropped."""
    bench = limited(EMULATED, gross_exposure_max=Decimal(1_200))
    follower(bench)
    bench.quote("99.5", "101")
    bench.desk.settings = msgspec.structs.replace(
        bench.settings, policies=Policies(limits=Limits(order_quantity_max=Decimal(1)))
    )
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative="0"))
    (reason,) = dropped(bench)
    assert reason.startswith("ORDER_QUANTITY")
    assert bench.desk.next_number == 2


def test_an_older_quote_changes_nothing_and_none_comes_from_the_future() -> None:
    """What was overtaken on its way is dropped; a source whose clock is ahead grows old, too."""
    bench = desk()
    older = Quote(symbol="X", bid=Decimal(50), ask=Decimal(51), at_ns=bench.now_ns - 1)
    bench.step(inputs.Quoted((older,)))
    assert bench.desk.quotes["X"].bid == 99
    ahead = Quote(symbol="X", bid=Decimal(98), ask=Decimal(99), at_ns=bench.now_ns + 10**15)
    bench.step(inputs.Quoted((ahead,)))
    assert bench.desk.quotes["X"].at_ns == bench.now_ns
    bench.advance(60_000)
    assert fresh_quote(bench.desk, "X") is None


def test_a_quote_of_a_symbol_that_nobody_trades_is_not_kept() -> None:
    """A source that tells of the whole market fills no memory (P9)."""
    bench = desk()
    for number in range(10):
        bench.quote("1", "2", symbol=f"Q{number}")
    assert list(bench.desk.quotes) == ["X"]


def test_a_closed_market_moves_nothing() -> None:
    """Outside its hours an instrument's quotes are nobody's price."""
    hours = Session(opens="09:30", closes="16:00")
    policies = Policies(sessions={"day": hours}, limits=Limits.none())
    bench = DeskDriver(policies=policies, instruments=(Instrument.of("X", session="day"),))
    close = datetime(2025, 6, 18, 15, 59, tzinfo=UTC).timestamp()
    bench.step(inputs.ClockStep(wall_offset_ns=int(close) * 1_000_000_000 - bench.now_ns))
    bench.quote("99", "101")
    follower(bench)
    bench.quote("99.2", "101")
    assert decided(bench) == ["99.2"]
    bench.say("replaced", wire_id=bench.wire_id(1, 1))
    bench.advance(60_000)
    bench.quote("99.5", "101")
    assert decided(bench) == ["99.2"]


def test_a_stale_order_is_cancelled_and_not_moved() -> None:
    """The age of a chain is that of its first order: moving does not keep it alive for ever."""
    bench = desk(EMULATED, stale=StaleRules(after_ms=4_000))
    follower(bench)
    bench.quote("99.2", "101")
    moved(bench)
    bench.answer(Accepted(broker_order_id="B2"), number=2)
    bench.advance(4_000)
    (swept,) = [x for x in bench.events if isinstance(x, e.OrdersSwept)]
    assert (swept.numbers, bench.order(2).moving_to) == ((2,), None)
    bench.quote("99.4", "101")
    assert decided(bench) == ["99.2"]


@pytest.mark.parametrize("answered", [True, False])
def test_an_order_with_anything_open_does_not_move(answered: bool) -> None:
    """One request at a time, and none while nobody knows how the last one ended."""
    bench = desk()
    follower(bench)
    bench.quote("99.2", "101")
    if answered:
        bench.answer(Unknown(text="timeout"), wish=1)
    bench.advance(SECOND_MS)
    bench.quote("99.4", "101")
    assert decided(bench) == ["99.2"]


def test_after_a_start_nothing_moves_before_the_orders_are_known() -> None:
    """Neither a quote nor a successor that is due; after the first poll both (scenario 103)."""
    bench = desk(EMULATED)
    follower(bench)
    follower(bench, "sell", "ask")
    bench.quote("99.2", "101")
    bench.step(inputs.Resume(wall_offset_ns=0))
    bench.quote("99.2", "100.5")
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    bench.advance(0)
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative="0"))
    bench.advance(2_000)
    assert (decided(bench), bench.desk.next_number) == (["99.2"], 3)
    bench.poll(bench.snapshot(2), complete=True)
    bench.advance(SECOND_MS)
    assert (decided(bench), bench.desk.next_number) == (["99.2", "100.5"], 4)


def test_an_unusable_quote_is_no_quote_and_recorded_once() -> None:
    """Garbage prices move nothing and do not fill the journal."""
    bench = desk()
    follower(bench)
    for _ in range(3):
        bench.quote("NaN", "1e99")
    assert (decided(bench), bench.anomalies()) == ([], ["UNUSABLE_QUOTE"])
    bench.quote("99.2", "101")
    assert decided(bench) == ["99.2"]


def test_quotes_are_never_journaled_by_themselves() -> None:
    """Without an order that follows them they leave no event."""
    bench = desk()
    bench.opened()
    before = len(bench.events)
    bench.quote("99.2", "101")
    assert len(bench.events) == before
    assert bench.desk.quotes["X"] == Quote(
        symbol="X", bid=Decimal("99.2"), ask=Decimal(101), at_ns=bench.now_ns
    )


def test_a_chain_folds_from_its_journal_and_its_lookups_are_few() -> None:
    """The same desk without settings (P8); one question for each move (P9)."""
    bench = desk(EMULATED)
    follower(bench)
    for number in range(1, 5):
        bench.quote(f"99.{number}", "101")
        moved(bench, number)
        bench.answer(Accepted(broker_order_id=f"B{number + 1}"), number=number + 1)
        bench.advance(SECOND_MS)
    assert decided(bench) == ["99.1", "99.2", "99.3", "99.4"]
    assert len(sent(bench, LookupOrder)) == 4
    assert bench.order(5).requotes == 4
    assert bench.refolded().dump() == bench.desk.dump()
