"""A tape: a file of recorded order flow with order ids, checked, ready to be replayed.

Rule 1: whoever holds a `Tape` holds one that was read to its last byte without a fault: gzip
checksum, columns, types, times that never fall, amounts that can be traded, and no row that
contradicts another. So no order goes out on the strength of a file that is bad further down.
Rule 2: reading a tape is a pure function of its bytes and its name: the same operations each time.
"""

import re
from collections.abc import Generator, Iterable
from contextlib import closing
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from holdfast.domain.values import ONE
from holdfast.errors import TapeError
from holdfast.venue import tape_lobster, tape_mbo
from holdfast.venue.feeds import databento, lobster, symbol_of
from holdfast.venue.feeds.detect import TAPES, Format, detect
from holdfast.venue.feeds.files import Fingerprint, check_limit, check_unchanged, fingerprint
from holdfast.venue.feeds.records import BookEvent, LobsterMessage
from holdfast.venue.flow import Operation

# Tick (index points) and multiplier (USD per point) by contract root; CME contract specifications.
_CONTRACTS: Final = {
    "ES": (Decimal("0.25"), Decimal(50)),
    "MES": (Decimal("0.25"), Decimal(5)),
    "NQ": (Decimal("0.25"), Decimal(20)),
    "MNQ": (Decimal("0.25"), Decimal(2)),
}
_MONTH: Final = re.compile(r"[FGHJKMNQUVXZ][0-9]{1,2}$")
_UNNAMED: Final = {Format.LOBSTER: "TAPE", Format.DATABENTO_MBO: "ES"}

_Row = TypeVar("_Row", bound=LobsterMessage | BookEvent)


class Tape(Struct, frozen=True, kw_only=True):
    """A checked tape of one instrument.

    `tick` is the step of its prices, `multiplier` turns price times quantity into USD. `day` is
    the trading day where the times of the file need one; without it they count from 1970.
    `rows_total` counts data rows; `rows_unfinished` of them, at the end, belong to a matching
    event that does not end, and give no operation.
    """

    path: Path
    fingerprint: Fingerprint
    format: Format
    symbol: str
    tick: Decimal
    multiplier: Decimal
    day: date | None = None
    rows_total: int = 0
    rows_unfinished: int = 0
    first_ns: int = 0
    last_ns: int = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes as stored."""
        return self.fingerprint.sha256

    def operations(self, limit_rows: int | None = None) -> Generator[Operation, None, None]:
        """Yield the operations of the first `limit_rows` data rows, or of all.

        A matching event that the limit cuts gives none.

        Raises:
            TapeError: the limit is below 1, or the file has changed since it was checked.
        """
        check_limit(limit_rows)
        check_unchanged(self.path, self.fingerprint)
        return _operations(self, _Seen(), limit_rows)


def open_tape(path: str | Path, *, symbol: str = "") -> Tape:
    """Check a whole tape and return it.

    Symbol and day come from a name as the vendor gives it, tick and multiplier from the format
    and the contract. A renamed LOBSTER file is of symbol TAPE and of no day, a renamed
    market-by-order file of symbol ES, unless a symbol is given.

    Raises:
        TapeError: the file is unreadable, damaged or no tape, a row is wrong, or the futures
            contract is none whose tick and multiplier are known.
    """
    path = Path(path)
    seen = fingerprint(path)
    kind = detect(path)
    if kind not in TAPES:
        raise TapeError(
            f"{path} is of format {kind}, which has no order ids; "
            f"give a tape: {' or '.join(sorted(TAPES))}"
        )
    symbol = symbol or symbol_of(path) or _UNNAMED[kind]
    tick, multiplier = (lobster.TICK, ONE) if kind is Format.LOBSTER else _contract(path, symbol)
    tape = Tape(
        path=path,
        fingerprint=seen,
        format=kind,
        symbol=symbol,
        tick=tick,
        multiplier=multiplier,
        day=lobster.name_of(path)[1] if kind is Format.LOBSTER else None,
    )
    return _checked(tape)


def _checked(tape: Tape) -> Tape:
    seen = _Seen()
    for _ in _operations(tape, seen, None):
        pass
    return replace(
        tape,
        rows_total=seen.rows,
        rows_unfinished=seen.rows - seen.rows_complete,
        first_ns=seen.first_ns,
        last_ns=seen.last_ns,
    )


class _Seen:
    """What went through on the way from the file to the operations."""

    def __init__(self) -> None:
        self.rows = self.rows_complete = self.first_ns = self.last_ns = 0

    def through(self, rows: Iterable[_Row]) -> Generator[_Row, None, None]:
        for row in rows:
            self.rows, self.last_ns = row.row, row.at_ns
            self.first_ns = self.first_ns or row.at_ns
            if not isinstance(row, BookEvent) or row.last or row.snapshot:
                self.rows_complete = row.row
            yield row


def _operations(
    tape: Tape, seen: _Seen, limit_rows: int | None
) -> Generator[Operation, None, None]:
    if tape.format is Format.LOBSTER:
        with closing(lobster.messages(tape.path, symbol=tape.symbol, day=tape.day)) as messages:
            rows = islice(seen.through(messages), limit_rows)
            yield from tape_lobster.operations(tape.path, rows)
    else:
        with closing(databento.book_events(tape.path, symbol=tape.symbol)) as events:
            yield from tape_mbo.operations(
                tape.path, islice(seen.through(events), limit_rows), tape.tick
            )


def _contract(path: Path, symbol: str) -> tuple[Decimal, Decimal]:
    root = _MONTH.sub("", symbol)
    if root not in _CONTRACTS:
        raise TapeError(
            f"{path} is of {symbol}, a contract whose tick and multiplier are not known; "
            f"known are {', '.join(_CONTRACTS)}"
        )
    return _CONTRACTS[root]
