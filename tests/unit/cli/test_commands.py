"""The page of commands says what the commands say of themselves."""

import inspect
import re
from pathlib import Path
from typing import Final

import msgspec
import pytest

from holdfast.cli import main
from holdfast.cli.owner import NOT_YET
from holdfast.trading.replay import Summary

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "commands.md"
EVERYWHERE: Final = {"--json", "--debug", "--help"}
OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
LISTED: Final = re.compile(r"^\| `(--[a-z-]+)`", re.MULTILINE)
FIELDS: Final = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)


def sections() -> dict[str, str]:
    """The text of each command's section by the command's name; the part before them by ""."""
    text = PAGE.read_text(encoding="utf-8")
    first, *others = re.split(r"^## holdfast ", text, flags=re.MULTILINE)
    return {"": first, **{each.partition("\n")[0]: each for each in others}}


def test_each_command_has_its_section() -> None:
    """In the order in which `holdfast` lists them, and no section is of anything else."""
    assert list(sections())[1:] == list(main.COMMANDS)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_the_options_on_the_page_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Each option that --help shows is described, and no other is."""
    assert main.run([command, "--help"]) == 0
    offered = set(OPTION.findall(capsys.readouterr().out)) | {"--help"}

    text = sections()[command]
    assert set(LISTED.findall(text)) | EVERYWHERE == offered
    usage = text.split("```")[1]
    assert set(OPTION.findall(usage)) | EVERYWHERE == offered


def test_the_options_of_all_commands_are_described_once() -> None:
    """They stand at the top of the page."""
    assert set(LISTED.findall(sections()[""])) == EVERYWHERE


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Whoever writes a script finds them without a page."""
    main.run([command, "--help"])

    assert re.search(r"exit\s+status", capsys.readouterr().out, re.IGNORECASE)


def test_the_exit_statuses_on_the_page_are_those_of_the_frame() -> None:
    """A status that the frame can give has its line."""
    given = {main.BAD_INPUT, NOT_YET, main.DEFECT, main.IO_ERROR, main.BROKEN_PIPE}
    given |= {main.SIGNALLED + number for number in (2, 15)}
    rows = re.findall(r"^\| ([0-9, ]+) \|", sections()[""], re.MULTILINE)

    assert {int(each) for row in rows for each in row.split(",")} == given | {0, 1}


def test_the_fields_of_a_replay_are_described_in_their_order() -> None:
    """What --json prints is what the page lists."""
    listed = [name for row in FIELDS.findall(sections()["replay"]) for name in _names(row)]

    assert listed == [field.name for field in msgspec.structs.fields(Summary)]


def _names(row: str) -> list[str]:
    return re.findall(r"`(\w+)`", row)


@pytest.mark.parametrize("command", main.COMMANDS.values(), ids=main.COMMANDS)
def test_every_command_takes_the_common_options(command: object) -> None:
    """Also those that are still to be written."""
    assert callable(command)
    assert "common" in inspect.signature(command).parameters
