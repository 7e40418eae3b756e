"""Brackets: an entry, and exits for exactly what it filled, at every kind of broker."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.inputs import Cancel
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import NotSent, Outcome, RefusalCode, Refused
from holdfast.domain.values import Side, Status
from holdfast.errors import (
    AmountError,
    IdempotencyConflict,
    InputError,
    OrderRefused,
    UnsupportedOrderTypeError,
)
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, both, lost

EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)
# At these what is protected while the entry works is the desk's own doing, fill by fill.
AT_EACH_FILL = pytest.mark.parametrize("kind", [k for k in BROKER_KINDS if k != "late_brackets"])


def at(kind: str, **driver: Any) -> BrokeredDesk:
    """A desk at a kind of broker."""
    return BrokeredDesk(BROKER_KINDS[kind], **driver)


def entered(kind: str, filled: int = 3, **terms: Any) -> BrokeredDesk:
    """A desk with a bracket over three units, of which so many filled at once."""
    bench = at(kind)
    bench.bracket(**terms)
    bench.fill("entry", filled)
    return bench


@EVERY_BROKER
@pytest.mark.parametrize(("side", "exit_side"), [("buy", Side.SELL), ("sell", Side.BUY)])
def test_a_filled_entry_is_protected_for_what_it_filled(
    kind: str, side: str, exit_side: Side
) -> None:
    """The entry fills at once: a stop and a target for all of it, and both close (scenario 62)."""
    bench = entered(kind, side=side)
    assert bench.working() == both(3)
    assert {bench.held(role).side for role in ("stop", "target")} == {exit_side}
    prices = (bench.held("stop").stop_price, bench.held("target").limit_price)
    assert prices == ((Decimal(95), Decimal(110)) if side == "buy" else (Decimal(105), Decimal(90)))
    assert bench.group().phase == "protected"
    assert (bench.desk.next_deadline(), bench.anomalies()) == (None, [])


@EVERY_BROKER
def test_nothing_that_closes_works_before_the_first_fill(kind: str) -> None:
    """An entry that waits has no exit that could trade: it could only open a position (P6)."""
    bench = at(kind)
    bench.bracket()
    live = [one for one in bench.broker.orders.values() if one.is_working and not one.is_held]
    assert [one.wire_id for one in live] == [bench.held("entry").wire_id]
    assert bench.group().phase == "entering"


@AT_EACH_FILL
def test_protection_grows_with_each_fill(kind: str) -> None:
    """From the first fill on what is filled is what is protected, never more or less (P6)."""
    bench = at(kind)
    bench.bracket()
    for filled in (1, 2, 3):
        bench.fill("entry", 1)
        guards = {r: q for r, q in bench.working().items() if r != "entry"}
        assert guards == both(filled)
        assert bench.group().phase == "protected"
    assert bench.truth() == bench.position().quantity == 3


@EVERY_BROKER
def test_an_entry_that_takes_too_long_leaves_its_fill_protected(kind: str) -> None:
    """One of three fills in time: the rest is cancelled, read, and one protected (scenario 63)."""
    bench = entered(kind, 1, entry_timeout_ms=30_000)
    bench.advance(30_100)
    assert bench.working() == both(1)
    assert bench.group().phase == "protected"
    assert bench.order(bench.group().entry).status is Status.CANCELED
    assert bench.group().entry not in bench.group().live, "its final figure was read"
    assert bench.truth() == 1


@EVERY_BROKER
def test_a_fill_that_its_cancel_overtook_is_protected_too(kind: str) -> None:
    """The second fill is told by no word of the stream, only by the final figure (scenario 63)."""
    bench = entered(kind, 1, entry_timeout_ms=30_000)
    bench.is_deaf = True
    bench.fill("entry", 1)
    bench.is_deaf = False
    bench.advance(40_000)
    assert bench.truth() == bench.position().quantity == 2
    assert bench.working() == both(2)


@EVERY_BROKER
def test_an_unfilled_entry_is_cancelled_and_leaves_nothing(kind: str) -> None:
    """Nobody sells in time: cancelled, confirmed, and no exit ever worked (scenario 64)."""
    bench = at(kind)
    bench.bracket(entry_timeout_ms=30_000)
    bench.advance(29_900)
    assert "entry" in bench.working()
    bench.advance(200)
    bench.advance(20_000)
    assert (bench.working(), bench.phases()) == ({}, ["closing", "closed"])
    assert not [one for one in bench.broker.orders.values() if one.executions]
    assert not bench.desk.state.active
    assert bench.desk.next_deadline() is None


def test_an_entry_without_an_end_waits_for_ever() -> None:
    """With `entry_timeout_ms=0` time alone ends nothing."""
    bench = at("plain")
    bench.bracket(entry_timeout_ms=0)
    bench.advance(3_600_000)
    assert "entry" in bench.working()


def test_the_desk_s_own_bound_ends_an_entry_that_names_none() -> None:
    """Without a time of its own an entry has a minute."""
    bench = at("plain")
    bench.bracket()
    bench.advance(59_900)
    assert "entry" in bench.working()
    bench.advance(200)
    assert not bench.working()


@EVERY_BROKER
def test_a_market_entry_that_fills_before_its_answer_is_protected(kind: str) -> None:
    """Its fill overtakes the answer to its submit: protected at once all the same (scenario 66)."""
    bench = at(kind)
    bench.early["entry"] = Decimal(100)
    bench.bracket(entry_type="market")
    assert bench.working() == both(3)
    assert (bench.group().phase, bench.truth()) == ("protected", 3)
    if bench.broker.capabilities.native_bracket == "none":
        assert bench.kinds().count("lookup_started") == 0


@EVERY_BROKER
def test_a_target_that_fills_ends_the_stop(kind: str) -> None:
    """The target fills whole: the stop is gone and the group is over (scenario 67)."""
    bench = entered(kind)
    bench.fill("target", 3, 110)
    bench.advance(10_000)
    assert (bench.working(), bench.truth()) == ({}, 0)
    assert bench.phases()[-2:] == ["closing", "closed"]
    assert not bench.desk.state.active


@EVERY_BROKER
def test_a_stop_that_fills_ends_the_target(kind: str) -> None:
    """The stop fills whole: the target is gone and the group is over (scenario 67)."""
    bench = entered(kind, side="sell")
    bench.fill("stop", 3, 105)
    bench.advance(10_000)
    assert (bench.working(), bench.truth()) == ({}, 0)
    assert bench.group().phase == "closed"


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
@pytest.mark.parametrize("failure", ["refused", "lost", "not_sent"])
def test_the_link_is_kept_until_the_stop_is_confirmed_gone(kind: str, failure: str) -> None:
    """The stop's cancel fails twice: it is asked again until the broker confirms (scenario 67)."""
    bench = entered(kind)
    failures: dict[str, Sequence[Outcome]] = {
        "refused": [Refused(text="busy")] * 2,
        "lost": lost(2),
        "not_sent": [NotSent(text="429")] * 2,
    }
    bench.break_next("cancel", "stop", *failures[failure])
    bench.fill("target", 3, 110)
    assert bench.working() == {"stop": 3}
    assert bench.group().phase == "closing", "silence is not evidence"
    bench.advance(60_000)
    assert bench.working() == {}
    assert bench.calls.count(("cancel", "stop")) == 3
    assert bench.group().phase == "closed"


@EVERY_BROKER
def test_a_target_that_fills_in_part_shrinks_the_stop(kind: str) -> None:
    """One of three is sold at the target: stop and target are for two (scenario 68)."""
    bench = entered(kind)
    bench.fill("target", 1, 110)
    bench.advance(20_000)
    assert bench.working() == both(2)
    assert (bench.truth(), bench.group().phase) == (2, "protected")
    bench.fill("stop", 2, 95)
    bench.advance(20_000)
    assert (bench.working(), bench.truth()) == ({}, 0)


@AT_EACH_FILL
def test_a_target_may_sell_while_the_entry_still_fills(kind: str) -> None:
    """Filled two, sold one, filled another: two are held and two are protected (P6)."""
    bench = entered(kind, 2)
    bench.fill("target", 1, 110)
    bench.advance(500)
    bench.fill("entry", 1)
    bench.advance(20_000)
    assert bench.truth() == 2
    guards = {r: q for r, q in bench.working().items() if r != "entry"}
    assert guards == both(2)


@EVERY_BROKER
def test_a_person_cancels_an_entry_that_filled_in_part(kind: str) -> None:
    """The rest is gone, what filled stays protected (scenario 63)."""
    bench = entered(kind, 1)
    entry = bench.order(bench.group().entry)
    bench.ask(Cancel(client_order_id=entry.client_order_id, by="ann"))
    bench.advance(20_000)
    assert bench.working() == both(1)
    assert bench.group().phase == "protected"


@EVERY_BROKER
def test_a_refused_entry_ends_its_group(kind: str) -> None:
    """The broker refuses the entry: nothing works and the group is over."""
    bench = at(kind)
    bench.break_next("submit", "entry", Refused(text="no"))
    bench.bracket()
    bench.advance(20_000)
    assert (bench.working(), bench.phases()) == ({}, ["closing", "closed"])
    assert not bench.desk.state.active
    assert bench.desk.next_deadline() is None


@EVERY_BROKER
def test_an_entry_of_unknown_outcome_is_found_and_its_fill_protected(kind: str) -> None:
    """The call times out and had arrived: one entry at the broker, protected (scenario 29)."""
    bench = at(kind)
    bench.break_next("submit", "entry", *lost(), arrives=True)
    bench.bracket()
    bench.advance(2_000)
    bench.fill("entry", 3)
    bench.advance(20_000)
    assert bench.sent("entry") == [(Side.BUY, Decimal(3))]
    assert (bench.working(), bench.truth()) == (both(3), 3)


@EVERY_BROKER
def test_what_traded_while_the_link_was_down_is_caught_up_with(kind: str) -> None:
    """The entry fills, and then the target trades, unheard: after the next list all is as it
    should be, nothing is left bare (scenarios 73 and 92).
    """
    bench = at(kind)
    bench.bracket()
    bench.is_deaf = True
    bench.fill("entry", 3)
    bench.is_deaf = False
    bench.reconcile()
    bench.advance(30_000)
    assert (bench.working(), bench.position().quantity) == (both(3), 3)
    bench.is_deaf = True
    bench.fill("target", 1, 110)
    bench.is_deaf = False
    bench.reconcile()
    bench.advance(30_000)
    assert (bench.working(), bench.position().quantity) == (both(2), 2)
    assert bench.sent("exit") == bench.sent("undo") == []


def test_an_overfilled_entry_is_protected_for_all_of_it() -> None:
    """The broker fills four of three: money counts, and four are protected (scenario 9, P5)."""
    bench = entered("plain")
    number = bench.group().entry
    bench.trade("extra", 1, number=number, broker_order_id=bench.order(number).broker_order_id)
    bench.talk()
    assert "OVERFILL" in bench.anomalies()
    assert bench.working() == both(4)


# What is refused, before anything is recorded.


@pytest.mark.parametrize(
    ("side", "entry", "stop", "target"),
    [
        ("buy", "100", "100", "110"),
        ("buy", "100", "101", "110"),
        ("buy", "100", "95", "100"),
        ("buy", "100", "95", "99"),
        ("sell", "100", "100", "90"),
        ("sell", "100", "99", "90"),
        ("sell", "100", "105", "100"),
        ("sell", "100", "105", "101"),
        ("buy", "100", "110", "95"),
    ],
)
def test_exits_on_the_wrong_side_are_refused(side: str, entry: str, stop: str, target: str) -> None:
    """A stop that gains or a target that loses is refused and nothing is called (scenario 61)."""
    bench = at("plain")
    before = len(bench.events)
    with pytest.raises(InputError, match="must be below"):
        bench.bracket(side, entry_price=entry, stop_loss_price=stop, take_profit_price=target)
    assert (bench.calls, len(bench.events)) == ([], before)


@pytest.mark.parametrize(("low", "high"), [("95", "95"), ("96", "95")])
def test_a_market_entry_compares_its_exits_with_each_other(low: str, high: str) -> None:
    """Without an entry price the stop must still lie below the target (scenario 61)."""
    bench = at("plain")
    with pytest.raises(InputError, match="must be below"):
        bench.bracket(entry_type="market", stop_loss_price=low, take_profit_price=high)
    assert not bench.calls


def test_prices_are_aligned_before_they_are_compared() -> None:
    """20052.17 on a tick of a quarter is 20052.25, the nearest, and halves go up (scenario 60)."""
    bench = at("plain", instruments=(Instrument.of("X", tick="0.25"),))
    bench.bracket(entry_price="20052.17", stop_loss_price="20040.125", take_profit_price="20080.1")
    assert bench.held("entry").limit_price == Decimal("20052.25")
    bench.fill("entry", 3)
    assert bench.held("stop").stop_price == Decimal("20040.25")
    assert bench.held("target").limit_price == Decimal("20080.00")


@pytest.mark.parametrize(
    "prices",
    [
        {"entry_price": "20052.17", "stop_loss_price": "20052.13"},
        {"entry_price": "20052.13", "take_profit_price": "20052.37"},
    ],
)
def test_prices_that_meet_on_the_tick_are_refused(prices: dict[str, str]) -> None:
    """They differ as given and are equal once aligned, which is what counts (scenario 60)."""
    bench = at("plain", instruments=(Instrument.of("X", tick="0.25"),))
    usual = {"stop_loss_price": "20040", "take_profit_price": "20080"}
    before = len(bench.events)
    with pytest.raises(InputError, match="on the tick"):
        bench.bracket(**(usual | prices))
    assert (bench.calls, len(bench.events)) == ([], before)


@pytest.mark.parametrize(
    ("tick", "entry", "stop", "target", "aligned"),
    [
        ("0.00000001", "0.000000124", "0.000000114", "0.000000136", (12, 11, 14)),
        ("1000", "50499.99", "49499.99", "51500", (50, 49, 52)),
        ("0.03125", "110.046875", "110", "110.1", (3522, 3520, 3523)),
    ],
)
def test_extreme_ticks_are_met_exactly(
    tick: str, entry: str, stop: str, target: str, aligned: tuple[int, int, int]
) -> None:
    """From a satoshi to a thousand: every price is a whole number of ticks (scenario 60)."""
    bench = at("plain", instruments=(Instrument.of("X", tick=tick),))
    bench.bracket(entry_price=entry, stop_loss_price=stop, take_profit_price=target)
    bench.fill("entry", 3, bench.held("entry").limit_price)
    found = (
        bench.order(bench.group().entry).terms.limit_price,
        bench.held("stop").stop_price,
        bench.held("target").limit_price,
    )
    assert found == tuple(ticks * Decimal(tick) for ticks in aligned)


def test_a_price_that_is_no_tick_at_all_is_refused() -> None:
    """Below half a tick there is no price left above zero (scenario 60)."""
    bench = at("plain", instruments=(Instrument.of("X", tick="1000"),))
    with pytest.raises(AmountError, match="stop_loss_price"):
        bench.bracket(entry_price="2000", stop_loss_price="499.9", take_profit_price="4000")
    assert not bench.calls


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"stop_loss_price": None, "take_profit_price": None}, "none was given"),
        ({"entry_type": "market", "entry_price": "100"}, "entry_price is given"),
        ({"entry_price": None}, "entry_price is missing"),
        ({"stop_loss_price": None, "stop_limit_price": "94"}, "there is no stop_loss_price"),
        ({"trail": "2"}, "trails by"),
        ({"entry_timeout_ms": -1}, "entry_timeout_ms is -1"),
        ({"entry_timeout_ms": 1.5}, "entry_timeout_ms is 1.5"),
    ],
)
def test_what_is_no_bracket_is_refused_whole(terms: dict[str, Any], message: str) -> None:
    """A bracket that contradicts itself is refused, and no group begins."""
    bench = at("plain")
    before = len(bench.events)
    with pytest.raises(InputError, match=message):
        bench.bracket(**terms)
    assert (bench.calls, len(bench.events)) == ([], before)


@pytest.mark.parametrize("entry_type", ["stop", "stop_limit", "trailing_stop"])
def test_only_limit_and_market_orders_enter(entry_type: str) -> None:
    """An entry of another type is refused with the types that there are."""
    bench = at("plain")
    with pytest.raises(UnsupportedOrderTypeError, match="limit or market"):
        bench.bracket(entry_type=entry_type)
    assert not bench.calls


def test_a_broker_that_can_guard_nothing_twice_is_no_place_for_a_bracket() -> None:
    """No shared units, no pairs, no brackets: refused before the entry (scenario 107)."""
    bench = BrokeredDesk(Capabilities(exits_share_quantity=False))
    before = len(bench.events)
    with pytest.raises(UnsupportedOrderTypeError, match="place the entry with a stop alone"):
        bench.bracket()
    assert (bench.calls, len(bench.events)) == ([], before)
    bench.bracket(take_profit_price=None)
    bench.fill("entry", 3)
    assert bench.working() == {"stop": 3}


@pytest.mark.parametrize("kind", ["pairs", "pairs_no_replace"])
def test_where_units_are_held_by_one_exit_a_pair_protects(kind: str) -> None:
    """Never "stop refused, flattened" on the first fill: the exits are a pair (scenario 107)."""
    bench = at(kind)
    bench.bracket()
    for _ in range(3):
        bench.fill("entry", 1)
    assert bench.working() == both(3)
    assert bench.sent("exit") == []
    assert bench.truth() == 3
    refused = [event for event in bench.events if isinstance(event, e.OrderRejected)]
    assert not refused


def test_a_limit_that_refuses_the_entry_leaves_no_group() -> None:
    """The size limit says no: the refusal is recorded, and no group was opened."""
    bench = BrokeredDesk(policies=Policies(limits=Limits(order_quantity_max=Decimal(2))))
    with pytest.raises(OrderRefused):
        bench.bracket()
    assert "group_opened" not in bench.kinds()
    assert (bench.calls, bench.desk.state.stored.groups) == ([], {})
    bench.bracket(quantity=2)
    assert bench.group().phase == "entering"


# One name, one bracket.


@pytest.mark.parametrize("name", ["client_order_id", "idempotency_key"])
def test_a_repeated_bracket_is_the_first_one(name: str) -> None:
    """The same id or key with the same request: the same group, nothing sent (scenario 35)."""
    bench = at("plain")
    first = bench.bracket(**{name: "mine"})
    again = bench.bracket(**{name: "mine"})
    assert (first.group, first.repeat) == (1, False)
    assert (again.group, again.repeat, again.events) == (1, True, [])
    assert bench.calls == [("submit", "entry")]


@pytest.mark.parametrize(
    "other",
    [
        {"stop_loss_price": "94"},
        {"take_profit_price": "111"},
        {"take_profit_price": None},
        {"quantity": "4"},
        {"entry_price": "99"},
    ],
)
def test_the_same_key_for_another_bracket_is_a_conflict(other: dict[str, Any]) -> None:
    """Another entry or other exits under a key that is taken: refused, nothing sent
    (scenario 35).
    """
    bench = at("plain")
    bench.bracket(idempotency_key="mine")
    with pytest.raises(IdempotencyConflict):
        bench.bracket(**({"idempotency_key": "mine"} | other))
    assert bench.calls == [("submit", "entry")]


def test_a_repeat_finds_its_group_after_the_exits_have_moved() -> None:
    """What was asked for at first is what a repeat is compared with (scenario 35)."""
    bench = entered("plain", idempotency_key="mine")
    stop = bench.order(next(n for n in bench.group().live if bench.order(n).role == "stop"))
    bench.replace(stop.number, stop_price="96")
    bench.talk()
    assert bench.held("stop").stop_price == 96
    assert bench.bracket(idempotency_key="mine").repeat


def test_a_plain_order_s_key_is_no_bracket_s() -> None:
    """A key that a plain order used does not name a group."""
    bench = at("plain")
    bench.submit("buy", "3", limit_price="100", idempotency_key="mine", time_in_force="gtc")
    bench.talk()
    with pytest.raises(IdempotencyConflict):
        bench.bracket(idempotency_key="mine")


def test_a_refusal_code_of_a_closed_market_ends_the_entry_only() -> None:
    """An entry refused because the market is closed is not repeated: its group is over."""
    bench = at("plain")
    bench.break_next("submit", "entry", Refused(text="closed", code=RefusalCode.MARKET_CLOSED))
    bench.bracket()
    bench.advance(120_000)
    assert bench.sent("entry") == [(Side.BUY, Decimal(3))]
    assert bench.group().phase == "closed"
