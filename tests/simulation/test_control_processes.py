"""An owner, its venue and other processes' commands: real processes, stopped and killed."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.brokers.remote_server import BrokerServer
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.values import Status
from holdfast.testing.scripted import INSTRUMENTS, ScriptedBroker

ROOT: Final = Path(__file__).resolve().parents[2]
WAIT_S: Final = 60
OWNER: Final = """
import asyncio, sys
from pathlib import Path
from holdfast.brokers.remote import RemoteBroker
from holdfast.engine.control import Control
from holdfast.testing.scripted import INSTRUMENTS
from holdfast.wiring import OrderManager

async def main(journal, venue):
    broker = await RemoteBroker.connect(venue)
    async with OrderManager.open(
        journal=journal, broker=broker, desk="alpha", instruments=INSTRUMENTS
    ) as desk:
        control = Control(Path(journal), {"alpha": desk})
        await control.start()
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


class Place:
    """A folder with a journal and a venue; owners and commands are processes."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "desk.db"
        self.kill_file = folder / "desk.db.kill"
        self.venue = folder / "venue"
        self.broker = ScriptedBroker()
        self._processes: list[Process] = []

    async def owner(self) -> Process:
        """Start an owner and wait until it serves."""
        process = await self._start("-c", OWNER, str(self.journal), str(self.venue))
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n", await process.communicate()
        return process

    async def holdfast(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command on the journal; returns its status, output and errors."""
        process = await self._start(
            "-m", "holdfast.cli.main", *arguments, "--journal", str(self.journal)
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def told(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return what desk alpha had to say."""
        status, output, errors = await self.holdfast(*arguments, "--json")
        assert status == 0, errors
        return json.loads(output)["desks"]["alpha"]

    async def _start(self, *arguments: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=PIPE,
            stderr=PIPE,
        )
        self._processes.append(process)
        return process

    async def end(self) -> None:
        """End every process that still runs."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    here = Place(folder)
    server = BrokerServer(here.broker, INSTRUMENTS)
    await server.start(here.venue)
    try:
        yield here
    finally:
        await here.end()
        await server.aclose()


def real(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(case(), WAIT_S))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.01)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        yield Path(name)


@pytest.mark.slow
def test_a_second_process_cancels_through_the_owner(folder: Path) -> None:
    """`holdfast submit`, `orders` and `cancel` do what the owner does, once each (scenario 109)."""

    async def case() -> None:
        async with place(folder) as here:
            await here.owner()
            terms = ("TSLA", "buy", "5", "--limit-price", "250", "--client-order-id", "mine")
            await here.told("submit", *terms, "--wait", "accepted")
            await here.told("submit", *terms)
            assert [row["client_order_id"] for row in await here.told("orders")] == ["mine"]
            cancelled = await here.told("cancel", "mine", "--by", "ann", "--reason", "enough")
            assert cancelled["client_order_id"] == "mine"
            await until(lambda: _status(here) is Status.CANCELED)
            status, _, errors = await here.holdfast("cancel", "mine")
            assert (status, "mine" in errors) == (2, True)

            assert len(here.broker.sent(SubmitOrder)) == 1
            assert len(here.broker.sent(CancelOrder)) == 1

    real(case)


@pytest.mark.slow
def test_a_stopped_owner_does_nothing_late_and_is_taken_over(folder: Path) -> None:
    """Stopped, it is named; let go, it does nothing of it; killed, another goes on (109, P2)."""

    async def case() -> None:
        async with place(folder) as here:
            owner = await here.owner()
            terms = ("TSLA", "buy", "5", "--limit-price", "250")
            await here.told("submit", *terms, "--client-order-id", "a", "--wait", "accepted")
            owner.send_signal(signal.SIGSTOP)
            for command in (("submit", *terms, "--client-order-id", "b"), ("cancel", "a")):
                status, output, errors = await here.holdfast(*command, "--timeout", "1")
                assert (status, output) == (2, "")
                assert f"process {owner.pid} on" in errors
                assert "did not answer" in errors
                assert f"touch {here.kill_file}" in errors
            owner.send_signal(signal.SIGCONT)
            assert [row["client_order_id"] for row in await here.told("orders")] == ["a"]
            assert len(here.broker.sent(SubmitOrder)) == 1
            assert not here.broker.sent(CancelOrder)

            owner.send_signal(signal.SIGSTOP)
            here.kill_file.write_text("it hangs\n")
            owner.kill()
            await owner.wait()
            await here.owner()
            await until(lambda: _status(here) is Status.CANCELED)
            status, _, errors = await here.holdfast("submit", *terms)
            assert (status, "KILL_SWITCH" in errors) == (2, True)

            assert len(here.broker.sent(SubmitOrder)) == 1
            assert len(here.broker.sent(CancelOrder)) == 1

    real(case)


@pytest.mark.slow
def test_without_an_owner_reads_read_and_changes_say_how(folder: Path) -> None:
    """After a SIGKILL the journal tells what is open; a change says what to do (scenario 109)."""

    async def case() -> None:
        async with place(folder) as here:
            owner = await here.owner()
            terms = ("TSLA", "buy", "5", "--limit-price", "250", "--client-order-id", "mine")
            await here.told("submit", *terms, "--wait", "accepted")
            owner.kill()
            await owner.wait()
            assert [row["client_order_id"] for row in await here.told("orders")] == ["mine"]
            status, _, errors = await here.holdfast("cancel", "mine")
            assert status == 2
            assert f"no process owns {here.journal}" in errors
            assert f"touch {here.kill_file}" in errors
            await here.owner()
            results = await here.told("cancel-all")
            assert [row["outcome"] for row in results] == ["canceled"]
            assert len(here.broker.sent(CancelOrder)) == 1

    real(case)


def _status(here: Place) -> Status | None:
    [shown] = here.broker.orders.values()
    return shown.status
