"""What the ProjectX gateway's messages become, in every shape and however mangled."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.brokers.projectx.parse import (
    ORDER_EVENT,
    POSITION_EVENT,
    TRADE_EVENT,
    Heard,
    executions_of,
    hear,
    outcome_of_cancel,
    outcome_of_modify,
    outcome_of_place,
    snapshots_of,
)
from holdfast.brokers.projectx.shapes import decode
from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Unknown,
)
from holdfast.domain.values import Condition, OrderType, Side, Status

D = Decimal
ORDER: dict[str, Any] = {
    "id": 501,
    "accountId": 7,
    "contractId": "CON.F.US.MNQ.U26",
    "creationTimestamp": "2026-08-19T20:49:25Z",
    "updateTimestamp": None,
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 3,
    "limitPrice": 20052.25,
    "stopPrice": None,
    "fillVolume": 0,
    "filledPrice": None,
    "customTag": "0123456789ab-d-1",
}
TRADE: dict[str, Any] = {
    "id": 9001,
    "accountId": 7,
    "contractId": "CON.F.US.MNQ.U26",
    "creationTimestamp": "2026-08-19T20:49:26Z",
    "price": 20052.1,
    "profitAndLoss": None,
    "fees": 0.37,
    "side": 0,
    "size": 2,
    "voided": False,
    "orderId": 501,
}
STAMP_NS = 1_787_172_565 * 10**9


def with_(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (body | changes).items() if value is not ...}


def order_report(**changes: Any) -> Report:
    (report,) = hear(ORDER_EVENT, with_(ORDER, **changes)).reports
    return report


def reasons(heard: Any) -> list[str]:
    return [each.reason for each in heard.unreadable]


SHAPES = {
    "a flat": lambda body: body,
    "b action and data": lambda body: {"action": 1, "data": body},
    "c list of actions": lambda body: [{"action": 1, "data": body}],
    "d list": lambda body: [body],
    "e behind an id": lambda body: [body["id"], body],
    "e behind an id as text": lambda body: [str(body["id"]), body],
    "f data list": lambda body: {"data": [body]},
    "g result and data": lambda body: {"result": {"data": [body]}},
    "g result": lambda body: {"result": body},
    "h message": lambda body: {"message": body},
    "h payload": lambda body: {"payload": body},
    "h content": lambda body: {"content": body},
    "h order": lambda body: {"order": body},
    "h orderData": lambda body: {"orderData": body},
    "h trade": lambda body: {"trade": body},
    "h execution": lambda body: {"execution": body},
    "text": json.dumps,
    "bytes": lambda body: json.dumps([body]).encode(),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_an_event_says_the_same(shape: Any) -> None:
    """However an event is wrapped, the same reports come of it (scenario 70)."""
    for event, body in ((ORDER_EVENT, ORDER), (TRADE_EVENT, TRADE)):
        heard = hear(event, shape(body))
        assert heard == hear(event, body)
        assert len(heard.reports) == 1
        assert heard.unreadable == ()


@pytest.mark.parametrize("fees", [1.4800000000000002, "1.48000000000000019", "1.48"])
def test_a_fee_with_the_tail_of_a_float_is_rounded(fees: object) -> None:
    """Its trade is booked, told by the stream as by a poll (trap 15)."""
    trade = with_(TRADE, fees=fees)
    heard, found = (
        hear(TRADE_EVENT, trade),
        executions_of({"success": True, "errorCode": 0, "trades": [trade]}),
    )
    [report], [(_, _, polled)] = heard.reports, found.executions
    assert report.execution == polled
    assert (polled.fee, heard.unreadable, found.complete) == (Decimal("1.48"), (), True)


def test_a_mean_price_without_end_is_rounded() -> None:
    """An order of which parts traded at several prices is read, its mean to 14 decimals."""
    order = with_(ORDER, filledPrice=Decimal(18004) / 3)
    found = snapshots_of({"success": True, "errorCode": 0, "orders": [order]})
    [shown] = found.snapshots
    assert shown.average_price == Decimal("6001.33333333333333")
    assert found.complete


@pytest.mark.parametrize("fees", ["NaN", 1e30, True, "free", "1..5"])
def test_a_fee_that_cannot_be_read_loses_no_trade(fees: object) -> None:
    """The trade has no fee then, and it is said that there was something about it."""
    trade = with_(TRADE, fees=fees)
    heard, found = (
        hear(TRADE_EVENT, trade),
        executions_of({"success": True, "errorCode": 0, "trades": [trade]}),
    )
    assert [each.execution and each.execution.fee for each in heard.reports] == [None]
    assert [each.fee for _, _, each in found.executions] == [None]
    assert reasons(heard) == reasons(found) == ["bad_fees"]


def test_all_items_of_a_list_are_read() -> None:
    """Of several events in one message none is passed over (scenario 70)."""
    bodies = [with_(ORDER, id=number) for number in (1, 2, 3)]
    for message in (
        bodies,
        [{"action": 0, "data": body} for body in bodies],
        [1, *bodies],
        {"data": bodies},
        {"result": {"data": [bodies[:1], bodies[1:]]}},
    ):
        found = [report.broker_order_id for report in hear(ORDER_EVENT, message).reports]
        assert found == ["1", "2", "3"]


def test_an_order_event_is_a_report_of_exact_figures() -> None:
    """Prices are the decimals that were written, and the tag is our wire id (trap 15)."""
    assert order_report() == Report(
        kind=ReportKind.NEW,
        wire_id="0123456789ab-d-1",
        broker_order_id="501",
        order_quantity=D(3),
        cumulative=D(0),
        limit_price=D("20052.25"),
        text="open",
        stamp_ns=STAMP_NS,
    )
    exact = '{"id": 1, "status": 1, "size": 3, "limitPrice": 0.10000000000001}'
    assert hear(ORDER_EVENT, exact).reports[0].limit_price == D("0.10000000000001")


def test_a_trade_event_is_an_execution_that_does_not_date_its_order() -> None:
    """A trade's time stays with the trade: orders are stamped earlier by the gateway (trap 11)."""
    (report,) = hear(TRADE_EVENT, TRADE).reports
    trade = Execution(
        execution_id="9001",
        quantity=D(2),
        price=D("20052.1"),
        fee=D("0.37"),
        fee_currency="USD",
        stamp_ns=STAMP_NS + 10**9,
    )
    assert report == Report(kind=ReportKind.TRADE, broker_order_id="501", execution=trade)


def test_a_voided_trade_takes_its_execution_back() -> None:
    """A void names the execution that it is about."""
    (report,) = hear(TRADE_EVENT, with_(TRADE, voided=True)).reports
    assert (report.kind, report.execution_ref) == (ReportKind.TRADE_CANCEL, "9001")
    assert report.execution is None


@pytest.mark.parametrize("name", ["orderId", "order_id", "orderID"])
def test_ids_are_the_same_under_every_name_and_as_text(name: str) -> None:
    """An order that is named by another key, or by text, is the same order."""
    for value in (501, "501", " 501 ", "0501"):
        body = with_(TRADE, orderId=...) | {name: value}
        assert hear(TRADE_EVENT, body).reports[0].broker_order_id == "501"


@pytest.mark.parametrize(
    ("text", "after_ns"),
    [
        ("2026-08-19T20:49:25Z", 0),
        ("2026-08-19T20:49:25+00:00", 0),
        ("2026-08-19T20:49:25", 0),
        ("2026-08-19T20:49:25.3962105+00:00", 396_210_500),
        ("2026-08-19T20:49:25.39621", 396_210_000),
        ("2026-08-19T15:49:25.1-05:00", 100_000_000),
    ],
)
def test_every_spelling_of_a_time_is_the_same_time(text: str, after_ns: int) -> None:
    """Z, an offset and nothing are read to the last digit."""
    assert order_report(updateTimestamp=text).stamp_ns == STAMP_NS + after_ns


@pytest.mark.parametrize("text", ["yesterday", "2026-13-40T99:00:00Z", 5, ["2026"], ""])
def test_a_time_that_cannot_be_read_costs_the_time_alone(text: object) -> None:
    """What the event says counts without its stamp, and the stamp is told."""
    heard = hear(ORDER_EVENT, with_(ORDER, updateTimestamp=text))
    assert heard.reports[0].stamp_ns == 0
    assert reasons(heard) == ["bad_timestamp"]


STATUSES = [
    (1, ReportKind.NEW, Status.OPEN, Condition.NONE),
    (2, ReportKind.RESTATED, Status.FILLED, Condition.NONE),
    (3, ReportKind.CANCELED, Status.CANCELED, Condition.NONE),
    (4, ReportKind.EXPIRED, Status.EXPIRED, Condition.NONE),
    (5, ReportKind.REJECTED, Status.REJECTED, Condition.NONE),
    (6, ReportKind.PENDING_NEW, None, Condition.NONE),
    (8, ReportKind.SUSPENDED, None, Condition.SUSPENDED),
]


@pytest.mark.parametrize(("code", "kind", "status", "condition"), STATUSES)
def test_each_status_number_has_its_meaning(
    code: int, kind: ReportKind, status: Status | None, condition: Condition
) -> None:
    """The hand-written table of the gateway's numbers, in an event and in a list."""
    assert order_report(status=code).kind is kind
    (shown,) = found([with_(ORDER, status=code)]).snapshots
    assert (shown.status, shown.condition) == (status, condition)
    assert shown.pending == ("new" if code == 6 else "")


@pytest.mark.parametrize("code", [0, 7, 9, 99, -1, "x", None, 1.5, True])
def test_a_status_that_nobody_knows_is_told_and_moves_nothing(code: object) -> None:
    """An unknown number is no status; the order is shown, and the number is told (scenario 71)."""
    heard = hear(ORDER_EVENT, with_(ORDER, status=code))
    assert [report.kind for report in heard.reports] == [ReportKind.ORDER_STATUS]
    assert reasons(heard) == ["unknown_status"]
    listed = found([with_(ORDER, status=code)])
    assert [shown.status for shown in listed.snapshots] == [None]
    assert not listed.complete


def test_partly_filled_is_told_by_the_filled_volume() -> None:
    """The gateway has no number for it; older servers name no volume at all (trap 11)."""
    shown = [
        found([with_(ORDER, status=status, fillVolume=filled)]).snapshots[0]
        for status, filled in ((1, 2), (1, 0), (1, ...), (2, ...), (3, 2))
    ]
    assert [each.status for each in shown] == [
        Status.PARTIAL_FILL,
        Status.OPEN,
        Status.OPEN,
        Status.FILLED,
        Status.CANCELED,
    ]
    assert [each.cumulative for each in shown] == [D(2), D(0), None, D(3), D(2)]


def found(orders: Any, **changes: Any) -> Any:
    return snapshots_of({"success": True, "errorCode": 0, "orders": orders} | changes)


def test_a_list_of_orders_shows_their_terms_and_their_children() -> None:
    """Attached exits are children of the order that they name."""
    stop = with_(ORDER, id=502, type=4, side=1, stopPrice=20040, parentOrderId=501)
    target = with_(ORDER, id="503", side=1, parentOrderId="501")
    listed = found([ORDER, stop, target])
    entry = listed.snapshots[0]
    assert listed.complete
    assert (entry.side, entry.order_type) == (Side.BUY, OrderType.LIMIT)
    assert (entry.symbol, entry.wire_id) == ("CON.F.US.MNQ.U26", "0123456789ab-d-1")
    assert entry.children == (
        Child(role="stop", broker_order_id="502"),
        Child(role="target", broker_order_id="503"),
    )
    assert [shown.children for shown in listed.snapshots[1:]] == [(), ()]


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        {"success": True, "errorCode": 0},
        {"success": False, "errorCode": 1, "orders": [ORDER], "trades": [TRADE]},
        {"success": True, "errorCode": 0, "orders": [ORDER, None], "trades": [TRADE, 5]},
        {"success": True, "errorCode": 0, "orders": [{"id": "abc"}], "trades": [{"id": "abc"}]},
    ],
)
def test_a_list_with_a_hole_is_not_complete(reply: Any) -> None:
    """What could not be read may be any order: a missing one is not gone (trap 17)."""
    assert not snapshots_of(reply).complete
    assert not executions_of(reply).complete


def test_listed_trades_come_with_their_orders_and_without_the_voided() -> None:
    """A search for trades is what a poll tells of executions."""
    trades = [TRADE, with_(TRADE, id=9002, voided=True), with_(TRADE, id="9003", orderId="7")]
    listed = executions_of({"success": True, "errorCode": 0, "trades": trades})
    assert listed.complete
    assert [(order, wire, trade.execution_id) for order, wire, trade in listed.executions] == [
        ("501", "", "9001"),
        ("7", "", "9003"),
    ]


def test_positions_are_signed_by_their_direction() -> None:
    """Long is above zero, short below, and a closed position is zero whatever its direction."""
    shown = [
        hear(POSITION_EVENT, {"action": 1, "data": {"id": 1, "contractId": "C", **body}}).positions
        for body in ({"type": 1, "size": 2}, {"type": 2, "size": 3}, {"type": 0, "size": 0})
    ]
    assert shown == [(("C", D(2)),), (("C", D(-3)),), (("C", D(0)),)]


PLACED = [
    (0, Accepted(broker_order_id="9056")),
    (1, RefusalCode.OTHER),
    (2, RefusalCode.OTHER),
    (3, RefusalCode.INSUFFICIENT_FUNDS),
    (4, RefusalCode.OTHER),
    (5, RefusalCode.MARKET_CLOSED),
    (6, Unknown),
    (7, Unknown),
    (8, RefusalCode.OTHER),
    (9, RefusalCode.OTHER),
    (10, RefusalCode.OTHER),
    (11, Unknown),
    (99, Unknown),
]


@pytest.mark.parametrize(("code", "meaning"), PLACED)
def test_a_placement_is_judged_by_its_error_code(code: int, meaning: Any) -> None:
    """Pending and unknown errors refuse nothing, nor does a number nobody knows (scenario 80)."""
    reply = {"orderId": 9056, "success": code == 0, "errorCode": code, "errorMessage": "why"}
    outcome = outcome_of_place(reply)
    if isinstance(meaning, RefusalCode):
        assert isinstance(outcome, Refused)
        assert outcome.code is meaning
        assert "why" in outcome.text
    elif meaning is Unknown:
        assert isinstance(outcome, Unknown)
    else:
        assert outcome == meaning


def test_cancels_and_modifications_have_codes_of_their_own() -> None:
    """The same number means another thing than for a placement."""
    for outcome_of in (outcome_of_cancel, outcome_of_modify):
        said = [
            outcome_of({"success": code == 0, "errorCode": code, "errorMessage": None})
            for code in range(8)
        ]
        assert said[0] == Accepted()
        assert [each.code for each in said if isinstance(each, Refused)] == [
            RefusalCode.OTHER,
            RefusalCode.UNKNOWN_ORDER,
            RefusalCode.OTHER,
            RefusalCode.OTHER,
        ]
        assert [isinstance(said[code], Unknown) for code in (4, 5, 7)] == [True, True, True]


@pytest.mark.parametrize(
    "reply",
    [
        None,
        "",
        [],
        5,
        {},
        {"success": True},
        {"success": True, "errorCode": 0},
        {"success": True, "errorCode": 0, "orderId": None},
        {"success": True, "errorCode": 0, "orderId": "abc"},
        {"success": True, "errorCode": 2, "orderId": 5},
        {"success": False, "errorCode": 0, "orderId": 5},
        {"success": "yes", "errorCode": 0, "orderId": 5},
        {"orderId": 5, "errorCode": None, "success": True},
    ],
)
def test_a_reply_that_says_no_clear_thing_leaves_the_outcome_unknown(reply: object) -> None:
    """Neither taken nor refused is believed without both words for it (scenario 33)."""
    assert isinstance(outcome_of_place(reply), Unknown)


def test_a_tag_that_is_taken_is_a_duplicate() -> None:
    """A refusal because of the tag says that the order exists; one about its form does not."""
    for text, code in (
        ("customTag already exists", RefusalCode.DUPLICATE_ID),
        ("Custom tag must be unique", RefusalCode.DUPLICATE_ID),
        ("customTag is too long", RefusalCode.OTHER),
        ("order already exists at that stage", RefusalCode.OTHER),
    ):
        reply = {"success": False, "errorCode": 2, "errorMessage": text}
        outcome = outcome_of_place(reply)
        assert isinstance(outcome, Refused)
        assert outcome.code is code, text


GARBAGE: list[Any] = [
    None, [], "", 5, 2.5, {}, True, (), "not json", b"\xff", [None], [[]], [1, 2], {"data": None},
    {"data": {}}, {"action": 1}, with_(ORDER, id=...), with_(ORDER, id="abc"), with_(ORDER, id=-5),
    with_(ORDER, id=0), with_(ORDER, id=1.5), with_(ORDER, id=True), with_(ORDER, id=[]),
    with_(ORDER, size="many"), with_(ORDER, fillVolume=[1]), with_(ORDER, fillVolume=-1),
    with_(ORDER, limitPrice=float("nan")), with_(ORDER, limitPrice="1e999"),
    with_(ORDER, size=10**5_000),
]  # fmt: skip


@pytest.mark.parametrize("message", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_told_and_gives_nothing(message: object) -> None:
    """What makes no sense is dropped with a reason and a sample, and never raises (scenario 71)."""
    for event in (ORDER_EVENT, TRADE_EVENT, POSITION_EVENT):
        heard = hear(event, message)
        if event == ORDER_EVENT or not isinstance(message, dict) or "status" not in message:
            assert heard.reports == ()
            assert heard.positions == ()
            assert heard.unreadable
        assert all(len(each.sample) <= 300 and each.reason for each in heard.unreadable)


@pytest.mark.parametrize("field", ["id", "orderId", "size", "price"])
def test_a_trade_that_lacks_what_counts_is_dropped(field: str) -> None:
    """An execution without id, order, size or price cannot be counted once (scenario 71)."""
    values: tuple[Any, ...] = (..., None, "x", [], {}, float("inf"))
    for value in values:
        heard = hear(TRADE_EVENT, with_(TRADE, **{field: value}))
        assert heard.reports == ()
        assert len(heard.unreadable) == 1
    assert hear(TRADE_EVENT, with_(TRADE, size=0)).reports == ()
    assert hear(TRADE_EVENT, with_(TRADE, voided="no")).reports == ()


def test_what_is_bad_keeps_nothing_good_from_being_read() -> None:
    """Between garbage every sound event is read (scenarios 70, 71)."""
    message = [None, ORDER, {"id": "abc", "status": 1}, [with_(ORDER, id=2)], 5, "x"]
    heard = hear(ORDER_EVENT, message)
    assert [report.broker_order_id for report in heard.reports] == ["501", "2"]
    assert reasons(heard) == ["no_object", "bad_id", "no_object", "no_object"]


def test_events_of_other_kinds_are_told_or_hold_no_news() -> None:
    """An event that nobody knows is told; the account's own says nothing of orders."""
    assert hear("GatewayUserAccount", {"id": 1}) == Heard()
    assert reasons(hear("GatewayNovelty", ORDER)) == ["unknown_event"]


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals()
_KEYS = st.sampled_from([*ORDER, *TRADE, "data", "result", "order", "action"]) | st.text()
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
    max_leaves=20,
)
_CHANGED = st.dictionaries(_KEYS, _JSON, max_size=4)


class Hostile(dict[str, Any]):
    """An object that fails whenever it is looked at."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


_OBJECTS = st.sampled_from([object(), {1, 2}, Hostile(data=ORDER), Hostile, range(3), b"{"])


@given(message=_JSON | _OBJECTS | st.lists(_OBJECTS), changed=_CHANGED)
def test_nothing_whatever_raises(message: object, changed: dict[str, Any]) -> None:
    """Any value, and any sound event with anything in its fields, is read or dropped (71)."""
    for each in (message, {**ORDER, **changed}, {**TRADE, **changed}, {"data": message}):
        for event in (ORDER_EVENT, TRADE_EVENT, POSITION_EVENT, "Other"):
            heard = hear(event, each)
            assert heard.reports or heard.positions or heard.unreadable
        for outcome_of in (outcome_of_place, outcome_of_cancel, outcome_of_modify):
            assert outcome_of(each) is not None
        snapshots_of({"orders": [each]})
        executions_of({"trades": each})


@given(text=st.text() | st.binary())
def test_no_text_raises(text: str | bytes) -> None:
    """Whatever comes over the wire is decoded or dropped (scenario 71)."""
    decode(text)
    assert hear(ORDER_EVENT, text).reports == ()


def test_depth_without_end_is_dropped() -> None:
    """Wrappers in wrappers, or text that nests too deep, end in a reason."""
    endless: dict[str, Any] = {}
    endless["data"] = endless
    assert reasons(hear(ORDER_EVENT, endless)) == ["too_deep"]
    assert hear(ORDER_EVENT, "[" * 100_000).unreadable


def test_recorded_orders_and_fills_are_read_without_a_rest(data_dir: Path) -> None:
    """Orders, fills and hub messages as they were recorded: all read, and their sums agree."""
    shared = json.loads((data_dir / "brokers" / "projectx.json").read_text(), parse_float=Decimal)
    entries = shared["entries"]

    def bodies(kind: str) -> list[Any]:
        return [entry["body"] for entry in entries if entry["kind"] == kind]

    listed = found(bodies("order_history"))
    trades = executions_of(
        {"success": True, "errorCode": 0, "trades": bodies("trade_history")},
    )
    assert listed.complete
    assert trades.complete
    by_id = {shown.broker_order_id: shown for shown in listed.snapshots}
    assert len(by_id) == len(bodies("order_history")) == 56
    for order_id, _, trade in trades.executions:
        shown = by_id[order_id]
        assert shown.status is Status.FILLED
        assert (shown.cumulative, shown.average_price) == (trade.quantity, trade.price)
        assert trade.stamp_ns != shown.stamp_ns, "a trade's time is no stamp of its order"
    assert sum(len(shown.children) for shown in listed.snapshots) > 0
    (rejected,) = bodies("signalr_GatewayUserOrder")
    assert hear(ORDER_EVENT, rejected).reports[0].kind is ReportKind.REJECTED
    (flat,) = bodies("signalr_GatewayUserPosition")
    assert hear(POSITION_EVENT, flat).positions == (("CON.F.US.MNQ.U26", D(0)),)
