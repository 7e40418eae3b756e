"""What the journal's tests share: an open journal, and a desk's worth of records."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import pytest

from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.journal_kit import execution_row, made, order_row, write

Open: TypeAlias = Callable[..., SqliteJournal]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open the journal at `path`; what a test leaves open is closed after it."""
    journals: list[SqliteJournal] = []

    def open_one(**options: Any) -> SqliteJournal:
        journals.append(SqliteJournal(path, **options))
        return journals[-1]

    yield open_one
    for journal in journals:
        journal.close()


@pytest.fixture
def written(path: Path) -> Path:
    """A closed journal: ten records of alpha and three of beta, two orders, two executions."""
    journal = SqliteJournal(path)
    batch = made(1, 10)
    batch.orders = [order_row(1, ["c:one", "b:1"]), order_row(2, ["c:two"])]
    batch.executions = [execution_row("e1", "4"), execution_row("e2", "6")]
    write(journal, batch)
    write(journal, made(1, 3, desk="beta"))
    journal.close()
    return path


@pytest.fixture
def change(path: Path) -> Callable[..., None]:
    """Run SQL on the closed journal as somebody else would."""

    def run(sql: str, *values: str | int | bytes) -> None:
        connection = apsw.Connection(str(path))
        for _ in connection.execute(sql, values):
            pass
        connection.close()

    return run
