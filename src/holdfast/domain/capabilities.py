"""What a broker can do, as the desk needs to know it."""

from typing import Literal

from msgspec import Struct

from holdfast.domain.values import OrderType, TimeInForce


class Capabilities(Struct, frozen=True, gc=False, kw_only=True):
    """What a broker can do; the desk emulates or refuses the rest.

    `unique_ids` says how long the broker refuses a second order under the same client id;
    `none` means that it never does, so an order is never sent again there.
    `replace_carries_fills` says that a replaced order's figures include what was filled before.
    `new_id_on_replace` says that a replace ends the broker order and opens another.
    `ordered_session` says that answers come in the order of the requests, as in a FIX session.
    `lists_executions` says that each trade is told singly; otherwise an order that ended is read
    once more for its final figure.
    `batch_cancel` says that one call cancels many orders and answers for each.
    `account_data` says that the broker tells buying power and positions; where
    `power_after_orders`, its figure has working orders taken off already.
    `native_bracket` says when the exits that are attached to an entry come to life: with each of
    its fills for what is filled, or only once it is filled whole. `native_oco` says that two exits
    may be sent as a pair of which the broker lets only one trade. `exits_share_quantity` says that
    a stop and a target may rest for the same units without being such a pair.
    `lists_held_legs` says that attached exits are listed as open orders before they come to life.
    """

    order_types: frozenset[OrderType] = frozenset(OrderType)
    times_in_force: frozenset[TimeInForce] = frozenset(TimeInForce)
    unique_ids: Literal["forever", "while_open", "none"] = "forever"
    native_replace: bool = True
    replace_carries_fills: bool = True
    new_id_on_replace: bool = False
    cancel_by_wire_id: bool = True
    notional: bool = True
    ordered_session: bool = False
    lists_executions: bool = True
    batch_cancel: bool = False
    account_data: bool = False
    power_after_orders: bool = False
    native_bracket: Literal["none", "after_full_fill", "per_fill"] = "none"
    native_oco: bool = False
    exits_share_quantity: bool = True
    lists_held_legs: bool = True
