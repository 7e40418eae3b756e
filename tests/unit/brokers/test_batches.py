"""Cancels that share a call: at the paper broker, with its faults, and across the socket."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.brokers.remote import RemoteBroker
from holdfast.brokers.remote_server import BrokerServer
from holdfast.clock import NS_PER_MS
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, NotSent, Outcome, RefusalCode, Refused, Unknown
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.testing.world import LoopScheduler, run, virtual
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue

FINAL = Accepted(final=True)


def fault(kind: FaultKind, nth: int = 1, face: str = "cancel_batch", **fields: Any) -> Fault:
    return Fault(kind=kind, face=face, nth=nth, **fields)


class Failing(PaperBroker):
    """A paper broker whose batches raise once `fails` is set."""

    fails = False

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        if self.fails:
            raise OSError("503")
        return await super().cancel_batch(orders)


class Resting:
    """An account with three resting orders, of wire ids w1 to w3."""

    def __init__(self, *script: Fault, **options: Any) -> None:
        self.venue = Venue()
        self.venue.add_listing(Instrument.of("ABC", tick=1))
        self.delays = LoopScheduler()
        faults = FaultPlan(script=script) if script else None
        options.setdefault("delays", self.delays)
        self.broker = Failing(self.venue, "main", faults=faults, **options)

    async def submit(self) -> None:
        """Place the orders."""
        terms = OrderTerms(
            symbol="ABC",
            side=Side.BUY,
            quantity=D(5),
            order_type=OrderType.LIMIT,
            limit_price=D(100),
        )
        for number in (1, 2, 3):
            submit = SubmitOrder(
                number=number,
                wish=0,
                attempt=1,
                wire_id=f"w{number}",
                terms=terms,
                not_after_ns=0,
            )
            await self.broker.submit(submit)

    @property
    def working(self) -> list[str]:
        return [order.wire_id for order in self.venue.orders("main", working=True)]


def cancels(*wire_ids: str) -> list[CancelOrder]:
    return [
        CancelOrder(
            number=number,
            wish=1,
            attempt=1,
            wire_id=f"{wire_id}~1",
            orig_wire_id=wire_id,
            broker_order_id="",
            symbol="ABC",
            not_after_ns=0,
            batch=1,
        )
        for number, wire_id in enumerate(wire_ids, 1)
    ]


def kinds(outcomes: Sequence[Outcome]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


@virtual
async def test_a_batch_answers_for_each_order() -> None:
    """Each order is cancelled or refused on its own, in the order of the call (scenario 20)."""
    there = Resting()
    await there.submit()

    outcomes = await there.broker.cancel_batch(cancels("w1", "nobody", "w3"))

    assert kinds(outcomes) == [Accepted, Refused, Accepted]
    assert isinstance(outcomes[1], Refused)
    assert outcomes[1].code is RefusalCode.UNKNOWN_ORDER
    assert there.working == ["w2"]


@virtual
async def test_a_batch_takes_the_time_of_one_call() -> None:
    """Three cancels wait for one way there and one back."""
    latency = Latency(seed=1, request_ns=150 * NS_PER_MS, answer_ns=150 * NS_PER_MS)
    there = Resting(latency=latency)
    await there.submit()
    begun = asyncio.get_running_loop().time()

    await there.broker.cancel_batch(cancels("w1", "w2", "w3"))

    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "outcome", "working"),
    [
        (FaultKind.NOT_SENT, NotSent, ["w1", "w2", "w3"]),
        (FaultKind.REFUSED, Refused, ["w1", "w2", "w3"]),
        (FaultKind.TIMEOUT_BEFORE_ACCEPT, Unknown, ["w1", "w2", "w3"]),
        (FaultKind.TIMEOUT_AFTER_ACCEPT, Unknown, []),
        (FaultKind.ERROR_AFTER_ACCEPT, Unknown, []),
    ],
)
def test_a_batch_fails_as_a_whole(
    kind: FaultKind, outcome: type[Outcome], working: list[str]
) -> None:
    """What befalls the call befalls every order in it, done or not (scenario 19)."""

    async def case() -> None:
        there = Resting(fault(kind))
        await there.submit()
        outcomes = await there.broker.cancel_batch(cancels("w1", "w2", "w3"))
        assert kinds(outcomes) == [outcome] * 3
        assert there.working == working
        await there.broker.aclose()

    run(case())


@pytest.mark.parametrize(
    ("kind", "outcome", "working", "later"),
    [
        (FaultKind.NOT_SENT, NotSent, ["w2"], ["w2"]),
        (FaultKind.REFUSED, Refused, ["w2"], ["w2"]),
        (FaultKind.TIMEOUT_BEFORE_ACCEPT, Unknown, ["w2"], ["w2"]),
        (FaultKind.LANDS_LATE, Unknown, ["w2"], []),
        (FaultKind.TIMEOUT_AFTER_ACCEPT, Unknown, [], []),
        (FaultKind.ERROR_AFTER_ACCEPT, Unknown, [], []),
    ],
)
def test_one_order_of_a_batch_fails(
    kind: FaultKind, outcome: type[Outcome], working: list[str], later: list[str]
) -> None:
    """A fault of one order leaves the others' cancels alone (scenario 20)."""

    async def case() -> None:
        there = Resting(fault(kind, 2, "cancel"))
        await there.submit()
        outcomes = await there.broker.cancel_batch(cancels("w1", "w2", "w3"))
        assert kinds(outcomes) == [Accepted, outcome, Accepted]
        assert there.working == working
        await asyncio.sleep(10)
        assert there.working == later
        await there.broker.aclose()

    run(case())


def test_an_account_cancels_in_batches_unless_told_otherwise() -> None:
    """Without capabilities an account can do everything; those that are given are kept."""
    given = Capabilities()

    assert Resting().broker.capabilities.batch_cancel
    assert not Resting(capabilities=given).broker.capabilities.batch_cancel


def served(
    case: Callable[[Resting, BrokerServer, RemoteBroker], Coroutine[Any, Any, None]],
) -> None:
    """Run a case against an account behind a socket, in real time."""

    async def whole() -> None:
        there = Resting(delays=None)
        await there.submit()
        with tempfile.TemporaryDirectory(prefix="hf-") as folder:
            server = BrokerServer(there.broker)
            await server.start(Path(folder) / "s")
            broker = await RemoteBroker.connect(Path(folder) / "s")
            try:
                await case(there, server, broker)
            finally:
                await broker.aclose()
                await server.aclose()

    asyncio.run(whole())


def test_a_batch_goes_over_the_socket_as_one_call() -> None:
    """The other end gets the whole batch, and each order its own answer back."""

    async def case(there: Resting, _server: BrokerServer, broker: RemoteBroker) -> None:
        outcomes = await broker.cancel_batch(cancels("w1", "nobody", "w3"))
        assert broker.capabilities.batch_cancel
        assert kinds(outcomes) == [Accepted, Refused, Accepted]
        assert there.working == ["w2"]

    served(case)


def test_a_batch_without_a_connection_was_not_sent() -> None:
    """Nobody there: provably not sent, for every order."""

    async def case(there: Resting, server: BrokerServer, broker: RemoteBroker) -> None:
        await server.aclose()
        await asyncio.wait_for(broker.poll(), 10)  # notices that the connection is gone
        outcomes = await broker.cancel_batch(cancels("w1", "w2"))
        assert kinds(outcomes) == [NotSent, NotSent]
        assert there.working == ["w1", "w2", "w3"]

    served(case)


def test_a_batch_that_makes_the_broker_raise_is_unknown() -> None:
    """An exception at the other end proves nothing about any of the orders."""

    async def case(there: Resting, _server: BrokerServer, broker: RemoteBroker) -> None:
        there.broker.fails = True
        outcomes = await broker.cancel_batch(cancels("w1", "w2"))
        assert outcomes == (Unknown(text="OSError: 503"),) * 2

    served(case)
