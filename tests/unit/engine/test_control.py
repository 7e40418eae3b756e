"""Commands of another process through the owner's socket, and the kill-switch file."""

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.engine import control
from holdfast.engine.control import CONNECTIONS_MAX, Control
from holdfast.engine.control_client import ask
from holdfast.engine.control_methods import METHODS
from holdfast.engine.control_wire import (
    REQUEST_BYTES_MAX,
    Fault,
    Owner,
    error_of,
    kill_path,
    owner_of,
    socket_path,
)
from holdfast.engine.offline import read
from holdfast.errors import (
    Closed,
    HoldfastError,
    InputError,
    JournalError,
    OrderStatusError,
    Unanswered,
    UnknownSymbolError,
)
from holdfast.journal.lock import OwnerLock
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import INSTRUMENTS, ScriptedBroker
from holdfast.wiring import OrderManager

WHO: dict[str, Any] = {"by": "ann", "reason": "a test"}
LIMIT: dict[str, Any] = {"symbol": "TSLA", "side": "buy", "quantity": "5", "order_type": "limit"}
PAIR: dict[str, Any] = {"limit_price": "300", "stop_price": "9"}
BUY: dict[str, Any] = {**LIMIT, "limit_price": "250", "client_order_id": "mine"}


class Owned:
    """A journal's path with its desks, and questions to them as another process asks them."""

    def __init__(self, path: Path, desks: dict[str, OrderManager], ear: Control) -> None:
        self.path, self.desks, self.ear = path, desks, ear

    async def ask(self, method: str, desk: str = "alpha", wait_s: float = 5, **params: Any) -> Any:
        """Ask in a thread, so that the owner's loop is free to answer."""
        found = await asyncio.to_thread(ask, self.path, method, params, desk=desk, wait_s=wait_s)
        return found[desk] if desk else found


@asynccontextmanager
async def owned(path: Path, *names: str) -> AsyncIterator[Owned]:
    """Own a journal's place with these desks, each on a broker of its own."""
    async with AsyncExitStack() as stack:
        desks: dict[str, OrderManager] = {}
        for name in names or ("alpha",):
            desks[name] = await stack.enter_async_context(
                OrderManager.open(
                    journal=MemoryJournal(),
                    broker=ScriptedBroker(),
                    desk=name,
                    instruments=INSTRUMENTS,
                )
            )
        ear = Control(path, desks)
        stack.push_async_callback(ear.close)
        await ear.start()
        yield Owned(path, desks, ear)


def real(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in real time: sockets and the threads that ask are no part of virtual time."""
    asyncio.run(asyncio.wait_for(case(), 30))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk.db"


def test_an_order_is_placed_seen_and_cancelled_from_outside(path: Path) -> None:
    """Every step goes through the owner's own manager, with who and why (scenario 109)."""

    async def case() -> None:
        async with owned(path) as owner:
            placed = await owner.ask("submit", **BUY)
            again = await owner.ask("submit", **BUY)
            assert again["wire_id"] == placed["wire_id"]
            await owner.desks["alpha"].wait("mine", "open")
            listed = await owner.ask("orders")
            assert [(row["client_order_id"], row["limit_price"]) for row in listed] == [
                ("mine", "250")
            ]
            await owner.ask("cancel", client_order_id="mine", **WHO)
            await owner.desks["alpha"].wait("mine", "canceled")
            assert await owner.ask("orders") == []
            assert (await owner.ask("order", client_order_id="mine"))["status"] == "canceled"

    real(case)


def test_all_desks_are_meant_where_none_is_named(path: Path) -> None:
    """Cancel-all and kill take every desk; a single order's command asks which (scenario 109)."""

    async def case() -> None:
        async with owned(path, "alpha", "beta") as owner:
            for desk in ("alpha", "beta"):
                await owner.ask("submit", desk, wait="accepted", **BUY)
            with pytest.raises(InputError, match=r"alpha, beta.*--desk"):
                await owner.ask("cancel", "", client_order_id="mine")
            results = await owner.ask("cancel-all", "", **WHO)
            assert {desk: [row["outcome"] for row in rows] for desk, rows in results.items()} == {
                "alpha": ["canceled"],
                "beta": ["canceled"],
            }
            await owner.ask("kill", "", **WHO)
            for manager in owner.desks.values():
                assert (kill := (await manager.guard()).kill) is not None
                assert (kill.by, kill.reason) == ("ann", "a test")
            await owner.ask("release", "", **WHO)
            for manager in owner.desks.values():
                assert (await manager.guard()).kill is None

    real(case)


def test_every_method_answers(path: Path) -> None:
    """Whatever the table names can be asked for, and its answer is JSON (scenario 109)."""
    given: dict[str, dict[str, Any]] = {
        "submit": {**LIMIT, "limit_price": "249"},
        "order": {"client_order_id": "mine"},
        "cancel": {"client_order_id": "mine"},
        "resolve": {"client_order_id": "mine", "verdict": "look_again", **WHO},
        "kill": WHO,
        "release": WHO,
        "close-breaker": WHO,
        "bracket": {"symbol": "TSLA", "side": "buy", "quantity": 1, "stop_loss_price": "9"},
        "oco": {**PAIR, "symbol": "TSLA", "side": "sell", "quantity": 1},
        "cancel-position": {"symbol": "TSLA", "kinds": ["entry"], **WHO},
        "close": {"symbol": "TSLA"},
        "protect": {"symbol": "TSLA", "stop_price": "9"},
        "group": {"group": 1},
        "close-group": {"group": 1, **WHO},
    }
    # An order with nothing open, and nothing that could be closed.
    refused = {"resolve", "oco", "close", "protect"}

    async def case() -> None:
        async with owned(path) as owner:
            await owner.ask("submit", wait="accepted", **BUY)
            for method in METHODS:
                try:
                    answer = await owner.ask(method, **given.get(method, {}))
                except HoldfastError as error:
                    assert method in refused, error  # noqa: PT017 - the others answer
                else:
                    json.dumps(answer)

    real(case)


@pytest.mark.parametrize(
    ("method", "params", "error", "said"),
    [
        ("submit", {"symbol": "NONE", "side": "buy", "quantity": 1}, UnknownSymbolError, "NONE"),
        ("submit", {"symbol": "TSLA"}, InputError, "no order"),
        ("submit", {**BUY, "colour": 1}, InputError, "colour"),
        ("cancel", {"client_order_id": "x"}, OrderStatusError, "no order 'x'"),
        ("cancel", {}, InputError, "client_order_id"),
        ("orders", {"limit": 0}, InputError, "1 to 1000"),
        ("orders", {"limit": "many"}, InputError, "limit"),
        ("orders", {"status": "gone"}, InputError, "must be one of"),
        ("kill", {"by": "ann", "reason": ""}, InputError, "reason"),
        ("flatten-the-world", {}, InputError, "there are: orders"),
    ],
)
def test_a_refusal_comes_back_as_the_error_it_is(
    path: Path, method: str, params: dict[str, Any], error: type[HoldfastError], said: str
) -> None:
    """Class, code and message are those that the owner's own caller would get (scenario 109)."""

    async def case() -> None:
        async with owned(path) as owner:
            with pytest.raises(error, match=said) as refused:
                await owner.ask(method, **params)
            assert type(refused.value) is error

    real(case)


def test_a_code_of_its_own_survives() -> None:
    """A limit's stable code is not lost on the way, whatever class it comes in."""
    assert error_of(Fault(code="KILL_SWITCH", message="engaged")).code == "KILL_SWITCH"


def test_a_request_that_comes_too_late_is_not_done(path: Path) -> None:
    """Who waited has been told that nothing happens; nothing does (scenario 109)."""

    async def case() -> None:
        async with owned(path) as owner:
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(path) + ".sock")
                late = SystemClock().boot_ns() - NS_PER_S
                request = {"method": "submit", "until_boot_ns": late, "params": BUY}
                line.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(await asyncio.to_thread(line.recv, 65_536))
            assert answer["fault"]["code"] == Unanswered.code
            assert "too late" in answer["fault"]["message"]
            assert owner.ear.late == 1
            assert await owner.ask("orders", finished=True) == []

    real(case)


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"{}\n", b"[]\n", b'{"method":"orders","until_boot_ns":1,"x":1}\n', b"\xff\n"],
)
def test_what_is_no_request_is_answered_as_such(path: Path, line: bytes) -> None:
    """Garbage is refused with a reason, and the socket serves on (P9)."""

    async def case() -> None:
        async with owned(path) as owner:
            answer = await asyncio.to_thread(_said, path, line)
            assert json.loads(answer)["fault"]["code"] == InputError.code
            assert await owner.ask("orders") == []

    real(case)


def test_sizes_and_connections_are_bounded(path: Path) -> None:
    """A request without end is refused, and so is one connection too many (P9)."""

    async def case() -> None:
        async with owned(path) as owner:
            answer = await asyncio.to_thread(_said, path, b"x" * (2 * REQUEST_BYTES_MAX))
            assert f"{REQUEST_BYTES_MAX} bytes" in json.loads(answer)["fault"]["message"]
            many = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_MAX)]
            for line in many:
                line.connect(f"{path}.sock")
            while len(owner.ear._serving) < CONNECTIONS_MAX:  # noqa: ASYNC110 - a socket's turn
                await asyncio.sleep(0.001)
            with pytest.raises(HoldfastError, match="32 processes are served already"):
                await owner.ask("orders")
            for line in many:
                line.close()
            while owner.ear._serving:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.001)
            assert await owner.ask("orders") == []

    real(case)


def _said(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"{path}.sock")
        with suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(data)
        return line.recv(65_536)


def test_only_this_user_reaches_the_socket_and_nothing_of_it_stays(path: Path) -> None:
    """Mode 0600; an old socket is no obstacle, a closed owner leaves none (scenario 109)."""
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{path}.sock")
    stale.close()

    async def case() -> None:
        async with owned(path) as owner:
            assert stat.S_IMODE(socket_path(path).stat().st_mode) == 0o600
            assert await owner.ask("orders") == []

    real(case)
    assert list(path.parent.iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_pointed_away_from(tmp_path: Path) -> None:
    """The socket is then in a folder of its own, named beside the journal (scenario 109)."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    path = folder / "desk.db"

    async def case() -> None:
        async with owned(path) as owner:
            assert await owner.ask("orders") == []
            assert socket_path(path).parent != folder
            assert stat.S_IMODE(socket_path(path).parent.stat().st_mode) == 0o700

    real(case)
    assert list(folder.iterdir()) == []


def test_without_a_socket_the_desks_go_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that takes no socket costs the commands of others, and it is said (87)."""
    Path(f"{path}.sock").mkdir()

    async def case() -> None:
        async with owned(path) as owner:
            order = await owner.desks["alpha"].submit(wait="accepted", **BUY)
            assert order.broker_order_id

    with caplog.at_level(logging.WARNING, logger="holdfast.control"):
        real(case)
    assert "no socket for other processes" in caplog.text
    assert f"{path}.kill" in caplog.text


# The kill-switch file.


@pytest.mark.parametrize(
    ("text", "action", "reason"),
    [
        ("", "cancel", "the kill file exists"),
        ("fat finger\n", "cancel", "fat finger"),
        ("flatten all of it", "flatten", "all of it"),
        ("FLATTEN", "flatten", "the kill file exists"),
    ],
)
def test_the_file_engages_the_switch_before_the_desk_is_used(
    path: Path, text: str, action: str, reason: str
) -> None:
    """A file of before the start holds at the start; its words say why (scenario 109)."""
    kill_path(path).write_text(text)

    async def case() -> None:
        async with owned(path) as owner:
            kill = (await owner.desks["alpha"].guard()).kill
            assert kill is not None
            assert (kill.by, kill.action, kill.reason) == ("file", action, reason)
            with pytest.raises(HoldfastError, match="KILL_SWITCH"):
                await owner.ask("submit", **BUY)

    real(case)


def test_removing_the_file_releases_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it exists nothing can be released; then a person has to (scenario 109)."""
    monkeypatch.setattr(control, "LOOK_S", 0.01)

    async def case() -> None:
        async with owned(path) as owner:
            desk = owner.desks["alpha"]
            await owner.ask("submit", wait="accepted", **BUY)
            kill_path(path).touch()
            await desk.wait("mine", "canceled", timeout=10)
            with pytest.raises(InputError, match=r"desk\.db\.kill exists.*remove it first"):
                await owner.ask("release", **WHO)
            kill_path(path).unlink()
            await asyncio.sleep(0.05)
            assert (await desk.guard()).kill is not None
            await owner.ask("release", **WHO)
            await asyncio.sleep(0.05)
            assert (await desk.guard()).kill is None

    real(case)


def test_an_engaged_switch_can_still_be_told_to_flatten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From cancel to flatten by writing it into the file, and not back (scenario 109)."""
    monkeypatch.setattr(control, "LOOK_S", 0.01)

    async def case() -> None:
        async with owned(path) as owner:
            for text in ("stop", "flatten now", "stop"):
                kill_path(path).write_text(text)
                await asyncio.sleep(0.05)
            kill = (await owner.desks["alpha"].guard()).kill
            assert kill is not None
            assert (kill.action, kill.reason) == ("flatten", "now")

    real(case)


def test_one_desk_that_cannot_be_stopped_does_not_save_the_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure on one desk is logged, rests, and the rest is stopped (scenario 109)."""
    kill_path(path).touch()

    async def case() -> None:
        async with owned(path, "alpha", "beta") as owner:
            assert (await owner.desks["beta"].guard()).kill is not None
            await owner.desks["beta"].release_kill_switch(**WHO)
            calls: list[str] = []

            async def fail(**_: object) -> None:
                calls.append("alpha")
                raise InputError("no")

            await owner.desks["alpha"].release_kill_switch(**WHO)
            monkeypatch.setattr(owner.desks["alpha"], "engage_kill_switch", fail)
            await owner.ear._look()
            await owner.ear._look()
            assert calls == ["alpha"]
            assert (await owner.desks["beta"].guard()).kill is not None

    real(case)


# Without an owner.


async def _trade(path: Path, name: str = "alpha") -> None:
    async with OrderManager.open(
        journal=path, broker=ScriptedBroker(), desk=name, instruments=INSTRUMENTS
    ) as desk:
        await desk.submit(wait="accepted", **BUY)
        await desk.cancel_order("mine")
        await desk.wait("mine")
        await desk.submit(wait="accepted", **{**BUY, "client_order_id": "open"})


def test_a_journal_without_owner_can_be_read_but_not_told(path: Path) -> None:
    """Reads fold the journal; a change says that nobody is there, and how to go on (109)."""
    asyncio.run(_trade(path))

    assert [row["client_order_id"] for row in read(path, "orders", {})["alpha"]] == ["open"]
    both = read(path, "orders", {"finished": True})["alpha"]
    assert [(row["client_order_id"], row["status"]) for row in both] == [
        ("open", "open"),
        ("mine", "canceled"),
    ]
    found = read(path, "order", {"client_order_id": "mine"})["alpha"]
    assert (found["status"], found["executions"]) == ("canceled", [])
    assert read(path, "positions", {}) == {"alpha": []}
    with pytest.raises(OrderStatusError, match="no order 'x'"):
        read(path, "order", {"client_order_id": "x"})
    with pytest.raises(InputError, match="there are: alpha"):
        read(path, "orders", {}, desk="beta")
    with pytest.raises(JournalError, match="no journal"):
        read(path.with_name("other.db"), "orders", {})
    with pytest.raises(Closed, match=r"no process owns .*holdfast run.*touch .*desk\.db\.kill"):
        ask(path, "cancel", {"client_order_id": "open"})


def test_a_desk_of_orders_that_are_nobodys_is_not_meant_unless_named(path: Path) -> None:
    """As with an owner, one order is looked for on the desk that there is; lists have both."""
    asyncio.run(_trade(path))
    asyncio.run(_trade(path, "unclaimed-main"))

    named = {"client_order_id": "mine"}
    assert list(read(path, "order", named)) == ["alpha"]
    assert list(read(path, "order", named, desk="unclaimed-main")) == ["unclaimed-main"]
    assert list(read(path, "orders", {})) == ["alpha", "unclaimed-main"]
    asyncio.run(_trade(path, "beta"))
    with pytest.raises(InputError, match=r"several desks or none \(alpha, beta\); say which"):
        read(path, "order", named)


def test_an_owner_that_does_not_listen_is_named(path: Path) -> None:
    """A library's program may own the journal without a socket; it is named (scenario 109)."""
    lock = OwnerLock(str(path))

    with pytest.raises(Closed, match=f"process {os.getpid()} on .* owns .* takes no commands"):
        ask(path, "cancel", {"client_order_id": "x"})
    lock.release()
    with pytest.raises(Closed, match="no process owns"):
        ask(path, "cancel", {"client_order_id": "x"})


def test_who_signed_the_lock_is_read_with_care(path: Path) -> None:
    """A lock's text is only for messages: missing, foreign or old ones mislead nobody."""
    lock = path.with_name("desk.db.lock")
    assert owner_of(path) is None
    for text in ("", "nonsense", "process x on y", "\x00\x00"):
        lock.write_text(text)
        assert owner_of(path) is None
    lock.write_text(f"process {2**31} on here")
    assert owner_of(path) == Owner(f"process {2**31} on here", is_alive=False)


def test_an_owner_that_goes_away_in_the_middle_leaves_the_outcome_open(path: Path) -> None:
    """No answer is no answer: the message says where to look (P4)."""
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(f"{path}.sock")
        ear.listen()

        async def case() -> None:
            asked = asyncio.create_task(asyncio.to_thread(ask, path, "kill", WHO, wait_s=10))
            line, _ = await asyncio.to_thread(ear.accept)
            await asyncio.to_thread(line.recv, 65_536)
            line.close()
            with pytest.raises(Unanswered, match=r"went away.*holdfast orders"):
                await asked

        real(case)


def test_an_answer_that_is_none_is_no_result(path: Path) -> None:
    """Somebody else's socket at that path is not believed."""
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(f"{path}.sock")
        ear.listen()

        async def case() -> None:
            asked = asyncio.create_task(asyncio.to_thread(ask, path, "kill", WHO, wait_s=10))
            line, _ = await asyncio.to_thread(ear.accept)
            await asyncio.to_thread(line.recv, 65_536)
            line.sendall(b"HTTP/1.1 200 OK\n")
            with pytest.raises(HoldfastError, match="answered what is no reply"):
                await asked
            line.close()

        real(case)
