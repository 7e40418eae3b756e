"""One side of a book by price: total size per level, and the best level at hand."""

from decimal import Decimal
from heapq import heapify, heappop, heappush
from typing import Final

from holdfast.domain.values import ZERO, Side, add, neg

_STALE_PRICES_MAX: Final = 256  # beyond this and the live ones, the heap is built anew


class Levels:
    """Sizes by price; the best price is found in O(log n) amortised.

    The heap may hold prices that are gone; they are dropped when they come to the top.
    """

    def __init__(self, side: Side) -> None:
        """Begin empty; `side` decides whether the highest or the lowest price is best."""
        self._bids = side is Side.BUY
        self._sizes: dict[Decimal, Decimal] = {}
        self._heap: list[Decimal] = []

    def __len__(self) -> int:
        """Return the number of levels that have size."""
        return len(self._sizes)

    def set(self, price: Decimal, size: Decimal) -> None:
        """Give a level a new size; zero or less removes it."""
        if size > 0:
            if price not in self._sizes:
                heappush(self._heap, neg(price) if self._bids else price)
            self._sizes[price] = size
            if len(self._heap) > 2 * len(self._sizes) + _STALE_PRICES_MAX:
                self._heap = [neg(price) if self._bids else price for price in self._sizes]
                heapify(self._heap)
        else:
            self._sizes.pop(price, None)

    def change(self, price: Decimal, by: Decimal) -> None:
        """Add to a level's size; a level that reaches zero is gone."""
        self.set(price, add(self._sizes.get(price, ZERO), by))

    def best(self) -> tuple[Decimal, Decimal] | None:
        """Return (price, size) of the best level, or None where the side is empty."""
        while self._heap:
            price = neg(self._heap[0]) if self._bids else self._heap[0]
            if price in self._sizes:
                return price, self._sizes[price]
            heappop(self._heap)
        return None
