"""A disk under SQLite that writes down what happens to it, fails when told to, and can lose power.

Register one, open the journal with its name as `vfs`, and afterwards build the files as they would
stand had the machine stopped after any operation:

    with Disk("faulty") as disk:
        journal = SqliteJournal(path, vfs=disk.name)
        ...
        crash(disk.operations[:k], folder)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import apsw


class Operation(NamedTuple):
    """One change to a file: `kind` is write, truncate, sync or delete; `file` its bare name."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""


Fault: TypeAlias = Callable[[Operation], Exception | None]
Fate: TypeAlias = Callable[[Operation], int]


class Disk(apsw.VFS):
    """The machine's own file system, with a record of `operations` and a `fault` to order.

    `fault` is asked before each operation; what it returns is raised instead of doing it. Unless
    it `syncs`, a sync is only written down, which a test of many openings is faster for.
    """

    def __init__(self, name: str, *, syncs: bool = False) -> None:
        self.name, self.syncs = name, syncs
        self.operations: list[Operation] = []
        self.fault: Fault | None = None
        super().__init__(name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def happen(self, operation: Operation) -> None:
        """Write an operation down, or raise what the test wants instead."""
        error = self.fault(operation) if self.fault is not None else None
        if error is not None:
            raise error
        self.operations.append(operation)

    def xOpen(  # noqa: N802 - SQLite's name for it
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file so that what is done to it goes through `happen`."""
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's own
        """Remove a file."""
        self.happen(Operation("delete", Path(filename).name))
        super().xDelete(filename, syncdir)

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let operations fail as `fault` says, for as long as the block lasts."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path or "").name
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name for it
        self._disk.happen(Operation("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name for it
        self._disk.happen(Operation("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name for it
        self._disk.happen(Operation("sync", self._name))
        if self._disk.syncs:
            super().xSync(flags)


def whole(operation: Operation) -> int:
    """Let every write arrive: the process was killed, and the machine goes on."""
    return len(operation.data)


def nothing(operation: Operation) -> int:  # noqa: ARG001 - the same for all
    """Let no write arrive that was not synced: the power failed at the worst moment."""
    return 0


def crash(operations: Sequence[Operation], folder: Path, fate: Fate = whole) -> None:
    """Write the files as they are found after a stop behind the last of the operations.

    `fate` says how many bytes arrive of a write that no later sync of its file confirms.
    """
    synced = {item.file: place for place, item in enumerate(operations) if item.kind == "sync"}
    files: dict[str, bytearray] = {}
    for place, (kind, file, offset, data) in enumerate(operations):
        content = files.setdefault(file, bytearray())
        if kind == "delete":
            del files[file]
        elif kind == "truncate":
            del content[offset:]
        elif kind == "write":
            confirmed = place < synced.get(file, -1)
            arrived = data if confirmed else data[: fate(operations[place])]
            if arrived:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(arrived)] = arrived
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
