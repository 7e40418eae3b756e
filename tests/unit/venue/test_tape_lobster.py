"""LOBSTER messages as order flow: the rules, and what contradicts them."""

from decimal import Decimal as D
from pathlib import Path

import pytest

from holdfast.domain.values import Side
from holdfast.errors import TapeError
from holdfast.venue.feeds.lobster import midnight_ns, name_of
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown
from holdfast.venue.tape import open_tape

BUY_11 = "34200.000000001,1,11,100,5853300,1"


def operations(folder: Path, *rows: str) -> list[Operation]:
    path = folder / "messages.csv"
    path.write_text("\n".join(rows) + "\n", encoding="ascii")
    return list(open_tape(path).operations())


def test_each_type_becomes_its_operation(tmp_path: Path) -> None:
    """Submit, replace to quantity minus size, execution, cancel; ids derive from the row."""
    at = 34_200_000_000_001

    assert operations(
        tmp_path,
        BUY_11,
        "34200.000000001,2,11,30,5853300,1",
        "34200.000000001,4,11,20,5853300,1",
        "34200.000000001,2,11,10,5853300,1",
        "34200.000000001,3,11,40,5853300,1",
    ) == [
        Submit(1, at, 11, Side.BUY, D(100), D("585.33")),
        Replace(2, at, 11, D(70), D("585.33")),
        Execution(3, at, 11, D(20), D("585.33"), "x3"),
        Replace(4, at, 11, D(60), D("585.33")),
        Cancel(5, at, 11),
    ]


def test_hidden_trades_crosses_and_halts_touch_no_order(tmp_path: Path) -> None:
    """They have no order id, and their prices may be off the tick or no prices at all."""
    assert operations(
        tmp_path,
        "34200,5,0,100,5857950,-1",
        "34200.5,6,-1,900,5857900,-1",
        "34201,7,0,0,-1,-1",
        "34202,1,11,5,5853300,-1",
    ) == [Submit(4, 34_202_000_000_000, 11, Side.SELL, D(5), D("585.33"))]


def test_rows_of_orders_from_before_the_first_row_are_counted_and_not_invented(
    tmp_path: Path,
) -> None:
    """An order the tape never added, or one that ended, gives an Unknown per row."""
    found = operations(
        tmp_path,
        "34200,3,7,100,5853300,1",
        "34200,1,11,100,5853300,1",
        "34200,4,11,100,5853300,1",
        "34200,3,11,100,5853300,1",
        "34200,4,8,100,5853300,1",
    )

    at = 34_200_000_000_000
    assert [op for op in found if isinstance(op, Unknown)] == [
        Unknown(1, at, 7),
        Unknown(4, at, 11),
        Unknown(5, at, 8),
    ]
    assert len(found) == 5


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("34201,1,11,5,5853300,1", "order 11 is added again"),
        ("34201,4,11,101,5853300,1", "it executes 101 of order 11, which has 100 left"),
        ("34201,2,11,100,5853300,1", "it takes away 100 of order 11, which has 100 left"),
        ("34201,2,11,101,5853300,1", "it takes away 101 of order 11"),
        ("34201,4,11,5,5853300,-1", "order 11 is to sell at 585.33 here"),
        ("34201,4,11,5,5853400,1", "was added to buy at 585.33"),
        ("34201,8,11,5,5853300,1", "type is '8'; it must be a digit from 1 to 7"),
        ("34201,1,12,0,5853300,1", "size is 0; it must be above zero"),
        ("34201,1,12,-5,5853300,1", "size is '-5'"),
        ("34201,1,12,1.5,5853300,1", "size is '1.5'"),
        ("34201,1,12,5,0,1", "price is 0; it must be above zero"),
        ("34201,1,12,5,5853350,1", "price is 5853350; it must be above zero and a multiple of 100"),
        ("34201,1,12,5,585.33,1", "price is '585.33'"),
        ("34201,1,12,5,5853300,0", "direction is 0; it must be 1 .buy. or -1 .sell."),
        ("34201,1,0,5,5853300,1", "order_id is 0; a row of types 1 to 4 names an order"),
        ("34201,1,-1,5,5853300,1", "order_id is -1"),
        ("nan,1,12,5,5853300,1", "time is 'nan'"),
        ("86400,1,12,5,5853300,1", "time is '86400'"),
        ("34201,1,12,5,5853300", "5 columns in '34201,1,12,5,5853300'; a row has 6"),
        ("34201,1,12,5,5853300,1,0", "7 columns"),
        ("34201,1,12,5,5853", "5 columns"),
    ],
)
def test_a_row_that_cannot_be_is_refused_before_the_first_operation(
    tmp_path: Path, row: str, said: str
) -> None:
    """Opening reads the whole tape, so the good rows above a bad one are never acted on."""
    with pytest.raises(TapeError, match=said) as caught:
        operations(tmp_path, BUY_11, row)
    assert "messages.csv: row 2: " in str(caught.value)


def test_the_day_and_ticker_come_from_a_name_as_the_vendor_gives_it(tmp_path: Path) -> None:
    """Times count from midnight in New York of that day, and from 1970 without a day."""
    path = tmp_path / "lobster_AAPL_2012-06-21_0930-1030_message_50.csv"
    path.write_text(BUY_11 + "\n", encoding="ascii")
    named = open_tape(path)
    plain = open_tape(path.rename(tmp_path / "renamed.csv"))

    assert (named.symbol, named.tick, named.multiplier) == ("AAPL", D("0.01"), D(1))
    assert named.first_ns == 1_340_285_400_000_000_001  # 2012-06-21T13:30:00.000000001Z
    assert (plain.symbol, plain.day, plain.first_ns) == ("TAPE", None, 34_200_000_000_001)
    assert open_tape(plain.path, symbol="MSFT").symbol == "MSFT"


@pytest.mark.parametrize(
    ("name", "utc_hours"),
    [
        ("AAPL_2012-03-09_m", 5),
        ("AAPL_2012-03-12_m", 4),
        ("AAPL_2012-11-02_m", 4),
        ("AAPL_2012-11-05_m", 5),
        ("AAPL_2026-03-06_m", 5),
        ("AAPL_2026-03-09_m", 4),
        ("AAPL_2020-10-30_m", 4),
        ("AAPL_2020-11-02_m", 5),
    ],
)
def test_summer_time_is_kept_on_the_trading_days_around_its_ends(name: str, utc_hours: int) -> None:
    """The Friday before and the Monday after a change, from the calendars of four years."""
    day = name_of(Path(name))[1]
    assert day is not None

    assert midnight_ns(day) // 3_600_000_000_000 % 24 == utc_hours


@pytest.mark.parametrize("name", ["messages.csv", "lobster_AAPL.csv", "aapl_2012-06-21_.csv"])
def test_any_other_name_tells_nothing(name: str) -> None:
    """Nothing is read into a name that is not the vendor's."""
    assert name_of(Path(name)) == ("", None)


def test_a_day_that_does_not_exist_is_no_day() -> None:
    """The ticker is still good where the date in the name is not."""
    assert name_of(Path("AAPL_2012-02-31_message.csv")) == ("AAPL", None)
