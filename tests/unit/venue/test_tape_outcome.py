"""The oracle: what a tape must lead to, and that reading it as order flow leads there."""

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal as D
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import TapeError
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown
from holdfast.venue.outcome import OrderOutcome, end_state_digest, expected_outcome
from holdfast.venue.tape import open_tape

HEADER = (
    "ts_recv_ns,ts_event_ns,instrument_id,action,side,price,size,order_id,channel_id,flags,"
    "ts_in_delta,sequence"
)
LOBSTER = """\
34200,1,2,100,5853300,1
34200,1,10,50,5853400,-1
34200,1,3,10,5853300,1
34201,2,2,40,5853300,1
34202,4,2,25,5853300,1
34202,5,0,25,5853350,1
34203,4,10,50,5853400,-1
34204,3,3,10,5853300,1
34205,3,77,10,5853300,1
34206,4,77,10,5853300,1
"""
MBO = f"""\
{HEADER}
1,1,7,A,B,4800,5,11,0,40,0,1
1,1,7,A,A,4802,2,12,0,40,0,1
2,1,7,T,A,4800,3,0,0,0,0,2
2,1,7,F,B,4800,3,11,0,0,0,2
2,1,7,M,B,4800,2,11,0,130,0,2
3,1,7,M,A,4801,4,12,0,130,0,3
4,1,7,F,A,4800.75,4,12,0,0,0,4
4,1,7,C,A,4801,4,12,0,130,0,4
5,1,7,F,B,4800,1,99,0,130,0,5
6,1,7,A,B,4799.5,1,13,0,130,0,6
7,1,7,T,A,4800,2,0,0,0,0,7
"""


def stored(folder: Path, text: str) -> Path:
    path = folder / "tape"
    path.write_text(text, encoding="ascii")
    return path


def followed(operations: Iterable[Operation]) -> dict[int, OrderOutcome]:
    """Ends of orders after the operations, by the plainest bookkeeping there is."""
    quantity: dict[int, D] = {}
    filled: dict[int, D] = {}
    notional: dict[int, D] = {}
    cancelled: set[int] = set()
    for op in operations:
        match op:
            case Submit():
                quantity[op.order_id] = op.quantity
                filled[op.order_id] = notional[op.order_id] = D(0)
            case Replace():
                quantity[op.order_id] = op.quantity
            case Cancel():
                cancelled.add(op.order_id)
            case Execution():
                filled[op.order_id] += op.quantity
                notional[op.order_id] += op.quantity * op.price
            case Unknown():
                pass
    return {
        key: OrderOutcome(
            "CANCELED"
            if key in cancelled
            else "FILLED"
            if filled[key] == quantity[key]
            else "PARTIAL_FILL"
            if filled[key]
            else "OPEN",
            filled[key],
            notional[key],
        )
        for key in quantity
    }


def test_the_end_of_a_lobster_tape_is_reckoned_from_its_rows(tmp_path: Path) -> None:
    """Worked out by hand: one order each that is partly filled, filled, and cancelled."""
    found = expected_outcome(stored(tmp_path, LOBSTER))

    assert found.orders == {
        2: OrderOutcome("PARTIAL_FILL", D(25), D("14633.25")),
        10: OrderOutcome("FILLED", D(50), D(29267)),
        3: OrderOutcome("CANCELED", D(0), D(0)),
    }
    assert found.by_status == {"CANCELED": 1, "FILLED": 1, "PARTIAL_FILL": 1}
    assert (found.executions, found.replaces, found.cancels) == (2, 1, 1)
    assert (found.executed_quantity, found.notional, found.leaves) == (75, D("43900.25"), 35)
    assert (found.unknown_rows, found.unknown_ids, found.rows) == (2, 1, 10)


def test_the_end_of_a_market_by_order_tape_is_reckoned_from_its_rows(tmp_path: Path) -> None:
    """Worked out by hand: a partial fill, a raised order filled outside its limit, an open one."""
    found = expected_outcome(stored(tmp_path, MBO))

    assert found.orders == {
        11: OrderOutcome("PARTIAL_FILL", D(3), D(14400)),
        12: OrderOutcome("FILLED", D(4), D(19203)),
        13: OrderOutcome("OPEN", D(0), D(0)),
    }
    assert (found.executions, found.replaces, found.cancels) == (2, 2, 0)
    assert (found.executed_quantity, found.notional, found.leaves) == (7, D(33603), 3)
    assert (found.unknown_rows, found.unknown_ids) == (1, 1)
    assert (found.rows, found.rows_unfinished) == (11, 1)


def test_the_digest_is_of_one_line_per_order_in_numeric_order(tmp_path: Path) -> None:
    """Id, status, filled, notional; plain decimals without trailing zeros, 0 when none."""
    text = "2,PARTIAL_FILL,25,14633.25\n3,CANCELED,0,0\n10,FILLED,50,29267\n"
    expected = hashlib.sha256(text.encode()).hexdigest()

    assert expected_outcome(stored(tmp_path, LOBSTER)).end_state == expected
    assert expected == end_state_digest(
        [
            (10, "filled", D("50.0"), D("29267.00")),
            (3, "canceled", D(0), D("0.00")),
            (2, "partial_fill", D(25), D("14633.250")),
        ]
    )
    assert end_state_digest([(1, "OPEN", D("1E+2"), D("1E+3"))]) == (
        hashlib.sha256(b"1,OPEN,100,1000\n").hexdigest()
    )


@pytest.mark.parametrize("text", [LOBSTER, MBO], ids=["lobster", "mbo"])
@pytest.mark.parametrize("limit", range(1, 13))
def test_flow_and_oracle_agree_under_every_limit(tmp_path: Path, text: str, limit: int) -> None:
    """Two readings that share no rule come to the same end wherever the tape is cut."""
    path = stored(tmp_path, text)
    operations = list(open_tape(path).operations(limit))

    expected = expected_outcome(path, limit)

    assert followed(operations) == expected.orders
    kinds = Counter(type(op) for op in operations)
    assert kinds[Replace] == expected.replaces
    assert kinds[Execution] == expected.executions
    assert kinds[Unknown] == expected.unknown_rows


@pytest.mark.parametrize("limit", [0, -1])
def test_an_outcome_of_less_than_one_row_is_refused(tmp_path: Path, limit: int) -> None:
    """The oracle takes the limits that the tape takes."""
    with pytest.raises(TapeError, match=f"the limit is {limit} rows"):
        expected_outcome(stored(tmp_path, LOBSTER), limit)


def test_a_damaged_tape_has_no_outcome_and_the_damage_is_named(tmp_path: Path) -> None:
    """What is wrong with the file is said, not that a row could not be read."""
    path = tmp_path / "tape"
    path.write_bytes(gzip.compress(LOBSTER.encode())[:-1])

    with pytest.raises(TapeError, match="tape is a gzip file that ends too early"):
        expected_outcome(path)


@pytest.mark.parametrize("text", ["what\n", "ts,price,size\n1,1,1\n", "34200,1,2,,5853300,1\n"])
def test_what_is_no_tape_has_no_outcome(tmp_path: Path, text: str) -> None:
    """A file without orders, or with a row that cannot be read, is an error and not zero orders."""
    with pytest.raises(TapeError):
        expected_outcome(stored(tmp_path, text))


@st.composite
def events(draw: st.DrawFn) -> str:
    """A market-by-order tape of random events over a few ids, contradictory ones included."""
    rows: list[str] = []
    sides: dict[int, str] = {}
    price = st.sampled_from(["4799.75", "4800", "4800.25"])
    size = st.integers(1, 4)

    def put(action: str, order_id: int, flags: int) -> None:
        side = sides.get(order_id, "N" if action in "RF" else "B")
        what = f"{action},{side},{draw(price)},{draw(size)},{order_id}"
        rows.append(f"{len(rows)},1,7,{what},0,{flags},0,1")

    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from("AAAFFFFMMCCR"))
        known = st.sampled_from([*sides, 999])
        if kind == "A":
            sides[len(sides) + 1] = draw(st.sampled_from("AB"))
            put("A", len(sides), 130)
        elif kind == "F":
            ids = draw(st.lists(known, min_size=1, max_size=4))
            for order_id in ids:
                put("F", order_id, 0)
            for order_id in dict.fromkeys(ids):
                left = draw(st.sampled_from(["M", "C", ""]))
                if left:
                    put(left, order_id, 0)
            put("T", 0, 130)
        else:
            put(kind, draw(known) if kind != "R" else 0, 130)
    return "\n".join([HEADER, *rows, ""])


@settings(max_examples=150)
@given(text=events())
def test_flow_and_oracle_agree_on_any_events(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """However fills, modifies, cancels and clears follow each other, the two readings agree."""
    path = stored(tmp_path_factory.getbasetemp(), text)
    operations = list(open_tape(path).operations())

    expected = expected_outcome(path)

    assert followed(operations) == expected.orders
    assert sum(isinstance(op, Replace) for op in operations) == expected.replaces
    assert sum(isinstance(op, Unknown) for op in operations) == expected.unknown_rows
