"""Connects broker accounts: alone knows how each kind of broker is made.

Rule 1: no path leads from paper to a live endpoint. A kind of broker says which modes it serves,
and is told the mode that it is connected for.
Rule 2: in a dry run no broker is connected at all: its factory is not called, and no secret read.
"""

import asyncio
import importlib
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct

from holdfast.brokers.dry_run import DryRunBroker
from holdfast.brokers.paper import PaperBroker
from holdfast.brokers.quotes_paper import PaperQuotes
from holdfast.brokers.recorded_market import (
    RecordedMarket,
    Recording,
    check_listed,
    open_recording,
)
from holdfast.clock import NS_PER_MS, NS_PER_S, Clock, new_epoch
from holdfast.config import AccountPart, Config, Mode, PaperPart
from holdfast.domain.instruments import Instrument
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.masking import described, register_secret
from holdfast.engine.quotes import QuoteBoard
from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.ports import Broker, Quotes
from holdfast.schema import KINDS
from holdfast.shape import shown
from holdfast.venue.fees import Fees
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue

# A file that holds a secret holds little else.
SECRET_BYTES_MAX: Final = 65_536


class BrokerAccount(Struct, frozen=True, kw_only=True):
    """What a factory of brokers is told: which account to connect, and how.

    `credentials` are the secrets themselves, under their keys without `_env` or `_file`.
    """

    name: str
    mode: Mode
    currency: str
    instruments: tuple[Instrument, ...]
    credentials: Mapping[str, str]
    options: Mapping[str, Any]
    paper: PaperPart
    clock: Clock


class Connection(Struct, kw_only=True):
    """A connected account. `quotes` is where its prices come from, `venue` the simulated one.

    `market` plays a recording on that venue once it is run.
    """

    broker: Broker
    quotes: Quotes | None = None
    venue: Venue | None = None
    market: RecordedMarket | None = None
    close: Callable[[], Awaitable[None]] | None = None


Made: TypeAlias = Broker | Connection


class BrokerKind(Struct, frozen=True):
    """A kind of broker: the modes that it serves, and how it is connected."""

    modes: frozenset[str]
    connect: Callable[[BrokerAccount], "Made | Awaitable[Made]"]


class _Delays:
    """The clock that a desk goes by, for a venue that takes its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        return self._clock.wall_ns()

    async def sleep(self, ns: int, /) -> None:
        await asyncio.sleep(ns / NS_PER_S)


def _venue(account: BrokerAccount) -> Venue:
    part = account.paper
    venue = Venue(
        fees=Fees(maker_bps=part.maker_fee_bps, taker_bps=part.taker_fee_bps),
        life=f"{new_epoch()[:6]}.",
    )
    for instrument in account.instruments:
        venue.add_listing(instrument)
    return venue


def _paper(account: BrokerAccount) -> Connection:
    """Connect an account of a simulated venue, which whoever has it may move."""
    part, venue, delays = account.paper, _venue(account), _Delays(account.clock)
    venue.open_account(account.name, cash=part.cash, currency=account.currency)
    way_ns = part.latency_ms * NS_PER_MS
    latency = Latency(
        seed=part.seed,
        request_ns=way_ns,
        answer_ns=way_ns,
        report_ns=way_ns,
        jitter_ns=part.jitter_ms * NS_PER_MS,
    )
    broker = PaperBroker(
        venue,
        account.name,
        latency=latency if part.latency_ms or part.jitter_ms else None,
        delays=delays,
    )
    quotes = PaperQuotes(venue, delays=delays)
    return Connection(broker=broker, quotes=quotes, venue=venue, close=broker.aclose)


# How the kinds of broker are connected that are Holdfast's own.
BROKERS: Final[dict[str, BrokerKind]] = {"paper": BrokerKind(KINDS["paper"], _paper)}


def broker_kind(name: str, path: str = "broker") -> BrokerKind:
    """Return a kind of broker that Holdfast knows, or the one that `package.module:factory` names.

    A factory takes a `BrokerAccount` and returns a broker or a `Connection`, or awaits one. Its
    `modes` are those that it serves.

    Raises:
        ConfigError: there is none, it cannot be imported, or it does not declare its modes.
    """
    if name in BROKERS:
        return BROKERS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        known = ", ".join(sorted(BROKERS))
        raise ConfigError(
            f"{path} is {shown(name)}; known are {known}, or give package.module:factory"
        )
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"{path} {name!r} cannot be loaded ({described(error)}); mend the name or the module"
        ) from error
    modes = getattr(factory, "modes", None)
    if not modes or isinstance(modes, str) or not set(modes) <= {"paper", "live"}:
        raise ConfigError(
            f"{path} {name!r} declares modes {modes!r}; give the factory an attribute modes, "
            'such as ("paper",) or ("paper", "live")'
        )
    return BrokerKind(frozenset(modes) | {"dry_run"}, factory)


def kind_of(config: Config, name: str) -> BrokerKind:
    """Return the kind of an account's broker.

    Raises:
        ConfigError: there is none, or it does not serve the account's mode.
    """
    part, path = config.account(name), f"accounts.{name}"
    kind = broker_kind(part.broker, f"{path}.broker")
    if part.mode not in kind.modes:
        served = ", ".join(sorted(kind.modes))
        raise ConfigError(
            f"{path}.mode is {part.mode}, which broker {part.broker!r} does not serve; "
            f"it serves {served}"
        )
    return kind


def check_modes(broker: object, mode: Mode, what: str = "the broker") -> None:
    """Refuse a broker that does not declare a mode; see `holdfast.ports.Broker`.

    Raises:
        InputError: it declares others, or none.
    """
    modes, kind = getattr(broker, "modes", None), type(broker).__name__
    if not isinstance(modes, frozenset | set | tuple | list) or not modes:
        raise InputError(
            f"{what}, a {kind}, declares no modes; give it an attribute modes: "
            'frozenset({"paper"}) if it cannot reach real money, frozenset({"live"}) if it can'
        )
    if mode not in modes:
        served = ", ".join(sorted(map(str, modes)))
        raise InputError(
            f"mode is {mode}, which {what}, a {kind}, does not serve; it serves {served}"
        )


def recording_of(config: Config, name: str) -> Recording | None:
    """Read the recorded market of an account to its end; None where it has none.

    Raises:
        ConfigError: it cannot be read, or has a symbol that the account does not list.
    """
    part = config.account(name)
    if part.broker != "paper" or not part.paper.market:
        return None
    try:
        recording = open_recording([Path(part.paper.market)])
        check_listed(recording, _instruments(config, part.currency))
    except HoldfastError as error:
        raise ConfigError(f"accounts.{name}.paper.market: {error}") from None
    return recording


def _instruments(config: Config, currency: str) -> tuple[Instrument, ...]:
    return tuple(
        config.instrument(symbol)
        for symbol, terms in config.instruments.items()
        if terms.currency == currency
    )


async def connect(
    config: Config, name: str, clock: Clock, recording: Recording | None = None
) -> tuple[Connection, QuoteBoard | None]:
    """Connect an account of a configuration, in its mode; a simulated venue gets the recording.

    Raises:
        ConfigError: its broker does not serve the mode, or a credential is not there.
    """
    part, path, kind = config.account(name), f"accounts.{name}", kind_of(config, name)
    what = f"{path}.broker {part.broker!r}"
    is_dry = part.mode == "dry_run"
    account = BrokerAccount(
        name=name,
        mode=part.mode,
        currency=part.currency,
        instruments=_instruments(config, part.currency),
        credentials={} if is_dry else credentials(part, path),
        options=part.options,
        paper=part.paper,
        clock=clock,
    )
    now_ns = DeskTime(clock).now_ns
    if is_dry:
        ages = [config.policies_of(desk).quote_age_max_ms for desk in config.desks_of(name)]
        found, board = await _dry_run(account, kind, now_ns, min(ages), what)
    else:
        found = await _made(kind, account, what)
        board = None if found.quotes is None else QuoteBoard(found.quotes, now_ns)
    if recording is not None and found.venue is not None:
        speed, delays = Decimal(part.paper.speed), _Delays(clock)
        found.market = RecordedMarket(found.venue, recording, speed=speed, delays=delays)
    return found, board


async def _made(kind: BrokerKind, account: BrokerAccount, what: str) -> Connection:
    """Let a factory connect, and look at what it made."""
    found = await _called(kind.connect, account, f"{what} could not connect")
    if not isinstance(found, Connection):
        quotes, close = getattr(found, "quotes", None), getattr(found, "aclose", None)
        found = Connection(broker=found, quotes=quotes, close=close)
    try:
        if not callable(getattr(found.broker, "submit", None)):
            kind_name = type(found.broker).__name__
            raise ConfigError(f"{what} made a {kind_name}; it must return a Broker")
        check_modes(found.broker, account.mode, f"what {what} made")
        if found.quotes is not None:
            _check_quotes(found.quotes, what)
    except InputError:
        if found.close is not None:
            await found.close()
        raise
    return found


async def _called(make: Callable[[BrokerAccount], Any], account: BrokerAccount, what: str) -> Any:
    """Call what somebody wrote; whatever goes wrong in it is told as theirs."""
    try:
        made = make(account)
        return await made if inspect.isawaitable(made) else made
    except HoldfastError:
        raise
    except Exception as error:
        raise ConfigError(f"{what}: {described(error)}") from error


def _check_quotes(source: object, what: str) -> None:
    if not callable(getattr(source, "watch", None)):
        kind = type(source).__name__
        raise ConfigError(f"{what} has a {kind} for its quotes; it must be a source of Quotes")


def credentials(part: AccountPart, path: str) -> dict[str, str]:
    """Return an account's secrets, read from the environment and from files.

    Raises:
        ConfigError: one is not there; its name is told, never what it holds.
    """
    found: dict[str, str] = {}
    for key, name in part.credentials.items():
        if key.endswith("_env"):
            secret, kind = os.environ.get(name, "").strip(), "environment variable"
        else:
            secret, kind = _content(Path(name)), "file"
        if not secret:
            raise ConfigError(
                f"{path}.credentials.{key} names the {kind} {name}, which is missing or empty; "
                "put the secret there, or name another place"
            )
        register_secret(secret)
        found[key.removesuffix("_env").removesuffix("_file")] = secret
    return found


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


async def _dry_run(
    account: BrokerAccount,
    kind: BrokerKind,
    now_ns: Callable[[], int],
    age_max_ms: int,
    what: str,
) -> tuple[Connection, QuoteBoard | None]:
    """Connect nothing: orders are filled in memory, at the prices of the account's source."""
    venue, source = None, None
    if kind is BROKERS["paper"]:
        venue = _venue(account)
        source = PaperQuotes(venue, delays=_Delays(account.clock))
    else:
        make = getattr(kind.connect, "quotes", None)
        if make is not None:
            source = await _called(make, account, f"{what} could not give quotes")
        if source is not None:
            _check_quotes(source, what)
    board = QuoteBoard(source, now_ns) if source is not None else None
    latest = _no_quote if board is None else partial(board.latest, age_max_ms=age_max_ms)
    broker = DryRunBroker(latest)
    return Connection(broker=broker, quotes=source, venue=venue), board


def _no_quote(_symbol: str) -> None:
    """Know no price: what is ordered at the market stays open."""
