"""A stop that is moved, cancelled and filled at once: its group closes exactly what is left."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import permutations

import pytest

from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Answer, CloseGroup, Input, Replace, Reported, Tick
from holdfast.domain.reports import Outcome
from holdfast.testing.brokered import BROKER_KINDS, BrokeredDesk

SETTLING_MS = 20_000
SETTLING_ROUNDS = 6


class Crossing(BrokeredDesk):
    """A desk with a protected bracket of three, whose stop somebody moves, and then its close.

    `messages` are what the broker answers and says of the stop, not delivered yet.
    """

    def __init__(self, kind: str, at_broker: tuple[str, ...], *, is_final: bool) -> None:
        """Let the broker take move, cancel and a trade of one in this order."""
        super().__init__(BROKER_KINDS[kind])
        self.broker.is_final = is_final
        self.bracket()
        self.fill("entry", 3)
        stop = self.order(next(n for n in self.group().live if self.order(n).role == "stop"))
        self.step(Replace(client_order_id=stop.client_order_id, stop_price="96"))
        self.step(Tick(), after_ms=5_001)
        self.step(CloseGroup(group=1, by="ann", reason="out"))
        mine = [one for one in self.effects[self._done :] if one.number == stop.number]
        calls = {type(one): one for one in mine if not isinstance(one, LookupOrder)}
        assert set(calls) == {ReplaceOrder, CancelOrder}
        others = [one for one in self.effects[self._done :] if one.number != stop.number]
        self._done = len(self.effects)
        self.messages: list[Input] = []
        for what in at_broker:
            if what == "fill":
                held = self.held("stop") if "stop" in self.working() else None
                if held is not None:
                    self.broker.fill(held.broker_order_id, Decimal(1), Decimal(95))
                continue
            call = calls[ReplaceOrder if what == "replace" else CancelOrder]
            self.messages.append(self.answered(call, self.broker.call(call)))
        self.messages += [Reported(word) for word in self.broker.words]
        self.broker.words.clear()
        for effect in others:
            self._carry_out(effect)
        self.talk()

    def answered(self, effect: SubmitOrder | ReplaceOrder | CancelOrder, outcome: Outcome) -> Input:
        """Build the answer to a request."""
        return Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )

    def settle(self) -> None:
        """Let everything be answered, and what closes the rest trade."""
        for _ in range(SETTLING_ROUNDS):
            self.talk()
            self.reconcile()
            if "exit" in self.working():
                self.fill("exit", 3)
            self.advance(SETTLING_MS)


def arrivals(count: int) -> Iterator[tuple[int, ...]]:
    """Every order in which so many messages may arrive, complete and with each of them lost."""
    yield from permutations(range(count))
    for lost in range(count):
        yield from permutations([one for one in range(count) if one != lost])


@pytest.mark.parametrize("at_broker", list(permutations(["replace", "cancel", "fill"])))
@pytest.mark.parametrize("kind", ["new_ids", "counts_anew"])
@pytest.mark.parametrize("is_final", [True, False])
def test_a_stop_that_is_moved_cancelled_and_filled_leaves_nothing_behind(
    kind: str, at_broker: tuple[str, ...], is_final: bool
) -> None:
    """However a replace, a cancel and a fill of a group's stop cross, and whichever word is lost:
    nothing works after the confirmed cancel, and the exit closes what is left (scenario 101).
    """
    count = len(Crossing(kind, at_broker, is_final=is_final).messages)
    for order in arrivals(count):
        race = Crossing(kind, at_broker, is_final=is_final)
        for index in order:
            race.step(race.messages[index])
        race.settle()
        assert (race.working(), race.truth(), race.position().quantity) == ({}, 0, 0), order
        assert (race.group().phase, len(race.sent("exit"))) == ("closed", 1), order
        assert race.group().exited == race.group().entered == 3, order
