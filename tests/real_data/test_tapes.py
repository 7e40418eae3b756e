"""The two recorded tapes: what they say, counted, and the end state they must lead to.

The figures were worked out from the rows alone, independently of this code.
"""

import gzip
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal as D
from itertools import islice
from pathlib import Path

import pytest

from holdfast.errors import TapeError
from holdfast.venue.feeds import lobster
from holdfast.venue.feeds.files import lines
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown
from holdfast.venue.follow_book import FollowBook
from holdfast.venue.outcome import end_state_digest, expected_outcome
from holdfast.venue.tape import Tape, open_tape

LOBSTER = "market/equity/lobster_AAPL_2012-06-21_0930-1030_message_50.csv.gz"
LOBSTER_BOOK = "market/equity/lobster_AAPL_2012-06-21_0930-1600_orderbook_1.csv.gz"
MBO = "market/futures/databento_ESH4_mbo_20231225.csv.gz"
END_STATES = {
    LOBSTER: "c27433b404ce52ed3b95521a71ae2858444a4d22662f4ecff0012666989c79b9",
    MBO: "427a323957f3f2749062c49ac09d8974f485a939f83e9e1c931cc99c70f0d0ca",
}


@pytest.fixture(scope="module")
def lobster_tape(data_dir: Path) -> Tape:
    """The NASDAQ tape, checked once for all tests."""
    return open_tape(data_dir / LOBSTER)


@pytest.fixture(scope="module")
def mbo_tape(data_dir: Path) -> Tape:
    """The CME tape, checked once for all tests."""
    return open_tape(data_dir / MBO)


def end_state(operations: Iterable[Operation]) -> str:
    """The digest after the operations, by the plainest bookkeeping there is."""
    quantity: dict[int, D] = {}
    filled: dict[int, D] = {}
    notional: dict[int, D] = {}
    ended: dict[int, str] = {}
    for op in operations:
        key = op.order_id
        if isinstance(op, Submit):
            quantity[key], filled[key], notional[key] = op.quantity, D(0), D(0)
        elif isinstance(op, Replace):
            assert key not in ended
            assert op.quantity > filled[key]
            quantity[key] = op.quantity
        elif isinstance(op, Execution):
            assert key not in ended
            filled[key] += op.quantity
            notional[key] += op.quantity * op.price
            if filled[key] == quantity[key]:
                ended[key] = "FILLED"
        elif isinstance(op, Cancel):
            assert key not in ended
            ended[key] = "CANCELED"
    return end_state_digest(
        (
            key,
            ended.get(key, "PARTIAL_FILL" if filled[key] else "OPEN"),
            filled[key],
            notional[key],
        )
        for key in quantity
    )


def test_the_lobster_tape_is_what_it_is(lobster_tape: Tape) -> None:
    """Instrument, rows and times of the tape, and how many operations of each kind it holds."""
    kinds = Counter(type(op) for op in lobster_tape.operations())

    assert (lobster_tape.symbol, lobster_tape.tick, lobster_tape.multiplier) == (
        "AAPL",
        D("0.01"),
        D(1),
    )
    assert (lobster_tape.rows_total, lobster_tape.rows_unfinished) == (91_997, 0)
    assert lobster_tape.first_ns == 1_340_285_400_004_241_176
    assert kinds == {Submit: 44_256, Cancel: 40_932, Execution: 4_055, Replace: 469, Unknown: 84}


def test_the_cme_tape_is_what_it_is(mbo_tape: Tape) -> None:
    """Instrument, rows and times of the tape, and how many operations of each kind it holds."""
    operations = list(mbo_tape.operations())
    kinds = Counter(type(op) for op in operations)
    replaces = Counter(op.order_id for op in operations if isinstance(op, Replace))

    assert (mbo_tape.symbol, mbo_tape.tick, mbo_tape.multiplier) == ("ESH4", D("0.25"), D(50))
    assert (mbo_tape.rows_total, mbo_tape.rows_unfinished) == (68_792, 0)
    assert mbo_tape.first_ns == 1_703_462_400_000_000_000
    assert kinds == {Submit: 29_216, Replace: 11_450, Cancel: 12_666, Execution: 6_364, Unknown: 7}
    assert max(replaces.values()) == 332


def test_the_oracle_gives_the_known_end_of_the_lobster_tape(data_dir: Path) -> None:
    """Every total, and the digest over all orders."""
    found = expected_outcome(data_dir / LOBSTER)
    cancelled_with_fills = [
        order for order in found.orders.values() if order.status == "CANCELED" and order.filled
    ]

    assert found.end_state == END_STATES[LOBSTER]
    assert found.by_status == {
        "CANCELED": 40_932,
        "FILLED": 2_944,
        "OPEN": 379,
        "PARTIAL_FILL": 1,
    }
    assert len(cancelled_with_fills) == 146
    assert (found.executions, found.executed_quantity) == (4_055, 349_624)
    assert found.notional == D("204868524.57")
    assert (found.replaces, found.cancels, found.leaves) == (469, 40_932, 88_574)
    assert (found.unknown_rows, found.unknown_ids, found.rows) == (84, 80, 91_997)


def test_the_oracle_gives_the_known_end_of_the_cme_tape(data_dir: Path) -> None:
    """Every total, and the digest over all orders."""
    found = expected_outcome(data_dir / MBO)

    assert found.end_state == END_STATES[MBO]
    assert found.by_status["FILLED"] == 5_333
    assert found.by_status["OPEN"] + found.by_status["PARTIAL_FILL"] == 11_217
    assert (found.executions, found.executed_quantity) == (6_364, 10_187)
    assert found.notional == D("48986267.75")
    assert (found.replaces, found.cancels, found.leaves) == (11_450, 12_666, 42_160)
    assert (found.unknown_rows, found.rows, found.rows_unfinished) == (7, 68_792, 0)


@pytest.mark.parametrize("name", [LOBSTER, MBO])
@pytest.mark.parametrize("limit", [1, 5_000, 20_001, None])
def test_following_the_operations_leads_to_the_oracles_end(
    data_dir: Path, name: str, limit: int | None
) -> None:
    """The tape read as order flow and the tape added up agree, whole or cut."""
    path = data_dir / name

    digest = end_state(open_tape(path).operations(limit))

    assert digest == expected_outcome(path, limit).end_state
    assert limit or digest == END_STATES[name]


@pytest.mark.parametrize("name", [LOBSTER, MBO])
def test_execution_ids_and_places_of_operations_are_unique(data_dir: Path, name: str) -> None:
    """(row, part) names an operation, and what is derived from it never collides."""
    operations = list(open_tape(data_dir / name).operations())
    ids = [op.execution_id for op in operations if isinstance(op, Execution)]

    assert len({(op.row, op.part) for op in operations}) == len(operations)
    assert len(set(ids)) == len(ids)
    assert [op.at_ns for op in operations] == sorted(op.at_ns for op in operations)


def test_a_book_that_follows_the_messages_shows_the_vendors_book(data_dir: Path) -> None:
    """At least 19,920 of the vendor's first 20,000 states appear; the rest rest on older orders."""
    wanted: list[str] = []
    for line in lines(data_dir / LOBSTER_BOOK):
        if not wanted or line != wanted[-1]:
            wanted.append(line)
        if len(wanted) == 20_000:
            break
    book = FollowBook()
    shown: set[tuple[D, ...]] = set()
    for message in lobster.messages(data_dir / LOBSTER):
        book.apply(message)
        if book.top is not None:
            shown.add(book.top)

    states = [[D(field) for field in line.split(",")] for line in wanted]
    hits = sum(
        (ask / 10_000, asked, bid / 10_000, bidden) in shown for ask, asked, bid, bidden in states
    )

    assert len(states) == 20_000
    assert hits == 19_923


@pytest.mark.parametrize("name", [LOBSTER, MBO])
def test_a_recorded_tape_with_one_fault_is_refused_whole(
    data_dir: Path, tmp_path: Path, name: str
) -> None:
    """Cut anywhere, or one byte of its packed data changed: no operation is ever given."""
    packed = (data_dir / name).read_bytes()
    middle = len(packed) // 2
    path = tmp_path / "tape"
    flipped = packed[:middle] + bytes([packed[middle] ^ 64]) + packed[middle + 1 :]
    for damaged in (packed[:-1], packed[:middle], flipped, packed + b"\n"):
        path.write_bytes(damaged)

        with pytest.raises(TapeError, match="tape"):
            open_tape(path)


def test_rows_swapped_in_a_recorded_tape_are_found(data_dir: Path, tmp_path: Path) -> None:
    """Two neighbours that change places break the order of time."""
    rows = gzip.decompress((data_dir / LOBSTER).read_bytes()).splitlines(keepends=True)
    rows[49_999], rows[50_001] = rows[50_001], rows[49_999]
    path = tmp_path / "tape"
    path.write_bytes(b"".join(rows))

    with pytest.raises(TapeError, match=r"row 5000[01]: its time"):
        open_tape(path)


def test_a_recorded_tape_unpacked_and_renamed_leads_to_the_same_end(
    data_dir: Path, tmp_path: Path
) -> None:
    """Neither the packing nor the name is part of the flow."""
    with gzip.open(data_dir / MBO, "rt") as file:
        text = "".join(islice(file, 30_001))
    path = tmp_path / "renamed.txt"
    path.write_text(text, encoding="ascii")

    whole = expected_outcome(data_dir / MBO, 30_000)
    tape = open_tape(path)

    assert end_state(tape.operations()) == expected_outcome(path).end_state == whole.end_state
    assert tape.rows_unfinished == whole.rows_unfinished
