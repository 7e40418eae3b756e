"""The venue of the demonstration: a market, an account on it, and answers that are held back.

Rule: while answers are held back the venue works on as before; nothing gets out, neither answers
nor reports. The first submit is lost on its way, so that both is there to be told apart: an order
that the venue has, and one that it never saw.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from holdfast.brokers.paper import PaperBroker
from holdfast.brokers.remote_server import BrokerServer
from holdfast.clock import NS_PER_MS, NS_PER_S, SystemClock
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import Accepted, LookupResult, Outcome, Report, Unknown
from holdfast.ports import Broker, OpenOrders
from holdfast.trading.demo_plan import (
    ACCOUNT,
    FEES,
    INSTRUMENT,
    MIDDLE_TICKS,
    SHAPE,
    SYMBOL,
    Plan,
    faults_of,
    latency_of,
)
from holdfast.venue.market import SimulatedMarket
from holdfast.venue.paper import TopOfBook, Venue

_HELD: Final = "the answer was held back"


class Held(Struct, frozen=True):
    """A request that waits for its answer: `submit` or `cancel`, and the numbers it has here."""

    kind: str
    number: int
    wish: int


class HoldingBroker:
    """A broker that can fall silent. While it is, `taken` grows by each request it carried out.

    `lost` is the submit that never reached the broker behind it.
    """

    def __init__(self, broker: Broker) -> None:
        """Stand before this broker."""
        self.capabilities, self.modes = broker.capabilities, broker.modes
        self.taken: list[SubmitOrder | CancelOrder | ReplaceOrder] = []
        self.lost: SubmitOrder | None = None
        self._broker = broker
        self._armed = False
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._open: dict[Held, None] = {}
        self._missed = False
        self._on_gap: Callable[[], None] = lambda: None

    @property
    def is_silent(self) -> bool:
        """Whether nothing gets out."""
        return not self._speaks.is_set()

    @property
    def holds_enough(self) -> bool:
        """Whether a submit and a cancel were carried out unanswered, and a submit was lost."""
        kinds = {type(order) for order in self.taken}
        return self.lost is not None and kinds >= {SubmitOrder, CancelOrder}

    @property
    def unanswered(self) -> tuple[Held, ...]:
        """The requests that came since it is silent, each once."""
        return tuple(self._open)

    def fall_silent(self) -> None:
        """Keep silent from the next cancel on that ends an order."""
        self._armed = True

    def speak(self) -> None:
        """Answer again; reports that were held back are not told any more, but that they were."""
        self._armed = False
        self._open, self.taken, self.lost = {}, [], None
        self._speaks.set()
        if self._missed:
            self._missed = False
            self._on_gap()

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place an order; see `Broker.submit`."""
        if self.is_silent and self.lost is None:
            self.lost = order
            return await self._answered("submit", order, self._dropped)
        return await self._answered("submit", order, lambda: self._broker.submit(order))

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Cancel an order; see `Broker.cancel`."""
        begins = self._armed and not self.is_silent
        if begins:
            self._speaks.clear()  # before the act: its report must not get out either
        return await self._answered(
            "cancel", order, lambda: self._broker.cancel(order), begins=begins
        )

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Replace an order; see `Broker.replace`."""
        return await self._answered("replace", order, lambda: self._broker.replace(order))

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Look for an order; see `Broker.lookup`."""
        if not self._speaks.is_set():
            await self._speaks.wait()
            return LookupResult(text=_HELD)
        return await self._broker.lookup(order)

    async def poll(self) -> OpenOrders:
        """List the account's orders; see `Broker.poll`."""
        if not self._speaks.is_set():
            await self._speaks.wait()
            return OpenOrders()
        return await self._broker.poll()

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports; see `Broker.listen`."""
        self._on_gap = on_gap

        def told(report: Report) -> None:
            if self._speaks.is_set():
                on_report(report)
            else:
                self._missed = True

        await self._broker.listen(told, on_gap)

    async def _dropped(self) -> Outcome:
        await self._speaks.wait()
        return Unknown(text=_HELD)

    async def _answered(
        self,
        kind: str,
        order: SubmitOrder | CancelOrder | ReplaceOrder,
        act: Callable[[], Awaitable[Outcome]],
        *,
        begins: bool = False,
    ) -> Outcome:
        """Carry a request out and answer it, or wait until answers are given again."""
        held = self.is_silent
        if held:
            self._open[Held(kind, order.number, order.wish)] = None
        outcome = await act()
        if held and isinstance(outcome, Accepted):
            self.taken.append(order)
        elif begins:  # it ended nothing: this is not the moment
            self.speak()
            self._armed = True
        await self._speaks.wait()
        return outcome


class DemoVenue:
    """The venue with its market, its account and its server; `start` it, `aclose` it."""

    def __init__(self, plan: Plan) -> None:
        """Open the market that the seed gives."""
        self.faults = faults_of(plan)
        self.venue = Venue(fees=FEES)
        self.venue.add_listing(INSTRUMENT)
        self._market = SimulatedMarket(
            self.venue, SYMBOL, middle=MIDDLE_TICKS, seed=plan.seed, shape=SHAPE
        )
        self._paper = PaperBroker(self.venue, ACCOUNT, faults=self.faults, latency=latency_of(plan))
        self.broker = HoldingBroker(self._paper)
        self._server = BrokerServer(self.broker, self.venue.instruments())
        self._step_s = plan.pace.step * NS_PER_MS / NS_PER_S
        self._clock = SystemClock()
        self._living: asyncio.Task[None] | None = None

    async def start(self, socket: str | os.PathLike[str]) -> None:
        """Let the market live, and take orders at the socket."""
        await self._server.start(socket)
        self._living = asyncio.create_task(self._live(), name="market")

    def top(self) -> TopOfBook:
        """Return the best prices."""
        return self.venue.top(SYMBOL)

    def fills(self) -> int:
        """Count the account's executions so far."""
        return sum(len(order.fills) for order in self.venue.orders(ACCOUNT))

    def check(self) -> None:
        """Raise what ended the market, if anything did."""
        if self._living is not None and self._living.done():
            self._living.result()

    async def aclose(self) -> None:
        """Close the market, drop whoever is connected, and remove the socket."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
        await self._server.aclose()
        await self._paper.aclose()

    async def _live(self) -> None:
        while True:
            self._market.step(self._clock.wall_ns())
            self._server.quote(self.top())
            await asyncio.sleep(self._step_s)
