"""What is worth less than the least that can be ordered: nothing is placed for it."""

from decimal import Decimal

import msgspec

from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import ClosePosition, Protect
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Outcome, Refused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

LEAST = Decimal(10)
TOO_SMALL = Refused(text="below the minimum notional")


class Choosy(BrokeredDesk):
    """A desk at a broker that takes no exit that is worth less than ten."""

    def __init__(self) -> None:
        small = Instrument.of("X", lot="0.01", minimum_notional=LEAST)
        super().__init__(instruments=(small, Instrument.of("Y")))
        call = self.broker.call

        def choosing(effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
            is_entry = isinstance(effect, SubmitOrder) and effect.role == "entry"
            if isinstance(effect, SubmitOrder | ReplaceOrder) and not is_entry:
                assert effect.terms.quantity is not None
                if effect.terms.quantity * 95 < LEAST:
                    return TOO_SMALL
            return call(effect)

        self.broker.call = choosing  # type: ignore[method-assign] # a broker that is choosy


def test_a_first_fill_that_is_too_small_to_protect_waits_for_the_next() -> None:
    """The broker refuses a stop for 0.05 units: that is not tried again, the entry stays, and all
    is covered once it fills more.
    """
    bench = Choosy()
    bench.bracket(quantity="3", entry_timeout_ms=0)
    bench.fill("entry", "0.05")
    bench.advance(60_000)
    assert (bench.group().phase, bench.working()) == ("entering", {"entry": Decimal("2.95")})
    assert bench.calls.count(("submit", "stop")) == 1
    bench.fill("entry", "0.10")
    assert bench.working() == {
        "entry": Decimal("2.85"),
        "stop": Decimal("0.15"),
        "target": Decimal("0.15"),
    }


def test_dust_that_an_entry_leaves_is_told_and_blocks_nobody() -> None:
    """The entry times out with 0.05 filled: people are told of what is left, nobody tries to sell
    it, and another bracket is taken (P6, P10).
    """
    bench = Choosy()
    bench.bracket(quantity="3", entry_timeout_ms=5_000)
    bench.fill("entry", "0.05")
    bench.advance(60_000)
    assert (bench.group().phase, bench.working(), bench.sent("exit")) == ("closed", {}, [])
    assert bench.alerts() == ["UNPROTECTED"]
    bench.bracket(symbol="Y", quantity="1")
    assert bench.working(2) == {"entry": 1}


def test_the_rest_of_a_target_that_is_too_small_for_a_stop_ends_its_group() -> None:
    """The target fills all but 0.04: the stop of the whole goes, people are told of the rest."""
    bench = Choosy()
    bench.bracket(quantity="3")
    bench.fill("entry", "3")
    bench.fill("target", "2.96", "110")
    bench.advance(60_000)
    assert (bench.group().phase, bench.working(), bench.truth()) == ("closed", {}, Decimal("0.04"))
    assert bench.alerts() == ["UNPROTECTED"]


def test_a_stop_that_works_for_its_last_small_part_is_left_to_work() -> None:
    """The stop fills all but 0.04 and goes on: nobody takes the rest of it away."""
    bench = Choosy()
    bench.bracket(quantity="3", take_profit_price=None)
    bench.fill("entry", "3")
    bench.fill("stop", "2.96", "95")
    bench.advance(60_000)
    assert (bench.group().phase, bench.working()) == ("protected", {"stop": Decimal("0.04")})
    bench.fill("stop", "0.04", "95")
    assert (bench.group().phase, bench.truth()) == ("closed", 0)


def test_less_than_a_lot_that_a_fee_left_alarms_nobody() -> None:
    """The fee is taken from what was bought: what is less than a lot of it is nobody's worry."""
    bench = BrokeredDesk(instruments=(Instrument.of("X", lot="0.01", base="X"),))
    bench.bracket(quantity="1")
    bench.broker.fill(bench.held("entry").broker_order_id, Decimal(1), Decimal(100))
    told = bench.broker.words[-1]
    assert told.execution is not None
    taken = msgspec.structs.replace(told.execution, fee=Decimal("0.0015"), fee_currency="X")
    bench.broker.words[-1] = msgspec.structs.replace(told, execution=taken)
    bench.talk()
    assert bench.working() == {"stop": Decimal("0.99"), "target": Decimal("0.99")}
    bench.fill("target", "0.99", "110")
    bench.advance(10_000)
    assert (bench.group().phase, bench.alerts()) == ("closed", [])


def test_what_the_figures_call_dust_is_guarded_where_the_broker_takes_it() -> None:
    """The broker takes stops for less than the instrument's figure says (P6)."""
    bench = BrokeredDesk(instruments=(Instrument.of("X", lot="0.01", minimum_notional=LEAST),))
    bench.bracket(quantity="3", entry_timeout_ms=0)
    bench.fill("entry", "0.05")
    assert (bench.group().phase, bench.working()["stop"]) == ("protected", Decimal("0.05"))


def test_what_can_be_sold_at_the_market_is_no_dust() -> None:
    """Three are worth 300 as bought and 285 at their stop, the least is 290: the broker refuses
    the stop, and they are sold (P6).
    """
    bench = BrokeredDesk(instruments=(Instrument.of("X", minimum_notional="290"),))
    bench.break_next("submit", "stop", *[TOO_SMALL] * 100)
    bench.bracket(quantity="3")
    bench.fill("entry", "3")
    bench.advance(10_000)
    assert bench.sent("exit") == [("sell", 3)]


def test_dust_that_follows_the_position_is_told() -> None:
    """A stop for what is held cannot be placed any more after most was sold: people hear of it."""
    bench = Choosy()
    bench.buy("3")
    bench.ask(Protect(symbol="X", role="stop", stop_price="95"))
    bench.trade_outside("sell", "2.95")
    bench.advance(60_000)
    assert (bench.group().phase, bench.working()) == ("closed", {})
    assert bench.alerts() == ["UNPROTECTED"]


def test_dust_that_somebody_closes_is_tried() -> None:
    """The broker may take what the instrument's figures forbid: a person's close is sent (P7)."""
    small = Instrument.of("X", lot="0.01", minimum_notional=LEAST)
    bench = BrokeredDesk(instruments=(small,))
    bench.buy("1")
    bench.trade_outside("sell", "0.95")
    bench.ask(ClosePosition(symbol="X"))
    assert bench.sent("exit") == [("sell", Decimal("0.05"))]


def test_a_small_first_fill_leaves_what_the_broker_holds_for_the_entry() -> None:
    """Stop and target ride with the entry, and the broker sizes them: nothing is cancelled."""
    small = Instrument.of("X", lot="0.01", minimum_notional=LEAST)
    bench = BrokeredDesk(BROKER_KINDS["brackets"], instruments=(small,))
    bench.bracket(quantity="3", entry_timeout_ms=0)
    bench.fill("entry", "0.05")
    bench.advance(60_000)
    assert ("cancel", "entry") not in bench.calls
    assert bench.working()["entry"] == Decimal("2.95")
