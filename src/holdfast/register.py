"""A register of orders for programs that talk to their broker themselves.

`OrderStateMachine` is told what happened and says whether it may have happened. It is a thin face
over the desk's own orders: every change is an event of the domain, folded by the same tables, so
nothing here decides what may follow what. It sends nothing, journals nothing and asks nobody.

Amounts are Decimals, ints or decimal strings. Floats are taken too, as such programs have them: a
float counts as the decimal that it prints, rounded to 14 places. What comes out is Decimal.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final

from holdfast.clock import NS_PER_S, Clock, SystemClock, iso
from holdfast.domain import events as e
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution
from holdfast.domain.requests import OrderTerms
from holdfast.domain.state import State
from holdfast.domain.transitions import Fact, Overrule, move, overrule
from holdfast.domain.values import (
    DECIMALS_MAX,
    ZERO,
    Side,
    Status,
    amount,
    check_id,
    plain,
    ratio,
    sub,
)
from holdfast.errors import InputError

OrderStatus = Status
OrderSide = Side

# So much of the size, in percent, counts as all of it: brokers of coins leave dust behind.
FULL_PERCENT: Final = Decimal("99.9")

_PLACES: Final = Decimal(1).scaleb(-DECIMALS_MAX)
_FACTS: Final = {
    Status.OPEN: Fact.ACCEPT,
    Status.PARTIAL_FILL: Fact.FILL_PART,
    Status.FILLED: Fact.FILL_LAST,
    Status.CANCELED: Fact.CANCEL,
    Status.EXPIRED: Fact.EXPIRE,
    Status.REJECTED: Fact.REJECT,
    Status.FAILED: Fact.FAIL,
}


def exact(value: object, name: str) -> Decimal:
    """Read an amount of zero or more; a float counts as the decimal that it prints.

    Raises:
        AmountError: not a number, not finite, below zero, or beyond 14 digits before the point.
    """
    if isinstance(value, float):
        read = amount(f"{Decimal(repr(value)):.{DECIMALS_MAX}f}", name, signed=True)
    else:
        read = amount(value, name, signed=True)
    if read < 0:
        raise InputError(f"{name} is {read}; it must be zero or more")
    return read


class OrderState:
    """One order as the register knows it: a view that follows the order, for reading."""

    def __init__(self, order: Order, register: "OrderStateMachine", told: "Told") -> None:
        """Show an order of a register together with what was told of it besides."""
        self._order, self._register, self._told = order, register, told

    @property
    def client_order_id(self) -> str:
        """The caller's id."""
        return self._order.client_order_id

    @property
    def order_id(self) -> str:
        """The broker's id, empty before it is known."""
        return self._order.broker_order_id

    @property
    def symbol(self) -> str:
        """What is traded."""
        return self._order.terms.symbol

    @property
    def side(self) -> Side:
        """Which way."""
        return self._order.terms.side

    @property
    def status(self) -> Status:
        """Where the order is in its life."""
        return self._order.status

    @property
    def size_usd(self) -> Decimal:
        """The size in quote currency as created; 0 where only units were given."""
        return self._told.size_usd

    @property
    def size_base(self) -> Decimal:
        """The size in units as created; 0 where only a value was given."""
        return self._order.terms.quantity or ZERO

    @property
    def route(self) -> str:
        """How the order goes, in the caller's words."""
        return self._told.route

    @property
    def filled_size(self) -> Decimal:
        """Units filled in all."""
        return self._order.filled_quantity

    @property
    def filled_value(self) -> Decimal:
        """Value filled in all, as told."""
        return self._told.filled_value

    @property
    def average_price(self) -> Decimal:
        """Value by units; 0 before the first fill."""
        return ratio(self.filled_value, self.filled_size) if self.filled_size else ZERO

    @property
    def fees(self) -> Decimal:
        """Fees in all, as told."""
        return self._told.fees

    @property
    def fills(self) -> tuple[Any, ...]:
        """The fills of the newest update that listed them."""
        return self._told.fills

    @property
    def error(self) -> str:
        """Why it failed or ended, empty if nobody said."""
        return self._told.error

    @property
    def rejection_reason(self) -> str:
        """Why the broker refused it, empty if it did not."""
        return self._told.rejection_reason

    @property
    def created_at(self) -> datetime:
        """When it was created, UTC."""
        return _utc(self._order.created_ns)

    @property
    def submitted_at(self) -> datetime | None:
        """When it was first known to be with the broker, UTC."""
        return _moment(self._order.submitted_ns)

    @property
    def first_fill_at(self) -> datetime | None:
        """When its first fill was told, UTC."""
        return _moment(self._order.first_fill_ns)

    @property
    def completed_at(self) -> datetime | None:
        """When it ended, UTC."""
        return _moment(self._order.completed_ns)

    def age_seconds(self) -> float:
        """Return the seconds since it was created, by a clock that nobody can set."""
        return (self._register.now_ns() - self._order.created_ns) / NS_PER_S

    def is_terminal(self) -> bool:
        """Tell whether it ended."""
        return self._order.is_terminal

    def is_active(self) -> bool:
        """Tell whether it is new, open or partly filled."""
        return not self._order.is_terminal

    def fill_percentage(self) -> Decimal:
        """Return 0 to 100 and beyond: units of the size in units, else value of the value."""
        if self.size_base:
            return ratio(self.filled_size * 100, self.size_base)
        return ratio(self.filled_value * 100, self.size_usd)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for a log: amounts as strings, times as ISO-8601."""
        moments = {
            f"{name}_at": getattr(self._order, f"{name}_ns")
            for name in ("created", "submitted", "first_fill", "completed")
        }
        amounts = ("size_usd", "size_base", "filled_size", "filled_value", "average_price", "fees")
        texts = ("order_id", "client_order_id", "symbol", "route", "error", "rejection_reason")
        return {
            **{name: getattr(self, name) for name in texts},
            "side": self.side.value,
            "status": self.status.value,
            **{name: plain(getattr(self, name)) for name in amounts},
            **{name: iso(at_ns) if at_ns else None for name, at_ns in moments.items()},
            "fills_count": len(self.fills),
            "age_seconds": self.age_seconds(),
            "fill_percentage": plain(self.fill_percentage()),
        }


class Told:
    """What a caller tells of an order that an order of the desk has no place for."""

    def __init__(self, size_usd: Decimal, route: str) -> None:
        """Begin with nothing filled."""
        self.size_usd, self.route = size_usd, route
        self.filled_value = self.fees = ZERO
        self.fills: tuple[Any, ...] = ()
        self.error = self.rejection_reason = ""


class OrderStateMachine:
    """Orders by client id; `last_refusal` says why the newest refused call was refused."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Start empty. The clock's wall time dates the first moment, its boot time the rest."""
        self._clock = clock or SystemClock()
        self._offset_ns = self._clock.wall_ns() - self._clock.boot_ns()
        self._state = State()
        self._views: dict[str, OrderState] = {}
        self._told: dict[int, Told] = {}
        self.last_refusal = ""

    def now_ns(self) -> int:
        """Return UTC nanoseconds that never fall, whoever sets the clock."""
        return self._offset_ns + self._clock.boot_ns()

    def create_order(
        self,
        client_order_id: str,
        symbol: str,
        side: str,
        size_usd: object = 0,
        size_base: object = 0,
        route: str = "unknown",
    ) -> OrderState:
        """Enter a new order; an id that exists returns its order, unchanged.

        Raises:
            InputError: no symbol, no such side, an unusable id, or both sizes zero or below.
        """
        known = self._views.get(client_order_id)
        if known is not None:
            return known
        value, units = exact(size_usd, "size_usd"), exact(size_base, "size_base")
        if not value and not units:
            raise InputError("size_usd and size_base are both 0; one of them must be above zero")
        if side not in set(Side):
            raise InputError(f"side is {side!r}; it must be one of buy, sell")
        terms = OrderTerms(
            symbol=check_id(symbol, "symbol"),
            side=Side(side),
            quantity=units or None,
            notional=None if units else value,
        )
        at_ns, number = self.now_ns(), self._state.stored.next_number
        if symbol not in self._state.stored.instruments:  # the smallest lot: only dust is no rest
            instrument = Instrument(symbol=symbol, tick=_PLACES, lot=_PLACES)
            self._state.apply(e.InstrumentDefined(at_ns=at_ns, instrument=instrument))
        self._state.apply(
            e.OrderSubmitted(
                at_ns=at_ns,
                number=number,
                terms=terms,
                deadline_ns=at_ns,
                not_after_ns=at_ns,
                client_order_id=check_id(client_order_id, "client_order_id"),
            )
        )
        order = self._state.order(number)
        assert order is not None  # it was just entered
        self._told[number] = Told(value, route)
        view = self._views[client_order_id] = OrderState(order, self, self._told[number])
        return view

    def transition(
        self,
        client_order_id: str,
        new_status: str,
        order_id: str | None = None,
        error: str | None = None,
        rejection_reason: str | None = None,
        *,
        allow_override: bool = False,
    ) -> bool:
        """Move an order; False, and nothing changed, where it may not move so.

        After an end only FILLED may follow, as a fill can be late; `allow_override` is taken for
        the sake of old callers and overrides nothing. Raises InputError for no such status.
        """
        del allow_override
        order = self._find(client_order_id)
        if order is None:
            return False
        status = _status(new_status)
        fact = _FACTS.get(status)
        after = move(order.status, fact) if fact is not None else None
        if after is None and status is Status.FILLED and order.is_terminal:
            after = overrule(order.status, Overrule.FILL_FULL)
        if after is None or after is order.status:
            return self._refuse(f"order {client_order_id} is {order.status}; it cannot be {status}")
        self._move(order, status, order_id or "", rejection_reason or error or "")
        told = self._told[order.number]
        told.error = error if error is not None else told.error
        if rejection_reason is not None:
            told.rejection_reason = rejection_reason
        return True

    def update_fill(
        self,
        client_order_id: str,
        filled_size: object,
        filled_value: object,
        fees: object = 0,
        fills: Sequence[Mapping[str, Any]] | None = None,
    ) -> bool:
        """Take cumulative totals; from 99.9 % on the order is FILLED.

        False, and nothing changed, for an unknown id, an order that was never acknowledged, or
        totals that fall. A total that comes late counts in any status.

        Raises:
            InputError: a total that is not a number of zero or more.
        """
        order = self._find(client_order_id)
        if order is None:
            return False
        size, value = exact(filled_size, "filled_size"), exact(filled_value, "filled_value")
        paid, told = exact(fees, "fees"), self._told[order.number]
        if order.status is Status.NEW:
            return self._refuse(f"order {client_order_id} is new; it must be open before it fills")
        if size < order.filled_quantity or value < told.filled_value:
            return self._refuse(
                f"order {client_order_id} has {order.filled_quantity} filled, worth "
                f"{told.filled_value}; totals of {size} and {value} are older"
            )
        added, worth = sub(size, order.filled_quantity), sub(value, told.filled_value)
        told.filled_value, told.fees = value, paid
        if fills is not None:
            told.fills = tuple(fills)
        if added:
            self._fill(order, added, ratio(worth, added).quantize(_PLACES), size, value)
        return True

    def get_order(self, client_order_id: str) -> OrderState | None:
        """Return an order by its client id, or None."""
        return self._views.get(client_order_id)

    def get_active_orders(self) -> list[OrderState]:
        """Return the orders that are new, open or partly filled, oldest first."""
        return [self._view(order) for order in self._state.active.values()]

    def get_terminal_orders(self) -> list[OrderState]:
        """Return the orders that ended and were not cleaned up, oldest end first."""
        return [self._view(order) for order in self._ended()]

    def get_orders_by_status(self, status: str) -> list[OrderState]:
        """Return the orders of a status, oldest first."""
        wanted = _status(status)
        return [view for view in self._views.values() if view.status is wanted]

    def get_stale_orders(self, max_age_seconds: float) -> list[OrderState]:
        """Return the active orders older than so many seconds, oldest first."""
        now_ns, stale = self.now_ns(), []
        for order in self._state.active.values():
            if now_ns - order.created_ns <= max_age_seconds * NS_PER_S:
                break
            stale.append(self._view(order))
        return stale

    def cleanup_old_orders(self, keep_last_n: int = 100) -> int:
        """Forget all but the newest so many orders that ended; return how many were forgotten.

        An active order is never forgotten. Raises InputError where `keep_last_n` is below zero.
        """
        if keep_last_n < 0:
            raise InputError(f"keep_last_n is {keep_last_n}; it must be zero or more")
        ended = self._ended()
        old = ended[: max(len(ended) - keep_last_n, 0)]
        if old:
            numbers = tuple(order.number for order in old)
            self._state.apply(e.OrdersArchived(at_ns=self.now_ns(), numbers=numbers))
            for order in old:
                del self._views[order.client_order_id], self._told[order.number]
        return len(old)

    def get_summary(self) -> dict[str, Any]:
        """Return counts in all, per status and of anomalies, and the oldest active order's age."""
        active = self._state.active
        oldest = next(iter(active.values()), None)
        return {
            "total_orders": len(self._views),
            "active_orders": len(active),
            "terminal_orders": len(self._views) - len(active),
            "status_breakdown": {s.value: n for s, n in self._state.counts.items() if n},
            "oldest_active_age": self._view(oldest).age_seconds() if oldest is not None else 0.0,
            "anomalies": dict(self._state.stored.anomalies),
        }

    def _find(self, client_order_id: str) -> Order | None:
        view = self._views.get(client_order_id)
        if view is None:
            self._refuse(f"no order {client_order_id!r} is known; create it first")
        return view._order if view is not None else None  # noqa: SLF001 - its own view

    def _view(self, order: Order) -> OrderState:
        return self._views[order.client_order_id]

    def _refuse(self, reason: str) -> bool:
        self.last_refusal = reason
        return False

    def _ended(self) -> list[Order]:
        ended = self._state.ended.values()
        return sorted(ended, key=lambda order: (order.completed_ns, order.number))

    def _move(self, order: Order, status: Status, order_id: str, text: str) -> None:
        at: dict[str, Any] = {"at_ns": self.now_ns(), "number": order.number}
        if status in {Status.PARTIAL_FILL, Status.FILLED}:
            self._fill(order, ZERO, ZERO, ZERO, ZERO, full=status is Status.FILLED)
            return
        event: e.AnyEvent
        if status is Status.OPEN:
            event = e.OrderAccepted(**at, broker_order_id=order_id)
        elif status is Status.REJECTED:
            event = e.OrderRejected(**at, code="other", text=text)
        elif status is Status.FAILED:
            event = e.OrderFailed(**at, code="FAILED", text=text)
        elif status is Status.CANCELED:
            event = e.OrderCanceled(**at, word=text)
        else:
            event = e.OrderExpired(**at, word=text)
        self._state.apply(event)

    def _fill(
        self,
        order: Order,
        added: Decimal,
        price: Decimal,
        size: Decimal,
        value: Decimal,
        *,
        full: bool = False,
    ) -> None:
        """Book a difference of totals; one of nothing is a caller's word without figures."""
        told, asked = self._told[order.number], order.terms.quantity
        done, whole = (size, asked) if asked is not None else (value, told.size_usd)
        name = f"total-{plain(size)}" if added else f"word-{order.status}"
        at_ns = self.now_ns()
        self._state.apply(
            e.OrderFilled(
                at_ns=at_ns,
                number=order.number,
                broker_order_id=order.broker_order_id,
                execution=Execution(execution_id=name, quantity=added, price=price),
                full=full or ratio(done * 100, whole) >= FULL_PERCENT,
            )
        )
        if asked is not None and order.filled_quantity > asked:
            text = f"{plain(order.filled_quantity)} of {plain(asked)} are filled"
            overfilled = e.AnomalyRecorded(
                at_ns=at_ns, code="OVERFILL", text=text, number=order.number
            )
            self._state.apply(overfilled)


def _status(word: str) -> Status:
    if word not in set(Status):
        raise InputError(f"status is {word!r}; it must be one of {', '.join(Status)}")
    return Status(word)


def _moment(at_ns: int) -> datetime | None:
    return _utc(at_ns) if at_ns else None


def _utc(at_ns: int) -> datetime:
    seconds, nanos = divmod(at_ns, NS_PER_S)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=nanos // 1_000)


@cache
def get_order_state_machine() -> OrderStateMachine:
    """Return the one register of this process, made at the first call.

    It outlives whoever asked first. Accounts that must not mix, and tests, make their own.
    """
    return OrderStateMachine()
