"""What callers ask of a desk: each command is checked whole, then recorded, or refused untouched.

Rule 1: a refused command leaves no trace but its error; it was never half done.
Rule 2: the same client order id or idempotency key with the same request is the first order
again; with another request it is a conflict.
Rule 3: an exit (reduce-only) passes up to the position less what exits on their way could close.
"""

from decimal import Decimal
from typing import Final, Protocol

from holdfast.domain import events as e
from holdfast.domain.attend import request_cancel
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
from holdfast.domain.order import Order, WishKind
from holdfast.domain.positions import Position
from holdfast.domain.requests import OrderRequest, OrderTerms, check_request
from holdfast.domain.values import (
    ID_LENGTH_MAX,
    ZERO,
    OrderType,
    Side,
    Status,
    TimeInForce,
    amount,
    check_id,
    neg,
    sub,
)
from holdfast.domain.work import NS_PER_MS, Work
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    OrderCancellationError,
    OrderRefused,
    OrderStatusError,
    UnknownSymbolError,
    UnsupportedOrderTypeError,
)

# One is on its way and the others wait behind it.
REPLACES_OPEN_MAX: Final = 8


class Books(Work, Protocol):
    """What commands read of a desk, beside what every step lends."""

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments defined on the desk."""
        ...

    @property
    def positions(self) -> dict[str, Position]:
        """The positions by symbol."""
        ...

    @property
    def next_number(self) -> int:
        """The number that the next order gets."""
        ...

    @property
    def epoch(self) -> str:
        """What this journal's wire ids begin with."""
        ...

    def find(self, client_order_id: str) -> Order | None:
        """Return an order by its client order id or wire id."""
        ...

    def owner_of(self, wire_id: str) -> int:
        """Return the number of the order that a wire id belongs to; 0 if it is not this desk's."""
        ...

    def by_key(self, idempotency_key: str) -> Order | None:
        """Return an order by its idempotency key."""
        ...

    def exits(self, symbol: str, side: Side) -> Decimal:
        """Return what reduce-only orders of that side may still trade."""
        ...

    def has_traded(self, symbol: str) -> bool:
        """Tell whether the desk ever had an order or balance in the symbol."""
        ...


def submit(books: Books, command: Submit) -> tuple[int, bool]:
    """Take a new order; return its number, and True where it is one that exists already.

    Raises:
        InputError: the request is not a possible order; see `check_request`.
        UnknownSymbolError: the symbol is not defined on the desk.
        UnsupportedOrderTypeError: the broker has no such order.
        IdempotencyConflict: its id or key was used for another request.
        OrderRefused: an exit larger than what is left to close.
    """
    request = command.request
    instrument = books.instruments.get(request.symbol)
    if instrument is None:
        known = ", ".join(sorted(books.instruments)[:10]) or "none"
        raise UnknownSymbolError(
            f"symbol {request.symbol[:40]!r} is not defined on this desk (defined: {known}); "
            "define its instrument first"
        )
    terms = check_request(request, instrument)
    _check_broker(books, terms)
    existing = _existing(books, request, terms)
    if existing is not None:
        return existing.number, True
    if request.reduce_only and not request.force:
        _check_exit(books, terms, terms.quantity or ZERO, ZERO)
    number = books.next_number
    now, settings = books.now_ns, books.settings
    send_wait_ms = request.not_after_ms or settings.send_wait_ms
    books.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + send_wait_ms * NS_PER_MS,
            client_order_id=request.client_order_id or "",
            idempotency_key=request.idempotency_key or "",
            strategy=request.strategy,
        )
    )
    return number, False


def _check_broker(books: Books, terms: OrderTerms) -> None:
    can = books.capabilities
    emulated = {TimeInForce.GTD: TimeInForce.GTC}
    in_force = terms.time_in_force
    if terms.order_type not in can.order_types:
        names = ", ".join(sorted(can.order_types))
        raise UnsupportedOrderTypeError(
            f"the broker has no {terms.order_type} orders; it takes {names}"
        )
    if not {in_force, emulated.get(in_force, in_force)} & can.times_in_force:
        names = ", ".join(sorted(can.times_in_force))
        raise UnsupportedOrderTypeError(
            f"the broker has no time in force {in_force}; it takes {names}"
        )
    if terms.notional is not None and not can.notional:
        raise UnsupportedOrderTypeError("the broker takes no notional orders; give a quantity")


def _existing(books: Books, request: OrderRequest, terms: OrderTerms) -> Order | None:
    found = None
    if request.client_order_id:
        if request.client_order_id.startswith(f"{books.epoch}-"):
            raise InputError(
                f"client_order_id {request.client_order_id!r} begins like this journal's own ids; "
                "choose another"
            )
        found = books.find(request.client_order_id)
        if found is not None and (changed := found.differences(terms, request.strategy)):
            raise IdempotencyConflict(
                f"client_order_id {request.client_order_id!r} belongs to another request "
                f"({changed}); use a new id"
            )
    if request.idempotency_key:
        by_key = books.by_key(request.idempotency_key)
        if by_key is not None:
            changed = by_key.differences(terms, request.strategy)
            if found is not None and found.number != by_key.number:
                changed = f"of client_order_id {by_key.client_order_id!r}"
            if changed:
                raise IdempotencyConflict(
                    f"idempotency_key {request.idempotency_key!r} belongs to another request "
                    f"({changed}); use a new key"
                )
        found = found if found is not None else by_key
    return found


def _check_exit(books: Books, terms: OrderTerms, quantity: Decimal, standing: Decimal) -> None:
    """Refuse what could close more than is held, counting exits in flight or unknown (P7).

    `standing` is what the order itself, if it exists, counts for among those exits.
    """
    position = books.positions.get(terms.symbol)
    held = position.quantity if position is not None else ZERO
    closable = held if terms.side is Side.SELL else neg(held)
    exits = sub(books.exits(terms.symbol, terms.side), standing)
    closable = sub(max(closable, ZERO), exits)
    if quantity > closable:
        raise OrderRefused(
            f"REDUCE_ONLY_EXCEEDED: quantity={quantity} closable={max(closable, ZERO)} "
            f"position={held}; a smaller exit passes, as does force=True",
            code="REDUCE_ONLY_EXCEEDED",
        )


def adopt(books: Books, command: Adopt) -> int:
    """Enter an order that was sent past the journal, unless it is; return its number."""
    known = books.owner_of(command.wire_id)
    if known:
        return known
    number = books.next_number
    taken = books.find(command.client_order_id) is not None
    books.out(
        e.OrderAdopted(
            at_ns=books.now_ns,
            number=number,
            wire_id=command.wire_id,
            terms=command.terms,
            client_order_id="" if taken else command.client_order_id,
            strategy=command.strategy,
        )
    )
    return number


def cancel(books: Books, command: Cancel) -> int:
    """Want an order gone; return its number. Asking twice is asking once.

    Raises:
        OrderStatusError: no such order.
        OrderCancellationError: it has ended already.
    """
    order = _known(books, command.client_order_id)
    if order.is_terminal and order.alive is None:
        raise OrderCancellationError(
            f"order {order.client_order_id} is {order.status} already; there is nothing to cancel",
            client_order_id=order.client_order_id,
            code="ALREADY_ENDED",
        )
    if order.oldest(WishKind.CANCEL) is None:
        request_cancel(books, order, command.by[:ID_LENGTH_MAX], command.reason[:200])
    return order.number


def replace(books: Books, command: Replace) -> int:
    """Want other terms for a working order; return its number. No change is no request.

    Raises:
        OrderStatusError: no such order.
        OrderCancellationError: it has ended, is being cancelled, or has too many replaces open.
        OrderRefused: an exit larger than what is left to close.
        InputError: terms that the order type or the instrument does not allow.
    """
    order = _known(books, command.client_order_id)
    if order.is_terminal or order.wanted_gone:
        found = order.status if order.is_terminal else "being cancelled"
        raise OrderCancellationError(
            f"order {order.client_order_id} is {found}; its terms can no longer change",
            client_order_id=order.client_order_id,
            code="NOT_REPLACEABLE",
        )
    if not books.capabilities.native_replace:
        raise UnsupportedOrderTypeError("the broker cannot replace orders; cancel and submit anew")
    changes = _changes(books, order, command)
    if not changes:
        return order.number
    if order.terms.reduce_only and changes.get("quantity", ZERO) > (order.quantity or ZERO):
        wanted = sub(changes["quantity"], order.claimed_quantity)
        _check_exit(books, order.terms, wanted, order.most_open)
    if sum(wish.kind is WishKind.REPLACE for wish in order.wishes) >= REPLACES_OPEN_MAX:
        raise OrderCancellationError(
            f"order {order.client_order_id} has {REPLACES_OPEN_MAX} replaces without an answer; "
            "wait for one of them",
            client_order_id=order.client_order_id,
            code="TOO_MANY_REPLACES",
        )
    books.out(
        e.ReplaceRequested(
            at_ns=books.now_ns,
            number=order.number,
            wish=order.last_wish + 1,
            not_after_ns=books.now_ns + books.settings.send_wait_ms * NS_PER_MS,
            **changes,
        )
    )
    return order.number


def _changes(books: Books, order: Order, command: Replace) -> dict[str, Decimal]:
    """Keep of the wanted terms what differs from those in force or already asked for."""
    instrument = books.instruments[order.terms.symbol]
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
        price = amount(value, name)
        instrument.check_price(price, name)
        if price != getattr(last, name):
            changes[name] = price
    if order.terms.order_type is OrderType.MARKET and changes:
        raise InputError("a market order cannot be replaced; cancel it and submit anew")
    return changes


def resolve(books: Books, command: Resolve) -> int:
    """Take a person's word on an order; return its number.

    Raises:
        OrderStatusError: no such order.
        InputError: no name or reason, or a verdict that the order's state rules out.
    """
    order = _known(books, command.client_order_id)
    check_id(command.by, "by")
    if not command.reason.strip():
        raise InputError("resolve needs a reason; say how you know, it is journaled")
    if command.verdict == "look_again":
        books.look_up(order, f"asked by {command.by}")
        return order.number
    status = {"never_sent": Status.FAILED, "canceled": Status.CANCELED}[command.verdict]
    possible = order.status is Status.NEW if status is Status.FAILED else order.is_working
    if not possible:
        raise InputError(
            f"order {order.client_order_id} is {order.status}; the verdict {command.verdict!r} "
            "does not fit it"
        )
    books.out(
        e.OrderResolved(
            at_ns=books.now_ns,
            number=order.number,
            status=status,
            by=command.by,
            reason=command.reason[:500],
        )
    )
    return order.number


def define(books: Books, command: Define) -> None:
    """Make an instrument tradable, or follow its changed terms."""
    if books.instruments.get(command.instrument.symbol) != command.instrument:
        books.out(e.InstrumentDefined(at_ns=books.now_ns, instrument=command.instrument))


def set_opening_balance(books: Books, command: SetOpeningBalance) -> None:
    """Begin a symbol's position with what was there before.

    Raises:
        UnknownSymbolError: the symbol is not defined.
        InputError: the desk has traded the symbol, or has its balance already.
    """
    if command.symbol not in books.instruments:
        raise UnknownSymbolError(f"symbol {command.symbol!r} is not defined on this desk")
    if books.has_traded(command.symbol):
        raise InputError(
            f"{command.symbol} has traded here already; an opening balance can only come first"
        )
    quantity = amount(command.quantity, "quantity", signed=True)
    price = amount(command.price, "price", signed=True)
    books.out(
        e.OpeningBalanceSet(
            at_ns=books.now_ns, symbol=command.symbol, quantity=quantity, price=price
        )
    )


def _known(books: Books, client_order_id: str) -> Order:
    order = books.find(client_order_id)
    if order is None:
        raise OrderStatusError(
            f"no order {client_order_id!r} is known on this desk; check the id",
            client_order_id=client_order_id,
        )
    return order


__all__ = [
    "REPLACES_OPEN_MAX",
    "Books",
    "adopt",
    "cancel",
    "define",
    "replace",
    "resolve",
    "set_opening_balance",
    "submit",
]
