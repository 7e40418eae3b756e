"""Callbacks and event streams: whoever listens to a desk, none of whom can hold it up."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from decimal import Decimal
from typing import Any, Final, Self, TypeAlias

from msgspec import Struct

from holdfast.domain.events import (
    AlertRaised,
    AnomalyRecorded,
    BreakerClosed,
    BreakerOpened,
    ExecutionCorrected,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderFilled,
)
from holdfast.domain.group_book import GROUP_EVENTS
from holdfast.engine.feed import Feed, Gap, Notice, Reader, Wanted
from holdfast.engine.group_views import GroupView
from holdfast.engine.masking import described
from holdfast.engine.threads import CallbackThreads, Subscriber
from holdfast.engine.views import OrderView

_log = logging.getLogger("holdfast.callbacks")

# How long a shutdown waits for callbacks to be given what happened before it.
LAST_WORDS_MAX_S: Final = 2.0
_LAST_WORDS_APART_S: Final = 0.01


class Fill(Struct, frozen=True, kw_only=True):
    """An execution that was booked, or the newest version of one.

    `corrected` marks a correction; with quantity zero it is a bust. `order` is the order after it.
    """

    order: OrderView
    broker_order_id: str
    execution_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    fee_currency: str
    inferred: bool
    corrected: bool
    at_ns: int


Answer: TypeAlias = Coroutine[Any, Any, None] | None
OnOrder: TypeAlias = Callable[[OrderView], Answer]
OnFill: TypeAlias = Callable[[Fill], Answer]
OnAnomaly: TypeAlias = Callable[[AnomalyRecorded], Answer]
Alert: TypeAlias = (
    AlertRaised | BreakerOpened | BreakerClosed | KillSwitchEngaged | KillSwitchReleased
)
OnAlert: TypeAlias = Callable[[Alert], Answer]
OnGroup: TypeAlias = Callable[[GroupView], Answer]
OnGap: TypeAlias = Callable[[Gap], None]


def wants_orders(notice: Notice) -> bool:
    """Select what happened to orders."""
    return notice.order is not None


def wants_fills(notice: Notice) -> bool:
    """Select executions and their corrections."""
    return type(notice.event) in {OrderFilled, ExecutionCorrected}


def wants_anomalies(notice: Notice) -> bool:
    """Select anomalies."""
    return type(notice.event) is AnomalyRecorded


def wants_groups(notice: Notice) -> bool:
    """Select what was decided about groups."""
    return type(notice.event) in GROUP_EVENTS and notice.group is not None


def as_group(notice: Notice) -> GroupView | None:
    """Return the group that a notice is about."""
    return notice.group


def wants_alerts(notice: Notice) -> bool:
    """Select alerts, and what happens to the kill switch and the breaker."""
    return isinstance(notice.event, Alert)


def as_alert(notice: Notice) -> Alert | None:
    """Return the alert that a notice is."""
    return notice.event if isinstance(notice.event, Alert) else None


def as_order(notice: Notice) -> OrderView | None:
    """Return the order that a notice is about."""
    return notice.order


def as_anomaly(notice: Notice) -> AnomalyRecorded | None:
    """Return the anomaly that a notice is."""
    return notice.event if isinstance(notice.event, AnomalyRecorded) else None


def as_fill(notice: Notice) -> Fill | None:
    """Return the execution that a notice is about."""
    event, order = notice.event, notice.order
    if order is None:
        return None
    if isinstance(event, OrderFilled):
        trade, inferred, corrected = event.execution, event.inferred, False
    elif isinstance(event, ExecutionCorrected):
        trade, inferred, corrected = event, False, True  # type: ignore[assignment]  # same fields
    else:
        return None
    return Fill(
        order=order,
        broker_order_id=event.broker_order_id,
        execution_id=trade.execution_id,
        quantity=trade.quantity,
        price=trade.price,
        fee=trade.fee,
        fee_currency=trade.fee_currency,
        inferred=inferred,
        corrected=corrected,
        at_ns=event.at_ns,
    )


class Subscription:
    """A callback's place; `close` ends it."""

    def __init__(self, name: str, close: Callable[[], None]) -> None:
        self.name = name
        self.close = close


class Events(AsyncIterator[Notice | Gap]):
    """The stream of a desk's durable events from the moment it was asked for."""

    def __init__(self, feed: Feed, name: str) -> None:
        self._feed = feed
        self._reader = feed.reader(name)

    @property
    def name(self) -> str:
        """The name under which this reader is counted."""
        return self._reader.name

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Notice | Gap:
        return await self._reader.wait()

    async def aclose(self) -> None:
        """Stop reading."""
        self._feed.leave(self._reader)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Subscribers:
    """All callbacks of one desk: coroutine functions as tasks, others in threads."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._feed = feed
        self._loop = loop
        self._threads = CallbackThreads(loop)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._readers: dict[str, Reader] = {}
        self._busy: set[str] = set()
        feed.on_publish = self._threads.signal

    def add(
        self,
        callback: Callable[[Any], Any],
        wanted: Wanted,
        convert: Callable[[Notice], Any],
        name: str,
        on_gap: OnGap | None,
    ) -> Subscription:
        """Call back with every notice that is wanted, converted."""
        reader = self._feed.reader(name or _name_of(callback), wanted)

        def call(notice: Notice | Gap) -> Any:
            if not isinstance(notice, Gap):
                return callback(convert(notice))
            _log.warning("callback %s is too slow: %d notices missed", notice.name, notice.missed)
            return on_gap(notice) if on_gap is not None else None

        if _is_async(callback):
            self._readers[reader.name] = reader
            task = self._loop.create_task(self._follow(reader, call), name=reader.name)
            self._tasks[reader.name] = task
            return Subscription(reader.name, lambda: self._end(reader, task))
        subscriber = Subscriber(reader, lambda notice: self._in_thread(call(notice)))
        self._threads.add(subscriber)
        return Subscription(reader.name, lambda: self._drop(subscriber))

    @property
    def slow(self) -> list[str]:
        """The names of the callbacks that block or were too slow at some time."""
        late = [reader.name for reader in self._feed.readers if reader.missed]
        return sorted({*self._threads.slow, *late})

    async def close(self) -> None:
        """Give callbacks what is left for them, as long as `LAST_WORDS_MAX_S`, then end them."""
        for _ in range(int(LAST_WORDS_MAX_S / _LAST_WORDS_APART_S)):
            if not self._behind():
                break
            await asyncio.sleep(_LAST_WORDS_APART_S)
        if left := self._behind():
            _log.warning("callbacks still behind at the end: %s", ", ".join(sorted(left)))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._threads.close()

    def _behind(self) -> list[str]:
        tasks = {reader.name for reader in self._readers.values() if reader.is_behind}
        return [*(tasks | self._busy), *self._threads.behind]

    async def _follow(self, reader: Reader, call: Callable[[Notice | Gap], Any]) -> None:
        failed = 0
        while True:
            self._busy.discard(reader.name)
            notice = await reader.wait()
            self._busy.add(reader.name)
            try:
                answer = call(notice)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:  # noqa: BLE001 - a callback's failure is its own
                failed += 1
                if failed & (failed - 1) == 0:
                    _log.warning(
                        "callback %s raised %s (%d so far)", reader.name, described(error), failed
                    )

    def _in_thread(self, answer: object) -> None:
        """Wait, on a callback's thread, for a coroutine that a plain function returned."""
        if inspect.iscoroutine(answer):
            asyncio.run_coroutine_threadsafe(answer, self._loop).result()

    def _end(self, reader: Reader, task: asyncio.Task[None]) -> None:
        self._feed.leave(reader)
        self._readers.pop(reader.name, None)
        self._tasks.pop(reader.name, None)
        self._busy.discard(reader.name)
        task.cancel()

    def _drop(self, subscriber: Subscriber) -> None:
        self._feed.leave(subscriber.reader)
        self._threads.remove(subscriber)


def _is_async(callback: Callable[..., Any]) -> bool:
    call = getattr(callback, "__call__", None)  # noqa: B004 - an instance with an async __call__
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)


def _name_of(callback: Callable[..., Any]) -> str:
    return str(getattr(callback, "__qualname__", None) or type(callback).__qualname__)
