"""A broker in this process that takes every order at once: what is left to measure is Holdfast."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

from bench.flow import FILLS, fill
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import Accepted, LookupResult, Outcome, Report, Snapshot
from holdfast.domain.reports import Unknown as UnknownOutcome
from holdfast.ports import OpenOrders

_UNASKED: Final = "the benchmarks do not ask for this"


class InstantBroker:
    """Accepts without waiting, and reports the fills of an order on the next turn of the loop.

    `resting` are the orders that it shows when it is polled. `called` is the time at which each
    order came, by wire id, in seconds of `perf_counter`, where `timed`.
    """

    modes = frozenset({"paper"})

    def __init__(self, *, timed: bool = False, resting: tuple[Snapshot, ...] = ()) -> None:
        self.capabilities = Capabilities()
        self.called: dict[str, float] = {}
        self.polled = asyncio.Event()
        self.submits = 0
        self._timed = timed
        self._resting = resting
        self._reports: list[Report] = []
        self._deliver: Callable[[Report], None] | None = None

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Take the order and fill it in equal parts at its limit."""
        if self._timed:
            self.called[order.wire_id] = perf_counter()
        self.submits += 1
        broker_order_id = f"B-{self.submits}"
        terms = order.terms
        assert terms.quantity is not None
        assert terms.limit_price is not None
        part = terms.quantity / FILLS
        if not self._reports:
            asyncio.get_running_loop().call_soon(self._flush)
        stamp_ns = order.not_after_ns
        for sequence in range(1, FILLS + 1):
            report = fill(
                order.wire_id,
                broker_order_id,
                sequence=sequence,
                quantity=part,
                cumulative=part * sequence,
                price=terms.limit_price,
                at_ns=stamp_ns,
            )
            self._reports.append(report)
        return Accepted(broker_order_id=broker_order_id, stamp_ns=stamp_ns)

    async def cancel(self, _order: CancelOrder) -> Outcome:
        """Know nothing: no benchmark cancels."""
        return UnknownOutcome(text=_UNASKED)

    async def replace(self, _order: ReplaceOrder) -> Outcome:
        """Know nothing: no benchmark replaces."""
        return UnknownOutcome(text=_UNASKED)

    async def lookup(self, _order: LookupOrder) -> LookupResult:
        """Know nothing: no benchmark leaves an order unknown."""
        return LookupResult(text=_UNASKED)

    async def poll(self) -> OpenOrders:
        """List the resting orders."""
        self.polled.set()
        return OpenOrders(snapshots=self._resting, complete=True)

    async def listen(
        self, on_report: Callable[[Report], None], _on_gap: Callable[[], None]
    ) -> None:
        """Deliver reports until cancelled."""
        self._deliver = on_report
        await asyncio.Event().wait()

    def _flush(self) -> None:
        assert self._deliver is not None
        reports, self._reports = self._reports, []
        for report in reports:
            self._deliver(report)
