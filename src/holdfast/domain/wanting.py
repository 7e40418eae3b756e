"""What a group wants of its roles, as people change it."""

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from holdfast.domain import events as e
from holdfast.domain.group import EXIT, STOP, TARGET, Group
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.order import Order
from holdfast.domain.values import ID_LENGTH_MAX
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def want_exit(
    desk: "Desk", group: Group, role: str, wanted: ExitTerms | None, *, by: str, reason: str
) -> None:
    """Record what a group wants of a role from now on; None for nothing."""
    desk.out(
        e.GroupExitChanged(
            at_ns=desk.now_ns,
            group=group.group,
            role=role,
            exit=wanted,
            by=by[:ID_LENGTH_MAX],
            reason=reason[:200],
        )
    )


def release(desk: "Desk", orders: list[Order], by: str, reason: str) -> None:
    """Want nothing any more of the roles whose orders somebody cancels."""
    for order in orders:
        group = desk.state.groups.get(order.group) if order.group else None
        if group is None or order.role not in {STOP, TARGET, EXIT}:
            continue
        if group.slot(order.role).exit is not None:
            want_exit(desk, group, order.role, None, by=by, reason=reason or "cancelled")


def move_exit(desk: "Desk", group: Group, order: Order, changes: dict[str, Decimal]) -> None:
    """Let a group want other prices of a role; it sees to the orders itself.

    Raises:
        InputError: another quantity, which follows from what the group looks after.
    """
    if "quantity" in changes:
        raise InputError(
            f"order {order.client_order_id} is the {order.role} of group {group.group}, which is "
            "sized by what that holds; change its price, or close a part of the position"
        )
    wanted = group.slot(order.role).exit
    if wanted is not None:
        moved = msgspec.structs.replace(wanted, trail=None, **changes)
        want_exit(desk, group, order.role, moved, by="caller", reason="replaced")
