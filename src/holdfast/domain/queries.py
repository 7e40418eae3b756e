"""What can be read of a desk: one order, filtered orders, counts; what an input may mean."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from holdfast.domain import inputs
from holdfast.domain.inputs import Input
from holdfast.domain.order import Order
from holdfast.domain.state import State
from holdfast.domain.values import ID_LENGTH_MAX, TERMINAL, Status


class Queries:
    """The reading half of a desk: counts cost O(1), filtered queries O(result)."""

    def __init__(self, state: State) -> None:
        """Read from this state."""
        self.state = state

    @property
    def name(self) -> str:
        """The desk's name."""
        return self.state.stored.name

    @property
    def epoch(self) -> str:
        """What this journal's wire ids begin with."""
        return self.state.stored.epoch

    @property
    def account(self) -> str:
        """The account that the desk trades on."""
        return self.state.stored.account

    @property
    def currency(self) -> str:
        """The currency that the desk settles in."""
        return self.state.stored.currency

    def order(self, number: int) -> Order | None:
        """Return an order in memory by its number, for reading."""
        return self.state.peek(number)

    def find(self, client_order_id: str) -> Order | None:
        """Return an order in memory by its client order id or wire id."""
        number = self.state.names.get(f"c:{client_order_id}") or self.owner_of(client_order_id)
        return self.state.peek(number) if number else None

    def newest(self, order: Order) -> Order:
        """Return the last order in memory of the chain that an order began by moving its price."""
        while order.successor and (after := self.state.peek(order.successor)) is not None:
            order = after
        return order

    def by_key(self, idempotency_key: str) -> Order | None:
        """Return an order in memory by its idempotency key."""
        number = self.state.names.get(f"i:{idempotency_key}")
        return self.state.peek(number) if number else None

    def owner_of(self, wire_id: str) -> int:
        """Return the number of the order that a wire id belongs to; 0 if it is not this desk's.

        An order that no desk placed has the wire id that somebody else gave it.
        """
        prefix = self.state.wire_prefix
        if not wire_id.startswith(prefix):
            return self.state.names.get(f"w:{wire_id}", 0)
        digits = wire_id[len(prefix) :].partition("~")[0]
        usual = digits.isdecimal() and digits.isascii() and len(digits) <= ID_LENGTH_MAX
        return int(digits) if usual else self.state.names.get(f"w:{prefix}{digits}", 0)

    def active(self) -> Iterator[Order]:
        """Iterate over the orders that may still trade, oldest first."""
        return iter(self.state.active.values())

    def orders(
        self, *, status: Status | None = None, symbol: str = "", strategy: str | None = None
    ) -> Iterator[Order]:
        """Iterate over orders in memory, active ones by index; ended ones cost a look at each."""
        state = self.state
        if symbol:
            found = state.by_symbol.get(symbol, {})
        elif strategy is not None:
            found = state.by_strategy.get(strategy, {})
        else:
            found = state.active
        ended = () if status is not None and status not in TERMINAL else state.past()
        for order in chain(found.values(), ended):
            if (
                (status is None or order.status is status)
                and (not symbol or order.terms.symbol == symbol)
                and (strategy is None or order.strategy == strategy)
            ):
                yield order

    def stale(self, older_than_ns: int) -> Iterator[Order]:
        """Iterate over active orders created before a desk time, oldest first."""
        for order in self.state.active.values():
            if order.created_ns >= older_than_ns:
                return
            yield order

    def statistics(self) -> dict[str, int]:
        """Return counts: per status, active, finished and archived orders, and anomalies."""
        state = self.state
        counts = {f"orders_{status}": count for status, count in state.counts.items()}
        counts["orders_active"] = len(state.active)
        counts["orders_finished_in_memory"] = len(state.finished) + len(state.ended)
        counts["orders_archived"] = state.stored.archived
        counts["orders_total"] = state.stored.next_number - 1
        counts["anomalies"] = sum(state.stored.anomalies.values())
        return counts

    def names_of(self, client_order_id: str) -> tuple[str, ...]:
        """Return the names under which the journal may know what a caller calls an order."""
        number = self.owner_of(client_order_id)
        return (f"n:{number}",) if number else self._ids(client_order_id, client_order_id)

    def missing(self, given: Input) -> tuple[str, ...]:
        """Name the archived orders that an input may mean, as the journal knows them.

        `c:`, `i:`, `b:` and `w:` are names that an archived order may have had, `n:` is a number
        that was given out and is not in memory.
        """
        means = _MEANS.get(type(given)) if self.state.stored.archived else None
        return () if means is None else means(self, given)

    def _number(self, number: int) -> tuple[str, ...]:
        known = self.state.holds(number) or not 0 < number < self.state.stored.next_number
        return () if known else (f"n:{number}",)

    def _unknown(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in self.state.names)

    def _ids(self, client_order_id: str, wire_id: str) -> tuple[str, ...]:
        """Name a client order id, and a wire id that is this desk's but has no number in it."""
        named = (f"c:{client_order_id}",) if client_order_id else ()
        first = wire_id.partition("~")[0]
        return (*named, f"w:{first}") if first.startswith(self.state.wire_prefix) else named

    def _of_submit(self, given: inputs.Submit) -> tuple[str, ...]:
        return self._of_new(given.request.client_order_id, given.request.idempotency_key)

    def _of_bracket(self, given: inputs.PlaceBracket) -> tuple[str, ...]:
        return self._of_new(given.client_order_id, given.idempotency_key)

    def _of_key(self, given: inputs.PlaceOco | inputs.ClosePosition) -> tuple[str, ...]:
        return self._of_new(None, given.idempotency_key)

    def _of_new(self, client: str | None, key: str | None) -> tuple[str, ...]:
        if not (client or key):
            return ()
        named = (f"c:{client}",) if client else ()
        return self._unknown((*named, f"i:{key}") if key else named)

    def _of_caller(self, given: inputs.Cancel | inputs.Replace | inputs.Resolve) -> tuple[str, ...]:
        number = self.owner_of(given.client_order_id)
        if number:
            return self._number(number)
        return self._unknown(self.names_of(given.client_order_id))

    def _of_adopt(self, given: inputs.Adopt) -> tuple[str, ...]:
        number = self.owner_of(given.wire_id)
        if number:
            return self._number(number)
        return self._unknown(self._ids(given.client_order_id, given.wire_id))

    def _of_number(self, given: inputs.Answer | inputs.Looked) -> tuple[str, ...]:
        return () if given.number in self.state.active else self._number(given.number)

    def _of_report(self, given: inputs.Reported) -> tuple[str, ...]:
        report = given.report
        if self.owner_of(report.wire_id) in self.state.active:
            return ()
        return self._said(report.wire_id or report.orig_wire_id, report.broker_order_id)

    def _of_poll(self, given: inputs.Polled) -> tuple[str, ...]:
        said = [(one.wire_id, one.broker_order_id) for one in given.snapshots]
        said += [(wire_id, broker_order_id) for wire_id, broker_order_id, _ in given.executions]
        missing = (name for wire_id, broker_id in said for name in self._said(wire_id, broker_id))
        return tuple(dict.fromkeys(missing))

    def _of_check(self, given: inputs.Checked) -> tuple[str, ...]:
        said = () if given.polled is None else self._of_poll(given.polled)
        return tuple(dict.fromkeys((*self._number(given.number), *said)))

    def _of_external(self, given: inputs.AdoptExternal) -> tuple[str, ...]:
        wire_id, broker_order_id = given.snapshot.wire_id, given.snapshot.broker_order_id
        said, names = self._said(wire_id, broker_order_id), self.state.names
        if f"b:{broker_order_id}" in names or self.owner_of(wire_id):
            return said
        return (*said, *self._unknown((f"c:{wire_id or broker_order_id}",)))

    def _said(self, wire_id: str, broker_order_id: str) -> tuple[str, ...]:
        number = self.owner_of(wire_id) if wire_id else 0
        if number:
            return self._number(number)
        named = (f"b:{broker_order_id}",) if broker_order_id else ()
        return self._unknown(self._ids("", wire_id) + named)


_MEANS: Final[dict[type, Callable[[Queries, Any], tuple[str, ...]]]] = {
    inputs.Submit: Queries._of_submit,
    inputs.PlaceBracket: Queries._of_bracket,
    inputs.PlaceOco: Queries._of_key,
    inputs.ClosePosition: Queries._of_key,
    inputs.Adopt: Queries._of_adopt,
    inputs.Cancel: Queries._of_caller,
    inputs.Replace: Queries._of_caller,
    inputs.Resolve: Queries._of_caller,
    inputs.Answer: Queries._of_number,
    inputs.Looked: Queries._of_number,
    inputs.Reported: Queries._of_report,
    inputs.Polled: Queries._of_poll,
    inputs.Checked: Queries._of_check,
    inputs.AdoptExternal: Queries._of_external,
}
