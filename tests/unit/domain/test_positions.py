"""Positions: long, short, flip, average cost, fees by currency, and what a fill costs."""

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import positions
from holdfast.domain.executions import Change
from holdfast.domain.instruments import Instrument
from holdfast.domain.positions import TRAIL_MAX, Book, Position
from holdfast.domain.values import Side
from holdfast.testing.builders import DeskDriver

ES = Instrument.of("ES", tick="0.25", multiplier="50")
COIN = Instrument.of("X", lot="0.1", base="B")
MARK = D(101)

# A trade, and what is held then: quantity, average price, realised and unrealised profit at 101.
TABLE = """
buy   2 100    2  100     0    100
buy   2 103    4  101.5   0   -100
sell  1 102    3  101.5   25   -75
sell  3 101    0  0       -50    0
sell  2 100   -2  100     -50 -100
buy   5  99    3  99       50  300
sell  4 102   -1  102     500   50
"""


def traded(position: Position, side: str, quantity: object, price: object, name: str) -> None:
    change = Change(name, D(str(quantity)), D(str(price)))
    position.fold(1, Side(side), [change], "")


def test_a_position_goes_long_short_and_through_zero_as_in_the_table() -> None:
    """Average cost, realised and unrealised profit with a multiplier, row by row (scenario 83)."""
    position = Position(symbol="ES")
    for number, line in enumerate(TABLE.strip().splitlines()):
        side, quantity, price, *expected = line.split()
        traded(position, side, quantity, price, f"e{number}")
        found = [
            position.quantity,
            position.average_price,
            position.realised(ES),
            position.unrealised(ES, MARK),
        ]
        scaled = [D(expected[0]), D(expected[1]), *(D(x) for x in expected[2:])]
        assert found == scaled, line


def test_profit_is_exact_again_whenever_the_position_is_flat() -> None:
    """Sevenths do not survive: flat, the profit is cash to the last digit."""
    position = Position(symbol="X")
    x = Instrument.of("X")
    traded(position, "buy", 3, 91, "e1")
    traded(position, "buy", 4, 103, "e2")
    traded(position, "sell", 1, 110, "e3")
    assert round(position.average_price, 20) == D("97.85714285714285714286")
    traded(position, "sell", 6, 100, "e4")
    assert position.realised(x) == 110 + 600 - 273 - 412
    assert position.book.cost == 0


def test_fees_are_kept_by_currency_and_a_rebate_lowers_them() -> None:
    """A fee is no part of the profit; one in the base asset takes quantity (scenario 113)."""
    position = Position(symbol="X")
    fees = [("0.5", "USD"), ("-0.2", "USD"), ("0.01", "X"), ("0.3", "")]
    for number, (fee, currency) in enumerate(fees):
        change = Change(f"e{number}", D(1), D(100), D(fee), currency)
        position.fold(1, Side.BUY, [change], "X")
    assert position.fees == {"USD": D("0.3"), "X": D("0.01"), "": D("0.3")}
    assert position.quantity == D("3.99")
    assert position.average_price == 100


def test_a_fee_in_the_base_asset_may_take_a_flat_position_short() -> None:
    """A sale of everything whose fee is taken in coins leaves a debt of coins (scenario 113)."""
    position = Position(symbol="X")
    position.fold(1, Side.BUY, [Change("e1", D(1), D(100))], "X")
    position.fold(2, Side.SELL, [Change("e1", D(1), D(110), D("0.01"), "X")], "X")
    assert position.quantity == D("-0.01")
    assert position.realised(Instrument.of("X")) == 10


def test_a_profit_that_fees_in_the_base_asset_rounded_still_adds_up() -> None:
    """After a fee of a seventy-first of the position every later round trip is booked (P5)."""
    bench, x = DeskDriver(instruments=[COIN]), COIN
    trips = [("buy", "3", "100"), ("buy", "4.1", "103"), ("sell", "7", "101")]
    trips += [("buy", "3", "100000"), ("sell", "3", "101000")]
    for number, (side, quantity, price) in enumerate(trips, start=1):
        fee = {"fee": "0.1", "fee_currency": "B"} if number == 2 else {}
        bench.opened(side, quantity, limit_price=price)
        bench.trade(f"e{number}", quantity, price, number=number, **fee)
    position = bench.position()
    assert position.quantity == 0
    assert position.cash(x) == D(-300) - D("422.3") + 707 + 3000
    assert position.realised(x) - position.lost(x) == position.cash(x)


fees = st.sampled_from(["0", "0", "0.1", "0.3", "-0.1"])


@given(st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(1, 9), fees), max_size=40))
def test_whatever_is_taken_in_the_base_asset_made_and_lost_is_the_cash_when_flat(
    made: list[tuple[Side, int, str]],
) -> None:
    """Every trade is booked; once flat, what was made less what was lost is the cash (P5)."""
    position = Position(symbol="X")
    for number, (side, quantity, fee) in enumerate(made):
        price = D(100 + 7 * (number % 3))
        change = Change(f"e{number}", D(quantity), price, D(fee), "B")
        position.fold(number, side, [change], "B")
    held = position.quantity
    if held:
        out = Change("out", abs(held), D(99))
        position.fold(99, Side.SELL if held > 0 else Side.BUY, [out], "B")
    assert position.quantity == 0
    assert position.realised(COIN) - position.lost(COIN) == position.cash(COIN)


def test_a_fill_folds_once_however_long_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a fill does not grow with the position or its past (trap 48; scenario 75)."""
    folds = 0
    fold = positions._fold

    def counted(book: Book, trade: positions.Trade) -> None:
        nonlocal folds
        folds += 1
        fold(book, trade)

    monkeypatch.setattr(positions, "_fold", counted)
    position = Position(symbol="X")
    most = 0
    for number in range(3 * TRAIL_MAX):
        before = folds
        traded(position, "buy", 1, 100, f"e{number}")
        most = max(most, folds - before)
    assert most <= 2
    assert folds <= 2 * 3 * TRAIL_MAX
    assert len(position.trail) <= TRAIL_MAX
    assert position.quantity == 3 * TRAIL_MAX


def test_a_trade_older_than_the_trail_is_taken_back_exactly() -> None:
    """Beyond the trail quantity and cash of a bust are still exact."""
    position, x = Position(symbol="X"), Instrument.of("X")
    for number in range(2 * TRAIL_MAX):
        traded(position, "buy", 1, 100 if number else 50, f"e{number}")
    bust = Change("e0", D(-1), D(50), amends=True)
    position.fold(1, Side.BUY, [bust], "")
    assert position.quantity == 2 * TRAIL_MAX - 1
    assert position.cash(x) == -100 * (2 * TRAIL_MAX - 1)


trades = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 9), st.integers(90, 110)),
    min_size=1,
    max_size=12,
)


@given(trades, st.data())
def test_a_bust_leaves_what_would_be_without_the_trade(
    made: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """Whatever was traded, taking one back equals never having had it (scenario 83)."""
    gone = data.draw(st.integers(0, len(made) - 1))
    position, without, x = Position(symbol="X"), Position(symbol="X"), Instrument.of("X")
    for number, (side, quantity, price) in enumerate(made):
        traded(position, side, quantity, price, f"e{number}")
        if number != gone:
            traded(without, side, quantity, price, f"e{number}")
    side, quantity, price = made[gone]
    undo = Change(f"e{gone}", D(-quantity), D(price), amends=True)
    position.fold(1, Side(side), [undo], "")
    for view in (position, without):
        assert view.cash(x) == without.cash(x)
    assert position.quantity == without.quantity
    assert position.average_price == without.average_price
    assert position.realised(x) == without.realised(x)


@given(trades)
def test_profit_and_cost_always_add_up_to_the_cash(made: list[tuple[str, int, int]]) -> None:
    """Cash is realised profit less the cost of what is held, within a view's rounding."""
    position, x = Position(symbol="X"), Instrument.of("X")
    for number, (side, quantity, price) in enumerate(made):
        traded(position, side, quantity, price, f"e{number}")
    drift = position.realised(x) - position.book.cost - position.cash(x)
    assert abs(drift) < D("1e-50")
    assert position.quantity or position.realised(x) == position.cash(x)
