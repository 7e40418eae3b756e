"""`holdfast replay`: what it prints, where, and how it ends."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.cli import main
from holdfast.cli import replay as command
from holdfast.errors import JournalUnwritable
from holdfast.journal.sqlite import SqliteJournal
from holdfast.trading import replay as replays
from holdfast.trading.replay_driver import DisagreementError
from holdfast.venue.outcome import expected_outcome

ROWS = """\
34200.1,1,11,100,5853300,1
34200.2,1,12,50,5853400,-1
34200.3,4,11,100,5853300,1
34200.4,3,12,50,5853400,-1
34200.5,3,99,50,5853400,-1
34200.6,1,13,10,5853400,-1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "messages.csv"
    path.write_text(ROWS, encoding="ascii")
    return path


def test_a_replay_as_recorded_ends_with_0_and_prints_its_figures(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a person: a name and a value per line, on standard output alone."""
    assert main.run(["replay", str(file)]) == command.AS_RECORDED

    said = capsys.readouterr()
    lines = dict(line.split("  ", 1) for line in said.out.splitlines())
    assert lines["orders"].strip() == "3: 1 CANCELED, 1 FILLED, 1 OPEN"
    assert lines["end state"].strip() == expected_outcome(file).end_state
    assert lines["mismatches"].strip() == "0"
    assert lines["journal"].strip().endswith("bytes, removed")
    assert said.err == ""


def test_json_is_one_object_and_nothing_else(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the figures that a script looks for; the journal stays where it was asked for."""
    journal = tmp_path / "replay.db"
    assert main.run(["replay", str(file), "--json", "--journal", str(journal)]) == 0

    output, errors = capsys.readouterr()
    summary = json.loads(output)
    assert errors == ""
    assert (summary["orders"], summary["fills"], summary["live_at_end"]) == (3, 1, 1)
    assert (summary["unknown_orders"], summary["mismatches"]) == (1, 0)
    assert summary["orders_per_second"] > 0
    assert summary["journal_bytes"] == journal.stat().st_size


def test_a_mismatch_ends_with_1_and_is_named(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary is still complete; what differs is told on standard error."""
    true = expected_outcome(file)
    wrong = {**true.orders, 12: msgspec.structs.replace(true.orders[12], status="OPEN")}
    monkeypatch.setattr(
        replays, "expected_outcome", lambda *_: msgspec.structs.replace(true, orders=wrong)
    )

    assert main.run(["replay", str(file), "--json"]) == command.MISMATCHES

    output, errors = capsys.readouterr()
    assert json.loads(output)["mismatches"] == 1
    assert errors == (
        "holdfast: order 12 is CANCELED with 0 filled for 0, not OPEN with 0 filled for 0\n"
    )


def test_an_order_that_cannot_be_agreed_on_ends_with_1(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is named; without an end there is no summary."""

    async def disagreed(*_: object, **__: object) -> None:
        raise DisagreementError("order 11 differs")

    monkeypatch.setattr(replays, "replay", disagreed)

    assert main.run(["replay", str(file), "--json"]) == command.MISMATCHES
    assert capsys.readouterr() == ("", "holdfast: order 11 differs\n")


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, (), "cannot be read"),
        (b"", (), "is empty"),
        (b"not,a,tape\n", (), "known"),
        (ROWS.encode() + b"34100.0,1,14,5,5853300,1\n", (), "row 7"),
        (ROWS.encode() + b"34300.0,1,14,x,5853300,1\n", (), "row 7"),
        (ROWS.encode(), ("--limit", "0"), "the limit is 0 rows"),
        (ROWS.encode(), ("--tick", "0"), "tick is 0"),
        (ROWS.encode(), ("--symbol", ""), "symbol is ''"),
    ],
)
def test_bad_input_ends_with_2_before_there_is_a_journal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """One line says what was found; no order went out and no file was made."""
    path, journal = tmp_path / "tape.csv", tmp_path / "replay.db"
    if content is not None:
        path.write_bytes(content)

    status = main.run(["replay", str(path), "--journal", str(journal), *arguments])

    output, errors = capsys.readouterr()
    assert (status, output) == (main.BAD_INPUT, "")
    assert len(errors.splitlines()) == 1
    assert said in errors
    assert not journal.exists()


def test_a_journal_that_cannot_be_used_ends_with_2(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a missing folder, and the tape itself are no journals."""
    for journal in (file.parent, file.parent / "none" / "replay.db", file):
        assert main.run(["replay", str(file), "--journal", str(journal)]) == main.BAD_INPUT
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert file.read_text(encoding="ascii") == ROWS


def test_a_journal_that_fails_on_the_way_ends_with_2(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no defect and no mismatch: it is told as what it is (scenario 87)."""

    class Full(SqliteJournal):
        def append(self, batch: Any, done: Any) -> None:
            if len(batch.events) and batch.first_seq > 3:
                done(JournalUnwritable("the disk is full"))
            else:
                super().append(batch, done)

    monkeypatch.setattr(replays, "SqliteJournal", Full)

    assert main.run(["replay", str(file), "--json"]) == main.BAD_INPUT
    output, errors = capsys.readouterr()
    assert output == ""
    assert "the replay stopped" in errors.splitlines()[-1]
    assert "the disk is full" in errors.splitlines()[-1]


def test_a_journal_that_nobody_named_is_on_disk_and_goes_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the folder for temporary files that outlive a restart, or where TMPDIR says."""
    monkeypatch.setattr(command, "DISK_FOLDER", tmp_path / "disk")
    monkeypatch.delenv("TMPDIR", raising=False)
    (tmp_path / "disk").mkdir()
    assert used_folder(monkeypatch) == tmp_path / "disk"

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert used_folder(monkeypatch) == tmp_path


def used_folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    opened: Any = command._journal(None)
    with opened as path:
        assert path.parent.is_dir()
    assert not path.parent.exists()
    folder: Path = path.parent.parent
    return folder


def test_a_disk_that_cannot_be_written_is_not_insisted_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Then the system's own folder for temporary files has to do."""
    monkeypatch.setattr(command, "DISK_FOLDER", tmp_path / "missing")
    monkeypatch.delenv("TMPDIR", raising=False)

    assert used_folder(monkeypatch) != tmp_path / "missing"
    assert not (tmp_path / "missing").exists()
