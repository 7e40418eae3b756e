"""Errors of the order manager in the words of the command line: its options, its commands."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from holdfast.errors import HoldfastError

NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
# What a message tells a program to call, and the command that does it.
_COMMANDS: Final = (
    (re.compile(r"`(orders|groups)\(\)`"), r"`holdfast \1`"),
    (re.compile(r"`group\((\d+)\)`"), r"`holdfast group \1`"),
    (re.compile(r"(?<!['\w])`?close_position`?(?!['\w])"), "`holdfast close`"),
    (re.compile(r"(?<!['\w])`?close_group`?(?!['\w])"), "`holdfast close-group`"),
    (
        re.compile(r"(?<!['\w])`?cancel_position_orders`?(?!['\w])"),
        "`holdfast cancel-position`",
    ),
    # Programs alone can do these.
    (re.compile(r", as does force=True"), ""),
    (re.compile(r"place_limit_buy and place_limit_sell take a reference price"), "give its price"),
)


@contextmanager
def worded(given: Iterable[str], names: Mapping[str, str] = NO_NAMES) -> Iterator[None]:
    """Let errors that pass name options in the place of the parameters in `given`.

    An option is named like its parameter, unless `names` has it. A parameter without an underscore
    is a word like any other and left alone, unless `names` has it.
    """
    try:
        yield
    except HoldfastError as error:
        options = {name: f"--{name.replace('_', '-')}" for name in given if "_" in name}
        error.args = (_reworded(str(error), {**options, **names}),)
        raise


def _reworded(text: str, options: Mapping[str, str]) -> str:
    for pattern, command in _COMMANDS:
        text = pattern.sub(command, text)
    if not options:
        return text
    known = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
    return re.sub(rf"(?<!['\w-])({known})(?!['\w-])", lambda found: options[found[1]], text)
