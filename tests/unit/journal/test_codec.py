"""Events become bytes and hashes that must stay as they are for ever."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from holdfast.domain import events as e
from holdfast.domain.reports import Execution
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition, OrderType, Side
from holdfast.errors import JournalDamaged, JournalVersionError
from holdfast.journal.codec import Chain, decode, link_of, seal
from holdfast.journal.upcast import UPCASTERS
from holdfast.ports import Head, Record

EVENTS: Final[tuple[e.AnyEvent, ...]] = (
    e.DeskOpened(at_ns=1, desk="alpha", epoch="0123456789ab", account="main", currency="USD"),
    e.OrderSubmitted(
        at_ns=2,
        number=1,
        terms=OrderTerms(
            symbol="TSLA",
            side=Side.BUY,
            quantity=Decimal("1.50"),
            order_type=OrderType.LIMIT,
            limit_price=Decimal("250.30"),
        ),
        deadline_ns=3,
        not_after_ns=4,
        strategy="momentum",
    ),
    e.OrderFilled(
        at_ns=5,
        number=1,
        broker_order_id="b-1",
        execution=Execution(execution_id="e-1", quantity=Decimal("1.50"), price=Decimal("250.3")),
    ),
)

# Written down when format 1 was made; a journal of today must verify with every later version.
BODIES: Final = b"""
{"kind":"desk_opened","at_ns":1,"desk":"alpha","epoch":"0123456789ab","account":"main",\
"currency":"USD"}
{"kind":"order_submitted","at_ns":2,"number":1,"terms":{"symbol":"TSLA","side":"buy",\
"quantity":"1.50","order_type":"limit","limit_price":"250.30"},"deadline_ns":3,\
"not_after_ns":4,"strategy":"momentum"}
{"kind":"order_filled","at_ns":5,"number":1,"broker_order_id":"b-1",\
"execution":{"execution_id":"e-1","quantity":"1.50","price":"250.3"}}
""".split()
LAST_HASH: Final = "fe3c9bef0a0cc1cbe3231fdf7c567f56c4bebad2ac18faae6b427ffc402a0e7c"
KINDS: Final = """
desk_opened instrument_defined opening_balance_set clock_stepped desk_resumed order_submitted
order_accepted order_rejected order_failed order_filled execution_corrected cumulative_reported
order_canceled order_expired order_completed order_restated order_replaced condition_changed
report_noted broker_order_ended cancel_requested replace_requested wish_sent wish_acknowledged
wish_delayed wish_unknown wish_refused wish_closed lookup_started lookup_ended alive_reported
order_revived order_resolved anomaly_recorded orders_archived order_recalled
"""


def sealed() -> list[Record]:
    return seal("alpha", Head(), EVENTS)[0]


def test_an_event_is_stored_as_it_always_was() -> None:
    """Bodies and hashes equal those written down by hand: they are on disk for ever."""
    records = sealed()
    assert [record.body for record in records] == BODIES
    assert records[-1].hash.hex() == LAST_HASH


def test_no_kind_was_renamed_or_dropped() -> None:
    """Every kind that was ever on disk is still known, under its name."""
    assert set(KINDS.split()) <= set(e.KINDS.values())


def test_a_hash_covers_every_field_behind_its_length() -> None:
    """The hash is SHA-256 over prev, desk, seq, time, kind and body, each behind its length."""

    def part(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    prev = bytes(32)
    for number, (event, record) in enumerate(zip(EVENTS, sealed(), strict=True), 1):
        covered = (
            part(prev) + part(b"alpha") + part(number.to_bytes(8, "big"))
            + part(event.at_ns.to_bytes(8, "big")) + part(record.kind.encode()) + part(record.body)
        )  # fmt: skip
        assert record.hash == hashlib.sha256(covered).digest()
        assert (record.seq, record.prev) == (number, prev)
        prev = record.hash


@pytest.mark.parametrize(
    "change",
    [
        {"desk": "alphb"},
        {"seq": 3},
        {"at_ns": 3},
        {"kind": "order_accepted"},
        {"body": BODIES[1] + b" "},
        {"prev": bytes(31) + b"\x01"},
        {"kind": "order_submitted{", "body": BODIES[1][1:]},
    ],
)
def test_no_field_can_change_under_the_same_hash(change: dict[str, Any]) -> None:
    """Any change to any field gives another hash, bytes moved between two fields included."""
    record = sealed()[1]
    assert link_of(record) == record.hash
    assert link_of(replace(record, **change)) != record.hash


def test_sealing_goes_on_from_any_head() -> None:
    """Sealed in pieces or at once, the same events give the same records (scenario 99)."""
    first, head = seal("alpha", Head(), EVENTS[:1])
    rest, last = seal("alpha", head, EVENTS[1:])
    assert first + rest == sealed()
    assert last == Head(seq=3, at_ns=5, hash=rest[-1].hash)
    assert seal("alpha", last, []) == ([], last)


def test_every_event_comes_back_as_it_was() -> None:
    """Decoding gives back the event that was sealed."""
    assert tuple(decode(record) for record in sealed()) == EVENTS


def test_a_raw_body_inside_an_event_comes_back() -> None:
    """An order's whole body travels inside its recall unchanged."""
    event = e.OrderRecalled(at_ns=1, number=1, body=msgspec.Raw(b'{"quantity":"1.10"}'))
    [record], _ = seal("alpha", Head(), [event])
    again = decode(record)
    assert isinstance(again, e.OrderRecalled)
    assert bytes(again.body) == b'{"quantity":"1.10"}'


def stored(kind: str, body: bytes) -> Record:
    return Record("alpha", 7, 1, kind, body, bytes(32), bytes(32))


@pytest.mark.parametrize(
    ("record", "error", "said"),
    [
        (stored("order_teleported", b"{}"), JournalVersionError, "order_teleported"),
        (
            stored(
                "condition_changed",
                b'{"kind":"condition_changed","at_ns":1,"number":1,"condition":"x"}',
            ),
            JournalVersionError,
            "Invalid enum value",
        ),
        (stored("order_failed", b'{"kind":"order_failed"'), JournalDamaged, "no JSON"),
        (
            stored("order_failed", b'{"kind":"clock_stepped","at_ns":1,"wall_offset_ns":1}'),
            JournalDamaged,
            "clock_stepped",
        ),
    ],
)
def test_a_record_that_cannot_be_an_event_is_named(
    record: Record, error: type[Exception], said: str
) -> None:
    """An unknown kind or value asks for a newer version; a body of another kind is damage."""
    with pytest.raises(error, match=said) as caught:
        decode(record)
    assert "record 7" in str(caught.value)
    assert "alpha" in str(caught.value)


def test_old_records_are_read_through_an_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retired kind becomes an event of today, and the stored bytes keep their hash."""

    def upcast(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "condition_changed",
            "at_ns": fields["at_ns"],
            "number": fields["order"],
            "condition": "held",
        }

    monkeypatch.setitem(UPCASTERS, "order_held", upcast)
    record = stored("order_held", b'{"kind":"order_held","at_ns":5,"order":9}')
    expected = e.ConditionChanged(at_ns=5, number=9, condition=Condition.HELD)
    assert decode(record) == expected
    assert record.body == b'{"kind":"order_held","at_ns":5,"order":9}'


def swapped(records: list[Record]) -> list[Record]:
    return [records[1], records[0], records[2]]


def relinked(records: list[Record]) -> list[Record]:
    other = seal("alpha", Head(), [EVENTS[0], EVENTS[2]])[0]
    return [records[0], other[1], records[2]]


def mistyped(records: list[Record]) -> list[Record]:
    return [records[0], replace(records[1], body=None), records[2]]


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        (lambda records: records, [0, 0, 0]),
        (lambda records: records[1:], [1, 0]),
        (lambda records: records[::2], [0, 2]),
        (swapped, [1, 3, 2]),
        (relinked, [0, 0, 3]),
        (mistyped, [0, 2, 3]),
    ],
)
def test_the_chain_names_the_record_that_does_not_fit(
    damage: Callable[[list[Record]], list[Record]], faults: list[int]
) -> None:
    """What is missing, moved, exchanged or of another type is named by its number (scenario 86)."""
    chain = Chain("alpha")
    found = [chain.fault(record) for record in damage(sealed())]
    assert [fault.seq if fault else 0 for fault in found] == faults
