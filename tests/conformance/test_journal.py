"""Both journals of the package pass the kit that is shipped for others."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from msgspec.structs import replace

from holdfast.errors import HoldfastError
from holdfast.journal.memory import Done, MemoryJournal, Store
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch, Record, StoredSnapshot
from holdfast.testing.journal_kit import CHECKS, Check, JournalLab


class MemoryLab:
    def __init__(self, folder: Path) -> None:
        self._store = Store()
        self._journal: MemoryJournal | None = None

    def open(self) -> MemoryJournal:
        self._journal = MemoryJournal(self._store)
        return self._journal

    def flip_byte(self, desk: str, seq: int) -> None:
        records = self._store.records[desk]
        found = records[seq - 1]
        records[seq - 1] = replace(found, body=found.body.replace(b"b", b"c", 1))

    def remove_record(self, desk: str, seq: int) -> None:
        del self._store.records[desk][seq - 1]

    def break_writes(self) -> None:
        assert self._journal is not None
        written = self._journal.statistics()["records"]
        self._journal.fail_at(written + 1, recoveries_refused=1)

    def mend_writes(self) -> None:
        """Nothing to do: the fault passes by itself."""

    def executions(self) -> list[tuple[str, str, str, str]]:
        return sorted(
            (row.broker_order_id, row.execution_id, format(row.quantity, "f"), str(row.price))
            for _, row in self._store.executions.values()
        )


class SqliteLab:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.db"
        self._journal: SqliteJournal | None = None
        self._pages = 0

    def open(self) -> SqliteJournal:
        self._journal = SqliteJournal(self._path)
        return self._journal

    def flip_byte(self, desk: str, seq: int) -> None:
        self._change(
            "UPDATE records SET body = CAST(replace(body, 'b', 'c') AS BLOB)"
            " WHERE desk = ? AND seq = ?",
            desk,
            seq,
        )

    def remove_record(self, desk: str, seq: int) -> None:
        self._change("DELETE FROM records WHERE desk = ? AND seq = ?", desk, seq)

    def _change(self, sql: str, *values: str | int) -> None:
        connection = apsw.Connection(str(self._path))
        connection.execute(sql, values)
        assert connection.changes() == 1
        connection.close()

    def break_writes(self) -> None:
        """Allow no page more than there are: SQLite then says what it says on a full disk."""
        self._pages = self._limit(1)
        self._limit(self._pages)

    def mend_writes(self) -> None:
        self._limit(1 << 30)

    def _limit(self, pages: int) -> int:
        assert self._journal is not None
        set_limit = f"PRAGMA max_page_count = {pages}"
        answer: Any = self._journal._connection.execute(set_limit).fetchone()
        return int(answer[0])

    def executions(self) -> list[tuple[str, str, str, str]]:
        reader = SqliteJournal.read_only(self._path)
        rows = reader.query("SELECT broker_order_id, execution_id, quantity, price FROM executions")
        reader.close()
        return sorted((one, two, three, four) for one, two, three, four in rows)


LABS: Final[dict[str, Callable[[Path], JournalLab]]] = {"memory": MemoryLab, "sqlite": SqliteLab}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", LABS)
def test_the_journal_conforms(check: Check, kind: str, tmp_path: Path) -> None:
    """The journal keeps the contract of ports.Journal (scenarios 86, 87, 88)."""
    check(LABS[kind](tmp_path))


class Forgetful(MemoryJournal):
    def __init__(self, store: Store) -> None:
        super().__init__()


class Fenceless(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        super().append(replace(batch, first_seq=self.head(batch.desk).seq + 1), done)


class Stubborn(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        self._failed = next(iter(self._refused.values()), self._failed)
        super().append(batch, done)


class Careless(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        self._failed = None
        super().append(batch, done)


class Unready(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        done(None)
        self.pause()
        super().append(batch, lambda error: None)


class Credulous(MemoryJournal):
    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        return iter(self.store.records.get(desk, [])[after_seq:])


class Nosy(MemoryJournal):
    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        return {
            name: self.store.orders[key[0], number].body
            for key, number in self.store.names.items()
            for name in names
            if name == key[1]
        }


class Hasty(MemoryJournal):
    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        return self.store.snapshots.get(desk)

    def save_snapshot(self, desk: str, snapshot: StoredSnapshot) -> None:
        self.store.snapshots[desk] = snapshot


class Wordless(MemoryJournal):
    def close(self) -> None:
        self.crash()

    def append(self, batch: Batch, done: Done) -> None:
        self._open = True
        super().append(batch, done)


class Backward(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        super().append(replace(batch, orders=batch.orders[::-1]), done)


class Unchained(MemoryJournal):
    def append(self, batch: Batch, done: Done) -> None:
        super().append(batch, done)
        records = self.store.records.get(batch.desk, [])
        records[-1:] = [replace(record, hash=bytes(32)) for record in records[-1:]]


MUTANTS: Final = {
    Forgetful: "check_a_durable_batch_outlives_the_journal",
    Fenceless: "check_a_wrong_number_is_refused",
    Stubborn: "check_a_conflict_among_waiting_batches_is_the_desks_own",
    Careless: "check_nothing_is_kept_of_a_failed_write",
    Unready: "check_readers_see_a_batch_once_it_is_durable",
    Credulous: "check_a_flipped_byte_is_named",
    Nosy: "check_rows_are_found_by_every_name_and_number",
    Hasty: "check_the_newest_snapshot_is_kept",
    Wordless: "check_closing_writes_what_waits",
    Backward: "check_many_versions_of_a_row_in_one_commit",
    Unchained: "check_records_are_chained",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_kit_finds_a_journal_that_breaks_the_contract(
    mutant: type[MemoryJournal], tmp_path: Path
) -> None:
    """Each of these journals breaks one promise, and the check of that promise says so."""

    class Lab(MemoryLab):
        def open(self) -> MemoryJournal:
            self._journal = mutant(self._store)
            return self._journal

    checks = {check.__name__: check for check in CHECKS}
    with pytest.raises((AssertionError, LookupError, HoldfastError)):
        checks[MUTANTS[mutant]](Lab(tmp_path))
