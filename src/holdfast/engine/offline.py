"""Desks at rest: a journal without its owner, folded for reading. Nothing is changed."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from holdfast.domain.settings import Settings
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.engine.control_wire import encode, read_reply
from holdfast.engine.group_reading import GroupReading
from holdfast.engine.recovery import recover
from holdfast.engine.runner import Runner
from holdfast.journal.reader import SqliteReader
from holdfast.ports import Journal


class DeskAtRest(GroupReading):
    """The orders, executions, positions and groups of a desk that nobody runs."""

    def __init__(self, reader: SqliteReader, name: str) -> None:
        """Fold the desk.

        Raises:
            JournalDamaged, JournalVersionError: the journal cannot be folded.
        """
        # Of a journal only the reading half is used here, of a runner only its desk and its time.
        self._journal = cast(Journal, reader)
        self._name = name
        desk = recover(self._journal, name, Settings()).desk
        # Its time stood still with its last record.
        at_rest = SimpleNamespace(desk=desk, now_ns=lambda: desk.state.stored.at_ns)
        self._runner = cast(Runner, at_rest)


def read(journal: Path, method: str, params: dict[str, Any], *, desk: str = "") -> dict[str, Any]:
    """Answer one of the reading `METHODS` as the owner of the journal would, by desk.

    Raises:
        InputError: no such desk, or parameters that the method does not take.
        OrderStatusError: no such order.
        JournalError: there is no journal, or it cannot be read.
    """
    assert METHODS[method].reads, f"{method} needs the owner"
    reader = SqliteReader(journal)
    try:
        names = [desk] if desk in reader.desks() else reader.desks()
        desks = {name: DeskAtRest(reader, name) for name in names}
        results = asyncio.run(carry_out(desks, method, params, desk, 0.0))
    finally:
        reader.close()
    # The same plain objects that an owner's answer would be read as.
    return read_reply(encode({"desks": results})).desks
