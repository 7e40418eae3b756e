"""The other end of `control.py`: one question to the owner of a journal, and its answer."""

import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.clock import NS_PER_S, Clock, SystemClock
from holdfast.engine.control_wire import (
    REPLY_BYTES_MAX,
    Owner,
    Request,
    encode,
    error_of,
    is_bindable,
    kill_path,
    owner_of,
    read_reply,
    socket_path,
)
from holdfast.errors import Closed, HoldfastError, Unanswered

# How long an owner has by default: far more than a busy one needs.
ANSWER_WAIT_S: Final = 10.0
# After the owner no longer begins, what it began may still be answered.
_LAST_WORD_S: Final = 0.5


def ask(
    journal: Path,
    method: str,
    params: dict[str, Any],
    *,
    desk: str = "",
    wait_s: float = ANSWER_WAIT_S,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Ask the process that owns a journal, and return its results by desk.

    Raises:
        Closed: nobody owns the journal, or its owner does not listen; the message says what to do.
        Unanswered: the owner did not answer; it does not begin with it any more.
        HoldfastError: the owner said no, with the class and code that it has there.
    """
    clock = clock or SystemClock()
    until = clock.boot_ns() + int(wait_s * NS_PER_S)
    request = Request(method=method, until_boot_ns=until, desk=desk, params=params)
    path = socket_path(journal)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(wait_s)
        try:
            if not is_bindable(path):
                raise FileNotFoundError(path)
            line.connect(str(path))
            line.sendall(encode(request) + b"\n")
        except (FileNotFoundError, ConnectionRefusedError):
            raise _unreachable(journal, method) from None
        except (TimeoutError, BlockingIOError):
            raise _silent(journal, method, wait_s) from None
        except (BrokenPipeError, ConnectionResetError):
            raise _gone(journal, method) from None
        data = _answer(line, journal, method, until=until, wait_s=wait_s, clock=clock)
    try:
        reply = read_reply(data)
    except msgspec.MsgspecError as error:
        raise HoldfastError(f"{path} answered what is no reply ({error}); who is there?") from None
    if reply.fault is not None:
        raise error_of(reply.fault)
    return reply.desks


def _answer(
    line: socket.socket, journal: Path, method: str, *, until: int, wait_s: float, clock: Clock
) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        left_s = (until - clock.boot_ns()) / NS_PER_S + _LAST_WORD_S
        if left_s <= 0 or len(data) > REPLY_BYTES_MAX + 1:
            raise _silent(journal, method, wait_s)
        line.settimeout(left_s)
        try:
            part = line.recv(65_536)
        except TimeoutError:
            raise _silent(journal, method, wait_s) from None
        except ConnectionResetError:
            part = b""
        if not part:
            raise _gone(journal, method)
        data += part
    return bytes(data)


def _how(journal: Path) -> str:
    return f"the kill switch needs nobody's answer: `touch {kill_path(journal)}`"


def _unreachable(journal: Path, method: str) -> Closed:
    owner = owner_of(journal)
    if owner is None or not owner.is_alive:
        return Closed(
            f"no process owns {journal}, so `{method}` was not done; start its program "
            f"(`holdfast run`) and repeat the command, or engage the kill switch for that start: "
            f"`touch {kill_path(journal)}`"
        )
    return Closed(
        f"{owner.text} owns {journal}, but takes no commands from other processes; `{method}` was "
        f"not done: give it to that program itself, or end it. {_how(journal)}"
    )


def _silent(journal: Path, method: str, wait_s: float) -> Unanswered:
    return Unanswered(
        f"{_named(owner_of(journal))} owns {journal} and did not answer `{method}` in {wait_s:g} s;"
        " if it is stopped or too busy, it will not begin with it any more, and what it had begun "
        f"shows in `holdfast orders`. Let it go on (kill -CONT), or end it and start its program "
        f"again. {_how(journal)} works as soon as it runs"
    )


def _gone(journal: Path, method: str) -> Unanswered:
    return Unanswered(
        f"the owner of {journal} went away while it had `{method}`; whether it was done shows in "
        "`holdfast orders`, before the command is repeated"
    )


def _named(owner: Owner | None) -> str:
    return owner.text if owner is not None else "a process that did not say who it is"
