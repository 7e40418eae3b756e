"""What an account holds by nobody's desk, told to those of its desks that it concerns.

What somebody sold by hand was held by one of the desks, and which one nobody can tell. So that all
of them together protect no more than the account holds, and no less, they are gone through in
their order: each is told what is left of it, and what that desk holds against it is taken off for
the next.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from holdfast.domain.desk import Desk
from holdfast.domain.inputs import SeenElsewhere
from holdfast.domain.values import ZERO, add
from holdfast.engine.runner import Runner


class Elsewhere:
    """Follows the trades of an account's unclaimed desk and of its other desks."""

    def __init__(self, unclaimed: Runner, desks: Sequence[Runner]) -> None:
        """Follow open desks from now on, and tell them at once what changed before."""
        self._unclaimed, self._desks = unclaimed, tuple(desks)
        for runner in (unclaimed, *desks):
            runner.on_traded = self._tell
        self._tell()

    def _tell(self) -> None:
        for symbol in self._symbols():
            left = _held(self._unclaimed.desk, symbol)
            for runner in self._desks:
                desk = runner.desk
                if desk.state.groups.elsewhere.get(symbol, ZERO) != left:
                    runner.word(SeenElsewhere(symbol=symbol, quantity=left))
                left = _less(left, _held(desk, symbol))

    def _symbols(self) -> Iterator[str]:
        """Iterate over the symbols that the unclaimed desk ever traded, or a desk was told of."""
        told = (runner.desk.state.groups.elsewhere for runner in self._desks)
        yield from sorted(
            {*self._unclaimed.desk.positions, *(name for each in told for name in each)}
        )


def _held(desk: Desk, symbol: str) -> Decimal:
    position = desk.positions.get(symbol)
    return position.quantity if position is not None else ZERO


def _less(left: Decimal, held: Decimal) -> Decimal:
    """Take off what is held against it."""
    if left < 0 < held:
        return min(add(left, held), ZERO)
    if held < 0 < left:
        return max(add(left, held), ZERO)
    return left
