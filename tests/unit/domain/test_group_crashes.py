"""The process dies at every single call of a bracket's life, before it is made or after."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.reports import Refused
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk, DiedError

# More calls than any of these lives makes; each is died at, until one lives to its end.
CALLS_MAX = 60
NO = Refused(text="no stops today")

Step = Callable[[BrokeredDesk], object]


def lives(
    kind: Capabilities, when: str, steps: list[Step], begin: Callable[[BrokeredDesk], object]
) -> list[BrokeredDesk]:
    """Live as often as there are calls to die at, and once without dying."""
    lived: list[BrokeredDesk] = []
    for number in range(1, CALLS_MAX):
        bench = BrokeredDesk(kind)
        begin(bench)
        setattr(bench, f"dies_{when}", number)
        died = False
        for step in steps:
            try:
                step(bench)
                bench.advance(20_000)
            except DiedError:
                died = True
                bench.crash(down_ms=30_000, told=False)
                bench.advance(60_000)
        bench.dies_before = bench.dies_after = 0
        lived.append(bench)
        if not died:
            return lived
    raise AssertionError(f"no life was shorter than {CALLS_MAX} calls")


def fill(role: str, quantity: int) -> Step:
    """Let an order of a role trade, as much of it as is there."""

    def filled(bench: BrokeredDesk) -> None:
        if bench.working().get(role):
            bench.fill(role, quantity)

    return filled


@pytest.mark.parametrize("kind", BROKER_KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_bracket_survives_a_death_at_any_call(kind: str, when: str) -> None:
    """Nothing is sent twice, what fills is protected, and the books are the broker's
    (scenario 85).
    """
    steps: list[Step] = [
        lambda bench: bench.bracket(entry_timeout_ms=0),
        fill("entry", 1),
        fill("entry", 2),
        fill("target", 1),
    ]
    for bench in lives(BROKER_KINDS[kind], when, steps, lambda bench: bench):
        held = bench.truth()
        assert bench.position().quantity == held
        assert bench.sent("exit") == bench.sent("undo") == []
        assert len(bench.sent("entry")) == 1
        guards = {role: left for role, left in bench.working().items() if role != "entry"}
        assert guards == ({"stop": held, "target": held} if held else {}), bench.calls
        fill("stop", 3)(bench)
        bench.advance(30_000)
        assert (bench.truth(), bench.position().quantity) == (0, 0)
        if bench.group().phase == "closed":
            assert bench.working() == {}
        assert bench.refolded().state.stored.groups == bench.desk.state.stored.groups


@pytest.mark.parametrize("kind", ["plain", "no_replace", "new_ids", "counts_anew"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_flattening_survives_a_death_at_any_call(kind: str, when: str) -> None:
    """A bracket whose stop is refused is flat in the end, by one exit that trades
    (scenarios 85 and 100).
    """
    steps: list[Step] = [
        lambda bench: bench.bracket(),
        fill("entry", 3),
        fill("exit", 1),
        fill("exit", 3),
    ]

    def refuse_stops(bench: BrokeredDesk) -> None:
        bench.break_next("submit", "stop", *[NO] * CALLS_MAX)

    for bench in lives(BROKER_KINDS[kind], when, steps, refuse_stops):
        fill("exit", 3)(bench)
        bench.advance(30_000)
        assert (bench.truth(), bench.position().quantity) == (0, 0), bench.calls
        assert bench.sent("undo") == []
        sold = [held.own for held in bench.broker.orders.values() if held.side == "sell"]
        bought = [held.own for held in bench.broker.orders.values() if held.side == "buy"]
        assert sum(sold, Decimal(0)) == sum(bought, Decimal(0))
        assert (bench.working(), bench.group().phase) == ({}, "closed")
