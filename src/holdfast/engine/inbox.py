"""What waits for the runner: two lanes, each with its bound.

First go the broker's words, cancels and exits; entries and the rest wait behind them. A full lane
refuses commands. Reports are never dropped one by one: past their bound all of them are dropped
at once, and whoever owns the stream is told to ask for everything anew.
Of quotes only the latest of each symbol waits: they are one input, however many came.
"""

from asyncio import Future
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from holdfast.domain.inputs import (
    Cancel,
    CancelAll,
    CancelPositionOrders,
    CloseGroup,
    ClosePosition,
    Command,
    EngageKillSwitch,
    Flatten,
    Input,
    ManageOrders,
    PlaceBracket,
    PlaceOco,
    Protect,
    Quoted,
    Replace,
    Reported,
    StopFlatten,
    Submit,
)
from holdfast.domain.quotes import Quote
from holdfast.errors import Busy

# Entries: half a second of the fastest desk; a caller that is told Busy may repeat the call.
ENTRIES_MAX: Final = 10_000
# Cancels and exits have a bound of their own, so that entries cannot keep them out.
EXITS_MAX: Final = 10_000
# Reports: a few seconds of the busiest stream; past it a poll is cheaper than the backlog.
REPORTS_MAX: Final = 50_000

Waiter: TypeAlias = "Future[Any] | None"
Entry: TypeAlias = tuple[Input, Waiter]


_EXITS: Final = (
    Cancel, CancelAll, EngageKillSwitch, Flatten, StopFlatten, ManageOrders, PlaceOco, Protect,
    ClosePosition, CancelPositionOrders, CloseGroup,
)  # fmt: skip


def adds_risk(command: Input) -> bool:
    """Tell whether a command may add to what is held, by what the caller says of it."""
    if isinstance(command, Submit):
        return not command.request.reduce_only
    return isinstance(command, Replace | PlaceBracket)


def is_exit(command: Input) -> bool:
    """Tell whether a command takes risk off, by what the caller says of it."""
    if isinstance(command, Submit):
        return command.request.reduce_only
    return isinstance(command, _EXITS)


class Inbox:
    """Two lanes of inputs with the futures of those who wait for them."""

    def __init__(
        self,
        *,
        entries_max: int = ENTRIES_MAX,
        exits_max: int = EXITS_MAX,
        reports_max: int = REPORTS_MAX,
    ) -> None:
        self._first: deque[Entry] = deque()
        self._second: deque[Entry] = deque()
        self._quotes: dict[str, Quote] = {}
        self._entries_max = entries_max
        self._exits_max = exits_max
        self._reports_max = reports_max
        self._exits = 0
        self._reports = 0
        self.cuts = 0
        self.reports_cut = 0
        self.refused = 0

    def __len__(self) -> int:
        """Count what waits in both lanes, and the quotes as one."""
        return len(self._first) + len(self._second) + bool(self._quotes)

    def command(self, command: Input, waiter: Waiter) -> None:
        """Take a caller's command.

        Raises:
            Busy: as many wait as may wait; nothing was taken.
        """
        if is_exit(command):
            if self._exits >= self._exits_max:
                self._refuse("cancels and exits", self._exits)
            self._exits += 1
            self._first.append((command, waiter))
            return
        if len(self._second) >= self._entries_max:
            self._refuse("commands", len(self._second))
        self._second.append((command, waiter))

    def word(self, said: Input, waiter: Waiter = None) -> None:
        """Take an answer of the link, or one of its polls; their number is bounded by the link."""
        self._first.append((said, waiter))

    def report(self, report: Reported) -> bool:
        """Take a report of the stream; False where it and all that waited had to be dropped."""
        if self._reports >= self._reports_max:
            self._cut()
            return False
        self._reports += 1
        self._first.append((report, None))
        return True

    def quote(self, quote: Quote) -> None:
        """Take the newest quote of a symbol in the place of the one that waits."""
        self._quotes[quote.symbol] = quote

    def quoted(self) -> list[Entry]:
        """Take out all quotes that wait, as one input; nothing where there are none."""
        if not self._quotes:
            return []
        quotes, self._quotes = tuple(self._quotes.values()), {}
        return [(Quoted(quotes), None)]

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Put inputs that were taken out in front again, in their order.

        Quotes are not: by then there may be newer ones, and a desk folded anew gets all of them.
        """
        for entry in reversed(list(entries)):
            if type(entry[0]) is Quoted:
                continue
            self._count(entry[0], 1)
            self._first.appendleft(entry)

    def pop(self) -> Entry | None:
        """Take the next input out; None if there is none."""
        if self._first:
            entry = self._first.popleft()
            self._count(entry[0], -1)
            return entry
        if self._second:
            return self._second.popleft()
        return None

    def words(self) -> list[Input]:
        """Return what the broker said and nobody took out yet."""
        return [given for given, _ in self._first if not isinstance(given, Command)]

    def drain(self) -> list[Entry]:
        """Take everything out, first lane first."""
        entries = [*self._first, *self._second]
        self._first.clear()
        self._second.clear()
        self._exits = self._reports = 0
        return entries

    def _count(self, taken: Input, by: int) -> None:
        if type(taken) is Reported:
            self._reports += by
        elif is_exit(taken):
            self._exits += by

    def _cut(self) -> None:
        self.cuts += 1
        self.reports_cut += self._reports + 1
        self._first = deque(entry for entry in self._first if type(entry[0]) is not Reported)
        self._reports = 0

    def _refuse(self, what: str, waiting: int) -> None:
        self.refused += 1
        raise Busy(
            f"{waiting} {what} wait for this desk, as many as may; "
            "nothing was recorded: slow down and repeat the same call"
        )
