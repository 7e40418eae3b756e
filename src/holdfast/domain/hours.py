"""When a symbol trades, in desk time: what waits for a market, and which time counts."""

from typing import TYPE_CHECKING, Final

from holdfast.domain.sessions import Session
from holdfast.domain.work import NS_PER_MS

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

# A closed market opens no sooner for being asked more often.
CLOSED_RETRY_MS: Final = 60_000


def session_of(desk: "Desk", symbol: str) -> Session | None:
    """Return the trading hours of a symbol; None for round the clock."""
    instrument = desk.instruments.get(symbol)
    name = instrument.session if instrument is not None else ""
    return desk.settings.policies.sessions.get(name)


def is_open(desk: "Desk", symbol: str) -> bool:
    """Tell whether a symbol trades now."""
    session = session_of(desk, symbol)
    return session is None or session.is_open(desk.wall_ns)


def age_ns(desk: "Desk", symbol: str, since_ns: int) -> int:
    """Return the trading time since a moment of desk time."""
    session = session_of(desk, symbol)
    if session is None:
        return desk.now_ns - since_ns
    offset_ns = desk.state.stored.wall_offset_ns
    return session.open_ns(since_ns + offset_ns, desk.wall_ns)


def was_closed(desk: "Desk", symbol: str, since_ns: int) -> bool:
    """Tell whether the symbol did not trade all the time since a moment of desk time."""
    return age_ns(desk, symbol, since_ns) < desk.now_ns - since_ns


def look_ns(desk: "Desk", symbol: str) -> int:
    """Return when to look again at what waits for the market: as it opens, or within a minute.

    The minute is for a wall clock that is set meanwhile.
    """
    again_ns, session = desk.now_ns + CLOSED_RETRY_MS * NS_PER_MS, session_of(desk, symbol)
    if session is None or session.is_open(desk.wall_ns):
        return again_ns
    return min(again_ns, session.next_open_ns(desk.wall_ns) - desk.state.stored.wall_offset_ns)


def retry_ns(desk: "Desk", symbol: str, refused_ns: int) -> int:
    """Return when to ask again after the broker said, at a moment, that the market is closed.

    That is as it opens, or some time later where by its hours it was open all the time.
    """
    if not is_open(desk, symbol):
        return look_ns(desk, symbol)
    if was_closed(desk, symbol, refused_ns):
        return desk.now_ns
    return refused_ns + CLOSED_RETRY_MS * NS_PER_MS
