"""A book by price that follows LOBSTER messages, to compare with the vendor's own order book.

It follows and never matches. Orders from before the first message are not invented, so a book at
the open lacks what rested there already.
"""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.values import Side, neg, sub
from holdfast.venue.feeds.levels import Levels
from holdfast.venue.feeds.lobster import DELETE, EXECUTION, PARTIAL_CANCEL, SUBMIT
from holdfast.venue.feeds.records import LobsterMessage

Top = tuple[Decimal, Decimal, Decimal, Decimal]


class _Resting(Struct):
    side: Side
    price: Decimal
    size: Decimal


class FollowBook:
    """Applies messages one by one; `top` is the best of both sides."""

    def __init__(self) -> None:
        """Begin with an empty book."""
        self._orders: dict[int, _Resting] = {}
        self._levels = {side: Levels(side) for side in Side}

    def apply(self, message: LobsterMessage) -> None:
        """Add, reduce or remove the order that the message names; unknown orders are skipped."""
        if message.kind == SUBMIT:
            order = _Resting(message.side, message.price, message.size)
            self._orders[message.order_id] = order
            self._levels[order.side].change(order.price, order.size)
        elif message.kind in {PARTIAL_CANCEL, DELETE, EXECUTION}:
            resting = self._orders.get(message.order_id)
            if resting is not None:
                gone = resting.size if message.kind == DELETE else min(message.size, resting.size)
                resting.size = sub(resting.size, gone)
                self._levels[resting.side].change(resting.price, neg(gone))
                if not resting.size:
                    del self._orders[message.order_id]

    @property
    def top(self) -> Top | None:
        """(ask, ask size, bid, bid size), None while a side is empty."""
        bid, ask = self._levels[Side.BUY].best(), self._levels[Side.SELL].best()
        return (*ask, *bid) if ask and bid else None
