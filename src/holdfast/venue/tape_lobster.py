"""LOBSTER messages as order flow.

Rule 1: type 1 submits, 2 replaces to the quantity minus the size, 3 cancels, 4 executes; the
others touch no order.
Rule 2: a row that names no live order of the tape is unknown and nothing else: orders from before
the first row are not invented.
Rule 3: a row that contradicts what the tape said before is a `TapeError`.
"""

from collections.abc import Generator, Iterable
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from holdfast.domain.values import Side, sub
from holdfast.errors import TapeError
from holdfast.venue.feeds.lobster import DELETE, EXECUTION, LAYOUT, PARTIAL_CANCEL, SUBMIT
from holdfast.venue.feeds.records import LobsterMessage
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown, execution_id


class _Live(Struct):
    side: Side
    price: Decimal
    quantity: Decimal
    leaves: Decimal


def operations(path: Path, messages: Iterable[LobsterMessage]) -> Generator[Operation, None, None]:
    """Turn each message into one operation or none; `path` is for the message of an error.

    Raises:
        TapeError: an order id is added twice, a row has another side or price than its order, or
            executes or takes away more than the order has left.
    """
    live: dict[int, _Live] = {}
    added: set[int] = set()
    for message in messages:
        row, at_ns, order_id = message.row, message.at_ns, message.order_id
        kind, size = message.kind, message.size
        if kind == SUBMIT:
            if order_id in added:
                raise LAYOUT.bad_row(
                    path, row, f"order {order_id} is added again", "an id is added once"
                )
            added.add(order_id)
            live[order_id] = _Live(message.side, message.price, size, size)
            yield Submit(row, at_ns, order_id, message.side, size, message.price)
            continue
        if kind > EXECUTION:
            continue
        order = live.get(order_id)
        if order is None:
            yield Unknown(row, at_ns, order_id)
            continue
        if order.side is not message.side or order.price != message.price:
            raise _contradiction(path, message, order)
        if kind == DELETE:
            del live[order_id]
            yield Cancel(row, at_ns, order_id)
            continue
        order.leaves = sub(order.leaves, size)
        if order.leaves < 0 or (kind == PARTIAL_CANCEL and not order.leaves):
            raise _overrun(path, message, order)
        if kind == PARTIAL_CANCEL:
            order.quantity = sub(order.quantity, size)
            yield Replace(row, at_ns, order_id, order.quantity, order.price)
        else:
            if not order.leaves:
                del live[order_id]
            yield Execution(row, at_ns, order_id, size, message.price, execution_id(row))


def _contradiction(path: Path, message: LobsterMessage, order: _Live) -> TapeError:
    found = (
        f"order {message.order_id} is to {message.side} at {message.price} here and was added to "
        f"{order.side} at {order.price}"
    )
    return LAYOUT.bad_row(path, message.row, found, "side and price of an order stay the same")


def _overrun(path: Path, message: LobsterMessage, order: _Live) -> TapeError:
    what = "executes" if message.kind == EXECUTION else "takes away"
    before = order.leaves + message.size
    found = f"it {what} {message.size} of order {message.order_id}, which has {before} left"
    advice = "more than is left cannot trade, and all that is left goes by type 3"
    return LAYOUT.bad_row(path, message.row, found, advice)
