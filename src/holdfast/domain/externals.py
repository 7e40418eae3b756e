"""Orders of the account that no desk placed: followed, counted as exposure, cancellable."""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.exits import fits
from holdfast.domain.inputs import AdoptExternal
from holdfast.domain.reports import Snapshot
from holdfast.domain.requests import OrderTerms
from holdfast.domain.sanity import UnusableError, usable
from holdfast.domain.snapshots import absorb_poll, is_working
from holdfast.domain.values import ZERO, TimeInForce, sub
from holdfast.domain.work import anomaly

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# Broker orders that could not be adopted and have been shown once; beyond it they are shown anew.
STRANGERS_MAX: Final = 1_000


def adopt_external(desk: "Desk", given: AdoptExternal) -> None:
    """Enter an order that somebody placed past all desks, once; the result names it.

    What ended before anybody met it is left to the comparison of positions. What lacks a term or
    trades an undefined symbol becomes an anomaly.
    """
    try:
        snapshot = usable(given.snapshot)
    except UnusableError as error:
        _note_stranger(desk, given.snapshot, "UNUSABLE_REPORT", str(error))
        return
    number, asked_ns = _known(desk, snapshot), given.asked_ns
    if not number:
        if not is_working(snapshot):
            return
        terms = _terms(desk, snapshot)
        if isinstance(terms, str):
            _note_stranger(desk, snapshot, "UNKNOWN_ORDER", terms)
            return
        number, asked_ns = _enter(desk, snapshot, terms), desk.now_ns
    order = desk.state.order(number)
    if order is None:
        text = f"its id {snapshot.wire_id!r} is this journal's, which never gave it out"
        _note_stranger(desk, snapshot, "UNKNOWN_ORDER", text)
        return
    absorb_poll(desk, order, snapshot, asked_ns)
    desk.result(number)
    desk.touch(number)


def _known(desk: "Desk", snapshot: Snapshot) -> int:
    number = desk.state.names.get(f"b:{snapshot.broker_order_id}", 0)
    return number or (desk.owner_of(snapshot.wire_id) if snapshot.wire_id else 0)


def _terms(desk: "Desk", snapshot: Snapshot) -> OrderTerms | str:
    """Return the terms of a broker order, or what is missing of them."""
    side, order_type, quantity = snapshot.side, snapshot.order_type, snapshot.order_quantity
    if not snapshot.broker_order_id:
        return "the broker names no id for it"
    if side is None or order_type is None or quantity is None:
        return "its side, type or quantity is not told"
    if quantity <= 0:
        return f"its quantity is {quantity}"
    if snapshot.symbol not in desk.instruments:
        return f"its symbol {snapshot.symbol!r} is not defined on this desk; define it to adopt it"
    return OrderTerms(
        symbol=snapshot.symbol,
        side=side,
        quantity=quantity,
        order_type=order_type,
        limit_price=snapshot.limit_price,
        stop_price=snapshot.stop_price,
        time_in_force=snapshot.time_in_force or TimeInForce.GTC,
    )


def _enter(desk: "Desk", snapshot: Snapshot, terms: OrderTerms) -> int:
    number, quantity = desk.next_number, terms.quantity or ZERO
    left = max(sub(quantity, snapshot.cumulative or ZERO), ZERO)
    wire_id = snapshot.wire_id or snapshot.broker_order_id
    desk.out(
        e.ExternalAdopted(
            at_ns=desk.now_ns,
            number=number,
            broker_order_id=snapshot.broker_order_id,
            wire_id=wire_id,
            terms=terms,
            client_order_id=_free_name(desk, wire_id, snapshot.broker_order_id, number),
            reducing=fits(desk, terms, left),
        )
    )
    return number


def _free_name(desk: "Desk", wire_id: str, broker_order_id: str, number: int) -> str:
    """Return a name for it that no other order goes by; empty where its wire id will do.

    Another program may call its orders as a caller here calls his: the caller's name stays his.
    """
    if desk.find(wire_id) is None:
        return ""
    if desk.find(broker_order_id) is None:
        return broker_order_id
    return desk.state.wire_id(number)


def _note_stranger(desk: "Desk", snapshot: Snapshot, code: str, text: str) -> None:
    """Record a broker order that cannot be adopted; not anew with every poll that lists it."""
    name, strangers = snapshot.broker_order_id or snapshot.wire_id, desk.memo.strangers
    if name in strangers:
        return
    if len(strangers) >= STRANGERS_MAX:
        strangers.clear()
    strangers[name] = None
    anomaly(desk, code, f"order {name!r} of the account is no order of any desk: {text}"[:500])
