"""Exits of no group whose position is gone: left alone they could only open another one."""

from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.exposure import is_exit
from holdfast.domain.flattening import may_cancel
from holdfast.domain.order import Order
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.sweeping import sweep

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_TRADES = frozenset({e.OrderFilled, e.ExecutionCorrected})


def sweep_orphans(desk: "Desk") -> None:
    """Cancel the exits that a trade of this step left without a position."""
    traded = [event for event in desk.decided if type(event) in _TRADES]
    if not traded:
        return
    for symbol in sorted({_symbol(desk, event) for event in traded}):
        position = desk.positions.get(symbol)
        if position is not None and position.quantity:
            continue
        orders = desk.state.by_symbol.get(symbol, {}).values()
        lost = [order for order in orders if _is_lost(desk, order)]
        sweep(desk, lost, reason=f"{symbol} is flat, there is nothing to close", by="holdfast")


def _symbol(desk: "Desk", event: e.AnyEvent) -> str:
    order = desk.order(event.number)  # type: ignore[union-attr]  # trades are about orders
    return order.terms.symbol if order is not None else ""


def _is_lost(desk: "Desk", order: Order) -> bool:
    only_guards = order.terms.reduce_only or order.terms.order_type in UNTRIGGERED
    ours = not order.group and is_exit(order) and only_guards and not order.role
    return ours and not order.external and may_cancel(desk, order)
