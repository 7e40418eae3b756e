"""Orders of an account that no desk placed, and the desk that follows them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from holdfast.config import Config
from holdfast.connecting import Connection
from holdfast.domain.effects import CancelOrder
from holdfast.domain.inputs import AdoptExternal, Answer, Polled, Reported
from holdfast.domain.reports import Accepted, Report, ReportKind, Snapshot
from holdfast.domain.values import OrderType, Side, Status
from holdfast.engine.routing import Routing
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.ports import OpenOrders
from holdfast.testing.desk_ports import HearingPort
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import Desks

TABLES: Any = {
    "accounts": {"main": {"broker": "hand:connect"}},
    "desks": {"alpha": {"account": "main"}, "beta": {"account": "main"}},
    "instruments": {"TSLA": {}},
}
HAND = Snapshot(
    broker_order_id="HAND-1",
    symbol="TSLA",
    side=Side.SELL,
    order_type=OrderType.LIMIT,
    status=Status.OPEN,
    order_quantity=Decimal(7),
    cumulative=Decimal(0),
    limit_price=Decimal(300),
    sequence=1,
)
GRACE_S = 10


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, broker: ScriptedBroker, store: Store, **tables: Any
) -> AsyncIterator[Any]:
    def connect(_account: object) -> Connection:
        return Connection(broker=broker)

    connect.modes = ("paper",)  # type: ignore[attr-defined]  # what a factory declares
    monkeypatch.setitem(sys.modules, "hand", SimpleNamespace(connect=connect))
    config = Config.parse(TABLES | tables)
    async with Desks.open(config, clock=virtual_clock(), journal=MemoryJournal(store)) as desks:
        yield desks


@virtual
async def test_an_order_placed_by_hand_is_adopted_and_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It shows as external, counts as exposure, and can be cancelled; no desk has it (93, 104)."""
    broker = ScriptedBroker()
    broker.orders["ui-4711"] = msgspec.structs.replace(HAND, wire_id="ui-4711")
    broker.executions["ui-4711"] = []
    async with opened(monkeypatch, broker, Store()) as desks:
        await asyncio.sleep(1)
        unclaimed = desks.unclaimed("main")
        [order] = await unclaimed.orders()
        assert (order.status, order.quantity, order.side) == (Status.OPEN, 7, Side.SELL)
        assert await desks["alpha"].orders() == await desks["beta"].orders() == []
        assert (await unclaimed.health()).unclaimed == ("HAND-1",)

        await asyncio.sleep(20)
        assert (await unclaimed.health()).unclaimed == ()
        await unclaimed.cancel_order(order.client_order_id, by="me")
        gone = await unclaimed.wait(order.client_order_id)

    assert gone.status is Status.CANCELED
    assert [each.broker_order_id for each in broker.sent(CancelOrder)] == ["HAND-1"]


@virtual
async def test_fills_of_an_order_of_nobody_are_part_of_the_accounts_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is sold by hand is missing from the sum over the desks, wherever it was sold."""
    broker = ScriptedBroker()
    broker.orders["ui-1"] = msgspec.structs.replace(HAND, wire_id="ui-1")
    broker.executions["ui-1"] = []
    async with opened(monkeypatch, broker, Store()) as desks:
        bought = await desks["alpha"].submit(
            symbol="TSLA", side="buy", quantity=10, wait="accepted"
        )
        broker.fill(bought.wire_id, 10, "250")
        await asyncio.sleep(1)
        broker.fill("ui-1", 3, "300")
        await asyncio.sleep(1)
        assert await desks.positions("main") == {"TSLA": Decimal(7)}
        assert (await desks["alpha"].positions())["TSLA"].quantity == 10


@virtual
async def test_it_is_found_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is adopted once for its life, and its end is noticed."""
    broker, store = ScriptedBroker(), Store()
    broker.orders["ui-1"] = msgspec.structs.replace(HAND, wire_id="ui-1")
    broker.executions["ui-1"] = []
    async with opened(monkeypatch, broker, store):
        await asyncio.sleep(1)
    async with opened(monkeypatch, broker, store) as desks:
        await asyncio.sleep(40)
        [order] = await desks.unclaimed("main").orders()
        broker.fill("ui-1", 7, "300")
        filled = await desks.unclaimed("main").wait(order.client_order_id)

    assert filled.status is Status.FILLED
    kinds = [record.kind for record in store.records["unclaimed-main"]]
    assert kinds.count("external_adopted") == 1
    assert "anomaly_recorded" not in kinds


@virtual
async def test_an_order_without_our_id_may_be_ours_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the broker tells no client id, an answer may still be on its way: it is waited for."""
    broker = ScriptedBroker()
    broker.orders["x"] = HAND
    broker.executions["x"] = []
    async with opened(monkeypatch, broker, Store()) as desks:
        await asyncio.sleep(GRACE_S - 1)
        before = await desks.unclaimed("main").orders()
        await asyncio.sleep(15)
        [order] = await desks.unclaimed("main").orders()

    assert before == []
    assert order.broker_order_id == "HAND-1"


@virtual
async def test_a_desk_that_is_not_open_keeps_its_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk taken out of the configuration is not robbed, and goes on when it is back (104)."""
    broker, store = ScriptedBroker(), Store()
    async with opened(monkeypatch, broker, store) as desks:
        order = await desks["beta"].submit(symbol="TSLA", side="buy", quantity=1, wait="accepted")
    async with opened(monkeypatch, broker, store, desks={"alpha": {"account": "main"}}) as desks:
        await asyncio.sleep(20)
        assert await desks.unclaimed("main").orders() == []
        assert (await desks["alpha"].health()).unclaimed == (order.broker_order_id,)
    async with opened(monkeypatch, broker, store) as desks:
        await asyncio.sleep(5)
        [found] = await desks["beta"].orders()

    assert (found.wire_id, found.status) == (order.wire_id, Status.OPEN)


@virtual
async def test_an_order_of_another_journal_is_a_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id like ours with another epoch is adopted: some other program placed it (P3)."""
    broker = ScriptedBroker()
    wire_id = "fedcba987654-alpha-1"
    broker.orders[wire_id] = msgspec.structs.replace(HAND, wire_id=wire_id)
    broker.executions[wire_id] = []
    async with opened(monkeypatch, broker, Store()) as desks:
        await asyncio.sleep(1)
        [order] = await desks.unclaimed("main").orders()

    assert order.wire_id == wire_id


# Routing alone.


def routed() -> tuple[Routing, HearingPort, HearingPort]:
    routing, alpha, nobody = Routing(), HearingPort("e-alpha-"), HearingPort("e-unclaimed-main-")
    routing.attach(alpha)
    routing.attach(nobody)
    routing.adopt_into(nobody, quiet_ns=10)
    return routing, alpha, nobody


def listed(routing: Routing, at_ns: int, *snapshots: Snapshot, complete: bool = True) -> None:
    found = OpenOrders(snapshots=snapshots, complete=complete)
    routing.polled(found, {"e-alpha-": at_ns, "e-unclaimed-main-": at_ns})


THEIRS = msgspec.structs.replace(HAND, wire_id="ui-1")


def test_only_a_complete_poll_lets_an_order_be_adopted() -> None:
    """Half a list proves nothing; the whole one hands it over, ahead of the poll itself."""
    routing, alpha, nobody = routed()

    listed(routing, 1, THEIRS, complete=False)
    assert nobody.heard == [Polled(asked_ns=1)]
    listed(routing, 2, THEIRS)

    assert nobody.heard[1:] == [
        AdoptExternal(snapshot=THEIRS, asked_ns=2),
        Polled(asked_ns=2, snapshots=(THEIRS,), complete=True),
    ]
    assert [said.snapshots for said in alpha.heard if isinstance(said, Polled)] == [(), ()]
    assert alpha.strange == nobody.strange == []


def test_an_answer_that_comes_meanwhile_takes_the_order() -> None:
    """The order without our id was a desk's own: nobody else gets it, and its reports follow."""
    routing, alpha, nobody = routed()
    early = Report(kind=ReportKind.NEW, broker_order_id="HAND-1")

    listed(routing, 1, HAND)
    routing.reported(early)
    answer = Answer(number=1, wish=0, attempt=1, outcome=Accepted(broker_order_id="HAND-1"))
    routing.answered(alpha, answer)
    listed(routing, 20, HAND)

    assert not [said for said in nobody.heard if isinstance(said, AdoptExternal)]
    assert alpha.heard[1:] == [
        answer,
        Reported(early),
        Polled(asked_ns=20, snapshots=(HAND,), complete=True),
    ]


def test_reports_that_came_before_the_adoption_follow_it() -> None:
    """What was heard of an order of nobody is told to whoever has it in the end."""
    routing, _, nobody = routed()
    early = Report(kind=ReportKind.NEW, broker_order_id="HAND-1")

    routing.reported(early)
    listed(routing, 1, THEIRS)
    nobody.known.add("HAND-1")
    listed(routing, 2, THEIRS)

    assert [said for said in nobody.heard if isinstance(said, Reported)] == [Reported(early)]
    assert routing.unclaimed == {}
