"""What a message of a broker's stream means for an order: reports in, events out.

Rule 1: every report counts once: a repeat is told by the broker's id for it, or by its place and
content.
Rule 2: a report older than what is applied changes nothing but money.

What this module does not know: how reports reach us, and what we still want from the order.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.facts import (
    acknowledge,
    confirm_replace,
    end,
    end_broker_order,
    imply_acceptance,
    meet,
    note,
    restate_by,
    show_alive,
    unknown,
)
from holdfast.domain.order import Order
from holdfast.domain.reports import RefusalCode, Report, ReportKind
from holdfast.domain.trades import amended, claim, trade
from holdfast.domain.values import Condition, Status
from holdfast.domain.wish import Wish, WishKind
from holdfast.domain.work import Work


def absorb(work: Work, order: Order, report: Report) -> None:
    """Turn one report about one order into events; a repeat gives none."""
    money = _MONEY.get(report.kind)
    if money is not None:
        money(work, order, report)
        return
    report_id = _report_id(report)
    if report_id and report_id in order.seen:
        return
    leg = order.find_leg(report.broker_order_id)
    news = leg.news(report.stamp_ns, report.sequence) if leg is not None else None
    if news is not None and news < 0:
        note(work, order, report, report_id)
        if report.kind in _ENDS and not order.is_terminal:
            work.look_up(order, f"{report.kind}, it was said, before what is known")
        return
    had_ended = order.is_terminal
    if report.kind not in _OF_REQUESTS:
        meet(work, order, report.broker_order_id, report.wire_id)
    _STATES[report.kind](work, order, report, report_id)
    if report.kind in _ALIVE and report.cumulative is not None:
        claim(work, order, report)
    if had_ended and report.kind in _ALIVE:
        _suspect(work, order, report, is_newer=leg is None or (news is not None and news > 0))


def _suspect(work: Work, order: Order, report: Report, *, is_newer: bool) -> None:
    """A newer word of life of an order that ended short of its quantity: it is asked for."""
    if is_newer and order.is_terminal and order.status is not Status.FILLED:
        show_alive(work, order, report.broker_order_id, report.stamp_ns)


def _report_id(report: Report) -> str:
    """Name a report by its own id, or by its place and content where it has none."""
    if report.report_id:
        return report.report_id
    if not (report.sequence or report.stamp_ns):
        return ""
    content = hashlib.sha256(msgspec.json.encode(report)).hexdigest()[:16]
    return f"{report.sequence or report.stamp_ns}.{content}"


def _pending(kind: WishKind) -> Callable[[Work, Order, Report, str], None]:
    def absorbed(work: Work, order: Order, report: Report, report_id: str) -> None:
        imply_acceptance_unless_submit(work, order, kind, report.broker_order_id)
        restate_by(work, order, report)
        wish = _named(order, report, kind)
        if wish is None:
            note(work, order, report, report_id)
            return
        acknowledge(work, order, wish, report_id, report.stamp_ns, report.sequence)

    return absorbed


def imply_acceptance_unless_submit(
    work: Work, order: Order, kind: WishKind, broker_order_id: str
) -> None:
    """A pending cancel or replace is of an accepted order; a pending submit is not."""
    if kind is not WishKind.SUBMIT:
        imply_acceptance(work, order, broker_order_id)


def _named(order: Order, report: Report, kind: WishKind | None = None) -> Wish | None:
    """Return the wish that a report answers: by its wire id, else the oldest that is out."""
    for wish in order.wishes:
        if report.wire_id and order.wish_wire_id(wish.wish) == report.wire_id:
            return wish
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
        restate_by(work, order, report)
    else:
        _working(Condition.NONE)(work, order, report, report_id)


def _working(condition: Condition) -> Callable[[Work, Order, Report, str], None]:
    def absorbed(work: Work, order: Order, report: Report, report_id: str) -> None:
        imply_acceptance(work, order, report.broker_order_id)
        restate_by(work, order, report)
        if order.is_terminal or order.condition in {condition, Condition.ABANDONED}:
            note(work, order, report, report_id)
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
        note(work, order, report, report_id)
        if not order.is_terminal and report.code is not RefusalCode.DUPLICATE_ID:
            work.look_up(order, "a rejection after its acceptance")
        return
    if report.code is RefusalCode.DUPLICATE_ID:
        note(work, order, report, report_id)
        unknown(work, order, submit, f"refused as a duplicate: {report.text}", duplicate=True)
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


def _canceled(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order, report.broker_order_id)
    leg = order.find_leg(report.broker_order_id)
    ended_other = leg is not None and leg is not order.leg
    replacing = order.oldest(WishKind.REPLACE)
    may_live_on = work.capabilities.new_id_on_replace and replacing is not None and replacing.is_out
    if ended_other or may_live_on:
        end_broker_order(work, order, report.broker_order_id, "canceled", report)
        if may_live_on and replacing is not None:
            unknown(work, order, replacing, "the broker order ended while a replace was on its way")
        return
    end(work, order, "canceled", report.text or "canceled", report_id, report)
    if report.cumulative is not None:
        claim(work, order, report)


def _expired(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order, report.broker_order_id)
    leg = order.find_leg(report.broker_order_id)
    if leg is not None and leg is not order.leg:
        end_broker_order(work, order, report.broker_order_id, "expired", report)
        return
    end(work, order, "expired", report.text or "expired", report_id, report)
    if report.cumulative is not None:
        claim(work, order, report)


def _replaced(work: Work, order: Order, report: Report, report_id: str) -> None:
    imply_acceptance(work, order)
    wish = _named(order, report, WishKind.REPLACE)
    if wish is not None and wish.kind is WishKind.REPLACE:
        confirm_replace(work, order, wish, report, report_id)
    elif order.find_leg(report.broker_order_id) is None:
        confirm_replace(work, order, None, report, report_id)
    else:
        restate_by(work, order, report)
        note(work, order, report, report_id)


def _cancel_reject(work: Work, order: Order, report: Report, report_id: str) -> None:
    """A cancel or replace was refused, which is no state of the order: its stamp is not noted.

    Where a session answers in order (FIX), "unknown order" settles an order never accepted: the
    broker has not got it. Elsewhere it says nothing of the kind, and the order is looked up. A
    refusal that names an earlier broker order says nothing of the one that works now.
    """
    report = msgspec.structs.replace(report, stamp_ns=0, sequence=0)
    submit = order.wish(0)
    unknown_order = report.code is RefusalCode.UNKNOWN_ORDER and order.status is Status.NEW
    if unknown_order and submit and work.capabilities.ordered_session:
        failed = e.OrderFailed(
            at_ns=work.now_ns, number=order.number, code="UNKNOWN_ORDER", text=report.text
        )
        work.out(failed)
        return
    wish = _named(order, report)
    leg = order.find_leg(report.broker_order_id)
    of_earlier = bool(report.broker_order_id) and leg is not order.leg
    if wish is None or wish.kind is WishKind.SUBMIT or of_earlier:
        note(work, order, report, report_id)
    else:
        work.out(
            e.WishRefused(
                at_ns=work.now_ns,
                number=order.number,
                wish=wish.wish,
                code=report.code,
                text=report.text,
                report_id=report_id,
            )
        )
    if not order.is_terminal:
        work.look_up(order, "a request was refused")


_MONEY: Final[dict[ReportKind, Callable[[Work, Order, Report], None]]] = {
    ReportKind.TRADE: trade,
    ReportKind.TRADE_CORRECT: amended,
    ReportKind.TRADE_CANCEL: amended,
}


# An older one of these may still be the truth: a trade that is newer does not say that it works.
_ENDS: Final = {ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REPLACED}

# What a broker says of an order that is with it and has not ended.
_ALIVE: Final = {
    ReportKind.NEW,
    ReportKind.PENDING_CANCEL,
    ReportKind.PENDING_REPLACE,
    ReportKind.REPLACED,
    ReportKind.RESTATED,
    ReportKind.SUSPENDED,
    ReportKind.STOPPED,
    ReportKind.HELD,
}

# These may name a broker order of a request that came to nothing; a replace confirms its own.
_OF_REQUESTS: Final = {ReportKind.REJECTED, ReportKind.CANCEL_REJECT, ReportKind.REPLACED}

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
    ReportKind.ORDER_STATUS: note,
}
