"""Which effect follows from which event: a function of the event and the order it left behind."""

from typing import Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.effects import (
    Attached,
    CancelOrder,
    Effect,
    LookupOrder,
    ReplaceOrder,
    SubmitOrder,
)
from holdfast.domain.exposure import is_exit
from holdfast.domain.order import Order
from holdfast.domain.requests import OrderTerms
from holdfast.domain.state import State
from holdfast.domain.wish import Wish, WishKind

# No other event has an effect.
CAUSES: Final = frozenset({e.OrderSubmitted, e.WishSent, e.LookupStarted})


def effect_of(state: State, event: e.AnyEvent) -> Effect | None:
    """Return what has to be done because of an event, or None."""
    if isinstance(event, e.OrderSubmitted):
        if event.rides:
            return None
        return SubmitOrder(
            number=event.number,
            wish=0,
            attempt=1,
            wire_id=state.wire_id_of(event),
            terms=event.terms,
            not_after_ns=event.not_after_ns,
            sent_ns=event.at_ns,
            role=event.role,
            reducing=event.reducing or event.terms.reduce_only,
            link=event.link,
            attached=_attached(state, event.attached),
        )
    if isinstance(event, e.WishSent):
        order = state.order(event.number)
        wish = order.wish(event.wish) if order is not None else None
        return _request(state, order, wish) if order is not None and wish is not None else None
    if isinstance(event, e.LookupStarted):
        order = state.order(event.number)
        return _lookup(order, event.attempt) if order is not None else None
    return None


def _attached(state: State, numbers: tuple[int, ...]) -> tuple[Attached, ...]:
    if not numbers:
        return ()
    orders = [order for number in numbers if (order := state.peek(number)) is not None]
    return tuple(
        Attached(number=one.number, role=one.role, wire_id=one.wire_id, terms=one.asked)
        for one in orders
    )


def _request(state: State, order: Order, wish: Wish) -> Effect:
    wire_id = order.wish_wire_id(wish.wish)
    if wish.kind is WishKind.SUBMIT:
        return SubmitOrder(
            number=order.number,
            wish=wish.wish,
            attempt=wish.attempt,
            wire_id=wire_id,
            terms=order.asked,
            not_after_ns=wish.not_after_ns,
            sent_ns=wish.sent_ns,
            role=order.role,
            reducing=is_exit(order),
            link=order.link,
            attached=_attached(state, order.attached),
        )
    if wish.kind is WishKind.CANCEL:
        return CancelOrder(
            number=order.number,
            wish=wish.wish,
            attempt=wish.attempt,
            wire_id=wire_id,
            orig_wire_id=order.wire_id,
            broker_order_id=order.broker_order_id,
            symbol=order.terms.symbol,
            not_after_ns=wish.not_after_ns,
            sent_ns=wish.sent_ns,
            batch=wish.batch,
        )
    return ReplaceOrder(
        number=order.number,
        wish=wish.wish,
        attempt=wish.attempt,
        wire_id=wire_id,
        orig_wire_id=order.wire_id,
        broker_order_id=order.broker_order_id,
        terms=_terms(order, wish),
        leaves_quantity=wish.leaves,
        not_after_ns=wish.not_after_ns,
        sent_ns=wish.sent_ns,
        reducing=is_exit(order) or _only_lowers(order, wish),
    )


def _only_lowers(order: Order, wish: Wish) -> bool:
    if wish.quantity is None or wish.limit_price is not None or wish.stop_price is not None:
        return False
    return order.quantity is not None and wish.quantity < order.quantity


def _terms(order: Order, wish: Wish) -> OrderTerms:
    names = ("limit_price", "stop_price")
    prices = {n: getattr(wish, n) for n in names if getattr(wish, n) is not None}
    quantity = wish.quantity if wish.quantity is not None else order.quantity
    return msgspec.structs.replace(order.terms, quantity=quantity, **prices)


def _lookup(order: Order, attempt: int) -> LookupOrder:
    wire_ids = [order.wire_id]
    wire_ids += [
        order.wish_wire_id(wish.wish) for wish in order.wishes if wish.kind is WishKind.REPLACE
    ]
    return LookupOrder(
        number=order.number,
        attempt=attempt,
        symbol=order.terms.symbol,
        wire_ids=tuple(wire_ids),
        broker_order_ids=tuple(leg.broker_order_id for leg in order.legs if leg.broker_order_id),
    )
