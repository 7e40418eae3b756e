"""What a caller asks for: an order request, checked and turned into exact terms.

Rule: everything is checked here, before anything is recorded; a request that passes can be
journaled as it stands.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from holdfast.domain.instruments import Instrument
from holdfast.domain.sanity import writable
from holdfast.domain.values import (
    ID_LENGTH_MAX,
    MOMENT_MAX,
    OrderType,
    Side,
    TimeInForce,
    amount,
    check_id,
)
from holdfast.errors import InputError, UnsupportedOrderTypeError

Amount: TypeAlias = Decimal | str | int

# An order that may go out after a day was not meant for today.
NOT_AFTER_MS_MAX: Final = 86_400_000

# order type -> (takes a limit price, takes a stop price, takes a trail)
_PRICES: Final = {
    OrderType.MARKET: (False, False, False),
    OrderType.LIMIT: (True, False, False),
    OrderType.STOP: (False, True, False),
    OrderType.STOP_LIMIT: (True, True, False),
    OrderType.TRAILING_STOP: (False, False, True),
}

_CHOICES: Final[dict[type[StrEnum], dict[str, StrEnum]]] = {
    kind: {item.value: item for item in kind} for kind in (OrderType, TimeInForce, Side)
}

_Choice = TypeVar("_Choice", bound=StrEnum)


class PegTo(StrEnum):
    """The price that a pegged order follows."""

    BID = "bid"
    ASK = "ask"
    MID = "mid"


class Peg(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a pegged limit order follows: a price of the quote plus `offset` (signed, per unit).

    `worst` is the limit price that it never goes past: the slippage guard, fixed at the start.
    """

    to: PegTo
    offset: Decimal
    worst: Decimal


class OrderRequest(Struct, frozen=True, gc=False, kw_only=True):
    """A new order as the caller writes it; amounts as Decimal, int or decimal string.

    Exactly one of `quantity` (units) and `notional` (quote currency) is given. `trail` is the
    distance of a trailing stop in price. `expire_at_ns` (UTC) belongs to GTD. `client_order_id`
    and `idempotency_key` are the caller's own, unique for the journal's life: the same id with
    the same request returns the first order. `force` lets an exit pass that could exceed the
    position. `not_after_ms` is how long after the call the order may still be sent.
    A limit order may have a `reference_price` in the place of its limit price: the desk's pricing
    policy makes one of the other. Or it may follow a price: `peg` is `bid`, `ask` or `mid`, and
    `peg_offset` (signed) is added to it.
    """

    symbol: str
    side: str
    quantity: Amount | None = None
    notional: Amount | None = None
    order_type: str = "market"
    limit_price: Amount | None = None
    stop_price: Amount | None = None
    trail: Amount | None = None
    time_in_force: str = "gtc"
    expire_at_ns: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    extended_hours: bool = False
    client_order_id: str | None = None
    idempotency_key: str | None = None
    strategy: str = ""
    not_after_ms: int | None = None
    force: bool = False
    reference_price: Amount | None = None
    peg: str | None = None
    peg_offset: Amount | None = None

    def __post_init__(self) -> None:
        """Refuse a symbol that could not even be looked for."""
        if not isinstance(self.symbol, str):
            raise InputError(f"symbol is {self.symbol!r}; give a text")


class OrderTerms(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The checked terms of an order, in exact amounts; what is journaled and sent."""

    symbol: str
    side: Side
    quantity: Decimal | None = None
    notional: Decimal | None = None
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at_ns: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    extended_hours: bool = False
    reference_price: Decimal | None = None
    peg: Peg | None = None


def check_request(request: OrderRequest, instrument: Instrument) -> OrderTerms:
    """Turn a request into terms.

    Raises:
        AmountError: a price or quantity is not finite, not positive, off tick or lot, absurd, or
            worth less than the minimum notional.
        UnsupportedOrderTypeError: no such order type or time in force.
        InputError: anything else that is missing, doubled or contradictory; the message names it.
    """
    order_type = _choice(OrderType, request.order_type, "order_type")
    in_force = _choice(TimeInForce, request.time_in_force, "time_in_force")
    quantity, notional = _size(request, instrument)
    wanted = _PRICES[order_type]
    limit_price = _price(
        request.limit_price, "limit_price", order_type, instrument, wanted=wanted[0]
    )
    stop_price = _price(request.stop_price, "stop_price", order_type, instrument, wanted=wanted[1])
    trail = _price(request.trail, "trail", order_type, instrument, wanted=wanted[2])
    if quantity is not None and limit_price is not None:
        instrument.check_notional(quantity, limit_price)
    _check_flags(request, order_type, in_force)
    for name in ("client_order_id", "idempotency_key"):
        if getattr(request, name) is not None:
            check_id(getattr(request, name), name)
    _check_strategy(request.strategy)
    return OrderTerms(
        symbol=request.symbol,
        side=_choice(Side, request.side, "side"),
        quantity=quantity,
        notional=notional,
        order_type=order_type,
        limit_price=limit_price,
        stop_price=stop_price,
        trail=trail,
        time_in_force=in_force,
        expire_at_ns=request.expire_at_ns,
        post_only=request.post_only,
        reduce_only=request.reduce_only,
        extended_hours=request.extended_hours,
    )


def _choice(kind: type[_Choice], value: object, name: str) -> _Choice:
    found = _CHOICES[kind].get(value.lower()) if isinstance(value, str) else None
    if found is None:
        known = ", ".join(_CHOICES[kind])
        error = InputError if kind is Side else UnsupportedOrderTypeError
        raise error(f"{name} is {value!r}; it must be one of {known}")
    return found  # type: ignore[return-value]  # the row of this kind holds this kind


def _size(request: OrderRequest, instrument: Instrument) -> tuple[Decimal | None, Decimal | None]:
    if (request.quantity is None) == (request.notional is None):
        found = "neither" if request.quantity is None else "both"
        raise InputError(
            f"{found} of quantity and notional given; an order is sized by one of them"
        )
    if request.notional is not None:
        return None, amount(request.notional, "notional")
    quantity = amount(request.quantity, "quantity")
    instrument.check_quantity(quantity)
    return quantity, None


def _price(
    value: Amount | None,
    name: str,
    order_type: OrderType,
    instrument: Instrument,
    *,
    wanted: bool,
) -> Decimal | None:
    if value is None:
        if wanted:
            raise InputError(f"a {order_type} order needs {name}; none was given")
        return None
    if not wanted:
        raise InputError(
            f"a {order_type} order takes no {name}, but {value!r} was given; remove it"
        )
    price = amount(value, name)
    instrument.check_price(price, name)
    return price


def _check_strategy(strategy: object) -> None:
    if len(check_text(strategy, "strategy")) > ID_LENGTH_MAX:
        raise InputError(f"strategy is {strategy!r}; at most {ID_LENGTH_MAX} characters are kept")


def check_text(value: object, name: str) -> str:
    """Return a text that a caller gave and that can be written down.

    Raises:
        InputError: it is no text, or not valid Unicode.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r}, a {type(value).__name__}; it must be a text")
    if writable(value) != value:
        raise InputError(f"{name} is {value!r}, which is not valid Unicode; write it anew")
    return value


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _check_flags(request: OrderRequest, order_type: OrderType, in_force: TimeInForce) -> None:
    if (in_force is TimeInForce.GTD) != (request.expire_at_ns is not None):
        raise InputError(
            f"time_in_force is {in_force} and expire_at_ns is {request.expire_at_ns}; "
            "gtd and only gtd needs an end"
        )
    if request.post_only and (
        order_type is not OrderType.LIMIT or in_force in {TimeInForce.IOC, TimeInForce.FOK}
    ):
        raise InputError(
            f"post_only with a {order_type} {in_force} order; only a resting limit order can be it"
        )
    if request.notional is not None and request.reduce_only:
        raise InputError("a reduce_only order must be sized by quantity, not by notional")
    not_after_ms, expire_at_ns = request.not_after_ms, request.expire_at_ns
    if not_after_ms is not None and not _is_count(not_after_ms, NOT_AFTER_MS_MAX):
        raise InputError(
            f"not_after_ms is {not_after_ms!r}; it must be 1 to {NOT_AFTER_MS_MAX}, a day"
        )
    if expire_at_ns is not None and not _is_count(expire_at_ns, MOMENT_MAX):
        raise InputError(f"expire_at_ns is {expire_at_ns!r}; give UTC nanoseconds since 1970")
