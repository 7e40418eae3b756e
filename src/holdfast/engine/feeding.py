"""What a broker account tells unasked and asked: its stream, kept open, and its polls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.reports import Report
from holdfast.engine.intake import Intake
from holdfast.engine.masking import described
from holdfast.engine.routing import Routing
from holdfast.engine.sifting import poll_of
from holdfast.errors import Closed
from holdfast.ports import Broker, Unreadable, UnreadableTeller

_log = logging.getLogger("holdfast.link")

# A poll reads pages; past this it is given up and asked anew.
POLL_WAIT_MAX_S: Final = 30.0
# Two polls are at least so far apart, however often somebody asks for one.
POLL_APART_MIN_S: Final = 0.5
# A failed poll is repeated sooner than the interval has it, but not in a hurry.
POLL_RETRY_S: Final = 2.0
# A stream is opened anew after a wait that doubles, and begins anew once it held so long.
LISTEN_RETRY_FIRST_S: Final = 0.5
LISTEN_RETRY_MAX_S: Final = 30.0
LISTEN_HELD_S: Final = 60.0
# A stream that was opened anew tells everything from then on at the latest.
LISTEN_SETTLED_S: Final = 5.0
# A report of an order that nobody knows is polled for after so long: its answer is on its way.
EARLY_WAIT_S: Final = 5.0


class Feeding:
    """Two tasks per account: one listens, one polls, each poll when `turn` lets it."""

    def __init__(
        self,
        broker: Broker,
        routing: Routing,
        poll_interval_ms: int,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._routing = routing
        self._turn = turn
        self._interval_s = poll_interval_ms * NS_PER_MS / NS_PER_S
        self._due = asyncio.Event()
        self._waiters: list[asyncio.Future[bool]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._early: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None
        self.reports = self.gaps = self.polls = self.polls_failed = self.listens = 0
        self.defects = 0
        self.last_poll: float | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self.intake = Intake(self._loop.time, alert=routing.alert, ask=self.poll_soon)
        routing.on_early = self._ask_later
        routing.on_mistyped = self.intake.mistyped
        if isinstance(broker, UnreadableTeller):
            broker.tell_unreadable(self.intake.drop)

    def start(self) -> None:
        """Begin both; the first poll leaves at once."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="listen"),
            asyncio.create_task(self._poll(), name="poll"),
        ]

    def poll_soon(self) -> None:
        """Poll as soon as may be."""
        self._due.set()

    async def poll_now(self) -> bool:
        """Poll as soon as may be, and tell whether that gave all that there is.

        Raises:
            Closed: nobody is asked any more.
        """
        if self._closed:
            raise account_closed()
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._due.set()
        return await waiter

    async def close(self) -> None:
        """End both."""
        self._closed = True
        for timer in (self._early, self._settling):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(account_closed())
        self._waiters.clear()

    def statistics(self) -> dict[str, int]:
        """Return counters of the stream and of the polls."""
        age_ms = -1
        if self.last_poll is not None:
            age_ms = int((asyncio.get_running_loop().time() - self.last_poll) * 1_000)
        return {
            "reports": self.reports,
            "report_defects": self.defects,
            "stream_gaps": self.gaps,
            "stream_starts": self.listens,
            "polls": self.polls,
            "polls_failed": self.polls_failed,
            "last_poll_age_ms": age_ms,
            **self.intake.statistics(),
        }

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = LISTEN_RETRY_FIRST_S
        while True:
            began = loop.time()
            self.listens += 1
            if self.listens > 1:
                self._resync()
            try:
                await self._broker.listen(self._on_report, self._on_gap)
                reason = "it ended"
            except Exception as error:  # noqa: BLE001 - whatever ended the stream, it is reopened
                reason = described(error)
            if loop.time() - began >= LISTEN_HELD_S:
                retry_s = LISTEN_RETRY_FIRST_S
            _log.warning("the stream is opened anew in %.1f s: %s", retry_s, reason)
            self._on_gap()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LISTEN_RETRY_MAX_S)

    def _on_report(self, report: Report) -> None:
        self.reports += 1
        try:
            if not self._routing.reported(report):
                self._on_gap()
        except Exception:  # noqa: BLE001 - a report that cannot be routed must not end the stream
            self.defects += 1
            _log.exception("a report could not be taken; a poll will tell what it said")
            self.intake.drop(Unreadable(reason="report_defect", sample=repr(report)))

    def _unread(self, said: object, why: str) -> None:
        if not self._routing.unread(said, why):
            self._on_gap()

    def _ask_later(self) -> None:
        """Poll for what came of an order that nobody knows, once its answer should be here."""
        if self._early is None and not self._closed:
            self._early = self._loop.call_later(EARLY_WAIT_S, self._ask_early)

    def _ask_early(self) -> None:
        self._early = None
        if self._routing.must_ask:
            self._due.set()

    def _resync(self) -> None:
        """Ask what was missed while no stream stood, and again once it is subscribed for sure."""
        self._due.set()
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._loop.call_later(LISTEN_SETTLED_S, self._due.set)

    def _on_gap(self) -> None:
        self.gaps += 1
        self._due.set()

    async def _poll(self) -> None:
        while True:
            await self._turn()
            self._due.clear()
            found = await self._poll_once()
            await asyncio.sleep(POLL_APART_MIN_S)
            wait_s = self._interval_s if found else min(POLL_RETRY_S, self._interval_s)
            try:
                async with asyncio.timeout(max(0.0, wait_s - POLL_APART_MIN_S)):
                    await self._due.wait()
            except TimeoutError:
                pass

    async def _poll_once(self) -> bool:
        """Ask once and hand out what came; False where that was not all there is."""
        waiters, self._waiters = self._waiters, []
        answered = False
        try:
            answered = await self._ask()
        finally:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(answered)
        return answered

    async def _ask(self) -> bool:
        asked = {port.prefix: port.now_ns() for port in self._routing.ports}
        self.polls += 1
        try:
            async with asyncio.timeout(POLL_WAIT_MAX_S):
                told = await self._broker.poll()
            found = poll_of(told, self._unread)
            self._routing.polled(found, asked)
        except Exception as error:  # noqa: BLE001 - an account that cannot be read is read later
            self.polls_failed += 1
            _log.warning("the poll gave nothing: %s", described(error))
            return False
        if not found.complete:
            # What it told was taken; what it left out is not known to be gone.
            self.polls_failed += 1
            _log.warning("the poll was incomplete; it is repeated")
            return False
        self.last_poll = asyncio.get_running_loop().time()
        return True


def account_closed() -> Closed:
    """Return the error for whoever asks an account whose link is closed."""
    return Closed("the account is not asked any more; open the order manager again")
