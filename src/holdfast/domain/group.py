"""A group: orders that are tied together, and the phases of their life.

Rule 1: a group changes its phase only along `PHASES`; a pair that is absent is illegal.
Rule 2: like an order, a group changes by folding events alone. What it owes is arithmetic over
what its orders traded; what follows from that is decided in `group_phases.py` and `grouping.py`.
Rule 3: nothing here names a price, a broker or a wait.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.group_events import ExitTerms
from holdfast.domain.order import Order
from holdfast.domain.values import TERMINAL, ZERO, Condition, Side, Status, sub


class Phase(StrEnum):
    """Where a group is.

    ENTERING: nothing is owed yet, the entry may trade. PROTECTING: something is owed and not all
    of it covered; the clock runs. PROTECTED: what is owed is covered by orders that work.
    FLATTENING: everything is cancelled and what is left is closed. EXCESS: more was closed than
    was held, and that is undone. CLOSING: nothing is owed; what still works is cancelled, and
    final figures are read. CLOSED: done; only a late fact brings it back.
    """

    ENTERING = "entering"
    PROTECTING = "protecting"
    PROTECTED = "protected"
    FLATTENING = "flattening"
    EXCESS = "excess"
    CLOSING = "closing"
    CLOSED = "closed"


class Cause(StrEnum):
    """Why a group goes on."""

    FILLED = "filled"
    UNFILLED = "unfilled"
    COVERED = "covered"
    UNCOVERED = "uncovered"
    TOO_LONG = "too_long"
    REFUSED = "refused"
    ASKED = "asked"
    EXITED = "exited"
    ENDED = "ended"
    OVER = "over"
    CORRECTED = "corrected"
    SETTLED = "settled"


_P, _C = Phase, Cause
PHASES: Final[Mapping[Phase, Mapping[Cause, Phase]]] = {
    _P.ENTERING: {
        _C.FILLED: _P.PROTECTING,
        _C.ENDED: _P.CLOSING,
        _C.ASKED: _P.FLATTENING,
        _C.OVER: _P.EXCESS,
    },
    _P.PROTECTING: {
        _C.COVERED: _P.PROTECTED,
        _C.UNFILLED: _P.ENTERING,
        _C.TOO_LONG: _P.FLATTENING,
        _C.REFUSED: _P.FLATTENING,
        _C.ASKED: _P.FLATTENING,
        _C.EXITED: _P.CLOSING,
        _C.OVER: _P.EXCESS,
    },
    _P.PROTECTED: {
        _C.UNCOVERED: _P.PROTECTING,
        _C.UNFILLED: _P.ENTERING,
        _C.ASKED: _P.FLATTENING,
        _C.EXITED: _P.CLOSING,
        _C.OVER: _P.EXCESS,
    },
    _P.FLATTENING: {
        _C.EXITED: _P.CLOSING,
        _C.OVER: _P.EXCESS,
    },
    _P.EXCESS: {
        _C.CORRECTED: _P.CLOSING,
    },
    _P.CLOSING: {
        _C.FILLED: _P.PROTECTING,
        _C.ASKED: _P.FLATTENING,
        _C.OVER: _P.EXCESS,
        _C.SETTLED: _P.CLOSED,
    },
    _P.CLOSED: {
        _C.FILLED: _P.PROTECTING,
        _C.ASKED: _P.FLATTENING,
        _C.OVER: _P.EXCESS,
    },
}
# Where a group of each contingency begins.
FIRST: Final[Mapping[str, Phase]] = {
    "bracket": Phase.ENTERING,
    "oto": Phase.ENTERING,
    "oco": Phase.PROTECTING,
    "position": Phase.PROTECTING,
    "close": Phase.FLATTENING,
}

ENTRY: Final = "entry"
STOP: Final = "stop"
TARGET: Final = "target"
# The exit that closes what could not be protected, or what somebody wants closed.
EXIT: Final = "exit"
# The order that undoes an excess.
UNDO: Final = "undo"

# Two failures that are further apart have nothing to do with each other.
FAILURES_APART_NS: Final = 60_000_000_000
# Requests that are further apart are no repeats of one another.
REPEATS_APART_NS: Final = 10_000_000_000
# Phase changes that a group remembers.
HISTORY_MAX: Final = 50
CUT_SHORT: Final = frozenset({Status.CANCELED, Status.EXPIRED})
_UNLIKE_WORKING: Final = frozenset({Condition.HELD, Condition.SUSPENDED})


class Slot(Struct, gc=False, kw_only=True, omit_defaults=True):
    """One role of a group: what is wanted of it, and how placing it went.

    `submits` counts the orders that were sent for it. `failures` are those in a row that the
    broker never took, the last at `failed_ns`; `closed_ns` is when one was last refused because the
    market is closed, which is no failure, and `resumed_ns` when it was tried again after that.
    `repeats` counts requests that followed one another soon and for the same prices, until it comes
    to the quantity `mark`; the last was at `tried_ns`.
    """

    role: str
    exit: ExitTerms | None = None
    submits: int = 0
    failures: int = 0
    failed_ns: int = 0
    closed_ns: int = 0
    resumed_ns: int = 0
    text: str = ""
    mark: Decimal | None = None
    repeats: int = 0
    tried_ns: int = 0

    @property
    def is_shut(self) -> bool:
        """Tell whether the last try met a closed market."""
        return self.closed_ns > 0 and self.closed_ns >= self.tried_ns

    def repeats_at(self, due: Decimal | None, now_ns: int) -> int | None:
        """Return how often a request for so much would repeat others; None for the first one."""
        if not self.tried_ns or self.mark != due or now_ns - self.tried_ns >= REPEATS_APART_NS:
            return None
        return self.repeats


class Moment(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One change of phase, or of what is wanted of a role, for people.

    `cause` is the cell of the table, or the role and what became of it: `stop_called_off`.
    """

    at_ns: int
    phase: str
    cause: str
    reason: str = ""
    by: str = ""


class Group(Struct, kw_only=True, omit_defaults=True):
    """One group of a desk; quantities in instrument units, times in desk nanoseconds.

    `entered` and `exited` are what its entry and its exits traded, counting what is claimed and
    not booked yet; `excess` is what it traded beyond flat. `written_off` is what others closed of
    it, and what it owed when it was closed. `is_asked` says that somebody wants it closed. `live`
    are the orders that may still trade or whose final figure is not known. `asked` is what was
    wanted at first.
    `since_ns` is when the phase began; `heard_ns` when an order of unknown outcome was last
    settled, `proved_ns` when its entry traded in a market that was said to be closed, `ahead_ns`
    when its entry last traded while its exits were known to have traded more. `naked_ns` is when it
    began to be unprotected, 0 while it is not; `unprotected_ns` is the time that it was so before,
    and `longest_ns` the longest of it.
    """

    group: int
    contingency: str
    symbol: str
    side: Side
    quantity: Decimal | None = None
    strategy: str = ""
    key: str = ""
    entry: int = 0
    entry_end_ns: int = 0
    phase: Phase = Phase.ENTERING
    cause: str = ""
    reason: str = ""
    is_asked: bool = False
    opened_ns: int = 0
    since_ns: int = 0
    heard_ns: int = 0
    proved_ns: int = 0
    ahead_ns: int = 0
    entered: Decimal = ZERO
    exited: Decimal = ZERO
    excess: Decimal = ZERO
    written_off: Decimal = ZERO
    slots: dict[str, Slot] = msgspec.field(default_factory=dict)
    asked: tuple[ExitTerms, ...] = ()
    live: list[int] = msgspec.field(default_factory=list)
    orders: list[int] = msgspec.field(default_factory=list)
    naked_ns: int = 0
    unprotected_ns: int = 0
    longest_ns: int = 0
    history: list[Moment] = msgspec.field(default_factory=list)

    @property
    def owed(self) -> Decimal | None:
        """What it has to look after, as far as its own orders tell; None: whatever is left."""
        taken = sub(self.quantity, self.exited) if self.quantity is not None else None
        if self.contingency in _ENTERS:
            taken = sub(self.entered, self.exited)
        return None if taken is None else max(sub(taken, self.written_off), ZERO)

    @property
    def is_failing(self) -> bool:
        """Tell whether it is being flattened because it could not be protected."""
        return self.phase is Phase.FLATTENING and self.cause in {Cause.TOO_LONG, Cause.REFUSED}

    def is_bare(self, now_ns: int, most_ns: int) -> bool:
        """Tell whether something was not covered for so long, whatever its clock waits for."""
        return self.phase is Phase.PROTECTING and 0 < self.naked_ns <= now_ns - most_ns

    @property
    def asked_exits(self) -> dict[str, ExitTerms]:
        """What was wanted at first, by role."""
        return {wanted.role: wanted for wanted in self.asked}

    @property
    def enters(self) -> bool:
        """Tell whether it has an entry, whose fills it protects."""
        return self.contingency in _ENTERS

    @property
    def wanted(self) -> list[Slot]:
        """The stop and the target, as far as they are wanted; the stop first."""
        return [
            slot
            for role in (STOP, TARGET)
            if (slot := self.slots.get(role)) is not None and slot.exit is not None
        ]

    @property
    def guard(self) -> Slot | None:
        """The role that protects: the stop, or the target where no stop is wanted."""
        return next(iter(self.wanted), None)

    @property
    def is_open(self) -> bool:
        """Tell whether there is anything left to do about it, as where an order works again."""
        if self.phase is not Phase.CLOSED or self.live:
            return True
        return bool(self.owed) or self.excess > 0

    def slot(self, role: str) -> Slot:
        """Return a role's slot, for reading: an empty one where nothing was ever wanted of it."""
        return self.slots.get(role) or Slot(role=role)


_ENTERS: Final = frozenset({"bracket", "oto"})


def is_final(order: Order) -> bool:
    """Tell whether an order ended and its figure is the last one.

    The confirmation of a cancel may overtake a trade, so that an order that was cut short is asked
    for once more after its end.
    """
    if order.status not in TERMINAL or not order.is_settled:
        return False
    if order.code == "RESOLVED":  # a person has said so
        return True
    return order.status not in CUT_SHORT or order.asked_ns >= order.completed_ns


def covers(order: Order) -> Decimal:
    """Return what of an exit the broker works for sure."""
    if not order.is_working or order.condition in _UNLIKE_WORKING:
        return ZERO
    return order.open_quantity
