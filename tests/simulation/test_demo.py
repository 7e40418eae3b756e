"""The demonstration as a whole: real processes, a real SIGKILL, and the two books at the end."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = "from holdfast.cli.main import main; main()"
RUN_MAX_S = 60
END_MAX_S = 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a demonstration puts its files; a short name, because a socket's path is bounded."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        yield Path(name)


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `holdfast demo` in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "TMPDIR": str(folder),
        "PYTHONIOENCODING": "ascii",
    }
    return subprocess.Popen(
        [sys.executable, "-c", START, "demo", "--fast", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `holdfast demo` to its end; returns the exit status and what it wrote."""
    process = started(folder, *arguments)
    try:
        out, err = process.communicate(timeout=RUN_MAX_S)
    finally:
        process.kill()
    return process.returncode, out, err


def child_of(process: "subprocess.Popen[str]") -> int:
    """Read on until the order manager was started, and return its process id."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"order manager: process (\d+)", line):
            return int(match[1])
    pytest.fail("no order manager was started")


def ended(watched: int) -> bool:
    """Wait until the process behind a descriptor has ended; False if it does not."""
    return bool(select.select([watched], [], [], END_MAX_S)[0])


@pytest.mark.slow
def test_an_order_manager_that_is_killed_while_it_is_owed_answers_loses_nothing(
    folder: Path,
) -> None:
    """A submit and a cancel are unanswered at a SIGKILL; the books agree (scenarios 34 and 85)."""
    status, out, err = ran(folder)
    lines = out.splitlines()
    assert (status, err) == (0, ""), out
    assert lines[-1] == "0 lost, 0 duplicated"
    assert all(line.isascii() and len(line) < 80 for line in lines)
    assert "\x1b" not in out
    killed = re.search(r"SIGKILL to process \d+: (\d+) submits? and (\d+) cancels? unan", out)
    assert killed is not None
    assert min(int(killed[1]), int(killed[2])) >= 1
    story = out[killed.end() :]
    assert re.search(r"\d+ records folded, \d+ requests? of unknown outcome", story)
    # Which of the two it was depends on when the process died.
    assert re.search(r"submit unknown .*(found|resent)", story)
    assert re.search(r"cancel unknown", story)
    assert not any(folder.iterdir())


@pytest.mark.slow
def test_the_figures_come_as_one_object(folder: Path) -> None:
    """With --json standard output holds an object and nothing else, and standard error nothing."""
    status, out, err = ran(folder, "--json", "--seed", "2")
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert (found["lost"], found["duplicated"], found["others"]) == (0, 0, 0)
    assert found["seed"] == 2
    killed = found["killed"]
    assert killed["unanswered"]["submit"] >= 2
    assert killed["carried_out"]["submit"] >= 1
    assert killed["carried_out"]["cancel"] >= 1
    assert killed["lost"] == 1
    assert found["books"]["orders"]["ours"] == found["books"]["orders"]["venue"] > 10
    assert found["books"]["fills"]["ours"] > 0
    assert found["books"]["canceled"]["ours"] > 0
    assert found["tally"]["unknown"] > 0


@pytest.mark.slow
def test_it_also_runs_without_a_kill(folder: Path) -> None:
    """Timeouts alone are survived by one process."""
    status, out, _ = ran(folder, "--no-kill")
    assert status == 0
    assert out.count("order manager: process") == 1
    assert "SIGKILL" not in out
    assert out.splitlines()[-1] == "0 lost, 0 duplicated"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_leaves_nothing_behind(folder: Path, signal_number: int) -> None:
    """Ctrl-C and SIGTERM end the other process by its id, and the files are removed."""
    process = started(folder)
    watched = os.pidfd_open(child_of(process))
    try:
        process.send_signal(signal_number)
        _, err = process.communicate(timeout=END_MAX_S)
        assert ended(watched)
    finally:
        process.kill()
        os.close(watched)
    assert process.returncode == 128 + signal_number
    assert "Traceback" not in err
    assert not any(folder.iterdir())


def test_the_order_manager_ends_when_the_demonstration_is_killed(folder: Path) -> None:
    """Nobody is left trading where the process that started it is gone."""
    process = started(folder)
    watched = os.pidfd_open(child_of(process))
    try:
        process.kill()
        process.communicate(timeout=END_MAX_S)
        assert ended(watched)
    finally:
        os.close(watched)
