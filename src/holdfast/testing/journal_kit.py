"""What every journal must do, as checks that any implementation of `holdfast.ports.Journal` passes.

Give each check of `CHECKS` a fresh lab:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_it_is_a_journal(check, tmp_path):
        check(MyLab(tmp_path))
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from threading import Event as Flag
from threading import Thread
from typing import Any, Final, Protocol, TypeAlias

from holdfast.domain import events as e
from holdfast.domain.reports import Execution
from holdfast.errors import (
    Closed,
    HoldfastError,
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalUnwritable,
    SequenceConflict,
)
from holdfast.journal.codec import decode, link_of, seal
from holdfast.ports import Batch, ExecutionRow, Head, Journal, OrderRow, StoredSnapshot

DESK: Final = "alpha"
OTHER: Final = "beta"
WAIT_MAX_S: Final = 30.0


class JournalLab(Protocol):
    """One journal of the kind that is tested, and what can happen to it."""

    def open(self) -> Journal:
        """Open the journal, the same one each time."""
        ...

    def flip_byte(self, desk: str, seq: int) -> None:
        """Change one byte in the body of a stored record; the journal is closed."""
        ...

    def remove_record(self, desk: str, seq: int) -> None:
        """Remove a stored record; the journal is closed."""
        ...

    def break_writes(self) -> None:
        """Let every write fail from now on, as a full disk does."""
        ...

    def mend_writes(self) -> None:
        """Let writes succeed again."""
        ...

    def executions(self) -> list[tuple[str, str, str, str]]:
        """Return (broker order id, execution id, quantity, price) of all stored rows, sorted."""
        ...


Check: TypeAlias = Callable[[JournalLab], None]


class Receipt:
    """Waits for a batch's `done`, and counts how often it was called."""

    def __init__(self, journal: Journal, batch: Batch, order: list[int] | None = None) -> None:
        self.calls = 0
        self.error: BaseException | None = None
        self._flag, self._order, self._first = Flag(), order, batch.first_seq
        journal.append(batch, self._done)

    def _done(self, error: BaseException | None) -> None:
        self.calls += 1
        self.error = error
        if self._order is not None:
            self._order.append(self._first)
        self._flag.set()

    def wait(self) -> BaseException | None:
        """Return what `done` was given."""
        assert self._flag.wait(WAIT_MAX_S), "done was not called"
        return self.error


def made(first: int, count: int = 1, desk: str = DESK) -> Batch:
    """Return a batch of `count` events from record `first` on, each of them different."""
    numbers = range(first, first + count)
    return Batch(desk=desk, first_seq=first, events=[accepted(number) for number in numbers])


def accepted(number: int) -> e.OrderAccepted:
    """Return an event whose content tells its record's number."""
    return e.OrderAccepted(at_ns=1000 + number, number=number, broker_order_id=f"b-{number}")


def order_row(number: int, names: Sequence[str], body: bytes = b"{}") -> OrderRow:
    """Return the row of an ended order."""
    return OrderRow(
        number=number, names=tuple(names), client_order_id=f"c-{number}", symbol="TSLA",
        side="buy", order_type="limit", status="filled", quantity=Decimal("1E+1"),
        filled_quantity=Decimal("10.0"), notional=Decimal("2503.00"), strategy="momentum",
        created_ns=1, completed_ns=2, body=body,
    )  # fmt: skip


def execution_row(execution_id: str, quantity: str, price: str = "250.30") -> ExecutionRow:
    """Return the row of an execution of order 1."""
    return ExecutionRow(
        account="main", broker_order_id="b-1", execution_id=execution_id, number=1, symbol="TSLA",
        side="buy", quantity=Decimal(quantity), price=Decimal(price), fee=None, fee_currency="",
        at_ns=3, inferred=False,
    )  # fmt: skip


def write(journal: Journal, batch: Batch) -> None:
    """Append a batch and wait until it is durable."""
    error = Receipt(journal, batch).wait()
    assert error is None, error


def refused(journal: Journal, batch: Batch, kind: type[JournalError]) -> JournalError:
    """Append a batch that must not become durable; return why."""
    error = Receipt(journal, batch).wait()
    assert isinstance(error, kind), error
    assert str(error)
    return error


def raised(kind: type[HoldfastError], call: Callable[[], object]) -> HoldfastError:
    """Return the error of a call that must raise one of this kind, and say something."""
    found: HoldfastError | None = None
    try:
        call()
    except kind as error:
        found = error
    assert found is not None, f"{kind.__name__} was not raised"
    assert str(found)
    return found


def names_damage(call: Callable[[], object], seq: int) -> None:
    """See that a call raises JournalDamaged for that record of DESK, and names it."""
    error = raised(JournalDamaged, call)
    assert isinstance(error, JournalDamaged)
    assert (error.desk, error.seq) == (DESK, seq)
    assert f"record {seq}" in str(error)


def numbers(journal: Journal, desk: str = DESK, after_seq: int = 0) -> list[int]:
    """Return the numbers of all records after one, as the chain check lets them through."""
    return [record.seq for record in journal.records(desk, after_seq)]


def check_a_new_journal_is_empty(lab: JournalLab) -> None:
    """Nothing is stored, and asking for it is no error."""
    journal = lab.open()
    assert journal.head(DESK) == Head()
    assert numbers(journal) == []
    assert journal.recall(DESK, ["c:1"]) == {}
    assert journal.recall(DESK, []) == {}
    assert journal.bodies(DESK, [1]) == {}
    assert journal.load_snapshot(DESK) is None
    journal.close()


def check_a_durable_batch_outlives_the_journal(lab: JournalLab) -> None:
    """What `done(None)` was called for is there in the next life, events, rows and head."""
    journal = lab.open()
    batch = made(1, 3)
    batch.orders = [order_row(1, ["c:one"], b'{"n":1}')]
    receipt = Receipt(journal, batch)
    assert receipt.wait() is None
    assert receipt.calls == 1
    head = journal.head(DESK)
    assert (head.seq, head.at_ns) == (3, 1003)
    journal.close()
    journal = lab.open()
    assert journal.head(DESK) == head
    assert [decode(record) for record in journal.records(DESK)] == batch.events
    assert journal.recall(DESK, ["c:one"]) == {"c:one": b'{"n":1}'}
    journal.close()


def check_readers_see_a_batch_once_it_is_durable(lab: JournalLab) -> None:
    """When `done(None)` comes, the records and rows of the batch can be read at once."""
    journal = lab.open()
    for seq in range(1, 20):
        batch = made(seq)
        batch.orders = [order_row(seq, [f"c:{seq}"])]
        write(journal, batch)
        assert journal.head(DESK).seq == seq
        assert numbers(journal, after_seq=seq - 1) == [seq]
        assert list(journal.recall(DESK, [f"c:{seq}"])) == [f"c:{seq}"]
        assert journal.bodies(DESK, [seq]) == {seq: b"{}"}
    journal.close()


def check_batches_become_durable_in_the_order_of_append(lab: JournalLab) -> None:
    """Many waiting batches are told of in the order in which they were appended."""
    journal = lab.open()
    told: list[int] = []
    receipts = [Receipt(journal, made(first, 2), told) for first in range(1, 401, 2)]
    assert [receipt.wait() for receipt in receipts] == [None] * 200
    assert told == list(range(1, 401, 2))
    assert numbers(journal) == list(range(1, 401))
    journal.close()


def check_every_amount_and_text_comes_back(lab: JournalLab) -> None:
    """Events with long decimals, other alphabets and nested values come back as they were."""
    journal = lab.open()
    fill = Execution(
        execution_id="e\u00e9\u4e2d\U0001f512", quantity=Decimal("0.00000000000001"),
        price=Decimal("12345678901234.10"), fee=Decimal("-0.10"), fee_currency="USD",
    )  # fmt: skip
    events: list[e.AnyEvent] = [
        e.DeskOpened(at_ns=1, desk=DESK, epoch="0123456789ab", account="main", currency="USD"),
        e.OrderFilled(at_ns=2, number=1, broker_order_id='"\\\n\x00', execution=fill),
        e.OrdersArchived(at_ns=3, numbers=(1, 2, 3)),
        e.AnomalyRecorded(at_ns=2**62, code="X", text="t" * 100_000),
    ]
    write(journal, Batch(desk=DESK, first_seq=1, events=events))
    assert [decode(record) for record in journal.records(DESK)] == events
    journal.close()


def check_records_are_chained(lab: JournalLab) -> None:
    """Each record's hash covers it and its predecessor; equal events give equal hashes anywhere."""
    journal = lab.open()
    write(journal, made(1, 3))
    write(journal, made(4, 2))
    prev = bytes(32)
    for record in journal.records(DESK):
        assert record.prev == prev
        assert record.hash == link_of(record)
        prev = record.hash
    expected, head = seal(DESK, Head(), made(1, 5).events)
    assert list(journal.records(DESK)) == expected
    assert journal.head(DESK) == head
    journal.close()


def check_reading_begins_after_any_record(lab: JournalLab) -> None:
    """`after_seq` leaves out the records up to it, and checks the first one that it reads."""
    journal = lab.open()
    write(journal, made(1, 2500))
    assert numbers(journal, after_seq=2498) == [2499, 2500]
    assert numbers(journal, after_seq=2500) == []
    assert len(numbers(journal)) == 2500  # noqa: PLR2004 - as many as were written
    names_damage(lambda: numbers(journal, after_seq=2501), 2501)
    journal.close()


def check_a_wrong_number_is_refused(lab: JournalLab) -> None:
    """A batch that leaves a gap, or comes again, stores nothing and stops its desk alone."""
    journal = lab.open()
    write(journal, made(1, 2))
    wrong = made(2)
    wrong.orders = [order_row(9, ["c:nine"])]
    refused(journal, wrong, SequenceConflict)
    refused(journal, made(3), SequenceConflict)
    write(journal, made(1, desk=OTHER))
    assert numbers(journal) == [1, 2]
    assert journal.recall(DESK, ["c:nine"]) == {}
    journal.recover()
    refused(journal, made(4), SequenceConflict)
    journal.recover()
    write(journal, made(3))
    assert numbers(journal) == [1, 2, 3]
    journal.close()


def check_a_conflict_among_waiting_batches_is_the_desks_own(lab: JournalLab) -> None:
    """Batches of other desks that wait together with a wrong one become durable."""
    journal = lab.open()
    batches = [made(1), made(1, desk=OTHER), made(3), made(2, desk=OTHER), made(4)]
    outcomes = [receipt.wait() for receipt in [Receipt(journal, batch) for batch in batches]]
    assert [isinstance(error, SequenceConflict) for error in outcomes] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert (numbers(journal), numbers(journal, OTHER)) == ([1], [1, 2])
    journal.close()


def check_what_cannot_be_written_is_refused_whole(lab: JournalLab) -> None:
    """An event that cannot be encoded refuses its batch, and no other desk's."""
    journal = lab.open()
    bad = made(1, 3)
    code: Any = object()
    bad.events = [*bad.events, e.OrderFailed(at_ns=4, number=1, code=code)]
    refused(journal, bad, JournalUnwritable)
    write(journal, made(1, desk=OTHER))
    assert numbers(journal) == []
    journal.recover()
    write(journal, made(1))
    journal.close()


def check_rows_are_found_by_every_name_and_number(lab: JournalLab) -> None:
    """An ended order is found by each of its names on its own desk; a newer row replaces it."""
    journal = lab.open()
    batch = made(1)
    batch.orders = [order_row(1, ["c:a", "i:key", "b:1"], b'"old"'), order_row(2, ["c:b"], b'"b"')]
    write(journal, batch)
    again = made(2)
    again.orders = [order_row(1, ["c:a", "b:2"], b'"new"')]
    write(journal, again)
    found = journal.recall(DESK, ["c:a", "i:key", "b:1", "b:2", "c:b", "c:none", "a"])
    assert found == dict.fromkeys(["c:a", "i:key", "b:1", "b:2"], b'"new"') | {"c:b": b'"b"'}
    assert journal.bodies(DESK, [2, 1, 3]) == {1: b'"new"', 2: b'"b"'}
    assert journal.recall(OTHER, ["c:a"]) == {}
    assert journal.bodies(OTHER, [1]) == {}
    many = [f"c:{number}" for number in range(1000)]
    assert journal.recall(DESK, [*many, "c:b"]) == {"c:b": b'"b"'}
    journal.close()


def check_many_versions_of_a_row_in_one_commit(lab: JournalLab) -> None:
    """Of the versions of an order in one batch, the last one counts."""
    journal = lab.open()
    batch = made(1)
    batch.orders = [order_row(1, ["c:a"], b"%d" % version) for version in range(300)]
    write(journal, batch)
    assert journal.bodies(DESK, [1]) == {1: b"299"}
    journal.close()


def check_executions_are_kept_by_their_key(lab: JournalLab) -> None:
    """There is one row per execution, the newest version of it, with plain decimals."""
    journal = lab.open()
    batch = made(1)
    batch.executions = [execution_row("e1", "1E+1"), execution_row("e2", "2.50", "-0.25")]
    write(journal, batch)
    busted = made(2)
    busted.executions = [execution_row("e1", "0")]
    write(journal, busted)
    assert lab.executions() == [("b-1", "e1", "0", "250.30"), ("b-1", "e2", "2.50", "-0.25")]
    journal.close()


def check_the_newest_snapshot_is_kept(lab: JournalLab) -> None:
    """A snapshot replaces the one before; one that is ahead of the records is never used."""
    journal = lab.open()
    write(journal, made(1, 3))
    journal.save_snapshot(DESK, StoredSnapshot(seq=1, format=1, body=b"one"))
    journal.save_snapshot(DESK, StoredSnapshot(seq=3, format=2, body=b"three"))
    journal.save_snapshot(OTHER, StoredSnapshot(seq=1, format=1, body=b"ahead"))
    journal.close()
    journal = lab.open()
    assert journal.load_snapshot(DESK) == StoredSnapshot(seq=3, format=2, body=b"three")
    assert journal.load_snapshot(OTHER) is None
    journal.close()


def check_raw_bodies_are_outside_the_chain(lab: JournalLab) -> None:
    """Keeping a broker's raw answer adds no record."""
    journal = lab.open()
    write(journal, made(1))
    head = journal.head(DESK)
    for body in (b"first", b"second"):
        journal.keep_raw(DESK, 1, 5, body)
    write(journal, made(1, desk=OTHER))
    assert journal.head(DESK) == head
    write(journal, made(2))
    journal.close()


def check_one_owner_at_a_time(lab: JournalLab) -> None:
    """While a journal is open nobody else can open it, this process included (scenario 88)."""
    journal = lab.open()
    raised(JournalLocked, lab.open)
    write(journal, made(1))
    journal.close()
    journal = lab.open()
    assert numbers(journal) == [1]
    journal.close()


def check_a_flipped_byte_is_named(lab: JournalLab) -> None:
    """Records up to the damage are read; then its number is said (scenario 86)."""
    journal = lab.open()
    write(journal, made(1, 5))
    journal.close()
    lab.flip_byte(DESK, 3)
    journal = lab.open()
    read: list[int] = []
    names_damage(lambda: read.extend(record.seq for record in journal.records(DESK)), 3)
    assert read == [1, 2]
    assert numbers(journal, after_seq=3) == [4, 5]
    journal.close()


def check_a_missing_record_is_named(lab: JournalLab) -> None:
    """A gap in the middle is damage at the number that is missing (scenario 86)."""
    journal = lab.open()
    write(journal, made(1, 5))
    journal.close()
    lab.remove_record(DESK, 3)
    journal = lab.open()
    names_damage(lambda: numbers(journal), 3)
    journal.close()


def check_a_missing_last_record_is_named(lab: JournalLab) -> None:
    """A desk that ends too early is found out, on opening or on reading (scenario 86)."""
    journal = lab.open()
    write(journal, made(1, 5))
    journal.close()
    lab.remove_record(DESK, 5)
    names_damage(lambda: numbers(lab.open()), 5)


def check_nothing_is_kept_of_a_failed_write(lab: JournalLab) -> None:
    """A failure refuses its batch and all later ones until the journal recovers (scenario 87)."""
    journal = lab.open()
    write(journal, made(1, 2))
    head = journal.head(DESK)
    lab.break_writes()
    failing = made(3)
    failing.orders = [order_row(1, ["c:a"])]
    failing.events = [e.AnomalyRecorded(at_ns=9, code="X", text="x" * 1_000_000)]
    refused(journal, failing, JournalUnwritable)
    refused(journal, made(3), JournalUnwritable)
    refused(journal, made(1, desk=OTHER), JournalUnwritable)
    raised(JournalUnwritable, journal.recover)
    lab.mend_writes()
    refused(journal, made(3), JournalUnwritable)
    journal.recover()
    assert journal.head(DESK) == head
    assert journal.recall(DESK, ["c:a"]) == {}
    write(journal, made(3))
    assert numbers(journal) == [1, 2, 3]
    assert numbers(journal, OTHER) == []
    journal.close()


def check_closing_writes_what_waits(lab: JournalLab) -> None:
    """Batches appended before `close` are durable after it; closing twice does nothing."""
    journal = lab.open()
    receipts = [Receipt(journal, made(seq)) for seq in range(1, 101)]
    journal.close()
    assert [receipt.wait() for receipt in receipts] == [None] * 100
    journal.close()
    raised(Closed, lambda: Receipt(journal, made(101)))
    journal = lab.open()
    assert numbers(journal) == list(range(1, 101))
    journal.close()


def check_desks_can_be_written_from_several_threads(lab: JournalLab) -> None:
    """Two runners that append at once, each to its own desk, do not disturb each other."""
    journal = lab.open()
    receipts: dict[str, list[Receipt]] = {DESK: [], OTHER: []}

    def run(desk: str) -> None:
        receipts[desk].extend(Receipt(journal, made(seq, desk=desk)) for seq in range(1, 201))

    threads = [Thread(target=run, args=(desk,)) for desk in receipts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_MAX_S)
    for desk, own in receipts.items():
        assert [receipt.wait() for receipt in own] == [None] * 200
        assert numbers(journal, desk) == list(range(1, 201))
    journal.close()


def check_statistics_count(lab: JournalLab) -> None:
    """Records, commits and bytes are counted."""
    journal = lab.open()
    write(journal, made(1, 4))
    counts = journal.statistics()
    assert counts["records"] == 4  # noqa: PLR2004 - as many as were written
    assert counts["commits"] == 1
    assert counts["bytes"] == sum(len(record.body) for record in journal.records(DESK))
    journal.close()


CHECKS: Final[tuple[Check, ...]] = tuple(
    value for name, value in sorted(globals().items()) if name.startswith("check_")
)
