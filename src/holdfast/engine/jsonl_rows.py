"""Rows of the JSONL files: what a journaled event says, for people and for plain tools.

Rule 1: rows follow from the journal alone: an event, its order before and after it, and the session
it belongs to. Whoever folds the same records writes the same bytes.
Rule 2: one event gives at most one row per file, so the numbers in a file rise strictly.
Rule 3: amounts are strings, times ISO-8601 in UTC, `latency_ms` is a number; what is not known is
null. Names that the files of older systems had are kept.
"""

from collections.abc import Callable
from decimal import Context as DecimalContext
from decimal import Decimal
from typing import Any, Final, TypeAlias

from msgspec import Struct

from holdfast.clock import NS_PER_MS, iso
from holdfast.domain import events as e
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution
from holdfast.domain.values import PRECISION, ZERO, Status, plain, ratio, sub
from holdfast.domain.wish import WishKind
from holdfast.engine.masking import hidden, masked

# Averages are shown to so many decimals; the exact figures are quantity and price.
_AVERAGE: Final = Decimal("1e-10")
_VIEW: Final = DecimalContext(prec=PRECISION)


class Session(Struct, frozen=True, kw_only=True):
    """The run of a desk that an event belongs to; `session_id` comes from the journal.

    `wall_offset_ns` turns desk time into wall time.
    """

    session_id: str = ""
    bot_version: str = ""
    config_hash: str = ""
    team_id: str = ""
    execution_mode: str = ""
    wall_offset_ns: int = 0

    def time(self, at_ns: int) -> str:
        """Show a desk time as UTC."""
        return iso(at_ns + self.wall_offset_ns)


class Before(Struct, frozen=True, kw_only=True):
    """What the fold of an event takes away from its order, and a row needs.

    `kind`, `attempt` and `sent_ns` belong to the request that the event answers.
    """

    kind: WishKind | None = None
    attempt: int | None = None
    sent_ns: int = 0
    status: Status | None = None
    filled_quantity: Decimal = ZERO
    notional: Decimal = ZERO


class Line(Struct, frozen=True, kw_only=True):
    """What every appended row carries; `seq` is the record's number in the journal.

    `order_id` is the client order id, `quantity` and `limit_price` are those in force.
    """

    seq: int
    timestamp: str
    session_id: str
    bot_version: str
    config_hash: str
    action: str
    team_id: str
    strategy_name: str
    order_id: str
    broker_order_id: str
    symbol: str
    side: str
    order_type: str | None
    quantity: str | None
    limit_price: str | None
    execution_mode: str
    status: str | None
    filled_quantity: str | None
    attempt: int | None
    latency_ms: float | None
    error: str | None


class OrderLine(Line, frozen=True, kw_only=True):
    """One thing that was asked or told about an order; `reason` says who or what was behind it."""

    submitted_at: str
    reason: str | None


class TradeLine(Line, frozen=True, kw_only=True):
    """One execution, or its newest version; `action` is `trade`, `correction` or `bust`.

    `net_quantity` and `net_value` are what the row adds to the order's filled quantity and value:
    an execution that was inferred before adds nothing when it arrives, a bust takes away.
    """

    execution_id: str
    trade_quantity: str
    execution_price: str
    requested_price: str | None
    net_quantity: str
    net_value: str
    fee: str | None
    fee_currency: str
    liquidity: str | None
    inferred: bool


class ErrorLine(Line, frozen=True, kw_only=True):
    """Something that went wrong; `error_type` is a stable code, `phase` where it happened."""

    error_type: str
    message: str
    strategy: str
    timeout: bool
    phase: str
    signal_data: None = None


class PendingLine(Struct, frozen=True, kw_only=True):
    """An order that may still trade, as it is now."""

    order_id: str
    broker_order_id: str
    team_id: str
    strategy_name: str
    symbol: str
    side: str
    quantity: str | None
    order_type: str
    limit_price: str | None
    stop_price: str | None
    status: str
    filled_qty: str
    filled_avg_price: str | None
    time_in_force: str
    created_at: str
    updated_at: str
    requested_price: str | None
    execution_mode: str


class Lines(Struct, frozen=True):
    """The rows of one event, one per file at most."""

    order: OrderLine | None = None
    trade: TradeLine | None = None
    error: ErrorLine | None = None


def rows_of(
    event: e.AnyEvent, seq: int, order: Order | None, session: Session, before: Before
) -> Lines:
    """Return the rows of an event, given its order right after it and what it was before."""
    if order is None:
        return Lines(error=_error_line(event, seq, None, session, before))
    return Lines(
        order=_order_line(event, seq, order, session, before),
        trade=_trade_line(event, seq, order, session, before),
        error=_error_line(event, seq, order, session, before),
    )


def before_of(event: e.AnyEvent, order: Order | None) -> Before:
    """Note what a row needs of an order before an event is applied to it."""
    if order is None:
        return Before()
    number = getattr(event, "wish", None)
    if isinstance(event, e.OrderAccepted | e.OrderRejected | e.OrderFailed):
        number = 0
    wish = order.wish(number) if number is not None else None
    if isinstance(event, e.OrderCanceled):
        wish = order.oldest(WishKind.CANCEL)
    return Before(
        kind=wish.kind if wish is not None else None,
        attempt=wish.attempt or None if wish is not None else None,
        sent_ns=wish.sent_ns if wish is not None else 0,
        status=order.status,
        filled_quantity=order.filled_quantity,
        notional=order.notional,
    )


def pending_line(order: Order, session: Session) -> PendingLine:
    """Return the row of an order that may still trade."""
    terms = order.terms
    return PendingLine(
        order_id=hidden(order.client_order_id),
        broker_order_id=hidden(order.broker_order_id),
        team_id=session.team_id,
        strategy_name=hidden(order.strategy),
        symbol=terms.symbol,
        side=terms.side.value,
        quantity=_text(order.quantity),
        order_type=terms.order_type.value,
        limit_price=_text(terms.limit_price),
        stop_price=_text(terms.stop_price),
        status=order.status.value,
        filled_qty=plain(order.filled_quantity),
        filled_avg_price=_average(order),
        time_in_force=terms.time_in_force.value,
        created_at=session.time(order.created_ns),
        updated_at=session.time(order.updated_ns),
        requested_price=_requested(order),
        execution_mode=session.execution_mode,
    )


# What the rows of orders.jsonl are called, and what each says besides: a reason and an error.

_Told: TypeAlias = tuple[str, str, str]


def _cancel(event: e.CancelRequested, _order: Order, _before: Before) -> _Told:
    return "cancel", ": ".join(filter(None, (event.by, event.reason))), ""


def _sent(event: e.WishSent, _order: Order, before: Before) -> _Told:
    kind = before.kind.value if before.kind is not None else "request"
    return f"{kind}_sent" if event.attempt <= 1 else f"{kind}_retry", "", ""


def _about_wish(suffix: str) -> Callable[[Any, Order, Before], _Told]:
    def told(event: Any, _order: Order, before: Before) -> _Told:
        kind = before.kind.value if before.kind is not None else "request"
        error = getattr(event, "text", "") or getattr(event, "code", "")
        return f"{kind}_{suffix}", getattr(event, "code", ""), error

    return told


def _canceled(event: e.OrderCanceled, _order: Order, before: Before) -> _Told:
    return "cancel_confirmed" if before.kind is WishKind.CANCEL else "end", event.word, ""


def _filled(_event: e.OrderFilled, order: Order, before: Before) -> _Told | None:
    """An execution has its row among the trades; here stands only that it was the last one."""
    ended = order.is_terminal and order.status is not before.status
    return ("end", "", "") if ended else None


def _looked(event: e.LookupEnded, _order: Order, _before: Before) -> _Told:
    found = "found" if event.found else "not found"
    return "lookup_answer", found, "" if event.complete else "the answer was not complete"


def _checked(event: e.StatusChecked, _order: Order, _before: Before) -> _Told:
    if event.answered:
        return "status", "", ""
    return "status_error", "", f"the broker gave no answer in {event.tries} tries"


_TELLS: Final[dict[type, Callable[[Any, Order, Before], _Told | None]]] = {
    e.OrderSubmitted: lambda event, _order, _before: ("submit", event.role, ""),
    e.OrderAdopted: lambda _event, _order, _before: ("adopt", "sent past the journal", ""),
    e.ExternalAdopted: lambda _event, _order, _before: ("adopt", "placed by nobody here", ""),
    e.OrderAccepted: lambda ev, _o, _b: ("accept", "inferred" if ev.inferred else "", ""),
    e.OrderRejected: lambda event, _o, _b: ("reject", event.code, event.text or event.code),
    e.OrderFailed: lambda event, _o, _b: ("fail", event.code, event.text or event.code),
    e.OrderFilled: _filled,
    e.OrderCompleted: lambda _event, _order, _before: ("end", "complete, says the broker", ""),
    e.OrderCanceled: _canceled,
    e.OrderExpired: lambda event, _order, _before: ("end", event.word, ""),
    e.OrderRevived: lambda _event, _order, _before: ("revive", "works at the broker", ""),
    e.OrderResolved: lambda ev, _o, _b: ("resolve", f"{ev.by}: {ev.reason}", ""),
    e.OrderRestated: lambda _event, _order, _before: ("restate", "", ""),
    e.CancelRequested: _cancel,
    e.ReplaceRequested: lambda _event, _order, _before: ("replace", "", ""),
    e.OrderReplaced: lambda _event, _order, _before: ("replace_confirmed", "", ""),
    e.WishSent: _sent,
    e.WishAcknowledged: _about_wish("pending"),
    e.WishDelayed: _about_wish("not_sent"),
    e.WishUnknown: _about_wish("unknown"),
    e.WishRefused: _about_wish("refused"),
    e.LookupStarted: lambda event, _order, _before: ("lookup", event.reason, ""),
    e.LookupEnded: _looked,
    e.StatusChecked: _checked,
    e.RequoteDecided: lambda ev, _o, _b: ("requote", f"to {plain(ev.price)}", ""),
}


def _order_line(
    event: e.AnyEvent, seq: int, order: Order, session: Session, before: Before
) -> OrderLine | None:
    tell = _TELLS.get(type(event))
    told = tell(event, order, before) if tell is not None else None
    if told is None:
        return None
    action, reason, error = told
    return OrderLine(
        **_common(event, seq, session),
        **_of_order(event, order, before),
        action=action,
        error=masked(error) if error else None,
        submitted_at=session.time(order.created_ns),
        reason=masked(reason) if reason else None,
    )


def _trade_line(
    event: e.AnyEvent, seq: int, order: Order, session: Session, before: Before
) -> TradeLine | None:
    trade: Execution | e.ExecutionCorrected
    liquidity: str | None = None
    if isinstance(event, e.OrderFilled):
        trade, action, guessed = event.execution, "trade", event.inferred
        liquidity = event.execution.liquidity.value
    elif isinstance(event, e.ExecutionCorrected):
        trade, action = event, "correction" if event.quantity else "bust"
        leg = order.find_leg(event.broker_order_id)
        guessed = leg is not None and event.execution_id in leg.waiting
    else:
        return None
    told = {
        **_common(event, seq, session),
        **_of_order(event, order, before),
        "broker_order_id": hidden(event.broker_order_id),
    }
    return TradeLine(
        **told,
        action=action,
        error=None,
        execution_id=hidden(trade.execution_id),
        trade_quantity=plain(trade.quantity),
        execution_price=plain(trade.price),
        requested_price=_requested(order),
        net_quantity=plain(sub(order.filled_quantity, before.filled_quantity)),
        net_value=plain(sub(order.notional, before.notional)),
        fee=_text(trade.fee),
        fee_currency=trade.fee_currency,
        liquidity=liquidity,
        inferred=guessed,
    )


# What errors.jsonl calls an event: a code, where it happened, and a text.


def _failed_wish(event: e.WishRefused | e.WishUnknown | e.WishDelayed, before: Before) -> _Told:
    phase = before.kind.value if before.kind is not None else "request"
    outcome = {e.WishRefused: "REFUSED", e.WishUnknown: "UNKNOWN", e.WishDelayed: "NOT_SENT"}
    code = f"{phase}_{outcome[type(event)]}".upper()
    said = ": ".join(filter(None, (getattr(event, "code", ""), event.text)))
    return code, phase, said or "no reason was given"


_FAULTS: Final[dict[type, Callable[[Any, Before], _Told]]] = {
    e.AlertRaised: lambda event, _before: (event.code, _phase_of(event.code), event.text),
    e.RefusalRecorded: lambda event, _before: (event.code, "limits", event.text),
    e.AnomalyRecorded: lambda event, _before: (event.code, "anomaly", event.text),
    e.BreakerOpened: lambda ev, _b: ("BREAKER_OPENED", "breaker", f"{ev.reason} {ev.text}".strip()),
    e.OrderRejected: lambda ev, _b: (f"REJECTED_{ev.code}".upper(), "submit", ev.text or ev.code),
    e.OrderFailed: lambda ev, _b: (f"FAILED_{ev.code}".upper(), "submit", ev.text or ev.code),
    e.WishRefused: _failed_wish,
    e.WishUnknown: _failed_wish,
    e.WishDelayed: _failed_wish,
}


def _phase_of(code: str) -> str:
    return "strategy" if code.startswith("STRATEGY") else "alert"


def _error_line(
    event: e.AnyEvent, seq: int, order: Order | None, session: Session, before: Before
) -> ErrorLine | None:
    fault = _FAULTS.get(type(event))
    if fault is None:
        return None
    code, phase, text = fault(event, before)
    told = _of_order(event, order, before) if order is not None else _of_nothing(event)
    return ErrorLine(
        **_common(event, seq, session),
        **told,
        action="error",
        error=masked(text),
        error_type=code,
        message=masked(text),
        strategy=told["strategy_name"],
        timeout="TIMEOUT" in code or isinstance(event, e.WishUnknown),
        phase=phase,
    )


def _common(event: e.AnyEvent, seq: int, session: Session) -> dict[str, Any]:
    return {
        "seq": seq,
        "timestamp": session.time(event.at_ns),
        "session_id": session.session_id,
        "bot_version": session.bot_version,
        "config_hash": session.config_hash,
        "team_id": session.team_id,
        "execution_mode": session.execution_mode,
    }


def _of_order(event: e.AnyEvent, order: Order, before: Before) -> dict[str, Any]:
    """Return what a row says of its order, and of how long the request took that was answered."""
    attempt, sent_ns = before.attempt, before.sent_ns
    if isinstance(event, e.OrderSubmitted):
        attempt = 1
    elif isinstance(event, e.WishSent):
        attempt, sent_ns = event.attempt, 0
    elif isinstance(event, e.StatusChecked):
        attempt = event.tries
    elif isinstance(event, e.LookupStarted):
        attempt = event.attempt
    return {
        "strategy_name": hidden(order.strategy),
        "order_id": hidden(order.client_order_id),
        "broker_order_id": hidden(order.broker_order_id),
        "symbol": order.terms.symbol,
        "side": order.terms.side.value,
        "order_type": order.terms.order_type.value,
        "quantity": _text(order.quantity),
        "limit_price": _text(order.terms.limit_price),
        "status": order.status.value,
        "filled_quantity": plain(order.filled_quantity),
        "attempt": attempt,
        "latency_ms": round((event.at_ns - sent_ns) / NS_PER_MS, 3) if sent_ns else None,
    }


def _of_nothing(event: Any) -> dict[str, Any]:
    """Return the same of an event without an order: what it names itself."""
    return {
        "strategy_name": hidden(getattr(event, "strategy", "")),
        "order_id": hidden(getattr(event, "client_order_id", "")),
        "broker_order_id": "",
        "symbol": getattr(event, "symbol", ""),
        "side": getattr(event, "side", ""),
        "order_type": None,
        "quantity": getattr(event, "quantity", "") or None,
        "limit_price": None,
        "status": None,
        "filled_quantity": None,
        "attempt": None,
        "latency_ms": None,
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _requested(order: Order) -> str | None:
    price = order.terms.reference_price
    return _text(price if price is not None else order.terms.limit_price)


def _average(order: Order) -> str | None:
    if not order.filled_quantity:
        return None
    return plain(ratio(order.notional, order.filled_quantity).quantize(_AVERAGE, context=_VIEW))
