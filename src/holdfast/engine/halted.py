"""Halted mode: the journal cannot be written, and only what takes risk off still goes out.

Cancels and reduce-only exits up to the position are sent directly. Their wire ids derive from the
order or the symbol and the last durable record, so that the same act, repeated, has the same id,
and each is written to the emergency log before it is sent. Once the journal is back, or at the
next start, the desk is handed every exit and looks it up by that id. Until that is durable the
exit is kept in mind here as well: the log may be on the same disk, and the halt may come back.
So are the cancels of a group's orders, which come before all else: the group that does not know
that somebody wants an order gone places it again.

A kill switch or a flattening is checked as ever, cancels what it can at once, and is kept in mind
and in the log: the desk is handed it before any entry can go out. What protects a position stands
until then, as the exit that would take its place has to wait as well.
"""

import hashlib
import logging
from asyncio import Future, gather
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from holdfast.clock import NS_PER_MS
from holdfast.domain.desk import Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.exits import protects
from holdfast.domain.inputs import (
    Adopt,
    Cancel,
    CancelAll,
    CancelPositionOrders,
    EngageKillSwitch,
    Flatten,
)
from holdfast.domain.order import Order
from holdfast.domain.reports import Accepted, NotSent, Outcome, RefusalCode, Refused
from holdfast.domain.requests import OrderRequest, OrderTerms, check_request
from holdfast.domain.settings import Settings
from holdfast.domain.shares import closable, room
from holdfast.domain.values import ID_LENGTH_MAX, ZERO, Side, Status
from holdfast.engine.emergency import EmergencyLog, Line, switch_words
from holdfast.engine.link import AccountLink
from holdfast.engine.results import CancelResult
from holdfast.engine.runner import Runner
from holdfast.engine.views import OrderView, view_order
from holdfast.errors import (
    InputError,
    OrderCancellationError,
    OrderRefused,
    OrderStatusError,
    OrderSubmissionError,
    UnknownSymbolError,
)

_log = logging.getLogger("holdfast.halted")

# What a release comes to where its order has ended, or is nobody's any more.
_GONE: Final = (OrderCancellationError, OrderStatusError)
# What is about any number of orders, and goes on while the journal cannot be written.
Sweep: TypeAlias = CancelAll | CancelPositionOrders | EngageKillSwitch | Flatten


class HaltedDesk:
    """What a desk still does while its runner is halted."""

    def __init__(
        self, runner: Runner, link: AccountLink, log: EmergencyLog, settings: Settings
    ) -> None:
        self._runner = runner
        self._link = link
        self._log = log
        self._wait_ns = settings.ack_wait_ms * NS_PER_MS
        # By symbol, until the desk has them; the others by the ids of their lines.
        self._exits: dict[str, OrderView] = {}
        self._releases: dict[str, Line] = {}
        self._switches: dict[str, Line] = {}

    async def cancel(self, client_order_id: str) -> OrderView:
        """Send a cancel that is not journaled; the order's end comes from the broker, later.

        Raises:
            OrderStatusError: no order of that id is in memory.
            OrderCancellationError: it has ended, or the broker refused, or nothing was sent.
        """
        order = self._runner.ahead().find(client_order_id)
        if order is None:
            raise OrderStatusError(
                f"order {client_order_id!r} is not in memory, and the journal cannot be read for "
                "it now; cancel it at the broker",
                client_order_id=client_order_id,
            )
        if order.is_terminal:
            raise OrderCancellationError(
                f"order {client_order_id} is {order.status}; nothing is left to cancel",
                client_order_id=client_order_id,
            )
        return await self._cancel(order)

    async def sweep(self, given: Sweep) -> list[CancelResult]:
        """Cancel past the journal all that a command is about; a switch is kept in mind as well.

        Their ends come from the broker, later: what was sent is `pending` until then.

        Raises:
            InputError: what the desk refuses; then nothing was sent or kept.
        """
        desk = self._runner.ahead()
        decision = desk.step(given, self._runner.now_ns())
        if decision.error is not None:
            raise decision.error
        orders = [order for each in decision.numbers if (order := desk.order(each)) is not None]
        if isinstance(given, EngageKillSwitch | Flatten):
            self._keep(given)
            orders = [order for order in orders if not protects(desk, order)]
        by = given.by[:ID_LENGTH_MAX]
        answers = await settled([self._cancel(order, by, given.reason) for order in orders])
        return [
            _result(self._runner.desk.order(order.number) or order, answer)
            for order, answer in zip(orders, answers, strict=True)
        ]

    @property
    def switches(self) -> Iterator[str]:
        """Say which switches were turned that the desk does not have yet."""
        for line in self._switches.values():
            yield switch_words(line)

    def _keep(self, given: EngageKillSwitch | Flatten) -> None:
        words = msgspec.json.encode(given)
        is_kill = isinstance(given, EngageKillSwitch)
        kind: Literal["kill", "flatten"] = "kill" if is_kill else "flatten"
        wire_id = self._wire_id(f"{kind}.{hashlib.sha256(words).hexdigest()[:8]}")
        if wire_id in self._switches:
            return
        line = self._switches[wire_id] = Line(
            kind=kind,
            at_ns=self._runner.now_ns(),
            wire_id=wire_id,
            symbol=getattr(given, "symbol", ""),
            action=getattr(given, "action", "cancel"),
            by=given.by,
            reason=given.reason,
        )
        self._log.write(line)

    async def _cancel(self, order: Order, by: str = "", reason: str = "") -> OrderView:
        client_order_id = order.client_order_id
        effect = CancelOrder(
            number=order.number,
            wish=order.last_wish + 1,
            attempt=1,
            wire_id=self._wire_id(str(order.number)),
            orig_wire_id=order.wire_id,
            broker_order_id=order.broker_order_id,
            symbol=order.terms.symbol,
            not_after_ns=self._runner.now_ns() + self._wait_ns,
        )
        line = self._write(
            "release" if order.group else "cancel", effect.wire_id, order, by=by, reason=reason
        )
        if order.group:
            self._releases[effect.wire_id] = line
        outcome = await self._link.ask(effect)
        self._write("ended", effect.wire_id, order, outcome)
        if isinstance(outcome, Refused | NotSent):
            if self._releases.pop(effect.wire_id, None) is not None:
                self._write("failed", effect.wire_id, order)
            raise OrderCancellationError(
                f"the cancel of order {client_order_id} failed: {outcome.text}; try it again",
                client_order_id=client_order_id,
            )
        return view_order(order)

    async def exit(self, request: OrderRequest) -> OrderView:
        """Send a reduce-only order that is not journaled, one per symbol until the desk has it.

        Raises:
            Halted: the request is no exit.
            OrderRefused: it exceeds what is left of the position.
            OrderSubmissionError: the broker refused it, or it was not sent.
        """
        if not request.reduce_only or request.quantity is None:
            raise self._runner.refusal()
        desk = self._runner.ahead()
        instrument = desk.instruments.get(request.symbol)
        if instrument is None:
            raise UnknownSymbolError(f"symbol {request.symbol!r} is not defined on this desk")
        terms = check_request(request, instrument)
        sent = self._exits.get(request.symbol)
        if sent is not None:
            if sent.status is Status.OPEN and sent.terms == terms:
                return sent
            if sent.terms != terms or self._link.broker.capabilities.unique_ids == "none":
                raise OrderRefused(
                    f"an exit of {sent.quantity} {request.symbol} went out already while the "
                    "journal cannot be written; look at the broker before anything else is sent",
                    client_order_id=sent.client_order_id,
                    code="EXIT_IN_FLIGHT",
                )
            wire_id = sent.wire_id
        else:
            _check_room(desk, terms)
            wire_id = self._wire_id(hashlib.sha256(request.symbol.encode()).hexdigest()[:8])
        return await self._send(request, terms, wire_id)

    async def _send(self, request: OrderRequest, terms: OrderTerms, wire_id: str) -> OrderView:
        now_ns, sent = self._runner.now_ns(), self._exits.get(terms.symbol)
        order = Order(
            number=0,
            terms=terms,
            asked=terms,
            created_ns=now_ns,
            client_order_id=request.client_order_id or wire_id,
            wire_id=wire_id,
            strategy=request.strategy,
            quantity=terms.quantity,
        )
        effect = SubmitOrder(
            number=0,
            wish=0,
            attempt=1,
            wire_id=wire_id,
            terms=terms,
            not_after_ns=now_ns + self._wait_ns,
        )
        self._exits[terms.symbol] = sent or view_order(order)
        self._write("exit", wire_id, order)
        outcome = await self._link.ask(effect)
        self._write("ended", wire_id, order, outcome)
        exists = isinstance(outcome, Refused) and outcome.code is RefusalCode.DUPLICATE_ID
        if isinstance(outcome, Refused | NotSent) and not exists:
            if sent is None:
                del self._exits[terms.symbol]
            raise OrderSubmissionError(
                f"the exit of {terms.quantity} {terms.symbol} failed: {outcome.text}",
                client_order_id=order.client_order_id,
            )
        if isinstance(outcome, Accepted) or exists:
            order.status = Status.OPEN
        order.text = getattr(outcome, "text", "sent while the journal could not be written")
        self._exits[terms.symbol] = view = view_order(order)
        return view

    def adopt(self) -> Coroutine[Any, Any, None]:
        """Hand the desk what went out past the journal, and the switches turned meanwhile.

        It is handed over at once, before anything that waits: the cancels of groups' orders, then
        the exits, which are looked up by their ids, then the switches, so that a flattening counts
        the exits. What is returned ends when each is durable, or failed to become so and is still
        owed.
        """
        owed: dict[str, Line | OrderView] = {
            line.wire_id: line
            for line in self._log.owed()
            # The desks of one journal share its file.
            if line.wire_id.startswith(self._runner.prefix)
        }
        owed |= {view.wire_id: view for view in self._exits.values()}
        owed |= self._releases | self._switches
        for wire_id, each in owed.items():
            if isinstance(each, Line) and each.kind != "exit":
                kept = self._releases if each.kind == "release" else self._switches
                kept[wire_id] = each
        handed = {wire_id: given for wire_id, each in owed.items() if (given := _handed(each))}
        ids = sorted(handed, key=lambda each: (each not in self._releases, each in self._switches))
        waiters = self._runner.first([handed[wire_id] for wire_id in ids])
        return self._settle(dict(zip(ids, waiters, strict=True)))

    async def _settle(self, handed: "dict[str, Future[OrderView | None]]") -> None:
        results = await settled(handed.values())
        for wire_id, result in zip(handed, results, strict=True):
            if isinstance(result, InputError) and wire_id in self._switches:
                # As wrong at every start: the log names it, and a person turns it anew.
                _log.error("%s cannot be carried out: %s", wire_id, result)
            elif isinstance(result, _GONE) and wire_id in self._releases:
                _log.info("%s is settled: %s", wire_id, result)
            elif isinstance(result, BaseException):
                _log.warning("%s is still to be recorded: %s", wire_id, result)
                continue
            self._releases.pop(wire_id, None)
            self._switches.pop(wire_id, None)
            self._exits = {
                symbol: view for symbol, view in self._exits.items() if view.wire_id != wire_id
            }
            now_ns = self._runner.now_ns()
            self._log.write(Line(kind="adopted", at_ns=now_ns, wire_id=wire_id))

    def _wire_id(self, subject: str) -> str:
        return f"{self._runner.prefix}x{self._runner.durable_seq}.{subject}"

    def _write(
        self,
        kind: str,
        wire_id: str,
        order: Order,
        outcome: Outcome | None = None,
        by: str = "",
        reason: str = "",
    ) -> Line:
        broker_order_id, said = order.broker_order_id, getattr(outcome, "text", "")
        if isinstance(outcome, Accepted):
            broker_order_id, said = outcome.broker_order_id, "accepted"
        line = Line(
            kind=kind,  # type: ignore[arg-type]  # one of the kinds, by the callers above
            at_ns=self._runner.now_ns(),
            wire_id=wire_id,
            symbol=order.terms.symbol,
            terms=order.terms,
            strategy=order.strategy,
            client_order_id=order.client_order_id,
            broker_order_id=broker_order_id,
            text=said,
            by=by,
            reason=reason,
        )
        self._log.write(line)
        return line


async def settled(tasks: Iterable[Awaitable[Any]]) -> list[object]:
    """Wait for all; what one of them raised stands in its place."""
    results: list[object] = await gather(*tasks, return_exceptions=True)
    return results


def _result(order: Order, answer: object) -> CancelResult:
    is_failed = isinstance(answer, BaseException)
    return CancelResult(
        client_order_id=order.client_order_id,
        outcome="failed" if is_failed else "pending",
        order=view_order(order),
        text=str(answer) if is_failed else "sent past the journal",
    )


def _handed(owed: Line | OrderView) -> Adopt | Cancel | EngageKillSwitch | Flatten | None:
    """Return what the desk is handed; None for a line that tells too little."""
    if isinstance(owed, Line) and owed.kind == "kill":
        return EngageKillSwitch(by=owed.by, reason=owed.reason, action=owed.action)
    if isinstance(owed, Line) and owed.kind == "flatten":
        return Flatten(symbol=owed.symbol, by=owed.by, reason=owed.reason)
    if isinstance(owed, Line) and owed.kind == "release":
        reason = owed.reason or "cancelled while the journal could not be written"
        return Cancel(client_order_id=owed.client_order_id, by=owed.by, reason=reason)
    if owed.terms is None:
        return None
    return Adopt(
        wire_id=owed.wire_id,
        terms=owed.terms,
        client_order_id=owed.client_order_id,
        strategy=owed.strategy,
    )


def _check_room(desk: Desk, terms: OrderTerms) -> None:
    """Refuse an exit that could exceed what is there: claims and other exits are counted."""
    position = desk.positions.get(terms.symbol)
    held = position.quantity if position is not None else ZERO
    closes = Side.SELL if held > 0 else Side.BUY
    most = closable(desk, terms.symbol, closes) if held else ZERO
    left = room(desk, terms.symbol, closes) if most else ZERO
    if terms.side is not closes or terms.quantity is None or terms.quantity > left:
        others = "; cancel the exits that rest first: `cancel_position_orders`"
        raise OrderRefused(
            f"the journal cannot be written, so only exits up to the position go out; the position "
            f"in {terms.symbol} is {held}, of which {left} can still be closed, and "
            f"{terms.side} {terms.quantity} was asked{others if left < most else ''}",
            code="EXIT_EXCEEDS_POSITION",
        )
