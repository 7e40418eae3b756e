import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.domain.effects import LookupOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import LookupResult, NotSent, Outcome, RefusalCode
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.views import OrderView
from holdfast.errors import OrderRefused
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.builders import DeskDriver
from holdfast.testing.scripted import EPOCH
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.paper import Venue
from holdfast.wiring import OrderManager

TSLA = Instrument.of("TSLA")
RETRIES = Settings().retries_max


class Observed(PaperBroker):
    """A paper broker that notes each call, and when, in seconds."""

    def __init__(self, script: Sequence[Fault]) -> None:
        self.venue = Venue()
        self.venue.add_listing(TSLA)
        super().__init__(
            self.venue, "paper", faults=FaultPlan(script=script), delays=LoopScheduler()
        )
        self.calls: list[tuple[float, SubmitOrder | LookupOrder]] = []

    async def submit(self, order: SubmitOrder) -> Outcome:
        self.calls.append((asyncio.get_running_loop().time(), order))
        return await super().submit(order)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        self.calls.append((asyncio.get_running_loop().time(), order))
        return await super().lookup(order)

    @property
    def submits(self) -> list[SubmitOrder]:
        return [call for _, call in self.calls if isinstance(call, SubmitOrder)]

    @property
    def submits_at(self) -> list[float]:
        return [at for at, call in self.calls if isinstance(call, SubmitOrder)]


@asynccontextmanager
async def trading(broker: Observed) -> AsyncIterator[OrderManager]:
    opened = OrderManager.open(
        journal=MemoryJournal(),
        broker=broker,
        instruments=[TSLA],
        clock=virtual_clock(),
        epoch=EPOCH,
    )
    async with opened as om:
        yield om


async def ended(om: OrderManager) -> OrderView:
    """Submit an order and wait until it works or failed."""
    order = await om.place_limit_order("TSLA", "buy", 1, "100")
    watched = await om.wait(
        order.client_order_id, lambda seen: seen.status is not Status.NEW, timeout=120
    )
    assert watched is not None
    return watched


def not_sent(*nths: int, retry_after_ms: int = 0) -> list[Fault]:
    return [
        Fault(kind=FaultKind.NOT_SENT, face="submit", nth=nth, retry_after_ms=retry_after_ms)
        for nth in nths
    ]


@virtual
async def test_a_rate_limited_submit_is_repeated_no_sooner_than_asked() -> None:
    """429 with Retry-After: the same wire id once more, after that time (scenario 32)."""
    broker = Observed(not_sent(1, retry_after_ms=3_000))
    async with trading(broker) as om:
        order = await ended(om)

    first, second = broker.submits_at
    assert order.status is Status.OPEN
    assert 3.0 <= second - first < 3.5
    assert len({call.wire_id for call in broker.submits}) == 1


@virtual
async def test_repeats_are_bounded_and_the_last_is_not_waited_for() -> None:
    """So many repeats with growing waits, then FAILED at once (scenario 32)."""
    broker = Observed(not_sent(*range(1, 20)))
    async with trading(broker) as om:
        order = await ended(om)
        over = asyncio.get_running_loop().time()

    waits = [after - before for before, after in pairwise(broker.submits_at)]
    assert (order.status, len(broker.submits)) == (Status.FAILED, RETRIES + 1)
    assert len({call.wire_id for call in broker.submits}) == 1
    assert all(0.37 * 2**n <= wait <= 0.51 * 2**n for n, wait in enumerate(waits))
    assert over - broker.submits_at[-1] < 0.1
    assert broker.venue.orders("paper") == []


@virtual
async def test_the_waits_are_the_same_each_time_and_differ_between_orders() -> None:
    """Jitter is a function of the order and the attempt, not of chance (scenario 32, P8)."""

    async def waits() -> list[list[int]]:
        broker = Observed(not_sent(*range(1, 20)))
        async with trading(broker) as om:
            await ended(om)
            await ended(om)
        at = broker.submits_at
        return [[round(1e3 * (b - a)) for a, b in pairwise(at[n : n + 4])] for n in (0, 4)]

    first, again = await waits(), await waits()

    assert first == again
    assert first[0] != first[1]


@virtual
async def test_a_server_error_is_looked_up_before_anything_else() -> None:
    """5xx after the order was taken: it is found, and nothing is sent again (scenario 32, 29)."""
    broker = Observed(
        [
            Fault(kind=FaultKind.ERROR_AFTER_ACCEPT, face="submit", nth=1),
            Fault(kind=FaultKind.REPORT_LOST, face="report", nth=1),
        ]
    )
    async with trading(broker) as om:
        order = await ended(om)

    assert [type(call) for _, call in broker.calls] == [SubmitOrder, LookupOrder]
    assert order.status is Status.OPEN
    assert len(broker.venue.orders("paper")) == 1


@virtual
async def test_a_lost_submit_is_sent_again_only_when_proven_absent() -> None:
    """Never arrived: asked for first, then sent again with the same wire id (scenario 30, 32)."""
    broker = Observed([Fault(kind=FaultKind.TIMEOUT_BEFORE_ACCEPT, face="submit", nth=1)])
    async with trading(broker) as om:
        order = await ended(om)

    kinds = [type(call) for _, call in broker.calls]
    assert kinds[0] is SubmitOrder
    assert kinds[1] is LookupOrder
    assert kinds.count(SubmitOrder) == 2
    assert len({call.wire_id for call in broker.submits}) == 1
    assert order.status is Status.OPEN
    assert len(broker.venue.orders("paper")) == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (RefusalCode.INSUFFICIENT_FUNDS, "403: insufficient buying power"),
        (RefusalCode.OTHER, "422: limit price out of range"),
        (RefusalCode.OTHER, "401: unauthorized"),
    ],
)
def test_a_refused_order_is_not_sent_again(code: RefusalCode, text: str) -> None:
    """Insufficient funds and 4xx: REJECTED with the reason, no repeat (scenario 31)."""

    @virtual
    async def case() -> None:
        fault = Fault(kind=FaultKind.REFUSED, face="submit", nth=1, code=code, text=text)
        broker = Observed([fault])
        async with trading(broker) as om:
            order = await ended(om)
            await asyncio.sleep(60)

        assert (order.status, len(broker.submits)) == (Status.REJECTED, 1)
        assert text in order.text

    case()


@virtual
async def test_insufficient_funds_stop_further_entries() -> None:
    """The breaker hears of it: the next entry is refused before any call (scenario 31)."""
    fault = Fault(kind=FaultKind.REFUSED, face="submit", nth=1, code=RefusalCode.INSUFFICIENT_FUNDS)
    broker = Observed([fault])
    async with trading(broker) as om:
        await ended(om)
        with pytest.raises(OrderRefused, match=r"(?i)breaker"):
            await om.place_limit_order("TSLA", "buy", 1, "100")

    assert len(broker.submits) == 1


def test_waiting_for_a_turn_is_no_repeat() -> None:
    """An order that lined up often is sent at once each time, and may still be repeated (P9)."""
    desk = DeskDriver()
    desk.submit()
    sent = len(desk.effects)
    for _ in range(2 * RETRIES):
        desk.answer(NotSent(text="its turn had not come", waited=True))
    at_once = desk.effects[sent:]
    for _ in range(RETRIES):
        desk.answer(NotSent(text="429"))
        desk.advance(5_000)
    repeated = desk.order().status
    desk.answer(NotSent(text="429"))

    assert [type(effect) for effect in at_once] == [SubmitOrder] * 2 * RETRIES
    assert (repeated, desk.order().status) == (Status.NEW, Status.FAILED)
    assert desk.desk.guard.breaker.failures == RETRIES


def test_waiting_for_a_turn_ends_with_the_time_to_be_sent() -> None:
    """Past its `not_after` an order that still waits fails, and says what it waited for."""
    desk = DeskDriver()
    desk.submit()
    desk.now_ns += Settings().send_wait_ms * 1_000_000
    desk.answer(NotSent(text="its turn had not come", waited=True))

    assert (desk.order().status, desk.order().code) == (Status.FAILED, "NOT_SENT")
    assert desk.order().text == "no time left to wait for its turn: its turn had not come"
