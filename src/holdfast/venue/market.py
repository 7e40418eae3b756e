"""A simulated market: quotes and trades of an anonymous crowd around a price that wanders.

All of it follows from the seed and the number of steps. Each step moves the middle by at most a
tick, puts an order on every price within `depth` ticks of it that has none, takes away those
further out, and now and then lets somebody take. Whoever stands in the way trades, so stops are
reached and resting orders fill.
"""

from typing import Final

from msgspec import Struct

from holdfast.errors import InputError
from holdfast.venue.crowd import Crowd
from holdfast.venue.paper import Venue
from holdfast.venue.seeded import Seeded

# A crowd order moves out of the depth within as many steps as the depth has ticks, and each step
# adds two per price at most: the book stays bounded.
_DEPTH_MAX: Final = 1_000


class MarketShape(Struct, frozen=True, kw_only=True):
    """How a simulated market behaves; prices in ticks, sizes in lots.

    `spread` is the distance of the best prices from the middle, `depth` how far orders are put,
    `lots_max` the largest order. In each step the middle moves with the chance `moves`, and
    somebody takes with the chance `takes`.
    """

    spread: int = 1
    depth: int = 5
    lots_max: int = 50
    moves: float = 0.5
    takes: float = 0.3

    def __post_init__(self) -> None:
        """Refuse a shape without orders in it."""
        if not 1 <= self.spread <= self.depth <= _DEPTH_MAX or self.lots_max < 1:
            raise InputError(
                f"spread {self.spread}, depth {self.depth}, lots {self.lots_max}; they must be 1 "
                f"or more, the depth at least the spread and at most {_DEPTH_MAX}"
            )


class SimulatedMarket:
    """The crowd of one listed symbol, alive. `middle` is where its price is, in ticks."""

    def __init__(
        self,
        venue: Venue,
        symbol: str,
        *,
        middle: int,
        seed: int = 0,
        shape: MarketShape | None = None,
    ) -> None:
        """Put the first orders around `middle` ticks; raises UnknownSymbolError if not listed."""
        self.middle = middle
        self._venue = venue
        self._crowd: Crowd = venue.crowd(symbol)
        self._shape = shape or MarketShape()
        self._draws = Seeded(seed)
        self._orders = 0
        self._resting: dict[str, tuple[int, int]] = {}  # key -> (sign, ticks)
        self._quote()

    def step(self, now_ns: int) -> None:
        """Let the market live for one step at the given time; a halted one stands still."""
        self._venue.advance(now_ns)
        if self._crowd.halted:
            return
        shape, draws = self._shape, self._draws
        if draws.chance(shape.moves):
            self.move(1 if draws.bits() & 1 else -1)
        if draws.chance(shape.takes):
            self.take(1 if draws.bits() & 1 else -1, draws.between(1, shape.lots_max))
        self._quote()

    def move(self, ticks: int) -> None:
        """Move the middle, at most down to where all prices are still above zero, and requote."""
        self.middle = max(self._shape.depth + 1, self.middle + ticks)
        for key, (sign, price) in self._resting.items():
            away = sign * (self.middle - price)
            if key in self._crowd and not self._shape.spread <= away <= self._shape.depth:
                self._crowd.cancel(key)
        self._quote()

    def take(self, sign: int, lots: int) -> None:
        """Let somebody buy (+1) or sell (-1) at what the book offers, within the depth."""
        self._crowd.take(sign, lots, self.middle + sign * self._shape.depth)

    def _quote(self) -> None:
        """Put an order on every price of the depth at which none of the crowd's is left."""
        resting = {key: at for key, at in self._resting.items() if key in self._crowd}
        taken = set(resting.values())
        for distance in range(self._shape.spread, self._shape.depth + 1):
            for sign in (1, -1):
                place = (sign, self.middle - sign * distance)
                if place not in taken:
                    self._orders += 1
                    key = f"crowd-{self._orders}"
                    if self._crowd.place(key, *place, self._draws.between(1, self._shape.lots_max)):
                        resting[key] = place
        self._resting = resting
