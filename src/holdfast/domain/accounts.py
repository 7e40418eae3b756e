"""What the account may spend, as its broker says."""

from typing import TYPE_CHECKING

from holdfast.domain.inputs import AccountSeen

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk


def account_seen(desk: "Desk", given: AccountSeen) -> None:
    """Take the account's figure, unless it is what is known."""
