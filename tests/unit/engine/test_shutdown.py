"""How a desk ends: what is asked of it is checked first, carried out, bounded, and never lost."""

import asyncio
import logging
from typing import Any

import pytest

from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.values import Status
from holdfast.engine import runner as engine_runner
from holdfast.engine.budget import RateRules
from holdfast.engine.desk_parts import Options
from holdfast.engine.desks import AccountPlan, OpenDesks
from holdfast.engine.manager import Manager
from holdfast.engine.runner import Mode
from holdfast.errors import Closed, InputError, JournalUnwritable
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import INSTRUMENTS, Hang, Raise, ScriptedBroker, open_desk
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager

STUCK = [Hang(carried_out=False)] * 50


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def hold(manager: OrderManager, broker: ScriptedBroker) -> None:
    """Be long 10 TSLA."""
    order = await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
    broker.fill(order.wire_id, 10, "250")
    await manager.wait(order.client_order_id)


class Journal(MemoryJournal):
    """Tells whether it was closed; `full` keeps it from taking a snapshot."""

    closed = False
    full = False

    def save_snapshot(self, desk: str, snapshot: Any) -> None:
        """Keep a snapshot, or raise."""
        if self.full:
            raise JournalUnwritable("the disk is full at the end")
        super().save_snapshot(desk, snapshot)

    def close(self) -> None:
        """Close."""
        self.closed = True
        super().close()


@virtual
async def test_flattening_is_decided_even_where_cancels_hang() -> None:
    """The wish to be flat is durable at once; at the timeout the next start has it (P1)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        await hold(manager, broker)
        await manager.place_limit_order("TSLA", "buy", 5, "90", wait="accepted")
        broker.script("cancel", *STUCK)
        began = seconds()
        await manager.shutdown("flatten", timeout=5)
        assert 5 <= seconds() - began < 6
    broker._script.clear()

    async with open_desk(broker, MemoryJournal(journal.crash())) as manager:
        await asyncio.sleep(30)
        exits = [each for each in broker.sent(SubmitOrder) if each.reducing]
        assert [each.terms.quantity for each in exits] == [10]


@virtual
async def test_flatten_waits_until_the_position_is_closed() -> None:
    """Orders go, the exit goes out, and the desk closes once it is flat."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await hold(manager, broker)
        ending = asyncio.create_task(manager.shutdown("flatten", timeout=60))
        await asyncio.sleep(3)
        assert not ending.done()
        (exit_,) = [each for each in broker.sent(SubmitOrder) if each.reducing]
        broker.fill(exit_.wire_id, 10, "249")
        await asyncio.sleep(1)
        assert ending.done()


@pytest.mark.parametrize("timeout", ["soon", "3", None, -1, float("nan"), True])
@virtual
async def test_a_bad_timeout_is_refused_before_anything_happens(timeout: Any) -> None:
    """No order is taken, cancelled or stopped by a call that cannot be carried out as given."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 1, "1", wait="accepted")
        broker.calls.clear()
        calls = (
            lambda: manager.place_limit_order("TSLA", "buy", 1, "1", timeout=timeout),
            lambda: manager.wait(order.client_order_id, timeout=timeout),
            lambda: manager.cancel_all_open_orders(timeout=timeout),
            lambda: manager.engage_kill_switch(by="ann", reason="x", timeout=timeout),
            lambda: manager.synchronize_open_orders(timeout=timeout),
            lambda: manager.shutdown(timeout=timeout),
        )
        for call in calls:
            with pytest.raises(InputError, match="timeout is"):
                await call()
        assert broker.calls == []
        assert (await manager.guard()).kill is None
        await manager.place_limit_order("TSLA", "buy", 1, "1", wait="accepted")


@pytest.mark.parametrize("mode", ["canel", "", None, []])
@virtual
async def test_an_unknown_mode_leaves_the_desk_open(mode: Any) -> None:
    """A typo in the mode closes nothing and stops no entries."""
    async with open_desk(ScriptedBroker()) as manager:
        with pytest.raises(InputError, match="mode is"):
            await manager.shutdown(mode)
        await manager.place_limit_order("TSLA", "buy", 1, "1", wait="accepted")


@pytest.mark.parametrize("wait", ["acepted", None, []])
@virtual
async def test_an_unknown_wait_places_nothing(wait: Any) -> None:
    """What a caller would wait for is known before the order is taken."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        with pytest.raises(InputError, match="give durable or accepted"):
            await manager.place_limit_order("TSLA", "buy", 1, "1", wait=wait)
        assert broker.sent(SubmitOrder) == []


@virtual
async def test_a_snapshot_that_fails_keeps_nothing_from_being_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It only saves time at the next start: that it was not kept is a warning."""
    journal = Journal()
    async with open_desk(ScriptedBroker(), journal) as manager:
        await manager.place_limit_order("TSLA", "buy", 1, "1", wait="accepted")
        journal.full = True
    assert journal.closed
    assert (await manager.health()).mode is Mode.CLOSED
    assert "the last snapshot was not kept" in caplog.text


@virtual
async def test_a_part_that_fails_keeps_no_other_from_being_closed() -> None:
    """The journal is closed though the account was not; what went wrong is raised at the end."""
    journal = Journal()
    manager = await OrderManager.start(
        journal=journal, broker=ScriptedBroker(), clock=virtual_clock(), options=Options()
    )
    close = manager._parts.account.close

    async def fail() -> None:
        await close()
        raise OSError("no such connection")

    manager._parts.account.close = fail  # type: ignore[method-assign]  # it fails
    with pytest.raises(OSError, match="no such connection"):
        await manager.shutdown()
    assert journal.closed
    assert (await manager.health()).mode is Mode.CLOSED


@virtual
async def test_a_journal_that_never_answers_is_waited_for_so_long() -> None:
    """A close is bounded by the timeout and a bound of its own."""
    journal = MemoryJournal()
    async with open_desk(ScriptedBroker(), journal) as manager:
        await manager.place_limit_order("TSLA", "buy", 1, "1", wait="accepted")
        journal.pause()
        placing = asyncio.create_task(manager.place_limit_order("TSLA", "buy", 1, "1"))
        await asyncio.sleep(0.1)
        began = seconds()
        await manager.shutdown(timeout=5)
        assert seconds() - began <= 5 + engine_runner.DRAIN_MAX_S + 1
        with pytest.raises(Closed):
            await placing


@virtual
async def test_abandon_ends_a_shutdown_that_waits() -> None:
    """A second signal is immediate; whoever waited for the shutdown is told of its end."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        broker.script("submit", *STUCK)
        await manager.place_market_order("TSLA", "buy", 10)
        ending = asyncio.create_task(manager.shutdown("leave", timeout=60))
        await asyncio.sleep(0.1)
        began = seconds()
        await manager.abandon()
        await ending
        assert seconds() - began < 0.1
        assert (await manager.health()).mode is Mode.CLOSED


@virtual
async def test_a_stricter_second_call_is_heeded_while_the_first_waits() -> None:
    """Leave, then cancel, then flatten: more may be asked for, less is not."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await hold(manager, broker)
        order = await manager.place_limit_order("TSLA", "buy", 1, "90", wait="accepted")
        broker.script("submit", Hang())
        await manager.place_limit_order("TSLA", "buy", 1, "91")
        broker.script("lookup", *STUCK)
        first = asyncio.create_task(manager.shutdown("leave", timeout=60))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(manager.shutdown("cancel"))
        await asyncio.sleep(0.1)
        assert broker.orders[order.wire_id].status is Status.CANCELED
        third = asyncio.create_task(manager.shutdown("flatten"))
        await asyncio.sleep(0.1)
        assert (await manager.guard()).flattening == ("TSLA",)
        await asyncio.gather(first, second, third)


@virtual
async def test_more_than_was_asked_for_is_too_late_after_the_end() -> None:
    """A desk that was left as it was cannot be flattened any more, and says so."""
    async with open_desk(ScriptedBroker()) as manager:
        await manager.shutdown("leave")
        with pytest.raises(Closed, match="open it again to flatten"):
            await manager.shutdown("flatten")
        await manager.shutdown("leave")


@virtual
async def test_what_is_not_settled_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Two open orders and one without a broker id: each is named, whatever failed (scenario 28)."""
    caplog.set_level(logging.WARNING)
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        gone, kept = [
            await manager.place_limit_order("TSLA", "buy", 1, price, wait="accepted")
            for price in ("50", "51")
        ]
        broker.script("submit", *STUCK)
        lost = await manager.place_limit_order("TSLA", "buy", 1, "60")
        await asyncio.sleep(0.1)
        broker.script("lookup", *STUCK)
        broker.before_call = lambda call: (
            broker.script("cancel", Raise(OSError("x")))
            if isinstance(call, CancelOrder) and call.orig_wire_id != gone.wire_id
            else None
        )
        await manager.shutdown("cancel", timeout=10)
    assert broker.orders[gone.wire_id].status is Status.CANCELED
    said = caplog.text
    assert f"order {gone.client_order_id} " not in said
    assert f"order {kept.client_order_id} ({kept.broker_order_id}) is left open" in said
    assert f"order {lost.client_order_id} (without a broker id) is left new" in said


@virtual
async def test_only_entries_are_refused_while_shutting_down() -> None:
    """A person may still settle an order, and exits and alerts pass; entries do not."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await hold(manager, broker)
        working = await manager.place_limit_order("TSLA", "buy", 1, "90", wait="accepted")
        broker.script("submit", Hang())
        order = await manager.place_limit_order("TSLA", "buy", 1, "1")
        ending = asyncio.create_task(manager.shutdown(timeout=20))
        await asyncio.sleep(0.1)
        person = {"by": "ann", "reason": "seen at the broker"}
        await manager.resolve(order.client_order_id, "look_again", **person)
        await manager.raise_alert("SEEN", "by a person")
        await manager.stop_flattening(**person)
        await manager.place_market_order("TSLA", "sell", 1, reduce_only=True)
        with pytest.raises(Closed, match="takes no new orders"):
            await manager.place_market_order("TSLA", "buy", 1)
        with pytest.raises(Closed, match="takes no new orders"):
            await manager.replace_order(working.client_order_id, quantity=2)
        await ending


@virtual
async def test_one_order_without_an_end_does_not_lose_the_results_of_the_others() -> None:
    """A desk that closes under a cancel-all tells what became of each order as far as known."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        for price in ("50", "51"):
            await manager.place_limit_order("TSLA", "buy", 1, price, wait="accepted")
        broker.before_call = lambda call: (
            broker.script("cancel", Hang(carried_out=False))
            if isinstance(call, CancelOrder) and call.number == 2
            else None
        )
        cancelling = asyncio.create_task(manager.cancel_all_open_orders(timeout=30))
        await asyncio.sleep(1)
        await manager.shutdown(timeout=1)
        results = await cancelling
    assert [result.outcome for result in results] == ["canceled", "pending"]
    assert "shut down" in results[1].text


@virtual
async def test_statistics_show_quotes_and_account() -> None:
    """How often prices and figures came, were dropped or failed can be read."""
    async with open_desk(ScriptedBroker()) as manager:
        shown = await manager.statistics()
        assert shown["account"]["asked"] == 0
        assert shown["quotes"] == {}


@pytest.mark.parametrize("abandoned", [True, False])
@virtual
async def test_a_closed_desk_sends_nothing_more_on_a_shared_account(abandoned: bool) -> None:
    """What it had queued behind the rate is not sent after its end; its neighbour trades on."""
    broker = ScriptedBroker()
    desks = OpenDesks(MemoryJournal(), Manager, virtual_clock())
    names = ("alpha", "beta")
    plan = AccountPlan(
        name="main",
        broker=broker,
        desks=tuple(Options(desk=n, account="main", instruments=INSTRUMENTS) for n in names),
        poll_interval_ms=15_000,
        rate=RateRules(requests_per_second=1, burst=1),
        unclaimed=False,
    )
    await desks.add(plan)
    alpha = desks["alpha"]
    for price in range(50, 70):
        await alpha.place_limit_order("TSLA", "buy", 1, price)
    await asyncio.sleep(2)
    await (alpha.abandon() if abandoned else alpha.shutdown(timeout=1))
    before = len(broker.sent(SubmitOrder))
    await asyncio.sleep(30)
    assert 0 < len(broker.sent(SubmitOrder)) == before < 20
    await desks["beta"].place_limit_order("TSLA", "buy", 1, 1, wait="accepted")
    await desks.shutdown(timeout=1)
