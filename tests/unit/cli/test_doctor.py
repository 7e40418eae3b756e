"""`holdfast doctor`: what it finds, and that it leaves everything as it was."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import apsw
import pytest

from holdfast.cli import doctor as command
from holdfast.cli import main
from holdfast.connecting import Connection
from holdfast.domain.capabilities import Capabilities
from holdfast.engine.masking import forget_secrets
from holdfast.ports import AccountFigures, OpenOrders
from holdfast.testing.scripted import ScriptedBroker
from holdfast.wiring import LIVE_VARIABLE, OrderManager

SECRET: Final = "tango-7-secret"
PAPER: Final = "[desks.alpha]\n[instruments.TSLA]\n"
OWN: Final = (
    '[accounts.main]\nbroker = "own:connect"\ncredentials.key_env = "OWN_KEY"\n'
    '[desks.alpha]\naccount = "main"\n'
)


class Asked(ScriptedBroker):
    """A broker that tells the account's figures, and notes every question."""

    def __init__(self) -> None:
        super().__init__(Capabilities(account_data=True))
        self.polls = self.accounts = self.closes = 0
        self.complete = True
        self.fault: Exception | None = None

    async def poll(self) -> OpenOrders:
        self.polls += 1
        if self.fault is not None:
            raise self.fault
        return OpenOrders(complete=self.complete)

    async def account(self) -> AccountFigures:
        self.accounts += 1
        return AccountFigures()

    async def aclose(self) -> None:
        self.closes += 1


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The broker behind `own:connect`."""
    made = Asked()

    def connect(_account: object) -> Connection:
        return Connection(broker=made, close=made.aclose)

    connect.modes = ("paper", "live")  # type: ignore[attr-defined]  # what a factory declares
    monkeypatch.setitem(sys.modules, "own", SimpleNamespace(connect=connect))
    monkeypatch.setenv("OWN_KEY", SECRET)
    monkeypatch.delenv(LIVE_VARIABLE, raising=False)
    yield made
    forget_secrets()


@pytest.fixture
def examine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    """Run the command on a configuration; gives its status, its texts by name, and the rest."""

    def run(text: str) -> Any:
        path = tmp_path / "holdfast.toml"
        path.write_text(text, encoding="utf-8")
        status = main.run(["doctor", "--config", str(path), "--json"])
        output, errors = capsys.readouterr()
        report = json.loads(output)
        said = [f"{c['status']} {c['name']}: {c['text']}" for c in report["checks"]]
        return SimpleNamespace(status=status, ok=report["ok"], said=said, errors=errors)

    return run


def told(found: Any, start: str) -> str:
    """Return the one finding that begins so."""
    [text] = [each for each in found.said if each.startswith(start)]
    return str(text)


def test_a_sound_configuration_ends_with_0(examine: Any, tmp_path: Path) -> None:
    """Every part is looked at, and no journal is made by looking."""
    found = examine(PAPER)

    assert (found.status, found.ok, found.errors) == (command.HEALTHY, True, "")
    names = {each.partition(":")[0] for each in found.said}
    assert {"ok config", "ok disk", "ok journal", "ok clock", "ok account alpha"} <= names
    assert "off: order_quantity_max, " in told(found, "note limits alpha")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holdfast.toml"]


def test_a_person_is_told_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of what was looked at, and what failed once more on standard error."""
    path = tmp_path / "a.toml"
    path.write_text("[desks.alpha]\nacount = 'x'\n", encoding="utf-8")

    status = main.run(["doctor", "--config", str(path)])
    output, errors = capsys.readouterr()

    assert status == command.FAILED
    assert output.startswith("failed  config  ")
    assert "desks.alpha.acount is not known; did you mean 'account'?" in errors


def test_a_broker_is_asked_and_nothing_is_placed(examine: Any, broker: Asked) -> None:
    """One list of open orders, one question for the figures, and the connection is closed."""
    found = examine(OWN)

    assert found.ok
    assert "reached; 0 open orders" in found.said[6]
    assert "credentials are there: OWN_KEY" in found.said[5]
    assert (broker.polls, broker.accounts, broker.closes, broker.calls) == (1, 1, 1, [])
    assert SECRET not in str(found)


def test_what_a_broker_refuses_is_told_without_secrets(examine: Any, broker: Asked) -> None:
    """A missing right, or half an answer, is a failure."""
    broker.fault = OSError(f"401 for token={SECRET}")
    found = examine(OWN)
    broker.fault, broker.complete = None, False
    half = examine(OWN)

    assert (found.status, half.status) == (command.FAILED, command.FAILED)
    assert "could not be listed: OSError: 401 for token=***" in told(found, "failed account")
    assert "listed in part only" in told(half, "failed account")
    assert broker.closes == 2


def test_a_credential_that_is_missing_is_named(
    examine: Any, broker: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the broker is not connected."""
    monkeypatch.delenv("OWN_KEY")
    found = examine(OWN)

    assert "names the environment variable OWN_KEY, which is missing" in told(found, "failed acc")
    assert broker.polls == 0


def test_live_is_pointed_out(examine: Any, broker: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the program would be armed is said; looking needs no arming and places nothing."""
    live = OWN.replace('"own:connect"', '"own:connect"\nmode = "live"')
    unarmed = told(examine(live), "note account main")
    monkeypatch.setenv(LIVE_VARIABLE, "1")
    armed = told(examine(live), "note account main")

    assert "real money moves; start with --live" in unarmed
    assert "HOLDFAST_LIVE=1 is set" in armed
    assert broker.calls == []


def test_a_mode_that_the_broker_does_not_serve_fails(examine: Any) -> None:
    """The paper venue is not live."""
    found = examine('[desks.alpha]\nmode = "live"\n')

    assert "does not serve" in told(found, "failed config")


def traded(path: Path, **options: Any) -> None:
    async def trade() -> None:
        async with OrderManager.open(
            journal=path, broker=ScriptedBroker(), desk="alpha", account="alpha", **options
        ):
            pass

    asyncio.run(trade())


def test_a_journal_is_read_to_its_end(examine: Any, tmp_path: Path) -> None:
    """An intact one is said to be, a changed record is found, and neither is touched."""
    path = tmp_path / "holdfast.db"
    traded(path)
    sound = examine(PAPER)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE records SET at_ns = at_ns + 1 WHERE seq = 1")
    connection.close()
    damaged = examine(PAPER)

    assert "is intact" in told(sound, "ok journal")
    assert damaged.status == command.FAILED
    assert "`holdfast verify` tells what to do" in told(damaged, "failed journal")


def test_a_desk_that_would_change_its_mode_is_found(examine: Any, tmp_path: Path) -> None:
    """What a desk was opened as, it stays."""
    traded(tmp_path / "holdfast.db")
    found = examine(PAPER.replace("[desks.alpha]", '[desks.alpha]\nmode = "dry_run"'))

    assert "has mode 'paper' in the journal, not 'dry_run'" in told(found, "failed desk alpha")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_fails(examine: Any, tmp_path: Path) -> None:
    """A read-only folder is named."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    found = examine(f'[journal]\nurl = "{closed}/d.db"\n{PAPER}')

    assert "cannot be written by this user" in told(found, "failed disk")


@pytest.mark.parametrize(
    ("url", "finding", "text"),
    [
        ("memory://", "note journal", "all is forgotten at the end"),
        ("oracle://x", "failed config", "is not known"),
        ("no/where.db", "failed disk", "does not exist; create it"),
    ],
)
def test_where_the_journal_is(examine: Any, url: str, finding: str, text: str) -> None:
    """Memory is remarked upon; a place that is none fails."""
    found = examine(f'[journal]\nurl = "{url}"\n{PAPER}')

    assert text in told(found, finding)


def test_little_room_is_remarked_upon_and_none_fails(
    examine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk halts trading, so it is told before."""
    room = SimpleNamespace(free=command.FREE_BYTES_LOW - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: room)
    little = examine(PAPER)
    room.free = command.FREE_BYTES_MIN - 1
    none = examine(PAPER)

    assert "that is little" in told(little, "note disk")
    assert "make room" in told(none, "failed disk")


def test_a_market_that_cannot_be_played_is_found(examine: Any, tmp_path: Path) -> None:
    """A recorded market is read to its end, in a dry run as well."""
    (tmp_path / "binance_spot_acme_q.csv").write_text(
        "ts,bid,bid_size,ask,ask_size\n2024-08-08T00:00:00Z,100.00,5,100.10,5\n", encoding="utf-8"
    )
    market = "[accounts.m.paper]\nmarket = {!r}\n[desks.alpha]\naccount = 'm'\n"
    there = market.format("binance_spot_acme_q.csv")

    for mode in ("paper", "dry_run"):
        account = f"[accounts.m]\nmode = '{mode}'\n"
        sound = examine(account + there + "[instruments.ACME]\n")
        unlisted = examine(account + there)
        missing = examine(account + market.format("none.csv"))

        assert sound.ok
        assert any("binance_spot_acme_q.csv: ACME" in each for each in sound.said)
        assert "add the instrument ACME" in told(unlisted, "failed account m")
        assert "accounts.m.paper.market: " in told(missing, "failed account m")


def test_an_account_that_no_desk_uses_is_remarked_upon(examine: Any) -> None:
    """It is not connected; maybe a desk was to name it."""
    found = examine("[accounts.m]\n[accounts.idle]\n[desks.alpha]\naccount = 'm'\n")

    assert found.ok
    assert "no desk uses it" in told(found, "note account idle")
