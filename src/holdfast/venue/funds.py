"""What an account can still pay for, where it was opened with cash.

Rule 1: an order needs the worth of what it would open; what it closes needs nothing. Orders of a
side close the position in their order of arrival, and reduce-only orders never open. Linked exits
count once, held ones not yet.
Rule 2: a short position ties up twice what it is worth: what its sale brought, which is in the
cash, and as much again. There is no credit and no interest.
Rule 3: an order that rests is worth its limit or stop price, one that takes is worth what the
book asks for it. Fees are not foreseen, so that they may leave less than nothing.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import ZERO, add, mul, plain, sub
from holdfast.venue.matching import Matcher
from holdfast.venue.orders import Account, VenueOrder
from holdfast.venue.rules import refused, reserving

_Markets = Mapping[str, Matcher]
_Wanting = tuple[VenueOrder, int]  # an order and the lots that it still wants


def power(account: Account, markets: _Markets) -> Decimal | None:
    """Return what the account can still pay for; None where it was opened without cash."""
    if account.cash is None:
        return None
    working = [(order, order.leaves) for order in account.working.values()]
    held = _held(account, account.currency, markets)
    return sub(held, _reserved(working, account.currency, markets))


def unfunded(
    order: VenueOrder, lots: int, markets: _Markets, *, instead_of: VenueOrder | None = None
) -> Refused | None:
    """Refuse an order for so many lots that its account cannot pay, beside those that work.

    One that comes in the place of another is not refused for needing as little as that one.
    """
    account, currency = order.account, order.listing.instrument.currency
    if account.cash is None:
        return None
    others = [(each, each.leaves) for each in account.working.values() if each is not instead_of]
    reserved = _reserved(others, currency, markets)
    need = sub(_reserved([*others, (order, lots)], currency, markets), reserved)
    if instead_of is not None:
        before = [*others, (instead_of, instead_of.leaves)]
        if need <= sub(_reserved(before, currency, markets), reserved):
            return None
    left = sub(_held(account, currency, markets), reserved)
    if need <= max(left, ZERO):
        return None
    text = f"insufficient funds: {plain(need)} {currency} needed, {plain(left)} left"
    return refused(text, RefusalCode.INSUFFICIENT_FUNDS)


def _held(account: Account, currency: str, markets: _Markets) -> Decimal:
    """Return the cash of a currency without what short positions tie up."""
    own = account.cash if account.cash is not None and currency == account.currency else ZERO
    held = add(own, account.ledger.cash.get(currency, ZERO))
    for symbol, position in account.ledger.positions.items():
        market = markets[symbol]
        instrument, last = market.listing.instrument, market.last
        if position < 0 and instrument.currency == currency and last is not None:
            worth = instrument.money(-position, max(market.listing.price(last), ZERO))
            held = sub(held, mul(worth, Decimal(2)))
    return held


def _reserved(orders: Iterable[_Wanting], currency: str, markets: _Markets) -> Decimal:
    """Return what orders would open is worth, those of a side closing in the order given."""
    reserved = ZERO
    closable: dict[tuple[str, int], int] = {}
    lots_wanted = dict(orders)
    for order in reserving(lots_wanted):
        instrument = order.listing.instrument
        if order.reduce_only or instrument.currency != currency:
            continue
        market, side = markets[instrument.symbol], (instrument.symbol, order.sign)
        lots = lots_wanted[order] if order.notional is None else _payable(order, market)
        left = closable.setdefault(side, market.reducible(order))
        closing = min(left, lots)
        closable[side] = left - closing
        if lots > closing:
            reserved = add(reserved, _worth(order, closing, lots - closing, market))
    return reserved


def _worth(order: VenueOrder, closing: int, opening: int, market: Matcher) -> Decimal:
    """Return what lots are worth that an order takes after those by which it closes."""
    listing = order.listing
    price = order.limit if order.limit is not None else order.stop
    if price is not None:
        return listing.money(opening, max(price, 0))
    worth = ZERO
    for entry in market.book.half(-order.sign).walk():
        skipped = min(closing, entry.lots)
        lots = min(opening, entry.lots - skipped)
        worth = add(worth, listing.money(lots, max(entry.price, 0)))
        closing, opening = closing - skipped, opening - lots
        if not opening:
            break
    return worth


def _payable(order: VenueOrder, market: Matcher) -> int:
    """Return how many lots an order sized by notional buys at the best price there is."""
    best = market.book.half(-order.sign).best()
    if best is None or order.notional is None:
        return 0
    return order.listing.affordable(order.notional, best.price)
