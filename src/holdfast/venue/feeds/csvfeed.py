"""Plain CSV with a header: trades, quotes or bars, as anyone can write them.

Times are UTC nanoseconds as an integer, or ISO-8601 with an offset, up to nine decimals. A time
without an offset, or one that looks like seconds, milliseconds or microseconds, is refused: to
guess would put every record at the wrong moment without a word.
"""

import re
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from holdfast.clock import NS_PER_S
from holdfast.domain.values import Side
from holdfast.errors import TapeError
from holdfast.venue.feeds.files import first_line, shown
from holdfast.venue.feeds.layout import (
    ABOVE_ZERO,
    NANOSECONDS,
    ZERO_OR_MORE,
    Column,
    Layout,
    decimal,
)
from holdfast.venue.feeds.records import Bar, Quote, Trade

_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_OTHER_UNITS: Final = {10: "seconds", 13: "milliseconds", 16: "microseconds"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(2255, 1, 1, tzinfo=UTC)
_SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL, "": None}


class Kind(StrEnum):
    """What the rows of a plain CSV file are."""

    TRADES = "trades"
    QUOTES = "quotes"
    BARS = "bars"


def nanoseconds(text: str) -> int:
    """Read a time as UTC nanoseconds; raises ValueError with what is wrong."""
    if re.fullmatch(NANOSECONDS, text):
        unit = _OTHER_UNITS.get(len(text))
        if unit:
            raise ValueError(f"time {text} looks like {unit}")
        return int(text)
    found = _ISO.fullmatch(text)
    if not found:
        raise ValueError(f"time is {shown(text)}")
    day, clock, fraction, offset = found.groups()
    if not offset:
        raise ValueError(f"time {text} has no offset from UTC")
    moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
    if not _EPOCH <= moment < _END:
        raise ValueError(f"time {text} is not between 1970 and 2255")
    return int(moment.timestamp()) * NS_PER_S + int(f"{fraction or '':0<9}")


def _layout(*columns: Column) -> Layout:
    meaning = "UTC nanoseconds, or ISO-8601 with an offset such as 2026-08-19T18:52:00Z"
    return Layout((Column("ts", "[^,]*", meaning), *columns), time=nanoseconds)


def _price(name: str) -> Column:
    return Column(name, ABOVE_ZERO, "a price above zero")


def _size(name: str) -> Column:
    return Column(name, ZERO_OR_MORE, "a size of zero or more")


_TRADE: Final = (_price("price"), Column("size", ABOVE_ZERO, "a size above zero"))
_LAYOUTS: Final = {
    "price,size": (Kind.TRADES, _layout(*_TRADE)),
    "price,size,side": (
        Kind.TRADES,
        _layout(*_TRADE, Column("side", "buy|sell|", "buy, sell or nothing")),
    ),
    "bid,bid_size,ask,ask_size": (
        Kind.QUOTES,
        _layout(_price("bid"), _size("bid_size"), _price("ask"), _size("ask_size")),
    ),
    "open,high,low,close,volume": (
        Kind.BARS,
        _layout(*(_price(name) for name in ("open", "high", "low", "close")), _size("volume")),
    ),
}


def kind_of(header: str) -> Kind | None:
    """Return what the rows under this header are, None where it is no header of ours."""
    time, _, names = header.partition(",")
    return _LAYOUTS[names][0] if time in {"ts", "timestamp"} and names in _LAYOUTS else None


def trades(path: Path, *, symbol: str) -> Generator[Trade, None, None]:
    """Yield `ts,price,size[,side]`; raises TapeError for the first row that is not so."""
    with closing(_layout_of(path, Kind.TRADES).rows(path)) as rows:
        for _, at_ns, (_, price, size, *side) in rows:
            aggressor = _SIDES[side[0]] if side else None
            yield Trade(symbol, at_ns, decimal(price), decimal(size), aggressor)


def quotes(path: Path, *, symbol: str) -> Generator[Quote, None, None]:
    """Yield `ts,bid,bid_size,ask,ask_size`; raises TapeError also for a bid above the ask."""
    layout = _layout_of(path, Kind.QUOTES)
    with closing(layout.rows(path)) as rows:
        for row, at_ns, (_, bid, bid_size, ask, ask_size) in rows:
            quote = Quote(
                symbol, at_ns, decimal(bid), decimal(bid_size), decimal(ask), decimal(ask_size)
            )
            if quote.bid > quote.ask:
                raise layout.bad_row(
                    path, row, f"bid {bid} above ask {ask}", "a quote is uncrossed"
                )
            yield quote


def bars(path: Path, *, symbol: str) -> Generator[Bar, None, None]:
    """Yield `timestamp,open,high,low,close,volume`; raises TapeError also for a high that is not
    the highest, a low that is not the lowest, or a second bar of one time.
    """
    layout = _layout_of(path, Kind.BARS)
    last_ns = -1
    with closing(layout.rows(path)) as rows:
        for row, at_ns, (_, *fields) in rows:
            bar = Bar(symbol, at_ns, *(decimal(field) for field in fields))
            if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
                found = f"low {bar.low} and high {bar.high} do not enclose open and close"
                raise layout.bad_row(path, row, found, "check the order of the columns")
            if at_ns == last_ns:
                raise layout.bad_row(path, row, "a second bar of the same time", "keep one")
            last_ns = at_ns
            yield bar


def _layout_of(path: Path, kind: Kind) -> Layout:
    header = first_line(path)
    if kind_of(header) is not kind:
        raise TapeError(f"{path} has the header {shown(header)}; that is no file of {kind}")
    return _LAYOUTS[header.partition(",")[2]][1]
