"""What every command has in common in what it prints, and the options that all of them take."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cyclopts import Parameter

# A progress bar is drawn no more often, or drawing it would cost what it shows.
PROGRESS_ROWS: Final = 500
SECONDS_MAX: Final = 31_622_400  # a year


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """The options of every command."""

    json: bool = False
    """Print one JSON object and nothing else; amounts are strings."""
    debug: bool = False
    """Show a log, and the traceback of an error."""


NOTHING_SAID: Final = Common()


def check_seconds(
    option: str, seconds: float, least: float = 0.001, most: int = SECONDS_MAX
) -> float:
    """Return the seconds that an option was given.

    Raises:
        InputError: they are fewer than `least`, more than `most`, or no number.
    """
    from holdfast.errors import InputError

    if not least <= seconds <= most:
        raise InputError(f"{option} is {seconds} s; give {least:g} to {most}")
    return seconds


def print_json(result: object) -> None:
    """Print one object as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print lines of a name and a value, the values below each other."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{name:<{width}}  {text}")


def complain(text: str) -> None:
    """Say on standard error, in one line, what went wrong."""
    line = " ".join(text.split())
    try:
        sys.stderr.write(f"holdfast: {line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody is there to read it


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show on standard error how far a command is, if that is a terminal.

    Yields a function that takes how much of `total` is done.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=total)

        def show(done: int) -> None:
            if done % PROGRESS_ROWS == 0 or done == total:
                bar.update(task, completed=done)

        yield show
