"""What the ProjectX gateway sends, as reports, snapshots and outcomes. Pure: no I/O, no clock.

Rule: nothing raises. What cannot be read is told as `Unreadable`, beside whatever could be.

Where the rules come from: the gateway's API pages (orders, trades, real-time data), as third
parties list them, seen 2026-11; orders, fills and hub messages of one practice account, recorded
2026-08. What stands only in somebody's code, or in nobody's page, is marked unverified.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from holdfast.brokers.projectx.shapes import (
    SAMPLE_MAX,
    Body,
    FieldError,
    Strange,
    each,
    figure_of,
    listed,
    maybe,
    moment_of,
    number_of,
    one_of,
    price_of,
    quantity_of,
    read_id,
    shown_as,
    text_of,
    unreadable,
    whole_number,
)
from holdfast.domain.reports import (
    Accepted,
    Child,
    Execution,
    Outcome,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Snapshot,
    Unknown,
)
from holdfast.domain.values import ZERO, Condition, OrderType, Side, Status
from holdfast.ports import Unreadable

# Accounts and the contracts recorded settle in dollars; the gateway names no currency.
FEE_CURRENCY: Final = "USD"

ORDER_EVENT: Final = "GatewayUserOrder"
TRADE_EVENT: Final = "GatewayUserTrade"
POSITION_EVENT: Final = "GatewayUserPosition"
# Of the account itself there is nothing that an order follows from.
_NO_NEWS: Final = frozenset({"GatewayUserAccount", "GatewayLogout"})

_ORDER_IDS: Final = ("orderId", "order_id", "orderID")
_SIDES: Final = {0: Side.BUY, 1: Side.SELL}
# Join bid and join ask rest at a price of the gateway's choice: limit orders.
_TYPES: Final = {
    1: OrderType.LIMIT,
    2: OrderType.MARKET,
    3: OrderType.STOP_LIMIT,
    4: OrderType.STOP,
    5: OrderType.TRAILING_STOP,
    6: OrderType.LIMIT,
    7: OrderType.LIMIT,
}
_DIRECTIONS: Final = {1: 1, 2: -1}


class _Word(NamedTuple):
    """What an order's status number means, as a report and as a state."""

    kind: ReportKind
    status: Status | None
    word: str
    condition: Condition = Condition.NONE
    pending: str = ""


# 8 was seen of bracket legs whose parent has not filled (a field report, another client's test).
# 7 may be "cancel pending": unverified, so it is no word of this table. Nothing says partly filled.
_WORDS: Final = {
    1: _Word(ReportKind.NEW, Status.OPEN, "open"),
    2: _Word(ReportKind.RESTATED, Status.FILLED, "filled"),
    3: _Word(ReportKind.CANCELED, Status.CANCELED, "cancelled"),
    4: _Word(ReportKind.EXPIRED, Status.EXPIRED, "expired"),
    5: _Word(ReportKind.REJECTED, Status.REJECTED, "rejected"),
    6: _Word(ReportKind.PENDING_NEW, None, "pending", pending="new"),
    8: _Word(ReportKind.SUSPENDED, None, "suspended", Condition.SUSPENDED),
}


class Heard(Struct, frozen=True, kw_only=True):
    """What a hub message says: reports, signed positions by contract, and what was unreadable."""

    reports: tuple[Report, ...] = ()
    positions: tuple[tuple[str, Decimal], ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class FoundOrders(Struct, frozen=True, kw_only=True):
    """What a search for orders gave; `complete` only if all of the reply could be read."""

    snapshots: tuple[Snapshot, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    complete: bool = False


class FoundTrades(Struct, frozen=True, kw_only=True):
    """What a search for trades gave: `(broker order id, "", execution)`, as a poll lists them.

    `complete` only if all of the reply could be read; voided trades are left out.
    """

    executions: tuple[tuple[str, str, Execution], ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    complete: bool = False


def hear(event: str, message: object) -> Heard:
    """Read one message of the user hub, in any of the shapes in which they arrive.

    An event comes flat, under `{"action", "data"}` (0 create, 1 update, 2 delete), in a list with
    others, behind an id, or in wrappers. Orders were recorded wrapped, trades are documented flat.
    """
    if event in _NO_NEWS:
        return Heard()
    if event == ORDER_EVENT:
        reports, strange = each(message, _order_report)
        return Heard(reports=reports, unreadable=strange)
    if event == TRADE_EVENT:
        reports, strange = each(message, _trade_report)
        return Heard(reports=reports, unreadable=strange)
    if event == POSITION_EVENT:
        positions, strange = each(message, _position)
        return Heard(positions=positions, unreadable=strange)
    return Heard(unreadable=(unreadable("unknown_event", (event, message)),))


def snapshots_of(reply: object) -> FoundOrders:
    """Read a reply of `Order/searchOpen` or `Order/search`.

    Exits that the gateway attached to an entry name it in `parentOrderId` (recorded 2026-08-16,
    with the entry's tag and -SL or -TP behind it); they are that order's children.
    """
    items, strange = listed(reply, "orders", _seen_order)
    children: dict[str, list[Child]] = {}
    for parent, child, _ in items:
        if parent:
            children.setdefault(parent, []).append(child)
    return FoundOrders(
        snapshots=tuple(
            msgspec.structs.replace(shown, children=tuple(children[shown.broker_order_id]))
            if shown.broker_order_id in children
            else shown
            for _, _, shown in items
        ),
        unreadable=strange,
        complete=_is_success(reply) and not strange,
    )


def executions_of(reply: object) -> FoundTrades:
    """Read a reply of `Trade/search`."""
    items, strange = listed(reply, "trades", _seen_trade)
    return FoundTrades(
        executions=tuple((order_id, "", trade) for order_id, trade, voided in items if not voided),
        unreadable=strange,
        complete=_is_success(reply) and not strange,
    )


# Codes of refusals; a code that is in neither table of its call leaves the outcome unknown.
_PLACE_REFUSED: Final = {
    1: ("account not found", RefusalCode.OTHER),
    2: ("order rejected", RefusalCode.OTHER),
    3: ("insufficient funds", RefusalCode.INSUFFICIENT_FUNDS),
    4: ("account violation", RefusalCode.OTHER),
    5: ("outside trading hours", RefusalCode.MARKET_CLOSED),
    8: ("contract not found", RefusalCode.OTHER),
    9: ("contract not active", RefusalCode.OTHER),
    10: ("account rejected", RefusalCode.OTHER),
}
_CHANGE_REFUSED: Final = {
    1: ("account not found", RefusalCode.OTHER),
    2: ("order not found", RefusalCode.UNKNOWN_ORDER),
    3: ("rejected", RefusalCode.OTHER),
    6: ("account rejected", RefusalCode.OTHER),
}
_PLACE_OPEN: Final = {6: "order pending", 7: "unknown error"}
_CHANGE_OPEN: Final = {4: "pending", 5: "unknown error"}
# The tag has to be unique in the account; how the gateway words that is unverified.
_DUPLICATE: Final = re.compile(r"(?i)\btag\b|customtag")
_TAKEN: Final = re.compile(r"(?i)already|duplicate|unique|in use|exists")


def outcome_of_place(reply: object) -> Outcome:
    """Read a reply of `Order/place`: HTTP 200 says nothing, `errorCode` does.

    6 (pending) and 7 (unknown error) refuse nothing: the order may live, its tag will tell.
    """
    outcome = _outcome(reply, _PLACE_REFUSED, _PLACE_OPEN)
    if not isinstance(outcome, Accepted):
        return outcome
    order_id = maybe(lambda: read_id(reply, "orderId"))
    if order_id is None:
        return Unknown(text=f"taken, it was said, but without an order id: {shown_as(reply)}")
    return Accepted(broker_order_id=order_id)


def outcome_of_cancel(reply: object) -> Outcome:
    """Read a reply of `Order/cancel`; accepted is not yet cancelled."""
    return _outcome(reply, _CHANGE_REFUSED, _CHANGE_OPEN)


def outcome_of_modify(reply: object) -> Outcome:
    """Read a reply of `Order/modify`; the order keeps its id, and shows its terms when asked."""
    return _outcome(reply, _CHANGE_REFUSED, _CHANGE_OPEN)


def _outcome(
    reply: object, refused: Mapping[int, tuple[str, RefusalCode]], left_open: Mapping[int, str]
) -> Outcome:
    code = whole_number(reply.get("errorCode")) if isinstance(reply, Mapping) else None
    if not isinstance(reply, Mapping) or code is None:
        return Unknown(text=f"a reply without an error code: {shown_as(reply)}")
    said = reply.get("errorMessage")
    detail = f": {said[:SAMPLE_MAX]}" if isinstance(said, str) and said else ""
    if reply.get("success") is True and code == 0:
        return Accepted()
    if reply.get("success") is not False or code == 0:
        return Unknown(text=f"a reply that contradicts itself: {shown_as(reply)}")
    if code in refused:
        text, meaning = refused[code]
        if _DUPLICATE.search(detail) and _TAKEN.search(detail):
            meaning = RefusalCode.DUPLICATE_ID
        return Refused(text=f"{text} (error {code}){detail}", code=meaning)
    return Unknown(text=f"{left_open.get(code, 'an unknown error')} (error {code}){detail}")


def _is_success(reply: object) -> bool:
    if not isinstance(reply, Mapping):
        return False
    return reply.get("success") is True and whole_number(reply.get("errorCode")) == 0


# Items.


def _order_report(item: Body, strange: Strange) -> Report:
    shown = _snapshot(item, strange)
    known = _WORDS.get(number_of(item, "status"))
    return Report(
        kind=known.kind if known is not None else ReportKind.ORDER_STATUS,
        wire_id=shown.wire_id,
        broker_order_id=shown.broker_order_id,
        order_quantity=shown.order_quantity,
        cumulative=shown.cumulative,
        limit_price=shown.limit_price,
        stop_price=shown.stop_price,
        text=shown.word,
        stamp_ns=shown.stamp_ns,
    )


def _seen_order(item: Body, strange: Strange) -> tuple[str, Child, Snapshot]:
    """Return the parent's id, the order as a child of it, and its state."""
    shown = _snapshot(item, strange)
    parent = maybe(lambda: read_id(item, "parentOrderId")) or ""
    role = "target" if shown.order_type is OrderType.LIMIT else "stop"
    if shown.order_type is None:
        parent = ""
    return parent, Child(role=role, broker_order_id=shown.broker_order_id), shown


def _snapshot(item: Body, strange: Strange) -> Snapshot:
    """Read an order. Older servers leave out `fillVolume`, `filledPrice` and `symbolId`."""
    order_id = read_id(item, "id", *_ORDER_IDS)
    known = _WORDS.get(number_of(item, "status"))
    if known is None:
        strange.append(unreadable("unknown_status", item))
    size, filled = quantity_of(item, "size"), quantity_of(item, "fillVolume")
    status = known.status if known is not None else None
    if status is Status.FILLED and filled is None:
        filled = size
    if status is Status.OPEN and filled:
        status = Status.PARTIAL_FILL
    tag = item.get("customTag")
    return Snapshot(
        broker_order_id=order_id,
        wire_id=tag if isinstance(tag, str) else "",
        symbol=text_of(item, "contractId"),
        side=one_of(_SIDES, item, "side", strange),
        order_type=one_of(_TYPES, item, "type", strange),
        status=status,
        word=known.word if known is not None else f"status {shown_as(item.get('status'), 32)}",
        pending=known.pending if known is not None else "",
        condition=known.condition if known is not None else Condition.NONE,
        order_quantity=size,
        cumulative=filled,
        average_price=figure_of(item, "filledPrice", strange),
        limit_price=price_of(item, "limitPrice"),
        stop_price=price_of(item, "stopPrice"),
        stamp_ns=moment_of(item, ("updateTimestamp", "creationTimestamp"), strange),
    )


def _trade_report(item: Body, strange: Strange) -> Report:
    """Read a trade.

    Its time is no stamp of the order's: of 27 recorded fills each was stamped 2.8 ms to 58 s
    after the last update of its order, whose end would be taken for older news.
    """
    order_id, trade, voided = _seen_trade(item, strange)
    if voided:
        return Report(
            kind=ReportKind.TRADE_CANCEL,
            broker_order_id=order_id,
            report_id=f"{trade.execution_id}.voided",
            execution_ref=trade.execution_id,
        )
    return Report(kind=ReportKind.TRADE, broker_order_id=order_id, execution=trade)


def _seen_trade(item: Body, strange: Strange) -> tuple[str, Execution, bool]:
    """Return the order's id, the execution, and whether it was voided."""
    order_id = read_id(item, *_ORDER_IDS)
    quantity, price = quantity_of(item, "size"), price_of(item, "price")
    if not quantity:
        raise FieldError("no_size")
    if price is None:
        raise FieldError("no_price")
    voided = item.get("voided")
    if voided is not None and not isinstance(voided, bool):
        raise FieldError("bad_voided")
    trade = Execution(
        execution_id=read_id(item, "id"),
        quantity=quantity,
        price=price,
        fee=figure_of(item, "fees", strange),
        fee_currency=FEE_CURRENCY,
        stamp_ns=moment_of(item, ("creationTimestamp",), strange),
    )
    return order_id, trade, bool(voided)


def _position(item: Body, _strange: Strange) -> tuple[str, Decimal]:
    """Return a contract and what is held of it, below zero when short (type 2)."""
    contract, size = text_of(item, "contractId"), quantity_of(item, "size")
    if not contract or size is None:
        raise FieldError("no_contract" if size is not None else "no_size")
    if not size:
        return contract, ZERO
    direction = _DIRECTIONS.get(whole_number(item.get("type")) or 0)
    if direction is None:
        raise FieldError("unknown_direction")
    return contract, size if direction > 0 else size.copy_negate()
