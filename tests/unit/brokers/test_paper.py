"""The paper broker: the port over the venue, what is lost on the way, and when things arrive."""

import asyncio
from collections.abc import Coroutine
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.brokers.paper import PaperBroker, RealDelays, SymbolAccess
from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import (
    Accepted,
    NotSent,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Unknown,
)
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import InputError
from holdfast.ports import Broker
from holdfast.testing.world import LoopScheduler, run
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.paper import Venue


class Link:
    """A paper broker in virtual time, with what its stream delivered."""

    def __init__(self, *script: Fault, venue: Venue | None = None, **options: Any) -> None:
        self.venue = venue or Venue()
        self.crowd = (
            self.venue.crowd("ABC")
            if venue
            else self.venue.add_listing(Instrument.of("ABC", tick=1))
        )
        self.delays = LoopScheduler()
        faults = FaultPlan(script=script) if script else None
        self.broker = PaperBroker(self.venue, "main", faults=faults, delays=self.delays, **options)
        self.reports: list[Report] = []
        self.gaps: list[int] = []
        self.arrivals: list[int] = []
        self.listening: list[asyncio.Task[None]] = []

    async def listen(self) -> "asyncio.Task[None]":
        """Begin to listen."""

        def heard(report: Report) -> None:
            self.reports.append(report)
            self.arrivals.append(self.delays.now_ns())

        task = asyncio.ensure_future(
            self.broker.listen(heard, lambda: self.gaps.append(self.delays.now_ns()))
        )
        self.listening.append(task)  # the loop alone would let go of it
        await asyncio.sleep(0)
        return task

    def kinds(self) -> list[str]:
        """The kinds of the reports that came, in order."""
        return [report.kind.value for report in self.reports]

    async def submit(self, wire_id: str = "w1", quantity: int = 5, limit: int = 100) -> Outcome:
        """Place a limit order to buy."""
        return await self.broker.submit(
            SubmitOrder(
                number=1,
                wish=0,
                attempt=1,
                wire_id=wire_id,
                terms=buy(quantity, limit),
                not_after_ns=0,
            )
        )

    async def cancel(self, wire_id: str = "", broker_order_id: str = "") -> Outcome:
        """Ask for a cancel."""
        return await self.broker.cancel(
            CancelOrder(
                number=1,
                wish=1,
                attempt=1,
                wire_id=wire_id,
                orig_wire_id="",
                broker_order_id=broker_order_id,
                symbol="ABC",
                not_after_ns=0,
            )
        )

    async def lookup(self, *wire_ids: str, broker_order_ids: tuple[str, ...] = ()) -> Any:
        """Ask for an order."""
        return await self.broker.lookup(
            LookupOrder(
                number=1,
                attempt=1,
                symbol="ABC",
                wire_ids=wire_ids,
                broker_order_ids=broker_order_ids,
            )
        )


def buy(quantity: int, limit: int) -> OrderTerms:
    """Terms of a limit order to buy."""
    return OrderTerms(
        symbol="ABC",
        side=Side.BUY,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=D(limit),
    )


def fault(kind: FaultKind, face: str = "submit", nth: int = 1, **more: Any) -> Fault:
    """A scripted fault."""
    return Fault(kind=kind, face=face, nth=nth, **more)


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what must not suspend; fails if it does."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def test_a_paper_broker_is_a_broker() -> None:
    """The type checker holds the adapter to the port; its capabilities are the account's."""
    link = Link(capabilities=Capabilities(native_replace=False))
    broker: Broker = link.broker

    told = Capabilities(native_replace=False, account_data=True, power_after_orders=True)
    assert broker.capabilities == told


def test_without_latency_and_faults_no_call_ever_suspends() -> None:
    """Each call is carried out at once, without an event loop."""
    link = Link()
    link.broker._delays = RealDelays()

    accepted = at_once(link.submit())
    found = at_once(link.lookup("w1"))
    polled = at_once(link.broker.poll())
    cancelled = at_once(link.cancel("w1"))

    assert accepted.broker_order_id == "V-1"
    assert found.sightings[0].snapshot.broker_order_id == "V-1"
    assert [snapshot.wire_id for snapshot in polled.snapshots] == ["w1"]
    assert isinstance(cancelled, Accepted)
    assert cancelled.final


def test_a_replace_goes_through_with_its_new_wire_id() -> None:
    """The answer carries the broker order id under which the new terms work."""
    link = Link(capabilities=Capabilities(new_id_on_replace=True))
    order = ReplaceOrder(
        number=1,
        wish=1,
        attempt=1,
        wire_id="w2",
        orig_wire_id="w1",
        broker_order_id="",
        terms=buy(6, 101),
        leaves_quantity=None,
        not_after_ns=0,
    )

    async def main() -> Outcome:
        await link.submit()
        return await link.broker.replace(order)

    outcome = run(main())
    assert isinstance(outcome, Accepted)
    assert (outcome.broker_order_id, outcome.final) == ("V-2", True)


@pytest.mark.parametrize(
    ("kind", "outcome", "orders"),
    [
        (FaultKind.TIMEOUT_BEFORE_ACCEPT, Unknown, 0),
        (FaultKind.TIMEOUT_AFTER_ACCEPT, Unknown, 1),
        (FaultKind.ERROR_AFTER_ACCEPT, Unknown, 1),
        (FaultKind.NOT_SENT, NotSent, 0),
        (FaultKind.REFUSED, Refused, 0),
    ],
)
def test_each_fault_of_a_call_gives_its_outcome_and_leaves_what_it_says(
    kind: FaultKind, outcome: type, orders: int
) -> None:
    """Whether the order lives does not show in the answer (scenarios 29, 30, 32)."""
    link = Link(fault(kind))

    answer = run(link.submit())

    assert type(answer) is outcome
    assert len(link.venue.orders("main")) == orders


def test_a_refusal_and_a_rate_limit_carry_what_the_script_says() -> None:
    """Code, text and the time to wait reach the desk (scenarios 31, 32)."""
    link = Link(
        fault(FaultKind.REFUSED, code=RefusalCode.INSUFFICIENT_FUNDS, text="no money"),
        fault(FaultKind.NOT_SENT, nth=2, retry_after_ms=250),
    )

    async def main() -> list[Outcome]:
        return [await link.submit(), await link.submit(), await link.submit()]

    refused, not_sent, accepted = run(main())
    assert refused == Refused(text="no money", code=RefusalCode.INSUFFICIENT_FUNDS)
    assert isinstance(not_sent, NotSent)
    assert not_sent.retry_after_ms == 250
    assert isinstance(accepted, Accepted)


def test_an_order_may_land_after_its_caller_was_told_that_it_is_unknown() -> None:
    """At the timeout nothing is there; later the order is (scenario 106)."""
    link = Link(fault(FaultKind.LANDS_LATE, duration_ns=20 * NS_PER_S))

    async def main() -> list[bool]:
        assert isinstance(await link.submit(), Unknown)
        early = await link.lookup("w1")
        await link.delays.sleep(30 * NS_PER_S)
        late = await link.lookup("w1")
        return [bool(answer.sightings) for answer in (early, late)]

    assert run(main()) == [False, True]


def test_a_cancelled_call_still_arrives() -> None:
    """Giving up on a request does not call it back (trap 64)."""
    link = Link(latency=Latency(request_ns=NS_PER_S))

    async def main() -> int:
        call = asyncio.ensure_future(link.submit())
        await link.delays.sleep(NS_PER_S // 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert link.venue.orders("main") == []
        await link.delays.sleep(NS_PER_S)
        return len(link.venue.orders("main"))

    assert run(main()) == 1


def test_a_cancel_that_times_out_may_have_worked() -> None:
    """The same faults happen to cancels and replaces."""
    link = Link(fault(FaultKind.TIMEOUT_AFTER_ACCEPT, "cancel"))

    async def main() -> Outcome:
        await link.submit()
        return await link.cancel("w1")

    assert isinstance(run(main()), Unknown)
    assert link.venue.order("V-1").status is Status.CANCELED


def test_requests_answers_and_reports_take_their_time() -> None:
    """Request and answer add up to the round trip; reports come on their own way."""
    link = Link(latency=Latency(request_ns=30, answer_ns=40, report_ns=1_000))

    async def main() -> int:
        await link.listen()
        began = link.delays.now_ns()
        await link.submit()
        took = link.delays.now_ns() - began
        await link.delays.sleep(10_000)
        return took

    assert 70 <= run(main()) < 100  # the virtual clock rounds each timer up
    assert link.kinds() == ["new"]
    assert link.arrivals[0] >= 1_030


def test_reports_never_overtake_each_other_without_a_fault() -> None:
    """With a jitter larger than the time between them they still come in order."""
    link = Link(latency=Latency(seed=9, report_ns=10, jitter_ns=50 * NS_PER_MS))

    async def main() -> None:
        await link.listen()
        await link.submit(quantity=40)
        for _ in range(40):
            link.crowd.take(-1, 1)
            await link.delays.sleep(NS_PER_MS)
        await link.delays.sleep(NS_PER_S)

    run(main())
    assert [report.sequence for report in link.reports] == list(range(1, 42))


async def _three_reports(link: Link) -> None:
    await link.listen()
    await link.submit()
    link.crowd.take(-1, 2)
    await link.delays.sleep(NS_PER_MS)
    link.crowd.take(-1, 2)
    await link.delays.sleep(60 * NS_PER_S)


@pytest.mark.parametrize(
    ("kind", "sequences", "gaps"),
    [
        (FaultKind.REPORT_LOST, [1, 3], 0),
        (FaultKind.REPORT_REPEATED, [1, 2, 2, 3], 0),
        (FaultKind.REPORT_REORDERED, [1, 3, 2], 0),
        (FaultKind.REPORT_LATE, [1, 3, 2], 0),
        (FaultKind.STREAM_GAP, [1], 1),
    ],
)
def test_each_fault_of_a_report_shows_in_the_stream(
    kind: FaultKind, sequences: list[int], gaps: int
) -> None:
    """The second of three reports is lost, repeated, late or out of order (scenarios 8, 11)."""
    link = Link(fault(kind, "report", 2))

    run(_three_reports(link))

    assert [report.sequence for report in link.reports] == sequences
    assert len(link.gaps) == gaps


def test_a_report_held_back_comes_even_if_none_follows() -> None:
    """Reordered is not lost."""
    link = Link(fault(FaultKind.REPORT_REORDERED, "report", 3))

    run(_three_reports(link))

    assert [report.sequence for report in link.reports] == [1, 2, 3]


def test_who_listens_again_is_told_what_was_missed() -> None:
    """Reports without a listener are lost, and the next one begins with a gap (trap 59)."""
    link = Link()

    async def main() -> None:
        first = await link.listen()
        await link.submit()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        link.crowd.take(-1, 2)
        await link.listen()
        link.crowd.take(-1, 2)

    run(main())
    assert [report.sequence for report in link.reports] == [1, 3]
    assert len(link.gaps) == 1


def test_a_second_listener_is_refused() -> None:
    """One stream, one listener."""
    link = Link()

    async def main() -> None:
        await link.listen()
        with pytest.raises(InputError):
            await link.broker.listen(lambda _: None, lambda: None)

    run(main())


def test_a_lookup_finds_an_order_with_its_executions_by_either_id() -> None:
    """Found, complete, with every execution (scenario 29)."""
    link = Link()

    async def main() -> list[Any]:
        await link.submit()
        link.crowd.take(-1, 2)
        return [await link.lookup("w1"), await link.lookup(broker_order_ids=("V-1",))]

    by_wire, by_broker = run(main())
    assert by_wire == by_broker
    (sighting,) = by_wire.sightings
    assert by_wire.complete
    assert sighting.executions_complete
    assert [execution.quantity for execution in sighting.executions] == [D(2)]
    assert (sighting.snapshot.status, sighting.snapshot.cumulative) == (Status.PARTIAL_FILL, D(2))


def test_a_lookup_that_finds_nothing_completely_is_absence() -> None:
    """No sighting and complete; an incomplete answer proves nothing (scenario 30)."""
    link = Link(fault(FaultKind.LOOKUP_INCOMPLETE, "lookup", 2))

    async def main() -> list[Any]:
        return [await link.lookup("w1"), await link.lookup("w1")]

    absent, unproven = run(main())
    assert (absent.sightings, absent.complete) == ((), True)
    assert (unproven.sightings, unproven.complete) == ((), False)
    assert unproven.text


def test_a_lookup_reads_every_page() -> None:
    """The order asked for is on the last of three pages (scenario 105)."""
    link = Link(page_size=2)

    async def main() -> Any:
        for number in range(5):
            await link.submit(f"w{number}")
        return await link.lookup("w0")

    result = run(main())
    assert [sighting.snapshot.wire_id for sighting in result.sightings] == ["w0"]
    assert result.complete


def test_a_failing_page_makes_a_lookup_incomplete() -> None:
    """The second page fails: what is on it is not found, and not claimed absent (scenario 105)."""
    link = Link(fault(FaultKind.LOOKUP_INCOMPLETE, "page", 2), page_size=2)

    async def main() -> list[Any]:
        for number in range(5):
            await link.submit(f"w{number}")
        return [await link.lookup("w0"), await link.lookup("w0")]

    failed, again = run(main())
    assert (failed.sightings, failed.complete) == ((), False)
    assert again.complete
    assert len(again.sightings) == 1


def test_a_poll_lists_what_works_and_what_traded() -> None:
    """Working orders only, and each execution in two polls running (scenario 50)."""
    link = Link()

    async def main() -> list[Any]:
        await link.submit("w1")
        await link.submit("w2")
        link.crowd.take(-1, 5)
        return [await link.broker.poll() for _ in range(3)]

    polls = run(main())
    assert [[snapshot.wire_id for snapshot in poll.snapshots] for poll in polls] == [["w2"]] * 3
    assert [len(poll.executions) for poll in polls] == [1, 1, 0]
    broker_order_id, wire_id, execution = polls[0].executions[0]
    assert (broker_order_id, wire_id, execution.quantity) == ("V-1", "w1", D(5))
    assert all(poll.complete for poll in polls)


def test_a_poll_with_a_failing_page_is_incomplete_and_shows_its_executions_again() -> None:
    """What is not listed then proves nothing (scenario 26, trap 17)."""
    link = Link(fault(FaultKind.LOOKUP_INCOMPLETE, "page", 1), page_size=1)

    async def main() -> list[Any]:
        await link.submit()
        link.crowd.take(-1, 2)
        return [await link.broker.poll() for _ in range(2)]

    failed, whole = run(main())
    assert (failed.snapshots, failed.complete) == ((), False)
    assert len(whole.snapshots) == len(whole.executions) == 1
    assert whole.complete


def test_a_stale_poll_shows_the_account_as_it_was() -> None:
    """An order cancelled a second ago is still listed, a new one is not yet (scenario 27)."""
    link = Link(fault(FaultKind.SNAPSHOT_STALE, "poll"))

    async def main() -> Any:
        await link.submit("w1")
        link.crowd.take(-1, 2)
        await link.delays.sleep(10 * NS_PER_S)
        await link.cancel("w1")
        await link.submit("w2")
        await link.delays.sleep(NS_PER_S)
        return [await link.broker.poll(), await link.broker.poll()]

    stale, fresh = run(main())
    (snapshot,) = stale.snapshots
    assert (snapshot.wire_id, snapshot.status, snapshot.cumulative) == (
        "w1",
        Status.PARTIAL_FILL,
        D(2),
    )
    assert snapshot.sequence < link.venue.order("V-1").sequence
    assert [snapshot.wire_id for snapshot in fresh.snapshots] == ["w2"]


def test_a_stale_lookup_does_not_see_a_young_order() -> None:
    """The broker's index lags: the order is there and not found."""
    link = Link(fault(FaultKind.SNAPSHOT_STALE, "lookup"))

    async def main() -> list[Any]:
        await link.submit("w1")
        return [await link.lookup("w1"), await link.lookup("w1")]

    assert [len(result.sightings) for result in run(main())] == [0, 1]


def test_a_forgotten_order_is_never_claimed_absent() -> None:
    """Where the venue's history is bounded, a spent id gives an incomplete answer (trap 13)."""
    venue = Venue(history_max=0)
    venue.add_listing(Instrument.of("ABC", tick=1))
    link = Link(venue=venue)

    async def main() -> Any:
        await link.submit("w1")
        await link.cancel("w1")
        return await link.lookup("w1")

    result = run(main())
    assert (result.sightings, result.complete) == ((), False)


def test_closing_ends_what_is_on_its_way() -> None:
    """After `aclose` nothing lands and nothing is reported."""
    link = Link(fault(FaultKind.LANDS_LATE))

    async def main() -> None:
        await link.listen()
        await link.submit()
        await link.broker.aclose()
        await link.delays.sleep(60 * NS_PER_S)

    run(main())
    assert link.venue.orders("main") == []
    assert not link.broker._tasks


def test_an_order_placed_by_hand_is_polled_like_any_other() -> None:
    """The account's own orders include those without a wire id (scenario 93)."""
    link = Link()
    link.venue.submit("main", "", buy(3, 99), 0)

    (snapshot,) = run(link.broker.poll()).snapshots

    assert (snapshot.wire_id, snapshot.broker_order_id) == ("", "V-1")


def test_a_symbol_access_gives_instruments_and_latest_prices() -> None:
    """Bid, offer and last of the venue."""
    link = Link()
    link.crowd.quote(1, 99, 3)
    link.crowd.quote(-1, 101, 3)
    access = SymbolAccess(link.venue)

    quote = access.quote("ABC")

    assert (quote.bid, quote.ask, quote.last) == (D(99), D(101), None)
    assert [instrument.symbol for instrument in access.instruments()] == ["ABC"]


def test_real_delays_tell_the_time_and_wait_in_the_running_loop() -> None:
    """Without anything injected, the broker lives in real time."""
    delays = RealDelays()

    async def main() -> int:
        await delays.sleep(0)
        return delays.now_ns()

    assert run(main()) > 1_700_000_000 * NS_PER_S


def test_reports_of_trades_name_order_and_execution() -> None:
    """A trade report carries the execution, the cumulative figure and both ids."""
    link = Link()

    async def main() -> None:
        await link.listen()
        await link.submit()
        link.crowd.take(-1, 2)

    run(main())
    trade = link.reports[-1]
    assert trade.execution is not None
    assert (trade.kind, trade.wire_id, trade.broker_order_id) == (ReportKind.TRADE, "w1", "V-1")
    assert (trade.cumulative, trade.execution.quantity, trade.execution.price) == (
        D(2),
        D(2),
        D(100),
    )
