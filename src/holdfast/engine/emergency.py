"""The record of what goes out while the journal cannot be written, and what is still owed of it.

One JSON line per act, before the act, in a file beside the journal and on the error stream; the
file may be on the same full disk, the stream is there then. Lines are only ever appended.
"""

import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from holdfast.domain.requests import OrderTerms

_log = logging.getLogger("holdfast.halted")

# A file of a few lines in all but the worst night; of a longer one the newest lines are read.
LINES_MAX: Final = 10_000


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act: an exit or a cancel about to be sent, how it ended, or that its desk has it.

    A switch that was turned (`kill`, `flatten`) has an id as an exit has, though nothing is sent
    under it. A `release` is the cancel of a group's order, of which the desk has to hear, or it
    would place the order anew; `failed` says that it was not carried out, and nothing is owed.
    """

    kind: Literal["exit", "cancel", "release", "kill", "flatten", "ended", "failed", "adopted"]
    at_ns: int
    wire_id: str
    symbol: str = ""
    terms: OrderTerms | None = None
    strategy: str = ""
    client_order_id: str = ""
    broker_order_id: str = ""
    text: str = ""
    action: Literal["cancel", "flatten"] = "cancel"
    by: str = ""
    reason: str = ""


# Those that hold entries back or close positions, though nothing is sent under their id.
SWITCHES: Final = frozenset({"kill", "flatten"})
# What a desk has to be handed.
_OWED: Final = frozenset({"exit", "release", *SWITCHES})

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def beside(journal: Path) -> Path:
    """Return where the record of a journal's halts is."""
    return journal.with_name(f"{journal.name}.emergency.jsonl")


def switch_words(line: Line) -> str:
    """Say which switch was turned, by whom and why."""
    what = f"kill switch, {line.action}" if line.kind == "kill" else "flatten"
    return f"{what} {line.symbol}".rstrip() + f": by {line.by}, {line.reason}"


class EmergencyLog:
    """Appends lines and tells what of them no desk has taken over since."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path` and the error stream, or to the stream alone."""
        self._path = path

    def write(self, line: Line) -> None:
        """Write a line wherever that is possible; it never raises."""
        data = _encode(line)
        sys.stderr.write(f"holdfast halted: {data.decode()}\n")
        sys.stderr.flush()
        if self._path is None:
            return
        try:
            with self._path.open("ab+") as file:
                # A line that a full disk tore must not swallow the one that follows it.
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                start = b"\n" if file.read(1) not in {b"\n", b""} else b""
                file.write(start + data + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _log.warning("%s could not be written: %s", self._path, error)

    def owed(self) -> list[Line]:
        """Return the exits, releases and switches that no desk has yet, oldest first."""
        sent: dict[str, Line] = {}
        for line in self._lines():
            if line.kind in _OWED:
                sent[line.wire_id] = line
            elif line.kind in {"adopted", "failed"}:
                sent.pop(line.wire_id, None)
        return list(sent.values())

    def _lines(self) -> list[Line]:
        if self._path is None or not self._path.exists():
            return []
        lines: list[Line] = []
        with self._path.open("rb") as file:
            newest = deque(enumerate(file, 1), maxlen=LINES_MAX)
        if newest and newest[0][0] > 1:
            _log.warning("%s: only its last %d lines were read", self._path, LINES_MAX)
        for number, data in newest:
            try:
                lines.append(_decode(data))
            except msgspec.MsgspecError as error:
                # A full disk tears lines; what was on the stream is for a person to compare.
                _log.warning("%s line %d cannot be read: %s", self._path, number, error)
        return lines
