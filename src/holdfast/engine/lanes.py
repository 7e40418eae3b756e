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


class Turns(Generic[_Job]):
    """A queue in which those who put jobs into it take turns, and each one's jobs their order."""

    def __init__(self) -> None:
        self._by_owner: dict[str, deque[tuple[_Job, float]]] = {}
        # The owners' queues that are not empty; the first is next.
        self._ring: deque[deque[tuple[_Job, float]]] = deque()
        self._count = 0

    def __len__(self) -> int:
        """Count the jobs."""
        return self._count

    def has(self, owner: str) -> bool:
        """Tell whether a job of somebody waits."""
        return bool(self._by_owner.get(owner))

    def put(self, job: _Job, owner: str, since: float) -> None:
        """Add a job of somebody, who began to wait then."""
        queue = self._by_owner.get(owner)
        if queue is None:
            queue = self._by_owner[owner] = deque()
        if not queue:
            self._ring.append(queue)
        queue.append((job, since))
        self._count += 1

    def pop(self) -> _Job:
        """Take out the next job; raises IndexError where there is none."""
        queue = self._ring[0]
        job = queue.popleft()[0]
        self._count -= 1
        if not queue:
            self._ring.popleft()
        else:
            self._ring.rotate(-1)
        return job

    @property
    def since(self) -> float:
        """When the next job began to wait; there must be one."""
        return self._ring[0][0][1]

    def heads(self) -> Iterator[_Job]:
        """Iterate over everybody's first job."""
        return (queue[0][0] for queue in self._ring)

    def drop(self, is_late: Callable[[_Job], bool]) -> list[_Job]:
        """Take out the jobs at the heads of the queues that are too late to begin."""
        dropped: list[_Job] = []
        for queue in self._ring:
            while queue and is_late(queue[0][0]):
                dropped.append(queue.popleft()[0])
        if dropped:
            self._count -= len(dropped)
            self._ring = deque(queue for queue in self._ring if queue)
        return dropped

    def remove(self, job: _Job, owner: str) -> None:
        """Take out a job of somebody; nothing happens if it does not wait any more."""
        queue = self._by_owner.get(owner, deque())
        for entry in queue:
            if entry[0] is job:
                queue.remove(entry)
                self._count -= 1
                break
        if not queue:
            self._ring = deque(queue for queue in self._ring if queue)

    def forget(self, owner: str) -> None:
        """Take out all jobs of somebody."""
        queue = self._by_owner.pop(owner, None)
        if queue:
            self._count -= len(queue)
            queue.clear()
            self._ring = deque(queue for queue in self._ring if queue)

    def clear(self) -> None:
        """Forget all jobs."""
        self._by_owner.clear()
        self._ring.clear()
        self._count = 0


class Lane(Generic[_Job]):
    """Jobs in turns of their owners, at most `workers_max` of them at once.

    `work` must not raise anything but CancelledError. `may_begin` is asked before each job, and
    whoever says no kicks the lane later. What waits is bounded by whoever puts it here: an order
    has one request in flight at a time.
    """

    def __init__(
        self,
        name: str,
        workers_max: int,
        work: Callable[[_Job], Awaitable[None]],
        may_begin: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self._workers_max = workers_max
        self._work = work
        self._may_begin = may_begin
        self._jobs: Turns[_Job] = Turns()
        self._idle: list[asyncio.Future[None]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._waking = False

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._jobs)

    def has(self, owner: str) -> bool:
        """Tell whether a job of somebody waits."""
        return self._jobs.has(owner)

    @property
    def busy(self) -> int:
        """Count the tasks that are at work or about to be."""
        return len(self._workers) - len(self._idle)

    @property
    def is_ready(self) -> bool:
        """Tell whether a job waits that could begin at once."""
        return len(self._jobs) > 0 and self._at_work < self._workers_max

    @property
    def since(self) -> float:
        """When the job whose turn is next began to wait; there must be one."""
        return self._jobs.since

    def put(self, job: _Job, owner: str = "", since: float = 0.0) -> None:
        """Queue a job; `kick` starts it."""
        self._jobs.put(job, owner, since)

    def heads(self) -> Iterator[_Job]:
        """Iterate over the first jobs of all owners."""
        return self._jobs.heads()

    def drop(self, is_late: Callable[[_Job], bool]) -> list[_Job]:
        """Take out the first jobs of all owners that are too late to begin."""
        return self._jobs.drop(is_late)

    def remove(self, job: _Job, owner: str = "") -> None:
        """Take out a job that nobody wants any more, if it still waits."""
        self._jobs.remove(job, owner)

    def forget(self, owner: str) -> None:
        """Take out all jobs of somebody who has gone."""
        self._jobs.forget(owner)

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
            while self._jobs and (self._may_begin is None or self._may_begin()):
                job = self._jobs.pop()
                self._at_work += 1
                self.kick()
                try:
                    await self._work(job)
                finally:
                    self._at_work -= 1
            waiting: asyncio.Future[None] = loop.create_future()
            self._idle.append(waiting)
            await waiting
