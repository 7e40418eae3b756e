"""Rows for SQLite: tuples of a batch, and inserts that need few steps.

Why not `executemany`: every step of a statement gives up the interpreter's lock and waits to get
it back. While a desk keeps the interpreter busy, that wait is a switch interval (5 ms unless set
otherwise) per row. One statement with many rows waits once.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import sha256
from itertools import chain
from typing import Any, Final, TypeAlias

import apsw

from holdfast.domain.values import plain
from holdfast.ports import ExecutionRow, OrderRow

Row: TypeAlias = tuple[Any, ...]

# Up to this many rows share a statement; more would make its text too long to be kept prepared.
ROWS_PER_STATEMENT_MAX: Final = 256
# hashlib gives up the interpreter's lock for more bytes than 2047, and then waits to get it back.
_HASHED_AT_ONCE: Final = 2047


class Insert:
    """Inserts into one table, with what to do `on_conflict`; the first column is never NULL.

    A statement takes a power of two of rows, so that few of them are ever prepared; rows that
    are missing from that number are bound as NULL and left out by the statement.
    """

    def __init__(self, table: str, columns: str, on_conflict: str = "") -> None:
        self.width = len(columns.split(","))
        into = f"INSERT INTO {table} ({columns})"
        self._head = f"{into} SELECT * FROM (VALUES "  # noqa: S608 - our own names alone
        self._foot = f") WHERE column1 IS NOT NULL {on_conflict}"
        self._texts: dict[int, str] = {}

    def run(self, connection: apsw.Connection, rows: Sequence[Row]) -> None:
        """Insert all rows; the caller holds the transaction."""
        for start in range(0, len(rows), ROWS_PER_STATEMENT_MAX):
            part = rows[start : start + ROWS_PER_STATEMENT_MAX]
            places = 1 << (len(part) - 1).bit_length()
            values = list(chain.from_iterable(part))
            values.extend([None] * ((places - len(part)) * self.width))
            connection.execute(self._texts.get(places) or self._text(places), values)

    def _text(self, places: int) -> str:
        place = f"({','.join('?' * self.width)})"
        text = self._texts[places] = self._head + ",".join([place] * places) + self._foot
        return text


def _update(columns: str) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns.split(", "))


_ORDER_REST: Final = (
    "client_order_id, symbol, side, order_type, status, quantity, filled_quantity, notional, "
    "strategy, created_ns, completed_ns, body, hash"
)
_EXECUTION_REST: Final = (
    "desk, number, symbol, side, quantity, price, fee, fee_currency, at_ns, inferred"
)

RECORDS: Final = Insert("records", "desk, seq, at_ns, kind, body, prev, hash")
HEADS: Final = Insert(
    "heads",
    "desk, seq, at_ns, hash",
    f"ON CONFLICT DO UPDATE SET {_update('seq, at_ns, hash')}",
)
ORDERS: Final = Insert(
    "orders",
    f"desk, number, {_ORDER_REST}",
    f"ON CONFLICT (desk, number) DO UPDATE SET {_update(_ORDER_REST)}",
)
NAMES: Final = Insert(
    "names",
    "desk, name, number",
    "ON CONFLICT DO UPDATE SET number = excluded.number WHERE number <> excluded.number",
)
EXECUTIONS: Final = Insert(
    "executions",
    f"account, broker_order_id, execution_id, {_EXECUTION_REST}",
    "ON CONFLICT (account, broker_order_id, execution_id) DO UPDATE SET "
    + _update(_EXECUTION_REST),
)
RAW: Final = Insert(
    "raw",
    "desk, number, at_ns, body",
    f"ON CONFLICT (desk, number) DO UPDATE SET {_update('at_ns, body')}",
)


def body_hash(body: bytes, *key: str | int) -> bytes:
    """Return the SHA-256 over the key of a row and its body, so that no row passes for another.

    The key of an order is its desk and number, that of a snapshot its desk, record and format.
    """
    found = sha256("\0".join(map(str, (*key, ""))).encode())
    if len(body) <= _HASHED_AT_ONCE:
        found.update(body)
        return found.digest()
    for start in range(0, len(body), _HASHED_AT_ONCE):
        found.update(body[start : start + _HASHED_AT_ONCE])
    return found.digest()


def order_rows(desk: str, orders: Sequence[OrderRow]) -> Iterator[Row]:
    """Return the rows of ended orders, in the order of ORDERS."""
    for row in orders:
        yield (
            desk, row.number, row.client_order_id, row.symbol, row.side, row.order_type,
            row.status, row.quantity if row.quantity is None else text(row.quantity),
            text(row.filled_quantity), text(row.notional), row.strategy, row.created_ns,
            row.completed_ns, row.body, body_hash(row.body, desk, row.number),
        )  # fmt: skip


def name_rows(desk: str, orders: Sequence[OrderRow]) -> Iterator[Row]:
    """Return one row for each name of each order, in the order of NAMES."""
    for row in orders:
        number = row.number
        for name in row.names:
            yield desk, name, number


def execution_rows(desk: str, executions: Sequence[ExecutionRow]) -> Iterator[Row]:
    """Return the rows of executions, in the order of EXECUTIONS."""
    for row in executions:
        yield (
            row.account, row.broker_order_id, row.execution_id, desk, row.number, row.symbol,
            row.side, text(row.quantity), text(row.price),
            row.fee if row.fee is None else text(row.fee), row.fee_currency, row.at_ns,
            row.inferred,
        )  # fmt: skip


def text(amount: Decimal) -> str:
    """Write an amount without an exponent, as people and SQL read it."""
    written = str(amount)
    return plain(amount) if "E" in written else written
