"""Recorded order flow through the whole order manager, by the command that people use."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.cli.main import run
from holdfast.venue.outcome import expected_outcome

LOBSTER: Final = "market/equity/lobster_AAPL_2012-06-21_0930-1030_message_50.csv.gz"
MBO: Final = "market/futures/databento_ESH4_mbo_20231225.csv.gz"


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status = run(["replay", *arguments, "--json"])
    output, errors = capsys.readouterr()
    assert status == 0, errors
    return json.loads(output)


@pytest.mark.parametrize(
    ("name", "rows"),
    # The first trade of the CME tape stands in row 9,652, behind the snapshot and the auction.
    [(LOBSTER, 5_000), (MBO, 5_000), (MBO, 11_000)],
)
def test_the_first_rows_end_as_they_say(
    data_dir: Path, capsys: pytest.CaptureFixture[str], name: str, rows: int
) -> None:
    """Orders, fills, live orders and the digest are those reckoned from the rows alone."""
    expected = expected_outcome(data_dir / name, rows)

    summary = replayed(capsys, str(data_dir / name), "--limit", str(rows))

    assert summary["end_state"] == expected.end_state
    assert summary["by_status"] == expected.by_status
    assert summary["orders"] == len(expected.orders)
    assert summary["fills"] == expected.executions
    assert summary["replaces"] == expected.replaces
    assert (summary["mismatches"], summary["anomalies"]) == (0, 0)


@pytest.mark.whole_file
def test_the_whole_lobster_tape_ends_as_it_should(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of AAPL: every total, and the digest, as they are known from elsewhere."""
    summary = replayed(capsys, str(data_dir / LOBSTER))

    assert summary["end_state"] == (
        "c27433b404ce52ed3b95521a71ae2858444a4d22662f4ecff0012666989c79b9"
    )
    assert summary["by_status"] == {
        "CANCELED": 40_932,
        "FILLED": 2_944,
        "OPEN": 379,
        "PARTIAL_FILL": 1,
    }
    assert (summary["orders"], summary["fills"], summary["replaces"]) == (44_256, 4_055, 469)
    assert (summary["filled_quantity"], summary["notional"]) == ("349624", "204868524.57")
    assert (summary["live_at_end"], summary["leaves_quantity"]) == (380, "88574")
    assert (summary["unknown_orders"], summary["mismatches"], summary["anomalies"]) == (84, 0, 0)


@pytest.mark.whole_file
def test_the_whole_market_by_order_tape_ends_as_it_should(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A day of the E-mini S&P: every total, and the digest, as they are known from elsewhere."""
    summary = replayed(capsys, str(data_dir / MBO))

    assert summary["end_state"] == (
        "427a323957f3f2749062c49ac09d8974f485a939f83e9e1c931cc99c70f0d0ca"
    )
    assert summary["by_status"]["FILLED"] == 5_333
    assert (summary["orders"], summary["fills"], summary["replaces"]) == (29_216, 6_364, 11_450)
    assert (summary["cancels"], summary["filled_quantity"]) == (12_666, "10187")
    assert summary["notional"] == "48986267.75"
    assert (summary["live_at_end"], summary["leaves_quantity"]) == (11_217, "42160")
    assert (summary["unknown_orders"], summary["mismatches"], summary["anomalies"]) == (7, 0, 0)
