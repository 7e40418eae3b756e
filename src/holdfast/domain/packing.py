"""Orders as bytes: what is archived of one, and the names by which an input may mean it."""

from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.order import Order
from holdfast.domain.values import Status

unpack: Final = msgspec.json.Decoder(Order).decode
_encode: Final = msgspec.json.Encoder()
# Most orders take less, so that the buffer never grows.
_USUAL_BYTES: Final = 1_024


class _NamesOfLeg(Struct, frozen=True, gc=False):
    broker_order_id: str = ""


class Label(Struct, frozen=True, gc=False):
    """What archiving needs to know of a packed order."""

    client_order_id: str
    wire_id: str
    adopted: bool = False
    group: int = 0
    external: bool = False
    idempotency_key: str = ""
    status: Status = Status.NEW
    legs: list[_NamesOfLeg] = msgspec.field(default_factory=list)


class _SymbolOfTerms(Struct, frozen=True, gc=False):
    symbol: str


class Ending(Struct, frozen=True, gc=False):
    """What became of a packed order, and when."""

    terms: _SymbolOfTerms
    status: Status = Status.NEW
    completed_ns: int = 0


ending: Final = msgspec.json.Decoder(Ending).decode
label: Final = msgspec.json.Decoder(Label).decode


def pack(order: Order) -> bytes:
    """Encode an order into no more bytes than it takes: a buffer grown by halves would be kept."""
    buffer = bytearray(_USUAL_BYTES)
    _encode.encode_into(order, buffer)
    return bytes(buffer)


def names_of(order: Order | Label) -> tuple[str, ...]:
    """Return every name by which an input may mean an order, prefixed by its kind."""
    names = [f"w:{order.wire_id}"] if order.adopted or order.group else []
    if order.external or order.client_order_id != order.wire_id:
        names.append(f"c:{order.client_order_id}")
    if order.idempotency_key:
        names.append(f"i:{order.idempotency_key}")
    names += [f"b:{leg.broker_order_id}" for leg in order.legs if leg.broker_order_id]
    return tuple(names)
