"""What orders came to per strategy and symbol is what a recount of them finds."""

from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.domain import inputs, tallies
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.reports import Refused
from holdfast.domain.settings import Settings
from holdfast.domain.tallies import OTHER, Tally
from holdfast.domain.values import ZERO, OrderType, Status
from holdfast.testing.builders import DeskDriver


def found(desk: Desk) -> dict[tuple[str, str], Tally]:
    """Return a desk's tallies, those of active orders with them."""
    return desk.state.tallies.with_live(desk.active())


def amounts(tally: Tally) -> dict[str, Any]:
    """Return the figures of a tally that an order can add to and be taken out of."""
    counts = (tally.statuses, tally.types, tally.roles)
    return {
        "counts": [{key: count for key, count in each.items() if count} for each in counts],
        "exits": tally.exits,
        "executions": tally.executions,
        "volume": tally.volume,
        "notional": tally.notional,
        "fees": {currency: fee for currency, fee in tally.fees.items() if fee},
        "largest": tally.largest,
        "worth": tally.worth,
    }


def recounted(orders: list[Order]) -> dict[tuple[str, str], dict[str, Any]]:
    """Add up orders one by one, the long way."""
    pairs = {(order.strategy, order.terms.symbol) for order in orders}
    return {
        pair: _recount([o for o in orders if (o.strategy, o.terms.symbol) == pair])
        for pair in pairs
    }


def _recount(orders: list[Order]) -> dict[str, Any]:
    standing = [
        (each.quantity, each.price, each.fee, each.fee_currency)
        for order in orders
        for leg in order.legs
        for each in (*leg.executions.values(), *leg.waiting.values())
        if each.quantity
    ]
    fees: dict[str, D] = {}
    for _, _, fee, currency in standing:
        if fee is not None:
            fees[currency] = fees.get(currency, ZERO) + fee
    statuses: dict[Status, int] = {}
    types: dict[OrderType, int] = {}
    roles: dict[str, int] = {}
    for order in orders:
        statuses[order.status] = statuses.get(order.status, 0) + 1
        types[order.terms.order_type] = types.get(order.terms.order_type, 0) + 1
        if order.role:
            roles[order.role] = roles.get(order.role, 0) + 1
    return {
        "counts": [statuses, types, roles],
        "exits": sum(order.reducing or order.terms.reduce_only for order in orders),
        "executions": len(standing),
        "volume": sum((quantity for quantity, *_ in standing), ZERO),
        "notional": sum((quantity * price for quantity, price, *_ in standing), ZERO),
        "fees": {currency: fee for currency, fee in fees.items() if fee},
        "largest": max(order.largest or ZERO for order in orders),
        "worth": max((o.asked.quantity or ZERO) * (o.asked.limit_price or ZERO) for o in orders),
    }


def agree(bench: DeskDriver) -> None:
    """Compare the tallies with a recount of all orders, and with those of a second fold."""
    orders = [bench.order(number) for number in range(1, bench.desk.next_number)]
    figures = found(bench.desk)
    assert {pair: amounts(tally) for pair, tally in figures.items()} == recounted(orders)
    assert bench.refolded().dump() == bench.desk.dump()


def test_amounts_are_exact() -> None:
    """A tenth three times is three tenths, and nothing of a price is lost (trap 57)."""
    bench = DeskDriver(instruments=[Instrument.of("X", tick="0.00000001", lot="0.1")])
    bench.opened(quantity="0.3", limit_price="0.00000003", strategy="a")
    for turn in range(3):
        bench.trade(f"e{turn}", "0.1", "0.00000003", fee="0.1", fee_currency="USD")
    tally = found(bench.desk)["a", "X"]
    assert (tally.volume, tally.notional) == (D("0.3"), D("0.000000009"))
    assert tally.fees == {"USD": D("0.3")}
    agree(bench)


def test_a_bust_takes_its_part_back_out_and_a_late_fill_adds_it() -> None:
    """After the end of an order money still counts, in both directions (scenario 12)."""
    bench = DeskDriver()
    bench.opened(strategy="a")
    bench.trade("e1", "4")
    bench.trade("e2", "6", fee="1", fee_currency="USD")
    assert found(bench.desk)["a", "X"].statuses == {Status.FILLED: 1}
    bench.bust("e2")
    tally = found(bench.desk)["a", "X"]
    assert (tally.volume, tally.executions) == (D(4), 1)
    assert not tally.fees.get("USD")
    agree(bench)

    bench.say("canceled")
    bench.trade("e3", "1", "101")
    tally = found(bench.desk)["a", "X"]
    assert (tally.volume, tally.notional, tally.executions) == (D(5), D(501), 2)
    agree(bench)


def test_a_correction_leaves_one_execution_at_its_new_price() -> None:
    """The newest version of an execution is the one that is counted (trap 16)."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "10", "100")
    bench.correct("e1", "e1b", "10", "99.5")
    tally = found(bench.desk)["", "X"]
    assert (tally.volume, tally.notional, tally.executions) == (D(10), D(995), 1)
    agree(bench)


def test_strategies_and_symbols_are_told_apart() -> None:
    """Each pair has figures of its own, by type and by what was asked."""
    bench = DeskDriver(instruments=[Instrument.of("X"), Instrument.of("Y")])
    bench.opened(strategy="a", quantity="5")
    bench.opened(strategy="a", symbol="Y", order_type="market", quantity="7")
    refused = bench.submit(strategy="b", quantity="2").number
    bench.answer(Refused(text="no"), number=refused)
    figures = found(bench.desk)
    assert set(figures) == {("a", "X"), ("a", "Y"), ("b", "X")}
    assert figures["a", "Y"].types == {OrderType.MARKET: 1}
    assert figures["b", "X"].statuses == {Status.REJECTED: 1}
    assert figures["a", "X"].largest == D(5)
    assert figures["a", "Y"].worth == ZERO, "an order without any price has no worth"
    agree(bench)


def test_an_exit_is_no_entry() -> None:
    """Orders that can only close are counted as exits."""
    bench = DeskDriver()
    bench.opened()
    bench.trade("e1", "10")
    bench.opened("sell", "4", reduce_only=True)
    bench.opened("sell", "3")
    tally = found(bench.desk)["", "X"]
    assert (tally.orders, tally.exits) == (3, 2)
    bench.say("canceled", number=2)
    bench.say("canceled", number=3)
    agree(bench)


def test_many_strategies_end_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded: later strategies are counted together, and stay so."""
    monkeypatch.setattr(tallies, "PAIRS_MAX", 2)
    bench = DeskDriver()
    for number, strategy in enumerate(["a", "b", "c", "d", "a"], 1):
        bench.opened(strategy=strategy)
        bench.trade("e1", "10", number=number)
    figures = found(bench.desk)
    orders = {strategy: tally.orders for (strategy, _), tally in figures.items()}
    assert orders == {"a": 2, "b": 1, OTHER: 2}
    bench.bust("e1", number=3)
    assert found(bench.desk)[OTHER, "X"].volume == D(10)
    bench.opened(strategy="e")
    assert found(bench.desk)[OTHER, "X"].orders == 3, "one that still works is counted there too"


def test_a_restart_changes_nothing() -> None:
    """Tallies are stored: the same bytes, and the same figures, after any snapshot."""
    bench = DeskDriver()
    bench.opened(strategy="a")
    bench.trade("e1", "10", fee="0.25", fee_currency="USD")
    bench.opened(strategy="a")
    before = found(bench.desk)
    body = bench.desk.dump()
    bench.desk = Desk.load(body, bench.settings)
    assert bench.desk.dump() == body
    assert found(bench.desk) == before
    bench.bust("e1")
    agree(bench)


def test_archived_orders_still_count() -> None:
    """What left memory is in the figures, and is not counted twice when it comes back."""
    bench = DeskDriver(settings=Settings(finished_orders_max=1))
    for number in range(1, 2_100):
        bench.opened()
        bench.trade("e1", "10", number=number)
    bench.desk.rest()
    body = bench.desk.state.body(1)
    bench.step(inputs.Archive(durable_ns=bench.now_ns))
    assert bench.desk.order(1) is None
    assert found(bench.desk)["", "X"].volume == 20_990
    bench.step(inputs.Recalled({1: body}))
    bench.bust("e1")
    tally = found(bench.desk)["", "X"]
    assert (tally.orders, tally.volume) == (2_099, D(20_980))


STEPS = st.tuples(
    st.sampled_from(
        [
            *["submit", "trade", "trade", "late", "bust", "correct", "cancel", "canceled"],
            *["expired", "replace", "replaced", "poll", "rest", "load", "reject"],
        ]
    ),
    st.integers(1, 4),
    st.sampled_from(["1", "2.5", "4", "10"]),
    st.sampled_from(["e1", "e2", "e3"]),
)


@hypothesis_settings(max_examples=150)
@given(
    new_ids=st.booleans(),
    carries=st.booleans(),
    steps=st.lists(STEPS, min_size=5, max_size=40),
)
def test_any_history_counts_as_its_orders_do(new_ids: bool, carries: bool, steps: Any) -> None:
    """Fills, busts, corrections, replaces and ends in any order: the sums are a recount (P3)."""
    can = Capabilities(new_id_on_replace=new_ids, replace_carries_fills=carries or not new_ids)
    bench = DeskDriver(capabilities=can, instruments=[Instrument.of("X", lot="0.5")])
    bench.opened(strategy="a")
    for what, number, quantity, name in steps:
        if what == "submit" or number >= bench.desk.next_number:
            bench.submit("sell" if number == 1 else "buy", quantity, strategy=name)
        else:
            _take(bench, what, number, quantity, name)
    agree(bench)


def _take(bench: DeskDriver, what: str, number: int, quantity: str, name: str) -> None:
    """Let one thing happen to an order."""
    broker = f"{'BC'[len(quantity) % 2]}{number}"
    if what in {"trade", "late"}:
        price = "99" if what == "late" else "100"
        fees = {"fee": "0.1", "fee_currency": "USD"}
        bench.trade(f"{name}{what}", quantity, price, number=number, broker_order_id=broker, **fees)
    elif what == "bust":
        bench.bust(f"{name}trade", number=number, broker_order_id=broker)
    elif what == "correct":
        old, new = f"{name}trade", f"{name}new"
        bench.correct(old, new, quantity, "98", number=number, broker_order_id=broker)
    elif what in {"canceled", "expired"}:
        bench.say(what, number=number)
    elif what == "replace":
        bench.replace(number, quantity=quantity)
    elif what == "replaced":
        bench.say("replaced", number=number, broker_order_id=f"C{number}", order_quantity=D(20))
    elif what == "cancel":
        bench.cancel(number)
    elif what == "reject":
        bench.answer(Refused(text="no"), number=number)
    elif what == "poll":
        shown = bench.snapshot(number, cumulative=quantity, order_quantity="10")
        bench.poll(shown)
        bench.advance(10_000)
    elif what == "load":
        bench.desk.rest()
        bench.desk = Desk.load(bench.desk.dump(), bench.settings)
        bench.step(inputs.Connected(Capabilities()))
    else:
        bench.desk.rest()
