"""Follows the price at the market: buys what has risen, gets out of what has fallen."""

from collections import deque
from decimal import ROUND_DOWN, Decimal

from holdfast.trading.strategy import Market, Signal

# It compares with the price of so many cycles ago, and does nothing about a smaller move.
CYCLES = 5
MOVE_MIN = Decimal("0.00005")
SHARE = Decimal("0.02")


class Strategy:
    """Keeps the latest prices of each symbol; it holds one order's worth or nothing."""

    def __init__(self) -> None:
        """Begin without prices."""
        self._prices: dict[str, deque[Decimal]] = {}

    def decide(self, market: Market) -> list[Signal]:
        """Return a market order for each symbol that has moved."""
        signals = []
        for symbol, quote in sorted(market.quotes.items()):
            price = quote.mark
            if price is None:
                continue
            prices = self._prices.setdefault(symbol, deque(maxlen=CYCLES))
            before = prices[0] if len(prices) == CYCLES else None
            prices.append(price)
            if before is None or abs(price - before) < before * MOVE_MIN:
                continue
            signal = self._signal(market, symbol, price, rises=price > before)
            if signal is not None:
                signals.append(signal)
        return signals

    def _signal(self, market: Market, symbol: str, price: Decimal, *, rises: bool) -> Signal | None:
        held = market.positions[symbol].quantity if symbol in market.positions else Decimal(0)
        if any(order.symbol == symbol for order in market.orders):
            return None
        if held and not rises:
            return Signal(symbol=symbol, action="sell", quantity=held, reduce_only=True)
        if held or not rises or not market.cash:
            return None
        lot = market.instruments[symbol].lot
        lots = (market.cash * SHARE / price / lot).quantize(Decimal(1), ROUND_DOWN)
        return Signal(symbol=symbol, action="buy", quantity=lots * lot) if lots else None
