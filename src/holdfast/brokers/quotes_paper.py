"""Quotes of the paper venue: what its book shows, looked at again and again.

A look is exact as of its moment; what came and went between two looks is not told. An unchanged
quote is told again now and then, because a quote that nobody repeats counts as old.
"""

from collections.abc import Callable, Sequence
from typing import Final

from holdfast.brokers.paper import Delays, RealDelays
from holdfast.clock import NS_PER_MS
from holdfast.domain.quotes import Quote
from holdfast.errors import InputError
from holdfast.venue.paper import Venue

LOOK_EVERY_MS: Final = 50
# How many looks an unchanged quote is kept back for: once a second by default.
LOOKS_UNTOLD_MAX: Final = 20


class PaperQuotes:
    """A source of quotes over a venue; see `holdfast.ports.Quotes`.

    Args:
        venue: whose markets to look at.
        symbols: which of them; none for all, those that are listed later included.
        every_ms: the time between two looks.
        delays: time and waiting; None for real time.

    Raises:
        InputError: the time between two looks is below one millisecond.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str] = (),
        *,
        every_ms: int = LOOK_EVERY_MS,
        delays: Delays | None = None,
    ) -> None:
        if every_ms < 1:
            raise InputError(f"every_ms is {every_ms}; give 1 or more milliseconds")
        self._venue = venue
        self._symbols = tuple(symbols)
        self._every_ns = every_ms * NS_PER_MS
        self._delays = delays or RealDelays()

    async def watch(self, on_quote: Callable[[Quote], None]) -> None:
        """Deliver quotes until cancelled; raises UnknownSymbolError for a symbol not listed."""
        told: dict[str, tuple[Quote, int]] = {}
        look = 0
        while True:
            for symbol in self._symbols or [each.symbol for each in self._venue.instruments()]:
                top = self._venue.top(symbol)
                quote = Quote(symbol=symbol, bid=top.bid, ask=top.ask, last=top.last)
                before, at_look = told.get(symbol, (None, 0))
                if quote == before and look - at_look < LOOKS_UNTOLD_MAX:
                    continue
                told[symbol] = (quote, look)
                if quote.mark is not None:
                    on_quote(quote)
            await self._delays.sleep(self._every_ns)
            look += 1
