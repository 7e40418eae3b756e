"""The kill switch: no entry goes out, those that are out are cancelled, exits are free."""

from itertools import pairwise
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.inputs import Connected, EngageKillSwitch, ReleaseKillSwitch, Resume
from holdfast.domain.reports import Accepted, NotSent, RefusalCode, Refused, Unknown
from holdfast.domain.switches import ENFORCE_EVERY_MS
from holdfast.domain.values import Status
from holdfast.errors import InputError, OrderRefused
from holdfast.testing.builders import DeskDriver


def engage(bench: DeskDriver, action: Any = "cancel", reason: str = "runaway") -> Decision:
    """Engage the switch as a person does."""
    return bench.step(EngageKillSwitch(by="ann", reason=reason, action=action))


def release(bench: DeskDriver) -> Decision:
    """Let entries out again."""
    return bench.step(ReleaseKillSwitch(by="bob", reason="understood"))


def cancels(bench: DeskDriver) -> list[int]:
    """Return the numbers of the orders whose cancel went out, in order."""
    return [effect.number for effect in bench.effects if isinstance(effect, CancelOrder)]


def test_an_entry_is_refused_with_who_when_and_why() -> None:
    """While it is engaged an entry is refused and nothing is sent; released, it passes."""
    bench = DeskDriver()
    engage(bench)
    with pytest.raises(OrderRefused, match=r"by=ann since=1970-01-01T00:00:01.*runaway") as refused:
        bench.submit()
    assert refused.value.code == "KILL_SWITCH"
    assert not any(isinstance(effect, SubmitOrder) for effect in bench.effects)
    assert bench.desk.guard.refusals == {"KILL_SWITCH": 1}
    release(bench)
    assert bench.desk.guard.kill is None
    assert bench.submit().status is Status.NEW


def test_it_cancels_entries_in_one_batch_and_leaves_protection_standing() -> None:
    """Entries go under one batch, reduce-only orders stay (scenarios 43, 112)."""
    bench = DeskDriver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    bench.opened("sell", "5", order_type="stop", stop_price="90", reduce_only=True)
    bench.opened("buy", "1")
    bench.opened("sell", "1")
    decision = engage(bench)
    assert decision.numbers == (3, 4)
    sent = [effect for effect in decision.effects if isinstance(effect, CancelOrder)]
    assert [(one.number, one.batch) for one in sent] == [(3, 1), (4, 1)]
    swept = next(event for event in decision.events if isinstance(event, e.OrdersSwept))
    assert (swept.numbers, swept.by, swept.reason) == ((3, 4), "ann", "kill switch: runaway")
    assert bench.order(2).is_working


def test_one_cancel_of_two_fails_and_is_tried_again_later() -> None:
    """The success is not lost, the failure is cancelled again after a pause (scenario 44)."""
    bench = DeskDriver()
    bench.opened()
    bench.opened()
    engage(bench)
    bench.answer(Accepted(final=True), number=1, wish=1)
    bench.answer(Refused(text="busy"), number=2, wish=1)
    bench.look(bench.snapshot(2), number=2)
    assert (bench.order(1).status, bench.order(2).status) == (Status.CANCELED, Status.OPEN)
    assert cancels(bench) == [1, 2], "not at once: the broker has just said no"
    bench.advance(2 * ENFORCE_EVERY_MS)
    assert cancels(bench) == [1, 2, 2]
    bench.answer(Accepted(final=True), number=2, wish=2)
    assert bench.desk.next_deadline() is None


def test_refused_cancels_are_repeated_ever_more_slowly() -> None:
    """A broker that refuses each cancel is asked again without end, but not in a hurry (P9)."""
    bench = DeskDriver()
    bench.opened()
    engage(bench)
    moments = []
    for wish in range(1, 9):
        moments.append(bench.now_ns)
        bench.answer(Refused(text="no"), wish=wish)
        bench.look(bench.snapshot())
        while len(cancels(bench)) == wish:
            bench.advance(1_000)
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert pauses[-1] > 10 * pauses[0]


def test_an_order_that_fills_while_its_cancel_is_out_is_cancelled_once() -> None:
    """It ends FILLED with its last fill, and no second cancel follows (scenario 45)."""
    bench = DeskDriver()
    bench.opened()
    engage(bench)
    bench.trade("e1", "10")
    bench.answer(Refused(text="too late", code=RefusalCode.TOO_LATE), wish=1)
    bench.advance(10 * ENFORCE_EVERY_MS)
    assert bench.order().status is Status.FILLED
    assert cancels(bench) == [1]
    assert bench.position().quantity == 10


def test_a_submit_that_waits_to_be_repeated_is_never_sent() -> None:
    """An entry that provably did not go out ends without a call."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(NotSent(text="rate limit", retry_after_ms=3_000))
    engage(bench)
    assert bench.order().status is Status.FAILED
    assert not bench.advance(10_000)


def test_an_entry_that_turns_out_to_work_is_cancelled() -> None:
    """A submit of unknown outcome that the broker has after all does not outlive the switch."""
    bench = DeskDriver(capabilities=Capabilities(cancel_by_wire_id=False))
    bench.submit()
    bench.answer(Unknown(text="timeout"))
    engage(bench)
    assert not cancels(bench)
    bench.look(bench.snapshot())
    assert cancels(bench) == [1]


def test_an_order_that_comes_back_to_life_is_cancelled() -> None:
    """Ended before the switch was engaged, confirmed alive after it (scenario 106)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("canceled")
    engage(bench)
    bench.advance(6_000)
    bench.poll(bench.snapshot(sequence=90))
    bench.advance(6_000)
    bench.look(bench.snapshot(sequence=91))
    bench.advance(6_000)
    bench.look(bench.snapshot(sequence=92))
    assert bench.order().is_working
    assert cancels(bench) == [1]


def test_it_stays_engaged_over_a_restart() -> None:
    """Loaded from its snapshot or folded from the journal, the desk still refuses entries."""
    bench = DeskDriver()
    bench.opened()
    bench.opened("sell", "1")
    engage(bench)
    assert bench.refolded().guard == bench.desk.guard
    bench.answer(Refused(text="busy"), number=2, wish=1)
    bench.desk = Desk.load(bench.desk.dump(), bench.settings)
    bench.step(Connected(Capabilities()))
    bench.step(Resume(wall_offset_ns=0))
    with pytest.raises(OrderRefused, match="KILL_SWITCH"):
        bench.submit()
    before = len(cancels(bench))
    bench.advance(5_000)
    assert {1, 2} <= set(cancels(bench)[before:])


def test_engaging_twice_is_engaging_once_and_may_only_get_stricter() -> None:
    """The same words change nothing, a flatten stays one, and `since` is the first time."""
    bench = DeskDriver()
    bench.opened()
    engage(bench)
    first = bench.desk.guard.kill
    assert first is not None
    decision = engage(bench)
    assert (decision.events, decision.numbers) == ([], (1,))
    engage(bench, "flatten")
    assert "X" in bench.desk.guard.flattening
    engage(bench, "cancel", "again")
    kill = bench.desk.guard.kill
    assert kill is not None
    assert (kill.action, kill.reason, kill.at_ns) == ("flatten", "again", first.at_ns)


@pytest.mark.parametrize(
    ("by", "reason", "action"),
    [
        ("", "why", "cancel"),
        ("ann", " ", "cancel"),
        ("a b", "why", "cancel"),
        ("ann", "why", "x"),
        ("ann", "why", ["cancel"]),
    ],
)
def test_without_a_name_and_a_reason_nothing_happens(by: str, reason: str, action: Any) -> None:
    """Who, why and what are journaled, so that they must be given; nothing is half done."""
    bench = DeskDriver()
    bench.opened()
    decision = bench.step(EngageKillSwitch(by=by, reason=reason, action=action))
    assert isinstance(decision.error, InputError)
    assert not decision.events
    engage(bench)
    assert isinstance(bench.step(ReleaseKillSwitch(by=by, reason=" ")).error, InputError)
    assert bench.desk.guard.kill is not None


def test_an_exit_passes_and_stands_while_it_is_engaged() -> None:
    """Reduce-only or simply closing what is held: neither is refused nor cancelled (P7)."""
    bench = DeskDriver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    engage(bench)
    bench.opened("sell", "2", reduce_only=True)
    bench.opened("sell", "3", limit_price="101")
    bench.trade("e1", "1", number=2)
    bench.advance(10_000)
    assert not cancels(bench)
    assert bench.order(2).is_working
    assert bench.order(3).is_working


def test_an_exit_that_was_out_before_stands_as_long_as_it_only_closes() -> None:
    """The switch stops entries: a resting sale of what is held stays, until that is gone (P7)."""
    bench = DeskDriver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    bench.opened("sell", "5", limit_price="105")
    assert engage(bench).numbers == ()
    bench.advance(10_000)
    assert not cancels(bench)
    bench.opened("sell", "5", reduce_only=True, force=True)
    bench.trade("e1", "5", number=3)
    assert cancels(bench) == [2], "with nothing held it would sell short"


def test_a_second_person_is_journaled() -> None:
    """Who engages it again with the same words is written down, once; the switch is the same."""
    bench = DeskDriver()
    engage(bench)
    first = bench.desk.guard.kill
    assert first is not None
    again = EngageKillSwitch(by="bob", reason="runaway")
    (event,) = bench.step(again).events
    assert isinstance(event, e.KillSwitchEngaged)
    assert event.by == "bob"
    assert not bench.step(again).events
    kill = bench.desk.guard.kill
    assert kill is not None
    assert (kill.by, kill.at_ns) == ("bob", first.at_ns)


def test_with_flatten_it_closes_what_is_held_and_what_fills_late() -> None:
    """Entries and protection go, the position is closed; a late fill is closed as well."""
    bench = DeskDriver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    bench.opened("buy", "2")
    decision = engage(bench, "flatten")
    assert decision.numbers == (2,)
    bench.say("canceled", number=2)
    assert bench.order(3).terms.quantity == 5
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    bench.trade("e1", "5", number=3)
    bench.look(bench.snapshot(2, status=Status.CANCELED), number=2)
    assert not bench.desk.guard.flattening
    bench.trade("late", "1", number=2)
    late = bench.order(4)
    assert (late.role, late.terms.side, late.terms.quantity) == ("flat", "sell", 1)


def test_with_flatten_a_refused_cancel_is_given_time_and_the_exit_is_left_alone() -> None:
    """No cancel follows at once on a refusal, and engaging again does not cancel the exit (P9)."""
    bench = DeskDriver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    bench.opened("buy", "2")
    engage(bench, "flatten")
    bench.answer(Refused(text="busy"), number=2, wish=1)
    assert cancels(bench) == [2]
    bench.say("canceled", number=2)
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    assert bench.order(3).role == "flat"
    assert engage(bench, "flatten", "again").numbers == ()
    assert cancels(bench) == [2]


def test_releasing_what_is_not_engaged_is_nothing() -> None:
    """Released twice, or never engaged: no event."""
    assert not release(DeskDriver()).events
