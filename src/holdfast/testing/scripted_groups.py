"""Brackets at a scripted broker: they are placed, their entries trade, and what works is seen."""

import asyncio
from decimal import Decimal
from typing import Any, Final

from holdfast.domain.values import Status
from holdfast.engine.group_views import GroupView
from holdfast.engine.manager import Manager
from holdfast.testing.scripted import EPOCH, ScriptedBroker

SYMBOL: Final = "TSLA"
TERMS: Final[dict[str, Any]] = {
    "entry_price": "100",
    "stop_loss_price": "95",
    "take_profit_price": "110",
}
# The entry of the first group of a desk named main.
ENTRY: Final = f"{EPOCH}-main-g1.entry.1"


async def buy(manager: Manager, broker: ScriptedBroker, quantity: int = 10) -> None:
    """Hold so many units, bought at 100, that no group looks after."""
    order = await manager.place_market_order(SYMBOL, "buy", quantity, wait="accepted")
    broker.fill(order.wire_id, quantity, "100")
    await manager.wait(order.client_order_id)


async def place(manager: Manager, **terms: Any) -> GroupView:
    """Place a bracket over three units, on `TERMS` but for these; the broker took its entry."""
    group = await manager.place_bracket_order(SYMBOL, "buy", 3, **(TERMS | terms))
    await manager.wait(f"{group.group_id}.entry.1", "accepted")
    return group


async def enter(
    manager: Manager, broker: ScriptedBroker, filled: int = 3, **terms: Any
) -> GroupView:
    """Place a bracket as `place` does, and let so much of its entry trade at 100."""
    group = await place(manager, **terms)
    broker.fill(f"{group.group_id}.entry.1", filled, "100")
    return group


async def protect(
    manager: Manager, broker: ScriptedBroker, filled: int = 3, **terms: Any
) -> GroupView:
    """Enter a bracket as `enter` does, and see that what it holds is protected."""
    group = await enter(manager, broker, filled, **terms)
    guarded = await manager.wait_group(group.group, "protected")
    await asyncio.sleep(1)
    return guarded


def working(broker: ScriptedBroker) -> dict[str, Decimal | None]:
    """Return what works at the broker: quantities by the end of the wire id, oldest first."""
    return {
        wire_id.rpartition("-")[2]: shown.order_quantity
        for wire_id, shown in broker.orders.items()
        if shown.status in {Status.OPEN, Status.PARTIAL_FILL}
    }
