"""How fast the paper venue follows a recorded market."""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

from bench.figures import Figure
from bench.measuring import Lap, Stopwatch, rate, repeated
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import Side
from holdfast.venue.feeds.databento import book_events
from holdfast.venue.feeds.records import BookEvent
from holdfast.venue.paper import Venue

SYMBOL: Final = "ESH4"
_FILE: Final = "market/futures/databento_ESH4_mbo_20231225.csv.gz"
_ROOT: Final = Path(__file__).resolve().parents[1]


def venue_replay(rows: int) -> list[Figure]:
    """Measure the venue's book following a day of E-mini futures, order by order.

    The rows are read before; each is turned into ticks and lots, and applied to the book.
    """
    path = Path(os.environ.get("HOLDFAST_DATA") or _ROOT.parent / "shared" / "data") / _FILE
    name, unit, goal = "venue_replay", "book events/s", 150_000
    if not path.is_file():
        why = f"no {path}; set HOLDFAST_DATA to the folder that holds {_FILE}"
        return [Figure(name=name, unit=unit, better="more", goal=goal, skipped=why)]
    with Stopwatch() as reading:
        events = list(islice(book_events(path, symbol=SYMBOL), rows))
    laps = repeated(lambda: _follow(events))
    found = rate(laps, len(events), "event")
    return [
        Figure(
            name=name,
            unit=unit,
            better="more",
            value=found.median,
            best=found.best,
            repeats=len(laps),
            goal=goal,
            detail={
                "events": len(events),
                **found.detail,
                "reading the file, events/s": len(events) / reading.lap.wall_s,
            },
        )
    ]


def _follow(events: list[BookEvent]) -> Lap:
    venue = Venue()
    crowd = venue.add_listing(Instrument.of(SYMBOL, tick="0.25", multiplier=50))
    listing = venue.listing(SYMBOL)
    ticks, lots = listing.ticks, listing.lots

    def add(event: BookEvent) -> None:
        sign = 1 if event.side is Side.BUY else -1
        crowd.add(event.order_id, sign, ticks(event.price), lots(event.size))

    def modify(event: BookEvent) -> None:
        crowd.modify(event.order_id, ticks(event.price), lots(event.size))

    def cancel(event: BookEvent) -> None:
        crowd.cancel(event.order_id)

    def trade(event: BookEvent) -> None:
        sign = 1 if event.side is Side.BUY else -1
        crowd.trade(sign, ticks(event.price), lots(event.size))

    def clear(_event: BookEvent) -> None:
        crowd.clear()

    def nothing(_event: BookEvent) -> None:
        """Leave the book to the row that follows a fill."""

    acts: dict[str, Callable[[BookEvent], None]] = {
        "A": add, "M": modify, "C": cancel, "T": trade, "R": clear, "F": nothing, "N": nothing,
    }  # fmt: skip
    advance = venue.advance
    with Stopwatch() as watch:
        for event in events:
            advance(event.at_ns)
            acts[event.action](event)
    return watch.lap
