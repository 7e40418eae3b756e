"""What an account holds by nobody's desk, and what its desks protect because of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.config import Config
from holdfast.connecting import Connection
from holdfast.domain.reports import Snapshot
from holdfast.domain.values import OrderType, Side, Status
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import Desks

TABLES: Any = {
    "accounts": {"main": {"broker": "hand:connect"}},
    "desks": {"alpha": {"account": "main"}, "beta": {"account": "main"}},
    "instruments": {"TSLA": {}},
}
EXITS: Any = {"stop_loss_price": "95", "take_profit_price": "110"}


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, broker: ScriptedBroker, store: Store | None = None
) -> AsyncIterator[Any]:
    def connect(_account: object) -> Connection:
        return Connection(broker=broker)

    connect.modes = ("paper",)  # type: ignore[attr-defined]  # what a factory declares
    monkeypatch.setitem(sys.modules, "hand", SimpleNamespace(connect=connect))
    journal = MemoryJournal(store or Store())
    async with Desks.open(Config.parse(TABLES), clock=virtual_clock(), journal=journal) as desks:
        yield desks


async def held(desk: Any, broker: ScriptedBroker, quantity: int) -> None:
    """Hold a bracket over so many units, all filled and protected."""
    group = await desk.place_bracket_order("TSLA", "buy", quantity, entry_price="100", **EXITS)
    entry = f"{group.group_id}.entry.1"
    await desk.wait(entry, "accepted")
    broker.fill(entry, quantity, "100")
    await desk.wait_group(group.group, "protected")
    await asyncio.sleep(1)


async def sell_by_hand(broker: ScriptedBroker, name: str, quantity: int) -> None:
    """Sell past all desks, and wait until a poll has shown it."""
    broker.executions[name] = []
    broker.orders[name] = Snapshot(
        broker_order_id=f"B-{name}",
        wire_id=name,
        symbol="TSLA",
        side=Side.SELL,
        order_type=OrderType.LIMIT,
        status=Status.OPEN,
        order_quantity=Decimal(quantity),
        cumulative=Decimal(0),
        limit_price=Decimal(101),
        sequence=1,
    )
    await asyncio.sleep(20)
    broker.fill(name, quantity, "101")
    await asyncio.sleep(20)


def resting(broker: ScriptedBroker) -> dict[str, Decimal | None]:
    """Return the exits that work at the broker, by desk and role."""
    return {
        wire_id.partition("-")[2].replace("-g1", "").removesuffix(".1"): shown.order_quantity
        for wire_id, shown in broker.orders.items()
        if shown.status is Status.OPEN
    }


@virtual
async def test_a_position_sold_by_hand_leaves_no_exit_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it is sold past the desks: stop and target go, and nothing turns short (trap 57)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
        await sell_by_hand(broker, "ui-1", 3)
        [group] = await desks["alpha"].groups()
        assert resting(broker) == {}
        assert await desks.positions("main") == {"TSLA": 0}

    assert (group.is_closed, group.exited) == (True, 0)


@virtual
async def test_a_part_sold_by_hand_shrinks_what_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left stays protected (scenario 76)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        await sell_by_hand(broker, "ui-1", 2)
        assert resting(broker) == {"alpha.stop": 1, "alpha.target": 1}
        assert (await desks["alpha"].groups())[0].phase == "protected"


@virtual
async def test_what_one_desk_gives_up_the_next_one_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two desks hold 3 and 2, and 4 are sold by hand: the one that is left is protected (P6)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        await held(desks["beta"], broker, 2)
        await sell_by_hand(broker, "ui-1", 2)
        assert resting(broker) == {
            "alpha.stop": 1, "alpha.target": 1, "beta.stop": 2, "beta.target": 2,
        }  # fmt: skip
        await sell_by_hand(broker, "ui-2", 2)
        assert resting(broker) == {"beta.stop": 1, "beta.target": 1}


@virtual
async def test_a_start_tells_what_was_sold_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk that did not hear of it before the end hears of it at the next start."""
    broker, store = ScriptedBroker(), Store()
    async with opened(monkeypatch, broker, store) as desks:
        await held(desks["alpha"], broker, 3)
        desks["alpha"]._runner.word = lambda _said: None
        await sell_by_hand(broker, "ui-1", 3)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
    async with opened(monkeypatch, broker, store) as desks:
        await asyncio.sleep(20)
        assert resting(broker) == {}
        assert (await desks["alpha"].groups())[0].is_closed
