"""Desks that share an account of few requests a second, in virtual time and over the venue."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import LookupResult, Outcome, Report
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.budget import RateRules
from holdfast.engine.desk_parts import POLL_INTERVAL_MS, Account, Options, Parts
from holdfast.engine.views import OrderView
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import OpenOrders
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.faults import FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue
from holdfast.wiring import OrderManager

TSLA = Instrument.of("TSLA")
FREE = Settings(policies=Policies(limits=Limits.none()))


class Metered(PaperBroker):
    """A paper broker that notes when each request came, and what it was, in seconds."""

    def __init__(self, venue: Venue, **options: Any) -> None:
        super().__init__(venue, "paper", delays=LoopScheduler(), **options)
        self.requests: list[tuple[float, Effect | str]] = []

    def _note(self, request: Effect | str) -> None:
        self.requests.append((asyncio.get_running_loop().time(), request))

    async def submit(self, order: SubmitOrder) -> Outcome:
        self._note(order)
        return await super().submit(order)

    async def cancel(self, order: CancelOrder) -> Outcome:
        self._note(order)
        return await super().cancel(order)

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        self._note("batch")
        return await super().cancel_batch(orders)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        self._note(order)
        return await super().replace(order)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        self._note(order)
        return await super().lookup(order)

    async def poll(self) -> OpenOrders:
        self._note("poll")
        return await super().poll()

    def first_cancel(self, prefix: str) -> float:
        """Return when the first cancel of a desk came."""
        return next(
            at
            for at, request in self.requests
            if isinstance(request, CancelOrder) and request.wire_id.startswith(prefix)
        )

    def check_rate(self, per_second: int, burst: int) -> None:
        """No span of time holds more requests than a burst and the rate allow."""
        times = [at for at, _ in self.requests]
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                allowed = burst + per_second * (times[last] - start)
                assert last - first + 1 <= allowed + 1e-3, (start, times[last])


class Taciturn(Metered):
    """A broker whose stream gives no cumulative figures."""

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        def hear(report: Report) -> None:
            on_report(msgspec.structs.replace(report, cumulative=None))

        await super().listen(hear, on_gap)


@asynccontextmanager
async def sharing(
    broker: Metered, *names: str, per_second: int = 5, burst: int = 10
) -> AsyncIterator[list[OrderManager]]:
    """Open desks that share the broker's account, and let the first poll pass."""
    clock = virtual_clock()
    account = Account(
        broker,
        name="paper",
        ack_wait_ms=FREE.ack_wait_ms,
        poll_interval_ms=POLL_INTERVAL_MS,
        rate=RateRules(requests_per_second=per_second, burst=burst),
        clock=clock,
    )
    managers: list[OrderManager] = []
    async with AsyncExitStack() as stack:
        for number, name in enumerate(names, 1):
            options = Options(desk=name, instruments=[TSLA], settings=FREE, epoch=f"{number:012x}")
            parts = Parts(MemoryJournal(), account, options, clock, shared=True)
            await parts.open()
            managers.append(await stack.enter_async_context(OrderManager(parts)))
        account.start()
        stack.push_async_callback(account.close)
        await asyncio.sleep(10)
        yield managers
    await broker.aclose()


def venue() -> Venue:
    there = Venue()
    there.add_listing(TSLA)
    return there


async def place(om: OrderManager, count: int, first: int = 1) -> list[OrderView]:
    """Place so many orders to buy that rest, at once."""
    prices = [str(1 + Decimal(number) / 100) for number in range(first, first + count)]
    return [await om.place_limit_order("TSLA", "buy", 1, price) for price in prices]


def sent_twice(broker: Metered) -> list[str]:
    ids = Counter(order.wire_id for order in broker._venue.orders("paper"))
    return [wire_id for wire_id, times in ids.items() if times > 1]


@virtual
async def test_orders_faster_than_the_rate_all_arrive_once() -> None:
    """A hundred at once at five a second: all work in the end, each once (scenario 91)."""
    broker = Metered(venue())
    async with sharing(broker, "alpha") as (om,):
        await place(om, 100)
        await asyncio.sleep(25)
        orders = await om.orders()

    assert Counter(order.status for order in orders) == {Status.OPEN: 100}
    assert len(broker._venue.orders("paper", working=True)) == 100
    assert sent_twice(broker) == []
    broker.check_rate(5, 10)


@virtual
async def test_orders_whose_turn_does_not_come_are_not_sent_and_say_so() -> None:
    """More than the rate takes within their deadline: the rest never left (scenario 91)."""
    broker = Metered(venue())
    async with sharing(broker, "alpha") as (om,):
        begun = asyncio.get_running_loop().time()
        await place(om, 300)
        await asyncio.sleep(60)
        orders = await om.orders(limit=1_000)

    counts = Counter(order.status for order in orders)
    failed = [order for order in orders if order.status is Status.FAILED]
    assert counts.total() == 300
    # What the rate takes in the thirty seconds that an order may wait, less a few questions.
    assert 145 <= counts[Status.OPEN] <= 160
    assert counts[Status.OPEN] == len(broker._venue.orders("paper"))
    assert all(order.code == "NOT_SENT" for order in failed)
    assert all("its turn had not come" in order.text for order in failed)
    assert all("at most 5 requests a second, burst 10" in order.text for order in failed)
    last = max(at for at, request in broker.requests if isinstance(request, SubmitOrder))
    assert last - begun <= FREE.send_wait_ms / 1_000 + 0.01
    broker.check_rate(5, 10)


@virtual
async def test_cancels_and_exits_go_before_waiting_entries() -> None:
    """Behind a minute of entries a cancel and an exit leave within a second (scenario 91)."""
    there = venue()
    broker = Metered(there)
    async with sharing(broker, "alpha", per_second=2, burst=4) as (om,):
        there.crowd("TSLA").add("maker", -1, 5_000, 5)
        bought = await om.place_market_order("TSLA", "buy", 5)
        await om.wait(bought.client_order_id)
        (resting,) = await place(om, 1)
        await om.wait(resting.client_order_id, "accepted")
        await place(om, 200, first=2)
        await asyncio.sleep(5)
        asked = asyncio.get_running_loop().time()
        await om.cancel_order(resting.client_order_id)
        await om.place_limit_order("TSLA", "sell", 5, "90", reduce_only=True)
        await asyncio.sleep(2)

    left = [
        at - asked
        for at, request in broker.requests
        if at >= asked
        and (
            isinstance(request, CancelOrder)
            or (isinstance(request, SubmitOrder) and request.terms.reduce_only)
        )
    ]
    assert len(left) == 2
    assert max(left) < 1.0


@pytest.mark.parametrize(("per_second", "burst"), [(2, 1), (2, 4), (10, 20)])
def test_one_desk_at_its_limit_does_not_delay_anothers_cancel(per_second: int, burst: int) -> None:
    """The other's cancel leaves within a second, its entry in turn (scenario 104)."""

    @virtual
    async def case() -> None:
        broker = Metered(venue())
        rate = {"per_second": per_second, "burst": burst}
        async with sharing(broker, "alpha", "beta", **rate) as (alpha, beta):
            (mine,) = await place(beta, 1)
            await beta.wait(mine.client_order_id, "accepted")
            await place(alpha, 500, first=2)
            await asyncio.sleep(7.3)
            asked = asyncio.get_running_loop().time()
            await beta.cancel_order(mine.client_order_id)
            entry = await beta.place_limit_order("TSLA", "buy", 1, "90", wait="accepted")
            took = asyncio.get_running_loop().time() - asked
            names = {order.client_order_id for order in await beta.orders()}
        cancelled = broker.first_cancel("000000000002-beta-")

        assert cancelled - asked < 1.0
        assert took < 3.0
        assert names == {mine.client_order_id, entry.client_order_id}
        broker.check_rate(per_second, burst)

    case()


@virtual
async def test_questions_are_answered_while_entries_wait() -> None:
    """An order of unknown outcome is looked up, and polls go on, behind a flood (P9)."""
    broker = Metered(venue(), faults=FaultPlan({FaultKind.ERROR_AFTER_ACCEPT: 0.3}, seed=7))
    async with sharing(broker, "alpha", per_second=4, burst=4) as (om,):
        await place(om, 500)
        await asyncio.sleep(120)
        orders = await om.orders(limit=1_000)

    polls = [at for at, request in broker.requests if request == "poll"]
    gaps = [after - before for before, after in pairwise(polls)]
    assert max(gaps) < 25
    assert {order.status for order in orders} == {Status.OPEN, Status.FAILED}
    assert not any(order.asking for order in orders)
    broker.check_rate(4, 4)


@virtual
async def test_the_final_figures_of_a_mass_cancel_are_asked_for_one_by_one() -> None:
    """Five hundred ends without a figure: as many questions, at the rate, and no more (P3, P9)."""
    can = Capabilities(batch_cancel=True, lists_executions=False)
    broker = Taciturn(venue(), capabilities=can)
    async with sharing(broker, "alpha", per_second=20, burst=20) as (om,):
        await place(om, 500)
        await asyncio.sleep(60)
        await om.cancel_all_open_orders(timeout=20)
        await asyncio.sleep(120)
        orders = await om.orders(limit=1_000)

    asked = Counter(one.number for _, one in broker.requests if isinstance(one, LookupOrder))
    assert (len(asked), asked.total()) == (500, 500)
    assert {(order.status, order.asking) for order in orders} == {(Status.CANCELED, False)}
    broker.check_rate(20, 20)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_limits_everything_can_be_cancelled(seed: int, batch: bool) -> None:
    """With any rate, faults and 429s of two desks, cancels get out and books agree (P7, P2)."""

    @virtual
    async def case() -> None:
        draw = random.Random(seed)
        faults = FaultPlan(dict.fromkeys(FaultKind, 0.05), seed=seed)
        way = Latency(seed=seed, request_ns=20_000_000, answer_ns=20_000_000, report_ns=5_000_000)
        broker = Metered(
            venue(), faults=faults, latency=way, capabilities=Capabilities(batch_cancel=batch)
        )
        rate = {"per_second": draw.choice((2, 5, 20)), "burst": draw.choice((1, 5, 20))}
        async with sharing(broker, "alpha", "beta", **rate) as managers:
            for turn in range(20):
                om = draw.choice(managers)
                await place(om, draw.randint(1, 10), first=1 + 10 * turn)
                await asyncio.sleep(draw.random())
            sweeps = [om.cancel_all_open_orders(timeout=5) for om in managers]
            await asyncio.gather(*sweeps)
            faults.enabled = False
            await asyncio.sleep(180)
            for om in managers:
                await om.cancel_all_open_orders()
            await asyncio.sleep(180)
            left = [order for om in managers for order in await om.orders(finished=False)]

        assert left == []
        assert broker._venue.orders("paper", working=True) == []
        assert sent_twice(broker) == []
        broker.check_rate(**rate)

    case()
