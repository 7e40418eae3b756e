from decimal import Decimal

import pytest

from holdfast.domain.inputs import Answer, Looked, Polled, Reported
from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    LookupResult,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
)
from holdfast.engine.routing import UNCLAIMED_MAX, Routing
from holdfast.ports import OpenOrders
from holdfast.testing.desk_ports import ALPHA, BETA, HearingPort


def two_desks() -> tuple[Routing, HearingPort, HearingPort]:
    routing, alpha, beta = Routing(), HearingPort(ALPHA), HearingPort(BETA, "B-7")
    routing.attach(alpha)
    routing.attach(beta)
    return routing, alpha, beta


def news(wire_id: str = "", broker_order_id: str = "", orig: str = "") -> Report:
    return Report(
        kind=ReportKind.NEW,
        wire_id=wire_id,
        orig_wire_id=orig,
        broker_order_id=broker_order_id,
    )


def test_a_report_goes_to_the_desk_whose_prefix_its_wire_id_has() -> None:
    """Neither desk of an account hears of the other's orders (scenario 104)."""
    routing, alpha, beta = two_desks()

    routing.reported(news(f"{ALPHA}1~2"))
    routing.reported(news(f"{BETA}9"))

    assert alpha.heard == [Reported(news(f"{ALPHA}1~2"))]
    assert beta.heard == [Reported(news(f"{BETA}9"))]


def test_the_original_id_and_then_the_brokers_id_find_the_desk() -> None:
    """Where the wire id says nothing, the id it replaces does, and else the broker's own."""
    routing, alpha, beta = two_desks()

    routing.reported(news("ui-4711", orig=f"{ALPHA}1"))
    routing.reported(news("", "B-7"))

    assert len(alpha.heard) == len(beta.heard) == 1


def test_words_of_no_desk_are_counted_and_kept() -> None:
    """An order of nobody is kept under its broker id and shown (P3)."""
    routing, alpha, beta = two_desks()

    routing.reported(news("", "B-99"))

    assert alpha.heard == beta.heard == []
    assert routing.unclaimed["B-99"].words == [news("", "B-99")]
    assert routing.statistics()["unclaimed_words"] == 1


def test_a_report_that_overtook_its_answer_is_handed_on_behind_it() -> None:
    """A trade that names only a broker id nobody knows yet waits for that id (trap 12)."""
    routing, alpha, _ = two_desks()
    answer = Answer(number=1, wish=0, attempt=1, outcome=Accepted(broker_order_id="B-1"))

    routing.reported(news("", "B-1"))
    routing.answered(alpha, answer)

    assert alpha.heard == [answer, Reported(news("", "B-1"))]
    assert "B-1" not in routing.unclaimed


@pytest.mark.parametrize("how", ["answer", "lookup", "poll"])
def test_a_report_of_an_attached_exit_waits_for_whoever_tells_its_id(how: str) -> None:
    """Whatever names the exits of an entry first has what they reported handed on behind it."""
    routing, alpha, _ = two_desks()
    stop = news(broker_order_id="STOP-1")
    routing.reported(stop)
    shown = Snapshot(
        wire_id=f"{ALPHA}1",
        broker_order_id="B-1",
        children=(Child(role="stop", broker_order_id="STOP-1"),),
    )
    if how == "answer":
        said = Accepted(broker_order_id="B-1", children=shown.children)
        routing.answered(alpha, Answer(number=1, wish=0, attempt=1, outcome=said))
    elif how == "lookup":
        found = LookupResult(sightings=(Sighting(snapshot=shown),), complete=True)
        routing.looked(alpha, Looked(number=1, attempt=1, asked_ns=1, result=found))
    else:
        routing.polled(OpenOrders(snapshots=(shown,), complete=True), {ALPHA: 1})

    assert alpha.heard[1:] == [Reported(stop)]
    assert (routing.unclaimed, routing.must_ask) == ({}, False)


def test_a_poll_is_cut_to_each_desk() -> None:
    """Each desk gets its own orders and executions, and hears whether the list was complete."""
    routing, alpha, beta = two_desks()
    mine = Snapshot(wire_id=f"{ALPHA}1", broker_order_id="B-1")
    theirs = Snapshot(broker_order_id="B-7")
    trade = Execution(execution_id="X", quantity=Decimal(1), price=Decimal(2))
    found = OpenOrders(
        snapshots=(mine, theirs),
        executions=(("B-1", "", trade), ("B-7", "", trade), ("B-2", f"{ALPHA}2", trade)),
        complete=True,
    )

    routing.polled(found, {ALPHA: 11, BETA: 12})

    assert alpha.heard == [
        Polled(
            asked_ns=11,
            snapshots=(mine,),
            executions=(("", "B-1", trade), (f"{ALPHA}2", "B-2", trade)),
            complete=True,
        )
    ]
    assert beta.heard == [
        Polled(asked_ns=12, snapshots=(theirs,), executions=(("", "B-7", trade),), complete=True)
    ]


def test_an_order_placed_by_hand_is_told_once() -> None:
    """An order of nobody that every poll lists is recorded one time (93, as far as it goes)."""
    routing, alpha, beta = two_desks()
    found = OpenOrders(snapshots=(Snapshot(broker_order_id="HAND", symbol="TSLA"),), complete=True)

    for asked_ns in range(3):
        routing.polled(found, {ALPHA: asked_ns, BETA: asked_ns})

    assert (alpha.strange, beta.strange) == (["HAND"], [])


def test_what_nobody_claims_is_bounded() -> None:
    """A flood of foreign reports neither fills memory nor pushes out what is known."""
    routing, alpha, _ = two_desks()

    for number in range(2 * UNCLAIMED_MAX):
        routing.reported(news("", f"F-{number}"))
    last = f"F-{2 * UNCLAIMED_MAX - 1}"
    for _ in range(1_000):
        routing.reported(news("", last))

    assert len(routing.unclaimed) == UNCLAIMED_MAX
    assert routing.statistics()["unclaimed_forgotten"] == UNCLAIMED_MAX
    assert len(routing.unclaimed[last].words) <= 16
    assert alpha.strange == []


def test_more_orders_of_nobody_than_can_be_kept_are_told_once_each() -> None:
    """What does not fit is counted; what is kept is not told again and again."""
    routing, alpha, _ = two_desks()
    found = tuple(Snapshot(broker_order_id=f"F-{n}") for n in range(2 * UNCLAIMED_MAX))

    for asked_ns in range(3):
        routing.polled(OpenOrders(snapshots=found, complete=True), {ALPHA: asked_ns})

    assert len(alpha.strange) == len(set(alpha.strange)) == UNCLAIMED_MAX


def test_orders_of_nobody_that_are_gone_make_room() -> None:
    """What a complete poll no longer lists is no longer kept, so others can be."""
    routing, alpha, _ = two_desks()
    first = tuple(Snapshot(broker_order_id=f"F-{n}") for n in range(UNCLAIMED_MAX))
    second = (Snapshot(broker_order_id="G-1"),)

    routing.polled(OpenOrders(snapshots=first, complete=True), {ALPHA: 1})
    routing.polled(OpenOrders(snapshots=second, complete=True), {ALPHA: 2})
    routing.polled(OpenOrders(snapshots=second, complete=True), {ALPHA: 3})

    assert "G-1" in routing.unclaimed
    assert alpha.strange.count("G-1") == 1
