"""Holdfast looks after the orders between a trading program and its brokers."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from holdfast.config import Config as Config
    from holdfast.domain.instruments import Instrument as Instrument
    from holdfast.domain.requests import OrderRequest as OrderRequest
    from holdfast.domain.settings import Settings as Settings
    from holdfast.domain.values import OrderType as OrderType
    from holdfast.domain.values import Side as Side
    from holdfast.domain.values import Status as Status
    from holdfast.domain.values import TimeInForce as TimeInForce
    from holdfast.engine.feed import Gap as Gap
    from holdfast.engine.feed import Notice as Notice
    from holdfast.engine.group_views import GroupView as GroupView
    from holdfast.engine.subscribers import Fill as Fill
    from holdfast.engine.views import ExecutionView as ExecutionView
    from holdfast.engine.views import OrderView as OrderView
    from holdfast.engine.views import PositionView as PositionView
    from holdfast.errors import Busy as Busy
    from holdfast.errors import Closed as Closed
    from holdfast.errors import ConfigError as ConfigError
    from holdfast.errors import Halted as Halted
    from holdfast.errors import HoldfastError as HoldfastError
    from holdfast.errors import IdempotencyConflict as IdempotencyConflict
    from holdfast.errors import InputError as InputError
    from holdfast.errors import JournalError as JournalError
    from holdfast.errors import OrderCancellationError as OrderCancellationError
    from holdfast.errors import OrderError as OrderError
    from holdfast.errors import OrderRefused as OrderRefused
    from holdfast.errors import OrderStatusError as OrderStatusError
    from holdfast.errors import OrderSubmissionError as OrderSubmissionError
    from holdfast.errors import UnknownSymbolError as UnknownSymbolError
    from holdfast.errors import UnsupportedOrderTypeError as UnsupportedOrderTypeError
    from holdfast.errors import WaitTimeout as WaitTimeout
    from holdfast.wiring import Desks as Desks
    from holdfast.wiring import OrderManager as OrderManager

__version__ = "0.1.0"

# Looked up when first used, so that a command which needs little starts quickly.
_HOMES: _typing.Final = {
    "config": ("Config",),
    "domain.instruments": ("Instrument",),
    "domain.requests": ("OrderRequest",),
    "domain.settings": ("Settings",),
    "domain.values": ("OrderType", "Side", "Status", "TimeInForce"),
    "engine.feed": ("Gap", "Notice"),
    "engine.group_views": ("GroupView",),
    "engine.subscribers": ("Fill",),
    "engine.views": ("ExecutionView", "OrderView", "PositionView"),
    "errors": (
        "Busy",
        "Closed",
        "ConfigError",
        "Halted",
        "HoldfastError",
        "IdempotencyConflict",
        "InputError",
        "JournalError",
        "OrderCancellationError",
        "OrderError",
        "OrderRefused",
        "OrderStatusError",
        "OrderSubmissionError",
        "UnknownSymbolError",
        "UnsupportedOrderTypeError",
        "WaitTimeout",
    ),
    "wiring": ("Desks", "OrderManager"),
}
_HOME_OF: _typing.Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Busy",
    "Closed",
    "Config",
    "ConfigError",
    "Desks",
    "ExecutionView",
    "Fill",
    "Gap",
    "GroupView",
    "Halted",
    "HoldfastError",
    "IdempotencyConflict",
    "InputError",
    "Instrument",
    "JournalError",
    "Notice",
    "OrderCancellationError",
    "OrderError",
    "OrderManager",
    "OrderRefused",
    "OrderRequest",
    "OrderStatusError",
    "OrderSubmissionError",
    "OrderType",
    "OrderView",
    "PositionView",
    "Settings",
    "Side",
    "Status",
    "TimeInForce",
    "UnknownSymbolError",
    "UnsupportedOrderTypeError",
    "WaitTimeout",
    "__version__",
]


def __getattr__(name: str) -> _typing.Any:
    """Return a public name from the module that defines it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
