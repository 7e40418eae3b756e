"""Runs one team's strategy where it can harm nobody else: in a thread of its own, with a limit.

A thread cannot be ended from outside. One that does not come back is left alone and named; its
team is not asked again until it has, and whatever it returns then is dropped, as it was meant for
a market that is gone. What a thread cannot hold off is code that never gives up the interpreter,
or that ends the process; against those only a process of its own helps.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

from holdfast.errors import HoldfastError, InputError
from holdfast.trading.plugins import described
from holdfast.trading.strategy import Market, Signal, Strategy, signals_of

_P = ParamSpec("_P")
_T = TypeVar("_T")

ERROR_LENGTH_MAX: Final = 400


class StrategyError(HoldfastError):
    """A strategy raised, blocked, or returned nonsense; `still_running` where it blocks on."""

    code = "STRATEGY_ERROR"

    def __init__(self, text: str, *, still_running: bool = False) -> None:
        super().__init__(text[:ERROR_LENGTH_MAX])
        self.still_running = still_running


class OwnThread(Executor):
    """One thread that does not keep the process alive: a strategy may never come back."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> "Future[_T]":
        """Run a function in the thread, after whatever it still does."""
        future: Future[_T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - handed on, SystemExit too
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(run)
        return future

    def close(self) -> None:
        """End the thread once it has done what it was given; nobody waits for that."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class StrategyHost:
    """A strategy in its thread. `close` it when the team is done."""

    def __init__(self, team: str, strategy: Strategy, folder: Path, *, limit_s: float) -> None:
        """Host a strategy whose code is in `folder`; each answer may take `limit_s` seconds."""
        self._strategy = strategy
        self._folder = folder
        self._limit_s = limit_s
        self._thread = OwnThread(f"strategy {team}")
        self._running: asyncio.Future[tuple[Signal, ...]] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the strategy has not come back from an earlier call."""
        return self._running is not None and not self._running.done()

    async def decide(self, market: Market) -> tuple[Signal, ...]:
        """Ask the strategy.

        Raises:
            StrategyError: it raised, returned nonsense, took longer than its limit, or still runs.
        """
        if self.is_running:
            raise StrategyError("decide still runs; this cycle goes without it", still_running=True)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Signal, ...]] = loop.run_in_executor(
            self._thread, self._ask, market
        )
        answer.add_done_callback(_taken)
        self._running = answer
        try:
            async with asyncio.timeout(self._limit_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise StrategyError(
                f"decide has not returned in {self._limit_s:g} s; it is not asked again before it "
                "does, and what it returns then is dropped",
                still_running=True,
            ) from None

    def close(self) -> None:
        """Ask no more; a strategy that still runs is left behind."""
        self._thread.close()

    def _ask(self, market: Market) -> tuple[Signal, ...]:
        try:
            return signals_of(self._strategy.decide(market))
        except InputError as error:
            raise StrategyError(str(error)) from None
        except BaseException as error:  # noqa: BLE001 - SystemExit of a strategy ends nobody
            raise StrategyError(described(error, self._folder)) from None


def _taken(answer: "asyncio.Future[Any]") -> None:
    """Look at what came late, or asyncio would complain that nobody did."""
    if not answer.cancelled():
        answer.exception()
