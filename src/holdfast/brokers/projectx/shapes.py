"""The shapes in which the ProjectX gateway's values come: wrappers taken off, and fields read.

Rule 1: nothing raises but `FieldError`, and `each` turns that into `Unreadable`.
Rule 2: amounts are Decimals by their text: a float counts as the number that it is written as.
Rule 3: an id is a whole number, as a number or as text; the same order has the same id in both.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias, TypeVar

from holdfast.domain.values import DECIMALS_MAX, INTEGER_DIGITS_MAX, amount
from holdfast.errors import AmountError
from holdfast.ports import Unreadable

# How deep wrappers lie in wrappers; the deepest seen is {"result": {"data": [{"order": {}}]}}.
DEPTH_MAX: Final = 8
# What is kept of a message that could not be read.
SAMPLE_MAX: Final = 300
ID_DIGITS_MAX: Final = 20
_WRAPPERS: Final = (
    "data", "result", "message", "payload", "content", "order", "orderData", "trade", "execution",
    "position", "orders", "trades", "positions", "arguments",
)  # fmt: skip
_FIELDS: Final = frozenset(
    {"status", "type", "side", "size", "price", "contractId", "fillVolume", "averagePrice"}
)
_IDS: Final = frozenset({"id", "orderId", "order_id", "orderID"})

_MOMENT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,12}))?(Z|[+-]\d{2}:\d{2})?", re.ASCII
)
_NUMBER: Final = re.compile(r"[0-9.eE+-]{1,64}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)

_Item = TypeVar("_Item")

Body: TypeAlias = Mapping[Any, Any]
Strange: TypeAlias = list[Unreadable]


class FieldError(ValueError):
    """A value of a message cannot be used; the text is the reason under which it is counted."""


def decode(text: str | bytes) -> object:
    """Read JSON with every number exact; what is no JSON is returned as it came."""
    try:
        found: object = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):
        return text
    return found


# From wrappers to items.


def each(
    message: object, read: Callable[[Body, Strange], _Item]
) -> tuple[tuple[_Item, ...], tuple[Unreadable, ...]]:
    """Read all items of a message; one that cannot be read keeps no other from being read."""
    items: list[_Item] = []
    strange: Strange = []
    try:
        for found in _items(message, DEPTH_MAX):
            if isinstance(found, Unreadable):
                strange.append(found)
            else:
                _read_into(items, strange, found, read)
    except Exception as error:  # noqa: BLE001 - objects of any kind may be handed in
        strange.append(unreadable(f"raised_{type(error).__name__}"[:64], message))
    return tuple(items), tuple(strange)


def _read_into(
    items: list[_Item],
    strange: Strange,
    found: Body,
    read: Callable[[Body, Strange], _Item],
) -> None:
    try:
        items.append(read(found, strange))
    except FieldError as error:
        strange.append(unreadable(str(error), found))
    except Exception as error:  # noqa: BLE001 - one bad item keeps no other from being read
        strange.append(unreadable(f"raised_{type(error).__name__}"[:64], found))


def listed(
    reply: object, key: str, read: Callable[[Body, Strange], _Item]
) -> tuple[tuple[_Item, ...], tuple[Unreadable, ...]]:
    """Read the list that a reply has under a key; see `each`."""
    items = reply.get(key) if isinstance(reply, Mapping) else None
    if not isinstance(items, list | tuple):
        return (), (unreadable(f"no_{key}", reply),)
    found = [each(item, read) for item in items]
    return (
        tuple(item for read_items, _ in found for item in read_items),
        tuple(one for _, strange in found for one in strange),
    )


def _items(message: object, depth: int) -> Iterator[Body | Unreadable]:
    """Take an event out of its wrappers: all that it holds."""
    if depth <= 0:
        yield unreadable("too_deep", message)
    elif isinstance(message, str | bytes):
        found = decode(message)
        if isinstance(found, Mapping | list):
            yield from _items(found, depth - 1)
        else:
            yield unreadable("no_object", message)
    elif isinstance(message, list | tuple):
        yield from _in_list(message, depth - 1)
    elif not isinstance(message, Mapping):
        yield unreadable("no_object", message)
    else:
        yield from _in_mapping(message, depth - 1)


def _in_mapping(message: Body, depth: int) -> Iterator[Body | Unreadable]:
    """Tell an item from a wrapper: what is neither is an item that lacks something."""
    keys = {key for key in message if isinstance(key, str)}
    has_fields = not _FIELDS.isdisjoint(keys)
    wrapped = [message[key] for key in _WRAPPERS if key in keys]
    if has_fields and (not wrapped or not _IDS.isdisjoint(keys)):
        yield message
    elif not wrapped:
        yield unreadable("no_content", message)
    else:
        for inner in wrapped:
            yield from _items(inner, depth)


def _in_list(message: list[Any] | tuple[Any, ...], depth: int) -> Iterator[Body | Unreadable]:
    """Read each item of a list; an id before the first of them is no item."""
    if not message:
        yield unreadable("empty", message)
    has_items = any(isinstance(inner, Mapping | list | tuple) for inner in message)
    begins = 1 if has_items and whole_number(message[0]) is not None else 0
    for inner in message[begins:]:
        yield from _items(inner, depth)


# Values.


def read_id(item: object, *names: str) -> str:
    """Return the first of these ids that is there, in one spelling. Raises FieldError."""
    assert isinstance(item, Mapping)
    for name in names:
        value = item.get(name)
        if value is None:
            continue
        number = whole_number(value)
        if number is None or number <= 0:
            raise FieldError("bad_id")
        return str(number)
    raise FieldError("no_id")


def whole_number(value: object) -> int | None:
    """Return a whole number, given as one or as text; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        usual = text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS_MAX
        return int(text) if usual else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 10**ID_DIGITS_MAX else None


def number_of(item: Body, name: str) -> int:
    """Return a code of an enumeration; -1 where there is none, which no enumeration has."""
    code = whole_number(item.get(name))
    return -1 if code is None else code


def one_of(table: Mapping[int, _Item], item: Body, name: str, strange: Strange) -> _Item | None:
    """Return what a code means; None where it is left out, and loudly where nobody knows it."""
    if item.get(name) is None:
        return None
    found = table.get(number_of(item, name))
    if found is None:
        strange.append(unreadable(f"unknown_{name}", item))
    return found


def quantity_of(item: Body, name: str) -> Decimal | None:
    """Return an amount that is zero or more; None where it is left out. Raises FieldError."""
    value = price_of(item, name)
    if value is not None and value < 0:
        raise FieldError(f"bad_{name}")
    return value


def figure_of(item: Body, name: str, strange: Strange) -> Decimal | None:
    """Return an amount that nothing hangs on; None, loudly, where it cannot be read."""
    try:
        return price_of(item, name)
    except FieldError as error:
        strange.append(unreadable(str(error), item))
        return None


def price_of(item: Body, name: str) -> Decimal | None:
    """Return an amount of any sign; None where it is left out. Raises FieldError.

    A mean, or a float that was reckoned with, has a tail that nobody settles in: it is rounded.
    """
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise FieldError(f"bad_{name}")
    try:
        return amount(_rounded(str(value).strip()), name, signed=True)
    except AmountError as error:
        raise FieldError(f"bad_{name}") from error


def _rounded(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        return text
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    has_tail = exponent < -DECIMALS_MAX and value.adjusted() < INTEGER_DIGITS_MAX
    return f"{value:.{DECIMALS_MAX}f}" if has_tail else text


def text_of(item: Body, name: str) -> str:
    """Return a text, empty where there is none."""
    value = item.get(name)
    return value if isinstance(value, str) else ""


def moment_of(item: Body, names: tuple[str, ...], strange: Strange) -> int:
    """Return the first of these times in nanoseconds; 0 where there is none that can be read.

    It ends in Z, in an offset, or in nothing, which is UTC too; with up to seven decimals.
    """
    value = next((item[name] for name in names if item.get(name) is not None), None)
    if value is None:
        return 0
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None:
            return _nanoseconds(*found.groups())
    except (ValueError, OverflowError):
        pass
    strange.append(unreadable("bad_timestamp", item))
    return 0


def _nanoseconds(second: str, fraction: str | None, zone: str | None) -> int:
    offset = "+00:00" if zone in {None, "Z"} else zone
    since = datetime.fromisoformat(f"{second}{offset}") - _EPOCH
    return max(0, (since // _SECOND) * 10**9 + int((fraction or "0")[:9].ljust(9, "0")))


def maybe(read: Callable[[], str]) -> str | None:
    """Return what can be read, or None."""
    try:
        return read()
    except FieldError:
        return None


def unreadable(reason: str, message: object) -> Unreadable:
    """Name why a message, or a part of one, could not be read, with a sample of it."""
    return Unreadable(reason=reason, sample=shown_as(message))


def shown_as(message: object, most: int = SAMPLE_MAX) -> str:
    """Return the text of anything, however it behaves."""
    try:
        return repr(message)[:most]
    except Exception as error:  # noqa: BLE001 - it is shown, not used
        return f"a {type(message).__name__} whose text raised {type(error).__name__}"
