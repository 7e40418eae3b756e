"""What a journal says of an earlier replay, and the venue as that replay left it.

Rule 1: the journal alone tells what was done; there is no second file to disagree with it.
Rule 2: whatever was journaled has arrived at the venue, answered or not; and of what the venue
does unasked, all that the tape has up to the last journaled row has happened. So what the desk
missed is there to be found, and nothing of it is sent a second time.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.brokers.tape import TapeBroker
from holdfast.domain import events as e
from holdfast.domain.instruments import Instrument
from holdfast.domain.state import State
from holdfast.errors import InputError
from holdfast.journal.codec import decode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.venue import flow
from holdfast.venue.tape import Tape

DESK: Final = "replay"
# As much of a tape's SHA-256 as client order ids begin with; the account is named by all of it.
SHORT_DIGITS: Final = 8

Operations: TypeAlias = Callable[[], Iterable[flow.Operation]]


class Begun(Struct):
    """An order of the tape as far as the journal has it.

    `commands` counts the submit, replaces and cancels asked for; `ended` says that it was
    cancelled, by whomever.
    """

    number: int
    wire_id: str
    commands: int = 1
    ended: bool = False
    executions: set[str] = msgspec.field(default_factory=set)


def client_order_id(tape: Tape, order_id: int) -> str:
    """Return the id under which an order of the tape goes through the desk."""
    return f"{tape.sha256[:SHORT_DIGITS]}-{order_id}"


def tape_order_id(name: str) -> int:
    """Return the tape's own id of an order."""
    return int(name.partition("-")[2])


def instrument_of(tape: Tape) -> Instrument:
    """Return what the tape trades, in whole units."""
    return Instrument.of(tape.symbol, tick=tape.tick, multiplier=tape.multiplier)


def read_past(journal: SqliteJournal, tape: Tape) -> dict[int, Begun]:
    """Return what an earlier replay of this tape began, by the tape's ids; nothing for a new one.

    Raises:
        InputError: the journal is of another tape, of other terms, or of no replay at all.
        JournalError: the journal cannot be read.
    """
    _check_desks(journal)
    state, orders, numbers = State(), dict[int, Begun](), dict[int, Begun]()
    for record in journal.records(DESK):
        if record.kind not in _FOLLOWED:
            continue
        event = decode(record)
        if isinstance(event, e.DeskOpened):
            _check_tape(journal, tape, event.account)
            state.apply(event)
        elif isinstance(event, e.InstrumentDefined):
            _check_instrument(journal, tape, event.instrument)
        elif isinstance(event, e.OrderSubmitted):
            number = event.number
            begun = numbers[number] = Begun(number, state.wire_id(number))
            orders[tape_order_id(event.client_order_id)] = begun
        else:
            _follow(numbers, event)
    return orders


_FOLLOWED: Final = {
    e.KINDS[kind]
    for kind in (
        e.DeskOpened,
        e.InstrumentDefined,
        e.OrderSubmitted,
        e.ReplaceRequested,
        e.CancelRequested,
        e.OrderFilled,
        e.OrderCanceled,
    )
}


def _follow(numbers: dict[int, Begun], event: e.AnyEvent) -> None:
    if isinstance(event, e.ReplaceRequested | e.CancelRequested):
        numbers[event.number].commands += 1
    elif isinstance(event, e.OrderFilled):
        numbers[event.number].executions.add(event.execution.execution_id)
    elif isinstance(event, e.OrderCanceled):
        numbers[event.number].ended = True


def _check_desks(journal: SqliteJournal) -> None:
    reader = SqliteJournal.read_only(journal.path)
    try:
        others = [desk for desk in reader.desks() if desk != DESK]
    finally:
        reader.close()
    if others:
        raise InputError(
            f"{journal.path} is the journal of desk {', '.join(others)}, which is no replay; "
            "give a replay a journal of its own"
        )


def _check_tape(journal: SqliteJournal, tape: Tape, sha256: str) -> None:
    if sha256 != tape.sha256:
        raise InputError(
            f"{journal.path} holds the replay of another tape: that file's SHA-256 is {sha256}, "
            f"the one of {tape.path} is {tape.sha256}; give that file, or another --journal"
        )


def _check_instrument(journal: SqliteJournal, tape: Tape, begun: Instrument) -> None:
    if begun != instrument_of(tape):
        raise InputError(
            f"{journal.path} holds a replay of {begun.symbol} with tick {begun.tick} and "
            f"multiplier {begun.multiplier}, and not of {tape.symbol} with {tape.tick} and "
            f"{tape.multiplier}; give the same terms, or another --journal"
        )


def rebuild(broker: TapeBroker, past: dict[int, Begun], operations: Operations) -> None:
    """Bring a new venue to where the one of the earlier replay was.

    Raises:
        InputError: the journal is further than these operations go.
    """
    if not past:
        return
    last_row = _last_row(past, operations())
    commands: Counter[int] = Counter()
    beyond: set[int] = set()
    for operation in operations():
        order_id = operation.order_id
        begun = past.get(order_id)
        if begun is None or order_id in beyond or isinstance(operation, flow.Unknown):
            continue
        commands[order_id] += is_command(operation)
        if operation.row > last_row or commands[order_id] > begun.commands:
            beyond.add(order_id)
        else:
            broker.restore(begun.wire_id, begun.number, operation)


def is_command(operation: flow.Operation) -> bool:
    """Tell whether an operation is something that the desk asks for."""
    if isinstance(operation, flow.Cancel):
        return not operation.unsolicited
    return isinstance(operation, flow.Submit | flow.Replace)


def _last_row(past: dict[int, Begun], operations: Iterable[flow.Operation]) -> int:
    """Return the last row of which the journal has anything."""
    last_row = 0
    commands: Counter[int] = Counter()
    executions: Counter[int] = Counter()
    for operation in operations:
        begun = past.get(operation.order_id)
        if begun is None:
            continue
        order_id = operation.order_id
        if is_command(operation):
            commands[order_id] += 1
            seen = commands[order_id] <= begun.commands
        elif isinstance(operation, flow.Execution):
            seen = operation.execution_id in begun.executions
            executions[order_id] += seen
        else:
            seen = begun.ended and isinstance(operation, flow.Cancel)
        if seen:
            last_row = operation.row
    for order_id, begun in past.items():
        if commands[order_id] < begun.commands or executions[order_id] < len(begun.executions):
            raise InputError(
                f"the journal is further than these rows go: of order {order_id} it has "
                f"{begun.commands} requests and {len(begun.executions)} executions, and the rows "
                f"{commands[order_id]} and {executions[order_id]}; raise --limit, or leave it out"
            )
    return last_row
