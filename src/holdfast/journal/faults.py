"""What SQLite's errors mean for the owner of a journal, and what to do about each."""

from typing import Final

import apsw

from holdfast.errors import JournalDamaged, JournalError, JournalUnwritable, SequenceConflict

# A damaged page can also hold text that is no UTF-8.
SQLITE_ERRORS: Final = (apsw.Error, UnicodeDecodeError)
DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)
_TAKEN: Final = frozenset(
    {
        apsw.SQLITE_CONSTRAINT_PRIMARYKEY,
        apsw.SQLITE_CONSTRAINT_UNIQUE,
        apsw.SQLITE_CONSTRAINT_ROWID,
    }
)
_ADVICE: Final[tuple[tuple[type[apsw.Error], str], ...]] = (
    (apsw.FullError, "the disk or its quota is full; free space"),
    (apsw.ReadOnlyError, "the file or its folder is read-only; make both writable for this user"),
    (apsw.PermissionsError, "access is denied; make file and folder writable for this user"),
    (apsw.BusyError, "another program holds the database locked; end it"),
    (apsw.LockedError, "another program holds the database locked; end it"),
    (apsw.CantOpenError, "it cannot be opened; see that the folder exists and is writable"),
    (apsw.IOError, "the disk reports an error; check its health, its mount and its quota"),
    (apsw.NoMemError, "there is no memory left; free some"),
)


def fault_of(error: Exception, path: str, *, reading: bool = False) -> JournalError:
    """Turn what went wrong with the journal at `path` into the error for whoever uses it."""
    if isinstance(error, JournalError):
        return error
    said = f"{type(error).__name__}: {error}"
    if getattr(error, "extendedresult", 0) in _TAKEN:
        return SequenceConflict(
            f"{path} already has a record of the number that was to be written ({error}): another "
            "process writes to this journal. Stop this one, and start it again once it is alone"
        )
    if isinstance(error, apsw.NotADBError):
        # Whoever only reads may have named the wrong file; its owner has lost what was in it.
        other = JournalError if reading else JournalDamaged
        return other(
            f"{path} is not a SQLite database; nothing was changed. If it should be the journal, "
            "restore it from a backup; otherwise name another file"
        )
    if isinstance(error, apsw.CorruptError | UnicodeDecodeError):
        return JournalDamaged(
            f"{path} is damaged ({error}); run `holdfast verify` to see how far it can be read, "
            "then restore it from a backup"
        )
    kind, doing = (JournalError, "read") if reading else (JournalUnwritable, "written")
    for sort, advice in _ADVICE:
        if isinstance(error, sort):
            return kind(f"{path} cannot be {doing}: {advice}, then go on ({said})")
    return kind(f"{path} could not be {doing} ({said})")
