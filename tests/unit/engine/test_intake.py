"""What becomes of messages that nobody can use: counted, sampled, told once, and dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.inputs import Answer, Raise
from holdfast.domain.reports import Accepted, Child, Execution, Report, ReportKind
from holdfast.engine.feeding import EARLY_WAIT_S
from holdfast.engine.intake import ALERT_APART_S, ASK_APART_S, REASONS_MAX, SAMPLES_MAX, Intake
from holdfast.engine.link import AccountLink
from holdfast.engine.masking import forget_secrets, register_secret
from holdfast.engine.routing import EARLY_POLLS_MAX, UNCLAIMED_WORDS_MAX, Routing
from holdfast.ports import OpenOrders, Unreadable
from holdfast.testing.desk_ports import ALPHA, HearingPort
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import virtual


class Bench:
    """An intake whose clock stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.alerts: list[tuple[str, str]] = []
        self.asked = 0
        self.intake = Intake(
            lambda: self.now, alert=lambda *told: self.alerts.append(told), ask=self._ask
        )

    def _ask(self) -> None:
        self.asked += 1

    def drop(self, reason: str = "no_id", sample: str = "{}", times: int = 1) -> None:
        for _ in range(times):
            self.intake.drop(Unreadable(reason=reason, sample=sample))


def test_what_is_dropped_is_counted_by_reason_and_the_newest_are_kept() -> None:
    """Counts are exact, samples are bounded, the newest stay (scenario 71; P9)."""
    bench = Bench()
    bench.drop("no_id", times=3 * SAMPLES_MAX)
    bench.drop("bad_size", "{'size': 'x'}")
    assert bench.intake.statistics() == {
        "unreadable": 3 * SAMPLES_MAX + 1,
        "unreadable_no_id": 3 * SAMPLES_MAX,
        "unreadable_bad_size": 1,
    }
    assert len(bench.intake.samples) == SAMPLES_MAX
    assert str(bench.intake.samples[-1]) == "bad_size: {'size': 'x'}"


def test_reasons_without_end_are_counted_together() -> None:
    """An adapter that makes up reasons fills no memory (P9)."""
    bench = Bench()
    for number in range(10 * REASONS_MAX):
        bench.drop(f"reason_{number}")
    found = bench.intake.statistics()
    assert len(found) == REASONS_MAX + 2
    assert found["unreadable_other"] == 9 * REASONS_MAX


def test_a_flood_is_one_alert_per_window_which_counts_it() -> None:
    """The first is told at once, the rest with the next window's first (scenario 71)."""
    bench = Bench()
    bench.drop("no_id", times=10_000)
    assert [code for code, _ in bench.alerts] == ["unreadable_messages"]
    bench.now += ALERT_APART_S
    bench.drop("bad_size")
    assert len(bench.alerts) == 2
    assert bench.alerts[1][1].startswith("10000 messages")
    assert "no_id 9999, bad_size 1" in bench.alerts[1][1]


def test_a_flood_asks_for_a_poll_now_and_then() -> None:
    """What was dropped may have been a fill, but garbage must not cost the account its rate."""
    bench = Bench()
    for _ in range(100):
        bench.drop()
        bench.now += ASK_APART_S / 10
    assert bench.asked == 10


def test_samples_are_masked() -> None:
    """A secret in a message is in no sample and no alert (P10)."""
    register_secret("s3cr3t-value")
    try:
        bench = Bench()
        bench.drop("no_id", "{'token': 'abc', 'x': 's3cr3t-value', 'accountId': 10000001}")
        for text in (bench.intake.samples[0].text, bench.alerts[0][1]):
            assert not {"abc", "s3cr3t", "10000001"} & set(_words(text))
    finally:
        forget_secrets()


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()


class TellingBroker(ScriptedBroker):
    """A scripted broker that says what it could not read."""

    def tell_unreadable(self, on_unreadable: Callable[[Unreadable], None]) -> None:
        self.unreadable = on_unreadable


@asynccontextmanager
async def linked(broker: ScriptedBroker, *ports: HearingPort) -> AsyncIterator[AccountLink]:
    link = AccountLink(broker, account="paper", ack_wait_ms=5_000, poll_interval_ms=60_000)
    for port in ports:
        link.attach(port)
    link.start()
    await asyncio.sleep(1)
    try:
        yield link
    finally:
        await link.close()


@virtual
async def test_an_adapter_says_what_it_dropped_and_the_desk_journals_it() -> None:
    """Dropped messages are counted, sampled, alerted of and polled for (scenario 71; P10)."""
    broker, port = TellingBroker(), HearingPort()
    async with linked(broker, port) as link:
        for _ in range(50):
            broker.unreadable(Unreadable(reason="no_id", sample="{'status': 1}"))
        await asyncio.sleep(3)
        found = link.statistics()
        samples = [str(each) for each in link.unreadable]
    assert (found["unreadable"], found["unreadable_no_id"]) == (50, 50)
    assert found["polls"] == 2
    assert samples == ["no_id: {'status': 1}"] * SAMPLES_MAX
    (alert,) = [said for said in port.heard if isinstance(said, Raise)]
    assert alert.code == "unreadable_messages"


@virtual
async def test_a_report_that_no_desk_can_take_is_told_in_the_same_way() -> None:
    """A defect of an adapter is counted and sampled too, and the stream lives on (scenario 71)."""
    broker, port = ScriptedBroker(), HearingPort()
    async with linked(broker, port) as link:
        broken: Any = "no report"
        broker.report(broken)
        broker.report(news(wire_id=f"{ALPHA}1"))
        assert link.statistics()["unreadable_mistyped"] == 1
    assert [report.wire_id for report in port.reports()] == [f"{ALPHA}1"]


def news(broker_order_id: str = "", wire_id: str = "") -> Report:
    return Report(kind=ReportKind.NEW, broker_order_id=broker_order_id, wire_id=wire_id)


def trade(execution_id: str, broker_order_id: str = "77") -> Report:
    traded = Execution(execution_id=execution_id, quantity=Decimal(1), price=Decimal(100))
    return Report(kind=ReportKind.TRADE, broker_order_id=broker_order_id, execution=traded)


def routed() -> tuple[Routing, HearingPort]:
    routing, port = Routing(), HearingPort()
    routing.attach(port)
    return routing, port


def test_a_trade_that_came_before_its_orders_event_is_applied_behind_it() -> None:
    """The report that ties the broker's id to ours brings the kept ones (scenario 72; trap 12)."""
    routing, port = routed()
    for each in (trade("x1"), trade("x2"), news("77", f"{ALPHA}1")):
        routing.reported(each)
    assert port.reports() == [news("77", f"{ALPHA}1"), trade("x1"), trade("x2")]
    assert not routing.unclaimed
    assert not routing.must_ask


def test_the_reports_of_attached_exits_wait_for_the_answer_that_names_them() -> None:
    """An exit that traded before its entry's answer came is applied behind it (scenario 72)."""
    routing, port = routed()
    routing.reported(trade("x1", "78"))
    child = Child(role="stop", broker_order_id="78")
    outcome = Accepted(broker_order_id="77", children=(child,))
    routing.answered(port, Answer(number=1, wish=0, attempt=1, outcome=outcome))
    routing.reported(trade("x2", "78"))
    assert port.reports() == [trade("x1", "78"), trade("x2", "78")]


def test_reports_without_any_id_are_nobodys() -> None:
    """A report that names nothing is never handed on with somebody's."""
    routing, port = routed()
    routing.reported(news())
    routing.reported(news(wire_id=f"{ALPHA}1"))
    assert port.reports() == [news(wire_id=f"{ALPHA}1")]


def test_more_early_reports_than_are_kept_have_the_account_asked() -> None:
    """Reports are not dropped one by one in silence: the stream counts as cut (P9)."""
    routing, port = routed()
    for number in range(UNCLAIMED_WORDS_MAX + 1):
        routing.reported(trade(f"x{number}"))
    assert not routing.reported(news("77", f"{ALPHA}1"))
    assert routing.must_ask
    assert len(port.reports()) == 1 + UNCLAIMED_WORDS_MAX
    routing.polled(OpenOrders(complete=True), {ALPHA: 1})
    assert not routing.must_ask


@pytest.mark.parametrize("polls", [EARLY_POLLS_MAX, EARLY_POLLS_MAX + 1])
def test_early_reports_are_not_kept_for_ever(polls: int) -> None:
    """What complete polls leave out again and again is let go (P9)."""
    routing, _ = routed()
    routing.reported(trade("x1"))
    for _ in range(polls):
        routing.polled(OpenOrders(complete=False), {ALPHA: 1})
        routing.polled(OpenOrders(complete=True), {ALPHA: 1})
    assert bool(routing.unclaimed) is (polls <= EARLY_POLLS_MAX)


@virtual
async def test_a_report_of_an_order_nobody_knows_is_asked_for_after_a_while() -> None:
    """It waits for its answer, then the account is polled, once for any number (scenario 72)."""
    broker, port = ScriptedBroker(), HearingPort()
    async with linked(broker, port):
        for number in range(30):
            broker.report(trade(f"x{number}", "77"))
        await asyncio.sleep(EARLY_WAIT_S - 0.1)
        assert broker.polls == 1
        await asyncio.sleep(3)
        assert broker.polls == 2
        await asyncio.sleep(30)
        assert broker.polls == 2


@virtual
async def test_an_early_report_whose_order_became_known_costs_no_poll() -> None:
    """The usual race of a trade and its answer needs no question."""
    broker, port = ScriptedBroker(), HearingPort()
    async with linked(broker, port):
        broker.report(trade("x1", "77"))
        broker.report(news("77", f"{ALPHA}1"))
        await asyncio.sleep(30)
        assert broker.polls == 1
    assert len(port.reports()) == 2
