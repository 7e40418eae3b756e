"""What a desk holds per symbol, and what it made: average cost, long, short and flips.

Rule 1: quantity and cash are primary and exact. Cash is money in points (price times quantity);
the instrument's multiplier is applied in the views.
Rule 2: the cost of the open quantity, and with it average and realised profit, are views: a
partial close divides. Whenever the position is flat they are made exact again from cash. What is
kept of a quotient is rounded to a fixed scale first, so that it adds up exactly ever after.
Rule 3: a fill costs the same however large the position or long its history. Only an amendment
(bust, correction, real for inferred) folds the recent trades again, as if it had been known in
the first place.
Rule 4: fees are kept per currency, apart from the profit; a fee in the base asset takes quantity,
and what that had cost is kept as lost.
"""

from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.executions import Change
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import (
    DECIMALS_MAX,
    ONE,
    VIEW,
    ZERO,
    Side,
    add,
    mul,
    neg,
    ratio,
    rounded_add,
    rounded_div,
    rounded_mul,
    rounded_sub,
    sub,
)

# So many recent trades of a symbol are kept singly. An amendment of an older one corrects quantity
# and cash exactly, and the average as if the trade had been undone at its own price now.
TRAIL_MAX: Final = 4_096
# As fine as the product of two amounts can be.
_SCALE: Final = ONE.scaleb(-2 * DECIMALS_MAX)


class Book(Struct, gc=False, kw_only=True, omit_defaults=True):
    """The foldable part of a position: signed quantity, cost of it, cash and realised, in points.

    `spent` is cash since the last flat and `settled` the cash made up to then. `lost` is the cost
    of all that fees in the base asset took: profit before fees is what was made and that.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    cash: Decimal = ZERO
    realised: Decimal = ZERO
    spent: Decimal = ZERO
    settled: Decimal = ZERO
    lost: Decimal = ZERO

    def trade(self, quantity: Decimal, price: Decimal) -> None:
        """Fold a signed quantity at a price: open, close, or close and flip."""
        held = self.quantity
        value = mul(quantity, price)
        if not held or (held > 0) == (quantity > 0):
            self.quantity = add(held, quantity)
            self.cost = rounded_add(self.cost, value)
            self.cash = sub(self.cash, value)
            self.spent = sub(self.spent, value)
            return
        left = add(held, quantity)
        if left and (left > 0) != (held > 0):
            self.trade(neg(held), price)
            self.trade(left, price)
            return
        self.cash = sub(self.cash, value)
        self.spent = sub(self.spent, value)
        self.quantity = left
        if not left:
            self._settle()
            return
        released = rounded_div(rounded_mul(self.cost, quantity), held)
        self.cost = rounded_add(self.cost, released)
        self.realised = rounded_sub(self.realised, rounded_sub(value, released))

    def take_fee(self, quantity: Decimal) -> None:
        """Take a fee in the base asset; it takes its share of the cost along."""
        held = self.quantity
        self.quantity = sub(held, quantity)
        if held:
            share = rounded_div(rounded_mul(self.cost, quantity), held).quantize(_SCALE, None, VIEW)
            self.cost = rounded_sub(self.cost, share)
            self.lost = add(self.lost, share)
        if not self.quantity:
            self._settle()

    def _settle(self) -> None:
        """Make the profit exact now that the position is flat."""
        self.settled = add(self.settled, self.spent)
        self.realised = add(self.settled, self.lost)
        self.spent, self.cost = ZERO, ZERO


class Trade(Struct, frozen=True, gc=False, array_like=True):
    """A signed quantity at a price, and what a fee took of the quantity.

    `number` and `execution_id` say whose it is, so that a bust takes back this one and no other.
    """

    number: int
    execution_id: str
    quantity: Decimal
    price: Decimal
    taken: Decimal = ZERO


class Position(Struct, kw_only=True, omit_defaults=True):
    """One symbol of a desk: `book` is `base` and every trade of `trail` folded into it.

    `middle` is the book as of the first `split` trades; it becomes the base once as many have
    followed, so that no trade is folded twice on its way.
    """

    symbol: str
    book: Book = msgspec.field(default_factory=Book)
    base: Book = msgspec.field(default_factory=Book)
    middle: Book = msgspec.field(default_factory=Book)
    split: int = 0
    trail: list[Trade] = msgspec.field(default_factory=list)
    fees: dict[str, Decimal] = msgspec.field(default_factory=dict)

    @property
    def quantity(self) -> Decimal:
        """Signed quantity: above zero long, below zero short."""
        return self.book.quantity

    @property
    def average_price(self) -> Decimal:
        """Average price of the open quantity, rounded to 60 digits; 0 when flat."""
        return ratio(self.book.cost, self.book.quantity) if self.book.quantity else ZERO

    def realised(self, instrument: Instrument) -> Decimal:
        """Profit of what was closed, before fees, in the instrument's currency."""
        return rounded_mul(self.book.realised, instrument.multiplier)

    def lost(self, instrument: Instrument) -> Decimal:
        """Cost of what fees in the base asset took, in the instrument's currency."""
        return rounded_mul(self.book.lost, instrument.multiplier)

    def unrealised(self, instrument: Instrument, price: Decimal) -> Decimal:
        """Profit of the open quantity at a price, in the instrument's currency."""
        worth = rounded_sub(mul(self.book.quantity, price), self.book.cost)
        return rounded_mul(worth, instrument.multiplier)

    def cash(self, instrument: Instrument) -> Decimal:
        """Money received less money paid for all trades, before fees, exact."""
        return mul(self.book.cash, instrument.multiplier)

    def open(self, quantity: Decimal, price: Decimal) -> None:
        """Begin with a quantity that was there before; it moved no cash of this desk."""
        value = mul(quantity, price)
        self.base = Book(quantity=quantity, cost=value, spent=neg(value))
        self._refold()

    def fold(self, number: int, side: Side, changes: list[Change], base_asset: str) -> None:
        """Follow what a fill, bust or correction of an order changed."""
        for change in changes:
            if change.amends:
                self._amend(number, side, changes, base_asset)
                return
        for change in changes:
            trade = self._trade(number, side, change, base_asset)
            self.trail.append(trade)
            _fold(self.book, trade)
        if len(self.trail) >= self.split + TRAIL_MAX // 2:
            del self.trail[: self.split]
            self.base, self.split = self.middle, len(self.trail)
            self.middle = msgspec.structs.replace(self.book)

    def _trade(self, number: int, side: Side, change: Change, base_asset: str) -> Trade:
        taken = ZERO
        if change.fee is not None:
            currency = change.fee_currency
            self.fees[currency] = add(self.fees.get(currency, ZERO), change.fee)
            taken = change.fee if base_asset and currency == base_asset else ZERO
        quantity = change.quantity if side is Side.BUY else neg(change.quantity)
        return Trade(number, change.execution_id, quantity, change.price, taken)

    def _amend(self, number: int, side: Side, changes: list[Change], base_asset: str) -> None:
        """Put each new version where the trade that it replaces stood, then fold again."""
        place = len(self.trail)
        for change in changes:
            trade = self._trade(number, side, change, base_asset)
            found = self._undone(trade) if change.quantity < 0 else None
            if found is not None:
                place = found
            elif trade.quantity or trade.taken:
                self.trail.insert(place, trade)
                place += 1
        self._refold()

    def _undone(self, undo: Trade) -> int | None:
        """Take what `undo` reverses out of the trail and return where it was."""
        for place in range(len(self.trail) - 1, -1, -1):
            trade = self.trail[place]
            if trade.execution_id != undo.execution_id or trade.number != undo.number:
                continue
            rest = add(trade.quantity, undo.quantity)
            if trade.price != undo.price or abs(rest) >= abs(trade.quantity):
                continue
            taken = add(trade.taken, undo.taken)
            if rest or taken:
                self.trail[place] = msgspec.structs.replace(trade, quantity=rest, taken=taken)
                return place + 1
            del self.trail[place]
            return place
        return None

    def _refold(self) -> None:
        self.book = msgspec.structs.replace(self.base)
        self.split = min(self.split, len(self.trail))
        for trade in self.trail[: self.split]:
            _fold(self.book, trade)
        self.middle = msgspec.structs.replace(self.book)
        for trade in self.trail[self.split :]:
            _fold(self.book, trade)


def _fold(book: Book, trade: Trade) -> None:
    if trade.quantity:
        book.trade(trade.quantity, trade.price)
    if trade.taken:
        book.take_fee(trade.taken)
