"""The journal in memory fails, waits and crashes where a test wants it to."""

import pytest

from holdfast.errors import Closed, JournalError, JournalLocked, JournalUnwritable
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.ports import StoredSnapshot
from holdfast.testing.journal_kit import Receipt, made, numbers, raised, write


@pytest.mark.parametrize("number", range(1, 8))
def test_the_append_with_a_given_record_fails_whole(number: int) -> None:
    """For every record there is a failure in which its batch is missing and all before it are
    there; the journal goes on after `recover` (scenario 98).
    """
    journal = MemoryJournal()
    journal.fail_at(number, recoveries_refused=2)
    outcomes = [Receipt(journal, made(first, 2)).error for first in (1, 3, 5, 7)]
    stored = 2 * ((number - 1) // 2)
    assert [error is None for error in outcomes] == [first <= stored for first in (1, 3, 5, 7)]
    assert all(isinstance(error, JournalUnwritable) for error in outcomes[stored // 2 :])
    assert numbers(journal) == list(range(1, stored + 1))
    for _ in range(2):
        raised(JournalUnwritable, journal.recover)
    journal.recover()
    write(journal, made(stored + 1))


def test_the_failure_is_of_the_wanted_kind() -> None:
    """A test may choose what the caller gets."""
    journal = MemoryJournal()
    journal.fail_at(1, JournalError("on fire"))
    assert str(Receipt(journal, made(1)).error) == "on fire"


def test_batches_wait_while_paused() -> None:
    """Nothing is durable and nobody told until it is resumed, one by one or all."""
    journal = MemoryJournal()
    journal.pause()
    told: list[int] = []
    receipts = [Receipt(journal, made(seq), told) for seq in (1, 2, 3, 4)]
    assert (told, journal.head("alpha").seq) == ([], 0)
    assert journal.statistics()["pending"] == 4
    journal.resume(1)
    assert (told, journal.head("alpha").seq) == ([1], 1)
    journal.resume(2)
    assert told == [1, 2, 3]
    journal.resume()
    assert told == [1, 2, 3, 4]
    write(journal, made(5))
    assert [receipt.calls for receipt in receipts] == [1, 1, 1, 1]


def test_a_crash_loses_what_waits_and_nothing_else() -> None:
    """The store goes to the next journal; what was not durable is gone, and nobody is told."""
    journal = MemoryJournal()
    write(journal, made(1))
    journal.pause()
    receipt = Receipt(journal, made(2))
    store = journal.crash()
    assert receipt.calls == 0
    raised(Closed, lambda: Receipt(journal, made(2)))
    again = MemoryJournal(store)
    assert numbers(again) == [1]
    with pytest.raises(JournalLocked):
        MemoryJournal(store)
    again.close()
    MemoryJournal(store).close()


def test_a_batch_appended_by_a_listener_comes_after() -> None:
    """Appending from within `done` keeps the order and does not nest."""
    journal = MemoryJournal()
    inside: list[bool] = []
    told: list[str] = []

    def first(error: BaseException | None) -> None:
        inside.append(True)
        journal.append(made(2), second)
        told.append("first")
        inside.pop()

    def second(error: BaseException | None) -> None:
        assert not inside
        told.append("second")

    journal.append(made(1), first)
    assert told == ["first", "second"]
    assert numbers(journal) == [1, 2]


def test_a_store_keeps_snapshots_and_raw_bodies() -> None:
    """What is beside the chain survives as well."""
    store = Store()
    journal = MemoryJournal(store)
    write(journal, made(1, 2))
    journal.save_snapshot("alpha", StoredSnapshot(seq=2, format=1, body=b"x"))
    journal.keep_raw("alpha", 1, 5, b"raw")
    again = MemoryJournal(journal.crash())
    assert again.load_snapshot("alpha") == StoredSnapshot(seq=2, format=1, body=b"x")
    assert store.raw == {("alpha", 1): b"raw"}
