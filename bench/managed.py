"""The whole order manager, with its journal on the disk: throughput, latency, recovery."""

import asyncio
import gc
import shutil
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from bench.figures import Figure
from bench.flow import ACCOUNT, DESK, QUANTITY, Flow, request, symbols
from bench.instant import InstantBroker
from bench.journaled import EVENTS_PER_ORDER, history, raw_append_per_s, write
from bench.measuring import REPEATS, Lap, Stopwatch, fdatasync_ms, folder, quantile, rate
from holdfast.domain.events import AnyEvent, OrderAccepted
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Snapshot
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.tuning import tune_interpreter
from holdfast.wiring import OrderManager

# Callers that submit at once, each waiting until its order is durable before it submits the next.
CALLERS: Final = 256
OFFERED_PER_S: Final = 1_000
# An even number of them: then orders of one symbol are all on one side.
_SYMBOLS: Final = symbols(8)
_INSTRUMENTS: Final = tuple(Instrument.of(symbol) for symbol in _SYMBOLS)


def _requests() -> Iterator[OrderRequest]:
    for number in count(1):
        yield request(number, _SYMBOLS[number % len(_SYMBOLS)])


def full_path(orders: int) -> list[Figure]:
    """Measure orders submitted, accepted and filled in two halves, each durable before it is sent.

    One manager serves all repeats, so that snapshots and archiving are part of them.
    """
    tune_interpreter()  # as every command of Holdfast does
    with folder() as name:
        laps, commits = asyncio.run(_full_path(Path(name) / "journal.db", orders))
    found = rate(laps, orders, "order")
    events_per_s = found.median * EVENTS_PER_ORDER
    raw = raw_append_per_s(orders=max(1, orders // 2))
    return [
        Figure(
            name="full_path",
            unit="orders/s",
            better="more",
            value=found.median,
            best=found.best,
            repeats=len(laps),
            goal=20_000,
            floor=10_000,
            detail={
                "orders": orders,
                **found.detail,
                "events/s": events_per_s,
                "of raw journal append": f"{events_per_s / raw:.0%}",
                "orders/commit": orders * (len(laps) + 1) / max(1, commits),
            },
        )
    ]


async def _full_path(path: Path, orders: int) -> tuple[list[Lap], int]:
    broker, laps = InstantBroker(), []
    opened = OrderManager.open(
        journal=path, broker=broker, desk=DESK, account=ACCOUNT, instruments=_INSTRUMENTS
    )
    async with opened as om:
        requests = _requests()
        await broker.polled.wait()
        for number in range(REPEATS + 1):
            gc.collect()
            with Stopwatch() as watch:
                await _trade(om, islice(requests, orders))
            if number:  # the first one warms up
                laps.append(watch.lap)
        total = orders * (REPEATS + 1)
        # Each symbol is only bought or only sold, so that no fill can hide another.
        held = sum(abs(position.quantity) for position in (await om.positions()).values())
        assert (broker.submits, held) == (total, QUANTITY * total), "every order filled, once"
        statistics = await om.statistics()
    return laps, int(str(statistics["journal"]["commits"]))


async def _trade(om: OrderManager, requests: Iterator[OrderRequest]) -> None:
    async def caller() -> None:
        order = None
        for each in requests:
            order = await om.submit(each)
        if order is not None:
            await om.wait(order.client_order_id)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())


def submit_latency(orders: int) -> list[Figure]:
    """Measure from the call of `submit` to the call of the broker, at 1,000 orders a second."""
    tune_interpreter()
    with folder() as name:
        sync_ms = fdatasync_ms(Path(name))
        runs, laps = asyncio.run(_latencies(Path(name) / "journal.db", orders))
    detail = {"orders": orders, **rate(laps, orders, "order").detail, "one fdatasync ms": sync_ms}
    return [
        _latency("submit_latency_p50", 0.5, 0.5, runs, detail),
        _latency("submit_latency_p99", 0.99, 2.0, runs, detail),
    ]


def _latency(
    name: str, share: float, goal: float, runs: list[list[float]], detail: dict[str, float | str]
) -> Figure:
    values = [quantile(run, share) for run in runs]
    return Figure(
        name=name,
        unit=f"ms at {OFFERED_PER_S:,}/s",
        better="less",
        value=median(values),
        best=min(values),
        repeats=len(runs),
        goal=goal,
        detail={"worst ms": max(run[-1] for run in runs), **detail},
    )


async def _latencies(path: Path, orders: int) -> tuple[list[list[float]], list[Lap]]:
    """Return the sorted latencies in ms of each run but the first, and what the runs took."""
    broker, runs, laps = InstantBroker(timed=True), [], []
    opened = OrderManager.open(
        journal=path, broker=broker, desk=DESK, account=ACCOUNT, instruments=_INSTRUMENTS
    )
    async with opened as om:
        requests = _requests()
        await broker.polled.wait()
        for _ in range(REPEATS):
            gc.collect()
            with Stopwatch() as watch:
                runs.append(await _offer(om, broker, islice(requests, orders)))
            laps.append(watch.lap)
    return runs[1:], laps[1:]


async def _offer(
    om: OrderManager, broker: InstantBroker, requests: Iterator[OrderRequest]
) -> list[float]:
    """Submit on a schedule that does not wait for answers; one that is late submits what is due."""
    asked: dict[str, float] = {}

    async def caller(wanted: OrderRequest, at: float) -> None:
        order = await om.submit(wanted)
        asked[order.wire_id] = at
        await om.wait(order.client_order_id)

    begin = perf_counter()
    async with asyncio.TaskGroup() as callers:
        for number, wanted in enumerate(requests):
            if (early := begin + number / OFFERED_PER_S - perf_counter()) > 0:
                await asyncio.sleep(early)
            callers.create_task(caller(wanted, perf_counter()))
    return sorted((broker.called[wire_id] - at) * 1e3 for wire_id, at in asked.items())


def recovery(orders: int) -> list[Figure]:
    """Measure from opening a journal with many open orders until a new order is durable.

    In between lies the first poll, in which the broker lists them all.
    """
    tune_interpreter()
    events = history(orders, Flow.open)
    resting = _resting(events)
    crashed, orderly = [], []
    with folder() as name:
        path, copy = Path(name) / "journal.db", Path(name) / "copy.db"
        write(path, events)
        for number in range(REPEATS + 1):
            shutil.copy(path, copy)
            # The first start folds every record; it leaves a snapshot to the second.
            laps = [asyncio.run(_start(copy, resting)) for _ in range(2)]
            if number:
                crashed.append(laps[0].wall_s)
                orderly.append(laps[1].wall_s)
    return [
        Figure(
            name="recovery",
            unit="s until ready",
            better="less",
            value=median(crashed),
            best=min(crashed),
            repeats=len(crashed),
            goal=1.0,
            detail={
                "open orders": orders,
                "records": len(events),
                "with a snapshot, s": median(orderly),
            },
        )
    ]


def _resting(events: list[AnyEvent]) -> tuple[Snapshot, ...]:
    accepted = [event for event in events if isinstance(event, OrderAccepted)]
    return tuple(
        Snapshot(
            broker_order_id=event.broker_order_id,
            wire_id=Flow.wire_id(event.number),
            symbol=_SYMBOLS[event.number % len(_SYMBOLS)],
            status=Status.OPEN,
            order_quantity=QUANTITY,
            cumulative=QUANTITY * 0,
            stamp_ns=event.stamp_ns,
        )
        for event in accepted
    )


async def _start(path: Path, resting: tuple[Snapshot, ...]) -> Lap:
    gc.collect()
    broker = InstantBroker(resting=resting)
    limits = Limits(open_orders_max=len(resting) + 1)  # of the default limits, the one in the way
    with Stopwatch() as watch:
        manager = OrderManager.open(
            journal=path,
            broker=broker,
            desk=DESK,
            account=ACCOUNT,
            instruments=_INSTRUMENTS,
            settings=Settings(policies=Policies(limits=limits)),
        )
        om = await manager.__aenter__()
        await broker.polled.wait()
        last = await om.submit(request(1, _SYMBOLS[0]))
    await om.wait(last.client_order_id)
    open_now = await om.orders(status=Status.OPEN, finished=False, limit=len(resting) + 1)
    assert len(open_now) == len(resting), "every order that was open still is"
    await manager.__aexit__(None, None, None)
    return watch.lap
