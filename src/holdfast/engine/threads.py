"""Threads for callbacks that may block.

One thread runs all callbacks that behave. One that does not come back in `SLOW_MS` is slow from
then on: the thread it holds up becomes its own, another takes over the rest, and the loop on which
the engine lives never waits for either. A thousand well-behaved callbacks so cost one thread, and
a thousand that block cost a thousand, but delay nobody.
"""

import logging
import threading
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.engine.feed import Gap, Notice, Reader
from holdfast.engine.masking import described

_log = logging.getLogger("holdfast.callbacks")

# A callback that takes longer than a few commits is waiting for something.
SLOW_MS: Final = 20
_SLOW_S: Final = SLOW_MS * NS_PER_MS / NS_PER_S
# Taken in a row before the next callback gets its turn.
TURN_MAX: Final = 64
# After so many callbacks the thread lets go of the interpreter, long enough for another thread to
# wake up and take it; without that the engine gets it only every switch interval (5 ms).
BREATH_EVERY: Final = 16
_BREATH_S: Final = 50e-6

Deliver = Callable[[Notice | Gap], None]


class Subscriber:
    """One callback with its place in the feed."""

    def __init__(self, reader: Reader, deliver: Deliver) -> None:
        self.reader = reader
        self.failed = 0
        self.is_slow = False
        self.lock = threading.Lock()
        self._deliver = deliver

    def serve_one(self) -> bool:
        """Deliver the next notice; False if there is none. What the callback raises is logged."""
        notice = self.reader.take()
        if notice is None:
            return False
        try:
            self._deliver(notice)
        except Exception as error:  # noqa: BLE001 - a callback's failure is its own
            self.failed += 1
            if self.failed & (self.failed - 1) == 0:  # the 1st, 2nd, 4th, 8th: not a flood
                _log.warning(
                    "callback %s raised %s (%d so far)",
                    self.reader.name,
                    described(error),
                    self.failed,
                )
        return True


class _Worker(threading.Thread):
    """The thread that serves all callbacks which behave, until it is replaced."""

    def __init__(self, owner: "CallbackThreads") -> None:
        super().__init__(name="holdfast-callbacks", daemon=True)
        self._owner = owner
        self._breath = threading.Lock()
        self._breath.acquire()
        self.serving: Subscriber | None = None
        self.served = 0
        self.is_busy = False
        self.is_replaced = False

    def run(self) -> None:
        """Serve whoever is behind each time something was published."""
        while self._owner.wait_for_signal():
            self.is_busy = True
            while self._round():
                pass
            self.is_busy = False
            if self.is_replaced:
                return

    def _round(self) -> bool:
        """Give every callback that is behind its turn; False once none was."""
        progress = False
        for subscriber in self._owner.subscribers:
            if not subscriber.reader.is_behind or not subscriber.lock.acquire(blocking=False):
                continue
            if subscriber.is_slow:
                subscriber.lock.release()
                _serve_apart(subscriber)
                continue
            progress = True
            self._turn(subscriber)
            if self.is_replaced:
                _drain(subscriber)
                return False
            subscriber.lock.release()
        return progress

    def _turn(self, subscriber: Subscriber) -> None:
        for _ in range(TURN_MAX):
            self.served += 1
            self.serving = subscriber
            more = subscriber.serve_one()
            self.serving = None
            if self.served % BREATH_EVERY == 0:
                self._breath.acquire(timeout=_BREATH_S)
            if not more or self.is_replaced:
                return


class CallbackThreads:
    """Runs blocking callbacks away from the loop."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._subscribers: dict[str, Subscriber] = {}
        self._signals: SimpleQueue[bool] = SimpleQueue()
        self._signalled = False
        self._worker: _Worker | None = None
        self._seen = (0, 0)
        self._watch: TimerHandle | None = None

    def add(self, subscriber: Subscriber) -> None:
        """Serve this callback from now on."""
        self._subscribers[subscriber.reader.name] = subscriber

    def remove(self, subscriber: Subscriber) -> None:
        """Serve it no longer; a call that is on its way still ends."""
        self._subscribers.pop(subscriber.reader.name, None)

    @property
    def subscribers(self) -> list[Subscriber]:
        """All callbacks served here."""
        return list(self._subscribers.values())

    @property
    def slow(self) -> list[str]:
        """The names of the callbacks that were found to block."""
        return [one.reader.name for one in self.subscribers if one.is_slow]

    @property
    def behind(self) -> list[str]:
        """The names of the callbacks that have not been given everything yet."""
        return [
            one.reader.name for one in self.subscribers if one.reader.is_behind or one.lock.locked()
        ]

    def signal(self) -> None:
        """Something was published; called on the loop's thread."""
        if not self._subscribers or self._signalled:
            return
        if self._worker is None:
            self._hire()
        self._signalled = True
        self._signals.put(True)
        if self._watch is None:
            self._watch = self._loop.call_later(_SLOW_S, self._look)

    def wait_for_signal(self) -> bool:
        """Wait, on the worker's thread, until something was published; False to end."""
        more = self._signals.get()
        self._signalled = False
        return more

    def close(self) -> None:
        """Let the thread end; a callback that blocks is left behind and dies with the process."""
        if self._watch is not None:
            self._watch.cancel()
        if self._worker is not None:
            self._worker.is_replaced = True
        self._worker = None
        self._subscribers.clear()
        self._signals.put(False)

    def _hire(self) -> None:
        self._worker = _Worker(self)
        self._worker.start()

    def _look(self) -> None:
        """Replace the worker if it still is where it was at the last look."""
        self._watch = None
        worker = self._worker
        assert worker is not None
        serving, seen = worker.serving, (id(worker), worker.served)
        if serving is not None and seen == self._seen:
            serving.is_slow = True
            worker.is_replaced = True
            _log.warning("callback %s blocks; it has a thread of its own now", serving.reader.name)
            self._hire()
            self._signals.put(True)
        self._seen = seen
        if worker.is_busy or self._signalled or not self._signals.empty():
            self._watch = self._loop.call_later(_SLOW_S, self._look)


def _serve_apart(subscriber: Subscriber) -> None:
    name = f"holdfast-callback-{subscriber.reader.name}"
    threading.Thread(target=_serve_slow, args=(subscriber,), name=name, daemon=True).start()


def _serve_slow(subscriber: Subscriber) -> None:
    while subscriber.reader.is_behind and subscriber.lock.acquire(blocking=False):
        _drain(subscriber)


def _drain(subscriber: Subscriber) -> None:
    """Serve a callback until it is up to date; its lock is held, and released here."""
    while subscriber.serve_one():
        pass
    subscriber.lock.release()
