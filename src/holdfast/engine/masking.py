"""Text from outside, made fit to be kept: secrets masked, length bounded."""

import re
from typing import Final

from holdfast.domain.sanity import writable

# Enough to recognise a reply by; a page of HTML behind a gateway error is no news.
TEXT_MAX: Final = 400

_WORDS: Final = r"[\w-]*(?:key|token|secret|passwd|password|passphrase|signature|authorization|jwt)"
_PAIR: Final = re.compile(
    rf"""(?ix) (\b{_WORDS}["']?\s*[=:]\s*["']?) (?:bearer\s+|basic\s+)? [^\s"'&,;}}]+"""
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")
_USER: Final = re.compile(r"(?<=://)[^/@\s]+@")


def masked(text: object) -> str:
    """Return the text of anything with credentials replaced by `***`, at most 400 characters."""
    plain = writable(str(text)[: 4 * TEXT_MAX])
    plain = _PAIR.sub(r"\1***", plain)
    plain = _BEARER.sub(r"\1 ***", plain)
    plain = _USER.sub("***@", plain)
    return plain if len(plain) <= TEXT_MAX else f"{plain[:TEXT_MAX]}..."


def described(error: BaseException) -> str:
    """Return an exception's class and masked text."""
    return f"{type(error).__name__}: {masked(error)}" if str(error) else type(error).__name__
