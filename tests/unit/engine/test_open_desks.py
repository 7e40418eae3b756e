"""What is refused before anything is opened, and what is opened with the desks."""

import asyncio
import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import holdfast.sync
from holdfast.config import Config
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.reports import Snapshot
from holdfast.domain.values import OrderType, Side, Status
from holdfast.engine.desks import EPOCHS_MAX
from holdfast.errors import Closed, ConfigError, InputError, JournalUnwritable, OrderRefused
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.ports import AccountFigures
from holdfast.testing.scripted import Hang, ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import Desks, OrderManager

QUOTES = """ts,bid,bid_size,ask,ask_size
2024-08-08T00:00:00Z,100.00,5,100.10,5
2024-08-08T00:00:20Z,99.00,5,99.10,5
"""


def tables(**account: object) -> Any:
    """Two desks on one account, in memory."""
    return {
        "journal": {"url": "memory://"},
        "accounts": {"main": account},
        "desks": {"alpha": {"account": "main"}, "beta": {"account": "main"}},
        "instruments": {"TSLA": {}, "ACME": {}},
    }


def opened(journal: MemoryJournal | None = None, **account: object) -> Any:
    config = Config.parse(tables(**account))
    return Desks.open(config, clock=virtual_clock(), journal=journal)


Serve = Callable[[Any], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Have `own:connect` be a factory, or make this broker."""

    def given(made: Any) -> None:
        def factory(_account: object) -> Any:
            return made

        factory.modes = ("paper",)  # type: ignore[attr-defined]  # what a factory declares
        connect = made if isinstance(made, type) else factory
        monkeypatch.setitem(sys.modules, "own", SimpleNamespace(connect=connect))

    return given


OWN: Any = {"broker": "own:connect"}


class Undeclared(ScriptedBroker):
    """A broker that says nothing of its modes."""

    modes: Any = None


class RealMoney(ScriptedBroker):
    """A broker of a live endpoint."""

    modes = frozenset({"live"})


@pytest.mark.parametrize(
    ("broker", "message"),
    [
        (Undeclared(), "declares no modes; give it an attribute modes"),
        (RealMoney(), "mode is paper, which .* RealMoney, does not serve; it serves live"),
    ],
)
def test_a_broker_is_not_used_in_a_mode_that_it_does_not_declare(
    serve: Serve, broker: ScriptedBroker, message: str
) -> None:
    """A live endpoint never opens as paper, unarmed, in neither form (scenario 46)."""

    @virtual
    async def case() -> None:
        journal = MemoryJournal()
        with pytest.raises(InputError, match=message):
            async with OrderManager.open(journal=journal, broker=broker, clock=virtual_clock()):
                pass
        assert journal.head("main").seq == 0  # and it is still open
        serve(broker)
        with pytest.raises(InputError, match=message):
            async with opened(**OWN):
                pass

    case()
    assert broker.calls == []


@pytest.mark.parametrize(
    "wrong",
    [{"instruments": (5,)}, {"poll_interval_ms": 0}, {"snapshot_every": True}, {"journal": 5}],
)
def test_what_cannot_be_is_refused_before_anything_is_recorded(wrong: dict[str, Any]) -> None:
    """The journal that was passed in stays open and empty."""

    @virtual
    async def case() -> None:
        journal = MemoryJournal()
        given: Any = {"journal": journal, "broker": ScriptedBroker()} | wrong
        with pytest.raises(InputError, match=r"instruments has 5|it must be a whole|give a file"):
            async with OrderManager.open(**given, clock=virtual_clock()):
                pass
        assert journal.head("main").seq == 0
        journal.close()

    case()


@virtual
async def test_a_journal_that_was_taken_over_is_closed_with_what_failed() -> None:
    """From the first record on it belongs to the desk."""
    store = Store()
    async with OrderManager.open(
        journal=MemoryJournal(store), broker=ScriptedBroker(), currency="EUR"
    ):
        pass
    with pytest.raises(InputError, match="has currency 'EUR'"):
        async with OrderManager.open(journal=MemoryJournal(store), broker=ScriptedBroker()):
            pass
    assert not store.owned


def test_the_twin_connects_nothing_for_what_is_refused() -> None:
    """A broker is made once the rest holds, not before."""
    made: list[ScriptedBroker] = []

    def make() -> ScriptedBroker:
        made.append(ScriptedBroker())
        return made[0]

    for config in (Config.parse(tables()), None):
        with (
            pytest.raises(InputError, match=r"leave out: broker|give a configuration"),
            holdfast.sync.OrderManager.open(config, broker=make),
        ):
            pass
    assert made == []


# Quotes.


class Quoteless:
    """A factory whose quotes cannot be had."""

    modes: ClassVar[tuple[str, ...]] = ("paper",)
    gives: ClassVar[object] = None

    @staticmethod
    def quotes(_account: object) -> object:
        """Raise with a secret, or give what is no source."""
        if Quoteless.gives is None:
            raise OSError("GET https://x/?token=S3CRET refused")
        return Quoteless.gives


@virtual
async def test_quotes_of_somebodys_own_that_fail_are_told_as_theirs(serve: Serve) -> None:
    """With the account's path, and without the secret in their words."""
    serve(Quoteless)
    with pytest.raises(ConfigError, match=r"accounts.main.*could not give quotes: OSError.*\*\*\*"):
        async with opened(mode="dry_run", **OWN):
            pass
    Quoteless.gives = 5
    with pytest.raises(ConfigError, match="a int for its quotes; it must be a source of Quotes"):
        async with opened(mode="dry_run", **OWN):
            pass


@pytest.mark.parametrize("mode", ["paper", "dry_run"])
def test_a_recorded_market_is_played_at_its_speed(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The file moves the venue of a paper account, and a dry run fills at its prices (47)."""
    path = tmp_path / "binance_spot_acme_q.csv"
    path.write_text(QUOTES, encoding="utf-8")

    @virtual
    async def case() -> None:
        market = {"market": str(path), "speed": 10}
        async with opened(mode=mode, paper=market) as desks:
            alpha = desks["alpha"]
            await asyncio.sleep(1)
            early = await alpha.quote("ACME")
            order = await alpha.place_market_order("ACME", "buy", 1)
            order = await alpha.wait(order.client_order_id)
            await asyncio.sleep(2)
            late = await alpha.quote("ACME")
        assert (early.bid, late.bid) == (Decimal(100), Decimal(99))
        assert (order.status, order.average_price) == (Status.FILLED, Decimal("100.1"))

    with caplog.at_level(logging.WARNING, "holdfast.wiring"):
        case()
    assert "the recording of account main has ended; its last prices stand" in caplog.text


@virtual
async def test_a_market_that_cannot_be_played_keeps_everything_closed(tmp_path: Path) -> None:
    """The path of the key and of the file; the journal is not touched."""
    journal = MemoryJournal()
    with pytest.raises(ConfigError, match=r"accounts.main.paper.market: .*none.csv cannot be read"):
        async with opened(journal, paper={"market": str(tmp_path / "none.csv")}):
            pass
    assert journal.head("alpha").seq == 0
    journal.close()


class Teller(ScriptedBroker):
    """A broker that tells its account's figures, and counts how often."""

    def __init__(self) -> None:
        super().__init__(Capabilities(account_data=True))
        self.asked = 0

    async def account(self) -> AccountFigures:
        """Tell the figures."""
        self.asked += 1
        return AccountFigures(buying_power=Decimal(1_000))


@pytest.mark.parametrize(("ttl", "more"), [(1, 1), (20, 0)])
def test_an_account_says_how_long_its_figures_serve(serve: Serve, ttl: int, more: int) -> None:
    """After ten seconds they are asked anew, or not (scenario 43)."""
    broker = Teller()
    serve(broker)

    @virtual
    async def case() -> None:
        async with opened(account_ttl_seconds=ttl, **OWN) as desks:
            await asyncio.sleep(5)  # it is asked at the start
            await desks["alpha"].account()
            before = broker.asked
            await asyncio.sleep(10)
            await desks["alpha"].account()
            assert broker.asked - before == more

    case()


# The account as a whole.


@virtual
async def test_an_unclaimed_desk_takes_no_entries(serve: Serve) -> None:
    """It cancels and closes what it follows; limits and switches of others cannot be evaded."""
    broker = ScriptedBroker()
    serve(broker)
    broker.orders["HAND"] = Snapshot(
        broker_order_id="HAND-1",
        wire_id="HAND",
        symbol="TSLA",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        status=Status.OPEN,
        order_quantity=Decimal(7),
        cumulative=Decimal(0),
        limit_price=Decimal(300),
    )
    broker.executions["HAND"] = []
    async with opened(**OWN) as desks:
        await asyncio.sleep(20)
        unclaimed = desks.unclaimed("main")
        [order] = await unclaimed.orders()
        with pytest.raises(OrderRefused) as refused:
            await unclaimed.place_limit_order("TSLA", "buy", 1, "250")
        await unclaimed.cancel_order(order.client_order_id)
        await asyncio.sleep(1)

    assert refused.value.code == "UNCLAIMED_DESK"
    assert broker.sent(SubmitOrder) == []
    assert len(broker.sent(CancelOrder)) == 1


@virtual
async def test_an_accounts_sum_is_not_told_without_one_of_its_desks(serve: Serve) -> None:
    """Orders that a closed desk left may fill, and nobody here hears of it."""
    serve(ScriptedBroker())
    async with opened(**OWN) as desks:
        assert await desks.positions("main") == {}
        await desks["beta"].shutdown()
        with pytest.raises(Closed, match=r"account main .* desk beta of it is shut down"):
            await desks.positions("main")


@virtual
async def test_a_way_to_end_that_there_is_not_ends_nothing(serve: Serve) -> None:
    """Neither a mode nor a time that cannot be; the desks trade on."""
    serve(ScriptedBroker())
    async with opened(**OWN) as desks:
        for wrong in ({"mode": "sell everything"}, {"mode": "cancel", "timeout": -1}):
            given: Any = wrong
            with pytest.raises(InputError, match=r"give leave, cancel or flatten|zero or more"):
                await desks.shutdown(**given)
        order = await desks["alpha"].place_limit_order("TSLA", "buy", 1, "1", wait="accepted")
    assert order.status is Status.OPEN


@virtual
async def test_strangers_wire_ids_are_remembered_within_bounds(serve: Serve) -> None:
    """Ids of any form are no desk's, and do not pile up."""
    serve(ScriptedBroker())
    async with opened(**OWN) as desks:
        ours = desks["alpha"]._runner.prefix
        assert desks._is_ours(f"{ours}1")
        epoch = ours[:12]
        for number in range(EPOCHS_MAX + 10):
            assert not desks._is_ours(f"{epoch}-d{number}-1")
            assert not desks._is_ours(f"{number:08x}-1d4e-4f5a-8b6c-{number:012x}")
        assert len(desks._epochs) == EPOCHS_MAX
        assert desks._is_ours(f"{ours}1")


class Failing(MemoryJournal):
    """A journal that cannot be closed in order."""

    def close(self) -> None:
        """Fail."""
        super().close()
        raise JournalUnwritable("the disk is full")


@virtual
async def test_every_desk_is_closed_whatever_goes_wrong(serve: Serve) -> None:
    """What failed is raised at the end."""
    serve(ScriptedBroker())
    with pytest.raises(JournalUnwritable):
        async with opened(Failing(), **OWN) as desks:
            pass
    assert not any(desks[name].is_open for name in (*desks, "unclaimed-main"))


@virtual
async def test_a_second_shutdown_may_ask_the_desks_for_more(serve: Serve) -> None:
    """Who still waits for an answer cancels its entries; whose end is over says so."""
    broker = ScriptedBroker()
    serve(broker)
    async with opened(**OWN) as desks:
        await desks["alpha"].place_limit_order("TSLA", "buy", 1, "1", wait="accepted")
        broker.script("submit", Hang())
        await desks["alpha"].place_limit_order("TSLA", "buy", 1, "2")
        await asyncio.sleep(0.1)
        first = asyncio.create_task(desks.shutdown("leave", timeout=4))
        await asyncio.sleep(1)
        with pytest.raises(Closed, match="desk 'beta' was shut down with mode 'leave' already"):
            await desks.shutdown("cancel", timeout=4)
        await first

    assert broker.sent(CancelOrder)
