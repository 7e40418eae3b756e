"""Trading days: when one begins, what the desk was worth then, and what it lost since.

Rule 1: a day begins at a wall time of the policies' zone and lasts so long in desk time, whoever
sets the clock meanwhile. It is turned with the first order after that, or, where loss is measured,
with whatever comes first. Where nothing goes by the day, none is turned.
Rule 2: loss is judged only where every position can be valued: at its latest quote, or at cost if
there was none when the day began. The first quote of such a position corrects what the day began
with, so that what it lost before that is no loss of today.
Rule 3: after a restart a position that had a price lacks it until the first quote. Until then
nobody can tell the loss: the breaker does not open, and entries wait.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import DayRules
from holdfast.domain.requests import OrderTerms
from holdfast.domain.sessions import NS_PER_S, at_ns, time_of, zone_of
from holdfast.domain.values import ZERO, rounded_add, rounded_sub
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Why the breaker opens on a loss, and why it closes again.
DAILY_LOSS: Final = "DAILY_LOSS"
DAY_TURNED: Final = "DAY_TURNED"
# What people are told where a position has no price.
DAY_AT_COST: Final = "day_at_cost"
# So long after a day's beginning entries wait for the prices of what is held.
VALUE_WAIT_MS: Final = 60_000


def turn_day(desk: "Desk") -> None:
    """Begin a trading day, if the last one is over; what was stopped for its loss goes on."""
    if not is_over(desk):
        return
    rules, guard = desk.settings.policies.day, desk.guard
    day, ends_ns = day_of(rules, desk.wall_ns)
    if guard.day.until_ns and day <= guard.day.name:
        # The clock was set back; what was counted as a day is not begun a second time.
        day, ends_ns = day_of(rules, ends_ns)
    began = e.DayBegan(
        at_ns=desk.now_ns,
        day=day,
        equity=equity(desk),
        ends_ns=ends_ns,
        until_ns=desk.now_ns + ends_ns - desk.wall_ns,
        unvalued=_unquoted(desk),
    )
    desk.out(began)
    if guard.breaker.reason == DAILY_LOSS:
        desk.out(e.BreakerClosed(at_ns=desk.now_ns, reason=DAY_TURNED))


def keep_day(desk: "Desk") -> None:
    """Turn the day where loss is measured, and value what it began with as prices come."""
    day = desk.guard.day
    if day.until_ns or desk.positions:
        turn_day(desk)
    for symbol in desk.guard.day.unvalued:
        if _mark(desk, symbol) is not None:
            worth = rounded_add(desk.guard.day.equity, _unrealised(desk, symbol))
            desk.out(e.DayValued(at_ns=desk.now_ns, symbol=symbol, equity=worth))
    _warn(desk)


def _warn(desk: "Desk") -> None:
    """Tell people once a day of positions whose loss is not seen."""
    day = desk.guard.day
    due_ns = day.began_ns + VALUE_WAIT_MS * NS_PER_MS
    symbols = [symbol for symbol in day.unvalued if _is_held(desk, symbol)]
    last_ns = desk.guard.alerted.get(f"{DAY_AT_COST} ", 0)
    if symbols and last_ns < due_ns <= desk.now_ns:
        text = (
            f"the day began without any price of {', '.join(symbols[:10])}; until one comes these "
            "positions count at cost, and a loss of theirs is not seen: look at the quotes"
        )
        desk.out(e.AlertRaised(at_ns=desk.now_ns, code=DAY_AT_COST, text=text))


def counts_days(desk: "Desk", terms: OrderTerms) -> bool:
    """Tell whether days matter: a daily limit is set, or the order may be moved so often a day."""
    limits = desk.settings.policies.limits
    has_limit = limits.daily_loss_max is not None or limits.orders_per_day_max is not None
    return has_limit or terms.peg is not None


def is_over(desk: "Desk") -> bool:
    """Tell whether the trading day that the desk counts in is over, or none began yet."""
    return desk.now_ns >= desk.guard.day.until_ns


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
    for symbol in desk.positions:
        total = rounded_add(total, _unrealised(desk, symbol))
    return total


def profit(desk: "Desk") -> Decimal:
    """Return realised profit less fees, those taken in the base asset too, in desk currency."""
    total, currency = ZERO, desk.currency
    for symbol, position in desk.positions.items():
        instrument = _instrument(desk, symbol)
        total = rounded_add(total, position.realised(instrument))
        total = rounded_sub(total, position.lost(instrument))
        total = rounded_sub(total, position.fees.get(currency, ZERO))
    return total


def daily_loss(desk: "Desk") -> Decimal | None:
    """Return what the desk lost on this trading day, 0 where it gained or no day began.

    None where that cannot be told: a position that the day began with a price of has none now.
    """
    if is_over(desk):
        return ZERO
    day = desk.guard.day
    if any(symbol not in day.unvalued for symbol in _unquoted(desk)):
        return None
    return max(rounded_sub(day.equity, equity(desk)), ZERO)


def awaited(desk: "Desk") -> tuple[str, ...]:
    """Return the positions whose prices entries wait for before a loss can be judged.

    Those that the day began without any price of are waited for so long, and then count at cost.
    """
    day, unquoted = desk.guard.day, _unquoted(desk)
    if desk.now_ns < day.began_ns + VALUE_WAIT_MS * NS_PER_MS:
        return unquoted
    return tuple(symbol for symbol in unquoted if symbol not in day.unvalued)


def _unquoted(desk: "Desk") -> tuple[str, ...]:
    return tuple(
        symbol
        for symbol in desk.positions
        if _is_held(desk, symbol) and _mark(desk, symbol) is None
    )


def _is_held(desk: "Desk", symbol: str) -> bool:
    position = desk.positions.get(symbol)
    return position is not None and bool(position.quantity)


def _mark(desk: "Desk", symbol: str) -> Decimal | None:
    quote = desk.quotes.get(symbol)
    return quote.mark if quote is not None else None


def _unrealised(desk: "Desk", symbol: str) -> Decimal:
    """Return the open profit of a symbol at its latest quote, 0 without any."""
    position, mark = desk.positions.get(symbol), _mark(desk, symbol)
    if position is None or not position.quantity or mark is None:
        return ZERO
    return position.unrealised(_instrument(desk, symbol), mark)


def _instrument(desk: "Desk", symbol: str) -> Instrument:
    return desk.instruments.get(symbol) or Instrument(symbol=symbol)
