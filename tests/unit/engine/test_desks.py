"""Several desks in one journal: modes, accounts that are shared, what is armed, what is closed."""

import asyncio
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import holdfast.sync
from holdfast.config import Config
from holdfast.connecting import BrokerAccount, Connection
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Side, Status
from holdfast.engine.emergency import EmergencyLog, Line
from holdfast.engine.masking import forget_secrets, masked
from holdfast.errors import Closed, ConfigError, InputError, OrderRefused
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import LIVE_VARIABLE, Desks, OrderManager

BUY: Any = {"symbol": "TSLA", "side": "buy", "quantity": 10, "wait": "accepted"}


def tables(**account: object) -> dict[str, Any]:
    """A shared account, two desks on it, and a third with an account of its own."""
    return {
        "journal": {"url": "memory://"},
        "accounts": {"main": account},
        "desks": {"alpha": {"account": "main"}, "beta": {"account": "main"}},
        "instruments": {"TSLA": {}},
    }


def config(**account: object) -> Config:
    return Config.parse(tables(**account))


class Adapter:
    """Somebody's own adapter: what it was asked to connect, and what it made."""

    modes: ClassVar[tuple[str, ...]] = ("paper", "live")

    def __init__(self) -> None:
        self.asked: list[BrokerAccount] = []
        self.made: list[ScriptedBroker] = []
        self.closed: list[str] = []
        self.lasting: ScriptedBroker | None = None

    async def __call__(self, account: BrokerAccount) -> Connection:
        self.asked.append(account)
        self.made.append(broker := self.lasting or ScriptedBroker())

        async def close() -> None:
            self.closed.append(account.name)

        return Connection(broker=broker, close=close)


class Nothing:
    """A factory of things that are no broker."""

    modes: ClassVar[tuple[str, ...]] = ("paper",)

    def __init__(self, _account: BrokerAccount) -> None:
        pass


class Broken:
    """A factory that raises, with a secret in its words."""

    modes: ClassVar[tuple[str, ...]] = ("paper",)

    def __init__(self, _account: BrokerAccount) -> None:
        raise OSError("GET https://x/?token=S3CRET refused")


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Adapter]:
    """The adapter `own:connect`, which serves paper and live."""
    made = Adapter()
    modules = SimpleNamespace(
        connect=made,
        undeclared=lambda _account: ScriptedBroker(),
        nothing=Nothing,
        broken=Broken,
    )
    monkeypatch.setitem(sys.modules, "own", modules)
    monkeypatch.delenv(LIVE_VARIABLE, raising=False)
    yield made
    forget_secrets()


def opened(choice: Config, **options: Any) -> Any:
    return Desks.open(choice, clock=virtual_clock(), **options)


# Modes.


@virtual
async def test_live_is_armed_in_the_configuration_and_at_the_start(adapter: Adapter) -> None:
    """With one of the two nothing is connected, and the message says which is missing."""
    with pytest.raises(InputError, match=r"accounts.main is live.*give --live .* HOLDFAST_LIVE=1"):
        async with opened(config(broker="own:connect", mode="live")):
            pass
    with pytest.raises(InputError, match=r'mode = "live" is missing: it is paper for acc'):
        async with opened(config(broker="own:connect"), live=True):
            pass
    assert adapter.asked == []

    async with opened(config(broker="own:connect", mode="live"), live=True):
        pass
    assert [each.mode for each in adapter.asked] == ["live"]


@virtual
async def test_the_environment_arms_as_well(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOLDFAST_LIVE=1 stands for --live; anything else in it does not."""
    monkeypatch.setenv(LIVE_VARIABLE, "yes")
    with pytest.raises(InputError, match="is live, but"):
        async with opened(config(broker="own:connect", mode="live")):
            pass
    monkeypatch.setenv(LIVE_VARIABLE, "1")
    async with opened(config(broker="own:connect", mode="live")) as desks:
        order = await desks["alpha"].submit(**BUY)
    assert order.status is Status.OPEN
    async with opened(config()):
        pass  # paper stays paper
    assert len(adapter.asked) == 1


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ({"mode": "live"}, "which broker 'paper' does not serve; it serves dry_run, paper"),
        (
            {"broker": "alpaka", "mode": "paper"},
            "accounts.main.broker is 'alpaka'; known are paper",
        ),
        ({"broker": "own:undeclared"}, "declares modes None"),
        ({"broker": "own:other"}, "cannot be loaded"),
        ({"broker": "no_such_module:x"}, "cannot be loaded"),
        ({"broker": "own:nothing"}, "made a Nothing; it must return a Broker"),
        ({"broker": "own:broken"}, r"could not connect: OSError: GET https://x/\?token=\*\*\* ref"),
    ],
)
def test_a_broker_serves_the_modes_it_declares(
    adapter: Adapter, account: dict[str, object], message: str
) -> None:
    """The paper venue is never live, and an adapter that declares nothing is not used."""

    @virtual
    async def case() -> None:
        live = account.get("mode") == "live"
        with pytest.raises(ConfigError, match=message):
            async with opened(config(**account), live=live):
                pass

    case()
    assert adapter.asked == []


@virtual
async def test_a_desk_keeps_its_mode_for_life(adapter: Adapter) -> None:
    """A journal of paper trading is not opened live; nothing is recorded or sent."""
    store = Store()
    async with opened(config(broker="own:connect"), journal=MemoryJournal(store)):
        pass
    before, live = store.heads["alpha"].seq, config(broker="own:connect", mode="live")

    with pytest.raises(InputError, match="desk 'alpha' of this journal has mode 'paper', not 'liv"):
        async with opened(live, live=True, journal=MemoryJournal(store)):
            pass

    assert store.heads["alpha"].seq == before
    assert adapter.closed == ["main", "main"]
    assert adapter.made[1].calls == []
    assert not store.owned


@virtual
async def test_a_dry_run_connects_no_broker(adapter: Adapter) -> None:
    """Orders live and end, the adapter is not even made, and no secret is read (scenario 47)."""
    account = {"broker": "own:connect", "mode": "dry_run", "credentials": {"k_env": "NOT_SET"}}
    async with opened(config(**account)) as desks:
        order = await desks["alpha"].place_limit_order("TSLA", "buy", 1, "250", wait="accepted")
        await desks["alpha"].cancel_order(order.client_order_id)
        gone = await desks["alpha"].wait(order.client_order_id)
        mode = desks["alpha"]._runner.desk.state.stored.mode

    assert (order.status, gone.status, mode) == (Status.OPEN, Status.CANCELED, "dry_run")
    assert adapter.asked == []


@virtual
async def test_a_dry_run_fills_at_the_prices_of_the_paper_venue(adapter: Adapter) -> None:
    """With broker = "paper" its market is looked at and its book left alone."""
    async with opened(config(mode="dry_run")) as desks:
        venue = desks.venues["main"]
        venue.crowd("TSLA").quote(-1, 25_010, 5)
        await asyncio.sleep(1)
        order = await desks["alpha"].submit(**BUY)
        order = await desks["alpha"].wait(order.client_order_id)
        left = venue.top("TSLA").ask_quantity

    assert (order.status, order.average_price, left) == (Status.FILLED, Decimal("250.1"), 5)
    assert adapter.asked == []


# Credentials.


@virtual
async def test_credentials_are_read_where_the_file_says(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A factory gets the secrets, and everything that is shown has them masked."""
    monkeypatch.setenv("OWN_KEY", "tango-7-secret")
    (tmp_path / "s").write_text("whiskey-9-secret\n", encoding="utf-8")
    names = {"key_env": "OWN_KEY", "word_file": str(tmp_path / "s")}
    async with opened(config(broker="own:connect", credentials=names)):
        pass

    assert adapter.asked[0].credentials == {"key": "tango-7-secret", "word": "whiskey-9-secret"}
    assert masked("said tango-7-secret and whiskey-9-secret") == "said *** and ***"


@virtual
async def test_a_credential_that_is_not_there_is_named(adapter: Adapter) -> None:
    """The message has the path and the variable's name."""
    with pytest.raises(
        ConfigError, match=r"credentials.key_env names the environment variable NO_"
    ):
        async with opened(config(broker="own:connect", credentials={"key_env": "NO_SUCH"})):
            pass
    assert adapter.asked == []


# Several desks.


@virtual
async def test_two_desks_share_an_account_and_nothing_else(adapter: Adapter) -> None:
    """One connection; orders, positions and ids are each desk's own (scenario 104)."""
    async with opened(config(broker="own:connect")) as desks:
        alpha, beta = desks["alpha"], desks["beta"]
        first = await alpha.submit(**BUY)
        second = await beta.submit(symbol="TSLA", side="sell", quantity=4, wait="accepted")
        [broker] = adapter.made
        broker.fill(first.wire_id, 10, "250")
        broker.fill(second.wire_id, 4, "251")
        await asyncio.sleep(40)  # polls come and go

        assert [order.wire_id for order in await alpha.orders()] == [first.wire_id]
        assert [order.wire_id for order in await beta.orders()] == [second.wire_id]
        assert await desks.positions("main") == {"TSLA": Decimal(6)}
        unclaimed = desks.unclaimed("main")
        assert unclaimed is not None
        assert await unclaimed.orders() == []
        assert (await alpha.statistics())["link"] == (await beta.statistics())["link"]
        assert desks.names == tuple(desks) == ("alpha", "beta")
        assert desks["unclaimed-main"] is unclaimed
        wrongs: Any = (lambda: desks["gamma"], lambda: desks.unclaimed("other"))
        for wrong in wrongs:
            with pytest.raises(ConfigError, match="there are: "):
                wrong()


@virtual
async def test_each_desk_has_its_own_limits(adapter: Adapter) -> None:
    """What one desk may not do, the other still may."""
    given = tables(broker="own:connect")
    given["desks"]["alpha"]["limits"] = {"order_quantity_max": 5}
    async with opened(Config.parse(given)) as desks:
        with pytest.raises(OrderRefused):
            await desks["alpha"].submit(**BUY)
        order = await desks["beta"].submit(**BUY)

    assert order.status is Status.OPEN
    assert len(adapter.made[0].sent(SubmitOrder)) == 1
    assert Config.parse(given).policies_of("beta").limits == Limits()


@virtual
async def test_desks_find_their_orders_again(adapter: Adapter) -> None:
    """After a restart each goes on with its own, and nothing is adopted meanwhile (104)."""
    store = Store()
    async with opened(config(broker="own:connect"), journal=MemoryJournal(store)) as desks:
        orders = {name: await desks[name].submit(**BUY) for name in desks}
    adapter.lasting = adapter.made[0]
    async with opened(config(broker="own:connect"), journal=MemoryJournal(store)) as desks:
        await asyncio.sleep(40)
        for name in desks:
            [order] = await desks[name].orders()
            assert (order.wire_id, order.status) == (orders[name].wire_id, Status.OPEN)
        assert await desks["unclaimed-main"].orders() == []
        assert (await desks["alpha"].health()).unclaimed == ()


@virtual
async def test_all_desks_cancel_their_entries_at_the_end(adapter: Adapter) -> None:
    """One call shuts all down: their orders are cancelled, then link and broker are closed."""
    async with opened(config(broker="own:connect")) as desks:
        for name in desks:
            await desks[name].place_limit_order("TSLA", "buy", 1, "250", wait="accepted")
        await desks.shutdown("cancel")
        await desks.shutdown()  # twice does nothing
        with pytest.raises(Closed):
            await desks["alpha"].submit(**BUY)

    assert len(adapter.made[0].sent(CancelOrder)) == 2
    assert adapter.closed == ["main"]


@virtual
async def test_one_desk_may_end_before_the_other(adapter: Adapter) -> None:
    """What they share stays open, and the orders it leaves are not taken for nobody's."""
    async with opened(config(broker="own:connect")) as desks:
        left = await desks["alpha"].submit(**BUY)
        await desks["alpha"].shutdown()
        order = await desks["beta"].submit(**BUY)
        await asyncio.sleep(40)
        assert await desks["unclaimed-main"].orders() == []

    assert (left.status, order.status) == (Status.OPEN, Status.OPEN)
    assert adapter.closed == ["main"]


@virtual
async def test_what_cannot_be_opened_leaves_nothing_open(adapter: Adapter) -> None:
    """One desk that is refused: the broker is closed, the journal is free again."""
    store = Store()
    async with OrderManager.open(
        journal=MemoryJournal(store), broker=ScriptedBroker(), desk="beta", account="other"
    ):
        pass

    with pytest.raises(InputError, match="desk 'beta' of this journal has account 'other'"):
        async with opened(config(broker="own:connect"), journal=MemoryJournal(store)):
            pass

    assert adapter.closed == ["main"]
    assert not store.owned
    assert adapter.made[0].calls == []


@virtual
async def test_a_rate_bounds_all_desks_of_an_account(adapter: Adapter) -> None:
    """Two desks at two requests a second: ten orders take some seconds, none is lost (104)."""
    rate = {"requests_per_second": 2, "burst": 2}
    async with opened(config(broker="own:connect", rate=rate)) as desks:
        orders = [await desks[name].submit(**BUY | {"wait": "durable"}) for name in (*desks,) * 5]
        await asyncio.sleep(1)
        early = len(adapter.made[0].sent(SubmitOrder))
        for name, order in zip((*desks,) * 5, orders, strict=True):
            await desks[name].wait(order.client_order_id, "accepted")

    assert early < 5
    assert len(adapter.made[0].sent(SubmitOrder)) == 10


# One desk.


def test_a_manager_is_opened_from_a_file(tmp_path: Path, adapter: Adapter) -> None:
    """`OrderManager.open("holdfast.toml", desk="alpha")` is the whole of it."""
    path = tmp_path / "holdfast.toml"
    path.write_text(
        '[accounts.main]\nbroker = "own:connect"\n[desks.alpha]\naccount = "main"\n'
        '[desks.beta]\naccount = "main"\n[instruments.TSLA]\n',
        encoding="utf-8",
    )

    async def ordered(desk: str | None) -> Any:
        async with OrderManager.open(path, desk=desk) as manager:
            return await manager.submit(**BUY)

    order = asyncio.run(ordered("alpha"))
    with pytest.raises(ConfigError, match=r"several desks \(alpha, beta\); say which"):
        asyncio.run(ordered(None))
    with pytest.raises(ConfigError, match="there is no desk 'alpa'; did you mean 'alpha'"):
        asyncio.run(ordered("alpa"))

    assert order.status is Status.OPEN
    assert (tmp_path / "holdfast.db").exists()
    assert adapter.closed == ["main"]


@pytest.mark.parametrize(
    "more",
    [
        {"journal": "memory://"},
        {"broker": ScriptedBroker()},
        {"currency": "EUR"},
        {"instruments": [Instrument.of("TSLA")]},
        {"mode": "live"},
        {"mode": "paper"},
        {"account": "paper"},
        {"currency": "USD"},
        {"instruments": ()},
        {"poll_interval_ms": 15_000},
        {"epoch": ""},
    ],
)
def test_the_two_forms_are_not_mixed(more: dict[str, Any]) -> None:
    """What stands in the configuration is not given beside it as well, be it the default."""

    @virtual
    async def case() -> None:
        with pytest.raises(InputError, match="with a configuration give desk, live and clock"):
            async with OrderManager.open(config(), desk="alpha", **more):
                pass

    case()


@virtual
async def test_a_manager_made_in_code_is_armed_twice_as_well() -> None:
    """Mode and `live` belong together there too, and a broker may say what it serves."""
    broker: Any = ScriptedBroker()
    for options, message in (
        ({"mode": "live"}, "give --live"),
        ({"live": True}, 'mode = "live" is missing'),
        ({"mode": "dry_run"}, "a dry run, and nothing else, takes a DryRunBroker"),
    ):
        given: Any = options
        with pytest.raises(InputError, match=message):
            async with OrderManager.open(journal="memory://", broker=broker, **given):
                pass
    broker.modes = ("paper",)
    with pytest.raises(InputError, match="does not serve; it serves paper"):
        async with OrderManager.open(journal="memory://", broker=broker, mode="live", live=True):
            pass
    with pytest.raises(InputError, match="give a configuration, or a journal and a broker"):
        async with OrderManager.open(journal="memory://"):
            pass
    assert broker.calls == []


def test_the_twin_opens_a_configuration_too(adapter: Adapter) -> None:
    """The same arguments without an event loop; all is closed at its end."""
    with holdfast.sync.OrderManager.open(config(broker="own:connect"), desk="beta") as om:
        order = om.submit(**BUY)

    assert order.status is Status.OPEN
    assert adapter.closed == ["main"]
    with pytest.raises(Closed):
        om.positions()


@virtual
async def test_desks_take_back_only_their_own_exits_of_a_halt(
    adapter: Adapter, tmp_path: Path
) -> None:
    """They share the file of what went out past the journal, and each adopts what it sent."""
    given = Config.parse(
        tables(broker="own:connect") | {"journal": {"url": str(tmp_path / "d.db")}}
    )
    store = Store()
    async with opened(given, journal=MemoryJournal(store)) as desks:
        wire_id = f"{desks['alpha']._runner.prefix}x9.1"
    terms = OrderTerms(symbol="TSLA", side=Side.SELL, quantity=Decimal(1), reduce_only=True)
    log = EmergencyLog(tmp_path / "d.db.emergency.jsonl")
    log.write(Line(kind="exit", at_ns=1, wire_id=wire_id, symbol="TSLA", terms=terms))

    async with opened(given, journal=MemoryJournal(store)) as desks:
        await asyncio.sleep(1)
        adopted = {name: [each.wire_id for each in await desks[name].orders()] for name in desks}

    assert adopted == {"alpha": [wire_id], "beta": []}
    assert log.owed() == []
