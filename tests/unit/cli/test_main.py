"""The frame of the command line: what goes where, and with which status it ends."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import __version__
from holdfast.cli import main, output
from holdfast.cli.running import Stopped
from holdfast.errors import JournalUnwritable


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Put a command `fail` in the frame that raises what the list holds."""
    raised: list[BaseException] = []

    def fail(*, common: output.Common = output.NOTHING_SAID) -> int:
        """Fail as a test wants it."""
        raise raised[0]

    monkeypatch.setitem(main.COMMANDS, "fail", fail)
    before = logging.getLogger().handlers[:]
    yield raised
    logging.getLogger().handlers[:] = before


def one_line(text: str) -> str:
    """The only line of a text."""
    [line] = text.splitlines()
    return line


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command with what it does, on standard output."""
    assert main.run([]) == 0

    said = capsys.readouterr()
    assert all(name in said.out for name in main.COMMANDS)
    assert said.err == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The version and nothing else."""
    assert main.run(["--version"]) == 0
    assert one_line(capsys.readouterr().out) == __version__


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verfy"], 'Unknown command "verfy". Did you mean "verify"?'),
        (["verify"], "see `holdfast verify --help`"),
        (["verify", "--jurnal", "x"], "Did you mean --journal"),
        (["replay", "x", "--limit", "many"], "--limit"),
        (["replay", "x", "y"], "see `holdfast replay --help`"),
    ],
)
def test_arguments_that_cannot_be_read_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """The line says what was wrong and where to look; nothing is printed."""
    assert main.run(arguments) == main.BAD_INPUT

    heard = capsys.readouterr()
    assert heard.out == ""
    line = one_line(heard.err)
    assert line.startswith("holdfast: ")
    assert said in line


def test_an_error_of_holdfast_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], failing: list[BaseException]
) -> None:
    """Its message, however it was broken into lines, and no traceback."""
    failing.append(JournalUnwritable("the disk\n  is full; free some"))

    assert main.run(["fail"]) == main.BAD_INPUT
    assert one_line(capsys.readouterr().err) == "holdfast: the disk is full; free some"


def test_a_traceback_is_shown_to_who_asks_for_it(
    capsys: pytest.CaptureFixture[str],
    failing: list[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With --debug the log has it, beside the same line."""
    failing.append(JournalUnwritable("full"))

    with caplog.at_level(logging.DEBUG):
        assert main.run(["fail", "--debug"]) == main.BAD_INPUT

    assert "Traceback" in caplog.text
    assert "holdfast: full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ZeroDivisionError("nought"), main.DEFECT, "a defect of Holdfast (ZeroDivisionError"),
        (PermissionError(13, "no", "x.db"), main.IO_ERROR, "the system refused"),
        (KeyboardInterrupt(), 130, "stopped"),
        (Stopped(), 143, "stopped"),
    ],
)
def test_whatever_else_ends_a_command_has_a_status_and_a_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failing: list[BaseException],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    """Nobody is shown a traceback who did not ask for one."""
    monkeypatch.setattr(main, "_drop_output", lambda: None)
    failing.append(error)

    assert main.run(["fail"]) == status
    assert said in one_line(capsys.readouterr().err)


def test_a_reader_that_goes_away_is_no_error(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failing: list[BaseException],
) -> None:
    """As in `holdfast ... | head`: silence, and the status that a shell expects."""
    monkeypatch.setattr(main, "_drop_output", lambda: None)
    failing.append(BrokenPipeError())

    assert main.run(["fail"]) == main.BROKEN_PIPE
    assert capsys.readouterr().err == ""


def test_fields_are_aligned_and_counts_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    """Values stand below each other."""
    output.print_fields([("rows", 91997), ("end state", "c274")])

    assert capsys.readouterr().out == "rows       91,997\nend state  c274\n"


def test_json_is_one_line_with_amounts_as_strings(capsys: pytest.CaptureFixture[str]) -> None:
    """One object, one line feed."""
    output.print_json({"a": 1, "b": "1.50"})

    text = capsys.readouterr().out
    assert (one_line(text), json.loads(text)) == ('{"a":1,"b":"1.50"}', {"a": 1, "b": "1.50"})


def test_progress_is_shown_to_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a pipe gets nothing."""
    with output.progress("rows", 1000) as show:
        show(1000)
    assert capsys.readouterr() == ("", "")

    read, write = os.openpty()
    with os.fdopen(write, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with output.progress("rows", 1000) as show:
            show(1000)
    drawn = b""
    while b"1000/1000" not in drawn:  # a terminal hands over what is drawn in pieces
        drawn += os.read(read, 1 << 16)  # and raises an error at the end
    os.close(read)


def test_the_package_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` exits with the command's status; the process is set up for the journal's thread."""
    tuned: list[str] = []
    monkeypatch.setattr(main, "tune_interpreter", lambda: tuned.append("once"))
    monkeypatch.setattr("sys.argv", ["holdfast", "verify", "--journal", str(tmp_path / "none")])

    with pytest.raises(SystemExit) as ended:
        main.main()

    assert ended.value.code == main.BAD_INPUT
    assert tuned == ["once"]
