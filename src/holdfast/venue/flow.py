"""What a tape asks of the desk and of the venue: one vocabulary for every tape.

`row` is the number of the data row (from 1) that an operation comes from and `part` its place
among the operations of that row, so ids derived from both are the same in every replay. Times
are UTC nanoseconds, prices in quote currency (or points) per unit, quantities in units.
"""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.values import Side


class Submit(Struct, frozen=True, gc=False):
    """A new limit order, good till cancelled."""

    row: int
    at_ns: int
    order_id: int
    side: Side
    quantity: Decimal
    limit_price: Decimal
    part: int = 0


class Replace(Struct, frozen=True, gc=False):
    """New terms for a live order; `quantity` is the whole order's, filled part included."""

    row: int
    at_ns: int
    order_id: int
    quantity: Decimal
    limit_price: Decimal
    part: int = 0


class Cancel(Struct, frozen=True, gc=False):
    """The end of a live order; `unsolicited` where the venue cancels it and nobody asked."""

    row: int
    at_ns: int
    order_id: int
    unsolicited: bool = False
    part: int = 0


class Execution(Struct, frozen=True, gc=False):
    """A trade of a live order; `execution_id` is derived from the row."""

    row: int
    at_ns: int
    order_id: int
    quantity: Decimal
    price: Decimal
    execution_id: str
    part: int = 0


class Unknown(Struct, frozen=True, gc=False):
    """A row that names an order the tape never added or that has ended: counted, nothing more."""

    row: int
    at_ns: int
    order_id: int
    part: int = 0


Operation = Submit | Replace | Cancel | Execution | Unknown


def execution_id(row: int) -> str:
    """Return the execution id of a row; no row holds more than one execution."""
    return f"x{row}"
