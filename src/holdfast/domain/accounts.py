"""What the account may spend, as its broker says.

A figure is dated by when the question left. What entries opened since then, and what open ones
could cost, is taken off it when an order is checked, so that it need not be asked each time.
Where the broker takes working orders off by itself, only those count that it had not accepted
when it was asked; one of them that trades afterwards counts twice until the next figure.
"""

from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.inputs import AccountSeen
from holdfast.domain.work import anomaly

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def account_seen(desk: "Desk", given: AccountSeen) -> None:
    """Take the account's figure, unless it is older than the one known, or says nothing new."""
    if not (given.buying_power.is_finite() and given.opened.is_finite()):
        anomaly(desk, "UNUSABLE_REPORT", f"buying power {given.buying_power}")
        return
    power = desk.guard.power
    if power is not None:
        is_same = (power.amount, power.opened) == (given.buying_power, given.opened)
        if given.asked_ns < power.asked_ns or (is_same and not _covers_more(desk, power.asked_ns)):
            return
    desk.out(
        e.BuyingPowerSet(
            at_ns=desk.now_ns,
            amount=given.buying_power,
            asked_ns=given.asked_ns,
            opened=given.opened,
        )
    )


def _covers_more(desk: "Desk", asked_ns: int) -> bool:
    """Tell whether a newer figure of the same amount takes more orders into account."""
    if not desk.capabilities.power_after_orders:
        return False
    return bool(desk.state.exposure.uncovered(asked_ns))
