"""Which orders are ways out: they pass every limit, up to what is left to close (P7).

Rule 1: a reduce-only order passes up to the position less what exits on their way could close;
beyond that only by `force`.
Rule 2: an order that is not marked is an exit all the same where it can only close: where it fits
into the position along with everything open on its side. It is counted as an exit from then on.
Rule 3: what an order was let through as stands in `exposure.is_exit`, and nowhere else. No switch
takes an exit away (`only_closes`); who cancels everything takes those that protect nothing
(`protects`).
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.domain.exposure import NO_WEIGHT, Weight, is_exit
from holdfast.domain.group import STOP, TARGET
from holdfast.domain.inputs import Input, Replace, Submit
from holdfast.domain.order import Order
from holdfast.domain.refusals import refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.resting import UNTRIGGERED
from holdfast.domain.values import ZERO, Side, neg, rounded_sub
from holdfast.domain.wish import Stage

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# The roles of what a group places to guard a position.
_GUARDS: Final = frozenset({STOP, TARGET})


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
    closable = closable_by(desk, terms, standing)
    if quantity > closable:
        position, unknown = desk.positions.get(terms.symbol), unknown_exits(desk, terms.symbol)
        advice = "a smaller exit passes, as does force=True"
        beside = desk.state.by_symbol.get(terms.symbol, {}).values()
        if any(one.group and one.terms.side is terms.side for one in beside):
            advice = f"close_position makes room among the exits that protect it; {advice}"
        if unknown:
            names = ", ".join(order.client_order_id for order in unknown[:5])
            advice = f"nobody can tell yet what became of {names}, the broker is asked; {advice}"
        raise refused(
            "REDUCE_ONLY_EXCEEDED",
            advice,
            quantity=quantity,
            closable=closable,
            position=position.quantity if position is not None else ZERO,
        )


def closable_by(desk: "Desk", terms: OrderTerms, standing: Weight = NO_WEIGHT) -> Decimal:
    """Return what an exit of that side may close beside the exits in flight or unknown."""
    exits = rounded_sub(desk.exits(terms.symbol, terms.side), standing.exits)
    return max(rounded_sub(max(_held(desk, terms), ZERO), exits), ZERO)


def unknown_exits(desk: "Desk", symbol: str) -> list[Order]:
    """Return the exits of a symbol of which nobody can tell whether they may still close."""
    return [
        order
        for order in desk.state.by_symbol.get(symbol, {}).values()
        if is_exit(order) and any(wish.stage is Stage.UNKNOWN for wish in order.wishes)
    ]


def look_first(desk: "Desk", given: Input) -> None:
    """Ask the broker now for what a refused exit waits for."""
    symbol = ""
    if isinstance(given, Submit):
        symbol = given.request.symbol
    elif isinstance(given, Replace) and (order := desk.find(given.client_order_id)) is not None:
        symbol = order.terms.symbol
    for order in unknown_exits(desk, symbol):
        desk.look_up(order, "an exit waits for what became of it")


def fits(desk: "Desk", terms: OrderTerms, quantity: Decimal, standing: Weight = NO_WEIGHT) -> bool:
    """Tell whether a quantity closes no more than is held, along with all that is open beside it.

    `standing` is what the order itself, if it exists, counts for.
    """
    held = _held(desk, terms)
    if held <= 0:
        return False
    side = desk.state.exposure.of(terms.symbol, terms.side)
    return quantity <= rounded_sub(held, rounded_sub(side.quantity, standing.quantity))


def only_closes(desk: "Desk", order: Order) -> bool:
    """Tell whether an open order is an exit still; one that is not marked needs its position."""
    if order.terms.reduce_only or not is_exit(order):
        return order.terms.reduce_only
    held = _held(desk, order.terms)
    return held > 0 and held >= order.open_quantity


def protects(desk: "Desk", order: Order) -> bool:
    """Tell whether an exit is there to guard: by its mark, by its role, or because it is a stop."""
    if order.terms.reduce_only or order.role in _GUARDS:
        return True
    return order.terms.order_type in UNTRIGGERED and only_closes(desk, order)


def _held(desk: "Desk", terms: OrderTerms) -> Decimal:
    """Return what an order's side could close of the position; below zero if it would add."""
    position = desk.positions.get(terms.symbol)
    if position is None:
        return ZERO
    return position.quantity if terms.side is Side.SELL else neg(position.quantity)
