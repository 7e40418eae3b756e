"""One order: what was asked, what the broker says, what traded, and what is still asked of it.

Rule 1: `status` changes only through the tables in `transitions.py`; nothing here decides.
Rule 2: a wish (submit, cancel, replace) is kept apart from the status until it is answered.
Rule 3: everything here comes from folding events, so a journal gives back the same order.

What this module does not know: which event causes which change (`fold.py`), what a report means
(`facts.py`, `snapshots.py`), when anything is due (`attend.py`).
"""

from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain.executions import Leg
from holdfast.domain.reports import Snapshot
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import TERMINAL, ZERO, Condition, Side, Status, add, neg, ratio, sub
from holdfast.domain.wish import Stage, Wish, WishKind

_WORKING: Final = frozenset({Status.OPEN, Status.PARTIAL_FILL})


class Lookup(Struct, gc=False, kw_only=True, omit_defaults=True):
    """A question about the order that is asked again at `again_ns` until it is settled.

    `attempt` numbers the question within the order's life, `tries` within this uncertainty.
    """

    attempt: int = 0
    tries: int = 0
    again_ns: int = 0
    asked: bool = False
    reason: str = ""


class Order(Struct, gc=False, kw_only=True, omit_defaults=True):
    """One order of a desk; quantities in instrument units, times in desk nanoseconds.

    `adopted` orders were sent past the journal, under a wire id that their number does not give.
    `asked` are the terms as submitted, `terms` those in force. `quantity` is the quantity in
    force, None for an order sized by notional until the broker names one. `largest` is the
    largest quantity ever in force or wished, against which an overfill is judged. `held` is a
    snapshot that waits for the executions behind its figure. `alive` is None, or how often the
    broker confirmed that the ended order works. `wanted_gone` says that somebody asked to cancel
    and that the broker has not refused it, `gone_ns` since when; its refusals are counted, for
    trying again ever later. `asked_ns` is when the newest question about the order left. `seen`
    are the newest report ids.
    `role` names the policy that made the order, `reducing` says that it was let through as an
    exit, `external` that no desk placed it. `estimate` is a price for orders without one; `past`
    are earlier terms in force: until when, quantity and price. A pegged
    order was moved `requotes` times, last at `requoted_ns`; `moving_to` is the price that its
    successor gets once the cancel is confirmed, `successor` that order's number, and `began_ns`
    is when the first of such a chain was created. `refusal` is why the last cancel or replace was
    refused.
    A member of a `group` is a `twin` where another exit is for the same units, and `rides` with the
    order in whose call it goes out: one with a `link`, to which it is `attached`. `meant` are the
    stop and the limit price that were last asked for and not refused, None before any replace.
    """

    number: int
    terms: OrderTerms
    asked: OrderTerms
    created_ns: int
    client_order_id: str
    wire_id: str
    adopted: bool = False
    idempotency_key: str = ""
    strategy: str = ""
    role: str = ""
    reducing: bool = False
    external: bool = False
    group: int = 0
    twin: bool = False
    link: str = ""
    attached: tuple[int, ...] = ()
    rides: int = 0
    meant: tuple[Decimal | None, Decimal | None] | None = None
    estimate: Decimal | None = None
    succeeds: int = 0
    successor: int = 0
    past: list[tuple[int, Decimal, Decimal]] = msgspec.field(default_factory=list)
    requotes: int = 0
    requoted_ns: int = 0
    moving_to: Decimal | None = None
    began_ns: int = 0
    status: Status = Status.NEW
    condition: Condition = Condition.NONE
    quantity: Decimal | None = None
    largest: Decimal | None = None
    filled_quantity: Decimal = ZERO
    notional: Decimal = ZERO
    fees: dict[str, Decimal] = msgspec.field(default_factory=dict)
    legs: list[Leg] = msgspec.field(default_factory=list)
    wishes: list[Wish] = msgspec.field(default_factory=list)
    last_wish: int = 0
    wanted_gone: bool = False
    gone_ns: int = 0
    cancel_refusals: int = 0
    cancel_refused_ns: int = 0
    replace_refusals: int = 0
    held: Snapshot | None = None
    held_until_ns: int = 0
    lookup: Lookup | None = None
    questions: int = 0
    asked_ns: int = 0
    alive: int | None = None
    seen: list[str] = msgspec.field(default_factory=list)
    submitted_ns: int = 0
    first_fill_ns: int = 0
    completed_ns: int = 0
    updated_ns: int = 0
    code: str = ""
    text: str = ""
    refusal: str = ""

    @property
    def is_terminal(self) -> bool:
        """Tell whether the order ended; it may still be overruled."""
        return self.status in TERMINAL

    @property
    def is_working(self) -> bool:
        """Tell whether the broker accepted the order and has not ended it."""
        return self.status in _WORKING

    @property
    def is_exposed(self) -> bool:
        """Tell whether the order may still trade, as far as anybody can tell, or its successor."""
        return self.status not in TERMINAL or self.alive is not None or self.moving_to is not None

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing is open about an ended order, so that it may leave memory."""
        return (
            self.status in TERMINAL
            and not self.wishes
            and self.alive is None
            and self.lookup is None
            and self.held is None
            and self.moving_to is None
        )

    @property
    def is_waiting(self) -> bool:
        """Tell whether anything is asked, held back or wanted, so that time or input matters."""
        return (
            bool(self.wishes)
            or self.wanted_gone
            or self.lookup is not None
            or (self.held is not None)
            or self.moving_to is not None
        )

    @property
    def asked_prices(self) -> tuple[Decimal | None, Decimal | None]:
        """Stop and limit price as last asked for, whatever the broker made of them."""
        return self.meant or (self.asked.stop_price, self.asked.limit_price)

    @property
    def leg(self) -> Leg | None:
        """The broker order that stands for this order now."""
        return self.legs[-1] if self.legs else None

    @property
    def broker_order_id(self) -> str:
        """The broker's id of the order now, empty while it is not known."""
        return self.legs[-1].broker_order_id if self.legs else ""

    @property
    def average_price(self) -> Decimal:
        """AvgPx: the average of all executions, rounded to 60 digits; 0 before the first."""
        return ratio(self.notional, self.filled_quantity) if self.filled_quantity else ZERO

    @property
    def claimed_quantity(self) -> Decimal:
        """Filled quantity counting what a waiting snapshot claims; never below what is booked."""
        if self.held is None or self.held.cumulative is None:
            return self.filled_quantity
        leg = self.find_leg(self.held.broker_order_id)
        known = self.counted(leg) if leg is not None else ZERO
        missing = sub(self.held.cumulative, known)
        return add(self.filled_quantity, missing) if missing > 0 else self.filled_quantity

    @property
    def open_quantity(self) -> Decimal:
        """Exposure: what may still trade, 0 when ended or sized by notional."""
        if self.quantity is None or not self.is_exposed:
            return ZERO
        rest = sub(self.quantity, self.claimed_quantity)
        return rest if rest > 0 else ZERO

    @property
    def most_open(self) -> Decimal:
        """What may yet be booked: up to the largest quantity in force or wished.

        A claim that waits for its executions is not booked, so that the position does not have it.
        """
        if not self.is_exposed:
            return sub(self.claimed_quantity, self.filled_quantity)
        wished = [w.quantity for w in self.wishes if w.kind is WishKind.REPLACE and w.quantity]
        sizes = wished if self.quantity is None else [*wished, self.quantity]
        rest = sub(max(sizes, default=ZERO), self.filled_quantity)
        return rest if rest > 0 else ZERO

    def next_try(self) -> int:
        """Return the number of the next question within this uncertainty."""
        asked = [wish.looks for wish in self.wishes]
        return max([self.lookup.tries if self.lookup is not None else 0, *asked]) + 1

    @property
    def signed_filled(self) -> Decimal:
        """Filled quantity as a position sees it."""
        return self.filled_quantity if self.terms.side is Side.BUY else neg(self.filled_quantity)

    def find_leg(self, broker_order_id: str) -> Leg | None:
        """Return the leg of that broker id; the newest one for no id, or while it has none."""
        if not self.legs:
            return None
        newest = self.legs[-1]
        if not broker_order_id or newest.broker_order_id == broker_order_id:
            return newest
        for leg in self.legs:
            if leg.broker_order_id == broker_order_id:
                return leg
        return None if newest.broker_order_id else newest

    def leg_for(self, broker_order_id: str) -> Leg:
        """Return the leg of that broker id, opening one or naming a nameless one for it."""
        leg = self.find_leg(broker_order_id)
        if leg is None:
            leg = Leg(broker_order_id=broker_order_id)
            self.legs.append(leg)
        elif broker_order_id and not leg.broker_order_id:
            leg.broker_order_id = broker_order_id
        return leg

    def note(self, stamp_ns: int, sequence: int) -> None:
        """Remember how new the newest report is that was applied to the present leg."""
        if self.legs and (stamp_ns or sequence):
            self.legs[-1].note(stamp_ns, sequence)

    def is_past_end(self, wall_ns: int) -> bool:
        """Tell whether the order works beyond the end that its terms give it."""
        end_ns = self.terms.expire_at_ns
        return end_ns is not None and self.is_working and wall_ns >= end_ns

    def close_wish(self, number: int) -> None:
        """Drop an answered wish."""
        self.wishes = [wish for wish in self.wishes if wish.wish != number]

    def counted(self, leg: Leg) -> Decimal:
        """Return what the broker's cumulative figure of this leg should be."""
        if not leg.carried:
            return leg.counted
        total = ZERO
        for other in self.legs:
            total = add(total, other.counted)
            if other is leg:
                break
        return total

    def total_quantity(self, leg: Leg | None, reported: Decimal) -> Decimal:
        """Turn the broker's order quantity of a leg into the order's total."""
        if leg is None or leg.carried:
            return reported
        total = reported
        for other in self.legs:
            if other is leg:
                break
            total = add(total, other.counted)
        return total

    def wish(self, number: int) -> Wish | None:
        """Return an open wish by its number."""
        for wish in self.wishes:
            if wish.wish == number:
                return wish
        return None

    def oldest(self, kind: WishKind, *stages: Stage) -> Wish | None:
        """Return the oldest open wish of a kind, in one of the stages where any are named."""
        found = (wish for wish in self.wishes if wish.kind is kind)
        return next((wish for wish in found if not stages or wish.stage in stages), None)

    def wish_wire_id(self, number: int) -> str:
        """Return the wire id of a wish: the order's own for its submit, with a suffix after."""
        return f"{self.wire_id}~{number}" if number else self.wire_id

    def resume(self, at_ns: int) -> None:
        """After a start nobody can tell what became of the requests that were on their way."""
        for wish in self.wishes:
            if wish.stage is Stage.WAITING:
                wish.stage, wish.due_ns = Stage.UNKNOWN, at_ns
        if self.lookup is not None:
            self.lookup.asked, self.lookup.again_ns = False, at_ns

    def differences(self, terms: OrderTerms, strategy: str) -> str:
        """Name what other terms ask for that this order did not; empty for the same request."""
        names = OrderTerms.__struct_fields__
        pairs = [(name, getattr(self.asked, name), getattr(terms, name)) for name in names]
        pairs.append(("strategy", self.strategy, strategy))
        return ", ".join(f"{name} was {was}, is {now}" for name, was, now in pairs if was != now)

    def latest_terms(self) -> OrderTerms:
        """Return the terms in force with every replace on its way applied to them."""
        changes: dict[str, Decimal | None] = {"quantity": self.quantity}
        for wish in self.wishes:
            if wish.kind is WishKind.REPLACE:
                for name in ("quantity", "limit_price", "stop_price"):
                    value = getattr(wish, name)
                    if value is not None:
                        changes[name] = value
        return msgspec.structs.replace(self.terms, **changes)

    def next_due_ns(self) -> int:
        """Return when the order next wants attention; 0 for never.

        A request that only an answer can settle waits for the question that is being asked, one
        that is to be repeated for the answer to the one that is on its way.
        """
        if not self.is_waiting:
            return 0
        asking = self.lookup is not None
        if not asking and self.held is None and len(self.wishes) == 1:
            return self.wishes[0].due_ns  # as what follows would, for most orders
        sending = any(w.stage is Stage.WAITING for w in self.wishes)
        due = [
            w.due_ns
            for w in self.wishes
            if w.due_ns
            and not (asking and (w.needs_answer or self.is_terminal))
            and not (sending and w.stage is Stage.DELAYED)
        ]
        if self.held is not None:
            due.append(self.held_until_ns)
        if self.lookup is not None and self.lookup.again_ns:
            due.append(self.lookup.again_ns)
        return min(due) if due else 0
