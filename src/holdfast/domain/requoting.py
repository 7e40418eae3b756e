"""Pegged orders follow their price.

Rule 1: an order moves when that is worth it, no sooner than an interval after the last time, a
bounded number of times; never past its worst price, never on an old quote or a closed market.
Rule 2: where the broker cannot replace, the order is cancelled, and a successor takes over what
is left. It is sent only once the broker, asked after the end, has told the final figure: whatever
overtakes what, the chain never has more open than its order asked for.
Rule 3: whoever wants the order gone, or forbids entries meanwhile, ends the chain.
Rule 4: a move is measured like a replace: what a limit refuses is not done, and recorded once.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.attend import request_cancel
from holdfast.domain.days import is_over, turn_day
from holdfast.domain.exits import closable_by, only_closes
from holdfast.domain.exposure import is_exit
from holdfast.domain.hours import is_open
from holdfast.domain.inputs import Quoted, Replace
from holdfast.domain.order import Order
from holdfast.domain.pricing import peg_price
from holdfast.domain.quotes import Quote, fresh_quote, priced
from holdfast.domain.refusals import record_refusal
from holdfast.domain.replacing import check_change
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import ZERO, Condition, Status, amount, mul, sub
from holdfast.domain.work import NS_PER_MS, anomaly
from holdfast.errors import AmountError, OrderRefused

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Orders of which it is remembered what kept them from moving; beyond them it is recorded anew.
STAYED_MAX: Final = 1_000


def quoted(desk: "Desk", given: Quoted) -> None:
    """Take the latest quotes, and move the orders that follow them."""
    for given_quote in given.quotes:
        before = desk.quotes.get(given_quote.symbol)
        if before is not None:
            if given_quote.at_ns < before.at_ns:
                continue
        elif given_quote.symbol not in desk.instruments:
            continue
        quote = _usable(desk, given_quote)
        if quote.at_ns > desk.now_ns:  # or it would stay fresh for ever
            quote = msgspec.structs.replace(quote, at_ns=desk.now_ns)
        desk.quotes[quote.symbol] = quote
        if desk.state.groups:
            desk.state.groups.stir(quote.symbol)
        followers = desk.state.pegged.get(quote.symbol)
        if followers and desk.memo.reconciled:
            for _, order in sorted(followers.items()):
                _move(desk, order)


def _usable(desk: "Desk", quote: Quote) -> Quote:
    """Return a quote; one without prices for one that cannot be used, which is recorded once."""
    try:
        for price in (quote.bid, quote.ask, quote.last):
            if price is not None:
                amount(price, "price", signed=True)
    except AmountError as error:
        before, empty = desk.quotes.get(quote.symbol), Quote(symbol=quote.symbol, at_ns=quote.at_ns)
        if before is None or before.mark is not None:
            anomaly(desk, "UNUSABLE_QUOTE", f"{quote}: {error}"[:500])
        return empty
    return priced(quote)


def look(desk: "Desk") -> None:
    """Catch up: a price that came too soon after the last move, a successor that had to wait."""
    for order in pegged(desk):
        if order.moving_to is not None:
            desk.touch(order.number)
        else:
            _move(desk, order)


def pegged(desk: "Desk") -> list[Order]:
    """Return the orders that follow a price or that a successor is due for, oldest first."""
    followers = desk.state.pegged.values()
    return [order for _, order in sorted(pair for each in followers for pair in each.items())]


def _move(desk: "Desk", order: Order) -> None:
    """Move an order to its price, if that is due, allowed and worth it."""
    if not _may_move(desk, order):
        return
    quote = fresh_quote(desk, order.terms.symbol)
    price = _target(desk, order, quote)
    if quote is None or price is None or not _is_worth_it(desk, order, price):
        return
    refusal = _refusal(desk, order, price)
    if refusal is not None:
        _stay(desk, order, price, refusal)
        return
    desk.memo.stayed.pop(order.number, None)
    turn_day(desk)
    native = desk.capabilities.native_replace
    desk.out(
        e.RequoteDecided(
            at_ns=desk.now_ns, number=order.number, price=price, quote=quote, native=native
        )
    )
    if native:
        desk.out(
            e.ReplaceRequested(
                at_ns=desk.now_ns,
                number=order.number,
                wish=order.last_wish + 1,
                not_after_ns=desk.now_ns + desk.settings.send_wait_ms * NS_PER_MS,
                limit_price=price,
            )
        )
    else:
        request_cancel(desk, order, by="holdfast", reason=f"moves to {price}")
    desk.touch(order.number)


def _may_move(desk: "Desk", order: Order) -> bool:
    rules, symbol = desk.settings.policies.requote, order.terms.symbol
    last_ns = max(order.created_ns, order.requoted_ns)
    return (
        order.is_working
        and not order.is_waiting
        and order.condition is Condition.NONE
        and desk.now_ns - last_ns >= rules.interval_ms * NS_PER_MS
        and order.requotes < rules.per_order_max
        and _moved_today(desk, symbol) < rules.per_symbol_max
        and (desk.capabilities.native_replace or order.quantity is not None)
        and not _forbidden(desk, order)
        and is_open(desk, symbol)
    )


def _moved_today(desk: "Desk", symbol: str) -> int:
    return 0 if is_over(desk) else desk.guard.day.requotes.get(symbol, 0)


def _forbidden(desk: "Desk", order: Order) -> str:
    """Say what forbids an order of this kind now; empty where nothing does."""
    guard = desk.guard
    if order.terms.symbol in guard.flattening:
        return "the position is being closed"
    if only_closes(desk, order):
        return ""
    if guard.kill is not None:
        return "the kill switch is engaged"
    return "the circuit breaker is open" if guard.breaker.reason else ""


def _refusal(desk: "Desk", order: Order, price: Decimal) -> OrderRefused | None:
    """Return what refuses an order its price, if any limit does."""
    try:
        check_change(desk, order, {"limit_price": price})
    except OrderRefused as refusal:
        return refusal
    return None


def _stay(desk: "Desk", order: Order, price: Decimal, refusal: OrderRefused) -> None:
    """Record why an order stays where it is; not anew with every quote."""
    stayed = desk.memo.stayed
    if stayed.get(order.number) == refusal.code:
        return
    if len(stayed) >= STAYED_MAX:
        stayed.clear()
    stayed[order.number] = refusal.code
    wanted = Replace(client_order_id=order.client_order_id, limit_price=price)
    record_refusal(desk, wanted, refusal)


def _target(desk: "Desk", order: Order, quote: Quote | None) -> Decimal | None:
    """Return the price that the order should have; None where nobody can tell."""
    terms, instrument = order.terms, desk.instruments.get(order.terms.symbol)
    if terms.peg is None or quote is None or instrument is None:
        return None
    return peg_price(terms.peg, terms.side, quote, instrument)


def _is_worth_it(desk: "Desk", order: Order, price: Decimal) -> bool:
    limit, instrument = order.terms.limit_price, desk.instruments[order.terms.symbol]
    if limit is None:
        return False
    least = mul(instrument.tick, Decimal(desk.settings.policies.requote.minimum_ticks))
    distance = abs(sub(price, limit))
    return distance > 0 and distance >= least


def follow(desk: "Desk", order: Order) -> None:
    """Send a successor once its predecessor's cancel is confirmed and its figure is final."""
    if order.moving_to is None:
        return
    reason = _forbidden(desk, order) or _no_need(order)
    if reason:
        desk.out(e.RequoteDropped(at_ns=desk.now_ns, number=order.number, reason=reason))
        return
    unsettled = order.wishes or order.lookup or order.held or order.alive is not None
    if not order.is_terminal or unsettled:
        return
    if order.asked_ns < order.completed_ns:
        desk.look_up(order, "its final figure, before its successor")
    elif desk.memo.reconciled:
        _succeed(desk, order)


def _no_need(order: Order) -> str:
    """Say why an order needs no successor; empty while it does."""
    if not order.is_terminal:
        return "" if order.wanted_gone else f"its cancel was refused: {order.refusal}"[:200]
    return "" if order.status is Status.CANCELED else f"it is {order.status}"


def _succeed(desk: "Desk", order: Order) -> None:
    """Submit what is left at the price of the latest quote, or else of the one that decided."""
    now, settings, quote = desk.now_ns, desk.settings, fresh_quote(desk, order.terms.symbol)
    price, reason = _price_of_successor(desk, order, quote)
    terms = None
    if price is not None:
        terms, reason = _rest(desk, order, price)
    if terms is None:
        desk.out(e.RequoteDropped(at_ns=now, number=order.number, reason=reason[:200]))
        return
    number = desk.next_number
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + settings.send_wait_ms * NS_PER_MS,
            strategy=order.strategy,
            role=order.role,
            reducing=order.reducing,
            succeeds=order.number,
            quote=quote,
        )
    )
    desk.touch(number)


def _price_of_successor(
    desk: "Desk", order: Order, quote: Quote | None
) -> tuple[Decimal | None, str]:
    """Return the latest price that the limits allow, else the decided one; or why it is neither."""
    reason = "it has no price"
    for price in (_target(desk, order, quote), order.moving_to):
        if price is not None:
            refusal = _refusal(desk, order, price)
            if refusal is None:
                return price, ""
            reason = str(refusal)
    return None, reason


def _rest(desk: "Desk", order: Order, price: Decimal) -> tuple[OrderTerms | None, str]:
    """Return the terms of what is left of an order, or why there can be no order of them.

    What is left of an exit is no more than is left to close.
    """
    terms, instrument = order.terms, desk.instruments[order.terms.symbol]
    rest = sub(order.quantity or ZERO, order.filled_quantity)
    if is_exit(order):
        standing = desk.state.exposure.weight(order.number)
        rest = min(rest, instrument.in_lots(closable_by(desk, terms, standing)))
    if rest <= 0:
        return None, "nothing is left of it"
    end_ns = terms.expire_at_ns
    if end_ns is not None and desk.wall_ns >= end_ns:
        return None, "it is past its end"
    try:
        instrument.check_quantity(rest)
        if not is_exit(order):
            instrument.check_notional(rest, price)
    except AmountError as error:
        return None, str(error)
    changed = msgspec.structs.replace(terms, quantity=rest, notional=None, limit_price=price)
    return changed, ""
