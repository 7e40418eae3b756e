"""Market data files as streams of typed records, whatever format they are in."""

import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.errors import TapeError
from holdfast.venue.feeds import binance, csvfeed, databento, lobster
from holdfast.venue.feeds.detect import Format, detect
from holdfast.venue.feeds.files import Fingerprint, check_unchanged, fingerprint
from holdfast.venue.feeds.records import Record

# databento_ESH4_..., projectx_MNQU26_..., binance_spot_btcusdt_...; LOBSTER has its own
_NAME: Final = re.compile(r"(?:databento|projectx)_([A-Z0-9]+)_|binance_(?:spot|usdm)_([a-z0-9]+)_")


class Feed(Struct, frozen=True, kw_only=True):
    """A market data file that was read to its end without a fault."""

    path: Path
    format: Format
    symbol: str
    fingerprint: Fingerprint
    records_total: int
    first_ns: int
    last_ns: int

    def records(self) -> Generator[Record, None, None]:
        """Yield the records in the order of the file; raises TapeError if it has changed."""
        check_unchanged(self.path, self.fingerprint)
        return read(self.path, self.format, self.symbol)


def open_feed(path: str | Path, *, symbol: str = "") -> Feed:
    """Check a whole market data file and return it ready to be read.

    Args:
        path: plain or gzip; the format is told from the content.
        symbol: what the file holds, where its name does not tell.

    Raises:
        TapeError: the file cannot be read, is of no known format, a row is wrong, or the symbol
            is neither given nor told by the name.
    """
    path = Path(path)
    seen = fingerprint(path)
    kind = detect(path)
    symbol = symbol or symbol_of(path)
    if not symbol and kind is not Format.BINANCE_STREAM:
        raise TapeError(f"{path} does not tell by its name which symbol it holds; give the symbol")
    total = first_ns = last_ns = 0
    with closing(read(path, kind, symbol)) as records:
        for record in records:
            total += 1
            last_ns = record.at_ns
            first_ns = first_ns or last_ns
    return Feed(
        path=path,
        format=kind,
        symbol=symbol,
        fingerprint=seen,
        records_total=total,
        first_ns=first_ns,
        last_ns=last_ns,
    )


def read(path: Path, kind: Format, symbol: str) -> Generator[Record, None, None]:
    """Yield the records of a file whose format is known; raises TapeError at the first fault."""
    if kind is Format.BINANCE_STREAM:
        return binance.stream(path)
    if kind is Format.LOBSTER:
        return lobster.messages(path, symbol=symbol, day=lobster.name_of(path)[1])
    return _READERS[kind](path, symbol=symbol)


def symbol_of(path: Path) -> str:
    """Return the symbol that a file's name tells, or an empty string."""
    found = _NAME.match(path.name)
    if found:
        return (found[1] or found[2]).upper()
    return lobster.name_of(path)[0]


_READERS: Final = {
    Format.DATABENTO_MBO: databento.book_events,
    Format.DATABENTO_MBP1: databento.tops,
    Format.DATABENTO_TRADES: databento.trades,
    Format.BINANCE_QUOTES: binance.quotes,
    Format.BINANCE_TRADES: binance.trades,
    Format.CSV_TRADES: csvfeed.trades,
    Format.CSV_QUOTES: csvfeed.quotes,
    Format.CSV_BARS: csvfeed.bars,
}
