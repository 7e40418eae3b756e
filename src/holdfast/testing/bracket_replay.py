"""Brackets over a recorded order flow: `python -m holdfast.testing.bracket_replay TAPE [--help]`

The tape's orders rest and trade in the paper venue (see `venue/tape_market.py`). Several accounts,
each of a broker of its own kind and with a desk and a journal of its own, trade brackets along, all
in virtual time at the pace of the tape. When the tape ends the market stands still, everything is
closed, and each journal, folded anew, is compared with the venue's books.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.brokers.paper import PaperBroker
from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.group import Phase
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.settings import Settings
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.bracket_books import Figures, Watch, differences, figures, folded
from holdfast.testing.bracket_trader import Habits, Trader
from holdfast.testing.brokered import BROKER_KINDS
from holdfast.testing.world import VirtualClock, VirtualLoop
from holdfast.venue.fees import Fees
from holdfast.venue.flow import Execution, Operation
from holdfast.venue.latency import Latency
from holdfast.venue.matching import SelfTrade
from holdfast.venue.paper import Venue
from holdfast.venue.seeded import draw
from holdfast.venue.tape import Tape, open_tape
from holdfast.venue.tape_market import TapeMarket
from holdfast.wiring import OrderManager

KINDS: Final = ("plain", "brackets", "late_brackets", "pairs")
BEAT_MS: Final = 5_000
FEES: Final = Fees(per_unit=Decimal("1.18"))
# Traders begin once the auction that opens the market is over.
_BEGIN_NS: Final = NS_PER_S
_REQUEST_MS, _REPORT_MS, _JITTER_MS = 15, 20, 30
_LEAVE_MAX_S: Final = 120
_LEAVES_MAX: Final = 3
_LOOK_S: Final = 0.5
_SETTLED_S: Final = 30
_WRONG_MAX: Final = 10
_AT_REST: Final = frozenset({Phase.ENTERING, Phase.PROTECTED, Phase.CLOSED})
_CLOSED_OR_PROTECTED: Final = frozenset({Phase.PROTECTED, Phase.CLOSED})
_NO_LIMITS: Final = Settings(policies=Policies(limits=Limits.none()))


class Plan(Struct, frozen=True, kw_only=True):
    """What to do: kinds of brokers by name, for how many seconds of the tape (None: all of it).

    `self_trade` says which order the venue ends where an account would trade with itself: with
    entries of other brackets resting, that may be the exit of one.
    """

    kinds: tuple[str, ...] = KINDS
    seconds: float | None = None
    beat_ms: int = BEAT_MS
    seed: int = 1
    self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST
    habits: Habits = Habits()


class AccountResult(Struct, frozen=True, kw_only=True):
    """One account at the end.

    `unsettled` are phases, other than protected ones, in which groups were a while after the
    tape's end; `left` what worked or was held after everything was closed. `differences` names
    all that is not the same in the journal and at the venue. `digest` is the hash that the
    journal's chain ends with.
    """

    kind: str
    did: dict[str, int]
    figures: Figures
    orders: int
    executions: int
    venue_naked_max_ms: int
    unsettled: tuple[str, ...]
    left: tuple[str, ...]
    differences: tuple[str, ...]
    records: int
    digest: str


class Result(Struct, frozen=True, kw_only=True):
    """All accounts, and the tape: operations played, and those of orders that were traded away."""

    operations: int
    missed: int
    accounts: tuple[AccountResult, ...]


class _TapeTime:
    """The time of the tape, which is that of the running virtual loop."""

    def __init__(self, clock: VirtualClock) -> None:
        self.now_ns = clock.wall_ns

    async def sleep(self, duration_ns: int, /) -> None:
        await asyncio.sleep(duration_ns / NS_PER_S)


class _Desk:
    """One account with its desk and its trader."""

    def __init__(self, kind: str, world: "_World") -> None:
        self.kind, self.journal = kind, MemoryJournal()
        self._world, self._number = world, sorted(BROKER_KINDS).index(kind)
        self._unsettled: tuple[str, ...] = ()
        self._left: tuple[str, ...] = ()

    async def open(self, stack: AsyncExitStack) -> None:
        world = self._world
        self._broker = PaperBroker(
            world.venue,
            self.kind,
            capabilities=BROKER_KINDS[self.kind],
            latency=Latency(
                seed=draw(world.plan.seed, self.kind),
                request_ns=_REQUEST_MS * NS_PER_MS,
                answer_ns=_REQUEST_MS * NS_PER_MS,
                report_ns=_REPORT_MS * NS_PER_MS,
                jitter_ns=_JITTER_MS * NS_PER_MS,
            ),
            delays=world.time,
        )
        self._watch = Watch(world.venue, self.kind, world.instrument.symbol)
        stack.push_async_callback(self._broker.aclose)
        self._manager = await stack.enter_async_context(
            OrderManager.open(
                journal=self.journal,
                broker=self._broker,
                desk=self.kind,
                account=self.kind,
                instruments=[world.instrument],
                settings=_NO_LIMITS,
                clock=world.clock,
                epoch=f"{self._number:012x}",
            )
        )
        self._trader = Trader(
            self._manager,
            lambda: world.venue.top(world.instrument.symbol),
            world.instrument,
            seed=draw(world.plan.seed, "trader", self.kind),
            habits=world.plan.habits,
        )

    async def trade(self) -> None:
        """Trade until cancelled."""
        while True:
            await self._trader.beat(self._world.clock.wall_ns())
            await asyncio.sleep(self._world.plan.beat_ms / 1_000)

    async def leave(self) -> None:
        """See that everything is protected, close it, and let the last figures come in."""
        await self._rested(_AT_REST)
        groups = await self._manager.groups(closed=False)
        self._unsettled = tuple(
            f"{each.group}: {each.phase}" for each in groups if each.phase not in _AT_REST
        )
        # A fill that overtook its entry's cancel is protected and not closed: it is asked again.
        for _ in range(_LEAVES_MAX):
            await self._trader.leave()
            await self._rested(_CLOSED_OR_PROTECTED)
        await asyncio.sleep(_SETTLED_S)
        groups = await self._manager.groups(closed=False)
        working = await self._manager.orders(finished=False)
        positions = (await self._manager.positions()).values()
        self._left = (
            *(f"group {each.group} is {each.phase}" for each in groups),
            *(f"{each.client_order_id} is {each.status}" for each in working),
            *(f"{each.quantity} {each.symbol} is held" for each in positions if each.quantity),
        )

    async def _rested(self, phases: frozenset[Phase]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _LEAVE_MAX_S
        while loop.time() < end:
            if all(each.phase in phases for each in await self._manager.groups(closed=False)):
                return
            await asyncio.sleep(_LOOK_S)

    def result(self) -> AccountResult:
        """Compare and sum up, once the manager is closed."""
        venue, instrument = self._world.venue, self._world.instrument
        orders = venue.orders(self.kind)
        head = self.journal.head(self.kind)
        return AccountResult(
            kind=self.kind,
            did=dict(sorted(self._trader.did.items())),
            figures=figures(folded(self.journal, self.kind)[0], instrument),
            orders=len(orders),
            executions=sum(len(order.fills) for order in orders),
            venue_naked_max_ms=self._watch.longest_ns // NS_PER_MS,
            unsettled=self._unsettled,
            left=self._left,
            differences=tuple(differences(self.journal, self.kind, venue, self.kind, instrument)),
            records=head.seq,
            digest=head.hash.hex(),
        )


class _World:
    """A venue that follows a tape, and the desks that trade on it."""

    def __init__(self, tape: Tape, plan: Plan, clock: VirtualClock) -> None:
        self.plan, self.clock, self.time = plan, clock, _TapeTime(clock)
        self.instrument = Instrument.of(tape.symbol, tick=tape.tick, multiplier=tape.multiplier)
        self.venue = Venue(fees=FEES, self_trade=plan.self_trade)
        self.venue.add_listing(self.instrument)
        self.market = TapeMarket(self.venue, tape.symbol)

    async def run(self, flow: Iterator[Operation], begin_ns: int) -> Result:
        plan = self.plan
        end_ns = begin_ns + int(plan.seconds * NS_PER_S) if plan.seconds is not None else None
        desks = [_Desk(kind, self) for kind in plan.kinds]
        async with AsyncExitStack() as stack:
            for desk in desks:
                await desk.open(stack)
            # The flow up to the beginning is history: it is there when the desks come.
            flow = self._played_at_once(flow, begin_ns)
            async with asyncio.TaskGroup() as tasks:
                trading = [tasks.create_task(desk.trade()) for desk in desks]
                await self._play(flow, end_ns)
                for task in trading:
                    task.cancel()
            await asyncio.gather(*(desk.leave() for desk in desks))
        return Result(
            operations=self.market.played,
            missed=self.market.crowd.missed,
            accounts=tuple(desk.result() for desk in desks),
        )

    def _played_at_once(self, flow: Iterator[Operation], until_ns: int) -> Iterator[Operation]:
        for operation in flow:
            if operation.at_ns >= until_ns:
                return chain([operation], flow)
            self.market.apply(operation)
        return flow

    async def _play(self, flow: Iterable[Operation], end_ns: int | None) -> None:
        for operation in flow:
            if end_ns is not None and operation.at_ns >= end_ns:
                return
            wait_ns = operation.at_ns - self.clock.wall_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / NS_PER_S)
            self.venue.advance(self.clock.wall_ns())
            self.market.apply(operation)


def replay(tape: Tape, plan: Plan | None = None) -> Result:
    """Trade brackets over a tape from its first trade on, in virtual time; equal plans end equal.

    Raises:
        TapeError: the file has changed since it was checked.
        KeyError: there is no broker of such a kind.
    """
    plan = plan or Plan()
    trades = (op.at_ns for op in tape.operations() if isinstance(op, Execution))
    begin_ns = next(trades, tape.first_ns) + _BEGIN_NS
    clock = VirtualClock(begin_ns)
    world = _World(tape, plan, clock)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(world.run(tape.operations(), begin_ns))


def told(result: Result) -> str:
    """Write the figures down for people."""
    lines = [f"{result.operations:,} operations, {result.missed:,} of orders traded away"]
    for each in result.accounts:
        lines += _lines(each)
    total = Counter[str]()
    for each in result.accounts:
        total.update(each.figures.ends)
    return "\n".join([*lines, f"all: {_counts(dict(sorted(total.items())))}", ""])


def _lines(account: AccountResult) -> Iterator[str]:
    found, wrong = account.figures, (*account.unsettled, *account.left, *account.differences)
    counts = f"{account.orders} orders, {account.executions} executions, {account.records} records"
    desk_ms = f"longest {found.unprotected_max_ms}, median {found.unprotected_median_ms:g}"
    yield f"{account.kind}: {found.brackets} brackets, {counts}"
    yield f"  did: {_counts(account.did)}"
    yield f"  brackets: {_counts(found.ends)}"
    yield f"  unprotected ms: {desk_ms}"
    yield f"  no stop at the venue, ms: longest {account.venue_naked_max_ms}, closing included"
    yield f"  profit: {_counts(found.profit)}"
    yield f"  not settled, left, or different: {len(wrong)}"
    yield from (f"    {text}" for text in wrong[:_WRONG_MAX])
    yield f"  digest {account.digest}"


def _counts(counted: "dict[str, int] | dict[str, Decimal]") -> str:
    return ", ".join(f"{name} {number}" for name, number in counted.items())


def main(arguments: Sequence[str]) -> int:
    """Replay as asked and write the figures to standard output; 1 where the books differ."""
    parser = argparse.ArgumentParser(description="Trade brackets over a tape of order flow.")
    parser.add_argument("tape", type=Path)
    parser.add_argument("--seconds", type=float, default=None, help="of the tape; all of it")
    parser.add_argument("--beat-ms", type=int, default=BEAT_MS, help="a bracket every so often")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=sorted(BROKER_KINDS), default=KINDS)
    ends = [str(each) for each in SelfTrade]
    parser.add_argument("--self-trade", choices=ends, default=str(SelfTrade.CANCEL_NEWEST))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    plan = Plan(
        kinds=tuple(given.kinds),
        seconds=given.seconds,
        beat_ms=given.beat_ms,
        seed=given.seed,
        self_trade=SelfTrade(given.self_trade),
    )
    result = replay(open_tape(given.tape), plan)
    sys.stdout.write(msgspec.json.encode(result).decode() if given.json else told(result))
    return int(any(e.differences or e.left or e.unsettled for e in result.accounts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
