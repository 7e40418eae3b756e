"""What the commands that do more than one thing give back."""

from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct

from holdfast.clock import iso
from holdfast.domain.guard import Guard, Kill
from holdfast.domain.values import Side, Status
from holdfast.engine.views import OrderView

NS_PER_MS: Final = 1_000_000


class OrderEnvelope(Struct, frozen=True, kw_only=True):
    """A placed limit order: its ids, the price that was made for it, and when it was taken.

    `submitted_at` is ISO-8601 UTC; `execution_mode` is `dry_run`, `paper` or `live`. `raw` is for
    the broker's own words, of which an answer to a submit has none: it is empty until somebody
    fills it, and `get_order_status` asks for them.
    """

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: Decimal | None
    limit_price: Decimal | None
    reference_price: Decimal | None
    submitted_at: str
    execution_mode: str
    strategy: str
    status: Status
    order: OrderView
    raw: dict[str, object] = {}


def envelope(order: OrderView, mode: str, wall_offset_ns: int) -> OrderEnvelope:
    """Put an order into its envelope."""
    return OrderEnvelope(
        client_order_id=order.client_order_id,
        broker_order_id=order.broker_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        limit_price=order.limit_price,
        reference_price=order.terms.reference_price,
        submitted_at=iso(order.created_ns + wall_offset_ns),
        execution_mode=mode,
        strategy=order.strategy,
        status=order.status,
        order=order,
    )


class CancelResult(Struct, frozen=True, kw_only=True):
    """How the cancel of one order ended.

    `canceled` and `filled` are the order's own end, `ended` is any other; `failed` means that the
    broker refused and the order still works; `pending` that nothing was confirmed in time: the
    order is cancelled on, and is exposure until then.
    """

    client_order_id: str
    outcome: Literal["canceled", "filled", "ended", "failed", "pending"]
    order: OrderView
    text: str = ""


def cancel_result(order: OrderView) -> CancelResult:
    """Judge an order whose cancel was asked for."""
    outcome: Literal["canceled", "filled", "ended", "failed", "pending"]
    if order.status is Status.CANCELED:
        outcome = "canceled"
    elif order.status is Status.FILLED:
        outcome = "filled"
    elif order.is_terminal:
        outcome = "ended"
    else:
        outcome = "pending" if "cancel" in order.pending or order.asking else "failed"
    return CancelResult(
        client_order_id=order.client_order_id,
        outcome=outcome,
        order=order,
        text=order.refusal if outcome == "failed" else order.text,
    )


class CancelFigures(Struct, frozen=True, kw_only=True):
    """What became of a symbol's orders: how many ended, were cancelled, and their mean age then."""

    ended: int
    cancelled: int
    cancel_rate_pct: int
    cancel_age_ms: int


class GuardView(Struct, frozen=True, kw_only=True):
    """The desk's switches, and what they did so far.

    `breaker` is `closed`, `open` or `half_open`, with its reason and the milliseconds for which
    it stays open. `refusals` and `alerts` are counts by code, `symbols` the cancels by symbol.
    `unrecorded` are switches that were turned while the journal could not be written, in words:
    they are carried out once it can be, before any entry.
    """

    kill: Kill | None
    breaker: Literal["closed", "open", "half_open"]
    breaker_reason: str
    breaker_left_ms: int
    flattening: tuple[str, ...]
    orders_today: int
    refusals: dict[str, int]
    alerts: dict[str, int]
    requotes: dict[str, int]
    symbols: dict[str, CancelFigures]
    unrecorded: tuple[str, ...] = ()


def view_guard(guard: Guard, now_ns: int, unrecorded: tuple[str, ...] = ()) -> GuardView:
    """Copy what a caller may see of the switches."""
    breaker = guard.breaker
    state: Literal["closed", "open", "half_open"] = "closed"
    if breaker.reason:
        state = "open" if now_ns < breaker.until_ns else "half_open"
    return GuardView(
        kill=guard.kill,
        breaker=state,
        breaker_reason=breaker.reason,
        breaker_left_ms=max(0, breaker.until_ns - now_ns) // NS_PER_MS if breaker.reason else 0,
        flattening=tuple(guard.flattening),
        orders_today=guard.day.orders,
        refusals=dict(guard.refusals),
        alerts=dict(guard.alerts),
        requotes=dict(guard.day.requotes),
        symbols={
            symbol: CancelFigures(
                ended=figures.ended,
                cancelled=figures.cancelled,
                cancel_rate_pct=100 * figures.cancelled // max(1, figures.ended),
                cancel_age_ms=figures.cancel_age_ns // NS_PER_MS // max(1, figures.cancelled),
            )
            for symbol, figures in sorted(guard.symbols.items())
        },
        unrecorded=unrecorded,
    )
