"""One JSONL file on the disk: found as a crash left it, made whole, and only ever appended to.

Rule 1: of a line that a crash tore nothing is believed; it is cut off and written again.
Rule 2: a file that is damaged elsewhere is put aside under another name and never mended: whoever
wants to know what happened can look.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

# No row is nearly as long; a longer line is no row.
LINE_BYTES_MAX: Final = 1 << 20
# Damaged files of one name that are kept; whoever has more should look at the disk.
DAMAGED_MAX: Final = 1_000


class _Key(Struct):
    """What orders the rows of a file, and ties it to its journal."""

    seq: int
    session_id: str


_key: Final = msgspec.json.Decoder(_Key).decode


class Found(Struct, frozen=True, kw_only=True):
    """How far a file is whole: its last row's number, the bytes up to it, and what is wrong.

    `torn` are the bytes of an unfinished last line, `damage` says what else does not hold.
    """

    seq: int = 0
    size: int = 0
    torn: int = 0
    damage: str = ""


def examine(path: Path, *, epoch: str, head_seq: int) -> Found:
    """Read a file to its end, or to its first damage; a missing file is an empty one.

    Its rows must rise in number, belong to the journal of that epoch, and not go past its end.

    Raises:
        OSError: it cannot be read.
    """
    seq = size = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return Found()
    with file:
        whole = file.seek(0, os.SEEK_END)
        file.seek(0)
        while line := file.readline(LINE_BYTES_MAX):
            if not line.endswith(b"\n") and size + len(line) == whole:
                return Found(seq=seq, size=size, torn=len(line))
            damage, number = _fault(line, seq, epoch, head_seq)
            if damage:
                return Found(seq=seq, size=size, damage=f"{damage} at byte {size}")
            seq, size = number, size + len(line)
    return Found(seq=seq, size=size)


def _fault(line: bytes, seq: int, epoch: str, head_seq: int) -> tuple[str, int]:
    """Return what is wrong with a line, and its number."""
    try:
        key = _key(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "a line that is no row", 0
    if key.seq <= seq:
        return f"row {key.seq} after row {seq}", 0
    if not epoch or not key.session_id.startswith(f"{epoch}-"):
        return f"row {key.seq}, which belongs to another journal", 0
    if key.seq > head_seq:
        return f"row {key.seq}, while the journal ends at {head_seq}", 0
    return "", key.seq


class LineFile:
    """A file of rows that is appended to; `seq` is the number of its last row, `size` its bytes.

    What is torn is cut off at once. Methods raise OSError where the disk does not do its part;
    then the file is to be opened anew.
    """

    def __init__(self, path: Path, found: Found) -> None:
        self.path = path
        self.seq = found.seq
        self.size = found.size
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(self._file, found.size)
            os.lseek(self._file, found.size, os.SEEK_SET)
        except OSError:
            self.close()
            raise

    def append(self, data: bytes, seq: int) -> None:
        """Write whole lines, the last of which has this number."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        self.seq, self.size = seq, self.size + len(data)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file; twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def put_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.damaged-N` and return its new name.

    Raises:
        OSError: it cannot be renamed, or too many were put aside already.
    """
    for number in range(1, DAMAGED_MAX + 1):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            path.rename(aside)
            return aside
    raise OSError(
        f"{path} was damaged {DAMAGED_MAX} times; see to the disk, then remove the copies"
    )


def rewrite(path: Path, lines: Iterable[bytes]) -> None:
    """Put new content in the place of a file in one go: readers see the old or the new.

    Raises:
        OSError: it could not be written; the old content stands.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
