"""Files are read to their last byte, and whatever is wrong with them is said before use."""

import gzip
from pathlib import Path

import pytest

from holdfast.errors import TapeError
from holdfast.venue.feeds import files
from holdfast.venue.feeds.files import check_unchanged, fingerprint, first_line, lines

TEXT = "one,1\ntwo,2\nthree,3\n"


def stored(folder: Path, content: bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["plain.csv", "plain.gz", "plain"])
def test_plain_text_is_read_as_plain_text_whatever_its_name_says(tmp_path: Path, name: str) -> None:
    """The content decides: a plain file named .gz is still plain."""
    assert list(lines(stored(tmp_path, TEXT.encode(), name))) == ["one,1", "two,2", "three,3"]


@pytest.mark.parametrize("name", ["packed.csv", "packed.csv.gz"])
def test_gzip_is_unpacked_whatever_its_name_says(tmp_path: Path, name: str) -> None:
    """The content decides: a gzip file named .csv is unpacked."""
    path = stored(tmp_path, gzip.compress(TEXT.encode()), name)

    assert list(lines(path)) == ["one,1", "two,2", "three,3"]


@pytest.mark.parametrize(
    "content",
    [
        TEXT.rstrip("\n").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        gzip.compress(b"one,1\ntw") + gzip.compress(b"o,2\nthree,3\n"),
    ],
    ids=["no last line end", "carriage returns", "byte order mark", "two gzip members"],
)
def test_harmless_differences_are_not_seen_by_the_reader(tmp_path: Path, content: bytes) -> None:
    """Line ends, a byte order mark and joined gzip files give the same lines."""
    assert list(lines(stored(tmp_path, content))) == ["one,1", "two,2", "three,3"]


def test_lines_are_the_same_however_the_chunks_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk may end inside a line, a line end or a character."""
    path = stored(tmp_path, "süd,1\r\nöst,2\r\n".encode())
    for size in range(1, 12):
        monkeypatch.setattr(files, "_CHUNK_BYTES", size)

        assert list(lines(path)) == ["süd,1", "öst,2"]


PACKED = gzip.compress(TEXT.encode() * 50)
FLIPPED_CHECKSUM = PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (PACKED[:-1], "ends too early"),
        (PACKED[: len(PACKED) // 2], "ends too early"),
        (FLIPPED_CHECKSUM, "damaged gzip file .CRC"),
        (PACKED[:12] + b"\xff\xff\xff\xff" + PACKED[16:], "damaged gzip file"),
        (PACKED + b"more", "damaged gzip file"),
        (b"one,1\ntwo,\xff\n", "line 2 holds the byte 0xff"),
        (b"PK\x03\x04\x14\x00\xff\xff", "unpack the zip archive"),
    ],
    ids=[
        "empty",
        "empty gzip",
        "one byte short",
        "half",
        "checksum",
        "deflate",
        "bytes behind",
        "not utf-8",
        "zip",
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Every kind of damage ends in one error type that names the file and the damage."""
    path = stored(tmp_path, content)

    with pytest.raises(TapeError, match=said) as caught:
        list(lines(path))
    assert str(path) in str(caught.value)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest line that is taken is bounded, and the message says which line it was."""
    monkeypatch.setattr(files, "LINE_BYTES_MAX", 100)
    monkeypatch.setattr(files, "_CHUNK_BYTES", 64)
    path = stored(tmp_path, b"a\nb\n" + b"x" * 1000)

    with pytest.raises(TapeError, match="line 3 is longer than 100 bytes"):
        list(lines(path))


def test_a_missing_file_and_a_folder_are_refused_with_the_reason(tmp_path: Path) -> None:
    """The system's own words say why, and no operating system error escapes."""
    with pytest.raises(TapeError, match="No such file"):
        first_line(tmp_path / "absent.csv")
    with pytest.raises(TapeError, match="Is a directory"):
        fingerprint(tmp_path)


def test_a_file_that_changed_after_the_check_is_noticed(tmp_path: Path) -> None:
    """What was checked is what is read: a rewritten or removed file is refused."""
    path = stored(tmp_path, TEXT.encode())
    seen = fingerprint(path)
    check_unchanged(path, seen)

    path.write_bytes(TEXT.encode() + b"four,4\n")
    with pytest.raises(TapeError, match="has changed since it was checked"):
        check_unchanged(path, seen)
    path.unlink()
    with pytest.raises(TapeError, match="No such file"):
        check_unchanged(path, seen)


def test_the_fingerprint_is_of_the_bytes_as_they_are_stored(tmp_path: Path) -> None:
    """Two packings of one text are two files: the digest is that of `sha256sum`."""
    path = stored(tmp_path, b"abc")

    assert fingerprint(path).sha256 == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
