"""The desk's own open orders by symbol and side, the one that is most in the way first.

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
    """Open orders by number, and a heap of the limit prices of those that rest in the book.

    While a replace is on its way the price counts that is more in the way, the old or the new.
    """

    __slots__ = ("_keys", "_prices", "_side", "orders")

    def __init__(self, side: Side) -> None:
        """Start empty."""
        self.orders: dict[int, Order] = {}
        self._side = side
        self._keys: dict[int, Decimal] = {}
        self._prices: list[tuple[Decimal, int]] = []

    def add(self, order: Order) -> None:
        """Take an order in, or note its new price."""
        number, key = order.number, self._key(order)
        self.orders[number] = order
        if key is None or self._keys.get(number) == key:
            return
        self._keys[number] = key
        heappush(self._prices, (key, number))
        if len(self._prices) > 2 * len(self.orders) + _SLACK:
            self._prices = [(each, of) for of, each in self._keys.items()]
            heapify(self._prices)

    def drop(self, order: Order) -> None:
        """Let an order go that can no longer trade."""
        self.orders.pop(order.number, None)
        self._keys.pop(order.number, None)

    def best(self) -> Order | None:
        """Return the highest purchase, or the lowest sale, that rests in the book."""
        prices = self._prices
        while prices:
            key, number = prices[0]
            if self._keys.get(number) == key:
                return self.orders[number]
            heappop(prices)
        return None

    def price(self, order: Order) -> Decimal | None:
        """Return the price at which an order rests, or may soon, whichever is more in the way."""
        limit = order.terms.limit_price
        if limit is None or order.terms.order_type in UNTRIGGERED:
            return None
        if not order.last_wish:
            return limit
        wished = (wish.limit_price for wish in order.wishes)
        prices = [limit, *(price for price in wished if price is not None)]
        return max(prices) if self._side is Side.BUY else min(prices)

    def _key(self, order: Order) -> Decimal | None:
        price = self.price(order)
        return neg(price) if price is not None and self._side is Side.BUY else price


class RestingBook:
    """The open orders of each side of each symbol."""

    def __init__(self) -> None:
        """Start empty."""
        self._symbols: dict[str, tuple[Resting, Resting]] = {}

    def of(self, symbol: str, side: Side) -> Resting:
        """Return the open orders of one side of a symbol."""
        sides = self._symbols.get(symbol)
        if sides is None:
            sides = self._symbols[symbol] = (Resting(Side.BUY), Resting(Side.SELL))
        return sides[0] if side is Side.BUY else sides[1]
