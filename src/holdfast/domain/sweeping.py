"""Many orders at once: cancel all of them, or those that have waited too long."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import CancelAll, ManageOrders

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def cancel_all(desk: "Desk", given: CancelAll) -> None:
    """Want all working orders of a filter gone; the result names them."""


def manage(desk: "Desk", given: ManageOrders) -> None:
    """Look for orders that have waited too long now."""


def tick(desk: "Desk") -> None:
    """Look for them where it is time to."""


def due_ns(desk: "Desk") -> int | None:
    """Return when to look next, or None."""
    return None
