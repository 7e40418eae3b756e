"""Limit prices, modes and the files of a run, from a configuration to the paper venue's book."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from holdfast.brokers.paper import PaperBroker
from holdfast.config import Config
from holdfast.connecting import BrokerAccount, Connection
from holdfast.domain import events as e
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.settings import Settings
from holdfast.domain.values import Side, Status
from holdfast.engine.results import OrderEnvelope
from holdfast.errors import (
    ConfigError,
    InputError,
    OrderRefused,
    OrderSubmissionError,
    UnsupportedOrderTypeError,
)
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue
from holdfast.wiring import Desks, OrderManager

LIMIT_ONLY: Final[dict[str, Any]] = {"profile": "limit_only"}
ABSOLUTE: Final = {"offset_mode": "absolute"}


class Paper:
    """One desk on a paper account, opened from a configuration."""

    def __init__(self, desks: Desks[OrderManager], store: Store) -> None:
        self.manager = desks["alpha"]
        self.venue = desks.venues["main"]
        self._store = store

    @property
    def there(self) -> list[VenueOrder]:
        """The account's orders at the venue."""
        return self.venue.orders("main")

    async def place(self, side: str, reference: Any, **options: Any) -> OrderEnvelope:
        """Place ten TSLA near a reference price."""
        symbol, quantity = options.pop("symbol", "TSLA"), options.pop("quantity", 10)
        place = self.manager.place_limit_buy if side == "buy" else self.manager.place_limit_sell
        return await place(symbol, quantity, reference, **options)

    def events(self, kind: type[Any]) -> list[Any]:
        """Return the journaled events of a kind."""
        decoded = map(decode, self._store.records["alpha"])
        return [event for event in decoded if isinstance(event, kind)]

    def check_nothing_was_sent(self) -> None:
        """Neither the journal nor the venue knows of an order."""
        assert self.events(e.OrderSubmitted) == []
        assert self.there == []


@asynccontextmanager
async def paper(pricing: dict[str, Any] | None = None, **desk: Any) -> AsyncIterator[Paper]:
    """Open a desk with these offsets on a paper account whose messages take 20 ms."""
    store = Store()
    tables = {
        "journal": {"url": "memory://"},
        "accounts": {"main": {"paper": {"latency_ms": 20, "jitter_ms": 30}}},
        "desks": {"alpha": {"account": "main", "order_management": pricing or {}} | desk},
        "instruments": {"TSLA": {}, "AAPL": {}},
    }
    choice = Config.parse(tables)
    async with Desks.open(choice, clock=virtual_clock(), journal=MemoryJournal(store)) as desks:
        await asyncio.sleep(1)
        yield Paper(desks, store)


# Prices that are made from a reference.


@virtual
async def test_a_buy_fifteen_points_below_its_reference() -> None:
    """TSLA at 250.30 less 15 basis points rests at 249.93, here and at the venue (36)."""
    async with paper({"buy_offset": 15}, **LIMIT_ONLY) as desk:
        placed = await desk.place("buy", "250.30")

    (there,) = desk.there
    (submitted,) = desk.events(e.OrderSubmitted)
    assert placed.limit_price == there.snapshot().limit_price == D("249.93")
    assert (placed.reference_price, placed.execution_mode) == (D("250.30"), "paper")
    assert (placed.side, there.side, there.quantity) == (Side.BUY, Side.BUY, 10)
    assert placed.broker_order_id == there.broker_order_id
    assert submitted.terms.reference_price == D("250.30")


@virtual
async def test_a_sell_at_an_absolute_offset_and_a_strategy_with_its_own() -> None:
    """252.10 and 0.04 is 252.14; with the override of 0.08 it is 252.18 (37)."""
    overrides = {"momentum": {"sell_offset": "0.08"}}
    pricing = ABSOLUTE | {"sell_offset": "0.04", "strategy_overrides": overrides}
    async with paper(pricing, **LIMIT_ONLY) as desk:
        await desk.place("sell", "252.10")
        await desk.place("sell", "252.10", strategy="momentum")

    prices = {order.wire_id[-1]: order.snapshot().limit_price for order in desk.there}
    assert prices == {"1": D("252.14"), "2": D("252.18")}


@virtual
async def test_an_offset_past_the_slippage_guard_is_refused() -> None:
    """500 points against half a percent: SLIPPAGE, journaled, and no call (38)."""
    async with paper({"buy_offset": 500, "max_slippage_pct": "0.5"}, **LIMIT_ONLY) as desk:
        with pytest.raises(OrderRefused) as refused:
            await desk.place("buy", "250")

    assert refused.value.code == "SLIPPAGE"
    assert [event.code for event in desk.events(e.RefusalRecorded)] == ["SLIPPAGE"]
    desk.check_nothing_was_sent()


@virtual
async def test_an_offset_that_leaves_nothing_of_the_price_is_refused() -> None:
    """10 off a reference of 5 must be positive, and is not sent (39)."""
    pricing = ABSOLUTE | {"buy_offset": 10, "max_slippage_pct": 100}
    async with paper(pricing, **LIMIT_ONLY) as desk:
        with pytest.raises(InputError, match="must be positive"):
            await desk.place("buy", "5")

    desk.check_nothing_was_sent()


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": ""},
        {"symbol": "aapl1"},
        {"symbol": "AAPL!"},
        {"quantity": 0},
        {"quantity": "1.5"},
        {"reference": 0},
    ],
)
def test_what_cannot_be_traded_is_refused_before_anything(wrong: dict[str, Any]) -> None:
    """A wrong symbol, quantity or reference is an error of the caller's; nothing is sent (40)."""

    @virtual
    async def case() -> None:
        async with paper(**LIMIT_ONLY) as desk:
            for side in ("buy", "sell"):
                with pytest.raises(InputError):
                    await desk.place(side, wrong.get("reference", 250), **_others(wrong))
        desk.check_nothing_was_sent()

    case()


def _others(wrong: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wrong.items() if name != "reference"}


@virtual
async def test_market_and_stop_orders_are_refused_with_what_to_call_instead() -> None:
    """The profile takes limit orders; the error names the way (41)."""
    async with paper(**LIMIT_ONLY) as desk:
        for place in (desk.manager.place_market_order, desk.manager.place_stop_order):
            with pytest.raises(UnsupportedOrderTypeError, match="place_limit_buy") as refused:
                await place("TSLA", "buy", 10, *(("260",) if "stop" in place.__name__ else ()))
            assert refused.value.code == "UNSUPPORTED_ORDER_TYPE"

    desk.check_nothing_was_sent()


@virtual
async def test_a_strategy_without_an_override_gets_the_desks_offsets() -> None:
    """And one that overrides one offset keeps the desk's other (42)."""
    pricing = {
        "buy_offset": 20,
        "sell_offset": 30,
        "strategy_overrides": {"own": {"buy_offset": 10}},
    }
    async with paper(pricing) as desk:
        for strategy in ("", "other", "own"):
            await desk.place("buy", 100, strategy=strategy)
            await desk.place("sell", 200, strategy=strategy)

    orders = sorted(desk.there, key=lambda order: int(order.wire_id.split("-")[2]))
    prices = [order.snapshot().limit_price for order in orders]
    desks = [D("99.80"), D("200.60")]
    assert prices == [*desks, *desks, D("99.90"), D("200.60")]


# Modes.


class Live:
    """Somebody's own adapter to a live account: whether it was connected, and called."""

    modes = ("paper", "live")

    def __init__(self) -> None:
        self.connected: list[str] = []
        self.broker = ScriptedBroker()

    async def __call__(self, account: BrokerAccount) -> Connection:
        self.connected.append(account.mode)
        return Connection(broker=self.broker)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    """The adapter `own:live`."""
    adapter = Live()
    monkeypatch.setitem(sys.modules, "own", SimpleNamespace(live=adapter))
    monkeypatch.delenv("HOLDFAST_LIVE", raising=False)
    return adapter


def with_live(mode: str, broker: str) -> Config:
    """An account in a mode beside one that is connected to the live adapter in a dry run."""
    return Config.parse(
        {
            "journal": {"url": "memory://"},
            "accounts": {
                "main": {"mode": mode, "broker": broker},
                "other": {"mode": "dry_run", "broker": "own:live"},
            },
            "desks": {"alpha": {"account": "main"}, "beta": {"account": "other"}},
            "instruments": {"TSLA": {}},
        }
    )


@pytest.mark.parametrize("mode", ["paper", "dry_run"])
def test_paper_and_dry_run_call_no_broker(mode: str, live: Live) -> None:
    """Placed, polled and cancelled: a dry run calls nobody, paper the paper venue alone (47)."""

    @virtual
    async def case() -> None:
        async with Desks.open(with_live(mode, "paper"), clock=virtual_clock()) as desks:
            manager, venue = desks["alpha"], desks.venues["main"]
            for each in desks:
                order = await desks[each].place_limit_order("TSLA", "buy", 1, 250, wait="accepted")
                await desks[each].synchronize_open_orders()
                await desks[each].cancel_order(order.client_order_id)
                await desks[each].wait(order.client_order_id)
            orders = await manager.orders()
            if mode == "paper":
                there = [order.status for order in venue.orders("main")]
                assert there == [Status.CANCELED]
            else:
                with pytest.raises(InputError, match="no account 'main' at the venue"):
                    venue.orders("main")

        assert [order.status for order in orders] == [Status.CANCELED]
        assert (live.connected, live.broker.calls, live.broker.polls) == ([], [], 0)

    case()


@virtual
async def test_no_path_leads_from_paper_to_a_live_endpoint(live: Live) -> None:
    """The paper venue serves no live mode; armed by halves nothing is connected (47)."""
    with pytest.raises(ConfigError, match=r"accounts\.main\.mode is live"):
        async with Desks.open(with_live("live", "paper"), live=True, clock=virtual_clock()):
            pass
    with pytest.raises(InputError, match="live"):
        async with Desks.open(with_live("live", "own:live"), clock=virtual_clock()):
            pass
    with pytest.raises(InputError, match="live"):
        async with Desks.open(with_live("paper", "own:live"), live=True, clock=virtual_clock()):
            pass

    assert live.connected == []


# The files.


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def all_text(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.jsonl"))


@virtual
async def test_each_submit_cancel_and_status_is_a_row_of_the_files(tmp_path: Path) -> None:
    """True sides, exact amounts as strings, ids that join up, and no secret (48)."""
    secret = "Bearer sk-live-0a1b2c3d4e5f6a7b8c9d"
    words = f"denied: Authorization: {secret} account=987654321"
    refused = Fault(kind=FaultKind.REFUSED, face="submit", nth=3, text=words)
    venue = Venue()
    crowd = venue.add_listing(Instrument.of("TSLA"))
    broker = PaperBroker(venue, "paper", faults=FaultPlan(script=[refused]), delays=LoopScheduler())
    settings = Settings(policies=Policies(limits=Limits.none()))
    options: dict[str, Any] = {
        "instruments": [Instrument.of("TSLA")],
        "settings": settings,
        "files": tmp_path,
    }
    async with open_desk(broker, **options) as manager:
        bought = await manager.place_limit_buy("TSLA", 10, "250.30", strategy="momentum")
        sold = await manager.place_limit_sell("TSLA", 4, "252.10", strategy="other")
        with pytest.raises(OrderSubmissionError):
            await manager.place_limit_order("TSLA", "sell", 1, "300", wait="accepted")
        crowd.take(-1, 3)
        await asyncio.sleep(1)
        await manager.get_order_status(bought.client_order_id)
        await manager.cancel_order(sold.client_order_id, by="ann", reason="lunch")
        await manager.wait(sold.client_order_id)
    await broker.aclose()

    orders, trades = rows(tmp_path / "main/orders.jsonl"), rows(tmp_path / "main/trades.jsonl")
    errors, pending = rows(tmp_path / "main/errors.jsonl"), tmp_path / "main/pending_orders.jsonl"
    of_buy = {row["action"]: row for row in orders if row["order_id"] == bought.client_order_id}
    of_sale = {row["action"]: row for row in orders if row["order_id"] == sold.client_order_id}
    assert {"submit", "accept", "status"} <= set(of_buy)
    assert {"submit", "accept", "cancel", "cancel_sent", "cancel_confirmed"} <= set(of_sale)
    for row in of_buy.values():
        assert (row["side"], row["quantity"], row["limit_price"]) == ("buy", "10", "249.93")
        assert row["strategy_name"] == "momentum"
    for row in of_sale.values():
        assert (row["side"], row["quantity"], row["limit_price"]) == ("sell", "4", "252.36")
    assert of_sale["cancel"]["reason"] == "ann: lunch"
    assert {row["session_id"] for row in orders + trades + errors} == {orders[0]["session_id"]}
    assert orders[0]["session_id"]
    there = {order.wire_id: order.broker_order_id for order in venue.orders("paper")}
    assert of_buy["accept"]["broker_order_id"] == there[bought.order.wire_id]
    assert [(row["side"], row["trade_quantity"], row["execution_price"]) for row in trades] == [
        ("buy", "3", "249.93")
    ]
    assert [row["order_id"] for row in rows(pending)] == [bought.client_order_id]
    assert [row["side"] for row in errors] == ["sell"]
    text = all_text(tmp_path)
    assert "denied" in text
    assert "sk-live" not in text
    assert "987654321" not in text
