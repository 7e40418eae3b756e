"""The matching engine against a naive one that scans a list, on whatever orders may come.

The naive market shares no line with the engine: it has no book, no ticks and no levels. It looks
through all orders for the best one, trades one lot at a time, and tries out fill-or-kill orders
on a copy of everything.
"""

import copy
from dataclasses import dataclass, field
from decimal import Decimal as D
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import TERMINAL, OrderType, Side, Status, TimeInForce
from holdfast.venue.matching import SelfTrade
from holdfast.venue.paper import Venue

CROWD = "crowd"
STOPS = {OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP}
IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
MIDDLE = 10
PRICES = st.integers(MIDDLE - 2, MIDDLE + 2)


@dataclass
class Order:
    """An order of the naive market; `arrived` is its place in time among those at its price."""

    number: int
    account: str
    side: Side
    kind: OrderType
    in_force: TimeInForce
    quantity: int
    limit: int | None = None
    stop: int | None = None
    trail: int | None = None
    money: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    waiting: bool = False
    resting: bool = False
    arrived: int = 0
    filled: int = 0
    value: int = 0
    status: str = "open"

    @property
    def live(self) -> bool:
        """Whether the order has not ended."""
        return self.status in {"open", "partial_fill"}

    def reaches(self, price: int) -> bool:
        """Whether the order may trade at a price."""
        if self.limit is None:
            return True
        return price <= self.limit if self.side is Side.BUY else price >= self.limit


@dataclass
class NaiveMarket:
    """All orders in a list, and the rules of the venue spelled out over it."""

    mode: SelfTrade
    orders: list[Order] = field(default_factory=list)
    last: int | None = None
    clock: int = 0
    positions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(["a", "b", CROWD], 0))

    def best_against(self, order: Order) -> Order | None:
        """The resting order that is next to trade with this one, whatever its price."""
        others = [o for o in self.orders if o.resting and o.live and o.side is not order.side]
        sign = 1 if order.side is Side.BUY else -1
        return min(others, key=lambda o: (sign * (o.limit or 0), o.arrived), default=None)

    def room(self, order: Order) -> int:
        """How far a reduce-only order could bring its account towards zero."""
        position = self.positions[order.account]
        return max(0, -position if order.side is Side.BUY else position)

    def takes(self, order: Order) -> bool:
        """Whether the venue takes the order."""
        if order.post_only:
            best = self.best_against(order)
            if best is not None and order.reaches(best.limit or 0):
                return False
        return not (order.reduce_only and not order.waiting and not self.room(order))

    def submit(self, order: Order) -> bool:
        """Bring an order to the market; returns whether it was taken."""
        if not self.takes(order):
            return False
        self.orders.append(order)
        self.enter(order)
        return True

    def enter(self, order: Order) -> None:
        """Let a taken order wait or work, and then all stops that this sets off."""
        if order.waiting:
            self.trail(order)
        else:
            self.work(order)
        self.run_stops()

    def work(self, order: Order) -> None:
        """Let an order trade, then rest or end."""
        if order.in_force is TimeInForce.FOK:
            trial = copy.deepcopy(self)
            twin = next(o for o in trial.orders if o.number == order.number)
            trial.take(twin)
            if twin.status != "filled":
                order.status = "canceled"
                return
        self.take(order)
        if not order.live:
            return
        flat = order.reduce_only and not self.room(order)
        if flat or order.limit is None or order.in_force in IMMEDIATE:
            order.status = "canceled"
        else:
            self.rest(order)

    def rest(self, order: Order) -> None:
        """Queue an order behind all others."""
        self.clock += 1
        order.resting, order.arrived = True, self.clock

    def take(self, order: Order) -> None:
        """Trade lot by lot until the order is done or finds nothing."""
        while order.live:
            other = self.best_against(order)
            if other is None or not order.reaches(other.limit or 0):
                return
            if other.account == order.account != CROWD:
                if self.mode is not SelfTrade.CANCEL_NEWEST:
                    other.status = "canceled"
                if self.mode is not SelfTrade.CANCEL_OLDEST:
                    order.status = "canceled"
                continue
            if other.reduce_only and not self.room(other):
                other.status = "canceled"
                continue
            if order.reduce_only and not self.room(order):
                return
            price = other.limit or 0
            if order.money is not None and order.money < price:
                return
            self.trade(order, price)
            self.trade(other, price)
            self.last = price
            for waiting in self.orders:
                self.trail(waiting)

    def trade(self, order: Order, price: int) -> None:
        """Book one lot of one side."""
        order.filled += 1
        order.value += price
        self.positions[order.account] += 1 if order.side is Side.BUY else -1
        if order.money is None:
            full = order.filled == order.quantity
        else:
            order.money -= price
            full = order.money < price
        order.status = "filled" if full else "partial_fill"

    def trail(self, order: Order) -> None:
        """Move a waiting trailing stop after the last price."""
        if not order.waiting or not order.live or order.trail is None or self.last is None:
            return
        if order.side is Side.BUY:
            stop = self.last + order.trail
            order.stop = stop if order.stop is None else min(order.stop, stop)
        else:
            stop = self.last - order.trail
            order.stop = stop if order.stop is None else max(order.stop, stop)

    def run_stops(self) -> None:
        """Set off what the last price has reached: buyers first, then whoever it passed first."""
        while self.last is not None:
            waiting = [o for o in self.orders if o.waiting and o.live and o.stop is not None]
            buys = [o for o in waiting if o.side is Side.BUY and (o.stop or 0) <= self.last]
            sells = [o for o in waiting if o.side is Side.SELL and (o.stop or 0) >= self.last]
            due = min(buys, key=lambda o: (o.stop, o.number), default=None) or min(
                sells, key=lambda o: (-(o.stop or 0), o.number), default=None
            )
            if due is None:
                return
            due.waiting = False
            self.work(due)

    def replace(self, order: Order, quantity: int, limit: int) -> bool:
        """Give a limit order other terms; returns whether the venue takes them."""
        changed = copy.copy(order)
        changed.quantity, changed.limit = quantity, limit
        if not self.takes(changed):
            return False
        keeps = limit == order.limit and quantity <= order.quantity
        order.quantity, order.limit = max(quantity, order.filled), limit
        if order.filled == order.quantity:
            order.status = "filled"
        elif not keeps:
            order.resting = False
            self.enter(order)
        else:
            self.run_stops()
        return True


class MatchingMachine(RuleBasedStateMachine):
    """Any order at any time; engine and naive market must agree on all that came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.open(SelfTrade.CANCEL_NEWEST)

    @initialize(mode=st.sampled_from(SelfTrade))
    def open(self, mode: SelfTrade) -> None:
        """Open both markets."""
        self.venue = Venue(self_trade=mode)
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick=1))
        self.naive = NaiveMarket(mode)
        self.pairs: list[tuple[str, Order]] = []  # broker order id and naive order
        self.reports: list[Report] = []
        self.crowd_keys = 0
        for account in "ab":
            self.venue.open_account(account)
            self.venue.subscribe(account, self.reports.append)

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 6),
        away=st.integers(-1, 2),
        flag=st.sampled_from(["", "", "post_only", "reduce_only"]),
    )
    def rest(self, account: str, side: Side, quantity: int, away: int, flag: str) -> None:
        """Send a limit order that mostly rests, close to where the others do."""
        limit = MIDDLE - away if side is Side.BUY else MIDDLE + away
        order = Order(0, account, side, OrderType.LIMIT, TimeInForce.GTC, quantity, limit)
        order.post_only, order.reduce_only = flag == "post_only", flag == "reduce_only"
        self._send(order)

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        in_force=st.sampled_from([TimeInForce.GTC, *IMMEDIATE]),
        quantity=st.integers(1, 9),
        limit=st.one_of(st.none(), PRICES),
        reduce_only=st.booleans(),
    )
    def take(
        self,
        account: str,
        side: Side,
        in_force: TimeInForce,
        quantity: int,
        limit: int | None,
        reduce_only: bool,
    ) -> None:
        """Send an order that trades now: market, or limit at any price."""
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        order = Order(0, account, side, kind, in_force, quantity, limit)
        order.reduce_only = reduce_only
        self._send(order)

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        kind=st.sampled_from(sorted(STOPS)),
        in_force=st.sampled_from([TimeInForce.GTC, *IMMEDIATE]),
        quantity=st.integers(1, 4),
        prices=st.tuples(PRICES, PRICES, st.integers(1, 2)),
    )
    def protect(
        self,
        account: str,
        side: Side,
        kind: OrderType,
        in_force: TimeInForce,
        quantity: int,
        prices: tuple[int, int, int],
    ) -> None:
        """Send a stop of any type."""
        order = Order(0, account, side, kind, in_force, quantity, waiting=True)
        order.limit = prices[0] if kind is OrderType.STOP_LIMIT else None
        order.stop = None if kind is OrderType.TRAILING_STOP else prices[1]
        order.trail = prices[2] if kind is OrderType.TRAILING_STOP else None
        self._send(order)

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        money=st.integers(5, 90),
        in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.FOK]),
    )
    def spend(self, account: str, side: Side, money: int, in_force: TimeInForce) -> None:
        """Send a market order sized by notional."""
        self._send(Order(0, account, side, OrderType.MARKET, in_force, 0, money=money))

    @rule(side=st.sampled_from(Side), lots=st.integers(1, 3), price=PRICES)
    def crowd_places(self, side: Side, lots: int, price: int) -> None:
        """Somebody else sends a limit order."""
        self.crowd_keys += 1
        self.crowd.place(self.crowd_keys, 1 if side is Side.BUY else -1, price, lots)
        self.naive.submit(self._crowd_order(side, lots, price, TimeInForce.GTC))

    @rule(side=st.sampled_from(Side), lots=st.integers(1, 3))
    def crowd_takes(self, side: Side, lots: int) -> None:
        """Somebody else buys or sells at the market."""
        self.crowd.take(1 if side is Side.BUY else -1, lots)
        self.naive.submit(self._crowd_order(side, lots, None, TimeInForce.IOC))

    @precondition(lambda self: self.pairs)
    @rule(choice=st.integers(0, 99))
    def cancel(self, choice: int) -> None:
        """Cancel any order, ended or not."""
        broker_order_id, order = self.pairs[choice % len(self.pairs)]
        answer = self.venue.cancel(order.account, broker_order_id=broker_order_id, now_ns=0)
        assert isinstance(answer, Accepted) is order.live
        if order.live:
            order.status = "canceled"

    @precondition(lambda self: self._resting())
    @rule(
        choice=st.integers(0, 99),
        more=st.integers(-3, 2),
        limits=st.one_of(st.none(), st.none(), PRICES),
    )
    def replace(self, choice: int, more: int, limits: int | None) -> None:
        """Give any resting order another quantity, and mostly its old price."""
        resting = self._resting()
        broker_order_id, order = resting[choice % len(resting)]
        quantity, limit = max(1, order.quantity + more), limits or order.limit or 0
        answer = self.venue.replace(
            order.account,
            wire_id="",
            broker_order_id=broker_order_id,
            terms=_terms(order, quantity=D(quantity), limit_price=D(limit)),
            now_ns=0,
        )
        assert isinstance(answer, Accepted) is self.naive.replace(order, quantity, limit)

    def _resting(self) -> list[tuple[str, Order]]:
        return [pair for pair in self.pairs if pair[1].resting and pair[1].live]

    def _send(self, order: Order) -> None:
        order.number = len(self.naive.orders) + 1
        answer = self.venue.submit(order.account, "", _terms(order), 0)
        assert isinstance(answer, Accepted) is self.naive.submit(order), answer
        if isinstance(answer, Accepted):
            self.pairs.append((answer.broker_order_id, order))

    def _crowd_order(
        self, side: Side, lots: int, limit: int | None, in_force: TimeInForce
    ) -> Order:
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        number = len(self.naive.orders) + 1
        return Order(number, CROWD, side, kind, in_force, lots, limit)

    @invariant()
    def both_know_the_same_of_every_order(self) -> None:
        """Status, filled quantity and money agree for each order."""
        for broker_order_id, order in self.pairs:
            real = self.venue.order(broker_order_id)
            assert (real.status, real.cumulative, real.spent) == (
                Status(order.status),
                order.filled,
                order.value,
            ), (broker_order_id, order)

    @invariant()
    def both_have_the_same_book(self) -> None:
        """Every price level has the same quantity, and the last price is the same."""
        for side in Side:
            levels: dict[D, D] = {}
            for order in self.naive.orders:
                if order.side is side and order.resting and order.live:
                    price = D(order.limit or 0)
                    levels[price] = levels.get(price, D(0)) + order.quantity - order.filled
            assert dict(self.venue.depth("ABC", side, 100)) == levels
        assert self.venue.top("ABC").last == self.naive.last

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        """Positions agree with the naive market's and, with cash, add up to zero over all."""
        books = [self.venue.books("a"), self.venue.books("b"), self.venue.crowd_books()]
        for account, book in zip("ab", books, strict=False):
            assert book.positions.get("ABC", 0) == self.naive.positions[account]
        assert sum(book.positions.get("ABC", D(0)) for book in books) == 0
        assert sum(book.cash.get("USD", D(0)) for book in books) == 0

    @invariant()
    def reports_tell_the_whole_story(self) -> None:
        """Sequences have no hole, and the trades reported add up to what was filled."""
        told: dict[str, list[Report]] = {}
        for report in self.reports:
            told.setdefault(report.broker_order_id, []).append(report)
        for broker_order_id, order in self.pairs:
            own = told[broker_order_id]
            assert [report.sequence for report in own] == list(range(1, len(own) + 1))
            trades = [r.execution for r in own if r.kind is ReportKind.TRADE]
            assert sum(trade.quantity for trade in trades if trade) == order.filled
            ends = [report for report in own if report.full or report.kind.value == "canceled"]
            assert len(ends) == (Status(order.status) in TERMINAL)


def _terms(order: Order, **changed: Any) -> OrderTerms:
    amounts = {
        "quantity": order.quantity if order.money is None else None,
        "notional": order.money,
        "limit_price": order.limit,
        "stop_price": order.stop,
        "trail": order.trail,
    }
    exact = {name: None if amount is None else D(amount) for name, amount in amounts.items()}
    return OrderTerms(
        symbol="ABC",
        side=order.side,
        order_type=order.kind,
        time_in_force=order.in_force,
        post_only=order.post_only,
        reduce_only=order.reduce_only,
        **(exact | changed),
    )


MatchingMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestMatching = MatchingMachine.TestCase
