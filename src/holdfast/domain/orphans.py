"""Exits of no group whose position is gone: left alone they could only open another one."""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.exposure import is_exit
from holdfast.domain.flattening import may_cancel
from holdfast.domain.order import Order
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.sweeping import sweep

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# What may leave a position flat.
TRADES: Final = (e.OrderFilled, e.ExecutionCorrected)


def sweep_orphans(desk: "Desk", symbol: str) -> None:
    """Cancel the exits that a trade left without a position."""
    position = desk.positions.get(symbol)
    if position is not None and position.quantity:
        return
    lost = [
        order for order in desk.state.by_symbol.get(symbol, {}).values() if _is_lost(desk, order)
    ]
    sweep(desk, lost, reason=f"{symbol} is flat, there is nothing to close", by="holdfast")


def _is_lost(desk: "Desk", order: Order) -> bool:
    only_guards = order.terms.reduce_only or order.terms.order_type in UNTRIGGERED
    ours = not order.group and is_exit(order) and only_guards and not order.role
    return ours and not order.external and may_cancel(desk, order)
