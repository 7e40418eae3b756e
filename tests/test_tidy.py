"""The house rules, as tests that say how to mend what they find.

A rule is a function from one file to its findings. `RULES` and `TEXT_RULES` run over the whole
project; below, each is shown a small offence, because a rule that finds nothing proves nothing.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, TypeAlias

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]

LINE_LENGTH_MAX: Final = 100
FUNCTION_LINES_MAX: Final = 70
MODULE_LINES_MAX: Final = {"src/holdfast/domain": 400, "src": 500, "bench": 500, "tests": 600}

# A module imports lower ranks only; folders of one rank never import each other.
RANKS: Final = {
    "errors": 0,
    "clock": 0,
    "tuning": 0,
    "domain": 1,
    "ports": 2,
    "shape": 2,
    "journal": 3,
    "schema": 3,
    "secrecy": 3,
    "venue": 3,
    "brokers": 4,
    "config": 4,
    "engine": 4,
    "register": 4,
    "connecting": 5,
    "wiring": 6,
    "service": 7,
    "trading": 7,
    "testing": 7,
    "sync": 7,
    "cli": 8,
    "__main__": 8,
}

CLOCK: Final = "take the time as an argument, or a holdfast.clock.Clock where the engine begins"
CHANCE: Final = "derive it from what is journaled, or take it from holdfast.clock"
BANNED: Final = {
    "datetime.date.today": CLOCK,
    "datetime.datetime.now": CLOCK,
    "datetime.datetime.today": CLOCK,
    "datetime.datetime.utcnow": CLOCK,
    "os.urandom": CHANCE,
    "random.": CHANCE,
    "secrets.": CHANCE,
    "time.": CLOCK,
    "uuid.uuid1": CHANCE,
    "uuid.uuid4": CHANCE,
}
BANNED_IN_TESTS: Final = {"time.sleep": "wait for the event itself, or move a virtual clock"}
IMPURE: Final = frozenset(
    {"asyncio", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil"}
    | {"socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "uuid"}
)

MARKER: Final = re.compile(
    "|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "X" * 3))
)
MACHINE_PATH: Final = re.compile(r"(?<![\w.])/(?:farm|home|root|tmp|Users|work)/")
DIRECTIVE: Final = re.compile(
    r"type:\s*ignore(\[[^\]]*\])?"
    r"|noqa(:\s*[A-Z]+[0-9]+(\s*,\s*[A-Z]+[0-9]+)*)?"
    r"|pragma:\s*no (cover|branch)"
)
BRANCH: Final = re.compile(r"(?P<pad>[│ ]*)[├└]── (?P<name>\w+)")


class Source(NamedTuple):
    """A file of the project: its path from the root, and its text."""

    path: PurePosixPath
    text: str

    @property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return _parsed(self.text)

    @property
    def unit(self) -> str:
        """The folder or module right under src/holdfast; empty for anything else."""
        below = self.path.parts[2:] if self.path.parts[:2] == ("src", "holdfast") else ()
        return below[0].removesuffix(".py").replace("__init__", "") if below else ""

    @property
    def in_tests(self) -> bool:
        """Whether this is a test module or something tests use."""
        return self.path.parts[0] == "tests"


Finding: TypeAlias = tuple[int, str]
Rule: TypeAlias = Callable[[Source], Iterator[Finding]]
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache(maxsize=512)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def module_size(source: Source) -> Iterator[Finding]:
    """A module is small enough to be read at once."""
    lines = len(source.text.splitlines())
    bounds = (n for place, n in MODULE_LINES_MAX.items() if source.path.is_relative_to(place))
    bound = next(bounds, None)
    if bound is not None and lines > bound:
        yield lines, f"{lines} lines; at most {bound}: find the two things in it and part them"


def function_size(source: Source) -> Iterator[Finding]:
    """A function fits on one screen."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                bound = f"at most {FUNCTION_LINES_MAX}"
                yield node.lineno, f"{node.name} has {lines} lines; {bound}: name a step of it"


def line_length(source: Source) -> Iterator[Finding]:
    """A line fits beside another."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if len(line) > LINE_LENGTH_MAX:
            yield number, f"{len(line)} characters; at most {LINE_LENGTH_MAX}: break the line"


def import_form(source: Source) -> Iterator[Finding]:
    """An import says in full what it takes, and from where."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import; write the name from holdfast on"
            if any(alias.name == "*" for alias in node.names):
                yield node.lineno, "wildcard import; name what is used"


def layers(source: Source) -> Iterator[Finding]:
    """Imports go down the ranks."""
    own = source.unit
    if not own:
        return
    if own not in RANKS:
        yield 1, f"holdfast.{own} has no rank; give it one in RANKS of tests/test_tidy.py"
        return
    for line, name in _imports(source.tree):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package != "holdfast" or target in {own, "__version__"}:
            continue
        if target not in RANKS:
            yield line, f"import of {name}; name the module in holdfast that defines it"
        elif RANKS[target] >= RANKS[own]:
            what = f"{own} (rank {RANKS[own]}) imports {target} (rank {RANKS[target]})"
            yield line, f"{what}; move what both need down, or hand it in as an argument"


def printing(source: Source) -> Iterator[Finding]:
    """Only the command line and benchmarks print."""
    if source.unit in {"", "cli"}:
        return
    for line in _calls(source.tree, "print"):
        yield line, "print outside cli/; return the text, or emit an event"


def banned_names(source: Source) -> Iterator[Finding]:
    """Time and chance come in as values."""
    if source.in_tests:
        banned: Mapping[str, str] = BANNED_IN_TESTS
    elif source.unit in {"", "clock", "testing"}:
        return
    else:
        banned = BANNED
    aliases = _aliases(source.tree)
    found: dict[int, str] = {}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = _dotted(node, aliases)
        for bad, advice in banned.items():
            if name == bad or (bad.endswith(".") and name.startswith(bad)):
                found.setdefault(node.lineno, f"{name}: {advice}")
    yield from found.items()


def domain_purity(source: Source) -> Iterator[Finding]:
    """The domain computes; it does no I/O, does not wait, and knows no float."""
    if source.unit != "domain":
        return
    for line, name in _imports(source.tree):
        package = name.partition(".")[0]
        if package in IMPURE:
            yield line, f"domain/ imports {package}; leave it to the engine and pass the result in"
        elif package not in sys.stdlib_module_names | {"holdfast", "msgspec"}:
            yield line, f"domain/ imports {package}; it uses the standard library and msgspec alone"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "domain/ waits; make it a field with a deadline"
    for line in _calls(source.tree, "float"):
        yield line, "float in domain/; amounts are Decimal, times are nanoseconds"


def docstrings(source: Source) -> Iterator[Finding]:
    """Every public thing of the package says what its name cannot."""
    if source.path.parts[0] != "src":
        return
    if not ast.get_docstring(source.tree):
        yield 1, "no module docstring; say what the module is, and what it must not know"
    yield from _undocumented(source.tree.body, "")


def _undocumented(body: list[ast.stmt], prefix: str) -> Iterator[Finding]:
    for node in body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(item).rpartition(".")[2] for item in node.decorator_list}
        if not ast.get_docstring(node) and not decorators & {"overload", "setter", "deleter"}:
            yield (
                node.lineno,
                f"{prefix}{node.name} has no docstring; say shapes, units, what it raises",
            )
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node.body, f"{prefix}{node.name}.")


def behaviour_sentences(source: Source) -> Iterator[Finding]:
    """Every test says in a sentence which behaviour it shows."""
    if not source.in_tests:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, Function) or not node.name.startswith("test_"):
            continue
        if not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring; say the behaviour in one sentence"


def suppressions(source: Source) -> Iterator[Finding]:
    """Whoever switches a check off says why."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and DIRECTIVE.search(token.string):
            reason = DIRECTIVE.sub("", token.string)
            if len(re.findall(r"[A-Za-z]{2,}", reason)) < 2:
                yield token.start[0], f"{token.string!r} gives no reason; write it behind: - why"


def exported_names(source: Source) -> Iterator[Finding]:
    """`__all__`, where there is one, is exactly the public names."""
    listed: set[str] | None = None
    defined: set[str] = set()
    imported: set[str] = set()
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | Function):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if "__all__" in names and node.value is not None:
                listed = set(ast.literal_eval(node.value))
            defined |= names - {"__all__"}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            imported |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if listed is None:
        return
    public = {name for name in defined if not name.startswith("_")}
    if source.path.name == "__init__.py":
        public |= {name for name in imported if not name.startswith("_")}
    for name in sorted(public - listed):
        yield 1, f"{name} is public but not in __all__; list it, or begin it with an underscore"
    if "__getattr__" not in defined:  # a module that resolves names lazily may list more
        for name in sorted(listed - defined - imported):
            yield 1, f"__all__ lists {name}, which is not there; remove it"


def error_tree(source: Source) -> Iterator[Finding]:
    """The tree that errors.py draws is the tree of its classes."""
    if source.path != PurePosixPath("src/holdfast/errors.py"):
        return
    drawn = _drawn_tree(ast.get_docstring(source.tree) or "")
    if not drawn:
        yield 1, "no tree in the module docstring; draw it with ├── and └──"
        return
    classes = {node.name: node for node in source.tree.body if isinstance(node, ast.ClassDef)}
    parents = {
        name: next((ast.unparse(base) for base in node.bases if ast.unparse(base) in classes), "")
        for name, node in classes.items()
    }
    root = next(iter(drawn))
    for name, parent in drawn.items():
        if name not in classes:
            yield 1, f"{name} is drawn but not defined; take it out of the tree"
        elif parents[name] != parent:
            what = f"{name} is drawn under {parent or 'nothing'}"
            text = f"{what} but derives from {parents[name] or 'nothing'}; redraw it"
            yield classes[name].lineno, text
    for name in parents.keys() - drawn.keys():
        above = name
        while parents[above]:
            above = parents[above]
        if above == root:
            yield classes[name].lineno, f"{name} is not in the tree; draw it under {parents[name]}"


def _drawn_tree(text: str) -> dict[str, str]:
    """Return name -> parent, the root first; empty where nothing is drawn."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    previous = ""
    for line in text.splitlines():
        if match := BRANCH.match(line):
            if not above:
                root = previous.partition(" ")[0]
                drawn[root] = ""
                above.append((-1, root))
            column = len(match["pad"])
            while above[-1][0] >= column:
                above.pop()
            drawn[match["name"]] = above[-1][1]
            above.append((column, match["name"]))
        previous = line
    return drawn


def leftovers(source: Source) -> Iterator[Finding]:
    """What is left to do is done, or stands where others look for it."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if match := MARKER.search(line):
            yield number, f"{match[0]} left behind; do it, or write it down outside the code"


def machine_paths(source: Source) -> Iterator[Finding]:
    """No file knows the machine it was written on."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if match := MACHINE_PATH.search(line):
            yield number, f"{match[0]} is a path of some machine; make it relative or a setting"


def pinned_versions(source: Source) -> Iterator[Finding]:
    """Constraints are names with exact versions, and name no place to get them from."""
    if source.path.parent != PurePosixPath("constraints"):
        return
    for number, line in enumerate(source.text.splitlines(), 1):
        if not re.fullmatch(r"(#.*)?|[a-z0-9-]+==[0-9][0-9a-z.]*", line):
            yield number, f"{line!r} is no name==version; write exactly that"


def _calls(tree: ast.Module, name: str) -> Iterator[int]:
    """Return the lines on which the builtin of that name is called."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called == name:
                yield node.lineno


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for, in full."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.asname is not None
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if whole else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, aliases)):
        return f"{base}.{node.attr}"
    return ""


RULES: Final[tuple[Rule, ...]] = (
    module_size,
    function_size,
    line_length,
    import_form,
    layers,
    printing,
    banned_names,
    domain_purity,
    docstrings,
    behaviour_sentences,
    suppressions,
    exported_names,
    error_tree,
)
TEXT_RULES: Final[tuple[Rule, ...]] = (leftovers, machine_paths, pinned_versions)


@lru_cache(maxsize=1)
def project_files() -> tuple[Source, ...]:
    """Read every text file of the project; what tools leave behind is none of it."""
    return tuple(_read(ROOT))


def _read(folder: Path) -> Iterator[Source]:
    for path in sorted(folder.iterdir()):
        name = path.name
        if path.is_dir():
            passed_over = name in {"__pycache__", "build", "dist", "node_modules"}
            if name == ".ci" or not (passed_over or name.startswith(".")):
                yield from _read(path)
        elif not re.search(r"\.db(-\w+)?$|\.pyc$", name):
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            yield Source(PurePosixPath(path.relative_to(ROOT).as_posix()), text)


def check(rule: Rule, sources: Iterable[Source]) -> None:
    """Fail with all that a rule finds, as `path:line: how to mend it`."""
    found = [f"{item.path}:{line}: {text}" for item in sources for line, text in rule(item)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def _name(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    """No Python file of the project breaks a house rule."""
    code = [item for item in project_files() if item.path.suffix == ".py"]
    assert PurePosixPath("src/holdfast/errors.py") in {item.path for item in code}
    check(rule, code)


@pytest.mark.parametrize("rule", TEXT_RULES, ids=_name)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    """No file at all, documents included, breaks a rule about text."""
    check(rule, project_files())


TREE: Final = """'''Errors.

Base
├── Left     a reason
│   └── Leaf
└── Right
'''
class Base(Exception): ...
class Left(Base): ...
class Leaf(Left, ValueError): ...
class Right(Base): ...
class Unrelated(str): ...
"""

IN_DOMAIN: Final = "src/holdfast/domain/a.py"
IN_ENGINE: Final = "src/holdfast/engine/a.py"
IN_TESTS: Final = "tests/unit/test_a.py"
FACE: Final = "src/holdfast/__init__.py"
ERRORS: Final = "src/holdfast/errors.py"

# rule, file, text, and a part of what has to be said about it
OFFENCES: Final = [
    (module_size, IN_DOMAIN, "x = 1\n" * 401, "at most 400"),
    (module_size, IN_ENGINE, "x = 1\n" * 501, "at most 500"),
    (module_size, IN_TESTS, "x = 1\n" * 601, "at most 600"),
    (function_size, IN_ENGINE, "def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
    (line_length, IN_ENGINE, "#" * 101, "101 characters"),
    (import_form, IN_ENGINE, "from . import runner", "relative"),
    (import_form, IN_ENGINE, "from holdfast.errors import *", "wildcard"),
    (layers, IN_DOMAIN, "from holdfast.ports import Broker", "rank 2"),
    (layers, IN_ENGINE, "import holdfast.brokers.paper", "brokers (rank 4)"),
    (layers, IN_ENGINE, "def f():\n    from holdfast import wiring", "wiring (rank 6)"),
    (layers, IN_ENGINE, "from holdfast import OrderManager", "defines it"),
    (layers, "src/holdfast/extra.py", "", "no rank"),
    (printing, IN_ENGINE, "print(1)", "outside cli/"),
    (banned_names, IN_ENGINE, "import datetime as d\nd.datetime.now()", "datetime.datetime.now"),
    (banned_names, IN_ENGINE, "from datetime import datetime\nx = datetime.utcnow()", "utcnow"),
    (banned_names, IN_ENGINE, "import time\nclock = time.monotonic", "time.monotonic"),
    (banned_names, IN_ENGINE, "from time import sleep\nsleep(1)", "time.sleep"),
    (banned_names, IN_ENGINE, "from random import choice as c\nc([1])", "random.choice"),
    (banned_names, IN_ENGINE, "import uuid\nuuid.uuid4()", "uuid.uuid4"),
    (banned_names, IN_ENGINE, "import os\nos.urandom(6)", "os.urandom"),
    (banned_names, IN_ENGINE, "import secrets\nsecrets.token_hex()", "secrets.token_hex"),
    (banned_names, IN_TESTS, "import time\ntime.sleep(1)", "time.sleep"),
    (domain_purity, IN_DOMAIN, "async def f(): ...", "waits"),
    (domain_purity, IN_DOMAIN, "import asyncio", "imports asyncio"),
    (domain_purity, IN_DOMAIN, "from rich import print", "imports rich"),
    (domain_purity, IN_DOMAIN, "x = float('1')", "float"),
    (docstrings, IN_ENGINE, "x = 1", "no module docstring"),
    (docstrings, IN_ENGINE, "'''Doc.'''\ndef f(): ...", "f has no docstring"),
    (docstrings, IN_ENGINE, "'''Doc.'''\nclass A:\n  'A.'\n  async def f(self): ...", "A.f has no"),
    (behaviour_sentences, IN_TESTS, "class TestA:\n  def test_b(self): ...", "test_b has no"),
    (suppressions, IN_ENGINE, "x = 1  # noqa: E501", "no reason"),
    (suppressions, IN_ENGINE, "x = 1  # type: ignore[assignment]", "no reason"),
    (suppressions, IN_ENGINE, "x = 1  # type: ignore[arg-type]  # noqa: E501, S101", "no reason"),
    (exported_names, IN_ENGINE, "__all__ = ['a']\na = 1\ndef b(): ...", "b is public"),
    (exported_names, IN_ENGINE, "__all__ = ['a']", "lists a"),
    (exported_names, FACE, "__all__ = []\nfrom a import b", "b is public"),
    (error_tree, ERRORS, "'''Errors.'''", "no tree"),
    (error_tree, ERRORS, TREE.replace("│   └── Leaf", "├── Leaf"), "Leaf is drawn under Base"),
    (error_tree, ERRORS, TREE.replace("│   └── Leaf\n", ""), "draw it under Left"),
    (error_tree, ERRORS, TREE.replace("class Right(Base): ...", ""), "Right is drawn but not"),
    (leftovers, "README.md", "Some day. " + "TO" + "DO: this", "left behind"),
    (machine_paths, "docs/a.md", "see /" + "home/ann/notes", "some machine"),
    (pinned_versions, "constraints/a.txt", "rich>=1", "name==version"),
    (pinned_versions, "constraints/a.txt", "rich @ https://example.com/rich.whl", "name==version"),
]

# what comes close, and is allowed
FINE: Final = [
    (module_size, IN_DOMAIN, "x = 1\n" * 400),
    (function_size, IN_ENGINE, "def f():\n" + "    x = 1\n" * 69),
    (layers, IN_ENGINE, "import rich\nfrom holdfast import __version__, errors, ports"),
    (layers, FACE, "from holdfast.wiring import OrderManager"),
    (printing, "src/holdfast/cli/a.py", "print(1)"),
    (banned_names, "src/holdfast/clock.py", "import time\ntime.time_ns()"),
    (banned_names, "src/holdfast/testing/world.py", "import random\nrandom.Random(7)"),
    (banned_names, IN_ENGINE, "from datetime import datetime\ndatetime.fromtimestamp(0)"),
    (banned_names, IN_ENGINE, "def f(time, random):\n    return time.time() + random.x"),
    (domain_purity, IN_DOMAIN, "import msgspec\nimport decimal\nisinstance(1, float)"),
    (docstrings, IN_ENGINE, "'''Doc.'''\ndef _f(): ...\nclass _A:\n  def g(self): ..."),
    (docstrings, IN_TESTS, "def helper(): ..."),
    (suppressions, IN_ENGINE, "x = 1  # type: ignore[x]  # the stub is older than the library"),
    (suppressions, IN_ENGINE, "x = '# noqa'"),
    (exported_names, IN_ENGINE, "from b import c\n__all__ = ['a']\na = _d = 1"),
    (exported_names, IN_ENGINE, "__all__ = ['late']\ndef __getattr__(name): ..."),
    (error_tree, ERRORS, TREE),
    (machine_paths, "docs/a.md", "https://example.com/home/a and src/work/b"),
    (pinned_versions, "constraints/a.txt", "# exact\nrich==15.0.0"),
]


@pytest.mark.parametrize(("rule", "path", "text", "said"), OFFENCES)
def test_a_rule_finds_an_offence_and_says_how_to_mend_it(
    rule: Rule, path: str, text: str, said: str
) -> None:
    """Each rule can fail: shown a small offence, it names it once."""
    found = [message for _, message in rule(Source(PurePosixPath(path), text))]
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(("rule", "path", "text"), FINE)
def test_a_rule_leaves_alone_what_is_allowed(rule: Rule, path: str, text: str) -> None:
    """No rule finds fault with what only looks like an offence."""
    assert not list(rule(Source(PurePosixPath(path), text)))


def test_every_rule_is_shown_an_offence() -> None:
    """A rule without an example that breaks it could be asleep."""
    assert {rule for rule, *_ in OFFENCES} == {*RULES, *TEXT_RULES}
