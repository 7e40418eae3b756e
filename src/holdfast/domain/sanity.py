"""Whether a broker's figures can be counted at all; checked once, where they enter the desk.

Text that is no Unicode cannot be written down; what is wrong in it becomes a question mark.

An amount beyond 14 digits before or 14 after the point cannot be added up exactly. Decimals
beyond that are rounded away, as no broker settles in them; anything else that is not a finite,
positive, sizeable amount makes the message unusable, and an anomaly.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    NotSent,
    Outcome,
    Refused,
    Report,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.values import DECIMALS_MAX, INTEGER_DIGITS_MAX, MOMENT_MAX

_SMALLEST: Final = Decimal(1).scaleb(-DECIMALS_MAX)
_PLAIN_EXPONENTS: Final = range(-DECIMALS_MAX, 1)
_Said = TypeVar("_Said", bound=Execution | Report | Snapshot)
_Told = TypeVar("_Told", bound=Child | Execution | Report | Snapshot | Outcome)

_AMOUNTS: Final[dict[type, tuple[str, ...]]] = {
    Execution: ("quantity", "price", "fee"),
    Report: ("order_quantity", "cumulative", "limit_price", "stop_price"),
    Snapshot: ("order_quantity", "cumulative", "average_price", "limit_price", "stop_price"),
}
_MAY_BE_BELOW_ZERO: Final = {"price", "fee", "limit_price", "stop_price", "average_price"}

TEXT_LENGTH_MAX: Final = 500
_TEXTS: Final[dict[type, tuple[str, ...]]] = {
    Execution: ("execution_id", "fee_currency"),
    Report: (
        "wire_id",
        "orig_wire_id",
        "broker_order_id",
        "report_id",
        "execution_ref",
        "text",
    ),
    Snapshot: ("broker_order_id", "wire_id", "symbol", "word", "pending", "replaced_by"),
    Child: ("role", "broker_order_id", "wire_id"),
    Accepted: ("broker_order_id",),
    Refused: ("text",),
    NotSent: ("text",),
    Unknown: ("text",),
}
_MOMENTS: Final[dict[type, tuple[str, ...]]] = {
    Execution: ("stamp_ns",),
    Report: ("stamp_ns", "sequence"),
    Snapshot: ("stamp_ns", "sequence"),
}


_TRADE: Final = "a report with its execution"


def _getters(names: dict[type, tuple[str, ...]]) -> dict[type | str, Callable[[object], Any]]:
    """Return what reads fields of each kind of message, and of a report with its execution."""
    inside = tuple(f"execution.{name}" for name in names[Execution])
    getters: dict[type | str, Callable[[object], Any]] = {
        kind: attrgetter(*each, each[0])  # always a tuple
        for kind, each in names.items()
    }
    getters[_TRADE] = attrgetter(*names[Report], *inside)
    return getters


_GET_AMOUNTS: Final = _getters(_AMOUNTS)
_GET_MOMENTS: Final = _getters(_MOMENTS)

# Writing a message down is the quickest way to learn that it can be; what was written is not read.
_write: Final = msgspec.json.Encoder()
_paper: Final = bytearray()


class UnusableError(ValueError):
    """A broker's message holds a figure that cannot be counted; the text names it."""


def writable(text: str) -> str:
    """Return the text, with a question mark for every lone surrogate: no journal takes those."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def legible(told: _Told) -> _Told:
    """Return the message with every id and text such that it can be written down."""
    try:
        _write.encode_into(told, _paper)
    except (UnicodeEncodeError, OverflowError):
        return _mended(told)
    return told


def _mended(told: _Told) -> _Told:
    changes: dict[str, Any] = {}
    for name in _TEXTS[type(told)]:
        text: str = getattr(told, name)
        if not text.isascii() and (sound := writable(text)) != text:
            changes[name] = sound
    trade = told.execution if isinstance(told, Report) else None
    if trade is not None and (execution := _mended(trade)) is not trade:
        changes["execution"] = execution
    if isinstance(told, Snapshot | Accepted) and told.children:
        changes["children"] = tuple(map(_mended, told.children))
    return msgspec.structs.replace(told, **changes) if changes else told


def usable(said: _Said) -> _Said:
    """Return the message with every amount countable and every text writable.

    Raises:
        UnusableError: an amount is not finite, is too large, or is below zero where it cannot be;
            a time or sequence number is not a count that a journal can hold.
    """
    return _counted(legible(said))


def _counted(said: _Said) -> _Said:
    return said if _is_usual(said) else _recounted(said)


def _is_usual(said: Execution | Report | Snapshot) -> bool:
    """Tell at little cost that there is nothing about a message to change or to refuse."""
    kind: type | str = type(said)
    if isinstance(said, Report):
        if len(said.text) > TEXT_LENGTH_MAX:
            return False
        if said.execution is not None:
            kind = _TRADE
    for value in _GET_AMOUNTS[kind](said):
        if value is not None and not _is_plain(str(value)):
            return False
    for moment in _GET_MOMENTS[kind](said):  # noqa: SIM110 - a generator takes longer
        if not 0 <= moment <= MOMENT_MAX:
            return False
    return True


def _recounted(said: _Said) -> _Said:
    changes: dict[str, Any] = {}
    for name in _AMOUNTS[type(said)]:
        value = getattr(said, name)
        if value is not None and not _is_plain(str(value)):
            changes[name] = _countable(value, name)
    for name in _MOMENTS[type(said)]:
        if not 0 <= getattr(said, name) <= MOMENT_MAX:
            message = f"{name} is {getattr(said, name)}"
            raise UnusableError(message)
    if isinstance(said, Report):
        if len(said.text) > TEXT_LENGTH_MAX:
            changes["text"] = said.text[:TEXT_LENGTH_MAX]
        if said.execution is not None:
            changes["execution"] = _counted(said.execution)
    return msgspec.structs.replace(said, **changes) if changes else said


def usable_sighting(sighting: Sighting) -> Sighting:
    """Return a sighting with every amount countable; raises as `usable` does."""
    return msgspec.structs.replace(
        sighting,
        snapshot=usable(sighting.snapshot),
        executions=tuple(usable(execution) for execution in sighting.executions),
    )


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    """Tell that an amount is one of the usual ones: finite, short, and not below zero.

    By its text, as equal amounts may differ in length and must not answer for each other.
    """
    sign, digits, exponent = Decimal(text).as_tuple()
    return len(digits) <= DECIMALS_MAX and exponent in _PLAIN_EXPONENTS and not sign


def _countable(value: Decimal, name: str) -> Decimal:
    if not value.is_finite():
        message = f"{name} is {value}"
        raise UnusableError(message)
    if value.adjusted() >= INTEGER_DIGITS_MAX:
        message = f"{name} has more than {INTEGER_DIGITS_MAX} digits before the point"
        raise UnusableError(message)
    if value < 0 and name not in _MAY_BE_BELOW_ZERO:
        message = f"{name} is {value}"
        raise UnusableError(message)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return value.quantize(_SMALLEST) if exponent < -DECIMALS_MAX else value
