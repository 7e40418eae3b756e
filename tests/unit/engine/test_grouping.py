"""Groups through the manager: placing, protecting, closing and refusing them."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.effects import SubmitOrder
from holdfast.domain.group import Phase
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import Side, Status
from holdfast.engine.group_views import GroupMember, GroupView
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    OrderRefused,
    OrderStatusError,
    OrderSubmissionError,
    WaitTimeout,
)
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.scripted_groups import ENTRY, TERMS, buy, protect, working
from holdfast.testing.world import virtual


def prices(group: GroupView) -> tuple[Decimal | None, Decimal | None]:
    """Return the wanted prices of a stop and a target."""
    assert group.stop is not None
    assert group.target is not None
    return group.stop.stop_price, group.target.limit_price


def entry_of(group: GroupView) -> GroupMember:
    """Return a group's entry."""
    assert group.entry is not None
    return group.entry


@virtual
async def test_a_bracket_is_protected_from_its_first_fill_on() -> None:
    """The call returns durable; the stop and the target grow with what the entry fills (62)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        placed = await manager.place_bracket_order(
            "TSLA", "buy", 3, client_order_id="mine", **TERMS
        )
        await manager.wait("mine", "accepted")
        broker.fill(ENTRY, 1, "100")
        part = await manager.wait_group(placed.group, "protected")
        broker.fill(ENTRY, 2, "100")
        whole = await manager.wait_group("mine", lambda view: view.covered == 3)
        await asyncio.sleep(0.1)
        assert working(broker) == {"g1.stop.1": 3, "g1.target.1": 3}

    assert (placed.group, placed.group_id, placed.phase) == (1, f"{EPOCH}-main-g1", Phase.ENTERING)
    assert (placed.side, placed.quantity, placed.owed) == (Side.BUY, 3, 0)
    assert prices(placed) == (95, 110)
    assert (part.entered, part.owed, part.covered) == (1, 1, 1)
    assert (whole.entered, whole.owed, whole.phase) == (3, 3, Phase.PROTECTED)
    assert [each.role for each in whole.members] == ["entry", "stop", "target"]
    assert entry_of(whole).client_order_id == "mine"


@virtual
async def test_a_bracket_may_be_waited_for_in_the_same_call() -> None:
    """`wait` returns at the first fill, once protected, or once closed (scenario 66)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        call = asyncio.create_task(
            manager.place_bracket_order("TSLA", "sell", 2, stop_loss_price="105", wait="protected")
        )
        await asyncio.sleep(1)
        assert not call.done()
        broker.fill(ENTRY, 2, "100")
        group = await call
        assert (await manager.wait_group(group.group, "entered")).entered == 2

    assert (group.contingency, group.side, group.covered) == ("oto", Side.SELL, 2)
    assert entry_of(group).limit_price is None


@virtual
async def test_the_same_name_again_is_the_same_bracket() -> None:
    """A repeated call returns the first group and sends nothing; other terms conflict (5, 35)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        names: dict[str, Any] = {"client_order_id": "mine", "idempotency_key": "key"}
        first = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, **names)
        again = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, **names)
        with pytest.raises(IdempotencyConflict):
            await manager.place_bracket_order(
                "TSLA", "buy", 3, entry_price="100", stop_loss_price="94", **names
            )
        await asyncio.sleep(1)

    assert again.group == first.group == 1
    assert len(broker.sent(SubmitOrder)) == 1


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"stop_loss_price": "101"}, "stop_loss_price must be below entry_price"),
        ({"take_profit_price": "100.001"}, "entry_price must be below take_profit_price"),
        ({"entry_timeout": -1}, "entry_timeout is -1"),
        ({"entry_timeout": 1e300}, "0 for never"),
        ({"wait": "accepted"}, "durable, entered, protected, closed"),
        ({"timeout": None}, "timeout is None"),
        ({"entry_type": "stop"}, "entry_type is 'stop'"),
        ({"idempotency_key": 7}, "idempotency_key is 7"),
        ({"strategy": None}, "strategy is None"),
    ],
)
@virtual
async def test_a_bracket_that_cannot_be_is_refused_whole(
    terms: dict[str, Any], message: str
) -> None:
    """Nothing is recorded or sent; prices are compared on the tick (scenarios 60, 61)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        with pytest.raises(InputError, match=message):
            await manager.place_bracket_order("TSLA", "buy", 3, **{**TERMS, **terms})
        assert await manager.groups() == []
        assert await manager.orders() == []
    assert broker.calls == []


@virtual
async def test_an_entry_that_is_refused_ends_the_wait() -> None:
    """Whoever waits learns why, and the group closes without exits."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="no margin", code=RefusalCode.OTHER))
    async with open_desk(broker) as manager:
        with pytest.raises(OrderSubmissionError, match="no margin"):
            await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, wait="protected")
        [group] = await manager.groups()

    assert group.is_closed
    assert [each.role for each in group.members] == ["entry"]


@virtual
async def test_an_entry_that_takes_too_long_is_cancelled() -> None:
    """After its own time; nothing filled, so no exit is placed (scenario 64)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, entry_timeout=2.5)
        with pytest.raises(OrderStatusError, match="will not be entered"):
            await manager.wait_group(group.group, "entered")
        closed = await manager.wait_group(group.group)

    assert entry_of(closed).status is Status.CANCELED
    assert len(broker.sent(SubmitOrder)) == 1
    assert 2_500_000_000 <= closed.updated_ns - closed.opened_ns < 4_000_000_000


@virtual
async def test_of_a_pair_one_trades_and_the_other_goes() -> None:
    """The target fills, the stop is cancelled, the group closes (scenario 67)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await buy(manager, broker)
        group = await manager.place_oco_order(
            "TSLA", "sell", 10, limit_price="110", stop_price="95", idempotency_key="key"
        )
        again = await manager.place_oco_order(
            "TSLA", "sell", 10, limit_price="110", stop_price="95", idempotency_key="key"
        )
        await asyncio.sleep(1)
        broker.fill(f"{group.group_id}.target.1", 10, "110")
        closed = await manager.wait_group(group.group)
        assert working(broker) == {}

    assert (again.group, group.side, group.idempotency_key) == (group.group, Side.SELL, "key")
    assert (closed.exited, closed.excess) == (10, 0)
    assert closed.of("stop")[0].status is Status.CANCELED


@virtual
async def test_closing_a_position_goes_on_until_it_is_closed() -> None:
    """A part by a limit order, the rest at the market; who and why is in the history."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await buy(manager, broker)
        part = await manager.close_position("TSLA", quantity=4, method="limit", limit_price="101")
        await asyncio.sleep(1)
        assert working(broker) == {"g1.exit.1": 4}
        broker.fill(f"{part.group_id}.exit.1", 4, "101")
        await manager.wait_group(part.group)
        with pytest.raises(WaitTimeout, match="close it with"):
            await manager.close_position("TSLA", by="ann", reason="out", wait="closed", timeout=1)
        broker.fill(f"{EPOCH}-main-g2.exit.1", 6, "99")
        closed = await manager.wait_group(2)
        assert (await manager.positions())["TSLA"].quantity == 0
        with pytest.raises(InputError, match="no position"):
            await manager.close_position("TSLA")

    assert (closed.exited, closed.contingency) == (6, "close")
    assert (closed.history[0].by, closed.history[0].phase) == ("ann", "flattening")


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"method": "limit"}, "limit_price is missing"),
        ({"limit_price": "99"}, "limit_price is given"),
        ({"method": "stop"}, "market or limit"),
        ({"wait": "protected"}, "durable, closed"),
    ],
)
@virtual
async def test_a_close_that_contradicts_itself_is_refused(
    terms: dict[str, Any], message: str
) -> None:
    """Nothing is recorded."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await buy(manager, broker)
        with pytest.raises(InputError, match=message):
            await manager.close_position("TSLA", **terms)
        assert await manager.groups() == []


@virtual
async def test_a_position_is_protected_by_a_stop_that_moves_and_a_target() -> None:
    """One group follows the position; asked again its stop moves; the wrong side is refused."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await buy(manager, broker)
        with pytest.raises(InputError, match="must be below"):
            await manager.add_stop_loss("TSLA", "105")
        first = await manager.add_stop_loss("TSLA", "95", by="ann")
        await manager.wait_group(first.group, "protected")
        second = await manager.add_stop_loss("TSLA", "97")
        third = await manager.add_take_profit("TSLA", "120")
        await asyncio.sleep(1)
        shown = broker.orders[f"{first.group_id}.stop.1"]
        assert working(broker) == {"g1.stop.1": 10, "g1.target.1": 10}

    assert first.group == second.group == third.group
    assert (first.quantity, first.owed, shown.stop_price) == (None, 10, 97)
    assert prices(third) == (97, 120)


@virtual
async def test_only_the_kinds_that_are_named_are_cancelled() -> None:
    """The targets of a symbol go and are not placed again; each result is told (scenario 77)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protect(manager, broker)
        with pytest.raises(InputError, match="kinds has 'legs'"):
            await manager.cancel_position_orders("TSLA", kinds=["legs"])
        [result] = await manager.cancel_position_orders("TSLA", kinds=("target",), by="ann")
        await asyncio.sleep(30)
        [group] = await manager.groups()
        assert working(broker) == {"g1.stop.1": 3}

    assert (result.outcome, result.client_order_id) == ("canceled", f"{EPOCH}-main-g1.target.1")
    assert (group.target, group.phase) == (None, Phase.PROTECTED)


@virtual
async def test_a_group_is_closed_under_any_of_its_names() -> None:
    """By the id of its stop: stop and target go first, then what it holds is closed once."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        held = await protect(manager, broker)
        stop = held.of("stop")[0].client_order_id
        closing = await manager.close_group(stop, by="ann", reason="news")
        await asyncio.sleep(1)
        assert working(broker) == {"g1.exit.1": 3}
        broker.fill(f"{EPOCH}-main-g1.exit.1", 3, "99")
        closed = await manager.wait_group(held.group_id)
        assert await manager.wait_group(held.group, "protected") == closed
        with pytest.raises(OrderStatusError, match="no group 9"):
            await manager.close_group(9, by="ann", reason="news")
        with pytest.raises(OrderStatusError, match="no group 'other'"):
            await manager.close_group("other", by="ann", reason="news")
        with pytest.raises(InputError, match="reason"):
            await manager.close_group(1, by="ann", reason="")

    assert (closing.phase, closing.reason) == (Phase.FLATTENING, "ann: news")
    assert (closed.exited, closed.owed, closed.history[-1].phase) == (3, 0, Phase.CLOSED)


@virtual
async def test_opposing_groups_are_refused() -> None:
    """The code names it, and nothing was taken."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        with pytest.raises(OrderRefused) as caught:
            await manager.place_bracket_order("TSLA", "sell", 3, stop_loss_price="105")
        assert len(await manager.groups()) == 1

    assert caught.value.code == "GROUP_OPPOSES"
