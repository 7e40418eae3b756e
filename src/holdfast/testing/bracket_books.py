"""What brackets came to: the journal folded anew against the venue's books, and figures."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from statistics import median
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_MS
from holdfast.domain.desk import Desk
from holdfast.domain.events import OrderFilled
from holdfast.domain.group import ENTRY, EXIT, STOP, TARGET, UNDO, Cause, Group
from holdfast.domain.instruments import Instrument, signed
from holdfast.domain.reports import Execution, Report
from holdfast.domain.values import ZERO, add, ratio, rounded_mul, rounded_sub, sub
from holdfast.journal.codec import decode
from holdfast.ports import Journal
from holdfast.venue.matching import STOPS
from holdfast.venue.paper import Venue

_EXITS: Final = (STOP, TARGET, EXIT, UNDO)


class Figures(Struct, frozen=True, kw_only=True):
    """What became of the brackets of one account.

    `ends` counts brackets by what they did, `unprotected_ms` is the desk's own figure for each
    bracket that filled. `profit` is in the instrument's currency before fees: by the role that
    closed (rounded shares of the entry's cost), and `total`, which is exact.
    """

    brackets: int
    ends: dict[str, int]
    unprotected_ms: tuple[int, ...]
    profit: dict[str, Decimal]

    @property
    def unprotected_max_ms(self) -> int:
        """The longest time that a bracket had something that nothing covered."""
        return max(self.unprotected_ms, default=0)

    @property
    def unprotected_median_ms(self) -> float:
        """The middle one of these times."""
        return median(self.unprotected_ms) if self.unprotected_ms else 0.0


class Watch:
    """Watches at the venue itself for how long a position is larger than the stops that work.

    `longest_ns` and `naked_ns` (the sum) take in the time in which something is being closed: its
    stop has gone by then, and its exit is on the way.
    """

    def __init__(self, venue: Venue, account: str, symbol: str) -> None:
        """Watch an account from now on."""
        self.longest_ns = self.naked_ns = 0
        self._venue, self._account, self._symbol = venue, account, symbol
        self._since_ns = 0
        venue.subscribe(account, self._look)

    def _look(self, _: Report) -> None:
        now_ns, is_naked = self._venue.now_ns, self.uncovered() > 0
        if self._since_ns:
            lasted_ns = now_ns - self._since_ns
            if not is_naked:
                self._since_ns, self.naked_ns = 0, self.naked_ns + lasted_ns
            self.longest_ns = max(self.longest_ns, lasted_ns)
        elif is_naked:
            self._since_ns = now_ns

    def uncovered(self) -> Decimal:
        """Return how much of the position no working stop closes."""
        position = self._venue.positions(self._account).get(self._symbol, ZERO)
        covered = ZERO
        for order in self._venue.orders(self._account, working=True):
            if order.order_type in STOPS and not order.is_held and order.sign * position < 0:
                covered = add(covered, order.listing.quantity(order.leaves))
        return sub(abs(position), covered)


def folded(journal: Journal, name: str) -> tuple[Desk, Counter[tuple[str, str]]]:
    """Fold a desk from its first record; also count how often each execution was booked.

    Raises:
        JournalDamaged: a record is missing or is not what it was.
    """
    desk, booked = Desk(), Counter[tuple[str, str]]()
    for record in journal.records(name):
        event = decode(record)
        desk.apply(event)
        if isinstance(event, OrderFilled) and not event.inferred:
            booked[event.broker_order_id, event.execution.execution_id] += 1
    return desk, booked


def differences(
    journal: Journal, name: str, venue: Venue, account: str, instrument: Instrument
) -> list[str]:
    """Say everything in which a journal and the venue's books are not the same to the digit.

    Executions are compared one by one, with their fees; then the position, the cash, and what
    still works.
    """
    desk, booked = folded(journal, name)
    found = [f"{key} was booked {times} times" for key, times in booked.items() if times != 1]
    ours, theirs = dict[tuple[str, str], Execution](), dict[tuple[str, str], Execution]()
    for number in range(1, desk.next_number):
        order = desk.state.peek(number)
        for leg in order.legs if order is not None else ():
            for each in (*leg.executions.values(), *leg.waiting.values()):
                ours[leg.broker_order_id, each.execution_id] = each
        if order is not None and order.is_exposed:
            found.append(f"{order.client_order_id} is {order.status} in the journal")
    for held in venue.orders(account):
        for fill in held.fills:
            theirs[held.broker_order_id, fill.execution.execution_id] = fill.execution
        if not held.ended:
            found.append(f"{held.broker_order_id} is {held.status} at the venue")
    found += [f"execution {key} is in one of the books" for key in ours.keys() ^ theirs.keys()]
    for key in ours.keys() & theirs.keys():
        mine, its = _terms(ours[key]), _terms(theirs[key])
        if mine != its:
            found.append(f"execution {key} is {mine} in the journal, {its} at the venue")
    return sorted(found) + list(_sums(desk, venue, account, instrument))


def figures(desk: Desk, instrument: Instrument) -> Figures:
    """Sum up the groups that a folded desk remembers: the newest thousand of those that closed."""
    ends, times = Counter[str](), list[int]()
    profit = dict.fromkeys((*_EXITS, "closes"), ZERO)
    groups = [group for group in desk.state.groups.groups.values() if group.enters]
    for group in groups:
        ends.update(_ends(desk, group))
        if group.entered:
            times.append(group.longest_ns // NS_PER_MS)
        for role, made in _made(desk, group, instrument).items():
            profit[role] = add(profit[role], made)
    position = desk.positions.get(instrument.symbol)
    total = position.cash(instrument) if position is not None else ZERO
    for role in _EXITS:
        profit["closes"] = sub(profit["closes"], profit[role])
    profit["closes"] = add(profit["closes"], total)
    return Figures(
        brackets=len(groups),
        ends=dict(sorted(ends.items())),
        unprotected_ms=tuple(times),
        profit={**profit, "total": total},
    )


def _ends(desk: Desk, group: Group) -> Iterable[str]:
    """Name what a bracket did; more than one of them may be true."""
    if not group.entered:
        yield "not filled"
    elif group.quantity is not None and group.entered < group.quantity:
        yield "filled in part"
    else:
        yield "filled"
    for role in _EXITS:
        if any(filled for filled, _ in _traded(desk, group, role)):
            yield f"{role} traded"
    entry = desk.state.peek(group.entry)
    cut_short = entry is not None and entry.filled_quantity < (entry.quantity or ZERO)
    if cut_short and entry is not None and 0 < group.entry_end_ns <= entry.completed_ns:
        yield "timed out"
    moved = [each for each in group.history if each.cause in set(Cause)]
    yield from {f"flattened: {each.cause}" for each in moved if each.phase == "flattening"}
    if any(each.phase == "excess" for each in group.history):
        yield "excess"


def _traded(desk: Desk, group: Group, role: str) -> list[tuple[Decimal, Decimal]]:
    """Return signed quantity and value of what each order of a role traded."""
    orders = [desk.state.peek(number) for number in group.orders]
    return [
        (signed(order.terms.side, order.filled_quantity), signed(order.terms.side, order.notional))
        for order in orders
        if order is not None and order.role == role
    ]


def _made(desk: Desk, group: Group, instrument: Instrument) -> dict[str, Decimal]:
    """Return what each role made against the average price of the entry, rounded."""
    entered, cost = _summed(_traded(desk, group, ENTRY))
    if not entered:
        return {}
    average, made = ratio(cost, entered), dict[str, Decimal]()
    for role in _EXITS:
        quantity, value = _summed(_traded(desk, group, role))
        points = rounded_sub(rounded_mul(quantity, average), value)
        made[role] = round(rounded_mul(points, instrument.multiplier), 2)
    return made


def _summed(traded: Iterable[tuple[Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    quantity = value = ZERO
    for each, worth in traded:
        quantity, value = add(quantity, each), add(value, worth)
    return quantity, value


def _terms(execution: Execution) -> tuple[Decimal, Decimal, Decimal, str]:
    fee = execution.fee or ZERO
    return execution.quantity, execution.price, fee, execution.fee_currency


def _sums(desk: Desk, venue: Venue, account: str, instrument: Instrument) -> Iterable[str]:
    books, position = venue.books(account), desk.positions.get(instrument.symbol)
    held = position.quantity if position is not None else ZERO
    fees = position.fees if position is not None else {}
    cash = position.cash(instrument) if position is not None else ZERO
    for fee in fees.values():
        cash = sub(cash, fee)
    for what, ours, theirs in (
        ("position", held, books.positions.get(instrument.symbol, ZERO)),
        ("cash", cash, books.cash.get(instrument.currency, ZERO)),
        ("fees", {k: v for k, v in fees.items() if v}, books.fees),
    ):
        if ours != theirs:
            yield f"{what} is {ours} in the journal, {theirs} at the venue"
