"""What was asked of a broker about an order, until it is answered: submit, cancel, replace.

Rule: a wish is kept apart from the order's status; it says what was asked, never what is.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

from msgspec import Struct


class WishKind(StrEnum):
    """What can be asked of a broker about one order."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    REPLACE = "replace"


class Stage(StrEnum):
    """How far a request got.

    QUEUED behind another one, WAITING for its answer, DELAYED until it may be repeated,
    ACKNOWLEDGED as pending by the broker, or UNKNOWN: nobody can tell.
    """

    QUEUED = "queued"
    WAITING = "waiting"
    DELAYED = "delayed"
    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"


_NOT_OUT: Final = frozenset({Stage.QUEUED, Stage.DELAYED})


class Wish(Struct, gc=False, kw_only=True, omit_defaults=True):
    """A request until it is answered.

    `due_ns` is when its stage wants attention: a missing answer, a repeat, or the next look;
    `told_ns` is when the broker acknowledged it as pending, `looks` how often it was asked for.
    `duplicate` says that it was refused as a repeat: the order exists, whatever is not found.
    `batch` is the number under which a cancel goes out together with others, until a call was made.
    The terms belong to a replace; None leaves a term as it is. `leaves` is what was left to fill
    when it was sent: the size that a broker which counts anew gives to the order it opens.
    """

    wish: int
    kind: WishKind
    stage: Stage
    attempt: int = 1
    sent_ns: int = 0
    told_ns: int = 0
    due_ns: int = 0
    not_after_ns: int = 0
    delays: int = 0
    looks: int = 0
    duplicate: bool = False
    batch: int = 0
    leaves: Decimal | None = None
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None

    @property
    def is_out(self) -> bool:
        """Tell whether the request may have reached the broker."""
        return self.stage not in _NOT_OUT

    @property
    def needs_answer(self) -> bool:
        """Tell whether only asking for the order can settle the request."""
        if self.stage is Stage.UNKNOWN:
            return self.kind is not WishKind.CANCEL
        return self.stage is Stage.ACKNOWLEDGED
