"""`holdfast verify`: an intact journal, a damaged one, and none."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast.cli import main
from holdfast.cli import verify as command
from holdfast.domain.instruments import Instrument
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.scripted import ScriptedBroker
from holdfast.wiring import OrderManager


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of a desk that sent one order."""
    path = tmp_path / "desk.db"
    asyncio.run(trade(path))
    return path


async def trade(path: Path) -> None:
    async with OrderManager.open(
        journal=path, broker=ScriptedBroker(), desk="alpha", instruments=[Instrument.of("TSLA")]
    ) as manager:
        await manager.submit(symbol="TSLA", side="buy", quantity=5, wait="accepted")


def verified(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[int, Any, str]:
    status = main.run(["verify", "--journal", str(path), "--json"])
    output, errors = capsys.readouterr()
    return status, json.loads(output) if output else None, errors


def damage(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


def test_an_intact_journal_ends_with_0(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each desk with the number, time and hash of its last record."""
    status, report, errors = verified(capsys, journal)

    assert (status, errors) == (command.INTACT, "")
    assert (report["intact"], report["problems"]) == (True, [])
    [desk] = report["desks"]
    assert (desk["desk"], desk["records"]) == ("alpha", report["records"])
    assert desk["last_record"] == desk["records"] > 3
    assert len(desk["last_hash"]) == 64


def test_a_person_is_told_in_lines(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict is the last of them."""
    assert main.run(["verify", "--journal", str(journal)]) == command.INTACT

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("desk alpha")
    assert lines[-1].split() == ["verdict", "intact"]


@pytest.mark.parametrize(
    ("statement", "record"),
    [
        ("UPDATE records SET body = CAST(body || ' ' AS BLOB) WHERE seq = 3", 3),
        ("UPDATE records SET hash = prev WHERE seq = 2", 2),
        ("DELETE FROM records WHERE seq = 3", 3),
    ],
)
def test_a_damaged_record_ends_with_1_and_is_named(
    journal: Path, capsys: pytest.CaptureFixture[str], statement: str, record: int
) -> None:
    """A changed body, a changed hash, a missing record; what to do is said (scenario 86)."""
    damage(journal, statement)

    status, report, errors = verified(capsys, journal)

    assert status == command.DAMAGED
    assert not report["intact"]
    assert report["problems"][0]["seq"] == record
    assert f"record {record}" in errors
    assert "restore the last backup" in errors.splitlines()[-1]


def test_of_many_problems_the_first_are_told(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is counted, and stands in the JSON."""
    monkeypatch.setattr(command, "PROBLEMS_TOLD_MAX", 1)
    damage(journal, "UPDATE records SET body = CAST('{}' AS BLOB) WHERE seq IN (2, 3)")

    status, report, errors = verified(capsys, journal)

    assert status == command.DAMAGED
    more = len(report["problems"]) - 1
    assert more >= 1
    assert f"and {more} more, which --json lists" in errors


def test_verify_runs_beside_the_owner(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither waits for the other, and nothing is changed."""
    owner = SqliteJournal(journal)
    before = journal.read_bytes()

    status, report, _ = verified(capsys, journal)

    assert (status, report["intact"]) == (command.INTACT, True)
    assert journal.read_bytes() == before
    owner.close()


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"x" * (len(content) - 100))


def other(path: Path) -> None:
    path.write_text("orders,positions\n" * 300, encoding="ascii")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    damage(path, "PRAGMA user_version = 999")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (Path.unlink, main.BAD_INPUT),
        (newer, main.BAD_INPUT),
        (other, main.BAD_INPUT),
        (empty, main.BAD_INPUT),
        (spoil, command.DAMAGED),
    ],
)
def test_what_is_no_journal_of_this_version_is_told_apart_from_damage(
    journal: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    status: int,
) -> None:
    """No file, another, an empty one and a newer version end with 2, a spoiled journal with 1."""
    change(journal)

    found, report, errors = verified(capsys, journal)

    assert found == status
    assert errors.startswith("holdfast: ")
    assert (report is None) == (status == main.BAD_INPUT)
