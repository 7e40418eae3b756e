"""One order from its request to its end, as the desk sees it."""

from decimal import Decimal as D
from itertools import permutations

import pytest

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.fix_view import leaves_quantity, ord_status
from holdfast.domain.reports import Accepted, NotSent, RefusalCode, Refused
from holdfast.domain.settings import Settings
from holdfast.domain.values import Condition, OrdStatus, Status
from holdfast.domain.wish import Stage, WishKind
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    OrderCancellationError,
    OrderStatusError,
    UnknownSymbolError,
)
from holdfast.testing.builders import DeskDriver, execution


def test_a_submitted_order_is_new_until_the_broker_takes_it() -> None:
    """The ack opens the order and puts the submit time and the broker's id on it (scenario 1)."""
    bench = DeskDriver()
    order = bench.submit()
    assert (order.status, order.broker_order_id, order.submitted_ns) == (Status.NEW, "", 0)

    bench.answer(Accepted(broker_order_id="B1"))

    order = bench.order()
    assert (order.status, order.broker_order_id) == (Status.OPEN, "B1")
    assert order.submitted_ns == bench.now_ns
    assert not order.wishes


def test_one_submit_effect_carries_the_whole_order() -> None:
    """The effect names the derived wire id and complete terms, so an adapter needs no state."""
    bench = DeskDriver()
    order = bench.submit("sell", "3", limit_price="101.5", client_order_id="mine")
    (effect,) = bench.effects
    assert isinstance(effect, SubmitOrder)
    assert effect.wire_id == order.wire_id == "0123456789ab-d-1"
    assert (effect.terms.quantity, effect.terms.limit_price) == (D(3), D("101.5"))
    assert effect.not_after_ns == bench.now_ns + 30_000_000_000


@pytest.mark.parametrize("kind", ["new", "trade", "canceled", "expired", "suspended"])
def test_later_evidence_implies_the_acceptance(kind: str) -> None:
    """What overtakes the ack first yields an inferred acceptance of its own (scenarios 2, 72)."""
    bench = DeskDriver()
    bench.submit()
    traded = execution("e1", "4") if kind == "trade" else None
    decision = bench.say(kind, execution=traded)
    first = decision.events[0]
    assert type(first).__name__ == "OrderAccepted"
    assert getattr(first, "inferred", None) is (kind != "new")
    assert bench.order().broker_order_id == "B1"
    assert bench.order().wish(0) is None


def test_the_brokers_id_is_learnt_whenever_it_is_first_told() -> None:
    """A trade without the broker's order id opens the order; the ack then gives the id."""
    bench = DeskDriver()
    bench.submit()
    bench.trade("e1", "4", broker_order_id="")
    assert bench.order().broker_order_id == ""

    bench.answer(Accepted(broker_order_id="B1"))

    assert bench.order().broker_order_id == "B1"
    bench.say("canceled", wire_id="")
    assert bench.order().status is Status.CANCELED


def test_two_fills_complete_an_order_at_its_exact_average() -> None:
    """4 of 10 is 40 %, 6 more make it FILLED; the average is exact (scenario 7)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4", "100.10")
    order = bench.order()
    assert (order.status, order.filled_quantity, order.open_quantity) == (
        Status.PARTIAL_FILL,
        D(4),
        D(6),
    )

    bench.trade("e2", "6", "100.35")

    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.FILLED, D(10))
    assert order.average_price == D("100.25")
    assert order.submitted_ns < order.first_fill_ns < order.completed_ns


def test_a_fill_told_five_times_counts_once() -> None:
    """Stream and poll repeat one execution: size, fees and position count it once (scenario 8)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4", fee="0.2", fee_currency="USD")
    bench.hear(bench.reports[-1])
    bench.trade("e1", "4", fee="0.2", fee_currency="USD")
    one = execution("e1", "4", fee="0.2", fee_currency="USD")
    bench.poll(executions=[("", "B1", one), (bench.wire_id(), "", one)])
    order = bench.order()
    assert (order.filled_quantity, order.fees) == (D(4), {"USD": D("0.2")})
    assert bench.position().quantity == D(4)
    assert bench.position().fees == {"USD": D("0.2")}


def test_an_overfill_is_money_and_an_anomaly() -> None:
    """More than was ordered is booked whole, FILLED with nothing left, and shown (scenario 9)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "7")
    bench.trade("e2", "7")
    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.FILLED, D(14))
    assert (leaves_quantity(order), order.open_quantity) == (0, 0)
    assert bench.position().quantity == D(14)
    assert bench.anomalies() == ["OVERFILL"]


def test_an_overfill_is_judged_by_the_largest_quantity_ever_wished() -> None:
    """A fill above the terms in force is fine while a larger replace is out (scenario 84)."""
    bench = DeskDriver()
    bench.opened()
    bench.replace(quantity="15")
    bench.trade("e1", "12")
    assert bench.anomalies() == []
    bench.trade("e2", "4")
    assert bench.anomalies() == ["OVERFILL"]


@pytest.mark.parametrize(
    ("end", "status"), [("canceled", Status.CANCELED), ("expired", Status.EXPIRED)]
)
def test_a_late_fill_counts_and_completes_only_what_is_complete(end: str, status: Status) -> None:
    """After the end a fill is booked; FILLED only at 100 % (scenario 4; traps 22, 43)."""
    bench = DeskDriver()
    bench.opened()
    bench.say(end)
    bench.trade("e1", "9")
    assert (bench.order().status, bench.order().filled_quantity) == (status, D(9))
    bench.trade("e2", "1")
    assert (bench.order().status, bench.order().filled_quantity) == (Status.FILLED, D(10))
    assert bench.position().quantity == D(10)


def test_a_fill_after_failed_proves_that_the_order_lives() -> None:
    """An order given up as never sent that trades is open again, with an anomaly (scenario 4)."""
    bench = DeskDriver()
    bench.submit()
    client_order_id = bench.order().client_order_id
    bench.step(
        inputs.Resolve(
            client_order_id=client_order_id, verdict="never_sent", by="ann", reason="asked them"
        )
    )
    assert bench.order().status is Status.FAILED
    bench.trade("e1", "4")
    assert bench.order().status is Status.PARTIAL_FILL
    assert bench.anomalies() == ["FILL_AFTER_REFUSAL"]
    assert bench.cancel().effects, "it can be cancelled again"


def test_older_news_changes_nothing() -> None:
    """A report older by sequence or stamp than what is applied is passed over (scenario 11)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("suspended", sequence=9)
    assert not bench.say("new", sequence=8).effects
    assert bench.order().condition is Condition.SUSPENDED
    bench.say("new", sequence=10)
    assert bench.order().condition is Condition.NONE

    bench.trade("e1", "10", sequence=20)
    bench.say("new", sequence=21)
    assert bench.order().status is Status.FILLED


def test_an_older_end_is_asked_for_and_not_lost() -> None:
    """A cancel that a newer trade overtook is passed over, but the broker is asked at once."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4", sequence=9)
    bench.say("canceled", sequence=8)
    assert bench.order().status is Status.PARTIAL_FILL
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative=4, sequence=9))
    assert bench.order().status is Status.CANCELED


def test_the_same_client_id_is_the_first_order_again() -> None:
    """A second create returns the first order untouched, without another call (scenario 5)."""
    bench = DeskDriver()
    first = bench.submit(client_order_id="a")
    again = bench.submit(client_order_id="a")
    assert again.number == first.number
    assert len(bench.effects) == 1


def test_the_same_key_is_the_first_order_again_even_rested() -> None:
    """Id and key of one request find its order, also once it ended and rests (scenarios 5, 35)."""
    bench = DeskDriver()
    bench.submit(client_order_id="a", idempotency_key="k")
    bench.answer(Refused(text="no"))
    bench.desk.rest()
    for names in ({"client_order_id": "a", "idempotency_key": "k"}, {"idempotency_key": "k"}):
        assert bench.submit(**names).number == 1
    assert len(bench.effects) == 1


@pytest.mark.parametrize(
    "second",
    [
        {"client_order_id": "a", "quantity": "9"},
        {"idempotency_key": "k", "quantity": "9"},
        {"client_order_id": "a", "strategy": "other"},
        {"client_order_id": "b", "idempotency_key": "k", "side": "sell"},
        {"client_order_id": "a", "idempotency_key": "k2"},
    ],
)
def test_an_id_or_key_of_another_request_is_a_conflict(second: dict[str, str]) -> None:
    """The same name with another body, or two names of two orders, is refused (scenario 35)."""
    bench = DeskDriver()
    bench.submit(client_order_id="a", idempotency_key="k")
    bench.submit(idempotency_key="k2")
    before = bench.desk.dump()
    with pytest.raises(IdempotencyConflict):
        bench.submit(**second)
    assert bench.desk.dump() == before


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"symbol": ""}, UnknownSymbolError, "not defined"),
        ({"symbol": "Y"}, UnknownSymbolError, "defined: X"),
        ({"quantity": "0"}, InputError, "above zero"),
        ({"quantity": "-1"}, InputError, "above zero"),
        ({"quantity": 1.0}, InputError, "float"),
        ({"quantity": "NaN"}, InputError, "finite"),
        ({"quantity": "1e400"}, InputError, "out of range"),
        ({"quantity": "0.5"}, InputError, "lot"),
        ({"quantity": None}, InputError, "neither"),
        ({"notional": "50"}, InputError, "both"),
        ({"limit_price": "100.001"}, InputError, "tick"),
        ({"side": "short"}, InputError, "side"),
        ({"client_order_id": "two words"}, InputError, "printable"),
        ({"client_order_id": "0123456789ab-d-7"}, InputError, "begins like"),
        ({"not_after_ms": 10**30}, InputError, "not_after_ms"),
        ({"time_in_force": "gtd", "expire_at_ns": 10**30}, InputError, "expire_at_ns"),
    ],
)
def test_a_request_that_is_no_order_leaves_no_trace(
    wanted: dict[str, object], error: type[Exception], says: str
) -> None:
    """Symbol, size, price and ids are checked before anything is stored (scenario 6; trap 70)."""
    bench = DeskDriver()
    before = bench.desk.dump()
    with pytest.raises(error, match=says):
        bench.submit(**wanted)  # type: ignore[arg-type]  # wrong on purpose
    assert bench.desk.dump() == before
    assert not bench.effects


def test_an_unknown_id_is_an_answer_and_no_crash() -> None:
    """Commands and reports that name nothing known leave all as it was (scenario 10)."""
    bench = DeskDriver()
    for command in (
        inputs.Cancel(client_order_id="?"),
        inputs.Replace(client_order_id="?", quantity="1"),
        inputs.Resolve(client_order_id="?", verdict="canceled", by="ann", reason="why not"),
    ):
        decision = bench.step(command)
        assert isinstance(decision.error, OrderStatusError)
        assert not decision.events
    for wire_id in ("", "elsewhere-1", f"0123456789ab-d-{'9' * 5_000}", "0123456789ab-d-"):
        bench.say("new", wire_id=wire_id, broker_order_id="B9")
    bench.answer(Accepted(broker_order_id="B9"), number=9, attempt=1)
    assert bench.anomalies() == ["UNKNOWN_ORDER"] * 4 + ["ANSWER_WITHOUT_ORDER"]
    assert not bench.effects


def test_an_ended_order_can_be_neither_cancelled_nor_replaced() -> None:
    """The command says that the order has ended; no call is made (scenarios 3, 78)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "10")
    before, calls = bench.desk.dump(), len(bench.effects)
    for decision in (bench.cancel(), bench.replace(quantity="12")):
        assert isinstance(decision.error, OrderCancellationError)
        assert "filled" in str(decision.error)
    assert bench.desk.dump() == before
    assert len(bench.effects) == calls


def test_a_replace_by_the_same_terms_is_no_call() -> None:
    """What is in force, or asked for already, is not asked for again (scenario 78)."""
    bench = DeskDriver()
    bench.opened()
    assert not bench.replace(quantity="10", limit_price="100").events
    bench.replace(quantity="12")
    assert not bench.replace(quantity="12").events
    assert [type(effect) for effect in bench.effects] == [SubmitOrder, ReplaceOrder]


def test_an_order_that_is_being_cancelled_takes_no_replace() -> None:
    """A replace on the way to its cancel is refused and leaves no wish (scenario 78)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    assert isinstance(bench.replace(quantity="12").error, OrderCancellationError)
    assert [wish.kind for wish in bench.order().wishes] == [WishKind.CANCEL]


def test_asking_twice_to_cancel_is_asking_once() -> None:
    """A second cancel while the first is out sends nothing (scenario 45)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    assert not bench.cancel().events
    assert sum(isinstance(effect, CancelOrder) for effect in bench.effects) == 1


def test_a_cancel_is_a_wish_until_the_broker_confirms() -> None:
    """Asking, or an ack that it is pending, does not cancel; the report does (traps 18, 29, 38)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.answer(Accepted(), wish=1)
    order = bench.order()
    assert (order.status, ord_status(order)) == (Status.OPEN, OrdStatus.PENDING_CANCEL)
    assert order.open_quantity == D(10)

    bench.say("canceled")

    assert bench.order().status is Status.CANCELED
    assert not bench.order().wishes


def test_a_fill_forgets_no_cancel() -> None:
    """A fill during a cancel leaves the wish standing (scenario 45; trap 44)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.trade("e1", "4")
    assert [wish.kind for wish in bench.order().wishes] == [WishKind.CANCEL]
    bench.trade("e2", "6")
    assert bench.order().status is Status.FILLED
    bench.say("cancel_reject", wire_id=bench.wire_id(1, 1), code=RefusalCode.TOO_LATE)
    assert not bench.order().wishes
    assert bench.order().is_settled


def test_a_refused_cancel_leaves_the_order_and_reads_it() -> None:
    """A cancel that is refused is answered; the final state is read (scenario 22; trap 45)."""
    bench = DeskDriver()
    bench.opened()
    bench.cancel()
    bench.answer(Refused(text="unknown order", code=RefusalCode.UNKNOWN_ORDER), wish=1)
    order = bench.order()
    assert (order.status, order.wishes) == (Status.OPEN, [])

    bench.look(bench.snapshot(status=Status.FILLED, cumulative=10, average_price=101))
    bench.advance(2_000)

    assert bench.order().status is Status.FILLED
    assert bench.order().average_price == D(101)


def test_a_cancel_of_an_unanswered_submit_goes_by_our_own_id() -> None:
    """Where the broker takes our id, a cancel does not wait for the submit's answer (trap 56)."""
    bench = DeskDriver()
    bench.submit()
    bench.cancel()
    assert len(bench.effects) == 1, "one request of an order is on its way at a time"
    bench.advance(5_000)
    cancels = [effect for effect in bench.effects if isinstance(effect, CancelOrder)]
    assert [(c.orig_wire_id, c.broker_order_id) for c in cancels] == [(bench.wire_id(), "")]


def test_a_final_cancel_of_an_unanswered_submit_ends_the_order() -> None:
    """The broker's word that it is cancelled implies that it was there."""
    bench = DeskDriver()
    bench.submit()
    bench.cancel()
    bench.advance(5_000)
    bench.answer(Accepted(final=True), wish=1)
    assert bench.order().status is Status.CANCELED


def test_an_order_cancelled_before_it_could_be_sent_is_never_sent() -> None:
    """While a submit waits to be repeated a cancel ends it, and nothing reaches the broker."""
    bench = DeskDriver()
    bench.submit()
    bench.answer(NotSent(text="429"))
    bench.cancel()
    bench.advance(60_000)
    assert bench.order().status is Status.FAILED
    assert len(bench.effects) == 1


@pytest.mark.parametrize("order_of_arrival", list(permutations(["ack", "e1", "e2"])))
def test_ack_and_fills_in_any_order_make_the_same_order(order_of_arrival: tuple[str, ...]) -> None:
    """However the ack and the trades arrive, the state is the same (scenarios 72, 82)."""
    bench = DeskDriver()
    bench.submit()
    quantities = {"e1": "4", "e2": "6"}
    for name in order_of_arrival:
        if name == "ack":
            bench.answer(Accepted(broker_order_id="B1"))
        else:
            bench.trade(name, quantities[name], sequence=0)
    order = bench.order()
    assert (order.status, order.filled_quantity, order.broker_order_id) == (
        Status.FILLED,
        D(10),
        "B1",
    )
    assert bench.anomalies() == []


def test_a_finished_order_below_one_lot_of_rest_is_full() -> None:
    """A rest that no lot fits in leaves nothing open (trap 52)."""
    bench = DeskDriver()
    bench.opened(quantity="10")
    bench.trade("e1", "9.5")
    assert bench.order().status is Status.FILLED


def test_a_trade_lifts_no_suspension_and_an_end_does() -> None:
    """The condition is a field of its own; FIX LeavesQty is 0 while suspended (scenario 81)."""
    bench = DeskDriver()
    bench.opened()
    bench.say("suspended")
    bench.trade("e1", "4", cumulative=D(4))
    order = bench.order()
    assert (order.status, order.condition) == (Status.PARTIAL_FILL, Condition.SUSPENDED)
    assert (ord_status(order), leaves_quantity(order)) == (OrdStatus.SUSPENDED, 0)
    assert order.open_quantity == D(6), "it is exposure all the same"

    bench.say("canceled")

    assert bench.order().condition is Condition.NONE


def test_a_trade_that_shows_a_gap_lifts_no_suspension_either() -> None:
    """A figure above the executions is booked after the grace, and nothing else is read from it."""
    bench = DeskDriver(settings=Settings(quiet_ms=0))
    bench.opened()
    bench.say("suspended")
    bench.cancel()
    bench.say("pending_cancel", wire_id=bench.wire_id(1, 1))
    bench.trade("e2", "1", cumulative=D(3))
    bench.advance(2_000)
    order = bench.order()
    assert order.filled_quantity == D(3)
    assert order.condition is Condition.SUSPENDED
    assert [wish.stage for wish in order.wishes] == [Stage.ACKNOWLEDGED]


FIX_PRECEDENCE = """
cancel  pending_cancel    stopped    filled    PENDING_CANCEL
replace pending_replace   stopped    filled    PENDING_REPLACE
-       -                 done       partial   DONE_FOR_DAY
-       -                 -          filled    FILLED
-       -                 stopped    partial   STOPPED
-       -                 suspended  partial   SUSPENDED
-       -                 suspended  canceled  CANCELED
-       -                 -          expired   EXPIRED
-       -                 -          partial   PARTIALLY_FILLED
-       -                 -          open      NEW
-       -                 -          rejected  REJECTED
-       -                 -          new       PENDING_NEW
cancel  -                 -          partial   PARTIALLY_FILLED
"""


@pytest.mark.parametrize("line", FIX_PRECEDENCE.strip().splitlines())
def test_ord_status_shows_the_highest_of_what_is_true(line: str) -> None:
    """OrdStatus follows FIX's precedence; a request alone does not show (scenario 82)."""
    asked, told, condition, state, expected = line.split()
    bench = DeskDriver()
    bench.submit()
    if state == "rejected":
        bench.answer(Refused(text="no"))
    elif state != "new":
        bench.answer(Accepted(broker_order_id="B1"))
    if condition != "-":
        bench.say({"done": "done_for_day"}.get(condition, condition))
    if asked == "cancel":
        bench.cancel()
    elif asked == "replace":
        bench.replace(limit_price="101")
    if state in {"partial", "filled"}:
        bench.trade("e1", "4" if state == "partial" else "10")
    elif state in {"canceled", "expired"}:
        bench.say(state)
    if told != "-":
        bench.say(told, wire_id=bench.wire_id(1, 1))
    assert ord_status(bench.order()) == expected


def test_an_order_that_an_ordered_session_does_not_know_never_was() -> None:
    """Where answers come in order, "unknown order" is proof: FAILED, which FIX reads REJECTED."""
    bench = DeskDriver(capabilities=Capabilities(ordered_session=True))
    bench.submit()
    bench.say("cancel_reject", code=RefusalCode.UNKNOWN_ORDER)
    assert bench.order().status is Status.FAILED
    assert ord_status(bench.order()) is OrdStatus.REJECTED
    assert leaves_quantity(bench.order()) == 0


def test_statistics_count_every_status() -> None:
    """Counts per status and the oldest active order are right in a mixed book (scenario 13)."""
    bench = DeskDriver()
    for number in range(1, 6):
        bench.submit()
        if number > 1:
            bench.answer(Accepted(broker_order_id=f"B{number}"), number=number)
    bench.trade("e1", "4", number=3)
    bench.trade("e1", "10", number=4)
    bench.say("canceled", number=5)
    found = bench.desk.statistics()
    assert [
        found[f"orders_{s}"] for s in ("new", "open", "partial_fill", "filled", "canceled")
    ] == [1] * 5
    assert (found["orders_active"], found["orders_total"]) == (3, 5)
    assert next(bench.desk.active()).number == 1
    assert [o.number for o in bench.desk.stale(bench.order(3).created_ns)] == [1, 2]
