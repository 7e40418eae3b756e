"""Orders that somebody placed past all desks: adopted once, counted, filled and cancellable."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder
from holdfast.domain.inputs import (
    AdoptExternal,
    Cancel,
    CancelAll,
    EngageKillSwitch,
    SetOpeningBalance,
)
from holdfast.domain.reports import Accepted, Snapshot
from holdfast.domain.values import OrderType, Side, Status
from holdfast.testing.builders import EPOCH, DeskDriver, execution

OTHERS = "ffffffffffff-old-7"


def shown(**fields: Any) -> Snapshot:
    """What the broker shows of an order that was placed by hand."""
    told: dict[str, Any] = {
        "broker_order_id": "H1",
        "wire_id": OTHERS,
        "symbol": "X",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "order_quantity": Decimal(10),
        "limit_price": Decimal(99),
        "status": Status.OPEN,
        "word": "open",
    }
    return Snapshot(**(told | fields))


def adopt(bench: DeskDriver, **fields: Any) -> Decision:
    """Let the desk meet it, as a poll that left a moment ago showed it."""
    return bench.step(AdoptExternal(snapshot=shown(**fields), asked_ns=bench.now_ns - 1_000))


def test_an_order_placed_by_hand_is_adopted_and_counted() -> None:
    """It works, is exposure, and belongs to nobody (scenario 93)."""
    bench = DeskDriver()
    decision = adopt(bench)
    assert decision.numbers == (1,)
    order = bench.order()
    assert (order.status, order.external, order.open_quantity) == (Status.OPEN, True, 10)
    assert (order.client_order_id, order.broker_order_id) == (OTHERS, "H1")
    assert list(bench.desk.active()) == [order]
    assert bench.desk.find(OTHERS) == order


def test_what_it_filled_is_booked() -> None:
    """The figure that it came with, and every execution after it, each once (scenario 93; P3)."""
    bench = DeskDriver()
    adopt(bench, cumulative=Decimal(4), average_price=Decimal("98.5"), status=Status.PARTIAL_FILL)
    bench.advance(3_000)
    assert bench.position().quantity == 4
    bench.poll(
        shown(cumulative=Decimal(10), status=Status.FILLED),
        executions=[
            (OTHERS, "H1", execution("e1", "4", "98.5")),
            (OTHERS, "H1", execution("e2", "6", "99")),
        ],
    )
    bench.advance(3_000)
    assert (bench.order().status, bench.position().quantity) == (Status.FILLED, 10)
    assert not bench.anomalies()


def test_it_is_adopted_once() -> None:
    """Met again by any of its ids, it is the same order; the news is taken in."""
    bench = DeskDriver()
    adopt(bench)
    for fields in ({}, {"wire_id": ""}, {"limit_price": Decimal(98)}):
        adopt(bench, **fields)
    assert bench.desk.next_number == 2
    assert bench.order().terms.limit_price == 98
    assert bench.refolded().dump() == bench.desk.dump()
    again = Desk.load(bench.desk.dump(), bench.settings)
    assert again.find(OTHERS) is not None


@pytest.mark.parametrize("wire_id", [OTHERS, ""])
def test_it_can_be_cancelled(wire_id: str) -> None:
    """By the wire id that it has, or else by its broker order id (scenario 93)."""
    bench = DeskDriver()
    adopt(bench, wire_id=wire_id)
    assert bench.step(Cancel(client_order_id=wire_id or "H1", by="ann")).error is None
    sent = bench.effects[-1]
    assert isinstance(sent, CancelOrder)
    assert (sent.broker_order_id, sent.symbol) == ("H1", "X")
    bench.answer(Accepted(final=True), wish=1)
    assert bench.order().status is Status.CANCELED


def test_reports_find_it_by_either_id() -> None:
    """The stream names it by the other program's id, or by the broker's alone."""
    bench = DeskDriver()
    adopt(bench)
    bench.trade("e1", "1", wire_id=OTHERS, broker_order_id="H1")
    bench.trade("e2", "2", wire_id="", broker_order_id="H1")
    bench.trade("e3", "3", wire_id=OTHERS, broker_order_id="")
    assert bench.position().quantity == 6


@pytest.mark.parametrize(
    "fields",
    [
        {"side": None},
        {"order_type": None},
        {"order_quantity": None},
        {"symbol": "NOT"},
        {"broker_order_id": ""},
    ],
)
def test_what_cannot_be_followed_is_shown_once(fields: dict[str, Any]) -> None:
    """A missing term or an undefined symbol is an anomaly, not one per poll (P10)."""
    bench = DeskDriver()
    for _ in range(3):
        adopt(bench, **fields)
    assert bench.anomalies() == ["UNKNOWN_ORDER"]
    assert bench.desk.next_number == 1


def test_an_unusable_figure_adopts_nothing() -> None:
    """A quantity that cannot be counted is an anomaly."""
    bench = DeskDriver()
    adopt(bench, order_quantity=Decimal("NaN"))
    assert bench.anomalies() == ["UNUSABLE_REPORT"]


def test_what_has_ended_already_is_left_alone() -> None:
    """An order of the past is no news: its trades are in the balance that the desk began with."""
    bench = DeskDriver()
    assert not adopt(bench, status=Status.FILLED, cumulative=Decimal(10)).events
    assert bench.position().quantity == 0


def test_an_id_that_looks_like_ours_is_never_taken() -> None:
    """A wire id of this journal that it never gave out would be mistaken for a later order's."""
    bench = DeskDriver()
    adopt(bench, wire_id=f"{EPOCH}-d-9")
    assert bench.anomalies() == ["UNKNOWN_ORDER"]
    assert bench.submit().number == 1


def test_the_kill_switch_cancels_it_too() -> None:
    """Met while the switch is engaged, an order placed by hand is cancelled like any entry."""
    bench = DeskDriver()
    bench.step(EngageKillSwitch(by="ann", reason="stop"))
    decision = adopt(bench)
    assert [one.number for one in decision.effects if isinstance(one, CancelOrder)] == [1]
    assert any(isinstance(event, e.OrdersSwept) for event in decision.events)


def stop_of(bench: DeskDriver, quantity: str, **fields: Any) -> Decision:
    """Meet a stop to sell that somebody placed by hand."""
    return adopt(
        bench,
        side=Side.SELL,
        order_type=OrderType.STOP,
        order_quantity=Decimal(quantity),
        limit_price=None,
        stop_price=Decimal(90),
        **fields,
    )


def test_a_stop_placed_by_hand_protects_what_it_only_closes() -> None:
    """It counts among the exits; cancel-all and the kill switch leave it (scenario 112; P7)."""
    bench = DeskDriver()
    bench.step(SetOpeningBalance(symbol="X", quantity="10", price="100"))
    stop_of(bench, "10")
    assert bench.order().reducing
    assert bench.desk.exits("X", Side.SELL) == 10
    assert bench.step(CancelAll(by="ann")).numbers == ()
    assert bench.step(EngageKillSwitch(by="ann", reason="stop")).numbers == ()
    assert bench.refolded().dump() == bench.desk.dump()


def test_a_stop_placed_by_hand_that_would_sell_short_is_an_entry() -> None:
    """One more than is held: it is cancelled like any other."""
    bench = DeskDriver()
    bench.step(SetOpeningBalance(symbol="X", quantity="10", price="100"))
    stop_of(bench, "11")
    assert bench.step(EngageKillSwitch(by="ann", reason="stop")).numbers == (1,)


def test_a_callers_name_stays_his() -> None:
    """Another program calls its order as a caller here calls his: each is found under its own."""
    bench = DeskDriver()
    bench.opened(client_order_id="mine")
    adopt(bench, wire_id="mine")
    for find in (bench.desk.find, bench.refolded().find, Desk.load(bench.desk.dump()).find):
        for name, number in (("mine", 1), ("H1", 2)):
            order = find(name)
            assert order is not None
            assert order.number == number
    assert bench.step(Cancel(client_order_id="mine")).number == 1
    bench.trade("e1", "1", number=2, wire_id="mine", broker_order_id="H1")
    assert bench.order(2).filled_quantity == 1
