"""A team: one strategy, one desk, and the cycle in which they meet.

    market data -> strategy -> limits and execution -> stale orders -> reconciliation -> statistics

Rule 1: each step is guarded by itself. What fails in one is counted, named and told, and the next
step runs: orders are looked after even where the strategy is beyond help.
Rule 2: a strategy that fails is asked again later and later, and never given up.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.clock import Clock
from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.domain.values import ZERO, plain, rounded_add, rounded_mul, rounded_sub
from holdfast.engine.manager import Manager
from holdfast.engine.masking import masked
from holdfast.engine.reading import ORDERS_MAX
from holdfast.engine.views import PositionView
from holdfast.errors import Closed, HoldfastError
from holdfast.trading.execute import FILL_WAIT_S, TradeResult, execute_trade
from holdfast.trading.host import StrategyError, StrategyHost
from holdfast.trading.strategy import Market, Signal

_log = logging.getLogger("holdfast.trading")

STRATEGY_ERROR: Final = "STRATEGY_ERROR"
# After the n-th failure in a row a strategy is asked again 2 ** (n - 1) cycles later, at most:
BACKOFF_CYCLES_MAX: Final = 32
# How long a list of the broker's orders may take before a cycle goes on without it.
SYNC_WAIT_S: Final = 5.0
# How long the account's figure may keep a cycle waiting; mostly it is at hand.
ACCOUNT_WAIT_S: Final = 1.0

# Who is told in words what happens: (team, text).
Told: TypeAlias = Callable[[str, str], None]


class TeamPlan(Struct, frozen=True, kw_only=True):
    """How a team trades: seconds between cycles, between two reconciliations, and for a fill.

    `capital` is in the desk's currency; None where the team has no purse of its own.
    """

    name: str
    interval_s: float = 1.0
    sync_s: float = 15.0
    fill_wait_s: float = FILL_WAIT_S
    capital: Decimal | None = None
    currency: str = "USD"


class TeamFigures(Struct, kw_only=True):
    """What a team did so far. `errors` are its strategy's, `faults` those of the other steps.

    `results` counts what became of its signals, by outcome.
    """

    cycles: int = 0
    signals: int = 0
    dropped: int = 0
    errors: int = 0
    faults: int = 0
    reconciled: int = 0
    results: dict[str, int] = msgspec.field(default_factory=dict)
    last_error: str = ""


class Team:
    """Lets a strategy trade on a desk, cycle by cycle, until it is told to stop."""

    def __init__(
        self,
        manager: Manager,
        host: StrategyHost,
        plan: TeamPlan,
        *,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        told: Told | None = None,
    ) -> None:
        """Trade `instruments` (by symbol) on the manager's desk."""
        self.plan = plan
        self.figures = TeamFigures()
        self.manager = manager
        self._host = host
        self._instruments = dict(instruments)
        self._clock = clock
        self._told = told or _nobody
        self._stopping = asyncio.Event()
        self._asking: asyncio.Task[tuple[Signal, ...]] | None = None
        self._failures = 0
        self._asked_again = 0  # the cycle before which the strategy is left alone
        self._synced_s = -float("inf")
        self._marks: dict[str, Decimal] = {}

    @property
    def name(self) -> str:
        """The team's name, which is its desk's."""
        return self.plan.name

    async def run(self) -> None:
        """Go through cycles, one per interval, until `stop`; one that is missed is left out."""
        loop = asyncio.get_running_loop()
        began, nth = loop.time(), 0
        while not self._stopping.is_set():
            await self.cycle()
            nth = max(nth + 1, int((loop.time() - began) / self.plan.interval_s))
            try:
                async with asyncio.timeout_at(began + nth * self.plan.interval_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    def stop(self) -> None:
        """Take no more decisions: the strategy is asked no more, what it wants is not placed."""
        self._stopping.set()
        if self._asking is not None:
            self._asking.cancel()

    async def cycle(self) -> None:
        """Go through one cycle. Raises Closed once the manager is shut down, and nothing else."""
        self.figures.cycles += 1
        for signal in await self._decided():
            if self._stopping.is_set():
                self.figures.dropped += 1
                continue
            async with self._guarded("execute"):
                await self._execute(signal)
        async with self._guarded("manage open orders"):
            await self.manager.manage_open_orders(by=f"team {self.name}")
        async with self._guarded("reconcile"):
            await self._reconcile()

    async def market(self) -> Market:
        """Return what the strategy is shown now."""
        quotes: dict[str, Quote] = {}
        for symbol in self._instruments:
            quote = await self.manager.quote(symbol)
            if quote is not None:
                quotes[symbol] = quote
                if quote.mark is not None:
                    self._marks[symbol] = quote.mark
        positions = await self.manager.positions()
        return Market(
            team=self.name,
            cycle=self.figures.cycles,
            now_ns=self._clock.wall_ns(),
            quotes=quotes,
            positions=positions,
            orders=tuple(await self.manager.orders(finished=False)),
            groups=tuple(await self.manager.groups(closed=False, limit=ORDERS_MAX)),
            instruments=dict(self._instruments),
            cash=self._cash(positions),
            buying_power=await self._buying_power(),
        )

    async def profit(self) -> Decimal:
        """Return what was made so far, after fees, at the latest prices seen."""
        made = ZERO
        for symbol, position in (await self.manager.positions()).items():
            mark = self._marks.get(symbol, position.average_price)
            move = rounded_sub(mark, position.average_price)
            open_points = rounded_mul(move, position.quantity)
            points = rounded_add(position.realised, open_points)
            made = rounded_add(made, self._money(symbol, points))
            made = rounded_sub(made, position.fees.get(self.plan.currency, ZERO))
        return made

    async def _decided(self) -> tuple[Signal, ...]:
        """Ask the strategy, unless it failed lately; its failure is recorded and told."""
        if self._stopping.is_set() or self.figures.cycles < self._asked_again:
            return ()
        signals: tuple[Signal, ...] = ()
        async with self._guarded("ask the strategy"):
            try:
                self._asking = asyncio.create_task(self._host.decide(await self.market()))
                signals = await self._asking
            except StrategyError as error:
                await self._blame(str(error))
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    raise
            else:
                self._failures = 0
                self.figures.signals += len(signals)
            finally:
                self._asking = None
        return signals

    async def _execute(self, signal: Signal) -> None:
        result = await execute_trade(
            self.manager, signal, strategy=self.name, wait_s=self.plan.fill_wait_s
        )
        results = self.figures.results
        results[result.status] = results.get(result.status, 0) + 1
        text = describe(result)
        _log.info("team %s: %s", self.name, text)
        self._told(self.name, text)
        if result.status == "invalid":  # nobody's limit: the strategy asked for the impossible
            await self._blame(f"{result.code}: {result.error}")

    async def _blame(self, text: str) -> None:
        """Record a failure of the strategy, and leave it alone for a while."""
        text = masked(text)  # what a strategy raises may hold anything
        self.figures.errors += 1
        self.figures.last_error = text
        self._failures += 1
        pause = min(2 ** (self._failures - 1), BACKOFF_CYCLES_MAX)
        self._asked_again = self.figures.cycles + pause
        self._told(self.name, f"strategy error: {text}")
        await self.manager.raise_alert(STRATEGY_ERROR, text, strategy=self.name)

    async def _reconcile(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._synced_s < self.plan.sync_s:
            return
        self._synced_s = now_s
        await self.manager.synchronize_open_orders(timeout=SYNC_WAIT_S)
        self.figures.reconciled += 1

    async def _buying_power(self) -> Decimal | None:
        """Return the account's buying power, None where the broker does not tell it now."""
        try:
            async with asyncio.timeout(ACCOUNT_WAIT_S):
                return (await self.manager.account()).buying_power
        except (HoldfastError, TimeoutError):
            return None

    def _cash(self, positions: Mapping[str, PositionView]) -> Decimal | None:
        """Return the capital less what was paid, plus what was received, less fees."""
        if self.plan.capital is None:
            return None
        cash = self.plan.capital
        for symbol, position in positions.items():
            cash = rounded_add(cash, self._money(symbol, position.cash))
            cash = rounded_sub(cash, position.fees.get(self.plan.currency, ZERO))
        return cash

    def _money(self, symbol: str, points: Decimal) -> Decimal:
        instrument = self._instruments.get(symbol)
        return points if instrument is None else rounded_mul(points, instrument.multiplier)

    @asynccontextmanager
    async def _guarded(self, step: str) -> AsyncIterator[None]:
        """Keep what goes wrong in one step from the others."""
        try:
            yield
        except Closed:
            raise
        except HoldfastError as error:
            self._failed(step, str(error))
        except Exception as error:  # noqa: BLE001 - one step must not end the others
            _log.exception("team %s: a defect of the trading loop in %s", self.name, step)
            self._failed(step, f"{type(error).__name__}: {error}")

    def _failed(self, step: str, text: str) -> None:
        self.figures.faults += 1
        _log.warning("team %s: %s: %s", self.name, step, text)
        self._told(self.name, f"{step}: {text}")


def describe(result: TradeResult) -> str:
    """Say in one line what became of a signal."""
    signal, order, filled = result.signal, result.order, result.filled_quantity
    said = f"{signal.action} {signal.quantity} {signal.symbol}: {result.status}"
    if filled:
        said += f", {plain(filled)}"
    if order is not None and filled and order.filled_quantity == filled:
        said += f" at {plain(round(order.average_price, 8))}"
    if result.group is not None:
        said += f", group {result.group.group}"
    if result.error:
        said += f" ({result.code}: {result.error})"
    return said


def _nobody(_team: str, _text: str) -> None:
    """Tell nobody."""
