"""Other terms for a working order.

Rule: what only reduces always passes; a change that adds, or moves the price, is checked like the
order it makes, without counting twice what the order weighs already.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.exits import check_exit, fits
from holdfast.domain.exposure import is_exit
from holdfast.domain.group import EXIT, STOP, TARGET, Group
from holdfast.domain.inputs import Replace
from holdfast.domain.limits import Entry, check_entry
from holdfast.domain.order import Order
from holdfast.domain.quotes import fresh_quote
from holdfast.domain.values import ZERO, OrderType, Side, amount, sub
from holdfast.domain.wanting import move_exit
from holdfast.domain.wish import WishKind
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import InputError, OrderCancellationError, UnsupportedOrderTypeError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# One is on its way and the others wait behind it.
REPLACES_OPEN_MAX: Final = 8


def change_terms(desk: "Desk", order: Order, command: Replace) -> int:
    """Want other terms for a working order; return its number. No change is no request.

    Raises:
        OrderCancellationError: it has ended, is being cancelled, or has too many replaces open.
        OrderRefused: an exit larger than what is left to close, or a limit.
        InputError: terms that the order type, the peg or the instrument does not allow.
    """
    group = desk.state.groups.get(order.group) if order.group else None
    is_exit_of_group = group is not None and _is_placed_by(group, order)
    _check_replaceable(desk, order, emulated=is_exit_of_group)
    changes = _changes(desk, order, command)
    if not changes:
        return order.number
    if group is not None and is_exit_of_group:
        move_exit(desk, group, order, changes)
        return order.number
    if group is not None and "limit_price" in changes:
        check_entry_price(group, order, changes["limit_price"])
    opens = check_change(desk, order, changes)
    if sum(wish.kind is WishKind.REPLACE for wish in order.wishes) >= REPLACES_OPEN_MAX:
        raise OrderCancellationError(
            f"order {order.client_order_id} has {REPLACES_OPEN_MAX} replaces without an answer; "
            "wait for one of them",
            client_order_id=order.client_order_id,
            code="TOO_MANY_REPLACES",
        )
    desk.out(
        e.ReplaceRequested(
            at_ns=desk.now_ns,
            number=order.number,
            wish=order.last_wish + 1,
            not_after_ns=desk.now_ns + desk.settings.send_wait_ms * NS_PER_MS,
            opens=opens,
            **changes,
        )
    )
    return order.number


def _is_placed_by(group: Group, order: Order) -> bool:
    """Tell whether a group places an order, and places it again, at prices that it wants."""
    wanted = group.slot(EXIT).exit if order.role == EXIT else None
    rests = wanted is not None and wanted.limit_price is not None
    return rests or order.role in {STOP, TARGET}


def check_entry_price(group: Group, order: Order, price: Decimal) -> None:
    """Refuse an entry a price beyond the stop or the target that it is to have.

    Raises:
        InputError: the price lies there.
    """
    for slot in group.wanted:
        wanted = slot.exit
        assert wanted is not None
        bound = wanted.stop_price if slot.role == STOP else wanted.limit_price
        below = (order.terms.side is Side.BUY) is (slot.role == STOP)
        if bound is not None and ((price <= bound) if below else (price >= bound)):
            raise InputError(
                f"limit_price is {price}, and the {slot.role} of group {group.group} is at "
                f"{bound}; the entry must lie between its stop and its target"
            )


def _check_replaceable(desk: "Desk", order: Order, *, emulated: bool) -> None:
    if order.is_terminal or order.wanted_gone:
        found = order.status if order.is_terminal else "being cancelled"
        raise OrderCancellationError(
            f"order {order.client_order_id} is {found}; its terms can no longer change",
            client_order_id=order.client_order_id,
            code="NOT_REPLACEABLE",
        )
    if not desk.capabilities.native_replace and not emulated:
        raise UnsupportedOrderTypeError("the broker cannot replace orders; cancel and submit anew")


def _changes(desk: "Desk", order: Order, command: Replace) -> dict[str, Decimal]:
    """Keep of the wanted terms what differs from those in force or already asked for."""
    instrument = desk.instruments[order.terms.symbol]
    last = order.latest_terms()
    changes: dict[str, Decimal] = {}
    if command.quantity is not None:
        quantity = amount(command.quantity, "quantity")
        instrument.check_quantity(quantity)
        if quantity != last.quantity:
            changes["quantity"] = quantity
    for name in ("limit_price", "stop_price"):
        value = getattr(command, name)
        if value is None:
            continue
        if getattr(order.terms, name) is None:
            raise InputError(
                f"a {order.terms.order_type} order has no {name} to replace with {value!r}"
            )
        if order.terms.peg is not None:
            raise InputError(
                f"the order follows the {order.terms.peg.to}, so that {name} {value!r} would not "
                "last; cancel it and submit anew"
            )
        price = amount(value, name)
        instrument.check_price(price, name)
        if price != getattr(last, name):
            changes[name] = price
    if order.terms.order_type is OrderType.MARKET and changes:
        raise InputError("a market order cannot be replaced; cancel it and submit anew")
    return changes


def check_change(desk: "Desk", order: Order, changes: dict[str, Decimal]) -> bool:
    """Refuse a change that a limit forbids; tell whether it makes an entry of an exit.

    Raises:
        OrderRefused: an exit larger than what is left to close, or a limit.
    """
    standing = desk.state.exposure.weight(order.number)
    grows = changes.get("quantity", ZERO) > (order.quantity or ZERO)
    if order.terms.reduce_only:
        if grows:
            wanted = sub(changes["quantity"], order.filled_quantity)
            check_exit(desk, order.terms, wanted, standing)
        return False
    if not grows and (is_exit(order) or _only_reduces(order, changes)):
        return False
    terms = msgspec.structs.replace(order.latest_terms(), **changes)
    left = sub(terms.quantity or ZERO, order.filled_quantity)
    if is_exit(order) and fits(desk, terms, left, standing):
        return False
    entry = Entry(
        terms=terms,
        instrument=desk.instruments[terms.symbol],
        quote=fresh_quote(desk, terms.symbol),
        filled=order.filled_quantity,
        standing=standing,
    )
    check_entry(desk, entry, is_new=False)
    return is_exit(order)


def _only_reduces(order: Order, changes: dict[str, Decimal]) -> bool:
    """Tell whether an entry that does not grow costs no more at its new price."""
    if "stop_price" in changes:
        return False
    price, limit = changes.get("limit_price"), order.terms.limit_price
    if price is None or limit is None:
        return price is None
    return order.terms.side is Side.BUY and price <= limit
