"""Stops that follow the market: the broker's own, or moved by the desk where it has none."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import Protect
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import OrderType
from holdfast.errors import InputError
from holdfast.testing.brokered import BrokeredDesk

NO_TRAILING = frozenset(OrderType) - {OrderType.TRAILING_STOP}
EMULATED = {
    "replaces": Capabilities(order_types=NO_TRAILING),
    "no_replace": Capabilities(order_types=NO_TRAILING, native_replace=False),
    "new_ids": Capabilities(order_types=NO_TRAILING, new_id_on_replace=True),
    "pairs": Capabilities(order_types=NO_TRAILING, exits_share_quantity=False, native_oco=True),
}
AT_EMULATED = pytest.mark.parametrize("kind", EMULATED)


def trailing(kind: str = "replaces", side: str = "buy", **terms: Any) -> BrokeredDesk:
    """A desk with a bracket of three at 100, filled, whose stop trails by two."""
    bench = BrokeredDesk(EMULATED[kind], instruments=(Instrument.of("X", tick="0.25"),))
    bench.bracket(side, **({"stop_loss_price": None, "trail": "2"} | terms))
    bench.fill("entry", 3)
    return bench


def market(bench: BrokeredDesk, price: object, *, after_ms: int = 1_500) -> None:
    """Let the market trade at a price, and a little time pass."""
    bench.quote(bid=price, ask=price, last=price)
    bench.talk()
    bench.advance(after_ms)


def stop(bench: BrokeredDesk) -> Decimal | None:
    """Return the price of the stop that works at the broker."""
    return bench.held("stop").stop_price


@AT_EMULATED
@pytest.mark.parametrize(
    ("side", "steps"),
    [
        ("buy", [("101", "99"), ("104", "102"), ("103", "102"), ("104.10", "102"), ("105", "103")]),
        ("sell", [("99", "101"), ("96", "98"), ("97", "98"), ("95.90", "98"), ("95", "97")]),
    ],
)
def test_a_stop_follows_the_market_one_way(
    kind: str, side: str, steps: list[tuple[str, str]]
) -> None:
    """It begins at what the entry paid and moves by whole ticks, only where the market gains."""
    bench = trailing(kind, side)
    assert stop(bench) == (98 if side == "buy" else 102)
    for price, wanted in steps:
        market(bench, price, after_ms=12_000)
        assert stop(bench) == Decimal(wanted), price
        assert bench.working()["stop"] == 3
    assert (bench.group().phase, bench.sent("exit")) == ("protected", [])


def test_a_stop_moves_no_more_often_than_it_may() -> None:
    """Ten prices within a second are one move, to the last of them (P9)."""
    bench = trailing()
    market(bench, "101", after_ms=3_000)
    moves = bench.calls.count(("replace", "stop"))
    for tenth in range(10):
        market(bench, 102 + tenth, after_ms=50)
    assert bench.calls.count(("replace", "stop")) == moves + 1
    bench.advance(1_000)
    assert bench.calls.count(("replace", "stop")) == moves + 2
    assert stop(bench) == 109


def test_an_old_quote_moves_nothing() -> None:
    """A price that is older than a quote may be is none."""
    bench = trailing()
    bench.quote(bid="110", ask="110", last="110")
    bench.now_ns += 6_000_000_000
    bench.advance(1)
    assert stop(bench) == 98


def test_a_stop_that_sells_is_gone_with_its_target() -> None:
    """The trailed stop closes all of it: the group is over."""
    bench = trailing()
    market(bench, "105")
    bench.fill("stop", 3, "103")
    bench.advance(5_000)
    assert (bench.truth(), bench.working(), bench.group().phase) == (0, {}, "closed")


def test_the_broker_s_own_trailing_stop_is_left_to_the_broker() -> None:
    """Where the broker has them one such order is sent, and no quote moves it."""
    bench = BrokeredDesk(instruments=(Instrument.of("X", tick="0.25"),))
    bench.bracket(stop_loss_price=None, trail="2")
    bench.fill("entry", 3)
    (sent,) = [one for one in bench.effects if isinstance(one, SubmitOrder) and one.role == "stop"]
    assert (sent.terms.order_type, sent.terms.trail) == (OrderType.TRAILING_STOP, 2)
    market(bench, "110")
    assert ("replace", "stop") not in bench.calls
    assert bench.group().phase == "protected"


@AT_EMULATED
def test_a_position_s_stop_trails_too(kind: str) -> None:
    """Asked for a position it begins behind the market and follows it."""
    bench = BrokeredDesk(EMULATED[kind], instruments=(Instrument.of("X", tick="0.25"),))
    bench.buy(3)
    bench.quote(bid="100", ask="100", last="100")
    bench.ask(Protect(symbol="X", role="stop", trail="1.5"))
    assert stop(bench) == Decimal("98.5")
    market(bench, "102", after_ms=12_000)
    assert (stop(bench), bench.working()) == (Decimal("100.5"), {"stop": 3})


def test_a_stop_that_somebody_moves_trails_no_more() -> None:
    """A price of a person's own takes the place of the trail."""
    bench = trailing()
    number = next(n for n in bench.group().live if bench.order(n).role == "stop")
    bench.replace(number, stop_price="99")
    bench.talk()
    market(bench, "110")
    assert stop(bench) == 99


def test_a_trail_survives_a_crash() -> None:
    """Folded anew it goes on from where it was, and never back (scenario 85)."""
    bench = trailing()
    market(bench, "105")
    assert stop(bench) == 103
    bench.crash(down_ms=10_000)
    market(bench, "104")
    assert stop(bench) == 103
    market(bench, "107")
    assert stop(bench) == 105


@pytest.mark.parametrize("trail", ["0", "-1", "0.1"])
def test_a_trail_of_no_tick_is_refused(trail: str) -> None:
    """A distance that is no whole tick above zero is refused, and nothing is sent."""
    bench = BrokeredDesk(EMULATED["replaces"], instruments=(Instrument.of("X", tick="0.25"),))
    with pytest.raises(InputError):
        bench.bracket(stop_loss_price=None, trail=trail)
    assert bench.calls == []


def test_a_stop_never_falls_to_nothing() -> None:
    """A trail almost as wide as the price leaves its stop one tick above zero."""
    bench = trailing(trail="99.75")
    assert stop(bench) == Decimal("0.25")
