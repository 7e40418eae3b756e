"""Journals on disk for benchmarks: writing one as fast as it goes, and folding one again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from bench.figures import Figure
from bench.flow import DESK, FILLS, Flow, symbols
from bench.measuring import Lap, Stopwatch, folder, rate, repeated
from holdfast.domain.events import AnyEvent
from holdfast.domain.settings import Settings
from holdfast.engine.recovery import recover
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch
from holdfast.tuning import tune_interpreter

# Events of one batch, and batches on their way to the disk at once, as an engine has them.
BATCH: Final = 100
FLIGHTS_MAX: Final = 4
EVENTS_PER_ORDER: Final = 2 + FILLS
_SYMBOLS: Final = 8


def write(path: Path, events: list[AnyEvent]) -> Lap:
    """Append events to a new journal, batch by batch, and return what it took to the last sync."""
    journal = SqliteJournal(path)
    landed: SimpleQueue[BaseException | None] = SimpleQueue()
    try:
        with Stopwatch() as watch:
            flights = 0
            for start in range(0, len(events), BATCH):
                if flights == FLIGHTS_MAX:
                    _check(landed)
                    flights -= 1
                part = events[start : start + BATCH]
                journal.append(Batch(desk=DESK, first_seq=start + 1, events=part), landed.put)
                flights += 1
            for _ in range(flights):
                _check(landed)
    finally:
        journal.close()
    return watch.lap


def _check(landed: "SimpleQueue[BaseException | None]") -> None:
    error = landed.get()
    if error is not None:
        raise error


def history(orders: int, live: Callable[[Flow], object]) -> list[AnyEvent]:
    """Return the events of so many orders, each of which lived as `live` lets one."""
    events: list[AnyEvent] = []
    flow = Flow(symbols(_SYMBOLS), heard=events.extend)
    for _ in range(orders):
        live(flow)
    return events


@contextmanager
def stored(events: list[AnyEvent]) -> Iterator[Path]:
    """Yield the path of a closed journal that holds these events and no snapshot."""
    with folder() as name:
        path = Path(name) / "journal.db"
        write(path, events)
        yield path


def raw_append_per_s(orders: int = 5_000) -> float:
    """Return how many events a second the SQLite journal alone makes durable."""
    events = history(orders, Flow.trade)
    with folder() as name:
        paths = iter(Path(name) / f"{number}.db" for number in range(1_000))
        laps = repeated(lambda: write(next(paths), events))
    return rate(laps, len(events), "event").median


def fold(orders: int) -> list[Figure]:
    """Measure reading, verifying, decoding and applying the records of filled orders."""
    tune_interpreter()  # as every command of Holdfast does
    events = history(orders, Flow.trade)
    with stored(events) as path:
        laps = repeated(partial(_recover, path, len(events)))
    found = rate(laps, len(events), "event")
    return [
        Figure(
            name="fold",
            unit="events/s",
            better="more",
            value=found.median,
            best=found.best,
            repeats=len(laps),
            goal=200_000,
            detail={"events": len(events), **found.detail},
        )
    ]


def _recover(path: Path, records: int) -> Lap:
    journal = SqliteJournal(path)
    try:
        with Stopwatch() as watch:
            recovered = recover(journal, DESK, Settings())
        assert recovered.folded == records
    finally:
        journal.close()
    return watch.lap
