"""Every status met by every fact, through the desk's real inputs, against one hand-drawn picture.

Eight orders of 10 at 100, one per column: unanswered; open; 4 filled; full by 4 and 6; canceled
and expired after 4; rejected; failed because it was never sent. The execution of 4 is e1.
"""

from collections.abc import Callable
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.reports import Accepted, NotSent, RefusalCode, Refused, Unknown
from holdfast.domain.settings import Settings
from holdfast.domain.values import Condition, Status
from holdfast.testing.builders import DeskDriver

# What stands in a cell: `.` is untouched, `!` an anomaly, `?` the broker is being asked; else the
# status and filled quantity after, followed by the quantity in force or condition if it changed.
PICTURE = """
.              new         open        part        full       canc     expd     rejd     fail
pending_new    .           .           .           .          .        .        .        .
ack            open:0      .           .           .          ?        ?        ?        ?
ack_no_id      open:0      .           .           .          ?        ?        ?        ?
rejected       rejd:0      ?           ?           .          .        .        .        .
duplicate      ?           .           .           .          .        .        .        .
trade_3        part:3      part:3      part:7      full:13!   canc:7   expd:7   rejd:3!? part:3!
trade_6        part:6      part:6      full:10     full:16!   full:10  full:10  rejd:6!? part:6!
trade_10       full:10     full:10     full:14!    full:20!   full:14! full:14! full:10! full:10!
same_trade     part:4      part:4      .           .          .        .        rejd:4!? part:4!
trade_of_0     !?          !?          !?          !?         !?       !?       !?       !?
correct_to_2   part:2      part:2      part:2      part:8?    canc:2   expd:2   rejd:2!? part:2!
correct_to_10  full:10     full:10     full:10     full:16!   full:10  full:10  full:10! full:10!
bust           open:0      open:0      open:0      part:6?    canc:0   expd:0   rejd:0   fail:0
bust_of_what   !           !           !           !          !        !        !        !
canceled       canc:0      canc:0      canc:4      !          .        .        .        .
expired        expd:0      expd:0      expd:4      !          .        .        !        .
pending_cancel open:0      .           .           .          ?        ?        ?        ?
pending_repl   open:0      .           .           .          ?        ?        ?        ?
cancel_reject  ?           ?           ?           .          .        .        .        .
no_such_order  ?           ?           ?           .          .        .        .        .
replaced       open:0      .           .           .          ?        ?        ?        ?
restated       open:0      .           .           .          ?        ?        ?        ?
restated_to_4  open:0/4    open:0/4    full:4/4    full:10/4  ?        ?        ?        ?
restated_to_12 open:0/12   open:0/12   part:4/12   part:10/12 ?        ?        ?        ?
suspended      open:0/susp open:0/susp part:4/susp .          ?        ?        ?        ?
stopped        open:0/stop open:0/stop part:4/stop .          ?        ?        ?        ?
done_for_day   open:0/done open:0/done part:4/done .          .        .        .        .
held           open:0/held open:0/held part:4/held .          ?        ?        ?        ?
order_status   .           .           .           .          .        .        .        .
old_cancel     canc:0      ?           ?           .          .        .        .        .
old_suspended  open:0/susp .           .           .          .        .        ?        ?
poll_working   open:0      .           .           ?          ?        ?        ?        ?
poll_more      part:7      part:7      part:7      ?          ?        ?        ?        ?
poll_less      open:0      .           ?           ?          ?        ?        ?        ?
poll_filled    full:10     full:10     full:10     .          full:10  full:10  full:10! full:10!
poll_canceled  canc:0      canc:0      canc:4      !          .        .        .        .
poll_expired   expd:0      expd:0      expd:4      !          .        .        .        .
poll_rejected  rejd:0      rejd:0      canc:4!     !          .        .        .        .
poll_susp      open:0/susp open:0/susp part:4/susp ?          ?        ?        ?        ?
poll_nothing   .           ?           ?           .          .        .        .        .
accepted       open:0      .           .           .          .        .        !?       !?
refused        rejd:0      .           .           .          .        .        .        .
not_sent       fail:0      .           .           .          .        .        .        .
unknown        ?           .           .           .          .        .        .        .
"""

_SHORT = {
    Status.PARTIAL_FILL: "part",
    Status.FILLED: "full",
    Status.CANCELED: "canc",
    Status.EXPIRED: "expd",
    Status.REJECTED: "rejd",
    Status.FAILED: "fail",
}
_CONDITIONS = {
    Condition.SUSPENDED: "susp",
    Condition.STOPPED: "stop",
    Condition.DONE_FOR_DAY: "done",
    Condition.HELD: "held",
}


def driver(status: str) -> DeskDriver:
    """Bring an order into the state of a column, with nothing about it open."""
    bench = DeskDriver(settings=Settings(inferred_grace_ms=0, retries_max=0))
    bench.sequence = 100
    bench.submit()
    if status == "new":
        return bench
    if status == "rejd":
        bench.answer(Refused(text="no"))
    elif status == "fail":
        bench.answer(NotSent(text="429"))
    else:
        bench.say("new")
    if status in {"part", "full", "canc", "expd"}:
        bench.trade("e1", "4")
    if status == "full":
        bench.trade("e2", "6")
    if status in {"canc", "expd"}:
        bench.say("canceled" if status == "canc" else "expired")
    bench.now_ns += 6_000_000_000  # the quiet period after an end is over
    return bench


FACTS: dict[str, Callable[[DeskDriver], object]] = {
    "pending_new": lambda b: b.say("pending_new"),
    "ack": lambda b: b.say("new"),
    "ack_no_id": lambda b: b.say("new", broker_order_id=""),
    "rejected": lambda b: b.say("rejected", code=RefusalCode.INSUFFICIENT_FUNDS),
    "duplicate": lambda b: b.say("rejected", code=RefusalCode.DUPLICATE_ID),
    "trade_3": lambda b: b.trade("e9", "3"),
    "trade_6": lambda b: b.trade("e9", "6"),
    "trade_10": lambda b: b.trade("e9", "10"),
    "same_trade": lambda b: b.trade("e1", "4"),
    "trade_of_0": lambda b: b.trade("e9", "0"),
    "correct_to_2": lambda b: b.correct("e1", "c1", "2"),
    "correct_to_10": lambda b: b.correct("e1", "c1", "10"),
    "bust": lambda b: b.bust("e1"),
    "bust_of_what": lambda b: b.bust(""),
    "canceled": lambda b: b.say("canceled"),
    "expired": lambda b: b.say("expired"),
    "pending_cancel": lambda b: b.say("pending_cancel"),
    "pending_repl": lambda b: b.say("pending_replace"),
    "cancel_reject": lambda b: b.say("cancel_reject", code=RefusalCode.TOO_LATE),
    "no_such_order": lambda b: b.say("cancel_reject", code=RefusalCode.UNKNOWN_ORDER),
    "replaced": lambda b: b.say("replaced"),
    "restated": lambda b: b.say("restated"),
    "restated_to_4": lambda b: b.say("restated", order_quantity=D(4)),
    "restated_to_12": lambda b: b.say("restated", order_quantity=D(12)),
    "suspended": lambda b: b.say("suspended"),
    "stopped": lambda b: b.say("stopped"),
    "done_for_day": lambda b: b.say("done_for_day"),
    "held": lambda b: b.say("held"),
    "order_status": lambda b: b.say("order_status"),
    "old_cancel": lambda b: b.say("canceled", sequence=5),
    "old_suspended": lambda b: b.say("suspended", sequence=5),
    "poll_working": lambda b: b.poll(b.snapshot()),
    "poll_more": lambda b: b.poll(b.snapshot(cumulative=7)),
    "poll_less": lambda b: b.poll(b.snapshot(cumulative=0)),
    "poll_filled": lambda b: b.poll(b.snapshot(status=Status.FILLED, cumulative=10)),
    "poll_canceled": lambda b: b.poll(b.snapshot(status=Status.CANCELED)),
    "poll_expired": lambda b: b.poll(b.snapshot(status=Status.EXPIRED)),
    "poll_rejected": lambda b: b.poll(b.snapshot(status=Status.REJECTED)),
    "poll_susp": lambda b: b.poll(b.snapshot(condition=Condition.SUSPENDED)),
    "poll_nothing": lambda b: b.poll(complete=True),
    "accepted": lambda b: b.answer(Accepted(broker_order_id="B1")),
    "refused": lambda b: b.answer(Refused(text="no")),
    "not_sent": lambda b: b.answer(NotSent(text="429")),
    "unknown": lambda b: b.answer(Unknown(text="timeout")),
}


def body(bench: DeskDriver) -> tuple[Any, ...]:
    """All of an order and its position that a refused fact must leave alone."""
    order = bench.order()
    traded = [(leg.executions, leg.waiting) for leg in order.legs]
    money = (order.filled_quantity, order.notional, dict(order.fees), bench.position().quantity)
    terms = (order.status, order.condition, order.quantity, order.terms)
    return (*terms, *money, repr([one for one in traded if any(one)]))


def outcome(bench: DeskDriver, fact: str) -> str:
    """Let a fact happen and draw what became of the order."""
    order = bench.order()
    before, quantity, anomalies = body(bench), order.quantity, len(bench.anomalies())
    FACTS[fact](bench)
    order, cell = bench.order(), ""
    if body(bench) != before:
        cell = f"{_SHORT.get(order.status, order.status)}:{order.filled_quantity}"
        changed = order.quantity if order.quantity != quantity else _CONDITIONS.get(order.condition)
        cell += f"/{changed}" if changed is not None else ""
    cell += "!" if len(bench.anomalies()) > anomalies else ""
    cell += "?" if order.lookup is not None or order.alive is not None else ""
    return cell or "."


ROWS = [line.split() for line in PICTURE.strip().splitlines()]


@pytest.mark.parametrize(
    ("status", "fact", "cell"),
    [(s, row[0], c) for row in ROWS[1:] for s, c in zip(ROWS[0][1:], row[1:], strict=True)],
)
def test_a_fact_does_to_an_order_what_is_drawn(status: str, fact: str, cell: str) -> None:
    """The outcome is the drawn one; a refused fact leaves the order alone (scenarios 11, 81)."""
    bench = driver(status)
    assert outcome(bench, fact) == cell
    assert bench.refolded().dump() == bench.desk.dump()


@pytest.mark.parametrize(("status", "fact"), [(s, row[0]) for row in ROWS[1:] for s in ROWS[0][1:]])
def test_the_same_report_twice_is_once(status: str, fact: str) -> None:
    """A report that comes again, as the same message, changes nothing more (scenarios 8, 82)."""
    bench = driver(status)
    FACTS[fact](bench)
    if not bench.reports or fact in {"trade_of_0", "bust_of_what"}:
        return
    before, anomalies = body(bench), bench.anomalies()
    bench.hear(bench.reports[-1])
    assert body(bench) == before
    assert bench.anomalies() == anomalies


def test_every_fact_and_status_is_drawn() -> None:
    """The picture has a row for every fact that these tests know and a column for every status."""
    assert {row[0] for row in ROWS[1:]} == set(FACTS)
    assert {driver(status).order().status for status in ROWS[0][1:]} == set(Status)
