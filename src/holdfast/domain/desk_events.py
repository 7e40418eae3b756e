"""The events of a desk as a whole; the rules of all events stand in `events.py`."""

from decimal import Decimal

import msgspec
from msgspec import Struct

from holdfast.domain.instruments import Instrument


class Event(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Base of all events; `at_ns` is the desk time of the step that made it."""

    at_ns: int


class DeskOpened(Event, frozen=True, kw_only=True, tag="desk_opened"):
    """The first record of a desk: what its wire ids begin with, and what it settles in.

    `mode` is `dry_run`, `paper` or `live`; a desk keeps it for its life. `version` is that of the
    program, and `config` the digest of its configuration, empty without one.
    """

    desk: str
    epoch: str
    account: str
    currency: str
    mode: str = "paper"
    version: str = ""
    config: str = ""


class InstrumentDefined(Event, frozen=True, kw_only=True, tag="instrument_defined"):
    """An instrument became known, or its terms changed."""

    instrument: Instrument


class OpeningBalanceSet(Event, frozen=True, kw_only=True, tag="opening_balance_set"):
    """A position that was there before this desk's first order in the symbol."""

    symbol: str
    quantity: Decimal
    price: Decimal


class ClockStepped(Event, frozen=True, kw_only=True, tag="clock_stepped"):
    """The wall clock was set; `wall_offset_ns` is wall time less desk time from now on."""

    wall_offset_ns: int


class DeskResumed(Event, frozen=True, kw_only=True, tag="desk_resumed"):
    """The desk was loaded from its journal; every request in flight has an unknown outcome.

    `version` and `config` are those of the program that goes on; see `DeskOpened`. `down_ns` is how
    long it is since the last record: time in which nobody could do anything.
    """

    wall_offset_ns: int
    retry_at_ns: int
    down_ns: int = 0
    version: str = ""
    config: str = ""


class AnomalyRecorded(Event, frozen=True, kw_only=True, tag="anomaly_recorded"):
    """Something contradicts the history or could not be used; shown, never dropped."""

    code: str
    text: str
    number: int = 0


class OrdersArchived(Event, frozen=True, kw_only=True, tag="orders_archived"):
    """Ended orders left memory; their rows stay in the journal."""

    numbers: tuple[int, ...]


class OrderRecalled(Event, frozen=True, kw_only=True, tag="order_recalled"):
    """An archived order came back into memory; `body` is all of it."""

    number: int
    body: msgspec.Raw
