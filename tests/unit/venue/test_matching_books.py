"""The venue's own books: money, positions and fees, busts and corrections, and the crowd."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Liquidity, OrderType, Side, Status
from holdfast.errors import AmountError, InputError, UnknownSymbolError
from holdfast.venue.books import Books
from holdfast.venue.fees import Fees
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue

BUY, SELL = Side.BUY, Side.SELL
ABC = Instrument.of("ABC", tick=1, lot=1, multiplier=50)
COIN = Instrument.of("COIN-USD", tick="0.01", lot="0.001", base="COIN")


class Floor:
    """A venue with accounts a and b and one symbol."""

    def __init__(self, instrument: Instrument = ABC, **options: Any) -> None:
        self.venue = Venue(**options)
        self.symbol = instrument.symbol
        self.crowd = self.venue.add_listing(instrument)
        self.reports: list[Report] = []
        for name in "ab":
            self.venue.open_account(name)
            self.venue.subscribe(name, self.reports.append)

    def send(self, account: str, side: Side, quantity: object, limit: object) -> VenueOrder:
        """Submit a limit order that is taken."""
        terms = OrderTerms(
            symbol=self.symbol,
            side=side,
            quantity=D(str(quantity)),
            order_type=OrderType.LIMIT,
            limit_price=D(str(limit)),
        )
        answer = self.venue.submit(account, "", terms, 0)
        assert isinstance(answer, Accepted), answer
        return self.venue.order(answer.broker_order_id)

    def books(self) -> list[Books]:
        """The books of both accounts and of the crowd."""
        return [self.venue.books("a"), self.venue.books("b"), self.venue.crowd_books()]


def total(books: list[Books], kind: str) -> dict[str, D]:
    """Sum positions, cash or fees over several books."""
    sums: dict[str, D] = {}
    for book in books:
        for name, amount in getattr(book, kind).items():
            sums[name] = sums.get(name, D(0)) + amount
    return {name: amount for name, amount in sums.items() if amount}


def test_a_trade_moves_quantity_and_money_between_accounts() -> None:
    """The buyer has the lots, the seller price times quantity times multiplier; the sum is zero."""
    floor = Floor()
    floor.send("a", SELL, 3, 100)
    order = floor.send("b", BUY, 2, 100)

    seller, buyer, _ = floor.books()

    assert (buyer.positions, buyer.cash) == ({"ABC": D(2)}, {"USD": D(-10_000)})
    assert (seller.positions, seller.cash) == ({"ABC": D(-2)}, {"USD": D(10_000)})
    assert buyer.orders[0].broker_order_id == order.broker_order_id
    assert (buyer.orders[0].filled, buyer.orders[0].notional) == (D(2), D(200))


def test_maker_and_taker_fees_leave_the_cash_and_are_kept_per_order() -> None:
    """1 and 2 basis points of 10,000 are 1 and 2."""
    floor = Floor(fees=Fees(maker_bps=D(1), taker_bps=D(2)))
    floor.send("a", SELL, 2, 100)
    floor.send("b", BUY, 2, 100)

    seller, buyer, _ = floor.books()

    assert (seller.fees, buyer.fees) == ({"USD": D(1)}, {"USD": D(2)})
    assert (seller.cash, buyer.cash) == ({"USD": D(9_999)}, {"USD": D(-10_002)})
    assert buyer.orders[0].fees == {"USD": D(2)}
    assert total(floor.books(), "cash") == {"USD": D(-3)}


def test_a_fee_per_unit_and_a_rebate_are_charged_as_such() -> None:
    """Futures cost so much a contract; a maker may be paid."""
    fees = Fees(maker_bps=D("-0.5"), per_unit=D("0.85"))

    taken = fees.charge(ABC, BUY, D(2), D(10_000), Liquidity.TAKER)
    made = fees.charge(ABC, SELL, D(2), D(10_000), Liquidity.MAKER)

    assert (taken, made) == ((D("1.7"), "USD"), (D("1.2"), "USD"))


def test_a_fee_in_the_base_asset_lowers_the_position_of_the_buyer() -> None:
    """The buyer of 1.5 pays 10 basis points of it; the seller pays money (scenario 113)."""
    floor = Floor(COIN, fees=Fees(maker_bps=D(10), taker_bps=D(10), in_base=True))
    floor.send("a", SELL, "1.5", "200.10")
    floor.send("b", BUY, "1.5", "200.10")

    seller, buyer, _ = floor.books()

    assert buyer.positions == {"COIN-USD": D("1.4985")}
    assert buyer.fees == {"COIN": D("0.0015")}
    assert buyer.cash == {"USD": D("-300.150")}
    assert seller.fees == {"USD": D("0.30015")}
    execution = floor.reports[-1].execution
    assert execution is not None
    assert execution.fee_currency == "USD"


def test_a_fee_is_rounded_once_to_the_decimals_of_the_schedule() -> None:
    """What a venue charges has a last digit, rounded half up."""
    fees = Fees(taker_bps=D(1), decimals=2)

    assert fees.charge(ABC, BUY, D(1), D(150), Liquidity.TAKER)[0] == D("0.02")
    assert fees.charge(ABC, BUY, D(1), D(149), Liquidity.TAKER)[0] == D("0.01")


def test_a_bust_undoes_both_sides_exactly() -> None:
    """Quantity, money and fees of the trade are gone on both sides (scenario 83)."""
    floor = Floor(fees=Fees(taker_bps=D(2)))
    maker = floor.send("a", SELL, 5, 100)
    taker = floor.send("b", BUY, 2, 100)
    busted = taker.fills[0].execution.execution_id

    floor.venue.bust(busted)

    assert [(book.positions, book.cash, book.fees) for book in floor.books()] == [({}, {}, {})] * 3
    assert (maker.status, maker.leaves) == (Status.OPEN, 5)
    assert (taker.status, taker.cumulative) == (Status.CANCELED, D(0))
    cancels = [r for r in floor.reports if r.kind is ReportKind.TRADE_CANCEL]
    assert [report.execution_ref for report in cancels] == [
        busted,
        maker.fills[0].execution.execution_id,
    ]
    assert taker.sighting().executions == ()


def test_a_busted_order_may_be_put_back_to_work() -> None:
    """With `reinstate` a filled order works again for what it lost."""
    floor = Floor()
    order = floor.send("b", BUY, 2, 100)
    floor.crowd.take(-1, 2)

    floor.venue.bust(order.fills[0].execution.execution_id, reinstate=True)

    assert order.status is Status.OPEN
    assert floor.venue.top("ABC").bid_quantity == 2
    assert floor.venue.orders("b", working=True) == [order]


def test_a_correction_gives_both_sides_the_new_terms() -> None:
    """A corrected trade is booked as if it had always been so (scenario 83)."""
    floor = Floor(fees=Fees(maker_bps=D(1), taker_bps=D(2)))
    maker = floor.send("a", SELL, 5, 100)
    taker = floor.send("b", BUY, 2, 100)
    first = taker.fills[0].execution.execution_id

    floor.venue.correct(first, D(1), D(99))

    seller, buyer, _ = floor.books()
    assert (buyer.positions, seller.positions) == ({"ABC": D(1)}, {"ABC": D(-1)})
    assert (buyer.cash, seller.cash) == ({"USD": D("-4950.99")}, {"USD": D("4949.505")})
    assert (maker.status, maker.leaves) == (Status.PARTIAL_FILL, 4)
    assert (taker.status, taker.cumulative) == (Status.CANCELED, D(1))
    assert taker.sighting().executions[0].execution_id == first


def test_a_correction_has_an_id_of_its_own_by_which_it_can_be_corrected_again() -> None:
    """The report names the old execution and carries a new id; both find the trade."""
    floor = Floor()
    order = floor.send("b", BUY, 5, 100)
    floor.crowd.take(-1, 2)
    first = order.fills[0].execution.execution_id

    floor.venue.correct(first, D(1), D(100))
    report = floor.reports[-1]
    assert report.execution is not None
    floor.venue.correct(report.execution.execution_id, D(3), D(98))

    assert report.execution_ref == first != report.execution.execution_id
    assert (order.cumulative, order.spent) == (D(3), D(294))
    assert floor.venue.crowd_books().positions == {"ABC": D(-3)}


def test_a_correction_that_completes_an_order_ends_it() -> None:
    """More than was left to fill is booked all the same, and the order is done (scenario 9)."""
    floor = Floor()
    order = floor.send("b", BUY, 5, 100)
    floor.crowd.take(-1, 2)

    floor.venue.correct(order.fills[0].execution.execution_id, D(6), D(100))

    assert (order.status, order.cumulative) == (Status.FILLED, D(6))
    assert floor.venue.top("ABC").bid is None
    assert floor.venue.orders("b", working=True) == []


def test_a_bust_of_a_replaced_order_lowers_what_its_successor_carries() -> None:
    """What was carried over to a new broker order goes with the trade it came from."""
    floor = Floor()
    order = floor.send("b", BUY, 5, 100)
    order.account.capabilities = type(order.account.capabilities)(new_id_on_replace=True)
    floor.crowd.take(-1, 2)
    terms = OrderTerms(
        symbol="ABC", side=BUY, quantity=D(6), order_type=OrderType.LIMIT, limit_price=D(100)
    )
    floor.venue.replace(
        "b", wire_id="r", terms=terms, broker_order_id=order.broker_order_id, now_ns=0
    )

    floor.venue.bust(order.fills[0].execution.execution_id)

    assert order.successor is not None
    assert (order.successor.cumulative, order.successor.leaves) == (D(0), 6)
    assert floor.venue.top("ABC").bid_quantity == 6
    floor.crowd.take(-1, 1)
    assert order.successor.snapshot().average_price == D(100)


@pytest.mark.parametrize("call", ["unknown", "twice", "off_lot", "off_tick", "zero"])
def test_what_cannot_be_undone_is_refused_with_a_reason(call: str) -> None:
    """An unknown execution, a second bust and amounts off the grid change nothing."""
    floor = Floor()
    order = floor.send("b", BUY, 5, 100)
    floor.crowd.take(-1, 2)
    trade = order.fills[0].execution.execution_id
    if call == "twice":
        floor.venue.bust(trade)
    before = floor.books()

    with pytest.raises(InputError):
        {
            "unknown": lambda: floor.venue.bust("X-99"),
            "twice": lambda: floor.venue.bust(trade),
            "off_lot": lambda: floor.venue.correct(trade, D("1.5"), D(100)),
            "off_tick": lambda: floor.venue.correct(trade, D(1), D("99.5")),
            "zero": lambda: floor.venue.correct(trade, D(0), D(100)),
        }[call]()

    assert floor.books() == before


def test_dictated_trades_follow_a_recorded_market() -> None:
    """Without matching, orders cross and rest, and trade only as they are told."""
    venue = Venue()
    venue.add_listing(ABC, matching=False)
    venue.open_account("a")
    reports: list[Report] = []
    venue.subscribe("a", reports.append)
    for wire_id, side in (("w1", BUY), ("w2", SELL)):
        terms = OrderTerms(
            symbol="ABC", side=side, quantity=D(5), order_type=OrderType.LIMIT, limit_price=D(100)
        )
        venue.submit("a", wire_id, terms, 0)

    venue.execute("V-1", D(2), D(99))
    venue.execute("V-1", D(3), D(100))

    assert [report.kind.value for report in reports] == ["new", "new", "trade", "trade"]
    assert venue.order("V-1").status is Status.FILLED
    assert venue.order("V-2").status is Status.OPEN
    with pytest.raises(InputError, match="is filled"):
        venue.execute("V-1", D(1), D(100))
    with pytest.raises(InputError, match="5 left"):
        venue.execute("V-2", D(6), D(100))
    with pytest.raises(AmountError):
        venue.execute("V-2", D("0.5"), D(100))


def test_a_followed_order_lets_the_accounts_ahead_of_it_trade_first() -> None:
    """The recorded aggressor would have met better prices and older orders before."""
    floor = Floor()
    better = floor.send("a", BUY, 1, 101)
    older = floor.send("a", BUY, 1, 100)
    floor.crowd.add(7, 1, 100, 5)
    newer = floor.send("b", BUY, 1, 100)

    floor.crowd.execute(7, 3)

    assert [order.filled for order in (better, older, newer)] == [1, 1, 0]
    assert floor.venue.top("ABC").bid_quantity == 5  # four of the followed order, one newer


def test_followed_orders_never_trade_among_themselves() -> None:
    """A recorded book may be crossed, as before an opening."""
    floor = Floor()
    floor.crowd.add(1, 1, 105, 5)
    floor.crowd.add(2, -1, 100, 5)

    top = floor.venue.top("ABC")

    assert (top.bid, top.ask, top.last) == (D(105), D(100), None)


def test_a_followed_order_that_crosses_an_account_trades_with_it() -> None:
    """The rest of it joins the book."""
    floor = Floor()
    order = floor.send("a", SELL, 2, 100)

    floor.crowd.add(1, 1, 100, 5)

    assert order.status is Status.FILLED
    assert floor.venue.top("ABC").bid_quantity == 3
    assert total(floor.books(), "positions") == {}


def test_a_followed_order_keeps_its_place_only_if_it_shrinks() -> None:
    """Recorded modifications have the venue's own rule of priority."""
    floor = Floor()
    floor.crowd.add(1, 1, 100, 5)
    order = floor.send("a", BUY, 1, 100)
    floor.crowd.modify(1, 100, 4)
    floor.crowd.take(-1, 4)
    assert order.filled == 0

    floor.crowd.add(2, 1, 100, 5)
    floor.crowd.modify(2, 100, 9)
    floor.crowd.take(-1, 1)

    assert order.filled == 1


def test_what_a_tape_says_of_orders_that_are_gone_is_counted() -> None:
    """An account's order may have taken them; nothing breaks."""
    floor = Floor()
    floor.crowd.add(1, 1, 100, 5)
    floor.crowd.reduce(1, 2)
    floor.send("a", SELL, 3, 100)

    floor.crowd.execute(1, 1)
    floor.crowd.modify(1, 100, 1)
    floor.crowd.reduce(1, 1)
    floor.crowd.cancel(1)

    assert floor.crowd.missed == 4


def test_quotes_of_a_feed_make_the_market_that_accounts_trade_in() -> None:
    """A quote gives liquidity, and one that moves through a resting order fills it."""
    floor = Floor()
    floor.crowd.quote(1, 99, 10)
    floor.crowd.quote(-1, 101, 10)
    taker = floor.send("a", BUY, 4, 101)
    maker = floor.send("b", BUY, 4, 100)
    assert floor.venue.top("ABC").ask_quantity == 6

    floor.crowd.quote(-1, 101, 10)
    assert floor.venue.top("ABC").ask_quantity == 10
    floor.crowd.quote(-1, 100, 3)

    assert (taker.cumulative, maker.cumulative) == (D(4), D(3))
    floor.crowd.quote(-1, 0, 0)
    assert floor.venue.top("ABC").ask is None


def test_a_printed_trade_fills_accounts_at_better_prices_and_those_first_in_line() -> None:
    """At the printed price an order behind the crowd waits."""
    floor = Floor()
    better = floor.send("a", BUY, 1, 101)
    first = floor.send("a", BUY, 1, 100)
    floor.crowd.quote(1, 100, 5)
    behind = floor.send("b", BUY, 1, 100)

    floor.crowd.trade(-1, 100, 10)

    assert [order.filled for order in (better, first, behind)] == [1, 1, 0]
    assert floor.venue.top("ABC").last == D(100)


def test_the_depth_shows_prices_with_all_that_rests_at_them() -> None:
    """Best first, both kinds of orders summed."""
    floor = Floor()
    floor.send("a", BUY, 1, 99)
    floor.crowd.add(1, 1, 99, 4)
    floor.crowd.add(2, 1, 98, 2)

    assert floor.venue.depth("ABC", BUY, 5) == [(D(99), D(5)), (D(98), D(2))]
    assert floor.venue.depth("ABC", BUY, 1) == [(D(99), D(5))]
    assert floor.venue.depth("ABC", SELL, 5) == []


def test_names_that_the_venue_does_not_know_are_told() -> None:
    """Each message says what was given and what would do."""
    floor = Floor()

    with pytest.raises(UnknownSymbolError, match="ABC"):
        floor.venue.top("XYZ")
    with pytest.raises(InputError, match="open_account"):
        floor.venue.books("nobody")
    with pytest.raises(InputError, match="V-1"):
        floor.venue.order("V-1")
    with pytest.raises(InputError, match="listed already"):
        floor.venue.add_listing(ABC)
