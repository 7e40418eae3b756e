"""The FIX view of an order: OrdStatus and LeavesQty by the specification's precedence.

Source: FIX order state change matrices, OrdStatus precedence (FIX 4.2 Appendix D and later).
"""

from decimal import Decimal
from typing import Final

from holdfast.domain.order import Order
from holdfast.domain.values import ZERO, Condition, OrdStatus, Status, TimeInForce, sub
from holdfast.domain.wish import Stage, WishKind

_BY_STATUS: Final = {
    Status.NEW: OrdStatus.PENDING_NEW,
    Status.OPEN: OrdStatus.NEW,
    Status.PARTIAL_FILL: OrdStatus.PARTIALLY_FILLED,
    Status.FILLED: OrdStatus.FILLED,
    Status.CANCELED: OrdStatus.CANCELED,
    Status.EXPIRED: OrdStatus.EXPIRED,
    Status.REJECTED: OrdStatus.REJECTED,
    Status.FAILED: OrdStatus.REJECTED,
}


def ord_status(order: Order) -> OrdStatus:
    """Return OrdStatus: the highest of all that is true of the order.

    A request shows as pending only once the broker has acknowledged it.
    """
    acknowledged = [wish.kind for wish in order.wishes if wish.stage is Stage.ACKNOWLEDGED]
    if WishKind.CANCEL in acknowledged:
        return OrdStatus.PENDING_CANCEL
    if WishKind.REPLACE in acknowledged:
        return OrdStatus.PENDING_REPLACE
    if order.condition is Condition.DONE_FOR_DAY:
        return OrdStatus.DONE_FOR_DAY
    if order.status is Status.FILLED:
        return OrdStatus.FILLED
    if order.condition is Condition.STOPPED:
        return OrdStatus.STOPPED
    if order.condition is Condition.SUSPENDED:
        return OrdStatus.SUSPENDED
    return _BY_STATUS[order.status]


def leaves_quantity(order: Order) -> Decimal | None:
    """Return LeavesQty: 0 where the order does not work, None where its quantity is unknown.

    An order that is done for the day keeps its leaves if it is good till cancelled.
    """
    day_over = (
        order.condition is Condition.DONE_FOR_DAY and order.terms.time_in_force is TimeInForce.DAY
    )
    suspended = order.condition is Condition.SUSPENDED
    if order.is_terminal or day_over or suspended:
        return ZERO
    if order.quantity is None:
        return None
    rest = sub(order.quantity, order.filled_quantity)
    return rest if rest > 0 else ZERO
