"""What the desk hears without having asked for one order: reports, polls, and callers' checks.

Rule: what contradicts the history or cannot be used is recorded, but a flood of the same is not a
flood of records. Whatever is about money is told apart by its execution and recorded for itself.
"""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.attend import ask
from holdfast.domain.order import Order
from holdfast.domain.pairs import meet
from holdfast.domain.reporting import absorb
from holdfast.domain.reports import Execution, Report, ReportKind, Snapshot
from holdfast.domain.sanity import TEXT_LENGTH_MAX, UnusableError, usable
from holdfast.domain.snapshots import absorb_poll, absorb_terms
from holdfast.domain.trades import book_trade, booked_in
from holdfast.domain.work import NS_PER_MS, anomaly

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# The same anomaly is written once in so long; what came between is counted.
ANOMALY_APART_MS: Final = 60_000
# Anomalies that are told apart; beyond them it is the code alone, but for those about money.
ANOMALIES_APART_MAX: Final = 1_000

_AMENDS: Final = frozenset({ReportKind.TRADE_CORRECT, ReportKind.TRADE_CANCEL})
_MONEY: Final = frozenset({ReportKind.TRADE, ReportKind.TRADE_CORRECT, ReportKind.TRADE_CANCEL})


def reported(desk: "Desk", given: inputs.Reported) -> None:
    """Take one message of the stream; one that cannot be used has its order looked up."""
    try:
        report = _readable(given)
    except UnusableError as error:
        order = _named(desk, given.report)
        if _record(desk, "UNUSABLE_REPORT", given.report, f"{given.report}: {error}", order):
            _ask_instead(desk, order, given.report)
        return
    order = _named(desk, report)
    if order is None:
        text = (
            f"a {report.kind} report of {report.broker_order_id or report.wire_id!r}, "
            "which is no order of this desk"
        )
        _record(desk, "UNKNOWN_ORDER", report, text, None)
        return
    if report.kind is ReportKind.TRADE and not _counts(report.execution):
        text = f"a trade with nothing to count, or no id to count it once by: {report}"
        if _record(desk, "UNUSABLE_TRADE", report, text, order):
            _ask_instead(desk, order, report)
        return
    absorb(desk, order, report)
    if report.kind in _AMENDS and any(leg.inferred for leg in order.legs):
        # What was undone may be what a figure had stood for: only an answer from now on tells.
        ask(desk, order, "a trade was amended, and not all of its trades are known")
    desk.control(order)


def _readable(given: inputs.Reported) -> Report:
    if given.is_remains:
        raise UnusableError("it could not be read")
    return usable(given.report)


def _ask_instead(desk: "Desk", order: Order | None, said: Report) -> None:
    if order is not None and (said.kind in _MONEY or not order.is_terminal):
        desk.look_up(order, "a report that cannot be used")


def _record(
    desk: "Desk", code: str, said: Report | Execution | Snapshot, text: str, order: Order | None
) -> bool:
    """Record an anomaly, unless the same one was recorded a moment ago; tell whether it was."""
    odd, key, is_money = desk.memo.odd, *_told_apart(code, said, order)
    apart_ns = ANOMALY_APART_MS * NS_PER_MS
    if key not in odd and len(odd) >= ANOMALIES_APART_MAX:
        oldest = next(iter(odd))
        if is_money or desk.now_ns - odd[oldest][0] >= apart_ns:
            del odd[oldest]
        else:
            key = code
    last_ns, repeats = odd.get(key, (-apart_ns, 0))
    if desk.now_ns - last_ns < apart_ns:
        odd[key] = (last_ns, repeats + 1)
        return False
    odd.pop(key, None)  # so that the one recorded longest ago comes first
    odd[key] = (desk.now_ns, 0)
    more = f" ({repeats} more like it since the last one shown)" if repeats else ""
    anomaly(desk, code, f"{text[: 500 - len(more)]}{more}", order.number if order else 0)
    return True


def _told_apart(
    code: str, said: Report | Execution | Snapshot, order: Order | None
) -> tuple[str, bool]:
    """Return what makes an anomaly the same as another, and whether it is about money."""
    if isinstance(said, Execution):
        return f"{code} {order.number if order else 0} {said.execution_id}", True
    ids = f"{said.broker_order_id[:TEXT_LENGTH_MAX]} {said.wire_id[:TEXT_LENGTH_MAX]}"
    name = order.number if order is not None else ids
    if isinstance(said, Snapshot):
        return f"{code} {name}", False
    if said.kind not in _MONEY:
        return f"{code} {name} {said.kind}", False
    traded = said.execution.execution_id if said.execution is not None else said.text
    return f"{code} {name} {said.kind} {traded} {said.execution_ref}", True


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
    listed: set[int] = set()
    shown: list[tuple[Order, Snapshot]] = []
    for snapshot in given.snapshots:
        order = _named(desk, snapshot)
        if order is None:
            continue
        listed.add(order.number)
        if _can_use(desk, snapshot, order):
            shown.append((order, usable(snapshot)))
    lines = {
        order.number: snapshot
        for order, snapshot in shown
        if given.executions and order.find_leg(snapshot.broker_order_id) is order.leg
    }
    for wire_id, broker_order_id, execution in given.executions:
        said = Snapshot(wire_id=wire_id, broker_order_id=broker_order_id)
        order = _named(desk, said)
        if order is None or not _can_use(desk, execution, order):
            continue
        line, trade = lines.get(order.number), usable(execution)
        if line is not None and booked_in(order, broker_order_id, trade.execution_id) is None:
            absorb_terms(desk, order, line, given.asked_ns)
        book_trade(desk, order, said, trade)
        desk.touch(order.number)
    for order, snapshot in shown:
        absorb_poll(desk, order, snapshot, given.asked_ns)
        meet(desk, order, snapshot.children)
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
        said = usable(said)
    except UnusableError as error:
        _record(desk, "UNUSABLE_REPORT", said, f"{said}: {error}", order)
        return False
    if isinstance(said, Execution) and not _counts(said):
        text = f"nothing to count, or no id to count it once by: {said}"
        _record(desk, "UNUSABLE_TRADE", said, text, order)
        return False
    return True


def _counts(trade: Execution | None) -> bool:
    return trade is not None and trade.quantity > 0 and bool(trade.execution_id)


def _ask_for_missing(desk: "Desk", listed: set[int], asked_ns: int) -> None:
    """An order that should work and is not listed is asked for; its absence ends nothing."""
    quiet_ns = desk.settings.quiet_ms * NS_PER_MS
    for order in desk.state.active.values():
        settled = asked_ns >= order.updated_ns + quiet_ns
        if order.is_working and settled and order.number not in listed:
            desk.look_up(order, "missing from the open orders")
