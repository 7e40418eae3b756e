"""Many orders at once: cancel all of them, or those that have waited too long.

Rule 1: age is trading time. It is counted in desk time, while the instrument's session is open,
from when the first order of a chain was created; a step of the wall clock ages nothing.
Rule 2: an order that nobody knows the broker to have is asked for and not cancelled; one that is
absent then fails without another call.
Rule 3: a cancel proves nothing until the broker confirms it. Where the broker stays silent the
order gives up its place in its strategy and nothing else: it is exposure, and cancelled again.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import hours, requoting
from holdfast.domain.attend import want_gone
from holdfast.domain.exits import protects
from holdfast.domain.inputs import CancelAll, ManageOrders
from holdfast.domain.order import Order
from holdfast.domain.persons import OURS
from holdfast.domain.policies import StaleRules
from holdfast.domain.requests import check_text
from holdfast.domain.values import ID_LENGTH_MAX, Condition
from holdfast.domain.wanting import release
from holdfast.domain.wish import Stage
from holdfast.domain.work import NS_PER_MS, backoff_ns
from holdfast.errors import InputError, UnknownSymbolError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Looks at the age of orders are no closer together than this, whatever the rules say.
SWEEP_EVERY_MS_MIN: Final = 50


def sweep(
    desk: "Desk", orders: list[Order], *, reason: str, by: str, unprotected: bool = False
) -> int:
    """Want orders gone in one go; return the batch's number, 0 where there are none.

    An order that is being cancelled already is named and not asked for again.
    """
    return _sweep(desk, [(order, reason) for order in orders], reason, by, unprotected=unprotected)


def _sweep(
    desk: "Desk",
    wanted: list[tuple[Order, str]],
    reason: str,
    by: str,
    *,
    unprotected: bool = False,
) -> int:
    if not wanted:
        return 0
    batch = desk.guard.batches + 1
    by, reason = by[:ID_LENGTH_MAX], reason[:200]
    desk.out(
        e.OrdersSwept(
            at_ns=desk.now_ns,
            numbers=tuple(order.number for order, _ in wanted),
            reason=reason,
            by=by,
            batch=batch,
            unprotected=unprotected,
        )
    )
    for order, why in wanted:
        want_gone(desk, order, by, why[:200], batch)
        desk.touch(order.number)
    return batch


def cancel_all(desk: "Desk", given: CancelAll) -> None:
    """Want all working orders of a filter gone; the result names them.

    Raises:
        UnknownSymbolError: the symbol that it is about is not defined.
        InputError: a text that is none, or a choice that is neither yes nor no.
    """
    for name in ("symbol", "by", "reason"):
        check_text(getattr(given, name), name)
    if not isinstance(given.leave_unprotected, bool):
        raise InputError(f"leave_unprotected is {given.leave_unprotected!r}; give True or False")
    if given.symbol and given.symbol not in desk.instruments:
        known = ", ".join(sorted(desk.instruments)[:10]) or "none"
        raise UnknownSymbolError(
            f"symbol {given.symbol[:40]!r} is not defined on this desk (defined: {known}); nothing "
            "was cancelled, name one of them or none"
        )
    orders = [
        order
        for order in desk.state.active.values()
        if (not given.symbol or order.terms.symbol == given.symbol)
        and (given.strategy is None or order.strategy == given.strategy)
        and (given.leave_unprotected or not protects(desk, order))
    ]
    reason = given.reason or "cancel all"
    if given.leave_unprotected:
        release(desk, orders, given.by, reason)
    sweep(desk, orders, reason=reason, by=given.by, unprotected=given.leave_unprotected)
    desk.result(*(order.number for order in orders))


def manage(desk: "Desk", given: ManageOrders) -> None:
    """Look for orders that have waited too long now; the result names those cancelled for it."""
    if desk.memo.reconciled:
        desk.result(*_look(desk, given.by or OURS))


def tick(desk: "Desk") -> None:
    """Look for them where it is time to."""
    due = _look_ns(desk)
    if due is not None and due <= desk.now_ns:
        _look(desk, OURS)


def due_ns(desk: "Desk") -> int | None:
    """Return when to look next, or None."""
    return _look_ns(desk)


def _look_ns(desk: "Desk") -> int | None:
    """After a start nothing acts on age before it is known what became of the orders."""
    state, rules = desk.state, desk.settings.policies.stale
    if not desk.memo.reconciled or not (
        state.pegged or (state.active and _is_on(rules) and state.stored.mode != "dry_run")
    ):
        return None
    return desk.memo.swept_ns + max(rules.sweep_every_ms, SWEEP_EVERY_MS_MIN) * NS_PER_MS


def _is_on(rules: StaleRules) -> bool:
    """Tell whether any order can grow stale; asked after every step, hence so curtly."""
    if rules.after_ms > 0 or rules.post_only_ms > 0:
        return True
    symbols, strategies = rules.symbols, rules.strategies
    return bool(symbols or strategies) and max((*symbols.values(), *strategies.values())) > 0


def _look(desk: "Desk", by: str) -> tuple[int, ...]:
    """Sweep what has waited too long, and let pegged orders catch up with their price."""
    desk.memo.swept_ns = desk.now_ns
    stale: list[tuple[Order, str]] = []
    if _is_on(desk.settings.policies.stale) and desk.state.stored.mode != "dry_run":
        for order in desk.state.active.values():
            abandon(desk, order)
        stale = list(_stale(desk))
    known = [(order, why) for order, why in stale if not _is_doubtful(order)]
    _sweep(desk, known, "stale", by)
    for order, why in stale:
        if not order.wanted_gone:
            _ask_first(desk, order, by, why)
    requoting.look(desk)
    return tuple(order.number for order, _ in stale)


def _stale(desk: "Desk") -> Iterator[tuple[Order, str]]:
    """Yield what has waited too long and protects nothing, oldest first, and why it goes."""
    rules, open_now = desk.settings.policies.stale, dict[str, bool]()
    for order in desk.state.active.values():
        settling = order.wanted_gone or order.is_terminal or order.held is not None
        if settling or order.external or protects(desk, order):
            continue
        limit_ns = _limit_ms(rules, order) * NS_PER_MS
        began_ns = order.began_ns or order.created_ns
        if limit_ns <= 0 or desk.now_ns - began_ns <= limit_ns or not _may_again(desk, order):
            continue
        symbol = order.terms.symbol
        if symbol not in open_now:
            open_now[symbol] = hours.is_open(desk, symbol)
        age_ns = hours.age_ns(desk, symbol, began_ns) if open_now[symbol] else 0
        if age_ns > limit_ns:
            tenths = age_ns // 100_000_000
            yield order, f"stale: {tenths // 10}.{tenths % 10} s"


def _limit_ms(rules: StaleRules, order: Order) -> int:
    """Return how long an order may wait: the strategy's time, the symbol's, or the desk's."""
    terms = order.terms
    limit = rules.strategies.get(order.strategy)
    if limit is None:
        limit = rules.symbols.get(terms.symbol)
    if limit is None and terms.post_only:
        limit = rules.post_only_ms or None
    return rules.after_ms if limit is None else limit


def _may_again(desk: "Desk", order: Order) -> bool:
    """After a refused cancel, wait before the next one: longer each time."""
    if not order.cancel_refusals:
        return True
    wait = backoff_ns(desk, order.wire_id, order.cancel_refusals)
    return desk.now_ns >= order.cancel_refused_ns + wait


def _is_doubtful(order: Order) -> bool:
    """Tell whether the submit has no answer, so that there may be nothing to cancel."""
    submit = order.wish(0)
    return submit is not None and submit.stage in {Stage.WAITING, Stage.UNKNOWN}


def _ask_first(desk: "Desk", order: Order, by: str, reason: str) -> None:
    """Want an order gone that the broker may not have; an unknown one is being asked for."""
    desk.out(
        e.CancelRequested(
            at_ns=desk.now_ns,
            number=order.number,
            wish=order.last_wish,
            by=by,
            reason=reason,
            look_first=True,
        )
    )
    desk.touch(order.number)


def abandon(desk: "Desk", order: Order) -> None:
    """Free the place of an order whose cancel nobody confirms; give it back once it is refused."""
    gone, abandoned = order.wanted_gone, order.condition is Condition.ABANDONED
    if gone is abandoned or order.is_terminal or not desk.memo.reconciled:
        return
    limit_ns = desk.settings.policies.stale.abandon_after_ms * NS_PER_MS
    if gone and (limit_ns <= 0 or desk.now_ns - order.gone_ns <= limit_ns):
        return
    condition = Condition.ABANDONED if gone else Condition.NONE
    desk.out(e.ConditionChanged(at_ns=desk.now_ns, number=order.number, condition=condition))
