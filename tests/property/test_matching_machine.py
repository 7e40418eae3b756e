"""The matching engine against a naive one that scans a list, on whatever orders may come.

The naive market shares no line with the engine: it has no book, no ticks and no levels. It looks
through all orders for the best one, trades one lot at a time, and tries out fill-or-kill orders
on a copy of everything.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal as D
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached
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
class Tie:
    """An entry with its exits, or two exits without one; what they may trade, and what they did."""

    entry: "Order | None"
    exits: "list[Order]"
    per_fill: bool
    live: bool
    total: int = 0
    traded: int = 0


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
    tie: Tie | None = None
    held: bool = False

    @property
    def is_exit(self) -> bool:
        """Whether the order is one of the exits of its tie."""
        return self.tie is not None and self.tie.entry is not self

    @property
    def leaves(self) -> int:
        """What is left to fill."""
        return self.quantity - self.filled

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
    released: list[Order] = field(default_factory=list)
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
        if order.tie is not None:
            self.orders += [each for each in order.tie.exits if each is not order]
            if order.tie.live:
                self.released += order.tie.exits[1:]
        self.enter(order)
        return True

    def enter(self, order: Order) -> None:
        """Let a taken order wait or work, and then all stops that this sets off."""
        self.place(order)
        self.run_stops()

    def place(self, order: Order) -> None:
        """Let an order wait or work."""
        order.held = False
        if order.waiting:
            self.trail(order)
        else:
            self.work(order)

    def end(self, order: Order) -> None:
        """Cancel an order; exits that do not live yet go with their entry."""
        order.status = "canceled"
        tie = order.tie
        if tie is not None and not order.is_exit and not tie.live:
            self.end_all(tie.exits)

    def end_all(self, orders: "Sequence[Order | None]") -> None:
        """Cancel those orders that have not ended."""
        for order in orders:
            if order is not None and order.live:
                self.end(order)

    def cancel(self, order: Order) -> None:
        """Cancel an order for its owner, who means both of a pair that lives."""
        self.end(order)
        if order.tie is not None and order.is_exit and order.tie.live:
            self.end_all([*order.tie.exits])

    def bring_to_life(self, tie: Tie) -> None:
        """Release the exits for what the entry has filled."""
        tie.live = True
        for each in tie.exits:
            if each.live:
                each.quantity = tie.total
                self.released.append(each)

    def follow_lot(self, order: Order, tie: Tie) -> None:
        """Let the others follow one lot that an order traded."""
        if order.is_exit:
            tie.traded += 1
            others = [each for each in tie.exits if each is not order and each.live]
            if not order.live:
                self.end_all([*others, tie.entry])
            else:
                for each in others:
                    each.quantity -= 1
            return
        tie.total += 1
        if tie.live:
            for each in tie.exits:
                each.quantity += each.live
        elif tie.per_fill or not order.live:
            self.bring_to_life(tie)

    def work(self, order: Order) -> None:
        """Let an order trade, then rest or end."""
        if order.in_force is TimeInForce.FOK:
            trial = copy.deepcopy(self)
            twin = next(o for o in trial.orders if o.number == order.number)
            trial.take(twin)
            if twin.status != "filled":
                self.end(order)
                return
        self.take(order)
        if not order.live:
            return
        flat = order.reduce_only and not self.room(order)
        if flat or order.limit is None or order.in_force in IMMEDIATE:
            self.end(order)
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
                    self.end(other)
                if self.mode is not SelfTrade.CANCEL_OLDEST:
                    self.end(order)
                continue
            if other.reduce_only and not self.room(other):
                self.end(other)
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
        if order.tie is not None:
            self.follow_lot(order, order.tie)

    def trail(self, order: Order) -> None:
        """Move a waiting trailing stop after the last price."""
        if not order.waiting or order.held or not order.live:
            return
        if order.trail is None or self.last is None:
            return
        if order.side is Side.BUY:
            stop = self.last + order.trail
            order.stop = stop if order.stop is None else min(order.stop, stop)
        else:
            stop = self.last - order.trail
            order.stop = stop if order.stop is None else max(order.stop, stop)

    def run_stops(self) -> None:
        """Let released exits in, then set off what the last price reached: buyers first."""
        while True:
            if self.released:
                exit_ = self.released.pop(0)
                if exit_.live:
                    self.place(exit_)
                continue
            if self.last is None:
                return
            waiting = [o for o in self.orders if o.waiting and o.live and not o.held and o.stop]
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
        tie = order.tie
        if tie is not None and order.is_exit:
            quantity = order.quantity if tie.entry and tie.entry.live else quantity
            raised = quantity - order.filled > tie.total - tie.traded
            if raised and (tie.entry is not None or tie.traded):
                return False
        changed = copy.copy(order)
        changed.quantity, changed.limit = quantity, limit
        if not self.takes(changed):
            return False
        keeps = limit == order.limit and quantity <= order.quantity
        order.quantity, order.limit = max(quantity, order.filled), limit
        if order.filled == order.quantity:
            order.status = "filled"
        if tie is not None:
            self.follow_terms(order, tie)
        if not order.live or keeps:
            self.run_stops()
        else:
            order.resting = False
            self.enter(order)
        return True

    def follow_terms(self, order: Order, tie: Tie) -> None:
        """Let the others follow another size of an order."""
        others = [each for each in tie.exits if each is not order and each.live]
        if order.is_exit and not order.live:
            self.end_all([*others, tie.entry])
        elif order.is_exit:
            tie.total = max(tie.total, tie.traded + order.leaves)
            for each in others:
                each.quantity = each.filled + order.leaves
        elif not order.live and not tie.live:
            self.bring_to_life(tie)
        elif not tie.live:
            for each in others:
                each.quantity = tie.total + order.leaves


class MatchingMachine(RuleBasedStateMachine):
    """Any order at any time; engine and naive market must agree on all that came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.open(SelfTrade.CANCEL_NEWEST, per_fill=True)

    @initialize(mode=st.sampled_from(SelfTrade), per_fill=st.booleans())
    def open(self, mode: SelfTrade, *, per_fill: bool) -> None:
        """Open both markets."""
        self.per_fill = per_fill
        self.venue = Venue(self_trade=mode)
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick=1))
        self.naive = NaiveMarket(mode)
        self.pairs: list[tuple[str, Order]] = []  # broker order id and naive order
        self.reports: list[Report] = []
        self.crowd_keys = 0
        for account in "ab":
            can = Capabilities(native_bracket="after_full_fill", native_oco=True)
            each_fill = replace(can, native_bracket="per_fill")
            self.venue.open_account(account, each_fill if per_fill else can)
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
    def take(self, limit: int | None, **terms: Any) -> None:
        """Send an order that trades now: market, or limit at any price."""
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        self._send(Order(0, kind=kind, limit=limit, **terms))

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        kind=st.sampled_from(sorted(STOPS)),
        in_force=st.sampled_from([TimeInForce.GTC, *IMMEDIATE]),
        quantity=st.integers(1, 4),
        prices=st.tuples(PRICES, PRICES, st.integers(1, 2)),
    )
    def protect(self, kind: OrderType, prices: tuple[int, int, int], **terms: Any) -> None:
        """Send a stop of any type."""
        order = Order(0, kind=kind, waiting=True, **terms)
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

    @rule(
        account=st.sampled_from("ab"),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 6),
        limit=st.one_of(st.none(), PRICES),
        away=st.integers(-1, 2),
        stop=st.tuples(st.integers(1, 3), st.sampled_from(sorted(STOPS))),
        which=st.sampled_from([("stop",), ("target",), ("stop", "target"), ("pair",), ("pair",)]),
    )
    def link(
        self, account: str, side: Side, quantity: int, away: int, which: Any, **to: Any
    ) -> None:
        """Send an entry with a stop, a target or both; or a pair that needs no entry."""
        price = MIDDLE + away if side is Side.BUY else MIDDLE - away
        gtc, closing = TimeInForce.GTC, side.opposite
        target = Order(0, account, closing, OrderType.LIMIT, gtc, quantity, price)
        stop = self._stop(target, *to["stop"])
        if "pair" in which:
            exits = [target, stop]
            target.tie = stop.tie = Tie(None, exits, self.per_fill, True, total=quantity)
            self._send(target, [stop], "oco")
            return
        kind = OrderType.MARKET if to["limit"] is None else OrderType.LIMIT
        entry = Order(0, account, side, kind, gtc, quantity, to["limit"])
        exits = [{"stop": stop, "target": target}[role] for role in which]
        entry.tie = stop.tie = target.tie = Tie(entry, exits, self.per_fill, False)
        self._send(entry, exits, "bracket")

    def _stop(self, target: Order, gap: int, kind: OrderType) -> Order:
        """The stop that belongs to a target, so far behind it."""
        price = (target.limit or 0) + (gap if target.side is Side.BUY else -gap)
        order = Order(0, target.account, target.side, kind, TimeInForce.GTC, target.quantity)
        order.waiting = True
        order.limit = price if kind is OrderType.STOP_LIMIT else None
        order.stop = None if kind is OrderType.TRAILING_STOP else price
        order.trail = gap if kind is OrderType.TRAILING_STOP else None
        return order

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
            self.naive.cancel(order)

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

    def _send(self, order: Order, exits: Sequence[Order] = (), link: str = "") -> None:
        for number, each in enumerate([order, *exits], start=len(self.naive.orders) + 1):
            each.number, each.held = number, each is not order
        role = {OrderType.LIMIT: "target"}
        attached = [
            Attached(number=0, role=role.get(each.kind, "stop"), wire_id="", terms=_terms(each))
            for each in exits
        ]
        terms = _terms(order)
        answer = self.venue.submit(order.account, "", terms, 0, link=link, attached=attached)
        assert isinstance(answer, Accepted) is self.naive.submit(order), answer
        if isinstance(answer, Accepted):
            ids = [answer.broker_order_id, *(child.broker_order_id for child in answer.children)]
            self.pairs += zip(ids, [order, *exits], strict=True)

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
    def linked_exits_close_no_more_than_they_may(self) -> None:
        """Both together never trade more than their size, or what their entry has filled."""
        real = {order.number: self.venue.order(key) for key, order in self.pairs}
        for _, order in self.pairs:
            tie = order.tie
            if tie is None:
                continue
            assert not order.live or real[order.number].lots == order.quantity
            most = tie.total if tie.entry is None else real[tie.entry.number].filled
            exits = [real[each.number] for each in tie.exits]
            assert sum(each.filled for each in exits) <= most
            left = {each.leaves for each in exits if not each.ended}
            assert len(left) < 2
            assert not tie.live or max(left, default=0) <= most - tie.traded

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
