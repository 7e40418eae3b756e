"""What an account holds by nobody's desk, and what its desks protect because of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Config
from holdfast.connecting import Connection
from holdfast.domain.events import OpeningBalanceSet
from holdfast.domain.inputs import Input
from holdfast.domain.reports import Snapshot
from holdfast.domain.values import OrderType, Side, Status
from holdfast.engine import elsewhere
from holdfast.engine.elsewhere import Elsewhere, attributed
from holdfast.engine.runner import Mode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.brokered import BrokeredDesk
from holdfast.testing.scripted import ScriptedBroker
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import Desks

TABLES: Any = {
    "accounts": {"main": {"broker": "hand:connect"}},
    "desks": {"alpha": {"account": "main"}, "beta": {"account": "main"}},
    "instruments": {"TSLA": {}},
}
EXITS: Any = {"stop_loss_price": "95", "take_profit_price": "110"}


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, broker: ScriptedBroker, store: Store | None = None
) -> AsyncIterator[Any]:
    def connect(_account: object) -> Connection:
        return Connection(broker=broker)

    connect.modes = ("paper",)  # type: ignore[attr-defined]  # what a factory declares
    monkeypatch.setitem(sys.modules, "hand", SimpleNamespace(connect=connect))
    journal = MemoryJournal(store or Store())
    async with Desks.open(Config.parse(TABLES), clock=virtual_clock(), journal=journal) as desks:
        yield desks


async def held(desk: Any, broker: ScriptedBroker, quantity: int) -> None:
    """Hold a bracket over so many units, all filled and protected."""
    group = await desk.place_bracket_order("TSLA", "buy", quantity, entry_price="100", **EXITS)
    entry = f"{group.group_id}.entry.1"
    await desk.wait(entry, "accepted")
    broker.fill(entry, quantity, "100")
    await desk.wait_group(group.group, "protected")
    await asyncio.sleep(1)


async def sell_by_hand(broker: ScriptedBroker, name: str, quantity: int) -> None:
    """Sell past all desks, and wait until a poll has shown it."""
    broker.executions[name] = []
    broker.orders[name] = Snapshot(
        broker_order_id=f"B-{name}",
        wire_id=name,
        symbol="TSLA",
        side=Side.SELL,
        order_type=OrderType.LIMIT,
        status=Status.OPEN,
        order_quantity=Decimal(quantity),
        cumulative=Decimal(0),
        limit_price=Decimal(101),
        sequence=1,
    )
    await asyncio.sleep(20)
    broker.fill(name, quantity, "101")
    await asyncio.sleep(20)


def resting(broker: ScriptedBroker) -> dict[str, Decimal | None]:
    """Return the exits that work at the broker, by desk and role."""
    return {
        wire_id.partition("-")[2].replace("-g1", "").removesuffix(".1"): shown.order_quantity
        for wire_id, shown in broker.orders.items()
        if shown.status is Status.OPEN
    }


@virtual
async def test_a_position_sold_by_hand_leaves_no_exit_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it is sold past the desks: stop and target go, and nothing turns short (trap 57)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
        await sell_by_hand(broker, "ui-1", 3)
        [group] = await desks["alpha"].groups()
        assert resting(broker) == {}
        assert await desks.positions("main") == {"TSLA": 0}

    assert (group.is_closed, group.exited) == (True, 0)


@virtual
async def test_a_part_sold_by_hand_shrinks_what_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left stays protected (scenario 76)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        await sell_by_hand(broker, "ui-1", 2)
        assert resting(broker) == {"alpha.stop": 1, "alpha.target": 1}
        assert (await desks["alpha"].groups())[0].phase == "protected"


@virtual
async def test_what_one_desk_gives_up_the_next_one_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two desks hold 3 and 2, and 4 are sold by hand: the one that is left is protected (P6)."""
    broker = ScriptedBroker()
    async with opened(monkeypatch, broker) as desks:
        await held(desks["alpha"], broker, 3)
        await held(desks["beta"], broker, 2)
        await sell_by_hand(broker, "ui-1", 2)
        assert resting(broker) == {
            "alpha.stop": 1, "alpha.target": 1, "beta.stop": 2, "beta.target": 2,
        }  # fmt: skip
        await sell_by_hand(broker, "ui-2", 2)
        assert resting(broker) == {"beta.stop": 1, "beta.target": 1}


@virtual
async def test_a_start_tells_what_was_sold_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk that did not hear of it before the end hears of it at the next start."""
    broker, store = ScriptedBroker(), Store()
    async with opened(monkeypatch, broker, store) as desks:
        await held(desks["alpha"], broker, 3)
        desks["alpha"]._runner.word = lambda _said: None
        await sell_by_hand(broker, "ui-1", 3)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
    async with opened(monkeypatch, broker, store) as desks:
        await asyncio.sleep(20)
        assert resting(broker) == {}
        assert (await desks["alpha"].groups())[0].is_closed


@virtual
async def test_what_was_told_outlives_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """What beta held was sold: alpha's later bracket is protected, after a start as well (P6)."""
    broker, store = ScriptedBroker(), Store()
    async with opened(monkeypatch, broker, store) as desks:
        await held(desks["beta"], broker, 3)
        await sell_by_hand(broker, "ui-1", 3)
        assert resting(broker) == {}
        await held(desks["alpha"], broker, 3)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
        await desks.abandon()
        desks.journal.crash()
    async with opened(monkeypatch, broker, store) as desks:
        await asyncio.sleep(20)
        assert resting(broker) == {"alpha.stop": 3, "alpha.target": 3}
        assert await desks.positions("main") == {"TSLA": 3}


# The rule by itself, over desks that step at once what they are told.


class Seat(BrokeredDesk):
    """A desk in the place of its runner; while it is `late`, it steps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Input] = []
        self.words = 0
        self.is_late = False
        self.mode = Mode.RUNNING
        self.on_traded: Any = None

    @property
    def is_idle(self) -> bool:
        return not self.waiting

    @property
    def told(self) -> Decimal:
        return self.desk.state.groups.elsewhere.get("X", Decimal(0))

    def word(self, said: Input) -> None:
        self.words += 1
        self.waiting.append(said)
        self.catch_up()

    def catch_up(self) -> None:
        while self.waiting and not self.is_late:
            self.ask(self.waiting.pop(0))

    def deal(self, quantity: int) -> None:
        """Buy so many, or sell them, and say so to whoever follows."""
        self.trade_outside("buy" if quantity > 0 else "sell", abs(quantity))
        self.tell()

    def tell(self, symbol: str = "X") -> None:
        """Say to whoever follows that something traded."""
        if self.on_traded is not None:
            zero = Decimal(0)
            self.on_traded([OpeningBalanceSet(at_ns=1, symbol=symbol, quantity=zero, price=zero)])


def account(desks: int) -> tuple[Seat, list[Seat]]:
    """Return the unclaimed desk of an account, and its other desks, followed."""
    unclaimed, others = Seat(), [Seat() for _ in range(desks)]
    followed: Any = (unclaimed, others)
    Elsewhere(*followed)
    return unclaimed, others


def told(desks: list[Seat]) -> list[Decimal]:
    return [desk.told for desk in desks]


def test_who_buys_later_is_not_taken_for_who_held_what_was_sold() -> None:
    """B's units are sold by hand; A, which comes first, buys afterwards and is protected (P6)."""
    unclaimed, desks = account(2)
    alpha, beta = desks
    beta.deal(3)
    unclaimed.deal(-3)
    assert told(desks) == [0, -3]
    alpha.bracket(quantity=3)
    alpha.fill("entry", 3)
    alpha.tell()
    alpha.advance(20_000)
    assert told(desks) == [0, -3]
    assert alpha.working() == {"stop": 3, "target": 3}


@pytest.mark.parametrize("long", [1, -1])
def test_only_what_is_new_is_handed_out_or_taken_back(long: int) -> None:
    """In order as far as a desk holds something untold; back from the last, long or short."""
    unclaimed, desks = account(3)
    first, second, third = desks

    def after(desk: Seat, quantity: int) -> list[Decimal]:
        desk.deal(quantity * long)
        return [each * long for each in told(desks)]

    assert after(second, 2) == [0, 0, 0]
    assert after(third, 4) == [0, 0, 0]
    assert after(unclaimed, -3) == [0, -2, -1]
    assert after(first, 5) == [0, -2, -1]
    assert after(unclaimed, -2) == [-2, -2, -1]
    assert after(unclaimed, 2) == [-2, -1, 0]
    assert after(second, 3) == [-2, -1, 0]
    assert after(unclaimed, 3) == [0, 0, 0]
    assert after(unclaimed, 4) == [0, 0, 0]


def test_what_a_desk_closes_itself_is_handed_on() -> None:
    """Nobody is told more than it holds; flat or on the other side it is told of nothing."""
    unclaimed, desks = account(3)
    first, second, third = desks
    first.deal(3)
    second.deal(2)
    unclaimed.deal(-3)
    assert told(desks) == [-3, 0, 0]
    first.deal(-2)
    assert told(desks) == [-1, -2, 0]
    first.deal(-1)
    assert told(desks) == [0, -2, 0]
    third.deal(-1)
    assert told(desks) == [0, -2, 0]
    third.deal(4)
    assert told(desks) == [0, -2, -1]
    second.deal(-5)
    assert told(desks) == [0, 0, -3]


def test_a_change_of_sides_takes_all_back_first() -> None:
    """What was sold by hand is bought back and more: only who is short is told of that."""
    unclaimed, desks = account(2)
    long, short = desks
    long.deal(3)
    short.deal(-2)
    unclaimed.deal(-2)
    assert told(desks) == [-2, 0]
    unclaimed.deal(5)
    assert told(desks) == [0, 2]


def test_a_start_goes_on_with_what_the_journals_say() -> None:
    """Nothing is told anew, even where the desks stand in another order; what is new, is."""
    unclaimed, desks = account(2)
    alpha, beta = desks
    beta.deal(3)
    unclaimed.deal(-2)
    alpha.deal(3)
    for desk in (unclaimed, *desks):
        desk.crash(down_ms=60_000)
        desk.words, desk.on_traded = 0, None
    again: Any = (unclaimed, [beta, alpha])
    Elsewhere(*again)
    assert (told(desks), [desk.words for desk in desks]) == ([0, -2], [0, 0])
    for desk in desks:
        desk.crash()
        desk.on_traded = None
    unclaimed.on_traded = None
    unclaimed.deal(-2)
    Elsewhere(*again)
    assert told(desks) == [-1, -3]


def test_a_desk_that_has_not_stepped_its_word_yet_was_told_all_the_same() -> None:
    """Otherwise the same units would be handed out twice, and two desks would go unprotected."""
    unclaimed, desks = account(2)
    alpha, beta = desks
    beta.deal(2)
    beta.is_late = True
    unclaimed.deal(-2)
    alpha.deal(2)
    assert (told(desks), beta.words) == ([0, 0], 1)
    unclaimed.deal(2)
    assert (told(desks), beta.words) == ([0, 0], 2)
    unclaimed.deal(-2)
    assert told(desks) == [-2, 0]
    beta.is_late = False
    beta.catch_up()
    assert told(desks) == [-2, 0]


def test_a_word_that_was_lost_is_said_again() -> None:
    """Once nothing waits at a desk that does not know, whoever trades next has it told."""
    unclaimed, desks = account(2)
    alpha, beta = desks
    beta.deal(2)
    beta.is_late = True
    unclaimed.deal(-2)
    beta.waiting.clear()
    beta.is_late = False
    assert told(desks) == [0, 0]
    alpha.deal(1)
    assert told(desks) == [0, -2]


def test_a_desk_that_is_shut_keeps_what_it_knows() -> None:
    """What is sold then the others give up, and what is bought back they get back (P6)."""
    unclaimed, desks = account(3)
    alpha, beta, short = desks
    alpha.deal(10)
    beta.deal(10)
    short.deal(-4)
    unclaimed.deal(-2)
    assert told(desks) == [-2, 0, 0]
    alpha.mode = Mode.CLOSED
    unclaimed.deal(-5)
    assert (told(desks), alpha.words) == ([-2, -5, 0], 1)
    unclaimed.deal(4)
    assert told(desks) == [-2, -1, 0]
    unclaimed.deal(2)
    assert told(desks) == [-2, 0, 0]
    unclaimed.deal(4)
    assert told(desks) == [-2, 0, 3]


def test_only_what_traded_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trade in one symbol costs no look at all the others; one that is unsure is looked at."""
    unclaimed, desks = account(1)
    looks: list[Decimal] = []

    def look(total: Decimal, *others: Any) -> tuple[Decimal, ...]:
        looks.append(total)
        return attributed(total, *others)

    monkeypatch.setattr(elsewhere, "attributed", look)
    desks[0].deal(2)
    unclaimed.deal(-2)
    looks.clear()
    unclaimed.tell("Y")
    assert looks == [0]
    desks[0].is_late = True
    unclaimed.deal(1)
    looks.clear()
    unclaimed.tell("Y")
    assert looks == [-1, 0]


_UNITS = st.integers(-6, 6).map(lambda n: Decimal(n) / 2)
_ACCOUNTS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.tuples(_UNITS, st.tuples(*[_UNITS] * n)), min_size=1, max_size=8)
)


@given(_ACCOUNTS)
def test_desks_are_told_of_all_there_is_to_tell_and_of_nothing_twice(
    history: list[tuple[Decimal, tuple[Decimal, ...]]],
) -> None:
    """However an account goes on: within what is held, no more and no less, and moving the least.

    Parts rise or fall, never both, but for what a desk no longer holds (P6).
    """
    was = (Decimal(0),) * len(history[0][1])
    for total, held in history:
        parts = attributed(total, held, was)
        side = -1 if total < 0 else 1
        most = [max(-side * each, Decimal(0)) for each in held]
        given_out = [side * part for part in parts]
        assert all(0 <= part <= limit for part, limit in zip(given_out, most, strict=True))
        assert sum(given_out) == min(abs(total), sum(most))
        assert attributed(total, held, parts) == parts
        mirrored = attributed(-total, [-each for each in held], [-each for each in was])
        assert mirrored == tuple(-part for part in parts)
        kept = [
            min(max(side * old, Decimal(0)), limit) for old, limit in zip(was, most, strict=True)
        ]
        moves = [new - old for new, old in zip(given_out, kept, strict=True)]
        assert min(moves) >= 0 or max(moves) <= 0
        was = parts
