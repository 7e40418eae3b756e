"""How an order begins: submitted here, sent past the journal, or placed by somebody else."""

from typing import Any

from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.order import Order
from holdfast.domain.values import Status
from holdfast.domain.wish import Stage, Wish, WishKind


def new_order(event: e.OrderSubmitted, wire_id: str) -> Order:
    """Begin an order: NEW, with its submit on the way."""
    submit = Wish(
        wish=0,
        kind=WishKind.SUBMIT,
        stage=Stage.QUEUED if event.rides else Stage.WAITING,
        sent_ns=event.at_ns,
        due_ns=0 if event.rides else event.deadline_ns,
        not_after_ns=event.not_after_ns,
    )
    return _begun(
        event,
        client_order_id=event.client_order_id or wire_id,
        wire_id=wire_id,
        idempotency_key=event.idempotency_key,
        strategy=event.strategy,
        role=event.role,
        reducing=event.reducing,
        estimate=event.quote.taken(event.terms.side) if event.quote is not None else None,
        succeeds=event.succeeds,
        group=event.group,
        twin=event.twin,
        link=event.link,
        attached=event.attached,
        rides=event.rides,
        wishes=[submit],
    )


def succeed(order: Order, before: Order) -> None:
    """Let an order take over what another left: how often it moved, and how old it is."""
    before.successor, before.moving_to = order.number, None
    order.requotes, order.requoted_ns = before.requotes, before.requoted_ns
    order.began_ns = before.began_ns or before.created_ns


def adopted_order(event: e.OrderAdopted) -> Order:
    """Begin an order that is on its way already, if it is: its submit is to be looked up."""
    submit = Wish(
        wish=0,
        kind=WishKind.SUBMIT,
        stage=Stage.UNKNOWN,
        sent_ns=event.at_ns,
        due_ns=event.at_ns,
    )
    return _begun(
        event,
        client_order_id=event.client_order_id or event.wire_id,
        wire_id=event.wire_id,
        adopted=True,
        strategy=event.strategy,
        wishes=[submit],
    )


def external_order(event: e.ExternalAdopted) -> Order:
    """Begin an order that somebody placed past all desks: it works, and we only follow it."""
    return _begun(
        event,
        submitted_ns=event.at_ns,
        client_order_id=event.client_order_id or event.wire_id,
        wire_id=event.wire_id,
        adopted=True,
        external=True,
        reducing=event.reducing,
        status=Status.OPEN,
        legs=[Leg(broker_order_id=event.broker_order_id)],
    )


def _begun(event: e.OrderSubmitted | e.OrderAdopted | e.ExternalAdopted, **rest: Any) -> Order:
    """Return an order with the terms of its event in force, all of it since then."""
    terms, at_ns = event.terms, event.at_ns
    return Order(
        number=event.number,
        terms=terms,
        asked=terms,
        created_ns=at_ns,
        updated_ns=at_ns,
        quantity=terms.quantity,
        largest=terms.quantity,
        **rest,
    )
