"""The anonymous crowd of one symbol: order flow of a tape, quotes and trades of a feed.

Two ways to be part of the market. `place` and `take` trade by the venue's own rules. All else
*follows*: the recorded market has already decided which of its orders traded, so they
never trade among themselves; but they do meet orders of accounts that stand in their way, which
would have traded first had they been there.
Prices are ticks, quantities lots (see `Listing`); signs: +1 buys, -1 sells.
"""

from typing import Final

from holdfast.venue.matching import Matcher
from holdfast.venue.orders import Entry

_BID: Final = "bid"
_ASK: Final = "ask"


class Crowd:
    """What everybody else does in one symbol; `missed` counts acts on orders that are not there.

    An order may be gone that the tape still names, because an account's order traded with it.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._book = matcher.book
        self.missed = 0

    def __contains__(self, key: int | str) -> bool:
        return key in self._book.entries

    @property
    def halted(self) -> bool:
        """Whether trading in the symbol is halted."""
        return self._matcher.halted

    def add(self, key: int | str, sign: int, ticks: int, lots: int) -> None:
        """Put a followed order at the end of its queue; an order of the same key is replaced."""
        book = self._book
        if key in book.entries:
            self.cancel(key)
        meets = (book.asks if sign > 0 else book.bids).owned
        if meets:
            lots = self._meet(sign, ticks, lots)
        if lots > 0:
            book.add(Entry(key, sign, ticks, lots))
        if meets:
            self._matcher.settle()

    def modify(self, key: int | str, ticks: int, lots: int) -> None:
        """Give a followed order a new price and quantity; only a smaller one keeps its place."""
        entry = self._book.entries.get(key)
        if entry is None:
            self.missed += 1
        elif ticks == entry.price and 0 < lots <= entry.lots:
            entry.lots = lots
        else:
            self._book.remove(entry)
            self.add(key, entry.sign, ticks, lots)

    def reduce(self, key: int | str, lots: int) -> None:
        """Take lots off a followed order without a trade."""
        entry = self._book.entries.get(key)
        if entry is None:
            self.missed += 1
        else:
            self._book.take(entry, lots)

    def cancel(self, key: int | str) -> None:
        """Take a followed order out of the book."""
        entry = self._book.entries.get(key)
        if entry is None:
            self.missed += 1
        else:
            self._book.remove(entry)

    def clear(self) -> None:
        """Take every order of the crowd out of the book."""
        for entry in list(self._book.entries.values()):
            if entry.owner is None:
                self._book.remove(entry)

    def execute(self, key: int | str, lots: int) -> None:
        """Let a followed order trade; accounts' orders ahead of it take their part first."""
        entry = self._book.entries.get(key)
        if entry is None:
            self.missed += 1
            return
        sign, ticks = -entry.sign, entry.price
        if self._book.half(entry.sign).owned:
            lots = self._meet(sign, ticks, lots, until=entry)
        if lots > 0:
            self._book.take(entry, lots)
            self._matcher.printed(ticks)
        self._matcher.settle()

    def trade(self, sign: int, ticks: int, lots: int) -> None:
        """Print a trade of a feed; `sign` is the aggressor's.

        Orders of accounts at a better price trade first, and at the same price those that no
        order of the crowd stands before.
        """
        half = self._book.half(-sign)
        if half.owned:
            level = half.levels.get(-sign * ticks)
            entries = level.values() if level else ()
            first = next((entry for entry in entries if entry.owner is None), None)
            lots = self._meet(sign, ticks, lots, until=first)
        if lots > 0:
            self._matcher.printed(ticks)
        self._matcher.settle()

    def quote(self, sign: int, ticks: int, lots: int) -> None:
        """Set the crowd's best bid (+1) or offer (-1) to what a feed shows; 0 lots for none."""
        key = _BID if sign > 0 else _ASK
        entry = self._book.entries.get(key)
        if entry is not None and entry.price == ticks and lots > 0:
            entry.lots = lots
        else:
            self.add(key, sign, ticks, lots)

    def place(self, key: int | str, sign: int, ticks: int, lots: int) -> int:
        """Send a limit order that trades by the venue's rules and rests; returns what rests."""
        if not self._matcher.halted:
            lots = self._matcher.sweep(sign, lots, ticks)
        if lots:
            self._book.add(Entry(key, sign, ticks, lots))
        self._matcher.settle()
        return lots

    def take(self, sign: int, lots: int, limit: int | None = None) -> int:
        """Trade by the venue's rules at once, down to a limit; returns what did not trade.

        Nothing trades while the symbol is halted.
        """
        if not self._matcher.halted:
            lots = self._matcher.sweep(sign, lots, limit)
            self._matcher.settle()
        return lots

    def _meet(self, sign: int, ticks: int, lots: int, until: Entry | None = None) -> int:
        """Trade with the accounts' orders as good as `ticks` or better, up to an entry."""
        if self._matcher.halted:
            return lots
        ahead = []
        for entry in self._book.half(-sign).walk():
            if entry is until or sign * entry.price > sign * ticks:
                break
            if entry.owner is not None:
                ahead.append(entry)
        for entry in ahead:
            # A trade may end another order of the same account, which then has left the book.
            if lots > 0 and entry.owner is not None and entry.owner.entry is entry:
                lots -= self._matcher.hit(entry, sign, lots)
        return lots
