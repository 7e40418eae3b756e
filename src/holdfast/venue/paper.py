"""The paper venue: accounts, their orders, and a market per symbol.

It answers as a broker would: an order is taken or refused, and what becomes of it is told by
reports. It is deterministic, reads no clock and waits for nothing: every act is given the time.
Its books are its own (`books`), so that they can be compared with those of whoever trades on it.
It trades round the clock, so `extended_hours` changes nothing here.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from itertools import islice

from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Refused, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import ZERO, Condition, Side, Status, TimeInForce
from holdfast.errors import InputError, UnknownSymbolError
from holdfast.venue import funds, rules
from holdfast.venue.amend import hand_over, replace_in_place, revise
from holdfast.venue.asking import asked, asked_instead
from holdfast.venue.books import Books, books_of
from holdfast.venue.clearing import Clearing
from holdfast.venue.crowd import Crowd
from holdfast.venue.fees import NO_FEES, Fees
from holdfast.venue.linked import Link
from holdfast.venue.matching import Matcher, SelfTrade
from holdfast.venue.opening import opened
from holdfast.venue.orders import Account, Fill, Listing, VenueOrder


class TopOfBook(Struct, frozen=True, kw_only=True):
    """Best prices with their quantities, and the last traded price; None where there is none."""

    symbol: str
    at_ns: int
    bid: Decimal | None = None
    bid_quantity: Decimal = ZERO
    ask: Decimal | None = None
    ask_quantity: Decimal = ZERO
    last: Decimal | None = None


class Venue:
    """One simulated exchange and broker."""

    def __init__(
        self,
        *,
        fees: Fees = NO_FEES,
        self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST,
        history_max: int | None = None,
        life: str = "",
    ) -> None:
        """Open an empty venue.

        Args:
            fees: what trades cost where a listing says nothing else.
            self_trade: which order ends where an account would trade with itself.
            history_max: how many ended orders are remembered; None for all of them.
            life: tells its ids from those of venues before it, where a journal outlives it.
        """
        self._fees, self._self_trade, self.life = fees, self_trade, life
        self._clearing, self._history_max = Clearing(history_max, life), history_max
        self._matchers: dict[str, Matcher] = {}
        self._crowds: dict[str, Crowd] = {}
        self._accounts: dict[str, Account] = {}
        self._expiries: list[tuple[int, int, VenueOrder]] = []

    @property
    def now_ns(self) -> int:
        """The time of the newest act; it never falls."""
        return self._clearing.now_ns

    # What there is to trade, and who trades.

    def add_listing(
        self, instrument: Instrument, *, fees: Fees | None = None, matching: bool = True
    ) -> Crowd:
        """Open a market and return its anonymous crowd.

        Without `matching` orders rest and trade only where `execute` says so: for replaying a
        recorded market order by order. Raises InputError if the symbol is listed.
        """
        if instrument.symbol in self._matchers:
            raise InputError(f"{instrument.symbol} is listed already; list each symbol once")
        fees = self._fees if fees is None else fees
        listing = Listing(instrument=instrument, fees=fees, matching=matching)
        matcher = Matcher(listing, self._clearing, self._self_trade)
        self._matchers[instrument.symbol] = matcher
        crowd = self._crowds[instrument.symbol] = Crowd(matcher)
        return crowd

    def listing(self, symbol: str) -> Listing:
        """Return a listing, which converts prices and quantities; UnknownSymbolError if none."""
        return self._matcher(symbol).listing

    def instruments(self) -> tuple[Instrument, ...]:
        """Return what is listed, in the order of listing."""
        return tuple(matcher.listing.instrument for matcher in self._matchers.values())

    def crowd(self, symbol: str) -> Crowd:
        """Return the anonymous crowd of a symbol; UnknownSymbolError if it is not listed."""
        self._matcher(symbol)
        return self._crowds[symbol]

    def open_account(
        self,
        name: str,
        capabilities: Capabilities | None = None,
        *,
        pending_reports: bool = False,
        cash: Decimal | None = None,
        currency: str = "USD",
    ) -> Capabilities:
        """Open an account, or find it again, and return what it can do.

        `capabilities` rule how the venue treats its requests; None takes those it has. With `cash`
        (in `currency`) orders that it cannot pay for are refused, see `funds`; without, the
        account has as much as it takes. Raises InputError where it was opened with others, or
        where the cash is below zero.
        """
        account = opened(
            self._accounts,
            name,
            capabilities,
            pending_reports=pending_reports,
            cash=cash,
            currency=currency,
            history_max=self._history_max,
        )
        return account.capabilities

    def subscribe(self, account: str, listener: Callable[[Report], None]) -> Callable[[], None]:
        """Send an account's reports to a listener as they happen; returns what ends that.

        A listener may call the venue, and must not raise.
        """
        listeners = self._account(account).listeners
        listeners.append(listener)
        return lambda: listeners.remove(listener)

    # What an account asks for.

    def submit(
        self,
        account: str,
        wire_id: str,
        terms: OrderTerms,
        now_ns: int,
        *,
        link: str = "",
        attached: Sequence[Attached] = (),
    ) -> Accepted | Refused:
        """Take a new order, or refuse it; an empty wire id is an order placed by hand.

        With `link` the `attached` exits are taken along, or nothing is: `bracket` for an entry
        with a stop, a target or both, `oco` for a target with its stop (see `linked`).
        """
        self.advance(now_ns)
        owner = self._account(account)
        found = asked(owner, wire_id, terms, link, attached, self._matchers, self.now_ns)
        if isinstance(found, Refused):
            return found
        order, exits, matcher = found.order, found.exits, self._matchers[terms.symbol]
        if exits:
            Link(order, exits, matcher, self._clearing)
        return self._admitted(order, matcher, ReportKind.NEW, exits=exits)

    def cancel(
        self,
        account: str,
        *,
        broker_order_id: str = "",
        wire_ids: Iterable[str] = (),
        now_ns: int,
    ) -> Accepted | Refused:
        """Cancel the order that the broker order id, or else the first known wire id, names."""
        self.advance(now_ns)
        owner = self._account(account)
        order = self._named(owner, broker_order_id, wire_ids)
        verdict = rules.cancel(owner, order, broker_order_id)
        if order is None or verdict is not None:
            return verdict or rules.UNKNOWN
        if owner.pending_reports:
            self._clearing.report(order, ReportKind.PENDING_CANCEL)
        self._matcher_of(order).finish(order, Status.CANCELED)
        if order.link is not None:
            order.link.canceled(order)
        self._clearing.flush()
        return self._accepted(order, final=not owner.pending_reports)

    def replace(
        self,
        account: str,
        *,
        wire_id: str,
        terms: OrderTerms,
        now_ns: int,
        broker_order_id: str = "",
        orig_wire_id: str = "",
        leaves_quantity: Decimal | None = None,
    ) -> Accepted | Refused:
        """Give a working order new terms, in place or as a new order, as the account does.

        `leaves_quantity` is what a new order gets where it does not carry fills over.
        """
        self.advance(now_ns)
        owner = self._account(account)
        order = self._named(owner, broker_order_id, (orig_wire_id,))
        if order is None:
            return rules.UNKNOWN
        matcher = self._matcher_of(order)
        found = asked_instead(order, wire_id, terms, leaves_quantity, self._matchers)
        if isinstance(found, Refused):
            return found
        new = found.order
        if owner.pending_reports:
            self._clearing.report(
                order, ReportKind.PENDING_REPLACE, wire_id=wire_id, orig_wire_id=order.wire_id
            )
        if owner.capabilities.new_id_on_replace:
            hand_over(order, new, found.leaves_quantity, matcher, self._clearing)
            return self._admitted(new, matcher, ReportKind.REPLACED, order.wire_id)
        replace_in_place(order, new, matcher, self._clearing)
        return self._accepted(order, final=not owner.pending_reports)

    # What the venue does on its own.

    def advance(self, now_ns: int) -> None:
        """Let time pass: orders good till a date that has come expire."""
        clearing = self._clearing
        clearing.now_ns = max(clearing.now_ns, now_ns)
        while self._expiries and self._expiries[0][0] <= clearing.now_ns:
            order = heappop(self._expiries)[2]
            if not order.ended:
                self._matcher_of(order).finish(order, Status.EXPIRED)
                clearing.flush()

    def end_of_day(self, now_ns: int) -> None:
        """Let all orders expire that are good for the day."""
        self.advance(now_ns)
        for account in self._accounts.values():
            for order in list(account.working.values()):
                if order.time_in_force is TimeInForce.DAY and not order.ended:
                    self._matcher_of(order).finish(order, Status.EXPIRED)
        self._clearing.flush()

    def halt(self, symbol: str) -> None:
        """Stop trading in a symbol: cancels still work, orders and replaces are refused."""
        self._matcher(symbol).halted = True

    def resume(self, symbol: str) -> None:
        """Trade again."""
        matcher = self._matcher(symbol)
        matcher.halted = False
        matcher.settle()

    def suspend(self, broker_order_id: str) -> None:
        """Take a working order out of the market without ending it."""
        order = self._in_market(broker_order_id)
        self._matcher_of(order).withdraw(order)
        order.condition = Condition.SUSPENDED
        self._clearing.report(order, ReportKind.SUSPENDED)
        self._clearing.flush()

    def release(self, broker_order_id: str) -> None:
        """Let a suspended order work again, behind all others of its price."""
        order = self._working(broker_order_id)
        if order.condition is not Condition.SUSPENDED:
            raise InputError(
                f"order {broker_order_id} is not suspended; there is nothing to release"
            )
        order.condition = Condition.NONE
        self._clearing.report(order, ReportKind.NEW)
        self._matcher_of(order).arrive(order)

    def finish(self, broker_order_id: str, status: Status, text: str = "") -> None:
        """End a working order unasked: CANCELED, EXPIRED or REJECTED."""
        order = self._working(broker_order_id)
        self._matcher_of(order).finish(order, status, text)
        self._clearing.flush()

    def execute(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> None:
        """Let a working order trade with the crowd, as a recorded market says it did.

        Raises InputError where it has less left to fill, AmountError off the grid.
        """
        order = self._in_market(broker_order_id)
        lots, ticks = order.listing.lots(quantity), order.listing.ticks(price)
        if lots > order.leaves:
            left = order.listing.quantity(order.leaves)
            raise InputError(f"order {broker_order_id} has {left} left to fill, not {quantity}")
        self._matcher_of(order).execute(order, lots, ticks)

    def bust(self, execution_id: str, *, reinstate: bool = False) -> None:
        """Undo a trade on both sides.

        What it had filled works again where the order still does; a filled order ends cancelled,
        or works again with `reinstate`. Raises InputError for an unknown or busted execution.
        """
        fill = self._clearing.fill_of(execution_id)
        self._revise(fill, ZERO, fill.execution.price, reinstate=reinstate)

    def correct(self, execution_id: str, quantity: Decimal, price: Decimal) -> None:
        """Give a trade another quantity or price on both sides; orders fare as in `bust`."""
        fill = self._clearing.fill_of(execution_id)
        fill.order.listing.ticks(price)
        if quantity <= 0:
            raise InputError(f"quantity {quantity} is no correction; use bust to undo a trade")
        fill.order.listing.lots(quantity)
        self._revise(fill, quantity, price, reinstate=False)

    # What anybody may ask.

    def top(self, symbol: str) -> TopOfBook:
        """Return the best prices; UnknownSymbolError if the symbol is not listed."""
        matcher = self._matcher(symbol)
        listing, book = matcher.listing, matcher.book
        bids, asks = book.bids.depth(1), book.asks.depth(1)
        return TopOfBook(
            symbol=symbol,
            at_ns=self.now_ns,
            bid=listing.price(bids[0][0]) if bids else None,
            bid_quantity=listing.quantity(bids[0][1]) if bids else ZERO,
            ask=listing.price(asks[0][0]) if asks else None,
            ask_quantity=listing.quantity(asks[0][1]) if asks else ZERO,
            last=None if matcher.last is None else listing.price(matcher.last),
        )

    def depth(self, symbol: str, side: Side, levels_max: int) -> list[tuple[Decimal, Decimal]]:
        """Return price and quantity of the best levels of one side, best first."""
        matcher = self._matcher(symbol)
        half = matcher.book.half(1 if side is Side.BUY else -1)
        listing = matcher.listing
        return [
            (listing.price(ticks), listing.quantity(lots)) for ticks, lots in half.depth(levels_max)
        ]

    def order(self, broker_order_id: str) -> VenueOrder:
        """Return an order; raises InputError for an id that was never given or is forgotten."""
        order = self._clearing.orders.get(broker_order_id)
        if order is None:
            raise InputError(f"no order {broker_order_id!r} is remembered here; look at books()")
        return order

    def orders(self, account: str, *, working: bool = False) -> list[VenueOrder]:
        """Return an account's orders, or only those that work, oldest first."""
        owner = self._account(account)
        return list((owner.working if working else owner.orders).values())

    def find(
        self, account: str, wire_ids: Iterable[str], broker_order_ids: Iterable[str]
    ) -> list[VenueOrder]:
        """Return the orders that any of the ids names and what replaced them, oldest first."""
        owner = self._account(account)
        found = [order for wire_id in wire_ids for order in owner.wires.get(wire_id, ())]
        found += [owner.orders[key] for key in broker_order_ids if key in owner.orders]
        numbered: dict[int, VenueOrder] = {}
        for named in found:
            order: VenueOrder | None = named
            while order is not None:
                numbered[order.number] = order
                order = order.successor
        return [numbered[number] for number in sorted(numbered)]

    def has_forgotten(self, account: str, wire_ids: Iterable[str]) -> bool:
        """Tell whether an order of one of the ids was here and is no longer remembered."""
        wires = self._account(account).wires
        return any(wires.get(wire_id) == [] for wire_id in wire_ids)

    def fills_since(self, account: str, count: int) -> tuple[list[Fill], int]:
        """Return the fills after the first `count` that happened or changed, and the new count.

        Fewer are returned where the oldest of them are forgotten.
        """
        owner = self._account(account)
        wanted = min(max(0, owner.log_total - count), len(owner.log))
        return list(islice(reversed(owner.log), wanted))[::-1], owner.log_total

    def power(self, account: str) -> Decimal | None:
        """Return what an account can still pay for, working orders and short positions taken off.

        None where it was opened without cash.
        """
        return funds.power(self._account(account), self._matchers)

    def positions(self, account: str) -> dict[str, Decimal]:
        """Return an account's signed positions in units, without those that are flat."""
        held = self._account(account).ledger.positions
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def endow(self, account: str, symbol: str, quantity: Decimal) -> None:
        """Let an account begin with a position from before, which moved nobody's cash here."""
        self._matcher(symbol)
        self._account(account).ledger.positions[symbol] = quantity

    def books(self, account: str) -> Books:
        """Return the account's books as the venue keeps them."""
        return books_of(self._account(account))

    def crowd_books(self) -> Books:
        """Return what the anonymous crowd has: the other side of all accounts together."""
        crowd = Account(name="", capabilities=Capabilities(), ledger=self._clearing.crowd)
        return books_of(crowd)

    # How it is done.

    def _matcher(self, symbol: str) -> Matcher:
        matcher = self._matchers.get(symbol)
        if matcher is None:
            listed = ", ".join(self._matchers) or "nothing"
            raise UnknownSymbolError(f"{symbol!r} is not listed at the venue; it lists {listed}")
        return matcher

    def _matcher_of(self, order: VenueOrder) -> Matcher:
        return self._matchers[order.listing.instrument.symbol]

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise InputError(f"no account {name!r} at the venue; open it with open_account")
        return account

    def _working(self, broker_order_id: str) -> VenueOrder:
        order = self.order(broker_order_id)
        if order.ended:
            raise InputError(f"order {broker_order_id} is {order.status}; name one that works")
        return order

    def _in_market(self, broker_order_id: str) -> VenueOrder:
        order = self._working(broker_order_id)
        if order.is_held:
            raise InputError(f"order {broker_order_id} is held; let its entry fill first")
        return order

    def _named(
        self, account: Account, broker_order_id: str, wire_ids: Iterable[str]
    ) -> VenueOrder | None:
        if broker_order_id:
            return account.orders.get(broker_order_id)
        for wire_id in wire_ids:
            orders = account.wires.get(wire_id)
            if orders:
                return next((order for order in orders if not order.ended), orders[-1])
        return None

    def _accepted(self, order: VenueOrder, *, final: bool = False) -> Accepted:
        return Accepted(
            broker_order_id=order.broker_order_id,
            final=final,
            stamp_ns=order.stamp_ns,
            children=() if order.link is None else order.link.children(order),
        )

    def _admitted(
        self,
        order: VenueOrder,
        matcher: Matcher,
        kind: ReportKind,
        orig_wire_id: str = "",
        exits: Sequence[VenueOrder] = (),
    ) -> Accepted:
        self._enter(order, kind, orig_wire_id)
        for each in exits:
            self._enter(each, kind)
            if each.link is not None:
                each.link.begin(each)
        if order.ended:
            self._clearing.flush()
        else:
            matcher.arrive(order)
        final = kind is ReportKind.REPLACED and not order.account.pending_reports
        return self._accepted(order, final=final)

    def _enter(self, order: VenueOrder, kind: ReportKind, orig_wire_id: str = "") -> None:
        self._clearing.accept(order)
        if order.expire_at_ns is not None:
            heappush(self._expiries, (order.expire_at_ns, order.number, order))
        if order.lots and order.filled >= order.lots:
            self._clearing.close(order, Status.FILLED)
        self._clearing.report(order, kind, orig_wire_id=orig_wire_id)
        if order.link is not None and kind is ReportKind.REPLACED:
            order.link.replaced(order)

    def _revise(self, fill: Fill, quantity: Decimal, price: Decimal, *, reinstate: bool) -> None:
        matcher = self._matcher_of(fill.order)
        for side in (fill, fill.other):
            if side is not None:
                revise(side, quantity, price, matcher, self._clearing, reinstate=reinstate)
        self._clearing.flush()
