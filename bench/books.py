"""What the desk itself costs: memory of ended orders, queries among many, fills among many."""

import gc
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from statistics import median
from time import process_time
from typing import Final

from bench.figures import Figure
from bench.flow import QUANTITY, Flow, symbols
from bench.measuring import REPEATS, Lap, Stopwatch
from holdfast.domain.desk import Desk
from holdfast.domain.positions import TRAIL_MAX
from holdfast.domain.values import Status
from holdfast.engine.views import view_order

# One order in so many is open where queries are measured.
OPEN_SHARE: Final = 100
# Fills measured at once: half a bound, so that dropping old trades is in each measurement.
FILLS: Final = TRAIL_MAX // 2
SMALL: Final = 100
# Orders between two times that the desk tidies up.
BATCH: Final = 64
_PAIRS: Final = 5


def memory(orders: int) -> list[Figure]:
    """Measure what an order that was filled by two executions still takes in a desk's memory.

    The latest trades of a symbol are kept singly, up to a bound that is reached before; in a
    multiple of 1,024 orders as many of them are dropped as come.
    """
    flow = Flow(symbols(1))
    _trade(flow, TRAIL_MAX // 2 + 1)
    before_orders = flow.desk.statistics()["orders_finished_in_memory"]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _trade(flow, orders)
        gc.collect()
        lived = (tracemalloc.get_traced_memory()[0] - before) / orders
        body = flow.desk.dump()
        flow = Flow(symbols(1))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        desk = Desk.load(body)
        gc.collect()
        all_loaded = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    kept = desk.statistics()["orders_finished_in_memory"]
    assert kept == before_orders + orders
    loaded = all_loaded / kept
    return [
        Figure(
            name="memory",
            unit="B/finished order",
            better="less",
            value=max(lived, loaded),
            repeats=1,
            goal=1_536,
            detail={"orders": orders, "as it lived": lived, "out of a snapshot": loaded},
        )
    ]


def _trade(flow: Flow, orders: int) -> None:
    for number in range(orders):
        flow.trade()
        if number % BATCH == 0:
            flow.settle()
    flow.settle()


def open_query(orders: int) -> list[Figure]:
    """Measure listing the open orders, and counting all, where most of many orders have ended."""
    few, many = (_desk(count) for count in (max(OPEN_SHARE, orders // 100), orders))
    wanted = max(1, orders // OPEN_SHARE)
    assert len(list(many.active())) == wanted
    listed = _each_ms(lambda: list(many.active()))
    copied = _each_ms(lambda: [view_order(order) for order in many.active()])
    by_symbol = _each_ms(lambda: list(many.orders(status=Status.OPEN, symbol="SYM3")))
    counted_few, counted = _each_ms(few.statistics), _each_ms(many.statistics)
    growth = [large / small for small, large in zip(counted_few, counted, strict=True)]
    return [
        Figure(
            name="open_query",
            unit="ms",
            better="less",
            value=median(listed),
            best=min(listed),
            repeats=len(listed),
            goal=0.1,
            detail={
                "open": wanted,
                "orders": orders,
                "copied for a caller, ms": median(copied),
                "of one symbol in 7, ms": median(by_symbol),
            },
        ),
        Figure(
            name="open_query_counts",
            unit="x for 100x orders",
            better="less",
            value=median(growth),
            best=min(growth),
            repeats=len(growth),
            goal=1.2,
            detail={"us": median(counted) * 1e3},
        ),
    ]


def _desk(orders: int) -> Desk:
    flow = Flow(symbols(7))  # so that the open ones are of every symbol
    for number in range(orders):
        if number % OPEN_SHARE:
            flow.refuse()
        else:
            flow.open()
    flow.settle()
    return flow.desk


def _each_ms(call: Callable[[], object]) -> list[float]:
    """Return the CPU time in ms of one call, measured over some calls, several times."""
    call()
    calls = 1
    while (took := _timed(call, calls)) < 0.005:
        calls *= 1 + int(0.01 / max(took, 0.0001))
    gc.collect()
    return [_timed(call, calls) / calls * 1e3 for _ in range(REPEATS)]


def _timed(call: Callable[[], object], calls: int) -> float:
    start = process_time()
    for _ in range(calls):
        call()
    return process_time() - start


def fill_cost(size: int) -> list[Figure]:
    """Measure a fill where the position, the open orders or the order's own fills are many."""
    block = min(FILLS, size)
    return [
        _growth("fill_cost_position", "trades of the position", size, partial(_traded, block)),
        _growth("fill_cost_orders", "open orders", size, partial(_among, block)),
        _growth("fill_cost_history", "fills of the order", size, partial(_filled, block)),
    ]


def _growth(
    name: str, what: str, size: int, prepared: Callable[[int], Callable[[], Lap]]
) -> Figure:
    """Compare the same work at a size and at a hundredth of it, in turn so that noise is shared."""
    small_size = max(1, size // SMALL)
    large = prepared(size)
    ratios, large_cpu, small_cpu = [], [], []
    for number in range(_PAIRS + 1):
        small = prepared(small_size)
        gc.collect()
        few = small()
        gc.collect()
        many = large()
        if number:  # the first pair warms up
            ratios.append(many.cpu_s / few.cpu_s)
            small_cpu.append(few.cpu_s)
            large_cpu.append(many.cpu_s)
    block = min(FILLS, size)
    return Figure(
        name=name,
        unit="x for 100x",
        better="less",
        value=median(ratios),
        best=min(ratios),
        repeats=len(ratios),
        goal=1.2,
        detail={
            what: size,
            "cpu us/fill": median(large_cpu) / block * 1e6,
            f"at {small_size}": median(small_cpu) / block * 1e6,
        },
    )


def _traded(block: int, size: int) -> Callable[[], Lap]:
    """So many trades, each of an order of its own, have built up the position."""
    flow = Flow(symbols(1), buys_only=True)
    for _ in range(size):
        flow.fill(flow.open(), 1, QUANTITY)

    def run() -> Lap:
        numbers = [flow.open() for _ in range(block)]
        with Stopwatch() as watch:
            for number in numbers:
                flow.fill(number, 1, QUANTITY)
        return watch.lap

    return run


def _among(block: int, size: int) -> Callable[[], Lap]:
    """So many orders are open while others come and fill."""
    flow = Flow(symbols(8))
    for _ in range(size):
        flow.open()

    def run() -> Lap:
        numbers = [flow.open() for _ in range(block)]
        with Stopwatch() as watch:
            for number in numbers:
                flow.fill(number, 1, QUANTITY)
        return watch.lap

    return run


def _filled(block: int, size: int) -> Callable[[], Lap]:
    """One order that has traded so many times already."""
    flow = Flow(symbols(1))
    lot = Decimal(1)
    number = flow.open(quantity=10**9)
    sequence = 0

    def fills(count: int) -> None:
        nonlocal sequence
        for _ in range(count):
            sequence += 1
            flow.fill(number, sequence, lot)

    fills(size)

    def run() -> Lap:
        with Stopwatch() as watch:
            fills(block)
        return watch.lap

    return run
