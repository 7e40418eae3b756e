"""A recorded market, played on the paper venue.

It is one or more files of quotes and trades, merged by the recorder's clock and played at `speed`
times the pace at which they were recorded. Quotes become the crowd's best bid and offer, trades
meet whatever of the accounts stands in their way.
"""

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.brokers.paper import Delays, RealDelays
from holdfast.clock import NS_PER_MS
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import ONE, Side, is_multiple
from holdfast.errors import InputError, TapeError
from holdfast.venue.crowd import Crowd
from holdfast.venue.feeds import Feed, open_feed
from holdfast.venue.feeds.detect import Format
from holdfast.venue.feeds.records import Quote, Trade
from holdfast.venue.orders import Listing
from holdfast.venue.paper import Venue

SPEED_MIN: Final = Decimal("0.01")
SPEED_MAX: Final = Decimal(10_000)
FILES_MAX: Final = 64
# Records of this much real time are played at once: a timer for each would cost more than it tells.
_BATCH_NS: Final = 10 * NS_PER_MS
# So many records at most go by before others get their turn, however far behind the market is.
_TURN_RECORDS: Final = 256
_PLAYED: Final = frozenset(
    {
        Format.BINANCE_QUOTES,
        Format.BINANCE_TRADES,
        Format.BINANCE_STREAM,
        Format.CSV_QUOTES,
        Format.CSV_TRADES,
        Format.DATABENTO_MBP1,
        Format.DATABENTO_TRADES,
    }
)


class Recording(Struct, frozen=True, kw_only=True):
    """Market files that were read to their ends, and the instruments that they trade."""

    feeds: tuple[Feed, ...]
    instruments: tuple[Instrument, ...]

    def records(self) -> Iterator[Quote | Trade]:
        """Yield quotes and trades of all files in the order of their times."""
        return heapq.merge(*(_quotes_and_trades(feed) for feed in self.feeds), key=_at_ns)

    @property
    def first_ns(self) -> int:
        """When the earliest record was made."""
        return min(feed.first_ns for feed in self.feeds)


def open_recording(paths: Sequence[Path]) -> Recording:
    """Check market files to their last rows and find the grid of each symbol in them.

    The tick of a symbol is the last decimal that any of its prices uses, the lot that of its sizes.

    Raises:
        TapeError: a file cannot be read, is damaged, or holds neither quotes nor trades.
    """
    if not 1 <= len(paths) <= FILES_MAX:
        raise InputError(f"{len(paths)} market files are given; give 1 to {FILES_MAX}")
    feeds = tuple(open_feed(path) for path in paths)
    grids: dict[str, tuple[int, int]] = {}
    for feed in feeds:
        if feed.format not in _PLAYED:
            raise TapeError(
                f"{feed.path} holds {feed.format}, which cannot be played as a market; "
                "give files of quotes and trades"
            )
        for record in _quotes_and_trades(feed):
            price, size = grids.get(record.symbol, (0, 0))
            prices, sizes = _amounts(record)
            grids[record.symbol] = (
                max(price, *map(_decimals, prices)),
                max(size, *map(_decimals, sizes)),
            )
    return Recording(
        feeds=feeds,
        instruments=tuple(
            Instrument.of(symbol, tick=Decimal(1).scaleb(-price), lot=Decimal(1).scaleb(-size))
            for symbol, (price, size) in sorted(grids.items())
        ),
    )


class RecordedMarket:
    """A recording, played on a venue. `played` counts the records so far."""

    def __init__(
        self,
        venue: Venue,
        recording: Recording,
        *,
        speed: Decimal = ONE,
        delays: Delays | None = None,
    ) -> None:
        """Take a recording whose symbols the venue lists; nothing is played before `run`.

        Raises:
            InputError: a symbol is not listed, or on a coarser grid than it was recorded on; or
                a speed that cannot be played.
        """
        self.played = 0
        self._venue = venue
        self._recording = recording
        self._quick, self._slow = check_speed(speed).as_integer_ratio()
        self._delays = delays or RealDelays()
        check_listed(recording, venue.instruments())
        self._sides = {
            instrument.symbol: _Sides(
                venue.crowd(instrument.symbol), venue.listing(instrument.symbol)
            )
            for instrument in recording.instruments
        }

    async def run(self) -> None:
        """Play the recording to its end; raises TapeError if a file has changed meanwhile."""
        began_ns = self._delays.now_ns()
        first_ns = self._recording.first_ns
        for record in self._recording.records():
            due_ns = began_ns + (record.at_ns - first_ns) * self._slow // self._quick
            now_ns = self._delays.now_ns()
            if due_ns > now_ns:
                await self._delays.sleep(max(due_ns - now_ns, _BATCH_NS))
            elif self.played % _TURN_RECORDS == 0:
                await asyncio.sleep(0)
            self._play(record)

    def _play(self, record: Quote | Trade) -> None:
        self._venue.advance(self._delays.now_ns())
        sides = self._sides[record.symbol]
        if isinstance(record, Quote):
            sides.quote(record)
        else:
            sides.trade(record)
        self.played += 1


class _Sides:
    """One symbol's crowd, following a recording: the best bid and offer, and who took them."""

    def __init__(self, crowd: Crowd, listing: Listing) -> None:
        self._crowd, self._listing = crowd, listing
        self._bid = self._ask = 0

    def quote(self, quote: Quote) -> None:
        """Show a new best bid and offer; the side that makes room moves first."""
        listing = self._listing
        bid, ask = listing.ticks(quote.bid), listing.ticks(quote.ask)
        shown = [(1, bid, listing.lots(quote.bid_size)), (-1, ask, listing.lots(quote.ask_size))]
        if bid > self._bid:
            shown.reverse()
        for sign, ticks, lots in shown:
            self._crowd.quote(sign, ticks, lots)
        self._bid, self._ask = bid, ask

    def trade(self, trade: Trade) -> None:
        """Print a trade; whoever took is told by the recording, or else by the nearer quote."""
        ticks, lots = self._listing.ticks(trade.price), self._listing.lots(trade.size)
        if trade.aggressor is not None:
            sign = 1 if trade.aggressor is Side.BUY else -1
        else:
            sign = 1 if 2 * ticks >= self._bid + self._ask else -1
        self._crowd.trade(sign, ticks, lots)


def check_speed(speed: Decimal) -> Decimal:
    """Return a speed that can be played; raises InputError otherwise."""
    if not speed.is_finite() or not SPEED_MIN <= speed <= SPEED_MAX:
        raise InputError(f"the speed is {speed}; give a number from {SPEED_MIN} to {SPEED_MAX}")
    return speed


def check_listed(recording: Recording, instruments: Iterable[Instrument]) -> None:
    """Refuse a recording that cannot be played on a venue that lists these instruments.

    Raises:
        InputError: a symbol is not listed, or on a coarser grid than it was recorded on.
    """
    listed = {instrument.symbol: instrument for instrument in instruments}
    for recorded in recording.instruments:
        _check_grid(recorded, listed.get(recorded.symbol))


def _check_grid(recorded: Instrument, listed: Instrument | None) -> None:
    """Refuse a symbol whose recorded prices or sizes the venue could not show."""
    symbol, terms = recorded.symbol, f"tick {recorded.tick} and lot {recorded.lot}"
    if listed is None:
        raise InputError(
            f"the recording has {symbol}, which is not listed; "
            f"add the instrument {symbol} with {terms}"
        )
    if not (is_multiple(recorded.tick, listed.tick) and is_multiple(recorded.lot, listed.lot)):
        raise InputError(
            f"{symbol} is listed with tick {listed.tick} and lot {listed.lot}, but was recorded "
            f"in finer steps; list it with {terms}"
        )


def _quotes_and_trades(feed: Feed) -> Iterator[Quote | Trade]:
    with closing(feed.records()) as records:
        for record in records:
            if isinstance(record, Quote | Trade):
                yield record


def _at_ns(record: Quote | Trade) -> int:
    return record.at_ns


def _amounts(record: Quote | Trade) -> tuple[tuple[Decimal, ...], tuple[Decimal, ...]]:
    if isinstance(record, Quote):
        return (record.bid, record.ask), (record.bid_size, record.ask_size)
    return (record.price,), (record.size,)


def _decimals(amount: Decimal) -> int:
    """Return how many decimals an amount needs."""
    exponent = amount.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
