"""What a report of a trade means: an execution, its correction or its bust.

Money first: an execution counts in any status, however late; repeats are told by its id, and a
trade is never ignored for being older than what is applied.
"""

from decimal import Decimal
from typing import Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.facts import doubt_sum, imply_acceptance, meet, restate_by, show_alive
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution, Report, ReportKind, Snapshot
from holdfast.domain.values import ZERO, Status
from holdfast.domain.work import NS_PER_MS, Work, anomaly

_NEVER_WORKED: Final = frozenset({Status.REJECTED, Status.FAILED})


def booked_in(order: Order, broker_order_id: str, execution_id: str) -> Leg | None:
    """Return the broker order in which an execution, or a version of it, is booked.

    A repeat may come without the broker's id of the order, or under the id of its successor where
    that carries the fills.
    """
    leg = order.find_leg(broker_order_id)
    if leg is not None and leg.knows(execution_id):
        return leg
    if len(order.legs) > 1 and (not broker_order_id or (leg is not None and leg.carried)):
        return next((other for other in order.legs if other.knows(execution_id)), None)
    return None


def book_trade(work: Work, order: Order, said: Report | Snapshot, trade: Execution) -> bool:
    """Count an execution that is said to be of an order, once; return whether it was new."""
    if trade.quantity <= 0 or not trade.execution_id:
        text = f"nothing to count, or no id to count it once by: {trade}"[:500]
        anomaly(work, "UNUSABLE_TRADE", text, order.number)
        return False
    if booked_in(order, said.broker_order_id, trade.execution_id) is not None:
        return False
    imply_acceptance(work, order, said.broker_order_id)
    legs = len(order.legs)
    meet(work, order, said.broker_order_id, said.wire_id)
    met = len(order.legs) > legs
    if met and booked_in(order, said.broker_order_id, trade.execution_id) is not None:
        return False
    before = order.status
    work.out(
        e.OrderFilled(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=said.broker_order_id or order.broker_order_id,
            execution=trade,
            full=isinstance(said, Report) and said.full,
            stamp_ns=said.stamp_ns,
            sequence=said.sequence,
        )
    )
    check_fill(work, order, before, said.broker_order_id, trade.execution_id)
    return True


def check_fill(
    work: Work, order: Order, before: Status, broker_order_id: str, execution_id: str
) -> None:
    """Show a fill that cannot be: of an order that never worked, or of more than was asked for."""
    limit = order.largest
    if limit is not None and order.filled_quantity > limit:
        anomaly(
            work,
            "OVERFILL",
            f"execution {execution_id} brings the filled quantity to "
            f"{order.filled_quantity}, above {limit}, the largest ever in force or asked for",
            order.number,
        )
    if before in _NEVER_WORKED:
        text = f"execution {execution_id} of an order that was {before}"
        anomaly(work, "FILL_AFTER_REFUSAL", text, order.number)
        if order.is_terminal and order.status is not Status.FILLED:
            show_alive(work, order, broker_order_id, 0)


def trade(work: Work, order: Order, report: Report) -> None:
    """Count the execution that a report carries, and notice one that is missing before it."""
    if report.execution is None:
        text = f"a trade without its execution: {report}"[:500]
        anomaly(work, "UNUSABLE_TRADE", text, order.number)
        return
    _restate_before_trade(work, order, report)
    if book_trade(work, order, report, report.execution):
        if report.cumulative is not None:
            claim(work, order, report)
        doubt_sum(work, order, report)


def _restate_before_trade(work: Work, order: Order, report: Report) -> None:
    """An OrderQty that a trade carries is in force before the trade counts."""
    if report.order_quantity is None or report.execution is None or order.is_terminal:
        return
    if booked_in(order, report.broker_order_id, report.execution.execution_id) is not None:
        return
    imply_acceptance(work, order, report.broker_order_id)
    meet(work, order, report.broker_order_id, report.wire_id)
    restate_by(work, order, report)


def claim(work: Work, order: Order, report: Report) -> None:
    """A cumulative figure above what is booked says that an execution is missing."""
    leg = order.find_leg(report.broker_order_id)
    if leg is None or report.cumulative is None or report.cumulative <= order.counted(leg):
        return
    waiting = order.held.cumulative if order.held is not None else None
    if leg.is_older(report.stamp_ns, report.sequence):
        return
    if waiting is None or report.cumulative > waiting:
        snapshot = Snapshot(
            broker_order_id=leg.broker_order_id,
            cumulative=report.cumulative,
            stamp_ns=report.stamp_ns,
            sequence=report.sequence,
        )
        until = work.now_ns + work.settings.inferred_grace_ms * NS_PER_MS
        work.out(
            e.CumulativeReported(
                at_ns=work.now_ns,
                number=order.number,
                snapshot=snapshot,
                decide_at_ns=order.held_until_ns or until,
            )
        )


def amended(work: Work, order: Order, report: Report) -> None:
    """A correction or bust: the newest version of the execution that it names."""
    version, busted = report.execution, report.kind is ReportKind.TRADE_CANCEL
    leg = booked_in(order, report.broker_order_id, report.execution_ref)
    root = leg.root(report.execution_ref) if leg is not None else report.execution_ref
    booked = leg.executions[root] if leg is not None else None
    quantity = version.quantity if version is not None and not busted else ZERO
    price = version.price if version is not None and version.price else None
    if price is None and booked is not None:
        price = booked.price
    if not root or (version is None and not busted) or (price is None and quantity):
        text = f"cannot tell what it corrects: {report}"[:500]
        anomaly(work, "UNUSABLE_CORRECTION", text, order.number)
        return
    fee, currency = _new_fee(version if not busted else None, booked if not busted else None)
    new = Execution(
        execution_id=version.execution_id if version is not None else report.report_id,
        quantity=quantity,
        price=price or ZERO,
        fee=fee,
        fee_currency=currency,
        stamp_ns=report.stamp_ns,
    )
    if leg is not None and booked is not None:
        if _is_repeat(leg, booked, new):
            return
        if new.stamp_ns < booked.stamp_ns and root in leg.aliases.values():
            new = msgspec.structs.replace(booked, execution_id=new.execution_id)
    imply_acceptance(work, order, report.broker_order_id)
    meet(work, order, report.broker_order_id, report.wire_id)
    before = order.status
    work.out(
        e.ExecutionCorrected(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=leg.broker_order_id if leg is not None else report.broker_order_id,
            execution_id=root,
            quantity=new.quantity,
            price=new.price,
            fee=new.fee,
            fee_currency=new.fee_currency,
            alias=new.execution_id,
            stamp_ns=new.stamp_ns,
            sequence=report.sequence,
        )
    )
    if order.held is not None:  # its figure is from before this, or not: the broker knows
        work.out(e.SnapshotReleased(at_ns=work.now_ns, number=order.number))
        work.look_up(order, "a cumulative figure, and a bust or correction")
    elif booked is None and any(one.waiting for one in order.legs):
        work.look_up(order, "a bust or correction of what may only be inferred")
    if new.quantity:
        check_fill(work, order, before, report.broker_order_id, root)
        doubt_sum(work, order, report)
    if order.is_working:
        restate_by(work, order, report)
        if before is Status.FILLED:
            work.look_up(order, "works again after a bust or correction")


def _new_fee(version: Execution | None, booked: Execution | None) -> tuple[Decimal | None, str]:
    """Return the fee of a new version: its own, else the one booked before; none of a bust."""
    for execution in (version, booked):
        if execution is not None and execution.fee is not None:
            return execution.fee, execution.fee_currency
    return None, ""


def _is_repeat(leg: Leg, booked: Execution, new: Execution) -> bool:
    """Tell whether a correction was applied before: by its id, or else by what it says."""
    if new.execution_id:
        return new.execution_id in leg.aliases
    same = (new.quantity, new.price, new.fee) == (booked.quantity, booked.price, booked.fee)
    return same and new.fee_currency == booked.fee_currency
