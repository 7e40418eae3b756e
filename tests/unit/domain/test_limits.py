"""Each limit at, below and above its bound, the ways out that pass it, and replaces."""

import re
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

import holdfast.domain
from holdfast.domain import events as e
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import Define, EngageKillSwitch, Flatten
from holdfast.domain.instruments import Instrument
from holdfast.domain.limits import checks_of
from holdfast.domain.policies import BreakerRules, Limits, Policies, SymbolLimits
from holdfast.domain.refusals import CODES, REFUSALS_APART_MAX
from holdfast.domain.reports import NotSent, RefusalCode, Refused
from holdfast.domain.values import Condition
from holdfast.errors import InputError, OrderRefused
from holdfast.testing.builders import DeskDriver

OFF: dict[str, Any] = {
    "open_orders_max": None,
    "price_collar_pct": None,
    "buying_power": False,
    "self_cross": False,
}


def desk(**limits: Any) -> DeskDriver:
    """A desk of two symbols, Y worth ten times as much a point, with these limits and no other."""
    instruments = [Instrument.of("X", lot="0.5"), Instrument.of("Y", multiplier="10")]
    return DeskDriver(policies=Policies(limits=Limits(**(OFF | limits))), instruments=instruments)


def refusal(bench: DeskDriver, *args: Any, **terms: Any) -> str:
    """The code under which an order is refused; empty where it passes."""
    effects, error = len(bench.effects), None
    try:
        bench.submit(*args, **terms)
    except OrderRefused as refused:
        error = refused
    if error is None:
        return ""
    assert len(bench.effects) == effects, "refused, and sent all the same"
    assert str(error).startswith(f"{error.code}: ")
    return error.code


def bought(bench: DeskDriver, quantity: str, price: str = "100") -> None:
    """Hold a quantity of X, bought at a price."""
    number = bench.opened("buy", quantity, limit_price=price).number
    bench.trade(f"e{number}", quantity, price, number=number)


# A limit, an order that just passes it, and one that just does not.
BOUNDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({"order_quantity_max": D(10)}, {}, {"quantity": "10.5"}, "ORDER_QUANTITY"),
    ({"order_notional_max": D(1000)}, {}, {"limit_price": "100.01"}, "ORDER_NOTIONAL"),
    ({"position_max": D(10)}, {}, {"quantity": "10.5"}, "POSITION"),
    ({"gross_exposure_max": D(1000)}, {}, {"limit_price": "100.01"}, "GROSS_EXPOSURE"),
    ({"capital": D(1000)}, {}, {"limit_price": "100.01"}, "BUYING_POWER"),
    (
        {"symbols": {"X": SymbolLimits(order_quantity_max=D(10))}, "order_quantity_max": D(5)},
        {},
        {"quantity": "10.5"},
        "ORDER_QUANTITY",
    ),
    (
        {"symbols": {"X": SymbolLimits(order_notional_max=D(1000))}},
        {},
        {"limit_price": "100.01"},
        "ORDER_NOTIONAL",
    ),
    ({"symbols": {"X": SymbolLimits(position_max=D(10))}}, {}, {"quantity": "10.5"}, "POSITION"),
]


@pytest.mark.parametrize(("limits", "fits", "exceeds", "code"), BOUNDS)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_bound_passes_and_a_bit_more_does_not(
    side: str, limits: dict[str, Any], fits: dict[str, Any], exceeds: dict[str, Any], code: str
) -> None:
    """Below and at its bound an entry passes, above it is refused with its code and figures."""
    assert refusal(desk(**limits), side, "9.5") == ""
    assert refusal(desk(**limits), side, **fits) == ""
    bench = desk(**limits)
    assert refusal(bench, side, **exceeds) == code
    recorded = bench.events[-1]
    assert isinstance(recorded, e.RefusalRecorded)
    assert (recorded.code, recorded.side) == (code, side)
    assert bench.desk.next_number == 1


def test_a_symbol_without_a_limit_of_its_own_has_the_desks() -> None:
    """Y falls back to the desk's bound, X has its own."""
    own = {"X": SymbolLimits(order_quantity_max=D(20))}
    bench = desk(order_quantity_max=D(5), symbols=own)
    assert refusal(bench, quantity="20") == ""
    assert refusal(bench, quantity="5", symbol="Y") == ""
    assert refusal(bench, quantity="6", symbol="Y") == "ORDER_QUANTITY"


def test_money_counts_the_multiplier() -> None:
    """One Y at 100 is worth 1000."""
    bench = desk(order_notional_max=D(1000))
    assert refusal(bench, quantity="1", symbol="Y") == ""
    assert refusal(bench, quantity="2", symbol="Y") == "ORDER_NOTIONAL"


def test_a_position_is_what_is_held_and_what_is_open_on_that_side() -> None:
    """Pending and unknown orders could all trade; those of the other side do not make room."""
    bench = desk(position_max=D(10))
    bought(bench, "4")
    bench.opened("buy", "3")
    bench.opened("sell", "2", limit_price="120")
    assert refusal(bench, quantity="3.5") == "POSITION"
    assert refusal(bench, quantity="3") == ""


def test_going_short_through_a_position_counts_as_if_it_were_gone() -> None:
    """Long 4, at most 10: a sale of 10.5 is past it, as an exit of the 4 could come before it."""
    bench = desk(position_max=D(10))
    bought(bench, "4")
    assert refusal(bench, "sell", "10.5") == "POSITION"
    assert refusal(bench, "sell", "10") == ""
    assert refusal(bench, "sell", "4", reduce_only=True, order_type="market") == ""
    bench.trade("out", "4", number=3)
    bench.trade("through", "10", number=2)
    assert bench.position().quantity == D(-10)


def test_an_exit_on_its_way_is_not_taken_for_a_short_position() -> None:
    """Long 10 with all of it on offer: a sale of another 10 ends no further than 10 short."""
    bench = desk(position_max=D(10))
    bought(bench, "10")
    assert refusal(bench, "sell", "10", reduce_only=True, limit_price="120") == ""
    assert refusal(bench, "sell", "10.5") == "POSITION"
    assert refusal(bench, "sell", "10") == ""


def test_gross_exposure_values_positions_at_the_quote_or_at_cost() -> None:
    """Both directions add up; a fresh quote decides what a position is worth."""
    bench = desk(gross_exposure_max=D(1500))
    bought(bench, "5")
    assert refusal(bench, "sell", "10", symbol="Y") == "GROSS_EXPOSURE"
    assert refusal(bench, "sell", "1", symbol="Y", limit_price="100") == ""
    assert refusal(bench, quantity="0.5", limit_price="1") == "GROSS_EXPOSURE"
    bench.quote("89", "91")
    assert refusal(bench, quantity="0.5", limit_price="100") == ""
    assert refusal(bench, quantity="0.5", limit_price="1") == "GROSS_EXPOSURE"


def test_a_gross_exposure_to_the_cent() -> None:
    """Held 500 at cost and 900 open leave 100 of 1500."""
    bench = desk(gross_exposure_max=D(1500))
    bought(bench, "5")
    bench.opened("buy", "9")
    assert refusal(bench, quantity="1", limit_price="100.01") == "GROSS_EXPOSURE"
    assert refusal(bench, quantity="1", limit_price="100.00") == ""


def test_open_orders_are_counted_and_an_abandoned_one_is_not() -> None:
    """Two of two are open; once one is abandoned its place is free, and only its place."""
    bench = desk(open_orders_max=2)
    bench.opened()
    bench.opened()
    assert refusal(bench) == "OPEN_ORDERS"
    bench.cancel()
    bench.advance(91_000)
    assert bench.order().condition is Condition.ABANDONED
    assert refusal(bench) == ""
    assert refusal(bench) == "OPEN_ORDERS"


def test_an_order_that_ended_makes_room() -> None:
    """The bound is on open orders: a refused one is none."""
    bench = desk(open_orders_max=1)
    bench.submit()
    assert refusal(bench) == "OPEN_ORDERS"
    bench.answer(Refused(text="no"))
    assert refusal(bench) == ""


def test_orders_per_minute_are_those_of_any_sixty_seconds() -> None:
    """Two a minute: the third waits until the first is a minute old."""
    bench = desk(orders_per_minute_max=2)
    bench.submit()
    bench.advance(30_000)
    bench.submit()
    bench.advance(29_900)
    assert refusal(bench) == "ORDERS_PER_MINUTE"
    bench.advance(2_000)
    assert refusal(bench) == ""
    assert refusal(bench) == "ORDERS_PER_MINUTE"


def test_orders_per_day_begin_anew_with_the_day() -> None:
    """Two a day, whatever became of them; tomorrow there are two more."""
    bench = desk(orders_per_day_max=2)
    bench.submit()
    bench.answer(Refused(text="no"))
    bench.submit()
    bench.answer(Refused(text="no"), number=2)
    assert refusal(bench) == "ORDERS_PER_DAY"
    bench.advance(86_400_000)
    assert [refusal(bench) for _ in range(3)] == ["", "", "ORDERS_PER_DAY"]


COLLARS = [
    ("buy", "110", ""),
    ("buy", "110.01", "PRICE_COLLAR"),
    ("buy", "1", ""),
    ("sell", "89.10", ""),
    ("sell", "89.09", "PRICE_COLLAR"),
    ("sell", "900", ""),
]


@pytest.mark.parametrize(("side", "price", "code"), COLLARS)
def test_a_price_reaches_so_far_past_the_market_and_no_further(
    side: str, price: str, code: str
) -> None:
    """Ten percent past the ask of 100 or the bid of 99, on the side that hurts alone."""
    bench = desk(price_collar_pct=D(10))
    bench.quote("99", "100")
    assert refusal(bench, side, limit_price=price) == code


def test_a_collar_needs_a_fresh_quote_and_a_stop_limit_is_measured_from_its_stop() -> None:
    """Without a quote nothing is measured; a stop limit may lie anywhere, near its stop."""
    bench = desk(price_collar_pct=D(10))
    assert refusal(bench, limit_price="900") == ""
    bench.quote("99", "100")
    stop = {"order_type": "stop_limit", "stop_price": "200"}
    assert refusal(bench, **stop, limit_price="220") == ""
    assert refusal(bench, **stop, limit_price="220.01") == "PRICE_COLLAR"
    bench.advance(6_000)
    assert refusal(bench, limit_price="900") == ""


def test_a_daily_loss_at_its_bound_passes_and_above_it_does_not() -> None:
    """Bought 10 at 100: at 90 a hundred is lost, at 89.99 ten cents more."""
    breaker = BreakerRules(failures_max=0, insufficient_funds=False)
    limits = Limits(**(OFF | {"daily_loss_max": D(100)}))
    bench = DeskDriver(policies=Policies(limits=limits, breaker=breaker))
    bought(bench, "10")
    bench.quote(last="90")
    assert refusal(bench, quantity="1") == ""
    bench.quote(last="89.99")
    assert refusal(bench, quantity="1") in {"DAILY_LOSS", "BREAKER_OPEN"}
    assert refusal(bench, "sell", "10") == ""


def crossing(**terms: Any) -> str:
    """The code for an order against an own sale at 101 and an own purchase at 99."""
    bench = desk(self_cross=True)
    bench.opened("sell", "10", limit_price="101")
    bench.opened("buy", "10", limit_price="99")
    bench.opened("sell", "10", order_type="stop", stop_price="98")
    bench.quote("100.5", "101" if terms.pop("ask_is_ours", False) else "100.9")
    return refusal(bench, **terms)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"limit_price": "100.99"}, ""),
        ({"limit_price": "101"}, "SELF_CROSS"),
        ({"side": "sell", "limit_price": "99.01"}, ""),
        ({"side": "sell", "limit_price": "99"}, "SELF_CROSS"),
        ({"order_type": "market"}, "SELF_CROSS"),
        ({"order_type": "market", "ask_is_ours": True}, "SELF_CROSS"),
        ({"order_type": "stop", "stop_price": "105"}, ""),
        ({"symbol": "Y", "limit_price": "150"}, ""),
    ],
)
def test_an_order_may_not_reach_an_own_one(terms: dict[str, Any], code: str) -> None:
    """Prices apart pass, prices that meet do not; stops rest in no book until they trigger."""
    assert crossing(**terms) == code


@pytest.mark.parametrize(("own", "code"), [("111.1", ""), ("110.99", "SELF_CROSS")])
def test_a_market_order_may_walk_as_far_as_the_collar_goes(own: str, code: str) -> None:
    """Ten percent past the offer of 100.9 is 110.99; without a quote it may reach anything."""
    bench = desk(self_cross=True, price_collar_pct=D(10))
    bench.opened("sell", "10", limit_price=own)
    assert refusal(bench, order_type="market") == "SELF_CROSS"
    bench.quote("100.5", "100.9")
    assert refusal(bench, order_type="market") == code
    assert refusal(bench, "sell", order_type="market") == ""


def test_an_own_order_is_met_at_the_nearer_of_its_prices_while_it_moves() -> None:
    """From the request on the new price counts, and the old one until that is confirmed."""
    bench = desk(self_cross=True)
    bench.opened("sell", "10", limit_price="110")
    bench.replace(limit_price="100")
    assert refusal(bench, limit_price="105") == "SELF_CROSS"
    bench.answer(Refused(text="no"), wish=1)
    assert refusal(bench, limit_price="105") == ""
    bench.say("canceled", number=2)
    bench.replace(limit_price="120")
    assert refusal(bench, limit_price="110") == "SELF_CROSS"
    bench.say("replaced", wire_id=bench.wire_id(1, 2), limit_price=D(120), order_quantity=D(10))
    assert refusal(bench, limit_price="110") == ""


def test_the_nearest_own_order_is_found_while_others_move_past_it() -> None:
    """Of sales at 110 and 105 the first is to go to 100, and stays where it was after all."""
    bench = desk(self_cross=True)
    bench.opened("sell", "10", limit_price="110")
    bench.opened("sell", "10", limit_price="105")
    bench.replace(limit_price="100")
    assert refusal(bench, limit_price="102") == "SELF_CROSS"
    bench.answer(Refused(text="no"), wish=1)
    assert refusal(bench, limit_price="105") == "SELF_CROSS"
    assert refusal(bench, limit_price="102") == ""


def test_a_market_order_that_nobody_can_value_is_refused() -> None:
    """With a limit in money and no quote there is nothing to measure; with one there is."""
    bench = desk(order_notional_max=D(1000))
    assert refusal(bench, order_type="market") == "NO_QUOTE"
    assert refusal(bench, order_type="stop", stop_price="100") == ""
    bench.quote("99", "100.01")
    assert refusal(bench, order_type="market") == "ORDER_NOTIONAL"
    assert refusal(bench, "sell", order_type="market") == ""
    assert bench.order(2).estimate == D(99)


def test_an_order_sized_by_notional_is_measured_in_money_and_in_units() -> None:
    """A purchase of 500 buys ten units where the market is at 50, however high its limit."""
    terms = {"quantity": None, "limit_price": "70"}
    assert refusal(desk(order_notional_max=D(500)), **terms, notional="500.01") == "ORDER_NOTIONAL"
    bench = desk(order_notional_max=D(500), order_quantity_max=D(10), position_max=D(20))
    assert refusal(bench, **terms, notional="10") == "NO_QUOTE"
    bench.quote("49", "50")
    other = desk(order_quantity_max=D(10))
    other.quote("49", "50")
    assert refusal(other, **terms, notional="500.01") == "ORDER_QUANTITY"
    assert [refusal(bench, **terms, notional="500") for _ in range(2)] == ["", ""]
    assert refusal(bench, **terms, notional="10") == "POSITION"


def test_a_sale_by_notional_sells_most_at_its_limit() -> None:
    """1000 at no less than 10 each is at most 100 units, whatever the market pays."""
    bench = desk(order_quantity_max=D(100))
    terms = {"side": "sell", "quantity": None, "limit_price": "10"}
    assert refusal(bench, **terms, notional="1000.01") == "ORDER_QUANTITY"
    assert refusal(bench, **terms, notional="1000") == ""


SHUT: list[dict[str, Any]] = [
    {"order_quantity_max": D(1)},
    {"order_notional_max": D(1)},
    {"position_max": D(1)},
    {"gross_exposure_max": D(1)},
    {"open_orders_max": 0},
    {"orders_per_minute_max": 0},
    {"orders_per_day_max": 0},
    {"price_collar_pct": D("0.01")},
    {"daily_loss_max": D(-1)},
    {"capital": D(0)},
    {"self_cross": True},
]
EXITS: list[dict[str, Any]] = [
    {"reduce_only": True},
    {"reduce_only": True, "order_type": "market"},
    {},
    {"order_type": "market"},
    {"reduce_only": True, "quantity": "11", "force": True},
]


@pytest.mark.parametrize("limits", SHUT, ids=lambda limits: next(iter(limits)))
@pytest.mark.parametrize("terms", EXITS)
def test_no_limit_holds_an_exit_up(limits: dict[str, Any], terms: dict[str, Any]) -> None:
    """Marked or not, priced or not, and beyond the position if it must be: exits pass (P7)."""
    bench = desk()
    bought(bench, "10")
    bench.opened("buy", "1", limit_price="100")
    bench.quote("130", "131")
    bench.desk.settings = desk(**limits).settings
    assert refusal(bench, "sell", "20") != ""
    assert refusal(bench, "sell", **terms) == ""
    order = bench.order(3)
    assert order.reducing
    assert isinstance(bench.effects[-1], SubmitOrder)


def test_neither_switch_nor_flattening_holds_an_exit_up() -> None:
    """The kill switch, an open breaker and a flattening refuse entries alone (P7)."""
    bench = desk()
    bought(bench, "10")
    bench.submit("buy", "1")
    bench.answer(Refused(code=RefusalCode.INSUFFICIENT_FUNDS, text="no money"), number=2)
    assert refusal(bench) == "BREAKER_OPEN"
    assert refusal(bench, "sell", "2") == ""
    bench.step(EngageKillSwitch(by="ann", reason="drill"))
    assert refusal(bench) == "KILL_SWITCH"
    assert refusal(bench, "sell", "2") == ""


def test_a_symbol_that_is_being_flattened_takes_no_entry() -> None:
    """Until it is flat entries of that symbol are refused, others pass."""
    bench = desk()
    bought(bench, "10")
    bench.step(Flatten(symbol="X", by="ann", reason="enough"))
    assert refusal(bench) == "FLATTENING"
    assert refusal(bench, symbol="Y") == ""


def test_an_unmarked_order_is_an_exit_only_as_far_as_all_on_its_side_can_close() -> None:
    """Long 10 with 4 on their way out: 6 more only close, 6.5 could open a short."""
    bench = desk(order_quantity_max=D(1))
    bench.desk.settings = desk().settings
    bought(bench, "10")
    bench.opened("sell", "4", limit_price="120")
    bench.desk.settings = desk(order_quantity_max=D(1)).settings
    assert refusal(bench, "sell", "6.5") == "ORDER_QUANTITY"
    assert refusal(bench, "sell", "6") == ""
    assert refusal(bench, "sell", "1.5") == "ORDER_QUANTITY"
    with pytest.raises(OrderRefused, match="closable=0"):
        bench.submit("sell", "0.5", reduce_only=True)


def test_what_was_let_through_as_an_exit_is_marked_and_what_was_not_is_not() -> None:
    """The journal tells entries, exits and forced exits apart (P7)."""
    bench = desk()
    bought(bench, "10")
    bench.submit("sell", "10")
    bench.submit("sell", "10")
    bench.submit("sell", "10", reduce_only=True, force=True)
    bench.submit("buy", "1", force=True)
    marks = [
        (one.reducing, one.forced) for one in bench.events if isinstance(one, e.OrderSubmitted)
    ]
    assert marks == [(False, False), (True, False), (False, False), (True, True), (False, False)]


def change(bench: DeskDriver, number: int = 1, **terms: Any) -> str:
    """The code under which a replace is refused; empty where it passes."""
    decision = bench.replace(number, **terms)
    if decision.error is None:
        return ""
    assert isinstance(decision.error, OrderRefused)
    return decision.error.code


@pytest.mark.parametrize(
    ("limits", "fits", "exceeds", "code"),
    [
        ({"order_quantity_max": D(12)}, {"quantity": "12"}, {"quantity": "13"}, "ORDER_QUANTITY"),
        (
            {"order_notional_max": D(1200)},
            {"quantity": "12"},
            {"limit_price": "120.01"},
            "ORDER_NOTIONAL",
        ),
        ({"position_max": D(12)}, {"quantity": "12"}, {"quantity": "13"}, "POSITION"),
        ({"capital": D(1200)}, {"quantity": "12"}, {"quantity": "12.5"}, "BUYING_POWER"),
        ({"gross_exposure_max": D(1200)}, {"quantity": "12"}, {"quantity": "13"}, "GROSS_EXPOSURE"),
    ],
)
def test_a_replace_is_checked_like_the_order_that_it_makes(
    limits: dict[str, Any], fits: dict[str, Any], exceeds: dict[str, Any], code: str
) -> None:
    """What the order weighs already is not counted twice, filled or open."""
    for terms, expected in ((fits, ""), (exceeds, code)):
        bench = desk(**limits)
        bench.opened()
        bench.trade("e1", "4")
        assert change(bench, **terms) == expected
    assert isinstance(bench.events[-1], e.RefusalRecorded)
    assert bench.events[-1].client_order_id == bench.order().client_order_id


def test_a_replace_that_only_reduces_always_passes() -> None:
    """Less of it, or a lower bid, passes whatever the limits have become; more of it does not."""
    bench = desk()
    bench.opened()
    bench.desk.settings = desk(**SHUT[0], capital=D(0), open_orders_max=0).settings
    assert change(bench, limit_price="100.01") == "ORDER_QUANTITY"
    assert change(bench, quantity="11", limit_price="90") == "ORDER_QUANTITY"
    assert change(bench, quantity="9") == ""
    assert change(bench, limit_price="99") == ""


def test_a_replace_is_no_new_order() -> None:
    """Counts of orders do not hold up a change of one that is open."""
    bench = desk(open_orders_max=1, orders_per_minute_max=1, orders_per_day_max=1)
    bench.opened()
    assert change(bench, quantity="20", limit_price="101") == ""


def test_an_exit_that_grows_past_the_position_becomes_an_entry() -> None:
    """Within the position it stays an exit; beyond it meets the limits, and counts from then on."""
    bench = desk(order_quantity_max=D(12))
    bought(bench, "10")
    bench.opened("sell", "5", limit_price="120")
    assert change(bench, 2, quantity="10") == ""
    assert bench.order(2).reducing
    assert change(bench, 2, quantity="13") == "ORDER_QUANTITY"
    assert change(bench, 2, quantity="12") == ""
    assert not bench.order(2).reducing
    assert bench.desk.state.exposure.value == D(1440)


def test_a_reduce_only_order_grows_up_to_what_is_left_to_close() -> None:
    """Its own fills have left the position already and are not to be closed again (P7)."""
    bench = desk()
    bought(bench, "10")
    bench.opened("sell", "5", reduce_only=True)
    bench.trade("e9", "2", number=2)
    assert change(bench, 2, quantity="10.5") == "REDUCE_ONLY_EXCEEDED"
    assert change(bench, 2, quantity="10") == ""


def test_a_fill_that_is_claimed_and_not_booked_is_still_in_the_position() -> None:
    """Long 10, an exit of 5 of which 3 are said to have traded: more than 10 would flip (P7)."""
    bench = desk()
    bought(bench, "10")
    bench.opened("sell", "5", reduce_only=True)
    bench.poll(bench.snapshot(2, cumulative=3))
    assert change(bench, 2, quantity="12") == "REDUCE_ONLY_EXCEEDED"
    assert change(bench, 2, quantity="10") == ""


def test_only_limits_that_are_set_are_looked_at() -> None:
    """With nothing set nothing runs; a limit of one symbol is a limit."""
    assert checks_of(Limits.none()) == ()
    own = Limits(**OFF, symbols={"X": SymbolLimits(position_max=D(1))})
    assert len(checks_of(own)) == 1


def test_a_flood_of_refusals_is_counted_and_not_written() -> None:
    """The same refusal is journaled once a second, with how many came between."""
    bench = desk(order_quantity_max=D(1))
    for _ in range(5):
        assert refusal(bench) == "ORDER_QUANTITY"
    bench.advance(1_000)
    assert refusal(bench) == "ORDER_QUANTITY"
    written = [one.repeats for one in bench.events if isinstance(one, e.RefusalRecorded)]
    assert written == [0, 4]
    assert bench.desk.guard.refusals == {"ORDER_QUANTITY": 6}


def test_a_flood_of_strategies_does_not_fill_the_memory() -> None:
    """Names that a caller makes up are told apart up to a bound (P9)."""
    bench = desk(order_quantity_max=D(1))
    for number in range(REFUSALS_APART_MAX + 50):
        assert refusal(bench, strategy=f"s{number}") == "ORDER_QUANTITY"
    assert len(bench.desk.memo.refused_ns) <= REFUSALS_APART_MAX + len(CODES)
    assert len(bench.desk.memo.unrecorded) <= REFUSALS_APART_MAX + len(CODES)


def test_every_code_is_explained_and_every_explanation_is_used() -> None:
    """The table of codes is what the desk's modules refuse with, no more and no less."""
    used: set[str] = set()
    for module in Path(holdfast.domain.__path__[0]).glob("*.py"):
        text = module.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:refused|_too_much)\(\s*"([A-Z_]+)"', text))
        used |= set(re.findall(r'raise OrderRefused\(\s*f?"([A-Z_]+):', text))
    assert used == set(CODES)


def test_a_refusal_for_a_broken_breaker_ends_with_its_probe() -> None:
    """Half open, the first entry is noted as the probe and the next one is refused."""
    bench = desk()
    bench.submit()
    bench.answer(Refused(code=RefusalCode.INSUFFICIENT_FUNDS, text="no money"))
    bench.advance(60_000)
    assert refusal(bench) == ""
    assert bench.desk.guard.breaker.probe == 2
    assert refusal(bench) == "BREAKER_OPEN"


def test_a_changed_multiplier_is_followed_at_once() -> None:
    """Open orders are worth what the instrument says now."""
    bench = desk(capital=D(5000))
    bench.opened(quantity="10")
    assert refusal(bench, quantity="40.5") == "BUYING_POWER"
    bench.step(Define(Instrument.of("X", lot="0.5", multiplier="4")))
    assert refusal(bench, quantity="5") == "BUYING_POWER"
    assert refusal(bench, quantity="2.5") == ""


def test_a_refused_order_leaves_nothing_that_counts() -> None:
    """An input error and a refusal are no orders: neither counts, neither reserves."""
    bench = desk(capital=D(1000), orders_per_day_max=1)
    with pytest.raises(InputError):
        bench.submit(quantity="0")
    assert refusal(bench, quantity="11") == "BUYING_POWER"
    assert refusal(bench, quantity="10") == ""
    bench.answer(NotSent(text="429"))
    assert refusal(bench, quantity="1") == "ORDERS_PER_DAY"
