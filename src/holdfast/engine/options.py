"""What callers may write beside the essentials of an order, and the check of what they wrote."""

from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Final, Literal, TypeAlias, TypedDict, get_args, get_type_hints

from holdfast.domain.requests import Amount, OrderRequest, check_text
from holdfast.errors import InputError

WaitFor: TypeAlias = Literal["durable", "accepted"]


class OrderOptions(TypedDict, total=False):
    """Fields of an order request that have a default; see `OrderRequest`."""

    time_in_force: str
    expire_at_ns: int | None
    post_only: bool
    reduce_only: bool
    extended_hours: bool
    client_order_id: str | None
    idempotency_key: str | None
    strategy: str
    not_after_ms: int | None
    force: bool


class PlaceOptions(OrderOptions, total=False):
    """The same for the `place_...` methods, and how long they wait; see `submit`."""

    wait: WaitFor
    timeout: float


class OrderFields(OrderOptions, total=False):
    """All fields of an order request, for `submit(symbol=..., side=..., ...)`."""

    symbol: str
    side: str
    quantity: Amount | None
    notional: Amount | None
    order_type: str
    limit_price: Amount | None
    stop_price: Amount | None
    trail: Amount | None
    reference_price: Amount | None
    peg: str | None
    peg_offset: Amount | None


def _plain_fields() -> dict[str, tuple[type, ...]]:
    """Return the types of each field that is no amount; amounts are read later, and told apart."""
    hints = get_type_hints(OrderRequest)
    types = {name: get_args(hint) or (hint,) for name, hint in hints.items()}
    return {name: each for name, each in types.items() if Decimal not in each}


_FIELDS: Final = tuple(_plain_fields().items())
_values: Final = attrgetter(*(name for name, _ in _FIELDS))
_TEXTS: Final = tuple(name for name, types in _FIELDS if str in types)
_texts: Final = attrgetter(*_TEXTS)


@lru_cache(maxsize=64)
def _fits(kinds: tuple[type, ...]) -> bool:
    """Tell whether values of these types may stand in the fields; most requests are alike."""
    return all(issubclass(kind, types) for (_, types), kind in zip(_FIELDS, kinds, strict=True))


def request_of(request: OrderRequest | None, fields: OrderFields) -> OrderRequest:
    """Return the request that a caller wrote, whole or in fields.

    Raises:
        InputError: neither or both were given, a field is missing, unknown, or of another type.
    """
    if request is None:
        try:
            request = OrderRequest(**fields)
        except TypeError as error:
            raise InputError(f"this is no order: {error}") from None
    elif fields:
        raise InputError(f"give a request or its fields, not both ({', '.join(fields)})")
    if not isinstance(request, OrderRequest):
        raise InputError(f"{request!r} is a {type(request).__name__}; give an OrderRequest")
    values = _values(request)
    if not _fits(tuple(map(type, values))):
        _check_types(values)
    texts = _texts(request)
    if not "".join(filter(None, texts)).isascii():
        for name, text in zip(_TEXTS, texts, strict=True):
            check_text(text or "", name)
    return request


def _check_types(values: tuple[object, ...]) -> None:
    for (name, types), value in zip(_FIELDS, values, strict=True):
        if not isinstance(value, types):
            wanted = " or ".join("None" if each is NoneType else each.__name__ for each in types)
            raise InputError(f"{name} is {value!r}, a {type(value).__name__}; it must be {wanted}")
