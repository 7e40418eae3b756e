"""Groups as a caller sees them: waiting for one, listing them, and hearing of their phases."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import group_book
from holdfast.domain.group import Phase
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import Status
from holdfast.engine.group_views import GroupView
from holdfast.errors import InputError, OrderStatusError, WaitTimeout
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.scripted_groups import ENTRY, TERMS, buy, place, protect
from holdfast.testing.world import virtual


@virtual
async def test_a_wait_ends_by_time_by_a_check_or_with_what_cannot_be() -> None:
    """What is not there, or can never come, is said at once."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        accepted = await manager.wait_group(
            group.group, lambda view: view.entry is not None and view.entry.status is Status.OPEN
        )
        assert len(accepted.history) == 1
        with pytest.raises(WaitTimeout, match="entering after 1 s and not protected"):
            await manager.wait_group(group.group, "protected", timeout=1)
        assert not manager._runner._watchers
        with pytest.raises(InputError, match="until is 'open'"):
            await manager.wait_group(group.group, "open")
        with pytest.raises(ZeroDivisionError):
            await manager.wait_group(group.group, lambda view: bool(1 / view.exited))
        await manager.cancel_order(ENTRY)
        await manager.wait_group(group.group, lambda view: view.is_closed)
        await buy(manager, broker)
        pair = await manager.place_oco_order("TSLA", "sell", 1, limit_price="110", stop_price="95")
        with pytest.raises(InputError, match="has no entry"):
            await manager.wait_group(pair.group, "entered")


@virtual
async def test_groups_are_listed_newest_first_and_by_what_they_are() -> None:
    """By symbol, by strategy, without the closed ones, and no more than asked for."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        for strategy in ("slow", "fast"):
            await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, strategy=strategy)
        await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        await manager.cancel_order(ENTRY)
        await manager.wait_group(1)

        async def numbers(**wanted: Any) -> list[int]:
            return [each.group for each in await manager.groups(**wanted)]

        assert await numbers() == [3, 2, 1]
        assert await numbers(closed=False) == [3, 2]
        assert await numbers(symbol="TSLA") == [2, 1]
        assert await numbers(strategy="slow") == [1]
        assert await numbers(limit=1) == [3]
        with pytest.raises(InputError, match="limit is 0"):
            await manager.groups(limit=0)


@virtual
async def test_a_callback_hears_of_each_phase() -> None:
    """With the group as it is then; plain orders are no news of groups."""
    broker = ScriptedBroker()
    heard: list[tuple[str, Decimal]] = []

    async def listen(group: GroupView) -> None:
        heard.append((group.phase, group.entered))

    async with open_desk(broker) as manager:
        manager.on_group(listen)
        await protect(manager, broker)
        await asyncio.sleep(1)

    assert heard == [("entering", 0), ("protecting", 3), ("protected", 3)]


@virtual
async def test_the_time_without_protection_is_told_while_it_runs() -> None:
    """The clock shows in the view before it stops (P6)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await place(manager)
        broker.script("submit", Refused(text="no stops now", code=RefusalCode.OTHER))
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(0.3)
        during = await manager.group(group.group)
        after = await manager.wait_group(group.group, "protected")

    assert (during.phase, during.covered, during.owed) == (Phase.PROTECTING, 0, 3)
    assert 290 <= during.unprotected_ms <= 310
    assert during.unprotected_ms < after.unprotected_ms == after.longest_unprotected_ms < 2_000


@virtual
async def test_a_group_that_left_memory_is_read_from_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its phases, its orders and what they traded are there; it is not among the listed ones."""
    monkeypatch.setattr(group_book, "CLOSED_MAX", 0)
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        await protect(manager, broker)
        broker.fill(f"{EPOCH}-main-g1.stop.1", 3, "95")
        await asyncio.sleep(5)
        assert await manager.groups() == []
        found = await manager.group(1)
        by_order = await manager.group(f"{EPOCH}-main-g1.target.1")
        assert await manager.wait_group(1) == found
        with pytest.raises(OrderStatusError, match="left memory"):
            await manager.wait_group(1, lambda view: view.phase == "protected")

    assert by_order == found
    assert (found.entered, found.exited, found.owed) == (3, 3, 0)
    assert [each.phase for each in found.history] == [
        "entering", "protecting", "protected", "closing", "closed",
    ]  # fmt: skip
    assert [each.role for each in found.members] == ["entry", "stop", "target"]
