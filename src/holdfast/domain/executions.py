"""What has traded: executions per broker order, counted exactly once.

Rule 1: the key of an execution is its broker order and the broker's id for it. A correction is
the newest version of the same execution, a bust is a correction to quantity zero, and both hold
whichever of them arrives first.
Rule 2: where the broker gives only a cumulative figure, the difference is booked as an inferred
execution. A real one takes the place of inferred quantity of the same broker order, oldest first;
what is left of it is new. Counted is therefore never less than either the broker's figure or the
sum of the real executions.
Rule 3: every change is returned as what it did to quantity and cash, so that the position can
follow without knowing why.

What this module does not know: statuses, wishes, and whether a figure may be believed.
"""

from decimal import Decimal

import msgspec
from msgspec import Struct

from holdfast.domain.reports import Execution
from holdfast.domain.values import ZERO, add, mul, neg, sub


class Change(Struct, frozen=True, gc=False):
    """Traded quantity that came (above zero) or went (below zero) at a price.

    `execution_id` is what it is booked under: an undo names the trade that it takes back.
    """

    execution_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str = ""
    amends: bool = False


class Leg(Struct, gc=False, kw_only=True, omit_defaults=True):
    """One broker order behind an order: an order has one, and one more per replace by new id.

    `real` and `inferred` are filled quantities; `carried` says that the broker's cumulative
    figure includes what earlier legs filled. `stamp_ns` and `sequence` are those of the newest
    report applied. `waiting` holds what is left of each inferred execution; `named` says that
    the desk finds the order by this leg's id.
    """

    broker_order_id: str = ""
    carried: bool = False
    ended: bool = False
    named: bool = False
    real: Decimal = ZERO
    inferred: Decimal = ZERO
    stamp_ns: int = 0
    sequence: int = 0
    executions: dict[str, Execution] = msgspec.field(default_factory=dict)
    waiting: dict[str, Execution] = msgspec.field(default_factory=dict)
    aliases: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def counted(self) -> Decimal:
        """Filled quantity of this broker order."""
        return add(self.real, self.inferred)

    def root(self, execution_id: str) -> str:
        """Return the first id of the trade that this id, or a correction of it, names."""
        return self.aliases.get(execution_id, execution_id)

    def knows(self, execution_id: str) -> bool:
        """Tell whether this execution, or a version of it, is booked."""
        return self.aliases.get(execution_id, execution_id) in self.executions

    def news(self, stamp_ns: int, sequence: int) -> int | None:
        """Return above, at or below zero for a report newer than, as old as, or older than this.

        By sequence, else by stamp; None where there is nothing to compare.
        """
        if sequence and self.sequence:
            return sequence - self.sequence
        return stamp_ns - self.stamp_ns if stamp_ns and self.stamp_ns else None

    def is_older(self, stamp_ns: int, sequence: int) -> bool:
        """Tell whether a report is older than what is applied."""
        news = self.news(stamp_ns, sequence)
        return news is not None and news < 0

    def note(self, stamp_ns: int, sequence: int) -> None:
        """Remember how new the newest applied report is."""
        self.stamp_ns = max(self.stamp_ns, stamp_ns)
        self.sequence = max(self.sequence, sequence)


def book(leg: Leg, execution: Execution) -> list[Change]:
    """Count a real execution that is not booked yet."""
    leg.executions[execution.execution_id] = execution
    leg.real = add(leg.real, execution.quantity)
    changes = take_inferred(leg, execution.quantity) if leg.waiting else []
    changes.append(_change(execution))
    return changes


def book_inferred(leg: Leg, execution: Execution) -> list[Change]:
    """Count a difference of cumulative figures until the executions behind it are known."""
    leg.waiting[execution.execution_id] = execution
    leg.inferred = add(leg.inferred, execution.quantity)
    return [_change(execution)]


def amend(leg: Leg, version: Execution, execution_id: str, alias: str) -> list[Change]:
    """Put the newest version of an execution in the place of what is booked for it."""
    if alias:
        leg.aliases[alias] = execution_id
    if execution_id in leg.waiting:
        return _amend_inferred(leg, version, execution_id)
    newer = leg.executions.pop(alias, None) if alias != execution_id else None
    if newer is not None:
        return _overtaken(leg, execution_id, alias, newer)
    before = leg.executions.get(execution_id)
    leg.executions[execution_id] = version
    changes = []
    if before is None:
        changes = take_inferred(leg, version.quantity)
    else:
        leg.real = sub(leg.real, before.quantity)
        changes = [_undo(before)]
    leg.real = add(leg.real, version.quantity)
    changes.append(_change(version, amends=True))
    return changes


def _overtaken(leg: Leg, execution_id: str, alias: str, newer: Execution) -> list[Change]:
    """A correction of this correction came first: its version is the newest and is booked."""
    leg.aliases |= {name: execution_id for name, root in leg.aliases.items() if root == alias}
    before = leg.executions.get(execution_id)
    leg.executions[execution_id] = newer
    if before is None:
        return []
    leg.real = sub(leg.real, before.quantity)
    return [_undo(before)]


def take_inferred(leg: Leg, quantity: Decimal) -> list[Change]:
    """Give up inferred quantity for a real execution of so much, oldest first."""
    changes = []
    for execution_id, guess in list(leg.waiting.items()):
        if quantity <= 0:
            break
        taken = min(quantity, guess.quantity)
        quantity = sub(quantity, taken)
        leg.inferred = sub(leg.inferred, taken)
        rest = sub(guess.quantity, taken)
        if rest:
            leg.waiting[execution_id] = msgspec.structs.replace(guess, quantity=rest)
        else:
            del leg.waiting[execution_id]
        changes.append(Change(execution_id, neg(taken), guess.price, amends=True))
    return changes


def _amend_inferred(leg: Leg, version: Execution, execution_id: str) -> list[Change]:
    before = leg.waiting.pop(execution_id)
    leg.inferred = sub(leg.inferred, before.quantity)
    if version.quantity:
        leg.waiting[execution_id] = version
        leg.inferred = add(leg.inferred, version.quantity)
    return [_undo(before), _change(version, amends=True)]


def _change(made: Execution, *, amends: bool = False) -> Change:
    return Change(made.execution_id, made.quantity, made.price, made.fee, made.fee_currency, amends)


def _undo(made: Execution) -> Change:
    fee = None if made.fee is None else neg(made.fee)
    quantity = neg(made.quantity)
    return Change(made.execution_id, quantity, made.price, fee, made.fee_currency, amends=True)


def notional(change: Change) -> Decimal:
    """Return quantity times price of a change, below zero where it takes quantity away."""
    return mul(change.quantity, change.price)
