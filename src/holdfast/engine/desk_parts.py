"""The parts of an open desk: put together in the one order that works, and closed in reverse."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_S, Clock, SystemClock, new_epoch
from holdfast.domain.inputs import ClockStep, Connected, Define, Open, Resume
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.engine.desk_time import DeskTime
from holdfast.engine.emergency import EmergencyLog
from holdfast.engine.halted import HaltedDesk
from holdfast.engine.link import AccountLink
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
    """How a desk is opened; see `holdfast.wiring.open_manager`."""

    desk: str = "main"
    account: str = "paper"
    currency: str = "USD"
    instruments: Sequence[Instrument] = ()
    settings: Settings = Settings()
    poll_interval_ms: int = POLL_INTERVAL_MS
    snapshot_every: int = SNAPSHOT_EVERY
    emergency_path: Path | None = None
    epoch: str = ""


class Parts:
    """Everything behind one manager."""

    def __init__(
        self, journal: Journal, broker: Broker, options: Options, clock: Clock | None = None
    ) -> None:
        """Fold the desk; nothing is sent or asked before `open`.

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
        self.link = AccountLink(
            broker,
            account=options.account,
            ack_wait_ms=options.settings.ack_wait_ms,
            poll_interval_ms=options.poll_interval_ms,
        )
        self.subscribers = Subscribers(self.runner.feed, self._loop)
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
            InputError: the journal's desk has another account or another currency.
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
                )
            )
        else:
            self._check_desk()
            await runner.command(Resume(wall_offset_ns=self._time.wall_offset_ns))
        runner.prefix = f"{runner.desk.epoch}-{runner.desk.name}-"
        for instrument in options.instruments:
            await runner.command(Define(instrument))
        self.link.attach(runner)
        self.link.start()
        self._look()
        if self._owed:
            self._adopt()

    async def close(self) -> None:
        """Close in order: the broker first, then the desk, those who listen, and the journal."""
        self._stop()
        await self.link.close()
        await self.runner.close()
        await self.subscribers.close()
        await self._loop.run_in_executor(None, self.journal.close)

    async def abandon(self) -> None:
        """Stop everything at once; what was not durable is gone. The journal is left alone."""
        self._stop()
        self.runner.stop()
        await self.link.close()

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
