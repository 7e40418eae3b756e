"""Who cancels everything leaves protection standing, unless told otherwise or flattening."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.group import Phase
from holdfast.domain.inputs import (
    Cancel,
    CancelAll,
    EngageKillSwitch,
    Flatten,
    ManageOrders,
    Protect,
    ReleaseKillSwitch,
    Reported,
    StopFlatten,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies, StaleRules
from holdfast.domain.reports import Refused
from holdfast.domain.values import Side
from holdfast.errors import InputError, OrderRefused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
SEPARATE = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])


def protected(kind: str = "plain", **driver: Any) -> BrokeredDesk:
    """A desk with a filled bracket and a plain entry that rests."""
    bench = BrokeredDesk(BROKER_KINDS[kind], **driver)
    bench.bracket()
    bench.fill("entry", 3)
    bench.submit("buy", "1", limit_price="80")
    bench.talk()
    return bench


def name(bench: BrokeredDesk, role: str) -> str:
    """Return the client order id of the order in a role that may still trade."""
    return bench.member(role).client_order_id


def entries(bench: BrokeredDesk) -> int:
    """Count the entries that may still trade."""
    return sum(not order.reducing for order in bench.desk.state.active.values())


# Everything at once.


@EVERY_BROKER
def test_cancel_all_leaves_protection(kind: str) -> None:
    """The plain entry goes, stop and target stay for all they guard (scenario 112)."""
    bench = protected(kind)
    bench.ask(CancelAll(by="ann", reason="enough"))
    bench.advance(30_000)
    assert (bench.working(), entries(bench)) == (both(3), 0)
    assert bench.group().phase == "protected"


@EVERY_BROKER
def test_cancel_all_ends_a_bracket_s_entry_and_protects_its_fill(kind: str) -> None:
    """A bracket filled in part: its rest goes, its part stays protected (scenario 112)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket(entry_timeout_ms=0)
    bench.fill("entry", 1)
    bench.ask(CancelAll(by="ann"))
    bench.advance(30_000)
    assert (bench.working(), bench.truth()) == (both(1), 1)
    assert bench.sent("exit") == []


@EVERY_BROKER
def test_cancel_all_that_may_leave_it_unprotected_does(kind: str) -> None:
    """Told so, it takes stops and targets too, for good, and who said it is kept
    (scenario 112).
    """
    bench = protected(kind)
    bench.ask(CancelAll(leave_unprotected=True, by="ann", reason="all out"))
    bench.advance(60_000)
    assert (bench.working(), entries(bench), bench.truth()) == ({}, 0, 3)
    assert (bench.group().phase, bench.sent("exit"), bench.alerts()) == ("closed", [], [])
    assert bench.kinds().count("group_exit_changed") == 2


def test_cancel_all_of_a_symbol_leaves_the_other() -> None:
    """Only what was named goes, and the counts are of that (scenario 77)."""
    bench = BrokeredDesk(instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.bracket()
    bench.bracket(symbol="Y")
    decision = bench.ask(CancelAll(symbol="Y", by="ann"))
    assert [bench.order(number).terms.symbol for number in decision.numbers] == ["Y"]
    assert (bench.working(1), bench.working(2)) == ({"entry": 3}, {})


@EVERY_BROKER
def test_the_kill_switch_leaves_protection(kind: str) -> None:
    """Engaged to cancel: entries go, protection stands, and still follows (scenario 112)."""
    bench = protected(kind)
    bench.ask(EngageKillSwitch(by="ann", reason="odd"))
    bench.advance(30_000)
    assert (bench.working(), entries(bench)) == (both(3), 0)
    bench.fill("target", 1, 110)
    bench.advance(30_000)
    assert bench.working() == both(2)
    with pytest.raises(OrderRefused):
        bench.bracket()


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew", "pairs"])
def test_protection_is_placed_while_the_kill_switch_is_engaged(kind: str) -> None:
    """A fill that overtakes the switch is protected: exits are never stopped (P6, P7)."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.break_next("cancel", "entry", *[Refused(text="busy")] * 2)
    bench.ask(EngageKillSwitch(by="ann", reason="odd"))
    bench.fill("entry", 2)
    bench.advance(60_000)
    assert bench.working() == both(2)
    assert bench.group().phase == "protected"


@EVERY_BROKER
def test_the_kill_switch_that_flattens_flattens_groups_once(kind: str) -> None:
    """Engaged to flatten: exits go, one order closes the position, nothing comes back
    (scenario 112).
    """
    bench = protected(kind)
    bench.ask(EngageKillSwitch(by="ann", reason="odd", action="flatten"))
    bench.advance(10_000)
    assert bench.working() == {}
    flat = [order for order in bench.desk.state.active.values() if order.role == "flat"]
    assert [(order.terms.side, order.quantity) for order in flat] == [(Side.SELL, 3)]
    bench.broker.fill(flat[0].broker_order_id, Decimal(3), Decimal(99))
    bench.talk()
    bench.advance(60_000)
    assert (bench.truth(), bench.working(), bench.group().phase) == (0, {}, "closed")
    bench.ask(ReleaseKillSwitch(by="ann", reason="fine"))
    bench.bracket()


@SEPARATE
def test_a_flattening_that_is_stopped_hands_back_to_its_groups(kind: str) -> None:
    """Stopped half way: what is still held is protected again (P6)."""
    bench = protected(kind)
    bench.ask(Flatten(symbol="X", by="ann", reason="out"))
    bench.advance(5_000)
    assert bench.working() == {}
    flat = next(order for order in bench.desk.state.active.values() if order.role == "flat")
    bench.broker.fill(flat.broker_order_id, Decimal(1), Decimal(99))
    bench.talk()
    bench.ask(StopFlatten(symbol="X", by="ann", reason="stay"))
    bench.advance(20_000)
    assert (bench.truth(), bench.working()) == (2, both(2))
    assert bench.group().phase == "protected"
    assert bench.sent("exit") == []


def test_stale_orders_leave_protection_however_old() -> None:
    """Entries go when they have waited too long; a stop may wait for ever (scenario 112)."""
    rules = Policies(limits=Limits.none(), stale=StaleRules(after_ms=5_000))
    bench = protected(policies=rules)
    bench.advance(60_000)
    bench.ask(ManageOrders(by="ann"))
    assert (bench.working(), entries(bench)) == (both(3), 0)


# One by one.


@EVERY_BROKER
def test_who_cancels_a_target_keeps_the_stop(kind: str) -> None:
    """The target does not come back, the stop guards all of it."""
    bench = protected(kind)
    bench.ask(Cancel(client_order_id=name(bench, "target"), by="ann"))
    bench.advance(60_000)
    assert bench.working() == {"stop": 3}
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])
    bench.fill("stop", 3, 95)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


@EVERY_BROKER
def test_who_cancels_a_stop_keeps_the_target(kind: str) -> None:
    """The stop does not come back, nobody flattens, and the target closes."""
    bench = protected(kind)
    bench.ask(Cancel(client_order_id=name(bench, "stop"), by="ann", reason="I watch it"))
    bench.advance(60_000)
    assert bench.working() == {"target": 3}
    assert bench.sent("exit") == []
    dropped = [event for event in bench.events if isinstance(event, e.GroupExitChanged)]
    assert [(one.role, one.exit, one.by, one.reason) for one in dropped] == [
        ("stop", None, "ann", "I watch it")
    ]
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    assert (bench.truth(), bench.group().phase) == (0, "closed")


@EVERY_BROKER
def test_who_cancels_both_is_left_with_the_position(kind: str) -> None:
    """Nothing guards it, because somebody wanted that: no exit, no alert, the group is over."""
    bench = protected(kind)
    bench.ask(Cancel(client_order_id=name(bench, "target"), by="ann"))
    bench.advance(20_000)
    bench.ask(Cancel(client_order_id=name(bench, "stop"), by="ann"))
    bench.advance(60_000)
    assert (bench.working(), bench.truth(), bench.alerts()) == ({}, 3, [])
    assert bench.group().phase == "closed"


@pytest.mark.parametrize("kind", ["plain", "new_ids", "counts_anew", "brackets", "pairs"])
def test_a_person_moves_a_stop(kind: str) -> None:
    """A price of one's own is what the group wants from then on, also for what fills later."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 2)
    bench.replace(bench.member("stop").number, stop_price="96")
    bench.talk()
    bench.fill("entry", 1)
    bench.advance(30_000)
    assert bench.working() == both(3)
    assert bench.held("stop").stop_price == 96
    assert bench.sent("exit") == []


def test_nobody_sizes_an_exit_by_hand() -> None:
    """Its quantity follows from what its group holds: refused, with what to do instead."""
    bench = protected()
    decision = bench.replace(bench.member("stop").number, quantity="1")
    assert isinstance(decision.error, InputError)
    assert "close a part of the position" in str(decision.error)
    assert decision.effects == []


def test_an_entry_s_price_must_stay_between_its_exits() -> None:
    """A replaced entry price is held against stop and target, and works where it fits."""
    bench = BrokeredDesk()
    bench.bracket()
    number = bench.group().entry
    for price in ("95", "94", "110", "111"):
        error = bench.replace(number, limit_price=price).error
        assert isinstance(error, InputError), price
    assert bench.replace(number, limit_price="99").error is None
    bench.talk()
    assert bench.held("entry").limit_price == 99


def test_a_replaced_entry_quantity_is_protected_as_it_fills() -> None:
    """Grown to five and filled: five are protected (scenario 84)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.replace(bench.group().entry, quantity="5")
    bench.talk()
    bench.fill("entry", 5)
    assert (bench.working(), bench.truth()) == (both(5), 5)


def test_what_protected_the_other_side_protects_nothing_now() -> None:
    """A position that turned while it was flattened is short: the stop for it is a new group's.

    Until the flattening is over the groups of its symbol stand still, the one of what was long too.
    """
    bench = BrokeredDesk()
    bench.buy(3)
    bench.ask(Protect(symbol="X", role="stop", stop_price="95"))
    rests = bench.submit("sell", "8", limit_price="120")
    bench.talk()
    bench.step(Flatten(symbol="X", by="ann", reason="out"))
    bench.broker.fill(bench.order(rests.number).broker_order_id, Decimal(8), Decimal(120))
    bench.step(Reported(bench.broker.words.pop(0)))
    bench.step(Protect(symbol="X", role="stop", stop_price="130"))

    old, new = bench.group(1), bench.group(2)
    assert (old.side, old.phase, new.side) == (Side.SELL, Phase.PROTECTED, Side.BUY)
    stops = [each.slot("stop").exit for each in (old, new)]
    assert [stop.stop_price for stop in stops if stop is not None] == [95, 130]
