"""Requests, fills and words that overtake each other, in every order, each of them lost once."""

from collections.abc import Callable, Iterator
from decimal import Decimal as D
from itertools import permutations

import pytest

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Input
from holdfast.domain.reports import Accepted, Outcome, Unknown
from holdfast.domain.values import Status
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderRefused
from holdfast.testing.builders import DeskDriver
from holdfast.testing.model_broker import ModelBroker

ROUNDS_MAX = 40
POLL_MS = 15_000


class Race:
    """A desk and a broker whose messages a test delivers by hand; `settle` delivers the rest."""

    def __init__(self, capabilities: Capabilities, *, is_final: bool = False) -> None:
        self.broker = ModelBroker(capabilities, is_final=is_final)
        self.bench = DeskDriver(capabilities=capabilities)
        self.seen = 0

    def calls(self) -> list[Effect]:
        """Return the requests made since the last look."""
        new, self.seen = self.bench.effects[self.seen :], len(self.bench.effects)
        return new

    def answer(self, effect: Effect, outcome: Outcome) -> Input:
        """Build the answer to a request."""
        assert not isinstance(effect, LookupOrder)
        return inputs.Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )

    def submitted(self, side: str, quantity: str, **terms: object) -> str:
        """Place an order that the broker takes; return the broker's id."""
        self.bench.submit(side, quantity, **terms)
        (effect,) = self.calls()
        assert isinstance(effect, SubmitOrder)
        outcome = self.broker.call(effect)
        assert isinstance(outcome, Accepted)
        self.bench.step(self.answer(effect, outcome))
        self.broker.words.clear()
        return outcome.broker_order_id

    def settle(self) -> None:
        """Answer everything truthfully and poll, until nothing is open any more."""
        quiet = 0
        for _ in range(ROUNDS_MAX):
            for effect in self.calls():
                self.carry_out(effect)
            due = self.bench.desk.next_deadline()
            quiet = quiet + 1 if due is None else 0
            wait = POLL_MS if due is None else max(due - self.bench.now_ns, 0) // NS_PER_MS + 1
            self.bench.step(inputs.Tick(), after_ms=min(wait, POLL_MS))
            if due is None:
                shown, traded = self.broker.listing()
                self.bench.poll(*shown, executions=traded, complete=True)
            if quiet > 2 and self.seen == len(self.bench.effects):
                return
        raise AssertionError(f"not at rest: {self.bench.order()}")

    def carry_out(self, effect: Effect) -> None:
        """Let a request reach the broker and its answer come back."""
        if not isinstance(effect, LookupOrder):
            self.bench.step(self.answer(effect, self.broker.call(effect)))
            return
        self.bench.step(
            inputs.Looked(
                number=effect.number,
                attempt=effect.attempt,
                asked_ns=self.bench.now_ns,
                result=self.broker.look(effect),
            )
        )

    def working(self) -> list[str]:
        """Return the ids of the broker orders that work."""
        return [held.broker_order_id for held in self.broker.orders.values() if held.is_working]

    def traded(self) -> D:
        """Return what the broker says was traded in all."""
        return sum((held.own for held in self.broker.orders.values()), D(0))


def arrivals(messages: list[Input]) -> Iterator[tuple[Input, ...]]:
    """Every order in which the messages may arrive, complete and with each of them lost."""
    yield from permutations(messages)
    for lost in range(len(messages)):
        yield from permutations(messages[:lost] + messages[lost + 1 :])


def cancel_and_replace(
    capabilities: Capabilities, at_broker: tuple[str, ...], *, is_final: bool
) -> tuple[Race, list[Input]]:
    """Send a replace that nobody answers and a cancel after it; let the broker take them so."""
    race = Race(capabilities, is_final=is_final)
    broker_order_id = race.submitted("buy", "10")
    race.bench.replace(quantity="12", limit_price="101")
    race.bench.cancel()
    race.bench.advance(5_000)
    calls = {type(effect): effect for effect in race.calls()}
    assert set(calls) == {ReplaceOrder, CancelOrder, LookupOrder}
    answers: list[Input] = []
    for what in at_broker:
        if what == "fill":
            newest = race.working()[-1:] or [broker_order_id]
            race.broker.fill(newest[0], D(3), D("100.5"))
            continue
        effect = calls[ReplaceOrder if what == "replace" else CancelOrder]
        assert not isinstance(effect, LookupOrder)
        answers.append(race.answer(effect, race.broker.call(effect)))
    words: list[Input] = [inputs.Reported(word) for word in race.broker.words]
    race.broker.words.clear()
    return race, [*answers, *words]


@pytest.mark.parametrize("at_broker", list(permutations(["replace", "cancel", "fill"])))
@pytest.mark.parametrize("carries", [True, False])
@pytest.mark.parametrize("new_id", [True, False])
@pytest.mark.parametrize("is_final", [True, False])
def test_nothing_works_after_a_cancel_that_raced_a_replace_and_a_fill(
    at_broker: tuple[str, ...], carries: bool, new_id: bool, is_final: bool
) -> None:
    """However replace, cancel and fill cross, nothing is left working (scenarios 84, 101)."""
    can = Capabilities(new_id_on_replace=new_id, replace_carries_fills=carries or not new_id)
    count = len(list(arrivals(cancel_and_replace(can, at_broker, is_final=is_final)[1])))
    for index in range(count):
        race, messages = cancel_and_replace(can, at_broker, is_final=is_final)
        arriving = next(one for i, one in enumerate(arrivals(messages)) if i == index)
        for message in arriving:
            race.bench.step(message)
        race.settle()
        order = race.bench.order()
        assert race.working() == [], arriving
        assert order.status is Status.CANCELED
        assert order.filled_quantity == race.traded() == race.bench.position().quantity
        assert race.bench.refolded().dump() == race.bench.desk.dump()


def exit_without_answer() -> tuple[Race, list[Input]]:
    """Hold 5, and send an exit that the broker takes and fills while its answer is lost."""
    race = Race(Capabilities())
    entry = race.submitted("buy", "5")
    race.broker.fill(entry, D(5), D(100))
    race.bench.hear(race.broker.words.pop())
    race.bench.submit("sell", "5", order_type="market", reduce_only=True)
    (effect,) = race.calls()
    assert isinstance(effect, SubmitOrder)
    race.broker.call(effect)
    for quantity in (2, 3):
        race.broker.fill("B2", D(quantity), D(99))
    words: list[Input] = [inputs.Reported(word) for word in race.broker.words]
    race.broker.words.clear()
    return race, [race.answer(effect, Unknown(text="timeout")), *words]


def try_again(race: Race) -> None:
    """Ask for another exit, as an impatient caller does after each message."""
    with pytest.raises(OrderRefused, match="REDUCE_ONLY_EXCEEDED"):
        race.bench.submit("sell", "5", order_type="market", reduce_only=True)


def test_an_exit_that_times_out_after_it_was_taken_is_never_sent_twice() -> None:
    """One exit and position 0 however its words arrive, whoever asks meanwhile (scenario 100)."""
    count = len(list(arrivals(exit_without_answer()[1])))
    for index in range(count):
        race, messages = exit_without_answer()
        for message in next(one for i, one in enumerate(arrivals(messages)) if i == index):
            race.bench.step(message)
            try_again(race)
        race.settle()
        assert race.bench.position().quantity == 0
        assert len(race.broker.orders) == 2
        assert race.bench.order(2).status is Status.FILLED


def lose(race: Race, effect: Effect) -> None:
    """Let a request vanish on its way, its outcome unknown."""
    race.bench.step(race.answer(effect, Unknown(text="connection reset")))


def lose_the_answer(race: Race, effect: Effect) -> None:
    """Let a request be carried out and its answer vanish."""
    assert not isinstance(effect, LookupOrder)
    race.broker.call(effect)
    lose(race, effect)


@pytest.mark.parametrize("unique_ids", ["forever", "while_open", "none"])
@pytest.mark.parametrize(
    ("happens", "where"), [(lose, "before"), (lose_the_answer, "after")], ids=["before", "after"]
)
def test_a_submit_that_times_out_is_at_most_one_order(
    unique_ids: str, happens: Callable[[Race, Effect], None], where: str
) -> None:
    """Accepted: found; never seen: the same wire id again, or FAILED (scenarios 29, 30)."""
    can = Capabilities(unique_ids=unique_ids)  # type: ignore[arg-type]  # one of the literals
    race = Race(can)
    race.bench.submit(not_after_ms=60_000)
    (effect,) = race.calls()
    happens(race, effect)
    race.settle()
    order = race.bench.order()
    submits = [one for one in race.bench.effects if isinstance(one, SubmitOrder)]
    assert {one.wire_id for one in submits} == {order.wire_id}
    if where == "before" and unique_ids == "none":
        assert (order.status, order.code, len(race.broker.orders)) == (Status.FAILED, "ABSENT", 0)
        assert len(submits) == 1
    else:
        assert (order.status, len(race.broker.orders)) == (Status.OPEN, 1)
        assert len(submits) == (2 if where == "before" else 1)
    assert not order.wishes
