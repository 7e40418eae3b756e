"""The strategy of the demonstration: it quotes around the best prices and cancels what got old.

It knows the order manager alone. What it decides about its n-th order follows from the seed and n,
and n is the number of orders that the desk has, so that it goes on after a restart where it was.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_MS, Clock
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import ONE, ZERO, Side, add, mul
from holdfast.engine.manager import Manager
from holdfast.engine.views import OrderView
from holdfast.errors import Busy, OrderError
from holdfast.venue.paper import TopOfBook
from holdfast.venue.seeded import Seeded, draw

# Orders at work at once, those that are being cancelled not counted.
WORKING_MAX: Final = 8
LOTS_MAX: Final = 12
# From this position on it only trades the other way.
POSITION_MAX: Final = 60
# A cancel that was refused is not repeated sooner.
ASK_AGAIN_NS: Final = 500 * NS_PER_MS
# How many ticks an order stands away from its own side's best price; below zero it crosses.
_NEAREST_TICKS: Final = -2
_FURTHEST_TICKS: Final = 3


class Choice(Struct, frozen=True, kw_only=True):
    """What was drawn for one order; `rest_ms` is when it is cancelled, if it still works then."""

    side: Side
    lots: int
    away_ticks: int
    rest_ms: int


def choose(seed: int, number: int, rest_ms: tuple[int, int]) -> Choice:
    """Draw the `number`-th order."""
    draws = Seeded(draw(seed, "order", number))
    return Choice(
        side=Side.BUY if draws.bits() & 1 else Side.SELL,
        lots=draws.between(1, LOTS_MAX),
        away_ticks=draws.between(_NEAREST_TICKS, _FURTHEST_TICKS),
        rest_ms=draws.between(*rest_ms),
    )


class Quoter:
    """Places and cancels limit orders, one look at a time."""

    def __init__(
        self,
        manager: Manager,
        quote: Callable[[], TopOfBook | None],
        *,
        instrument: Instrument,
        seed: int,
        rest_ms: tuple[int, int],
        clock: Clock,
    ) -> None:
        """Trade `instrument` at the prices that `quote` gives."""
        self._manager = manager
        self._quote = quote
        self._instrument = instrument
        self._seed = seed
        self._rest_ms = rest_ms
        self._clock = clock
        self._asked_ns: dict[int, int] = {}  # when each order was last asked to end

    async def beat(self) -> None:
        """Cancel what is old, then place one order if there is room for it."""
        orders = await self._manager.orders(finished=False)
        for order in orders:
            if self._is_old(order):
                await self._cancel(order)
        if sum("cancel" not in order.pending for order in orders) < WORKING_MAX:
            await self._place()

    async def cancel_all(self) -> bool:
        """Cancel whatever is at work; True once nothing is."""
        orders = await self._manager.orders(finished=False)
        for order in orders:
            await self._cancel(order)
        return not orders

    async def _cancel(self, order: OrderView) -> None:
        """Ask for an order's end, unless that was asked a moment ago."""
        now_ns = self._clock.wall_ns()
        asked_ns = self._asked_ns.get(order.number, 0)
        if "cancel" in order.pending or now_ns - asked_ns < ASK_AGAIN_NS:
            return
        self._asked_ns[order.number] = now_ns
        try:
            await self._manager.cancel_order(order.client_order_id, by="demo")
        except (OrderError, Busy):
            return  # it has just ended, or the next look tries again

    async def _place(self) -> None:
        quote = self._quote()
        if quote is None or quote.bid is None or quote.ask is None:
            return
        number = (await self._manager.statistics())["desk"]["orders_total"]
        assert isinstance(number, int)
        choice = choose(self._seed, number + 1, self._rest_ms)
        side = await self._reducing_side() or choice.side
        best, step = (quote.bid, -1) if side is Side.BUY else (quote.ask, 1)
        away = mul(self._instrument.tick, Decimal(step * choice.away_ticks))
        try:
            await self._manager.place_limit_order(
                self._instrument.symbol,
                side,
                mul(self._instrument.lot, Decimal(choice.lots)),
                add(best, away),
                client_order_id=f"demo-{number + 1}",
                strategy="quoter",
            )
        except (OrderError, Busy):
            return

    async def _reducing_side(self) -> Side | None:
        """Return the side that brings a large position back, else None."""
        positions = await self._manager.positions()
        held = positions.get(self._instrument.symbol)
        quantity = held.quantity if held is not None else ZERO
        if abs(quantity) < mul(self._instrument.lot, POSITION_MAX * ONE):
            return None
        return Side.SELL if quantity > 0 else Side.BUY

    def _is_old(self, order: OrderView) -> bool:
        rest_ms = choose(self._seed, order.number, self._rest_ms).rest_ms
        return self._clock.wall_ns() - order.created_ns > rest_ms * NS_PER_MS
