"""What a snapshot of an order means: the answer to a poll or to a question by the order's id.

Rule 1: an answer is dated by when its question left; facts learnt later win.
Rule 2: a larger cumulative figure waits a short grace for its executions, and the whole snapshot
with it; exposure counts the larger figure at once. Then the difference is booked as inferred.
Rule 3: a smaller figure is a suspected bust. A poll books nothing and asks for the executions;
the answer to that question is believed.
Rule 4: a snapshot without "pending" answers a request that the broker had acknowledged; of one
that is only on its way it proves nothing.
Rule 5: an order that ended comes back only if the broker, asked twice by its own id after the
quiet period, shows it working with a newer stamp.
"""

import hashlib
from decimal import Decimal


from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.facts import (
    NS_PER_MS,
    Work,
    acknowledge,
    anomaly,
    book_trade,
    confirm_replace,
    end,
    end_broker_order,
    imply_acceptance,
    is_sane,
    restate,
    show_alive,
)
from holdfast.domain.order import Order, Stage, Wish, WishKind
from holdfast.domain.reports import Execution, Sighting, Snapshot
from holdfast.domain.values import TERMINAL, ZERO, Condition, Status, add, mul, neg, ratio, sub

_PENDING = {"cancel": WishKind.CANCEL, "replace": WishKind.REPLACE, "new": WishKind.SUBMIT}
ALIVE_ANSWERS = 2


def absorb_poll(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    """Take in one line of a list of orders."""
    if _is_stale(order, snapshot, asked_ns):
        return
    if order.is_terminal and _is_working(snapshot):
        if asked_ns >= order.completed_ns + work.settings.quiet_ms * NS_PER_MS:
            _suspect(work, order, snapshot)
        return
    _take(work, order, snapshot, asked_ns, believed=False)


def absorb_sighting(work: Work, order: Order, sighting: Sighting, asked_ns: int) -> None:
    """Take in what asking for this order by its own ids gave."""
    snapshot = sighting.snapshot
    for execution in sighting.executions:
        if is_sane(execution):
            book_trade(work, order, snapshot.broker_order_id, execution)
    if _is_stale(order, snapshot, asked_ns):
        return
    if sighting.executions_complete:
        _bust_unlisted(work, order, sighting)
    if order.is_terminal and _is_working(snapshot):
        _confirm_alive(work, order, snapshot, asked_ns)
        return
    _take(work, order, snapshot, asked_ns, believed=True)


def release(work: Work, order: Order) -> None:
    """End a snapshot's wait: its executions came, or the grace is over."""
    snapshot = order.held
    if snapshot is None:
        return
    work.out(e.SnapshotReleased(at_ns=work.now_ns, number=order.number))
    _book_difference(work, order, snapshot)
    if not _is_stale(order, snapshot, 0):
        _settle(work, order, snapshot, work.now_ns)


def is_caught_up(order: Order) -> bool:
    """Tell whether the executions behind the waiting snapshot have all come."""
    if order.held is None or order.held.cumulative is None:
        return False
    leg = order.find_leg(order.held.broker_order_id)
    return leg is not None and order.counted(leg) >= order.held.cumulative


def _is_stale(order: Order, snapshot: Snapshot, asked_ns: int) -> bool:
    leg = order.find_leg(snapshot.broker_order_id)
    if leg is not None and (snapshot.stamp_ns or snapshot.sequence) and (leg.stamp_ns or leg.sequence):
        return leg.is_older(snapshot.stamp_ns, snapshot.sequence)
    return bool(asked_ns) and asked_ns < order.updated_ns


def _is_working(snapshot: Snapshot) -> bool:
    return snapshot.status not in TERMINAL and not snapshot.replaced_by


def _suspect(work: Work, order: Order, snapshot: Snapshot) -> None:
    if _is_newer_than_end(order, snapshot):
        show_alive(work, order, snapshot.broker_order_id, snapshot.stamp_ns)


def _is_newer_than_end(order: Order, snapshot: Snapshot) -> bool:
    leg = order.find_leg(snapshot.broker_order_id)
    if leg is None or not (leg.stamp_ns or leg.sequence):
        return True
    if leg.sequence and snapshot.sequence:
        return snapshot.sequence > leg.sequence
    return not leg.stamp_ns or snapshot.stamp_ns > leg.stamp_ns


def _confirm_alive(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    quiet = work.settings.quiet_ms * NS_PER_MS
    if asked_ns < order.completed_ns + quiet or not _is_newer_than_end(order, snapshot):
        return
    times = (order.alive or 0) + 1
    if times < ALIVE_ANSWERS:
        work.out(
            e.AliveReported(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=snapshot.broker_order_id,
                times=times,
                ask_at_ns=work.now_ns + quiet,
            )
        )
        return
    ended = order.status
    work.out(
        e.OrderRevived(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=snapshot.broker_order_id,
            stamp_ns=snapshot.stamp_ns,
        )
    )
    anomaly(
        work, "ALIVE_AFTER_END", f"the broker shows the order working after {ended}", order.number
    )
    _take(work, order, snapshot, asked_ns, believed=True)


def _take(
    work: Work, order: Order, snapshot: Snapshot, asked_ns: int, *, believed: bool
) -> None:
    if snapshot.status is not Status.REJECTED or snapshot.cumulative:
        imply_acceptance(work, order, snapshot.broker_order_id)
    if _adopts_replace(work, order, snapshot):
        return
    leg = order.find_leg(snapshot.broker_order_id)
    figure = snapshot.cumulative
    if figure is not None and figure.is_finite() and leg is not None:
        missing = sub(figure, order.counted(leg))
        if missing > 0:
            _hold(work, order, snapshot)
            return
        if missing < 0:
            if not believed:
                _ask(work, order, "a smaller cumulative figure")
                return
            _reduce_inferred(work, order, leg, neg(missing), snapshot)
    _settle(work, order, snapshot, asked_ns)


def _ask(work: Work, order: Order, reason: str) -> None:
    if order.lookup is None:
        work.look_up(order, reason)


def _adopts_replace(work: Work, order: Order, snapshot: Snapshot) -> bool:
    """Recognise the broker order that a replace of ours opened, or the one that it closed."""
    leg = order.find_leg(snapshot.broker_order_id)
    if snapshot.replaced_by and leg is not None:
        end_broker_order(work, order, snapshot.broker_order_id, "replaced", snapshot)
        successor = order.find_leg(snapshot.replaced_by)
        if successor is None or successor is leg:
            wish = order.oldest(WishKind.REPLACE)
            wished = Snapshot(broker_order_id=snapshot.replaced_by)
            confirm_replace(work, order, wish, wished)
            _ask(work, order, "the broker order that took this one's place")
        return True
    if leg is None and order.legs:
        confirm_replace(work, order, _replace_of(order, snapshot.wire_id), snapshot)
        return False
    return False


def _replace_of(order: Order, wire_id: str) -> Wish | None:
    for wish in order.wishes:
        if wish.kind is WishKind.REPLACE and order.wish_wire_id(wish.wish) == wire_id:
            return wish
    return order.oldest(WishKind.REPLACE)


def _hold(work: Work, order: Order, snapshot: Snapshot) -> None:
    """Let a snapshot wait for the executions behind its figure."""
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
    if until <= work.now_ns:
        release(work, order)


def _book_difference(work: Work, order: Order, snapshot: Snapshot) -> None:
    """Book what the broker's figure exceeds the executions by, as an inferred execution."""
    leg = order.find_leg(snapshot.broker_order_id)
    if leg is None or snapshot.cumulative is None:
        return
    missing = sub(snapshot.cumulative, order.counted(leg))
    if missing <= 0:
        return
    name = f"{leg.broker_order_id}|{snapshot.cumulative}|{leg.real}|{leg.inferred}"
    work.out(
        e.OrderFilled(
            at_ns=work.now_ns,
            number=order.number,
            broker_order_id=leg.broker_order_id,
            execution=Execution(
                execution_id=f"inferred-{hashlib.sha256(name.encode()).hexdigest()[:16]}",
                quantity=missing,
                price=_inferred_price(order, leg, snapshot, missing),
            ),
            inferred=True,
            stamp_ns=snapshot.stamp_ns,
            sequence=snapshot.sequence,
        )
    )


def _inferred_price(order: Order, leg: Leg, snapshot: Snapshot, missing: Decimal) -> Decimal:
    """Price the difference so that the broker's average comes out; else at the best guess."""
    average = snapshot.average_price
    if average is not None and average.is_finite() and snapshot.cumulative is not None:
        known = sum_notional(order, leg)
        price = ratio(sub(mul(average, snapshot.cumulative), known), missing)
        digits = price.as_tuple()
        if price > 0 and len(digits.digits) <= 28:  # noqa: PLR2004 - exact in the context
            return price
        return Decimal(f"{average:.14f}") if average > 0 else ZERO
    guess = order.terms.limit_price or order.terms.stop_price
    return guess if guess is not None else order.average_price


def sum_notional(order: Order, leg: Leg) -> Decimal:
    """Sum quantity times price of what the broker's average of this leg is over."""
    legs = order.legs[: order.legs.index(leg) + 1] if leg.carried else [leg]
    total = ZERO
    for one in legs:
        for execution in (*one.executions.values(), *one.waiting.values()):
            total = add(total, mul(execution.quantity, execution.price))
    return total


def _reduce_inferred(
    work: Work, order: Order, leg: Leg, excess: Decimal, snapshot: Snapshot
) -> None:
    """Follow a confirmed smaller figure as far as our own inference goes, newest first."""
    for execution_id, guess in reversed(list(leg.waiting.items())):
        if excess <= 0:
            return
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


def _correct(  # noqa: PLR0913 - the parts of one fact
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


def _bust_unlisted(work: Work, order: Order, sighting: Sighting) -> None:
    """A complete list of executions that lacks one of ours says that it was busted."""
    leg = order.find_leg(sighting.snapshot.broker_order_id)
    figure = sighting.snapshot.cumulative
    if leg is None or figure is None or figure >= order.counted(leg):
        return
    listed = {leg.root(execution.execution_id) for execution in sighting.executions}
    for execution_id, booked in list(leg.executions.items()):
        if execution_id not in listed and booked.quantity:
            _correct(work, order, leg, execution_id, ZERO, booked.price, sighting.snapshot)


def _settle(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    """Apply what a snapshot says beside its cumulative figure."""
    leg = order.find_leg(snapshot.broker_order_id)
    if leg is not None and leg is not order.leg:
        if snapshot.status in TERMINAL:
            end_broker_order(work, order, snapshot.broker_order_id, snapshot.word, snapshot)
        return
    restate(work, order, leg, snapshot)
    _settle_wishes(work, order, snapshot, asked_ns)
    if snapshot.status is None or snapshot.status not in TERMINAL:
        _settle_condition(work, order, snapshot)
        return
    if snapshot.status is Status.FILLED:
        if snapshot.cumulative is None and not order.is_terminal:
            _ask(work, order, "filled, it says, but not how much")
        elif not order.is_terminal:
            work.out(
                e.OrderCompleted(
                    at_ns=work.now_ns,
                    number=order.number,
                    stamp_ns=snapshot.stamp_ns,
                    sequence=snapshot.sequence,
                )
            )
        return
    if snapshot.status is Status.REJECTED and order.status is Status.NEW:
        work.out(
            e.OrderRejected(
                at_ns=work.now_ns,
                number=order.number,
                code="other",
                text=snapshot.word or "rejected",
                stamp_ns=snapshot.stamp_ns,
                sequence=snapshot.sequence,
            )
        )
    elif not (order.is_terminal and order.status is not Status.FILLED):
        how = {Status.EXPIRED: "expired", Status.REJECTED: "rejected"}
        end(
            work,
            order,
            how.get(snapshot.status, "canceled"),
            snapshot.word or snapshot.status,
            "",
            snapshot,
        )


def _settle_condition(work: Work, order: Order, snapshot: Snapshot) -> None:
    if order.is_terminal or order.condition is snapshot.condition or snapshot.pending:
        return
    if snapshot.condition is Condition.NONE and order.condition is Condition.ABANDONED:
        return
    work.out(
        e.ConditionChanged(
            at_ns=work.now_ns,
            number=order.number,
            condition=snapshot.condition,
            stamp_ns=snapshot.stamp_ns,
            sequence=snapshot.sequence,
        )
    )


def _settle_wishes(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    kind = _PENDING.get(snapshot.pending)
    if kind is not None:
        if order.oldest(kind, Stage.ACKNOWLEDGED) is None:
            wish = order.oldest(kind, Stage.WAITING, Stage.UNKNOWN)
            if wish is not None:
                at = (snapshot.stamp_ns, snapshot.sequence)
                acknowledge(work, order, wish, "", *at)
        return
    quiet_ns = work.settings.quiet_ms * NS_PER_MS
    for wish in list(order.wishes):
        if wish.stage is Stage.ACKNOWLEDGED and asked_ns >= wish.told_ns + quiet_ns:
            _answer(work, order, wish, snapshot)


def _answer(work: Work, order: Order, wish: Wish, snapshot: Snapshot) -> None:
    """The broker no longer calls an acknowledged request pending: it is decided."""
    if wish.kind is WishKind.REPLACE and shows_terms(order, wish):
        confirm_replace(work, order, wish, snapshot)
    elif wish.kind is not WishKind.SUBMIT and not (
        wish.kind is WishKind.CANCEL and snapshot.status in TERMINAL - {Status.FILLED}
    ):
        work.out(
            e.WishRefused(
                at_ns=work.now_ns,
                number=order.number,
                wish=wish.wish,
                code="NOT_PENDING",
                text="the broker no longer shows it as pending",
                stamp_ns=snapshot.stamp_ns,
                sequence=snapshot.sequence,
            )
        )


def shows_terms(order: Order, wish: Wish) -> bool:
    """Tell whether the terms in force are the ones that a replace asked for."""
    terms = order.terms
    return (
        wish.quantity in {None, order.quantity}
        and wish.limit_price in {None, terms.limit_price}
        and wish.stop_price in {None, terms.stop_price}
    )


__all__ = [
    "absorb_poll",
    "absorb_sighting",
    "is_caught_up",
    "release",
    "shows_terms",
    "sum_notional",
]
