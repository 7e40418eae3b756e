"""The desk: a pure state machine from inputs to events and effects.

Rule 1: `step` is total. A command that cannot be carried out gives its error and changes no order:
what it leaves is its record, and a lookup of what it waits for. A report that cannot be used gives
an anomaly.
Rule 2: `apply` is the only mutator, and effects are a function of events: whoever folds the same
events holds the same desk, and whoever resumes one asks for everything still open.
Rule 3: nothing here waits. Whatever has to happen later is a deadline in an order, and
`next_deadline` says when to tick.

What this module does not know: clocks, brokers, journals, tasks.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.domain import (
    accounts,
    alerts,
    brackets,
    commands,
    externals,
    flattening,
    grouping,
    hearing,
    inputs,
    oco,
    pairs,
    position_orders,
    requoting,
    sweeping,
    switches,
)
from holdfast.domain import events as e
from holdfast.domain.answers import absorb_answer
from holdfast.domain.attend import ask, attend, note_end_of_time
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Effect
from holdfast.domain.exits import look_first
from holdfast.domain.inputs import Input
from holdfast.domain.lookups import absorb_lookup
from holdfast.domain.memo import Memo
from holdfast.domain.order import Order
from holdfast.domain.outbox import CAUSES, effect_of
from holdfast.domain.queries import Queries
from holdfast.domain.quotes import Quote
from holdfast.domain.refusals import record_refusal
from holdfast.domain.reports import Accepted, LookupResult
from holdfast.domain.requoting import follow
from holdfast.domain.sanity import UnusableError, usable_sighting
from holdfast.domain.settings import Settings
from holdfast.domain.state import State
from holdfast.domain.stored import FORMAT
from holdfast.domain.sweeping import abandon, due_ns
from holdfast.domain.switches import settle
from holdfast.domain.values import Condition, Side
from holdfast.domain.work import anomaly
from holdfast.errors import HoldfastError, OrderRefused

# Orders that one archiving takes out of memory, so that a step stays short.
ARCHIVED_PER_STEP_MAX: Final = 1_000
# Archiving begins this far above the bound, so that it is done in batches.
ARCHIVE_SLACK: Final = 512
# Looks at what a step touched, each of which may touch more: a cancel, then its order's successor.
CONTROL_ROUNDS_MAX: Final = 16


class Decision(Struct):
    """What a step decided: events to make durable, then effects to carry out.

    For a command, `number` is the order it is about (`numbers` where there are several), `error`
    its refusal, and `repeat` says that it named an order that existed already. `group` is the group
    that it is about.
    """

    events: list[e.AnyEvent]
    effects: list[Effect]
    number: int = 0
    error: HoldfastError | None = None
    repeat: bool = False
    numbers: tuple[int, ...] = ()
    group: int = 0


class Desk(Queries):
    """One team's orders and positions. Implements what the deciding functions call their work."""

    def __init__(self, settings: Settings | None = None, state: State | None = None) -> None:
        """Start empty, or on a state; `settings` matter to `step` alone."""
        super().__init__(state or State())
        stored = self.state.stored
        self.guard: Final = stored.guard
        self.instruments: Final = stored.instruments
        self.positions: Final = stored.positions
        self.settings = settings or Settings()
        self.capabilities = Capabilities()
        self.quotes: dict[str, Quote] = {}
        self.memo = Memo()
        self.now_ns = 0
        self._decision = Decision([], [])
        self._touched: dict[int, Order] = {}
        self._told = 0

    def dump(self) -> bytes:
        """Return the whole state, to be loaded under the same `FORMAT`."""
        return self.state.dump()

    @classmethod
    def load(cls, body: bytes, settings: Settings | None = None) -> "Desk":
        """Return the desk whose state `dump` wrote."""
        return cls(settings, State.load(body))

    def apply(self, event: e.AnyEvent) -> None:
        """Fold one event."""
        self.state.apply(event)

    def rest(self) -> None:
        """Pack the ended orders of the steps before; cheap, and best done once per batch."""
        self.state.rest()

    def next_deadline(self) -> int | None:
        """Return the desk time at which to tick next, or None."""
        if self.state.groups.stirred:
            return self.state.stored.at_ns
        due = self.state.alarms.next_ns()
        for other in (due_ns(self), switches.due_ns(self), grouping.due_ns(self)):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def step(self, given: Input, now_ns: int) -> Decision:
        """Take one input at a desk time and decide; events are applied already.

        Raises only on a defect; then the desk must be discarded and folded again.
        """
        self.now_ns = max(now_ns, self.state.stored.at_ns)
        decision = self._decision = Decision([], [])
        self._touched, self._told = {}, 0
        try:
            _STEPS[type(given)](self, given)
        except HoldfastError as error:
            if decision.events:
                raise
            decision.error = error
            if isinstance(error, OrderRefused):
                record_refusal(self, given, error)
                if error.code == "REDUCE_ONLY_EXCEEDED":
                    look_first(self, given)
            return decision
        # A start begins with what the broker can do, and the next input acts.
        if type(given) is not inputs.Connected and not self.memo.only_hears:
            self._control()
        return decision

    def _control(self) -> None:
        """Bring about what is due for every order that was touched, and for the desk itself."""
        for _ in range(CONTROL_ROUNDS_MAX):
            touched, self._touched = self._touched, {}
            for order in touched.values():
                if order.is_waiting or order.condition is Condition.ABANDONED:
                    attend(self, order)
                    follow(self, order)
                    abandon(self, order)
            settle(self)
            grouping.settle(self)
            if not self._touched and not self.state.groups.stirred:
                return
        raise AssertionError(f"control of the desk did not come to rest: {list(self._touched)}")

    @property
    def wall_ns(self) -> int:
        """The wall time of this step in UTC nanoseconds."""
        return self.now_ns + self.state.stored.wall_offset_ns

    def out(self, event: e.AnyEvent) -> None:
        """Record an event, apply it at once, and note the effect that follows from it."""
        self.state.apply(event)
        decision = self._decision
        decision.events.append(event)
        if type(event) in CAUSES and (effect := effect_of(self.state, event)) is not None:
            decision.effects.append(effect)

    @property
    def decided(self) -> list[e.AnyEvent]:
        """The events of this step so far."""
        return self._decision.events

    def news(self) -> list[e.AnyEvent]:
        """Return the events of this step that were not asked for yet."""
        since, self._told = self._told, len(self._decision.events)
        return self._decision.events[since:]

    def lot(self, symbol: str) -> Decimal:
        """Return the smallest quantity step of a symbol."""
        return self.state.lot(symbol)

    def look_up(self, order: Order, reason: str) -> None:
        """Ask the broker for an order, unless it is being asked."""
        if order.lookup is None:
            ask(self, order, reason)

    @property
    def next_number(self) -> int:
        """The number that the next order gets."""
        return self.state.stored.next_number

    def exits(self, symbol: str, side: Side) -> Decimal:
        """Return what reduce-only orders of that side may still trade."""
        return self.state.exposure.of(symbol, side).exits

    def has_traded(self, symbol: str) -> bool:
        """Tell whether the desk ever had an order or balance in the symbol."""
        return symbol in self.state.stored.traded

    def touch(self, number: int) -> None:
        """Look at an order again before the step ends."""
        order = self.state.order(number)
        if order is not None:
            self.control(order)

    def control(self, order: Order) -> None:
        """Look at an order in memory again before the step ends."""
        self._touched[order.number] = order

    def _open(self, given: inputs.Open) -> None:
        opened = e.DeskOpened(
            at_ns=self.now_ns,
            desk=given.desk,
            epoch=given.epoch,
            account=given.account,
            currency=given.currency,
            mode=given.mode,
            version=given.version,
            config=given.config,
        )
        self.out(opened)

    def result(self, *numbers: int) -> None:
        """Say which orders a command is about."""
        self._decision.numbers = numbers

    def result_group(self, group: int, *, repeat: bool = False) -> None:
        """Say which group a command is about, and whether it was there before."""
        self._decision.group, self._decision.repeat = group, repeat

    def _submit(self, given: inputs.Submit) -> None:
        decision = self._decision
        decision.number, decision.repeat = commands.submit(self, given)

    def _adopt(self, given: inputs.Adopt) -> None:
        self._decision.number = commands.adopt(self, given)
        self.touch(self._decision.number)

    def _cancel(self, given: inputs.Cancel) -> None:
        self._decision.number = commands.cancel(self, given)
        self.touch(self._decision.number)

    def _replace(self, given: inputs.Replace) -> None:
        self._decision.number = commands.replace(self, given)
        self.touch(self._decision.number)

    def _resolve(self, given: inputs.Resolve) -> None:
        self._decision.number = commands.resolve(self, given)

    def _define(self, given: inputs.Define) -> None:
        commands.define(self, given)

    def _set_opening_balance(self, given: inputs.SetOpeningBalance) -> None:
        commands.set_opening_balance(self, given)

    def _answer(self, given: inputs.Answer) -> None:
        order = self.state.order(given.number)
        if order is None:
            anomaly(self, "ANSWER_WITHOUT_ORDER", f"an answer for order {given.number}")
            return
        absorb_answer(self, order, given)
        if isinstance(given.outcome, Accepted) and given.outcome.children:
            pairs.meet(self, order, given.outcome.children)
        self.control(order)

    def _looked(self, given: inputs.Looked) -> None:
        order = self.state.order(given.number)
        if order is None:
            return
        try:
            sightings = tuple(usable_sighting(one) for one in given.result.sightings)
            result = msgspec.structs.replace(given.result, sightings=sightings)
        except UnusableError as error:
            anomaly(self, "UNUSABLE_REPORT", f"{given.result}: {error}"[:500], given.number)
            result = LookupResult(text="unusable")
        absorb_lookup(self, order, msgspec.structs.replace(given, result=result))
        for sighting in result.sightings:
            pairs.meet(self, order, sighting.snapshot.children)
        self.control(order)

    def _connected(self, given: inputs.Connected) -> None:
        self.capabilities = given.capabilities

    def _resume(self, given: inputs.Resume) -> None:
        resumed = e.DeskResumed(
            at_ns=self.now_ns,
            wall_offset_ns=given.wall_offset_ns,
            retry_at_ns=self.now_ns,
            down_ns=self.now_ns - self.state.stored.at_ns,
            version=given.version,
            config=given.config,
        )
        self.memo.reconciled = False
        self.out(resumed)

    def _clock_step(self, given: inputs.ClockStep) -> None:
        self.out(e.ClockStepped(at_ns=self.now_ns, wall_offset_ns=given.wall_offset_ns))

    def _tick(self, _given: inputs.Tick) -> None:
        for order in list(self.state.pop_due(self.now_ns)):  # `watch` would feed the iterator
            note_end_of_time(self, order)
            self._touched[order.number] = order
            self.state.watch(order)
        sweeping.tick(self)

    def _archive(self, given: inputs.Archive) -> None:
        excess = len(self.state.finished) - self.settings.finished_orders_max
        if excess < ARCHIVE_SLACK:
            return
        most = min(excess, ARCHIVED_PER_STEP_MAX)
        numbers = self.state.archivable(most, given.durable_ns)
        if numbers:
            self.out(e.OrdersArchived(at_ns=self.now_ns, numbers=numbers))

    def _recalled(self, given: inputs.Recalled) -> None:
        for number, body in sorted(given.bodies.items()):
            if not self.state.holds(number):
                recalled = e.OrderRecalled(at_ns=self.now_ns, number=number, body=msgspec.Raw(body))
                self.out(recalled)

    def _quarantined(self, given: inputs.Quarantined) -> None:
        anomaly(self, "QUARANTINED", f"{given.kind} made the desk raise: {given.error}"[:500])


_STEPS: Final[dict[type, Callable[[Desk, Any], None]]] = {
    inputs.Open: Desk._open,
    inputs.Submit: Desk._submit,
    inputs.Adopt: Desk._adopt,
    inputs.Cancel: Desk._cancel,
    inputs.Replace: Desk._replace,
    inputs.Resolve: Desk._resolve,
    inputs.Define: Desk._define,
    inputs.SetOpeningBalance: Desk._set_opening_balance,
    inputs.Answer: Desk._answer,
    inputs.Looked: Desk._looked,
    inputs.Reported: hearing.reported,
    inputs.Polled: hearing.polled,
    inputs.Connected: Desk._connected,
    inputs.Resume: Desk._resume,
    inputs.ClockStep: Desk._clock_step,
    inputs.Tick: Desk._tick,
    inputs.Archive: Desk._archive,
    inputs.Recalled: Desk._recalled,
    inputs.Quarantined: Desk._quarantined,
    inputs.CancelAll: sweeping.cancel_all,
    inputs.ManageOrders: sweeping.manage,
    inputs.Quoted: requoting.quoted,
    inputs.EngageKillSwitch: switches.engage,
    inputs.ReleaseKillSwitch: switches.release,
    inputs.CloseBreaker: switches.close_breaker,
    inputs.Raise: alerts.raise_alert,
    inputs.Flatten: flattening.flatten,
    inputs.StopFlatten: flattening.stop,
    inputs.AccountSeen: accounts.account_seen,
    inputs.AdoptExternal: externals.adopt_external,
    inputs.Checked: hearing.checked,
    inputs.PlaceBracket: brackets.place_bracket,
    inputs.PlaceOco: oco.place_oco,
    inputs.Protect: position_orders.protect,
    inputs.ClosePosition: position_orders.close_position,
    inputs.CancelPositionOrders: position_orders.cancel_position_orders,
    inputs.CloseGroup: position_orders.close_group,
    inputs.SeenElsewhere: position_orders.seen_elsewhere,
}

__all__ = [
    "ARCHIVED_PER_STEP_MAX",
    "ARCHIVE_SLACK",
    "CONTROL_ROUNDS_MAX",
    "FORMAT",
    "Decision",
    "Desk",
]
