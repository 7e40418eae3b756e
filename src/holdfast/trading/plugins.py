"""Strategies as plugins: a team's name, folder, class and capital in one text.

    alpha;./strategies/alpha;strategy:Strategy;100000

Rule: a folder is loaded as a package of its own, named after the team. Two teams may both have a
`strategy.py`, and reach the files beside it with `from . import helpers`; nothing of one is ever
imported by the other.
"""

import importlib
import inspect
import re
import sys
import traceback
from decimal import Decimal
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Final

from msgspec import Struct

from holdfast.domain.values import amount
from holdfast.errors import InputError
from holdfast.trading.strategy import Strategy, shown

FORM: Final = (
    "NAME;FOLDER;MODULE:CLASS;CAPITAL, such as 'alpha;./strategies/alpha;strategy:Strategy;100000'"
)
_PARTS: Final = 4
# A team's name is its desk's, which becomes a part of the wire ids.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_PACKAGE: Final = "holdfast_teams"


class TeamSpec(Struct, frozen=True, kw_only=True):
    """A team as it was written: `target` is `module:class`, `capital` in the desk's currency."""

    name: str
    folder: Path
    target: str
    capital: Decimal


class PluginError(InputError):
    """A strategy that cannot be loaded; the message names file and line."""

    code = "BAD_STRATEGY"


def team_of(text: str) -> TeamSpec:
    """Read a team's text; raises InputError naming the part that is wrong, and the form."""
    parts = [part.strip() for part in text.split(";")]
    if len(parts) != _PARTS or not all(parts):
        raise InputError(f"team {shown(text)} has not the form {FORM}")
    name, folder, target, capital = parts
    if not _NAME.fullmatch(name):
        raise InputError(
            f"team name {shown(name)} cannot be used; give at most 32 letters, digits, _ and -, "
            "a letter or digit first"
        )
    module, _, attribute = target.partition(":")
    if not (_DOTTED.fullmatch(module) and _DOTTED.fullmatch(attribute)):
        raise InputError(f"team {name}: {shown(target)} is no MODULE:CLASS; the form is {FORM}")
    return TeamSpec(
        name=name,
        folder=Path(folder),
        target=target,
        capital=amount(capital, f"capital of team {name}"),
    )


def teams_of(texts: list[str]) -> list[TeamSpec]:
    """Read all teams; raises InputError where two have one name."""
    teams = [team_of(text) for text in texts]
    names = [team.name for team in teams]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"team {name!r} is given twice; each team has a name of its own")
    return teams


def load(spec: TeamSpec) -> Strategy:
    """Import a team's strategy and make it; its constructor takes no arguments.

    Raises:
        PluginError: no such folder, module or class, or its code raised; with file and line.
    """
    folder = spec.folder.expanduser()
    if not folder.is_dir():
        raise PluginError(f"team {spec.name}: there is no folder {folder}; give the strategy's")
    module_name, _, path = spec.target.partition(":")
    try:
        found: object = _module(spec.name, folder.resolve(), module_name)
    except ModuleNotFoundError as error:
        raise PluginError(f"team {spec.name}: {_not_found(error, folder)}") from error
    except BaseException as error:
        _let_go(error)
        raise PluginError(f"team {spec.name}: {described(error, folder)}") from error
    for name in path.split("."):
        found = _attribute(found, name, spec, folder)
    return _made(found, spec, folder)


def described(error: BaseException, folder: Path) -> str:
    """Say what a strategy raised, and at which line of its own files."""
    text = f"{type(error).__name__}: {shown_text(error)}".rstrip(": ")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    inside = str(folder.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(inside)]
    for frame in own[-1:]:
        return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {text}"
    return text


def shown_text(error: BaseException) -> str:
    """Return an error's message in one line of bounded length, whatever its `str` does."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001 - a foreign __str__ may raise whatever it likes
        return f"a message that raises {type(second).__name__}"
    return shown(text)[1:-1] if text else ""


def _module(team: str, folder: Path, name: str) -> ModuleType:
    """Import `name` out of the folder, under the package of the team."""
    package = f"{_PACKAGE}_{team}"
    for loaded in [
        each for each in sys.modules if each == package or each[: len(package) + 1] == f"{package}."
    ]:
        del sys.modules[loaded]
    spec = ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[package] = module_from_spec(spec)
    importlib.invalidate_caches()
    return importlib.import_module(f"{package}.{name}")


def _not_found(error: ModuleNotFoundError, folder: Path) -> str:
    name = error.name or ""
    if name.startswith(_PACKAGE):
        wanted = folder / (name.partition(".")[2].replace(".", "/") + ".py")
        return f"there is no {wanted}; give the module's name without .py"
    said = described(error, folder)
    if (folder / f"{name.partition('.')[0]}.py").exists():
        return f"{said}; files of the same folder are reached by `from . import {name}`"
    return f"{said}; install it, or leave it out"


def _attribute(found: object, name: str, spec: TeamSpec, folder: Path) -> object:
    try:
        return getattr(found, name)
    except AttributeError:
        module = spec.target.partition(":")[0].replace(".", "/")
        there = ", ".join(
            key for key, value in vars(found).items() if isinstance(value, type) and key[0] != "_"
        )
        raise PluginError(
            f"team {spec.name}: {folder / module}.py has no {name!r}; "
            f"its classes are {there or 'none'}"
        ) from None


def _made(found: object, spec: TeamSpec, folder: Path) -> Strategy:
    """Make the strategy, or take one that is made."""
    made: object = found
    if isinstance(found, type) or not hasattr(found, "decide"):
        if not callable(found):
            raise PluginError(
                f"team {spec.name}: {spec.target} is {shown(found)}; give a class with a method "
                "decide(market)"
            )
        try:
            made = found()
        except BaseException as error:
            _let_go(error)
            raise PluginError(
                f"team {spec.name}: {spec.target} cannot be made without arguments: "
                f"{described(error, folder)}"
            ) from error
    decide = getattr(made, "decide", None)
    if not callable(decide):
        raise PluginError(
            f"team {spec.name}: {spec.target} has no method decide(market); give it one"
        )
    if inspect.iscoroutinefunction(decide):
        raise PluginError(
            f"team {spec.name}: decide of {spec.target} is async; make it a plain function, "
            "it has a thread of its own"
        )
    strategy: Strategy = made  # type: ignore[assignment]  # it has what the protocol names
    return strategy


def _let_go(error: BaseException) -> None:
    """Let Ctrl-C through: it is the person's, not the strategy's."""
    if isinstance(error, KeyboardInterrupt):
        raise error
