"""A batch on its way to the disk, with everything that must wait until it is there."""

from asyncio import Future
from collections.abc import Callable
from typing import Any, TypeAlias

from holdfast.domain.effects import Effect
from holdfast.domain.events import AnyEvent
from holdfast.engine.feed import Notice
from holdfast.engine.inbox import Entry
from holdfast.engine.views import OrderView

Check: TypeAlias = Callable[[OrderView], bool]


class Watcher:
    """Somebody waits until `check` is true of an order; what `check` raises, the wait raises."""

    __slots__ = ("check", "future", "number")

    def __init__(self, number: int, check: Check, future: "Future[OrderView]") -> None:
        self.number = number
        self.check = check
        self.future = future

    def outcome(self, view: OrderView) -> OrderView | Exception | None:
        """Return what the wait ends with, or None to go on waiting."""
        try:
            return view if self.check(view) else None
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            return error


class Flight:
    """The outcome of some steps: events to be made durable, and what they release.

    `entries` are the inputs of these steps, for the case that all of it is lost.
    """

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.effects: list[Effect] = []
        self.entries: list[Entry] = []
        self.results: list[tuple[Future[Any], Any]] = []
        self.seen: list[tuple[Watcher, OrderView | Exception]] = []
        self.notices: list[Notice] = []
        self.last_seq = 0
        self.is_lost = False

    def join(self, other: "Flight") -> None:
        """Take along what has no events of its own, but must not be told before this is durable."""
        self.effects += other.effects
        self.entries += other.entries
        self.results += other.results
        self.seen += other.seen

    def tell(self) -> None:
        """Give everybody who waits what they waited for."""
        for waiter, result in self.results:
            settle(waiter, result)
        for watcher, outcome in self.seen:
            settle(watcher.future, outcome)


def settle(waiter: "Future[Any]", result: object) -> None:
    """End a wait with a result, or by raising it if it is an exception; once."""
    if waiter.done():
        return
    if isinstance(result, BaseException):
        waiter.set_exception(result)
    else:
        waiter.set_result(result)
