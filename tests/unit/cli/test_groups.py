"""The commands about groups: what they ask of the owner, what they print, how they end."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import main
from holdfast.engine import control_client
from holdfast.engine.control_methods import METHODS, carry_out
from holdfast.errors import HoldfastError, InputError, OrderStatusError, Unanswered
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.scripted import EPOCH, ScriptedBroker, open_desk
from holdfast.testing.world import HeldJournal, VirtualLoop, virtual

ROW: dict[str, Any] = {
    "group": 7,
    "group_id": "0123456789ab-alpha-g7",
    "contingency": "bracket",
    "symbol": "TSLA",
    "side": "buy",
    "quantity": "3",
    "phase": "protected",
    "owed": "3",
    "covered": "3",
    "stop": "at 95",
    "target": "",
    "reason": "3 is covered",
}
DETAIL: dict[str, Any] = {
    **ROW,
    "members": [
        {
            "role": "stop",
            "client_order_id": "0123456789ab-alpha-g7.stop.1",
            "status": "open",
            "quantity": "3",
            "filled_quantity": "0",
        }
    ],
    "history": [
        {"at": "2026-01-05T14:30:00Z", "phase": "entering", "cause": "", "reason": "", "by": ""},
        {
            "at": "2026-01-05T14:31:00Z",
            "phase": "protecting",
            "cause": "filled",
            "reason": "3 filled",
            "by": "holdfast",
        },
        {
            "at": "2026-01-05T14:32:00Z",
            "phase": "protecting",
            "cause": "stop_called_off",
            "reason": "news",
            "by": "ann",
        },
    ],
}
BRACKET: dict[str, Any] = {
    "symbol": "TSLA",
    "side": "buy",
    "quantity": "3",
    "entry_price": "100",
    "stop_loss_price": "95",
    "take_profit_price": "110",
}


class FakeOwner:
    """Notes what is asked, and answers with what the test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.answer: Any = ROW
        self.error: Exception | None = None

    def __call__(
        self, journal: Path, method: str, params: dict[str, Any], *, desk: str, wait_s: float
    ) -> dict[str, Any]:
        assert journal.is_absolute()
        assert wait_s > 0
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


@pytest.mark.parametrize(
    ("command", "method", "given"),
    [
        (
            "bracket TSLA buy 3 --entry 100 --stop 95 --target 110 --client-order-id mine",
            "bracket",
            {**BRACKET, "client_order_id": "mine", "wait": "durable", "trail": None},
        ),
        (
            "bracket TSLA sell 3 --trail 2 --entry-timeout 5 --time-in-force day --wait protected",
            "bracket",
            {"side": "sell", "entry_price": None, "trail": "2", "entry_timeout": 5.0}
            | {"wait": "protected", "time_in_force": "day"},
        ),
        (
            "oco TSLA sell 3 --limit 110 --stop 95 --stop-limit 94 --idempotency-key k",
            "oco",
            {"limit_price": "110", "stop_price": "95", "stop_limit_price": "94"}
            | {"idempotency_key": "k"},
        ),
        (
            "protect TSLA --stop 95 --quantity 2 --by ann",
            "protect",
            {"symbol": "TSLA", "stop_price": "95", "quantity": "2", "by": "ann"},
        ),
        ("protect TSLA --target 110", "protect", {"target_price": "110", "stop_price": None}),
        (
            "close TSLA --limit 99 --by ann --reason out --wait closed",
            "close",
            {"limit_price": "99", "quantity": None, "by": "ann", "reason": "out"}
            | {"wait": "closed"},
        ),
        (
            "close-group 7 --by ann --reason news",
            "close-group",
            {"group": 7, "by": "ann", "reason": "news", "wait": "durable"},
        ),
        ("close-group mine --by ann --reason news", "close-group", {"group": "mine"}),
        (f"close-group {'9' * 5000} --by ann", "close-group", {"group": "9" * 5000}),
    ],
)
def test_a_change_is_asked_of_the_owner(
    owner: FakeOwner, journal: str, command: str, method: str, given: dict[str, Any]
) -> None:
    """Each option arrives under its name, on the desk that is named (scenario 109)."""
    assert main.run([*command.split(), "--journal", journal, "--desk", "alpha"]) == 0
    [(asked, params, desk)] = owner.asked
    assert (asked, desk) == (method, "alpha")
    assert given.items() <= params.items()


@pytest.mark.parametrize(
    ("kinds", "asked"),
    [("--kinds stop,target", ["stop", "target"]), ("", ["stop", "target", "entry"])],
)
def test_orders_around_a_position_are_cancelled_by_kind(
    owner: FakeOwner,
    journal: str,
    kinds: str,
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is named with its end, and one that has none is no success (scenarios 44 and 109)."""
    ended = {"client_order_id": "mine", "outcome": "canceled"}
    owner.answer = [ended, {**ended, "client_order_id": "other", "outcome": "pending"}]
    why = ["--by", "ann", "--reason", "a test", "--journal", journal]
    assert main.run(["cancel-position", "TSLA", *kinds.split(), *why]) == 1
    given = {"symbol": "TSLA", "kinds": asked, "by": "ann", "reason": "a test"}
    assert owner.asked == [("cancel-position", given, "")]
    assert "not ended yet: other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "field", "option"),
    [
        ("bracket TSLA buy 3 --stop 95", "client_order_id", "--client-order-id"),
        ("oco TSLA sell 3 --limit 110 --stop 95", "idempotency_key", "--idempotency-key"),
        ("close TSLA", "idempotency_key", "--idempotency-key"),
    ],
)
def test_what_must_not_be_done_twice_says_how_to_repeat_it(
    owner: FakeOwner,
    journal: str,
    capsys: pytest.CaptureFixture[str],
    command: str,
    field: str,
    option: str,
) -> None:
    """A name is made where none is given; where nobody answers the message has it (P2, 109)."""
    assert main.run([*command.split(), "--journal", journal]) == 0
    owner.error = Unanswered("no answer")
    assert main.run([*command.split(), "--journal", journal]) == 2
    (_, first, _), (_, second, _) = owner.asked
    assert first[field].startswith("cli-")
    assert first[field] != second[field]
    said = capsys.readouterr().err
    assert f"is {second[field]}: give it to `{option}` to repeat" in said


def test_groups_are_a_table(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line per group, without the columns in which nothing stands."""
    owner.answer = [ROW]
    assert main.run(["groups", "--open", "--symbol", "TSLA", "--journal", journal]) == 0
    names, row = capsys.readouterr().out.splitlines()
    assert " ".join(names.split()) == (
        "desk group contingency symbol side quantity phase owed covered stop reason"
    )
    assert row.split()[:8] == ["alpha", "7", "bracket", "TSLA", "buy", "3", "protected", "3"]
    [(method, params, _)] = owner.asked
    assert method == "groups"
    assert params == {"symbol": "TSLA", "strategy": None, "closed": False, "limit": 100}


def test_a_group_is_shown_with_its_orders_and_its_history(
    owner: FakeOwner, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line per thing that is known, per order, and per change of phase."""
    owner.answer = dict(DETAIL)
    assert main.run(["group", "7", "--journal", journal]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["group", "7"]
    assert not any(line.startswith("target") for line in lines)
    assert lines[-4:] == [
        "stop 0123456789ab-alpha-g7.stop.1: open, 0 of 3 filled",
        "2026-01-05T14:30:00Z entering (begun)",
        "2026-01-05T14:31:00Z protecting (filled) 3 filled, holdfast",
        "2026-01-05T14:32:00Z protecting (stop called off) news, ann",
    ]
    owner.answer = dict(DETAIL)
    assert main.run(["group", "7", "--journal", journal, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"desks": {"alpha": DETAIL}, "live": True}


async def called(manager: Any, method: str, **params: Any) -> Any:
    """Ask as the owner's socket does."""
    return (await carry_out({"main": manager}, method, params, "main", 5.0))["main"]


@virtual
async def test_the_owner_does_what_is_asked() -> None:
    """From the bracket to its end, each method does what the manager's own does."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        placed = await called(manager, "bracket", **BRACKET, client_order_id="mine")
        again = await called(manager, "bracket", **BRACKET, client_order_id="mine")
        await manager.wait("mine", "accepted")
        broker.fill(f"{EPOCH}-main-g1.entry.1", 3, "100")
        await manager.wait_group(1, "protected")
        [row] = await called(manager, "groups", closed=False)
        detail = await called(manager, "group", group="mine")
        await called(manager, "close-group", group=1, by="ann", reason="news")
        await asyncio.sleep(1)
        broker.fill(f"{EPOCH}-main-g1.exit.1", 3, "99")
        await manager.wait_group(1)

        bought = await manager.place_market_order("TSLA", "buy", 5, wait="accepted")
        broker.fill(bought.wire_id, 5, "100")
        await asyncio.sleep(1)
        guard = await called(manager, "protect", symbol="TSLA", stop_price="95")
        await called(manager, "protect", symbol="TSLA", target_price="110")
        closing = await called(manager, "close", symbol="TSLA", quantity=2, limit_price="101")
        await manager.cancel_position_orders("TSLA")
        pair = await called(
            manager,
            "oco",
            symbol="TSLA",
            side="sell",
            quantity=1,
            limit_price="110",
            stop_price="9",
        )

    assert (placed["group"], again["group"], placed["stop"]) == (1, 1, "at 95.00")
    assert (row["phase"], row["covered"]) == ("protected", 3)
    assert [each["role"] for each in detail["members"]] == ["entry", "stop", "target"]
    assert detail["history"][0]["phase"] == "entering"
    assert (guard["contingency"], closing["exit"], pair["contingency"]) == (
        "position",
        "at 101.00",
        "oco",
    )


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("groups", {"limit": 0}, "limit is 0"),
        ("group", {"group": 1.5}, "group"),
        ("bracket", {**BRACKET, "take_profit": "9"}, "take_profit"),
        ("close", {"symbol": "TSLA"}, "no position"),
        ("protect", {"symbol": "TSLA"}, "give one of"),
        ("protect", {"symbol": "TSLA", "stop_price": "9", "trail": "1"}, "give one of"),
        ("protect", {"symbol": "TSLA", "target_price": "9", "stop_limit_price": "1"}, "belongs"),
        ("close-group", {"group": 1, "by": "ann"}, "reason"),
    ],
)
def test_what_cannot_be_done_is_refused(method: str, params: dict[str, Any], message: str) -> None:
    """Nothing is recorded or sent."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            with pytest.raises(HoldfastError, match=message) as caught:
                await called(manager, method, **params)
            assert isinstance(caught.value, InputError)
            with pytest.raises(OrderStatusError, match="no group 1"):
                await called(manager, "group", group=1)
        assert broker.calls == []

    case()


def test_groups_of_a_journal_at_rest_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody owns it, the journal itself answers, and changes need its owner (109)."""
    path = tmp_path / "desk.db"

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        held = HeldJournal(SqliteJournal(path), loop)
        async with open_desk(broker, held) as manager:
            await called(manager, "bracket", **BRACKET, client_order_id="mine")
            await manager.wait("mine", "accepted")
            broker.fill(f"{EPOCH}-main-g1.entry.1", 3, "100")
            await manager.wait_group(1, "protected")

    case()
    where = ["--journal", str(path)]
    assert main.run(["groups", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["live"] is False
    assert (found["desks"]["main"][0]["phase"], found["desks"]["main"][0]["covered"]) == (
        "protected",
        "3",
    )
    assert main.run(["group", "mine", *where]) == 0
    assert "protected (covered)" in capsys.readouterr().out
    assert main.run(["group", "8", *where]) == 2
    assert "there is no group 8" in capsys.readouterr().err
    assert main.run(["close-group", "1", "--reason", "news", *where]) == 2
    assert METHODS["group"].reads
    assert not METHODS["close-group"].reads
