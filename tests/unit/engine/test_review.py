"""What must hold in an open desk when calls queue, disks fill twice, and inputs are broken."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import LookupOrder, SubmitOrder
from holdfast.domain.inputs import Answer, Input, Submit
from holdfast.domain.reports import Accepted, Outcome, Refused, Report, ReportKind
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.desk_parts import Options
from holdfast.engine.emergency import LINES_MAX, EmergencyLog, Line
from holdfast.engine.recovery import recover
from holdfast.engine.routing import TOLD_MAX, Routing
from holdfast.engine.rows import Rows
from holdfast.engine.runner import Mode
from holdfast.errors import HoldfastError, InputError, JournalError, JournalUnwritable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.reader import SqliteReader
from holdfast.testing.desk_ports import HearingPort
from holdfast.testing.scripted import EPOCH, INSTRUMENTS, ScriptedBroker, open_desk
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager

LONE = "not enough \ud83d"


class Slow(ScriptedBroker):
    """Takes `wait_s` for every submit, and makes an order of each."""

    def __init__(self, wait_s: float, unique_ids: Any = "none") -> None:
        super().__init__(Capabilities(unique_ids=unique_ids))
        self.wait_s = wait_s
        self.made: Counter[str] = Counter()

    async def submit(self, order: SubmitOrder) -> Outcome:
        await asyncio.sleep(self.wait_s)
        self.made[order.wire_id] += 1
        outcome = await super().submit(order)
        if isinstance(outcome, Accepted):
            self.fill(order.wire_id, 1, "250")
        return outcome


@pytest.mark.parametrize("unique_ids", ["none", "while_open"])
def test_a_call_that_waits_for_its_turn_is_never_taken_for_absent(unique_ids: str) -> None:
    """Four hundred orders on a slow account: none is made twice, none fails and is made (P2)."""

    @virtual
    async def case() -> None:
        broker = Slow(4, unique_ids)
        async with open_desk(broker) as manager:
            orders = [await manager.place_market_order("TSLA", "buy", 1) for _ in range(400)]
            await asyncio.sleep(200)
            ends = {o.wire_id: (await manager.order(o.wire_id)).status for o in orders}

        assert max(broker.made.values()) == 1
        made = {wire_id for wire_id, status in ends.items() if status is Status.FILLED}
        assert made == set(broker.made)
        assert set(ends.values()) == {Status.FILLED, Status.FAILED}

    case()


@virtual
async def test_a_backlog_is_worked_off_without_a_question() -> None:
    """A thousand orders on an account that takes 128 a second all get there (scenario 91)."""
    broker = Slow(0.5)
    async with open_desk(broker) as manager:
        for _ in range(1_000):
            await manager.place_market_order("TSLA", "buy", 1)
        await asyncio.sleep(30)
        filled = await manager.orders(status="filled")

    assert len(filled) == len(broker.made) == 1_000
    assert broker.sent(LookupOrder) == []


async def _halted(journal: MemoryJournal, broker: ScriptedBroker, log: Path) -> OrderManager:
    """Return a desk that is long 10 and has just lost its disk; it recovers at the first try."""
    options = Options(instruments=INSTRUMENTS, epoch=EPOCH, emergency_path=log)
    manager = await OrderManager.start(
        journal=journal, broker=broker, clock=virtual_clock(), options=options
    )
    held = await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
    broker.fill(held.wire_id, 10, "250")
    await manager.wait(held.client_order_id)
    journal.fail_at(manager._runner.durable_seq + 1)
    with pytest.raises(JournalUnwritable):
        await manager.place_market_order("TSLA", "buy", 1)
    return manager


def test_an_exit_is_adopted_although_no_line_could_be_written(tmp_path: Path) -> None:
    """With the log on the same full disk the desk still hears of its exit (scenario 87)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        manager = await _halted(MemoryJournal(), broker, tmp_path / "no folder" / "x.jsonl")
        exit_ = await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        await asyncio.sleep(60)
        broker.fill(exit_.wire_id, 10, "249")
        await manager.wait(exit_.client_order_id)

        assert (await manager.positions())["TSLA"].quantity == 0
        await manager.shutdown()

    case()


def test_a_halt_that_comes_back_sends_no_second_exit(tmp_path: Path) -> None:
    """An exit stays in mind until it is durable, however often the disk fills (P2)."""

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        manager = await _halted(journal, broker, tmp_path / "x.jsonl")
        runner = manager._runner
        first = await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
        # Something is to be written before the exit is, and neither can be.
        broker.report(Report(kind=ReportKind.TRADE_CANCEL, wire_id=f"{EPOCH}-main-1"))
        before = runner.durable_seq
        append = journal.append

        def full(batch: Any, done: Any) -> None:
            done(JournalUnwritable("full again"))

        journal.append = full  # type: ignore[method-assign]  # the disk fills once more
        for _ in range(8):
            await asyncio.sleep(1)
            if runner.mode is Mode.HALTED:
                runner.durable_seq += 1  # as if a record had become durable in between
                again = await manager.place_market_order("TSLA", "sell", 10, reduce_only=True)
                assert again.wire_id == first.wire_id
        journal.append = append  # type: ignore[method-assign]  # room again
        await asyncio.sleep(60)

        assert runner.mode is Mode.RUNNING
        assert runner.durable_seq > before
        assert runner.desk.find(first.wire_id) is not None
        sells = [call for call in broker.sent(SubmitOrder) if call.terms.reduce_only]
        assert len(sells) == 1
        await manager.shutdown()

    case()


def test_of_a_long_emergency_log_the_newest_lines_count(tmp_path: Path) -> None:
    """Years of old lines do not hide the exit of today."""
    log = EmergencyLog(tmp_path / "x.jsonl")
    line = b'{"kind":"cancel","at_ns":1,"wire_id":"old"}\n'
    (tmp_path / "x.jsonl").write_bytes(line * LINES_MAX)
    log.write(Line(kind="exit", at_ns=2, wire_id="new"))

    assert [each.wire_id for each in log.owed()] == ["new"]


@virtual
async def test_a_brokers_text_that_is_no_unicode_is_journaled() -> None:
    """A refusal in broken text is a refusal, and the journal gives back the same desk (P8)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        broker.script("submit", Refused(text=LONE))
        order = await manager.place_limit_order("TSLA", "buy", 5, "240")
        done = await manager.wait(order.client_order_id)
        folded = recover(journal, "main", Settings()).desk
        same = folded.dump() == manager._runner.desk.dump()

    assert (done.status, done.text) == (Status.REJECTED, "not enough ?")
    assert same


@virtual
async def test_callers_texts_that_are_no_unicode_are_refused() -> None:
    """What cannot be written down is refused before anything is recorded, wherever it stands."""
    async with open_desk(ScriptedBroker()) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 5, "240", wait="accepted")
        name, before = order.client_order_id, manager._runner.durable_seq
        for call in (
            manager.place_limit_order("TSLA", "buy", 5, "240", strategy=LONE),
            manager.place_limit_order("TSLA", "buy", 5, "240", client_order_id=LONE),
            manager.cancel_order(name, reason=LONE),
            manager.cancel_order(LONE),
            manager.resolve(name, "canceled", by="ann", reason=LONE),
        ):
            with pytest.raises(InputError):
                await call
        assert (manager._runner.durable_seq, manager._runner.mode) == (before, Mode.RUNNING)


def test_an_input_whose_rows_cannot_be_made_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of many inputs cannot be written down: it alone is put aside, and nothing differs."""
    sound = Rows.of

    def broken(self: Rows, events: Any) -> Any:
        if any(getattr(event, "strategy", "") == "bad" for event in events):
            raise UnicodeEncodeError("utf-8", LONE, 11, 12, "as the test asked for")
        return sound(self, events)

    @virtual
    async def case() -> None:
        monkeypatch.setattr(Rows, "of", broken)
        journal = MemoryJournal()
        async with open_desk(ScriptedBroker(), journal) as manager:
            calls = [
                manager.submit(symbol="TSLA", side="buy", quantity=1, strategy=name)
                for name in ("a", "b", "bad", "c")
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(1)
            folded = recover(journal, "main", Settings()).desk
            live = manager._runner.desk
            counts = manager._runner.counts

            assert [isinstance(each, HoldfastError) for each in results] == [
                False,
                False,
                True,
                False,
            ]
            assert "could not be processed" in str(results[2])
            assert (counts["quarantined"], manager._runner.mode) == (1, Mode.RUNNING)
            assert folded.dump() == live.dump()

    case()


def test_a_wait_outlives_a_defect_in_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a lost turn would have told is told by the turn that is stepped in its place."""
    sound = Desk.step
    raised: list[Input] = []

    def broken(self: Desk, given: Input, now_ns: int) -> Decision:
        if isinstance(given, Submit) and given.request.strategy == "bad" and not raised:
            raised.append(given)
            raise ZeroDivisionError
        return sound(self, given, now_ns)

    @virtual
    async def case() -> None:
        monkeypatch.setattr(Desk, "step", broken)
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            order = await manager.place_limit_order("TSLA", "buy", 5, "240", wait="accepted")
            waiting = asyncio.create_task(manager.wait(order.client_order_id, timeout=60))
            await asyncio.sleep(0.01)
            other = asyncio.create_task(
                manager.submit(symbol="TSLA", side="buy", quantity=1, strategy="bad")
            )
            await asyncio.sleep(0)
            broker.fill(order.wire_id, 5, "240")
            await asyncio.sleep(1)

            assert len(raised) == 1
            assert waiting.done()
            assert (await waiting).status is Status.FILLED
            assert (await other).number == 2

    case()


def test_a_report_between_an_answer_and_its_step_finds_its_desk() -> None:
    """A report by the broker's id alone is not lost while the answer waits in the inbox (P3)."""
    routing, port = Routing(), HearingPort()
    routing.attach(port)
    for number in range(TOLD_MAX + 1):
        outcome = Accepted(broker_order_id=f"B{number}")
        routing.answered(port, Answer(number=number, wish=0, attempt=1, outcome=outcome))
    routing.reported(Report(kind=ReportKind.EXPIRED, broker_order_id=f"B{TOLD_MAX}"))

    assert len(port.heard) == TOLD_MAX + 2
    assert routing.unclaimed == {}
    assert port.strange == []
    assert len(routing._told) == TOLD_MAX


def test_a_journal_that_is_being_created_is_told_as_one(tmp_path: Path) -> None:
    """Reading a file that its owner has just made says so, and names no table."""
    path = tmp_path / "orders.db"
    path.touch()
    with pytest.raises(JournalError, match="has not finished"):
        SqliteReader(path).desks()
