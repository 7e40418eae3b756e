"""A register of orders for bots that talk to their broker themselves.

`OrderStateMachine` has the surface that such bots know: create, transition, cumulative fills, and
queries. It is a face over the order and the tables of the domain, not a second state machine: what
the tables refuse is refused here, and changes nothing.

Sizes and values may be Decimal, int, decimal strings, or floats as those bots have them; a float is
read as the decimal that it prints as. Times are UTC.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from holdfast.clock import NS_PER_S, Clock, SystemClock
from holdfast.domain import events as e
from holdfast.domain.fold import fold, go, new_order
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution
from holdfast.domain.requests import OrderTerms
from holdfast.domain.transitions import Fact, Overrule, move, overrule
from holdfast.domain.values import (
    DECIMALS_MAX,
    TERMINAL,
    ZERO,
    Side,
    Status,
    amount,
    check_id,
    ratio,
    rounded_mul,
    sub,
)
from holdfast.errors import InputError

Figure: TypeAlias = Decimal | str | int | float

# From this share of the ordered size on, a cumulative figure counts as all of it: brokers that
# report sizes in quote currency leave a rest that is never traded.
FULL_SHARE: Final = Decimal("0.999")
_HUNDRED: Final = Decimal(100)
_STEP: Final = Decimal(1).scaleb(-DECIMALS_MAX)
# A cumulative register knows no lots; only `FULL_SHARE` and exact equality complete an order.
_LOT: Final = _STEP

_FACTS: Final = {
    Status.OPEN: Fact.ACCEPT,
    Status.REJECTED: Fact.REJECT,
    Status.FAILED: Fact.FAIL,
    Status.PARTIAL_FILL: Fact.FILL_PART,
    Status.FILLED: Fact.FILL_LAST,
    Status.CANCELED: Fact.CANCEL,
    Status.EXPIRED: Fact.EXPIRE,
}


class OrderState:
    """One order of the register. Read it freely; only the machine changes it."""

    def __init__(
        self, order: Order, clock: Clock, *, size_usd: Decimal, size_base: Decimal
    ) -> None:
        """Stand for `order`, which the machine folds."""
        self._order = order
        self._clock = clock
        self.size_usd = size_usd
        self.size_base = size_base
        self.filled_value = ZERO
        self.fees = ZERO
        self.fills: list[Any] = []
        self.route = "unknown"
        self.order_id: str | None = None
        self.error: str | None = None
        self.rejection_reason: str | None = None

    @property
    def client_order_id(self) -> str:
        """The caller's id of the order."""
        return self._order.client_order_id

    @property
    def symbol(self) -> str:
        """What is traded."""
        return self._order.terms.symbol

    @property
    def side(self) -> Side:
        """Buy or sell."""
        return self._order.terms.side

    @property
    def status(self) -> Status:
        """Where the order is in its life."""
        return self._order.status

    @property
    def filled_size(self) -> Decimal:
        """What has traded, in base units."""
        return self._order.filled_quantity

    @property
    def average_price(self) -> Decimal:
        """Value per unit of what has traded; 0 before the first fill."""
        return ratio(self.filled_value, self.filled_size) if self.filled_size else ZERO

    @property
    def created_at(self) -> datetime:
        """When the order was created."""
        return _moment(self._order.created_ns)

    @property
    def submitted_at(self) -> datetime | None:
        """When the broker took the order, as far as known."""
        return _maybe(self._order.submitted_ns)

    @property
    def first_fill_at(self) -> datetime | None:
        """When the first fill was seen."""
        return _maybe(self._order.first_fill_ns)

    @property
    def completed_at(self) -> datetime | None:
        """When the order ended."""
        return _maybe(self._order.completed_ns)

    def age_seconds(self) -> float:
        """Return the seconds since the order was created."""
        return (self._clock.wall_ns() - self._order.created_ns) / NS_PER_S

    def is_terminal(self) -> bool:
        """Tell whether the order ended."""
        return self._order.is_terminal

    def is_active(self) -> bool:
        """Tell whether the order may still trade."""
        return not self._order.is_terminal

    def fill_percentage(self) -> Decimal:
        """Return how much is filled, in percent of the size, else of the value; may pass 100."""
        if self.size_base:
            return rounded_mul(ratio(self.filled_size, self.size_base), _HUNDRED)
        return rounded_mul(ratio(self.filled_value, self.size_usd), _HUNDRED)

    def to_dict(self) -> dict[str, Any]:
        """Return the order for a log: amounts as decimal strings, times in ISO-8601."""
        amounts = ("size_usd", "size_base", "filled_size", "filled_value", "average_price", "fees")
        moments = ("created_at", "submitted_at", "first_fill_at", "completed_at")
        texts = ("order_id", "client_order_id", "symbol", "route", "error", "rejection_reason")
        shown: dict[str, Any] = {name: getattr(self, name) for name in texts}
        shown |= {"side": self.side.value, "status": self.status.value}
        shown |= {name: str(getattr(self, name)) for name in amounts}
        for name in moments:
            moment = getattr(self, name)
            shown[name] = None if moment is None else moment.isoformat()
        shown["fills_count"] = len(self.fills)
        shown["age_seconds"] = self.age_seconds()
        shown["fill_percentage"] = str(self.fill_percentage())
        return shown


class OrderStateMachine:
    """Orders by client id, each moved along the domain's tables alone.

    A call that is refused returns False and leaves everything as it was; `refusal` then says why.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Start empty; `clock` is the machine's own unless another is given."""
        self._clock = clock or SystemClock()
        self._states: dict[str, OrderState] = {}
        self._created = 0
        self.refusal = ""

    def create_order(
        self,
        client_order_id: str,
        symbol: str,
        side: str,
        size_usd: Figure,
        size_base: Figure = 0,
        route: str = "unknown",
    ) -> OrderState:
        """Register a new order; an id that exists returns the first order, unchanged.

        Raises:
            InputError: no symbol, no usable id or side, or no size above zero.
        """
        known = self._states.get(client_order_id)
        if known is not None:
            return known
        check_id(client_order_id, "client_order_id")
        check_id(symbol, "symbol")
        usd, base = _figure(size_usd, "size_usd"), _figure(size_base, "size_base")
        if usd <= 0 and base <= 0:
            raise InputError(f"size_usd is {usd} and size_base {base}; one must be above zero")
        try:
            way = Side(side.lower())
        except ValueError:
            raise InputError(f"side is {side!r}; it must be buy or sell") from None
        self._created += 1
        terms = OrderTerms(
            symbol=symbol,
            side=way,
            quantity=base if base > 0 else None,
            notional=None if base > 0 else usd,
        )
        event = e.OrderSubmitted(
            at_ns=self._clock.wall_ns(),
            number=self._created,
            terms=terms,
            deadline_ns=0,
            not_after_ns=0,
        )
        order = new_order(event, client_order_id)
        state = OrderState(order, self._clock, size_usd=usd, size_base=base)
        state.route = route
        self._states[client_order_id] = state
        return state

    def transition(
        self,
        client_order_id: str,
        new_status: Status | str,
        order_id: str | None = None,
        error: str | None = None,
        rejection_reason: str | None = None,
        allow_override: bool = False,  # noqa: FBT001, FBT002 - positional, as such bots call it
    ) -> bool:
        """Move an order; return False where the tables have no such move.

        `allow_override` lets the word that a terminal order filled after all pass, and nothing
        else.
        """
        state = self._states.get(client_order_id)
        if state is None:
            return self._refuse(f"no order {client_order_id!r}")
        order, status = state._order, Status(new_status)  # noqa: SLF001 - the machine's own face
        fact = _FACTS.get(status)
        now_ns = self._clock.wall_ns()
        late = allow_override and status is Status.FILLED and order.status in TERMINAL
        if late and overrule(order.status, Overrule.FILL_FULL) is not None:
            order.status = Status.FILLED
        elif fact is None or move(order.status, fact) is None:
            return self._refuse(f"{order.status} to {status} is no move of an order")
        elif fact is Fact.ACCEPT:
            accepted = e.OrderAccepted(
                at_ns=now_ns, number=order.number, broker_order_id=order_id or ""
            )
            fold(order, accepted, _LOT)
        else:
            go(order, fact, now_ns)
        state.order_id = order_id or state.order_id
        state.error = error or state.error
        state.rejection_reason = rejection_reason or state.rejection_reason
        return True

    def update_fill(
        self,
        client_order_id: str,
        filled_size: Figure,
        filled_value: Figure,
        fees: Figure,
        fills: list[Any] | None = None,
    ) -> bool:
        """Take the broker's cumulative totals: size in base units, value and fees in quote.

        A total that falls is refused; an unchanged one is no news. At 99.9 % of what was ordered
        the order is full. A fill counts on any order: one that is new was evidently accepted, one
        that ended keeps its end unless it is full.
        """
        state = self._states.get(client_order_id)
        if state is None:
            return self._refuse(f"no order {client_order_id!r}")
        order = state._order  # noqa: SLF001 - the machine's own face
        size, value = _figure(filled_size, "filled_size"), _figure(filled_value, "filled_value")
        paid = _figure(fees, "fees")
        if size < order.filled_quantity or value < state.filled_value:
            return self._refuse(
                f"filled {size} worth {value} is less than the {order.filled_quantity} worth "
                f"{state.filled_value} known already"
            )
        more = sub(size, order.filled_quantity)
        if more:
            self._book(state, more, sub(value, state.filled_value), _is_full(state, size, value))
        state.filled_value, state.fees = value, paid
        if fills is not None:
            state.fills = list(fills)
        return True

    def _book(self, state: OrderState, more: Decimal, worth: Decimal, full: bool) -> None:  # noqa: FBT001
        order, now_ns = state._order, self._clock.wall_ns()  # noqa: SLF001 - the machine's own face
        if order.status is Status.NEW:
            accepted = e.OrderAccepted(at_ns=now_ns, number=order.number, inferred=True)
            fold(order, accepted, _LOT)
        execution = Execution(
            execution_id=f"total-{order.filled_quantity}-{more}",
            quantity=more,
            price=ratio(worth, more).quantize(_STEP),
        )
        filled = e.OrderFilled(
            at_ns=now_ns,
            number=order.number,
            broker_order_id=order.broker_order_id,
            execution=execution,
            full=full,
        )
        fold(order, filled, _LOT)

    def get_order(self, client_order_id: str) -> OrderState | None:
        """Return an order, or None."""
        return self._states.get(client_order_id)

    def get_active_orders(self) -> list[OrderState]:
        """Return the orders that have not ended, oldest first."""
        return [state for state in self._states.values() if state.is_active()]

    def get_terminal_orders(self) -> list[OrderState]:
        """Return the orders that ended, oldest first."""
        return [state for state in self._states.values() if state.is_terminal()]

    def get_orders_by_status(self, status: Status | str) -> list[OrderState]:
        """Return the orders of one status, oldest first."""
        wanted = Status(status)
        return [state for state in self._states.values() if state.status is wanted]

    def get_stale_orders(self, max_age_seconds: float) -> list[OrderState]:
        """Return the active orders that are older than so many seconds."""
        return [s for s in self.get_active_orders() if s.age_seconds() > max_age_seconds]

    def cleanup_old_orders(self, keep_last_n: int = 100) -> int:
        """Forget all but the newest ended orders; active ones always stay. Return how many went."""
        ended = sorted(self.get_terminal_orders(), key=lambda s: s._order.completed_ns)  # noqa: SLF001
        gone = ended[: max(len(ended) - max(keep_last_n, 0), 0)]
        for state in gone:
            del self._states[state.client_order_id]
        return len(gone)

    def get_summary(self) -> dict[str, Any]:
        """Return totals, orders per status, and the age of the oldest active order in seconds."""
        active = self.get_active_orders()
        breakdown = {status.value: 0 for status in Status}
        for state in self._states.values():
            breakdown[state.status.value] += 1
        return {
            "total_orders": len(self._states),
            "active_orders": len(active),
            "terminal_orders": len(self._states) - len(active),
            "status_breakdown": breakdown,
            "oldest_active_age": max((state.age_seconds() for state in active), default=0.0),
        }

    def _refuse(self, reason: str) -> bool:
        self.refusal = reason
        return False


def _is_full(state: OrderState, size: Decimal, value: Decimal) -> bool:
    if state.size_base:
        return size >= rounded_mul(state.size_base, FULL_SHARE)
    return value >= rounded_mul(state.size_usd, FULL_SHARE)


def _figure(value: Figure, name: str) -> Decimal:
    """Read a size, zero allowed; a float as the decimal that it prints as."""
    number = amount(repr(value) if isinstance(value, float) else value, name, signed=True)
    if number < 0:
        raise InputError(f"{name} is {number}; it must be zero or more")
    return number


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC)


def _maybe(at_ns: int) -> datetime | None:
    return _moment(at_ns) if at_ns else None


_SHARED: Final[list[OrderStateMachine]] = []


def get_order_state_machine() -> OrderStateMachine:
    """Return the process's shared register; tests and accounts are better off with their own."""
    if not _SHARED:
        _SHARED.append(OrderStateMachine())
    return _SHARED[0]
