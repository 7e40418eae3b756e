"""Two exits of which one trades, as callers ask for them.

Rule: a pair closes; it never opens. Where the broker takes pairs it is sent as one, else its two
orders rest beside each other and what one trades the other gives up.
"""

from typing import TYPE_CHECKING

from holdfast.domain.commands import instrument_of
from holdfast.domain.group import STOP, TARGET
from holdfast.domain.group_asking import (
    aligned,
    by_key,
    check_closable,
    check_exits,
    check_key,
    check_market,
    check_rising,
    key_conflict,
    maybe_aligned,
    open_group,
    same_group,
)
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.inputs import PlaceOco
from holdfast.domain.quotes import fresh_quote
from holdfast.domain.requests import check_strategy, choice
from holdfast.domain.values import Side, amount
from holdfast.errors import UnsupportedOrderTypeError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def place_oco(desk: "Desk", given: PlaceOco) -> None:
    """Take two exits of which one trades; the result names the group.

    Raises:
        InputError: prices that contradict each other or lie on the wrong side of the market, or a
            field that no order could have.
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
    check_rising(side, [("stop_price", stop), ("limit_price", target)], f"a pair that {side}s")
    exits = (
        ExitTerms(role=STOP, stop_price=stop, limit_price=limit),
        ExitTerms(role=TARGET, limit_price=target),
    )
    key, strategy = check_key(given.idempotency_key), check_strategy(given.strategy)
    known = by_key(desk, key)
    if known is not None:
        was = (known.contingency, known.symbol, known.quantity, known.side, known.strategy)
        if was != ("oco", given.symbol, quantity, side, strategy):
            raise key_conflict(key)
        desk.result_group(same_group(desk, known.group, exits), repeat=True)
        return
    check_exits(desk, exits, side)
    check_market(side, exits, fresh_quote(desk, given.symbol))
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
        strategy=strategy,
        key=key,
    )
    desk.result_group(opened.group)
