"""What a tape must lead to, reckoned from its rows alone: the oracle of a replay.

Rule 1: nothing is shared with the desk, with the venue's matching, or with the tape's own reading
as order flow: only the file access is. Amounts are integers, an order is what it has left, and
status is read off at the end; two ways to the same figures, so that an error in one shows.
Rule 2: the rows were checked by `open_tape` before; here they are only added up.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.errors import TapeError
from holdfast.venue.feeds.detect import Format, detect
from holdfast.venue.feeds.files import check_limit, lines

# Prices are summed as integers: LOBSTER's own unit, and a billionth of a point.
_LOBSTER_DECIMALS: Final = 4
_POINT_DECIMALS: Final = 9
_ENDS_EVENT: Final = 128 | 32  # last of an event, or a snapshot row, which stands alone


class OrderOutcome(Struct, frozen=True):
    """How one order ends: status by name, filled quantity, sum of quantity times price."""

    status: str
    filled: Decimal
    notional: Decimal


class Outcome(Struct, frozen=True, kw_only=True):
    """How a tape ends. `notional` is without multiplier; `leaves` is that of live orders."""

    orders: dict[int, OrderOutcome]
    by_status: dict[str, int]
    executions: int
    executed_quantity: Decimal
    notional: Decimal
    replaces: int
    cancels: int
    leaves: Decimal
    unknown_rows: int
    unknown_ids: int
    rows: int
    rows_unfinished: int
    end_state: str


def expected_outcome(tape_path: str | Path, limit_rows: int | None = None) -> Outcome:
    """Reckon the outcome of the first `limit_rows` data rows of a tape, or of all.

    A matching event that the limit cuts is left out, and counted in `rows_unfinished`.

    Raises:
        TapeError: the limit is below 1, or the file is unreadable, no tape, or holds a row that
            cannot be read.
    """
    check_limit(limit_rows)
    path = Path(tape_path)
    kind = detect(path)
    if kind not in _READERS:
        raise TapeError(f"{path} is no tape; give LOBSTER messages or CME market-by-order rows")
    decimals, headers, follow = _READERS[kind]
    books = _Books(decimals)
    end = None if limit_rows is None else headers + limit_rows
    with closing(lines(path)) as stream:
        rows = (line.split(",") for line in islice(stream, headers, end))
        try:
            follow(books, rows)
        except TapeError:
            raise
        except (ValueError, ArithmeticError) as error:
            raise TapeError(
                f"{path} has a row that cannot be read: {error}; mend or replace the file"
            ) from None
    return books.outcome()


def end_state_digest(orders: Iterable[tuple[int, str, Decimal, Decimal]]) -> str:
    """Return the SHA-256 that two replays with the same end have in common.

    Args:
        orders: (tape id, status by name in either case, filled quantity, notional) per order, in
            any order; notional is the sum of quantity times price.
    """
    digest = hashlib.sha256()
    for order_id, status, filled, notional in sorted(orders):
        line = f"{order_id},{status.upper()},{_plain(filled)},{_plain(notional)}\n"
        digest.update(line.encode("ascii"))
    return digest.hexdigest()


class _Order(Struct):
    leaves: int
    price: int
    buys: bool
    filled: int = 0
    notional: int = 0
    cancelled: bool = False
    pending: int = 0  # filled in the event that is being read
    worst: int = 0  # the worst price of those fills

    @property
    def status(self) -> str:
        if self.cancelled:
            return "CANCELED"
        if not self.leaves:
            return "FILLED"
        return "PARTIAL_FILL" if self.filled else "OPEN"

    @property
    def ended(self) -> bool:
        return self.cancelled or not self.leaves


class _Books:
    def __init__(self, decimals: int) -> None:
        self.decimals = decimals
        self.orders: dict[int, _Order] = {}
        self.executions = self.replaces = self.rows = self.rows_unfinished = 0
        self.unknown: Counter[int] = Counter()

    def live(self, order_id: int) -> _Order | None:
        order = self.orders.get(order_id)
        if order is None or order.ended:
            self.unknown[order_id] += 1
            return None
        return order

    def trade(self, order: _Order, size: int, price: int) -> None:
        order.filled += size
        order.notional += size * price
        self.executions += 1

    def outcome(self) -> Outcome:
        orders = {
            order_id: OrderOutcome(order.status, Decimal(order.filled), self._money(order.notional))
            for order_id, order in self.orders.items()
        }
        live = [order for order in self.orders.values() if not order.ended]
        by_status = Counter(order.status for order in orders.values())
        return Outcome(
            orders=orders,
            by_status=dict(sorted(by_status.items())),
            executions=self.executions,
            executed_quantity=Decimal(sum(order.filled for order in self.orders.values())),
            notional=self._money(sum(order.notional for order in self.orders.values())),
            replaces=self.replaces,
            cancels=by_status["CANCELED"],
            leaves=Decimal(sum(order.leaves for order in live)),
            unknown_rows=self.unknown.total(),
            unknown_ids=len(self.unknown),
            rows=self.rows,
            rows_unfinished=self.rows_unfinished,
            end_state=end_state_digest(
                (order_id, order.status, order.filled, order.notional)
                for order_id, order in orders.items()
            ),
        )

    def _money(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-self.decimals)


def _follow_lobster(books: _Books, rows: Iterator[list[str]]) -> None:
    for _, kind, order_text, size_text, price_text, direction in rows:
        books.rows += 1
        if kind not in {"1", "2", "3", "4"}:
            continue
        order_id, size, price = int(order_text), int(size_text), int(price_text)
        if kind == "1":
            books.orders[order_id] = _Order(size, price, direction == "1")
            continue
        order = books.live(order_id)
        if order is None:
            continue
        if kind == "3":
            order.cancelled = True
            continue
        order.leaves -= size
        if kind == "2":
            books.replaces += 1
        else:
            books.trade(order, size, price)


def _follow_mbo(books: _Books, rows: Iterator[list[str]]) -> None:
    event: list[list[str]] = []
    for row in rows:
        books.rows += 1
        event.append(row)
        if int(row[9]) & _ENDS_EVENT:
            _settle_event(books, event)
            event = []
    books.rows_unfinished = len(event)


def _settle_event(books: _Books, event: list[list[str]]) -> None:
    filled: list[_Order] = []
    for _, _, _, action, side, price_text, size_text, order_text, *_ in event:
        if action == "R":
            for live in books.orders.values():
                live.cancelled = live.cancelled or not live.ended
        if action not in {"A", "M", "C", "F"}:
            continue
        order_id, size = int(order_text), int(size_text)
        price = int(Decimal(price_text).scaleb(_POINT_DECIMALS))
        if action == "A":
            books.orders[order_id] = _Order(size, price, side == "B")
            continue
        if action == "C" and order_id in books.orders and not books.orders[order_id].leaves:
            continue
        order = books.live(order_id)
        if order is None:
            continue
        if action == "F":
            books.trade(order, size, price)
            worst = max if order.buys else min
            order.worst = worst(order.worst, price) if order.pending else price
            order.pending += size
            filled.append(order)
        elif action == "M":
            _settle(books, order, size, price)
        elif order.pending:
            _settle(books, order, 0, None)
        else:
            order.cancelled = True
    for order in filled:
        if order.pending:
            _settle(books, order, max(order.leaves - order.pending, 0), None)


def _settle(books: _Books, order: _Order, left: int, price: int | None) -> None:
    """Close what an event did to an order: one replace if the fills prove other terms than those
    known, one if the row that follows them changes the terms.
    """
    if order.pending:
        outside = order.worst > order.price if order.buys else order.worst < order.price
        if outside or order.pending + left != order.leaves:
            books.replaces += 1
        if outside:
            order.price = order.worst
        if price is not None and price != order.price:
            books.replaces += 1
    elif left != order.leaves or price != order.price:
        books.replaces += 1
    order.leaves, order.pending = left, 0
    if price is not None:
        order.price = price


_READERS: Final = {
    Format.LOBSTER: (_LOBSTER_DECIMALS, 0, _follow_lobster),
    Format.DATABENTO_MBO: (_POINT_DECIMALS, 1, _follow_mbo),
}


def _plain(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
