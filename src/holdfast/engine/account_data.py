"""What the account may spend and holds, asked seldom and told to every desk that shares it.

Rule 1: one question is out at a time, and whoever needs its answer shares it. An answer serves
until its time to live is over or something happened that it cannot know of: a fill, or an order
that is gone.
Rule 2: after that the account is asked again unbidden, soon but never in a hurry, and every desk
is told the figure together with what it had opened by then.
Rule 3: where several desks share the account, each is told the figure less what the others have
open, or opened since it was asked; and told anew, seldom, when that grew. Between two such words
two desks may still promise the same money: the broker refuses the second.
Rule 4: an error is raised to those who asked. Nobody else is held up by it; it is counted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Final, Protocol

from msgspec import Struct

from holdfast.clock import NS_PER_MS
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.events import (
    AnyEvent,
    ExecutionCorrected,
    ExternalAdopted,
    OrderAdopted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    OrderSubmitted,
    ReplaceRequested,
)
from holdfast.domain.inputs import AccountSeen, Input
from holdfast.domain.values import ZERO, amount, rounded_add, rounded_mul, rounded_sub
from holdfast.engine.masking import described
from holdfast.engine.sifting import Drop, figures_of
from holdfast.errors import Closed, OrderStatusError
from holdfast.ports import AccountFigures, Broker

_log = logging.getLogger("holdfast.account")

TTL_MS: Final = 5_000
# A question that is not answered by then is given up.
ASK_WAIT_MAX_S: Final = 10.0
# Two questions are at least so far apart, however much is going on; callers who insist may ask.
ASK_APART_MIN_S: Final = 1.0
# Deposits and other people's orders show without anything happening here.
ASK_EVERY_S: Final = 60.0
# How often at most a desk is told what the others opened meanwhile.
SHARE_APART_MIN_S: Final = 0.25
# A failed question is repeated after a wait that doubles.
RETRY_FIRST_S: Final = 2.0
RETRY_MAX_S: Final = 60.0

# What moves money or frees what was reserved.
_MOVES: Final = frozenset(
    {
        OrderFilled,
        ExecutionCorrected,
        OrderCanceled,
        OrderExpired,
        OrderRejected,
        OrderReplaced,
    }
)


# What reserves more of it.
_RESERVES: Final = frozenset(
    {OrderSubmitted, OrderAdopted, ExternalAdopted, OrderReplaced, ReplaceRequested}
)


class AccountView(Struct, frozen=True, kw_only=True):
    """The account as its broker told it.

    `buying_power` is in the account's currency, None where the broker does not tell it;
    `positions` are signed quantities by symbol; `asked_ns` is when the question left.
    """

    buying_power: Decimal | None
    positions: dict[str, Decimal]
    asked_ns: int
    age_ms: int


class _Told(Struct, frozen=True):
    """A figure as it is for one desk: when it asked, and what it had opened by then."""

    amount: Decimal
    asked_ns: int
    opened: Decimal


class AccountDesk(Protocol):
    """What is needed of a desk's runner."""

    desk: Desk
    on_durable: Callable[[Sequence[AnyEvent]], None] | None

    def now_ns(self) -> int:
        """Return desk time."""
        ...

    def word(self, said: Input) -> None:
        """Take what the shell has to say."""
        ...


class AccountData:
    """The figures of one account. A broker that does not tell any is never asked."""

    def __init__(
        self,
        broker: Broker,
        capabilities: Capabilities,
        now_ns: Callable[[], int],
        ttl_ms: int = TTL_MS,
        turn: Callable[[], Awaitable[None]] | None = None,
        mistyped: Drop | None = None,
    ) -> None:
        """Ask nothing yet; `turn` waits until the account's rate lets a question out.

        `mistyped` takes figures that are not of the declared types, which are an error as well.
        """
        self._turn = turn
        self._mistyped = mistyped or (lambda _said, _why: None)
        teller = getattr(broker, "account", None) if capabilities.account_data else None
        self._ask: Callable[[], Awaitable[AccountFigures]] | None = teller
        self._now_ns = now_ns
        self._ttl_ms = ttl_ms
        self._desks: list[AccountDesk] = []
        self._latest: AccountView | None = None
        self._told: dict[AccountDesk, _Told] = {}
        self._sharing: asyncio.TimerHandle | None = None
        self._shared_at = 0.0  # in seconds of the loop
        self._begun = self._answered = 0  # the newest question, and the newest that was answered
        self._wanted = 1  # the first question whose answer knows of all that happened
        self._asking: asyncio.Task[AccountView] | None = None
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.failed = self.invalidated = 0

    def attach(self, desk: AccountDesk) -> None:
        """Tell a desk what the account may spend, and hear from it what changes that."""
        if self._ask is not None:
            self._desks.append(desk)
            desk.on_durable = self.heard

    def detach(self, desk: AccountDesk) -> None:
        """Tell a closed desk nothing more."""
        if desk in self._desks:
            self._desks.remove(desk)
            self._told.pop(desk, None)
            desk.on_durable = None

    def start(self) -> None:
        """Begin to ask by itself, the first time at once."""
        if self._ask is not None:
            self._due.set()
            self._task = asyncio.create_task(self._refresh(), name="account")

    async def close(self) -> None:
        """End every question."""
        self._closed = True
        if self._sharing is not None:
            self._sharing.cancel()
        tasks = [task for task in (self._task, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def heard(self, events: Sequence[AnyEvent]) -> None:
        """Take durable events of a desk: some of them make the figures out of date."""
        is_shared = len(self._told) > 1 and self._sharing is None and not self._closed
        if is_shared and any(type(event) in _RESERVES for event in events):
            loop = asyncio.get_running_loop()
            when = self._shared_at + SHARE_APART_MIN_S
            if loop.time() >= when:
                self._share()
            else:
                self._sharing = loop.call_at(when, self._share)
        if self._wanted <= self._begun and any(type(event) in _MOVES for event in events):
            self.invalidate()

    def invalidate(self) -> None:
        """Let no answer serve any more that was asked for before now."""
        if self._wanted <= self._begun:
            self._wanted = self._begun + 1
            self.invalidated += 1
        self._due.set()

    async def get(self, *, fresh: bool = False) -> AccountView:
        """Return the figures: those known where they still serve, else asked for now.

        With `fresh` the question leaves after this call. Giving up the call ends no question.

        Raises:
            OrderStatusError: the broker tells no figures, or could not be asked.
            Closed: nobody is asked any more.
        """
        wanted = self._begun + 1 if fresh else self._wanted
        if not fresh and self._latest is not None and self._answered >= wanted:
            shown = self._aged(self._latest)
            if shown.age_ms <= self._ttl_ms:
                return shown
            wanted = max(wanted, self._answered + 1)
        while True:
            number, asking = self._question()
            try:
                answer = await asyncio.shield(asking)
            except asyncio.CancelledError:
                if self._closed and asking.cancelled():
                    raise self._refusal() from None
                raise
            except Exception as error:
                if number >= wanted:
                    raise OrderStatusError(
                        f"the account could not be asked: {described(error)}; "
                        "look at the connection and ask again",
                        code="ACCOUNT_UNKNOWN",
                    ) from error
                continue
            if number >= wanted:
                return self._aged(answer)

    def statistics(self) -> dict[str, int]:
        """Return counters, and the age of the figures in milliseconds; -1 without any."""
        return {
            "asked": self._begun,
            "failed": self.failed,
            "invalidated": self.invalidated,
            "age_ms": -1 if self._latest is None else self._aged(self._latest).age_ms,
        }

    def _refusal(self) -> Closed:
        return Closed("the account is not asked any more; open the order manager again")

    def _aged(self, view: AccountView) -> AccountView:
        return AccountView(
            buying_power=view.buying_power,
            positions=view.positions,
            asked_ns=view.asked_ns,
            age_ms=(self._now_ns() - view.asked_ns) // NS_PER_MS,
        )

    def _question(self) -> tuple[int, "asyncio.Task[AccountView]"]:
        """Return the question that is out, or let one out."""
        if self._asking is None or self._asking.done():
            if self._closed:
                raise self._refusal()
            if self._ask is None:
                raise OrderStatusError(
                    "this broker tells neither buying power nor positions of the account; "
                    "look at positions(), which are the desk's own",
                    code="ACCOUNT_UNKNOWN",
                )
            self._begun += 1
            self._asking = asyncio.create_task(self._asked(self._ask), name="account question")
            self._asking.add_done_callback(_seen)
        return self._begun, self._asking

    async def _asked(self, ask: Callable[[], Awaitable[AccountFigures]]) -> AccountView:
        number = self._begun
        try:
            async with asyncio.timeout(ASK_WAIT_MAX_S):
                if self._turn is not None:
                    await self._turn()
                asked_ns = self._now_ns()
                opened = [(desk, desk.now_ns(), desk.desk.guard.opened) for desk in self._desks]
                figures = figures_of(await ask(), self._mistyped)
            power = figures.buying_power
            if power is not None:
                power = amount(power, "buying power", signed=True)
            latest = AccountView(
                buying_power=power,
                positions=dict(figures.positions),
                asked_ns=asked_ns,
                age_ms=0,
            )
        except Exception as error:
            self.failed += 1
            _log.warning("the account gave no figures: %s", described(error))
            raise
        self._answered, self._latest = number, latest
        if power is not None:
            here = [each for each in opened if each[0] in self._desks]
            self._told = {desk: _Told(power, at_ns, value) for desk, at_ns, value in here}
            self._share()
        return latest

    def _share(self) -> None:
        """Tell each desk the figure, less what the others have reserved of it."""
        if self._sharing is not None:
            self._sharing.cancel()
        self._sharing, self._shared_at = None, asyncio.get_running_loop().time()
        reserved = {desk: _reserved(desk.desk, told) for desk, told in self._told.items()}
        for desk, told in self._told.items():
            power = told.amount
            for other, value in reserved.items():
                if other is not desk:
                    power = rounded_sub(power, max(value, ZERO))
            desk.word(AccountSeen(buying_power=power, asked_ns=told.asked_ns, opened=told.opened))

    async def _refresh(self) -> None:
        retry_s = RETRY_FIRST_S
        while True:
            try:
                async with asyncio.timeout(ASK_EVERY_S):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self.get(fresh=True)
            except OrderStatusError:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)
                self._due.set()
                continue
            retry_s = RETRY_FIRST_S
            await asyncio.sleep(ASK_APART_MIN_S)


def _reserved(desk: Desk, told: _Told) -> Decimal:
    """Return what a desk has open that its account's figure does not know, and opened since."""
    exposure = desk.state.exposure
    knows = desk.capabilities.power_after_orders
    bound = exposure.uncovered(told.asked_ns) if knows else exposure.value
    bound = rounded_add(bound, rounded_sub(desk.guard.opened, told.opened))
    return rounded_mul(bound, desk.settings.policies.limits.margin_rate)


def _seen(asking: "asyncio.Task[AccountView]") -> None:
    """Take note of an error that nobody waited for; it is counted already."""
    if not asking.cancelled():
        asking.exception()
