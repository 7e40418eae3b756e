"""The owner's ear for other processes: a local socket, and the file that engages the kill switch.

Rule 1: only this user reaches the socket, and what is asked there is what the manager's own methods
do, with the same checks. Nothing is kept between two requests.
Rule 2: a request whose deadline has passed is not carried out. A process that was stopped for a
minute must not do, once it goes on, what people have long been told did not happen.
Rule 3: the kill-switch file needs no answer: as long as it exists the switch is engaged. Removing
it releases nothing; a person does that.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from holdfast.clock import NS_PER_S, Clock, SystemClock
from holdfast.engine.control_methods import carry_out
from holdfast.engine.control_wire import (
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Fault,
    Reply,
    Request,
    encode,
    forget_socket_path,
    kill_path,
    make_socket_path,
    read_request,
)
from holdfast.engine.manager import Manager
from holdfast.engine.masking import described, masked
from holdfast.errors import Busy, HoldfastError, InputError, Unanswered

_log = logging.getLogger("holdfast.control")

# Processes that may ask at once; each is a person or a script at a terminal.
CONNECTIONS_MAX: Final = 32
# Who is refused gets so long to say what it wants, so that it can be told.
REFUSED_WAIT_S: Final = 1.0
# Who says nothing for so long is let go.
SILENCE_MAX_S: Final = 60.0
# How often the kill-switch file is looked for, and how long an engaging that failed rests.
LOOK_S: Final = 1.0
KILL_RETRY_S: Final = 30.0
_KILL_BYTES_MAX: Final = 4_096


class Control:
    """Serves the desks of a journal to other processes of this user, and watches the kill file.

    `desks` are the managers by name; the caller owns the journal at that path.
    """

    def __init__(
        self, journal: Path, desks: Mapping[str, Manager], clock: Clock | None = None
    ) -> None:
        self.path: Path | None = None
        self._journal = journal
        self._desks = desks
        self._clock = clock or SystemClock()
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._rests_until: dict[str, float] = {}
        self.requests = self.late = self.refused = 0

    async def start(self) -> None:
        """Look for the kill file, then listen. Without a socket the desks go on, and it is logged.

        Entries wait best until this returned: then the kill file of before the start holds.
        """
        await self._look()
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch(), name="kill file")
        try:
            self._server = await self._listening()
        except OSError as error:
            _log.warning(
                "no socket for other processes (%s); the kill switch can be engaged with %s",
                described(error),
                kill_path(self._journal),
            )

    async def close(self) -> None:
        """Serve nobody any more, and remove the socket; before the desks are closed."""
        tasks = [*self._serving, *([self._watching] if self._watching is not None else [])]
        if self._server is not None:
            self._server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._server is not None:
            with suppress(OSError):
                forget_socket_path(self._journal)
            self._server = None

    async def _listening(self) -> asyncio.Server:
        self.path = make_socket_path(self._journal)
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            ear.bind(str(self.path))
            # Before it listens: nobody else may ever have connected.
            self.path.chmod(0o600)
            ear.setblocking(False)
            return await asyncio.start_unix_server(self._met, sock=ear, limit=REQUEST_BYTES_MAX)
        except BaseException:
            ear.close()
            raise

    # Requests.

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._serving) >= CONNECTIONS_MAX:
                self.refused += 1
                # A connection closed on an unread request loses the answer with it.
                with suppress(ValueError):
                    async with asyncio.timeout(REFUSED_WAIT_S):
                        await reader.readline()
                busy = f"{CONNECTIONS_MAX} processes are served already; try again in a moment"
                await self._say(writer, Reply(fault=Fault(code=Busy.code, message=busy)))
                return
            self._serving.add(task)
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # whoever asked has gone, or we go
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    line = await reader.readline()
            except ValueError:
                text = f"a request of more than {REQUEST_BYTES_MAX} bytes; none is nearly as long"
                await self._say(writer, Reply(fault=Fault(code=InputError.code, message=text)))
                return
            if not line.endswith(b"\n"):
                return
            await self._say(writer, await self._answer(line))

    async def _say(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        data = encode(reply)
        if len(data) > REPLY_BYTES_MAX:
            text = f"the answer has {len(data)} bytes; ask for fewer orders (limit)"
            data = encode(Reply(fault=Fault(code=InputError.code, message=text)))
        writer.write(data + b"\n")
        async with asyncio.timeout(SILENCE_MAX_S):
            await writer.drain()

    async def _answer(self, line: bytes) -> Reply:
        self.requests += 1
        try:
            request = read_request(line)
        except msgspec.MsgspecError as error:
            return Reply(fault=Fault(code=InputError.code, message=f"no request: {masked(error)}"))
        try:
            return Reply(desks=await self._done(request))
        except HoldfastError as error:
            return Reply(fault=Fault(code=error.code, message=str(error)))
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            _log.exception("a request from another process")
            text = f"this is a defect of Holdfast ({described(error)}); please report it"
            return Reply(fault=Fault(code=HoldfastError.code, message=text))

    async def _done(self, request: Request) -> dict[str, object]:
        """Carry a request out and return the results by desk.

        Raises:
            HoldfastError: it was not done, or not on every desk.
            Unanswered: it came too late, and was not begun.
        """
        wait_s = (request.until_boot_ns - self._clock.boot_ns()) / NS_PER_S
        if wait_s <= 0:
            self.late += 1
            raise Unanswered(f"{request.method} came {-wait_s:.1f} s too late; it was not done")
        if request.method == "release" and kill_path(self._journal).exists():
            raise InputError(
                f"{kill_path(self._journal)} exists and would engage the kill switch at once; "
                "remove it first"
            )
        # Something of the time is left for the way back.
        return await carry_out(
            self._desks, request.method, request.params, request.desk, 0.9 * wait_s
        )

    # The kill file.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Engage the kill switch of every desk as the file says, if it is there."""
        try:
            with kill_path(self._journal).open("rb") as file:
                text = file.read(_KILL_BYTES_MAX).decode(errors="replace").strip()
        except FileNotFoundError:
            return
        except OSError as error:
            # Something is there that cannot be read: whoever made it meant it.
            text = f"the file cannot be read: {described(error)}"
        first, _, rest = text.partition(" ")
        action: Literal["cancel", "flatten"] = (
            "flatten" if first.strip(":").lower() == "flatten" else "cancel"
        )
        reason = masked((rest if action == "flatten" else text).strip()) or "the kill file exists"
        for name in self._desks:
            await self._engage(name, action, " ".join(reason.split()))

    async def _engage(self, name: str, action: Literal["cancel", "flatten"], reason: str) -> None:
        loop, desk = asyncio.get_running_loop(), self._desks[name]
        kill = (await desk.guard()).kill
        if kill is not None and (action == "cancel" or kill.action == "flatten"):
            return
        if loop.time() < self._rests_until.get(name, 0.0):
            return
        self._rests_until[name] = loop.time() + KILL_RETRY_S
        _log.critical("%s: the kill switch of desk %s is engaged", kill_path(self._journal), name)
        try:
            await desk.engage_kill_switch(by="file", reason=reason, action=action, timeout=0.0)
        except Exception as error:  # noqa: BLE001 - the other desks are stopped all the same
            _log.critical("the kill switch of desk %s failed: %s", name, described(error))
        else:
            if (await desk.guard()).kill is not None:
                del self._rests_until[name]
