"""What a desk's policies remember: switches, counts per minute and day, and rates per symbol.

Rule 1: like orders, this changes by folding events alone, and needs no configuration to be folded.
Rule 2: every list in it is bounded: counts are kept per second or minute, not per event.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.domain import events as e
from holdfast.domain.order import Order
from holdfast.domain.values import ZERO, Status
from holdfast.domain.wish import WishKind

NS_PER_S: Final = 1_000_000_000
# Seconds and minutes that are counted singly; no rule looks further back. A minute that begins
# within a second touches one second more.
SECONDS_MAX: Final = 61
MINUTES_MAX: Final = 60
# Alerts that are told apart: of codes the first so many, of codes and symbols the newest.
ALERT_CODES_MAX: Final = 100
ALERTS_APART_MAX: Final = 1_000
# What all further codes are counted under.
OTHER: Final = "other"
# The role of an order that flattens a symbol.
FLAT: Final = "flat"


class Buckets(Struct, gc=False, kw_only=True, omit_defaults=True):
    """Counts per span of time, the newest last; at most `most` of them are kept."""

    spans: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def add(self, span: int, most: int) -> None:
        """Count one in a span, and forget spans that are too old."""
        spans = self.spans
        if spans and spans[-1][0] >= span:
            last, count = spans[-1]
            spans[-1] = (last, count + 1)
            return
        spans.append((span, 1))
        if spans[0][0] <= span - most:
            self.spans = [each for each in spans if each[0] > span - most]

    def since(self, span: int) -> int:
        """Return how many were counted in that span and after it."""
        return sum(count for at, count in self.spans if at >= span)


class Kill(Struct, frozen=True, gc=False, kw_only=True):
    """Who engaged the kill switch, why, when, and whether positions are to be flattened."""

    by: str
    reason: str
    action: str
    at_ns: int


class Breaker(Struct, gc=False, kw_only=True, omit_defaults=True):
    """The circuit breaker: closed without a reason, else open until `until_ns`, then half open.

    `probe` is the number of the order that tries, `failures` the consecutive calls without a
    usable answer, `trips` how often it opened since it was last closed.
    """

    reason: str = ""
    until_ns: int = 0
    probe: int = 0
    failures: int = 0
    trips: int = 0


class Day(Struct, gc=False, kw_only=True, omit_defaults=True):
    """The trading day: orders submitted in it, and the equity that it began with.

    It ends at the desk time `until_ns`. `unvalued` are the positions without any price when it
    began: `equity` has them at cost, until their first price tells what they were worth.
    """

    name: str = ""
    began_ns: int = 0
    until_ns: int = 0
    equity: Decimal = ZERO
    unvalued: tuple[str, ...] = ()
    orders: int = 0
    requotes: dict[str, int] = msgspec.field(default_factory=dict)


class Power(Struct, frozen=True, gc=False, kw_only=True):
    """The account's buying power as the broker told it, and `Guard.opened` when it was asked."""

    amount: Decimal
    asked_ns: int
    opened: Decimal


class SymbolFigures(Struct, gc=False, kw_only=True, omit_defaults=True):
    """What became of a symbol's orders: ended, cancelled, their age then, and recent rates."""

    ended: int = 0
    cancelled: int = 0
    cancel_age_ns: int = 0
    recent_ended: Buckets = msgspec.field(default_factory=Buckets)
    recent_cancelled: Buckets = msgspec.field(default_factory=Buckets)


class Closing(Struct, gc=False, kw_only=True, omit_defaults=True):
    """How far a flattening is: since when, how many exits were tried, and the newest's number."""

    since_ns: int
    tries: int = 0
    number: int = 0


class Guard(Struct, kw_only=True, omit_defaults=True):
    """All that the policies of one desk remember.

    `opened` is the running value of what entries have bought or sold short, for comparing figures
    of an account that were asked for at different moments. `flattening` says, by symbol, who wants
    a position closed, and `closings` how far that is. `alerted` is when each alert was last raised.
    """

    kill: Kill | None = None
    breaker: Breaker = msgspec.field(default_factory=Breaker)
    day: Day = msgspec.field(default_factory=Day)
    power: Power | None = None
    opened: Decimal = ZERO
    submitted: Buckets = msgspec.field(default_factory=Buckets)
    timeouts: Buckets = msgspec.field(default_factory=Buckets)
    symbols: dict[str, SymbolFigures] = msgspec.field(default_factory=dict)
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    alerts: dict[str, int] = msgspec.field(default_factory=dict)
    alerted: dict[str, int] = msgspec.field(default_factory=dict)
    flattening: dict[str, str] = msgspec.field(default_factory=dict)
    closings: dict[str, Closing] = msgspec.field(default_factory=dict)
    batches: int = 0
    checks: int = 0

    def of(self, symbol: str) -> SymbolFigures:
        """Return a symbol's figures, begun where there are none."""
        found = self.symbols.get(symbol)
        if found is None:
            found = self.symbols[symbol] = SymbolFigures()
        return found


def _submitted(guard: Guard, event: e.OrderSubmitted) -> None:
    guard.submitted.add(event.at_ns // NS_PER_S, SECONDS_MAX)
    guard.day.orders += 1
    if event.role == FLAT and (closing := guard.closings.get(event.terms.symbol)) is not None:
        closing.tries += 1
        closing.number = event.number


def _killed(guard: Guard, event: e.KillSwitchEngaged) -> None:
    since_ns = guard.kill.at_ns if guard.kill is not None else event.at_ns
    guard.kill = Kill(by=event.by, reason=event.reason, action=event.action, at_ns=since_ns)


def _released(guard: Guard, _event: e.KillSwitchReleased) -> None:
    guard.kill = None


def _opened(guard: Guard, event: e.BreakerOpened) -> None:
    breaker = guard.breaker
    breaker.reason, breaker.until_ns = event.reason, event.until_ns
    breaker.probe, breaker.failures = 0, 0
    breaker.trips += 1


def _probed(guard: Guard, event: e.BreakerProbed) -> None:
    guard.breaker.probe = event.number


def _closed(guard: Guard, _event: e.BreakerClosed) -> None:
    guard.breaker = Breaker()


def _day(guard: Guard, event: e.DayBegan) -> None:
    # ZERO itself, so that nothing is written of it, whether it was computed or read.
    guard.day = Day(
        name=event.day,
        began_ns=event.at_ns,
        until_ns=event.until_ns,
        equity=event.equity or ZERO,
        unvalued=event.unvalued,
    )


def _valued(guard: Guard, event: e.DayValued) -> None:
    day = guard.day
    day.equity = event.equity or ZERO
    day.unvalued = tuple(symbol for symbol in day.unvalued if symbol != event.symbol)


def _power(guard: Guard, event: e.BuyingPowerSet) -> None:
    guard.power = Power(amount=event.amount, asked_ns=event.asked_ns, opened=event.opened)


def _refused(guard: Guard, event: e.RefusalRecorded) -> None:
    guard.refusals[event.code] = guard.refusals.get(event.code, 0) + 1 + event.repeats


def _alerted(guard: Guard, event: e.AlertRaised) -> None:
    counts, alerted = guard.alerts, guard.alerted
    code = event.code if event.code in counts or len(counts) < ALERT_CODES_MAX else OTHER
    counts[code] = counts.get(code, 0) + 1
    if event.repeats:
        counts[OTHER] = counts.get(OTHER, 0) + event.repeats
    key = f"{event.code} {event.symbol}"
    alerted.pop(key, None)  # the oldest are first, and forgotten first
    alerted[key] = event.at_ns
    if len(alerted) > ALERTS_APART_MAX:
        del alerted[next(iter(alerted))]


def _swept(guard: Guard, event: e.OrdersSwept) -> None:
    guard.batches = max(guard.batches, event.batch)


def _flatten(guard: Guard, event: e.FlattenStarted) -> None:
    guard.flattening[event.symbol] = event.by
    if event.symbol not in guard.closings:
        guard.closings[event.symbol] = Closing(since_ns=event.at_ns)


def _flat(guard: Guard, event: e.FlattenEnded) -> None:
    guard.flattening.pop(event.symbol, None)
    guard.closings.pop(event.symbol, None)


# What a desk's own events change; `OrderSubmitted` is folded when its order is entered.
DESK_FOLDS: Final[dict[type, Callable[[Guard, Any], None]]] = {
    e.OrderSubmitted: _submitted,
    e.RefusalRecorded: _refused,
    e.KillSwitchEngaged: _killed,
    e.KillSwitchReleased: _released,
    e.BreakerOpened: _opened,
    e.BreakerProbed: _probed,
    e.BreakerClosed: _closed,
    e.DayBegan: _day,
    e.DayValued: _valued,
    e.BuyingPowerSet: _power,
    e.AlertRaised: _alerted,
    e.OrdersSwept: _swept,
    e.FlattenStarted: _flatten,
    e.FlattenEnded: _flat,
}


def _answered(guard: Guard, _event: e.AnyEvent, _order: Order) -> None:
    guard.breaker.failures = 0


def _failed_call(guard: Guard, event: e.WishUnknown | e.WishDelayed, order: Order) -> None:
    if isinstance(event, e.WishDelayed) and event.waited:
        return
    wish = order.wish(event.wish)
    if wish is not None and wish.kind is WishKind.SUBMIT:
        guard.breaker.failures += 1
    if isinstance(event, e.WishUnknown):
        guard.timeouts.add(event.at_ns // (60 * NS_PER_S), MINUTES_MAX)


def count_ended(guard: Guard, order: Order, at_ns: int) -> None:
    """Count an order that has just ended, whichever way, and how old it was if cancelled."""
    figures, minute = guard.of(order.terms.symbol), at_ns // (60 * NS_PER_S)
    figures.ended += 1
    figures.recent_ended.add(minute, MINUTES_MAX)
    if order.status is Status.CANCELED:
        figures.cancelled += 1
        figures.cancel_age_ns += at_ns - order.created_ns
        figures.recent_cancelled.add(minute, MINUTES_MAX)


def _requoted(guard: Guard, _event: e.RequoteDecided, order: Order) -> None:
    symbol = order.terms.symbol
    guard.day.requotes[symbol] = guard.day.requotes.get(symbol, 0) + 1


def _not_succeeded(guard: Guard, event: e.RequoteDropped, order: Order) -> None:
    """An order that ended in order to move ends for good without a successor."""
    if order.is_terminal:
        count_ended(guard, order, event.at_ns)


def _checked(guard: Guard, _event: e.StatusChecked, _order: Order) -> None:
    guard.checks += 1


# What an order's event means for the desk, beside what it does to its order.
ORDER_FOLDS: Final[dict[type, Callable[[Guard, Any, Order], None]]] = {
    e.OrderAccepted: _answered,
    e.OrderRejected: _answered,
    e.WishUnknown: _failed_call,
    e.WishDelayed: _failed_call,
    e.RequoteDecided: _requoted,
    e.RequoteDropped: _not_succeeded,
    e.StatusChecked: _checked,
}
