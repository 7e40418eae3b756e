"""Groups where the journal cannot be written, and where a desk is shut down."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.group_events import GroupExitChanged
from holdfast.domain.inputs import SeenElsewhere
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import OrderType, Status
from holdfast.engine.desk_parts import Options
from holdfast.engine.emergency import EmergencyLog, Line
from holdfast.errors import Closed, Halted, InputError, JournalUnwritable, OrderRefused
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, INSTRUMENTS, ScriptedBroker, crash, open_desk
from holdfast.testing.scripted_groups import ENTRY, TERMS, place, protect, working
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager


async def started(folder: Path, broker: ScriptedBroker, journal: MemoryJournal) -> OrderManager:
    return await OrderManager.start(
        journal=journal,
        broker=broker,
        clock=virtual_clock(),
        options=Options(
            instruments=INSTRUMENTS, epoch=EPOCH, emergency_path=folder / "emergency.jsonl"
        ),
    )


@asynccontextmanager
async def halted(
    folder: Path, broker: ScriptedBroker, *, refused: int = 1_000
) -> AsyncIterator[OrderManager]:
    """Open a desk that holds a protected bracket over three units and has lost its disk."""
    journal = MemoryJournal()
    manager = await started(folder, broker, journal)
    await protect(manager, broker)
    journal.fail_at(manager._runner.durable_seq + 1, recoveries_refused=refused)
    with pytest.raises(JournalUnwritable):
        await manager.place_market_order("BTC-USD", "buy", 1)
    broker.calls.clear()
    try:
        yield manager
    finally:
        await manager.shutdown()


@virtual
async def test_getting_out_goes_past_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """No bracket is taken; once its exits are cancelled a position can be closed (87, P7)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker) as manager:
        with pytest.raises(Halted):
            await manager.place_bracket_order("BTC-USD", "buy", 1, **TERMS)
        with pytest.raises(Halted):
            await manager.close_position("TSLA", method="limit", limit_price="101")
        with pytest.raises(OrderRefused, match=r"0 can still.*`cancel_position_orders`"):
            await manager.close_position("TSLA")
        results = await manager.cancel_position_orders("TSLA", kinds=("stop", "target"))
        await asyncio.sleep(0.1)
        group = await manager.close_position("TSLA", strategy="exit", wait="closed")
        assert list(working(broker)) == [group.members[0].client_order_id.rpartition("-")[2]]

    assert [each.outcome for each in results] == ["pending", "pending"]
    [sent] = broker.sent(SubmitOrder)
    assert (sent.terms.order_type, sent.terms.quantity) == (OrderType.MARKET, 3)
    assert sent.terms.reduce_only
    assert len(broker.sent(CancelOrder)) == 2
    assert (group.group, group.owed, group.side, group.strategy) == (0, 3, "sell", "exit")


@virtual
async def test_after_the_halt_the_exit_belongs_to_the_desk(tmp_path: Path) -> None:
    """What went out past the journal is counted, and nothing is closed twice (P2, P7)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker, refused=4) as manager:
        await manager.cancel_position_orders("TSLA", kinds=("stop", "target"))
        await asyncio.sleep(0.1)
        group = await manager.close_position("TSLA")
        sent = group.members[0].client_order_id
        broker.fill(sent, 3, "99")
        await asyncio.sleep(60)
        assert (await manager.positions())["TSLA"].quantity == 0
        assert (await manager.order(sent)).status is Status.FILLED
        assert (await manager.group(1)).is_closed
        assert working(broker) == {}
        kinds = [record.kind for record in manager._journal.records("main")]

    assert kinds.index("group_exit_changed") < kinds.index("order_adopted")
    assert len([each for each in broker.sent(SubmitOrder) if "exit" in each.wire_id]) == 0


@pytest.mark.parametrize(("by_hand", "left"), [(3, 0), (2, 1)])
@virtual
async def test_a_halted_close_leaves_out_what_was_sold_by_hand(
    tmp_path: Path, by_hand: int, left: int
) -> None:
    """All that the account still holds is closed, and nothing turns short (87, P7)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker) as manager:
        sold = SeenElsewhere(symbol="TSLA", quantity=Decimal(-by_hand))
        manager._runner.word(sold)
        await manager.cancel_position_orders("TSLA", kinds=("stop", "target"))
        await asyncio.sleep(0.1)
        with pytest.raises((OrderRefused, InputError), match=r"position.* is 3"):
            await manager.close_position("TSLA", quantity=3)
        with pytest.raises(OrderRefused, match=f"{left} can still be closed"):
            await manager.place_market_order("TSLA", "sell", 3, reduce_only=True)
        if left:
            await manager.close_position("TSLA")

    assert [each.terms.quantity for each in broker.sent(SubmitOrder)] == [left] * bool(left)


@virtual
async def test_legs_that_are_cancelled_while_halted_are_not_placed_again(tmp_path: Path) -> None:
    """Once the journal is back the group knows that they are not wanted, and by whom (87, P1)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker, refused=4) as manager:
        await manager.cancel_position_orders("TSLA", kinds=["stop"], by="ann", reason="wide")
        await manager.cancel_order(f"{EPOCH}-main-g1.target.1")
        await asyncio.sleep(60)
        group = await manager.group(1)
        assert (group.stop, group.target) == (None, None)
    changes = [
        (event.role, event.by, event.reason)
        for event in map(decode, manager._journal.records("main"))
        if isinstance(event, GroupExitChanged)
    ]
    assert changes == [
        ("stop", "ann", "wide"),
        ("target", "", "cancelled while the journal could not be written"),
    ]
    assert (working(broker), broker.sent(SubmitOrder)) == ({}, [])
    assert EmergencyLog(tmp_path / "emergency.jsonl").owed() == []


@virtual
async def test_the_next_start_knows_what_was_cancelled_while_halted(tmp_path: Path) -> None:
    """Killed while halted, the log has the cancels: nothing of them is placed again (87, P1)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker) as manager:
        await manager.cancel_position_orders("TSLA", kinds=("stop", "target"))
        await asyncio.sleep(0.1)
        await crash(manager)
        lost: Any = manager._journal
        again = await started(tmp_path, broker, MemoryJournal(lost.crash()))
        await asyncio.sleep(60)
        assert (await again.group(1)).is_closed
        assert (working(broker), broker.sent(SubmitOrder)) == ({}, [])
        assert EmergencyLog(tmp_path / "emergency.jsonl").owed() == []
        await again.shutdown()


def test_a_cancel_of_what_is_gone_is_settled(tmp_path: Path) -> None:
    """An order that ended meanwhile, or that nobody knows, is asked about once (87)."""
    log = EmergencyLog(tmp_path / "emergency.jsonl")

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with halted(tmp_path, broker, refused=4):
            for name in (ENTRY, "nobody"):
                wire_id = f"{EPOCH}-main-x9.{len(name)}"
                log.write(Line(kind="release", at_ns=1, wire_id=wire_id, client_order_id=name))
            assert len(log.owed()) == 2
            await asyncio.sleep(60)
            assert log.owed() == []
        assert list(working(broker)) == ["g1.stop.1", "g1.target.1"]

    case()


@virtual
async def test_a_cancel_that_was_refused_while_halted_is_not_owed(tmp_path: Path) -> None:
    """Who was told that it failed finds the stop still wanted, and in its place (87, P6)."""
    broker = ScriptedBroker()
    async with halted(tmp_path, broker, refused=4) as manager:
        broker.script("cancel", Refused(text="not now", code=RefusalCode.OTHER))
        [result] = await manager.cancel_position_orders("TSLA", kinds="stop")
        assert result.outcome == "failed"
        assert EmergencyLog(tmp_path / "emergency.jsonl").owed() == []
        await asyncio.sleep(60)
        assert (await manager.group(1)).phase == "protected"
    assert list(working(broker)) == ["g1.stop.1", "g1.target.1"]


@pytest.mark.parametrize("mode", ["leave", "cancel"])
@virtual
async def test_a_shutdown_leaves_protection_standing(mode: Literal["leave", "cancel"]) -> None:
    """The entry's rest goes with "cancel"; stop and target stay in either case (scenario 112)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protect(manager, broker, 2)
        await manager.shutdown(mode)
    entry = ["g1.entry.1"] if mode == "leave" else []
    assert list(working(broker)) == [*entry, "g1.stop.1", "g1.target.1"]


@virtual
async def test_a_shutdown_that_flattens_leaves_nothing() -> None:
    """Exits are cancelled, then the position is closed once (scenario 112)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protect(manager, broker)
        ending = asyncio.create_task(manager.shutdown("flatten", timeout=60))
        await asyncio.sleep(5)
        [exit_id] = working(broker)
        broker.fill(f"{EPOCH}-main-{exit_id}", 3, "99")
        await ending

    assert working(broker) == {}
    assert sum(each.reducing and "g1" not in each.wire_id for each in broker.sent(SubmitOrder)) == 1


@virtual
async def test_a_shutdown_waits_for_protection_that_is_on_its_way() -> None:
    """A stop that was refused once is tried again before the desk closes (P6)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await place(manager)
        broker.script("submit", Refused(text="not now", code=RefusalCode.OTHER))
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(0.05)
        assert "g1.stop.2" not in working(broker)
        ending = asyncio.create_task(manager.shutdown())
        await asyncio.sleep(0)
        with pytest.raises(Closed, match="no new orders"):
            await manager.place_bracket_order("BTC-USD", "buy", 1, **TERMS)
        await ending

    assert "g1.stop.2" in working(broker)


@virtual
async def test_a_group_that_is_left_unprotected_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which, how much of it is covered, and that the next start goes on (112)."""
    broker = ScriptedBroker()
    refusals = [Refused(text="not now", code=RefusalCode.OTHER)] * 50
    async with open_desk(broker) as manager:
        await place(manager)
        broker.script("submit", *refusals)
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(1)
        with caplog.at_level(logging.WARNING, "holdfast.manager"):
            await manager.shutdown(timeout=1)

    [said] = [each for each in caplog.messages if "group" in each]
    assert said.startswith(f"group {EPOCH}-main-g1 in TSLA is left flattening")
    assert "0 of 3 covered" in said
