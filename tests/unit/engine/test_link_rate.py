import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from holdfast.clock import NS_PER_S
from holdfast.domain.effects import CancelOrder, Effect, SubmitOrder
from holdfast.domain.inputs import Looked, Polled
from holdfast.domain.reports import Accepted, NotSent
from holdfast.domain.values import OrderType
from holdfast.engine.budget import QUERY_WAIT_MAX_S, RateRules
from holdfast.engine.link import AccountLink
from holdfast.errors import Closed
from holdfast.testing.desk_ports import BETA, CallingPort
from holdfast.testing.scripted import Hang, ScriptedBroker
from holdfast.testing.world import START_NS, virtual


class Timed(ScriptedBroker):
    """Remembers when each call came."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[tuple[float, Effect]] = []
        self.polled_at: list[float] = []
        self.before_call = self._note

    def _note(self, effect: Effect) -> None:
        self.at.append((asyncio.get_running_loop().time(), effect))

    async def poll(self) -> Any:
        self.polled_at.append(asyncio.get_running_loop().time())
        return await super().poll()


@asynccontextmanager
async def limited(
    broker: ScriptedBroker, *ports: CallingPort, rate: int | str | None = 2, burst: int = 4
) -> AsyncIterator[AccountLink]:
    """Link desks to an account of so many requests a second; the first poll is over."""
    rules = RateRules(requests_per_second=None if rate is None else Decimal(rate), burst=burst)
    link = AccountLink(
        broker, account="paper", ack_wait_ms=5_000, poll_interval_ms=15_000, rate=rules
    )
    for port in ports:
        link.attach(port)
    link.start()
    await asyncio.sleep(5)
    try:
        yield link
    finally:
        await link.close()


@virtual
async def test_calls_leave_no_faster_than_the_rate() -> None:
    """A burst, then two a second: no more leaves, and nothing is lost (scenario 91)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port) as link:
        link.perform([port.submit(n) for n in range(1, 11)], port)
        await asyncio.sleep(6)

    assert [round(at - 5, 2) for at, _ in broker.at] == [0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert [type(outcome) for outcome in port.outcomes()] == [Accepted] * 10


@virtual
async def test_lanes_leave_in_their_order() -> None:
    """Exits and cancels, then protection, then entries, then questions (scenario 91)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=4, burst=1) as link:
        stop: dict[str, Any] = {
            "order_type": OrderType.STOP,
            "stop_price": Decimal(1),
            "reduce_only": True,
        }
        effects: list[Effect] = [
            port.lookup(1),
            port.submit(2),
            port.replace(3, reducing=False),
            port.submit(4, role="target"),
            port.submit(5, **stop),
            port.replace(6, reducing=True),
            port.submit(7, reduce_only=True),
            port.submit(8, reducing=True),
            port.cancel(9),
        ]
        link.perform(effects, port)
        await asyncio.sleep(20)

    assert [effect.number for _, effect in broker.at] == [6, 7, 8, 9, 4, 5, 2, 3, 1]


@virtual
async def test_a_question_asked_again_before_its_turn_keeps_its_place() -> None:
    """The newest of three goes out once, first in the queue; later ones are asked anew (P9)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=1, burst=1) as link:
        link.perform([port.lookup(1), port.lookup(2)], port)
        for attempt in (2, 3):
            renewed = msgspec.structs.replace(port.lookup(1), attempt=attempt)
            link.perform([renewed], port)
        await asyncio.sleep(10)
        link.perform([msgspec.structs.replace(port.lookup(1), attempt=4)], port)
        await asyncio.sleep(10)

    asked = [(effect.number, effect.attempt) for _, effect in broker.at]
    assert asked == [(1, 3), (2, 1), (1, 4)]


@virtual
async def test_a_desk_that_went_leaves_no_question_behind() -> None:
    """What it had queued is not asked; the desk that comes after it is heard (P9)."""
    broker, gone, back = Timed(), CallingPort(), CallingPort()
    async with limited(broker, gone, rate=1, burst=1) as link:
        link.perform([gone.lookup(1), gone.lookup(2)], gone)
        link.detach(gone)
        link.attach(back)
        link.perform([back.lookup(2)], back)
        await asyncio.sleep(10)

    assert [effect.number for _, effect in broker.at].count(2) == 1
    assert [type(said) for said in back.heard if isinstance(said, Looked)] == [Looked]


@pytest.mark.parametrize("rate", [1, 2, 10])
def test_a_cancel_does_not_wait_for_another_desks_entries(rate: int) -> None:
    """With one desk at the limit, another's cancel leaves at once: part is kept (scenario 104)."""

    @virtual
    async def case() -> None:
        broker, one, other = Timed(), CallingPort(), CallingPort(BETA)
        async with limited(broker, one, other, rate=rate) as link:
            link.perform([one.submit(n) for n in range(1, 1_000)], one)
            await asyncio.sleep(2.2)
            asked = asyncio.get_running_loop().time()
            link.perform([other.cancel(1)], other)
            await asyncio.sleep(2)
            (left,) = [at for at, effect in broker.at if isinstance(effect, CancelOrder)]

        assert left - asked == pytest.approx(0.0, abs=1e-6)

    case()


@virtual
async def test_a_cancel_of_another_desk_waits_less_than_a_second_with_no_burst() -> None:
    """With nothing to keep, two requests a second: a cancel waits one interval (scenario 104)."""
    broker, one, other = Timed(), CallingPort(), CallingPort(BETA)
    async with limited(broker, one, other, rate=2, burst=1) as link:
        link.perform([one.submit(n) for n in range(1, 1_000)], one)
        await asyncio.sleep(2.001)
        asked = asyncio.get_running_loop().time()
        link.perform([other.cancel(1)], other)
        await asyncio.sleep(2)
        (left,) = [at for at, effect in broker.at if isinstance(effect, CancelOrder)]

    assert left - asked < 1.0


@virtual
async def test_desks_take_turns_within_a_lane() -> None:
    """A desk with one entry is second in line, not behind the other's thousand (scenario 104)."""
    broker, one, other = Timed(), CallingPort(), CallingPort(BETA)
    async with limited(broker, one, other) as link:
        link.perform([one.submit(n) for n in range(1, 1_000)], one)
        link.perform([other.submit(1)], other)
        await asyncio.sleep(1)

    second = broker.at[1][1]
    assert isinstance(second, SubmitOrder)
    assert second.wire_id.startswith(other.prefix)


@virtual
async def test_a_submit_that_its_turn_did_not_reach_is_not_sent_and_says_so() -> None:
    """It waits until its `not_after` and no longer; the broker never hears of it (scenario 91)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port) as link:
        link.perform([port.submit(n, wait_s=2) for n in range(1, 101)], port)
        await asyncio.sleep(2.1)
        outcomes = port.outcomes()

    unsent = [one for one in outcomes if isinstance(one, NotSent)]
    assert (len(outcomes), len(broker.at)) == (100, 100 - len(unsent))
    assert unsent[0].waited
    assert "too late to be sent: its turn had not come" in unsent[0].text
    assert "at most 2 requests a second, burst 4" in unsent[0].text


@virtual
async def test_a_pause_that_the_broker_asked_for_holds_back_entries_and_questions() -> None:
    """Retry-After of one answer counts for the account; cancels go on (scenario 32, P7)."""
    broker, port = Timed(), CallingPort()
    broker.script("submit", NotSent(text="429", retry_after_ms=3_000))
    async with limited(broker, port, rate=100, burst=100) as link:
        link.perform([port.submit(1)], port)
        await asyncio.sleep(0.1)
        link.perform([port.submit(2), port.lookup(3), port.cancel(4)], port)
        paused = link.statistics()["paused_ms"]
        await asyncio.sleep(5)

    left = {effect.number: at - 5 for at, effect in broker.at}
    assert paused == 2_900
    assert left == pytest.approx({1: 0, 2: 3, 3: 3, 4: 0.1}, abs=0.01)


@virtual
async def test_polls_take_their_turn_and_do_not_starve() -> None:
    """Under a flood of cancels a poll still leaves, late by a bounded time (P9)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port) as link:
        for number in range(1, 31):
            link.perform([port.cancel(10 * number + n) for n in range(10)], port)
            await asyncio.sleep(1)

    gaps = [b - a for a, b in pairwise(broker.polled_at)]
    assert len(gaps) >= 1
    assert max(gaps) <= 15 + QUERY_WAIT_MAX_S + 0.1
    assert any(said.asked_ns > START_NS + 15 * NS_PER_S for said in port.of(Polled))


@virtual
async def test_a_callers_question_takes_its_turn() -> None:
    """A question past the desk takes a token as well, and exits past it are only counted."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=1, burst=2) as link:
        await link.ask(port.cancel(1))
        await link.ask(port.cancel(2))
        begun = asyncio.get_running_loop().time()
        await link.look(port.lookup(3))
        waited = asyncio.get_running_loop().time() - begun

    assert waited == pytest.approx(2.0, abs=0.01)


@virtual
async def test_without_a_rate_nothing_waits() -> None:
    """No rate, no waiting: all leave at once, questions past the lanes too."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=None) as link:
        link.perform([port.submit(n) for n in range(1, 51)], port)
        await asyncio.sleep(0.001)
        statistics = link.statistics()

    assert len(broker.at) == 50
    assert statistics["budget_tokens"] == -1


@virtual
async def test_statistics_tell_the_budget_and_the_waits() -> None:
    """What is left, how many waited in each lane and for how long can be read."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port) as link:
        full = link.statistics()["budget_tokens"]
        link.perform([port.submit(n) for n in range(1, 6)], port)
        await asyncio.sleep(0.75)
        found = link.statistics()

    assert full == 4
    assert (found["budget_tokens"], found["entries_waiting"]) == (1, 1)
    assert (found["entry_delayed"], found["entry_wait_ms_max"]) == (1, 500)
    assert (found["exit_delayed"], found["paused_ms"], found["budget_taken"]) == (0, 0, 5)


@virtual
async def test_a_busy_lane_lets_the_next_one_pass() -> None:
    """Exits that fill their own calls, all unanswered, do not keep entries from leaving."""
    broker, port = Timed(), CallingPort()
    broker.script("cancel", *[Hang() for _ in range(100)])
    async with limited(broker, port, rate=1_000, burst=1_000) as link:
        link.perform([port.cancel(n) for n in range(1, 101)], port)
        link.perform([port.submit(200)], port)
        await asyncio.sleep(0.1)

    assert broker.at[-1][1].number == 200


@virtual
async def test_the_wait_for_a_turn_is_part_of_the_time_for_a_question() -> None:
    """A question whose turn does not come is given up after the ack wait, not hours later."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate="0.01", burst=1) as link:
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await link.look(port.lookup(1))
        assert (round(loop.time() - began, 3), found.complete) == (5, False)
        assert broker.at == []


@virtual
async def test_questions_that_wait_for_a_turn_end_with_the_link() -> None:
    """Nobody is left waiting for an account that is closed."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate="0.01", burst=1) as link:
        waiting = asyncio.create_task(link.look(port.lookup(1)))
        await asyncio.sleep(1)
    with pytest.raises(Closed):
        await waiting


@virtual
async def test_questions_that_were_given_up_cost_no_token() -> None:
    """A hundred callers who went away hold up nobody who stays."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=1, burst=1) as link:
        link.perform([port.submit(1)], port)
        asking = [asyncio.create_task(link.look(port.lookup(2))) for _ in range(100)]
        await asyncio.sleep(0.01)
        for each in asking:
            each.cancel()
        await link.look(port.lookup(3))
        ends = await asyncio.gather(*asking, return_exceptions=True)

    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert [(round(at - 5, 1), each.number) for at, each in broker.at] == [(0, 1), (1, 3)]


@virtual
async def test_without_a_rate_a_pause_holds_back_entries_and_questions_as_well() -> None:
    """Retry-After is heeded by every call but cancels, exits and protection (scenario 32)."""
    broker, port = Timed(), CallingPort()
    async with limited(broker, port, rate=None) as link:
        broker.script("submit", NotSent(text="429", retry_after_ms=3_000))
        link.perform([port.submit(1)], port)
        await asyncio.sleep(0.1)
        assert link.statistics()["paused_ms"] == 2_900
        link.perform(
            [
                port.submit(2),
                port.lookup(3),
                port.submit(4, reducing=True),
                port.submit(5, role="stop"),
                port.cancel(6),
            ],
            port,
        )
        asking = asyncio.create_task(link.look(port.lookup(7)))
        await asyncio.sleep(5)
        await asking
        assert link.statistics()["paused_ms"] == 0

    left = sorted((round(at - 5, 1), each.number) for at, each in broker.at)
    assert left == [(0, 1), (0.1, 4), (0.1, 5), (0.1, 6), (3, 2), (3, 3), (3, 7)]
