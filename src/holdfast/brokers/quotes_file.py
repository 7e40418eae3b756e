"""Recorded quotes, told at the pace at which they were recorded, or at a multiple of it."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final

from holdfast.brokers.paper import Delays, RealDelays
from holdfast.domain.quotes import Quote
from holdfast.errors import InputError
from holdfast.venue.feeds import binance

# Rows told without a pause before others get their turn, when the recording lags behind.
ROWS_AT_ONCE_MAX: Final = 1_000


class RecordedQuotes:
    """A source of quotes over a file of Binance best bids and offers; see `holdfast.ports.Quotes`.

    The clock of the recorder is followed from the first row on. After the last row nothing more
    comes, and the last quote grows old. Watched anew after an interruption, it goes on where time
    has got to. `rows` counts what was told.

    Args:
        path: the CSV file, plain or gzip.
        symbol: whose quotes these are; the file does not say.
        speed: how many recorded seconds pass in one.
        delays: time and waiting; None for real time.

    Raises:
        TapeError: the file cannot be read, or its first row is no quote.
        InputError: the speed is not above zero.
    """

    def __init__(
        self,
        path: str | Path,
        symbol: str,
        *,
        speed: Decimal | int | str = 1,
        delays: Delays | None = None,
    ) -> None:
        self._path, self._symbol = Path(path), symbol
        self._speed = _speed(speed)
        self._delays = delays or RealDelays()
        with closing(binance.quotes(self._path, symbol=symbol)) as rows:
            first = next(rows, None)
        if first is None:
            raise InputError(f"{path} has no quote in it; give a recording that has rows")
        self._first_ns = first.at_ns
        self._began_ns: int | None = None
        self.rows = 0

    async def watch(self, on_quote: Callable[[Quote], None]) -> None:
        """Deliver quotes until cancelled; raises TapeError at a row that is none."""
        if self._began_ns is None:
            self._began_ns = self._delays.now_ns()
        with closing(binance.quotes(self._path, symbol=self._symbol)) as rows:
            for number, row in enumerate(rows, 1):
                if number <= self.rows:
                    continue
                due_ns = self._began_ns + int((row.at_ns - self._first_ns) / self._speed)
                wait_ns = due_ns - self._delays.now_ns()
                if wait_ns > 0 or not number % ROWS_AT_ONCE_MAX:
                    await self._delays.sleep(max(wait_ns, 0))
                self.rows = number
                on_quote(Quote(symbol=self._symbol, bid=row.bid, ask=row.ask))
        await asyncio.get_running_loop().create_future()


def _speed(given: Decimal | int | str) -> Decimal:
    try:
        speed = Decimal(given)
    except ArithmeticError:
        speed = Decimal(0)
    if not speed.is_finite() or speed <= 0:
        raise InputError(f"speed is {given!r}; give a number above zero, such as 10")
    return speed
