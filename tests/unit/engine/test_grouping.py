"""Groups through the manager: placing, waiting, reading and ending them."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import group_book
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.group import Phase
from holdfast.domain.inputs import Connected, Resume, Tick
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.values import Side, Status
from holdfast.engine.group_views import GroupMember, GroupView
from holdfast.errors import (
    IdempotencyConflict,
    InputError,
    JournalUnwritable,
    OrderRefused,
    OrderStatusError,
    OrderSubmissionError,
    WaitTimeout,
)
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import EPOCH, Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual

TERMS: dict[str, Any] = {
    "entry_price": "100",
    "stop_loss_price": "95",
    "take_profit_price": "110",
}
ENTRY = f"{EPOCH}-main-g1.entry.1"


async def long(manager: Any, broker: ScriptedBroker, quantity: int = 10) -> None:
    """Be long TSLA at 100."""
    order = await manager.place_market_order("TSLA", "buy", quantity, wait="accepted")
    broker.fill(order.wire_id, quantity, "100")
    await manager.wait(order.client_order_id)


async def bracket(manager: Any, broker: ScriptedBroker, filled: int = 3) -> GroupView:
    """Hold a bracket over three units of which so many are filled and protected."""
    group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
    await manager.wait(f"{group.group_id}.entry.1", "accepted")
    broker.fill(f"{group.group_id}.entry.1", filled, "100")
    found: GroupView = await manager.wait_group(
        group.group, lambda view: all(view.of(role) for role in ("stop", "target"))
    )
    await asyncio.sleep(0.1)
    return found


def prices(group: GroupView) -> tuple[Decimal | None, Decimal | None]:
    """Return the wanted prices of a stop and a target."""
    assert group.stop is not None
    assert group.target is not None
    return group.stop.stop_price, group.target.limit_price


def entry_of(group: GroupView) -> GroupMember:
    """Return a group's entry."""
    assert group.entry is not None
    return group.entry


def working(broker: ScriptedBroker) -> dict[str, Decimal | None]:
    """Return what works at the broker: quantities by the end of the wire id."""
    return {
        wire_id.rpartition("-")[2]: shown.order_quantity
        for wire_id, shown in broker.orders.items()
        if shown.status in {Status.OPEN, Status.PARTIAL_FILL}
    }


@virtual
async def test_a_bracket_is_protected_from_its_first_fill_on() -> None:
    """The call returns durable; the stop and the target grow with what the entry fills (62)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        placed = await manager.place_bracket_order(
            "TSLA", "buy", 3, client_order_id="mine", **TERMS
        )
        await manager.wait("mine", "accepted")
        broker.fill(ENTRY, 1, "100")
        part = await manager.wait_group(placed.group, "protected")
        broker.fill(ENTRY, 2, "100")
        whole = await manager.wait_group("mine", lambda view: view.covered == 3)
        await asyncio.sleep(0.1)
        assert working(broker) == {"g1.stop.1": 3, "g1.target.1": 3}

    assert (placed.group, placed.group_id, placed.phase) == (1, f"{EPOCH}-main-g1", Phase.ENTERING)
    assert (placed.side, placed.quantity, placed.owed) == (Side.BUY, 3, 0)
    assert prices(placed) == (95, 110)
    assert (part.entered, part.owed, part.covered) == (1, 1, 1)
    assert (whole.entered, whole.owed, whole.phase) == (3, 3, Phase.PROTECTED)
    assert [each.role for each in whole.members] == ["entry", "stop", "target"]
    assert entry_of(whole).client_order_id == "mine"


@virtual
async def test_a_bracket_may_be_waited_for_in_the_same_call() -> None:
    """`wait` returns at the first fill, once protected, or once closed (scenario 66)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        call = asyncio.create_task(
            manager.place_bracket_order("TSLA", "sell", 2, stop_loss_price="105", wait="protected")
        )
        await asyncio.sleep(1)
        assert not call.done()
        broker.fill(ENTRY, 2, "100")
        group = await call
        assert (await manager.wait_group(group.group, "entered")).entered == 2

    assert (group.contingency, group.side, group.covered) == ("oto", Side.SELL, 2)
    assert entry_of(group).limit_price is None


@virtual
async def test_the_same_name_again_is_the_same_bracket() -> None:
    """A repeated call returns the first group and sends nothing; other terms conflict (5, 35)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        names: dict[str, Any] = {"client_order_id": "mine", "idempotency_key": "key"}
        first = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, **names)
        again = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, **names)
        with pytest.raises(IdempotencyConflict):
            await manager.place_bracket_order(
                "TSLA", "buy", 3, entry_price="100", stop_loss_price="94", **names
            )
        await asyncio.sleep(1)

    assert again.group == first.group == 1
    assert len(broker.sent(SubmitOrder)) == 1


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"stop_loss_price": "101"}, "stop_loss_price must be below entry_price"),
        ({"take_profit_price": "100.001"}, "entry_price must be below take_profit_price"),
        ({"entry_timeout": -1}, "entry_timeout is -1"),
        ({"entry_timeout": 1e300}, "0 for never"),
        ({"wait": "accepted"}, "durable, entered, protected, closed"),
        ({"timeout": None}, "timeout is None"),
        ({"entry_type": "stop"}, "entry_type is 'stop'"),
        ({"idempotency_key": 7}, "idempotency_key is 7"),
        ({"strategy": None}, "strategy is None"),
    ],
)
def test_a_bracket_that_cannot_be_is_refused_whole(terms: dict[str, Any], message: str) -> None:
    """Nothing is recorded or sent; prices are compared on the tick (scenarios 60, 61)."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            with pytest.raises(InputError, match=message):
                await manager.place_bracket_order("TSLA", "buy", 3, **{**TERMS, **terms})
            assert await manager.groups() == []
            assert await manager.orders() == []
        assert broker.calls == []

    case()


@virtual
async def test_an_entry_that_is_refused_ends_the_wait() -> None:
    """Whoever waits learns why, and the group closes without exits."""
    broker = ScriptedBroker()
    broker.script("submit", Refused(text="no margin", code=RefusalCode.OTHER))
    async with open_desk(broker) as manager:
        with pytest.raises(OrderSubmissionError, match="no margin"):
            await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, wait="protected")
        [group] = await manager.groups()

    assert group.is_closed
    assert [each.role for each in group.members] == ["entry"]


@virtual
async def test_an_entry_that_takes_too_long_is_cancelled() -> None:
    """After its own time; nothing filled, so no exit is placed (scenario 64)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, entry_timeout=2.5)
        with pytest.raises(OrderStatusError, match="will not be entered"):
            await manager.wait_group(group.group, "entered")
        closed = await manager.wait_group(group.group)

    assert entry_of(closed).status is Status.CANCELED
    assert len(broker.sent(SubmitOrder)) == 1
    assert 2_500_000_000 <= closed.updated_ns - closed.opened_ns < 4_000_000_000


@virtual
async def test_of_a_pair_one_trades_and_the_other_goes() -> None:
    """The target fills, the stop is cancelled, the group closes (scenario 67)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await long(manager, broker)
        group = await manager.place_oco_order(
            "TSLA", "sell", 10, limit_price="110", stop_price="95", idempotency_key="key"
        )
        again = await manager.place_oco_order(
            "TSLA", "sell", 10, limit_price="110", stop_price="95", idempotency_key="key"
        )
        await asyncio.sleep(1)
        broker.fill(f"{group.group_id}.target.1", 10, "110")
        closed = await manager.wait_group(group.group)
        assert working(broker) == {}

    assert (again.group, group.side, group.idempotency_key) == (group.group, Side.SELL, "key")
    assert (closed.exited, closed.excess) == (10, 0)
    assert closed.of("stop")[0].status is Status.CANCELED


@virtual
async def test_closing_a_position_goes_on_until_it_is_closed() -> None:
    """A part by a limit order, the rest at the market; who and why is in the history."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await long(manager, broker)
        part = await manager.close_position("TSLA", quantity=4, method="limit", limit_price="101")
        await asyncio.sleep(1)
        assert working(broker) == {"g1.exit.1": 4}
        broker.fill(f"{part.group_id}.exit.1", 4, "101")
        await manager.wait_group(part.group)
        with pytest.raises(WaitTimeout, match="close it with"):
            await manager.close_position("TSLA", by="ann", reason="out", wait="closed", timeout=1)
        broker.fill(f"{EPOCH}-main-g2.exit.1", 6, "99")
        closed = await manager.wait_group(2)
        assert (await manager.positions())["TSLA"].quantity == 0
        with pytest.raises(InputError, match="no position"):
            await manager.close_position("TSLA")

    assert (closed.exited, closed.contingency) == (6, "close")
    assert (closed.history[0].by, closed.history[0].phase) == ("ann", "flattening")


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"method": "limit"}, "limit_price is missing"),
        ({"limit_price": "99"}, "limit_price is given"),
        ({"method": "stop"}, "market or limit"),
        ({"wait": "protected"}, "durable, closed"),
    ],
)
def test_a_close_that_contradicts_itself_is_refused(terms: dict[str, Any], message: str) -> None:
    """Nothing is recorded."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            await long(manager, broker)
            with pytest.raises(InputError, match=message):
                await manager.close_position("TSLA", **terms)
            assert await manager.groups() == []

    case()


@virtual
async def test_a_position_is_protected_by_a_stop_that_moves_and_a_target() -> None:
    """One group follows the position; asked again its stop moves; the wrong side is refused."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await long(manager, broker)
        with pytest.raises(InputError, match="must be below"):
            await manager.add_stop_loss("TSLA", "105")
        first = await manager.add_stop_loss("TSLA", "95", by="ann")
        await manager.wait_group(first.group, "protected")
        second = await manager.add_stop_loss("TSLA", "97")
        third = await manager.add_take_profit("TSLA", "120")
        await asyncio.sleep(1)
        shown = broker.orders[f"{first.group_id}.stop.1"]
        assert working(broker) == {"g1.stop.1": 10, "g1.target.1": 10}

    assert first.group == second.group == third.group
    assert (first.quantity, first.owed, shown.stop_price) == (None, 10, 97)
    assert prices(third) == (97, 120)


@virtual
async def test_only_the_kinds_that_are_named_are_cancelled() -> None:
    """The targets of a symbol go and are not placed again; each result is told (scenario 77)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await bracket(manager, broker)
        with pytest.raises(InputError, match="kinds has 'legs'"):
            await manager.cancel_position_orders("TSLA", kinds=["legs"])
        [result] = await manager.cancel_position_orders("TSLA", kinds=("target",), by="ann")
        await asyncio.sleep(30)
        [group] = await manager.groups()
        assert working(broker) == {"g1.stop.1": 3}

    assert (result.outcome, result.client_order_id) == ("canceled", f"{EPOCH}-main-g1.target.1")
    assert (group.target, group.phase) == (None, Phase.PROTECTED)


@virtual
async def test_a_group_is_closed_under_any_of_its_names() -> None:
    """By the id of its stop: stop and target go first, then what it holds is closed once."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        held = await bracket(manager, broker)
        stop = held.of("stop")[0].client_order_id
        closing = await manager.close_group(stop, by="ann", reason="news")
        await asyncio.sleep(1)
        assert working(broker) == {"g1.exit.1": 3}
        broker.fill(f"{EPOCH}-main-g1.exit.1", 3, "99")
        closed = await manager.wait_group(held.group_id)
        assert await manager.wait_group(held.group, "protected") == closed
        with pytest.raises(OrderStatusError, match="no group 9"):
            await manager.close_group(9, by="ann", reason="news")
        with pytest.raises(OrderStatusError, match="no group 'other'"):
            await manager.close_group("other", by="ann", reason="news")
        with pytest.raises(InputError, match="reason"):
            await manager.close_group(1, by="ann", reason="")

    assert (closing.phase, closing.reason) == (Phase.FLATTENING, "ann: news")
    assert (closed.exited, closed.owed, closed.history[-1].phase) == (3, 0, Phase.CLOSED)


@virtual
async def test_opposing_groups_are_refused() -> None:
    """The code names it, and nothing was taken."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        with pytest.raises(OrderRefused) as caught:
            await manager.place_bracket_order("TSLA", "sell", 3, stop_loss_price="105")
        assert len(await manager.groups()) == 1

    assert caught.value.code == "GROUP_OPPOSES"


@virtual
async def test_a_wait_ends_by_time_by_a_check_or_with_what_cannot_be() -> None:
    """What is not there, or can never come, is said at once."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        accepted = await manager.wait_group(
            group.group, lambda view: entry_of(view).status is Status.OPEN
        )
        assert len(accepted.history) == 1
        with pytest.raises(WaitTimeout, match="entering after 1 s and not protected"):
            await manager.wait_group(group.group, "protected", timeout=1)
        assert not manager._runner._watchers
        with pytest.raises(InputError, match="until is 'open'"):
            await manager.wait_group(group.group, "open")
        with pytest.raises(ZeroDivisionError):
            await manager.wait_group(group.group, lambda view: bool(1 / view.exited))
        await manager.cancel_order(ENTRY)
        await manager.wait_group(group.group, lambda view: view.is_closed)
        await long(manager, broker)
        pair = await manager.place_oco_order("TSLA", "sell", 1, limit_price="110", stop_price="95")
        with pytest.raises(InputError, match="has no entry"):
            await manager.wait_group(pair.group, "entered")


@virtual
async def test_groups_are_listed_newest_first_and_by_what_they_are() -> None:
    """By symbol, by strategy, without the closed ones, and no more than asked for."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        for strategy in ("slow", "fast"):
            await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, strategy=strategy)
        await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        await manager.cancel_order(ENTRY)
        await manager.wait_group(1)

        async def numbers(**wanted: Any) -> list[int]:
            return [each.group for each in await manager.groups(**wanted)]

        assert await numbers() == [3, 2, 1]
        assert await numbers(closed=False) == [3, 2]
        assert await numbers(symbol="TSLA") == [2, 1]
        assert await numbers(strategy="slow") == [1]
        assert await numbers(limit=1) == [3]
        with pytest.raises(InputError, match="limit is 0"):
            await manager.groups(limit=0)


@virtual
async def test_a_callback_hears_of_each_phase() -> None:
    """With the group as it is then; plain orders are no news of groups."""
    broker = ScriptedBroker()
    heard: list[tuple[str, Decimal]] = []

    async def listen(group: GroupView) -> None:
        heard.append((group.phase, group.entered))

    async with open_desk(broker) as manager:
        manager.on_group(listen)
        await bracket(manager, broker)
        await asyncio.sleep(1)

    assert heard == [("entering", 0), ("protecting", 3), ("protected", 3)]


@virtual
async def test_the_time_without_protection_is_told_while_it_runs() -> None:
    """The clock shows in the view before it stops (P6)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        await manager.wait(ENTRY, "accepted")
        broker.script("submit", Refused(text="no stops now", code=RefusalCode.OTHER))
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(0.3)
        during = await manager.group(group.group)
        after = await manager.wait_group(group.group, "protected")

    assert (during.phase, during.covered, during.owed) == (Phase.PROTECTING, 0, 3)
    assert 290 <= during.unprotected_ms <= 310
    assert during.unprotected_ms < after.unprotected_ms == after.longest_unprotected_ms < 2_000


@virtual
async def test_what_was_not_written_is_told_to_nobody() -> None:
    """A bracket that could not be recorded is refused, sent nowhere, and wakes no wait (P1, 98)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    heard: list[GroupView] = []

    async def listen(group: GroupView) -> None:
        heard.append(group)

    async with open_desk(broker, journal) as manager:
        manager.on_group(listen)
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        await manager.wait(ENTRY, "accepted")
        await asyncio.sleep(0.1)
        heard_before = len(heard)
        waiting = asyncio.create_task(manager.wait_group(group.group, "protected"))
        await asyncio.sleep(0)
        journal.fail_at(manager._runner.durable_seq + 1, recoveries_refused=3)
        with pytest.raises(JournalUnwritable):
            await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        broker.fill(ENTRY, 3, "100")
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert len(heard) == heard_before
        assert (await waiting).covered == 3
        assert [each.group for each in await manager.groups()] == [1]


@virtual
async def test_a_group_survives_a_crash() -> None:
    """After a restart it is what it was, and goes on (scenario 85)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        before = await bracket(manager, broker)
        before = await manager.group(before.group)
        await manager.abandon()
    async with open_desk(broker, MemoryJournal(journal.crash())) as manager:
        after = await manager.group(before.group)
        assert (after.phase, after.history, after.stop) == (
            before.phase,
            before.history,
            before.stop,
        )
        await asyncio.sleep(1)
        broker.fill(f"{EPOCH}-main-g1.stop.1", 3, "95")
        closed = await manager.wait_group(before.group)
        assert working(broker) == {}

    assert (closed.exited, closed.owed) == (3, 0)


async def unprotected(manager: Any, broker: ScriptedBroker) -> int:
    """Hold a bracket whose stop was refused a moment ago, to be tried again; return its number."""
    group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
    await manager.wait(ENTRY, "accepted")
    broker.script("submit", Refused(text="no stops now", code=RefusalCode.OTHER))
    broker.fill(ENTRY, 3, "100")
    held: GroupView = await manager.wait_group(group.group, "entered")
    await asyncio.sleep(0.05)
    assert working(broker) == {"g1.target.1": 3}
    return held.group


def stepped(monkeypatch: pytest.MonkeyPatch, raises: Callable[[Any], bool]) -> list[type]:
    """Note the kinds of all inputs; the first one that `raises` picks makes the desk raise."""
    kinds: list[type] = []
    step = Desk.step
    raised: list[Any] = []

    def noted(self: Desk, given: Any, now_ns: int) -> Decision:
        kinds.append(type(given))
        if not raised and raises(given):
            raised.append(given)
            raise ZeroDivisionError
        return step(self, given, now_ns)

    monkeypatch.setattr(Desk, "step", noted)
    return kinds


def test_a_stop_is_tried_again_though_the_desk_forgot_when(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick for it raises and the desk is folded anew: no other input has to come first."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker, poll_interval_ms=3_600_000) as manager:
            number = await unprotected(manager, broker)
            kinds = stepped(monkeypatch, lambda given: isinstance(given, Tick))
            group = await manager.wait_group(number, "protected", timeout=5)
            assert manager._runner.counts["refolds"] == 1
            assert kinds[:3] == [Tick, Connected, Tick]

        assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]

    case()


@virtual
async def test_a_stop_is_tried_again_once_the_journal_is_back() -> None:
    """Though the account does not answer the poll that follows, and nobody asks for anything."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal, poll_interval_ms=3_600_000) as manager:
        number = await unprotected(manager, broker)
        broker.script("poll", Hang())
        journal.fail_at(manager._runner.durable_seq + 1)
        with pytest.raises(JournalUnwritable):
            await manager.place_bracket_order("BTC-USD", "buy", "0.5", **TERMS)
        group = await manager.wait_group(number, "protected", timeout=5)

    assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]


def test_a_start_after_a_long_time_flattens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk resumes before it looks at the time: what went by while down is not counted (85)."""

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        async with open_desk(broker, journal) as manager:
            number = await unprotected(manager, broker)
            await manager.abandon()
        await asyncio.sleep(3_600)
        kinds = stepped(monkeypatch, lambda _given: False)
        async with open_desk(broker, MemoryJournal(journal.crash())) as manager:
            group = await manager.wait_group(number, "protected", timeout=5)
            await asyncio.sleep(60)
            assert working(broker) == {"g1.stop.2": 3, "g1.target.1": 3}
        assert kinds[:2] == [Connected, Resume]
        assert [each.phase for each in group.history] == ["entering", "protecting", "protected"]

    case()


@virtual
async def test_a_group_that_left_memory_is_read_from_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its phases, its orders and what they traded are there; it is not among the listed ones."""
    monkeypatch.setattr(group_book, "CLOSED_MAX", 0)
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        await bracket(manager, broker)
        broker.fill(f"{EPOCH}-main-g1.stop.1", 3, "95")
        await asyncio.sleep(5)
        assert await manager.groups() == []
        found = await manager.group(1)
        by_order = await manager.group(f"{EPOCH}-main-g1.target.1")
        assert await manager.wait_group(1) == found
        with pytest.raises(OrderStatusError, match="left memory"):
            await manager.wait_group(1, lambda view: view.phase == "protected")

    assert by_order == found
    assert (found.entered, found.exited, found.owed) == (3, 3, 0)
    assert [each.phase for each in found.history] == [
        "entering", "protecting", "protected", "closing", "closed",
    ]  # fmt: skip
    assert [each.role for each in found.members] == ["entry", "stop", "target"]


@virtual
async def test_a_stop_of_unknown_outcome_is_looked_up_not_repeated() -> None:
    """Through the whole engine: the answer is lost, the stop is found by its id (P2)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        group = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        await manager.wait(ENTRY, "accepted")
        broker.script("submit", Hang())
        broker.fill(ENTRY, 3, "100")
        protected = await manager.wait_group(group.group, "protected", timeout=60)

    stops = [call for call in broker.sent(SubmitOrder) if "stop" in call.wire_id]
    assert (len(stops), protected.covered) == (1, 3)
    assert broker.sent(CancelOrder) == []
