"""Which orders trade with which, at what price, and what becomes of the rest."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, RefusalCode, Refused, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status, TimeInForce
from holdfast.venue.matching import SelfTrade
from holdfast.venue.paper import Venue

BUY, SELL = Side.BUY, Side.SELL
IOC, FOK, GTD = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD


class Floor:
    """A venue with accounts a, b and c, one symbol in whole numbers, and all reports."""

    def __init__(self, **options: Any) -> None:
        self.venue = Venue(**options)
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick=1, lot=1))
        self.reports: list[Report] = []
        self.now_ns = 0
        for name in "abc":
            self.venue.open_account(name)
            self.venue.subscribe(name, self.reports.append)

    def send(self, account: str, side: Side, quantity: int | None, **terms: Any) -> Any:
        """Submit an order, a limit order where a limit is given; returns the answer."""
        if "limit" in terms:
            terms["limit_price"] = D(terms.pop("limit"))
            terms.setdefault("order_type", OrderType.LIMIT)
        size = None if quantity is None else D(quantity)
        self.now_ns += 1
        return self.venue.submit(
            account,
            f"w{self.now_ns}",
            OrderTerms(symbol="ABC", side=side, quantity=size, **terms),
            self.now_ns,
        )

    def placed(self, account: str, side: Side, quantity: int | None, **terms: Any) -> str:
        """Submit an order that is taken; returns its broker order id."""
        answer = self.send(account, side, quantity, **terms)
        assert isinstance(answer, Accepted), answer
        return answer.broker_order_id

    def kinds(self, broker_order_id: str) -> list[str]:
        """The kinds of an order's reports, in order."""
        return [r.kind.value for r in self.reports if r.broker_order_id == broker_order_id]

    def state(self, broker_order_id: str) -> tuple[Status, D]:
        """Status and filled quantity of an order."""
        order = self.venue.order(broker_order_id)
        return order.status, order.cumulative

    def prints(self, broker_order_id: str) -> list[tuple[D, D]]:
        """Quantity and price of each execution of an order."""
        fills = self.venue.order(broker_order_id).fills
        return [(fill.execution.quantity, fill.execution.price) for fill in fills]

    def position(self, account: str) -> D:
        """The position of an account in the venue's books."""
        return self.venue.books(account).positions.get("ABC", D(0))


def test_an_order_that_meets_nothing_rests_and_shows_in_the_book() -> None:
    """A limit order without a counterpart is acknowledged and becomes the best bid."""
    floor = Floor()

    order = floor.placed("a", BUY, 5, limit=100)

    assert floor.kinds(order) == ["new"]
    assert floor.state(order) == (Status.OPEN, D(0))
    top = floor.venue.top("ABC")
    assert (top.bid, top.bid_quantity, top.ask, top.last) == (D(100), D(5), None, None)


def test_a_trade_is_at_the_resting_price_and_both_sides_hear_of_it() -> None:
    """Who comes later gets the better price of who was there; each side has its own execution."""
    floor = Floor()
    maker = floor.placed("a", SELL, 5, limit=100)

    taker = floor.placed("b", BUY, 3, limit=105)

    assert floor.prints(taker) == floor.prints(maker) == [(D(3), D(100))]
    assert floor.state(taker) == (Status.FILLED, D(3))
    assert floor.state(maker) == (Status.PARTIAL_FILL, D(3))
    trades = [r.execution for r in floor.reports if r.kind is ReportKind.TRADE]
    assert [trade.liquidity for trade in trades if trade] == ["taker", "maker"]
    assert len({trade.execution_id for trade in trades if trade}) == 2


def test_better_prices_trade_first_and_older_orders_first_at_one_price() -> None:
    """Price goes before time, and time decides at one price."""
    floor = Floor()
    late = floor.placed("a", SELL, 2, limit=101)
    first = floor.placed("a", SELL, 2, limit=100)
    second = floor.placed("b", SELL, 2, limit=100)

    taker = floor.placed("c", BUY, 5, limit=101)

    assert floor.prints(taker) == [(D(2), D(100)), (D(2), D(100)), (D(1), D(101))]
    assert floor.state(first) == floor.state(second) == (Status.FILLED, D(2))
    assert floor.state(late) == (Status.PARTIAL_FILL, D(1))


def test_a_market_order_takes_what_there_is_and_the_rest_is_cancelled() -> None:
    """No market order waits in the book."""
    floor = Floor()
    floor.placed("a", SELL, 2, limit=100)

    order = floor.placed("b", BUY, 5)

    assert floor.kinds(order) == ["new", "trade", "canceled"]
    assert floor.state(order) == (Status.CANCELED, D(2))


def test_an_immediate_order_does_not_rest() -> None:
    """IOC trades what it can at once and leaves nothing behind."""
    floor = Floor()
    floor.placed("a", SELL, 2, limit=100)

    order = floor.placed("b", BUY, 5, limit=100, time_in_force=IOC)

    assert floor.state(order) == (Status.CANCELED, D(2))
    assert floor.venue.top("ABC").bid is None


@pytest.mark.parametrize(("resting", "status"), [(4, Status.CANCELED), (5, Status.FILLED)])
def test_fill_or_kill_trades_all_or_nothing(resting: int, status: Status) -> None:
    """FOK counts what the book offers at its price or better before it touches anything."""
    floor = Floor()
    maker = floor.placed("a", SELL, resting, limit=100)
    floor.placed("a", SELL, 9, limit=101)

    order = floor.placed("b", BUY, 5, limit=100, time_in_force=FOK)

    assert floor.state(order)[0] is status
    assert floor.state(maker)[1] == (5 if status is Status.FILLED else 0)


def test_fill_or_kill_does_not_count_what_self_trade_prevention_takes_away() -> None:
    """An order of one's own in the way is not liquidity."""
    floor = Floor()
    own = floor.placed("b", SELL, 3, limit=100)
    other = floor.placed("a", SELL, 3, limit=100)

    order = floor.placed("b", BUY, 3, limit=100, time_in_force=FOK)

    assert floor.state(order) == (Status.CANCELED, D(0))
    assert floor.state(own)[0] is floor.state(other)[0] is Status.OPEN


def test_fill_or_kill_counts_a_reduce_only_order_for_no_more_than_it_can_trade() -> None:
    """What the maker's own better offer sells first is no longer there to be reduced."""
    floor = Floor()
    floor.crowd.add("x", -1, 100, 50)
    floor.placed("a", BUY, 3)
    floor.crowd.clear()
    floor.placed("a", SELL, 2, limit=100)
    floor.placed("a", SELL, 3, limit=101, reduce_only=True)

    too_much = floor.placed("b", BUY, 4, limit=101, time_in_force=FOK)
    just_right = floor.placed("b", BUY, 3, limit=101, time_in_force=FOK)

    assert floor.state(too_much) == (Status.CANCELED, D(0))
    assert floor.state(just_right) == (Status.FILLED, D(3))


def test_fill_or_kill_by_notional_passes_over_an_order_that_has_nothing_to_reduce() -> None:
    """That order goes away; the money is used up behind it."""
    floor = Floor()
    floor.crowd.add("x", -1, 100, 2)
    floor.placed("a", BUY, 2)
    floor.placed("a", SELL, 2, limit=100)
    idle = floor.placed("a", SELL, 1, limit=101, reduce_only=True)
    floor.crowd.add("y", -1, 102, 5)

    order = floor.placed("b", BUY, None, notional=D(305), time_in_force=FOK)

    assert floor.state(order) == (Status.FILLED, D(3))
    assert floor.prints(order) == [(D(2), D(100)), (D(1), D(102))]
    assert floor.state(idle) == (Status.CANCELED, D(0))


def test_a_post_only_order_that_would_trade_is_refused_and_leaves_no_order() -> None:
    """Post-only either rests or is refused; the id of a refused order stays free."""
    floor = Floor()
    floor.placed("a", SELL, 5, limit=100)

    answer = floor.send("b", BUY, 5, limit=100, post_only=True)

    assert isinstance(answer, Refused)
    assert floor.venue.orders("b") == []
    assert floor.state(floor.placed("b", BUY, 5, limit=99, post_only=True))[0] is Status.OPEN


@pytest.mark.parametrize(
    ("mode", "oldest", "newest"),
    [
        (SelfTrade.CANCEL_NEWEST, Status.OPEN, Status.CANCELED),
        (SelfTrade.CANCEL_OLDEST, Status.CANCELED, Status.OPEN),
        (SelfTrade.CANCEL_BOTH, Status.CANCELED, Status.CANCELED),
    ],
)
def test_an_account_never_trades_with_itself(
    mode: SelfTrade, oldest: Status, newest: Status
) -> None:
    """Self-trade prevention ends one order or both, and nothing trades."""
    floor = Floor(self_trade=mode)
    resting = floor.placed("a", SELL, 5, limit=100)

    coming = floor.placed("a", BUY, 5, limit=100)

    assert (floor.state(resting), floor.state(coming)) == ((oldest, D(0)), (newest, D(0)))


def test_reduce_only_trades_no_further_than_to_flat() -> None:
    """A reduce-only order larger than the position closes it and the rest is cancelled."""
    floor = Floor()
    floor.crowd.add("x", -1, 100, 50)
    floor.crowd.add("y", 1, 99, 50)
    floor.placed("a", BUY, 3)

    order = floor.placed("a", SELL, 10, reduce_only=True)

    assert floor.state(order) == (Status.CANCELED, D(3))
    assert floor.position("a") == 0


def test_reduce_only_without_a_position_to_reduce_is_refused() -> None:
    """A side that would open or grow the position is refused."""
    floor = Floor()
    floor.crowd.add("x", -1, 100, 50)
    floor.placed("a", BUY, 3)

    assert isinstance(floor.send("a", BUY, 1, reduce_only=True), Refused)
    assert isinstance(floor.send("b", SELL, 1, reduce_only=True), Refused)


def test_resting_reduce_only_orders_share_one_position() -> None:
    """Of two exits for the same shares the second is cancelled when its turn comes."""
    floor = Floor()
    floor.crowd.add("x", -1, 100, 50)
    floor.placed("a", BUY, 3)
    first = floor.placed("a", SELL, 3, limit=101, reduce_only=True)
    second = floor.placed("a", SELL, 3, limit=102, reduce_only=True)
    floor.crowd.clear()

    floor.crowd.take(1, 10)

    assert floor.state(first) == (Status.FILLED, D(3))
    assert floor.state(second) == (Status.CANCELED, D(0))
    assert floor.position("a") == 0


def test_a_notional_order_buys_whole_lots_until_the_money_is_used() -> None:
    """500 buys 2 at 100 and 2 at 101; the 98 left pay no further lot, and the order is full.

    (scenario 113)
    """
    floor = Floor()
    floor.placed("a", SELL, 2, limit=100)
    floor.placed("a", SELL, 9, limit=101)

    order = floor.placed("b", BUY, None, notional=D(500))

    assert floor.prints(order) == [(D(2), D(100)), (D(2), D(101))]
    assert floor.state(order) == (Status.FILLED, D(4))
    own = [report for report in floor.reports if report.broker_order_id == order]
    assert [report.full for report in own] == [False, False, True]
    assert (own[-1].cumulative, own[-1].order_quantity) == (D(4), D(4))


def test_a_notional_order_that_pays_no_lot_is_cancelled() -> None:
    """Nothing trades where the money does not pay one lot."""
    floor = Floor()
    floor.placed("a", SELL, 2, limit=100)

    assert floor.state(floor.placed("b", BUY, None, notional=D(99))) == (Status.CANCELED, D(0))


@pytest.mark.parametrize(
    ("side", "stop", "before", "reached"), [(BUY, 102, 101, 102), (SELL, 98, 99, 98)]
)
def test_a_stop_waits_until_the_last_price_reaches_it(
    side: Side, stop: int, before: int, reached: int
) -> None:
    """A buy stop goes to work at its price or above, a sell stop at its price or below."""
    floor = Floor()
    floor.crowd.add("bid", 1, 90, 50)
    floor.crowd.add("ask", -1, 110, 50)
    floor.crowd.trade(1, 100, 1)
    order = floor.placed("a", side, 5, order_type=OrderType.STOP, stop_price=D(stop))

    floor.crowd.trade(1, before, 1)
    assert floor.state(order) == (Status.OPEN, D(0))
    floor.crowd.trade(1, reached, 1)

    assert floor.state(order) == (Status.FILLED, D(5))


def test_a_stop_that_is_behind_the_last_price_goes_to_work_at_once() -> None:
    """A stop placed too late protects at the market."""
    floor = Floor()
    floor.crowd.add("bid", 1, 90, 50)
    floor.crowd.trade(-1, 95, 1)

    order = floor.placed("a", SELL, 5, order_type=OrderType.STOP, stop_price=D(97))

    assert floor.state(order) == (Status.FILLED, D(5))


def test_stops_set_off_stops_in_the_order_in_which_the_price_passes_them() -> None:
    """A cascade: the first stop's trade reaches the second; the nearer one goes first."""
    floor = Floor()
    floor.crowd.add("p97", 1, 97, 5)
    floor.crowd.add("p95", 1, 95, 50)
    floor.crowd.trade(-1, 100, 1)
    far = floor.placed("a", SELL, 5, order_type=OrderType.STOP, stop_price=D(97))
    near = floor.placed("a", SELL, 5, order_type=OrderType.STOP, stop_price=D(99))

    floor.crowd.trade(-1, 99, 1)

    assert floor.prints(near) == [(D(5), D(97))]
    assert floor.prints(far) == [(D(5), D(95))]


def test_a_stop_limit_rests_at_its_limit_once_triggered() -> None:
    """The stop decides when, the limit at what price."""
    floor = Floor()
    floor.crowd.add("bid", 1, 95, 50)
    floor.crowd.trade(-1, 100, 1)
    kind = {"order_type": OrderType.STOP_LIMIT, "stop_price": D(98)}
    order = floor.placed("a", SELL, 5, limit=97, **kind)
    assert floor.venue.top("ABC").ask is None

    floor.crowd.trade(-1, 98, 1)

    assert floor.venue.top("ABC").ask == D(97)
    assert floor.state(order) == (Status.OPEN, D(0))


def test_a_trailing_stop_follows_a_rising_price_and_never_falls_back() -> None:
    """A sell trail of 3 under a high of 105 is triggered at 102, not at 103."""
    floor = Floor()
    floor.crowd.add("bid", 1, 90, 50)
    floor.crowd.trade(1, 100, 1)
    order = floor.placed("a", SELL, 5, order_type=OrderType.TRAILING_STOP, trail=D(3))

    for price in (105, 104, 103):
        floor.crowd.trade(1, price, 1)
        assert floor.state(order) == (Status.OPEN, D(0))
    floor.crowd.trade(-1, 102, 1)

    assert floor.state(order) == (Status.FILLED, D(5))


def test_a_trailing_stop_without_a_last_price_starts_at_the_first_trade() -> None:
    """Nothing to trail yet is not a trigger."""
    floor = Floor()
    floor.crowd.add("ask", -1, 120, 50)
    order = floor.placed("a", BUY, 5, order_type=OrderType.TRAILING_STOP, trail=D(3))

    floor.crowd.trade(1, 100, 1)
    assert floor.state(order) == (Status.OPEN, D(0))
    floor.crowd.trade(1, 103, 1)

    assert floor.state(order) == (Status.FILLED, D(5))


def test_a_day_order_expires_at_the_end_of_the_day_and_others_stay() -> None:
    """DAY ends with EXPIRED, what it filled kept; GTC goes on."""
    floor = Floor()
    day = floor.placed("a", BUY, 5, limit=100, time_in_force=TimeInForce.DAY)
    stays = floor.placed("a", BUY, 5, limit=100)
    floor.crowd.take(-1, 2)

    floor.venue.end_of_day(50)

    assert floor.state(day) == (Status.EXPIRED, D(2))
    assert floor.state(stays) == (Status.OPEN, D(0))
    assert floor.venue.top("ABC").bid_quantity == D(5)


def test_an_order_good_till_a_date_expires_when_it_comes() -> None:
    """GTD ends with the first act at or after its time."""
    floor = Floor()
    order = floor.placed("a", BUY, 5, limit=100, time_in_force=GTD, expire_at_ns=1_000)

    floor.venue.advance(999)
    assert floor.state(order)[0] is Status.OPEN
    floor.venue.advance(1_000)

    assert floor.kinds(order) == ["new", "expired"]


@pytest.mark.parametrize(
    "terms",
    [
        {"quantity": None},
        {"quantity": 5, "notional": D(5)},
        {"quantity": 0},
        {"quantity": 5, "order_type": OrderType.LIMIT},
        {"quantity": 5, "order_type": OrderType.STOP},
        {"quantity": 5, "order_type": OrderType.TRAILING_STOP},
        {"quantity": 5, "limit": "100.5"},
        {"quantity": 5, "limit": 100, "time_in_force": GTD, "expire_at_ns": 0},
        {"quantity": None, "notional": D(5), "limit": 100},
    ],
)
def test_terms_that_make_no_sense_are_refused_and_leave_nothing(terms: dict[str, Any]) -> None:
    """A refusal is an answer with a text; there is no order and no report."""
    floor = Floor()

    answer = floor.send("a", BUY, **terms)

    assert isinstance(answer, Refused)
    assert answer.text
    assert floor.venue.orders("a") == floor.reports == []


def test_an_order_in_a_symbol_that_is_not_listed_is_refused() -> None:
    """An unknown symbol is an answer, not an error."""
    floor = Floor()
    terms = OrderTerms(symbol="XYZ", side=BUY, quantity=D(1))

    answer = floor.venue.submit("a", "w", terms, 0)

    assert isinstance(answer, Refused)
    assert "XYZ" in answer.text


def test_an_order_below_the_minimum_notional_is_refused() -> None:
    """5 at 1.00 are worth less than the 10 that the instrument asks for."""
    venue = Venue()
    venue.add_listing(Instrument.of("MIN", minimum_notional=10))
    venue.open_account("a")
    terms = OrderTerms(
        symbol="MIN", side=BUY, quantity=D(5), order_type=OrderType.LIMIT, limit_price=D(1)
    )

    answer = venue.submit("a", "w", terms, 0)

    assert isinstance(answer, Refused)
    assert "10" in answer.text


def test_a_halted_symbol_takes_cancels_but_no_orders() -> None:
    """During a halt nothing trades and orders are refused as market closed."""
    floor = Floor()
    order = floor.placed("a", BUY, 5, limit=100)
    floor.venue.halt("ABC")

    answer = floor.send("b", SELL, 5, limit=100)
    assert floor.crowd.take(-1, 5) == 5
    cancelled = floor.venue.cancel("a", broker_order_id=order, now_ns=9)

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.MARKET_CLOSED
    assert isinstance(cancelled, Accepted)
    floor.venue.resume("ABC")
    assert isinstance(floor.send("b", SELL, 5, limit=100), Accepted)


def test_a_suspended_order_leaves_the_market_and_comes_back_at_the_end_of_its_queue() -> None:
    """Suspended is no end: the order keeps its fills and works again when released."""
    floor = Floor()
    first = floor.placed("a", BUY, 5, limit=100)
    second = floor.placed("b", BUY, 5, limit=100)
    floor.venue.suspend(first)
    floor.crowd.take(-1, 2)
    assert floor.state(first) == (Status.OPEN, D(0))

    floor.venue.release(first)
    floor.crowd.take(-1, 4)

    assert floor.state(second) == (Status.FILLED, D(5))
    assert floor.state(first) == (Status.PARTIAL_FILL, D(1))
    assert floor.kinds(first) == ["new", "suspended", "new", "trade"]


def test_a_venue_that_ends_an_order_unasked_says_so() -> None:
    """An order can be rejected or cancelled by the venue after it was accepted (trap 24)."""
    floor = Floor()
    order = floor.placed("a", BUY, 5, limit=100)

    floor.venue.finish(order, Status.REJECTED, "margin call")

    assert floor.kinds(order) == ["new", "rejected"]
    assert floor.reports[-1].text == "margin call"
    assert floor.venue.top("ABC").bid is None


def test_sequences_rise_and_cumulative_figures_tell_each_report_apart() -> None:
    """Each report of an order has the next sequence and a report id of its own."""
    floor = Floor()
    order = floor.placed("a", BUY, 5, limit=100)
    floor.crowd.take(-1, 2)
    floor.crowd.take(-1, 3)

    own = [report for report in floor.reports if report.broker_order_id == order]

    assert [(r.sequence, r.cumulative) for r in own] == [(1, D(0)), (2, D(2)), (3, D(5))]
    assert len({report.report_id for report in own}) == 3


def test_a_listener_may_call_the_venue_while_it_reports() -> None:
    """A listener that trades at once neither deadlocks nor sees reports out of order (trap 10)."""
    floor = Floor()

    def chase(report: Report) -> None:
        if report.kind is ReportKind.TRADE:
            floor.placed("c", SELL, 1, limit=100)

    floor.venue.subscribe("a", chase)
    order = floor.placed("a", BUY, 2_000, limit=100)
    floor.crowd.take(-1, 1)

    assert floor.state(order) == (Status.FILLED, D(2_000))
    own = [r.sequence for r in floor.reports if r.broker_order_id == order]
    assert own == list(range(1, 2_002))
