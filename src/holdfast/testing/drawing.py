"""Pictures of the literal tables, for the documents: `python -m holdfast.testing.drawing FILE...`

A document holds a picture between `<!-- picture: NAME -->` and `<!-- end -->`; this writes it anew.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holdfast.domain.group import FIRST, PHASES

_PLACE: Final = re.compile(r"(<!-- picture: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def group_phases() -> str:
    """Draw the phases of a group and what leads from one to another, as a Mermaid diagram."""
    begins: dict[str, list[str]] = {}
    for contingency, phase in FIRST.items():
        begins.setdefault(phase, []).append(contingency)
    lines = [f"    [*] --> {phase}: {', '.join(names)}" for phase, names in begins.items()]
    for phase, moves in PHASES.items():
        ends: dict[str, list[str]] = {}
        for cause, after in moves.items():
            ends.setdefault(after, []).append(cause)
        lines += [f"    {phase} --> {after}: {', '.join(why)}" for after, why in ends.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


PICTURES: Final[dict[str, Callable[[], str]]] = {"group phases": group_phases}


def redrawn(text: str) -> str:
    """Return a document with all its pictures as the tables have them now."""
    return _PLACE.sub(lambda each: f"{each[1]}{PICTURES[each['name']]()}\n{each[3]}", text)


def main(paths: list[str]) -> None:
    """Write the pictures of some documents anew."""
    for path in map(Path, paths):
        path.write_text(redrawn(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
