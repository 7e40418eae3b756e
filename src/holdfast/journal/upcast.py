"""How records of older versions become the events of today.

Rule: an upcaster changes what is read and never what is stored: the hash covers the old bytes.
It takes the decoded body, `kind` included, and returns one that today's classes can read; it must
leave a body alone that needs no change, for one kind may hold records of several ages.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

# Fields are only ever added with a default, so this stays empty until a kind is retired.
UPCASTERS: Final[dict[str, Upcaster]] = {}
