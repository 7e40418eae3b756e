"""Evidence that is true and misleads: late ends, old refusals, figures under a successor's id."""

from decimal import Decimal as D

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.reports import Accepted, RefusalCode, Refused
from holdfast.domain.values import Status
from holdfast.testing.builders import DeskDriver, execution

NEW_IDS = Capabilities(new_id_on_replace=True)


def test_a_refused_cancel_does_not_make_the_end_before_it_old() -> None:
    """A too-late refusal is no state of the order: the end that it outran still ends it (11)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    end = bench.report("canceled")
    bench.say("cancel_reject", wire_id=bench.wire_id(1, 1), code=RefusalCode.TOO_LATE)
    bench.hear(end)
    assert bench.order().status is Status.CANCELED


def test_a_real_execution_takes_what_was_inferred_under_its_successor() -> None:
    """5 of 10 traded once, told as a total of B2 and as a trade of B1 (scenarios 101, 102)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(limit_price="101")
    bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    bench.poll(bench.snapshot(broker_order_id="B2", cumulative=5, order_quantity=10))
    bench.advance(3_000)
    assert bench.order().filled_quantity == 5
    bench.trade("e1", "5", broker_order_id="B1")
    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.PARTIAL_FILL, 5)
    assert bench.position().quantity == 5


def test_an_expiry_with_a_figure_books_the_part_that_filled() -> None:
    """A partial fill known only from the last word is not lost (trap 37)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("expired", cumulative=D(3))
    bench.advance(3_000)
    assert (bench.order().status, bench.order().filled_quantity) == (Status.EXPIRED, 3)


def test_a_larger_figure_replaces_the_one_that_waits() -> None:
    """While a total of 3 waits for its executions, the end says 5: 5 are booked (trap 37)."""
    bench = DeskDriver()
    bench.opened()
    bench.poll(bench.snapshot(cumulative=3))
    bench.say("canceled", cumulative=D(5))
    bench.advance(3_000)
    assert (bench.order().status, bench.order().filled_quantity) == (Status.CANCELED, 5)


def test_a_poll_that_shows_a_larger_order_with_its_trade_completes_nothing() -> None:
    """The broker made 10 of it 12, and one poll tells that and the trade of 10: two are still to
    come (P3, scenario 102).
    """
    bench = DeskDriver()
    bench.opened()
    line = bench.snapshot(status=Status.PARTIAL_FILL, order_quantity=12, cumulative=10, stamp_ns=5)
    bench.poll(line, executions=[("", "B1", execution("e1", "10"))])
    order = bench.order()
    assert (order.status, order.quantity) == (Status.PARTIAL_FILL, 12)


def test_an_end_is_read_once_more_where_trades_are_not_listed() -> None:
    """A final cancel does not say what filled before it (scenario 45)."""
    bench = DeskDriver(capabilities=Capabilities(lists_executions=False))
    bench.opened()
    bench.cancel()
    decision = bench.answer(Accepted(final=True), wish=1)
    assert [type(effect) for effect in decision.effects] == [LookupOrder]


def test_a_refusal_of_the_old_broker_order_forgets_no_cancel_of_the_new() -> None:
    """The cancel went out again for B2; the late refusal is about B1 (scenario 101, trap 50)."""
    bench = DeskDriver(capabilities=NEW_IDS)
    bench.opened()
    bench.replace(quantity="12")
    bench.answer(Accepted(broker_order_id="B1"), wish=1)
    bench.cancel()
    bench.say("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    wire_id = bench.wire_id(1, 2)
    bench.say("cancel_reject", wire_id=wire_id, broker_order_id="B1", code=RefusalCode.TOO_LATE)
    order = bench.order()
    assert order.wanted_gone
    assert order.wish(2) is not None
    cancels = [effect for effect in bench.effects if isinstance(effect, CancelOrder)]
    assert cancels[-1].broker_order_id == "B2"


def test_an_order_refused_as_a_repeat_is_never_called_absent() -> None:
    """A duplicate exists: it is asked for, not sent again, not failed (scenario 30, trap 62)."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(Refused(text="seen before", code=RefusalCode.DUPLICATE_ID))
    for _ in range(4):
        bench.advance(20_000)
        bench.look()
    assert bench.order().status is Status.NEW
    assert len([effect for effect in bench.effects if isinstance(effect, SubmitOrder)]) == 1


def test_an_order_quantity_of_zero_is_not_believed() -> None:
    """A working order has a size; nonsense is shown and changes nothing."""
    bench = DeskDriver()
    bench.opened()
    bench.say("order_status")
    bench.say("restated", order_quantity=D(0))
    assert bench.order().quantity == 10
    assert "UNUSABLE_QUANTITY" in bench.anomalies()


def test_a_cancel_that_stays_pending_is_asked_about_ever_more_slowly() -> None:
    """An hour of pending_cancel gives an alert, not 600 questions (trap 61)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.say("pending_cancel", wire_id=bench.wire_id(1, 1))
    for _ in range(360):
        effects = bench.advance(10_000)
        if any(isinstance(effect, LookupOrder) for effect in effects):
            bench.look(bench.snapshot(pending="cancel"))
    asked = [effect for effect in bench.effects if isinstance(effect, LookupOrder)]
    assert 5 < len(asked) < 120
    assert "STILL_UNKNOWN" in bench.anomalies()


def test_a_word_without_its_trade_still_tells_what_filled() -> None:
    """A restatement whose figure is above what is booked waits for the trade, then counts (P5)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("restated", cumulative=D(10), order_quantity=D(10))
    assert bench.order().claimed_quantity == 10
    bench.advance(5_000)
    assert (bench.order().status, bench.order().filled_quantity) == (Status.FILLED, 10)
