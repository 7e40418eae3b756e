"""The order manager for programs without an event loop.

    with holdfast.sync.OrderManager.open(journal="desk.db", broker=PaperBroker(venue)) as om:
        order = om.place_market_order("TSLA", "buy", 50)

It has the names and arguments of `holdfast.OrderManager`, without `await`. The manager runs on an
event loop in a thread of its own; callbacks may call it, as may any thread.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, Self, TypeVar

from holdfast.config import Mode
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.manager import Manager
from holdfast.engine.sync import EventsTwin, ManagerTwin
from holdfast.errors import Closed, InputError
from holdfast.ports import Broker, Quotes
from holdfast.wiring import ConfigChoice, JournalChoice
from holdfast.wiring import OrderManager as AsyncOrderManager

_T = TypeVar("_T")

# How long calls of other threads get to end by themselves before they are ended again.
_CALLS_WAIT_S: Final = 0.1


class OrderManager(ManagerTwin):
    """Takes orders for a desk, gets them to the broker once, and follows them to their end."""

    def __init__(self, manager: Manager, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop)
        self._gate = threading.Condition()
        self._calls = 0
        self._ended = False

    def result_of(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the manager's loop and wait for its result.

        Raises:
            Closed: the `with` that opened the manager has ended.
            HoldfastError: called on the loop's own thread, which would wait for itself.
        """
        with self._gate:
            if self._ended:
                coroutine.close()
                raise Closed("the order manager is shut down; open it again")
            self._calls += 1
        try:
            return super().result_of(coroutine)
        except CancelledError as error:
            raise Closed("the order manager was shut down meanwhile; open it again") from error
        finally:
            with self._gate:
                self._calls -= 1
                self._gate.notify_all()

    def _end(self) -> None:
        """Take no more calls, and end those that other threads still wait for."""
        with self._gate:
            self._ended = True
        while True:
            asyncio.run_coroutine_threadsafe(_cancel_rest(), self.loop).result()
            with self._gate:
                if self._gate.wait_for(lambda: not self._calls, _CALLS_WAIT_S):
                    return

    @classmethod
    @contextmanager
    def open(  # noqa: PLR0913 - each is a choice of its own, all by name
        cls,
        config: ConfigChoice | None = None,
        *,
        desk: str | None = None,
        live: bool = False,
        journal: JournalChoice | None = None,
        broker: Broker | Callable[[], Broker] | None = None,
        quotes: Quotes | None = None,
        mode: Mode | None = None,
        account: str | None = None,
        currency: str | None = None,
        instruments: Sequence[Instrument] | None = None,
        settings: Settings | None = None,
        poll_interval_ms: int | None = None,
        snapshot_every: int | None = None,
        files: str | os.PathLike[str] | None = None,
    ) -> Iterator[Self]:
        """Open a desk for the length of a `with`; see `holdfast.OrderManager.open`.

        `broker` is a broker, or makes one when called on the loop's thread, where a connection
        that belongs to a loop has to be made.

        Raises:
            InputError: `broker` is neither, or what `holdfast.OrderManager.open` refuses.
            ConfigError: something in the configuration does not hold.
            JournalError: the journal cannot be used; its message says what to do.
        """
        given: Any = broker
        # Where `open` is going to refuse, nothing is connected first.
        make = _maker(broker) if config is None and journal is not None else lambda: given

        async def start(stack: AsyncExitStack) -> AsyncOrderManager:
            opening = AsyncOrderManager.open(
                config,
                desk=desk,
                live=live,
                journal=journal,
                broker=make(),
                quotes=quotes,
                mode=mode,
                account=account,
                currency=currency,
                instruments=instruments,
                settings=settings,
                poll_interval_ms=poll_interval_ms,
                snapshot_every=snapshot_every,
                files=files,
            )
            return await stack.enter_async_context(opening)

        with _loop_thread() as loop:
            stack = AsyncExitStack()
            manager = asyncio.run_coroutine_threadsafe(start(stack), loop).result()
            twin = cls(manager, loop)
            try:
                yield twin
            finally:
                try:
                    asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
                finally:
                    twin._end()


def _maker(broker: Broker | Callable[[], Broker] | None) -> Callable[[], Broker]:
    """Return what gives the broker; a class of brokers makes one, though it has their methods."""
    given: Any = broker
    is_broker = hasattr(given, "submit") and not isinstance(given, type)
    if not is_broker and not callable(given):
        raise InputError(f"broker is {given!r}; give a broker, or a function that makes one")

    def make() -> Broker:
        made: Broker = given if is_broker else given()
        return made

    return make


async def _cancel_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def _loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="holdfast-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


__all__ = ["EventsTwin", "OrderManager"]
