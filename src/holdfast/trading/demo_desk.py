"""The order manager of the demonstration, as a program of its own: the one that gets killed.

It is started with one argument, a `Job` as JSON, and reaches the venue through a socket. Whoever
started it holds its standard input open: when that ends, so does this program, at once and
without a word, which its journal must survive anyhow.
"""

import asyncio
import os
import sys
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.brokers.remote import RemoteBroker
from holdfast.clock import NS_PER_MS, NS_PER_S, SystemClock
from holdfast.errors import HoldfastError
from holdfast.trading.demo_plan import ACCOUNT, DESK, INSTRUMENT, Pace, settings_of
from holdfast.trading.demo_strategy import Quoter
from holdfast.wiring import OrderManager

SETTLED: Final = 0
FAULTY: Final = 2
UNSETTLED: Final = 3
ORPHANED: Final = 4


class Job(Struct, frozen=True, kw_only=True):
    """What to do: which journal and venue, and how long to trade (0: until killed)."""

    journal: str
    socket: str
    seed: int
    pace: Pace
    trade_ms: int


async def work(job: Job) -> int:
    """Take up what an earlier life left, trade, cancel all, and wait until all has ended.

    Returns SETTLED, or UNSETTLED where an order was still open when the time for that was over.

    Raises:
        HoldfastError: the journal or the venue cannot be used.
    """
    pace = job.pace
    broker = await RemoteBroker.connect(job.socket)
    try:
        async with OrderManager.open(
            journal=job.journal,
            broker=broker,
            desk=DESK,
            account=ACCOUNT,
            instruments=[INSTRUMENT],
            settings=settings_of(pace),
            poll_interval_ms=pace.poll,
        ) as manager:
            quoter = Quoter(
                manager,
                lambda: broker.quote(INSTRUMENT.symbol),
                instrument=INSTRUMENT,
                seed=job.seed,
                rest_ms=(pace.rest_least, pace.rest_most),
                clock=SystemClock(),
            )
            await _recovered(manager, pace)
            await _traded(quoter, job)
            return SETTLED if await _settled(quoter, manager, pace) else UNSETTLED
    finally:
        await broker.aclose()


async def _recovered(manager: OrderManager, pace: Pace) -> None:
    """Wait until the outcome of every request of an earlier life is known."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _seconds(pace.settle)
    while loop.time() < end:
        if not any(order.unknown for order in await manager.orders(finished=False)):
            return
        await asyncio.sleep(_seconds(pace.beat))


async def _traded(quoter: Quoter, job: Job) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _seconds(job.trade_ms)
    while not job.trade_ms or loop.time() < end:
        await quoter.beat()
        await asyncio.sleep(_seconds(job.pace.beat))


async def _settled(quoter: Quoter, manager: OrderManager, pace: Pace) -> bool:
    """Cancel all until nothing works, then poll once more for executions that were not told."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _seconds(pace.settle)
    polls = 0
    while loop.time() < end:
        done = await quoter.cancel_all()
        made = (await manager.statistics())["link"]["polls"]
        assert isinstance(made, int)
        if not done:
            polls = 0
        elif not polls:
            polls = made
        elif made >= polls + 2:  # the second one began after the first was taken in
            return True
        await asyncio.sleep(_seconds(pace.beat))
    return False


def _seconds(ms: int) -> float:
    return ms * NS_PER_MS / NS_PER_S


async def _end_with_parent() -> None:
    """End this process as soon as nobody holds its standard input open."""
    stream = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), sys.stdin
    )
    await stream.read()
    os._exit(ORPHANED)


async def _main(job: Job) -> int:
    watching = asyncio.create_task(_end_with_parent())
    try:
        return await work(job)
    finally:
        watching.cancel()


def main() -> int:
    """Run the job that the program was started with; returns its exit status."""
    job = msgspec.json.decode(sys.argv[1].encode(), type=Job)
    try:
        return asyncio.run(_main(job))
    except HoldfastError as error:
        sys.stderr.write(f"{error}\n")
        return FAULTY


if __name__ == "__main__":
    sys.exit(main())
