"""`holdfast demo`: an order manager that is killed in the middle of its work, and what it loses."""

import os
import sys
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Final, TextIO

from holdfast.cli.output import NOTHING_SAID, Common, complain, print_json
from holdfast.errors import InputError, JournalError

if TYPE_CHECKING:
    from holdfast.trading.demo_follow import News
    from holdfast.trading.demo_plan import Plan
    from holdfast.trading.demo_run import Demo, Result

CLEAN: Final = 0
NOT_CLEAN: Final = 1

SEED_MAX: Final = 2**63 - 1
COLUMNS: Final = 79
FINDINGS_SHOWN: Final = 10
# What the live view draws with; a terminal that cannot show it gets lines.
_DRAWN: Final = "╭─╮│╰╯"
_INDENT: Final = 10


def demo(
    *, seed: int = 1, no_kill: bool = False, fast: bool = False, common: Common = NOTHING_SAID
) -> int:
    """Show an order manager at work on a simulated venue, killed and recovered; nothing is needed.

    A small strategy places and cancels limit orders; answers time out. The order manager is a
    process of its own: it is ended with SIGKILL while the venue owes it answers, started again on
    its journal, and at the end its books are compared with the venue's. Takes half a minute. Exit
    status: 0 if the last line is `0 lost, 0 duplicated`, else 1; 2 for a seed that is none.

    Parameters
    ----------
    seed: int
        What market, decisions and faults follow from.
    no_kill: bool
        Leave the order manager alone.
    fast: bool
        Take less than ten seconds.
    """
    from holdfast.cli.running import run_to_end
    from holdfast.trading.demo_plan import Plan
    from holdfast.trading.demo_run import DemoError

    if not 0 <= seed <= SEED_MAX:
        raise InputError(f"the seed is {seed}; give a whole number from 0 to {SEED_MAX}")
    plan = Plan(seed=seed, fast=fast, kill=not no_kill)
    # With --json standard output holds the object alone, and nobody who is no person is told more.
    stream = sys.stderr if common.json else sys.stdout
    shown = Shown(stream, silent=common.json and not stream.isatty())
    try:
        result = run_to_end(shown.run(plan))
    except (DemoError, JournalError) as error:
        complain(str(error))
        return NOT_CLEAN
    if common.json:
        print_json(_object(result))
    else:
        shown.summary(result)
        print(result.verdict.line)
    return CLEAN if result.verdict.is_clean else NOT_CLEAN


class Shown:
    """Shows a demonstration on a stream: live on a terminal that can, else as plain lines."""

    def __init__(self, stream: TextIO, *, silent: bool) -> None:
        """Choose how; `silent` shows nothing."""
        self._stream = stream
        self._silent = silent
        self._live = not silent and can_draw(stream, os.environ)
        self._demo: Demo | None = None
        self._steps: list[str] = []
        self._recent: list[tuple[float, News]] = []

    async def run(self, plan: "Plan") -> "Result":
        """Carry the demonstration out and show it while it runs."""
        from holdfast.trading.demo_run import Demo

        self._demo = demo = Demo(plan, self._told)
        if not self._live:
            self._line(f"holdfast demo, seed {plan.seed}; the venue is process {os.getpid()}")
            return await demo.run()
        from holdfast.cli.demo_view import View

        async with View(demo, self._recent, self._stream):
            return await demo.run()

    def summary(self, result: "Result") -> None:
        """Print what a person wants to keep: the steps, and the two books side by side."""
        if self._live:
            for line in self._steps:
                self._line(line)
        self._line("")
        for line in table(result):
            self._line(line)
        for finding in result.verdict.findings[:FINDINGS_SHOWN]:
            for line in wrap(f"! {finding}", COLUMNS):
                self._line(line)
        rest = len(result.verdict.findings) - FINDINGS_SHOWN
        if rest > 0:
            self._line(f"! and {rest} more")

    def _told(self, news: "News") -> None:
        from holdfast.trading.demo_follow import Tone

        assert self._demo is not None
        seconds = self._demo.seconds
        self._recent.append((seconds, news))
        del self._recent[:-100]
        lines = wrapped(seconds, news.text)
        if news.tone in {Tone.STEP, Tone.KILL}:
            self._steps += lines
        if news.notable and not self._live:
            for line in lines:
                self._line(line)

    def _line(self, text: str) -> None:
        if not self._silent:
            self._stream.write(f"{text}\n")
            self._stream.flush()


def wrapped(seconds: float, text: str) -> list[str]:
    """Return a piece of news as lines of at most 79 columns, its time before it."""
    first, rest = f"{seconds:6.1f} s  ", " " * _INDENT
    return wrap(text, COLUMNS, initial_indent=first, subsequent_indent=rest)


def can_draw(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether a stream is a terminal on which the live view can be drawn, in colour."""
    if not stream.isatty() or environment.get("NO_COLOR"):
        return False
    if environment.get("TERM", "dumb") in {"dumb", "unknown"}:
        return False
    try:
        _DRAWN.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    from holdfast.cli.demo_view import fits

    return fits(stream)


def table(result: "Result") -> Iterator[str]:
    """Return the comparison of the books as lines, and what it rests on."""
    yield f"{'':16}{'our books':>20}{'the venue':>20}"
    for row in result.verdict.rows:
        yield f"{row.name:16}{row.ours:>20}{row.venue:>20}  {'same' if row.is_same else 'DIFFER'}"
    yield ""
    yield f"journal: {result.records} records, folded afresh, every hash checked"
    count = sum(result.faults.values())
    settled = result.tally.get("settled", 0)
    yield f"{count} faults were injected; {settled} requests of unknown outcome were settled"


def _object(result: "Result") -> dict[str, object]:
    """Return what --json prints."""
    verdict = result.verdict
    return {
        "seed": result.plan.seed,
        "fast": result.plan.fast,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "others": verdict.others,
        "findings": verdict.findings,
        "books": {row.name.strip(): {"ours": row.ours, "venue": row.venue} for row in verdict.rows},
        "killed": result.killed,
        "faults": result.faults,
        "tally": result.tally,
        "records": result.records,
        "seconds": result.seconds,
    }
