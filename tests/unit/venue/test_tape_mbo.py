"""CME market-by-order rows as order flow, one matching event at a time."""

from decimal import Decimal as D
from pathlib import Path

import pytest

from holdfast.domain.values import Side
from holdfast.errors import TapeError
from holdfast.venue import tape_mbo
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown
from holdfast.venue.tape import Tape, open_tape

HEADER = (
    "ts_recv_ns,ts_event_ns,instrument_id,action,side,price,size,order_id,channel_id,flags,"
    "ts_in_delta,sequence"
)
LAST, SNAPSHOT, MID = 130, 40, 0
BUY_5 = ("A", "B", "4800", 5, 11, LAST)
SELL_5 = ("A", "A", "4800", 5, 11, LAST)
TRADE = ("T", "A", "4800", 3, 0, MID)

Row = tuple[str, str, str, int, int, int]


def tape(folder: Path, *rows: Row, name: str = "events.csv") -> Tape:
    """One row per (action, side, price, size, order id, flags), one nanosecond apart."""
    text = "\n".join(
        f"{100 + n},7,17077,{action},{side},{price},{size},{order_id},0,{flags},-5,{90 - n}"
        for n, (action, side, price, size, order_id, flags) in enumerate(rows, 1)
    )
    path = folder / name
    path.write_text(f"{HEADER}\n{text}\n", encoding="ascii")
    return open_tape(path)


def operations(folder: Path, *rows: Row) -> list[Operation]:
    return list(tape(folder, *rows).operations())


def test_a_fill_and_what_its_event_leaves_are_one_execution(tmp_path: Path) -> None:
    """An M row after a fill repeats what the fill left: no replace."""
    assert operations(
        tmp_path, BUY_5, TRADE, ("F", "B", "4800", 3, 11, MID), ("M", "B", "4800", 2, 11, LAST)
    ) == [
        Submit(1, 101, 11, Side.BUY, D(5), D(4800)),
        Execution(3, 103, 11, D(3), D(4800), "x3"),
    ]


def test_a_cancel_row_after_a_complete_fill_is_no_cancel(tmp_path: Path) -> None:
    """The C row only takes the filled order off the book, in its event or in a later one."""
    both = ("F", "B", "4800", 5, 11, MID), ("C", "B", "4800", 5, 11, LAST)
    late = ("F", "B", "4800", 5, 11, LAST), ("C", "B", "4800", 5, 11, LAST)

    for rows in (both, late):
        assert operations(tmp_path, BUY_5, *rows) == [
            Submit(1, 101, 11, Side.BUY, D(5), D(4800)),
            Execution(2, 102, 11, D(5), D(4800), "x2"),
        ]


@pytest.mark.parametrize(
    ("fills", "end", "quantity"),
    [
        ([3], ("M", "B", "4800", 4, 11, LAST), 7),  # 3 traded and 4 are left: it was raised to 7
        ([3], ("C", "B", "4800", 2, 11, LAST), 3),  # 3 traded and none is left: lowered to 3
        ([4, 5], ("C", "B", "4800", 5, 11, LAST), 9),
        ([4, 5], ("M", "B", "4800", 1, 11, LAST), 10),
        ([6], ("T", "B", "4800", 1, 0, LAST), 6),  # more than was left, and no row says what is
    ],
)
def test_where_an_event_proves_another_quantity_one_replace_comes_before_its_fills(
    tmp_path: Path, fills: list[int], end: Row, quantity: int
) -> None:
    """Total = filled + all fills + what the M row leaves; the replace is part 0 of the first."""
    rows = [("F", "B", "4800", size, 11, MID) for size in fills]
    first, *others = fills

    assert operations(tmp_path, BUY_5, *rows, end) == [
        Submit(1, 101, 11, Side.BUY, D(5), D(4800)),
        Replace(2, 102, 11, D(quantity), D(4800)),
        Execution(2, 102, 11, D(first), D(4800), "x2", part=1),
        *(Execution(3, 103, 11, D(size), D(4800), "x3") for size in others),
    ]


@pytest.mark.parametrize(
    ("order", "prices", "worst"),
    [
        (BUY_5, ("4800.25", "4801"), "4801"),
        (SELL_5, ("4799", "4799.75"), "4799"),
        (BUY_5, ("4799", "4800.25"), "4800.25"),
    ],
)
def test_a_fill_outside_the_limit_moves_the_limit_to_the_worst_fill_first(
    tmp_path: Path, order: Row, prices: tuple[str, str], worst: str
) -> None:
    """An execution never stands outside the limit of its order."""
    side = order[1]
    fills = [("F", side, price, 2, 11, MID) for price in prices]

    found = operations(tmp_path, order, *fills, ("M", side, worst, 1, 11, LAST))

    assert found[1] == Replace(2, 102, 11, D(5), D(worst))
    assert [op.price for op in found[2:] if isinstance(op, Execution)] == [D(p) for p in prices]
    assert len(found) == 4


def test_a_fill_inside_the_limit_does_not_move_it(tmp_path: Path) -> None:
    """A better price is no reason to replace."""
    found = operations(
        tmp_path, BUY_5, ("F", "B", "4799", 2, 11, MID), ("M", "B", "4800", 3, 11, LAST)
    )

    assert not [op for op in found if isinstance(op, Replace)]


def test_a_modify_gives_what_is_left_and_only_a_change_is_a_replace(tmp_path: Path) -> None:
    """The size of an M row is leaves: after 3 of 5 filled, M 2 changes nothing and M 4 makes 7."""
    assert operations(
        tmp_path,
        BUY_5,
        ("F", "B", "4800", 3, 11, MID),
        ("M", "B", "4800", 2, 11, LAST),
        ("M", "B", "4800", 2, 11, LAST),
        ("M", "B", "4800", 4, 11, LAST),
        ("M", "B", "4800.5", 4, 11, LAST),
    )[2:] == [
        Replace(5, 105, 11, D(7), D(4800)),
        Replace(6, 106, 11, D(7), D("4800.5")),
    ]


def test_a_clear_row_is_the_venues_cancel_of_every_live_order_in_id_order(tmp_path: Path) -> None:
    """Nobody asked for it, and orders that had ended are not ended again."""
    assert operations(
        tmp_path,
        ("A", "A", "4801", 1, 30, SNAPSHOT),
        ("A", "A", "4801", 1, 4, SNAPSHOT),
        BUY_5,
        ("C", "B", "4800", 5, 11, LAST),
        ("R", "N", "", 0, 0, LAST),
        ("C", "A", "4801", 1, 4, LAST),
    )[3:] == [
        Cancel(4, 104, 11),
        Cancel(5, 105, 4, unsolicited=True, part=0),
        Cancel(5, 105, 30, unsolicited=True, part=1),
        Unknown(6, 106, 4),
    ]


def test_rows_of_unknown_ids_are_counted_only(tmp_path: Path) -> None:
    """A fill, modify or cancel of an order the tape never added gives an Unknown per row."""
    assert operations(
        tmp_path,
        ("F", "B", "4800", 1, 99, MID),
        ("F", "B", "4800", 1, 99, MID),
        ("C", "B", "4800", 1, 99, LAST),
        ("M", "A", "4800", 1, 98, LAST),
    ) == [Unknown(1, 101, 99), Unknown(2, 102, 99), Unknown(3, 103, 99), Unknown(4, 104, 98)]


def test_an_auction_fill_without_a_side_is_the_resting_orders(tmp_path: Path) -> None:
    """F rows of an auction carry side N; the order knows its side."""
    found = operations(
        tmp_path, SELL_5, ("F", "N", "4799", 5, 11, MID), ("C", "A", "4800", 5, 11, LAST)
    )

    assert found[1:] == [
        Replace(2, 102, 11, D(5), D(4799)),
        Execution(2, 102, 11, D(5), D(4799), "x2", part=1),
    ]


@pytest.mark.parametrize(
    ("limit", "rows"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2]), (4, [1, 2]), (5, [1, 2, 4]), (9, [1, 2, 4])],
)
def test_a_limit_inside_an_event_stops_at_the_last_whole_one(
    tmp_path: Path, limit: int, rows: list[int]
) -> None:
    """Half an event cannot be understood; a snapshot row is an event of its own."""
    whole = tape(
        tmp_path,
        ("A", "B", "4800", 5, 11, SNAPSHOT),
        ("A", "A", "4801", 5, 12, SNAPSHOT),
        TRADE,
        ("F", "B", "4800", 3, 11, MID),
        ("M", "B", "4800", 2, 11, LAST),
    )

    assert [op.row for op in whole.operations(limit)] == rows


def test_a_tape_that_ends_inside_an_event_says_how_many_rows_are_left_out(tmp_path: Path) -> None:
    """They give no operation and are not hidden."""
    cut = tape(tmp_path, BUY_5, TRADE, ("F", "B", "4800", 3, 11, MID))

    assert (cut.rows_total, cut.rows_unfinished) == (3, 2)
    assert len(list(cut.operations())) == 1
    assert tape(tmp_path, BUY_5).rows_unfinished == 0


def test_an_event_that_never_ends_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows held back for one event are bounded."""
    monkeypatch.setattr(tape_mbo, "EVENT_ROWS_MAX", 3)

    with pytest.raises(TapeError, match=r"row 3 \(line 4\): an event of 3 rows"):
        tape(tmp_path, *[("A", "B", "4800", 5, n, MID) for n in range(1, 6)])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (BUY_5, "order 11 is added again"),
        (("A", "N", "4800", 5, 12, LAST), "side is N; a row of action A has the order's side"),
        (("M", "A", "4800", 5, 11, LAST), "order 11 is to sell here and was added to buy"),
        (("A", "B", "4800.1", 5, 12, LAST), "price is 4800.1; it must be a multiple of the tick"),
        (("M", "B", "4800.1", 5, 11, LAST), "price is 4800.1; it must be a multiple of the tick"),
        (("F", "B", "4800.1", 5, 11, LAST), "price is 4800.1; it must be a multiple of the tick"),
        (("A", "B", "-4800", 5, 12, LAST), "price is -4800; it must be above zero"),
        (("A", "B", "", 5, 12, LAST), "price is 0; it must be above zero"),
        (("A", "B", "nan", 5, 12, LAST), "price is 'nan'"),
        (("A", "B", "4800", 0, 12, LAST), "size is 0; it must be above zero"),
        (("M", "B", "4800", 0, 11, LAST), "size is 0; it must be above zero"),
        (("A", "B", "4800", -5, 12, LAST), "size is '-5'"),
        (("A", "B", "4800", 5, 0, LAST), "order_id is 0; a row of action A names an order"),
        (("X", "B", "4800", 5, 12, LAST), "action is 'X'; it must be one of"),
        (("A", "S", "4800", 5, 12, LAST), "side is 'S'; it must be B, A or N"),
    ],
)
def test_a_row_that_cannot_be_is_refused_before_the_first_operation(
    tmp_path: Path, row: Row, said: str
) -> None:
    """Opening reads the whole tape, so the good rows above a bad one are never acted on."""
    with pytest.raises(TapeError, match=said) as caught:
        tape(tmp_path, BUY_5, row)
    assert "row 2 (line 3)" in str(caught.value)


def test_a_second_instrument_is_refused(tmp_path: Path) -> None:
    """Order ids of two instruments in one book would be mixed up."""
    path = tape(tmp_path, BUY_5).path
    path.write_text(path.read_text() + "102,7,118,A,B,4800,5,12,0,130,0,1\n", encoding="ascii")

    with pytest.raises(TapeError, match="instrument_id is 118 after 17077"):
        open_tape(path)


def test_tick_and_multiplier_are_the_contracts(tmp_path: Path) -> None:
    """The name tells the contract; a renamed file is taken for ES; an unknown one is refused."""
    named = tape(tmp_path, BUY_5, name="databento_ESH4_mbo_20231225.csv")
    micro = tape(tmp_path, BUY_5, name="databento_MNQU26_mbo.csv")
    plain = tape(tmp_path, BUY_5)

    assert (named.symbol, named.tick, named.multiplier) == ("ESH4", D("0.25"), D(50))
    assert (micro.symbol, micro.tick, micro.multiplier) == ("MNQU26", D("0.25"), D(2))
    assert (plain.symbol, plain.tick, plain.multiplier) == ("ES", D("0.25"), D(50))
    with pytest.raises(TapeError, match="is of CLH4, a contract whose tick and multiplier are not"):
        tape(tmp_path, BUY_5, name="databento_CLH4_mbo.csv")
