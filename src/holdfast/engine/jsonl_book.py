"""The desk as its JSONL files see it: records folded one by one, and the rows each of them gives.

It is a second copy of the desk's memory, as bounded as the first: a row needs its order exactly as
it was after one record, and the running desk is ahead of that.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.state import State
from holdfast.engine.jsonl_rows import (
    Lines,
    PendingLine,
    Session,
    before_of,
    pending_line,
    rows_of,
)

_NONE: Final = Session()


class Book:
    """Folds a desk's records from the first one on; `seq` is the newest that it knows."""

    def __init__(self, seq: int = 0, state: State | None = None, session: Session = _NONE) -> None:
        """Begin with the first record, or after record `seq` with the desk's state then.

        `session` may be a later one, if no rows are wanted from before it began.
        """
        self.seq = seq
        self._state = state or State()
        offset_ns = self._state.stored.wall_offset_ns
        self._session = msgspec.structs.replace(session, wall_offset_ns=offset_ns)

    def take(self, seq: int, event: e.AnyEvent) -> Lines:
        """Fold the next record and return its rows.

        Raises:
            ValueError: it is not the next one.
        """
        if seq != self.seq + 1:
            raise ValueError(f"record {seq} was given where {self.seq + 1} comes next")
        state, number = self._state, getattr(event, "number", 0)
        before = before_of(event, state.order(number) if number else None)
        state.apply(event)
        self.seq = seq
        self._follow(seq, event)
        return rows_of(event, seq, state.order(number) if number else None, self._session, before)

    @property
    def session(self) -> Session:
        """The session of the newest record."""
        return self._session

    def rest(self) -> None:
        """Pack the orders that ended; once per batch is best."""
        self._state.rest()

    def pending(self) -> Iterator[PendingLine]:
        """Iterate over the orders that may still trade, oldest first."""
        for order in self._state.active.values():
            yield pending_line(order, self._session)

    def _follow(self, seq: int, event: e.AnyEvent) -> None:
        """A start begins a session; a set wall clock changes how times are shown."""
        stored, changes = self._state.stored, dict[str, Any]()
        if isinstance(event, e.DeskOpened | e.DeskResumed):
            changes = {
                "session_id": f"{stored.epoch}-{seq}",
                "bot_version": event.version,
                "config_hash": event.config,
            }
        elif not isinstance(event, e.ClockStepped):
            return
        self._session = msgspec.structs.replace(
            self._session,
            **changes,
            team_id=stored.name,
            execution_mode=stored.mode,
            wall_offset_ns=stored.wall_offset_ns,
        )
