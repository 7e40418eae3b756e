"""Desks at rest: a journal without its owner, folded for reading. Nothing is changed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from holdfast.domain.settings import Settings
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.engine.control_wire import encode, read_reply
from holdfast.engine.desks import UNCLAIMED
from holdfast.engine.emergency import SWITCHES, EmergencyLog, beside, switch_words
from holdfast.engine.group_reading import GroupReading
from holdfast.engine.reading import Health, unprotected
from holdfast.engine.recovery import recover
from holdfast.engine.results import GuardView, view_guard
from holdfast.engine.runner import Mode, Runner
from holdfast.journal.reader import SqliteReader
from holdfast.ports import Journal


class DeskAtRest(GroupReading):
    """The orders, executions, positions, groups and switches of a desk that nobody runs."""

    def __init__(self, reader: SqliteReader, name: str, emergency: EmergencyLog) -> None:
        """Fold the desk.

        Raises:
            JournalDamaged, JournalVersionError: the journal cannot be folded.
        """
        # Of a journal only the reading half is used here, of a runner only its desk and its time.
        self._journal = cast(Journal, reader)
        self._name = name
        self._emergency = emergency
        recovered = recover(self._journal, name, Settings())
        desk, self._seq = recovered.desk, recovered.seq
        # Its time stood still with its last record.
        at_rest = SimpleNamespace(desk=desk, now_ns=lambda: desk.state.stored.at_ns)
        self._runner = cast(Runner, at_rest)

    async def guard(self) -> GuardView:
        """Return the switches as they were, and those that the next start will turn."""
        desk = self._runner.desk
        owed = (line for line in self._emergency.owed() if line.kind in SWITCHES)
        ours = [line for line in owed if line.wire_id.startswith(desk.state.wire_prefix)]
        return view_guard(desk.guard, self._runner.now_ns(), tuple(map(switch_words, ours)))

    async def health(self) -> Health:
        """Tell what a journal can tell: which groups were not covered as its owner left."""
        state = self._runner.desk.state
        return Health(
            is_ok=False,
            mode=Mode.CLOSED,
            fault="no process owns this journal, so nobody looks after what it holds",
            desk=self._name,
            account=state.stored.account,
            durable_seq=self._seq,
            waiting=0,
            calls_open=0,
            last_poll_age_ms=-1,
            unclaimed=(),
            slow_callbacks=(),
            unprotected=unprotected(state.groups.open()),
        )


def read(journal: Path, method: str, params: dict[str, Any], *, desk: str = "") -> dict[str, Any]:
    """Answer one of the reading `METHODS` as the owner of the journal would, by desk.

    Raises:
        InputError: no such desk, or parameters that the method does not take.
        OrderStatusError: no such order.
        JournalError: there is no journal, or it cannot be read.
    """
    assert METHODS[method].reads, f"{method} needs the owner"
    reader = SqliteReader(journal)
    emergency = EmergencyLog(beside(journal))
    try:
        names = _meant(reader.desks(), method, desk)
        desks = {name: DeskAtRest(reader, name, emergency) for name in names}
        results = asyncio.run(carry_out(desks, method, params, desk, 0.0))
    finally:
        reader.close()
    # The same plain objects that an owner's answer would be read as.
    return read_reply(encode({"desks": results})).desks


def _meant(there: Sequence[str], method: str, desk: str) -> Sequence[str]:
    """Return the desks to fold: what is asked of one desk is not meant for an unclaimed one.

    An owner keeps that apart from its own desks, too: it has to be named.
    """
    if desk in there:
        return [desk]
    if METHODS[method].of_all:
        return there
    return [name for name in there if not name.startswith(UNCLAIMED)] or there
