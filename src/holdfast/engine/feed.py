"""News for whoever wants them: durable events, in one ring that all readers share.

Rule 1: publishing costs the same however many read and however slow they are. The ring never
waits; a reader that it laps is told how much it missed, and its name is kept.
Rule 2: nothing gets here before it is durable.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from holdfast.domain.events import AnyEvent
from holdfast.engine.group_views import GroupView
from holdfast.engine.views import OrderView
from holdfast.errors import Busy

# How far a reader may fall behind: a few seconds of a busy desk.
RING_SIZE: Final = 16_384
# Readers at once: more is a leak of the program that subscribes.
READERS_MAX: Final = 4_096


class Notice(Struct, frozen=True):
    """One durable event, its number in the journal, and its order right after it, if it has one.

    An event about a group comes with the group.
    """

    seq: int
    event: AnyEvent
    order: OrderView | None = None
    group: GroupView | None = None


class Gap(Struct, frozen=True):
    """In this place `missed` notices are missing, because the reader `name` was too slow."""

    name: str
    missed: int


Wanted: TypeAlias = Callable[[Notice], bool]


class Reader:
    """A place in the ring, and what became of the notices it passed."""

    def __init__(self, feed: "Feed", name: str, wanted: Wanted | None) -> None:
        self.name = name
        self.taken = 0
        self.missed = 0
        self._feed = feed
        self._wanted = wanted
        self._next = feed.end
        self._waiting: asyncio.Future[None] | None = None

    @property
    def is_behind(self) -> bool:
        """Tell whether there is something that was not taken."""
        return self._next < self._feed.end

    def take(self) -> Notice | Gap | None:
        """Take the next notice, or the gap in its place; None if there is none now.

        Any thread may call it, one at a time.
        """
        while self._next < self._feed.end:
            notice = self._feed.at(self._next)
            if notice is None:
                oldest = self._feed.oldest
                missed, self._next = oldest - self._next, oldest
                self.missed += missed
                return Gap(self.name, missed)
            self._next += 1
            if self._wanted is None or self._wanted(notice):
                self.taken += 1
                return notice
        return None

    async def wait(self) -> Notice | Gap:
        """Take the next notice, or wait for it."""
        while (notice := self.take()) is None:
            self._waiting = asyncio.get_running_loop().create_future()
            self._feed.sleepers[self] = None
            await self._waiting
        return notice

    def wake(self) -> None:
        """Let `wait` look again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Feed:
    """The ring. One thread publishes, any may read: a slot holds its notice and its number."""

    def __init__(self, size: int = RING_SIZE) -> None:
        self.sleepers: dict[Reader, None] = {}
        self.end = 0
        self._size = size
        self._slots: list[tuple[int, Notice] | None] = [None] * size
        self._readers: dict[str, Reader] = {}
        self._named = 0
        self.on_publish: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        """Tell whether anybody reads; if not, nothing needs to be published."""
        return bool(self._readers)

    @property
    def oldest(self) -> int:
        """The number of the oldest notice still there, with room for one being overwritten."""
        return max(0, self.end - self._size + 1)

    @property
    def readers(self) -> tuple[Reader, ...]:
        """All who read."""
        return tuple(self._readers.values())

    def reader(self, name: str, wanted: Wanted | None = None) -> Reader:
        """Begin to read from here on, under a name that is made unique.

        Raises:
            Busy: there are as many readers as there may be.
        """
        if len(self._readers) >= READERS_MAX:
            raise Busy(
                f"{READERS_MAX} readers follow this desk, as many as may; "
                "close those that are no longer used"
            )
        self._named += 1
        unique = name if name not in self._readers else f"{name}#{self._named}"
        reader = self._readers[unique] = Reader(self, unique, wanted)
        return reader

    def leave(self, reader: Reader) -> None:
        """Stop reading."""
        self._readers.pop(reader.name, None)

    def at(self, number: int) -> Notice | None:
        """Return the notice of that number, or None if it was overwritten."""
        slot = self._slots[number % self._size]
        return slot[1] if slot is not None and slot[0] == number else None

    def publish(self, notices: Sequence[Notice]) -> None:
        """Put notices in, in their order, and wake who waits."""
        for notice in notices:
            self._slots[self.end % self._size] = (self.end, notice)
            self.end += 1
        sleepers, self.sleepers = self.sleepers, {}
        for reader in sleepers:
            reader.wake()
        if self.on_publish is not None:
            self.on_publish()

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return per reader: taken, missed, and how far behind it is."""
        return {
            name: {
                "taken": reader.taken,
                "missed": reader.missed,
                "behind": self.end - min(self.end, reader._next),  # noqa: SLF001 - its own class
            }
            for name, reader in self._readers.items()
        }
