"""The configuration: one schema for TOML and JSON, and what it means for each desk.

Rule 1: nothing is guessed. A key that is not known, a value of another type, a name that leads
nowhere: each is refused with its path, and nothing of the file is used.
Rule 2: no secret stands in it: credentials are names of environment variables or of files.
Rule 3: relative paths in a file begin at the file's own folder.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, Self

import msgspec

from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import (
    BreakerRules,
    GroupRules,
    Offsets,
    Policies,
    Pricing,
    RequoteRules,
    StaleRules,
)
from holdfast.domain.sessions import Session, time_of, zone_of
from holdfast.domain.settings import Settings
from holdfast.errors import ConfigError, HoldfastError
from holdfast.schema import (
    KINDS,
    AccountPart,
    BreakerPart,
    DeskPart,
    ExecutionPart,
    GroupsPart,
    InstrumentPart,
    JournalPart,
    LogsPart,
    Mode,
    OrderManagementPart,
    OverridePart,
    PaperPart,
    RatePart,
    Section,
    ServicePart,
)
from holdfast.secrecy import check_credentials, check_options
from holdfast.shape import (
    FILE_BYTES_MAX,
    closest,
    read_tables,
    shaped,
    shown,
)

# How the desk is called that an account's orders of no desk go to, before the account's name.
UNCLAIMED: Final = "unclaimed-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,23}")
_CURRENCY: Final = re.compile(r"[A-Z0-9]{2,12}")
_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_SQLITE: Final = "sqlite:///"
_MEMORY: Final = "memory://"
_BPS: Final = 10_000  # the whole price
_PCT: Final = 100
_DAY_MINUTES: Final = 1_440


class Config(Section, frozen=True, kw_only=True):
    """All of it. Made in code it is checked when it is used, read from a file at once."""

    journal: JournalPart = JournalPart()
    accounts: dict[str, AccountPart] = msgspec.field(default_factory=dict)
    desks: dict[str, DeskPart] = msgspec.field(default_factory=dict)
    instruments: dict[str, InstrumentPart] = msgspec.field(default_factory=dict)
    sessions: dict[str, Session] = msgspec.field(default_factory=dict)
    service: ServicePart = ServicePart()
    logs: LogsPart = LogsPart()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Config":
        """Read a `.toml` or `.json` file.

        Raises:
            ConfigError: it cannot be read, or something in it does not hold.
        """
        if not isinstance(path, str | os.PathLike):
            raise ConfigError(f"a configuration is {shown(path)}; give a path, or a Config")
        file = Path(path)
        try:
            return cls.parse(read_tables(file), file.resolve().parent)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None

    @classmethod
    def parse(cls, data: Mapping[str, object], folder: Path | None = None) -> "Config":
        """Read the tables of a configuration; relative paths begin at `folder`.

        Raises:
            ConfigError: something in them does not hold.
        """
        return _anchored(shaped(cls, data).checked(), folder or Path())

    def checked(self) -> Self:
        """Return this configuration, each value as its key wants it, if all of it holds.

        Raises:
            ConfigError: a value or a name does not; the message has its path.
        """
        config = shaped(type(self), self)
        _check(config)
        return config

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any of it, for logs."""
        body = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(body).hexdigest()[:12]

    def account_of(self, desk: str) -> str:
        """Return the name of a desk's account; one of its own has the desk's name."""
        return self.desk(desk).account or desk

    def desks_of(self, account: str) -> tuple[str, ...]:
        """Return the names of an account's desks."""
        return tuple(name for name in self.desks if self.account_of(name) == account)

    def account(self, name: str) -> AccountPart:
        """Return an account by name, those included that a desk has for itself.

        Raises:
            ConfigError: there is none of that name.
        """
        if name in self.accounts:
            return self.accounts[name]
        desk = self.desks.get(name)
        if desk is None or desk.account:
            names = {self.account_of(each) for each in self.desks} | set(self.accounts)
            raise ConfigError(f"there is no account {name!r}; {closest(name, names)}")
        return AccountPart(broker=desk.broker or "paper", mode=desk.mode or "paper")

    def desk(self, name: str) -> DeskPart:
        """Return a desk by name.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.desks:
            raise ConfigError(f"there is no desk {name!r}; {closest(name, self.desks)}")
        return self.desks[name]

    def instrument(self, symbol: str) -> Instrument:
        """Return what `instruments.SYMBOL` describes."""
        try:
            terms = msgspec.structs.asdict(self.instruments[symbol])
            return Instrument.of(symbol, **terms)
        except HoldfastError as error:
            raise ConfigError(f"instruments.{symbol}: {error}") from None

    def instruments_of(self, desk: str) -> tuple[Instrument, ...]:
        """Return what a desk trades, in the order of the configuration."""
        currency = self.account(self.account_of(desk)).currency
        symbols = self.desk(desk).symbols or [
            symbol for symbol, terms in self.instruments.items() if terms.currency == currency
        ]
        return tuple(self.instrument(symbol) for symbol in symbols)

    def poll_interval_ms(self, account: str) -> int:
        """Return how often an account is polled: as it says, else as its most eager desk says."""
        own = self.account(account).poll_interval_seconds
        if own is not None:
            return ms(own)
        return min(
            ms(desk.order_management.poll_interval_seconds)
            for desk in map(self.desk, self.desks_of(account))
        )

    def settings_of(self, desk: str) -> Settings:
        """Return what a desk is run with.

        Raises:
            ConfigError: there is no such desk, or its waits do not fit together.
        """
        execution = self.desk(desk).execution
        try:
            return Settings(
                ack_wait_ms=ms(execution.ack_wait_seconds),
                send_wait_ms=ms(execution.send_wait_seconds),
                absence_grace_ms=ms(execution.absence_grace_seconds),
                quiet_ms=ms(execution.quiet_seconds),
                inferred_grace_ms=ms(execution.inferred_grace_seconds),
                retry_first_ms=ms(execution.retry_first_seconds),
                retry_max_ms=ms(execution.retry_max_seconds),
                retries_max=execution.max_retries,
                resends_max=execution.max_resends,
                finished_orders_max=execution.finished_orders_max,
                policies=self.policies_of(desk),
            )
        except ValueError as error:
            raise ConfigError(f"desks.{desk}.execution: {error}") from None

    def policies_of(self, desk: str) -> Policies:
        """Return the policies of a desk; ConfigError if there is none of that name."""
        part = self.desk(desk)
        execution, breaker, groups = part.execution, part.breaker, part.groups
        return Policies(
            profile=part.profile,
            pricing=_pricing(part.order_management),
            limits=part.limits,
            breaker=BreakerRules(
                failures_max=breaker.failures_max,
                insufficient_funds=breaker.insufficient_funds,
                open_ms=ms(breaker.open_seconds),
                open_max_ms=ms(breaker.open_max_seconds),
            ),
            stale=StaleRules(
                after_ms=ms(execution.cancel_after_seconds),
                post_only_ms=ms(execution.post_only_ttl_seconds),
                symbols={k: ms(v) for k, v in execution.cancel_after_by_symbol.items()},
                strategies={k: ms(v) for k, v in execution.cancel_after_by_strategy.items()},
                sweep_every_ms=ms(execution.sweep_seconds),
                abandon_after_ms=ms(execution.abandon_after_seconds),
            ),
            requote=RequoteRules(
                interval_ms=ms(execution.requote_interval_seconds),
                minimum_ticks=execution.requote_minimum_ticks,
                per_order_max=execution.max_requotes_per_order,
                per_symbol_max=execution.max_requotes_per_symbol,
            ),
            alerts=part.alerts,
            day=part.day,
            groups=GroupRules(
                unprotected_max_ms=ms(groups.unprotected_max_seconds),
                attempts_max=groups.attempts_max,
                entry_timeout_ms=ms(groups.entry_timeout_seconds),
                linked_grace_ms=ms(groups.linked_grace_seconds),
                trail_interval_ms=ms(groups.trail_interval_seconds),
            ),
            sessions=self.sessions,
            quote_age_max_ms=ms(execution.quote_age_max_seconds),
        )


def ms(seconds: Decimal) -> int:
    """Return seconds as whole milliseconds."""
    return int(seconds * 1_000)


def _check(config: Config) -> None:
    if not config.desks:
        raise ConfigError("there is no desk; add one, such as [desks.main]")
    _check_journal(config.journal.url)
    for name, account in config.accounts.items():
        _check_name(name, f"accounts.{name}")
        _check_account(account, f"accounts.{name}")
    for name in config.desks:
        _check_name(name, f"desks.{name}")
        if name.startswith(UNCLAIMED):
            raise ConfigError(
                f"desks.{name}: a name beginning with {UNCLAIMED} belongs to orders of no "
                "desk; choose another"
            )
        _check_desk(config, name)
    for symbol, terms in config.instruments.items():
        _known(terms.session, config.sessions, f"instruments.{symbol}.session", "sessions")
        _check_currency(terms.currency, f"instruments.{symbol}.currency")
        config.instrument(symbol)


def _check_desk(config: Config, name: str) -> None:
    path, desk = f"desks.{name}", config.desks[name]
    own = bool(desk.broker or desk.mode)
    if desk.account and own:
        raise ConfigError(
            f"{path} has an account and a broker or mode of its own; "
            f"give those in [accounts.{desk.account}]"
        )
    if not desk.account:
        if config.accounts and not own:
            hint = f"write account = ... ({', '.join(sorted(config.accounts))})"
            raise ConfigError(f"{path}.account is missing; {hint}")
        if name in config.accounts:
            raise ConfigError(
                f"{path} would have an account of its own, but [accounts.{name}] is another; "
                f'write account = "{name}", or rename one'
            )
    _known(desk.account, config.accounts, f"{path}.account", "accounts")
    if own:
        _check_broker(desk.broker or "paper", desk.mode or "paper", path)
    _check_policies(desk, path)
    if len(set(desk.symbols)) < len(desk.symbols):
        twice = next(each for each in desk.symbols if desk.symbols.count(each) > 1)
        raise ConfigError(f"{path}.symbols names {twice!r} twice; name it once")
    currency = config.account(config.account_of(name)).currency
    for symbol in desk.symbols:
        _known(symbol, config.instruments, f"{path}.symbols", "instruments")
        if (other := config.instruments[symbol].currency) != currency:
            raise ConfigError(
                f"{path}.symbols: {symbol} settles in {other}, but the account in {currency}; "
                "a desk has one currency"
            )
    for symbol in desk.limits.symbols:
        _known(symbol, config.instruments, f"{path}.limits.symbols", "instruments")
    for symbol in desk.execution.cancel_after_by_symbol:
        where = f"{path}.execution.cancel_after_by_symbol"
        _known(symbol, config.instruments, where, "instruments")
    try:
        zone_of(desk.day.zone)
        time_of(desk.day.start)
    except HoldfastError as error:
        raise ConfigError(f"{path}.day: {error}") from None
    config.settings_of(name)


def _pricing(part: OrderManagementPart) -> Pricing:
    offsets = Offsets(
        offset_mode=part.offset_mode,
        buy_offset=part.buy_offset,
        sell_offset=part.sell_offset,
        max_slippage_pct=part.max_slippage_pct,
    )
    strategies = {
        name: msgspec.structs.replace(
            offsets,
            **{k: v for k, v in msgspec.structs.asdict(override).items() if v is not None},
        )
        for name, override in part.strategy_overrides.items()
    }
    return Pricing(offsets=offsets, strategies=strategies)


def _anchored(config: Config, folder: Path) -> Config:
    """Return the configuration with its relative paths made absolute."""
    replace = msgspec.structs.replace
    url = config.journal.url
    if url.startswith(_SQLITE):
        url = _SQLITE + str(folder / url.removeprefix(_SQLITE))
    elif url and "://" not in url:
        url = str(folder / url)
    accounts = {}
    for name, account in config.accounts.items():
        credentials = {
            key: str(folder / value) if key.endswith("_file") else value
            for key, value in account.credentials.items()
        }
        market = account.paper.market and str(folder / account.paper.market)
        paper = replace(account.paper, market=market)
        accounts[name] = replace(account, credentials=credentials, paper=paper)
    return replace(
        config,
        journal=replace(config.journal, url=url),
        accounts=accounts,
        logs=replace(config.logs, folder=config.logs.folder and str(folder / config.logs.folder)),
    )


def _known(name: str, table: Mapping[str, object], path: str, section: str) -> None:
    if name and name not in table:
        hint = closest(name, table)
        raise ConfigError(f"{path} names {shown(name)}, but there is no [{section}.{name}]; {hint}")


def _check_name(name: str, path: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: the name becomes part of order ids; use 1 to 24 letters, digits, - and _"
        )


def _check_journal(url: str) -> None:
    if not url or url == _SQLITE:
        raise ConfigError(
            f'journal.url is {url!r}, which names no file; write "sqlite:///holdfast.db" or '
            '"memory://"'
        )
    # Nothing but its kind is shown: a URL may hold a password.
    kind, slashes, _ = url.partition("://")
    if slashes and not url.startswith(_SQLITE) and url != _MEMORY:
        raise ConfigError(
            f"journal.url begins with {kind}://, and such a journal is not known; write a path, "
            f"{_SQLITE}PATH or {_MEMORY}"
        )


def _check_currency(currency: str, path: str) -> None:
    if not _CURRENCY.fullmatch(currency):
        raise ConfigError(
            f'{path} is {shown(currency)}; write it in capitals and digits, such as "USD"'
        )


def _check_broker(broker: str, mode: Mode, path: str) -> None:
    modes = KINDS.get(broker)
    if modes is None:
        if not _FACTORY.fullmatch(broker):
            known = ", ".join(sorted(KINDS))
            raise ConfigError(
                f"{path}.broker is {shown(broker)}; known are {known}, or write "
                "package.module:factory"
            )
    elif mode not in modes:
        raise ConfigError(
            f"{path}.mode is {mode}, which broker {broker!r} does not serve; it serves "
            f"{', '.join(sorted(modes))}"
        )


def _check_policies(desk: DeskPart, path: str) -> None:
    """Refuse figures that no desk could mean."""
    pricing = _pricing(desk.order_management)
    where = f"{path}.order_management"
    _check_offsets(pricing.offsets, where)
    for name, offsets in pricing.strategies.items():
        _check_offsets(offsets, f"{where}.strategy_overrides.{name}")
    alerts, limits = desk.alerts, desk.limits
    _check_range(alerts.window_minutes, 1, _DAY_MINUTES, f"{path}.alerts.window_minutes")
    _check_range(alerts.cancel_rate_pct, 1, _PCT, f"{path}.alerts.cancel_rate_pct")
    if limits.price_collar_pct is not None:
        _check_range(limits.price_collar_pct, 0, _PCT, f"{path}.limits.price_collar_pct")
    if not limits.margin_rate:
        raise ConfigError(
            f"{path}.limits.margin_rate is 0, with which orders cost nothing; give it above 0, or "
            "leave capital out and set buying_power = false"
        )


def _check_offsets(offsets: Offsets, path: str) -> None:
    if offsets.offset_mode == "bps":
        _check_range(offsets.buy_offset, 0, _BPS - 1, f"{path}.buy_offset in bps")
        _check_range(offsets.sell_offset, 0, _BPS - 1, f"{path}.sell_offset in bps")


def _check_range(found: Decimal | int, least: int, most: int, path: str) -> None:
    if not least <= found <= most:
        raise ConfigError(f"{path} is {found}; it must be {least} to {most}")


def _check_account(account: AccountPart, path: str) -> None:
    _check_broker(account.broker, account.mode, path)
    _check_currency(account.currency, f"{path}.currency")
    check_credentials(account.credentials, f"{path}.credentials")
    check_options(account.options, f"{path}.options")


__all__ = [
    "FILE_BYTES_MAX",
    "UNCLAIMED",
    "AccountPart",
    "BreakerPart",
    "Config",
    "DeskPart",
    "ExecutionPart",
    "GroupsPart",
    "InstrumentPart",
    "JournalPart",
    "LogsPart",
    "Mode",
    "OrderManagementPart",
    "OverridePart",
    "PaperPart",
    "RatePart",
    "ServicePart",
    "ms",
]
