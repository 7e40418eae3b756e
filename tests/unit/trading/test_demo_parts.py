"""The parts of the demonstration: plan, strategy, the venue that falls silent, the story."""

import asyncio
from collections.abc import Callable
from decimal import Decimal as D
from typing import Self

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.domain import events as e
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.reports import Accepted, LookupResult, Outcome, Refused, Report, Unknown
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.domain.wish import WishKind
from holdfast.engine.views import OrderView
from holdfast.errors import JournalError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch, OpenOrders
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import VirtualClock, run
from holdfast.trading.demo_follow import Case, Follower, News, Tone
from holdfast.trading.demo_plan import (
    ACCOUNT,
    DESK,
    FAST,
    INSTRUMENT,
    NORMAL,
    SYMBOL,
    Pace,
    Plan,
    faults_of,
    settings_of,
)
from holdfast.trading.demo_run import Demo
from holdfast.trading.demo_strategy import POSITION_MAX, WORKING_MAX, Quoter, choose
from holdfast.trading.demo_venue import Held, HoldingBroker
from holdfast.venue.faults import FaultKind
from holdfast.venue.paper import TopOfBook, Venue
from holdfast.wiring import OrderManager

TOP = TopOfBook(symbol=SYMBOL, at_ns=0, bid=D("99.99"), ask=D("100.01"))


def script(plan: Plan, face: str, passes: int = 200) -> list[FaultKind | None]:
    faults = faults_of(plan)
    found = [faults.at(face) for _ in range(passes)]
    return [fault.kind if fault is not None else None for fault in found]


def test_the_same_seed_has_the_same_faults() -> None:
    """What goes wrong follows from the seed alone."""
    for face in ("submit", "cancel", "report", "lookup"):
        assert script(Plan(seed=5), face) == script(Plan(seed=5), face)
    assert script(Plan(seed=5), "submit") != script(Plan(seed=6), "submit")


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_has_timeouts_of_submits_and_cancels(seed: int) -> None:
    """What the demonstration is about happens in each of them, before and after the venue acts."""
    for face in ("submit", "cancel"):
        early = script(Plan(seed=seed, fast=True), face, 8)
        assert FaultKind.TIMEOUT_AFTER_ACCEPT in early
        assert FaultKind.TIMEOUT_BEFORE_ACCEPT in early


@pytest.mark.parametrize("pace", [NORMAL, FAST])
def test_a_late_order_lands_before_its_absence_could_be_taken_for_proven(pace: Pace) -> None:
    """No fault lasts longer than the desk's grace allows (scenario 30)."""
    settings = settings_of(pace)
    assert settings.absence_grace_ms == pace.absence_grace > settings.ack_wait_ms
    faults = faults_of(Plan(fast=pace is FAST))
    for _ in range(2_000):
        fault = faults.at("submit")
        if fault is not None and fault.kind is FaultKind.LANDS_LATE:
            assert fault.lasts_ns < pace.absence_grace * 1_000_000


def test_the_n_th_order_follows_from_the_seed() -> None:
    """A decision depends on the seed and the order's number, not on what happened before."""
    assert choose(3, 40, (100, 200)) == choose(3, 40, (100, 200))
    drawn = [choose(3, number, (100, 200)) for number in range(1, 60)]
    assert {each.side for each in drawn} == {Side.BUY, Side.SELL}
    assert len({each.lots for each in drawn}) > 5
    assert all(100 <= each.rest_ms <= 200 for each in drawn)


def quoting(script: Callable[[Quoter, OrderManager, VirtualClock], object]) -> ScriptedBroker:
    """Run a strategy over an order manager in virtual time; returns the broker it traded with."""
    clock = VirtualClock()
    broker = ScriptedBroker()

    async def world() -> None:
        async with OrderManager.open(
            journal="memory://", broker=broker, desk=DESK, instruments=[INSTRUMENT], clock=clock
        ) as manager:
            quoter = Quoter(
                manager,
                lambda: TOP,
                instrument=INSTRUMENT,
                seed=1,
                rest_ms=(1_000, 2_000),
                clock=clock,
            )
            await script(quoter, manager, clock)  # type: ignore[misc]  # it is a coroutine function

    run(world(), clock)
    return broker


async def at_work(manager: OrderManager) -> list[OrderView]:
    return await manager.orders(finished=False)


def test_the_strategy_places_one_order_a_beat_up_to_its_bound() -> None:
    """Orders are numbered from the first, and no more than the bound are at work."""

    async def script(quoter: Quoter, manager: OrderManager, _clock: VirtualClock) -> None:
        for _ in range(WORKING_MAX + 3):
            await quoter.beat()
        orders = await at_work(manager)
        assert sorted(order.number for order in orders) == list(range(1, WORKING_MAX + 1))
        assert {order.client_order_id for order in orders} >= {"demo-1", "demo-8"}

    quoting(script)


def test_the_strategy_cancels_what_is_old() -> None:
    """An order that rested for as long as was drawn for it is cancelled, once."""

    async def script(quoter: Quoter, manager: OrderManager, _clock: VirtualClock) -> None:
        await quoter.beat()
        first = (await at_work(manager))[0]
        await asyncio.sleep(3)
        await quoter.beat()
        assert (await manager.wait(first.client_order_id)).status == "canceled"

    broker = quoting(script)
    assert sum(isinstance(call, CancelOrder) for call in broker.calls) == 1


def test_the_strategy_ends_all_its_orders() -> None:
    """Asked to, it cancels everything and says when nothing is at work any more."""

    async def script(quoter: Quoter, manager: OrderManager, _clock: VirtualClock) -> None:
        for _ in range(3):
            await quoter.beat()
        assert not await quoter.cancel_all()
        await asyncio.sleep(1)
        assert await quoter.cancel_all()

    quoting(script)


def test_the_strategy_trades_a_large_position_down() -> None:
    """Beyond its bound it places orders that bring the position back, and no others."""

    async def script(quoter: Quoter, manager: OrderManager, _clock: VirtualClock) -> None:
        await manager.set_opening_balance(SYMBOL, POSITION_MAX, "100")
        for _ in range(4):
            await quoter.beat()
        assert {order.side for order in await at_work(manager)} == {Side.SELL}

    quoting(script)


class Silent:
    """A venue behind a broker that can fall silent, with one order resting on it."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.crowd = self.venue.add_listing(INSTRUMENT)
        self.broker = HoldingBroker(PaperBroker(self.venue, ACCOUNT))
        self.reports: list[Report] = []
        self.gaps = 0
        self.tasks: list[asyncio.Task[Outcome]] = []

    async def __aenter__(self) -> Self:
        """Listen, and place the first order."""
        self.listening = asyncio.create_task(self.broker.listen(self.reports.append, self._gap))
        await asyncio.sleep(0)
        assert isinstance(await self.broker.submit(submit(1)), Accepted)
        self.reports.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.broker.speak()
        self.listening.cancel()
        await asyncio.gather(self.listening, *self.tasks, return_exceptions=True)

    def call(self, order: SubmitOrder | CancelOrder) -> "asyncio.Task[Outcome]":
        """Make a call without waiting for its answer."""
        if isinstance(order, SubmitOrder):
            task = asyncio.ensure_future(self.broker.submit(order))
        else:
            task = asyncio.ensure_future(self.broker.cancel(order))
        self.tasks.append(task)
        return task

    def _gap(self) -> None:
        self.gaps += 1


def submit(number: int) -> SubmitOrder:
    terms = OrderTerms(
        symbol=SYMBOL,
        side=Side.BUY,
        quantity=D(5),
        order_type=OrderType.LIMIT,
        limit_price=D("99.90"),
    )
    return SubmitOrder(
        number=number, wish=0, attempt=1, wire_id=f"w{number}", terms=terms, not_after_ns=0
    )


def cancel(number: int) -> CancelOrder:
    return CancelOrder(
        number=number,
        wish=1,
        attempt=1,
        wire_id=f"w{number}~1",
        orig_wire_id=f"w{number}",
        broker_order_id="",
        symbol=SYMBOL,
        not_after_ns=0,
    )


async def test_the_venue_falls_silent_with_a_cancel_that_it_carries_out() -> None:
    """The cancel ends its order, and neither its answer nor its report gets out."""
    async with Silent() as world:
        world.broker.fall_silent()
        call = world.call(cancel(1))
        await asyncio.sleep(0)
        assert world.broker.is_silent
        assert not world.venue.orders(ACCOUNT, working=True)
        assert not call.done()
        assert not world.reports
        assert world.broker.unanswered == (Held("cancel", 1, 1),)
        world.broker.speak()
        await call


async def test_in_the_silence_the_first_submit_is_lost_and_the_next_one_is_taken() -> None:
    """Both are unanswered, and one of them is at the venue; then there is enough to kill in."""
    async with Silent() as world:
        world.broker.fall_silent()
        for order in (cancel(1), submit(2), submit(3)):
            assert not world.broker.holds_enough
            world.call(order)
            await asyncio.sleep(0)
        assert world.broker.holds_enough
        assert world.broker.lost == submit(2)
        assert [order.wire_id for order in world.venue.orders(ACCOUNT, working=True)] == ["w3"]
        assert not any(task.done() for task in world.tasks)
        world.broker.speak()
        _, lost, taken = await asyncio.gather(*world.tasks)
        assert isinstance(lost, Unknown)
        assert isinstance(taken, Accepted)


async def test_a_cancel_that_ends_nothing_does_not_begin_the_silence() -> None:
    """It is answered, the next one counts, and what was held back meanwhile is told as a gap."""
    async with Silent() as world:
        world.broker.fall_silent()
        assert isinstance(await world.broker.cancel(cancel(7)), Refused)
        assert not world.broker.is_silent
        world.call(cancel(1))
        await asyncio.sleep(0)
        assert world.broker.is_silent
        world.broker.speak()
        assert world.gaps == 1
        await asyncio.gather(*world.tasks)


async def test_questions_in_the_silence_prove_nothing() -> None:
    """A lookup and a poll wait, and are not answered from what the venue knows."""
    async with Silent() as world:
        world.broker.fall_silent()
        world.call(cancel(1))
        await asyncio.sleep(0)
        question = LookupOrder(
            number=1, attempt=1, symbol=SYMBOL, wire_ids=("w1",), broker_order_ids=()
        )
        looked = asyncio.ensure_future(world.broker.lookup(question))
        polled = asyncio.ensure_future(world.broker.poll())
        await asyncio.sleep(0)
        assert not looked.done()
        assert not polled.done()
        world.broker.speak()
        assert await looked == LookupResult(text="the answer was held back")
        assert await polled == OpenOrders()


def test_a_case_tells_its_steps_in_one_line() -> None:
    """What was done several times in a row is told once, with its number."""
    case = Case(
        name="demo-1",
        kind=WishKind.SUBMIT,
        steps=["unknown", "not there", "not there", "resent", "open"],
    )
    assert case.story == "unknown -> not there x2 -> resent -> open"


class Written:
    """A journal that a test writes, and a follower that reads it."""

    def __init__(self, path: object) -> None:
        self.path = str(path)
        self.journal = SqliteJournal(self.path)
        self.seq = 0
        self.follower = Follower(self.path)
        self.write(
            e.DeskOpened(at_ns=1, desk=DESK, epoch="0123456789ab", account=ACCOUNT, currency="USD"),
            e.InstrumentDefined(at_ns=1, instrument=INSTRUMENT),
        )

    def write(self, *events: e.AnyEvent) -> list[News]:
        """Append events and return the news that they make."""
        batch = Batch(desk=DESK, first_seq=self.seq + 1, events=events)
        self.journal.append(batch, lambda error: None)
        self.journal.close()
        self.journal = SqliteJournal(self.path)
        self.seq += len(events)
        return self.follower.read()

    def submitted(self, number: int = 1) -> list[News]:
        """Let an order be submitted."""
        return self.write(
            e.OrderSubmitted(
                at_ns=2,
                number=number,
                terms=submit(number).terms,
                deadline_ns=9,
                not_after_ns=9,
                client_order_id=f"demo-{number}",
            )
        )


@pytest.fixture
def written(tmp_path: object) -> Written:
    """A journal and its follower."""
    return Written(f"{tmp_path}/journal.db")


def test_a_submit_that_is_found_after_a_silence_is_one_case(written: Written) -> None:
    """From the missing answer to the venue's word it is one story, told when it is over."""
    assert [news.text for news in written.submitted()] == ["demo-1 buy 5 at 99.90"]
    doubt = written.write(e.WishUnknown(at_ns=3, number=1, wish=0, look_at_ns=3, text="timeout"))
    assert [news.tone for news in doubt] == [Tone.DOUBT]
    assert len(written.follower.cases) == 1
    looked = e.LookupStarted(at_ns=3, number=1, attempt=1, again_ns=9, reason="unknown")
    assert written.write(looked) == []
    over = written.write(
        e.OrderAccepted(at_ns=4, number=1, broker_order_id="V-1"),
        e.LookupEnded(at_ns=4, number=1, found=True, complete=True),
    )
    assert [news.text for news in over] == ["demo-1 submit unknown -> found -> open"]
    assert not written.follower.cases
    written.journal.close()


def test_what_a_kill_left_open_is_owed_until_it_is_settled(written: Written) -> None:
    """After a restart each request on its way is of unknown outcome (scenario 34)."""
    written.submitted()
    news = written.write(e.DeskResumed(at_ns=5, wall_offset_ns=0, retry_at_ns=5))
    assert news[0].text.endswith("1 request of unknown outcome")
    assert written.follower.owed == 1
    written.write(e.OrderFailed(at_ns=6, number=1, code="ABSENT", text="no such order"))
    assert written.follower.owed == 0
    written.journal.close()


def test_a_journal_that_is_not_there_yet_has_no_news(tmp_path: object) -> None:
    """Its owner may be just about to make it."""
    follower = Follower(f"{tmp_path}/later.db")
    assert follower.read() == []


def test_a_journal_that_vanished_is_an_error(written: Written, tmp_path: object) -> None:
    """Once it was read, not being able to read it any more is no silence."""
    written.journal.close()
    written.follower._path = written.follower._path.with_name("gone.db")
    with pytest.raises(JournalError):
        written.follower.read()


def test_a_request_that_was_not_journaled_before_it_went_out_is_noticed(written: Written) -> None:
    """What the venue was asked for must stand in the killed process's journal (scenario 97)."""
    demo = Demo(Plan(), lambda _: None)
    demo.follower = written.follower
    written.submitted()
    demo._check_intents([Held("submit", 1, 0)])
    assert demo._problems == []
    demo._check_intents([Held("submit", 2, 0), Held("cancel", 1, 1)])
    assert len(demo._problems) == 2
    written.journal.close()
