"""Which format a market file has, told from its first line and never from its name."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Final

from holdfast.errors import TapeError
from holdfast.venue.feeds import binance, csvfeed, databento
from holdfast.venue.feeds.files import first_line, shown


class Format(StrEnum):
    """The formats that can be read; the first two are tapes of orders."""

    LOBSTER = "lobster"
    DATABENTO_MBO = "databento_mbo"
    DATABENTO_MBP1 = "databento_mbp1"
    DATABENTO_TRADES = "databento_trades"
    BINANCE_QUOTES = "binance_quotes"
    BINANCE_TRADES = "binance_trades"
    BINANCE_STREAM = "binance_stream"
    CSV_TRADES = "csv_trades"
    CSV_QUOTES = "csv_quotes"
    CSV_BARS = "csv_bars"


TAPES: Final = frozenset({Format.LOBSTER, Format.DATABENTO_MBO})

_HEADERS: Final = {
    databento.MBO.names: Format.DATABENTO_MBO,
    databento.MBP1.names: Format.DATABENTO_MBP1,
    databento.TRADES.names: Format.DATABENTO_TRADES,
    binance.QUOTES.names: Format.BINANCE_QUOTES,
    binance.TRADES.names: Format.BINANCE_TRADES,
}
# Six columns without a header: row 1 is checked like any other row once the format is known.
_LOBSTER: Final = re.compile(r"[-+.0-9 ]+(?:,[-+.0-9 ]*){5}")
_STREAM: Final = re.compile(r"[0-9]+ \{.*")

_KNOWN: Final = (
    "LOBSTER messages (six columns, no header: time,type,order_id,size,price,direction); "
    "Databento market-by-order, mbp-1 or trades and Binance quotes or trades (CSV with a header); "
    "a Binance stream ('nanoseconds {json}' per line); plain CSV with the header "
    "ts,price,size[,side] or ts,bid,bid_size,ask,ask_size or timestamp,open,high,low,close,volume"
)


def detect(path: Path) -> Format:
    """Return the format of the file by its first line.

    Raises:
        TapeError: the first line fits none of the known formats, or the file cannot be read.
    """
    line = first_line(path)
    if line in _HEADERS:
        return _HEADERS[line]
    kind = csvfeed.kind_of(line)
    if kind is not None:
        return Format(f"csv_{kind}")
    if _LOBSTER.fullmatch(line):
        return Format.LOBSTER
    if _STREAM.fullmatch(line):
        return Format.BINANCE_STREAM
    raise TapeError(
        f"{path} is of no known format: its first line is {shown(line)}. Known are: {_KNOWN}"
    )
