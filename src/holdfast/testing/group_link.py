"""One desk, one broker, and a link between them that loses, delays and repeats.

Everything follows from a source of chance, so that a seed replays it. Time is virtual.

Time unprotected is how long units that an entry filled were covered by no working order of their
group, by the broker's books. `spent` counts all of it. `counted` leaves out the time in which the
market was closed, or had been when the desk last tried, the desk was down, an exit at the market
waited there for somebody to trade with, or a request, an answer or a word of the stream was
outstanding, or lost and not settled yet: the rest is time that the desk let pass by its own choice.
`closing` is how long such units were covered by nothing because somebody closes them; it is in
neither of the others.
"""

from decimal import Decimal
from random import Random
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.domain import events as e
from holdfast.domain import inputs
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Decision, Desk
from holdfast.domain.effects import CancelOrder, Effect, LookupOrder, SubmitOrder
from holdfast.domain.group import ENTRY, EXIT, STOP, UNDO, Cause, Group, Phase
from holdfast.domain.hours import CLOSED_RETRY_MS
from holdfast.domain.inputs import Input
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import NotSent, Outcome, RefusalCode, Refused, ReportKind, Unknown
from holdfast.domain.settings import Settings
from holdfast.domain.values import ZERO, Condition, OrderType, Status
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.group_books import Account, GroupBooks, due, member_of, symbol_groups
from holdfast.testing.model_broker import Held, ModelBroker

# Shorter than the absence grace: a request that is older has arrived or never will.
IN_FLIGHT_MS_MAX: Final = 8_000
SYMBOL: Final = "X"
# How long anything takes one way where all goes well: a round trip is two of it.
WAY_MS: Final = 10
SETTINGS: Final = Settings(policies=Policies(limits=Limits.none()))
_FATES: Final = ("done",) * 7 + ("lost", "silent", "no", "not_sent", "late", "twice")
WAYS_OUT: Final = frozenset({EXIT, UNDO})
_DECODER: Final = msgspec.json.Decoder(e.AnyEvent)


class GroupsBrokenError(AssertionError):
    """A promise about groups does not hold in this world."""


class Seen(Struct, kw_only=True):
    """What one world or many showed: times in nanoseconds, the longest; the rest counted.

    `entered` are the groups whose entry filled, `flattened` those that could not be protected.
    `races` are groups whose stop and target both traded before either could be cancelled: what
    they closed too much was undone. `double_exits` closed what was closed already, and `naked` are
    groups that at rest held what nothing covered.
    """

    worlds: int = 0
    groups: int = 0
    entered: int = 0
    flattened: int = 0
    races: int = 0
    double_exits: int = 0
    naked: int = 0
    spent_ns: int = 0
    counted_ns: int = 0
    closing_ns: int = 0

    def add(self, other: "Seen") -> None:
        """Take in what other worlds showed."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name.endswith("_ns") else mine + theirs)


def any_broker(random: Random) -> Capabilities:
    """Return what some broker can do."""
    choice = random.choice
    types = set(OrderType)
    if choice((True, False, False, False)):
        types.discard(OrderType.MARKET)
    if choice((True, False)):
        types.discard(OrderType.TRAILING_STOP)
    new_ids = choice((True, False))
    return Capabilities(
        order_types=frozenset(types),
        unique_ids=choice(("forever", "while_open", "none")),
        native_replace=choice((True, True, False)),
        new_id_on_replace=new_ids,
        replace_carries_fills=choice((True, False)) or not new_ids,
        cancel_by_wire_id=choice((True, False)),
        lists_executions=choice((True, True, False)),
        batch_cancel=choice((True, False)),
        native_bracket=choice(("none", "none", "per_fill", "after_full_fill")),
        native_oco=choice((True, False)),
        exits_share_quantity=choice((True, True, False)),
        lists_held_legs=choice((True, False)),
    )


class Bare(Struct, kw_only=True):
    """Units of a group that became bare together, and for how long they have been."""

    quantity: Decimal
    spent_ns: int = 0
    counted_ns: int = 0


def _match(bare: list[Bare], missing: Decimal) -> None:
    """Let so much be bare: what is covered is what was bare the longest."""
    total = sum((one.quantity for one in bare), ZERO)
    if missing > total:
        bare.append(Bare(quantity=missing - total))
    while missing < total:
        less = min(bare[0].quantity, total - missing)
        bare[0].quantity -= less
        total -= less
        if not bare[0].quantity:
            del bare[0]


class GroupLink:
    """One desk that trades `X` at one broker, and everything that may happen to its groups."""

    def __init__(self, random: Random, capabilities: Capabilities | None = None) -> None:
        """Open the desk; whatever is not told is drawn from `random`."""
        self.random = random
        can = capabilities or any_broker(random)
        self.broker = ModelBroker(can, is_final=random.choice((True, False)))
        self.books = GroupBooks(self.broker)
        self.refuses_stops = self.likely(5)
        self.is_closed = self.is_down = False
        self.was_refused = False
        self.pace_ms = 1
        # Trades that no group made, and trades taken back, excuse what a group cannot know.
        self.is_plain = True
        self.busted: set[int] = set()
        self.desk = Desk(SETTINGS)
        self.now_ns = 1_000 * NS_PER_MS
        self.calls: list[tuple[int, Effect]] = []
        self.answers: list[Input] = []
        self.events: list[e.AnyEvent] = []
        self.seen = Seen()
        self._bare: dict[int, list[Bare]] = {}
        self._in_hand: dict[int, list[Bare]] = {}
        self._is_stale = True
        self._raced: set[int] = set()
        self.step(inputs.Open(desk="d", epoch="0123456789ab", account="main"))
        self.step(inputs.Connected(can))
        self.step(inputs.Define(Instrument.of(SYMBOL, tick="0.25")))

    # Time, and what goes to and fro.

    def step(self, given: Input, *, later_ms: int | None = None) -> Decision:
        """Give the desk an input a little later, and keep what it wants done."""
        self.elapse(self.pace_ms if later_ms is None else later_ms)
        decision = self.desk.step(given, self.now_ns)
        self.events += decision.events
        for effect in decision.effects:
            self.calls.append((self.now_ns, effect))
            if isinstance(effect, SubmitOrder):
                self._check(effect)
        self._is_stale = self._is_stale or bool(decision.events)
        return decision

    def elapse(self, by_ms: int) -> None:
        """Let time pass, and count how long what is held is bare."""
        if self._is_stale:
            self._look()
        by_ns, counts = by_ms * NS_PER_MS, bool(self._bare) and not self._is_busy()
        self.now_ns += by_ns
        if self._bare:
            for one in (each for bare in self._bare.values() for each in bare):
                one.spent_ns += by_ns
                one.counted_ns += by_ns if counts else 0
                self.seen.spent_ns = max(self.seen.spent_ns, one.spent_ns)
                self.seen.counted_ns = max(self.seen.counted_ns, one.counted_ns)
        for one in (each for closed in self._in_hand.values() for each in closed):
            one.spent_ns += by_ns
            self.seen.closing_ns = max(self.seen.closing_ns, one.spent_ns)

    def _is_busy(self) -> bool:
        """Tell whether it is not the desk that lets time pass."""
        if self.is_closed or self.is_down or self.calls or self.answers or self.broker.words:
            return True
        if any(order.wishes or order.lookup is not None for order in self.desk.active()):
            return True
        if any(member_of(held.wire_id)[1] in WAYS_OUT for held in self.books.working()):
            return True
        since_ns = self.now_ns - CLOSED_RETRY_MS * NS_PER_MS
        open_groups = self.desk.state.groups.of(SYMBOL)
        heard = [slot.closed_ns for group in open_groups for slot in group.slots.values()]
        return max(heard, default=0) > max(since_ns, 0) or self._is_unheard()

    def _is_unheard(self) -> bool:
        """Tell whether an order is at the broker what the desk does not know."""
        filled: dict[int, Decimal] = {}
        for held in self.broker.orders.values():
            order = self.desk.order(self.desk.owner_of(held.wire_id))
            if order is None:
                return True
            if order.wishes or order.lookup is not None:
                return True
            filled[order.number] = filled.get(order.number, ZERO) + held.own
            if held.broker_order_id == order.broker_order_id:
                is_held = order.condition is Condition.HELD
                if held.is_working is not order.is_exposed or held.is_held is not is_held:
                    return True
            elif held.is_working:
                return True
        orders = [(self.desk.order(number), own) for number, own in filled.items()]
        return any(one is None or one.filled_quantity != own for one, own in orders)

    def _check(self, effect: SubmitOrder) -> None:
        """Every order is for something, and an exit at the market goes out alone (rule 3)."""
        for terms in (effect.terms, *(each.terms for each in effect.attached)):
            if terms.quantity is None or terms.quantity <= 0:
                raise self.broken(f"{effect.wire_id} is for {terms.quantity}")
        number, role = member_of(effect.wire_id)
        group = self.desk.state.groups.get(number)
        if role not in WAYS_OUT or group is None or _rests(group):
            return
        account = self.books.groups().get(number, Account())
        if account.working and number not in self.busted:
            raise self.broken(f"{effect.wire_id} goes out while {account.working} work")
        told, true = (group.entered, group.exited), (account.entered, account.exited)
        if told != true and number not in self.busted:
            raise self.broken(f"{effect.wire_id} goes out, {told} known of {true} in and out")

    def broken(self, what: str) -> GroupsBrokenError:
        """Return what is raised where a promise does not hold."""
        return GroupsBrokenError(f"{what}; the broker can {self.broker.capabilities}")

    def _look(self) -> None:
        """Note which groups hold more than works to protect it."""
        self._is_stale = False
        groups = symbol_groups(self.desk)
        shares, accounts = due(self.books, groups), self.books.groups()
        alone = due(self.books, groups, closes=False)
        for group in groups:
            account, number = accounts.get(group.group, Account()), group.group
            guard = group.guard
            covers = account.covers.get(guard.role, ZERO) if guard is not None else ZERO
            is_bare = _protects(group) and not self.desk.guard.flattening
            missing = shares[number] - covers if is_bare else ZERO
            closed = alone[number] - max(shares[number], covers) if is_bare else ZERO
            for bare, quantity in ((self._bare, missing), (self._in_hand, closed)):
                if quantity > 0:
                    _match(bare.setdefault(number, []), quantity)
                else:
                    bare.pop(number, None)

    def deliver(self) -> None:
        """A request arrives, is lost before or after it is done, is refused, or never left."""
        if self.calls:
            at = self.random.randrange(len(self.calls))
            self.carry_out(*self.calls.pop(at), self.random.choice(_FATES))

    def carry_out(self, sent_ns: int, effect: Effect, how: str) -> None:
        """Let one request meet its fate."""
        if self.now_ns > sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS:
            how = "lost"
        if isinstance(effect, LookupOrder):
            if how in {"done", "late", "twice"}:
                found = self._found(effect)
                if how == "late":
                    self.answers.append(found)
                else:
                    self.step(found)
            return
        outcome: Outcome = Unknown(text="no answer")
        if how == "not_sent" or self.now_ns > effect.not_after_ns:
            outcome = NotSent(text="429")
        elif how == "no":
            outcome = Refused(text="no")
        elif how != "lost":
            said = self._arrives(effect)
            outcome = outcome if how == "silent" else said
        refused = isinstance(outcome, Refused) and not isinstance(effect, CancelOrder)
        self.was_refused = self.was_refused or refused
        answer = inputs.Answer(
            number=effect.number, wish=effect.wish, attempt=effect.attempt, outcome=outcome
        )
        if how == "late":
            self.answers.append(answer)
            return
        for _ in range(2 if how == "twice" else 1):
            self.step(answer)

    def _arrives(self, effect: Effect) -> Outcome:
        assert not isinstance(effect, LookupOrder)  # a question changes nothing
        self._is_stale = True
        if isinstance(effect, SubmitOrder):
            if self.is_closed:
                return Refused(text="the market is closed", code=RefusalCode.MARKET_CLOSED)
            roles = {effect.role, *(each.role for each in effect.attached)}
            if self.refuses_stops and STOP in roles:
                return Refused(text="no stops today")
        return self.broker.call(effect)

    def _found(self, effect: LookupOrder) -> inputs.Looked:
        return inputs.Looked(
            number=effect.number,
            attempt=effect.attempt,
            asked_ns=self.now_ns,
            result=self.broker.look(effect),
        )

    def beat(self) -> None:
        """Time passes in which everything goes one way: nothing is lost, refused or late."""
        calls, answers, words = self.calls, self.answers, list(self.broker.words)
        self.calls, self.answers = [], []
        self.broker.words.clear()
        self.elapse(WAY_MS)
        for sent_ns, effect in calls:
            self.carry_out(sent_ns, effect, "late")
        for given in (*(inputs.Reported(word) for word in words), *answers, inputs.Tick()):
            self.step(given)

    def answer_late(self) -> None:
        """An answer arrives that was on its way for long."""
        if self.answers:
            self.step(self.answers.pop(self.random.randrange(len(self.answers))))

    def tell(self) -> None:
        """A word of the stream arrives, out of turn, twice, or never."""
        words = self.broker.words
        if words:
            word = words.pop(self.random.randrange(len(words)))
            for _ in range(self.random.choice((0, 1, 1, 1, 2))):
                self.step(inputs.Reported(word))

    def tell_all(self) -> None:
        """The stream tells all that it has, in order."""
        while self.broker.words:
            self.step(inputs.Reported(self.broker.words.pop(0)))

    def wait(self) -> None:
        """Time passes; the desk is woken when it wants to be, or the whole machine stood still."""
        left_ms = self.random.choice((1, 100, 600, 2_500, 5_500, 12_000))
        if self.likely(10):
            self.is_down = True
            self.step(inputs.Tick(), later_ms=left_ms)
            self.is_down = False
            return
        while left_ms > 0:
            due_ns = self.desk.next_deadline()
            next_ms = left_ms
            if due_ns is not None:
                next_ms = min(left_ms, max(due_ns - self.now_ns, 0) // NS_PER_MS + 1)
            self.step(inputs.Tick(), later_ms=next_ms)
            left_ms -= next_ms

    def likely(self, percent: int) -> bool:
        """Draw whether something happens that does so this often."""
        return self.random.randrange(100) < percent

    def poll(self) -> None:
        """The account is read."""
        shown, traded = self.broker.listing()
        polled = inputs.Polled(
            asked_ns=self.now_ns, snapshots=shown, executions=traded, complete=True
        )
        self.step(polled)

    def quote(self, price: Decimal | None = None) -> None:
        """A quote arrives."""
        price = price or Decimal(self.random.choice((96, 99, 100, 101, 104)))
        self.step(inputs.Quoted((Quote(symbol=SYMBOL, bid=price, ask=price, at_ns=self.now_ns),)))

    def crash(self) -> None:
        """The process dies; requests on their way arrive or do not, and nothing answers them."""
        self.answers.clear()
        for sent_ns, effect in self.calls:
            arrives = self.now_ns <= sent_ns + IN_FLIGHT_MS_MAX * NS_PER_MS
            if arrives and not isinstance(effect, LookupOrder) and self.likely(50):
                self._arrives(effect)
        self.calls.clear()
        if self.likely(50):
            self.broker.words.clear()
        if self.likely(30):
            self.fill()
        self.desk = self.refolded() if self.likely(30) else self.loaded()
        self.is_down = True
        down_ms = self.random.choice((1, 5_000, 60_000))
        self.step(inputs.Connected(self.broker.capabilities), later_ms=down_ms)
        self.is_down = False
        self.step(inputs.Resume(wall_offset_ns=0))

    def loaded(self) -> Desk:
        """Return the desk as it comes back from its snapshot."""
        return Desk.load(self.desk.dump(), SETTINGS)

    def refolded(self) -> Desk:
        """Return the desk as it comes back from its journal."""
        desk = Desk(SETTINGS)
        for event in self.events:
            desk.apply(_DECODER.decode(msgspec.json.encode(event)))
        return desk

    # What the market and the broker do.

    def fill(self) -> None:
        """A working order trades, whole or in part."""
        working = self.books.working()
        if self.likely(50):
            working = [one for one in working if member_of(one.wire_id)[1] == ENTRY] or working
        if working and not self.is_closed:
            held = self.random.choice(working)
            self.trade(held, Decimal(self.random.choice((1, 1, 2, 3, 10))))

    def trade(self, held: Held, quantity: Decimal) -> None:
        """Let a broker order trade, and judge what that does to its group."""
        number, role = member_of(held.wire_id)
        before = self.books.groups().get(number, Account())
        self.broker.fill(held.broker_order_id, quantity, Decimal(100))
        self._is_stale = True
        group = self.desk.state.groups.get(number)
        if group is None:
            self.is_plain = self.is_plain and bool(number)
            return
        total = before.entered if group.enters else group.quantity
        after = self.books.groups()[number]
        if role == "entry" or total is None or after.exited <= max(total, before.exited):
            return
        if number in self.busted:
            return
        if role in WAYS_OUT:
            self.seen.double_exits += 1
            raise self.broken(f"group {number} closed {after.exited} of {total}")
        if number not in self._raced:
            self._raced.add(number)
            self.seen.races += 1

    def overfill(self) -> None:
        """An entry trades more than was ordered."""
        for held in self.books.working():
            if member_of(held.wire_id)[1] == ENTRY and not self.is_closed:
                held.quantity += 1
                self.trade(held, held.leaves)
                return

    def end_unasked(self) -> None:
        """The broker cancels or expires an order."""
        if (working := self.books.working()) and self.likely(50):
            held = self.random.choice(working)
            self.broker.end(
                held.broker_order_id, self.random.choice((Status.CANCELED, Status.EXPIRED))
            )
            self._is_stale = True

    def bust(self) -> None:
        """A trade of some order is taken back, and the word of it arrives."""
        traded = [one for one in self.broker.orders.values() if one.executions]
        traded = [one for one in traded if not one.replaced_by]
        if traded:
            held = self.random.choice(traded)
            number, _ = member_of(held.wire_id)
            self.busted.add(number)
            self.broker.bust(held.broker_order_id, self.random.choice(list(held.executions)))
            self._is_stale = True
            words = self.broker.words
            told = [word for word in words if word.kind is ReportKind.TRADE_CANCEL]
            words.remove(told[-1])
            self.step(inputs.Reported(told[-1]))

    def trade_elsewhere(self) -> None:
        """Somebody trades on the account past all desks, and the desk hears of it."""
        if self.likely(70):
            held = self.books.position() + self.books.elsewhere
            if held:
                self.books.elsewhere -= self.random.choice((1, 2)) * (1 if held > 0 else -1)
        else:
            self.books.elsewhere = ZERO
        self.is_plain = False
        self._is_stale = True
        self.step(inputs.SeenElsewhere(symbol=SYMBOL, quantity=self.books.elsewhere))

    def open_or_close_market(self) -> None:
        """The market closes, or opens again."""
        self.is_closed = not self.is_closed


def _rests(group: Group) -> bool:
    """Tell whether a group closes at a price of its own."""
    wanted = group.slot(EXIT).exit
    return wanted is not None and wanted.limit_price is not None


def _protects(group: Group) -> bool:
    """Tell whether a group owes protection: not where somebody asked to close it."""
    return group.enters and not (group.phase is Phase.FLATTENING and group.cause == Cause.ASKED)
