"""What may come from callers and brokers and must neither stop a desk nor make two orders."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import inputs
from holdfast.domain.desk import Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Execution, Report, ReportKind, Snapshot, Unknown
from holdfast.domain.requests import OrderRequest, OrderTerms, check_request, check_text
from holdfast.domain.sanity import legible, usable
from holdfast.domain.values import Side
from holdfast.errors import AmountError, InputError
from holdfast.testing.builders import EPOCH, DeskDriver

LONE = "not enough \ud83d"
OWN = f"{EPOCH}-d-"


def test_an_effect_tells_since_when_its_answer_is_awaited() -> None:
    """What is sent again counts from its own sending, not from the first (trap 64)."""
    bench = DeskDriver()
    order = bench.opened()
    first = bench.effects[0]
    bench.advance(1_000)
    bench.cancel(order.number)
    asked = bench.now_ns
    bench.advance(6_000)

    cancels = [effect for effect in bench.effects if isinstance(effect, CancelOrder)]
    assert isinstance(first, SubmitOrder)
    assert first.sent_ns == order.created_ns
    assert cancels[0].sent_ns == asked
    assert cancels[1].sent_ns > cancels[0].sent_ns


@pytest.mark.parametrize(
    "fields",
    [
        {"strategy": None},
        {"strategy": 5},
        {"strategy": LONE},
        {"symbol": ["X"]},
        {"symbol": None},
        {"not_after_ms": "5"},
        {"not_after_ms": True},
        {"expire_at_ns": "x", "time_in_force": "gtd"},
    ],
)
def test_a_field_of_another_type_is_refused_by_name(fields: dict[str, Any]) -> None:
    """A request that holds what it cannot hold is the caller's error and never a defect."""
    wanted = {"symbol": "X", "side": "buy", "quantity": "1"} | fields
    with pytest.raises(InputError, match=next(iter(fields))):
        check_request(OrderRequest(**wanted), Instrument.of("X"))


NAMED: dict[str, Any] = {
    "client_order_id": "mine",
    "symbol": "X",
    "strategy": "",
    "leave_unprotected": False,
    "by": "ann",
    "reason": "why",
    "verdict": "look_again",
    "action": "cancel",
    "code": "c",
    "text": "t",
    "quantity": "2",
    "limit_price": "99",
    "stop_price": None,
    "price": "1",
    "instrument": Instrument.of("X"),
}
COMMANDS: list[Any] = [
    inputs.Cancel,
    inputs.CancelAll,
    inputs.Replace,
    inputs.Resolve,
    inputs.Define,
    inputs.SetOpeningBalance,
    inputs.ManageOrders,
    inputs.EngageKillSwitch,
    inputs.ReleaseKillSwitch,
    inputs.CloseBreaker,
    inputs.Flatten,
    inputs.Raise,
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("value", [[1], 5, None, LONE, True, {"a": 1}], ids=str)
def test_a_command_of_other_types_is_the_callers_error(command: Any, value: Any) -> None:
    """Whatever is given for whichever field, no defect comes of it and the journal can be read."""
    for name in command.__struct_fields__:
        bench = DeskDriver()
        bench.opened(client_order_id="mine")
        fields = {each: NAMED[each] for each in command.__struct_fields__}
        bench.step(command(**(fields | {name: value})))
        assert bench.refolded().dump() == bench.desk.dump()


def test_a_long_multiplier_does_not_stop_the_check_of_the_minimum() -> None:
    """An order is compared with the least worth even where its exact worth is too long."""
    fine = "0.00000000000001"
    instrument = Instrument.of(
        "X", tick=fine, lot=fine, minimum_notional="1", multiplier="0.12345678901234"
    )
    long = Decimal("12345678901234.12345678901234")

    instrument.check_notional(long, long)
    with pytest.raises(AmountError, match="the least that can be ordered is 1"):
        instrument.check_notional(Decimal("0.1"), Decimal("0.12345678901234"))


def test_text_that_is_no_unicode_is_made_writable() -> None:
    """Each id and text of a broker can be written down, and sound ones stay the same object."""
    report = Report(
        kind=ReportKind.TRADE,
        broker_order_id="B\udcff",
        text=LONE,
        execution=Execution(execution_id="e\ud800", quantity=Decimal(1), price=Decimal(1)),
    )
    sound = Snapshot(broker_order_id="B-ä", word="größer")
    told = usable(report)

    assert (told.broker_order_id, told.text) == ("B?", "not enough ?")
    assert told.execution is not None
    assert told.execution.execution_id == "e?"
    assert legible(Unknown(text=LONE)) == Unknown(text="not enough ?")
    assert legible(sound) is sound


def test_a_callers_text_is_refused_where_it_is_no_unicode() -> None:
    """A person's reason is kept as it was written, or not taken at all."""
    assert check_text("größer", "reason") == "größer"
    with pytest.raises(InputError, match="reason"):
        check_text(LONE, "reason")


def archived() -> Desk:
    """Return a desk of which something was archived, whatever it was."""
    bench = DeskDriver()
    bench.desk.state.stored.archived = 1
    return bench.desk


def test_an_exit_past_the_journal_is_not_adopted_twice() -> None:
    """An adopted order that left memory is asked for by its wire id and its client id."""
    desk, wire_id = archived(), f"{OWN}x6.aa"
    terms = OrderTerms(symbol="X", side=Side.SELL, quantity=Decimal(1))
    adopt = inputs.Adopt(wire_id=wire_id, terms=terms, client_order_id="exit-1")

    assert desk.missing(adopt) == ("c:exit-1", f"w:{wire_id}")
    desk.state.names[f"c:{adopt.client_order_id}"] = 1  # another order's by now
    assert desk.missing(adopt) == (f"w:{wire_id}",)


def test_words_about_an_archived_exit_name_it() -> None:
    """A report, a poll and a caller mean an adopted order by a wire id without a number."""
    desk, wire_id = archived(), f"{OWN}x6.aa"
    report = Report(kind=ReportKind.NEW, wire_id=f"{wire_id}~1", broker_order_id="B9")
    shown = Snapshot(wire_id=wire_id)

    assert desk.missing(inputs.Reported(report)) == (f"w:{wire_id}", "b:B9")
    assert desk.missing(inputs.Polled(asked_ns=1, snapshots=(shown,))) == (f"w:{wire_id}",)
    assert desk.missing(inputs.Cancel(client_order_id=wire_id)) == (f"c:{wire_id}", f"w:{wire_id}")
    assert desk.missing(inputs.Cancel(client_order_id="mine")) == ("c:mine",)
