"""What all calls for groups share: prices on the tick, keys, room to close, and the beginning."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.group import STOP, TARGET, Group, Phase
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.domain.refusals import refused
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
from holdfast.errors import AmountError, IdempotencyConflict, InputError, UnsupportedOrderTypeError

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
    if not ticks:
        found = f"{name} is {price}, which is nearer to 0 than to the tick of {instrument.tick}"
        raise AmountError(f"{found}; give that or more")
    return amount(mul(ticks, instrument.tick), name)


def check_closable(
    desk: "Desk", symbol: str, side: Side, quantity: Decimal, *, beside: int = 0
) -> None:
    """Refuse exits for more than is held and not looked after by others than the group `beside`.

    Raises:
        OrderRefused: `REDUCE_ONLY_EXCEEDED`.
    """
    left = room(desk, symbol, side, beside=beside)
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


def check_rising(side: Side, prices: Sequence[tuple[str, Decimal | None]], whose: str) -> None:
    """Compare prices that exits of a side have on the tick: the stop loses, the target gains.

    They are given by name from the stop on, the entry's between them; None where there is none.

    Raises:
        InputError: two of them are the same, or the wrong way round.
    """
    known = [(name, price) for name, price in prices if price is not None]
    if side is Side.BUY:
        known.reverse()
    for (low_name, low), (high_name, high) in pairwise(known):
        if low >= high:
            raise InputError(
                f"{low_name} is {low} and {high_name} is {high} on the tick; of {whose}, "
                f"{low_name} must be below {high_name}"
            )


def check_side(side: Side, wanted: ExitTerms, mark: Decimal, name: str) -> None:
    """Compare a stop or a target with the price that is called so: the one loses, the other gains.

    Raises:
        InputError: it lies on the other side, where it would trade at once or be refused.
    """
    price = _price_of(wanted)
    below = (side is Side.SELL) is (wanted.role == STOP)
    if price is not None and ((price >= mark) if below else (price <= mark)):
        where = "below" if below else "above"
        raise InputError(
            f"the {wanted.role} is at {price}, by an order that {side}s to close; it must be "
            f"{where} {name}, which is {mark:f}"
        )


def check_market(side: Side, exits: Sequence[ExitTerms], quote: Quote | None) -> None:
    """Compare stops and targets with the market, as far as a quote tells where that is.

    Raises:
        InputError: one lies on its wrong side, or trails by more than a price.
    """
    mark = quote.mark if quote is not None else None
    for wanted in exits if mark is not None else ():
        assert mark is not None
        check_side(side, wanted, mark, "the market")
        if wanted.trail is not None and wanted.trail >= mark:
            raise InputError(
                f"trail is {wanted.trail} and the market is {mark:f}; a stop that far behind is "
                "below zero"
            )


def check_moved(desk: "Desk", group: Group, wanted: ExitTerms) -> None:
    """Compare a stop or target that is to move with the other one, and with an entry at work.

    Raises:
        InputError: it would lie beyond one of them, or could not trade where it is triggered.
    """
    check_reach(group.side, wanted)
    entry = desk.state.order(group.entry) if group.entry in group.live else None
    works = entry is not None and entry.is_exposed
    other = TARGET if wanted.role == STOP else STOP
    mine = (f"the {wanted.role}", _price_of(wanted))
    beside = [
        ("the entry", entry.terms.limit_price if entry is not None and works else None),
        (f"the {other}", _price_of(group.slot(other).exit)),
    ]
    for price in beside:
        pair = [mine, price] if wanted.role == STOP else [price, mine]
        check_rising(group.side, pair, f"group {group.group}")


def _price_of(wanted: ExitTerms | None) -> Decimal | None:
    """Return where a stop is triggered, or a target trades; None where nobody knows that."""
    if wanted is None:
        return None
    return wanted.stop_price if wanted.role == STOP else wanted.limit_price


def check_reach(side: Side, wanted: ExitTerms) -> None:
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
        check_reach(side, wanted)
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
