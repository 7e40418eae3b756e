import asyncio

import pytest

from holdfast.domain.events import AnomalyRecorded
from holdfast.engine import feed as feed_module
from holdfast.engine.feed import Feed, Gap, Notice
from holdfast.errors import Busy
from holdfast.testing.world import virtual


def notice(seq: int) -> Notice:
    return Notice(seq, AnomalyRecorded(at_ns=seq, code="TEST", text=""))


def numbers(taken: list[Notice | Gap | None]) -> list[object]:
    return [each.seq if isinstance(each, Notice) else each for each in taken]


def test_a_reader_sees_what_is_published_after_it_began() -> None:
    """Reading begins at the moment of asking, and keeps the order."""
    feed = Feed(8)
    feed.publish([notice(1)])
    reader = feed.reader("a")
    feed.publish([notice(2), notice(3)])

    assert numbers([reader.take(), reader.take(), reader.take()]) == [2, 3, None]


def test_nobody_reads_until_somebody_does() -> None:
    """Without readers the desk does not prepare any notice."""
    feed = Feed(8)
    assert not feed
    reader = feed.reader("a")
    assert feed
    feed.leave(reader)
    assert not feed


def test_a_reader_that_is_lapped_gets_a_gap_with_its_name() -> None:
    """A slow reader learns how much it missed and goes on with what is left (scenario 108)."""
    feed = Feed(4)
    slow, quick = feed.reader("slow"), feed.reader("quick")
    seen = []
    for seq in range(1, 11):
        feed.publish([notice(seq)])
        seen.append(quick.take())

    taken = [slow.take() for _ in range(5)]

    assert numbers(seen) == list(range(1, 11))
    assert taken[0] == Gap("slow", 7)
    assert numbers(taken[1:]) == [8, 9, 10, None]
    assert feed.statistics()["slow"] == {"taken": 3, "missed": 7, "behind": 0}


def test_a_reader_takes_only_what_it_wants() -> None:
    """What is not wanted is passed over, not delivered."""
    feed = Feed(8)
    reader = feed.reader("even", lambda each: each.seq % 2 == 0)
    feed.publish([notice(seq) for seq in range(1, 6)])

    assert numbers([reader.take(), reader.take(), reader.take()]) == [2, 4, None]
    assert not reader.is_behind


def test_names_are_made_unique() -> None:
    """Two callbacks of one name can be told apart."""
    feed = Feed(8)
    assert feed.reader("a").name == "a"
    assert feed.reader("a").name != "a"


def test_readers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that leaks readers is told so."""
    monkeypatch.setattr(feed_module, "READERS_MAX", 1)
    feed = Feed(8)
    feed.reader("a")
    with pytest.raises(Busy, match="close those"):
        feed.reader("b")


@virtual
async def test_waiting_ends_with_the_next_notice() -> None:
    """A reader that waits is woken by the publication, once."""
    feed = Feed(8)
    reader = feed.reader("a")
    waiting = asyncio.create_task(reader.wait())
    await asyncio.sleep(1)
    feed.publish([notice(1), notice(2)])

    assert numbers([await waiting, await reader.wait()]) == [1, 2]


@virtual
async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    """Waiting with a timeout, again and again, does not pile up."""
    feed = Feed(8)
    reader = feed.reader("a")
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.wait(), 1)

    assert len(feed.sleepers) == 1
    feed.publish([notice(1)])
    assert numbers([await reader.wait()]) == [1]
