"""Pegged orders follow their price."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import Quoted
from holdfast.domain.order import Order

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def quoted(desk: "Desk", given: Quoted) -> None:
    """Take the latest quotes, and move the orders that follow them."""
    for quote in given.quotes:
        desk.quotes[quote.symbol] = quote


def follow(desk: "Desk", order: Order) -> None:
    """Send a successor once its predecessor's cancel is confirmed."""
