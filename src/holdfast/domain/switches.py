"""The kill switch, and what the desk's switches demand at the end of each step.

Rule 1: both switches stop entries alone. A cancel, and an exit up to the position, never ask them.
Rule 2: an engaged kill switch is level-triggered: whatever entry turns up while it is engaged is
cancelled, however late and however often. It stays engaged over restarts until it is released.
"""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import flattening, sweeping
from holdfast.domain.alerts import watch
from holdfast.domain.breaker import close_breaker, judge
from holdfast.domain.exits import only_closes
from holdfast.domain.guard import FLAT, Kill
from holdfast.domain.inputs import EngageKillSwitch, ReleaseKillSwitch
from holdfast.domain.order import Order
from holdfast.domain.persons import check_person
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# How often an engaged switch looks at entries whose cancel the broker refused.
ENFORCE_EVERY_MS: Final = 1_000

# What may move the breaker, or a rate that people are alerted to.
_NEWS: Final = frozenset({e.OrderRejected, e.OrderCanceled, e.WishUnknown})
# What may leave an entry working, or a position open, under an engaged switch.
_STIRS: Final = frozenset(
    {
        e.KillSwitchEngaged,
        e.DeskResumed,
        e.OrderSubmitted,
        e.OrderAdopted,
        e.ExternalAdopted,
        e.OrderRevived,
        e.OrderFilled,
        e.ExecutionCorrected,
        e.WishRefused,
        e.FlattenEnded,
    }
)


def engage(desk: "Desk", given: EngageKillSwitch) -> None:
    """Let no entry out any more, and want those that are out gone; the result names them.

    Engaging again changes name and reason, and may go from `cancel` to `flatten` but not back.

    Raises:
        InputError: no name, no reason, or an unknown action.
    """
    check_person(given.by, given.reason, "engaging the kill switch")
    if given.action not in ("cancel", "flatten"):
        raise InputError(f"action is {given.action!r}; give cancel or flatten")
    kill = desk.guard.kill
    action = "flatten" if kill is not None and kill.action == "flatten" else given.action
    reason = given.reason[:200]
    if kill is None or (kill.by, kill.action, kill.reason) != (given.by, action, reason):
        engaged = e.KillSwitchEngaged(at_ns=desk.now_ns, by=given.by, reason=reason, action=action)
        desk.out(engaged)
    kill = desk.guard.kill
    assert kill is not None
    flattens = action == "flatten"
    concerned = [order for order in desk.active() if flattens or not only_closes(desk, order)]
    orders = [order for order in concerned if order.role != FLAT]
    desk.result(*(order.number for order in orders))
    _stop(desk, kill, [order for order in orders if not order.wanted_gone])
    if flattens:
        flattening.start(desk, flattening.exposed(desk), given.by, f"kill switch: {reason}")


def release(desk: "Desk", given: ReleaseKillSwitch) -> None:
    """Let entries out again; released already, nothing happens.

    Raises:
        InputError: no name or no reason.
    """
    check_person(given.by, given.reason, "releasing the kill switch")
    if desk.guard.kill is not None:
        released = e.KillSwitchReleased(at_ns=desk.now_ns, by=given.by, reason=given.reason[:200])
        desk.out(released)


def settle(desk: "Desk") -> None:
    """Do at the end of each step what the desk's switches demand; idempotent."""
    guard, limits = desk.guard, desk.settings.policies.limits
    breaker = guard.breaker
    news = [event for event in desk.decided if type(event) in _NEWS]
    if news or breaker.failures or breaker.probe or limits.daily_loss_max is not None:
        judge(desk, news)
    if news:
        watch(desk, news)
    if guard.kill is not None and _must_look(desk):
        _enforce(desk, guard.kill)
    if guard.flattening:
        flattening.control(desk)


def due_ns(desk: "Desk") -> int | None:
    """Return when the switches or a flattening want to be looked at next, or None."""
    flat_ns = flattening.due_ns(desk) if desk.memo.flatten_ns else None
    if desk.guard.kill is None or not desk.memo.unstopped:
        return flat_ns
    look_ns = desk.memo.enforced_ns + ENFORCE_EVERY_MS * NS_PER_MS
    return look_ns if flat_ns is None else min(look_ns, flat_ns)


def _must_look(desk: "Desk") -> bool:
    memo = desk.memo
    due = memo.unstopped and desk.now_ns >= memo.enforced_ns + ENFORCE_EVERY_MS * NS_PER_MS
    return due or any(type(event) in _STIRS for event in desk.decided)


def _enforce(desk: "Desk", kill: Kill) -> None:
    entries = [order for order in desk.active() if not only_closes(desk, order)]
    left = [order for order in entries if not order.wanted_gone]
    due = [order for order in left if flattening.may_cancel(desk, order)]
    _stop(desk, kill, due)
    desk.memo.enforced_ns, desk.memo.unstopped = desk.now_ns, len(due) < len(left)
    if kill.action == "flatten":
        held = flattening.held_symbols(desk)
        symbols = [symbol for symbol in held if symbol not in desk.guard.flattening]
        flattening.start(desk, symbols, kill.by, f"kill switch: {kill.reason}")


def _stop(desk: "Desk", kill: Kill, orders: list[Order]) -> None:
    if orders:
        reason, unprotected = f"kill switch: {kill.reason}", kill.action == "flatten"
        sweeping.sweep(desk, orders, reason=reason, by=kill.by, unprotected=unprotected)


__all__ = [
    "ENFORCE_EVERY_MS",
    "close_breaker",
    "due_ns",
    "engage",
    "release",
    "settle",
]
