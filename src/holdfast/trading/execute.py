"""From a signal to an order or a bracket: the one way in, for dry run, paper and live alike.

Rule 1: nothing here makes a price or books anything. What a result says of money is what the
broker's executions say; an order that has none yet is pending, and stays the desk's to follow.
Rule 2: a result is always returned. Whatever refuses an order refuses it with its stable code.
Rule 3: what closes a position goes out as an order of its own where there is room for it, and else
by `close_position`, before which the exits of groups give way.
"""

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from holdfast.domain.group import EXIT
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import ZERO, Status
from holdfast.engine.group_views import GroupView
from holdfast.engine.manager import Manager
from holdfast.engine.views import OrderView
from holdfast.errors import (
    HoldfastError,
    IdempotencyConflict,
    InputError,
    OrderRefused,
    WaitTimeout,
)
from holdfast.trading.strategy import Signal

# How long an order may take to fill before the loop goes on without waiting for it.
FILL_WAIT_S: Final = 5.0

# filled, partial, unfilled: it ended so; pending: it works, or nobody knows yet; refused: by a
# limit of the desk; invalid: no such order is possible; rejected: by the broker; failed: it never
# got there.
Outcome: TypeAlias = Literal[
    "filled", "partial", "unfilled", "pending", "refused", "invalid", "rejected", "failed"
]

# The group that closes a position.
_CLOSE: Final = "close"
_SUCCESS: Final = frozenset({"filled", "partial", "pending"})
_ENDS_WITHOUT_A_FILL: Final[dict[Status, Outcome]] = {
    Status.CANCELED: "unfilled",
    Status.EXPIRED: "unfilled",
    Status.REJECTED: "rejected",
    Status.FAILED: "failed",
}


class TradeResult(Struct, frozen=True, kw_only=True):
    """What became of a signal. `success` means that the order lives, or has traded.

    `order` is None where none was made; of a bracket it is the entry. `group` is the bracket, or
    what closes a position in the place of an order of its own. `code` and `error` say why there is
    no success.
    """

    signal: Signal
    success: bool
    status: Outcome
    order: OrderView | None = None
    group: GroupView | None = None
    code: str = ""
    error: str = ""

    @property
    def filled_quantity(self) -> Decimal:
        """What the broker's executions add up to so far."""
        if self.group is not None and self.group.contingency == _CLOSE:
            return self.group.exited
        return self.order.filled_quantity if self.order is not None else ZERO


async def execute_trade(
    manager: Manager, signal: Signal, *, strategy: str = "", wait_s: float = FILL_WAIT_S
) -> TradeResult:
    """Place a signal's order and wait for it to be taken, a market order to be filled.

    A signal with a stop or a target becomes a bracket, and its entry is waited for. What is not
    there after `wait_s` seconds is returned as pending. Only a cancelled call raises; the order
    then goes on without it.
    """
    try:
        placed = await _placed(manager, signal, strategy)
    except OrderRefused as error:
        return _refusal(signal, "refused", error)
    except InputError as error:
        return _refusal(signal, "invalid", error)
    except HoldfastError as error:  # busy, halted, closed: the order was not taken
        return _refusal(signal, "failed", error)
    if isinstance(placed, OrderView):
        return await _followed(manager, signal, placed, None, wait_s)
    if placed.contingency == _CLOSE:
        return await _closed(manager, signal, placed, wait_s)
    if placed.entry is None:  # given again by its key, long after its entry was forgotten
        return _result(signal, "pending", group=placed)
    order = await manager.order(placed.entry.client_order_id)
    return await _followed(manager, signal, order, placed, wait_s)


async def _placed(manager: Manager, signal: Signal, strategy: str) -> OrderView | GroupView:
    """Give a signal to the manager as what it is: an order, a bracket, or a way out."""
    if signal.exits:
        return await manager.place_bracket_order(
            signal.symbol,
            signal.action,
            signal.quantity,
            entry_price=signal.limit_price,
            stop_loss_price=signal.stop_loss_price,
            take_profit_price=signal.take_profit_price,
            trail=signal.trail,
            time_in_force=signal.time_in_force,
            strategy=strategy,
            idempotency_key=signal.key,
        )
    if await _is_guarded(manager, signal):
        try:
            return await manager.close_position(
                signal.symbol,
                quantity=signal.quantity,
                method=signal.order_type,
                limit_price=signal.limit_price,
                by=strategy,
                reason=signal.reason,
                strategy=strategy,
                idempotency_key=signal.key,
            )
        except IdempotencyConflict:  # its key may be that of an order from before the group
            pass
    return await manager.submit(_request(signal, strategy))


async def _is_guarded(manager: Manager, signal: Signal) -> bool:
    """Tell whether a signal closes what groups look after, in a way that they can give way to."""
    plain = signal.limit_price is not None and not signal.post_only
    rests = plain and signal.time_in_force.lower() == "gtc"
    if not signal.reduce_only or not (signal.order_type == "market" or rests):
        return False
    position = (await manager.positions()).get(signal.symbol)
    held = position.quantity if position is not None else ZERO
    closes = held > 0 if signal.action == "sell" else held < 0
    return closes and bool(await manager.groups(symbol=signal.symbol, closed=False, limit=1))


async def _followed(
    manager: Manager, signal: Signal, order: OrderView, group: GroupView | None, wait_s: float
) -> TradeResult:
    """Wait for an order to be taken, or to end where it does not rest."""
    until = _is_taken if _rests(signal) else _has_ended
    try:
        order = await manager.wait(order.client_order_id, until=until, timeout=wait_s)
    except WaitTimeout:
        order = await manager.order(order.client_order_id)
    except HoldfastError as stopped:  # the manager is being shut down: the order is where it was
        return _result(signal, "pending", order, group, error=str(stopped))
    if group is not None:
        group = await manager.group(group.group)
    return result_of(signal, order, group)


async def _closed(manager: Manager, signal: Signal, group: GroupView, wait_s: float) -> TradeResult:
    """Wait for a position to be closed, or for the order that rests to close it."""
    if group.group:  # one that went out past the journal is followed by nobody yet
        try:
            until = _has_exit if _rests(signal) else "closed"
            group = await manager.wait_group(group.group, until, timeout=wait_s)
        except WaitTimeout:
            group = await manager.group(group.group)
        except HoldfastError as stopped:
            return _result(signal, "pending", group=group, error=str(stopped))
    name = group.of(EXIT)[-1].client_order_id if group.of(EXIT) else ""
    order = await manager.order(name) if group.group and name else None
    if group.quantity is not None and group.exited >= group.quantity:
        return _result(signal, "filled", order, group)
    if not group.is_closed:
        return _result(signal, "pending", order, group)
    if group.exited:
        return _result(signal, "partial", order, group)
    error = f"group {group.group} closed nothing: {group.reason}"
    return _result(signal, "unfilled", order, group, code="NOTHING_CLOSED", error=error)


def result_of(signal: Signal, order: OrderView, group: GroupView | None = None) -> TradeResult:
    """Judge a signal's order, the entry where it is a bracket, as it is now."""
    if not order.is_terminal:
        return _result(signal, "pending", order, group)
    if order.status is Status.FILLED:
        return _result(signal, "filled", order, group)
    if order.filled_quantity:  # it ended with a part filled, as an immediate order does
        return _result(signal, "partial", order, group)
    return _result(
        signal,
        _ENDS_WITHOUT_A_FILL[order.status],
        order,
        group,
        code=order.code or order.status.upper(),
        error=order.text or f"the order ended {order.status} without a fill",
    )


def _result(
    signal: Signal,
    status: Outcome,
    order: OrderView | None = None,
    group: GroupView | None = None,
    *,
    code: str = "",
    error: str = "",
) -> TradeResult:
    return TradeResult(
        signal=signal,
        success=status in _SUCCESS,
        status=status,
        order=order,
        group=group,
        code=code,
        error=error,
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


def _has_exit(group: GroupView) -> bool:
    return group.is_closed or any(each.status is not Status.NEW for each in group.of(EXIT))


def _refusal(signal: Signal, status: Outcome, error: HoldfastError) -> TradeResult:
    return _result(signal, status, code=error.code, error=str(error))
