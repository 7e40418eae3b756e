"""What moves the paper venue while teams trade on it: a recorded market, or a simulated one.

A recorded one is `holdfast.brokers.recorded_market`. Without a file every listed symbol wanders by
itself, as a seed has it.
"""

from decimal import Decimal
from typing import Final, Protocol

from holdfast.brokers.paper import Delays, RealDelays
from holdfast.brokers.recorded_market import check_speed
from holdfast.clock import NS_PER_MS
from holdfast.domain.values import ONE
from holdfast.trading.demo_plan import MIDDLE_TICKS, SHAPE
from holdfast.venue.market import SimulatedMarket
from holdfast.venue.paper import Venue
from holdfast.venue.seeded import draw

_STEP_NS: Final = 50 * NS_PER_MS


class PaperMarket(Protocol):
    """A market that lives on a venue; `played` counts its records or steps so far."""

    played: int

    async def run(self) -> None:
        """Let it live until it is cancelled, or its recording ends."""
        ...


class SeededMarket:
    """Every symbol that a venue lists, its price wandering; all of it fixed by a seed."""

    def __init__(
        self, venue: Venue, *, seed: int = 1, speed: Decimal = ONE, delays: Delays | None = None
    ) -> None:
        """Quote what is listed now. Raises InputError for a speed that cannot be played."""
        self.played = 0
        self._markets = [
            SimulatedMarket(
                venue,
                instrument.symbol,
                middle=MIDDLE_TICKS,
                seed=draw(seed, "market", instrument.symbol),
                shape=SHAPE,
            )
            for instrument in venue.instruments()
        ]
        self._delays = delays or RealDelays()
        self._step_ns = int(_STEP_NS / check_speed(speed))

    async def run(self) -> None:
        """Let the market live until it is cancelled."""
        while True:
            for market in self._markets:
                market.step(self._delays.now_ns())
                self.played += 1
            await self._delays.sleep(self._step_ns)
