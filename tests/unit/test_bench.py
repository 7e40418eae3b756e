"""The benchmarks run and give what bench/README.md describes; how fast is never asked here."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "full_path", "submit_latency", "cancel_25", "fold", "recovery", "memory", "open_query",
    "fill_cost", "venue_replay",
)  # fmt: skip
KEYS = {
    "value", "unit", "goal", "met", "floor", "floor_met", "better", "best", "repeats", "detail",
    "skipped",
}  # fmt: skip


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find `bench` in this checkout; it is never installed."""
    monkeypatch.syspath_prepend(ROOT)


def module(name: str) -> ModuleType:
    """Return a module of the benchmarks."""
    return importlib.import_module(f"bench.{name}")


def figure(**fields: Any) -> Any:
    """Return a figure of these fields."""
    return module("figures").Figure(**{"name": "x", "unit": "u", "better": "more", **fields})


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_and_gives_figures_of_its_name(name: str) -> None:
    """In a tiny size each benchmark gives a value with unit and goal, or says why it is skipped."""
    benchmark = module("registry").BENCHMARKS[name]

    for each in benchmark.run(benchmark.quick_size):
        found = each.as_json()
        assert each.name.startswith(name)
        assert set(found) == KEYS
        assert found["unit"]
        assert found["goal"]
        assert (found["value"] is None) == bool(found["skipped"])
        assert (found["met"] is None) == bool(found["skipped"])
        assert json.loads(json.dumps(found)) == found


def test_every_benchmark_is_described() -> None:
    """The names of the registry, of this file and of the README's table are the same."""
    text = (ROOT / "bench/README.md").read_text(encoding="utf-8")

    assert tuple(module("registry").BENCHMARKS) == NAMES
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == NAMES


def test_a_market_file_that_is_not_there_is_skipped_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the recorded day there is no figure, and the reason names where it was looked for."""
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))

    (found,) = module("market").venue_replay(10)

    assert (found.value, found.met) == (None, None)
    assert str(tmp_path) in found.skipped
    assert "skipped: no " in module("figures").row(found)


@pytest.mark.parametrize(
    ("better", "value", "met", "floor_met"),
    [
        ("more", 200, True, True),
        ("more", 150, False, True),
        ("more", 99, False, False),
        ("less", 200, True, True),
        ("less", 100, True, True),
        ("less", 201, False, False),
    ],
)
def test_met_is_computed(better: str, value: float, met: bool, floor_met: bool) -> None:
    """A goal is reached from its own side, the bound itself included, and the floor apart."""
    found = figure(better=better, value=value, goal=200, floor=100 if better == "more" else 200)

    assert (found.met, found.floor_met) == (met, floor_met)


def test_the_table_and_the_json_object_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same figures come as rows below the machine's, or with --json as one object."""
    main = module("__main__")
    monkeypatch.setattr(main, "_alone", lambda *_, **__: [figure(name="fold", value=3, goal=2)])

    main.main(["fold", "--quick", "--json"])
    printed = json.loads(capsys.readouterr().out)
    main.main(["fold", "--quick"])
    lines = capsys.readouterr().out.splitlines()

    assert set(printed) == {"fold", "machine"}
    assert printed["fold"]["met"] is True
    assert printed["machine"]["cores"] >= 1
    assert printed["machine"]["fdatasync_p50_ms"] > 0
    assert printed["machine"]["raw_journal_append_per_s"] > 0
    assert lines[0].startswith("cores ")
    assert lines[-1].split() == ["fold", "3", "-", "u", ">=2", "-", "yes"]


def test_a_name_that_there_is_not_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name is refused before anything is measured, and the message lists the names."""
    with pytest.raises(SystemExit) as ended:
        module("__main__").main(["ful_path"])

    assert ended.value.code == 2
    assert "'ful_path'" in capsys.readouterr().err


def test_a_benchmark_runs_in_a_process_of_its_own() -> None:
    """What comes back from the other process is the figure that was measured there."""
    main, registry = module("__main__"), module("registry")

    (found,) = main._alone(registry.BENCHMARKS["fold"], quick=True)

    assert found.name == "fold"
    assert found.detail["events"] > 0
