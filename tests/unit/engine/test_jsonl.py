import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.desk import FORMAT, Desk
from holdfast.domain.reports import Refused
from holdfast.engine.feed import Feed, Notice
from holdfast.engine.jsonl import (
    ERRORS,
    ORDERS,
    PENDING,
    PENDING_APART_S,
    POSITION,
    RETRY_FIRST_S,
    TRADES,
    JsonlFiles,
)
from holdfast.engine.jsonl_book import Book
from holdfast.engine.jsonl_rows import ErrorLine, Lines, OrderLine
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Batch, Journal, StoredSnapshot
from holdfast.testing.builders import EPOCH, DeskDriver
from holdfast.testing.world import run, virtual


def journal_of(bench: DeskDriver) -> MemoryJournal:
    """Return a journal with what the desk recorded."""
    journal = MemoryJournal()
    store(journal, bench, 1)
    return journal


def store(journal: Journal, bench: DeskDriver, first: int) -> None:
    """Append the desk's events from this number on."""
    failed: list[BaseException] = []
    batch = Batch(desk="d", first_seq=first, events=bench.events[first - 1 :])
    journal.append(batch, lambda error: failed.append(error) if error else None)
    assert not failed


def publish(feed: Feed, bench: DeskDriver, first: int) -> None:
    """Tell what the desk recorded from this number on."""
    notices = [Notice(seq, bench.events[seq - 1]) for seq in range(first, len(bench.events) + 1)]
    feed.publish(notices)


async def written(folder: Path, bench: DeskDriver) -> JsonlFiles:
    """Write the files of a desk that has stopped."""
    return await mend(folder, journal_of(bench))


async def mend(folder: Path, journal: Journal) -> JsonlFiles:
    files = JsonlFiles(folder, Feed(), journal, "d")
    files.start()
    await files.close()
    return files


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def busy() -> DeskDriver:
    bench = DeskDriver()
    for number in range(1, 5):
        bench.opened()
        bench.trade(f"t{number}", "4", number=number)
    bench.say("canceled", number=2)
    return bench


class Live:
    """A busy desk whose files are written while it runs; `seq` is the last event it stored."""

    def __init__(self, folder: Path, feed: Feed | None = None, **options: Any) -> None:
        self.bench, self.feed = busy(), Feed() if feed is None else feed  # an empty one is falsy
        self.journal, self.seq = journal_of(self.bench), len(self.bench.events)
        self.files = JsonlFiles(folder, self.feed, self.journal, "d", **options)
        self.files.start()

    def store(self) -> int:
        """Store what the desk recorded since, and return the number of the first of it."""
        first, self.seq = self.seq + 1, len(self.bench.events)
        store(self.journal, self.bench, first)
        return first

    def tell(self) -> int:
        """Store what the desk recorded since, tell of it, and return the number of the first."""
        first = self.store()
        publish(self.feed, self.bench, first)
        return first


def test_the_list_of_open_orders_is_whole_at_any_time(tmp_path: Path) -> None:
    """What is open now, with what is filled of it, by the names of old (scenarios 49, 50)."""
    run(written(tmp_path, busy()))
    found = read(tmp_path / PENDING)
    assert [row["order_id"] for row in found] == [f"{EPOCH}-d-{n}" for n in (1, 3, 4)]
    assert found[0] | {"created_at": "", "updated_at": ""} == {
        "order_id": f"{EPOCH}-d-1",
        "broker_order_id": "B1",
        "team_id": "d",
        "strategy_name": "",
        "symbol": "X",
        "side": "buy",
        "quantity": "10",
        "order_type": "limit",
        "limit_price": "100",
        "stop_price": None,
        "status": "partial_fill",
        "filled_qty": "4",
        "filled_avg_price": "100",
        "time_in_force": "gtc",
        "created_at": "",
        "updated_at": "",
        "requested_price": "100",
        "execution_mode": "paper",
    }
    assert not list(tmp_path.glob("*.new"))


@virtual
async def test_a_running_desk_is_followed(tmp_path: Path) -> None:
    """Rows appear as events become durable, before any file is closed (scenarios 48, 49)."""
    live = Live(tmp_path)
    await asyncio.sleep(1)
    before = len(read(tmp_path / ORDERS))
    live.bench.opened()
    live.tell()
    await asyncio.sleep(2 * PENDING_APART_S)

    assert [row["action"] for row in read(tmp_path / ORDERS)[before:]] == ["submit", "accept"]
    assert read(tmp_path / PENDING)[-1]["order_id"] == f"{EPOCH}-d-5"
    await live.files.close()


@virtual
async def test_what_the_ring_lost_comes_from_the_journal(tmp_path: Path) -> None:
    """A gap in the notices is filled from the journal; the files are complete (scenario 111)."""
    live = Live(tmp_path / "live", Feed(4))
    await asyncio.sleep(1)
    for _ in range(10):
        live.bench.opened()
    live.tell()
    await live.files.close()
    await written(tmp_path / "after", live.bench)

    assert live.files.counts["gaps"] == 1
    for name in (ORDERS, TRADES, ERRORS, PENDING):
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


@virtual
async def test_notices_that_were_never_published_come_from_the_journal(tmp_path: Path) -> None:
    """Events that were on their way while nobody read leave no hole either (scenario 111)."""
    live = Live(tmp_path)
    await asyncio.sleep(1)
    live.bench.opened()
    live.bench.opened()
    first = live.store()
    publish(live.feed, live.bench, live.seq)
    await live.files.close()

    assert [row["seq"] for row in read(tmp_path / ORDERS)][-4:] == [first + n for n in range(4)]


DAMAGES = {
    "no JSON": lambda rows: [rows[0], b"\x00" * 80 + b"\n", *rows[2:]],
    "a row twice": lambda rows: [*rows[:2], *rows[1:]],
    "rows the wrong way round": lambda rows: [rows[1], rows[0], *rows[2:]],
    "of another journal": lambda rows: [row.replace(EPOCH.encode(), b"f" * 12) for row in rows],
    "past the journal's end": lambda rows: [*rows, rows[-1].replace(b'{"seq":', b'{"seq":9')],
    "no row": lambda rows: [b"[]\n", *rows],
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_file_that_is_damaged_is_put_aside_and_written_whole(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage is kept for people to see, and the rows come from the journal (scenarios 58, 111)."""
    bench = busy()
    run(written(tmp_path, bench))
    path = tmp_path / ORDERS
    whole = path.read_bytes()
    damaged = b"".join(DAMAGES[kind](whole.splitlines(keepends=True)))
    for copy in (1, 2):
        path.write_bytes(damaged)
        with caplog.at_level(logging.WARNING, logger="holdfast.jsonl"):
            files = run(written(tmp_path, bench))
        assert path.read_bytes() == whole
        assert (tmp_path / f"{ORDERS}.damaged-{copy}").read_bytes() == damaged
        assert files.counts["damaged"] == 1
    assert f"kept as {ORDERS}.damaged-2" in caplog.text


@virtual
async def test_a_disk_that_fails_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the folder cannot be written the desk goes on; afterwards nothing is missing (87)."""
    folder, bench, feed = tmp_path / "logs", busy(), Feed()
    folder.write_text("a file where the folder should be")
    files = JsonlFiles(folder, feed, journal_of(bench), "d")
    files.start()
    await asyncio.sleep(4 * RETRY_FIRST_S)
    assert files.counts["failures"] > 1
    folder.unlink()
    await asyncio.sleep(20 * RETRY_FIRST_S)
    await files.close()

    assert len(read(folder / ORDERS)) == 9
    assert "FileExistsError" in caplog.text


@virtual
async def test_a_write_that_fails_half_way_leaves_no_half_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk tears a line; it is cut off and written again once there is room (87, 111)."""
    live = Live(tmp_path / "live")
    files = live.files
    await asyncio.sleep(1)
    live.bench.opened()
    first = live.store()
    real = files._files[ORDERS].append

    def full(data: bytes, seq: int) -> None:
        real(data[: len(data) // 2], seq)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files._files[ORDERS], "append", full)
    publish(live.feed, live.bench, first)
    await asyncio.sleep(10 * RETRY_FIRST_S)
    await files.close()
    await written(tmp_path / "after", live.bench)

    assert files.counts["failures"] == files.counts["torn"] == 1
    assert (tmp_path / "live" / ORDERS).read_bytes() == (tmp_path / "after" / ORDERS).read_bytes()


@virtual
async def test_the_list_is_written_at_most_so_often(tmp_path: Path) -> None:
    """However much happens, the list of open orders costs a bounded share of time (P9)."""
    live = Live(tmp_path)
    for _ in range(100):
        live.bench.opened()
        live.tell()
        await asyncio.sleep(PENDING_APART_S / 10)
    await asyncio.sleep(1)

    assert live.files.counts["rewrites"] <= 15
    assert len(read(tmp_path / PENDING)) == 103
    await live.files.close()


@virtual
async def test_news_is_audited_once_and_history_is_not(tmp_path: Path) -> None:
    """What is written again after a tear is no news; what a retry writes again neither (48)."""
    told = list[OrderLine | ErrorLine]()
    live = Live(tmp_path, audit=told.append)
    bench = live.bench
    await asyncio.sleep(1)
    assert told == []
    bench.opened()
    bench.cancel(5)
    bench.answer(Refused(text="no"), number=5, wish=1)
    first = live.tell()
    await asyncio.sleep(1)
    live.files._files[ORDERS].close()
    live.feed.publish([Notice(len(bench.events) + 9, bench.events[-1])])
    publish(live.feed, bench, first)
    await live.files.close()

    names = [line.action for line in told]
    asked = ["submit", "accept", "cancel", "cancel_sent"]
    assert names == [*asked, "cancel_refused", "error", "lookup"]


@virtual
async def test_a_close_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that takes for ever is given up; the next start does the rest (P9)."""
    bench, feed = busy(), Feed()
    files = JsonlFiles(tmp_path, feed, journal_of(bench), "d")
    gate, entered = threading.Event(), threading.Event()

    def hang(_: e.AnyEvent) -> None:
        entered.set()
        gate.wait(10)

    monkeypatch.setattr(files._book._state, "apply", hang)
    monkeypatch.setattr(files, "_open", files._from_journal)
    monkeypatch.setattr("holdfast.engine.jsonl.CLOSE_MAX_S", 0.0)
    files.start()
    while not entered.is_set():  # noqa: ASYNC110 - what is waited for happens in a thread
        await asyncio.sleep(0)
    await files.close()
    gate.set()

    assert files.seq <= 1


def test_a_start_begins_at_the_snapshot_where_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written already is not folded again; a file that was cut is (scenario 111)."""
    bench = busy()
    half = len(bench.events) // 2
    desk = Desk()
    for event in bench.events[:half]:
        desk.apply(event)
    journal = journal_of(bench)
    journal.save_snapshot("d", StoredSnapshot(seq=half, format=FORMAT, body=desk.dump()))
    real, folded = Book.take, list[int]()

    def take(book: Book, seq: int, event: e.AnyEvent) -> Lines:
        folded.append(seq)
        return real(book, seq, event)

    monkeypatch.setattr(Book, "take", take)

    def start() -> int:
        folded.clear()
        run(mend(tmp_path, journal))
        return folded[0]

    assert start() == 1
    whole = (tmp_path / ORDERS).read_bytes()
    assert start() == half + 1
    (tmp_path / ORDERS).write_bytes(whole[:-1])
    assert start() == 1
    (tmp_path / POSITION).write_bytes(b"{}")
    assert start() == 1
    bench.opened()
    store(journal, bench, folded[-1] + 1)
    assert start() == half + 1
    live = (tmp_path / ORDERS).read_bytes()
    (tmp_path / ORDERS).unlink()
    assert start() == 1
    assert (tmp_path / ORDERS).read_bytes() == live
    assert live.startswith(whole)
    for event in bench.events[half:]:
        desk.apply(event)
    known = len(bench.events)
    bench.opened()
    store(journal, bench, known + 1)
    desk.apply(bench.events[known])
    journal.save_snapshot("d", StoredSnapshot(seq=known + 1, format=FORMAT, body=desk.dump()))
    assert start() == 1, "the snapshot is newer than the files"
    assert [row["seq"] for row in read(tmp_path / ORDERS)][-2:] == [known + 1, known + 2]
