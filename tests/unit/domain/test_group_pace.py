"""How often a role is asked for: a broker that turns an exit into another one, and refusals."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Replace
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import GroupRules, Limits, Policies
from holdfast.domain.reports import Outcome, Refused, Report, ReportKind
from holdfast.domain.sessions import Session
from holdfast.domain.values import Side
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk
from holdfast.testing.model_broker import Held

NO = Refused(text="not this one")
BOTH = {"stop": 3, "target": 3}
# What a test of a minute may ask for: a few at once, then ever more slowly.
REQUESTS_A_MINUTE_MAX = 20
OPEN_FOR_AN_HOUR = {"day": Session(opens="00:00", closes="01:00", days=(0, 1, 2, 3, 4, 5, 6))}
EVERY_BROKER = pytest.mark.parametrize("kind", BROKER_KINDS)


def restate(bench: BrokeredDesk, held: Held, **figures: Decimal) -> None:
    """Let the broker turn an order into another one, and tell of it."""
    bench.broker.stamp += 1
    held.stamp = bench.broker.stamp
    told: dict[str, Any] = dict(figures)
    for name, value in figures.items():
        setattr(held, "quantity" if name == "order_quantity" else name, value)
    bench.broker.words.append(
        Report(
            kind=ReportKind.RESTATED,
            wire_id=held.wire_id,
            broker_order_id=held.broker_order_id,
            stamp_ns=held.stamp,
            **told,
        )
    )


def stops(bench: BrokeredDesk) -> list[Held]:
    """Return the stops that work at the broker."""
    working = [held for held in bench.broker.orders.values() if held.is_working]
    return [held for held in working if ".stop." in held.wire_id]


def headstrong(kind: str, change: Callable[[Held], dict[str, Decimal]]) -> BrokeredDesk:
    """A desk at a broker that changes every stop after each call as it pleases."""
    bench = BrokeredDesk(BROKER_KINDS[kind])
    call = bench.broker.call

    def changing(effect: SubmitOrder | CancelOrder | ReplaceOrder) -> Outcome:
        outcome = call(effect)
        for held in stops(bench):
            if figures := change(held):
                restate(bench, held, **figures)
        return outcome

    bench.broker.call = changing  # type: ignore[method-assign] # a broker with a will of its own
    return bench


def rounded(held: Held) -> dict[str, Decimal]:
    """Move a stop to the broker's own grid."""
    exact = held.stop_price is not None and held.stop_price == held.stop_price.to_integral_value()
    return {"stop_price": held.stop_price + Decimal("0.05")} if exact and held.stop_price else {}


def limited(held: Held) -> dict[str, Decimal]:
    """Give a plain stop a limit price."""
    return {"limit_price": Decimal(94)} if held.limit_price is None else {}


def cut(held: Held) -> dict[str, Decimal]:
    """Take a unit off a stop for three."""
    return {"order_quantity": Decimal(2)} if held.quantity == 3 else {}


def stop_order(bench: BrokeredDesk) -> Order:
    """Return the stop that the group has at work."""
    return next(o for o in bench.desk.state.active.values() if o.role == "stop")


@EVERY_BROKER
@pytest.mark.parametrize("change", [rounded, limited])
def test_prices_that_the_broker_rounded_are_its_answer(
    kind: str, change: Callable[[Held], dict[str, Decimal]]
) -> None:
    """The stop works at the price that the broker made of it: nothing more is asked for (P9)."""
    bench = headstrong(kind, change)
    bench.bracket()
    bench.fill("entry", 3)
    asked = len(bench.calls)
    bench.advance(60_000)
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")
    assert len(bench.calls) == asked <= 3


@EVERY_BROKER
def test_a_moved_stop_that_is_rounded_is_moved_once(kind: str) -> None:
    """Somebody moves the stop, and the broker rounds that too: moved there, once, and back (P9)."""
    bench = headstrong(kind, rounded)
    bench.bracket()
    bench.fill("entry", 3)
    for price in ("96", "95"):
        asked = len(bench.calls)
        bench.ask(Replace(client_order_id=stop_order(bench).client_order_id, stop_price=price))
        bench.advance(60_000)
        assert [held.stop_price for held in stops(bench)] == [Decimal(price) + Decimal("0.05")]
        assert len(bench.calls) - asked <= 4
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")


@EVERY_BROKER
def test_a_stop_that_the_broker_cuts_is_not_asked_for_without_end(kind: str) -> None:
    """Each stop for three becomes one for two: covered by a second one or given up, after a few
    requests that come ever more slowly (P6, P9).
    """
    bench = headstrong(kind, cut)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(1_000)
    at_once = len(bench.calls)
    bench.advance(59_000)
    assert at_once <= 10
    assert len(bench.calls) <= REQUESTS_A_MINUTE_MAX
    if bench.group().phase == "protected":
        assert bench.working()["stop"] == 3
    else:
        assert bench.working() == {"exit": 3}
        assert bench.sent("exit") == [(Side.SELL, 3)]
        assert "UNPROTECTED" in bench.alerts()


@pytest.mark.parametrize("replaces", [True, False])
def test_a_trailing_pair_follows_the_broker_s_own_moves(replaces: bool) -> None:
    """The broker moves its trailing stop three times: that is what it is for, nothing is asked."""
    pairs = Capabilities(exits_share_quantity=False, native_oco=True, native_replace=replaces)
    bench = BrokeredDesk(pairs)
    bench.bracket(stop_loss_price=None, trail="5")
    bench.fill("entry", 3)
    asked = len(bench.calls)
    for price in (95, 96, 97):
        restate(bench, stops(bench)[0], stop_price=Decimal(price))
        bench.talk()
        bench.advance(20_000)
    assert (len(bench.calls), bench.working()) == (asked, BOTH)
    assert bench.group().phase == "protected"


# What counts as a failure.


def test_a_stop_that_was_taken_ends_the_row_of_refusals() -> None:
    """Refused twice, taken, ended by the venue and refused twice more: placed, not given up."""
    bench = BrokeredDesk()
    bench.break_next("submit", "stop", NO, NO)
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(15_000)
    assert (bench.working(), bench.group().slot("stop").failures) == (BOTH, 0)
    bench.break_next("submit", "stop", NO, NO)
    bench.end("stop")
    bench.advance(15_000)
    assert (bench.working(), bench.sent("exit")) == (BOTH, [])


def in_session(**rules: int) -> BrokeredDesk:
    """A desk whose instrument trades for an hour a day, with a filled bracket."""
    kept = Policies(limits=Limits.none(), groups=GroupRules(**rules), sessions=OPEN_FOR_AN_HOUR)
    bench = BrokeredDesk(policies=kept, instruments=(Instrument.of("X", session="day"),))
    bench.bracket()
    bench.fill("entry", 3)
    return bench


def wait_h(bench: BrokeredDesk, hours: int) -> None:
    """Let hours pass, a quarter at a time."""
    for _ in range(4 * hours):
        bench.advance(900_000)


def test_refusals_before_the_close_are_forgiven_at_the_open() -> None:
    """Three refusals as the session ends: the stop is tried again, and the next day's position is
    not sold for them (P6).
    """
    bench = in_session()
    wait_h(bench, 1)
    bench.break_next("submit", "stop", *[NO] * 3)
    bench.end("stop")
    wait_h(bench, 1)
    assert bench.group().slot("stop").failures in {0, 3}
    wait_h(bench, 23)
    assert (bench.working(), bench.group().phase) == (BOTH, "protected")
    assert bench.sent("exit") == []


@pytest.mark.parametrize("kind", ["pairs", "pairs_no_replace", "brackets_and_pairs"])
def test_a_stop_whose_target_is_refused_stands_alone(kind: str) -> None:
    """The venue ends the target of a pair, and refuses each new one: the stop guards alone,
    nothing is flattened, and people are told (P6).
    """
    bench = BrokeredDesk(BROKER_KINDS[kind])
    bench.bracket()
    bench.fill("entry", 3)
    bench.break_next("submit", "target", *[NO] * 50)
    bench.end("target")
    bench.advance(120_000)
    assert (bench.working(), bench.group().phase) == ({"stop": 3}, "protected")
    assert bench.calls.count(("submit", "target")) <= 5
    assert bench.sent("exit") == []
    assert bench.alerts() == ["TARGET_REFUSED"]
