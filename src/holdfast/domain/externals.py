"""Orders of the account that no desk placed: followed, counted as exposure, cancellable."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import AdoptExternal

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def adopt_external(desk: "Desk", given: AdoptExternal) -> None:
    """Enter an order that somebody placed past all desks."""
