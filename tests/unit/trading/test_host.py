"""A strategy in its thread: what it does there reaches nobody else."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.trading.host import StrategyError, StrategyHost
from holdfast.trading.strategy import Market, Signal

MARKET = Market(team="alpha", cycle=1, now_ns=0, quotes={}, positions={})
BUY = Signal(symbol="TSLA", action="buy", quantity=1)
# Long enough for a thread to answer, where it does answer.
PLENTY_S = 30.0
SHORT_S = 0.01


class Blocking:
    """Blocks until it is let go, each time."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.came_back = threading.Event()
        self.thread = ""

    def decide(self, market: Market) -> Signal:
        self.thread = threading.current_thread().name
        self.go.wait()
        self.came_back.set()
        return BUY


class Raising:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def decide(self, market: Market) -> None:
        raise self.error


class Returning:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def decide(self, market: Market) -> object:
        return self.answer


@pytest.fixture
def hosts() -> Iterator[list[StrategyHost]]:
    """Hosts that are closed at the end."""
    opened: list[StrategyHost] = []
    yield opened
    for host in opened:
        host.close()


def hosted(hosts: list[StrategyHost], strategy: Any, limit_s: float = PLENTY_S) -> StrategyHost:
    host = StrategyHost("alpha", strategy, Path(__file__).parent, limit_s=limit_s)
    hosts.append(host)
    return host


async def test_a_strategy_decides_in_a_thread_of_its_own(hosts: list[StrategyHost]) -> None:
    """Not on the loop's thread, and always on the same one."""
    strategy = Blocking()
    strategy.go.set()
    host = hosted(hosts, strategy)

    assert await host.decide(MARKET) == await host.decide(MARKET)
    assert strategy.thread == "strategy alpha"
    assert not host.is_running


@pytest.mark.parametrize(
    "error", [ValueError("out of ideas"), SystemExit(1), RecursionError(), KeyboardInterrupt()]
)
async def test_what_a_strategy_raises_is_named_with_its_line(
    hosts: list[StrategyHost], error: BaseException
) -> None:
    """File and line of the strategy's own code; the process and the host go on."""
    host = hosted(hosts, Raising(error))

    with pytest.raises(StrategyError, match=rf"test_host.py, line \d+.*{type(error).__name__}"):
        await host.decide(MARKET)
    assert not host.is_running


@pytest.mark.parametrize("answer", ["buy!", float("nan"), [BUY] * 1_000, object()])
async def test_nonsense_is_found_in_the_strategys_own_thread(
    hosts: list[StrategyHost], answer: object
) -> None:
    """What is no signal is an error of the strategy, named and bounded."""
    with pytest.raises(StrategyError) as caught:
        await hosted(hosts, Returning(answer)).decide(MARKET)
    assert len(str(caught.value)) <= 400


async def test_a_strategy_that_blocks_is_left_alone_until_it_comes_back(
    hosts: list[StrategyHost],
) -> None:
    """It is named, not asked again meanwhile, and its late answer is dropped."""
    strategy = Blocking()
    host = hosted(hosts, strategy, SHORT_S)

    with pytest.raises(StrategyError, match=r"has not returned in 0\.01 s") as caught:
        await host.decide(MARKET)
    assert caught.value.still_running
    with pytest.raises(StrategyError, match="still runs"):
        await host.decide(MARKET)

    strategy.go.set()
    assert strategy.came_back.wait(PLENTY_S)
    while host.is_running:  # noqa: ASYNC110 - its answer is on its way from the thread
        await asyncio.sleep(0)
    assert (await host.decide(MARKET))[0].symbol == BUY.symbol


async def test_a_cancelled_question_leaves_the_strategy_running(hosts: list[StrategyHost]) -> None:
    """A stop does not wait for a strategy; its thread does not keep the process alive."""
    strategy = Blocking()
    host = hosted(hosts, strategy)
    asking = asyncio.create_task(host.decide(MARKET))
    while not strategy.thread:  # noqa: ASYNC110 - the thread sets it, and knows no loop
        await asyncio.sleep(0)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert host.is_running
    threads = [each for each in threading.enumerate() if each.name == "strategy alpha"]
    assert all(each.daemon for each in threads)
    strategy.go.set()


def test_a_blocked_strategy_does_not_keep_the_process_alive() -> None:
    """The interpreter ends though a strategy never returns."""
    import subprocess  # noqa: PLC0415 - this test alone has a process of its own

    program = (
        "import asyncio, threading\n"
        "from pathlib import Path\n"
        "from holdfast.trading.host import StrategyHost, StrategyError\n"
        "from holdfast.trading.strategy import Market\n"
        "class S:\n"
        "    def decide(self, market): threading.Event().wait()\n"
        "async def main():\n"
        "    host = StrategyHost('a', S(), Path('.'), limit_s=0.01)\n"
        "    market = Market(team='a', cycle=1, now_ns=0, quotes={}, positions={})\n"
        "    try: await host.decide(market)\n"
        "    except StrategyError as error: print(error.still_running)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PLENTY_S,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")},
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("True", "", 0)
