"""Exits that are sent along with an order, through the paper broker."""

from decimal import Decimal as D
from typing import Any

from holdfast.brokers.paper import PaperBroker
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached, LookupOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition, OrderType, Side
from holdfast.ports import OpenOrders
from holdfast.testing.world import LoopScheduler, run
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.paper import Venue

SECOND = 1_000_000_000


def opened(*script: Fault, **can: Any) -> PaperBroker:
    """Open a paper broker in virtual time that takes brackets per fill, and linked pairs."""
    venue = Venue()
    venue.add_listing(Instrument.of("ABC", tick=1))
    capabilities: dict[str, Any] = {"native_bracket": "per_fill", "native_oco": True} | can
    faults = FaultPlan(script=script) if script else None
    return PaperBroker(
        venue,
        "main",
        capabilities=Capabilities(**capabilities),
        faults=faults,
        delays=LoopScheduler(),
    )


def terms(side: Side, **prices: int) -> OrderTerms:
    """Terms of an order for ten, by its prices."""
    kind = OrderType.STOP if "stop_price" in prices else OrderType.LIMIT
    amounts: dict[str, Any] = {name: D(price) for name, price in prices.items()}
    return OrderTerms(symbol="ABC", side=side, quantity=D(10), order_type=kind, **amounts)


def bracket() -> SubmitOrder:
    """A buy with a stop and a target."""
    legs = {
        "stop": terms(Side.SELL, stop_price=90),
        "target": terms(Side.SELL, limit_price=110),
    }
    return SubmitOrder(
        number=1,
        wish=0,
        attempt=1,
        wire_id="e",
        terms=terms(Side.BUY, limit_price=100),
        not_after_ns=0,
        link="bracket",
        attached=tuple(
            Attached(number=number, role=role, wire_id=role, terms=each)
            for number, (role, each) in enumerate(legs.items(), start=2)
        ),
    )


def lookup(wire_id: str) -> LookupOrder:
    """Ask for one order by its wire id."""
    return LookupOrder(number=1, attempt=1, symbol="ABC", wire_ids=(wire_id,), broker_order_ids=())


def listed(found: OpenOrders) -> list[str]:
    """The wire ids of a list, with the condition where there is one."""
    return [f"{shown.wire_id} {shown.condition}".strip() for shown in found.snapshots]


def test_exits_go_out_with_their_order() -> None:
    """The answer names them, and a lookup of each finds it, the entry with its children."""

    async def main() -> None:
        broker = opened()

        answer = await broker.submit(bracket())

        assert isinstance(answer, Accepted)
        assert [child.role for child in answer.children] == ["stop", "target"]
        assert listed(await broker.poll()) == ["e", "stop held", "target held"]
        (entry,) = (await broker.lookup(lookup("e"))).sightings
        assert entry.snapshot.children == answer.children
        for child in answer.children:
            (seen,) = (await broker.lookup(lookup(child.wire_id))).sightings
            assert seen.snapshot.broker_order_id == child.broker_order_id
            assert seen.snapshot.condition is Condition.HELD

    run(main())


def test_a_broker_that_has_no_brackets_refuses_one() -> None:
    """Nothing of it is placed."""

    async def main() -> None:
        broker = opened(native_bracket="none")

        answer = await broker.submit(bracket())

        assert isinstance(answer, Refused)
        assert listed(await broker.poll()) == []

    run(main())


def test_held_exits_are_missing_from_a_list_that_does_not_show_them() -> None:
    """They are found when asked for, and listed from the moment they live."""

    async def main() -> None:
        broker = opened(lists_held_legs=False)
        await broker.submit(bracket())
        before = listed(await broker.poll())
        found = await broker.lookup(lookup("stop"))

        broker._venue.crowd("ABC").take(-1, 4)

        assert before == ["e"]
        assert len(found.sightings) == 1
        assert found.complete
        assert listed(await broker.poll()) == ["e", "stop", "target"]

    run(main())


def test_a_stale_list_does_not_show_held_exits_either() -> None:
    """A list from a while ago leaves out what such a list leaves out."""

    async def main() -> None:
        stale = Fault(kind=FaultKind.SNAPSHOT_STALE, face="poll", nth=1, duration_ns=SECOND)
        broker = opened(stale, lists_held_legs=False)
        await broker.submit(bracket())
        await broker._delays.sleep(2 * SECOND)

        assert listed(await broker.poll()) == ["e"]

    run(main())
