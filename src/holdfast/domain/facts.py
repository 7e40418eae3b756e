"""Facts as events: what a report and a snapshot have in common, each recorded in one way.

Rule 1: whatever proves a later stage proves those before it: a fill before the acknowledgement
first yields the inferred acceptance.
Rule 2: where trades are not listed, an order that ended is asked for once more: an end tells
nothing of a trade that it overtook, unless it comes with its figure. Nor does a sum of ours that
completes it, unless the broker says with it how large the order is: it may be for more by now.
Rule 3: nothing is dropped silently: what contradicts the history becomes an anomaly.

What this module does not know: how the evidence reached us, and what we still want from the order.
"""

from typing import Final

from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.order import Order
from holdfast.domain.reports import RefusalCode, Report, Snapshot
from holdfast.domain.values import TERMINAL, Status, add
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS, Work, anomaly, backoff_ns


def note(work: Work, order: Order, shown: Report | Snapshot, report_id: str) -> None:
    """Record that a report was heard which changes nothing, so that its repeat is known."""
    if report_id:
        work.out(
            e.ReportNoted(
                at_ns=work.now_ns,
                number=order.number,
                report_id=report_id,
                stamp_ns=shown.stamp_ns,
                sequence=shown.sequence,
            )
        )


def imply_acceptance(work: Work, order: Order, broker_order_id: str = "") -> None:
    """Record that the broker works the order, where later evidence shows it first."""
    if order.status is Status.NEW:
        work.out(
            e.OrderAccepted(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=broker_order_id,
                inferred=True,
            )
        )


def meet(
    work: Work, order: Order, broker_order_id: str, wire_id: str, shown: Snapshot | None = None
) -> None:
    """Recognise a broker order met for the first time: evidence that a replace is in force.

    Where no replace of ours can have opened it, the broker made a second order of one of ours: an
    anomaly, and this order too from now on.
    """
    if not broker_order_id or not order.legs:
        return
    leg = order.find_leg(broker_order_id)
    if leg is None:
        wish = replace_of(order, wire_id)
        if wish is None:
            anomaly(
                work,
                "SECOND_BROKER_ORDER",
                f"{broker_order_id} is shown for an order known as {order.broker_order_id}",
                order.number,
            )
        confirm_replace(work, order, wish, shown or Snapshot(broker_order_id=broker_order_id))
    elif not leg.broker_order_id:
        work.out(
            e.ReportNoted(at_ns=work.now_ns, number=order.number, broker_order_id=broker_order_id)
        )


def replace_of(order: Order, wire_id: str) -> Wish | None:
    """Return the replace that a wire id names, else the oldest one that is out."""
    out = [wish for wish in order.wishes if wish.kind is WishKind.REPLACE and wish.is_out]
    named = (wish for wish in out if order.wish_wire_id(wish.wish) == wire_id)
    return next(named, out[0] if out else None)


def restate_by(work: Work, order: Order, report: Report) -> None:
    """Follow the OrderQty and prices of a report that is not older than what is known."""
    leg = order.find_leg(report.broker_order_id)
    if leg is not None and leg.is_older(report.stamp_ns, report.sequence):
        return
    restate(work, order, leg, report)


def restate(work: Work, order: Order, leg: Leg | None, shown: Report | Snapshot) -> None:
    """Put quantity and prices in force that the broker shows and that differ from ours."""
    if order.is_terminal and order.status is not Status.FILLED:
        return
    quantity = shown.order_quantity
    if quantity is not None:
        quantity = order.total_quantity(leg, quantity)
    if quantity is not None and quantity <= 0:
        anomaly(work, "UNUSABLE_QUANTITY", f"an order quantity of {quantity}", order.number)
        quantity = None
    quantity = None if quantity == order.quantity else quantity
    limit = None if shown.limit_price == order.terms.limit_price else shown.limit_price
    stop = None if shown.stop_price == order.terms.stop_price else shown.stop_price
    if quantity is None and limit is None and stop is None:
        return
    work.out(
        e.OrderRestated(
            at_ns=work.now_ns,
            number=order.number,
            quantity=quantity,
            limit_price=limit,
            stop_price=stop,
            stamp_ns=shown.stamp_ns,
            sequence=shown.sequence,
        )
    )


def acknowledge(
    work: Work, order: Order, wish: Wish, report_id: str = "", stamp_ns: int = 0, sequence: int = 0
) -> None:
    """Record that the broker has a request and has not decided it."""
    if wish.stage is Stage.ACKNOWLEDGED and not report_id:
        return
    wait = work.settings.ack_wait_ms * NS_PER_MS
    work.out(
        e.WishAcknowledged(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            look_at_ns=work.now_ns + wait,
            report_id=report_id,
            stamp_ns=stamp_ns,
            sequence=sequence,
        )
    )


def unknown(work: Work, order: Order, wish: Wish, text: str, *, duplicate: bool = False) -> None:
    """Record that nobody can tell a request's outcome; it is looked up at once.

    A cancel is sent again instead, a little later each time: the link may be down.
    """
    wait = backoff_ns(work, order.wire_id, wish.attempt) if wish.kind is WishKind.CANCEL else 0
    work.out(
        e.WishUnknown(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            look_at_ns=work.now_ns + wait,
            text=text[:500],
            duplicate=duplicate,
        )
    )


def end_broker_order(
    work: Work, order: Order, broker_order_id: str, word: str, shown: Report | Snapshot
) -> None:
    """Record that one broker order behind the order ended, and not the order."""
    leg = order.find_leg(broker_order_id)
    if leg is not None and leg.ended:
        return
    work.out(
        e.BrokerOrderEnded(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=broker_order_id,
            word=word,
            stamp_ns=shown.stamp_ns,
            sequence=shown.sequence,
        )
    )


def end(
    work: Work, order: Order, how: str, word: str, report_id: str, shown: Report | Snapshot
) -> None:
    """Apply a broker's terminal word; on an ended order it is an anomaly or a repeat.

    `how` is `canceled`, `expired` or `rejected`; a rejection of an order that works already ends
    it CANCELED, the word kept.
    """
    at = {"stamp_ns": shown.stamp_ns, "sequence": shown.sequence}
    imply_acceptance(work, order, shown.broker_order_id)
    if order.is_terminal:
        if order.status not in _SAME_END[how]:
            anomaly(
                work,
                "END_AFTER_END",
                f"the broker says {word!r} of an order that is {order.status}",
                order.number,
            )
        note(work, order, shown, report_id)
        return
    if how == "expired":
        kind: type[e.OrderExpired | e.OrderCanceled] = e.OrderExpired
    else:
        kind = e.OrderCanceled
    if how == "rejected" and order.status is Status.OPEN:
        work.out(
            e.OrderRejected(
                at_ns=work.now_ns,
                number=order.number,
                code=RefusalCode.OTHER,
                text=word,
                report_id=report_id,
                **at,
            )
        )
    else:
        work.out(kind(at_ns=work.now_ns, number=order.number, word=word, report_id=report_id, **at))
        if how == "rejected":
            anomaly(work, "REJECTED_AFTER_FILL", f"ended CANCELED on {word!r}", order.number)
    if shown.cumulative is None:
        read_again(work, order)


def read_again(work: Work, order: Order) -> None:
    """Ask for the final figure of an order that ended, where trades are not listed."""
    if not work.capabilities.lists_executions:
        work.look_up(order, "its final figure")


def doubt_sum(work: Work, order: Order, shown: Report | Snapshot) -> None:
    """Read an order again that is full by our sum alone, after a trade or figure was counted."""
    says_full = shown.full if isinstance(shown, Report) else shown.status in TERMINAL
    if order.status is Status.FILLED and not says_full and shown.order_quantity is None:
        read_again(work, order)


_SAME_END: Final = {
    "canceled": {Status.CANCELED, Status.EXPIRED, Status.REJECTED, Status.FAILED},
    "expired": {Status.EXPIRED, Status.CANCELED, Status.FAILED},
    "rejected": {Status.REJECTED, Status.CANCELED, Status.FAILED},
}


def show_alive(work: Work, order: Order, broker_order_id: str, stamp_ns: int) -> None:
    """Count an ended order as exposure again until the broker has been asked."""
    if order.alive is None:
        work.out(
            e.AliveReported(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=broker_order_id,
                times=0,
                ask_at_ns=max(work.now_ns, order.completed_ns + work.settings.quiet_ms * NS_PER_MS),
                stamp_ns=stamp_ns,
            )
        )


def confirm_replace(
    work: Work, order: Order, wish: Wish | None, shown: Report | Snapshot, report_id: str = ""
) -> None:
    """Put a replace in force: the terms that the broker shows, else those asked for."""
    carried = work.capabilities.replace_carries_fills
    is_new = bool(order.legs) and order.find_leg(shown.broker_order_id) is None
    quantity = shown.order_quantity
    if quantity is not None and is_new:
        quantity = quantity if carried else add(quantity, order.filled_quantity)
    elif quantity is not None:
        quantity = order.total_quantity(order.leg, quantity)
    if quantity is None and wish is not None:
        quantity = wish.quantity
        if is_new and not carried and wish.leaves is not None:
            quantity = add(order.filled_quantity, wish.leaves)
    work.out(
        e.OrderReplaced(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish if wish is not None else -1,
            broker_order_id=shown.broker_order_id,
            quantity=None if quantity == order.quantity else quantity,
            limit_price=shown.limit_price or (wish.limit_price if wish is not None else None),
            stop_price=shown.stop_price or (wish.stop_price if wish is not None else None),
            carried=carried,
            report_id=report_id,
            stamp_ns=shown.stamp_ns,
            sequence=shown.sequence,
        )
    )
    ended = isinstance(shown, Snapshot) and shown.status in TERMINAL
    if is_new and order.is_terminal and not ended:
        show_alive(work, order, shown.broker_order_id, shown.stamp_ns)
    if is_new and not carried and not work.capabilities.lists_executions:
        work.look_up(order, "the final figure of the broker order before it")
