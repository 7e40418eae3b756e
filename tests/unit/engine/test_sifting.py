"""Figures and prices of an account that are not of the declared types."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import Execution, LookupResult, Sighting, Snapshot
from holdfast.domain.typed import MistypedError
from holdfast.engine.quotes import QuoteBoard
from holdfast.engine.sifting import figures_of, lookup_of, poll_of
from holdfast.errors import OrderStatusError
from holdfast.ports import AccountFigures, OpenOrders
from holdfast.testing.misspoken import misspoken
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import virtual

D = Decimal
FIGURES = AccountFigures(buying_power=D(1_000), positions={"TSLA": D(5)})
WRONG_HOLDINGS: list[Any] = [{"TSLA": 5}, {5: D(5)}, {"TSLA": None}]
WRONG_FIGURES: list[Any] = [
    *(word for _, words in misspoken(FIGURES) for word in words),
    *(AccountFigures(positions=held) for held in WRONG_HOLDINGS),
    None,
    {"buying_power": "1000"},
]


class Telling(ScriptedBroker):
    """An account that tells figures, as a test has them."""

    def __init__(self) -> None:
        super().__init__(Capabilities(account_data=True))
        self.figures = FIGURES

    async def account(self) -> AccountFigures:
        """Tell them."""
        return self.figures


@pytest.mark.parametrize("wrong", WRONG_FIGURES)
def test_figures_of_a_wrong_type_are_no_figures(wrong: Any) -> None:
    """They raise, and are told to whoever counts; sound ones pass untouched."""
    told: list[object] = []
    with pytest.raises(MistypedError, match="the account's figures cannot be read"):
        figures_of(wrong, lambda said, _why: told.append(said))
    assert told == [wrong]
    assert figures_of(FIGURES, lambda said, _why: told.append(said)) is FIGURES
    assert len(told) == 1


@virtual
async def test_an_account_whose_figures_cannot_be_read_is_unknown_and_counted() -> None:
    """Whoever asks gets an error, the desk goes on, and the figures count once they can be read."""
    broker = Telling()
    async with open_desk(broker) as manager:
        bad: Any = 1_000.0
        broker.figures = AccountFigures(buying_power=bad)
        with pytest.raises(OrderStatusError):
            await manager.account(fresh=True)
        health = await manager.health()
        assert any("buying_power is 1000.0" in sample for sample in health.unreadable)
        broker.figures = FIGURES
        assert (await manager.account(fresh=True)).buying_power == 1_000
        assert (await manager.health()).is_ok


QUOTE = Quote(symbol="TSLA", bid=D(250), ask=D(251), last=D(250))


@pytest.mark.parametrize("words", [words for _, words in misspoken(QUOTE)])
def test_a_quote_of_a_wrong_type_is_dropped_and_counted(words: Any) -> None:
    """The latest sound quote stays the latest."""
    board = QuoteBoard(source=None, now_ns=lambda: 5)  # type: ignore[arg-type]  # never watched
    board.take(QUOTE)
    for word in words:
        board.take(word)
    assert board.dropped == len(words)
    assert board.latest("TSLA") == msgspec.structs.replace(QUOTE, at_ns=5)


@pytest.mark.parametrize("wrong", [None, 5, {}, [], object(), QUOTE])
def test_an_answer_that_is_none_at_all_proves_nothing(wrong: Any) -> None:
    """It is dropped whole, and what stands for it is empty and not complete (P4)."""
    told: list[object] = []
    result = lookup_of(wrong, lambda said, _why: told.append(said))
    assert (result.sightings, result.complete) == ((), False)
    assert poll_of(wrong, lambda said, _why: told.append(said)) == OpenOrders()
    assert told == [wrong, wrong]


def test_what_cannot_be_read_keeps_nothing_else_from_being_read() -> None:
    """Sound parts of a poll and of a lookup are taken, and each other part is told (P3)."""
    told: list[object] = []
    bad: Any = 5
    sound, spoilt = Snapshot(broker_order_id="B-1"), Snapshot(broker_order_id=bad)
    trade = Execution(execution_id="X-1", quantity=D(1), price=D(2))
    unread = msgspec.structs.replace(trade, price=bad)
    trades = (("B-1", "", unread), ("B-1", "", trade))
    poll = OpenOrders(snapshots=(spoilt, sound), executions=trades, complete=True)
    assert poll_of(poll, lambda said, _why: told.append(said)) == OpenOrders(
        snapshots=(sound,), executions=trades[1:]
    )
    assert told == [spoilt, trades[0]]
    seen = Sighting(snapshot=sound, executions=(unread, trade), executions_complete=True)
    gone = Sighting(snapshot=spoilt, executions=(trade,))
    result = LookupResult(sightings=(gone, seen, bad), complete=True)
    found = lookup_of(result, lambda said, _why: told.append(said))
    assert found.sightings == (Sighting(snapshot=sound, executions=(trade,)),)
    assert not found.complete
    assert told[2:] == [spoilt, unread, bad]


def test_why_a_call_gave_nothing_is_no_message_that_cannot_be_read() -> None:
    """A text says why there is no answer, and nothing is counted."""
    told: list[object] = []
    result = lookup_of("no answer in time", lambda said, _why: told.append(said))
    assert result == LookupResult(text="no answer in time")
    assert told == []
