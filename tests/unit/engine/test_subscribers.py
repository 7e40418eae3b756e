"""Callbacks in threads are shown in real time, held and let go by events, never by sleeping."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from holdfast.domain.events import AnomalyRecorded
from holdfast.engine.feed import Feed, Gap, Notice
from holdfast.engine.subscribers import Subscribers, as_anomaly, wants_anomalies
from holdfast.testing.world import virtual

WAIT_S = 10.0  # for what a thread should have done long before


def notice(seq: int) -> Notice:
    return Notice(seq, AnomalyRecorded(at_ns=seq, code="TEST", text=""))


def listen(
    subscribers: Subscribers,
    callback: Callable[..., object],
    name: str = "",
    on_gap: Callable[[Gap], None] | None = None,
) -> None:
    subscribers.add(callback, wants_anomalies, as_anomaly, name, on_gap)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a thread has done its part."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.001)


@contextmanager
def held() -> Iterator[threading.Event]:
    """A gate that holds callbacks, and lets them all go at the end."""
    gate = threading.Event()
    try:
        yield gate
    finally:
        gate.set()


def test_a_plain_function_runs_in_another_thread() -> None:
    """A callback that may block never runs on the engine's thread."""

    async def case() -> None:
        feed = Feed()
        subscribers = Subscribers(feed, asyncio.get_running_loop())
        seen: list[tuple[int, int]] = []
        listen(subscribers, lambda each: seen.append((each.at_ns, threading.get_ident())))
        feed.publish([notice(1), notice(2)])
        await until(lambda: len(seen) == 2)
        await subscribers.close()

        assert [at for at, _ in seen] == [1, 2]
        assert threading.get_ident() not in {thread for _, thread in seen}

    asyncio.run(case())


def test_one_that_blocks_does_not_hold_up_the_others_and_is_named() -> None:
    """A blocked callback gets a thread of its own; the rest go on (scenarios 90, 108)."""

    async def case(gate: threading.Event) -> None:
        feed = Feed()
        subscribers = Subscribers(feed, asyncio.get_running_loop())
        seen: list[int] = []
        listen(subscribers, lambda _: gate.wait(WAIT_S), "blocks")
        listen(subscribers, lambda each: seen.append(each.at_ns), "behaves")
        for seq in range(1, 6):
            feed.publish([notice(seq)])
        await until(lambda: len(seen) == 5)

        assert seen == [1, 2, 3, 4, 5]
        assert subscribers.slow == ["blocks"]
        gate.set()
        await subscribers.close()

    with held() as gate:
        asyncio.run(case(gate))


def test_one_that_blocked_gets_everything_once_it_is_back() -> None:
    """Being slow loses nothing as long as the ring has not lapped it."""

    async def case(gate: threading.Event) -> None:
        feed = Feed()
        subscribers = Subscribers(feed, asyncio.get_running_loop())
        seen: list[int] = []

        def slow(each: AnomalyRecorded) -> None:
            gate.wait(WAIT_S)
            seen.append(each.at_ns)

        listen(subscribers, slow)
        feed.publish([notice(1), notice(2)])
        await until(lambda: subscribers.slow != [])
        feed.publish([notice(3)])
        gate.set()
        await until(lambda: len(seen) == 3)
        feed.publish([notice(4)])
        await until(lambda: len(seen) == 4)

        assert seen == [1, 2, 3, 4]
        shared = [each for each in threading.enumerate() if each.name == "holdfast-callbacks"]
        assert len(shared) == 1
        await subscribers.close()

    with held() as gate:
        asyncio.run(case(gate))


def test_one_that_is_lapped_is_told_how_much_it_missed() -> None:
    """The queue of a blocked callback is cut with a gap and its name (scenario 108)."""

    async def case(gate: threading.Event) -> None:
        feed = Feed(8)
        subscribers = Subscribers(feed, asyncio.get_running_loop())
        gaps: list[Gap] = []
        listen(subscribers, lambda _: gate.wait(WAIT_S), "slow", gaps.append)
        feed.publish([notice(1)])
        await until(lambda: subscribers.slow != [])
        feed.publish([notice(seq) for seq in range(2, 40)])
        gate.set()
        await until(lambda: gaps != [])

        assert gaps == [Gap("slow", 31)]
        await subscribers.close()

    with held() as gate:
        asyncio.run(case(gate))


def test_a_hundred_that_block_leave_the_loop_alone() -> None:
    """However many callbacks block, none of them is ever waited for by the engine (scenario 90)."""

    async def case(gate: threading.Event) -> None:
        feed = Feed()
        loop = asyncio.get_running_loop()
        subscribers = Subscribers(feed, loop)
        for number in range(100):
            listen(subscribers, lambda _: gate.wait(WAIT_S), f"blocks-{number}")
        longest = 0.0
        for seq in range(50):
            before = loop.time()
            feed.publish([notice(seq)])
            longest = max(longest, loop.time() - before)
            await asyncio.sleep(0)
        # Waiting for one of them would take ten seconds; starting a thread takes a millisecond.
        assert longest < 1
        gate.set()
        await subscribers.close()

    with held() as gate:
        asyncio.run(case(gate))


def test_what_a_callback_raises_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is counted and logged, and the others run (scenario 74)."""

    async def case() -> None:
        feed = Feed()
        subscribers = Subscribers(feed, asyncio.get_running_loop())
        seen: list[int] = []

        def fails(_: AnomalyRecorded) -> None:
            raise ValueError("password=hunter2")

        async def fails_too(_: AnomalyRecorded) -> None:
            raise ValueError("password=hunter2")

        listen(subscribers, fails)
        listen(subscribers, fails_too)
        listen(subscribers, lambda each: seen.append(each.at_ns))
        feed.publish([notice(seq) for seq in range(100)])
        await until(lambda: len(seen) == 100)
        await subscribers.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(case())
    assert "hunter2" not in caplog.text
    assert 0 < len(caplog.records) < 20


@virtual
async def test_a_coroutine_function_runs_on_the_loop() -> None:
    """An async callback is a task of its own and gets its notices in order."""
    feed = Feed()
    subscribers = Subscribers(feed, asyncio.get_running_loop())
    seen: list[int] = []

    async def follow(each: AnomalyRecorded) -> None:
        await asyncio.sleep(60)
        seen.append(each.at_ns)

    listen(subscribers, follow)
    feed.publish([notice(1), notice(2)])
    await asyncio.sleep(130)
    await subscribers.close()

    assert seen == [1, 2]


@virtual
async def test_a_subscription_that_is_closed_gets_nothing_more() -> None:
    """After close nothing is delivered and nobody is counted as reading."""
    feed = Feed()
    subscribers = Subscribers(feed, asyncio.get_running_loop())
    seen: list[object] = []

    async def follow(each: AnomalyRecorded) -> None:
        seen.append(each)

    subscription = subscribers.add(follow, wants_anomalies, as_anomaly, "a", None)
    feed.publish([notice(1)])
    await asyncio.sleep(1)
    subscription.close()
    feed.publish([notice(2)])
    await asyncio.sleep(1)

    assert len(seen) == 1
    assert not feed
    await subscribers.close()


@virtual
async def test_closing_gives_callbacks_what_is_left_for_them() -> None:
    """What happened before a shutdown is delivered before it ends."""
    feed = Feed()
    subscribers = Subscribers(feed, asyncio.get_running_loop())
    seen: list[int] = []

    async def follow(each: AnomalyRecorded) -> None:
        await asyncio.sleep(0.1)
        seen.append(each.at_ns)

    listen(subscribers, follow)
    feed.publish([notice(1), notice(2), notice(3)])
    await subscribers.close()

    assert seen == [1, 2, 3]
