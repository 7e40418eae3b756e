"""Money always counts: claims, busts, late and surplus trades, and several groups on one symbol."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.group_book import CLOSED_MAX
from holdfast.domain.inputs import CloseGroup, SeenElsewhere
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import NotSent, Outcome, Refused
from holdfast.domain.values import Side, Status
from holdfast.errors import OrderRefused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
SEPARATE = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
# Where several exits may rest for the same units, one group's beside another's.
SHARING = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])


def protected(kind: str = "plain", side: str = "buy") -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(side)
    bench.fill("entry", 3)
    assert bench.working() == both(3)
    return bench


def entry_of(bench: BrokeredDesk, group: int = 1) -> dict[str, Any]:
    """Name the entry of a group in a report that is built by hand."""
    order = bench.order(bench.group(group).entry)
    return {
        "number": order.number,
        "wire_id": order.wire_id,
        "broker_order_id": order.broker_order_id,
    }


# One group.


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew", "pairs"])
def test_a_claim_is_protected_at_once(kind: str) -> None:
    """A figure without its executions counts before they come: two are protected now (P6)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.say("restated", cumulative=Decimal(2), **entry_of(bench))
    assert bench.position().quantity == 0
    bench.talk()
    assert {r: q for r, q in bench.working().items() if r != "entry"} == both(2)


def test_a_claim_and_its_executions_count_once() -> None:
    """The executions behind the figure come one by one: protection stays for two."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.say("restated", cumulative=Decimal(2), **entry_of(bench))
    bench.talk()
    for name in ("a", "b"):
        bench.trade(name, 1, **entry_of(bench))
        bench.talk()
        assert {r: q for r, q in bench.working().items() if r != "entry"} == both(2)
    assert bench.group().entered == bench.position().quantity == 2


@SEPARATE
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_bust_of_an_entry_fill_shrinks_protection(kind: str, side: str) -> None:
    """One of three is taken back: two are held and two are protected (scenario 83)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(side)
    bench.fill("entry", 2)
    bench.fill("entry", 1)
    bench.bust_last("entry")
    bench.advance(20_000)
    guards = {r: q for r, q in bench.working().items() if r != "entry"}
    assert guards == both(2)
    assert abs(bench.truth()) == abs(bench.position().quantity) == 2


@EVERY_BROKER
def test_a_bust_of_the_whole_entry_leaves_no_exit(kind: str) -> None:
    """All of it is taken back: nothing is held, and nothing that could open a position trades."""
    bench = protected(kind)
    bench.bust_last("entry")
    bench.advance(60_000)
    live = [one for one in bench.broker.orders.values() if one.is_working and not one.is_held]
    assert [one.side for one in live if one.side is Side.SELL] == []
    assert bench.truth() == bench.position().quantity == 0


@SEPARATE
def test_a_bust_of_an_exit_fill_raises_protection(kind: str) -> None:
    """The target's unit comes back: three are held and three are protected (scenario 83)."""
    bench = protected(kind)
    bench.fill("target", 1, 110)
    assert bench.working() == both(2)
    bench.bust_last("target")
    bench.advance(20_000)
    assert bench.working() == both(3)
    assert bench.truth() == bench.position().quantity == 3


@EVERY_BROKER
def test_a_bust_of_an_exit_reopens_a_closed_group(kind: str) -> None:
    """The stop sold all and the group is closed; one trade is taken back: protected anew (P5)."""
    bench = protected(kind)
    bench.fill("stop", 2, 95)
    bench.advance(20_000)
    bench.fill("stop", 1, 95)
    bench.advance(20_000)
    assert bench.group().phase == "closed"
    bench.bust_last("stop")
    bench.advance(30_000)
    assert bench.truth() == bench.position().quantity == 1
    assert bench.group().phase == "protected"
    assert bench.working() == both(1)


@EVERY_BROKER
def test_a_late_fill_reopens_a_closed_group(kind: str) -> None:
    """The entry was cancelled and read, the group closed; then one trade is told: protected
    (scenario 4, P5).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(entry_timeout_ms=1_000)
    bench.advance(20_000)
    assert bench.group().phase == "closed"
    bench.trade("late", 1, **entry_of(bench))
    assert bench.group().phase == "protecting"
    bench.talk()
    assert bench.working() == both(1)
    assert (bench.group().phase, bench.position().quantity) == ("protected", 1)


def test_a_late_fill_after_a_flattening_is_protected_anew() -> None:
    """Flattened and closed, then another unit of the entry is told: it is looked after (P5)."""
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[Refused(text="no")] * 3)
    bench.bracket()
    bench.fill("entry", 2)
    bench.advance(10_000)
    bench.fill("exit", 2)
    bench.advance(10_000)
    assert bench.group().phase == "closed"
    bench.trade("late", 1, **entry_of(bench))
    bench.advance(5_000)
    assert bench.working() == both(1)


def test_what_somebody_wanted_closed_stays_so() -> None:
    """Closed on demand, then another unit of the entry is told: it is sold too (P5)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 2)
    bench.ask(CloseGroup(group=1, by="ann", reason="enough"))
    bench.fill("exit", 2)
    bench.advance(10_000)
    assert bench.group().phase == "closed"
    bench.trade("late", 1, **entry_of(bench))
    bench.advance(5_000)
    assert bench.group().phase == "flattening"
    assert bench.working() == {"exit": 1}


# More was closed than was held.


def raced(kind: str = "plain", side: str = "buy", target: str = "3") -> BrokeredDesk:
    """A desk whose target and stop both trade before either word arrives."""
    bench = protected(kind, side)
    marks = {role: bench.held(role).broker_order_id for role in ("target", "stop")}
    bench.broker.fill(marks["target"], Decimal(target), Decimal(110))
    bench.broker.fill(marks["stop"], Decimal(3), Decimal(95))
    return bench


@SEPARATE
@pytest.mark.parametrize(("side", "undone"), [("buy", Side.BUY), ("sell", Side.SELL)])
def test_both_exits_trade_and_the_excess_is_undone_once(kind: str, side: str, undone: Side) -> None:
    """Six closed of three: people are told, three are undone, and it is over (scenario 69)."""
    bench = raced(kind, side)
    bench.talk()
    assert bench.phases()[-1] == "excess"
    bench.advance(2_000)
    assert bench.sent("undo") == [(undone, 3)]
    bench.fill("undo", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.position().quantity) == (0, 0)
    assert bench.sent("undo") == [(undone, 3)]
    assert bench.phases()[-3:] == ["excess", "closing", "closed"]
    assert bench.alerts() == ["EXCESS"]


def test_a_partial_race_is_undone_by_what_it_is_over() -> None:
    """The target sold two and the stop three of three: two are bought back (scenario 69)."""
    bench = raced(target="2")
    bench.talk()
    bench.advance(2_000)
    assert bench.sent("undo") == [(Side.BUY, 2)]
    bench.fill("undo", 2)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


@pytest.mark.parametrize(
    ("answers", "arrives"),
    [
        (lost(), True),
        (lost(), False),
        ([Refused(text="busy")] * 2, False),
        ([NotSent(text="429")] * 2, False),
    ],
)
def test_an_excess_is_undone_once_whatever_fails(answers: list[Outcome], arrives: bool) -> None:
    """The undoing order is lost, refused or not sent: in the end flat, never flipped again
    (scenario 100).
    """
    bench = raced()
    bench.break_next("submit", "undo", *answers, arrives=arrives)
    bench.talk()
    bench.advance(120_000)
    assert bench.working() == {"undo": 3}
    bench.fill("undo", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.position().quantity) == (0, 0)
    assert bench.working() == {}


def test_no_more_is_undone_than_the_position_is_off() -> None:
    """Somebody bought two past all desks in the meantime: one is left to undo (scenario 69)."""
    bench = raced()
    bench.break_next("submit", "undo", Refused(text="busy"))
    bench.talk()
    bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(2)))
    bench.advance(5_000)
    assert bench.working() == {"undo": 1}
    bench.fill("undo", 1)
    bench.advance(10_000)
    assert bench.sent("undo") == [(Side.BUY, 3), (Side.BUY, 1)]
    assert bench.group().phase == "closed"


def test_an_excess_is_undone_once_nothing_else_can_trade() -> None:
    """The stop has traded one too many and its cancel is lost: what it yet trades is waited for
    (scenario 69).
    """
    bench = protected()
    bench.break_next("cancel", "stop", *lost(2))
    bench.fill("target", 3, 110)
    bench.fill("stop", 1, 95)
    bench.advance(500)
    assert (bench.group().phase, bench.sent("undo")) == ("excess", [])
    bench.fill("stop", 1, 95)
    bench.advance(30_000)
    assert bench.sent("undo") == [(Side.BUY, 2)]
    bench.fill("undo", 2)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


def test_a_short_beside_an_excess_is_left_alone() -> None:
    """Two of three are undone when somebody sells two on purpose: one more is undone, no more."""
    bench = raced()
    bench.talk()
    bench.fill("undo", 2)
    bench.end("undo")
    bench.trade_outside("sell", 2)
    bench.advance(5_000)
    assert bench.sent("undo") == [(Side.BUY, 3), (Side.BUY, 1)]
    bench.fill("undo", 1)
    bench.advance(20_000)
    assert (bench.truth(), bench.group().phase) == (-2, "closed")
    assert len(bench.sent("undo")) == 2


def test_an_excess_that_a_bust_takes_back_is_not_undone() -> None:
    """The stop's trade is taken back before anything went out: nothing is left to undo."""
    bench = raced()
    bench.break_next("submit", "undo", *[Refused(text="busy")] * 9)
    bench.talk()
    bench.bust_last("stop")
    bench.mend()
    bench.advance(60_000)
    assert (bench.truth(), bench.position().quantity) == (0, 0)
    assert "undo" not in bench.working()
    assert bench.group().phase == "closed"


def test_a_short_that_somebody_wants_is_left_alone() -> None:
    """A plain order sells beyond flat: the exits go, and nothing is bought back (scenario 76)."""
    bench = protected()
    bench.trade_outside("sell", 5)
    bench.advance(60_000)
    assert (bench.truth(), bench.working()) == (-2, {})
    assert bench.sent("undo") == []
    assert bench.alerts() == []


def test_a_short_after_the_group_is_left_alone() -> None:
    """The target closed all of it; a later short sale is nobody's excess."""
    bench = protected()
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    bench.trade_outside("sell", 3)
    bench.advance(60_000)
    assert (bench.truth(), bench.sent("undo")) == (-3, [])


def test_what_somebody_sold_is_written_off() -> None:
    """A plain order sold a bracket's units; what is bought later is not the bracket's to guard."""
    bench = protected()
    bench.trade_outside("sell", 3)
    bench.advance(5_000)
    assert bench.group().phase == "closed"
    bench.trade_outside("buy", 3)
    bench.advance(5_000)
    assert (bench.working(), bench.group().phase, bench.truth()) == ({}, "closed", 3)


# Several groups.


def two(kind: str = "plain", side: str = "buy") -> BrokeredDesk:
    """A desk with two brackets of the same side, three filled of each."""
    bench = protected(kind, side)
    bench.bracket(side)
    bench.fill("entry", 3, group=2)
    assert (bench.working(1), bench.working(2)) == (both(3), both(3))
    return bench


@EVERY_BROKER
def test_groups_of_one_symbol_look_after_their_own(kind: str) -> None:
    """The first one's target sells: the second one's exits stay as they are."""
    bench = two(kind)
    bench.fill("target", 3, 110, group=1)
    bench.advance(10_000)
    assert (bench.working(1), bench.working(2)) == ({}, both(3))
    assert (bench.group(1).phase, bench.group(2).phase) == ("closed", "protected")
    assert bench.truth() == 3


@SHARING
@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
def test_the_newest_group_shrinks_first(kind: str, side: str, other: str) -> None:
    """A plain order closes four of six: the second group has nothing left, the first has two."""
    bench = two(kind, side)
    bench.trade_outside(other, 2)
    bench.advance(20_000)
    assert (bench.working(1), bench.working(2)) == (both(3), both(1))
    bench.trade_outside(other, 2)
    bench.advance(20_000)
    assert (bench.working(1), bench.working(2)) == (both(2), {})
    assert abs(bench.truth()) == 2
    assert not bench.sent("exit") + bench.sent("undo")


def test_what_is_bought_later_is_nobody_elses() -> None:
    """What others closed is written off for good, so that no group takes what it never bought."""
    bench = two()
    bench.trade_outside("sell", 2)
    bench.advance(5_000)
    assert bench.working(2) == both(1)
    bench.trade_outside("buy", 5)
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == (both(3), both(1))
    assert bench.truth() == 9


def test_a_newer_group_keeps_its_fill_beside_one_of_which_others_closed_a_part() -> None:
    """The older one does not grow back into what the newer one bought (P6)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.trade_outside("sell", 2)
    bench.bracket()
    bench.fill("entry", 3, group=2)
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == (both(1), both(3))


def test_a_fill_after_somebody_asked_to_close_is_closed_as_well() -> None:
    """The entry's last trade is told after its cancel: the group goes on closing (scenario 45)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 1)
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.fill("exit", 1)
    assert bench.phases()[-1] == "closed"
    bench.trade("late", "1", **entry_of(bench))
    bench.talk()
    assert bench.phases()[-2:] == ["closed", "flattening"]
    assert bench.working() == {"exit": 1}


@EVERY_BROKER
def test_what_somebody_closed_past_all_desks_is_protected_no_more(kind: str) -> None:
    """The account holds two less than the desk: the newest group shrinks (scenario 94)."""
    bench = two(kind)
    bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(-2)))
    bench.advance(60_000)
    assert (bench.working(1), bench.working(2)) == (both(3), both(1))
    bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(0)))
    bench.advance(60_000)
    assert (bench.working(1), bench.working(2)) == (both(3), both(3))


@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
@pytest.mark.parametrize("filled", [0, 3])
def test_an_opposing_group_is_refused(side: str, other: str, filled: int) -> None:
    """A group that looks the other way is refused, before its entry fills and after."""
    bench = BrokeredDesk()
    bench.bracket(side)
    if filled:
        bench.fill("entry", filled)
    before = len(bench.calls)
    with pytest.raises(OrderRefused) as refusal:
        bench.bracket(other)
    assert refusal.value.code == "GROUP_OPPOSES"
    assert len(bench.calls) == before
    assert list(bench.desk.state.stored.groups) == [1]


@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
def test_a_group_against_a_plain_position_is_refused(side: str, other: str) -> None:
    """A bracket that would close what is held is refused: its exits would open it anew."""
    bench = BrokeredDesk()
    bench.buy(2, side=side)
    with pytest.raises(OrderRefused, match="close the position first"):
        bench.bracket(other)
    bench.bracket(side)


def test_another_symbol_or_a_closed_group_opposes_nothing() -> None:
    """What is over, or elsewhere, stands in nobody's way."""
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.bracket("buy")
    bench.bracket("sell", symbol="Y")
    bench.fill("entry", 3)
    bench.fill("target", 3, 110)
    bench.advance(5_000)
    bench.bracket("sell")
    assert [group.symbol for group in bench.desk.state.groups.open()] == ["Y", "X"]


# Memory and time.


def test_a_thousand_brackets_leave_no_order_and_a_bounded_memory() -> None:
    """Groups that are over are forgotten oldest first, open ones never (scenario 75)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    for number in range(2, CLOSED_MAX + 20):
        bench.break_next("submit", "entry", Refused(text="no"))
        bench.bracket()
        assert bench.group(number).phase == "closed"
    groups = bench.desk.state.stored.groups
    assert len(groups) == CLOSED_MAX + 1
    assert 1 in groups
    assert 2 not in groups
    assert bench.working() == both(3)
    assert len(bench.desk.state.active) == 2


def test_the_time_unprotected_is_counted() -> None:
    """Two spells without a stop: their sum, and the longest of them."""
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[Refused(text="no")] * 2)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(10_000)
    first = bench.group().unprotected_ns
    assert first > 0
    assert bench.group().longest_ns == first
    bench.advance(60_000)
    bench.break_next("submit", "stop", Refused(text="no"))
    bench.end("stop")
    bench.advance(10_000)
    assert bench.group().unprotected_ns > first
    assert bench.group().longest_ns == max(first, bench.group().unprotected_ns - first)
    assert bench.group().naked_ns == 0


@EVERY_BROKER
def test_a_refolded_desk_is_the_same(kind: str) -> None:
    """Folded anew from its journal, without any configuration, a desk holds the same groups
    (P8).
    """
    bench = two(kind)
    bench.fill("stop", 1, 95, group=2)
    bench.advance(10_000)
    assert bench.refolded().state.stored.groups == bench.desk.state.stored.groups
    again = type(bench.desk).load(bench.desk.dump())
    assert again.state.stored.groups == bench.desk.state.stored.groups
    assert again.dump() == bench.desk.dump()


def test_what_an_exit_of_no_group_is_closing_needs_no_other_exit() -> None:
    """A forced exit at the market is on its way: the stop for the same units goes, and comes back
    if nothing became of it (P7).
    """
    bench = protected()
    bench.break_next("submit", "", Refused(text="not now"))
    order = bench.submit("sell", "3", order_type="market", reduce_only=True, force=True)
    bench.talk()
    assert bench.order(order.number).status is Status.REJECTED
    assert bench.working() == both(3)
    bench.submit("sell", "3", order_type="market", reduce_only=True, force=True)
    bench.talk()
    assert (bench.working(), bench.truth()) == ({}, 3)
