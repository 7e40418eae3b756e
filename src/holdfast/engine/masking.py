"""Text from outside, made fit to be kept: secrets and persons masked, length bounded.

Rule 1: what a program registers with `register_secret` is hidden wherever it stands; what merely
looks like a credential, a user's name or an account number is hidden by its form.
Rule 2: masking comes before cutting, or half of a secret could be left.
"""

import base64
import json
import re
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec

from holdfast.domain.sanity import writable

# Enough to recognise a reply by; a page of HTML behind a gateway error is no news.
TEXT_MAX: Final = 400
# A traceback is longer, and all of it may be needed.
TRACE_MAX: Final = 20_000
# Values in values in values: deeper than any record of ours.
DEPTH_MAX: Final = 16
# A program has a few credentials; far more are a mistake that would slow every line.
SECRETS_MAX: Final = 1_000
# Shorter ones are hidden as whole words only, or half of all text would go with them.
_ANYWHERE_MIN: Final = 6

MASK: Final = "***"

_CREDENTIAL: Final = (
    r"[\w-]*(?:key|token|secret|passwd|password|passphrase|signature|authorization|jwt|mfa|otp)"
    r"(?:[_-]?id)?"
)
_PERSON: Final = (
    r"[\w-]*(?:user[_-]?name|e-?mail|login[_-]?name|user[_-]?id"
    r"|acc(?:oun)?t[_-]?(?:number|num|no|id))"
)
_QUOTED: Final = r"""b?\\?"[^"]*(?:"|$) | b?\\?'[^']*(?:'|$)"""
# Between a name and its value: `=`, `:`, or the comma of a pair of quoted texts.
_TO: Final = r"""(?:(?:\\?["'])?\s*[=:]\s*|\\?["']\s*,\s*(?=b?\\?["']))"""
_PAIR: Final = re.compile(
    rf"""(?ix) (\b(?:{_CREDENTIAL}|{_PERSON}) {_TO})
    (?: (?:bearer|basic|token)\s+ )? (?: {_QUOTED} | [^\s"'&,;}})\]]+ )"""
)
_USER: Final = re.compile(
    rf"""(?ix) (\b(?:user|login) (?: =\s* | ["']\s*:\s* )) (?: {_QUOTED} | \w+)"""
)
_COOKIE: Final = re.compile(r"""(?i)(\b(?:set-)?cookie["']?\s*[=:]\s*)[^\n]+""")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+@")
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_JWT: Final = re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*")
# No name stands before it, but no word looks like that: long, in both cases, with digits. The other
# is a key id as Alpaca has them.
_TOKEN: Final = re.compile(
    r"(?<![\w-])(?:(?=\w*[a-z])(?=\w*[A-Z])(?=\w*\d)[A-Za-z0-9_]{20,}|[AP]K[A-Z0-9]{18})(?![\w-])"
)
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# A brokerage account's number: digits, maybe behind letters, next to the word.
_ACCOUNT: Final = re.compile(
    r"""(?i)(\bacc(?:oun)?ts?(?:\s+(?:number|no\.?|id))?["']?\s*[=:#/]?\s*["']?)"""
    r"""(?=[A-Z-]{0,8}\d)[A-Z0-9-]*\d{4}[A-Z0-9-]*"""
)
_NAMED: Final = re.compile(rf"(?ix)(?:{_CREDENTIAL}|{_PERSON}|(?:set-)?cookie)")
_OURS: Final = frozenset({"idempotency_key"})

_lock: Final = Lock()
_registered: Final[dict[str, None]] = {}
_hiding: list[re.Pattern[str]] = []


def register_secret(secret: str) -> None:
    """Hide this text from now on in everything that is masked; an empty one is ignored.

    Raises:
        ValueError: there are more of them than any program has.
    """
    if not secret:
        return
    with _lock:
        if len(_registered) >= SECRETS_MAX and secret not in _registered:
            raise ValueError(
                f"{SECRETS_MAX} secrets are registered, as many as may; register each once"
            )
        _registered[secret] = None
        forms = {form for each in _registered for form in _forms_of(each)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        _hiding[:] = [re.compile("|".join(map(_pattern_of, longest_first)))]


def forget_secrets() -> None:
    """Hide nothing by registration any more; for tests."""
    with _lock:
        _registered.clear()
        _hiding.clear()


def hidden(text: str) -> str:
    """Return the text without any registered secret."""
    for pattern in _hiding:
        text = pattern.sub(MASK, text)
    return text


def masked(text: object, most: int = TEXT_MAX) -> str:
    """Return the text of anything with credentials replaced by `***`, at most 400 characters."""
    plain = writable(hidden(str(text)))
    if len(plain) > 4 * most:
        # A pattern may not know half a credential at the cut; the word there goes as a whole.
        plain = (plain[: 4 * most].rsplit(None, 1) or [""])[0]
    plain = _PEM.sub(MASK, plain)
    plain = _COOKIE.sub(rf"\1{MASK}", plain)
    plain = _PAIR.sub(rf"\1{MASK}", plain)
    plain = _USER.sub(rf"\1{MASK}", plain)
    plain = _BEARER.sub(rf"\1 {MASK}", plain)
    plain = _IN_URL.sub(f"{MASK}@", plain)
    plain = _EMAIL.sub(MASK, plain)
    plain = _JWT.sub(MASK, plain)
    plain = _TOKEN.sub(MASK, plain)
    plain = _ACCOUNT.sub(rf"\1{MASK}", plain)
    return plain if len(plain) <= most else f"{plain[:most]}..."


def masked_value(value: Any, most: int = TEXT_MAX, depth: int = DEPTH_MAX) -> Any:
    """Return a value fit for JSON with every text in it masked, and whatever a name gives away.

    Numbers, booleans and None stay; mappings become dicts with text keys, sequences and sets
    lists, exceptions their class and text, everything else its masked text.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return masked(value, most)
    if depth <= 0:
        return MASK
    if isinstance(value, bytes | bytearray):
        return masked(bytes(value).decode(errors="replace"), most)
    if isinstance(value, BaseException):
        return described(value)
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {
            masked(key): MASK if _gives_away(key) else masked_value(each, most, depth - 1)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [masked_value(each, most, depth - 1) for each in value]
    return masked(value, most)


def described(error: BaseException) -> str:
    """Return an exception's class and masked text."""
    return f"{type(error).__name__}: {masked(error)}" if str(error) else type(error).__name__


def _gives_away(key: object) -> bool:
    return isinstance(key, str) and key not in _OURS and _NAMED.fullmatch(key) is not None


def _forms_of(secret: str) -> set[str]:
    """Return a secret as it stands in a text, a URL, a JSON text, a repr, or Basic credentials."""
    safe = writable(secret)
    coded = base64.b64encode(safe.encode()).decode()
    in_json = {json.dumps(safe, ensure_ascii=each)[1:-1] for each in (True, False)}
    in_python = {repr(secret)[1:-1], ascii(secret)[1:-1]}
    forms = {secret, safe, coded, quote(safe, safe=""), quote_plus(safe)} | in_json | in_python
    return {form for form in forms if form}


def _pattern_of(form: str) -> str:
    pattern = re.escape(form)
    return pattern if len(form) >= _ANYWHERE_MIN else rf"(?<!\w){pattern}(?!\w)"
