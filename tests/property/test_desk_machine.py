"""A desk, a broker and a link between them that loses, delays and repeats; at rest all agrees."""

from decimal import Decimal as D

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.effects import Effect, LookupOrder
from holdfast.domain.inputs import Input
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import NotSent, Outcome, Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Side, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.model_broker import Held, ModelBroker

SETTLING_ROUNDS_MAX = 60
QUIET_POLLS = 3
POLL_MS = 15_000
# What a limit would refuse could show nothing here.
UNLIMITED = Settings(policies=Policies(limits=Limits.none()))
# Shorter than the absence grace: a request that is older has arrived or never will.
IN_FLIGHT_MS_MAX = 8_000

picks = st.integers(0, 5)
sizes = st.sampled_from(["1", "2", "3", "5", "8", "10"])


class DeskMachine(RuleBasedStateMachine):
    """What is asked of the broker may be lost on either way; what the stream tells, too."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker()
        self.desk = Desk(UNLIMITED)
        self.now_ns = 1_000 * NS_PER_MS
        self.calls: list[tuple[int, Effect]] = []
        self.answers: list[Input] = []
        self.wanted_gone: set[int] = set()

    @initialize(
        unique=st.sampled_from(["forever", "while_open", "none"]),
        new_ids=st.booleans(),
        carries=st.booleans(),
        by_wire_id=st.booleans(),
        is_final=st.booleans(),
    )
    def open(
        self, unique: str, new_ids: bool, carries: bool, by_wire_id: bool, is_final: bool
    ) -> None:
        can = Capabilities(
            unique_ids=unique,  # type: ignore[arg-type]  # one of the three literals above
            new_id_on_replace=new_ids,
            replace_carries_fills=carries or not new_ids,
            cancel_by_wire_id=by_wire_id,
        )
        self.broker = ModelBroker(can, is_final=is_final)
        self.step(inputs.Open(desk="d", epoch="0123456789ab", account="main"))
        self.step(inputs.Connected(can))
        self.step(inputs.Define(Instrument.of("X")))
        self.submit("buy", "10")
        self.carry_out(*self.calls.pop(), "done")

    def step(self, given: Input, *, later_ms: int = 1) -> None:
        self.now_ns += later_ms * NS_PER_MS
        effects = self.desk.step(given, self.now_ns).effects
        self.calls += [(self.now_ns, effect) for effect in effects]

    @precondition(lambda self: self.desk.next_number <= 3)
    @rule(side=st.sampled_from(["buy", "sell"]), quantity=sizes)
    def submit(self, side: str, quantity: str) -> None:
        request = OrderRequest(
            symbol="X", side=side, quantity=quantity, order_type="limit", limit_price="100"
        )
        self.step(inputs.Submit(request))

    @precondition(lambda self: self.desk.state.active)
    @rule(number=st.integers(1, 3))
    def cancel(self, number: int) -> None:
        order = self.desk.order(number)
        if order is not None and not order.is_terminal:
            self.wanted_gone.add(number)
            self.step(inputs.Cancel(client_order_id=order.client_order_id))

    @precondition(lambda self: self.desk.state.active)
    @rule(
        number=st.integers(1, 3), quantity=st.none() | sizes, price=st.sampled_from(["99", "101"])
    )
    def replace(self, number: int, quantity: str | None, price: str) -> None:
        order = self.desk.order(number)
        if order is not None:
            name = order.client_order_id
            self.step(inputs.Replace(client_order_id=name, quantity=quantity, limit_price=price))

    @precondition(lambda self: self.calls)
    @rule(pick=picks, how=st.sampled_from(["done", "done", "lost", "silent", "not_sent", "late"]))
    def deliver(self, pick: int, how: str) -> None:
        """A request arrives, is lost before or after it is done, or was never sent."""
        self.carry_out(*self.calls.pop(pick % len(self.calls)), how)

    def carry_out(self, sent_ns: int, effect: Effect, how: str) -> None:
        if self.now_ns > sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS:
            how = "lost"
        if isinstance(effect, LookupOrder):
            self.ask(effect, answered=how in {"done", "late"})
            return
        outcome: Outcome = Unknown(text="no answer")
        if how == "not_sent":
            outcome = NotSent(text="429")
        if self.now_ns > effect.not_after_ns:
            outcome = NotSent(text="too late")
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

    def ask(self, effect: LookupOrder, *, answered: bool) -> None:
        if answered:
            asked_ns = self.now_ns
            self.step(
                inputs.Looked(
                    number=effect.number,
                    attempt=effect.attempt,
                    asked_ns=asked_ns,
                    result=self.broker.look(effect),
                )
            )

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
    @rule(pick=picks, quantity=sizes, price=st.sampled_from(["99.5", "100", "100.25"]))
    def fill(self, pick: int, quantity: str, price: str) -> None:
        held = self.working()[pick % len(self.working())]
        self.broker.fill(held.broker_order_id, D(quantity), D(price))

    @precondition(lambda self: self.broker.trades)
    @rule(pick=picks)
    def bust(self, pick: int) -> None:
        """A trade of the newest broker order is taken back, and the word of it arrives."""
        traded = [held for held in self.broker.orders.values() if held.executions]
        if not traded or traded[-1].replaced_by or pick > 1:
            return
        held = traded[-1]
        self.broker.bust(held.broker_order_id, next(iter(held.executions)))
        self.step(inputs.Reported(self.broker.words.pop()))

    @precondition(lambda self: self.working())
    @rule(pick=picks, how=st.sampled_from([Status.CANCELED, Status.EXPIRED]))
    def end_unasked(self, pick: int, how: Status) -> None:
        if pick == 0:
            self.broker.end(self.working()[0].broker_order_id, how)

    @rule(wait_ms=st.sampled_from([1, 600, 2_500, 5_500, 12_000]))
    def wait(self, wait_ms: int) -> None:
        self.step(inputs.Tick(), later_ms=wait_ms)

    @rule(pick=picks)
    def poll_now_and_then(self, pick: int) -> None:
        if pick < 2:
            self.poll()

    def poll(self) -> None:
        shown, traded = self.broker.listing()
        self.step(
            inputs.Polled(asked_ns=self.now_ns, snapshots=shown, executions=traded, complete=True)
        )

    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        """The process dies; requests on their way arrive or do not, and nothing answers them."""
        if pick:
            return
        self.answers.clear()
        for sent_ns, effect in self.calls:
            arrives = self.now_ns <= sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS
            if arrives and not isinstance(effect, LookupOrder) and effect.number % 2:
                self.broker.call(effect)
        self.calls.clear()
        capabilities = self.desk.capabilities
        self.desk = Desk.load(self.desk.dump(), UNLIMITED)
        self.step(inputs.Connected(capabilities))
        self.step(inputs.Resume(wall_offset_ns=0))

    @invariant()
    def never_twice(self) -> None:
        """One wire id is at most one working broker order, and so is one order of ours (P2)."""
        owners = [self.desk.owner_of(held.wire_id) for held in self.working()]
        assert len(set(owners)) == len(owners)

    def teardown(self) -> None:
        """Let everything come to rest, then compare the books (P3)."""
        if self.desk.name:
            self.settle()
            self.compare()

    def settle(self) -> None:
        """Answer every question and carry out every request until nothing is open any more."""
        quiet = 0
        for _ in range(SETTLING_ROUNDS_MAX):
            while self.calls:
                self.carry_out(*self.calls.pop(0), "done")
            due = self.desk.next_deadline()
            if due is None:
                quiet += 1
                self.step(inputs.Tick(), later_ms=POLL_MS)
                self.poll()
            else:
                quiet = 0
                later = max(due, self.now_ns) - self.now_ns
                self.step(inputs.Tick(), later_ms=min(later // NS_PER_MS + 1, POLL_MS))
            if quiet == QUIET_POLLS and not self.calls:
                break
        else:
            raise AssertionError(f"still busy: {[o for o in self.orders() if not o.is_settled]}")

    def compare(self) -> None:
        position = ZERO
        for order in self.orders():
            chain = [
                held
                for held in self.broker.orders.values()
                if self.desk.owner_of(held.wire_id) == order.number
            ]
            traded = sum((held.own for held in chain), ZERO)
            assert order.filled_quantity == traded, "every execution counts exactly once"
            worth = sum((x.quantity * x.price for h in chain for x in h.executions.values()), ZERO)
            assert order.notional == worth
            position += traded if order.terms.side is Side.BUY else -traded
            working = [held for held in chain if held.is_working]
            assert order.is_exposed == bool(working), "what works there is known to work"
            if working:
                (held,) = working
                assert order.broker_order_id == held.broker_order_id
                total = (
                    held.quantity
                    if held.before or not self.broker.capabilities.new_id_on_replace
                    else held.quantity + traded - held.own
                )
                assert order.quantity == total
                assert order.number not in self.wanted_gone or not order.wanted_gone
            elif chain:
                assert order.status is not Status.FAILED
            assert not order.wishes
        found = self.desk.positions.get("X")
        assert (found.quantity if found else ZERO) == position

    def working(self) -> list[Held]:
        return [held for held in self.broker.orders.values() if held.is_working]

    def orders(self) -> list[Order]:
        numbers = range(1, self.desk.next_number)
        return [order for n in numbers if (order := self.desk.order(n)) is not None]


TestDeskMachine = DeskMachine.TestCase
TestDeskMachine.settings = hypothesis_settings(max_examples=300, stateful_step_count=40)
