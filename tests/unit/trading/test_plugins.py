"""Strategies as plugins: how a team is written, and what cannot be loaded says where and why."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InputError
from holdfast.trading.plugins import PluginError, TeamSpec, load, team_of, teams_of

GOOD = """
class Strategy:
    def decide(self, market):
        return None
"""


def written(folder: Path, text: str, name: str = "strategy.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def spec(folder: Path, target: str = "strategy:Strategy", name: str = "alpha") -> TeamSpec:
    return TeamSpec(name=name, folder=folder, target=target, capital=Decimal(1))


def test_a_team_is_a_name_a_folder_a_class_and_a_capital() -> None:
    """The four parts of the text, blanks around them left out."""
    team = team_of("alpha; ./strategies/alpha ;strategy:Strategy;100000")

    assert team == TeamSpec(
        name="alpha",
        folder=Path("strategies/alpha"),
        target="strategy:Strategy",
        capital=Decimal(100_000),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha", "has not the form NAME;FOLDER;MODULE:CLASS;CAPITAL"),
        ("alpha;;strategy:Strategy;1", "has not the form"),
        ("alpha;f;strategy:Strategy;1;2", "has not the form"),
        ("-alpha;f;strategy:Strategy;1", "team name '-alpha'"),
        ("al pha;f;strategy:Strategy;1", "team name 'al pha'"),
        ("alpha;f;strategy;1", "no MODULE:CLASS"),
        ("alpha;f;../x:Strategy;1", "no MODULE:CLASS"),
        ("alpha;f;strategy:Strategy;much", "capital of team alpha 'much' is not a number"),
        ("alpha;f;strategy:Strategy;-5", "above zero"),
    ],
)
def test_a_text_that_is_no_team_is_refused(text: str, said: str) -> None:
    """The message names the part, and what was expected."""
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        team_of(text)


def test_a_name_belongs_to_one_team() -> None:
    """Two teams of one name would be one desk."""
    with pytest.raises(InputError, match="'a' is given twice"):
        teams_of(["a;f;s:S;1", "b;f;s:S;1", "a;g;s:S;1"])


def test_two_teams_may_have_a_module_of_one_name(tmp_path: Path) -> None:
    """Each has its own `strategy`, and its own file beside it, whenever it is imported."""
    text = (
        "from . import helper\n"
        "class Strategy:\n"
        "    def decide(self, market):\n"
        "        from . import late\n"
        "        return helper.NAME, late.NAME\n"
    )
    made: list[Any] = []
    for name in ("al-pha", "beta"):
        folder = written(tmp_path / name, text)
        written(folder, f"NAME = {name!r}\n", "helper.py")
        written(folder, f"NAME = {name!r}\n", "late.py")
        made.append(load(spec(folder, name=name)))

    assert [each.decide(None) for each in made] == [("al-pha", "al-pha"), ("beta", "beta")]
    assert type(made[0]) is not type(made[1])


def test_a_folder_that_changed_is_loaded_as_it_is_now(tmp_path: Path) -> None:
    """Loading again does not return what was loaded before."""
    folder = written(tmp_path / "s", GOOD)
    load(spec(folder))
    written(folder, GOOD.replace("return None", "return 'something new'"))

    made: Any = load(spec(folder))
    assert made.decide(None) == "something new"


@pytest.mark.parametrize(
    "text",
    [
        "class Strategy:\n    decide = staticmethod(lambda market: None)\n",
        "class _S:\n    def decide(self, m): return None\nStrategy = _S()\n",
        "class _S:\n    def decide(self, m): return None\ndef Strategy(): return _S()\n",
    ],
)
def test_a_class_an_object_or_a_function_that_makes_one_is_a_strategy(
    tmp_path: Path, text: str
) -> None:
    """What counts is that it can decide."""
    assert load(spec(written(tmp_path / "s", text))).decide is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Strategy:\n    def decide(self\n", r"strategy.py, line \d+: SyntaxError"),
        ("\n\nx = 1 / 0\n", r"strategy.py, line 3, in <module>: ZeroDivisionError"),
        ("import nothing_like_it\n", "line 1, in <module>: ModuleNotFoundError.*install it"),
        ("class Other: pass\n", r"strategy.py has no 'Strategy'; its classes are Other"),
        ("Strategy = 5\n", "is 5; give a class"),
        ("class Strategy: pass\n", "no method decide"),
        ("class Strategy:\n    def __init__(self, x): pass\n", "without arguments: TypeError"),
        (
            "class Strategy:\n    def __init__(self):\n        raise ValueError\n",
            "line 3, in __init",
        ),
        ("class Strategy:\n    async def decide(self, m): pass\n", "is async"),
        ("raise SystemExit(3)\n", "line 1, in <module>: SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    """File and line of the team's own code, whatever it does while it is loaded."""
    folder = written(tmp_path / "s", text)
    with pytest.raises(PluginError, match=said):
        load(spec(folder))


def test_a_missing_folder_or_module_is_named(tmp_path: Path) -> None:
    """The path that is not there is in the message."""
    with pytest.raises(PluginError, match="there is no folder"):
        load(spec(tmp_path / "nowhere"))
    with pytest.raises(PluginError, match=r"there is no .*strategy\.py"):
        load(spec(tmp_path))


def test_a_file_beside_it_is_reached_by_a_relative_import(tmp_path: Path) -> None:
    """An absolute import of a sibling says how to write it."""
    folder = written(tmp_path / "s", "import helper\n" + GOOD)
    written(folder, "NAME = 1\n", "helper.py")
    with pytest.raises(PluginError, match=r"from \. import helper"):
        load(spec(folder))
