"""Executions, busts, corrections and cumulative figures: what was traded, to the last digit."""

from decimal import Decimal as D
from itertools import permutations
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.inputs import SetOpeningBalance
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Sighting
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.errors import InputError
from holdfast.testing.builders import DeskDriver, execution

X = Instrument.of("X", multiplier="5")


def money(bench: DeskDriver, number: int = 1) -> tuple[Any, ...]:
    """Return status, filled quantity, average, fees, and the position's quantity and profit."""
    order, position = bench.order(number), bench.position()
    return (
        order.status.value,
        order.filled_quantity,
        order.average_price,
        {k: v for k, v in order.fees.items() if v},
        position.quantity,
        position.realised(X),
    )


def bought(*, ended: str = "filled") -> DeskDriver:
    """Buy 4 at 100 and, unless the order is to end before, 6 at 102; the fee is 1 each."""
    bench = DeskDriver(instruments=[X])
    bench.opened()
    bench.trade("e1", "4", "100", fee="1", fee_currency="USD")
    if ended == "filled":
        bench.trade("e2", "6", "102", fee="1", fee_currency="USD")
    else:
        bench.say(ended)
    return bench


def test_a_bust_after_filled_takes_the_trade_back_and_asks() -> None:
    """Quantity, average, fees and position are those of the other trade (scenario 83)."""
    bench = bought()
    bench.bust("e1")
    assert money(bench) == ("partial_fill", 6, 102, {"USD": 1}, 6, 0)
    assert bench.position().fees == {"USD": D(1)}
    assert bench.order().lookup is not None, "it works again, or it does not: the broker knows"
    bench.bust("e2")
    assert money(bench) == ("open", 0, 0, {}, 0, 0)


def test_a_bust_after_canceled_leaves_it_canceled() -> None:
    """Money goes, the end stays (scenario 83)."""
    bench = bought(ended="canceled")
    bench.bust("e1")
    assert money(bench) == ("canceled", 0, 0, {}, 0, 0)
    assert bench.order().lookup is None


@pytest.mark.parametrize("ended", ["filled", "canceled"])
def test_a_correction_after_the_end_recomputes_everything(ended: str) -> None:
    """New quantity, price and fee take the place of the old ones (scenario 83)."""
    bench = bought(ended=ended)
    bench.correct("e1", "c1", "3", "99", fee="0.5", fee_currency="USD")
    expected = {
        "filled": ("partial_fill", 9, 101, {"USD": D("1.5")}, 9, 0),
        "canceled": ("canceled", 3, 99, {"USD": D("0.5")}, 3, 0),
    }
    assert money(bench) == expected[ended]


def test_a_correction_that_names_no_fee_keeps_the_fee() -> None:
    """Only what a correction says is changed; the fee stays, in its currency (scenario 83)."""
    bench = bought()
    bench.correct("e1", "c1", "4", "101")
    assert money(bench) == ("filled", 10, D("101.6"), {"USD": 2}, 10, 0)


def test_a_correction_of_the_fee_alone_counts() -> None:
    """The same quantity and price with another fee is a correction (scenario 83)."""
    bench = bought()
    bench.correct("e1", "c1", "4", "100", fee="3", fee_currency="USD")
    assert money(bench)[3] == {"USD": D(4)}
    assert bench.position().fees == {"USD": D(4)}


CHAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "trade": ("trade", {"execution": execution("e1", "5", "100")}),
    "first": ("trade_correct", {"execution": execution("c1", "4", "101"), "execution_ref": "e1"}),
    "second": ("trade_correct", {"execution": execution("c2", "3", "102"), "execution_ref": "c1"}),
    "third": ("trade_correct", {"execution": execution("c3", "2", "103"), "execution_ref": "c2"}),
}


@pytest.mark.parametrize("order_of_arrival", list(permutations(CHAIN)))
def test_the_last_correction_of_a_chain_holds_in_any_order(
    order_of_arrival: tuple[str, ...],
) -> None:
    """Each names the one before; however they arrive, the last one counts (scenario 83)."""
    bench = DeskDriver(instruments=[X])
    bench.opened()
    for name in (*order_of_arrival, *order_of_arrival):
        kind, fields = CHAIN[name]
        bench.say(kind, **fields)
    assert money(bench) == ("partial_fill", 2, 103, {}, 2, 0)
    assert bench.anomalies() == []


def test_the_newest_of_two_corrections_of_one_trade_holds() -> None:
    """Two that name the trade itself are told apart by stamps, not by arrival (scenario 83)."""
    bench = DeskDriver(instruments=[X])
    bench.opened()
    bench.trade("e1", "5", stamp_ns=1)
    bench.correct("e1", "c2", "3", stamp_ns=9)
    bench.correct("e1", "c1", "4", stamp_ns=8)
    assert bench.order().filled_quantity == 3
    bench.bust("c1", stamp_ns=10)
    assert bench.order().filled_quantity == 0, "the passed-over one is still known by its id"


@pytest.mark.parametrize("first", ["bust", "trade"])
def test_a_bust_holds_also_before_its_trade(first: str) -> None:
    """Whichever of a trade and its bust arrives first, nothing is counted (scenario 83)."""
    bench = DeskDriver(instruments=[X])
    bench.opened()
    if first == "bust":
        bench.bust("e1")
    bench.trade("e1", "4", fee="1", fee_currency="USD")
    if first == "trade":
        bench.bust("e1")
    bench.trade("e1", "4", fee="1", fee_currency="USD")
    assert money(bench) == ("open", 0, 0, {}, 0, 0)


def test_a_bust_that_is_corrected_back_counts_again() -> None:
    """A trade that was taken back and reinstated is there once (scenario 83)."""
    bench = bought()
    bench.bust("e1")
    bench.correct("e1", "c1", "4", "100", fee="1", fee_currency="USD")
    assert money(bench) == ("filled", 10, D("101.2"), {"USD": 2}, 10, 0)


def closed(sold: str) -> DeskDriver:
    """Buy 4 at 100 and 6 at 102, then sell so many at 110."""
    bench = bought()
    bench.opened("sell", sold, limit_price="110")
    bench.trade("s1", sold, "110", number=2)
    return bench


def test_a_bust_after_the_position_went_flat_reopens_it() -> None:
    """Flat at a profit, then the first buy is busted: short, as if it never was (scenario 83)."""
    bench = closed("10")
    assert money(bench)[4:] == (0, (10 * 110 - 4 * 100 - 6 * 102) * 5)
    bench.bust("e1")
    position = bench.position()
    assert (position.quantity, position.average_price) == (-4, 110)
    assert position.realised(X) == 6 * (110 - 102) * 5
    assert position.cash(X) == (10 * 110 - 6 * 102) * 5


def test_a_bust_after_the_position_flipped_recomputes_both_sides() -> None:
    """Long, sold through to short; the bust lengthens the short (scenario 83)."""
    bench = closed("13")
    assert (bench.position().quantity, bench.position().average_price) == (-3, 110)
    bench.bust("e2")
    position = bench.position()
    assert (position.quantity, position.average_price) == (-9, 110)
    assert position.realised(X) == 4 * (110 - 100) * 5


def test_a_bust_takes_back_this_trade_and_not_its_twin() -> None:
    """Of two like trades the busted one goes: profit is as if it had never been (scenario 83)."""
    bench = DeskDriver(instruments=[X])
    for number, (side, price) in enumerate(
        [("buy", "10"), ("buy", "20"), ("sell", "30"), ("buy", "10")], start=1
    ):
        bench.opened(side, "1", limit_price=price)
        bench.trade("e", "1", price, number=number)
    bench.bust("e", number=1)
    position = bench.position()
    assert (position.quantity, position.average_price) == (1, 10)
    assert position.realised(X) == (30 - 20) * 5


def test_a_bust_returns_the_fee_of_its_own_trade_in_the_base_asset() -> None:
    """Two like trades, one with a fee in coins: its bust gives them back (scenarios 83, 113)."""
    coin = Instrument.of("X", lot="0.001", base="X")
    bench = DeskDriver(instruments=[coin])
    for number, fee in enumerate(["0.01", None], start=1):
        bench.opened("buy", "1")
        bench.trade("e", "1", "100", number=number, fee=fee, fee_currency="X")
    assert bench.position().quantity == D("1.99")
    bench.bust("e", number=1)
    assert bench.position().quantity == D(1)
    assert bench.position().fees == {"X": D(0)}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("trade", {}),
        ("trade", {"execution": execution("e1", "0")}),
        ("trade", {"execution": execution("", "1")}),
        ("trade", {"execution": execution("e1", "NaN")}),
        ("trade", {"execution": execution("e1", "1", "Infinity")}),
        ("trade", {"execution": execution("e1", "1e400")}),
        ("trade", {"execution": execution("e1", "-1")}),
        ("trade", {"execution": execution("e1", "1", fee="sNaN")}),
        ("trade_cancel", {}),
        ("trade_correct", {"execution_ref": "e1"}),
        ("trade_correct", {"execution_ref": "e9", "execution": execution("c1", "1", "0")}),
        ("new", {"order_quantity": D("NaN")}),
        ("new", {"stamp_ns": 10**30}),
        ("new", {"sequence": -1}),
    ],
)
def test_a_figure_that_cannot_be_counted_is_shown_and_changes_nothing(
    kind: str, fields: dict[str, Any]
) -> None:
    """Garbage is an anomaly, and neither money nor a crash (scenario 71; trap 70)."""
    bench = DeskDriver()
    bench.opened()
    before = money(bench)
    bench.say(kind, **fields)
    assert money(bench) == before
    assert len(bench.anomalies()) == 1
    assert bench.refolded().dump() == bench.desk.dump()


@pytest.mark.parametrize("quantity", ["NaN", "-1", "0", "1e400"])
def test_a_polled_execution_that_cannot_be_counted_is_shown_too(quantity: str) -> None:
    """A list of executions is held to the same (scenario 71)."""
    bench = DeskDriver()
    bench.opened()
    good = execution("e2", "1")
    bench.poll(executions=[("", "B1", execution("e1", quantity)), ("", "B1", good)])
    assert bench.order().filled_quantity == 1
    assert len(bench.anomalies()) == 1


def test_more_decimals_than_anybody_settles_in_are_rounded_at_the_door() -> None:
    """What is beyond 14 decimals is rounded away once, and the sums stay exact."""
    bench = DeskDriver(instruments=[Instrument.of("X", lot="0.00000001")])
    bench.opened()
    bench.trade("e1", "0.333333333333333333333333", "100.1234567890123456789")
    assert bench.order().filled_quantity == D("0.33333333333333")


# A figure of the broker's beside its executions. Each line: what comes, then filled and worth.
INFERRED: dict[str, list[tuple[str, Any, Any, Any, Any]]] = {
    "inferred 5, then real 2 and 3": [
        ("poll", 5, 100, 5, 500),
        ("e1", 2, 99, 5, 2 * 99 + 3 * 100),
        ("e2", 3, 101, 5, 2 * 99 + 3 * 101),
    ],
    "inferred 2, cumulative 7, then real 3 and 2": [
        ("poll", 2, 100, 2, 200),
        ("poll", 7, 101, 7, 707),
        ("e1", 3, 90, 7, 3 * 90 + (7 - 3) * D("101.4")),
        ("e2", 2, 110, 7, 3 * 90 + 2 * 110 + 2 * D("101.4")),
    ],
    "real 2, inferred 3 more, then real 4": [
        ("e1", 2, 100, 2, 200),
        ("poll", 5, D("102.4"), 5, 512),
        ("e2", 4, 103, 6, 200 + 412),
    ],
}


@pytest.mark.parametrize("name", INFERRED)
def test_inferred_quantity_gives_way_to_real_executions(name: str) -> None:
    """Never less than the figure or the executions, never twice (scenario 102; trap 51)."""
    bench = DeskDriver(settings=Settings(inferred_grace_ms=0), instruments=[X])
    bench.opened()
    for what, quantity, price, filled, worth in INFERRED[name]:
        if what == "poll":
            bench.poll(bench.snapshot(cumulative=quantity, average_price=price))
        else:
            bench.trade(str(what), quantity, price)
        order = bench.order()
        assert (order.filled_quantity, order.notional) == (filled, worth)
        assert bench.position().quantity == filled
        assert bench.position().cash(X) == -worth * 5
    assert bench.anomalies() == []


def test_a_larger_figure_waits_for_its_executions_and_is_exposure_meanwhile() -> None:
    """During the grace nothing is booked, what may be left is counted smaller (scenario 102)."""
    bench = DeskDriver()
    bench.opened()
    bench.poll(bench.snapshot(cumulative=4, average_price=99))
    order = bench.order()
    assert (order.filled_quantity, order.claimed_quantity, order.open_quantity) == (0, 4, 6)
    bench.trade("e1", "4", "98")
    assert bench.order().held is None
    assert (bench.order().filled_quantity, bench.order().average_price) == (4, 98)
    bench.advance(60_000)
    assert bench.order().filled_quantity == 4


def test_after_the_grace_the_figure_is_booked_at_the_brokers_average() -> None:
    """The difference is booked, priced so that the broker's average agrees (scenario 102)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "1", "100")
    bench.poll(bench.snapshot(cumulative=4, average_price="101.5"))
    bench.advance(1_900)
    assert bench.order().filled_quantity == 1
    bench.advance(200)
    assert (bench.order().filled_quantity, bench.order().average_price) == (4, D("101.5"))


@pytest.mark.parametrize("late", [True, False])
def test_a_bust_while_a_figure_waits_or_after_it_is_inferred_is_asked_about(late: bool) -> None:
    """The figure may be from before the bust: nothing is guessed, the broker says (scenario 83)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e2", "1", cumulative=D(3))
    if late:
        bench.advance(3_000)
        assert bench.order().filled_quantity == 3
    bench.bust("e1")
    bench.advance(3_000)
    assert bench.order().filled_quantity == (3 if late else 1)
    shown = bench.snapshot(cumulative=1, sequence=bench.sequence + 1)
    bench.look(
        Sighting(snapshot=shown, executions=(execution("e2", "1"),), executions_complete=True)
    )
    bench.advance(60_000)
    assert bench.order().filled_quantity == 1


def test_a_filled_order_whose_inferred_rest_is_busted_works_again() -> None:
    """FILLED by our own sum, the broker shows it working with less: it is open (scenario 83)."""
    bench = DeskDriver(settings=Settings(inferred_grace_ms=0))
    bench.opened()
    bench.trade("e2", "6", cumulative=D(10), stamp_ns=5, sequence=0)
    assert bench.order().status is Status.FILLED
    bench.bust("e1", stamp_ns=6, sequence=0)
    shown = bench.snapshot(status=Status.PARTIAL_FILL, cumulative=6, stamp_ns=6)
    bench.look(
        Sighting(snapshot=shown, executions=(execution("e2", "6"),), executions_complete=True)
    )
    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.PARTIAL_FILL, 6)
    assert bench.position().quantity == 6


def test_a_smaller_figure_books_nothing_until_it_is_believed() -> None:
    """A poll that shows less is a suspected bust: asked, then the executions decide (trap 22)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4")
    bench.trade("e2", "1")
    bench.poll(bench.snapshot(cumulative=1))
    assert bench.order().filled_quantity == 5
    shown = Sighting(
        snapshot=bench.snapshot(cumulative=1),
        executions=(execution("e2", "1"),),
        executions_complete=True,
    )
    bench.look(shown)
    assert (bench.order().filled_quantity, bench.order().status) == (1, Status.PARTIAL_FILL)
    assert bench.anomalies() == []


def test_an_answer_from_before_a_trade_busts_nothing() -> None:
    """The question left, then a poll told a newer trade, then the answer came: it stays counted,
    and only an answer to a later question could say otherwise (P5, scenario 83).
    """
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "2", stamp_ns=30)
    bench.poll(bench.snapshot(cumulative=1))
    bench.poll(executions=[("", "B1", execution("e2", "3", stamp_ns=40))])
    shown = bench.snapshot(cumulative=2, stamp_ns=30)
    old = Sighting(snapshot=shown, executions=(execution("e1", "2"),), executions_complete=True)
    bench.look(old, asked_ms_ago=5)
    assert bench.order().filled_quantity == bench.position().quantity == 5
    assert bench.anomalies() == []
    bench.poll(bench.snapshot(cumulative=2))
    bench.look(old)
    assert bench.order().filled_quantity == bench.position().quantity == 2


def test_an_incomplete_list_of_executions_busts_nothing() -> None:
    """A smaller figure whose executions were not all read is shown as a contradiction."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4")
    bench.poll(bench.snapshot(cumulative=1))
    bench.look(Sighting(snapshot=bench.snapshot(cumulative=1), executions=()))
    assert bench.order().filled_quantity == 4
    assert bench.anomalies() == ["CUMULATIVE_BELOW_EXECUTIONS"]


def test_a_figure_of_a_poll_that_left_before_a_fill_is_old() -> None:
    """A list is dated by when its request left (scenario 11; trap 22)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "4")
    decision = bench.poll(bench.snapshot(cumulative=0, status=Status.CANCELED), asked_ms_ago=50)
    assert decision.events == []


@pytest.mark.parametrize("broker_order_id", ["", "B2"])
@pytest.mark.parametrize("amendment", ["repeat", "bust"])
def test_after_a_replace_an_execution_is_still_found_where_it_was(
    broker_order_id: str, amendment: str
) -> None:
    """Told again or busted without its old id, a fill is recognised (scenarios 8, 84)."""
    bench = DeskDriver(capabilities=Capabilities(new_id_on_replace=True))
    bench.opened()
    bench.trade("e1", "4")
    bench.replace(quantity="12")
    bench.say("replaced", wire_id=bench.wire_id(1, 1), broker_order_id="B2")
    if amendment == "repeat":
        bench.trade("e1", "4", broker_order_id=broker_order_id)
        assert bench.order().filled_quantity == 4
    else:
        bench.bust("e1", broker_order_id=broker_order_id)
        assert bench.order().filled_quantity == 0


def test_an_order_sized_by_notional_fills_when_the_broker_says_so() -> None:
    """Its quantity is unknown until the broker names one; the books are exact (scenario 113)."""
    coin = Instrument.of("X", lot="0.0001", base="X")
    bench = DeskDriver(instruments=[coin])
    bench.opened("buy", None, notional="50", order_type="market")
    bench.trade("e1", "0.2", "100", fee="0.001", fee_currency="X")
    order = bench.order()
    assert (order.status, order.quantity, order.open_quantity) == (Status.PARTIAL_FILL, None, 0)
    bench.trade("e2", "0.25", "120", full=True)
    order = bench.order()
    assert (order.status, order.filled_quantity, order.notional) == (Status.FILLED, D("0.45"), 50)
    assert bench.position().quantity == D("0.449")
    assert bench.position().cash(coin) == -50


def test_a_position_that_was_there_before_is_built_upon() -> None:
    """The opening balance has its cost and moved no cash; it can only come first (scenario 113)."""
    bench = DeskDriver(instruments=[X])
    assert bench.step(SetOpeningBalance(symbol="X", quantity="10", price="90")).error is None
    bench.opened("sell", "4", reduce_only=True)
    bench.trade("e1", "4", "100")
    position = bench.position()
    assert (position.quantity, position.average_price) == (6, 90)
    assert (position.realised(X), position.cash(X)) == (4 * 10 * 5, 4 * 100 * 5)
    again = bench.step(SetOpeningBalance(symbol="X", quantity="1", price="1"))
    assert isinstance(again.error, InputError)
    bench.bust("e1")
    assert (bench.position().quantity, bench.position().realised(X)) == (10, 0)
