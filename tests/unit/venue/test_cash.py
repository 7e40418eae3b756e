"""Accounts opened with cash: what they can pay for, and what gives it back."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, RefusalCode, Refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.errors import InputError
from holdfast.venue.fees import Fees
from holdfast.venue.paper import Venue

ABC = Instrument.of("ABC", tick=1, lot=1)
FUT = Instrument.of("FUT", tick=1, lot=1, multiplier=50)


class Purse:
    """A venue with an account of 1,000 and a crowd that offers 5 at 101 and 5 at 103."""

    def __init__(self, cash: object = "1000", **options: Any) -> None:
        self.venue = Venue(**options)
        self.crowd = self.venue.add_listing(ABC)
        self.venue.add_listing(FUT)
        self.venue.open_account("a", cash=None if cash is None else D(str(cash)))
        self.crowd.place("ask1", -1, 101, 5)
        self.crowd.place("ask2", -1, 103, 5)
        self.crowd.place("bid", 1, 99, 50)
        self.sent = 0

    @property
    def power(self) -> D | None:
        """What can still be paid for."""
        return self.venue.power("a")

    def send(
        self, side: str, quantity: object, limit: object = None, **terms: Any
    ) -> Accepted | Refused:
        """Submit a limit order, or a market order without a limit."""
        self.sent += 1
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        wanted = {
            "symbol": "ABC",
            "side": Side(side),
            "quantity": None if quantity is None else D(str(quantity)),
            "order_type": kind,
            "limit_price": None if limit is None else D(str(limit)),
        }
        return self.venue.submit("a", f"w{self.sent}", OrderTerms(**(wanted | terms)), 0)

    def taken(self, *order: Any, **terms: Any) -> str:
        """Submit an order that is taken; return its broker order id."""
        answer = self.send(*order, **terms)
        assert isinstance(answer, Accepted), answer
        return answer.broker_order_id

    def short_of(self, *order: Any, **terms: Any) -> str:
        """Submit an order that cannot be paid; return what it was told."""
        answer = self.send(*order, **terms)
        assert isinstance(answer, Refused), answer
        assert answer.code is RefusalCode.INSUFFICIENT_FUNDS
        return answer.text


def test_two_open_buys_may_not_exceed_the_cash() -> None:
    """What a working order reserves is not there for the next; a cancel frees it (scenario 59)."""
    purse = Purse()
    first = purse.taken("buy", 6, 90)
    left = purse.power

    told = purse.short_of("buy", 6, 90)
    purse.venue.cancel("a", broker_order_id=first, now_ns=0)
    purse.taken("buy", 11, 90)

    assert left == 460
    assert told == "insufficient funds: 540 USD needed, 460 left"
    assert purse.power == 10


def test_a_refused_order_leaves_no_trace() -> None:
    """Nothing is reserved for it, nothing of it is listed, and its wire id stays free."""
    purse = Purse()
    purse.short_of("buy", 100, 90)
    purse.sent -= 1

    purse.taken("buy", 1, 90)

    assert len(purse.venue.orders("a")) == 1


def test_fills_move_the_cash_and_exits_bring_it_back() -> None:
    """Five bought at 101 cost 505; sold at 99 they leave ten less than before."""
    purse = Purse()
    purse.taken("buy", 5, 101)
    bought = purse.power
    purse.taken("sell", 5)

    assert (bought, purse.power) == (495, 990)
    assert purse.venue.positions("a") == {}


def test_a_market_order_needs_what_the_book_asks_for_it() -> None:
    """5 at 101 and 3 at 103 are 814: just payable with 814, not with 813."""
    Purse(814).taken("buy", 8)

    assert "814 USD needed, 813 left" in Purse(813).short_of("buy", 8)


def test_an_exit_needs_nothing_however_poor_the_account_is() -> None:
    """With all cash in the position and fees owed, a sale up to the position is taken (P7)."""
    purse = Purse(505, fees=Fees(per_unit=D(1)))
    purse.taken("buy", 5, 101)
    poor = purse.power
    purse.taken("sell", 3, 120)
    purse.taken("sell", 2)

    assert poor == -5
    assert "240 USD needed, 191 left" in purse.short_of("sell", 2, 120)


def test_a_short_sale_needs_its_worth_and_buying_back_frees_it() -> None:
    """Sold short at 99, five tie up 495 beside their proceeds; bought back the loss is left."""
    purse = Purse()
    purse.taken("sell", 5)
    short = purse.power

    told = purse.short_of("sell", 6, 120)
    purse.taken("buy", 5)

    assert short == 505
    assert "720 USD needed, 505 left" in told
    assert purse.power == 990


def test_an_order_that_turns_a_position_needs_only_its_opening_part() -> None:
    """Long 5, a sale of 8 at 120 opens 3 short: 360 of the 495 that are left."""
    purse = Purse()
    purse.taken("buy", 5, 101)
    purse.taken("sell", 8, 120)

    assert purse.power == 135


def test_a_reduce_only_order_reserves_nothing_and_blocks_no_exit() -> None:
    """Beside a resting reduce-only exit a plain one closes the position as well."""
    purse = Purse()
    purse.taken("buy", 5, 101)
    purse.taken("sell", 5, 130, reduce_only=True)
    purse.taken("sell", 5, 120)

    assert purse.power == 495


def test_a_replace_is_refused_only_for_needing_more() -> None:
    """A dearer one beyond the cash is refused and the order stands; a cheaper one always goes."""
    purse = Purse()
    order = purse.taken("buy", 10, 90)

    def replace(price: int) -> Accepted | Refused:
        terms = OrderTerms(
            symbol="ABC",
            side=Side.BUY,
            quantity=D(10),
            order_type=OrderType.LIMIT,
            limit_price=D(price),
        )
        return purse.venue.replace(
            "a", wire_id=f"r{price}", terms=terms, broker_order_id=order, now_ns=0
        )

    dearer = replace(101)
    standing = purse.power
    cheaper = replace(80)

    assert isinstance(dearer, Refused)
    assert dearer.code is RefusalCode.INSUFFICIENT_FUNDS
    assert isinstance(cheaper, Accepted)
    assert (standing, purse.power) == (100, 200)


def test_a_cheaper_replace_goes_even_where_nothing_is_left() -> None:
    """Fees have eaten what the order reserves: for 400 instead of 450 it is still taken."""
    purse = Purse(fees=Fees(per_unit=D(20)))
    order = purse.taken("buy", 5, 90)
    purse.taken("buy", 5, 101)
    owed = purse.power
    terms = OrderTerms(
        symbol="ABC",
        side=Side.BUY,
        quantity=D(5),
        order_type=OrderType.LIMIT,
        limit_price=D(80),
    )
    answer = purse.venue.replace("a", wire_id="r", terms=terms, broker_order_id=order, now_ns=0)

    assert owed == -55
    assert isinstance(answer, Accepted)


def test_money_counts_the_multiplier_and_stops_their_stop_price() -> None:
    """One contract at 10 times 50 is 500; a stop at 11 for another is 550 and too much."""
    purse = Purse()
    purse.taken("buy", 1, 10, symbol="FUT")

    told = purse.short_of("buy", 1, symbol="FUT", order_type=OrderType.STOP, stop_price=D(11))

    assert "550 USD needed, 500 left" in told


def test_an_order_sized_by_notional_needs_what_it_can_buy() -> None:
    """For 600 five whole units at 101 can be had: with 505 it is taken, with 504 refused."""
    Purse(505).taken("buy", None, notional=D(600))

    Purse(504).short_of("buy", None, notional=D(600))


def test_without_cash_an_account_has_as_much_as_it_takes() -> None:
    """No order is refused for money, and no figure is invented."""
    purse = Purse(None)
    purse.taken("buy", 1_000_000, 90)

    assert purse.power is None


def test_an_account_keeps_what_it_was_opened_with() -> None:
    """Opening it again finds it; with other cash, or with less than nothing, it is refused."""
    purse = Purse()
    purse.venue.open_account("a")
    purse.venue.open_account("a", cash=D(1000))

    with pytest.raises(InputError, match="opened with 1000 USD, not 5"):
        purse.venue.open_account("a", cash=D(5))
    with pytest.raises(InputError, match="cash is -1"):
        purse.venue.open_account("b", cash=D(-1))
