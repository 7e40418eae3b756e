"""How many requests an account may make, and whose turn it is: a token bucket with ranks.

Rule 1: exits and cancels go first, then protective orders, then entries, then questions. Part of
the bucket is kept for the first, so that entries at their limit do not hold up a cancel.
Rule 2: a pause that the broker asked for holds back entries and questions alone.
Rule 3: a question waits for a bounded number of entries and a bounded time, then goes before all.

Times are seconds of the loop, given by the caller; nothing here waits.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import IntEnum
from typing import Final, Protocol

from msgspec import Struct

from holdfast.errors import InputError

# No broker's pause holds back entries for longer at a time; a longer one is asked for again.
PAUSE_MAX_S: Final = 60.0
# Entries that go before a question which waits, and how long it waits behind anything.
ENTRIES_BEFORE_QUERY_MAX: Final = 8
QUERY_WAIT_MAX_S: Final = 5.0
# A rate above this bounds nothing.
RATE_MAX: Final = 1_000_000
# What is kept for exits and cancels: every so many-th token of the bucket, at least one.
_KEPT_SHARE: Final = 4
# Sums of fractions come out a little too small; nor does a timer count finer seconds.
_SLACK: Final = 1e-6


class Rank(IntEnum):
    """What goes first where not everything may go at once."""

    EXIT = 0
    PROTECTIVE = 1
    ENTRY = 2
    QUERY = 3


class RateRules(Struct, frozen=True, gc=False, kw_only=True):
    """How many requests a second an account may make; None for as many as there are.

    `burst` is how many may be made at once after a rest. With a burst of 1 nothing can be kept for
    exits: one then waits for up to a whole interval.
    """

    requests_per_second: Decimal | int | None = None
    burst: int = 10

    def __post_init__(self) -> None:
        """Refuse what would never let a request go."""
        rate = self.requests_per_second
        if rate is not None and not 0 < rate <= RATE_MAX:
            raise InputError(
                f"requests_per_second is {rate}; give a number above 0 and up to {RATE_MAX}, or "
                "none for no limit"
            )
        if self.burst < 1:
            raise InputError(f"burst is {self.burst}; give at least 1")


class Waiting(Protocol):
    """A queue of one rank, as far as turns depend on it."""

    @property
    def is_ready(self) -> bool:
        """Tell whether something waits here that could begin at once."""
        ...

    @property
    def since(self) -> float:
        """When that began to wait."""
        ...


class RateBudget:
    """A token bucket; see the module. `taken` counts the tokens that were spent."""

    def __init__(self, per_second: Decimal | int, burst: int, now: float) -> None:
        """Begin with a full bucket."""
        self._per_second, self._burst = float(per_second), float(burst)
        self.kept = min(burst - 1, max(1, burst // _KEPT_SHARE))
        self.taken = 0
        self._tokens, self._at = self._burst, now
        self._paused_until = now
        self._entries_in_a_row = 0
        self._query_at = now

    def tokens(self, now: float) -> float:
        """Return how many requests could leave now, those kept for exits included."""
        return min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_second)

    def pause(self, now: float, for_s: float) -> None:
        """Hold back entries and questions, as the broker asked for."""
        self._paused_until = max(self._paused_until, now + min(for_s, PAUSE_MAX_S))

    def paused_s(self, now: float) -> float:
        """Return for how much longer they are held back."""
        return max(0.0, self._paused_until - now)

    def next(self, waiting: Sequence[Waiting], now: float) -> Rank | None:
        """Return whose turn is next of the queues, which are in the order of their ranks."""
        paused = now < self._paused_until
        if not paused and waiting[Rank.QUERY].is_ready and self._is_overdue(waiting, now):
            return Rank.QUERY
        for rank in Rank:
            if paused and rank >= Rank.ENTRY:
                break
            if waiting[rank].is_ready:
                return rank
        return None

    def _is_overdue(self, waiting: Sequence[Waiting], now: float) -> bool:
        if self._is_late(waiting, now):
            return True
        passed_over = self._entries_in_a_row >= ENTRIES_BEFORE_QUERY_MAX
        return passed_over and not any(waiting[rank].is_ready for rank in _BEFORE_ENTRIES)

    def _is_late(self, waiting: Sequence[Waiting], now: float) -> bool:
        began = max(self._query_at, waiting[Rank.QUERY].since)
        return now - began >= QUERY_WAIT_MAX_S - _SLACK

    def wait_s(self, rank: Rank, waiting: Sequence[Waiting], now: float) -> float:
        """Return how long the next of that rank still has to wait for its token."""
        late = rank is Rank.QUERY and self._is_late(waiting, now)
        needed = 1.0 if rank is Rank.EXIT or late else 1.0 + self.kept
        lacking = needed - self.tokens(now)
        return max(lacking / self._per_second, _SLACK) if lacking > _SLACK else 0.0

    def take(self, rank: Rank, waiting: Sequence[Waiting], now: float) -> bool:
        """Spend a token for the next of that rank, if it is its turn and there is one."""
        if self.next(waiting, now) is not rank or self.wait_s(rank, waiting, now) > 0.0:
            return False
        self.spend(now)
        if rank is Rank.ENTRY:
            self._entries_in_a_row += 1
        elif rank is Rank.QUERY:
            self._entries_in_a_row, self._query_at = 0, now
        return True

    def spend(self, now: float) -> None:
        """Take a token even where there is none: for what must not wait at all."""
        self._tokens, self._at = max(self.tokens(now) - 1.0, -self._burst), now
        self.taken += 1


_BEFORE_ENTRIES: Final = (Rank.EXIT, Rank.PROTECTIVE)
