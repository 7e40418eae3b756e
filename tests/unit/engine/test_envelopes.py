"""Limit orders from a reference price, through the whole manager: what callers get and what not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D

import pytest

from holdfast.domain.effects import SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Offsets, Policies, Pricing
from holdfast.domain.reports import NotSent, RefusalCode, Refused
from holdfast.domain.settings import Settings
from holdfast.domain.values import Side, Status
from holdfast.errors import (
    AmountError,
    OrderRefused,
    OrderSubmissionError,
    UnsupportedOrderTypeError,
)
from holdfast.testing.scripted import Hang, ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager

ROBINHOOD = Policies(
    profile="limit_only",
    pricing=Pricing(
        strategies={
            "fixed": Offsets(offset_mode="absolute", sell_offset=D("0.04")),
            "wide": Offsets(offset_mode="absolute", sell_offset=D("0.08")),
            "reckless": Offsets(buy_offset=D(500)),
        }
    ),
)


@asynccontextmanager
async def equities(broker: ScriptedBroker) -> AsyncIterator[OrderManager]:
    """Open a desk that takes limit orders of shares alone."""
    async with OrderManager.open(
        journal="memory://",
        broker=broker,
        instruments=[Instrument.of("TSLA", tick="0.01")],
        settings=Settings(policies=ROBINHOOD),
        clock=virtual_clock(),
    ) as manager:
        yield manager


@virtual
async def test_a_purchase_comes_back_in_an_envelope_with_the_brokers_id() -> None:
    """Its price is 15 basis points below the reference, and it says how it was sent (36)."""
    broker = ScriptedBroker()
    async with equities(broker) as manager:
        placed = await manager.place_limit_buy("TSLA", 50, "250.30", strategy="momentum")
        known = await manager.order(placed.client_order_id)

    (sent,) = broker.sent(SubmitOrder)
    assert sent.terms.limit_price == placed.limit_price == D("249.93")
    assert (placed.symbol, placed.side, placed.quantity) == ("TSLA", Side.BUY, 50)
    assert (placed.reference_price, placed.strategy) == (D("250.30"), "momentum")
    assert (placed.execution_mode, placed.status) == ("paper", Status.OPEN)
    assert placed.broker_order_id == known.broker_order_id != ""
    assert placed.submitted_at == "2026-01-05T14:30:00.000000000Z"


@virtual
async def test_a_sale_has_its_strategys_own_offset() -> None:
    """Four cents above the reference, eight for the strategy that says so (37)."""
    broker = ScriptedBroker()
    async with equities(broker) as manager:
        prices = [
            (await manager.place_limit_sell("TSLA", 50, "252.10", strategy=name)).limit_price
            for name in ("fixed", "wide")
        ]

    assert prices == [D("252.14"), D("252.18")]


@virtual
async def test_what_the_price_rules_refuse_never_reaches_the_broker() -> None:
    """Past the slippage guard, or without a positive price: an error, and no call (38, 39, 40)."""
    broker = ScriptedBroker()
    async with equities(broker) as manager:
        with pytest.raises(OrderRefused, match="slippage") as refused:
            await manager.place_limit_buy("TSLA", 50, "250.30", strategy="reckless")
        with pytest.raises(AmountError, match="reference"):
            await manager.place_limit_buy("TSLA", 50, 0)
        with pytest.raises(AmountError, match="quantity"):
            await manager.place_limit_buy("TSLA", "1.5", "250.30")
        orders = await manager.orders()

    assert refused.value.code == "SLIPPAGE"
    assert (orders, broker.sent(SubmitOrder)) == ([], [])


@virtual
async def test_other_order_types_are_refused_with_what_to_use() -> None:
    """A market or stop order under the limits-only profile: unsupported, with guidance (41)."""
    broker = ScriptedBroker()
    async with equities(broker) as manager:
        with pytest.raises(UnsupportedOrderTypeError, match="place_limit_buy"):
            await manager.place_market_order("TSLA", "buy", 50)
        with pytest.raises(UnsupportedOrderTypeError, match="place_limit_sell"):
            await manager.place_stop_order("TSLA", "sell", 50, "240")

    assert broker.sent(SubmitOrder) == []


@virtual
async def test_a_caller_who_repeats_at_once_gets_the_first_order() -> None:
    """The same symbol, side and price while the first is pending: one order, one call (P2)."""
    broker = ScriptedBroker()
    async with equities(broker) as manager:
        first = await manager.place_limit_buy("TSLA", 50, "250.30")
        again = await manager.place_limit_buy("TSLA", 50, "250.30")

    assert again.client_order_id == first.client_order_id
    assert len(broker.sent(SubmitOrder)) == 1


@virtual
async def test_a_refusal_of_the_broker_is_an_error_with_its_reason() -> None:
    """Not enough money: the caller learns why, and nothing is tried again (31)."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="not enough", code=RefusalCode.INSUFFICIENT_FUNDS))
    async with equities(broker) as manager:
        with pytest.raises(OrderSubmissionError, match="not enough") as refused:
            await manager.place_limit_buy("TSLA", 50, "250.30")
        state = await manager.guard()

    assert refused.value.code == "insufficient_funds"
    assert (state.breaker, state.breaker_reason) == ("open", "INSUFFICIENT_FUNDS")
    assert len(broker.sent(SubmitOrder)) == 1


@virtual
async def test_an_order_that_could_not_be_sent_says_so_after_its_repeats() -> None:
    """Three repeats under one wire id, then an error; the caller may place it anew (32)."""
    broker = ScriptedBroker()
    broker.script("submit", *[NotSent(text="429: slow down")] * 4)
    async with equities(broker) as manager:
        with pytest.raises(OrderSubmissionError, match="429: slow down") as failed:
            await manager.place_limit_buy("TSLA", 50, "250.30")
        again = await manager.place_limit_buy("TSLA", 50, "250.30")

    sent = broker.sent(SubmitOrder)
    assert failed.value.code == "NOT_SENT"
    assert len({each.wire_id for each in sent[:4]}) == 1
    assert again.status is Status.OPEN


@virtual
async def test_an_order_whose_answer_was_lost_is_still_returned() -> None:
    """The answer never comes; the broker is asked, and the caller gets the order it has (29)."""
    broker = ScriptedBroker()
    broker.script("submit", Hang())
    async with equities(broker) as manager:
        placed = await manager.place_limit_buy("TSLA", 50, "250.30", timeout=60)

    assert placed.status is Status.OPEN
    assert len(broker.sent(SubmitOrder)) == 1
