"""How a replay ended: the desk's books against the tape's outcome, order by order and in sum."""

import sys
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.domain.events import KINDS, OrderFilled, ReplaceRequested
from holdfast.domain.instruments import signed
from holdfast.domain.values import ZERO, add, plain
from holdfast.engine.views import OrderView, PositionView
from holdfast.journal.reader import log_bytes
from holdfast.journal.sqlite import SqliteJournal
from holdfast.trading.replay_past import DESK, tape_order_id
from holdfast.venue.outcome import OrderOutcome, Outcome
from holdfast.venue.tape import Tape
from holdfast.wiring import OrderManager

_NO_POSITION: Final = (ZERO, ZERO)
_COUNTS: Final = "SELECT kind, count(*) FROM records WHERE desk = ? GROUP BY kind"


class Books(Struct, kw_only=True):
    """What the desk has of a tape, by the tape's order ids; amounts in units and in points."""

    orders: dict[int, OrderOutcome]
    leaves: Decimal
    signed_quantity: Decimal
    cash: Decimal
    position: tuple[Decimal, Decimal]
    anomalies: int

    @property
    def filled(self) -> Decimal:
        """What traded, in units."""
        return _sum(order.filled for order in self.orders.values())

    @property
    def notional(self) -> Decimal:
        """The sum of quantity times price of what traded."""
        return _sum(order.notional for order in self.orders.values())

    @property
    def by_status(self) -> dict[str, int]:
        """How many orders there are of each status."""
        return dict(sorted(Counter(order.status for order in self.orders.values()).items()))


class Totals(Struct, kw_only=True):
    """What the journal holds in all: its size in bytes, and its records by kind."""

    journal_bytes: int
    records: dict[str, int]

    @property
    def fills(self) -> int:
        """Executions booked."""
        return self.records.get(KINDS[OrderFilled], 0)

    @property
    def replaces(self) -> int:
        """Replaces asked for, each once."""
        return self.records.get(KINDS[ReplaceRequested], 0)


async def read_books(manager: OrderManager, tape: Tape) -> Books:
    """Read every order of the desk, archived ones too, and its position."""
    orders = await manager.orders(limit=sys.maxsize)
    position: PositionView | None = (await manager.positions()).get(tape.symbol)
    return Books(
        orders={tape_order_id(each.client_order_id): _outcome(each) for each in orders},
        leaves=_sum(each.leaves_quantity or ZERO for each in orders),
        signed_quantity=_sum(signed(each.side, each.filled_quantity) for each in orders),
        cash=_sum(signed(each.side.opposite, each.notional) for each in orders),
        position=(position.quantity, position.cash) if position is not None else _NO_POSITION,
        anomalies=int(str((await manager.statistics())["desk"]["anomalies"])),
    )


def read_totals(journal_path: str) -> Totals:
    """Count what the journal holds, once its owner has closed it."""
    reader = SqliteJournal.read_only(journal_path)
    try:
        counts = reader.query(_COUNTS, (DESK,))
        size = Path(reader.path).stat().st_size + log_bytes(reader.path)
        return Totals(journal_bytes=size, records=dict(sorted(counts)))
    finally:
        reader.close()


def mismatched(books: Books, expected: Outcome, altered: AbstractSet[int]) -> list[str]:
    """Say of each order that ended otherwise than the tape's rows say how it did.

    `altered` are orders that the venue got with other terms than the tape's.
    """
    found: list[str] = []
    for order_id in sorted(books.orders.keys() | expected.orders.keys()):
        ours, theirs = books.orders.get(order_id), expected.orders.get(order_id)
        if ours != theirs:
            found.append(f"order {order_id} is {_told(ours)}, not {_told(theirs)}")
        elif order_id in altered:
            found.append(f"order {order_id} was sent with other terms than the tape's")
    return found


def sums_that_differ(
    books: Books, totals: Totals, expected: Outcome, unknown_rows: int
) -> list[str]:
    """Say which sums of the journal are not those of the tape, or not those of its own orders."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("executions", totals.fills, expected.executions),
        ("replaces", totals.replaces, expected.replaces),
        ("filled quantity", books.filled, expected.executed_quantity),
        ("notional", books.notional, expected.notional),
        ("leaves quantity", books.leaves, expected.leaves),
        ("rows of unknown orders", unknown_rows, expected.unknown_rows),
        ("position", books.position, (books.signed_quantity, books.cash)),
    )
    return [f"{what}: {ours}, not {theirs}" for what, ours, theirs in pairs if ours != theirs]


def _outcome(order: OrderView) -> OrderOutcome:
    return OrderOutcome(order.status.upper(), order.filled_quantity, order.notional)


def _told(order: OrderOutcome | None) -> str:
    if order is None:
        return "missing"
    return f"{order.status} with {plain(order.filled)} filled for {plain(order.notional)}"


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for each in amounts:
        total = add(total, each)
    return total
