"""The part of a desk that its snapshot holds."""

from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.group import Group
from holdfast.domain.guard import Guard
from holdfast.domain.instruments import Instrument
from holdfast.domain.positions import Position
from holdfast.domain.tallies import Tallies

# Raised with every change of meaning in what `dump` writes; another number is folded anew.
FORMAT: Final = 5


class Stored(Struct, kw_only=True, omit_defaults=True):
    """The part of a desk that its snapshot holds."""

    name: str = ""
    epoch: str = ""
    account: str = ""
    currency: str = ""
    mode: str = "paper"
    next_number: int = 1
    wall_offset_ns: int = 0
    at_ns: int = 0
    archived: int = 0
    instruments: dict[str, Instrument] = msgspec.field(default_factory=dict)
    positions: dict[str, Position] = msgspec.field(default_factory=dict)
    traded: dict[str, int] = msgspec.field(default_factory=dict)
    anomalies: dict[str, int] = msgspec.field(default_factory=dict)
    guard: Guard = msgspec.field(default_factory=Guard)
    tallies: Tallies = msgspec.field(default_factory=Tallies)
    next_group: int = 1
    groups: dict[int, Group] = msgspec.field(default_factory=dict)
    elsewhere: dict[str, Decimal] = msgspec.field(default_factory=dict)
    orders: list[msgspec.Raw] = msgspec.field(default_factory=list)


load: Final = msgspec.json.Decoder(Stored).decode
encode: Final = msgspec.json.Encoder().encode
