"""Closing a position: cancel what is open, confirm, exit exactly what is left.

Rule 1: level-triggered: `control` compares what a symbol holds with what could still trade in it,
and may run any number of times. It needs no memory but the events.
Rule 2: it never flips: one exit at a time, for no more than is held less what any other order on
its side could still close (one of unknown outcome could), and only once no ended order's figure on
that side is in doubt. Orders that add to the position are given a moment to go, and no more.
Rule 3: it never gives up; it slows down and alerts. A person may stop it.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain import sweeping
from holdfast.domain.alerts import again_ns, raise_once
from holdfast.domain.exit_orders import submit_exit
from holdfast.domain.guard import FLAT, Closing
from holdfast.domain.hours import retry_ns
from holdfast.domain.inputs import Flatten, StopFlatten
from holdfast.domain.order import Order
from holdfast.domain.packing import ending
from holdfast.domain.persons import check_person
from holdfast.domain.reports import RefusalCode
from holdfast.domain.requests import check_text
from holdfast.domain.values import CONTEXT, ZERO, Side, Status, add, mul, sub
from holdfast.domain.wish import WishKind
from holdfast.domain.work import NS_PER_MS, backoff_ns
from holdfast.errors import InputError, UnknownSymbolError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

FLATTEN_STUCK: Final = "FLATTEN_STUCK"
# A flattening that takes longer wants a person.
STUCK_AFTER_MS: Final = 30_000
# An exit with a limit price that has not traded by then gets another price.
LIMIT_PATIENCE_MS: Final = 5_000
_CUT_SHORT: Final = frozenset({Status.CANCELED, Status.EXPIRED})


def flatten(desk: "Desk", given: Flatten) -> None:
    """Want positions closed; the result names the orders that are cancelled for it.

    Raises:
        InputError: no name or no reason.
        UnknownSymbolError: the symbol is not defined on the desk.
    """
    check_person(given.by, given.reason, "flattening")
    _check_symbol(desk, given.symbol)
    symbols = [given.symbol] if given.symbol else exposed(desk)
    open_orders = [order for symbol in symbols for order in _active(desk, symbol)]
    desk.result(*sorted(order.number for order in open_orders))
    start(desk, symbols, given.by, given.reason[:200])


def stop(desk: "Desk", given: StopFlatten) -> None:
    """Want positions closed no further; the result names the exits that are cancelled for it.

    What else was cancelled stays so. Where nothing is being flattened, nothing happens.

    Raises:
        InputError: no name or no reason, or the kill switch demands it.
        UnknownSymbolError: the symbol is not defined on the desk.
    """
    check_person(given.by, given.reason, "stopping a flattening")
    _check_symbol(desk, given.symbol)
    kill = desk.guard.kill
    if kill is not None and kill.action == "flatten":
        raise InputError(
            f"the kill switch, engaged by {kill.by}, flattens what it finds; release it first"
        )
    symbols = [s for s in desk.guard.flattening if given.symbol in {"", s}]
    exits = [order for symbol in symbols for order in _active(desk, symbol) if order.role == FLAT]
    desk.result(*(order.number for order in exits))
    wanted = [order for order in exits if not order.wanted_gone]
    sweeping.sweep(desk, wanted, reason="flattening stopped", by=given.by, unprotected=True)
    for symbol in symbols:
        _end(desk, symbol, given.by, given.reason[:200])


def start(desk: "Desk", symbols: Iterable[str], by: str, reason: str) -> None:
    """Begin to flatten symbols that are not being flattened, and cancel what is open there.

    Another person's word for one that is being flattened is recorded, and starts nothing anew.
    """
    wanted, flattening = list(symbols), desk.guard.flattening
    began = {symbol for symbol in wanted if symbol not in flattening}
    if began:
        _recall_cut_short(desk, began)
    for symbol in wanted:
        if flattening.get(symbol) != by:
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


def _check_symbol(desk: "Desk", symbol: object) -> None:
    name = check_text(symbol, "symbol")
    if name and name not in desk.instruments:
        raise UnknownSymbolError(
            f"symbol {name[:40]!r} is not defined on this desk; name one that is, or none for all"
        )


def _active(desk: "Desk", symbol: str) -> list[Order]:
    return list(desk.state.by_symbol.get(symbol, {}).values())


def _held(desk: "Desk", symbol: str) -> Decimal:
    """Return the position in whole lots, without its sign: what an exit can close."""
    position = desk.positions.get(symbol)
    return ZERO if position is None else _in_lots(desk, symbol, abs(position.quantity))


def _in_lots(desk: "Desk", symbol: str, quantity: Decimal) -> Decimal:
    lot = desk.lot(symbol)
    return mul(CONTEXT.divide_int(quantity, lot), lot)


def _closing_side(desk: "Desk", symbol: str) -> Side:
    position = desk.positions.get(symbol)
    return Side.SELL if position is not None and position.quantity > 0 else Side.BUY


def _control(desk: "Desk", symbol: str) -> None:
    active, held = _active(desk, symbol), _held(desk, symbol)
    unwanted = [order for order in active if order.role != FLAT or _is_too_old(desk, order)]
    if _could_flip(desk, symbol, active, held):
        unwanted = active
    _cancel(desk, symbol, [order for order in unwanted if may_cancel(desk, order)])
    open_figures = _ask_for_figures(desk, symbol)
    if not active and not held and not open_figures:
        _end(desk, symbol)
        return
    again = _alert(desk, symbol, active, held)
    if not all(order.wanted_gone for order in unwanted):
        # Their cancel was refused, and they are given time.
        again = min(again, desk.now_ns + desk.settings.retry_first_ms * NS_PER_MS)
    if desk.memo.reconciled and _closing_side(desk, symbol) not in open_figures:
        again = min(again, _exit(desk, symbol, active))
    desk.memo.flatten_ns[symbol] = max(again, desk.now_ns + NS_PER_MS)


def _end(desk: "Desk", symbol: str, by: str = "", reason: str = "") -> None:
    desk.memo.flatten_ns.pop(symbol, None)
    desk.out(e.FlattenEnded(at_ns=desk.now_ns, symbol=symbol, by=by, reason=reason))


def _exit(desk: "Desk", symbol: str, active: list[Order]) -> int:
    """Send the next exit if it is time to; return when to look again."""
    later_ns = desk.now_ns + STUCK_AFTER_MS * NS_PER_MS
    out = [order for order in active if order.role == FLAT]
    if out:
        old_ns = [_old_ns(order) for order in out if order.terms.limit_price is not None]
        return min((at_ns for at_ns in old_ns if at_ns > desk.now_ns), default=later_ns)
    quantity = _closable(desk, symbol, active)
    if not quantity:
        return later_ns
    closing = desk.guard.closings[symbol]
    next_ns = _next_exit_ns(desk, symbol, closing)
    if active:
        next_ns = max(next_ns, closing.since_ns + desk.settings.ack_wait_ms * NS_PER_MS)
    if desk.now_ns < next_ns:
        return next_ns
    # Without a quote there may be none yet: the next one that arrives brings it about.
    submit_exit(desk, symbol, _closing_side(desk, symbol), quantity, FLAT)
    return desk.now_ns + LIMIT_PATIENCE_MS * NS_PER_MS


def _closable(desk: "Desk", symbol: str, active: list[Order]) -> Decimal:
    """Return what is held less what orders on the closing side could still close, in lots."""
    side, position = _closing_side(desk, symbol), desk.positions.get(symbol)
    left = abs(position.quantity) if position is not None else ZERO
    for order in active:
        if order.terms.side is side:
            if order.quantity is None:  # sized by notional: nobody can tell
                return ZERO
            left = sub(left, order.most_open)
    return _in_lots(desk, symbol, max(left, ZERO))


def _could_flip(desk: "Desk", symbol: str, active: list[Order], held: Decimal) -> bool:
    """Tell whether an exit on its way could close more than is held, as that has changed."""
    side, could, exits = _closing_side(desk, symbol), ZERO, False
    for order in active:
        if order.role == FLAT and order.terms.side is not side:
            return True
        if order.terms.side is side:
            exits = exits or order.role == FLAT
            could = add(could, order.most_open)
    return exits and sub(could, held) >= desk.lot(symbol)


def _old_ns(order: Order) -> int:
    """Return when an exit has waited long enough at a price that the market may have left."""
    return order.created_ns + LIMIT_PATIENCE_MS * NS_PER_MS


def _is_too_old(desk: "Desk", order: Order) -> bool:
    return order.terms.limit_price is not None and desk.now_ns >= _old_ns(order)


def _cancel(desk: "Desk", symbol: str, orders: list[Order]) -> None:
    if orders:
        by = desk.guard.flattening[symbol]
        sweeping.sweep(desk, orders, reason=f"flatten {symbol}", by=by, unprotected=True)


def _ask_for_figures(desk: "Desk", symbol: str) -> set[Side]:
    """Return the sides of ended orders whose final figure is still being asked for.

    The confirmation of a cancel may overtake a trade, so that each order that was cut short is
    asked for once more after its end, also where that was just before the flattening began.
    """
    sides: set[Side] = set()
    since_ns = desk.guard.closings[symbol].since_ns - desk.settings.quiet_ms * NS_PER_MS
    for order in list(desk.state.ended.values()):
        if order.terms.symbol != symbol:
            continue
        if order.status in _CUT_SHORT and since_ns <= order.completed_ns > order.asked_ns:
            desk.look_up(order, "its final figure, as the position is being closed")
        if not order.is_settled:
            sides.add(order.terms.side)
    return sides


def _recall_cut_short(desk: "Desk", symbols: set[str]) -> None:
    """Unpack the orders whose end is so recent that a trade may be told after it."""
    since_ns = desk.now_ns - desk.settings.quiet_ms * NS_PER_MS
    for number, body in list(desk.state.finished.items()):
        ended = ending(body)
        is_recent = ended.completed_ns >= since_ns and ended.status in _CUT_SHORT
        if is_recent and ended.terms.symbol in symbols:
            desk.state.order(number)


def _next_exit_ns(desk: "Desk", symbol: str, closing: Closing) -> int:
    """Return when the next exit may go: at once, or some time after one that did not help."""
    last = desk.order(closing.number)
    if last is None or last.status is Status.FILLED:
        return 0
    if last.code != RefusalCode.MARKET_CLOSED:
        tries = 0 if last.filled_quantity else closing.tries - 1
        return last.completed_ns + backoff_ns(desk, f"{FLAT}.{symbol}", tries)
    return retry_ns(desk, symbol, last.completed_ns)


def _alert(desk: "Desk", symbol: str, active: list[Order], held: Decimal) -> int:
    """Tell people of a flattening that takes too long; return when it will next be too long."""
    closing = desk.guard.closings[symbol]
    stuck_ns = closing.since_ns + STUCK_AFTER_MS * NS_PER_MS
    if desk.now_ns >= stuck_ns:
        waits = ", ".join(f"{one.number} ({one.status})" for one in active[:10]) or "none"
        text = (
            f"flattening {symbol} takes long: {held} held, {closing.tries} exits tried, "
            f"orders that may still trade: {waits}; it goes on, look at the broker and its quotes"
        )
        raise_once(desk, FLATTEN_STUCK, text, symbol)
    return max(stuck_ns, again_ns(desk, FLATTEN_STUCK, symbol))
