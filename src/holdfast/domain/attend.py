"""What an order still waits for: one idempotent look at its wishes, deadlines and questions.

Rule 1: `attend` is level-triggered. It compares what is wanted with what is on its way, and may
run as often as anybody likes, after whatever input; nothing is remembered outside the order.
Rule 2: one request is on its way per order at a time. A queued one goes out when the one before
it is answered; a cancel goes past a submit of unknown outcome where the broker takes our id.
Rule 3: an unknown submit or replace is looked up, an unknown cancel is simply sent again; neither
ever gives up, they only slow down.
Rule 4: nothing is sent after its `not_after`; what never left is refused or failed, and says so.
"""

from typing import Final

from holdfast.domain import events as e
from holdfast.domain.figures import is_caught_up
from holdfast.domain.order import Order
from holdfast.domain.snapshots import release
from holdfast.domain.values import TimeInForce
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS, Work, anomaly, backoff_ns

# After so many questions without a usable answer a person should know.
QUESTIONS_BEFORE_ALERT: Final = 5


def attend(work: Work, order: Order) -> None:
    """Send, repeat, ask or close whatever is due for one order."""
    if not order.is_waiting:
        return
    if order.held is not None and (order.held_until_ns <= work.now_ns or is_caught_up(order)):
        release(work, order)
    for wish in list(order.wishes):
        if wish.due_ns and wish.due_ns <= work.now_ns and order.wish(wish.wish) is wish:
            _DUE[wish.stage](work, order, wish)
    _cancel_again(work, order)
    _send_next(work, order)
    _close_unsent(work, order)
    lookup = order.lookup
    if lookup is not None and lookup.again_ns and lookup.again_ns <= work.now_ns:
        ask(work, order, lookup.reason)


def ask(work: Work, order: Order, reason: str) -> None:
    """Ask the broker for the order by every id it has had."""
    tries = order.next_try()
    wait = work.settings.ack_wait_ms * NS_PER_MS + backoff_ns(work, order.wire_id, tries)
    work.out(
        e.LookupStarted(
            at_ns=work.now_ns,
            number=order.number,
            attempt=order.questions + 1,
            again_ns=work.now_ns + wait,
            reason=reason,
        )
    )
    if tries == QUESTIONS_BEFORE_ALERT:
        anomaly(
            work,
            "STILL_UNKNOWN",
            f"asked {tries} times ({reason}) without a usable answer; it goes on, slower",
            order.number,
        )


def _unanswered(work: Work, order: Order, wish: Wish) -> None:
    work.out(
        e.WishUnknown(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            look_at_ns=work.now_ns,
            text="no answer in time",
        )
    )
    _look(work, order, wish)


def _look(work: Work, order: Order, wish: Wish) -> None:
    """An outcome nobody can tell: send a cancel again, ask for anything else."""
    if wish.kind is WishKind.CANCEL and wish.stage is Stage.UNKNOWN and not order.is_terminal:
        _send(work, order, wish)
    elif order.lookup is None:
        ask(work, order, f"{wish.kind} of unknown outcome")


def _repeat(work: Work, order: Order, wish: Wish) -> None:
    if order.wanted_gone and wish.kind is not WishKind.CANCEL:
        refuse_unsent(work, order, wish, "cancelled before it could be sent")
    elif not _in_flight(order):
        _send(work, order, wish)


def _overdue(work: Work, order: Order, wish: Wish) -> None:
    refuse_unsent(work, order, wish, "its time to be sent passed while another request was out")


_DUE: Final = {
    Stage.QUEUED: _overdue,
    Stage.WAITING: _unanswered,
    Stage.DELAYED: _repeat,
    Stage.ACKNOWLEDGED: _look,
    Stage.UNKNOWN: _look,
}


def refuse_unsent(work: Work, order: Order, wish: Wish, text: str) -> None:
    """Give up a request that provably never reached the broker."""
    if wish.kind is WishKind.SUBMIT:
        failed = e.OrderFailed(
            at_ns=work.now_ns, number=order.number, code="NOT_SENT", text=text[:500]
        )
        work.out(failed)
        return
    work.out(
        e.WishRefused(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            code="NOT_SENT",
            text=text[:500],
        )
    )


def _in_flight(order: Order) -> bool:
    return any(wish.stage is Stage.WAITING for wish in order.wishes)


def _send(work: Work, order: Order, wish: Wish) -> None:
    """Send a request, or send it again under the same wire id."""
    now, settings = work.now_ns, work.settings
    never_late = wish.kind is WishKind.CANCEL
    if not never_late and wish.not_after_ns and now > wish.not_after_ns:
        refuse_unsent(work, order, wish, "its time to be sent had passed")
        return
    ack_ns = settings.ack_wait_ms * NS_PER_MS
    slower = backoff_ns(work, order.wire_id, wish.attempt) if wish.attempt > 1 else 0
    work.out(
        e.WishSent(
            at_ns=now,
            number=order.number,
            wish=wish.wish,
            attempt=wish.attempt + 1,
            deadline_ns=now + ack_ns + slower,
            not_after_ns=now + ack_ns if never_late else wish.not_after_ns,
        )
    )


def resend_submit(work: Work, order: Order, wish: Wish) -> None:
    """Send a submit that is proven absent again.

    It fails instead where that could make two orders, or where it is no longer wanted. One that
    was refused as a repeat exists, so that it is asked for until it is found.
    """
    settings = work.settings
    if wish.duplicate:
        return
    alone = not order.rides  # it goes out with another order, or never
    safe = alone and work.capabilities.unique_ids != "none" and not order.wanted_gone
    may = safe and wish.attempt <= settings.resends_max
    if may and work.now_ns <= wish.not_after_ns:
        _send(work, order, wish)
        return
    failed = e.OrderFailed(
        at_ns=work.now_ns,
        number=order.number,
        code="ABSENT",
        text="the broker has no such order, asked by id, in open orders, history and executions",
    )
    work.out(failed)


def _cancel_again(work: Work, order: Order) -> None:
    """An order that somebody wants gone and that works again is cancelled again.

    While a replace is on its way its outcome is waited for: it may change what there is to cancel.
    """
    if not order.wanted_gone or not order.is_working:
        return
    replacing = any(wish.kind is WishKind.REPLACE and wish.is_out for wish in order.wishes)
    if order.oldest(WishKind.CANCEL) is None and not replacing:
        request_cancel(work, order, by="", reason="it was to be cancelled and works")


def want_gone(work: Work, order: Order, by: str, reason: str, batch: int = 0) -> None:
    """Want an order gone for good, without a successor; asking twice is asking once."""
    if order.moving_to is not None:
        why = reason or "cancelled"
        work.out(e.RequoteDropped(at_ns=work.now_ns, number=order.number, reason=why))
    if order.is_exposed and order.oldest(WishKind.CANCEL) is None:
        request_cancel(work, order, by, reason, batch)


def request_cancel(work: Work, order: Order, by: str, reason: str, batch: int = 0) -> None:
    """Record that somebody wants the order gone; `attend` sends it when its turn comes."""
    work.out(
        e.CancelRequested(
            at_ns=work.now_ns,
            number=order.number,
            wish=order.last_wish + 1,
            by=by,
            reason=reason,
            batch=batch,
        )
    )


def _send_next(work: Work, order: Order) -> None:
    """Let the next queued request out, a cancel before any replace."""
    if _in_flight(order):
        return
    cancel = order.oldest(WishKind.CANCEL, Stage.QUEUED)
    wish = cancel or order.oldest(WishKind.REPLACE, Stage.QUEUED)
    if wish is None or order.is_terminal:
        return
    submit = order.wish(0)
    if submit is not None:
        if submit.stage is Stage.DELAYED and wish.kind is WishKind.CANCEL:
            refuse_unsent(work, order, submit, "cancelled before it could be sent")
            return
        by_wire_id = wish.kind is WishKind.CANCEL and work.capabilities.cancel_by_wire_id
        if submit.stage is Stage.DELAYED or not by_wire_id:
            return
    if wish.kind is WishKind.REPLACE and any(w.is_out for w in order.wishes):
        return
    _send(work, order, wish)


def _close_unsent(work: Work, order: Order) -> None:
    """What was never sent has nothing left to ask of an order that ended."""
    if not order.is_terminal or order.alive is not None:
        return
    for wish in list(order.wishes):
        if not wish.is_out:
            work.out(e.WishClosed(at_ns=work.now_ns, number=order.number, wish=wish.wish))


def note_end_of_time(work: Work, order: Order) -> None:
    """Past its end an order is looked up, or cancelled where the broker knows no such end."""
    if not order.is_past_end(work.wall_ns) or order.lookup is not None:
        return
    if TimeInForce.GTD in work.capabilities.times_in_force:
        ask(work, order, "past its end")
    elif not order.wanted_gone:
        request_cancel(work, order, by="holdfast", reason="past its end")
