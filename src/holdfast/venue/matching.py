"""Price-time matching of one symbol, for orders of accounts and for an anonymous crowd.

Rule 1: the better price trades first, and at one price whoever came first; a trade is at the
price of the order that was in the book.
Rule 2: an account never trades with itself; `SelfTrade` says which of its two orders gives way.
Rule 3: a reduce-only order trades at most what would bring the account's position to zero, judged
at each trade; where nothing is left to reduce it is cancelled when its turn comes.
Rule 4: a market order takes what there is and the rest is cancelled; a notional one buys whole
lots while the next lot at the price just traded can still be paid.
Every loop ends: each round takes an entry out of a finite book, ends an order, or stops.
"""

from enum import StrEnum
from typing import Final

from holdfast.domain.values import CONTEXT, OrderType, Status, TimeInForce, sub
from holdfast.venue.book import Book
from holdfast.venue.clearing import Clearing
from holdfast.venue.orders import Account, Entry, Listing, VenueOrder
from holdfast.venue.stops import Stops

_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})
STOPS: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})


class SelfTrade(StrEnum):
    """Which order ends where an account would trade with itself."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"


_PREVENTED: Final = "self-trade prevention"


class Matcher:
    """The market in one symbol; `last` is the last traded price in ticks."""

    def __init__(self, listing: Listing, clearing: Clearing, self_trade: SelfTrade) -> None:
        self.listing = listing
        self.book = Book()
        self.last: int | None = None
        self.halted = False
        self._clearing = clearing
        self._self_trade = self_trade
        self._stops = {1: Stops(1), -1: Stops(-1)}
        self._released: list[VenueOrder] = []  # to arrive once the present act is done

    def arrive(self, order: VenueOrder) -> None:
        """Let an accepted order wait for its stop price, or trade and rest; a held one does not."""
        if not order.is_held:
            self._place(order)
        self.settle()

    def release(self, order: VenueOrder) -> None:
        """Let an order arrive as soon as the present act is done, and trading is not halted."""
        self._released.append(order)

    def withdraw(self, order: VenueOrder) -> None:
        """Take an order out of the book, or let its stop wait no longer."""
        if order.entry is not None:
            self.book.remove(order.entry)
            order.entry = None
        self._stops[order.sign].disarm(order)
        if order in self._released:
            self._released.remove(order)

    def finish(self, order: VenueOrder, status: Status, text: str = "") -> None:
        """Take an order out and end it."""
        self.withdraw(order)
        self._clearing.end(order, status, text)

    def resize(self, order: VenueOrder) -> None:
        """Bring an order's place in the book in line with its leaves; its priority stays."""
        if order.entry is not None:
            order.entry.lots = order.leaves

    def execute(self, order: VenueOrder, lots: int, ticks: int) -> None:
        """Let an order trade with the crowd because the venue says so, whatever the book holds."""
        if order.entry is not None:
            self.book.take(order.entry, lots)
            if order.entry.lots <= 0:
                order.entry = None
        self._clearing.trade(self.listing, None, order, -order.sign, lots, ticks)
        if order.ended:
            self.withdraw(order)
        self.printed(ticks)
        self.settle()

    def would_cross(self, sign: int, limit: int) -> bool:
        """Tell whether a limit order would trade on arrival."""
        best = self.book.half(-sign).best()
        return best is not None and sign * best.price <= sign * limit

    def reducible(self, order: VenueOrder) -> int:
        """Return by how many lots an order of this side can bring its account nearer to zero."""
        return _reducible(order, self._position(order.account))

    def printed(self, ticks: int) -> None:
        """Take note of a traded price."""
        if ticks != self.last:
            self.last = ticks
            for stops in self._stops.values():
                stops.follow(ticks)

    def settle(self) -> None:
        """End an act: let what was released arrive, and the stops that the last price reached
        trade; then deliver reports.
        """
        while not self.halted:
            if self._released:
                self._place(self._released.pop(0))
                continue
            if self.last is None:
                break
            order = self._stops[1].due(self.last) or self._stops[-1].due(self.last)
            if order is None:
                break
            order.waiting = False
            self._work(order)
        self._clearing.flush()

    def sweep(self, sign: int, lots: int, limit: int | None) -> int:
        """Trade for the crowd against the book; returns the lots that found no counterpart."""
        half = self.book.half(-sign)
        while lots and (entry := half.best()) is not None:
            if limit is not None and sign * entry.price > sign * limit:
                break
            lots -= self.hit(entry, sign, lots)
        return lots

    def hit(self, entry: Entry, sign: int, lots: int) -> int:
        """Let the crowd trade with one entry; returns the lots traded, 0 where it had to go."""
        owner = entry.owner
        offered = entry.lots if owner is None else self._tradable(owner)
        if owner is not None and not offered:
            self.finish(owner, Status.CANCELED, "nothing left to reduce")
            return 0
        lots = min(lots, offered)
        self._trade(None, entry, sign, lots)
        return lots

    def _place(self, order: VenueOrder) -> None:
        if order.waiting:
            self._stops[order.sign].arm(order, self.last)
        else:
            self._work(order)

    def _work(self, order: VenueOrder) -> None:
        if self.listing.matching:
            if order.time_in_force is TimeInForce.FOK and not self._fillable(order):
                self._clearing.end(order, Status.CANCELED, "fill or kill: the book has too little")
                return
            self._take(order)
            if order.ended:
                return
            if order.reduce_only and not self.reducible(order):
                self._clearing.end(order, Status.CANCELED, "nothing left to reduce")
            elif order.limit is None or order.time_in_force in _IMMEDIATE:
                self._clearing.end(order, Status.CANCELED, "no more to trade with")
        if order.limit is not None and not order.ended:
            order.entry = Entry(order.broker_order_id, order.sign, order.limit, order.leaves, order)
            self.book.add(order.entry)

    def _take(self, order: VenueOrder) -> None:
        half, sign, limit = self.book.half(-order.sign), order.sign, order.limit
        while not order.ended and (entry := half.best()) is not None:
            if limit is not None and sign * entry.price > sign * limit:
                return
            owner, offered = entry.owner, entry.lots
            if owner is not None:
                if owner.account is order.account:
                    self._prevent(order, owner)
                    continue
                offered = self._tradable(owner)
                if not offered:
                    self.finish(owner, Status.CANCELED, "nothing left to reduce")
                    continue
            wanted = (
                self._tradable(order)
                if order.notional is None
                else self.listing.affordable(order.notional, entry.price)
            )
            lots = min(wanted, offered)
            if not lots:
                return
            self._trade(order, entry, sign, lots)

    def _trade(self, taker: VenueOrder | None, entry: Entry, sign: int, lots: int) -> None:
        maker = entry.owner
        self.book.take(entry, lots)
        if maker is not None and entry.lots <= 0:
            maker.entry = None
        if taker is not None or maker is not None:
            self._clearing.trade(self.listing, taker, maker, sign, lots, entry.price)
        self.printed(entry.price)

    def _prevent(self, newest: VenueOrder, oldest: VenueOrder) -> None:
        if self._self_trade is not SelfTrade.CANCEL_NEWEST:
            self.finish(oldest, Status.CANCELED, _PREVENTED)
        if self._self_trade is not SelfTrade.CANCEL_OLDEST:
            self._clearing.end(newest, Status.CANCELED, _PREVENTED)

    def _tradable(self, order: VenueOrder) -> int:
        return min(order.leaves, self.reducible(order)) if order.reduce_only else order.leaves

    def _position(self, account: Account) -> int:
        instrument = self.listing.instrument
        return int(CONTEXT.divide_int(account.position(instrument.symbol), instrument.lot))

    def _fillable(self, order: VenueOrder) -> bool:
        """Tell whether an order would fill completely now: the same rules, nothing changed."""
        positions: dict[str, int] = {}
        pairs: dict[object, int] = {}  # what linked exits may still trade, by their link
        wanted, money = order.leaves, order.notional
        if order.reduce_only and self.reducible(order) < wanted:
            return False
        for entry in self.book.half(-order.sign).walk():
            if order.limit is not None and order.sign * entry.price > order.sign * order.limit:
                break
            lots, owner = entry.lots, entry.owner
            if owner is not None:
                if owner.account is order.account:
                    if self._self_trade is SelfTrade.CANCEL_OLDEST:
                        continue
                    break
                position = positions.get(owner.account.name)
                if position is None:
                    position = self._position(owner.account)
                if owner.reduce_only:
                    lots = min(lots, _reducible(owner, position))
                if owner.link is not None and owner.is_exit:
                    left = pairs.get(owner.link, owner.leaves)
                    lots = min(lots, left)
                    pairs[owner.link] = left - lots
                positions[owner.account.name] = position + owner.sign * lots
            if money is None:
                wanted -= lots
                if wanted <= 0:
                    return True
                continue
            affordable = self.listing.affordable(money, entry.price)
            if not affordable:
                return False
            money = sub(money, self.listing.money(min(lots, affordable), entry.price))
            if not self.listing.affordable(money, entry.price):
                return True
        return False


def _reducible(order: VenueOrder, position: int) -> int:
    return max(0, -order.sign * position)
