"""Refusals: the codes under which a desk says no to an order, and their record in the journal.

Rule: refusals are decisions, so they are journaled, but not a flood of them.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.inputs import Input, PlaceBracket, PlaceOco, Protect, Replace, Submit
from holdfast.domain.values import plain
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderRefused

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Every code of an `OrderRefused`, and what it means. Codes are for ever: added to, never renamed.
CODES: Final[Mapping[str, str]] = {
    "UNCLAIMED_DESK": "the desk of orders that no desk placed takes no entries; use another desk",
    "KILL_SWITCH": "the kill switch is engaged; no entry goes out until somebody releases it",
    "BREAKER_OPEN": "the circuit breaker is open; entries wait until it closes",
    "FLATTENING": "the position of this symbol is being closed; entries wait until it is flat",
    "UNPROTECTED": "a position could not be protected and is being closed; nothing opens meanwhile",
    "GROUP_OPPOSES": "the desk has a position or a group of the other direction in this symbol",
    "ORDER_QUANTITY": "the order is larger than one order may be",
    "ORDER_NOTIONAL": "the order is worth more than one order may be",
    "POSITION": "the position could become larger than it may, with all that is open on that side",
    "GROSS_EXPOSURE": "positions and open entries together would be worth more than they may",
    "OPEN_ORDERS": "as many orders as may be are open; abandoned ones are not counted",
    "ORDERS_PER_MINUTE": "as many orders as may be were submitted within the last minute",
    "ORDERS_PER_DAY": "as many orders as may be were submitted on this trading day",
    "PRICE_COLLAR": "the price is further past the market than it may be",
    "DAILY_LOSS": "the loss of this trading day is larger than it may be",
    "BUYING_POWER": "the desk's capital or the account's buying power does not cover the order",
    "SELF_CROSS": "the order would trade with one of the desk's own",
    "SLIPPAGE": "the computed limit price is further from its reference than it may be",
    "NO_QUOTE": "a price is needed and there is no fresh quote",
    "REDUCE_ONLY_EXCEEDED": "the exit is larger than what is left to close",
}
# The same refusal is written once in so long; what came between is counted.
REFUSAL_APART_MS: Final = 1_000
# Symbols and strategies that are told apart in this; beyond them it is the code alone.
REFUSALS_APART_MAX: Final = 1_000


def refused(code: str, advice: str, **figures: object) -> OrderRefused:
    """Return the refusal of a code: its figures as `key=value`, and what to do next."""
    assert code in CODES, code
    shown = {k: plain(v) if isinstance(v, Decimal) else v for k, v in figures.items()}
    context = " ".join(f"{name}={value}" for name, value in shown.items())
    return OrderRefused(
        f"{code}: {context}; {advice}" if context else f"{code}: {advice}", code=code
    )


def record_refusal(desk: "Desk", given: Input, error: OrderRefused) -> None:
    """Journal that a limit said no, and to what."""
    told = _what(desk, given)
    if told is None:
        return
    memo = desk.memo
    key = f"{error.code} {told['symbol']} {told['strategy']}"
    if key not in memo.refused_ns and len(memo.refused_ns) >= REFUSALS_APART_MAX:
        key = error.code
    last_ns = memo.refused_ns.get(key)
    if last_ns is not None and desk.now_ns - last_ns < REFUSAL_APART_MS * NS_PER_MS:
        memo.unrecorded[key] = memo.unrecorded.get(key, 0) + 1
        return
    memo.refused_ns[key] = desk.now_ns
    desk.out(
        e.RefusalRecorded(
            at_ns=desk.now_ns,
            code=error.code,
            text=str(error)[:500],
            repeats=memo.unrecorded.pop(key, 0),
            **told,
        )
    )


def _what(desk: "Desk", given: Input) -> dict[str, str] | None:
    """Describe the order that was refused, or the one that was not to be replaced."""
    if isinstance(given, Submit):
        request = given.request
        size = request.quantity if request.quantity is not None else request.notional
        return {
            "symbol": request.symbol[:64],
            "side": str(request.side)[:16],
            "quantity": str(size)[:64],
            "strategy": request.strategy,
            "client_order_id": request.client_order_id or "",
        }
    if isinstance(given, PlaceBracket | PlaceOco | Protect):
        return {
            "symbol": given.symbol[:64],
            "side": "" if isinstance(given, Protect) else str(given.side)[:16],
            "quantity": str(given.quantity)[:64],
            "strategy": given.strategy,
            "client_order_id": "",
        }
    order = desk.find(given.client_order_id) if isinstance(given, Replace) else None
    if order is None:
        return None
    wanted = given.quantity if isinstance(given, Replace) and given.quantity else order.quantity
    return {
        "symbol": order.terms.symbol,
        "side": order.terms.side.value,
        "quantity": str(wanted)[:64],
        "strategy": order.strategy,
        "client_order_id": order.client_order_id,
    }
