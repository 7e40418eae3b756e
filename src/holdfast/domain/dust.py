"""What of a group is too little to order: the broker has refused an exit for it, and by the
instrument's figures it always will.

Rule: nothing is owed for dust and nothing waits for it. It takes both, the figures and a refusal:
some brokers take less of an exit than their figures say, and what can be guarded is.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain.group import EXIT, Group, Phase
from holdfast.domain.group_pace import failures_now
from holdfast.domain.quotes import fresh_quote

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def is_dust(desk: "Desk", group: Group, share: Decimal) -> bool:
    """Tell whether no exit can be placed for what a group is to look after.

    What somebody closes is tried all the same, and what rides with an entry the broker sizes.
    """
    instrument = desk.instruments.get(group.symbol)
    if not share or instrument is None or not instrument.minimum_notional:
        return False
    slot = group.slots.get(EXIT) if group.phase is Phase.FLATTENING else group.guard
    if group.contingency == "close" or slot is None or not failures_now(desk, group, slot):
        return False
    orders = [one for n in group.live if (one := desk.state.order(n)) is not None]
    if any(order.rides == group.entry for order in orders if order.rides):
        return False
    return not any(instrument.can_order(share, price) for price in _prices(desk, group))


def _prices(desk: "Desk", group: Group) -> list[Decimal]:
    """Return the prices at which an exit might be measured."""
    prices = [each.exit.stop_price or each.exit.limit_price for each in group.wanted if each.exit]
    position, quote = desk.positions.get(group.symbol), fresh_quote(desk, group.symbol)
    prices.append(position.average_price if position is not None else None)
    prices.append(quote.mark if quote is not None else None)
    return [price for price in prices if price]
