"""Reads plain data, as TOML and JSON give it, into a schema of Structs: exactly, or not at all.

Rule 1: whatever does not fit is named by its path (`desks.alpha.limits.margin_rate`), with what
was found and what fits; a key that is not known with the one that was probably meant.
Rule 2: an amount is never a float, and a value that might be a secret is never shown.
Rule 3: a number is zero or more unless the schema says otherwise with `Between`.
"""

import json
import re
import tomllib
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as hints_of

import msgspec
from msgspec import Struct

from holdfast.domain.values import ZERO, amount, is_multiple
from holdfast.errors import ConfigError, HoldfastError

_T = TypeVar("_T")

# A file of many desks and instruments has some kilobytes; something larger is another file.
FILE_BYTES_MAX: Final = 1_048_576
# Switches off an amount that has a default: neither TOML nor an environment has a word for nothing.
OFF: Final = "off"
SHOWN_MAX: Final = 40
# Long enough for a key, and made like one: such a value is not repeated on a screen or in a log.
_SECRET: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_.~-]{16,}")
# Made like nothing else: long, in both cases and with digits, or a key id as Alpaca has them.
_TOKEN: Final = re.compile(
    r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9_]{20,}|[AP]K[A-Z0-9]{18}|eyJ[\w-]+\.[\w.-]+"
)
_TOO_DEEP: Final = "tables or lists stand in each other too deep; no configuration needs that"


class Between(Struct, frozen=True):
    """Bounds of a number, for `Annotated`; `step` is the grid that it lies on, 0 for none."""

    least: Decimal = ZERO
    most: Decimal | None = None
    step: Decimal = ZERO


_ANY_SIZE: Final = Between()
# What TOML and JSON have besides tables and lists.
_PLAIN: Final = (str, int, float, Decimal, date, time, NoneType)


def shaped(kind: type[_T], data: object, path: str = "") -> _T:
    """Return `data` as a value of `kind`.

    Raises:
        ConfigError: it does not fit; the message begins with the path of what does not.
    """
    try:
        value: _T = _value(kind, data, path)
    except RecursionError:
        raise ConfigError(_TOO_DEEP) from None
    return value


def read_tables(file: Path) -> dict[str, object]:
    """Return the tables in a `.toml` or `.json` file, every number exact.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    kinds = {".toml": _toml, ".json": _json}
    if file.suffix not in kinds:
        raise ConfigError(f"a file of kind {file.suffix!r} is not read; give a .toml or .json file")
    try:
        with file.open("rb") as opened:
            body = opened.read(FILE_BYTES_MAX + 1)
        text = body.decode()
    except OSError as error:
        raise ConfigError(f"it cannot be read ({error.strerror}); name a file that can") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"it is no UTF-8 text at byte {error.start}; save it as UTF-8") from None
    if len(body) > FILE_BYTES_MAX:
        raise ConfigError(f"it has more than {FILE_BYTES_MAX} bytes, which is no configuration")
    if text.startswith("\ufeff"):
        raise ConfigError("it begins with a byte order mark; save it as UTF-8 without one")
    try:
        data = kinds[file.suffix](text)
    except ValueError as error:
        raise ConfigError(f"it is no {file.suffix[1:].upper()}: {error}") from None
    except RecursionError:
        raise ConfigError(_TOO_DEEP) from None
    if not isinstance(data, dict):
        raise ConfigError("it holds no table; begin with one, such as [journal]")
    return data


def is_plain(value: object) -> bool:
    """Tell whether a value is one that stands in a file by itself: no table, no list."""
    return isinstance(value, _PLAIN)


def is_token(text: str) -> bool:
    """Tell whether a text can hardly be anything but a key or a token."""
    return bool(_TOKEN.fullmatch(text))


def looks_secret(text: str) -> bool:
    """Tell whether a text is made like a key, a token or a password rather than like a name."""
    return bool(_SECRET.fullmatch(text))


def shown(value: object) -> str:
    """Return a value as a message may show it; of what holds others its kind alone."""
    if isinstance(value, str) and looks_secret(value):
        return f"a text of {len(value)} characters"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if not is_plain(value):
        return f"a {type(value).__name__}"
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def closest(word: str, known: Iterable[str]) -> str:
    """Return words on what was probably meant, or on what there is."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are: {', '.join(names) or 'none'}"


def _value(kind: Any, data: object, path: str) -> Any:
    bounds = _ANY_SIZE
    if get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
        bounds = next((mark for mark in marks if isinstance(mark, Between)), bounds)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        inner = next(each for each in arguments if each is not NoneType)
        if data is None or (data == OFF and get_origin(inner) is not Literal):
            return None
        return _value(inner, data, path)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _struct(kind, data, path)
    if origin is dict:
        return {
            key: _value(arguments[1], each, _under(path, key))
            for key, each in _table(data, path).items()
        }
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ConfigError(f"{path} is {shown(data)}; it must be a list")
        return tuple(
            _value(arguments[0], each, f"{path}[{place}]") for place, each in enumerate(data)
        )
    if origin is Literal:
        if data not in arguments or isinstance(data, bool):
            names = ", ".join(map(str, arguments))
            raise ConfigError(f"{path} is {shown(data)}; it must be one of: {names}")
        return data
    if kind in {Decimal, int}:
        return _number(kind, data, path, bounds)
    if kind is not Any and not isinstance(data, kind):
        wanted = {str: "a text", bool: "true or false"}.get(kind, kind.__name__)
        raise ConfigError(f"{path} is {shown(data)}; it must be {wanted}")
    return data


def _toml(text: str) -> object:
    return tomllib.loads(text, parse_float=Decimal)


def _json(text: str) -> object:
    return json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_once)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands there twice")
        found[key] = value
    return found


def _table(data: object, path: str) -> dict[str, object]:
    if not isinstance(data, dict):
        raise ConfigError(f"{path or 'the configuration'} is {shown(data)}; it must be a table")
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(f"{path or 'the configuration'} has a key {key!r}; it must be a text")
    return data


@lru_cache(maxsize=64)
def _fields(kind: type[Struct]) -> dict[str, Any]:
    return {
        name: hint
        for name, hint in hints_of(kind, include_extras=True).items()
        if name in kind.__struct_fields__
    }


def _struct(kind: type[Struct], data: object, path: str) -> Struct:
    fields = _fields(kind)
    # What was made in code passes the same gate as what was read.
    given = msgspec.structs.asdict(data) if isinstance(data, kind) else _table(data, path)
    for key in given:
        if key not in fields:
            raise ConfigError(f"{_under(path, key)} is not known; {closest(key, fields)}")
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in given:
            raise ConfigError(f"{_under(path, field.name)} is missing; write it down")
    values = {key: _value(fields[key], each, _under(path, key)) for key, each in given.items()}
    try:
        return kind(**values)
    except (ValueError, HoldfastError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _number(kind: type, data: object, path: str, bounds: Between) -> Decimal | int:
    if kind is int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise ConfigError(f"{path} is {shown(data)}; it must be a whole number")
        number: Decimal | int = data
    else:
        if isinstance(data, str) and looks_secret(data):
            raise ConfigError(f"{path} is {shown(data)}; it must be a number")
        try:
            number = amount(data, path, signed=True)
        except HoldfastError as error:
            raise ConfigError(str(error)) from None
    if number < bounds.least:
        raise ConfigError(f"{path} is {number}; it must be {bounds.least} or more")
    if bounds.most is not None and number > bounds.most:
        raise ConfigError(f"{path} is {number}; it must be at most {bounds.most}")
    if bounds.step and not is_multiple(Decimal(number), bounds.step):
        raise ConfigError(f"{path} is {number}; it must be a multiple of {bounds.step}")
    return number


def _under(path: str, key: object) -> str:
    """Return the path of a key, in quotes where it has more than letters, digits, - and _."""
    name = "..." if is_token(str(key)) else str(key)
    if not re.fullmatch(r"[\w-]+", name):
        name = f'"{name[:SHOWN_MAX]}"'
    return f"{path}.{name}" if path else name
