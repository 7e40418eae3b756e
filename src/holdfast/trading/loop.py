"""The trading loop: teams side by side, and the way out.

Each team is a task of its own with a pace of its own; what ends one does not end another. The way
out is in order: no more entries, wait for what is in flight, then leave what works, cancel it or
flatten, compare the books. Every step of it is bounded and survives the failure of the one before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, TypeVar

from msgspec import Struct

from holdfast.domain.values import ZERO
from holdfast.engine.desks import OpenDesks
from holdfast.engine.manager import Manager
from holdfast.engine.views import OrderView
from holdfast.errors import HoldfastError
from holdfast.trading.team import Team

_log = logging.getLogger("holdfast.trading")

# How long a team may need to end its cycle, an exit to be confirmed, and the books to agree.
STOP_S: Final = 5.0
EXIT_S: Final = 10.0
BOOKS_S: Final = 5.0
_LOOK_S: Final = 0.05

_M = TypeVar("_M", bound=Manager)
OnExit: TypeAlias = Literal["leave", "cancel", "flatten"]


class BookRow(Struct, frozen=True, kw_only=True):
    """A symbol of an account: what its desks hold together, and what the account says."""

    account: str
    symbol: str
    ours: Decimal
    broker: Decimal

    @property
    def is_same(self) -> bool:
        """Whether the two agree."""
        return self.ours == self.broker


class TradingLoop:
    """Runs teams until it is told to stop."""

    def __init__(self, teams: Sequence[Team]) -> None:
        """Run these teams."""
        self.teams = tuple(teams)

    async def run(self, stop: asyncio.Event, *, duration_s: float | None = None) -> None:
        """Let all teams trade until `stop` is set or the time is over, then stop them.

        A team's cycle that has not ended `STOP_S` seconds later is cut off; its orders go on.
        """
        tasks = [asyncio.create_task(team.run(), name=f"team {team.name}") for team in self.teams]
        try:
            await _waited(stop, tasks, duration_s)
        finally:
            for team in self.teams:
                team.stop()
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_S)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for team, error in zip(self.teams, ended, strict=True):
            if isinstance(error, Exception):
                _log.warning("team %s ended: %s", team.name, error)


async def leave(
    managers: Mapping[str, Manager], on_exit: OnExit, *, timeout: float = EXIT_S
) -> list[str]:
    """Bring all desks to where `on_exit` says, and return a remark on each thing left open.

    "leave" leaves orders working, "cancel" cancels all but those that protect a position,
    "flatten" closes positions too. A desk for which that fails is remarked on; the others go on.
    """
    remarks = [_left(name, manager, on_exit, timeout) for name, manager in sorted(managers.items())]
    return [text for remark in await asyncio.gather(*remarks) for text in remark]


async def compare_books(desks: OpenDesks[_M], *, timeout: float = BOOKS_S) -> list[BookRow] | None:
    """Compare, per account and symbol, the sum of the desks' positions with the account's own.

    They are compared until they agree, `timeout` seconds at most, for a report may still be on its
    way. None where no account tells its positions.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while True:
        rows = await _books(desks)
        if rows is None or all(row.is_same for row in rows) or loop.time() >= end:
            return rows
        await asyncio.sleep(_LOOK_S)


async def _waited(
    stop: asyncio.Event, tasks: Sequence["asyncio.Task[None]"], duration_s: float | None
) -> None:
    """Wait for the stop, the end of the time, or the end of every team."""
    stopped = asyncio.create_task(stop.wait())
    teams = asyncio.gather(*tasks, return_exceptions=True)
    waiting: list[asyncio.Future[Any]] = [stopped, teams]
    try:
        await asyncio.wait(waiting, timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


async def _left(name: str, manager: Manager, on_exit: OnExit, timeout: float) -> list[str]:
    remarks: list[str] = []
    if on_exit == "cancel":
        await _tried(name, "cancel all", _cancelled(manager, timeout), remarks)
    elif on_exit == "flatten":
        await _tried(name, "flatten", _flattened(manager, timeout), remarks)
    await _tried(name, "list what is open", _open(manager), remarks)
    return [f"{name}: {text}" for text in remarks]


async def _tried(name: str, step: str, work: Awaitable[list[str]], remarks: list[str]) -> None:
    """Do one step of the way out; what it raises is a remark, and the next step comes."""
    try:
        remarks += await work
    except HoldfastError as error:
        remarks.append(f"could not {step}: {error}")
    except Exception as error:  # noqa: BLE001 - one step must not end the others
        _log.exception("desk %s: a defect in %s on the way out", name, step)
        remarks.append(f"could not {step}: {type(error).__name__}: {error}")


async def _cancelled(manager: Manager, timeout: float) -> list[str]:
    results = await manager.cancel_all_open_orders(
        by="shutdown", reason="the run ends", timeout=timeout
    )
    return [
        f"the cancel of order {result.client_order_id} is {result.outcome}: {result.text}".rstrip(
            ": "
        )
        for result in results
        if result.outcome in {"failed", "pending"}
    ]


async def _flattened(manager: Manager, timeout: float) -> list[str]:
    await manager.flatten(by="shutdown", reason="the run ends")
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while True:
        held = {
            symbol: position.quantity
            for symbol, position in (await manager.positions()).items()
            if position.quantity
        }
        if not held and not await manager.orders(finished=False):
            return []
        if loop.time() >= end:
            return [
                f"{quantity} {symbol} are not closed yet; the next start goes on with it"
                for symbol, quantity in held.items()
            ]
        await asyncio.sleep(_LOOK_S)


async def _open(manager: Manager) -> list[str]:
    return [_remark(order) for order in await manager.orders(finished=False)]


def _remark(order: OrderView) -> str:
    text = f"order {order.client_order_id} is still {order.status}"
    if order.broker_order_id:
        return f"{text} at the broker ({order.broker_order_id})"
    return f"{text} and has no broker order id; the next start looks it up"


async def _books(desks: OpenDesks[_M]) -> list[BookRow] | None:
    rows: list[BookRow] = []
    is_told = False
    for account in desks.accounts:
        told = await _account_positions(desks[desks.desks_of(account)[0]])
        if told is None:
            continue
        is_told = True
        ours = await desks.positions(account)
        rows += [
            BookRow(
                account=account,
                symbol=symbol,
                ours=ours.get(symbol, ZERO),
                broker=told.get(symbol, ZERO),
            )
            for symbol in sorted({*told, *ours})
        ]
    return rows if is_told else None


async def _account_positions(manager: Manager) -> dict[str, Decimal] | None:
    try:
        return (await manager.account(fresh=True)).positions
    except HoldfastError as error:
        account = (await manager.health()).account
        _log.warning("what account %s holds is not known: %s", account, error)
        return None
