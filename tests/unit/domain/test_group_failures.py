"""Protection that cannot be placed: retried within the bound, then flattened exactly once."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.flattening import LIMIT_PATIENCE_MS, STUCK_AFTER_MS
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import Cancel, CloseGroup
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import GroupRules, Limits, Policies
from holdfast.domain.reports import NotSent, Outcome, RefusalCode, Refused
from holdfast.domain.sessions import Session
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import OrderRefused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, lost

NO = Refused(text="no stops today")
CLOSED = Refused(text="closed", code=RefusalCode.MARKET_CLOSED)
BOUND_MS = GroupRules().unprotected_max_ms
SEPARATE = ("plain", "no_replace", "new_ids", "counts_anew")
# How the order that brings protection out is called at each kind of broker.
CARRIERS = [*((kind, "stop") for kind in SEPARATE), ("pairs", "target")]
BY_CARRIER = pytest.mark.parametrize(("kind", "carrier"), CARRIERS)


def stopless(
    kind: str = "plain", carrier: str = "stop", refusal: Outcome = NO, **driver: Any
) -> BrokeredDesk:
    """A desk with a filled bracket at a broker that refuses every stop."""
    bench = BrokeredDesk(BROKER_KINDS[kind], **driver)
    bench.break_next("submit", carrier, *[refusal] * 50)
    bench.bracket()
    bench.fill("entry", 3)
    return bench


def policies(**rules: int) -> Policies:
    """Policies without limits, and these rules for groups."""
    return Policies(limits=Limits.none(), groups=GroupRules(**rules))


def lone_exit(bench: BrokeredDesk) -> tuple[Side, Decimal]:
    """Return side and quantity of the one exit that was ever sent."""
    (sent,) = bench.sent("exit")
    assert sent[1] is not None
    return sent[0], sent[1]


# Retried, then flattened.


@BY_CARRIER
def test_a_stop_that_is_refused_three_times_is_given_up(kind: str, carrier: str) -> None:
    """Three refusals: the target goes first, then one exit for all of it, and people are told
    (scenario 65).
    """
    bench = stopless(kind, carrier)
    bench.advance(BOUND_MS)
    assert bench.calls.count(("submit", carrier)) == 3
    if kind == "pairs":  # the pair fails with its target: the stop stands alone then
        assert (bench.working(), bench.alerts()) == ({"stop": 3}, ["TARGET_REFUSED"])
        return
    assert lone_exit(bench) == (Side.SELL, 3)
    assert bench.calls.index(("cancel", "target")) < bench.calls.index(("submit", "exit"))
    assert bench.working() == {"exit": 3}
    bench.fill("exit", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.working(), len(bench.sent("exit"))) == (0, {}, 1)
    assert bench.phases()[-3:] == ["flattening", "closing", "closed"]
    assert bench.alerts() == ["UNPROTECTED"]


@BY_CARRIER
def test_a_refusal_that_does_not_last_is_overcome(kind: str, carrier: str) -> None:
    """Refused twice and then taken: protected within the bound, nothing flattened
    (scenario 65).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.break_next("submit", carrier, NO, NO)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(BOUND_MS)
    assert bench.working() == {"stop": 3, "target": 3}
    assert bench.sent("exit") == []
    assert bench.alerts() == []
    assert 0 < bench.group().longest_ns <= BOUND_MS * 1_000_000


def test_a_part_is_flattened_and_the_rest_of_the_entry_goes() -> None:
    """One of three fills and its stop fails: the entry goes too, one is sold (scenario 65, a
    partial fill with failing protection).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[NO] * 9)
    bench.bracket()
    bench.fill("entry", 1)
    bench.advance(BOUND_MS)
    assert lone_exit(bench) == (Side.SELL, 1)
    assert bench.calls.index(("cancel", "entry")) < bench.calls.index(("submit", "exit"))
    assert bench.working() == {"exit": 1}


def test_a_fill_that_overtakes_the_entry_s_cancel_is_flattened_too() -> None:
    """The entry fills another one while it is cancelled: two are sold, by one exit (P6)."""
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[NO] * 9)
    bench.bracket()
    bench.fill("entry", 1)
    bench.break_next("cancel", "entry", *lost(2))
    bench.advance(4_000)
    assert bench.group().phase == "flattening"
    bench.fill("entry", 1)
    assert bench.sent("exit") == [], "the entry may still trade"
    bench.advance(30_000)
    assert lone_exit(bench) == (Side.SELL, 2)


def test_a_target_that_trades_meanwhile_makes_the_exit_smaller() -> None:
    """The target sells one before its cancel arrives: two are left to sell (P6)."""
    bench = stopless()
    bench.break_next("cancel", "target", *lost(5))
    bench.advance(4_000)
    assert bench.group().phase == "flattening"
    bench.is_deaf = True
    bench.fill("target", 1, 110)
    bench.is_deaf = False
    bench.advance(120_000)
    assert lone_exit(bench) == (Side.SELL, 2)
    bench.fill("exit", 2)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_target_that_is_refused_leaves_the_stop() -> None:
    """No target is no danger: people are told once, the position stays protected."""
    bench = BrokeredDesk()
    bench.break_next("submit", "target", *[NO] * 50)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(120_000)
    assert (bench.working(), bench.group().phase) == ({"stop": 3}, "protected")
    assert bench.alerts() == ["TARGET_REFUSED"]
    assert bench.calls.count(("submit", "target")) == 3


def test_a_refused_target_is_tried_again_with_the_next_fill() -> None:
    """What failed for one unit may do for the next."""
    bench = BrokeredDesk()
    bench.break_next("submit", "target", *[NO] * 3)
    bench.bracket()
    bench.fill("entry", 1)
    bench.advance(10_000)
    bench.fill("entry", 2)
    assert bench.working() == {"stop": 3, "target": 3}


def test_a_stop_that_the_broker_ends_unasked_is_placed_again() -> None:
    """Expired or cancelled by the venue: another one, at once and within the bound (P6)."""
    for status in (Status.CANCELED, Status.EXPIRED):
        bench = BrokeredDesk()
        bench.bracket()
        bench.fill("entry", 3)
        bench.end("stop", status)
        bench.advance(1_000)
        assert bench.working() == {"stop": 3, "target": 3}
        assert bench.group().phase == "protected"


def test_a_stop_that_does_not_last_is_given_up() -> None:
    """Ended again and again as soon as it works, it is placed ever more slowly, and then the
    position is flattened once (scenario 65).
    """
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    placed = 0
    while "stop" in bench.working():
        bench.end("stop")
        bench.advance(6_000)
        placed += 1
    assert 3 < placed < 20
    assert lone_exit(bench) == (Side.SELL, 3)


def test_stops_that_end_together_are_placed_anew() -> None:
    """What worked and ended, as orders good for a day do each evening, is no refusal (trap 57)."""
    bench = BrokeredDesk(BROKER_KINDS["no_replace"])
    bench.bracket()
    for _ in range(3):
        bench.fill("entry", 1)
    assert len([held for held in bench.broker.orders.values() if held.is_working]) == 6
    for _ in range(3):
        bench.end("stop")
    bench.advance(30_000)
    assert (bench.working(), bench.sent("exit")) == ({"stop": 3, "target": 3}, [])


def test_failures_far_apart_are_not_in_a_row() -> None:
    """A stop that the venue ends every two minutes is placed anew each time."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    for _ in range(5):
        bench.end("stop")
        bench.advance(120_000)
    assert bench.working() == {"stop": 3, "target": 3}
    assert bench.sent("exit") == []


# The clock.


def slow(**driver: Any) -> BrokeredDesk:
    """A desk with a filled bracket whose stop waits at the broker without an answer of use."""
    rules = policies(attempts_max=1_000_000, **driver)
    bench = BrokeredDesk(policies=rules)
    bench.break_next("submit", "stop", *[NO] * 1_000)
    bench.bracket()
    bench.fill("entry", 3)
    return bench


def test_the_bound_is_kept_to_the_moment() -> None:
    """Whatever is tried: at the bound it is flattened, and not before (P6)."""
    bench = slow()
    bench.advance(BOUND_MS - 10)
    assert bench.group().phase == "protecting"
    bench.advance(20)
    assert (bench.group().phase, bench.group().cause) == ("flattening", "too_long")
    assert lone_exit(bench) == (Side.SELL, 3)


def test_a_bound_of_its_own_is_kept() -> None:
    """`unprotected_max_ms` is what it says."""
    bench = slow(unprotected_max_ms=2_000)
    bench.advance(1_990)
    assert bench.group().phase == "protecting"
    bench.advance(20)
    assert bench.group().phase == "flattening"


def test_a_stop_of_unknown_outcome_stops_the_clock() -> None:
    """Nobody can tell whether the stop works: it is asked for, nothing is flattened (P4)."""
    bench = BrokeredDesk()
    bench.is_blind = True
    bench.break_next("submit", "stop", *lost())
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(BOUND_MS * 6)
    assert bench.group().phase == "protecting"
    assert bench.sent("exit") == []
    bench.is_blind = False
    bench.advance(BOUND_MS * 6)
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


def test_the_clock_begins_anew_once_the_outcome_is_known() -> None:
    """The unknown stop proves absent and cannot be sent again: from then on the bound runs."""
    bench = BrokeredDesk(Capabilities(unique_ids="none"), policies=policies(attempts_max=99))
    bench.break_next("submit", "stop", *lost(), *[NO] * 99)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(BOUND_MS)
    assert bench.group().phase == "protecting", "absence is not proven yet"
    while bench.group().heard_ns == 0:
        bench.advance(100)
    heard_ns = bench.group().heard_ns
    bench.advance(BOUND_MS - 200)
    assert bench.group().phase == "protecting"
    bench.advance(300)
    assert bench.group().phase == "flattening"
    assert bench.group().since_ns - heard_ns == BOUND_MS * 1_000_000


def test_time_in_which_the_process_was_down_does_not_count() -> None:
    """Down for an hour in the midst of it: what was left of the bound is left, and no more (P6)."""
    bench = slow()
    bench.advance(BOUND_MS // 2)
    spent_ms = (bench.events[-1].at_ns - bench.group().since_ns) // 1_000_000
    bench.crash(down_ms=3_600_000)
    bench.advance(BOUND_MS - spent_ms - 10)
    assert bench.group().phase == "protecting"
    bench.advance(20)
    assert bench.group().phase == "flattening"


NIGHT = {"day": Session(opens="00:00", closes="00:01", days=(0, 1, 2, 3, 4, 5, 6))}


def test_a_closed_session_stops_the_clock() -> None:
    """The session closes while a stop is refused: the bound runs on when it opens (P6)."""
    rules = Policies(
        limits=Limits.none(), groups=GroupRules(attempts_max=1_000_000), sessions=NIGHT
    )
    bench = BrokeredDesk(policies=rules, instruments=(Instrument.of("X", session="day"),))
    bench.break_next("submit", "stop", *[NO] * 100_000)
    bench.advance(50_000)
    bench.bracket()
    bench.fill("entry", 3)
    for _ in range(4 * 24):
        assert bench.group().phase == "protecting"
        bench.advance(900_000)
    assert bench.group().phase == "flattening"


@BY_CARRIER
def test_a_stop_refused_as_the_market_is_closed_waits_for_the_open(kind: str, carrier: str) -> None:
    """Such a refusal is no failure: asked once a minute, never flattened, placed at the open
    (P6).
    """
    bench = stopless(kind, carrier, CLOSED)
    bench.advance(20 * CLOSED_RETRY_MS)
    assert bench.group().phase == "protecting"
    assert bench.sent("exit") == []
    assert 20 <= bench.calls.count(("submit", carrier)) <= 22
    bench.mend()
    bench.advance(CLOSED_RETRY_MS + 1_000)
    assert bench.working() == {"stop": 3, "target": 3}


def test_a_closed_market_is_no_third_failure() -> None:
    """Refused twice, and then because the market is closed: it waits, and is placed at the open."""
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", NO, NO, CLOSED)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(CLOSED_RETRY_MS + 10_000)
    assert bench.working() == {"stop": 3, "target": 3}
    assert bench.sent("exit") == []


# Flattening itself.


def flattening(answers: Sequence[Outcome] = (), *, arrives: bool = False) -> BrokeredDesk:
    """A desk whose unprotected bracket is being flattened, its first exits answered so."""
    bench = stopless()
    bench.break_next("submit", "exit", *answers, arrives=arrives)
    bench.advance(BOUND_MS)
    assert bench.group().phase == "flattening"
    return bench


def test_an_exit_of_unknown_outcome_is_never_doubled() -> None:
    """It timed out and had arrived: found, filled, flat; one exit ever (scenario 100)."""
    bench = flattening(lost(), arrives=True)
    bench.advance(30_000)
    assert len(bench.sent("exit")) == 1
    bench.fill("exit", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.position().quantity) == (0, 0)
    assert len(bench.sent("exit")) == 1
    assert bench.group().phase == "closed"


def test_an_exit_that_fills_unheard_is_never_doubled() -> None:
    """It timed out, arrived and filled, and its words were lost: flat, not flipped
    (scenario 100).
    """
    bench = flattening(lost(), arrives=True)
    bench.is_deaf = True
    bench.fill("exit", 3)
    bench.is_deaf = False
    bench.advance(60_000)
    assert len(bench.sent("exit")) == 1
    bench.reconcile()
    bench.advance(60_000)
    assert (bench.truth(), bench.position().quantity) == (0, 0)
    assert len(bench.sent("exit")) == 1
    assert bench.group().phase == "closed"


@pytest.mark.parametrize(
    "answers",
    [
        [Refused(text="busy")] * 5,
        [NotSent(text="429", retry_after_ms=2_000)] * 3,
        [Refused(text="busy"), NotSent(text="down"), *lost(1), Refused(text="busy")],
    ],
)
def test_a_flattening_that_fails_goes_on_until_it_is_done(answers: Sequence[Outcome]) -> None:
    """Refused, not sent or lost: never two at once, ever slower, and done in the end
    (scenario 65).
    """
    bench = flattening(answers)
    bench.advance(600_000)
    assert bench.working() == {"exit": 3}
    bench.fill("exit", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_refused_exits_come_ever_more_slowly_and_people_are_told() -> None:
    """It never gives up; the pauses grow to a minute, and the alert is repeated (P9)."""
    bench = flattening([Refused(text="busy")] * 100)
    bench.advance(STUCK_AFTER_MS)
    assert bench.alerts() == ["UNPROTECTED", "GROUP_STUCK"]
    early = len(bench.sent("exit"))
    bench.advance(600_000)
    assert early < len(bench.sent("exit")) <= early + 21
    assert bench.alerts().count("GROUP_STUCK") >= 2


def test_what_an_exit_leaves_is_exited_again() -> None:
    """The venue cancels the exit after one of three: two more are sold, exactly (P6)."""
    bench = flattening()
    bench.fill("exit", 1)
    bench.end("exit")
    bench.advance(5_000)
    assert bench.sent("exit") == [(Side.SELL, 3), (Side.SELL, 2)]
    bench.fill("exit", 2)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_flattening_waits_for_the_open() -> None:
    """Exits refused because the market is closed are asked again once a minute (P6)."""
    bench = flattening([CLOSED] * 1_000)
    bench.advance(10 * CLOSED_RETRY_MS)
    assert 10 <= len(bench.sent("exit")) <= 12
    bench.mend()
    bench.advance(CLOSED_RETRY_MS + 1_000)
    bench.fill("exit", 3)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_without_market_orders_an_exit_is_priced_and_ages() -> None:
    """A limit through the market that the market has left is replaced by another (P6)."""
    types = frozenset(OrderType) - {OrderType.MARKET}
    bench = BrokeredDesk(Capabilities(order_types=types))
    bench.break_next("submit", "stop", *[NO] * 50)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(BOUND_MS)
    assert bench.sent("exit") == [], "no quote, no price"
    bench.quote(bid="99", ask="100")
    bench.advance(2_000)
    first = bench.held("exit").limit_price
    assert first is not None
    assert first <= 99
    for _ in range(LIMIT_PATIENCE_MS // 1_000 + 3):
        bench.quote(bid="98", ask="99")
        bench.talk()
        bench.advance(1_000)
    second = bench.held("exit").limit_price
    assert second is not None
    assert second < first
    assert bench.working() == {"exit": 3}
    bench.fill("exit", 3)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_nothing_opens_while_an_unprotected_position_is_closed() -> None:
    """Entries are refused with the group's number, exits pass, and entries pass again after."""
    bench = flattening()
    with pytest.raises(OrderRefused, match="once it is covered or flat") as refusal:
        bench.submit("buy", "1", limit_price="90")
    assert (refusal.value.code, "group=1" in str(refusal.value)) == ("UNPROTECTED", True)
    with pytest.raises(OrderRefused):
        bench.bracket()
    bench.fill("exit", 3)
    bench.submit("buy", "1", limit_price="90")
    bench.talk()
    assert bench.bracket().group == 2


def test_a_close_that_somebody_asked_for_stops_no_entries() -> None:
    """Closing a healthy group is no failure: other entries pass."""
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.bracket()
    bench.fill("entry", 3)
    bench.ask(CloseGroup(group=1, by="ann", reason="enough"))
    assert bench.group().phase == "flattening"
    bench.submit("buy", "1", symbol="Y")
    assert bench.alerts() == []


@pytest.mark.parametrize("kind", BROKER_KINDS)
def test_a_group_that_somebody_closes_is_closed_once(kind: str) -> None:
    """Whatever works of it goes, what it holds is sold once, and asking twice is asking once."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 2)
    close = CloseGroup(group=1, by="ann", reason="enough")
    bench.ask(close)
    bench.ask(close)
    bench.advance(20_000)
    assert bench.working() == {"exit": 2}
    assert bench.sent("exit") == [(Side.SELL, 2)]
    bench.fill("exit", 2)
    bench.advance(20_000)
    assert (bench.truth(), bench.group().phase, bench.working()) == (0, "closed", {})
    history = bench.group().history
    assert [(m.cause, m.by) for m in history if m.phase == "flattening"] == [("asked", "ann")]


def test_a_person_who_cancels_the_exit_of_a_failed_group_only_delays_it() -> None:
    """Nobody may leave a position that could not be protected half closed: another exit goes
    out (P6).
    """
    bench = flattening()
    number = next(n for n in bench.group().live if bench.order(n).role == "exit")
    bench.ask(Cancel(client_order_id=bench.order(number).client_order_id, by="ann"))
    bench.advance(5_000)
    assert bench.working() == {"exit": 3}


def test_a_crash_while_flattening_sends_no_second_exit() -> None:
    """The exit is on its way when the process dies: found by its id, one exit (scenario 85)."""
    bench = flattening(lost(), arrives=True)
    bench.crash(down_ms=60_000)
    bench.advance(60_000)
    assert len(bench.sent("exit")) == 1
    bench.fill("exit", 3)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")
