"""How long commands wait, and how they end where what was taken has not come far enough."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import main
from holdfast.cli.owner import ANSWER_WAIT_MAX_S, NOT_YET
from holdfast.engine import control_client
from holdfast.engine.control import Control
from holdfast.engine.control_methods import carry_out
from holdfast.errors import Missed, OrderStatusError, Unanswered, WaitTimeout
from holdfast.journal.lock import OwnerLock
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import virtual

BRACKET = "bracket TSLA buy 3 --entry 100 --stop 95"
COMMANDS = [
    BRACKET,
    "cancel mine",
    "cancel-all",
    "cancel-position TSLA",
    "close TSLA",
    "close-group 1",
    "group 1",
    "groups",
    "health",
    "kill",
    "oco TSLA sell 3 --limit 110 --stop 95",
    "order mine",
    "orders",
    "positions",
    "protect TSLA --stop 95",
    "release",
    "resolve mine canceled",
    "statistics",
    "submit TSLA buy 1",
]


@pytest.fixture
def journal(tmp_path: Path) -> str:
    path = tmp_path / "desk.db"
    path.touch()
    return str(path)


def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an owner answer each command as a real one does."""

    def ask(_: Path, method: str, params: dict[str, Any], *, desk: str, wait_s: float) -> Any:
        answers: list[dict[str, Any]] = []

        @virtual
        async def case() -> None:
            async with open_desk(ScriptedBroker()) as manager:
                answers.append(
                    await carry_out({"main": manager}, method, params, desk, 0.9 * wait_s)
                )

        case()
        return answers[0]

    monkeypatch.setattr(control_client, "ask", ask)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seconds", ["1e300", "1e10", "86400.1", "inf"])
def test_no_command_waits_for_ever(
    journal: str, capsys: pytest.CaptureFixture[str], command: str, seconds: str
) -> None:
    """More than a socket can wait is a mistake of the caller, named with what may be given."""
    given = [*command.split(), "--journal", journal, "--timeout", seconds]
    assert main.run(given) == main.BAD_INPUT
    said = capsys.readouterr().err
    assert f"--timeout is {float(seconds)} s; give 0.001 to 86400" in said


def test_the_longest_wait_is_one_that_a_socket_takes(tmp_path: Path) -> None:
    """An owner of this process answers it (scenario 109)."""
    path = tmp_path / "desk.db"

    async def case() -> None:
        ear = Control(path, {})
        await ear.start()
        try:
            found = await asyncio.to_thread(
                control_client.ask, path, "orders", {}, wait_s=ANSWER_WAIT_MAX_S
            )
        finally:
            await ear.close()
        assert found == {}

    lock = OwnerLock(str(path))
    asyncio.run(asyncio.wait_for(case(), 30))
    lock.release()


@pytest.mark.parametrize("option", ["--interval", "--duration", "--exit-wait"])
@pytest.mark.parametrize("seconds", ["1e300", "1e10", "inf", "nan"])
def test_a_run_that_would_never_end_its_wait_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, seconds: str
) -> None:
    """Before anything is opened."""
    team = f"alpha;{tmp_path};strategy:Strategy;1000"
    assert main.run(["run", "--team", team, f"{option}={seconds}"]) == main.BAD_INPUT
    assert f"{option} is {float(seconds)} s; give" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said", "option"),
    [
        (
            f"{BRACKET} --wait protected --client-order-id mine",
            "group 1 is entering after 1.8 s and not protected",
            "The entry's id is mine: give it to `--client-order-id` to repeat",
        ),
        (
            "submit TSLA buy 1 --wait accepted --client-order-id mine",
            "order mine is new after 1.8 s and not accepted",
            "The order's id is mine: give it to `--client-order-id` to repeat",
        ),
    ],
)
def test_what_was_taken_and_takes_longer_has_a_status_of_its_own(
    journal: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    said: str,
    option: str,
) -> None:
    """It is no refusal: a script must not place it again under another name (P2)."""
    monkeypatch.setattr(ScriptedBroker, "submit", _silent)
    answering(monkeypatch)
    assert main.run([*command.split(), "--journal", journal, "--timeout", "2"]) == NOT_YET
    told = capsys.readouterr()
    assert told.out == ""
    assert f"it was taken, but {said}" in told.err
    assert option in told.err


async def _silent(_broker: ScriptedBroker, _order: object) -> Any:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("command", "error", "status", "said"),
    [
        (f"{BRACKET} --wait protected", Missed("group 1 is closing"), NOT_YET, "it was taken, but"),
        ("close TSLA --wait closed", WaitTimeout("it takes"), NOT_YET, "`--idempotency-key`"),
        ("close-group 7 --wait closed", WaitTimeout("it takes"), NOT_YET, "`holdfast group 7`"),
        ("close-group 7 --wait closed", Unanswered("gone"), 2, "`holdfast group 7` tells"),
        (BRACKET, OrderStatusError("no such"), 2, "holdfast: no such"),
        ("cancel mine", WaitTimeout("hm"), 2, "holdfast: hm"),
    ],
)
def test_how_a_command_ends_tells_whether_it_was_taken(
    journal: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    error: Exception,
    status: int,
    said: str,
) -> None:
    """2 where nothing was taken or nobody knows, 3 where it was (scenario 109)."""

    def fails(*_args: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(control_client, "ask", fails)
    assert main.run([*command.split(), "--journal", journal]) == status
    assert said in capsys.readouterr().err


def test_a_bracket_shows_the_id_of_its_entry(
    journal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who placed it can follow the entry by it, whoever made the id."""
    answering(monkeypatch)
    assert main.run([*BRACKET.split(), "--journal", journal, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["desks"]["main"]
    assert shown["entry_client_order_id"].startswith("cli-")


@pytest.mark.parametrize("command", ["bracket", "close", "close-group", "submit"])
def test_the_status_is_described(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the help and on the page."""
    page = Path(__file__).resolve().parents[3] / "docs" / "commands.md"
    main.run([command, "--help"])
    assert " 3 if " in " ".join(capsys.readouterr().out.split())
    section = page.read_text(encoding="utf-8").split(f"## holdfast {command}\n")[1]
    assert " 3 where " in section.split("\n## ")[0].replace("\n", " ")
