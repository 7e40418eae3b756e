"""`python -m bench [NAME ...] [--json] [--quick]`: measure and print."""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from bench.figures import HEADER, Figure, row
from bench.machine import machine
from bench.registry import BENCHMARKS, MACHINE_ORDERS, Benchmark


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that are named, or all of them."""
    given = _arguments(arguments)
    names = list(dict.fromkeys(given.names)) or list(BENCHMARKS)
    found = machine(MACHINE_ORDERS // 100 if given.quick else MACHINE_ORDERS)
    if not given.json:
        print(", ".join(f"{name} {value}" for name, value in found.items()))
        print(f"\n{HEADER}")
    figures: dict[str, object] = {}
    for name in names:
        for figure in _alone(BENCHMARKS[name], quick=given.quick):
            figures[figure.name] = figure.as_json()
            if not given.json:
                print(row(figure), flush=True)
    if given.json:
        print(json.dumps({**figures, "machine": found}, indent=2))


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Holdfast against its goals."
    )
    listed = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them, or: {listed}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; there are {listed}")
    return given


def _alone(benchmark: Benchmark, *, quick: bool) -> list[Figure]:
    """Run a benchmark in a process of its own, so that it inherits nobody's heap."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        size = benchmark.quick_size if quick else benchmark.size
        return pool.submit(benchmark.run, size).result()


if __name__ == "__main__":
    main()
