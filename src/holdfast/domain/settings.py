"""What a desk's owner may choose; nothing here is needed to fold a journal."""

from msgspec import Struct

from holdfast.domain.policies import Policies, bounded


class Settings(Struct, frozen=True, kw_only=True):
    """Waits in milliseconds, bounds in number.

    `ack_wait_ms`: a request without an answer for so long has an unknown outcome.
    `send_wait_ms`: a request not sent by then is not sent at all.
    `absence_grace_ms`: an order not found proves nothing before this much time after it was last
    sent; it must exceed `ack_wait_ms`, the longest that a call stays in flight.
    `quiet_ms`: how long after an order's end a broker may still list it as working.
    `inferred_grace_ms`: how long a cumulative figure waits for the executions behind it.
    `retry_first_ms`, `retry_max_ms`: backoff of repeats, doubled each time.
    `retries_max`: how often a request that was provably not processed is repeated.
    `resends_max`: how often a submit proven absent is sent again under the same wire id.
    `finished_orders_max`: ended orders kept in memory.
    `policies`: pricing, limits, breaker, stale orders, re-quotes and alerts.
    """

    ack_wait_ms: int = 5_000
    send_wait_ms: int = 30_000
    absence_grace_ms: int = 10_000
    quiet_ms: int = 5_000
    inferred_grace_ms: int = 2_000
    retry_first_ms: int = 500
    retry_max_ms: int = 60_000
    retries_max: int = 3
    resends_max: int = 2
    finished_orders_max: int = 10_000
    policies: Policies = Policies()

    def __post_init__(self) -> None:
        """Refuse settings that wait for nothing, or take silence for absence."""
        bounded(self, 1, "ack_wait_ms", "send_wait_ms", "retry_first_ms")
        bounded(self, self.retry_first_ms, "retry_max_ms")
        bounded(self, 0, "quiet_ms", "inferred_grace_ms", "retries_max", "resends_max")
        bounded(self, 0, "finished_orders_max")
        if self.absence_grace_ms <= self.ack_wait_ms:
            message = (
                f"absence_grace_ms is {self.absence_grace_ms} and ack_wait_ms {self.ack_wait_ms}; "
                "the grace must be longer than a call may stay in flight"
            )
            raise ValueError(message)
