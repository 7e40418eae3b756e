"""Events in any shape, order and repetition, through the whole engine: the books come out right."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.brokers.projectx.parse import ORDER_EVENT, TRADE_EVENT, hear, outcome_of_place
from holdfast.domain.effects import LookupOrder, SubmitOrder
from holdfast.domain.events import AlertRaised, AnomalyRecorded
from holdfast.domain.reports import (
    Execution,
    LookupResult,
    Outcome,
    RefusalCode,
    Refused,
    Snapshot,
)
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.views import OrderView
from holdfast.errors import OrderStatusError
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Unreadable
from holdfast.testing.builders import DeskDriver, execution
from holdfast.testing.scripted import Hang, Raise, ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

D = Decimal
GARBAGE: Sequence[Any] = (
    None, [], "", 5, {}, {"id": "abc", "status": 1}, {"status": 1}, {"id": 1001, "status": "x"},
    {"data": [None]}, {"id": 5, "size": "many", "price": 1, "orderId": 1001}, ["x"], b"\xff",
)  # fmt: skip


class HubBroker(ScriptedBroker):
    """A scripted account whose stream is the messages of a gateway's hub, in whatever shape."""

    def __init__(self) -> None:
        super().__init__()
        self.on_unreadable: Callable[[Unreadable], None] = lambda _found: None
        self.stamp = 0

    def tell_unreadable(self, on_unreadable: Callable[[Unreadable], None]) -> None:
        """Take whom to tell of what could not be read."""
        self.on_unreadable = on_unreadable

    def hub(self, event: str, message: object) -> None:
        """Deliver one message as an adapter does."""
        heard = hear(event, message)
        for report in heard.reports:
            self.report(report)
        for found in heard.unreadable:
            self.on_unreadable(found)

    def order(self, broker_order_id: int, status: int, filled: int = 0, tag: str = "") -> Any:
        """Build an order event, each newer than the one before."""
        self.stamp += 1
        return {
            "id": broker_order_id,
            "updateTimestamp": f"2026-01-05T14:30:00.{self.stamp:06d}Z",
            "status": status,
            "size": 10,
            "fillVolume": filled,
            "customTag": tag or None,
        }

    def traded(self, wire_id: str, size: int) -> dict[str, Any]:
        """Let an order trade at the account, and build the event that would tell it."""
        made = self.fill(wire_id, size, "250.5", told=False)
        number = int(made.execution_id.removeprefix("X-"))
        self.executions[wire_id][-1] = msgspec.structs.replace(
            made, execution_id=str(number), fee=D("0.5"), fee_currency="USD"
        )
        return trade(number, int(self.orders[wire_id].broker_order_id), size)

    def _place(self, order: SubmitOrder) -> Outcome:
        outcome = super()._place(order)
        if order.wire_id in self.orders:
            self._show(order.wire_id, broker_order_id=str(1_000 + order.number))
            return outcome_of_place(
                {"success": True, "errorCode": 0, "orderId": 1_000 + order.number}
            )
        return outcome


def trade(trade_id: int, broker_order_id: int, size: int) -> dict[str, Any]:
    return {"id": trade_id, "orderId": broker_order_id, "size": size, "price": 250.5, "fees": 0.5}


async def bought(manager: OrderManager, **options: Any) -> OrderView:
    return await manager.place_limit_order("TSLA", "buy", 10, "251", **options)


async def traded_early(manager: OrderManager, broker: HubBroker) -> OrderView:
    """Buy ten in a call that hangs; the first word of the order is a trade of four."""
    broker.script("submit", Hang())
    order = await bought(manager)
    await asyncio.sleep(0.1)
    broker.hub(TRADE_EVENT, broker.traded(order.wire_id, 4))
    return order


def events_of(journal: MemoryJournal, kind: type) -> list[Any]:
    found = [decode(record) for record in journal.records("main")]
    return [event for event in found if isinstance(event, kind)]


SHAPES: dict[str, Callable[[Any], Any]] = {
    "flat": lambda body: body,
    "action": lambda body: {"action": 1, "data": body},
    "actions": lambda body: [{"action": 1, "data": body}],
    "list": lambda body: [body],
    "behind an id": lambda body: [body["id"], body],
    "data list": lambda body: {"data": [body]},
    "result": lambda body: {"result": {"data": [body]}},
    "wrapper": lambda body: {"payload": body},
    "twice in one list": lambda body: [body, body],
    "among garbage": lambda body: [None, {"id": "abc", "status": 1}, body, 5],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@virtual
async def test_every_shape_ends_in_the_same_books(shape: Callable[[Any], Any]) -> None:
    """Whatever the wrapping and repetition, one order, two fills, one position (scenario 70)."""
    broker = HubBroker()
    async with open_desk(broker) as manager:
        order = await bought(manager, wait="accepted")
        for event, body in (
            (ORDER_EVENT, broker.order(1001, 1, tag=order.wire_id)),
            (TRADE_EVENT, broker.traded(order.wire_id, 4)),
            (ORDER_EVENT, broker.order(1001, 1, 4)),
            (TRADE_EVENT, broker.traded(order.wire_id, 6)),
            (ORDER_EVENT, broker.order(1001, 2, 10)),
        ):
            broker.hub(event, shape(body))
        await asyncio.sleep(1)
        after = await manager.order(order.client_order_id)
        position = (await manager.positions())["TSLA"]
    assert (after.status, after.filled_quantity) == (Status.FILLED, 10)
    assert (after.average_price, after.fees) == (D("250.5"), {"USD": D(1)})
    assert position.quantity == 10


@virtual
async def test_a_flood_of_garbage_is_counted_and_dropped_and_the_stream_lives_on() -> None:
    """Between and after 12,000 senseless messages fills count; one alert tells (scenario 71)."""
    broker, journal = HubBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await bought(manager, wait="accepted")
        broker.hub(ORDER_EVENT, broker.order(1001, 1, tag=order.wire_id))
        for _ in range(10):
            for _ in range(50):
                for message in GARBAGE:
                    broker.hub(ORDER_EVENT, message)
                    broker.hub(TRADE_EVENT, message)
            broker.hub(TRADE_EVENT, broker.traded(order.wire_id, 1))
            await asyncio.sleep(1)
        after = await manager.order(order.client_order_id)
        found = (await manager.statistics())["link"]
        health = await manager.health()
        records = journal.head("main").seq
    assert after.status is Status.FILLED
    assert found["unreadable"] >= 10 * 50 * 2 * (len(GARBAGE) - 1)
    assert found["stream_starts"] == 1
    assert health.is_ok
    assert 0 < len(health.unreadable) <= 20
    alerts = [event.code for event in events_of(journal, AlertRaised)]
    assert alerts == ["unreadable_messages"]
    assert records < 200


@virtual
async def test_a_trade_before_its_orders_event_counts_once_that_came() -> None:
    """The submit hangs, the trade names an id nobody knows, then the tag comes (72; trap 12)."""
    broker = HubBroker()
    async with open_desk(broker) as manager:
        order = await traded_early(manager, broker)
        await asyncio.sleep(0.1)
        before = await manager.order(order.client_order_id)
        broker.hub(ORDER_EVENT, broker.order(1001, 1, 4, tag=order.wire_id))
        await asyncio.sleep(0.1)
        after = await manager.order(order.client_order_id)
        assert broker.polls == 1, "nobody had to be asked"
    assert (before.status, before.filled_quantity) == (Status.NEW, 0)
    assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)


@virtual
async def test_a_trade_of_an_order_whose_event_never_comes_is_looked_up() -> None:
    """Neither answer nor order event: asking finds the order and its fill (scenario 72; P3)."""
    broker = HubBroker()
    async with open_desk(broker) as manager:
        order = await traded_early(manager, broker)
        await asyncio.sleep(8)
        after = await manager.order(order.client_order_id)
        found = (await manager.statistics())["link"]
    assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)
    assert found["unclaimed_orders"] == 0


@virtual
async def test_a_fill_while_the_stream_is_down_for_a_minute_is_found() -> None:
    """The stream is opened anew, and asking finds what it did not say (scenario 73; trap 4)."""
    broker = HubBroker()
    async with open_desk(broker, poll_interval_ms=600_000) as manager:
        order = await bought(manager, wait="accepted")
        await asyncio.sleep(1)
        listens, begun = broker.listens, asyncio.get_running_loop().time()
        keep_down = asyncio.create_task(_down(broker, 60))
        await asyncio.sleep(50)
        broker.fill(order.wire_id, 10, "250")
        after = await manager.wait(order.client_order_id, timeout=120)
        took_s = asyncio.get_running_loop().time() - begun
        await keep_down
        second = await bought(manager, wait="accepted")
        broker.fill(second.wire_id, 10, "250")
        await manager.wait(second.client_order_id, timeout=1)
        found = (await manager.statistics())["link"]
    assert (after.status, after.filled_quantity) == (Status.FILLED, 10)
    assert took_s < 100
    assert broker.listens > listens
    assert found["stream_gaps"] >= 1


async def _down(broker: HubBroker, seconds: float) -> None:
    """Cut every stream that is opened within so many seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        broker.break_stream(ConnectionError("the hub is gone"))
        await asyncio.sleep(0.25)


@virtual
async def test_callbacks_that_trade_cancel_and_raise_neither_block_nor_hide_each_other() -> None:
    """One places, one cancels, one raises, one waits for ever: all events go on (scenario 74)."""
    broker = HubBroker()
    heard: list[str] = []
    async with open_desk(broker) as manager:

        async def places(_fill: Any) -> None:
            await manager.place_limit_order("TSLA", "sell", 1, "260")

        async def cancels(order: OrderView) -> None:
            if order.terms.side.value == "sell" and order.status is Status.OPEN:
                await manager.cancel_order(order.client_order_id)

        def raises(_order: OrderView) -> None:
            raise RuntimeError("a strategy's mistake")

        async def hears(order: OrderView) -> None:
            heard.append(order.status.value)

        async def sticks(_order: OrderView) -> None:
            await asyncio.get_running_loop().create_future()

        manager.on_fill(places)
        for callback in (raises, sticks, cancels, hears):
            manager.on_order(callback)
        order = await bought(manager, wait="accepted")
        for _ in range(10):
            broker.hub(TRADE_EVENT, broker.traded(order.wire_id, 1))
        async with asyncio.timeout(30):
            await manager.wait(order.client_order_id)
            await asyncio.sleep(10)
        sold = [each for each in await manager.orders() if each.side.value == "sell"]
    assert [each.status for each in sold] == [Status.CANCELED] * 10
    assert heard.count("filled") == 1
    assert heard.count("canceled") == 10


@virtual
async def test_ten_thousand_orders_leave_memory_bounded_and_the_active_ones_in_it() -> None:
    """Of 10,000 orders the ended ones go, those placed first and still open stay (75; trap 13)."""
    broker = HubBroker()
    kept, settings = 500, Settings(finished_orders_max=500)
    async with open_desk(broker, settings=settings, poll_interval_ms=600_000) as manager:
        first = [await bought(manager, wait="accepted") for _ in range(20)]
        most = 0
        for _ in range(100):
            batch = [await bought(manager) for _ in range(100)]
            await asyncio.sleep(0.01)
            for order in batch:
                broker.fill(order.wire_id, 10, "250")
                del broker.orders[order.wire_id], broker.executions[order.wire_id]
            await asyncio.sleep(0.01)
            state = manager._runner.desk.state
            most = max(most, len(state.finished) + len(state.ended) + len(state.active))
        active = await manager.orders(finished=False)
        position = (await manager.positions())["TSLA"]
        found = (await manager.statistics())["desk"]
        old = await manager.order(batch[0].client_order_id)
    assert {each.number for each in active} == {each.number for each in first}
    assert most <= kept + len(first) + 1_000
    assert found["orders_archived"] > 10_000 - kept - 1_000
    assert position.quantity == 100_000
    assert old.status is Status.FILLED


ASKED: list[tuple[str, Any, str]] = [
    ("open", None, "no"),
    ("partly", None, "no"),
    ("filled there alone", None, "yes"),
    ("an error", LookupResult(text="503"), "unknown"),
    ("an exception", Raise(OSError("down")), "unknown"),
    ("no answer", Hang(), "unknown"),
    ("absent", LookupResult(complete=True), "unknown"),
]


@pytest.mark.parametrize(("case", "step", "answer"), ASKED, ids=[each[0] for each in ASKED])
@virtual
async def test_want_of_an_answer_is_never_a_no(case: str, step: Any, answer: str) -> None:
    """Only the broker's own word says that an order is not filled (scenario 79; traps 4, 5)."""
    broker = ScriptedBroker()
    async with open_desk(broker, poll_interval_ms=600_000) as manager:
        order = await bought(manager, wait="accepted")
        if case == "partly":
            broker.fill(order.wire_id, 4, "250", told=False)
        if case == "filled there alone":
            broker.fill(order.wire_id, 10, "250", told=False)
        if step is not None:
            broker.script("lookup", *[step] * 20)
        assert await manager.is_filled(order.client_order_id) == answer
        with pytest.raises(OrderStatusError):
            await manager.is_filled("nobody")


@virtual
async def test_while_the_breaker_is_open_no_answer_is_a_no() -> None:
    """A broker that the desk stopped trusting may say yes, and nothing else (scenario 79)."""
    broker = ScriptedBroker()
    async with open_desk(broker, poll_interval_ms=600_000) as manager:
        order = await bought(manager, wait="accepted")
        broker.script("submit", Refused(text="funds", code=RefusalCode.INSUFFICIENT_FUNDS))
        await bought(manager)
        await asyncio.sleep(1)
        assert (await manager.guard()).breaker == "open"
        assert await manager.is_filled(order.client_order_id) == "unknown"
        await manager.close_breaker(by="ann", reason="paid in")
        assert await manager.is_filled(order.client_order_id) == "no"


@virtual
async def test_a_question_about_a_fill_takes_no_longer_than_it_may() -> None:
    """A broker that hangs costs the caller's own timeout (scenario 79)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await bought(manager, wait="accepted")
        broker.script("lookup", *[Hang()] * 20)
        begun = asyncio.get_running_loop().time()
        assert await manager.is_filled(order.client_order_id, timeout=2) == "unknown"
        assert asyncio.get_running_loop().time() - begun == pytest.approx(2, abs=0.01)


@virtual
async def test_a_filled_order_is_filled_whoever_answers() -> None:
    """What is booked needs no broker to say it again."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await bought(manager, wait="accepted")
        broker.fill(order.wire_id, 10, "250")
        await manager.wait(order.client_order_id)
        broker.script("lookup", *[LookupResult(text="503")] * 20)
        assert await manager.is_filled(order.client_order_id) == "yes"
    assert broker.sent(LookupOrder) == []


@pytest.mark.parametrize("code", [6, 7])
@virtual
async def test_an_open_error_of_a_placement_is_settled_by_the_tag(code: int) -> None:
    """Pending and unknown errors refuse nothing: one order, found by its tag (scenario 80)."""
    broker = HubBroker()
    reply = {"orderId": None, "success": False, "errorCode": code, "errorMessage": "later"}
    broker.script("submit", outcome_of_place(reply))
    async with open_desk(broker) as manager:
        order = await bought(manager, wait="accepted")
    assert (order.status, order.broker_order_id) == (Status.OPEN, "1001")
    assert len(broker.sent(SubmitOrder)) == 1
    assert [call.wire_ids for call in broker.sent(LookupOrder)] == [(order.wire_id,)]


# The desk's own bounds on what it cannot use.


def odd(bench: DeskDriver) -> list[AnomalyRecorded]:
    return [event for event in bench.events if isinstance(event, AnomalyRecorded)]


def test_a_flood_of_one_anomaly_is_a_few_records_that_count_it() -> None:
    """The same useless report ten thousand times is journaled once a minute (scenario 71; P9)."""
    bench = DeskDriver()
    for _ in range(10_000):
        bench.say("new", wire_id="", broker_order_id="B9")
    bench.advance(60_000)
    bench.say("new", wire_id="", broker_order_id="B9")
    assert [event.code for event in odd(bench)] == ["UNKNOWN_ORDER"] * 2
    assert "9999 more like it" in odd(bench)[1].text


def test_a_flood_of_different_anomalies_is_bounded_but_what_is_about_money_is_not() -> None:
    """Made-up ids without end are counted together; each trade is on record (P5, P9)."""
    bench = DeskDriver()
    for number in range(5_000):
        bench.say("new", wire_id="", broker_order_id=f"F{number}")
    assert len(odd(bench)) <= 1_001
    before = len(odd(bench))
    for number in range(3_000):
        traded = execution(f"x{number}", 1)
        bench.say("trade", wire_id="", broker_order_id=f"F{number}", execution=traded)
    assert len(odd(bench)) == before + 3_000


@pytest.mark.parametrize("quantity", ["NaN", "0", "-1"])
def test_a_trade_that_cannot_be_counted_has_its_order_looked_up(quantity: str) -> None:
    """What the figures hide is asked for, once for any number of repeats (P3; scenario 71)."""
    bench = DeskDriver()
    bench.opened()
    bad = Execution(execution_id="x1", quantity=D(quantity), price=D(100))
    for _ in range(100):
        bench.say("trade", execution=bad)
    assert len(odd(bench)) == 1
    assert len([each for each in bench.kinds() if each == "lookup_started"]) == 1
    bench.look(bench.snapshot(status=Status.PARTIAL_FILL, cumulative="4", average_price="100"))
    bench.advance(5_000)
    assert bench.order().filled_quantity == 4
    assert bench.refolded().dump() == bench.desk.dump()


def test_a_polled_trade_that_cannot_be_counted_is_not_journaled_at_every_poll() -> None:
    """A poll repeats what it lists; the anomaly is not repeated with it (P9)."""
    bench = DeskDriver()
    bench.opened()
    for _ in range(100):
        bench.poll(executions=[("", "B1", execution("x1", 0)), ("", "B1", execution("", 1))])
    assert [event.code for event in odd(bench)] == ["UNUSABLE_TRADE"] * 2
    shown: Snapshot = bench.snapshot(cumulative="NaN")
    for _ in range(100):
        bench.poll(shown)
    assert len(odd(bench)) == 3
