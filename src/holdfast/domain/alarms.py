"""When each order next wants attention: a heap of moments, stale entries skipped."""

import heapq
from collections.abc import Iterator


class Alarms:
    """One moment of desk time per order number."""

    def __init__(self) -> None:
        """Start without any."""
        self._heap: list[tuple[int, int]] = []
        self._due: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        """Tell whether an order wants attention at any time."""
        return number in self._due

    def set(self, number: int, due_ns: int) -> None:
        """Let an order want attention at a moment; 0 is never."""
        if not due_ns:
            self._due.pop(number, None)
        elif self._due.get(number) != due_ns:
            self._due[number] = due_ns
            heapq.heappush(self._heap, (due_ns, number))

    def next_ns(self) -> int | None:
        """Return when an order next wants attention."""
        while self._heap:
            due, number = self._heap[0]
            if self._due.get(number) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ns: int) -> Iterator[int]:
        """Yield the orders that are due, earliest first, each once."""
        while (due := self.next_ns()) is not None and due <= now_ns:
            number = heapq.heappop(self._heap)[1]
            del self._due[number]
            yield number
