"""What a broker says with a field of a wrong type: dropped and counted, and nothing is lost by it.

Each world ends with its journal read by a second desk, as a restart does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    LookupResult,
    NotSent,
    Outcome,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.values import Side, Status
from holdfast.engine.views import OrderView
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.ports import OpenOrders
from holdfast.testing.misspoken import misspoken, wrong_values
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

D = Decimal
_Said = TypeVar("_Said")

TRADE = Execution(execution_id="X-77", quantity=D(4), price=D("250.5"), fee=D(1))
REPORT = Report(
    kind=ReportKind.TRADE, execution=TRADE, cumulative=D(4), order_quantity=D(10), sequence=9
)
SNAPSHOT = Snapshot(children=(Child(role="stop", broker_order_id="B-S"),))


class Careless(ScriptedBroker):
    """An account behind an adapter that spoils what it hands on, as long as it has been told to."""

    def __init__(self) -> None:
        super().__init__(Capabilities(batch_cancel=True))
        self.spoilt: dict[str, list[Callable[[Any], Any]]] = {}

    def spoil(self, face: str, *ways: Callable[[Any], Any]) -> None:
        """Let the next answers of a kind be spoilt, each in its way."""
        self.spoilt.setdefault(face, []).extend(ways)

    def _said(self, face: str, told: _Said) -> _Said:
        waiting = self.spoilt.get(face)
        spoilt: _Said = waiting.pop(0)(told) if waiting else told
        return spoilt

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place an order, and answer as told."""
        return self._said("submit", await super().submit(order))

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Cancel an order, and answer as told."""
        return self._said("cancel", await super().cancel(order))

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        """Cancel orders, and answer as told."""
        return self._said("cancel_batch", await super().cancel_batch(orders))

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Replace an order, and answer as told."""
        return self._said("replace", await super().replace(order))

    async def lookup(self, order: Any) -> LookupResult:
        """Look for an order, and answer as told."""
        return self._said("lookup", await super().lookup(order))

    async def poll(self) -> OpenOrders:
        """List the orders, as told."""
        return self._said("poll", await super().poll())


@asynccontextmanager
async def world(broker: Careless, **options: Any) -> AsyncIterator[OrderManager]:
    """Open a desk; at its end its journal can be read, and a second desk opens on it."""
    store = Store()
    options.setdefault("poll_interval_ms", 600_000)
    async with open_desk(broker, MemoryJournal(store), **options) as manager:
        yield manager
        health = await manager.health()
        found = (await manager.statistics())["link"]
        before = await manager.orders(), await manager.positions()
    assert (health.is_ok, health.mode) == (True, "running"), health.fault
    assert found["unreadable_mistyped"] > 0
    assert any(sample.startswith("mistyped: ") for sample in health.unreadable)
    assert all(decode(record) is not None for record in store.records["main"])
    async with open_desk(broker, MemoryJournal(store), **options) as again:
        assert (await again.orders(), await again.positions()) == before


async def bought(manager: OrderManager, **options: Any) -> OrderView:
    return await manager.place_limit_order("TSLA", "buy", 10, "251", **options)


def instead(word: Any) -> Callable[[Any], Any]:
    """Return what answers with something else."""
    return lambda _told: word


def words_of(sound: Any) -> list[Any]:
    kind = type(sound).__name__
    return [pytest.param(words, id=f"{kind}.{name}") for name, words in misspoken(sound)]


@pytest.mark.parametrize("words", words_of(REPORT))
@virtual
async def test_a_report_with_a_wrong_field_changes_nothing_and_its_money_counts(words: Any) -> None:
    """Of every kind and with every wrong value; the trade that it told is found (P3, P5; 71)."""
    broker = Careless()
    async with world(broker) as manager:
        order = await bought(manager, wait="accepted")
        broker.fill(order.wire_id, 4, "250.5", told=False)
        kinds = list(ReportKind) if words[0].kind is REPORT.kind else [REPORT.kind]
        sent = 0
        for word in words:
            for kind in kinds:
                changes = {"wire_id": order.wire_id, "broker_order_id": order.broker_order_id}
                told = {n: v for n, v in changes.items() if getattr(word, n) == ""}
                if kind is not REPORT.kind:
                    told["kind"] = kind
                broker.report(msgspec.structs.replace(word, **told))
                sent += 1
        await asyncio.sleep(30)
        after = await manager.order(order.client_order_id)
        found = (await manager.statistics())["link"]
        assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)
        assert (found["unreadable_mistyped"], found["stream_starts"]) == (sent, 1)


@virtual
async def test_a_late_trade_that_cannot_be_read_is_asked_for_by_its_order() -> None:
    """No poll lists an order that ended: it is looked up by the id that could be told (P5)."""
    broker = Careless()
    async with world(broker) as manager:
        order = await bought(manager, wait="accepted")
        await manager.cancel_order(order.client_order_id)
        await asyncio.sleep(5)
        broker.spoil("poll", *[lambda _told: OpenOrders(complete=True)] * 10)
        broker.fill(order.wire_id, 4, "250.5", told=False)
        broker._show(order.wire_id, status=Status.CANCELED)
        bad: Any = 250.5
        broker.report(
            Report(
                kind=ReportKind.TRADE,
                wire_id=order.wire_id,
                execution=msgspec.structs.replace(TRADE, price=bad),
            )
        )
        await asyncio.sleep(30)
        after = await manager.order(order.client_order_id)
        assert (after.status, after.filled_quantity) == (Status.CANCELED, 4)


OUTCOMES: list[Outcome] = [
    Accepted(broker_order_id="B-1", children=SNAPSHOT.children),
    Refused(text="no"),
    NotSent(text="429"),
    Unknown(text="503"),
]


@pytest.mark.parametrize("face", ["submit", "cancel", "replace"])
@pytest.mark.parametrize("words", [each for sound in OUTCOMES for each in words_of(sound)])
@virtual
async def test_an_answer_with_a_wrong_field_is_an_unknown_outcome(face: str, words: Any) -> None:
    """The order is looked up and nothing is sent twice (P2, P4)."""
    broker = Careless()
    async with world(broker) as manager:
        for word in words:
            if face == "submit":
                broker.spoil(face, instead(word))
            order = await bought(manager, wait="accepted")
            if face == "replace":
                broker.spoil(face, instead(word))
                await manager.replace_order(order.client_order_id, limit_price="249")
            if face == "cancel":
                broker.spoil(face, instead(word))
                await manager.cancel_order(order.client_order_id)
            await asyncio.sleep(60)
            after = await manager.order(order.client_order_id)
            assert after.status is (Status.CANCELED if face == "cancel" else Status.OPEN)
            assert after.limit_price == (249 if face == "replace" else 251)
        found = (await manager.statistics())["link"]
        assert found["unreadable_mistyped"] == len(words)
        assert len(broker.sent(SubmitOrder)) == len(words)


@virtual
async def test_one_answer_of_a_batch_that_cannot_be_read_spoils_no_other() -> None:
    """Both orders are gone in the end, one by its answer and one because it was asked for."""
    broker = Careless()
    async with world(broker) as manager:
        orders = [await bought(manager, wait="accepted") for _ in range(2)]
        bad: Any = 5
        broker.spoil(
            "cancel_batch",
            lambda told: [msgspec.structs.replace(told[0], broker_order_id=bad), *told[1:]],
        )
        await manager.cancel_all_open_orders()
        await asyncio.sleep(30)
        for order in orders:
            assert (await manager.order(order.client_order_id)).status is Status.CANCELED


def of_first(told: LookupResult, **changes: Any) -> LookupResult:
    """Put other parts into the first order that a lookup found."""
    first = msgspec.structs.replace(told.sightings[0], **changes)
    return msgspec.structs.replace(told, sightings=(first, *told.sightings[1:]))


def spoilt_lookups(told: LookupResult) -> dict[str, list[LookupResult]]:
    return dict(misspoken(told))


LOOKED = LookupResult(
    sightings=(Sighting(snapshot=SNAPSHOT, executions=(TRADE,), executions_complete=True),),
    complete=True,
)


@pytest.mark.parametrize("name", [name for name, _ in misspoken(LOOKED)])
@virtual
async def test_a_lookup_with_a_wrong_field_ends_well_by_what_is_sound_or_the_next(
    name: str,
) -> None:
    """Whatever cannot be read, the order and its trade are found once it can (P3, P4)."""
    broker = Careless()
    number = len(spoilt_lookups(LOOKED)[name])

    def spoils(place: int) -> Callable[[LookupResult], LookupResult]:
        def spoilt(told: LookupResult) -> LookupResult:
            seen = told.sightings[0]
            shown = msgspec.structs.replace(seen.snapshot, children=SNAPSHOT.children)
            return spoilt_lookups(of_first(told, snapshot=shown))[name][place]

        return spoilt

    def fills(_told: Outcome) -> Any:
        """Let the order trade at once, and answer nothing."""
        broker.fill(broker.sent(SubmitOrder)[-1].wire_id, 4, "250.5", told=False)

    async with world(broker) as manager:
        broker.spoil("poll", *[lambda _told: OpenOrders()] * 10_000)
        for place in range(number):
            broker.spoil("submit", fills)
            broker.spoil("lookup", spoils(place))
            order = await bought(manager)
            await asyncio.sleep(300)
            assert not broker.spoilt["lookup"]
            after = await manager.order(order.client_order_id)
            assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)
        assert len(broker.sent(SubmitOrder)) == number
        assert (await manager.statistics())["link"]["unreadable_mistyped"] == 2 * number


POLLED = OpenOrders(snapshots=(SNAPSHOT,), executions=(("B-1", "", TRADE),), complete=True)


def spoilt_polls(told: OpenOrders) -> dict[str, list[OpenOrders]]:
    """Return what a poll may look like, spoilt in one place; a trade is a pair of ids with it."""
    spoilt = dict(misspoken(told))
    broker_id, wire_id, trade = told.executions[0]
    listed: dict[str, list[Any]] = {
        "executions id": [(each, wire_id, trade) for each in wrong_values(str)],
        "executions wire id": [(broker_id, each, trade) for each in wrong_values(str)],
        "executions length": [(broker_id, trade), (broker_id, wire_id, trade, trade)],
    }
    for name, words in misspoken(trade):
        listed[f"executions.{name}"] = [(broker_id, wire_id, each) for each in words]
    for name, trades in listed.items():
        spoilt[name] = [msgspec.structs.replace(told, executions=(each,)) for each in trades]
    return spoilt


@pytest.mark.parametrize("name", list(spoilt_polls(POLLED)))
@virtual
async def test_a_poll_with_a_wrong_field_is_not_complete_and_loses_nothing(name: str) -> None:
    """What it lists of other orders is taken, and what it hides is asked for (P3, P4)."""
    broker = Careless()

    def spoils(place: int) -> Callable[[OpenOrders], OpenOrders]:
        def spoilt(told: OpenOrders) -> OpenOrders:
            first, *others = told.snapshots
            shown = msgspec.structs.replace(first, children=SNAPSHOT.children)
            whole = msgspec.structs.replace(told, snapshots=(shown, *others))
            return spoilt_polls(whole)[name][place]

        return spoilt

    async with world(broker, poll_interval_ms=5_000) as manager:
        order = await bought(manager, wait="accepted")
        other = await bought(manager, wait="accepted")
        await asyncio.sleep(1)
        broker.fill(order.wire_id, 4, "250.5", told=False)
        polls = (await manager.statistics())["link"]["polls_failed"]
        number = len(spoilt_polls(POLLED)[name])
        broker.spoil("poll", *(spoils(place) for place in range(number)))
        await asyncio.sleep(120)
        assert not broker.spoilt["poll"]
        after = await manager.order(order.client_order_id)
        found = (await manager.statistics())["link"]
        assert (after.status, after.filled_quantity) == (Status.PARTIAL_FILL, 4)
        assert found["polls_failed"] == polls + number
        assert (await manager.order(other.client_order_id)).status is Status.OPEN


@virtual
async def test_a_strangers_order_that_cannot_be_read_is_met_once_it_can() -> None:
    """An order placed by hand with a number for its id is known when its id is a text (P3)."""
    broker = Careless()
    bad: Any = 77

    def spoil(told: OpenOrders) -> OpenOrders:
        shown = [msgspec.structs.replace(each, broker_order_id=bad) for each in told.snapshots]
        return msgspec.structs.replace(told, snapshots=tuple(shown))

    async with world(broker, poll_interval_ms=1_000) as manager:
        broker.place_by_hand("B-77", "TSLA", 5)
        broker._show("B-77", side=Side.BUY)
        broker.spoil("poll", *[spoil] * 3)
        await asyncio.sleep(60)
        assert (await manager.statistics())["link"]["unclaimed_orders"] == 1
