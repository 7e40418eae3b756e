"""The order manager for programs without an event loop.

    with holdfast.sync.OrderManager.open(journal="desk.db", broker=connect) as om:
        order = om.place_market_order("TSLA", "buy", 50)

It has the names and arguments of `holdfast.OrderManager`, without `await`. The manager runs on an
event loop in a thread of its own; callbacks may call it, as may any thread.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.desk_parts import POLL_INTERVAL_MS, SNAPSHOT_EVERY, Options
from holdfast.engine.sync import EventsTwin, ManagerTwin
from holdfast.ports import Broker
from holdfast.wiring import JournalChoice, emergency_path
from holdfast.wiring import OrderManager as AsyncOrderManager


class OrderManager(ManagerTwin):
    """Takes orders for a desk, gets them to the broker once, and follows them to their end."""

    @classmethod
    @contextmanager
    def open(  # noqa: PLR0913 - each is a choice of its own, all by name
        cls,
        *,
        journal: JournalChoice,
        broker: Callable[[], Broker],
        desk: str = "main",
        account: str = "paper",
        currency: str = "USD",
        instruments: Sequence[Instrument] = (),
        settings: Settings | None = None,
        poll_interval_ms: int = POLL_INTERVAL_MS,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> Iterator[Self]:
        """Open a desk for the length of a `with`; see `holdfast.OrderManager.open`.

        `broker` is called on the loop's thread, where a connection has to be made.
        """
        options = Options(
            desk=desk,
            account=account,
            currency=currency,
            instruments=instruments,
            settings=settings or Settings(),
            poll_interval_ms=poll_interval_ms,
            snapshot_every=snapshot_every,
            emergency_path=emergency_path(journal),
        )
        with _loop_thread() as loop:

            async def start() -> AsyncOrderManager:
                return await AsyncOrderManager.start(
                    journal=journal, broker=broker(), options=options
                )

            manager = asyncio.run_coroutine_threadsafe(start(), loop).result()
            twin = cls(manager, loop)
            try:
                yield twin
            finally:
                twin.shutdown()


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
        loop.close()


__all__ = ["EventsTwin", "OrderManager"]
