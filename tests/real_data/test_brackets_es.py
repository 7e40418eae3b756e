"""Brackets over a day of the E-mini S&P: several accounts trade with its recorded orders."""

from pathlib import Path
from typing import Final

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.values import Side
from holdfast.testing.bracket_replay import Plan, Result, replay
from holdfast.testing.bracket_trader import Habits
from holdfast.testing.brokered import BROKER_KINDS
from holdfast.venue.paper import Venue
from holdfast.venue.tape import Tape, open_tape
from holdfast.venue.tape_market import TapeMarket

MBO: Final = "market/futures/databento_ESH4_mbo_20231225.csv.gz"
KINDS: Final = tuple(BROKER_KINDS)
# The first minutes after the opening auction are the liveliest of the tape.
SLICE: Final = Plan(kinds=KINDS, seconds=300, beat_ms=2_000, habits=Habits(hold_s=40))
UNPROTECTED_MAX_MS: Final = 10_000
LEVELS: Final = 100_000


@pytest.fixture(scope="module")
def tape(data_dir: Path) -> Tape:
    """The CME tape, checked once for all tests."""
    return open_tape(data_dir / MBO)


@pytest.fixture(scope="module")
def traded(tape: Tape) -> Result:
    """Five minutes of brackets, on every kind of broker."""
    return replay(tape, SLICE)


def check(result: Result) -> None:
    for each in result.accounts:
        assert each.differences == (), each.kind
        assert each.left == (), each.kind
        assert each.unsettled == (), each.kind
        assert each.executions > 0


def test_a_market_that_nobody_trades_on_ends_as_the_tape_says(tape: Tape) -> None:
    """Whoever follows alone has every order that lives at the end, and missed none."""
    venue = Venue()
    venue.add_listing(Instrument.of(tape.symbol, tick=tape.tick, multiplier=tape.multiplier))
    market = TapeMarket(venue, tape.symbol)
    submitted: set[int] = set()
    for operation in tape.operations():
        market.apply(operation)
        submitted.add(operation.order_id)

    resting = [venue.depth(tape.symbol, side, LEVELS) for side in Side]

    assert market.crowd.missed == 0
    assert sum(key in market.crowd for key in submitted) == 11_217
    assert sum(quantity for levels in resting for _, quantity in levels) == 42_160


def test_the_books_are_equal_once_everything_is_closed(traded: Result) -> None:
    """Every execution, position, cash and fees to the digit, and no order, group or position is
    left: on brokers that tie exits, and on those where we do.
    """
    assert [each.kind for each in traded.accounts] == list(KINDS)
    check(traded)


def test_the_brackets_did_all_that_brackets_do(traded: Result) -> None:
    """They filled, timed out, were stopped, reached targets, were moved and closed early; so the
    equal books are no equality of nothing.
    """
    seen: set[str] = set()
    for each in traded.accounts:
        assert each.figures.brackets >= 15
        assert each.figures.ends["filled"] >= 5
        seen |= each.figures.ends.keys() | each.did.keys()

    assert seen >= {"filled", "filled in part", "not filled", "timed out"}
    assert seen >= {"stop traded", "target traded", "exit traded"}
    assert seen >= {"stop moved", "target moved", "closed early", "closed in part"}


def test_what_fills_is_protected_within_its_bound(traded: Result) -> None:
    """No bracket had something uncovered for longer than it may."""
    for each in traded.accounts:
        assert each.figures.unprotected_max_ms < UNPROTECTED_MAX_MS, each.kind
        assert "flattened: too_long" not in each.figures.ends
        assert "excess" not in each.figures.ends


def test_equal_seeds_write_equal_journals(tape: Tape, traded: Result) -> None:
    """The same plan gives the same figures and digests to the last record; another seed does
    not.
    """
    again = replay(tape, SLICE)
    other = replay(tape, Plan(kinds=KINDS[:1], seconds=20, beat_ms=2_000, seed=2))

    assert again == traded
    assert (
        other.accounts[0].digest
        != replay(tape, Plan(kinds=KINDS[:1], seconds=20, beat_ms=2_000)).accounts[0].digest
    )


@pytest.mark.whole_file
def test_the_books_are_equal_after_the_whole_tape(tape: Tape) -> None:
    """An hour of trading, thousands of brackets: nothing differs and nothing is left."""
    result = replay(tape, Plan(kinds=KINDS, beat_ms=1_500))

    check(result)
    assert result.operations == 59_703
    assert sum(each.figures.brackets for each in result.accounts) >= 2_000
