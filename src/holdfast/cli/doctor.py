"""`holdfast doctor`: would a program that starts from this configuration find what it needs?"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from holdfast.cli.output import NOTHING_SAID, Common, complain, print_fields, print_json
from holdfast.clock import NS_PER_MS, NS_PER_S, SystemClock, iso

if TYPE_CHECKING:
    from holdfast.config import Config
    from holdfast.domain.desk_events import DeskOpened
    from holdfast.journal.reader import SqliteReader
    from holdfast.ports import Broker

HEALTHY: Final = 0
FAILED: Final = 1

# A journal up to this size is read from end to end, in some seconds.
VERIFIED_BYTES_MAX: Final = 64 * 1_048_576
FREE_BYTES_MIN: Final = 64 * 1_048_576
FREE_BYTES_LOW: Final = 1_024 * 1_048_576
# How long a broker has for each question.
ANSWER_WAIT_MAX_S: Final = 15.0
# The clocks may differ by so much while they are watched; NTP slews by far less.
DRIFT_MAX_NS: Final = 200 * NS_PER_MS
WATCHED_S: Final = 0.2
# A finding names paths and advice, and is cut no sooner.
TEXT_MAX: Final = 2_000
# 2025: before that this program did not exist, so a clock that says so is wrong.
EARLIEST_NS: Final = 1_735_689_600 * NS_PER_S


class Check(Struct, frozen=True):
    """One thing that was looked at, what was found, and where it is not well what to do."""

    name: str
    status: Literal["ok", "note", "failed"]
    text: str


def doctor(*, config: Path, common: Common = NOTHING_SAID) -> int:
    """Check a configuration and all that it needs: journal, clock, credentials, brokers, limits.

    Nothing is placed, cancelled or written: a broker is asked for its open orders and for the
    account's figures, no more. Exit status: 0 if nothing failed, 1 if something did.

    Parameters
    ----------
    config: Path
        The configuration, a .toml or .json file.
    """
    from holdfast.engine.masking import masked

    checks = asyncio.run(examined(config))
    # Paths and names may hold what should stand elsewhere.
    checks = [Check(c.name, c.status, masked(c.text, TEXT_MAX)) for c in checks]
    failed = [check for check in checks if check.status == "failed"]
    if common.json:
        rows = [{"name": c.name, "status": c.status, "text": c.text} for c in checks]
        print_json({"config": str(config), "ok": not failed, "checks": rows})
    else:
        print_fields([(f"{c.status:<6}  {c.name}", c.text) for c in checks])
    for check in failed:
        complain(f"{check.name}: {check.text}")
    return FAILED if failed else HEALTHY


async def examined(path: Path) -> list[Check]:
    """Return all checks; where the configuration does not hold there is no more than that."""
    from holdfast.config import Config
    from holdfast.errors import ConfigError

    try:
        config = Config.load(path)
    except ConfigError as error:
        return [Check("config", "failed", str(error))]
    names = ", ".join(config.desks)
    return [
        Check("config", "ok", f"{path} holds; desks {names}; digest {config.digest}"),
        *_journal(config),
        await _clock(),
        *[each for name in _accounts(config) for each in await _account(config, name)],
        *_unused(config),
        *_limits(config),
    ]


def _accounts(config: "Config") -> list[str]:
    return list(dict.fromkeys(config.account_of(desk) for desk in config.desks))


def _unused(config: "Config") -> Iterator[Check]:
    """Look at accounts that no desk uses: nothing is connected there, whatever they say."""
    for name in config.accounts:
        if not config.desks_of(name):
            text = 'no desk uses it; write account = "..." at a desk, or take it out'
            yield Check(f"account {name}", "note", text)


# The journal.


def _journal(config: "Config") -> Iterator[Check]:
    from holdfast.errors import HoldfastError
    from holdfast.wiring import journal_path

    try:
        path = journal_path(config.journal.url)
    except HoldfastError as error:
        yield Check("journal", "failed", str(error))
        return
    if path is None:
        yield Check("journal", "note", "is kept in memory: all is forgotten at the end")
        return
    yield _folder(path)
    if not path.exists():
        yield Check("journal", "ok", f"{path} is new and will be made")
        return
    try:
        yield from _records(config, path)
    except HoldfastError as error:
        yield Check("journal", "failed", str(error))


def _folder(path: Path) -> Check:
    folder = path.resolve().parent
    if not folder.is_dir():
        return Check("disk", "failed", f"{folder} does not exist; create it, or name another")
    places = [folder, *([path] if path.exists() else [])]
    closed = [place for place in places if not os.access(place, os.W_OK)]
    if closed:
        return Check("disk", "failed", f"{closed[0]} cannot be written by this user; mend its mode")
    free = shutil.disk_usage(folder).free
    text = f"{folder} is writable, {free // 1_048_576:,} MiB free"
    if free < FREE_BYTES_MIN:
        return Check("disk", "failed", f"{text}; make room, or trading halts")
    if free < FREE_BYTES_LOW:
        return Check("disk", "note", f"{text}; that is little")
    return Check("disk", "ok", text)


def _records(config: "Config", path: Path) -> Iterator[Check]:
    from holdfast.journal.sqlite import SqliteJournal
    from holdfast.journal.verify import verify

    size = path.stat().st_size
    if size > VERIFIED_BYTES_MAX:
        text = f"{path} has {size // 1_048_576:,} MiB; `holdfast verify` reads all of it"
        yield Check("journal", "note", text)
    elif size:
        report = verify(path)
        if not report.intact:
            text = f"{report.problems[0].text}; `holdfast verify` tells what to do"
            yield Check("journal", "failed", text)
            return
        yield Check("journal", "ok", f"{path} is intact, {report.records:,} records")
    reader = SqliteJournal.read_only(path)
    try:
        for desk in config.desks:
            yield from _desk(config, desk, reader)
    finally:
        reader.close()


def _desk(config: "Config", desk: str, reader: "SqliteReader") -> Iterator[Check]:
    """Compare a desk with what it was opened as, and the clock with its last record."""
    from holdfast.domain.desk_events import DeskOpened
    from holdfast.journal.codec import decode

    head = reader.head(desk)
    if not head.seq:
        return
    opened = decode(next(iter(reader.records(desk))))
    if isinstance(opened, DeskOpened):
        for text in _differences(config, desk, opened):
            yield Check(f"desk {desk}", "failed", text)
    ahead_ns = head.at_ns - SystemClock().wall_ns()
    if ahead_ns > NS_PER_S:
        yield Check(
            "clock",
            "failed",
            f"the last record of desk {desk} is of {iso(head.at_ns)}, {ahead_ns // NS_PER_S} s from"
            " now: set the clock, or desk time runs ahead of it",
        )


def _differences(config: "Config", desk: str, opened: "DeskOpened") -> Iterator[str]:
    account = config.account_of(desk)
    part = config.account(account)
    for what, found, given in (
        ("account", opened.account, account),
        ("currency", opened.currency, part.currency),
        ("mode", opened.mode, part.mode),
    ):
        if found != given:
            yield (
                f"has {what} {found!r} in the journal, not {given!r}, and keeps it for life; "
                "name another journal or desk"
            )


# The clock.


async def _clock() -> Check:
    """Watch both clocks for a moment."""
    clock = SystemClock()
    wall_ns, boot_ns = clock.wall_ns(), clock.boot_ns()
    await asyncio.sleep(WATCHED_S)
    now_ns = clock.wall_ns()
    drift_ns = abs((now_ns - wall_ns) - (clock.boot_ns() - boot_ns))
    if now_ns < EARLIEST_NS:
        return Check("clock", "failed", f"it is {iso(now_ns)} by the wall clock; set it")
    if drift_ns > DRIFT_MAX_NS:
        text = f"the wall clock moved {drift_ns // NS_PER_MS} ms by itself; see who sets it"
        return Check("clock", "note", text)
    return Check("clock", "ok", f"{iso(now_ns)}; wall clock and boot clock run alike")


# Accounts.


async def _account(config: "Config", name: str) -> list[Check]:
    from holdfast.connecting import kind_of
    from holdfast.errors import HoldfastError
    from holdfast.wiring import LIVE_VARIABLE

    title, part = f"account {name}", config.account(name)
    try:
        kind_of(config, name)
    except HoldfastError as error:
        return [Check(title, "failed", str(error))]
    checks = [Check(title, "ok", f"{part.broker} in mode {part.mode}")]
    if part.mode == "live":
        armed = os.environ.get(LIVE_VARIABLE) == "1"
        how = f"{LIVE_VARIABLE}=1 is set" if armed else f"start with --live or {LIVE_VARIABLE}=1"
        checks.append(Check(title, "note", f"live: real money moves; {how}"))
    checks.extend(_market(config, name))
    if part.mode == "dry_run":
        return [*checks, Check(title, "ok", "no broker is connected in a dry run")]
    secrets = _secrets(config, name)
    if secrets is not None:
        checks.append(secrets)
        if secrets.status == "failed":
            return checks
    return [*checks, await _reached(config, name)]


def _market(config: "Config", name: str) -> Iterator[Check]:
    """Read an account's recorded market to its end."""
    from holdfast.connecting import recording_of
    from holdfast.errors import HoldfastError

    try:
        recording = recording_of(config, name)
    except HoldfastError as error:
        yield Check(f"account {name}", "failed", str(error))
        return
    if recording is not None:
        symbols = ", ".join(each.symbol for each in recording.instruments)
        yield Check(
            f"account {name}", "ok", f"market {config.account(name).paper.market}: {symbols}"
        )


def _secrets(config: "Config", name: str) -> Check | None:
    """Look whether each secret is there; none is shown, not even its length."""
    from holdfast.connecting import credentials
    from holdfast.errors import HoldfastError

    part = config.account(name)
    if not part.credentials:
        return None
    try:
        credentials(part, f"accounts.{name}")
    except HoldfastError as error:
        return Check(f"account {name}", "failed", str(error))
    places = ", ".join(part.credentials.values())
    return Check(f"account {name}", "ok", f"credentials are there: {places}")


async def _reached(config: "Config", name: str) -> Check:
    """Connect, list the open orders, ask for the account's figures, and close."""
    from holdfast.connecting import connect
    from holdfast.engine.masking import described

    title = f"account {name}"
    try:
        async with asyncio.timeout(ANSWER_WAIT_MAX_S):
            connection, _ = await connect(config, name, SystemClock())
        try:
            return Check(title, *await _asked(connection.broker))
        finally:
            if connection.close is not None:
                await connection.close()
    except Exception as error:  # noqa: BLE001 - whatever a broker raises is what was to be found
        return Check(title, "failed", f"could not be reached: {described(error)}")


async def _asked(broker: "Broker") -> tuple[Literal["ok", "note", "failed"], str]:
    from holdfast.engine.masking import described

    try:
        async with asyncio.timeout(ANSWER_WAIT_MAX_S):
            found = await broker.poll()
    except Exception as error:  # noqa: BLE001 - as above
        return "failed", f"open orders could not be listed: {described(error)}; look at its rights"
    if not found.complete:
        return "failed", "open orders were listed in part only; look at the broker's own page"
    said = f"reached; {len(found.snapshots)} open orders"
    if not broker.capabilities.account_data:
        return "ok", f"{said}; it tells no buying power"
    ask = getattr(broker, "account", None)
    try:
        async with asyncio.timeout(ANSWER_WAIT_MAX_S):
            figures = await ask() if ask is not None else None
    except Exception as error:  # noqa: BLE001 - as above
        return "failed", f"{said}, but not its figures: {described(error)}; look at its rights"
    if figures is None or figures.buying_power is None:
        return "ok", f"{said}; it tells no buying power"
    return "ok", f"{said}; buying power {figures.buying_power}"


# Limits.


def _limits(config: "Config") -> Iterator[Check]:
    for desk in config.desks:
        limits = config.policies_of(desk).limits
        off = [
            name
            for name in limits.__struct_fields__
            if name.endswith(("_max", "_pct")) and getattr(limits, name) is None
        ]
        if limits.capital is None and not limits.buying_power:
            off.append("capital, buying_power")
        if off:
            yield Check(f"limits {desk}", "note", f"off: {', '.join(off)}")
        else:
            yield Check(f"limits {desk}", "ok", "all are on")
