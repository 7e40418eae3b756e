"""The kill switch and the circuit breaker: whether entries go out at all, and alerts."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import CloseBreaker, EngageKillSwitch, Raise, ReleaseKillSwitch

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def engage(desk: "Desk", given: EngageKillSwitch) -> None:
    """Let no entry out any more."""


def release(desk: "Desk", given: ReleaseKillSwitch) -> None:
    """Let entries out again."""


def close_breaker(desk: "Desk", given: CloseBreaker) -> None:
    """Take a person's word that the breaker's cause is gone."""


def raise_alert(desk: "Desk", given: Raise) -> None:
    """Journal something that people should see."""


def settle(desk: "Desk") -> None:
    """Do at the end of each step what the desk's switches demand; idempotent."""
