"""The order manager: what a program talks to. One manager, one desk, one event loop."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeAlias, Unpack

import msgspec

from holdfast.domain.effects import LookupOrder
from holdfast.domain.inputs import (
    Cancel,
    Command,
    Define,
    Polled,
    Replace,
    Resolve,
    SetOpeningBalance,
    Submit,
)
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import WishKind
from holdfast.domain.requests import Amount, OrderRequest, check_text
from holdfast.domain.values import Status
from holdfast.engine.desk_parts import Parts
from holdfast.engine.masking import masked
from holdfast.engine.options import OrderFields, PlaceOptions, WaitFor, request_of
from holdfast.engine.reading import Reading
from holdfast.engine.runner import Mode
from holdfast.engine.subscribers import (
    Events,
    OnAnomaly,
    OnFill,
    OnGap,
    OnOrder,
    Subscription,
    as_anomaly,
    as_fill,
    as_order,
    wants_anomalies,
    wants_fills,
    wants_orders,
)
from holdfast.engine.views import OrderStatus, OrderView, view_order, view_status
from holdfast.errors import (
    Halted,
    InputError,
    JournalUnwritable,
    OrderStatusError,
    OrderSubmissionError,
    WaitTimeout,
)

_log = logging.getLogger("holdfast.manager")

# How long a wait lasts unless the caller says so, and a shutdown for what is in flight.
WAIT_S: Final = 30.0
SHUTDOWN_S: Final = 10.0
_SHUTDOWN_LOOK_S: Final = 0.01

# "terminal", "accepted", a status, or a check.
Until: TypeAlias = str | Callable[[OrderView], bool]


class Manager(Reading):
    """Takes orders for a desk, gets them to the broker once, and follows them to their end.

    Amounts are Decimals, ints or decimal strings; times are UTC nanoseconds; waits are seconds.
    Every method that changes something returns once the change is durable. Methods belong to the
    event loop on which the manager was opened; `holdfast.sync` has their twins for threads.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._name = parts.name
        self._journal = parts.journal
        self._runner = parts.runner
        self._link = parts.link
        self._subscribers = parts.subscribers
        self._halted = parts.halted
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # Orders.

    async def submit(
        self,
        request: OrderRequest | None = None,
        *,
        wait: WaitFor = "durable",
        timeout: float = WAIT_S,
        **fields: Unpack[OrderFields],
    ) -> OrderView:
        """Take a new order; it is sent as soon as it is durable.

        The same client order id or idempotency key with the same request returns the first order.
        With `wait="accepted"` it returns once the broker took the order. Cancelling the call does
        not cancel the order.

        Raises:
            InputError, OrderRefused: the order is not possible; nothing was recorded.
            Busy, Halted, Closed, JournalError: the order was not taken.
            OrderSubmissionError: with `wait="accepted"`, it was refused or never sent.
            WaitTimeout: with `wait="accepted"`, nothing was heard in time; the order may be live.
        """
        request = request_of(request, fields)
        try:
            order = await self._changed(Submit(request))
        except (Halted, JournalUnwritable):
            if not request.reduce_only:
                raise
            return await self._halted.exit(request)
        if wait == "accepted":
            return await self._wait(order, "accepted", timeout)
        return order

    async def place_market_order(
        self, symbol: str, side: str, quantity: Amount, **options: Unpack[PlaceOptions]
    ) -> OrderView:
        """Submit a market order; see `submit`."""
        return await self.submit(symbol=symbol, side=side, quantity=quantity, **options)

    async def place_limit_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        limit_price: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a limit order; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="limit",
            limit_price=limit_price,
            **options,
        )

    async def place_stop_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        stop_price: Amount,
        *,
        limit_price: Amount | None = None,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a stop order, or with a limit price a stop limit order; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="stop" if limit_price is None else "stop_limit",
            stop_price=stop_price,
            limit_price=limit_price,
            **options,
        )

    async def place_trailing_stop_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        trail: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a stop order that follows the price at a distance of `trail`; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="trailing_stop",
            trail=trail,
            **options,
        )

    async def cancel_order(
        self, client_order_id: str, *, by: str = "", reason: str = ""
    ) -> OrderView:
        """Want an order gone; `wait` tells when it is. The order may still fill before that.

        Raises:
            OrderStatusError: there is no such order.
            OrderCancellationError: it has ended already.
        """
        name = check_text(client_order_id, "client_order_id")
        command = Cancel(
            client_order_id=name, by=check_text(by, "by"), reason=check_text(reason, "reason")
        )
        try:
            return await self._changed(command)
        except (Halted, JournalUnwritable):
            return await self._halted.cancel(name)

    async def replace_order(
        self,
        client_order_id: str,
        *,
        quantity: Amount | None = None,
        limit_price: Amount | None = None,
        stop_price: Amount | None = None,
    ) -> OrderView:
        """Want other terms for a working order; `quantity` is the new total, fills included.

        The old terms rule until the broker confirms. Terms that are as they were need no call.

        Raises:
            OrderStatusError: there is no such order.
            OrderCancellationError: it has ended or is being cancelled.
            InputError: terms that the order or its instrument does not allow.
        """
        return await self._changed(
            Replace(
                client_order_id=check_text(client_order_id, "client_order_id"),
                quantity=quantity,
                limit_price=limit_price,
                stop_price=stop_price,
            )
        )

    async def resolve(
        self,
        client_order_id: str,
        verdict: Literal["never_sent", "canceled", "look_again"],
        *,
        by: str,
        reason: str,
    ) -> OrderView:
        """Settle an order whose outcome nobody can tell, on a person's word; it is journaled.

        Raises:
            OrderStatusError: there is no such order.
            InputError: no name, no reason, or a verdict that does not fit the order.
        """
        return await self._changed(
            Resolve(
                client_order_id=check_text(client_order_id, "client_order_id"),
                verdict=verdict,
                by=check_text(by, "by"),
                reason=check_text(reason, "reason"),
            )
        )

    async def wait(
        self, client_order_id: str, until: Until = "terminal", timeout: float = WAIT_S
    ) -> OrderView:
        """Wait until an order ended, was taken by the broker, has a status, or passes a check.

        Raises:
            WaitTimeout: it has not come to that in `timeout` seconds.
            OrderStatusError: no such order, or it ended otherwise and cannot come to that.
            OrderSubmissionError: waiting for "accepted", it was refused or never sent.
        """
        return await self._wait(await self.order(client_order_id), until, timeout)

    async def get_order_status(self, client_order_id: str) -> OrderStatus:
        """Ask the broker about one order and return what is known then.

        `fresh` is False, and `raw` empty, where the broker gave no answer.

        Raises:
            OrderStatusError: there is no such order.
        """
        order = self._order(client_order_id)
        asked_ns = self._runner.now_ns()
        replaces = [w.wish for w in order.wishes if w.kind is WishKind.REPLACE]
        found = await self._link.look(
            LookupOrder(
                number=order.number,
                attempt=0,
                symbol=order.terms.symbol,
                wire_ids=(order.wire_id, *(order.wish_wire_id(wish) for wish in replaces)),
                broker_order_ids=tuple(
                    leg.broker_order_id for leg in order.legs if leg.broker_order_id
                ),
            )
        )
        raw: dict[str, object] = {}
        if found.sightings:
            sighting = found.sightings[-1]
            said: dict[str, object] = msgspec.to_builtins(sighting.snapshot, builtin_types=())
            raw = {k: masked(v) if isinstance(v, str) else v for k, v in said.items()}
            body = msgspec.json.encode(raw)
            self._journal.keep_raw(self._name, order.number, asked_ns, body)
            await self._runner.tell(
                Polled(
                    asked_ns=asked_ns,
                    snapshots=tuple(each.snapshot for each in found.sightings),
                    executions=tuple(
                        (order.wire_id, each.snapshot.broker_order_id, execution)
                        for each in found.sightings
                        for execution in each.executions
                    ),
                )
            )
        return view_status(view_order(self._order(client_order_id)), raw)

    # What is traded.

    async def define(self, instrument: Instrument) -> None:
        """Make an instrument tradable, or change its terms.

        Raises:
            InputError: it is no `Instrument`.
        """
        if not isinstance(instrument, Instrument):
            raise InputError(f"{instrument!r} is no Instrument; make one with Instrument.of(...)")
        await self._runner.command(Define(instrument))

    async def set_opening_balance(self, symbol: str, quantity: Amount, price: Amount) -> None:
        """Begin a symbol's position with what the account held before its first order here.

        Raises:
            UnknownSymbolError: the symbol is not defined.
            InputError: the desk has traded it, or has its balance already.
        """
        command = SetOpeningBalance(
            symbol=check_text(symbol, "symbol"), quantity=quantity, price=price
        )
        await self._runner.command(command)

    # Who listens.

    def on_order(
        self, callback: OnOrder, *, name: str = "", on_gap: OnGap | None = None
    ) -> Subscription:
        """Call back with an order after each thing that happened to it.

        A coroutine function runs on the manager's loop and may call the manager; any other
        function runs in a thread and may block. Neither delays the desk: one that falls too far
        behind misses notices and `on_gap` is told how many.
        """
        return self._subscribers.add(callback, wants_orders, as_order, name, on_gap)

    def on_fill(
        self, callback: OnFill, *, name: str = "", on_gap: OnGap | None = None
    ) -> Subscription:
        """Call back with each execution, correction and bust; see `on_order`."""
        return self._subscribers.add(callback, wants_fills, as_fill, name, on_gap)

    def on_anomaly(
        self, callback: OnAnomaly, *, name: str = "", on_gap: OnGap | None = None
    ) -> Subscription:
        """Call back with each anomaly; see `on_order`."""
        return self._subscribers.add(callback, wants_anomalies, as_anomaly, name, on_gap)

    def events(self, *, name: str = "events") -> Events:
        """Return the stream of durable events from now on; a `Gap` stands for what it missed."""
        return Events(self._runner.feed, name)

    # The end.

    async def shutdown(
        self, mode: Literal["leave", "cancel"] = "leave", *, timeout: float = SHUTDOWN_S
    ) -> None:
        """Take no more entries, wait for what is in flight, and close; twice does nothing.

        "leave" leaves working orders at the broker, "cancel" cancels all but reduce-only ones,
        which protect a position. What is not settled after `timeout` seconds is looked up at the
        next start.
        """
        if self._closing is None:
            self._runner.entries_open = False
            self._closing = asyncio.create_task(self._shut(mode, timeout), name="shutdown")
        await asyncio.shield(self._closing)

    async def _shut(self, mode: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                if mode == "cancel":
                    await self._cancel_entries()
                # Calls and batches feed each other, so there is no one thing to wait for.
                busy = True
                while busy:
                    await asyncio.sleep(_SHUTDOWN_LOOK_S)
                    busy = self._runner.mode is Mode.RUNNING and self._is_busy()
        except TimeoutError:
            _log.warning("shut down with requests still unanswered; the next start looks them up")
        await self._parts.close()

    def _is_busy(self) -> bool:
        return not self._runner.is_idle or self._link.calls_open > 0

    async def _cancel_entries(self) -> None:
        entries = [o.client_order_id for o in self._runner.desk.active() if not o.terms.reduce_only]
        cancels = [self.cancel_order(name, by="shutdown") for name in entries]
        for name, result in zip(entries, await _settled(cancels), strict=True):
            if isinstance(result, Exception):
                _log.warning("order %s was not cancelled: %s", name, result)
        await _settled([self.wait(name, "terminal", SHUTDOWN_S) for name in entries])

    async def abandon(self) -> None:
        """Drop everything as a crash would: nothing is waited for, the journal is left alone."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._parts.abandon(), name="abandon")
        await self._closing

    async def _changed(self, command: Command) -> OrderView:
        order = await self._runner.command(command)
        assert order is not None
        return order

    async def _wait(self, order: OrderView, until: Until, timeout: float) -> OrderView:
        try:
            possible = float(timeout) >= 0
        except (TypeError, ValueError):
            possible = False
        if not possible:
            raise InputError(f"timeout is {timeout!r}; give seconds, zero or more")
        check = _check(until)
        if self._runner.desk.order(order.number) is None:  # archived: it changes no more by itself
            if check(order):
                return order
            watched = f"is {order.status} and archived"
            raise OrderStatusError(f"order {order.client_order_id} {watched}; it will not change")
        watcher = self._runner.watch(order.number, check)
        try:
            async with asyncio.timeout(timeout):
                return await watcher.future
        except TimeoutError:
            self._runner.unwatch(watcher)
            now = self._runner.desk.order(order.number)
            raise WaitTimeout(
                f"order {order.client_order_id} is {now.status if now else order.status} after "
                f"{timeout} s and not {until if isinstance(until, str) else 'as waited for'}; "
                "wait again, or cancel it"
            ) from None
        except asyncio.CancelledError:
            self._runner.unwatch(watcher)
            raise


async def _settled(tasks: list[Any]) -> list[object]:
    results: list[object] = await asyncio.gather(*tasks, return_exceptions=True)
    return results


def _check(until: Until) -> Callable[[OrderView], bool]:
    if until == "terminal":
        return lambda order: order.is_terminal
    if until == "accepted":
        return _is_accepted
    if callable(until):
        return until
    try:
        wanted = Status(until)
    except ValueError:
        known = ", ".join(Status)
        raise InputError(
            f"until is {until!r}; give 'terminal', 'accepted', a status ({known}), or a check"
        ) from None

    def reached(order: OrderView) -> bool:
        if order.status is not wanted and order.is_terminal:
            raise OrderStatusError(
                f"order {order.client_order_id} ended {order.status}; it does not become {wanted}",
                client_order_id=order.client_order_id,
            )
        return order.status is wanted

    return reached


def _is_accepted(order: OrderView) -> bool:
    if order.status in {Status.REJECTED, Status.FAILED}:
        raise OrderSubmissionError(
            f"order {order.client_order_id} is {order.status}: {order.text or order.code}; "
            "it does not work at the broker",
            client_order_id=order.client_order_id,
            code=order.code,
        )
    return order.status is not Status.NEW
