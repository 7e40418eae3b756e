"""Refusals, retries, the kill switch and shared rates, on the paper venue: both books compared.

Messages take 150 ms each way, as at a broker across an ocean, unless a test says otherwise.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal as D
from itertools import pairwise
from typing import Any, Final, TypeVar

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.config import Config
from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import BreakerRules, Limits, Policies
from holdfast.domain.reports import LookupResult, Outcome, RefusalCode
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.views import OrderView
from holdfast.errors import OrderRefused, OrderSubmissionError
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.scripted import open_desk
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue
from holdfast.wiring import Desks, OrderManager

_Event = TypeVar("_Event")

TSLA: Final = Instrument.of("TSLA")
WAY: Final = Latency(request_ns=150_000_000, answer_ns=150_000_000, report_ns=150_000_000)
NEVER_MS: Final = 3_600_000


class Watched(PaperBroker):
    """A paper broker that notes when it was called for which order, and may raise instead."""

    def __init__(self, venue: Venue, **options: Any) -> None:
        super().__init__(venue, "paper", delays=LoopScheduler(), latency=WAY, **options)
        self.calls: list[tuple[str, str, float]] = []
        self.raises = 0

    def _note(self, face: str, name: str) -> None:
        self.calls.append((face, name, asyncio.get_running_loop().time()))

    async def submit(self, order: SubmitOrder) -> Outcome:
        self._note("submit", order.wire_id)
        if self.raises:
            self.raises -= 1
            raise ConnectionRefusedError("the connection was refused")
        return await super().submit(order)

    async def cancel(self, order: CancelOrder) -> Outcome:
        self._note("cancel", order.orig_wire_id)
        return await super().cancel(order)

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        self._note("batch", f"{len(orders)}")
        return await super().cancel_batch(orders)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        self._note("lookup", order.wire_ids[0])
        return await super().lookup(order)

    def names(self, face: str) -> list[str]:
        """Return what the calls of a kind were about."""
        return [name for kind, name, _ in self.calls if kind == face]

    def times(self, face: str) -> list[float]:
        """Return when the calls of a kind came, in seconds."""
        return [at for kind, _, at in self.calls if kind == face]


class Stage:
    """A venue without a crowd, the broker to it, and the journal of the desk there."""

    def __init__(
        self,
        *script: Fault,
        cash: D | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.venue = Venue()
        self.crowd = self.venue.add_listing(TSLA)
        self.venue.open_account("paper", capabilities, cash=cash)
        self.faults = FaultPlan(script=script)
        self.broker = Watched(self.venue, faults=self.faults)
        self.store = Store()

    @asynccontextmanager
    async def desk(self, limits: Limits | None = None, **options: Any) -> AsyncIterator[Any]:
        """Open the desk, without limits unless they are given, and let the first poll pass."""
        policies = Policies(limits=limits or Limits.none(), breaker=BreakerRules(open_ms=30_000))
        settings = Settings(policies=policies)
        journal = MemoryJournal(self.store)
        options = {"instruments": [TSLA], "settings": settings} | options
        async with open_desk(self.broker, journal, **options) as manager:
            await asyncio.sleep(5)
            yield manager
        await self.broker.aclose()

    def events(self, kind: type[_Event]) -> list[_Event]:
        """Return the journaled events of a kind."""
        decoded = map(decode, self.store.records["main"])
        return [event for event in decoded if isinstance(event, kind)]

    @property
    def theirs(self) -> dict[str, VenueOrder]:
        """The account's orders at the venue by wire id."""
        return {order.wire_id: order for order in self.venue.orders("paper")}


def faults(kind: FaultKind, face: str, passes: Iterable[int], **terms: Any) -> list[Fault]:
    return [Fault(kind=kind, face=face, nth=nth, **terms) for nth in passes]


async def rest(manager: OrderManager, count: int = 1, **terms: Any) -> list[OrderView]:
    """Place so many buys that rest, at once and each a cent dearer than the one before."""
    orders = [
        await manager.place_limit_order("TSLA", "buy", 10, D(10_000 + n) / 100, **terms)
        for n in range(count)
    ]
    return [await manager.wait(order.client_order_id, "accepted") for order in orders]


async def check_books(stage: Stage, manager: OrderManager) -> None:
    """What the desk says of orders, fills and positions is what the venue says."""
    for order in await manager.orders():
        shown = stage.theirs.get(order.wire_id)
        if shown is None:
            assert order.status in {Status.REJECTED, Status.FAILED}, order
        else:
            assert (order.status, order.filled_quantity) == (shown.status, shown.cumulative)
    held = {s: p.quantity for s, p in (await manager.positions()).items() if p.quantity}
    assert held == stage.venue.positions("paper")


# What the broker refuses, and what it cannot be asked.


@virtual
async def test_an_order_beyond_the_funds_is_rejected_once_and_the_breaker_hears_of_it() -> None:
    """No retry; the next entry is refused without a call, until the breaker tries (31)."""
    stage = Stage(cash=D(1_000))
    async with stage.desk(Limits(buying_power=False)) as manager:
        with pytest.raises(OrderSubmissionError, match="insufficient funds") as rejected:
            await manager.place_limit_order("TSLA", "buy", 20, "100", wait="accepted")
        with pytest.raises(OrderRefused, match="BREAKER_OPEN"):
            await manager.place_limit_order("TSLA", "buy", 1, "100")
        sent = len(stage.broker.names("submit"))
        await asyncio.sleep(31)
        (probe,) = await rest(manager)
        state = (await manager.guard()).breaker
        (refused,) = await manager.orders(status="rejected")
        await check_books(stage, manager)

    assert (refused.code, sent) == (RefusalCode.INSUFFICIENT_FUNDS, 1)
    assert rejected.value.client_order_id == refused.client_order_id
    assert [event.reason for event in stage.events(e.BreakerOpened)] == ["INSUFFICIENT_FUNDS"]
    assert [event.code for event in stage.events(e.RefusalRecorded)] == ["BREAKER_OPEN"]
    assert (list(stage.theirs), state) == ([probe.wire_id], "closed")


@pytest.mark.parametrize("text", ["400 bad request", "401", "403 forbidden", "422 quantity"])
def test_a_refusal_is_final(text: str) -> None:
    """REJECTED with the broker's words, asked once, and nothing of it at the venue (31)."""

    @virtual
    async def case() -> None:
        stage = Stage(*faults(FaultKind.REFUSED, "submit", [1], text=text))
        async with stage.desk() as manager:
            with pytest.raises(OrderSubmissionError, match=text):
                await manager.place_limit_order("TSLA", "buy", 1, "100", wait="accepted")
            await asyncio.sleep(120)
            (order,) = await manager.orders()

        assert (order.status, order.text) == (Status.REJECTED, text)
        assert (stage.theirs, len(stage.broker.names("submit"))) == ({}, 1)

    case()


@virtual
async def test_a_rate_refusal_is_repeated_after_the_time_it_names() -> None:
    """429 twice with Retry-After of two seconds: the same wire id, one order there (32)."""
    stage = Stage(*faults(FaultKind.NOT_SENT, "submit", [1, 2], retry_after_ms=2_000))
    async with stage.desk() as manager:
        (order,) = await rest(manager)
        await check_books(stage, manager)

    first, second, third = stage.broker.times("submit")
    assert set(stage.broker.names("submit")) == set(stage.theirs) == {order.wire_id}
    assert 2 <= second - first <= 4.5
    assert 2 <= third - second <= 4.5


@virtual
async def test_rate_refusals_without_end_are_given_up_at_once_after_the_last() -> None:
    """Four calls with growing waits, and no wait behind the last; nothing is there (32)."""
    stage = Stage(*faults(FaultKind.NOT_SENT, "submit", range(1, 20), retry_after_ms=0))
    async with stage.desk() as manager:
        with pytest.raises(OrderSubmissionError):
            await manager.place_limit_order("TSLA", "buy", 1, "100", wait="accepted")
        ended = asyncio.get_running_loop().time()
        (order,) = await manager.orders()

    times = stage.broker.times("submit")
    waits = [after - before for before, after in pairwise(times)]
    assert (order.status, order.code, stage.theirs) == (Status.FAILED, "NOT_SENT", {})
    assert len(times) == 4
    assert waits == sorted(waits)
    assert ended - times[-1] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("landed", [True, False])
def test_a_server_error_is_looked_into_before_anything_is_repeated(landed: bool) -> None:
    """5xx: asked for first, sent again only where it provably was not taken (32)."""

    @virtual
    async def case() -> None:
        kind = FaultKind.ERROR_AFTER_ACCEPT if landed else FaultKind.TIMEOUT_BEFORE_ACCEPT
        blind = faults(FaultKind.REPORT_LOST, "report", [1])
        stage = Stage(*faults(kind, "submit", [1]), *blind)
        async with stage.desk() as manager:
            (order,) = await rest(manager)
            await asyncio.sleep(60)
            await check_books(stage, manager)

        asked = [kind for kind, _, _ in stage.broker.calls]
        assert asked[:2] == ["submit", "lookup"]
        assert stage.broker.names("submit") == [order.wire_id] * (1 if landed else 2)
        assert list(stage.theirs) == [order.wire_id]

    case()


@pytest.mark.parametrize("raises", [True, False])
def test_a_broker_error_is_a_failure_and_nothing_else(raises: bool) -> None:
    """The call raises or is refused: no trade, no position, nothing pending (53)."""

    @virtual
    async def case() -> None:
        capabilities = Capabilities(unique_ids="none")
        refusal = faults(FaultKind.REFUSED, "submit", [1], text="exchange down")
        stage = Stage(*() if raises else refusal, capabilities=capabilities)
        stage.broker.raises = int(raises)
        async with stage.desk() as manager:
            with pytest.raises(OrderSubmissionError):
                await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
            (order,) = await manager.orders()
            trades, positions = await manager.executions(), await manager.positions()
            await check_books(stage, manager)

        assert order.status is (Status.FAILED if raises else Status.REJECTED)
        assert (order.pending, trades, stage.theirs) == ((), [], {})
        assert not any(position.quantity or position.cash for position in positions.values())
        assert stage.events(e.OrderFilled) == []

    case()


@virtual
async def test_two_open_buys_may_not_exceed_the_accounts_cash() -> None:
    """The second is refused here, before a call; once the first is gone it passes (59)."""
    stage = Stage(cash=D(1_500))
    async with stage.desk(Limits()) as manager:
        (first,) = await rest(manager)
        for _ in range(2):  # before the account's next figure and after it
            with pytest.raises(OrderRefused) as refused:
                await manager.place_limit_order("TSLA", "buy", 10, "100")
            assert refused.value.code == "BUYING_POWER"
            await asyncio.sleep(60)
        sent = stage.broker.names("submit")
        await manager.cancel_order(first.client_order_id)
        await manager.wait(first.client_order_id)
        await asyncio.sleep(60)
        (second,) = await rest(manager)
        await check_books(stage, manager)

    assert sent == [first.wire_id]
    assert {event.code for event in stage.events(e.RefusalRecorded)} == {"BUYING_POWER"}
    assert stage.venue.power("paper") == 500
    assert list(stage.theirs) == [first.wire_id, second.wire_id]


# Everything at once.


@pytest.mark.parametrize("batch", [True, False])
def test_the_kill_switch_clears_twenty_five_orders_within_five_seconds(batch: bool) -> None:
    """One cancel is refused at first, one order fills meanwhile; entries stay out (43)."""

    @virtual
    async def case() -> None:
        refused = faults(FaultKind.REFUSED, "cancel", [7], text="not now")
        stage = Stage(*refused, capabilities=Capabilities(batch_cancel=batch))
        async with stage.desk() as manager:
            orders = await rest(manager, 25)
            best = orders[-1]
            begun = asyncio.get_running_loop().time()
            asyncio.get_running_loop().call_later(0.1, stage.crowd.take, -1, 10)
            results = await manager.engage_kill_switch(by="ann", reason="fire drill", timeout=5)
            answered = asyncio.get_running_loop().time() - begun
            with pytest.raises(OrderRefused, match="KILL_SWITCH"):
                await rest(manager)
            await asyncio.sleep(4.9 - (asyncio.get_running_loop().time() - begun))
            working = stage.venue.orders("paper", working=True)
            await asyncio.sleep(3)
            left = await manager.orders(finished=False)
            await check_books(stage, manager)

        outcomes = {result.client_order_id: result.outcome for result in results}
        assert set(outcomes) == {order.client_order_id for order in orders}
        assert sorted(outcomes.values()) == ["canceled"] * 23 + ["failed", "filled"]
        assert outcomes[best.client_order_id] == "filled"
        assert answered < 4.9
        assert working == []
        assert left == []
        (engaged,) = stage.events(e.KillSwitchEngaged)
        assert (engaged.by, engaged.reason) == ("ann", "fire drill")
        assert {event.reason for event in stage.events(e.OrdersSwept)} == {
            "kill switch: fire drill"
        }
        assert len(stage.broker.names("batch")) == int(batch)

    case()


@virtual
async def test_of_two_cancels_one_fails_and_the_other_is_not_lost() -> None:
    """The results tell one success and one failure, as the venue has them (44)."""
    stage = Stage(*faults(FaultKind.REFUSED, "cancel", [2], text="not now"))
    async with stage.desk(poll_interval_ms=NEVER_MS) as manager:
        await rest(manager, 2)
        results = await manager.cancel_all_open_orders(by="ann", reason="lunch")
        await asyncio.sleep(60)
        await check_books(stage, manager)

    told = {result.order.wire_id: (result.outcome, result.text) for result in results}
    statuses = {wire_id: order.status for wire_id, order in stage.theirs.items()}
    assert sorted(outcome for outcome, _ in told.values()) == ["canceled", "failed"]
    assert ("failed", "not now") in told.values()
    for wire_id, (outcome, _) in told.items():
        assert (statuses[wire_id] is Status.CANCELED) == (outcome == "canceled")
    (swept,) = stage.events(e.OrdersSwept)
    assert (swept.by, swept.reason, swept.numbers) == ("ann", "lunch", (1, 2))


@virtual
async def test_an_order_that_fills_on_the_way_of_its_cancel_is_reported_filled() -> None:
    """The final fill is in the result; no second cancel is sent (45)."""
    stage = Stage()
    async with stage.desk() as manager:
        (order,) = await rest(manager)
        stage.crowd.take(-1, 4)
        asyncio.get_running_loop().call_later(0.1, stage.crowd.take, -1, 6)
        (result,) = await manager.cancel_all_open_orders(by="ann")
        await asyncio.sleep(30)
        await check_books(stage, manager)

    assert result.outcome == "filled"
    assert (result.order.filled_quantity, result.order.average_price) == (10, 100)
    assert stage.broker.names("cancel") == [order.wire_id]


@virtual
async def test_the_status_of_a_partly_filled_order_is_whole() -> None:
    """Filled, average, pending, its time and the broker's own words (46)."""
    stage = Stage(*faults(FaultKind.LOOKUP_INCOMPLETE, "lookup", [1]))
    async with stage.desk() as manager:
        (order,) = await rest(manager)
        stage.crowd.take(-1, 4)
        status = await manager.get_order_status(order.client_order_id)
        shown = stage.theirs[order.wire_id]
        await check_books(stage, manager)

    assert (status.status, status.fresh) == (Status.PARTIAL_FILL, True)
    assert (status.filled_quantity, status.average_price, status.pending_quantity) == (4, 100, 6)
    assert status.updated_ns > order.updated_ns
    assert status.raw["broker_order_id"] == shown.broker_order_id == status.broker_order_id
    assert str(status.raw["cumulative"]) == "4"
    (checked,) = stage.events(e.StatusChecked)
    assert (checked.number, checked.answered, checked.tries) == (1, True, 2)


# An account that takes few requests.


def shared(per_second: int, burst: int) -> Config:
    """Two desks on one paper account with a rate; no order is too old there."""
    desk = {"account": "main", "execution": {"cancel_after_seconds": 0}}
    return Config.parse(
        {
            "journal": {"url": "memory://"},
            "accounts": {
                "main": {
                    "rate": {"requests_per_second": per_second, "burst": burst},
                    "paper": {"latency_ms": 20},
                }
            },
            "desks": {"alpha": desk, "beta": desk},
            "instruments": {"TSLA": {}},
        }
    )


@virtual
async def test_a_flood_beyond_the_rate_lets_ways_out_pass_and_loses_nothing() -> None:
    """A cancel and an exit overtake the entries; each order is there once, or FAILED (91)."""
    async with Desks.open(shared(5, 5), clock=virtual_clock()) as desks:
        alpha, venue = desks["alpha"], desks.venues["main"]
        await asyncio.sleep(10)
        venue.crowd("TSLA").place("ask", -1, 25_000, 5)
        bought = await alpha.place_limit_order("TSLA", "buy", 5, "250")
        await alpha.wait(bought.client_order_id)
        (resting,) = await rest(alpha)
        flood = [
            await alpha.place_limit_order("TSLA", "buy", 1, D(2_000 + n) / 100) for n in range(300)
        ]
        await asyncio.sleep(2)
        asked_ns = LoopScheduler().now_ns()
        await alpha.cancel_order(resting.client_order_id)
        leaving = await alpha.place_limit_order("TSLA", "sell", 5, "249", reduce_only=True)
        await asyncio.sleep(90)
        orders = [await alpha.order(each.client_order_id) for each in flood]
        theirs = {order.wire_id: order for order in venue.orders("main")}

    assert len(theirs) == len(venue.orders("main"))
    works = {order.wire_id for order in orders if order.status is Status.OPEN}
    assert works == {order.wire_id for order in orders} & set(theirs)
    assert {order.status for order in orders} == {Status.OPEN, Status.FAILED}
    assert {order.code for order in orders if order.status is Status.FAILED} == {"NOT_SENT"}
    waited = [theirs[o.wire_id].created_ns - o.created_ns for o in orders if o.wire_id in works]
    assert max(waited) < 31_000_000_000
    assert theirs[resting.wire_id].stamp_ns - asked_ns < 1_000_000_000
    assert theirs[leaving.wire_id].created_ns - asked_ns < 1_000_000_000


@virtual
async def test_a_desk_at_the_accounts_rate_does_not_hold_up_anothers_cancel() -> None:
    """Two a second: beta's cancel is there within one; nobody adopts the other's (104)."""
    async with Desks.open(shared(2, 2), clock=virtual_clock()) as desks:
        alpha, beta, venue = desks["alpha"], desks["beta"], desks.venues["main"]
        await asyncio.sleep(10)
        (mine,) = await rest(beta)
        for n in range(200):
            await alpha.place_limit_order("TSLA", "buy", 1, D(2_000 + n) / 100)
        await asyncio.sleep(7.3)
        asked_ns = LoopScheduler().now_ns()
        await beta.cancel_order(mine.client_order_id)
        await asyncio.sleep(120)
        (theirs,) = venue.find("main", [mine.wire_id], [])
        of_beta = [order.wire_id for order in await beta.orders()]
        of_alpha = {order.wire_id for order in await alpha.orders()}
        unclaimed = desks.unclaimed("main")
        assert unclaimed is not None
        of_nobody = await unclaimed.orders()
        there = {order.wire_id for order in venue.orders("main")}

    assert theirs.status is Status.CANCELED
    assert theirs.stamp_ns - asked_ns < 1_000_000_000
    assert (of_beta, of_nobody) == ([mine.wire_id], [])
    assert mine.wire_id not in of_alpha
    assert there - of_alpha == {mine.wire_id}


@virtual
async def test_no_entry_that_waits_for_its_turn_leaves_past_the_kill_switch() -> None:
    """Once engaging returns, what had not left by then never reaches the venue (43)."""
    async with Desks.open(shared(5, 5), clock=virtual_clock()) as desks:
        alpha, venue = desks["alpha"], desks.venues["main"]
        await asyncio.sleep(10)
        for n in range(200):
            await alpha.place_limit_order("TSLA", "buy", 1, D(2_000 + n) / 100)
        await asyncio.sleep(1)
        asked_ns = LoopScheduler().now_ns()
        await alpha.engage_kill_switch(by="ann", reason="fire drill")
        await asyncio.sleep(60)
        orders = venue.orders("main")

    assert {order.status for order in orders} == {Status.CANCELED}
    on_their_way_ns = 20_000_000
    assert max(order.created_ns for order in orders) <= asked_ns + on_their_way_ns
