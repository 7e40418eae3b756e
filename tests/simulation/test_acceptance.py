"""Scenarios that take several parts of the order manager at once, each as a caller meets it."""

import asyncio
import logging
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from shutil import which
from typing import Any, Final

import apsw
import msgspec
import pytest

from holdfast.domain.desk import Desk
from holdfast.domain.effects import LookupOrder
from holdfast.domain.settings import Settings
from holdfast.domain.values import Status
from holdfast.engine.desk_parts import Options
from holdfast.errors import InputError, JournalUnwritable, WaitTimeout
from holdfast.journal.codec import decode
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing import vectors
from holdfast.testing.scripted import EPOCH, INSTRUMENTS, ScriptedBroker, crash, open_desk
from holdfast.testing.world import virtual, virtual_clock
from holdfast.wiring import OrderManager

SOURCE: Final = Path(__file__).resolve().parents[2] / "src"
HELD: Final = (("TSLA", "10"), ("BTC-USD", "0.5"))
# Far from the defaults, in both directions.
OTHER_SETTINGS: Final = Settings(
    ack_wait_ms=100,
    send_wait_ms=1_000,
    absence_grace_ms=90_000,
    quiet_ms=60_000,
    inferred_grace_ms=30_000,
    retry_first_ms=10_000,
    retries_max=0,
    resends_max=9,
    finished_orders_max=1,
)

# A desk that trades through a broker whose answers are lost or late, as a program of its own.
WORLD: Final = """
import asyncio, random, sys
from holdfast.domain.reports import Unknown
from holdfast.errors import HoldfastError
from holdfast.journal.memory import MemoryJournal, Store
from holdfast.testing.scripted import Hang, Raise, ScriptedBroker, open_desk
from holdfast.testing.world import virtual

SEED = 11
store = Store()


@virtual
async def live():
    draw, broker = random.Random(SEED), ScriptedBroker()
    faults = (None, None, Hang(), Hang(carried_out=False), Unknown(text="503"))
    faults += (Raise(OSError("down")),)
    for part in range(3):
        store.owned = False
        async with open_desk(broker, MemoryJournal(store)) as manager:
            for number in range(12):
                step = draw.choice(faults)
                if step is not None:
                    broker.script(draw.choice(("submit", "cancel", "replace")), step)
                name = f"{part}-{number}"
                symbol, lot = draw.choice((("TSLA", "10"), ("BTC-USD", "0.3")))
                side = draw.choice(("buy", "sell"))
                order = await manager.place_limit_order(
                    symbol, side, lot, "250" if side == "buy" else "260", client_order_id=name
                )
                await asyncio.sleep(draw.random())
                try:
                    act = draw.choice(("fill", "cancel", "replace"))
                    if act == "fill" and order.wire_id in broker.orders:
                        broker.fill(order.wire_id, "0.1" if symbol == "BTC-USD" else "4", "249.5")
                    elif act == "cancel":
                        await manager.cancel_order(name)
                    else:
                        await manager.replace_order(name, limit_price="251")
                except HoldfastError:
                    pass
                await asyncio.sleep(draw.random() * 3)
            await asyncio.sleep(90 if part == 2 else 0)
            if part < 2:
                await manager.abandon()


live()
head = store.heads["main"]
"""
ITS_HASH: Final = 'sys.stdout.write(f"{head.seq} {head.hash.hex()}")'
ITS_VERSIONS: Final = (
    "import sys, apsw, msgspec;"
    "sys.stdout.write(f'{sys.version_info[1]} {msgspec.__version__} {apsw.apsw_version()}')"
)


def ran(python: str, code: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, with this project and nothing else of ours."""
    return subprocess.run(
        [python, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def last_hash(python: str, hash_seed: str = "0") -> str:
    """Let the world live in a Python; return the number and hash of its last record."""
    done = ran(python, WORLD + ITS_HASH, hash_seed)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_a_seed_gives_the_same_journal_in_every_python(minor: int) -> None:
    """Other interpreters and hash seeds end with the same last hash (P8, scenario 99)."""
    python = which(f"python3.{minor}")
    if sys.version_info[1] == minor:
        python = sys.executable
    if python is None:
        pytest.skip(f"python3.{minor} is not on this machine's PATH")
    found = ran(python, ITS_VERSIONS)
    wanted = f"{minor} {msgspec.__version__} {apsw.apsw_version()}"
    if found.stdout != wanted:
        pytest.skip(
            f"python3.{minor} does not load msgspec {msgspec.__version__} and apsw "
            f"{apsw.apsw_version()}; it says {found.stdout or 'nothing'}"
        )

    here = last_hash(sys.executable, "1")
    assert int(here.partition(" ")[0]) > 100
    assert last_hash(python, "2") == here


def test_a_journal_folds_to_the_same_desk_under_any_settings() -> None:
    """After each record it is the same, whatever its owner configures now (scenario 99)."""
    namespace: dict[str, Any] = {}
    exec(WORLD, namespace)  # the program above, in this process
    store: Store = namespace["store"]
    store.owned = False
    usual, other = Desk(Settings()), Desk(OTHER_SETTINGS)

    for event in map(decode, MemoryJournal(store).records("main")):
        usual.apply(event)
        other.apply(event)
        assert usual.dump() == other.dump(), event
    assert usual.find("2-11") is not None


@virtual
async def test_a_market_order_that_does_not_fill_in_time_stays_as_it_is() -> None:
    """Waiting ends, the order does not: no price, no position, no cancel (scenario 54)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        order = await manager.place_market_order("TSLA", "buy", 10)
        with pytest.raises(WaitTimeout, match="wait again, or cancel it"):
            await manager.wait(order.client_order_id, timeout=20)
        await asyncio.sleep(120)

        order = await manager.order(order.client_order_id)
        assert (order.status, order.is_terminal) == (Status.OPEN, False)
        assert (order.filled_quantity, order.average_price) == (0, 0)
        assert order.limit_price is None
        held = (await manager.positions()).get("TSLA")
        assert held is None or (held.quantity, held.cash) == (0, 0)
        assert [type(call).__name__ for call in broker.calls].count("SubmitOrder") == 1
        assert "CancelOrder" not in {type(call).__name__ for call in broker.calls}

        broker.fill(order.wire_id, 10, "251.25")
        filled = await manager.wait(order.client_order_id)
        assert (filled.status, filled.average_price) == (Status.FILLED, Decimal("251.25"))


def test_a_torn_last_line_costs_only_itself_and_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The exits before it are adopted, and the torn one is named by its number (scenario 58)."""
    log = tmp_path / "desk.emergency.jsonl"

    async def opened(journal: MemoryJournal, broker: ScriptedBroker) -> OrderManager:
        options = Options(instruments=INSTRUMENTS, epoch=EPOCH, emergency_path=log)
        return await OrderManager.start(
            journal=journal, broker=broker, clock=virtual_clock(), options=options
        )

    @virtual
    async def case() -> None:
        broker, journal = ScriptedBroker(), MemoryJournal()
        manager = await opened(journal, broker)
        for symbol, lot in HELD:
            held = await manager.place_market_order(symbol, "buy", lot, wait="accepted")
            broker.fill(held.wire_id, lot, "250")
            await manager.wait(held.client_order_id)
        durable = manager._runner.durable_seq
        journal.fail_at(durable + 1, recoveries_refused=1_000)
        with pytest.raises(JournalUnwritable):
            await manager.place_market_order("TSLA", "buy", 1)
        exits = [
            await manager.place_market_order(symbol, "sell", lot, reduce_only=True)
            for symbol, lot in HELD
        ]
        store = journal.crash()
        await crash(manager)
        whole = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(whole) + whole[0][: len(whole[0]) // 2])
        broker.calls.clear()

        with caplog.at_level(logging.WARNING, logger="holdfast.halted"):
            manager = await opened(MemoryJournal(store), broker)
            await asyncio.sleep(30)
        adopted = [await manager.order(each.client_order_id) for each in exits]
        await manager.shutdown()

        assert [order.status for order in adopted] == [Status.OPEN, Status.OPEN]
        assert [order.wire_id for order in adopted] == [order.wire_id for order in exits]
        looked_up = {each for call in broker.sent(LookupOrder) for each in call.wire_ids}
        assert looked_up >= {order.wire_id for order in exits}
        assert f"{log} line {len(whole) + 1} cannot be read" in caplog.text
        assert "cannot be read" not in caplog.text.replace(f"line {len(whole) + 1} cannot", "")

    case()


def test_a_file_of_no_vectors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to run would hide that the wrong file was named (scenario 82)."""
    path = tmp_path / "none.json"
    path.write_text("[]", encoding="ascii")

    with pytest.raises(InputError, match="nothing to run"):
        vectors.load(path)
    assert vectors.main([str(path)]) == 2
    assert "name another file" in capsys.readouterr().err
