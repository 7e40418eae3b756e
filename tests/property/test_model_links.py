"""The model broker and the paper venue tie orders together alike: the same acts, the same end."""

from decimal import Decimal as D
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached, CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Accepted, Report, ReportKind
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status
from holdfast.testing.model_broker import ModelBroker
from holdfast.venue.paper import Venue

SIZES = st.integers(1, 4)
PICKS = st.integers(0, 20)


class LinkMachine(RuleBasedStateMachine):
    """Whatever is done to both: they take the same, show the same and tell the same."""

    def __init__(self) -> None:
        super().__init__()
        self.open("none", oco=True, new_ids=False, carries=True, shares=True, shows_held=True)

    @initialize(
        when=st.sampled_from(["per_fill", "per_fill", "after_full_fill", "none"]),
        oco=st.sampled_from([True, True, True, False]),
        new_ids=st.booleans(),
        carries=st.booleans(),
        shares=st.booleans(),
        shows_held=st.booleans(),
    )
    def open(self, when: Literal["none", "after_full_fill", "per_fill"], **can: Any) -> None:
        """Open both with the same capabilities; the venue trades where it is told to only."""
        capabilities = Capabilities(
            native_bracket=when,
            native_oco=can["oco"],
            new_id_on_replace=can["new_ids"],
            replace_carries_fills=can["carries"] or not can["new_ids"],
            exits_share_quantity=can["shares"],
            lists_held_legs=can["shows_held"],
            account_data=True,
            power_after_orders=True,
        )
        self.model = ModelBroker(capabilities)
        self.venue = Venue()
        self.venue.add_listing(Instrument.of("X", tick=1, lot=1), matching=False)
        self.venue.open_account("main", capabilities)
        self.told: list[Report] = []
        self.venue.subscribe("main", self.told.append)
        self.ids: dict[str, str] = {}  # the model's broker order id -> the venue's
        self.sent = 0
        self.has_busts = False

    @rule(
        side=st.sampled_from(Side),
        quantity=SIZES,
        what=st.sampled_from([("", ""), ("oco", "st"), ("bracket", "st"), ("bracket", "s")]),
    )
    def submit(self, side: Side, quantity: int, what: tuple[str, str]) -> None:
        """Send an order with whatever is attached to it."""
        link, letters = what
        closing = side.opposite if link == "bracket" else side
        roles = ["stop"] if link == "oco" else [{"s": "stop", "t": "target"}[x] for x in letters]
        main = {"bracket": "entry", "oco": "target"}.get(link, "")
        self.sent += 1
        effect = SubmitOrder(
            number=self.sent,
            wish=0,
            attempt=1,
            wire_id=f"w{self.sent}",
            terms=terms(main, side, quantity, closing),
            not_after_ns=0,
            link=link,
            attached=tuple(
                Attached(
                    number=0,
                    role=role,
                    wire_id=f"w{self.sent}.{role}",
                    terms=terms(role, closing, quantity, closing),
                )
                for role in roles
            ),
        )
        ours = self.model.call(effect)
        theirs = self.venue.submit(
            "main", effect.wire_id, effect.terms, 0, link=link, attached=effect.attached
        )
        assert type(ours) is type(theirs), (ours, theirs)
        if isinstance(ours, Accepted) and isinstance(theirs, Accepted):
            self.ids[ours.broker_order_id] = theirs.broker_order_id
            assert [child.wire_id for child in ours.children] == [
                child.wire_id for child in theirs.children
            ]
            for child, other in zip(ours.children, theirs.children, strict=True):
                self.ids[child.broker_order_id] = other.broker_order_id

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS, quantity=SIZES)
    def fill(self, pick: int, quantity: int) -> None:
        """Let any order trade as much of a quantity as it can."""
        key = self.pick(pick)
        order = self.venue.order(self.ids[key])
        self.model.fill(key, D(quantity), D(100))
        if not order.ended and not order.is_held:
            self.venue.execute(order.broker_order_id, D(min(quantity, order.leaves)), D(100))

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        """Ask for the end of any order."""
        key = self.pick(pick)
        ours = self.model.call(
            CancelOrder(
                number=1,
                wish=1,
                attempt=1,
                wire_id="",
                orig_wire_id="",
                broker_order_id=key,
                symbol="X",
                not_after_ns=0,
            )
        )
        theirs = self.venue.cancel("main", broker_order_id=self.ids[key], now_ns=0)
        assert type(ours) is type(theirs)

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS, status=st.sampled_from([Status.EXPIRED, Status.CANCELED]))
    def end(self, pick: int, status: Status) -> None:
        """Let the broker end any order for a reason of its own."""
        key = self.pick(pick)
        self.model.end(key, status)
        if not self.venue.order(self.ids[key]).ended:
            self.venue.finish(self.ids[key], status)

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS, more=st.integers(-2, 2))
    def replace(self, pick: int, more: int) -> None:
        """Ask for another size of any order that stays above what it has filled."""
        key = self.pick(pick)
        order = self.venue.order(self.ids[key])
        lots = order.lots + more
        if lots <= order.filled:
            return
        self.sent += 1
        role, wire_id = order.role, f"w{self.sent}"
        wanted = terms(role, order.side, lots, order.side)
        ours = self.model.call(
            ReplaceOrder(
                number=1,
                wish=1,
                attempt=1,
                wire_id=wire_id,
                orig_wire_id="",
                broker_order_id=key,
                terms=wanted,
                leaves_quantity=D(lots - order.filled),
                not_after_ns=0,
            )
        )
        theirs = self.venue.replace(
            "main",
            wire_id=wire_id,
            broker_order_id=order.broker_order_id,
            terms=wanted,
            leaves_quantity=D(lots - order.filled),
            now_ns=0,
        )
        assert type(ours) is type(theirs), (ours, theirs)
        if isinstance(ours, Accepted) and isinstance(theirs, Accepted):
            self.ids[ours.broker_order_id] = theirs.broker_order_id

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS)
    def bust(self, pick: int) -> None:
        """Undo the last trade of an order that was not replaced."""
        key = self.pick(pick)
        order = self.venue.order(self.ids[key])
        standing = [fill for fill in order.fills if not fill.busted]
        if standing and order.successor is None:
            self.has_busts = True
            self.model.bust(key, list(self.model.orders[key].executions)[-1])
            self.venue.bust(standing[-1].execution.execution_id, reinstate=True)

    def pick(self, pick: int) -> str:
        """Choose one of the newest orders by the model's id."""
        return list(self.ids)[-1 - pick % len(self.ids)]

    @invariant()
    def both_show_the_same(self) -> None:
        """Every order agrees in status, amounts, condition and children."""
        for key, other in self.ids.items():
            ours, theirs = self.model.snapshot(self.model.orders[key]), self.venue.order(other)
            shown = theirs.snapshot()
            assert (
                ours.status,
                ours.order_quantity,
                ours.cumulative,
                ours.condition,
                ours.stop_price,
                [(child.role, self.ids[child.broker_order_id]) for child in ours.children],
            ) == (
                shown.status,
                shown.order_quantity,
                shown.cumulative,
                shown.condition,
                shown.stop_price,
                [(child.role, child.broker_order_id) for child in shown.children],
            ), (key, other)

    @invariant()
    def held_exits_are_listed_where_they_are_listed(self) -> None:
        """The list has all that work, without those that are held where it does not show them."""
        shows = self.model.capabilities.lists_held_legs
        listed = {self.ids[shown.broker_order_id] for shown in self.model.listing()[0]}
        working = self.venue.orders("main", working=True)
        assert listed == {one.broker_order_id for one in working if shows or not one.is_held}
        for key in self.ids:
            asked = LookupOrder(
                number=1, attempt=1, symbol="X", wire_ids=(), broker_order_ids=(key,)
            )
            assert self.model.look(asked).sightings

    @invariant()
    def both_tell_the_same(self) -> None:
        """The streams have the same words in the same order, each about the same order."""
        ours = [
            (one.kind, self.ids[one.broker_order_id], quantity_told(one))
            for one in self.model.words
        ]
        theirs = [(one.kind, one.broker_order_id, quantity_told(one)) for one in self.told]
        assert ours == theirs

    @invariant()
    def exits_of_an_entry_live_for_no_more_than_it_filled(self) -> None:
        """Whatever is undone: nothing that closes works for units that are not held."""
        for held in self.model.orders.values():
            lives = held.is_working and held.is_exit and not held.is_held
            if lives and held.tie is not None and not held.tie.is_pair:
                assert held.leaves <= held.tie.room

    @invariant()
    def linked_exits_never_trade_more_than_they_may(self) -> None:
        """Both together trade at most the size of the pair, or what their entry filled.

        Unless what the entry filled is undone, after the exits have closed it.
        """
        for held in self.model.orders.values():
            if held.tie is not None and not self.has_busts:
                assert held.tie.traded <= held.tie.total


def quantity_told(report: Report) -> D | None:
    """The quantity that a report about size or hold carries."""
    restates = report.kind in {ReportKind.RESTATED, ReportKind.HELD, ReportKind.REPLACED}
    return report.order_quantity if restates else None


def terms(role: str, side: Side, quantity: int, closing: Side) -> OrderTerms:
    """Terms of an order in its role; a stop is on the far side of its target."""
    away = 20 if closing is Side.SELL else 0
    if role == "stop":
        stop = D(110 - away)
        return OrderTerms(
            symbol="X",
            side=side,
            quantity=D(quantity),
            order_type=OrderType.STOP,
            stop_price=stop,
        )
    price = D(90 + away) if role == "target" else D(100)
    return OrderTerms(
        symbol="X",
        side=side,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=price,
    )


LinkMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestLinks = LinkMachine.TestCase


@pytest.mark.parametrize(
    ("fills", "busts", "ends"),
    [([3], 1, False), ([2, 1], 2, True)],
)
def test_an_exit_lives_no_longer_once_its_entry_is_undone(
    fills: list[int], busts: int, ends: bool
) -> None:
    """The entry's fill is taken back, and then those of the stop that closed it: nothing is held,
    so that the stop waits for the entry again, or is gone where it had closed a part twice over
    (scenario 83).
    """
    both = LinkMachine()
    both.open("per_fill", oco=True, new_ids=False, carries=True, shares=True, shows_held=True)
    both.submit(Side.BUY, 3, ("bracket", "st"))
    entry, stop = 2, 1
    both.fill(entry, 3)
    for quantity in fills:
        both.fill(stop, quantity)
    both.bust(entry)
    for _ in range(busts):
        both.bust(stop)
    held = both.model.orders[both.pick(stop)]
    assert (held.is_working, held.is_held) == (not ends, not ends)
    both.fill(stop, 3)
    assert held.own == 0, "nothing is held that it could close"
    both.fill(entry, 2)
    assert ends or (held.leaves, held.is_held) == (2, False)
    both.both_show_the_same()
    both.both_tell_the_same()
