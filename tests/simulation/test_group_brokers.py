"""Brackets at every kind of broker that the paper venue can play: the same promises at each."""

import asyncio
from decimal import Decimal as D
from typing import Final

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.group import Phase
from holdfast.domain.values import Status
from holdfast.errors import UnsupportedOrderTypeError
from holdfast.testing.brokered import both
from holdfast.testing.group_stage import (
    ACCOUNT,
    KINDS,
    LATE,
    REST_S,
    SYMBOL,
    Stage,
)
from holdfast.testing.world import virtual
from holdfast.venue.faults import FaultKind

EVERY_BROKER = pytest.mark.parametrize("kind", KINDS)
AT_EACH_FILL = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LATE])
NEITHER: Final = Capabilities(exits_share_quantity=False)


def refusals(stage: Stage) -> list[object]:
    """What the broker said no to."""
    rejected: list[object] = [*stage.events(e.OrderRejected)]
    return [*rejected, *stage.events(e.WishRefused)]


@EVERY_BROKER
@pytest.mark.parametrize("side", ["buy", "sell"])
@virtual
async def test_a_filled_entry_has_its_stop_and_target_at_the_venue(kind: str, side: str) -> None:
    """Both for what filled, each on its side and price; one ends, the other goes (scenario 62)."""
    stage = Stage(kind)
    low, high = (D(95), D(110)) if side == "buy" else (D(105), D(90))
    async with stage.desk() as manager:
        group = await stage.enter(manager, side=side)
        guarded = await manager.wait_group(group.group, "protected", timeout=2)
        await asyncio.sleep(2)
        (stop,), (target,) = stage.orders("stop"), stage.orders("target")
        assert (guarded.owed, stage.working()) == (3, both(3))
        assert (stop.snapshot().stop_price, target.snapshot().limit_price) == (low, high)
        assert stop.side is target.side is not stage.orders("entry", working=False)[0].side
        stage.fill("target", 3, high)
        closed = await manager.wait_group(group.group, "closed", timeout=REST_S)
        assert (stage.position(), stage.working(), closed.exited) == (0, {}, 3)
        await asyncio.sleep(REST_S)
        await stage.check_books(manager)
    assert stage.naked_s < 1


@AT_EACH_FILL
@virtual
async def test_protection_grows_and_shrinks_with_each_fill(kind: str) -> None:
    """1, 2, 3 entered, 1 out by the target, 2 by the stop: always just that works (62, 68)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await stage.bracket(manager, entry_timeout=0)
        await asyncio.sleep(1)
        for filled in (1, 2, 3):
            stage.fill("entry", 1)
            await asyncio.sleep(3)
            left = {"entry": D(3 - filled)} if filled < 3 else {}
            assert stage.working() == both(filled) | left
        stage.fill("target", 1, "110")
        await asyncio.sleep(3)
        assert stage.working() == both(2)
        stage.fill("stop", 2)
        await manager.wait_group(group.group, "closed", timeout=REST_S)
        assert (stage.position(), stage.working()) == (0, {})
        await asyncio.sleep(REST_S)
        await stage.check_books(manager)
    assert stage.naked_s < 1


@EVERY_BROKER
@pytest.mark.parametrize("told", [True, False])
@virtual
async def test_an_entry_out_of_time_leaves_exactly_its_fill_protected(
    kind: str, told: bool
) -> None:
    """One of three, and one more that no report tells of, then the end: re-read, protected (63)."""
    stage = Stage(kind)
    filled = 1 if told else 2
    async with stage.desk() as manager:
        group = await stage.enter(manager, 1, entry_timeout=4)
        await asyncio.sleep(2.9)
        if not told:
            stage.cut_stream(30)
            stage.fill("entry", 1)
        await asyncio.sleep(REST_S)
        assert (stage.position(), stage.working()) == (filled, both(filled))
        view = await manager.group(group.group)
        assert (view.phase, view.entered, view.owed) == (Phase.PROTECTED, filled, filled)
        assert view.entry is not None
        assert view.entry.status is Status.CANCELED
        await stage.check_books(manager)
    assert stage.naked_s < 12


@EVERY_BROKER
@pytest.mark.parametrize("by", ["timeout", "ann", "the venue"])
@virtual
async def test_an_entry_that_never_fills_leaves_nothing(kind: str, by: str) -> None:
    """Out of time, cancelled by somebody or by the broker: no exit ever could trade (64)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await stage.bracket(manager, entry_timeout=10)
        await asyncio.sleep(1)
        assert group.entry is not None
        if by == "ann":
            await manager.cancel_order(group.entry.client_order_id, by=by)
        elif by == "the venue":
            (entry,) = stage.orders("entry")
            stage.venue.finish(entry.broker_order_id, Status.CANCELED, "the venue")
        closed = await manager.wait_group(group.group, "closed", timeout=REST_S)
        assert (closed.entered, stage.venue.orders(ACCOUNT, working=True)) == (0, [])
        await asyncio.sleep(REST_S)
        await stage.check_books(manager)
        assert (await manager.orders(finished=False)) == []
    assert stage.sent("submit", "exit") == 0


@pytest.mark.parametrize("kind", sorted(LATE))
@virtual
async def test_a_part_whose_exits_wait_is_protected_by_our_own(kind: str) -> None:
    """The rest of the entry is cancelled before the bound; one pair stands for the part (63)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await stage.enter(manager, 1, entry_timeout=0)
        await asyncio.sleep(REST_S)
        assert (stage.position(), stage.working()) == (1, both(1))
        stage.fill("stop", 1)
        await asyncio.sleep(REST_S)
        await stage.check_gone(manager)
    assert stage.naked_s < 10


# Where a stop and a target may not rest for the same units.


@pytest.mark.parametrize("kind", [k for k, can in KINDS.items() if not can.exits_share_quantity])
@virtual
async def test_exits_that_may_not_share_are_never_refused_on_the_first_fill(kind: str) -> None:
    """Tied by the broker: no refusal and no flattening, from the first fill to the end (107)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await stage.bracket(manager, entry_timeout=0)
        await asyncio.sleep(1)
        for part in (1, 2):
            if stage.orders("entry"):
                stage.fill("entry", part)
                await asyncio.sleep(REST_S)
        assert stage.working() == both(int(stage.position()))
        assert (await manager.group(group.group)).phase is Phase.PROTECTED
        await stage.check_books(manager)
    assert refusals(stage) == []
    assert stage.sent("submit", "exit") == 0


@virtual
async def test_a_broker_that_can_neither_tie_nor_share_is_told_of_before_any_call() -> None:
    """A bracket and a pair are refused with what to do; an entry with a stop alone works (107)."""
    stage = Stage(NEITHER)
    async with stage.desk() as manager:
        with pytest.raises(UnsupportedOrderTypeError, match="place the entry with a stop alone"):
            await stage.bracket(manager)
        assert (stage.calls, await manager.groups()) == ([], [])
        await stage.bracket(manager, take_profit_price=None)
        await asyncio.sleep(1)
        for part in (1, 2):
            stage.fill("entry", part)
            await asyncio.sleep(3)
        assert stage.working() == {"stop": 3}
        with pytest.raises(UnsupportedOrderTypeError):
            await manager.place_oco_order(SYMBOL, "sell", 3, limit_price="110", stop_price="95")
        stage.fill("stop", 3)
        await asyncio.sleep(REST_S)
        await stage.check_gone(manager)
    assert refusals(stage) == []


# A link that is down.


@AT_EACH_FILL
@virtual
async def test_fills_while_the_stream_is_down_are_protected_when_it_is_back(kind: str) -> None:
    """Sixty seconds without a report, two fills in it: asked for and protected (73, 92)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await stage.enter(manager, 1, entry_timeout=0)
        await asyncio.sleep(2)
        stage.cut_stream(60)
        stage.fill("entry", 2)
        await asyncio.sleep(REST_S)
        assert (stage.position(), stage.working()) == (3, both(3))
        await asyncio.sleep(REST_S)
        await stage.check_books(manager)
    assert stage.naked_s < 20


@EVERY_BROKER
@pytest.mark.parametrize("inside", ["entry", "stop", "target"])
@virtual
async def test_the_executions_of_a_dead_link_are_fetched_and_the_exits_follow(
    kind: str, inside: str
) -> None:
    """A minute without any call, answer or report: what traded meanwhile is covered (92)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        group = await stage.bracket(manager, entry_timeout=0)
        await asyncio.sleep(1)
        if inside != "entry":
            stage.fill("entry", 3)
            await asyncio.sleep(2)
        stage.cut_stream(60)
        stage.faults.is_down = True
        stage.fill(inside, 3 if inside == "entry" else 1)
        await asyncio.sleep(60)
        stage.faults.is_down = False
        await asyncio.sleep(2 * REST_S)
        left = 3 if inside == "entry" else 2
        assert (stage.position(), stage.working()) == (left, both(left))
        assert (await manager.group(group.group)).phase is Phase.PROTECTED
        await stage.check_books(manager)
        stage.fill("stop", left)
        await asyncio.sleep(REST_S)
        await stage.check_gone(manager)
    assert stage.sent("submit", "exit") == 0


@EVERY_BROKER
@pytest.mark.parametrize("how", [FaultKind.SNAPSHOT_STALE, FaultKind.LOOKUP_INCOMPLETE])
@virtual
async def test_answers_that_are_old_or_in_part_mislead_nobody(kind: str, how: FaultKind) -> None:
    """Every second answer to a question is no use: protected for the fills, no second exit (P4)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await stage.bracket(manager, entry_timeout=0)
        await asyncio.sleep(1)
        for face in ("lookup", "poll"):
            stage.faults.arm(face, how)
        stage.fill("entry", 3)
        for _ in range(6):
            await asyncio.sleep(10)
            for face in ("lookup", "poll"):
                stage.faults.arm(face, how)
        assert (stage.position(), stage.working()) == (3, both(3))
        stage.fill("target", 3, "110")
        await asyncio.sleep(2 * REST_S)
        await stage.check_gone(manager)
