"""Values every other module speaks in: the enumerations, and amounts as exact decimals.

Rule 1: all arithmetic on money and quantity goes through `add`, `sub` and `mul` below. They use
one context (precision 60) that traps Inexact, so a rounded sum is an error and never a figure.
Rule 2: division exists only in `ratio`, for views such as an average; its result is never added
to a balance.
Rule 3: names and values of the enumerations are on disk: they are added to, never renamed.
"""

import re
from decimal import (
    ROUND_HALF_EVEN,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from enum import StrEnum
from functools import lru_cache
from typing import Final

from holdfast.errors import AmountError, InputError

PRECISION: Final = 60
# 14 digits on either side of the point: a product of two amounts has at most 56 digits, so it is
# exact in the context, and ten thousand of the largest still add up exactly.
INTEGER_DIGITS_MAX: Final = 14
DECIMALS_MAX: Final = 14
ID_LENGTH_MAX: Final = 64
# What a journal can hold of a time in nanoseconds, or of a sequence number.
MOMENT_MAX: Final = 2**63 - 1
# What is longer is no number of an order, a group or a record.
DIGITS_MAX: Final = len(str(MOMENT_MAX))

# Plain digits, a point, an exponent; `Decimal` alone would take blanks, underscores and the digits
# of every script, none of which anybody typed on purpose. NaN and Infinity are told apart later.
_WRITTEN: Final = re.compile(
    r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,4})?|[+-]?(s?nan|inf(inity)?)",
    re.ASCII | re.IGNORECASE,
)

CONTEXT: Final = Context(
    prec=PRECISION,
    rounding=ROUND_HALF_EVEN,
    traps=[Inexact, InvalidOperation, DivisionByZero, Overflow, Clamped],
)
VIEW: Final = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)

add = CONTEXT.add
sub = CONTEXT.subtract
mul = CONTEXT.multiply
neg = CONTEXT.minus

# For view figures such as an average, which may round in the 60th digit.
rounded_add = VIEW.add
rounded_sub = VIEW.subtract
rounded_mul = VIEW.multiply
rounded_div = VIEW.divide


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The side that closes what this one opens."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """FIX OrdType, by name."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """FIX TimeInForce, by name."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"


class Status(StrEnum):
    """Where an order is in its life; `transitions.py` says what may follow what."""

    NEW = "new"
    OPEN = "open"
    PARTIAL_FILL = "partial_fill"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    FAILED = "failed"


class Condition(StrEnum):
    """Why an order that is not terminal does not work as usual."""

    NONE = ""
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    DONE_FOR_DAY = "done_for_day"
    HELD = "held"
    ABANDONED = "abandoned"


class OrdStatus(StrEnum):
    """FIX OrdStatus, the view that `fix_view.py` derives from status, condition and wishes."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    STOPPED = "STOPPED"
    SUSPENDED = "SUSPENDED"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"


class Liquidity(StrEnum):
    """Whether an execution took or made liquidity."""

    UNKNOWN = ""
    MAKER = "maker"
    TAKER = "taker"


TERMINAL: Final = frozenset(
    {Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED, Status.FAILED}
)


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide for display: rounded to 60 digits, without trailing zeros."""
    quotient = VIEW.divide(numerator, denominator)
    return VIEW.plus(quotient.normalize(VIEW))


def plain(amount: Decimal) -> str:
    """Show an amount without an exponent and without trailing zeros: `58741`, `0.1`."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if text not in {"-0", ""} else "0"


def amount(value: object, name: str, *, signed: bool = False) -> Decimal:
    """Read a price or quantity exactly.

    Args:
        value: a Decimal, an int, or a decimal string. A float is refused: it is not what was
            typed.
        name: what the amount is, for the message.
        signed: allow zero and below, as for an opening balance or the price of a spread.

    Raises:
        AmountError: not a number, not finite, not positive, more than 14 digits before or 14
            after the point.
    """
    if isinstance(value, str):
        return _parsed(value, name, signed)
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        advice = "write it as a string or a Decimal" if isinstance(value, float) else "use a string"
        raise AmountError(f"{name} {value!r} is a {type(value).__name__}; {advice}, such as '1.25'")
    return _checked(Decimal(value), name, signed=signed)


@lru_cache(maxsize=4096)
def _parsed(text: str, name: str, signed: bool) -> Decimal:  # noqa: FBT001 - a cache key
    if len(text) > 2 * (INTEGER_DIGITS_MAX + DECIMALS_MAX):
        raise AmountError(f"{name} has {len(text)} characters; an amount has at most 28 digits")
    if not _WRITTEN.fullmatch(text):
        raise AmountError(f"{name} {text!r} is not a number; write it as in '1.25'")
    return _checked(Decimal(text), name, signed=signed)


def _checked(number: Decimal, name: str, *, signed: bool) -> Decimal:
    if not number.is_finite():
        raise AmountError(f"{name} is {number}; it must be a finite number")
    if not signed and number <= 0:
        raise AmountError(f"{name} is {number}; it must be above zero")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= INTEGER_DIGITS_MAX or exponent < -DECIMALS_MAX:
        raise AmountError(
            f"{name} {str(number)[:40]} is out of range; at most {INTEGER_DIGITS_MAX} digits "
            f"before and {DECIMALS_MAX} after the point can be traded"
        )
    return number


def is_multiple(number: Decimal, step: Decimal) -> bool:
    """Tell whether `number` lies on the grid that `step` spans from zero."""
    return not CONTEXT.remainder(number, step)


def check_id(value: object, name: str) -> str:
    """Return an id that is 1 to 64 printable ASCII characters without blanks.

    Raises:
        InputError: it is something else; brokers refuse or silently change such ids.
    """
    if not isinstance(value, str) or not value:
        raise InputError(
            f"{name} is {value!r}; give 1 to {ID_LENGTH_MAX} printable ASCII characters"
        )
    if len(value) > ID_LENGTH_MAX:
        raise InputError(f"{name} has {len(value)} characters; at most {ID_LENGTH_MAX} are allowed")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise InputError(f"{name} {value!r} has blanks or characters outside printable ASCII")
    return value
