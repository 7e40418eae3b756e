"""What goes wrong is told in the options and commands of the command line."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import groups, main, steer
from holdfast.cli.wording import worded
from holdfast.engine import control_client
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.errors import OrderRefused, OrderStatusError
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import virtual


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A journal whose owner has 10 TSLA, and answers each command as a real one does."""

    def ask(
        _journal: Path, method: str, params: dict[str, Any], *, desk: str, wait_s: float
    ) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []

        @virtual
        async def case() -> None:
            broker = ScriptedBroker()
            async with open_desk(broker) as manager:
                bought = await manager.place_market_order("TSLA", "buy", 10, wait="accepted")
                broker.fill(bought.wire_id, 10, "100")
                await manager.add_stop_loss("TSLA", "95")
                await asyncio.sleep(1)
                answers.append(await carry_out({"main": manager}, method, params, desk, wait_s))

        case()
        return answers[0]

    monkeypatch.setattr(control_client, "ask", ask)
    path = tmp_path / "desk.db"
    path.touch()
    return str(path)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("bracket TSLA buy 1 --entry 100", "a bracket needs a --stop, a --trail or a --target"),
        ("bracket TSLA buy 1 --entry 100 --stop 101", "--stop is 101.00 and --entry is 100.00"),
        (
            "bracket TSLA buy 1 --stop-limit 94 --target 110",
            "--stop-limit is 94.00 and there is no --stop",
        ),
        ("bracket TSLA buy 1 --entry 100 --stop x", "--stop 'x' is not a number"),
        ("oco TSLA sell 1 --limit 90 --stop 95", "--stop must be below --limit"),
        ("protect TSLA", "give one of --stop, --trail and --target"),
        ("protect TSLA --target 0", "--target is 0"),
        ("protect TSLA --trail 5 --stop-limit 90", "has no --stop-limit"),
        ("submit TSLA buy 1 --type limit", "--limit-price"),
        ("submit TSLA sell 10 --reduce-only", "`holdfast close` makes room"),
        ("submit TSLA sell 11 --reduce-only", "a smaller exit passes\n"),
        ("group 8", "`holdfast groups` lists those there are"),
        ("order nobody", "`holdfast orders` lists those there are"),
        ("groups --limit 0", "--limit is 0; give 1 to 1000"),
    ],
)
def test_errors_name_options_and_commands(
    journal: str, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    """Who typed an option reads its name again, and is told a command to go on with."""
    assert main.run([*command.split(), "--journal", journal]) == main.BAD_INPUT
    told = capsys.readouterr().err
    assert said in told
    assert not re.search(r"\b[a-z]+_price\b", told)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e9"])
def test_an_entry_timeout_that_is_no_time_is_refused(
    journal: str, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    """It is not taken for one that was not given: the owner is asked nothing."""
    terms = ["bracket", "TSLA", "buy", "1", "--stop", "95", f"--entry-timeout={seconds}"]
    assert main.run([*terms, "--journal", journal]) == main.BAD_INPUT
    assert f"--entry-timeout is {float(seconds)} s; give 0 to" in capsys.readouterr().err


def test_an_entry_may_wait_for_ever(journal: str) -> None:
    """Zero seconds is a time: never."""
    terms = ["bracket", "TSLA", "buy", "1", "--stop", "95", "--entry-timeout", "0"]
    assert main.run([*terms, "--journal", journal]) == 0


@pytest.mark.parametrize("command", ["groups", "close TSLA", "submit TSLA buy 1"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0"])
def test_a_timeout_that_nobody_can_wait_is_refused(
    journal: str, capsys: pytest.CaptureFixture[str], command: str, seconds: str
) -> None:
    """It is named, and nothing is done."""
    given = [*command.split(), "--journal", journal, f"--timeout={seconds}"]
    assert main.run(given) == main.BAD_INPUT
    assert f"--timeout is {float(seconds)} s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("bracket", groups.BRACKET_NAMES),
        ("oco", groups.EXIT_NAMES),
        ("protect", groups.EXIT_NAMES),
        ("close", groups.EXIT_NAMES),
        ("submit", steer.SUBMIT_NAMES),
    ],
)
def test_the_options_that_messages_name_are_there(
    capsys: pytest.CaptureFixture[str], command: str, names: dict[str, str]
) -> None:
    """No message sends anybody to an option that its command has not."""
    assert main.run([command, "--help"]) == 0
    offered = re.findall(r"--[a-z-]+", capsys.readouterr().out)
    fields = getattr(METHODS[command].given, "__struct_fields__", tuple(names))
    used = [option for name, option in names.items() if name in fields]
    assert used
    assert set(used) <= set(offered)


def test_what_a_person_wrote_stays_as_it_is() -> None:
    """A quoted value is no option, and an error keeps its class, code and order."""
    text = "there is no group 'close_position' with entry_price; give entry_price_max"
    with pytest.raises(OrderStatusError) as caught, worded(["entry_price", "symbol"]):
        raise OrderStatusError(text, client_order_id="mine", code="UNKNOWN_GROUP")
    assert str(caught.value) == (
        "there is no group 'close_position' with --entry-price; give entry_price_max"
    )
    assert (caught.value.client_order_id, caught.value.code) == ("mine", "UNKNOWN_GROUP")
    with pytest.raises(OrderRefused, match=r"^a symbol of its own$"), worded(["symbol"]):
        raise OrderRefused("a symbol of its own")
