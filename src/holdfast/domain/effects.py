"""What the desk wants done, once its events are durable. Effects are a function of events.

Each carries `not_after_ns` (desk time): past it the call is not made and counts as not sent.
`sent_ns` is the desk time from which the desk counts its ack wait and the absence grace: a call
is over by the ack wait after it, however long it had to wait for its turn. 0 means uncounted.
`attempt` makes a repeated effect distinguishable; ids and amounts are complete, so an adapter
needs no state of its own.
"""

from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from holdfast.domain.requests import OrderTerms


class Attached(Struct, frozen=True, gc=False, kw_only=True):
    """An exit that goes out with another order: the `stop` or the `target` of a bracket or pair."""

    number: int
    role: str
    wire_id: str
    terms: OrderTerms


class SubmitOrder(Struct, frozen=True, gc=False, kw_only=True, tag="submit"):
    """Place a new order under `wire_id`; `reducing` says that it can only reduce a position.

    `link` is `bracket` for an entry whose exits are `attached`, `oco` for a target with its stop
    attached; all of them are placed in one call, or none is.
    """

    number: int
    wish: int
    attempt: int
    wire_id: str
    terms: OrderTerms
    not_after_ns: int
    sent_ns: int = 0
    role: str = ""
    reducing: bool = False
    link: str = ""
    attached: tuple[Attached, ...] = ()


class CancelOrder(Struct, frozen=True, gc=False, kw_only=True, tag="cancel"):
    """Cancel the order that `broker_order_id` (or, where empty, `wire_id`) names.

    Effects of one `batch` may be carried out in one call; 0 belongs to none.
    """

    number: int
    wish: int
    attempt: int
    wire_id: str
    orig_wire_id: str
    broker_order_id: str
    symbol: str
    not_after_ns: int
    sent_ns: int = 0
    batch: int = 0


class ReplaceOrder(Struct, frozen=True, gc=False, kw_only=True, tag="replace"):
    """Give the order new terms under `wire_id`.

    `terms.quantity` is the new total; `leaves_quantity` is what would then remain to fill, for
    brokers that count a replaced order anew. `reducing` says that it adds no exposure: it only
    lowers the quantity, or the order can only reduce a position.
    """

    number: int
    wish: int
    attempt: int
    wire_id: str
    orig_wire_id: str
    broker_order_id: str
    terms: OrderTerms
    leaves_quantity: Decimal | None
    not_after_ns: int
    sent_ns: int = 0
    reducing: bool = False


class LookupOrder(Struct, frozen=True, gc=False, kw_only=True, tag="lookup"):
    """Ask for an order by every id it has had: found, absent, or incomplete.

    A lookup has no `not_after`: asking late is as good as asking now.
    """

    number: int
    attempt: int
    symbol: str
    wire_ids: tuple[str, ...]
    broker_order_ids: tuple[str, ...]


Effect: TypeAlias = SubmitOrder | CancelOrder | ReplaceOrder | LookupOrder
