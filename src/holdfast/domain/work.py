"""What a step of the desk lends to the functions that decide, and the anomaly they all record."""

import hashlib
from decimal import Decimal
from typing import Final, Protocol

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.guard import Guard
from holdfast.domain.order import Order
from holdfast.domain.quotes import Quote
from holdfast.domain.settings import Settings

NS_PER_MS: Final = 1_000_000


class Work(Protocol):
    """What a step lends to the functions that decide: the moment, the settings, and a way out."""

    now_ns: int
    settings: Settings
    capabilities: Capabilities

    quotes: dict[str, Quote]

    @property
    def guard(self) -> Guard:
        """What the policies remember."""
        ...

    @property
    def wall_ns(self) -> int:
        """The wall time of this step, by which an order's end is meant."""
        ...

    def out(self, event: e.AnyEvent) -> None:
        """Record an event and apply it at once."""
        ...

    def lot(self, symbol: str) -> Decimal:
        """Return the smallest quantity step of a symbol."""
        ...

    def look_up(self, order: Order, reason: str) -> None:
        """Ask the broker for an order by all its ids, unless it is being asked."""
        ...


def backoff_ns(work: Work, name: str, attempt: int) -> int:
    """Return how long to wait before the next attempt: doubled each time, jittered by a hash."""
    first, most = work.settings.retry_first_ms, work.settings.retry_max_ms
    wait = min(first << min(attempt, 20), most) * NS_PER_MS
    digest = hashlib.sha256(f"{name}.{attempt}".encode()).digest()
    return wait - wait * digest[0] // 1024


def anomaly(work: Work, code: str, text: str, number: int = 0) -> None:
    """Record what contradicts the history or cannot be used."""
    work.out(e.AnomalyRecorded(at_ns=work.now_ns, code=code, text=text, number=number))
