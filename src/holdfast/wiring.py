"""The one place that names concrete journals: from what a program writes to an open manager."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self, TypeAlias

from holdfast.clock import Clock
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.desk_parts import POLL_INTERVAL_MS, SNAPSHOT_EVERY, Options, Parts
from holdfast.engine.manager import Manager
from holdfast.errors import InputError
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Broker, Journal

MEMORY: Final = "memory://"
SQLITE: Final = "sqlite:///"

JournalChoice: TypeAlias = str | os.PathLike[str] | Journal


class OrderManager(Manager):
    """Takes orders for a desk, gets them to the broker once, and follows them to their end."""

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913 - each is a choice of its own, all by name
        cls,
        *,
        journal: JournalChoice,
        broker: Broker,
        desk: str = "main",
        account: str = "paper",
        currency: str = "USD",
        instruments: Sequence[Instrument] = (),
        settings: Settings | None = None,
        poll_interval_ms: int = POLL_INTERVAL_MS,
        snapshot_every: int = SNAPSHOT_EVERY,
        clock: Clock | None = None,
        epoch: str = "",
    ) -> AsyncIterator[Self]:
        """Open a desk for the length of an `async with`; see `open_manager`."""
        manager = await cls.start(
            journal=journal,
            broker=broker,
            clock=clock,
            options=Options(
                desk=desk,
                account=account,
                currency=currency,
                instruments=instruments,
                settings=settings or Settings(),
                poll_interval_ms=poll_interval_ms,
                snapshot_every=snapshot_every,
                emergency_path=emergency_path(journal),
                epoch=epoch,
            ),
        )
        async with manager:
            yield manager

    @classmethod
    async def start(
        cls,
        *,
        journal: JournalChoice,
        broker: Broker,
        options: Options,
        clock: Clock | None = None,
    ) -> Self:
        """Open a desk until `shutdown`.

        `journal` is a file, `sqlite:///PATH`, `memory://`, or a journal that is open already and
        then belongs to the manager.

        Raises:
            InputError: no such kind of journal, or the desk was opened with other terms before.
            JournalError: the journal cannot be used; its message says what to do.
        """
        opened = open_journal(journal)
        try:
            parts = Parts(opened, broker, options, clock)
            try:
                await parts.open()
            except BaseException:
                await parts.abandon()
                raise
        except BaseException:
            opened.close()
            raise
        return cls(parts)


def open_journal(choice: JournalChoice) -> Journal:
    """Return the journal that a text or a path names.

    Raises:
        InputError: no such kind of journal.
        JournalError: it cannot be used; its message says what to do.
    """
    if not isinstance(choice, str | os.PathLike):
        return choice
    path = _path_of(choice)
    return MemoryJournal() if path is None else SqliteJournal(path)


def emergency_path(choice: JournalChoice) -> Path | None:
    """Return the file beside a journal that keeps what goes out while it cannot be written."""
    if isinstance(choice, SqliteJournal):
        choice = choice.path
    path = _path_of(choice) if isinstance(choice, str | os.PathLike) else None
    return None if path is None else path.with_name(path.name + ".emergency.jsonl")


def _path_of(choice: str | os.PathLike[str]) -> Path | None:
    """Return the file that a choice names, or None for memory."""
    text = os.fspath(choice)
    if text == MEMORY:
        return None
    if text.startswith(SQLITE):
        text = text.removeprefix(SQLITE)
    elif "://" in text:
        kind = text.partition("://")[0]
        raise InputError(f"journal {kind}://... is not known; use a file, {SQLITE}PATH or {MEMORY}")
    return Path(text)
