"""Trading days: when one begins, what the desk was worth then, and what it lost since.

A day begins at a wall time of the policies' zone. It is turned with the first order after that,
and only on desks that something is counted or measured by the day on: where it was not turned,
yesterday's counts are no longer looked at.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import DayRules
from holdfast.domain.requests import OrderTerms
from holdfast.domain.sessions import NS_PER_S, at_ns, time_of, zone_of
from holdfast.domain.values import ZERO, rounded_add, rounded_sub

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def turn_day(desk: "Desk") -> None:
    """Begin a trading day, if the last one is over."""
    if is_over(desk):
        day, ends_ns = day_of(desk.settings.policies.day, desk.wall_ns)
        desk.out(e.DayBegan(at_ns=desk.now_ns, day=day, equity=equity(desk), ends_ns=ends_ns))


def turn_valued_day(desk: "Desk") -> None:
    """Begin a trading day as soon as every position can be valued.

    After a start no quote is known yet: a loss carried over would count as one of today.
    """
    if is_over(desk) and all(
        symbol in desk.quotes for symbol, held in desk.positions.items() if held.quantity
    ):
        turn_day(desk)


def counts_days(desk: "Desk", terms: OrderTerms) -> bool:
    """Tell whether days matter: a daily limit is set, or the order may be moved so often a day."""
    limits = desk.settings.policies.limits
    has_limit = limits.daily_loss_max is not None or limits.orders_per_day_max is not None
    return has_limit or terms.peg is not None


def is_over(desk: "Desk") -> bool:
    """Tell whether the trading day that the desk counts in is over, or none began yet."""
    return desk.wall_ns >= desk.guard.day.ends_ns


def day_of(rules: DayRules, wall_ns: int) -> tuple[str, int]:
    """Return the date on which the trading day of a moment began, and when it ends (UTC ns)."""
    start = time_of(rules.start)
    local = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC).astimezone(zone_of(rules.zone)).date()
    ends = local
    while (ends_ns := at_ns(ends, start, rules.zone)) <= wall_ns:
        ends += timedelta(days=1)
    return (ends - timedelta(days=1)).isoformat(), ends_ns


def orders_today(desk: "Desk") -> int:
    """Return how many orders were submitted on this trading day."""
    return 0 if is_over(desk) else desk.guard.day.orders


def equity(desk: "Desk") -> Decimal:
    """Return realised profit less fees plus open profit, in the desk's currency.

    A position counts at its latest quote, however old, so that it does not lose or gain by going
    quiet; without any at its cost. Fees in other currencies are not counted.
    """
    total = profit(desk)
    for symbol, position in desk.positions.items():
        quote = desk.quotes.get(symbol) if position.quantity else None
        mark = quote.mark if quote is not None else None
        if mark is not None:
            total = rounded_add(total, position.unrealised(_instrument(desk, symbol), mark))
    return total


def profit(desk: "Desk") -> Decimal:
    """Return realised profit less fees, in the desk's currency."""
    total, currency = ZERO, desk.currency
    for symbol, position in desk.positions.items():
        total = rounded_add(total, position.realised(_instrument(desk, symbol)))
        total = rounded_sub(total, position.fees.get(currency, ZERO))
    return total


def daily_loss(desk: "Desk") -> Decimal:
    """Return what the desk lost on this trading day, 0 where it gained or no day began."""
    if is_over(desk):
        return ZERO
    return max(rounded_sub(desk.guard.day.equity, equity(desk)), ZERO)


def _instrument(desk: "Desk", symbol: str) -> Instrument:
    return desk.instruments.get(symbol) or Instrument(symbol=symbol)
