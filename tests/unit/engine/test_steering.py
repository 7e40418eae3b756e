"""Commands over all orders of a desk: what each order came to, and what is left standing."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
)
from holdfast.domain.values import Status
from holdfast.errors import InputError, OrderStatusError
from holdfast.testing.scripted import Hang, Raise, ScriptedBroker, open_desk
from holdfast.testing.world import virtual


async def resting(manager: Any, count: int, **terms: Any) -> list[Any]:
    """Place limit orders that the broker accepts."""
    orders = [
        await manager.place_limit_order("TSLA", "buy", 10, "100", **terms) for _ in range(count)
    ]
    return [await manager.wait(order.client_order_id, "accepted") for order in orders]


@virtual
async def test_cancelling_all_tells_of_each_order_what_it_came_to() -> None:
    """Of two cancels one is refused: both results are given and the success is kept (44)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        first, second = await resting(manager, 2)
        broker.script(
            "cancel",
            Accepted(final=True),
            Refused(text="not now", code=RefusalCode.OTHER),
        )
        results = await manager.cancel_all_open_orders(by="ann", reason="going home")

    assert [(each.client_order_id, each.outcome) for each in results] == [
        (first.client_order_id, "canceled"),
        (second.client_order_id, "failed"),
    ]
    assert results[1].text == "not now"
    assert results[1].order.status is Status.OPEN


@virtual
async def test_an_order_that_fills_while_it_is_cancelled_is_reported_filled() -> None:
    """The cancel comes too late; the final fill is in the result and nothing is sent again (45)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (order,) = await resting(manager, 1)
        filled = Snapshot(
            broker_order_id=order.broker_order_id,
            wire_id=order.wire_id,
            status=Status.FILLED,
            cumulative=Decimal(10),
        )
        trade = Execution(execution_id="e1", quantity=Decimal(10), price=Decimal(100))
        broker.script("cancel", Refused(text="too late", code=RefusalCode.TOO_LATE))
        broker.script(
            "lookup",
            LookupResult(
                sightings=(Sighting(snapshot=filled, executions=(trade,)),), complete=True
            ),
        )
        (result,) = await manager.cancel_all_open_orders(by="ann")

    assert result.outcome == "filled"
    assert (result.order.filled_quantity, result.order.average_price) == (10, 100)
    assert len(broker.sent(CancelOrder)) == 1


@virtual
async def test_what_is_not_confirmed_in_time_is_pending_and_cancelled_on() -> None:
    """A silent broker: the result says so, and cancels go on after the call is over (P4)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (order,) = await resting(manager, 1)
        broker.script("cancel", Hang(carried_out=False))
        (result,) = await manager.cancel_all_open_orders(by="ann", timeout=1)
        later = await manager.wait(order.client_order_id, "canceled", timeout=60)

    assert result.outcome == "pending"
    assert later.status is Status.CANCELED


@virtual
async def test_cancelling_all_is_bounded_to_a_symbol_and_a_strategy() -> None:
    """Only what was named is cancelled; the rest works on (scenario 77)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (kept,) = await resting(manager, 1, strategy="slow")
        (gone,) = await resting(manager, 1, strategy="fast")
        results = await manager.cancel_all_open_orders(symbol="TSLA", strategy="fast", by="ann")
        with pytest.raises(InputError, match="NONE"):
            await manager.cancel_all_open_orders(symbol="NONE", by="ann")

    assert [each.client_order_id for each in results] == [gone.client_order_id]
    assert {each.orig_wire_id for each in broker.sent(CancelOrder)} == {gone.wire_id}
    assert kept.client_order_id not in {each.client_order_id for each in results}


@virtual
async def test_synchronizing_lists_the_account_once_and_takes_what_it_says() -> None:
    """A fill that the stream lost is found by the listing that was asked for (scenario 50)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (order,) = await resting(manager, 1)
        before = broker.polls
        broker.report(
            Report(
                kind=ReportKind.TRADE,
                wire_id=order.wire_id,
                broker_order_id=order.broker_order_id,
                execution=Execution(execution_id="e1", quantity=Decimal(4), price=Decimal(100)),
            )
        )
        await asyncio.sleep(0.6)
        still_open = await manager.synchronize_open_orders()

    assert broker.polls == before + 1
    assert [(each.status, each.filled_quantity) for each in still_open] == [
        (Status.PARTIAL_FILL, 4)
    ]


@virtual
async def test_a_listing_that_fails_is_an_error_and_changes_nothing() -> None:
    """Without an answer to the listing every order stands as it was (scenario 26)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (order,) = await resting(manager, 1)
        await asyncio.sleep(1)
        broker.script("poll", Raise(RuntimeError("503")))
        with pytest.raises(OrderStatusError) as failed:
            await manager.synchronize_open_orders(timeout=5)
        after = await manager.order(order.client_order_id)

    assert failed.value.code == "STATUS_UNAVAILABLE"
    assert after.status is Status.OPEN


@virtual
async def test_waiting_for_a_pegged_order_follows_it_to_its_successor() -> None:
    """Without native replace a re-quote is another order; a wait ends with the one that trades."""
    broker = ScriptedBroker(Capabilities(native_replace=False))
    async with open_desk(broker) as manager:
        manager._runner.quoted(Quote(symbol="TSLA", bid=Decimal("100.00"), ask=Decimal("100.10")))
        await asyncio.sleep(0)
        first = await manager.place_pegged_order("TSLA", "buy", 10, "bid")
        await manager.wait(first.client_order_id, "accepted")
        await asyncio.sleep(2)
        waiting = asyncio.create_task(manager.wait(first.client_order_id, timeout=60))
        manager._runner.quoted(Quote(symbol="TSLA", bid=Decimal("100.05"), ask=Decimal("100.15")))
        await asyncio.sleep(30)
        (second,) = await manager.orders(finished=False)
        broker.fill(second.wire_id, 10, "100.05")
        ended = await waiting

    assert (second.succeeds, second.limit_price) == (first.number, Decimal("100.05"))
    assert (ended.number, ended.status) == (second.number, Status.FILLED)
    assert ended.filled_quantity == 10


@virtual
async def test_a_person_stops_a_flattening() -> None:
    """Who began to close a position may stop: what is held then stays."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        held = await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
        broker.fill(held.wire_id, 10, "250")
        await resting(manager, 1)
        broker.script("cancel", *[Hang(carried_out=False)] * 9)
        await manager.flatten("TSLA", by="ann", reason="going home")
        await asyncio.sleep(1)
        assert (await manager.guard()).flattening == ("TSLA",)
        with pytest.raises(InputError):
            await manager.stop_flattening("TSLA", by="", reason="it was the wrong one")
        await manager.stop_flattening("TSLA", by="ann", reason="it was the wrong one")
        assert (await manager.guard()).flattening == ()
        broker._script.clear()
        await asyncio.sleep(60)
        assert (await manager.positions())["TSLA"].quantity == 10


@virtual
async def test_an_alert_is_masked_before_it_is_journaled() -> None:
    """What a program raises may hold a credential; the journal never does (scenario 48, P10)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.raise_alert("STRATEGY_ERROR", "it broke with token=abc123")
        bodies = [record.body for record in manager._journal.records("main")]

    assert any(b"it broke with token=***" in body for body in bodies)
    assert not any(b"abc123" in body for body in bodies)
