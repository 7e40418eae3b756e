"""Any history of batches, faults and crashes leaves a prefix that holds all that was durable."""

import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import apsw
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.domain import events as e
from holdfast.errors import JournalUnwritable, SequenceConflict
from holdfast.journal.codec import decode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.verify import verify
from holdfast.ports import Batch, OrderRow, StoredSnapshot
from holdfast.testing.disk import Disk, Operation, crash
from holdfast.testing.journal_kit import Receipt, order_row

DESKS: Final = ("alpha", "beta")
CHECKPOINT_PAGES: Final = 12


class JournalMachine(RuleBasedStateMachine):
    """The model is a list of events per desk; only a crash may add what it could not be told of."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-"))
        self.disk = Disk(f"machine-{id(self)}")
        self.lives = count(1)
        self.stored: dict[str, list[e.AnyEvent]] = {desk: [] for desk in DESKS}
        self.orders: dict[str, dict[int, bytes]] = {desk: {} for desk in DESKS}
        self.failed = False
        self.path = self.folder / "journal.db"
        self.begin()

    def begin(self) -> None:
        self.disk.operations.clear()
        self.journal = SqliteJournal(
            self.path, vfs=self.disk.name, checkpoint_pages=CHECKPOINT_PAGES
        )

    def teardown(self) -> None:
        self.journal.close()
        self.disk.unregister()
        shutil.rmtree(self.folder)

    def batch(self, desk: str, size: int, behind: int = 0) -> Batch:
        first = len(self.stored[desk]) + behind + 1
        rows: list[OrderRow] = [order_row(first, [f"c:{first}", "b:same"], b"%d" % first)]
        events: list[e.AnyEvent] = [
            e.AnomalyRecorded(at_ns=number, code="X", text="x" * (number * 37 % 500))
            for number in range(first, first + size)
        ]
        return Batch(desk=desk, first_seq=first, events=events, orders=rows)

    def keep(self, batch: Batch) -> None:
        self.stored[batch.desk] += batch.events
        self.orders[batch.desk].update((row.number, row.body) for row in batch.orders)

    @precondition(lambda self: not self.failed)
    @rule(work=st.lists(st.tuples(st.sampled_from(DESKS), st.integers(1, 9)), min_size=1))
    def append(self, work: list[tuple[str, int]]) -> None:
        """Batches that wait together become durable."""
        behind = dict.fromkeys(DESKS, 0)
        batches = []
        for desk, size in work:
            batches.append(self.batch(desk, size, behind[desk]))
            behind[desk] += size
        receipts = [Receipt(self.journal, batch) for batch in batches]
        assert [receipt.wait() for receipt in receipts] == [None] * len(receipts)
        for batch in batches:
            self.keep(batch)

    @precondition(lambda self: not self.failed)
    @rule(desk=st.sampled_from(DESKS), behind=st.integers(-3, 3).filter(bool))
    def append_out_of_order(self, desk: str, behind: int) -> None:
        """A wrong number stores nothing."""
        assert isinstance(
            Receipt(self.journal, self.batch(desk, 2, behind)).wait(), SequenceConflict
        )
        self.journal.recover()

    @precondition(lambda self: not self.failed)
    @rule(
        desk=st.sampled_from(DESKS),
        sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
        passing=st.integers(0, 12),
        full=st.booleans(),
    )
    def fail(self, desk: str, sizes: list[int], passing: int, *, full: bool) -> None:
        """The disk fails after some operations: the batches before that are stored, no other."""
        left = iter(range(passing))
        error: Callable[[str], Exception] = apsw.FullError if full else apsw.IOError

        def fault(_: Operation) -> Exception | None:
            return None if next(left, None) is not None else error("as the machine asked for")

        behind, batches = 0, []
        for size in sizes:
            batches.append(self.batch(desk, size, behind))
            behind += size
        with self.disk.failing(fault):
            outcomes = [Receipt(self.journal, batch).wait() for batch in batches]
            for batch, outcome in zip(batches, outcomes, strict=True):
                if outcome is None:
                    assert not self.failed
                    self.keep(batch)
                else:
                    assert isinstance(outcome, JournalUnwritable)
                    self.failed = True

    @precondition(lambda self: self.failed)
    @rule()
    def recover(self) -> None:
        """The disk works again."""
        self.journal.recover()
        self.failed = False

    @precondition(lambda self: not self.failed)
    @rule(desk=st.sampled_from(DESKS), ahead=st.integers(-2, 2), size=st.integers(0, 20_000))
    def snapshot(self, desk: str, ahead: int, size: int) -> None:
        """Snapshots come and go beside the records."""
        seq = max(0, len(self.stored[desk]) + ahead)
        self.journal.save_snapshot(desk, StoredSnapshot(seq=seq, format=1, body=bytes(size)))

    @rule()
    def restart(self) -> None:
        """An orderly end keeps everything, and nothing needs recovery."""
        self.journal.close()
        self.failed = False
        self.begin()
        assert self.journal.recovery_report == ""

    @precondition(lambda self: not self.failed)
    @rule(
        desk=st.sampled_from(DESKS),
        size=st.integers(1, 30),
        back=st.integers(0, 9),
        arrival=st.lists(st.sampled_from([0, 1, 2, 3, 4]), min_size=1, max_size=7),
    )
    def lose_power(self, desk: str, size: int, back: int, arrival: list[int]) -> None:
        """The machine stops during a commit; of what was not synced, any part arrives."""
        self.journal.close()  # what is folded in and synced cannot be lost: the history begins here
        keep = self.folder / f"base-{next(self.lives)}"
        keep.mkdir()
        base = self.path.read_bytes()
        self.begin()
        batch = self.batch(desk, size)
        assert Receipt(self.journal, batch).wait() is None
        durable = len(self.disk.operations)
        self.journal.save_snapshot(desk, StoredSnapshot(seq=1, format=1, body=bytes(9000)))
        history = list(self.disk.operations)
        self.journal.close()
        stop = max(0, len(history) - back)
        arriving = {place: arrival[place % len(arrival)] for place in range(stop)}
        places = count()

        def fate(operation: Operation) -> int:
            """Return how much arrives: what lies within a sector arrives whole or not at all."""
            quarters = arriving[next(places) % stop]
            if len(operation.data) <= 512:
                return len(operation.data) if quarters > 1 else 0
            return len(operation.data) * quarters // 4

        start = Operation("write", self.path.name, 0, base), Operation("sync", self.path.name)
        self.path = keep / self.path.name
        crash([*start, *history[:stop]], keep, fate)
        self.begin()
        found = self.journal.head(desk).seq - len(self.stored[desk])
        assert found in {0, size}
        if stop >= durable:
            assert found == size
        if found:
            self.keep(batch)

    @invariant()
    def records_are_those_that_were_appended(self) -> None:
        """Every event is there, in order, with a chain that holds."""
        for desk, events in self.stored.items():
            assert [decode(record) for record in self.journal.records(desk)] == events
            assert self.journal.head(desk).seq == len(events)

    @invariant()
    def rows_belong_to_the_records(self) -> None:
        """The rows of a batch are there if and only if its records are."""
        for desk, orders in self.orders.items():
            assert self.journal.bodies(desk, range(1, len(self.stored[desk]) + 2)) == orders
            last = {"b:same": orders[max(orders)]} if orders else {}
            assert self.journal.recall(desk, ["b:same", "c:none"]) == last

    @invariant()
    def a_snapshot_never_runs_ahead(self) -> None:
        """What is loaded as a snapshot stands behind stored records."""
        for desk, events in self.stored.items():
            snapshot = self.journal.load_snapshot(desk)
            assert snapshot is None or snapshot.seq <= len(events)

    @invariant()
    def verify_finds_nothing(self) -> None:
        """Another connection finds the whole journal intact, also while it is in use."""
        assert verify(self.path).problems == ()


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=12)
