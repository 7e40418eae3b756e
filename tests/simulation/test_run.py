"""`holdfast run` as a whole: teams on one account, real processes, real signals, the books."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.brokers.recorded_market import open_recording
from holdfast.domain.desk import Desk
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.recovery import recover
from holdfast.errors import ConfigError, InputError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.world import VirtualLoop, virtual
from holdfast.trading.plugins import team_of
from holdfast.trading.running import (
    RunPlan,
    RunSummary,
    load_teams,
    paper_config,
    run,
    with_capital,
)

ROOT = Path(__file__).resolve().parents[2]
START = "from holdfast.cli.main import main; main()"
RUN_MAX_S = 60
# The strategies that the manual shows.
WRITTEN = re.findall(
    r"```python\n(.+?)```", (ROOT / "docs" / "trading.md").read_text(encoding="utf-8"), re.DOTALL
)

BUYER = """
from holdfast.trading.strategy import Signal

class Strategy:
    def decide(self, market):
        quote = market.quotes.get("ACME")
        if quote is None or market.cycle % 3:
            return None
        side = "sell" if market.positions and market.positions["ACME"].quantity > 0 else "buy"
        return Signal(symbol="ACME", action=side, quantity=2)
"""
RAISING = """
class Strategy:
    def decide(self, market):
        raise ValueError("out of ideas")
"""
BLOCKING = """
import threading

class Strategy:
    def decide(self, market):
        threading.Event().wait()
"""
THREE_BUYS = """
from holdfast.trading.strategy import Signal

class Strategy:
    def decide(self, market):
        if market.cycle > 1:
            return None
        return [
            Signal(symbol="TSLA", action="buy", quantity=n, order_type="limit", limit_price=200 + n)
            for n in (1, 2, 3)
        ]
"""
# Takes two orders and never answers for the third; the first cancel fails on its way.
STUBBORN = """
from holdfast.domain.reports import LookupResult
from holdfast.testing.scripted import Hang, Raise, ScriptedBroker

class Stubborn(ScriptedBroker):
    modes = ("paper",)

    async def submit(self, order):
        if order.terms.quantity == 3:
            self.script("submit", Hang(carried_out=False))
        return await super().submit(order)

    async def lookup(self, order):
        return LookupResult(text="nothing is known of it")

def connect(account):
    broker = Stubborn()
    broker.script("cancel", Raise(OSError("connection reset")))
    return broker

connect.modes = ("paper",)
"""
STUBBORN_CONFIG = """
[journal]
url = "desk.db"
[accounts.main]
broker = "stubborn:connect"
[desks.alpha]
account = "main"
[desks.alpha.execution]
ack_wait_seconds = 0.5
retry_first_seconds = 0.1
absence_grace_seconds = 600
[instruments.TSLA]
"""


def folder_of(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "strategy.py").write_text(text, encoding="utf-8")
    return folder


def team(folder: Path, name: str, text: str, capital: int = 100_000) -> str:
    return f"{name};{folder_of(folder / name, text)};strategy:Strategy;{capital}"


def in_virtual_time(teams: list[str], **plan: Any) -> RunSummary:
    """Run teams on one paper account, as fast as the machine can."""
    summaries: list[RunSummary] = []

    @virtual
    async def case() -> None:
        specs = [team_of(text) for text in teams]
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        config = paper_config(specs, plan.get("market"), "memory://")
        chosen = RunPlan(config=config, teams=load_teams(specs), **plan)
        summaries.append(await run(chosen, asyncio.Event(), clock=loop.clock))

    case()
    return summaries[0]


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `holdfast run` in a process of its own."""
    paths = os.pathsep.join([str(ROOT / "src"), str(folder)])
    return subprocess.Popen(
        [sys.executable, "-c", START, "run", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def heard(process: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """Read the process's progress until a line matches; fail if it ends or takes too long."""
    assert process.stderr is not None
    giving_up = threading.Timer(RUN_MAX_S, process.kill)
    giving_up.start()
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if re.search(wanted, line):
                return lines
    finally:
        giving_up.cancel()
    pytest.fail(f"{wanted!r} was not said: {lines}")


def desk_of(path: Path) -> Desk:
    """Fold the desk alpha out of a journal that nobody owns any more."""
    journal = SqliteJournal(path)
    try:
        return recover(journal, "alpha", Settings()).desk
    finally:
        journal.close()


def test_two_teams_trade_on_one_account_while_a_third_raises(tmp_path: Path) -> None:
    """The others trade on, and the account holds what the desks hold together (scenario 55)."""
    teams = [
        team(tmp_path, "alpha", BUYER),
        team(tmp_path, "beta", BUYER),
        team(tmp_path, "gamma", RAISING),
    ]
    summary = in_virtual_time(teams, duration_s=59.5, on_exit="leave")
    alpha, beta, gamma = summary.teams

    assert summary.ended_by == "duration"
    assert alpha.cycles == beta.cycles == gamma.cycles == 60
    assert min(alpha.fills, beta.fills) >= 10
    assert alpha.errors == beta.errors == gamma.faults == 0
    assert (gamma.orders, gamma.fills) == (0, 0)
    assert gamma.errors >= 5
    assert "out of ideas" in gamma.last_error
    assert summary.books_agree is True
    assert summary.books is not None
    assert [row.symbol for row in summary.books] == ["ACME"]


@pytest.mark.slow
def test_a_run_goes_on_where_the_journal_ends(tmp_path: Path) -> None:
    """What the desk holds is there in the next run, though the simulated account is a new one."""
    holding = BUYER.replace("market.cycle % 3", "market.positions or market.orders")
    arguments = [
        *("--team", team(tmp_path, "alpha", holding)),
        *("--journal", "desk.db", "--duration", "1.5", "--interval", "0.1", "--json"),
    ]
    found = []
    for on_exit in ("leave", "flatten"):
        process = started(tmp_path, *arguments, "--on-exit", on_exit)
        out, err = process.communicate(timeout=RUN_MAX_S)
        assert process.returncode == 0, err
        found.append(json.loads(out))
    (first,), (second,) = (each["teams"] for each in found)

    assert (first["signals"], first["positions"]) == (1, {"ACME": "2"})
    assert (second["signals"], second["positions"]) == (0, {})
    assert [each["books"]["agree"] for each in found] == [True, True]


def test_a_run_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Market, decisions and fills follow from the seed (P8)."""
    teams = [team(tmp_path, "alpha", BUYER)]
    first, second, other = (in_virtual_time(teams, duration_s=40, seed=n) for n in (1, 1, 2))

    assert first.teams == second.teams
    assert first.teams[0].profit != other.teams[0].profit


def test_flattening_at_the_end_leaves_nothing(tmp_path: Path) -> None:
    """Positions are closed through the market before the run ends (scenario 28)."""
    summary = in_virtual_time([team(tmp_path, "alpha", BUYER)], duration_s=4, on_exit="flatten")

    assert summary.teams[0].fills >= 2
    assert summary.teams[0].positions == {}
    assert summary.teams[0].open_orders == 0
    assert summary.remarks == []
    assert summary.books_agree is True


@pytest.mark.parametrize("name", ["quoter", "momentum"])
def test_each_example_trades_on_the_simulated_market(name: str) -> None:
    """What the examples show works: it trades, without an error, and the books agree."""
    folder = ROOT / "examples" / "strategies" / name
    summary = in_virtual_time([f"alpha;{folder};strategy:Strategy;100000"], duration_s=120)

    assert summary.teams[0].fills >= 3
    assert summary.teams[0].errors == summary.teams[0].faults == 0
    assert summary.books_agree is True


@pytest.mark.parametrize("number", range(len(WRITTEN)))
def test_each_strategy_of_the_manual_trades(tmp_path: Path, number: int) -> None:
    """Whoever copies one has a strategy that buys, without an error, and the books agree."""
    teams = [team(tmp_path, "alpha", WRITTEN[number])]
    summary = in_virtual_time(teams, duration_s=60, on_exit="flatten")
    (alpha,) = summary.teams

    assert alpha.fills >= 2
    assert alpha.errors == alpha.faults == alpha.open_orders == 0
    assert alpha.positions == {}
    assert summary.books_agree is True


def test_brackets_end_by_their_stops_and_targets(tmp_path: Path) -> None:
    """One after the other; at each end the position is gone and the other exit with it (62, 67)."""
    bracketing = next(text for text in WRITTEN if "stop_loss_price" in text)
    summary = in_virtual_time([team(tmp_path, "alpha", bracketing)], duration_s=60)
    (alpha,) = summary.teams

    assert alpha.signals >= 3
    assert alpha.results == {"pending": alpha.signals}
    assert alpha.open_orders == (2 if alpha.positions else 0)
    assert alpha.orders >= 3 * alpha.signals - 2
    assert alpha.errors == alpha.faults == 0
    assert summary.books_agree is True


def test_a_teams_capital_limits_what_it_buys(tmp_path: Path) -> None:
    """What the purse does not hold is refused with its code, before the broker (scenario 59)."""
    summary = in_virtual_time([team(tmp_path, "poor", BUYER, capital=50)], duration_s=10)
    (poor,) = summary.teams

    assert poor.orders == poor.errors == 0
    assert set(poor.results) == {"refused"}


def test_the_run_ends_with_the_market_file(tmp_path: Path) -> None:
    """A recording that has no more to tell ends the run in order, not with an error."""
    rows = [f"2024-08-08T00:00:{n:02}Z,100.{n:02},5,100.{n + 1:02},5" for n in range(60)]
    path = tmp_path / "binance_spot_acme_quotes.csv"
    path.write_text("\n".join(["ts,bid,bid_size,ask,ask_size", *rows]) + "\n", encoding="utf-8")
    summary = in_virtual_time(
        [team(tmp_path, "alpha", BUYER)], market=open_recording([path]), speed=Decimal(2)
    )

    assert (summary.ended_by, summary.played) == ("market", 60)
    assert int(summary.seconds) in {29, 30}
    assert summary.teams[0].fills > 0
    assert summary.books_agree is True


def test_a_team_without_a_desk_of_its_name_is_refused(tmp_path: Path) -> None:
    """The desks that the configuration has are named; nothing is opened."""
    specs = [team_of(team(tmp_path, "alpha", BUYER)), team_of(team(tmp_path, "omega", BUYER))]
    config = paper_config(specs[:1], None, "memory://")

    with pytest.raises(ConfigError, match=r"add \[desks.omega\], or use one of: alpha"):
        with_capital(config, specs)
    with pytest.raises(InputError, match="no team is given"):
        load_teams([])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--team", "alpha"], "has not the form"),
        (["--team", "a;nowhere;strategy:Strategy;1"], "there is no folder nowhere"),
        (["--interval", "0"], "--interval is 0.0 s"),
        (["--duration", "-1"], "--duration is -1.0 s"),
        (["--speed", "0"], "the speed is 0"),
        (["--market", "nothing.csv"], "no team is given"),
        (["--live"], "--live needs --config"),
        (["--config", "c.toml", "--journal", "j.db"], "leave --journal out"),
    ],
)
def test_input_that_cannot_be_used_starts_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """One line, status 2, and no journal is made."""
    from holdfast.cli import main  # noqa: PLC0415 - the command line is this test's own

    monkeypatch.chdir(tmp_path)
    assert main.run(["run", *arguments]) == main.BAD_INPUT

    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_strategy_that_blocks_holds_up_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    """It is named, and the process ends though its thread never does; stdout is the object."""
    noisy = BUYER.replace("        quote", "        print('noise')\n        quote", 1)
    process = started(
        tmp_path,
        *("--team", team(tmp_path, "stuck", BLOCKING)),
        *("--team", team(tmp_path, "alpha", noisy)),
        *("--duration", "2", "--interval", "0.05", "--json"),
    )
    out, err = process.communicate(timeout=RUN_MAX_S)
    summary = json.loads(out)
    stuck, alpha = summary["teams"]

    assert process.returncode == 0, err
    assert "noise" in err
    assert alpha["fills"] > 0
    assert alpha["errors"] == 0
    assert stuck["errors"] >= 2
    assert "decide still runs" in stuck["last_error"]
    assert summary["books"]["agree"] is True


@pytest.mark.slow
def test_a_sigterm_cancels_what_works_and_names_what_has_no_broker_id(tmp_path: Path) -> None:
    """Two orders are cancelled though one cancel fails, the third is named; all of it is on disk
    (scenario 28).
    """
    (tmp_path / "stubborn.py").write_text(STUBBORN, encoding="utf-8")
    (tmp_path / "c.toml").write_text(STUBBORN_CONFIG, encoding="utf-8")
    process = started(
        tmp_path,
        *("--config", "c.toml", "--team", team(tmp_path, "alpha", THREE_BUYS)),
        *("--interval", "0.2", "--exit-wait", "2"),
    )
    heard(process, "buy 2 TSLA: pending")
    process.send_signal(signal.SIGTERM)
    said = "".join(heard(process, "SIGTERM: no more entries"))
    out, err = process.communicate(timeout=RUN_MAX_S)

    assert process.returncode == 0, said + err
    (remark,) = [line for line in err.splitlines() if "no broker order id" in line]
    assert "alpha-3 is still new" in remark
    assert "3, 1 open" in out
    desk = desk_of(tmp_path / "desk.db")
    orders = [desk.order(number) for number in (1, 2, 3)]
    assert [order.status for order in orders if order is not None] == [
        Status.CANCELED,
        Status.CANCELED,
        Status.NEW,
    ]


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path) -> None:
    """Whatever the way out waits for; the journal is whole (scenario 28)."""
    (tmp_path / "stubborn.py").write_text(STUBBORN, encoding="utf-8")
    (tmp_path / "c.toml").write_text(STUBBORN_CONFIG, encoding="utf-8")
    process = started(
        tmp_path,
        *("--config", "c.toml", "--team", team(tmp_path, "alpha", THREE_BUYS)),
        *("--interval", "0.2", "--exit-wait", "3600"),
    )
    heard(process, "buy 2 TSLA: pending")
    process.send_signal(signal.SIGINT)
    heard(process, "SIGINT: no more entries")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=RUN_MAX_S)

    assert process.returncode == 128 + signal.SIGTERM
    assert out == ""
    assert "stopped at once" in err
    assert desk_of(tmp_path / "desk.db").order(2) is not None
