"""Orders around a position: protecting it, closing it, and cancelling what surrounds it."""

from collections.abc import Collection
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain import events as e
from holdfast.domain.commands import instrument_of
from holdfast.domain.exits import protects
from holdfast.domain.exposure import is_exit
from holdfast.domain.group import ENTRY, EXIT, STOP, TARGET, Cause, Group, Phase
from holdfast.domain.group_asking import (
    aligned,
    by_key,
    check_closable,
    check_exits,
    check_key,
    check_market,
    check_moved,
    check_side,
    key_conflict,
    open_group,
)
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.group_phases import change_phase
from holdfast.domain.inputs import (
    CancelPositionOrders,
    CloseGroup,
    ClosePosition,
    Protect,
    SeenElsewhere,
)
from holdfast.domain.order import Order
from holdfast.domain.persons import check_person
from holdfast.domain.quotes import fresh_quote
from holdfast.domain.refusals import refused
from holdfast.domain.requests import check_strategy, check_text
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.shares import closable, exits_of, rests, shares
from holdfast.domain.sweeping import sweep
from holdfast.domain.values import ID_LENGTH_MAX, ZERO, OrderType, Side, add, amount
from holdfast.domain.wanting import call_off, want_exit
from holdfast.errors import (
    InputError,
    OrderStatusError,
    UnsupportedOrderTypeError,
)

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

KINDS: Final = (STOP, TARGET, ENTRY)
# The quantity of protection that follows its position.
ALL: Final = "all"


def protect(desk: "Desk", given: Protect) -> None:
    """Want a stop or a target for a position; the result names the group that sees to it.

    One group protects what nobody else does: asked again, it changes what it wants. It keeps its
    quantity unless another one is named; `all` lets it follow the position.

    Raises:
        UnknownSymbolError: the symbol is not defined on the desk.
        InputError: there is no position, or the price is on its wrong side, or past the other exit.
        UnsupportedOrderTypeError: the broker has no such order, or not both for the same units.
        OrderRefused: `REDUCE_ONLY_EXCEEDED`: other groups and exits look after that much of it.
    """
    instrument = instrument_of(desk, given.symbol)
    side = _closing_side(desk, given.symbol)
    wanted = _wanted(desk, given, side)
    quantity = None
    if given.quantity is not None and given.quantity != ALL:
        quantity = amount(given.quantity, "quantity")
        instrument.check_quantity(quantity)
    _check_price_side(desk, given.symbol, side, wanted)
    group = _protector(desk, given.symbol, side)
    roles = (
        {given.role} | {slot.role for slot in group.wanted} if group is not None else {given.role}
    )
    can = desk.capabilities
    if len(roles) > 1 and not (can.exits_share_quantity or can.native_oco):
        raise UnsupportedOrderTypeError(
            "the broker lets no stop and target rest for the same units; cancel the other one first"
        )
    if group is None:
        _check_free(desk, given.symbol, side, quantity)
        group = open_group(
            desk,
            contingency="position",
            symbol=given.symbol,
            side=side,
            exits=(wanted,),
            quantity=quantity,
            strategy=check_strategy(given.strategy),
            by=check_text(given.by, "by"),
        )
    else:
        _change(desk, group, wanted, given, quantity)
    desk.result_group(group.group)


def _change(
    desk: "Desk", group: Group, wanted: ExitTerms, given: Protect, quantity: Decimal | None
) -> None:
    """Let a group want other prices, and another quantity if one is named: of what is left now."""
    name = check_text(given.by, "by")[:ID_LENGTH_MAX]
    check_moved(desk, group, wanted)
    total = group.quantity
    if given.quantity is not None and _follows_size(group, wanted.role):
        _check_same_size(desk, group, wanted.role, given.quantity, quantity)
    elif given.quantity == ALL:
        total = None
    elif quantity is not None:
        check_closable(desk, group.symbol, group.side, quantity, beside=group.group)
        total = add(quantity, add(group.exited, group.written_off))
    if group.slot(wanted.role).exit != wanted:
        want_exit(desk, group, wanted.role, wanted, by=name, reason="asked for")
    if group.quantity != total:
        changed = e.GroupQuantityChanged(
            at_ns=desk.now_ns, group=group.group, quantity=total, by=name, reason="asked for"
        )
        desk.out(changed)


def _follows_size(group: Group, role: str) -> bool:
    """Tell whether a role is for as much as the other one: a target, or what is new beside one."""
    others = [slot for slot in group.wanted if slot.role != role]
    return bool(others) and (role == TARGET or group.slot(role).exit is None)


def _check_same_size(
    desk: "Desk", group: Group, role: str, named: object, quantity: Decimal | None
) -> None:
    """Refuse another size than the other exit has, which would take or lose units with it."""
    guarded = shares(desk, group.symbol).get(group.group, ZERO)
    if quantity != guarded and (quantity is not None or group.quantity is not None):
        raise InputError(
            f"quantity is {named}, and the other exit of group {group.group} is for {guarded} "
            f"{group.symbol}: a {role} beside it is for as much, leave the quantity out; to sell "
            "or buy back a part at a price, close_position takes a quantity and a limit_price"
        )


def _closing_side(desk: "Desk", symbol: str) -> Side:
    position = desk.positions.get(symbol)
    held = position.quantity if position is not None else ZERO
    side = Side.SELL if held > 0 else Side.BUY
    if not held or not closable(desk, symbol, side):
        raise InputError(f"there is no position in {symbol} (it is {held}); nothing can be closed")
    return side


def _wanted(desk: "Desk", given: Protect, side: Side) -> ExitTerms:
    """Return what is wanted of the role, its prices on the tick."""
    instrument = instrument_of(desk, given.symbol)
    prices = {
        name: aligned(value, name, instrument)
        for name in ("stop_price", "limit_price", "trail")
        if (value := getattr(given, name)) is not None
    }
    if given.role == TARGET:
        if set(prices) != {"limit_price"}:
            raise InputError("a target has a limit_price and nothing else; give just that")
    elif given.role != STOP:
        raise InputError(f"role is {given.role!r}; give stop or target")
    elif set(prices) == {"trail", "limit_price"}:
        raise InputError(
            "a stop that follows the market by a trail has no limit_price; leave it out"
        )
    elif ("stop_price" in prices) is ("trail" in prices):
        raise InputError("a stop is at a stop_price or follows the market by a trail; give one")
    wanted = ExitTerms(role=given.role, **prices)
    check_exits(desk, (wanted,), side)
    return wanted


def _check_price_side(desk: "Desk", symbol: str, side: Side, wanted: ExitTerms) -> None:
    """A stop lies where the position loses and a target where it gains, seen from the market.

    Without a quote its average price stands for the market; a stop may lie at it.
    """
    quote, average = fresh_quote(desk, symbol), desk.positions[symbol].average_price
    check_market(side, (wanted,), quote)
    if (quote is not None and quote.mark is not None) or wanted.stop_price == average:
        return
    check_side(
        side,
        wanted,
        average,
        "the average price while nobody quotes the market (to keep a gain, give the desk quotes, "
        "or move a stop that works by replace_order)",
    )


def _protector(desk: "Desk", symbol: str, side: Side) -> Group | None:
    """Return the group that follows a position, if there is one."""
    for group in desk.state.groups.of(symbol):
        live = group.phase in {Phase.PROTECTING, Phase.PROTECTED}
        if group.contingency == "position" and group.side is side and live:
            return group
    return None


def _check_free(desk: "Desk", symbol: str, side: Side, quantity: Decimal | None) -> None:
    check_closable(desk, symbol, side, quantity if quantity is not None else desk.lot(symbol))


def close_position(desk: "Desk", given: ClosePosition) -> None:
    """Close a position or a part of it; the result names the group that sees to it.

    What protects it shrinks first, the newest group first, so that the exit never closes twice.

    Raises:
        UnknownSymbolError: the symbol is not defined on the desk.
        InputError: there is no position, or less than that of it.
        IdempotencyConflict: its key was used for another request.
    """
    instrument = instrument_of(desk, given.symbol)
    price = given.limit_price
    limit = None if price is None else aligned(price, "limit_price", instrument)
    exits = (ExitTerms(role=EXIT, limit_price=limit),)
    key = check_key(given.idempotency_key)
    known = by_key(desk, key)
    if known is not None:
        _check_repeat(given, known, exits)
        desk.result_group(known.group, repeat=True)
        return
    side = _closing_side(desk, given.symbol)
    held = closable(desk, given.symbol, side)
    quantity = held if given.quantity is None else amount(given.quantity, "quantity")
    instrument.check_quantity(quantity)
    taken = _being_closed(desk, given.symbol, side)
    if quantity > held - taken:
        raise refused(
            "REDUCE_ONLY_EXCEEDED",
            "ask for less",
            symbol=given.symbol,
            quantity=quantity,
            position=held,
            being_closed=taken,
        )
    if limit is not None:
        _check_beside(desk, given.symbol, side, quantity)
    group = open_group(
        desk,
        contingency="close",
        symbol=given.symbol,
        side=side,
        exits=exits,
        quantity=quantity,
        strategy=check_strategy(given.strategy),
        key=key,
        by=check_text(given.by, "by"),
        reason=check_text(given.reason, "reason") or "asked to close",
    )
    desk.result_group(group.group)


def _check_repeat(given: ClosePosition, known: Group, exits: tuple[ExitTerms, ...]) -> None:
    """Refuse a key that belongs to another request; all of a position is whatever it was then."""
    quantity = known.quantity
    if given.quantity is not None:
        quantity = amount(given.quantity, "quantity")
    was = (known.contingency, known.symbol, known.quantity, known.asked)
    if was != ("close", given.symbol, quantity, exits):
        raise key_conflict(known.key)


def _check_beside(desk: "Desk", symbol: str, side: Side, quantity: Decimal) -> None:
    """Refuse an exit that would rest in the place of what protects the same units."""
    if desk.capabilities.exits_share_quantity:
        return
    given, free = shares(desk, symbol), closable(desk, symbol, side)
    for group in desk.state.groups.of(symbol):
        free -= given[group.group] if group.side is side else ZERO
    for order in exits_of(desk, symbol, side):
        free -= order.most_open if not order.group else ZERO
    if quantity > free:
        raise UnsupportedOrderTypeError(
            f"the broker lets no limit order rest beside the stop of the same units, and {free} of "
            f"{quantity} {symbol} have none; close at the market, or cancel the stop first"
        )


def _being_closed(desk: "Desk", symbol: str, side: Side) -> Decimal:
    given = shares(desk, symbol)
    total = ZERO
    for group in desk.state.groups.of(symbol):
        if group.contingency == "close" and group.side is side and not rests(desk, group):
            total += given[group.group]
    return total


def cancel_position_orders(desk: "Desk", given: CancelPositionOrders) -> None:
    """Cancel stops, targets or entries of a symbol; the result names the orders.

    What is closing at this moment is neither. Where nothing is left to guard what an entry fills,
    the entry goes as well.

    Raises:
        UnknownSymbolError: the symbol is not defined on the desk.
        InputError: a kind that there is not.
    """
    instrument_of(desk, given.symbol)
    by, reason = check_text(given.by, "by"), check_text(given.reason, "reason")
    kinds = check_kinds(given.kinds)
    reason = reason or "cancel position orders"
    orders = [
        order
        for order in desk.state.by_symbol.get(given.symbol, {}).values()
        if _kind(desk, order) in kinds
    ]
    for group in desk.state.groups.of(given.symbol):
        for slot in group.wanted:
            if slot.role in kinds:
                call_off(desk, group, slot.role, by, reason)
        entry = desk.state.order(group.entry) if group.entry in group.live else None
        if entry is not None and entry.wanted_gone and entry not in orders:
            orders.append(entry)
    sweep(desk, orders, reason=reason, by=by, unprotected=STOP in kinds)
    desk.result(*(order.number for order in orders))


def check_kinds(kinds: object) -> tuple[str, ...]:
    """Return the kinds of orders around a position that are named, by one word or by several.

    Raises:
        InputError: none is named, or one that there is not.
    """
    named = (kinds,) if isinstance(kinds, str) else kinds
    if not isinstance(named, Collection) or not named:
        raise InputError(f"kinds is {kinds!r}; give some of {', '.join(KINDS)}")
    for kind in named:
        if kind not in KINDS:
            raise InputError(f"kinds has {kind!r}; give some of {', '.join(KINDS)}")
    return tuple(named)


def _kind(desk: "Desk", order: Order) -> str:
    """Return what an order is around a position; empty for one by which somebody is closing."""
    if order.role in {STOP, TARGET}:
        return order.role
    if not (is_exit(order) or protects(desk, order)):
        return ENTRY
    if order.role or order.terms.order_type is OrderType.MARKET:
        return ""
    return STOP if order.terms.order_type in UNTRIGGERED else TARGET


def close_group(desk: "Desk", given: CloseGroup) -> None:
    """Cancel what works of a group and close what it holds; the result names it.

    Raises:
        OrderStatusError: there is no such group.
        InputError: no name or no reason.
    """
    check_person(given.by, given.reason, "closing a group")
    group = desk.state.groups.get(given.group)
    if group is None:
        raise OrderStatusError(f"no group {given.group!r} is known on this desk; check the number")
    desk.result_group(group.group)
    if group.contingency == "close":
        if group.slot(EXIT).exit is not None:
            want_exit(desk, group, EXIT, None, by=given.by, reason=given.reason)
    elif group.phase in {Phase.ENTERING, Phase.PROTECTING, Phase.PROTECTED}:
        reason = f"{given.by}: {given.reason}"
        change_phase(desk, group, Cause.ASKED, reason, given.by[:ID_LENGTH_MAX])


def seen_elsewhere(desk: "Desk", given: SeenElsewhere) -> None:
    """Note what the account holds in a symbol by nobody's desk, where that changed."""
    if desk.state.groups.elsewhere.get(given.symbol, ZERO) != given.quantity:
        held = e.HeldElsewhere(at_ns=desk.now_ns, symbol=given.symbol, quantity=given.quantity)
        desk.out(held)
