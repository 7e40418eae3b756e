"""The raw stream: four kinds of message, and a book kept from the depth ones."""

from decimal import Decimal as D
from pathlib import Path

import pytest

from holdfast.domain.values import Side
from holdfast.errors import TapeError
from holdfast.venue.feeds import binance
from holdfast.venue.feeds.binance import DepthBook, stream
from holdfast.venue.feeds.levels import Levels
from holdfast.venue.feeds.records import DepthSnapshot, DepthUpdate, Quote, Trade

TICKER = '{"stream":"xusdt@bookTicker","data":{"u":5,"s":"X","b":"9.50","B":"1","a":"10","A":"2"}}'
TRADE = '{"stream":"xusdt@trade","data":{"s":"X","p":"9.5","q":"0.2","m":true,"t":1}}'
DEPTH = '{"stream":"xusdt@depth@100ms","data":{"s":"X","U":6,"u":8,"b":[["9.5","0"]],"a":[]}}'
SNAPSHOT = '{"lastUpdateId":7,"bids":[["9.5","1"]],"asks":[["10","2"]]}'


def stored(folder: Path, *lines: str) -> Path:
    path = folder / "stream.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def update(first: int, last: int, bids: dict[int, int]) -> DepthUpdate:
    return DepthUpdate("X", 1, first, last, tuple((D(p), D(s)) for p, s in bids.items()), ())


def test_each_kind_of_line_becomes_its_record(tmp_path: Path) -> None:
    """The recorder's time orders them; a snapshot, which names no symbol, gets the last one."""
    path = stored(tmp_path, f"1 {TICKER}", f"2 {TRADE}", f"3 {DEPTH}", f"4 {SNAPSHOT}")

    assert list(stream(path)) == [
        Quote("X", 1, D("9.50"), D(1), D(10), D(2)),
        Trade("X", 2, D("9.5"), D("0.2"), Side.SELL),
        DepthUpdate("X", 3, 6, 8, ((D("9.5"), D(0)),), ()),
        DepthSnapshot("X", 4, 7, ((D("9.5"), D(1)),), ((D(10), D(2)),)),
    ]


def test_the_taker_is_the_seller_exactly_when_the_buyer_made_the_price(tmp_path: Path) -> None:
    """The stream says who was the maker; a trade record says who crossed."""
    path = stored(tmp_path, f"1 {TRADE.replace('true', 'false')}")

    (trade,) = stream(path)

    assert isinstance(trade, Trade)
    assert trade.aggressor is Side.BUY


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (TICKER, "it begins with"),
        ("1723161253937085768{}", "it begins with"),
        ("2 {", "truncated"),
        ("2 " + TICKER.replace("9.50", "NaN"), "price is NaN"),
        ("2 " + TICKER.replace("9.50", "-1"), "price is -1"),
        ("2 " + TICKER.replace("9.50", "1e400"), "out of range"),
        ("2 " + DEPTH.replace('"0"', '"-1"'), "size is -1"),
        ("2 " + DEPTH.replace('"0"', '"Infinity"'), "size is Infinity"),
        ("2 " + TRADE.replace('"m":true,', ""), "required field `m`"),
        ("2 " + TRADE.replace("@trade", "@kline"), "xusdt@kline"),
    ],
)
def test_a_line_that_is_no_message_is_refused_with_its_row(
    tmp_path: Path, line: str, said: str
) -> None:
    """Torn JSON, amounts that are none and streams nobody knows are faults, not gaps (trap 70)."""
    with pytest.raises(TapeError, match=said) as caught:
        list(stream(stored(tmp_path, f"1 {TICKER}", line)))
    assert "row 2:" in str(caught.value)


def test_updates_wait_for_the_snapshot_and_apply_from_where_it_stands() -> None:
    """What the snapshot covers changes nothing; what overlaps it or follows it does."""
    book = DepthBook()
    book.apply(update(1, 3, {9: 5}))
    book.apply(update(4, 7, {8: 5}))
    assert book.bids.best() is None

    book.apply(DepthSnapshot("X", 1, 5, ((D(7), D(1)),), ((D(10), D(2)),)))

    assert book.bids.best() == (D(8), D(5))
    assert book.last_id == 7
    book.apply(update(8, 8, {8: 0}))
    assert book.bids.best() == (D(7), D(1))
    assert book.asks.best() == (D(10), D(2))


def test_an_update_that_was_already_applied_changes_nothing() -> None:
    """Repeats come with every reconnect."""
    book = DepthBook()
    book.apply(DepthSnapshot("X", 1, 5, ((D(7), D(1)),), ()))

    book.apply(update(4, 5, {7: 0}))

    assert book.bids.best() == (D(7), D(1))


def test_a_gap_in_the_updates_is_refused_and_leaves_the_book_as_it_was() -> None:
    """A book with a hole is worse than none: the missing numbers are named."""
    book = DepthBook()
    book.apply(DepthSnapshot("X", 1, 5, ((D(7), D(1)),), ()))

    with pytest.raises(TapeError, match="depth updates 6 to 6 of X are missing"):
        book.apply(update(7, 9, {7: 4}))
    assert book.bids.best() == (D(7), D(1))
    assert book.last_id == 5


def test_updates_without_any_snapshot_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue before the snapshot is bounded, and the end of it is said."""
    monkeypatch.setattr(binance, "WAITING_UPDATES_MAX", 2)
    book = DepthBook()
    book.apply(update(1, 1, {7: 1}))
    book.apply(update(2, 2, {7: 1}))

    with pytest.raises(TapeError, match="no snapshot"):
        book.apply(update(3, 3, {7: 1}))


def test_levels_find_the_best_price_after_any_changes_and_stay_small() -> None:
    """The best is that of the live levels, and dead ones do not gather behind it."""
    bids, asks = Levels(Side.BUY), Levels(Side.SELL)
    for n in range(5000):
        for levels in (bids, asks):
            levels.set(D(100), D(1))
            levels.change(D(100 + n % 7 - 3), D(1))
            levels.set(D(50 if levels is bids else 150), D(n % 2))
            levels.change(D(100 + n % 7 - 3), D(-1))

    assert bids.best() == asks.best() == (D(100), D(1))
    assert len(bids) == len(asks) == 2
    assert len(bids._heap) < 600
    bids.set(D(100), D(0))
    bids.set(D(50), D(0))
    assert bids.best() is None
