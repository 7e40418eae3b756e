"""The least that a broker is, for proofs: orders, executions, and words that wait to be told.

It matches nothing and has no time: a test says what fills, which words of its stream arrive, and
in which order. What it answers when asked is always the truth.
"""

from decimal import Decimal
from typing import Any, Final

from msgspec import Struct, field

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
)
from holdfast.domain.values import ZERO, Side, Status

_STATUS: Final = {True: Status.PARTIAL_FILL, False: Status.OPEN}


class Held(Struct, kw_only=True):
    """One broker order. `before` is what its predecessors filled, where figures carry over."""

    broker_order_id: str
    wire_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal | None
    before: Decimal = ZERO
    status: Status | None = None
    replaced_by: str = ""
    stamp: int = 0
    executions: dict[str, Execution] = field(default_factory=dict)

    @property
    def own(self) -> Decimal:
        """What this broker order itself filled."""
        return sum((one.quantity for one in self.executions.values()), ZERO)

    @property
    def cumulative(self) -> Decimal:
        """The figure that the broker shows as filled."""
        return self.before + self.own

    @property
    def is_working(self) -> bool:
        """Tell whether the order may still trade."""
        return self.status is None


class ModelBroker:
    """A broker account; `words` is what its stream has still to tell, oldest first."""

    modes = frozenset({"paper"})

    def __init__(self, capabilities: Capabilities | None = None, *, is_final: bool = False) -> None:
        """Start with no orders; `is_final` says that its answers mean done, and not pending."""
        self.capabilities = capabilities or Capabilities()
        self.is_final = is_final
        self.orders: dict[str, Held] = {}
        self.words: list[Report] = []
        self.stamp = 0
        self.trades = 0

    def call(self, effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
        """Carry out a request that has arrived and return the answer."""
        if isinstance(effect, SubmitOrder):
            return self._submit(effect)
        held = self._named(effect.broker_order_id, effect.orig_wire_id)
        if held is None:
            return Refused(text="no such order", code=RefusalCode.UNKNOWN_ORDER)
        if not held.is_working:
            return Refused(text=f"it is {held.status}", code=RefusalCode.TOO_LATE)
        if isinstance(effect, ReplaceOrder):
            return self._replace(held, effect)
        self.end(held.broker_order_id, Status.CANCELED)
        return self._done(held)

    def look(self, effect: LookupOrder) -> LookupResult:
        """Answer a question about an order: everything known by any of its ids."""
        found = [
            held
            for held in self.orders.values()
            if held.broker_order_id in effect.broker_order_ids or held.wire_id in effect.wire_ids
        ]
        for held in found:  # the list grows along the chain of replaces
            successor = self.orders.get(held.replaced_by)
            if successor is not None and successor not in found:
                found.append(successor)
        sightings = tuple(
            Sighting(
                snapshot=self.snapshot(held),
                executions=tuple(held.executions.values()),
                executions_complete=True,
            )
            for held in found
        )
        return LookupResult(sightings=sightings, complete=True)

    def listing(self) -> tuple[tuple[Snapshot, ...], tuple[tuple[str, str, Execution], ...]]:
        """Return the working orders, and every execution there ever was."""
        working = tuple(self.snapshot(held) for held in self.orders.values() if held.is_working)
        traded = tuple(
            (held.wire_id, held.broker_order_id, one)
            for held in self.orders.values()
            for one in held.executions.values()
        )
        return working, traded

    def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> None:
        """Let a working order trade, at most what is left of it."""
        held = self.orders[broker_order_id]
        quantity = min(quantity, held.quantity - held.cumulative)
        if not held.is_working or quantity <= 0:
            return
        self.trades += 1
        one = Execution(execution_id=f"e{self.trades}", quantity=quantity, price=price)
        held.executions[one.execution_id] = one
        if held.cumulative >= held.quantity:
            held.status = Status.FILLED
        self._tell(held, ReportKind.TRADE, execution=one, cumulative=held.cumulative)

    def bust(self, broker_order_id: str, execution_id: str) -> None:
        """Take a trade back; an order that it had completed works again."""
        held = self.orders[broker_order_id]
        del held.executions[execution_id]
        if held.status is Status.FILLED:
            held.status = None
        self._tell(held, ReportKind.TRADE_CANCEL, execution_ref=execution_id)

    def end(self, broker_order_id: str, status: Status) -> None:
        """Cancel or expire a working order."""
        held = self.orders[broker_order_id]
        if held.is_working:
            held.status = status
            self._tell(held, ReportKind(status.value))

    def snapshot(self, held: Held) -> Snapshot:
        """Show an order as it is."""
        status = held.status or _STATUS[held.cumulative > 0]
        return Snapshot(
            broker_order_id=held.broker_order_id,
            wire_id=held.wire_id,
            symbol=held.symbol,
            side=held.side,
            status=status,
            word=status.value,
            order_quantity=held.quantity,
            cumulative=held.cumulative,
            limit_price=held.limit_price,
            replaced_by=held.replaced_by,
            stamp_ns=held.stamp,
        )

    def _submit(self, effect: SubmitOrder) -> Outcome:
        same = [held for held in self.orders.values() if held.wire_id == effect.wire_id]
        unique = self.capabilities.unique_ids
        if unique != "none" and any(unique == "forever" or held.is_working for held in same):
            return Refused(text="duplicate", code=RefusalCode.DUPLICATE_ID)
        terms = effect.terms
        held = self._open(effect.wire_id, terms.symbol, terms.side, terms.quantity or ZERO)
        held.limit_price = terms.limit_price
        self._tell(held, ReportKind.NEW)
        return Accepted(broker_order_id=held.broker_order_id, stamp_ns=held.stamp)

    def _replace(self, old: Held, effect: ReplaceOrder) -> Outcome:
        terms, can = effect.terms, self.capabilities
        total = terms.quantity or ZERO
        left = effect.leaves_quantity or ZERO
        if left <= 0 or (can.replace_carries_fills and total <= old.cumulative):
            return Refused(text="filled already", code=RefusalCode.TOO_LATE)
        if not can.new_id_on_replace:
            old.quantity, old.limit_price = total, terms.limit_price
            self._tell(old, ReportKind.REPLACED, wire_id=effect.wire_id, order_quantity=total)
            return self._done(old)
        carries = can.replace_carries_fills
        size = total if carries else left
        new = self._open(effect.wire_id, old.symbol, old.side, size)
        new.limit_price, new.before = terms.limit_price, old.cumulative if carries else ZERO
        old.status, old.replaced_by = Status.CANCELED, new.broker_order_id
        self.stamp += 1
        old.stamp = self.stamp
        self._tell(new, ReportKind.REPLACED, orig_wire_id=old.wire_id, order_quantity=size)
        return self._done(new)

    def _done(self, held: Held) -> Accepted:
        return Accepted(
            broker_order_id=held.broker_order_id, final=self.is_final, stamp_ns=held.stamp
        )

    def _open(self, wire_id: str, symbol: str, side: Side, quantity: Decimal) -> Held:
        broker_order_id = f"B{len(self.orders) + 1}"
        held = self.orders[broker_order_id] = Held(
            broker_order_id=broker_order_id,
            wire_id=wire_id,
            symbol=symbol,
            side=side,
            quantity=quantity,
            limit_price=None,
        )
        return held

    def _named(self, broker_order_id: str, wire_id: str) -> Held | None:
        if broker_order_id:
            return self.orders.get(broker_order_id)
        return next((held for held in self.orders.values() if held.wire_id == wire_id), None)

    def _tell(self, held: Held, kind: ReportKind, **fields: Any) -> None:
        self.stamp += 1
        held.stamp = self.stamp
        told: dict[str, Any] = {
            "wire_id": held.wire_id,
            "broker_order_id": held.broker_order_id,
            "stamp_ns": held.stamp,
        }
        self.words.append(Report(kind=kind, **(told | fields)))
