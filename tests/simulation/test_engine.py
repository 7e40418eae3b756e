"""The whole engine with its real journal: what is on the disk before a call, and after a crash."""

import asyncio
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import NS_PER_S
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.events import (
    CancelRequested,
    LookupStarted,
    OrderSubmitted,
    ReplaceRequested,
    WishSent,
)
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.recovery import recover
from holdfast.engine.runner import Mode
from holdfast.errors import Busy, HoldfastError
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch
from holdfast.testing.scripted import Face, Hang, Raise, ScriptedBroker, crash, open_desk
from holdfast.testing.world import HeldJournal, VirtualLoop, virtual, virtual_clock
from holdfast.wiring import OrderManager


def on_disk(path: Path) -> HeldJournal:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return HeldJournal(SqliteJournal(path), loop)


def test_every_broker_call_finds_its_intent_on_the_disk(tmp_path: Path) -> None:
    """A second, read-only connection sees the intent before each call is made (P1, scenario 97)."""
    path = tmp_path / "desk.db"
    seen: list[str] = []

    @virtual
    async def case() -> None:
        reader = SqliteJournal.read_only(path)

        def intent_of(effect: Effect) -> bool:
            events = [
                event
                for event in map(decode, reader.records("main"))
                if getattr(event, "number", 0) == effect.number
            ]
            wanted: Any = {
                SubmitOrder: (OrderSubmitted, WishSent),
                CancelOrder: (CancelRequested, WishSent),
                ReplaceOrder: (ReplaceRequested, WishSent),
                LookupOrder: (LookupStarted,),
            }[type(effect)]
            return any(isinstance(event, wanted) for event in events)

        def before_call(effect: Effect) -> None:
            assert intent_of(effect)
            seen.append(type(effect).__name__)

        broker = ScriptedBroker()
        broker.before_call = before_call
        async with open_desk(broker, on_disk(path)) as manager:
            order = await manager.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")
            await manager.replace_order(order.client_order_id, quantity=12)
            await asyncio.sleep(1)
            await manager.cancel_order(order.client_order_id)
            broker.script("submit", Hang())
            await manager.place_limit_order("TSLA", "buy", 10, "250")
            await asyncio.sleep(60)
        reader.close()

    SqliteJournal(path).close()
    case()
    assert {"SubmitOrder", "ReplaceOrder", "CancelOrder", "LookupOrder"} <= set(seen)


class CrashingJournal(MemoryJournal):
    """A journal whose process dies right before, or right after, a record becomes durable."""

    def __init__(self, dies_at: int, *, durable: bool) -> None:
        super().__init__()
        self.dies_at = dies_at
        self.durable = durable
        self.died = asyncio.Event()

    def append(self, batch: Batch, done: Any) -> None:
        last = batch.first_seq + len(batch.events) - 1
        if self.died.is_set():
            return
        if last >= self.dies_at:
            self.died.set()
            if self.durable:
                super().append(batch, lambda _error: None)
            return
        super().append(batch, done)


async def _trade(manager: OrderManager, broker: ScriptedBroker) -> None:
    """Buy ten in two fills, place and cancel a limit order, replace another."""
    first = await manager.place_limit_order("TSLA", "buy", 10, "250", client_order_id="first")
    await manager.wait("first", "accepted")
    broker.fill(first.wire_id, 4, "249.5")
    broker.fill(first.wire_id, 6, "249")
    await manager.wait("first")
    await manager.place_limit_order("TSLA", "buy", 5, "240", client_order_id="second")
    await manager.wait("second", "accepted")
    await manager.cancel_order("second")
    await manager.wait("second")
    await manager.place_limit_order("TSLA", "buy", 7, "240", client_order_id="third")
    await manager.wait("third", "accepted")
    await manager.replace_order("third", quantity=8)
    await manager.wait("third", lambda order: order.quantity == 8)


@pytest.mark.parametrize("durable", [False, True])
def test_killed_at_any_record_nothing_is_lost_and_nothing_sent_twice(durable: bool) -> None:
    """Dead right before or after any record became durable, restarted: books equal (85, P2, P3)."""
    deaths = 0

    def killed_at(record: int) -> bool:
        died = False

        @virtual
        async def case() -> None:
            nonlocal died
            broker = ScriptedBroker()
            journal = CrashingJournal(record, durable=durable)
            async with open_desk(broker, journal) as manager:
                trading = asyncio.create_task(_trade(manager, broker))
                dying = asyncio.create_task(journal.died.wait())
                await asyncio.wait({trading, dying}, return_when=asyncio.FIRST_COMPLETED)
                died = journal.died.is_set()
                await asyncio.sleep(0.001)
                await crash(manager)
                trading.cancel()
                dying.cancel()
            again = MemoryJournal(journal.crash())
            async with open_desk(broker, again) as manager:
                await asyncio.sleep(120)
                await _finish(manager, broker)
                await _check_books(manager, broker)

        case()
        return died

    for record in range(4, 60):
        if not killed_at(record):
            break
        deaths += 1
    assert deaths >= 14


async def _finish(manager: OrderManager, broker: ScriptedBroker) -> None:
    """Do what a restarted program does: submit the same orders again, by their ids."""
    first = await manager.place_limit_order("TSLA", "buy", 10, "250", client_order_id="first")
    await asyncio.sleep(60)
    shown = broker.orders.get(first.wire_id)
    if shown is not None and not shown.cumulative:
        broker.fill(first.wire_id, 4, "249.5")
        broker.fill(first.wire_id, 6, "249")
    await asyncio.sleep(60)


async def _check_books(manager: OrderManager, broker: ScriptedBroker) -> None:
    orders = await manager.orders()
    assert len({order.wire_id for order in orders}) == len(orders)
    assert {order.wire_id for order in orders} >= set(broker.orders)
    held = sum(
        (trade.quantity for trades in broker.executions.values() for trade in trades), Decimal(0)
    )
    positions = await manager.positions()
    assert (positions["TSLA"].quantity if "TSLA" in positions else 0) == held
    for order in orders:
        shown = broker.orders[order.wire_id]
        assert (order.status, order.filled_quantity) == (shown.status, shown.cumulative)
        assert order.pending == ()
    # Each order was placed under one id and once; the broker refuses a second one by itself.
    assert sum(isinstance(call, SubmitOrder) for call in broker.calls) <= len(broker.orders) + 1


@virtual
async def test_set_clocks_a_suspended_machine_and_a_restart_cancel_nothing() -> None:
    """An hour forward, back, half an hour asleep, a clock behind the journal: all is calm (103)."""
    clock = virtual_clock()
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal, poll_interval_ms=3_600_000) as manager:
        orders = [
            await manager.place_limit_order("TSLA", "buy", 1, "200", wait="accepted")
            for _ in range(20)
        ]
        for hours in (1, -2, 1):
            clock.shift_wall(hours * 3_600 * NS_PER_S)
            await asyncio.sleep(30)
        polls = broker.polls
        clock.suspend(1_800 * NS_PER_S)
        await asyncio.sleep(2)
        polled_at_once = broker.polls > polls
        await asyncio.sleep(60)
    clock.shift_wall(-86_400 * NS_PER_S)
    async with open_desk(broker, MemoryJournal(journal.store)) as manager:
        await asyncio.sleep(60)
        statuses = {(await manager.order(each.client_order_id)).status for each in orders}
    times = [record.at_ns for record in journal.store.records["main"]]

    assert polled_at_once
    assert statuses == {Status.OPEN}
    assert broker.sent(CancelOrder) == []
    assert len(broker.sent(LookupOrder)) <= len(orders)
    assert times == sorted(times)


@virtual
async def test_a_stream_that_floods_is_cut_and_made_good() -> None:
    """Reports past the bound are dropped at once, and polls bring back what they said (P9)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        manager._runner.inbox._reports_max = 50
        orders = [
            await manager.place_limit_order("TSLA", "buy", 2, "250", wait="accepted")
            for _ in range(60)
        ]
        await asyncio.sleep(1)
        journal.pause()
        for order in orders:
            broker.fill(order.wire_id, 1, "249")
            broker.fill(order.wire_id, 1, "249")
        journal.resume()
        await asyncio.sleep(30)
        figures = await manager.statistics()
        position = (await manager.positions())["TSLA"]

    assert figures["engine"]["report_cuts"] >= 1
    assert position.quantity == 120


@virtual
async def test_a_caller_that_submits_ten_thousand_orders_delays_nobody() -> None:
    """A flood of entries is refused past its bound; a cancel still goes through at once (108)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 1, "250", wait="accepted")
        flood = [
            asyncio.create_task(manager.place_limit_order("TSLA", "buy", 1, "250"))
            for _ in range(12_000)
        ]
        await asyncio.sleep(0)
        await manager.cancel_order(order.client_order_id)
        waiting = sum(not task.done() for task in flood)
        results = await asyncio.gather(*flood, return_exceptions=True)

    assert waiting > 9_000
    assert [type(each) for each in results].count(Busy) == 2_000


@virtual
async def test_a_broker_that_only_fails_leaves_the_engine_standing() -> None:
    """Every face raises for a while: nothing is given up or sent twice, then all is settled."""
    broker = ScriptedBroker()
    faces: tuple[Face, ...] = ("submit", "lookup", "poll")
    for face in faces:
        broker.script(face, *[Raise(OSError("down"), carried_out=True)] * 3)
    async with open_desk(broker) as manager:
        await asyncio.sleep(5)
        orders = [await manager.place_limit_order("TSLA", "buy", 1, "250") for _ in range(3)]
        broker.break_stream(OSError("reset"))
        for order in orders:
            await manager.wait(order.client_order_id, "accepted", 300)
        health = await manager.health()

    assert health.mode is Mode.RUNNING
    assert len(broker.orders) == 3
    assert len(broker.sent(SubmitOrder)) == 3


def test_a_desk_on_disk_survives_being_opened_again(tmp_path: Path) -> None:
    """Everything that was returned to a caller is there after a kill, from the file alone."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker, on_disk(tmp_path / "desk.db")) as manager:
            order = await manager.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")
            broker.fill(order.wire_id, 4, "249.5")
            await manager.wait(order.client_order_id, "partial_fill")
            before = manager._runner.desk.dump()
            await crash(manager)
            manager._journal.close()
        journal = SqliteJournal(tmp_path / "desk.db")
        folded = recover(journal, "main", Settings()).desk.dump()
        journal.close()
        async with open_desk(broker, on_disk(tmp_path / "desk.db")) as manager:
            after = await manager.order(order.client_order_id)
            with pytest.raises(HoldfastError):
                await manager.submit()

        assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)
        assert folded == before

    case()


def test_a_callback_that_blocks_leaves_submitting_alone(tmp_path: Path) -> None:
    """Blocked callbacks are named, and orders are taken as if there were none (90, 108)."""
    gate = threading.Event()

    def block(_order: Any) -> None:
        gate.wait(10)

    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker, str(tmp_path / "desk.db")) as manager:
            for number in range(5):
                manager.on_order(block, name=f"blocks-{number}")
            async with asyncio.timeout(5):  # one blocked call alone would take ten seconds
                for _ in range(50):
                    await manager.place_market_order("TSLA", "buy", 1, wait="accepted")
                slow: tuple[str, ...] = ()
                while not slow:
                    await manager.place_market_order("TSLA", "buy", 1)
                    slow = (await manager.health()).slow_callbacks
            gate.set()
        assert set(slow) <= {f"blocks-{number}" for number in range(5)}
        assert len(broker.calls) >= 50

    try:
        asyncio.run(case())
    finally:
        gate.set()
