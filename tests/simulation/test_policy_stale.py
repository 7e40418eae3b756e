"""Entries that wait too long, on the paper venue: both books after each scenario, and the journal.

Orders rest at prices that nobody reaches; an entry may wait a minute, messages take 20 ms a way.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any, Final, TypeVar

import pytest

from holdfast.brokers.dry_run import DryRunBroker
from holdfast.brokers.paper import PaperBroker
from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies, StaleRules
from holdfast.domain.reports import LookupResult, Outcome, RefusalCode
from holdfast.domain.settings import Settings
from holdfast.domain.values import Condition, Status
from holdfast.engine.views import OrderView
from holdfast.errors import OrderRefused, OrderStatusError
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.ports import OpenOrders
from holdfast.testing.scripted import open_desk
from holdfast.testing.world import LoopScheduler, virtual
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue
from holdfast.wiring import OrderManager

_Event = TypeVar("_Event")

TSLA: Final = Instrument.of("TSLA")
MINUTE_MS: Final = 60_000
WAY: Final = Latency(request_ns=20_000_000, answer_ns=20_000_000, report_ns=5_000_000)
BATCHES: Final = Capabilities(batch_cancel=True)
SINGLES: Final = Capabilities()


class Watched(PaperBroker):
    """A paper broker that counts its calls, and raises where a test says so."""

    def __init__(self, venue: Venue, **options: Any) -> None:
        super().__init__(venue, "paper", delays=LoopScheduler(), latency=WAY, **options)
        self.calls: Counter[str] = Counter()
        self.batches: list[list[int]] = []
        self.broken: Counter[str] = Counter()  # how many calls of a kind raise from now on

    def _note(self, face: str) -> None:
        self.calls[face] += 1
        if self.broken[face] > 0:
            self.broken[face] -= 1
            raise ConnectionResetError(f"{face}: connection reset")

    async def submit(self, order: SubmitOrder) -> Outcome:
        self._note("submit")
        return await super().submit(order)

    async def cancel(self, order: CancelOrder) -> Outcome:
        self._note("cancel")
        return await super().cancel(order)

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        self.batches.append([order.number for order in orders])
        self._note("batch")
        return await super().cancel_batch(orders)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        self._note("lookup")
        return await super().lookup(order)

    async def poll(self) -> OpenOrders:
        self._note("poll")
        return await super().poll()


class Stage:
    """A venue without a crowd, the broker to it, and the journal of the desk there."""

    def __init__(self, *script: Fault, capabilities: Capabilities = SINGLES) -> None:
        self.venue = Venue()
        self.crowd = self.venue.add_listing(TSLA)
        self.faults = FaultPlan(script=script)
        self.capabilities = capabilities
        self.store = Store()
        self.connect()

    def connect(self) -> None:
        """Make the broker, anew where the desk that it served is gone."""
        self.broker = Watched(self.venue, capabilities=self.capabilities, faults=self.faults)

    @asynccontextmanager
    async def desk(
        self, *, after_ms: int = MINUTE_MS, limits: Limits | None = None, **options: Any
    ) -> AsyncIterator[OrderManager]:
        """Open the desk; its entries may wait so long."""
        policies = Policies(
            stale=StaleRules(
                after_ms=after_ms, strategies={"fast": 30_000}, abandon_after_ms=10_000
            ),
            limits=limits or Limits.none(),
        )
        self.store.owned = False
        journal = MemoryJournal(self.store)
        settings = Settings(policies=policies)
        async with open_desk(
            self.broker, journal, instruments=[TSLA], settings=settings, **options
        ) as manager:
            await asyncio.sleep(5)
            yield manager
        await self.broker.aclose()

    def events(self, kind: type[_Event]) -> list[_Event]:
        """Return the journaled events of a kind."""
        decoded = map(decode, self.store.records["main"])
        return [event for event in decoded if isinstance(event, kind)]

    @property
    def theirs(self) -> list[Status]:
        """How the account's orders stand at the venue, in the order of our numbers."""
        orders = {int(each.wire_id.split("-")[2]): each for each in self.venue.orders("paper")}
        return [orders[number].status for number in sorted(orders)]


def every(kind: FaultKind, face: str, passes: Iterable[int], **terms: Any) -> list[Fault]:
    return [Fault(kind=kind, face=face, nth=nth, **terms) for nth in passes]


async def rest(manager: OrderManager, count: int = 1, **terms: Any) -> list[OrderView]:
    """Place so many buys that rest, at once and each at its own price."""
    orders = [
        await manager.place_limit_order("TSLA", "buy", 10, str(100 + n), **terms)
        for n in range(count)
    ]
    return [await manager.wait(order.client_order_id, "accepted") for order in orders]


async def until(happened: Callable[[], object]) -> None:
    """Wait for something for two minutes at most."""
    for _ in range(12_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within two minutes")


async def ours(manager: OrderManager) -> list[Status]:
    return [each.status for each in sorted(await manager.orders(), key=lambda o: o.number)]


@virtual
async def test_in_a_dry_run_no_broker_is_called_for_a_stale_order() -> None:
    """Neither the hourly look nor one by hand cancels anything (scenario 14)."""

    class Dry(DryRunBroker):
        cancels = 0

        async def cancel(self, order: CancelOrder) -> Outcome:
            self.cancels += 1
            return await super().cancel(order)

    broker = Dry(lambda _symbol: None)
    settings = Settings(policies=Policies(stale=StaleRules(after_ms=1_000)))
    async with open_desk(broker, settings=settings) as manager:
        (order,) = await rest(manager)
        await asyncio.sleep(3_600)
        managed = await manager.manage_open_orders(by="ann")
        order = await manager.order(order.client_order_id)

    assert (managed, broker.cancels, order.status) == ([], 0, Status.OPEN)


@pytest.mark.parametrize("after_ms", [0, -1])
def test_zero_or_less_leaves_every_order_alone(after_ms: int) -> None:
    """It rests for hours, at the venue as here, beside a strategy with a limit (scenario 15)."""
    left = [Status.OPEN, Status.CANCELED]

    @virtual
    async def case() -> None:
        stage = Stage()
        async with stage.desk(after_ms=after_ms) as manager:
            await rest(manager)
            await rest(manager, strategy="fast")
            await asyncio.sleep(7_200)
            managed = await manager.manage_open_orders(by="ann")
            mine = await ours(manager)

        assert (managed, mine, stage.theirs) == ([], left, left)
        assert stage.broker.calls["cancel"] == 1
        assert [event.numbers for event in stage.events(e.OrdersSwept)] == [(2,)]

    case()


@virtual
async def test_orders_within_their_time_are_not_cancelled() -> None:
    """At fifty-nine seconds of sixty nothing is asked of the broker (scenario 16)."""
    stage = Stage(capabilities=BATCHES)
    async with stage.desk() as manager:
        await rest(manager, 3)
        await asyncio.sleep(58.8)
        managed = await manager.manage_open_orders(by="ann")
        mine = await ours(manager)

    assert managed == []
    assert mine == stage.theirs == [Status.OPEN] * 3
    assert stage.broker.calls["cancel"] + stage.broker.calls["batch"] == 0


@virtual
async def test_a_stale_order_is_cancelled_once_and_its_reason_kept() -> None:
    """One cancel, confirmed by the venue; the journal tells the reason and the age (17)."""
    stage = Stage()
    async with stage.desk() as manager:
        (order,) = await rest(manager)
        await asyncio.sleep(62)
        order = await manager.order(order.client_order_id)
        await asyncio.sleep(120)

    assert (order.status, stage.theirs) == (Status.CANCELED, [Status.CANCELED])
    assert stage.broker.calls["cancel"] == 1
    (swept,) = stage.events(e.OrdersSwept)
    assert (swept.reason, swept.by, swept.numbers) == ("stale", "holdfast", (1,))
    (wanted,) = stage.events(e.CancelRequested)
    age_s = float(wanted.reason.removeprefix("stale: ").removesuffix(" s"))
    assert 60 <= age_s < 61.2
    assert [event.number for event in stage.events(e.OrderCanceled)] == [1]


@virtual
async def test_three_stale_orders_leave_in_one_call() -> None:
    """The venue hears one batch of three and no single cancel (scenario 18)."""
    stage = Stage(capabilities=BATCHES)
    async with stage.desk() as manager:
        await rest(manager, 3)
        await asyncio.sleep(65)
        mine = await ours(manager)

    assert mine == stage.theirs == [Status.CANCELED] * 3
    assert (stage.broker.batches, stage.broker.calls["cancel"]) == ([[1, 2, 3]], 0)


@pytest.mark.parametrize("raises", [True, False])
def test_after_a_batch_that_fails_each_order_is_cancelled_alone(raises: bool) -> None:
    """Whether the call raises or is lost on its way, three single cancels follow (19)."""

    @virtual
    async def case() -> None:
        lost = Fault(kind=FaultKind.TIMEOUT_BEFORE_ACCEPT, face="cancel_batch", nth=1)
        stage = Stage(*() if raises else (lost,), capabilities=BATCHES)
        stage.broker.broken["batch"] = int(raises)
        async with stage.desk() as manager:
            await rest(manager, 3)
            await asyncio.sleep(64)
            meanwhile = stage.theirs
            await asyncio.sleep(20)
            mine = await ours(manager)

        assert meanwhile == [Status.CANCELED if raises else Status.OPEN] * 3
        assert mine == stage.theirs == [Status.CANCELED] * 3
        assert (stage.broker.batches, stage.broker.calls["cancel"]) == ([[1, 2, 3]], 3)

    case()


@virtual
async def test_of_a_mixed_batch_only_the_successes_are_cancelled() -> None:
    """The refused one works on at the venue and here, and is tried again later (scenario 20)."""
    refused = Fault(kind=FaultKind.REFUSED, face="cancel", nth=2, text="in an auction")
    stage = Stage(refused, capabilities=BATCHES)
    async with stage.desk() as manager:
        await rest(manager, 3)
        await until(lambda: stage.broker.batches)
        await asyncio.sleep(0.2)
        first, theirs = await ours(manager), stage.theirs
        working = await manager.orders(finished=False)
        await asyncio.sleep(60)
        last = await ours(manager)

    assert first == theirs == [Status.CANCELED, Status.OPEN, Status.CANCELED]
    assert [(each.number, each.refusal) for each in working] == [(2, "in an auction")]
    assert last == stage.theirs == [Status.CANCELED] * 3
    assert (stage.broker.batches, stage.broker.calls["cancel"]) == ([[1, 2, 3]], 1)


@virtual
async def test_an_order_whose_cancels_all_fail_stays_until_the_broker_confirms() -> None:
    """Its place is free once abandoned; its money is not, and it is cancelled on (21)."""
    lost = every(FaultKind.TIMEOUT_BEFORE_ACCEPT, "cancel", range(1, 6))
    stage = Stage(*lost)
    limits = Limits(open_orders_max=1, capital=D(2_500), buying_power=False)
    async with stage.desk(limits=limits) as manager:
        (stale,) = await rest(manager, strategy="slow")
        with pytest.raises(OrderRefused, match="OPEN_ORDERS"):
            await rest(manager)
        await asyncio.sleep(75)
        stale = await manager.order(stale.client_order_id)
        theirs = stage.theirs
        with pytest.raises(OrderRefused, match=r"BUYING_POWER.* free=1500"):
            await manager.place_limit_order("TSLA", "buy", 16, "100")
        (other,) = await rest(manager)
        await manager.cancel_order(other.client_order_id)
        await asyncio.sleep(120)
        (last, *_) = await ours(manager)

    assert (stale.status, stale.condition) == (Status.OPEN, Condition.ABANDONED)
    assert theirs == [Status.OPEN]
    assert (last, stage.theirs) == (Status.CANCELED, [Status.CANCELED] * 2)
    assert stage.faults.injected[FaultKind.TIMEOUT_BEFORE_ACCEPT] == len(lost)
    assert len(stage.events(e.WishUnknown)) == len(lost)


@virtual
async def test_a_cancel_that_comes_too_late_reads_the_fills() -> None:
    """It was filled and nobody heard: the refused cancel leads to its fills (scenario 22)."""
    stage = Stage(*every(FaultKind.REPORT_LOST, "report", range(2, 9)))
    async with stage.desk(poll_interval_ms=3_600_000) as manager:
        (order,) = await rest(manager)
        stage.crowd.take(-1, 10)
        before = await manager.order(order.client_order_id)
        await asyncio.sleep(65)
        order = await manager.order(order.client_order_id)
        held = (await manager.positions())["TSLA"].quantity

    assert (before.status, order.status) == (Status.OPEN, Status.FILLED)
    assert (order.filled_quantity, order.average_price) == (10, 100)
    assert held == stage.venue.positions("paper")["TSLA"] == 10
    assert stage.broker.calls["cancel"] == 1


@virtual
async def test_a_cancel_of_a_not_found_order_without_an_answer_is_unknown() -> None:
    """Not found and no usable lookup: nobody takes it for cancelled, it is asked for (22)."""
    code = RefusalCode.UNKNOWN_ORDER
    missing = every(FaultKind.REFUSED, "cancel", range(1, 7), code=code, text="404")
    blind = every(FaultKind.LOOKUP_INCOMPLETE, "lookup", range(1, 4))
    stage = Stage(*missing, *blind)
    async with stage.desk(poll_interval_ms=3_600_000) as manager:
        (order,) = await rest(manager)
        await asyncio.sleep(62)
        unknown = await manager.order(order.client_order_id)
        await asyncio.sleep(180)
        order = await manager.order(order.client_order_id)

    assert (unknown.status, unknown.asking) == (Status.OPEN, True)
    assert stage.broker.calls["lookup"] > len(blind)
    assert (order.status, stage.theirs) == (Status.CANCELED, [Status.CANCELED])


@virtual
async def test_a_stale_order_without_a_broker_id_is_looked_up_and_not_cancelled() -> None:
    """Lost on its way and absent, it ends FAILED: no cancel, no second submit (23)."""
    stage = Stage(Fault(kind=FaultKind.TIMEOUT_BEFORE_ACCEPT, face="submit", nth=1))
    async with stage.desk(after_ms=7_000) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 10, "100")
        await asyncio.sleep(60)
        order = await manager.order(order.client_order_id)

    calls = stage.broker.calls
    assert (order.status, order.broker_order_id, stage.theirs) == (Status.FAILED, "", [])
    assert (calls["submit"], calls["cancel"]) == (1, 0)
    assert calls["lookup"] >= 1
    assert [event.look_first for event in stage.events(e.CancelRequested)] == [True]


@virtual
async def test_what_ended_is_not_cancelled_for_its_age() -> None:
    """Filled and cancelled ones are old, and nobody's to cancel (scenario 24)."""
    stage = Stage()
    async with stage.desk() as manager:
        first, second = await rest(manager, 2)
        await manager.cancel_order(first.client_order_id, by="ann")
        stage.crowd.take(-1, 10)
        await asyncio.sleep(600)
        managed = await manager.manage_open_orders(by="ann")
        mine = await ours(manager)

    assert managed == []
    assert mine == stage.theirs == [Status.CANCELED, Status.FILLED]
    assert stage.broker.calls["cancel"] == 1
    assert stage.events(e.OrdersSwept) == []
    assert second.number == 2


@pytest.mark.parametrize("capabilities", [BATCHES, SINGLES])
def test_after_a_sweep_the_account_is_listed_once(capabilities: Capabilities) -> None:
    """One list call follows, batch or not, and no more until the next poll is due (25)."""

    @virtual
    async def case() -> None:
        stage = Stage(capabilities=capabilities)
        async with stage.desk(poll_interval_ms=3_600_000) as manager:
            await rest(manager, 3)
            before = stage.broker.calls["poll"]
            await asyncio.sleep(65)
            after = stage.broker.calls["poll"]
            await asyncio.sleep(60)
            later = stage.broker.calls["poll"]

        assert stage.theirs == [Status.CANCELED] * 3
        assert (after - before, later - after) == (1, 0)

    case()


@virtual
async def test_lists_that_fail_close_no_order() -> None:
    """Five minutes of failed listings, one by hand among them: all work on (scenario 26)."""
    stage = Stage(*every(FaultKind.LOOKUP_INCOMPLETE, "poll", range(2, 1_000)))
    async with stage.desk(after_ms=0) as manager:
        await rest(manager, 3)
        await asyncio.sleep(300)
        stage.broker.broken["poll"] = 5
        with pytest.raises(OrderStatusError) as failed:
            await manager.synchronize_open_orders(timeout=5)
        await asyncio.sleep(60)
        mine = await ours(manager)

    assert failed.value.code == "STATUS_UNAVAILABLE"
    assert mine == stage.theirs == [Status.OPEN] * 3
    assert stage.faults.injected[FaultKind.LOOKUP_INCOMPLETE] >= 20


@pytest.mark.parametrize("age_s", [2, 4.9, 6])
def test_a_cancelled_order_that_is_still_listed_stays_cancelled(age_s: float) -> None:
    """A list from before its end, seconds later, brings nothing back (scenario 27)."""

    @virtual
    async def case() -> None:
        lag_ns = int((age_s + 1) * 1_000_000_000)
        stage = Stage(*every(FaultKind.SNAPSHOT_STALE, "poll", range(2, 5), duration_ns=lag_ns))
        async with stage.desk(poll_interval_ms=3_600_000) as manager:
            (order,) = await rest(manager)
            await asyncio.sleep(10)
            await manager.cancel_order(order.client_order_id)
            await manager.wait(order.client_order_id)
            await asyncio.sleep(age_s)
            listed = await manager.synchronize_open_orders()
            at_once = await manager.order(order.client_order_id)
            await asyncio.sleep(30)
            later = await manager.order(order.client_order_id)

        assert stage.faults.injected[FaultKind.SNAPSHOT_STALE] == 1
        assert listed == []
        assert at_once.status is later.status is Status.CANCELED
        assert stage.events(e.OrderRevived) == []

    case()


def hanging() -> Stage:
    """A venue that takes the third order only after a minute."""
    minute_ns = 60_000_000_000
    late = Fault(kind=FaultKind.LANDS_LATE, face="submit", nth=3, duration_ns=minute_ns)
    return Stage(late)


async def leave(stage: Stage, manager: OrderManager) -> None:
    """Shut down with two orders that work and a third without an id; one cancel raises."""
    await rest(manager, 2)
    await manager.place_limit_order("TSLA", "buy", 1, "90", client_order_id="third")
    await asyncio.sleep(0.1)
    stage.broker.broken["cancel"] = 1
    await manager.shutdown("cancel", timeout=4)


@virtual
async def test_shutting_down_cancels_all_that_can_be_though_a_cancel_raises() -> None:
    """Both are cancelled at the venue; the next start settles the third, unsent (28)."""
    stage = hanging()
    async with stage.desk(after_ms=0) as manager:
        await leave(stage, manager)
    ended = {event.number for event in stage.events(e.OrderCanceled)}
    wanted = {event.number for event in stage.events(e.CancelRequested)}
    stage.connect()
    async with stage.desk(after_ms=0) as manager:
        await asyncio.sleep(120)
        third = await manager.order("third")

    assert (ended, wanted) == ({1, 2}, {1, 2, 3})
    assert stage.theirs == [Status.CANCELED] * 2
    assert (third.status, third.broker_order_id) == (Status.FAILED, "")


def test_shutting_down_names_what_it_could_not_cancel(caplog: pytest.LogCaptureFixture) -> None:
    """The order without a broker id is told of in the log (28)."""

    @virtual
    async def case() -> None:
        stage = hanging()
        async with stage.desk(after_ms=0) as manager:
            with caplog.at_level(logging.WARNING, logger="holdfast.manager"):
                await leave(stage, manager)

    case()
    assert "order third (without a broker id) is left new, waiting for submit" in caplog.text
