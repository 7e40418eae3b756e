"""A desk's groups: folding what is decided about them, and finding those that want a look.

Rule: `groups` is stored; the index by symbol, and which symbols something happened to, are not.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from holdfast.domain import events as e
from holdfast.domain import fold_groups
from holdfast.domain.group import STOP, TARGET, Group, Phase
from holdfast.domain.order import Order
from holdfast.domain.values import add

# Closed groups that are remembered, the newest.
CLOSED_MAX: Final = 1_000


class GroupBook:
    """The groups of a desk by number, open ones by symbol too."""

    def __init__(self, groups: dict[int, Group], elsewhere: dict[str, Decimal]) -> None:
        """Keep the groups of a state; whatever is open wants a look."""
        self.groups, self.elsewhere = groups, elsewhere
        self.by_symbol: dict[str, dict[int, Group]] = {}
        self.stirred: dict[str, None] = {}
        for group in groups.values():
            self._index(group)
        self.stirred.update(dict.fromkeys(self.by_symbol))

    def __bool__(self) -> bool:
        """Tell whether there is any group that something could happen to."""
        return bool(self.groups)

    def get(self, number: int) -> Group | None:
        """Return a group by its number."""
        return self.groups.get(number)

    def of(self, symbol: str) -> list[Group]:
        """Return the open groups of a symbol, oldest first."""
        return [group for _, group in sorted(self.by_symbol.get(symbol, {}).items())]

    def open(self) -> list[Group]:
        """Return all open groups, oldest first."""
        found = (pair for each in self.by_symbol.values() for pair in each.items())
        return [group for _, group in sorted(found)]

    def stir(self, symbol: str) -> None:
        """Note that something happened that a symbol's groups may have to do with."""
        if symbol in self.by_symbol:
            self.stirred[symbol] = None

    def apply(self, event: e.AnyEvent) -> None:
        """Fold an event about a group."""
        if isinstance(event, e.HeldElsewhere):
            self._held_elsewhere(event)
            return
        if isinstance(event, e.GroupOpened):
            group = self.groups[event.group] = fold_groups.new_group(event)
        else:
            group = self._changed(event)
        self._index(group)
        if group.phase is Phase.CLOSED:
            self._forget()

    def joined(self, order: Order, event: e.OrderSubmitted) -> None:
        """Take a new order into its group."""
        group = self.groups[event.group]
        fold_groups.join(group, order, event.due)
        self.stir(group.symbol)

    def follow(self, order: Order, event: e.AnyEvent, before: Decimal, *, doubted: bool) -> None:
        """Follow what an event did to a member; a group that was forgotten does not."""
        group = self.groups.get(order.group)
        if group is None:
            return
        fold_groups.note(group, order, before, doubted=doubted, at_ns=event.at_ns)
        if type(event) in fold_groups.ENDED:
            fold_groups.note_end(group, order, event)
        elif isinstance(event, e.OrderAccepted):
            fold_groups.note_acceptance(group, order)
        elif isinstance(event, e.ReplaceRequested) and order.role != "entry":
            fold_groups.note_try(group, order.role, event.due, event.at_ns)
        self._index(group)

    def traded(self, order: Order, before: Decimal, after: Decimal) -> None:
        """Follow what a member's trade did to the position."""
        group = self.groups.get(order.group)
        if group is not None:
            fold_groups.note_trade(group, before, after)

    def retied(self, number: int, find: Callable[[int], Order | None]) -> list[Order]:
        """Return a group's targets: they count for themselves unless a stop may trade beside."""
        group = self.groups.get(number)
        live = [] if group is None else [one for n in group.live if (one := find(n)) is not None]
        stands = any(order.role == STOP and order.is_exposed for order in live)
        targets = [order for order in live if order.role == TARGET and order.twin is not stands]
        for order in targets:
            order.twin = stands
        return targets

    def resumed(self, event: e.DeskResumed) -> None:
        """Leave out the time in which the desk was down, and look at everything anew."""
        for group in self.open():
            fold_groups.skip_time(group, event.down_ns)
        self.stirred.update(dict.fromkeys(self.by_symbol))

    def _index(self, group: Group) -> None:
        members = self.by_symbol.setdefault(group.symbol, {})
        if group.is_open:
            members[group.group] = group
            self.stirred[group.symbol] = None
        else:
            members.pop(group.group, None)
        if not members:
            del self.by_symbol[group.symbol]

    def _changed(self, event: Any) -> Group:
        group = self.groups[event.group]
        if isinstance(event, e.GroupPhaseChanged):
            fold_groups.change_phase(group, event)
        elif isinstance(event, e.GroupExitChanged):
            fold_groups.change_exit(group, event)
        elif isinstance(event, e.GroupReduced):
            group.written_off = add(group.written_off, event.quantity)
        elif isinstance(event, e.GroupTookOver):
            fold_groups.take_over(group, event)
        else:
            group.quantity = event.quantity
        return group

    def _held_elsewhere(self, event: e.HeldElsewhere) -> None:
        if event.quantity:
            self.elsewhere[event.symbol] = event.quantity
        else:
            self.elsewhere.pop(event.symbol, None)
        self.stir(event.symbol)

    def _forget(self) -> None:
        closed = [n for n, group in self.groups.items() if not group.is_open]
        for number in closed[: max(len(closed) - CLOSED_MAX, 0)]:
            del self.groups[number]


GROUP_EVENTS: Final = frozenset(
    {
        e.GroupOpened,
        e.GroupPhaseChanged,
        e.GroupExitChanged,
        e.GroupQuantityChanged,
        e.GroupReduced,
        e.GroupTookOver,
        e.HeldElsewhere,
    }
)

__all__ = ["CLOSED_MAX", "GROUP_EVENTS", "GroupBook"]
