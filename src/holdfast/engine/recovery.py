"""A desk out of its journal: the newest usable snapshot, and every record after it folded in."""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.desk import FORMAT, Desk
from holdfast.domain.settings import Settings
from holdfast.engine.masking import described
from holdfast.journal.codec import decode
from holdfast.ports import Journal, StoredSnapshot

_log = logging.getLogger("holdfast.recovery")


class _Numbered(Struct):
    number: int


_numbered: Final = msgspec.json.Decoder(_Numbered).decode


class Recovered(Struct, kw_only=True):
    """A desk as of record `seq`, the time of that record, and how many records were folded."""

    desk: Desk
    seq: int
    at_ns: int
    folded: int
    snapshot_seq: int


def recover(journal: Journal, name: str, settings: Settings) -> Recovered:
    """Fold a desk from its journal; an empty journal gives a desk that is not opened yet.

    A snapshot that cannot be used costs time and is left out: it is never the truth.

    Raises:
        JournalDamaged: a record is not what was written, or one is missing.
        JournalVersionError: a record of a kind that only a newer version knows.
    """
    head = journal.head(name)
    desk, start = _from_snapshot(journal.load_snapshot(name), head.seq, settings)
    seq, at_ns = start, head.at_ns
    for record in journal.records(name, start):
        desk.apply(decode(record))
        seq, at_ns = record.seq, record.at_ns
    return Recovered(desk=desk, seq=seq, at_ns=at_ns, folded=seq - start, snapshot_seq=start)


def _from_snapshot(
    stored: StoredSnapshot | None, head_seq: int, settings: Settings
) -> tuple[Desk, int]:
    if stored is None:
        return Desk(settings), 0
    if stored.format != FORMAT or stored.seq > head_seq:
        _log.warning(
            "the snapshot at record %d has format %d, this version writes %d, and the journal "
            "ends at %d; every record is folded instead",
            stored.seq,
            stored.format,
            FORMAT,
            head_seq,
        )
        return Desk(settings), 0
    try:
        return Desk.load(stored.body, settings), stored.seq
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the records are there
        _log.warning(
            "the snapshot at record %d cannot be read (%s); every record is folded instead",
            stored.seq,
            described(error),
        )
        return Desk(settings), 0


def recall(journal: Journal, name: str, wanted: Sequence[str]) -> dict[int, bytes]:
    """Return the bodies of archived orders by number, for names as `Desk.missing` gives them."""
    numbers = [int(each[2:]) for each in wanted if each.startswith("n:")]
    bodies = dict(journal.bodies(name, numbers)) if numbers else {}
    if others := [each for each in wanted if not each.startswith("n:")]:
        for body in journal.recall(name, others).values():
            bodies[_numbered(body).number] = body
    return bodies
