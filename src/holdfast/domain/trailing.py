"""Stops that follow the market, where the broker has none that do."""

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from holdfast.domain import events as e
from holdfast.domain.group import Group
from holdfast.domain.persons import OURS
from holdfast.domain.pricing import ceil_to, floor_to
from holdfast.domain.quotes import fresh_quote
from holdfast.domain.values import OrderType, Side, rounded_add, rounded_sub
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def is_native(desk: "Desk") -> bool:
    """Tell whether the broker has stops that follow the market."""
    return OrderType.TRAILING_STOP in desk.capabilities.order_types


def trail(desk: "Desk", group: Group) -> int | None:
    """Move the stop of a group after the market; return when that may be done next."""
    guard = group.guard
    wanted = guard.exit if guard is not None else None
    if wanted is None or wanted.trail is None or is_native(desk):
        return None
    next_ns = desk.memo.trailed_ns.get(group.group, 0)
    if wanted.stop_price is not None and desk.now_ns < next_ns:
        return next_ns
    price = _price(desk, group, wanted.trail)
    if price is None or not _is_better(group.side, price, wanted.stop_price):
        return None
    interval_ms = desk.settings.policies.groups.trail_interval_ms
    desk.memo.trailed_ns[group.group] = desk.now_ns + interval_ms * NS_PER_MS
    moved = msgspec.structs.replace(wanted, stop_price=price)
    changed = e.GroupExitChanged(
        at_ns=desk.now_ns,
        group=group.group,
        role=wanted.role,
        exit=moved,
        by=OURS,
        reason=f"{wanted.trail} behind the market",
    )
    desk.out(changed)
    return None


def _price(desk: "Desk", group: Group, distance: Decimal) -> Decimal | None:
    """Return the stop price that the latest quote gives, or before any what was paid."""
    quote, tick = fresh_quote(desk, group.symbol), desk.instruments[group.symbol].tick
    mark = quote.mark if quote is not None else None
    if mark is None:
        mark = _paid(desk, group)
    if mark is None:
        return None
    if group.side is Side.SELL:
        return max(floor_to(rounded_sub(mark, distance), tick), tick)
    return ceil_to(rounded_add(mark, distance), tick)


def _paid(desk: "Desk", group: Group) -> Decimal | None:
    """Return what was paid, as far as anybody can tell: by the entry, at its limit, on average."""
    entry, position = desk.order(group.entry), desk.positions.get(group.symbol)
    if entry is not None and entry.filled_quantity:
        return entry.average_price
    if entry is not None and entry.terms.limit_price is not None:
        return entry.terms.limit_price
    return position.average_price if position is not None and position.quantity else None


def _is_better(side: Side, price: Decimal, stop: Decimal | None) -> bool:
    if stop is None:
        return True
    return price > stop if side is Side.SELL else price < stop
