"""The log: JSON lines through structlog, for the audit of orders and for everything else.

Rule: nothing reaches a stream or a file but through `_MASKING`: texts, names, nested values and
tracebacks alike, whoever logged them.
"""

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from holdfast.clock import Clock, SystemClock, iso
from holdfast.engine.jsonl_rows import ErrorLine, OrderLine
from holdfast.engine.masking import TRACE_MAX, masked, masked_value
from holdfast.errors import InputError

_log = logging.getLogger("holdfast.audit")

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_EventDict = MutableMapping[str, Any]

# What an audit line tells of an order, by the names that its row has.
_TOLD: Final = (
    "seq", "session_id", "team_id", "strategy_name", "order_id", "broker_order_id", "symbol",
    "side", "quantity", "limit_price", "execution_mode", "status", "attempt", "latency_ms",
)  # fmt: skip


def _mask(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Mask every value, and tracebacks as one text; a logger's own objects are no values."""
    found: _EventDict = {}
    for name, value in event.items():
        if name in {"_record", "_from_structlog"}:
            found[name] = value
        elif name in {"exception", "stack"}:
            found[name] = masked(value, TRACE_MAX)
        else:
            found.update(masked_value({name: value}))
    return found


class _Stamp:
    """Adds when a line was logged, as the files of a desk write times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: object, _method: str, event: _EventDict) -> _EventDict:
        event["timestamp"] = iso(self._clock.wall_ns())
        return event


class LogHandle:
    """The log as it was set up; `close` undoes it."""

    def __init__(self, handler: logging.Handler, logger: logging.Logger) -> None:
        self._handler, self._logger = handler, logger
        self._before = (logger.level, logger.propagate)

    def close(self) -> None:
        """Log no more; a file is closed, a stream is not."""
        self._logger.removeHandler(self._handler)
        self._logger.level, self._logger.propagate = self._before
        self._handler.close()


def configure_logging(
    level: str = "INFO",
    *,
    stream: TextIO | None = None,
    file: Path | None = None,
    clock: Clock | None = None,
) -> LogHandle:
    """Let everything that is logged under `holdfast` come out as masked JSON lines.

    They go to `file`, appended, else to `stream`, else to the error stream. Other loggers of the
    program are left alone.

    Raises:
        InputError: no such level, or both a file and a stream.
        OSError: the file cannot be opened.
    """
    if level.upper() not in LEVELS:
        raise InputError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")
    if stream is not None and file is not None:
        raise InputError(f"give a stream or the file {file}, not both")
    handler: logging.Handler
    if file is not None:
        handler = logging.FileHandler(file, encoding="utf-8", errors="replace")
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(clock or SystemClock()))
    logger = logging.getLogger("holdfast")
    handle = LogHandle(handler, logger)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return handle


def _formatter(clock: Clock) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _Stamp(clock),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _mask,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
    )


# Without `configure_logging` a line still goes through the standard loggers, and is masked.
_audit: Final = structlog.wrap_logger(
    _log,
    processors=[
        structlog.stdlib.filter_by_level,
        _mask,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


def audit(line: OrderLine | ErrorLine) -> None:
    """Log what a row of a desk tells: asked, answered, or gone wrong. Any thread may call it.

    It goes out at INFO, what went wrong at WARNING, as one JSON object with the names of the row.
    """
    told = {name: getattr(line, name) for name in _TOLD}
    told["recorded_at"] = line.timestamp
    if isinstance(line, ErrorLine):
        _audit.warning(
            "error", error_type=line.error_type, phase=line.phase, error=line.message, **told
        )
    else:
        _audit.info(line.action, reason=line.reason, error=line.error, **told)
