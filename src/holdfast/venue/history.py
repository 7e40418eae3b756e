"""How an account looked a while ago: what a broker shows whose answers lag behind.

It is worked out from what is remembered: terms are shown as they are now, and the sequence is at
most what it was then, so nobody takes such a view for news.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from holdfast.domain.reports import Sighting, Snapshot
from holdfast.domain.values import ZERO, Status, add, mul, ratio
from holdfast.venue.orders import VenueOrder


def seen_at(order: VenueOrder, at_ns: int) -> Sighting | None:
    """Show an order as it was at a time, its executions not claimed to be all; None before it."""
    if order.created_ns > at_ns:
        return None
    if order.stamp_ns <= at_ns:
        return replace(order.sighting(), executions_complete=False)
    executions = tuple(
        fill.execution
        for fill in order.fills
        if fill.execution.stamp_ns <= at_ns and not fill.busted
    )
    filled, value = ZERO, ZERO
    for execution in executions:
        filled = add(filled, execution.quantity)
        value = add(value, mul(execution.quantity, execution.price))
    carried = order.listing.quantity(order.carried)
    status = Status.PARTIAL_FILL if filled or carried else Status.OPEN
    snapshot = replace(
        order.snapshot(),
        status=status,
        word=status.value,
        cumulative=add(carried, filled),
        average_price=ratio(value, filled) if filled else None,
        replaced_by="",
        stamp_ns=max((item.stamp_ns for item in executions), default=order.created_ns),
        sequence=1 + len(executions),
    )
    return Sighting(snapshot=snapshot, executions=executions)


def working_at(orders: Iterable[VenueOrder], at_ns: int) -> tuple[Snapshot, ...]:
    """Show the orders that worked at a time, as they were then."""
    seen = (seen_at(order, at_ns) for order in orders)
    return tuple(
        sighting.snapshot
        for sighting in seen
        if sighting is not None and sighting.snapshot.status in {Status.OPEN, Status.PARTIAL_FILL}
    )
