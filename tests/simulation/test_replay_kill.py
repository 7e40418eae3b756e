"""SIGKILL of a real process in the middle of a replay, more than once, and what is left of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.errors import JournalError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.venue.outcome import Outcome, expected_outcome

ROOT: Final = Path(__file__).resolve().parents[2]
LOBSTER: Final = "market/equity/lobster_AAPL_2012-06-21_0930-1030_message_50.csv.gz"
MBO: Final = "market/futures/databento_ESH4_mbo_20231225.csv.gz"
LOOK_S: Final = 0.01
RUN_TIMEOUT_S: Final = 120
# Of the records of a replay, the part at which each of its processes is killed.
KILLED_AT: Final = (0.1, 0.3, 0.6)


def command(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(journal: Path) -> int:
    """How many records are durable, read beside the process that writes them."""
    try:
        reader = SqliteJournal.read_only(journal)
        try:
            return reader.head("replay").seq
        finally:
            reader.close()
    except JournalError:
        return 0  # it is only being made


def wait_for(replaying: "subprocess.Popen[str]", journal: Path, record: int) -> None:
    """Wait until a record is durable; the process must not have come to its end."""
    while records(journal) < record:
        try:
            _, errors = replaying.communicate(timeout=LOOK_S)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"it ended before record {record}: {errors}")


def unanswered(journal: Path) -> int:
    """How many orders were asked for of which no answer is on record."""
    reader = SqliteJournal.read_only(journal)
    try:
        rows = reader.query("SELECT kind, count(*) FROM records GROUP BY kind")
    finally:
        reader.close()
    counts: dict[str, int] = dict(rows)
    return counts["order_submitted"] - counts["order_accepted"]


def replay_with_kills(tape: Path, journal: Path, *options: str, records_total: int) -> Any:
    """Kill a replay again and again, let the last one finish, and return its summary."""
    arguments = ("replay", str(tape), "--journal", str(journal), "--json", *options)
    left_open = 0
    for part in KILLED_AT:
        replaying = command(*arguments)
        wait_for(replaying, journal, int(part * records_total))
        replaying.kill()
        replaying.communicate()
        left_open += unanswered(journal)
    assert left_open, "no kill came between a submit and its answer; nothing was proven"
    output, errors = (last := command(*arguments)).communicate(timeout=RUN_TIMEOUT_S)
    assert last.returncode == 0, errors
    return json.loads(output)


def verified(journal: Path) -> Any:
    check = command("verify", "--journal", str(journal), "--json")
    output, errors = check.communicate(timeout=RUN_TIMEOUT_S)
    assert check.returncode == 0, errors
    return json.loads(output)


def assert_as_recorded(summary: Any, expected: Outcome) -> None:
    assert summary["end_state"] == expected.end_state
    assert summary["mismatches"] == 0
    assert summary["orders"] == len(expected.orders)
    assert summary["fills"] == expected.executions
    assert summary["replaces"] == expected.replaces
    assert summary["unknown_orders"] == expected.unknown_rows


def test_a_replay_killed_three_times_ends_as_the_tape_does(data_dir: Path, tmp_path: Path) -> None:
    """No order is lost or doubled by SIGKILL, and the journal is whole (scenarios 34 and 85)."""
    journal = tmp_path / "replay.db"

    summary = replay_with_kills(
        data_dir / LOBSTER, journal, "--limit", "10000", records_total=22_000
    )

    assert_as_recorded(summary, expected_outcome(data_dir / LOBSTER, 10_000))
    assert verified(journal)["intact"]


@pytest.mark.whole_file
@pytest.mark.parametrize(("name", "records_total"), [(LOBSTER, 216_000), (MBO, 137_000)])
def test_a_whole_tape_survives_kills(
    data_dir: Path, tmp_path: Path, name: str, records_total: int
) -> None:
    """Both tapes, killed early, midway and late, end in the state their rows prescribe."""
    journal = tmp_path / "replay.db"

    summary = replay_with_kills(data_dir / name, journal, records_total=records_total)

    assert_as_recorded(summary, expected_outcome(data_dir / name))
    assert verified(journal)["intact"]


def test_a_replay_that_is_asked_to_end_closes_in_order(data_dir: Path, tmp_path: Path) -> None:
    """SIGTERM: a line, its own status, a whole journal, and the next run goes on from there."""
    journal = tmp_path / "replay.db"
    arguments = ("replay", str(data_dir / LOBSTER), "--journal", str(journal), "--json")
    replaying = command(*arguments, "--limit", "12000")
    wait_for(replaying, journal, 2_000)
    replaying.terminate()
    output, errors = replaying.communicate(timeout=RUN_TIMEOUT_S)

    assert (replaying.returncode, output) == (143, "")
    assert errors.startswith("holdfast: stopped")
    assert not journal.with_name("replay.db-wal").exists()
    done = records(journal)
    output, errors = command(*arguments, "--limit", "12000").communicate(timeout=RUN_TIMEOUT_S)
    assert_as_recorded(json.loads(output), expected_outcome(data_dir / LOBSTER, 12_000))
    assert done > 2_000
