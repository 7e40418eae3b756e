"""The three tables against pictures drawn by hand from the guide to an order's life."""

import pytest

from holdfast.domain.transitions import (
    CONDITIONS,
    MOVES,
    OVERRULES,
    Fact,
    Overrule,
    Word,
    move,
    overrule,
)
from holdfast.domain.values import TERMINAL, Condition, Status

# Drawn by hand, never derived from the code. "-" means that there is no such move.
MOVES_PICTURE = """
.             accept  reject    fail    fill_part     fill_last  cancel    expire
new           open    rejected  failed  -             -          -         -
open          -       rejected  -       partial_fill  filled     canceled  expired
partial_fill  -       -         -       partial_fill  filled     canceled  expired
filled        -       -         -       -             -          -         -
canceled      -       -         -       -             -          -         -
expired       -       -         -       -             -          -         -
rejected      -       -         -       -             -          -         -
failed        -       -         -       -             -          -         -
"""

FILLS_AND_AMENDMENTS_PICTURE = """
.             fill_full  fill_part     amend_full  amend_part    amend_none
new           -          -             -           -             -
open          -          -             filled      partial_fill  open
partial_fill  -          -             filled      partial_fill  open
filled        filled     filled        filled      partial_fill  open
canceled      filled     canceled      filled      canceled      canceled
expired       filled     expired       filled      expired       expired
rejected      filled     rejected      filled      rejected      rejected
failed        filled     partial_fill  filled      partial_fill  failed
"""

TERMS_AND_LIFE_PICTURE = """
.             terms_full  terms_part    alive_part    alive_none
new           -           -             -             -
open          -           -             -             -
partial_fill  -           -             -             -
filled        filled      partial_fill  partial_fill  open
canceled      filled      -             partial_fill  open
expired       filled      -             partial_fill  open
rejected      -           -             partial_fill  open
failed        -           -             partial_fill  open
"""

# "=" means that the condition stays what it was.
CONDITIONS_PICTURE = """
suspend       suspended
stop          stopped
done_for_day  done_for_day
hold          held
abandon       abandoned
new           none
restate       none
trade         =
end           none
"""


def cells(picture: str) -> list[tuple[str, str, str]]:
    """Read a picture as (row, column, cell)."""
    header, *rows = (line.split() for line in picture.strip().splitlines())
    return [
        (row[0], column, cell)
        for row in rows
        for column, cell in zip(header[1:], row[1:], strict=True)
    ]


@pytest.mark.parametrize(("status", "fact", "after"), cells(MOVES_PICTURE))
def test_a_fact_moves_an_order_as_drawn(status: str, fact: str, after: str) -> None:
    """Each status takes the drawn facts to the drawn status, and no others (scenarios 1-3, 81)."""
    expected = None if after == "-" else Status(after)
    assert move(Status(status), Fact(fact)) is expected


@pytest.mark.parametrize(
    ("status", "fact", "after"),
    cells(FILLS_AND_AMENDMENTS_PICTURE) + cells(TERMS_AND_LIFE_PICTURE),
)
def test_money_and_a_living_order_overrule_an_end_as_drawn(
    status: str, fact: str, after: str
) -> None:
    """Late money, changed terms and a proven life turn an order back as drawn (scenarios 4, 81)."""
    expected = None if after == "-" else Status(after)
    assert overrule(Status(status), Overrule(fact)) is expected


@pytest.mark.parametrize("line", CONDITIONS_PICTURE.strip().splitlines())
def test_a_word_sets_the_condition_as_drawn(line: str) -> None:
    """Only a broker's new word or the end lifts a condition; a trade does not (scenario 81)."""
    word, after = line.split()
    expected = {"=": None, "none": Condition.NONE}.get(after, after)
    assert CONDITIONS[Word(word)] == expected


def test_the_pictures_are_complete() -> None:
    """Every status, fact and word of the code is drawn, so that a new one cannot slip in."""
    drawn = {(s, f) for s, f, _ in cells(MOVES_PICTURE)}
    assert drawn == {(s.value, f.value) for s in Status for f in Fact}
    overruled = cells(FILLS_AND_AMENDMENTS_PICTURE) + cells(TERMS_AND_LIFE_PICTURE)
    assert {(s, f) for s, f, _ in overruled} == {
        (s.value, f.value) for s in Status for f in Overrule
    }
    assert {line.split()[0] for line in CONDITIONS_PICTURE.strip().splitlines()} == {
        word.value for word in Word
    }


def test_an_ended_order_has_no_moves() -> None:
    """Every end is an end: what goes on after it stands in the second table (scenario 3)."""
    assert {status for status in Status if not MOVES[status]} == set(TERMINAL)
    assert not OVERRULES[Status.NEW]
