import asyncio

from holdfast.engine.lanes import Lane
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
