"""Several desks in one journal, those of one broker account on one link.

Rule 1: an account begins to listen and to poll once all of its desks are attached; before that,
the orders of a desk that is still missing would be taken for nobody's.
Rule 2: what no desk placed goes to the account's *unclaimed* desk, which follows it and takes no
entries: an order in the account is exposure, whoever put it there.
Rule 3: closed is in order: the desks all together, then the links, the brokers, the journal. What
goes wrong on the way is told at the end, and keeps nothing else from being closed.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Generic, Literal, Self, TypeVar

from msgspec import Struct

from holdfast.clock import NS_PER_MS, Clock
from holdfast.domain.desk_events import DeskOpened
from holdfast.domain.policies import Policies
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, add
from holdfast.engine.account_data import TTL_MS
from holdfast.engine.budget import RateRules
from holdfast.engine.desk_parts import Account, Options, Parts
from holdfast.engine.elsewhere import Elsewhere
from holdfast.engine.manager import SHUTDOWN_S, Manager, check_ending
from holdfast.engine.quotes import QuoteBoard
from holdfast.engine.runner import Runner
from holdfast.errors import Closed, ConfigError, HoldfastError
from holdfast.journal.codec import decode
from holdfast.ports import Broker, Journal

_log = logging.getLogger("holdfast.desks")

UNCLAIMED: Final = "unclaimed-"
# A wire id begins with the twelve digits of its journal's epoch and a hyphen.
_EPOCH_LENGTH: Final = 12
# Names in wire ids whose epoch is remembered; strangers may make up any number of them.
EPOCHS_MAX: Final = 1_000

_M = TypeVar("_M", bound=Manager)


class AccountPlan(Struct, frozen=True, kw_only=True):
    """An account to open: its broker, its prices if there are any, and the desks that share it.

    `account_ttl_ms` is how long the account's figures serve, `close` is awaited once nobody uses
    the broker any more.
    """

    name: str
    broker: Broker
    desks: tuple[Options, ...]
    poll_interval_ms: int
    rate: RateRules = RateRules()
    account_ttl_ms: int = TTL_MS
    board: QuoteBoard | None = None
    unclaimed: bool = True
    close: Callable[[], Awaitable[None]] | None = None


class OpenDesks(Generic[_M]):
    """The managers of a journal's desks, by name. Use it as an `async with`, or `shutdown` it."""

    def __init__(
        self, journal: Journal, make: Callable[[Parts], _M], clock: Clock | None = None
    ) -> None:
        """Take over an open journal; it is closed with the desks."""
        self.journal = journal
        self.accounts: dict[str, Account] = {}
        self._make, self._clock = make, clock
        self._managers: dict[str, _M] = {}
        self._unclaimed: dict[str, _M] = {}
        self._of: dict[str, list[str]] = {}
        self._closes: list[Callable[[], Awaitable[None]]] = []
        self._epochs: OrderedDict[str, str] = OrderedDict()
        self._closing: asyncio.Task[None] | None = None

    async def add(self, plan: AccountPlan) -> None:
        """Open an account with all of its desks.

        Raises:
            InputError: a desk of the journal has another account, currency or mode.
            JournalError: a start could not be recorded. `abandon` what was opened, in either case.
        """
        if plan.close is not None:
            self._closes.append(plan.close)
        account = self.accounts[plan.name] = Account(
            plan.broker,
            name=plan.name,
            ack_wait_ms=min(each.settings.ack_wait_ms for each in plan.desks),
            poll_interval_ms=plan.poll_interval_ms,
            rate=plan.rate,
            account_ttl_ms=plan.account_ttl_ms,
            board=plan.board,
            clock=self._clock,
        )
        self._of[plan.name] = [options.desk for options in plan.desks]
        runners: list[Runner] = []
        for options in plan.desks:
            opened = await self._opened(account, options)
            runners.append(opened.runner)
            self._managers[options.desk] = self._make(opened)
        if plan.unclaimed:
            parts = await self._opened(account, _for_unclaimed(plan))
            self._unclaimed[plan.name] = self._make(parts)
            account.link.routing.adopt_into(
                parts.runner,
                quiet_ns=max(o.settings.absence_grace_ms for o in plan.desks) * NS_PER_MS,
                is_ours=self._is_ours,
            )
            Elsewhere(parts.runner, runners)
        account.start()

    async def _opened(self, account: Account, options: Options) -> Parts:
        parts = Parts(self.journal, account, options, self._clock, shared=True)
        try:
            await parts.open()
        except BaseException:
            await parts.abandon()
            raise
        return parts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def __getitem__(self, name: str) -> _M:
        """Return the manager of a desk; ConfigError names the desks there are."""
        for managers in (self._managers, self._unclaimed_by_desk):
            if name in managers:
                return managers[name]
        raise ConfigError(f"there is no desk {name!r} here; there are: {', '.join(self.names)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._managers)

    def __len__(self) -> int:
        return len(self._managers)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the desks, without the unclaimed ones."""
        return tuple(self._managers)

    @property
    def _unclaimed_by_desk(self) -> dict[str, _M]:
        return {UNCLAIMED + account: each for account, each in self._unclaimed.items()}

    def desks_of(self, account: str) -> tuple[str, ...]:
        """Return the names of an account's desks, without the unclaimed one."""
        return tuple(self._of[self._account(account)])

    def unclaimed(self, account: str) -> _M | None:
        """Return the manager of what no desk of the account placed; None where it is not kept."""
        return self._unclaimed.get(self._account(account))

    async def positions(self, account: str) -> dict[str, Decimal]:
        """Return what an account should hold by symbol: the sum over all of its desks.

        Raises:
            Closed: one of them is shut down, and what its orders do since is not known.
        """
        managers = [self._managers[name] for name in self.desks_of(account)]
        unclaimed = self.unclaimed(account)
        if unclaimed is not None:
            managers.append(unclaimed)
        if closed := [each.name for each in managers if not each.is_open]:
            raise Closed(
                f"what account {account} should hold is not known, as desk {closed[0]} of it is "
                "shut down and its orders may still fill; ask before it is, or ask each desk"
            )
        held: dict[str, Decimal] = {}
        for manager in managers:
            for symbol, position in (await manager.positions()).items():
                held[symbol] = add(held.get(symbol, ZERO), position.quantity)
        return held

    def _account(self, name: str) -> str:
        if name not in self.accounts:
            known = ", ".join(self.accounts)
            raise ConfigError(f"there is no account {name!r} here; there are: {known}")
        return name

    async def shutdown(
        self,
        mode: Literal["leave", "cancel", "flatten"] = "leave",
        *,
        timeout: float = SHUTDOWN_S,
    ) -> None:
        """Shut down every desk as `OrderManager.shutdown` does, then what they share.

        What nobody here placed is left as it is, whatever the mode. A second call may ask the desks
        for more, as with one manager; otherwise it does nothing.

        Raises:
            InputError: an unknown mode, or no time to wait; nothing was begun.
            Closed: it is too late for some desk to cancel or flatten, as an earlier call asked for
                less; the others did.
        """
        check_ending(mode, timeout)
        faults: list[BaseException] = []
        if self._closing is None:
            work = self._shut(mode, timeout)
            self._closing = asyncio.create_task(work, name="shutdown of all desks")
        elif mode != "leave":
            managers = self._managers.values()
            faults = await _all_of([each.shutdown(mode, timeout=timeout) for each in managers])
        await asyncio.shield(self._closing)
        if faults:
            raise faults[0]

    async def _shut(self, mode: Literal["leave", "cancel", "flatten"], timeout: float) -> None:
        ends = [each.shutdown(mode, timeout=timeout) for each in self._managers.values()]
        faults = await _all_of(ends)
        faults += await _all_of(
            [each.shutdown(timeout=timeout) for each in self._unclaimed.values()]
        )
        faults += await self._disconnected()
        closed = asyncio.get_running_loop().run_in_executor(None, self.journal.close)
        faults += await _all_of([closed])
        if faults:
            raise faults[0]

    async def abandon(self) -> None:
        """Drop everything as a crash would: nothing is waited for, the journal is left alone."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._drop(), name="abandon all desks")
        await self._closing

    async def _drop(self) -> None:
        managers = [*self._managers.values(), *self._unclaimed.values()]
        await _all_of([each.abandon() for each in managers])
        await self._disconnected()

    async def _disconnected(self) -> list[BaseException]:
        """Close the links, then the brokers behind them."""
        faults = await _all_of([account.close() for account in self.accounts.values()])
        return faults + await _all_of([close() for close in self._closes])

    def _is_ours(self, wire_id: str) -> bool:
        """Tell whether a desk of this journal sent an order, though it is not open now."""
        owner = wire_id[: wire_id.rfind("-") + 1]
        epoch, hyphen, name = (
            owner[:_EPOCH_LENGTH],
            owner[_EPOCH_LENGTH : _EPOCH_LENGTH + 1],
            owner[_EPOCH_LENGTH + 1 : -1],
        )
        if hyphen != "-" or not name:
            return False
        if name not in self._epochs:
            self._epochs[name] = self._epoch_of(name)
            if len(self._epochs) > EPOCHS_MAX:
                self._epochs.popitem(last=False)
        return epoch == self._epochs[name]

    def _epoch_of(self, desk: str) -> str:
        if not self.journal.head(desk).seq:
            return ""
        try:
            opened = decode(next(iter(self.journal.records(desk))))
        except (HoldfastError, StopIteration) as error:
            _log.warning("the first record of desk %s cannot be read: %s", desk, error)
            return ""
        return opened.epoch if isinstance(opened, DeskOpened) else ""


def _for_unclaimed(plan: AccountPlan) -> Options:
    """Return how the unclaimed desk of an account is opened: it never acts on its own."""
    first = plan.desks[0]
    instruments = {each.symbol: each for options in plan.desks for each in options.instruments}
    return Options(
        desk=UNCLAIMED + plan.name,
        account=first.account,
        currency=first.currency,
        mode=first.mode,
        instruments=tuple(instruments.values()),
        settings=Settings(
            ack_wait_ms=first.settings.ack_wait_ms,
            absence_grace_ms=first.settings.absence_grace_ms,
            policies=Policies(profile="exits_only"),
        ),
        snapshot_every=first.snapshot_every,
        emergency_path=first.emergency_path,
    )


async def _all_of(work: Sequence[Awaitable[object]]) -> list[BaseException]:
    """Wait for all; return what was raised."""
    faults: list[BaseException] = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            _log.error("closing: %s", result, exc_info=result)
            faults.append(result)
    return faults
