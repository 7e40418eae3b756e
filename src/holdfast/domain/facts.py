"""What a broker's report means for an order: reports in, events out.

Rule 1: money first. An execution counts in any status, however late; repeats are told by its id.
Rule 2: a report older than what is applied changes nothing but money.
Rule 3: evidence of a later stage implies the earlier ones: a fill before the acknowledgement
first yields the inferred acceptance.
Rule 4: nothing is dropped silently: what contradicts the history becomes an anomaly.

What this module does not know: how reports reach us, and what we still want from the order.
"""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.executions import Leg
from holdfast.domain.order import Order, Stage, Wish, WishKind
from holdfast.domain.reports import Execution, RefusalCode, Report, ReportKind, Snapshot
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Condition, Status, add

NS_PER_MS: Final = 1_000_000


class Work(Protocol):
    """What a step lends to the functions that decide: the moment, the settings, and a way out."""

    now_ns: int
    settings: Settings
    capabilities: Capabilities

    def out(self, event: e.AnyEvent) -> None:
        """Record an event and apply it at once."""
        ...

    def lot(self, symbol: str) -> Decimal:
        """Return the smallest quantity step of a symbol."""
        ...

    def look_up(self, order: Order, reason: str) -> None:
        """Ask the broker for an order by all its ids, unless it is being asked."""
        ...


def anomaly(work: Work, code: str, text: str, number: int = 0) -> None:
    """Record what contradicts the history or cannot be used."""
    work.out(e.AnomalyRecorded(at_ns=work.now_ns, code=code, text=text, number=number))


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


def absorb(work: Work, order: Order, report: Report) -> None:
    """Turn one report about one order into events; a repeat gives none."""
    report_id = _report_id(report)
    if report_id and report_id in order.seen:
        return
    if report.kind in _MONEY:
        _MONEY[report.kind](work, order, report)
        return
    leg = order.find_leg(report.broker_order_id)
    if leg is not None and leg.is_older(report.stamp_ns, report.sequence):
        _note(work, order, report, report_id)
        return
    _STATES[report.kind](work, order, report, report_id)


def _report_id(report: Report) -> str:
    """Name a report by its own id, or by its place and content where it has none."""
    if report.report_id:
        return report.report_id
    if not (report.sequence or report.stamp_ns):
        return ""
    content = hashlib.sha256(msgspec.json.encode(report)).hexdigest()[:16]
    return f"{report.sequence or report.stamp_ns}.{content}"


def _note(work: Work, order: Order, report: Report, report_id: str) -> None:
    if report_id:
        work.out(
            e.ReportNoted(
                at_ns=work.now_ns,
                number=order.number,
                report_id=report_id,
                stamp_ns=report.stamp_ns,
                sequence=report.sequence,
            )
        )


def _restate(work: Work, order: Order, report: Report) -> None:
    """Follow the OrderQty and prices of a report that is not older than what is known."""
    leg = order.find_leg(report.broker_order_id)
    if leg is not None and leg.is_older(report.stamp_ns, report.sequence):
        return
    restate(work, order, leg, report)


def restate(work: Work, order: Order, leg: Leg | None, shown: Report | Snapshot) -> None:
    """Put quantity and prices in force that the broker shows and that differ from ours."""
    quantity = shown.order_quantity
    if quantity is not None:
        quantity = order.total_quantity(leg, quantity)
    quantity = None if quantity == order.quantity else quantity
    limit = None if shown.limit_price == order.terms.limit_price else shown.limit_price
    stop = None if shown.stop_price == order.terms.stop_price else shown.stop_price
    if quantity is None and limit is None and stop is None:
        return
    if quantity is not None and order.is_terminal and order.status is not Status.FILLED:
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


def book_trade(  # noqa: PLR0913 - the parts of one fact
    work: Work,
    order: Order,
    broker_order_id: str,
    trade: Execution,
    *,
    full: bool = False,
    stamp_ns: int = 0,
    sequence: int = 0,
) -> bool:
    """Count an execution unless it is counted already; return whether it was new."""
    leg = order.find_leg(broker_order_id)
    if leg is not None and leg.knows(trade.execution_id):
        return False
    imply_acceptance(work, order, broker_order_id)
    work.out(
        e.OrderFilled(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=broker_order_id or order.broker_order_id,
            execution=trade,
            full=full,
            stamp_ns=stamp_ns,
            sequence=sequence,
        )
    )
    limit = order.largest
    if limit is not None and order.filled_quantity > limit:
        anomaly(
            work,
            "OVERFILL",
            f"execution {trade.execution_id} brings the filled quantity to "
            f"{order.filled_quantity}, above {limit}, the largest ever in force or asked for",
            order.number,
        )
    return True


def _trade(work: Work, order: Order, report: Report) -> None:
    if report.execution is None or not is_sane(report.execution):
        anomaly(work, "UNUSABLE_TRADE", f"a trade without a usable execution: {report}", order.number)
        return
    _restate_before_trade(work, order, report)
    new = book_trade(
        work,
        order,
        report.broker_order_id,
        report.execution,
        full=report.full,
        stamp_ns=report.stamp_ns,
        sequence=report.sequence,
    )
    if new and report.cumulative is not None:
        _claim(work, order, report)


def is_sane(execution: Execution) -> bool:
    """Tell whether quantity and price can be counted at all."""
    finite = execution.quantity.is_finite() and execution.price.is_finite()
    return finite and execution.quantity > 0 and bool(execution.execution_id)


def _restate_before_trade(work: Work, order: Order, report: Report) -> None:
    """An OrderQty that a trade carries is in force before the trade counts."""
    leg = order.find_leg(report.broker_order_id)
    if report.order_quantity is None or report.execution is None:
        return
    if leg is not None and leg.knows(report.execution.execution_id):
        return
    if order.is_terminal:
        return
    imply_acceptance(work, order, report.broker_order_id)
    _restate(work, order, report)


def _claim(work: Work, order: Order, report: Report) -> None:
    """A cumulative figure above what is booked says that an execution is missing."""
    leg = order.find_leg(report.broker_order_id)
    if leg is None or report.cumulative is None or leg.is_older(report.stamp_ns, report.sequence):
        return
    if report.cumulative > order.counted(leg) and order.held is None:
        snapshot = Snapshot(
            broker_order_id=leg.broker_order_id,
            cumulative=report.cumulative,
            stamp_ns=report.stamp_ns,
            sequence=report.sequence,
        )
        grace = work.settings.inferred_grace_ms * NS_PER_MS
        work.out(
            e.CumulativeReported(
                at_ns=work.now_ns,
                number=order.number,
                snapshot=snapshot,
                decide_at_ns=work.now_ns + grace,
            )
        )


def _amended(work: Work, order: Order, report: Report) -> None:
    """A correction or bust: the newest version of the execution that it names."""
    leg = order.find_leg(report.broker_order_id)
    reference = report.execution_ref
    root = leg.root(reference) if leg is not None else reference
    booked = None
    if leg is not None:
        booked = leg.executions.get(root) or leg.waiting.get(root)
    version = report.execution
    busted = report.kind is ReportKind.TRADE_CANCEL
    quantity = ZERO if busted or version is None else version.quantity
    price = version.price if version is not None and version.price else None
    if price is None and booked is not None:
        price = booked.price
    alias = version.execution_id if version is not None else report.report_id
    if not reference or (price is None and quantity) or not quantity.is_finite() or quantity < 0:
        anomaly(work, "UNUSABLE_CORRECTION", f"cannot tell what it corrects: {report}", order.number)
        return
    if leg is not None and alias and alias in leg.aliases:
        return
    if booked is not None and booked.quantity == quantity and booked.price == (price or ZERO):
        return
    imply_acceptance(work, order, report.broker_order_id)
    fee = version.fee if version is not None and not busted else None
    work.out(
        e.ExecutionCorrected(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=report.broker_order_id or order.broker_order_id,
            execution_id=root,
            quantity=quantity,
            price=price or ZERO,
            fee=fee if fee is not None or booked is None or busted else booked.fee,
            fee_currency=version.fee_currency if version is not None else "",
            alias=alias,
            stamp_ns=report.stamp_ns,
            sequence=report.sequence,
        )
    )
    if order.status in {Status.OPEN, Status.PARTIAL_FILL}:
        _restate(work, order, report)


def _pending(kind: WishKind) -> Callable[[Work, Order, Report, str], None]:
    def absorbed(work: Work, order: Order, report: Report, report_id: str) -> None:
        imply_acceptance_unless_submit(work, order, kind, report.broker_order_id)
        _restate(work, order, report)
        wish = _named(order, report, kind)
        if wish is None:
            _note(work, order, report, report_id)
            return
        acknowledge(work, order, wish, report_id, report.stamp_ns, report.sequence)

    return absorbed


def imply_acceptance_unless_submit(
    work: Work, order: Order, kind: WishKind, broker_order_id: str
) -> None:
    """A pending cancel or replace is of an accepted order; a pending submit is not."""
    if kind is not WishKind.SUBMIT:
        imply_acceptance(work, order, broker_order_id)


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


def _named(order: Order, report: Report, kind: WishKind | None = None) -> Wish | None:
    """Return the wish that a report answers: by its wire id, else the oldest that is out."""
    for wish in order.wishes:
        if report.wire_id and order.wish_wire_id(wish.wish) == report.wire_id:
            return wish if wish.is_out else None
    if report.wire_id and report.wire_id != order.wire_id:
        return None
    for wish in order.wishes:
        if wish.is_out and wish.kind is not WishKind.SUBMIT and kind in {None, wish.kind}:
            return wish
    return None


def _accepted(work: Work, order: Order, report: Report, report_id: str) -> None:
    if order.status is Status.NEW:
        work.out(
            e.OrderAccepted(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=report.broker_order_id,
                report_id=report_id,
                stamp_ns=report.stamp_ns,
                sequence=report.sequence,
            )
        )
        _restate(work, order, report)
    elif order.status is Status.FAILED:
        show_alive(work, order, report.broker_order_id, report.stamp_ns)
    else:
        _working(Condition.NONE)(work, order, report, report_id)


def _working(condition: Condition) -> Callable[[Work, Order, Report, str], None]:
    def absorbed(work: Work, order: Order, report: Report, report_id: str) -> None:
        imply_acceptance(work, order, report.broker_order_id)
        _restate(work, order, report)
        if order.is_terminal or order.condition is condition:
            _note(work, order, report, report_id)
            return
        work.out(
            e.ConditionChanged(
                at_ns=work.now_ns,
                number=order.number,
                condition=condition,
                report_id=report_id,
                stamp_ns=report.stamp_ns,
                sequence=report.sequence,
            )
        )

    return absorbed


def _rejected(work: Work, order: Order, report: Report, report_id: str) -> None:
    """A rejection applies only while the submit is unanswered; a repeat's rejection is not it."""
    submit = order.wish(0)
    if order.status is not Status.NEW or submit is None:
        _note(work, order, report, report_id)
        return
    if report.code is RefusalCode.DUPLICATE_ID:
        _note(work, order, report, report_id)
        unknown(work, order, submit, f"refused as a duplicate: {report.text}")
        return
    work.out(
        e.OrderRejected(
            at_ns=work.now_ns,
            number=order.number,
            code=report.code,
            text=report.text,
            report_id=report_id,
            stamp_ns=report.stamp_ns,
            sequence=report.sequence,
        )
    )


def unknown(work: Work, order: Order, wish: Wish, text: str) -> None:
    """Record that nobody can tell a request's outcome; it is looked up at once."""
    work.out(
        e.WishUnknown(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            look_at_ns=work.now_ns,
            text=text[:500],
        )
    )


def _canceled(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order, report.broker_order_id)
    leg = order.find_leg(report.broker_order_id)
    ended_other = leg is not None and leg is not order.leg
    replacing = order.oldest(WishKind.REPLACE)
    may_live_on = (
        work.capabilities.new_id_on_replace and replacing is not None and replacing.is_out
    )
    if ended_other or may_live_on:
        end_broker_order(work, order, report.broker_order_id, "canceled", report)
        if may_live_on and replacing is not None:
            unknown(work, order, replacing, "the broker order ended while a replace was on its way")
        return
    end(work, order, "canceled", report.text or "canceled", report_id, report)
    if report.cumulative is not None:
        _claim(work, order, report)


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


def end(  # noqa: PLR0913 - the parts of one fact
    work: Work, order: Order, how: str, word: str, report_id: str, shown: Report | Snapshot
) -> None:
    """Apply a broker's terminal word; on an ended order it is an anomaly or a repeat.

    `how` is `canceled`, `expired` or `rejected`; a rejection of an order that works already ends
    it CANCELED, the word kept.
    """
    at = {"stamp_ns": shown.stamp_ns, "sequence": shown.sequence}
    if order.is_terminal:
        if order.status not in _SAME_END[how]:
            anomaly(
                work,
                "END_AFTER_END",
                f"the broker says {word!r} of an order that is {order.status}",
                order.number,
            )
        if report_id:
            noted = e.ReportNoted(at_ns=work.now_ns, number=order.number, report_id=report_id, **at)
            work.out(noted)
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
        return
    work.out(
        kind(at_ns=work.now_ns, number=order.number, word=word, report_id=report_id, **at)
    )
    if how == "rejected":
        anomaly(work, "REJECTED_AFTER_FILL", f"ended CANCELED on {word!r}", order.number)


_SAME_END: Final = {
    "canceled": {Status.CANCELED, Status.EXPIRED, Status.REJECTED, Status.FAILED},
    "expired": {Status.EXPIRED, Status.CANCELED, Status.FAILED},
    "rejected": {Status.REJECTED, Status.CANCELED, Status.FAILED},
}


def _expired(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order, report.broker_order_id)
    leg = order.find_leg(report.broker_order_id)
    if leg is not None and leg is not order.leg:
        end_broker_order(work, order, report.broker_order_id, "expired", report)
        return
    end(work, order, "expired", report.text or "expired", report_id, report)


def _replaced(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order)
    wish = _named(order, report, WishKind.REPLACE)
    known = order.find_leg(report.broker_order_id) is not None
    if wish is not None and wish.kind is WishKind.REPLACE:
        confirm_replace(work, order, wish, report, report_id)
    elif known:
        _restate(work, order, report)
        _note(work, order, report, report_id)
    elif not order.is_terminal:
        confirm_replace(work, order, None, report, report_id)
    if not known and order.is_terminal and order.status is not Status.FILLED:
        show_alive(work, order, report.broker_order_id, report.stamp_ns)


def show_alive(work: Work, order: Order, broker_order_id: str, stamp_ns: int) -> None:
    """Count an ended order as exposure again until the broker has been asked."""
    if order.alive is None:
        work.out(
            e.AliveReported(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=broker_order_id,
                times=0,
                ask_at_ns=max(
                    work.now_ns, order.completed_ns + work.settings.quiet_ms * NS_PER_MS
                ),
                stamp_ns=stamp_ns,
            )
        )


def confirm_replace(
    work: Work, order: Order, wish: Wish | None, shown: Report | Snapshot, report_id: str = ""
) -> None:
    """Put a replace in force: the terms that the broker shows, else those asked for."""
    carried = work.capabilities.replace_carries_fills
    leg = order.leg
    is_new = bool(shown.broker_order_id) and (
        leg is None or leg.broker_order_id not in {"", shown.broker_order_id}
    )
    quantity = shown.order_quantity
    if quantity is not None and is_new:
        quantity = quantity if carried else add(quantity, order.filled_quantity)
    elif quantity is not None:
        quantity = order.total_quantity(leg, quantity)
    if quantity is None and wish is not None:
        quantity = wish.quantity
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


def _cancel_reject(work: Work, order: Order, report: Report, report_id: str) -> None:
    """A cancel or replace was refused. On an order never accepted, "unknown order" settles it.

    A FIX session answers in order, so a broker that does not know the order has not got it; an
    answer over HTTP says nothing of the kind and is looked up instead.
    """
    submit = order.wish(0)
    if report.code is RefusalCode.UNKNOWN_ORDER and order.status is Status.NEW and submit:
        failed = e.OrderFailed(
            at_ns=work.now_ns, number=order.number, code="UNKNOWN_ORDER", text=report.text
        )
        work.out(failed)
        return
    wish = _named(order, report)
    if wish is None or wish.kind is WishKind.SUBMIT:
        _note(work, order, report, report_id)
        return
    work.out(
        e.WishRefused(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            code=report.code,
            text=report.text,
            report_id=report_id,
            stamp_ns=report.stamp_ns,
            sequence=report.sequence,
        )
    )


def _status(work: Work, order: Order, report: Report, report_id: str) -> None:
    _note(work, order, report, report_id)


_MONEY: Final[dict[ReportKind, Callable[[Work, Order, Report], None]]] = {
    ReportKind.TRADE: _trade,
    ReportKind.TRADE_CORRECT: _amended,
    ReportKind.TRADE_CANCEL: _amended,
}
_STATES: Final[dict[ReportKind, Callable[[Work, Order, Report, str], None]]] = {
    ReportKind.PENDING_NEW: _pending(WishKind.SUBMIT),
    ReportKind.NEW: _accepted,
    ReportKind.REJECTED: _rejected,
    ReportKind.PENDING_CANCEL: _pending(WishKind.CANCEL),
    ReportKind.PENDING_REPLACE: _pending(WishKind.REPLACE),
    ReportKind.CANCELED: _canceled,
    ReportKind.REPLACED: _replaced,
    ReportKind.CANCEL_REJECT: _cancel_reject,
    ReportKind.RESTATED: _working(Condition.NONE),
    ReportKind.EXPIRED: _expired,
    ReportKind.SUSPENDED: _working(Condition.SUSPENDED),
    ReportKind.STOPPED: _working(Condition.STOPPED),
    ReportKind.DONE_FOR_DAY: _working(Condition.DONE_FOR_DAY),
    ReportKind.HELD: _working(Condition.HELD),
    ReportKind.ORDER_STATUS: _status,
}
