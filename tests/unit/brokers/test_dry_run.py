"""The dry-run broker: what fills at which price, and a whole life without a single call out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.brokers import dry_run
from holdfast.brokers.dry_run import DryRunBroker
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.policies import Policies, StaleRules
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import (
    Accepted,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
)
from holdfast.domain.requests import OrderTerms
from holdfast.domain.settings import Settings
from holdfast.domain.values import OrderType, Side, Status, TimeInForce
from holdfast.engine.feed import Gap, Notice
from holdfast.errors import InputError
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Broker
from holdfast.testing.scripted import crash, open_desk
from holdfast.testing.world import virtual

_PRICES = ("limit_price", "stop_price", "trail", "quantity", "notional")


def quote(bid: object = None, ask: object = None, last: object = None) -> Quote:
    prices = [None if each is None else D(str(each)) for each in (bid, ask, last)]
    return Quote(symbol="X", bid=prices[0], ask=prices[1], last=prices[2])


class Run:
    """A dry run in X with what it reported, spoken to without an event loop."""

    def __init__(self, *first: Quote) -> None:
        self.broker = DryRunBroker()
        self.reports: list[Report] = []
        self.broker._on_report = self.reports.append
        for each in first:
            self.broker.quoted(each)

    def send(self, side: str, wire_id: str = "w", **given: Any) -> Outcome:
        """Place an order for 10."""
        terms = {"symbol": "X", "side": Side(side), "quantity": "10"} | given
        order = SubmitOrder(
            number=1, wish=0, attempt=1, wire_id=wire_id, terms=_terms(terms), not_after_ns=0
        )
        outcome: Outcome = at_once(self.broker.submit(order))
        return outcome

    def cancel(self, wire_id: str = "w", broker_order_id: str = "") -> Outcome:
        """Cancel by our id, or by the broker's."""
        order = CancelOrder(
            number=1,
            wish=1,
            attempt=1,
            wire_id=wire_id,
            orig_wire_id="",
            broker_order_id=broker_order_id,
            symbol="X",
            not_after_ns=0,
        )
        outcome: Outcome = at_once(self.broker.cancel(order))
        return outcome

    def replace(self, new: str, side: str, wire_id: str = "w", **given: Any) -> Outcome:
        """Give an order other terms."""
        terms = {"symbol": "X", "side": Side(side), "quantity": "10"} | given
        order = ReplaceOrder(
            number=1,
            wish=1,
            attempt=1,
            wire_id=new,
            orig_wire_id=wire_id,
            broker_order_id="",
            terms=_terms(terms),
            leaves_quantity=None,
            not_after_ns=0,
        )
        outcome: Outcome = at_once(self.broker.replace(order))
        return outcome

    def look(self, *wire_ids: str, broker: tuple[str, ...] = ()) -> Any:
        """Ask for one order."""
        order = LookupOrder(
            number=1, attempt=1, symbol="X", wire_ids=wire_ids, broker_order_ids=broker
        )
        return at_once(self.broker.lookup(order))

    @property
    def traded(self) -> list[D]:
        """At which prices orders filled."""
        return [each.execution.price for each in self.reports if each.execution is not None]

    @property
    def kinds(self) -> list[ReportKind]:
        """What was reported."""
        return [each.kind for each in self.reports]


def _terms(given: dict[str, Any]) -> OrderTerms:
    wanted: dict[str, Any] = {
        name: D(str(each)) if name in _PRICES else each for name, each in given.items()
    }
    return OrderTerms(**wanted)


def at_once(coroutine: Any) -> Any:
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


LIMIT: dict[str, Any] = {"order_type": OrderType.LIMIT}
STOP: dict[str, Any] = {"order_type": OrderType.STOP}


def test_a_dry_run_is_a_broker() -> None:
    """The type checker holds it to the port; what it cannot do it does not promise."""
    broker: Broker = DryRunBroker()

    assert not broker.capabilities.notional
    assert TimeInForce.GTD not in broker.capabilities.times_in_force
    assert not broker.capabilities.account_data


@pytest.mark.parametrize(("side", "price"), [("buy", D(101)), ("sell", D(99))])
def test_a_market_order_fills_at_the_quoted_price(side: str, price: D) -> None:
    """A buyer pays the offer, a seller gets the bid, for the whole quantity (scenario 47)."""
    run = Run(quote(99, 101, 100))
    run.send(side)

    assert run.kinds == [ReportKind.NEW, ReportKind.TRADE]
    assert run.traded == [price]
    assert run.reports[1].full


def test_a_market_order_without_a_quote_waits_for_one() -> None:
    """No price is invented: the order is open until there is a price (scenario 54)."""
    run = Run(quote(bid=99))
    run.send("buy")
    waiting = at_once(run.broker.poll())
    run.broker.quoted(quote(99, 103))

    assert [each.status for each in waiting.snapshots] == [Status.OPEN]
    assert run.traded == [D(103)]


def test_a_quote_that_is_too_old_is_no_price() -> None:
    """Whoever judges the age of quotes says what there is to trade at, nothing else does."""
    fresh: dict[str, Quote] = {}
    broker = DryRunBroker(fresh.get)
    broker.quoted(quote(99, 101))
    order = SubmitOrder(
        number=1,
        wish=0,
        attempt=1,
        wire_id="w",
        terms=_terms({"symbol": "X", "side": Side.BUY, "quantity": "1"}),
        not_after_ns=0,
    )
    at_once(broker.submit(order))
    before = at_once(broker.poll())
    fresh["X"] = quote(99, 102)
    broker.quoted(fresh["X"])
    after = at_once(broker.poll())

    assert [each.status for each in before.snapshots] == [Status.OPEN]
    assert [execution.price for _, _, execution in after.executions] == [D(102)]


@pytest.mark.parametrize(
    ("side", "terms", "arrives", "then", "price"),
    [
        # A limit order that trades on arrival gets the quote, one that rested its limit.
        ("buy", LIMIT | {"limit_price": 101}, (99, 100), None, 100),
        ("buy", LIMIT | {"limit_price": 98}, (99, 100), (96, 97), 98),
        ("sell", LIMIT | {"limit_price": 99}, (99, 100), None, 99),
        ("sell", LIMIT | {"limit_price": 105}, (99, 100), (106, 107), 105),
        ("buy", LIMIT | {"limit_price": 98}, (99, 100), (97, 99), None),
        # A stop is reached by the price that it then gets.
        ("buy", STOP | {"stop_price": 105}, (99, 100), (104, 106), 106),
        ("buy", STOP | {"stop_price": 105}, (99, 100), (103, 104), None),
        ("sell", STOP | {"stop_price": 95}, (99, 100), (94, 96), 94),
        ("sell", STOP | {"stop_price": 95}, (93, 94), None, 93),
        # A stop limit turns into a limit order.
        (
            "buy",
            {"order_type": OrderType.STOP_LIMIT, "stop_price": 105, "limit_price": 107},
            (99, 100),
            (104, 106),
            106,
        ),
        (
            "buy",
            {"order_type": OrderType.STOP_LIMIT, "stop_price": 105, "limit_price": 105},
            (99, 100),
            (105, 106),
            None,
        ),
    ],
)
def test_limit_orders_and_stops_fill_when_the_quote_reaches_them(
    side: str,
    terms: dict[str, Any],
    arrives: tuple[int, int],
    then: tuple[int, int] | None,
    price: int | None,
) -> None:
    """Each at its own price, and not a tick sooner."""
    run = Run(quote(*arrives))
    run.send(side, **terms)
    if then is not None:
        assert run.traded == []
        run.broker.quoted(quote(*then))

    assert run.traded == ([] if price is None else [D(price)])


def test_a_stop_limit_that_was_reached_rests_at_its_limit() -> None:
    """Reached at 106 with a limit of 105 it waits, and fills at 105 when the offer is back."""
    run = Run(quote(99, 100))
    run.send("buy", order_type=OrderType.STOP_LIMIT, stop_price=105, limit_price=105)
    run.broker.quoted(quote(105, 106))
    run.broker.quoted(quote(103, 104))

    assert run.traded == [D(105)]


def test_a_trailing_stop_follows_the_price_one_way() -> None:
    """Five behind a bid that rose from 100 to 110 it is reached at 105, and fills at the bid."""
    run = Run(quote(100, 101))
    run.send("sell", order_type=OrderType.TRAILING_STOP, trail=5)
    for bid in (110, 106):
        run.broker.quoted(quote(bid, bid + 1))
    waiting = at_once(run.broker.poll()).snapshots[0].stop_price
    run.broker.quoted(quote(104, 105))

    assert waiting == D(105)
    assert run.traded == [D(104)]


def test_orders_that_would_wait_though_they_must_not_end_at_once() -> None:
    """Immediate orders are cancelled, a post-only one that would trade is refused."""
    run = Run(quote(99, 100))
    run.send("buy", "ioc", time_in_force=TimeInForce.IOC, limit_price=98, **LIMIT)
    post = run.send("buy", "post", post_only=True, limit_price=100, **LIMIT)
    rests = run.send("buy", "rests", post_only=True, limit_price=99, **LIMIT)

    assert run.kinds == [ReportKind.NEW, ReportKind.CANCELED, ReportKind.NEW]
    assert isinstance(post, Refused)
    assert isinstance(rests, Accepted)


def test_a_cancel_is_final_and_comes_too_late_only_once_filled() -> None:
    """Cancelled by either id; a second cancel, and one after the fill, are told so."""
    run = Run()
    run.send("buy", "a")
    run.send("buy", "b")
    run.send("buy", "c")
    first = run.cancel("a")
    again = run.cancel("a")
    second = run.cancel("", "dry-b")
    run.broker.quoted(quote(99, 100))
    late = run.cancel("c")
    unknown = run.cancel("d")

    assert isinstance(first, Accepted)
    assert first.final
    assert isinstance(second, Accepted)
    assert [each.code for each in (again, late) if isinstance(each, Refused)] == [
        RefusalCode.TOO_LATE
    ] * 2
    assert isinstance(unknown, Refused)
    assert unknown.code is RefusalCode.UNKNOWN_ORDER
    assert run.traded == [D(100)]


def test_a_replace_keeps_the_broker_order_and_is_looked_at_anew() -> None:
    """The new limit trades at once at the quote; both our ids find the order."""
    run = Run(quote(99, 100))
    run.send("buy", limit_price=95, **LIMIT)
    answer = run.replace("w~1", "buy", quantity="4", limit_price=100, **LIMIT)

    assert answer == Accepted(broker_order_id="dry-w", final=True)
    assert run.kinds == [ReportKind.NEW, ReportKind.REPLACED, ReportKind.TRADE]
    assert (run.reports[1].orig_wire_id, run.reports[1].wire_id) == ("w", "w~1")
    for wire_id in ("w", "w~1"):
        (found,) = run.look(wire_id).sightings
        assert (found.snapshot.status, found.snapshot.cumulative) == (Status.FILLED, D(4))


def test_a_replace_of_what_does_not_work_changes_nothing() -> None:
    """An ended order, an unknown one and an id that is used are refused."""
    run = Run()
    run.send("buy", "a")
    run.send("buy", "b")
    run.cancel("a")

    assert isinstance(run.replace("n", "buy", "a"), Refused)
    assert isinstance(run.replace("n", "buy", "c"), Refused)
    assert isinstance(run.replace("a", "buy", "b"), Refused)
    assert len(run.reports) == 3


def test_a_wire_id_is_taken_once() -> None:
    """A second order under it is refused as a duplicate, whatever became of the first (P2)."""
    run = Run(quote(99, 100))
    run.send("buy")
    again = run.send("buy")

    assert isinstance(again, Refused)
    assert again.code is RefusalCode.DUPLICATE_ID
    assert run.traded == [D(100)]


def test_lookups_tell_what_is_known_absent_or_of_an_earlier_life() -> None:
    """Unknown without a broker id is absent; with one it was of a run that has ended."""
    run = Run()
    run.send("buy")

    known, absent, earlier = run.look("w"), run.look("v"), run.look("v", broker=("dry-v",))

    assert known.sightings[0].snapshot.status is Status.OPEN
    assert (absent.sightings, absent.complete) == ((), True)
    (sighting,) = earlier.sightings
    assert (sighting.snapshot.status, sighting.snapshot.word) == (Status.CANCELED, "dry run ended")


def test_executions_are_listed_by_two_polls() -> None:
    """So that none is missed where one answer is lost, and none is listed for ever."""
    run = Run(quote(99, 100))
    run.send("buy")

    polls = [len(at_once(run.broker.poll()).executions) for _ in range(3)]

    assert polls == [1, 1, 0]


def test_only_the_newest_ended_orders_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a named number (P9)."""
    monkeypatch.setattr(dry_run, "ENDED_ORDERS_MAX", 3)
    run = Run(quote(99, 100))
    for number in range(5):
        run.send("buy", f"w{number}")

    assert [bool(run.look(f"w{number}").sightings) for number in range(5)] == [False] * 2 + [
        True
    ] * 3


@virtual
async def test_reports_that_nobody_heard_are_a_gap() -> None:
    """Who listens late is told to ask; a second listener is refused."""
    run = Run(quote(99, 100))
    run.broker._on_report = None
    run.send("buy")
    gaps: list[int] = []
    listening = asyncio.create_task(run.broker.listen(lambda _report: None, lambda: gaps.append(1)))
    await asyncio.sleep(1)

    assert gaps == [1]
    with pytest.raises(InputError, match="listens to this dry run already"):
        await run.broker.listen(lambda _report: None, lambda: None)
    listening.cancel()


# Through a real order manager.


class Ticker:
    """A source of quotes that a test moves by hand."""

    def __init__(self) -> None:
        self._on_quote: Callable[[Quote], None] | None = None

    async def watch(self, on_quote: Callable[[Quote], None]) -> None:
        """Deliver until cancelled."""
        self._on_quote = on_quote
        await asyncio.get_running_loop().create_future()

    async def tell(self, bid: object, ask: object) -> None:
        """Tell a quote of TSLA, and give the desk time to act on it."""
        assert self._on_quote is not None
        self._on_quote(Quote(symbol="TSLA", bid=D(str(bid)), ask=D(str(ask))))
        await asyncio.sleep(0.1)


def opened(ticker: Ticker, journal: MemoryJournal | None = None) -> Any:
    return open_desk(DryRunBroker(), journal, quotes=ticker, mode="dry_run")


@virtual
async def test_the_life_of_an_order_is_tracked_without_any_call() -> None:
    """NEW, OPEN, FILLED at the quoted price, and a cancel: zero broker calls (scenario 47)."""
    ticker, statuses = Ticker(), list[Status]()

    async def follow(events: AsyncIterator[Notice | Gap]) -> None:
        async for each in events:
            if isinstance(each, Notice) and each.order is not None and each.order.number == 1:
                statuses.append(each.order.status)

    async with opened(ticker) as manager:
        await asyncio.sleep(1)
        await ticker.tell("249.5", "250.5")
        events = manager.events()
        following = asyncio.create_task(follow(events))
        await asyncio.sleep(0)
        bought = await manager.place_market_order("TSLA", "buy", 10)
        bought = await manager.wait(bought.client_order_id)
        resting = await manager.place_limit_order("TSLA", "sell", 4, "260", wait="accepted")
        await manager.cancel_order(resting.client_order_id)
        gone = await manager.wait(resting.client_order_id)
        sold = await manager.place_limit_order("TSLA", "sell", 10, "255", wait="accepted")
        await ticker.tell("256", "257")
        sold = await manager.order(sold.client_order_id)
        positions = await manager.positions()
        following.cancel()

    assert (bought.status, bought.average_price) == (Status.FILLED, D("250.5"))
    assert gone.status is Status.CANCELED
    assert (sold.status, sold.average_price) == (Status.FILLED, D(255))
    assert positions["TSLA"].quantity == 0
    assert list(dict.fromkeys(statuses)) == [Status.NEW, Status.OPEN, Status.FILLED]


@virtual
async def test_a_market_order_stays_open_until_there_is_a_price() -> None:
    """Nothing is booked before a quote, however long that takes (scenario 54)."""
    ticker = Ticker()
    async with opened(ticker) as manager:
        order = await manager.place_market_order("TSLA", "buy", 10)
        await asyncio.sleep(3_600)
        waiting = await manager.order(order.client_order_id)
        positions = await manager.positions()
        await ticker.tell("249", "251")
        filled = await manager.order(order.client_order_id)

    assert (waiting.status, waiting.filled_quantity) == (Status.OPEN, D(0))
    assert not positions
    assert (filled.status, filled.average_price) == (Status.FILLED, D(251))


@virtual
async def test_an_order_of_an_earlier_run_ends_cleanly() -> None:
    """After a restart what was open is cancelled and nothing hangs; positions stay."""
    ticker, journal = Ticker(), MemoryJournal()
    async with opened(ticker, journal) as manager:
        await asyncio.sleep(1)
        await ticker.tell("249", "251")
        await manager.place_market_order("TSLA", "buy", 5)
        resting = await manager.place_limit_order("TSLA", "buy", 1, "200", wait="accepted")
        asked = await manager.place_limit_order("TSLA", "buy", 2, "200", wait="accepted")
        await crash(manager)
    ticker = Ticker()
    async with opened(ticker, journal) as manager:
        await manager.cancel_order(asked.client_order_id)
        await asyncio.sleep(60)
        orders = [await manager.order(each.client_order_id) for each in (resting, asked)]
        positions = await manager.positions()
        health = await manager.health()

    assert [(each.status, each.pending) for each in orders] == [(Status.CANCELED, ())] * 2
    assert positions["TSLA"].quantity == 5
    assert health.is_ok


@virtual
async def test_a_dry_run_cancels_nothing_for_its_age() -> None:
    """Orders however old stay, and managing them makes no call (scenario 14)."""
    ticker = Ticker()
    broker = DryRunBroker()
    cancels: list[CancelOrder] = []
    cancel = broker.cancel

    async def counted(order: CancelOrder) -> Outcome:
        cancels.append(order)
        return await cancel(order)

    broker.cancel = counted  # type: ignore[method-assign]  # to see the calls
    settings = Settings(policies=Policies(stale=StaleRules(after_ms=1_000)))
    async with open_desk(broker, quotes=ticker, mode="dry_run", settings=settings) as manager:
        order = await manager.place_limit_order("TSLA", "buy", 1, "200", wait="accepted")
        await asyncio.sleep(120)
        managed = await manager.manage_open_orders()
        old = await manager.order(order.client_order_id)

    assert (old.status, list(managed), cancels) == (Status.OPEN, [], [])


@virtual
async def test_a_desk_made_in_code_does_not_trade_at_a_stale_quote() -> None:
    """The desk's own bound on the age of quotes holds for the broker behind it (scenario 47)."""
    ticker = Ticker()
    async with opened(ticker) as manager:
        await asyncio.sleep(0.1)
        await ticker.tell(99, 101)
        await asyncio.sleep(6)
        order = await manager.place_market_order("TSLA", "buy", 1, wait="accepted")
        await asyncio.sleep(1)
        waiting = await manager.order(order.client_order_id)
        await ticker.tell(98, 102)
        filled = await manager.wait(order.client_order_id)

    assert waiting.status is Status.OPEN
    assert filled.average_price == D(102)
