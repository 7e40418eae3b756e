"""Outcomes that nobody can tell: what is asked, what is proof, and what is never assumed."""

from itertools import pairwise
from typing import Any

import pytest

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    NotSent,
    Outcome,
    RefusalCode,
    Refused,
    Sighting,
    Unknown,
)
from holdfast.domain.settings import Settings
from holdfast.domain.values import OrderType, Status, TimeInForce
from holdfast.domain.wish import Stage
from holdfast.errors import InputError
from holdfast.testing.builders import DeskDriver, execution

TIMEOUT = Unknown(text="timeout")
S = 1_000_000_000


def calls(bench: DeskDriver, kind: type[Any]) -> list[Any]:
    """Return the effects of a kind so far."""
    return [effect for effect in bench.effects if isinstance(effect, kind)]


def test_an_unanswered_submit_is_looked_up_by_every_id_and_not_resent() -> None:
    """Silence is an unknown outcome: exposure, one question, no second submit (scenario 29)."""
    bench = DeskDriver()
    bench.submit()
    bench.advance(5_000)
    order = bench.order()
    assert (order.status, order.wishes[0].stage) == (Status.NEW, Stage.UNKNOWN)
    assert order.open_quantity == 10
    (asked,) = calls(bench, LookupOrder)
    assert (asked.wire_ids, asked.broker_order_ids) == ((bench.wire_id(),), ())
    assert len(calls(bench, SubmitOrder)) == 1


def test_a_lookup_that_finds_the_order_adopts_it() -> None:
    """Found by our id, the order is the one that was sent: one broker order (scenarios 29, 34)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(TIMEOUT)
    found = Sighting(
        snapshot=bench.snapshot(cumulative=4), executions=(execution("e1", "4", "99.5"),)
    )
    bench.look(found)
    order = bench.order()
    assert (order.status, order.broker_order_id) == (Status.PARTIAL_FILL, "B1")
    assert (order.average_price, order.wishes, order.lookup) == (
        execution("", 0, "99.5").price,
        [],
        None,
    )
    assert len(calls(bench, SubmitOrder)) == 1


def test_after_a_crash_an_order_that_the_broker_took_is_adopted() -> None:
    """Killed before the answer was recorded, the desk asks and finds its order (scenario 34)."""
    bench = DeskDriver()
    bench.submit()
    before = bench.desk.dump()
    bench.desk = type(bench.desk).load(before, bench.settings)
    bench.step(inputs.Resume(wall_offset_ns=0))
    bench.advance(0)
    assert bench.order().wishes[0].stage is Stage.UNKNOWN
    bench.look(bench.snapshot())
    assert bench.order().status is Status.OPEN
    assert len(calls(bench, SubmitOrder)) == 1


def test_absence_is_proven_only_by_a_complete_answer_asked_late_enough() -> None:
    """Too early or page 2 failing proves nothing and is never FAILED (scenarios 30, 105)."""
    bench = DeskDriver(capabilities=Capabilities(unique_ids="none"))
    bench.submit()
    bench.answer(TIMEOUT)
    bench.look(complete=True)
    assert bench.order().status is Status.NEW, "asked within the grace"

    bench.advance(20_000)
    bench.look(complete=False)
    assert bench.order().status is Status.NEW, "not all pages were read"

    bench.advance(60_000)
    bench.look(complete=True, asked_ms_ago=82_000)
    assert bench.order().status is Status.NEW, "the question had left within the grace"

    bench.advance(60_000)
    bench.look(complete=True)
    assert (bench.order().status, bench.order().code) == (Status.FAILED, "ABSENT")


def test_an_absent_submit_is_sent_again_under_the_same_wire_id() -> None:
    """Where the broker enforces unique ids the proven absent order goes out again (scenario 30)."""
    bench = DeskDriver()
    bench.submit(not_after_ms=120_000)
    for attempt in (1, 2):
        bench.answer(TIMEOUT)
        bench.advance(12_000)
        bench.look()
        first, *_, last = calls(bench, SubmitOrder)
        assert (last.attempt, last.wire_id, last.terms) == (attempt + 1, first.wire_id, first.terms)
    bench.answer(TIMEOUT)
    bench.advance(12_000)
    bench.look()
    assert bench.order().status is Status.FAILED, "resends_max of 2 are used up"
    assert len(calls(bench, SubmitOrder)) == 3


def test_nothing_is_sent_again_after_its_time() -> None:
    """Past `not_after` a proven absent order fails, whatever the broker enforces (scenario 30)."""
    bench = DeskDriver()
    bench.submit(not_after_ms=6_000)
    bench.answer(TIMEOUT)
    bench.advance(12_000)
    bench.look()
    assert bench.order().status is Status.FAILED
    assert len(calls(bench, SubmitOrder)) == 1


def test_a_refusal_for_a_duplicate_id_means_that_the_order_exists() -> None:
    """A duplicate refusal is looked up, not believed (scenarios 29, 30)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Refused(text="duplicate client id", code=RefusalCode.DUPLICATE_ID))
    assert bench.order().status is Status.NEW
    bench.look(bench.snapshot())
    assert bench.order().status is Status.OPEN


@pytest.mark.parametrize("code", [RefusalCode.INSUFFICIENT_FUNDS, RefusalCode.OTHER])
def test_a_refused_submit_is_rejected_with_its_reason_and_left_clean(code: RefusalCode) -> None:
    """A no is final: no retry, the reason kept, nothing pending (scenarios 31, 33)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Refused(text="no", code=code))
    order = bench.order()
    assert (order.status, order.code, order.text) == (Status.REJECTED, code, "no")
    assert (order.wishes, order.open_quantity, order.is_settled) == ([], 0, True)
    assert bench.advance(3_600_000) == []


def test_a_reply_that_cannot_be_read_is_asked_about() -> None:
    """A response without an order id is an unknown outcome, never a success (scenario 33)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Unknown(text="no order id in the reply"))
    assert len(calls(bench, LookupOrder)) == 1
    bench.look(bench.snapshot(status=Status.REJECTED, word="rejected: margin", cumulative=0))
    assert (bench.order().status, bench.order().text) == (Status.REJECTED, "rejected: margin")


def test_not_sent_is_repeated_a_bounded_number_of_times() -> None:
    """429: same wire id, waits that grow, Retry-After kept, none after the last (scenario 32)."""
    bench = DeskDriver(settings=Settings(retries_max=3))
    bench.submit(not_after_ms=600_000)
    sent_ns = [bench.now_ns]
    for _ in range(3):
        bench.answer(NotSent(text="429", retry_after_ms=2_000))
        due = bench.desk.next_deadline()
        assert due is not None
        bench.advance((due - bench.now_ns) // 1_000_000 + 1)
        sent_ns.append(bench.now_ns)
    assert [e.attempt for e in calls(bench, SubmitOrder)] == [1, 2, 3, 4]
    assert {e.wire_id for e in calls(bench, SubmitOrder)} == {bench.wire_id()}
    gaps = [after - before for before, after in pairwise(sent_ns)]
    assert min(gaps) >= 2 * S
    bench.answer(NotSent(text="429", retry_after_ms=2_000))
    assert (bench.order().status, bench.order().code) == (Status.FAILED, "NOT_SENT")
    assert bench.desk.next_deadline() is None


def test_an_absurd_retry_after_holds_back_no_cancel_for_days() -> None:
    """A cancel that was not sent goes out again within the hour, whatever the broker asked."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.answer(NotSent(text="429", retry_after_ms=10**15), wish=1)
    assert len([e for e in bench.advance(3_600_000) if isinstance(e, CancelOrder)]) == 1


@pytest.mark.parametrize("outcome", [TIMEOUT, NotSent(text="no connection")])
def test_a_cancel_is_sent_again_for_ever_but_ever_slower(outcome: Outcome) -> None:
    """While the link is down a cancel goes on, without a storm (scenario 21; trap 18)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    for _ in range(200):
        bench.answer(outcome, wish=1)
        bench.advance(1_000)
    sent = len(calls(bench, CancelOrder))
    assert 8 <= sent <= 15, "200 seconds of a link that fails at once"
    assert bench.order().status is Status.OPEN
    bench.advance(120_000)
    assert len(calls(bench, CancelOrder)) > sent


def test_lookups_never_give_up_but_slow_down_and_alert() -> None:
    """Hours without an answer are few questions and one alert, and still unknown (P9)."""
    bench = DeskDriver()
    bench.submit()
    bench.advance(10 * 3_600_000)
    assert 500 < len(calls(bench, LookupOrder)) < 900, "about one a minute"
    assert bench.anomalies() == ["STILL_UNKNOWN"]
    assert bench.order().status is Status.NEW


def test_a_filled_order_with_an_unanswered_cancel_is_read_and_left_alone() -> None:
    """Its end answers nothing: one question at a time until one is answered (trap 45)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.trade("e1", "10")
    bench.advance(20_000)
    assert [wish.stage for wish in bench.order().wishes] == [Stage.UNKNOWN]
    assert 1 <= len(calls(bench, LookupOrder)) <= 4
    assert len(calls(bench, CancelOrder)) == 1, "there is nothing to cancel any more"
    bench.look(complete=True)
    assert bench.order().is_settled


def test_an_order_missing_from_the_list_is_asked_for_and_not_ended() -> None:
    """Not found either: an anomaly, asked again, never CANCELED (scenario 26; trap 17)."""
    bench = DeskDriver()
    bench.opened()
    bench.advance(6_000)
    bench.poll(complete=False)
    assert not calls(bench, LookupOrder)
    bench.poll(complete=True)
    bench.look(complete=True)
    assert bench.order().status is Status.OPEN
    assert bench.anomalies() == ["NOT_FOUND"]
    asked = len(calls(bench, LookupOrder))
    bench.advance(120_000)
    assert len(calls(bench, LookupOrder)) > asked


def test_an_order_just_changed_may_be_missing_from_a_list() -> None:
    """Within the quiet period a list that lacks an order asks nothing (scenario 27)."""
    bench = DeskDriver()
    bench.opened()
    bench.poll(complete=True)
    assert not calls(bench, LookupOrder)


def test_a_list_that_still_shows_a_cancelled_order_revives_nothing() -> None:
    """Eventual consistency: listed within the quiet period it stays CANCELED (scenario 27)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("canceled")
    bench.advance(4_000)
    bench.poll(bench.snapshot())
    order = bench.order()
    assert (order.status, order.alive, order.lookup) == (Status.CANCELED, None, None)


def failed() -> DeskDriver:
    """An order given up as absent, at a broker without unique ids."""
    bench = DeskDriver(capabilities=Capabilities(unique_ids="none"))
    bench.submit()
    bench.answer(TIMEOUT)
    bench.advance(20_000)
    bench.look()
    assert bench.order().status is Status.FAILED
    bench.advance(6_000)
    return bench


def test_an_order_that_lands_after_failed_is_exposure_at_once_and_open_after_two_answers() -> None:
    """The first poll that lists it counts it; asked twice by its id, it is OPEN (scenario 106)."""
    bench = failed()
    assert bench.order().open_quantity == 0
    bench.poll(bench.snapshot(stamp_ns=7))
    assert (bench.order().status, bench.order().open_quantity) == (Status.FAILED, 10)

    bench.advance(0)
    bench.look(bench.snapshot(stamp_ns=7))
    assert bench.order().status is Status.FAILED, "one answer is not enough"
    bench.advance(5_000)
    bench.look(bench.snapshot(stamp_ns=7))

    assert (bench.order().status, bench.order().alive) == (Status.OPEN, None)
    assert bench.anomalies() == ["ALIVE_AFTER_END"]
    bench.cancel()
    (cancel,) = calls(bench, CancelOrder)
    assert cancel.broker_order_id == "B1"


def test_a_cancel_of_an_order_that_may_live_goes_out_once_it_does() -> None:
    """Asked to go while only suspected, it is cancelled once it is OPEN (scenario 106)."""
    bench = failed()
    bench.poll(bench.snapshot())
    assert bench.cancel().error is None
    for _ in range(2):
        bench.advance(6_000)
        bench.look(bench.snapshot())
    assert bench.order().status is Status.OPEN
    assert len(calls(bench, CancelOrder)) == 1


def test_a_suspicion_that_is_not_confirmed_ends_the_exposure() -> None:
    """Asked, the broker shows the order ended: no exposure, no question, no wish is left."""
    bench = failed()
    bench.poll(bench.snapshot())
    bench.cancel()
    bench.advance(0)
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative=0))
    order = bench.order()
    assert (order.open_quantity, order.lookup, order.wishes) == (0, None, [])
    assert order.is_settled


def test_an_acceptance_after_failed_is_asked_about() -> None:
    """A late answer that the submit was accepted is evidence, also after FAILED (scenario 106)."""
    bench = failed()
    bench.answer(Accepted(broker_order_id="B1"), attempt=1)
    assert bench.order().open_quantity == 10
    assert bench.order().lookup is not None


def test_a_persons_word_is_journaled_and_can_be_overruled_by_the_broker() -> None:
    """Resolved as canceled, an order that the broker still works comes back (P4)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("new", stamp_ns=7, sequence=0)
    name = bench.order().client_order_id
    word = inputs.Resolve(client_order_id=name, verdict="canceled", by="ann", reason="they said so")
    bench.step(word)
    order = bench.order()
    assert (order.status, order.code, order.text) == (
        Status.CANCELED,
        "RESOLVED",
        "ann: they said so",
    )
    bench.advance(6_000)
    bench.poll(bench.snapshot(stamp_ns=7))
    for _ in range(2):
        bench.advance(6_000)
        bench.look(bench.snapshot(stamp_ns=7))
    assert bench.order().status is Status.OPEN


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ({"reason": " "}, "reason"),
        ({"by": ""}, "by"),
        ({"verdict": "never_sent"}, "open"),
    ],
)
def test_a_persons_word_needs_a_name_a_reason_and_a_fitting_state(
    word: dict[str, Any], says: str
) -> None:
    """What would not be evidence is refused and leaves no trace (P4)."""
    bench = DeskDriver()
    bench.opened()
    before = bench.desk.dump()
    told = {"verdict": "canceled", "by": "ann", "reason": "they said so"} | word
    decision = bench.step(inputs.Resolve(client_order_id=bench.order().client_order_id, **told))
    assert isinstance(decision.error, InputError)
    assert says in str(decision.error)
    assert bench.desk.dump() == before


def test_an_order_past_its_end_is_looked_up_and_not_expired_by_us() -> None:
    """EXPIRED is the broker's evidence: past its end the order is asked for (trap 13)."""
    bench = DeskDriver()
    end_ns = bench.now_ns + 60 * S
    bench.submit(time_in_force="gtd", expire_at_ns=end_ns)
    bench.answer(Accepted(broker_order_id="B1"))
    assert bench.advance(55_000) == []
    (asked,) = bench.advance(10_000)
    assert isinstance(asked, LookupOrder)
    bench.look(bench.snapshot())
    assert bench.order().status is Status.OPEN
    assert len(bench.advance(600_000)) < 40, "asked again, ever slower"
    bench.look(bench.snapshot(status=Status.EXPIRED, word="expired"))
    assert bench.order().status is Status.EXPIRED
    assert bench.desk.next_deadline() is None


def test_where_the_broker_knows_no_end_the_order_is_cancelled_at_it() -> None:
    """An emulated GTD order is cancelled past its end, by the wall clock as it was last set."""
    kinds = frozenset({TimeInForce.GTC})
    bench = DeskDriver(capabilities=Capabilities(times_in_force=kinds))
    bench.submit(time_in_force="gtd", expire_at_ns=bench.now_ns + 3_660 * S)
    bench.answer(Accepted(broker_order_id="B1"))
    bench.step(inputs.ClockStep(wall_offset_ns=3_600 * S))
    assert bench.advance(50_000) == []
    bench.advance(12_000)
    assert len(calls(bench, CancelOrder)) == 1


def test_desk_time_never_falls_and_a_clock_step_wakes_nothing() -> None:
    """An hour forth or back moves no deadline and cancels nothing (scenarios 89, 103)."""
    bench = DeskDriver()
    bench.submit()
    due, before = bench.desk.next_deadline(), bench.now_ns
    for offset in (3_600 * S, -3_600 * S):
        assert bench.step(inputs.ClockStep(wall_offset_ns=offset)).effects == []
    assert bench.desk.next_deadline() == due
    decision = bench.desk.step(inputs.Cancel(client_order_id=bench.wire_id()), before - 3_600 * S)
    assert decision.events[0].at_ns >= before
    bench.events += decision.events
    stamps = [event.at_ns for event in bench.events]
    assert stamps == sorted(stamps)


def test_half_an_hour_of_sleep_is_one_question_and_no_storm() -> None:
    """After a suspend whatever was due is asked once (scenario 103)."""
    bench = DeskDriver()
    for number in range(1, 4):
        bench.submit()
        assert bench.order(number).status is Status.NEW
    bench.now_ns += 1_800 * S
    bench.step(inputs.Tick())
    assert [type(effect) for effect in bench.effects[3:]] == [LookupOrder] * 3
    due = bench.desk.next_deadline()
    assert due is not None
    assert due > bench.now_ns


def test_an_unsupported_order_is_refused_before_anything_is_recorded() -> None:
    """What the broker does not have is refused with what it has (scenario 41)."""
    can = Capabilities(order_types=frozenset({OrderType.LIMIT}), notional=False)
    bench = DeskDriver(capabilities=can)
    before = bench.desk.dump()
    for wanted in (
        {"order_type": "market"},
        {"order_type": "iceberg"},
        {"quantity": None, "notional": "100"},
    ):
        with pytest.raises(InputError):
            bench.submit(**wanted)
    assert bench.desk.dump() == before
