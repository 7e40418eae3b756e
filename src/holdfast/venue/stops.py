"""Stop orders of one side that wait for the last traded price to reach them.

A *rank* is sign times stop price. A buy stop is due once the last price is at or above it, a sell
stop once it is at or below it: in ranks, the last price's rank is at or above the stop's for
both. Of several that are due, the one passed first goes first, then the older one.
"""

from bisect import bisect_left, insort

from holdfast.venue.orders import VenueOrder


class Stops:
    """The waiting stops of the buyers (+1) or of the sellers (-1)."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._queue: list[tuple[int, int]] = []  # (rank, order number), ascending
        self._orders: dict[int, VenueOrder] = {}
        self._trailing: dict[int, VenueOrder] = {}

    def arm(self, order: VenueOrder, last: int | None) -> None:
        """Let an order wait; a trailing one without a stop price takes it from the last price."""
        self._orders[order.number] = order
        if order.trail is not None:
            self._trailing[order.number] = order
            if order.stop is None and last is not None:
                order.stop = last + self._sign * order.trail
        if order.stop is not None:
            insort(self._queue, (self._sign * order.stop, order.number))

    def disarm(self, order: VenueOrder) -> None:
        """Let an order wait no longer; nothing happens if it does not."""
        if self._orders.pop(order.number, None) is None:
            return
        self._trailing.pop(order.number, None)
        if order.stop is not None:
            self._unqueue(order.stop, order.number)

    def follow(self, last: int) -> None:
        """Move trailing stops after a new last price, towards it only."""
        for number, order in self._trailing.items():
            assert order.trail is not None
            stop = last + self._sign * order.trail
            if order.stop is not None:
                if self._sign * stop >= self._sign * order.stop:
                    continue
                self._unqueue(order.stop, number)
            order.stop = stop
            insort(self._queue, (self._sign * stop, number))

    def due(self, last: int) -> VenueOrder | None:
        """Take out and return the next order that the last price triggers."""
        if not self._queue or self._queue[0][0] > self._sign * last:
            return None
        _, number = self._queue.pop(0)
        self._trailing.pop(number, None)
        return self._orders.pop(number)

    def _unqueue(self, stop: int, number: int) -> None:
        del self._queue[bisect_left(self._queue, (self._sign * stop, number))]
