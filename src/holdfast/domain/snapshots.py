"""What a snapshot of an order means: the answer to a poll or to a question by the order's id.

Rule 1: an answer is dated by when its question left; facts learnt later win.
Rule 2: while a larger cumulative figure waits for its executions, the whole snapshot waits with
it; exposure counts the larger figure at once.
Rule 3: a smaller figure is a suspected bust. A poll books nothing and asks for the executions;
the answer to that question is believed.
Rule 4: a snapshot without "pending" answers a request that the broker had acknowledged; of one
that is only on its way it proves nothing.
Rule 5: an order that ended comes back only if the broker, asked twice by its own id after the
quiet period, shows it working with a newer stamp. An answer from before that makes it exposure,
and is asked for again.
"""

from decimal import Decimal
from typing import Final

from holdfast.domain import events as e
from holdfast.domain.executions import Leg
from holdfast.domain.facts import (
    acknowledge,
    confirm_replace,
    doubt_sum,
    end,
    end_broker_order,
    imply_acceptance,
    meet,
    replace_of,
    restate,
    show_alive,
)
from holdfast.domain.figures import book_difference, bust_unlisted, hold, leg_of, reduce_inferred
from holdfast.domain.order import Order
from holdfast.domain.reports import Sighting, Snapshot
from holdfast.domain.trades import book_trade
from holdfast.domain.values import TERMINAL, ZERO, Condition, Status, neg, sub
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS, Work, anomaly

_PENDING: Final = {"cancel": WishKind.CANCEL, "replace": WishKind.REPLACE, "new": WishKind.SUBMIT}


_ALIVE_ANSWERS: Final = 2


def absorb_poll(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    """Take in one line of a list of orders."""
    if _is_stale(order, snapshot, asked_ns):
        return
    meet(work, order, snapshot.broker_order_id, snapshot.wire_id, snapshot)
    if order.is_terminal and is_working(snapshot):
        if asked_ns >= order.completed_ns + work.settings.quiet_ms * NS_PER_MS:
            _suspect(work, order, snapshot)
        return
    _take(work, order, snapshot, asked_ns, believed=False)


def absorb_terms(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    """Put the terms that are shown in force, before trades are counted that came with them.

    What traded under a larger quantity must not complete a smaller one.
    """
    leg = order.find_leg(snapshot.broker_order_id)
    if leg is None or leg is not order.leg or order.is_terminal:
        return
    if not _is_stale(order, snapshot, asked_ns):
        restate(work, order, leg, snapshot)


def absorb_sighting(work: Work, order: Order, sighting: Sighting, asked_ns: int) -> None:
    """Take in what asking for this order by its own ids gave."""
    snapshot = sighting.snapshot
    stale = _is_stale(order, snapshot, asked_ns) or _is_behind(order, snapshot, asked_ns)
    if not stale:
        absorb_terms(work, order, snapshot, asked_ns)
    for execution in sighting.executions:
        book_trade(work, order, snapshot, execution)
    if stale:
        return
    meet(work, order, snapshot.broker_order_id, snapshot.wire_id, snapshot)
    if sighting.executions_complete:
        bust_unlisted(work, order, sighting)
    leg, figure = order.find_leg(snapshot.broker_order_id), snapshot.cumulative
    if leg is not None and leg.waiting and figure is not None and figure < order.counted(leg):
        reduce_inferred(work, order, leg, sub(order.counted(leg), figure), snapshot)
    if order.is_terminal and is_working(snapshot):
        _confirm_alive(work, order, snapshot, asked_ns)
        return
    _take(work, order, snapshot, asked_ns, believed=True)


def release(work: Work, order: Order) -> None:
    """End a snapshot's wait: its executions came, or the grace is over."""
    snapshot = order.held
    if snapshot is None:
        return
    work.out(e.SnapshotReleased(at_ns=work.now_ns, number=order.number))
    book_difference(work, order, snapshot)
    doubt_sum(work, order, snapshot)
    is_figure_only = snapshot.status is None and not snapshot.word  # of a trade report: see `claim`
    if not is_figure_only and not _is_stale(order, snapshot, 0):
        _settle(work, order, snapshot, work.now_ns)


def _is_stale(order: Order, snapshot: Snapshot, asked_ns: int) -> bool:
    leg = order.find_leg(snapshot.broker_order_id)
    if (
        leg is not None
        and (snapshot.stamp_ns or snapshot.sequence)
        and (leg.stamp_ns or leg.sequence)
    ):
        return leg.is_older(snapshot.stamp_ns, snapshot.sequence)
    return bool(asked_ns) and asked_ns < order.updated_ns


def _is_behind(order: Order, snapshot: Snapshot, asked_ns: int) -> bool:
    """Tell whether an answer does not count a trade that is newer, and that was told elsewhere
    after the question left: that it lacks this trade says nothing of a bust.
    """
    leg, figure = order.find_leg(snapshot.broker_order_id), snapshot.cumulative
    if leg is None or figure is None or figure >= order.counted(leg):
        return False
    if asked_ns >= order.updated_ns or not snapshot.stamp_ns:
        return False
    return any(one.quantity and one.stamp_ns > snapshot.stamp_ns for one in leg.executions.values())


def is_working(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot shows its broker order as not ended."""
    return snapshot.status not in TERMINAL and not snapshot.replaced_by


def _suspect(work: Work, order: Order, snapshot: Snapshot) -> None:
    if _is_newer_than_end(order, snapshot):
        show_alive(work, order, snapshot.broker_order_id, snapshot.stamp_ns)


def _is_newer_than_end(order: Order, snapshot: Snapshot) -> bool:
    leg = order.find_leg(snapshot.broker_order_id)
    news = leg.news(snapshot.stamp_ns, snapshot.sequence) if leg is not None else None
    if news == 0 and order.status is Status.FILLED and snapshot.order_quantity is not None:
        # The end was our own sum, and the broker's order is for more.
        return order.total_quantity(leg, snapshot.order_quantity) > order.filled_quantity
    return news is None or news > 0


def _confirm_alive(work: Work, order: Order, snapshot: Snapshot, asked_ns: int) -> None:
    quiet = work.settings.quiet_ms * NS_PER_MS
    if not _is_newer_than_end(order, snapshot):
        return
    if asked_ns < order.completed_ns + quiet:  # asked again: no poll may ever list it
        show_alive(work, order, snapshot.broker_order_id, snapshot.stamp_ns)
        return
    times = (order.alive or 0) + 1
    if times < _ALIVE_ANSWERS:
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


def _take(work: Work, order: Order, snapshot: Snapshot, asked_ns: int, *, believed: bool) -> None:
    if snapshot.status is not Status.REJECTED or snapshot.cumulative:
        imply_acceptance(work, order, snapshot.broker_order_id)
    replaced = _adopts_replace(work, order, snapshot)
    if replaced and _carries(order, snapshot.replaced_by):
        return
    leg = leg_of(order, snapshot)
    figure = snapshot.cumulative
    if figure is not None:
        missing = sub(figure, order.counted(leg))
        _let_go(work, order, leg, figure, believed=believed)
        if missing > 0:
            hold(work, order, snapshot)
            if order.held is not None and order.held_until_ns <= work.now_ns:
                release(work, order)
            return
        if missing < 0:
            if not believed:
                _ask(work, order, "a smaller cumulative figure")
                return
            reduce_inferred(work, order, leg, neg(missing), snapshot)
    if not replaced:
        _settle(work, order, snapshot, asked_ns)


def _carries(order: Order, broker_order_id: str) -> bool:
    """Tell whether a broker order's figure has what was filled before it."""
    leg = order.find_leg(broker_order_id)
    return leg is not None and leg.carried


def _let_go(work: Work, order: Order, leg: Leg, figure: Decimal, *, believed: bool) -> None:
    """End the wait of another figure: a smaller one takes its place, or it is another's."""
    if order.held is None:
        return
    held = order.find_leg(order.held.broker_order_id)
    if held is not leg and not leg.carried:
        release(work, order)
    elif believed and (order.held.cumulative or ZERO) > figure:
        work.out(e.SnapshotReleased(at_ns=work.now_ns, number=order.number))


def _ask(work: Work, order: Order, reason: str) -> None:
    if order.lookup is None:
        work.look_up(order, reason)


def _adopts_replace(work: Work, order: Order, snapshot: Snapshot) -> bool:
    """Recognise the broker order that a replace closed, and with it the one that it opened."""
    leg = order.find_leg(snapshot.broker_order_id)
    if not snapshot.replaced_by or leg is None:
        return False
    end_broker_order(work, order, snapshot.broker_order_id, "replaced", snapshot)
    if order.find_leg(snapshot.replaced_by) is None:
        wished = Snapshot(broker_order_id=snapshot.replaced_by)
        confirm_replace(work, order, replace_of(order, ""), wished)
        _ask(work, order, "the broker order that took this one's place")
    return True


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
        if not order.is_terminal and (snapshot.cumulative is None or not order.filled_quantity):
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
    if order.condition is Condition.ABANDONED:  # until its cancel is answered
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
