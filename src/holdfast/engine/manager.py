"""The order manager: what a program talks to. One manager, one desk, one event loop."""

import asyncio
import logging
from typing import Final, Literal, Self

from holdfast.domain.inputs import Define, Flatten, SetOpeningBalance
from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import Amount, check_text
from holdfast.engine.desk_parts import Parts
from holdfast.engine.runner import Mode
from holdfast.engine.steering import Steering
from holdfast.engine.subscribers import (
    Events,
    OnAlert,
    OnAnomaly,
    OnFill,
    OnGap,
    OnOrder,
    Subscription,
    as_alert,
    as_anomaly,
    as_fill,
    as_order,
    wants_alerts,
    wants_anomalies,
    wants_fills,
    wants_orders,
)
from holdfast.engine.waiting import WAIT_S, Until
from holdfast.errors import HoldfastError, InputError

_log = logging.getLogger("holdfast.manager")

# How long a shutdown waits for what is in flight, unless the caller says so.
SHUTDOWN_S: Final = 10.0
_SHUTDOWN_LOOK_S: Final = 0.01


class Manager(Steering):
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
        self._account_data = parts.account.data
        self._closing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The desk's name."""
        return self._name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

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

    def on_alert(
        self, callback: OnAlert, *, name: str = "", on_gap: OnGap | None = None
    ) -> Subscription:
        """Call back with each alert, and when a switch changes; see `on_order`."""
        return self._subscribers.add(callback, wants_alerts, as_alert, name, on_gap)

    def events(self, *, name: str = "events") -> Events:
        """Return the stream of durable events from now on; a `Gap` stands for what it missed."""
        return Events(self._runner.feed, name)

    # The end.

    async def shutdown(
        self,
        mode: Literal["leave", "cancel", "flatten"] = "leave",
        *,
        timeout: float = SHUTDOWN_S,
    ) -> None:
        """Take no more entries, wait for what is in flight, and close; twice does nothing.

        "leave" leaves working orders at the broker, "cancel" cancels all but reduce-only ones,
        which protect a position, "flatten" cancels all and closes every position. What is not
        settled after `timeout` seconds is looked up, or gone on with, at the next start.
        """
        if mode not in {"leave", "cancel", "flatten"}:
            raise InputError(f"mode is {mode!r}; give leave, cancel or flatten")
        if self._closing is None:
            self._runner.entries_open = False
            self._closing = asyncio.create_task(self._shut(mode, timeout), name="shutdown")
        await asyncio.shield(self._closing)

    async def _shut(self, mode: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                if mode != "leave":
                    await self._wind_down(mode, timeout)
                # Calls and batches feed each other, so there is no one thing to wait for.
                busy: object = True
                while busy:
                    await asyncio.sleep(_SHUTDOWN_LOOK_S)
                    flattening = mode == "flatten" and self._runner.desk.guard.flattening
                    busy = self._runner.mode is Mode.RUNNING and (self._is_busy() or flattening)
        except TimeoutError:
            _log.warning("shut down with requests still unanswered; the next start looks them up")
        await self._parts.close()

    def _is_busy(self) -> bool:
        return not self._runner.is_idle or self._link.is_busy_for(self._runner)

    async def _wind_down(self, mode: str, timeout: float) -> None:
        try:
            results = await self.cancel_all_open_orders(by="shutdown", timeout=timeout)
            for result in results:
                if result.outcome in {"failed", "pending"}:
                    name, order = result.client_order_id, result.order
                    known = order.broker_order_id or "without a broker id"
                    _log.warning("order %s (%s) is not cancelled: %s", name, known, result.outcome)
            if mode == "flatten":
                await self._runner.command(Flatten(by="shutdown", reason="asked to flatten"))
        except HoldfastError as error:
            _log.warning("winding down: %s; it is gone on with at the next start", error)

    async def abandon(self) -> None:
        """Drop everything as a crash would: nothing is waited for, the journal is left alone."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._parts.abandon(), name="abandon")
        await self._closing


__all__ = ["SHUTDOWN_S", "WAIT_S", "Manager", "Until"]
