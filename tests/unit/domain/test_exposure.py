"""What open orders weigh: whatever could still come of them, and no more, also after a restart."""

from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.exposure import Exposure, grown_by
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, NotSent, Refused, Unknown
from holdfast.domain.resting import Resting
from holdfast.domain.values import Side, Status
from holdfast.testing.builders import DeskDriver


def desk(**instrument: Any) -> DeskDriver:
    """A desk without limits."""
    return DeskDriver(instruments=[Instrument.of("X", **instrument)])


def weights(bench: DeskDriver, side: Side = Side.BUY) -> tuple[D, D, D]:
    """Units, units of exits, and money that are open on a side; the same once it is loaded."""
    exposure = bench.desk.state.exposure
    loaded = Desk.load(bench.desk.dump()).state.exposure
    assert sums(exposure) == sums(loaded)
    assert sums(exposure) == sums(bench.refolded().state.exposure)
    found = exposure.of("X", side)
    return found.quantity, found.exits, found.value


def sums(exposure: Exposure) -> tuple[Any, ...]:
    """Everything that an index adds up."""
    sides = [exposure.of("X", side) for side in Side]
    return exposure.value, exposure.abandoned, sides


def test_pending_and_unknown_orders_weigh_like_open_ones() -> None:
    """From the moment it is recorded until its end is known an order reserves what it may cost."""
    bench = desk(multiplier="2")
    assert weights(bench) == (0, 0, 0)
    bench.submit()
    assert weights(bench) == (10, 0, 2000)
    bench.answer(Unknown(text="timeout"))
    assert weights(bench) == (10, 0, 2000)
    bench.look(bench.snapshot())
    assert weights(bench) == (10, 0, 2000)


@pytest.mark.parametrize("outcome", [Refused(text="no"), NotSent(text="429")])
def test_what_never_worked_weighs_nothing(outcome: Any) -> None:
    """A refusal frees all of it; an order that waits to be sent again is still an order."""
    bench = desk()
    bench.submit()
    bench.answer(outcome)
    freed = isinstance(outcome, Refused)
    assert weights(bench) == ((0, 0, 0) if freed else (10, 0, 1000))


def test_a_fill_moves_its_part_from_the_orders_to_the_position() -> None:
    """What traded is no longer open; the end of the order frees the rest."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "4")
    assert weights(bench) == (6, 0, 600)
    bench.bust("e1")
    assert weights(bench) == (10, 0, 1000)
    bench.say("canceled")
    assert weights(bench) == (0, 0, 0)


def test_a_replace_in_flight_counts_the_larger_of_both() -> None:
    """More is reserved from the request on, less is freed with the confirmation."""
    bench = desk()
    bench.opened()
    bench.replace(quantity="20", limit_price="101")
    assert weights(bench) == (20, 0, 2020)
    bench.say("replaced", wire_id=bench.wire_id(1, 1), order_quantity=D(20), limit_price=D(101))
    assert weights(bench) == (20, 0, 2020)
    bench.replace(quantity="5", limit_price="90")
    assert weights(bench) == (20, 0, 2020)
    bench.say("replaced", wire_id=bench.wire_id(1, 2), order_quantity=D(5), limit_price=D(90))
    assert weights(bench) == (5, 0, 450)


def test_exits_weigh_units_and_no_money() -> None:
    """A marked and an unmarked exit are both on their way out, and neither reserves anything."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "10")
    bench.opened("sell", "4", reduce_only=True, order_type="market")
    bench.opened("sell", "5", limit_price="120")
    assert weights(bench, Side.SELL) == (9, 9, 0)
    bench.opened("sell", "3", limit_price="120")
    assert weights(bench, Side.SELL) == (12, 9, 360)


def test_an_order_without_a_price_weighs_what_its_quote_said() -> None:
    """A market order is worth the other side of the quote that it was let through with."""
    bench = desk()
    bench.quote("99", "101")
    bench.submit(order_type="market")
    bench.submit("sell", order_type="trailing_stop", trail="5")
    bench.quote("200", "201")
    assert weights(bench) == (10, 0, 1010)
    assert weights(bench, Side.SELL) == (10, 0, 990)


def test_a_sale_below_the_market_weighs_what_the_market_pays() -> None:
    """A short sale at 1 fetches 99 and is as large as that."""
    bench = desk()
    bench.quote("99", "101")
    bench.submit("sell", limit_price="1")
    assert weights(bench, Side.SELL) == (10, 0, 990)


def test_the_higher_price_of_a_stop_limit_counts() -> None:
    """Whichever of both is higher is what it may cost."""
    bench = desk()
    bench.submit(order_type="stop_limit", stop_price="100", limit_price="102")
    bench.submit(order_type="stop", stop_price="110")
    assert weights(bench) == (20, 0, 2120)


def test_an_order_sized_by_notional_weighs_what_is_left_of_it() -> None:
    """500 less what traded, and the units that this buys at its price."""
    bench = desk()
    bench.opened(quantity=None, notional="500", limit_price="100")
    assert weights(bench) == (5, 0, 500)
    bench.trade("e1", "2", "99")
    assert weights(bench) == (D("3.02"), 0, 302)
    bench.say("canceled")
    assert weights(bench) == (0, 0, 0)


def test_a_claim_that_waits_for_its_executions_still_weighs() -> None:
    """Filled, says a poll: until that is booked the position lacks it, so the order has it."""
    bench = desk()
    bench.opened()
    bench.poll(bench.snapshot(cumulative=10, status=Status.FILLED))
    assert weights(bench) == (10, 0, 1000)
    bench.advance(3_000)
    assert bench.position().quantity == 10
    assert weights(bench) == (0, 0, 0)


def test_an_order_that_ended_weighs_what_it_claims_to_have_filled() -> None:
    """Canceled, and four of ten are said to have traded: those four will still be booked."""
    bench = desk()
    bench.opened()
    bench.poll(bench.snapshot(cumulative=4))
    bench.say("canceled")
    assert bench.order().status is Status.CANCELED
    assert weights(bench) == (4, 0, 400)
    bench.advance(3_000)
    assert weights(bench) == (0, 0, 0)


def test_an_order_that_lives_again_weighs_again() -> None:
    """Believed canceled and shown alive: it may trade, so it counts from the first sight."""
    bench = desk()
    bench.opened()
    bench.say("canceled")
    bench.advance(6_000)
    bench.poll(bench.snapshot())
    assert weights(bench) == (10, 0, 1000)


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [(0, 5, 5), (5, 8, 3), (8, 5, 0), (5, 0, 0), (5, -3, 3), (-3, -5, 2), (-5, 5, 5), (0, 0, 0)],
)
def test_what_a_position_was_opened_by(before: int, after: int, grown: int) -> None:
    """Growing either way opens, closing does not, and a flip opens all that it ends with."""
    assert grown_by(D(before), D(after)) == grown


def test_the_running_value_of_what_was_opened_only_grows() -> None:
    """Bought 10 at 100, sold 15 at 110, bought 5 back: 1000 and 550 were opened, twice over."""
    bench = desk(multiplier="2")
    for number, (side, quantity, price) in enumerate(
        [("buy", "10", "100"), ("sell", "15", "110"), ("buy", "5", "105")], start=1
    ):
        bench.opened(side, quantity, limit_price=price)
        bench.trade(f"e{number}", quantity, price, number=number)
    assert bench.desk.guard.opened == D(3100)
    assert bench.refolded().guard.opened == D(3100)


def test_a_notional_order_that_is_given_a_quantity_weighs_that() -> None:
    """100 of money becomes 100 units: it counts from the request on, and stays when confirmed."""
    bench = desk()
    bench.opened(quantity=None, notional="100", limit_price="100")
    bench.replace(quantity="100")
    assert weights(bench) == (100, 0, 10_000)
    bench.answer(Accepted(final=True), wish=1)
    assert weights(bench) == (100, 0, 10_000)


def test_money_buys_the_more_units_the_lower_the_market_is() -> None:
    """500 at no more than 100 are ten units where the market is at 50."""
    bench = desk()
    bench.quote("49", "50")
    bench.submit(quantity=None, notional="500", limit_price="100", client_order_id="a")
    assert weights(bench)[0] == (10 if bench.order().estimate else 5)
    assert bench.order().estimate == 50


def test_what_does_not_divide_leaves_nothing_behind() -> None:
    """Sevenths and thirds of units come and go: the sums are zero again, live and loaded (P8)."""
    bench = desk(lot="0.000001", multiplier="0.3")
    for notional, price in (("1000", "3"), ("1000", "7"), ("0.7", "13"), ("99999", "0.17")):
        bench.opened("sell", None, notional=notional, limit_price=price)
        weights(bench)
    for number in (2, 4, 1, 3):
        bench.say("canceled", number=number)
        weights(bench)
    assert weights(bench, Side.SELL) == (0, 0, 0)


deeds = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "money", "accept", "trade", "cancel", "canceled", "replace", "refuse"]
        ),
        st.integers(1, 4),
        st.sampled_from(["1", "2.5", "4"]),
        st.sampled_from(["buy", "sell"]),
        st.sampled_from(["90", "100.5", "97"]),
    ),
    max_size=30,
)
# Quotients of these have no end.
MONEY = {"1": "1000", "2.5": "0.7", "4": "99999"}


@settings(max_examples=60)
@given(deeds=deeds, after_orders=st.booleans())
def test_the_index_is_a_recount_whatever_happened(
    deeds: list[tuple[str, int, str, str, str]], *, after_orders: bool
) -> None:
    """After any history, the sums are those of an index built afresh from the orders (P8)."""
    bench = DeskDriver(
        instruments=[Instrument.of("X", lot="0.5", multiplier="5")],
        capabilities=Capabilities(power_after_orders=after_orders),
    )
    asked_ns = bench.now_ns
    for turn, (deed, number, quantity, side, price) in enumerate(deeds):
        if turn % 7 == 0:
            asked_ns = bench.now_ns
        if deed == "submit":
            bench.submit(side, quantity, limit_price=price)
        elif deed == "money":
            bench.submit(side, None, notional=MONEY[quantity], limit_price=price)
        elif number < bench.desk.next_number:
            act(bench, deed, number, quantity, price, turn)
        weights(bench)
        recount = Exposure(bench.desk.state.multiplier)
        for order in (*bench.desk.state.active.values(), *bench.desk.state.past()):
            recount.note(order)
        assert bench.desk.state.exposure.uncovered(asked_ns) == recount.uncovered(asked_ns)


def act(bench: DeskDriver, deed: str, number: int, quantity: str, price: str, turn: int) -> None:
    """Let something happen to an order, possible or not."""
    if deed == "accept":
        bench.say("new", number=number)
    elif deed == "trade":
        bench.trade(f"e{turn}", quantity, price, number=number)
    elif deed == "canceled":
        bench.say("canceled", number=number)
    elif deed == "cancel":
        bench.cancel(number)
    elif deed == "replace":
        bench.replace(number, quantity=quantity, limit_price=price)
    else:
        bench.answer(Refused(text="no"), number=number)


def test_the_best_price_is_found_among_what_is_open() -> None:
    """The highest purchase, as orders enter, change their price, leave and live again."""
    bench = desk()
    for price in ("99", "101", "100"):
        bench.opened(limit_price=price)
    bench.opened(order_type="stop_limit", stop_price="110", limit_price="111")
    bids = bench.desk.state.resting.of("X", Side.BUY)
    assert best(bids) == 2
    bench.say("canceled", number=2)
    assert best(bids) == 3
    bench.replace(limit_price="102")
    bench.say("replaced", wire_id=bench.wire_id(1, 1), limit_price=D(102))
    assert best(bids) == 1
    bench.trade("e1", "10", number=1)
    bench.advance(6_000)
    bench.poll(bench.snapshot(2))
    assert best(bids) == 2


def best(resting: Resting) -> int:
    """The number of the order that is most in the way; 0 for none."""
    order = resting.best()
    return order.number if order is not None else 0


def test_prices_of_orders_that_left_do_not_pile_up() -> None:
    """Far from the best price, orders come and go, and no more is remembered than is open (P9)."""
    bench = desk()
    bench.opened(limit_price="100")
    for number in range(2, 500):
        bench.submit(limit_price="50")
        bench.answer(Refused(text="no"), number=number)
        bench.desk.rest()
    bids = bench.desk.state.resting.of("X", Side.BUY)
    assert len(bids.orders) == 1
    assert len(bids._prices) < 100  # the memory itself is what this is about
