import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder
from holdfast.domain.policies import Policies, StaleRules
from holdfast.domain.reports import Accepted, NotSent, RefusalCode, Refused, Unknown
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.budget import RateRules
from holdfast.engine.desk_parts import Options
from holdfast.engine.desks import AccountPlan, OpenDesks
from holdfast.engine.link import BATCH_CANCEL_MAX
from holdfast.engine.manager import Manager
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import (
    INSTRUMENTS,
    Batch,
    Hang,
    Raise,
    ScriptedBroker,
    Step,
    open_desk,
)
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager

BATCHES = Capabilities(batch_cancel=True)
STALE = Settings(policies=Policies(stale=StaleRules(after_ms=60_000)))


@asynccontextmanager
async def resting(
    broker: ScriptedBroker, count: int = 3, settings: Settings | None = None
) -> AsyncIterator[OrderManager]:
    """Open a desk with so many orders that rest at different prices."""
    async with open_desk(broker, settings=settings or Settings()) as om:
        await asyncio.sleep(5)
        for number in range(count):
            await om.place_limit_order("TSLA", "buy", 1, str(100 + number), wait="accepted")
        yield om


def batches(broker: ScriptedBroker) -> list[list[int]]:
    return [[effect.number for effect in batch] for batch in broker.batches]


def singles(broker: ScriptedBroker) -> list[tuple[int, int]]:
    """Return number and attempt of the cancels that were sent alone."""
    return [(call.number, call.attempt) for call in broker.sent(CancelOrder)]


@virtual
async def test_stale_orders_leave_in_one_call() -> None:
    """Three orders that waited too long are cancelled in one call of the broker (scenario 18)."""
    broker = ScriptedBroker(BATCHES)
    async with resting(broker, settings=STALE) as om:
        await asyncio.sleep(70)
        orders = await om.orders()

    assert batches(broker) == [[1, 2, 3]]
    assert singles(broker) == []
    assert {order.status for order in orders} == {Status.CANCELED}


@virtual
async def test_a_sweep_of_one_order_is_a_plain_cancel() -> None:
    """There is nothing to share a call with: it is cancelled once, alone (scenario 17)."""
    broker = ScriptedBroker(BATCHES)
    async with resting(broker, 1) as om:
        await om.cancel_all_open_orders()

    assert (batches(broker), singles(broker)) == ([], [(1, 1)])


@pytest.mark.parametrize(
    "step",
    [
        Raise(OSError("connection reset")),
        Raise(OSError("connection reset"), carried_out=True),
        Hang(carried_out=False),
        Hang(),
    ],
)
def test_a_batch_that_fails_is_followed_by_single_cancels(step: Raise | Hang) -> None:
    """It raises or stays silent, carried out or not: each is cancelled alone (scenario 19)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker(BATCHES)
        broker.script("cancel_batch", step)
        async with resting(broker) as om:
            results = await om.cancel_all_open_orders()

        assert batches(broker) == [[1, 2, 3]]
        if not step.carried_out:
            assert sorted(singles(broker)) == [(1, 2), (2, 2), (3, 2)]
        assert [result.outcome for result in results] == ["canceled"] * 3

    case()


@virtual
async def test_a_mixed_answer_counts_for_each_order() -> None:
    """Only what the broker confirmed is cancelled; the rest stays active (scenario 20, 44)."""
    broker = ScriptedBroker(BATCHES)
    refused = Refused(text="in an auction", code=RefusalCode.OTHER)
    broker.script("cancel_batch", Batch(None, refused, None))
    async with resting(broker) as om:
        results = await om.cancel_all_open_orders()
        orders = await om.orders(finished=False)

    assert [result.outcome for result in results] == ["canceled", "failed", "canceled"]
    assert [order.client_order_id for order in orders] == [results[1].client_order_id]


@virtual
async def test_stale_orders_that_a_batch_refused_are_tried_again() -> None:
    """What a batch did not cancel is still too old, and is cancelled again later (scenario 20)."""
    broker = ScriptedBroker(BATCHES)
    broker.script("cancel_batch", Batch(None, Refused(text="not now"), None))
    async with resting(broker, settings=STALE) as om:
        await asyncio.sleep(200)
        orders = await om.orders()

    assert {order.status for order in orders} == {Status.CANCELED}
    assert [number for number, _ in singles(broker)] == [2]


@pytest.mark.parametrize(
    ("answer", "alone"),
    [
        (Batch(None), [2, 3]),  # fewer answers than orders
        (Batch(None, Unknown(text="?"), None), [2]),
        (Batch(None, NotSent(text="429", retry_after_ms=1_000), None), [2]),
        (Batch(), [1, 2, 3]),
    ],
)
def test_orders_that_an_answer_leaves_open_are_cancelled_alone(
    answer: Step, alone: list[int]
) -> None:
    """No answer, an unknown one, or not sent: these alone are sent again (scenario 20)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker(BATCHES)
        broker.script("cancel_batch", answer)
        async with resting(broker) as om:
            results = await om.cancel_all_open_orders()

        assert [result.outcome for result in results] == ["canceled"] * 3
        assert sorted(singles(broker)) == [(number, 2) for number in alone]

    case()


@pytest.mark.parametrize("answers", [[Accepted(final=True)] * 4, None, "yes", [None, 1, "x"]])
def test_an_answer_that_fits_no_orders_proves_nothing(answers: object) -> None:
    """More answers than orders, or no answers at all: nobody is taken for cancelled (trap 64)."""

    class Confused(ScriptedBroker):
        async def cancel_batch(self, orders: object) -> Any:
            return answers

    @virtual
    async def case() -> None:
        broker = Confused(BATCHES)
        async with resting(broker) as om:
            results = await om.cancel_all_open_orders()

        assert sorted(singles(broker)) == [(1, 2), (2, 2), (3, 2)]
        assert [result.outcome for result in results] == ["canceled"] * 3

    case()


@virtual
async def test_calls_hold_a_bounded_number_of_orders() -> None:
    """A sweep of more orders than a call may hold takes as many calls as it needs (P9)."""
    broker = ScriptedBroker(BATCHES)
    async with resting(broker, BATCH_CANCEL_MAX + 5) as om:
        results = await om.cancel_all_open_orders()

    assert [len(batch) for batch in broker.batches] == [BATCH_CANCEL_MAX, 5]
    assert {result.outcome for result in results} == {"canceled"}


@pytest.mark.parametrize("capabilities", [BATCHES, Capabilities()])
@pytest.mark.parametrize("count", [1, 3, BATCH_CANCEL_MAX + 5])
def test_after_a_sweep_the_account_is_listed_once(capabilities: Capabilities, count: int) -> None:
    """With and without batches, one poll follows when all were answered (scenario 25)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker(capabilities)
        async with resting(broker, count) as om:
            before = broker.polls
            await om.cancel_all_open_orders()
            await asyncio.sleep(3)
            after = broker.polls
            await asyncio.sleep(3)
            later = broker.polls

        assert (after - before, later - after) == (1, 0)

    case()


@virtual
async def test_the_account_is_listed_after_the_last_answer_of_a_sweep() -> None:
    """While one cancel has no answer there is no poll; then there is (scenario 25)."""
    broker = ScriptedBroker()
    broker.script("cancel", Hang())
    async with resting(broker) as om:
        before = broker.polls
        sweep = asyncio.create_task(om.cancel_all_open_orders())
        await asyncio.sleep(4.9)
        meanwhile = broker.polls - before
        await asyncio.sleep(1)
        after = broker.polls - before
        await sweep

    assert (meanwhile, after) == (0, 1)


@virtual
async def test_without_the_capability_each_order_has_its_own_call() -> None:
    """A broker that cannot cancel in batches is never asked to (scenario 43)."""
    broker = ScriptedBroker()
    async with resting(broker, 25) as om:
        results = await om.cancel_all_open_orders()

    assert (batches(broker), len(singles(broker))) == ([], 25)
    assert [result.outcome for result in results] == ["canceled"] * 25


@virtual
async def test_a_batch_that_only_waited_for_its_turn_stays_together() -> None:
    """Under a rate limit the first call that leaves still cancels all orders (scenario 18, 91)."""
    broker = ScriptedBroker(BATCHES)
    plan = AccountPlan(
        name="paper",
        broker=broker,
        desks=(
            Options(
                account="paper", instruments=INSTRUMENTS, settings=Settings(send_wait_ms=600_000)
            ),
        ),
        poll_interval_ms=15_000,
        rate=RateRules(requests_per_second=Decimal("0.1"), burst=1),
        unclaimed=False,
    )
    desks = OpenDesks(MemoryJournal(), Manager, virtual_clock())
    await desks.add(plan)
    om = desks["main"]
    placing = [
        om.place_limit_order("TSLA", "buy", 1, str(100 + n), wait="accepted", timeout=300)
        for n in range(3)
    ]
    await asyncio.gather(*placing)
    began = asyncio.get_running_loop().time()
    results = await om.cancel_all_open_orders(timeout=300)
    took = asyncio.get_running_loop().time() - began

    assert [result.outcome for result in results] == ["canceled"] * 3
    assert (batches(broker), singles(broker)) == ([[1, 2, 3]], [])
    assert 5 < took <= 21
    await desks.shutdown(timeout=0)
