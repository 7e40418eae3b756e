"""Closing a position: cancel what is open, confirm, exit exactly what is left.

Rule 1: level-triggered: `control` compares what a symbol holds with what could still trade in it,
and may run any number of times. It needs no memory but the events.
Rule 2: it never flips: one exit at a time, for no more than is held, and only once nothing else
of the symbol may trade (an order of unknown outcome may) and no other exit's figure is in doubt.
Rule 3: it never gives up; it slows down and alerts.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import sweeping
from holdfast.domain.alerts import again_ns, raise_once
from holdfast.domain.guard import FLAT, Closing
from holdfast.domain.inputs import Flatten
from holdfast.domain.order import Order, WishKind
from holdfast.domain.persons import check_person
from holdfast.domain.reports import RefusalCode
from holdfast.domain.requests import OrderTerms
from holdfast.domain.requoting import is_open
from holdfast.domain.values import (
    CONTEXT,
    ZERO,
    OrderType,
    Side,
    Status,
    TimeInForce,
    add,
    mul,
    sub,
)
from holdfast.domain.work import NS_PER_MS, backoff_ns
from holdfast.errors import UnknownSymbolError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

FLATTEN_STUCK: Final = "FLATTEN_STUCK"
# A flattening that takes longer wants a person.
STUCK_AFTER_MS: Final = 30_000
# A closed market opens no sooner for being asked more often.
CLOSED_RETRY_MS: Final = 60_000
# A market order lives for a moment; the first of these that the broker takes will do.
_TIMES_IN_FORCE: Final = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC)


def flatten(desk: "Desk", given: Flatten) -> None:
    """Want positions closed; the result names the orders that are cancelled for it.

    Raises:
        InputError: no name or no reason.
        UnknownSymbolError: the symbol is not defined on the desk.
    """
    check_person(given.by, given.reason, "flattening")
    if given.symbol and given.symbol not in desk.instruments:
        raise UnknownSymbolError(
            f"symbol {given.symbol[:40]!r} is not defined on this desk; "
            "name one that is, or none to flatten all"
        )
    symbols = [given.symbol] if given.symbol else exposed(desk)
    open_orders = [order for symbol in symbols for order in _active(desk, symbol)]
    desk.result(*sorted(order.number for order in open_orders))
    start(desk, symbols, given.by, given.reason[:200])


def start(desk: "Desk", symbols: Iterable[str], by: str, reason: str) -> None:
    """Begin to flatten symbols that are not being flattened, and cancel what is open there."""
    for symbol in symbols:
        if symbol not in desk.guard.flattening:
            started = e.FlattenStarted(at_ns=desk.now_ns, symbol=symbol, by=by, reason=reason)
            desk.out(started)
        open_orders = [order for order in _active(desk, symbol) if order.role != FLAT]
        _cancel(desk, symbol, [order for order in open_orders if not order.wanted_gone])


def exposed(desk: "Desk") -> list[str]:
    """Return the symbols with a position or with orders that may trade."""
    active = {symbol for symbol, orders in desk.state.by_symbol.items() if orders}
    return sorted(active.union(held_symbols(desk)))


def held_symbols(desk: "Desk") -> list[str]:
    """Return the symbols with a position of at least one lot."""
    return sorted(symbol for symbol in desk.positions if _held(desk, symbol))


def control(desk: "Desk") -> None:
    """Bring every symbol that is being flattened nearer to its end."""
    for symbol in list(desk.guard.flattening):
        _control(desk, symbol)


def due_ns(desk: "Desk") -> int | None:
    """Return when the next flattening wants to go on, or None."""
    return min(desk.memo.flatten_ns.values(), default=None)


def may_cancel(desk: "Desk", order: Order) -> bool:
    """Tell whether it is time to cancel an order; one whose cancel was refused is given time."""
    if order.wanted_gone or order.oldest(WishKind.CANCEL) is not None:
        return False
    if not order.cancel_refusals:
        return True
    wait_ns = backoff_ns(desk, order.wire_id, order.cancel_refusals)
    return desk.now_ns >= order.cancel_refused_ns + wait_ns


def submit_exit(desk: "Desk", symbol: str, side: Side, quantity: Decimal, role: str) -> int:
    """Send a reduce-only market order for a policy; return its number.

    The caller answers for its size: no limit is asked.
    """
    now, settings, number = desk.now_ns, desk.settings, desk.next_number
    can = desk.capabilities.times_in_force
    in_force = next((one for one in _TIMES_IN_FORCE if one in can), TimeInForce.GTC)
    terms = OrderTerms(
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=OrderType.MARKET,
        time_in_force=in_force,
        reduce_only=True,
    )
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + settings.send_wait_ms * NS_PER_MS,
            role=role,
            reducing=True,
        )
    )
    return number


def _active(desk: "Desk", symbol: str) -> list[Order]:
    return list(desk.state.by_symbol.get(symbol, {}).values())


def _held(desk: "Desk", symbol: str) -> Decimal:
    """Return the position in whole lots, without its sign: what an exit can close."""
    position = desk.positions.get(symbol)
    if position is None:
        return ZERO
    lot = desk.lot(symbol)
    return mul(CONTEXT.divide_int(abs(position.quantity), lot), lot)


def _closing_side(desk: "Desk", symbol: str) -> Side:
    position = desk.positions.get(symbol)
    return Side.SELL if position is not None and position.quantity > 0 else Side.BUY


def _control(desk: "Desk", symbol: str) -> None:
    active, held = _active(desk, symbol), _held(desk, symbol)
    unwanted = [order for order in active if order.role != FLAT]
    if _could_flip(desk, symbol, active, held):
        unwanted = active
    _cancel(desk, symbol, [order for order in unwanted if may_cancel(desk, order)])
    open_figures = _ask_for_figures(desk, symbol)
    if not active and not held and not open_figures:
        desk.memo.flatten_ns.pop(symbol, None)
        desk.out(e.FlattenEnded(at_ns=desk.now_ns, symbol=symbol))
        return
    closing = desk.guard.closings[symbol]
    again = _alert(desk, symbol, closing, active, held)
    if active:
        again = _next_look(desk, again, unwanted)
    elif desk.memo.reconciled and held and _closing_side(desk, symbol) not in open_figures:
        next_ns = _next_exit_ns(desk, symbol, closing)
        if desk.now_ns >= next_ns:
            submit_exit(desk, symbol, _closing_side(desk, symbol), held, FLAT)
        else:
            again = min(again, next_ns)
    desk.memo.flatten_ns[symbol] = again


def _could_flip(desk: "Desk", symbol: str, active: list[Order], held: Decimal) -> bool:
    """Tell whether the exits on their way could close more than is held, as that has changed."""
    side, could = _closing_side(desk, symbol), ZERO
    for order in active:
        if order.role == FLAT:
            if order.terms.side is not side:
                return True
            could = add(could, order.most_open)
    return could > ZERO and sub(could, held) >= desk.lot(symbol)


def _cancel(desk: "Desk", symbol: str, orders: list[Order]) -> None:
    if orders:
        by = desk.guard.flattening[symbol]
        sweeping.sweep(desk, orders, reason=f"flatten {symbol}", by=by, unprotected=True)


def _ask_for_figures(desk: "Desk", symbol: str) -> set[Side]:
    """Return the sides of ended orders whose final figure is still being asked for.

    The confirmation of a cancel may overtake a trade, so that each order that was cut short is
    asked for once more after its end.
    """
    since_ns, sides = desk.guard.closings[symbol].since_ns, set()
    for order in list(desk.state.ended.values()):
        if order.terms.symbol != symbol:
            continue
        is_cut = order.status in {Status.CANCELED, Status.EXPIRED}
        if is_cut and since_ns <= order.completed_ns > order.asked_ns:
            desk.look_up(order, "its final figure, as the position is being closed")
        if not order.is_settled:
            sides.add(order.terms.side)
    return sides


def _next_look(desk: "Desk", at_ns: int, unwanted: list[Order]) -> int:
    """Return when to look again at orders whose cancel was refused and that are given time."""
    if all(order.wanted_gone for order in unwanted):
        return at_ns
    return min(at_ns, desk.now_ns + desk.settings.retry_first_ms * NS_PER_MS)


def _next_exit_ns(desk: "Desk", symbol: str, closing: Closing) -> int:
    """Return when the next exit may go: at once, or some time after one that did not help."""
    last = desk.order(closing.number)
    if last is None or last.status is Status.FILLED:
        return 0
    if last.code != RefusalCode.MARKET_CLOSED:
        tries = 0 if last.filled_quantity else closing.tries - 1
        return last.completed_ns + backoff_ns(desk, f"{FLAT}.{symbol}", tries)
    retry_ns = CLOSED_RETRY_MS * NS_PER_MS
    return retry_ns + (last.completed_ns if is_open(desk, symbol) else desk.now_ns)


def _alert(desk: "Desk", symbol: str, closing: Closing, active: list[Order], held: Decimal) -> int:
    """Tell people of a flattening that takes too long; return when it will next be too long."""
    stuck_ns = closing.since_ns + STUCK_AFTER_MS * NS_PER_MS
    if desk.now_ns >= stuck_ns:
        waits = ", ".join(f"{one.number} ({one.status})" for one in active[:10]) or "none"
        text = (
            f"flattening {symbol} takes long: {held} held, {closing.tries} exits tried, "
            f"orders that may still trade: {waits}; it goes on, look at the broker"
        )
        raise_once(desk, FLATTEN_STUCK, text, symbol)
    return max(stuck_ns, again_ns(desk, FLATTEN_STUCK, symbol))
