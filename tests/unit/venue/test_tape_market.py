"""A market that follows a tape, and what accounts do to it."""

from decimal import Decimal as D

from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, TimeInForce
from holdfast.venue.flow import Cancel, Execution, Replace, Submit, Unknown
from holdfast.venue.paper import Venue
from holdfast.venue.tape_market import TapeMarket


class World:
    """A venue that lists X, its tape, and one account."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.venue.add_listing(Instrument.of("X", tick="0.25"))
        self.venue.open_account("main")
        self.market = TapeMarket(self.venue, "X")
        self.rows = 0

    def submit(self, order_id: int, side: Side, quantity: int, price: str) -> None:
        self.rows += 1
        self.market.apply(Submit(self.rows, self.rows, order_id, side, D(quantity), D(price)))

    def replace(self, order_id: int, quantity: int, price: str) -> None:
        self.rows += 1
        self.market.apply(Replace(self.rows, self.rows, order_id, D(quantity), D(price)))

    def execute(self, order_id: int, quantity: int, price: str) -> None:
        self.rows += 1
        trade = Execution(self.rows, self.rows, order_id, D(quantity), D(price), f"x{self.rows}")
        self.market.apply(trade)

    def order(self, side: Side, quantity: int, price: str | None = None) -> D:
        """Place an order of the account, and return its position."""
        terms = OrderTerms(
            symbol="X",
            side=side,
            quantity=D(quantity),
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            limit_price=None if price is None else D(price),
            time_in_force=TimeInForce.GTC,
        )
        self.venue.submit("main", "", terms, self.rows)
        return self.position

    @property
    def position(self) -> D:
        return self.venue.positions("main").get("X", D(0))

    def bids(self) -> list[tuple[D, D]]:
        return self.venue.depth("X", Side.BUY, 10)


def test_orders_rest_move_trade_and_end_as_recorded() -> None:
    """Sizes of a replace count what was filled before; a row of an unknown order does nothing."""
    world = World()
    world.submit(1, Side.BUY, 5, "10.25")
    world.submit(2, Side.BUY, 3, "10.00")
    world.execute(1, 2, "10.25")
    world.replace(1, 6, "10.00")

    assert world.bids() == [(D("10.00"), D(7))]
    world.market.apply(Unknown(9, 9, 77))
    world.market.apply(Cancel(10, 10, 2))
    assert world.bids() == [(D("10.00"), D(4))]
    assert (world.market.crowd.missed, world.market.played) == (0, 6)


def test_an_account_that_stands_before_trades_instead() -> None:
    """A better price trades first, and the tape's order keeps what it would have traded."""
    world = World()
    world.submit(1, Side.BUY, 5, "10.00")
    world.order(Side.BUY, 2, "10.25")
    world.execute(1, 3, "10.00")

    assert world.position == D(2)
    assert world.bids() == [(D("10.00"), D(4))]


def test_an_account_that_stands_behind_waits() -> None:
    """At the same price whoever came first trades first."""
    world = World()
    world.submit(1, Side.BUY, 5, "10.00")
    world.order(Side.BUY, 2, "10.00")
    world.execute(1, 5, "10.00")

    assert world.position == D(0)


def test_what_an_account_takes_is_gone_for_good() -> None:
    """The tape's trade with an order that was taken is left out and counted."""
    world = World()
    world.submit(1, Side.SELL, 2, "10.00")
    world.submit(2, Side.SELL, 2, "10.25")

    assert world.order(Side.BUY, 3) == D(3)
    world.execute(1, 2, "10.00")
    assert world.market.crowd.missed == 1
    world.replace(2, 4, "10.50")
    assert world.venue.depth("X", Side.SELL, 10) == [(D("10.50"), D(4))]
