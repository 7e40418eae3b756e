"""The public surface: what each call returns, raises and leaves undone."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.events import StatusChecked
from holdfast.domain.reports import LookupResult, RefusalCode, Refused, Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import Status
from holdfast.engine.feed import Notice
from holdfast.errors import (
    AmountError,
    Busy,
    Closed,
    IdempotencyConflict,
    InputError,
    OrderCancellationError,
    OrderStatusError,
    OrderSubmissionError,
    UnknownSymbolError,
    WaitTimeout,
)
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

BUY = OrderRequest(symbol="TSLA", side="buy", quantity=10, order_type="limit", limit_price="250")


async def working(manager: OrderManager, **options: Any) -> Any:
    return await manager.place_limit_order("TSLA", "buy", 10, "250", wait="accepted", **options)


@virtual
async def test_an_order_is_returned_once_it_is_durable() -> None:
    """Submit returns the order as it was recorded, before the broker has answered."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    broker.script("submit", Hang())
    async with open_desk(broker, journal) as manager:
        order = await manager.submit(BUY)
        recorded = journal.head("main").seq

        assert (order.status, order.quantity, order.pending) == (
            Status.NEW,
            Decimal(10),
            ("submit",),
        )
        assert order.client_order_id == order.wire_id == "0123456789ab-main-1"
        assert recorded == manager._runner.durable_seq


@virtual
async def test_views_do_not_change() -> None:
    """What a caller holds is how the order was, whatever happens to it."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        broker.fill(order.wire_id, 10, "249.5")
        await manager.wait(order.client_order_id)

        assert order.status is Status.OPEN
        with pytest.raises(AttributeError):
            order.status = Status.FILLED


@virtual
async def test_two_submits_of_one_id_are_one_order() -> None:
    """Both callers get the same order and the broker one call (scenarios 5, 35)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        request = OrderRequest(
            symbol="TSLA", side="buy", quantity=1, client_order_id="mine", idempotency_key="key"
        )
        first, second = await asyncio.gather(manager.submit(request), manager.submit(request))
        third = await manager.submit(request)
        by_key = await manager.submit(symbol="TSLA", side="buy", quantity=1, idempotency_key="key")
        with pytest.raises(IdempotencyConflict):
            await manager.submit(symbol="TSLA", side="buy", quantity=2, client_order_id="mine")
        await asyncio.sleep(1)

    assert first.number == second.number == third.number == by_key.number == 1
    assert len(broker.sent(SubmitOrder)) == 1


@virtual
async def test_waiting_for_acceptance_raises_why_there_is_none() -> None:
    """A refused order raises the broker's reason; nothing of it is pending (scenarios 31, 33)."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="not enough cash", code=RefusalCode.INSUFFICIENT_FUNDS))
    async with open_desk(broker) as manager:
        with pytest.raises(OrderSubmissionError, match="not enough cash") as caught:
            await working(manager)
        order = await manager.order(caught.value.client_order_id)

    assert (order.status, order.pending) == (Status.REJECTED, ())
    assert len(broker.calls) == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, InputError),
        ({"symbol": "TSLA"}, InputError),
        ({"symbol": "TSLA", "side": "buy", "quantity": 1, "colour": "red"}, InputError),
        ({"symbol": "TSLA", "side": "buy", "quantity": 1, "strategy": 5}, InputError),
        ({"symbol": ["TSLA"], "side": "buy", "quantity": 1}, InputError),
        ({"symbol": "TSLA", "side": "buy", "quantity": 1, "client_order_id": b"x"}, InputError),
        ({"symbol": "TSLA", "side": "buy", "quantity": 1, "not_after_ms": "5"}, InputError),
        ({"symbol": "TSLA", "side": "buy", "quantity": 1.5}, AmountError),
        ({"symbol": "TSLA", "side": "buy", "quantity": "NaN"}, AmountError),
        ({"symbol": "TSLA", "side": "buy", "quantity": object()}, AmountError),
        ({"symbol": "AAPL", "side": "buy", "quantity": 1}, UnknownSymbolError),
        ({"symbol": "TSLA", "side": "long", "quantity": 1}, InputError),
    ],
)
def test_a_request_that_is_no_order_leaves_no_trace(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    """Whatever a caller writes, it is refused with words and nothing is recorded (scenario 6)."""

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal) as manager:
            await asyncio.sleep(1)
            before = journal.head("main").seq
            with pytest.raises(error):
                await manager.submit(**fields)
            statistics = await manager.statistics()
            assert journal.head("main").seq == before
            assert statistics["engine"]["refolds"] == 0
        assert broker.calls == []

    case()


@virtual
async def test_a_request_and_fields_together_are_refused() -> None:
    """Which of the two was meant is not guessed."""
    async with open_desk(ScriptedBroker()) as manager:
        with pytest.raises(InputError, match="not both"):
            await manager.submit(BUY, symbol="TSLA")
        with pytest.raises(InputError, match="give an OrderRequest"):
            await manager.submit("TSLA")  # type: ignore[arg-type]  # what the test is about


@virtual
async def test_every_kind_of_order_is_sent_as_asked() -> None:
    """The place methods are submits with the names that go with each type."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.place_market_order("TSLA", "buy", 1)
        await manager.place_limit_order("TSLA", "sell", 2, "260", time_in_force="day")
        await manager.place_stop_order("TSLA", "sell", 3, "240", reduce_only=False)
        await manager.place_stop_order("TSLA", "sell", 4, "240", limit_price="239")
        await manager.place_trailing_stop_order("TSLA", "sell", 5, "2.50")
        await asyncio.sleep(1)

    terms = [call.terms for call in broker.sent(SubmitOrder)]
    assert [str(each.order_type) for each in terms] == [
        "market",
        "limit",
        "stop",
        "stop_limit",
        "trailing_stop",
    ]
    assert [str(each.quantity) for each in terms] == ["1", "2", "3", "4", "5"]


@virtual
async def test_wait_ends_with_what_it_waited_for() -> None:
    """A wait for a status, an end, or a check of one's own returns the order as it then was."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        name = order.client_order_id
        part = asyncio.create_task(manager.wait(name, "partial_fill"))
        half = asyncio.create_task(manager.wait(name, lambda o: o.filled_quantity >= 5))
        end = asyncio.create_task(manager.wait(name))
        await asyncio.sleep(0)
        broker.fill(order.wire_id, 2, "249")
        await asyncio.sleep(1)
        broker.fill(order.wire_id, 4, "249")
        await asyncio.sleep(1)
        broker.fill(order.wire_id, 4, "249")

        filled = [(await task).filled_quantity for task in (part, half, end)]
        assert filled == [2, 6, 10]
        assert (await manager.wait(name, "filled")).status is Status.FILLED


def fails(_order: Any) -> bool:
    raise ZeroDivisionError


@virtual
async def test_a_wait_that_cannot_end_well_says_so() -> None:
    """It times out with the status found, or ends at once where that cannot come any more."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        name = order.client_order_id
        with pytest.raises(WaitTimeout, match="is open after 3 s and not terminal"):
            await manager.wait(name, timeout=3)
        assert manager._runner._watchers == {}
        filled = asyncio.create_task(manager.wait(name, "filled"))
        broken = asyncio.create_task(manager.wait(name, fails))
        await asyncio.sleep(0)
        await manager.cancel_order(name)
        with pytest.raises(OrderStatusError, match="ended canceled"):
            await filled
        with pytest.raises(ZeroDivisionError):
            await broken
        with pytest.raises(OrderStatusError, match="no order 'nobody'"):
            await manager.wait("nobody")
        with pytest.raises(InputError, match="until is 'never'"):
            await manager.wait(name, "never")
        assert manager._runner._watchers == {}


@virtual
async def test_a_wait_that_is_cancelled_is_forgotten() -> None:
    """Giving up a wait leaves nothing behind."""
    async with open_desk(ScriptedBroker()) as manager:
        order = await working(manager)
        task = asyncio.create_task(manager.wait(order.client_order_id))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)

        assert manager._runner._watchers == {}


@virtual
async def test_a_cancel_is_sent_and_confirmed_by_the_broker() -> None:
    """Cancel returns with the order still open; its end is the broker's word."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        asked = await manager.cancel_order(order.client_order_id, by="ann", reason="test")
        ended = await manager.wait(order.client_order_id)
        with pytest.raises(OrderCancellationError):
            await manager.cancel_order(order.client_order_id)
        with pytest.raises(OrderStatusError):
            await manager.cancel_order("nobody")

    assert (asked.status, asked.pending) == (Status.OPEN, ("cancel",))
    assert ended.status is Status.CANCELED
    assert len(broker.sent(CancelOrder)) == 1


@virtual
async def test_a_replace_changes_terms_or_is_refused_without_a_call() -> None:
    """Filled, cancelled and unknown orders are refused; no change is no call (scenario 78)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        name = order.client_order_id
        same = await manager.replace_order(name, quantity=10, limit_price="250.00")
        calls = len(broker.calls)
        await manager.replace_order(name, quantity=12)
        changed = await manager.wait(name, lambda o: o.quantity == 12)
        broker.fill(order.wire_id, 12, "249")
        await manager.wait(name)
        with pytest.raises(OrderCancellationError, match="filled"):
            await manager.replace_order(name, quantity=13)
        with pytest.raises(OrderStatusError):
            await manager.replace_order("nobody", quantity=13)

    assert (same.quantity, calls) == (Decimal(10), 1)
    assert changed.quantity == 12
    assert len(broker.sent(ReplaceOrder)) == 1


@virtual
async def test_the_status_of_an_order_is_asked_of_the_broker() -> None:
    """Filled, average, pending, time and the broker's own word come fresh (scenario 46)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await working(manager)
        broker.fill(order.wire_id, 4, "249.5", told=False)
        broker.fill(order.wire_id, 1, "249", told=False)
        await asyncio.sleep(1)
        status = await manager.get_order_status(order.client_order_id)

    assert (status.status, status.fresh) == (Status.PARTIAL_FILL, True)
    assert (status.filled_quantity, status.pending_quantity) == (5, 5)
    assert status.average_price == Decimal("249.4")
    assert status.updated_ns > order.updated_ns
    assert status.raw["cumulative"] == "5"
    assert '"cumulative":"5"' in str(journal.store.raw["main", 1])


@virtual
async def test_a_status_that_the_broker_does_not_tell_is_an_error_that_says_what_is_known() -> None:
    """Asked in vain four times, it is an error with the last known state, never news (trap 5)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        broker.script("lookup", LookupResult(text="503"), Hang(), *[LookupResult(text="503")] * 2)
        with pytest.raises(OrderStatusError, match=r"4 tries \(503\); here it is open") as unknown:
            await manager.get_order_status(order.client_order_id)
        with pytest.raises(OrderStatusError, match="nobody"):
            await manager.get_order_status("nobody")
        still = await manager.order(order.client_order_id)

    assert unknown.value.code == "STATUS_UNAVAILABLE"
    assert still.status is Status.OPEN


@virtual
async def test_a_status_query_outlives_a_failing_answer_or_two() -> None:
    """A question that failed is asked again, and its asking is journaled (scenario 48)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        news = manager.events()
        broker.script("lookup", LookupResult(text="503"), Hang())
        status = await manager.get_order_status(order.client_order_id)
        checked = [notice async for notice in _until_checked(news)][-1]

    assert (status.status, status.fresh) == (Status.OPEN, True)
    assert (checked.event.answered, checked.event.tries) == (True, 3)


async def _until_checked(news: Any) -> Any:
    async for notice in news:
        yield notice
        if isinstance(notice.event, StatusChecked):
            return


@virtual
async def test_a_person_settles_what_nobody_can_tell() -> None:
    """A verdict with a name and a reason ends an order whose outcome is unknown."""
    broker = ScriptedBroker()
    broker.script("submit", Unknown(text="503"))
    broker.script("lookup", *[LookupResult(text="down") for _ in range(100)])
    async with open_desk(broker) as manager:
        order = await manager.submit(BUY)
        await asyncio.sleep(5)
        with pytest.raises(InputError, match="reason"):
            await manager.resolve(order.client_order_id, "never_sent", by="ann", reason=" ")
        resolved = await manager.resolve(
            order.client_order_id, "never_sent", by="ann", reason="seen at the broker's desk"
        )

    assert resolved.status is Status.FAILED


@virtual
async def test_orders_are_listed_by_status_symbol_and_strategy() -> None:
    """Filters combine, the newest ended come first, and the limit holds."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        for strategy in ("a", "b", "a"):
            await working(manager, strategy=strategy)
        await manager.place_limit_order("BTC-USD", "buy", "0.5", "60000", strategy="a")
        await manager.cancel_order("0123456789ab-main-1")
        await manager.cancel_order("0123456789ab-main-2")
        await asyncio.sleep(1)

        def numbers(orders: list[Any]) -> list[int]:
            return [order.number for order in orders]

        assert numbers(await manager.orders()) == [3, 4, 2, 1]
        assert numbers(await manager.orders(finished=False)) == [3, 4]
        assert numbers(await manager.orders(status="canceled")) == [2, 1]
        assert numbers(await manager.orders(status=Status.OPEN, symbol="TSLA")) == [3]
        assert numbers(await manager.orders(strategy="a")) == [3, 4, 1]
        assert numbers(await manager.orders(limit=3)) == [3, 4, 2]
        with pytest.raises(InputError, match="must be one of"):
            await manager.orders(status="done")


@virtual
async def test_executions_and_positions_are_copies() -> None:
    """Fills show with their order, and what they make of the position."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await working(manager)
        broker.fill(order.wire_id, 4, "249.5")
        broker.fill(order.wire_id, 6, "249")
        await manager.wait(order.client_order_id)
        executions = await manager.executions()
        positions = await manager.positions()
        with pytest.raises(OrderStatusError):
            await manager.executions("nobody")

    assert [(each.execution_id, each.quantity) for each in executions] == [("X-1", 4), ("X-2", 6)]
    assert (positions["TSLA"].quantity, positions["TSLA"].average_price) == (
        10,
        Decimal("249.2"),
    )


@virtual
async def test_a_position_may_begin_before_its_first_order() -> None:
    """An opening balance counts, once, and not after the first trade (scenario 113)."""
    async with open_desk(ScriptedBroker()) as manager:
        await manager.set_opening_balance("BTC-USD", "1.5", "60000")
        with pytest.raises(InputError):
            await manager.set_opening_balance("BTC-USD", "2", "60000")

        assert (await manager.positions())["BTC-USD"].quantity == Decimal("1.5")


@virtual
async def test_a_full_inbox_says_busy_and_loses_nothing() -> None:
    """What was taken before is carried out; what was refused left no trace (P9)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        manager._runner.inbox._entries_max = 5
        results = await asyncio.gather(
            *(manager.submit(BUY) for _ in range(8)), return_exceptions=True
        )
        await asyncio.sleep(1)

    assert [type(result) for result in results].count(Busy) == 3
    assert len(broker.calls) == 5


@virtual
async def test_callbacks_hear_orders_fills_and_anomalies() -> None:
    """Each kind of callback is given its own kind of news, after it is durable."""
    broker = ScriptedBroker()
    heard: list[object] = []
    async with open_desk(broker) as manager:

        async def on_order(order: Any) -> None:
            heard.append(order.status)

        async def on_fill(fill: Any) -> None:
            heard.append((fill.execution_id, fill.order.filled_quantity))

        async def on_anomaly(anomaly: Any) -> None:
            heard.append(anomaly.code)

        manager.on_order(on_order)
        manager.on_fill(on_fill)
        manager.on_anomaly(on_anomaly)
        order = await working(manager)
        await asyncio.sleep(1)
        broker.fill(order.wire_id, 10, "249")
        await asyncio.sleep(1)
        broker.place_by_hand("HAND", "TSLA", 5)
        await asyncio.sleep(20)

    assert heard[:2] == [Status.NEW, Status.OPEN]
    assert set(heard[2:4]) == {Status.FILLED, ("X-1", Decimal(10))}
    assert heard[4:] == ["UNKNOWN_ORDER"]


@virtual
async def test_a_callback_may_trade() -> None:
    """A callback that places and cancels orders neither blocks nor is blocked (scenario 74)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:

        async def on_fill(fill: Any) -> None:
            exit_ = await manager.place_limit_order("TSLA", "sell", fill.quantity, "260")
            await manager.cancel_order(exit_.client_order_id)

        manager.on_fill(on_fill)
        order = await working(manager)
        broker.fill(order.wire_id, 10, "249")
        await asyncio.sleep(1)
        orders = await manager.orders()

    assert [each.status for each in orders] == [Status.CANCELED, Status.FILLED]


@virtual
async def test_the_event_stream_has_every_durable_event() -> None:
    """Events carry their numbers in the journal, without a hole."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager, manager.events() as events:
        first = journal.head("main").seq + 1
        order = await working(manager)
        broker.fill(order.wire_id, 10, "249")
        await manager.wait(order.client_order_id)
        heard = [await anext(events) for _ in range(journal.head("main").seq - first + 1)]

    numbers = [each.seq for each in heard if isinstance(each, Notice)]
    assert numbers == list(range(first, first + len(heard)))


@virtual
async def test_shutdown_waits_for_what_is_in_flight() -> None:
    """A call under way is answered and recorded before the desk closes (trap 54)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await manager.submit(BUY)
    again = MemoryJournal(journal.store)
    async with open_desk(ScriptedBroker(), again) as manager:
        reopened = await manager.order(order.client_order_id)

    assert reopened.status is Status.OPEN


@virtual
async def test_shutdown_can_cancel_entries_and_leaves_what_protects() -> None:
    """Entries are cancelled, reduce-only orders stand, one that fails holds nobody up (28, 112)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        held = await working(manager)
        broker.fill(held.wire_id, 10, "249")
        entries = [await working(manager) for _ in range(2)]
        stop = await manager.place_stop_order("TSLA", "sell", 10, "240", reduce_only=True)
        broker.script("cancel", Refused(text="no"), Refused(text="no"))
        await manager.shutdown("cancel", timeout=30)
        with pytest.raises(Closed):
            await manager.submit(BUY)

    assert broker.orders[stop.wire_id].status is Status.OPEN
    assert {broker.orders[order.wire_id].status for order in entries} <= {
        Status.CANCELED,
        Status.OPEN,
    }
    cancelled = {call.orig_wire_id for call in broker.sent(CancelOrder)}
    assert cancelled == {order.wire_id for order in entries}


@virtual
async def test_statistics_are_integers() -> None:
    """Every figure is an integer, whichever part it is of."""

    def leaves(value: Any) -> list[object]:
        if isinstance(value, dict):
            return [leaf for each in value.values() for leaf in leaves(each)]
        return [value]

    async with open_desk(ScriptedBroker()) as manager:
        manager.events()
        await working(manager)
        figures = leaves(dict(await manager.statistics()))

    assert len(figures) > 30
    assert {type(figure) for figure in figures} == {int}


@virtual
async def test_an_order_of_nobody_is_shown() -> None:
    """An order placed by hand is in the health and is one anomaly, however often it is polled."""
    broker = ScriptedBroker()
    broker.place_by_hand("HAND", "TSLA", 5)
    async with open_desk(broker) as manager:
        await asyncio.sleep(100)
        health = await manager.health()
        statistics = await manager.statistics()

    assert health.unclaimed == ("HAND",)
    assert statistics["desk"]["anomalies"] == 1


@virtual
async def test_another_account_is_no_place_for_this_journal() -> None:
    """A desk keeps the account that it was opened with."""
    journal = MemoryJournal()
    async with open_desk(ScriptedBroker(), journal):
        pass
    again = MemoryJournal(journal.store)
    with pytest.raises(InputError, match="has account 'paper', not 'live'"):
        async with open_desk(ScriptedBroker(), again, account="live"):
            pass
    assert not journal.store.owned


@virtual
async def test_what_cannot_be_waited_for_or_traded_is_refused_in_words() -> None:
    """A timeout that is no number of seconds, and an instrument that is none, record nothing."""
    async with open_desk(ScriptedBroker()) as manager:
        await manager.place_market_order("TSLA", "buy", 1, client_order_id="c1", wait="accepted")
        before = (await manager.statistics())["engine"]["events"]
        for timeout in (float("nan"), -1, "x"):
            with pytest.raises(InputError, match="give seconds, zero or more"):
                await manager.wait("c1", timeout=timeout)  # type: ignore[arg-type]  # that is it
        with pytest.raises(InputError, match="is no Instrument"):
            await manager.define(5)  # type: ignore[arg-type]  # that is it
        with pytest.raises(IdempotencyConflict, match="quantity was 1, is 2"):
            await manager.place_market_order("TSLA", "buy", 2, client_order_id="c1")
        after = (await manager.statistics())["engine"]["events"]
    assert after == before
