"""The circuit breaker: what opens it, how long, which entry may try, and what never asks it."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import CloseBreaker, Resume, Submit
from holdfast.domain.order import Order
from holdfast.domain.policies import BreakerRules, Limits, Policies
from holdfast.domain.reports import (
    Accepted,
    NotSent,
    Outcome,
    RefusalCode,
    Refused,
    Unknown,
)
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import Status
from holdfast.errors import InputError, OrderRefused
from holdfast.testing.builders import DeskDriver

OPEN_MS = 60_000
FUNDS = Refused(text="not enough buying power", code=RefusalCode.INSUFFICIENT_FUNDS)


def driver(
    *,
    daily_loss_max: str | None = None,
    capabilities: Capabilities | None = None,
    **rules: Any,
) -> DeskDriver:
    """A desk with a breaker and next to no limits; the wall clock shows noon of some day."""
    limits = Limits.none()
    if daily_loss_max is not None:
        limits = Limits(
            open_orders_max=None,
            price_collar_pct=None,
            buying_power=False,
            self_cross=False,
            daily_loss_max=Decimal(daily_loss_max),
        )
    rules = {"failures_max": 3, "open_ms": OPEN_MS, "open_max_ms": 4 * OPEN_MS} | rules
    policies = Policies(limits=limits, breaker=BreakerRules(**rules))
    bench = DeskDriver(policies=policies, capabilities=capabilities)
    bench.step(Resume(wall_offset_ns=19_700 * 86_400_000_000_000 + 43_200_000_000_000))
    bench.poll(complete=True)
    return bench


def tripped(**rules: Any) -> DeskDriver:
    """A desk whose first order was refused for lack of funds."""
    bench = driver(**rules)
    bench.submit()
    bench.answer(FUNDS)
    return bench


def probe(bench: DeskDriver) -> Order:
    """Wait until the breaker is half open and send the entry that tries."""
    bench.advance(max(0, bench.desk.guard.breaker.until_ns - bench.now_ns) // 1_000_000)
    order = bench.submit()
    assert bench.desk.guard.breaker.probe == order.number
    return order


def is_open(bench: DeskDriver) -> bool:
    """Tell whether an entry would be refused now."""
    request = OrderRequest(
        symbol="X", side="buy", quantity="1", order_type="limit", limit_price="100"
    )
    error = bench.step(Submit(request)).error
    return isinstance(error, OrderRefused) and error.code == "BREAKER_OPEN"


def openings(bench: DeskDriver) -> list[tuple[str, int]]:
    """Return reason and length in milliseconds of every opening."""
    opened = [event for event in bench.events if isinstance(event, e.BreakerOpened)]
    return [(event.reason, (event.until_ns - event.at_ns) // 1_000_000) for event in opened]


def test_insufficient_funds_reject_once_and_open_it() -> None:
    """REJECTED with the reason, sent exactly once, and the next entry is refused (scenario 31)."""
    bench = tripped()
    order = bench.order()
    assert (order.status, order.code) == (Status.REJECTED, "insufficient_funds")
    assert openings(bench) == [("INSUFFICIENT_FUNDS", OPEN_MS)]
    with pytest.raises(OrderRefused, match="reason=INSUFFICIENT_FUNDS seconds_left=60"):
        bench.submit()
    bench.advance(OPEN_MS)
    assert sum(isinstance(effect, SubmitOrder) for effect in bench.effects) == 1


def test_a_report_of_insufficient_funds_opens_it_as_well() -> None:
    """The stream may tell the refusal before the call's answer does (scenario 31)."""
    bench = driver()
    bench.submit()
    bench.say("rejected", code=RefusalCode.INSUFFICIENT_FUNDS, text="no money")
    assert is_open(bench)


def test_other_refusals_do_not_open_it() -> None:
    """A refusal for the order's own sake says nothing of the next one."""
    bench = driver()
    for number in range(1, 6):
        bench.submit()
        bench.answer(Refused(text="price out of band"), number=number)
    assert not is_open(bench)


def test_funds_do_not_open_it_where_that_is_switched_off() -> None:
    """The rule may be off; the order is REJECTED all the same."""
    bench = tripped(insufficient_funds=False)
    assert not is_open(bench)


@pytest.mark.parametrize(("failures", "opens"), [(2, False), (3, True)])
def test_calls_in_a_row_without_an_answer_open_it(failures: int, opens: bool) -> None:
    """Below the bound nothing, at the bound it opens."""
    bench = driver()
    for number in range(1, failures + 1):
        bench.submit()
        bench.answer(Unknown(text="503"), number=number)
    assert is_open(bench) is opens


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    """Only failures in a row count."""
    bench = driver()
    failed, taken = Unknown(text="503"), Accepted(broker_order_id="B3")
    answers: list[Outcome] = [failed, failed, taken, failed]
    for number, outcome in enumerate(answers, start=1):
        bench.submit()
        bench.answer(outcome, number=number)
    assert not is_open(bench)


def test_zero_switches_failures_off() -> None:
    """`failures_max = 0` means never."""
    bench = driver(failures_max=0)
    for number in range(1, 20):
        bench.submit()
        bench.answer(Unknown(text="503"), number=number)
    assert not is_open(bench)


def test_orders_on_their_way_when_it_opens_open_it_once() -> None:
    """Ten refusals of one burst are one opening."""
    bench = driver()
    for _ in range(10):
        bench.submit()
    for number in range(1, 11):
        bench.answer(FUNDS, number=number)
    assert len(openings(bench)) == 1


def test_half_open_one_entry_tries_and_the_others_wait() -> None:
    """Until the probe is decided every other entry is refused; accepted, all pass."""
    bench = tripped()
    tries = probe(bench)
    with pytest.raises(OrderRefused, match=f"probe={tries.number}"):
        bench.submit()
    bench.answer(Accepted(broker_order_id="B2"), number=tries.number)
    closed = bench.events[-1]
    assert isinstance(closed, e.BreakerClosed)
    assert closed.reason == "PROBE_ACCEPTED"
    assert not is_open(bench)


@pytest.mark.parametrize("outcome", [FUNDS, NotSent(text="429")])
def test_a_probe_that_fails_opens_it_for_twice_as_long(outcome: Any) -> None:
    """Each failed probe doubles the wait, up to its bound; acceptance starts anew (P9)."""
    bench = tripped()
    for _ in range(4):
        bench.answer(outcome, number=probe(bench).number)
    lengths = [length for _, length in openings(bench)]
    assert lengths == [OPEN_MS, 2 * OPEN_MS, 4 * OPEN_MS, 4 * OPEN_MS, 4 * OPEN_MS]
    bench.answer(Accepted(broker_order_id="P"), number=probe(bench).number)
    bench.submit()
    bench.answer(FUNDS, number=bench.desk.next_number - 1)
    assert openings(bench)[-1] == ("INSUFFICIENT_FUNDS", OPEN_MS)


def test_a_refusal_shows_that_a_failing_broker_works_again() -> None:
    """Opened for failures, any answer closes it; opened for funds, only an acceptance does."""
    bench = driver(failures_max=1)
    bench.submit()
    bench.answer(Unknown(text="503"))
    bench.answer(Refused(text="price out of band"), number=probe(bench).number)
    assert not is_open(bench)
    bench = tripped()
    bench.answer(Refused(text="price out of band"), number=probe(bench).number)
    assert is_open(bench)


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("found", [True, False])
def test_a_probe_of_unknown_outcome_is_undecided_while_it_is_looked_up(
    restarted: bool, found: bool
) -> None:
    """Silence opens nothing; what the lookup says decides, over a restart too (P4)."""
    bench = tripped(capabilities=Capabilities(unique_ids="none"))
    number = probe(bench).number
    if restarted:
        bench.step(Resume(wall_offset_ns=bench.desk.state.stored.wall_offset_ns))
    else:
        bench.answer(Unknown(text="503"), number=number)
    bench.advance(11_000)
    assert len(openings(bench)) == 1
    with pytest.raises(OrderRefused, match=f"probe={number}"):
        bench.submit()
    bench.look(*([bench.snapshot(number)] if found else []), number=number)
    assert is_open(bench) is not found
    assert len(openings(bench)) == (1 if found else 2)
    assert bench.refolded().guard == bench.desk.guard


def test_half_open_no_open_order_grows() -> None:
    """A replace cannot try whether a new order is taken: growing waits, shrinking passes."""
    bench = driver(failures_max=1)
    bench.opened()
    bench.submit()
    bench.answer(Unknown(text="503"), number=2)
    bench.advance(OPEN_MS + 1)
    refused = bench.replace(1, quantity="20").error
    assert isinstance(refused, OrderRefused)
    assert refused.code == "BREAKER_OPEN"
    assert bench.replace(1, quantity="5").error is None
    assert bench.desk.guard.breaker.probe == 0
    probe(bench)


def test_an_exit_is_no_probe_and_passes() -> None:
    """Open or half open, what closes a position passes and decides nothing (P7)."""
    bench = driver()
    bench.opened(quantity="5")
    bench.trade("e1", "5")
    bench.submit()
    bench.answer(FUNDS, number=2)
    bench.opened("sell", "2", reduce_only=True)
    bench.opened("sell", "1", limit_price="101")
    bench.advance(OPEN_MS)
    bench.opened("sell", "1", limit_price="101")
    assert bench.desk.guard.breaker.probe == 0
    assert probe(bench).number == 6


def test_a_loss_above_its_bound_opens_it_until_the_day_ends() -> None:
    """A day's loss of 50 passes, one of 51 does not before midnight."""
    bench = driver(daily_loss_max="50")
    bench.opened(quantity="10")
    bench.trade("e1", "10", "100")
    bench.quote("95", "95")
    assert not openings(bench)
    bench.quote("94.9", "94.9")
    (reason, length), *more = openings(bench)
    assert (reason, not more) == ("DAILY_LOSS", True)
    assert 0 < length <= 12 * 3_600_000
    with pytest.raises(OrderRefused, match="DAILY_LOSS"):
        bench.submit()
    bench.submit("sell", "10", reduce_only=True, limit_price="94")
    bench.advance(length)
    assert bench.submit().status is Status.NEW


def test_a_person_closes_it_by_name_and_reason() -> None:
    """Closed, entries pass; without a name or reason nothing happens; closed twice is once."""
    bench = tripped()
    for by, reason in (("", "why"), ("ann", " ")):
        assert isinstance(bench.step(CloseBreaker(by=by, reason=reason)).error, InputError)
    assert is_open(bench)
    decision = bench.step(CloseBreaker(by="ann", reason="money came"))
    (closed,) = decision.events
    assert isinstance(closed, e.BreakerClosed)
    assert (closed.by, closed.reason) == ("ann", "money came")
    assert not is_open(bench)
    assert not bench.step(CloseBreaker(by="ann", reason="again")).events


def test_a_loss_that_stands_is_not_closed() -> None:
    """It would open again at once: the answer says what to change instead."""
    bench = driver(daily_loss_max="50")
    bench.opened(quantity="10")
    bench.trade("e1", "10", "100")
    bench.quote("80", "80")
    decision = bench.step(CloseBreaker(by="ann", reason="go on"))
    assert isinstance(decision.error, InputError)
    assert "daily_loss_max" in str(decision.error)
    assert len(openings(bench)) == 1
