"""Groups over lost answers, a lost disk, a desk that forgets, and the end of its process."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.inputs import Connected, Resume, Tick
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.engine.group_views import GroupView
from holdfast.errors import JournalUnwritable
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, Hang, ScriptedBroker, open_desk
from holdfast.testing.scripted_groups import ENTRY, TERMS, place, protect, working
from holdfast.testing.world import virtual


@virtual
async def test_what_was_not_written_is_told_to_nobody() -> None:
    """A bracket that could not be recorded is refused, sent nowhere, and wakes no wait (P1, 98)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    heard: list[GroupView] = []

    async def listen(group: GroupView) -> None:
        heard.append(group)

    async with open_desk(broker, journal) as manager:
        manager.on_group(listen)
        group = await place(manager)
        await asyncio.sleep(0.1)
        heard_before = len(heard)
        waiting = asyncio.create_task(manager.wait_group(group.group, "protected"))
        await asyncio.sleep(0)
        journal.fail_at(manager._runner.durable_seq + 1, recoveries_refused=3)
        with pytest.raises(JournalUnwritable):
            await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert len(heard) == heard_before
        assert (await waiting).covered == 3
        assert [each.group for each in await manager.groups()] == [1]


@virtual
async def test_a_group_survives_a_crash() -> None:
    """After a restart it is what it was, and goes on (scenario 85)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        await protect(manager, broker)
        before = await manager.group(1)
        await manager.abandon()
    async with open_desk(broker, MemoryJournal(journal.crash())) as manager:
        after = await manager.group(before.group)
        assert (after.phase, after.history, after.stop) == (
            before.phase,
            before.history,
            before.stop,
        )
        await asyncio.sleep(1)
        broker.fill(f"{EPOCH}-main-g1.stop.1", 3, "95")
        closed = await manager.wait_group(before.group)
        assert working(broker) == {}

    assert (closed.exited, closed.owed) == (3, 0)


async def unprotected(manager: Any, broker: ScriptedBroker) -> int:
    """Hold a bracket whose stop was refused a moment ago, to be tried again; return its number."""
    group = await place(manager)
    broker.script("submit", Refused(text="no stops now", code=RefusalCode.OTHER))
    broker.fill(ENTRY, 3, "100")
    held: GroupView = await manager.wait_group(group.group, "entered")
    await asyncio.sleep(0.05)
    assert working(broker) == {"g1.target.1": 3}
    return held.group


def stepped(monkeypatch: pytest.MonkeyPatch, raises: Callable[[Any], bool]) -> list[type]:
    """Note the kinds of all inputs; the first one that `raises` picks makes the desk raise."""
    kinds: list[type] = []
    step = Desk.step
    raised: list[Any] = []

    def noted(self: Desk, given: Any, now_ns: int) -> Decision:
        kinds.append(type(given))
        if not raised and raises(given):
            raised.append(given)
            raise ZeroDivisionError
        return step(self, given, now_ns)

    monkeypatch.setattr(Desk, "step", noted)
    return kinds


@virtual
async def test_a_stop_is_tried_again_though_the_desk_forgot_when(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tick for it raises and the desk is folded anew: no other input has to come first."""
    broker = ScriptedBroker()
    async with open_desk(broker, poll_interval_ms=3_600_000) as manager:
        number = await unprotected(manager, broker)
        kinds = stepped(monkeypatch, lambda given: isinstance(given, Tick))
        group = await manager.wait_group(number, "protected", timeout=5)
        assert manager._runner.counts["refolds"] == 1
        assert kinds[:3] == [Tick, Connected, Tick]

    assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]


@virtual
async def test_a_stop_is_tried_again_once_the_journal_is_back() -> None:
    """Though the account does not answer the poll that follows, and nobody asks for anything."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal, poll_interval_ms=3_600_000) as manager:
        number = await unprotected(manager, broker)
        broker.script("poll", Hang())
        journal.fail_at(manager._runner.durable_seq + 1)
        with pytest.raises(JournalUnwritable):
            await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        group = await manager.wait_group(number, "protected", timeout=5)

    assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]


@virtual
async def test_a_start_after_a_long_time_flattens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk resumes before it looks at the time: what went by while down is not counted (85)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        number = await unprotected(manager, broker)
        await manager.abandon()
    await asyncio.sleep(3_600)
    kinds = stepped(monkeypatch, lambda _given: False)
    async with open_desk(broker, MemoryJournal(journal.crash())) as manager:
        group = await manager.wait_group(number, "protected", timeout=5)
        await asyncio.sleep(60)
        assert working(broker) == {"g1.stop.2": 3, "g1.target.1": 3}
    assert kinds[:2] == [Connected, Resume]
    assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]


@virtual
async def test_a_stop_of_unknown_outcome_is_looked_up_not_repeated() -> None:
    """Through the whole engine: the answer is lost, the stop is found by its id (P2)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await place(manager)
        broker.script("submit", Hang())
        broker.fill(ENTRY, 3, "100")
        protected = await manager.wait_group(group.group, "protected", timeout=60)

    stops = [call for call in broker.sent(SubmitOrder) if "stop" in call.wire_id]
    assert (len(stops), protected.covered) == (1, 3)
    assert broker.sent(CancelOrder) == []
