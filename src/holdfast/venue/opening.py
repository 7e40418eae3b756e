"""How an account is opened, or found again as it was opened."""

from collections import deque
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from holdfast.domain.capabilities import Capabilities
from holdfast.errors import InputError
from holdfast.venue.orders import Account

# Every account tells what it can still pay for, working orders taken off, and what it holds.
_TELLS: Final = {"account_data": True, "power_after_orders": True}
# What an account can do where nobody says otherwise.
_EVERYTHING: Final = Capabilities(batch_cancel=True)


def opened(
    accounts: dict[str, Account],
    name: str,
    capabilities: Capabilities | None,
    *,
    pending_reports: bool,
    cash: Decimal | None,
    currency: str,
    history_max: int | None,
) -> Account:
    """Return the account of a name, new if there is none; see `Venue.open_account`."""
    if cash is not None and not (cash.is_finite() and cash >= 0):
        raise InputError(f"cash is {cash}; give zero or more, or None for as much as it takes")
    account = accounts.get(name)
    if account is None or capabilities is not None:
        capabilities = replace(capabilities or _EVERYTHING, **_TELLS)
    if account is None:
        account = accounts[name] = Account(
            name=name,
            capabilities=capabilities or Capabilities(),
            pending_reports=pending_reports,
            cash=cash,
            currency=currency,
            log=deque(maxlen=history_max),
        )
    elif capabilities is not None and capabilities != account.capabilities:
        raise InputError(f"account {name!r} is open with other capabilities; use its own")
    elif cash is not None and (cash, currency) != (account.cash, account.currency):
        found = "as much as it takes" if account.cash is None else f"{account.cash}"
        raise InputError(f"account {name!r} was opened with {found} {account.currency}, not {cash}")
    return account
