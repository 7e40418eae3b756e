"""All that a desk remembers, and how events change it. The only mutator is `State.apply`.

Rule 1: everything in `State` comes from folding events; `dump` and `load` give it back to the
byte. Indexes, counts and timers are derived and never stored.
Rule 2: an order about which nothing is open any more is packed into its archive row's bytes and
waits in `finished` until it is archived; a name that means it unpacks it. Packing is no change:
a desk reads, folds and dumps the same whether or not it rested.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.alarms import Alarms
from holdfast.domain.entering import adopted_order, external_order, new_order, succeed
from holdfast.domain.executions import Change
from holdfast.domain.exposure import Exposure, grown_by, worth
from holdfast.domain.fold import fold
from holdfast.domain.fold_groups import is_doubtful
from holdfast.domain.group import STOP
from holdfast.domain.group_book import GROUP_EVENTS, GroupBook
from holdfast.domain.guard import DESK_FOLDS, ORDER_FOLDS, count_ended
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.packing import label, names_of, pack, unpack
from holdfast.domain.positions import Position
from holdfast.domain.resting import RestingBook
from holdfast.domain.stored import Stored, encode, load
from holdfast.domain.tallies import TallyBook
from holdfast.domain.values import ONE, TERMINAL, Status, rounded_add


class State:
    """A desk's memory: what is stored, and the indexes over it."""

    def __init__(self, stored: Stored | None = None) -> None:
        """Start empty, or from what a snapshot held."""
        self.stored = stored or Stored()
        self.active: dict[int, Order] = {}
        self.ended: dict[int, Order] = {}
        self.finished: dict[int, bytes] = {}
        self.packed_ns: dict[int, int] = {}
        self.by_symbol: dict[str, dict[int, Order]] = {}
        self.by_strategy: dict[str, dict[int, Order]] = {}
        self.counts: dict[Status, int] = dict.fromkeys(Status, 0)
        self.names: dict[str, int] = {}
        self.pegged: dict[str, dict[int, Order]] = {}
        self.exposure = Exposure(self.multiplier)
        self.resting = RestingBook()
        self.groups = GroupBook(self.stored.groups, self.stored.elsewhere)
        self.tallies = TallyBook(self.stored.tallies)
        self.wire_prefix = self._prefix()
        self.alarms = Alarms()
        for body in self.stored.orders:
            self._index(unpack(body))
        self.stored.orders = []
        self.rest()

    def dump(self) -> bytes:
        """Return everything stored as JSON, the same bytes for the same history."""
        self.tallies.catch_up()
        bodies = dict(self.finished)
        for order in (*self.active.values(), *self.ended.values()):
            bodies[order.number] = pack(order)
        orders = [msgspec.Raw(bodies[number]) for number in sorted(bodies)]
        return encode(msgspec.structs.replace(self.stored, orders=orders))

    @classmethod
    def load(cls, body: bytes) -> "State":
        """Return the state that `dump` wrote."""
        return cls(load(body))

    def order(self, number: int) -> Order | None:
        """Return an order in memory by its number, unpacked so that it may change."""
        order = self.active.get(number) or self.ended.get(number)
        if order is None and (body := self.finished.pop(number, None)) is not None:
            order = self.ended[number] = unpack(body)
        return order

    def peek(self, number: int) -> Order | None:
        """Return an order in memory for reading."""
        order = self.active.get(number) or self.ended.get(number)
        if order is None and (body := self.finished.get(number)) is not None:
            order = unpack(body)
        return order

    def holds(self, number: int) -> bool:
        """Tell whether an order is in memory."""
        return number in self.active or number in self.ended or number in self.finished

    def past(self) -> Iterator[Order]:
        """Iterate over the ended orders in memory, for reading."""
        yield from self.ended.values()
        for body in self.finished.values():
            yield unpack(body)

    def body(self, number: int) -> bytes:
        """Return all of an order in memory as JSON, as it is archived."""
        return self.finished.get(number) or pack(self.active.get(number) or self.ended[number])

    def rest(self) -> None:
        """Pack the ended orders about which nothing is open; between steps only."""
        for number, order in list(self.ended.items()):
            if order.is_settled:
                del self.ended[number]
                self.finished[number] = pack(order)
                self.packed_ns[number] = order.updated_ns

    def archivable(self, most: int, durable_ns: int) -> tuple[int, ...]:
        """Return the oldest packed orders of which everything is durable."""
        self.packed_ns = {n: at for n, at in self.packed_ns.items() if at > durable_ns}
        durable = (number for number in sorted(self.finished) if number not in self.packed_ns)
        return tuple(islice(durable, most))

    def lot(self, symbol: str) -> Decimal:
        """Return the smallest quantity step of a symbol."""
        instrument = self.stored.instruments.get(symbol)
        return instrument.lot if instrument is not None else ONE

    def multiplier(self, symbol: str) -> Decimal:
        """Return what turns price times quantity of a symbol into money."""
        instrument = self.stored.instruments.get(symbol)
        return instrument.multiplier if instrument is not None else ONE

    def wire_id(self, number: int) -> str:
        """Return the wire id of an order's submit."""
        return f"{self.wire_prefix}{number}"

    def wire_id_of(self, event: e.OrderSubmitted) -> str:
        """Return the wire id of a new order: a member of a group is named after its place there."""
        if event.group:
            return f"{self.wire_prefix}g{event.group}.{event.role}.{event.turn}"
        return self.wire_id(event.number)

    def _prefix(self) -> str:
        return f"{self.stored.epoch}-{self.stored.name}-"

    def pop_due(self, now_ns: int) -> Iterator[Order]:
        """Yield the orders that are due, earliest first, each once."""
        for number in self.alarms.pop_due(now_ns):
            order = self.order(number)
            if order is not None:
                yield order

    def apply(self, event: e.AnyEvent) -> None:
        """Fold one event; the only way in which a desk's memory changes."""
        self.stored.at_ns = event.at_ns
        special = _SPECIAL.get(type(event))
        if special is not None:
            special(self, event)
            return
        number: int = event.number  # type: ignore[union-attr]  # all others are about an order
        order = self.active.get(number)
        is_late = order is None
        if order is None:
            order = self._late(event, number)
        before, terms = order.status, order.terms
        guard_fold = ORDER_FOLDS.get(type(event))
        if guard_fold is not None:
            guard_fold(self.stored.guard, event, order)
        instrument, member = self.stored.instruments.get(terms.symbol), order.group
        if member:
            claimed, doubted = order.claimed_quantity, is_doubtful(order)
        changes = fold(order, event, instrument.lot if instrument is not None else ONE)
        if changes:
            self._trade(order, changes, instrument)
        if member:
            self.groups.follow(order, event, claimed, doubted=doubted)
        elif terms.symbol in self.groups.by_symbol:
            self.groups.stir(terms.symbol)
        if order.status is not before:
            self.counts[before] -= 1
            self.counts[order.status] += 1
            if order.is_terminal and before not in TERMINAL and order.moving_to is None:
                count_ended(self.stored.guard, order, event.at_ns)
        for leg in order.legs:
            if not leg.named and leg.broker_order_id:
                self.names[f"b:{leg.broker_order_id}"] = number
                leg.named = True
        if self._place(order) and order.role == STOP:
            self._tie(member)
        if is_late and not order.is_exposed:
            self.tallies.ended(order)
        if (order.terms is not terms or order.last_wish) and order.is_exposed:
            self.resting.of(terms.symbol, terms.side).add(order)
        if order.is_waiting or number in self.alarms or terms.expire_at_ns is not None:
            self.watch(order)

    def _late(self, event: e.AnyEvent, number: int) -> Order:
        """Return an order that was counted for good; it is counted anew once it has changed."""
        order = self.order(number)
        if order is None:
            raise LookupError(f"{type(event).__name__} of order {number}, which is not in memory")
        self.tallies.take_out(order)
        return order

    def _place(self, order: Order) -> bool:
        """Keep an order where what may still trade is looked for, and what follows a price.

        Return whether it came in or went out there.
        """
        moves = order.is_exposed is not (order.number in self.active)
        if moves:
            self._move(order)
        if order.terms.peg is not None:
            self._peg(order)
        self.exposure.note(order)
        return moves

    def watch(self, order: Order) -> None:
        """Set the timer of an order to when it next wants attention."""
        due = order.next_due_ns()
        end_ns = order.terms.expire_at_ns
        if end_ns is not None and order.is_working and not (order.lookup or order.wanted_gone):
            end_ns -= self.stored.wall_offset_ns
            due = min(due or end_ns, end_ns)
        self.alarms.set(order.number, due)

    def _trade(self, order: Order, changes: list[Change], instrument: Instrument | None) -> None:
        symbol = order.terms.symbol
        position = self.stored.positions.get(symbol)
        if position is None:
            position = self.stored.positions[symbol] = Position(symbol=symbol)
        base = instrument.base if instrument is not None else ""
        before = position.book.quantity
        position.fold(order.number, order.terms.side, changes, base)
        if order.group:
            self.groups.traded(order, before, position.book.quantity)
        grown = grown_by(before, position.book.quantity)
        if grown:
            guard = self.stored.guard
            multiplier = instrument.multiplier if instrument is not None else ONE
            cost = worth(grown, changes[-1].price, multiplier)
            guard.opened = rounded_add(guard.opened, cost)

    def _move(self, order: Order) -> None:
        """Keep an order among the active as long as it may still trade."""
        number = order.number
        if order.is_exposed:
            del self.ended[number]
            self.active[number] = order
            self.active = dict(sorted(self.active.items()))
            self._add(order)
        else:
            del self.active[number]
            self.ended[number] = order
            self.tallies.ended(order)
            del self.by_symbol[order.terms.symbol][number]
            self.resting.of(order.terms.symbol, order.terms.side).drop(order)
            del self.by_strategy[order.strategy][number]

    def _add(self, order: Order) -> None:
        self.by_symbol.setdefault(order.terms.symbol, {})[order.number] = order
        self.resting.of(order.terms.symbol, order.terms.side).add(order)
        self.by_strategy.setdefault(order.strategy, {})[order.number] = order

    def _index(self, order: Order) -> None:
        """Bring a whole order into memory."""
        number = order.number
        self.counts[order.status] += 1
        if order.is_exposed:
            self.active[number] = order
            self._add(order)
        else:
            self.ended[number] = order
        for name in names_of(order):
            self.names[name] = number
        if order.terms.peg is not None:
            self._peg(order)
        self.exposure.note(order)
        self.watch(order)

    def _peg(self, order: Order) -> None:
        pegged = self.pegged.setdefault(order.terms.symbol, {})
        if order.is_exposed:
            pegged[order.number] = order
        else:
            pegged.pop(order.number, None)
        if not pegged:
            del self.pegged[order.terms.symbol]

    def _guarded(self, event: e.AnyEvent) -> None:
        DESK_FOLDS[type(event)](self.stored.guard, event)
        if isinstance(event, e.FlattenEnded):
            self.groups.stir(event.symbol)

    def _submitted(self, event: e.OrderSubmitted) -> None:
        self._guarded(event)
        order = new_order(event, self.wire_id_of(event))
        if event.group:
            self.groups.joined(order, event)
        before = self.order(event.succeeds) if event.succeeds else None
        if before is not None:
            succeed(order, before)
            self._place(before)
        self._enter(order, event)
        if event.group and event.role == STOP:
            self._tie(event.group)

    def _adopted(self, event: e.OrderAdopted) -> None:
        self._enter(adopted_order(event), event)

    def _external(self, event: e.ExternalAdopted) -> None:
        self._enter(external_order(event), event)

    def _enter(
        self, order: Order, event: e.OrderSubmitted | e.OrderAdopted | e.ExternalAdopted
    ) -> None:
        self.stored.next_number = event.number + 1
        symbol = event.terms.symbol
        self.stored.traded[symbol] = self.stored.traded.get(symbol, 0) + 1
        self._index(order)

    def _opened(self, event: e.DeskOpened) -> None:
        stored = self.stored
        stored.name, stored.epoch = event.desk, event.epoch
        stored.account, stored.currency = event.account, event.currency
        stored.mode = event.mode
        self.wire_prefix = self._prefix()

    def _defined(self, event: e.InstrumentDefined) -> None:
        symbol = event.instrument.symbol
        self.stored.instruments[symbol] = event.instrument
        for order in (*self.by_symbol.get(symbol, {}).values(), *self.ended.values()):
            if order.terms.symbol == symbol:
                self.exposure.note(order)

    def _balance(self, event: e.OpeningBalanceSet) -> None:
        position = Position(symbol=event.symbol)
        position.open(event.quantity, event.price)
        self.stored.positions[event.symbol] = position
        self.stored.traded.setdefault(event.symbol, 0)
        self.stored.guard.day.unvalued += (event.symbol,)

    def _clock(self, event: e.ClockStepped | e.DeskResumed) -> None:
        self.stored.wall_offset_ns = event.wall_offset_ns
        for order in self.active.values():
            if order.terms.expire_at_ns is not None:
                self.watch(order)

    def _resumed(self, event: e.DeskResumed) -> None:
        self._clock(event)
        self.groups.resumed(event)
        for order in (*self.active.values(), *self.ended.values()):
            if order.wishes or order.lookup is not None:
                order.resume(event.retry_at_ns)
                self.watch(order)

    def _grouped(self, event: e.AnyEvent) -> None:
        self.groups.apply(event)
        if isinstance(event, e.GroupOpened):
            self.stored.next_group = event.group + 1

    def _tie(self, group: int) -> None:
        """Count two exits for the same units once, as long as both may trade."""
        for order in self.groups.retied(group, self.order):
            self.exposure.note(order)

    def _anomaly(self, event: e.AnomalyRecorded) -> None:
        self.stored.anomalies[event.code] = self.stored.anomalies.get(event.code, 0) + 1

    def _archived(self, event: e.OrdersArchived) -> None:
        for number in event.numbers:
            order = self.ended.pop(number, None)
            known = order if order is not None else label(self.finished.pop(number))
            self.packed_ns.pop(number, None)
            self.counts[known.status] -= 1
            for name in names_of(known):
                self.names.pop(name, None)
        self.stored.archived += len(event.numbers)

    def _recalled(self, event: e.OrderRecalled) -> None:
        self._index(unpack(event.body))
        self.stored.archived -= 1


# What events do that are not about an order in memory, or not about it alone.
_SPECIAL: Final[dict[type, Any]] = {
    **dict.fromkeys(DESK_FOLDS, State._guarded),
    **dict.fromkeys(GROUP_EVENTS, State._grouped),
    e.DeskOpened: State._opened,
    e.InstrumentDefined: State._defined,
    e.OpeningBalanceSet: State._balance,
    e.ClockStepped: State._clock,
    e.DeskResumed: State._resumed,
    e.OrderAdopted: State._adopted,
    e.ExternalAdopted: State._external,
    e.OrderSubmitted: State._submitted,
    e.AnomalyRecorded: State._anomaly,
    e.OrdersArchived: State._archived,
    e.OrderRecalled: State._recalled,
}
