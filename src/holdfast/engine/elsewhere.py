"""What an account holds by nobody's desk, told to those of its desks that it concerns.

What somebody sold by hand was held by one of the desks, and which one nobody can tell. So it is
handed out to desks that hold something against it, and all of them together protect no more than
the account holds, and no less.

Rule 1: a desk is told of no more than it holds against it. What it holds less later is gone from
the account, and its part is handed on.
Rule 2: what a desk was told stays as it is, or what it buys next would be taken for what somebody
sold before. Only what is new is handed out, to the desks in their order, and only what was undone
is taken back, from the last desk first. What was told is in the desks' journals.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from holdfast.domain.desk import Desk
from holdfast.domain.inputs import SeenElsewhere
from holdfast.domain.values import ZERO, add, neg, sub
from holdfast.engine.runner import Runner


class Elsewhere:
    """Follows the trades of an account's unclaimed desk and of its other desks."""

    def __init__(self, unclaimed: Runner, desks: Sequence[Runner]) -> None:
        """Follow open desks from now on, and tell them at once what changed before."""
        self._unclaimed = unclaimed
        # Beside each desk what it was told; a desk knows that only once it has stepped it.
        self._desks = [(runner, dict(runner.desk.state.groups.elsewhere)) for runner in desks]
        for runner in (unclaimed, *desks):
            runner.on_traded = self._tell
        self._tell()

    def _tell(self) -> None:
        for symbol in self._symbols():
            parts = attributed(
                _held(self._unclaimed.desk, symbol),
                [_held(runner.desk, symbol) for runner, _ in self._desks],
                [told.get(symbol, ZERO) for _, told in self._desks],
            )
            for (runner, told), part in zip(self._desks, parts, strict=True):
                if part != told.get(symbol, ZERO) or _has_lost(runner, symbol, part):
                    told[symbol] = part
                    runner.word(SeenElsewhere(symbol=symbol, quantity=part))

    def _symbols(self) -> Iterator[str]:
        """Iterate over the symbols that the unclaimed desk ever traded, or a desk was told of."""
        names = (name for _, told in self._desks for name in told)
        yield from sorted({*self._unclaimed.desk.positions, *names})


def attributed(
    total: Decimal, held: Sequence[Decimal], told: Sequence[Decimal]
) -> tuple[Decimal, ...]:
    """Return what each desk is to be told of what nobody's desk holds, all of it signed.

    `held` are the desks' positions and `told` what they were told before, both in their order.
    What no desk holds anything against is told to none.
    """
    if total > 0:
        mirrored = attributed(
            neg(total), [neg(each) for each in held], [neg(each) for each in told]
        )
        return tuple(neg(part) for part in mirrored)
    most = [max(each, ZERO) for each in held]
    parts = [min(max(neg(was), ZERO), limit) for was, limit in zip(told, most, strict=True)]
    left = neg(total)
    for part in parts:
        left = sub(left, part)
    for place, limit in enumerate(most):
        more = max(min(left, sub(limit, parts[place])), ZERO)
        parts[place], left = add(parts[place], more), sub(left, more)
    for place in reversed(range(len(parts))):
        less = max(min(neg(left), parts[place]), ZERO)
        parts[place], left = sub(parts[place], less), add(left, less)
    return tuple(neg(part) for part in parts)


def _held(desk: Desk, symbol: str) -> Decimal:
    position = desk.positions.get(symbol)
    return position.quantity if position is not None else ZERO


def _has_lost(runner: Runner, symbol: str, part: Decimal) -> bool:
    """Tell whether what a desk was told never reached it: nothing waits, and it does not know."""
    return runner.desk.state.groups.elsewhere.get(symbol, ZERO) != part and runner.is_idle
