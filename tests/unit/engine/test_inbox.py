import pytest

from holdfast.domain.inputs import Answer, Cancel, Reported, Submit, Tick
from holdfast.domain.reports import Accepted, Report, ReportKind
from holdfast.domain.requests import OrderRequest
from holdfast.engine.inbox import Inbox
from holdfast.errors import Busy

ENTRY = Submit(OrderRequest(symbol="TSLA", side="buy", quantity=1))
EXIT = Submit(OrderRequest(symbol="TSLA", side="sell", quantity=1, reduce_only=True))
CANCEL = Cancel(client_order_id="a")
REPORT = Reported(Report(kind=ReportKind.NEW, wire_id="w"))
ANSWER = Answer(number=1, wish=0, attempt=1, outcome=Accepted())


def everything(inbox: Inbox) -> list[object]:
    taken: list[object] = []
    while (entry := inbox.pop()) is not None:
        taken.append(entry[0])
    return taken


def test_exits_and_the_brokers_words_go_before_entries() -> None:
    """Cancels, exits, reports and answers overtake entries and keep their own order."""
    inbox = Inbox()
    inbox.command(ENTRY, None)
    inbox.command(CANCEL, None)
    inbox.report(REPORT)
    inbox.command(EXIT, None)
    inbox.word(ANSWER)

    assert everything(inbox) == [CANCEL, REPORT, EXIT, ANSWER, ENTRY]


def test_a_full_inbox_refuses_entries_and_still_takes_exits() -> None:
    """Past the bound an entry is told Busy; a cancel is not kept out by entries."""
    inbox = Inbox(entries_max=2)
    inbox.command(ENTRY, None)
    inbox.command(ENTRY, None)

    with pytest.raises(Busy, match="2 commands wait"):
        inbox.command(ENTRY, None)
    inbox.command(CANCEL, None)

    assert everything(inbox) == [CANCEL, ENTRY, ENTRY]
    assert inbox.refused == 1


def test_exits_have_a_bound_of_their_own() -> None:
    """A flood of cancels is refused as well, and room is made as they are taken."""
    inbox = Inbox(exits_max=1)
    inbox.command(CANCEL, None)

    with pytest.raises(Busy):
        inbox.command(EXIT, None)
    inbox.pop()
    inbox.command(EXIT, None)

    assert everything(inbox) == [EXIT]


def test_reports_past_the_bound_are_dropped_all_at_once() -> None:
    """A stream that is cut loses every waiting report, and nothing else."""
    inbox = Inbox(reports_max=2)
    taken = [inbox.report(REPORT), inbox.report(REPORT)]
    inbox.command(CANCEL, None)

    cut = inbox.report(REPORT)

    assert (taken, cut) == ([True, True], False)
    assert everything(inbox) == [CANCEL]
    assert (inbox.cuts, inbox.reports_cut) == (1, 3)
    assert inbox.report(REPORT)


def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    """Inputs of a lost batch are stepped again before anything newer."""
    inbox = Inbox(reports_max=3)
    inbox.report(REPORT)
    inbox.command(ENTRY, None)

    inbox.put_back([(ANSWER, None), (CANCEL, None), (ENTRY, None)])

    assert len(inbox) == 5
    assert everything(inbox) == [ANSWER, CANCEL, ENTRY, REPORT, ENTRY]


def test_counts_follow_what_is_put_back_and_taken() -> None:
    """Room is counted right through put_back, pop and drain."""
    inbox = Inbox(reports_max=1, exits_max=1)
    inbox.put_back([(REPORT, None), (CANCEL, None)])

    assert not inbox.report(REPORT)
    with pytest.raises(Busy):
        inbox.command(CANCEL, None)
    assert [entry[0] for entry in inbox.drain()] == [CANCEL]
    inbox.command(CANCEL, None)
    assert inbox.report(REPORT)


def test_words_are_what_the_broker_said() -> None:
    """Commands that wait are not among the words."""
    inbox = Inbox()
    inbox.command(CANCEL, None)
    inbox.word(Tick())
    inbox.report(REPORT)

    assert inbox.words() == [Tick(), REPORT]
