"""Closing a position: cancel what is open, confirm, exit exactly what is left."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import Flatten

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def flatten(desk: "Desk", given: Flatten) -> None:
    """Want positions closed."""
