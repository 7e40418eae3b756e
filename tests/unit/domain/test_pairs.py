"""Exits that the broker ties together: watched, waited for, and put right where it does not."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import (
    Cancel,
    CancelPositionOrders,
    PlaceBracket,
    PlaceOco,
    SeenElsewhere,
)
from holdfast.domain.policies import GroupRules, Limits, Policies
from holdfast.domain.reports import Accepted, Child, Refused
from holdfast.domain.values import Status
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both, lost
from holdfast.testing.builders import DeskDriver

NATIVE = ("brackets", "brackets_and_pairs", "late_brackets")
AT_NATIVE_BROKERS = pytest.mark.parametrize("kind", NATIVE)
LINKED = pytest.mark.parametrize("kind", [*NATIVE, "pairs", "pairs_no_replace"])


def protected(kind: str, **driver: Any) -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk(BROKER_KINDS[kind], **driver)
    bench.bracket()
    bench.fill("entry", 3)
    assert bench.working() == both(3)
    return bench


def native() -> DeskDriver:
    """A desk fed by hand, at a broker of brackets, its entry asked for."""
    can = Capabilities(native_bracket="per_fill")
    bench = DeskDriver(capabilities=can)
    placed = PlaceBracket(
        symbol="X",
        side="buy",
        quantity="3",
        entry_price="100",
        stop_loss_price="95",
        take_profit_price="110",
    )
    bench.step(placed)
    return bench


@AT_NATIVE_BROKERS
def test_a_native_bracket_is_one_call(kind: str) -> None:
    """Entry and exits go out in one call, each exit under an id of its own (P1)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    calls = [one for one in bench.effects if isinstance(one, SubmitOrder)]
    assert [(one.role, one.link) for one in calls] == [("entry", "bracket")]
    attached = [(one.role, one.wire_id.partition("-d-")[2]) for one in calls[0].attached]
    assert attached == [("stop", "g1.stop.1"), ("target", "g1.target.1")]
    bench.fill("entry", 3)
    assert bench.calls == [("submit", "entry")], "the broker does the rest"


@AT_NATIVE_BROKERS
def test_the_answer_to_the_entry_names_its_exits(kind: str) -> None:
    """The children of the answer are met by their ids and no question is asked."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    found = {bench.order(number).role: bench.order(number) for number in bench.group().orders}
    assert {role: order.status for role, order in found.items()} == dict.fromkeys(
        ("stop", "target", "entry"), Status.OPEN
    )
    assert "lookup_started" not in bench.kinds()


def test_children_without_an_id_of_ours_are_met_by_their_role() -> None:
    """A broker that takes no client id for exits names them by role alone."""
    bench = native()
    children = (
        Child(role="target", broker_order_id="T9"),
        Child(role="stop", broker_order_id="S9"),
    )
    bench.answer(Accepted(broker_order_id="E9", children=children), number=3)
    assert [bench.order(number).broker_order_id for number in (1, 2, 3)] == ["S9", "T9", "E9"]


def test_children_that_the_answer_does_not_name_are_asked_for() -> None:
    """Found by their ids they work; until then nothing else is sent in their place."""
    bench = native()
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    bench.advance(1_000)
    assert {bench.asked(number).number for number in (1, 2)} == {1, 2}
    for number in (1, 2):
        bench.look(bench.snapshot(number), number=number)
    assert [bench.order(number).status for number in (1, 2)] == [Status.OPEN] * 2
    assert sum(isinstance(one, SubmitOrder) for one in bench.effects) == 1


def test_children_that_the_broker_has_not_are_failed_and_replaced_by_others() -> None:
    """Its entry was taken without its exits: proven absent, others guard its fill (P6)."""
    bench = native()
    bench.answer(Accepted(broker_order_id="B3"), number=3)
    for _ in range(40):
        bench.advance(500)
        for number in (1, 2):
            order = bench.order(number)
            if order.lookup is not None and order.lookup.asked:
                bench.look(number=number)
    assert [bench.order(number).status for number in (1, 2)] == [Status.FAILED] * 2
    bench.trade("e1", 3, number=3, broker_order_id="B3")
    sent = [one for one in bench.effects if isinstance(one, SubmitOrder)][1:]
    assert [(one.role, one.link, one.terms.quantity) for one in sent] == [
        ("stop", "", Decimal(3)),
        ("target", "", Decimal(3)),
    ]


@AT_NATIVE_BROKERS
def test_exits_never_outlive_a_refused_entry(kind: str) -> None:
    """The entry is refused: its exits never were, and no question is asked about them."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.break_next("submit", "entry", Refused(text="no"))
    bench.bracket()
    numbers = bench.group().orders
    statuses = {bench.order(number).role: bench.order(number).status for number in numbers}
    assert statuses == {"stop": "failed", "target": "failed", "entry": "rejected"}
    assert "lookup_started" not in bench.kinds()
    assert bench.group().phase == "closed"


@AT_NATIVE_BROKERS
def test_an_entry_that_never_arrived_is_sent_again_with_its_exits(kind: str) -> None:
    """Proven absent, entry and exits go out again in one call under the same ids
    (scenario 30).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.break_next("submit", "entry", *lost())
    bench.bracket()
    bench.advance(20_000)
    calls = [one for one in bench.effects if isinstance(one, SubmitOrder)]
    assert len(calls) == 2
    assert (calls[0].wire_id, calls[0].attached) == (calls[1].wire_id, calls[1].attached)
    bench.fill("entry", 3)
    assert bench.working() == both(3)
    assert len(bench.broker.orders) == 3


@pytest.mark.parametrize("kind", ["brackets", "brackets_and_pairs"])
def test_a_word_that_comes_a_moment_later_is_waited_for(kind: str) -> None:
    """The last fill is told before the exits' new size: no second exit is sent meanwhile."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    for _ in range(3):
        bench.fill("entry", 1)
    assert bench.working() == both(3)
    assert bench.calls == [("submit", "entry")]


@pytest.mark.parametrize("kind", ["brackets", "brackets_and_pairs"])
@pytest.mark.parametrize("fills", [["3"], ["1", "2"], ["1"]])
def test_a_size_that_nobody_told_is_asked_for(kind: str, fills: list[str]) -> None:
    """The stream loses the exits' words: they are asked for, and believed, within a second."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    for quantity in fills:
        held = bench.held("entry")
        bench.broker.fill(held.broker_order_id, Decimal(quantity), Decimal(100))
        bench.broker.words[1:] = []
        bench.talk()
    filled = sum(map(Decimal, fills))
    assert bench.group().phase == "protecting"
    bench.advance(1_000)
    assert bench.group().phase == "protected"
    assert bench.calls == [("submit", "entry")]
    assert {bench.working()[role] for role in ("stop", "target")} == {filled}


@pytest.mark.parametrize("kind", ["brackets", "brackets_and_pairs"])
def test_exits_that_the_broker_did_not_let_grow_are_added_to(kind: str) -> None:
    """Asked, they are as small as before: what is missing is guarded beside them (P6)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 1)
    held = bench.held("entry")
    tie, held.tie = held.tie, None
    bench.fill("entry", 2)
    held.tie = tie
    assert bench.working() == both(1), "not before it was asked"
    bench.advance(2_000)
    assert bench.working() == both(3)
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


def test_what_waits_for_the_whole_entry_is_not_waited_for_too_long() -> None:
    """Exits that wait for the whole leave a part bare: its rest goes within half the bound and
    the part is protected (P6).
    """
    bench = BrokeredDesk(BROKER_KINDS["late_brackets"])
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 1)
    bench.advance(4_900)
    assert "entry" in bench.working()
    bench.advance(200)
    assert "entry" not in bench.working()
    bench.advance(2_000)
    assert bench.working() == both(1)
    assert bench.group().phase == "protected"
    assert bench.sent("exit") == []
    assert bench.group().longest_ns <= 10_000_000_000


def test_an_entry_that_fills_whole_in_time_is_left_alone() -> None:
    """Partly filled and whole a second later: the broker's own exits guard it."""
    bench = BrokeredDesk(BROKER_KINDS["late_brackets"])
    bench.bracket()
    bench.fill("entry", 1)
    bench.advance(1_000)
    bench.fill("entry", 2)
    bench.advance(20_000)
    assert bench.working() == both(3)
    assert bench.calls == [("submit", "entry")]


@pytest.mark.parametrize("per", ["per_fill", "after_full_fill"])
def test_where_nothing_can_stand_beside_a_stop_people_are_told(per: str) -> None:
    """The broker ends the target of its own bracket and takes no other beside the stop: the stop
    guards all of it, and people are told that there is no target (scenario 107).
    """
    can = msgspec.structs.replace(
        Capabilities(exits_share_quantity=False),
        native_bracket=per,
    )
    bench = BrokeredDesk(can)
    bench.bracket()
    bench.fill("entry", 3)
    assert bench.alerts() == []
    bench.end("target")
    bench.advance(30_000)
    assert (bench.working(), bench.group().phase) == ({"stop": 3}, "protected")
    assert bench.alerts() == ["TARGET_REFUSED"]


@LINKED
@pytest.mark.parametrize("role", ["stop", "target"])
def test_exits_that_the_broker_ends_are_placed_again(kind: str, role: str) -> None:
    """The broker ends one of the two by itself: within the bound both guard again (P6)."""
    bench = protected(kind)
    bench.end(role)
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])
    assert bench.group().longest_ns <= 10_000_000_000


@pytest.mark.parametrize("kind", [*NATIVE, "pairs"])
@pytest.mark.parametrize("role", ["stop", "target"])
def test_a_linked_exit_moves_where_somebody_wants_it(kind: str, role: str) -> None:
    """A replaced price is in force at the broker in the end, for all units, and never naked."""
    bench = protected(kind)
    price = {"stop_price": "96"} if role == "stop" else {"limit_price": "111"}
    bench.replace(bench.member(role).number, **price)
    bench.talk()
    bench.advance(30_000)
    assert bench.working() == both(3)
    held = bench.held(role)
    assert str(held.stop_price if role == "stop" else held.limit_price) == next(
        iter(price.values())
    )
    assert bench.sent("exit") == []


@LINKED
def test_a_refused_cancel_of_an_unwanted_exit_is_repeated(kind: str) -> None:
    """A person cancels the target, the broker refuses at first: it goes in the end, and the stop
    guards.
    """
    bench = protected(kind)
    bench.break_next("cancel", "target", Refused(text="busy"), Refused(text="busy"))
    bench.ask(Cancel(client_order_id=bench.member("target").client_order_id, by="ann"))
    bench.advance(60_000)
    assert bench.working() == {"stop": 3}
    assert bench.group().phase == "protected"


@LINKED
def test_cancelling_the_exits_of_a_position_lets_nothing_come_back(kind: str) -> None:
    """Who cancels stops and targets no longer wants them: a refused cancel changes nothing."""
    bench = protected(kind)
    bench.break_next("cancel", "target", Refused(text="busy"))
    bench.ask(CancelPositionOrders(symbol="X", kinds=("stop", "target"), by="ann"))
    bench.advance(60_000)
    assert (bench.working(), bench.truth()) == ({}, 3)
    assert bench.group().phase == "closed"


@LINKED
def test_more_than_is_due_is_taken_back_after_a_moment(kind: str) -> None:
    """Somebody sells one past all desks: the broker's exits are for two in the end
    (scenario 76).
    """
    bench = protected(kind)
    bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(-1)))
    bench.advance(4_900)
    assert bench.working() == both(3), "the broker is given time to set it right"
    bench.advance(30_000)
    assert bench.working() == both(2)
    assert bench.sent("exit") == []


@LINKED
def test_pairs_survive_a_crash(kind: str) -> None:
    """The desk is folded anew while its entry is partly filled: protected to the unit
    (scenario 85).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 1)
    bench.crash(down_ms=1_000, told=False)
    bench.fill("entry", 2)
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert (bench.truth(), bench.position().quantity) == (3, 3)
    assert bench.sent("exit") == []


def test_a_pair_of_unknown_outcome_is_not_sent_twice() -> None:
    """The call times out and had arrived: one pair guards (scenario 29, P2)."""
    bench = BrokeredDesk(BROKER_KINDS["pairs"])
    bench.break_next("submit", "target", *lost(), arrives=True)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert [one.link for one in bench.effects if isinstance(one, SubmitOrder)] == ["", "oco"]


def test_a_native_pair_closes_a_position() -> None:
    """Where the broker takes pairs an OCO is one call of two exits."""
    bench = BrokeredDesk(BROKER_KINDS["pairs"])
    bench.buy(3)
    bench.ask(PlaceOco(symbol="X", side="sell", quantity="3", limit_price="110", stop_price="95"))
    calls = [one for one in bench.effects if isinstance(one, SubmitOrder)][1:]
    assert [(one.role, one.link) for one in calls] == [("target", "oco")]
    assert [(one.role, one.terms.quantity) for one in calls[0].attached] == [("stop", Decimal(3))]
    assert bench.working() == both(3)
    bench.fill("target", 1, 110)
    bench.advance(20_000)
    assert bench.working() == both(2)
    bench.fill("stop", 2, 95)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_the_wait_for_the_broker_s_sizing_is_half_the_bound_at_most() -> None:
    """With a bound of one second what is missing is placed within it, and nothing flattened."""
    rules = GroupRules(unprotected_max_ms=1_000)
    policies = Policies(limits=Limits.none(), groups=rules)
    bench = BrokeredDesk(BROKER_KINDS["brackets"], policies=policies)
    bench.bracket()
    bench.fill("entry", 1)
    held = bench.held("entry")
    held.tie = None
    bench.is_blind = True
    bench.fill("entry", 2)
    bench.advance(900)
    assert bench.working() == both(3)
    assert bench.sent("exit") == []
