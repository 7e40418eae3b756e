"""Somebody who trades brackets in one symbol: places them, moves their exits, closes some early.

All that the trader does follows from a seed, from what the market shows and from what became of
earlier brackets. Brackets come in rows to one side; the next row is to the other side, and begins
once nothing of the last one is left, because a group that opposes another one is refused.
"""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from holdfast.clock import NS_PER_S
from holdfast.domain.group import STOP, TARGET, Phase
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import TERMINAL, Side
from holdfast.engine.group_views import GroupView
from holdfast.errors import HoldfastError
from holdfast.venue.paper import TopOfBook
from holdfast.venue.seeded import Seeded
from holdfast.wiring import OrderManager

_WHO: Final = "trader"
# How far an entry is from the best price of its own side, in ticks; -1 is beyond it, towards the
# other side, and None an entry at the market.
_ENTRIES: Final = (None, -1, 0, 0, 1, 3)
_HELD: Final = frozenset({Phase.PROTECTING, Phase.PROTECTED})


class Habits(Struct, frozen=True, kw_only=True):
    """How somebody trades; distances in ticks, quantities in units.

    A bracket is closed after `hold_s` seconds if nothing else has ended it. In each beat an open
    one is moved with the chance `moves`, and a part of the position closed with `closes`.
    """

    row_max: int = 8
    quantity_max: int = 5
    ticks_least: int = 2
    ticks_most: int = 8
    entry_timeout_s: float = 8.0
    hold_s: int = 90
    moves: float = 0.15
    closes: float = 0.05


class Trader:
    """Trades one symbol through a manager; `did` counts what was asked for and what was refused."""

    def __init__(
        self,
        manager: OrderManager,
        look: Callable[[], TopOfBook],
        instrument: Instrument,
        *,
        seed: int,
        habits: Habits,
    ) -> None:
        """Begin with no bracket; `look` shows the best prices of the market."""
        self.did: Counter[str] = Counter()
        self._manager, self._look, self._instrument = manager, look, instrument
        self._draws, self._habits = Seeded(seed), habits
        self._side, self._left = Side.SELL, 0

    async def beat(self, now_ns: int) -> None:
        """Look after what is open, then place a bracket where one is due."""
        top = self._look()
        if top.bid is None or top.ask is None:
            return
        groups = await self._manager.groups(symbol=self._instrument.symbol, closed=False)
        for group in groups:
            await self._tend(group, now_ns)
        if any(group.phase in _HELD for group in groups) and self._chance(self._habits.closes):
            await self._close_part()
        if not self._left:
            if groups:
                return
            self._side = self._side.opposite
            self._left = self._draws.between(1, self._habits.row_max)
        self._left -= 1
        await self._place(top.bid, top.ask)

    async def leave(self) -> None:
        """Close every group, whatever it holds."""
        for group in await self._manager.groups(symbol=self._instrument.symbol, closed=False):
            await self._try("leave", self._manager.close_group(group.group, by=_WHO, reason="end"))

    async def _place(self, bid: Decimal, ask: Decimal) -> None:
        habits, tick, draws = self._habits, self._instrument.tick, self._draws
        sign = 1 if self._side is Side.BUY else -1
        away = _ENTRIES[draws.below(len(_ENTRIES))]
        own, other = (bid, ask) if sign > 0 else (ask, bid)
        entry = other if away is None else own - sign * away * tick
        stop, target = (
            draws.between(habits.ticks_least, habits.ticks_most) * tick for _ in (STOP, TARGET)
        )
        done = await self._try(
            "brackets",
            self._manager.place_bracket_order(
                self._instrument.symbol,
                self._side,
                draws.between(1, habits.quantity_max),
                entry_price=None if away is None else entry,
                stop_loss_price=entry - sign * stop,
                take_profit_price=entry + sign * target,
                entry_timeout=habits.entry_timeout_s,
            ),
        )
        if done:
            self.did["at the market" if away is None else "at a price"] += 1

    async def _tend(self, group: GroupView, now_ns: int) -> None:
        """Close a bracket that is open for long, or move one of its exits by a tick."""
        if group.phase not in _HELD:
            return
        if now_ns - group.opened_ns > self._habits.hold_s * NS_PER_S:
            close = self._manager.close_group(group.group, by=_WHO, reason="it takes too long")
            await self._try("closed early", close)
        elif self._chance(self._habits.moves):
            await self._move(group)

    async def _move(self, group: GroupView) -> None:
        """Move the stop towards the market, or the target away from it."""
        role = STOP if self._chance(0.5) else TARGET
        legs = [leg for leg in group.of(role) if leg.status not in TERMINAL]
        if not legs:
            return
        leg = legs[-1]
        step = self._instrument.tick if group.side is Side.BUY else -self._instrument.tick
        price = leg.stop_price if role == STOP else leg.limit_price
        if price is not None:
            terms: dict[str, Any] = {
                "stop_price" if role == STOP else "limit_price": price + step,
            }
            replace = self._manager.replace_order(leg.client_order_id, **terms)
            await self._try(f"{role} moved", replace)

    async def _close_part(self) -> None:
        part = self._manager.close_position(
            self._instrument.symbol, quantity=1, by=_WHO, reason="less of it"
        )
        await self._try("closed in part", part)

    async def _try(self, what: str, asked: Any) -> bool:
        """Ask for something; that it comes too late, or is not to be had, is part of trading."""
        try:
            await asked
        except HoldfastError as error:
            self.did[f"refused: {what}: {error.code}"] += 1
            return False
        self.did[what] += 1
        return True

    def _chance(self, chance: float) -> bool:
        return self._draws.chance(chance)
