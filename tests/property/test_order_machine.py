"""Anything at any time: commands, reports, answers, lookups and ticks, in any order, and absurd."""

from decimal import Decimal as D
from typing import Any

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    NotSent,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
    Unknown,
)
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Condition, Side, Status
from holdfast.domain.work import NS_PER_MS

EVENTS_PER_STEP_MAX = 40
CAUSES = (e.OrderSubmitted, e.WishSent, e.LookupStarted)
# All that may follow a refusal: its record, and a look at the exits that a refused exit waits for.
REFUSED = (e.RefusalRecorded, e.LookupStarted)
DECODER = msgspec.json.Decoder(e.AnyEvent)

numbers = st.sampled_from([1, 1, 1, 2, 2, 3])
amounts = st.sampled_from(["1", "2", "3", "4", "5", "7", "10", "0.5"])
ABSURD = ["NaN", "sNaN", "Infinity", "-Infinity", "1e400", "-3", "0", "-0", "1e-30", "1E+13"]
figures = st.sampled_from(["1", "2", "3", "4", "5", "7", "8", "10", "0.5"] * 25 + ABSURD).map(D)
prices = st.sampled_from(["99.5", "100", "101.25"] * 90 + ABSURD).map(D)
stamps = st.sampled_from([0] * 60 + [1, 2, 3, 5, 8] * 8 + [-1, 10**30])
optional = st.none() | figures
broker_ids = st.sampled_from(["B", "B", "B", "", "C"])
outcomes = st.one_of(
    st.builds(
        Accepted,
        broker_order_id=st.sampled_from(["", "B1", "B2", "C1"]),
        final=st.booleans(),
        stamp_ns=stamps,
    ),
    st.builds(Refused, text=st.just("no"), code=st.sampled_from(RefusalCode)),
    st.builds(
        NotSent, text=st.just("429"), retry_after_ms=st.sampled_from([0, 700, 10**9, -5, 10**25])
    ),
    st.builds(Unknown, text=st.just("timeout")),
)
waits_ms = st.sampled_from([0, 1, 500, 1_000, 2_000, 5_000, 12_000, 60_000, 3_600_000])
executions = st.builds(
    Execution,
    execution_id=st.sampled_from(["e1", "e2", "e3", "e4", ""]),
    quantity=figures,
    price=prices,
    fee=st.none() | st.sampled_from([D("0.1"), D("-0.2"), D("NaN")]),
    fee_currency=st.sampled_from(["USD", "X"]),
)


@st.composite
def snapshots(draw: Any) -> Snapshot:
    """Any line of a list of orders."""
    number = draw(numbers)
    broker = draw(broker_ids)
    return Snapshot(
        broker_order_id=f"{broker}{number}" if broker else "",
        wire_id=draw(
            st.sampled_from([f"0123456789ab-d-{number}", f"0123456789ab-d-{number}~1", ""])
        ),
        status=draw(st.sampled_from([None, *Status])),
        word="said",
        pending=draw(st.sampled_from(["", "", "cancel", "replace", "new"])),
        condition=draw(st.sampled_from(Condition)),
        order_quantity=draw(optional),
        cumulative=draw(optional),
        average_price=draw(st.none() | prices),
        limit_price=draw(st.none() | prices),
        replaced_by=draw(st.sampled_from(["", "", "", f"C{number}"])),
        stamp_ns=draw(stamps),
        sequence=draw(stamps),
    )


@st.composite
def reports(draw: Any, kinds: Any) -> Report:
    """Any message of a stream, of one of these kinds."""
    number = draw(numbers)
    broker = draw(broker_ids)
    wish = draw(st.sampled_from(["", "", "~1", "~2"]))
    ours = f"0123456789ab-d-{number}"
    kind = draw(kinds)
    return Report(
        kind=kind,
        wire_id=draw(st.sampled_from([f"{ours}{wish}"] * 8 + ["", "elsewhere-1"])),
        orig_wire_id=draw(st.sampled_from(["", ours])),
        broker_order_id=f"{broker}{number}" if broker else "",
        report_id=draw(st.sampled_from(["", "", "", "r1", "r2"])),
        execution=draw(executions if kind in MONEY else st.none()),
        execution_ref=draw(st.sampled_from(["e1", "e1", "e2", "e3", "e4", "e9", ""])),
        order_quantity=draw(st.none() | optional),
        cumulative=draw(st.none() | optional),
        full=draw(st.integers(0, 9)) == 9,
        limit_price=draw(st.none() | st.none() | prices),
        code=draw(st.sampled_from(RefusalCode)),
        stamp_ns=draw(stamps),
        sequence=draw(stamps),
    )


MONEY = {ReportKind.TRADE, ReportKind.TRADE_CORRECT, ReportKind.TRADE_CANCEL}
traded = reports(st.just(ReportKind.TRADE))
amended = reports(st.sampled_from([ReportKind.TRADE_CORRECT, ReportKind.TRADE_CANCEL]))
told = reports(st.sampled_from([kind for kind in ReportKind if kind not in MONEY]))


def prices_of(order: Order) -> list[D]:
    """The limit price of an order that has one, and those that replaces on their way ask for."""
    if order.terms.limit_price is None:
        return []
    wished = [wish.limit_price for wish in order.wishes if wish.limit_price is not None]
    return [order.terms.limit_price, *wished]


def cost_of(order: Order) -> D:
    """What an entry may cost: all that may be booked, at the highest price in force or wished."""
    return order.most_open * max([ZERO, *prices_of(order)])


class OrderMachine(RuleBasedStateMachine):
    """A desk that is told anything; whatever it makes of it, the books and the replay agree."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(Settings(policies=Policies(limits=Limits.none())))
        self.shadow = Desk()
        self.now_ns = 1_000 * NS_PER_MS
        self.heard: list[Report] = []
        self.events: list[e.AnyEvent] = []
        self.may_send: dict[int, bool] = {}
        self.client_ids: set[str] = set()
        self.asked: dict[int, LookupOrder] = {}

    @initialize(
        unique=st.sampled_from(["forever", "while_open", "none"]),
        new_ids=st.booleans(),
        carries=st.booleans(),
        by_wire_id=st.booleans(),
    )
    def open(self, unique: Any, new_ids: bool, carries: bool, by_wire_id: bool) -> None:
        self.step(inputs.Open(desk="d", epoch="0123456789ab", account="main"))
        self.step(
            inputs.Connected(
                Capabilities(
                    unique_ids=unique,
                    new_id_on_replace=new_ids,
                    replace_carries_fills=carries,
                    cancel_by_wire_id=by_wire_id,
                )
            )
        )
        self.step(inputs.Define(Instrument.of("X", lot="0.5", base="X")))
        for side in ("buy", "sell"):
            self.submit(side, "10", "", "", "limit", reduce_only=False)

    def step(self, given: inputs.Input, *, later_ms: int = 1) -> Decision:
        """Step the desk and check all that holds for any step whatever."""
        self.now_ns += later_ms * NS_PER_MS
        before = self.desk.dump()
        decision = self.desk.step(given, self.now_ns)
        if decision.error is not None:
            assert all(isinstance(event, REFUSED) for event in decision.events)
        if not decision.events:
            assert self.desk.dump() == before, "no event, and yet something changed"
        assert len(decision.events) <= EVENTS_PER_STEP_MAX
        self.check_effects(decision)
        for event in decision.events:
            self.shadow.apply(DECODER.decode(msgspec.json.encode(event)))
        self.events += decision.events
        assert self.shadow.dump() == self.desk.dump(), "the replay differs from what happened"
        return decision

    def check_effects(self, decision: Decision) -> None:
        """Every effect follows from an event of the same step, in the same order."""
        causes = [event for event in decision.events if isinstance(event, CAUSES)]
        assert len(causes) == len(decision.effects)
        for cause, effect in zip(causes, decision.effects, strict=True):
            assert cause.number == effect.number
            if isinstance(effect, LookupOrder):
                assert isinstance(cause, e.LookupStarted)
                assert cause.attempt == effect.attempt
                self.asked[effect.number] = effect
                continue
            assert not isinstance(cause, e.LookupStarted)
            if isinstance(cause, e.WishSent):
                assert (cause.wish, cause.attempt) == (effect.wish, effect.attempt)
            if isinstance(effect, SubmitOrder):
                assert self.may_send.get(effect.number, True), "sent again without proof"
                self.may_send[effect.number] = False
                assert self.now_ns <= effect.not_after_ns
            elif isinstance(effect, CancelOrder | ReplaceOrder):
                assert self.now_ns <= effect.not_after_ns

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        quantity=amounts,
        name=st.sampled_from(["", "", "a", "b"]),
        key=st.sampled_from(["", "", "k"]),
        order_type=st.sampled_from(["limit", "market"]),
        reduce_only=st.booleans(),
    )
    def submit(
        self, side: str, quantity: str, name: str, key: str, order_type: str, reduce_only: bool
    ) -> None:
        request = OrderRequest(
            symbol="X",
            side=side,
            quantity=quantity,
            order_type=order_type,
            limit_price="100" if order_type == "limit" else None,
            client_order_id=name or None,
            idempotency_key=key or None,
            reduce_only=reduce_only,
        )
        decision = self.step(inputs.Submit(request))
        if decision.error is None and not decision.repeat:
            order = self.order(decision.number)
            assert order.client_order_id not in self.client_ids
            self.client_ids.add(order.client_order_id)

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        self.step(inputs.Cancel(client_order_id=self.name(number)))

    @rule(number=numbers, quantity=st.none() | amounts, price=st.none() | st.just("101"))
    def replace(self, number: int, quantity: str | None, price: str | None) -> None:
        self.step(
            inputs.Replace(client_order_id=self.name(number), quantity=quantity, limit_price=price)
        )

    @rule(number=numbers, verdict=st.sampled_from(["never_sent", "canceled", "look_again"]))
    def resolve(self, number: int, verdict: Any) -> None:
        self.step(
            inputs.Resolve(
                client_order_id=self.name(number), verdict=verdict, by="ann", reason="rang them"
            )
        )

    @rule(number=numbers, wish=st.integers(0, 3), attempt=st.integers(1, 3), outcome=outcomes)
    def answer(self, number: int, wish: int, attempt: int, outcome: Any) -> None:
        order = self.desk.order(number)
        submit = order.wish(0) if order is not None else None
        if isinstance(outcome, NotSent) and wish == 0 and submit and submit.attempt == attempt:
            self.may_send[number] = True
        self.step(inputs.Answer(number=number, wish=wish, attempt=attempt, outcome=outcome))

    @rule(report=traded, times=st.sampled_from([1, 1, 2]))
    def trade(self, report: Report, times: int) -> None:
        self.heard.append(report)
        for _ in range(times):
            self.step(inputs.Reported(report))

    @rule(report=amended)
    def amend(self, report: Report) -> None:
        self.heard.append(report)
        self.step(inputs.Reported(report))

    @rule(report=told)
    def tell(self, report: Report) -> None:
        self.heard.append(report)
        self.step(inputs.Reported(report))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.heard:
            self.step(inputs.Reported(data.draw(st.sampled_from(self.heard))))

    @rule(
        shown=st.lists(snapshots(), max_size=2),
        traded=st.lists(executions, max_size=1),
        number=numbers,
        complete=st.booleans(),
        asked_ms_ago=st.sampled_from([0, 1, 3_000]),
    )
    def poll(
        self,
        shown: list[Snapshot],
        traded: list[Execution],
        number: int,
        complete: bool,
        asked_ms_ago: int,
    ) -> None:
        self.step(
            inputs.Polled(
                asked_ns=self.now_ns - asked_ms_ago * NS_PER_MS,
                snapshots=tuple(shown),
                executions=tuple(("", f"B{number}", one) for one in traded),
                complete=complete,
            )
        )

    @rule(
        number=numbers,
        shown=st.lists(snapshots(), max_size=2),
        traded=st.lists(executions, max_size=2),
        complete=st.booleans(),
        all_executions=st.booleans(),
        asked_ms_ago=st.sampled_from([0, 1, 3_000]),
    )
    def look(
        self,
        number: int,
        shown: list[Snapshot],
        traded: list[Execution],
        complete: bool,
        all_executions: bool,
        asked_ms_ago: int,
    ) -> None:
        asked, order = self.asked.get(number), self.desk.order(number)
        if asked is None or order is None:
            return
        asked_ns = self.now_ns - asked_ms_ago * NS_PER_MS
        submit = order.wish(0)
        grace_ns = self.desk.settings.absence_grace_ms * NS_PER_MS
        if submit and complete and not shown and asked_ns >= submit.sent_ns + grace_ns:
            self.may_send[number] = True
        sightings = tuple(
            Sighting(snapshot=one, executions=tuple(traded), executions_complete=all_executions)
            for one in shown
        )
        result = LookupResult(sightings=sightings, complete=complete)
        self.step(
            inputs.Looked(number=number, attempt=asked.attempt, asked_ns=asked_ns, result=result)
        )

    @rule(wait_ms=waits_ms)
    def tick(self, wait_ms: int) -> None:
        self.step(inputs.Tick(), later_ms=wait_ms)
        due = self.desk.next_deadline()
        assert due is None or due > self.now_ns, "would tick again at once"

    @rule(resumed=st.booleans())
    def rest(self, resumed: bool) -> None:
        before = self.desk.dump()
        self.desk.rest()
        assert self.desk.dump() == before
        if resumed:
            capabilities = self.desk.capabilities
            self.desk = Desk.load(before, self.desk.settings)
            self.step(inputs.Connected(capabilities))
            self.step(inputs.Resume(wall_offset_ns=0))

    @invariant()
    def books_balance(self) -> None:
        total = ZERO
        for order in self.orders():
            assert order.filled_quantity == sum(
                (
                    one.quantity
                    for leg in order.legs
                    for one in (*leg.executions.values(), *leg.waiting.values())
                ),
                ZERO,
            )
            assert order.filled_quantity == sum((leg.counted for leg in order.legs), ZERO)
            assert order.filled_quantity >= 0
            assert order.open_quantity >= 0
            signed = (
                order.filled_quantity if order.terms.side is Side.BUY else -order.filled_quantity
            )
            total += signed - order.fees.get("X", ZERO)
        position = self.desk.positions.get("X")
        assert (position.quantity if position else ZERO) == total

    @invariant()
    def no_execution_is_booked_twice(self) -> None:
        """The key of an execution is its order, the broker's order and the broker's id for it."""
        booked = [
            (event.number, event.broker_order_id, event.execution.execution_id)
            for event in self.events
            if isinstance(event, e.OrderFilled) and not event.inferred
        ]
        assert len(booked) == len(set(booked))

    @invariant()
    def what_is_open_is_what_a_recount_gives(self) -> None:
        """The index over open orders, kept up event by event, is no more than a sum over them."""
        for side in Side:
            index = self.desk.state.exposure.of("X", side)
            orders = [order for order in self.orders() if order.terms.side is side]
            exits = [order for order in orders if order.terms.reduce_only or order.reducing]
            entries = [order for order in orders if order not in exits]
            resting = self.desk.state.resting.of("X", side)
            open_now = {order.number: order for order in orders if order.is_exposed}
            assert resting.orders == open_now
            nearest = max if side is Side.BUY else min
            known = [price for each in open_now.values() for price in prices_of(each)]
            best = resting.best()
            assert (best and nearest(prices_of(best))) == (nearest(known) if known else None)
            assert index.quantity == sum((order.most_open for order in orders), ZERO)
            assert index.exits == sum((order.most_open for order in exits), ZERO)
            assert index.value == sum((cost_of(order) for order in entries), ZERO)

    def orders(self) -> list[Order]:
        state = self.desk.state
        return [order for n in range(1, self.desk.next_number) if (order := state.peek(n))]

    def order(self, number: int) -> Order:
        order = self.desk.order(number)
        assert order is not None
        return order

    def name(self, number: int) -> str:
        order = self.desk.order(number)
        return order.client_order_id if order is not None else f"missing-{number}"


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = hypothesis_settings(max_examples=160, stateful_step_count=35)
