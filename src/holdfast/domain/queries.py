"""What can be read of a desk: one order, filtered orders, counts; what an input may mean."""

from collections.abc import Iterator
from itertools import chain

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

    def by_key(self, idempotency_key: str) -> Order | None:
        """Return an order in memory by its idempotency key."""
        number = self.state.names.get(f"i:{idempotency_key}")
        return self.state.peek(number) if number else None

    def owner_of(self, wire_id: str) -> int:
        """Return the number of the order that a wire id belongs to; 0 if it is not this desk's."""
        prefix = self.state.wire_prefix
        if not wire_id.startswith(prefix):
            return 0
        digits = wire_id[len(prefix) :].partition("~")[0]
        usual = digits.isdecimal() and digits.isascii() and len(digits) <= ID_LENGTH_MAX
        return int(digits) if usual else 0

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

    def missing(self, given: Input) -> tuple[str, ...]:
        """Name the archived orders that an input may mean, as the journal knows them.

        `c:`, `i:` and `b:` are names that an archived order may have had, `n:` is a number that
        was given out and is not in memory.
        """
        if not self.state.stored.archived:
            return ()
        names = dict.fromkeys(self._names(given))
        return tuple(name for name in names if not self._has(name))

    def _has(self, name: str) -> bool:
        kind, _, rest = name.partition(":")
        if kind == "n":
            number = int(rest)
            in_memory = self.state.holds(number)
            return in_memory or not 0 < number < self.state.stored.next_number
        return name in self.state.names

    def _names(self, given: Input) -> Iterator[str]:
        if isinstance(given, inputs.Submit):
            if given.request.client_order_id:
                yield f"c:{given.request.client_order_id}"
            if given.request.idempotency_key:
                yield f"i:{given.request.idempotency_key}"
        elif isinstance(given, inputs.Cancel | inputs.Replace | inputs.Resolve):
            yield from self._by_id(given.client_order_id, "c")
        elif isinstance(given, inputs.Answer | inputs.Looked):
            yield f"n:{given.number}"
        elif isinstance(given, inputs.Reported):
            report = given.report
            yield from self._said(report.wire_id or report.orig_wire_id, report.broker_order_id)
        elif isinstance(given, inputs.Polled):
            for snapshot in given.snapshots:
                yield from self._said(snapshot.wire_id, snapshot.broker_order_id)
            for wire_id, broker_order_id, _ in given.executions:
                yield from self._said(wire_id, broker_order_id)

    def _said(self, wire_id: str, broker_order_id: str) -> Iterator[str]:
        if wire_id:
            yield from self._by_id(wire_id, "")
        elif broker_order_id:
            yield f"b:{broker_order_id}"

    def _by_id(self, name: str, kind: str) -> Iterator[str]:
        number = self.owner_of(name)
        if number:
            yield f"n:{number}"
        elif kind:
            yield f"{kind}:{name}"
