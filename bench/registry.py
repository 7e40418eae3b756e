"""The benchmarks by name, and how large each is."""

from collections.abc import Callable
from typing import Final, NamedTuple

from bench.books import fill_cost, memory, open_query
from bench.canceling import cancel_all
from bench.figures import Figure
from bench.journaled import fold
from bench.managed import full_path, recovery, submit_latency
from bench.market import venue_replay


class Benchmark(NamedTuple):
    """A function of a size; `quick_size` only shows that it works."""

    run: Callable[[int], list[Figure]]
    size: int
    quick_size: int


BENCHMARKS: Final = {
    "full_path": Benchmark(full_path, 10_000, 40),
    "submit_latency": Benchmark(submit_latency, 1_500, 10),
    "cancel_25": Benchmark(cancel_all, 25, 3),
    "fold": Benchmark(fold, 10_000, 20),
    "recovery": Benchmark(recovery, 10_000, 20),
    "memory": Benchmark(memory, 10_240, 20),
    "open_query": Benchmark(open_query, 100_000, 100),
    "fill_cost": Benchmark(fill_cost, 20_000, 100),
    "venue_replay": Benchmark(venue_replay, 100_000, 500),
}
# How many orders' events the raw journal is measured with.
MACHINE_ORDERS: Final = 5_000
