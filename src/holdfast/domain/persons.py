"""A person's word: who gives it, and why."""

from holdfast.domain.requests import check_text
from holdfast.domain.values import check_id
from holdfast.errors import InputError


def check_person(by: object, reason: object, what: str) -> None:
    """Demand a name and a reason, which are journaled.

    Raises:
        InputError: either is missing.
    """
    check_id(by, "by")
    if not check_text(reason, "reason").strip():
        raise InputError(f"{what} needs a reason, but it is {reason!r}; say why, it is journaled")
