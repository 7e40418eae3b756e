"""The orders by which a policy closes a position: at the market, wherever the broker takes that.

A broker without market orders gets a limit order that reaches past the market as far as the
slippage guard goes. Such an order may stay behind: whoever sends it looks after it.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.group import Group
from holdfast.domain.pricing import ceil_to, floor_to
from holdfast.domain.quotes import Quote, fresh_quote
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import (
    OrderType,
    Side,
    TimeInForce,
    rounded_add,
    rounded_mul,
    rounded_sub,
)
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_PERCENT: Final = Decimal("0.01")
# The first of these that the broker takes will do: a market order lives for a moment, and what is
# left of a limit order is to end rather than to rest.
_FOR_MARKET: Final = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC)
_FOR_LIMIT: Final = (TimeInForce.IOC, TimeInForce.GTC, TimeInForce.DAY)


def submit_exit(
    desk: "Desk",
    symbol: str,
    side: Side,
    quantity: Decimal,
    role: str,
    group: Group | None = None,
) -> int:
    """Send a reduce-only order for a policy; return its number, 0 where only a quote is missing.

    The caller answers for its size: no limit is asked. With a `group` it is a member there.
    """
    at_market, quote, price = _goes_to_market(desk), None, None
    if not at_market:
        quote = fresh_quote(desk, symbol)
        price = _reaching(desk, symbol, side, quote)
        if price is None:
            return 0
    can = desk.capabilities.times_in_force
    wanted = _FOR_MARKET if at_market else _FOR_LIMIT
    terms = OrderTerms(
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=OrderType.MARKET if at_market else OrderType.LIMIT,
        limit_price=price,
        time_in_force=next((one for one in wanted if one in can), wanted[0]),
        reduce_only=True,
    )
    now, settings, number = desk.now_ns, desk.settings, desk.next_number
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + settings.send_wait_ms * NS_PER_MS,
            idempotency_key=group.key if group is not None and not group.orders else "",
            strategy=group.strategy if group is not None else "",
            role=role,
            reducing=True,
            quote=quote,
            group=group.group if group is not None else 0,
            turn=group.slot(role).submits + 1 if group is not None else 0,
            due=quantity if group is not None else None,
        )
    )
    return number


def _goes_to_market(desk: "Desk") -> bool:
    """A broker that seems to take neither type is asked for the market, and may refuse it."""
    types = desk.capabilities.order_types
    return OrderType.MARKET in types or OrderType.LIMIT not in types


def _reaching(desk: "Desk", symbol: str, side: Side, quote: Quote | None) -> Decimal | None:
    """Return a limit price past what the other side offers; None where nobody can tell."""
    offered = quote.taken(side) if quote is not None else None
    if offered is None or offered <= 0:
        return None
    tick = desk.instruments[symbol].tick
    slack = rounded_mul(offered, desk.settings.policies.pricing.offsets.max_slippage_pct)
    slack = rounded_mul(slack, _PERCENT)
    if side is Side.BUY:
        return ceil_to(rounded_add(offered, slack), tick)
    return max(floor_to(rounded_sub(offered, slack), tick), tick)
