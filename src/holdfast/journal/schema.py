"""The journal as a SQLite file: its tables, its format number, and how it is opened.

Rule 1: one connection writes and checkpoints; every other is read-only. SQLite before 3.51.3 can
damage a database in WAL mode that two connections write or checkpoint at the same moment.
Rule 2: never open the database file other than through SQLite. POSIX drops all locks of a process
on a file as soon as the process closes any descriptor of it.
Rule 3: times are UTC nanoseconds, amounts are decimals in text. Names stay as they are for ever.
"""

import re
from typing import Any, Final
from urllib.parse import quote

import apsw

from holdfast.errors import JournalUnwritable, JournalVersionError
from holdfast.journal.rows import body_hash

FORMAT: Final = 2
APPLICATION_ID: Final = 0x484F4C44  # "HOLD"
PAGE_BYTES: Final = 4096
SQLITE_MIN: Final = (3, 51, 3)
# Statements for each power of two up to the largest insert, for five tables; see rows.py.
STATEMENTS_KEPT: Final = 100

_TABLES: Final = """
CREATE TABLE records (
  desk TEXT NOT NULL, seq INTEGER NOT NULL, at_ns INTEGER NOT NULL, kind TEXT NOT NULL,
  body BLOB NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (desk, seq)
) STRICT;
CREATE TABLE heads (
  desk TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, at_ns INTEGER NOT NULL, hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (
  desk TEXT NOT NULL, number INTEGER NOT NULL, client_order_id TEXT NOT NULL,
  symbol TEXT NOT NULL, side TEXT NOT NULL, order_type TEXT NOT NULL, status TEXT NOT NULL,
  quantity TEXT, filled_quantity TEXT NOT NULL, notional TEXT NOT NULL, strategy TEXT NOT NULL,
  created_ns INTEGER NOT NULL, completed_ns INTEGER NOT NULL, body BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (desk, number)
) STRICT;
CREATE TABLE names (
  desk TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (desk, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE executions (
  account TEXT NOT NULL, broker_order_id TEXT NOT NULL, execution_id TEXT NOT NULL,
  desk TEXT NOT NULL, number INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
  quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT, fee_currency TEXT NOT NULL,
  at_ns INTEGER NOT NULL, inferred INTEGER NOT NULL,
  PRIMARY KEY (account, broker_order_id, execution_id)
) STRICT;
CREATE TABLE snapshots (
  desk TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, format INTEGER NOT NULL, body BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE TABLE raw (
  desk TEXT NOT NULL, number INTEGER NOT NULL, at_ns INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (desk, number)
) STRICT;
CREATE INDEX raw_by_age ON raw (at_ns);
CREATE TABLE probe (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""

# For people with a SQL prompt; nothing in the package reads them. $name$ is a time as ISO-8601.
_VIEWS: Final = re.sub(
    r"\$(\w+)\$",
    r"strftime('%Y-%m-%dT%H:%M:%S', \1_ns / 1000000000, 'unixepoch')"
    r" || printf('.%09dZ', \1_ns % 1000000000) AS \1",
    """
CREATE VIEW v_events AS
  SELECT desk, seq, $at$, kind, CAST(body AS TEXT) AS body FROM records;
CREATE VIEW v_orders AS
  SELECT desk, number, client_order_id, symbol, side, order_type, status, quantity,
    filled_quantity, notional, strategy, $created$, $completed$
  FROM orders;
CREATE VIEW v_executions AS
  SELECT desk, account, broker_order_id, execution_id, number, symbol, side, quantity, price, fee,
    fee_currency, $at$, inferred
  FROM executions;
""",
)


def open_writer(path: str, *, vfs: str = "", busy_ms: int) -> apsw.Connection:
    """Open the one connection that writes, in WAL mode with every commit synced.

    The caller owns the journal's lock. Nothing is written before `make_ready`, and closing leaves
    the log as it is before `fold_on_close`, so that a refused journal can be examined.

    Raises:
        JournalVersionError: another format.
        JournalUnwritable: the database belongs to another program, or SQLite is too old.
        apsw.Error: anything that SQLite itself refuses; see faults.py.
    """
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split("."))) < SQLITE_MIN:
        raise JournalUnwritable(
            f"SQLite {found} can damage a journal that is read while it is written; install apsw "
            f"{'.'.join(map(str, SQLITE_MIN))} or later from its own packages, which bring SQLite"
        )
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(
        path, flags=flags, vfs=vfs or None, statementcachesize=STATEMENTS_KEPT
    )
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(busy_ms)
        is_new(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def make_ready(connection: apsw.Connection, path: str) -> None:
    """Prepare a connection for writing, once it is known that its log is sound.

    Raises:
        JournalUnwritable: there can be no write-ahead log where the file is.
        apsw.Error: as for `open_writer`.
    """
    _pragma(connection, f"page_size = {PAGE_BYTES}")  # takes effect on a new file only
    mode = _pragma(connection, "journal_mode = WAL")
    if mode != "wal":
        raise JournalUnwritable(
            f"{path} cannot use a write-ahead log (SQLite keeps to {mode!r}); keep the journal on "
            "a local disk"
        )
    # NORMAL would leave the last commits to the next checkpoint's sync.
    for pragma in ("synchronous = FULL", "fullfsync = ON", "wal_autocheckpoint = 0"):
        _pragma(connection, pragma)
    _pragma(connection, "cache_size = -65536")
    _pragma(connection, "journal_size_limit = 67108864")
    if is_new(connection, path):
        _create(connection)


def fold_on_close(connection: apsw.Connection) -> None:
    """Let closing fold the log into the database and remove it."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def open_reader(path: str, *, vfs: str = "", immutable: bool = False) -> apsw.Connection:
    """Open a connection that cannot write; `immutable` ignores locks and the log.

    SQL on it has `body_hash(body, *key)`, which is that of rows.py.
    """
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{quote(path)}?{options}", flags=flags, vfs=vfs or None)
    try:
        connection.set_busy_timeout(1000)
        connection.create_scalar_function("body_hash", _body_hash, deterministic=True)
        is_new(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def is_new(connection: apsw.Connection, path: str) -> bool:
    """Return whether the database is new and empty.

    Raises:
        JournalVersionError: another format.
        JournalUnwritable: the database belongs to another program.
    """
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application == APPLICATION_ID:
        if version > FORMAT:
            raise JournalVersionError(
                f"{path} is a journal of format {version}; this version of Holdfast reads formats "
                f"up to {FORMAT}: upgrade it, or open the journal with the version that wrote it"
            )
        if version < FORMAT:
            raise JournalVersionError(
                f"{path} is a journal of format {version}, from before the first release, which "
                f"only the version that wrote it reads; this one has format {FORMAT}: name "
                "another file"
            )
        return False
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application or version or tables:
        raise JournalUnwritable(
            f"{path} is a database of another program (application id {application}, {tables} "
            "tables and indexes); nothing was changed. Name another file"
        )
    return True


def _create(connection: apsw.Connection) -> None:
    """Make all tables in one transaction: a crash leaves an empty database or a whole one."""
    with connection:
        for _ in connection.execute(_TABLES + _VIEWS):
            pass
        _pragma(connection, f"application_id = {APPLICATION_ID}")
        _pragma(connection, f"user_version = {FORMAT}")


def _body_hash(*values: Any) -> bytes:
    return body_hash(*values)


def _pragma(connection: apsw.Connection, text: str) -> Any:
    """Run one pragma to its end and return what it says."""
    rows = connection.execute(f"PRAGMA {text}").fetchall()
    return rows[0][0] if rows else None
