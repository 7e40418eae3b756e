"""Refusals are decisions: they are journaled, but not a flood of them."""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.inputs import Input, Submit
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderRefused

# The same refusal is written once in so long; what came between is counted.
REFUSAL_APART_MS: Final = 1_000

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def record_refusal(desk: "Desk", given: Input, error: OrderRefused) -> None:
    """Journal that a limit said no, and to what."""
    if not isinstance(given, Submit):
        return
    request = given.request
    key = f"{error.code} {request.symbol} {request.strategy}"
    last_ns = desk.memo.refused_ns.get(key)
    if last_ns is not None and desk.now_ns - last_ns < REFUSAL_APART_MS * NS_PER_MS:
        desk.memo.unrecorded[key] = desk.memo.unrecorded.get(key, 0) + 1
        return
    desk.memo.refused_ns[key] = desk.now_ns
    desk.out(
        e.RefusalRecorded(
            at_ns=desk.now_ns,
            code=error.code,
            text=str(error)[:500],
            symbol=request.symbol[:64],
            side=str(request.side)[:16],
            quantity=str(request.quantity if request.quantity is not None else request.notional),
            strategy=request.strategy,
            client_order_id=request.client_order_id or "",
            repeats=desk.memo.unrecorded.pop(key, 0),
        )
    )
