"""Limit prices that the desk makes: from a reference price and an offset, or from a quote.

Rule: first the offset, then the tick, and only then is the price judged: that it is above zero,
and, for an entry, that it is no further from its reference than the slippage guard allows.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Offsets
from holdfast.domain.quotes import Quote
from holdfast.domain.refusals import refused
from holdfast.domain.requests import (
    OrderRequest,
    OrderTerms,
    Peg,
    PegTo,
    Priced,
    check_size,
    check_unpriced,
    choice,
)
from holdfast.domain.values import (
    CONTEXT,
    ZERO,
    Side,
    amount,
    is_multiple,
    mul,
    rounded_add,
    rounded_mul,
    rounded_sub,
)
from holdfast.errors import AmountError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_HUNDRED: Final = Decimal(100)
_BPS: Final = Decimal("0.0001")
_PERCENT: Final = Decimal("0.01")


def price(
    desk: "Desk",
    request: OrderRequest,
    instrument: Instrument,
    quote: Quote | None,
    twin: Order | None,
) -> Priced | None:
    """Price a request that leaves its limit price to the desk; None for any other.

    `twin` is the order that has the request's id or key already: a repeat is compared under the
    price of the first, however offsets and quotes moved since.

    Raises:
        InputError: the request contradicts itself, or the computed price is not above zero.
        OrderRefused: `NO_QUOTE` where there is nothing to follow.
    """
    if request.reference_price is None and request.peg is None:
        return None
    side = check_unpriced(request)
    check_size(request, instrument)
    offsets = desk.settings.policies.pricing.of(request.strategy)
    if request.peg is not None:
        return _price_of_peg(request, side, instrument, offsets, quote, twin)
    reference = amount(request.reference_price, "reference_price")
    if twin is not None:
        return Priced(limit_price=twin.asked.limit_price, reference_price=reference)
    limit = limit_from(reference, side, offsets, instrument)
    return Priced(limit_price=limit, reference_price=reference)


def limit_from(reference: Decimal, side: Side, offsets: Offsets, instrument: Instrument) -> Decimal:
    """Return the limit price: below the reference to buy, above it to sell, then up to the tick.

    Raises:
        AmountError: it is not above zero.
    """
    offset = offsets.buy_offset if side is Side.BUY else offsets.sell_offset
    if offsets.offset_mode == "bps":
        distance = rounded_mul(rounded_mul(reference, offset), _BPS)
    else:
        distance = offset
    shifted = rounded_sub if side is Side.BUY else rounded_add
    limit = ceil_to(shifted(reference, distance), instrument.tick)
    if limit <= 0:
        raise AmountError(
            f"the computed limit price is {limit} and must be positive: reference {reference}, "
            f"{side} offset {offset} {offsets.offset_mode}; lower the offset"
        )
    return limit


def check_slippage(terms: OrderTerms, offsets: Offsets) -> None:
    """Refuse an entry whose limit price is too far from its reference, on either side.

    Raises:
        OrderRefused: `SLIPPAGE`.
    """
    reference, limit = terms.reference_price, terms.limit_price
    if reference is None or limit is None:
        return
    distance = abs(rounded_sub(reference, limit))
    if rounded_mul(distance, _HUNDRED) > rounded_mul(reference, offsets.max_slippage_pct):
        raise refused(
            "SLIPPAGE",
            "slippage beyond the guard; lower the offset or raise max_slippage_pct",
            limit_price=limit,
            reference_price=reference,
            max_slippage_pct=offsets.max_slippage_pct,
        )


def _price_of_peg(
    request: OrderRequest,
    side: Side,
    instrument: Instrument,
    offsets: Offsets,
    quote: Quote | None,
    twin: Order | None,
) -> Priced:
    to = choice(PegTo, request.peg, "peg")
    offset = ZERO
    if request.peg_offset is not None:
        offset = amount(request.peg_offset, "peg_offset", signed=True)
    if twin is not None:
        worst = twin.asked.peg.worst if twin.asked.peg is not None else ZERO
        peg = Peg(to=to, offset=offset, worst=worst)
        return Priced(limit_price=twin.asked.limit_price, peg=peg)
    mark = quote.mark if quote is not None else None
    limit = None
    if quote is not None and mark is not None:
        peg = Peg(to=to, offset=offset, worst=_worst(mark, side, offsets, instrument))
        limit = peg_price(peg, side, quote, instrument)
    if limit is None:
        raise refused(
            "NO_QUOTE",
            f"a peg to the {to} needs a fresh quote that has it; try again, or give a limit_price",
            symbol=request.symbol,
            quote=quote,
        )
    return Priced(limit_price=limit, peg=peg)


def peg_price(peg: Peg, side: Side, quote: Quote, instrument: Instrument) -> Decimal | None:
    """Return the limit price that a quote gives to a pegged order, never past the peg's worst.

    A purchase is rounded down to the tick and a sale up. None where the quote lacks the price that
    is followed, or the result is not above zero.
    """
    followed = {PegTo.BID: quote.bid, PegTo.ASK: quote.ask, PegTo.MID: quote.mid}[peg.to]
    if followed is None:
        return None
    target = rounded_add(followed, peg.offset)
    if side is Side.BUY:
        limit = min(floor_to(target, instrument.tick), peg.worst)
    else:
        limit = max(ceil_to(target, instrument.tick), peg.worst)
    return limit if limit > 0 else None


def _worst(mark: Decimal, side: Side, offsets: Offsets, instrument: Instrument) -> Decimal:
    distance = rounded_mul(rounded_mul(mark, offsets.max_slippage_pct), _PERCENT)
    if side is Side.BUY:
        return floor_to(rounded_add(mark, distance), instrument.tick)
    return ceil_to(rounded_sub(mark, distance), instrument.tick)


def floor_to(price: Decimal, tick: Decimal) -> Decimal:
    """Return the highest price on the tick grid that is not above this one."""
    below = mul(CONTEXT.divide_int(price, tick), tick)
    return below if price >= 0 or is_multiple(price, tick) else rounded_sub(below, tick)


def ceil_to(price: Decimal, tick: Decimal) -> Decimal:
    """Return the lowest price on the tick grid that is not below this one."""
    below = mul(CONTEXT.divide_int(price, tick), tick)
    return below if price <= 0 or is_multiple(price, tick) else rounded_add(below, tick)
