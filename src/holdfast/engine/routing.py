"""Which desk a broker's word is for: by the prefix of its wire id, else by its broker order id.

Words of no desk are counted and the last ones kept: an order placed by hand, or one whose first
report overtook whatever tells its broker order id: the answer, a lookup, a poll, or a report that
has its wire id too. As soon as that came they are handed on behind it. What complete polls list of
orders of nobody goes to the account's unclaimed desk, where it has one; without it, a desk records
that it was seen.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from holdfast.domain.inputs import (
    AdoptExternal,
    Answer,
    Input,
    Looked,
    Polled,
    Raise,
    Reported,
)
from holdfast.domain.reports import Accepted, Execution, Report, Snapshot
from holdfast.domain.sanity import legible, writable
from holdfast.domain.typed import MistypedError, remains
from holdfast.ports import OpenOrders

# Broker orders whose unclaimed words are kept, and how many words of each.
UNCLAIMED_MAX: Final = 1_000
UNCLAIMED_WORDS_MAX: Final = 16
# Complete polls that reports of an order outlive which no poll lists: by then its answer, or the
# question for it, has come, and what traded is told by the broker when it is asked.
EARLY_POLLS_MAX: Final = 40
# Answers that a desk may have in its inbox and not have stepped, by the ids they tell.
TOLD_MAX: Final = 10_000


class DeskPort(Protocol):
    """What a link needs to know of a desk, and where it puts what it heard."""

    prefix: str

    def now_ns(self) -> int:
        """Return desk time."""
        ...

    def owns(self, broker_order_id: str) -> bool:
        """Tell whether this broker order belongs to an order of the desk, ended ones included."""
        ...

    def wants(self, number: int) -> bool:
        """Tell whether a new order of the desk may still go out: nobody has cancelled it."""
        ...

    def word(self, said: Input) -> None:
        """Take an answer, a lookup's result or a poll."""
        ...

    def report(self, report: Reported) -> bool:
        """Take a report of the stream; False if the backlog had to be dropped."""
        ...

    def unclaimed(self, broker_order_id: str, wire_id: str) -> None:
        """Take note that the account has an order of no desk."""
        ...


class Unclaimed(Struct):
    """What was heard of one broker order that belongs to no desk.

    `told` once a poll listed it, at the unclaimed desk's time `listed_ns` where there is one.
    `polls` are the complete polls since then, or since the first report; `cut` says that there were
    more words than are kept.
    """

    words: list[Report | Snapshot]
    told: bool = False
    listed_ns: int = 0
    polls: int = 0
    cut: bool = False


class _Share:
    """The part of a poll that is for one desk."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.executions: list[tuple[str, str, Execution]] = []


class Routing:
    """The desks of one account, by prefix."""

    def __init__(self) -> None:
        self._ports: dict[str, DeskPort] = {}
        # A plain dict would search for its oldest key past the places of all that were dropped.
        self._told: OrderedDict[str, DeskPort] = OrderedDict()
        self._unclaimed: dict[str, Unclaimed] = {}
        self._unclaimed_words = 0
        self._unclaimed_forgotten = 0
        self._adopter: DeskPort | None = None
        self._quiet_ns = 0
        self._is_ours: Callable[[str], bool] = lambda _wire_id: False
        self._lost = False
        self.on_early: Callable[[], None] = lambda: None
        self.on_mistyped: Callable[[object, str], None] = lambda _said, _why: None

    def adopt_into(
        self, port: DeskPort, *, quiet_ns: int, is_ours: Callable[[str], bool] | None = None
    ) -> None:
        """Hand orders of no desk that complete polls list to an attached desk.

        An order without a wire id may be one of ours whose answer is on its way: it is handed over
        once it was listed for `quiet_ns`, longer than a call may stay in flight. `is_ours` tells a
        wire id of a desk that is not attached now.
        """
        self._adopter, self._quiet_ns = port, quiet_ns
        if is_ours is not None:
            self._is_ours = is_ours

    def attach(self, port: DeskPort) -> None:
        """Add a desk of the account."""
        self._ports[port.prefix] = port

    @property
    def ports(self) -> tuple[DeskPort, ...]:
        """All desks of the account."""
        return tuple(self._ports.values())

    @property
    def unclaimed(self) -> dict[str, Unclaimed]:
        """What was heard of orders of no desk, by broker order id."""
        return self._unclaimed

    def find(self, wire_id: str, orig_wire_id: str, broker_order_id: str) -> DeskPort | None:
        """Return the desk that these ids belong to."""
        for wire in (wire_id, orig_wire_id):
            if wire:
                port = self._ports.get(wire[: wire.rfind("-") + 1])
                if port is not None:
                    return port
        if broker_order_id:
            if broker_order_id in self._told:
                return self._told[broker_order_id]
            for port in self._ports.values():
                if port.owns(broker_order_id):
                    return port
        return None

    def reported(self, report: Report) -> bool:
        """Hand a report to its desk; False if that desk's backlog had to be dropped."""
        try:
            said = Reported(report)
        except MistypedError as error:
            return self.unread(report, str(error))
        # A desk sees to the rest itself; here its ids alone are looked for.
        if not f"{report.wire_id}{report.orig_wire_id}{report.broker_order_id}".isascii():
            report = legible(report)
            said = Reported(report)
        port = self.find(report.wire_id, report.orig_wire_id, report.broker_order_id)
        if port is None:
            self._keep(legible(report))
            self.on_early()
            return True
        taken = port.report(said)
        if self._unclaimed:
            taken = self._claim(report.broker_order_id, port) and taken
        return taken

    def unread(self, said: object, why: str) -> bool:
        """Drop what cannot be read; the desk whose order it names asks for that order.

        False if that desk's backlog had to be dropped.
        """
        self.on_mistyped(said, why)
        left = remains(said, why)
        if left is None:
            return True
        left = legible(left)
        port = self.find(left.wire_id, left.orig_wire_id, left.broker_order_id)
        return port is None or port.report(Reported(left, is_remains=True))

    def answered(self, port: DeskPort, answer: Answer) -> None:
        """Hand an answer to its desk, and behind it the reports that overtook it.

        Those that come before the desk has stepped the answer find their way by it as well.
        """
        port.word(answer)
        outcome = answer.outcome
        if type(outcome) is not Accepted or not outcome.broker_order_id:
            return
        for told in (outcome.broker_order_id, *(each.broker_order_id for each in outcome.children)):
            self._told[told] = port
            if len(self._told) > TOLD_MAX:
                self._told.popitem(last=False)
            self._claim(told, port)

    def looked(self, port: DeskPort, looked: Looked) -> None:
        """Hand a lookup's result to its desk, and behind it the reports of what it found."""
        port.word(looked)
        if self._unclaimed:
            for sighting in looked.result.sightings:
                for told in _ids(sighting.snapshot):
                    self._claim(told, port)

    def alert(self, code: str, text: str) -> None:
        """Let every desk of the account journal something that people should see."""
        for port in self.ports:
            port.word(Raise(code=code, text=text))

    @property
    def must_ask(self) -> bool:
        """Tell whether reports wait for an order that nobody named, or some of one are lost."""
        return self._lost or any(not kept.told for kept in self._unclaimed.values())

    def polled(self, found: OpenOrders, asked: dict[str, int]) -> None:
        """Hand every desk its part of a poll; `asked` are their times when it left, by prefix."""
        shares = {prefix: _Share() for prefix in asked}
        self._lost = self._lost and not found.complete
        if found.complete and self._unclaimed:
            self._forget({told for snapshot in found.snapshots for told in _ids(snapshot)})
        owners: dict[str, _Share] = {}
        children: list[tuple[str, DeskPort]] = []
        for snapshot in map(legible, found.snapshots):
            port = self.find(snapshot.wire_id, "", snapshot.broker_order_id)
            if port is None:
                self._keep(snapshot)
                port = self._adopted(snapshot, asked) if found.complete else None
            elif self._unclaimed:
                self._claim(snapshot.broker_order_id, port)
            if port is not None:
                children += [(told, port) for told in _ids(snapshot)[1:]]
            if port is not None and port.prefix in shares:
                owners[snapshot.broker_order_id] = shares[port.prefix]
                shares[port.prefix].snapshots.append(snapshot)
        # A poll names the broker's id first, as the port has it; a desk looks at its own id first.
        for broker_id, wire, trade in found.executions:
            broker_order_id, wire_id = writable(broker_id), writable(wire)
            share = owners.get(broker_order_id)
            if share is None:
                port = self.find(wire_id, "", broker_order_id)
                share = shares.get(port.prefix) if port is not None else None
            if share is not None:
                share.executions.append((wire_id, broker_order_id, legible(trade)))
        for prefix, share in shares.items():
            self._ports[prefix].word(
                Polled(
                    asked_ns=asked[prefix],
                    snapshots=tuple(share.snapshots),
                    executions=tuple(share.executions),
                    complete=found.complete,
                )
            )
        # Whose they are a desk learns from the poll itself.
        for told, port in children if self._unclaimed else ():
            self._claim(told, port)

    def statistics(self) -> dict[str, int]:
        """Return how much was heard that is for no desk."""
        return {
            "unclaimed_orders": len(self._unclaimed),
            "unclaimed_words": self._unclaimed_words,
            "unclaimed_forgotten": self._unclaimed_forgotten,
        }

    def _keep(self, word: Report | Snapshot) -> None:
        self._unclaimed_words += 1
        known = self._unclaimed.get(word.broker_order_id)
        if known is None:
            if len(self._unclaimed) >= UNCLAIMED_MAX:
                self._unclaimed_forgotten += 1
                if not self._make_room():
                    return
            known = self._unclaimed[word.broker_order_id] = Unclaimed(words=[])
        known.words.append(word)
        known.cut = known.cut or len(known.words) > UNCLAIMED_WORDS_MAX
        del known.words[:-UNCLAIMED_WORDS_MAX]
        # A poll lists orders that work: what it shows is no report that overtook its answer.
        if isinstance(word, Snapshot) and not known.told:
            known.told = True
            for port in self.ports[:1] if self._adopter is None else ():
                port.unclaimed(word.broker_order_id, word.wire_id)

    def _adopted(self, snapshot: Snapshot, asked: dict[str, int]) -> DeskPort | None:
        """Hand an order of nobody to the unclaimed desk, and return that; it takes it once."""
        adopter = self._adopter
        if adopter is None or adopter.prefix not in asked:
            return None
        now_ns = asked[adopter.prefix]
        if snapshot.wire_id:
            if self._is_ours(snapshot.wire_id):
                return None
        else:
            kept = self._unclaimed.get(snapshot.broker_order_id)
            if kept is None:
                return None
            kept.listed_ns = kept.listed_ns or now_ns
            if now_ns - kept.listed_ns < self._quiet_ns:
                return None
        adopter.word(AdoptExternal(snapshot=snapshot, asked_ns=now_ns))
        return adopter

    def _claim(self, broker_order_id: str, port: DeskPort) -> bool:
        """Hand over what was heard before the desk had the order; False if some of it is lost."""
        early = self._unclaimed.pop(broker_order_id, None) if broker_order_id else None
        if early is None:
            return True
        taken = [port.report(Reported(word)) for word in early.words if isinstance(word, Report)]
        if not early.cut and all(taken):
            return True
        self._lost = True
        self.on_early()
        return False

    def _make_room(self) -> bool:
        """Drop the oldest that no poll listed; one that was told would be told anew."""
        oldest = next((id_ for id_, kept in self._unclaimed.items() if not kept.told), None)
        return oldest is not None and self._unclaimed.pop(oldest) is not None

    def _forget(self, listed: set[str]) -> None:
        """Drop what was listed and is no more, and what this complete poll leaves out too often."""
        gone: list[str] = []
        for broker_order_id, kept in self._unclaimed.items():
            kept.polls = 0 if broker_order_id in listed else kept.polls + 1
            if broker_order_id not in listed and (kept.told or kept.polls > EARLY_POLLS_MAX):
                gone.append(broker_order_id)
        for broker_order_id in gone:
            del self._unclaimed[broker_order_id]


def _ids(snapshot: Snapshot) -> list[str]:
    """Return the broker's ids of an order and of the exits that it brought along."""
    ids = (snapshot.broker_order_id, *(child.broker_order_id for child in snapshot.children))
    return [writable(each) for each in ids]
