"""What a trade leaves behind beside the group that it is a part of.

Rule: what others seem to have closed is written off for good (`shares.py`), so that it comes back
where the reason for it goes: a trade is undone, or the entry behind an exit is told at last.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from holdfast.domain import events as e
from holdfast.domain.alerts import raise_once
from holdfast.domain.group import ENTRY, Group
from holdfast.domain.order import Order
from holdfast.domain.orphans import TRADES, sweep_orphans
from holdfast.domain.shares import surpluses
from holdfast.domain.values import ZERO, Side, add, neg, sub

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_Trade: TypeAlias = e.OrderFilled | e.ExecutionCorrected

GROUP_FORGOTTEN: Final = "GROUP_FORGOTTEN"


def follow_trades(desk: "Desk", news: Iterable[e.AnyEvent]) -> None:
    """See to what the trades among the news mean for orders and groups that are not theirs."""
    trades = [event for event in news if isinstance(event, TRADES)]
    for event in trades:
        order = desk.order(event.number)
        if order is None:
            continue
        sweep_orphans(desk, order.terms.symbol)
        group = desk.state.groups.get(order.group) if order.group else None
        if order.group and group is None:
            _tell_forgotten(desk, order)
        if isinstance(event, e.ExecutionCorrected):
            if group is None or group.contingency == "close":
                _give_back(desk, order.terms.symbol, order.terms.side)
        elif group is not None and order.role == ENTRY and _was_ahead(desk, group, trades):
            _give_back(desk, group.symbol, group.side)


def _tell_forgotten(desk: "Desk", order: Order) -> None:
    """A trade may be told so late that nobody remembers the group which it belongs to."""
    symbol = order.terms.symbol
    text = f"{symbol}: order {order.client_order_id} filled after its group was forgotten; "
    raise_once(desk, GROUP_FORGOTTEN, f"{text}look at the position and protect it", symbol)


def _was_ahead(desk: "Desk", group: Group, trades: Iterable[_Trade]) -> bool:
    """Tell whether more was known of a group's exits than of its entry before these trades."""
    grown = ZERO
    for event in trades:
        order = desk.order(event.number)
        if isinstance(event, e.OrderFilled) and order is not None and order.group == group.group:
            traded = event.execution.quantity
            grown = add(grown, traded if order.role == ENTRY else neg(traded))
    return sub(sub(group.entered, group.exited), grown) < 0


def _give_back(desk: "Desk", symbol: str, side: Side) -> None:
    """Let whoever owed what others seemed to have closed owe it again, as far as it is there."""
    for number, quantity in surpluses(desk, symbol, side).items():
        desk.out(e.GroupReduced(at_ns=desk.now_ns, group=number, quantity=neg(quantity)))
