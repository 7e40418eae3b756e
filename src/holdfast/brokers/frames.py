"""What a remote broker and its server say to each other over a local stream.

A frame is four bytes, big-endian, that give the length of what follows: one message in MessagePack.
A call carries an id of the caller's choice, and exactly one answer comes back under it, in any
order. The server speaks first (`Hello`); quotes come unasked, reports from `Listen` on.
Amounts are decimal strings, times UTC nanoseconds.
"""

import asyncio
import os
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import LookupResult, Outcome, Report
from holdfast.errors import InputError
from holdfast.ports import OpenOrders
from holdfast.venue.paper import TopOfBook

VERSION: Final = 3
# A poll that lists ten thousand orders has three megabytes.
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
# The shortest of the systems' bounds on a socket's path (macOS: 104 bytes with the final zero).
SOCKET_PATH_BYTES_MAX: Final = 103
_LENGTH_BYTES: Final = 4


class Call(Struct, frozen=True, kw_only=True, tag="call"):
    """Carry out an effect; answered by `Ended`, or for a lookup by `Seen`."""

    id: int
    effect: SubmitOrder | CancelOrder | ReplaceOrder | LookupOrder


class CancelBatch(Struct, frozen=True, kw_only=True, tag="cancel_batch"):
    """Cancel several orders in one call; answered by `EndedEach`."""

    id: int
    orders: tuple[CancelOrder, ...]


class Poll(Struct, frozen=True, kw_only=True, tag="poll"):
    """List the working orders and recent executions; answered by `Listed`."""

    id: int


class Listen(Struct, frozen=True, tag="listen"):
    """Send reports down this connection from now on; it has no answer."""


Request: TypeAlias = Call | CancelBatch | Poll | Listen


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """The first frame of a connection: who speaks, what the account can do, what is listed."""

    version: int
    capabilities: Capabilities
    instruments: tuple[Instrument, ...] = ()


class Ended(Struct, frozen=True, kw_only=True, tag="ended"):
    """How a submit, cancel or replace ended."""

    id: int
    outcome: Outcome


class EndedEach(Struct, frozen=True, kw_only=True, tag="ended_each"):
    """How the cancels of a batch ended, one by one in their order."""

    id: int
    outcomes: tuple[Outcome, ...]


class Seen(Struct, frozen=True, kw_only=True, tag="seen"):
    """What a lookup gave."""

    id: int
    result: LookupResult


class Listed(Struct, frozen=True, kw_only=True, tag="listed"):
    """What a poll gave."""

    id: int
    found: OpenOrders


class Told(Struct, frozen=True, tag="told"):
    """One report of the stream."""

    report: Report


class Gapped(Struct, frozen=True, tag="gapped"):
    """The stream was interrupted; reports may be missing."""


class Quoted(Struct, frozen=True, tag="quoted"):
    """The latest prices of a symbol; one may be left out where a newer one follows."""

    top: TopOfBook


Answer: TypeAlias = Ended | EndedEach | Seen | Listed
Response: TypeAlias = Hello | Answer | Told | Gapped | Quoted


class FrameError(ConnectionError):
    """The other end sent what is no frame of this protocol; the connection is of no use."""


_encode: Final = msgspec.msgpack.Encoder().encode
_request: Final = msgspec.msgpack.Decoder(Request).decode
_response: Final = msgspec.msgpack.Decoder(Response).decode


def pack(message: Request | Response) -> bytes:
    """Return the frame of a message; raises FrameError for one that is too long to be sent."""
    body = _encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(
            f"a {type(message).__name__} has {len(body)} bytes; a frame has at most "
            f"{FRAME_BYTES_MAX}"
        )
    return len(body).to_bytes(_LENGTH_BYTES) + body


async def read_request(stream: asyncio.StreamReader) -> Request:
    """Read the next frame of a client; raises EOFError or OSError where there is none."""
    body = await _read(stream)
    try:
        request: Request = _request(body)
    except msgspec.DecodeError as error:
        raise FrameError(f"this is no request: {error}") from error
    return request


async def read_response(stream: asyncio.StreamReader) -> Response:
    """Read the next frame of a server; raises EOFError or OSError where there is none."""
    body = await _read(stream)
    try:
        response: Response = _response(body)
    except msgspec.DecodeError as error:
        raise FrameError(f"this is no response: {error}") from error
    return response


async def _read(stream: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await stream.readexactly(_LENGTH_BYTES))
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are read")
    return await stream.readexactly(length)


def check_socket_path(path: str | os.PathLike[str]) -> str:
    """Return the path of a socket; raises InputError where the system cannot have one there."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise InputError(
            f"the socket path {os.fspath(path)!r} has {length} bytes; at most "
            f"{SOCKET_PATH_BYTES_MAX} are possible: use a shorter folder (TMPDIR)"
        )
    return os.fspath(path)
