"""A run: desks, teams and a market, from the plan to the summary.

Rule 1: everything is read and checked before anything is opened: teams and their code, the
configuration, market files to their last row.
Rule 2: whatever ended the run, the way out is the same, and the books are compared at its end.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.brokers.paper import Delays
from holdfast.brokers.recorded_market import RecordedMarket, Recording, check_speed
from holdfast.clock import NS_PER_S, Clock, SystemClock
from holdfast.config import (
    AccountPart,
    Config,
    DeskPart,
    InstrumentPart,
    JournalPart,
    LogsPart,
)
from holdfast.connecting import recording_of
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits
from holdfast.engine.audit import configure_logging
from holdfast.errors import ConfigError, InputError
from holdfast.trading.demo_plan import INSTRUMENT
from holdfast.trading.host import StrategyHost
from holdfast.trading.loop import (
    BOOKS_S,
    EXIT_S,
    BookRow,
    OnExit,
    TradingLoop,
    compare_books,
    leave,
)
from holdfast.trading.market_paper import PaperMarket, SeededMarket
from holdfast.trading.plugins import TeamSpec, load
from holdfast.trading.strategy import Strategy
from holdfast.trading.team import Team, TeamPlan, Told
from holdfast.wiring import Desks, OrderManager

ACCOUNT: Final = "paper"
FILLS_MAX: Final = 1_000_000
LOG_NAME: Final = "holdfast.log"

Plugin: TypeAlias = tuple[TeamSpec, Strategy]


class RunPlan(Struct, frozen=True, kw_only=True):
    """What to run. Times in seconds; `duration_s` None for until stopped.

    `config` is checked. `market` is played on every paper account; without one each plays what
    its configuration names, else a market that the seed gives. A strategy may take `interval_s`
    for each answer, and each step of the way out may take `exit_s`.
    """

    config: Config
    teams: tuple[Plugin, ...]
    market: Recording | None = None
    speed: Decimal | None = None
    seed: int = 1
    duration_s: float | None = None
    interval_s: float = 1.0
    live: bool = False
    on_exit: OnExit = "cancel"
    exit_s: float = EXIT_S


class TeamSummary(Struct, frozen=True, kw_only=True):
    """What a team did; money in the desk's currency, positions in units by symbol."""

    team: str
    cycles: int
    signals: int
    orders: int
    fills: int
    open_orders: int
    positions: dict[str, Decimal]
    profit: Decimal
    results: dict[str, int]
    errors: int
    faults: int
    last_error: str


class RunSummary(Struct, frozen=True, kw_only=True):
    """How a run went. `books` is None where no account told its positions.

    `ended_by` is `stop`, `duration` or `market`; `remarks` name what was left open.
    """

    teams: tuple[TeamSummary, ...]
    books: list[BookRow] | None
    remarks: list[str]
    ended_by: str
    played: int
    seconds: float

    @property
    def books_agree(self) -> bool | None:
        """Whether every account holds what its desks hold together; None where nobody can tell."""
        return None if self.books is None else all(row.is_same for row in self.books)


def load_teams(specs: Sequence[TeamSpec]) -> tuple[Plugin, ...]:
    """Load every team's strategy; raises InputError where there is no team, or one is broken."""
    if not specs:
        raise InputError("no team is given; add --team 'NAME;FOLDER;MODULE:CLASS;CAPITAL'")
    return tuple((spec, load(spec)) for spec in specs)


def paper_config(
    specs: Sequence[TeamSpec], recording: Recording | None, journal: str, logs: str = ""
) -> Config:
    """Return the configuration of a run without one: all teams on one paper account."""
    instruments = (INSTRUMENT,) if recording is None else recording.instruments
    return Config(
        journal=JournalPart(url=journal),
        logs=LogsPart(folder=logs),
        accounts={ACCOUNT: AccountPart()},
        desks={
            spec.name: DeskPart(account=ACCOUNT, limits=Limits(capital=spec.capital))
            for spec in specs
        },
        instruments={each.symbol: _described(each) for each in instruments},
    ).checked()


def with_capital(config: Config, specs: Sequence[TeamSpec]) -> Config:
    """Return the configuration with each team's capital as the purse of its desk.

    Raises:
        ConfigError: a team has no desk of its name there.
    """
    desks = dict(config.desks)
    for spec in specs:
        if spec.name not in desks:
            known = ", ".join(desks)
            raise ConfigError(
                f"team {spec.name} has no desk; add [desks.{spec.name}], or use one of: {known}"
            )
        part = desks[spec.name]
        limits = msgspec.structs.replace(part.limits, capital=spec.capital)
        desks[spec.name] = msgspec.structs.replace(part, limits=limits)
    return msgspec.structs.replace(config, desks=desks)


async def run(
    plan: RunPlan,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    told: Told | None = None,
) -> RunSummary:
    """Open the desks, let the teams trade until `stop`, the time or the market ends, and close.

    Raises:
        HoldfastError: the desks cannot be opened, or a market file changed while it was played.
    """
    chosen = clock or SystemClock()
    began_ns = chosen.boot_ns()
    async with AsyncExitStack() as stack:
        markets_of = _prepared(plan)
        _log_to_file(plan.config, stack)
        desks = await stack.enter_async_context(
            Desks.open(plan.config, live=plan.live, clock=clock, play=False)
        )
        await _endowed(desks)
        delays = _Delays(chosen)
        markets = [
            _market(plan, desks, account, markets_of.get(account), delays)
            for account in desks.venues
        ]
        playing = [asyncio.create_task(each.run(), name="market") for each in markets]
        stack.push_async_callback(_ended, playing)
        teams = [_team(plan, desks, plugin, chosen, told, stack) for plugin in plan.teams]
        ended_by = await _traded(TradingLoop(teams), stop, playing, plan)
        managers = {name: desks[name] for name in desks}
        remarks = await leave(managers, plan.on_exit, timeout=plan.exit_s)
        await _ended(playing)
        books = await compare_books(desks, timeout=min(plan.exit_s, BOOKS_S))
        summaries = [await _summary(team) for team in teams]
        await desks.shutdown(timeout=plan.exit_s)
    for market in playing:
        if not market.cancelled() and (error := market.exception()) is not None:
            raise error
    return RunSummary(
        teams=tuple(summaries),
        books=books,
        remarks=remarks,
        ended_by=ended_by,
        played=sum(each.played for each in markets),
        seconds=(chosen.boot_ns() - began_ns) / NS_PER_S,
    )


def _log_to_file(config: Config, stack: AsyncExitStack) -> None:
    """Keep the log beside the desks' files, where the configuration has a folder for them."""
    if config.logs.folder:
        folder = Path(config.logs.folder)
        folder.mkdir(parents=True, exist_ok=True)
        handle = configure_logging(config.logs.level, file=folder / LOG_NAME)
        stack.callback(handle.close)


async def _endowed(desks: Desks[OrderManager]) -> None:
    """Give simulated accounts, which are new in every process, what their desks hold already."""
    for account, venue in desks.venues.items():
        if desks.config.account(account).mode == "dry_run":
            continue  # nothing is placed there, so there is no account
        for symbol, quantity in (await desks.positions(account)).items():
            if quantity:
                venue.endow(account, symbol, quantity)


class _Delays:
    """Time and waiting as the desks have them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        return self._clock.wall_ns()

    async def sleep(self, ns: int, /) -> None:
        await asyncio.sleep(ns / NS_PER_S)


def _prepared(plan: RunPlan) -> dict[str, Recording]:
    """Open the market file of each paper account; all of them before any desk."""
    if plan.speed is not None:
        check_speed(plan.speed)
    found: dict[str, Recording] = {}
    for name in sorted({plan.config.account_of(desk) for desk in plan.config.desks}):
        recording = plan.market or recording_of(plan.config, name)
        if recording is not None:
            found[name] = recording
    return found


def _market(
    plan: RunPlan,
    desks: Desks[OrderManager],
    account: str,
    recording: Recording | None,
    delays: Delays,
) -> PaperMarket:
    part, venue = plan.config.account(account).paper, desks.venues[account]
    speed = plan.speed if plan.speed is not None else Decimal(part.speed)
    if recording is not None:
        return RecordedMarket(venue, recording, speed=speed, delays=delays)
    return SeededMarket(venue, seed=plan.seed, speed=speed, delays=delays)


def _team(
    plan: RunPlan,
    desks: Desks[OrderManager],
    plugin: Plugin,
    clock: Clock,
    told: Told | None,
    stack: AsyncExitStack,
) -> Team:
    spec, strategy = plugin
    host = StrategyHost(spec.name, strategy, spec.folder, limit_s=plan.interval_s)
    stack.callback(host.close)
    config = plan.config
    account = config.account_of(spec.name)
    return Team(
        desks[spec.name],
        host,
        TeamPlan(
            name=spec.name,
            interval_s=plan.interval_s,
            sync_s=config.poll_interval_ms(account) / 1_000,
            capital=spec.capital,
            currency=config.account(account).currency,
        ),
        instruments={each.symbol: each for each in config.instruments_of(spec.name)},
        clock=clock,
        told=told,
    )


async def _traded(
    loop: TradingLoop,
    stop: asyncio.Event,
    playing: Sequence["asyncio.Task[None]"],
    plan: RunPlan,
) -> str:
    """Trade until something ends it, and say what did."""
    over: list[object] = []

    def ended(market: object) -> None:
        over.append(market)
        stop.set()

    for market in playing:
        market.add_done_callback(ended)
    await loop.run(stop, duration_s=plan.duration_s)
    if over:
        return "market"
    return "stop" if stop.is_set() else "duration"


async def _ended(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks and wait for their end; what they raised stays in them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _summary(team: Team) -> TeamSummary:
    manager, figures = team.manager, team.figures
    total = (await manager.statistics())["desk"]["orders_total"]
    return TeamSummary(
        team=team.name,
        cycles=figures.cycles,
        signals=figures.signals,
        orders=total,
        fills=len(await manager.executions(limit=FILLS_MAX)),
        open_orders=len(await manager.orders(finished=False)),
        positions={
            symbol: held.quantity
            for symbol, held in sorted((await manager.positions()).items())
            if held.quantity
        },
        profit=await team.profit(),
        results=dict(sorted(figures.results.items())),
        errors=figures.errors,
        faults=figures.faults,
        last_error=figures.last_error,
    )


def _described(instrument: Instrument) -> InstrumentPart:
    return InstrumentPart(
        tick=instrument.tick,
        lot=instrument.lot,
        minimum_notional=instrument.minimum_notional,
        currency=instrument.currency,
        multiplier=instrument.multiplier,
        base=instrument.base,
        session=instrument.session,
    )
