"""What callers are given of groups: frozen copies, with their orders and what became of them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.clock import NS_PER_MS, iso
from holdfast.domain.desk import Desk
from holdfast.domain.group import ENTRY, EXIT, STOP, TARGET, Group, Moment, Phase, covers
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.order import Order
from holdfast.domain.shares import shares, stakes
from holdfast.domain.values import ZERO, Side, Status, add
from holdfast.engine.masking import masked
from holdfast.engine.views import OrderView

# In these something is held that no order protects, or more was closed than was held.
UNSETTLED: Final = frozenset({Phase.PROTECTING, Phase.FLATTENING, Phase.EXCESS})
_PROTECTION: Final = (
    "group", "group_id", "contingency", "symbol", "strategy", "phase", "owed", "covered",
    "unprotected_ms", "longest_unprotected_ms", "opened_at",
)  # fmt: skip
_NONE_OLDER: Final[Mapping[int, Order]] = MappingProxyType({})


class GroupMember(Struct, frozen=True, kw_only=True):
    """An order of a group; `role` is `entry`, `stop`, `target`, `exit` or `undo`.

    Of an order that went out past the journal `number` is 0.
    """

    role: str
    number: int
    client_order_id: str
    broker_order_id: str
    side: Side
    status: Status
    quantity: Decimal | None
    filled_quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    text: str = ""


class GroupView(Struct, frozen=True, kw_only=True):
    """A group as it was at `updated_ns`.

    `side` is the entry's where it has one, else that of its exits. Quantities are in instrument
    units: `quantity` is what it is for, None where it follows the position; `entered` and `exited`
    are what its orders traded, `owed` is what it has to look after, `covered` what the orders that
    work protect of it, `excess` what it closed too much. `stop`, `target` and `exit` are what is
    wanted now, None where nothing is. `reason` says why it is in its phase, `cause` is the word for
    it in the table of phases. Times are UTC nanoseconds of desk time. `unprotected_ms` is how long
    something it held was not covered, in sum and up to now, and `longest_unprotected_ms` the
    longest such time; of a `close`, how long what it closes had lost its protection for it.
    `members` are its orders, oldest first, the newest 100 at most; `history` has its last 50
    changes, of its phase or of what somebody wants of a role, with who and why.
    """

    group: int
    group_id: str
    contingency: str
    symbol: str
    side: Side
    strategy: str
    idempotency_key: str
    phase: Phase
    cause: str
    reason: str
    quantity: Decimal | None
    entered: Decimal
    exited: Decimal
    owed: Decimal
    covered: Decimal
    excess: Decimal
    stop: ExitTerms | None
    target: ExitTerms | None
    exit: ExitTerms | None
    members: tuple[GroupMember, ...]
    unprotected_ms: int
    longest_unprotected_ms: int
    opened_ns: int
    updated_ns: int
    history: tuple[Moment, ...]

    @property
    def is_closed(self) -> bool:
        """Tell whether there is nothing left to do about it."""
        return self.phase is Phase.CLOSED

    @property
    def entry(self) -> GroupMember | None:
        """The entry, where it has one that is remembered."""
        return next((each for each in self.members if each.role == ENTRY), None)

    def of(self, role: str) -> tuple[GroupMember, ...]:
        """Return its orders of a role, oldest first."""
        return tuple(each for each in self.members if each.role == role)


def group_id(desk: Desk, number: int) -> str:
    """Return the name of a group that no other desk or journal has."""
    return f"{desk.state.wire_prefix}g{number}"


def view_group(
    desk: Desk, group: Group, now_ns: int, older: Mapping[int, Order] = _NONE_OLDER
) -> GroupView:
    """Copy what a caller may see of a group; `older` are orders of it that left memory."""
    found = ((number, desk.order(number) or older.get(number)) for number in group.orders)
    orders = {number: order for number, order in found if order is not None}
    naked_ns = max(now_ns - group.naked_ns, 0) if group.naked_ns else 0
    covered = _covered(group, orders)
    changed_ns = [group.opened_ns, *(moment.at_ns for moment in group.history[-1:])]
    return GroupView(
        group=group.group,
        group_id=group_id(desk, group.group),
        contingency=group.contingency,
        symbol=group.symbol,
        side=group.side.opposite if group.enters else group.side,
        strategy=group.strategy,
        idempotency_key=group.key,
        phase=group.phase,
        cause=str(group.cause),
        reason=_reason(desk, group, covered),
        quantity=group.quantity,
        entered=group.entered,
        exited=group.exited,
        owed=_owed(desk, group),
        covered=covered,
        excess=group.excess,
        stop=group.slot(STOP).exit,
        target=group.slot(TARGET).exit,
        exit=group.slot(EXIT).exit,
        members=tuple(_member(order) for order in orders.values()),
        unprotected_ms=(group.unprotected_ns + naked_ns) // NS_PER_MS,
        longest_unprotected_ms=max(group.longest_ns, naked_ns) // NS_PER_MS,
        opened_ns=group.opened_ns,
        updated_ns=max([*changed_ns, *(order.updated_ns for order in orders.values())]),
        history=tuple(group.history),
    )


def view_emergency_close(desk: Desk, order: OrderView) -> GroupView:
    """Show an exit that went out past the journal as the group that it will never be."""
    member = GroupMember(
        role=EXIT,
        number=0,
        client_order_id=order.client_order_id,
        broker_order_id=order.broker_order_id,
        side=order.side,
        status=order.status,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        text=order.text,
    )
    return GroupView(
        group=0,
        group_id=group_id(desk, 0),
        contingency="close",
        symbol=order.symbol,
        side=order.side,
        strategy=order.strategy,
        idempotency_key="",
        phase=Phase.FLATTENING,
        cause="asked",
        reason="sent past the journal, which cannot be written; follow it as an order",
        quantity=order.quantity,
        entered=ZERO,
        exited=order.filled_quantity,
        owed=order.quantity or ZERO,
        covered=ZERO,
        excess=ZERO,
        stop=None,
        target=None,
        exit=ExitTerms(role=EXIT),
        members=(member,),
        unprotected_ms=0,
        longest_unprotected_ms=0,
        opened_ns=order.created_ns,
        updated_ns=order.updated_ns,
        history=(),
    )


def group_row(view: GroupView) -> dict[str, Any]:
    """Show a group in one flat object: amounts as strings, times in UTC."""
    entry = view.entry
    return {
        "group": view.group,
        "group_id": view.group_id,
        "contingency": view.contingency,
        "symbol": view.symbol,
        "side": view.side,
        "quantity": view.quantity,
        "entry_client_order_id": "" if entry is None else entry.client_order_id,
        "phase": view.phase,
        "cause": view.cause,
        "reason": masked(view.reason),
        "entered": view.entered,
        "exited": view.exited,
        "owed": view.owed,
        "covered": view.covered,
        "excess": view.excess,
        "stop": exit_words(view.stop),
        "target": exit_words(view.target),
        "exit": exit_words(view.exit),
        "unprotected_ms": view.unprotected_ms,
        "longest_unprotected_ms": view.longest_unprotected_ms,
        "strategy": view.strategy,
        "opened_at": iso(view.opened_ns),
        "updated_at": iso(view.updated_ns),
    }


def group_rows(views: Iterable[GroupView]) -> list[dict[str, Any]]:
    """Show groups."""
    return [group_row(view) for view in views]


def protection_rows(views: Iterable[GroupView]) -> list[dict[str, Any]]:
    """Show of groups how long what they held was not covered, in milliseconds."""
    return [{name: row[name] for name in _PROTECTION} for row in group_rows(views)]


def group_detail(view: GroupView) -> dict[str, Any]:
    """Show a group with its orders and its history."""
    members = [
        {k: masked(v) if k == "text" else v for k, v in msgspec.structs.asdict(each).items()}
        for each in view.members
    ]
    history = [
        {
            "at": iso(moment.at_ns),
            "phase": moment.phase,
            "cause": moment.cause,
            "reason": masked(moment.reason),
            "by": masked(moment.by),
        }
        for moment in view.history
    ]
    return {**group_row(view), "members": members, "history": history}


def exit_words(wanted: ExitTerms | None) -> str:
    """Say in a few words what is wanted of a role; empty for nothing."""
    if wanted is None:
        return ""
    if wanted.trail is not None:
        return f"trails by {wanted.trail}"
    if wanted.stop_price is None:
        return "at the market" if wanted.limit_price is None else f"at {wanted.limit_price}"
    limit = "" if wanted.limit_price is None else f" limit {wanted.limit_price}"
    return f"at {wanted.stop_price}{limit}"


def _owed(desk: Desk, group: Group) -> Decimal:
    if group.owed is not None:
        return group.owed
    return shares(desk, group.symbol).get(group.group, ZERO)


def _reason(desk: Desk, group: Group, covered: Decimal) -> str:
    """Say why a group is in its phase; one that nothing covers any more, who closes the rest."""
    others = desk.state.groups.of(group.symbol) if group.phase is Phase.PROTECTED else []
    closes = [one for one in others if one.contingency == "close" and one.side is group.side]
    closing = [one.group for one in closes if one.naked_ns]
    stake = stakes(desk, group.symbol).get(group.group, ZERO) if closing else ZERO
    if covered >= stake:
        return group.reason
    return f"{covered} of {stake} is covered, group {closing[0]} is closing the rest"


def _covered(group: Group, orders: Mapping[int, Order]) -> Decimal:
    total, guard = ZERO, group.guard
    for number in group.live:
        order = orders.get(number)
        if guard is not None and order is not None and order.role == guard.role:
            total = add(total, covers(order))
    return total


def _member(order: Order) -> GroupMember:
    return GroupMember(
        role=order.role,
        number=order.number,
        client_order_id=order.client_order_id,
        broker_order_id=order.broker_order_id,
        side=order.terms.side,
        status=order.status,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        limit_price=order.terms.limit_price,
        stop_price=order.terms.stop_price,
        text=order.text,
    )
