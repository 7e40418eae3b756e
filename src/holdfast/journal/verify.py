"""Walk a whole journal and tell all that is wrong with it, changing nothing.

A journal in use can be verified too: each desk is walked up to where it ended when its turn came.
"""

import os
from typing import Any, Final

from msgspec import Struct

from holdfast.errors import JournalDamaged, JournalError
from holdfast.journal.codec import Chain, damaged, decode
from holdfast.journal.reader import SqliteReader
from holdfast.journal.wal import left_out, read_log
from holdfast.ports import Head, Record

PROBLEMS_MAX: Final = 100

# The desks of a table, without reading all of it.
_DESKS: Final = """
WITH RECURSIVE found (desk) AS (
  SELECT min(desk) FROM records
  UNION ALL
  SELECT (SELECT min(desk) FROM records WHERE desk > found.desk) FROM found
  WHERE found.desk IS NOT NULL)
SELECT desk FROM found WHERE desk IS NOT NULL UNION SELECT desk FROM heads ORDER BY desk
"""
_ENDS: Final = (
    "SELECT (SELECT max(seq) FROM records WHERE desk = ?), (SELECT seq FROM heads WHERE desk = ?)"
)
_NAMELESS: Final = (
    "SELECT desk, name, number FROM names LEFT JOIN orders USING (desk, number) "
    "WHERE orders.body IS NULL LIMIT ?"
)
_NO_JSON: Final = "SELECT desk, number FROM orders WHERE NOT json_valid(CAST(body AS TEXT)) LIMIT ?"
_CHANGED: Final = (
    "SELECT desk, number FROM orders "
    "WHERE hash IS NOT body_hash(CAST(body AS BLOB), desk, number) LIMIT ?"
)
_CHANGED_SNAPSHOTS: Final = (
    "SELECT desk, seq FROM snapshots "
    "WHERE hash IS NOT body_hash(CAST(body AS BLOB), desk, seq, format)"
)
_AHEAD: Final = (
    "SELECT desk, snapshots.seq, coalesce(heads.seq, 0) FROM snapshots LEFT JOIN heads USING (desk)"
    " WHERE snapshots.seq > coalesce(heads.seq, 0)"
)


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is not as it was written; `seq` is the record's number, or 0."""

    desk: str
    seq: int
    text: str


class DeskReport(Struct, frozen=True, kw_only=True):
    """One desk: how many records were read, and where that ended."""

    desk: str
    records: int
    head: Head


class VerifyReport(Struct, frozen=True, kw_only=True):
    """What a walk through a journal found; `problems` are at most PROBLEMS_MAX."""

    path: str
    desks: tuple[DeskReport, ...]
    problems: tuple[Problem, ...]

    @property
    def records(self) -> int:
        """How many records there are on all desks."""
        return sum(desk.records for desk in self.desks)

    @property
    def intact(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Check every record of every desk: the chain, the numbers, the times and the events.

    Also the file and its log, the end of each desk, the snapshots, and the rows of ended orders.

    Raises:
        JournalError: there is no journal at that path, or it cannot be read at all.
        JournalVersionError: a newer Holdfast wrote it.
    """
    reader = SqliteReader(path)
    try:
        problems = _Problems()
        _check_log(reader, problems)
        if not problems.found and not reader.query("SELECT count(*) FROM sqlite_schema")[0][0]:
            raise JournalError(
                f"{reader.path} is empty: no desk has written to it. If it should hold records, "
                "restore it from a backup; otherwise name another file"
            )
        _check_pages(reader, problems)
        names = [desk for (desk,) in problems.rows(reader, _DESKS)]
        desks = [_walk(reader, desk, problems) for desk in names]
        _check_rows(reader, problems)
        return VerifyReport(path=reader.path, desks=tuple(desks), problems=tuple(problems.found))
    finally:
        reader.close()


class _Problems:
    """Collects what is found, up to the bound."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, desk: str, seq: int, text: str) -> None:
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(Problem(desk=desk, seq=seq, text=text))

    def rows(self, reader: SqliteReader, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query; where damage stops it, that is one more problem and no rows."""
        try:
            return reader.query(query, values)
        except JournalError as error:
            self.add("", 0, str(error))
            return []


def _check_log(reader: SqliteReader, problems: _Problems) -> None:
    log = read_log(reader.path)
    if not log.frames:
        return
    left = left_out(reader.path, log, reader.recovered_frames())
    # An owner that began a new round meanwhile has overwritten what was read before.
    if left.durable_lost and read_log(reader.path).salts == log.salts:
        text = f"{left.frames} pages of the log {reader.path}-wal cannot be used, durable ones too"
        problems.add("", 0, text)


def _check_pages(reader: SqliteReader, problems: _Problems) -> None:
    for (text,) in problems.rows(reader, f"PRAGMA quick_check({PROBLEMS_MAX})"):
        if text != "ok":
            problems.add("", 0, f"SQLite finds the file damaged: {text}")


def _walk(reader: SqliteReader, desk: str, problems: _Problems) -> DeskReport:
    """Follow a desk's chain to its end, past damaged records, but not past unreadable pages."""
    end = reader.head(desk)
    chain, count, at_ns = Chain(desk), 0, 0
    try:
        while chain.seq < end.seq and (records := reader.stored(desk, chain.seq)):
            before = chain.seq
            for record in records:
                problem = chain.fault(record) or _unfit(record, at_ns)
                count += 1
                if problem is None:
                    at_ns = record.at_ns
                else:
                    seq = problem.seq if isinstance(problem, JournalDamaged) else record.seq
                    problems.add(desk, seq, str(problem))
            if chain.seq <= before:
                raise damaged(desk, before + 1, f"{before + 1} is stored under another number")
    except JournalError as error:
        seq = error.seq if isinstance(error, JournalDamaged) else chain.seq + 1
        problems.add(desk, seq, f"{error} (nothing after it was checked)")
    else:
        for last, head in problems.rows(reader, _ENDS, desk, desk):
            if last != head:
                text = f"desk {desk!r} should end at record {head or 0} but ends at {last or 0}"
                problems.add(desk, min(last or 0, head or 0) + 1, text)
        if chain.seq == end.seq and chain.hash != end.hash:
            problems.add(desk, end.seq, f"record {end.seq} is not the one that was written last")
    head = Head(seq=chain.seq, at_ns=at_ns, hash=chain.hash)
    return DeskReport(desk=desk, records=count, head=head)


def _unfit(record: Record, before_ns: int) -> JournalError | None:
    """Return what is wrong with a record that fits the chain."""
    if record.at_ns < before_ns:
        what = f"{record.seq} is {before_ns - record.at_ns} ns older than the one before it"
        return damaged(record.desk, record.seq, what)
    try:
        decode(record)
    except JournalError as error:
        return error
    return None


def _check_rows(reader: SqliteReader, problems: _Problems) -> None:
    for desk, name, number in problems.rows(reader, _NAMELESS, PROBLEMS_MAX):
        problems.add(desk, 0, f"{name!r} names order {number}, whose row is missing")
    for desk, number in problems.rows(reader, _NO_JSON, PROBLEMS_MAX):
        problems.add(desk, 0, f"the body of order {number} is no JSON")
    for desk, number in problems.rows(reader, _CHANGED, PROBLEMS_MAX):
        problems.add(desk, 0, f"desk {desk!r}: the body of order {number} is not what was written")
    for desk, seq in problems.rows(reader, _CHANGED_SNAPSHOTS):
        text = f"desk {desk!r}: the snapshot after record {seq} is not what was written"
        problems.add(desk, 0, f"{text}; it is not used")
    for desk, seq, head in problems.rows(reader, _AHEAD):
        text = f"the snapshot stands after record {seq}, but the last is {head}; it is not used"
        problems.add(desk, 0, text)
