"""A price of zero or below is how sources say that there is none; nothing is valued at it."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.inputs import SetOpeningBalance
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.quotes import Quote, priced
from holdfast.errors import OrderRefused
from holdfast.testing.builders import DeskDriver


def desk(**limits: Any) -> DeskDriver:
    """A desk with these limits and no collar."""
    chosen = Limits(open_orders_max=None, price_collar_pct=None, self_cross=False, **limits)
    return DeskDriver(policies=Policies(limits=chosen))


@pytest.mark.parametrize("nothing", ["0", "0.00", "-1"])
def test_such_a_price_is_dropped_and_the_others_are_kept(nothing: str) -> None:
    """A quote without such a price is taken as it is."""
    quote = Quote(symbol="X", bid=D(99), ask=D(nothing), last=D(100), at_ns=5)
    assert priced(quote) == Quote(symbol="X", bid=D(99), last=D(100), at_ns=5)
    sound = Quote(symbol="X", bid=D(99), ask=D(101))
    assert priced(sound) is sound


def test_an_order_is_not_measured_at_nothing() -> None:
    """A million at an offer of zero would cost nothing and pass every limit in money."""
    bench = desk(order_notional_max=D(1000), capital=D(1000))
    bench.quote("99", "0")
    with pytest.raises(OrderRefused, match="NO_QUOTE"):
        bench.submit("buy", "1000000", order_type="market")
    bench.quote("99", "0", "100")
    with pytest.raises(OrderRefused, match="ORDER_NOTIONAL"):
        bench.submit("buy", "1000000", order_type="market")


def test_a_position_is_not_worth_nothing() -> None:
    """A missing offer halves no mid, and opens no breaker."""
    bench = desk(daily_loss_max=D(100))
    bench.step(SetOpeningBalance(symbol="X", quantity="10", price="100"))
    bench.quote("99", "101")
    bench.quote("99", "0")
    assert bench.desk.quotes["X"].mark == 99
    assert not bench.desk.guard.breaker.reason


def test_nothing_follows_such_a_price() -> None:
    """A sale pegged to the mid of 100 and nothing would go out at 50."""
    bench = desk()
    bench.quote("100", "0")
    with pytest.raises(OrderRefused, match="NO_QUOTE"):
        bench.submit("sell", "1", limit_price=None, peg="mid")
