"""Messages with one field of a type that it is not declared to have: all of them, by annotation.

For whoever tests an adapter or what is behind one. The wrong values are told from the annotations
alone, so that a field that is new is tried as well.
"""

from collections.abc import Iterator
from decimal import Decimal
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec

_Told = TypeVar("_Told", bound=msgspec.Struct)


class _Text(str):
    """A text that no journal can write down."""

    __slots__ = ()


class _Nothing:
    """What no annotation allows."""


_VALUES: Final[tuple[object, ...]] = (
    None, "x", "250", _Text("x"), b"x", 5, 1.5, 10.0, True, Decimal(3), [], {}, (None,), ("x",),
    _Nothing(),
)  # fmt: skip


def wrong_values(declared: Any) -> list[Any]:
    """Return values that an annotation does not allow, of many types."""
    either = get_args(declared) if isinstance(declared, UnionType) else (declared,)
    types = {get_origin(each) or each for each in either}
    items = [each for each in either if get_origin(each) is tuple]
    return [each for each in _VALUES if type(each) not in types or (items and each)]


def misspoken(sound: _Told) -> Iterator[tuple[str, list[_Told]]]:
    """Give for each field of a message all the messages in which it alone is wrong.

    A field of a part is named with its path, as in `execution.price`; of several, the first part.
    """
    for name, declared in get_type_hints(type(sound)).items():
        yield name, [_with(sound, name, wrong) for wrong in wrong_values(declared)]
        value = getattr(sound, name)
        several = isinstance(value, tuple) and bool(value)
        part = value[0] if several else value
        if isinstance(part, msgspec.Struct):
            for inside, parts in misspoken(part):
                held = [(each, *value[1:]) if several else each for each in parts]
                yield f"{name}.{inside}", [_with(sound, name, each) for each in held]


def _with(sound: _Told, name: str, value: object) -> _Told:
    return msgspec.structs.replace(sound, **{name: value})
