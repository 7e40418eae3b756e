"""The register: what it is told, what it refuses, and that the desk's own tables decide."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.errors import InputError
from holdfast.register import (
    OrderSide,
    OrderState,
    OrderStateMachine,
    OrderStatus,
    get_order_state_machine,
)

NEW, OPEN, PARTIAL = OrderStatus.NEW, OrderStatus.OPEN, OrderStatus.PARTIAL_FILL
FILLED, CANCELED, EXPIRED = OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED
REJECTED, FAILED = OrderStatus.REJECTED, OrderStatus.FAILED

NOON = int(datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()) * 10**9


class HandClock:
    """A clock that a test moves; setting the wall leaves the boot time alone."""

    def __init__(self) -> None:
        self.wall, self.boot = NOON, 7

    def wall_ns(self) -> int:
        return self.wall

    def boot_ns(self) -> int:
        return self.boot

    def wait(self, seconds: float) -> None:
        self.wall += int(seconds * 10**9)
        self.boot += int(seconds * 10**9)


class Desk:
    """A register with a clock, and one order of 10 units."""

    def __init__(self, status: str = "new") -> None:
        self.clock = HandClock()
        self.register = OrderStateMachine(self.clock)
        self.create("a")
        if status != "new":
            self.to(status)

    def create(self, name: str, **terms: Any) -> OrderState:
        wanted = {"symbol": "BTC-USD", "side": "buy", "size_base": "10"} | terms
        return self.register.create_order(name, **wanted)

    def to(self, status: str, name: str = "a") -> None:
        """Bring an order to a status by the shortest way."""
        assert status in {*OrderStatus}
        if status not in {REJECTED, FAILED}:
            assert self.register.transition(name, OPEN, order_id=f"x-{name}")
        if status != OPEN:
            assert self.register.transition(name, status)

    @property
    def order(self) -> OrderState:
        found = self.register.get_order("a")
        assert found is not None
        return found


def test_a_new_order_opens_with_the_brokers_id() -> None:
    """OPEN puts the submit time and the broker's id on the order (scenario 1)."""
    desk = Desk()
    assert (desk.order.status, desk.order.order_id, desk.order.submitted_at) == (NEW, "", None)
    desk.clock.wait(2)
    assert desk.register.transition("a", OPEN, order_id="exch_456")
    assert (desk.order.status, desk.order.order_id) == (OPEN, "exch_456")
    assert desk.order.submitted_at == datetime(2026, 1, 5, 12, 0, 2, tzinfo=UTC)


# Drawn by hand: may the order go from the row's status to the column's?
PICTURE = """
.             new  open  partial_fill  filled  canceled  expired  rejected  failed
new           -    yes   -             -       -         -        yes       yes
open          -    -     yes           yes     yes       yes      yes       -
partial_fill  -    -     -             yes     yes       yes      -         -
filled        -    -     -             -       -         -        -         -
canceled      -    -     -             yes     -         -        -         -
expired       -    -     -             yes     -         -        -         -
rejected      -    -     -             yes     -         -        -         -
failed        -    -     -             yes     -         -        -         -
"""
ROWS = [line.split() for line in PICTURE.strip().splitlines()]


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "may"),
    [(row[0], s, c) for row in ROWS[1:] for s, c in zip(ROWS[0][1:], row[1:], strict=True)],
)
def test_an_order_goes_only_where_it_is_drawn_to_go(
    before: str, after: str, may: str, override: bool
) -> None:
    """A refused move returns False, says why and changes nothing (scenarios 2, 3; trap 20)."""
    desk = Desk(before)
    shown = desk.order.to_dict()
    moved = desk.register.transition("a", after, allow_override=override)
    assert moved is (may == "yes")
    if moved:
        assert desk.order.status == after
        assert not desk.register.last_refusal
    else:
        assert desk.order.to_dict() == shown
        assert before in desk.register.last_refusal


@pytest.mark.parametrize("end", [CANCELED, EXPIRED, REJECTED])
def test_a_late_fill_counts_and_completes_only_what_is_complete(end: str) -> None:
    """After an end totals are kept exactly; FILLED only at all of it (scenario 4; trap 22)."""
    desk = Desk(end)
    assert desk.register.update_fill("a", "1", "100.50", "0.10")
    assert (desk.order.status, desk.order.filled_size, desk.order.filled_value) == (
        end,
        D(1),
        D("100.50"),
    )
    assert desk.register.update_fill("a", 10, 1005, "1")
    assert (desk.order.status, desk.order.fees) == (FILLED, D(1))


def test_a_fill_after_failed_shows_that_the_order_lives() -> None:
    """What failed and trades is partly filled and active again (scenario 4)."""
    desk = Desk(FAILED)
    assert desk.register.update_fill("a", "4", "400")
    assert desk.order.status is PARTIAL
    assert [order.client_order_id for order in desk.register.get_active_orders()] == ["a"]
    assert desk.order.completed_at is None


def test_a_client_id_is_created_once() -> None:
    """The second create returns the same order with its first values (scenario 5)."""
    desk = Desk()
    again = desk.create("a", side="sell", size_base="3", route="live")
    assert again is desk.order
    assert (again.side, again.size_base, again.route) == (OrderSide.BUY, D(10), "unknown")
    assert desk.register.get_summary()["total_orders"] == 1


@pytest.mark.parametrize(
    "terms",
    [
        {"symbol": ""},
        {"size_base": 0},
        {"size_base": 0, "size_usd": 0.0},
        {"size_base": "-1"},
        {"size_base": "NaN"},
        {"size_base": float("inf")},
        {"size_base": True},
        {"side": "short"},
        {"client_order_id": ""},
    ],
)
def test_an_order_that_is_none_is_not_stored(terms: dict[str, Any]) -> None:
    """No symbol, no size, no side, no id: a ValueError, and nothing is there (scenario 6)."""
    register = OrderStateMachine(HandClock())
    wanted = {"client_order_id": "a", "symbol": "X", "side": "buy", "size_base": "1"} | terms
    with pytest.raises(ValueError, match=r".+") as caught:
        register.create_order(**wanted)
    assert isinstance(caught.value, InputError)
    assert register.get_summary()["total_orders"] == 0
    assert register.get_order("a") is None


def test_fills_move_the_order_by_themselves() -> None:
    """4 of 10 is partly filled at 40 %, all of it FILLED, the average exact (scenario 7)."""
    desk = Desk(OPEN)
    desk.clock.wait(1)
    assert desk.register.update_fill("a", "4", "400.40", "0.4", fills=[{"trade_id": "t1"}])
    assert (desk.order.status, desk.order.fill_percentage()) == (PARTIAL, D(40))
    desk.clock.wait(1)
    assert desk.register.update_fill("a", "10", "1002.50", "1.0", fills=[{"trade_id": "t2"}])
    order = desk.order
    assert (order.status, order.average_price, order.fees) == (FILLED, D("100.25"), D(1))
    assert order.first_fill_at is not None
    assert order.completed_at is not None
    assert order.first_fill_at < order.completed_at
    assert order.fills == ({"trade_id": "t2"},)


def test_the_same_totals_five_times_are_once() -> None:
    """Cumulative totals that repeat change nothing (scenario 8; trap 16)."""
    desk = Desk(OPEN)
    for _ in range(5):
        assert desk.register.update_fill("a", "4", "400", "0.4")
    assert (desk.order.filled_size, desk.order.fees) == (D(4), D("0.4"))


@pytest.mark.parametrize(("size", "value"), [("3", "500"), ("5", "399")])
def test_totals_do_not_fall(size: str, value: str) -> None:
    """Older totals are refused and leave the order as it is (scenario 11; trap 22)."""
    desk = Desk(OPEN)
    desk.register.update_fill("a", "4", "400", "0.4")
    shown = desk.order.to_dict()
    assert not desk.register.update_fill("a", size, value, "0.5")
    assert desk.order.to_dict() == shown
    assert "older" in desk.register.last_refusal


def test_an_overfill_is_kept_and_shown() -> None:
    """More than the size is booked; the order is FILLED and an anomaly counted (scenario 9)."""
    desk = Desk(OPEN)
    assert desk.register.update_fill("a", "14", "1400")
    assert (desk.order.status, desk.order.filled_size) == (FILLED, D(14))
    assert desk.register.get_summary()["anomalies"] == {"OVERFILL": 1}


@pytest.mark.parametrize(
    ("filled", "status"), [("9.989", PARTIAL), ("9.99", FILLED), ("9.9999", FILLED)]
)
def test_from_999_per_mille_on_an_order_is_full(filled: str, status: str) -> None:
    """99.9 % counts as all of it, of units and of value alike (trap 22)."""
    desk = Desk(OPEN)
    assert desk.register.update_fill("a", filled, "999")
    assert desk.order.status is status
    desk.create("v", size_base=0, size_usd="1000")
    desk.to(OPEN, "v")
    assert desk.register.update_fill("v", "0.01", D(filled) * 100)
    found = desk.register.get_order("v")
    assert found is not None
    assert found.status is status


def test_a_small_order_of_coins_is_not_full_at_its_first_fill() -> None:
    """Half a coin ordered and a tenth filled is partly filled."""
    desk = Desk()
    desk.create("c", size_base=0.5)
    desk.to(OPEN, "c")
    assert desk.register.update_fill("c", 0.1, 6_000.1)
    found = desk.register.get_order("c")
    assert found is not None
    assert (found.status, found.fill_percentage()) == (PARTIAL, D(20))


def test_floats_count_as_the_decimals_they_print() -> None:
    """0.1 is 0.1, and 0.1 + 0.2 is rounded to 14 places, once (trap 70)."""
    desk = Desk(OPEN)
    assert desk.register.update_fill("a", 0.1, 0.1 + 0.2, 0.004)
    order = desk.order
    assert (order.filled_size, order.filled_value, order.fees) == (D("0.1"), D("0.3"), D("0.004"))


def test_an_unknown_id_is_false_and_no_exception() -> None:
    """Every call that names nothing known says so and goes on (scenario 10)."""
    register = OrderStateMachine(HandClock())
    assert register.transition("?", OPEN) is False
    assert register.update_fill("?", 1, 1, 1) is False
    assert register.get_order("?") is None
    assert "'?'" in register.last_refusal


@pytest.mark.parametrize("figures", [("x", 1), (1, "NaN"), (-1, 1), (1, 1e300)])
def test_totals_that_are_no_figures_are_refused_whole(figures: tuple[Any, Any]) -> None:
    """A total that is no number raises, and half of the update is not taken (scenario 6)."""
    desk = Desk(OPEN)
    shown = desk.order.to_dict()
    with pytest.raises(InputError):
        desk.register.update_fill("a", *figures, 1)
    assert desk.order.to_dict() == shown


def test_a_fill_of_an_order_nobody_acknowledged_is_refused() -> None:
    """NEW does not fill: the reason is given and nothing changes (scenario 2)."""
    desk = Desk()
    assert not desk.register.update_fill("a", 4, 400)
    assert desk.order.status is NEW
    assert desk.order.filled_size == 0
    assert "open before" in desk.register.last_refusal


def test_cleaning_up_keeps_the_newest_ended_and_every_active_order() -> None:
    """Of 250 ended orders the newest 100 stay, and every active one (scenario 12; trap 23)."""
    desk = Desk()
    for number in range(250):
        desk.create(f"o{number}")
    for number in reversed(range(250)):
        desk.clock.wait(1)
        desk.to(REJECTED, f"o{number}")
    assert desk.register.cleanup_old_orders(keep_last_n=100) == 150
    kept = [order.client_order_id for order in desk.register.get_terminal_orders()]
    assert kept == [f"o{number}" for number in reversed(range(100))]
    assert desk.register.get_order("o249") is None
    assert desk.order.status is NEW
    assert desk.register.cleanup_old_orders() == 0
    assert desk.register.get_summary()["total_orders"] == 101
    with pytest.raises(InputError):
        desk.register.cleanup_old_orders(-1)


def test_a_summary_counts_a_mixed_book() -> None:
    """Counts per status and the oldest active age are right (scenario 13)."""
    desk = Desk(FILLED)
    desk.clock.wait(10)
    for name, status in [("b", OPEN), ("c", CANCELED), ("d", FAILED)]:
        desk.create(name)
        desk.to(status, name)
    desk.clock.wait(30)
    assert desk.register.get_summary() == {
        "total_orders": 4,
        "active_orders": 1,
        "terminal_orders": 3,
        "status_breakdown": {"open": 1, "filled": 1, "canceled": 1, "failed": 1},
        "oldest_active_age": 30.0,
        "anomalies": {},
    }
    assert [o.client_order_id for o in desk.register.get_orders_by_status(CANCELED)] == ["c"]
    assert desk.register.get_orders_by_status("expired") == []
    assert OrderStateMachine(HandClock()).get_summary()["oldest_active_age"] == 0.0


def test_stale_orders_are_the_active_ones_above_the_age() -> None:
    """Strictly older than the limit, ended ones not, whoever sets the wall (scenarios 16, 89)."""
    desk = Desk(OPEN)
    desk.clock.wait(60)
    desk.create("b")
    desk.create("c")
    desk.to(FAILED, "c")
    assert desk.register.get_stale_orders(max_age_seconds=60) == []
    desk.clock.wait(0.001)
    desk.clock.wall += 3_600 * 10**9
    assert [o.client_order_id for o in desk.register.get_stale_orders(60)] == ["a"]
    assert desk.register.get_stale_orders(3_600) == []


def test_reasons_stay_on_the_order() -> None:
    """A rejection keeps its reason and an error its text (scenario 31)."""
    desk = Desk()
    assert desk.register.transition("a", REJECTED, rejection_reason="margin", error="400")
    assert (desk.order.rejection_reason, desk.order.error) == ("margin", "400")
    assert desk.order.is_terminal()
    assert not desk.order.is_active()


def test_an_order_shows_itself_for_a_log() -> None:
    """Amounts are strings without exponents, times are ISO-8601, counts are numbers (trap 70)."""
    desk = Desk()
    desk.create("b", size_base="0.00000001", size_usd="0.5", route="live", side="sell")
    desk.to(OPEN, "b")
    found = desk.register.get_order("b")
    assert found is not None
    desk.clock.wait(1.5)
    assert found.to_dict() == {
        "order_id": "x-b",
        "client_order_id": "b",
        "symbol": "BTC-USD",
        "side": "sell",
        "size_usd": "0.5",
        "size_base": "0.00000001",
        "status": "open",
        "created_at": "2026-01-05T12:00:00.000000000Z",
        "submitted_at": "2026-01-05T12:00:00.000000000Z",
        "first_fill_at": None,
        "completed_at": None,
        "filled_size": "0",
        "filled_value": "0",
        "average_price": "0",
        "fees": "0",
        "fills_count": 0,
        "route": "live",
        "error": "",
        "rejection_reason": "",
        "age_seconds": 1.5,
        "fill_percentage": "0",
    }


def test_a_status_that_is_none_is_named() -> None:
    """A word outside the eight statuses is the caller's mistake and says what is possible."""
    desk = Desk()
    with pytest.raises(InputError, match="partial_fill"):
        desk.register.transition("a", "working")


def test_the_process_has_one_register_and_anybody_may_have_their_own() -> None:
    """The shared register is one; a register made by hand shares nothing with it (trap 23)."""
    assert get_order_state_machine() is get_order_state_machine()
    get_order_state_machine().create_order("only-here", "X", "buy", size_usd=1)
    assert OrderStateMachine().get_order("only-here") is None
    get_order_state_machine.cache_clear()
    assert get_order_state_machine().get_order("only-here") is None
