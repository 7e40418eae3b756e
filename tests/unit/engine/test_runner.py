"""What is told, and when, while batches are on their way, lost, or make the desk raise."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.events import AnomalyRecorded, OrderSubmitted
from holdfast.domain.inputs import Answer, Quarantined, Submit, Tick
from holdfast.domain.settings import Settings
from holdfast.domain.values import OrderType, Status
from holdfast.engine.feed import Notice
from holdfast.engine.recovery import recover
from holdfast.engine.runner import Mode
from holdfast.engine.turns import FLIGHTS_MAX
from holdfast.errors import (
    Closed,
    Halted,
    HoldfastError,
    JournalUnwritable,
    SequenceConflict,
    UnsupportedOrderTypeError,
)
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager


def is_as_folded(manager: OrderManager, journal: MemoryJournal) -> bool:
    """Compare a manager's memory with what its journal gives, to the byte."""
    return manager._runner.desk.dump() == recover(journal, "main", Settings()).desk.dump()


async def buy(manager: OrderManager, quantity: int = 10, **options: Any) -> Any:
    return await manager.place_limit_order("TSLA", "buy", quantity, "250", **options)


@virtual
async def test_nothing_leaves_and_nobody_hears_before_the_events_are_durable() -> None:
    """While a commit is under way there is no call, no result and no notice (P1, scenario 97)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        events = manager.events()
        journal.pause()
        submitting = asyncio.create_task(buy(manager))
        watching = asyncio.create_task(anext(events))
        await asyncio.sleep(1)
        quiet = (list(broker.calls), submitting.done(), watching.done())
        journal.resume()
        order = await submitting
        first = await watching

    assert quiet == ([], False, False)
    assert order.status is Status.NEW
    assert isinstance(first, Notice)
    assert [type(call) for call in broker.calls] == [SubmitOrder]


@virtual
async def test_what_is_waited_for_is_durable() -> None:
    """A wait does not end by a fill that is not on the disk yet."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await buy(manager, wait="accepted")
        waiting = asyncio.create_task(manager.wait(order.client_order_id))
        await asyncio.sleep(1)
        journal.pause()
        broker.fill(order.wire_id, 10, "249.5")
        await asyncio.sleep(1)
        late = asyncio.create_task(manager.wait(order.client_order_id))
        await asyncio.sleep(1)
        ahead = (await manager.order(order.client_order_id)).status
        before = (waiting.done(), late.done())
        journal.resume()

        assert (ahead, before) == (Status.FILLED, (False, False))
        assert (await waiting).status is (await late).status is Status.FILLED


@virtual
async def test_batches_are_stepped_ahead_of_the_disk_but_not_without_end() -> None:
    """While one batch is written the next ones are prepared, a named number of them."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        journal.pause()
        orders = []
        for _ in range(10):
            orders.append(asyncio.create_task(buy(manager)))
            await asyncio.sleep(0.01)
        ahead = manager._runner.desk.next_number - 1
        journal.resume()
        await asyncio.gather(*orders)

    assert ahead == FLIGHTS_MAX
    assert len(broker.calls) == 10


async def _life(manager: OrderManager, broker: ScriptedBroker, heard: list[Notice]) -> None:
    """Trade one order in two fills, cancel another; errors of a failing journal are the point."""

    async def listen(events: Any) -> None:
        async for each in events:
            heard.append(each)  # noqa: PERF401 - what came so far is looked at while it comes

    listening = asyncio.create_task(listen(manager.events()))
    try:
        for quantity in (10, 7):
            try:
                order = await buy(manager, quantity)
                await asyncio.sleep(0.1)
                if quantity == 10:
                    broker.fill(order.wire_id, 4, "249.5")
                    await asyncio.sleep(0.1)
                    broker.fill(order.wire_id, 6, "249")
                else:
                    await manager.cancel_order(order.client_order_id)
            except HoldfastError:
                pass
            await asyncio.sleep(0.1)
    finally:
        listening.cancel()


def test_an_append_that_fails_leaves_what_a_refold_gives() -> None:
    """For every record k: memory equals a refold to the byte, and k was never heard of (98)."""

    def lost_at(k: int) -> bool:
        found = False

        @virtual
        async def case() -> None:
            nonlocal found
            broker, journal = ScriptedBroker(), MemoryJournal()
            async with open_desk(broker, journal) as manager:
                heard: list[Notice] = []
                journal.fail_at(k, recoveries_refused=1_000)
                # One input at a time, so that every record is the first of a batch once.
                await _life(manager, broker, heard)
                found = manager._runner.mode is Mode.HALTED
                stored = [record.seq for record in journal.records("main")]
                assert is_as_folded(manager, journal)
                assert {each.seq for each in heard} <= set(stored)
                if found:
                    assert len(stored) < k
                written = {
                    event.number
                    for event in map(decode, journal.records("main"))
                    if isinstance(event, OrderSubmitted)
                }
                assert {call.number for call in broker.calls} <= written

        case()
        return found

    failed = [k for k in range(4, 14) if lost_at(k)]
    assert failed == list(range(4, 4 + len(failed)))
    assert len(failed) >= 7


@virtual
async def test_after_a_failure_entries_are_refused_until_the_journal_is_back() -> None:
    """A full disk gives a clear error and no order; once it has room all goes on (scenario 87)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        journal.fail_at(4, recoveries_refused=2)
        with pytest.raises(JournalUnwritable, match="disk is full"):
            await buy(manager)
        with pytest.raises(Halted, match="only cancels and reduce-only exits"):
            await buy(manager)
        halted = await manager.health()
        await asyncio.sleep(60)
        order = await buy(manager, wait="accepted")

    assert (halted.is_ok, halted.mode) == (False, Mode.HALTED)
    assert "disk is full" in halted.fault
    assert order.status is Status.OPEN
    assert len(broker.calls) == 1


@virtual
async def test_what_the_broker_said_in_a_lost_batch_is_stepped_again() -> None:
    """A fill whose record was not written is not forgotten (P3)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal, poll_interval_ms=10_000_000) as manager:
        order = await buy(manager, wait="accepted")
        waiting = asyncio.create_task(manager.wait(order.client_order_id, "filled", 1_000))
        journal.fail_at(6)
        broker.script("poll", *[Hang() for _ in range(100)])
        broker.fill(order.wire_id, 10, "249.5")
        await asyncio.sleep(0.01)
        lost = (await manager.order(order.client_order_id)).status
        after = await waiting

    assert (lost, after.status) == (Status.OPEN, Status.FILLED)


@virtual
async def test_a_second_writer_stops_this_one_for_good() -> None:
    """A record that somebody else wrote is no reason to try again."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await buy(manager, wait="accepted")
        waiting = asyncio.create_task(manager.wait(order.client_order_id))
        journal.fail_at(6, SequenceConflict("record 6 is somebody else's"))
        with pytest.raises(SequenceConflict):
            await manager.cancel_order(order.client_order_id)
        await asyncio.sleep(300)
        with pytest.raises(SequenceConflict):
            await buy(manager)
        with pytest.raises(SequenceConflict):
            await waiting
        health = await manager.health()

    assert health.mode is Mode.FAILED
    assert len(broker.calls) == 1


def raising(
    monkeypatch: pytest.MonkeyPatch, on: Callable[[object], bool], times: int
) -> list[object]:
    """Let the desk raise, half way through, on inputs that a test picks; returns them."""
    raised: list[object] = []
    step = Desk.step

    def broken(self: Desk, given: Any, now_ns: int) -> Decision:
        if on(given) and len(raised) < times:
            raised.append(given)
            self.apply(AnomalyRecorded(at_ns=now_ns, code="HALF", text="done"))
            raise ZeroDivisionError("secret=hunter2")
        return step(self, given, now_ns)

    monkeypatch.setattr(Desk, "step", broken)
    return raised


def test_an_input_that_raised_once_is_stepped_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk is folded anew, and callers notice nothing of a defect that passes."""
    raised = raising(monkeypatch, lambda given: isinstance(given, Submit), 1)

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal) as manager:
            orders = await asyncio.gather(*(buy(manager, n) for n in (1, 2, 3)))
            await asyncio.sleep(1)
            assert is_as_folded(manager, journal)
            statistics = await manager.statistics()
        assert [order.terms.quantity for order in orders] == [1, 2, 3]
        assert len(broker.calls) == 3
        assert statistics["engine"]["refolds"] == 1
        assert statistics["desk"]["anomalies"] == 0

    case()
    assert len(raised) == 1


def test_an_input_that_raises_twice_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller hears of it, an anomaly is journaled, its neighbours go through."""
    raised = raising(
        monkeypatch,
        lambda given: isinstance(given, Submit) and given.request.quantity == 2,
        10,
    )

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal) as manager:
            tasks = (buy(manager, n) for n in (1, 2, 3))
            results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
            first, second, third = results
            await asyncio.sleep(1)
            assert is_as_folded(manager, journal)
            events = [decode(record) for record in journal.records("main")]
        assert isinstance(second, HoldfastError)
        assert "could not be processed" in str(second)
        assert first.terms.quantity == 1
        assert third.terms.quantity == 3
        noted = [event for event in events if isinstance(event, AnomalyRecorded)]
        assert [event.code for event in noted] == ["QUARANTINED"]
        assert "hunter2" not in noted[0].text

    case()
    assert len(raised) == 2


def test_an_answer_that_raises_twice_does_not_stop_the_desk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be processed is noted, and later orders are served."""
    raised = raising(monkeypatch, lambda given: isinstance(given, Answer), 2)

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal) as manager:
            await buy(manager)
            await asyncio.sleep(0.1)
            order = await buy(manager, wait="accepted")
            assert order.status is Status.OPEN
            assert (await manager.statistics())["desk"]["anomalies"] == 1

    case()
    assert len(raised) == 2


def test_ticks_that_raise_rest_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer whose handling fails does not keep the runner folding for ever."""
    raised = raising(monkeypatch, lambda given: isinstance(given, Tick), 1_000)

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        broker.script("submit", Hang())
        async with open_desk(broker, journal) as manager:
            await buy(manager)
            await asyncio.sleep(120)
            order = await buy(manager, wait="accepted")
            assert order.status is Status.OPEN

    case()
    assert 2 <= len(raised) <= 8


def test_not_even_the_note_of_a_defect_stops_the_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """If putting an input aside raises as well, the input is dropped and the desk goes on."""
    raising(
        monkeypatch,
        lambda given: (
            isinstance(given, Quarantined)
            or (isinstance(given, Submit) and given.request.quantity == 2)
        ),
        1_000,
    )

    @virtual
    async def case() -> None:
        async with open_desk(ScriptedBroker()) as manager:
            with pytest.raises(HoldfastError, match="could not be processed"):
                await buy(manager, 2)
            order = await buy(manager, 1, wait="accepted")
            assert order.status is Status.OPEN

    case()


def test_two_defects_far_apart_are_not_one_that_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input is put aside for raising twice in a row, not for a kind that raised long ago."""
    broken = [True]
    raised = raising(monkeypatch, lambda given: isinstance(given, Tick) and broken.pop(), 1_000)

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        broker.script("submit", Hang(), Hang())
        async with open_desk(broker) as manager:
            for _ in range(2):
                broken[:] = [False] * 50 + [True]
                await buy(manager)
                await asyncio.sleep(200)
            figures = await manager.statistics()
        assert figures["engine"]["quarantined"] == 0
        assert figures["engine"]["refolds"] == 2

    case()
    assert len(raised) == 2


@virtual
async def test_what_the_broker_can_do_is_known_again_after_a_refold() -> None:
    """Capabilities are in no record; the folded desk is told them anew."""
    journal = MemoryJournal()
    can = Capabilities(order_types=frozenset({OrderType.LIMIT}))
    async with open_desk(ScriptedBroker(can), journal) as manager:
        journal.fail_at(4)
        with pytest.raises(JournalUnwritable):
            await buy(manager)
        await asyncio.sleep(60)
        with pytest.raises(UnsupportedOrderTypeError):
            await manager.place_market_order("TSLA", "buy", 1)
        assert (await buy(manager, wait="accepted")).status is Status.OPEN


@virtual
async def test_a_long_halt_piles_up_nothing() -> None:
    """Polls of an hour in which nothing can be recorded are not kept (P9)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        journal.fail_at(4, recoveries_refused=1_000)
        with pytest.raises(JournalUnwritable):
            await buy(manager)
        await asyncio.sleep(3_600)
        halted = await manager.health()

    assert broker.polls > 200
    assert (halted.mode, halted.waiting) == (Mode.HALTED, 1)


@virtual
async def test_once_the_journal_is_back_the_account_is_polled() -> None:
    """What was missed while halted is asked for at once, not at the next interval."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal, poll_interval_ms=3_600_000) as manager:
        journal.fail_at(4)
        with pytest.raises(JournalUnwritable):
            await buy(manager)
        before = broker.polls
        await asyncio.sleep(60)

    assert (before, broker.polls) == (1, 2)


@virtual
async def test_only_what_is_surely_durable_may_be_archived() -> None:
    """An event in flight may have the time of the last durable one; that time is not safe."""
    journal = MemoryJournal()
    async with open_desk(ScriptedBroker(), journal) as manager:
        runner = manager._runner
        settled = runner._durable_until_ns()
        journal.pause()
        order = asyncio.create_task(buy(manager))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert settled == runner._durable_ns
        assert runner._durable_until_ns() < runner.desk.state.stored.at_ns
        journal.resume()
        await order


@virtual
async def test_shutdown_sends_what_was_taken_and_takes_no_more_entries() -> None:
    """An order whose commit is under way is sent and answered; a new one is refused (trap 54)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        working = await buy(manager, wait="accepted")
        journal.pause()
        order = asyncio.create_task(buy(manager))
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(manager.shutdown())
        await asyncio.sleep(0.1)
        with pytest.raises(Closed, match="takes no new orders"):
            await buy(manager)
        cancelling = asyncio.create_task(manager.cancel_order(working.client_order_id))
        await asyncio.sleep(0.1)
        journal.resume()
        await asyncio.gather(order, cancelling, closing)

    assert [shown.status for shown in broker.orders.values()] == [Status.CANCELED, Status.OPEN]


@virtual
async def test_after_shutdown_nothing_is_taken() -> None:
    """A closed desk says so."""
    async with open_desk(ScriptedBroker()) as manager:
        pass
    with pytest.raises(Closed, match="open it again"):
        await buy(manager)
