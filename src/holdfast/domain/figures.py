"""Cumulative figures against executions: what a broker's total says beyond what it lists.

Rule 1: a larger figure waits a short grace for its executions; then the difference is booked as
an inferred execution whose id is derived from its inputs, so that a refold books it once.
Rule 2: a smaller figure, once believed, takes back what was only inferred, newest first. A real
execution goes only when a complete list no longer has it.
"""

import hashlib
from decimal import Decimal
from typing import Final

from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.order import Order
from holdfast.domain.reports import Execution, Sighting, Snapshot
from holdfast.domain.trades import check_fill
from holdfast.domain.values import (
    DECIMALS_MAX,
    INTEGER_DIGITS_MAX,
    ZERO,
    add,
    mul,
    neg,
    ratio,
    rounded_add,
    rounded_mul,
    sub,
)
from holdfast.domain.work import NS_PER_MS, Work, anomaly

_PRICE_STEP: Final = Decimal(1).scaleb(-DECIMALS_MAX)


def is_caught_up(order: Order) -> bool:
    """Tell whether the executions behind the waiting snapshot have all come."""
    if order.held is None or order.held.cumulative is None:
        return False
    leg = order.find_leg(order.held.broker_order_id)
    return leg is not None and order.counted(leg) >= order.held.cumulative


def hold(work: Work, order: Order, snapshot: Snapshot) -> None:
    """Let a snapshot wait for the executions behind its figure, from its first sight on."""
    held = order.held
    if held is not None and (held.cumulative or ZERO) >= (snapshot.cumulative or ZERO):
        return
    grace = work.settings.inferred_grace_ms * NS_PER_MS
    until = order.held_until_ns if held is not None else work.now_ns + grace
    work.out(
        e.CumulativeReported(
            at_ns=work.now_ns, number=order.number, snapshot=snapshot, decide_at_ns=until
        )
    )


def book_difference(work: Work, order: Order, snapshot: Snapshot) -> None:
    """Book what the broker's figure exceeds the executions by, as an inferred execution."""
    if snapshot.cumulative is None:
        return
    leg = leg_of(order, snapshot)
    missing = sub(snapshot.cumulative, order.counted(leg))
    if missing <= 0:
        return
    name = f"{leg.broker_order_id}|{snapshot.cumulative}|{leg.real}|{leg.inferred}"
    execution_id = _derived_id(name)
    while execution_id in leg.waiting:
        execution_id = _derived_id(execution_id)
    before = order.status
    work.out(
        e.OrderFilled(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=leg.broker_order_id,
            execution=Execution(
                execution_id=execution_id,
                quantity=missing,
                price=_inferred_price(order, leg, snapshot, missing),
            ),
            inferred=True,
            stamp_ns=snapshot.stamp_ns,
            sequence=snapshot.sequence,
        )
    )
    check_fill(work, order, before, leg.broker_order_id, execution_id)


def leg_of(order: Order, snapshot: Snapshot) -> Leg:
    """Return the broker order that a snapshot shows; an empty one where it is not known yet."""
    leg = order.find_leg(snapshot.broker_order_id)
    return leg if leg is not None else Leg(broker_order_id=snapshot.broker_order_id)


def _derived_id(name: str) -> str:
    return f"inferred-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _inferred_price(order: Order, leg: Leg, snapshot: Snapshot, missing: Decimal) -> Decimal:
    """Price the difference so that the broker's average comes out; else at the best guess."""
    if snapshot.average_price is not None:
        price = _rest_price(snapshot, sum_notional(order, leg), missing)
        if price is not None:
            return price
    guess = order.terms.limit_price or order.terms.stop_price
    return guess if guess is not None else order.average_price.quantize(_PRICE_STEP)


def sum_notional(order: Order, leg: Leg) -> Decimal:
    """Sum quantity times price of what the broker's average of this leg is over."""
    legs = order.legs[: order.legs.index(leg) + 1] if leg.carried else [leg]
    total = ZERO
    for one in legs:
        for execution in (*one.executions.values(), *one.waiting.values()):
            total = add(total, mul(execution.quantity, execution.price))
    return total


def reduce_inferred(
    work: Work, order: Order, leg: Leg, excess: Decimal, snapshot: Snapshot
) -> None:
    """Follow a confirmed smaller figure as far as our own inference goes, newest first."""
    for execution_id, guess in reversed(list(leg.waiting.items())):
        if excess <= 0:
            break
        taken = min(excess, guess.quantity)
        excess = sub(excess, taken)
        _correct(work, order, leg, execution_id, sub(guess.quantity, taken), guess.price, snapshot)
    if excess > 0:
        anomaly(
            work,
            "CUMULATIVE_BELOW_EXECUTIONS",
            f"the broker counts {snapshot.cumulative}, its executions make {excess} more",
            order.number,
        )
    elif leg.waiting and snapshot.average_price is not None:
        _reprice_newest(work, order, leg, snapshot)


def _reprice_newest(work: Work, order: Order, leg: Leg, snapshot: Snapshot) -> None:
    """Let the newest inference carry what the broker's average says of the rest."""
    execution_id, guess = next(reversed(leg.waiting.items()))
    others = sub(sum_notional(order, leg), mul(guess.quantity, guess.price))
    price = _rest_price(snapshot, others, guess.quantity)
    if price is not None and price > 0 and price != guess.price:
        _correct(work, order, leg, execution_id, guess.quantity, price, snapshot)


def _rest_price(snapshot: Snapshot, known: Decimal, quantity: Decimal) -> Decimal | None:
    """Price a quantity so that, with what is known, the broker's average comes out.

    None where that is no price that could be counted: the average is of something else.
    """
    average, cumulative = snapshot.average_price or ZERO, snapshot.cumulative or ZERO
    rest = rounded_add(rounded_mul(average, cumulative), neg(known))
    price = ratio(rest, quantity)
    return price.quantize(_PRICE_STEP) if price.adjusted() < INTEGER_DIGITS_MAX else None


def _correct(
    work: Work,
    order: Order,
    leg: Leg,
    execution_id: str,
    quantity: Decimal,
    price: Decimal,
    snapshot: Snapshot,
) -> None:
    work.out(
        e.ExecutionCorrected(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=leg.broker_order_id,
            execution_id=execution_id,
            quantity=quantity,
            price=price,
            stamp_ns=snapshot.stamp_ns,
            sequence=snapshot.sequence,
        )
    )


def bust_unlisted(work: Work, order: Order, sighting: Sighting) -> None:
    """A complete list of executions that lacks one of ours says that it was busted."""
    leg = order.find_leg(sighting.snapshot.broker_order_id)
    figure = sighting.snapshot.cumulative
    if leg is None or figure is None or figure >= order.counted(leg):
        return
    listed = {leg.root(execution.execution_id) for execution in sighting.executions}
    for execution_id, booked in list(leg.executions.items()):
        if execution_id not in listed and booked.quantity:
            _correct(work, order, leg, execution_id, ZERO, booked.price, sighting.snapshot)
