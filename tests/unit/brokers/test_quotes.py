"""Sources of quotes: the paper venue's books, and recordings."""

import asyncio
import gzip
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from holdfast.brokers.quotes_file import RecordedQuotes
from holdfast.brokers.quotes_paper import PaperQuotes
from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.errors import InputError, TapeError
from holdfast.ports import Quotes
from holdfast.testing.world import LoopScheduler, virtual
from holdfast.venue.paper import Venue

HEADER = "local_ts_ns,exch_trade_ts_ms,exch_event_ts_ms,update_id,bid_px,bid_qty,ask_px,ask_qty"
START_NS = 1_723_161_254_000_000_000


class Heard:
    """What a source told, and when, in milliseconds from here on."""

    def __init__(self, source: Quotes) -> None:
        self.quotes: list[Quote] = []
        self.at_ms: list[int] = []
        self._began_ns = LoopScheduler().now_ns()
        self.source = source
        self.task = asyncio.ensure_future(source.watch(self._hear))

    def _hear(self, quote: Quote) -> None:
        self.quotes.append(quote)
        self.at_ms.append((LoopScheduler().now_ns() - self._began_ns) // NS_PER_MS)

    @property
    def bids(self) -> list[Any]:
        """The bids told."""
        return [quote.bid for quote in self.quotes]


def recording(path: Path, *rows: tuple[int, str, str], packed: bool = False) -> Path:
    """Write rows of (milliseconds, bid, ask)."""
    lines = [HEADER]
    lines += [f"{START_NS + ms * NS_PER_MS},,,1,{bid},1.0,{ask},2.0" for ms, bid, ask in rows]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


ROWS = ((0, "100", "101"), (50, "100.5", "101"), (1_000, "99", "100"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("speed", "moments"), [(1, [0, 50, 1_000]), ("10", [0, 5, 100])])
def test_a_recording_is_told_at_its_own_pace_or_a_multiple(
    tmp_path: Path, packed: bool, speed: Any, moments: list[int]
) -> None:
    """Rows come when the recorder's clock says so, divided by the speed."""
    path = recording(tmp_path / "quotes.csv", *ROWS, packed=packed)

    @virtual
    async def case() -> None:
        heard = Heard(RecordedQuotes(path, "BTC", speed=speed, delays=LoopScheduler()))
        await asyncio.sleep(5)
        heard.task.cancel()

        assert heard.bids == [D(100), D("100.5"), D(99)]
        assert heard.quotes[0] == Quote(symbol="BTC", bid=D(100), ask=D(101))
        assert heard.at_ms == moments

    case()


def test_after_the_last_row_the_source_stays_silent(tmp_path: Path) -> None:
    """It does not end, which would begin it anew: the last quote simply grows old."""
    path = recording(tmp_path / "quotes.csv", *ROWS)

    @virtual
    async def case() -> None:
        heard = Heard(RecordedQuotes(path, "BTC", delays=LoopScheduler()))
        await asyncio.sleep(3_600)

        assert not heard.task.done()
        assert len(heard.quotes) == 3
        heard.task.cancel()

    case()


def test_watched_anew_a_recording_goes_on_where_time_has_got_to(tmp_path: Path) -> None:
    """Nothing is told twice, and what was missed comes at once."""
    rows = [(ms, str(100 + ms), str(101 + ms)) for ms in (0, 100, 200, 900)]
    path = recording(tmp_path / "quotes.csv", *rows)

    @virtual
    async def case() -> None:
        source = RecordedQuotes(path, "BTC", delays=LoopScheduler())
        first = Heard(source)
        await asyncio.sleep(0.05)
        first.task.cancel()
        await asyncio.sleep(0.45)
        second = Heard(source)
        await asyncio.sleep(5)
        second.task.cancel()

        assert first.bids == [D(100)]
        assert second.bids == [D(200), D(300), D(1000)]
        assert second.at_ms == [0, 0, 399]  # a few nanoseconds after half a second had passed

    case()


@pytest.mark.parametrize("speed", [0, -1, "fast", "NaN"])
def test_a_speed_that_is_none_is_refused(tmp_path: Path, speed: Any) -> None:
    """Before anything is told; the message shows what was given."""
    path = recording(tmp_path / "quotes.csv", *ROWS)

    with pytest.raises(InputError, match="give a number above zero"):
        RecordedQuotes(path, "BTC", speed=speed)


def test_a_file_that_is_no_recording_is_refused_before_it_is_watched(tmp_path: Path) -> None:
    """Missing, of another layout, or without rows: told when it is opened, not hours later."""
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    empty = recording(tmp_path / "empty.csv")

    with pytest.raises(TapeError):
        RecordedQuotes(tmp_path / "missing.csv", "BTC")
    with pytest.raises(TapeError):
        RecordedQuotes(other, "BTC")
    with pytest.raises(InputError, match=r"empty\.csv"):
        RecordedQuotes(empty, "BTC")


def test_a_row_that_cannot_be_read_interrupts_the_source(tmp_path: Path) -> None:
    """What came before it is told; the rest is an error that names the row."""
    path = recording(tmp_path / "quotes.csv", *ROWS, (2_000, "no price", "1"))

    @virtual
    async def case() -> None:
        heard = Heard(RecordedQuotes(path, "BTC", delays=LoopScheduler()))
        with pytest.raises(TapeError, match=r"line 5|row 4"):
            await heard.task
        assert len(heard.quotes) == 3

    case()


def market() -> tuple[Venue, Any]:
    venue = Venue()
    return venue, venue.add_listing(Instrument.of("ABC", tick="0.5"))


@virtual
async def test_the_venues_book_is_told_as_it_changes() -> None:
    """Best bid, offer and last price, at the next look after they changed."""
    venue, crowd = market()
    heard = Heard(PaperQuotes(venue, every_ms=50, delays=LoopScheduler()))
    await asyncio.sleep(0.01)
    crowd.place("bid", 1, 200, 5)
    crowd.place("ask", -1, 202, 5)
    await asyncio.sleep(0.1)
    crowd.take(1, 5)
    await asyncio.sleep(0.1)
    heard.task.cancel()

    assert heard.quotes == [
        Quote(symbol="ABC", bid=D("100.0"), ask=D("101.0")),
        Quote(symbol="ABC", bid=D("100.0"), last=D("101.0")),
    ]
    assert heard.at_ms == [50, 150]


@virtual
async def test_an_unchanged_book_is_told_again_once_a_second() -> None:
    """A quiet market is no old quote, and no flood either."""
    venue, crowd = market()
    crowd.place("bid", 1, 200, 5)
    heard = Heard(PaperQuotes(venue, every_ms=50, delays=LoopScheduler()))
    await asyncio.sleep(10.01)
    heard.task.cancel()

    assert len(heard.quotes) == 11


@virtual
async def test_only_the_named_symbols_are_told_or_all_that_are_listed() -> None:
    """A symbol listed later is told as well, unless some were named."""
    venue, crowd = market()
    crowd.place("bid", 1, 200, 5)
    some = Heard(PaperQuotes(venue, ["ABC"], delays=LoopScheduler()))
    every = Heard(PaperQuotes(venue, delays=LoopScheduler()))
    await asyncio.sleep(0.1)
    venue.add_listing(Instrument.of("NEW")).place("bid", 1, 100, 1)
    await asyncio.sleep(0.1)
    some.task.cancel()
    every.task.cancel()

    assert {quote.symbol for quote in some.quotes} == {"ABC"}
    assert {quote.symbol for quote in every.quotes} == {"ABC", "NEW"}


def test_looks_that_never_pause_are_refused() -> None:
    """The time between two looks is at least a millisecond."""
    with pytest.raises(InputError, match="every_ms is 0"):
        PaperQuotes(Venue(), every_ms=0)


def test_the_clock_of_the_recorder_is_not_the_worlds(tmp_path: Path) -> None:
    """A recording of another year begins now."""
    path = recording(tmp_path / "quotes.csv", *ROWS)

    @virtual
    async def case() -> None:
        await asyncio.sleep(100)
        heard = Heard(RecordedQuotes(path, "BTC", delays=LoopScheduler()))
        await asyncio.sleep(0.01)
        heard.task.cancel()
        assert heard.at_ms == [0]
        assert LoopScheduler().now_ns() > START_NS + NS_PER_S

    case()
