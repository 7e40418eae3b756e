"""Orders for benchmarks: the same ones in every run, put into a desk as an engine would.

A broker's reports here carry what most brokers send: an execution with its fee and time, the
cumulative figure and a sequence. Every id is a string of its own, as after parsing.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.events import AnyEvent
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Accepted, Execution, Refused, Report, ReportKind
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings

DESK: Final = "bench"
ACCOUNT: Final = "paper"
EPOCH: Final = "0123456789ab"
# A Monday in 2026; only differences of times matter.
START_NS: Final = 1_767_623_400_000_000_000
STEP_NS: Final = 1_000
# Limit prices walk up and down this many ticks above 100.00.
TICKS: Final = 500
QUANTITY: Final = Decimal(10)
FILLS: Final = 2
# Nothing leaves memory, and of the default limits the one in the way is raised.
SETTINGS: Final = Settings(
    finished_orders_max=10**9, policies=Policies(limits=Limits(open_orders_max=10**6))
)


def symbols(count: int) -> list[str]:
    """Return so many names of instruments."""
    return [f"SYM{number}" for number in range(count)]


def request(
    number: int, symbol: str, quantity: int = 10, *, buys_only: bool = False
) -> OrderRequest:
    """Return the order of that number: odd ones buy, even ones sell, at a limit that wanders.

    Sales stay above all purchases: a desk would refuse an order that meets one of its own.
    """
    away = abs(number % (2 * TICKS) - TICKS)
    is_buy = bool(number % 2 or buys_only)
    return OrderRequest(
        symbol=symbol,
        side="buy" if is_buy else "sell",
        quantity=str(quantity),
        order_type="limit",
        limit_price=f"{(100 if is_buy else 110) + away // 100}.{away % 100:02d}",
        strategy="bench",
    )


def fill(
    wire_id: str,
    broker_order_id: str,
    *,
    sequence: int,
    quantity: Decimal,
    cumulative: Decimal,
    price: Decimal,
    at_ns: int,
) -> Report:
    """Return the report of one execution; its fee is a cent for each unit."""
    execution = Execution(
        execution_id=f"X-{broker_order_id}-{sequence}",
        quantity=quantity,
        price=price,
        fee=quantity.scaleb(-2),
        fee_currency="USD",
        stamp_ns=at_ns,
    )
    return Report(
        kind=ReportKind.TRADE,
        wire_id=wire_id,
        broker_order_id=broker_order_id,
        execution=execution,
        cumulative=cumulative,
        stamp_ns=at_ns,
        sequence=sequence,
    )


class Flow:
    """A desk and its orders; `heard`, where given, is handed the events of each step.

    With `buys_only` positions only grow.
    """

    def __init__(
        self,
        traded: list[str],
        *,
        settings: Settings | None = None,
        heard: Callable[[list[AnyEvent]], None] | None = None,
        buys_only: bool = False,
    ) -> None:
        self.desk = Desk(settings or SETTINGS)
        self.now_ns = START_NS
        self._symbols = traded
        self._heard = heard
        self._buys_only = buys_only
        self.step(inputs.Open(desk=DESK, epoch=EPOCH, account=ACCOUNT))
        self.step(inputs.Connected(Capabilities()))
        for symbol in traded:
            self.step(inputs.Define(Instrument.of(symbol)))

    @staticmethod
    def wire_id(number: int) -> str:
        """Return the id under which the broker knows an order."""
        return f"{EPOCH}-{DESK}-{number}"

    def step(self, given: inputs.Input) -> int:
        """Step the desk a microsecond later; returns the order's number for a command."""
        self.now_ns += STEP_NS
        decision = self.desk.step(given, self.now_ns)
        if decision.error is not None:
            raise decision.error
        if self._heard is not None:
            self._heard(decision.events)
        return decision.number

    def settle(self) -> None:
        """Tidy up between steps, as an engine does after each batch."""
        self.desk.rest()
        self.desk.next_deadline()

    def submit(self, quantity: int = 10) -> int:
        """Submit the next order."""
        number = self.desk.next_number
        symbol = self._symbols[number % len(self._symbols)]
        wanted = request(number, symbol, quantity, buys_only=self._buys_only)
        return self.step(inputs.Submit(wanted))

    def open(self, quantity: int = 10) -> int:
        """Submit the next order and let the broker accept it."""
        number = self.submit(quantity)
        accepted = Accepted(broker_order_id=f"B-{number}", stamp_ns=self.now_ns)
        self.step(inputs.Answer(number=number, wish=0, attempt=1, outcome=accepted))
        return number

    def refuse(self) -> None:
        """Submit the next order and let the broker refuse it: the shortest life of an order."""
        refused = Refused(text="insufficient buying power")
        self.step(inputs.Answer(number=self.submit(), wish=0, attempt=1, outcome=refused))

    def fill(self, number: int, sequence: int, quantity: Decimal) -> None:
        """Let an open order trade."""
        order = self.desk.order(number)
        assert order is not None
        assert order.terms.limit_price is not None
        report = fill(
            order.wire_id,
            f"B-{number}",
            sequence=sequence,
            quantity=quantity,
            cumulative=order.filled_quantity + quantity,
            price=order.terms.limit_price,
            at_ns=self.now_ns,
        )
        self.step(inputs.Reported(report))

    def trade(self) -> None:
        """Let the next order live its whole life: accepted, then filled in two halves."""
        number = self.open()
        for sequence in range(1, FILLS + 1):
            self.fill(number, sequence, QUANTITY / FILLS)
