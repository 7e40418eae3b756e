"""The documents tell the truth: numbers, examples, commands and paths in them exist."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from holdfast.domain.refusals import CODES
from holdfast.testing.drawing import redrawn

ROOT: Final = Path(__file__).resolve().parents[1]
RUN_TIMEOUT_S: Final = 60

DOCUMENTS: Final = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
# The scenarios name commands that are still to come; the other documents describe what is there.
DESCRIPTIONS: Final = tuple(path for path in DOCUMENTS if path.name != "scenarios.md")
LISTS: Final = {
    "scenario": ROOT / "docs/scenarios.md",
    "trap": ROOT / "docs/traps.md",
    "promise": ROOT / "README.md",
}

CITATION: Final = re.compile(
    r"\b(scenario|trap)s?\s+(\d+(?:(?:\s*,\s*|\s+and\s+|,\s+and\s+|\s*-\s*)\d+)*)", re.IGNORECASE
)
# A test's sentence may cite in brief: (96), (P3), (85, P2). A bare number is a scenario.
BRIEF: Final = re.compile(r"(?<!\w)\((?:[^()]*,\s*)?P?\d+(?:\s*,[^()]*)?\)")
PROMISE: Final = re.compile(r"\bP(\d+)\b")
# A block of `python`, also `python run`, is a whole program; one of `py` shows a part.
EXAMPLE: Final = re.compile(r"^```python(?: run)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
# How a module raises an alert whose code is a constant of its own.
ALERT: Final = re.compile(
    r"raise_once\(\s*\w+, ([A-Z_]+)|AlertRaised\(at_ns=[\w.]+, code=([A-Z_]+)"
    r"|raise_alert\(([A-Z_]+)|self\._alert\(([A-Z_]+)"
)
COMMAND: Final = re.compile(r"(?:^|`|\$ )holdfast ([a-z][a-z-]*)", re.MULTILINE)
MODULE: Final = re.compile(r"python -m (holdfast[\w.]*)")
TARGET: Final = re.compile(r"`make ([a-z][a-z-]*)|^make ([a-z-]+)(?=\s*(?:#|$))", re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^):#]+)(?:#[^)]*)?\)")
NAMED_TEST: Final = re.compile(r"`(tests/[\w./-]+\.py)::(test_\w+)`")
NAMED_FILE: Final = re.compile(r"`((?:bench|constraints|docs|src|tests)/[\w./-]+\.\w+)`")


def numbers_cited(text: str) -> Iterator[tuple[str, int]]:
    """Yield (kind, number) of each scenario and trap that a text refers to."""
    for kind, figures in CITATION.findall(text):
        for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", figures):
            yield from ((kind.lower(), n) for n in range(int(first), int(last or first) + 1))


def numbers_cited_in_brief(sentence: str) -> Iterator[tuple[str, int]]:
    """Yield (kind, number) of each scenario and promise that a test's sentence refers to."""
    for brackets in BRIEF.findall(sentence):
        parts = [part.strip() for part in brackets[1:-1].split(",")]
        yield from (("scenario", int(part)) for part in parts if part.isdecimal())
    for inside in re.findall(r"\(([^()]*)\)", sentence):
        yield from (("promise", int(number)) for number in PROMISE.findall(inside))


def sentences(path: Path) -> Iterator[str]:
    """Yield what the tests of a file say of themselves."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def numbers_listed(kind: str) -> list[int]:
    """Return the numbers on the page of that kind, in the order in which they stand."""
    text = LISTS[kind].read_text(encoding="utf-8")
    form = r"^\| P(\d+) \|" if kind == "promise" else r"^(\d+)\. "
    return [int(number) for number in re.findall(form, text, re.MULTILINE)]


def commands_named(text: str) -> set[str]:
    """Return the commands of `holdfast` that a text shows as code."""
    return set(COMMAND.findall(text))


def examples() -> list[object]:
    """Return each Python example of the documents, with its place as the test's id."""
    found: list[object] = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in EXAMPLE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{path.relative_to(ROOT)}:{line}"))
    return found


def described(pattern: re.Pattern[str]) -> list[str]:
    """Return what the pattern's groups find in the documents, each once."""
    texts = (path.read_text(encoding="utf-8") for path in DESCRIPTIONS)
    matches = (match for text in texts for match in pattern.finditer(text))
    return sorted({name for match in matches for name in match.groups() if name})


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder of its own, with the package of this project."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize(("kind", "last"), [("scenario", 113), ("trap", 70), ("promise", 10)])
def test_the_lists_are_numbered_without_gaps(kind: str, last: int) -> None:
    """A number on these pages is for ever: none is missing, doubled or out of order."""
    numbers = numbers_listed(kind)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= last


def test_each_number_that_is_cited_is_listed() -> None:
    """Code, tests and documents refer only to scenarios, traps and promises that exist."""
    listed = {(kind, number) for kind in LISTS for number in numbers_listed(kind)}
    files = [*DOCUMENTS, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    cited = [
        *((path, each) for path in files for each in numbers_cited(path.read_text("utf-8"))),
        *(
            (path, each)
            for path in (ROOT / "tests").rglob("*.py")
            for sentence in sentences(path)
            for each in numbers_cited_in_brief(sentence)
        ),
    ]
    assert {kind for _, (kind, _) in cited} == set(LISTS)
    wrong = [
        f"{path.relative_to(ROOT)}: {kind} {number} is not in {LISTS[kind].relative_to(ROOT)}"
        for path, (kind, number) in cited
        if (kind, number) not in listed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("code", examples())
def test_an_example_runs_as_it_stands(code: str, tmp_path: Path) -> None:
    """Whoever copies a Python example into a file has a program that works."""
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    done = run("example.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", described(COMMAND))
def test_a_command_that_is_described_exists(command: str, tmp_path: Path) -> None:
    """Each command that the documents show has help of its own."""
    start = "from holdfast.cli.main import main; main()"
    done = run("-c", start, command, "--help", folder=tmp_path)
    assert done.returncode == 0, f"holdfast {command} --help: {done.stdout}{done.stderr}"
    assert command in done.stdout


@pytest.mark.parametrize("module", described(MODULE))
def test_a_module_that_is_described_as_a_program_exists(module: str) -> None:
    """What the documents run with `python -m` is there."""
    assert importlib.util.find_spec(module), f"{module} does not exist"


@pytest.mark.parametrize("path", described(NAMED_FILE))
def test_a_file_that_is_named_exists(path: str) -> None:
    """A file that the documents give as evidence or explanation is there."""
    assert (ROOT / path).is_file(), f"{path} does not exist; name the file that shows it"


def test_links_between_documents_lead_somewhere() -> None:
    """No relative link is dead."""
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in DOCUMENTS
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not dead, "\n".join(dead)


@pytest.mark.parametrize("target", described(TARGET))
def test_a_make_target_that_is_described_exists(target: str) -> None:
    """Each `make` command that the documents show is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target} does not exist"


def test_citations_are_read_in_every_form() -> None:
    """Single numbers, lists and ranges are all understood; other numbers are left alone."""
    text = "({0} 3), {0}s 5, 6 and 8; {1}s 10-12. A step of 4, {1}\n  20".format("scenario", "trap")
    assert list(numbers_cited(text)) == [
        *(("scenario", number) for number in (3, 5, 6, 8)),
        *(("trap", number) for number in (10, 11, 12, 20)),
    ]


def test_citations_in_brief_are_read_too() -> None:
    """Numbers alone in brackets, mixed with promises and words; figures in a sentence are not."""
    word = "scenario"
    text = f"One of 12 (96), two (85, P2, {word} 7) at 3 (P10); f(4), (4 of 5) (28,\n112)"
    assert sorted(numbers_cited_in_brief(text)) == [
        ("promise", 2),
        ("promise", 10),
        *(("scenario", number) for number in (28, 85, 96, 112)),
    ]


@pytest.mark.parametrize("pattern", [COMMAND, MODULE, NAMED_FILE, TARGET])
def test_the_documents_have_something_to_check(pattern: re.Pattern[str]) -> None:
    """A pattern that finds nothing would check nothing, and nobody would see it."""
    assert described(pattern)
    assert examples()


def test_commands_are_read_from_code_alone() -> None:
    """A command is found at a prompt, at the start of a line and in quotes, not in a sentence."""
    text = (
        "holdfast demo --json\n$ holdfast verify x\nRun `holdfast replay FILE`; holdfast is small"
    )
    assert commands_named(text) == {"demo", "verify", "replay"}


def test_every_test_that_a_document_names_exists() -> None:
    """A requirement is proved by tests that are there, under the names that the table gives."""
    missing = [
        f"{path.name}: {file}::{name}"
        for path in DOCUMENTS
        for file, name in NAMED_TEST.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / file).is_file()
        or f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert not missing, f"named but not there: {missing}"


def test_a_picture_shows_the_table_as_it_is() -> None:
    """A drawing is that of the code: `holdfast.testing.drawing` would draw nothing else."""
    drawn = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    with_pictures = [path.name for path, text in drawn.items() if "<!-- picture: " in text]
    assert with_pictures == ["groups.md"]
    assert all(redrawn(text) == text for text in drawn.values())


def test_every_code_of_a_refusal_is_explained() -> None:
    """The table of refusals has exactly the codes that there are."""
    text, _, alerts = (ROOT / "docs/policies.md").read_text(encoding="utf-8").partition("## Alerts")
    explained = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert alerts
    assert explained == list(CODES)


def raised_alerts() -> set[str]:
    """Return the codes by which modules of the program raise alerts."""
    codes: set[str] = set()
    for path in sorted((ROOT / "src" / "holdfast").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for name in {"".join(found) for found in ALERT.findall(text)}:
            codes.update(re.findall(rf'^{name}: Final = "(\w+)"', text, re.MULTILINE))
    return codes


def test_every_alert_is_explained() -> None:
    """Whoever is woken by one finds out what it tells, and no other is listed (P10)."""
    page = (ROOT / "docs/policies.md").read_text(encoding="utf-8").partition("## Alerts")[2]
    explained = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(explained) == raised_alerts()
