"""LOBSTER message files: NASDAQ order flow, one row per change of the visible book.

No header; columns time (seconds after midnight in New York), type, order id, size in shares,
price in USD x 10000, direction (1: the resting order buys, -1: it sells).
Source: the format as LOBSTER publishes it with its samples, and data that was read.
"""

import re
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

from holdfast.clock import NS_PER_S
from holdfast.domain.values import Side
from holdfast.venue.feeds.layout import Column, Layout, decimal
from holdfast.venue.feeds.records import LobsterMessage

TICK: Final = Decimal("0.01")
SUBMIT, PARTIAL_CANCEL, DELETE, EXECUTION, HIDDEN, CROSS, HALT = range(1, 8)
_ORDER_KINDS: Final = frozenset("1234")  # the kinds that name an order, as they are written
_UNITS_PER_TICK: Final = 100
_SECONDS: Final = r"(?:[0-7]?[0-9]{1,4}|8[0-5][0-9]{3}|86[0-3][0-9]{2})"  # below 86400
_SIDES: Final = {"1": Side.BUY, "-1": Side.SELL}


def _nanoseconds(time: str) -> int:
    seconds, _, fraction = time.partition(".")
    # Digits beyond nanoseconds are the residue of a float and are cut off.
    return int(seconds) * NS_PER_S + int(f"{fraction:0<9.9}")


LAYOUT: Final = Layout(
    (
        Column("time", rf"{_SECONDS}(?:\.[0-9]{{1,15}})?", "seconds after midnight, as 34200.0042"),
        Column("type", r"[1-7]", "a digit from 1 to 7"),
        Column("order_id", r"-1|[0-9]{1,18}", "a whole number"),
        Column("size", r"[0-9]{1,12}", "a whole number of shares"),
        Column("price", r"-1|[0-9]{1,14}", "a whole number, USD x 10000"),
        Column("direction", r"-1|0|1", "1 (buy) or -1 (sell)"),
    ),
    header=False,
    time=_nanoseconds,
)

# `lobster_AAPL_2012-06-21_...` and the vendor's own `AAPL_2012-06-21_34200000_...`
_NAME: Final = re.compile(r"(?:lobster_)?([A-Z][A-Z.]{0,9})_([0-9]{4}-[0-9]{2}-[0-9]{2})_")


def name_of(path: Path) -> tuple[str, date | None]:
    """Read ticker and date from a name as LOBSTER gives it; ("", None) from any other."""
    found = _NAME.match(path.name)
    if not found:
        return "", None
    try:
        return found[1], date.fromisoformat(found[2])
    except ValueError:
        return found[1], None


def midnight_ns(day: date | None) -> int:
    """Return midnight in New York as UTC nanoseconds; 0 where the day is not known.

    Summer time is reckoned by the rule in force since 2007 (second Sunday of March to first
    Sunday of November), so a tape gives the same times on a machine without a zone database.
    The samples begin in 2007, and no market opens on the two Sundays themselves.
    """
    if day is None:
        return 0
    summer = _sunday(day.year, 3, 2) <= day < _sunday(day.year, 11, 1)
    zone = timezone(timedelta(hours=-4 if summer else -5))
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(midnight.astimezone(UTC).timestamp()) * NS_PER_S


def messages(
    path: Path, *, symbol: str = "", day: date | None = None
) -> Generator[LobsterMessage, None, None]:
    """Yield every message, rows counted from 1, with `at_ns` on the given day.

    Raises:
        TapeError: a row is not as the format has it, is earlier than the row before, or names an
            order with a size or price of zero, a price off the tick, or no side.
    """
    start_ns = midnight_ns(day)
    with closing(LAYOUT.rows(path)) as rows:
        for row, since_midnight, (_, kind, order_id, size, price, direction) in rows:
            if kind in _ORDER_KINDS and not (
                order_id > "0" and size.strip("0") and direction in _SIDES and _is_tradable(price)
            ):
                raise LAYOUT.bad_row(path, row, *_why(order_id, size, direction, price))
            yield LobsterMessage(
                symbol,
                start_ns + since_midnight,
                row,
                int(kind),
                int(order_id),
                decimal(size),
                _dollars(price),
                _SIDES.get(direction, Side.SELL),  # a halt has no side; nothing reads it there
            )


def _why(order_id: str, size: str, direction: str, price: str) -> tuple[str, str]:
    if not order_id > "0":
        return f"order_id is {order_id}", "a row of types 1 to 4 names an order"
    if not size.strip("0"):
        return f"size is {size}", "it must be above zero"
    if direction not in _SIDES:
        return f"direction is {direction}", "it must be 1 (buy) or -1 (sell)"
    return f"price is {price}", f"it must be above zero and a multiple of {_UNITS_PER_TICK}"


@lru_cache(maxsize=1 << 16)
def _is_tradable(units: str) -> bool:
    return int(units) > 0 and int(units) % _UNITS_PER_TICK == 0


@lru_cache(maxsize=1 << 16)
def _dollars(units: str) -> Decimal:
    if _is_tradable(units):
        return Decimal(int(units) // _UNITS_PER_TICK).scaleb(-2)
    return Decimal(units).scaleb(-4)  # hidden trades and halts may be off the tick


def _sunday(year: int, month: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))
