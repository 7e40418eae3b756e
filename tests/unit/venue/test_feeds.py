"""The format is told from the content, and every row of a feed is checked."""

import gzip
from decimal import Decimal as D
from pathlib import Path

import pytest

from holdfast.domain.values import Side
from holdfast.errors import TapeError
from holdfast.venue.feeds import csvfeed, open_feed
from holdfast.venue.feeds.detect import Format, detect
from holdfast.venue.feeds.records import Bar, Quote, Trade

MBO = (
    "ts_recv_ns,ts_event_ns,instrument_id,action,side,price,size,order_id,channel_id,flags,"
    "ts_in_delta,sequence"
)
DB_TRADES = "ts_recv_ns,ts_event_ns,instrument_id,action,side,price,size,flags,sequence"
MBP1 = f"{DB_TRADES},bid_px,bid_sz,bid_ct,ask_px,ask_sz,ask_ct"
BINANCE = "local_ts_ns,exch_trade_ts_ms,exch_event_ts_ms"
B_QUOTES = f"{BINANCE},update_id,bid_px,bid_qty,ask_px,ask_qty"
B_TRADES = f"{BINANCE},trade_id,price,qty,aggressor_side,order_type_X"
BARS = "timestamp,open,high,low,close,volume"

TICKER = '{"stream":"xusdt@bookTicker","data":{"u":5,"s":"X","b":"9","B":"1","a":"10","A":"2"}}'

SAMPLES = {
    Format.LOBSTER: "34200.1,1,11,100,5853300,1",
    Format.DATABENTO_MBO: f"{MBO}\n5,4,7,A,B,4800.25,2,11,0,130,0,1",
    Format.DATABENTO_MBP1: f"{MBP1}\n5,4,7,A,B,4800.25,2,130,1,4800,1,1,4800.25,3,1",
    Format.DATABENTO_TRADES: f"{DB_TRADES}\n5,4,7,T,A,4800.25,2,0,1",
    Format.BINANCE_QUOTES: f"{B_QUOTES}\n5,,,77,9.5,1,10.5,2",
    Format.BINANCE_TRADES: f"{B_TRADES}\n5,3,4,77,9.5,1,sell,",
    Format.BINANCE_STREAM: f"5 {TICKER}",
    Format.CSV_TRADES: "ts,price,size,side\n5,9.5,1,buy",
    Format.CSV_QUOTES: "ts,bid,bid_size,ask,ask_size\n5,9.5,1,10.5,0",
    Format.CSV_BARS: f"{BARS}\n5,9,11,8,10,0",
}


def stored(folder: Path, text: str, name: str = "anything") -> Path:
    path = folder / name
    path.write_text(text + "\n", encoding="utf-8")
    return path


def records(folder: Path, text: str) -> list[object]:
    return list(open_feed(stored(folder, text), symbol="X").records())


@pytest.mark.parametrize("kind", list(Format))
def test_every_format_is_told_from_its_first_line_plain_or_packed(
    tmp_path: Path, kind: Format
) -> None:
    """The name plays no part: a file called after another format is still what it is."""
    plain = stored(tmp_path, SAMPLES[kind], "lobster_AAPL_2012-06-21_message.csv")
    packed = tmp_path / "databento_ESH4_mbo.csv"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert detect(plain) is detect(packed) is kind
    assert open_feed(plain, symbol="X").records_total == 1


@pytest.mark.parametrize("first", ["", "hello", "1,2,3", "a,b,c,d,e,f", "ts,price", '{"a":1}'])
def test_an_unknown_format_is_refused_with_what_was_seen_and_what_is_known(
    tmp_path: Path, first: str
) -> None:
    """The message shows the first line, shortened, and lists what can be read."""
    with pytest.raises(TapeError) as caught:
        detect(stored(tmp_path, first + "\nmore"))

    assert f"its first line is {first!r}" in str(caught.value)
    assert "LOBSTER" in str(caught.value)
    assert "ts,bid,bid_size,ask,ask_size" in str(caught.value)


def test_a_feed_gives_typed_records_with_exact_amounts(tmp_path: Path) -> None:
    """Amounts are the decimals that were written, times are nanoseconds, sides are the domain's."""
    text = "ts,price,size,side\n5,0.10,3,buy\n6,0.2,1.50,"

    assert records(tmp_path, text) == [
        Trade("X", 5, D("0.10"), D(3), Side.BUY),
        Trade("X", 6, D("0.2"), D("1.50"), None),
    ]


def test_an_mbp1_file_gives_trades_and_the_top_after_each_other_row(tmp_path: Path) -> None:
    """A trade row repeats the book before the trade, so it is a trade and no quote."""
    text = (
        f"{MBP1}\n5,4,7,T,B,4800.25,2,0,1,4800,9,1,4800.25,3,1"
        "\n6,4,7,C,A,4800.25,2,130,1,4800,9,1,4800.25,1,1"
    )

    assert records(tmp_path, text) == [
        Trade("X", 5, D("4800.25"), D(2), Side.BUY),
        Quote("X", 6, D(4800), D(9), D("4800.25"), D(1)),
    ]


def test_times_are_nanoseconds_or_iso_with_an_offset(tmp_path: Path) -> None:
    """All the ways to write one moment give one number, to the nanosecond."""
    rows = "\n".join(
        f"{time},1,1,1,1,0"
        for time in (
            "2026-08-19T18:52:00+00:00",
            "2026-08-19T14:52:00.000000001-04:00",
            "2026-08-19 18:52:00.000000002Z",
            "1787165520000000003",
        )
    )

    assert [bar.at_ns for bar in records(tmp_path, f"{BARS}\n{rows}") if isinstance(bar, Bar)] == [
        1787165520000000000 + n for n in range(4)
    ]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("1787165520", "looks like seconds"),
        ("1787165520000", "looks like milliseconds"),
        ("1787165520000000", "looks like microseconds"),
        ("2026-08-19T18:52:00", "has no offset"),
        ("2026-13-19T18:52:00Z", "month"),
        ("1969-12-31T23:59:59Z", "not between 1970 and 2255"),
        ("9999-01-01T00:00:00Z", "not between 1970 and 2255"),
        ("9999999999999999999", "time is '9999999999999999999'"),
        ("noon", "time is 'noon'"),
        ("", "time is ''"),
    ],
)
def test_a_time_that_would_be_a_guess_is_refused(tmp_path: Path, time: str, said: str) -> None:
    """Wrong units, no zone, no such day, out of 64 bits: each says so and shows how to write it."""
    with pytest.raises(TapeError, match=said) as caught:
        records(tmp_path, f"{BARS}\n{time},1,1,1,1,0")
    assert "row 1 (line 2)" in str(caught.value)
    assert "ISO-8601 with an offset" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("ts,price,size", "5,9.5", "2 columns in '5,9.5'; a row has 3: ts,price,size"),
        ("ts,price,size", "", "1 columns in ''"),
        ("ts,price,size", "5,-9.5,1", "price is '-9.5'; it must be a price above zero"),
        ("ts,price,size", "5,0.00,1", "price is '0.00'"),
        ("ts,price,size", "5,NaN,1", "price is 'NaN'"),
        ("ts,price,size", "5,Infinity,1", "price is 'Infinity'"),
        ("ts,price,size", "5,1e400,1", "price is '1e400'"),
        ("ts,price,size", "5,1_000,1", "price is '1_000'"),
        ("ts,price,size", "5, 9,1", "price is ' 9'"),
        ("ts,price,size", "5,٣,1", "price is '٣'"),
        ("ts,price,size", "5,123456789012345,1", "price is '123456789012345'"),
        ("ts,price,size", "5,9,0", "size is '0'; it must be a size above zero"),
        ("ts,price,size,side", "5,9,1,short", "side is 'short'; it must be buy, sell or nothing"),
        ("ts,bid,bid_size,ask,ask_size", "5,10,1,9,1", "bid 10 above ask 9"),
        (B_QUOTES, "5,,,1,10,1,9,1", "bid 10 above ask 9"),
        (B_QUOTES, "5,,,1,10,nan,11,1", "bid_qty is 'nan'"),
        (BARS, "5,9,9,8,10,1", "low 8 and high 9 do not enclose open and close"),
        (BARS, "5,9,11,8,10,-1", "volume is '-1'"),
        (DB_TRADES, "5,4,7,A,B,4800,2,0,1", "action is A; a trade row has action T"),
        (MBP1, "5,4,7,A,B,4800,2,0,1,,0,0,4800,1,1", "bid_px is ''"),
    ],
)
def test_a_bad_row_is_refused_with_its_place_the_value_and_what_it_must_be(
    tmp_path: Path, header: str, row: str, said: str
) -> None:
    """Nothing that is no amount becomes one: NaN, infinity, 1e400, other digits (trap 70)."""
    with pytest.raises(TapeError) as caught:
        records(tmp_path, f"{header}\n{row}")

    assert said in str(caught.value)
    assert "row 1 (line 2)" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "later", "earlier"),
    [
        (Format.LOBSTER, "34200.1,1,12,100,5853300,1", "34200.099999999,1,13,100,5853300,1"),
        (Format.DATABENTO_MBO, "9,4,7,A,B,1,2,12,0,130,0,1", "8,4,7,A,B,1,2,13,0,130,0,1"),
        (Format.BINANCE_STREAM, f"9 {TICKER}", f"8 {TICKER}"),
        (Format.CSV_TRADES, "9,1,1,", "8,1,1,"),
    ],
)
def test_rows_out_of_the_order_of_time_are_refused(
    tmp_path: Path, kind: Format, later: str, earlier: str
) -> None:
    """Equal times are fine; a row that is one nanosecond earlier than the last is not."""
    good = f"{SAMPLES[kind]}\n{later}\n{later.replace(',12,', ',14,')}"
    assert len(records(tmp_path, good)) == 3

    with pytest.raises(TapeError, match=r"row 4.*1 ns before that of the row above"):
        records(tmp_path, f"{good}\n{earlier}")


def test_a_reader_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    """Whoever picks the reader by hand is told when the header does not fit it."""
    path = stored(tmp_path, SAMPLES[Format.CSV_TRADES])

    with pytest.raises(TapeError, match="'ts,price,size,side'; that is no file of quotes"):
        list(csvfeed.quotes(path, symbol="X"))


def test_two_bars_of_one_time_are_refused(tmp_path: Path) -> None:
    """A bar that comes twice would be traded on twice."""
    with pytest.raises(TapeError, match=r"row 2.*second bar of the same time"):
        records(tmp_path, f"{BARS}\n5,9,11,8,10,0\n5,9,11,8,10,0")


@pytest.mark.parametrize("kind", [kind for kind in Format if "\n" in SAMPLES[kind]])
def test_a_header_without_rows_is_refused(tmp_path: Path, kind: Format) -> None:
    """A file that says what it would hold and holds nothing is no feed."""
    with pytest.raises(TapeError, match="has a header and no rows"):
        records(tmp_path, SAMPLES[kind].partition("\n")[0])


def test_the_symbol_comes_from_the_call_or_from_a_vendors_name(tmp_path: Path) -> None:
    """Known names tell the symbol; any other file needs it given."""
    text = SAMPLES[Format.CSV_BARS]
    named = stored(tmp_path, text, "projectx_MNQU26_bars_1m_20260819.csv")
    quotes = stored(tmp_path, SAMPLES[Format.BINANCE_QUOTES], "binance_usdm_ethusdt_quotes.csv")
    messages = stored(tmp_path, SAMPLES[Format.LOBSTER], "AAPL_2012-06-21_34200000_message_1.csv")

    assert open_feed(named).symbol == "MNQU26"
    assert open_feed(named, symbol="MNQ").symbol == "MNQ"
    assert open_feed(quotes).symbol == "ETHUSDT"
    assert open_feed(messages).symbol == "AAPL"
    with pytest.raises(TapeError, match="give the symbol"):
        open_feed(stored(tmp_path, text))


def test_a_feed_that_changed_since_it_was_opened_is_not_read(tmp_path: Path) -> None:
    """The check at opening holds for what is read later, or reading is refused."""
    path = stored(tmp_path, SAMPLES[Format.CSV_TRADES])
    feed = open_feed(path, symbol="X")
    assert (feed.records_total, feed.first_ns, feed.last_ns) == (1, 5, 5)

    stored(tmp_path, SAMPLES[Format.CSV_TRADES] + "\n6,1,1,")

    with pytest.raises(TapeError, match="has changed"):
        feed.records()
