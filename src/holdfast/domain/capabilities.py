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
