"""Feeds the operations of a tape to an order manager and to the venue that follows the tape.

Rule 1: rows of one order wait for each other, until desk and venue agree on it; rows of different
orders may be in flight together, a bounded number of them.
Rule 2: nothing is asked for that the journal has asked for already.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.brokers.tape import TapeBroker, TapeOrder
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import OrderType, Status
from holdfast.engine.views import OrderView
from holdfast.errors import HoldfastError, JournalError, JournalUnwritable, WaitTimeout
from holdfast.trading.replay_past import Begun, client_order_id
from holdfast.venue import flow
from holdfast.venue.tape import Tape
from holdfast.wiring import OrderManager

# Orders in flight together: enough that every commit has a few dozen of them to write.
LANES: Final = 256
# Operations read ahead for each of them, so that one slow order does not hold up the others.
LANE_AHEAD_MAX: Final = 16
# An order that desk and venue see differently for so long will not be agreed on.
SETTLE_WAIT_S: Final = 60.0
# Orders that wait hear nothing from a halted desk, so it is looked at; often enough for a person.
HEALTH_LOOK_S: Final = 0.25


class DisagreementError(HoldfastError):
    """Desk and venue see an order differently, and it does not pass."""

    code = "DISAGREEMENT"


class Again(Struct, frozen=True):
    """An order of an earlier run on which desk and venue have to agree first."""

    order_id: int
    retell: bool


class Run(Struct, kw_only=True):
    """What one run did: how long it took, and how many orders it submitted itself.

    `altered` are orders that arrived at the venue with other terms than the tape gives them.
    """

    seconds: float = 0.0
    submitted: int = 0
    unknown_rows: int = 0
    altered: set[int] = msgspec.field(default_factory=set)


Lane: TypeAlias = "asyncio.Queue[flow.Operation | Again | None]"


class Driver:
    """Feeds the operations of a tape to a manager and to its venue."""

    def __init__(self, manager: OrderManager, broker: TapeBroker, tape: Tape, run: Run) -> None:
        self._manager = manager
        self._broker = broker
        self._tape = tape
        self._run = run
        self._wire_ids: dict[int, str] = {}
        self._done: dict[int, int] = {}
        self._lanes: list[Lane] = [asyncio.Queue(LANE_AHEAD_MAX) for _ in range(LANES)]

    async def drive(
        self, past: dict[int, Begun], limit_rows: int | None, on_row: Callable[[int], None]
    ) -> None:
        """Carry out what is left of the tape.

        Raises:
            DisagreementError: an order was refused, or desk and venue do not come to agree on it.
            JournalError: the journal can no longer be written.
        """
        await self._broker.connected()
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch_health())
                lanes = [tasks.create_task(self._work(lane)) for lane in self._lanes]
                await self._take_up(past)
                await self._feed(limit_rows, on_row)
                await asyncio.gather(*lanes)
                watch.cancel()
        except ExceptionGroup as group:
            raise await self._cause(group) from None

    async def _watch_health(self) -> None:
        """End the run as soon as the desk cannot go on."""
        while True:
            health = await self._manager.health()
            if not health.is_ok:
                raise JournalUnwritable(_stopped(health.fault))
            await asyncio.sleep(HEALTH_LOOK_S)

    async def _cause(self, group: ExceptionGroup[Exception]) -> Exception:
        """Return why a run ended, of all that its end brought about in its tasks."""
        health = await self._manager.health()
        if not health.is_ok:
            return JournalUnwritable(_stopped(health.fault))
        first = group.exceptions[0]
        return next((each for each in group.exceptions if isinstance(each, JournalError)), first)

    async def _take_up(self, past: dict[int, Begun]) -> None:
        for order_id, begun in past.items():
            order = self._broker.order(begun.wire_id)
            assert order is not None, "the venue was rebuilt from the same journal"
            self._wire_ids[order_id] = begun.wire_id
            self._done[order_id] = order.steps
            missed = len(begun.executions) < len(order.executions)
            if order.is_live or missed or not (begun.ended or order.quantity == order.filled):
                await self._lane(order_id).put(Again(order_id, retell=missed or not order.is_live))

    async def _feed(self, limit_rows: int | None, on_row: Callable[[int], None]) -> None:
        for operation in self._tape.operations(limit_rows):
            on_row(operation.row)
            order_id = operation.order_id
            if isinstance(operation, flow.Unknown):
                self._run.unknown_rows += 1
            elif self._done.get(order_id, 0):
                self._done[order_id] -= 1
            else:
                await self._lane(order_id).put(operation)
        for lane in self._lanes:
            await lane.put(None)

    def _lane(self, order_id: int) -> Lane:
        return self._lanes[order_id % LANES]

    async def _work(self, lane: Lane) -> None:
        while (operation := await lane.get()) is not None:
            await self._carry_out(operation)

    async def _carry_out(self, operation: flow.Operation | Again) -> None:
        order_id = operation.order_id
        name = client_order_id(self._tape, order_id)
        if isinstance(operation, flow.Submit):
            placed = await self._manager.submit(self._request(name, operation))
            self._wire_ids[order_id] = placed.wire_id
            self._run.submitted += 1
        elif isinstance(operation, flow.Replace):
            await self._manager.replace_order(
                name, quantity=operation.quantity, limit_price=operation.limit_price
            )
        elif isinstance(operation, flow.Cancel) and not operation.unsolicited:
            await self._manager.cancel_order(name)
        elif isinstance(operation, flow.Execution | flow.Cancel):
            self._broker.follow(self._wire_ids[order_id], operation)
        elif isinstance(operation, Again) and operation.retell:
            self._broker.retell(self._wire_ids[order_id])
        wire_id = self._wire_ids[order_id]
        try:
            await self._manager.wait(name, partial(self._is_agreed, wire_id), SETTLE_WAIT_S)
        except WaitTimeout:
            ours = await self._manager.order(name)
            raise DisagreementError(_differences(ours, self._broker.order(wire_id))) from None
        if isinstance(operation, flow.Submit | flow.Replace):
            self._compare(operation, wire_id)

    def _request(self, name: str, operation: flow.Submit) -> OrderRequest:
        return OrderRequest(
            symbol=self._tape.symbol,
            side=operation.side,
            quantity=operation.quantity,
            order_type=OrderType.LIMIT,
            limit_price=operation.limit_price,
            client_order_id=name,
        )

    def _compare(self, operation: flow.Submit | flow.Replace, wire_id: str) -> None:
        """Note an order whose terms at the venue are not those of the tape."""
        order = self._broker.order(wire_id)
        terms = (operation.quantity, operation.limit_price)
        if (
            order is None
            or (order.quantity, order.limit_price) != terms
            or (isinstance(operation, flow.Submit) and order.side is not operation.side)
        ):
            self._run.altered.add(operation.order_id)

    def _is_agreed(self, wire_id: str, ours: OrderView) -> bool:
        if ours.status in {Status.REJECTED, Status.FAILED}:
            raise DisagreementError(
                f"order {ours.client_order_id} is {ours.status}: {ours.text or ours.code}; the "
                "venue takes every order of a tape, so this is a defect: please report it"
            )
        theirs = self._broker.order(wire_id)
        if theirs is None or not _same(ours, theirs):
            return False
        # Of an ended order nothing more is asked; a replace left open is closed in its own time.
        return ours.is_terminal or not ours.pending


def _stopped(fault: str) -> str:
    return (
        f"the replay stopped, because its journal cannot be written ({fault}); mend that, and the "
        "same command goes on from there"
    )


def _differences(ours: OrderView, theirs: TapeOrder | None) -> str:
    if theirs is None:
        seen = "has not got it"
    else:
        filled = f"{theirs.filled} of {theirs.quantity} filled at {theirs.limit_price}"
        seen = f"says {theirs.status}, {filled}"
    pending = f", unanswered: {', '.join(ours.pending)}" if ours.pending else ""
    return (
        f"order {ours.client_order_id} is {ours.status}, {ours.filled_quantity} of "
        f"{ours.quantity} filled at {ours.limit_price}{pending}; the venue {seen}, after "
        f"{SETTLE_WAIT_S} s: this is a defect, please report it"
    )


def _same(ours: OrderView, theirs: TapeOrder) -> bool:
    return (
        ours.status is theirs.status
        and ours.filled_quantity == theirs.filled
        and ours.quantity == theirs.quantity
        and ours.limit_price == theirs.limit_price
    )
