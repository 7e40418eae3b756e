"""The simulated market."""

from decimal import Decimal as D

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import InputError, UnknownSymbolError
from holdfast.venue.market import MarketShape, SimulatedMarket
from holdfast.venue.paper import TopOfBook, Venue


def market(seed: int = 1, shape: MarketShape | None = None) -> tuple[Venue, SimulatedMarket]:
    """A venue with one symbol whose market begins at 100.00."""
    venue = Venue()
    venue.add_listing(Instrument.of("ABC"))
    venue.open_account("main")
    return venue, SimulatedMarket(venue, "ABC", middle=10_000, seed=seed, shape=shape)


def tops(seed: int, steps: int) -> list[TopOfBook]:
    """The best prices after each step."""
    venue, crowd = market(seed)
    seen = []
    for number in range(steps):
        crowd.step(number)
        seen.append(venue.top("ABC"))
    return seen


def test_a_market_is_the_same_for_the_same_seed() -> None:
    """Prices and sizes follow from the seed (scenario 99)."""
    assert tops(1, 50) == tops(1, 50)
    assert tops(1, 50) != tops(2, 50)


def test_a_market_always_has_two_sides_that_do_not_cross() -> None:
    """Whoever wants to get out finds a counterpart."""
    for top in tops(3, 500):
        assert top.bid is not None
        assert top.ask is not None
        assert 0 < top.bid < top.ask


def test_a_market_moves_and_trades() -> None:
    """In a few hundred steps the price has gone up and down and somebody has traded."""
    seen = tops(4, 300)

    assert len({top.bid for top in seen}) > 5
    assert len({top.last for top in seen}) > 5


def test_the_book_of_a_market_stays_bounded() -> None:
    """However long it lives, it holds at most one order per price within its depth."""
    venue, crowd = market(5)
    for number in range(2_000):
        crowd.step(number)

    levels = [*venue.depth("ABC", Side.BUY, 100), *venue.depth("ABC", Side.SELL, 100)]
    assert len(levels) <= 10
    assert len(crowd._resting) <= 10


def test_a_resting_order_fills_when_the_market_comes_to_it() -> None:
    """An account's bid trades once the middle has fallen through it."""
    venue, crowd = market(6)
    terms = OrderTerms(
        symbol="ABC",
        side=Side.BUY,
        quantity=D(3),
        order_type=OrderType.LIMIT,
        limit_price=D("99.90"),
    )
    venue.submit("main", "w1", terms, 0)

    for _ in range(20):
        crowd.move(-1)

    assert venue.order("V-1").status is Status.FILLED


def test_a_halted_market_stands_still() -> None:
    """During a halt neither price nor book changes."""
    venue, crowd = market(7)
    venue.halt("ABC")
    before = venue.depth("ABC", Side.BUY, 10)

    for number in range(50):
        crowd.step(number)

    assert venue.depth("ABC", Side.BUY, 10) == before
    assert venue.top("ABC").last is None


def test_the_price_of_a_market_stays_above_zero() -> None:
    """However far it falls, each bid is a price."""
    venue, crowd = market(8)

    crowd.move(-20_000)

    assert min(price for price, _ in venue.depth("ABC", Side.BUY, 10)) > 0


def test_an_impossible_market_is_refused() -> None:
    """A shape without room for orders and a symbol nobody listed are told."""
    for shape in ({"spread": 0}, {"spread": 6, "depth": 5}, {"lots_max": 0}, {"depth": 10**6}):
        with pytest.raises(InputError):
            MarketShape(**shape)
    with pytest.raises(UnknownSymbolError):
        SimulatedMarket(Venue(), "ABC", middle=100)
