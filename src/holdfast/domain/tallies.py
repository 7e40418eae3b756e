"""What a desk's orders came to, per strategy and symbol: counts, and amounts that add up exactly.

Rule 1: a tally is the sum over the orders that cannot trade any more. Before a late fact changes
one of them it is taken out, and after that counted again as it then is, so that the sums are those
of a recount whatever arrives and whenever. The others are counted when somebody asks.
Rule 2: amounts are in units and in points (price times quantity), which are exact; the
instrument's multiplier is applied in the views.
Rule 3: `PAIRS_MAX` pairs of strategy and symbol are told apart. Further ones are counted under the
strategy `OTHER` by symbol, of which a desk remembers all that it traded anyway.

The largest of something cannot be taken out of a maximum. It is therefore of what never shrinks:
the largest quantity that an order ever had, and its worth as it was submitted.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from holdfast.domain.exposure import unit_price
from holdfast.domain.order import Order
from holdfast.domain.values import ZERO, OrderType, Status, add, mul, sub

PAIRS_MAX: Final = 10_000
OTHER: Final = "other"
# Ended orders that are counted at once.
AT_ONCE: Final = 256

_K = TypeVar("_K")
_N = TypeVar("_N")


class Tally(Struct, gc=False, kw_only=True, omit_defaults=True):
    """What the orders of one strategy in one symbol came to; `notional` is in points.

    `statuses`, `types` and `roles` count orders, `executions` those that still stand. `largest` is
    the largest order in units, `worth` in points; `money` is the largest that was sized in money.
    """

    exits: int = 0
    executions: int = 0
    statuses: dict[Status, int] = msgspec.field(default_factory=dict)
    types: dict[OrderType, int] = msgspec.field(default_factory=dict)
    roles: dict[str, int] = msgspec.field(default_factory=dict)
    volume: Decimal = ZERO
    notional: Decimal = ZERO
    fees: dict[str, Decimal] = msgspec.field(default_factory=dict)
    largest: Decimal = ZERO
    worth: Decimal = ZERO
    money: Decimal = ZERO

    def count(self, order: Order, by: int) -> None:
        """Add an order as it now is (1), or take out one that has not changed since (-1)."""
        asked, statuses, types = order.asked, self.statuses, self.types
        status, kind, quantity = order.status, asked.order_type, asked.quantity
        statuses[status] = statuses.get(status, 0) + by
        types[kind] = types.get(kind, 0) + by
        if order.role:
            self.roles[order.role] = self.roles.get(order.role, 0) + by
        if order.reducing or asked.reduce_only:
            self.exits += by
        # A plain limit is what `unit_price` says of most orders; this spares the call.
        largest, price = order.largest, asked.limit_price
        if price is None or asked.stop_price is not None or order.estimate is not None:
            price = unit_price(asked, order.estimate)
        if largest is not None and largest > self.largest:
            self.largest = largest
        if quantity is None:
            self.money = max(self.money, asked.notional or ZERO)
        elif price is not None and (worth := mul(quantity, price)) > self.worth:
            self.worth = worth
        if order.legs:
            self._trade(order, by)

    def _trade(self, order: Order, by: int) -> None:
        standing = 0
        for leg in order.legs:
            standing += len(leg.waiting)
            for execution in leg.executions.values():
                if execution.quantity:
                    standing += 1
        self.executions += by * standing
        if order.filled_quantity:
            change = add if by > 0 else sub
            self.volume = change(self.volume, order.filled_quantity)
            self.notional = change(self.notional, order.notional)
        for currency, fee in order.fees.items():
            change = add if by > 0 else sub
            self.fees[currency] = change(self.fees.get(currency, ZERO), fee)

    @property
    def orders(self) -> int:
        """How many orders there are."""
        return sum(self.statuses.values())

    def plus(self, other: "Tally") -> "Tally":
        """Return the sum of both."""
        return Tally(
            exits=self.exits + other.exits,
            executions=self.executions + other.executions,
            statuses=_merged(self.statuses, other.statuses, int.__add__),
            types=_merged(self.types, other.types, int.__add__),
            roles=_merged(self.roles, other.roles, int.__add__),
            volume=add(self.volume, other.volume),
            notional=add(self.notional, other.notional),
            fees=_merged(self.fees, other.fees, add),
            largest=max(self.largest, other.largest),
            worth=max(self.worth, other.worth),
            money=max(self.money, other.money),
        )


class Tallies(Struct, kw_only=True, omit_defaults=True):
    """The tallies of a desk by strategy and symbol; `apart` of them have a pair of their own."""

    apart: int = 0
    pairs: dict[str, dict[str, Tally]] = msgspec.field(default_factory=dict)

    def name(self, strategy: str, symbol: str) -> str:
        """Return the strategy under which a pair is counted, or will be."""
        known = symbol in self.pairs.get(strategy, ())
        return strategy if known or self.apart < PAIRS_MAX else OTHER

    def begin(self, strategy: str, symbol: str) -> Tally:
        """Return the tally of a pair that has none of its own, where it now counts."""
        if self.apart < PAIRS_MAX:
            self.apart += 1
            return self.pairs.setdefault(strategy, {}).setdefault(symbol, Tally())
        return self.pairs.setdefault(OTHER, {}).setdefault(symbol, Tally())


class TallyBook:
    """The tallies of a desk, and the orders that ended and are yet to be counted.

    Counting many at once costs half of counting each as it ends. They are counted in the order in
    which they ended, and before anything changes about one of them or anybody looks, so that
    nobody can tell.
    """

    def __init__(self, stored: Tallies) -> None:
        """Keep these tallies."""
        self.stored = stored
        self._ended: list[Order] = []

    def ended(self, order: Order) -> None:
        """Count an order that cannot trade any more, as it now is."""
        self._ended.append(order)
        if len(self._ended) >= AT_ONCE:
            self.catch_up()

    def take_out(self, order: Order) -> None:
        """Take out an order that ended and is about to change."""
        self.catch_up()
        self._count(order, -1)

    def catch_up(self) -> None:
        """Count whatever ended."""
        for order in self._ended:
            self._count(order, 1)
        self._ended.clear()

    def _count(self, order: Order, by: int) -> None:
        strategy, symbol = order.strategy, order.terms.symbol
        by_symbol = self.stored.pairs.get(strategy)
        tally = by_symbol.get(symbol) if by_symbol is not None else None
        (tally or self.stored.begin(strategy, symbol)).count(order, by)

    def with_live(self, orders: Iterable[Order]) -> dict[tuple[str, str], Tally]:
        """Return all tallies by strategy and symbol, with those of the active `orders`."""
        self.catch_up()
        live: dict[tuple[str, str], Tally] = {}
        for order in orders:
            symbol = order.terms.symbol
            tally = live.setdefault((self.stored.name(order.strategy, symbol), symbol), Tally())
            tally.count(order, 1)
        for strategy, by_symbol in self.stored.pairs.items():
            for symbol, tally in by_symbol.items():
                if tally.orders:
                    known = live.get((strategy, symbol))
                    live[strategy, symbol] = tally if known is None else tally.plus(known)
        return live


def _merged(one: dict[_K, _N], other: dict[_K, _N], plus: Callable[[_N, _N], _N]) -> dict[_K, _N]:
    merged = dict(one)
    for key, number in other.items():
        merged[key] = plus(merged[key], number) if key in merged else number
    return merged
