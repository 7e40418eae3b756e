"""What a report of a trade means: an execution, its correction or its bust.

Money first: an execution counts in any status, however late; repeats are told by its id, and a
trade is never ignored for being older than what is applied.
"""

from holdfast.domain import events as e
from holdfast.domain.facts import imply_acceptance, restate_by
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution, Report, ReportKind, Snapshot
from holdfast.domain.values import ZERO
from holdfast.domain.work import NS_PER_MS, Work, anomaly


def is_sane(execution: Execution) -> bool:
    """Tell whether there is something to count, and an id to count it once by."""
    return execution.quantity > 0 and bool(execution.execution_id)


def book_trade(
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


def trade(work: Work, order: Order, report: Report) -> None:
    """Count the execution that a report carries, and notice one that is missing before it."""
    if report.execution is None or not is_sane(report.execution):
        anomaly(
            work, "UNUSABLE_TRADE", f"a trade without a usable execution: {report}", order.number
        )
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
        claim(work, order, report)


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
    restate_by(work, order, report)


def claim(work: Work, order: Order, report: Report) -> None:
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


def amended(work: Work, order: Order, report: Report) -> None:
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
    if not reference or (price is None and quantity):
        anomaly(
            work, "UNUSABLE_CORRECTION", f"cannot tell what it corrects: {report}", order.number
        )
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
    if order.is_working:
        restate_by(work, order, report)
