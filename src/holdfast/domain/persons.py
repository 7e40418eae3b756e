"""A person's word: who gives it, and why."""

from typing import Final

from holdfast.domain.requests import check_text
from holdfast.domain.values import check_id
from holdfast.errors import InputError

# Who acts where a desk does so by itself.
OURS: Final = "holdfast"


def check_by(by: object) -> str:
    """Return who does something, which may be left empty.

    Raises:
        InputError: it is no name that a journal keeps whole.
    """
    return check_id(by, "by") if by != "" else ""


def check_person(by: object, reason: object, what: str) -> None:
    """Demand a name and a reason, which are journaled.

    Raises:
        InputError: either is missing.
    """
    check_id(by, "by")
    if not check_text(reason, "reason").strip():
        raise InputError(f"{what} needs a reason, but it is {reason!r}; say why, it is journaled")
