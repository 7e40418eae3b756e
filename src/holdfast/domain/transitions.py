"""The life of an order as three literal tables.

Rule 1: no other module decides what may follow what. A pair that is absent is refused; no
other row stands in for it, and nothing patches a table's result afterwards.
Rule 2: `MOVES` is the life of an order. `OVERRULES` is what may turn it back, or go on after its
end: money always counts, and a broker that insists is believed after being asked twice. Of a
working order, only an amended execution can lower the status.
Rule 3: `CONDITIONS` is a field of its own: a suspended order is still OPEN, and a trade does not
lift a suspension.
Rule 4: a wish ("cancel asked") is in none of them: a fill that races it erases neither.

What this module does not know: quantities, wishes, brokers, time. Whoever asks has already said
which fact it is, for instance that a fill was the last one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from holdfast.domain.values import Condition, Status

_S = Status
_C = Condition


class DefectError(AssertionError):
    """An event contradicts the tables: it should never have been written."""


class Fact(StrEnum):
    """What the broker's evidence amounts to, once quantities have been compared."""

    ACCEPT = "accept"
    REJECT = "reject"
    FAIL = "fail"
    FILL_PART = "fill_part"
    FILL_LAST = "fill_last"
    CANCEL = "cancel"
    EXPIRE = "expire"


class Overrule(StrEnum):
    """What may be learnt against the order of things; quantities have been compared already.

    `*_FULL`, `*_PART` and `*_NONE` tell how much of the order is filled after the fact.
    """

    FILL_FULL = "fill_full"
    FILL_PART = "fill_part"
    AMEND_FULL = "amend_full"
    AMEND_PART = "amend_part"
    AMEND_NONE = "amend_none"
    TERMS_FULL = "terms_full"
    TERMS_PART = "terms_part"
    ALIVE_PART = "alive_part"
    ALIVE_NONE = "alive_none"


class Word(StrEnum):
    """What the broker says of how an order works."""

    SUSPEND = "suspend"
    STOP = "stop"
    DONE_FOR_DAY = "done_for_day"
    HOLD = "hold"
    ABANDON = "abandon"
    NEW = "new"
    RESTATE = "restate"
    TRADE = "trade"
    END = "end"


MOVES: Final[Mapping[Status, Mapping[Fact, Status]]] = {
    _S.NEW: {
        Fact.ACCEPT: _S.OPEN,
        Fact.REJECT: _S.REJECTED,
        Fact.FAIL: _S.FAILED,
    },
    _S.OPEN: {
        Fact.FILL_PART: _S.PARTIAL_FILL,
        Fact.FILL_LAST: _S.FILLED,
        Fact.CANCEL: _S.CANCELED,
        Fact.EXPIRE: _S.EXPIRED,
        Fact.REJECT: _S.REJECTED,
    },
    _S.PARTIAL_FILL: {
        Fact.FILL_PART: _S.PARTIAL_FILL,
        Fact.FILL_LAST: _S.FILLED,
        Fact.CANCEL: _S.CANCELED,
        Fact.EXPIRE: _S.EXPIRED,
    },
    _S.FILLED: {},
    _S.CANCELED: {},
    _S.EXPIRED: {},
    _S.REJECTED: {},
    _S.FAILED: {},
}

# A late fill counts everywhere. Of the ends, only FILLED can be lost to a bust or to a raised
# quantity: the others are the broker's word that nothing works any more.
OVERRULES: Final[Mapping[Status, Mapping[Overrule, Status]]] = {
    _S.NEW: {},
    _S.OPEN: {
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.PARTIAL_FILL,
        Overrule.AMEND_NONE: _S.OPEN,
    },
    _S.PARTIAL_FILL: {
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.PARTIAL_FILL,
        Overrule.AMEND_NONE: _S.OPEN,
    },
    _S.FILLED: {
        Overrule.FILL_FULL: _S.FILLED,
        Overrule.FILL_PART: _S.FILLED,
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.PARTIAL_FILL,
        Overrule.AMEND_NONE: _S.OPEN,
        Overrule.TERMS_FULL: _S.FILLED,
        Overrule.TERMS_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_NONE: _S.OPEN,
    },
    _S.CANCELED: {
        Overrule.FILL_FULL: _S.FILLED,
        Overrule.FILL_PART: _S.CANCELED,
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.CANCELED,
        Overrule.AMEND_NONE: _S.CANCELED,
        Overrule.TERMS_FULL: _S.FILLED,
        Overrule.ALIVE_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_NONE: _S.OPEN,
    },
    _S.EXPIRED: {
        Overrule.FILL_FULL: _S.FILLED,
        Overrule.FILL_PART: _S.EXPIRED,
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.EXPIRED,
        Overrule.AMEND_NONE: _S.EXPIRED,
        Overrule.TERMS_FULL: _S.FILLED,
        Overrule.ALIVE_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_NONE: _S.OPEN,
    },
    _S.REJECTED: {
        Overrule.FILL_FULL: _S.FILLED,
        Overrule.FILL_PART: _S.REJECTED,
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.REJECTED,
        Overrule.AMEND_NONE: _S.REJECTED,
        Overrule.ALIVE_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_NONE: _S.OPEN,
    },
    # A fill on FAILED, also one known only by its correction, proves that the order lives.
    _S.FAILED: {
        Overrule.FILL_FULL: _S.FILLED,
        Overrule.FILL_PART: _S.PARTIAL_FILL,
        Overrule.AMEND_FULL: _S.FILLED,
        Overrule.AMEND_PART: _S.PARTIAL_FILL,
        Overrule.AMEND_NONE: _S.FAILED,
        Overrule.ALIVE_PART: _S.PARTIAL_FILL,
        Overrule.ALIVE_NONE: _S.OPEN,
    },
}

# None leaves the condition as it is: a trade does not lift a suspension.
CONDITIONS: Final[Mapping[Word, Condition | None]] = {
    Word.SUSPEND: _C.SUSPENDED,
    Word.STOP: _C.STOPPED,
    Word.DONE_FOR_DAY: _C.DONE_FOR_DAY,
    Word.HOLD: _C.HELD,
    Word.ABANDON: _C.ABANDONED,
    Word.NEW: _C.NONE,
    Word.RESTATE: _C.NONE,
    Word.TRADE: None,
    Word.END: _C.NONE,
}


def move(status: Status, fact: Fact) -> Status | None:
    """Return the status after a fact, or None where the table has no such move."""
    return MOVES[status].get(fact)


def overrule(status: Status, fact: Overrule) -> Status | None:
    """Return the status after a fact that overrules the present one, or None."""
    return OVERRULES[status].get(fact)
