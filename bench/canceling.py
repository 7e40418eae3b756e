"""How long it takes to cancel all open orders at a broker that is far away."""

import asyncio
from decimal import Decimal
from statistics import median
from time import perf_counter
from typing import Final

from bench.figures import Figure
from bench.measuring import folder
from holdfast.brokers.paper import PaperBroker
from holdfast.clock import NS_PER_MS
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.instruments import Instrument
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue
from holdfast.wiring import OrderManager

# Each way, as to a broker on another continent.
LATENCY_MS: Final = 150
# Fewer than elsewhere: a run waits for the broker nearly all of its time, and varies little.
REPEATS: Final = 3
_SYMBOL: Final = "TSLA"


def cancel_all(orders: int) -> list[Figure]:
    """Measure from `cancel_all_open_orders` until every order is known to be cancelled."""
    return [
        _figure("cancel_25", orders, Capabilities(batch_cancel=True)),
        _figure("cancel_25_single", orders, Capabilities()),
    ]


def _figure(name: str, orders: int, capabilities: Capabilities) -> Figure:
    took = [asyncio.run(_cancel(orders, capabilities)) for _ in range(REPEATS)]
    return Figure(
        name=name,
        unit="s",
        better="less",
        value=median(took),
        best=min(took),
        repeats=len(took),
        goal=5.0,
        detail={
            "orders": orders,
            "latency each way ms": LATENCY_MS,
            "in one call": "yes" if capabilities.batch_cancel else "no",
        },
    )


async def _cancel(orders: int, capabilities: Capabilities) -> float:
    venue = Venue()
    venue.add_listing(Instrument.of(_SYMBOL))
    way_ns = LATENCY_MS * NS_PER_MS
    latency = Latency(seed=1, request_ns=way_ns, answer_ns=way_ns, report_ns=way_ns)
    broker = PaperBroker(venue, "bench", capabilities=capabilities, latency=latency)
    with folder() as name:
        opened = OrderManager.open(
            journal=f"{name}/journal.db",
            broker=broker,
            account="bench",
            instruments=[Instrument.of(_SYMBOL)],
        )
        async with opened as om:
            async with asyncio.TaskGroup() as placing:
                for number in range(orders):
                    price = Decimal(100 + number)
                    placing.create_task(
                        om.place_limit_order(_SYMBOL, "buy", 1, price, wait="accepted")
                    )
            begun = perf_counter()
            results = await om.cancel_all_open_orders(by="bench", reason="measured")
            took = perf_counter() - begun
    await broker.aclose()
    gone = [result for result in results if result.outcome == "canceled"]
    assert len(gone) == orders, "every order was cancelled"
    assert not venue.orders("bench", working=True), "and the venue agrees"
    return took
