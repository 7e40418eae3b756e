"""Orders that the venue ties together: an entry with its exits, and a pair of exits.

Rule 1: two exits that live have the same left to fill. What one trades is taken off the other in
the same act; one that fills whole cancels the other, and what is left of their entry.
Rule 2: the exits of an entry are held, and neither trade nor wait for a price, until it has filled:
in part or whole, as the account has it. While the entry works their size is what it filled.
Rule 3: a pair that its owner cancels at one end is cancelled at both; an exit that the venue ends
for a reason of its own leaves the other at work, because one is better than none.
Rule 4: a trade undone gives back to those that still work, and revives none that has ended. No exit
lives for more than its entry has filled.
"""

from collections.abc import Sequence

from holdfast.domain.reports import Child, Refused, ReportKind
from holdfast.domain.values import Condition, Status
from holdfast.venue.clearing import Clearing
from holdfast.venue.matching import STOPS, Matcher
from holdfast.venue.orders import VenueOrder
from holdfast.venue.rules import refused

_WORD = "linked"


class Link:
    """One entry with exits, or a pair of exits without an entry; its orders name it as theirs.

    `_total` is the lots that the exits may trade altogether, by both: what the entry has filled,
    or the size of the pair. `_traded` is how many of them they did.
    """

    def __init__(
        self, parent: VenueOrder, exits: Sequence[VenueOrder], matcher: Matcher, clearing: Clearing
    ) -> None:
        """Tie a drafted order and its exits together; its `role` says whether it is an entry."""
        self._matcher, self._clearing = matcher, clearing
        self._parent = parent
        self._exits = list(exits)
        self._per_fill = parent.account.capabilities.native_bracket == "per_fill"
        self._live = parent.is_exit
        self._total, self._traded = 0, 0
        if parent.is_exit:
            self._exits.insert(0, parent)
            self._total = parent.lots
        for order in (parent, *exits):
            order.link = self

    def children(self, order: VenueOrder) -> tuple[Child, ...]:
        """Name the exits that belong to an order: none but for the one they came with."""
        if order is not self._parent:
            return ()
        return tuple(
            Child(role=each.role, broker_order_id=each.broker_order_id, wire_id=each.wire_id)
            for each in self._exits
            if each is not order
        )

    def begin(self, order: VenueOrder) -> None:
        """Let an exit that was just accepted wait for its entry, or for the other's arrival."""
        if self._live:
            self._matcher.release(order)
        else:
            self._clearing.report(order, ReportKind.HELD)

    def succeed(self, old: VenueOrder, new: VenueOrder) -> None:
        """Put a new order in the place of one that it replaces."""
        if self._parent is old:
            self._parent = new
        self._exits = [new if order is old else order for order in self._exits]

    # What happened to an order of the link.

    def traded(self, order: VenueOrder, lots: int) -> None:
        """Follow a trade of so many lots."""
        if not order.is_exit:
            self._total += lots
            self._follow_entry(lots)
            return
        self._traded += lots
        if order.ended:
            self.ended(order)
        else:
            self._level(order)

    def ended(self, order: VenueOrder) -> None:
        """Follow the end of an order, whatever ended it."""
        if order is self._parent and not order.is_exit:
            if order.status is Status.FILLED:
                self._follow_entry(0)
            elif not self._live:
                self._cancel(self._exits)
        elif order.status is Status.FILLED:
            self._cancel([*self._exits, self._parent])

    def canceled(self, order: VenueOrder) -> None:
        """Follow a cancel by the owner of the order: of a pair that lives both are meant."""
        if order.is_exit and self._live:
            self._cancel(self._exits)

    def replaced(self, order: VenueOrder) -> None:
        """Follow new terms of an order, before it goes back to the market with them."""
        if order.ended:
            self.ended(order)
        elif not order.is_exit:
            if not self._live:
                self._hold()
        elif not self._live:
            self._clearing.report(order, ReportKind.HELD)
        else:
            if self._parent.is_exit:
                self._total = max(self._total, self._traded + order.leaves)
            self._level(order)

    def undone(self, order: VenueOrder, lots: int) -> None:
        """Follow a trade that lost so many lots, or with a negative figure won them."""
        if order.is_exit:
            self._traded -= lots
            current = next((each for each in self._exits if each.role == order.role), order)
            if not current.ended:
                self._level(current)
                if current.leaves > self._total - self._traded:  # its entry's fill is undone, too
                    self._fit(0)
            return
        self._total -= lots
        if self._live:
            self._fit(max(0, -lots))

    # What may be asked of an exit.

    def sizes(self, order: VenueOrder) -> bool:
        """Tell whether the size of an order is the venue's, so that a replace leaves it alone."""
        return order.is_exit and not self._parent.is_exit and not self._parent.ended

    def excess(self, order: VenueOrder, lots: int) -> Refused | None:
        """Refuse an exit that would have more left to fill than its pair may still trade.

        Whoever asks for more after a trade may not have heard of it, and would close twice.
        """
        room = self._total - self._traded
        untouched_pair = self._parent.is_exit and not self._traded
        if not order.is_exit or not self._live or untouched_pair or lots <= room:
            return None
        left = order.listing.quantity(room)
        return refused(f"more than its linked orders have left to trade, which is {left}")

    # How it is done.

    def _working(self) -> list[VenueOrder]:
        return [order for order in self._exits if not order.ended]

    def _follow_entry(self, lots: int) -> None:
        """Bring the exits to life or let them grow, after the entry filled so many lots."""
        if self._live:
            if lots:
                self._fit(lots)
        elif self._per_fill or self._parent.status is Status.FILLED:
            self._live = True
            for order in self._working():
                order.lots, order.condition = self._total, Condition.NONE
                self._clearing.report(order, ReportKind.RESTATED)
                self._matcher.release(order)

    def _fit(self, more: int) -> None:
        """Let live exits grow by so many lots, within what the entry's fills leave to close."""
        room = self._total - self._traded
        if room <= 0:
            if self._parent.ended or self._traded:
                self._cancel(self._exits)
            else:
                self._live = False
                self._hold()
            return
        for order in self._working():
            self._restate(order, min(order.leaves + more, room))

    def _level(self, order: VenueOrder) -> None:
        """Let the other exit have as much left to fill as this one."""
        if order.leaves <= 0:
            return
        for other in self._working():
            if other is not order:
                self._restate(other, order.leaves)

    def _restate(self, order: VenueOrder, leaves: int) -> None:
        if order.leaves != leaves:
            order.lots = order.filled + leaves
            self._matcher.resize(order)
            self._clearing.report(order, ReportKind.RESTATED)

    def _hold(self) -> None:
        """Hold the exits for all that their entry may come to fill, and say so where it changed."""
        lots = self._total + self._parent.leaves
        for order in self._working():
            if (order.lots, order.condition) != (lots, Condition.HELD):
                self._matcher.withdraw(order)
                order.lots, order.condition = lots, Condition.HELD
                order.waiting = order.order_type in STOPS
                self._clearing.report(order, ReportKind.HELD)

    def _cancel(self, orders: Sequence[VenueOrder]) -> None:
        for order in orders:
            if not order.ended:
                self._matcher.finish(order, Status.CANCELED, _WORD)
