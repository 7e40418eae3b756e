"""`python -m bench.group_worlds --seeds N [--first F] [--jobs J]`: worlds that try to break groups.

Not timed: it counts. Every other seed runs over a link without faults; where the broker refused
something all the same, it counts as faulty. What is printed is the longest time that anything was
unprotected, and how often a promise about groups did not hold.
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec
from msgspec import Struct, field

from holdfast.testing.group_link import GroupsBrokenError, Seen
from holdfast.testing.group_world import world

CHUNK: Final = 500


class Found(Struct, kw_only=True):
    """What worlds showed: with faults, without, without where brackets wait for the whole entry."""

    faulty: Seen = field(default_factory=Seen)
    calm: Seen = field(default_factory=Seen)
    waiting: Seen = field(default_factory=Seen)
    broken: list[str] = field(default_factory=list)


def run(seeds: range) -> Found:
    """Run the worlds of some seeds."""
    found = Found()
    for seed in seeds:
        made = world(seed)
        calm = seed % 2 == 1
        waits = made.broker.capabilities.native_bracket == "after_full_fill"
        try:
            (made.run_calm if calm else made.run)()
        except GroupsBrokenError as error:
            found.broken.append(f"seed {seed}: {error}"[:400])
        except Exception as error:  # noqa: BLE001 - whatever it is, the other seeds go on
            found.broken.append(f"seed {seed}: {error!r}"[:400])
        kind = found.waiting if waits else found.calm
        if made.was_refused or not calm:
            kind = found.faulty
        kind.add(made.seen)
    return found


def chunks(first: int, seeds: int) -> Iterator[range]:
    """Cut the seeds into pieces for the processes."""
    for start in range(first, first + seeds, CHUNK):
        yield range(start, min(start + CHUNK, first + seeds))


def main() -> None:
    """Run the worlds and print what they showed; exit 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.group_worlds")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    total = Found()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=given.jobs, mp_context=context) as pool:
        for found in pool.map(run, chunks(given.first, given.seeds)):
            for name in ("faulty", "calm", "waiting"):
                getattr(total, name).add(getattr(found, name))
            total.broken += found.broken
    print(json.dumps(msgspec.to_builtins(total), indent=2))
    raise SystemExit(1 if total.broken else 0)


if __name__ == "__main__":
    main()
