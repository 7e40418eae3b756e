"""Two exits of which one trades, as callers ask for them.

Rule: a pair closes; it never opens. Where the broker takes pairs it is sent as one, else its two
orders rest beside each other and what one trades the other gives up.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain.commands import instrument_of
from holdfast.domain.group import STOP, TARGET
from holdfast.domain.group_asking import (
    aligned,
    by_key,
    check_closable,
    check_exits,
    check_key,
    check_strategy,
    key_conflict,
    maybe_aligned,
    open_group,
    same_group,
)
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.inputs import PlaceOco
from holdfast.domain.requests import choice
from holdfast.domain.values import Side, amount
from holdfast.errors import InputError, UnsupportedOrderTypeError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def place_oco(desk: "Desk", given: PlaceOco) -> None:
    """Take two exits of which one trades; the result names the group.

    Raises:
        InputError: prices that contradict each other, or a field that no order could have.
        UnknownSymbolError: the symbol is not defined on the desk.
        UnsupportedOrderTypeError: the broker has no such orders, and does not let them be emulated.
        IdempotencyConflict: its key was used for another request.
        OrderRefused: `REDUCE_ONLY_EXCEEDED`: there is less to close than that.
    """
    instrument = instrument_of(desk, given.symbol)
    side = choice(Side, given.side, "side")
    quantity = amount(given.quantity, "quantity")
    instrument.check_quantity(quantity)
    target = aligned(given.limit_price, "limit_price", instrument)
    stop = aligned(given.stop_price, "stop_price", instrument)
    limit = maybe_aligned(given.stop_limit_price, "stop_limit_price", instrument)
    if not _is_beyond(side, target, stop):
        where = "above" if side is Side.SELL else "below"
        raise InputError(
            f"limit_price is {target} and stop_price is {stop}; of a pair that {side}s the target "
            f"must lie {where} the stop"
        )
    exits = (
        ExitTerms(role=STOP, stop_price=stop, limit_price=limit),
        ExitTerms(role=TARGET, limit_price=target),
    )
    key = check_key(given.idempotency_key)
    known = by_key(desk, key)
    if known is not None:
        if (known.quantity, known.side) != (quantity, side):
            raise key_conflict(key)
        desk.result_group(same_group(desk, known.group, exits), repeat=True)
        return
    check_exits(desk, exits, side)
    can = desk.capabilities
    if not can.native_oco and not can.exits_share_quantity:
        raise UnsupportedOrderTypeError(
            "the broker has no pairs of exits, and lets no two exits rest for the same units; "
            "place the stop alone"
        )
    check_closable(desk, given.symbol, side, quantity)
    opened = open_group(
        desk,
        contingency="oco",
        symbol=given.symbol,
        side=side,
        exits=exits,
        quantity=quantity,
        strategy=check_strategy(given.strategy),
        key=key,
    )
    desk.result_group(opened.group)


def _is_beyond(side: Side, target: Decimal, stop: Decimal) -> bool:
    """Tell whether a target lies where exits of that side gain, seen from the stop."""
    return target > stop if side is Side.SELL else target < stop
