"""The reading half of a manager: orders, executions, positions, figures and health.

Orders in memory may be ahead of the disk by milliseconds; archived ones come from the journal.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from holdfast.domain.group import Group
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.quotes import Quote
from holdfast.domain.requests import check_text
from holdfast.domain.values import TERMINAL, Status
from holdfast.engine.account_data import AccountData, AccountView
from holdfast.engine.halted import HaltedDesk
from holdfast.engine.link import AccountLink
from holdfast.engine.quotes import QuoteBoard
from holdfast.engine.recovery import recall
from holdfast.engine.results import (
    ALL,
    GuardView,
    TallyView,
    sum_tallies,
    view_guard,
    view_tally,
)
from holdfast.engine.rows import order_of
from holdfast.engine.runner import Mode, Runner
from holdfast.engine.subscribers import Subscribers
from holdfast.engine.views import (
    ExecutionView,
    OrderView,
    PositionView,
    view_executions,
    view_order,
    view_position,
)
from holdfast.errors import InputError, OrderStatusError
from holdfast.ports import Journal

# A query answers with at most so many unless it is asked for more.
ORDERS_MAX: Final = 1_000
# Archived orders read from the journal at once.
_CHUNK: Final = 500


class Health(Struct, frozen=True, kw_only=True):
    """Whether the desk can be relied on, and what there is to look at.

    `is_ok` is False while the journal cannot be written or the desk has failed; `fault` says why.
    `last_poll_age_ms` is -1 before the first poll was answered. `unreadable` are the newest of the
    broker's messages that could not be used, masked. `unprotected` are the groups of which not all
    that they hold is covered at this moment, or that are on their way out for it.
    """

    is_ok: bool
    mode: Mode
    fault: str
    desk: str
    account: str
    durable_seq: int
    waiting: int
    calls_open: int
    last_poll_age_ms: int
    unclaimed: tuple[str, ...]
    slow_callbacks: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    unprotected: tuple[int, ...] = ()


class Reading:
    """What can be asked of a manager without changing anything."""

    _journal: Journal
    _name: str
    _runner: Runner
    _link: AccountLink
    _subscribers: Subscribers
    _account_data: AccountData
    _halted: HaltedDesk
    _board: QuoteBoard | None

    async def order(self, client_order_id: str) -> OrderView:
        """Return an order by its client order id or wire id, archived or not.

        Raises:
            OrderStatusError: there is no such order.
        """
        return view_order(self._order(client_order_id))

    async def orders(
        self,
        *,
        status: Status | str | None = None,
        symbol: str = "",
        strategy: str | None = None,
        finished: bool = True,
        limit: int = ORDERS_MAX,
    ) -> list[OrderView]:
        """Return orders that match: active ones first, then ended ones, the newest of them first.

        With `finished=False` only orders that may still trade, which costs no more than they are.

        Raises:
            InputError: no such status.
        """
        wanted = _status(status)
        found: list[OrderView] = []
        sources = [self._runner.desk.active()]
        if finished and (wanted is None or wanted in TERMINAL):
            sources += [self._finished(), self._archived()]
        for source in sources:
            for order in source:
                if len(found) >= limit:
                    return found
                if (
                    (wanted is None or order.status is wanted)
                    and (not symbol or order.terms.symbol == symbol)
                    and (strategy is None or order.strategy == strategy)
                ):
                    found.append(view_order(order))
        return found

    async def executions(
        self, client_order_id: str | None = None, *, limit: int = ORDERS_MAX
    ) -> list[ExecutionView]:
        """Return the executions of an order, or of all orders, the newest orders first.

        Raises:
            OrderStatusError: there is no such order.
        """
        if client_order_id is not None:
            return view_executions(self._order(client_order_id))[:limit]
        found: list[ExecutionView] = []
        for source in (self._runner.desk.active(), self._finished(), self._archived()):
            for order in source:
                if order.filled_quantity or order.legs:
                    found += view_executions(order)
                if len(found) >= limit:
                    return found[:limit]
        return found

    async def positions(self) -> dict[str, PositionView]:
        """Return what the desk holds, by symbol; flat ones stay for their profit and fees."""
        positions = self._runner.desk.positions
        return {symbol: view_position(position) for symbol, position in positions.items()}

    async def guard(self) -> GuardView:
        """Return the kill switch, the breaker, and what limits, alerts and cancels there were."""
        unrecorded = tuple(self._halted.switches)
        return view_guard(self._runner.desk.guard, self._runner.now_ns(), unrecorded)

    async def account(self, *, fresh: bool = False) -> AccountView:
        """Return what the account may spend and holds, as its broker last told it.

        The figures are kept for some seconds and asked for anew after fills and cancels; `fresh`
        asks now.

        Raises:
            OrderStatusError: the broker does not tell them (`ACCOUNT_UNKNOWN`), or not now.
        """
        return await self._account_data.get(fresh=fresh)

    async def quote(self, symbol: str) -> Quote | None:
        """Return the latest quote of a symbol, however old; None where there is none."""
        return self._runner.desk.quotes.get(check_text(symbol, "symbol"))

    async def statistics(self) -> dict[str, dict[str, int]]:
        """Return counters and sizes by part, and per callback or stream under its name."""
        runner, inbox = self._runner, self._runner.inbox
        engine = {
            **runner.counts,
            "durable_seq": runner.durable_seq,
            "waiting": len(inbox),
            "refused_busy": inbox.refused,
            "report_cuts": inbox.cuts,
            "reports_cut": inbox.reports_cut,
        }
        return {
            "desk": runner.desk.statistics(),
            "engine": engine,
            "link": self._link.statistics(),
            "journal": self._journal.statistics(),
            "account": self._account_data.statistics(),
            "quotes": self._board.statistics() if self._board is not None else {},
            **{f"callback {name}": each for name, each in runner.feed.statistics().items()},
        }

    async def trading_statistics(
        self, *, strategy: str | None = None, symbol: str = ""
    ) -> list[TallyView]:
        """Return what the orders of each strategy and symbol came to, and last the sum of these.

        Of a desk's whole life, archived orders and late facts included; amounts are exact. Past
        10,000 pairs of strategy and symbol, new ones are counted under the strategy `other`.

        Raises:
            InputError: a strategy or symbol that is no text.
        """
        check_text(symbol, "symbol")
        if strategy is not None:
            check_text(strategy, "strategy")
        desk, found = self._runner.desk, []
        tallies = desk.state.tallies.with_live(desk.active())
        for name, traded in sorted(tallies):
            if strategy in {None, name} and symbol in {"", traded}:
                instrument = desk.state.stored.instruments.get(traded) or Instrument.of(traded)
                position = desk.positions.get(traded)
                trail = position.trail if position is not None else []
                price = trail[-1].price if trail else None
                found.append(view_tally(name, instrument, tallies[name, traded], price))
        return [*found, sum_tallies(found, ALL if strategy is None else strategy, symbol or ALL)]

    async def health(self) -> Health:
        """Tell whether the desk can be relied on."""
        runner, link = self._runner, self._link
        return Health(
            is_ok=runner.mode in {Mode.RUNNING, Mode.MENDING},
            mode=runner.mode,
            fault=str(runner.fault or ""),
            desk=self._name,
            account=link.account,
            durable_seq=runner.durable_seq,
            waiting=len(runner.inbox),
            calls_open=link.calls_open,
            last_poll_age_ms=link.statistics()["last_poll_age_ms"],
            unclaimed=tuple(link.routing.unclaimed),
            slow_callbacks=tuple(self._subscribers.slow),
            unreadable=tuple(map(str, link.unreadable)),
            unprotected=unprotected(runner.desk.state.groups.open()),
        )

    def _order(self, client_order_id: str) -> Order:
        """Return an order, live or from the journal; for reading alone."""
        desk = self._runner.desk
        order = desk.find(check_text(client_order_id, "client_order_id"))
        if order is not None:
            return order
        names = desk.names_of(client_order_id)
        for body in recall(self._journal, self._name, names).values():
            return order_of(body)
        raise OrderStatusError(
            f"there is no order {client_order_id!r} on desk {self._name!r}; "
            "`orders()` lists those there are",
            client_order_id=client_order_id,
        )

    def _numbered(self, number: int) -> Order:
        """Return an order by its number, live or from the journal; for reading alone."""
        order = self._runner.desk.order(number)
        return order or order_of(self._journal.bodies(self._name, [number])[number])

    def _finished(self) -> Iterator[Order]:
        """Iterate over the ended orders in memory, newest first."""
        state = self._runner.desk.state
        for number in sorted({*state.ended, *state.finished}, reverse=True):
            order = state.peek(number)
            if order is not None:
                yield order

    def _archived(self) -> Iterator[Order]:
        """Iterate over orders that left memory, newest first."""
        desk = self._runner.desk
        left, number = desk.state.stored.archived, desk.next_number - 1
        while left > 0 and number > 0:
            chunk: list[int] = []
            while len(chunk) < _CHUNK and number > 0:
                if desk.order(number) is None:
                    chunk.append(number)
                number -= 1
            bodies = self._journal.bodies(self._name, chunk)
            for each in chunk:
                if each in bodies:
                    left -= 1
                    yield order_of(bodies[each])


def unprotected(groups: Iterable[Group]) -> tuple[int, ...]:
    """Return the groups that are not wholly covered, or are on their way out for it, by number."""
    return tuple(group.group for group in groups if group.naked_ns)


def _status(status: Status | str | None) -> Status | None:
    if status is None:
        return None
    try:
        return Status(status.lower())
    except (ValueError, AttributeError):
        known = ", ".join(Status)
        raise InputError(f"status is {status!r}; it must be one of {known}") from None
