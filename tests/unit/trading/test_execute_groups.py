"""From a signal to a bracket, and out of a position that groups protect."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Refused
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.desk_parts import Options
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, INSTRUMENTS, Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual, virtual_clock
from holdfast.trading.execute import TradeResult, execute_trade
from holdfast.trading.strategy import Signal
from holdfast.wiring import OrderManager

D = Decimal


def signal(**fields: Any) -> Signal:
    given: dict[str, Any] = {"symbol": "TSLA", "action": "buy", "quantity": 10} | fields
    return Signal(**given)


BRACKET = signal(
    order_type="limit", limit_price="250", stop_loss_price="240", take_profit_price="270", key="one"
)
OUT = signal(action="sell", reduce_only=True)


async def held(broker: ScriptedBroker, manager: OrderManager, given: Signal = BRACKET) -> int:
    """Buy by a bracket, and return its number once it is protected."""
    result = await execute_trade(manager, given, strategy="alpha")
    assert result.group is not None
    assert result.order is not None
    broker.fill(result.order.wire_id, 10, "250")
    await manager.wait_group(result.group.group, "protected")
    return result.group.group


def filling(broker: ScriptedBroker, manager: OrderManager, role: str, price: str = "249") -> None:
    """Let the broker trade each order of a role as soon as it works."""

    async def fill(_order: object) -> None:
        for wire, shown in list(broker.orders.items()):
            if f".{role}." in wire and shown.status is Status.OPEN:
                broker.fill(wire, shown.order_quantity, price)

    manager.on_order(fill)


@virtual
async def test_a_signal_with_exits_becomes_a_bracket() -> None:
    """It is pending once the entry works; what that fills is protected (scenario 62)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        result = await execute_trade(manager, BRACKET, strategy="alpha")

        assert (result.success, result.status) == (True, "pending")
        assert result.order is not None
        assert result.group is not None
        assert (result.order.status, result.order.limit_price) == (Status.OPEN, D(250))
        assert (result.group.contingency, result.group.strategy) == ("bracket", "alpha")
        broker.fill(result.order.wire_id, 4, "250")
        group = await manager.wait_group(result.group.group, "protected")

    assert (group.owed, group.covered) == (4, 4)
    assert group.stop is not None
    assert group.target is not None
    assert (group.stop.stop_price, group.target.limit_price) == (D(240), D(270))


@virtual
async def test_a_market_entry_is_waited_for_and_its_stop_may_follow_the_market() -> None:
    """The result has the price of the entry's execution; the group has the trail (scenario 66)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        filling(broker, manager, "entry", "251")
        result = await execute_trade(manager, signal(trail="5"))

    assert (result.success, result.status, result.filled_quantity) == (True, "filled", 10)
    assert result.order is not None
    assert result.order.average_price == D(251)
    assert result.group is not None
    assert (result.group.contingency, result.group.entered) == ("oto", 10)
    assert result.group.stop is not None
    assert result.group.stop.trail == 5


@virtual
async def test_a_bracket_given_twice_under_one_key_is_one_bracket() -> None:
    """The second signal has the first one's group and entry (scenario 35)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        first = await execute_trade(manager, BRACKET)
        second = await execute_trade(manager, BRACKET)
        others = signal(order_type="limit", limit_price="250", stop_loss_price="239", key="one")
        third = await execute_trade(manager, others)

    assert first.group is not None
    assert second.group is not None
    assert first.group.group == second.group.group == 1
    assert len(broker.sent(SubmitOrder)) == 1
    assert (third.status, third.code) == ("invalid", "IDEMPOTENCY_CONFLICT")


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (signal(stop_loss_price="240", quantity=11), "refused", "ORDER_QUANTITY"),
        (
            signal(order_type="limit", limit_price="250", stop_loss_price="250.001"),
            "invalid",
            "INVALID_INPUT",
        ),
        (signal(stop_loss_price="270", take_profit_price="240"), "invalid", "INVALID_INPUT"),
    ],
)
def test_a_bracket_that_cannot_be_is_refused_whole(given: Signal, status: str, code: str) -> None:
    """Limits hold for the entry, prices are compared on the tick; nothing is sent (scenario 61)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        limits = Limits(order_quantity_max=D(10))
        async with open_desk(
            broker, settings=Settings(policies=Policies(limits=limits))
        ) as manager:
            result = await execute_trade(manager, given)
            assert not await manager.groups()
        assert (result.success, result.status, result.code) == (False, status, code)
        assert not broker.calls

    case()


@virtual
async def test_an_entry_that_the_broker_refuses_is_rejected() -> None:
    """The result has its words, and the group closes without exits."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="no money"))
    async with open_desk(broker) as manager:
        result = await execute_trade(manager, BRACKET)
        assert result.group is not None
        group = await manager.wait_group(result.group.group)

    assert (result.success, result.status) == (False, "rejected")
    assert "no money" in result.error
    assert [each.role for each in group.members] == ["entry"]


@virtual
async def test_a_way_out_at_the_market_gets_its_room_from_the_bracket() -> None:
    """All of it is closed once, the exits go, and the bracket is written off (scenario 77)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        bracket = await held(broker, manager)
        filling(broker, manager, "exit")
        result = await execute_trade(manager, OUT, strategy="alpha")
        await manager.wait_group(bracket)

        assert (result.success, result.status, result.filled_quantity) == (True, "filled", 10)
        assert result.group is not None
        assert (result.group.contingency, result.group.strategy) == ("close", "alpha")
        assert result.order is not None
        assert result.order.average_price == D(249)
        assert (await manager.positions())["TSLA"].quantity == 0
        assert not await manager.orders(finished=False)
        assert (await manager.guard()).refusals == {}


@virtual
async def test_a_part_is_sold_by_a_limit_beside_the_exits_of_the_rest() -> None:
    """It rests, and the exits shrink for what it trades; nobody waits for that (scenario 76)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        bracket = await held(broker, manager)
        began = virtual_clock().boot_ns()
        part = signal(
            action="sell", quantity=4, order_type="limit", limit_price="260", reduce_only=True
        )
        result = await execute_trade(manager, part)

        assert (result.success, result.status, result.filled_quantity) == (True, "pending", 0)
        assert virtual_clock().boot_ns() - began < 5_000_000_000
        assert result.order is not None
        assert (result.order.status, result.order.limit_price) == (Status.OPEN, D(260))
        assert (await manager.group(bracket)).covered == 10
        broker.fill(result.order.wire_id, 4, "260")
        group = await manager.wait_group(bracket, lambda now: now.covered == 6)

    assert (group.owed, group.phase) == (6, "protected")


@virtual
async def test_what_is_closed_already_is_not_closed_again() -> None:
    """While a close is under way the next one is refused, and one under its key is the same."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await held(broker, manager)
        keyed = signal(action="sell", reduce_only=True, key="out")
        first = await execute_trade(manager, keyed, wait_s=1)
        again = await execute_trade(manager, keyed, wait_s=1)
        other = await execute_trade(manager, OUT, wait_s=1)
        assert first.group is not None
        assert again.group is not None
        broker.fill(f"{EPOCH}-main-g{first.group.group}.exit.1", 10, "249")
        await manager.wait_group(first.group.group)
        later = await execute_trade(manager, keyed, wait_s=1)

    assert first.group.group == again.group.group
    assert (first.status, again.status) == ("pending", "pending")
    assert (other.status, other.code) == ("refused", "REDUCE_ONLY_EXCEEDED")
    assert (later.status, later.filled_quantity) == ("filled", 10)
    assert len([sent for sent in broker.sent(SubmitOrder) if ".exit." in sent.wire_id]) == 1


@virtual
async def test_a_key_of_before_the_bracket_is_still_the_first_order() -> None:
    """A plain exit that is repeated while a group is open makes no second one (scenario 35)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        bought = await execute_trade(manager, signal(order_type="limit", limit_price="250"))
        assert bought.order is not None
        broker.fill(bought.order.wire_id, 10, "250")
        await manager.wait(bought.order.client_order_id)
        keyed = signal(
            action="sell", order_type="limit", limit_price="270", reduce_only=True, key="k"
        )
        first = await execute_trade(manager, keyed)
        await held(broker, manager)
        second = await execute_trade(manager, keyed)

    assert first.order is not None
    assert second.order is not None
    assert first.order.number == second.order.number


@pytest.mark.parametrize(
    "given",
    [
        signal(action="buy", reduce_only=True),
        signal(
            action="sell",
            order_type="limit",
            limit_price="260",
            time_in_force="ioc",
            reduce_only=True,
        ),
        signal(action="sell", quantity=11, reduce_only=True),
    ],
)
def test_what_does_not_close_or_finds_no_room_is_refused(given: Signal) -> None:
    """The wrong side, an immediate limit order, more than is held: the exits stand (P6)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            bracket = await held(broker, manager)
            result = await execute_trade(manager, given)
            group = await manager.group(bracket)

        assert (result.status, result.code) == ("refused", "REDUCE_ONLY_EXCEEDED")
        assert (group.owed, group.covered) == (10, 10)

    case()


@virtual
async def test_a_way_out_that_the_stop_overtakes_closes_nothing() -> None:
    """The stop sold it first: the signal ends without a fill, and says why."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        bracket = await held(broker, manager)
        stop = f"{EPOCH}-main-g{bracket}.stop.1"
        broker.script("cancel", *[Hang(carried_out=False)] * 4)
        broker.script("replace", *[Hang(carried_out=False)] * 4)

        async def traded(_group: object) -> None:
            if broker.orders[stop].status is Status.OPEN and len(await manager.groups()) > 1:
                broker.fill(stop, 10, "240")

        manager.on_group(traded)
        result = await execute_trade(manager, OUT, wait_s=60)
        assert (await manager.positions())["TSLA"].quantity == 0

    assert isinstance(result, TradeResult)
    assert (result.success, result.status, result.code) == (False, "unfilled", "NOTHING_CLOSED")
    assert "closed nothing" in result.error


@virtual
async def test_a_broker_that_lets_nothing_rest_beside_a_stop_says_so() -> None:
    """A limit exit in the place of the stop is invalid, and the stop stands (scenario 107)."""
    broker = ScriptedBroker(Capabilities(exits_share_quantity=False))
    async with open_desk(broker) as manager:
        entry = signal(order_type="limit", limit_price="250", stop_loss_price="240")
        bracket = await held(broker, manager, entry)
        out = signal(action="sell", order_type="limit", limit_price="260", reduce_only=True)
        result = await execute_trade(manager, out)

        assert (result.status, result.code) == ("invalid", "UNSUPPORTED_ORDER_TYPE")
        assert (await manager.group(bracket)).covered == 10


def test_without_a_journal_only_the_way_out_is_left(tmp_path: Path) -> None:
    """No bracket is taken; an exit goes out past the journal once it has room (87, P7)."""

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        folder = Options(
            instruments=INSTRUMENTS, epoch=EPOCH, emergency_path=tmp_path / "emergency.jsonl"
        )
        manager = await OrderManager.start(
            journal=journal, broker=broker, clock=virtual_clock(), options=folder
        )
        await held(broker, manager)
        await asyncio.sleep(1)
        journal.fail_at(manager._runner.durable_seq + 1, recoveries_refused=1_000)

        entry = await execute_trade(manager, signal(stop_loss_price="240"))
        full = await execute_trade(manager, OUT)
        await manager.cancel_position_orders("TSLA", kinds=("stop", "target"))
        await asyncio.sleep(0.1)
        out = await execute_trade(manager, OUT)
        await manager.shutdown()

        assert (entry.success, entry.status) == (False, "failed")
        assert (full.status, full.code) == ("refused", "EXIT_EXCEEDS_POSITION")
        assert (out.success, out.status, out.error) == (True, "pending", "")
        assert out.group is not None
        assert (out.group.group, out.group.owed) == (0, 10)

    case()


def test_a_bracket_is_found_by_its_key_after_its_entry_left_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The entry is the one that filled, and there is no second one (scenario 96)."""
    monkeypatch.setattr("holdfast.domain.desk.ARCHIVE_SLACK", 1)
    monkeypatch.setattr("holdfast.engine.turns.ARCHIVE_SLACK", 1)

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker, settings=Settings(finished_orders_max=1)) as manager:
            bracket = await held(broker, manager)
            broker.fill(f"{EPOCH}-main-g{bracket}.target.1", 10, "270")
            await manager.wait_group(bracket)
            for price in range(100, 106):
                other = signal(symbol="BTC-USD", quantity=1, order_type="limit", limit_price=price)
                result = await execute_trade(manager, other)
                assert result.order is not None
                broker.fill(result.order.wire_id, 1, price)
                await asyncio.sleep(1)
            assert manager._runner.desk.order(1) is None
            again = await execute_trade(manager, BRACKET, strategy="alpha")

        assert again.order is not None
        assert (again.status, again.order.number, again.filled_quantity) == ("filled", 1, 10)
        assert len([one for one in broker.sent(SubmitOrder) if ".entry." in one.wire_id]) == 1

    case()
