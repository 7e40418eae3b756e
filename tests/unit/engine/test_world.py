"""The virtual loop: time jumps, threads are waited for, and nothing hangs."""

import asyncio
import threading
from pathlib import Path

import pytest

from holdfast.clock import NS_PER_S
from holdfast.domain.events import AnomalyRecorded
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch
from holdfast.testing.world import (
    START_NS,
    HeldJournal,
    LoopScheduler,
    VirtualClock,
    VirtualLoop,
    run,
    virtual,
    virtual_clock,
)


def test_a_day_passes_at_once_and_in_order() -> None:
    """Timers fire in their order and at their time, without anybody sleeping."""
    clock = VirtualClock()
    fired: list[tuple[str, int]] = []

    async def case() -> None:
        async def after(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, round(asyncio.get_running_loop().time())))

        await asyncio.gather(after("day", 86_400), after("second", 1), after("hour", 3_600))

    run(case(), clock)
    assert fired == [("second", 1), ("hour", 3_600), ("day", 86_400)]
    assert (clock.wall_ns() - START_NS) // NS_PER_S == 86_400


@virtual
async def test_the_clocks_of_a_world_can_be_set_apart() -> None:
    """The wall clock may be set, the machine suspended; the loop's timers notice neither."""
    clock = virtual_clock()
    clock.shift_wall(-NS_PER_S)
    clock.suspend(5 * NS_PER_S)

    assert (clock.wall_ns(), clock.boot_ns()) == (START_NS + 4 * NS_PER_S, 5 * NS_PER_S)
    assert asyncio.get_running_loop().time() == 0


def test_a_wait_for_nothing_is_an_error() -> None:
    """A test that could only hang fails instead."""

    async def case() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is left that could ever happen"):
        run(case())


@virtual
async def test_time_stands_still_while_a_thread_works() -> None:
    """Work in an executor takes no virtual time."""
    loop = asyncio.get_running_loop()
    gate = threading.Event()
    loop.call_later(5, lambda: None)
    working = loop.run_in_executor(None, gate.wait, 10)
    threading.Timer(0.02, gate.set).start()

    assert await working
    assert loop.time() == 0


def test_a_journal_with_a_thread_keeps_time_from_jumping(tmp_path: Path) -> None:
    """A commit takes no virtual time, so a deadline cannot overtake it."""

    @virtual
    async def case() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        journal = HeldJournal(SqliteJournal(tmp_path / "j.db"), loop)
        written: asyncio.Future[BaseException | None] = loop.create_future()
        event = AnomalyRecorded(at_ns=1, code="TEST", text="")

        def done(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(written.set_result, error)

        journal.append(Batch(desk="a", first_seq=1, events=[event]), done)
        async with asyncio.timeout(60):
            assert await written is None
        assert loop.time() == 0
        assert journal.head("a").seq == 1
        journal.close()

    case()


@virtual
async def test_delays_pass_in_the_loops_time() -> None:
    """What a venue waits for is virtual as well."""
    delays = LoopScheduler()
    await delays.sleep(7 * NS_PER_S)
    assert (delays.now_ns() - START_NS) // NS_PER_S == 7


def test_there_is_a_virtual_clock_only_in_a_virtual_loop() -> None:
    """Asking for it elsewhere says how to get one."""

    async def case() -> None:
        virtual_clock()

    with pytest.raises(TypeError, match="start it with `run`"):
        asyncio.run(case())
