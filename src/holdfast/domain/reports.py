"""What a broker says, in one vocabulary: answers to our calls, reports, and snapshots.

Quantities follow FIX: an order's quantity is its total, what is filled included. A broker that
counts a replaced order anew declares `replace_carries_fills = False` and the desk adds up.
A stamp is the broker's own time for the order in nanoseconds; it is compared only with other
stamps of the same order. A `sequence`, where there is one, goes before the stamp.
"""

from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from holdfast.domain.values import Condition, Liquidity, OrderType, Side, Status, TimeInForce


class ReportKind(StrEnum):
    """FIX ExecType, by name, and `cancel_reject`, which answers a cancel or a replace."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    REJECTED = "rejected"
    TRADE = "trade"
    TRADE_CORRECT = "trade_correct"
    TRADE_CANCEL = "trade_cancel"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    CANCELED = "canceled"
    REPLACED = "replaced"
    CANCEL_REJECT = "cancel_reject"
    RESTATED = "restated"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    DONE_FOR_DAY = "done_for_day"
    HELD = "held"
    ORDER_STATUS = "order_status"


class RefusalCode(StrEnum):
    """Why a broker said no, as far as the desk acts on it."""

    OTHER = "other"
    DUPLICATE_ID = "duplicate_id"
    UNKNOWN_ORDER = "unknown_order"
    TOO_LATE = "too_late"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    MARKET_CLOSED = "market_closed"


class Execution(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One trade of one order as the broker reports it, with the broker's own id for it."""

    execution_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str = ""
    liquidity: Liquidity = Liquidity.UNKNOWN
    stamp_ns: int = 0


class Report(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One message of a broker's stream about one order.

    `wire_id` is the client id the broker names (FIX ClOrdID), `orig_wire_id` the one it replaces.
    `report_id` identifies the message itself where the broker numbers its reports.
    `execution` belongs to `trade` and, as the new version, to `trade_correct`; `execution_ref`
    names the execution that a correction or a `trade_cancel` is about. `order_quantity` overrules
    ours wherever a report carries it. `cumulative` is the filled quantity of this broker order, and
    `full` its word that the order is complete, for orders sized by notional.
    """

    kind: ReportKind
    wire_id: str = ""
    orig_wire_id: str = ""
    broker_order_id: str = ""
    report_id: str = ""
    execution: Execution | None = None
    execution_ref: str = ""
    order_quantity: Decimal | None = None
    cumulative: Decimal | None = None
    full: bool = False
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    code: RefusalCode = RefusalCode.OTHER
    text: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class Child(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An exit that the broker holds for another order; `role` is `stop` or `target`.

    `wire_id` is the id that we gave it, empty where the broker does not take one for it.
    """

    role: str
    broker_order_id: str
    wire_id: str = ""


class Snapshot(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The state of one order as the broker shows it when asked.

    `status` is None where the broker's word says only that the order is alive. `pending` is
    `cancel`, `replace`, `new`, or empty. `replaced_by` is the id of the broker order that took
    this one's place. Terms serve to adopt an order that is not ours. `children` are the exits that
    were sent along with the order.
    """

    broker_order_id: str = ""
    wire_id: str = ""
    symbol: str = ""
    side: Side | None = None
    order_type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    status: Status | None = None
    word: str = ""
    pending: str = ""
    condition: Condition = Condition.NONE
    order_quantity: Decimal | None = None
    cumulative: Decimal | None = None
    average_price: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    replaced_by: str = ""
    stamp_ns: int = 0
    sequence: int = 0
    children: tuple[Child, ...] = ()


class Accepted(Struct, frozen=True, gc=False, kw_only=True, tag="accepted"):
    """The broker took the request. `final` says that a cancel or replace is done, not pending.

    `children` are the exits that went out with a submit.
    """

    broker_order_id: str = ""
    final: bool = False
    stamp_ns: int = 0
    children: tuple[Child, ...] = ()


class Refused(Struct, frozen=True, gc=False, kw_only=True, tag="refused"):
    """A refusal that is about this very order."""

    text: str
    code: RefusalCode = RefusalCode.OTHER


class NotSent(Struct, frozen=True, gc=False, kw_only=True, tag="not_sent"):
    """Provably not processed: no byte left, or the vendor documents the reply so (429).

    `waited` says that no call was made, because others went first until it was too late.
    """

    text: str
    retry_after_ms: int = 0
    waited: bool = False


class Unknown(Struct, frozen=True, gc=False, kw_only=True, tag="unknown"):
    """Anything else: a timeout, 5xx, a lost link, an unparsable reply, a cancelled task."""

    text: str


Outcome: TypeAlias = Accepted | Refused | NotSent | Unknown


class Sighting(Struct, frozen=True, gc=False, kw_only=True):
    """One order found by a lookup: its snapshot and the executions that the broker lists for it.

    `executions_complete` is False where the broker's list may be longer than what was read.
    """

    snapshot: Snapshot
    executions: tuple[Execution, ...] = ()
    executions_complete: bool = False


class LookupResult(Struct, frozen=True, gc=False, kw_only=True):
    """What asking for one order gave.

    `complete` is True only if the question by id, the open orders, the history and the
    executions were all answered, all pages of them. No sightings and complete is absence;
    no sightings and not complete proves nothing.
    """

    sightings: tuple[Sighting, ...] = ()
    complete: bool = False
    text: str = ""
