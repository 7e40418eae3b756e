"""Replays a tape: real order flow through the whole order manager, to a venue that follows it.

The tape's outcome is reckoned from its rows alone, the desk's from its journal; a replay on a
journal that has a part of the tape goes on with it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.brokers.tape import TapeBroker
from holdfast.clock import NS_PER_S, SystemClock
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.settings import Settings
from holdfast.domain.values import TERMINAL, Status, plain
from holdfast.journal.sqlite import SqliteJournal
from holdfast.trading.replay_books import (
    Books,
    Totals,
    mismatched,
    read_books,
    read_totals,
    sums_that_differ,
)
from holdfast.trading.replay_driver import Driver, Run
from holdfast.trading.replay_past import DESK, instrument_of, read_past, rebuild
from holdfast.venue.outcome import Outcome, end_state_digest, expected_outcome
from holdfast.venue.tape import Tape
from holdfast.wiring import OrderManager

# A tape's orders are those of many people: they meet each other, and no limit is theirs.
OTHERS_ORDERS: Final = Settings(policies=Policies(limits=Limits.none()))

# Orders that differ are all counted; so many are named.
DIFFERENCES_MAX: Final = 10

_ENDED: Final = {status.upper() for status in TERMINAL}


class Summary(Struct, frozen=True, kw_only=True):
    """A replay in figures: those of the journal, and at the end those of this run.

    Quantities are in units; `notional` is the sum of quantity times price in points, `position`
    what all executions add up to. `mismatches` counts orders that ended otherwise than the tape's
    rows say; `differences` names the first of them, and every sum that differs. `journal_bytes`
    is the size of the journal as this run left it.
    """

    tape: str
    sha256: str
    format: str
    symbol: str
    tick: str
    multiplier: str
    rows: int
    rows_unfinished: int
    orders: int
    fills: int
    replaces: int
    cancels: int
    filled_quantity: str
    notional: str
    leaves_quantity: str
    position: str
    by_status: dict[str, int]
    mismatches: int
    differences: tuple[str, ...]
    live_at_end: int
    unknown_orders: int
    end_state: str
    end_state_expected: str
    anomalies: int
    seconds: float
    orders_per_second: float
    journal_bytes: int

    @property
    def is_as_recorded(self) -> bool:
        """Tell whether everything ended as the tape says."""
        return not self.mismatches and not self.differences


async def replay(
    tape: Tape,
    journal_path: Path,
    *,
    limit_rows: int | None = None,
    on_row: Callable[[int], None] = lambda _row: None,
) -> Summary:
    """Replay a tape, or the first rows of it, through a desk whose journal is at a path.

    On a journal that has a part of it already, the rest is replayed; on one that has all of it,
    nothing. `on_row` is told the number of each row that is read.

    Raises:
        TapeError: the limit is below 1, or the file has changed since the tape was opened.
        InputError: the journal is of another replay, or further than the limit.
        JournalError: the journal cannot be used.
        DisagreementError: desk and venue do not come to agree on an order.
    """
    expected = expected_outcome(tape.path, limit_rows)
    journal = SqliteJournal(journal_path)
    try:
        past = read_past(journal, tape)
        broker = TapeBroker(tape.symbol)
        rebuild(broker, past, partial(tape.operations, limit_rows))
    except BaseException:
        journal.close()
        raise
    run = Run()
    clock = SystemClock()
    began_ns = clock.boot_ns()
    async with OrderManager.open(
        journal=journal,
        broker=broker,
        desk=DESK,
        account=tape.sha256,
        instruments=[instrument_of(tape)],
        settings=OTHERS_ORDERS,
    ) as manager:
        await Driver(manager, broker, tape, run).drive(past, limit_rows, on_row)
        run.seconds = (clock.boot_ns() - began_ns) / NS_PER_S
        books = await read_books(manager, tape)
    return _summary(tape, expected, books, read_totals(journal.path), run)


def _summary(tape: Tape, expected: Outcome, books: Books, totals: Totals, run: Run) -> Summary:
    wrong = mismatched(books, expected, run.altered)
    sums = sums_that_differ(books, totals, expected, run.unknown_rows)
    by_status = books.by_status
    return Summary(
        tape=str(tape.path),
        sha256=tape.sha256,
        format=tape.format,
        symbol=tape.symbol,
        tick=plain(tape.tick),
        multiplier=plain(tape.multiplier),
        rows=expected.rows,
        rows_unfinished=expected.rows_unfinished,
        orders=len(books.orders),
        fills=totals.fills,
        replaces=totals.replaces,
        cancels=by_status.get(Status.CANCELED.upper(), 0),
        filled_quantity=plain(books.filled),
        notional=plain(books.notional),
        leaves_quantity=plain(books.leaves),
        position=plain(books.position[0]),
        by_status=by_status,
        mismatches=len(wrong),
        differences=(*wrong[:DIFFERENCES_MAX], *sums),
        live_at_end=sum(n for status, n in by_status.items() if status not in _ENDED),
        unknown_orders=run.unknown_rows,
        end_state=end_state_digest(
            (order_id, each.status, each.filled, each.notional)
            for order_id, each in books.orders.items()
        ),
        end_state_expected=expected.end_state,
        anomalies=books.anomalies,
        seconds=round(run.seconds, 3),
        orders_per_second=round(run.submitted / run.seconds, 1),
        journal_bytes=totals.journal_bytes,
    )
