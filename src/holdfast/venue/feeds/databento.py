"""Databento extracts of CME data as CSV: market-by-order, top of book (mbp-1) and trades.

Each has its own header; times are UTC nanoseconds, prices index points. Rows stand in the order
of `ts_recv_ns`; `ts_event_ns` and `sequence` are not monotonic and are not read.
Source: Databento's schema pages (mbo, mbp-1, trades; flags 128 last of event, 32 snapshot).
"""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

from holdfast.domain.values import Side
from holdfast.venue.feeds.layout import (
    ABOVE_ZERO,
    NANOSECONDS,
    WHOLE,
    WHOLE_OR_ZERO,
    ZERO_OR_MORE,
    Column,
    Layout,
    decimal,
)
from holdfast.venue.feeds.records import BookEvent, Quote, Trade

ADD, MODIFY, CANCEL, FILL, TRADE, CLEAR, NONE = "A", "M", "C", "F", "T", "R", "N"
_FLAG_LAST: Final = 128
_FLAG_SNAPSHOT: Final = 32
_SIDES: Final = {"B": Side.BUY, "A": Side.SELL, "N": None}
_ORDER_ACTIONS: Final = frozenset({ADD, MODIFY, CANCEL, FILL})
_SIDED_ACTIONS: Final = frozenset({ADD, MODIFY, CANCEL})  # auction fills carry no side

_RECV: Final = Column("ts_recv_ns", NANOSECONDS, "UTC nanoseconds")
_EVENT: Final = Column("ts_event_ns", NANOSECONDS, "UTC nanoseconds", kept=False)
_INSTRUMENT: Final = Column("instrument_id", "[0-9]{1,10}", "a whole number")
_ACTION: Final = Column("action", "[AMCFTRN]", "one of A, M, C, F, T, R, N")
_SIDE: Final = Column("side", "[BAN]", "B, A or N")
_PRICE: Final = Column("price", ABOVE_ZERO, "a price above zero")
_SIZE: Final = Column("size", WHOLE, "a whole number above zero")
_FLAGS: Final = Column("flags", "[0-9]{1,3}", "a number from 0 to 255")
_SEQUENCE: Final = Column("sequence", "[0-9]{1,20}", "a whole number", kept=False)
_TOP: Final = tuple(
    Column(f"{side}_{name}", pattern, meaning, kept=name != "ct")
    for side in ("bid", "ask")
    for name, pattern, meaning in (
        ("px", ABOVE_ZERO, "a price above zero"),
        ("sz", WHOLE_OR_ZERO, "a whole number"),
        ("ct", WHOLE_OR_ZERO, "a whole number"),
    )
)

MBO: Final = Layout(
    (
        _RECV,
        _EVENT,
        _INSTRUMENT,
        _ACTION,
        _SIDE,
        # A clear row has neither price nor size; the other actions are checked below.
        Column("price", rf"(?:-?{ZERO_OR_MORE})?", "a number"),
        Column("size", WHOLE_OR_ZERO, "a whole number"),
        Column("order_id", "[0-9]{1,20}", "a whole number"),
        Column("channel_id", "[0-9]{1,5}", "a whole number", kept=False),
        _FLAGS,
        Column("ts_in_delta", "-?[0-9]{1,12}", "a whole number", kept=False),
        _SEQUENCE,
    )
)
MBP1: Final = Layout(
    (_RECV, _EVENT, _INSTRUMENT, _ACTION, _SIDE, _PRICE, _SIZE, _FLAGS, _SEQUENCE, *_TOP)
)
TRADES: Final = Layout(
    (_RECV, _EVENT, _INSTRUMENT, _ACTION, _SIDE, _PRICE, _SIZE, _FLAGS, _SEQUENCE)
)


def book_events(path: Path, *, symbol: str = "") -> Generator[BookEvent, None, None]:
    """Yield every market-by-order row, counted from 1.

    Raises:
        TapeError: a row is not as the format has it, is earlier than the row before or of another
            instrument than the first, or adds, modifies, cancels or fills an order without an id,
            with a size or price that is not above zero, or (fills aside) without a side.
    """
    only_instrument = ""
    with closing(MBO.rows(path)) as rows:
        for row, at_ns, (_, instrument, action, side, price, size, order_id, flags) in rows:
            if instrument != only_instrument:
                if only_instrument:
                    raise _second_instrument(path, row, instrument, only_instrument)
                only_instrument = instrument
            event = BookEvent(
                symbol,
                at_ns,
                row,
                action,
                _SIDES[side],
                decimal(price or "0"),
                decimal(size),
                int(order_id),
                int(flags) & _FLAG_LAST != 0,
                int(flags) & _FLAG_SNAPSHOT != 0,
            )
            if action in _ORDER_ACTIONS and not _is_sound(event):
                raise MBO.bad_row(path, row, *_why(event))
            yield event


def tops(path: Path, *, symbol: str) -> Generator[Quote | Trade, None, None]:
    """Yield an mbp-1 file: a Trade for each trade row, a Quote for each other row.

    Raises:
        TapeError: a row is not as the format has it, or earlier than the row before.
    """
    with closing(MBP1.rows(path)) as rows:
        for _, at_ns, fields in rows:
            _, _, action, side, price, size, _, bid, bid_size, ask, ask_size = fields
            if action == TRADE:
                yield Trade(symbol, at_ns, decimal(price), decimal(size), _SIDES[side])
            else:
                yield Quote(
                    symbol,
                    at_ns,
                    decimal(bid),
                    decimal(bid_size),
                    decimal(ask),
                    decimal(ask_size),
                )


def trades(path: Path, *, symbol: str) -> Generator[Trade, None, None]:
    """Yield a trades file.

    Raises:
        TapeError: a row is not as the format has it, is no trade, or earlier than the row before.
    """
    with closing(TRADES.rows(path)) as rows:
        for row, at_ns, (_, _, action, side, price, size, _) in rows:
            if action != TRADE:
                raise TRADES.bad_row(path, row, f"action is {action}", "a trade row has action T")
            yield Trade(symbol, at_ns, decimal(price), decimal(size), _SIDES[side])


def _is_sound(event: BookEvent) -> bool:
    return bool(
        event.order_id
        and event.size
        and event.price > 0
        and (event.side is not None or event.action not in _SIDED_ACTIONS)
    )


def _why(event: BookEvent) -> tuple[str, str]:
    if not event.order_id:
        return "order_id is 0", f"a row of action {event.action} names an order"
    if not event.size:
        return "size is 0", "it must be above zero"
    if event.price <= 0:
        return f"price is {event.price}", "it must be above zero"
    return "side is N", f"a row of action {event.action} has the order's side, B or A"


def _second_instrument(path: Path, row: int, found: str, first: str) -> Exception:
    advice = "a tape holds one instrument: split the file"
    return MBO.bad_row(path, row, f"instrument_id is {found} after {first}", advice)
