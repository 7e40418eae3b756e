"""The market behind paper accounts: recorded and played, or wandering by itself."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from holdfast.brokers.recorded_market import RecordedMarket, check_speed, open_recording
from holdfast.clock import NS_PER_S
from holdfast.domain.instruments import Instrument
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import InputError, TapeError
from holdfast.testing.world import START_NS, LoopScheduler, run, virtual, virtual_clock
from holdfast.trading.market_paper import SeededMarket
from holdfast.venue.paper import Venue

QUOTES = """ts,bid,bid_size,ask,ask_size
2024-08-08T00:00:00Z,100.00,5,100.10,5
2024-08-08T00:00:10Z,100.50,5,100.60,2.5
2024-08-08T00:00:20Z,99.00,5,99.10,5
"""
TRADES = """ts,price,size,side
2024-08-08T00:00:05Z,100.00,3,sell
2024-08-08T00:00:15Z,100.60,1,buy
"""


def written(folder: Path, text: str, kind: str, symbol: str = "acme") -> Path:
    path = folder / f"binance_spot_{symbol}_{kind}.csv"
    path.write_text(text, encoding="utf-8")
    return path


def venue_of(*instruments: Instrument) -> Venue:
    venue = Venue()
    for instrument in instruments:
        venue.add_listing(instrument)
    return venue


def test_a_recording_tells_the_grid_of_its_symbols(tmp_path: Path) -> None:
    """The last decimal of any price or size is the step."""
    recording = open_recording([written(tmp_path, QUOTES, "q"), written(tmp_path, TRADES, "t")])

    assert recording.instruments == (Instrument.of("ACME", tick="0.1", lot="0.1"),)
    times = [record.at_ns for record in recording.records()]
    assert times == sorted(times)
    assert len(times) == 5


def test_it_is_played_as_many_times_as_fast_as_asked(tmp_path: Path) -> None:
    """Twenty seconds take two at ten times the speed, and the last quote is what is shown."""

    @virtual
    async def case() -> None:
        recording = open_recording([written(tmp_path, QUOTES, "q")])
        venue = venue_of(*recording.instruments)
        market = RecordedMarket(venue, recording, speed=Decimal(10), delays=LoopScheduler())
        await market.run()

        assert market.played == 3
        assert virtual_clock().boot_ns() // NS_PER_S == 2
        top = venue.top("ACME")
        assert (top.bid, top.ask, top.ask_quantity) == (Decimal(99), Decimal("99.1"), Decimal(5))

    case()


def test_recorded_trades_meet_the_orders_that_stand_in_their_way(tmp_path: Path) -> None:
    """A buy order above the recorded trade is filled; one far below is not."""

    @virtual
    async def case() -> None:
        quotes = QUOTES.rpartition("2024-08-08T00:00:20Z")[0]  # none of them meets the orders
        recording = open_recording([written(tmp_path, quotes, "q"), written(tmp_path, TRADES, "t")])
        venue = venue_of(*recording.instruments)
        venue.open_account("paper")
        for wire_id, price in (("near", "100.0"), ("far", "90.0")):
            terms = OrderTerms(
                symbol="ACME",
                side=Side.BUY,
                quantity=Decimal(1),
                order_type=OrderType.LIMIT,
                limit_price=Decimal(price),
            )
            venue.submit("paper", wire_id, terms, START_NS)
        await RecordedMarket(venue, recording, delays=LoopScheduler()).run()

        near, far = venue.orders("paper")
        assert (near.status, far.status) == (Status.FILLED, Status.OPEN)
        assert venue.books("paper").positions == {"ACME": Decimal(1)}

    case()


@pytest.mark.parametrize(
    ("instruments", "said"),
    [
        ((), "ACME, which is not listed; add the instrument ACME with tick 0.1 and lot 0.1"),
        ((Instrument.of("ACME", tick="1", lot="0.1"),), "recorded in finer steps"),
        ((Instrument.of("ACME", tick="0.1", lot="1"),), "recorded in finer steps"),
    ],
)
def test_a_symbol_that_the_venue_could_not_show_is_refused(
    tmp_path: Path, instruments: tuple[Instrument, ...], said: str
) -> None:
    """Before anything is played, with the steps that would do."""
    recording = open_recording([written(tmp_path, QUOTES, "q")])
    with pytest.raises(InputError, match=said):
        RecordedMarket(venue_of(*instruments), recording)


def test_files_that_are_no_market_are_refused(tmp_path: Path) -> None:
    """Bars cannot be played, nor can nothing, nor a file that is not there."""
    bars = "timestamp,open,high,low,close,volume\n2024-08-08T00:00:00Z,1,1,1,1,1\n"
    with pytest.raises(TapeError, match="csv_bars, which cannot be played"):
        open_recording([written(tmp_path, bars, "b")])
    with pytest.raises(TapeError, match="cannot be read"):
        open_recording([tmp_path / "nothing.csv"])
    with pytest.raises(InputError, match="0 market files"):
        open_recording([])


@pytest.mark.parametrize("speed", ["0", "-1", "NaN", "Infinity", "10001"])
def test_a_speed_that_cannot_be_played_is_refused(speed: str) -> None:
    """The bounds are in the message."""
    with pytest.raises(InputError, match=r"give a number from 0.01 to 10000"):
        check_speed(Decimal(speed))


def test_a_simulated_market_is_the_same_for_the_same_seed() -> None:
    """Every listed symbol wanders on its own; nothing but the seed decides how."""

    def tops(seed: int) -> list[object]:
        venue = venue_of(Instrument.of("A"), Instrument.of("B"))

        async def main() -> None:
            market = SeededMarket(venue, seed=seed, delays=LoopScheduler())
            try:
                async with asyncio.timeout(20):
                    await market.run()
            except TimeoutError:
                pass

        run(main())
        return [(venue.top(each).bid, venue.top(each).last) for each in ("A", "B")]

    assert tops(1) == tops(1)
    assert tops(1) != tops(2)
    assert tops(1)[0] != tops(1)[1]
