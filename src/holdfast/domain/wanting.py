"""What a group wants of its roles, as people change it.

Rule 1: what nobody wants any more is not placed again; an entry that nothing would guard goes too.
Rule 2: a stop or target moves to where it could have been placed, and nowhere else.
Rule 3: where the broker refuses the move, the group wants again what worked before, and people are
told. An exit is worth more where it is than nowhere.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.alerts import raise_once
from holdfast.domain.attend import want_gone
from holdfast.domain.group import EXIT, STOP, TARGET, Group, Phase
from holdfast.domain.group_asking import check_market, check_moved
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.order import Order
from holdfast.domain.persons import OURS
from holdfast.domain.quotes import fresh_quote
from holdfast.domain.reports import RefusalCode
from holdfast.domain.values import ID_LENGTH_MAX, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

EXIT_NOT_MOVED: Final = "EXIT_NOT_MOVED"
# A stop that follows the market here, and whose move was refused, stays so long where it is.
TRAIL_REFUSED_MS: Final = 5_000
# These say nothing about the wanted price: it never reached the broker, or nobody heard of it.
_NO_ANSWER: Final = frozenset({"NOT_SENT", "NOT_APPLIED"})
_GUARDS: Final = frozenset({STOP, TARGET})


def want_exit(
    desk: "Desk", group: Group, role: str, wanted: ExitTerms | None, *, by: str, reason: str
) -> None:
    """Record what a group wants of a role from now on; None for nothing."""
    desk.out(
        e.GroupExitChanged(
            at_ns=desk.now_ns,
            group=group.group,
            role=role,
            exit=wanted,
            by=by[:ID_LENGTH_MAX],
            reason=reason[:200],
        )
    )


def release(desk: "Desk", orders: list[Order], by: str, reason: str) -> None:
    """Want nothing any more of the roles whose orders somebody cancels."""
    for order in orders:
        group = desk.state.groups.get(order.group) if order.group else None
        if group is None or order.role not in {STOP, TARGET, EXIT}:
            continue
        if group.slot(order.role).exit is not None:
            call_off(desk, group, order.role, by, reason or "cancelled")


def call_off(desk: "Desk", group: Group, role: str, by: str, reason: str) -> None:
    """Want nothing any more of a role; an entry goes as well if nothing would guard its fills.

    What is being closed is closed all the same: it needs no stop and no target.
    """
    if group.phase is Phase.FLATTENING and role in _GUARDS:
        return
    want_exit(desk, group, role, None, by=by, reason=reason)
    entry = desk.state.order(group.entry) if group.entry in group.live else None
    if entry is not None and not group.wanted:
        why = f"nothing would guard what it fills: {reason}"
        want_gone(desk, entry, by[:ID_LENGTH_MAX], why[:200])
        desk.control(entry)


def move_exit(desk: "Desk", group: Group, order: Order, changes: dict[str, Decimal]) -> None:
    """Let a group want other prices of a role; it sees to the orders itself.

    Raises:
        InputError: another quantity, which follows from what the group looks after, or a price
            beyond the other exit, the entry or the market.
    """
    if "quantity" in changes:
        raise InputError(
            f"order {order.client_order_id} is the {order.role} of group {group.group}, which is "
            "sized by what that holds; change its price, or close a part of the position"
        )
    wanted = group.slot(order.role).exit
    if wanted is None:
        return
    moved = msgspec.structs.replace(wanted, trail=None, **changes)
    if order.role in _GUARDS:
        check_moved(desk, group, moved)
        if group.owed is None or group.owed:  # before that, nobody knows where the market will be
            check_market(group.side, (moved,), fresh_quote(desk, group.symbol))
    want_exit(desk, group, order.role, moved, by="caller", reason="replaced")


def heed_refusals(desk: "Desk", news: Iterable[e.AnyEvent]) -> None:
    """Let groups want what worked where the broker refused to move a stop or a target."""
    for event in news:
        if not isinstance(event, e.WishRefused | e.OrderRejected | e.OrderFailed):
            continue
        order = desk.state.order(event.number)
        group = desk.state.groups.get(order.group) if order is not None and order.group else None
        if order is None or group is None or order.role not in _GUARDS:
            continue
        wanted, works = group.slot(order.role).exit, _what_worked(desk, group, order, event)
        if wanted is not None and works is not None:
            _stay(desk, group, wanted, works, event.text or event.code)


def _what_worked(
    desk: "Desk", group: Group, order: Order, event: e.WishRefused | e.OrderRejected | e.OrderFailed
) -> Order | None:
    """Return the order at the last price that the broker took, where it refused another one."""
    if isinstance(event, e.WishRefused):
        is_cancel = order.wanted_gone or order.cancel_refused_ns == event.at_ns
        stays = order.is_working and not is_cancel and event.code not in _NO_ANSWER
        return order if stays else None
    was_never_asked = isinstance(event, e.OrderFailed) and not _was_refused_with(desk, order)
    if was_never_asked or event.code == RefusalCode.MARKET_CLOSED:
        return None
    before = (desk.state.order(number) for number in reversed(group.orders))
    others = (one for one in before if one is not None and one.number != order.number)
    return next((one for one in others if one.role == order.role and one.submitted_ns), None)


def _was_refused_with(desk: "Desk", order: Order) -> bool:
    """Tell whether an exit never went out because the order that it rode with was refused."""
    carrier = desk.order(order.rides) if order.rides else None
    return carrier is not None and carrier.status is Status.REJECTED


def _stay(desk: "Desk", group: Group, wanted: ExitTerms, works: Order, text: str) -> None:
    """Want what an order that worked was asked for, if that is something else."""
    stop, limit = works.asked_prices
    trail = works.asked.trail if stop is None else wanted.trail
    before = ExitTerms(role=wanted.role, stop_price=stop, limit_price=limit, trail=trail)
    if before == wanted or not (works.is_working or _may_stand(desk, group, before)):
        return
    asked, stays = _where(wanted), _where(before)
    reason = f"the broker refused it {asked}: {text}"
    want_exit(desk, group, wanted.role, before, by=OURS, reason=reason)
    desk.memo.trailed_ns[group.group] = desk.now_ns + TRAIL_REFUSED_MS * NS_PER_MS
    told = f"{group.symbol}: the {wanted.role} of group {group.group} stays {stays}, as {reason}"
    raise_once(desk, EXIT_NOT_MOVED, told[:500], group.symbol)


def _may_stand(desk: "Desk", group: Group, wanted: ExitTerms) -> bool:
    """Tell whether an exit could be placed where it was, as far as a quote tells."""
    try:
        check_market(group.side, (wanted,), fresh_quote(desk, group.symbol))
    except InputError:
        return False
    return True


def _where(wanted: ExitTerms) -> str:
    price = wanted.stop_price if wanted.stop_price is not None else wanted.limit_price
    return f"at {price}" if price is not None else f"{wanted.trail} behind the market"
