"""What may stand in a configuration: one Struct per table, with the defaults of a program that
trades from a file; a desk made in code has the defaults of `holdfast.domain.policies`.

Names of keys are for ever: people have them in files. Seconds may be fractions, amounts may be
written as numbers or as texts; both are read exactly.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Struct

from holdfast.domain.policies import AlertRules, DayRules, Limits
from holdfast.shape import Between

_YEAR: Final = Decimal(366 * 86_400)
_MS: Final = Decimal("0.001")
_MILLION: Final = Decimal(1_000_000)
Seconds: TypeAlias = Annotated[Decimal, Between(least=Decimal(0), most=_YEAR, step=_MS)]
SecondsOrOff: TypeAlias = Annotated[Decimal, Between(least=-_YEAR, most=_YEAR, step=_MS)]
AboveZero: TypeAlias = Annotated[Decimal, Between(least=_MS, most=_YEAR, step=_MS)]
# More often than ten times a second nobody is asked.
Pause: TypeAlias = Annotated[Decimal, Between(least=Decimal("0.1"), most=_YEAR, step=_MS)]
Percent: TypeAlias = Annotated[Decimal, Between(most=Decimal(100))]
Count: TypeAlias = Annotated[int, Between(most=_MILLION)]
Milliseconds: TypeAlias = Annotated[int, Between(most=Decimal(60_000))]
Port: TypeAlias = Annotated[int, Between(most=Decimal(65_535))]
Mode: TypeAlias = Literal["dry_run", "paper", "live"]
# The kinds of broker that are Holdfast's own, and the modes that each serves.
KINDS: Final[Mapping[str, frozenset[str]]] = {"paper": frozenset({"dry_run", "paper"})}
OffsetMode: TypeAlias = Literal["bps", "absolute"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the configuration."""


class JournalPart(Section, frozen=True, kw_only=True):
    """Where the journal is: a file, `sqlite:///PATH` or `memory://`.

    Raw broker replies are kept `raw_days` (0: for ever), and a desk keeps a snapshot of itself
    every `snapshot_every` records.
    """

    url: str = "sqlite:///holdfast.db"
    raw_days: Count = 30
    snapshot_every: Annotated[int, Between(least=Decimal(1))] = 20_000


class RatePart(Section, frozen=True, kw_only=True):
    """How many requests a broker account takes; off without `requests_per_second`."""

    requests_per_second: Annotated[Decimal, Between(least=_MS, most=_MILLION)] | None = None
    burst: Annotated[int, Between(least=Decimal(1), most=_MILLION)] = 10


class PaperPart(Section, frozen=True, kw_only=True):
    """The simulated venue behind a paper account.

    `cash` is what the account begins with; without it nothing is refused for lack of money.
    `market` is a file of recorded prices, played `speed` times as fast as it was recorded.
    """

    cash: Decimal | None = None
    market: str = ""
    speed: Annotated[int, Between(least=Decimal(1), most=Decimal(10_000))] = 1
    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    seed: int = 1
    maker_fee_bps: Decimal = Decimal(0)
    taker_fee_bps: Decimal = Decimal(0)


class AccountPart(Section, frozen=True, kw_only=True):
    """A broker account.

    `broker` is a kind that Holdfast knows, or `package.module:factory` of your own. `credentials`
    are names: `api_key_env = "NAME"` of an environment variable, `api_key_file = "PATH"` of a
    file. `options` are handed to a factory of your own as they are. What the broker told of the
    account as a whole is asked anew once it is `account_ttl_seconds` old.
    """

    broker: str = "paper"
    mode: Mode = "paper"
    currency: str = "USD"
    poll_interval_seconds: Pause | None = None
    account_ttl_seconds: Seconds = Decimal(5)
    credentials: dict[str, str] = {}
    rate: RatePart = RatePart()
    paper: PaperPart = PaperPart()
    options: dict[str, Any] = {}


class ExecutionPart(Section, frozen=True, kw_only=True):
    """How orders are sent, repeated, cancelled for their age and re-quoted."""

    cancel_after_seconds: SecondsOrOff = Decimal(60)
    post_only_ttl_seconds: SecondsOrOff = Decimal(15)
    cancel_after_by_symbol: dict[str, SecondsOrOff] = {}
    cancel_after_by_strategy: dict[str, SecondsOrOff] = {}
    sweep_seconds: AboveZero = Decimal(1)
    abandon_after_seconds: Seconds = Decimal(30)
    max_retries: Count = 3
    max_resends: Count = 2
    retry_first_seconds: Seconds = Decimal("0.5")
    retry_max_seconds: Seconds = Decimal(60)
    ack_wait_seconds: AboveZero = Decimal(5)
    send_wait_seconds: AboveZero = Decimal(30)
    absence_grace_seconds: Seconds = Decimal(10)
    quiet_seconds: Seconds = Decimal(5)
    inferred_grace_seconds: Seconds = Decimal(2)
    quote_age_max_seconds: Seconds = Decimal(5)
    finished_orders_max: Count = 10_000
    requote_interval_seconds: Seconds = Decimal(1)
    requote_minimum_ticks: Count = 1
    max_requotes_per_order: Count = 10
    max_requotes_per_symbol: Count = 100


class OverridePart(Section, frozen=True, kw_only=True):
    """Offsets of one strategy; what it leaves out is as for the desk."""

    offset_mode: OffsetMode | None = None
    buy_offset: Decimal | None = None
    sell_offset: Decimal | None = None
    max_slippage_pct: Percent | None = None


class OrderManagementPart(Section, frozen=True, kw_only=True):
    """How far from a reference limit prices lie, and how often the account is asked."""

    offset_mode: OffsetMode = "bps"
    buy_offset: Decimal = Decimal(15)
    sell_offset: Decimal = Decimal(10)
    max_slippage_pct: Percent = Decimal("0.5")
    poll_interval_seconds: Pause = Decimal(15)
    strategy_overrides: dict[str, OverridePart] = {}


class BreakerPart(Section, frozen=True, kw_only=True):
    """When entries are refused after failures, and for how long."""

    failures_max: int = 10
    insufficient_funds: bool = True
    open_seconds: Seconds = Decimal(60)
    open_max_seconds: Seconds = Decimal(3_600)


class GroupsPart(Section, frozen=True, kw_only=True):
    """How brackets and what else protects a position are seen to; see `GroupRules`.

    What an entry filled is covered within `unprotected_max_seconds` or flattened; `attempts_max`
    failures of its stop in a row flatten it at once. An entry that names no time of its own is
    cancelled after `entry_timeout_seconds`, 0 for never.
    """

    unprotected_max_seconds: AboveZero = Decimal(10)
    attempts_max: Annotated[int, Between(least=Decimal(1), most=_MILLION)] = 3
    entry_timeout_seconds: Seconds = Decimal(60)
    linked_grace_seconds: Seconds = Decimal(5)
    trail_interval_seconds: Seconds = Decimal(1)


class DeskPart(Section, frozen=True, kw_only=True):
    """A desk: a team's orders, positions and limits, on an account that others may share.

    `broker` and `mode` in place of `account` give it an account of its own, with the defaults for
    the rest. `symbols` are the instruments that it trades; none named: all in its account's
    currency.
    """

    account: str = ""
    broker: str = ""
    mode: Mode | None = None
    symbols: tuple[str, ...] = ()
    profile: Literal["full", "limit_only"] = "full"
    execution: ExecutionPart = ExecutionPart()
    order_management: OrderManagementPart = OrderManagementPart()
    limits: Limits = Limits()
    breaker: BreakerPart = BreakerPart()
    groups: GroupsPart = GroupsPart()
    alerts: AlertRules = AlertRules()
    day: DayRules = DayRules()


class InstrumentPart(Section, frozen=True, kw_only=True):
    """What is traded: the steps of its price and quantity, and what a unit is worth."""

    tick: Decimal = Decimal("0.01")
    lot: Decimal = Decimal(1)
    minimum_notional: Decimal = Decimal(0)
    currency: str = "USD"
    multiplier: Decimal = Decimal(1)
    base: str = ""
    session: str = ""


class ServicePart(Section, frozen=True, kw_only=True):
    """Where the service listens."""

    host: str = "127.0.0.1"
    port: Port = 8321


class LogsPart(Section, frozen=True, kw_only=True):
    """Where the JSONL files go (none without a folder), and how much is logged."""

    folder: str = ""
    level: Literal["debug", "info", "warning", "error"] = "info"
