"""A desk that talks with a model broker: a test says what fills, what fails and how time passes.

`BrokeredDesk` carries out what the desk wants and tells it what the broker answers and reports,
until both are quiet. A test breaks single calls by their kind and the role of their order.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.group import Cause, Group
from holdfast.domain.instruments import signed
from holdfast.domain.order import Order
from holdfast.domain.reports import Accepted, LookupResult, Outcome, Unknown
from holdfast.domain.values import ZERO, Side, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.builders import DeskDriver
from holdfast.testing.model_broker import Held, ModelBroker

# Every kind of broker on which a stop and a target can guard the same units.
BROKER_KINDS: Final[Mapping[str, Capabilities]] = {
    "plain": Capabilities(),
    "no_replace": Capabilities(native_replace=False),
    "new_ids": Capabilities(new_id_on_replace=True),
    "counts_anew": Capabilities(new_id_on_replace=True, replace_carries_fills=False),
    "pairs": Capabilities(exits_share_quantity=False, native_oco=True),
    "pairs_no_replace": Capabilities(
        exits_share_quantity=False, native_oco=True, native_replace=False
    ),
    "brackets": Capabilities(native_bracket="per_fill"),
    "brackets_and_pairs": Capabilities(
        native_bracket="per_fill", exits_share_quantity=False, native_oco=True
    ),
    "late_brackets": Capabilities(
        native_bracket="after_full_fill", exits_share_quantity=False, native_oco=True
    ),
}
# Calls that one input may lead to; more of them is a desk that does not come to rest.
CALLS_MAX: Final = 1_000
_CALLS: Final = {SubmitOrder: "submit", CancelOrder: "cancel", ReplaceOrder: "replace"}


def both(quantity: object) -> dict[str, Decimal]:
    """Return what works where so much is protected: a stop and a target for it, nothing else."""
    amount = Decimal(str(quantity))
    return {"stop": amount, "target": amount} if amount else {}


class DiedError(Exception):
    """The process that a test wanted to die has died."""


class BrokeredDesk(DeskDriver):
    """A desk with its broker; quantities as decimal strings or numbers, times in milliseconds.

    `calls` are the kind and role of every call that was carried out or broken, oldest first.
    While it `is_deaf` the stream's words are lost, while it `is_blind` no question is answered.
    Before the call number `dies_before`, or after number `dies_after`, its process dies: see
    `DiedError` and `crash`. `early` names roles whose orders trade whole on arrival, told before
    the answer, at a price.
    """

    def __init__(self, capabilities: Capabilities | None = None, **driver: Any) -> None:
        """Open a desk at a broker of these capabilities; see `DeskDriver` for the rest."""
        can = capabilities or Capabilities()
        self.broker = ModelBroker(can, is_final=True)
        self.calls: list[tuple[str, str]] = []
        self.is_deaf = False
        self.is_blind = False
        self.early: dict[str, Decimal] = {}
        self.dies_before = self.dies_after = 0
        self._broken: dict[tuple[str, str], list[tuple[Outcome, bool]]] = {}
        self._done = 0
        super().__init__(capabilities=can, **driver)

    def bracket(self, side: str = "buy", quantity: object = "3", **terms: Any) -> Decision:
        """Place a bracket, entry at 100 with a stop at 95 and a target at 110, or mirrored."""
        low, high = ("95", "110") if side == "buy" else ("105", "90")
        usual: dict[str, Any] = {"stop_loss_price": low, "take_profit_price": high}
        if terms.get("entry_type", "limit") == "limit":
            usual["entry_price"] = "100"
        wanted = {"symbol": "X", "side": side, "quantity": str(quantity)} | usual | terms
        return self.ask(inputs.PlaceBracket(**wanted))

    def buy(self, quantity: object, *, side: str = "buy") -> Order:
        """Trade at 100 by a plain order, which fills at once."""
        order = self.submit(side, str(quantity))
        self.talk()
        self.broker.fill(order.broker_order_id, Decimal(str(quantity)), Decimal(100))
        self.talk()
        return self.order(order.number)

    def trade_outside(self, side: str, quantity: object) -> Order:
        """Trade at 100 by a plain order of no group, whatever that does to the position."""
        return self.buy(quantity, side=side)

    def crash(self, *, down_ms: int = 0, told: bool = True) -> None:
        """Lose the process: fold its journal anew, and reconcile after some time.

        Without `told` what the broker said meanwhile is lost.
        """
        if not told:
            self.broker.words.clear()
        self.dies_before = self.dies_after = 0
        self._done = len(self.effects)
        self.now_ns += down_ms * NS_PER_MS
        self.desk = Desk(self.settings, self.refolded().state)
        self.step(inputs.Connected(self.broker.capabilities))
        self.ask(inputs.Resume(wall_offset_ns=0))
        self.reconcile()

    def reconcile(self) -> None:
        """Let the broker list everything, as a complete poll of the account does."""
        snapshots, executions = self.broker.listing()
        polled = inputs.Polled(
            asked_ns=self.now_ns, snapshots=snapshots, executions=executions, complete=True
        )
        self.ask(polled)

    def ask(self, given: inputs.Input, *, after_ms: int = 1) -> Decision:
        """Step the desk, then let desk and broker talk until both are quiet.

        Raises:
            HoldfastError: the desk refused a command.
        """
        decision = self.step(given, after_ms=after_ms)
        self.talk()
        if decision.error is not None:
            raise decision.error
        return decision

    def tick(self) -> None:
        """Tell the desk what time it is, then let desk and broker talk until both are quiet."""
        self.ask(inputs.Tick(), after_ms=0)

    def break_next(self, kind: str, role: str, *outcomes: Outcome, arrives: bool = False) -> None:
        """Answer the next calls of a kind (submit, cancel, replace) and role in this way.

        With `arrives` the broker carries the call out all the same.
        """
        broken = self._broken.setdefault((kind, role), [])
        broken += [(outcome, arrives) for outcome in outcomes]

    def mend(self) -> None:
        """Let every call arrive again."""
        self._broken.clear()

    def talk(self) -> None:
        """Carry out what the desk wants and tell what the broker says, until both are quiet."""
        for _ in range(CALLS_MAX):
            if self._done < len(self.effects):
                self._done += 1
                self._carry_out(self.effects[self._done - 1])
            elif not self._hear():
                return
        raise RuntimeError(f"desk and broker made {CALLS_MAX} calls without coming to rest")

    def _hear(self) -> bool:
        """Tell the oldest word of the stream; say whether there was one."""
        if not self.broker.words:
            return False
        word = self.broker.words.pop(0)
        if not self.is_deaf:
            self.step(inputs.Reported(word), after_ms=0)
        return True

    def fill(self, role: str, quantity: object, price: object = "100", *, group: int = 1) -> None:
        """Let the working order of a role trade at the broker, and tell of it."""
        held = self.held(role, group=group)
        self.broker.fill(held.broker_order_id, Decimal(str(quantity)), Decimal(str(price)))
        self.talk()

    def end(self, role: str, status: Status = Status.CANCELED, *, group: int = 1) -> None:
        """Let the broker end the working order of a role by itself, and tell of it."""
        self.broker.end(self.held(role, group=group).broker_order_id, status, "the venue")
        self.talk()

    def bust_last(self, role: str, *, group: int = 1) -> None:
        """Let the broker take back the newest execution of a role."""
        for held in reversed(self.broker.orders.values()):
            if held.executions and self._is_of(held, role, group):
                self.broker.bust(held.broker_order_id, list(held.executions)[-1])
                self.talk()
                return
        raise LookupError(f"no order in the role {role} of group {group} traded")

    def held(self, role: str, *, group: int = 1) -> Held:
        """Return the working broker order of a role."""
        for held in self.broker.orders.values():
            if held.is_working and self._is_of(held, role, group):
                return held
        raise LookupError(f"no order in the role {role} of group {group} works")

    def working(self, group: int = 1) -> dict[str, Decimal]:
        """Return what the broker's orders of a group may still trade, by role."""
        found: dict[str, Decimal] = {}
        for held in self.broker.orders.values():
            order = self._order_of(held)
            if held.is_working and order is not None and order.group == group:
                found[order.role] = found.get(order.role, ZERO) + held.leaves
        return found

    def member(self, role: str, *, group: int = 1) -> Order:
        """Return the order in a role of a group that may still trade."""
        live = [self.order(number) for number in self.group(group).live]
        return next(one for one in live if one.role == role and one.is_exposed)

    def group(self, number: int = 1) -> Group:
        """Return a group."""
        group = self.desk.state.groups.get(number)
        if group is None:
            raise LookupError(f"group {number} is not in memory")
        return group

    def sent(self, role: str) -> list[tuple[Side, Decimal | None]]:
        """Return side and quantity of every order that was sent in a role, resent ones once."""
        first = {one.wire_id: one for one in self.effects if isinstance(one, SubmitOrder)}
        return [(one.terms.side, one.terms.quantity) for one in first.values() if one.role == role]

    def truth(self, symbol: str = "X") -> Decimal:
        """Return the position by the broker's own books, from nothing."""
        orders = [held for held in self.broker.orders.values() if held.symbol == symbol]
        return sum((signed(held.side, held.own) for held in orders), ZERO)

    def phases(self, group: int = 1) -> list[str]:
        """Return the phases that a group went through, the first one left out."""
        moments = self.group(group).history[1:]
        return [str(moment.phase) for moment in moments if moment.cause in set(Cause)]

    def alerts(self) -> list[str]:
        """Return the codes of all alerts so far."""
        return [event.code for event in self.events if isinstance(event, e.AlertRaised)]

    def _is_of(self, held: Held, role: str, group: int) -> bool:
        order = self._order_of(held)
        return order is not None and (order.role, order.group) == (role, group)

    def _order_of(self, held: Held) -> Order | None:
        number = self.desk.owner_of(held.wire_id)
        return self.desk.order(number) if number else None

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, LookupOrder):
            asked_ns = self.now_ns
            result = LookupResult() if self.is_blind else self.broker.look(effect)
            looked = inputs.Looked(
                number=effect.number, attempt=effect.attempt, asked_ns=asked_ns, result=result
            )
            self.step(looked, after_ms=0)
            return
        call = (_CALLS[type(effect)], self.order(effect.number).role)
        self.calls.append(call)
        if len(self.calls) == self.dies_before:
            raise DiedError
        broken = self._broken.get(call)
        if broken:
            outcome, arrives = broken.pop(0)
            if arrives:
                self.broker.call(effect)
        else:
            outcome = self.broker.call(effect)
            self._trade_early(call, outcome)
        if len(self.calls) == self.dies_after:
            raise DiedError
        answer = inputs.Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )
        self.step(answer, after_ms=0)

    def _trade_early(self, call: tuple[str, str], outcome: Outcome) -> None:
        kind, role = call
        price = self.early.get(role)
        if price is None or kind != "submit" or not isinstance(outcome, Accepted):
            return
        held = self.broker.orders[outcome.broker_order_id]
        self.broker.fill(held.broker_order_id, held.leaves, price)
        while self._hear():
            pass


def lost(times: int = 1) -> Sequence[Unknown]:
    """Return calls whose outcome nobody can tell."""
    return [Unknown(text="timeout")] * times
