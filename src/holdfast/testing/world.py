"""Virtual time for asyncio: code that waits an hour runs at once, and the same every time.

`run(main())` runs a coroutine on a loop whose clock stands still while there is work and jumps to
the next timer when there is none. Threads are not part of virtual time: while a journal's writer
or an executor has work outstanding, the loop waits for it in real time and the clock stands.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from holdfast.clock import NS_PER_S
from holdfast.ports import Batch, Head, Journal, Record, StoredSnapshot

# 2026-01-05 14:30 UTC: a Monday on which American markets are open.
START_NS: Final = 1_767_623_400 * NS_PER_S
# A thread that has not come back by then never will: the test fails and does not hang.
THREAD_WAIT_MAX_S: Final = 30.0

_Result = TypeVar("_Result")
_P = ParamSpec("_P")


class VirtualClock:
    """Both clocks of the machine, moved by the loop or by hand; in integer nanoseconds."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.loop_ns = 0
        self._suspended_ns = 0
        self._start_ns = start_ns
        self._wall_shift_ns = 0

    def wall_ns(self) -> int:
        """UTC nanoseconds, wherever `set_wall` put them."""
        return self._start_ns + self.boot_ns() + self._wall_shift_ns

    def boot_ns(self) -> int:
        """Nanoseconds since the world began, suspended time included; never falls."""
        return self.loop_ns + self._suspended_ns

    def advance(self, by_ns: int) -> None:
        """Let time pass; timers of a loop that is due by then run next."""
        self.loop_ns += by_ns

    def shift_wall(self, by_ns: int) -> None:
        """Set the wall clock forward or back, as a person or an NTP daemon does."""
        self._wall_shift_ns += by_ns

    def suspend(self, for_ns: int) -> None:
        """Suspend the machine: the clocks go on, the loop's timers do not notice."""
        self._suspended_ns += for_ns


class _JumpingSelector(selectors.DefaultSelector):
    """Answers at once and, where the loop would have slept, moves its clock instead."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.outstanding = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.outstanding:
            ready = super().select(THREAD_WAIT_MAX_S)
            if not ready:
                raise RuntimeError(f"{self.outstanding} threads have not answered; one is stuck")
            return ready
        if timeout is None:
            raise RuntimeError("nothing is left that could ever happen, yet somebody waits")
        self._clock.advance(int(timeout * NS_PER_S) + 1)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._jumping = _JumpingSelector(clock)
        self.clock = clock
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds of virtual time since the world began, without the suspended ones."""
        return self.clock.loop_ns / NS_PER_S

    def hold(self) -> None:
        """Keep time from jumping: a thread has something to do for this loop."""
        self._jumping.outstanding += 1

    def release(self) -> None:
        """Undo one `hold`; from any thread, after its result was handed to the loop."""
        self.call_soon_threadsafe(self._released)

    def _released(self) -> None:
        self._jumping.outstanding -= 1

    def run_in_executor(  # type: ignore[override]  # the same arguments, without their variance
        self, executor: Executor | None, func: Callable[..., _Result], *args: Any
    ) -> "asyncio.Future[_Result]":
        """Run a function in a thread; time stands still until it returns."""
        self.hold()
        future: asyncio.Future[_Result] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: self._released())
        return future

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ARG002 - 3.12 gives one, 3.11 takes none
    ) -> None:
        """Wait for the executor's threads to end; time stands still meanwhile."""
        self.hold()
        try:
            await super().shutdown_default_executor()
        finally:
            self._released()


def run(main: Coroutine[Any, Any, _Result], clock: VirtualClock | None = None) -> _Result:
    """Run a coroutine to its end in virtual time, then end whatever it left running."""
    loop = VirtualLoop(clock or VirtualClock())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


def virtual(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Make a test out of a coroutine function: it runs in virtual time, on a loop of its own."""

    @wraps(test)
    def in_virtual_time(*args: _P.args, **kwargs: _P.kwargs) -> None:
        run(test(*args, **kwargs))

    return in_virtual_time


def virtual_clock() -> VirtualClock:
    """Return the clock of the running virtual loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError(f"the running loop is a {type(loop).__name__}; start it with `run`")
    return loop.clock


class LoopScheduler:
    """Time and delays of the running virtual loop, for a venue that takes its time."""

    def now_ns(self) -> int:
        """UTC nanoseconds as the world has them, whoever sets the clocks of the desk's machine."""
        return START_NS + virtual_clock().loop_ns

    async def sleep(self, duration_ns: int, /) -> None:
        """Wait for so many nanoseconds."""
        await asyncio.sleep(duration_ns / NS_PER_S)


class HeldJournal:
    """A journal with a writer thread, for a virtual loop: time stands still while it writes."""

    def __init__(self, journal: Journal, loop: VirtualLoop) -> None:
        self._journal = journal
        self._loop = loop

    def append(self, batch: Batch, done: Callable[[BaseException | None], None]) -> None:
        """Queue a batch; the loop's clock waits for it."""
        self._loop.hold()

        def settled(error: BaseException | None) -> None:
            done(error)
            self._loop.release()

        self._journal.append(batch, settled)

    def head(self, desk: str) -> Head:
        """Return where the desk's records end."""
        return self._journal.head(desk)

    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        """Read stored records in order."""
        return self._journal.records(desk, after_seq)

    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of ended orders by any of their names."""
        return self._journal.recall(desk, names)

    def bodies(self, desk: str, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies of ended orders by their numbers."""
        return self._journal.bodies(desk, numbers)

    def save_snapshot(self, desk: str, snapshot: StoredSnapshot) -> None:
        """Keep a snapshot."""
        self._journal.save_snapshot(desk, snapshot)

    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        """Return the newest snapshot, or None."""
        return self._journal.load_snapshot(desk)

    def recover(self) -> None:
        """Try to write again after a failure."""
        self._journal.recover()

    def keep_raw(self, desk: str, number: int, at_ns: int, body: bytes) -> None:
        """Keep the last raw broker body of an order."""
        self._journal.keep_raw(desk, number, at_ns, body)

    def statistics(self) -> dict[str, int]:
        """Return the journal's counters."""
        return self._journal.statistics()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
