"""The remote broker: the port over a socket, and what a lost connection proves."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced

from holdfast.brokers.frames import FRAME_BYTES_MAX, FrameError, Listen, Poll, pack, read_request
from holdfast.brokers.paper import PaperBroker
from holdfast.brokers.remote import RemoteBroker
from holdfast.brokers.remote_server import UNREAD_BYTES_MAX, BrokerServer
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached, CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import (
    Accepted,
    LookupResult,
    NotSent,
    Outcome,
    Refused,
    Report,
    ReportKind,
    Unknown,
)
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.errors import InputError
from holdfast.ports import Broker, OpenOrders
from holdfast.venue.paper import Venue

WAIT_S = 10


class Gated:
    """A broker in whose way a test can stand: `acts` are awaited after the venue's own act."""

    def __init__(self, broker: Broker) -> None:
        self.capabilities = broker.capabilities
        self.modes = broker.modes
        self.inner = broker
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()
        self.error: Exception | None = None
        self.on_report: Callable[[Report], None] | None = None

    async def _pass(self) -> None:
        self.arrived.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def submit(self, order: SubmitOrder) -> Outcome:
        outcome = await self.inner.submit(order)
        await self._pass()
        return outcome

    async def cancel(self, order: CancelOrder) -> Outcome:
        return await self.inner.cancel(order)

    async def replace(self, order: ReplaceOrder) -> Outcome:
        return await self.inner.replace(order)

    async def lookup(self, order: LookupOrder) -> LookupResult:
        await self._pass()
        return await self.inner.lookup(order)

    async def poll(self) -> OpenOrders:
        await self._pass()
        return await self.inner.poll()

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        self.on_report = on_report
        await self.inner.listen(on_report, on_gap)


class Both:
    """A served venue and a broker that is connected to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.venue = Venue()
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick="0.1"))
        self.gated = Gated(PaperBroker(self.venue, "main"))
        self.server = BrokerServer(self.gated, self.venue.instruments())
        self.broker = RemoteBroker(path)
        self.heard: asyncio.Queue[Report] = asyncio.Queue()
        self.gaps: asyncio.Queue[None] = asyncio.Queue()
        self.listening: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Begin to listen, and wait until a report comes through."""
        self.listening = asyncio.create_task(
            self.broker.listen(self.heard.put_nowait, lambda: self.gaps.put_nowait(None))
        )
        # A poll answered on the same connection: the server has read what was sent before it.
        assert (await self.broker.poll()).complete

    async def unanswered(self, wire_id: str = "w1") -> "asyncio.Task[Outcome]":
        """Place an order that the venue takes and does not answer."""
        self.gated.open.clear()
        self.gated.arrived.clear()
        call = asyncio.create_task(self.broker.submit(submit(wire_id)))
        await self.gated.arrived.wait()
        return call


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path is bounded."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        yield Path(name)


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Both]:
    """Serve a venue, connect to it, and end everything."""
    made = Both(folder / "venue")
    await made.server.start(made.path)
    made.broker = await RemoteBroker.connect(made.path)
    try:
        async with asyncio.timeout(WAIT_S):
            yield made
    finally:
        if made.listening is not None:
            made.listening.cancel()
            await asyncio.gather(made.listening, return_exceptions=True)
        await made.broker.aclose()
        await made.server.aclose()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection of the test's own."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def submit(wire_id: str = "w1", price: str = "99.9") -> SubmitOrder:
    return SubmitOrder(
        number=1, wish=0, attempt=1, wire_id=wire_id, not_after_ns=0, terms=terms(price=price)
    )


def terms(quantity: int = 5, price: str = "99.9") -> OrderTerms:
    return OrderTerms(
        symbol="ABC",
        side=Side.BUY,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=D(price),
    )


def cancel(wire_id: str = "w1") -> CancelOrder:
    return CancelOrder(
        number=1,
        wish=1,
        attempt=1,
        wire_id=f"{wire_id}~1",
        orig_wire_id=wire_id,
        broker_order_id="",
        symbol="ABC",
        not_after_ns=0,
    )


def replace(quantity: int) -> ReplaceOrder:
    return ReplaceOrder(
        number=1,
        wish=1,
        attempt=1,
        wire_id="w1~1",
        orig_wire_id="w1",
        broker_order_id="V-1",
        terms=terms(quantity),
        leaves_quantity=None,
        not_after_ns=0,
    )


def lookup(wire_id: str = "w1") -> LookupOrder:
    return LookupOrder(number=1, attempt=1, symbol="ABC", wire_ids=(wire_id,), broker_order_ids=())


async def test_each_call_is_answered_as_the_served_broker_answers_it(folder: Path) -> None:
    """Outcomes, sightings and lists cross the socket unchanged, amounts to the digit."""
    async with both(folder) as pair:
        broker = pair.broker
        assert isinstance(await broker.submit(submit()), Accepted)
        pair.crowd.take(-1, 2, 0)
        assert isinstance(await broker.replace(replace(7)), Accepted)
        listed = await broker.poll()
        seen = await broker.lookup(lookup())
        assert isinstance(await broker.cancel(cancel()), Accepted)
        assert isinstance(await broker.cancel(cancel("other")), Refused)
        direct = await pair.gated.inner.lookup(lookup())
        assert seen.complete
        assert seen.sightings[0].executions == direct.sightings[0].executions
        assert seen.sightings[0].executions[0].price == D("99.9")
        assert listed.snapshots[0] == seen.sightings[0].snapshot
        assert [execution.quantity for _, _, execution in listed.executions] == [D(2)]


async def test_attached_exits_cross_the_socket(folder: Path) -> None:
    """An entry arrives with its exits, and they are named in the answer, the list and a lookup."""
    venue = Venue()
    venue.add_listing(Instrument.of("ABC", tick="0.1"))
    can = Capabilities(native_bracket="after_full_fill", lists_held_legs=False)
    server = BrokerServer(PaperBroker(venue, "main", capabilities=can), venue.instruments())
    await server.start(folder / "exits")
    broker = await RemoteBroker.connect(folder / "exits")
    stop = OrderTerms(
        symbol="ABC",
        side=Side.SELL,
        quantity=D(5),
        order_type=OrderType.STOP,
        stop_price=D("90.1"),
    )
    exits = (Attached(number=2, role="stop", wire_id="w1.stop", terms=stop),)

    answer = await broker.submit(replaced(submit(), link="bracket", attached=exits))
    listed = await broker.poll()
    seen = await broker.lookup(lookup())
    told = broker.capabilities
    await broker.aclose()
    await server.aclose()

    assert isinstance(answer, Accepted)
    assert [(child.role, child.wire_id) for child in answer.children] == [("stop", "w1.stop")]
    assert seen.sightings[0].snapshot.children == answer.children
    assert [shown.children for shown in listed.snapshots] == [answer.children]
    assert (told.native_bracket, told.lists_held_legs) == ("after_full_fill", False)
    assert venue.find("main", ["w1.stop"], [])[0].stop == 901


async def test_a_connection_tells_what_the_account_can_do_and_what_is_listed(folder: Path) -> None:
    """Capabilities and instruments are known before the first call."""
    venue = Venue()
    venue.add_listing(Instrument.of("ABC", tick="0.1"))
    capabilities = Capabilities(unique_ids="none", native_replace=False)
    server = BrokerServer(
        PaperBroker(venue, "main", capabilities=capabilities), venue.instruments()
    )
    await server.start(folder / "venue")
    broker = await RemoteBroker.connect(folder / "venue")
    assert broker.capabilities == capabilities
    assert broker.instruments == venue.instruments()
    await broker.aclose()
    await server.aclose()
    assert not (folder / "venue").exists()


async def test_reports_arrive_in_the_order_in_which_they_were_told(folder: Path) -> None:
    """The stream keeps the venue's order, fills included."""
    async with both(folder) as pair:
        await pair.listen()
        await pair.broker.submit(submit())
        pair.crowd.take(-1, 5, 0)
        reports = [await pair.heard.get() for _ in range(2)]
        assert [report.kind for report in reports] == [ReportKind.NEW, ReportKind.TRADE]
        assert reports[1].execution is not None
        assert reports[1].execution.quantity == D(5)


async def test_a_request_without_an_answer_when_the_connection_is_lost_is_unknown(
    folder: Path,
) -> None:
    """A lost connection proves nothing: the order may live, and it does (scenario 29)."""
    async with both(folder) as pair:
        call = await pair.unanswered()
        pair.server.cut()
        assert isinstance(await call, Unknown)
        assert len(pair.venue.orders("main", working=True)) == 1


async def test_questions_without_an_answer_prove_nothing(folder: Path) -> None:
    """A lookup or a poll that is cut off is incomplete, so nothing follows from it."""
    async with both(folder) as pair:
        pair.gated.open.clear()
        looked = asyncio.create_task(pair.broker.lookup(lookup()))
        await pair.gated.arrived.wait()
        pair.gated.arrived.clear()
        polled = asyncio.create_task(pair.broker.poll())
        await pair.gated.arrived.wait()
        pair.server.cut()
        assert not (await looked).complete
        assert not (await polled).complete


async def test_a_request_that_cannot_be_written_was_not_sent(folder: Path) -> None:
    """Where nobody listens at the socket no byte leaves, and the caller may try again."""
    async with both(folder) as pair:
        await pair.server.aclose()
        assert not (await pair.broker.poll()).complete
        outcome = await pair.broker.submit(submit())
        assert isinstance(outcome, NotSent)
        assert not pair.venue.orders("main")


async def test_the_connection_is_made_anew_when_something_is_to_be_said(folder: Path) -> None:
    """After a cut the next call reaches the same account, and finds what the first one did."""
    async with both(folder) as pair:
        call = await pair.unanswered()
        pair.server.cut()
        await call
        pair.gated.open.set()
        found = await pair.broker.lookup(lookup())
        assert found.complete
        assert len(found.sightings) == 1


async def test_whoever_listens_is_told_of_a_gap_after_a_cut(folder: Path) -> None:
    """The stream goes on over a new connection, and the interruption is told (scenario 73)."""
    async with both(folder) as pair:
        await pair.listen()
        pair.server.cut()
        await pair.gaps.get()
        assert (await pair.broker.poll()).complete
        await pair.broker.submit(submit())
        assert (await pair.heard.get()).kind is ReportKind.NEW


async def test_a_cancelled_call_leaves_the_connection_usable(folder: Path) -> None:
    """Its late answer is dropped, and the answers of other calls still find them."""
    async with both(folder) as pair:
        call = await pair.unanswered()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        pair.gated.open.set()
        second = await pair.broker.submit(submit("w2"))
        assert isinstance(second, Accepted)
        assert second.broker_order_id == "V-2"


async def test_answers_may_come_in_another_order_than_the_calls(folder: Path) -> None:
    """A call that hangs does not hold up the next one, and each gets its own answer."""
    async with both(folder) as pair:
        first = await pair.unanswered()
        assert isinstance(await pair.broker.cancel(cancel()), Accepted)
        pair.gated.open.set()
        outcome = await first
        assert isinstance(outcome, Accepted)
        assert outcome.broker_order_id == "V-1"


async def test_an_exception_of_the_served_broker_is_an_unknown_outcome(folder: Path) -> None:
    """What the port has of exceptions holds across the socket; questions come back incomplete."""
    async with both(folder) as pair:
        pair.gated.error = ValueError("garbled")
        outcome = await pair.broker.submit(submit())
        assert outcome == Unknown(text="ValueError: garbled")
        assert not (await pair.broker.lookup(lookup())).complete
        assert not (await pair.broker.poll()).complete


async def test_reports_go_to_the_connection_that_asked_last(folder: Path) -> None:
    """A process that takes over hears the reports, though the one before is still connected."""
    async with both(folder) as pair:
        await pair.listen()
        other = await RemoteBroker.connect(pair.path)
        heard: asyncio.Queue[Report] = asyncio.Queue()
        listening = asyncio.create_task(other.listen(heard.put_nowait, lambda: None))
        assert (await other.poll()).complete
        await other.submit(submit())
        assert (await heard.get()).kind is ReportKind.NEW
        assert pair.heard.empty()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await other.aclose()


async def test_listening_again_on_the_same_connection_is_a_gap(folder: Path) -> None:
    """Reports that came while nobody listened are missing, and that is told."""
    async with both(folder) as pair:
        await pair.listen()
        assert pair.listening is not None
        pair.listening.cancel()
        await asyncio.gather(pair.listening, return_exceptions=True)
        await pair.listen()
        await pair.gaps.get()
        await pair.broker.submit(submit())
        assert (await pair.heard.get()).kind is ReportKind.NEW


async def test_a_second_listener_is_refused(folder: Path) -> None:
    """Two listeners would each hear half."""
    async with both(folder) as pair:
        await pair.listen()
        with pytest.raises(InputError, match="listens"):
            await pair.broker.listen(lambda _: None, lambda: None)


async def test_a_connection_that_does_not_read_is_cut(folder: Path) -> None:
    """What waits for a process that does not read is bounded."""
    async with both(folder) as pair:
        reader, writer = await asyncio.open_unix_connection(str(pair.path))
        writer.write(pack(Listen()) + pack(Poll(id=1)))
        await pair.gated.arrived.wait()
        assert pair.gated.on_report is not None
        report = Report(kind=ReportKind.NEW, text="x" * 100_000)
        sent = 3 * UNREAD_BYTES_MAX // len(report.text)
        for _ in range(sent):
            pair.gated.on_report(report)
        read = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1_000_000):
                read += len(data)
        assert read < sent * len(report.text)
        await closed(writer)


async def test_quotes_come_unasked_and_the_newest_is_kept(folder: Path) -> None:
    """The latest prices of a symbol can be read at any time, and none before they came."""
    async with both(folder) as pair:
        assert pair.broker.quote("ABC") is None
        for price in (998, 999):
            pair.crowd.place(f"bid-{price}", 1, price, 5)
            pair.server.quote(pair.venue.top("ABC"))
        assert (await pair.broker.poll()).complete
        quote = pair.broker.quote("ABC")
        assert quote is not None
        assert quote.bid == D("99.9")


async def test_connecting_to_nobody_says_what_to_do(folder: Path) -> None:
    """The message names the socket and the next step."""
    with pytest.raises(InputError, match="start it first"):
        await RemoteBroker.connect(folder / "nobody")


def test_a_path_that_is_too_long_for_a_socket_is_refused(folder: Path) -> None:
    """It is refused before anything is made, with its length."""
    with pytest.raises(InputError, match="at most 103"):
        RemoteBroker(folder / ("x" * 200))


async def test_only_this_user_can_connect(folder: Path) -> None:
    """The socket takes orders, so nobody else may write to it."""
    async with both(folder) as pair:
        assert pair.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "frame",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4) + b"x",
        (3).to_bytes(4) + b"abc",
        pack(Poll(id=1))[:-1] + b"\xc1",
    ],
)
async def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    """A frame that is too long, no message, or damaged ends the connection and nothing else."""
    stream = asyncio.StreamReader()
    stream.feed_data(frame)
    with pytest.raises(FrameError):
        await read_request(stream)


async def test_a_client_that_sends_garbage_is_cut_and_others_go_on(folder: Path) -> None:
    """The account stays reachable for everybody else."""
    async with both(folder) as pair:
        reader, writer = await asyncio.open_unix_connection(str(pair.path))
        writer.write(b"\x00\x00\x00\x03abc")
        greeting = await reader.read()
        assert greeting
        await closed(writer)
        assert isinstance(await pair.broker.submit(submit()), Accepted)
