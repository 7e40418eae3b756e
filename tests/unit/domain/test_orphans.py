"""Exits of no group whose position is gone are cancelled; nothing else is."""

from decimal import Decimal

import pytest

from holdfast.domain.inputs import CancelPositionOrders
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Refused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

SEPARATE = pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])


def guarded(kind: str = "plain", side: str = "buy", quantity: str = "3") -> BrokeredDesk:
    """A desk that holds three, with a plain reduce-only stop and a plain target around them."""
    bench = BrokeredDesk(BROKER_KINDS[kind], instruments=(Instrument.of("X"), Instrument.of("Y")))
    bench.buy(3, side=side)
    other, low, high = ("sell", "95", "110") if side == "buy" else ("buy", "105", "90")
    bench.submit(other, quantity, order_type="stop", stop_price=low, reduce_only=True)
    bench.submit(other, quantity, limit_price=high, reduce_only=True, force=True)
    bench.talk()
    return bench


def left(bench: BrokeredDesk) -> list[int]:
    """Return the numbers of the orders that may still trade."""
    return sorted(bench.desk.state.active)


@SEPARATE
@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
def test_a_flat_position_leaves_no_exit(kind: str, side: str, other: str) -> None:
    """The position is sold by another order: stop and target are cancelled (scenario 76)."""
    bench = guarded(kind, side)
    assert left(bench) == [2, 3]
    bench.trade_outside(other, 3)
    assert left(bench) == []
    assert bench.truth() == 0
    swept = [event for event in bench.kinds() if event == "orders_swept"]
    assert len(swept) == 1


def test_one_exit_that_trades_ends_the_other() -> None:
    """The plain stop sells all: the plain target would open a short, and goes (scenario 76)."""
    bench = guarded()
    bench.broker.fill(bench.order(2).broker_order_id, Decimal(3), Decimal(95))
    bench.talk()
    assert (left(bench), bench.truth()) == ([], 0)


def test_a_position_that_is_not_flat_keeps_its_exits() -> None:
    """One is left: nothing is cancelled."""
    bench = guarded(quantity="1")
    bench.trade_outside("sell", 2)
    assert left(bench) == [2, 3]


def test_a_refused_cancel_is_not_forgotten() -> None:
    """The stop's cancel is refused: the next trade that ends flat asks again."""
    bench = guarded()
    bench.break_next("cancel", "", Refused(text="busy"))
    bench.trade_outside("sell", 3)
    assert left(bench) == [2]
    bench.advance(5_000)
    bench.trade_outside("buy", 1)
    bench.trade_outside("sell", 1)
    assert left(bench) == []


def test_entries_and_other_symbols_are_nobody_s_orphans() -> None:
    """A resting entry and the exits of another position stay."""
    bench = guarded()
    bench.submit("buy", "3", symbol="Y")
    bench.talk()
    bench.broker.fill(bench.order(4).broker_order_id, Decimal(3), Decimal(100))
    bench.talk()
    bench.submit("sell", "3", symbol="Y", order_type="stop", stop_price="90", reduce_only=True)
    bench.submit("buy", "1", limit_price="80")
    bench.talk()
    bench.trade_outside("sell", 3)
    assert left(bench) == [5, 6]


def test_an_entry_s_stop_to_open_is_no_orphan() -> None:
    """A stop that waits to open a position is an entry: it stays where nothing is held."""
    bench = guarded()
    bench.submit("buy", "2", order_type="stop", stop_price="120")
    bench.talk()
    bench.trade_outside("sell", 3)
    assert left(bench) == [4]


def test_an_unmarked_limit_order_is_left_to_its_owner() -> None:
    """A plain sale that fits the position is counted as an exit, and is nobody's guard: it stays
    where the position goes.
    """
    bench = BrokeredDesk()
    bench.buy(3)
    assert bench.submit("sell", "3", limit_price="110").reducing
    bench.talk()
    bench.trade_outside("sell", 3)
    assert left(bench) == [2]


def test_a_group_s_exits_are_its_own_affair() -> None:
    """A bracket's exits go with their group, once: no second cancel for them (scenario 76)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.trade_outside("sell", 3)
    assert (bench.working(), bench.group().phase) == ({}, "closed")
    assert bench.calls.count(("cancel", "stop")) == bench.calls.count(("cancel", "target")) == 1


def test_what_somebody_cancelled_is_not_cancelled_twice() -> None:
    """The stop is on its way out already when the position goes."""
    bench = guarded()
    bench.ask(CancelPositionOrders(symbol="X", kinds=("stop",), by="ann"))
    bench.trade_outside("sell", 3)
    assert bench.calls.count(("cancel", "")) == 2
    assert left(bench) == []
