"""One owner per journal: a lock that the kernel holds for as long as the process lives.

Rule: the lock is what counts, never the file's content. The content only names the owner to those
who are refused. The file stays when the lock is released: removing it would let two processes
lock two files of one name.
"""

import fcntl
import os
from typing import Final

from holdfast.clock import SystemClock, iso
from holdfast.errors import JournalLocked, JournalUnwritable

_OWNER_BYTES_MAX: Final = 500


class OwnerLock:
    """Ownership of the journal at a path, from construction to `release` or the process's end.

    Raises:
        JournalLocked: somebody owns it, be it this process; the message says who.
        JournalUnwritable: the lock file cannot be made or locked in that folder.
    """

    def __init__(self, journal: str) -> None:
        self.path = f"{journal}.lock"
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalUnwritable(
                f"the lock file {self.path} cannot be opened ({error.strerror}); the folder must "
                "exist and be writable by this user"
            ) from error
        try:
            # flock and not lockf: it also keeps out a second opening by this very process.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, _OWNER_BYTES_MAX, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise JournalLocked(
                f"{journal} is in use by {owner or 'a process that did not say who it is'}; send "
                "commands through that one, or stop it and start again"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise JournalUnwritable(
                f"{self.path} cannot be locked ({error.strerror}); keep the journal on a local disk"
            ) from error
        self._sign()

    def _sign(self) -> None:
        """Name the owner in the file; a full disk must not stop one who holds the lock."""
        owner = f"process {os.getpid()} on {os.uname().nodename} since {_now()}\n"
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, owner.encode(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Give the journal up; calling it twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _now() -> str:
    return iso(SystemClock().wall_ns())
