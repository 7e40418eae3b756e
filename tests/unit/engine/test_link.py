import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from holdfast.clock import NS_PER_S
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, SubmitOrder
from holdfast.domain.inputs import Answer, Looked, Polled, Reported
from holdfast.domain.reports import (
    Accepted,
    LookupResult,
    NotSent,
    Outcome,
    Refused,
    Report,
    ReportKind,
    Unknown,
)
from holdfast.engine.feeding import POLL_APART_MIN_S, POLL_RETRY_S
from holdfast.engine.link import ENTRY_CALLS_MAX, LOOKUP_CALLS_MAX, AccountLink
from holdfast.errors import Closed
from holdfast.ports import OpenOrders
from holdfast.testing.desk_ports import ALPHA, BETA, CallingPort
from holdfast.testing.scripted import Hang, Raise, ScriptedBroker
from holdfast.testing.world import START_NS, virtual


@asynccontextmanager
async def linked(broker: ScriptedBroker, port: CallingPort) -> AsyncIterator[AccountLink]:
    link = AccountLink(broker, account="paper", ack_wait_ms=5_000, poll_interval_ms=15_000)
    link.attach(port)
    link.start()
    try:
        yield link
    finally:
        await link.close()


async def perform(link: AccountLink, port: CallingPort, *effects: Effect) -> None:
    link.perform(effects, port)
    await asyncio.sleep(0.001)


@virtual
async def test_an_answer_names_the_request_it_belongs_to() -> None:
    """Each call ends as one answer with its order, wish, attempt and outcome."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port) as link:
        await perform(link, port, port.submit(7))

    assert port.of(Answer) == [
        Answer(number=7, wish=0, attempt=1, outcome=Accepted(broker_order_id="B-1"))
    ]


@pytest.mark.parametrize(
    "outcome", [Refused(text="no"), NotSent(text="429", retry_after_ms=7), Unknown(text="503")]
)
def test_outcomes_of_the_broker_are_handed_on_as_they_are(outcome: Outcome) -> None:
    """The link adds nothing to what the adapter understood."""

    @virtual
    async def case() -> None:
        broker, port = ScriptedBroker(), CallingPort()
        broker.script("submit", outcome)
        async with linked(broker, port) as link:
            await perform(link, port, port.submit())
        assert port.outcomes() == [outcome]

    case()


@virtual
async def test_an_exception_is_an_unknown_outcome_with_its_secrets_masked() -> None:
    """What an adapter raises proves nothing about the order, and its text is fit to be kept."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", Raise(OSError("POST https://x/?token=S3CRET")))
    async with linked(broker, port) as link:
        await perform(link, port, port.submit())

    assert port.outcomes() == [Unknown(text="OSError: POST https://x/?token=***")]


@virtual
async def test_a_call_without_an_answer_is_unknown_after_the_ack_wait() -> None:
    """Silence is not evidence: the outcome of a call that is cut off is unknown (trap 64)."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", Hang())
    async with linked(broker, port) as link:
        link.perform([port.submit()], port)
        await asyncio.sleep(4.9)
        before = port.outcomes()
        await asyncio.sleep(0.2)
        await perform(link, port, port.submit(2))

    assert before == []
    assert [type(outcome) for outcome in port.outcomes()] == [Unknown, Accepted]


@virtual
async def test_a_call_that_cancels_itself_is_unknown() -> None:
    """An adapter whose own task was cancelled has told nothing, even after a call was cut off."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script(
        "submit", Hang(), Raise(asyncio.CancelledError()), Raise(asyncio.CancelledError())
    )
    async with linked(broker, port) as link:
        for number in (1, 2, 3, 4):
            link.perform([port.submit(number)], port)
            await asyncio.sleep(6)

    assert [type(outcome) for outcome in port.outcomes()] == [Unknown] * 3 + [Accepted]


@virtual
async def test_a_call_does_not_outlive_its_not_after() -> None:
    """A call that may still land past `not_after` is cut off there, before the ack wait."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", Hang())
    async with linked(broker, port) as link:
        link.perform([port.submit(wait_s=30), port.submit(2, wait_s=1)], port)
        await asyncio.sleep(0.9)
        before = len(port.outcomes())
        link.perform([port.submit(3, wait_s=1)], port)
        await asyncio.sleep(1.2)

    # Order 1 hangs; 2 and 3 are answered at once.
    assert (before, len(port.outcomes())) == (1, 2)


@virtual
async def test_the_earliest_deadline_is_kept_among_many() -> None:
    """A short call behind a long one is cut off at its own time."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", Hang(), Hang(), Hang())
    ended: list[float] = []
    async with linked(broker, port) as link:
        begun = asyncio.get_running_loop().time()
        link.perform([port.submit(1, 4), port.submit(2, 1), port.submit(3, 2)], port)
        for _ in range(60):
            await asyncio.sleep(0.1)
            now = asyncio.get_running_loop().time()
            ended += [now - begun] * (len(port.outcomes()) - len(ended))

    assert [round(at) for at in ended] == [1, 2, 4]


@virtual
async def test_past_not_after_nothing_is_sent() -> None:
    """A request that waited too long counts as not sent, and the broker never hears of it."""
    broker, port = ScriptedBroker(), CallingPort()
    effect = port.submit(wait_s=1)
    async with linked(broker, port) as link:
        await asyncio.sleep(1)
        await perform(link, port, effect)

    assert [type(outcome) for outcome in port.outcomes()] == [NotSent]
    assert broker.calls == []


@virtual
async def test_exits_and_cancels_do_not_wait_behind_entries() -> None:
    """With every entry call taken, a cancel and an exit still leave at once (scenario 91)."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", *[Hang() for _ in range(ENTRY_CALLS_MAX)])
    async with linked(broker, port) as link:
        await perform(link, port, *[port.submit(n) for n in range(1, 200)])
        entries = len(broker.calls)
        await perform(link, port, port.submit(200, reduce_only=True), port.cancel(200))

    assert entries == ENTRY_CALLS_MAX
    assert [type(call) for call in broker.calls[-2:]] == [SubmitOrder, CancelOrder]
    assert [call.number for call in broker.calls[-2:]] == [200, 200]


@virtual
async def test_lookups_have_few_calls_of_their_own() -> None:
    """A storm of lookups neither holds up orders nor floods the broker."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("lookup", *[Hang() for _ in range(50)])
    async with linked(broker, port) as link:
        await perform(link, port, *[port.lookup(n) for n in range(1, 51)], port.submit(99))

    assert len(broker.sent(LookupOrder)) == LOOKUP_CALLS_MAX
    assert port.outcomes() == [Accepted(broker_order_id="B-1")]


@virtual
async def test_a_lookup_that_fails_proves_nothing() -> None:
    """An exception and a timeout of a lookup are incomplete answers, dated when they were asked."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("lookup", Raise(OSError("gone")), Hang())
    async with linked(broker, port) as link:
        link.perform([port.lookup(1), port.lookup(2)], port)
        await asyncio.sleep(6)

    results = [(said.number, said.asked_ns, said.result) for said in port.of(Looked)]
    assert results == [
        (1, START_NS, LookupResult(text="OSError: gone")),
        (2, START_NS, LookupResult(text="no answer in time")),
    ]


@virtual
async def test_it_polls_at_once_and_then_every_interval() -> None:
    """The first poll leaves at the start; each is dated by when it left."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port):
        await asyncio.sleep(31)

    asked = [said.asked_ns - START_NS for said in port.of(Polled)]
    assert [round(at / NS_PER_S) for at in asked] == [0, 15, 30]


@virtual
async def test_a_failed_poll_is_repeated_soon_and_gives_nothing() -> None:
    """An error while listing orders is no list of orders (scenario 26, trap 17)."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("poll", Raise(OSError("x")), Raise(OSError("x")))
    async with linked(broker, port) as link:
        await asyncio.sleep(5)
        failed = link.statistics()["polls_failed"]

    assert (failed, len(port.of(Polled)), broker.polls) == (2, 1, 3)


@virtual
async def test_a_gap_in_the_stream_is_answered_by_a_poll() -> None:
    """After every interruption the account is read anew, but not more often than allowed."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port):
        await asyncio.sleep(5)
        for _ in range(1_000):
            broker.gap()
        await asyncio.sleep(POLL_APART_MIN_S * 4)

    assert broker.polls <= 3


@virtual
async def test_a_stream_that_ends_is_opened_anew_ever_more_slowly() -> None:
    """A stream that breaks is opened again after a growing wait, with a poll each time."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port):
        for _ in range(3):
            await asyncio.sleep(10)
            broker.break_stream(OSError("reset"))
        await asyncio.sleep(1)
        third = broker.listens
        await asyncio.sleep(60)

    assert (third, broker.listens) == (3, 4)
    assert len(port.of(Polled)) >= 4


@virtual
async def test_reports_past_the_bound_of_the_inbox_bring_a_poll() -> None:
    """A stream that was cut is made good by asking for everything."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port):
        await asyncio.sleep(1)
        port.has_room = False
        broker.report(Report(kind=ReportKind.NEW, wire_id=f"{ALPHA}1"))
        await asyncio.sleep(1)

    assert broker.polls == 2


@virtual
async def test_a_report_that_cannot_be_taken_does_not_end_the_stream() -> None:
    """What a desk's own defect keeps out is counted, and the next one arrives (scenario 71)."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port) as link:
        await asyncio.sleep(1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CallingPort, "report", None, raising=False)
            broker.report(Report(kind=ReportKind.NEW, wire_id=f"{ALPHA}1"))
        broker.report(Report(kind=ReportKind.NEW, wire_id=f"{ALPHA}1"))
        defects = link.statistics()["report_defects"]

    assert defects == 1
    assert len(port.of(Reported)) == 1


@virtual
async def test_closing_leaves_a_call_without_an_answer() -> None:
    """A call cut off by closing tells the desk nothing: the next start looks the order up."""
    broker, port = ScriptedBroker(), CallingPort()
    broker.script("submit", Hang())
    async with linked(broker, port) as link:
        await perform(link, port, port.submit())

    assert port.of(Answer) == []


@pytest.mark.parametrize("answer", [None, "yes", 5])
def test_what_is_no_answer_proves_nothing(answer: object) -> None:
    """A broker that returns nonsense has an unknown outcome, and a lookup without a result."""

    class Odd(ScriptedBroker):
        async def submit(self, _order: SubmitOrder) -> Outcome:
            return answer  # type: ignore[return-value]  # that is the point

        async def lookup(self, _order: LookupOrder) -> LookupResult:
            return answer  # type: ignore[return-value]  # that is the point

    async def case() -> None:
        port = CallingPort()
        async with linked(Odd(), port) as link:
            await perform(link, port, port.submit(), port.lookup())
            found = await link.look(port.lookup())
            told = await link.ask(port.submit(2))
            await perform(link, port, port.submit(3))
        assert [type(each) for each in (*port.outcomes(), told)] == [Unknown] * 3
        (looked,) = port.of(Looked)
        assert not looked.result.complete
        assert not found.complete
        assert found.text

    virtual(case)()


@virtual
async def test_an_incomplete_poll_is_taken_but_counts_as_failed() -> None:
    """It says nothing of what it left out: who waits is told, its age stays, and it is repeated."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port) as link:
        await asyncio.sleep(1)
        broker.script("poll", OpenOrders(complete=False))
        assert not await link.poll_now()
        shown = link.statistics()
        assert (shown["polls"], shown["polls_failed"]) == (2, 1)
        assert shown["last_poll_age_ms"] >= 1_000
        assert [each.complete for each in port.of(Polled)] == [True, False]
        await asyncio.sleep(POLL_RETRY_S + 0.1)
        assert broker.polls == 3


@virtual
async def test_a_closed_link_refuses_questions_at_once() -> None:
    """Who asks after the close, or waits at it, is told without waiting for a timeout."""
    broker, port = ScriptedBroker(), CallingPort()
    async with linked(broker, port) as link:
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(link.poll_now())
        await asyncio.sleep(0.1)
    with pytest.raises(Closed):
        await waiting
    for question in (link.poll_now, link.turn, lambda: link.look(port.lookup())):
        with pytest.raises(Closed):
            await question()


@virtual
async def test_what_a_desk_had_queued_is_not_sent_once_it_has_gone() -> None:
    """On a shared account the others' calls go on; those of the closed desk were never sent."""
    broker, gone, stays = ScriptedBroker(), CallingPort(), CallingPort(BETA)
    async with linked(broker, gone) as link:
        link.attach(stays)
        broker.script("submit", *[Hang()] * ENTRY_CALLS_MAX)
        link.perform([gone.submit(n) for n in range(1, ENTRY_CALLS_MAX + 11)], gone)
        link.perform([stays.submit(n) for n in range(900, 903)], stays)
        await asyncio.sleep(0.1)
        assert link.is_busy_for(gone)
        link.detach(gone)
        await asyncio.sleep(6)
        assert not link.is_busy_for(gone)
        numbers = [each.number for each in broker.sent(SubmitOrder)]
    assert sorted(numbers) == [*range(1, ENTRY_CALLS_MAX - 2), 900, 901, 902]
