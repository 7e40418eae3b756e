"""A batch on its way to the disk, with everything that must wait until it is there."""

from asyncio import Future
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from holdfast.domain.effects import Effect
from holdfast.domain.events import AnyEvent
from holdfast.engine.feed import Notice
from holdfast.engine.group_views import GroupView
from holdfast.engine.inbox import Entry
from holdfast.engine.views import OrderView

_View = TypeVar("_View", OrderView, GroupView)


class GroupNumber(NamedTuple):
    """A group's number, where an order's could be meant as well."""

    number: int


# What is waited for: an order by its number, or a group.
Subject: TypeAlias = int | GroupNumber


class Watcher(Generic[_View]):
    """Somebody waits until `check` is true of an order or a group.

    What `check` raises, the wait raises.
    """

    __slots__ = ("check", "future", "subject")

    def __init__(
        self, subject: Subject, check: Callable[[_View], bool], future: "Future[_View]"
    ) -> None:
        self.subject = subject
        self.check: Callable[[_View], bool] = check
        self.future: Future[_View] = future

    def outcome(self, view: _View) -> _View | Exception | None:
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
        self.seen: list[tuple[Watcher[Any], Any]] = []
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
