"""Brackets, pairs and position orders from a caller's call to the paper venue's own books."""

import asyncio
from decimal import Decimal as D
from typing import Any, Final

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.domain import events as e
from holdfast.domain.desk import ARCHIVE_SLACK
from holdfast.domain.group import Phase
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.errors import HoldfastError, InputError, OrderRefused
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.brokered import both
from holdfast.testing.group_stage import ACCOUNT, INSTRUMENT, REST_S, SETTINGS, SYMBOL, Stage
from holdfast.testing.scripted import open_desk
from holdfast.testing.world import LoopScheduler, virtual
from holdfast.venue.faults import FaultKind
from holdfast.venue.latency import Latency
from holdfast.wiring import OrderManager


async def rest(seconds: float = REST_S) -> None:
    await asyncio.sleep(seconds)


async def buy(manager: OrderManager) -> None:
    """Hold three that no group looks after."""
    bought = await manager.place_market_order(SYMBOL, "buy", 3)
    await manager.wait(bought.client_order_id)


async def pair(manager: OrderManager) -> None:
    """Place a pair of exits for three, and wait until it is at work."""
    placed = await manager.place_oco_order(SYMBOL, "sell", 3, limit_price="110", stop_price="95")
    await manager.wait_group(placed.group, "protected")


# Prices: on the tick first, compared after that.


@virtual
async def test_prices_are_moved_to_the_tick_before_they_are_sent() -> None:
    """20052.17 at a tick of 0.25 is 20052.25 for the desk and at the venue (scenario 60)."""
    stage = Stage(around=("20050", "20060"))
    async with stage.desk() as manager:
        group = await manager.place_bracket_order(
            SYMBOL,
            "buy",
            2,
            entry_price="20052.17",
            stop_loss_price="20040.10",
            take_profit_price="20079.99",
        )
        await rest(1)
        stage.fill("entry", 2, "20052.25")
        await rest(1)

    (entry,) = stage.orders("entry", working=False)
    (stop,), (target,) = stage.orders("stop"), stage.orders("target")
    assert entry.snapshot().limit_price == D("20052.25")
    assert group.stop is not None
    assert stop.snapshot().stop_price == group.stop.stop_price == D(20040)
    assert target.snapshot().limit_price == D(20080)


COARSE: Final = Instrument.of(SYMBOL, tick="10")
FINE: Final = Instrument.of(SYMBOL, tick="0.00000001", lot="0.00000001")


@pytest.mark.parametrize(
    ("instrument", "side", "prices", "sent"),
    [
        (INSTRUMENT, "buy", ("100.10", "99.90", "110"), None),
        (INSTRUMENT, "buy", ("100", "95", "100.10"), None),
        (INSTRUMENT, "sell", ("100.10", "100.00", "90"), None),
        (INSTRUMENT, "buy", ("0.30", "0.10", "1"), None),
        (INSTRUMENT, "buy", ("100.12", "99.63", "100.38"), ("100", "99.75", "100.5")),
        (INSTRUMENT, "sell", ("100.12", "100.38", "99.63"), ("100", "100.5", "99.75")),
        (COARSE, "buy", ("104", "96", "107"), None),
        (COARSE, "buy", ("104", "94", "106"), ("100", "90", "110")),
        (
            FINE,
            "buy",
            ("0.00000002", "0.00000001", "0.00000003"),
            ("0.00000002", "0.00000001", "0.00000003"),
        ),
        (FINE, "buy", ("0.000000021", "0.000000019", "0.00000003"), None),
        (
            INSTRUMENT,
            "buy",
            ("9999999999.13", "9999999998.88", "9999999999.38"),
            ("9999999999.25", "9999999999", "9999999999.5"),
        ),
    ],
)
@virtual
async def test_extreme_prices_are_aligned_and_only_then_compared(
    instrument: Instrument, side: str, prices: tuple[str, str, str], sent: Any
) -> None:
    """What falls together or to zero on the tick is refused whole, all else arrives (60)."""
    stage = Stage("brackets", instrument=instrument, around=_near(prices[0], instrument))
    entry, stop, target = prices
    given: dict[str, Any] = {
        "entry_price": entry,
        "stop_loss_price": stop,
        "take_profit_price": target,
    }
    async with stage.desk() as manager:
        await rest(1)
        if sent is None:
            with pytest.raises(HoldfastError, match=r"must be|tick"):
                await manager.place_bracket_order(SYMBOL, side, 1, **given)
            assert (stage.calls, await manager.orders(), await manager.groups()) == ([], [], [])
            return
        await manager.place_bracket_order(SYMBOL, side, 1, **given)
        await rest(1)
    shown = {one.role: one.snapshot() for one in stage.venue.orders(ACCOUNT)}
    found = (shown["entry"].limit_price, shown["stop"].stop_price, shown["target"].limit_price)
    assert found == tuple(map(D, sent))


def _near(price: str, instrument: Instrument) -> tuple[str, str]:
    """Prices on the tick between which an entry rests, to whichever side it is."""
    ticks = D(price) // instrument.tick
    return str((ticks - 1) * instrument.tick or instrument.tick), str((ticks + 2) * instrument.tick)


@pytest.mark.parametrize(
    ("side", "stop", "target"),
    [
        ("buy", "100", "110"),
        ("buy", "101", "110"),
        ("buy", "95", "100"),
        ("buy", "95", "99"),
        ("sell", "100", "90"),
        ("sell", "99", "90"),
        ("sell", "105", "100"),
        ("sell", "105", "101"),
    ],
)
@virtual
async def test_a_bracket_on_the_wrong_side_is_refused_without_a_call(
    side: str, stop: str, target: str
) -> None:
    """The stop must lose and the target gain, of a buy and of a sell (scenario 61)."""
    stage = Stage()
    async with stage.desk() as manager:
        with pytest.raises(InputError, match="must be below"):
            await stage.bracket(manager, side, stop_loss_price=stop, take_profit_price=target)
        await rest(1)
        assert (stage.calls, await manager.orders(), await manager.groups()) == ([], [], [])
    assert stage.events(e.GroupOpened) == []


# What a caller waits for.


@pytest.mark.parametrize("way", [Latency(), Latency(request_ns=900_000_000)])
@virtual
async def test_a_market_entry_that_fills_before_anybody_waits_is_noticed(way: Latency) -> None:
    """Filled within the call or long before its answer: entered, protected at once (66)."""
    stage = Stage(way=way)
    async with stage.desk() as manager:
        await rest(1)
        group = await stage.bracket(manager, entry_type="market")
        await rest(5)
        entered = await manager.wait_group(group.group, "entered", timeout=0.1)
        guarded = await manager.wait_group(group.group, "protected", timeout=0.1)
        assert (entered.entered, guarded.phase) == (3, Phase.PROTECTED)
        assert stage.working() == both(3)
        again = await stage.bracket(manager, entry_type="market", wait="protected")
        assert (again.entered, again.phase) == (3, Phase.PROTECTED)
        await stage.check_books(manager)
    assert stage.naked_s < 2


@virtual
async def test_the_callers_coroutine_places_the_next_bracket_as_the_first_one_ends() -> None:
    """A callback of a group may call the manager; nothing waits for it (scenario 74)."""
    stage = Stage()
    async with stage.desk() as manager:

        async def go_on(group: Any) -> None:
            if group.is_closed and group.group == 1:
                await stage.bracket(manager, "buy", 1)

        manager.on_group(go_on)
        await stage.enter(manager)
        await rest(1)
        stage.fill("target", 3, "110")
        await rest()
        first, second = sorted(await manager.groups(), key=lambda group: group.group)
        assert (first.phase, second.phase) == (Phase.CLOSED, Phase.ENTERING)
        assert stage.working() == {"entry": 1}
        await stage.check_books(manager)


# The life of a pair of exits.


@virtual
async def test_the_link_is_kept_until_the_cancel_of_the_stop_is_confirmed() -> None:
    """The target fills; the stop's cancel fails twice and is asked for again (scenario 67)."""
    stage = Stage()
    async with stage.desk() as manager:
        group = await stage.enter(manager)
        await rest(1)
        stage.break_next("cancel", "stop", FaultKind.REFUSED, FaultKind.TIMEOUT_BEFORE_ACCEPT)
        stage.fill("target", 3, "110")
        await rest(2)
        meanwhile = await manager.group(group.group)
        assert (stage.working(), meanwhile.phase) == ({"stop": 3}, Phase.CLOSING)
        await rest()
        await stage.check_gone(manager)
    assert stage.sent("cancel", "stop") >= 3


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
@virtual
async def test_two_exits_that_fill_in_a_race_are_undone_once(kind: str) -> None:
    """Stop and target trade in one moment: the excess is bought back, people hear (scenario 69)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await stage.enter(manager)
        await rest(1)
        stage.fill("target", 3, "110")
        stage.fill("stop", 2)
        assert stage.position() == -2
        await rest()
        await stage.check_gone(manager)
        assert (stage.traded("undo"), stage.sent("submit", "undo")) == (2, 1)
    assert "EXCESS" in {alert.code for alert in stage.events(e.AlertRaised)}


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "pairs"])
@virtual
async def test_a_pair_for_a_position_that_is_there(kind: str) -> None:
    """One part of the target shrinks the stop; the stop takes the rest, nothing stays (68, 67)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await buy(manager)
        with pytest.raises(OrderRefused, match="REDUCE_ONLY_EXCEEDED"):
            await manager.place_oco_order(SYMBOL, "sell", 4, limit_price=110, stop_price=95)
        await pair(manager)
        stage.fill("target", 1, "110")
        await rest()
        assert stage.working() == both(2)
        stage.fill("stop", 2)
        await rest()
        await stage.check_gone(manager)


@pytest.mark.parametrize("how", [FaultKind.REFUSED, FaultKind.TIMEOUT_AFTER_ACCEPT])
@pytest.mark.parametrize("times", [1, 2, 5])
@virtual
async def test_a_pair_whose_cancel_fails_is_not_let_go(how: FaultKind, times: int) -> None:
    """However often the cancel of the loser fails, it is gone at last and nothing flips (67)."""
    stage = Stage()
    async with stage.desk() as manager:
        await buy(manager)
        await pair(manager)
        stage.break_next("cancel", "target", *[how] * times)
        stage.fill("stop", 3)
        await rest(3 * REST_S)
        await stage.check_gone(manager)


# Positions that change under their orders.


@pytest.mark.parametrize("kind", ["plain", "no_replace", "counts_anew", "brackets"])
@virtual
async def test_protection_follows_the_position_down_to_nothing(kind: str) -> None:
    """3 to 1 by somebody's sale: one is protected; to 0: nothing works any more (scenario 76)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await stage.enter(manager)
        await rest(1)
        for sold, left in ((2, 1), (1, 0)):
            await manager.place_market_order(SYMBOL, "sell", sold, reduce_only=True, force=True)
            await rest()
            assert stage.working() == both(left)
        await stage.check_gone(manager)


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
@virtual
async def test_what_protects_a_position_follows_it(kind: str) -> None:
    """A stop and a target for whatever is held: 2, then 5, then 1, then nothing (scenario 76)."""
    stage = Stage(kind)
    async with stage.desk() as manager:
        await manager.place_market_order(SYMBOL, "buy", 2)
        await rest(1)
        with pytest.raises(InputError):
            await manager.add_stop_loss(SYMBOL, "105")
        first = await manager.add_stop_loss(SYMBOL, "95")
        again = await manager.add_take_profit(SYMBOL, "110")
        assert first.group == again.group
        await rest(2)
        assert stage.working() == both(2)
        for side, quantity, held in (("buy", 3, 5), ("sell", 4, 1), ("sell", 1, 0)):
            await manager.place_market_order(SYMBOL, side, quantity, force=True)
            await rest(10)
            assert stage.position() == held
            assert stage.working() == both(held)
        await rest()
        await stage.check_gone(manager)


@virtual
async def test_the_kinds_that_somebody_cancels_go_and_are_not_placed_again() -> None:
    """The target alone, then the stop: what is left stands, and nothing comes back (76, 112)."""
    stage = Stage()
    async with stage.desk() as manager:
        await stage.enter(manager)
        await rest(1)
        for kinds, left in ((["target"], {"stop": 3}), (["stop"], {})):
            (gone,) = await manager.cancel_position_orders(SYMBOL, kinds=kinds, by="ann")
            assert gone.outcome == "canceled"
            await rest()
            assert (stage.position(), stage.working()) == (3, left)
        await stage.check_books(manager)


@virtual
async def test_stops_of_no_group_go_with_their_position() -> None:
    """A stop that somebody placed alone, and the position sold by another order: cancelled (76)."""
    stage = Stage()
    async with stage.desk() as manager:
        await buy(manager)
        stop = await manager.place_stop_order(SYMBOL, "sell", 3, "95", reduce_only=True)
        await manager.wait(stop.client_order_id, "accepted")
        await manager.place_market_order(SYMBOL, "sell", 3, force=True)
        await rest(5)
        assert (stage.position(), stage.working()) == (0, {})
        assert (await manager.order(stop.client_order_id)).status is Status.CANCELED
        await stage.check_books(manager)


@virtual
async def test_cancel_all_of_a_symbol_leaves_other_symbols_and_accounts() -> None:
    """Two symbols, two accounts: what is counted is what is gone (scenario 77)."""
    stage = Stage()
    other = Instrument.of("Y", tick="0.25")
    stage.venue.add_listing(other)
    beside = PaperBroker(stage.venue, "beside", delays=LoopScheduler())
    options: dict[str, Any] = {"instruments": [INSTRUMENT, other], "settings": SETTINGS}
    async with (
        stage.desk(instruments=[INSTRUMENT, other]) as manager,
        open_desk(beside, MemoryJournal(), desk="beta", **options) as second,
    ):
        await stage.bracket(manager)
        for desk in (manager, second):
            for symbol in (SYMBOL, "Y"):
                for price in ("90", "91"):
                    await desk.place_limit_order(symbol, "buy", 1, price)
        await rest(1)
        gone = await manager.cancel_all_open_orders(symbol=SYMBOL, by="ann")
        assert [result.outcome for result in gone] == ["canceled"] * 3
        left = [order.symbol for order in await manager.orders(finished=False)]
        assert (left, len(await second.orders(finished=False))) == (["Y", "Y"], 4)
        assert len(stage.venue.orders("beside", working=True)) == 4
        assert len(stage.venue.orders(ACCOUNT, working=True)) == 2
        assert (await manager.cancel_all_open_orders(symbol=SYMBOL)) == []
    await beside.aclose()


# Bounds.


@pytest.mark.slow
@virtual
async def test_a_thousand_brackets_leave_memory_and_the_open_ones_stay() -> None:
    """1,100 lives, with few ended orders kept: no open group or order is evicted (scenario 75)."""
    stage = Stage(way=Latency())
    settings = Settings(policies=SETTINGS.policies, finished_orders_max=100)
    async with stage.desk(settings=settings) as manager:
        await stage.enter(manager, entry_timeout=0)
        await rest(1)
        for _ in range(1_100):
            group = await stage.bracket(manager, "buy", 1, entry_type="market", wait="protected")
            await manager.close_group(group.group, by="ann", reason="next", wait="closed")
        await rest(3 * REST_S)  # polls name each execution twice, which recalls its order
        desk = manager._runner.desk
        assert len(desk.state.groups.groups) <= 1_001
        assert len(desk.state.finished) <= 100 + ARCHIVE_SLACK
        first = await manager.group(1)
        assert (first.phase, stage.working()) == (Phase.PROTECTED, both(3))
        assert {order.role for order in desk.active()} == {"stop", "target"}
        forgotten = await manager.group(2)
        assert (forgotten.phase, forgotten.exited) == (Phase.CLOSED, 1)
        await stage.check_books(manager)
