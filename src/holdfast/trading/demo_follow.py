"""What the demonstration shows of the order manager: its journal, read while it is written.

The journal is all that is read, over a connection that cannot write; so what is shown is durable,
and is still there when the process that wrote it is not.
"""

import os
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from textwrap import shorten
from typing import Final

from msgspec import Struct

from holdfast.domain import events as e
from holdfast.domain.desk import Desk
from holdfast.domain.order import Order
from holdfast.domain.values import Side, plain
from holdfast.domain.wish import Stage, WishKind
from holdfast.errors import JournalDamaged, JournalError
from holdfast.journal.codec import decode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.trading.demo_plan import DESK

# A text from a broker or an anomaly is shortened to some two lines.
_TEXT_MAX: Final = 100
FOUND: Final = "found"
SENT_AGAIN: Final = "resent"


class Tone(StrEnum):
    """How a piece of news is to be taken."""

    PLAIN = "plain"
    STEP = "step"  # the demonstration itself goes on
    KILL = "kill"
    GOOD = "good"
    DOUBT = "doubt"
    BAD = "bad"


class News(Struct, frozen=True):
    """One line about what happened; `notable` is what a short account should have."""

    text: str
    tone: Tone = Tone.PLAIN
    notable: bool = False


class Case(Struct, kw_only=True):
    """A request whose outcome is unknown, and what was done about it so far.

    `by_kill` says that it was on its way when the process was killed.
    """

    name: str
    kind: WishKind
    steps: list[str]
    by_kill: bool = False

    @property
    def story(self) -> str:
        """What happened, in order, repetitions counted."""
        parts: list[str] = []
        for step in self.steps:
            if parts and parts[-1].partition(" x")[0] == step:
                times = int(parts[-1].partition(" x")[2] or 1) + 1
                parts[-1] = f"{step} x{times}"
            else:
                parts.append(step)
        return " -> ".join(parts)


class Follower:
    """Reads on where it stopped, and keeps a desk of its own up to date.

    `tally` counts what happened by name, `cases` are the requests of unknown outcome by order and
    wish, `resumed` is how often the desk was loaded from its journal.
    """

    def __init__(self, journal: str | os.PathLike[str]) -> None:
        """Follow this journal, which need not be there yet."""
        self.desk = Desk()
        self.seq = 0
        self.resumed = 0
        self.tally: Counter[str] = Counter()
        self.cases: dict[tuple[int, int], Case] = {}
        self._path = Path(journal)
        self._reasons: dict[int, str] = {}  # why orders with open cases came to nothing

    @property
    def owed(self) -> int:
        """How many requests that a kill left open are still of unknown outcome."""
        return sum(case.by_kill for case in self.cases.values())

    @property
    def unanswered(self) -> Counter[str]:
        """How many requests have left, as far as the journal says, and have no answer; by kind."""
        return Counter(
            wish.kind.value for order in self.desk.active() for wish in order.wishes if wish.is_out
        )

    def read(self) -> list[News]:
        """Return what is new since the last call, oldest first.

        Raises:
            JournalError: the journal cannot be read, or is damaged.
        """
        news: list[News] = []
        try:
            for event in self._events():
                self.desk.apply(event)
                news += self._tell(event)
            # Only now: what one step decided belongs together.
            news += self._settled()
        except JournalDamaged:
            raise
        except JournalError:
            if self.seq:
                raise
            # Its owner is just about to make it.
        return news

    def _events(self) -> Iterator[e.AnyEvent]:
        reader = SqliteJournal.read_only(self._path)
        try:
            for record in reader.records(DESK, self.seq):
                self.seq = record.seq
                yield decode(record)
        finally:
            reader.close()

    def _tell(self, event: e.AnyEvent) -> Iterator[News]:
        if isinstance(event, e.DeskResumed):
            yield self._resume()
        elif isinstance(event, e.AnomalyRecorded):
            self.tally["anomalies"] += 1
            yield News(f"anomaly {event.code}: {_short(event.text)}", Tone.BAD, notable=True)
        else:
            number = getattr(event, "number", 0)
            order = self.desk.state.peek(number) if number else None
            if order is not None:
                yield from self._tell_order(event, order)

    def _resume(self) -> News:
        self.resumed += 1
        for order in (*self.desk.state.active.values(), *self.desk.state.ended.values()):
            for wish in order.wishes:
                if wish.stage is Stage.UNKNOWN:
                    self._open_case(order, wish.wish, wish.kind).by_kill = True
        text = f"{many(self.seq, 'record')} folded, {many(self.owed, 'request')} of unknown outcome"
        return News(text, Tone.DOUBT, notable=True)

    def _tell_order(self, event: e.AnyEvent, order: Order) -> Iterator[News]:
        name = order.client_order_id
        match event:
            case e.OrderSubmitted():
                yield News(f"{name} {described(order)}")
            case e.OrderAccepted():
                self.tally["accepted"] += 1
                self._note(order, FOUND)
            case e.OrderFilled():
                self.tally["fills"] += 1
                execution, did = event.execution, _DID[order.terms.side]
                yield News(
                    f"{name} {did} {plain(execution.quantity)} at {execution.price}", Tone.GOOD
                )
            case e.OrderCanceled():
                self.tally["canceled"] += 1
                yield News(f"{name} canceled")
            case e.OrderRejected() | e.OrderFailed():
                self.tally["refused"] += 1
                if any(number == order.number for number, _ in self.cases):
                    self._reasons[order.number] = _short(event.text)  # told with its case
                else:
                    text = f"{name} {order.status}: {_short(event.text)}"
                    yield News(text, Tone.DOUBT, notable=True)
            case e.WishUnknown():
                wish = order.wish(event.wish)
                if wish is not None:
                    self._open_case(order, event.wish, wish.kind)
                    self.tally["unknown"] += 1
                    text = f"{name}: no answer to its {wish.kind}, so nobody can tell"
                    yield News(text, Tone.DOUBT)
            case e.WishSent() if event.attempt > 1:
                self.tally["resent"] += 1
                self._note(order, SENT_AGAIN, event.wish)
            case e.WishRefused():
                self._note(order, "refused", event.wish)
            case e.LookupEnded():
                self.tally["looked_up"] += 1
                whole = "not there" if event.complete else "unclear"
                self._note(order, FOUND if event.found else whole)
            case _:
                return

    def _open_case(self, order: Order, wish: int, kind: WishKind) -> Case:
        case = self.cases.get((order.number, wish))
        if case is None:
            case = Case(name=order.client_order_id, kind=kind, steps=["unknown"])
            self.cases[order.number, wish] = case
        return case

    def _note(self, order: Order, step: str, wish: int | None = None) -> None:
        """Add a step to one case of an order, or what the venue said of it to all of them."""
        for (number, each), case in self.cases.items():
            last = case.steps[-1]
            if number != order.number or wish not in {None, each}:
                continue
            if step == FOUND and last in {FOUND, SENT_AGAIN}:
                continue
            # What is decided on an answer is told before the answer itself.
            place = -1 if wish is None and last == SENT_AGAIN else len(case.steps)
            case.steps.insert(place, step)

    def _settled(self) -> Iterator[News]:
        """Close the cases that have been answered, one way or another.

        An order that came to nothing is told once, however many cases it had.
        """
        told: set[int] = set()
        for key, case in list(self.cases.items()):
            order = self.desk.state.peek(key[0])
            if order is None:
                continue
            is_answered = order.wish(key[1]) is None and order.lookup is None
            if not is_answered and not order.is_terminal:
                continue
            del self.cases[key]
            self.tally["settled"] += 1
            case.steps.append(order.status.replace("_", " "))
            text, reason = f"{case.name} {case.kind} {case.story}", self._reasons.get(key[0])
            if reason is None:
                yield News(text, Tone.GOOD, notable=True)
            elif key[0] not in told:
                told.add(key[0])
                yield News(f"{text}: {reason}", Tone.DOUBT, notable=True)
        self._reasons.clear()


_DID: Final = {Side.BUY: "bought", Side.SELL: "sold"}


def _short(text: str) -> str:
    return shorten(text, _TEXT_MAX, placeholder=" ...")


def described(order: Order) -> str:
    """Show what an order is to do: `buy 5 at 99.98`."""
    terms = order.terms
    size = plain(order.quantity) if order.quantity is not None else "?"
    return f"{terms.side} {size} at {terms.limit_price}"


def many(count: int, what: str) -> str:
    """Show a number of things: `1 fill`, `2 fills`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
