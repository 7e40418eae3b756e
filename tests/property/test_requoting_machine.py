"""A pegged order at a broker that loses, delays and repeats: its chain never has too much open."""

from decimal import Decimal as D

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.effects import Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Input
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Limits, Policies, RequoteRules
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import NotSent, Outcome, Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Side
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.model_broker import Held, ModelBroker

QUANTITY = D(10)
MOVES_MAX = 3
POLL_MS = 15_000
SETTLING_ROUNDS_MAX = 80
# Shorter than the absence grace: a request that is older has arrived or never will.
IN_FLIGHT_MS_MAX = 8_000

picks = st.integers(0, 5)
SETTINGS = Settings(
    policies=Policies(
        limits=Limits.none(),
        requote=RequoteRules(interval_ms=500, per_order_max=MOVES_MAX),
    )
)


class RequotingMachine(RuleBasedStateMachine):
    """What is asked of the broker may be lost on either way; what its stream tells, too."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker()
        self.desk = Desk(SETTINGS)
        self.now_ns = 1_000 * NS_PER_MS
        self.calls: list[tuple[int, Effect]] = []
        self.answers: list[Input] = []
        self.events: list[e.AnyEvent] = []
        self.stopped_at = 0

    @initialize(
        native=st.booleans(),
        new_ids=st.booleans(),
        is_final=st.booleans(),
        by_wire_id=st.booleans(),
        side=st.sampled_from(["buy", "sell"]),
    )
    def open(
        self, native: bool, new_ids: bool, is_final: bool, by_wire_id: bool, side: str
    ) -> None:
        can = Capabilities(
            native_replace=native, new_id_on_replace=new_ids, cancel_by_wire_id=by_wire_id
        )
        self.broker = ModelBroker(can, is_final=is_final)
        self.step(inputs.Open(desk="d", epoch="0123456789ab", account="main"))
        self.step(inputs.Connected(can))
        self.step(inputs.Define(Instrument.of("X")))
        self.quote(0)
        request = OrderRequest(
            symbol="X",
            side=side,
            quantity=QUANTITY,
            order_type="limit",
            peg="mid",
            client_order_id="mine",
        )
        self.step(inputs.Submit(request))
        self.carry_out(*self.calls.pop(), "done")

    def step(self, given: Input, *, later_ms: int = 1) -> None:
        self.now_ns += later_ms * NS_PER_MS
        decision = self.desk.step(given, self.now_ns)
        self.events += decision.events
        self.calls += [(self.now_ns, effect) for effect in decision.effects]
        for effect in decision.effects:
            if isinstance(effect, SubmitOrder | ReplaceOrder):
                self.never_past_the_worst(effect)

    def never_past_the_worst(self, effect: SubmitOrder | ReplaceOrder) -> None:
        peg, price = effect.terms.peg, effect.terms.limit_price
        assert peg is not None
        assert price is not None
        if effect.terms.side is Side.BUY:
            assert price <= peg.worst
        else:
            assert price >= peg.worst

    @rule(ticks=st.integers(-60, 60))
    def quote(self, ticks: int) -> None:
        """The market moves, beyond the guard at times, after long enough for another move."""
        mid = D(100) + D("0.01") * ticks
        quote = Quote(symbol="X", bid=mid - 1, ask=mid + 1, at_ns=self.now_ns)
        self.step(inputs.Quoted((quote,)), later_ms=600)

    @precondition(lambda self: self.calls)
    @rule(pick=picks, how=st.sampled_from(["done"] * 4 + ["lost", "silent", "not_sent", "late"]))
    def deliver(self, pick: int, how: str) -> None:
        """A request arrives, is lost before or after it is done, or was never sent."""
        self.carry_out(*self.calls.pop(pick % len(self.calls)), how)

    @precondition(lambda self: self.calls)
    @rule()
    def deliver_all(self) -> None:
        """For a while nothing is lost."""
        while self.calls:
            self.carry_out(*self.calls.pop(0), "done")
        while self.broker.words:
            self.step(inputs.Reported(self.broker.words.pop(0)))

    def carry_out(self, sent_ns: int, effect: Effect, how: str) -> None:
        if self.now_ns > sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS:
            how = "lost"
        if isinstance(effect, LookupOrder):
            if how in {"done", "late"}:
                result = self.broker.look(effect)
                looked = inputs.Looked(
                    number=effect.number,
                    attempt=effect.attempt,
                    asked_ns=self.now_ns,
                    result=result,
                )
                self.step(looked)
            return
        outcome: Outcome = Unknown(text="no answer")
        if how == "not_sent" or self.now_ns > effect.not_after_ns:
            outcome = NotSent(text="429")
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

    @precondition(lambda self: self.answers)
    @rule(pick=picks)
    def answer_late(self, pick: int) -> None:
        self.step(self.answers.pop(pick % len(self.answers)))

    @precondition(lambda self: self.broker.words)
    @rule(pick=picks, times=st.sampled_from([0, 1, 1, 1, 2]))
    def tell(self, pick: int, times: int) -> None:
        """A word of the stream arrives, out of turn, twice, or never."""
        word = self.broker.words.pop(pick % len(self.broker.words))
        for _ in range(times):
            self.step(inputs.Reported(word))

    @precondition(lambda self: self.working())
    @rule(quantity=st.sampled_from(["1", "2", "3"]))
    def fill(self, quantity: str) -> None:
        held = self.working()[0]
        self.broker.fill(held.broker_order_id, D(quantity), held.limit_price or D(100))

    @rule(wait_ms=st.sampled_from([1, 600, 2_500, 5_500]))
    def wait(self, wait_ms: int) -> None:
        self.step(inputs.Tick(), later_ms=wait_ms)

    @rule(pick=st.integers(0, 9), how=st.sampled_from(["cancel", "all", "kill", "crash"]))
    def now_and_then(self, pick: int, how: str) -> None:
        """A poll; rarely, somebody ends the chain or the process dies."""
        if how == "crash" and not pick:
            self.crash()
        elif not pick and not self.stopped_at:
            self.stop(how)
        elif pick < 3:
            self.poll()

    def poll(self) -> None:
        shown, traded = self.broker.listing()
        self.step(
            inputs.Polled(asked_ns=self.now_ns, snapshots=shown, executions=traded, complete=True)
        )

    def stop(self, how: str) -> None:
        """Somebody ends the chain, by the order's first name or with all others."""
        self.stopped_at = self.desk.next_number
        if how == "cancel":
            self.step(inputs.Cancel(client_order_id="mine"))
        elif how == "all":
            self.step(inputs.CancelAll(by="ann"))
        else:
            self.step(inputs.EngageKillSwitch(by="ann", reason="news"))

    def crash(self) -> None:
        """The process dies; requests on their way arrive or do not, and nothing answers them."""
        self.answers.clear()
        for sent_ns, effect in self.calls:
            arrives = self.now_ns <= sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS
            if arrives and not isinstance(effect, LookupOrder) and effect.number % 2:
                self.broker.call(effect)
        self.calls.clear()
        capabilities = self.desk.capabilities
        self.desk = Desk.load(self.desk.dump(), SETTINGS)
        self.step(inputs.Connected(capabilities))
        self.step(inputs.Resume(wall_offset_ns=0))

    @invariant()
    def never_more_than_was_asked_for(self) -> None:
        """At the broker: one working order at a time, and no more than ten in all (P2)."""
        working = self.working()
        assert len(working) <= 1
        traded = sum((held.own for held in self.broker.orders.values()), ZERO)
        left = sum((held.quantity - held.cumulative for held in working), ZERO)
        assert traded + left <= QUANTITY

    @invariant()
    def never_more_than_so_many_moves(self) -> None:
        """The bound is the chain's, however many orders it is made of."""
        decided = [event for event in self.events if isinstance(event, e.RequoteDecided)]
        assert len(decided) <= MOVES_MAX

    @invariant()
    def once_stopped_no_successor_comes(self) -> None:
        """Whoever wants the order gone has no new one to cancel."""
        assert not self.stopped_at or self.desk.next_number == self.stopped_at

    def teardown(self) -> None:
        """Let everything come to rest; then the chain and the broker agree (P3, P8)."""
        if not self.desk.name:
            return
        self.settle()
        orders = self.orders()
        assert [order.succeeds for order in orders] == list(range(len(orders)))
        total = sum((order.filled_quantity for order in orders), ZERO)
        assert total == sum((held.own for held in self.broker.orders.values()), ZERO)
        assert not [order for order in orders if order.moving_to is not None]
        assert len([order for order in orders if order.is_exposed]) == len(self.working())
        refolded = Desk()
        for event in self.events:
            refolded.apply(_DECODER.decode(msgspec.json.encode(event)))
        assert refolded.dump() == self.desk.dump()

    def settle(self) -> None:
        """Answer every question and carry out every request until nothing is open any more."""
        for _ in range(SETTLING_ROUNDS_MAX):
            while self.calls:
                self.carry_out(*self.calls.pop(0), "done")
            if not any(order.is_waiting for order in self.orders() if order.is_exposed):
                break
            self.step(inputs.Tick(), later_ms=1_000)
            self.poll()
        else:
            raise AssertionError(f"still busy: {self.orders()}")
        self.step(inputs.Tick(), later_ms=POLL_MS)
        self.poll()
        while self.calls:
            self.carry_out(*self.calls.pop(0), "done")

    def working(self) -> list[Held]:
        return [held for held in self.broker.orders.values() if held.is_working]

    def orders(self) -> list[Order]:
        numbers = range(1, self.desk.next_number)
        return [order for n in numbers if (order := self.desk.order(n)) is not None]


_DECODER = msgspec.json.Decoder(e.AnyEvent)

TestRequotingMachine = RequotingMachine.TestCase
TestRequotingMachine.settings = hypothesis_settings(max_examples=200, stateful_step_count=40)
