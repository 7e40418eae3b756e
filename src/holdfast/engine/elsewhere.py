"""What an account holds by nobody's desk, told to those of its desks that it concerns.

What somebody sold by hand was held by one of the desks, and which one nobody can tell. So it is
handed out to desks that hold something against it, and all of them together protect no more than
the account holds, and no less.

Rule 1: a desk is told of no more than it holds against it. What it holds less later is gone from
the account, and its part is handed on.
Rule 2: what a desk was told stays as it is, or what it buys next would be taken for what somebody
sold before. Only what is new is handed out, to the desks in their order, and only what was undone
is taken back, from the last desk first. What was told is in the desks' journals.
Rule 3: a desk that is shut cannot hear: it keeps what it knows, and the others share the rest.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

from holdfast.domain.desk import Desk
from holdfast.domain.events import AnyEvent, ExecutionCorrected, OpeningBalanceSet, OrderFilled
from holdfast.domain.inputs import SeenElsewhere
from holdfast.domain.values import ZERO, add, neg, sub
from holdfast.engine.runner import Mode, Runner

_SHUT: Final = frozenset({Mode.FAILED, Mode.CLOSED})


class Elsewhere:
    """Follows the trades of an account's unclaimed desk and of its other desks."""

    def __init__(self, unclaimed: Runner, desks: Sequence[Runner]) -> None:
        """Follow open desks from now on, and tell them at once what changed before."""
        self._unclaimed = unclaimed
        # Beside each desk what it was told; a desk knows that only once it has stepped it.
        self._desks = [(runner, dict(runner.desk.state.groups.elsewhere)) for runner in desks]
        # Symbols of words that their desks had not stepped when it was last looked.
        self._unsure: set[str] = set()
        for runner in (unclaimed, *desks):
            runner.on_traded = partial(self._follow, runner)
        self._tell(self._symbols())

    def _follow(self, runner: Runner, events: Sequence[AnyEvent]) -> None:
        traded = _traded(runner.desk, events)
        self._tell(self._symbols() if traded is None else traded | self._unsure)

    def _tell(self, symbols: Iterable[str]) -> None:
        hearing = [(each, told) for each, told in self._desks if each.mode not in _SHUT]
        shut = [runner.desk for runner, _ in self._desks if runner.mode in _SHUT]
        for symbol in sorted(symbols):
            total = _held(self._unclaimed.desk, symbol)
            parts = attributed(
                _less(total, [_known(desk, symbol) for desk in shut]),
                [_held(runner.desk, symbol) for runner, _ in hearing],
                [told.get(symbol, ZERO) for _, told in hearing],
            )
            self._unsure.discard(symbol)
            for (runner, told), part in zip(hearing, parts, strict=True):
                if part != told.get(symbol, ZERO) or _has_lost(runner, symbol, part):
                    told[symbol] = part
                    runner.word(SeenElsewhere(symbol=symbol, quantity=part))
                if _known(runner.desk, symbol) != part:
                    self._unsure.add(symbol)

    def _symbols(self) -> set[str]:
        """Return the symbols that the unclaimed desk ever traded, or a desk was told of."""
        names = (name for _, told in self._desks for name in told)
        return {*self._unclaimed.desk.positions, *names}


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


def _known(desk: Desk, symbol: str) -> Decimal:
    return desk.state.groups.elsewhere.get(symbol, ZERO)


def _less(total: Decimal, kept: Iterable[Decimal]) -> Decimal:
    """Return what is left of a total once others keep their parts; it changes no side."""
    for part in kept:
        if part and total and (part > 0) is (total > 0):
            total = sub(total, part) if abs(part) < abs(total) else ZERO
    return total


def _traded(desk: Desk, events: Sequence[AnyEvent]) -> set[str] | None:
    """Return the symbols of what traded; None where an order of that has left memory."""
    symbols: set[str] = set()
    for event in events:
        if isinstance(event, OpeningBalanceSet):
            symbols.add(event.symbol)
        elif isinstance(event, OrderFilled | ExecutionCorrected):
            order = desk.order(event.number)
            if order is None:
                return None
            symbols.add(order.terms.symbol)
    return symbols


def _has_lost(runner: Runner, symbol: str, part: Decimal) -> bool:
    """Tell whether what a desk was told never reached it: nothing waits, and it does not know."""
    return _known(runner.desk, symbol) != part and runner.is_idle
