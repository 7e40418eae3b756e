"""No input can be made of what a broker said in other types than declared."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.domain import inputs
from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    LookupResult,
    NotSent,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.sanity import legible, usable_sighting
from holdfast.domain.typed import MistypedError, check, remains
from holdfast.domain.values import Condition, OrderType, Side, Status, TimeInForce
from holdfast.testing.builders import DeskDriver
from holdfast.testing.misspoken import misspoken

D = Decimal
CHILD = Child(role="stop", broker_order_id="B-S", wire_id="w.stop.1")
TRADE = Execution(execution_id="X-1", quantity=D(4), price=D("250.5"), fee=D(1), stamp_ns=5)
REPORT = Report(kind=ReportKind.TRADE, wire_id="w", execution=TRADE, cumulative=D(4), full=True)
SNAPSHOT = Snapshot(
    broker_order_id="B-1",
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    time_in_force=TimeInForce.DAY,
    status=Status.OPEN,
    condition=Condition.HELD,
    limit_price=D("250.5"),
    children=(CHILD, CHILD),
)
LOOKED = LookupResult(sightings=(Sighting(snapshot=SNAPSHOT, executions=(TRADE, TRADE)),))


def answer(outcome: Any) -> inputs.Answer:
    return inputs.Answer(number=1, wish=0, attempt=1, outcome=outcome)


def looked(result: Any) -> inputs.Looked:
    return inputs.Looked(number=1, attempt=1, asked_ns=1, result=result)


def polled(snapshot: Any) -> inputs.Polled:
    return inputs.Polled(asked_ns=1, snapshots=(SNAPSHOT, snapshot))


def traded(trade: Any) -> inputs.Polled:
    return inputs.Polled(asked_ns=1, executions=(("B-1", "", trade),))


def adopted(snapshot: Any) -> inputs.AdoptExternal:
    return inputs.AdoptExternal(snapshot=snapshot, asked_ns=1)


SOUND: list[tuple[Callable[[Any], Any], Any]] = [
    (inputs.Reported, REPORT),
    (answer, Accepted(broker_order_id="B-1", children=(CHILD,))),
    (answer, Refused(text="no", code=RefusalCode.TOO_LATE)),
    (answer, NotSent(text="429", retry_after_ms=5)),
    (answer, Unknown(text="503")),
    (looked, LOOKED),
    (polled, SNAPSHOT),
    (traded, TRADE),
    (adopted, SNAPSHOT),
]
CASES = [
    pytest.param(make, words, id=f"{make.__name__}-{type(sound).__name__}.{name}")
    for make, sound in SOUND
    for name, words in misspoken(sound)
]


@pytest.mark.parametrize(("make", "words"), CASES)
def test_no_input_takes_a_field_of_a_wrong_type(make: Callable[[Any], Any], words: Any) -> None:
    """Every field of every part, with values of many wrong types, is refused and named (P5)."""
    assert words
    for word in words:
        with pytest.raises(MistypedError, match="it must be"):
            make(word)


@pytest.mark.parametrize(("make", "sound"), SOUND)
def test_what_is_declared_passes(make: Callable[[Any], Any], sound: Any) -> None:
    """Sound messages become inputs, with and without what is optional."""
    assert make(sound) == make(sound)
    optional = {
        name: None
        for name in sound.__struct_fields__
        if name in {"fee", "execution", "cumulative", "side", "status", "limit_price"}
    }
    make(msgspec.structs.replace(sound, **optional))


@pytest.mark.parametrize("word", [None, "ok", {"id": 1}, 5, object(), TRADE, [SNAPSHOT]])
def test_what_is_no_such_message_at_all_is_no_input(word: Any) -> None:
    """Neither nonsense nor a message of another kind is taken."""
    for make in (inputs.Reported, answer, looked, polled, adopted):
        with pytest.raises(MistypedError):
            make(word)


def test_a_fault_is_named_with_its_place_and_the_value_found() -> None:
    """Whoever mends the adapter reads which field it is, what it was, and what it must be."""
    bad: Any = 250.5
    word = msgspec.structs.replace(REPORT, execution=msgspec.structs.replace(TRADE, price=bad))
    with pytest.raises(MistypedError) as caught:
        check(word, Report)
    text = "execution price is 250.5, of type float; it must be Decimal"
    assert str(caught.value) == text


def test_a_strange_value_is_shown_the_same_at_every_run() -> None:
    """What may show itself with its address is named by its type alone (P8)."""
    bad: Any = object()
    with pytest.raises(MistypedError) as caught:
        check(msgspec.structs.replace(REPORT, text=bad), Report)
    assert str(caught.value) == "text is of type object; it must be str"


def test_what_is_left_of_a_message_names_its_order_and_its_trade_and_nothing_else() -> None:
    """No figure of a message that cannot be read is kept; whose it was is (P3)."""
    bad: Any = 7
    spoilt = msgspec.structs.replace(REPORT, broker_order_id=bad)
    left = remains(spoilt, "why")
    expected = Report(kind=ReportKind.TRADE, wire_id="w", execution_ref="X-1", text="why")
    assert left == expected
    assert remains(msgspec.structs.replace(spoilt, wire_id=bad), "why") is None
    assert remains(("B-1", "w", TRADE), "why") == msgspec.structs.replace(
        expected, broker_order_id="B-1"
    )
    assert remains({"wire_id": "w"}, "why") is None
    kindless = remains(msgspec.structs.replace(REPORT, kind=bad), "why")
    assert kindless is not None
    assert kindless.kind is ReportKind.TRADE


def test_remains_end_nothing_and_have_their_order_looked_up_once_for_each_trade() -> None:
    """What says "canceled" and cannot be read cancels nothing (P4); each trade is asked for."""
    bench = DeskDriver()
    bench.opened()
    bad: Any = 5
    for _ in range(100):
        word = bench.report("canceled", report_id=bad)
        left = remains(word, "why")
        assert left is not None
        bench.step(inputs.Reported(left, is_remains=True))
    assert bench.order().status is Status.OPEN
    assert bench.kinds().count("anomaly_recorded") == 1
    assert bench.kinds().count("lookup_started") == 1
    for name in ("X-1", "X-2"):
        trade = msgspec.structs.replace(TRADE, execution_id=name, price=bad)
        left = remains(bench.report("trade", execution=trade), "why")
        assert left is not None
        bench.step(inputs.Reported(left, is_remains=True))
    assert bench.kinds().count("anomaly_recorded") == 3
    assert bench.refolded().dump() == bench.desk.dump()


def test_ids_of_exits_that_no_journal_takes_are_made_legible() -> None:
    """A lone surrogate in the id of a child becomes a question mark, as everywhere."""
    child = Child(role="stop", broker_order_id="B\ud800")
    mended = (Child(role="stop", broker_order_id="B?"),)
    assert legible(Accepted(children=(child,))).children == mended
    sighting = Sighting(snapshot=msgspec.structs.replace(SNAPSHOT, children=(child,)))
    assert usable_sighting(sighting).snapshot.children == mended
