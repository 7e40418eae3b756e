"""Brackets and the end of a process: killed after any write, or shut down in any way."""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal as D
from random import Random
from typing import Any, Final

import pytest

from holdfast.domain import events as e
from holdfast.domain.group import Phase
from holdfast.errors import HoldfastError
from holdfast.journal.memory import Done, MemoryJournal, Store
from holdfast.ports import Batch
from holdfast.testing.brokered import both
from holdfast.testing.group_stage import KINDS, LATE, REST_S, SYMBOL, Stage
from holdfast.testing.scripted import crash
from holdfast.testing.world import virtual
from holdfast.venue.faults import FaultKind
from holdfast.wiring import OrderManager

DOWN_S: Final = 3.0
EVERY_BROKER = pytest.mark.parametrize("kind", KINDS)
WHO: Final[dict[str, Any]] = {"by": "ann", "reason": "the news"}


class DyingJournal(MemoryJournal):
    """A journal whose process dies once so many batches are durable.

    Either nobody is told of the last one, so that nothing follows from it, or its effects begin
    and no later batch is ever written.
    """

    def __init__(self, store: Store, batches: int | None = None, *, told: bool = True) -> None:
        super().__init__(store)
        self._left, self._told = batches, told
        self.is_dead = asyncio.Event()
        self.written = 0

    def append(self, batch: Batch, done: Done) -> None:
        if self.is_dead.is_set():
            return
        self.written += 1
        if self.written == self._left:
            self.is_dead.set()
            if not self._told:
                assert self._take(batch) is None
                return
        super().append(batch, done)

    def close(self) -> None:
        """What waits is lost, as with the process."""
        self.crash()


async def market(stage: Stage) -> None:
    """Trade with the account whether or not its desk runs: 3 in, 1 out by the target."""
    for wait_s, role, quantity, price in (
        (1.0, "entry", 1, "100"),
        (1.5, "entry", 2, "100"),
        (3.5, "target", 1, "110"),
    ):
        await asyncio.sleep(wait_s)
        try:
            stage.fill(role, quantity, price)
        except LookupError:  # not there, or less of it
            continue


async def people(stage: Stage, manager: OrderManager) -> None:
    """Place a bracket, move its stop, and close what is left of it."""
    await stage.bracket(manager, entry_timeout=0)
    await asyncio.sleep(4)
    for order in await manager.orders(finished=False):
        if order.stop_price is not None and stage.can.native_replace:
            await manager.replace_order(order.client_order_id, stop_price="96")
            break
    await asyncio.sleep(4)
    await manager.close_group(1, **WHO)
    await asyncio.sleep(4)


async def die(
    stage: Stage, journal: DyingJournal, act: Callable[[Stage, OrderManager], Any]
) -> None:
    """Let a desk live until its journal dies, or for as long as the act goes on."""
    managers: list[OrderManager] = []

    async def life() -> None:
        async with stage.desk(journal, dies=True) as manager:
            managers.append(manager)
            await act(stage, manager)

    living = asyncio.create_task(life())
    dying = asyncio.create_task(journal.is_dead.wait())
    await asyncio.wait({living, dying}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.1)  # what the last batch led to is on its way
    for manager in managers:
        await crash(manager)
    for task in (living, dying):
        task.cancel()
    await asyncio.gather(living, dying, return_exceptions=True)
    stage.store.owned = False


async def check_rest(stage: Stage, manager: OrderManager) -> None:
    """What is held is protected by a stop and a target for just that; the books agree."""
    assert stage.position() >= 0
    assert min(stage.held, default=D(0)) >= 0
    resting = stage.working()
    entering = {"entry": resting["entry"]} if "entry" in resting else {}
    assert resting == both(stage.position()) | entering
    await stage.check_books(manager)
    open_groups = await manager.groups(closed=False)
    resting_phases = {Phase.PROTECTED} if stage.position() else {Phase.ENTERING}
    assert {group.phase for group in open_groups} <= resting_phases


async def life_and_death(kind: str, batches: int | None, *, told: bool = True) -> int:
    """Live a bracket's life, die at a write, and come to rest in a second life."""
    stage = Stage(kind)
    journal = DyingJournal(stage.store, batches, told=told)
    trading = asyncio.create_task(market(stage))
    await die(stage, journal, people)
    await asyncio.sleep(DOWN_S)
    async with stage.desk() as manager:
        await trading
        await asyncio.sleep(2 * REST_S)
        await check_rest(stage, manager)
        was_placed = bool(stage.events(e.GroupOpened))
        assert bool(await manager.groups()) is was_placed
        for group in await manager.groups(closed=False):
            await manager.close_group(group.group, **WHO)
        await asyncio.sleep(2 * REST_S)
        assert (stage.position(), stage.working()) == (0, {})
        await check_rest(stage, manager)
    # What went out last may take the grace for absence to be known not to have arrived.
    assert stage.naked_s < 20 + DOWN_S
    return journal.written


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
@EVERY_BROKER
def test_a_crash_after_any_write_loses_nothing_and_sends_nothing_twice(
    kind: str, told: bool
) -> None:
    """Dead after each write, its effects begun or not: found again, protected once (85, P2, P6)."""

    @virtual
    async def whole() -> None:
        written.append(await life_and_death(kind, None))

    @virtual
    async def cut(batches: int) -> None:
        await life_and_death(kind, batches, told=told)

    written: list[int] = []
    whole()
    assert written[0] > 12
    for batches in range(1, written[0] + 1):
        try:
            cut(batches)
        except AssertionError as error:
            error.add_note(f"dead after batch {batches} of {written[0]}")
            raise


# Anything, anywhere, and crashes in between.


class World:
    """A venue of some kind that goes on whatever happens; a desk is opened and killed over it."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        kind = self.draw.choice(list(KINDS))
        self.stage = Stage(kind, rates=dict.fromkeys(FaultKind, 0.04), seed=seed)
        self.deaths = 0

    def trade(self) -> None:
        """Let one order that works trade, whichever it is."""
        role = self.draw.choice(("entry", "entry", "stop", "target"))
        working = self.stage.working().get(role)
        if working:
            self.stage.fill(role, min(working, self.draw.choice((1, 1, 3))))

    async def ask(self, manager: OrderManager) -> None:
        """Ask for one thing; what is refused is refused."""
        draw, known = self.draw, await manager.groups(closed=False)
        groups = [group for group in known if group.contingency == "bracket"]
        what = draw.choice(("bracket", "bracket", "close", "move", "cancel", "position"))
        orders = await manager.orders(finished=False)
        try:
            if what == "bracket":
                side = draw.choice(("buy", "buy", "sell"))
                type_ = draw.choice(("limit", "limit", "market"))
                await self.stage.bracket(manager, side, draw.randint(1, 4), entry_type=type_)
            elif what == "close" and groups:
                await manager.close_group(draw.choice(groups).group, **WHO)
            elif what == "position":
                await manager.close_position(SYMBOL, quantity=1, **WHO)
            elif what == "cancel":
                await manager.cancel_all_open_orders(**WHO, timeout=0)
            elif orders and what == "move":
                order = draw.choice(orders)
                price = "stop_price" if order.stop_price is not None else "limit_price"
                if (now := getattr(order, price)) is not None:
                    moved = now + draw.choice((-1, 1))
                    await manager.replace_order(order.client_order_id, **{price: moved})
        except HoldfastError:
            pass

    async def live(self, *, ends: bool) -> None:
        """Open the desk, ask for things while the market trades, and die or come to rest."""
        async with self.stage.desk(dies=not ends) as manager:
            for _ in range(self.draw.randint(3, 15)):
                await self.ask(manager)
                for _ in range(self.draw.randint(0, 2)):
                    await asyncio.sleep(self.draw.choice((0.01, 0.3, 2, 9)))
                    self.trade()
            self.deaths += not ends
            if ends:
                self.stage.faults.enabled = False
                await asyncio.sleep(15 * REST_S)
                await self.check(manager)

    async def check(self, manager: OrderManager) -> None:
        """What is held is protected once, and can be closed; the books agree at each rest."""
        stage = self.stage
        held, working = abs(stage.position()), stage.working()
        assert working.get("stop", 0) == held
        given_up = [a for a in stage.events(e.AlertRaised) if a.code == "TARGET_REFUSED"]
        assert working.get("target", 0) == held or given_up
        assert set(working) <= {"stop", "target"}
        await stage.check_books(manager)
        for group in await manager.groups(closed=False):
            assert group.phase is Phase.PROTECTED
            await manager.close_group(group.group, **WHO)
        await asyncio.sleep(3 * REST_S)
        await stage.check_gone(manager)


# In three of the last an exit's fill is told before its entry's while another group holds a part of
# the position, and an excess is being undone, or somebody has that other group closed; in the
# fourth a trade is told while an answer that does not count it yet is on its way.
ONCE_BROKEN = (363, 826, 2080156, 2220249)


@pytest.mark.parametrize("seeds", [range(20), range(20, 40), range(40, 60), ONCE_BROKEN])
def test_whatever_fails_what_is_held_is_protected_at_rest(seeds: Iterable[int]) -> None:
    """64 worlds of all faults and three crashes each: protected once, then flat (85, P3, P6)."""

    @virtual
    async def case(seed: int) -> None:
        world = World(seed)
        for _ in range(3):
            await world.live(ends=False)
            await asyncio.sleep(world.draw.choice((0.1, 5, 60)))
        await world.live(ends=True)

    for seed in seeds:
        try:
            case(seed)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


# The ways to end on purpose.


async def entered(stage: Stage, manager: OrderManager, filled: int) -> int:
    """Let a bracket of three fill so far; return its number."""
    group = await stage.enter(manager, filled, entry_timeout=0)
    await manager.wait_group(group.group, "protected", timeout=REST_S)
    await asyncio.sleep(1)
    return group.group


AT_KINDS = pytest.mark.parametrize(
    ("kind", "filled"),
    [(kind, filled) for kind in KINDS for filled in (1, 3) if filled == 3 or kind not in LATE],
)


@AT_KINDS
@pytest.mark.parametrize("how", ["cancel all", "kill switch", "leave", "cancel"])
@virtual
async def test_protection_stands_whatever_is_cancelled(kind: str, filled: int, how: Any) -> None:
    """Entries go, stop and target stay at the venue, and the next start knows them (112)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await entered(stage, manager, filled)
        if how == "cancel all":
            await manager.cancel_all_open_orders(**WHO)
        elif how == "kill switch":
            await manager.engage_kill_switch(**WHO)
        else:
            await manager.shutdown(how)
        await asyncio.sleep(5)
    assert stage.sent("cancel", "stop") == stage.sent("cancel", "target") == 0
    left = {"entry": D(3 - filled)} if how == "leave" and filled < 3 else {}
    assert stage.working() == both(filled) | left
    async with stage.desk() as manager:
        await asyncio.sleep(REST_S)
        assert stage.working() == both(filled) | left
        assert (await manager.group(group)).phase is Phase.PROTECTED
        await stage.check_books(manager)
        stage.fill("stop", filled)
        await asyncio.sleep(REST_S)
        assert (stage.position(), stage.working()) == (0, {})
    assert stage.sent("submit", "exit") == 0
    assert not [swept for swept in stage.events(e.OrdersSwept) if swept.unprotected]


@AT_KINDS
@pytest.mark.parametrize("how", ["kill switch", "shutdown", "flatten"])
@virtual
async def test_what_is_to_be_flat_is_flat_and_names_who_wanted_it(
    kind: str, filled: int, how: str
) -> None:
    """The same act closes the position, once, and the journal has who and why (112)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await entered(stage, manager, filled)
        if how == "kill switch":
            await manager.engage_kill_switch(**WHO, action="flatten")
        elif how == "shutdown":
            await manager.shutdown("flatten")
        else:
            await manager.flatten(SYMBOL, **WHO)
        await asyncio.sleep(REST_S)
    async with stage.desk() as manager:
        await asyncio.sleep(REST_S)
        await stage.check_gone(manager)
        assert (await manager.group(group)).phase is Phase.CLOSED
    by = "shutdown" if how == "shutdown" else "ann"
    assert {begun.by for begun in stage.events(e.FlattenStarted)} == {by}
    assert stage.held == {D(0), D(filled)}


@AT_KINDS
@virtual
async def test_protection_goes_where_somebody_says_so(kind: str, filled: int) -> None:
    """Nothing works any more and nothing is placed again; the journal has who (112)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await entered(stage, manager, filled)
        await manager.cancel_all_open_orders(**WHO, leave_unprotected=True)
        await asyncio.sleep(2 * REST_S)
        assert (stage.position(), stage.working()) == (filled, {})
        await stage.check_books(manager)
    async with stage.desk() as manager:
        await asyncio.sleep(REST_S)
        assert (stage.position(), stage.working()) == (filled, {})
        await manager.close_position(SYMBOL, **WHO, wait="closed")
        await asyncio.sleep(REST_S)
        await stage.check_gone(manager)
    (swept,) = [swept for swept in stage.events(e.OrdersSwept) if swept.unprotected]
    assert (swept.by, swept.reason) == ("ann", "the news")
