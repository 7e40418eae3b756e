"""A replay that crashes at any call to the venue goes on from its journal, and nothing shows."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from holdfast.brokers.tape import TapeBroker
from holdfast.domain.effects import CancelOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.reports import Outcome
from holdfast.journal.sqlite import SqliteJournal
from holdfast.trading import replay as replays
from holdfast.trading import replay_driver
from holdfast.trading.replay_driver import Driver, Run
from holdfast.trading.replay_past import DESK, instrument_of
from holdfast.venue.outcome import expected_outcome
from holdfast.venue.tape import Tape, open_tape
from holdfast.wiring import OrderManager

# Three orders, interleaved: one replaced and filled in two parts, one cancelled, one left live.
LOBSTER = """\
34200.1,1,11,100,5853300,1
34200.2,1,12,50,5853400,-1
34200.3,1,13,70,5853200,1
34200.4,2,11,40,5853300,1
34200.5,4,12,20,5853400,-1
34200.6,4,11,25,5853300,1
34200.7,4,11,35,5853300,1
34200.8,3,12,30,5853400,-1
34200.9,4,13,10,5853200,1
"""
# One raised and filled beyond its first quantity, then cancelled; one moved; all cleared at last.
MBO = """\
ts_recv_ns,ts_event_ns,instrument_id,action,side,price,size,order_id,channel_id,flags,\
ts_in_delta,sequence
101,7,1,A,B,4800,5,11,0,130,0,1
102,7,1,A,A,4810,4,12,0,130,0,2
103,7,1,A,B,4799,3,13,0,130,0,3
104,7,1,F,B,4800,5,11,0,0,0,4
105,7,1,M,B,4800,4,11,0,130,0,5
106,7,1,F,B,4799,1,13,0,130,0,6
107,7,1,M,A,4811,6,12,0,130,0,7
108,7,1,F,B,4799,1,13,0,130,0,8
109,7,1,C,B,4800,4,11,0,130,0,9
110,7,1,R,N,0,0,0,0,130,0,10
"""
CASES = [("lobster", LOBSTER, n) for n in range(5)] + [("mbo", MBO, n) for n in range(6)]


class Mute(TapeBroker):
    """Carries everything out, and never answers from a certain call on; `mute` tells that it is."""

    def __init__(self, symbol: str, calls_answered: int) -> None:
        super().__init__(symbol)
        self.mute = asyncio.Event()
        self._left = calls_answered

    async def submit(self, order: SubmitOrder) -> Outcome:
        return await self._answer(await super().submit(order))

    async def cancel(self, order: CancelOrder) -> Outcome:
        return await self._answer(await super().cancel(order))

    async def replace(self, order: ReplaceOrder) -> Outcome:
        return await self._answer(await super().replace(order))

    async def _answer(self, outcome: Outcome) -> Outcome:
        if not self._left:
            self.mute.set()
            await asyncio.get_running_loop().create_future()
        self._left -= 1
        return outcome


class Counting(TapeBroker):
    """Remembers the venues of a test, to be asked what they were asked."""

    venues: ClassVar[list[TapeBroker]] = []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.venues.append(self)


def nothing(row: int) -> None:
    """Nobody looks at the progress."""


async def crash(tape: Tape, journal_path: Path, calls_answered: int) -> int:
    """Begin a replay and drop it at the first unanswered call; return how many orders arrived."""
    broker = Mute(tape.symbol, calls_answered)
    journal = SqliteJournal(journal_path)
    async with OrderManager.open(
        journal=journal,
        broker=broker,
        desk=DESK,
        account=tape.sha256,
        instruments=[instrument_of(tape)],
    ) as manager:
        driving = asyncio.create_task(Driver(manager, broker, tape, Run()).drive({}, None, nothing))
        await broker.mute.wait()
        await manager.abandon()
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
    journal.close()
    return broker.submits


@pytest.mark.parametrize(("kind", "rows", "calls_answered"), CASES)
async def test_what_was_not_answered_is_looked_up_and_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, rows: str, calls_answered: int
) -> None:
    """Each submit arrives once, at the venue before the crash or after; the end is the tape's."""
    path = tmp_path / f"{kind}.csv"
    path.write_text(rows, encoding="ascii")
    tape, journal_path = open_tape(path), tmp_path / "replay.db"
    arrived = await crash(tape, journal_path, calls_answered)
    Counting.venues.clear()
    monkeypatch.setattr(replays, "TapeBroker", Counting)
    monkeypatch.setattr(replay_driver, "SETTLE_WAIT_S", 5.0)

    summary = await replays.replay(tape, journal_path)

    assert summary.end_state == expected_outcome(tape.path).end_state
    assert summary.is_as_recorded
    assert summary.anomalies == 0
    [venue] = Counting.venues
    assert (arrived + venue.submits, venue.duplicates) == (3, 0)
