"""The desk's own open orders of one side of a symbol, the one that is most in the way first.

Like every index it is derived: it is kept up as orders enter, leave and change their price.
"""

from decimal import Decimal
from heapq import heapify, heappop, heappush
from typing import Final

from holdfast.domain.order import Order
from holdfast.domain.values import OrderType, Side, neg

# Orders of these types are in no book before they are triggered.
UNTRIGGERED: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})
# Prices of orders that left are kept until there are more of them than of orders, and these.
_SLACK: Final = 64


class Resting:
    """Open orders by number, and a heap of the limit prices of those that rest in the book."""

    __slots__ = ("_prices", "_side", "orders")

    def __init__(self, side: Side) -> None:
        """Start empty."""
        self.orders: dict[int, Order] = {}
        self._side = side
        self._prices: list[tuple[Decimal, int]] = []

    def add(self, order: Order) -> None:
        """Take an order in, or note its new price."""
        self.orders[order.number] = order
        key = self._key(order)
        if key is None:
            return
        heappush(self._prices, (key, order.number))
        if len(self._prices) > 2 * len(self.orders) + _SLACK:
            keys = ((self._key(each), each.number) for each in self.orders.values())
            self._prices = [(key, number) for key, number in keys if key is not None]
            heapify(self._prices)

    def drop(self, order: Order) -> None:
        """Let an order go that can no longer trade."""
        self.orders.pop(order.number, None)

    def best(self) -> Order | None:
        """Return the highest purchase, or the lowest sale, that rests in the book."""
        prices = self._prices
        while prices:
            key, number = prices[0]
            order = self.orders.get(number)
            if order is not None and self._key(order) == key:
                return order
            heappop(prices)
        return None

    def _key(self, order: Order) -> Decimal | None:
        price = order.terms.limit_price
        if price is None or order.terms.order_type in UNTRIGGERED:
            return None
        return neg(price) if self._side is Side.BUY else price
