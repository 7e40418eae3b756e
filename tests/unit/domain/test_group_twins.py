"""Two exits for the same units count once, and one that stands alone counts for itself."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.inputs import Protect
from holdfast.domain.order import Order
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.errors import OrderRefused
from holdfast.testing.brokered import BrokeredDesk

CLOSED = Refused(text="closed", code=RefusalCode.MARKET_CLOSED)


def target(bench: BrokeredDesk) -> Order:
    """Return the target that may still trade."""
    return next(o for o in bench.desk.state.active.values() if o.role == "target")


def refuse_sale(bench: BrokeredDesk, quantity: str, **terms: Any) -> str:
    """Ask for a sale that has to be refused; return its code."""
    with pytest.raises(OrderRefused) as refusal:
        bench.submit("sell", quantity, reduce_only=True, **terms)
    return refusal.value.code


def test_a_stop_and_its_target_count_once() -> None:
    """Three of five are guarded twice over: the other two can be sold, a third cannot (P7)."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.buy(2)
    assert target(bench).twin
    assert refuse_sale(bench, "3") == "REDUCE_ONLY_EXCEEDED"
    bench.submit("sell", "2", reduce_only=True)


def test_a_target_that_stands_alone_counts() -> None:
    """Its stop was never taken: no other exit for the same units passes, which would close them
    twice (P7).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[CLOSED] * 100)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(5_000)
    assert (bench.working(), target(bench).twin) == ({"target": 3}, False)
    assert refuse_sale(bench, "3") == "REDUCE_ONLY_EXCEEDED"
    assert bench.truth() == 3


def test_a_target_counts_once_its_stop_is_gone_and_no_more_once_it_is_back() -> None:
    """The venue ends the stop and takes no other for a while: the target counts, then it is the
    stop's twin again, and only two of five can be sold all along (P7).
    """
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.buy(2)
    bench.break_next("submit", "stop", CLOSED)
    bench.end("stop")
    bench.advance(1_000)
    assert (bench.working(), target(bench).twin) == ({"target": 3}, False)
    assert refuse_sale(bench, "3") == "REDUCE_ONLY_EXCEEDED"
    bench.mend()
    bench.advance(120_000)
    assert (bench.working(), target(bench).twin) == ({"stop": 3, "target": 3}, True)
    assert refuse_sale(bench, "3") == "REDUCE_ONLY_EXCEEDED"
    bench.submit("sell", "2", reduce_only=True)


def test_no_other_group_takes_the_units_of_a_lone_target() -> None:
    """What a target alone would close is looked after: a stop for all that is held is for the
    other two (P6).
    """
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", *[CLOSED] * 100)
    bench.bracket()
    bench.fill("entry", 3)
    bench.buy(2)
    bench.mend()
    bench.ask(Protect(symbol="X", role="stop", stop_price="90"))
    assert bench.working(2) == {"stop": Decimal(2)}
