"""Binance captures: the raw combined stream, and the quote and trade columns taken from it.

Rows are ordered by the recorder's clock, and `at_ns` is that clock: the exchange's stamps come
from another one, and the two are never compared.
Source: Binance's public stream documentation (bookTicker, trade, diff depth, and how a local
book is kept with them).
"""

import re
from collections.abc import Generator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.values import Side, amount
from holdfast.errors import TapeError
from holdfast.venue.feeds.files import lines, shown
from holdfast.venue.feeds.layout import (
    ABOVE_ZERO,
    NANOSECONDS,
    ZERO_OR_MORE,
    Column,
    Layout,
    bad_row,
    decimal,
    late_row,
)
from holdfast.venue.feeds.levels import Levels
from holdfast.venue.feeds.records import DepthSnapshot, DepthUpdate, Quote, Trade

StreamRecord = Quote | Trade | DepthSnapshot | DepthUpdate

WAITING_UPDATES_MAX: Final = 10_000  # 17 minutes at ten a second; a snapshot comes in seconds

_STAMPS: Final = (
    Column("local_ts_ns", NANOSECONDS, "UTC nanoseconds"),
    Column("exch_trade_ts_ms", "[0-9]{0,16}", "milliseconds or nothing", kept=False),
    Column("exch_event_ts_ms", "[0-9]{0,16}", "milliseconds or nothing", kept=False),
)
QUOTES: Final = Layout(
    (
        *_STAMPS,
        Column("update_id", "[0-9]{1,20}", "a whole number", kept=False),
        Column("bid_px", ABOVE_ZERO, "a price above zero"),
        Column("bid_qty", ZERO_OR_MORE, "a size of zero or more"),
        Column("ask_px", ABOVE_ZERO, "a price above zero"),
        Column("ask_qty", ZERO_OR_MORE, "a size of zero or more"),
    )
)
TRADES: Final = Layout(
    (
        *_STAMPS,
        Column("trade_id", "[0-9]{1,20}", "a whole number", kept=False),
        Column("price", ABOVE_ZERO, "a price above zero"),
        Column("qty", ABOVE_ZERO, "a size above zero"),
        Column("aggressor_side", "buy|sell", "buy or sell"),
        Column("order_type_X", "[A-Z_]{0,20}", "a word in capitals or nothing", kept=False),
    )
)


def quotes(path: Path, *, symbol: str) -> Generator[Quote, None, None]:
    """Yield a quote extract.

    Raises:
        TapeError: a row is not as the format has it, crossed, or earlier than the row before.
    """
    with closing(QUOTES.rows(path)) as rows:
        for row, at_ns, (_, bid, bid_size, ask, ask_size) in rows:
            quote = Quote(
                symbol, at_ns, decimal(bid), decimal(bid_size), decimal(ask), decimal(ask_size)
            )
            if quote.bid > quote.ask:
                raise QUOTES.bad_row(
                    path, row, f"bid {bid} above ask {ask}", "a quote is uncrossed"
                )
            yield quote


def trades(path: Path, *, symbol: str) -> Generator[Trade, None, None]:
    """Yield a trade extract.

    Raises:
        TapeError: a row is not as the format has it, or earlier than the row before.
    """
    with closing(TRADES.rows(path)) as rows:
        for _, at_ns, (_, price, size, side) in rows:
            yield Trade(symbol, at_ns, decimal(price), decimal(size), Side(side))


_Levels = tuple[tuple[Decimal, Decimal], ...]


class _Ticker(Struct):
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class _Trade(Struct):
    s: str
    p: Decimal
    q: Decimal
    m: bool  # the buyer was the maker, so the seller crossed


class _Depth(Struct):
    s: str
    U: int
    u: int
    b: _Levels
    a: _Levels


class _Snapshot(Struct):
    lastUpdateId: int  # noqa: N815 - the name on the wire
    bids: _Levels
    asks: _Levels


class _Envelope(Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_TICKER: Final = msgspec.json.Decoder(_Ticker)
_TRADE: Final = msgspec.json.Decoder(_Trade)
_DEPTH: Final = msgspec.json.Decoder(_Depth)
_SNAPSHOT: Final = msgspec.json.Decoder(_Snapshot)


def stream(path: Path) -> Generator[StreamRecord, None, None]:
    """Yield a raw capture, one record per line.

    A depth snapshot of the REST API stands in the capture without a symbol: it gets the symbol of
    the line above it, or an empty one where it is the first line.

    Raises:
        TapeError: a line is not `nanoseconds {json}`, is of a stream that is not known, holds an
            amount that is not finite or out of range, or is earlier than the line before.
    """
    last_ns = 0
    symbol = ""
    with closing(lines(path)) as texts:
        for row, line in enumerate(texts, 1):
            stamp, _, body = line.partition(" ")
            if not re.fullmatch(NANOSECONDS, stamp):
                advice = "each line is 'nanoseconds {json}'"
                raise bad_row(path, row, f"it begins with {shown(line)}", advice, header=False)
            at_ns = int(stamp)
            if at_ns < last_ns:
                raise late_row(path, row, at_ns, last_ns, header=False)
            last_ns = at_ns
            try:
                record = _record(body, at_ns, symbol)
            except (msgspec.MsgspecError, ValueError) as error:
                advice = "a line holds one bookTicker, trade, depth or snapshot message"
                raise bad_row(path, row, str(error), advice, header=False) from None
            symbol = record.symbol
            yield record


class DepthBook:
    """The book that one symbol's snapshot and updates make.

    Updates that come before the snapshot wait for it; one that the snapshot or an earlier update
    already covers changes nothing.
    """

    def __init__(self) -> None:
        """Begin without a snapshot."""
        self.bids, self.asks = Levels(Side.BUY), Levels(Side.SELL)
        self.last_id = 0  # the update the book stands at; 0 before the snapshot
        self._waiting: list[DepthUpdate] = []

    def apply(self, record: DepthSnapshot | DepthUpdate) -> None:
        """Bring the book to where the record ends.

        Raises:
            TapeError: updates are missing between the book and this one, or too many came before
                any snapshot; the book is unchanged.
        """
        if isinstance(record, DepthSnapshot):
            self.bids, self.asks = Levels(Side.BUY), Levels(Side.SELL)
            self._set(record, record.last_id)
            waiting, self._waiting = self._waiting, []
            for update in waiting:
                self.apply(update)
        elif not self.last_id:
            if len(self._waiting) >= WAITING_UPDATES_MAX:
                raise TapeError(
                    f"{WAITING_UPDATES_MAX} depth updates of {record.symbol} and no snapshot; "
                    f"a book needs a capture that has one near its beginning"
                )
            self._waiting.append(record)
        elif record.last_id > self.last_id:
            if record.first_id > self.last_id + 1:
                raise TapeError(
                    f"depth updates {self.last_id + 1} to {record.first_id - 1} of "
                    f"{record.symbol} are missing; begin again from a snapshot"
                )
            self._set(record, record.last_id)

    def _set(self, record: DepthSnapshot | DepthUpdate, last_id: int) -> None:
        for levels, changes in ((self.bids, record.bids), (self.asks, record.asks)):
            for price, size in changes:
                levels.set(price, size)
        self.last_id = last_id


def _record(body: str, at_ns: int, symbol: str) -> StreamRecord:
    envelope = _ENVELOPE.decode(body)
    channel = envelope.stream.partition("@")[2]
    if channel == "bookTicker":
        top = _TICKER.decode(envelope.data)
        (bid, bid_size), (ask, ask_size) = _sound(((top.b, top.B), (top.a, top.A)))
        return Quote(top.s, at_ns, bid, bid_size, ask, ask_size)
    if channel == "trade":
        trade = _TRADE.decode(envelope.data)
        ((price, size),) = _sound(((trade.p, trade.q),))
        return Trade(trade.s, at_ns, price, size, Side.SELL if trade.m else Side.BUY)
    if channel.startswith("depth"):
        diff = _DEPTH.decode(envelope.data)
        return DepthUpdate(diff.s, at_ns, diff.U, diff.u, _sound(diff.b), _sound(diff.a))
    if envelope.stream:
        raise ValueError(f"the stream is {shown(envelope.stream)}")
    whole = _SNAPSHOT.decode(body)
    return DepthSnapshot(symbol, at_ns, whole.lastUpdateId, _sound(whole.bids), _sound(whole.asks))


def _sound(levels: _Levels) -> _Levels:
    for price, size in levels:
        amount(price, "price")
        if amount(size, "size", signed=True) < 0:
            raise ValueError(f"size is {size}")
    return levels
