"""Run FIX order-state vectors through the desk: `python -m holdfast.testing.vectors FILE`.

Facts go in, states come out. The runner feeds a vector's requests and reports to a desk and
compares the FIX view of the order after each report. The expected columns are read only by the
comparison: a file without them prints the same states.

Three ways to deliver: as the rows stand; each report twice in a row; or polled, where every
report is replaced by a snapshot of the order taken just after it, without execution ids.
"""

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder
from holdfast.domain.fix_view import leaves_quantity, ord_status
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.reports import (
    Execution,
    LookupResult,
    RefusalCode,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Condition, OrdStatus, Status, plain, ratio
from holdfast.errors import InputError

_SECOND: Final = 1_000_000_000
_SYMBOL: Final = "VECTOR"
_LIMIT_PRICE: Final = "100"
"""How close AvgPx must come when a snapshot's rounded average is all that is known."""
_POLLED_TOLERANCE: Final = Decimal("1e-9")


class Delivery(StrEnum):
    """How the broker's reports reach the desk."""

    STREAM = "stream"
    REPEATED = "repeated"
    POLLED = "polled"


class Row(Struct, frozen=True, kw_only=True):
    """One request or report, without what is expected of it."""

    dir: str
    event: str
    cl_ord_id: str
    orig_cl_ord_id: str | None = None
    qty: Decimal | None = None
    px: Decimal | None = None
    order_qty: Decimal | None = None
    exec_id: str | None = None
    exec_ref_id: str | None = None
    reason: str | None = None
    order_id: str | None = None
    qty_fields_carried: bool = False


class State(Struct, frozen=True, kw_only=True):
    """What FIX shows of an order; None where a quantity is not known."""

    ord_status: str
    cum_qty: Decimal | None
    leaves_qty: Decimal | None
    avg_px: Decimal | None

    def __str__(self) -> str:
        """Show the state on one line."""
        quantities = (self.cum_qty, self.leaves_qty, self.avg_px)
        return f"{self.ord_status} " + " ".join("-" if q is None else plain(q) for q in quantities)


class Mismatch(Struct, frozen=True, kw_only=True):
    """A row after which the order did not show what was expected."""

    vector: str
    row: int
    event: str
    column: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Show the mismatch on one line."""
        return (
            f"MISMATCH {self.vector} row {self.row} {self.event}: "
            f"{self.column} expected {self.expected}, found {self.found}"
        )


class Result(Struct, kw_only=True):
    """What running one vector gave: the state after each report, and where it differs."""

    vector: str
    states: list[tuple[int, str, State]] = msgspec.field(default_factory=list)
    compared: int = 0
    mismatches: list[Mismatch] = msgspec.field(default_factory=list)


class _Session:
    """One desk that plays the sender of a vector's orders."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.name = str(vector["id"])
        self.time_in_force = str(vector["tif"]).lower()
        settings = Settings(inferred_grace_ms=0, quiet_ms=0)
        self.desk = Desk(settings)
        self.now = _SECOND
        self.wire_ids: dict[str, str] = {}
        self.orders: dict[str, int] = {}
        self.lookups: list[LookupOrder] = []
        self.step(inputs.Connected(Capabilities(ordered_session=True)))
        opening = inputs.Open(desk="v", epoch="0" * 12, account="vectors")
        self.step(opening)
        self.step(inputs.Define(Instrument.of(_SYMBOL, tick="0.125")))

    def step(self, given: inputs.Input) -> None:
        self.now += 1_000
        decision = self.desk.step(given, self.now)
        for effect in decision.effects:
            if isinstance(effect, CancelOrder | ReplaceOrder):
                self.last_wire_id = effect.wire_id
            elif isinstance(effect, LookupOrder):
                self.lookups.append(effect)

    def order(self, cl_ord_id: str) -> Order:
        order = self.desk.order(self.orders[cl_ord_id])
        if order is None:
            message = f"{self.name}: order {cl_ord_id} is not in memory"
            raise LookupError(message)
        return order

    def send(self, row: Row) -> None:
        """Make the request of an `out` row."""
        if row.event == "new_order":
            self._new_order(row.cl_ord_id, row.qty)
            return
        origin = row.orig_cl_ord_id or row.cl_ord_id
        if origin not in self.orders:  # an order that the broker never had
            self._new_order(origin, row.qty)
            number = self.orders[origin]
            lost = Unknown(text="no answer")
            self.step(inputs.Answer(number=number, wish=0, attempt=1, outcome=lost))
        order = self.order(origin)
        if row.event == "cancel_request":
            self.step(inputs.Cancel(client_order_id=order.client_order_id))
        else:
            self.step(inputs.Replace(client_order_id=order.client_order_id, quantity=row.qty))
        self.orders[row.cl_ord_id] = order.number
        self.wire_ids[row.cl_ord_id] = order.wish_wire_id(order.last_wish)

    def _new_order(self, cl_ord_id: str, quantity: Decimal | None) -> None:
        request = OrderRequest(
            symbol=_SYMBOL,
            side="buy",
            quantity=quantity,
            time_in_force=self.time_in_force,
            order_type="limit",
            limit_price=_LIMIT_PRICE,
            client_order_id=cl_ord_id,
        )
        self.step(inputs.Submit(request))
        order = self.desk.find(cl_ord_id)
        if order is None:
            raise InputError(f"{self.name}: order {cl_ord_id} of {quantity} was refused")
        self.orders[cl_ord_id] = order.number
        self.wire_ids.setdefault(cl_ord_id, order.wire_id)

    def state(self, cl_ord_id: str) -> State:
        """Show the order as FIX does."""
        order = self.order(cl_ord_id)
        return State(
            ord_status=ord_status(order),
            cum_qty=order.filled_quantity,
            leaves_qty=leaves_quantity(order),
            avg_px=order.average_price if order.filled_quantity else None,
        )


class _Prices:
    """The averages that a vector's executions make, computed without the desk."""

    def __init__(self) -> None:
        self.count = 0
        self.trades: dict[str, dict[str, tuple[Decimal, Decimal]]] = {}
        self.roots: dict[str, str] = {}

    def next(self, row: Row) -> Decimal:
        """Price an execution: as the row says, else the k-th at 100 + k/8."""
        self.count += 1
        return row.px if row.px is not None else 100 + Decimal(self.count) / 8

    def book(self, order: str, execution_id: str, quantity: Decimal, price: Decimal) -> None:
        self.roots[execution_id] = execution_id
        self.trades.setdefault(order, {})[execution_id] = (quantity, price)

    def amend(self, order: str, row: Row, execution_id: str) -> None:
        root = self.roots[row.exec_ref_id or ""]
        self.roots[execution_id] = root
        old = self.trades[order][root][1]
        quantity = row.qty if row.event == "trade_correct" and row.qty else ZERO
        self.trades[order][root] = (quantity, row.px if row.px is not None else old)

    def average(self, order: str) -> Decimal | None:
        trades = self.trades.get(order, {}).values()
        quantity = sum((q for q, _ in trades), ZERO)
        worth = sum((q * p for q, p in trades), ZERO)
        return ratio(worth, quantity) if quantity else None


def run_vector(vector: dict[str, Any], delivery: Delivery = Delivery.STREAM) -> Result:
    """Run one vector and compare the FIX view after each report with what it expects."""
    broker, desk = _Session(vector), _Session(vector)
    prices, result = _Prices(), Result(vector=desk.name)
    for number, step in enumerate(vector["steps"], start=1):
        row = msgspec.convert(step, Row)
        if row.dir == "out":
            broker.send(row)
            desk.send(row)
            continue
        report = _report(broker, row, number, prices)
        broker.step(inputs.Reported(report))
        if delivery is Delivery.POLLED:
            _poll(desk, broker, row, number)
        else:
            for _ in range(2 if delivery is Delivery.REPEATED else 1):
                desk.step(inputs.Reported(report))
        state = desk.state(row.cl_ord_id)
        result.states.append((number, row.event, state))
        order = broker.order(row.cl_ord_id).client_order_id
        _compare(result, number, step, state, prices.average(order), delivery)
    return result


_CODES: Final = {
    ("rejected", "(6)"): RefusalCode.DUPLICATE_ID,
    ("cancel_reject", "(1)"): RefusalCode.UNKNOWN_ORDER,
    ("cancel_reject", "(0)"): RefusalCode.TOO_LATE,
}


def _report(session: _Session, row: Row, number: int, prices: _Prices) -> Report:
    """Write an `in` row as a report; ids that it lacks depend on vector and row only."""
    exec_id = row.exec_id or f"{session.name}.{number}"
    execution = None
    order = session.order(row.cl_ord_id)
    if row.event == "trade" and row.qty is not None:
        execution = Execution(execution_id=exec_id, quantity=row.qty, price=prices.next(row))
        prices.book(order.client_order_id, exec_id, row.qty, execution.price)
    elif row.event in {"trade_correct", "trade_cancel"}:
        prices.amend(order.client_order_id, row, exec_id)
        quantity = row.qty or ZERO
        execution = Execution(execution_id=exec_id, quantity=quantity, price=row.px or ZERO)
    named = (c for (e, r), c in _CODES.items() if e == row.event and r in (row.reason or ""))
    return Report(
        kind=ReportKind(row.event),
        wire_id=session.wire_ids.get(row.cl_ord_id, row.cl_ord_id),
        orig_wire_id=session.wire_ids.get(row.orig_cl_ord_id or "", ""),
        broker_order_id="" if row.order_id in {None, "NONE"} else str(row.order_id),
        report_id="" if row.event == "trade" else exec_id,
        execution=execution,
        execution_ref=row.exec_ref_id or "",
        order_quantity=None if row.qty_fields_carried else row.order_qty,
        code=next(named, RefusalCode.OTHER),
        text=row.reason or "",
        sequence=number,
    )


_PENDING: Final = {"PENDING_CANCEL": "cancel", "PENDING_REPLACE": "replace", "PENDING_NEW": "new"}
_CONDITIONS: Final = {
    "SUSPENDED": Condition.SUSPENDED,
    "STOPPED": Condition.STOPPED,
    "DONE_FOR_DAY": Condition.DONE_FOR_DAY,
}
_ENDS: Final = {
    OrdStatus.FILLED: Status.FILLED,
    OrdStatus.CANCELED: Status.CANCELED,
    OrdStatus.EXPIRED: Status.EXPIRED,
    OrdStatus.REJECTED: Status.REJECTED,
}


def _poll(desk: _Session, broker: _Session, row: Row, number: int) -> None:
    """Show the desk the order as the broker has it after this row."""
    shown, order = broker.state(row.cl_ord_id), broker.order(row.cl_ord_id)
    snapshot = Snapshot(
        wire_id=desk.order(row.cl_ord_id).wire_id,
        status=_ENDS.get(OrdStatus(shown.ord_status)),
        word=shown.ord_status.lower(),
        pending=_PENDING.get(shown.ord_status, ""),
        condition=_CONDITIONS.get(shown.ord_status, Condition.NONE),
        order_quantity=order.quantity,
        cumulative=shown.cum_qty,
        average_price=shown.avg_px,
        sequence=number,
    )
    polled = inputs.Polled(asked_ns=desk.now + 1, snapshots=(snapshot,))
    desk.step(polled)
    while desk.lookups:
        asked = desk.lookups.pop(0)
        sightings = (Sighting(snapshot=snapshot),) if row.order_id != "NONE" else ()
        desk.step(
            inputs.Looked(
                number=asked.number,
                attempt=asked.attempt,
                asked_ns=desk.now + 1,
                result=LookupResult(sightings=sightings, complete=bool(sightings)),
            )
        )


def _compare(
    result: Result,
    number: int,
    step: dict[str, Any],
    state: State,
    average: Decimal | None,
    delivery: Delivery,
) -> None:
    found = msgspec.structs.asdict(state)
    expected = {name: step.get(name) for name in ("ord_status", "cum_qty", "leaves_qty", "avg_px")}
    if expected["avg_px"] is None and expected["ord_status"] is not None:
        expected["avg_px"] = average
    for column, value in expected.items():
        if value is None:
            continue
        result.compared += 1
        got = found[column]
        close = column == "avg_px" and delivery is Delivery.POLLED and got is not None
        if got == value or (close and abs(got - value) <= _POLLED_TOLERANCE):
            continue
        result.mismatches.append(
            Mismatch(
                vector=result.vector,
                row=number,
                event=str(step["event"]),
                column=column,
                expected=str(value),
                found=str(got),
            )
        )


def load(path: Path) -> list[dict[str, Any]]:
    """Read a file of vectors, numbers as exact decimals.

    Raises:
        InputError: the file is missing, no JSON, not a list of vectors, or an empty one.
    """
    try:
        vectors = json.loads(
            path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read vectors from {path}: {error}; give a JSON file") from error
    if not isinstance(vectors, list) or not all(
        isinstance(v, dict) and {"id", "tif", "steps"} <= set(v) for v in vectors
    ):
        raise InputError(f"{path} holds no list of vectors with id, tif and steps")
    if not vectors:
        raise InputError(f"{path} holds an empty list: there is nothing to run; name another file")
    return vectors


def run_file(path: Path, delivery: Delivery = Delivery.STREAM) -> Iterator[Result]:
    """Run every vector of a file."""
    for vector in load(path):
        yield run_vector(vector, delivery)


_USAGE: Final = "usage: python -m holdfast.testing.vectors FILE [--repeated | --polled] [--quiet]"


def main(arguments: list[str]) -> int:
    """Print the state after each report, each mismatch and a count; 0 when all agree."""
    options = {name for name in arguments if name.startswith("-")}
    files = [name for name in arguments if not name.startswith("-")]
    known = {"--repeated", "--polled", "--quiet"}
    if len(files) != 1 or options - known or {"--repeated", "--polled"} <= options:
        sys.stderr.write(_USAGE + "\n")
        return 2
    delivery = next((d for d in Delivery if f"--{d}" in options), Delivery.STREAM)
    try:
        results = list(run_file(Path(files[0]), delivery))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for result in results:
        if "--quiet" not in options:
            for number, event, state in result.states:
                sys.stdout.write(f"{result.vector} {number} {event}: {state}\n")
        for mismatch in result.mismatches:
            sys.stdout.write(f"{mismatch}\n")
    mismatches = sum(len(result.mismatches) for result in results)
    rows = sum(len(result.states) for result in results)
    sys.stdout.write(f"{len(results)} vectors, {rows} reports, {mismatches} mismatches\n")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
