"""What the commands have in common that speak with the owner of a journal."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cyclopts import Parameter

from holdfast.cli.output import Common, check_seconds, complain, print_json
from holdfast.cli.wording import NO_NAMES, worded

DONE: Final = 0
NOT_ALL: Final = 1
# What was asked for was taken, and has not come in time to what `--wait` names.
NOT_YET: Final = 3
# The longest that a command may wait for its answer: a day. A socket takes three weeks.
ANSWER_WAIT_MAX_S: Final = 86_400

# What a table of orders shows, and how wide a column gets before it is cut.
COLUMNS: Final = (
    "desk", "client_order_id", "symbol", "side", "quantity", "order_type", "limit_price",
    "stop_price", "status", "filled_quantity", "average_price", "strategy",
)  # fmt: skip
_WIDTH_MAX: Final = 32


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which journal, and which of its desks."""

    journal: Path
    """The journal's file; the process that owns it is asked."""
    desk: str = ""
    """The desk, where the journal has several."""
    timeout: float = 10.0
    """Seconds that the owner has for its answer."""

    @property
    def seconds(self) -> float:
        """The seconds that the owner has; InputError where nobody could wait so long."""
        return check_seconds("--timeout", self.timeout, most=ANSWER_WAIT_MAX_S)


@Parameter(name="*")
@dataclass(frozen=True)
class Why:
    """Who does something, and why; it is journaled."""

    by: str = ""
    """Who does this; the user's name if not given."""
    reason: str = ""
    """Why."""


NO_REASON: Final = Why()


def asked(
    where: Where, method: str, params: dict[str, Any], names: Mapping[str, str] = NO_NAMES
) -> dict[str, Any]:
    """Ask the owner of a journal; return its results by desk.

    `names` has the options for the parameters that are not named like them.
    """
    from holdfast.engine.control_client import ask
    from holdfast.errors import JournalError

    wait_s = where.seconds
    if not where.journal.is_file():
        raise JournalError(f"there is no journal at {where.journal}; check the path")
    path = where.journal.resolve()
    with worded(params, names):
        return ask(path, method, params, desk=where.desk, wait_s=wait_s)


def begun(
    where: Where,
    method: str,
    given: dict[str, Any],
    common: Common,
    names: Mapping[str, str] = NO_NAMES,
    *,
    again: str,
    columns: Sequence[str] = (),
) -> int:
    """Ask for something, and show it; `again` says how to go on where its outcome is not known.

    Of what was taken and has not come to what `--wait` names, that is said, and `NOT_YET` returned.
    """
    from holdfast.errors import Missed, Unanswered, WaitTimeout

    try:
        results = asked(where, method, given, names)
    except Unanswered as error:
        raise Unanswered(f"{error}. {again}") from None
    except (Missed, WaitTimeout) as error:
        complain(f"it was taken, but {error}. {again}")
        return NOT_YET
    show(results, json=common.json, columns=columns)
    return DONE


def looked_up(
    where: Where, method: str, params: dict[str, Any], names: Mapping[str, str] = NO_NAMES
) -> tuple[dict[str, Any], bool]:
    """Ask the owner, or read the journal where nobody owns it; True if somebody answered."""
    from holdfast.engine.offline import read
    from holdfast.errors import Closed

    try:
        return asked(where, method, params, names), True
    except Closed:
        with worded(params, names):
            return read(where.journal, method, params, desk=where.desk), False


def person(why: Why) -> dict[str, str]:
    """Return who does something and why, as every change is asked for."""
    try:
        name = why.by or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = ""
    return {"by": name, "reason": why.reason}


def show(
    results: dict[str, Any], *, json: bool, live: bool = True, columns: Sequence[str] = ()
) -> None:
    """Print what each desk has: a table of orders, positions or groups, or all of it as one object.

    Without `columns` those of orders are shown, or all.
    """
    if not live:
        complain("no process owns this journal; this is what stands in it")
    if json:
        print_json({"desks": results, "live": live})
        return
    rows = [
        {"desk": desk, **row}
        for desk, result in results.items()
        for row in (result if isinstance(result, list) else [result])
    ]
    _table(rows, columns)


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print rows below each other, with the columns in which one of them has something."""
    if not rows:
        print("none")
        return
    known = columns or (COLUMNS if "client_order_id" in rows[0] else tuple(rows[0]))
    names = [*known, *(name for name in ("outcome", "code", "text") if name not in known)]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    used = [at for at in range(len(names)) if any(line[at] for line in cells)]
    widths = {at: max(len(names[at]), *(len(line[at]) for line in cells)) for at in used}
    for line in ([name.replace("_", " ") for name in names], *cells):
        print("  ".join(f"{line[at]:<{widths[at]}}" for at in used).rstrip())


def _cell(value: object) -> str:
    text = "" if value is None or value in ({}, []) else str(value)
    return text if len(text) <= _WIDTH_MAX else f"{text[: _WIDTH_MAX - 1]}~"
