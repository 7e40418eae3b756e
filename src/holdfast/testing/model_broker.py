"""The least that a broker is, for proofs: orders, executions, and words that wait to be told.

It matches nothing and has no time: a test says what fills, which words of its stream arrive, and
in which order. What it answers when asked is always the truth.

Orders that come with exits are tied together as its capabilities say: exits are held until their
entry fills, what one exit trades is taken off the other, and one that fills whole ends the other
and what is left of the entry. A cancel that was asked for ends both exits of a pair that lives; any
other end leaves the second at work. Busts give back to those that work, never more than is held,
and revive no other.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct, field

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    Child,
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
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import ZERO, Condition, Side, Status

_STATUS: Final = {True: Status.PARTIAL_FILL, False: Status.OPEN}
_LINKED: Final = "linked"


class Tie(Struct, kw_only=True, eq=False):
    """An entry with its exits, or a pair of exits whose parent is the target; by broker order ids.

    `total` is what the exits may trade altogether and `traded` what they did; `is_live` says
    that they are no longer held.
    """

    parent: str
    is_pair: bool
    exits: dict[str, str] = field(default_factory=dict)
    is_live: bool = False
    total: Decimal = ZERO
    traded: Decimal = ZERO

    @property
    def room(self) -> Decimal:
        """What the exits may still trade."""
        return self.total - self.traded


class Held(Struct, kw_only=True):
    """One broker order. `before` is what its predecessors filled, where figures carry over.

    `tie` is what ties it to others, and `role` what it is to them: entry, stop or target. It
    `reduces` where it was sent to do nothing else.
    """

    broker_order_id: str
    wire_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    reduces: bool = False
    role: str = ""
    tie: Tie | None = None
    condition: Condition = Condition.NONE
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
    def leaves(self) -> Decimal:
        """What is left to fill."""
        return self.quantity - self.cumulative

    @property
    def is_exit(self) -> bool:
        """Tell whether it is tied to others as an exit."""
        return self.role in {"stop", "target"}

    @property
    def is_held(self) -> bool:
        """Tell whether it waits for its entry to fill."""
        return self.condition is Condition.HELD

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
        was_held = held.is_held
        self.end(held.broker_order_id, Status.CANCELED)
        if held.tie is not None and held.is_exit and not was_held:
            self._end_all(held.tie.exits.values())
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
        lists = self.capabilities.lists_executions
        sightings = tuple(
            Sighting(
                snapshot=self.snapshot(held),
                executions=tuple(held.executions.values()) if lists else (),
                executions_complete=lists,
            )
            for held in found
        )
        return LookupResult(sightings=sightings, complete=True)

    def listing(self) -> tuple[tuple[Snapshot, ...], tuple[tuple[str, str, Execution], ...]]:
        """Return the working orders and the executions, as far as this broker lists them."""
        shows_held = self.capabilities.lists_held_legs
        working = tuple(
            self.snapshot(held)
            for held in self.orders.values()
            if held.is_working and (shows_held or not held.is_held)
        )
        traded = tuple(
            (held.wire_id, held.broker_order_id, one)
            for held in self.orders.values()
            for one in held.executions.values()
            if self.capabilities.lists_executions
        )
        return working, traded

    def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> None:
        """Let a working order trade, at most what is left of it; a held one does not."""
        held = self.orders[broker_order_id]
        quantity = min(quantity, held.leaves)
        if not held.is_working or held.is_held or quantity <= 0:
            return
        self.trades += 1
        one = Execution(execution_id=f"e{self.trades}", quantity=quantity, price=price)
        held.executions[one.execution_id] = one
        if held.cumulative >= held.quantity:
            held.status = Status.FILLED
        self._tell(held, ReportKind.TRADE, execution=one, cumulative=held.cumulative)
        if held.tie is not None:
            self._follow_trade(held, held.tie, quantity)

    def bust(self, broker_order_id: str, execution_id: str) -> None:
        """Take a trade back; an order that it had completed works again."""
        held = self.orders[broker_order_id]
        quantity = held.executions.pop(execution_id).quantity
        if held.status is Status.FILLED:
            held.status = None
        self._tell(held, ReportKind.TRADE_CANCEL, execution_ref=execution_id)
        if held.tie is not None:
            self._follow_bust(held, held.tie, quantity)

    def end(self, broker_order_id: str, status: Status, text: str = "") -> None:
        """Cancel or expire a working order; held exits go with their entry."""
        held = self.orders[broker_order_id]
        if not held.is_working:
            return
        held.status, held.condition = status, Condition.NONE
        self._tell(held, ReportKind(status.value), text=text)
        tie = held.tie
        if tie is not None and not held.is_exit and not tie.is_live:
            self._end_all(tie.exits.values())

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
            condition=held.condition,
            limit_price=held.limit_price,
            stop_price=held.stop_price,
            replaced_by=held.replaced_by,
            stamp_ns=held.stamp,
            children=self._children(held),
        )

    def _submit(self, effect: SubmitOrder) -> Outcome:
        terms = effect.terms
        refusal = self._refusal(effect) or self._committed(terms, terms.quantity or ZERO)
        if refusal is not None:
            return refusal
        held = self._open(effect.wire_id, terms)
        self._tell(held, ReportKind.NEW)
        if effect.link:
            self._tie(held, effect)
        return Accepted(
            broker_order_id=held.broker_order_id,
            stamp_ns=held.stamp,
            children=self._children(held),
        )

    def _refusal(self, effect: SubmitOrder) -> Refused | None:
        wires = [effect.wire_id, *(each.wire_id for each in effect.attached if each.wire_id)]
        unique = self.capabilities.unique_ids
        for wire_id in wires if unique != "none" else ():
            same = [held for held in self.orders.values() if held.wire_id == wire_id]
            if any(unique == "forever" or held.is_working for held in same):
                first = wire_id == effect.wire_id
                code = RefusalCode.DUPLICATE_ID if first else RefusalCode.OTHER
                return Refused(text="duplicate", code=code)
        can = {
            "": not effect.attached,
            "bracket": self.capabilities.native_bracket != "none",
            "oco": self.capabilities.native_oco,
        }
        return None if can.get(effect.link) else Refused(text="exits are not taken like this")

    def _tie(self, parent: Held, effect: SubmitOrder) -> None:
        """Open the exits of an order that was just taken."""
        tie = Tie(parent=parent.broker_order_id, is_pair=effect.link == "oco")
        parent.tie, parent.role = tie, "entry"
        if tie.is_pair:
            parent.role, tie.total, tie.is_live = "target", parent.quantity, True
            tie.exits["target"] = parent.broker_order_id
        for each in effect.attached:
            held = self._open(each.wire_id, each.terms)
            held.tie, held.role = tie, each.role
            tie.exits[each.role] = held.broker_order_id
            self._tell(held, ReportKind.NEW)
            if not tie.is_pair:
                self._hold(held, parent.quantity)

    def _children(self, held: Held) -> tuple[Child, ...]:
        tie = held.tie
        if tie is None or tie.parent != held.broker_order_id:
            return ()
        return tuple(
            Child(role=role, broker_order_id=key, wire_id=self.orders[key].wire_id)
            for role, key in tie.exits.items()
            if key != tie.parent
        )

    def _replace(self, old: Held, effect: ReplaceOrder) -> Outcome:
        terms, can = effect.terms, self.capabilities
        total = terms.quantity or ZERO
        left = effect.leaves_quantity or ZERO
        tie = old.tie
        if tie is not None and old.is_exit and not tie.is_pair and self._works(tie.parent):
            total, left = old.quantity, old.leaves  # its size is what its entry filled
        if left <= 0 or (can.replace_carries_fills and total <= old.cumulative):
            return Refused(text="filled already", code=RefusalCode.TOO_LATE)
        counts_anew = can.new_id_on_replace and not can.replace_carries_fills
        wanted = left if counts_anew else total - old.cumulative
        refusal = self._excess(old, wanted) or self._committed(terms, wanted, instead_of=old)
        if refusal is not None:
            return refusal
        if not can.new_id_on_replace:
            old.quantity = total
            old.limit_price, old.stop_price = terms.limit_price, terms.stop_price
            self._tell(old, ReportKind.REPLACED, wire_id=effect.wire_id, order_quantity=total)
            self._follow_replace(old)
            return self._done(old)
        new = self._open(effect.wire_id, terms)
        new.quantity = left if counts_anew else total
        new.before = ZERO if counts_anew else old.cumulative
        new.role, new.tie, new.condition = old.role, old.tie, old.condition
        old.status, old.replaced_by = Status.CANCELED, new.broker_order_id
        old.condition = Condition.NONE
        if tie is not None:
            tie.exits = {
                role: new.broker_order_id if key == old.broker_order_id else key
                for role, key in tie.exits.items()
            }
            if tie.parent == old.broker_order_id:
                tie.parent = new.broker_order_id
        self.stamp += 1
        old.stamp = self.stamp
        self._tell(new, ReportKind.REPLACED, orig_wire_id=old.wire_id, order_quantity=new.quantity)
        self._follow_replace(new)
        return self._done(new)

    def _excess(self, held: Held, wanted: Decimal) -> Refused | None:
        """Refuse an exit that would close more than its pair has left."""
        tie = held.tie
        if tie is None or not held.is_exit or not tie.is_live or wanted <= tie.room:
            return None
        if tie.is_pair and not tie.traded:
            return None
        return Refused(text=f"more than the linked exits have left, which is {tie.room}")

    def _committed(
        self, terms: OrderTerms, wanted: Decimal, instead_of: Held | None = None
    ) -> Refused | None:
        """Refuse to close what other exits hold, where exits cannot share a quantity."""
        if self.capabilities.exits_share_quantity or (instead_of and instead_of.is_held):
            return None
        orders, side = (
            [one for one in self.orders.values() if one.symbol == terms.symbol],
            terms.side,
        )
        position = sum((-one.own if one.side is side else one.own for one in orders), ZERO)
        left = max(position, ZERO)
        counted = [instead_of.tie] if instead_of is not None and instead_of.is_exit else []
        for held in orders:
            apart = held.is_working and held.side is side and held is not instead_of
            if not apart or held.is_held or (held.is_exit and held.tie in counted):
                continue
            counted += [held.tie] if held.is_exit else []
            left -= min(held.leaves, max(position, ZERO))
        if min(wanted, position) <= left or position <= 0:
            return None
        return Refused(text="insufficient quantity, held by other orders")

    # What becomes of the others, when something happens to an order that is tied to them.

    def _follow_trade(self, held: Held, tie: Tie, quantity: Decimal) -> None:
        if not held.is_exit:
            tie.total += quantity
            if tie.is_live:
                self._fit(tie, quantity)
            elif self.capabilities.native_bracket == "per_fill" or not held.is_working:
                tie.is_live = True
                for exit_ in self._exits(tie):
                    exit_.condition = Condition.NONE
                    self._restate(exit_, tie.total)
            return
        tie.traded += quantity
        if held.is_working:
            self._level(held, tie)
        else:
            self._end_all([*tie.exits.values(), tie.parent])

    def _follow_bust(self, held: Held, tie: Tie, quantity: Decimal) -> None:
        if not held.is_exit:
            tie.total -= quantity
            if tie.is_live:
                self._fit(tie, ZERO)
            return
        tie.traded -= quantity
        current = self.orders[tie.exits[held.role]]
        if current.is_working:
            self._level(current, tie)
            if current.leaves > tie.room:  # what its entry had filled is undone as well
                self._fit(tie, ZERO)

    def _follow_replace(self, held: Held) -> None:
        tie = held.tie
        if tie is None:
            return
        if not tie.is_live:
            parent = self.orders[tie.parent]
            for exit_ in self._exits(tie):
                if exit_ is held or exit_.quantity != tie.total + parent.leaves:
                    self._hold(exit_, tie.total + parent.leaves)
        elif held.is_exit:
            if tie.is_pair:
                tie.total = max(tie.total, tie.traded + held.leaves)
            self._level(held, tie)

    def _fit(self, tie: Tie, more: Decimal) -> None:
        """Let exits that live grow, within what the entry's fills leave to close."""
        for exit_ in self._exits(tie):
            if tie.room > 0:
                self._resize(exit_, min(exit_.leaves + more, tie.room))
            elif self._works(tie.parent) and not tie.traded:
                tie.is_live = False
                self._hold(exit_, tie.total + self.orders[tie.parent].leaves)
            else:
                self.end(exit_.broker_order_id, Status.CANCELED, _LINKED)

    def _level(self, held: Held, tie: Tie) -> None:
        """Let the other exit have as much left as this one."""
        for exit_ in self._exits(tie):
            if exit_ is not held:
                self._resize(exit_, held.leaves)

    def _resize(self, held: Held, leaves: Decimal) -> None:
        if held.leaves != leaves:
            self._restate(held, held.cumulative + leaves)

    def _restate(self, held: Held, quantity: Decimal) -> None:
        held.quantity = quantity
        self._tell(held, ReportKind.RESTATED, order_quantity=quantity)

    def _hold(self, held: Held, quantity: Decimal) -> None:
        held.quantity, held.condition = quantity, Condition.HELD
        self._tell(held, ReportKind.HELD, order_quantity=quantity)

    def _exits(self, tie: Tie) -> list[Held]:
        return [self.orders[key] for key in tie.exits.values() if self._works(key)]

    def _works(self, broker_order_id: str) -> bool:
        return self.orders[broker_order_id].is_working

    def _end_all(self, broker_order_ids: Iterable[str]) -> None:
        for key in broker_order_ids:
            self.end(key, Status.CANCELED, _LINKED)

    def _done(self, held: Held) -> Accepted:
        return Accepted(
            broker_order_id=held.broker_order_id, final=self.is_final, stamp_ns=held.stamp
        )

    def _open(self, wire_id: str, terms: OrderTerms) -> Held:
        broker_order_id = f"B{len(self.orders) + 1}"
        held = self.orders[broker_order_id] = Held(
            broker_order_id=broker_order_id,
            wire_id=wire_id,
            symbol=terms.symbol,
            side=terms.side,
            quantity=terms.quantity or ZERO,
            limit_price=terms.limit_price,
            stop_price=terms.stop_price,
            reduces=terms.reduce_only,
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
