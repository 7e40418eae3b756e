"""What filled before an end that does not say so: asked for once where trades are not listed."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import LookupOrder
from holdfast.domain.reports import Accepted, RefusalCode, Unknown
from holdfast.domain.values import Status
from holdfast.testing.builders import DeskDriver

UNLISTED = Capabilities(lists_executions=False)
# A replaced order ends there, with a figure of its own that its successor's does not have.
COUNTS_ANEW = Capabilities(
    lists_executions=False, new_id_on_replace=True, replace_carries_fills=False
)
GRACE_MS = 2_500


def questions(bench: DeskDriver) -> int:
    """Count the questions so far."""
    return sum(isinstance(effect, LookupOrder) for effect in bench.effects)


def opened(can: Capabilities = UNLISTED) -> DeskDriver:
    """A desk with an order to buy ten at work."""
    bench = DeskDriver(capabilities=can)
    bench.opened()
    return bench


def replaced() -> DeskDriver:
    """A desk whose order to buy ten was replaced by a broker order with a figure of its own."""
    bench = opened(COUNTS_ANEW)
    bench.replace(limit_price="101")
    bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    return bench


@pytest.mark.parametrize("kind", ["canceled", "expired"])
def test_an_end_without_a_figure_is_asked_about_once(kind: str) -> None:
    """Three traded and nobody told: the answer counts them, once and for all (P3)."""
    bench = opened()
    bench.say(kind)
    assert questions(bench) == 1
    status = Status(kind)
    bench.look(bench.snapshot(status=status, cumulative=3))
    bench.advance(GRACE_MS)
    order = bench.order()
    assert (order.status, order.filled_quantity) == (status, 3)
    assert bench.position().quantity == 3
    bench.advance(600_000)
    assert questions(bench) == 1
    assert bench.refolded().dump() == bench.desk.dump()


@pytest.mark.parametrize("filled", [0, 2])
def test_a_late_rejection_is_asked_about_too(filled: int) -> None:
    """Rejected by a poll that gives no figure, though it worked: one more had traded (P3)."""
    bench = opened()
    if filled:
        bench.trade("e1", filled)
    bench.poll(bench.snapshot(status=Status.REJECTED))
    assert (bench.order().is_terminal, questions(bench)) == (True, 1)
    bench.look(bench.snapshot(status=Status.REJECTED, cumulative=filled + 1))
    bench.advance(GRACE_MS)
    assert bench.position().quantity == filled + 1


def test_an_end_that_gives_its_figure_is_not_asked_about() -> None:
    """What the broker told already costs no call."""
    bench = opened()
    bench.say("canceled", cumulative=D(3))
    bench.advance(60_000)
    assert (bench.order().filled_quantity, questions(bench)) == (3, 0)


def test_where_trades_are_listed_an_end_is_not_asked_about() -> None:
    """The next poll brings every execution: no question per order."""
    bench = opened(Capabilities())
    bench.say("canceled")
    bench.advance(60_000)
    assert questions(bench) == 0


def test_an_answer_from_before_the_end_is_not_its_final_figure() -> None:
    """The question had left when the order still worked: it is asked again (P3, trap 37)."""
    bench = opened()
    bench.say("cancel_reject", code=RefusalCode.OTHER)
    bench.say("canceled")
    bench.look(bench.snapshot(cumulative=0, sequence=1), asked_ms_ago=5)
    assert (questions(bench), bench.order().is_settled) == (1, False)
    bench.advance(1_000)
    assert questions(bench) == 2
    bench.look(bench.snapshot(status=Status.CANCELED, cumulative=4))
    bench.advance(GRACE_MS)
    assert (bench.position().quantity, bench.order().is_settled) == (4, True)
    bench.advance(600_000)
    assert questions(bench) == 2


def test_a_replaced_broker_order_is_asked_for_its_own_figure() -> None:
    """Two traded under the old id and nobody told; the new one counts from nothing (scenario 101;
    P3).
    """
    bench = replaced()
    assert questions(bench) == 1
    old = bench.snapshot(status=Status.CANCELED, cumulative=2, replaced_by="B2")
    bench.look(old, bench.snapshot(broker_order_id="B2", cumulative=0))
    bench.advance(GRACE_MS)
    order = bench.order()
    assert (order.status, order.filled_quantity) == (Status.PARTIAL_FILL, 2)
    bench.say("canceled", broker_order_id="B2")
    bench.look(old, bench.snapshot(broker_order_id="B2", status=Status.CANCELED, cumulative=1))
    bench.advance(GRACE_MS)
    assert (bench.order().status, bench.position().quantity) == (Status.CANCELED, 3)


def test_an_answer_that_shows_the_replaced_order_at_work_is_from_before() -> None:
    """It lacks what traded under the old id until the replace: it is asked again (P3)."""
    bench = replaced()
    bench.look(bench.snapshot(cumulative=0))
    bench.advance(1_000)
    assert questions(bench) == 2


def test_a_claim_of_the_old_broker_order_outlives_the_figure_of_the_new() -> None:
    """One is claimed under the old id when the new one shows nothing filled: it counts (P5)."""
    bench = opened(COUNTS_ANEW)
    bench.poll(bench.snapshot(cumulative=1))
    bench.replace(limit_price="101")
    bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    bench.look(bench.snapshot(broker_order_id="B2", cumulative=0))
    bench.advance(GRACE_MS)
    assert bench.position().quantity == 1


def test_a_figure_that_its_successor_carries_counts_once() -> None:
    """The new broker order's three are the old one's: shown under both ids, they are three (P3)."""
    bench = opened(Capabilities(lists_executions=False, new_id_on_replace=True))
    bench.replace(limit_price="101")
    bench.answer(Accepted(broker_order_id="B2", final=True), wish=1)
    bench.poll(bench.snapshot(broker_order_id="B2", cumulative=3))
    bench.advance(GRACE_MS)
    bench.say("canceled", broker_order_id="B2")
    bench.look(
        bench.snapshot(status=Status.CANCELED, cumulative=3, replaced_by="B2"),
        bench.snapshot(broker_order_id="B2", status=Status.CANCELED, cumulative=3),
    )
    bench.advance(GRACE_MS)
    assert bench.position().quantity == 3


def test_a_sum_that_completes_an_order_is_asked_about_once() -> None:
    """The broker made ten into twelve and nobody was told; what traded beyond counts (P3, P5)."""
    bench = opened()
    bench.trade("e1", 10, cumulative=D(10))
    assert (bench.order().status, questions(bench)) == (Status.FILLED, 1)
    bench.look(bench.snapshot(status=Status.FILLED, order_quantity=12, cumulative=12))
    bench.advance(GRACE_MS)
    assert (bench.order().status, bench.position().quantity) == (Status.FILLED, 12)
    bench.advance(600_000)
    assert questions(bench) == 1
    assert bench.refolded().dump() == bench.desk.dump()


def test_a_claim_that_completes_an_order_is_asked_about() -> None:
    """A trade of two counts ten with those before it, and of more it says nothing (P3)."""
    bench = opened()
    bench.trade("e2", 2, cumulative=D(10))
    bench.advance(GRACE_MS)
    assert (bench.order().status, questions(bench)) == (Status.FILLED, 1)
    bench.look(bench.snapshot(status=Status.FILLED, order_quantity=12, cumulative=12))
    bench.advance(GRACE_MS)
    assert bench.position().quantity == 12


def test_a_correction_that_completes_an_order_is_asked_about() -> None:
    """Eight were ten: whether that is all of it, only the broker knows (P3, P5)."""
    bench = opened()
    bench.trade("e1", 8, cumulative=D(8))
    bench.correct("e1", "e2", 10)
    assert (bench.order().status, questions(bench)) == (Status.FILLED, 1)


@pytest.mark.parametrize("told", [{"full": True}, {"order_quantity": D(10)}])
def test_a_trade_that_tells_the_end_itself_is_not_asked_about(told: dict[str, Any]) -> None:
    """It says that it is the last one, or for how much the order is: that costs no call."""
    bench = opened()
    bench.trade("e1", 10, cumulative=D(10), **told)
    bench.advance(60_000)
    assert (bench.order().status, questions(bench)) == (Status.FILLED, 0)


def test_where_trades_are_listed_a_full_order_is_not_asked_about() -> None:
    """What traded beyond comes with the next poll: no question per order."""
    bench = opened(Capabilities())
    bench.trade("e1", 10, cumulative=D(10))
    bench.advance(60_000)
    assert (bench.order().status, questions(bench)) == (Status.FILLED, 0)


def test_an_order_that_works_beyond_our_sum_is_asked_about_until_it_ended() -> None:
    """Full by our sum, and the answer at once shows two more to fill; they fill, and no word of
    it arrives (P3, P4).
    """
    bench = opened()
    bench.trade("e1", 10, cumulative=D(10))
    works = bench.snapshot(status=Status.PARTIAL_FILL, order_quantity=12, cumulative=10)
    bench.look(works)
    bench.advance(60_000)
    assert questions(bench) > 1
    bench.look(bench.snapshot(status=Status.FILLED, order_quantity=12, cumulative=12))
    bench.advance(GRACE_MS)
    order = bench.order()
    assert (order.status, order.is_settled) == (Status.FILLED, True)
    assert bench.position().quantity == 12


def test_an_order_that_never_was_is_not_asked_about_again() -> None:
    """Proven absent it failed, and nothing can have traded: whoever waits for it goes on (P6)."""
    bench = DeskDriver(capabilities=Capabilities(lists_executions=False, unique_ids="none"))
    bench.submit()
    bench.answer(Unknown(text="timeout"))
    bench.advance(30_000)
    bench.look(asked_ms_ago=1)
    order = bench.order()
    assert (order.status, order.lookup) == (Status.FAILED, None)
