"""What stands in a write-ahead log beyond the transactions that SQLite recovers from it.

SQLite stops at the first frame that does not fit and says nothing. After a crash that is right:
the last transaction was not finished, and nobody was told that it is durable. In a damaged log it
would silently drop transactions that were. The two are told apart here.

Rule: a transaction is synced before the next one begins. So whatever follows a commit frame in
the log proves that this commit was durable.
Source: sqlite.org/fileformat2.html, section 4, the WAL file format.
"""

import os
from pathlib import Path
from struct import Struct as Packer
from typing import Final, NamedTuple

from holdfast.journal.schema import PAGE_BYTES

_HEADER: Final = Packer(">8I")
_FRAME: Final = Packer(">6I")
_MAGIC: Final = (0x377F0682, 0x377F0683)
_WORD: Final = 0xFFFFFFFF
_PAGE_SIZES: Final = tuple(512 << power for power in range(8))


class Log(NamedTuple):
    """The frames of the log's current round, numbered from 1, and which of them end a commit.

    A round begins when the log is written from its start again; frames of older rounds have other
    salts and were folded into the database long ago. `rest` counts the bytes of a last, cut frame.
    """

    salts: tuple[int, ...] = ()

    frames: tuple[int, ...] = ()
    commits: tuple[int, ...] = ()
    rest: int = 0


class Tail(NamedTuple):
    """What recovery leaves out: frames and bytes, and whether a durable commit is among them."""

    frames: int
    rest: int
    durable_lost: bool


def read_log(path: str) -> Log:
    """Read the frame headers of the log beside a database that nobody has open."""
    try:
        file = Path(f"{path}-wal").open("rb")  # noqa: SIM115 - closed by the `with` below
    except FileNotFoundError:
        return Log()
    with file:
        size = os.fstat(file.fileno()).st_size
        if size < _HEADER.size:
            return Log(rest=size)
        head = file.read(_HEADER.size)
        magic, _, page_bytes, _, *salts, sum_1, sum_2 = _HEADER.unpack(head)
        intact = magic in _MAGIC and _checksum(head[:24], big=bool(magic & 1)) == (sum_1, sum_2)
        if not intact:
            page_bytes, salts = _guess(file.read(_FRAME.size), page_bytes)
        step = _FRAME.size + page_bytes
        count, rest = divmod(size - _HEADER.size, step)
        frames, commits = [], []
        for number in range(1, count + 1):
            file.seek(_HEADER.size + (number - 1) * step)
            _, pages_after, *found, _, _ = _FRAME.unpack(file.read(_FRAME.size))
            if found == salts:
                frames.append(number)
                if pages_after:
                    commits.append(number)
    last_is_current = bool(frames) and frames[-1] == count
    cut = rest if last_is_current or not count else 0
    return Log(tuple(salts), tuple(frames), tuple(commits), cut)


def committed_frames(path: str) -> int:
    """Count the frames up to the last commit that is whole, as SQLite does when it recovers."""
    try:
        file = Path(f"{path}-wal").open("rb")  # noqa: SIM115 - closed by the `with` below
    except FileNotFoundError:
        return 0
    with file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return 0
        magic, _, page_bytes, _, *salts, sum_1, sum_2 = _HEADER.unpack(head)
        big = bool(magic & 1)
        sums = _checksum(head[:24], big=big)
        if magic not in _MAGIC or page_bytes not in _PAGE_SIZES or sums != (sum_1, sum_2):
            return 0
        committed = number = 0
        step = _FRAME.size + page_bytes
        while len(frame := file.read(step)) == step:
            _, pages_after, *found, sum_1, sum_2 = _FRAME.unpack(frame[: _FRAME.size])
            sums = _checksum(frame[:8] + frame[_FRAME.size :], big=big, sums=sums)
            if found != salts or sums != (sum_1, sum_2):
                break
            number += 1
            committed = number if pages_after else committed
    return committed


def left_out(path: str, log: Log, recovered: int) -> Tail:
    """Compare the log beside a database with the number of frames that SQLite took from it.

    A new round begins in SQLite's memory first, which outlives its owner as long as anybody reads.
    Until its first write succeeds, the old round stands in the file, whole and folded in.
    """
    left = _tail(log, recovered)
    return _tail(log, committed_frames(path)) if left.durable_lost else left


def _tail(log: Log, recovered: int) -> Tail:
    left = [number for number in log.frames if number > recovered]
    commits = [number for number in log.commits if number > recovered]
    # The very last commit may be one that a crash tore; any before it was synced.
    durable_lost = bool(commits) and (len(commits) > 1 or commits[0] != left[-1] or log.rest > 0)
    return Tail(len(left), log.rest, durable_lost)


def _guess(frame: bytes, page_bytes: int) -> tuple[int, list[int]]:
    """Find the round by its first frame where the header does not tell."""
    salts = list(_FRAME.unpack(frame)[2:4]) if len(frame) == _FRAME.size else []
    plausible = page_bytes in _PAGE_SIZES
    return (page_bytes if plausible else PAGE_BYTES), salts


def _checksum(data: bytes, *, big: bool, sums: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Go on with a checksum over more bytes."""
    words = Packer(f"{'>' if big else '<'}{len(data) // 4}I").unpack(data)
    first, second = sums
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORD
        second = (second + two + first) & _WORD
    return first, second
