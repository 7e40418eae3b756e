"""Buying power and positions of an account: who is asked when, and who is told."""

import asyncio
from collections.abc import Callable
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.events import OrderAccepted, OrderCanceled
from holdfast.domain.inputs import AccountSeen, Input
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.settings import Settings
from holdfast.engine.account_data import ASK_EVERY_S, AccountData, AccountView
from holdfast.engine.desk_parts import Options
from holdfast.engine.desks import AccountPlan, OpenDesks
from holdfast.engine.manager import Manager
from holdfast.errors import Closed, OrderRefused, OrderStatusError
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import AccountFigures
from holdfast.testing.scripted import INSTRUMENTS, ScriptedBroker, open_desk
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.paper import Venue

TELLS = Capabilities(account_data=True)


class Teller:
    """A broker that tells its figures after 50 ms; `wrong` makes it raise."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.power: Any = D(1000)
        self.wrong: Exception | None = None
        self.positions: Any = {"X": D(3)}

    async def account(self) -> AccountFigures:
        """Tell the figures."""
        self.asked.append(asyncio.get_running_loop().time())
        power = self.power
        await asyncio.sleep(0.05)
        if self.wrong is not None:
            raise self.wrong
        return AccountFigures(buying_power=power, positions=self.positions)


class Account(ScriptedBroker):
    """An account with 1000 to spend, whatever is open."""

    def __init__(self) -> None:
        super().__init__(TELLS)

    async def account(self) -> AccountFigures:
        """Tell the figures."""
        return AccountFigures(buying_power=D(1000), positions={})


class FakeDesk:
    """A desk's runner as far as account data know it, an hour ahead of the wall clock."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.on_durable: Callable[..., None] | None = None
        self.heard: list[AccountSeen] = []

    def now_ns(self) -> int:
        """Return desk time."""
        return LoopScheduler().now_ns() + 3_600_000_000_000

    def word(self, said: Input) -> None:
        """Keep what is told."""
        assert isinstance(said, AccountSeen)
        self.heard.append(said)


def account_of(teller: Any, **options: Any) -> AccountData:
    return AccountData(teller, TELLS, LoopScheduler().now_ns, **options)


@virtual
async def test_many_callers_share_one_question() -> None:
    """Who asks while a question is out gets its answer; the broker is asked once (FR-011)."""
    teller = Teller()
    data = account_of(teller)

    views = await asyncio.gather(*(data.get() for _ in range(100)))

    assert len(teller.asked) == 1
    assert {view.buying_power for view in views} == {D(1000)}
    assert views[0].positions == {"X": D(3)}


@virtual
async def test_figures_serve_until_their_time_is_over() -> None:
    """Within the time to live the broker is not asked again, after it once (FR-011)."""
    teller = Teller()
    data = account_of(teller, ttl_ms=5_000)
    first = await data.get()
    await asyncio.sleep(4)
    second = await data.get()
    await asyncio.sleep(2)
    third = await data.get()

    assert len(teller.asked) == 2
    assert (first.age_ms, second.age_ms, third.age_ms) == (50, 4_050, 50)
    assert first.asked_ns == second.asked_ns < third.asked_ns


@virtual
async def test_a_fill_makes_figures_useless_even_those_on_their_way() -> None:
    """A caller after the invalidation gets an answer to a question that left after it."""
    teller = Teller()
    data = account_of(teller)
    early = asyncio.create_task(data.get())
    await asyncio.sleep(0.01)
    teller.power = D(400)
    data.invalidate()
    late = await data.get()

    assert (await early).buying_power == D(1000)
    assert late.buying_power == D(400)
    assert len(teller.asked) == 2


@virtual
async def test_fresh_figures_are_asked_for_after_the_call() -> None:
    """`fresh` takes neither what is known nor what is on its way."""
    teller = Teller()
    data = account_of(teller)
    await data.get()
    teller.power = D(7)

    assert (await data.get()).buying_power == D(1000)
    assert (await data.get(fresh=True)).buying_power == D(7)


@virtual
async def test_every_desk_is_told_with_what_it_had_opened_when_asked() -> None:
    """The figure comes with the desk's own time and its running value at that moment."""
    teller, desks = Teller(), [FakeDesk(), FakeDesk()]
    desks[1].desk.guard.opened = D(250)
    data = account_of(teller)
    for desk in desks:
        data.attach(desk)
    data.start()
    await asyncio.sleep(0.01)
    asked_ns = desks[0].now_ns() - 10_000_000
    desks[1].desk.guard.opened = D(999)
    await asyncio.sleep(1)
    await data.close()

    (told,), (other,) = desks[0].heard, desks[1].heard
    assert (told.opened, other.opened) == (D(0), D(250))
    # The second desk opened 749 since: the first is not told them as its own.
    assert (told.buying_power, other.buying_power) == (D(251), D(1000))
    assert abs(told.asked_ns - asked_ns) < 1_000


@virtual
async def test_fills_and_cancels_of_any_desk_ask_again_soon_but_not_in_a_hurry() -> None:
    """A hundred fills a second make one question a second; anything else makes none (FR-011)."""
    teller, desk = Teller(), FakeDesk()
    data = account_of(teller)
    data.attach(desk)
    data.start()
    await asyncio.sleep(5)
    quiet = len(teller.asked)
    assert desk.on_durable is not None
    desk.on_durable([OrderAccepted(at_ns=1, number=1, broker_order_id="B")])
    await asyncio.sleep(5)
    unmoved = len(teller.asked)
    for _ in range(1_000):
        desk.on_durable([OrderCanceled(at_ns=1, number=1)])
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)
    await data.close()

    assert (quiet, unmoved) == (1, 1)
    apart = [
        after - before for before, after in zip(teller.asked[1:], teller.asked[2:], strict=False)
    ]
    assert 9 <= len(teller.asked) - 1 <= 12
    assert min(apart) >= 1.0


@virtual
async def test_without_news_the_account_is_asked_now_and_then() -> None:
    """A deposit shows though nothing happened on any desk."""
    teller, desk = Teller(), FakeDesk()
    data = account_of(teller)
    data.attach(desk)
    data.start()
    await asyncio.sleep(1)
    teller.power = D(5000)
    await asyncio.sleep(ASK_EVERY_S + 2)
    await data.close()

    assert [seen.buying_power for seen in desk.heard] == [D(1000), D(5000)]


@virtual
async def test_failures_are_told_to_those_who_asked_and_counted_for_the_rest() -> None:
    """The desk goes on with what it knows; the broker is asked again, ever more slowly."""
    teller, desk = Teller(), FakeDesk()
    teller.wrong = ConnectionError("503 token=abcdefgh12345678")
    data = account_of(teller)
    data.attach(desk)
    data.start()
    await asyncio.sleep(100)
    in_background = len(teller.asked)
    with pytest.raises(OrderStatusError, match="could not be asked: ConnectionError: 503") as told:
        await data.get()
    teller.wrong = None
    await asyncio.sleep(100)
    await data.close()

    assert in_background <= 7
    assert "abcdefgh" not in str(told.value)
    assert data.statistics()["failed"] == in_background + 1
    assert desk.heard[0].buying_power == D(1000)


@virtual
async def test_figures_that_are_none_are_no_figures() -> None:
    """NaN for buying power is a failure, and no desk is told."""
    teller, desk = Teller(), FakeDesk()
    teller.power = D("NaN")
    data = account_of(teller)
    data.attach(desk)

    with pytest.raises(OrderStatusError, match="buying power is NaN"):
        await data.get()
    assert desk.heard == []


@virtual
async def test_a_broker_that_never_answers_is_given_up() -> None:
    """A question has an end, and the next one is asked."""

    class Silent(Teller):
        async def account(self) -> AccountFigures:
            self.asked.append(0)
            await asyncio.get_running_loop().create_future()
            return AccountFigures()

    teller = Silent()
    data = account_of(teller)

    with pytest.raises(OrderStatusError, match="TimeoutError"):
        await data.get()
    with pytest.raises(OrderStatusError):
        await data.get()
    assert len(teller.asked) == 2


@virtual
async def test_a_broker_that_tells_nothing_is_never_asked() -> None:
    """Without the capability callers are told so; desks are not bothered."""
    teller, desk = Teller(), FakeDesk()
    broker: Any = teller
    data = AccountData(broker, Capabilities(), LoopScheduler().now_ns)
    data.attach(desk)
    data.start()
    await asyncio.sleep(200)

    with pytest.raises(OrderStatusError, match="tells neither buying power nor positions"):
        await data.get()
    assert teller.asked == []
    assert desk.on_durable is None
    await data.close()


@virtual
async def test_giving_up_a_call_leaves_the_question_to_the_others() -> None:
    """A caller that is cancelled takes nobody's answer away."""
    data = account_of(Teller())
    first, second = asyncio.create_task(data.get()), asyncio.create_task(data.get())
    await asyncio.sleep(0.01)
    first.cancel()

    assert isinstance(await second, AccountView)


@virtual
async def test_after_closing_nobody_is_asked() -> None:
    """Who waits, and who comes later, is told that it is closed."""
    teller = Teller()
    data = account_of(teller)
    waiting = asyncio.create_task(data.get())
    await asyncio.sleep(0.01)
    await data.close()

    with pytest.raises(Closed):
        await waiting
    with pytest.raises(Closed):
        await data.get()
    assert len(teller.asked) == 1


@virtual
async def test_a_fill_at_the_paper_venue_reaches_the_desk_as_less_to_spend() -> None:
    """From the venue's cash to the desk's memory, through a fill and the sale that undoes it."""
    venue = Venue()
    crowd = venue.add_listing(Instrument.of("TSLA", tick=1))
    crowd.place("ask", -1, 100, 5)
    crowd.place("bid", 1, 100 - 1, 5)
    venue.open_account("main", cash=D(1000))
    broker = PaperBroker(venue, "main", delays=LoopScheduler())
    async with open_desk(broker) as manager:
        powers: list[D] = []

        async def look() -> None:
            await asyncio.sleep(3)
            power = manager._runner.desk.guard.power
            assert power is not None
            powers.append(power.amount)

        await look()
        await manager.place_limit_order("TSLA", "buy", 5, "100", wait="accepted")
        await look()
        await manager.place_limit_order("TSLA", "sell", 5, "99", wait="accepted")
        await look()

    assert powers == [D(1000), D(500), D(995)]
    await broker.aclose()


@virtual
async def test_figures_that_cannot_be_read_serve_nobody() -> None:
    """A broker that answers nonsense is one that did not answer; what was known stands."""
    teller = Teller()
    data = account_of(teller)
    await data.get()
    for power in (D("NaN"), "much", 1.5):
        teller.power = power
        with pytest.raises(OrderStatusError):
            await data.get(fresh=True)
    teller.positions = None
    teller.power = D(5)
    with pytest.raises(OrderStatusError):
        await data.get(fresh=True)
    assert (await data.get()).buying_power == D(1000)
    assert data.statistics()["failed"] == 4


@virtual
async def test_desks_of_one_account_do_not_spend_the_same_money() -> None:
    """What one desk has open is taken off what the others are told, at once."""
    broker = Account()
    settings = Settings(policies=Policies(limits=Limits(buying_power=True)))
    desks = OpenDesks(MemoryJournal(), Manager, virtual_clock())
    await desks.add(
        AccountPlan(
            name="main",
            broker=broker,
            desks=tuple(
                Options(desk=name, account="main", instruments=INSTRUMENTS, settings=settings)
                for name in ("alpha", "beta")
            ),
            poll_interval_ms=15_000,
            unclaimed=False,
        )
    )
    await asyncio.sleep(1)
    order = await desks["alpha"].place_limit_order("TSLA", "buy", 9, "100", wait="accepted")
    with pytest.raises(OrderRefused, match="BUYING_POWER"):
        await desks["beta"].place_limit_order("TSLA", "buy", 9, "99")
    await desks["beta"].place_limit_order("TSLA", "buy", 1, "99", wait="accepted")
    await asyncio.sleep(1)
    await desks["alpha"].cancel_order(order.client_order_id)
    await asyncio.sleep(3)
    await desks["beta"].place_limit_order("TSLA", "buy", 9, "98", wait="accepted")
    await desks.shutdown()
