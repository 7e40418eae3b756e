"""The comparison of the books: clean when both agree, and every way in which it must not be."""

import copy
from collections import Counter
from decimal import Decimal as D

import msgspec
import pytest

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, SubmitOrder
from holdfast.domain.events import AnyEvent, OrderFilled
from holdfast.domain.inputs import Input
from holdfast.domain.reports import Execution, NotSent, Outcome, Report, ReportKind, Unknown
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import Status
from holdfast.trading.demo_check import Journaled, Verdict, compare
from holdfast.trading.demo_plan import ACCOUNT, DESK, FEES, INSTRUMENT, SYMBOL
from holdfast.venue.paper import Venue

EPOCH = "0123456789ab"


class Pair:
    """A desk and a venue that hear each other, until a test comes between them."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.venue = Venue(fees=FEES)
        self.crowd = self.venue.add_listing(INSTRUMENT)
        self.venue.open_account(ACCOUNT, capabilities)
        self.venue.subscribe(ACCOUNT, self._heard)
        self.desk = Desk()
        self.events: list[AnyEvent] = []
        self.deaf = False
        self.now_ns = 0
        self.step(inputs.Open(desk=DESK, epoch=EPOCH, account=ACCOUNT))
        self.step(inputs.Define(INSTRUMENT))

    def step(self, given: Input) -> Decision:
        """Give the desk an input; what it wants done is not done."""
        self.now_ns += 1
        decision = self.desk.step(given, self.now_ns)
        assert decision.error is None, decision.error
        self.events += decision.events
        return decision

    def submit(self, side: str = "buy", quantity: int = 5, price: str = "99.95") -> int:
        """Place an order at both; returns its number."""
        decision = self.ask(side, quantity, price)
        effect = decision.effects[0]
        assert isinstance(effect, SubmitOrder)
        self.answer(decision, self.venue.submit(ACCOUNT, effect.wire_id, effect.terms, 1))
        return decision.number

    def ask(self, side: str = "buy", quantity: int = 5, price: str = "99.95") -> Decision:
        """Let the desk want an order, and the venue hear nothing of it."""
        return self.step(
            inputs.Submit(
                OrderRequest(
                    symbol=SYMBOL,
                    side=side,
                    quantity=quantity,
                    order_type="limit",
                    limit_price=price,
                )
            )
        )

    def answer(self, decision: Decision, outcome: Outcome) -> None:
        """Answer the submit or cancel that a decision wants."""
        effect = decision.effects[0]
        assert isinstance(effect, SubmitOrder | CancelOrder)
        self.step(
            inputs.Answer(
                number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
            )
        )

    def trade(self, lots: int, sign: int = -1) -> None:
        """Let the crowd sell (-1) or buy into the account's orders."""
        self.crowd.take(sign, lots)

    def verdict(self, *, problems: tuple[str, ...] = (), damage: tuple[str, ...] = ()) -> Verdict:
        """Compare both as a fresh fold of the desk's events has them."""
        desk, booked = Desk(), Counter[tuple[str, str]]()
        for event in self.events:
            desk.apply(event)
            if isinstance(event, OrderFilled) and not event.inferred:
                booked[event.broker_order_id, event.execution.execution_id] += 1
        ours = Journaled(desk=desk, booked=booked, records=len(self.events), problems=damage)
        return compare(ours, self.venue, ACCOUNT, problems)

    def _heard(self, report: Report) -> None:
        if not self.deaf:
            self.step(inputs.Reported(report))


def traded() -> Pair:
    """A pair that agrees: an order filled in two parts, one canceled, one at work, one short."""
    pair = Pair()
    pair.submit()
    pair.trade(2)
    pair.trade(3)
    second = pair.submit(price="99.94")
    order = pair.desk.order(second)
    assert order is not None
    pair.step(inputs.Cancel(client_order_id=order.client_order_id))
    pair.venue.cancel(ACCOUNT, broker_order_id=order.broker_order_id, now_ns=2)
    pair.submit("sell", 4, "100.05")
    pair.trade(1, sign=1)
    return pair


def test_books_that_agree_are_clean() -> None:
    """Nothing is lost, duplicated or different, and the line says so and no more."""
    verdict = traded().verdict()
    assert verdict.findings == ()
    assert verdict.is_clean
    assert verdict.line == "0 lost, 0 duplicated"
    rows = {row.name.strip(): (row.ours, row.venue) for row in verdict.rows}
    assert rows["orders"] == (3, 3)
    assert rows["fills"] == (3, 3)
    assert rows["position ACME"] == ("4", "4")
    # 5 bought at 99.95, 1 sold at 100.05, less three maker fees of half a basis point.
    assert rows["cash USD"] == ("-399.73", "-399.73")
    assert rows["fees USD"] == ("0.03", "0.03")


def test_an_execution_that_we_never_heard_of_is_lost() -> None:
    """A fill of the venue that is not in our journal counts as lost (scenario 85)."""
    pair = traded()
    pair.deaf = True
    pair.trade(1, sign=1)
    verdict = pair.verdict()
    assert verdict.lost == 1
    assert not verdict.is_clean
    assert "X-4" in verdict.findings[0]
    assert verdict.line.startswith("1 lost, 0 duplicated, ")


@pytest.mark.parametrize("wire_id", [f"{EPOCH}-{DESK}-9", "", "another-desk-1"])
def test_an_order_that_we_do_not_know_is_lost_with_its_executions(wire_id: str) -> None:
    """Whatever works on the account and is not in our books is found, whoever placed it."""
    pair = traded()
    pair.deaf = True
    terms = pair.desk.state.active[3].terms
    pair.venue.submit(ACCOUNT, wire_id, msgspec.structs.replace(terms, limit_price=D("100.04")), 9)
    pair.trade(2, sign=1)
    verdict = pair.verdict()
    assert verdict.lost == 2
    assert verdict.duplicated == 0


def test_a_second_venue_order_of_one_client_id_is_duplicated() -> None:
    """The venue has two orders where we wanted one (scenario 29)."""
    pair = Pair(Capabilities(unique_ids="none"))
    number = pair.submit()
    order = pair.desk.order(number)
    assert order is not None
    pair.deaf = True
    pair.venue.submit(ACCOUNT, order.wire_id, order.terms, 9)
    order.leg_for("V-2")
    verdict = pair.verdict()
    assert verdict.lost == 1  # its number is not in our books either
    assert compare_folded(pair).duplicated == 1


def compare_folded(pair: Pair) -> Verdict:
    """Compare the pair's own desk, changed as a test wants it."""
    ours = Journaled(desk=pair.desk, booked=Counter(), records=0, problems=())
    return compare(ours, pair.venue, ACCOUNT)


def test_an_execution_that_was_booked_twice_is_duplicated() -> None:
    """The journal holds one execution two times (scenario 8)."""
    pair = traded()
    fill = next(event for event in pair.events if isinstance(event, OrderFilled))
    pair.events.append(copy.copy(fill))
    verdict = pair.verdict()
    assert verdict.duplicated == 1
    assert not verdict.is_clean


def test_an_execution_that_the_venue_never_had_is_a_difference() -> None:
    """What we have and the venue has not is neither lost nor duplicated, and fails all the same."""
    pair = traded()
    pair.step(
        inputs.Reported(
            Report(
                kind=ReportKind.TRADE,
                broker_order_id="V-3",
                execution=Execution(execution_id="X-99", quantity=D(1), price=D("100.05")),
            )
        )
    )
    verdict = pair.verdict()
    assert (verdict.lost, verdict.duplicated) == (0, 0)
    assert any("X-99" in finding for finding in verdict.findings)
    assert verdict.line.startswith("0 lost, 0 duplicated, ")
    assert verdict.line.endswith(" other differences")


def test_an_execution_with_other_figures_is_a_difference() -> None:
    """Quantity, price and fee of each execution are compared, not only their number."""
    pair = traded()
    leg = pair.desk.state.active[3].legs[0]
    leg.executions["X-3"] = msgspec.structs.replace(leg.executions["X-3"], price=D("100.06"))
    verdict = compare_folded(pair)
    assert verdict.others == 1
    assert "100.06" in verdict.findings[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", Status.CANCELED),
        ("filled_quantity", D(2)),
        ("notional", D("100.06")),
        ("quantity", D(5)),
        ("fees", {"USD": D("0.02")}),
    ],
)
def test_each_figure_of_an_order_is_compared(field: str, value: object) -> None:
    """One order that stands otherwise here than at the venue is named."""
    pair = traded()
    setattr(pair.desk.state.active[3], field, value)
    findings = compare_folded(pair).findings
    assert any(EPOCH in finding and "at the venue" in finding for finding in findings)


def test_a_position_that_differs_is_a_difference() -> None:
    """What all orders came to is compared as well: position, cash and fees."""
    pair = traded()
    pair.desk.positions[SYMBOL].book.quantity = D(5)
    assert compare_folded(pair).findings == ("position ACME: 5 here, 4 at the venue",)


def test_an_order_of_unknown_outcome_that_the_venue_has_not_is_a_difference() -> None:
    """Our books must not end with an order that nobody knows about."""
    pair = traded()
    pair.answer(pair.ask(), Unknown(text="no answer"))
    assert pair.verdict().others == 1


def test_an_order_that_provably_never_left_is_no_difference() -> None:
    """A failed order is in our books alone, and rightly so."""
    pair = traded()
    decision = pair.ask()
    refused = NotSent(text="429", retry_after_ms=10_000_000)
    pair.answer(decision, refused)
    failed = pair.desk.state.peek(decision.number)
    assert failed is not None
    assert failed.status is Status.FAILED
    assert pair.verdict().is_clean


def test_what_was_noticed_elsewhere_counts() -> None:
    """A damaged journal, or a request that went out unjournaled, is never a clean end."""
    pair = traded()
    assert pair.verdict(problems=("it gave up",)).line == "0 lost, 0 duplicated, 1 other difference"
    assert not pair.verdict(damage=("record 7 is missing",)).is_clean
