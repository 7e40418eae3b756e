"""The way out: cancels always pass, exits pass up to the position, and never beyond it unasked."""

import pytest

from holdfast.domain.effects import CancelOrder, LookupOrder
from holdfast.domain.inputs import Define, SetOpeningBalance
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Refused, Unknown
from holdfast.domain.values import Status
from holdfast.errors import AmountError, InputError, OrderRefused
from holdfast.testing.builders import DeskDriver

HELD = "5"


def holding(side: str = "buy") -> DeskDriver:
    """A desk that is long, or short, by five."""
    bench = DeskDriver()
    bench.opened(side, HELD)
    bench.trade("e1", HELD)
    return bench


@pytest.mark.parametrize(("side", "exit_side"), [("buy", "sell"), ("sell", "buy")])
def test_an_exit_passes_up_to_what_is_held(side: str, exit_side: str) -> None:
    """Long and short alike: all of it passes, a unit more is refused with its figures (P7)."""
    bench = holding(side)
    orders, position = bench.desk.next_number, bench.position()
    with pytest.raises(OrderRefused, match="quantity=6 closable=5") as refused:
        bench.submit(exit_side, "6", reduce_only=True)
    assert refused.value.code == "REDUCE_ONLY_EXCEEDED"
    assert (bench.desk.next_number, bench.position()) == (orders, position)
    assert bench.submit(exit_side, "5", reduce_only=True).status is Status.NEW


def test_an_exit_on_the_side_of_the_position_closes_nothing() -> None:
    """A reduce-only order that would add to the position is refused whatever its size (P7)."""
    bench = holding()
    with pytest.raises(OrderRefused, match="closable=0"):
        bench.submit("buy", "1", reduce_only=True)


def test_exits_on_their_way_count_however_little_is_known_of_them() -> None:
    """Unanswered, unknown, open, partly filled: what they may still close is taken (P7)."""
    bench = holding()
    bench.submit("sell", "1", reduce_only=True)
    bench.submit("sell", "1", reduce_only=True)
    bench.answer(Unknown(text="timeout"), number=3)
    bench.opened("sell", "2", reduce_only=True)
    bench.trade("e1", "1", number=4)
    with pytest.raises(OrderRefused, match="quantity=2 closable=1 position=4"):
        bench.submit("sell", "2", reduce_only=True)
    bench.answer(Refused(text="no"), number=2)
    assert bench.submit("sell", "2", reduce_only=True).number == 5


def test_an_exit_that_waits_for_one_of_unknown_outcome_has_it_looked_up() -> None:
    """Beyond what is left the broker is asked first, once, and the refusal says so (P7)."""
    bench = holding()
    bench.opened("sell", "5", reduce_only=True, client_order_id="lost")
    bench.cancel(2)
    bench.answer(Unknown(text="timeout"), number=2, wish=1)
    assert not [one for one in bench.effects if isinstance(one, LookupOrder)]
    for _ in range(2):
        with pytest.raises(OrderRefused, match="what became of lost, the broker is asked"):
            bench.submit("sell", "5", reduce_only=True)
        assert len([one for one in bench.effects if isinstance(one, LookupOrder)]) == 1
    bench.look(bench.snapshot(2, status=Status.CANCELED, cumulative="0"), number=2)
    bench.advance(6_000)
    assert bench.submit("sell", "5", reduce_only=True).number == 3


def test_dust_gets_out_whatever_an_order_must_be_worth() -> None:
    """What is left of a position may be worth less than the least that can be ordered (trap 57)."""
    bench = holding()
    small = Instrument.of("X", minimum_notional="1000")
    bench.step(Define(small))
    assert bench.submit("sell", "2", reduce_only=True).number == 2
    assert bench.submit("sell", "3").number == 3
    with pytest.raises(AmountError, match="the least that can be ordered is 1000"):
        bench.submit("buy", "2")


def test_an_exit_that_is_believed_ended_but_shown_alive_counts_again() -> None:
    """A canceled exit that the broker still lists may close all the same (scenario 100; P7)."""
    bench = holding()
    bench.opened("sell", "5", reduce_only=True)
    bench.say("canceled", number=2)
    bench.advance(6_000)
    bench.poll(bench.snapshot(2))
    with pytest.raises(OrderRefused):
        bench.submit("sell", "1", reduce_only=True)


def test_a_larger_figure_of_a_poll_closes_once() -> None:
    """What a figure claims as closed counts once, before it is booked and after (scenario 102)."""
    bench = holding()
    bench.opened("sell", "5", reduce_only=True)
    bench.poll(bench.snapshot(2, cumulative=5, status=Status.FILLED))
    with pytest.raises(OrderRefused, match="closable=0 position=5"):
        bench.submit("sell", "1", reduce_only=True)
    bench.advance(3_000)
    with pytest.raises(OrderRefused, match="closable=0 position=0"):
        bench.submit("sell", "1", reduce_only=True)


def test_force_passes_and_is_journaled_as_it_was_asked() -> None:
    """An exit beyond the position passes by `force` alone (P7)."""
    bench = holding()
    forced = bench.submit("sell", "9", reduce_only=True, force=True)
    assert (forced.terms.reduce_only, forced.quantity) == (True, 9)


def test_an_exit_is_sized_in_units() -> None:
    """By notional nobody can tell how much it would close: refused (scenario 113)."""
    bench = holding()
    with pytest.raises(InputError, match="notional"):
        bench.submit("sell", None, notional="50", order_type="market", reduce_only=True)


def test_an_opening_balance_can_be_closed() -> None:
    """What was there before the desk's first order may be exited (scenario 113)."""
    bench = DeskDriver()
    bench.step(SetOpeningBalance(symbol="X", quantity="-3", price="100"))
    assert bench.submit("buy", "3", reduce_only=True).status is Status.NEW


@pytest.mark.parametrize("state", ["open", "partial", "suspended", "pending replace", "unknown"])
def test_a_cancel_passes_in_every_state_that_may_trade(state: str) -> None:
    """Whatever is known of an order that may still trade, its cancel is taken (P7)."""
    bench = DeskDriver()
    bench.submit()
    if state != "unknown":
        bench.answer(Accepted(broker_order_id="B1"))
    if state == "partial":
        bench.trade("e1", "1")
    elif state == "suspended":
        bench.say("suspended")
    elif state == "pending replace":
        bench.replace(quantity="12")
        bench.answer(Accepted(), wish=1)
    assert bench.cancel().error is None
    bench.advance(5_000)
    assert any(isinstance(effect, CancelOrder) for effect in bench.effects)


def test_an_exit_cannot_be_replaced_beyond_the_position() -> None:
    """Reduce-only passes up to what is held, also by a replace on its way (P7)."""
    bench = DeskDriver()
    bench.opened("buy", "5")
    bench.trade("e1", "5")
    bench.opened("sell", "3", reduce_only=True, limit_price="110")
    error = bench.replace(2, quantity="6").error
    assert isinstance(error, OrderRefused)
    assert error.code == "REDUCE_ONLY_EXCEEDED"
    assert bench.replace(2, quantity="5").error is None
    with pytest.raises(OrderRefused):
        bench.submit("sell", "1", reduce_only=True)
    bench.say("replaced", number=2, wire_id=bench.wire_id(2, 1))
    assert bench.replace(2, quantity="4").error is None
    with pytest.raises(OrderRefused):
        bench.submit("sell", "1", reduce_only=True)
    assert bench.submit("sell", "1", reduce_only=True, force=True).number == 3
