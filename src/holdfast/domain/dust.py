"""What of a group is worth less than the least that can be ordered, and is at work nowhere.

Rule: nothing can be placed for dust, so that nothing is owed for it and nothing waits for it. What
exits already work for is no dust: they may still close it.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain.group import EXIT, Group, Phase, covers
from holdfast.domain.values import ZERO, add

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def without_dust(desk: "Desk", group: Group, share: Decimal) -> Decimal:
    """Return what exits can be placed for, of whole lots that a group is to look after.

    What somebody closes is tried all the same, and what rides with an entry the broker sizes.
    """
    instrument = desk.instruments.get(group.symbol)
    if not share or instrument is None or not instrument.minimum_notional:
        return share
    price = _price(desk, group)
    if group.contingency == "close" or price is None or instrument.can_order(share, price):
        return share
    orders = [one for n in group.live if (one := desk.state.order(n)) is not None]
    role = EXIT if group.phase is Phase.FLATTENING or group.guard is None else group.guard.role
    at_work = ZERO
    for order in orders:
        if order.role == role:
            at_work = add(at_work, covers(order))
    is_held = at_work == share or any(order.rides == group.entry for order in orders if order.rides)
    return share if is_held else ZERO


def _price(desk: "Desk", group: Group) -> Decimal | None:
    """Return the price at which an exit would be measured; None where nobody can tell."""
    wanted = group.guard.exit if group.guard is not None else None
    price = None
    if wanted is not None and group.phase is not Phase.FLATTENING:
        price = wanted.stop_price if wanted.stop_price is not None else wanted.limit_price
    position = desk.positions.get(group.symbol)
    if price is None and position is not None:
        price = position.average_price
    return price or None
