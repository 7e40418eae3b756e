"""Effects on their way to a broker, and questions that take each other's place while they wait."""

from asyncio import Task
from typing import Any

from holdfast.domain.effects import CancelOrder, Effect, LookupOrder
from holdfast.engine.lanes import Lane
from holdfast.engine.routing import DeskPort


class Call:
    """One effect of one desk on its way to the broker; `batch` are all that share the call."""

    __slots__ = ("batch", "effect", "expired", "port", "task", "until")

    def __init__(self, effect: Effect, port: DeskPort, batch: tuple[CancelOrder, ...] = ()) -> None:
        self.effect = effect
        self.batch = batch
        self.port = port
        self.until = 0.0  # loop time in seconds, as timers have it
        self.task: Task[Any] | None = None
        self.expired = False


class Questions:
    """The questions that wait for their turn, one per order.

    A desk that hears nothing asks again. Where its first question has not left by then, the newer
    one takes its place: the answer to an older one counts for nothing any more.
    """

    def __init__(self, lane: Lane[Any]) -> None:
        self._lane = lane
        self._waiting: dict[tuple[str, int], Call] = {}

    def put(self, effect: LookupOrder, port: DeskPort, since: float) -> None:
        """Queue a question, or let it take the place of the one before."""
        waiting = self._waiting.get((port.prefix, effect.number))
        if waiting is not None:
            waiting.effect = effect
            return
        call = self._waiting[port.prefix, effect.number] = Call(effect, port)
        self._lane.put(call, port.prefix, since)

    def begin(self, call: Call) -> LookupOrder:
        """Return what a call asks, whose turn has come."""
        assert isinstance(call.effect, LookupOrder)
        del self._waiting[call.port.prefix, call.effect.number]
        return call.effect

    def forget(self, prefix: str) -> None:
        """Forget the questions of a desk that has gone."""
        self._waiting = {key: call for key, call in self._waiting.items() if key[0] != prefix}
