"""Ended orders leave memory by count, come back by any of their names, and books do not notice."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from holdfast.domain import inputs
from holdfast.domain.desk import ARCHIVE_SLACK, Desk
from holdfast.domain.inputs import Input
from holdfast.domain.reports import Accepted
from holdfast.domain.requests import OrderRequest
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.testing.builders import DeskDriver

KEPT = 100


class Archive:
    """A desk whose ended orders go to a shelf and are fetched from it, as an engine does."""

    def __init__(self, finished: int) -> None:
        self.bench = DeskDriver(settings=Settings(finished_orders_max=KEPT))
        self.shelf: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        for number in range(1, finished + 1):
            self.bench.submit(
                quantity="1", client_order_id=f"c{number}", idempotency_key=f"k{number}"
            )
            self.bench.answer(Accepted(broker_order_id=f"B{number}"), number=number)
            self.bench.trade("e1", "1", "100", number=number, fee="0.1", fee_currency="USD")
            for name in (f"c:c{number}", f"i:k{number}", f"b:B{number}", f"n:{number}"):
                self.names[name] = number

    def put_away(self) -> list[int]:
        """Let the oldest ended orders leave memory; return their numbers."""
        desk = self.bench.desk
        desk.rest()
        bodies = {n: desk.state.body(n) for n in range(1, desk.next_number) if desk.state.holds(n)}
        decision = self.bench.step(inputs.Archive(durable_ns=self.bench.now_ns))
        gone = [n for event in decision.events for n in getattr(event, "numbers", ())]
        self.shelf |= {number: bodies[number] for number in gone}
        return gone

    def give(self, given: Input) -> Any:
        """Step the desk, fetching first whatever the input names and is not in memory."""
        missing = self.bench.desk.missing(given)
        bodies = {n: self.shelf[n] for name in missing if (n := self.names.get(name)) in self.shelf}
        if bodies:
            self.bench.step(inputs.Recalled(bodies))
        return self.bench.step(given)

    def restart(self) -> None:
        """Load the desk from its snapshot, as after a crash."""
        desk = self.bench.desk
        self.bench.desk = Desk.load(desk.dump(), self.bench.settings)
        self.bench.step(inputs.Connected(desk.capabilities))
        self.bench.step(inputs.Resume(wall_offset_ns=0))


def test_the_newest_ended_orders_and_all_active_ones_stay() -> None:
    """The oldest ended orders leave above the bound, no active one does (scenarios 12, 75)."""
    archive = Archive(finished=KEPT + ARCHIVE_SLACK)
    bench = archive.bench
    active = bench.opened().number
    assert archive.put_away() == list(range(1, ARCHIVE_SLACK + 1))
    kept = [order.number for order in bench.desk.orders()]
    assert sorted(kept) == list(range(ARCHIVE_SLACK + 1, active + 1))
    found = bench.desk.statistics()
    assert found["orders_archived"] == ARCHIVE_SLACK
    assert found["orders_filled"] == KEPT
    assert found["orders_total"] == KEPT + ARCHIVE_SLACK + 1
    assert bench.position().quantity == KEPT + ARCHIVE_SLACK, "the books do not notice"
    assert not archive.put_away()


def test_an_ended_order_about_which_anything_is_open_stays() -> None:
    """A question or request that is open keeps an order in memory (scenario 75; trap 13)."""
    archive = Archive(finished=KEPT + ARCHIVE_SLACK)
    name = archive.bench.order(1).client_order_id
    word = inputs.Resolve(client_order_id=name, verdict="look_again", by="ann", reason="checking")
    archive.give(word)
    gone = archive.put_away()
    assert 1 not in gone
    assert archive.bench.order(1).lookup is not None


def test_nothing_leaves_memory_before_it_is_durable() -> None:
    """What the journal may not have yet stays."""
    archive = Archive(finished=KEPT + ARCHIVE_SLACK)
    archive.bench.desk.rest()
    decision = archive.bench.step(inputs.Archive(durable_ns=archive.bench.order(3).updated_ns))
    assert [getattr(event, "numbers", None) for event in decision.events] == [(1, 2, 3)]


def again_by_stream(archive: Archive) -> None:
    report = archive.bench.reports[0]
    assert report.broker_order_id == "B1"
    archive.give(inputs.Reported(report))
    assert archive.bench.order(1).filled_quantity == 1


def busted(archive: Archive) -> None:
    before = archive.bench.position().quantity
    had = archive.bench.desk.order(1) or archive.bench.desk.state.peek(1)
    bust = archive.bench.report("trade_cancel", execution_ref="e1", wire_id="")
    archive.give(inputs.Reported(bust))
    order = archive.bench.order(1)
    assert (order.filled_quantity, order.fees) == (0, {"USD": 0})
    if had is None or had.filled_quantity:
        assert archive.bench.position().quantity == before - 1


def asked_for_again(archive: Archive) -> None:
    for names in ({"client_order_id": "c1"}, {"idempotency_key": "k1"}):
        request = OrderRequest(
            symbol="X",
            side="buy",
            quantity="1",
            order_type="limit",
            limit_price="100",
            client_order_id=names.get("client_order_id"),
            idempotency_key=names.get("idempotency_key"),
        )
        decision = archive.give(inputs.Submit(request))
        assert (decision.number, decision.repeat, decision.effects) == (1, True, [])


def restarted(archive: Archive) -> None:
    archive.restart()


STEPS: list[Callable[[Archive], None]] = [again_by_stream, asked_for_again, busted]


@pytest.mark.parametrize("restarts", [r for n in range(4) for r in combinations(range(3), n)])
def test_a_put_away_order_is_repeated_busted_and_asked_for_as_if_it_were_here(
    restarts: tuple[int, ...],
) -> None:
    """Fill, evict, repeat, ask again, bust, restarts between any two (scenario 96; trap 13)."""
    archive = Archive(finished=KEPT + ARCHIVE_SLACK)
    assert 1 in archive.put_away()
    assert archive.bench.desk.order(1) is None
    orders = archive.bench.desk.next_number
    for index, step in enumerate(STEPS):
        if index in restarts:
            restarted(archive)
        step(archive)
    assert archive.bench.desk.next_number == orders
    assert archive.bench.position().quantity == KEPT + ARCHIVE_SLACK - 1
    assert archive.bench.anomalies() == []
    assert archive.bench.refolded().dump() == archive.bench.desk.dump()


def test_a_rested_desk_dumps_and_folds_the_same() -> None:
    """Packing ended orders is no change (scenario 99)."""
    archive = Archive(finished=3)
    desk = archive.bench.desk
    before = desk.dump()
    desk.rest()
    assert desk.dump() == before == Desk.load(before).dump()
    archive.bench.bust("e1", number=2)
    assert archive.bench.refolded().dump() == desk.dump()
    assert desk.state.counts[Status.FILLED] == 2


def test_what_an_input_names_is_missing_only_if_it_was_put_away() -> None:
    """A number never given out, or an order in memory, is not asked for."""
    archive = Archive(finished=KEPT + ARCHIVE_SLACK)
    desk = archive.bench.desk
    assert desk.missing(inputs.Cancel(client_order_id="c1")) == ()
    archive.put_away()
    wire_id = archive.bench.wire_id
    assert desk.missing(inputs.Cancel(client_order_id="c1")) == ("c:c1",)
    assert desk.missing(inputs.Cancel(client_order_id=wire_id(1))) == ("n:1",)
    assert desk.missing(inputs.Cancel(client_order_id=wire_id(10**6))) == ()
    assert desk.missing(inputs.Cancel(client_order_id=f"c{KEPT + ARCHIVE_SLACK}")) == ()
    by_broker = archive.bench.report("trade", wire_id="", broker_order_id="B2")
    assert desk.missing(inputs.Reported(by_broker)) == ("b:B2",)
    shown = archive.bench.snapshot(2, wire_id="")
    assert desk.missing(inputs.Polled(asked_ns=0, snapshots=(shown, shown))) == ("b:B2",)
