"""CME market-by-order rows as order flow.

Rule 1: rows are read by matching event, not one by one. F and T rows do not change the book; the
M and C rows of the same event say what a fill left, so a fill can only be understood with them.
Rule 2: before the fills of an order in an event, its quantity is made what the event proves it to
be: filled + all its fills + what its M row leaves. Its price becomes the worst fill price where
one lies outside its limit (the row that moved the limit is not in the data).
Rule 3: the size of an M row is leaves, never quantity. A C row after a complete fill says nothing.
Rule 4: R ends every live order by the venue's will. Rows that name no live order are unknown.
Source: checked row by row against a day of CME data with order ids.
"""

from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.domain.values import ZERO, Side, add, is_multiple
from holdfast.venue.feeds.databento import ADD, CANCEL, CLEAR, FILL, MBO, MODIFY
from holdfast.venue.feeds.records import BookEvent
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown, execution_id

# A day's largest event has some 100 rows. One that never ends would otherwise fill the memory.
EVENT_ROWS_MAX: Final = 100_000
_ORDER_ACTIONS: Final = frozenset({MODIFY, CANCEL, FILL})


class _Live(Struct):
    side: Side
    price: Decimal
    quantity: Decimal
    filled: Decimal = ZERO


def operations(
    path: Path, rows: Iterable[BookEvent], tick: Decimal
) -> Generator[Operation, None, None]:
    """Turn the rows of every complete event into operations; `path` is for an error's message.

    Raises:
        TapeError: an order id is added twice, a row gives an order another side than it was added
            with, a price is off the tick, or an event has more than `EVENT_ROWS_MAX` rows.
    """
    flow = _Flow(path, tick)
    for event in events(path, rows):
        yield from flow.event(event)


def events(path: Path, rows: Iterable[BookEvent]) -> Generator[list[BookEvent], None, None]:
    """Gather rows into matching events; the rows of a last event that does not end are left out.

    Raises:
        TapeError: an event of more than `EVENT_ROWS_MAX` rows.
    """
    event: list[BookEvent] = []
    for row in rows:
        event.append(row)
        if row.last or row.snapshot:
            yield event
            event = []
        elif len(event) >= EVENT_ROWS_MAX:
            advice = "the last row of an event has flag 128"
            raise MBO.bad_row(path, row.row, f"an event of {len(event)} rows", advice)


class _Flow:
    def __init__(self, path: Path, tick: Decimal) -> None:
        self._path, self._tick = path, tick
        self._live: dict[int, _Live] = {}
        self._added: set[int] = set()
        self._filled: set[int] = set()

    def event(self, event: list[BookEvent]) -> Generator[Operation, None, None]:
        fills, left = _fills_and_leaves(event)
        for row in event:
            order = self._live.get(row.order_id)
            if row.action == ADD:
                yield self._add(row)
            elif row.action == CLEAR:
                yield from self._clear(row)
            elif row.action not in _ORDER_ACTIONS:
                continue
            elif order is None:
                # The C row that follows a complete fill is expected and says nothing.
                if row.action != CANCEL or row.order_id not in self._filled:
                    yield Unknown(row.row, row.at_ns, row.order_id)
            elif row.action == FILL:
                self._check(row, order)
                # The first fill takes all of its order's fills with it, so the rest find none.
                together = fills.pop(row.order_id, ())
                yield from self._fill(row, order, together, left.get(row.order_id))
            elif row.action == MODIFY:
                self._check(row, order)
                yield from _set_terms(row, order, add(order.filled, row.size), row.price)
            else:
                del self._live[row.order_id]
                yield Cancel(row.row, row.at_ns, row.order_id)

    def _add(self, row: BookEvent) -> Submit:
        if row.order_id in self._added:
            found = f"order {row.order_id} is added again"
            raise MBO.bad_row(self._path, row.row, found, "an id is added once")
        assert row.side is not None, "the feed refuses an A row without a side"
        order = _Live(row.side, row.price, row.size)
        self._check(row, order)
        self._added.add(row.order_id)
        self._live[row.order_id] = order
        return Submit(row.row, row.at_ns, row.order_id, row.side, row.size, row.price)

    def _clear(self, row: BookEvent) -> Generator[Operation, None, None]:
        gone = sorted(self._live)
        self._live.clear()
        for part, order_id in enumerate(gone):
            yield Cancel(row.row, row.at_ns, order_id, unsolicited=True, part=part)

    def _fill(
        self, row: BookEvent, order: _Live, together: Sequence[BookEvent], left: Decimal | None
    ) -> Generator[Operation, None, None]:
        part = 0
        if together:
            quantity, price = _proven_terms(order, together, left)
            for replace in _set_terms(row, order, quantity, price):
                yield replace
                part = 1
        order.filled = add(order.filled, row.size)
        if order.filled >= order.quantity:
            del self._live[row.order_id]
            self._filled.add(row.order_id)
        yield Execution(
            row.row, row.at_ns, row.order_id, row.size, row.price, execution_id(row.row), part
        )

    def _check(self, row: BookEvent, order: _Live) -> None:
        if row.side is not None and row.side is not order.side:
            found = f"order {row.order_id} is to {row.side} here and was added to {order.side}"
            raise MBO.bad_row(self._path, row.row, found, "an order keeps its side")
        if not is_multiple(row.price, self._tick):
            found = f"price is {row.price}"
            advice = f"it must be a multiple of the tick {self._tick}"
            raise MBO.bad_row(self._path, row.row, found, advice)


def _fills_and_leaves(
    event: list[BookEvent],
) -> tuple[dict[int, list[BookEvent]], dict[int, Decimal]]:
    fills: dict[int, list[BookEvent]] = {}
    left: dict[int, Decimal] = {}
    for row in event:
        if row.action == FILL:
            fills.setdefault(row.order_id, []).append(row)
        elif row.action == MODIFY:
            left[row.order_id] = row.size
        elif row.action == CANCEL:
            left.setdefault(row.order_id, ZERO)
    return fills, left


def _proven_terms(
    order: _Live, fills: Sequence[BookEvent], left: Decimal | None
) -> tuple[Decimal, Decimal]:
    filled = order.filled
    for fill in fills:
        filled = add(filled, fill.size)
    # Without an M or C row the event does not say what is left: only an overrun is certain.
    quantity = max(order.quantity, filled) if left is None else add(filled, left)
    worst = max if order.side is Side.BUY else min
    return quantity, worst(order.price, *(fill.price for fill in fills))


def _set_terms(
    row: BookEvent, order: _Live, quantity: Decimal, price: Decimal
) -> Generator[Replace, None, None]:
    if quantity != order.quantity or price != order.price:
        order.quantity, order.price = quantity, price
        yield Replace(row.row, row.at_ns, row.order_id, quantity, price)
