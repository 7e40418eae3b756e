"""Replaces: the old terms rule until the broker confirms, and every id still finds the order."""

from decimal import Decimal as D
from itertools import permutations

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder
from holdfast.domain.reports import Accepted, NotSent, RefusalCode, Refused, Unknown
from holdfast.domain.values import Status
from holdfast.domain.wish import Stage, WishKind
from holdfast.errors import InputError, OrderCancellationError
from holdfast.testing.builders import DeskDriver

NEW_IDS = Capabilities(new_id_on_replace=True)
COUNTS_ANEW = Capabilities(new_id_on_replace=True, replace_carries_fills=False)


def test_the_old_terms_rule_until_the_replace_is_confirmed() -> None:
    """Fills while it is in flight are fills of the old order (scenario 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="12", limit_price="101")
    bench.trade("e1", "4")
    bench.answer(Accepted(broker_order_id="B1"), wish=1)
    order = bench.order()
    assert (order.quantity, order.terms.limit_price, order.open_quantity) == (10, 100, 6)
    assert order.wishes[0].stage is Stage.ACKNOWLEDGED

    bench.say("replaced", wire_id=bench.wire_id(1, 1))

    order = bench.order()
    assert (order.quantity, order.terms.limit_price, order.open_quantity) == (12, 101, 8)
    assert order.wishes == []


def test_the_brokers_figure_overrules_the_one_asked_for() -> None:
    """Asked for 7, the broker replaces with 8: 8 is in force (scenarios 82, 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="7")
    bench.say("replaced", wire_id=bench.wire_id(1, 1), order_quantity=D(8))
    assert bench.order().quantity == 8


@pytest.mark.parametrize("quantity", ["4", "3"])
def test_a_replace_at_or_below_the_filled_quantity_ends_filled(quantity: str) -> None:
    """What fits in what was filled leaves nothing open (scenario 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity=quantity)
    bench.trade("e1", "4")
    bench.say("replaced", wire_id=bench.wire_id(1, 1))
    order = bench.order()
    assert (order.status, order.filled_quantity, order.open_quantity) == (Status.FILLED, 4, 0)


def test_a_confirmed_replace_reopens_an_order_that_had_filled() -> None:
    """The last fill of the old terms came first; the rest is open again (scenario 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="15")
    bench.trade("e1", "10")
    assert bench.order().status is Status.FILLED
    bench.say("replaced", wire_id=bench.wire_id(1, 1))
    order = bench.order()
    assert (order.status, order.open_quantity, order.completed_ns) == (Status.PARTIAL_FILL, 5, 0)
    assert order.number in bench.desk.state.active


def test_every_id_the_order_ever_had_still_finds_it() -> None:
    """Three broker orders, one after the other, are one order of ours (scenario 84; trap 50)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    for wish, price in ((1, "101"), (2, "102")):
        bench.replace(limit_price=price)
        bench.say("replaced", wire_id=bench.wire_id(1, wish), broker_order_id=f"B1{wish}")
    for name, broker_order_id in enumerate(["B1", "B11", "B12"]):
        bench.trade(f"e{name}", "1", wire_id="", broker_order_id=broker_order_id)
    assert bench.order().filled_quantity == 3
    bench.say("canceled", wire_id="", broker_order_id="B11")
    assert bench.order().status is Status.PARTIAL_FILL, "only the newest one's end is the end"
    bench.cancel()
    *_, cancel = bench.effects
    assert isinstance(cancel, CancelOrder)
    assert cancel.broker_order_id == "B12"


def test_a_refused_replace_leaves_the_order_as_it_was_and_reads_it() -> None:
    """The old terms stay; the order is read once, as it may have filled (scenario 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="12")
    bench.answer(Refused(text="too late", code=RefusalCode.TOO_LATE), wish=1)
    order = bench.order()
    assert (order.status, order.quantity, order.wishes) == (Status.OPEN, 10, [])
    assert isinstance(bench.effects[-1], LookupOrder)


def test_an_unanswered_replace_is_settled_by_what_the_broker_shows() -> None:
    """New terms confirm it; the old ones refute it only after the grace (scenarios 84, 30)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="12")
    bench.advance(5_000)
    bench.look(bench.snapshot(order_quantity=10))
    assert [wish.kind for wish in bench.order().wishes] == [WishKind.REPLACE]
    bench.advance(20_000)
    bench.look(bench.snapshot(order_quantity=10))
    assert (bench.order().wishes, bench.order().quantity) == ([], 10)

    bench.replace(quantity="12")
    bench.answer(Unknown(text="timeout"), wish=2)
    bench.look(bench.snapshot(order_quantity=12))
    assert (bench.order().wishes, bench.order().quantity) == ([], 12)


def test_a_replace_that_could_not_be_sent_in_time_is_refused() -> None:
    """Provably unsent past its time, it is given up and says so; nothing hangs (scenario 32)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="12")
    bench.replace(quantity="13")
    bench.replace(quantity="14")
    bench.answer(NotSent(text="429", retry_after_ms=3_600_000), wish=1)
    bench.answer(Accepted(), wish=2)
    bench.advance(31_000)
    assert [wish.wish for wish in bench.order().wishes] == [2], "the pending one alone is left"
    assert bench.order().quantity == 10


def test_replaces_wait_for_each_other_and_not_without_bound() -> None:
    """One is on its way; more than eight without an answer are refused (P9)."""
    bench = DeskDriver()
    bench.opened()
    for number in range(8):
        assert bench.replace(quantity=str(11 + number)).error is None
    assert sum(isinstance(effect, ReplaceOrder) for effect in bench.effects) == 1
    error = bench.replace(quantity="30").error
    assert isinstance(error, OrderCancellationError)
    assert error.code == "TOO_MANY_REPLACES"


def test_a_trade_on_the_new_broker_order_confirms_the_replace() -> None:
    """A fill under a new id is evidence of the replace, counted once (scenarios 72, 84)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.trade("e1", "2")
    bench.replace(quantity="12")
    wire_id = bench.wire_id(1, 1)
    bench.trade("e2", "3", wire_id=wire_id, broker_order_id="B2", cumulative=D(5))
    bench.poll(bench.snapshot(broker_order_id="B2", wire_id=wire_id, cumulative=5))
    bench.advance(10_000)
    order = bench.order()
    assert (order.filled_quantity, order.quantity, order.broker_order_id) == (5, 12, "B2")
    assert order.wishes == []
    assert bench.anomalies() == []


@pytest.mark.parametrize("first", ["fill", "replaced"])
def test_at_a_broker_that_counts_anew_the_size_is_what_was_sent(first: str) -> None:
    """Filled meanwhile, the new order is larger than was wished (scenario 84; trap 61)."""
    bench = DeskDriver(capabilities=COUNTS_ANEW)
    bench.opened(quantity="10")
    bench.replace(quantity="6")
    (effect,) = (one for one in bench.effects if isinstance(one, ReplaceOrder))
    assert effect.leaves_quantity == 6
    replaced = bench.report("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    for what in (first, "replaced" if first == "fill" else "fill"):
        if what == "fill":
            bench.trade("e1", "6", sequence=0)
        else:
            bench.hear(replaced)
    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.PARTIAL_FILL, 6)
    assert (order.quantity, order.open_quantity) == (12, 6)
    bench.trade("e1", "6", broker_order_id="B2")
    assert bench.order().status is Status.FILLED, "the same execution id, of another broker order"
    assert bench.order().filled_quantity == 12


def test_a_second_broker_order_for_one_of_ours_is_an_anomaly_and_counted() -> None:
    """No replace of ours can have opened it: shown, and both orders' fills count (P2, P5)."""
    bench = DeskDriver(capabilities=Capabilities(unique_ids="none", replace_carries_fills=False))
    bench.opened()
    bench.trade("e1", "1")
    bench.trade("e1", "2", broker_order_id="B2")
    assert bench.anomalies() == ["SECOND_BROKER_ORDER"]
    assert bench.order().filled_quantity == 3


def test_a_cancel_waits_for_a_replace_and_goes_to_the_new_order() -> None:
    """A replace confirmed while a cancel waits sends it for the new broker id (scenario 101)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.cancel()
    assert not any(isinstance(effect, CancelOrder) for effect in bench.effects)
    bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    cancels = [effect for effect in bench.effects if isinstance(effect, CancelOrder)]
    assert [cancel.broker_order_id for cancel in cancels] == ["B2"]


def test_a_cancel_of_the_old_broker_order_does_not_end_the_new_one() -> None:
    """A late answer to the cancel of B1 says nothing of B2 (scenario 101)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.advance(5_000)
    bench.cancel()
    bench.say("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    bench.answer(Accepted(final=True), wish=2, attempt=1)
    assert bench.order().status is Status.OPEN
    bench.say("canceled", broker_order_id="B2")
    assert bench.order().status is Status.CANCELED


def test_a_cancel_refused_because_of_a_replace_is_sent_again() -> None:
    """The refusal was about the old broker order; the wish to be gone stands (scenario 101)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.advance(5_000)
    bench.cancel()
    bench.answer(Refused(text="replaced", code=RefusalCode.TOO_LATE), wish=2)
    sent = len([effect for effect in bench.effects if isinstance(effect, CancelOrder)])
    assert sent == 1, "not before it is known what there is to cancel"
    bench.say("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    *_, last = (effect for effect in bench.effects if isinstance(effect, CancelOrder))
    assert last.broker_order_id == "B2"


def test_a_broker_that_cancels_to_replace_ends_nothing() -> None:
    """The end of the old broker order while a replace is out is not the order's (trap 50)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.say("canceled")
    assert bench.order().status is Status.OPEN
    bench.say("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    assert (bench.order().broker_order_id, bench.order().quantity) == ("B2", 12)


@pytest.mark.parametrize("word", ["trade", "replaced", "poll", "answer"])
def test_a_broker_order_that_is_met_after_a_final_cancel_is_exposure(word: str) -> None:
    """The cancel was done, and yet the replace opened an order: it is asked for (scenario 101)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.advance(5_000)
    bench.cancel()
    bench.answer(Accepted(final=True), wish=2)
    assert (bench.order().status, bench.order().is_exposed) == (Status.CANCELED, False)
    wire_id = bench.wire_id(1, 1)
    new = {"broker_order_id": "B2", "wire_id": wire_id}
    if word == "trade":
        bench.trade("e1", "1", sequence=0, broker_order_id="B2", wire_id=wire_id)
    elif word == "replaced":
        bench.say("replaced", number=1, sequence=0, **new)
    elif word == "poll":
        bench.poll(bench.snapshot(1, **new))
    else:
        bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    order = bench.order()
    assert (order.status, order.is_exposed) == (Status.CANCELED, True)
    for _ in range(2):
        bench.advance(6_000)
        bench.look(bench.snapshot(1, cumulative=order.filled_quantity, **new))
    *_, last = (effect for effect in bench.effects if isinstance(effect, CancelOrder))
    assert last.broker_order_id == "B2", "it was to be gone, and is cancelled again"


@pytest.mark.parametrize("arrival", list(permutations(["canceled", "replaced", "answer"])))
def test_a_replacement_that_is_met_after_the_cancel_is_exposure(arrival: tuple[str, ...]) -> None:
    """CANCELED, and then a broker order nobody knew: it is asked for and counted (scenario 101)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.cancel()
    bench.advance(5_000)
    for what in arrival:
        if what == "answer":
            bench.answer(Accepted(broker_order_id="B2", final=True), wish=1, attempt=1)
        elif what == "replaced":
            bench.say("replaced", sequence=0, wire_id=bench.wire_id(1, 1), broker_order_id="B2")
        else:
            bench.say("canceled", sequence=0, wire_id=bench.wire_id(1, 2))
    order = bench.order()
    assert order.is_exposed
    assert order.broker_order_id == "B2"


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"quantity": "0"}, "above zero"),
        ({"quantity": "1.5"}, "lot"),
        ({"limit_price": "100.001"}, "tick"),
        ({"stop_price": "90"}, "no stop_price"),
    ],
)
def test_terms_that_are_none_are_refused(terms: dict[str, str], says: str) -> None:
    """A replace is checked like an order and leaves no trace (scenarios 60, 78)."""
    bench = DeskDriver()
    bench.opened()
    before = bench.desk.dump()
    error = bench.replace(1, **terms).error
    assert isinstance(error, InputError)
    assert says in str(error)
    assert bench.desk.dump() == before
