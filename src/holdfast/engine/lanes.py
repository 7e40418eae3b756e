"""Lanes: queues of calls, each worked off by a bounded number of tasks that live on.

A task per call would cost more than an instant broker's call itself, and a call without a task
could not use timeouts. So each lane keeps its tasks, and one that is about to wait has woken the
next one before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

_Job = TypeVar("_Job")


class Lane(Generic[_Job]):
    """Jobs in their order, at most `workers_max` of them at once.

    `work` must not raise anything but CancelledError. What waits is bounded by whoever puts it
    here: an order has one request in flight at a time.
    """

    def __init__(
        self, name: str, workers_max: int, work: Callable[[_Job], Awaitable[None]]
    ) -> None:
        self.name = name
        self._workers_max = workers_max
        self._work = work
        self._jobs: deque[_Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._waking = False

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._jobs)

    @property
    def busy(self) -> int:
        """Count the tasks that are at work or about to be."""
        return len(self._workers) - len(self._idle)

    def put(self, job: _Job) -> None:
        """Queue a job; `kick` starts it."""
        self._jobs.append(job)

    @property
    def first(self) -> _Job | None:
        """The job whose turn is next."""
        return self._jobs[0] if self._jobs else None

    def drop(self, is_late: Callable[[_Job], bool]) -> Iterator[_Job]:
        """Take out the jobs at the head of the queue that are too late to begin."""
        while self._jobs and is_late(self._jobs[0]):
            yield self._jobs.popleft()

    def kick(self) -> None:
        """Wake one worker, or hire one, if there is anything to do."""
        if not self._jobs or self._waking:
            return
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(None)
                self._waking = True
                return
        if len(self._workers) < self._workers_max:
            self._waking = True
            worker = asyncio.create_task(self._run(), name=f"{self.name}-{len(self._workers)}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self) -> None:
        """End all workers; what they were waiting for is left with an unknown outcome."""
        self._jobs.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._idle.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._waking = False
            while self._jobs:
                job = self._jobs.popleft()
                self.kick()
                await self._work(job)
            waiting: asyncio.Future[None] = loop.create_future()
            self._idle.append(waiting)
            await waiting
