"""Entries that have waited too long: which they are, how they go, and when nobody confirms it."""

from datetime import UTC, datetime
from typing import Literal, TypeVar

import pytest

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import ARCHIVE_SLACK, Desk
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies, StaleRules
from holdfast.domain.reports import Accepted, NotSent, Outcome, RefusalCode, Refused, Unknown
from holdfast.domain.sessions import Session
from holdfast.domain.settings import Settings
from holdfast.domain.values import Condition, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.builders import DeskDriver

_Kind = TypeVar("_Kind", e.CancelRequested, e.ConditionChanged, e.OrdersSwept)
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
TIMEOUT = Unknown(text="timeout")


def desk(
    *,
    after_ms: int = MINUTE_MS,
    capabilities: Capabilities | None = None,
    instruments: tuple[Instrument, ...] = (Instrument.of("X"), Instrument.of("Y")),
    sessions: dict[str, Session] | None = None,
    **rules: object,
) -> DeskDriver:
    """A desk whose entries may wait a minute, unless told otherwise."""
    stale = StaleRules(after_ms=after_ms, **rules)  # type: ignore[arg-type]  # the test's own words
    policies = Policies(stale=stale, limits=Limits.none(), sessions=sessions or {})
    return DeskDriver(policies=policies, capabilities=capabilities, instruments=instruments)


def cancels(effects: list[Effect]) -> list[CancelOrder]:
    """The cancels among effects."""
    return [effect for effect in effects if isinstance(effect, CancelOrder)]


def of_kind(bench: DeskDriver, kind: type[_Kind]) -> list[_Kind]:
    """The events of a kind so far."""
    return [event for event in bench.events if isinstance(event, kind)]


def manage(bench: DeskDriver) -> tuple[int, ...]:
    """Look for stale orders by hand and return the orders that were."""
    return bench.step(inputs.ManageOrders(by="ann")).numbers


def test_in_dry_run_nothing_is_cancelled_for_its_age() -> None:
    """No sweep, no cancel, and no timer that would look for any (scenario 14)."""
    bench = desk()
    bench.step(inputs.Open(desk="d", epoch="0123456789ab", account="main", mode="dry_run"))
    bench.opened()
    assert not cancels(bench.advance(HOUR_MS))
    assert manage(bench) == ()
    assert bench.desk.next_deadline() is None


@pytest.mark.parametrize("after_ms", [0, -1])
def test_zero_or_less_switches_it_off(after_ms: int) -> None:
    """Nothing is ever too old, and the desk does not wake to look (scenario 15)."""
    bench = desk(after_ms=after_ms)
    bench.opened()
    assert not bench.advance(HOUR_MS)
    assert manage(bench) == ()
    assert bench.desk.next_deadline() is None


def test_an_order_within_its_time_stays() -> None:
    """The limit itself is not yet too long (scenario 16)."""
    bench = desk(sweep_every_ms=10 * MINUTE_MS)
    order = bench.opened()
    bench.now_ns = order.created_ns + (MINUTE_MS - 1) * NS_PER_MS
    assert manage(bench) == ()
    assert bench.step(inputs.ManageOrders(), after_ms=1).numbers == (order.number,)


def test_a_stale_order_is_cancelled_once_with_its_age_for_a_reason() -> None:
    """One cancel; CANCELED when the broker says so, and not before (scenario 17)."""
    bench = desk(sweep_every_ms=2_500)
    bench.opened()
    (cancel,) = cancels(bench.advance(MINUTE_MS + 2_500))
    (swept,) = of_kind(bench, e.OrdersSwept)
    (wanted,) = of_kind(bench, e.CancelRequested)
    assert swept == e.OrdersSwept(
        at_ns=swept.at_ns, numbers=(1,), reason="stale", by="holdfast", batch=1
    )
    assert (wanted.reason, wanted.by) == ("stale: 61.4 s", "holdfast")
    assert (cancel.broker_order_id, cancel.batch) == ("B1", 1)
    assert bench.order().status is Status.OPEN
    bench.answer(Accepted(broker_order_id="B1", final=True), wish=1)
    assert bench.order().status is Status.CANCELED
    assert not cancels(bench.advance(HOUR_MS))


def test_stale_orders_go_in_one_batch() -> None:
    """All that is too old at one look is one sweep; what is younger stays (scenario 18)."""
    bench = desk()
    for _ in range(3):
        bench.opened()
    bench.advance(30_000)
    bench.opened()
    sent = cancels(bench.advance(31_000))
    assert [(cancel.number, cancel.batch) for cancel in sent] == [(1, 1), (2, 1), (3, 1)]
    assert len(of_kind(bench, e.OrdersSwept)) == 1


def test_after_a_failed_batch_each_order_is_cancelled_by_itself() -> None:
    """A batch without an answer is followed by single cancels, none in a batch (scenario 19)."""
    bench = desk()
    for _ in range(2):
        bench.opened()
    bench.advance(MINUTE_MS + 1_000)
    for number in (1, 2):
        bench.answer(TIMEOUT, number=number, wish=1)
    again = cancels(bench.advance(2_000))
    singly = {(cancel.number, cancel.attempt, cancel.batch) for cancel in again}
    assert singly == {(1, 2, 0), (2, 2, 0)}


def test_of_a_mixed_batch_only_the_successes_end() -> None:
    """What was refused works on, is read, and is tried again after a while (scenario 20)."""
    bench = desk()
    for _ in range(2):
        bench.opened()
    bench.advance(MINUTE_MS + 1_000)
    bench.answer(Accepted(broker_order_id="B1", final=True), number=1, wish=1)
    bench.answer(Refused(text="busy"), number=2, wish=1)
    assert [bench.order(n).status for n in (1, 2)] == [Status.CANCELED, Status.OPEN]
    bench.look(bench.snapshot(2), number=2)
    (again,) = cancels(bench.advance(3_000))
    assert (again.number, again.batch) == (2, 2)


def test_a_refused_cancel_is_tried_again_ever_later() -> None:
    """A broker that keeps saying no is asked ever less often, for ever (scenario 20)."""
    bench = desk()
    bench.opened()
    bench.advance(MINUTE_MS)
    for _ in range(600):
        for cancel in cancels(bench.advance(1_000)):
            bench.answer(Refused(text="not now"), wish=cancel.wish)
            bench.look(bench.snapshot())
    assert 10 <= len(cancels(bench.effects)) <= 20, "ten minutes of refusals"
    assert bench.order().status is Status.OPEN
    assert not of_kind(bench, e.ConditionChanged), "refused is answered, not abandoned"


@pytest.mark.parametrize("outcome", [TIMEOUT, NotSent(text="no connection")])
def test_an_order_whose_cancel_nobody_confirms_is_abandoned_once(outcome: Outcome) -> None:
    """Its slot is free; it is exposure all the same, counted, and cancelled again (scenario 21)."""
    bench = desk()
    bench.opened()
    for _ in range(200):
        bench.advance(1_000)
        wish = bench.order().wish(1)
        if wish is not None:
            bench.answer(outcome, wish=1)
    order = bench.order()
    assert (order.status, order.condition) == (Status.OPEN, Condition.ABANDONED)
    (changed,) = of_kind(bench, e.ConditionChanged)
    assert 30_000 < (changed.at_ns - order.gone_ns) // NS_PER_MS <= 31_000
    assert (order.open_quantity, list(bench.desk.active())) == (10, [order])
    bench.poll(bench.snapshot())
    assert bench.order().condition is Condition.ABANDONED, "a list that shows it proves nothing"
    sent = len(cancels(bench.effects))
    bench.advance(130_000)
    assert len(cancels(bench.effects)) > sent, "it is never given up"
    bench.say("canceled")
    assert (bench.order().status, bench.order().condition) == (Status.CANCELED, Condition.NONE)


def test_no_list_and_no_word_but_the_answer_ends_abandonment() -> None:
    """A broker that calls the order suspended in each poll makes no event of it each time."""
    bench = desk()
    bench.opened()
    bench.advance(2 * MINUTE_MS)
    for _ in range(5):
        bench.poll(bench.snapshot(condition=Condition.SUSPENDED, cumulative="0"))
    bench.say("suspended")
    assert bench.order().condition is Condition.ABANDONED
    assert len(of_kind(bench, e.ConditionChanged)) == 1


def test_an_abandoned_order_whose_cancel_is_refused_has_its_place_again() -> None:
    """The broker spoke: the order works, and is cancelled anew in its time (scenario 21)."""
    bench = desk()
    bench.opened()
    bench.advance(2 * MINUTE_MS)
    assert bench.order().condition is Condition.ABANDONED
    bench.say("cancel_reject", wire_id=bench.wire_id(1, 1), code=RefusalCode.OTHER)
    assert bench.order().condition is Condition.NONE
    bench.look(bench.snapshot())
    (again,) = cancels(bench.advance(3_000))
    assert again.wish == 2


@pytest.mark.parametrize("found", [Status.FILLED, None])
def test_a_cancel_of_an_order_that_is_not_found_reads_its_end(found: Status | None) -> None:
    """Filled it is FILLED with its fills; without an answer nothing is assumed (scenario 22)."""
    bench = desk()
    bench.opened()
    bench.advance(MINUTE_MS + 1_000)
    bench.answer(Refused(text="404", code=RefusalCode.UNKNOWN_ORDER), wish=1)
    assert bench.asked().broker_order_ids == ("B1",)
    if found is None:
        bench.advance(10 * MINUTE_MS)
        assert bench.order().status is Status.OPEN
        return
    bench.look(bench.snapshot(status=found, cumulative="10", average_price="100"))
    bench.advance(3_000)
    assert (bench.order().status, bench.order().filled_quantity) == (Status.FILLED, 10)
    assert len(cancels(bench.effects)) == 1


@pytest.mark.parametrize("unique", ["forever", "none"])
@pytest.mark.parametrize("by_wire_id", [True, False])
def test_a_stale_order_of_unknown_submit_is_looked_up_and_not_cancelled(
    unique: Literal["forever", "none"], by_wire_id: bool
) -> None:
    """Absent it FAILED as no broker's order, neither cancelled nor sent again (scenario 23)."""
    can = Capabilities(unique_ids=unique, cancel_by_wire_id=by_wire_id)
    bench = desk(after_ms=2_000, capabilities=can)
    bench.submit()
    bench.answer(TIMEOUT)
    bench.advance(11_000)
    assert bench.order().wanted_gone
    bench.look(complete=True)
    order = bench.order()
    assert (order.status, order.code) == (Status.FAILED, "ABSENT")
    assert "the broker has no such order" in order.text
    assert not cancels(bench.effects)
    assert len([x for x in bench.effects if isinstance(x, SubmitOrder)]) == 1
    assert order.is_settled


def test_a_stale_order_of_unknown_submit_that_is_found_is_cancelled() -> None:
    """Once it is known to work there is something to cancel (scenario 23)."""
    bench = desk(after_ms=2_000)
    bench.submit()
    bench.answer(TIMEOUT)
    bench.advance(3_000)
    assert [type(x) for x in bench.effects] == [SubmitOrder, LookupOrder]
    bench.look(bench.snapshot())
    (cancel,) = cancels(bench.effects)
    assert cancel.broker_order_id == "B1"


def test_ended_orders_are_skipped() -> None:
    """However old, what ended is nobody's to cancel (scenario 24)."""
    bench = desk()
    for _ in range(3):
        bench.opened()
    bench.trade("e1", "10")
    bench.say("canceled", number=2)
    bench.say("expired", number=3)
    assert not cancels(bench.advance(HOUR_MS))
    assert manage(bench) == ()


def test_what_guards_a_position_never_grows_stale() -> None:
    """What is reduce-only or a stop stays, however long; a plain sale does not (scenario 112)."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "10")
    bench.opened("sell", "6", order_type="stop", stop_price="90", reduce_only=True)
    bench.opened("sell", "2", order_type="stop", stop_price="90")
    assert not cancels(bench.advance(10 * MINUTE_MS))
    assert bench.order(2).status is Status.OPEN
    bench.opened("sell", "2", limit_price="110")
    assert [one.number for one in cancels(bench.advance(2 * MINUTE_MS))][:1] == [4]


def test_the_nearest_rule_counts() -> None:
    """A strategy's time goes before a symbol's, before post-only's, before the desk's."""
    bench = desk(
        strategies={"slow": 50_000, "never": 0},
        symbols={"Y": 40_000},
        post_only_ms=30_000,
    )
    bench.opened()
    bench.opened(post_only=True)
    bench.opened(symbol="Y", post_only=True)
    bench.opened(symbol="Y", post_only=True, strategy="slow")
    bench.opened(symbol="Y", strategy="never")
    gone = []
    bench.advance(1_000)
    for _ in range(7):
        gone.append([cancel.number for cancel in cancels(bench.advance(10_000))])
        for number in gone[-1]:
            bench.say("canceled", number=number)
    assert gone == [[], [], [2], [3], [4], [1], []]


def test_without_a_time_of_their_own_post_only_orders_have_the_desks() -> None:
    """Only a number below zero takes them out of it."""
    for post_only_ms, count in ((0, 1), (-1, 0)):
        bench = desk(post_only_ms=post_only_ms)
        bench.opened(post_only=True)
        assert len(cancels(bench.advance(MINUTE_MS + 1_000))) == count


def test_after_a_start_nothing_is_too_old_before_the_orders_are_known() -> None:
    """The first complete poll comes first, then the first look (scenario 103)."""
    bench = desk()
    bench.opened()
    bench.step(inputs.Resume(wall_offset_ns=0))
    assert not cancels(bench.advance(HOUR_MS))
    assert (manage(bench), bench.desk.next_deadline()) == ((), None)
    bench.poll(bench.snapshot())
    assert not cancels(bench.advance(HOUR_MS)), "an incomplete list is no list"
    bench.poll(bench.snapshot(), complete=True)
    assert [cancel.number for cancel in cancels(bench.advance(0))] == [1]


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_the_wall_clock_ages_nothing(hours: int) -> None:
    """No mass cancel, and none forgotten (scenarios 89, 103)."""
    bench = desk()
    bench.opened()
    bench.advance(30_000)
    bench.step(inputs.ClockStep(wall_offset_ns=hours * HOUR_MS * NS_PER_MS))
    assert not cancels(bench.advance(29_000))
    assert len(cancels(bench.advance(2_000))) == 1


def test_age_counts_only_while_the_market_is_open() -> None:
    """An order placed half a minute before the close is not too old at the opening."""
    day = Session(opens="09:30", closes="16:00")
    bench = desk(instruments=(Instrument.of("X", session="day"),), sessions={"day": day})
    close = datetime(2025, 6, 18, 15, 59, 30, tzinfo=UTC).timestamp()
    bench.step(inputs.ClockStep(wall_offset_ns=int(close) * 1_000_000_000 - bench.now_ns))
    bench.opened()
    bench.now_ns += (17 * HOUR_MS + 30 * MINUTE_MS) * NS_PER_MS
    assert manage(bench) == (), "the market is closed"
    bench.now_ns += 30_000 * NS_PER_MS
    assert manage(bench) == (), "half a minute yesterday, none today"
    assert not cancels(bench.advance(29_000))
    (cancel,) = cancels(bench.advance(3_000))
    assert cancel.number == 1


def test_a_look_costs_no_storm_of_wakes() -> None:
    """While there is anything to look at the desk looks once a second, and then not at all."""
    bench = desk(after_ms=HOUR_MS)
    bench.opened()
    looks = 0
    while looks < 60:
        due = bench.desk.next_deadline()
        assert due is not None
        assert due <= bench.now_ns + 1_000 * NS_PER_MS
        bench.now_ns = max(due, bench.now_ns)
        bench.step(inputs.Tick(), after_ms=0)
        looks += 1
    assert bench.now_ns >= (60 - 2) * 1_000 * NS_PER_MS
    bench.say("canceled")
    assert bench.desk.next_deadline() is None


def test_one_unusable_order_in_a_list_does_not_keep_the_others_from_being_updated() -> None:
    """It is counted as an anomaly; the rest of the list is believed (scenario 55)."""
    bench = desk()
    for _ in range(3):
        bench.opened()
    bad = bench.snapshot(2, cumulative="NaN")
    shown = [bench.snapshot(n, status=Status.CANCELED) for n in (1, 3)]
    bench.poll(shown[0], bad, shown[1])
    assert [bench.order(n).status for n in (1, 2, 3)] == [
        Status.CANCELED,
        Status.OPEN,
        Status.CANCELED,
    ]
    assert bench.anomalies() == ["UNUSABLE_REPORT"]


def test_the_same_desk_comes_from_its_journal_without_any_rules() -> None:
    """What was decided stands in the events: folded under no settings it is the same (P8)."""
    bench = desk()
    for _ in range(2):
        bench.opened()
    bench.submit()
    bench.answer(TIMEOUT, number=3)
    bench.advance(2 * MINUTE_MS)
    bench.answer(Refused(text="no"), number=1, wish=1)
    assert isinstance(bench.refolded(), Desk)
    assert bench.refolded().dump() == bench.desk.dump()


def test_a_check_of_an_archived_order_names_it() -> None:
    """What a caller asks about is loaded before its answer is taken in."""
    bench = DeskDriver(settings=Settings(finished_orders_max=0))
    for number in range(1, ARCHIVE_SLACK + 1):
        bench.opened()
        bench.say("canceled", number=number)
    bench.desk.rest()
    bench.step(inputs.Archive(durable_ns=bench.now_ns))
    polled = inputs.Polled(asked_ns=bench.now_ns, snapshots=(bench.snapshot(1),))
    named = bench.desk.missing(inputs.Checked(number=2, tries=1, polled=polled))
    assert named == ("n:2", "n:1")
