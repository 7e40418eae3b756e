from decimal import Decimal

import pytest

from holdfast.engine.budget import (
    ENTRIES_BEFORE_QUERY_MAX,
    PAUSE_MAX_S,
    QUERY_WAIT_MAX_S,
    Rank,
    RateBudget,
    RateRules,
)
from holdfast.errors import InputError


class Queue:
    """So many that wait, all since a time."""

    def __init__(self, count: int = 0, since: float = 0.0) -> None:
        self.count = count
        self.since = since

    @property
    def is_ready(self) -> bool:
        return self.count > 0


class Queues(list[Queue]):
    """One queue for each rank, served for a while by a budget."""

    def __init__(
        self, *, exits: int = 0, protective: int = 0, entries: int = 0, queries: int = 0
    ) -> None:
        super().__init__(Queue(count) for count in (exits, protective, entries, queries))

    def serve(
        self, budget: RateBudget, until: float, start: float = 0.0
    ) -> list[tuple[float, Rank]]:
        """Let whoever's turn it is begin as soon as may be; return when each began."""
        begun: list[tuple[float, Rank]] = []
        now = start
        while (rank := budget.next(self, now)) is not None:
            now += budget.wait_s(rank, self, now)
            if now > until:
                break
            chosen = budget.next(self, now)
            assert chosen is not None
            if budget.take(chosen, self, now):
                self[chosen].count -= 1
                begun.append((now, chosen))
        return begun


def ranks(begun: list[tuple[float, Rank]]) -> list[Rank]:
    return [rank for _, rank in begun]


def test_a_burst_then_the_rate() -> None:
    """After a rest a burst leaves at once, less what is kept, and then one each interval."""
    budget = RateBudget(Decimal(2), 5, 0.0)

    begun = Queues(entries=20).serve(budget, until=3.01)

    assert [round(at, 3) for at, _ in begun] == [0] * 4 + [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert budget.taken == 10


def test_all_of_the_bucket_is_there_for_exits() -> None:
    """What entries leave untouched, exits spend (P7)."""
    budget = RateBudget(2, 5, 0.0)
    Queues(entries=20).serve(budget, until=0.0)

    begun = Queues(exits=2).serve(budget, until=10.0)

    assert [round(at, 3) for at, _ in begun] == [0.0, 0.5]


def test_ranks_go_in_their_order() -> None:
    """Exits, protective orders, entries, questions: whoever is first in that order is next."""
    budget = RateBudget(1, 1, 0.0)

    begun = Queues(exits=2, protective=1, entries=1, queries=1).serve(budget, until=4.9)

    assert ranks(begun) == [Rank.EXIT, Rank.EXIT, Rank.PROTECTIVE, Rank.ENTRY, Rank.QUERY]


def test_a_question_waits_for_a_bounded_number_of_entries() -> None:
    """However many entries wait, a question goes after so many of them (P9)."""
    budget = RateBudget(10, 1, 0.0)

    begun = Queues(entries=100, queries=2).serve(budget, until=2.0)

    among = [place for place, rank in enumerate(ranks(begun)) if rank is Rank.QUERY]
    assert among == [ENTRIES_BEFORE_QUERY_MAX, 2 * ENTRIES_BEFORE_QUERY_MAX + 1]


def test_a_question_waits_for_a_bounded_time_behind_exits() -> None:
    """Even exits without end let one question pass each time it has waited that long (P9)."""
    budget = RateBudget(2, 4, 0.0)

    begun = Queues(exits=100, queries=2).serve(budget, until=2 * QUERY_WAIT_MAX_S + 1)

    asked = [at for at, rank in begun if rank is Rank.QUERY]
    assert asked == pytest.approx([QUERY_WAIT_MAX_S, 2 * QUERY_WAIT_MAX_S])


def test_a_pause_holds_back_entries_and_questions_alone() -> None:
    """While the broker asked for a pause, exits and protective orders go on (P7)."""
    budget = RateBudget(10, 10, 0.0)
    budget.pause(0.0, 3.0)

    paused = Queues(exits=1, protective=1, entries=1, queries=1)
    during = paused.serve(budget, until=2.9)
    after = paused.serve(budget, until=4.0, start=3.0)

    assert ranks(during) == [Rank.EXIT, Rank.PROTECTIVE]
    assert ranks(after) == [Rank.ENTRY, Rank.QUERY]


def test_an_overdue_question_does_not_hold_up_exits_in_a_pause() -> None:
    """A question that has waited too long goes before exits, but not while it may not go at all."""
    budget = RateBudget(10, 10, 0.0)
    budget.pause(0.0, 2 * QUERY_WAIT_MAX_S)

    assert budget.next(Queues(exits=1, queries=1), QUERY_WAIT_MAX_S + 1) is Rank.EXIT


def test_a_pause_is_bounded() -> None:
    """A broker that asks for days is asked again after a minute (P9)."""
    budget = RateBudget(10, 10, 0.0)
    budget.pause(0.0, 1e6)

    assert budget.paused_s(0.0) == PAUSE_MAX_S


def test_what_does_not_ask_leaves_a_bounded_debt() -> None:
    """Calls past the budget are paid for by those that follow, but not for ever."""
    budget = RateBudget(2, 4, 0.0)
    for _ in range(1_000):
        budget.spend(0.0)

    assert budget.tokens(0.0) == -4
    assert budget.wait_s(Rank.EXIT, Queues(exits=1), 0.0) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("rate", "burst", "named"),
    [(0, 10, "0"), (Decimal(-1), 10, "-1"), (2_000_000, 10, "2000000"), (5, 0, "burst is 0")],
)
def test_a_rate_that_lets_nothing_go_is_refused(rate: Decimal, burst: int, named: str) -> None:
    """A rate or burst that makes no sense is refused with the value and what to give instead."""
    with pytest.raises(InputError, match=named):
        RateRules(requests_per_second=rate, burst=burst)
