"""Ten thousand orders in groups: what is over leaves memory, what may still trade never does."""

from decimal import Decimal

import pytest

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import ARCHIVE_SLACK
from holdfast.domain.group_book import CLOSED_MAX
from holdfast.domain.inputs import Archive
from holdfast.domain.settings import Settings
from holdfast.testing.brokered import BrokeredDesk, both

LIVES = 3_400
ORDERS_EACH = 3
KEPT = 100
BETWEEN_ARCHIVES = 50


def trade(bench: BrokeredDesk, role: str) -> None:
    """Let the newest group's order of a role trade whole."""
    group = bench.group(max(bench.desk.state.groups.groups))
    order = next(one for n in group.live if (one := bench.order(n)).role == role)
    bench.broker.fill(order.broker_order_id, Decimal(1), Decimal(100))
    bench.talk()


@pytest.mark.slow
def test_ten_thousand_orders_of_groups_leave_memory_and_no_active_one_is_evicted() -> None:
    """An entry, a stop and a target each, 3,400 times over; a bracket that is protected and one
    that waits for its entry outlive them, with all their orders (scenario 75).
    """
    can = Capabilities(unique_ids="none")  # so that the broker compares no ids with each other
    bench = BrokeredDesk(can, settings=Settings(finished_orders_max=KEPT))
    bench.bracket()
    bench.fill("entry", 3)
    bench.bracket(quantity=1)
    standing = {order.number for order in bench.desk.active()}
    most = 0
    for life in range(LIVES):
        bench.bracket(quantity=1)
        for role in ("entry", ("stop", "target")[life % 2]):
            trade(bench, role)
        bench.advance(10)
        bench.desk.rest()
        if life % BETWEEN_ARCHIVES == 0:
            bench.step(Archive(durable_ns=bench.now_ns))
        most = max(most, len(bench.desk.state.finished))
    orders = bench.desk.next_number - 1
    assert orders >= LIVES * ORDERS_EACH > 10_000
    assert most <= KEPT + ARCHIVE_SLACK + BETWEEN_ARCHIVES * ORDERS_EACH
    assert len(bench.desk.state.groups.groups) <= CLOSED_MAX + 2
    assert {order.number for order in bench.desk.active()} == standing
    assert (bench.group(1).phase, bench.working(1)) == ("protected", both(3))
    assert (bench.group(2).phase, bench.working(2)) == ("entering", {"entry": 1})
    assert bench.position().quantity == 3
