"""What groups are asked for by, and what is answered where that names none."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import group_book
from holdfast.domain.events import GroupReduced, HeldElsewhere
from holdfast.domain.inputs import SeenElsewhere
from holdfast.engine.group_views import GroupView
from holdfast.errors import InputError, OrderStatusError
from holdfast.journal.codec import decode
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.scripted_groups import protect
from holdfast.testing.world import virtual


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("group", (f"{EPOCH}-main-g{'9' * 5000}",), "5019 characters"),
        ("group", (2.5,), "2.5, a float"),
        ("groups", {"limit": "5"}, "limit is '5'"),
        ("groups", {"limit": True}, "limit is True"),
        ("groups", {"strategy": 5}, "strategy is 5"),
        ("cancel_position_orders", {"symbol": "TSLA", "kinds": 3}, "kinds is 3"),
        ("cancel_position_orders", {"symbol": "TSLA", "kinds": [[]]}, r"kinds has \[\]"),
        ("wait_group", (1, ["closed"]), r"until is \['closed'\]"),
    ],
)
@virtual
async def test_what_is_no_name_and_no_count_is_refused_in_words(
    method: str, given: Any, said: str
) -> None:
    """A caller's mistake is an `InputError` that names what was found."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protect(manager, broker)
        ask = getattr(manager, method)
        with pytest.raises(InputError, match=said):
            await (ask(**given) if isinstance(given, dict) else ask(*given))


@virtual
async def test_a_group_that_left_memory_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left, and the message says where it can be seen."""
    monkeypatch.setattr(group_book, "CLOSED_MAX", 0)
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protect(manager, broker)
        broker.fill(f"{EPOCH}-main-g1.stop.1", 3, "95")
        await asyncio.sleep(5)
        with pytest.raises(OrderStatusError, match=r"left memory.*`group\(1\)` reads it"):
            await manager.close_group(1, by="ann", reason="news")
        with pytest.raises(OrderStatusError, match="no group 2"):
            await manager.close_group(2, by="ann", reason="news")


@virtual
async def test_what_others_closed_of_a_group_is_news_of_it() -> None:
    """Who listens to groups hears that one owes less; what an account holds is no group's news."""
    broker = ScriptedBroker()
    heard: list[Decimal | None] = []

    async def listen(view: GroupView) -> None:
        heard.append(view.owed)

    async with open_desk(broker) as manager:
        await protect(manager, broker)
        manager.on_group(listen)
        sale = await manager.place_market_order("TSLA", "sell", 1, wait="accepted")
        broker.fill(sale.wire_id, 1, "101")
        await asyncio.sleep(1)
        manager._runner.word(SeenElsewhere(symbol="TSLA", quantity=Decimal(-1)))
        await asyncio.sleep(1)
        records = [decode(record) for record in manager._journal.records("main")]

    told = [each for each in records if isinstance(each, GroupReduced | HeldElsewhere)]
    assert [type(each) for each in told] == [GroupReduced, HeldElsewhere]
    assert heard == [2]
