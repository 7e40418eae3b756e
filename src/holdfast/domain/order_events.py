"""What became of an order at its broker: the facts; the rules stand in `events.py`."""

from decimal import Decimal

from holdfast.domain.desk_events import Event
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import Execution, Snapshot
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition


class OrderSubmitted(Event, frozen=True, kw_only=True, tag="order_submitted"):
    """The caller's order was taken and is sent under the wire id that its number gives.

    `deadline_ns` is when a missing answer counts as unknown, `not_after_ns` when the order may
    last be sent. An empty `client_order_id` is the wire id itself. `reducing` says that it was let
    through as an exit, `forced` that the caller overruled a limit. `role` tells what a policy made
    it for, `succeeds` whose remainder it takes over. `quote` is the one that its checks used.

    A member of a `group` is the `turn`-th order of its role there, which names it on the wire; with
    it the role was to come to what was `due`.
    `twin` says that another exit of its group is for the same units. With `link` the orders
    `attached` go out in the same call; such an order names in `rides` the one that it goes with.
    """

    number: int
    terms: OrderTerms
    deadline_ns: int
    not_after_ns: int
    client_order_id: str = ""
    idempotency_key: str = ""
    strategy: str = ""
    role: str = ""
    reducing: bool = False
    forced: bool = False
    succeeds: int = 0
    quote: Quote | None = None
    group: int = 0
    turn: int = 0
    due: Decimal | None = None
    twin: bool = False
    link: str = ""
    attached: tuple[int, ...] = ()
    rides: int = 0


class OrderAdopted(Event, frozen=True, kw_only=True, tag="order_adopted"):
    """An order that was sent past the journal is entered; what became of it is looked up.

    It is never sent again: `wire_id` is the id under which it went out, if it did.
    """

    number: int
    wire_id: str
    terms: OrderTerms
    client_order_id: str = ""
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
    """A report that changes nothing now; remembered so that its repeat changes nothing later.

    `broker_order_id` is the broker's id of an order that had none, where this report names it.
    """

    number: int
    report_id: str = ""
    broker_order_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class BrokerOrderEnded(Event, frozen=True, kw_only=True, tag="broker_order_ended"):
    """One of the broker orders behind this order ended, which need not end the order itself."""

    number: int
    broker_order_id: str
    word: str = ""
    stamp_ns: int = 0
    sequence: int = 0


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
