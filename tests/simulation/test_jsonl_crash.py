"""The files of a desk, cut at any byte, put right by the next start."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.reports import Refused, Unknown
from holdfast.engine.feed import Feed
from holdfast.engine.jsonl import ERRORS, ORDERS, PENDING, TRADES, JsonlFiles
from holdfast.journal.memory import MemoryJournal
from holdfast.ports import Journal
from holdfast.testing.scripted import ScriptedBroker, crash, open_desk
from holdfast.testing.world import run
from holdfast.wiring import OrderManager

FILES = (ORDERS, TRADES, ERRORS, PENDING)


async def trade(manager: OrderManager, broker: ScriptedBroker) -> None:
    """Let most kinds of rows come about."""
    limit: dict[str, Any] = {"order_type": "limit", "wait": "accepted", "strategy": "momentum"}
    first = await manager.submit(
        symbol="TSLA", side="buy", quantity=10, limit_price="250", client_order_id="first", **limit
    )
    broker.fill(first.wire_id, 4, "249.5")
    await manager.wait("first", "partial_fill")
    await manager.replace_order("first", limit_price="251")
    broker.script("cancel", Refused(text="not now"))
    await manager.cancel_order("first", by="ann", reason="enough")
    await asyncio.sleep(1)
    broker.script("submit", Refused(text="margin"))
    refused = await manager.submit(symbol="TSLA", side="sell", quantity=1)
    await manager.wait(refused.client_order_id)
    broker.script("submit", Unknown(text="timeout"))
    await manager.submit(symbol="TSLA", side="buy", quantity=1, client_order_id="unknown")
    await asyncio.sleep(60)
    broker.fill(first.wire_id, 6, "250.25")
    await manager.wait("first", "filled")


async def record(journal: Journal, folder: Path) -> None:
    """Trade in two sessions, the first of which ends in a crash, with the files open all along."""
    broker = ScriptedBroker()
    async with open_desk(broker, journal) as manager:
        files = JsonlFiles(folder, manager._runner.feed, journal, "main")
        files.start()
        await trade(manager, broker)
        await manager.submit(
            symbol="TSLA", side="buy", quantity=3, order_type="limit", limit_price="200"
        )
        await asyncio.sleep(2)
        await files.abandon()
        await crash(manager)
    async with open_desk(broker, journal) as manager:
        files = JsonlFiles(folder, manager._runner.feed, journal, "main")
        files.start()
        await asyncio.sleep(5)
        await manager.submit(
            symbol="TSLA", side="sell", quantity=2, order_type="limit", limit_price="300"
        )
        await asyncio.sleep(1)
        await files.close()
        await manager.abandon()


async def mend(journal: Journal, folder: Path) -> JsonlFiles:
    files = JsonlFiles(folder, Feed(), journal, "main")
    files.start()
    await files.close()
    return files


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Journal, dict[str, bytes]]:
    """The journal of two sessions, and the files that were written while they ran."""
    journal, folder = MemoryJournal(), tmp_path_factory.mktemp("recorded")
    run(record(journal, folder))
    return journal, contents(folder)


def test_files_rebuilt_from_nothing_are_the_ones_written_live(
    recorded: tuple[Journal, dict[str, bytes]], tmp_path: Path
) -> None:
    """All rows follow from the journal, whoever writes them and when (scenario 111)."""
    journal, live = recorded
    run(mend(journal, tmp_path))
    assert all(live[name].count(b"\n") >= 2 for name in (*FILES[:3],))
    assert contents(tmp_path) == live


@pytest.mark.parametrize("name", [ORDERS, TRADES, ERRORS])
def test_a_file_cut_at_any_byte_is_made_whole(
    recorded: tuple[Journal, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    """Killed at any byte, the next start writes on from the last whole row (scenario 111)."""
    journal, live = recorded
    whole = live[name]
    last_rows = sum(map(len, whole.splitlines(keepends=True)[-3:]))
    for size in (0, 1, *range(len(whole) - last_rows, len(whole) + 1)):
        for each, content in live.items():
            (tmp_path / each).write_bytes(whole[:size] if each == name else content)
        files = run(mend(journal, tmp_path))
        assert contents(tmp_path) == live, f"cut at byte {size}"
        torn = size > 0 and not whole[:size].endswith(b"\n")
        assert files.counts["torn"] == torn
        assert files.counts["damaged"] == 0


def test_all_files_are_cut_where_a_crash_left_each(
    recorded: tuple[Journal, dict[str, bytes]], tmp_path: Path
) -> None:
    """Each file has its own last row, from which it goes on (scenario 111)."""
    journal, live = recorded
    for step in range(1, 40):
        for name, content in live.items():
            (tmp_path / name).write_bytes(content[: len(content) * step // 40])
        run(mend(journal, tmp_path))
        assert contents(tmp_path) == live


def test_a_torn_last_line_is_reported_and_the_rows_before_it_stay(
    recorded: tuple[Journal, dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A torn line is named with its file and size; nothing before it is lost (scenario 58)."""
    journal, live = recorded
    (tmp_path / ORDERS).write_bytes(live[ORDERS][:-5])
    with caplog.at_level(logging.WARNING, logger="holdfast.jsonl"):
        run(mend(journal, tmp_path))
    assert "orders.jsonl ended in" in caplog.text
    assert (tmp_path / ORDERS).read_bytes() == live[ORDERS]
    assert not list(tmp_path.glob("*.damaged-*"))


def test_what_a_crash_left_behind_the_last_row_is_cut_off(
    recorded: tuple[Journal, dict[str, bytes]], tmp_path: Path
) -> None:
    """A file system may leave blocks of zeros there, longer than any row (scenarios 58, 111)."""
    journal, live = recorded
    for name, content in live.items():
        (tmp_path / name).write_bytes(content + bytes(10_000))
    files = run(mend(journal, tmp_path))
    assert contents(tmp_path) == live
    assert (files.counts["torn"], files.counts["damaged"]) == (3, 0)
