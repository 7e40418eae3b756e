"""Rests at the best bid, and at the best offer once it holds something; one order at a time."""

from decimal import ROUND_DOWN, Decimal

from holdfast.trading.strategy import Market, Signal

# What one order is worth, as a share of the team's cash, and how many of them it may hold.
SHARE = Decimal("0.01")
HELD_MAX = 3


class Strategy:
    """Goes through the symbols in turn; what it does follows from what it is shown."""

    def decide(self, market: Market) -> Signal | None:
        """Return one limit order, or nothing while the symbol has one that works."""
        symbols = sorted(market.quotes)
        if not symbols or not market.cash:
            return None
        symbol = symbols[market.cycle % len(symbols)]
        quote, lot = market.quotes[symbol], market.instruments[symbol].lot
        if quote.bid is None or quote.ask is None:
            return None
        if any(order.symbol == symbol for order in market.orders):
            return None
        held = market.positions[symbol].quantity if symbol in market.positions else Decimal(0)
        lots = (market.cash * SHARE / quote.ask / lot).quantize(Decimal(1), ROUND_DOWN)
        size = max(lots, Decimal(1)) * lot
        if held and (held >= size * HELD_MAX or market.cycle % 2):
            return Signal(
                symbol=symbol,
                action="sell",
                quantity=min(held, size),
                order_type="limit",
                limit_price=quote.ask,
            )
        return Signal(
            symbol=symbol,
            action="buy",
            quantity=size,
            order_type="limit",
            limit_price=quote.bid,
        )
