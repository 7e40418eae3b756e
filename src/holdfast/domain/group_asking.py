"""What all calls for groups share: prices on the tick, keys, room to close, and the beginning."""

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.group import STOP, Group, Phase
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.instruments import Instrument
from holdfast.domain.refusals import refused
from holdfast.domain.requests import check_text
from holdfast.domain.shares import closable, room
from holdfast.domain.trailing import is_native
from holdfast.domain.values import (
    ID_LENGTH_MAX,
    VIEW,
    OrderType,
    Side,
    amount,
    check_id,
    mul,
)
from holdfast.errors import IdempotencyConflict, InputError, UnsupportedOrderTypeError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def open_group(  # noqa: PLR0913 - one argument per field, all by name
    desk: "Desk",
    *,
    contingency: str,
    symbol: str,
    side: Side,
    exits: tuple[ExitTerms, ...],
    quantity: Decimal | None = None,
    strategy: str = "",
    entry_end_ns: int = 0,
    key: str = "",
    by: str = "",
    reason: str = "",
) -> Group:
    """Record that a group begins, and return it."""
    number = desk.state.stored.next_group
    desk.out(
        e.GroupOpened(
            at_ns=desk.now_ns,
            group=number,
            contingency=contingency,
            symbol=symbol,
            side=side,
            exits=exits,
            quantity=quantity,
            strategy=strategy,
            entry_end_ns=entry_end_ns,
            key=key,
            by=by[:ID_LENGTH_MAX],
            reason=reason[:200],
        )
    )
    return desk.state.stored.groups[number]


def aligned(value: object, name: str, instrument: Instrument) -> Decimal:
    """Return a price moved to the nearest tick, halves up; AmountError where it is none."""
    price = amount(value, name)
    ticks = VIEW.divide(price, instrument.tick).quantize(Decimal(1), ROUND_HALF_UP, VIEW)
    return amount(mul(ticks, instrument.tick), name)


def check_closable(desk: "Desk", symbol: str, side: Side, quantity: Decimal) -> None:
    """Refuse exits for more than is held and not looked after by others.

    Raises:
        OrderRefused: `REDUCE_ONLY_EXCEEDED`.
    """
    left = room(desk, symbol, side)
    if quantity > left:
        raise refused(
            "REDUCE_ONLY_EXCEEDED",
            "what other exits may close is taken off; close those first, or ask for less",
            symbol=symbol,
            side=side,
            quantity=quantity,
            closable=left,
        )


def check_direction(desk: "Desk", symbol: str, side: Side) -> None:
    """Refuse an entry against the position or against another group of its symbol.

    Raises:
        OrderRefused: `GROUP_OPPOSES`.
    """
    against = closable(desk, symbol, side)
    if against:
        raise refused(
            "GROUP_OPPOSES", "close the position first", symbol=symbol, side=side, closes=against
        )
    for group in desk.state.groups.of(symbol):
        if group.side is side and group.phase is not Phase.CLOSED:
            raise refused(
                "GROUP_OPPOSES",
                "close that group first",
                symbol=symbol,
                side=side,
                group=group.group,
            )


def check_key(key: str | None) -> str:
    """Return a caller's key for a group; empty for none."""
    return check_id(key, "idempotency_key") if key is not None else ""


def by_key(desk: "Desk", key: str) -> Group | None:
    """Return the group that was opened under a caller's key.

    Raises:
        IdempotencyConflict: an order, or a group that is forgotten, has the key.
    """
    if not key:
        return None
    groups = desk.state.stored.groups.values()
    found = next((group for group in groups if group.key == key), None)
    if found is None and (order := desk.by_key(key)) is not None:
        whose = f"group {order.group}" if order.group else f"order {order.client_order_id}"
        raise IdempotencyConflict(f"idempotency_key {key!r} belongs to {whose}; use a new key")
    return found


def check_strategy(strategy: object) -> str:
    """Return a strategy's name, if it can be one."""
    name = check_text(strategy, "strategy")
    if len(name) > ID_LENGTH_MAX:
        raise InputError(f"strategy is {name!r}; at most {ID_LENGTH_MAX} characters are kept")
    return name


def key_conflict(key: str) -> IdempotencyConflict:
    """Return what is raised for a key that belongs to another request."""
    return IdempotencyConflict(f"idempotency_key {key!r} belongs to another request; use a new key")


def maybe_aligned(value: object, name: str, instrument: Instrument) -> Decimal | None:
    """Return a price on the tick, None for none."""
    return None if value is None else aligned(value, name, instrument)


def same_group(desk: "Desk", number: int, exits: tuple[ExitTerms, ...]) -> int:
    """Return the number of the group that a request names again.

    Raises:
        IdempotencyConflict: what is known by the name is no group, or wanted other exits.
    """
    group = desk.state.groups.get(number)
    if group is None:
        raise IdempotencyConflict(
            "the id or key belongs to an order without exits, or to a group that is forgotten; "
            "use a new one"
        )
    if {wanted.role: wanted for wanted in exits} != group.asked_exits:
        raise IdempotencyConflict(
            f"the id or key belongs to group {number}, which has other exits; use a new one"
        )
    return number


def _check_reach(side: Side, wanted: ExitTerms) -> None:
    """Refuse a stop limit order that could not trade where it is triggered."""
    stop, limit = wanted.stop_price, wanted.limit_price
    if stop is None or limit is None:
        return
    if (limit > stop) if side is Side.SELL else (limit < stop):
        where = "at or below" if side is Side.SELL else "at or above"
        raise InputError(
            f"the stop is at {stop} and its limit at {limit}, where it could not trade once it is "
            f"triggered; a stop that {side}s has its limit {where} it"
        )


def check_exits(desk: "Desk", exits: tuple[ExitTerms, ...], side: Side) -> None:
    """Refuse exits that the broker has not and that cannot be emulated."""
    for wanted in exits:
        _check_reach(side, wanted)
    types, plain = desk.capabilities.order_types, desk.settings.policies.profile == "limit_only"
    if plain and any(wanted.role == STOP for wanted in exits):
        raise UnsupportedOrderTypeError(
            "the profile limit_only takes limit orders and no stops; use the profile full"
        )
    for wanted in exits:
        wanted_type = OrderType.LIMIT
        if wanted.trail is not None and is_native(desk):
            continue
        if wanted.role == STOP:
            wanted_type = OrderType.STOP if wanted.limit_price is None else OrderType.STOP_LIMIT
        if wanted_type not in types:
            known = ", ".join(sorted(types))
            raise UnsupportedOrderTypeError(
                f"the broker has no {wanted_type} orders for the {wanted.role}; it takes {known}"
            )
