"""What the machine itself can do, measured in the same run: figures depend on it."""

import os
import platform
from pathlib import Path
from typing import Final

from bench.journaled import BATCH, raw_append_per_s
from bench.measuring import fdatasync_ms, folder

# No disk syncs faster; a file system in memory does.
_DISK_MIN_MS: Final = 0.005


def machine(orders: int) -> dict[str, float | str]:
    """Measure the limits of this machine; `orders` is the length of the raw journal's run."""
    with folder() as name:
        sync_ms = fdatasync_ms(Path(name))
        place = str(Path(name).parent)
    found: dict[str, float | str] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
        "journal_folder": place,
        "fdatasync_p50_ms": round(sync_ms, 4),
        "raw_journal_append_per_s": round(raw_append_per_s(orders)),
        "raw_journal_batch": BATCH,
    }
    if sync_ms < _DISK_MIN_MS:
        found["warning"] = (
            f"{place} syncs in {sync_ms * 1e3:.1f} us, which no disk does: nothing there is "
            "durable. Set TMPDIR to a folder on a disk"
        )
    return found
