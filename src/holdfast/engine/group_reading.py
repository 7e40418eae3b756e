"""What can be asked of a manager about groups, without changing anything.

Groups in memory may be ahead of the disk by milliseconds. Of closed ones the newest thousand stay
in memory; an older one is put together from the journal, which reads all of its desk's records.
"""

import asyncio
from typing import Final

from holdfast.domain import events as e
from holdfast.domain import fold_groups
from holdfast.domain.group import ENTRY, EXIT, STOP, TARGET, Group
from holdfast.domain.group_book import GROUP_EVENTS
from holdfast.domain.order import Order
from holdfast.domain.requests import check_text
from holdfast.domain.values import DIGITS_MAX, ID_LENGTH_MAX, ZERO, add
from holdfast.engine.group_views import GroupView, view_group
from holdfast.engine.reading import Reading
from holdfast.engine.rows import order_of
from holdfast.errors import InputError, OrderStatusError
from holdfast.journal.codec import decode
from holdfast.ports import Journal

# A query answers with at most so many unless it is asked for more.
GROUPS_MAX: Final = 100
_KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in GROUP_EVENTS)
_SUBMITTED: Final = "order_submitted"
_EXITS: Final = frozenset({STOP, TARGET, EXIT})


class GroupReading(Reading):
    """What can be asked of a manager about groups."""

    async def group(self, group: int | str) -> GroupView:
        """Return a group by its number, its id, or the client order id of one of its orders.

        A group that closed so long ago that it left memory is read from the journal, all of which
        is gone through for it.

        Raises:
            OrderStatusError: there is no such group.
            InputError: it is neither a number nor a text.
        """
        number = self._group_number(group)
        desk = self._runner.desk
        found = desk.state.groups.get(number)
        if self._is_forgotten(number):
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(
                None, recall_group, self._journal, self._name, number
            )
        if found is None:
            raise self._no_group(group)
        older = self._older(found)
        if desk.state.groups.get(number) is None:
            self._recount(found, older)
        return view_group(desk, found, self._runner.now_ns(), older)

    async def groups(
        self,
        *,
        symbol: str = "",
        strategy: str | None = None,
        closed: bool = True,
        limit: int = GROUPS_MAX,
    ) -> list[GroupView]:
        """Return groups that match, the newest first; closed ones as long as they are in memory.

        Raises:
            InputError: a symbol or strategy that is no text, `closed` that is neither True nor
                False, or a limit that is no count from 1.
        """
        check_text(symbol, "symbol")
        if strategy is not None:
            check_text(strategy, "strategy")
        if not isinstance(closed, bool):
            raise InputError(f"closed is {closed!r}; give True or False")
        if type(limit) is not int or limit < 1:
            raise InputError(f"limit is {limit!r}; give a whole number, 1 or more")
        desk, now_ns = self._runner.desk, self._runner.now_ns()
        known = desk.state.groups
        found: list[GroupView] = []
        for group in reversed([*known.groups.values()] if closed else known.open()):
            if len(found) >= limit:
                break
            is_wanted = strategy is None or group.strategy == strategy
            if is_wanted and symbol in {"", group.symbol}:
                found.append(view_group(desk, group, now_ns))
        return found

    def _group_number(self, group: int | str) -> int:
        """Return the number of the group that a caller names; 0 where there can be none."""
        if isinstance(group, int) and not isinstance(group, bool):
            return group
        if not isinstance(group, str):
            raise InputError(
                f"group is {group!r}, a {type(group).__name__}; give its number, its id, or the "
                "client order id of one of its orders"
            )
        name = check_text(group, "group")
        prefix = f"{self._runner.desk.state.wire_prefix}g"
        digits = name.removeprefix(prefix)
        if name.startswith(prefix) and digits.isascii() and digits.isdecimal():
            if len(digits) > DIGITS_MAX:
                found = f"{name[:ID_LENGTH_MAX]!r}..., {len(name)} characters long"
                raise InputError(f"group is {found}; `groups()` lists the ids there are")
            return int(digits)
        try:
            return self._order(name).group
        except OrderStatusError:
            return 0

    def _is_forgotten(self, number: int) -> bool:
        """Tell whether a group closed so long ago that it left memory."""
        state = self._runner.desk.state
        return 0 < number < state.stored.next_group and state.groups.get(number) is None

    def _no_group(self, group: int | str) -> OrderStatusError:
        return OrderStatusError(
            f"there is no group {group!r} on desk {self._name!r}; `groups()` lists those there are",
            code="UNKNOWN_GROUP",
        )

    def _older(self, group: Group) -> dict[int, Order]:
        """Return the orders of a group that left memory, by number."""
        desk = self._runner.desk
        gone = [number for number in group.orders if desk.order(number) is None]
        bodies = self._journal.bodies(self._name, gone) if gone else {}
        return {number: order_of(body) for number, body in bodies.items()}

    def _recount(self, group: Group, older: dict[int, Order]) -> None:
        """Count again what a group that left memory entered and exited, by its orders."""
        entered = exited = ZERO
        for number in group.orders:
            order = self._runner.desk.order(number) or older.get(number)
            if order is not None and order.role == ENTRY:
                entered = add(entered, order.filled_quantity)
            elif order is not None and order.role in _EXITS:
                exited = add(exited, order.filled_quantity)
        group.entered, group.exited, group.written_off = entered, exited, ZERO
        group.written_off = group.owed or ZERO


def recall_group(journal: Journal, name: str, number: int) -> Group | None:
    """Put a group together from the records of its desk; None where there is none.

    What it entered, exited, wrote off and closed too much is not told by these records alone.

    Raises:
        JournalDamaged: a record is not what was written.
    """
    found: Group | None = None
    mark = f'"group":{number},'.encode()
    for record in journal.records(name):
        is_submit = record.kind == _SUBMITTED
        if not (is_submit or record.kind in _KINDS) or mark not in record.body.replace(b"}", b","):
            continue
        event = decode(record)
        if getattr(event, "group", 0) != number:
            continue
        if isinstance(event, e.GroupOpened):
            found = fold_groups.new_group(event)
        elif found is not None:
            _fold(found, event)
    return found


def _fold(group: Group, event: e.AnyEvent) -> None:
    if isinstance(event, e.OrderSubmitted):
        group.orders.append(event.number)
    elif isinstance(event, e.GroupPhaseChanged):
        fold_groups.change_phase(group, event)
    elif isinstance(event, e.GroupExitChanged):
        fold_groups.change_exit(group, event)
    elif isinstance(event, e.GroupQuantityChanged):
        group.quantity = event.quantity
    elif isinstance(event, e.GroupTookOver):
        fold_groups.take_over(group, event)
