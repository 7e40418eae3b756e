"""A desk fed by hand: the clock, the broker's words and the answers are given one by one.

`DeskDriver` steps a real desk, keeps every event and effect, and can fold the journal again. It
holds no opinion: nothing here decides what a report means.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import Effect, LookupOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.order import Order
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.positions import Position
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import (
    Accepted,
    Execution,
    LookupResult,
    Outcome,
    Report,
    ReportKind,
    Sighting,
    Snapshot,
)
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.domain.work import NS_PER_MS

EPOCH: Final = "0123456789ab"
START_NS: Final = 1_000 * NS_PER_MS
# Deadlines that one `advance` may pass; more of them is a desk that wakes for nothing.
WAKES_MAX: Final = 1_000

_DECODER: Final = msgspec.json.Decoder(e.AnyEvent)


class DeskDriver:
    """One desk with one account; amounts as Decimal or decimal strings, times in milliseconds.

    Orders are named by number, the first being 1. The broker's id of order n is `Bn` unless a
    call says otherwise; its reports are numbered in the order in which they are built.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        capabilities: Capabilities | None = None,
        instruments: Sequence[Instrument] = (Instrument.of("X"),),
        policies: Policies | None = None,
    ) -> None:
        """Open a desk named `d` in USD, connected to a broker with these capabilities.

        Without `policies` nothing is limited: a test names the limits that it is about.
        """
        policies = policies or Policies(limits=Limits.none())
        self.settings = msgspec.structs.replace(settings or Settings(), policies=policies)
        self.desk = Desk(self.settings)
        self.now_ns = START_NS
        self.events: list[e.AnyEvent] = []
        self.effects: list[Effect] = []
        self.reports: list[Report] = []
        self.sequence = 0
        self.step(inputs.Open(desk="d", epoch=EPOCH, account="main"))
        self.step(inputs.Connected(capabilities or Capabilities()))
        for instrument in instruments:
            self.step(inputs.Define(instrument))

    def step(self, given: inputs.Input, *, after_ms: int = 1) -> Decision:
        """Step the desk a little later and keep what it decided."""
        self.now_ns += after_ms * NS_PER_MS
        decision = self.desk.step(given, self.now_ns)
        self.events += decision.events
        self.effects += decision.effects
        return decision

    def advance(self, by_ms: int) -> list[Effect]:
        """Let time pass, ticking at every deadline on the way; return the effects."""
        until, before = self.now_ns + by_ms * NS_PER_MS, len(self.effects)
        for _ in range(WAKES_MAX):
            due = self.desk.next_deadline()
            if due is None or due > until:
                break
            self.now_ns = max(due, self.now_ns)
            self.tick()
        else:
            raise RuntimeError(f"the desk woke {WAKES_MAX} times within {by_ms} ms")
        self.now_ns = max(until, self.now_ns)
        self.tick()
        return self.effects[before:]

    def tick(self) -> None:
        """Tell the desk what time it is."""
        self.step(inputs.Tick(), after_ms=0)

    def submit(self, side: str = "buy", quantity: object = "10", **terms: Any) -> Order:
        """Submit an order, a limit order at 100 unless told otherwise; raise its refusal."""
        wanted: dict[str, Any] = {"symbol": "X", "side": side, "quantity": quantity}
        if terms.get("order_type", "limit") == "limit":
            wanted |= {"order_type": "limit", "limit_price": "100"}
        decision = self.step(inputs.Submit(OrderRequest(**(wanted | terms))))
        if decision.error is not None:
            raise decision.error
        return self.order(decision.number)

    def opened(self, side: str = "buy", quantity: object = "10", **terms: Any) -> Order:
        """Submit an order that the broker accepts."""
        number = self.submit(side, quantity, **terms).number
        self.answer(Accepted(broker_order_id=f"B{number}"), number=number)
        return self.order(number)

    def cancel(self, number: int = 1) -> Decision:
        """Ask for an order to be gone."""
        return self.step(inputs.Cancel(client_order_id=self.order(number).client_order_id))

    def replace(self, number: int = 1, **terms: Any) -> Decision:
        """Ask for other terms."""
        name = self.order(number).client_order_id
        return self.step(inputs.Replace(client_order_id=name, **terms))

    def answer(
        self, outcome: Outcome, *, number: int = 1, wish: int = 0, attempt: int | None = None
    ) -> Decision:
        """Say how a request ended, by default its newest attempt."""
        if attempt is None:
            asked = self.order(number).wish(wish)
            attempt = asked.attempt if asked is not None else 1
        return self.step(inputs.Answer(number=number, wish=wish, attempt=attempt, outcome=outcome))

    def report(self, kind: ReportKind | str, *, number: int = 1, **fields: Any) -> Report:
        """Build a report about an order, with the next sequence number."""
        self.sequence += 1
        told: dict[str, Any] = {
            "wire_id": self.wire_id(number),
            "broker_order_id": f"B{number}",
            "sequence": self.sequence,
        }
        report = Report(kind=ReportKind(kind), **(told | fields))
        self.reports.append(report)
        return report

    def say(self, kind: ReportKind | str, *, number: int = 1, **fields: Any) -> Decision:
        """Let the broker's stream report something about an order."""
        return self.step(inputs.Reported(self.report(kind, number=number, **fields)))

    def hear(self, report: Report) -> Decision:
        """Deliver a report that was built before."""
        return self.step(inputs.Reported(report))

    def trade(
        self,
        execution_id: str,
        quantity: object,
        price: object = "100",
        *,
        number: int = 1,
        fee: object = None,
        fee_currency: str = "",
        **fields: Any,
    ) -> Decision:
        """Let the stream report an execution."""
        traded = execution(execution_id, quantity, price, fee=fee, fee_currency=fee_currency)
        return self.say("trade", number=number, execution=traded, **fields)

    def bust(self, execution_ref: str, *, number: int = 1, **fields: Any) -> Decision:
        """Let the stream take an execution back."""
        return self.say("trade_cancel", number=number, execution_ref=execution_ref, **fields)

    def correct(
        self,
        execution_ref: str,
        new_id: str,
        quantity: object,
        price: object = "100",
        *,
        number: int = 1,
        fee: object = None,
        fee_currency: str = "",
        **fields: Any,
    ) -> Decision:
        """Let the stream give an execution new terms."""
        version = execution(new_id, quantity, price, fee=fee, fee_currency=fee_currency)
        return self.say(
            "trade_correct",
            number=number,
            execution_ref=execution_ref,
            execution=version,
            **fields,
        )

    def snapshot(self, number: int = 1, **fields: Any) -> Snapshot:
        """Build what the broker shows of an order when asked: by default that it is open."""
        told: dict[str, Any] = {
            "wire_id": self.wire_id(number),
            "broker_order_id": f"B{number}",
            "status": Status.OPEN,
        }
        fields = {k: Decimal(v) if k in _AMOUNTS else v for k, v in fields.items()}
        shown = Snapshot(**(told | fields))
        return msgspec.structs.replace(shown, word=shown.word or str(shown.status or "alive"))

    def poll(
        self,
        *snapshots: Snapshot,
        executions: Sequence[tuple[str, str, Execution]] = (),
        complete: bool = False,
        asked_ms_ago: int = 0,
    ) -> Decision:
        """Deliver a list of orders, asked just before it arrives unless told otherwise."""
        self.now_ns += NS_PER_MS
        polled = inputs.Polled(
            asked_ns=self.now_ns - asked_ms_ago * NS_PER_MS,
            snapshots=snapshots,
            executions=tuple(executions),
            complete=complete,
        )
        return self.step(polled, after_ms=0)

    def look(
        self,
        *found: Snapshot | Sighting,
        number: int = 1,
        complete: bool = True,
        asked_ms_ago: int = 0,
    ) -> Decision:
        """Answer the question that is being asked about an order."""
        asked = self.asked(number)
        sightings = tuple(Sighting(snapshot=s) if isinstance(s, Snapshot) else s for s in found)
        self.now_ns += NS_PER_MS
        looked = inputs.Looked(
            number=number,
            attempt=asked.attempt,
            asked_ns=self.now_ns - asked_ms_ago * NS_PER_MS,
            result=LookupResult(sightings=sightings, complete=complete),
        )
        return self.step(looked, after_ms=0)

    def asked(self, number: int = 1) -> LookupOrder:
        """Return the newest question about an order."""
        for effect in reversed(self.effects):
            if isinstance(effect, LookupOrder) and effect.number == number:
                return effect
        raise LookupError(f"nothing was ever asked about order {number}")

    def quote(
        self,
        bid: object = None,
        ask: object = None,
        last: object = None,
        *,
        symbol: str = "X",
    ) -> Decision:
        """Let a quote arrive."""
        self.now_ns += NS_PER_MS
        prices = [None if price is None else Decimal(str(price)) for price in (bid, ask, last)]
        quote = Quote(
            symbol=symbol, bid=prices[0], ask=prices[1], last=prices[2], at_ns=self.now_ns
        )
        return self.step(inputs.Quoted((quote,)), after_ms=0)

    def order(self, number: int = 1) -> Order:
        """Return an order in memory."""
        order = self.desk.order(number)
        if order is None:
            raise LookupError(f"order {number} is not in memory")
        return order

    def wire_id(self, number: int = 1, wish: int = 0) -> str:
        """Return the wire id of an order, or of a later request about it."""
        return f"{EPOCH}-d-{number}" + (f"~{wish}" if wish else "")

    def position(self, symbol: str = "X") -> Position:
        """Return the desk's position in a symbol; an empty one where it never traded."""
        return self.desk.positions.get(symbol) or Position(symbol=symbol)

    def anomalies(self) -> list[str]:
        """Return the codes of all anomalies so far."""
        return [event.code for event in self.events if isinstance(event, e.AnomalyRecorded)]

    def kinds(self) -> list[str]:
        """Return the kinds of all events so far."""
        return [e.KINDS[type(event)] for event in self.events]

    def refolded(self) -> Desk:
        """Fold the whole history, through JSON and back, into a fresh desk without settings."""
        desk = Desk()
        for event in self.events:
            desk.apply(_DECODER.decode(msgspec.json.encode(event)))
        return desk


_AMOUNTS: Final = {"order_quantity", "cumulative", "average_price", "limit_price", "stop_price"}


def execution(
    execution_id: str,
    quantity: object,
    price: object = "100",
    *,
    fee: object = None,
    fee_currency: str = "",
    stamp_ns: int = 0,
) -> Execution:
    """Build an execution from decimal strings."""
    return Execution(
        execution_id=execution_id,
        quantity=Decimal(str(quantity)),
        price=Decimal(str(price)),
        fee=None if fee is None else Decimal(str(fee)),
        fee_currency=fee_currency,
        stamp_ns=stamp_ns,
    )
