"""From a signal to an order: the one way in, for dry run, paper and live alike.

Rule 1: nothing here makes a price or books anything. What a result says of money is what the
broker's executions say; an order that has none yet is pending, and stays the desk's to follow.
Rule 2: a result is always returned. Whatever refuses an order refuses it with its stable code.
"""

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import ZERO, Status
from holdfast.engine.manager import Manager
from holdfast.engine.views import OrderView
from holdfast.errors import HoldfastError, InputError, OrderRefused, WaitTimeout
from holdfast.trading.strategy import Signal

# How long an order may take to fill before the loop goes on without waiting for it.
FILL_WAIT_S: Final = 5.0

# filled, partial, unfilled: it ended so; pending: it works, or nobody knows yet; refused: by a
# limit of the desk; invalid: no such order is possible; rejected: by the broker; failed: it never
# got there.
Outcome: TypeAlias = Literal[
    "filled", "partial", "unfilled", "pending", "refused", "invalid", "rejected", "failed"
]

_ENDS_WITHOUT_A_FILL: Final[dict[Status, Outcome]] = {
    Status.CANCELED: "unfilled",
    Status.EXPIRED: "unfilled",
    Status.REJECTED: "rejected",
    Status.FAILED: "failed",
}


class TradeResult(Struct, frozen=True, kw_only=True):
    """What became of a signal. `success` means that the order lives, or has traded.

    `order` is None where none was made. `code` and `error` say why there is no success.
    """

    signal: Signal
    success: bool
    status: Outcome
    order: OrderView | None = None
    code: str = ""
    error: str = ""

    @property
    def filled_quantity(self) -> Decimal:
        """What the broker's executions add up to so far."""
        return self.order.filled_quantity if self.order is not None else ZERO


async def execute_trade(
    manager: Manager, signal: Signal, *, strategy: str = "", wait_s: float = FILL_WAIT_S
) -> TradeResult:
    """Place a signal's order and wait for it to be taken, a market order to be filled.

    What is neither after `wait_s` seconds is returned as pending. Only a cancelled call raises;
    the order then goes on without it.
    """
    try:
        order = await manager.submit(_request(signal, strategy))
    except OrderRefused as error:
        return _refusal(signal, "refused", error)
    except InputError as error:
        return _refusal(signal, "invalid", error)
    except HoldfastError as error:  # busy, halted, closed: the order was not taken
        return _refusal(signal, "failed", error)
    until = _is_taken if _rests(signal) else _has_ended
    try:
        order = await manager.wait(order.client_order_id, until=until, timeout=wait_s)
    except WaitTimeout:
        order = await manager.order(order.client_order_id)
    except HoldfastError as error:  # the manager is being shut down: the order is where it was
        return TradeResult(
            signal=signal, success=True, status="pending", order=order, error=str(error)
        )
    return result_of(signal, order)


def result_of(signal: Signal, order: OrderView) -> TradeResult:
    """Judge a signal's order as it is now."""
    if not order.is_terminal:
        return TradeResult(signal=signal, success=True, status="pending", order=order)
    if order.status is Status.FILLED:
        return TradeResult(signal=signal, success=True, status="filled", order=order)
    if order.filled_quantity:  # it ended with a part filled, as an immediate order does
        return TradeResult(signal=signal, success=True, status="partial", order=order)
    return TradeResult(
        signal=signal,
        success=False,
        status=_ENDS_WITHOUT_A_FILL[order.status],
        order=order,
        code=order.code or order.status.upper(),
        error=order.text or f"the order ended {order.status} without a fill",
    )


def _request(signal: Signal, strategy: str) -> OrderRequest:
    return OrderRequest(
        symbol=signal.symbol,
        side=signal.action,
        quantity=signal.quantity,
        order_type=signal.order_type,
        limit_price=signal.limit_price,
        reference_price=signal.reference_price,
        time_in_force=signal.time_in_force,
        post_only=signal.post_only,
        reduce_only=signal.reduce_only,
        idempotency_key=signal.key,
        strategy=strategy,
    )


def _rests(signal: Signal) -> bool:
    return signal.order_type == "limit" and signal.time_in_force.lower() not in {"ioc", "fok"}


def _is_taken(order: OrderView) -> bool:
    return order.status is not Status.NEW


def _has_ended(order: OrderView) -> bool:
    return order.is_terminal


def _refusal(signal: Signal, status: Outcome, error: HoldfastError) -> TradeResult:
    return TradeResult(
        signal=signal, success=False, status=status, code=error.code, error=str(error)
    )
