"""`holdfast health`: what can be told of a running desk and of a journal at rest."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import main
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.engine import control_client
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.engine.control_wire import encode, read_reply
from holdfast.engine.emergency import Line, beside
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.world import HeldJournal, VirtualLoop, virtual
from holdfast.wiring import OrderManager


def lived(path: Path, *, unprotected: bool = True, alarmed: bool = False) -> dict[str, Any]:
    """Let a desk hold a bracket, and return what its owner then tells over its wire."""
    answers: list[dict[str, Any]] = []

    @virtual
    async def case() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        broker = ScriptedBroker()
        async with open_desk(broker, HeldJournal(SqliteJournal(path), loop)) as manager:
            await held(manager, broker, unprotected=unprotected)
            if alarmed:
                await manager.engage_kill_switch(by="ann", reason="password=hunter2", timeout=0)
                await manager.raise_alert("MY_ALERT", "look")
            results = await carry_out({"main": manager}, "health", {}, "", 5.0)
            answers.append(read_reply(encode({"desks": results})).desks)
            await manager.abandon()

    case()
    return answers[0]


async def held(manager: OrderManager, broker: ScriptedBroker, *, unprotected: bool) -> None:
    """Fill a bracket, whose stop is refused a few times where it is to be unprotected."""
    await manager.place_bracket_order("TSLA", "buy", 3, entry_price="100", stop_loss_price="95")
    entry = f"{EPOCH}-main-g1.entry.1"
    await manager.wait(entry, "accepted")
    if unprotected:
        broker.script("submit", *([Refused(text="no stops", code=RefusalCode.OTHER)] * 3))
    broker.fill(entry, 3, "100")
    await asyncio.sleep(0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk.db"


def answer(monkeypatch: pytest.MonkeyPatch, path: Path, told: dict[str, Any], *options: str) -> int:
    """Run the command on an owner that tells this."""
    monkeypatch.setattr(control_client, "ask", lambda *_args, **_options: told)
    return main.run(["health", "--journal", str(path), *options])


def test_what_is_not_protected_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the group's number, as a finding that a script can see (P6, P10)."""
    told = lived(path)
    assert answer(monkeypatch, path, told) == 1
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["desk", "main"], ["state", "ok"]]
    assert ["unprotected", "group 1"] in lines
    assert answer(monkeypatch, path, told, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["desks"], found["live"]) == (told, True)
    assert found["desks"]["main"]["health"]["unprotected"] == [1]
    assert METHODS["health"].reads
    assert METHODS["health"].of_all


def test_a_desk_that_is_well_is_told_in_a_few_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is as it should be takes no line, and the exit status says so."""
    assert answer(monkeypatch, path, lived(path, unprotected=False)) == 0
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["desk", "state", "account", "last record", "last poll"]


def test_switches_alerts_and_what_could_not_be_read_are_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who engaged the kill switch and why, masked; counts by code; each message on its line."""
    told = lived(path, alarmed=True)
    told["main"]["health"] |= {
        "is_ok": False,
        "mode": "halted",
        "fault": "disk full",
        "unreadable": ["{what", "x"],
        "calls_open": 2,
        "unclaimed": ["B9"],
        "slow_callbacks": ["mine"],
    }
    told["main"]["guard"] |= {
        "breaker": "half_open",
        "breaker_reason": "loss",
        "breaker_left_ms": 12_000,
        "flattening": ["TSLA"],
        "unrecorded": ["flatten TSLA: by bob, out"],
        "refusals": {"KILL_SWITCH": 1200},
    }
    assert answer(monkeypatch, path, told) == 1
    said = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for line in (
        "state not ok, halted: disk full",
        "kill switch engaged by ann (cancel): password=***",
        "breaker half open, 12 s left: loss",
        "flattening TSLA",
        "unrecorded flatten TSLA: by bob, out",
        "calls open 2",
        "unclaimed B9",
        "slow callback mine",
        "unreadable {what",
        "unreadable x",
        "refusals KILL_SWITCH 1,200",
    ):
        assert line in lines
    [alerts] = [line for line in lines if line.startswith("alerts")]
    assert "MY_ALERT 1" in alerts
    assert "hunter2" not in said


def test_a_journal_at_rest_tells_what_its_owner_left(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody looks after it, so it is not well; what the next start will do is named (109)."""
    lived(path, alarmed=True)
    owed: dict[str, Any] = {"at_ns": 1, "by": "bob", "reason": "out"}
    lines = [
        Line(kind="flatten", wire_id=f"{EPOCH}-main-x1.flatten", symbol="TSLA", **owed),
        Line(kind="flatten", wire_id=f"{EPOCH}-other-x1.flatten", symbol="BTC-USD", **owed),
        Line(kind="exit", wire_id=f"{EPOCH}-main-x2.exit", symbol="TSLA", **owed),
    ]
    beside(path).write_bytes(b"".join(encode(line) + b"\n" for line in lines))
    assert main.run(["health", "--journal", str(path), "--desk", "main"]) == 1
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert told[1].startswith("state not ok, closed: no process owns this journal")
    assert "unprotected group 1" in told
    assert "kill switch engaged by ann (cancel): password=***" in told
    assert [line for line in told if line.startswith("unrecorded")] == [
        "unrecorded flatten TSLA: by bob, out"
    ]
    assert main.run(["health", "--journal", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    health = found["desks"]["main"]["health"]
    assert (found["live"], health["is_ok"], health["account"]) == (False, False, "paper")
    assert health["durable_seq"] > 5
