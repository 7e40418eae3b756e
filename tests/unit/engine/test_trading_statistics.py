"""What a manager tells of its trading: money in Decimal, sums, and the same after a restart."""

from decimal import Decimal as D
from typing import Any

import msgspec

from holdfast.domain.instruments import Instrument
from holdfast.domain.tallies import Tally
from holdfast.domain.values import Status
from holdfast.engine.masking import register_secret
from holdfast.engine.results import TallyView, sum_tallies, tally_rows, view_tally
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import virtual

FUTURE = Instrument.of("ES", tick="0.25", multiplier="50")


def a_view(strategy: str = "a", instrument: Instrument = FUTURE, **fields: Any) -> TallyView:
    """View a tally of one filled order unless told otherwise."""
    told: dict[str, Any] = {
        "statuses": {Status.FILLED: 1},
        "volume": D(2),
        "notional": D(8_000),
        "worth": D(8_100),
    }
    return view_tally(strategy, instrument, Tally(**(told | fields)), D(4_000))


def test_money_is_points_times_the_multiplier() -> None:
    """The value of two futures at 4000 is what they are worth, and not the sum of their points."""
    view = a_view()
    assert (view.volume, view.value, view.largest_value) == (D(2), D(400_000), D(405_000))
    assert a_view(money=D(900_000)).largest_value == D(900_000)


def test_each_order_is_in_one_place() -> None:
    """New, accepted, rejected and failed orders add up to all; accepted ones to their states."""
    statuses = {status: number for number, status in enumerate(Status, 1)}
    view = a_view(statuses=statuses, exits=6)
    new = statuses[Status.NEW]
    assert view.orders == sum(statuses.values()) == view.entries + view.exits
    assert view.orders == new + view.accepted + view.rejected + view.failed
    assert view.accepted == view.working + view.filled + view.canceled + view.expired
    assert a_view(statuses={Status.FILLED: 1, Status.CANCELED: 3}).fill_rate == D("0.25")
    assert a_view(statuses={}).fill_rate == 0


def test_what_has_no_sum_is_not_added_up() -> None:
    """Units of two symbols and money of two currencies are no figure; counts and fees are."""
    fees = {"USD": D("0.1")}
    other = a_view(instrument=Instrument.of("NQ", multiplier="20"), fees=fees)
    total = sum_tallies([a_view(fees=fees), other])
    assert (total.strategy, total.symbol, total.orders) == ("all", "all", 2)
    assert (total.volume, total.last_price) == (None, None)
    assert (total.value, total.currency) == (D(560_000), "USD")
    assert total.fees == {"USD": D("0.2")}
    euro = a_view(instrument=Instrument.of("FDAX", currency="EUR"))
    assert sum_tallies([a_view(), euro]).value is None
    assert sum_tallies([a_view(), a_view("b")], symbol="ES").volume == D(4)
    assert sum_tallies([]).orders == 0


def test_rows_for_json_have_amounts_as_strings_and_no_secrets() -> None:
    """What a caller wrote into a name is masked; an amount is never a float (trap 57)."""
    register_secret("hunter-of-alpha")
    (row,) = tally_rows([a_view("hunter-of-alpha", volume=D("0.30"))])
    assert row["strategy"] == "***"
    assert (row["volume"], row["value"]) == ("0.30", "400000")
    assert b"hunter" not in msgspec.json.encode(row)


@virtual
async def test_a_desk_tells_its_trading_before_and_after_a_restart() -> None:
    """Filled, working and rejected orders by strategy, the same from the journal (12, 75)."""
    broker, journal = ScriptedBroker(), MemoryJournal()
    async with open_desk(broker, journal) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 3, "200.10", strategy="a")
        broker.fill(order.wire_id, 3, "200.05")
        await manager.wait(order.client_order_id)
        await manager.place_limit_order("TSLA", "buy", 1, "199", strategy="b", wait="accepted")
        before = await manager.trading_statistics()
        alone = await manager.trading_statistics(strategy="a", symbol="TSLA")
        nobody = await manager.trading_statistics(strategy="c")

    journal.store.owned = False
    async with open_desk(broker, MemoryJournal(journal.store)) as manager:
        after = await manager.trading_statistics()

    first, second, total = before
    assert (first.filled, first.executions, first.volume) == (1, 1, D(3))
    assert (first.value, first.last_price) == (D("600.15"), D("200.05"))
    assert (first.largest_quantity, first.largest_value) == (D(3), D("600.30"))
    assert first.fill_rate == 1
    assert (second.working, second.accepted, second.volume) == (1, 1, D(0))
    assert (total.orders, total.value, total.fill_rate) == (2, D("600.15"), D("0.5"))
    assert after == before
    assert alone == [first, msgspec.structs.replace(first, strategy="a", symbol="TSLA")]
    assert [view.orders for view in nobody] == [0]
