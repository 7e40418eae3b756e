"""A market that follows a tape order by order, in which accounts trade along.

The tape's orders are a crowd that *follows* (see `crowd`): they rest, move, trade and end as they
were recorded. What accounts do has an effect on them:

Rule 1: an account's order that stands before an order of the tape, by price or by time, trades in
its place, and that order keeps what it would have traded.
Rule 2: an account that takes from the book takes for good: the tape's order is smaller by it, or
gone. What the tape does to one that is gone is left out and counted (`Crowd.missed`), as is the
trade that it would have made. One that is given new terms has the size that the tape says again.
Rule 3: nobody on the tape reacts to an account. The more accounts trade, the further the book is
from the one that was recorded.
"""

from decimal import Decimal

from holdfast.domain.values import ZERO, Side, add, sub
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit
from holdfast.venue.paper import Venue


class TapeMarket:
    """The crowd of one listed symbol, following the operations of a tape; `played` counts them."""

    def __init__(self, venue: Venue, symbol: str) -> None:
        """Begin with an empty book; raises UnknownSymbolError if the symbol is not listed."""
        self.played = 0
        self.crowd = venue.crowd(symbol)
        self._listing = venue.listing(symbol)
        self._filled: dict[int, Decimal] = {}

    def apply(self, operation: Operation) -> None:
        """Let happen what the tape says; its time is for the caller to keep."""
        self.played += 1
        key = operation.order_id
        if isinstance(operation, Submit):
            sign = 1 if operation.side is Side.BUY else -1
            self.crowd.add(key, sign, *self._terms(operation.limit_price, operation.quantity))
        elif isinstance(operation, Replace):
            left = sub(operation.quantity, self._filled.get(key, ZERO))
            self.crowd.modify(key, *self._terms(operation.limit_price, left))
        elif isinstance(operation, Execution):
            self._filled[key] = add(self._filled.get(key, ZERO), operation.quantity)
            self.crowd.execute(key, self._listing.lots(operation.quantity))
        elif isinstance(operation, Cancel):
            self._filled.pop(key, None)
            self.crowd.cancel(key)

    def _terms(self, price: Decimal, quantity: Decimal) -> tuple[int, int]:
        return self._listing.ticks(price), self._listing.lots(quantity)
