"""A paper venue ends with its process; the journal of its desks does not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from holdfast.config import Config
from holdfast.domain.values import Status
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.world import HeldJournal, VirtualLoop, virtual, virtual_clock
from holdfast.wiring import Desks, OrderManager

CONFIG = {
    "journal": {"url": "memory://"},
    "accounts": {"main": {}},
    "desks": {"alpha": {"account": "main", "execution": {"cancel_after_seconds": 0}}},
    "instruments": {"TSLA": {}},
}


@asynccontextmanager
async def life(path: Path) -> AsyncIterator[Desks[OrderManager]]:
    """Open the desks on a venue that is new, and on the journal that was there before."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    journal = HeldJournal(SqliteJournal(path), loop)
    async with Desks.open(Config.parse(CONFIG), clock=virtual_clock(), journal=journal) as desks:
        yield desks


@virtual
async def test_an_order_of_a_venue_that_ended_is_canceled(tmp_path: Path) -> None:
    """Asked for it, the new venue says so, and the strategy's place is free again (P3, P4)."""
    async with life(tmp_path / "j.db") as desks:
        order = await desks["alpha"].place_limit_order("TSLA", "buy", 5, "90")
        order = await desks["alpha"].wait(order.client_order_id, "accepted")
    async with life(tmp_path / "j.db") as desks:
        ended = await desks["alpha"].wait(order.client_order_id, timeout=60)
        again = await desks["alpha"].place_limit_order("TSLA", "buy", 5, "90")
        again = await desks["alpha"].wait(again.client_order_id, "accepted")

    assert (order.status, ended.status) == (Status.OPEN, Status.CANCELED)
    assert ended.text == "the paper venue ended"
    assert again.broker_order_id != order.broker_order_id


@virtual
async def test_executions_of_two_lives_are_two_rows(tmp_path: Path) -> None:
    """A venue numbers anew in each life, and no execution takes another's place (P3)."""
    for _ in range(2):
        async with life(tmp_path / "j.db") as desks:
            desks.venues["main"].crowd("TSLA").place("ask", -1, 9_000, 5)
            order = await desks["alpha"].place_limit_order("TSLA", "buy", 5, "90")
            await desks["alpha"].wait(order.client_order_id, "filled")
    with closing(sqlite3.connect(tmp_path / "j.db")) as rows:
        (found,) = rows.execute("SELECT count(*) FROM executions").fetchone()

    assert found == 2
