"""`holdfast replay`: recorded order flow through the whole order manager."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from holdfast.cli.output import (
    NOTHING_SAID,
    Common,
    complain,
    print_fields,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from holdfast.trading.replay import Summary

AS_RECORDED: Final = 0
MISMATCHES: Final = 1
# Systems keep the usual temporary folder in memory; there a commit would cost nothing.
DISK_FOLDER: Final = Path("/var/tmp")  # noqa: S108 - a folder of our own is made in it


def replay(
    file: Path,
    /,
    *,
    symbol: str | None = None,
    tick: str | None = None,
    multiplier: str | None = None,
    limit: int | None = None,
    journal: Path | None = None,
    common: Common = NOTHING_SAID,
) -> int:
    """Replay a tape of orders and compare how they end with what the tape says.

    The tape is a file of LOBSTER messages or of CME market-by-order rows (Databento), plain or
    gzip, told by its content, and is checked to its last row before the first order goes out.
    Each order goes through a desk of its own, durable before it is sent, to a venue that follows
    the tape. Exit status: 0 as recorded, 1 mismatches, 2 bad input.

    Parameters
    ----------
    file: Path
        The tape.
    symbol: str
        What it trades; told by the file's name where the vendor named it.
    tick: str
        The smallest step of its prices; known for LOBSTER and for the usual CME contracts.
    multiplier: str
        What one unit is worth per point, as for the tick.
    limit: int
        Replay so many rows from the beginning, not all.
    journal: Path
        The journal to use; on one that has a part of this tape, the replay goes on. Without it a
        temporary one is used and removed.
    """
    from holdfast.cli.running import run_to_end
    from holdfast.trading.replay import replay as replayed
    from holdfast.trading.replay_driver import DisagreementError
    from holdfast.trading.replay_tape import open_tape_as

    tape = open_tape_as(file, symbol=symbol, tick=tick, multiplier=multiplier)
    rows = min(limit or tape.rows_total, tape.rows_total)
    try:
        with _journal(journal) as path, progress(tape.symbol, rows) as show:
            summary = run_to_end(replayed(tape, path, limit_rows=limit, on_row=show))
    except DisagreementError as error:
        complain(str(error))
        return MISMATCHES
    if common.json:
        print_json(summary)
    else:
        _print(summary, journal)
    for text in summary.differences:
        complain(text)
    return AS_RECORDED if summary.is_as_recorded else MISMATCHES


@contextmanager
def _journal(given: Path | None) -> Iterator[Path]:
    """Give the journal's path; one that nobody named is on disk and does not outlive the run."""
    if given is not None:
        yield given
        return
    on_disk = "TMPDIR" not in os.environ and os.access(DISK_FOLDER, os.W_OK)
    folder = DISK_FOLDER if on_disk else None
    with TemporaryDirectory(prefix="holdfast-replay-", dir=folder) as name:
        yield Path(name) / "replay.db"


def _print(summary: "Summary", journal: Path | None) -> None:
    by_status = ", ".join(f"{count:,} {status}" for status, count in summary.by_status.items())
    kept = str(journal) if journal is not None else "removed"
    print_fields(
        [
            ("tape", f"{summary.tape} ({summary.format}, {summary.symbol})"),
            ("rows", summary.rows),
            ("orders", f"{summary.orders:,}: {by_status}"),
            ("fills", f"{summary.fills:,} ({summary.filled_quantity} {summary.symbol})"),
            ("replaces", summary.replaces),
            ("cancels", summary.cancels),
            ("live at end", f"{summary.live_at_end:,} ({summary.leaves_quantity} left to fill)"),
            ("position", f"{summary.position} {summary.symbol}"),
            ("rows of unknown orders", summary.unknown_orders),
            ("anomalies", summary.anomalies),
            ("end state", summary.end_state),
            ("mismatches", summary.mismatches),
            ("this run", f"{summary.seconds:.1f} s, {summary.orders_per_second:,.0f} orders/s"),
            ("journal", f"{summary.journal_bytes:,} bytes, {kept}"),
        ]
    )
