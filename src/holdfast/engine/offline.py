"""A journal's desks without their owner: folded for reading, nothing is changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

from holdfast.domain.desk import Desk
from holdfast.domain.order import Order
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.control_wire import order_row, order_rows, position_rows
from holdfast.engine.recovery import recall, recover
from holdfast.engine.rows import order_of
from holdfast.engine.views import view_executions, view_order, view_position
from holdfast.errors import InputError, OrderStatusError
from holdfast.journal.reader import SqliteReader
from holdfast.ports import Journal

_CHUNK = 500


class Offline:
    """Reads the desks of a journal, as its owner would answer. Make one with `offline`."""

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader
        # Folding only reads, and that part of the contract a reader keeps.
        self._journal = cast(Journal, reader)

    def ask(self, method: str, params: dict[str, Any], desk: str = "") -> dict[str, Any]:
        """Answer `orders`, `order` or `positions`, by desk; see `METHODS` in `control.py`.

        Raises:
            InputError: no such desk, or it must be said which.
            OrderStatusError: no such order.
            JournalError: the journal cannot be read.
        """
        read = _READS[method]
        names = self._meant(desk, of_all=method != "order")
        return {name: read(self, name, **params) for name in names}

    def _meant(self, desk: str, *, of_all: bool) -> list[str]:
        names = self._reader.desks()
        listed = ", ".join(names) or "none yet"
        if desk and desk not in names:
            raise InputError(f"there is no desk {desk!r} in this journal; there are: {listed}")
        if not desk and not of_all and len(names) != 1:
            raise InputError(f"there are several desks or none ({listed}); say which: --desk")
        return [desk] if desk else names

    def _desk(self, name: str) -> Desk:
        return recover(self._journal, name, Settings()).desk

    def _orders(
        self,
        name: str,
        *,
        symbol: str = "",
        strategy: str | None = None,
        status: str | None = None,
        finished: bool = False,
        limit: int,
    ) -> object:
        desk = self._desk(name)
        if status is not None and status not in set(Status):
            raise InputError(f"status is {status!r}; it must be one of {', '.join(Status)}")
        orders: Iterator[Order] = iter(list(desk.active()))
        if finished or status is not None:
            orders = (*orders, *self._ended(desk), *self._archived(name, desk)).__iter__()
        found = (
            order
            for order in orders
            if (not symbol or order.terms.symbol == symbol)
            and (strategy is None or order.strategy == strategy)
            and (status is None or order.status == status)
        )
        return order_rows([view_order(order) for order in islice(found, limit)])
