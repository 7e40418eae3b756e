"""One owner per journal: a lock that the kernel holds for as long as the process lives.

Rule: the lock is what counts, never the file's content. The content only names the owner to those
who are refused. The file stays when an owner ends. Only whoever holds the lock may remove the
file, and a lock counts only on the file that is at the path, or two processes could own two files
of one name.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.clock import SystemClock, iso
from holdfast.errors import JournalLocked, JournalUnwritable

_OWNER_BYTES_MAX: Final = 500
# It fails once for each other opening that is refused at the same moment.
_ATTEMPTS_MAX: Final = 100


class OwnerLock:
    """Ownership of the journal at a path, from construction to `release` or the process's end.

    Raises:
        JournalLocked: somebody owns it, be it this process; the message says who.
        JournalUnwritable: the lock file cannot be made or locked in that folder.
    """

    def __init__(self, journal: str) -> None:
        self.path = f"{journal}.lock"
        self._file, self._made = -1, False
        for _ in range(_ATTEMPTS_MAX):
            self._open()
            self._lock(journal)
            if self._is_at_path():
                self._sign()
                return
            self.release()
        raise JournalLocked(
            f"{self.path} was removed {_ATTEMPTS_MAX} times while it was being locked; see who "
            "removes it, then start again"
        )

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                self._file, self._made = os.open(self.path, flags | os.O_EXCL, 0o644), True
            except FileExistsError:
                self._file, self._made = os.open(self.path, flags, 0o644), False
        except OSError as error:
            raise JournalUnwritable(
                f"the lock file {self.path} cannot be opened ({error.strerror}); the folder must "
                "exist and be writable by this user"
            ) from error

    def _lock(self, journal: str) -> None:
        try:
            # flock and not lockf: it also keeps out a second opening by this very process.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, _OWNER_BYTES_MAX, 0).decode(errors="replace").strip()
            self.release()
            raise JournalLocked(
                f"{journal} is in use by {owner or 'a process that did not say who it is'}; send "
                "commands through that one, or stop it and start again"
            ) from None
        except OSError as error:
            self.release()
            raise JournalUnwritable(
                f"{self.path} cannot be locked ({error.strerror}); keep the journal on a local disk"
            ) from error

    def _is_at_path(self) -> bool:
        """Tell whether the open file is the one at the path: its last owner may have removed it."""
        try:
            return os.path.samestat(os.fstat(self._file), Path(self.path).stat())
        except FileNotFoundError:
            return False

    def _sign(self) -> None:
        """Name the owner in the file; a full disk must not stop one who holds the lock."""
        owner = f"process {os.getpid()} on {os.uname().nodename} since {_now()}\n"
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, owner.encode(), 0)
        except OSError:
            return

    def withdraw(self) -> None:
        """Give up a journal that could not be opened; no file is left that was not there before."""
        if self._file >= 0 and self._made:
            with suppress(OSError):  # why the journal could not be opened is what counts
                Path(self.path).unlink()  # before the lock is let go
        self.release()

    def release(self) -> None:
        """Give the journal up; calling it twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _now() -> str:
    return iso(SystemClock().wall_ns())
