"""What a caller asks for: an order request, checked and turned into exact terms.

Rule: everything is checked here, before anything is recorded; a request that passes can be
journaled as it stands.
"""

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from holdfast.domain.instruments import Instrument
from holdfast.domain.sanity import writable
from holdfast.domain.values import (
    ID_LENGTH_MAX,
    MOMENT_MAX,
    ONE,
    OrderType,
    Side,
    TimeInForce,
    amount,
    check_id,
    is_multiple,
)
from holdfast.errors import AmountError, InputError, UnsupportedOrderTypeError

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

_Choice = TypeVar("_Choice", bound=StrEnum)
# The ticker of a share, with its class where it has one: TSLA, BRK.B.
_TICKER: Final = re.compile(r"[A-Z]+(\.[A-Z])?")


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


_CHOICES: Final[dict[type[StrEnum], dict[str, StrEnum]]] = {
    kind: {item.value: item for item in kind} for kind in (OrderType, TimeInForce, Side, PegTo)
}


class Priced(Struct, frozen=True, gc=False, kw_only=True):
    """The limit price that the desk's pricing gave to a request without one, and what of."""

    limit_price: Decimal | None
    reference_price: Decimal | None = None
    peg: Peg | None = None


class OrderRequest(Struct, frozen=True, gc=False, kw_only=True):
    """A new order as the caller writes it; amounts as Decimal, int or decimal string.

    Exactly one of `quantity` (units) and `notional` (quote currency) is given. `trail` is the
    distance of a trailing stop in price. `expire_at_ns` (UTC) belongs to GTD. `client_order_id`
    and `idempotency_key` are the caller's own, unique for the journal's life: the same id with
    the same request returns the first order. `force` lets a reduce-only order pass that could
    exceed the position. `not_after_ms` is how long after the call the order may still be sent.
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


def check_request(
    request: OrderRequest, instrument: Instrument, priced: Priced | None = None
) -> OrderTerms:
    """Turn a request into terms; `priced` is for one that leaves its limit price to the desk.

    Raises:
        AmountError: a price or quantity is not finite, not positive, off tick or lot, or absurd.
        UnsupportedOrderTypeError: no such order type or time in force.
        InputError: anything else that is missing, doubled or contradictory; the message names it.
    """
    order_type = choice(OrderType, request.order_type, "order_type")
    in_force = choice(TimeInForce, request.time_in_force, "time_in_force")
    quantity, notional = check_size(request, instrument)
    wanted = _PRICES[order_type]
    if priced is None:
        if request.reference_price is not None or request.peg is not None:
            raise InputError("a reference price or peg cannot be followed now; give a limit_price")
        limit_price = _price(
            request.limit_price, "limit_price", order_type, instrument, wanted=wanted[0]
        )
        priced = Priced(limit_price=limit_price)
    limit_price = priced.limit_price
    stop_price = _price(request.stop_price, "stop_price", order_type, instrument, wanted=wanted[1])
    trail = _price(request.trail, "trail", order_type, instrument, wanted=wanted[2])
    _check_flags(request, order_type, in_force)
    check_names(request)
    return OrderTerms(
        symbol=request.symbol,
        side=choice(Side, request.side, "side"),
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
        reference_price=priced.reference_price,
        peg=priced.peg,
    )


def check_names(request: OrderRequest) -> None:
    """Check what the caller calls the order and its strategy.

    Raises:
        InputError: an id that brokers would refuse or change, or a text that cannot be written.
    """
    for name in ("client_order_id", "idempotency_key"):
        if getattr(request, name) is not None:
            check_id(getattr(request, name), name)
    check_strategy(request.strategy)


def check_strategy(strategy: object) -> str:
    """Return a strategy's name, which may be empty.

    Raises:
        InputError: it is no text, is longer than what is kept, or would not stay on its line.
    """
    name = check_text(strategy, "strategy")
    if len(name) > ID_LENGTH_MAX:
        found = f"strategy has {len(name)} characters"
        raise InputError(f"{found}; at most {ID_LENGTH_MAX} are kept")
    if not name.isprintable():
        raise InputError(f"strategy is {name!r}; give a name on one line, without control codes")
    return name


def check_plain(request: OrderRequest) -> None:
    """Refuse what is not a limit order of whole shares, for the profile `limit_only`.

    Raises:
        UnsupportedOrderTypeError: another order type; the message names what to call.
        InputError: a symbol that is no ticker, or an order sized by notional.
        AmountError: a quantity that is not a whole number above zero.
    """
    if str(request.order_type).lower() != OrderType.LIMIT:
        raise UnsupportedOrderTypeError(
            f"order type {request.order_type!r} is not supported by the profile limit_only; use a "
            "limit order: place_limit_buy and place_limit_sell take a reference price"
        )
    if not _TICKER.fullmatch(request.symbol):
        raise InputError(
            f"symbol is {request.symbol[:40]!r}; the profile limit_only takes upper-case tickers "
            "such as TSLA or BRK.B"
        )
    if request.notional is not None:
        raise InputError("the profile limit_only takes no notional orders; give a quantity")
    quantity = amount(request.quantity, "quantity")
    if not is_multiple(quantity, ONE):
        raise AmountError(f"quantity is {quantity}; the profile limit_only takes whole shares")


def check_unpriced(request: OrderRequest) -> Side:
    """Check a request that leaves its limit price to the desk, and return its side.

    Raises:
        InputError: it has a limit price as well, or a reference and a peg, or is no limit order,
            or is pegged and could not be followed.
    """
    check_names(request)
    _check_kinds(request)
    named = "peg" if request.peg is not None else "reference_price"
    if choice(OrderType, request.order_type, "order_type") is not OrderType.LIMIT:
        found = f"the order type is {request.order_type!r}"
        raise InputError(f"{found}, but {named} belongs to a limit order")
    for other in ("limit_price", "reference_price"):
        value = getattr(request, other)
        if other != named and value is not None:
            raise InputError(f"{named} and {other} ({value}) contradict each other; give one")
    in_force = choice(TimeInForce, request.time_in_force, "time_in_force")
    if request.peg is not None and in_force in {TimeInForce.IOC, TimeInForce.FOK}:
        raise InputError(f"a pegged order rests and follows its price; {in_force} cannot")
    if request.peg is not None and request.notional is not None:
        raise InputError("a pegged order must be sized by quantity, not by notional")
    return choice(Side, request.side, "side")


def choice(kind: type[_Choice], value: object, name: str) -> _Choice:
    """Return the member of an enumeration that a caller names, whatever its case.

    Raises:
        UnsupportedOrderTypeError: there is no such order type or time in force.
        InputError: there is no such side or peg.
    """
    found = _CHOICES[kind].get(value.lower()) if isinstance(value, str) else None
    if found is None:
        known = ", ".join(_CHOICES[kind])
        error = UnsupportedOrderTypeError if kind in {OrderType, TimeInForce} else InputError
        raise error(f"{name} is {value!r}; it must be one of {known}")
    return found  # type: ignore[return-value]  # the row of this kind holds this kind


def check_size(
    request: OrderRequest, instrument: Instrument
) -> tuple[Decimal | None, Decimal | None]:
    """Return the quantity and the notional of a request, one of which is None.

    Raises:
        AmountError: it is no amount, or no whole number of lots.
        InputError: neither or both are given.
    """
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


def _check_kinds(request: OrderRequest) -> None:
    flags = (request.post_only, request.reduce_only, request.extended_hours, request.force)
    for value in flags:
        if value is not True and value is not False:
            raise InputError(
                f"post_only, reduce_only, extended_hours and force are {flags!r}; "
                "each must be True or False"
            )


def _check_flags(request: OrderRequest, order_type: OrderType, in_force: TimeInForce) -> None:
    _check_kinds(request)
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
    if request.peg_offset is not None and request.peg is None:
        raise InputError(f"peg_offset is {request.peg_offset} and there is no peg; name its price")
    if request.notional is not None and request.reduce_only:
        raise InputError("a reduce_only order must be sized by quantity, not by notional")
    not_after_ms, expire_at_ns = request.not_after_ms, request.expire_at_ns
    if not_after_ms is not None and not _is_count(not_after_ms, NOT_AFTER_MS_MAX):
        raise InputError(
            f"not_after_ms is {not_after_ms!r}; it must be 1 to {NOT_AFTER_MS_MAX}, a day"
        )
    if expire_at_ns is not None and not _is_count(expire_at_ns, MOMENT_MAX):
        raise InputError(f"expire_at_ns is {expire_at_ns!r}; give UTC nanoseconds since 1970")
