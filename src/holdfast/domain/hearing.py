"""What the desk hears without having asked for one order: reports, polls, and callers' checks."""

from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.order import Order
from holdfast.domain.reporting import absorb
from holdfast.domain.reports import Execution, Report, Snapshot
from holdfast.domain.sanity import UnusableError, usable
from holdfast.domain.snapshots import absorb_poll
from holdfast.domain.trades import book_trade
from holdfast.domain.work import NS_PER_MS, anomaly

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def reported(desk: "Desk", given: inputs.Reported) -> None:
    """Take one message of the stream."""
    try:
        report = usable(given.report)
    except UnusableError as error:
        anomaly(desk, "UNUSABLE_REPORT", f"{given.report}: {error}"[:500])
        return
    order = _named(desk, report)
    if order is None:
        anomaly(
            desk,
            "UNKNOWN_ORDER",
            f"a {report.kind} report of {report.broker_order_id or report.wire_id!r}, "
            "which is no order of this desk",
        )
        return
    absorb(desk, order, report)
    desk.control(order)


def _named(desk: "Desk", said: Report | Snapshot) -> Order | None:
    """Find the order that a broker means: by our id first, then by any id it has had."""
    number = desk.owner_of(said.wire_id)
    if not number and isinstance(said, Report):
        number = desk.owner_of(said.orig_wire_id)
    if not number and said.broker_order_id:
        number = desk.state.names.get(f"b:{said.broker_order_id}", 0)
    return desk.state.order(number) if number else None


def polled(desk: "Desk", given: inputs.Polled) -> None:
    """Take one poll of the account."""
    for wire_id, broker_order_id, execution in given.executions:
        said = Snapshot(wire_id=wire_id, broker_order_id=broker_order_id)
        order = _named(desk, said)
        if order is not None and _can_use(desk, execution, order):
            book_trade(desk, order, said, usable(execution))
            desk.touch(order.number)
    listed: set[int] = set()
    for snapshot in given.snapshots:
        order = _named(desk, snapshot)
        if order is None:
            continue
        listed.add(order.number)
        if _can_use(desk, snapshot, order):
            absorb_poll(desk, order, usable(snapshot), given.asked_ns)
            desk.touch(order.number)
    if given.complete:
        desk.memo.reconciled = True
        _ask_for_missing(desk, listed, given.asked_ns)


def checked(desk: "Desk", given: inputs.Checked) -> None:
    """Record that a caller asked the broker for an order, and take what it said."""
    if desk.state.order(given.number) is None:
        return
    answered = given.polled is not None
    desk.out(
        e.StatusChecked(
            at_ns=desk.now_ns, number=given.number, answered=answered, tries=given.tries
        )
    )
    if given.polled is not None:
        polled(desk, given.polled)


def _can_use(desk: "Desk", said: Execution | Snapshot, order: Order) -> bool:
    try:
        usable(said)
    except UnusableError as error:
        anomaly(desk, "UNUSABLE_REPORT", f"{said}: {error}"[:500], order.number)
        return False
    return True


def _ask_for_missing(desk: "Desk", listed: set[int], asked_ns: int) -> None:
    """An order that should work and is not listed is asked for; its absence ends nothing."""
    quiet_ns = desk.settings.quiet_ms * NS_PER_MS
    for order in desk.state.active.values():
        settled = asked_ns >= order.updated_ns + quiet_ns
        if order.is_working and settled and order.number not in listed:
            desk.look_up(order, "missing from the open orders")
