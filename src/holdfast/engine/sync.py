"""The manager for programs without an event loop: the same methods, each waiting for its result.

The table at the end of the class is all there is of it: every twin is made from the method that it
waits for, with its signature and its words.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from holdfast.engine.feed import Gap, Notice
from holdfast.engine.manager import Manager
from holdfast.engine.subscribers import Events
from holdfast.errors import HoldfastError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class EventsTwin(Iterator[Notice | Gap]):
    """The stream of a desk's durable events, for a thread; `next` waits for the next one."""

    def __init__(self, twin: "ManagerTwin", events: Events) -> None:
        self._twin = twin
        self._events = events

    def __next__(self) -> Notice | Gap:
        return self._twin.result_of(self._events.__anext__())

    def close(self) -> None:
        """Stop reading."""
        self._twin.result_of(self._events.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _waiting(
    method: Callable[Concatenate[Manager, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["ManagerTwin", _P], _T]:
    """Make the twin of a coroutine method."""

    @wraps(method)
    def twin(self: "ManagerTwin", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.result_of(method(self.manager, *args, **kwargs))

    return twin


def _calling(
    method: Callable[Concatenate[Manager, _P], _T],
) -> Callable[Concatenate["ManagerTwin", _P], _T]:
    """Make the twin of a method that does not wait, but belongs to the loop."""

    @wraps(method)
    def twin(self: "ManagerTwin", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async def call() -> _T:
            return method(self.manager, *args, **kwargs)

        return self.result_of(call())

    return twin


class ManagerTwin:
    """A manager as seen from any thread but its own."""

    def __init__(self, manager: Manager, loop: asyncio.AbstractEventLoop) -> None:
        """Speak to a manager that lives on `loop`."""
        self.manager = manager
        self.loop = loop

    def result_of(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the manager's loop and wait for its result.

        Raises:
            HoldfastError: called on the loop's own thread, which would wait for itself.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            coroutine.close()
            raise HoldfastError(
                "a blocking call on the event loop's own thread would wait for itself; "
                "await the manager's own method there"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def events(self, *, name: str = "events") -> EventsTwin:
        """Return the stream of durable events from now on; a `Gap` stands for what it missed."""
        return EventsTwin(self, self._events(name=name))

    _events = _calling(Manager.events)

    submit = _waiting(Manager.submit)
    place_market_order = _waiting(Manager.place_market_order)
    place_limit_order = _waiting(Manager.place_limit_order)
    place_stop_order = _waiting(Manager.place_stop_order)
    place_trailing_stop_order = _waiting(Manager.place_trailing_stop_order)
    place_limit_buy = _waiting(Manager.place_limit_buy)
    place_limit_sell = _waiting(Manager.place_limit_sell)
    place_pegged_order = _waiting(Manager.place_pegged_order)
    cancel_order = _waiting(Manager.cancel_order)
    replace_order = _waiting(Manager.replace_order)
    resolve = _waiting(Manager.resolve)
    cancel_all_open_orders = _waiting(Manager.cancel_all_open_orders)
    manage_open_orders = _waiting(Manager.manage_open_orders)
    synchronize_open_orders = _waiting(Manager.synchronize_open_orders)
    engage_kill_switch = _waiting(Manager.engage_kill_switch)
    release_kill_switch = _waiting(Manager.release_kill_switch)
    close_breaker = _waiting(Manager.close_breaker)
    flatten = _waiting(Manager.flatten)
    stop_flattening = _waiting(Manager.stop_flattening)
    raise_alert = _waiting(Manager.raise_alert)
    place_bracket_order = _waiting(Manager.place_bracket_order)
    place_oco_order = _waiting(Manager.place_oco_order)
    close_position = _waiting(Manager.close_position)
    add_stop_loss = _waiting(Manager.add_stop_loss)
    add_take_profit = _waiting(Manager.add_take_profit)
    cancel_position_orders = _waiting(Manager.cancel_position_orders)
    close_group = _waiting(Manager.close_group)
    group = _waiting(Manager.group)
    groups = _waiting(Manager.groups)
    wait_group = _waiting(Manager.wait_group)
    guard = _waiting(Manager.guard)
    quote = _waiting(Manager.quote)
    account = _waiting(Manager.account)
    wait = _waiting(Manager.wait)
    get_order_status = _waiting(Manager.get_order_status)
    is_filled = _waiting(Manager.is_filled)
    define = _waiting(Manager.define)
    set_opening_balance = _waiting(Manager.set_opening_balance)
    order = _waiting(Manager.order)
    orders = _waiting(Manager.orders)
    executions = _waiting(Manager.executions)
    positions = _waiting(Manager.positions)
    statistics = _waiting(Manager.statistics)
    trading_statistics = _waiting(Manager.trading_statistics)
    health = _waiting(Manager.health)
    shutdown = _waiting(Manager.shutdown)
    abandon = _waiting(Manager.abandon)
    on_order = _calling(Manager.on_order)
    on_fill = _calling(Manager.on_fill)
    on_anomaly = _calling(Manager.on_anomaly)
    on_alert = _calling(Manager.on_alert)
    on_group = _calling(Manager.on_group)
