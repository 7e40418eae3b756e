"""Teams side by side: what one does, suffers or fails at does not reach another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.domain.effects import CancelOrder
from holdfast.domain.policies import Policies, StaleRules
from holdfast.domain.reports import RefusalCode, Refused
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.errors import HoldfastError
from holdfast.testing.scripted import INSTRUMENTS, Hang, Raise, ScriptedBroker, open_desk
from holdfast.testing.world import VirtualLoop, virtual, virtual_clock
from holdfast.trading.host import StrategyHost
from holdfast.trading.loop import TradingLoop, leave
from holdfast.trading.strategy import Market, Signal
from holdfast.trading.team import BACKOFF_CYCLES_MAX, Team, TeamPlan
from holdfast.wiring import OrderManager

BY_SYMBOL = {instrument.symbol: instrument for instrument in INSTRUMENTS}
LIMIT = Signal(symbol="TSLA", action="buy", quantity=10, order_type="limit", limit_price="250")
BRACKET = msgspec.structs.replace(LIMIT, stop_loss_price="240", take_profit_price="270")


class Doing:
    """A strategy made of a function; it remembers what it was shown."""

    def __init__(self, decide: Callable[[Market], object]) -> None:
        self._decide = decide
        self.seen: list[Market] = []

    def decide(self, market: Market) -> Any:
        self.seen.append(market)
        return self._decide(market)


def raising(_market: Market) -> None:
    raise ValueError("out of ideas")


def nothing(_market: Market) -> None:
    return None


@asynccontextmanager
async def team_of(
    strategy: Doing,
    broker: ScriptedBroker | None = None,
    *,
    name: str = "alpha",
    settings: Settings | None = None,
    **plan: Any,
) -> AsyncIterator[Team]:
    host = StrategyHost(name, strategy, Path(__file__).parent, limit_s=30)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    chosen = settings or Settings()
    async with open_desk(broker or ScriptedBroker(), desk=name, settings=chosen) as manager:
        yield Team(
            manager,
            host,
            TeamPlan(name=name, **plan),
            instruments=BY_SYMBOL,
            clock=loop.clock,
        )
    host.close()


async def errors_of(team: Team) -> int:
    """Count the strategy errors that are in the team's journal."""
    return (await team.manager.guard()).alerts.get("STRATEGY_ERROR", 0)


@virtual
async def test_a_cycle_shows_the_market_and_places_what_is_wanted() -> None:
    """Positions, open orders, cash and time of the moment; the order is on the desk after it."""
    broker, strategy = ScriptedBroker(), Doing(lambda market: LIMIT if market.cycle == 1 else None)
    async with team_of(strategy, broker, capital=Decimal(10_000)) as team:
        await team.cycle()
        (order,) = await team.manager.orders(finished=False)
        broker.fill(order.wire_id, 10, "250")
        await team.manager.wait(order.client_order_id)
        await team.cycle()

        first, second = strategy.seen
        assert (first.team, first.cycle, first.cash) == ("alpha", 1, Decimal(10_000))
        assert second.positions["TSLA"].quantity == 10
        assert second.cash == Decimal(7_500)
        assert (order.strategy, order.limit_price) == ("alpha", Decimal(250))
        assert second.now_ns == virtual_clock().wall_ns()
        assert team.figures.results == {"pending": 1}
        assert await team.profit() == 0


@virtual
async def test_a_strategy_that_raises_is_recorded_and_asked_later_and_later() -> None:
    """It never stops its team: the pause doubles up to its bound, then stays there."""
    strategy = Doing(raising)
    async with team_of(strategy) as team:
        for _ in range(3 * BACKOFF_CYCLES_MAX):
            await team.cycle()

        assert [seen.cycle for seen in strategy.seen] == [1, 2, 4, 8, 16, 32, 64, 96]
        assert team.figures.errors == await errors_of(team) == 8
        assert "test_loop.py" in team.figures.last_error
        assert "ValueError: out of ideas" in team.figures.last_error


@virtual
async def test_a_strategy_that_recovers_is_asked_in_every_cycle_again() -> None:
    """One good answer ends the pause, and the next failure begins with the shortest."""
    strategy = Doing(lambda market: raising(market) if market.cycle in {1, 2, 6} else None)
    async with team_of(strategy) as team:
        for _ in range(8):
            await team.cycle()
        assert [seen.cycle for seen in strategy.seen] == [1, 2, 4, 5, 6, 7, 8]


@virtual
async def test_nonsense_and_impossible_orders_are_the_strategys_errors() -> None:
    """Neither reaches a broker, both are named in the journal."""
    broker = ScriptedBroker()
    answers: list[object] = ["nonsense", Signal(symbol="NONE", action="buy", quantity=1)]
    async with team_of(Doing(lambda market: answers[market.cycle - 1]), broker) as team:
        await team.cycle()
        await team.cycle()

        assert not broker.calls
        assert await errors_of(team) == 2
        assert "UNKNOWN_SYMBOL" in team.figures.last_error


@virtual
async def test_teams_run_side_by_side_and_one_that_raises_stops_no_other() -> None:
    """The good team trades in every cycle (scenario 55)."""
    good = Doing(lambda market: LIMIT if market.cycle == 2 else None)
    async with team_of(good, name="good") as first, team_of(Doing(raising), name="bad") as second:
        await TradingLoop([first, second]).run(asyncio.Event(), duration_s=9.5)

        assert first.figures.cycles == second.figures.cycles == 10
        assert first.figures.errors == 0
        assert second.figures.errors == await errors_of(second) == 4
        assert first.figures.results == {"pending": 1}


@virtual
async def test_a_slow_team_delays_no_other() -> None:
    """A broker that hangs holds up its own team's cycle alone; missed cycles are left out."""
    slow_broker = ScriptedBroker()
    slow_broker.script("submit", Hang())
    market_order = Signal(symbol="TSLA", action="buy", quantity=1)
    slow = Doing(lambda market: market_order if market.cycle == 1 else None)
    quick = Doing(nothing)
    async with (
        team_of(slow, slow_broker, name="slow", fill_wait_s=6) as first,
        team_of(quick, name="quick") as second,
    ):
        await TradingLoop([first, second]).run(asyncio.Event(), duration_s=9.5)

        assert second.figures.cycles == 10
        assert first.figures.cycles == 5


@virtual
async def test_orders_are_reconciled_at_their_own_pace() -> None:
    """Once at the beginning, then every `sync_s` seconds, not in every cycle."""
    async with team_of(Doing(nothing), sync_s=5) as team:
        await TradingLoop([team]).run(asyncio.Event(), duration_s=9.5)
        assert (team.figures.cycles, team.figures.reconciled) == (10, 2)


@virtual
async def test_a_broker_that_does_not_answer_is_a_fault_and_the_cycle_goes_on() -> None:
    """The step is counted and named; the strategy is asked in the next cycle as ever."""
    broker, strategy = ScriptedBroker(), Doing(nothing)
    async with team_of(strategy, broker, sync_s=0) as team:
        told: list[tuple[str, str]] = []
        team._told = lambda name, text: told.append((name, text))
        broker.script("poll", *[Raise(OSError("no route"))] * 9)
        await team.cycle()
        await team.cycle()

        assert len(strategy.seen) == 2
        assert team.figures.errors == 0
        assert team.figures.faults == 2
        assert told[0][0] == "alpha"
        assert told[0][1].startswith("reconcile: ")


@virtual
async def test_after_a_stop_nothing_more_is_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals that were already given are dropped and counted, the strategy is asked no more."""
    strategy = Doing(lambda _market: [LIMIT] * 3)
    broker = ScriptedBroker()
    async with team_of(strategy, broker) as team:
        placed = team._execute

        async def once(signal: Signal) -> None:
            await placed(signal)
            team.stop()

        monkeypatch.setattr(team, "_execute", once)
        await team.run()

        assert (len(broker.calls), team.figures.dropped, team.figures.cycles) == (1, 2, 1)


@virtual
async def test_a_stop_interrupts_the_wait_between_cycles() -> None:
    """A team with a long interval ends at once."""
    async with team_of(Doing(nothing), interval_s=3_600) as team:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(5, stop.set)
        began = virtual_clock().boot_ns()
        await TradingLoop([team]).run(stop)
        assert (virtual_clock().boot_ns() - began) // 1_000_000_000 == 5


async def worked(manager: OrderManager, orders: int) -> Sequence[str]:
    """Place limit orders of different prices and wait until they work."""
    placed = [
        await manager.place_limit_order("TSLA", "buy", 1, 200 + n, wait="accepted")
        for n in range(orders)
    ]
    return [order.client_order_id for order in placed]


@virtual
async def test_two_orders_are_cancelled_and_one_without_a_broker_id_is_named() -> None:
    """The way out cancels what can be cancelled and names the rest (scenario 28)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        names = await worked(manager, 2)
        broker.script("submit", Hang(carried_out=False))
        broker.script("lookup", *[Hang()] * 20)
        third = await manager.place_limit_order("TSLA", "buy", 1, "210")

        remarks = await leave({"alpha": manager}, "cancel", timeout=3)

        assert [(await manager.order(name)).status for name in names] == [Status.CANCELED] * 2
        assert any(
            third.client_order_id in text and "no broker order id" in text for text in remarks
        )
        assert not any(name in text for name in names for text in remarks)


@virtual
async def test_a_cancel_that_fails_keeps_no_other_from_its_end() -> None:
    """One is refused, the others are cancelled; the refused one is named (scenarios 28, 44)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        names = await worked(manager, 3)
        broker.script("cancel", *[Refused(text="not now", code=RefusalCode.OTHER)] * 1)

        remarks = await leave({"alpha": manager}, "cancel", timeout=3)

        statuses = [(await manager.order(name)).status for name in names]
        assert statuses.count(Status.CANCELED) >= 2
        assert len(broker.sent(CancelOrder)) >= 3
        left = [name for name, status in zip(names, statuses, strict=True) if status is Status.OPEN]
        assert all(any(name in text for text in remarks) for name in left)


@virtual
async def test_a_desk_that_raises_on_the_way_out_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its failure is a remark; the next desk's orders are cancelled (scenario 28)."""
    broken, sound = ScriptedBroker(), ScriptedBroker()
    async with open_desk(broken, desk="a") as first, open_desk(sound, desk="b") as second:
        await worked(first, 1)
        (name,) = await worked(second, 1)

        async def failing(**_: object) -> None:
            raise HoldfastError("the disk is gone")

        monkeypatch.setattr(first, "cancel_all_open_orders", failing)
        remarks = await leave({"a": first, "b": second}, "cancel", timeout=3)

        assert (await second.order(name)).status is Status.CANCELED
        assert remarks[0] == "a: could not cancel all: the disk is gone"
        assert "is still open at the broker" in remarks[1]


@virtual
async def test_leaving_cancels_nothing() -> None:
    """Working orders stay, and are named."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        (name,) = await worked(manager, 1)
        (remark,) = await leave({"alpha": manager}, "leave")

        assert not broker.sent(CancelOrder)
        assert name in remark


def bracketing(market: Market) -> Signal | None:
    """Want one bracket at a time."""
    return None if market.groups or market.orders else BRACKET


@virtual
async def test_a_group_is_shown_as_long_as_it_is_open() -> None:
    """A strategy that waits for it has one bracket at a time, whatever its orders do."""
    broker, strategy = ScriptedBroker(), Doing(bracketing)
    async with team_of(strategy, broker) as team:
        await team.cycle()
        (entry,) = await team.manager.orders(finished=False)
        broker.fill(entry.wire_id, 10, "250")
        await team.manager.wait_group(1, "protected")
        await team.cycle()
        target = next(wire for wire in broker.orders if ".target." in wire)
        broker.fill(target, 10, "270")
        await team.manager.wait_group(1)
        await team.cycle()

        first, second, third = strategy.seen
        assert (first.groups, third.groups) == ((), ())
        (shown,) = second.groups
        assert (shown.group, shown.strategy, shown.phase) == (1, "alpha", "protected")
        assert [order.symbol for order in second.orders] == ["TSLA", "TSLA"]
        assert team.figures.results == {"pending": 2}
        assert [group.group for group in await team.manager.groups(closed=False)] == [2]


@virtual
async def test_an_entry_that_waits_too_long_goes_and_protection_stays() -> None:
    """The sweep of a cycle takes the entry of a bracket, and leaves exits alone (scenario 64)."""
    rules = StaleRules(after_ms=5_000, sweep_every_ms=3_600_000)
    settings = Settings(policies=Policies(stale=rules))
    broker = ScriptedBroker()
    wanted = [BRACKET, msgspec.structs.replace(BRACKET, limit_price="249")]
    strategy = Doing(lambda market: wanted if market.cycle == 1 else None)
    async with team_of(strategy, broker, settings=settings) as team:
        await team.cycle()
        filled, waiting = await team.manager.orders(finished=False)
        broker.fill(filled.wire_id, 10, "250")
        await team.manager.wait_group(1, "protected")
        await asyncio.sleep(6)
        await team.cycle()
        left = await team.manager.wait_group(2)
        kept = await team.manager.group(1)

        assert (await team.manager.order(waiting.client_order_id)).status is Status.CANCELED
        assert [each.role for each in left.members] == ["entry"]
        assert (kept.phase, kept.covered) == ("protected", 10)
        assert len(broker.sent(CancelOrder)) == 1


@virtual
async def test_a_bracket_that_contradicts_itself_is_the_strategys_error() -> None:
    """A stop on the wrong side is named in the journal, as any impossible order is."""
    broker = ScriptedBroker()
    wrong = msgspec.structs.replace(BRACKET, stop_loss_price="260")
    answers = [wrong, msgspec.structs.replace(BRACKET, trail="5")]
    async with team_of(Doing(lambda market: answers[market.cycle - 1]), broker) as team:
        await team.cycle()
        assert "stop_loss_price is 260" in team.figures.last_error
        await team.cycle()

        assert "give one of them" in team.figures.last_error
        assert not broker.calls
        assert await errors_of(team) == 2


@virtual
async def test_the_way_out_keeps_what_protects_or_flattens_it() -> None:
    """Cancelling leaves the exits of a bracket standing, flattening closes once (scenario 112)."""
    broker = ScriptedBroker()
    async with team_of(Doing(bracketing), broker) as team:
        await team.cycle()
        (entry,) = await team.manager.orders(finished=False)
        broker.fill(entry.wire_id, 10, "250")
        await team.manager.wait_group(1, "protected")

        remarks = await leave({"alpha": team.manager}, "cancel", timeout=3)
        assert not broker.sent(CancelOrder)
        assert [".stop." in text or ".target." in text for text in remarks] == [True, True]

        async def closing(_order: object) -> None:
            for wire, shown in list(broker.orders.items()):
                if shown.status is Status.OPEN and shown.order_type == "market":
                    broker.fill(wire, 10, "249")

        team.manager.on_order(closing)
        assert await leave({"alpha": team.manager}, "flatten", timeout=30) == []
        assert (await team.manager.positions())["TSLA"].quantity == 0
        assert len(await team.manager.executions()) == 2
