"""Rows of comma-separated files with a fixed set of columns, checked while they are split.

One regular expression per layout both splits and checks a row, which is faster than splitting
first. Only a row that fails is looked at column by column, to say what is wrong with it.
"""

import re
from collections.abc import Callable, Generator
from contextlib import closing
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from holdfast.errors import TapeError
from holdfast.venue.feeds.files import lines, shown

# Amounts of at most 14 digits on either side of the point: what the desk can trade and add up.
WHOLE: Final = r"0*[1-9][0-9]{0,13}"
WHOLE_OR_ZERO: Final = r"[0-9]{1,14}"
ABOVE_ZERO: Final = r"(?=[0.]*[1-9])[0-9]{1,14}(?:\.[0-9]{1,14})?"
ZERO_OR_MORE: Final = r"[0-9]{1,14}(?:\.[0-9]{1,14})?"
NANOSECONDS: Final = r"[0-9]{1,18}|[1-8][0-9]{18}"  # below 9e18: 64 bits, until 2255


class Column(Struct, frozen=True):
    """One column: its name, the pattern of its values, and that pattern in words.

    A column that is not `kept` is checked and left out of the fields of a row.
    """

    name: str
    pattern: str
    meaning: str
    kept: bool = True


class Layout:
    """The columns of one kind of file; the first one is the time by which it is ordered."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        *,
        header: bool = True,
        time: Callable[[str], int] = int,
    ) -> None:
        """Build the expression that splits and checks a row.

        Args:
            columns: in the order of the file.
            header: whether the first line names the columns.
            time: turns the first column into nanoseconds; raises ValueError with the reason.
        """
        self.columns = columns
        self.header = header
        self._time = time
        self._match = re.compile(
            ",".join(f"({c.pattern})" if c.kept else f"(?:{c.pattern})" for c in columns)
        ).fullmatch

    @property
    def names(self) -> str:
        """The columns as a header line."""
        return ",".join(column.name for column in self.columns)

    def rows(self, path: Path) -> Generator[tuple[int, int, tuple[str, ...]], None, None]:
        """Yield (row number, time in ns, kept fields) of each data row, counted from 1.

        Raises:
            TapeError: a row does not fit the layout or is earlier than the one above it, there is
                no row, or the file is unreadable.
        """
        match, time = self._match, self._time
        row = last_ns = 0
        with closing(lines(path)) as stream:
            if self.header:
                next(stream)
            for row, line in enumerate(stream, 1):
                found = match(line)
                if found is None:
                    raise self.bad_row(path, row, *self._explain(line))
                fields = found.groups()
                try:
                    at_ns = time(fields[0])
                except ValueError as error:
                    first = self.columns[0]
                    raise self.bad_row(path, row, str(error), f"write {first.meaning}") from None
                if at_ns < last_ns:
                    raise late_row(path, row, at_ns, last_ns, header=self.header)
                last_ns = at_ns
                yield row, at_ns, fields
        if not row:
            raise TapeError(f"{path} has a header and no rows; give a market data file with rows")

    def bad_row(self, path: Path, row: int, found: str, advice: str) -> TapeError:
        """Return the error for one row: where it is, what was found, what to do."""
        return bad_row(path, row, found, advice, header=self.header)

    def _explain(self, line: str) -> tuple[str, str]:
        fields = line.split(",")
        if len(fields) != len(self.columns):
            return (
                f"{len(fields)} columns in {shown(line)}",
                f"a row has {len(self.columns)}: {self.names}",
            )
        column, field = next(
            (column, field)
            for column, field in zip(self.columns, fields, strict=True)
            if not re.fullmatch(column.pattern, field)
        )
        return f"{column.name} is {shown(field)}", f"it must be {column.meaning}"


def bad_row(path: Path, row: int, found: str, advice: str, *, header: bool) -> TapeError:
    """Return the error for one row; with a header the line in the file is one more."""
    where = f"row {row} (line {row + 1})" if header else f"row {row}"
    return TapeError(f"{path}: {where}: {found}; {advice}; mend or replace the file")


def late_row(path: Path, row: int, at_ns: int, last_ns: int, *, header: bool) -> TapeError:
    """Return the error for a row whose time is before that of the row above it."""
    found = f"its time {at_ns} ns is {last_ns - at_ns} ns before that of the row above"
    return bad_row(path, row, found, "rows must be in the order of time", header=header)


@lru_cache(maxsize=1 << 16)  # prices and sizes repeat: a tape of 92,000 rows has 3,000 of them
def decimal(text: str) -> Decimal:
    """Read digits that a layout has checked."""
    return Decimal(text)
