"""Our books against the venue's: a journal folded afresh, and what the venue wrote down itself.

Rule: nothing is believed that either side says about itself in sum. Orders are matched by the
client id that the venue has, executions by the venue's id for them, and every figure of every one
is compared exactly.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.domain.desk import Desk
from holdfast.domain.events import OrderFilled
from holdfast.domain.executions import Leg
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution
from holdfast.domain.values import ZERO, Status, add, plain, sub
from holdfast.journal.codec import decode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import verify
from holdfast.venue.books import Books
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue

_NEVER_THERE: Final = frozenset({Status.FAILED, Status.REJECTED})


class Journaled(Struct, kw_only=True):
    """A desk folded from its first record on, and how often it booked each execution.

    The key of an execution is the broker order's id and the venue's id for it.
    """

    desk: Desk
    booked: Counter[tuple[str, str]]
    records: int
    problems: tuple[str, ...]


class Row(Struct, frozen=True, kw_only=True):
    """One line of the comparison: a count, or an exact amount as a text."""

    name: str
    ours: int | str
    venue: int | str

    @property
    def is_same(self) -> bool:
        """Whether both say the same."""
        return self.ours == self.venue


class Verdict(Struct, frozen=True, kw_only=True):
    """What the comparison gave.

    `lost` counts orders and executions of the venue that we do not have, `duplicated` venue
    orders beyond the first of a client id, and executions that were counted again. `others` is
    whatever else differs. `findings` names all three, one line each.
    """

    rows: tuple[Row, ...]
    lost: int
    duplicated: int
    others: int
    findings: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether both books say exactly the same."""
        return not self.findings

    @property
    def line(self) -> str:
        """The verdict in one short line."""
        text = f"{self.lost} lost, {self.duplicated} duplicated"
        if not self.others:
            return text
        return f"{text}, {self.others} other difference{'s' if self.others > 1 else ''}"


def read_journal(path: str | os.PathLike[str], desk: str) -> Journaled:
    """Fold a desk from its first record, and check the whole journal on the way.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    report = verify(path)
    found = Journaled(
        desk=Desk(),
        booked=Counter(),
        records=report.records,
        problems=tuple(problem.text for problem in report.problems),
    )
    if found.problems:
        return found
    reader = SqliteJournal.read_only(path)
    try:
        for record in reader.records(desk):
            event = decode(record)
            found.desk.apply(event)
            if isinstance(event, OrderFilled) and not event.inferred:
                found.booked[event.broker_order_id, event.execution.execution_id] += 1
    finally:
        reader.close()
    return found


def compare(ours: Journaled, venue: Venue, account: str, problems: Iterable[str] = ()) -> Verdict:
    """Compare our books of an account with the venue's; `problems` are what else was noticed."""
    books = venue.books(account)
    found = _Findings()
    found.others += problems
    found.others += [f"the journal is damaged: {text}" for text in ours.problems]
    for key, times in ours.booked.items():
        found.duplicated += [f"{' '.join(key)} was counted {times} times"] * (times - 1)
    theirs = venue.orders(account)
    _compare_orders(ours.desk, theirs, found)
    rows = (*_totals(ours.desk, theirs), *_sums(ours.desk, books, venue.instruments()))
    found.others += [
        f"{row.name.strip()}: {row.ours} here, {row.venue} at the venue"
        for row in rows
        if not row.is_same
    ]
    return Verdict(
        rows=rows,
        lost=len(found.lost),
        duplicated=len(found.duplicated),
        others=len(found.others),
        findings=(*found.lost, *found.duplicated, *found.others),
    )


class _Findings:
    """Collects one line for each thing that is not the same on both sides."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.duplicated: list[str] = []
        self.others: list[str] = []


def _orders_of(desk: Desk) -> Iterator[Order]:
    """Iterate over all orders of a folded desk, oldest first."""
    for number in range(1, desk.next_number):
        order = desk.state.peek(number)
        if order is not None:
            yield order


def _compare_orders(desk: Desk, theirs: Iterable[VenueOrder], found: _Findings) -> None:
    """Match every order of the venue with one of ours, and the other way round."""
    seen: Counter[int] = Counter()
    for venue_order in theirs:
        number = desk.owner_of(venue_order.wire_id)
        order = desk.state.peek(number) if number else None
        leg = _leg_of(order, venue_order.broker_order_id)
        if order is None or leg is None:
            name = f"{venue_order.broker_order_id} ({venue_order.wire_id or 'no client id'})"
            found.lost.append(f"order {name} of the venue is not in our books")
            found.lost += [
                f"execution {fill.execution.execution_id} of {name} is not in our books"
                for fill in venue_order.fills
                if not fill.busted
            ]
            continue
        seen[number] += 1
        _compare_executions(order, leg, venue_order, found)
        if seen[number] == 1:
            _compare_order(order, venue_order, found)
    for number, times in seen.items():
        found.duplicated += [f"order {number} has {times} orders at the venue"] * (times - 1)
    for order in _orders_of(desk):
        if order.number not in seen and (order.status not in _NEVER_THERE or order.legs):
            found.others.append(
                f"{order.client_order_id} is {order.status} here and not at the venue"
            )


def _leg_of(order: Order | None, broker_order_id: str) -> Leg | None:
    for leg in order.legs if order is not None else ():
        if leg.broker_order_id == broker_order_id:
            return leg
    return None


def _compare_order(order: Order, theirs: VenueOrder, found: _Findings) -> None:
    terms = order.terms
    listing = theirs.listing
    for name, mine, venue in (
        ("symbol", terms.symbol, listing.instrument.symbol),
        ("side", terms.side, theirs.side),
        ("status", order.status, theirs.status),
        ("quantity", order.quantity, theirs.quantity),
        ("limit", terms.limit_price, None if theirs.limit is None else listing.price(theirs.limit)),
        ("filled", order.filled_quantity, theirs.cumulative),
        ("notional", order.notional, theirs.spent),
        ("fees", _nonzero(order.fees), _nonzero(_fees_of(theirs))),
    ):
        if mine != venue:
            found.others.append(
                f"{order.client_order_id}: {name} is {mine} here, {venue} at the venue"
            )


def _fees_of(order: VenueOrder) -> dict[str, Decimal]:
    fees: dict[str, Decimal] = {}
    for fill in order.fills:
        currency = fill.execution.fee_currency
        fees[currency] = add(fees.get(currency, ZERO), fill.execution.fee or ZERO)
    return fees


def _nonzero(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: value for name, value in amounts.items() if value}


def _compare_executions(order: Order, leg: Leg, theirs: VenueOrder, found: _Findings) -> None:
    name = f"{order.client_order_id} ({leg.broker_order_id})"
    told = {fill.execution.execution_id: fill.execution for fill in theirs.fills if not fill.busted}
    for execution_id, execution in told.items():
        mine = leg.executions.get(execution_id)
        if mine is None:
            found.lost.append(f"execution {execution_id} of {name} is not in our books")
        elif _figures(mine) != _figures(execution):
            found.others.append(
                f"execution {execution_id} of {name} is {_figures(mine)} here, "
                f"{_figures(execution)} at the venue"
            )
    for execution_id in (*leg.executions, *leg.waiting):
        if execution_id not in told:
            found.others.append(f"execution {execution_id} of {name} is not in the venue's books")


def _figures(execution: Execution) -> tuple[str, str, str, str]:
    fee = plain(execution.fee or ZERO)
    return plain(execution.quantity), plain(execution.price), fee, execution.fee_currency


def _totals(desk: Desk, theirs: Sequence[VenueOrder]) -> Iterator[Row]:
    """Count orders by their end, and executions with what they traded."""
    ours = [order for order in _orders_of(desk) if order.legs]
    mine, venue = _ends(order.status for order in ours), _ends(order.status for order in theirs)
    for name in mine:
        yield Row(name=name, ours=mine[name], venue=venue[name])
    here = [each for order in ours for leg in order.legs for each in _executions(leg)]
    there = [fill.execution for order in theirs for fill in order.fills if not fill.busted]
    yield Row(name="fills", ours=len(here), venue=len(there))
    yield Row(name="units traded", ours=_traded(here), venue=_traded(there))


def _ends(statuses: Iterable[Status]) -> dict[str, int]:
    counted = Counter(statuses)
    return {
        "orders": counted.total(),
        "  filled": counted[Status.FILLED],
        "  canceled": counted[Status.CANCELED],
        "  other": counted.total() - counted[Status.FILLED] - counted[Status.CANCELED],
    }


def _executions(leg: Leg) -> tuple[Execution, ...]:
    return (*leg.executions.values(), *leg.waiting.values())


def _traded(executions: Iterable[Execution]) -> str:
    total = ZERO
    for execution in executions:
        total = add(total, execution.quantity)
    return plain(total)


def _sums(desk: Desk, books: Books, instruments: Iterable[Instrument]) -> Iterator[Row]:
    """Compare what it all came to: positions by symbol, then fees and cash by currency."""
    cash: dict[str, Decimal] = {}
    fees: dict[str, Decimal] = {}
    for instrument in instruments:
        symbol, currency = instrument.symbol, instrument.currency
        cash.setdefault(currency, ZERO)
        position = desk.positions.get(symbol)
        held = position.quantity if position is not None else ZERO
        if position is not None:
            cash[currency] = add(cash[currency], position.cash(instrument))
            for name, fee in position.fees.items():
                fees[name] = add(fees.get(name, ZERO), fee)
        there = books.positions.get(symbol, ZERO)
        yield Row(name=f"position {symbol}", ours=plain(held), venue=plain(there))
    for currency, money in cash.items():
        fee = fees.get(currency, ZERO)
        there = books.fees.get(currency, ZERO)
        yield Row(name=f"fees {currency}", ours=plain(fee), venue=plain(there))
        there = books.cash.get(currency, ZERO)
        yield Row(name=f"cash {currency}", ours=plain(sub(money, fee)), venue=plain(there))
