"""How another process reaches the owner of a journal: where its socket is, and what is said there.

One request per line and one reply per line, both JSON, in turns. A request that is older than its
deadline is not carried out: whoever asked has gone, and was told so.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.clock import iso
from holdfast.engine.views import OrderView, PositionView
from holdfast.errors import HoldfastError

# The longest request: an order with every field has a tenth of it.
REQUEST_BYTES_MAX: Final = 65_536
# The longest reply: a thousand orders have half of it.
REPLY_BYTES_MAX: Final = 4 * 1_048_576
# The shortest of the systems' bounds on a socket's path (macOS: 104 bytes with the final zero).
SOCKET_PATH_BYTES_MAX: Final = 103
_OWNER_BYTES_MAX: Final = 500


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody wants of a desk, or of all where `desk` is empty.

    `until_boot_ns` is the machine's boot-time clock after which nobody waits for it any more.
    """

    method: str
    until_boot_ns: int
    desk: str = ""
    params: dict[str, Any] = {}


class Fault(Struct, frozen=True, kw_only=True):
    """Why something was not done: an error's stable code, and its message."""

    code: str
    message: str


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a request: results by desk, or a fault."""

    desks: dict[str, Any] = {}
    fault: Fault | None = None


encode: Final = msgspec.json.Encoder(decimal_format="string").encode
read_request: Final = msgspec.json.Decoder(Request).decode
read_reply: Final = msgspec.json.Decoder(Reply).decode


def kill_path(journal: Path) -> Path:
    """Return the file whose existence engages the kill switch of a journal's desks."""
    return journal.with_name(f"{journal.name}.kill")


def _socket_beside(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.sock")


def _pointer(journal: Path) -> Path:
    """Return the file that says where the socket is, if it cannot be beside the journal."""
    return journal.with_name(f"{journal.name}.sock.path")


def is_bindable(path: Path) -> bool:
    """Tell whether the system can have a socket at that path."""
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def make_socket_path(journal: Path) -> Path:
    """Return where the owner's socket is to be, with nothing of an earlier owner left there.

    Only the owner of a journal may call it. Where the path beside the journal is too long, it is
    in a new folder for temporary files, and a file beside the journal says so.

    Raises:
        OSError: what an earlier owner left cannot be removed, or the folder not be made.
    """
    forget_socket_path(journal)
    beside = _socket_beside(journal)
    if is_bindable(beside):
        return beside
    short = Path(tempfile.mkdtemp(prefix="holdfast-")) / "s"
    _pointer(journal).write_text(f"{short}\n", encoding="utf-8")
    return short


def socket_path(journal: Path) -> Path:
    """Return where the owner's socket is, if there is one."""
    try:
        return Path(_pointer(journal).read_text(encoding="utf-8").rstrip("\n"))
    except OSError:
        return _socket_beside(journal)


def forget_socket_path(journal: Path) -> None:
    """Remove a socket that nobody serves any more, and what points to it."""
    path, pointer = socket_path(journal), _pointer(journal)
    path.unlink(missing_ok=True)
    if pointer.exists():
        pointer.unlink()
        if path.parent.is_dir():
            path.parent.rmdir()


class Owner(Struct, frozen=True):
    """Who signed a journal's lock, in words, and whether that process still has it."""

    text: str
    is_alive: bool


def owner_of(journal: Path) -> Owner | None:
    """Return who last owned a journal; None if that cannot be told.

    Only the lock itself decides who owns it, and trying it could keep an owner from starting; this
    is for messages.
    """
    lock = journal.with_name(f"{journal.name}.lock")
    try:
        with lock.open("rb") as file:
            text = file.read(_OWNER_BYTES_MAX).decode(errors="replace").strip()
    except OSError:
        return None
    words = text.split()
    if len(words) < 2 or not words[1].isdecimal():  # noqa: PLR2004 - "process" and its number
        return None
    return Owner(text, is_alive=_has_open(int(words[1]), lock))


def _has_open(process: int, file: Path) -> bool:
    """Tell whether a process has a file open; where the system does not say, whether it lives."""
    try:
        os.kill(process, 0)
        found, opened = file.stat(), list(Path(f"/proc/{process}/fd").iterdir())
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it lives, but is another user's, or this is no Linux
    return any(_is(each, found) for each in opened)


def _is(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), found)
    except OSError:
        return False  # closed meanwhile


def error_of(fault: Fault) -> HoldfastError:
    """Return the error that a fault was at the other end, by its code."""
    error = _kinds(HoldfastError).get(fault.code, HoldfastError)(fault.message)
    error.code = fault.code
    return error


def _kinds(kind: type[HoldfastError]) -> dict[str, type[HoldfastError]]:
    """Return a class of errors and all below it, by their codes."""
    found = {kind.code: kind}
    for each in kind.__subclasses__():
        found |= _kinds(each)
    return found


def order_row(order: OrderView) -> dict[str, object]:
    """Show an order in one flat object: amounts as strings, times in UTC."""
    return {
        "client_order_id": order.client_order_id,
        "wire_id": order.wire_id,
        "broker_order_id": order.broker_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "order_type": order.order_type,
        "quantity": order.quantity,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "time_in_force": order.time_in_force,
        "strategy": order.strategy,
        "status": order.status,
        "condition": order.condition,
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price,
        "pending": order.pending,
        "unknown": order.unknown,
        "code": order.code,
        "text": order.text,
        "created_at": iso(order.created_ns),
        "updated_at": iso(order.updated_ns),
    }


def order_rows(orders: Sequence[OrderView]) -> list[dict[str, object]]:
    """Show orders."""
    return [order_row(order) for order in orders]


def position_rows(positions: dict[str, PositionView]) -> list[PositionView]:
    """Show positions, by symbol."""
    return [positions[symbol] for symbol in sorted(positions)]
