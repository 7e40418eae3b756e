"""The names by which a caller finds a group again, however long ago it was."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.policies import Limits, Policies
from holdfast.errors import IdempotencyConflict, UnsupportedOrderTypeError
from holdfast.testing.brokered import BrokeredDesk

BRACKET: dict[str, Any] = {
    "symbol": "X",
    "side": "buy",
    "quantity": 1,
    "entry_price": "100",
    "stop_loss_price": "95",
    "client_order_id": "mine",
}
PAIR = inputs.PlaceOco(
    symbol="X", side="sell", quantity=1, limit_price="110", stop_price="95", idempotency_key="k"
)


def archive_all(bench: BrokeredDesk) -> dict[str, bytes]:
    """Take every ended order out of memory; returns what a journal would give back, by name."""
    state = bench.desk.state
    bench.desk.rest()
    numbers = tuple(sorted(state.finished))
    bodies = {f"n:{number}": state.body(number) for number in numbers}
    bench.desk.apply(e.OrdersArchived(at_ns=bench.now_ns, numbers=numbers))
    return bodies


def test_a_bracket_is_the_same_one_after_its_entry_left_memory() -> None:
    """Its name is asked for in the journal, and nothing is sent a second time (P2, scenario 5)."""
    bench = BrokeredDesk()
    first = bench.ask(inputs.PlaceBracket(**BRACKET))
    bench.ask(inputs.Cancel(client_order_id="mine"))
    bodies = archive_all(bench)
    again = inputs.PlaceBracket(**BRACKET)
    assert bench.desk.missing(again) == ("c:mine",)
    bench.step(inputs.Recalled({1: bodies["n:1"]}))
    repeated = bench.ask(again)
    assert (repeated.group, repeated.repeat, first.group) == (1, True, 1)
    assert len(bench.sent("entry")) == 1


@pytest.mark.parametrize("given", [PAIR, inputs.ClosePosition(symbol="X", idempotency_key="k")])
def test_a_key_of_exits_is_asked_for_in_the_journal(given: inputs.Input) -> None:
    """A key that memory does not have may belong to orders that ended (P2, scenario 35)."""
    bench = BrokeredDesk()
    bench.ask(inputs.PlaceBracket(**BRACKET))
    bench.ask(inputs.Cancel(client_order_id="mine"))
    archive_all(bench)
    assert bench.desk.missing(given) == ("i:k",)


def test_the_key_of_a_forgotten_group_is_not_free_again() -> None:
    """Its first order keeps the key, and the call is refused instead of repeated (P2)."""
    bench = BrokeredDesk()
    bench.buy(1)
    pair = bench.ask(PAIR)
    bench.ask(inputs.CloseGroup(group=pair.group, by="ann", reason="out"))
    bench.fill("exit", 1, group=pair.group)
    bench.talk()
    bench.buy(1)
    del bench.desk.state.groups.groups[pair.group]
    with pytest.raises(IdempotencyConflict, match=f"belongs to group {pair.group}"):
        bench.ask(PAIR)


@pytest.mark.parametrize(
    "terms",
    [
        {"entry_price": None, "entry_type": "market"},
        {},
        {"stop_loss_price": None, "trail": "5"},
    ],
)
def test_the_plain_profile_takes_no_stops(terms: dict[str, Any]) -> None:
    """Where only limit orders are allowed, brackets with stops or market entries are not (41)."""
    bench = BrokeredDesk(policies=Policies(profile="limit_only", limits=Limits.none()))
    with pytest.raises(UnsupportedOrderTypeError, match="limit_only"):
        bench.ask(inputs.PlaceBracket(**(BRACKET | terms)))
    assert bench.desk.state.stored.groups == {}


def test_the_plain_profile_takes_a_limit_entry_with_a_target() -> None:
    """Both are limit orders, which is all that the profile asks for (41)."""
    bench = BrokeredDesk(policies=Policies(profile="limit_only", limits=Limits.none()))
    bench.ask(
        inputs.PlaceBracket(**(BRACKET | {"stop_loss_price": None, "take_profit_price": "110"}))
    )
    assert bench.working() == {"entry": Decimal(1)}
