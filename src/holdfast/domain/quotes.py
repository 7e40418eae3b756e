"""The latest prices of a symbol, as a source of quotes gives them; never journaled by themselves.

An event whose decision used a quote carries it, so that the decision can be judged afterwards.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from holdfast.domain.values import Side, ratio, rounded_add

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_NS_PER_MS: Final = 1_000_000


class Quote(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Best bid, best offer and last price, each None where there is none.

    `at_ns` is the desk time at which it arrived: its age is measured by one clock.
    """

    symbol: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    at_ns: int = 0

    @property
    def mid(self) -> Decimal | None:
        """Halfway between bid and offer; None without both."""
        if self.bid is None or self.ask is None:
            return None
        return ratio(rounded_add(self.bid, self.ask), Decimal(2))

    @property
    def mark(self) -> Decimal | None:
        """What one unit is worth: the mid, else the last price, else the side there is."""
        for price in (self.mid, self.last, self.bid, self.ask):
            if price is not None:
                return price
        return None

    def taken(self, side: Side) -> Decimal | None:
        """Return what a market order of that side would pay or get, as far as the quote tells."""
        touch = self.ask if side is Side.BUY else self.bid
        return touch if touch is not None else self.last


def priced(quote: Quote) -> Quote:
    """Return a quote without what is no price: zero or below is how sources say that none is there.

    Taken for a price it would value a purchase at nothing.
    """
    if all(price is None or price > 0 for price in (quote.bid, quote.ask, quote.last)):
        return quote
    prices = {name: getattr(quote, name) for name in ("bid", "ask", "last")}
    absent = {name: None for name, price in prices.items() if price is not None and price <= 0}
    return msgspec.structs.replace(quote, **absent)


def fresh_quote(desk: "Desk", symbol: str) -> Quote | None:
    """Return the latest quote of a symbol; None where it is older than a quote may be."""
    quote = desk.quotes.get(symbol)
    if quote is None:
        return None
    age_max_ns = desk.settings.policies.quote_age_max_ms * _NS_PER_MS
    return quote if desk.now_ns - quote.at_ns <= age_max_ns else None
