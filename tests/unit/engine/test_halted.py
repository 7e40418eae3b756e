"""Halted mode: what still goes out while the journal cannot be written, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.events import KillSwitchEngaged
from holdfast.domain.reports import LookupResult, NotSent, RefusalCode, Refused, Unknown
from holdfast.domain.values import Side, Status
from holdfast.engine.desk_parts import Options
from holdfast.engine.emergency import EmergencyLog, Line
from holdfast.engine.runner import Mode
from holdfast.errors import (
    Halted,
    InputError,
    JournalUnwritable,
    OrderCancellationError,
    OrderRefused,
    OrderStatusError,
    OrderSubmissionError,
    UnknownSymbolError,
)
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, INSTRUMENTS, Hang, ScriptedBroker, crash
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager


class Halt:
    """A desk that is long 10 TSLA, has one working order, and has lost its disk."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "desk.emergency.jsonl"
        self.broker = ScriptedBroker()
        self.journal = MemoryJournal()
        self.manager: OrderManager
        self.working: Any
        self.durable = 0

    async def open(self, journal: MemoryJournal) -> OrderManager:
        return await OrderManager.start(
            journal=journal,
            broker=self.broker,
            clock=virtual_clock(),
            options=Options(instruments=INSTRUMENTS, epoch=EPOCH, emergency_path=self.log),
        )

    async def hold(self) -> OrderManager:
        """Open the desk and be long."""
        manager = self.manager = await self.open(self.journal)
        held = await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
        self.broker.fill(held.wire_id, 10, "250")
        await manager.wait(held.client_order_id)
        return manager

    def lose_disk(self, *, refused: int) -> None:
        """Let the next batch fail, and so many recoveries."""
        self.durable = self.manager._runner.durable_seq
        self.journal.fail_at(self.durable + 1, recoveries_refused=refused)

    def lines(self) -> list[str]:
        return [line.kind for line in EmergencyLog(self.log)._lines()]


@asynccontextmanager
async def halted(folder: Path, *, refused: int = 1_000) -> AsyncIterator[Halt]:
    halt = Halt(folder)
    manager = await halt.hold()
    halt.working = await manager.place_limit_order("TSLA", "buy", 5, "240", wait="accepted")
    halt.lose_disk(refused=refused)
    with pytest.raises(JournalUnwritable):
        await manager.place_market_order("TSLA", "buy", 1)
    halt.broker.calls.clear()
    try:
        yield halt
    finally:
        await manager.shutdown()


@virtual
async def test_cancels_go_out_and_are_written_down_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cancel is sent directly, with an id of its own, and stands in the file before (87)."""
    async with halted(tmp_path) as halt:
        written: list[list[str]] = []
        halt.broker.before_call = lambda _: written.append(halt.lines())
        order = await halt.manager.cancel_order(halt.working.client_order_id)

        (call,) = halt.broker.sent(CancelOrder)
        assert call.wire_id == f"{EPOCH}-main-x{halt.durable}.2"
        assert call.broker_order_id == halt.working.broker_order_id
        assert order.status is Status.OPEN
        assert written == [["cancel"]]
        assert halt.lines() == ["cancel", "ended"]
        assert halt.broker.orders[halt.working.wire_id].status is Status.CANCELED
    assert capsys.readouterr().err.count("holdfast halted: ") == 2


@virtual
async def test_the_cancel_that_met_the_failure_goes_out_as_well(tmp_path: Path) -> None:
    """A cancel whose own record could not be written is not lost on the caller (P7)."""
    halt = Halt(tmp_path)
    manager = await halt.open(halt.journal)
    order = await manager.place_limit_order("TSLA", "buy", 5, "240", wait="accepted")
    halt.journal.fail_at(manager._runner.durable_seq + 1, recoveries_refused=1_000)
    await manager.cancel_order(order.client_order_id)

    assert halt.broker.orders[order.wire_id].status is Status.CANCELED
    await manager.shutdown()


@virtual
async def test_an_exit_up_to_the_position_goes_out(tmp_path: Path) -> None:
    """A reduce-only order closes what is held; repeated, it is the same order (87)."""
    async with halted(tmp_path) as halt:
        first = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        again = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)

        (call,) = halt.broker.sent(SubmitOrder)
        assert call.wire_id == first.wire_id == again.wire_id
        assert call.wire_id.startswith(f"{EPOCH}-main-x{halt.durable}.")
        assert first.status is Status.OPEN
        assert halt.lines() == ["exit", "ended"]


@pytest.mark.parametrize(
    ("side", "quantity", "options", "error"),
    [
        ("sell", 11, {"reduce_only": True}, OrderRefused),
        ("buy", 1, {"reduce_only": True}, OrderRefused),
        ("sell", 10, {}, Halted),
        ("buy", 1, {}, Halted),
    ],
)
@virtual
async def test_nothing_else_goes_out(
    tmp_path: Path, side: str, quantity: int, options: Any, error: type[Exception]
) -> None:
    """Entries and exits past the position are refused, and the broker hears nothing (87)."""
    async with halted(tmp_path) as halt:
        with pytest.raises(error):
            await halt.manager.place_market_order("TSLA", side, quantity, **options)
        with pytest.raises(Halted):
            await halt.manager.replace_order(halt.working.client_order_id, quantity=6)
        assert halt.broker.calls == []
        assert halt.lines() == []


@virtual
async def test_exits_count_what_the_broker_said_meanwhile(tmp_path: Path) -> None:
    """A fill that could not be recorded yet still counts against what may be closed (P7)."""
    async with halted(tmp_path) as halt:
        halt.broker.fill(halt.working.wire_id, 5, "240")
        await asyncio.sleep(0.01)
        exit_ = await halt.manager.place_market_order("TSLA", "sell", 15, reduce_only=True)
        assert exit_.status is Status.OPEN


@virtual
async def test_a_second_exit_of_a_symbol_waits_for_a_person(tmp_path: Path) -> None:
    """Another quantity cannot have the same id, so it is refused with what is known."""
    async with halted(tmp_path) as halt:
        await halt.manager.place_market_order("TSLA", "sell", 4, reduce_only=True)
        with pytest.raises(OrderRefused, match="went out already"):
            await halt.manager.place_market_order("TSLA", "sell", 6, reduce_only=True)


@virtual
async def test_an_exit_without_an_answer_may_be_repeated(tmp_path: Path) -> None:
    """The same id makes a repeat safe; the broker's word that it knows it means that it exists."""
    async with halted(tmp_path) as halt:
        halt.broker.script("submit", Unknown(text="503"))
        first = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        again = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)

        assert (first.status, again.status) == (Status.NEW, Status.OPEN)
        assert len({order.wire_id for order in (first, again)}) == 1
        assert len(halt.broker.orders) == 3


@virtual
async def test_what_the_broker_refuses_is_raised(tmp_path: Path) -> None:
    """A refused exit may be tried again; a refused cancel says why."""
    async with halted(tmp_path) as halt:
        manager, broker = halt.manager, halt.broker
        broker.script("submit", Refused(text="market closed"))
        broker.script("cancel", NotSent(text="429"), Refused(text="x", code=RefusalCode.OTHER))
        with pytest.raises(OrderSubmissionError, match="market closed"):
            await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        again = await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        for _ in range(2):
            with pytest.raises(OrderCancellationError, match="try it again"):
                await manager.cancel_order(halt.working.client_order_id)
        with pytest.raises(OrderStatusError):
            await manager.cancel_order("nobody")
        with pytest.raises(UnknownSymbolError):
            await manager.place_market_order("AAPL", "sell", 1, reduce_only=True)
        assert again.status is Status.OPEN


@virtual
async def test_a_disk_that_takes_no_line_does_not_stop_an_exit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file may be on the same full disk; the error stream has the line (87)."""
    async with halted(tmp_path) as halt:
        halt.log.mkdir()
        await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        halt.log.rmdir()
        assert len(halt.broker.sent(SubmitOrder)) == 1
    assert '"kind":"exit"' in capsys.readouterr().err


@virtual
async def test_exits_are_looked_up_once_the_journal_is_back(tmp_path: Path) -> None:
    """After the halt the desk has the exit, asks for it by its id, and books what it traded."""
    async with halted(tmp_path, refused=2) as halt:
        exit_ = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        await asyncio.sleep(60)

        assert (await halt.manager.health()).mode is Mode.RUNNING
        assert halt.lines() == ["exit", "ended", "adopted"]
        assert EmergencyLog(halt.log).owed() == []
        halt.broker.fill(exit_.wire_id, 10, "251")
        done = await halt.manager.wait(exit_.client_order_id)
        assert (done.status, done.filled_quantity) == (Status.FILLED, 10)
        assert (await halt.manager.positions())["TSLA"].quantity == 0
        order = await halt.manager.place_market_order("TSLA", "buy", 1, wait="accepted")
        assert order.status is Status.OPEN


@virtual
async def test_exits_are_looked_up_at_the_next_start(tmp_path: Path) -> None:
    """Killed while halted, the next start asks for the exit, until the broker answers."""
    async with halted(tmp_path) as halt:
        exit_ = await halt.manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        await crash(halt.manager)
        store = halt.journal.crash()
        halt.broker.calls.clear()
        halt.broker.script("lookup", LookupResult(text="503"), Hang())

        journal = MemoryJournal(store)
        manager = await halt.open(journal)
        await asyncio.sleep(120)
        asked = [
            call for call in halt.broker.sent(LookupOrder) if call.wire_ids == (exit_.wire_id,)
        ]
        assert len(asked) >= 2
        assert halt.lines()[-1] == "adopted"
        order = await manager.order(exit_.client_order_id)
        found = halt.broker.orders[exit_.wire_id].broker_order_id
        assert (order.status, order.broker_order_id) == (Status.OPEN, found)
        assert halt.broker.sent(SubmitOrder) == []
        await manager.shutdown()


def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path) -> None:
    """What is written after a torn line can be read: an exit adopted then is owed no more (58)."""
    path = tmp_path / "log.jsonl"
    log = EmergencyLog(path)
    log.write(Line(kind="exit", at_ns=1, wire_id="a"))
    with path.open("ab") as file:
        file.write(b'{"kind":"exit","at_ns":2,"wi')
    log.write(Line(kind="adopted", at_ns=3, wire_id="a"))
    assert log.owed() == []


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    """What a full disk cut off is passed over; whole lines are still owed."""
    path = tmp_path / "log.jsonl"
    log = EmergencyLog(path)
    log.write(Line(kind="exit", at_ns=1, wire_id="a"))
    with path.open("ab") as file:
        file.write(b'{"kind":"exit","at_ns":2,"wi\n')
    log.write(Line(kind="exit", at_ns=3, wire_id="c"))
    log.write(Line(kind="adopted", at_ns=4, wire_id="a"))

    assert [line.wire_id for line in log.owed()] == ["c"]


PERSON: Any = {"by": "ann", "reason": "the feed is wrong"}


@virtual
async def test_a_kill_switch_holds_before_any_entry_once_the_journal_is_back(
    tmp_path: Path,
) -> None:
    """Turned while halted it cancels at once, is shown, and is engaged first of all (42)."""
    async with halted(tmp_path, refused=2) as halt:
        manager = halt.manager
        (result,) = await manager.engage_kill_switch(**PERSON)
        await manager.engage_kill_switch(**PERSON)
        assert (result.outcome, result.order.number) == ("pending", halt.working.number)
        assert halt.broker.orders[halt.working.wire_id].status is Status.CANCELED
        guard = await manager.guard()
        assert guard.kill is None
        assert guard.unrecorded == ("kill switch, cancel: by ann, the feed is wrong",)
        assert halt.lines().count("kill") == 1

        await asyncio.sleep(60)
        guard = await manager.guard()
        assert guard.kill is not None
        assert (guard.kill.by, guard.unrecorded) == ("ann", ())
        with pytest.raises(OrderRefused, match="KILL_SWITCH"):
            await manager.place_market_order("TSLA", "buy", 1)
        assert EmergencyLog(halt.log).owed() == []


@virtual
async def test_a_switch_goes_before_what_waits_to_be_stepped(tmp_path: Path) -> None:
    """The first record after a halt is the switch, whatever the broker said meanwhile."""
    async with halted(tmp_path, refused=2) as halt:
        await halt.manager.engage_kill_switch(**PERSON)
        halt.broker.fill(halt.working.wire_id, 2, "240")
        seen: list[Any] = []
        halt.manager._runner.on_durable = seen.extend
        await asyncio.sleep(60)
        assert isinstance(seen[0], KillSwitchEngaged)


@virtual
async def test_a_switch_is_engaged_at_the_next_start(tmp_path: Path) -> None:
    """Killed while halted, the next start engages it before anything is sent (42)."""
    async with halted(tmp_path) as halt:
        await halt.manager.engage_kill_switch(**PERSON, action="flatten")
        await crash(halt.manager)
        manager = await halt.open(MemoryJournal(halt.journal.crash()))
        await asyncio.sleep(1)
        guard = await manager.guard()
        assert guard.kill is not None
        assert guard.kill.action == "flatten"
        assert [each.terms.side for each in halt.broker.sent(SubmitOrder)] == [Side.SELL]
        assert EmergencyLog(halt.log).owed() == []
        await manager.shutdown()


@virtual
async def test_a_flattening_begins_once_the_journal_is_back(tmp_path: Path) -> None:
    """While halted it cancels entries and leaves protection; then the position is closed."""
    halt = Halt(tmp_path)
    manager = await halt.hold()
    stop = await manager.place_stop_order(
        "TSLA", "sell", 10, "200", reduce_only=True, wait="accepted"
    )
    entry = await manager.place_limit_order("TSLA", "buy", 5, "240", wait="accepted")
    halt.lose_disk(refused=2)
    await manager.flatten("TSLA", **PERSON)

    assert halt.broker.orders[entry.wire_id].status is Status.CANCELED
    assert halt.broker.orders[stop.wire_id].status is Status.OPEN
    assert (await manager.guard()).unrecorded == ("flatten TSLA: by ann, the feed is wrong",)
    await asyncio.sleep(60)
    assert halt.broker.orders[stop.wire_id].status is Status.CANCELED
    (exit_,) = [each for each in halt.broker.sent(SubmitOrder) if each.reducing][1:]
    halt.broker.fill(exit_.wire_id, 10, "249")
    await asyncio.sleep(1)
    assert (await manager.positions())["TSLA"].quantity == 0
    assert (await manager.guard()).flattening == ()
    await manager.shutdown()


@virtual
async def test_an_exit_past_the_journal_and_a_flattening_close_once(tmp_path: Path) -> None:
    """The exit that went out is counted by the flattening that follows: nothing flips (P7)."""
    halt = Halt(tmp_path)
    manager = await halt.hold()
    halt.lose_disk(refused=2)
    await manager.flatten(**PERSON)
    exit_ = await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
    halt.broker.fill(exit_.wire_id, 10, "249", told=False)
    await asyncio.sleep(120)
    sells = halt.broker.sent(SubmitOrder)[1:]
    assert [each.wire_id for each in sells] == [exit_.wire_id]
    assert (await manager.positions())["TSLA"].quantity == 0
    await manager.shutdown()


@pytest.mark.parametrize(
    "bad",
    [
        {"by": "", "reason": "x"},
        {"by": "ann", "reason": " "},
        {"by": "ann", "reason": "x", "action": "bogus"},
        {"by": "ann", "reason": "x", "timeout": "soon"},
    ],
)
@virtual
async def test_a_bad_switch_does_nothing_while_halted(tmp_path: Path, bad: Any) -> None:
    """It is checked as ever: no name, no reason or an unknown action sends and keeps nothing."""
    async with halted(tmp_path) as halt:
        with pytest.raises(InputError):
            await halt.manager.engage_kill_switch(**bad)
        assert halt.broker.calls == []
        assert (await halt.manager.guard()).unrecorded == ()


@virtual
async def test_cancel_all_while_halted_chooses_as_ever_from_one_look(tmp_path: Path) -> None:
    """The desk is looked at once for all orders; an unknown symbol is refused in the same words."""
    async with halted(tmp_path) as halt:
        looks: list[int] = []
        ahead = halt.manager._runner.ahead

        def look() -> Any:
            looks.append(1)
            return ahead()

        halt.manager._runner.ahead = look  # type: ignore[method-assign]  # it is counted
        with pytest.raises(UnknownSymbolError, match="nothing was cancelled"):
            await halt.manager.cancel_all_open_orders(symbol="NOPE")
        assert halt.broker.calls == []
        looks.clear()
        results = await halt.manager.cancel_all_open_orders(symbol="TSLA")
        assert [result.outcome for result in results] == ["pending"]
        assert looks == [1]
