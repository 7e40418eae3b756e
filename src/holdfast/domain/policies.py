"""What a desk's policies are given: every choice with its default, its unit last in its name.

Nothing here is needed to fold a journal: what a policy decided stands in the events. The keys of
the configuration file are in `holdfast.config`, with the defaults that a program run from a file
gets; these are the defaults of a desk made in code.
"""

from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import Struct

from holdfast.domain.sessions import Session
from holdfast.errors import InputError

# Rates are remembered by the minute for so long.
WINDOW_MINUTES_MAX: Final = 60


def bounded(rules: object, least: int, *names: str, most: int | None = None) -> None:
    """Refuse values under which a desk would wake without end, or never.

    Raises:
        InputError: one of the named fields is no whole number from `least` to `most`.
    """
    for name in names:
        value = getattr(rules, name)
        too_much = most is not None and isinstance(value, int) and value > most
        if not isinstance(value, int) or value < least or too_much:
            bound = f"{least} or more" if most is None else f"{least} to {most}"
            raise InputError(f"{name} is {value!r}; give a whole number, {bound}")


class Offsets(Struct, frozen=True, gc=False, kw_only=True):
    """How far from a reference a limit price lies.

    `bps` are hundredths of a percent of the reference, `absolute` is quote currency per unit.
    `max_slippage_pct` bounds the distance from the reference in percent of it.
    """

    offset_mode: Literal["bps", "absolute"] = "bps"
    buy_offset: Decimal = Decimal(15)
    sell_offset: Decimal = Decimal(10)
    max_slippage_pct: Decimal = Decimal("0.5")


class Pricing(Struct, frozen=True, kw_only=True):
    """The offsets of a desk, and of those of its strategies that have their own."""

    offsets: Offsets = Offsets()
    strategies: dict[str, Offsets] = {}

    def of(self, strategy: str) -> Offsets:
        """Return a strategy's offsets; the desk's where it has none of its own."""
        return self.strategies.get(strategy, self.offsets)


class SymbolLimits(Struct, frozen=True, gc=False, kw_only=True):
    """Limits of one symbol; None falls back to the desk's."""

    order_quantity_max: Decimal | None = None
    order_notional_max: Decimal | None = None
    position_max: Decimal | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """What an entry is measured against before it is sent; None switches a limit off.

    Money is in the desk's currency. `capital` is the desk's own purse: realised profit is added,
    fees, the cost of what is held and what open entries could cost are taken off.
    `buying_power` compares with the account's own figure where the broker tells one.
    `margin_rate` is the share of an order's value that it reserves of either.
    `price_collar_pct` is how far past the latest price an order may reach, on the side that hurts.
    `look_alike` returns the pending order of the same symbol, side and price; None leaves it to
    the profile.
    """

    order_quantity_max: Decimal | None = None
    order_notional_max: Decimal | None = None
    position_max: Decimal | None = None
    gross_exposure_max: Decimal | None = None
    open_orders_max: int | None = 10_000
    orders_per_minute_max: int | None = None
    orders_per_day_max: int | None = None
    price_collar_pct: Decimal | None = Decimal(10)
    daily_loss_max: Decimal | None = None
    capital: Decimal | None = None
    buying_power: bool = True
    margin_rate: Decimal = Decimal(1)
    self_cross: bool = True
    look_alike: bool | None = None
    symbols: dict[str, SymbolLimits] = {}

    @classmethod
    def none(cls) -> "Limits":
        """Return limits that refuse nothing, for replaying what others did."""
        return cls(
            open_orders_max=None, price_collar_pct=None, buying_power=False, self_cross=False
        )


class BreakerRules(Struct, frozen=True, gc=False, kw_only=True):
    """When the breaker opens, and for how long entries then stay refused.

    `failures_max` consecutive calls without a usable answer open it (0: never), as does a
    refusal for insufficient funds. After `open_ms` one entry may try; `open_ms` doubles up to
    `open_max_ms` each time that one fails.
    """

    failures_max: int = 10
    insufficient_funds: bool = True
    open_ms: int = 60_000
    open_max_ms: int = 3_600_000

    def __post_init__(self) -> None:
        """Refuse a breaker that would open for no time."""
        bounded(self, 0, "failures_max")
        bounded(self, 1, "open_ms", "open_max_ms")


class StaleRules(Struct, frozen=True, kw_only=True):
    """When an entry has waited long enough; 0 or less switches it off.

    The time of a strategy goes before that of a symbol, before that of post-only orders, before
    the desk's; 0 in `post_only_ms` leaves those to the desk's. `abandon_after_ms` is how long a
    cancel may stay unconfirmed before the order no longer occupies its strategy; it stays exposure
    and is cancelled again and again.
    """

    after_ms: int = 0
    post_only_ms: int = 0
    symbols: dict[str, int] = {}
    strategies: dict[str, int] = {}
    sweep_every_ms: int = 1_000
    abandon_after_ms: int = 30_000

    def __post_init__(self) -> None:
        """Refuse to look all the time."""
        bounded(self, 1, "sweep_every_ms")


class RequoteRules(Struct, frozen=True, gc=False, kw_only=True):
    """How a pegged order follows its price.

    It moves when that is worth at least `minimum_ticks`, no sooner than `interval_ms` after the
    last time, at most `per_order_max` times and `per_symbol_max` times a day.
    """

    interval_ms: int = 1_000
    minimum_ticks: int = 1
    per_order_max: int = 10
    per_symbol_max: int = 100

    def __post_init__(self) -> None:
        """Refuse what is below nothing."""
        bounded(self, 0, "interval_ms", "minimum_ticks", "per_order_max", "per_symbol_max")


class AlertRules(Struct, frozen=True, gc=False, kw_only=True):
    """When people should look: over the last `window_minutes`, at most one alert per window.

    `cancel_rate_pct` of the symbol's ended orders were cancelled, of at least `orders_min`;
    `timeouts_max` calls had no usable answer.
    """

    window_minutes: int = 5
    cancel_rate_pct: int = 80
    orders_min: int = 20
    timeouts_max: int = 5

    def __post_init__(self) -> None:
        """Refuse a window without an end to its alerts, or longer than what is remembered."""
        bounded(self, 1, "window_minutes", most=WINDOW_MINUTES_MAX)
        bounded(self, 0, "cancel_rate_pct", "orders_min", "timeouts_max")


class GroupRules(Struct, frozen=True, gc=False, kw_only=True):
    """How groups protect.

    What an entry filled is covered within `unprotected_max_ms`, of time in which the market is
    open and the broker answers, or it is flattened; also where placing its stop failed
    `attempts_max` times in a row. `entry_timeout_ms` is how long an entry may take that names no
    time of its own (0: for ever). `linked_grace_ms` is how long exits that the broker sizes may be
    of another size than is due. A stop that follows the market here moves no sooner than
    `trail_interval_ms` after the last time.
    """

    unprotected_max_ms: int = 10_000
    attempts_max: int = 3
    entry_timeout_ms: int = 60_000
    linked_grace_ms: int = 5_000
    trail_interval_ms: int = 1_000

    def __post_init__(self) -> None:
        """Refuse to protect never, or without an attempt."""
        bounded(self, 1, "unprotected_max_ms", "attempts_max")
        bounded(self, 0, "entry_timeout_ms", "linked_grace_ms", "trail_interval_ms")


class DayRules(Struct, frozen=True, gc=False, kw_only=True):
    """When a trading day begins: `start` as HH:MM in the time zone `zone`."""

    start: str = "00:00"
    zone: str = "UTC"


class Policies(Struct, frozen=True, kw_only=True):
    """All policies of a desk. `sessions` are the trading hours by their name in an instrument.

    The profile `limit_only` takes limit orders of plain upper-case tickers and nothing else,
    `exits_only` no entries: it is that of the desk for orders which no desk placed.
    """

    profile: Literal["full", "limit_only", "exits_only"] = "full"
    pricing: Pricing = Pricing()
    limits: Limits = Limits()
    breaker: BreakerRules = BreakerRules()
    stale: StaleRules = StaleRules()
    requote: RequoteRules = RequoteRules()
    alerts: AlertRules = AlertRules()
    day: DayRules = DayRules()
    groups: GroupRules = GroupRules()
    sessions: dict[str, Session] = msgspec.field(default_factory=dict)
    quote_age_max_ms: int = 5_000

    def __post_init__(self) -> None:
        """Refuse what is below nothing."""
        bounded(self, 0, "quote_age_max_ms")
