"""Cancels and replaces, and which ids an order answers to."""

from decimal import Decimal as D
from typing import Any, Literal

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, RefusalCode, Refused, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.errors import InputError
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue


class Floor:
    """A venue with the account main, whose capabilities a test chooses."""

    def __init__(self, *, pending_reports: bool = False, **capabilities: Any) -> None:
        self.venue = Venue()
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick=1, lot=1))
        self.venue.open_account(
            "main", Capabilities(**capabilities), pending_reports=pending_reports
        )
        self.reports: list[Report] = []
        self.venue.subscribe("main", self.reports.append)

    def submit(self, wire_id: str, quantity: int, limit: int, **terms: Any) -> Any:
        """Submit a limit order to buy."""
        return self.venue.submit("main", wire_id, buy(quantity, limit, **terms), 0)

    def replace(self, wire_id: str, orig: str, quantity: int, limit: int, **more: Any) -> Any:
        """Replace by wire id, or by broker order id where it is given."""
        terms = more.pop("terms", buy(quantity, limit))
        return self.venue.replace(
            "main", wire_id=wire_id, orig_wire_id=orig, terms=terms, now_ns=0, **more
        )

    def cancel(self, **name: Any) -> Any:
        """Cancel by `broker_order_id` or `wire_ids`."""
        return self.venue.cancel("main", now_ns=0, **name)

    def order(self, wire_id: str) -> VenueOrder:
        """The newest order of a wire id."""
        return self.venue.find("main", [wire_id], [])[-1]

    def kinds(self) -> list[str]:
        """The kinds of all reports so far."""
        return [report.kind.value for report in self.reports]


def buy(quantity: int, limit: int, **terms: Any) -> OrderTerms:
    """Terms of a limit order to buy."""
    return OrderTerms(
        symbol="ABC",
        side=Side.BUY,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=D(limit),
        **terms,
    )


def test_a_cancel_takes_the_order_out_and_its_answer_is_final() -> None:
    """A cancelled order no longer trades, and the answer says that it is done."""
    floor = Floor()
    order = floor.submit("w1", 5, 100)

    answer = floor.cancel(broker_order_id=order.broker_order_id)

    assert answer == Accepted(broker_order_id=order.broker_order_id, final=True)
    assert floor.kinds() == ["new", "canceled"]
    assert floor.crowd.take(-1, 5) == 5


def test_an_order_is_cancelled_by_wire_id_where_its_broker_id_is_not_known() -> None:
    """A lost answer leaves only the wire id, and that suffices."""
    floor = Floor()
    floor.submit("w1", 5, 100)

    assert isinstance(floor.cancel(wire_ids=["never", "w1"]), Accepted)
    assert floor.order("w1").status is Status.CANCELED


def test_a_broker_that_cancels_by_its_own_id_only_refuses_a_wire_id() -> None:
    """The capability `cancel_by_wire_id` is enforced."""
    floor = Floor(cancel_by_wire_id=False)
    floor.submit("w1", 5, 100)

    assert isinstance(floor.cancel(wire_ids=["w1"]), Refused)
    assert not floor.order("w1").ended


def test_a_cancel_of_an_unknown_or_ended_order_is_refused_with_its_code() -> None:
    """Unknown and too late are told apart (scenario 22)."""
    floor = Floor()
    order = floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 5)

    assert floor.cancel(wire_ids=["never"]).code is RefusalCode.UNKNOWN_ORDER
    assert floor.cancel(broker_order_id="V-99").code is RefusalCode.UNKNOWN_ORDER
    late = floor.cancel(broker_order_id=order.broker_order_id)
    assert late.code is RefusalCode.TOO_LATE
    assert floor.kinds() == ["new", "trade"]


def test_one_account_cannot_touch_the_orders_of_another() -> None:
    """Broker ids of other accounts are unknown (scenario 95)."""
    floor = Floor()
    floor.venue.open_account("other")
    order = floor.submit("w1", 5, 100)

    answer = floor.venue.cancel("other", broker_order_id=order.broker_order_id, now_ns=0)

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNKNOWN_ORDER


def test_pending_reports_come_first_where_the_account_has_them() -> None:
    """Such a broker answers that it has taken the request, and reports what became of it."""
    floor = Floor(pending_reports=True)
    floor.submit("w1", 5, 100)

    replaced = floor.replace("w2", "w1", 4, 100)
    cancelled = floor.cancel(wire_ids=["w2"])

    assert (replaced.final, cancelled.final) == (False, False)
    assert floor.kinds() == ["new", "pending_replace", "replaced", "pending_cancel", "canceled"]
    assert [(r.wire_id, r.orig_wire_id) for r in floor.reports[1:3]] == [("w2", "w1")] * 2


@pytest.mark.parametrize(
    ("quantity", "limit", "first_to_trade"),
    [(4, 100, "w1"), (6, 100, "w2"), (5, 99, "w2")],
)
def test_only_a_smaller_quantity_keeps_the_place_in_the_queue(
    quantity: int, limit: int, first_to_trade: str
) -> None:
    """A larger quantity or another price goes to the back."""
    floor = Floor()
    floor.submit("w1", 5, 100)
    floor.submit("w2", 5, 100)

    floor.replace("r1", "w1", quantity, limit)
    floor.crowd.take(-1, 1)

    traded = [report.wire_id for report in floor.reports if report.kind is ReportKind.TRADE]
    assert traded == ["r1" if first_to_trade == "w1" else "w2"]


def test_a_replaced_order_keeps_its_broker_id_and_answers_to_every_wire_id() -> None:
    """In place: one broker order, known by old and new wire id (scenario 84)."""
    floor = Floor()
    first = floor.submit("w1", 5, 100)

    answer = floor.replace("w2", "w1", 8, 101)

    assert answer.broker_order_id == first.broker_order_id
    assert answer.final
    assert floor.order("w1") is floor.order("w2")
    report = floor.reports[-1]
    assert (report.kind, report.wire_id, report.orig_wire_id) == (ReportKind.REPLACED, "w2", "w1")
    assert (report.order_quantity, report.limit_price) == (D(8), D(101))


def test_a_replace_into_the_market_trades_after_it_is_reported() -> None:
    """The new price crosses: first the confirmation, then the trade."""
    floor = Floor()
    floor.submit("w1", 5, 100)
    floor.crowd.add("ask", -1, 102, 3)

    floor.replace("w2", "w1", 5, 102)

    assert floor.kinds() == ["new", "replaced", "trade"]
    assert floor.order("w2").cumulative == 3


def test_the_quantity_of_a_replace_is_the_total_with_what_has_filled() -> None:
    """After 2 of 5, a replace to 6 leaves 4 to fill."""
    floor = Floor()
    floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 2)

    floor.replace("w2", "w1", 6, 100)

    assert floor.venue.top("ABC").bid_quantity == 4
    assert floor.reports[-1].cumulative == 2


@pytest.mark.parametrize("anew", [False, True])
def test_a_replace_to_what_has_filled_or_less_ends_filled(anew: bool) -> None:
    """The broker amends the quantity to the filled one and the order is complete (scenario 84)."""
    floor = Floor(new_id_on_replace=anew)
    floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 3)

    floor.replace("w2", "w1", 2, 100)

    order = floor.order("w2")
    assert (order.status, order.cumulative, order.quantity) == (Status.FILLED, D(3), D(3))
    assert floor.reports[-1].order_quantity == 3
    assert floor.venue.top("ABC").bid is None


def test_a_refused_replace_leaves_the_order_as_it_was() -> None:
    """Off the grid, another side, a post-only that would trade: refused, nothing changed."""
    floor = Floor()
    floor.submit("w1", 5, 100, post_only=True)
    floor.crowd.add("ask", -1, 105, 5)
    other_side = OrderTerms(
        symbol="ABC", side=Side.SELL, quantity=D(5), order_type=OrderType.LIMIT, limit_price=D(100)
    )

    answers = [
        floor.replace("r1", "w1", 5, 105),
        floor.replace("r2", "w1", 5, 100, terms=other_side),
        floor.replace("r3", "w1", 5, 100, terms=buy(5, 100, notional=D(3))),
        floor.replace("w1", "w1", 6, 100),
        floor.replace("r4", "none", 6, 100),
    ]

    refusals = [isinstance(answer, Refused) for answer in answers]
    assert refusals == [True, True, False, True, True]
    assert floor.kinds() == ["new", "replaced"]
    assert floor.order("w1").limit == 100


def test_a_replace_is_refused_during_a_halt_and_of_a_suspended_order() -> None:
    """The order stands as it was, and the halt has its own code."""
    floor = Floor()
    order = floor.submit("w1", 5, 100)
    floor.venue.halt("ABC")
    halted = floor.replace("w2", "w1", 6, 100)
    floor.venue.resume("ABC")
    floor.venue.suspend(order.broker_order_id)
    suspended = floor.replace("w2", "w1", 6, 100)

    assert halted.code is RefusalCode.MARKET_CLOSED
    assert isinstance(suspended, Refused)
    assert floor.order("w1").lots == 5
    floor.venue.release(order.broker_order_id)
    with pytest.raises(InputError, match="not suspended"):
        floor.venue.release(order.broker_order_id)


def test_a_broker_without_native_replace_refuses_it() -> None:
    """The capability `native_replace` is enforced."""
    floor = Floor(native_replace=False)
    floor.submit("w1", 5, 100)

    assert isinstance(floor.replace("w2", "w1", 6, 100), Refused)


def test_a_new_id_on_replace_ends_the_old_order_and_opens_another() -> None:
    """The old broker order names its successor, and is too late to cancel (scenario 101)."""
    floor = Floor(new_id_on_replace=True)
    old = floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 2)

    new = floor.replace("w2", "w1", 6, 100)

    first, second = floor.venue.find("main", ["w1"], [])
    assert (first.snapshot().status, first.snapshot().word) == (Status.CANCELED, "replaced")
    assert first.snapshot().replaced_by == second.broker_order_id == new.broker_order_id
    late = floor.cancel(broker_order_id=old.broker_order_id)
    assert late.code is RefusalCode.TOO_LATE
    assert new.broker_order_id in late.text
    assert floor.reports[-1].broker_order_id == new.broker_order_id
    assert floor.kinds() == ["new", "trade", "replaced"]


def test_fills_are_carried_over_to_a_new_id_where_the_broker_does_so() -> None:
    """The new order's figures include what the old one filled; the money stays where it was."""
    floor = Floor(new_id_on_replace=True, replace_carries_fills=True)
    floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 2)

    floor.replace("w2", "w1", 6, 100)
    floor.crowd.take(-1, 1)

    new = floor.order("w2").snapshot()
    assert (new.order_quantity, new.cumulative) == (D(6), D(3))
    notionals = [order.notional for order in floor.venue.books("main").orders]
    assert notionals == [D(200), D(100)]


def test_a_new_id_that_starts_its_count_anew_is_for_what_is_left() -> None:
    """Such a broker gets the remainder as the new order's quantity (trap 61)."""
    floor = Floor(new_id_on_replace=True, replace_carries_fills=False)
    floor.submit("w1", 5, 100)
    floor.crowd.take(-1, 2)

    floor.replace("w2", "w1", 6, 100, leaves_quantity=D(4))

    new = floor.order("w2").snapshot()
    assert (new.order_quantity, new.cumulative, new.status) == (D(4), D(0), Status.OPEN)
    assert isinstance(floor.replace("w3", "w2", 6, 100, leaves_quantity=D(0)), Refused)


@pytest.mark.parametrize(
    ("unique_ids", "while_working", "after"),
    [("forever", False, False), ("while_open", False, True), ("none", True, True)],
)
def test_a_wire_id_is_unique_for_as_long_as_the_broker_says(
    unique_ids: Literal["forever", "while_open", "none"], while_working: bool, after: bool
) -> None:
    """A duplicate is refused as such; a refused order does not spend its id (scenario 5)."""
    floor = Floor(unique_ids=unique_ids)
    assert isinstance(floor.submit("w1", 0, 100), Refused)
    assert isinstance(floor.submit("w1", 5, 100), Accepted)

    again = floor.submit("w1", 5, 100)
    floor.cancel(broker_order_id="V-1")
    later = floor.submit("w1", 5, 100)

    assert (isinstance(again, Accepted), isinstance(later, Accepted)) == (while_working, after)
    for answer in (again, later):
        assert isinstance(answer, Accepted) or answer.code is RefusalCode.DUPLICATE_ID


def test_order_types_times_in_force_and_notionals_are_taken_as_declared() -> None:
    """What the capabilities leave out is refused (scenario 41)."""
    floor = Floor(order_types=frozenset({OrderType.LIMIT}), times_in_force=frozenset())

    market = OrderTerms(symbol="ABC", side=Side.BUY, quantity=D(5))
    answers = [floor.submit("w1", 5, 100), floor.venue.submit("main", "w2", market, 0)]

    assert "time in force" in answers[0].text
    assert "market orders" in answers[1].text
    floor = Floor(notional=False)
    by_money = OrderTerms(symbol="ABC", side=Side.BUY, notional=D(5))
    answer = floor.venue.submit("main", "w1", by_money, 0)
    assert isinstance(answer, Refused)
    assert "notional" in answer.text


def test_a_stop_order_is_replaced_while_it_waits() -> None:
    """The new stop price counts, the old one no longer does."""
    floor = Floor()
    floor.crowd.add("ask", -1, 110, 50)

    def stop(price: int) -> OrderTerms:
        return OrderTerms(
            symbol="ABC",
            side=Side.BUY,
            quantity=D(5),
            order_type=OrderType.STOP,
            stop_price=D(price),
        )

    floor.venue.submit("main", "w1", stop(103), 0)
    floor.replace("w2", "w1", 0, 0, terms=stop(106))

    floor.crowd.trade(1, 104, 1)
    assert floor.order("w2").status is Status.OPEN
    floor.crowd.trade(1, 106, 1)
    assert floor.order("w2").status is Status.FILLED


def test_ended_orders_are_forgotten_by_number_and_their_ids_stay_spent() -> None:
    """With a bounded history a forgotten id is neither found nor free, and that is told."""
    venue = Venue(history_max=2)
    venue.add_listing(Instrument.of("ABC", tick=1))
    venue.open_account("main")
    for number in range(4):
        venue.submit("main", f"w{number}", buy(1, 100), 0)
        venue.cancel("main", wire_ids=[f"w{number}"], now_ns=0)

    assert [order.wire_id for order in venue.orders("main")] == ["w2", "w3"]
    assert venue.find("main", ["w0"], []) == []
    assert venue.has_forgotten("main", ["w0"])
    assert not venue.has_forgotten("main", ["w3", "never"])
    assert isinstance(venue.submit("main", "w0", buy(1, 100), 0), Refused)
