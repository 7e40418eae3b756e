"""Teams trade on recorded Binance quotes and trades."""

import asyncio
from decimal import Decimal
from pathlib import Path

from holdfast.brokers.recorded_market import Recording, open_recording
from holdfast.domain.instruments import Instrument
from holdfast.testing.world import VirtualLoop, virtual
from holdfast.trading.plugins import team_of
from holdfast.trading.running import RunPlan, RunSummary, load_teams, paper_config, run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "strategies"
BTC = "market/crypto/binance_spot_btcusdt_20240808_"
ETH = "market/crypto/binance_spot_ethusdt_20240808_"
RAISING = "class Strategy:\n    def decide(self, market):\n        raise ValueError('no idea')\n"


def recorded(data_dir: Path, *prefixes: str) -> Recording:
    kinds = ("quotes", "trades")
    return open_recording([data_dir / f"{p}{kind}.csv.gz" for p in prefixes for kind in kinds])


def traded(market: Recording, teams: list[str], **plan: object) -> RunSummary:
    summaries: list[RunSummary] = []

    @virtual
    async def case() -> None:
        specs = [team_of(text) for text in teams]
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        chosen = RunPlan(
            config=paper_config(specs, market, "memory://"),
            teams=load_teams(specs),
            market=market,
            **plan,  # type: ignore[arg-type]  # what a test says of its plan
        )
        summaries.append(await run(chosen, asyncio.Event(), clock=loop.clock))

    case()
    return summaries[0]


def example(name: str, folder: str) -> str:
    return f"{name};{EXAMPLES / folder};strategy:Strategy;100000"


def test_the_other_team_trades_on_while_one_raises(data_dir: Path, tmp_path: Path) -> None:
    """Two teams on one paper account on recorded quotes and trades; the books agree at the end
    (scenarios 53 and 54).
    """
    (tmp_path / "strategy.py").write_text(RAISING, encoding="utf-8")
    market = recorded(data_dir, BTC)
    assert market.instruments == (Instrument.of("BTCUSDT", tick="0.01", lot="0.00001"),)

    teams = [example("alpha", "momentum"), f"broken;{tmp_path};strategy:Strategy;1000"]
    summary = traded(market, teams, speed=Decimal(5))
    alpha, broken = summary.teams

    assert (summary.ended_by, summary.played) == ("market", 28_040 + 9_757)
    assert alpha.cycles == broken.cycles >= 69
    assert alpha.fills >= 5
    assert alpha.errors == alpha.faults == 0
    assert broken.errors >= 6
    assert (broken.orders, broken.faults) == (0, 0)
    assert summary.books_agree is True
    assert summary.books is not None
    (row,) = summary.books
    assert row.symbol == "BTCUSDT"
    assert row.ours == alpha.positions.get("BTCUSDT", Decimal(0))


def test_two_teams_and_two_symbols_sum_up_to_one_account(data_dir: Path) -> None:
    """Each desk has its own position, and the account the sum of both in every symbol."""
    market = recorded(data_dir, BTC, ETH)
    teams = [example("alpha", "momentum"), example("beta", "quoter")]
    summary = traded(market, teams, speed=Decimal(5), on_exit="leave")
    alpha, beta = summary.teams

    assert min(alpha.fills, beta.fills) >= 3
    assert alpha.faults == beta.faults == alpha.errors == beta.errors == 0
    assert summary.books is not None
    assert {row.symbol for row in summary.books} == {"BTCUSDT", "ETHUSDT"}
    for row in summary.books:
        held = [each.positions.get(row.symbol, Decimal(0)) for each in (alpha, beta)]
        assert sum(held) == row.ours == row.broker
