"""Everything that can be put into a desk: commands, broker answers and reports, and the shell's.

An input is a value. None of them is journaled; what the desk makes of them is.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Execution, LookupResult, Outcome, Report, Snapshot
from holdfast.domain.requests import Amount, OrderRequest, OrderTerms


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


class Answer(Struct, frozen=True, gc=False, kw_only=True):
    """How a submit, cancel or replace ended, as the account link saw it."""

    number: int
    wish: int
    attempt: int
    outcome: Outcome


class Looked(Struct, frozen=True, gc=False, kw_only=True):
    """What a lookup gave; `asked_ns` is the desk time at which the question left."""

    number: int
    attempt: int
    asked_ns: int
    result: LookupResult


class Reported(Struct, frozen=True, gc=False):
    """One message of the broker's stream."""

    report: Report


class Polled(Struct, frozen=True, gc=False, kw_only=True):
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


class Connected(Struct, frozen=True, gc=False):
    """The account link says what its broker can do; before it, nothing new is sent."""

    capabilities: Capabilities


class Resume(Struct, frozen=True, gc=False, kw_only=True):
    """The first input after a start: every request in flight is now unknown."""

    wall_offset_ns: int


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


Command: TypeAlias = Submit | Cancel | Replace | Resolve | Define | SetOpeningBalance
Input: TypeAlias = (
    Command
    | Open
    | Adopt
    | Answer
    | Looked
    | Reported
    | Polled
    | Connected
    | Resume
    | ClockStep
    | Tick
    | Archive
    | Recalled
    | Quarantined
)
