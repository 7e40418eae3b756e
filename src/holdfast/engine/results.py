"""What the commands that do more than one thing give back."""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from holdfast.clock import iso
from holdfast.domain.guard import Guard, Kill
from holdfast.domain.instruments import Instrument
from holdfast.domain.tallies import Tally
from holdfast.domain.values import ZERO, Side, Status, add, ratio, rounded_mul
from holdfast.engine.masking import masked_value
from holdfast.engine.views import OrderView

NS_PER_MS: Final = 1_000_000
# What the sum of several strategies or symbols is named.
ALL: Final = "all"


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


class TallyView(Struct, frozen=True, kw_only=True):
    """What the orders of a strategy in a symbol came to, or those of several pairs together.

    `orders` are `entries` and `exits`; of the ones that are `accepted` some are `working`, the
    others `filled`, `canceled` or `expired`. `executions` are those that stand, `volume` is what
    they traded in units, `value` in `currency`. `largest_quantity` is the most that one order
    ever was for, `largest_value` the most that one was worth as it was submitted, without those
    that had no price. `last_price` is that of the desk's last trade in the symbol. `types` and
    `roles` count orders; `fill_rate` is the share of them that filled. What has no sum, units of
    several symbols or money of several currencies, is None in the sum.
    """

    strategy: str
    symbol: str
    currency: str
    orders: int
    entries: int
    exits: int
    accepted: int
    working: int
    filled: int
    executions: int
    rejected: int
    failed: int
    canceled: int
    expired: int
    volume: Decimal | None
    value: Decimal | None
    fees: dict[str, Decimal]
    largest_quantity: Decimal | None
    largest_value: Decimal | None
    last_price: Decimal | None
    fill_rate: Decimal
    types: dict[str, int]
    roles: dict[str, int]


_COUNTS: Final = (
    "orders",
    "entries",
    "exits",
    "accepted",
    "working",
    "filled",
    "executions",
    "rejected",
    "failed",
    "canceled",
    "expired",
)


def view_tally(
    strategy: str, instrument: Instrument, tally: Tally, last_price: Decimal | None
) -> TallyView:
    """Copy what a caller may see of a tally, in money."""
    by, multiplier, orders = tally.statuses.get, instrument.multiplier, tally.orders
    working = by(Status.OPEN, 0) + by(Status.PARTIAL_FILL, 0)
    ended = by(Status.FILLED, 0) + by(Status.CANCELED, 0) + by(Status.EXPIRED, 0)
    return TallyView(
        strategy=strategy,
        symbol=instrument.symbol,
        currency=instrument.currency,
        orders=orders,
        entries=orders - tally.exits,
        exits=tally.exits,
        accepted=working + ended,
        working=working,
        filled=by(Status.FILLED, 0),
        executions=tally.executions,
        rejected=by(Status.REJECTED, 0),
        failed=by(Status.FAILED, 0),
        canceled=by(Status.CANCELED, 0),
        expired=by(Status.EXPIRED, 0),
        volume=tally.volume,
        value=rounded_mul(tally.notional, multiplier),
        fees=dict(tally.fees),
        largest_quantity=tally.largest,
        largest_value=max(rounded_mul(tally.worth, multiplier), tally.money),
        last_price=last_price,
        fill_rate=_rate(by(Status.FILLED, 0), orders),
        types={str(kind): count for kind, count in tally.types.items() if count},
        roles={role: count for role, count in tally.roles.items() if count},
    )


def sum_tallies(views: Sequence[TallyView], strategy: str = ALL, symbol: str = ALL) -> TallyView:
    """Add views up under these names."""
    counts: dict[str, Any] = {name: sum(getattr(v, name) for v in views) for name in _COUNTS}
    symbols, currencies = {v.symbol for v in views}, {v.currency for v in views}
    is_one, is_money = len(symbols) == 1, len(currencies) == 1
    return TallyView(
        **counts,
        strategy=strategy,
        symbol=symbol,
        currency=min(currencies) if is_money else "",
        volume=_total(v.volume for v in views) if is_one else None,
        value=_total(v.value for v in views) if is_money else None,
        fees=_fees(views),
        largest_quantity=max(v.largest_quantity or ZERO for v in views) if is_one else None,
        largest_value=max(v.largest_value or ZERO for v in views) if is_money else None,
        last_price=views[0].last_price if is_one else None,
        fill_rate=_rate(counts["filled"], counts["orders"]),
        types=dict(sum((Counter(v.types) for v in views), Counter())),
        roles=dict(sum((Counter(v.roles) for v in views), Counter())),
    )


def tally_rows(views: Sequence[TallyView]) -> list[dict[str, Any]]:
    """Show views as objects for JSON: amounts as strings, what callers wrote masked."""
    return [masked_value(msgspec.to_builtins(view)) for view in views]


def _total(amounts: Iterable[Decimal | None]) -> Decimal:
    total = ZERO
    for each in amounts:
        total = add(total, each or ZERO)
    return total


def _fees(views: Sequence[TallyView]) -> dict[str, Decimal]:
    currencies = sorted({currency for view in views for currency in view.fees})
    return {name: _total(view.fees.get(name) for view in views) for name in currencies}


def _rate(part: int, whole: int) -> Decimal:
    return ratio(Decimal(part), Decimal(whole)) if whole else ZERO
