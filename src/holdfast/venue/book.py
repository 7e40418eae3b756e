"""The book of one symbol: price levels, and within each the order of arrival.

A *rank* is sign times price: of two prices on one side the one of higher rank trades first, so
buyers and sellers are treated by the same lines. Prices are ticks, quantities lots; the book
knows neither accounts' money nor what may trade: that is `matching.py`.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator

from holdfast.venue.orders import Entry


class Half:
    """One side of a book."""

    __slots__ = ("levels", "owned", "ranks", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        # An OrderedDict gives its first entry in constant time even after many were taken from
        # the front, where a plain dict searches past every gap.
        self.levels: dict[int, OrderedDict[int | str, Entry]] = {}
        self.ranks: list[int] = []  # ascending: the best is the last
        self.owned = 0  # entries that belong to accounts

    def add(self, entry: Entry) -> None:
        """Queue an entry behind all others of its price."""
        rank = self.sign * entry.price
        level = self.levels.get(rank)
        if level is None:
            level = self.levels[rank] = OrderedDict()
            insort(self.ranks, rank)
        level[entry.key] = entry
        if entry.owner is not None:
            self.owned += 1

    def remove(self, entry: Entry) -> None:
        """Take an entry out."""
        rank = self.sign * entry.price
        level = self.levels[rank]
        del level[entry.key]
        if not level:
            del self.levels[rank]
            del self.ranks[bisect_left(self.ranks, rank)]
        if entry.owner is not None:
            self.owned -= 1

    def best(self) -> Entry | None:
        """Return the entry that trades next, None where the side is empty."""
        return next(iter(self.levels[self.ranks[-1]].values())) if self.ranks else None

    def walk(self) -> Iterator[Entry]:
        """Yield the entries in the order in which they would trade."""
        for rank in reversed(self.ranks):
            yield from self.levels[rank].values()

    def depth(self, levels_max: int) -> list[tuple[int, int]]:
        """Return price and lots of the best levels, best first."""
        return [
            (self.sign * rank, sum(entry.lots for entry in self.levels[rank].values()))
            for rank in reversed(self.ranks[-levels_max:])
        ]


class Book:
    """Both sides of a book, and every entry by its key."""

    __slots__ = ("asks", "bids", "entries")

    def __init__(self) -> None:
        self.bids, self.asks = Half(1), Half(-1)
        self.entries: dict[int | str, Entry] = {}

    def half(self, sign: int) -> Half:
        """Return the side of the buyers (+1) or of the sellers (-1)."""
        return self.bids if sign > 0 else self.asks

    def add(self, entry: Entry) -> None:
        """Put an entry at the end of its queue; its key must be new."""
        self.entries[entry.key] = entry
        (self.bids if entry.sign > 0 else self.asks).add(entry)

    def remove(self, entry: Entry) -> None:
        """Take an entry out of the book."""
        del self.entries[entry.key]
        (self.bids if entry.sign > 0 else self.asks).remove(entry)

    def take(self, entry: Entry, lots: int) -> None:
        """Lower an entry by what traded, and take it out when nothing is left."""
        entry.lots -= lots
        if entry.lots <= 0:
            self.remove(entry)
