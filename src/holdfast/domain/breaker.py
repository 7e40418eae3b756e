"""The circuit breaker: entries stop where the broker fails, the money is gone, or the day is lost.

Rule 1: closed, entries pass; open, they are refused until `until_ns`; from then on, half open, one
of them tries and the others are refused until it is decided.
Rule 2: exits never ask it.
"""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.days import DAILY_LOSS, daily_loss, keep_day
from holdfast.domain.guard import NS_PER_S
from holdfast.domain.inputs import CloseBreaker
from holdfast.domain.order import Order
from holdfast.domain.persons import check_person
from holdfast.domain.refusals import refused
from holdfast.domain.reports import RefusalCode
from holdfast.domain.values import Status
from holdfast.domain.wish import Stage
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Why it opened, and why it closed; stable codes.
BROKER_FAILURES: Final = "BROKER_FAILURES"
INSUFFICIENT_FUNDS: Final = "INSUFFICIENT_FUNDS"
PROBE_ACCEPTED: Final = "PROBE_ACCEPTED"
PROBE_ANSWERED: Final = "PROBE_ANSWERED"
# The submit of a probe that has no answer yet, or that is being looked up.
_UNDECIDED: Final = frozenset({Stage.WAITING, Stage.ACKNOWLEDGED, Stage.UNKNOWN})
# More doublings than any bound in milliseconds has room for.
_DOUBLINGS_MAX: Final = 40


def check_breaker(desk: "Desk", *, is_new: bool = True) -> None:
    """Let an entry pass, or refuse it; what passes a half-open breaker must be noted as its probe.

    An open order that would grow (`is_new=False`) cannot try whether the broker takes a new one.

    Raises:
        OrderRefused: BREAKER_OPEN.
    """
    breaker = desk.guard.breaker
    if not breaker.reason:
        return
    left_ns = breaker.until_ns - desk.now_ns
    if left_ns > 0:
        raise refused(
            "BREAKER_OPEN",
            "exits pass; wait, or mend the cause and close the breaker",
            reason=breaker.reason,
            seconds_left=-(-left_ns // NS_PER_S),
        )
    if breaker.probe or not is_new:
        raise refused(
            "BREAKER_OPEN",
            "one new entry tries whether it works again; repeat this when that is decided",
            reason=breaker.reason,
            probe=breaker.probe or "none",
        )


def note_probe(desk: "Desk", number: int) -> None:
    """Record an entry that passed the half-open breaker as the one that tries."""
    breaker = desk.guard.breaker
    if breaker.reason and not breaker.probe and desk.now_ns >= breaker.until_ns:
        desk.out(e.BreakerProbed(at_ns=desk.now_ns, number=number))


def close_breaker(desk: "Desk", given: CloseBreaker) -> None:
    """Take a person's word that the breaker's cause is gone; closed already, nothing happens.

    Raises:
        InputError: no name or reason, or a loss that would open it again at once.
    """
    check_person(given.by, given.reason, "closing the breaker")
    breaker = desk.guard.breaker
    if not breaker.reason:
        return
    loss = _loss(desk)
    if breaker.reason == DAILY_LOSS and loss is not None:
        raise InputError(
            f"the breaker is open for a {loss}; it would open again at once: "
            "raise limits.daily_loss_max first, or wait until the day ends"
        )
    closed = e.BreakerClosed(at_ns=desk.now_ns, reason=given.reason[:200], by=given.by)
    desk.out(closed)


def judge(desk: "Desk", news: list[e.AnyEvent]) -> None:
    """Open or close the breaker where what happened demands it; idempotent."""
    policies, breaker = desk.settings.policies, desk.guard.breaker
    if breaker.probe:
        _judge_probe(desk)
    elif not breaker.reason:
        most = policies.breaker.failures_max
        if 0 < most <= breaker.failures:
            _open(desk, BROKER_FAILURES, f"{breaker.failures} calls in a row had no usable answer")
        elif news and policies.breaker.insufficient_funds:
            _judge_funds(desk, news)
    if policies.limits.daily_loss_max is not None:
        keep_day(desk)
        _judge_loss(desk)


def _judge_funds(desk: "Desk", news: list[e.AnyEvent]) -> None:
    for event in news:
        if isinstance(event, e.OrderRejected) and event.code == RefusalCode.INSUFFICIENT_FUNDS:
            _open(desk, INSUFFICIENT_FUNDS, f"order {event.number} was refused: {event.text}")
            return


def _judge_probe(desk: "Desk") -> None:
    breaker = desk.guard.breaker
    order = desk.order(breaker.probe)
    if order is None or order.submitted_ns:
        desk.out(e.BreakerClosed(at_ns=desk.now_ns, reason=PROBE_ACCEPTED))
    elif not _is_undecided(order):
        if breaker.reason == BROKER_FAILURES and _is_answered(order):
            desk.out(e.BreakerClosed(at_ns=desk.now_ns, reason=PROBE_ANSWERED))
        else:
            found = f"{order.status} {order.code}".strip() if order.is_terminal else "unanswered"
            _open(desk, breaker.reason, f"order {order.number}, which tried, is {found}")


def _is_undecided(order: Order) -> bool:
    submit = order.wish(0)
    return submit is not None and submit.stage in _UNDECIDED


def _is_answered(order: Order) -> bool:
    """A refusal for the order's own sake shows that the broker works."""
    return order.status is Status.REJECTED and order.code != RefusalCode.INSUFFICIENT_FUNDS


def _open(desk: "Desk", reason: str, text: str) -> None:
    rules, trips = desk.settings.policies.breaker, desk.guard.breaker.trips
    wait_ms = min(rules.open_ms << min(trips, _DOUBLINGS_MAX), rules.open_max_ms)
    _open_until(desk, reason, desk.now_ns + wait_ms * NS_PER_MS, text)


def _open_until(desk: "Desk", reason: str, until_ns: int, text: str) -> None:
    opened = e.BreakerOpened(at_ns=desk.now_ns, reason=reason, until_ns=until_ns, text=text[:500])
    desk.out(opened)


def _judge_loss(desk: "Desk") -> None:
    breaker = desk.guard.breaker
    if breaker.reason == DAILY_LOSS and desk.now_ns < breaker.until_ns:
        return
    loss = _loss(desk)
    if loss is not None:
        _open_until(desk, DAILY_LOSS, desk.guard.day.until_ns, loss)


def _loss(desk: "Desk") -> str | None:
    """Name the day's loss where it is known to be above its bound."""
    most = desk.settings.policies.limits.daily_loss_max
    if most is None:
        return None
    lost = daily_loss(desk)
    if lost is None or lost <= most:
        return None
    return f"daily loss of {lost} above the bound of {most}"
