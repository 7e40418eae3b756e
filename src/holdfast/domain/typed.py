"""Whether what a broker said has the types that are declared for it, to the last field.

An adapter is somebody else's program, and Python lets it put a number where a text is declared.
Written down, that could never be read again. So no input takes it: making one raises, and whoever
made it drops the message.

Rule: types are compared exactly. Few subclasses can be written down, and True is no count.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from msgspec import Struct

from holdfast.domain.reports import Execution, Report, ReportKind, Snapshot

_Test: TypeAlias = Callable[[Any], bool]

# Values that may be shown as they are; what else there is may show itself anew at every run.
_PLAIN: Final = frozenset({str, int, float, bool, bytes, Decimal})
_SHOWN_MAX: Final = 60
_IDS: Final = ("wire_id", "orig_wire_id", "broker_order_id")


class MistypedError(ValueError):
    """A broker's message, or a field of it, is of another type than declared; the text names it."""


class Word(Struct, frozen=True, gc=False):
    """An input with what a broker said; making one raises `MistypedError` as `check` does."""

    def __post_init__(self) -> None:
        if not _test_of(type(self))(self):
            raise MistypedError(_fault(self, type(self)))


def check(said: object, declared: Any) -> None:
    """Let pass what fits an annotation: a message whose fields and parts are as declared.

    Raises:
        MistypedError: it is something else, or a field of it is, or of a part of it.
    """
    if not _test_of(declared)(said):
        raise MistypedError(_fault(said, declared))


@cache
def _test_of(declared: Any) -> _Test:
    """Return what tells whether a value fits an annotation.

    Compiled, as the methods of a class are that is made of its fields: a loop over the fields takes
    three times as long, and each answer and each report is looked at. Annotations are few.
    """
    names: dict[str, Any] = {}
    source = f"lambda said: {_term('said', declared, names)}"
    test: _Test = eval(source, names)  # noqa: S307 - of field names and of what stands in `names`
    return test


def _term(value: str, declared: Any, names: dict[str, Any]) -> str:
    """Return the source that tells whether a value fits; what it names is put into `names`."""
    if declared is NoneType:
        return f"{value} is None"
    if isinstance(declared, UnionType):
        return f"({' or '.join(_term(value, each, names) for each in _either(declared))})"
    if _is_struct(declared):
        held = _name(None, names)
        fields = get_type_hints(declared).items()
        terms = [_term(f"{held}.{name}", hint, names) for name, hint in fields]
        return " and ".join((f"type({held} := {value}) is {_name(declared, names)}", *terms))
    kind = get_origin(declared) or declared
    if kind is not tuple:
        return f"type({value}) is {_name(kind, names)}"
    items = get_args(declared)
    if items[1:] == (...,):
        test = _name(_test_of(items[0]), names)
        return f"type({value}) is tuple and (not {value} or all(map({test}, {value})))"
    terms = [_term(f"{value}[{place}]", each, names) for place, each in enumerate(items)]
    return " and ".join((f"type({value}) is tuple and len({value}) == {len(items)}", *terms))


def _either(declared: UnionType) -> list[Any]:
    """Return the alternatives of an annotation, None first: it is found quickest."""
    return sorted(get_args(declared), key=lambda each: each is not NoneType)


def _is_struct(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, Struct)


def _name(known: object, names: dict[str, Any]) -> str:
    name = f"known_{len(names)}"
    names[name] = known
    return name


def _fault(value: object, declared: Any) -> str:
    """Name the first thing in a value that is not as declared, and what it is instead."""
    if isinstance(declared, UnionType):
        meant = [each for each in get_args(declared) if each is type(value)]
        return _fault(value, meant[0]) if meant else _unlike(value, declared)
    if type(value) is not (get_origin(declared) or declared):
        return _unlike(value, declared)
    parts = get_args(declared)
    inside: list[tuple[str, object, Any]] = []
    if _is_struct(declared):
        hints = get_type_hints(declared)
        inside = [(f"{name} ", getattr(value, name), hint) for name, hint in hints.items()]
    elif isinstance(value, tuple) and parts[1:] == (...,):
        inside = [("", each, parts[0]) for each in value]
    elif isinstance(value, tuple):
        if len(value) != len(parts):
            return f"has {len(value)} parts; there must be {len(parts)}"
        inside = [("", each, part) for each, part in zip(value, parts, strict=True)]
    faults = (
        f"{name}{_fault(each, hint)}" for name, each, hint in inside if not _test_of(hint)(each)
    )
    return next(faults, "")


def _unlike(value: object, declared: Any) -> str:
    wanted = getattr(declared, "__name__", str(declared).replace("holdfast.domain.reports.", ""))
    kind = type(value)
    shown = f"{repr(value)[:_SHOWN_MAX]}, of type" if kind in _PLAIN else "of type"
    return f"is {shown} {kind.__name__}; it must be {wanted}"


def remains(said: object, why: str) -> Report | None:
    """Return what is left of a message that cannot be read: whose it was, and as text why.

    `said` is a report, a snapshot, or what a poll lists of a trade. It may have been about money
    where its kind cannot be told. None if it names no order.
    """
    kind: object = ReportKind.TRADE
    if type(said) is tuple and len(said) == 3:  # noqa: PLR2004 - two ids and an execution
        told = {"broker_order_id": said[0], "wire_id": said[1]}
        trade = said[2]
    elif isinstance(said, Report | Snapshot):
        told = {name: getattr(said, name, "") for name in _IDS}
        trade = getattr(said, "execution", None)
        kind = getattr(said, "kind", ReportKind.ORDER_STATUS)
    else:
        return None
    ids: Any = {name: each for name, each in told.items() if type(each) is str and each}
    if not ids:
        return None
    # So that what is said of one trade is not taken for what was said of another.
    own = trade.execution_id if isinstance(trade, Execution) else ""
    refs = (getattr(said, "execution_ref", ""), own)
    ids["execution_ref"] = next((each for each in refs if type(each) is str and each), "")
    return Report(kind=kind if type(kind) is ReportKind else ReportKind.TRADE, text=why, **ids)
