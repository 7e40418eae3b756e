"""What groups look after beside others: trades that are taken back, and what is too small."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.domain.events import GroupReduced
from holdfast.domain.inputs import CloseGroup, ClosePosition, Polled, SeenElsewhere
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import ReportKind
from holdfast.domain.values import Side
from holdfast.errors import OrderRefused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk
from holdfast.testing.model_broker import Held

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
SHARING = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
BOTH = {"stop": 3, "target": 3}


def protected(kind: str = "plain", side: str = "buy") -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(side)
    bench.fill("entry", 3)
    return bench


def undo_trade(bench: BrokeredDesk, number: int) -> None:
    """Let the broker take back the last trade of an order of no group."""
    name = bench.order(number).broker_order_id
    bench.broker.bust(name, list(bench.broker.orders[name].executions)[-1])
    bench.talk()
    if bench.broker.orders[name].is_working:
        bench.cancel(number)
        bench.talk()


@SHARING
@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
@pytest.mark.parametrize("closed", [1, 3])
def test_what_others_closed_comes_back_when_their_trade_is_taken_back(
    kind: str, side: str, other: str, closed: int
) -> None:
    """A plain order closed a part or all, so that the bracket is over, and is busted: all three
    are held again, and guarded (scenario 83, P6).
    """
    bench = protected(kind, side)
    trade = bench.trade_outside(other, closed)
    bench.advance(10_000)
    assert bench.group().written_off == closed
    assert bench.group().phase == ("closed" if closed == 3 else "protected")
    undo_trade(bench, trade.number)
    bench.advance(30_000)
    assert abs(bench.truth()) == abs(bench.position().quantity) == 3
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")
    assert bench.group().written_off == 0


def test_the_oldest_group_gets_back_first_and_no_more_than_it_lost() -> None:
    """Two groups lost three and one of six, and two come back: the older one's, then the other's
    (scenario 83).
    """
    bench = protected()
    bench.bracket()
    bench.fill("entry", 3, group=2)
    first = bench.trade_outside("sell", 2)
    second = bench.trade_outside("sell", 2)
    bench.advance(5_000)
    assert (bench.group(1).written_off, bench.group(2).written_off) == (1, 3)
    before = len(bench.events)
    undo_trade(bench, second.number)
    bench.advance(5_000)
    given = [one for one in bench.events[before:] if isinstance(one, GroupReduced)]
    assert [(one.group, one.quantity) for one in given] == [(1, -1), (2, -1)]
    assert (bench.working(1), bench.working(2)) == (BOTH, {"stop": 1, "target": 1})
    undo_trade(bench, first.number)
    bench.advance(5_000)
    assert (bench.working(1), bench.working(2)) == (BOTH, BOTH)


@SHARING
def test_the_exit_of_a_close_that_is_taken_back_is_closed_again(kind: str) -> None:
    """Somebody closed the position and the exit's trade is busted: what is there again was to be
    closed, and is; meanwhile nothing of it is forgotten (scenario 83, P6).
    """
    bench = protected(kind)
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out"))
    bench.fill("exit", 3, group=2)
    bench.advance(10_000)
    assert (bench.group(1).phase, bench.group(2).phase) == ("closed", "closed")
    bench.bust_last("exit", group=2)
    bench.advance(30_000)
    assert bench.truth() == bench.position().quantity == 3
    assert bench.group(2).phase == "flattening"
    assert bench.working(2) == {"exit": 3}
    assert bench.group(1).owed == 3, "what the close does not get is the bracket's again"
    bench.ask(CloseGroup(group=2, by="ann", reason="leave it"))
    bench.advance(30_000)
    assert (bench.working(1), bench.group(1).phase) == (BOTH, "protected")


def test_a_trade_of_its_own_that_is_taken_back_gives_nothing_back_for_others() -> None:
    """The bracket's target sold one, others sold one; the target's is busted: two are its own and
    guarded, and what others closed stays closed.
    """
    bench = protected()
    bench.fill("target", 1, 110)
    bench.trade_outside("sell", 1)
    bench.advance(5_000)
    assert (bench.working(), bench.group().written_off) == ({"stop": 1, "target": 1}, 1)
    bench.bust_last("target")
    bench.advance(5_000)
    assert bench.truth() == 2
    assert bench.working() == {"stop": 2, "target": 2}
    assert bench.group().written_off == 1


@pytest.mark.parametrize("told", [1, 3])
@pytest.mark.parametrize("kind", ["brackets", "brackets_and_pairs", "late_brackets"])
def test_an_entry_told_after_its_exit_gives_back_what_another_group_lost(
    kind: str, told: int
) -> None:
    """One bracket's exit seems to have closed the units of another that somebody closes: they are
    there again once the entry behind that exit is told, and are closed (92, 100, P6).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.bracket()
    bench.fill("entry", 3, group=2)
    bench.is_deaf = True
    bench.fill("entry", 3)
    bench.is_deaf = False
    bench.fill("target", told, 110)
    bench.ask(CloseGroup(group=2, by="ann", reason="out"))
    if told < 3:
        bench.fill("exit", 3 - told, group=2)
    bench.advance(2_000)
    assert (bench.position().quantity, bench.truth()) == (0, 3)
    bench.reconcile()
    bench.advance(5_000)
    assert bench.working(2) == {"exit": told}
    bench.fill("exit", told, group=2)
    bench.advance(30_000)
    assert (bench.working(2), bench.group(2).phase) == ({}, "closed")
    guarded = {"stop": 3 - told, "target": 3 - told} if told < 3 else {}
    assert (bench.truth(), bench.working(1)) == (3 - told, guarded)


@EVERY_BROKER
def test_what_was_closed_past_all_desks_counts_as_long_as_it_is_told(kind: str) -> None:
    """Two of three are gone by the account, then one, then none: the stop is for what is left
    each time, and nothing was written off (scenario 94).
    """
    bench = protected(kind)
    for gone in (2, 1, 0):
        bench.ask(SeenElsewhere(symbol="X", quantity=Decimal(-gone)))
        bench.advance(60_000)
        assert bench.working() == {"stop": 3 - gone, "target": 3 - gone}
    assert (bench.group().written_off, bench.group().phase) == (0, "protected")


# What is left below a lot.


def fee_in_base(bench: BrokeredDesk) -> None:
    """Let the broker take a thousandth of what is bought as its fee."""
    tell = bench.broker._tell

    def telling(held: Held, kind: ReportKind, **fields: Any) -> None:
        one = fields.get("execution")
        if one is not None and held.side is Side.BUY:
            one = msgspec.structs.replace(one, fee=one.quantity / 1000, fee_currency="BTC")
            held.executions[one.execution_id] = fields["execution"] = one
        tell(held, kind, **fields)

    bench.broker._tell = telling  # type: ignore[method-assign] # a broker with fees


def fractional() -> BrokeredDesk:
    """A desk with a bracket of a hundredth of a coin, filled, with a fee in that coin."""
    bench = BrokeredDesk(instruments=(Instrument.of("X", lot="0.01", base="BTC"),))
    fee_in_base(bench)
    bench.bracket(quantity="0.01")
    bench.fill("entry", "0.01")
    bench.advance(20_000)
    assert 0 < bench.position().quantity < Decimal("0.01")
    return bench


def test_less_than_a_lot_opposes_nothing() -> None:
    """A fee leaves less than a lot, which nobody can close: a bracket the other way is taken."""
    bench = fractional()
    assert bench.group().phase == "closed"
    assert bench.bracket("sell", "0.05").group == 2


def test_a_whole_lot_does_oppose() -> None:
    """A lot that could be closed is still in the way of a bracket that looks the other way."""
    bench = fractional()
    bench.buy("0.01")
    with pytest.raises(OrderRefused, match="close the position first") as refusal:
        bench.bracket("sell", "0.05")
    assert refusal.value.code == "GROUP_OPPOSES"


def test_a_group_that_ends_with_less_than_a_lot_left_alarms_nobody() -> None:
    """Nothing can be ordered for what is left, and its usual end is no news."""
    assert fractional().alerts() == []


def test_a_group_that_ends_with_nothing_left_says_nothing() -> None:
    """Its target, or others, closed all of it: no alert."""
    bench = protected()
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    other = protected()
    other.trade_outside("sell", 3)
    other.advance(10_000)
    assert (bench.group().phase, other.group().phase) == ("closed", "closed")
    assert bench.alerts() + other.alerts() == []


def sold_and_bought_again() -> BrokeredDesk:
    """A bracket whose three somebody sold, three bought by a plain order, and a second bracket."""
    bench = protected()
    bench.trade_outside("sell", 3)
    bench.advance(5_000)
    bench.buy(3)
    bench.bracket(quantity="5", entry_timeout_ms=0)
    return bench


def test_what_another_entry_fills_wakes_no_group_that_ended() -> None:
    """The plain units are nobody's: a fill of the second bracket gives them to no group (P3)."""
    bench = sold_and_bought_again()
    bench.fill("entry", 3, group=2)
    bench.fill("target", 1, 110, group=2)
    bench.advance(5_000)
    assert (bench.group(1).phase, bench.working(1)) == ("closed", {})


def test_executions_of_a_figure_that_counted_wake_no_group_that_ended() -> None:
    """A poll tells that a second bracket's entry filled three, and its executions come only after
    its target traded one: the first bracket, whose units somebody sold, stays closed (P3).
    """
    bench = sold_and_bought_again()
    bench.is_deaf = True
    bench.fill("entry", 3, group=2)
    bench.is_deaf = False
    snapshots, _ = bench.broker.listing()
    bench.ask(Polled(asked_ns=bench.now_ns, snapshots=snapshots, executions=(), complete=True))
    assert bench.group(2).entered == 3
    bench.fill("target", 1, 110, group=2)
    bench.reconcile()
    bench.advance(5_000)
    assert (bench.group(1).phase, bench.working(1)) == ("closed", {})
