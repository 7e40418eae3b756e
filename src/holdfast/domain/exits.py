"""Which orders are ways out: they pass every limit, up to what is left to close (P7).

Rule 1: a reduce-only order passes up to the position less what exits on their way could close;
beyond that only by `force`.
Rule 2: an order that is not marked is an exit all the same where it can only close: where it fits
into the position along with everything open on its side. It is counted as an exit from then on.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain.exposure import NO_WEIGHT, Weight
from holdfast.domain.refusals import refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import ZERO, Side, neg, rounded_sub

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def is_way_out(desk: "Desk", terms: OrderTerms, *, force: bool = False) -> bool:
    """Tell whether a new order can only close.

    Raises:
        OrderRefused: `REDUCE_ONLY_EXCEEDED`.
    """
    quantity = terms.quantity
    if terms.reduce_only:
        if not force:
            check_exit(desk, terms, quantity or ZERO)
        return True
    return quantity is not None and fits(desk, terms, quantity)


def check_exit(
    desk: "Desk", terms: OrderTerms, quantity: Decimal, standing: Weight = NO_WEIGHT
) -> None:
    """Refuse what could close more than is held, counting exits in flight or unknown.

    `standing` is what the order itself, if it exists, counts for among those exits.

    Raises:
        OrderRefused: `REDUCE_ONLY_EXCEEDED`.
    """
    exits = rounded_sub(desk.exits(terms.symbol, terms.side), standing.exits)
    closable = max(rounded_sub(max(_held(desk, terms), ZERO), exits), ZERO)
    if quantity > closable:
        position = desk.positions.get(terms.symbol)
        raise refused(
            "REDUCE_ONLY_EXCEEDED",
            "a smaller exit passes, as does force=True",
            quantity=quantity,
            closable=closable,
            position=position.quantity if position is not None else ZERO,
        )


def fits(desk: "Desk", terms: OrderTerms, quantity: Decimal, standing: Weight = NO_WEIGHT) -> bool:
    """Tell whether a quantity closes no more than is held, along with all that is open beside it.

    `standing` is what the order itself, if it exists, counts for.
    """
    held = _held(desk, terms)
    if held <= 0:
        return False
    side = desk.state.exposure.of(terms.symbol, terms.side)
    return quantity <= rounded_sub(held, rounded_sub(side.quantity, standing.quantity))


def _held(desk: "Desk", terms: OrderTerms) -> Decimal:
    """Return what an order's side could close of the position; below zero if it would add."""
    position = desk.positions.get(terms.symbol)
    if position is None:
        return ZERO
    return position.quantity if terms.side is Side.SELL else neg(position.quantity)
