"""Keeps secrets out of configurations: what stands there names where a secret is, and is none.

Rule: what is refused is told by its path and its length, and never repeated.
"""

import re
from collections.abc import Mapping
from typing import Final

from holdfast.errors import ConfigError
from holdfast.shape import is_plain, is_token, looks_secret, shown

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SECRET_WORD: Final = re.compile(
    r"(?i)key|token|secret|passw|passphrase|pwd|signature|credential|authorization|bearer|cookie"
)


def check_credentials(places: Mapping[str, str], path: str) -> None:
    """Refuse credentials that are no names: of environment variables (`_env`) or files (`_file`).

    Raises:
        ConfigError: one is no such name, or stands for a secret that has another already.
    """
    named: set[str] = set()
    for key, value in places.items():
        where = f"{path}.{key}"
        name = key.removesuffix("_env").removesuffix("_file")
        if name == key or not name:
            raise ConfigError(
                f"{where} would hold a secret itself; write {name or 'api_key'}_env = the name of "
                f"an environment variable, or {name or 'api_key'}_file = a path"
            )
        if name in named:
            raise ConfigError(f"{where} stands beside another place for {name}; keep one of them")
        named.add(name)
        _check_place(key, value, where)


def check_options(value: object, path: str) -> None:
    """Refuse secrets, and what no file could hold, among what is handed on to an adapter.

    Raises:
        ConfigError: the name of a value, or the value, gives it away; or it is no plain data.
    """
    _check_option(value, path, is_secret=False)


def _check_place(key: str, value: str, where: str) -> None:
    """Refuse a secret in the place of the name of its place."""
    if key.endswith("_file"):
        if not value or is_token(value):
            raise ConfigError(
                f"{where} has {len(value)} characters that are no path; put the secret into a file "
                "and write down the file's path"
            )
    elif not _VARIABLE.fullmatch(value) or _is_no_variable(value):
        raise ConfigError(
            f"{where} has {len(value)} characters that are no name of an environment variable; "
            "put the secret into the environment and write down the variable's name, in capitals"
        )


def _is_no_variable(value: str) -> bool:
    """Tell whether a text is made like a key: names of variables are words, or in capitals."""
    return looks_secret(value) and ("_" not in value or value != value.upper())


def _check_option(value: object, path: str, *, is_secret: bool) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{path} has a key {shown(key)}; it must be a text")
            named = bool(_SECRET_WORD.search(key)) and not key.endswith(("_env", "_file"))
            _check_option(each, f"{path}.{key}", is_secret=is_secret or named)
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            _check_option(each, f"{path}[{place}]", is_secret=is_secret)
    elif isinstance(value, str):
        if is_secret or is_token(value):
            raise ConfigError(f"{path} would hold a secret itself; name it under credentials")
    elif not is_plain(value):
        raise ConfigError(f"{path} is {shown(value)}; it must be plain data, as a file holds it")
