"""What comes through the port of a broker, before anybody believes its types.

Rule 1: what cannot be read is dropped and told to `drop`; the rest of an answer is kept.
Rule 2: what something was dropped from is not complete, so nothing is concluded from its silence.
Rule 3: an outcome that cannot be read is an unknown one.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import msgspec

from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.inputs import Answer
from holdfast.domain.reports import Execution, LookupResult, Sighting, Snapshot, Unknown
from holdfast.domain.sanity import legible
from holdfast.domain.typed import MistypedError, check
from holdfast.ports import AccountFigures, OpenOrders

# Takes what was dropped, and why.
Drop: TypeAlias = Callable[[object, str], None]
_Bad: TypeAlias = tuple[object, str]

_TRADE: Final = tuple[str, str, Execution]
_HELD: Final = tuple[str, Decimal]


def answer_of(effect: SubmitOrder | CancelOrder | ReplaceOrder, told: object, drop: Drop) -> Answer:
    """Return how a call ended; a text says why nobody knows."""
    outcome: Any = Unknown(text=told) if isinstance(told, str) else told
    try:
        answer = Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )
    except MistypedError as error:
        drop(told, str(error))
        unread = f"the broker's answer cannot be read: {error}"
        return answer_of(effect, unread, drop)
    sound = legible(answer.outcome)
    return answer if sound is outcome else msgspec.structs.replace(answer, outcome=sound)


def lookup_of(told: object, drop: Drop) -> LookupResult:
    """Return what of a lookup's answer can be read; a text says why there is none."""
    if isinstance(told, str):
        return LookupResult(text=told)
    why = _fault(told, LookupResult)
    if not why:
        return cast(LookupResult, told)
    bad: list[_Bad] = []
    seen: tuple[Sighting, ...] = ()
    if isinstance(told, LookupResult):
        seen = tuple(_seen(told.sightings, bad))
    for part, its_why in bad or [(told, why)]:
        drop(part, its_why)
    return LookupResult(sightings=seen, text=f"the broker's answer cannot all be read: {why}")


def poll_of(told: object, drop: Drop) -> OpenOrders:
    """Return what of a poll can be read."""
    why = _fault(told, OpenOrders)
    if not why:
        return cast(OpenOrders, told)
    bad: list[_Bad] = []
    read = OpenOrders()
    if isinstance(told, OpenOrders):
        snapshots = tuple(_read(told.snapshots, Snapshot, bad))
        executions = tuple(_read(told.executions, _TRADE, bad))
        read = OpenOrders(snapshots=snapshots, executions=executions)
    for part, its_why in bad or [(told, why)]:
        drop(part, its_why)
    return read


def figures_of(told: object, drop: Drop) -> AccountFigures:
    """Return what an account says of itself.

    Raises:
        MistypedError: it cannot all be read.
    """
    why = _fault(told, AccountFigures)
    if not why:
        figures = cast(AccountFigures, told)
        faults = (_fault(each, _HELD) for each in figures.positions.items())
        why = next(filter(None, faults), "")
        if not why:
            return figures
    drop(told, why)
    raise MistypedError(f"the account's figures cannot be read: {why}")


def _fault(told: object, declared: Any) -> str:
    try:
        check(told, declared)
    except MistypedError as error:
        return str(error)
    return ""


def _seen(sightings: object, bad: list[_Bad]) -> Iterator[Sighting]:
    """Keep each order that can be read, with those of its executions that can."""
    for sighting in _items(sightings, bad):
        why = _fault(sighting, Sighting)
        if not why:
            yield sighting
        elif not isinstance(sighting, Sighting):
            bad.append((sighting, why))
        else:
            for snapshot in _read((sighting.snapshot,), Snapshot, bad):
                executions = tuple(_read(sighting.executions, Execution, bad))
                yield Sighting(snapshot=snapshot, executions=executions)


def _read(parts: object, declared: Any, bad: list[_Bad]) -> Iterator[Any]:
    for part in _items(parts, bad):
        if why := _fault(part, declared):
            bad.append((part, why))
        else:
            yield part


def _items(parts: object, bad: list[_Bad]) -> Sequence[Any]:
    if isinstance(parts, tuple | list):
        return parts
    bad.append((parts, f"is of type {type(parts).__name__}; it must be tuple"))
    return ()
