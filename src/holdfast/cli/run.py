"""`holdfast run`: teams of strategies trade, each on a desk of its own."""

import asyncio
import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from holdfast.cli.output import (
    NOTHING_SAID,
    Common,
    check_seconds,
    complain,
    print_fields,
    print_json,
)

if TYPE_CHECKING:
    from holdfast.trading.running import RunPlan, RunSummary, TeamSummary

AGREE: Final = 0
DIFFER: Final = 1
MEMORY: Final = "memory://"
_SIGNALLED: Final = 128


@Parameter(name="*")
@dataclass(frozen=True)
class MarketOptions:
    """What moves the paper accounts."""

    market: Annotated[list[Path] | None, Parameter(negative=())] = None
    """Recorded quotes or trades to play on paper accounts; give it once per file."""
    speed: Decimal | None = None
    """How many times as fast as recorded the market goes."""
    seed: int = 1
    """What a market without files follows from."""


@Parameter(name="*")
@dataclass(frozen=True)
class PaceOptions:
    """How the run goes, and how it ends."""

    interval: float = 1.0
    """Seconds between two cycles, and the time that a strategy has for each answer."""
    duration: float | None = None
    """Seconds to trade; without it until the market file ends or the run is stopped."""
    on_exit: Literal["leave", "cancel", "flatten"] = "cancel"
    """What becomes of open orders and positions at the end: leave, cancel, or flatten."""
    exit_wait: float = 10.0
    """Seconds that each step of that may take."""
    live: bool = False
    """Arm accounts that the configuration has as live."""


def run(
    *,
    team: Annotated[list[str] | None, Parameter(negative=())] = None,
    config: Path | None = None,
    journal: Path | None = None,
    logs: Path | None = None,
    market: MarketOptions = MarketOptions(),
    pace: PaceOptions = PaceOptions(),
    common: Common = NOTHING_SAID,
) -> int:
    """Let strategies trade, several teams side by side; nothing but a strategy is needed.

    Without a configuration all teams share one paper account, on the market files that are given
    or on a simulated market. In each cycle a team is shown the market, what it wants goes through
    the limits to its desk, and its orders are looked after. A strategy that raises, blocks or
    returns nonsense is named and stops nobody else. Ctrl-C or SIGTERM ends the run in order, a
    second one at once. Exit status: 0 if each account holds what its desks hold, 1 if not, 2 for
    input that cannot be used.

    Parameters
    ----------
    team: list[str]
        A team as NAME;FOLDER;MODULE:CLASS;CAPITAL; give it once per team.
    config: Path
        A configuration that has a desk of each team's name.
    journal: Path
        The journal of a run without configuration; without one it is kept in memory alone.
    logs: Path
        The folder for the JSONL files and the log of a run without configuration.
    """
    # What a strategy prints must not get between what was asked for.
    with redirect_stdout(sys.stderr):
        plan = _plan(team or [], config, journal, logs, market, pace)
        summary = asyncio.run(_run(plan, silent=common.json and not sys.stderr.isatty()))
    if common.json:
        print_json(_object(summary))
    else:
        _print(summary)
    if summary.books_agree is not False:
        return AGREE
    for row in summary.books or []:
        if not row.is_same:
            complain(
                f"account {row.account} holds {row.broker} {row.symbol}, its desks {row.ours} "
                "together; look at the executions of both before the next run"
            )
    return DIFFER


def _plan(
    teams: list[str],
    config: Path | None,
    journal: Path | None,
    logs: Path | None,
    market: MarketOptions,
    pace: PaceOptions,
) -> "RunPlan":
    """Read and check everything that the command names."""
    from holdfast.brokers.recorded_market import check_speed, open_recording
    from holdfast.config import Config
    from holdfast.errors import InputError
    from holdfast.trading import running
    from holdfast.trading.plugins import teams_of

    check_seconds("--interval", pace.interval)
    check_seconds("--exit-wait", pace.exit_wait, 0)
    if pace.duration is not None:
        check_seconds("--duration", pace.duration)
    if config is not None and journal is not None:
        raise InputError("a configuration names its journal; leave --journal out")
    if config is not None and logs is not None:
        raise InputError("a configuration names the folder of its logs; leave --logs out")
    if pace.live and config is None:
        raise InputError("--live needs --config: without one there is a paper account only")
    if market.speed is not None:
        check_speed(market.speed)
    specs = teams_of(teams)
    plugins = running.load_teams(specs)
    recording = open_recording(market.market) if market.market else None
    if config is None:
        url = MEMORY if journal is None else str(journal)
        chosen = running.paper_config(specs, recording, url, str(logs or ""))
    else:
        chosen = running.with_capital(Config.load(config), specs)
    return running.RunPlan(
        config=chosen,
        teams=plugins,
        market=recording,
        speed=market.speed,
        seed=market.seed,
        duration_s=pace.duration,
        interval_s=pace.interval,
        live=pace.live,
        on_exit=pace.on_exit,
        exit_s=pace.exit_wait,
    )


async def _run(plan: "RunPlan", *, silent: bool) -> "RunSummary":
    from holdfast.trading.running import run as trade

    loop = asyncio.get_running_loop()
    began, stop = loop.time(), asyncio.Event()

    def say(team: str, text: str) -> None:
        if not silent:
            with suppress(OSError, ValueError):  # nobody is there to read it
                sys.stderr.write(f"{loop.time() - began:8.1f} s  {team:<12} {text}\n")
                sys.stderr.flush()

    asked: list[int] = []

    def stopped(number: int) -> None:
        if asked:
            complain("stopped at once; the next start looks up what was in flight")
            os._exit(_SIGNALLED + number)
        asked.append(number)
        stop.set()
        say("", f"{signal.Signals(number).name}: no more entries; once more stops at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # where a loop cannot watch signals, they just end it
            loop.add_signal_handler(number, stopped, int(number))
    summary = await trade(plan, stop, told=say)
    for remark in summary.remarks:
        say("", remark)
    return summary


def _print(summary: "RunSummary") -> None:
    for team in summary.teams:
        print_fields([("team", team.team), *_fields(team)])
        print()
    verdict = {None: "not told by the account", True: "agree", False: "DIFFER"}
    print_fields(
        [
            ("ended by", summary.ended_by),
            ("this run", f"{summary.seconds:.1f} s, {summary.played:,} market records"),
            ("books", verdict[summary.books_agree]),
        ]
    )


def _fields(team: "TeamSummary") -> list[tuple[str, object]]:
    results = ", ".join(f"{count} {outcome}" for outcome, count in team.results.items())
    positions = ", ".join(f"{quantity} {symbol}" for symbol, quantity in team.positions.items())
    fields: list[tuple[str, object]] = [
        ("cycles", team.cycles),
        ("signals", f"{team.signals:,}{': ' if results else ''}{results}"),
        ("orders", f"{team.orders:,}, {team.open_orders:,} open"),
        ("fills", team.fills),
        ("position", positions or "flat"),
        ("profit", f"{team.profit:,.2f}"),
        ("errors", f"{team.errors:,} of the strategy, {team.faults:,} others"),
    ]
    if team.last_error:
        fields.append(("last error", team.last_error))
    return fields


def _object(summary: "RunSummary") -> dict[str, object]:
    return {
        "teams": summary.teams,
        "books": {"agree": summary.books_agree, "rows": summary.books or []},
        "remarks": summary.remarks,
        "ended_by": summary.ended_by,
        "played": summary.played,
        "seconds": round(summary.seconds, 3),
    }
