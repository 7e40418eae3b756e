"""Desks as the link of their account sees them: they keep what they are told and decide nothing."""

from decimal import Decimal
from typing import Any, Final, TypeVar

from holdfast.clock import NS_PER_S
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Answer, Input, Reported
from holdfast.domain.reports import Outcome, Report
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Side
from holdfast.testing.builders import EPOCH
from holdfast.testing.world import START_NS, virtual_clock

_Said = TypeVar("_Said", bound=Input)

ALPHA: Final = f"{EPOCH}-alpha-"
BETA: Final = f"{EPOCH}-beta-"
SYMBOL: Final = "TSLA"
# How long an order and a change of one are good for, where a test does not say.
SUBMIT_WAIT_S: Final = 30.0
CHANGE_WAIT_S: Final = 5.0


class HearingPort:
    """A desk that stands still at time 0, and wants whatever it is asked for.

    `heard` is all that it was told, oldest first, `known` the broker orders that it owns, and
    `strange` those that the account has and nobody owns.
    """

    def __init__(self, prefix: str = ALPHA, *known: str) -> None:
        """Open a desk whose wire ids begin with a prefix."""
        self.prefix = prefix
        self.known = set(known)
        self.heard: list[Input] = []
        self.strange: list[str] = []
        self.has_room = True

    def now_ns(self) -> int:
        """Return the desk's time."""
        return 0

    def wants(self, number: int) -> bool:
        """Say that an order is still to be sent."""
        del number
        return True

    def owns(self, broker_order_id: str) -> bool:
        """Tell whether a broker order is one of `known`."""
        return broker_order_id in self.known

    def word(self, said: Input) -> None:
        """Keep what is said."""
        self.heard.append(said)

    def report(self, report: Reported) -> bool:
        """Keep a report, and say whether there is room for more."""
        self.heard.append(report)
        return self.has_room

    def unclaimed(self, broker_order_id: str, wire_id: str) -> None:
        """Keep the name of an order of nobody."""
        del wire_id
        self.strange.append(broker_order_id)

    def of(self, kind: type[_Said]) -> list[_Said]:
        """Return what was heard of a kind."""
        return [said for said in self.heard if isinstance(said, kind)]

    def reports(self) -> list[Report]:
        """Return what was reported, oldest first."""
        return [said.report for said in self.of(Reported)]

    def outcomes(self) -> list[Outcome]:
        """Return how the calls ended, in the order of their answers."""
        return [said.outcome for said in self.of(Answer)]


class CallingPort(HearingPort):
    """A desk on the virtual loop, which makes calls about orders for one unit of `SYMBOL`."""

    def now_ns(self) -> int:
        """Return the loop's time."""
        return START_NS + virtual_clock().boot_ns()

    def submit(
        self,
        number: int = 1,
        wait_s: float = SUBMIT_WAIT_S,
        *,
        role: str = "",
        reducing: bool = False,
        **terms: Any,
    ) -> SubmitOrder:
        """Return a call that places an order, good for so many seconds."""
        return SubmitOrder(
            number=number,
            wish=0,
            attempt=1,
            wire_id=f"{self.prefix}{number}",
            terms=_terms(**terms),
            not_after_ns=self._until(wait_s),
            role=role,
            reducing=reducing,
        )

    def cancel(self, number: int = 1, **fields: Any) -> CancelOrder:
        """Return a call that cancels an order."""
        return CancelOrder(**self._change(number), symbol=SYMBOL, **fields)

    def replace(self, number: int = 1, *, reducing: bool = False) -> ReplaceOrder:
        """Return a call that replaces an order by one like it."""
        return ReplaceOrder(
            **self._change(number), terms=_terms(), leaves_quantity=None, reducing=reducing
        )

    def lookup(self, number: int = 1) -> LookupOrder:
        """Return a question for an order."""
        return LookupOrder(
            number=number,
            attempt=1,
            symbol=SYMBOL,
            wire_ids=(f"{self.prefix}{number}",),
            broker_order_ids=(),
        )

    def _change(self, number: int) -> dict[str, Any]:
        wire_id = f"{self.prefix}{number}"
        return {
            "number": number,
            "wish": 1,
            "attempt": 1,
            "wire_id": f"{wire_id}~1",
            "orig_wire_id": wire_id,
            "broker_order_id": "",
            "not_after_ns": self._until(CHANGE_WAIT_S),
        }

    def _until(self, wait_s: float) -> int:
        return self.now_ns() + int(wait_s * NS_PER_S)


def _terms(**terms: Any) -> OrderTerms:
    return OrderTerms(symbol=SYMBOL, side=Side.BUY, quantity=Decimal(1), **terms)
