"""The parts of an open desk: put together in the one order that works, and closed in reverse."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from holdfast import __version__
from holdfast.clock import NS_PER_S, Clock, SystemClock, new_epoch
from holdfast.domain.inputs import ClockStep, Connected, Define, Open, Resume
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.account_data import TTL_MS, AccountData
from holdfast.engine.audit import audit
from holdfast.engine.budget import RateRules
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.emergency import EmergencyLog
from holdfast.engine.halted import HaltedDesk
from holdfast.engine.jsonl import JsonlFiles
from holdfast.engine.link import AccountLink
from holdfast.engine.masking import described
from holdfast.engine.quotes import QuoteBoard, QuoteFollower
from holdfast.engine.recovery import recover
from holdfast.engine.runner import Mode, Runner
from holdfast.engine.subscribers import Subscribers
from holdfast.errors import InputError
from holdfast.ports import Broker, Journal

_log = logging.getLogger("holdfast.manager")

POLL_INTERVAL_MS: Final = 15_000
SNAPSHOT_EVERY: Final = 20_000
# How often the wall clock is compared with desk time, and a suspended machine noticed.
LOOK_S: Final = 1.0
# Desk time that went by between two looks while the loop's did not: the machine was suspended.
SUSPENDED_MIN_NS: Final = 10 * NS_PER_S


class Options(Struct, frozen=True, kw_only=True):
    """How a desk is opened; see `holdfast.wiring.OrderManager.open`.

    `files` is the folder under which the desk keeps its JSONL files, None for none;
    `config_digest` tells in their rows which configuration the desk ran under.
    """

    desk: str = "main"
    account: str = "paper"
    currency: str = "USD"
    mode: Literal["dry_run", "paper", "live"] = "paper"
    instruments: Sequence[Instrument] = ()
    settings: Settings = Settings()
    poll_interval_ms: int = POLL_INTERVAL_MS
    snapshot_every: int = SNAPSHOT_EVERY
    emergency_path: Path | None = None
    files: Path | None = None
    config_digest: str = ""
    epoch: str = ""


class Account:
    """A broker account as its desks share it: the link, the latest prices, and its figures."""

    def __init__(  # noqa: PLR0913 - each is a choice of its own, all by name
        self,
        broker: Broker,
        *,
        name: str,
        ack_wait_ms: int,
        poll_interval_ms: int,
        rate: RateRules | None = None,
        account_ttl_ms: int = TTL_MS,
        board: QuoteBoard | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Connect nothing yet; `ack_wait_ms` is the shortest of the desks', none may wait longer.

        A broker that itself follows quotes (`quoted`) is told them before the desks are.
        """
        self.name = name
        self.link = AccountLink(
            broker,
            account=name,
            ack_wait_ms=ack_wait_ms,
            poll_interval_ms=poll_interval_ms,
            rate=rate,
        )
        self.board = board
        time = DeskTime(clock or SystemClock())
        self.data = AccountData(
            broker,
            broker.capabilities,
            time.now_ns,
            account_ttl_ms,
            turn=self.link.turn,
            mistyped=self.link.mistyped,
        )
        if board is not None and isinstance(broker, QuoteFollower):
            board.follow(broker)

    def attach(self, runner: Runner) -> None:
        """Serve a desk: its orders, its prices, and what it may spend."""
        self.link.attach(runner)
        if self.board is not None:
            self.board.follow(runner)
        if self.link.broker.capabilities.account_data:
            self.data.attach(runner)

    def detach(self, runner: Runner) -> None:
        """Send nothing more of a closed desk, and tell it no more prices.

        Its orders stay known as its own.
        """
        self.link.detach(runner)
        if self.board is not None:
            self.board.unfollow(runner)
        self.data.detach(runner)

    def start(self) -> None:
        """Begin to listen, to poll and to watch, once every desk is attached.

        Orders of a desk that is attached later would be taken for nobody's.
        """
        self.link.start()
        if self.board is not None:
            self.board.start()
        self.data.start()

    async def close(self) -> None:
        """End every task; a call in flight is left with an unknown outcome."""
        board = [self.board.close] if self.board is not None else []
        await _each([self.link.close, self.data.close, *board])


class Parts:
    """Everything behind one manager."""

    def __init__(
        self,
        journal: Journal,
        account: Account,
        options: Options,
        clock: Clock | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """Fold the desk; nothing is sent or asked before `open`.

        Account and journal belong to these parts and are closed with them, unless they are
        `shared` with other desks: then whoever opened them starts and closes them.

        Raises:
            JournalDamaged, JournalVersionError: the journal cannot be folded.
        """
        recovered = recover(journal, options.desk, options.settings)
        self._options = options
        self._time = DeskTime(clock or SystemClock(), recovered.at_ns)
        self._loop = asyncio.get_running_loop()
        self.name = options.desk
        self.journal = journal
        self.runner = Runner(
            journal,
            options.desk,
            recovered,
            self._time,
            settings=options.settings,
            snapshot_every=options.snapshot_every,
        )
        self.account = account
        self.link = account.link
        self._shared = shared
        self.subscribers = Subscribers(self.runner.feed, self._loop)
        self.files = self._make_files()
        log = EmergencyLog(options.emergency_path)
        self.halted = HaltedDesk(self.runner, self.link, log, options.settings)
        self._owed = bool(log.owed())
        self._looking: asyncio.TimerHandle | None = None
        self._looked = (self._loop.time(), self._time.now_ns())
        self._adopting: asyncio.Task[None] | None = None
        self._was_halted = False

    async def open(self) -> None:
        """Record the start, define the instruments, and connect to the broker.

        Raises:
            InputError: the journal's desk has another account, currency or mode.
            JournalError: the start could not be recorded.
        """
        runner, options = self.runner, self._options
        runner.perform = self.link.perform
        runner.on_missed = self.link.resync
        runner.on_mode = self._on_mode
        runner.word(Connected(self.link.broker.capabilities))
        if runner.durable_seq == 0:
            await runner.command(
                Open(
                    desk=options.desk,
                    epoch=options.epoch or new_epoch(),
                    account=options.account,
                    currency=options.currency,
                    mode=options.mode,
                    version=__version__,
                    config=options.config_digest,
                )
            )
        else:
            self._check_desk()
            await runner.command(
                Resume(
                    wall_offset_ns=self._time.wall_offset_ns,
                    version=__version__,
                    config=options.config_digest,
                )
            )
        runner.prefix = f"{runner.desk.epoch}-{runner.desk.name}-"
        if self._owed:
            self._adopt()
        for instrument in options.instruments:
            await runner.command(Define(instrument))
        self.account.attach(runner)
        if not self._shared:
            self.account.start()
        self._look()
        if self.files is not None:
            self.files.start()

    def _make_files(self) -> JsonlFiles | None:
        options = self._options
        if options.files is None:
            return None
        return JsonlFiles(
            options.files / self.name,
            self.runner.feed,
            self.journal,
            self.name,
            audit=audit,
        )

    async def close(self) -> None:
        """Close in order: the broker first, then the desk, those who listen, and the journal.

        What is shared stays open: other desks use it. A part that fails keeps no other from being
        closed; the first fault is raised at the end.
        """
        self._stop()
        ends: list[Callable[[], Awaitable[object]]] = [self.runner.close]
        if not self._shared:
            ends.insert(0, self.account.close)
        if self.files is not None:
            ends.append(self.files.close)
        ends.append(self.subscribers.close)
        if not self._shared:
            ends.append(lambda: self._loop.run_in_executor(None, self.journal.close))
        self._leave()
        await _each(ends)

    async def abandon(self) -> None:
        """Stop everything at once; what was not durable is gone. The journal is left alone."""
        self._stop()
        self._leave()
        self.runner.stop()
        ends: list[Callable[[], Awaitable[object]]] = []
        if self.files is not None:
            ends.append(self.files.abandon)
        if not self._shared:
            ends.append(self.account.close)
        await _each(ends)

    def _leave(self) -> None:
        """Send nothing from here on, though the desk may still decide something."""
        self.runner.perform = lambda _effects, _port: None
        self.account.detach(self.runner)

    def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._adopting is not None:
            self._adopting.cancel()

    def _check_desk(self) -> None:
        desk, options = self.runner.desk, self._options
        for what, found, given in (
            ("account", desk.account, options.account),
            ("currency", desk.currency, options.currency),
            ("mode", desk.state.stored.mode, options.mode),
        ):
            if found != given:
                raise InputError(
                    f"desk {options.desk!r} of this journal has {what} {found!r}, not {given!r}; "
                    "give what it was opened with, or open another desk"
                )

    def _on_mode(self, mode: Mode) -> None:
        if mode is Mode.HALTED:
            self._was_halted = True
        elif mode is Mode.RUNNING and self._was_halted:
            self._was_halted = False
            self._adopt()

    def _adopt(self) -> None:
        if self._adopting is None or self._adopting.done():
            self._adopting = self._loop.create_task(self.halted.adopt(), name="adopt")

    def _look(self) -> None:
        """Compare the clocks: a set wall clock is told to the desk, a suspended machine polls."""
        loop_s, desk_ns = self._looked
        self._looked = (self._loop.time(), self._time.now_ns())
        passed_ns = int((self._looked[0] - loop_s) * NS_PER_S)
        if self._looked[1] - desk_ns - passed_ns > SUSPENDED_MIN_NS:
            _log.warning("this machine was suspended; the account is polled anew")
            self.link.resync()
            self.runner.nudge()
        offset_ns = self._time.wall_step()
        if offset_ns is not None:
            self.runner.word(ClockStep(wall_offset_ns=offset_ns))
        self._looking = self._loop.call_later(LOOK_S, self._look)


async def _each(ends: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """End parts in order, whatever the ones before raised; then raise the first fault."""
    faults: list[Exception] = []
    for end in ends:
        try:
            await end()
        except Exception as error:  # noqa: BLE001 - what is still open is closed all the same
            _log.error("closing: %s", described(error), exc_info=error)
            faults.append(error)
    if faults:
        raise faults[0]
