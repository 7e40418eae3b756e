"""From a signal to an order: what is returned, and what is never made up."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.effects import SubmitOrder
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import RefusalCode, Refused, Unknown
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.testing.scripted import Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual, virtual_clock
from holdfast.trading.execute import execute_trade, result_of
from holdfast.trading.strategy import Signal

MARKET = Signal(symbol="TSLA", action="buy", quantity=10)
LIMIT = Signal(symbol="TSLA", action="sell", quantity=5, order_type="limit", limit_price="250")


def limited(**limits: Any) -> Settings:
    return Settings(policies=Policies(limits=Limits(**limits)))


@virtual
async def test_a_market_order_that_fills_is_a_success_at_the_brokers_price() -> None:
    """Quantity and price are those of the execution."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        manager.on_order(lambda order: None)

        async def filling(order: object) -> None:
            if broker.orders and not any(broker.executions.values()):
                broker.fill(next(iter(broker.orders)), 10, "249.5")

        manager.on_order(filling)
        result = await execute_trade(manager, MARKET, strategy="alpha")

    assert (result.success, result.status, result.error) == (True, "filled", "")
    assert result.order is not None
    assert (result.filled_quantity, result.order.average_price) == (Decimal(10), Decimal("249.5"))
    assert result.order.strategy == "alpha"


@virtual
async def test_a_market_order_that_is_not_filled_in_time_stays_pending() -> None:
    """No price is invented, nothing is booked, and the order lives on (scenario 54)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        began = virtual_clock().boot_ns()
        result = await execute_trade(manager, MARKET, wait_s=3)
        waited = virtual_clock().boot_ns() - began
        positions = await manager.positions()
        (order,) = await manager.orders(finished=False)

        assert (result.success, result.status, result.filled_quantity) == (True, "pending", 0)
        assert result.order == order
        assert order.average_price == 0
        assert waited >= 3_000_000_000
        assert all(not held.quantity for held in positions.values())
        broker.fill(order.wire_id, 10, "251")
        filled = await manager.wait(order.client_order_id)
        assert result_of(MARKET, filled).status == "filled"


@virtual
async def test_a_limit_order_is_pending_as_soon_as_the_broker_has_it() -> None:
    """Nobody waits for a resting order to fill (scenario 49)."""
    async with open_desk(ScriptedBroker()) as manager:
        began = virtual_clock().boot_ns()
        result = await execute_trade(manager, LIMIT)

        assert (result.success, result.status) == (True, "pending")
        assert result.order is not None
        assert (result.order.status, result.order.limit_price) == (Status.OPEN, Decimal(250))
        assert virtual_clock().boot_ns() - began < 1_000_000_000


@virtual
async def test_a_brokers_refusal_is_a_failure_without_a_trade() -> None:
    """Code and text are the broker's, and nothing is held (scenario 53)."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="no money", code=RefusalCode.INSUFFICIENT_FUNDS))
    async with open_desk(broker) as manager:
        result = await execute_trade(manager, MARKET)

        assert (result.success, result.status) == (False, "rejected")
        assert result.code == RefusalCode.INSUFFICIENT_FUNDS
        assert "no money" in result.error
        assert not await manager.executions()
        assert all(not held.quantity for held in (await manager.positions()).values())


@virtual
async def test_a_limit_of_the_desk_is_a_failure_with_its_code() -> None:
    """Nothing reaches the broker."""
    broker = ScriptedBroker()
    async with open_desk(broker, settings=limited(order_quantity_max=Decimal(3))) as manager:
        result = await execute_trade(manager, LIMIT)

    assert (result.success, result.status, result.code) == (False, "refused", "ORDER_QUANTITY")
    assert result.order is None
    assert not broker.sent(SubmitOrder)


@pytest.mark.parametrize(
    ("signal", "code"),
    [
        (Signal(symbol="NONE", action="buy", quantity=1), "UNKNOWN_SYMBOL"),
        (Signal(symbol="TSLA", action="buy", quantity="0.5"), "INVALID_AMOUNT"),
        (
            Signal(
                symbol="TSLA", action="buy", quantity=1, order_type="limit", limit_price="1.001"
            ),
            "INVALID_AMOUNT",
        ),
        (
            Signal(symbol="TSLA", action="buy", quantity=1, time_in_force="soon"),
            "UNSUPPORTED_ORDER_TYPE",
        ),
    ],
)
def test_an_order_that_is_not_possible_is_invalid(signal: Signal, code: str) -> None:
    """Unknown symbols, steps and words are the signal's fault, and nothing is sent."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            result = await execute_trade(manager, signal)
        assert (result.success, result.status, result.code) == (False, "invalid", code)
        assert not broker.calls

    case()


@virtual
async def test_an_order_of_unknown_outcome_is_pending() -> None:
    """Whether it reached the broker nobody knows yet: it may be live, so it is no failure."""
    broker = ScriptedBroker()
    broker.script("submit", Hang())
    async with open_desk(broker) as manager:
        result = await execute_trade(manager, LIMIT, wait_s=1)

        assert (result.success, result.status) == (True, "pending")
        assert result.order is not None
        assert result.order.status is Status.NEW


@virtual
async def test_an_immediate_order_that_ends_without_a_fill_is_no_success() -> None:
    """It ended; nothing was traded, and the result says so."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:

        async def ending(order: object) -> None:
            await manager.cancel_order(next(iter(broker.orders)))

        subscription = manager.on_order(ending)
        result = await execute_trade(manager, MARKET)
        subscription.close()

    assert (result.success, result.status, result.code) == (False, "unfilled", "CANCELED")


@virtual
async def test_a_signal_given_twice_under_one_key_is_one_order() -> None:
    """The key makes a repeated decision harmless (scenario 35)."""
    broker = ScriptedBroker()
    keyed = Signal(
        symbol="TSLA", action="buy", quantity=1, order_type="limit", limit_price=9, key="k"
    )
    async with open_desk(broker) as manager:
        first = await execute_trade(manager, keyed)
        second = await execute_trade(manager, keyed)

    assert first.order is not None
    assert second.order is not None
    assert first.order.number == second.order.number
    assert len(broker.sent(SubmitOrder)) == 1


@virtual
async def test_a_manager_that_is_shut_down_fails_the_signal() -> None:
    """A result is returned whatever happens, with the code of the reason."""
    async with open_desk(ScriptedBroker()) as manager:
        await manager.shutdown()
        result = await execute_trade(manager, MARKET)
    assert (result.success, result.status, result.code) == (False, "failed", "CLOSED")


@virtual
async def test_an_unknown_answer_that_turns_out_well_is_pending_meanwhile() -> None:
    """A timeout at the broker ends no wait with a wrong word (scenario 29)."""
    broker = ScriptedBroker()
    broker.script("submit", Unknown(text="504"))
    async with open_desk(broker) as manager:
        result = await execute_trade(manager, LIMIT, wait_s=60)
        assert (result.success, result.status) == (True, "pending")
        assert len(broker.sent(SubmitOrder)) == 1
