"""The commands that speak with an owner: what they ask for, what they print, how they end."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import main
from holdfast.engine import control_client
from holdfast.errors import Closed, Unanswered

ROW: dict[str, Any] = {
    "client_order_id": "mine",
    "symbol": "TSLA",
    "side": "buy",
    "quantity": "5",
    "status": "open",
    "filled_quantity": "0",
    "limit_price": None,
    "text": "",
}


class FakeOwner:
    """Notes what is asked, and answers with what the test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.answer: Any = [ROW]
        self.error: Exception | None = None

    def __call__(
        self, journal: Path, method: str, params: dict[str, Any], *, desk: str, wait_s: float
    ) -> dict[str, Any]:
        assert journal.is_absolute()
        self.asked.append((method, params, desk))
        if self.error is not None:
            raise self.error
        return {"alpha": self.answer}


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> FakeOwner:
    fake = FakeOwner()
    monkeypatch.setattr(control_client, "ask", fake)
    return fake


@pytest.fixture
def journal(tmp_path: Path) -> str:
    path = tmp_path / "desk.db"
    path.touch()
    return str(path)


def test_orders_are_a_table_without_empty_columns(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of names and one line per order; a limit price that nobody has takes no room."""
    assert main.run(["orders", "--journal", journal, "--symbol", "TSLA"]) == 0

    names, row = capsys.readouterr().out.splitlines()
    assert (
        " ".join(names.split())
        == "desk client order id symbol side quantity status filled quantity"
    )
    assert row.split() == ["alpha", "mine", "TSLA", "buy", "5", "open", "0"]
    [(method, params, _)] = owner.asked
    assert (method, params["symbol"], params["finished"]) == ("orders", "TSLA", False)


def test_a_stop_order_is_listed_with_its_price(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an order that waits for a price it is what people look for."""
    owner.answer = [{**ROW, "order_type": "stop", "stop_price": "95"}]
    assert main.run(["orders", "--journal", journal]) == 0
    names, row = capsys.readouterr().out.splitlines()
    assert "stop price" in names
    assert row.split()[5:8] == ["stop", "95", "open"]


def test_no_orders_are_told_as_such(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing at all would look like a failure."""
    owner.answer = []
    assert main.run(["orders", "--journal", journal, "--all"]) == 0
    assert capsys.readouterr().out == "none\n"


def test_json_is_one_object(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By desk, with whether an owner answered."""
    assert main.run(["orders", "--journal", journal, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"desks": {"alpha": [ROW]}, "live": True}


def test_an_order_is_shown_with_its_executions(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line per thing that is known, and one per execution."""
    owner.answer = {
        **ROW,
        "executions": [{"execution_id": "X-1", "quantity": "2", "price": "249.5"}],
    }
    assert main.run(["order", "mine", "--journal", journal]) == 0
    output = capsys.readouterr().out
    assert "client order id  mine" in output
    assert "limit price" not in output
    assert output.splitlines()[-1] == "execution X-1: 2 at 249.5"


def test_a_submit_carries_its_own_id_and_is_not_sent_late(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id is made where none is given, so that a repeat is no second order (scenario 109)."""
    command = ["submit", "TSLA", "buy", "5", "--limit-price", "250", "--journal", journal]
    owner.answer = ROW
    assert main.run([*command, "--timeout", "2"]) == 0
    assert main.run(command) == 0
    (_, first, _), (_, second, _) = owner.asked
    assert first["client_order_id"].startswith("cli-")
    assert first["client_order_id"] != second["client_order_id"]
    assert (first["order_type"], first["not_after_ms"]) == ("limit", 2_000)

    owner.error = Unanswered("no answer")
    capsys.readouterr()
    assert main.run([*command, "--client-order-id", "mine"]) == 2
    assert "id is mine: give it to `--client-order-id` to repeat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "method", "given"),
    [
        (["cancel", "mine"], "cancel", {"client_order_id": "mine"}),
        (
            ["cancel-all", "--leave-unprotected", "--strategy", ""],
            "cancel-all",
            {"symbol": "", "strategy": "", "leave_unprotected": True},
        ),
        (["kill"], "kill", {"action": "cancel"}),
        (["kill", "--flatten"], "kill", {"action": "flatten"}),
        (["release"], "release", {}),
        (
            ["resolve", "mine", "never_sent"],
            "resolve",
            {"client_order_id": "mine", "verdict": "never_sent"},
        ),
    ],
)
def test_a_change_says_who_and_why(
    owner: FakeOwner, journal: str, command: list[str], method: str, given: dict[str, Any]
) -> None:
    """What is asked of the owner, with the name and the reason that it journals (scenario 109)."""
    owner.answer = [{**ROW, "outcome": "canceled"}]
    why = ["--by", "ann", "--reason", "a test", "--desk", "alpha", "--journal", journal]
    assert main.run([*command, *why]) == 0
    assert owner.asked == [(method, {**given, "by": "ann", "reason": "a test"}, "alpha")]


@pytest.mark.parametrize("command", ["cancel-all", "kill"])
def test_what_has_not_ended_is_named_and_ends_with_1(
    owner: FakeOwner, journal: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cancel that was not confirmed is no success (scenario 44)."""
    owner.answer = [
        {**ROW, "outcome": "canceled"},
        {**ROW, "client_order_id": "other", "outcome": "failed", "text": "not now"},
    ]
    assert main.run([command, "--journal", journal]) == 1
    said = capsys.readouterr()
    assert "not ended yet: other" in said.err
    assert "not now" in said.out


def test_nobody_to_ask_is_bad_input(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a missing journal, nor a wait of nothing, nor a missing owner is success (109)."""
    assert main.run(["cancel", "mine", "--journal", f"{journal}.x"]) == 2
    assert "there is no journal at" in capsys.readouterr().err
    assert main.run(["cancel", "mine", "--journal", journal, "--timeout", "0"]) == 2
    assert "--timeout is 0.0 s" in capsys.readouterr().err
    assert owner.asked == []
    owner.error = Closed("no process owns it")
    assert main.run(["cancel", "mine", "--journal", journal]) == 2
    assert "no process owns it" in capsys.readouterr().err
