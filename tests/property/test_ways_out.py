"""Getting out is never blocked: whatever policies say, cancels and permitted exits pass (P7)."""

from decimal import Decimal as D
from typing import Any

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision
from holdfast.domain.effects import CancelOrder, LookupOrder, SubmitOrder
from holdfast.domain.order import Order
from holdfast.domain.policies import BreakerRules, Limits, Policies, StaleRules
from holdfast.domain.reports import (
    Accepted,
    NotSent,
    Outcome,
    RefusalCode,
    Refused,
    Unknown,
)
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import ZERO, Side, add, sub
from holdfast.domain.wish import Stage, WishKind
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import OrderRefused
from holdfast.testing.builders import DeskDriver

HELD = 20

picks = st.integers(0, 7)
sizes = st.integers(1, 6)
sides = st.sampled_from(["buy", "sell"])
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        Refused(text="no money", code=RefusalCode.INSUFFICIENT_FUNDS),
        Refused(text="no"),
        NotSent(text="429", retry_after_ms=2_000),
        Unknown(text="timeout"),
    ]
)


def tightest(small: D) -> Limits:
    """Limits under which no entry passes, or next to none."""
    return Limits(
        order_quantity_max=small,
        order_notional_max=small,
        position_max=small,
        gross_exposure_max=small,
        open_orders_max=1,
        orders_per_minute_max=1,
        orders_per_day_max=1,
        price_collar_pct=small,
        daily_loss_max=small,
        capital=small,
        look_alike=True,
    )


class WaysOutMachine(RuleBasedStateMachine):
    """A desk that holds a position, under policies that forbid everything else."""

    @initialize(
        long=st.booleans(),
        small=st.sampled_from([D("0.01"), D(1), D(1_000)]),
        limit_only=st.booleans(),
        by_wire_id=st.booleans(),
        entries=st.integers(0, 3),
    )
    def open(self, long: bool, small: D, limit_only: bool, by_wire_id: bool, entries: int) -> None:
        self.bench = DeskDriver(capabilities=Capabilities(cancel_by_wire_id=by_wire_id))
        self.held = HELD if long else -HELD
        balance = inputs.SetOpeningBalance(symbol="X", quantity=self.held, price="100")
        self.bench.step(balance)
        for number in range(1, entries + 1):
            self.bench.submit("buy" if long else "sell", "3", limit_price=str(90 + number))
        policies = Policies(
            profile="limit_only" if limit_only else "full",
            limits=tightest(small),
            breaker=BreakerRules(failures_max=1),
            stale=StaleRules(after_ms=5_000),
        )
        desk = self.bench.desk
        desk.settings = msgspec.structs.replace(desk.settings, policies=policies)

    def pick(self, number: int, orders: list[Order]) -> Order:
        return orders[number % len(orders)]

    def active(self) -> list[Order]:
        return list(self.bench.desk.active())

    @rule(side=sides, quantity=sizes)
    def enter(self, side: str, quantity: int) -> None:
        request = OrderRequest(
            symbol="X", side=side, quantity=quantity, order_type="limit", limit_price="95"
        )
        self.bench.step(inputs.Submit(request))

    @precondition(lambda self: self.active())
    @rule(pick=picks, outcome=outcomes | st.just(None))
    def answer(self, pick: int, outcome: Outcome | None) -> None:
        order = self.pick(pick, self.active())
        waiting = [wish for wish in order.wishes if wish.stage is Stage.WAITING]
        if waiting:
            wish = waiting[0]
            taken = Accepted(broker_order_id=f"B{order.number}", final=True)
            self.bench.answer(outcome or taken, number=order.number, wish=wish.wish)

    @precondition(lambda self: self.active())
    @rule(pick=picks, quantity=sizes, price=st.sampled_from(["1", "90", "200"]))
    def trade(self, pick: int, quantity: int, price: str) -> None:
        order = self.pick(pick, self.active())
        traded = min(D(quantity), order.open_quantity)
        if traded:
            self.bench.trade(f"e{self.bench.sequence}", traded, price, number=order.number)

    @precondition(lambda self: self.active())
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        order = self.pick(pick, self.active())
        if order.is_working:
            self.bench.say("canceled", number=order.number)

    @rule(price=st.integers(1, 300))
    def quote(self, price: int) -> None:
        self.bench.quote(price, price + 1)

    @rule(action=st.sampled_from(["cancel", "flatten", "release"]))
    def switch(self, action: Any) -> None:
        if action == "release":
            self.bench.step(inputs.ReleaseKillSwitch(by="ann", reason="over"))
        else:
            self.bench.step(inputs.EngageKillSwitch(by="ann", reason="halt", action=action))

    @rule()
    def flatten(self) -> None:
        self.bench.step(inputs.Flatten(symbol="X", by="ann", reason="out"))

    @rule(by_ms=st.sampled_from([10, 1_000, 10_000, 100_000]))
    def wait(self, by_ms: int) -> None:
        self.bench.advance(by_ms)

    @precondition(lambda self: self.active())
    @rule(pick=picks)
    def cancel_gets_out(self, pick: int) -> None:
        order = self.pick(pick, self.active())
        before = len(self.bench.effects)
        decision = self.bench.cancel(order.number)
        assert decision.error is None
        if not self.is_being_cancelled(order.number, before):
            self.let_pass_what_it_waits_for(order.number)
            assert self.is_being_cancelled(order.number, before)

    def is_being_cancelled(self, number: int, before: int) -> bool:
        """Tell whether a cancel is out, or came too late, or was not needed."""
        order = self.bench.order(number)
        sent = any(
            isinstance(effect, CancelOrder) and effect.number == number
            for effect in self.bench.effects[before:]
        )
        out = any(wish.kind is WishKind.CANCEL and wish.is_out for wish in order.wishes)
        return sent or out or (order.is_terminal and order.alive is None)

    def let_pass_what_it_waits_for(self, number: int) -> None:
        """Answer the submit or what asks for it, or let pass the time that the broker named."""
        order = self.bench.order(number)
        assert order.wishes, "nothing is on its way that a cancel could wait for"
        submit, cancel = order.wish(0), order.wishes[-1]
        if cancel.stage is Stage.DELAYED:
            self.bench.advance((cancel.due_ns - self.bench.now_ns) // NS_PER_MS + 1)
            return
        assert submit is not None
        if submit.stage is Stage.WAITING:
            self.bench.answer(Accepted(broker_order_id=f"B{number}"), number=number)
        elif any(isinstance(e, LookupOrder) and e.number == number for e in self.bench.effects):
            self.bench.look(self.bench.snapshot(number), number=number)

    @rule(size=st.integers(1, HELD), flagged=st.booleans(), price=st.integers(1, 300))
    def exit_gets_out(self, size: int, flagged: bool, price: int) -> None:
        side, closable = self.closable(flagged=flagged)
        if closable < 1:
            return
        quantity = min(D(size), closable)
        decision = self.submit_exit(side, quantity, price, reduce_only=flagged)
        assert decision.error is None, decision.error
        if decision.repeat:
            self.is_the_same_again(decision.number, side, quantity, price)
            return
        assert self.bench.order(decision.number).reducing
        assert any(
            isinstance(effect, SubmitOrder) and effect.number == decision.number
            for effect in decision.effects
        )

    @rule(more=st.integers(1, 5), price=st.integers(1, 300))
    def exit_beyond_the_position_needs_force(self, more: int, price: int) -> None:
        side, closable = self.closable(flagged=True)
        quantity = max(closable, ZERO) + more
        decision = self.submit_exit(side, quantity, price, reduce_only=True)
        if decision.repeat:
            self.is_the_same_again(decision.number, side, quantity, price)
            return
        assert isinstance(decision.error, OrderRefused)
        assert decision.error.code == "REDUCE_ONLY_EXCEEDED"

    @rule(more=st.integers(1, 2))
    def force_overrules(self, more: int) -> None:
        side, closable = self.closable(flagged=True)
        if not self.bench.position().quantity:
            return
        quantity = max(closable, ZERO) + more
        decision = self.submit_exit(side, quantity, 100, reduce_only=True, force=True)
        assert decision.error is None, decision.error

    def is_the_same_again(self, number: int, side: Side, quantity: D, price: int) -> None:
        """What is answered with an earlier exit asks for that one, and nobody withdraws it."""
        order = self.bench.order(number)
        assert order.reducing
        assert order.is_exposed
        assert not order.wanted_gone
        same = (order.terms.side, order.quantity, order.terms.limit_price)
        assert same == (side, quantity, price)

    def submit_exit(self, side: Side, quantity: D, price: int, **flags: Any) -> Decision:
        request = OrderRequest(
            symbol="X",
            side=side,
            quantity=quantity,
            order_type="limit",
            limit_price=price,
            **flags,
        )
        return self.bench.step(inputs.Submit(request))

    def closable(self, *, flagged: bool) -> tuple[Side, D]:
        """Count naively what may still be closed; an unflagged exit shares it with all others."""
        held = self.bench.position().quantity
        side, rest = (Side.SELL if held > 0 else Side.BUY), abs(held)
        for order in self.bench.desk.orders():
            counts = order.terms.reduce_only or order.reducing or not flagged
            if counts and order.terms.side is side:
                rest = sub(rest, order.most_open)
        return side, rest

    def teardown(self) -> None:
        filled = [order.signed_filled for order in self.bench.desk.orders()]
        assert self.bench.position().quantity == add(D(self.held), sum(filled, start=ZERO))


TestWaysOut = WaysOutMachine.TestCase
TestWaysOut.settings = hypothesis_settings(max_examples=60, stateful_step_count=25)
