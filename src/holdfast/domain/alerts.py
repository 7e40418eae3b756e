"""Alerts: what people should look at, each at most once per window of time."""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.guard import NS_PER_S
from holdfast.domain.inputs import Raise
from holdfast.domain.requests import check_text
from holdfast.domain.values import check_id

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

HIGH_CANCEL_RATE: Final = "high_cancel_rate"
FREQUENT_TIMEOUTS: Final = "frequent_timeouts"
# What is kept of a caller's text.
TEXT_LENGTH_MAX: Final = 500
# Alerts that callers may have written singly within a minute; more of them are counted.
ALERTS_PER_MINUTE_MAX: Final = 60
_NS_PER_MINUTE: Final = 60 * NS_PER_S


def raise_alert(desk: "Desk", given: Raise) -> None:
    """Journal something that people should see; what comes too fast is counted with the next.

    Raises:
        InputError: the code is no id, or the text no text.
    """
    code = check_id(given.code, "code")
    text = check_text(given.text, "text")[:TEXT_LENGTH_MAX]
    names = [check_text(getattr(given, name), name)[:64] for name in ("symbol", "strategy")]
    memo, minute = desk.memo, desk.now_ns // _NS_PER_MINUTE
    count = memo.alerts[1] + 1 if memo.alerts[0] == minute else 1
    memo.alerts = (minute, count)
    if count > ALERTS_PER_MINUTE_MAX:
        memo.unraised += 1
        return
    repeats, memo.unraised = memo.unraised, 0
    desk.out(
        e.AlertRaised(
            at_ns=desk.now_ns,
            code=code,
            text=text,
            symbol=names[0],
            strategy=names[1],
            repeats=repeats,
        )
    )


def raise_once(desk: "Desk", code: str, text: str, symbol: str = "") -> None:
    """Raise an alert, unless the same one was raised less than a window ago."""
    if desk.now_ns >= again_ns(desk, code, symbol):
        alert = e.AlertRaised(at_ns=desk.now_ns, code=code, text=text, symbol=symbol)
        desk.out(alert)


def again_ns(desk: "Desk", code: str, symbol: str = "") -> int:
    """Return when the same alert may be raised again; 0 where it never was."""
    last_ns = desk.guard.alerted.get(f"{code} {symbol}")
    window_ns = desk.settings.policies.alerts.window_minutes * _NS_PER_MINUTE
    return 0 if last_ns is None else last_ns + window_ns


def watch(desk: "Desk", news: list[e.AnyEvent]) -> None:
    """Compare the rates that a step's events have moved with their bounds."""
    for event in news:
        if isinstance(event, e.OrderCanceled):
            order = desk.order(event.number)
            if order is not None:
                _judge_cancels(desk, order.terms.symbol)
        elif isinstance(event, e.WishUnknown):
            _judge_timeouts(desk)


def _since(desk: "Desk") -> int:
    """Return the first minute of the window that ends now."""
    return desk.now_ns // _NS_PER_MINUTE - desk.settings.policies.alerts.window_minutes + 1


def _judge_cancels(desk: "Desk", symbol: str) -> None:
    rules, since = desk.settings.policies.alerts, _since(desk)
    figures = desk.guard.symbols.get(symbol)
    if figures is None:
        return
    ended = figures.recent_ended.since(since)
    if ended < max(rules.orders_min, 1):
        return
    cancelled = figures.recent_cancelled.since(since)
    if 100 * cancelled >= rules.cancel_rate_pct * ended:
        text = (
            f"{cancelled} of {ended} {symbol} orders that ended in the last {rules.window_minutes} "
            f"minutes were cancelled, the bound is {rules.cancel_rate_pct} %; look at its prices"
        )
        raise_once(desk, HIGH_CANCEL_RATE, text, symbol)


def _judge_timeouts(desk: "Desk") -> None:
    rules = desk.settings.policies.alerts
    timeouts = desk.guard.timeouts.since(_since(desk))
    if timeouts >= max(rules.timeouts_max, 1):
        text = (
            f"{timeouts} calls of the last {rules.window_minutes} minutes had no usable answer, "
            f"the bound is {rules.timeouts_max}; look at the link to the broker"
        )
        raise_once(desk, FREQUENT_TIMEOUTS, text)
