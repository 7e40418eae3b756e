"""The other end of a remote broker: any broker, served on a Unix socket.

Rule 1: a request that arrived is carried out, whether or not its sender is still there.
Rule 2: reports go to the connection that asked for them last. One that does not read is cut: its
owner notices a gap and polls.
"""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from holdfast.brokers.frames import (
    VERSION,
    Call,
    CancelBatch,
    Ended,
    EndedEach,
    FrameError,
    Gapped,
    Hello,
    Listed,
    Listen,
    Poll,
    Quoted,
    Response,
    Seen,
    Told,
    check_socket_path,
    pack,
    read_request,
)
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import LookupResult, Outcome, Unknown
from holdfast.ports import BatchCanceller, Broker, OpenOrders
from holdfast.venue.paper import TopOfBook

# Requests of one connection that are carried out at once; more wait unread.
CALLS_MAX: Final = 1_024
# What may wait for a connection that does not read, before it is cut.
UNREAD_BYTES_MAX: Final = 4 * 1024 * 1024
# Quotes are left out while so much else waits: a newer one follows.
UNREAD_BYTES_FOR_QUOTES: Final = 64 * 1024

# What is answered by one frame.
Asked: TypeAlias = Call | CancelBatch | Poll


class BrokerServer:
    """Serves one broker account to the processes of this user; `start` it, `aclose` it.

    Args:
        broker: what carries out the requests.
        instruments: what is listed there, as connections are told.
    """

    def __init__(self, broker: Broker, instruments: tuple[Instrument, ...] = ()) -> None:
        self._broker = broker
        self._hello = Hello(
            version=VERSION, capabilities=broker.capabilities, instruments=instruments
        )
        self._sessions: set[_Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: _Session | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self._path = ""

    async def start(self, path: str | os.PathLike[str]) -> None:
        """Listen at a path that is not in use; others than this user cannot connect.

        Raises:
            InputError: the path is too long for a socket.
            OSError: the socket cannot be made there.
        """
        self._path = check_socket_path(path)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        os.chmod(self._path, 0o600)  # noqa: PTH101 - a path object is blocking I/O to the linter

    def quote(self, top: TopOfBook) -> None:
        """Tell every connection the latest prices."""
        for session in tuple(self._sessions):
            session.send_quote(top)

    def cut(self) -> None:
        """Drop every connection at once, as a network does; they may come back."""
        for session in tuple(self._sessions):
            session.abort()

    async def aclose(self) -> None:
        """Drop every connection, end what is on its way, and remove the socket."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            _remove(self._path)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(writer)
        self._sessions.add(session)
        session.send(self._hello)
        self._spawn(self._serve(reader, session))

    async def _serve(self, reader: asyncio.StreamReader, session: "_Session") -> None:
        try:
            while True:
                request = await read_request(reader)
                await session.room.acquire()
                if isinstance(request, Listen):
                    session.room.release()
                    self._listen(session)
                else:
                    self._spawn(self._carry_out(request, session))
        except (OSError, EOFError):
            return
        finally:
            self._sessions.discard(session)
            session.abort()
            if self._feeding is not None and self._listener is session:
                self._feeding.cancel()

    async def _carry_out(self, request: Asked, session: "_Session") -> None:
        try:
            session.send(await self._answer(request))
        finally:
            session.room.release()

    async def _answer(self, request: Asked) -> Response:
        """Answer a request; an exception of the broker proves nothing, as the port has it."""
        if isinstance(request, CancelBatch):
            return EndedEach(id=request.id, outcomes=await self._outcomes(request.orders))
        if isinstance(request, Poll):
            try:
                return Listed(id=request.id, found=await self._broker.poll())
            except Exception:  # noqa: BLE001 - a list that is not complete proves nothing
                return Listed(id=request.id, found=OpenOrders())
        effect = request.effect
        if isinstance(effect, LookupOrder):
            try:
                return Seen(id=request.id, result=await self._broker.lookup(effect))
            except Exception as error:  # noqa: BLE001 - the same
                return Seen(id=request.id, result=LookupResult(text=_described(error)))
        try:
            return Ended(id=request.id, outcome=await self._outcome(effect))
        except Exception as error:  # noqa: BLE001 - an exception is an unknown outcome
            return Ended(id=request.id, outcome=Unknown(text=_described(error)))

    async def _outcome(self, effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
        if isinstance(effect, SubmitOrder):
            return await self._broker.submit(effect)
        if isinstance(effect, CancelOrder):
            return await self._broker.cancel(effect)
        return await self._broker.replace(effect)

    async def _outcomes(self, orders: tuple[CancelOrder, ...]) -> tuple[Outcome, ...]:
        try:
            return tuple(await cast(BatchCanceller, self._broker).cancel_batch(orders))
        except Exception as error:  # noqa: BLE001 - an exception is an unknown outcome of them all
            return (Unknown(text=_described(error)),) * len(orders)

    def _listen(self, session: "_Session") -> None:
        """Let the reports go to this connection, and no longer to another."""
        if session is self._listener:
            return
        before, self._listener = self._feeding, session
        if before is not None:
            before.cancel()
        self._feeding = self._spawn(self._feed(session, before))

    async def _feed(self, session: "_Session", before: asyncio.Task[None] | None) -> None:
        if before is not None:  # a broker has one listener at a time
            await asyncio.gather(before, return_exceptions=True)
        try:
            await self._broker.listen(
                lambda report: session.send(Told(report)), lambda: session.send(Gapped())
            )
        except Exception:  # noqa: BLE001 - whatever ended the stream, its owner has to know
            session.abort()
        else:
            session.abort()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Session:
    """One connection, from the server's side."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.room = asyncio.Semaphore(CALLS_MAX)
        self._writer = writer

    def send(self, response: Response) -> None:
        """Write a frame; a connection that is gone, or does not read, gets none any more."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        try:
            self._writer.write(pack(response))
        except FrameError:
            self.abort()
        if transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.abort()

    def send_quote(self, top: TopOfBook) -> None:
        """Write a quote, unless much waits already."""
        if self._writer.transport.get_write_buffer_size() < UNREAD_BYTES_FOR_QUOTES:
            self.send(Quoted(top))

    def abort(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)
