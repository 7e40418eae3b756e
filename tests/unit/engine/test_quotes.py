"""The board of latest quotes, and how a desk gets them: conflated, dated, never journaled."""

import asyncio
from collections.abc import Callable
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.inputs import Quoted
from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.engine import quotes as engine_quotes
from holdfast.engine.inbox import Inbox
from holdfast.engine.quotes import QuoteBoard
from holdfast.engine.runner import TICK_REST_NS, Mode
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.scripted import ScriptedBroker, open_desk
from holdfast.testing.world import LoopScheduler, virtual, virtual_clock


def quote(bid: object = 99, ask: object = 101, symbol: str = "TSLA", last: Any = None) -> Quote:
    return Quote(symbol=symbol, bid=D(str(bid)), ask=D(str(ask)), last=last)


class Source:
    """A source that does what a test says; `told` ends when it is interrupted."""

    def __init__(self) -> None:
        self.watched: list[float] = []
        self.tell: Callable[[Quote], None] = lambda _quote: None
        self.broken: asyncio.Future[None] | None = None

    async def watch(self, on_quote: Callable[[Quote], None]) -> None:
        """Deliver until it breaks."""
        self.watched.append(asyncio.get_running_loop().time())
        self.tell = on_quote
        self.broken = asyncio.get_running_loop().create_future()
        await self.broken

    async def fail(self, error: Exception | None = None) -> None:
        """End, or raise."""
        assert self.broken is not None
        if error is None:
            self.broken.set_result(None)
        else:
            self.broken.set_exception(error)
        await asyncio.sleep(0.01)


class Follower:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, int]] = []

    def quoted(self, quote: Quote, age_ns: int = 0) -> None:
        """Keep bid and age."""
        self.told.append((quote.bid, age_ns))


def board_of(source: Source | None = None) -> QuoteBoard:
    return QuoteBoard(source or Source(), LoopScheduler().now_ns)


@virtual
async def test_the_latest_quote_is_kept_with_its_time_of_arrival() -> None:
    """The source's own stamp is not taken; older than asked for is none."""
    board = board_of()
    board.take(Quote(symbol="TSLA", bid=D(1), at_ns=5))
    arrived_ns = LoopScheduler().now_ns()
    board.take(quote())
    await asyncio.sleep(2)

    latest = board.latest("TSLA")
    assert latest is not None
    assert (latest.bid, latest.ask, latest.at_ns) == (D(99), D(101), arrived_ns)
    assert board.latest("TSLA", age_max_ms=2_001) == latest
    assert board.latest("TSLA", age_max_ms=1_999) is None
    assert board.latest("AAPL") is None
    assert board.statistics()["newest_age_ms"] == 2_000


@pytest.mark.parametrize(
    "bad",
    [
        Quote(symbol="TSLA"),
        quote(bid=-1),
        quote(bid=0),
        quote(ask="NaN"),
        quote(ask="Infinity"),
        quote(last=D("1e30")),
        quote(symbol=""),
        quote(symbol="no blanks"),
        Quote(symbol="TSLA", bid=99.5),  # type: ignore[arg-type]  # what a careless source gives
    ],
)
def test_what_is_no_quote_is_dropped_and_counted(bad: Quote) -> None:
    """It reaches nobody and shadows nothing; the quote before it stays."""

    @virtual
    async def case() -> None:
        board, follower = board_of(), Follower()
        board.follow(follower)
        board.take(quote(bid=50))
        board.take(bad)
        board.take(quote(bid=102, ask=101))

        assert [bid for bid, _ in follower.told] == [D(50), D(102)]
        assert (board.statistics()["quotes"], board.statistics()["dropped"]) == (2, 1)

    case()


@virtual
async def test_who_follows_later_gets_what_there_is_with_its_age() -> None:
    """And nothing any more after it left."""
    board, follower = board_of(), Follower()
    board.take(quote())
    await asyncio.sleep(3)
    board.follow(follower)
    board.take(quote(bid=98))
    board.unfollow(follower)
    board.take(quote(bid=97))

    assert [(bid, age_ns // NS_PER_S) for bid, age_ns in follower.told] == [(D(99), 3), (D(98), 0)]


@virtual
async def test_symbols_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a new symbol is dropped, and known ones go on (P9)."""
    monkeypatch.setattr(engine_quotes, "SYMBOLS_MAX", 2)
    board = board_of()
    for symbol in "ABCA":
        board.take(quote(symbol=symbol))

    assert board.latest("C") is None
    assert (board.quotes, board.dropped) == (3, 1)


@virtual
async def test_a_source_that_ends_or_raises_is_watched_anew_ever_more_slowly() -> None:
    """After 0.5, 1 and 2 seconds; one that held 100 seconds is back after 0.5 again."""
    source = Source()
    board = board_of(source)
    board.start()
    await asyncio.sleep(0.01)
    await source.fail()
    await asyncio.sleep(0.6)
    await source.fail(ConnectionError("gone"))
    await asyncio.sleep(1.1)
    await source.fail()
    await asyncio.sleep(2.1)
    source.tell(quote())
    await asyncio.sleep(100)
    await source.fail()
    await asyncio.sleep(0.6)
    held = board.latest("TSLA")
    await board.close()
    await asyncio.sleep(100)

    waits = [
        after - before for before, after in zip(source.watched, source.watched[1:], strict=False)
    ]
    assert [round(wait, 1) for wait in waits] == [0.5, 1.1, 2.1, 100.6]
    assert held is not None
    assert board.statistics()["watches"] == 5


# How a desk gets them.


def seen(manager: Any, symbol: str = "TSLA") -> Quote | None:
    found: Quote | None = manager._runner.desk.quotes.get(symbol)
    return found


def stepped(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Keep every input that any desk steps."""
    inputs: list[object] = []
    step = Desk.step

    def spied(desk: Desk, given: Any, now_ns: int) -> Decision:
        inputs.append(given)
        return step(desk, given, now_ns)

    monkeypatch.setattr(Desk, "step", spied)
    return inputs


def test_a_flood_of_quotes_costs_one_input_per_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 quotes in one go the desk steps one, the newest, and journals none."""

    @virtual
    async def case() -> None:
        source, journal = Source(), MemoryJournal()
        async with open_desk(ScriptedBroker(), journal, quotes=source) as manager:
            await asyncio.sleep(1)
            inputs = stepped(monkeypatch)
            records = journal.head("main").seq
            for number in range(1, 100_001):
                source.tell(quote(bid=number, ask=number))
            await asyncio.sleep(1)
            known = seen(manager)

            assert [type(each) for each in inputs] == [Quoted]
            assert known is not None
            assert known.bid == D(100_000)
            assert journal.head("main").seq == records

    case()


def test_quotes_come_before_what_waits_and_take_no_commands_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An order is judged by the newest price; a full inbox takes quotes as before."""

    @virtual
    async def case() -> None:
        source = Source()
        async with open_desk(ScriptedBroker(), quotes=source) as manager:
            await asyncio.sleep(1)
            inputs = stepped(monkeypatch)
            placing = asyncio.create_task(manager.place_limit_order("TSLA", "buy", 1, "100"))
            await asyncio.sleep(0)
            source.tell(quote())
            source.tell(quote(symbol="BTC-USD"))
            await placing

        first = inputs[0]
        assert isinstance(first, Quoted)
        assert [each.symbol for each in first.quotes] == ["TSLA", "BTC-USD"]

    case()


@virtual
async def test_only_defined_symbols_are_handed_on_and_new_ones_from_then_on() -> None:
    """A quote of no instrument is kept back, with its age, until somebody defines it."""
    source = Source()
    async with open_desk(ScriptedBroker(), quotes=source) as manager:
        await asyncio.sleep(1)
        arrived_ns = manager._runner.now_ns()
        source.tell(quote(symbol="NVDA"))
        await asyncio.sleep(1)
        before = seen(manager, "NVDA")
        await manager.define(Instrument.of("NVDA"))
        await asyncio.sleep(1)
        after = seen(manager, "NVDA")

    assert before is None
    assert after is not None
    assert after.at_ns == arrived_ns


@virtual
async def test_a_quote_is_dated_by_desk_time() -> None:
    """On a desk whose time is ahead of the wall clock no quote looks old."""
    source, journal = Source(), MemoryJournal()
    async with open_desk(ScriptedBroker(), journal):
        await asyncio.sleep(1)
    virtual_clock().shift_wall(-3_600 * NS_PER_S)
    again = MemoryJournal(journal.crash())
    async with open_desk(ScriptedBroker(), again, quotes=source) as manager:
        await asyncio.sleep(1)
        source.tell(quote())
        now_ns = manager._runner.now_ns()
        await asyncio.sleep(0.1)
        known = seen(manager)

    assert known is not None
    assert abs(known.at_ns - now_ns) < NS_PER_MS


@virtual
async def test_after_a_refold_the_desk_has_its_quotes_again() -> None:
    """A desk folded anew from the journal knows no prices until they are handed to it again."""
    source, journal = Source(), MemoryJournal()
    async with open_desk(ScriptedBroker(), journal, quotes=source) as manager:
        await asyncio.sleep(1)
        source.tell(quote())
        await asyncio.sleep(0.1)
        known, desk = seen(manager), manager._runner.desk
        journal.fail_at(journal.head("main").seq + 1)
        with pytest.raises(Exception, match="disk is full"):
            await manager.place_limit_order("TSLA", "buy", 1, "100")
        await asyncio.sleep(60)

        assert manager._runner.desk is not desk
        assert seen(manager) == known


def test_quotes_that_make_the_desk_raise_rest_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are put aside as one anomaly; orders go on, and later quotes are tried again."""

    @virtual
    async def case() -> None:
        source, step = Source(), Desk.step
        raised: list[object] = []

        def faulty(desk: Desk, given: Any, now_ns: int) -> Decision:
            if isinstance(given, Quoted) and given.quotes[0].bid == D(13):
                raised.append(given)
                raise RuntimeError("a defect")
            return step(desk, given, now_ns)

        monkeypatch.setattr(Desk, "step", faulty)
        async with open_desk(ScriptedBroker(), quotes=source) as manager:
            await asyncio.sleep(1)
            for _ in range(50):
                source.tell(quote(bid=13))
                await asyncio.sleep(0.1)
            order = await manager.place_limit_order("TSLA", "buy", 1, "100", wait="accepted")
            resting = (len(raised), manager._runner.counts["quarantined"])
            await asyncio.sleep(TICK_REST_NS / NS_PER_S + 1)
            source.tell(quote(bid=14))
            await asyncio.sleep(0.1)
            known = seen(manager)

            assert resting == (2, 1)
            assert order.number == 1
            assert known is not None
            assert known.bid == D(14)
            assert manager._runner.mode is Mode.RUNNING

    case()


def test_an_inbox_keeps_the_latest_quote_of_each_symbol() -> None:
    """They are one input, and are not put back: newer ones may have come since."""
    inbox = Inbox()
    inbox.quote(quote(bid=1))
    inbox.quote(quote(bid=2, symbol="A"))
    inbox.quote(quote(bid=3))

    assert len(inbox) == 1
    ((given, waiter),) = inbox.quoted()
    assert isinstance(given, Quoted)
    assert [each.bid for each in given.quotes] == [D(3), D(2)]
    assert waiter is None
    inbox.put_back([(given, None)])
    assert not inbox
    assert inbox.quoted() == []
    assert inbox.pop() is None


@virtual
async def test_what_is_no_quote_is_dropped_and_the_watch_goes_on() -> None:
    """A source that says anything at all is not interrupted, and nobody hears the nonsense."""
    source, follower = Source(), Follower()
    board = board_of(source)
    board.follow(follower)
    board.start()
    await asyncio.sleep(0.01)
    for said in (
        None,
        5,
        Quote(symbol="TSLA", bid="99", ask=D(101)),  # type: ignore[arg-type]  # text is no price
        Quote(symbol="TSLA", bid=99, ask=D(101)),  # type: ignore[arg-type]  # no price either
        Quote(symbol="TSLA", bid=99.5, ask=D(101)),  # type: ignore[arg-type]  # nor is a float
        Quote(symbol=5, bid=D(99), ask=None),  # type: ignore[arg-type]  # no symbol
    ):
        source.tell(said)  # type: ignore[arg-type]  # that is the point
    assert (board.dropped, follower.told, len(source.watched)) == (6, [], 1)
    await board.close()


@virtual
async def test_a_follower_that_raises_keeps_quotes_from_nobody_else() -> None:
    """Its failure is counted; the source and the other followers do not notice."""

    class Broken:
        def quoted(self, _quote: Quote, _age_ns: int = 0) -> None:
            """Fail."""
            raise RuntimeError("no room")

    source, follower = Source(), Follower()
    board = board_of(source)
    board.start()
    await asyncio.sleep(0.01)
    source.tell(quote(98))
    board.follow(Broken())
    board.follow(follower)
    source.tell(quote(99))
    await asyncio.sleep(0.01)
    assert [bid for bid, _ in follower.told] == [D(98), D(99)]
    assert (board.statistics()["defects"], len(source.watched)) == (2, 1)
    await board.close()
