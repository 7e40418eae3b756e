"""Events to stored records and back, and the chain of hashes that holds them together.

Rule 1: a hash is SHA-256 over the stored bytes `prev, desk, seq, at_ns, kind, body`, in this
order, each behind its length as four bytes; texts are UTF-8, numbers eight bytes, signed; every
number is big-endian. No two different records have the same bytes under the hash.
Rule 2: what was stored is checked before it is decoded: bytes that differ from what was written
are damage; bytes that are as written and cannot be read come from a newer version.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from holdfast.domain.events import KINDS, AnyEvent
from holdfast.errors import JournalDamaged, JournalVersionError
from holdfast.journal.upcast import UPCASTERS
from holdfast.ports import Head, Record

Row: TypeAlias = tuple[str, int, int, str, bytes, bytes, bytes]

HASH_BYTES: Final = 32

_encode: Final = msgspec.json.Encoder(decimal_format="string").encode
_decode: Final = msgspec.json.Decoder(AnyEvent).decode
_length: Final = struct.Struct(">I").pack
_numbers: Final = struct.Struct(">IqIq").pack
_PREV_LENGTH: Final = _length(HASH_BYTES)


@lru_cache(maxsize=256)
def _part(text: str) -> bytes:
    data = text.encode()
    return _length(len(data)) + data


_KNOWN: Final = {kind: (name, _part(name)) for kind, name in KINDS.items()}
_NAMES: Final = frozenset(KINDS.values())


def seal_rows(desk: str, head: Head, events: Sequence[AnyEvent]) -> tuple[list[Row], Head]:
    """Encode and chain events that follow `head`; a row has the fields of `Record` in order.

    Raises:
        KeyError: an object that is no event.
        TypeError: an event that holds what JSON cannot.
    """
    rows: list[Row] = []
    append, digest, join, known = rows.append, sha256, b"".join, _KNOWN
    desk_part = _part(desk)
    seq, at_ns, prev = head.seq, head.at_ns, head.hash
    for event in events:
        seq += 1
        at_ns = event.at_ns
        kind, kind_part = known[type(event)]
        body = _encode(event)
        covered = (
            _PREV_LENGTH, prev, desk_part, _numbers(8, seq, 8, at_ns), kind_part,
            _length(len(body)), body,
        )  # fmt: skip
        link = digest(join(covered)).digest()
        append((desk, seq, at_ns, kind, body, prev, link))
        prev = link
    return rows, Head(seq=seq, at_ns=at_ns, hash=prev)


def seal(desk: str, head: Head, events: Sequence[AnyEvent]) -> tuple[list[Record], Head]:
    """Encode and chain events that follow `head`; returns their records and the new head."""
    rows, after = seal_rows(desk, head, events)
    return [Record(*row) for row in rows], after


def link_of(record: Record) -> bytes:
    """Compute the hash that a record must have from its other fields."""
    covered = (
        _length(len(record.prev)), record.prev, _part(record.desk),
        _numbers(8, record.seq, 8, record.at_ns), _part(record.kind),
        _length(len(record.body)), record.body,
    )  # fmt: skip
    return sha256(b"".join(covered)).digest()


def decode(record: Record) -> AnyEvent:
    """Return the event of a record whose hash was checked.

    Raises:
        JournalVersionError: a kind, or a value of a field, that this version does not know.
        JournalDamaged: the body is no JSON object, or not of the record's kind.
    """
    upcast = UPCASTERS.get(record.kind)
    if upcast is None and record.kind not in _NAMES:
        raise JournalVersionError(
            f"record {record.seq} of desk {record.desk!r} is of kind {record.kind!r}, which this "
            "version does not know; it was written by a newer Holdfast: upgrade this one"
        )
    kind, body = record.kind, record.body
    try:
        if upcast is not None:
            fields = upcast(msgspec.json.decode(body))
            kind, body = fields["kind"], msgspec.json.encode(fields)
        event: AnyEvent = _decode(body)
    except msgspec.ValidationError as error:
        raise JournalVersionError(
            f"record {record.seq} of desk {record.desk!r} ({record.kind}) holds what this version "
            f"cannot read ({error}); it was written by a newer Holdfast: upgrade this one"
        ) from error
    except msgspec.DecodeError as error:
        what = f"{record.seq} is stored as {record.kind!r} but is no JSON ({error})"
        raise damaged(record.desk, record.seq, what) from error
    found = KINDS[type(event)]
    if found != kind:
        what = f"{record.seq} is stored as {record.kind!r} but calls itself {found!r}"
        raise damaged(record.desk, record.seq, what)
    return event


class Chain:
    """What must come next in a desk's records; tells what is wrong with the one that came."""

    __slots__ = ("desk", "hash", "seq")

    def __init__(self, desk: str, seq: int = 0, link: bytes = bytes(HASH_BYTES)) -> None:
        self.desk, self.seq, self.hash = desk, seq, link

    def fault(self, record: Record) -> JournalDamaged | None:
        """Step to this record; return what does not fit, naming the first record concerned.

        The chain goes on from the record as it is stored, so that one damaged record is one fault
        and not a fault in all that follow.
        """
        expected, prev = self.seq + 1, self.hash
        try:
            intact = link_of(record) == record.hash
        except (AttributeError, struct.error, TypeError):  # a damaged page can hold any type
            self.seq = expected
            return damaged(self.desk, expected, f"{expected} is not what was written")
        self.seq, self.hash = record.seq, record.hash
        if record.seq != expected:
            last = record.seq - 1
            gap = f"{expected} is" if last == expected else f"{expected} to {last} are"
            return damaged(self.desk, expected, f"{gap} missing: {record.seq} comes next")
        if not intact:
            return damaged(self.desk, expected, f"{expected} is not what was written")
        if record.prev != prev:
            what = f"{expected} was written after another record than the one before it"
            return damaged(self.desk, expected, what)
        return None


def damaged(desk: str, seq: int, what: str) -> JournalDamaged:
    """Word the error for a record of a desk; `what` begins with the number."""
    return JournalDamaged(
        f"desk {desk!r}: record {what}. Nothing after record {seq - 1} can be trusted: run "
        "`holdfast verify` to see all that is damaged, then restore the journal from a backup",
        desk=desk,
        seq=seq,
    )
