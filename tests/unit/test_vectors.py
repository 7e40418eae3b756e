"""The FIX order-state vectors through the desk: in order, repeated, polled, and shuffled."""

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.vectors import Delivery, Result, load, main, run_file, run_vector

EXPECTED = ("ord_status", "cum_qty", "leaves_qty", "avg_px")
FILE = "fix_order_state.json"
# Orders of arrival that are tried per vector; the shortest vectors have fewer.
SHUFFLES_MAX = 24


@pytest.fixture(scope="module")
def vectors(vectors_dir: Path) -> list[dict[str, Any]]:
    """The vectors, with numbers as exact decimals."""
    return load(vectors_dir / FILE)


@pytest.mark.parametrize("delivery", list(Delivery))
def test_every_vector_shows_the_expected_state_after_each_report(
    vectors_dir: Path, delivery: Delivery
) -> None:
    """All 32 vectors agree in all columns however they are delivered (scenario 82; trap 44)."""
    results = list(run_file(vectors_dir / FILE, delivery))
    assert len(results) == 32
    assert sum(len(result.states) for result in results) == 144
    assert sum(result.compared for result in results) > 144 * 3, "the columns were compared"
    assert [str(m) for result in results for m in result.mismatches] == []


def stripped(vectors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The vectors without a trace of what is expected."""
    return [
        {
            **{name: value for name, value in vector.items() if name != "final"},
            "steps": [
                {name: value for name, value in step.items() if name not in EXPECTED}
                for step in vector["steps"]
            ],
        }
        for vector in vectors
    ]


def states(results: Iterator[Result]) -> list[tuple[str, int, str, str]]:
    """Everything that the runner prints of its results."""
    return [
        (result.vector, row, event, str(state))
        for result in results
        for row, event, state in result.states
    ]


@pytest.mark.parametrize("delivery", list(Delivery))
def test_the_runner_never_reads_what_is_expected(
    vectors: list[dict[str, Any]], delivery: Delivery
) -> None:
    """A file without the expected columns gives the same states (scenario 110)."""
    full = states(run_vector(vector, delivery) for vector in vectors)
    bare = states(run_vector(vector, delivery) for vector in stripped(vectors))
    assert bare == full
    assert not any(run_vector(vector, delivery).compared for vector in stripped(vectors))


def test_the_expectation_of_a_refusal_is_no_input(vectors: list[dict[str, Any]]) -> None:
    """What a cancel reject carries along of quantities changes nothing (scenario 110)."""
    for vector in vectors:
        wrong = [
            {**step, "order_qty": Decimal(1)} if step.get("qty_fields_carried") else step
            for step in vector["steps"]
        ]
        told = states(iter([run_vector({**vector, "steps": wrong})]))
        assert told == states(iter([run_vector(vector)]))


def shuffles(steps: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same rows with the trades of one order among themselves, or the ack behind a trade."""
    rows = [i for i, s in enumerate(steps) if s["event"] == "trade"]
    by_order: dict[str, list[int]] = {}
    for row in rows:
        by_order.setdefault(steps[row]["cl_ord_id"], []).append(row)
    for places in by_order.values():
        # Only trades that follow each other at once: anything between them is a state of its own.
        if any(b - a > 1 for a, b in pairwise(places)):
            continue
        for order in list(permutations(places))[1:SHUFFLES_MAX]:
            shuffled = list(steps)
            for place, row in zip(places, order, strict=True):
                shuffled[place] = steps[row]
            yield shuffled
    for row, (step, after) in enumerate(pairwise(steps)):
        if step["event"] == "new" and after["event"] == "trade":
            yield [*steps[:row], after, step, *steps[row + 2 :]]


def final(result: Result) -> str:
    """The last state of a run."""
    return str(result.states[-1][2])


def bare(step: dict[str, Any]) -> dict[str, Any]:
    """A row without expectations."""
    return {name: value for name, value in step.items() if name not in EXPECTED}


def test_shuffled_reports_end_in_the_same_state(vectors: list[dict[str, Any]]) -> None:
    """Trades among themselves, or the ack after the first trade, end the same (scenario 82)."""
    tried = 0
    for vector in vectors:
        steps = [bare(step) for step in vector["steps"]]
        for place, step in enumerate(steps):
            if step["event"] == "trade":  # its price and id must not depend on its place
                step["px"] = step.get("px") or Decimal(100) + Decimal(place) / 8
                step["exec_id"] = step.get("exec_id") or f"t{place}"
        straight = final(run_vector({**vector, "steps": steps}))
        for shuffled in shuffles(steps):
            tried += 1
            assert final(run_vector({**vector, "steps": shuffled})) == straight, vector["id"]
    assert tried > 20


def test_the_runner_notices_a_wrong_state(
    vectors_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One wrong figure is one mismatch, named by vector, row and column, and exit code 1."""
    first = load(vectors_dir / FILE)[0]
    first["steps"][2]["cum_qty"] += 1
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps([first], default=int), encoding="utf-8")
    assert main([str(path), "--quiet"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "MISMATCH A.1.a row 3 trade: cum_qty expected 2001, found 2000",
        "1 vectors, 4 reports, 1 mismatches",
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "--nonsense"], ["a", "--repeated", "--polled"], ["missing"]]
)
def test_a_wrong_call_says_how(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Anything but one readable file is exit code 2 and a line on what to do."""
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"id": "a"}]'])
def test_a_file_that_holds_no_vectors_is_refused(text: str, tmp_path: Path) -> None:
    """Broken JSON and other shapes are named as such."""
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    assert main([str(path)]) == 2


def test_the_module_runs_as_documented(vectors_dir: Path) -> None:
    """`python -m holdfast.testing.vectors FILE` prints a count and succeeds (scenario 82)."""
    run = subprocess.run(
        [sys.executable, "-m", "holdfast.testing.vectors", str(vectors_dir / FILE), "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "32 vectors, 144 reports, 0 mismatches\n"
