"""Everything that can be put into a desk: commands, broker answers and reports, and the shell's.

An input is a value. None of them is journaled; what the desk makes of them is.
"""

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import Execution, LookupResult, Outcome, Report, Snapshot
from holdfast.domain.requests import Amount, OrderRequest, OrderTerms
from holdfast.domain.typed import Word


class Submit(Struct, frozen=True, gc=False):
    """A caller's new order."""

    request: OrderRequest


class Adopt(Struct, frozen=True, gc=False, kw_only=True):
    """An order that was sent past the journal, to be entered once and looked up."""

    wire_id: str
    terms: OrderTerms
    client_order_id: str = ""
    strategy: str = ""


class Cancel(Struct, frozen=True, gc=False, kw_only=True):
    """A caller wants an order gone."""

    client_order_id: str
    by: str = ""
    reason: str = ""


class Replace(Struct, frozen=True, gc=False, kw_only=True):
    """A caller wants other terms; None leaves a term as it is."""

    client_order_id: str
    quantity: Amount | None = None
    limit_price: Amount | None = None
    stop_price: Amount | None = None


class Resolve(Struct, frozen=True, gc=False, kw_only=True):
    """A person settles an order whose outcome nobody can tell; journaled with name and reason."""

    client_order_id: str
    verdict: Literal["never_sent", "canceled", "look_again"]
    by: str
    reason: str


class Define(Struct, frozen=True, gc=False):
    """An instrument to trade, or its changed terms."""

    instrument: Instrument


class SetOpeningBalance(Struct, frozen=True, gc=False, kw_only=True):
    """The position that the account held before this desk traded the symbol."""

    symbol: str
    quantity: Amount
    price: Amount


class CancelAll(Struct, frozen=True, gc=False, kw_only=True):
    """A caller wants all working orders gone, of a symbol or strategy where one is named.

    What protects a position stays, unless `leave_unprotected` is set: reduce-only orders and stops.
    """

    symbol: str = ""
    strategy: str | None = None
    leave_unprotected: bool = False
    by: str = ""
    reason: str = ""


class ManageOrders(Struct, frozen=True, gc=False, kw_only=True):
    """Look now for orders that have waited too long; time does the same by itself."""

    by: str = ""


class EngageKillSwitch(Struct, frozen=True, gc=False, kw_only=True):
    """Let no entry out any more, and cancel those that are or flatten everything."""

    by: str
    reason: str
    action: Literal["cancel", "flatten"] = "cancel"


class ReleaseKillSwitch(Struct, frozen=True, gc=False, kw_only=True):
    """Let entries out again."""

    by: str
    reason: str


class CloseBreaker(Struct, frozen=True, gc=False, kw_only=True):
    """A person says that the cause is gone."""

    by: str
    reason: str


class Flatten(Struct, frozen=True, gc=False, kw_only=True):
    """Close the position of a symbol, or of all where none is named: cancel, confirm, exit."""

    symbol: str = ""
    by: str
    reason: str


class StopFlatten(Struct, frozen=True, gc=False, kw_only=True):
    """Close a position no further, or none where no symbol is named; what is held stays."""

    symbol: str = ""
    by: str
    reason: str


class Raise(Struct, frozen=True, gc=False, kw_only=True):
    """Something outside the desk that people should see, to be journaled as an alert."""

    code: str
    text: str
    symbol: str = ""
    strategy: str = ""


class Checked(Struct, frozen=True, gc=False, kw_only=True):
    """A caller asked the broker for an order; `polled` is what it said, if it said anything."""

    number: int
    tries: int
    polled: "Polled | None" = None


class Quoted(Struct, frozen=True, gc=False):
    """The latest quotes, conflated by the shell: one per symbol."""

    quotes: tuple[Quote, ...]


class AccountSeen(Struct, frozen=True, gc=False, kw_only=True):
    """What the account may spend, as asked at `asked_ns`, when `Guard.opened` was `opened`."""

    buying_power: Decimal
    asked_ns: int
    opened: Decimal


class AdoptExternal(Word, frozen=True, gc=False, kw_only=True):
    """The account has an order that no desk placed; `snapshot` says what it is."""

    snapshot: Snapshot
    asked_ns: int


class PlaceBracket(Struct, frozen=True, gc=False, kw_only=True):
    """An entry with the exits that protect it, of which one may be missing.

    `side` is the entry's. Prices are aligned to the tick before anything is checked. A market entry
    has no `entry_price`. The stop is at `stop_loss_price`, with `stop_limit_price` a stop limit
    order, or follows the market at the distance `trail`. The entry is cancelled after
    `entry_timeout_ms`; 0 is never, None leaves it to the desk.
    """

    symbol: str
    side: str
    quantity: Amount
    entry_type: str = "limit"
    entry_price: Amount | None = None
    stop_loss_price: Amount | None = None
    stop_limit_price: Amount | None = None
    trail: Amount | None = None
    take_profit_price: Amount | None = None
    entry_timeout_ms: int | None = None
    time_in_force: str = "gtc"
    strategy: str = ""
    client_order_id: str | None = None
    idempotency_key: str | None = None


class PlaceOco(Struct, frozen=True, gc=False, kw_only=True):
    """Two exits for the same units of a position, of which one trades; `side` is theirs."""

    symbol: str
    side: str
    quantity: Amount
    limit_price: Amount
    stop_price: Amount
    stop_limit_price: Amount | None = None
    strategy: str = ""
    idempotency_key: str | None = None


class Protect(Struct, frozen=True, gc=False, kw_only=True):
    """A stop (`role` is `stop`) or a target for a position.

    The quantity `all` follows the position. Without one it is that at first, and stays what it is
    when asked again.
    """

    symbol: str
    role: Literal["stop", "target"]
    stop_price: Amount | None = None
    limit_price: Amount | None = None
    trail: Amount | None = None
    quantity: Amount | None = None
    strategy: str = ""
    by: str = ""


class ClosePosition(Struct, frozen=True, gc=False, kw_only=True):
    """Close a position, all of it without a quantity; at the market without a limit price."""

    symbol: str
    quantity: Amount | None = None
    limit_price: Amount | None = None
    strategy: str = ""
    by: str = ""
    reason: str = ""
    idempotency_key: str | None = None


class CancelPositionOrders(Struct, frozen=True, gc=False, kw_only=True):
    """Cancel the orders around a position, of the kinds that are named: stop, target, entry.

    Who cancels a stop or a target no longer wants it: it is not placed again.
    """

    symbol: str
    kinds: tuple[str, ...] = ("stop", "target", "entry")
    by: str = ""
    reason: str = ""


class CloseGroup(Struct, frozen=True, gc=False, kw_only=True):
    """Cancel what works of a group and close what it holds."""

    group: int
    by: str
    reason: str


class SeenElsewhere(Struct, frozen=True, gc=False, kw_only=True):
    """What the account holds in a symbol by nobody's desk, signed; see `HeldElsewhere`."""

    symbol: str
    quantity: Decimal


class Answer(Word, frozen=True, gc=False, kw_only=True):
    """How a submit, cancel or replace ended, as the account link saw it."""

    number: int
    wish: int
    attempt: int
    outcome: Outcome


class Looked(Word, frozen=True, gc=False, kw_only=True):
    """What a lookup gave; `asked_ns` is the desk time at which the question left."""

    number: int
    attempt: int
    asked_ns: int
    result: LookupResult


class Reported(Word, frozen=True, gc=False):
    """One message of the broker's stream.

    `is_remains` where it could not be read: `report` tells only whose it was, and as text why.
    """

    report: Report
    is_remains: bool = False


class Polled(Word, frozen=True, gc=False, kw_only=True):
    """One poll of the account, cut down to this desk; `asked_ns` is when the question left."""

    asked_ns: int
    snapshots: tuple[Snapshot, ...] = ()
    executions: tuple[tuple[str, str, Execution], ...] = ()
    complete: bool = False


class Open(Struct, frozen=True, gc=False, kw_only=True):
    """The very first input of a new desk; `epoch` is 12 hex digits that no other journal has."""

    desk: str
    epoch: str
    account: str
    currency: str = "USD"
    mode: Literal["dry_run", "paper", "live"] = "paper"
    version: str = ""
    config: str = ""


class Connected(Struct, frozen=True, gc=False):
    """The account link says what its broker can do; before it, nothing new is sent."""

    capabilities: Capabilities


class Resume(Struct, frozen=True, gc=False, kw_only=True):
    """The first input after a start: every request in flight is now unknown."""

    wall_offset_ns: int
    version: str = ""
    config: str = ""


class ClockStep(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody set the wall clock."""

    wall_offset_ns: int


class Tick(Struct, frozen=True, gc=False):
    """Time passed; whatever is due happens now."""


class Archive(Struct, frozen=True, gc=False, kw_only=True):
    """Ended orders may leave memory, if all that was decided of them by then is durable."""

    durable_ns: int


class Recalled(Struct, frozen=True, gc=False):
    """Archived orders that the next input names, as their stored bodies by number."""

    bodies: dict[int, bytes]


class Quarantined(Struct, frozen=True, gc=False, kw_only=True):
    """An input that made the desk raise twice; it is put aside and shown."""

    kind: str
    error: str


Command: TypeAlias = (
    Submit
    | Cancel
    | CancelAll
    | Replace
    | Resolve
    | Define
    | SetOpeningBalance
    | ManageOrders
    | EngageKillSwitch
    | ReleaseKillSwitch
    | CloseBreaker
    | Flatten
    | StopFlatten
    | Raise
    | PlaceBracket
    | PlaceOco
    | Protect
    | ClosePosition
    | CancelPositionOrders
    | CloseGroup
)
Input: TypeAlias = (
    Command
    | Open
    | Adopt
    | Answer
    | Looked
    | Reported
    | Polled
    | Checked
    | Quoted
    | AccountSeen
    | AdoptExternal
    | SeenElsewhere
    | Connected
    | Resume
    | ClockStep
    | Tick
    | Archive
    | Recalled
    | Quarantined
)
