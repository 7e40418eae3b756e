"""What a trade leaves behind beside the group that it is a part of.

Rule: what others seem to have closed is written off for good (`shares.py`), so that it comes back
where the reason for it goes: a trade is undone, or the entry behind an exit is told at last.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.alerts import raise_once
from holdfast.domain.group import ENTRY
from holdfast.domain.order import Order
from holdfast.domain.orphans import TRADES, sweep_orphans
from holdfast.domain.shares import surpluses
from holdfast.domain.values import Side, neg

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

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
        elif group is not None and order.role == ENTRY and group.ahead_ns == event.at_ns:
            _give_back(desk, group.symbol, group.side)


def _tell_forgotten(desk: "Desk", order: Order) -> None:
    """A trade may be told so late that nobody remembers the group which it belongs to."""
    symbol = order.terms.symbol
    text = f"{symbol}: order {order.client_order_id} filled after its group was forgotten; "
    raise_once(desk, GROUP_FORGOTTEN, f"{text}look at the position and protect it", symbol)


def _give_back(desk: "Desk", symbol: str, side: Side) -> None:
    """Let whoever owed what others seemed to have closed owe it again, as far as it is there."""
    for number, quantity in surpluses(desk, symbol, side).items():
        desk.out(e.GroupReduced(at_ns=desk.now_ns, group=number, quantity=neg(quantity)))
