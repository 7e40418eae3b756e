"""The comparison of a journal with the venue's books finds what is not the same."""

from decimal import Decimal as D

from holdfast.brokers.paper import PaperBroker
from holdfast.domain.group import STOP
from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, TimeInForce
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.bracket_books import Watch, differences, figures, folded
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.fees import Fees
from holdfast.venue.paper import Venue
from holdfast.wiring import OrderManager

X = Instrument.of("X", tick=1, multiplier=50)


class World:
    """A market in X that is 99 to 101, and the journal of one desk."""

    def __init__(self) -> None:
        self.venue, self.journal = Venue(fees=Fees(per_unit=D("1.18"))), MemoryJournal()
        self.crowd = self.venue.add_listing(X)
        self.crowd.place("bid", 1, 99, 50)
        self.crowd.place("ask", -1, 101, 50)
        self.broker = PaperBroker(self.venue, "main", delays=LoopScheduler())
        self.watch = Watch(self.venue, "main", "X")

    async def stopped_out(self) -> None:
        """Buy one at 101, and be stopped at 98."""
        async with OrderManager.open(
            journal=self.journal, broker=self.broker, instruments=[X], clock=virtual_clock()
        ) as manager:
            group = await manager.place_bracket_order(
                "X", "buy", 1, stop_loss_price="98", take_profit_price="110", wait="protected"
            )
            assert self.watch.uncovered() == 0
            self.crowd.place("lower", 1, 98, 50)
            self.crowd.take(-1, 51)
            await manager.wait_group(group.group)
        await self.broker.aclose()

    def differences(self) -> list[str]:
        return differences(self.journal, "main", self.venue, "main", X)


@virtual
async def test_equal_books_have_no_difference_and_their_figures_are_exact() -> None:
    """A bracket that was stopped: no difference, and what the stop lost."""
    world = World()
    await world.stopped_out()

    found = figures(folded(world.journal, "main")[0], X)

    assert world.differences() == []
    assert found.brackets == 1
    assert found.ends == {"filled": 1, "stop traded": 1}
    assert found.profit[STOP] == found.profit["total"] == D(-150)
    assert found.profit["closes"] == 0


@virtual
async def test_a_trade_that_the_venue_corrects_behind_the_desk_is_found() -> None:
    """The execution, and the cash that it came to."""
    world = World()
    await world.stopped_out()
    traded = world.venue.orders("main")[0].fills[0].execution
    world.venue.correct(traded.execution_id, traded.quantity, D(100))

    found = world.differences()

    assert [text.split(" ")[0] for text in found] == ["execution", "cash"]


@virtual
async def test_what_works_or_trades_at_the_venue_alone_is_found() -> None:
    """An order placed by hand rests, and then trades: the order, its execution, and the sums."""
    world = World()
    await world.stopped_out()
    terms = OrderTerms(
        symbol="X",
        side=Side.BUY,
        quantity=D(2),
        order_type=OrderType.LIMIT,
        limit_price=D(100),
        time_in_force=TimeInForce.GTC,
    )
    world.venue.submit("main", "", terms, world.venue.now_ns)
    assert [text.split(" ", 1)[1] for text in world.differences()] == ["is open at the venue"]
    world.crowd.take(-1, 2, 100)

    found = world.differences()

    assert [text.split(" ")[0] for text in found] == ["execution", "position", "cash", "fees"]
    assert world.watch.uncovered() == 2
