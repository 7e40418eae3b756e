"""What a broker's own books say of a desk's groups: what they hold, and what covers it.

It reads the account and the wire ids that its orders have, and of the desk no more than which
groups there are and what people want of them.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Final

from msgspec import Struct, field

from holdfast.domain.desk import Desk
from holdfast.domain.group import EXIT, STOP, TARGET, UNDO, Group, Phase
from holdfast.domain.instruments import signed
from holdfast.domain.values import ZERO, Side
from holdfast.testing.model_broker import Held, ModelBroker

_MEMBER: Final = re.compile(r"-g(\d+)\.([a-z]+)\.\d+(?:~\d+)?$")


class Account(Struct, kw_only=True):
    """What one group did at the broker, in units: `entered` and what its exits and its undoing
    traded by role, `covers` what works there for sure by role, `working` the orders behind it.
    """

    entered: Decimal = ZERO
    traded: dict[str, Decimal] = field(default_factory=dict)
    covers: dict[str, Decimal] = field(default_factory=dict)
    working: dict[str, int] = field(default_factory=dict)

    @property
    def exited(self) -> Decimal:
        """What its stop, its target and its closing exit traded."""
        return sum((self.traded.get(role, ZERO) for role in (STOP, TARGET, EXIT)), ZERO)

    @property
    def held(self) -> Decimal:
        """What it has left of its entry; below zero where more was closed."""
        return self.entered - self.exited + self.traded.get(UNDO, ZERO)


@lru_cache(maxsize=4_096)
def member_of(wire_id: str) -> tuple[int, str]:
    """Return the group and the role that a wire id names; 0 for an order of no group."""
    found = _MEMBER.search(wire_id)
    return (int(found[1]), found[2]) if found is not None else (0, "")


class GroupBooks:
    """The account of one symbol as the broker has it; `opening` was there before."""

    def __init__(self, broker: ModelBroker, opening: Decimal = ZERO) -> None:
        """Read a broker's orders; `elsewhere` is what nobody's desk trades there, signed."""
        self.broker, self.opening, self.elsewhere = broker, opening, ZERO

    def working(self) -> list[Held]:
        """Return the broker orders that may still trade."""
        return [held for held in self.broker.orders.values() if held.is_working]

    def position(self) -> Decimal:
        """Return what the orders of the desk hold, signed."""
        total = self.opening
        for held in self.broker.orders.values():
            total += signed(held.side, held.own)
        return total

    def closable(self, side: Side) -> Decimal:
        """Return what exits of a side may close: no more than desk and account both hold."""
        position = self.position()
        least = min(position, position + self.elsewhere)
        if side is Side.BUY:
            least = min(-position, -position - self.elsewhere)
        return max(least, ZERO)

    def loose(self, side: Side, *, stops: bool) -> Decimal:
        """Return what exits of no group have at work on a side, stops or others."""
        total = ZERO
        for held in self.working():
            is_loose = held.reduces and held.side is side and not member_of(held.wire_id)[0]
            if is_loose and (held.stop_price is not None) is stops:
                total += held.leaves
        return total

    def groups(self) -> dict[int, Account]:
        """Return what each group did, by its number."""
        found: dict[int, Account] = {}
        for held in self.broker.orders.values():
            number, role = member_of(held.wire_id)
            if not number:
                continue
            account = found.setdefault(number, Account())
            if role == "entry":
                account.entered += held.own
            else:
                account.traded[role] = account.traded.get(role, ZERO) + held.own
            if held.is_working:
                account.working[role] = account.working.get(role, 0) + 1
                if not held.is_held:
                    account.covers[role] = account.covers.get(role, ZERO) + held.leaves
        return found


def owed(group: Group, account: Account) -> Decimal | None:
    """Return what a group has to look after by the broker's books; None: whatever is left."""
    total = account.entered if group.enters else group.quantity
    return None if total is None else max(total - account.exited - group.written_off, ZERO)


def due(books: GroupBooks, groups: Iterable[Group], *, closes: bool = True) -> dict[int, Decimal]:
    """Return, by number, what each group is to look after: the oldest first, as far as it goes.

    What wants no exit looks after nothing; what somebody closes goes before everything else, or
    is left out without `closes`.
    """
    accounts = books.groups()
    left = {side: books.closable(side) for side in Side}
    found: dict[int, Decimal] = {}
    for group in sorted(groups, key=lambda one: (one.contingency != "close", one.group)):
        if group.quantity is None and not group.enters:
            continue
        if group.contingency == "close" and not closes:
            found[group.group] = ZERO
            continue
        most = left[group.side]
        if group.contingency != "close":
            most = max(most - _guarded_beside(books, group), ZERO)
        share = min(owed(group, accounts.get(group.group, Account())) or ZERO, most)
        is_closed = group.slot(EXIT).exit is not None
        found[group.group] = share if group.wanted or is_closed else ZERO
        left[group.side] -= found[group.group]
    for group in groups:
        if group.group not in found:
            follows = group.wanted and group.phase is not Phase.CLOSED
            most = max(left[group.side] - _guarded_beside(books, group), ZERO)
            found[group.group] = most if follows else ZERO
            left[group.side] -= found[group.group]
    return found


def _guarded_beside(books: GroupBooks, group: Group) -> Decimal:
    """Return what exits of no group guard: stops for a stop, others for what follows a position."""
    follows = group.quantity is None and not group.enters
    has_stop = group.guard is not None and group.guard.role == STOP
    alone = not books.broker.capabilities.exits_share_quantity
    total = ZERO
    if has_stop or (follows and alone):
        total += books.loose(group.side, stops=True)
    if follows and (alone or not has_stop):
        total += books.loose(group.side, stops=False)
    return total


def symbol_groups(desk: Desk) -> list[Group]:
    """Return all groups that a desk remembers, oldest first."""
    return [group for _, group in sorted(desk.state.groups.groups.items())]
