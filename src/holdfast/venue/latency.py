"""How long a message takes between a broker and the desk."""

from msgspec import Struct

from holdfast.venue.seeded import draw


class Latency(Struct, frozen=True, kw_only=True):
    """Delays in nanoseconds: a fixed part for each leg, and up to `jitter_ns` on top.

    `request_ns` is the way of a call to the venue, `answer_ns` the way back, `report_ns` the way
    of a stream report. The jitter of the n-th message of a leg is a function of seed, leg and n.
    """

    seed: int = 0
    request_ns: int = 0
    answer_ns: int = 0
    report_ns: int = 0
    jitter_ns: int = 0

    def request(self, number: int) -> int:
        """Return the delay of the `number`-th call on its way to the venue."""
        return self.request_ns + self._jitter("request", number)

    def answer(self, number: int) -> int:
        """Return the delay of the `number`-th answer."""
        return self.answer_ns + self._jitter("answer", number)

    def report(self, number: int) -> int:
        """Return the delay of the `number`-th report."""
        return self.report_ns + self._jitter("report", number)

    def _jitter(self, leg: str, number: int) -> int:
        return draw(self.seed, leg, number) % (self.jitter_ns + 1)
