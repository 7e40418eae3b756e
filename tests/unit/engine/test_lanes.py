import asyncio

import pytest

from holdfast.engine.lanes import Lane, Turns
from holdfast.testing.world import virtual


async def idle() -> None:
    """Let everything run that can run without time passing."""
    await asyncio.sleep(0.001)


@virtual
async def test_jobs_that_do_not_wait_need_one_worker() -> None:
    """A hundred instant jobs run in their order, and hire two workers at most."""
    done: list[int] = []

    async def work(job: int) -> None:
        done.append(job)

    lane = Lane("test", 64, work)
    for job in range(100):
        lane.put(job)
    lane.kick()
    await idle()

    assert done == list(range(100))
    assert len(lane._workers) <= 2
    await lane.close()


@virtual
async def test_jobs_that_wait_run_side_by_side_up_to_the_bound() -> None:
    """Five slow jobs on three workers: three begin at once, the others as room is made."""
    begun: list[int] = []
    gate = asyncio.Event()

    async def work(job: int) -> None:
        begun.append(job)
        await gate.wait()

    lane = Lane("test", 3, work)
    for job in range(5):
        lane.put(job)
    lane.kick()
    await idle()
    first = list(begun)
    gate.set()
    await idle()

    assert first == [0, 1, 2]
    assert begun == [0, 1, 2, 3, 4]
    assert (len(lane), lane.busy) == (0, 0)
    await lane.close()


@virtual
async def test_an_idle_worker_is_woken_for_later_jobs() -> None:
    """Jobs that come after a pause are taken up by the workers that are there."""
    done: list[int] = []

    async def work(job: int) -> None:
        await asyncio.sleep(1)
        done.append(job)

    lane = Lane("test", 2, work)
    for job in range(3):
        lane.put(job)
        lane.kick()
        await asyncio.sleep(10)

    assert done == [0, 1, 2]
    assert len(lane._workers) == 1
    await lane.close()


@virtual
async def test_closing_ends_what_is_at_work_and_forgets_what_waits() -> None:
    """After close no worker is left and no job begins."""
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(job: int) -> None:
        begun.append(job)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    lane = Lane("test", 1, work)
    lane.put(1)
    lane.put(2)
    lane.kick()
    await idle()
    await lane.close()
    await idle()

    assert (begun, cancelled, lane._workers) == ([1], [1], set())


def test_owners_take_turns() -> None:
    """Whoever queues a thousand jobs is one among others, and each one's jobs keep their order."""
    turns: Turns[str] = Turns()
    for number in range(1_000):
        turns.put(f"a{number}", "a", 0.0)
    turns.put("b0", "b", 1.0)
    turns.put("c0", "c", 1.0)
    turns.put("b1", "b", 2.0)

    assert [turns.pop() for _ in range(6)] == ["a0", "b0", "c0", "a1", "b1", "a2"]
    assert len(turns) == 997


def test_late_jobs_of_every_owner_are_dropped() -> None:
    """The first jobs of all owners are looked at, and those that are not late keep their turns."""
    turns: Turns[int] = Turns()
    for job, owner in ((1, "a"), (5, "a"), (2, "b"), (6, "c")):
        turns.put(job, owner, 0.0)

    dropped = turns.drop(lambda job: job < 3)

    assert dropped == [1, 2]
    assert [turns.pop() for _ in range(len(turns))] == [5, 6]
    with pytest.raises(IndexError):
        turns.pop()


def test_jobs_that_nobody_wants_any_more_are_taken_out() -> None:
    """One job, or all of an owner who has gone: the others keep their turns."""
    turns: Turns[str] = Turns()
    for job in ("a0", "b0", "a1", "c0", "a2", "b1"):
        turns.put(job, job[0], 0.0)

    turns.remove("a1", "a")
    turns.remove("c0", "c")
    turns.remove("x", "x")
    turns.forget("b")
    turns.forget("y")
    turns.put("b2", "b", 0.0)
    turns.put("c1", "c", 0.0)

    assert [turns.pop() for _ in range(len(turns))] == ["a0", "b2", "c1", "a2"]
    assert not turns.has("a")


@virtual
async def test_a_lane_begins_nothing_that_may_not_begin() -> None:
    """A job that may not begin yet stays in its lane until the lane is kicked again."""
    done: list[int] = []
    allowed = [True, False]

    async def work(job: int) -> None:
        done.append(job)

    lane = Lane("test", 2, work, lambda: bool(allowed) and allowed.pop(0))
    lane.put(1)
    lane.put(2)
    lane.kick()
    await idle()
    before = list(done)
    allowed.append(True)
    lane.kick()
    await idle()

    assert (before, done, len(lane)) == ([1], [1, 2], 0)
    await lane.close()
