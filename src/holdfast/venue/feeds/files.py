"""Market files as lines of text: plain or gzip, told apart by content, read as a stream.

Rule 1: a file is never trusted by its name, and never held in memory as a whole.
Rule 2: whatever keeps a file from being read to its last byte is a `TapeError`: gzip's own
checksum and length are verified, a truncated or lengthened archive is refused.
"""

import gzip
import hashlib
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, cast

from msgspec import Struct

from holdfast.errors import TapeError

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = b"PK"
_CHUNK_BYTES: Final = 1 << 18
# The longest lines known are order book snapshots of 1,000 levels a side: about 60 KB.
LINE_BYTES_MAX: Final = 1 << 22
_SHOWN_CHARACTERS_MAX: Final = 80


class Fingerprint(Struct, frozen=True):
    """What a file was when it was read: `sha256` of its bytes as stored, its size and stamp."""

    sha256: str
    size_bytes: int
    mtime_ns: int


def fingerprint(path: Path) -> Fingerprint:
    """Hash the file as it is stored (compressed where it is compressed).

    Raises:
        TapeError: the file is missing, is no file, or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        stat = path.stat()
    except OSError as error:
        _unreadable(path, error)
    return Fingerprint(digest.hexdigest(), stat.st_size, stat.st_mtime_ns)


def check_unchanged(path: Path, seen: Fingerprint) -> None:
    """Raise TapeError if the file is not the one that was checked before."""
    try:
        stat = path.stat()
    except OSError as error:
        _unreadable(path, error)
    if (stat.st_size, stat.st_mtime_ns) != (seen.size_bytes, seen.mtime_ns):
        raise TapeError(f"{path} has changed since it was checked; open it again to check it anew")


def lines(path: Path) -> Generator[str, None, None]:
    """Yield the lines without their ends; a byte order mark and carriage returns are dropped.

    The generator reads ahead by at most one chunk, so its memory does not depend on the file.

    Raises:
        TapeError: missing, unreadable, empty, damaged or truncated gzip, bytes after the gzip
            data, a line above `LINE_BYTES_MAX`, or bytes that are not UTF-8.
    """
    rest = b""
    number = 0
    with closing(_chunks(path)) as chunks:
        for chunk in chunks:
            block, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                line = number + 1 + (block.count(b"\n") + 1 if newline else 0)
                raise TapeError(
                    f"{path}: line {line} is longer than {LINE_BYTES_MAX} bytes; "
                    f"give a market data file"
                )
            if newline:
                texts = _text(path, block, number).split("\n")
                yield from texts
                number += len(texts)
    if rest:
        yield from _text(path, rest, number).split("\n")
    elif not number:
        raise TapeError(f"{path} is empty; give a market data file that has rows")


def first_line(path: Path) -> str:
    """Return the first line; raises what `lines` raises."""
    with closing(lines(path)) as stream:
        return next(stream)


def check_limit(limit_rows: int | None) -> None:
    """Raise TapeError if a limit of rows is given and below one."""
    if limit_rows is not None and limit_rows < 1:
        raise TapeError(f"the limit is {limit_rows} rows; give 1 or more, or no limit")


def shown(text: str) -> str:
    """Quote a piece of a file for a message, cut to a readable length."""
    cut = text[:_SHOWN_CHARACTERS_MAX]
    return repr(cut) + ("..." if len(text) > len(cut) else "")


def _chunks(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
            source = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk
    except EOFError:
        raise TapeError(
            f"{path} is a gzip file that ends too early; it was cut short: fetch or copy it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TapeError(
            f"{path} is a damaged gzip file ({error}); fetch or copy it again"
        ) from None
    except OSError as error:
        _unreadable(path, error)


def _text(path: Path, block: bytes, lines_before: int) -> str:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        number = lines_before + 1 + block.count(b"\n", 0, error.start)
        advice = "unpack the zip archive first" if block[:2] == _ZIP_MAGIC else "give a text file"
        raise TapeError(
            f"{path}: line {number} holds the byte {block[error.start]:#04x}, "
            f"which is not UTF-8 text; {advice}"
        ) from None
    if not lines_before:
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").removesuffix("\r") if "\r" in text else text


def _unreadable(path: Path, error: OSError) -> NoReturn:
    reason = error.strerror or str(error)
    raise TapeError(
        f"{path} cannot be read: {reason}; give the path of a market data file"
    ) from None
