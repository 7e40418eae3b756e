"""Everything that is ever journaled: facts, wishes and decisions, in the past tense.

Rule 1: a kind and a field are on disk for ever: fields are added with a default, never renamed
or removed; a kind is never reused.
Rule 2: folding events needs nothing but the events: whatever a configuration decided (a deadline,
a grace, a broker's way of counting) stands in the event itself.
Rule 3: `number` is the order's number on its desk; `wish` is the number of the request within the
order, 0 being its submit. Times are desk time in UTC nanoseconds; amounts are Decimal.
"""

from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Execution, Snapshot
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Base of all events; `at_ns` is the desk time of the step that made it."""

    at_ns: int


class DeskOpened(Event, frozen=True, kw_only=True, tag="desk_opened"):
    """The first record of a desk: what its wire ids begin with, and what it settles in."""

    desk: str
    epoch: str
    account: str
    currency: str


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
    """The desk was loaded from its journal; every request in flight has an unknown outcome."""

    wall_offset_ns: int
    retry_at_ns: int


class OrderSubmitted(Event, frozen=True, kw_only=True, tag="order_submitted"):
    """The caller's order was taken and is sent under the wire id that its number gives.

    `deadline_ns` is when a missing answer counts as unknown, `not_after_ns` when the order may
    last be sent. An empty `client_order_id` is the wire id itself.
    """

    number: int
    terms: OrderTerms
    deadline_ns: int
    not_after_ns: int
    client_order_id: str = ""
    idempotency_key: str = ""
    strategy: str = ""


class OrderAccepted(Event, frozen=True, kw_only=True, tag="order_accepted"):
    """The broker works the order; `inferred` where later evidence implies it."""

    number: int
    broker_order_id: str = ""
    inferred: bool = False
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class OrderRejected(Event, frozen=True, kw_only=True, tag="order_rejected"):
    """The broker refused the order."""

    number: int
    code: str
    text: str = ""
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class OrderFailed(Event, frozen=True, kw_only=True, tag="order_failed"):
    """The order provably never became a broker order."""

    number: int
    code: str
    text: str = ""


class OrderFilled(Event, frozen=True, kw_only=True, tag="order_filled"):
    """Part or all of an order traded.

    A fill may be late, repeated, or overtake the acknowledgement. The key is (broker order,
    execution id). `inferred` marks a difference of cumulative figures; a real execution takes the
    place of inferred quantity of the same broker order, oldest first. `full` is the broker's word
    that the order is complete.
    """

    number: int
    broker_order_id: str
    execution: Execution
    inferred: bool = False
    full: bool = False
    stamp_ns: int = 0
    sequence: int = 0


class ExecutionCorrected(Event, frozen=True, kw_only=True, tag="execution_corrected"):
    """An execution has new terms; quantity zero is a bust.

    `execution_id` is the first id the trade had; `alias` is the id of the correcting report,
    by which a later correction may name it.
    """

    number: int
    broker_order_id: str
    execution_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str = ""
    alias: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class CumulativeReported(Event, frozen=True, kw_only=True, tag="cumulative_reported"):
    """The broker's filled quantity of one broker order moved past what its executions explain.

    The snapshot waits until `decide_at_ns` for the executions themselves; exposure counts the
    larger figure at once. A figure below what is known is a suspected bust and is looked up.
    """

    number: int
    snapshot: Snapshot
    decide_at_ns: int


class SnapshotReleased(Event, frozen=True, kw_only=True, tag="snapshot_released"):
    """The waiting snapshot waits no more: its executions came, or the grace is over."""

    number: int


class OrderCanceled(Event, frozen=True, kw_only=True, tag="order_canceled"):
    """The broker ended the order before it was complete; `word` is the broker's own."""

    number: int
    word: str = ""
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class OrderExpired(Event, frozen=True, kw_only=True, tag="order_expired"):
    """The broker says the order's time ran out."""

    number: int
    word: str = ""
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class OrderCompleted(Event, frozen=True, kw_only=True, tag="order_completed"):
    """The broker says the order is complete, though its figures leave a rest."""

    number: int
    stamp_ns: int = 0
    sequence: int = 0


class OrderRestated(Event, frozen=True, kw_only=True, tag="order_restated"):
    """The broker reports other terms than those in force: its own doing, or an early word."""

    number: int
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class OrderReplaced(Event, frozen=True, kw_only=True, tag="order_replaced"):
    """A replace is in force.

    `broker_order_id` is the order's id from now on. Where `carried` is set, the cumulative
    figures of the new broker order include what its predecessor had filled.
    """

    number: int
    wish: int
    broker_order_id: str = ""
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    carried: bool = True
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class ConditionChanged(Event, frozen=True, kw_only=True, tag="condition_changed"):
    """The order works differently than its status alone says, or as usual again."""

    number: int
    condition: Condition
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class ReportNoted(Event, frozen=True, kw_only=True, tag="report_noted"):
    """A report that changes nothing now; remembered so that its repeat changes nothing later."""

    number: int
    report_id: str
    stamp_ns: int = 0
    sequence: int = 0


class BrokerOrderEnded(Event, frozen=True, kw_only=True, tag="broker_order_ended"):
    """One of the broker orders behind this order ended, which need not end the order itself."""

    number: int
    broker_order_id: str
    word: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class CancelRequested(Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody wants the order gone; `WishSent` follows when its turn comes."""

    number: int
    wish: int
    by: str = ""
    reason: str = ""


class ReplaceRequested(Event, frozen=True, kw_only=True, tag="replace_requested"):
    """Somebody wants other terms; None leaves a term as it is. `WishSent` follows in its turn."""

    number: int
    wish: int
    not_after_ns: int
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class WishSent(Event, frozen=True, kw_only=True, tag="wish_sent"):
    """A queued request goes out, or one goes out again under the same wire id."""

    number: int
    wish: int
    attempt: int
    deadline_ns: int
    not_after_ns: int


class WishAcknowledged(Event, frozen=True, kw_only=True, tag="wish_acknowledged"):
    """The broker has the request and says it is pending."""

    number: int
    wish: int
    look_at_ns: int
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class WishDelayed(Event, frozen=True, kw_only=True, tag="wish_delayed"):
    """The request was provably not processed; it goes out again at `retry_at_ns`."""

    number: int
    wish: int
    retry_at_ns: int
    text: str = ""


class WishUnknown(Event, frozen=True, kw_only=True, tag="wish_unknown"):
    """Nobody can tell whether the request reached the broker; it is looked up at `look_at_ns`."""

    number: int
    wish: int
    look_at_ns: int
    text: str = ""


class WishRefused(Event, frozen=True, kw_only=True, tag="wish_refused"):
    """The cancel or replace was refused, or was never sent; the order stands as it was."""

    number: int
    wish: int
    code: str = ""
    text: str = ""
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class WishClosed(Event, frozen=True, kw_only=True, tag="wish_closed"):
    """A request has nothing left to ask: the order ended without it."""

    number: int
    wish: int


class LookupStarted(Event, frozen=True, kw_only=True, tag="lookup_started"):
    """The broker is asked for the order by all its ids; without an answer, again at `again_ns`."""

    number: int
    attempt: int
    again_ns: int
    reason: str


class LookupEnded(Event, frozen=True, kw_only=True, tag="lookup_ended"):
    """An answer came; the next question is due at `again_ns`, 0 where none is needed.

    `alive` says that the broker shows the order as working.
    """

    number: int
    found: bool
    complete: bool
    alive: bool = False
    again_ns: int = 0


class AliveReported(Event, frozen=True, kw_only=True, tag="alive_reported"):
    """The broker shows an order as working that ended here; exposure until it is settled.

    `times` counts the answers to questions by the order's own id; 0 is a mere listing.
    """

    number: int
    broker_order_id: str
    times: int
    ask_at_ns: int
    stamp_ns: int = 0


class OrderRevived(Event, frozen=True, kw_only=True, tag="order_revived"):
    """Asked twice by its own id after the quiet period, the broker confirmed the order alive."""

    number: int
    broker_order_id: str
    stamp_ns: int = 0


class OrderResolved(Event, frozen=True, kw_only=True, tag="order_resolved"):
    """A person's word on an order whose outcome could not be told."""

    number: int
    status: str
    by: str
    reason: str


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


AnyEvent: TypeAlias = (
    DeskOpened
    | InstrumentDefined
    | OpeningBalanceSet
    | ClockStepped
    | DeskResumed
    | OrderSubmitted
    | OrderAccepted
    | OrderRejected
    | OrderFailed
    | OrderFilled
    | ExecutionCorrected
    | CumulativeReported
    | SnapshotReleased
    | OrderCanceled
    | OrderExpired
    | OrderCompleted
    | OrderRestated
    | OrderReplaced
    | ConditionChanged
    | ReportNoted
    | BrokerOrderEnded
    | CancelRequested
    | ReplaceRequested
    | WishSent
    | WishAcknowledged
    | WishDelayed
    | WishUnknown
    | WishRefused
    | WishClosed
    | LookupStarted
    | LookupEnded
    | AliveReported
    | OrderRevived
    | OrderResolved
    | AnomalyRecorded
    | OrdersArchived
    | OrderRecalled
)

KINDS: Final[dict[type, str]] = {
    kind: str(kind.__struct_config__.tag) for kind in AnyEvent.__args__
}
