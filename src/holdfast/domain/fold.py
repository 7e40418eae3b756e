"""What each event does to one order: with `fold_wishes.py`, the only place where an order changes.

Rule: a fold trusts its event. Whether a fact may be believed was decided before it was written
down; here the tables say where it leads, and a move that they do not have is a defect.
"""

from decimal import Decimal
from typing import Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.executions import (
    Change,
    Leg,
    amend,
    book,
    book_inferred,
    notional,
    take_inferred,
)
from holdfast.domain.exposure import remember
from holdfast.domain.fold_policies import POLICY_FOLDS
from holdfast.domain.fold_wishes import WISH_FOLDS, Fold
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution
from holdfast.domain.transitions import (
    CONDITIONS,
    MOVES,
    DefectError,
    Fact,
    Overrule,
    Word,
    overrule,
)
from holdfast.domain.values import TERMINAL, ZERO, Condition, Status, add, sub
from holdfast.domain.wish import Stage, WishKind

REPORT_IDS_MAX: Final = 256


_WORDS: Final = {
    Condition.SUSPENDED: Word.SUSPEND,
    Condition.STOPPED: Word.STOP,
    Condition.DONE_FOR_DAY: Word.DONE_FOR_DAY,
    Condition.HELD: Word.HOLD,
    Condition.ABANDONED: Word.ABANDON,
    Condition.NONE: Word.NEW,
}


def is_full(order: Order, lot: Decimal) -> bool:
    """Tell whether less than one lot is left to fill."""
    return order.quantity is not None and sub(order.quantity, order.filled_quantity) < lot


def fold(order: Order, event: e.AnyEvent, lot: Decimal) -> list[Change]:
    """Apply an event to its order and return what it changed of quantity and cash."""
    order.updated_ns = event.at_ns
    kind = type(event)
    if kind in _NUMBERED and (report_id := event.report_id):  # type: ignore[union-attr]  # has one
        order.seen.append(report_id)
        del order.seen[:-REPORT_IDS_MAX]
    return _FOLDS[kind](order, event, lot)


def go(order: Order, fact: Fact, at_ns: int) -> None:
    """Move an order along `MOVES`; a move that is not there is a defect of the caller."""
    after = MOVES[order.status].get(fact)
    if after is None:
        message = f"order {order.wire_id}: no move from {order.status} by {fact}"
        raise DefectError(message)
    order.status = after
    if after in TERMINAL:
        _ended(order, at_ns)


def _ended(order: Order, at_ns: int) -> None:
    """Close what an end answers; a request already on its way is answered by the broker."""
    order.completed_ns = at_ns
    order.condition = CONDITIONS[Word.END] or Condition.NONE
    if order.status is Status.FILLED:
        order.wishes = [w for w in order.wishes if w.is_out and w.kind is not WishKind.SUBMIT]
    else:
        order.wishes = [w for w in order.wishes if w.is_out and w.kind is WishKind.REPLACE]


def _overrule(order: Order, fact: Overrule, at_ns: int) -> None:
    after = overrule(order.status, fact)
    if after is None:
        message = f"order {order.wire_id}: {order.status} is not overruled by {fact}"
        raise DefectError(message)
    if after is order.status:
        return
    order.status = after
    if order.is_terminal:
        _ended(order, at_ns)
    else:
        order.completed_ns, order.alive = 0, None
        order.submitted_ns = order.submitted_ns or at_ns


def _accepted(order: Order, event: e.OrderAccepted, _lot: Decimal) -> list[Change]:
    go(order, Fact.ACCEPT, event.at_ns)
    order.leg_for(event.broker_order_id).note(event.stamp_ns, event.sequence)
    order.submitted_ns = event.at_ns
    order.close_wish(0)
    return []


def _rejected(order: Order, event: e.OrderRejected, _lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    order.code, order.text = event.code, event.text
    go(order, Fact.REJECT, event.at_ns)
    return []


def _failed(order: Order, event: e.OrderFailed, _lot: Decimal) -> list[Change]:
    order.code, order.text = event.code, event.text
    go(order, Fact.FAIL, event.at_ns)
    return []


def _filled(order: Order, event: e.OrderFilled, lot: Decimal) -> list[Change]:
    leg = order.leg_for(event.broker_order_id)
    leg.note(event.stamp_ns, event.sequence)
    changes = (book_inferred if event.inferred else book)(leg, event.execution)
    if leg is not order.legs[-1] and not event.inferred:
        changes = [*_take_from_successors(order, leg, changes), *changes]
    _count(order, changes)
    if leg is not order.legs[-1]:
        _widen(order, changes)
    order.first_fill_ns = order.first_fill_ns or event.at_ns
    full = event.full or is_full(order, lot)
    if order.is_terminal:
        _overrule(order, Overrule.FILL_FULL if full else Overrule.FILL_PART, event.at_ns)
    else:
        go(order, Fact.FILL_LAST if full else Fact.FILL_PART, event.at_ns)
    return changes


def _count(order: Order, changes: list[Change]) -> None:
    for change in changes:
        order.filled_quantity = add(order.filled_quantity, change.quantity)
        order.notional = add(order.notional, notional(change))
        if change.fee is not None:
            before = order.fees.get(change.fee_currency, ZERO)
            order.fees[change.fee_currency] = add(before, change.fee)


def _take_from_successors(order: Order, leg: Leg, changes: list[Change]) -> list[Change]:
    """A successor that carries the fills may have been inferred to hold what traded here."""
    left, taken = ZERO, []
    for change in changes:
        left = add(left, change.quantity)
    for later in order.legs[order.legs.index(leg) + 1 :]:
        if later.carried and left > 0:
            for change in take_inferred(later, left):
                left = add(left, change.quantity)
                taken.append(change)
    return taken


def _widen(order: Order, changes: list[Change]) -> None:
    """What an older broker order filled is no part of the size of one that counts anew."""
    if order.quantity is None or order.legs[-1].carried:
        return
    for change in changes:
        order.quantity = add(order.quantity, change.quantity)
    order.largest = max(order.largest or ZERO, order.quantity)


def _corrected(order: Order, event: e.ExecutionCorrected, lot: Decimal) -> list[Change]:
    leg = order.leg_for(event.broker_order_id)
    leg.note(event.stamp_ns, event.sequence)
    version = Execution(
        execution_id=event.execution_id,
        quantity=event.quantity,
        price=event.price,
        fee=event.fee,
        fee_currency=event.fee_currency,
        stamp_ns=event.stamp_ns,
    )
    changes = amend(leg, version, event.execution_id, event.alias)
    _count(order, changes)
    if leg is not order.legs[-1]:
        _widen(order, changes)
    if is_full(order, lot):
        fact = Overrule.AMEND_FULL
    else:
        fact = Overrule.AMEND_PART if order.filled_quantity > 0 else Overrule.AMEND_NONE
    _overrule(order, fact, event.at_ns)
    return changes


def _held(order: Order, event: e.CumulativeReported, _lot: Decimal) -> list[Change]:
    order.held, order.held_until_ns = event.snapshot, event.decide_at_ns
    return []


def _released(order: Order, _event: e.SnapshotReleased, _lot: Decimal) -> list[Change]:
    order.held, order.held_until_ns = None, 0
    return []


def _note_end(order: Order, stamp_ns: int, sequence: int) -> None:
    """Remember how new the end is; one without a stamp can be compared with nothing."""
    if stamp_ns or sequence:
        order.note(stamp_ns, sequence)
    elif order.legs:
        order.legs[-1].stamp_ns = order.legs[-1].sequence = 0


def _canceled(order: Order, event: e.OrderCanceled, _lot: Decimal) -> list[Change]:
    _note_end(order, event.stamp_ns, event.sequence)
    order.text = event.word
    go(order, Fact.CANCEL, event.at_ns)
    return []


def _expired(order: Order, event: e.OrderExpired, _lot: Decimal) -> list[Change]:
    _note_end(order, event.stamp_ns, event.sequence)
    order.text = event.word
    go(order, Fact.EXPIRE, event.at_ns)
    return []


def _completed(order: Order, event: e.OrderCompleted, _lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    go(order, Fact.FILL_LAST, event.at_ns)
    return []


def _terms(order: Order, event: e.OrderRestated | e.OrderReplaced, lot: Decimal) -> None:
    """Put reported terms in force; a FILLED order may lose its end to a larger quantity."""
    if order.terms.notional is None:
        remember(order, event.at_ns)
    if event.quantity is not None:
        order.quantity = event.quantity
        order.largest = max(order.largest or ZERO, event.quantity)
    changed = {
        name: value
        for name in ("limit_price", "stop_price")
        if (value := getattr(event, name)) is not None
    }
    if changed:
        order.terms = msgspec.structs.replace(order.terms, **changed)
    if event.quantity is None:
        return
    full, some = is_full(order, lot), order.filled_quantity > 0
    if not order.is_terminal:
        if full and some:
            go(order, Fact.FILL_LAST, event.at_ns)
        return
    if full and overrule(order.status, Overrule.TERMS_FULL) is not None and some:
        _overrule(order, Overrule.TERMS_FULL, event.at_ns)
    elif order.status is Status.FILLED:
        _overrule(order, Overrule.TERMS_PART, event.at_ns)


def _restated(order: Order, event: e.OrderRestated, lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    _terms(order, event, lot)
    return []


def _replaced(order: Order, event: e.OrderReplaced, lot: Decimal) -> list[Change]:
    leg = order.leg
    if leg is not None and order.find_leg(event.broker_order_id) is None:
        leg.ended = True
        order.legs.append(Leg(broker_order_id=event.broker_order_id, carried=event.carried))
        _send_cancels_again(order, event.at_ns)
    else:
        order.leg_for(event.broker_order_id)
    order.note(event.stamp_ns, event.sequence)
    order.close_wish(event.wish)
    _terms(order, event, lot)
    if event.quantity is not None and order.terms.notional is not None:
        remember(order, event.at_ns)
        order.terms = msgspec.structs.replace(order.terms, notional=None, quantity=event.quantity)
    return []


def _send_cancels_again(order: Order, at_ns: int) -> None:
    """A cancel sent for the old broker order says nothing of the new one."""
    for wish in order.wishes:
        if wish.kind is WishKind.CANCEL and wish.is_out:
            wish.stage, wish.due_ns = Stage.UNKNOWN, at_ns


def _condition(order: Order, event: e.ConditionChanged, _lot: Decimal) -> list[Change]:
    order.note(event.stamp_ns, event.sequence)
    after = CONDITIONS[_WORDS[event.condition]]
    if after is not None and not order.is_terminal:
        order.condition = after
    return []


def _noted(order: Order, event: e.ReportNoted, _lot: Decimal) -> list[Change]:
    if event.broker_order_id:
        order.leg_for(event.broker_order_id)
    order.note(event.stamp_ns, event.sequence)
    return []


def _broker_order_ended(order: Order, event: e.BrokerOrderEnded, _lot: Decimal) -> list[Change]:
    leg = order.leg_for(event.broker_order_id)
    leg.ended = True
    leg.note(event.stamp_ns, event.sequence)
    return []


def _revived(order: Order, event: e.OrderRevived, _lot: Decimal) -> list[Change]:
    leg = order.leg_for(event.broker_order_id)
    leg.ended = False
    order.legs.remove(leg)
    order.legs.append(leg)
    some = order.filled_quantity > 0
    _overrule(order, Overrule.ALIVE_PART if some else Overrule.ALIVE_NONE, event.at_ns)
    return []


def _resolved(order: Order, event: e.OrderResolved, _lot: Decimal) -> list[Change]:
    order.code, order.text = "RESOLVED", f"{event.by}: {event.reason}"
    fact = Fact.FAIL if event.status == Status.FAILED else Fact.CANCEL
    order.lookup = None
    _note_end(order, 0, 0)
    go(order, fact, event.at_ns)
    order.wishes = []
    return []


_FOLDS: Final[dict[type, Fold]] = {
    **WISH_FOLDS,
    **POLICY_FOLDS,
    e.OrderAccepted: _accepted,
    e.OrderRejected: _rejected,
    e.OrderFailed: _failed,
    e.OrderFilled: _filled,
    e.ExecutionCorrected: _corrected,
    e.CumulativeReported: _held,
    e.SnapshotReleased: _released,
    e.OrderCanceled: _canceled,
    e.OrderExpired: _expired,
    e.OrderCompleted: _completed,
    e.OrderRestated: _restated,
    e.OrderReplaced: _replaced,
    e.ConditionChanged: _condition,
    e.ReportNoted: _noted,
    e.BrokerOrderEnded: _broker_order_ended,
    e.OrderRevived: _revived,
    e.OrderResolved: _resolved,
}
_NUMBERED: Final = frozenset(
    kind
    for kind in _FOLDS
    if "report_id" in kind.__struct_fields__  # type: ignore[attr-defined]  # each is a Struct
)
