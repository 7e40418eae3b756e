"""`holdfast statistics`: figures of a running desk and of a journal at rest, for people."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import main
from holdfast.engine import control_client
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.engine.control_wire import encode, read_reply
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.world import HeldJournal, VirtualLoop, virtual


def traded(path: Path, **params: Any) -> dict[str, Any]:
    """Trade two symbols for two strategies, and return what the owner then tells over its wire."""
    answers: list[dict[str, Any]] = []

    @virtual
    async def case() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        broker = ScriptedBroker()
        async with open_desk(broker, HeldJournal(SqliteJournal(path), loop)) as manager:
            await manager.place_bracket_order(
                *("TSLA", "buy", 3),
                entry_price="100",
                stop_loss_price="95",
                take_profit_price="110",
                strategy="alpha",
            )
            await asyncio.sleep(1)
            broker.fill(f"{EPOCH}-main-g1.entry.1", 3, "100")
            await manager.wait_group(1, "protected")
            other = await manager.place_limit_order(
                "BTC-USD", "buy", "0.5", "20000", strategy="beta", wait="accepted"
            )
            broker.fill(other.wire_id, "0.2", "19999.5")
            await asyncio.sleep(1)
            results = await carry_out({"main": manager}, "trading-statistics", params, "", 5.0)
            answers.append(read_reply(encode({"desks": results})).desks)

    case()
    return answers[0]


def test_the_owner_and_the_journal_tell_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Per strategy and symbol, in sum, and per group; amounts are strings and exact (48)."""
    path = tmp_path / "desk.db"
    live = traded(path)
    assert main.run(["statistics", "--journal", str(path), "--json"]) == 0
    at_rest = json.loads(capsys.readouterr().out)

    assert (at_rest["desks"], at_rest["live"]) == (live, False)
    found = live["main"]
    assert [(row["strategy"], row["symbol"]) for row in found["tallies"]] == [
        ("alpha", "TSLA"),
        ("beta", "BTC-USD"),
    ]
    alpha, beta = found["tallies"]
    assert (alpha["orders"], alpha["filled"], alpha["volume"], alpha["value"]) == (
        *(3, 1),
        *("3", "300"),
    )
    assert (beta["working"], beta["volume"], beta["value"]) == (1, "0.2", "3999.90")
    assert (found["total"]["orders"], found["total"]["value"]) == (4, "4299.90")
    (group,) = found["groups"]
    assert (group["group"], group["phase"], group["covered"]) == (1, "protected", "3")
    assert group["unprotected_ms"] >= group["longest_unprotected_ms"] >= 0
    assert METHODS["trading-statistics"].reads


def test_figures_are_narrowed_by_strategy_and_symbol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows, the sum and the groups are of what was asked for."""
    path = tmp_path / "desk.db"
    traded(path)
    where = ["--journal", str(path), "--json"]
    assert main.run(["statistics", *where, "--strategy", "beta"]) == 0
    beta = json.loads(capsys.readouterr().out)["desks"]["main"]
    assert main.run(["statistics", *where, "--symbol", "TSLA", "--desk", "main"]) == 0
    tesla = json.loads(capsys.readouterr().out)["desks"]["main"]

    assert ([row["symbol"] for row in beta["tallies"]], beta["groups"]) == (["BTC-USD"], [])
    assert (beta["total"]["strategy"], beta["total"]["orders"]) == ("beta", 1)
    assert [row["strategy"] for row in tesla["tallies"]] == ["alpha"]
    assert [group["group"] for group in tesla["groups"]] == [1]


def test_the_figures_are_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of strategies and symbols with its sum, one of groups; columns of zeros are left out."""
    path = tmp_path / "desk.db"
    traded(path)
    assert main.run(["statistics", "--journal", str(path)]) == 0
    names, *rows, blank, titles, group = capsys.readouterr().out.splitlines()

    assert " ".join(names.split()) == (
        "desk strategy symbol orders working filled fill rate executions volume value currency "
        "largest quantity largest value"
    )
    assert [row.split()[:3] for row in rows] == [
        ["main", "alpha", "TSLA"],
        ["main", "beta", "BTC-USD"],
        ["main", "all", "all"],
    ]
    assert "33.3 %" in rows[0]
    assert blank == ""
    assert titles.endswith("longest unprotected ms")
    assert group.split()[:6] == ["main", "1", "bracket", "TSLA", "alpha", "protected"]


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit shortens the table and never the sum."""
    path = tmp_path / "desk.db"
    traded(path)
    assert main.run(["statistics", "--journal", str(path), "--limit", "1"]) == 0
    said = capsys.readouterr()

    assert "beta" not in said.out
    assert "4299.90" in said.out
    assert "1 more of desk main are in its sum alone" in said.err
    assert main.run(["statistics", "--journal", str(path), "--limit", "0"]) == 2
    assert "--limit is 0; give 1 to 1000" in capsys.readouterr().err


def test_a_desk_that_traded_nothing_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is said in a word, and is no error."""
    path = tmp_path / "desk.db"
    path.touch()
    empty = {"total": {}, "tallies": [], "left_out": 0, "groups": []}
    monkeypatch.setattr(control_client, "ask", lambda *_args, **_options: {"main": empty})
    assert main.run(["statistics", "--journal", str(path)]) == 0
    assert capsys.readouterr().out == "none\n"
