"""The account link: what is between a broker account and the desks that share it.

It carries out effects and turns every ending of a call into an input: accepted, refused, not
sent, unknown. It polls, keeps the stream open, and hands each report to the desk whose prefix its
wire id has. It decides nothing about orders and keeps nothing that has to survive it.

Where the account may make only so many requests, the lanes ask the gate before each call, and
desks take turns within a lane. Cancels of one sweep share calls where the broker can do that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, TypeAlias, cast

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Looked
from holdfast.domain.reports import LookupResult, NotSent, Outcome, Unknown
from holdfast.domain.values import OrderType
from holdfast.engine.budget import Rank, RateRules
from holdfast.engine.calls import Call, Questions
from holdfast.engine.feeding import Feeding, account_closed
from holdfast.engine.gate import Gate
from holdfast.engine.intake import Sample
from holdfast.engine.lanes import Lane
from holdfast.engine.masking import described
from holdfast.engine.routing import DeskPort, Routing
from holdfast.engine.sifting import answer_of, lookup_of
from holdfast.errors import Closed
from holdfast.ports import BatchCanceller, Broker

_log = logging.getLogger("holdfast.link")

# Calls in flight at once. Exits have workers of their own, so entries cannot hold them up; few
# lookups, because brokers ration history queries and lookups are never urgent.
ENTRY_CALLS_MAX: Final = 64
EXIT_CALLS_MAX: Final = 64
PROTECTIVE_CALLS_MAX: Final = 64
LOOKUP_CALLS_MAX: Final = 8
# Orders that one call cancels; brokers bound it, and what fails then fails for few.
BATCH_CANCEL_MAX: Final = 100
# The last part of an ack wait in which no call begins: it could hardly be answered in time.
ANSWER_SHARE: Final = 4
# Calls that come to their end at nearly the same time share one look.
_LOOK_APART_S: Final = 0.01

# Orders of these types and roles stand for protection, which goes before entries.
_STOPS: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})
_PROTECTIVE_ROLES: Final = frozenset({"stop", "target"})
_LEFT_OUT: Final = Unknown(text="the batch was answered without this order")

Request: TypeAlias = SubmitOrder | CancelOrder | ReplaceOrder
# Whoever waits for a turn without an effect: a poll, a question of a caller.
Turn: TypeAlias = asyncio.Future[None]


_WITHDRAWN: Final = NotSent(text="cancelled before its turn came", waited=True)


class AccountLink:
    """Owns every task that talks to one broker account."""

    def __init__(
        self,
        broker: Broker,
        *,
        account: str,
        ack_wait_ms: int,
        poll_interval_ms: int,
        rate: RateRules | None = None,
    ) -> None:
        """Connect nothing yet; `rate` bounds the requests of all desks of the account together."""
        self.broker = broker
        self.account = account
        self.routing = Routing()
        self._gate = Gate(rate or RateRules())
        self._feeding = Feeding(broker, self.routing, poll_interval_ms, self.turn)
        self.mistyped = self._feeding.intake.mistyped
        self._ack_wait_ns = ack_wait_ms * NS_PER_MS
        self._ack_wait_s = self._ack_wait_ns / NS_PER_S
        carry_out, look_up = self._carry_out, self._look_up
        self._exits = self._lane("exits", EXIT_CALLS_MAX, carry_out, Rank.EXIT)
        self._protective = self._lane(
            "protective", PROTECTIVE_CALLS_MAX, carry_out, Rank.PROTECTIVE
        )
        self._entries = self._lane("entries", ENTRY_CALLS_MAX, carry_out, Rank.ENTRY)
        self._lookups = self._lane("lookups", LOOKUP_CALLS_MAX, look_up, Rank.QUERY)
        self._gate.serve(self._lanes)
        self._questions = Questions(self._lookups)
        # How many cancels of a sweep have not been answered for the first time, by desk and batch.
        self._sweeps: dict[tuple[str, int], int] = {}
        # In the order of their start, so that those which expire together are told in it.
        self._calls: dict[Call, None] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._turns: set[Turn] = set()
        self._closing = False
        self.made = dict.fromkeys(("submit", "cancel", "cancel_batch", "replace", "lookup"), 0)
        self.ended = dict.fromkeys(("Accepted", "Refused", "NotSent", "Unknown"), 0)

    def attach(self, port: DeskPort) -> None:
        """Serve a desk: carry out its effects and hand it what has its prefix."""
        self.routing.attach(port)

    def detach(self, port: DeskPort) -> None:
        """Send nothing more of a desk that has gone; calls in flight end as they may.

        What it had queued was not sent, which its next start finds out. Its orders stay known.
        """
        for lane in self._lanes:
            lane.forget(port.prefix)
        self._questions.forget(port.prefix)
        self._sweeps = {key: n for key, n in self._sweeps.items() if key[0] != port.prefix}

    def start(self) -> None:
        """Begin to listen and to poll; the first poll leaves at once."""
        self._feeding.start()

    def resync(self) -> None:
        """Poll soon: something may have been missed."""
        self._feeding.poll_soon()

    async def poll_now(self) -> bool:
        """Poll once, now, and tell whether the account answered."""
        return await self._feeding.poll_now()

    async def turn(self) -> None:
        """Wait until a question that is no effect may be asked; at once where nothing forbids it.

        Raises:
            Closed: nothing is asked any more.
        """
        if self._closing:
            raise account_closed()
        if self._gate.is_open:
            return
        loop = asyncio.get_running_loop()
        waiting: Turn = loop.create_future()
        self._turns.add(waiting)
        self._lookups.put(waiting, since=loop.time())
        self._lookups.kick()
        try:
            await waiting
        finally:
            self._turns.discard(waiting)
            self._lookups.remove(waiting)  # given up: it is to cost no token

    async def close(self) -> None:
        """End every task; a call in flight is left with an unknown outcome."""
        self._closing = True
        for waiting in self._turns:
            if not waiting.done():
                waiting.set_exception(account_closed())
        if self._sweep is not None:
            self._sweep.cancel()
        self._gate.close()
        await self._feeding.close()
        for lane in self._lanes:
            await lane.close()

    def _lane(
        self, name: str, calls_max: int, work: Callable[[Any], Awaitable[None]], rank: Rank
    ) -> Lane[Any]:
        never_asks = self._gate.budget is None and rank < Rank.ENTRY
        asked: Callable[[], bool] | None = None
        if not never_asks:
            asked = partial(self._gate.may_begin, rank)
        if rank is Rank.ENTRY:
            asked = self._entry_may_begin
        return Lane(f"{self.account}-{name}", calls_max, work, asked)

    def _entry_may_begin(self) -> bool:
        """Let no entry out that its desk wants gone by now: the kill switch pulls the queue."""
        withdrawn = self._entries.drop(_is_withdrawn)
        for call in withdrawn:
            self._answer(call, _WITHDRAWN)
        if not len(self._entries):
            self._gate.look()
            return False
        return self._gate.may_begin(Rank.ENTRY)

    @property
    def _lanes(self) -> tuple[Lane[Any], ...]:
        """All lanes, in the order of their ranks."""
        return self._exits, self._protective, self._entries, self._lookups

    @property
    def _timed_lanes(self) -> tuple[Lane[Call], ...]:
        """The lanes of calls that can be too late to begin."""
        return self._exits, self._protective, self._entries

    @property
    def calls_open(self) -> int:
        """Count the calls that are waiting or in flight."""
        return sum(len(lane) for lane in self._lanes) + len(self._calls)

    @property
    def unreadable(self) -> tuple[Sample, ...]:
        """The newest messages of the broker that could not be used."""
        return self._feeding.intake.samples

    def is_busy_for(self, port: DeskPort) -> bool:
        """Tell whether a call of that desk waits or is in flight."""
        waits = any(lane.has(port.prefix) for lane in self._lanes)
        return waits or any(call.port is port for call in self._calls)

    def perform(self, effects: Iterable[Effect], port: DeskPort) -> None:
        """Carry out effects whose events are durable, in their order within each lane.

        After `close` nothing is sent any more: the next start looks up what was not.
        """
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        since = loop.time()
        sweeps: dict[int, list[CancelOrder]] = {}
        for effect in effects:
            if type(effect) is CancelOrder and effect.batch:
                sweeps.setdefault(effect.batch, []).append(effect)
            elif type(effect) is LookupOrder:
                self._questions.put(effect, port, since)
            else:
                self._lane_of(effect).put(Call(effect, port), port.prefix, since)
        for batch, cancels in sweeps.items():
            self._sweep_out(batch, cancels, port, since)
        for lane in self._lanes:
            lane.kick()
        self._watch(loop)

    def _sweep_out(
        self, batch: int, cancels: list[CancelOrder], port: DeskPort, since: float
    ) -> None:
        """Queue the cancels of one sweep: in as few calls as the broker can do them."""
        key = (port.prefix, batch)
        self._sweeps[key] = self._sweeps.get(key, 0) + len(cancels)
        size = BATCH_CANCEL_MAX if self.broker.capabilities.batch_cancel else 1
        for start in range(0, len(cancels), size):
            part = tuple(cancels[start : start + size])
            call = Call(part[0], port, part if len(part) > 1 else ())
            self._exits.put(call, port.prefix, since)

    async def ask(self, effect: Request) -> Outcome:
        """Make one call past the lanes, for an exit that cannot be journaled."""
        self._gate.spend()
        return answer_of(effect, await self._ended(effect), self.mistyped).outcome

    async def look(self, effect: LookupOrder) -> LookupResult:
        """Ask for one order past the lanes, for somebody who waits: an ack wait, its turn included.

        Raises:
            Closed: nothing is asked any more.
        """
        try:
            async with asyncio.timeout(self._ack_wait_s):
                await self.turn()
                return lookup_of(await self.broker.lookup(effect), self.mistyped)
        except Closed:
            raise
        except Exception as error:  # noqa: BLE001 - the port's word: an exception proves nothing
            return LookupResult(text=described(error))

    def _lane_of(self, effect: Effect) -> Lane[Any]:
        if type(effect) is CancelOrder:
            return self._exits
        assert isinstance(effect, SubmitOrder | ReplaceOrder)
        terms = effect.terms
        stands_guard = terms.reduce_only and terms.order_type in _STOPS
        if type(effect) is SubmitOrder and (stands_guard or effect.role in _PROTECTIVE_ROLES):
            return self._protective
        return self._exits if effect.reducing or terms.reduce_only else self._entries

    def _request(self, effect: Request) -> Coroutine[Any, Any, Outcome]:
        if type(effect) is SubmitOrder:
            self.made["submit"] += 1
            return self.broker.submit(effect)
        if type(effect) is CancelOrder:
            self.made["cancel"] += 1
            return self.broker.cancel(effect)
        assert type(effect) is ReplaceOrder
        self.made["replace"] += 1
        return self.broker.replace(effect)

    async def _ended(self, effect: Request) -> object:
        try:
            async with asyncio.timeout(self._ack_wait_s):
                return await self._request(effect)
        except Exception as error:  # noqa: BLE001 - the port's word: an exception is an unknown
            return described(error)

    async def _carry_out(self, call: Call) -> None:
        effect = call.effect
        assert not isinstance(effect, LookupOrder)
        now_ns = call.port.now_ns()
        if self._left_ns(call, now_ns) <= 0:
            self._answer(call, self._unsent(call))
            return
        left_ns = effect.not_after_ns - now_ns
        if effect.sent_ns:
            # Past the absence grace a lookup may prove that there is no such order.
            left_ns = min(left_ns, effect.sent_ns + self._ack_wait_ns - now_ns)
        wait_s = min(self._ack_wait_s, left_ns / NS_PER_S)
        if call.batch:
            self.made["cancel_batch"] += 1
            request = cast(BatchCanceller, self.broker).cancel_batch(call.batch)
            self._answer_each(call, await self._bounded(call, request, wait_s))
            return
        result = await self._bounded(call, self._request(effect), wait_s)
        self._answer(call, result)

    def _answer_each(self, call: Call, result: object) -> None:
        """Give each order of a batch its own outcome; what was left open nobody knows."""
        if isinstance(result, str):
            self._answer(call, Unknown(text=result))
            return
        if not isinstance(result, list | tuple) or len(result) > len(call.batch):
            text = f"{len(call.batch)} cancels in one call were answered by what is for others"
            self._answer(call, Unknown(text=text))
            return
        left_out = [_LEFT_OUT] * (len(call.batch) - len(result))
        for effect, told in zip(call.batch, (*result, *left_out), strict=True):
            self._tell(call.port, effect, told)

    def _left_ns(self, call: Call, now_ns: int) -> int:
        """Return how much later a call may still begin, in nanoseconds."""
        effect = call.effect
        assert not isinstance(effect, LookupOrder)
        begin_ns = effect.not_after_ns
        if effect.sent_ns:
            wait_ns = self._ack_wait_ns - self._ack_wait_ns // ANSWER_SHARE
            begin_ns = min(begin_ns, effect.sent_ns + wait_ns)
        return begin_ns - now_ns

    def _is_late(self, call: Call) -> bool:
        return self._left_ns(call, call.port.now_ns()) <= 0

    def _unsent(self, call: Call) -> NotSent:
        late_ms = -self._left_ns(call, call.port.now_ns()) // NS_PER_MS
        text = f"{late_ms} ms too late to be sent: its turn had not come ({self._gate})"
        return NotSent(text=text, waited=True)

    def _answer(self, call: Call, told: object) -> None:
        assert not isinstance(call.effect, LookupOrder)
        for effect in call.batch or (call.effect,):
            self._tell(call.port, effect, told)

    def _tell(self, port: DeskPort, effect: Request, told: object) -> None:
        answer = answer_of(effect, told, self.mistyped)
        outcome = answer.outcome
        self.ended[type(outcome).__name__] += 1
        if type(outcome) is NotSent:
            self._gate.pause(outcome.retry_after_ms)
        self.routing.answered(port, answer)
        if type(effect) is CancelOrder and effect.batch:
            waited = type(outcome) is NotSent and outcome.waited
            self._count_down(port, effect.batch, waited=waited)

    def _count_down(self, port: DeskPort, batch: int, *, waited: bool) -> None:
        """Poll once a whole sweep was answered: what its cancels left behind is seen at once.

        Cancels that only waited for their turn come back, and are counted anew then.
        """
        key = (port.prefix, batch)
        left = self._sweeps.pop(key, 0) - 1
        if left > 0:
            self._sweeps[key] = left
        elif left == 0 and not waited:
            self.resync()

    async def _look_up(self, call: Call | Turn) -> None:
        if isinstance(call, asyncio.Future):
            if not call.done():
                call.set_result(None)
            return
        effect = self._questions.begin(call)
        self.made["lookup"] += 1
        asked_ns = call.port.now_ns()
        result = await self._bounded(call, self.broker.lookup(effect), self._ack_wait_s)
        looked = Looked(
            number=effect.number,
            attempt=effect.attempt,
            asked_ns=asked_ns,
            result=lookup_of(result, self.mistyped),
        )
        self.routing.looked(call.port, looked)

    async def _bounded(self, call: Call, request: Coroutine[Any, Any, Any], wait_s: float) -> Any:
        """Return what a request gave, or a text on why nobody knows.

        One timer sweeps over all calls: setting and clearing one for each costs more than most
        calls, and only a call that is cut off needs to know.
        """
        task = call.task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        call.until = loop.time() + wait_s
        self._calls[call] = None
        self._arm(loop, call.until)
        try:
            return await request
        except asyncio.CancelledError:
            if not call.expired and (self._closing or task.cancelling()):
                raise
            text = "the call was cancelled" if not call.expired else "no answer in time"
        except Exception as error:  # noqa: BLE001 - the port's word: an exception is an unknown
            text = described(error)
        finally:
            self._calls.pop(call, None)
            if call.expired:
                task.uncancel()
        _log.warning("%s of order %d: %s", type(call.effect).__name__, call.effect.number, text)
        return text

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that a call whose turn does not come is answered before it is given up."""
        for lane in self._timed_lanes:
            for first in lane.heads():
                left_ns = self._left_ns(first, first.port.now_ns())
                wait_s = max(left_ns / NS_PER_S, _LOOK_APART_S)
                self._arm(loop, loop.time() + wait_s)

    def _arm(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._sweep is not None:
            if self._sweep.when() <= when:
                return
            self._sweep.cancel()
        self._sweep = loop.call_at(when, partial(self._cut_off, loop))

    def _cut_off(self, loop: asyncio.AbstractEventLoop) -> None:
        """End every call whose time is over, begun or not, and set the timer for the next one."""
        self._sweep = None
        for lane in self._timed_lanes:
            for waiting in lane.drop(self._is_late):
                self._answer(waiting, self._unsent(waiting))
        now = loop.time()
        later: list[float] = []
        for call in self._calls:
            if call.expired:
                continue
            if call.until > now:
                later.append(call.until)
            elif call.task is not None:
                call.expired = True
                call.task.cancel()
        if later:
            self._arm(loop, min(later))
        self._watch(loop)

    def statistics(self) -> dict[str, int]:
        """Return counters of calls, outcomes, the rate, polls, the stream, and the unclaimed."""
        counters = {f"calls_{name}": count for name, count in self.made.items()}
        counters |= {f"answers_{name.lower()}": count for name, count in self.ended.items()}
        counters |= {f"{lane.name.rpartition('-')[2]}_waiting": len(lane) for lane in self._lanes}
        counters["calls_in_flight"] = len(self._calls)
        counters |= self._gate.statistics()
        return counters | self._feeding.statistics() | self.routing.statistics()


def _is_withdrawn(call: Call) -> bool:
    effect = call.effect
    return type(effect) is SubmitOrder and not call.port.wants(effect.number)
