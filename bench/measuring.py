"""Stopwatches and repeats: how every benchmark here measures."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, Self

from msgspec import Struct

# Few, because all benchmarks together should take no more than a coffee; the median of five is not
# moved by two disturbed runs.
REPEATS: Final = 5
# Linux counts for each thread: time on a core, time ready but without one, and turns; in ns.
_SCHEDULED: Final = Path("/proc/thread-self/schedstat")


class Lap(Struct, frozen=True):
    """What a piece of work took, in seconds.

    `wall_s` is wall time, `cpu_s` CPU time of this process on all its threads, and `queued_s` how
    long the measuring thread was ready to run while every core was taken by something else.
    """

    wall_s: float
    cpu_s: float
    queued_s: float


class Stopwatch:
    """Measures the work inside a `with`; `lap` holds the result afterwards."""

    lap: Lap

    def __enter__(self) -> Self:
        self._queued_s = _queued_s()
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        wall_s = time.perf_counter() - self._wall_s
        cpu_s = time.process_time() - self._cpu_s
        self.lap = Lap(wall_s, cpu_s, _queued_s() - self._queued_s)


def _queued_s() -> float:
    """Return how long this thread has waited for a core; 0 where the system does not tell."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def repeated(run: Callable[[], Lap], repeats: int = REPEATS) -> list[Lap]:
    """Run once to warm up, then so many times with no garbage left over from the run before."""
    run()
    laps = []
    for _ in range(repeats):
        gc.collect()
        laps.append(run())
    return laps


class Rate(NamedTuple):
    """Things per second, median and best, and what stands behind them."""

    median: float
    best: float
    detail: dict[str, float | str]


def rate(laps: Sequence[Lap], count: int, thing: str) -> Rate:
    """Turn laps of so many things each into a rate."""
    walls = [lap.wall_s for lap in laps]
    queued = median(lap.queued_s / lap.wall_s for lap in laps)
    detail: dict[str, float | str] = {
        f"cpu us/{thing}": median(lap.cpu_s for lap in laps) * 1e6 / count,
        "waiting for a core": f"{queued:.0%}",
    }
    return Rate(count / median(walls), count / min(walls), detail)


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all is not above."""
    place = min(len(sorted_values) - 1, int(share * len(sorted_values)))
    return sorted_values[place]


def folder() -> "TemporaryDirectory[str]":
    """Return a new folder for journals, where TMPDIR says; it goes when its `with` ends."""
    return TemporaryDirectory(prefix="holdfast-bench-")


def fdatasync_ms(where: Path, count: int = 200) -> float:
    """Return the median time in ms until 512 bytes more at the end of a file are on the disk."""
    took = []
    with (where / "sync").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(bytes(512))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return median(took) * 1e3
