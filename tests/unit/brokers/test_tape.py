"""The broker that follows a tape: what it answers, what it reports, and that it can be rebuilt."""

import asyncio
from decimal import Decimal as D

import pytest

from holdfast.brokers.tape import TapeBroker
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import (
    Accepted,
    LookupResult,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
)
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.venue import flow

LATER = 10**18
BUY_5 = OrderTerms(
    symbol="ES",
    side=Side.BUY,
    quantity=D(5),
    order_type=OrderType.LIMIT,
    limit_price=D(4800),
)


def submit(number: int = 1, terms: OrderTerms = BUY_5) -> SubmitOrder:
    return SubmitOrder(
        number=number,
        wish=0,
        attempt=1,
        wire_id=f"e-replay-{number}",
        terms=terms,
        not_after_ns=LATER,
    )


def cancel(number: int = 1) -> CancelOrder:
    return CancelOrder(
        number=number,
        wish=1,
        attempt=1,
        wire_id=f"e-replay-{number}~1",
        orig_wire_id=f"e-replay-{number}",
        broker_order_id="",
        symbol="ES",
        not_after_ns=LATER,
    )


def replace(quantity: int, price: int = 4800) -> ReplaceOrder:
    return ReplaceOrder(
        number=1,
        wish=1,
        attempt=1,
        wire_id="e-replay-1~1",
        orig_wire_id="e-replay-1",
        broker_order_id="T1",
        terms=OrderTerms(symbol="ES", side=Side.BUY, quantity=D(quantity), limit_price=D(price)),
        leaves_quantity=None,
        not_after_ns=LATER,
    )


def lookup(*wire_ids: str, broker_order_ids: tuple[str, ...] = ()) -> LookupOrder:
    return LookupOrder(
        number=1, attempt=1, symbol="ES", wire_ids=wire_ids, broker_order_ids=broker_order_ids
    )


def trade(row: int, quantity: int) -> flow.Execution:
    return flow.Execution(row, 100 + row, 11, D(quantity), D(4800), f"x{row}")


async def heard(broker: TapeBroker) -> tuple[list[Report], "asyncio.Task[None]"]:
    """Listen, and return where the reports go and the task that listens."""
    reports: list[Report] = []
    listening = asyncio.create_task(broker.listen(reports.append, lambda: None))
    await broker.connected()
    return reports, listening


async def ended(listening: "asyncio.Task[None]") -> None:
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_an_order_is_taken_once() -> None:
    """A second submit under the same wire id is refused as a duplicate, and counted."""
    broker = TapeBroker("ES")

    assert await broker.submit(submit()) == Accepted(broker_order_id="T1")
    again = await broker.submit(submit())

    assert isinstance(again, Refused)
    assert again.code is RefusalCode.DUPLICATE_ID
    assert (broker.submits, broker.duplicates) == (2, 1)


@pytest.mark.parametrize(
    "terms",
    [
        OrderTerms(symbol="ES", side=Side.BUY, quantity=D(5)),
        OrderTerms(
            symbol="NQ",
            side=Side.BUY,
            quantity=D(5),
            order_type=OrderType.LIMIT,
            limit_price=D(4800),
        ),
    ],
)
async def test_what_no_tape_holds_is_refused(terms: OrderTerms) -> None:
    """Market orders, and orders in another symbol, are no orders of this venue."""
    assert isinstance(await TapeBroker("ES").submit(submit(terms=terms)), Refused)


async def test_a_cancel_is_done_at_once_and_may_be_repeated() -> None:
    """The answer is final; a repeat after a crash finds the same end."""
    broker = TapeBroker("ES")
    await broker.submit(submit())

    done = Accepted(broker_order_id="T1", final=True)
    assert await broker.cancel(cancel()) == done
    assert await broker.cancel(cancel()) == done
    assert (await broker.poll()).snapshots == ()


async def test_requests_that_come_too_late_or_name_nothing_are_refused_with_their_code() -> None:
    """A filled order stays filled, an unknown one is not invented."""
    broker = TapeBroker("ES")
    await broker.submit(submit())
    broker.follow("e-replay-1", trade(2, 5))

    def code(outcome: Outcome) -> RefusalCode:
        assert isinstance(outcome, Refused)
        return outcome.code

    assert code(await broker.cancel(cancel())) is RefusalCode.TOO_LATE
    assert code(await broker.replace(replace(9))) is RefusalCode.TOO_LATE
    assert code(await broker.cancel(cancel(2))) is RefusalCode.UNKNOWN_ORDER


async def test_a_replace_puts_its_terms_in_force_and_keeps_what_is_filled() -> None:
    """Terms below what is filled are refused and change nothing."""
    broker = TapeBroker("ES")
    await broker.submit(submit())
    broker.follow("e-replay-1", trade(2, 3))

    assert isinstance(await broker.replace(replace(3)), Refused)
    assert await broker.replace(replace(7, 4801)) == Accepted(broker_order_id="T1", final=True)

    [shown] = (await broker.poll()).snapshots
    assert (shown.order_quantity, shown.limit_price, shown.cumulative) == (D(7), D(4801), D(3))


async def test_what_the_tape_says_happens_and_is_reported() -> None:
    """Trades carry the quantity in force and the sum so far; the last of them fills the order."""
    broker = TapeBroker("ES")
    reports, listening = await heard(broker)
    await broker.submit(submit())

    broker.follow("e-replay-1", trade(2, 3))
    broker.follow("e-replay-1", trade(3, 2))

    assert [(each.kind, each.order_quantity, each.cumulative) for each in reports] == [
        (ReportKind.TRADE, D(5), D(3)),
        (ReportKind.TRADE, D(5), D(5)),
    ]
    order = broker.order("e-replay-1")
    assert order is not None
    assert order.status is Status.FILLED
    await ended(listening)


async def test_an_end_that_nobody_asked_for_is_reported() -> None:
    """The venue clears its book: the order is cancelled without a request."""
    broker = TapeBroker("ES")
    reports, listening = await heard(broker)
    await broker.submit(submit())

    broker.follow("e-replay-1", flow.Cancel(9, 109, 11, unsolicited=True, part=4))

    assert [(each.kind, each.report_id) for each in reports] == [(ReportKind.CANCELED, "r9.4")]
    await ended(listening)


async def test_a_trade_that_nobody_heard_of_is_in_the_next_poll_and_in_no_other() -> None:
    """What the stream delivered is not told a second time."""
    broker = TapeBroker("ES")
    await broker.submit(submit())
    broker.follow("e-replay-1", trade(2, 1))
    reports, listening = await heard(broker)
    broker.follow("e-replay-1", trade(3, 1))

    told = (await broker.poll()).executions

    assert [execution.execution_id for _, _, execution in told] == ["x2"]
    assert [each.report_id for each in reports] == ["r3.0"]
    assert (await broker.poll()).executions == ()
    await ended(listening)


async def test_a_listener_that_comes_late_is_told_of_the_gap() -> None:
    """Orders that were there before the stream began are a reason to poll."""
    broker = TapeBroker("ES")
    gaps: list[str] = []
    await broker.submit(submit())
    listening = asyncio.create_task(broker.listen(lambda _: None, lambda: gaps.append("gap")))
    await broker.connected()

    assert gaps == ["gap"]
    await ended(listening)


async def test_an_order_is_found_by_each_of_its_ids() -> None:
    """Once, with all its trades, and completely; an unknown one is provably absent."""
    broker = TapeBroker("ES")
    await broker.submit(submit())
    broker.follow("e-replay-1", trade(2, 3))

    for asked in (
        lookup("e-replay-1"),
        lookup("nothing", broker_order_ids=("T1",)),
        lookup("e-replay-1", broker_order_ids=("T1",)),
    ):
        found = await broker.lookup(asked)
        [sighting] = found.sightings
        assert found.complete
        assert [each.execution_id for each in sighting.executions] == ["x2"]
        assert sighting.executions_complete
    assert await broker.lookup(lookup("nothing")) == LookupResult(complete=True)


async def test_a_rebuilt_venue_says_word_for_word_what_the_first_one_said() -> None:
    """Ids and sequence follow from the operations alone, so no answer is older than before."""
    first, second = TapeBroker("ES"), TapeBroker("ES")
    before, hearing = await heard(first)
    await first.submit(submit(1))
    await first.submit(submit(2))
    await first.replace(replace(7))
    first.follow("e-replay-1", trade(4, 3))
    await first.cancel(cancel(2))

    for number, operation in (
        (1, flow.Submit(1, 101, 11, Side.BUY, D(5), D(4800))),
        (2, flow.Submit(2, 102, 12, Side.BUY, D(5), D(4800))),
        (1, flow.Replace(3, 103, 11, D(7), D(4800))),
        (1, trade(4, 3)),
        (2, flow.Cancel(5, 105, 12)),
    ):
        second.restore(f"e-replay-{number}", number, operation)

    for name in ("e-replay-1", "e-replay-2"):
        assert await second.lookup(lookup(name)) == await first.lookup(lookup(name))
    assert (await second.poll()).snapshots == (await first.poll()).snapshots
    after, listening = await heard(second)
    second.retell("e-replay-1")
    assert after == before
    await ended(hearing)
    await ended(listening)
