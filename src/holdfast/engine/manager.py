"""The order manager: what a program talks to. One manager, one desk, one event loop."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Final, Literal, Self

from holdfast.domain.exits import protects
from holdfast.domain.group import EXIT, Group
from holdfast.domain.inputs import Define, SetOpeningBalance
from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import Amount, check_text
from holdfast.domain.values import Status
from holdfast.engine.desk_parts import Parts
from holdfast.engine.group_views import UNSETTLED, view_group
from holdfast.engine.grouping import Grouping, GroupUntil
from holdfast.engine.masking import described
from holdfast.engine.runner import Mode
from holdfast.engine.subscribers import (
    Events,
    OnAlert,
    OnAnomaly,
    OnFill,
    OnGap,
    OnGroup,
    OnOrder,
    Subscription,
    as_alert,
    as_anomaly,
    as_fill,
    as_group,
    as_order,
    wants_alerts,
    wants_anomalies,
    wants_fills,
    wants_groups,
    wants_orders,
)
from holdfast.engine.views import view_order
from holdfast.engine.waiting import WAIT_S, Until, check_timeout
from holdfast.errors import Closed, HoldfastError, InputError

_log = logging.getLogger("holdfast.manager")

# How long a shutdown waits for what is in flight, unless the caller says so.
SHUTDOWN_S: Final = 10.0
_SHUTDOWN_LOOK_S: Final = 0.01
# How a desk may end, in the order of how much is done for it.
_MODES: Final = ("leave", "cancel", "flatten")


class Manager(Grouping):
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
        self._board = parts.account.board
        self._closing: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None
        self._mode = "leave"
        self._is_waiting = True

    @property
    def name(self) -> str:
        """The desk's name."""
        return self._name

    @property
    def is_open(self) -> bool:
        """Whether nobody has begun to close it."""
        return self._closing is None and self._dropping is None

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

    def on_group(
        self, callback: OnGroup, *, name: str = "", on_gap: OnGap | None = None
    ) -> Subscription:
        """Call back with a group when it goes on, or wants something else; see `on_order`."""
        return self._subscribers.add(callback, wants_groups, as_group, name, on_gap)

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
        """Take no more entries, wait for what is in flight or not protected, and close.

        "leave" leaves working orders at the broker, "cancel" cancels all but those that protect a
        position, "flatten" cancels all and closes every position. What is not settled after
        `timeout` seconds is looked up, or gone on with, at the next start; each such order is
        named in the log, as is each group that holds what nothing covers. A second call may ask
        for more than the first, while that still waits; else it does nothing.

        Raises:
            InputError: an unknown mode, or no time to wait; nothing was begun.
            Closed: it is too late to cancel or flatten, as an earlier call asked for less.
        """
        check_ending(mode, timeout)
        if self._dropping is None:
            self._end_with(mode, timeout)
        await self._ended()

    def _end_with(self, mode: str, timeout: float) -> None:
        """Begin to close, or ask for more of a close that has begun."""
        self._runner.entries_open = False
        if self._closing is None:
            self._mode = mode
            self._closing = asyncio.create_task(self._shut(timeout), name="shutdown")
        elif _MODES.index(mode) > _MODES.index(self._mode):
            if not self._is_waiting:
                raise Closed(
                    f"desk {self._name!r} was shut down with mode {self._mode!r} already; open it "
                    f"again to {mode}"
                )
            self._mode = mode

    async def _ended(self) -> None:
        """Wait for the end, whichever it is; giving up the call gives up the wait alone."""
        task, closing = asyncio.current_task(), self._dropping or self._closing
        assert task is not None
        assert closing is not None
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            if self._dropping in {None, closing} or task.cancelling():
                raise
            await self._ended()

    async def _shut(self, timeout: float) -> None:
        try:
            await self._wind_down_within(timeout)
            self._name_what_is_left()
        except Exception as error:  # noqa: BLE001 - what is open is closed, whatever it was
            _log.exception("winding down: %s", described(error))
        await self._parts.close()

    async def _wind_down_within(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._wind_down()
        except TimeoutError:
            _log.warning("shut down after %s s with something unanswered or unprotected", timeout)
        finally:
            self._is_waiting = False

    async def _wind_down(self) -> None:
        """Cancel or flatten as asked for, and wait until nothing is on its way any more."""
        done, busy = "leave", True
        while busy:
            if done != self._mode:
                done = self._mode
                await self._begin(done)
            await asyncio.sleep(_SHUTDOWN_LOOK_S)
            busy = self._runner.mode is Mode.RUNNING and (done != self._mode or self._is_busy())

    async def _begin(self, mode: str) -> None:
        try:
            if mode == "flatten":
                await self.flatten(by="shutdown", reason="asked to flatten")
            else:
                await self.cancel_all_open_orders(by="shutdown", timeout=0)
        except HoldfastError as error:
            _log.warning("winding down: %s; it is gone on with at the next start", error)

    def _is_busy(self) -> bool:
        """Calls and batches feed each other, so there is no one thing to wait for."""
        desk = self._runner.desk
        if not self._runner.is_idle or self._link.is_busy_for(self._runner):
            return True
        if any(self._unsettled()):
            return True
        if self._mode == "leave":
            return False
        return bool(desk.guard.flattening) or any(order.wanted_gone for order in desk.active())

    def _name_what_is_left(self) -> None:
        """Log what is unanswered, still open though it was to go, or held and not protected."""
        desk = self._runner.desk
        for order in desk.active():
            view = view_order(order)
            to_go = self._mode != "leave" and not protects(desk, order)
            if to_go or view.pending or view.asking or view.status is Status.NEW:
                known = view.broker_order_id or "without a broker id"
                waits = " and ".join(view.pending) or "nothing"
                _log.warning(
                    "order %s (%s) is left %s, waiting for %s; the next start looks it up",
                    view.client_order_id,
                    known,
                    view.status,
                    waits,
                )
        for symbol in desk.guard.flattening:
            _log.warning("%s is not flat yet; the next start goes on with it", symbol)
        for group in self._unsettled():
            left = view_group(desk, group, self._runner.now_ns())
            _log.warning(
                "group %s in %s is left %s (%s), %s of %s covered; the next start goes on",
                left.group_id,
                left.symbol,
                left.phase,
                left.reason,
                left.covered,
                left.owed,
            )

    def _unsettled(self) -> Iterator[Group]:
        """Iterate over the groups that hold what nothing covers; a limit exit is left to rest."""
        for group in self._runner.desk.state.groups.open():
            wanted = group.slot(EXIT).exit
            rests = wanted is not None and wanted.limit_price is not None
            if group.phase in UNSETTLED and not rests:
                yield group

    async def abandon(self) -> None:
        """Drop everything as a crash would: nothing is waited for, the journal is left alone.

        A shutdown that still waits is given up for it.
        """
        if self._dropping is None:
            self._dropping = asyncio.create_task(self._drop(), name="abandon")
        await asyncio.shield(self._dropping)

    async def _drop(self) -> None:
        closing = self._closing
        if closing is not None:
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        if closing is None or closing.cancelled():
            await self._parts.abandon()


def check_ending(mode: str, timeout: object) -> None:
    """Refuse a way to end that there is not, before anything happens.

    Raises:
        InputError: an unknown mode, or no time to wait.
    """
    if mode not in _MODES:
        raise InputError(f"mode is {mode!r}; give leave, cancel or flatten")
    check_timeout(timeout)


__all__ = ["SHUTDOWN_S", "WAIT_S", "GroupUntil", "Manager", "Until", "check_ending"]
