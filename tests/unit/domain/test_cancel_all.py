"""Cancelling everything: what goes, what stays to protect, and what each order's result is."""

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.inputs import CancelAll
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, RefusalCode, Refused, Unknown
from holdfast.domain.values import Status
from holdfast.errors import UnknownSymbolError
from holdfast.testing.builders import DeskDriver


def desk(capabilities: Capabilities | None = None) -> DeskDriver:
    """A desk that trades two symbols."""
    instruments = (Instrument.of("X"), Instrument.of("Y"))
    return DeskDriver(capabilities=capabilities, instruments=instruments)


def cancel_all(bench: DeskDriver, **fields: object) -> Decision:
    """Want everything gone that the fields name."""
    return bench.step(CancelAll(**fields))  # type: ignore[arg-type]  # the test's own words


def sent(bench: DeskDriver) -> list[CancelOrder]:
    """The cancels so far."""
    return [effect for effect in bench.effects if isinstance(effect, CancelOrder)]


def test_all_working_orders_go_in_one_batch_and_who_wanted_it_is_journaled() -> None:
    """Twenty-five open orders are one decision with a name and a reason (scenario 43)."""
    bench = desk()
    for _ in range(25):
        bench.opened()
    decision = cancel_all(bench, by="ann", reason="news")
    numbers = tuple(range(1, 26))
    assert decision.numbers == numbers
    assert decision.events[0] == e.OrdersSwept(
        at_ns=bench.now_ns, numbers=numbers, reason="news", by="ann", batch=1
    )
    assert [(cancel.number, cancel.batch) for cancel in sent(bench)] == [(n, 1) for n in numbers]
    for number in numbers:
        bench.answer(Accepted(broker_order_id=f"B{number}", final=True), number=number, wish=1)
    assert {bench.order(number).status for number in numbers} == {Status.CANCELED}
    assert not list(bench.desk.active())


def test_of_two_cancels_one_may_fail() -> None:
    """The other's success is not lost, and what failed works on, known as refused (scenario 44)."""
    bench = desk()
    for _ in range(2):
        bench.opened()
    assert cancel_all(bench).numbers == (1, 2)
    bench.answer(Refused(text="busy"), number=1, wish=1)
    bench.answer(Accepted(broker_order_id="B2", final=True), number=2, wish=1)
    assert [bench.order(n).status for n in (1, 2)] == [Status.OPEN, Status.CANCELED]
    assert not bench.order(1).wanted_gone


def test_an_order_that_fills_while_its_cancel_is_on_its_way_is_filled() -> None:
    """Its last fill counts, and no second cancel follows (scenarios 45, 57)."""
    bench = desk()
    bench.opened()
    cancel_all(bench)
    bench.trade("e1", "10", "99.5")
    bench.answer(Refused(text="too late", code=RefusalCode.TOO_LATE), wish=1)
    bench.advance(60_000)
    order = bench.order()
    assert (order.status, order.filled_quantity, order.average_price) == (
        Status.FILLED,
        10,
        order.notional / 10,
    )
    assert cancel_all(bench).numbers == ()
    assert len(sent(bench)) == 1


def test_protection_stands_unless_it_is_named() -> None:
    """Reduce-only orders stay by default; taking them away, too, is journaled (scenario 112)."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "10")
    bench.opened("sell", "10", order_type="stop", stop_price="90", reduce_only=True)
    bench.opened("buy", "1")
    assert cancel_all(bench).numbers == (3,)
    assert cancel_all(bench, leave_unprotected=True, by="ann").numbers == (2, 3)
    swept = [event for event in bench.events if isinstance(event, e.OrdersSwept)]
    assert [(event.unprotected, event.by) for event in swept] == [(False, ""), (True, "ann")]
    assert [cancel.number for cancel in sent(bench)] == [3, 2]


def test_a_stop_that_only_closes_protects_and_a_plain_sale_does_not() -> None:
    """A stop guards without any mark; a limit order to close is one order among all others."""
    bench = desk()
    bench.opened(quantity="10")
    bench.trade("e1", "10")
    bench.opened("sell", "6", order_type="stop", stop_price="90")
    bench.opened("sell", "4", limit_price="110")
    bench.opened("sell", "1", order_type="stop", stop_price="80")
    assert cancel_all(bench).numbers == (3, 4), "the last stop would sell short"


def test_only_the_symbol_and_strategy_that_are_named_go() -> None:
    """Nothing of another's is touched, and no strategy is a name of its own (scenario 77)."""
    bench = desk()
    bench.opened(strategy="a")
    bench.opened(symbol="Y", strategy="a")
    bench.opened(symbol="Y", strategy="b")
    bench.opened(symbol="Y")
    assert cancel_all(bench, symbol="Y", strategy="a").numbers == (2,)
    assert cancel_all(bench, strategy="").numbers == (4,)
    assert cancel_all(bench, symbol="X").numbers == (1,)
    assert [cancel.number for cancel in sent(bench)] == [2, 4, 1]


def test_a_symbol_that_there_is_none_of_is_refused() -> None:
    """A slip of the pen must not look like a cancelled book; nothing is recorded."""
    bench = desk()
    bench.opened()
    before = len(bench.events)
    decision = cancel_all(bench, symbol="Z")
    assert isinstance(decision.error, UnknownSymbolError)
    assert "'Z' is not defined" in str(decision.error)
    assert len(bench.events) == before


def test_with_nothing_open_nothing_is_decided() -> None:
    """An empty book leaves no event behind, however often it is cancelled."""
    bench = desk()
    assert cancel_all(bench) == Decision([], [])


def test_asking_twice_names_the_orders_again_and_cancels_them_once() -> None:
    """The second caller can wait for the same ends as the first."""
    bench = desk()
    bench.opened()
    assert cancel_all(bench, by="ann").numbers == (1,)
    assert cancel_all(bench, by="bob").numbers == (1,)
    assert len(sent(bench)) == 1


@pytest.mark.parametrize("by_wire_id", [True, False])
def test_a_submit_without_an_answer_is_cancelled_as_soon_as_it_can_be(by_wire_id: bool) -> None:
    """By our own id where the broker takes it, else once its outcome is known (P7)."""
    bench = desk(Capabilities(cancel_by_wire_id=by_wire_id))
    bench.submit()
    cancel_all(bench)
    assert not sent(bench), "one request at a time"
    bench.answer(Unknown(text="timeout"))
    assert len(sent(bench)) == by_wire_id
    bench.look(bench.snapshot())
    assert len(sent(bench)) == 1
    assert len([x for x in bench.effects if isinstance(x, SubmitOrder)]) == 1


def test_an_ended_order_that_may_still_work_is_wanted_gone_too() -> None:
    """Shown working after its end it is exposure, and is cancelled once it is OPEN."""
    bench = desk()
    bench.opened()
    bench.say("canceled", sequence=0, stamp_ns=5)
    bench.advance(6_000)
    bench.poll(bench.snapshot(stamp_ns=7))
    assert cancel_all(bench).numbers == (1,)
    for _ in range(2):
        bench.advance(6_000)
        bench.look(bench.snapshot(stamp_ns=7))
    assert bench.order().status is Status.OPEN
    assert [cancel.number for cancel in sent(bench)] == [1]
