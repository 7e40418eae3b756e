"""What leaves memory, what comes back, and the rows that stand beside the records."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.desk import ARCHIVE_SLACK, FORMAT
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.reports import Execution, LookupResult, Report, ReportKind, Snapshot
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine import turns
from holdfast.engine.recovery import _from_snapshot, recover
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import OpenOrders, StoredSnapshot
from holdfast.testing.scripted import ScriptedBroker, crash, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

FEW = Settings(finished_orders_max=1)
OVER = ARCHIVE_SLACK + 10


async def trade_many(manager: OrderManager, broker: ScriptedBroker, many: int = OVER) -> None:
    """Buy one share so many times, each filled; the first under an id of its own."""
    for number in range(many):
        name = "first" if number == 0 else None
        order = await manager.place_market_order(
            "TSLA", "buy", 1, client_order_id=name, wait="accepted"
        )
        broker.fill(order.wire_id, 1, "250")
        await manager.wait(order.client_order_id)


@virtual
async def test_ended_orders_leave_memory_and_can_still_be_asked_for() -> None:
    """Memory is bounded by count; orders, executions and lists still have everything (12, 75)."""
    broker = ScriptedBroker()
    async with open_desk(broker, settings=FEW) as manager:
        live = await manager.place_limit_order("TSLA", "buy", 1, "200", wait="accepted")
        await trade_many(manager, broker)
        await asyncio.sleep(1)
        figures = (await manager.statistics())["desk"]
        first = await manager.order("first")
        by_wire = await manager.order(first.wire_id)
        executions = await manager.executions("first")
        everything = await manager.orders()
        all_executions = await manager.executions()

    assert figures["orders_archived"] >= ARCHIVE_SLACK
    assert figures["orders_finished_in_memory"] < OVER
    assert figures["orders_active"] == 1
    assert first.status is Status.FILLED
    assert by_wire.number == first.number
    assert [each.quantity for each in executions] == [1]
    assert len(everything) == OVER + 1
    assert len(all_executions) == OVER
    assert everything[0].number == live.number
    assert sorted(each.number for each in everything[1:]) == list(range(2, OVER + 2))


@virtual
async def test_an_archived_order_takes_what_the_broker_still_has_to_say() -> None:
    """Repeat, bust, resubmission of its id, with a restart between any two: exact books (96)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    trade: Execution

    async with open_desk(broker, journal, settings=FEW) as manager:
        await trade_many(manager, broker)
        await asyncio.sleep(1)
        first = await manager.order("first")
        trade = broker.executions[first.wire_id][0]
        assert manager._runner.desk.order(first.number) is None
        again = await manager.place_market_order("TSLA", "buy", 1, client_order_id="first")
        assert again.number == first.number

    async def restarted(report: Report | None) -> Decimal:
        nonlocal journal
        journal.store.owned = False
        journal = MemoryJournal(journal.store)
        async with open_desk(broker, journal, settings=FEW) as manager:
            await asyncio.sleep(1)
            if report is not None:
                broker.report(report)
            await asyncio.sleep(1)
            await manager.place_market_order("TSLA", "buy", 1, client_order_id="first")
            await crash(manager)
            return (await manager.positions())["TSLA"].quantity

    repeat = Report(
        kind=ReportKind.TRADE,
        broker_order_id=broker.orders[first.wire_id].broker_order_id,
        execution=trade,
        cumulative=Decimal(1),
        sequence=2,
    )
    held = [await restarted(repeat), await restarted(None)]
    bust = broker.bust(first.wire_id, "bust-1")
    held += [await restarted(report) for report in (bust, bust, repeat)]

    assert held == [OVER, OVER, OVER - 1, OVER - 1, OVER - 1]
    assert len(broker.sent(SubmitOrder)) == OVER


@virtual
async def test_rows_are_written_with_the_records() -> None:
    """One row per ended order with all its names, one per execution, for plain SQL."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await manager.place_limit_order(
            "TSLA", "buy", 10, "250", client_order_id="c1", idempotency_key="k1", strategy="s"
        )
        await asyncio.sleep(1)
        broker.fill(order.wire_id, 4, "249.5")
        await asyncio.sleep(1)
        early = dict(journal.store.orders)
        broker.fill(order.wire_id, 6, "249")
        await asyncio.sleep(1)
        row = journal.store.orders["main", 1]
        trades = [trade for _, trade in journal.store.executions.values()]

    assert early == {}
    assert (row.client_order_id, row.status, row.filled_quantity) == ("c1", "filled", 10)
    assert set(row.names) == {"c:c1", "i:k1", "b:B-1"}
    assert [(each.execution_id, each.quantity, each.number) for each in trades] == [
        ("X-1", 4, 1),
        ("X-2", 6, 1),
    ]
    assert {each.account for each in trades} == {"paper"}


@virtual
async def test_rows_of_inferred_executions_shrink_as_the_real_ones_come() -> None:
    """Inferred 5, then real 2 and 3: the rows add up to 5 at every step (scenario 102)."""
    broker, journal = ScriptedBroker(), MemoryJournal()

    def rows() -> dict[str, Decimal]:
        trades = [trade for _, trade in journal.store.executions.values()]
        return {
            "inferred" if trade.inferred else trade.execution_id: trade.quantity for trade in trades
        }

    async with open_desk(broker, journal) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")
        shown = Snapshot(
            broker_order_id="B-1",
            wire_id=order.wire_id,
            status=Status.PARTIAL_FILL,
            order_quantity=Decimal(10),
            cumulative=Decimal(5),
            average_price=Decimal(249),
            sequence=5,
        )
        broker.script("poll", *[OpenOrders(snapshots=(shown,), complete=True)] * 3)
        broker.script("lookup", *[LookupResult(text="later")] * 50)
        await asyncio.sleep(40)
        guessed = rows()
        for number, quantity in ((1, 2), (2, 3)):
            broker.report(
                Report(
                    kind=ReportKind.TRADE,
                    wire_id=order.wire_id,
                    broker_order_id="B-1",
                    execution=Execution(
                        execution_id=f"R{number}", quantity=Decimal(quantity), price=Decimal(249)
                    ),
                    sequence=5 + number,
                )
            )
            await asyncio.sleep(1)
            if number == 1:
                halfway = rows()
        real = rows()

    assert guessed == {"inferred": 5}
    assert halfway == {"inferred": 3, "R1": 2}
    assert real == {"inferred": 0, "R1": 2, "R2": 3}


@virtual
async def test_a_start_folds_only_what_the_snapshot_does_not_have() -> None:
    """A snapshot saves folding, and one that cannot be used costs nothing but time."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        await trade_many(manager, broker, 3)
    head = journal.head("main").seq
    body = journal.store.snapshots["main"].body
    from_snapshot = recover(journal, "main", Settings())

    def otherwise(snapshot: StoredSnapshot) -> Any:
        journal.store.snapshots["main"] = snapshot
        return recover(journal, "main", Settings())

    others = [
        otherwise(StoredSnapshot(seq=head, format=999, body=body)),
        otherwise(StoredSnapshot(seq=head + 1, format=1, body=body)),
        otherwise(StoredSnapshot(seq=head, format=1, body=b'{"orders": 7}')),
        otherwise(StoredSnapshot(seq=head, format=1, body=b"\x00 torn")),
    ]

    newer = StoredSnapshot(seq=head + 1, format=FORMAT, body=body)
    assert _from_snapshot(newer, head, Settings())[1] == 0
    assert (from_snapshot.folded, from_snapshot.snapshot_seq) == (0, head)
    assert [each.folded for each in others] == [head] * 4
    assert {each.desk.dump() for each in [from_snapshot, *others]} == {body}


def test_snapshots_are_kept_as_records_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many records the desk is kept whole, so that a start after a crash is short."""
    monkeypatch.setattr(turns, "RECORDS_PER_ORDER_MIN", 1)

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal, snapshot_every=40) as manager:
            await trade_many(manager, broker, 30)
            taken = (await manager.statistics())["engine"]["snapshots"]
            await crash(manager)
        again = recover(MemoryJournal(journal.crash()), "main", Settings())

        assert taken in {2, 3}
        assert again.folded < 41
        assert again.desk.dump() == manager._runner.desk.dump()

    case()
