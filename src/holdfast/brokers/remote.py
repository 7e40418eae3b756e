"""A broker in another process of this machine, reached over a Unix socket.

Rule 1: a request that could not be written was not sent; one that was written and has no answer
when the connection is lost is unknown. Nothing is ever written twice.
Rule 2: the connection is made anew when something is to be said, and by `listen` in any case;
whoever listens is told of the gap then.

What this module does not know: who is at the other end; any `Broker` may be (`remote_server.py`).
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final, Self

from msgspec.structs import replace

from holdfast.brokers.frames import (
    VERSION,
    Answer,
    Call,
    CancelBatch,
    Ended,
    EndedEach,
    Gapped,
    Hello,
    Listed,
    Listen,
    Poll,
    Quoted,
    Request,
    Response,
    Seen,
    Told,
    check_socket_path,
    pack,
    read_response,
)
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import LookupResult, NotSent, Outcome, Report, Unknown
from holdfast.errors import InputError
from holdfast.ports import OpenOrders
from holdfast.venue.paper import TopOfBook

# A process of the same machine that does not greet by then hangs.
CONNECT_WAIT_MAX_S: Final = 5.0
# `listen` knocks again after so long while nobody is there.
KNOCK_AGAIN_S: Final = 0.1

_NO_LINK: Final = "no connection to the venue's process; nothing was sent"
_LOST: Final = "the connection was lost before an answer came"


class RemoteBroker:
    """An account behind a socket as a broker. Make one with `connect`, end it with `aclose`.

    `capabilities` and `instruments` are what the other end said when it was last reached. It cannot
    say what money is behind it, so this is for simulators alone.
    """

    modes = frozenset({"paper"})

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the socket; `connect` also reaches it. Raises InputError for too long a path."""
        self.capabilities = Capabilities()
        self.instruments: tuple[Instrument, ...] = ()
        self._path = check_socket_path(path)
        self._link: _Link | None = None
        self._fed_by: _Link | None = None  # the connection that was asked for reports last
        self._connecting = asyncio.Lock()
        self._closed = False
        self._on_report: Callable[[Report], None] | None = None
        self._on_gap: Callable[[], None] | None = None
        self._quotes: dict[str, TopOfBook] = {}

    @classmethod
    async def connect(cls, path: str | os.PathLike[str]) -> Self:
        """Reach the other end.

        Raises:
            InputError: nobody listens at that path, or it speaks another version.
        """
        broker = cls(path)
        try:
            await broker._dial()
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise InputError(
                f"no venue can be reached at {broker._path} ({reason}); start it first, and use "
                "the same version of Holdfast on both sides"
            ) from error
        return broker

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place a new order; see `Broker.submit`."""
        return await self._carry_out(order)

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Ask for an order to be cancelled; see `Broker.cancel`."""
        return await self._carry_out(order)

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        """Ask for several orders to be cancelled in one call; see `BatchCanceller`."""
        link = await self._reach()
        if link is None or link.lost.is_set():
            return [NotSent(text=_NO_LINK)] * len(orders)
        answer = await link.ask(lambda key: CancelBatch(id=key, orders=tuple(orders)))
        if isinstance(answer, EndedEach):
            return answer.outcomes
        return [Unknown(text=_LOST)] * len(orders)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Ask for new terms; see `Broker.replace`."""
        return await self._carry_out(order)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Ask for one order by all its ids; a lost connection makes the answer incomplete."""
        link = await self._reach()
        answer = None if link is None else await link.ask(lambda key: Call(id=key, effect=order))
        return answer.result if isinstance(answer, Seen) else LookupResult(text=_LOST)

    async def poll(self) -> OpenOrders:
        """List the working orders; a lost connection makes the list incomplete."""
        link = await self._reach()
        answer = None if link is None else await link.ask(lambda key: Poll(id=key))
        return answer.found if isinstance(answer, Listed) else OpenOrders()

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled, over as many connections as that takes.

        One listener at a time; raises InputError for a second one.
        """
        if self._on_report is not None:
            raise InputError(f"somebody listens to {self._path} already; end that first")
        self._on_report, self._on_gap = on_report, on_gap
        try:
            while True:
                link = await self._reach()
                if link is None:
                    await asyncio.sleep(KNOCK_AGAIN_S)
                    continue
                before, self._fed_by = self._fed_by, link
                if link is not before:
                    link.send(Listen())
                if before is not None:
                    on_gap()
                await link.lost.wait()
        finally:
            self._on_report = self._on_gap = None

    def quote(self, symbol: str) -> TopOfBook | None:
        """Return the latest prices that came, or None before the first."""
        return self._quotes.get(symbol)

    async def aclose(self) -> None:
        """Close the connection for good; calls that wait for an answer end as unknown."""
        self._closed = True
        if self._link is not None:
            await self._link.aclose()

    async def _carry_out(self, effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
        link = await self._reach()
        if link is None or link.lost.is_set():
            return NotSent(text=_NO_LINK)
        answer = await link.ask(lambda key: Call(id=key, effect=effect))
        return answer.outcome if isinstance(answer, Ended) else Unknown(text=_LOST)

    async def _reach(self) -> "_Link | None":
        """Return a connection that stands, made anew if need be; None where there can be none."""
        if self._link is not None and not self._link.lost.is_set():
            return self._link
        async with self._connecting:
            if self._closed:
                return None
            if self._link is None or self._link.lost.is_set():
                try:
                    await self._dial()
                except (OSError, EOFError):
                    return None
        return self._link

    async def _dial(self) -> None:
        async with asyncio.timeout(CONNECT_WAIT_MAX_S):
            reader, writer = await asyncio.open_unix_connection(self._path)
            try:
                hello = await read_response(reader)
                if not isinstance(hello, Hello) or hello.version != VERSION:
                    raise ConnectionError(f"it does not greet as version {VERSION} does")
            except BaseException:
                writer.close()
                raise
        # What the account holds is not asked across this line.
        self.capabilities = replace(
            hello.capabilities, account_data=False, power_after_orders=False
        )
        self.instruments = hello.instruments
        self._link = _Link(reader, writer, self._heard)

    def _heard(self, said: Response) -> None:
        match said:
            case Told(report) if self._on_report is not None:
                self._on_report(report)
            case Gapped() if self._on_gap is not None:
                self._on_gap()
            case Quoted(top):
                self._quotes[top.symbol] = top


class _Link:
    """One connection, and the calls that wait for an answer on it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        heard: Callable[[Response], None],
    ) -> None:
        self.lost = asyncio.Event()
        self._writer = writer
        self._heard = heard
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        self._reading = asyncio.create_task(self._read(reader), name="remote broker")

    def send(self, request: Request) -> bool:
        """Write a request; False where it cannot be written any more."""
        if self.lost.is_set() or self._writer.is_closing():
            return False
        self._writer.write(pack(request))
        return True

    async def ask(self, make: Callable[[int], Request]) -> Answer | None:
        """Send a request and wait for its answer; None if the connection is lost before it."""
        key = next(self._ids)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[key] = waiting
        try:
            return await waiting if self.send(make(key)) else None
        finally:
            del self._waiting[key]

    async def aclose(self) -> None:
        """Close the connection and wait until that is done."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._lose()  # a task that is cancelled before it began runs no `finally`
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                said = await read_response(reader)
                if isinstance(said, Answer):
                    waiting = self._waiting.get(said.id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said)
                else:
                    self._heard(said)
        except (OSError, EOFError):
            return
        finally:
            self._lose()

    def _lose(self) -> None:
        """Note that the connection is of no more use, and tell all who wait on it."""
        self.lost.set()
        self._writer.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)
