"""Alerts: rates over a window, each told once per window, and what others raise."""

from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.alerts import ALERTS_PER_MINUTE_MAX
from holdfast.domain.guard import (
    ALERT_CODES_MAX,
    ALERTS_APART_MAX,
    DESK_FOLDS,
    OTHER,
    Guard,
)
from holdfast.domain.inputs import Raise
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import AlertRules, BreakerRules, Limits, Policies
from holdfast.domain.reports import Unknown
from holdfast.errors import InputError
from holdfast.testing.builders import DeskDriver

MINUTE_MS = 60_000


def driver(**rules: Any) -> DeskDriver:
    """A desk that alerts on few orders, and whose breaker stays closed."""
    rules = {"orders_min": 5, "timeouts_max": 3, "cancel_rate_pct": 80} | rules
    policies = Policies(
        limits=Limits.none(), breaker=BreakerRules(failures_max=0), alerts=AlertRules(**rules)
    )
    return DeskDriver(policies=policies, instruments=[Instrument.of("X"), Instrument.of("Y")])


def end(bench: DeskDriver, how: str, symbol: str = "X") -> None:
    """Let one order come and go."""
    number = bench.opened(symbol=symbol).number
    if how == "fill":
        bench.trade("e1", "10", number=number)
    else:
        bench.say(how, number=number)


def alerts(bench: DeskDriver) -> list[tuple[str, str]]:
    """Return code and symbol of every alert."""
    return [(one.code, one.symbol) for one in bench.events if isinstance(one, e.AlertRaised)]


def test_a_high_cancel_rate_is_told_at_its_bound() -> None:
    """Three of five cancelled is below 80 percent, four of five is not."""
    bench = driver()
    for how in ("fill", "expired", "canceled", "canceled", "canceled"):
        end(bench, how)
    assert not alerts(bench)
    bench = driver()
    for how in ("fill", "canceled", "canceled", "canceled", "canceled"):
        end(bench, how)
    assert alerts(bench) == [("high_cancel_rate", "X")]


def test_few_orders_make_no_rate() -> None:
    """Below `orders_min` nothing is told, whatever the rate."""
    bench = driver()
    for _ in range(4):
        end(bench, "canceled")
    assert not alerts(bench)


@pytest.mark.parametrize("how", ["fill", "canceled", "expired"])
def test_an_order_counts_as_ended_once_whichever_way(how: str) -> None:
    """Filled, cancelled or expired, and a late trade of an ended order is no second end."""
    bench = driver()
    end(bench, how)
    bench.trade("late", "10")
    figures = bench.desk.guard.symbols["X"]
    assert figures.ended == 1
    assert figures.cancelled == (how == "canceled")
    assert bench.refolded().guard == bench.desk.guard


def test_the_same_alert_comes_once_per_window() -> None:
    """A flood of cancels is one alert, and another one after the window (P9)."""
    bench = driver()
    for _ in range(20):
        end(bench, "canceled")
    assert len(alerts(bench)) == 1
    bench.advance(5 * MINUTE_MS)
    for _ in range(5):
        end(bench, "canceled")
    assert len(alerts(bench)) == 2


def test_symbols_are_judged_each_for_itself() -> None:
    """The alert of one symbol does not hide that of another."""
    bench = driver()
    for symbol in ("X", "Y"):
        for _ in range(5):
            end(bench, "canceled", symbol)
    assert alerts(bench) == [("high_cancel_rate", "X"), ("high_cancel_rate", "Y")]


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """Four cancels, then a pause longer than the window: a fifth is alone."""
    bench = driver()
    for _ in range(4):
        end(bench, "canceled")
    bench.advance(6 * MINUTE_MS)
    end(bench, "canceled")
    assert not alerts(bench)


def test_frequent_timeouts_are_told_at_their_bound() -> None:
    """Two calls without a usable answer are nothing, the third one is told."""
    bench = driver()
    for number in (1, 2, 3):
        assert not alerts(bench)
        bench.submit()
        bench.answer(Unknown(text="timeout"), number=number)
    assert alerts(bench) == [("frequent_timeouts", "")]


def test_others_raise_alerts_that_are_journaled() -> None:
    """What the shell saw is written down with its names, and counted."""
    bench = driver()
    decision = bench.step(Raise(code="STRATEGY_FAILED", text="it raised", strategy="momentum"))
    (alert,) = decision.events
    assert isinstance(alert, e.AlertRaised)
    assert (alert.code, alert.text, alert.strategy) == ("STRATEGY_FAILED", "it raised", "momentum")
    assert bench.desk.guard.alerts == {"STRATEGY_FAILED": 1}


@pytest.mark.parametrize("given", [Raise(code="", text="x"), Raise(code="X", text="\ud800")])
def test_what_cannot_be_written_is_refused(given: Raise) -> None:
    """No code, or a text that is no Unicode: nothing is journaled."""
    decision = driver().step(given)
    assert isinstance(decision.error, InputError)
    assert not decision.events


def test_a_flood_of_raised_alerts_is_counted_and_not_written() -> None:
    """Beyond so many a minute they are counted with the next one that is written (P9)."""
    bench = driver()
    flood = ALERTS_PER_MINUTE_MAX + 40
    for _ in range(flood):
        bench.step(Raise(code="NOISE", text="x"))
    assert len(alerts(bench)) <= ALERTS_PER_MINUTE_MAX
    bench.advance(MINUTE_MS)
    bench.step(Raise(code="NOISE", text="x"))
    assert sum(bench.desk.guard.alerts.values()) == flood + 1
    assert bench.refolded().guard == bench.desk.guard


def test_what_is_remembered_of_alerts_is_bounded() -> None:
    """Of codes the first are told apart, of codes and symbols the newest (P9)."""
    guard = Guard()
    for number in range(2 * ALERTS_APART_MAX):
        name, at_ns = f"c{number}", number + 1
        fold = DESK_FOLDS[e.AlertRaised]
        fold(guard, e.AlertRaised(at_ns=at_ns, code=name, text="x", symbol="X"))
    assert len(guard.alerts) == ALERT_CODES_MAX + 1
    assert guard.alerts[OTHER] == 2 * ALERTS_APART_MAX - ALERT_CODES_MAX
    assert len(guard.alerted) == ALERTS_APART_MAX
    assert f"c{2 * ALERTS_APART_MAX - 1} X" in guard.alerted
