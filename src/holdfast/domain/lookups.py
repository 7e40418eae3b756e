"""What asking for an order gave: found, absent, or nothing that proves anything.

Rule 1: absence is proven only by a complete answer to a question that left later than the
absence grace after the order was last sent; only then may a submit be sent again or fail.
Rule 2: an order that works does not end because it is not found: that is an anomaly, asked again.
"""

from holdfast.domain import events as e
from holdfast.domain.attend import resend_submit
from holdfast.domain.facts import confirm_replace
from holdfast.domain.inputs import Looked
from holdfast.domain.order import Order
from holdfast.domain.snapshots import absorb_sighting, is_working, shows_terms
from holdfast.domain.values import Status
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS, Work, anomaly, backoff_ns


def absorb_lookup(work: Work, order: Order, looked: Looked) -> None:
    """Take in the answer to a lookup, and settle or repeat the question."""
    if order.lookup is None or looked.attempt != order.lookup.attempt:
        return
    result = looked.result
    sightings = result.sightings
    if order.legs:  # a replace's new broker order before the one that it ended
        sightings = tuple(sorted(sightings, key=lambda one: not is_working(one.snapshot)))
    for sighting in sightings:
        absorb_sighting(work, order, sighting, looked.asked_ns)
    found = bool(result.sightings)
    for wish in list(order.wishes):
        if order.wish(wish.wish) is wish:
            _settle(work, order, wish, looked, found=found)
    shown = any(is_working(sighting.snapshot) for sighting in result.sightings)
    alive = order.alive is not None and (shown or not (found or result.complete))
    works = order.status in {Status.OPEN, Status.PARTIAL_FILL}
    if result.complete and not found and works and order.lookup.tries == 1:
        anomaly(
            work,
            "NOT_FOUND",
            f"the broker does not show an order that should work ({order.lookup.reason}); "
            "silence ends nothing, it is asked again",
            order.number,
        )
    again = (
        not (found or result.complete)
        or alive
        or _is_open(order)
        or (works and not found)
        or order.is_past_end(work.wall_ns)
        or _is_too_early(work, order, looked)
    )
    wait = backoff_ns(work, order.wire_id, order.lookup.tries)
    if alive:
        wait = max(wait, work.settings.quiet_ms * NS_PER_MS)
    work.out(
        e.LookupEnded(
            at_ns=work.now_ns,
            number=order.number,
            found=found,
            complete=result.complete,
            alive=alive,
            again_ns=work.now_ns + wait if again else 0,
        )
    )


def _is_open(order: Order) -> bool:
    """Tell whether a request is left that only another answer can settle."""
    return any(
        wish.stage in {Stage.UNKNOWN, Stage.ACKNOWLEDGED} and wish.kind is not WishKind.CANCEL
        for wish in order.wishes
    )


def _is_too_early(work: Work, order: Order, looked: Looked) -> bool:
    """Tell whether an answer is from before an end, so that it lacks what traded meanwhile.

    What never was an order at the broker has traded nothing.
    """
    if work.capabilities.lists_executions or order.status is Status.FAILED:
        return False
    shown = [one.snapshot for one in looked.result.sightings if is_working(one.snapshot)]
    if any(order.find_leg(one.broker_order_id) is not order.leg for one in shown):
        return True
    ended = bool(looked.result.sightings) and not shown
    return order.is_terminal and not ended and looked.asked_ns < order.completed_ns


def _settle(work: Work, order: Order, wish: Wish, looked: Looked, *, found: bool) -> None:
    grace_ns = work.settings.absence_grace_ms * NS_PER_MS
    proves = looked.result.complete and looked.asked_ns >= wish.sent_ns + grace_ns
    if wish.kind is WishKind.SUBMIT:
        if wish.stage is Stage.UNKNOWN and not found and proves:
            resend_submit(work, order, wish)
    elif order.is_terminal:
        settled = found or looked.result.complete
        if wish.is_out and (proves or (settled and wish.kind is WishKind.CANCEL)):
            work.out(e.WishClosed(at_ns=work.now_ns, number=order.number, wish=wish.wish))
    elif wish.kind is WishKind.REPLACE and wish.stage is Stage.UNKNOWN and found:
        _settle_replace(work, order, wish, looked, proves=proves)


def _settle_replace(work: Work, order: Order, wish: Wish, looked: Looked, *, proves: bool) -> None:
    current = next(
        (
            sighting.snapshot
            for sighting in looked.result.sightings
            if order.find_leg(sighting.snapshot.broker_order_id) is order.leg
        ),
        None,
    )
    if current is not None and shows_terms(order, wish):
        confirm_replace(work, order, wish, current)
    elif proves:
        work.out(
            e.WishRefused(
                at_ns=work.now_ns,
                number=order.number,
                wish=wish.wish,
                code="NOT_APPLIED",
                text="the broker shows the order with its old terms",
            )
        )
