"""The replay of a tape: what is refused, what is gone on with, and what counts as a mismatch."""

from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.brokers.tape import TapeBroker
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.events import Event, OrderAccepted, OrderSubmitted
from holdfast.domain.reports import Outcome
from holdfast.errors import AmountError, InputError, JournalError, JournalUnwritable, TapeError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.ports import Batch
from holdfast.testing.scripted import ScriptedBroker
from holdfast.trading import replay as replays
from holdfast.trading import replay_driver
from holdfast.trading.replay import Summary, replay
from holdfast.trading.replay_books import Books, Totals, mismatched, sums_that_differ
from holdfast.trading.replay_tape import open_tape_as
from holdfast.venue.outcome import OrderOutcome, expected_outcome
from holdfast.venue.tape import Tape, open_tape
from holdfast.wiring import OrderManager

ROWS = (
    "34200.1,1,11,100,5853300,1",
    "34200.2,1,12,50,5853400,-1",
    "34200.3,2,11,40,5853300,1",
    "34200.4,4,11,60,5853300,1",
    "34200.5,4,12,20,5853400,-1",
    "34200.6,4,99,20,5853400,-1",
    "34200.7,3,12,30,5853400,-1",
    "34200.8,1,13,10,5853400,-1",
)
OF_THIS_RUN = ("seconds", "orders_per_second", "journal_bytes")


def tape(folder: Path, *rows: str, name: str = "messages.csv") -> Tape:
    path = folder / name
    path.write_text("\n".join(rows or ROWS) + "\n", encoding="ascii")
    return open_tape(path)


def of_the_journal(summary: Summary) -> dict[str, Any]:
    """The figures that a journal gives, however often it is replayed on."""
    figures = msgspec.to_builtins(summary)
    return {name: value for name, value in figures.items() if name not in OF_THIS_RUN}


def quiet(journal: Path) -> list[str]:
    """The files that are beside a journal that nobody has open."""
    return sorted(each.name for each in journal.parent.iterdir())


async def test_a_replay_ends_as_the_rows_say(tmp_path: Path) -> None:
    """Every figure of a small tape, reckoned by hand."""
    summary = await replay(tape(tmp_path), tmp_path / "replay.db")

    assert summary.is_as_recorded
    assert (summary.orders, summary.fills, summary.replaces, summary.cancels) == (3, 2, 1, 1)
    assert summary.by_status == {"CANCELED": 1, "FILLED": 1, "OPEN": 1}
    assert (summary.filled_quantity, summary.notional) == ("80", "46826.6")
    assert (summary.position, summary.leaves_quantity) == ("40", "10")
    assert (summary.live_at_end, summary.unknown_orders, summary.rows) == (1, 1, 8)
    assert summary.end_state == summary.end_state_expected


async def test_a_finished_journal_gives_the_same_summary_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more with the same command: nothing is left to do."""
    journal = tmp_path / "replay.db"
    first = await replay(tape(tmp_path), journal)

    class Deaf(TapeBroker):
        async def submit(self, order: SubmitOrder) -> Outcome:
            raise AssertionError(order)

    monkeypatch.setattr(replays, "TapeBroker", Deaf)
    second = await replay(tape(tmp_path), journal)

    assert of_the_journal(second) == of_the_journal(first)
    assert second.orders_per_second == 0


async def test_a_replay_of_some_rows_is_gone_on_with_by_one_of_more(tmp_path: Path) -> None:
    """The rest of the tape is sent, and what was sent before is not."""
    journal = tmp_path / "replay.db"
    part = await replay(tape(tmp_path), journal, limit_rows=4)
    whole = await replay(tape(tmp_path), journal)

    assert (part.orders, part.fills, part.end_state) == (2, 1, part.end_state_expected)
    assert (whole.orders, whole.fills, whole.end_state) == (3, 2, whole.end_state_expected)


async def test_fewer_rows_than_the_journal_has_are_refused(tmp_path: Path) -> None:
    """What was done cannot be undone; the message says what to give."""
    journal = tmp_path / "replay.db"
    await replay(tape(tmp_path), journal)

    with pytest.raises(InputError, match="raise --limit, or leave it out"):
        await replay(tape(tmp_path), journal, limit_rows=4)


async def test_the_journal_of_another_tape_is_refused_by_its_sha_256(tmp_path: Path) -> None:
    """Both digests are named, and the journal is as it was."""
    journal = tmp_path / "replay.db"
    first = await replay(tape(tmp_path), journal)
    before = journal.read_bytes()
    other = tape(tmp_path, *ROWS[:2], name="other.csv")

    with pytest.raises(InputError, match=f"{first.sha256}.*{other.sha256}"):
        await replay(other, journal)

    assert journal.read_bytes() == before


async def test_the_same_tape_on_other_terms_is_refused(tmp_path: Path) -> None:
    """One journal is of one symbol, tick and multiplier."""
    journal = tmp_path / "replay.db"
    await replay(tape(tmp_path), journal)

    with pytest.raises(InputError, match=r"a replay of TAPE with tick 0\.01 and multiplier 1"):
        await replay(open_tape_as(tmp_path / "messages.csv", multiplier="5"), journal)


async def test_the_journal_of_a_trading_desk_is_refused(tmp_path: Path) -> None:
    """Recorded orders are not put among those of a desk that trades."""
    journal = tmp_path / "desk.db"
    async with OrderManager.open(journal=journal, broker=ScriptedBroker(), desk="alpha"):
        pass

    with pytest.raises(InputError, match=r"the journal of desk alpha, which is no replay"):
        await replay(tape(tmp_path), journal)


async def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    """Two replays do not write into one journal."""
    journal = tmp_path / "replay.db"
    owner = SqliteJournal(journal)

    with pytest.raises(JournalError, match="is in use"):
        await replay(tape(tmp_path), journal)

    owner.close()


async def test_a_limit_below_one_is_refused_before_there_is_a_journal(tmp_path: Path) -> None:
    """Bad input leaves nothing behind."""
    journal = tmp_path / "replay.db"

    with pytest.raises(TapeError, match="the limit is 0 rows"):
        await replay(tape(tmp_path), journal, limit_rows=0)

    assert quiet(journal) == ["messages.csv"]


async def test_a_tape_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    """The rows that were checked are the rows that are replayed."""
    checked = tape(tmp_path)
    tape(tmp_path, *ROWS[:4])

    with pytest.raises(TapeError, match="has changed since it was checked"):
        await replay(checked, tmp_path / "replay.db")


async def test_each_row_is_told_as_it_is_read(tmp_path: Path) -> None:
    """Progress counts rows up to the last one that moves an order."""
    rows: list[int] = []

    await replay(tape(tmp_path), tmp_path / "replay.db", on_row=rows.append)

    assert rows == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_an_order_on_which_desk_and_venue_do_not_agree_stops_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, after a bounded wait."""

    class Wrong(TapeBroker):
        async def submit(self, order: SubmitOrder) -> Outcome:
            outcome = await super().submit(order)
            placed = self.order(order.wire_id)
            assert placed is not None
            placed.quantity += 1
            return outcome

    monkeypatch.setattr(replays, "TapeBroker", Wrong)
    monkeypatch.setattr(replay_driver, "SETTLE_WAIT_S", 0.05)

    told = "-11 is open, 0 of 100 .*; the venue says open, 0 of 101 filled"
    with pytest.raises(replay_driver.DisagreementError, match=told):
        await replay(tape(tmp_path, ROWS[0]), tmp_path / "replay.db")


@pytest.mark.parametrize("kind", [OrderSubmitted, OrderAccepted])
async def test_a_journal_that_cannot_be_written_any_more_stops_the_replay_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Event]
) -> None:
    """Also where nobody asks for anything and all wait; once mended, the same call goes on."""

    class Failing(SqliteJournal):
        def append(self, batch: Batch, done: Any) -> None:
            if any(isinstance(event, kind) for event in batch.events):
                done(JournalUnwritable("the disk is full"))
            else:
                super().append(batch, done)

        def recover(self) -> None:
            raise JournalUnwritable("the disk is full")

    monkeypatch.setattr(replay_driver, "SETTLE_WAIT_S", 5)
    monkeypatch.setattr(replay_driver, "HEALTH_LOOK_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(replays, "SqliteJournal", Failing)
        with pytest.raises(JournalUnwritable, match=r"stopped.*the disk is full.*goes on"):
            await replay(tape(tmp_path), tmp_path / "replay.db")

    assert (await replay(tape(tmp_path), tmp_path / "replay.db")).is_as_recorded


def test_an_order_that_ended_otherwise_is_a_mismatch(tmp_path: Path) -> None:
    """Another status, another fill, a missing order, one too many, and other terms sent."""
    expected = expected_outcome(tape(tmp_path).path)
    orders = dict(expected.orders)
    books = books_of(orders)
    assert mismatched(books, expected, set()) == []

    orders[11] = OrderOutcome("FILLED", D(59), D("34534.47"))
    orders[12] = OrderOutcome("OPEN", D(20), D("11706.8"))
    orders[14] = OrderOutcome("OPEN", D(0), D(0))
    del orders[13]

    assert mismatched(books, expected, set()) == [
        "order 11 is FILLED with 59 filled for 34534.47, not FILLED with 60 filled for 35119.8",
        "order 12 is OPEN with 20 filled for 11706.8, not CANCELED with 20 filled for 11706.8",
        "order 13 is missing, not OPEN with 0 filled for 0",
        "order 14 is OPEN with 0 filled for 0, not missing",
    ]
    assert len(mismatched(books_of(dict(expected.orders)), expected, {12})) == 1


def test_a_sum_that_differs_is_told(tmp_path: Path) -> None:
    """An execution counted twice, a position beside its executions: each has its line."""
    expected = expected_outcome(tape(tmp_path).path)
    books = books_of(dict(expected.orders))
    good = Totals(journal_bytes=0, records={"order_filled": 2, "replace_requested": 1})
    twice = Totals(journal_bytes=0, records={"order_filled": 3, "replace_requested": 1})

    assert sums_that_differ(books, good, expected, 1) == []
    assert sums_that_differ(books, twice, expected, 0) == [
        "executions: 3, not 2",
        "rows of unknown orders: 0, not 1",
    ]
    books.position = (D(41), books.cash)
    [told] = sums_that_differ(books, good, expected, 1)
    assert told.startswith("position: ")


def books_of(orders: dict[int, OrderOutcome]) -> Books:
    cash = D(-23413)
    return Books(
        orders=orders,
        leaves=D(10),
        signed_quantity=D(40),
        cash=cash,
        position=(D(40), cash),
        anomalies=0,
    )


def test_terms_are_told_by_name_or_by_hand(tmp_path: Path) -> None:
    """What is given goes before what the name tells; the rest stays as it is known."""
    named = tape(tmp_path, name="lobster_AAPL_2012-06-21_rest.csv").path

    assert terms(open_tape_as(named)) == ("AAPL", D("0.01"), D(1))
    assert terms(open_tape_as(named, symbol="X")) == ("X", D("0.01"), D(1))
    assert terms(open_tape_as(named, multiplier="100")) == ("AAPL", D("0.01"), D(100))
    by_hand = open_tape_as(named, tick="0.005", multiplier="2")
    assert terms(by_hand) == ("AAPL", D("0.005"), D(2))
    assert (by_hand.rows_total, by_hand.day) == (8, open_tape(named).day)


def terms(opened: Tape) -> tuple[str, D, D]:
    return opened.symbol, opened.tick, opened.multiplier


def test_terms_that_cannot_be_are_refused_before_the_first_order(tmp_path: Path) -> None:
    """A tick that a price is off, and what is no amount or no name."""
    path = tape(tmp_path).path

    with pytest.raises(TapeError, match=r"row 1: price is 585\.33, which is no multiple"):
        open_tape_as(path, tick="0.05", multiplier="1")
    with pytest.raises(AmountError, match="tick 'x' is not a number"):
        open_tape_as(path, tick="x")
    with pytest.raises(AmountError, match="multiplier is -1"):
        open_tape_as(path, multiplier="-1")
    with pytest.raises(InputError, match="symbol 'a b' has blanks"):
        open_tape_as(path, symbol="a b")


def test_a_file_that_is_no_tape_is_refused_on_any_terms(tmp_path: Path) -> None:
    """Prices by hand do not make order flow out of quotes."""
    path = tmp_path / "quotes.csv"
    path.write_text("ts,bid,bid_size,ask,ask_size\n1,10,1,11,1\n", encoding="ascii")

    with pytest.raises(TapeError, match="has no order ids"):
        open_tape_as(path, tick="1", multiplier="1")
