"""A position is closed over a link that loses, delays and repeats: zero at last, never flipped."""

from collections.abc import Callable
from decimal import Decimal as D
from random import Random

import pytest

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.effects import Effect, LookupOrder
from holdfast.domain.inputs import Input
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import NotSent, Outcome, Refused, Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import OrderType, Side, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.model_broker import Held, ModelBroker

WORLDS = 400
WORLDS_PER_TEST = 50
STEPS = 30
SETTLING_ROUNDS_MAX = 200
POLL_MS = 15_000
# Shorter than the absence grace: a request that is older has arrived or never will.
IN_FLIGHT_MS_MAX = 8_000
SETTINGS = Settings(policies=Policies(limits=Limits.none()))
FATES = ("done", "done", "done", "done", "lost", "silent", "no", "not_sent", "late")


class FlatteningWorld:
    """The kill switch is engaged to flatten while orders work; then anything may happen."""

    def __init__(self, seed: int) -> None:
        """Place orders, most of which arrive, and engage the switch."""
        self.random = Random(seed)
        choice = self.random.choice
        can = Capabilities(
            unique_ids=choice(("forever", "while_open", "none")),
            cancel_by_wire_id=choice((True, False)),
            order_types=choice((frozenset(OrderType), frozenset({OrderType.LIMIT}))),
        )
        self.broker = ModelBroker(can, is_final=choice((True, False)))
        self.desk = Desk(SETTINGS)
        self.now_ns = 1_000 * NS_PER_MS
        self.calls: list[tuple[int, Effect]] = []
        self.answers: list[Input] = []
        self.held = choice((-10, 7))
        self.step(inputs.Open(desk="d", epoch="0123456789ab", account="main"))
        self.step(inputs.Connected(can))
        self.step(inputs.Define(Instrument.of("X")))
        self.step(inputs.SetOpeningBalance(symbol="X", quantity=self.held, price="100"))
        for _ in range(choice((1, 2, 3))):
            self.submit(choice(("buy", "sell")), choice((5, 10)))
        for _ in range(choice((0, 0, 4, 8))):
            choice((self.cancel, self.deliver, self.fill, self.tell, self.end_unasked))()
            self.desk.rest()
        self.step(inputs.EngageKillSwitch(by="ann", reason="out", action="flatten"))

    def submit(self, side: str, quantity: int) -> None:
        request = OrderRequest(
            symbol="X", side=side, quantity=quantity, order_type="limit", limit_price="100"
        )
        self.step(inputs.Submit(request))
        if self.random.random() < 0.8:
            self.carry_out(*self.calls.pop(), "done")

    def cancel(self) -> None:
        """Somebody has an order cancelled shortly before."""
        if active := list(self.desk.active()):
            name = self.random.choice(active).client_order_id
            self.step(inputs.Cancel(client_order_id=name))

    def quote(self) -> None:
        price = D(self.random.choice((95, 100, 105)))
        self.step(inputs.Quoted((Quote(symbol="X", bid=price, ask=price, at_ns=self.now_ns),)))

    def step(self, given: Input, *, later_ms: int = 1) -> None:
        self.now_ns += later_ms * NS_PER_MS
        effects = self.desk.step(given, self.now_ns).effects
        self.calls += [(self.now_ns, effect) for effect in effects]

    def take(self, things: list[tuple[int, Effect]]) -> tuple[int, Effect]:
        return things.pop(self.random.randrange(len(things)))

    def deliver(self) -> None:
        """A request arrives, is lost before or after it is done, is refused, or never left."""
        if self.calls:
            self.carry_out(*self.take(self.calls), self.random.choice(FATES))

    def carry_out(self, sent_ns: int, effect: Effect, how: str) -> None:
        if self.now_ns > sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS:
            how = "lost"
        if isinstance(effect, LookupOrder):
            self.ask(effect, is_answered=how in {"done", "late"})
            return
        outcome: Outcome = Unknown(text="no answer")
        if how == "not_sent" or self.now_ns > effect.not_after_ns:
            outcome = NotSent(text="429")
        elif how == "no":
            outcome = Refused(text="no")
        elif how in {"done", "silent", "late"}:
            said = self.broker.call(effect)
            outcome = outcome if how == "silent" else said
        answer = inputs.Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )
        if how == "late":
            self.answers.append(answer)
        else:
            self.step(answer)

    def ask(self, effect: LookupOrder, *, is_answered: bool) -> None:
        if is_answered:
            self.step(
                inputs.Looked(
                    number=effect.number,
                    attempt=effect.attempt,
                    asked_ns=self.now_ns,
                    result=self.broker.look(effect),
                )
            )

    def answer_late(self) -> None:
        if self.answers:
            self.step(self.answers.pop(self.random.randrange(len(self.answers))))

    def tell(self) -> None:
        """A word of the stream arrives, out of turn, twice, or never."""
        words = self.broker.words
        if words:
            word = words.pop(self.random.randrange(len(words)))
            for _ in range(self.random.choice((0, 1, 1, 2))):
                self.step(inputs.Reported(word))

    def fill(self) -> None:
        if self.working():
            held = self.random.choice(self.working())
            self.broker.fill(held.broker_order_id, D(self.random.choice((1, 2, 10))), D(100))

    def end_unasked(self) -> None:
        if self.working() and self.random.random() < 0.3:
            held = self.random.choice(self.working())
            how = self.random.choice((Status.CANCELED, Status.EXPIRED))
            self.broker.end(held.broker_order_id, how)

    def wait(self) -> None:
        self.step(inputs.Tick(), later_ms=self.random.choice((1, 600, 2_500, 5_500, 12_000)))

    def poll(self) -> None:
        shown, traded = self.broker.listing()
        self.step(
            inputs.Polled(asked_ns=self.now_ns, snapshots=shown, executions=traded, complete=True)
        )

    def crash(self) -> None:
        """The process dies; requests on their way arrive or do not, and nothing answers them."""
        self.answers.clear()
        for sent_ns, effect in self.calls:
            arrives = self.now_ns <= sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS
            if arrives and not isinstance(effect, LookupOrder) and self.random.random() < 0.5:
                self.broker.call(effect)
        self.calls.clear()
        self.desk = Desk.load(self.desk.dump(), SETTINGS)
        self.step(inputs.Connected(self.broker.capabilities))
        self.step(inputs.Resume(wall_offset_ns=0))

    def working(self) -> list[Held]:
        return [held for held in self.broker.orders.values() if held.is_working]

    def is_exit(self, held: Held) -> bool:
        order = self.desk.order(self.desk.owner_of(held.wire_id))
        return order is not None and order.role == "flat"

    def position(self) -> D:
        """Return what the account holds at the broker, whatever the desk knows of it."""
        traded = (
            held.own if held.side is Side.BUY else -held.own for held in self.broker.orders.values()
        )
        return sum(traded, D(self.held))

    def run(self) -> None:
        """Let anything happen, then let everything come to rest."""
        often: list[Callable[[], None]] = [self.deliver, self.deliver, self.deliver, self.fill]
        now_and_then = [self.tell, self.answer_late, self.wait, self.end_unasked, self.quote]
        for _ in range(STEPS):
            rarely = [self.crash, self.poll] if self.random.random() < 0.2 else []
            self.random.choice([*often, *now_and_then, *rarely])()
            self.check_exits()
        for _ in range(SETTLING_ROUNDS_MAX):
            self.come_to_rest()
            if not self.desk.guard.flattening and not self.calls:
                return

    def come_to_rest(self) -> None:
        while self.calls:
            self.carry_out(*self.calls.pop(0), "done")
            self.check_exits()
        for held in self.working():
            if self.is_exit(held):
                self.broker.fill(held.broker_order_id, held.quantity, D(100))
        self.step(inputs.Tick(), later_ms=POLL_MS)
        self.quote()
        self.poll()

    def check_exits(self) -> None:
        """What works to close can close no more than the account holds."""
        exits = [held for held in self.working() if self.is_exit(held)]
        assert len(exits) <= 1
        for held in exits:
            closable = self.position() if held.side is Side.SELL else -self.position()
            beside = [one for one in self.working() if one.side is held.side and one is not held]
            could = sum((one.quantity - one.own for one in beside), held.quantity - held.own)
            assert could <= closable


@pytest.mark.parametrize("first", range(0, WORLDS, WORLDS_PER_TEST))
def test_whatever_is_lost_the_account_ends_flat_and_never_flips(first: int) -> None:
    """Zero at the broker and here, nothing working, at no time an exit too many (scenario 100)."""
    for seed in range(first, first + WORLDS_PER_TEST):
        world = FlatteningWorld(seed)
        try:
            world.run()
            assert not world.desk.guard.flattening
            assert (world.position(), world.working()) == (0, [])
            assert world.desk.positions["X"].quantity == 0
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
