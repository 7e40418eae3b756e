"""What is decided about groups: orders that are tied together; the rules stand in `events.py`."""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.desk_events import Event
from holdfast.domain.values import Side


class ExitTerms(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a group wants of one role.

    A `stop` has a stop price (with a limit price it is a stop limit order) or a `trail`, the
    distance in price at which it follows the market. A `target` has a limit price. A `flat` is the
    exit of a position that somebody closes: at the market without a limit price.
    """

    role: str
    stop_price: Decimal | None = None
    limit_price: Decimal | None = None
    trail: Decimal | None = None


class GroupOpened(Event, frozen=True, kw_only=True, tag="group_opened"):
    """Orders are tied together from now on; `group` is the group's number on its desk.

    `contingency` is `bracket` (an entry with stop and target), `oto` (an entry with one of them),
    `oco` (a stop and a target of which one trades), `position` (exits that follow a position) or
    `close`. `side` is the side of its exits. `quantity` is what it is for, None where it follows
    the position. The entry is cancelled at `entry_end_ns`, 0 for never. `key` is the caller's own,
    by which a repeated call finds it again.
    """

    group: int
    contingency: str
    symbol: str
    side: Side
    exits: tuple[ExitTerms, ...]
    quantity: Decimal | None = None
    strategy: str = ""
    entry_end_ns: int = 0
    key: str = ""
    by: str = ""
    reason: str = ""


class GroupPhaseChanged(Event, frozen=True, kw_only=True, tag="group_phase_changed"):
    """A group went on to another phase: `cause` is the cell of the table, `reason` says it."""

    group: int
    phase: str
    cause: str
    reason: str = ""
    by: str = ""


class GroupExitChanged(Event, frozen=True, kw_only=True, tag="group_exit_changed"):
    """What a group wants of a role changed; without `exit` it wants nothing of it any more."""

    group: int
    role: str
    exit: ExitTerms | None = None
    by: str = ""
    reason: str = ""


class GroupQuantityChanged(Event, frozen=True, kw_only=True, tag="group_quantity_changed"):
    """A group is for another quantity; None follows the position."""

    group: int
    quantity: Decimal | None = None
    by: str = ""
    reason: str = ""


class GroupReduced(Event, frozen=True, kw_only=True, tag="group_reduced"):
    """Others closed some of what a group looked after: it owes so much less, for good."""

    group: int
    quantity: Decimal


class GroupTookOver(Event, frozen=True, kw_only=True, tag="group_took_over"):
    """What a group closes lost its protection for it: so much of it, 0 when it is given back."""

    group: int
    quantity: Decimal


class HeldElsewhere(Event, frozen=True, kw_only=True, tag="held_elsewhere"):
    """What the account holds in a symbol beside this desk, by nobody's desk; signed."""

    symbol: str
    quantity: Decimal
