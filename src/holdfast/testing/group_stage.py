"""A paper venue for groups: one symbol, one account of any kind of broker, and who watches it.

A test breaks single calls by their kind and the role of their order, lets working orders trade by
their role, and compares the venue's books with the desk's. Time is the virtual loop's.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

from holdfast.brokers.paper import PaperBroker
from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Outcome, Report
from holdfast.domain.settings import Settings
from holdfast.domain.values import TERMINAL, ZERO
from holdfast.engine.group_views import GroupView
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.brokered import BROKER_KINDS
from holdfast.testing.group_books import member_of
from holdfast.testing.scripted import crash, open_desk
from holdfast.testing.world import LoopScheduler
from holdfast.venue.faults import FACES, Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue
from holdfast.wiring import JournalChoice, OrderManager

_Event = TypeVar("_Event")
# The chance of each kind of fault, at every face where it can happen.
Rates: TypeAlias = Mapping[FaultKind, float]

ACCOUNT: Final = "paper"
DESK: Final = "main"
SYMBOL: Final = "X"
INSTRUMENT: Final = Instrument.of(SYMBOL, tick="0.25")
SETTINGS: Final = Settings(policies=Policies(limits=Limits.none()))
# Messages take so long each way.
WAY: Final = Latency(request_ns=20 * NS_PER_MS, answer_ns=20 * NS_PER_MS, report_ns=20 * NS_PER_MS)
# Every kind of broker at which a bracket can be had, those that hide held exits among them.
KINDS: Final[Mapping[str, Capabilities]] = {
    **BROKER_KINDS,
    "brackets_unlisted": Capabilities(native_bracket="per_fill", lists_held_legs=False),
    "late_unlisted": Capabilities(
        native_bracket="after_full_fill",
        exits_share_quantity=False,
        native_oco=True,
        lists_held_legs=False,
    ),
}
# Where exits wait for the whole entry, a part of it is protected only once the entry is ended.
LATE: Final = frozenset({"late_brackets", "late_unlisted"})
# Longer than a poll, a wait for absence and every grace.
REST_S: Final = 40.0
_QUESTIONS: Final = frozenset({"lookup", "poll", "account", "page"})
_ENDLESS: Final = 1_000_000
_LISTED_MAX: Final = 100_000


class ArmedFaults(FaultPlan):
    """A fault plan whose next pass of a face can be broken by hand, or all of them at once.

    While the link `is_down` no call arrives and no question is answered.
    """

    def __init__(
        self, script: Iterable[Fault] = (), rates: Rates | None = None, *, seed: int = 0
    ) -> None:
        """Follow a script, then chance, unless something else is armed."""
        super().__init__(rates, script, seed=seed)
        self.is_down = False
        self._armed: dict[str, Fault] = {}

    def arm(self, face: str, kind: FaultKind, duration_ns: int | None = None) -> None:
        """Break the next pass of a face."""
        self._armed[face] = Fault(kind=kind, face=face, nth=1, duration_ns=duration_ns)

    def at(self, face: str) -> Fault | None:
        """Count one pass of a face; return what was armed for it, or what the plan says."""
        planned = super().at(face)
        fault = self._armed.pop(face, None) or planned
        if self.is_down and face in FACES and face != "report":
            kind = FACES[face][-1] if face in _QUESTIONS else FaultKind.TIMEOUT_BEFORE_ACCEPT
            fault = Fault(kind=kind, face=face, nth=1)
        if fault is not None and fault is not planned:
            self.injected[fault.kind] += 1
        return fault


class StageBroker(PaperBroker):
    """A paper broker that notes each call as its kind and role, and breaks those it is told to."""

    def __init__(self, stage: "Stage") -> None:
        """Connect to the account of a stage."""
        super().__init__(
            stage.venue, ACCOUNT, faults=stage.faults, latency=stage.way, delays=LoopScheduler()
        )
        self._stage = stage

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place an order, unless that is to break."""
        # The stop of a pair is sent with its target, so that whoever breaks one breaks the call.
        extra = "stop" if order.link == "oco" else ""
        self._stage.note("submit", order.wire_id, extra)
        return await super().submit(order)

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Cancel an order, unless that is to break."""
        self._stage.note("cancel", order.orig_wire_id)
        return await super().cancel(order)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Replace an order, unless that is to break."""
        self._stage.note("replace", order.orig_wire_id)
        return await super().replace(order)


class Stage:
    """A venue, an account of one kind of broker there, and the journal of the desk.

    `calls` are the kind and role of each call.
    `naked_s` is the longest time, by the venue's own books, in which a part of the position had no
    working stop; it counts in seconds, the time in which nobody ran included. `held` are all
    positions that there ever were.
    """

    def __init__(
        self,
        kind: str | Capabilities = "plain",
        script: Iterable[Fault] = (),
        *,
        rates: Rates | None = None,
        seed: int = 0,
        instrument: Instrument = INSTRUMENT,
        around: tuple[str, str] = ("99.5", "100.5"),
        way: Latency = WAY,
    ) -> None:
        """Open a venue and an account there of a kind in `KINDS`, or that can do as given.

        Faults happen where the script says, and at these rates. The symbol of the instrument is
        `SYMBOL`. The crowd bids and offers without end at the prices `around`.
        """
        self.venue, self.way, self.instrument = Venue(), way, instrument
        self.can = KINDS[kind] if isinstance(kind, str) else kind
        self.crowd = self.venue.add_listing(instrument)
        self.venue.open_account(ACCOUNT, self.can)
        self._quote(*around)
        self.faults = ArmedFaults(script, rates, seed=seed)
        self.store = Store()
        self.calls: list[tuple[str, str]] = []
        self.held: set[Decimal] = set()
        self._broken: dict[tuple[str, str], deque[FaultKind]] = {}
        self._naked_ns = self._longest_ns = 0
        self.venue.subscribe(ACCOUNT, self._watch)

    @asynccontextmanager
    async def desk(
        self, journal: JournalChoice | None = None, *, dies: bool = False, **options: Any
    ) -> AsyncIterator[OrderManager]:
        """Open the desk over this venue; it goes on where its journal ended.

        With `dies` it ends as a killed process does, though its requests on their way arrive.
        """
        broker = StageBroker(self)
        chosen = MemoryJournal(self.store) if journal is None else journal
        options = {"instruments": [self.instrument], "settings": SETTINGS} | options
        try:
            async with open_desk(broker, chosen, **options) as manager:
                yield manager
                if dies:
                    await crash(manager)
        finally:
            self.store.owned = False
            if not dies:
                await broker.aclose()

    async def bracket(
        self, manager: OrderManager, side: str = "buy", quantity: int = 3, **terms: Any
    ) -> GroupView:
        """Place a bracket, entry at 100 with a stop at 95 and a target at 110, or mirrored."""
        low, high = ("95", "110") if side == "buy" else ("105", "90")
        usual: dict[str, Any] = {"stop_loss_price": low, "take_profit_price": high}
        if terms.get("entry_type") != "market":
            usual["entry_price"] = "100"
        return await manager.place_bracket_order(SYMBOL, side, quantity, **(usual | terms))

    async def enter(
        self, manager: OrderManager, filled: int = 3, *, side: str = "buy", **terms: Any
    ) -> GroupView:
        """Place a bracket as `bracket` does, and a second later let so much of its entry trade."""
        group = await self.bracket(manager, side, **terms)
        await asyncio.sleep(1)
        self.fill("entry", filled)
        return group

    def quote(self, bid: str, ask: str) -> None:
        """Let the crowd bid and offer at these prices."""
        self._pass_time()
        self._quote(bid, ask)

    def break_next(self, face: str, role: str, *kinds: FaultKind) -> None:
        """Let the next calls of a kind (submit, cancel, replace) and role go wrong like this."""
        self._broken.setdefault((face, role), deque()).extend(kinds)

    def note(self, face: str, wire_id: str, extra: str = "") -> None:
        """Enter a call that is about to be made, and break it if that was asked for."""
        role = member_of(wire_id)[1]
        self.calls.append((face, role))
        for name in (role, extra):
            waiting = self._broken.get((face, name))
            if waiting:
                self.faults.arm(face, waiting.popleft())

    def cut_stream(self, seconds: float) -> None:
        """Lose the next report and all others for some time; then the gap is noticed."""
        self.faults.arm("report", FaultKind.STREAM_GAP, int(seconds * NS_PER_S))

    # What the venue has.

    def orders(self, role: str, *, working: bool = True) -> list[VenueOrder]:
        """Return the account's orders of a role, oldest first."""
        found = self.venue.orders(ACCOUNT, working=working)
        return [order for order in found if member_of(order.wire_id)[1] == role]

    def fill(self, role: str, quantity: object, price: object = "100") -> None:
        """Let the working orders of a role trade so much, the oldest first.

        A price at which other orders are due lets those trade, too.

        Raises:
            LookupError: they have less left to fill.
        """
        self._pass_time()
        left = Decimal(str(quantity))
        for order in self.orders(role):
            part = min(left, _leaves(order))
            if part and not order.is_held:
                self.venue.execute(order.broker_order_id, part, Decimal(str(price)))
                left -= part
        if left:
            raise LookupError(f"no working {role} has {left} left to fill")

    def working(self) -> dict[str, Decimal]:
        """Return what the account's orders may trade by role, held ones left out."""
        found: dict[str, Decimal] = {}
        for order in self.venue.orders(ACCOUNT, working=True):
            if not order.is_held:
                role = member_of(order.wire_id)[1]
                found[role] = found.get(role, ZERO) + _leaves(order)
        return found

    def position(self) -> Decimal:
        """Return the account's position."""
        return self.venue.positions(ACCOUNT).get(SYMBOL, ZERO)

    def traded(self, role: str) -> Decimal:
        """Return what the orders of a role traded altogether."""
        fills = (f for order in self.orders(role, working=False) for f in order.fills)
        return sum((f.execution.quantity for f in fills if not f.busted), ZERO)

    def sent(self, face: str, role: str) -> int:
        """Return how many calls of a kind and role were made."""
        return self.calls.count((face, role))

    def events(self, kind: type[_Event]) -> list[_Event]:
        """Return the journaled events of a kind."""
        decoded = map(decode, self.store.records.get(DESK, []))
        return [event for event in decoded if isinstance(event, kind)]

    @property
    def naked_s(self) -> float:
        """The longest time so far in which a part of the position had no working stop."""
        running = self.venue.now_ns - self._naked_ns if self._naked_ns else 0
        return max(self._longest_ns, running) / NS_PER_S

    def _quote(self, bid: str, ask: str) -> None:
        listing = self.venue.listing(SYMBOL)
        for sign, price in ((1, bid), (-1, ask)):
            self.crowd.quote(sign, listing.ticks(Decimal(price)), _ENDLESS)

    def _pass_time(self) -> None:
        """What happens at the venue happens now, also where nobody called it since."""
        self.venue.advance(LoopScheduler().now_ns())

    def _watch(self, _report: Report) -> None:
        now_ns, held = self.venue.now_ns, self.position()
        self.held.add(held)
        stops = (o for o in self.orders("stop") if not o.is_held and o.sign * held < 0)
        if sum(map(_leaves, stops), ZERO) >= abs(held):
            if self._naked_ns:
                self._longest_ns = max(self._longest_ns, now_ns - self._naked_ns)
            self._naked_ns = 0
        elif not self._naked_ns:
            self._naked_ns = now_ns

    # Both books.

    async def check_gone(self, manager: OrderManager) -> None:
        """Nothing is held, nothing works and no group is open; the books agree."""
        left = (self.position(), self.working(), await manager.groups(closed=False))
        assert not any(left), left
        await self.check_books(manager)

    async def check_books(self, manager: OrderManager) -> None:
        """Compare orders, executions and positions; at rest they are the same on both sides."""
        mine = {order.wire_id: order for order in await manager.orders(limit=_LISTED_MAX)}
        traded, alive = dict.fromkeys(mine, ZERO), dict.fromkeys(mine, 0)
        counted = set()
        for order in self.venue.orders(ACCOUNT):
            name = order.wire_id.partition("~")[0]
            assert name in mine, f"{order.broker_order_id} ({order.wire_id}) is not known"
            alive[name] += not order.ended
            for fill in order.fills:
                if not fill.busted:
                    traded[name] += fill.execution.quantity
                    counted.add((order.broker_order_id, fill.execution.execution_id))
        for name, view in mine.items():
            assert view.filled_quantity == traded[name], view
            assert alive[name] == (view.status not in TERMINAL), view
            assert not view.pending, view
        executions = await manager.executions(limit=_LISTED_MAX)
        assert {(one.broker_order_id, one.execution_id) for one in executions} == counted
        assert len(executions) == len(counted)
        positions = await manager.positions()
        held = positions[SYMBOL].quantity if SYMBOL in positions else ZERO
        assert held == self.position()


def _leaves(order: VenueOrder) -> Decimal:
    return order.listing.quantity(order.leaves)
