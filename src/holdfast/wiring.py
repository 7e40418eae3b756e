"""From what a program writes, or a configuration says, to open managers on an open journal.

Rule: live is armed twice, in the configuration and by whoever starts the program. One of the two
alone is refused, and the message says which is missing. A desk keeps its mode for life.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec

from holdfast.brokers.dry_run import DryRunBroker
from holdfast.brokers.recorded_market import RecordedMarket
from holdfast.clock import Clock, SystemClock
from holdfast.config import Config, Mode, ms
from holdfast.connecting import check_modes, connect, kind_of, recording_of
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.budget import RateRules
from holdfast.engine.control import Control
from holdfast.engine.desk_parts import Account, Options, Parts
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.desks import AccountPlan, OpenDesks
from holdfast.engine.emergency import beside
from holdfast.engine.manager import Manager
from holdfast.engine.quotes import QuoteBoard
from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import RAW_DAYS, SqliteJournal
from holdfast.ports import Broker, Journal, Quotes
from holdfast.venue.paper import Venue

_log = logging.getLogger("holdfast.wiring")

MEMORY: Final = "memory://"
SQLITE: Final = "sqlite:///"
# Set to 1 it arms live trading, as `--live` does.
LIVE_VARIABLE: Final = "HOLDFAST_LIVE"

JournalChoice: TypeAlias = str | os.PathLike[str] | Journal
ConfigChoice: TypeAlias = Config | str | os.PathLike[str]

_M = TypeVar("_M", bound=Manager)


class OrderManager(Manager):
    """Takes orders for a desk, gets them to the broker once, and follows them to their end."""

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913 - each is a choice of its own, all by name
        cls,
        config: ConfigChoice | None = None,
        *,
        desk: str | None = None,
        live: bool = False,
        journal: JournalChoice | None = None,
        broker: Broker | None = None,
        quotes: Quotes | None = None,
        mode: Mode | None = None,
        account: str | None = None,
        currency: str | None = None,
        instruments: Sequence[Instrument] | None = None,
        settings: Settings | None = None,
        poll_interval_ms: int | None = None,
        snapshot_every: int | None = None,
        files: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        epoch: str | None = None,
    ) -> AsyncIterator[Self]:
        """Open a desk for the length of an `async with`.

        Either from a configuration, with `desk` where it has several; or from a journal and a
        broker given here, with all else by name or as in `Options` (`files` is a folder for JSONL
        files, one below it for each desk). Live trading needs `live` (or HOLDFAST_LIVE=1) beside
        the mode, in either form. A journal that is open already is taken over as `start` says.

        Raises:
            InputError: neither or both forms, live armed by halves, a broker that does not serve
                the mode, no such kind of journal, or the desk was opened with other terms before.
            ConfigError: something in the configuration does not hold.
            JournalError: the journal cannot be used; its message says what to do.
        """
        given = {
            "mode": mode,
            "account": account,
            "currency": currency,
            "instruments": instruments,
            "settings": settings,
            "poll_interval_ms": poll_interval_ms,
            "snapshot_every": snapshot_every,
            "files": files,
            "epoch": epoch,
        }
        if config is not None:
            _check_alone(given | {"journal": journal, "broker": broker, "quotes": quotes})
            checked = load_config(config)
            name = _only_desk(checked, desk)
            async with _opened(cls, checked, (name,), live, clock) as desks:
                yield desks[name]
            return
        if journal is None or broker is None:
            raise InputError("give a configuration, or a journal and a broker")
        options = _given_options(desk, broker, given)
        manager = await cls.start(
            journal=journal, broker=broker, options=options, clock=clock, quotes=quotes, live=live
        )
        async with manager, _controlled(journal, {manager.name: manager}, clock):
            yield manager

    @classmethod
    async def start(
        cls,
        *,
        journal: JournalChoice,
        broker: Broker,
        options: Options,
        clock: Clock | None = None,
        quotes: Quotes | None = None,
        live: bool = False,
    ) -> Self:
        """Open a desk until `shutdown`.

        `journal` is a file, `sqlite:///PATH`, `memory://`, or a journal that is open already. That
        one is left as it is where an argument is refused; from then on it belongs to the manager,
        and is closed with it, or at once where the desk cannot be opened on it.

        Raises:
            InputError: no such kind of journal, live armed by halves, a broker that does not
                serve the mode, or the desk was opened with other terms before.
            JournalError: the journal cannot be used; its message says what to do.
        """
        check_armed({f"account {options.account!r}": options.mode}, live=live)
        _check_broker(broker, options.mode)
        _check_options(options)
        opened = open_journal(journal)
        try:
            time = DeskTime(clock or SystemClock())
            if isinstance(broker, DryRunBroker):
                broker.judge_age(time.now_ns, options.settings.policies.quote_age_max_ms)
            account = Account(
                broker,
                name=options.account,
                ack_wait_ms=options.settings.ack_wait_ms,
                poll_interval_ms=options.poll_interval_ms,
                board=None if quotes is None else QuoteBoard(quotes, time.now_ns),
                clock=clock,
            )
            if options.emergency_path is None:
                path = emergency_path(journal)
                options = msgspec.structs.replace(options, emergency_path=path)
            parts = Parts(opened, account, options, clock)
            try:
                await parts.open()
            except BaseException:
                await parts.abandon()
                raise
        except BaseException:
            opened.close()
            raise
        return cls(parts)


class Desks(OpenDesks[_M]):
    """Desks of a configuration, open on one journal.

    `desks["alpha"]` is a manager; iterating gives the names of the desks. `config` is the
    configuration they were opened from, `venues` the simulated venue behind each paper account.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        make: Callable[[Parts], _M],
        clock: Clock | None = None,
    ) -> None:
        super().__init__(journal, make, clock)
        self.config = config
        self.venues: dict[str, Venue] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: ConfigChoice,
        *,
        live: bool = False,
        clock: Clock | None = None,
        journal: Journal | None = None,
        play: bool = True,
    ) -> AsyncIterator["Desks[OrderManager]"]:
        """Open every desk for the length of an `async with`, on `journal` in place of the file's.

        Each account has a desk for what none of them placed; see `unclaimed`. Live trading needs
        `live` (or HOLDFAST_LIVE=1) beside the mode in the configuration. Recorded markets of paper
        accounts are played from their beginning; without `play` the caller moves the `venues`.
        A journal given here is left as it is where the configuration or arming is refused; from
        then on it is closed with the desks, or at once where they cannot be opened.

        Raises:
            ConfigError: something in the configuration does not hold.
            InputError: live armed by halves, or a desk was opened with other terms before.
            JournalError: the journal cannot be used; its message says what to do.
        """
        checked = load_config(config)
        names = tuple(checked.desks)
        async with _opened(OrderManager, checked, names, live, clock, journal, play=play) as desks:
            yield desks


@asynccontextmanager
async def _opened(
    make: Callable[[Parts], _M],
    config: Config,
    names: tuple[str, ...],
    live: bool,  # noqa: FBT001 - handed through by position, as the others
    clock: Clock | None,
    journal: Journal | None = None,
    *,
    play: bool = True,
) -> AsyncIterator[Desks[_M]]:
    """Open desks of a checked configuration; one alone goes without an unclaimed desk."""
    accounts: dict[str, list[str]] = {}
    for name in names:
        accounts.setdefault(config.account_of(name), []).append(name)
    check_armed({f"accounts.{name}": config.account(name).mode for name in accounts}, live=live)
    for name in accounts:
        kind_of(config, name)
    recordings = {}
    for name in accounts if play else ():
        recordings[name] = await asyncio.to_thread(recording_of, config, name)
    if journal is None:
        journal = open_journal(config.journal.url, config.journal.raw_days)
    desks = Desks(config, journal, make, clock)
    markets: dict[str, RecordedMarket] = {}
    try:
        for account, members in accounts.items():
            connection, board = await connect(
                config, account, clock or SystemClock(), recordings.get(account)
            )
            if connection.market is not None:
                markets[account] = connection.market
            if connection.venue is not None:
                desks.venues[account] = connection.venue
            plan = AccountPlan(
                name=account,
                broker=connection.broker,
                desks=tuple(_options(config, name) for name in members),
                poll_interval_ms=config.poll_interval_ms(account),
                rate=_rate(config, account),
                account_ttl_ms=ms(config.account(account).account_ttl_seconds),
                board=board,
                unclaimed=set(members) == set(config.desks_of(account)),
                close=connection.close,
            )
            await desks.add(plan)
    except BaseException:
        await desks.abandon()
        desks.journal.close()
        raise
    async with (
        desks,
        _controlled(config.journal.url, {name: desks[name] for name in names}, clock),
        _played(markets),
    ):
        yield desks


@asynccontextmanager
async def _played(markets: Mapping[str, RecordedMarket]) -> AsyncIterator[None]:
    """Play recorded markets on their venues, each to its end."""
    tasks = [
        asyncio.create_task(_play(account, market), name=f"market of {account}")
        for account, market in markets.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play(account: str, market: RecordedMarket) -> None:
    try:
        await market.run()
    except HoldfastError as error:
        _log.error("the market of account %s stands still: %s", account, error)
    else:
        _log.warning("the recording of account %s has ended; its last prices stand", account)


@asynccontextmanager
async def _controlled(
    journal: JournalChoice, desks: Mapping[str, Manager], clock: Clock | None
) -> AsyncIterator[None]:
    """Let other processes reach the desks of a journal that is a file."""
    chosen = journal.path if isinstance(journal, SqliteJournal) else journal
    path = journal_path(chosen) if isinstance(chosen, str | os.PathLike) else None
    if path is None:
        yield
        return
    control = Control(path, desks, clock)
    await control.start()
    try:
        yield
    finally:
        await control.close()


def _rate(config: Config, account: str) -> RateRules:
    part = config.account(account).rate
    return RateRules(requests_per_second=part.requests_per_second, burst=part.burst)


def _options(config: Config, desk: str) -> Options:
    account = config.account_of(desk)
    part = config.account(account)
    return Options(
        desk=desk,
        account=account,
        currency=part.currency,
        mode=part.mode,
        instruments=config.instruments_of(desk),
        settings=config.settings_of(desk),
        poll_interval_ms=config.poll_interval_ms(account),
        snapshot_every=config.journal.snapshot_every,
        emergency_path=emergency_path(config.journal.url),
        files=Path(config.logs.folder) if config.logs.folder else None,
        config_digest=config.digest,
    )


def _only_desk(config: Config, desk: str | None) -> str:
    """Return the one desk that is meant."""
    if desk is not None:
        config.desk(desk)
        return desk
    if len(config.desks) > 1:
        names = ", ".join(config.desks)
        raise ConfigError(f"there are several desks ({names}); say which with desk=...")
    return next(iter(config.desks))


def _given_options(desk: str | None, broker: Broker, given: Mapping[str, Any]) -> Options:
    """Return the options that were given by name; what was not is as `Options` has it."""
    chosen = {name: each for name, each in given.items() if each is not None}
    if desk is not None:
        chosen["desk"] = desk
    if "files" in chosen:
        chosen["files"] = Path(chosen["files"])
    chosen.setdefault("mode", "dry_run" if isinstance(broker, DryRunBroker) else "paper")
    return Options(**chosen)


def _check_alone(others: Mapping[str, object]) -> None:
    """Refuse what belongs to the other form of `open`."""
    found = [name for name, each in others.items() if each is not None]
    if found:
        raise InputError(
            "with a configuration give desk, live and clock alone; all else stands in the file, "
            f"so leave out: {', '.join(found)}"
        )


def _check_options(options: Options) -> None:
    """Refuse what would be found wanting once something is recorded."""
    for each in options.instruments:
        if not isinstance(each, Instrument):
            raise InputError(
                f"instruments has {each!r}, which is no Instrument; make one with "
                "Instrument.of(...)"
            )
    for name in ("poll_interval_ms", "snapshot_every"):
        found = getattr(options, name)
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise InputError(f"{name} is {found!r}; it must be a whole number of 1 or more")


def _check_broker(broker: Broker, mode: Mode) -> None:
    """Refuse a broker in a mode that it is not for."""
    if isinstance(broker, DryRunBroker) != (mode == "dry_run"):
        raise InputError(
            f"mode is {mode} and the broker a {type(broker).__name__}; a dry run, and nothing "
            "else, takes a DryRunBroker"
        )
    check_modes(broker, mode)


def load_config(choice: ConfigChoice) -> Config:
    """Return the configuration that a path names, or the given one once it is checked.

    Raises:
        ConfigError: something in it does not hold.
    """
    return choice.checked() if isinstance(choice, Config) else Config.load(choice)


def check_armed(modes: Mapping[str, str], *, live: bool) -> None:
    """Refuse live trading that only one of the two places asks for; `modes` are by place.

    Raises:
        InputError: it says which of the two is missing.
    """
    lives = [place for place, mode in modes.items() if mode == "live"]
    if lives and not (live or os.environ.get(LIVE_VARIABLE) == "1"):
        raise InputError(
            f"mode of {', '.join(lives)} is live, but the program was not started for it; "
            f"give --live (live=True) or set {LIVE_VARIABLE}=1 as well"
        )
    if live and not lives:
        found = ", ".join(f"{mode} for {place}" for place, mode in modes.items())
        raise InputError(
            f'live trading was asked for, but mode = "live" is missing: it is {found}; '
            "set the account's mode, or start without live"
        )


def open_journal(choice: JournalChoice, raw_days: int = RAW_DAYS) -> Journal:
    """Return the journal that a text or a path names.

    Raises:
        InputError: no such kind of journal.
        JournalError: it cannot be used; its message says what to do.
    """
    if not isinstance(choice, str | os.PathLike):
        if not callable(getattr(choice, "append", None)):
            raise InputError(f"journal is {choice!r}; give a file, {SQLITE}PATH or {MEMORY}")
        return choice
    path = journal_path(choice)
    return MemoryJournal() if path is None else SqliteJournal(path, raw_days=raw_days)


def emergency_path(choice: JournalChoice) -> Path | None:
    """Return the file beside a journal that keeps what goes out while it cannot be written."""
    if isinstance(choice, SqliteJournal):
        choice = choice.path
    path = journal_path(choice) if isinstance(choice, str | os.PathLike) else None
    return None if path is None else beside(path)


def journal_path(choice: str | os.PathLike[str]) -> Path | None:
    """Return the file that a choice names, or None for memory.

    Raises:
        InputError: no such kind of journal.
    """
    text = os.fspath(choice)
    if text == MEMORY:
        return None
    if text.startswith(SQLITE):
        text = text.removeprefix(SQLITE)
    elif "://" in text:
        kind = text.partition("://")[0]
        raise InputError(f"journal {kind}://... is not known; use a file, {SQLITE}PATH or {MEMORY}")
    return Path(text)
