"""What callers ask of a desk: each command is checked whole, then recorded, or refused untouched.

Rule 1: a refused command leaves no trace but its error; it was never half done.
Rule 2: the same client order id or idempotency key with the same request is the first order
again; with another request it is a conflict.
Rule 3: exits pass up to what is left to close (`exits.py`); all else meets the limits first.
"""

from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.attend import want_gone
from holdfast.domain.breaker import note_probe
from holdfast.domain.days import counts_days, turn_day
from holdfast.domain.exits import is_way_out
from holdfast.domain.inputs import (
    Adopt,
    Cancel,
    Define,
    Replace,
    Resolve,
    SetOpeningBalance,
    Submit,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.limits import Entry, check_entry, look_alike
from holdfast.domain.order import Order
from holdfast.domain.persons import check_person
from holdfast.domain.policies import Policies
from holdfast.domain.pricing import check_slippage, price
from holdfast.domain.quotes import Quote, fresh_quote
from holdfast.domain.replacing import REPLACES_OPEN_MAX, change_terms
from holdfast.domain.requests import (
    OrderRequest,
    OrderTerms,
    check_names,
    check_plain,
    check_request,
    check_text,
)
from holdfast.domain.values import ID_LENGTH_MAX, Status, TimeInForce, amount
from holdfast.domain.wanting import release
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    OrderCancellationError,
    OrderStatusError,
    UnknownSymbolError,
    UnsupportedOrderTypeError,
)

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_VERDICTS: Final = ("never_sent", "canceled", "look_again")


def submit(desk: "Desk", command: Submit) -> tuple[int, bool]:
    """Take a new order; return its number, and True where it is one that exists already.

    Raises:
        InputError: the request is not a possible order; see `check_request`. An entry may not be
            worth less than the minimum notional either; an exit may, to get out of what is left.
        UnknownSymbolError: the symbol is not defined on the desk.
        UnsupportedOrderTypeError: the broker or the profile has no such order.
        IdempotencyConflict: its id or key was used for another request.
        OrderRefused: a limit said no; `refusals.CODES` has all of them.
    """
    request, policies = command.request, desk.settings.policies
    if policies.profile == "limit_only":
        check_plain(request)
    instrument = instrument_of(desk, request.symbol)
    found = named(desk, request)
    quote = fresh_quote(desk, request.symbol)
    priced = price(desk, request, instrument, quote, found[0] or found[1])
    terms = check_request(request, instrument, priced)
    check_broker(desk, terms)
    existing = existing_order(request, terms, *found)
    if existing is not None:
        return existing.number, True
    if _looks_again(policies, request):
        pending = look_alike(desk, terms, request.strategy)
        if pending is not None:
            return pending.number, True
    if is_way_out(desk, terms, force=request.force):
        number = _enter(desk, request, terms, quote if terms.peg is not None else None)
        return number, False
    if terms.quantity is not None and terms.limit_price is not None:
        instrument.check_notional(terms.quantity, terms.limit_price)
    check_slippage(terms, policies.pricing.of(request.strategy))
    check_entry(desk, Entry(terms=terms, instrument=instrument, quote=quote))
    number = _enter(desk, request, terms, quote, is_exit=False)
    note_probe(desk, number)
    return number, False


def instrument_of(desk: "Desk", symbol: str) -> Instrument:
    """Return what is known of a symbol; UnknownSymbolError where it is not defined."""
    instrument = desk.instruments.get(symbol)
    if instrument is None:
        known = ", ".join(sorted(desk.instruments)[:10]) or "none"
        raise UnknownSymbolError(
            f"symbol {symbol[:40]!r} is not defined on this desk (defined: {known}); "
            "define its instrument first"
        )
    return instrument


def _looks_again(policies: Policies, request: OrderRequest) -> bool:
    """Tell whether a request is compared with what is pending: a caller's own name rules it out."""
    wanted = policies.limits.look_alike
    if wanted is None:
        wanted = policies.profile == "limit_only"
    is_named = request.client_order_id is not None or request.idempotency_key is not None
    return wanted and not is_named and not request.force


def _enter(
    desk: "Desk",
    request: OrderRequest,
    terms: OrderTerms,
    quote: Quote | None,
    *,
    is_exit: bool = True,
) -> int:
    """Record a new order that passed, and return its number."""
    if counts_days(desk, terms):
        turn_day(desk)
    number, now, settings = desk.next_number, desk.now_ns, desk.settings
    send_wait_ms = request.not_after_ms or settings.send_wait_ms
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + send_wait_ms * NS_PER_MS,
            client_order_id=request.client_order_id or "",
            idempotency_key=request.idempotency_key or "",
            strategy=request.strategy,
            reducing=is_exit,
            forced=request.force and terms.reduce_only,
            quote=quote,
        )
    )
    return number


def check_broker(desk: "Desk", terms: OrderTerms) -> None:
    """Refuse an order that the broker has not; raises UnsupportedOrderTypeError."""
    can = desk.capabilities
    in_force = terms.time_in_force
    emulated = TimeInForce.GTC if in_force is TimeInForce.GTD else in_force
    if terms.order_type not in can.order_types:
        names = ", ".join(sorted(can.order_types))
        raise UnsupportedOrderTypeError(
            f"the broker has no {terms.order_type} orders; it takes {names}"
        )
    if in_force not in can.times_in_force and emulated not in can.times_in_force:
        names = ", ".join(sorted(can.times_in_force))
        raise UnsupportedOrderTypeError(
            f"the broker has no time in force {in_force}; it takes {names}"
        )
    if terms.notional is not None and not can.notional:
        raise UnsupportedOrderTypeError("the broker takes no notional orders; give a quantity")


def named(desk: "Desk", request: OrderRequest) -> tuple[Order | None, Order | None]:
    """Return the orders that have the request's id and its key already."""
    by_id = by_key = None
    if request.client_order_id is not None or request.idempotency_key is not None:
        check_names(request)
    if request.client_order_id:
        if request.client_order_id.startswith(f"{desk.epoch}-"):
            raise InputError(
                f"client_order_id {request.client_order_id!r} begins like this journal's own ids; "
                "choose another"
            )
        by_id = desk.find(request.client_order_id)
    if request.idempotency_key:
        by_key = desk.by_key(request.idempotency_key)
        if by_key is None:
            _check_groups(desk, request.idempotency_key)
    return by_id, by_key


def _check_groups(desk: "Desk", key: str) -> None:
    """Refuse the key of a group that has sent no order yet."""
    groups = desk.state.stored.groups.values()
    found = next((group for group in groups if group.key == key), None)
    if found is not None:
        raise IdempotencyConflict(
            f"idempotency_key {key!r} belongs to group {found.group}; use a new key"
        )


def existing_order(
    request: OrderRequest, terms: OrderTerms, by_id: Order | None, by_key: Order | None
) -> Order | None:
    """Return the order that a request is a repeat of.

    Raises:
        IdempotencyConflict: its id or key was used for another request.
    """
    if by_id is not None and (changed := by_id.differences(terms, request.strategy)):
        raise IdempotencyConflict(
            f"client_order_id {request.client_order_id!r} belongs to another request "
            f"({changed}); use a new id"
        )
    if by_key is not None:
        changed = by_key.differences(terms, request.strategy)
        if by_id is not None and by_id.number != by_key.number:
            changed = f"of client_order_id {by_key.client_order_id!r}"
        if changed:
            raise IdempotencyConflict(
                f"idempotency_key {request.idempotency_key!r} belongs to another request "
                f"({changed}); use a new key"
            )
    return by_id if by_id is not None else by_key


def adopt(desk: "Desk", command: Adopt) -> int:
    """Enter an order that was sent past the journal, unless it is; return its number."""
    known = desk.owner_of(command.wire_id)
    if known:
        return known
    number = desk.next_number
    taken = desk.find(command.client_order_id) is not None
    desk.out(
        e.OrderAdopted(
            at_ns=desk.now_ns,
            number=number,
            wire_id=command.wire_id,
            terms=command.terms,
            client_order_id="" if taken else command.client_order_id,
            strategy=command.strategy,
        )
    )
    return number


def cancel(desk: "Desk", command: Cancel) -> int:
    """Want an order gone; return its number. Asking twice is asking once.

    An order that moved to another price goes on in its successor, which is meant then. An exit of a
    group that somebody cancels is not placed again.

    Raises:
        OrderStatusError: no such order.
        OrderCancellationError: it has ended already.
    """
    order = desk.newest(_known(desk, command.client_order_id))
    by, reason = check_text(command.by, "by"), check_text(command.reason, "reason")
    if order.is_terminal and order.alive is None and order.moving_to is None:
        raise OrderCancellationError(
            f"order {order.client_order_id} is {order.status} already; there is nothing to cancel",
            client_order_id=order.client_order_id,
            code="ALREADY_ENDED",
        )
    release(desk, [order], by, reason)
    want_gone(desk, order, by[:ID_LENGTH_MAX], reason[:200])
    return order.number


def replace(desk: "Desk", command: Replace) -> int:
    """Want other terms for a working order; return its number. No change is no request.

    Raises:
        OrderStatusError: no such order.
        OrderCancellationError: it has ended, is being cancelled, or has too many replaces open.
        OrderRefused: an exit larger than what is left to close, or a limit.
        InputError: terms that the order type, the peg or the instrument does not allow.
    """
    return change_terms(desk, _known(desk, command.client_order_id), command)


def resolve(desk: "Desk", command: Resolve) -> int:
    """Take a person's word on an order; return its number.

    Raises:
        OrderStatusError: no such order.
        InputError: no name or reason, or a verdict that the order's state rules out.
    """
    order = _known(desk, command.client_order_id)
    check_person(command.by, command.reason, "resolving an order")
    if check_text(command.verdict, "verdict") not in _VERDICTS:
        raise InputError(f"verdict is {command.verdict!r}; give one of {', '.join(_VERDICTS)}")
    if command.verdict == "look_again":
        desk.look_up(order, f"asked by {command.by}")
        return order.number
    status = Status.FAILED if command.verdict == "never_sent" else Status.CANCELED
    possible = order.status is Status.NEW if status is Status.FAILED else order.is_working
    if not possible:
        raise InputError(
            f"order {order.client_order_id} is {order.status}; the verdict {command.verdict!r} "
            "does not fit it"
        )
    desk.out(
        e.OrderResolved(
            at_ns=desk.now_ns,
            number=order.number,
            status=status,
            by=command.by,
            reason=command.reason[:500],
        )
    )
    return order.number


def define(desk: "Desk", command: Define) -> None:
    """Make an instrument tradable, or follow its changed terms.

    Raises:
        InputError: it is no instrument.
    """
    if not isinstance(command.instrument, Instrument):
        raise InputError(f"instrument is {command.instrument!r}; build one with Instrument.of")
    if desk.instruments.get(command.instrument.symbol) != command.instrument:
        desk.out(e.InstrumentDefined(at_ns=desk.now_ns, instrument=command.instrument))


def set_opening_balance(desk: "Desk", command: SetOpeningBalance) -> None:
    """Begin a symbol's position with what was there before.

    Raises:
        UnknownSymbolError: the symbol is not defined.
        InputError: the desk has traded the symbol, or has its balance already.
    """
    if check_text(command.symbol, "symbol") not in desk.instruments:
        raise UnknownSymbolError(f"symbol {command.symbol!r} is not defined on this desk")
    if desk.has_traded(command.symbol):
        raise InputError(
            f"{command.symbol} has traded here already; an opening balance can only come first"
        )
    quantity = amount(command.quantity, "quantity", signed=True)
    price = amount(command.price, "price", signed=True)
    desk.out(
        e.OpeningBalanceSet(
            at_ns=desk.now_ns, symbol=command.symbol, quantity=quantity, price=price
        )
    )


def _known(desk: "Desk", client_order_id: str) -> Order:
    order = desk.find(check_text(client_order_id, "client_order_id"))
    if order is None:
        raise OrderStatusError(
            f"no order {client_order_id!r} is known on this desk; check the id",
            client_order_id=client_order_id,
        )
    return order


__all__ = [
    "REPLACES_OPEN_MAX",
    "adopt",
    "cancel",
    "check_broker",
    "define",
    "existing_order",
    "instrument_of",
    "named",
    "replace",
    "resolve",
    "set_opening_balance",
    "submit",
]
