"""The register: the surface that bots know, over the domain's own order and tables."""

from decimal import Decimal as D

import pytest

from holdfast import register
from holdfast.clock import NS_PER_S
from holdfast.domain.values import Status
from holdfast.errors import InputError
from holdfast.register import OrderStateMachine, get_order_state_machine

S = Status


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * NS_PER_S

    def wall_ns(self) -> int:
        return self.now_ns

    def boot_ns(self) -> int:
        return self.now_ns

    def forward(self, seconds: int) -> None:
        self.now_ns += seconds * NS_PER_S


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def machine(clock: Hand) -> OrderStateMachine:
    return OrderStateMachine(clock)


def opened(machine: OrderStateMachine, name: str = "c1", size: str = "10") -> register.OrderState:
    state = machine.create_order(name, "BTC-USD", "BUY", "1000", size)
    assert machine.transition(name, S.OPEN, order_id=f"B-{name}")
    return state


def test_an_accepted_order_is_open_with_its_broker_id(
    machine: OrderStateMachine, clock: Hand
) -> None:
    """NEW moves to OPEN and keeps when that was and under which id (scenario 1)."""
    state = machine.create_order("c1", "BTC-USD", "buy", 1000.5, 0.25)
    assert (state.status, state.submitted_at, state.size_usd) == (S.NEW, None, D("1000.5"))
    clock.forward(5)
    assert machine.transition("c1", "open", order_id="B1")
    assert (state.status, state.order_id) == (S.OPEN, "B1")
    assert state.submitted_at is not None
    assert (state.submitted_at - state.created_at).seconds == 5


@pytest.mark.parametrize("status", [S.FILLED, S.PARTIAL_FILL, S.CANCELED, S.EXPIRED])
def test_a_new_order_cannot_skip_its_acceptance(machine: OrderStateMachine, status: Status) -> None:
    """Nothing but OPEN, REJECTED and FAILED follows NEW; the reason is told (scenario 2)."""
    state = machine.create_order("c1", "BTC-USD", "buy", 100)
    before = state.to_dict()
    assert not machine.transition("c1", status)
    assert machine.refusal == f"new to {status} is no move of an order"
    assert state.to_dict() == before


@pytest.mark.parametrize("status", [S.CANCELED, S.OPEN, S.EXPIRED, S.REJECTED, S.NEW])
def test_a_filled_order_stays_filled(machine: OrderStateMachine, status: Status) -> None:
    """No word moves an order that is FILLED (scenario 3)."""
    state = opened(machine)
    assert machine.update_fill("c1", 10, 1000, 1)
    before = state.to_dict()
    assert not machine.transition("c1", status)
    assert not machine.transition("c1", status, allow_override=True)
    assert state.to_dict() == before


@pytest.mark.parametrize("end", [S.CANCELED, S.EXPIRED])
def test_a_late_fill_counts_and_reopens_nothing(machine: OrderStateMachine, end: Status) -> None:
    """A part that filled before the end is kept; only a complete order is FILLED (scenario 4)."""
    state = opened(machine)
    assert machine.transition("c1", end)
    assert machine.update_fill("c1", 4, 400, "0.4")
    assert (state.status, state.filled_size, state.average_price) == (end, 4, 100)
    assert machine.update_fill("c1", 10, 1000, 1)
    assert (state.status, state.filled_size) == (S.FILLED, 10)


def test_a_fill_on_a_failed_order_proves_that_it_lives(machine: OrderStateMachine) -> None:
    """FAILED was our guess, a fill is evidence (scenario 4)."""
    state = machine.create_order("c1", "BTC-USD", "buy", 1000, 10)
    assert machine.transition("c1", S.FAILED, error="timeout")
    assert machine.update_fill("c1", 4, 400, 0)
    assert (state.status, state.filled_size, state.error) == (S.PARTIAL_FILL, 4, "timeout")


def test_the_same_id_is_the_same_order(machine: OrderStateMachine) -> None:
    """A second create changes nothing of the first (scenario 5)."""
    first = opened(machine)
    again = machine.create_order("c1", "ETH-USD", "sell", 5)
    assert again is first
    assert (first.symbol, first.size_base, first.status) == ("BTC-USD", 10, S.OPEN)
    assert machine.get_summary()["total_orders"] == 1


@pytest.mark.parametrize(
    ("symbol", "side", "usd", "base"),
    [
        ("", "buy", 1, 0),
        ("X", "hold", 1, 0),
        ("X", "buy", 0, 0),
        ("X", "buy", -1, 0),
        ("X", "buy", float("nan"), 0),
        ("X", "buy", "1e400", 0),
    ],
)
def test_an_order_without_a_symbol_or_a_size_is_refused(
    machine: OrderStateMachine, symbol: str, side: str, usd: float, base: float
) -> None:
    """A validation error, and nothing is stored (scenario 6, trap 70)."""
    with pytest.raises(InputError):
        machine.create_order("c1", symbol, side, usd, base)
    assert machine.get_order("c1") is None


def test_fills_make_an_exact_average(machine: OrderStateMachine, clock: Hand) -> None:
    """4 then 6 of 10: 40 %, then FILLED at the average of all, in exact decimals (scenario 7)."""
    state = opened(machine)
    clock.forward(1)
    assert machine.update_fill("c1", 4, "400.4", "0.1", fills=["a"])
    assert (state.status, state.fill_percentage()) == (S.PARTIAL_FILL, 40)
    clock.forward(1)
    assert machine.update_fill("c1", 10, "1003.4", "0.3", fills=["a", "b"])
    assert (state.status, state.average_price, state.fees) == (S.FILLED, D("100.34"), D("0.3"))
    assert state.first_fill_at is not None
    assert state.completed_at is not None
    assert state.first_fill_at < state.completed_at
    assert state.to_dict()["fills_count"] == 2


def test_the_same_totals_count_once(machine: OrderStateMachine) -> None:
    """A total delivered five times is one fill (scenario 8, trap 16)."""
    state = opened(machine)
    for _ in range(5):
        assert machine.update_fill("c1", 4, 400, "0.4")
    assert (state.filled_size, state.filled_value, state.fees) == (4, 400, D("0.4"))


def test_an_overfill_is_counted(machine: OrderStateMachine) -> None:
    """More than was ordered is money all the same (scenario 9)."""
    state = opened(machine)
    assert machine.update_fill("c1", 12, 1200, 0)
    assert (state.status, state.filled_size, state.fill_percentage()) == (S.FILLED, 12, 120)


def test_an_unknown_id_is_no_exception(machine: OrderStateMachine) -> None:
    """Transition and fill of an id that nobody created return False (scenario 10)."""
    assert not machine.transition("nobody", S.OPEN)
    assert not machine.update_fill("nobody", 1, 1, 0)
    assert machine.refusal == "no order 'nobody'"


def test_a_total_that_falls_is_refused(machine: OrderStateMachine) -> None:
    """An older figure that arrives late changes nothing (scenario 11, trap 22)."""
    state = opened(machine)
    assert machine.update_fill("c1", 6, 600, 0)
    assert not machine.update_fill("c1", 4, 400, 0)
    assert not machine.transition("c1", S.OPEN)
    assert (state.status, state.filled_size) == (S.PARTIAL_FILL, 6)


@pytest.mark.parametrize(("size", "status"), [("9.98", S.PARTIAL_FILL), ("9.99", S.FILLED)])
def test_a_total_of_999_in_1000_is_full(
    machine: OrderStateMachine, size: str, status: Status
) -> None:
    """A rest that no broker will trade does not keep an order open (trap 52)."""
    state = opened(machine)
    assert machine.update_fill("c1", size, 999, 0)
    assert state.status is status


def test_an_order_sized_by_value_fills_by_value(machine: OrderStateMachine) -> None:
    """Without a base size the value tells how much is filled."""
    state = machine.create_order("c1", "BTC-USD", "buy", 1000)
    assert machine.transition("c1", S.OPEN)
    assert machine.update_fill("c1", "0.01", 600, 0)
    assert (state.status, state.fill_percentage()) == (S.PARTIAL_FILL, 60)
    assert machine.update_fill("c1", "0.0166", "999.5", 0)
    assert state.status is S.FILLED


def test_cleaning_up_keeps_the_newest_and_every_active_order(
    machine: OrderStateMachine, clock: Hand
) -> None:
    """Of 250 ended orders the newest 100 stay, and all that are active (scenario 12)."""
    for number in range(250):
        opened(machine, f"ended-{number}")
        clock.forward(1)
        assert machine.transition(f"ended-{number}", S.CANCELED)
    for number in range(5):
        opened(machine, f"active-{number}")
    assert machine.cleanup_old_orders(keep_last_n=100) == 150
    ended = [state.client_order_id for state in machine.get_terminal_orders()]
    assert ended == [f"ended-{number}" for number in range(150, 250)]
    assert len(machine.get_active_orders()) == 5


def test_the_summary_counts_each_status(machine: OrderStateMachine, clock: Hand) -> None:
    """Counts per status, and how old the oldest active order is (scenario 13)."""
    opened(machine, "a")
    clock.forward(30)
    opened(machine, "b")
    machine.update_fill("b", 4, 400, 0)
    machine.create_order("c", "X", "sell", 1)
    opened(machine, "d")
    machine.transition("d", S.REJECTED, rejection_reason="no funds")
    clock.forward(30)
    summary = machine.get_summary()
    found = {name: count for name, count in summary["status_breakdown"].items() if count}
    assert found == {"open": 1, "partial_fill": 1, "new": 1, "rejected": 1}
    assert (summary["active_orders"], summary["terminal_orders"]) == (3, 1)
    assert summary["oldest_active_age"] == 60
    assert [s.client_order_id for s in machine.get_stale_orders(30)] == ["a"]
    assert [s.rejection_reason for s in machine.get_orders_by_status("rejected")] == ["no funds"]


def test_an_override_lets_only_a_late_completion_pass(machine: OrderStateMachine) -> None:
    """A cancelled order may turn out to be filled; it may not be opened again (trap 22)."""
    state = opened(machine)
    machine.transition("c1", S.CANCELED)
    assert not machine.transition("c1", S.OPEN, allow_override=True)
    assert not machine.transition("c1", S.FILLED)
    assert machine.transition("c1", S.FILLED, allow_override=True)
    assert state.status is S.FILLED


def test_there_is_one_shared_register() -> None:
    """The accessor returns the same machine every time."""
    assert get_order_state_machine() is get_order_state_machine()
