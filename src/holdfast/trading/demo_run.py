"""The demonstration: a venue in this process, an order manager in another, and a real SIGKILL.

Rule 1: the order manager is killed at a moment when the venue has carried out a submit and a
cancel without answering, and has lost another submit. That is arranged, never hoped for.
Rule 2: whatever happens, the other process is ended by its own id, and the folder is removed.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Callable, Iterable
from os import environ, pathsep
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.clock import NS_PER_MS, NS_PER_S, SystemClock
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.trading import demo_desk
from holdfast.trading.demo_check import Verdict, compare, read_journal
from holdfast.trading.demo_desk import SETTLED, UNSETTLED, Job
from holdfast.trading.demo_follow import Follower, News, Tone, many
from holdfast.trading.demo_plan import ACCOUNT, DESK, Plan
from holdfast.trading.demo_venue import DemoVenue, Held

# How often the journal is read on.
LOOK_S: Final = 0.05
# A process that has not placed an order by then never will.
BOOT_MS: Final = 30_000
_ERRORS_SHOWN: Final = 2_000


class DemoError(RuntimeError):
    """The demonstration could not be carried out; the message says where it stopped."""


class Killed(Struct, frozen=True, kw_only=True):
    """What stood open when the process was killed.

    `unanswered` counts the requests that have left and have no answer, as the journal has them, by
    kind; `carried_out` those of them that the venue acted on while it was silent, `lost` those
    that it never saw; `fills_meanwhile` is what traded before the next process was started.
    """

    pid: int
    unanswered: dict[str, int]
    carried_out: dict[str, int]
    lost: int
    records: int
    fills_meanwhile: int = 0


class Result(Struct, frozen=True, kw_only=True):
    """How a demonstration went."""

    plan: Plan
    verdict: Verdict
    killed: Killed | None
    faults: dict[str, int]
    tally: dict[str, int]
    records: int
    seconds: float


class Demo:
    """One demonstration. What it is at can be read at any time while it runs."""

    def __init__(self, plan: Plan, tell: Callable[[News], None]) -> None:
        """Prepare it; `tell` gets the news, line by line."""
        self.plan = plan
        self.phase = "starting"
        self.pid = 0
        self.venue = DemoVenue(plan)
        self.follower = Follower("")
        self.killed: Killed | None = None
        self._tell = tell
        self._pace = plan.pace
        self._clock = SystemClock()
        self._began_ns = self._clock.boot_ns()
        self._folder = Path()
        self._process: Process | None = None
        self._problems: list[str] = []

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return (self._clock.boot_ns() - self._began_ns) / NS_PER_S

    async def run(self) -> Result:
        """Carry it out from beginning to end, and compare the books.

        Raises:
            DemoError: the other process failed, or did not get to where it should.
            InputError: the folder for temporary files has too long a path for a socket.
        """
        with TemporaryDirectory(prefix="holdfast-demo-") as folder:
            self._folder = Path(folder)
            self.follower = Follower(self._journal)
            try:
                await self.venue.start(self._socket)
                if self.plan.kill:
                    await self._first_life()
                    await self._dead()
                await self._last_life()
            finally:
                await self._end_process()
                await self.venue.aclose()
            return self._judged()

    @property
    def _journal(self) -> Path:
        return self._folder / "journal.db"

    @property
    def _socket(self) -> Path:
        return self._folder / "venue"

    async def _first_life(self) -> None:
        """Trade, let the venue fall silent, and kill the process while it waits for answers."""
        pace, broker = self._pace, self.venue.broker
        await self._start(trade_ms=0)
        await self._watch(pace.before_kill)
        self.venue.faults.enabled = False
        broker.fall_silent()
        silent = await self._watch(pace.hold, until=lambda: broker.is_silent)
        self._step("the venue falls silent: it works on, and no answer gets out")
        self.phase = "the venue keeps silent"
        if not silent or not await self._watch(pace.hold, until=lambda: broker.holds_enough):
            raise DemoError(
                f"in {pace.hold} ms there was no submit and cancel to be killed in: "
                f"{len(broker.unanswered)} unanswered, {len(broker.taken)} carried out"
            )
        await self._kill()

    async def _kill(self) -> None:
        process, broker = self._process, self.venue.broker
        assert process is not None
        process.kill()
        held = broker.unanswered
        carried_out = Counter(type(order) for order in broker.taken)
        lost = int(broker.lost is not None)
        await process.wait()
        self._process, self.pid = None, 0
        broker.speak()
        self._news()
        self._check_intents(held)
        unanswered = self.follower.unanswered
        self.killed = Killed(
            pid=process.pid,
            unanswered=dict(unanswered),
            carried_out={"submit": carried_out[SubmitOrder], "cancel": carried_out[CancelOrder]},
            lost=lost,
            records=self.follower.seq,
        )
        self.phase = "killed"
        submits, cancels = unanswered["submit"], unanswered["cancel"]
        self._step(
            f"SIGKILL to process {process.pid}: {many(submits, 'submit')} and "
            f"{many(cancels, 'cancel')} unanswered",
            Tone.KILL,
        )

    def _check_intents(self, held: Iterable[Held]) -> None:
        """See that whatever the venue was asked for stands in the journal of the killed process."""
        for each in held:
            order = self.follower.desk.state.peek(each.number)
            if order is None or each.wish > order.last_wish:
                text = f"the {each.kind} of order {each.number} went out without being journaled"
                self._problems.append(text)

    async def _dead(self) -> None:
        assert self.killed is not None
        before = self.venue.fills()
        await self._watch(self._pace.dead)
        fills = self.venue.fills() - before
        self.killed = msgspec.structs.replace(self.killed, fills_meanwhile=fills)
        heard = f"{many(fills, 'fill')} that nobody has heard of" if fills else "no fill of ours"
        self._step(f"the market goes on: {heard}")

    async def _last_life(self) -> None:
        """Start on the same journal, see it recover, let it trade on and end all its orders."""
        pace, follower = self._pace, self.follower
        if self.plan.kill:
            self.phase = "recovering"
            await self._start(trade_ms=pace.after_kill, resumes=True)
            if not await self._watch(pace.settle, until=lambda: not follower.owed):
                raise DemoError(f"{follower.owed} requests are still of unknown outcome")
            self._step("recovered: every request that the kill left open has its outcome")
            trade_ms = pace.after_kill
        else:
            trade_ms = pace.before_kill + pace.after_kill
            await self._start(trade_ms=trade_ms)
        self.phase = "trading, with timeouts"
        self.venue.faults.enabled = True
        await self._watch(trade_ms)
        self.venue.faults.enabled = False
        self.phase = "cancelling what is left"
        self._step("no more faults; all orders are cancelled")
        process = self._process
        assert process is not None
        ended = await self._watch(2 * pace.settle, until=lambda: process.returncode is not None)
        if not ended:
            raise DemoError(f"process {process.pid} did not end; its orders never settled")
        if process.returncode == UNSETTLED:
            self._problems.append("the order manager gave up waiting for its orders to end")
        self.phase = "comparing the books"

    async def _start(self, *, trade_ms: int, resumes: bool = False) -> None:
        """Start the order manager, and wait until it is at work."""
        job = Job(
            journal=str(self._journal),
            socket=str(self._socket),
            seed=self.plan.seed,
            pace=self._pace,
            trade_ms=trade_ms,
        )
        root = str(Path(demo_desk.__file__).parents[2])  # where the package itself was found
        paths = [root, *filter(None, [environ.get("PYTHONPATH")])]
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", demo_desk.__name__, msgspec.json.encode(job).decode()),
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=errors,
                env={**environ, "PYTHONPATH": pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
        self.pid = self._process.pid
        same = "opens the same journal" if resumes else "opens its journal and trades"
        self._step(f"order manager: process {self.pid} {same}")
        follower, seen = self.follower, self.follower.resumed
        orders = follower.desk.next_number

        def at_work() -> bool:
            return follower.resumed > seen if resumes else follower.desk.next_number > orders

        if not await self._watch(BOOT_MS, until=at_work):
            raise DemoError(f"process {self.pid} did not get to work in {BOOT_MS} ms")
        if not resumes:
            self.phase = "trading, with timeouts"

    @property
    def _errors(self) -> Path:
        return self._folder / "errors.txt"

    async def _watch(self, for_ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Follow the journal for a while, or until something is so; tells whether it was."""
        loop = asyncio.get_running_loop()
        end = loop.time() + for_ms * NS_PER_MS / NS_PER_S
        while True:
            self._news()
            self._check()
            if until is not None and until():
                return True
            if loop.time() >= end:
                return False
            await asyncio.sleep(LOOK_S)

    def _news(self) -> None:
        for news in self.follower.read():
            self._tell(news)

    def _check(self) -> None:
        """Raise where the market or the other process has failed."""
        self.venue.check()
        process = self._process
        if process is None or process.returncode in {None, SETTLED, UNSETTLED}:
            return
        said = self._errors.read_text(encoding="utf-8", errors="replace")[-_ERRORS_SHOWN:]
        raise DemoError(f"process {process.pid} ended with {process.returncode}: {said.strip()}")

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def _step(self, text: str, tone: Tone = Tone.STEP) -> None:
        self._tell(News(text, tone, notable=True))

    def _judged(self) -> Result:
        journaled = read_journal(self._journal, DESK)
        return Result(
            plan=self.plan,
            verdict=compare(journaled, self.venue.venue, ACCOUNT, self._problems),
            killed=self.killed,
            faults={kind.value: count for kind, count in self.venue.faults.injected.items()},
            tally=dict(self.follower.tally),
            records=journaled.records,
            seconds=round(self.seconds, 1),
        )
