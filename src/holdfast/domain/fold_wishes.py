"""What each event about a wish or a question does to its order; the rest stands in `fold.py`."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from holdfast.domain import events as e
from holdfast.domain.executions import Change
from holdfast.domain.order import Lookup, Order
from holdfast.domain.reports import RefusalCode
from holdfast.domain.transitions import DefectError
from holdfast.domain.values import ZERO, Status, sub
from holdfast.domain.wish import Stage, Wish, WishKind

Fold: TypeAlias = Callable[[Order, Any, Decimal], list[Change]]


def _cancel_requested(order: Order, event: e.CancelRequested, _lot: Decimal) -> list[Change]:
    if not order.wanted_gone:
        order.wanted_gone, order.gone_ns = True, event.at_ns
    if not event.look_first:
        _ask(order, event, WishKind.CANCEL).batch = event.batch
    return []


def _replace_requested(order: Order, event: e.ReplaceRequested, _lot: Decimal) -> list[Change]:
    wish = _ask(order, event, WishKind.REPLACE)
    wish.quantity, wish.limit_price = event.quantity, event.limit_price
    wish.stop_price, wish.not_after_ns = event.stop_price, event.not_after_ns
    wish.due_ns = event.not_after_ns
    if event.quantity is not None:
        order.largest = max(order.largest or ZERO, event.quantity)
    order.reducing = order.reducing and not event.opens
    if order.group:
        stop, limit = order.asked_prices
        order.meant = (event.stop_price or stop, event.limit_price or limit)
    return []


def _ask(order: Order, event: e.CancelRequested | e.ReplaceRequested, kind: WishKind) -> Wish:
    wish = Wish(wish=event.wish, kind=kind, stage=Stage.QUEUED, attempt=0)
    order.wishes.append(wish)
    order.last_wish = event.wish
    return wish


def _with_wish(
    change: Callable[[Order, Wish, Any], None],
) -> Callable[[Order, Any, Decimal], list[Change]]:
    def folded(order: Order, event: Any, _lot: Decimal) -> list[Change]:
        wish = order.wish(event.wish)
        if wish is None:
            message = f"order {order.wire_id}: {type(event).__name__} of closed wish {event.wish}"
            raise DefectError(message)
        change(order, wish, event)
        return []

    return folded


def _sent(order: Order, wish: Wish, event: e.WishSent) -> None:
    wish.stage, wish.attempt = Stage.WAITING, event.attempt
    wish.sent_ns, wish.due_ns = event.at_ns, event.deadline_ns
    wish.not_after_ns = event.not_after_ns
    quantity = wish.quantity if wish.quantity is not None else order.quantity
    if wish.kind is WishKind.REPLACE and quantity is not None:
        wish.leaves = max(sub(quantity, order.filled_quantity), ZERO)


def _acknowledged(order: Order, event: e.WishAcknowledged, _lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    wish = order.wish(event.wish)
    if wish is not None:
        wish.stage, wish.due_ns = Stage.ACKNOWLEDGED, event.look_at_ns
        wish.told_ns = event.at_ns
    return []


def _delayed(_order: Order, wish: Wish, event: e.WishDelayed) -> None:
    wish.stage, wish.due_ns = Stage.DELAYED, event.retry_at_ns
    if not event.waited:
        wish.delays += 1
        wish.batch = 0


def _unknown(_order: Order, wish: Wish, event: e.WishUnknown) -> None:
    wish.stage, wish.due_ns, wish.batch = Stage.UNKNOWN, event.look_at_ns, 0
    wish.duplicate = wish.duplicate or event.duplicate


def _refused(order: Order, event: e.WishRefused, _lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    wish = order.wish(event.wish)
    order.close_wish(event.wish)
    order.refusal = event.text or event.code
    order.replace_refusals += wish is not None and wish.kind is WishKind.REPLACE
    if wish is not None and (wish.stop_price or wish.limit_price) and order.meant is not None:
        order.meant = (order.terms.stop_price, order.terms.limit_price)
    replacing = any(one.kind is WishKind.REPLACE and one.is_out for one in order.wishes)
    never_met = order.status is Status.NEW and event.code == RefusalCode.UNKNOWN_ORDER
    settled = event.code != "NOT_PENDING" and not replacing and not never_met
    if wish is not None and wish.kind is WishKind.CANCEL and settled:
        order.wanted_gone = False
        order.cancel_refusals += 1
        order.cancel_refused_ns = event.at_ns
    return []


def _closed(order: Order, event: e.WishClosed, _lot: Decimal) -> list[Change]:
    order.close_wish(event.wish)
    return []


def _lookup_started(order: Order, event: e.LookupStarted, _lot: Decimal) -> list[Change]:
    tries = order.next_try()
    order.questions, order.asked_ns = event.attempt, event.at_ns
    order.lookup = Lookup(
        attempt=event.attempt,
        tries=tries,
        again_ns=event.again_ns,
        asked=True,
        reason=event.reason,
    )
    for wish in order.wishes:
        if (wish.needs_answer or order.is_terminal) and 0 < wish.due_ns <= event.at_ns:
            wish.due_ns, wish.looks = event.again_ns, tries
    return []


def _lookup_ended(order: Order, event: e.LookupEnded, _lot: Decimal) -> list[Change]:
    lookup = order.lookup
    if not event.alive:
        order.alive = None
    if lookup is None:
        return []
    if event.again_ns:
        lookup.again_ns, lookup.asked = event.again_ns, False
    else:
        order.lookup = None
    return []


def _alive(order: Order, event: e.AliveReported, _lot: Decimal) -> list[Change]:
    order.alive = event.times
    order.leg_for(event.broker_order_id)
    if order.lookup is None:
        order.lookup = Lookup(reason="works after its end", again_ns=event.ask_at_ns)
    return []


WISH_FOLDS: Final[dict[type, Fold]] = {
    e.CancelRequested: _cancel_requested,
    e.ReplaceRequested: _replace_requested,
    e.WishSent: _with_wish(_sent),
    e.WishAcknowledged: _acknowledged,
    e.WishDelayed: _with_wish(_delayed),
    e.WishUnknown: _with_wish(_unknown),
    e.WishRefused: _refused,
    e.WishClosed: _closed,
    e.LookupStarted: _lookup_started,
    e.LookupEnded: _lookup_ended,
    e.AliveReported: _alive,
}
