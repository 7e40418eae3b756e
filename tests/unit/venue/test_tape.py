"""Opening a tape checks all of it, whichever tape it is."""

import gzip
import hashlib
from pathlib import Path

import pytest

from holdfast.errors import TapeError
from holdfast.venue.tape import open_tape

ROWS = "".join(f"{34200 + n},1,{n + 1},100,5853300,1\n" for n in range(200))


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "tape"
    path.write_bytes(content)
    return path


def test_a_tape_knows_its_file_and_its_extent(tmp_path: Path) -> None:
    """Digest, row count and first and last moment are there before any operation is read."""
    content = gzip.compress(ROWS.encode())

    tape = open_tape(stored(tmp_path, content))

    assert tape.sha256 == hashlib.sha256(content).hexdigest()
    assert (tape.rows_total, tape.rows_unfinished) == (200, 0)
    assert (tape.first_ns, tape.last_ns) == (34_200_000_000_000, 34_399_000_000_000)


def test_operations_can_be_read_again_and_are_the_same(tmp_path: Path) -> None:
    """A replay of a replay sees the same flow."""
    tape = open_tape(stored(tmp_path, ROWS.encode()))

    assert list(tape.operations()) == list(tape.operations())
    assert len(list(tape.operations(7))) == 7
    assert len(list(tape.operations(10_000))) == 200


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_row_is_refused_at_the_call(tmp_path: Path, limit: int) -> None:
    """Nothing is read before the limit is known to make sense."""
    tape = open_tape(stored(tmp_path, ROWS.encode()))

    with pytest.raises(TapeError, match=f"the limit is {limit} rows"):
        tape.operations(limit)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(ROWS.encode())[:-4], "ends too early"),
        (gzip.compress(ROWS.encode()) + b"x", "damaged gzip file"),
        ((ROWS + "34400,1,300,100,5853300").encode(), "row 201: 5 columns"),
        ((ROWS + "34300,1,300,100,5853300,1").encode(), "row 201: its time"),
        (b"ts,price,size\n5,1,1\n", "of format csv_trades, which has no order ids"),
        (b"what is this\n", "of no known format"),
        (b"", "is empty"),
    ],
    ids=["truncated", "garbage behind", "cut row", "time order", "no tape", "unknown", "empty"],
)
def test_a_fault_at_the_very_end_is_found_at_opening(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """No operation of a tape is ever seen unless all of the tape is good."""
    with pytest.raises(TapeError, match=said):
        open_tape(stored(tmp_path, content))


def test_a_tape_that_changed_since_it_was_checked_is_not_replayed(tmp_path: Path) -> None:
    """The check holds for the file that was checked."""
    tape = open_tape(stored(tmp_path, ROWS.encode()))
    stored(tmp_path, ROWS.encode() + b"34400,3,1,100,5853300,1\n")

    with pytest.raises(TapeError, match="has changed since it was checked"):
        tape.operations()
