"""What a group waits for before it closes anything, and trades that come after it is forgotten."""

from decimal import Decimal

import pytest

from holdfast.domain import group_book
from holdfast.domain.desk import Desk
from holdfast.domain.inputs import CloseGroup, ClosePosition, Connected, Resume
from holdfast.domain.reports import Refused
from holdfast.domain.values import Side, Status
from holdfast.testing.brokered import BrokeredDesk

BOTH = {"stop": 3, "target": 3}


def protected() -> BrokeredDesk:
    """A desk with a bracket whose entry of three is filled."""
    bench = BrokeredDesk()
    bench.bracket()
    bench.fill("entry", 3)
    bench.advance(1_000)
    assert bench.working() == BOTH
    return bench


def restarted() -> BrokeredDesk:
    """The same desk after a start, when no poll of the account has been answered yet."""
    bench = protected()
    bench.desk = Desk(bench.settings, bench.refolded().state)
    bench.step(Connected(bench.broker.capabilities))
    bench.ask(Resume(wall_offset_ns=0))
    return bench


def test_a_trade_of_a_forgotten_group_is_told_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry was cancelled and filled all the same, told after the group had left memory: it
    counts, and people learn that nothing protects it (P5, P10).
    """
    monkeypatch.setattr(group_book, "CLOSED_MAX", 1)
    bench = BrokeredDesk()
    bench.bracket()
    entry = bench.order(bench.group(1).entry)
    bench.end("entry")
    bench.advance(5_000)
    for _ in range(2):
        bench.break_next("submit", "entry", Refused(text="no"))
        bench.bracket()
    assert bench.desk.state.groups.get(1) is None
    assert "GROUP_FORGOTTEN" not in bench.alerts()
    names = {"wire_id": entry.wire_id, "broker_order_id": entry.broker_order_id}
    bench.trade("late", 2, number=entry.number, **names)
    assert bench.position().quantity == 2
    assert bench.alerts().count("GROUP_FORGOTTEN") == 1


def test_after_a_start_a_group_closes_nothing_before_it_has_reconciled() -> None:
    """What the broker has done meanwhile is not known: the exit waits for the first poll, and is
    for what that leaves (P2).
    """
    bench = restarted()
    bench.is_deaf = True
    bench.broker.fill(bench.held("target").broker_order_id, Decimal(1), Decimal(110))
    bench.is_blind = True
    bench.ask(CloseGroup(group=1, by="ann", reason="out"))
    bench.is_blind = False
    bench.advance(20_000)
    assert bench.sent("exit") == []
    bench.reconcile()
    bench.advance(2_000)
    assert bench.sent("exit") == [(Side.SELL, 2)]


def test_after_a_start_a_close_takes_no_stop_away_before_it_has_reconciled() -> None:
    """Its exit could not go yet: stop and target guard all until the first poll (P6)."""
    bench = restarted()
    bench.ask(ClosePosition(symbol="X", by="ann", reason="out"))
    bench.advance(20_000)
    assert (bench.working(1), bench.sent("exit")) == (BOTH, [])
    bench.reconcile()
    bench.advance(2_000)
    assert (bench.working(1), bench.working(2)) == ({}, {"exit": 3})


def test_a_resting_close_is_placed_again_for_what_its_last_exit_left() -> None:
    """It ended with one traded that nobody told: the next one waits for its final figure, and
    closes two (scenario 63; P3).
    """
    bench = protected()
    bench.ask(ClosePosition(symbol="X", limit_price="108", by="ann", reason="profit"))
    mark = bench.held("exit", group=2).broker_order_id
    bench.is_deaf = True
    bench.broker.fill(mark, Decimal(1), Decimal(108))
    bench.talk()
    bench.is_deaf, bench.is_blind = False, True
    bench.broker.end(mark, Status.CANCELED, "the venue")
    bench.talk()
    bench.advance(20_000)
    assert bench.sent("exit") == [(Side.SELL, 3)]
    bench.is_blind = False
    bench.advance(120_000)
    assert bench.sent("exit") == [(Side.SELL, 3), (Side.SELL, 2)]
    assert bench.working(2) == {"exit": 2}
    assert bench.position().quantity == bench.truth() == 2
