"""Groups that left memory: put together from the records of their desk, and counted again."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.domain import events as e
from holdfast.domain import group_book
from holdfast.domain.group import Group, Phase
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.values import Side
from holdfast.engine.group_reading import recall_group
from holdfast.journal.codec import seal
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Head, Journal, Record
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

STOP = ExitTerms(role="stop", stop_price=Decimal(95))
OPENED: dict[str, Any] = {"contingency": "position", "symbol": "TSLA", "side": Side.SELL}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No closed group stays in memory."""
    monkeypatch.setattr(group_book, "CLOSED_MAX", 0)


def recalled(*events: e.AnyEvent, number: int = 1) -> Group | None:
    """Recall a group from a journal that holds these events and nothing else."""
    found, _ = seal("main", Head(), events)

    def records(_desk: str) -> Iterator[Record]:
        yield from found

    return recall_group(cast(Journal, SimpleNamespace(records=records)), "main", number)


def opened(number: int = 1, **fields: Any) -> e.GroupOpened:
    """The record with which a group begins."""
    return e.GroupOpened(at_ns=1, group=number, exits=(STOP,), **{**OPENED, **fields})


def test_a_group_is_recalled_with_what_became_of_it() -> None:
    """Its last quantity and prices, its phase, its orders, and nothing of another group's."""
    moved = ExitTerms(role="stop", stop_price=Decimal(97))
    told = recalled(
        opened(quantity=Decimal(5)),
        opened(11, quantity=Decimal(9)),
        e.GroupExitChanged(at_ns=2, group=1, role="stop", exit=moved, by="ann", reason="up"),
        e.GroupExitChanged(at_ns=2, group=11, role="stop"),
        e.GroupQuantityChanged(at_ns=3, group=1, quantity=Decimal(3), by="ann"),
        e.GroupPhaseChanged(at_ns=4, group=1, phase="protected", cause="covered", by="holdfast"),
    )

    assert told is not None
    assert (told.quantity, told.slot("stop").exit, told.phase) == (3, moved, Phase.PROTECTED)
    assert [(one.cause, one.by, one.reason) for one in told.history[1:]] == [
        ("stop_changed", "ann", "up"),
        ("covered", "holdfast", ""),
    ]


def test_a_record_in_which_the_group_stands_last_is_its_too() -> None:
    """A position's group that follows it again, on nobody's word, has no field after its number."""
    told = recalled(opened(quantity=Decimal(5)), e.GroupQuantityChanged(at_ns=2, group=1))
    assert told is not None
    assert told.quantity is None


def test_what_never_was_is_not_recalled() -> None:
    """Neither by a number that others begin with, nor by one that has no beginning."""
    changed = e.GroupQuantityChanged(at_ns=2, group=2)
    assert recalled(opened(11), changed) is None
    assert recalled(opened(11), changed, number=2) is None


async def ended(manager: OrderManager, broker: ScriptedBroker) -> None:
    """Let a bracket over three units end: a target of one, the rest sold by another order."""
    await manager.place_bracket_order(
        *("TSLA", "buy", 3), entry_price="100", stop_loss_price="95", take_profit_price="110"
    )
    entry = f"{EPOCH}-main-g1.entry.1"
    await manager.wait(entry, "accepted")
    broker.fill(entry, 3, "100")
    await manager.wait_group(1, "protected")
    await asyncio.sleep(1)
    broker.fill(f"{EPOCH}-main-g1.target.1", 1, "110")
    await asyncio.sleep(1)
    sold = await manager.place_market_order("TSLA", "sell", 2, reduce_only=True, force=True)
    await manager.wait(sold.client_order_id, "accepted")
    broker.fill(sold.wire_id, 2, "99")
    await asyncio.sleep(10)


@virtual
async def test_what_others_closed_of_it_is_not_owed() -> None:
    """Entered and exited are counted again by its orders, and the rest was written off."""
    broker = ScriptedBroker()
    async with open_desk(broker, MemoryJournal()) as manager:
        await ended(manager, broker)
        assert await manager.groups() == []
        group = await manager.group(1)

    assert (group.phase, group.entered, group.exited) == (Phase.CLOSED, 3, 1)
    assert (group.owed, group.covered) == (0, 0)
