"""What a call's outcome means for the request behind it: accepted, refused, not sent, unknown.

Rule 1: positive evidence always counts, also when it answers an earlier attempt. Anything else
counts only for the attempt that is on its way.
Rule 2: a refusal for a duplicate id says that the order exists: unknown, and looked up.
Rule 3: what was provably not processed is repeated under the same wire id, a bounded number of
times, no sooner than the broker asked; what only waited for its turn is no repeat.
Rule 4: a refused cancel leaves the order as it was, and is read once more: it may have filled.
"""

from typing import Final

import msgspec

from holdfast.domain import events as e
from holdfast.domain.attend import refuse_unsent
from holdfast.domain.facts import (
    acknowledge,
    confirm_replace,
    end,
    meet,
    show_alive,
    unknown,
)
from holdfast.domain.inputs import Answer
from holdfast.domain.order import Order
from holdfast.domain.reports import (
    Accepted,
    NotSent,
    RefusalCode,
    Refused,
    Report,
    ReportKind,
    Unknown,
)
from holdfast.domain.values import MOMENT_MAX, Status
from holdfast.domain.wish import Stage, Wish, WishKind
from holdfast.domain.work import NS_PER_MS, Work, anomaly, backoff_ns

# No broker asks for more, and an answer that does must not hold back a cancel for days.
RETRY_AFTER_MS_MAX: Final = 3_600_000


def absorb_answer(work: Work, order: Order, answer: Answer) -> None:
    """Take in how a submit, cancel or replace ended."""
    wish = order.wish(answer.wish)
    outcome = answer.outcome
    if isinstance(outcome, Accepted):
        if not 0 <= outcome.stamp_ns <= MOMENT_MAX:
            outcome = msgspec.structs.replace(outcome, stamp_ns=0)
        _accepted(work, order, wish, answer, outcome)
    elif wish is None or wish.stage is not Stage.WAITING or wish.attempt != answer.attempt:
        return
    elif isinstance(outcome, Unknown):
        unknown(work, order, wish, outcome.text)
    elif isinstance(outcome, NotSent):
        _not_sent(work, order, wish, outcome)
    else:
        _refused(work, order, wish, outcome)


def _accepted(
    work: Work, order: Order, wish: Wish | None, answer: Answer, outcome: Accepted
) -> None:
    if answer.wish == 0:
        _submit_accepted(work, order, outcome)
    elif wish is None:
        return
    elif wish.kind is WishKind.REPLACE and outcome.final:
        shown = Report(
            kind=ReportKind.REPLACED,
            broker_order_id=outcome.broker_order_id,
            stamp_ns=outcome.stamp_ns,
        )
        confirm_replace(work, order, wish, shown)
    elif wish.kind is WishKind.CANCEL and outcome.final:
        if answer.attempt != wish.attempt and len(order.legs) > 1:
            work.look_up(order, "an earlier broker order was canceled")
            return
        shown = Report(kind=ReportKind.CANCELED, stamp_ns=outcome.stamp_ns)
        end(work, order, "canceled", "canceled", "", shown)
    elif wish.stage is not Stage.ACKNOWLEDGED:
        acknowledge(work, order, wish)


def _submit_accepted(work: Work, order: Order, outcome: Accepted) -> None:
    if order.status is Status.NEW:
        work.out(
            e.OrderAccepted(
                at_ns=work.now_ns,
                number=order.number,
                broker_order_id=outcome.broker_order_id,
                stamp_ns=outcome.stamp_ns,
            )
        )
        return
    if order.legs and order.find_leg(outcome.broker_order_id) is not None:
        meet(work, order, outcome.broker_order_id, order.wire_id)
        return
    anomaly(
        work,
        "SECOND_BROKER_ORDER",
        f"accepted as {outcome.broker_order_id!r} while {order.status} and known as "
        f"{order.broker_order_id!r}",
        order.number,
    )
    if order.is_terminal:
        show_alive(work, order, outcome.broker_order_id, outcome.stamp_ns)
    else:
        work.look_up(order, "accepted under a second id")


def _not_sent(work: Work, order: Order, wish: Wish, outcome: NotSent) -> None:
    if outcome.waited:
        _wait_again(work, order, wish, outcome)
        return
    if wish.delays >= work.settings.retries_max and wish.kind is not WishKind.CANCEL:
        refuse_unsent(work, order, wish, f"not sent after {wish.delays} repeats: {outcome.text}")
        return
    wait = backoff_ns(work, order.wire_id, wish.delays)
    asked = min(outcome.retry_after_ms, RETRY_AFTER_MS_MAX) * NS_PER_MS
    retry_at = work.now_ns + max(wait, asked)
    if wish.kind is not WishKind.CANCEL and retry_at > wish.not_after_ns:
        refuse_unsent(work, order, wish, f"no time left to repeat it: {outcome.text}")
        return
    work.out(
        e.WishDelayed(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            retry_at_ns=retry_at,
            text=outcome.text[:500],
        )
    )


def _wait_again(work: Work, order: Order, wish: Wish, outcome: NotSent) -> None:
    """Line up once more at once: nothing has failed, and its own end alone limits the wait."""
    if wish.kind is not WishKind.CANCEL and work.now_ns >= wish.not_after_ns:
        refuse_unsent(work, order, wish, f"no time left to wait for its turn: {outcome.text}")
        return
    work.out(
        e.WishDelayed(
            at_ns=work.now_ns,
            number=order.number,
            wish=wish.wish,
            retry_at_ns=work.now_ns,
            text=outcome.text[:500],
            waited=True,
        )
    )


def _refused(work: Work, order: Order, wish: Wish, outcome: Refused) -> None:
    if wish.kind is not WishKind.SUBMIT:
        work.out(
            e.WishRefused(
                at_ns=work.now_ns,
                number=order.number,
                wish=wish.wish,
                code=outcome.code,
                text=outcome.text[:500],
            )
        )
        if not order.is_terminal:
            work.look_up(order, f"a {wish.kind} was refused")
    elif outcome.code is RefusalCode.DUPLICATE_ID:
        unknown(work, order, wish, f"refused as a duplicate: {outcome.text}", duplicate=True)
    else:
        work.out(
            e.OrderRejected(
                at_ns=work.now_ns,
                number=order.number,
                code=outcome.code,
                text=outcome.text[:500],
            )
        )
