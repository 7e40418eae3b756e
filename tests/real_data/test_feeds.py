"""Recorded market data of every format, read to its end."""

from bisect import bisect_right
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from holdfast.errors import TapeError
from holdfast.venue.feeds import open_feed
from holdfast.venue.feeds.binance import DepthBook, stream
from holdfast.venue.feeds.detect import Format, detect
from holdfast.venue.feeds.files import lines
from holdfast.venue.feeds.records import DepthSnapshot, DepthUpdate, Quote, Trade

CRYPTO = "market/crypto/binance_"
STREAM = f"{CRYPTO}spot_btcusdt_20240808_stream.jsonl.gz"
FUTURES = "market/futures/"
FILES = [
    (f"{CRYPTO}spot_btcusdt_20240808_quotes.csv.gz", Format.BINANCE_QUOTES, "BTCUSDT", 28_040),
    (f"{CRYPTO}spot_btcusdt_20240808_trades.csv.gz", Format.BINANCE_TRADES, "BTCUSDT", 9_757),
    (f"{CRYPTO}spot_ethusdt_20240808_quotes.csv.gz", Format.BINANCE_QUOTES, "ETHUSDT", 24_077),
    (f"{CRYPTO}spot_ethusdt_20240808_trades.csv.gz", Format.BINANCE_TRADES, "ETHUSDT", 6_106),
    (f"{CRYPTO}usdm_btcusdt_20240808_quotes.csv.gz", Format.BINANCE_QUOTES, "BTCUSDT", 66_089),
    (f"{CRYPTO}usdm_btcusdt_20240808_trades.csv.gz", Format.BINANCE_TRADES, "BTCUSDT", 21_313),
    (f"{FUTURES}databento_ESH4_mbo_20231225.csv.gz", Format.DATABENTO_MBO, "ESH4", 68_792),
    (
        f"{FUTURES}databento_ESU4_mbp1_20240701_2358_4min.csv.gz",
        Format.DATABENTO_MBP1,
        "ESU4",
        2_288,
    ),
    (
        f"{FUTURES}databento_ESU4_trades_20240701_2358_4min.csv.gz",
        Format.DATABENTO_TRADES,
        "ESU4",
        120,
    ),
    (f"{FUTURES}projectx_MNQU26_bars_1m_20260819.csv", Format.CSV_BARS, "MNQU26", 120),
]


@pytest.mark.parametrize(("name", "kind", "symbol", "total"), FILES)
def test_every_recorded_file_is_read_without_a_fault(
    data_dir: Path, name: str, kind: Format, symbol: str, total: int
) -> None:
    """Format by content, symbol by name, and one record per row."""
    feed = open_feed(data_dir / name)

    assert (feed.format, feed.symbol, feed.records_total) == (kind, symbol, total)


def test_the_trades_of_an_mbp1_file_are_those_of_the_trades_file(data_dir: Path) -> None:
    """Two extracts of the same four minutes agree on every trade."""
    tops = open_feed(data_dir / FUTURES / "databento_ESU4_mbp1_20240701_2358_4min.csv.gz")
    trades = open_feed(data_dir / FUTURES / "databento_ESU4_trades_20240701_2358_4min.csv.gz")

    assert [record for record in tops.records() if isinstance(record, Trade)] == list(
        trades.records()
    )


def test_the_stream_and_the_extracts_taken_from_it_agree(data_dir: Path) -> None:
    """Every quote and trade of the raw capture is the same record in the column files."""
    raw = list(stream(data_dir / STREAM))
    quotes = open_feed(data_dir / f"{CRYPTO}spot_btcusdt_20240808_quotes.csv.gz")
    trades = open_feed(data_dir / f"{CRYPTO}spot_btcusdt_20240808_trades.csv.gz")

    assert [record for record in raw if isinstance(record, Quote)] == list(quotes.records())
    assert [record for record in raw if isinstance(record, Trade)] == list(trades.records())
    assert Counter(type(record) for record in raw) == {
        Quote: 28_040,
        Trade: 9_757,
        DepthUpdate: 3_451,
        DepthSnapshot: 1,
    }


def test_the_book_kept_from_depth_updates_shows_the_quotes_of_the_same_moment(
    data_dir: Path,
) -> None:
    """After each update the top is the last quote up to that update's number, exactly."""
    path = data_dir / f"{CRYPTO}spot_btcusdt_20240808_quotes.csv.gz"
    update_ids = [int(line.split(",")[3]) for line in islice(lines(path), 1, None)]
    quotes = [quote for quote in open_feed(path).records() if isinstance(quote, Quote)]
    book = DepthBook()
    compared = 0
    for record in stream(data_dir / STREAM):
        if not isinstance(record, DepthSnapshot | DepthUpdate):
            continue
        book.apply(record)
        if book.last_id:
            quote = quotes[bisect_right(update_ids, book.last_id) - 1]
            assert book.bids.best() == (quote.bid, quote.bid_size)
            assert book.asks.best() == (quote.ask, quote.ask_size)
            compared += 1

    assert compared == 3_449


def test_a_book_file_without_times_is_no_feed(data_dir: Path) -> None:
    """The vendor's order book has four columns and no time: it is refused with its first line."""
    name = "market/equity/lobster_AAPL_2012-06-21_0930-1600_orderbook_1.csv.gz"

    with pytest.raises(TapeError, match="first line is '5859400,200,5853300,18'"):
        detect(data_dir / name)


def test_a_zip_archive_is_no_feed(data_dir: Path) -> None:
    """An archive must be unpacked first, and the message says so."""
    with pytest.raises(TapeError, match="unpack the zip archive"):
        detect(data_dir / "market/equity/lean_spy_second_20131007_trade.zip")
