"""The profile `limit_only`: plain limit orders of shares, and never the same one twice unmeant."""

from typing import Any

import pytest

from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import Submit
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.errors import AmountError, InputError, UnsupportedOrderTypeError
from holdfast.testing.builders import DeskDriver


def desk(*, look_alike: bool | None = None, profile: Any = "limit_only") -> DeskDriver:
    """A desk of that profile that trades TSLA."""
    limits = Limits(
        look_alike=look_alike, open_orders_max=None, price_collar_pct=None, self_cross=False
    )
    return DeskDriver(
        policies=Policies(profile=profile, limits=limits), instruments=[Instrument.of("TSLA")]
    )


def asked(**terms: Any) -> Submit:
    """A purchase of 50 TSLA at a reference of 250.30, unless told otherwise."""
    wanted: dict[str, Any] = {
        "symbol": "TSLA",
        "side": "buy",
        "quantity": 50,
        "order_type": "limit",
        "reference_price": "250.30",
    }
    return Submit(OrderRequest(**(wanted | terms)))


def sent(bench: DeskDriver) -> int:
    """How many orders went to the broker."""
    return sum(isinstance(effect, SubmitOrder) for effect in bench.effects)


@pytest.mark.parametrize("order_type", ["market", "stop", "stop_limit", "trailing_stop", "iceberg"])
def test_other_order_types_are_refused_with_guidance(order_type: str) -> None:
    """A market or stop order is told what to call in its place (scenario 41)."""
    bench = desk()
    decision = bench.step(asked(order_type=order_type, reference_price=None))
    assert isinstance(decision.error, UnsupportedOrderTypeError)
    assert "place_limit_buy" in str(decision.error)
    assert "place_limit_sell" in str(decision.error)
    assert not decision.events


@pytest.mark.parametrize("symbol", ["", "aapl1", "AAPL!", "BTC-USD", "aapl", "ÄPL"])
def test_what_is_no_ticker_is_refused(symbol: str) -> None:
    """Upper-case letters, with a class where there is one (scenario 40)."""
    decision = desk().step(asked(symbol=symbol))
    assert isinstance(decision.error, InputError)
    assert "upper-case tickers" in str(decision.error)


def test_a_ticker_may_have_a_class() -> None:
    """BRK.B is a share like any other (scenario 40)."""
    bench = DeskDriver(
        policies=Policies(profile="limit_only"), instruments=[Instrument.of("BRK.B")]
    )
    assert bench.step(asked(symbol="BRK.B")).error is None


@pytest.mark.parametrize(
    "terms",
    [
        {"quantity": 0},
        {"quantity": "1.5"},
        {"quantity": None},
        {"quantity": -1},
        {"reference_price": 0},
        {"quantity": None, "notional": "100"},
    ],
)
def test_amounts_that_are_no_shares_or_prices_are_refused(terms: dict[str, Any]) -> None:
    """Nothing, parts, and less than nothing; the broker is never called (scenario 40)."""
    bench = desk()
    decision = bench.step(asked(**terms))
    assert isinstance(decision.error, InputError)
    assert not decision.events
    assert sent(bench) == 0


def test_part_of_a_share_is_refused_even_where_the_lot_would_allow_it() -> None:
    """The profile is about whole shares, whatever the instrument says (scenario 40)."""
    bench = DeskDriver(
        policies=Policies(profile="limit_only"), instruments=[Instrument.of("TSLA", lot="0.1")]
    )
    assert isinstance(bench.step(asked(quantity="1.5")).error, AmountError)


def test_a_look_alike_of_a_pending_order_is_that_order() -> None:
    """Symbol, side and price of what is pending: the first order again, no second call."""
    bench = desk()
    first = bench.step(asked())
    bench.answer(Unknown(text="timeout"))
    again = bench.step(asked(quantity=60))
    assert (again.number, again.repeat, again.error) == (first.number, True, None)
    assert not again.events
    written_otherwise = bench.step(asked(reference_price=None, limit_price="249.930"))
    assert (written_otherwise.number, written_otherwise.repeat) == (first.number, True)
    assert sent(bench) == 1


@pytest.mark.parametrize(
    "terms",
    [
        {"side": "sell"},
        {"reference_price": "250.40"},
        {"client_order_id": "mine"},
        {"idempotency_key": "key"},
        {"strategy": "other"},
    ],
)
def test_another_order_is_no_look_alike(terms: dict[str, Any]) -> None:
    """Another side, price or strategy is another order, and so is one that has a name."""
    bench = desk()
    bench.step(asked())
    decision = bench.step(asked(**terms))
    assert (decision.number, decision.repeat) == (2, False)
    assert sent(bench) == 2


def test_what_has_ended_or_is_being_cancelled_is_not_pending() -> None:
    """Whoever cancels an order and places it anew means a new one."""
    bench = desk()
    bench.step(asked())
    bench.say("new")
    bench.cancel()
    assert bench.step(asked()).number == 2
    bench.say("canceled")
    bench.say("new", number=2)
    bench.say("canceled", number=2)
    assert bench.step(asked()).number == 3


@pytest.mark.parametrize("marked", [True, False])
def test_an_exit_asked_for_twice_goes_out_once(marked: bool) -> None:
    """The same again is the one that is out, also where nothing is left to close."""
    bench = desk()
    bench.step(asked(quantity=10))
    bench.say("new")
    bench.trade("e1", "10")
    whole = asked(side="sell", quantity=10, reduce_only=marked)
    assert [bench.step(whole).number for _ in range(2)] == [2, 2]
    assert sent(bench) == 2


def test_another_exit_at_the_same_price_gets_out() -> None:
    """A smaller one that is out does not stand for the rest, nor does a name or force (P7)."""
    bench = desk()
    bench.step(asked(quantity=10))
    bench.say("new")
    bench.trade("e1", "10")
    terms: list[dict[str, Any]] = [
        {"quantity": 2},
        {"quantity": 3},
        {"quantity": 3, "client_order_id": "mine"},
        {"quantity": 2, "reduce_only": True, "client_order_id": "marked"},
        {"quantity": 2, "reduce_only": True, "force": True},
    ]
    found = [bench.step(asked(side="sell", **each)) for each in terms]
    assert [(each.number, each.repeat) for each in found] == [(n, False) for n in range(2, 7)]


def test_an_entry_is_not_answered_with_an_exit() -> None:
    """Five are on their way out; a sale of fifty at that price is another order."""
    bench = desk()
    bench.step(asked(quantity=5))
    bench.say("new")
    bench.trade("e1", "5")
    assert bench.step(asked(side="sell", quantity=5)).number == 2
    assert bench.step(asked(side="sell", quantity=50)).number == 3


@pytest.mark.parametrize(
    ("profile", "look_alike", "repeats"),
    [
        ("full", None, False),
        ("full", True, True),
        ("limit_only", None, True),
        ("limit_only", False, False),
    ],
)
def test_the_guard_is_on_where_it_is_asked_for(
    profile: str, look_alike: bool | None, repeats: bool
) -> None:
    """On by default in `limit_only` and off elsewhere; a desk's own choice goes first."""
    bench = desk(look_alike=look_alike, profile=profile)
    bench.step(asked())
    assert bench.step(asked()).repeat is repeats
