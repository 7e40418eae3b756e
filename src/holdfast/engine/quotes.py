"""The latest prices of a source, kept for whoever follows them.

Rule 1: a quote is news for as long as it is the newest of its symbol. Nothing queues here: each
follower is told at once, and keeps the latest as well.
Rule 2: what is no quote is dropped and counted; a bid above the offer is one, markets do cross.
Rule 3: the source is watched for as long as the board is open, however often it ends or raises.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from holdfast.clock import NS_PER_MS
from holdfast.domain.quotes import Quote
from holdfast.domain.typed import MistypedError, check
from holdfast.domain.values import amount, check_id
from holdfast.engine.masking import described
from holdfast.errors import InputError
from holdfast.ports import Quotes

_log = logging.getLogger("holdfast.quotes")

# Symbols of one source; quotes of more are dropped and counted.
SYMBOLS_MAX: Final = 10_000
# A source is watched anew after a wait that doubles, and begins anew once it held so long.
WATCH_RETRY_FIRST_S: Final = 0.5
WATCH_RETRY_MAX_S: Final = 30.0
WATCH_HELD_S: Final = 60.0


@runtime_checkable
class QuoteFollower(Protocol):
    """Who is told of every quote: a desk's runner, or a broker that fills by quotes."""

    def quoted(self, quote: Quote, age_ns: int = 0) -> None:
        """Take a quote that arrived so long ago; returns at once and does not raise."""
        ...


class QuoteBoard:
    """The latest quote of every symbol of one source; `now_ns` is the time of arrival it notes."""

    def __init__(self, source: Quotes, now_ns: Callable[[], int]) -> None:
        self._source = source
        self._now_ns = now_ns
        self._latest: dict[str, Quote] = {}
        self._followers: list[QuoteFollower] = []
        self._task: asyncio.Task[None] | None = None
        self.quotes = self.dropped = self.watches = self.defects = 0

    def start(self) -> None:
        """Begin to watch the source."""
        self._task = asyncio.create_task(self._watch(), name="quotes")

    async def close(self) -> None:
        """End watching; the latest quotes stay to be read."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def follow(self, follower: QuoteFollower) -> None:
        """Tell somebody every quote from here on, and first the latest of each symbol."""
        self._followers.append(follower)
        now_ns = self._now_ns()
        for quote in self._latest.values():
            self._tell(follower, quote, now_ns - quote.at_ns)

    def unfollow(self, follower: QuoteFollower) -> None:
        """Tell that one no more; nothing happens if it was not told."""
        if follower in self._followers:
            self._followers.remove(follower)

    def latest(self, symbol: str, age_max_ms: int | None = None) -> Quote | None:
        """Return the latest quote of a symbol, unless there is none or it is older than asked."""
        quote = self._latest.get(symbol)
        if quote is None or age_max_ms is None:
            return quote
        return quote if self._now_ns() - quote.at_ns <= age_max_ms * NS_PER_MS else None

    def statistics(self) -> dict[str, int]:
        """Return counters, and how old the newest and the oldest quote are in milliseconds."""
        now_ns = self._now_ns()
        ages = [(now_ns - quote.at_ns) // NS_PER_MS for quote in self._latest.values()]
        return {
            "symbols": len(self._latest),
            "followers": len(self._followers),
            "quotes": self.quotes,
            "dropped": self.dropped,
            "defects": self.defects,
            "watches": self.watches,
            "newest_age_ms": min(ages, default=-1),
            "oldest_age_ms": max(ages, default=-1),
        }

    def take(self, quote: Quote) -> None:
        """Take what the source says; it never raises."""
        if not _is_quote(quote) or (
            quote.symbol not in self._latest and len(self._latest) >= SYMBOLS_MAX
        ):
            self.dropped += 1
            return
        self.quotes += 1
        self._latest[quote.symbol] = Quote(
            symbol=quote.symbol,
            bid=quote.bid,
            ask=quote.ask,
            last=quote.last,
            at_ns=self._now_ns(),
        )
        for follower in tuple(self._followers):
            self._tell(follower, quote)

    def _tell(self, follower: QuoteFollower, quote: Quote, age_ns: int = 0) -> None:
        """Tell one follower; one that raises keeps the quote from nobody else."""
        try:
            follower.quoted(quote, age_ns)
        except Exception:  # noqa: BLE001 - a follower's failure is its own
            self.defects += 1
            if self.defects & (self.defects - 1) == 0:
                name = type(follower).__name__
                _log.exception("%s raised on a quote (%d so far)", name, self.defects)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = WATCH_RETRY_FIRST_S
        while True:
            began = loop.time()
            self.watches += 1
            try:
                await self._source.watch(self.take)
                reason = "it ended"
            except Exception as error:  # noqa: BLE001 - whatever ended the source, it is reopened
                reason = described(error)
            if loop.time() - began >= WATCH_HELD_S:
                retry_s = WATCH_RETRY_FIRST_S
            _log.warning("the quotes are watched anew in %.1f s: %s", retry_s, reason)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, WATCH_RETRY_MAX_S)


def _is_quote(said: object) -> bool:
    """Tell whether this names a symbol and has prices that can be reckoned with, at least one."""
    try:
        check(said, Quote)
    except MistypedError:
        return False
    assert isinstance(said, Quote)
    prices = [price for price in (said.bid, said.ask, said.last) if price is not None]
    try:
        check_id(said.symbol, "symbol")
        for price in prices:
            amount(price, "price")
    except InputError:
        return False
    return bool(prices)
