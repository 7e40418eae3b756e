"""Opens a tape on the terms of whoever replays it: symbol, tick and multiplier by name or by hand.

Rule: a tape on terms given by hand is checked on them to its last row, as `open_tape` checks it
on those that it knows.
"""

from pathlib import Path
from typing import Final

import msgspec

from holdfast.domain.values import amount, check_id, is_multiple
from holdfast.errors import TapeError
from holdfast.venue import flow
from holdfast.venue.feeds import lobster, symbol_of
from holdfast.venue.feeds.detect import TAPES, detect
from holdfast.venue.feeds.files import fingerprint
from holdfast.venue.outcome import expected_outcome
from holdfast.venue.tape import Tape, open_tape

_UNNAMED: Final = "TAPE"


def open_tape_as(
    path: Path,
    *,
    symbol: str | None = None,
    tick: str | None = None,
    multiplier: str | None = None,
) -> Tape:
    """Check a whole tape and return it; terms that are None are told by its name.

    Raises:
        TapeError: the file cannot be replayed, see `open_tape`, or a price is off the given tick.
        InputError: symbol, tick or multiplier are none.
    """
    symbol = "" if symbol is None else check_id(symbol, "symbol")
    step = None if tick is None else amount(tick, "tick")
    worth = None if multiplier is None else amount(multiplier, "multiplier")
    if (step is None and worth is None) or detect(path) not in TAPES:
        return open_tape(path, symbol=symbol)
    if step is None or worth is None:
        known = open_tape(path, symbol=symbol)
        step, worth = step or known.tick, worth or known.multiplier
    tape = Tape(
        path=path,
        fingerprint=fingerprint(path),
        format=detect(path),
        symbol=symbol or symbol_of(path) or _UNNAMED,
        tick=step,
        multiplier=worth,
        day=lobster.name_of(path)[1],
    )
    _check_prices(tape)
    outcome = expected_outcome(path)
    return msgspec.structs.replace(
        tape, rows_total=outcome.rows, rows_unfinished=outcome.rows_unfinished
    )


def _check_prices(tape: Tape) -> None:
    """Read a tape to its end; no order may be off the tick that was given for it."""
    for operation in tape.operations():
        if isinstance(operation, flow.Submit | flow.Replace) and not is_multiple(
            operation.limit_price, tape.tick
        ):
            raise TapeError(
                f"{tape.path}, row {operation.row}: price is {operation.limit_price}, which is no "
                f"multiple of the tick {tape.tick}; give another --tick"
            )
