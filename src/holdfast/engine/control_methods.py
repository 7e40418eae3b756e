"""What other processes may ask of the desks of a journal: a table from names to what is done.

A method takes a checked struct and does what the manager's method of that name does. The reading
ones serve a desk at rest too: a journal that nobody owns.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.domain.position_orders import KINDS
from holdfast.engine.control_wire import order_row, order_rows, position_rows
from holdfast.engine.group_reading import GroupReading
from holdfast.engine.group_views import group_detail, group_row, group_rows, protection_rows
from holdfast.engine.manager import Manager
from holdfast.engine.masking import masked_value
from holdfast.engine.results import CancelResult, tally_rows
from holdfast.errors import HoldfastError, InputError

_log = logging.getLogger("holdfast.control")

ORDERS_MAX: Final = 1_000
Number: TypeAlias = str | int


class _Given(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a method takes."""


class _Orders(_Given, frozen=True, kw_only=True):
    symbol: str = ""
    strategy: str | None = None
    status: str | None = None
    finished: bool = False
    limit: int = 100


class _Named(_Given, frozen=True, kw_only=True):
    client_order_id: str


class _Cancel(_Named, frozen=True, kw_only=True):
    by: str = ""
    reason: str = ""


class _CancelAll(_Given, frozen=True, kw_only=True):
    symbol: str = ""
    strategy: str | None = None
    leave_unprotected: bool = False
    by: str = ""
    reason: str = ""


class _CancelPosition(_Given, frozen=True, kw_only=True):
    symbol: str
    kinds: tuple[str, ...] = KINDS
    by: str = ""
    reason: str = ""


class _Kill(_Given, frozen=True, kw_only=True):
    by: str
    reason: str
    action: Literal["cancel", "flatten"] = "cancel"


class _Word(_Given, frozen=True, kw_only=True):
    by: str
    reason: str


class _Resolve(_Named, frozen=True, kw_only=True):
    verdict: Literal["never_sent", "canceled", "look_again"]
    by: str
    reason: str


class _Manage(_Given, frozen=True, kw_only=True):
    by: str = ""


class _Groups(_Given, frozen=True, kw_only=True):
    symbol: str = ""
    strategy: str | None = None
    closed: bool = True
    limit: int = 100


class _Group(_Given, frozen=True, kw_only=True):
    group: int | str


class _Trading(_Given, frozen=True, kw_only=True):
    symbol: str = ""
    strategy: str | None = None
    limit: int = 100


class _CloseGroup(_Group, frozen=True, kw_only=True):
    by: str
    reason: str
    wait: Literal["durable", "closed"] = "durable"


class _Bracket(_Given, frozen=True, kw_only=True):
    symbol: str
    side: str
    quantity: Number
    entry_price: Number | None = None
    stop_loss_price: Number | None = None
    take_profit_price: Number | None = None
    stop_limit_price: Number | None = None
    trail: Number | None = None
    entry_timeout: float | None = None
    time_in_force: str = "gtc"
    strategy: str = ""
    client_order_id: str | None = None
    idempotency_key: str | None = None
    wait: Literal["durable", "entered", "protected", "closed"] = "durable"


class _Oco(_Given, frozen=True, kw_only=True):
    symbol: str
    side: str
    quantity: Number
    limit_price: Number
    stop_price: Number
    stop_limit_price: Number | None = None
    strategy: str = ""
    idempotency_key: str | None = None


class _Close(_Given, frozen=True, kw_only=True):
    symbol: str
    quantity: Number | None = None
    limit_price: Number | None = None
    strategy: str = ""
    idempotency_key: str | None = None
    by: str = ""
    reason: str = ""
    wait: Literal["durable", "closed"] = "durable"


class _Protect(_Given, frozen=True, kw_only=True):
    symbol: str
    stop_price: Number | None = None
    stop_limit_price: Number | None = None
    trail: Number | None = None
    target_price: Number | None = None
    quantity: Number | None = None
    strategy: str = ""
    by: str = ""


# What a handler is given: the desk, what was asked, and the seconds for which somebody waits.
_Handler: TypeAlias = Callable[[Any, Any, float], Awaitable[object]]


def _check_limit(limit: int) -> None:
    if not 0 < limit <= ORDERS_MAX:
        raise InputError(f"limit is {limit}; give 1 to {ORDERS_MAX}")


def _result_rows(results: Sequence[CancelResult]) -> list[dict[str, object]]:
    return [{**order_row(r.order), "outcome": r.outcome, "text": r.text} for r in results]


async def _orders(desk: GroupReading, given: _Orders, _wait_s: float) -> object:
    _check_limit(given.limit)
    return order_rows(
        await desk.orders(
            status=given.status,
            symbol=given.symbol,
            strategy=given.strategy,
            finished=given.finished or given.status is not None,
            limit=given.limit,
        )
    )


async def _order(desk: GroupReading, given: _Named, _wait_s: float) -> object:
    order = await desk.order(given.client_order_id)
    return {**order_row(order), "executions": await desk.executions(given.client_order_id)}


async def _submit(desk: Manager, given: dict[str, Any], wait_s: float) -> object:
    return order_row(await desk.submit(**{"timeout": wait_s, **given}))


async def _cancel(desk: Manager, given: _Cancel, _wait_s: float) -> object:
    order = await desk.cancel_order(given.client_order_id, by=given.by, reason=given.reason)
    return order_row(order)


async def _cancel_all(desk: Manager, given: _CancelAll, wait_s: float) -> object:
    results = await desk.cancel_all_open_orders(
        symbol=given.symbol,
        strategy=given.strategy,
        leave_unprotected=given.leave_unprotected,
        by=given.by,
        reason=given.reason,
        timeout=wait_s,
    )
    return _result_rows(results)


async def _cancel_position(desk: Manager, given: _CancelPosition, wait_s: float) -> object:
    results = await desk.cancel_position_orders(
        given.symbol, kinds=given.kinds, by=given.by, reason=given.reason, timeout=wait_s
    )
    return _result_rows(results)


async def _kill(desk: Manager, given: _Kill, wait_s: float) -> object:
    results = await desk.engage_kill_switch(
        by=given.by, reason=given.reason, action=given.action, timeout=wait_s
    )
    return _result_rows(results)


async def _release(desk: Manager, given: _Word, _wait_s: float) -> object:
    await desk.release_kill_switch(by=given.by, reason=given.reason)
    return await desk.guard()


async def _close_breaker(desk: Manager, given: _Word, _wait_s: float) -> object:
    await desk.close_breaker(by=given.by, reason=given.reason)
    return await desk.guard()


async def _resolve(desk: Manager, given: _Resolve, _wait_s: float) -> object:
    order = await desk.resolve(
        given.client_order_id, given.verdict, by=given.by, reason=given.reason
    )
    return order_row(order)


async def _manage(desk: Manager, given: _Manage, _wait_s: float) -> object:
    return order_rows(await desk.manage_open_orders(by=given.by))


async def _groups(desk: GroupReading, given: _Groups, _wait_s: float) -> object:
    _check_limit(given.limit)
    return group_rows(
        await desk.groups(
            symbol=given.symbol, strategy=given.strategy, closed=given.closed, limit=given.limit
        )
    )


async def _group(desk: GroupReading, given: _Group, _wait_s: float) -> object:
    return group_detail(await desk.group(given.group))


async def _trading(desk: GroupReading, given: _Trading, _wait_s: float) -> object:
    _check_limit(given.limit)
    *tallies, total = await desk.trading_statistics(strategy=given.strategy, symbol=given.symbol)
    groups = await desk.groups(symbol=given.symbol, strategy=given.strategy, limit=given.limit)
    return {
        "total": tally_rows([total])[0],
        "tallies": tally_rows(tallies[: given.limit]),
        "left_out": max(len(tallies) - given.limit, 0),
        "groups": protection_rows(groups),
    }


async def _close_group(desk: Manager, given: _CloseGroup, wait_s: float) -> object:
    return group_row(
        await desk.close_group(
            given.group,
            by=given.by,
            reason=given.reason,
            wait=given.wait,
            timeout=wait_s,
        )
    )


async def _bracket(desk: Manager, given: _Bracket, wait_s: float) -> object:
    terms: dict[str, Any] = msgspec.structs.asdict(given)
    return group_row(await desk.place_bracket_order(**terms, timeout=wait_s))


async def _oco(desk: Manager, given: _Oco, _wait_s: float) -> object:
    terms: dict[str, Any] = msgspec.structs.asdict(given)
    return group_row(await desk.place_oco_order(**terms))


async def _close(desk: Manager, given: _Close, wait_s: float) -> object:
    terms: dict[str, Any] = msgspec.structs.asdict(given)
    terms["method"] = "market" if given.limit_price is None else "limit"
    return group_row(await desk.close_position(**terms, timeout=wait_s))


async def _protect(desk: Manager, given: _Protect, _wait_s: float) -> object:
    wanted = [given.stop_price, given.trail, given.target_price]
    if sum(each is not None for each in wanted) != 1:
        raise InputError(
            "give one of stop_price, trail and target_price; each is a call of its own"
        )
    if given.target_price is None:
        view = await desk.add_stop_loss(
            given.symbol,
            given.stop_price,
            trail=given.trail,
            limit_price=given.stop_limit_price,
            quantity=given.quantity,
            strategy=given.strategy,
            by=given.by,
        )
        return group_row(view)
    if given.stop_limit_price is not None:
        raise InputError("stop_limit_price belongs to a stop; leave it out, or give stop_price")
    view = await desk.add_take_profit(
        given.symbol,
        given.target_price,
        quantity=given.quantity,
        strategy=given.strategy,
        by=given.by,
    )
    return group_row(view)


async def _positions(desk: GroupReading, _given: _Given, _wait_s: float) -> object:
    return position_rows(await desk.positions())


async def _health(desk: GroupReading, _given: _Given, _wait_s: float) -> object:
    told = {"health": await desk.health(), "guard": await desk.guard()}
    return masked_value(msgspec.to_builtins(told))


async def _statistics(desk: Manager, _given: _Given, _wait_s: float) -> object:
    return await desk.statistics()


class _Method(Struct, frozen=True):
    """A handler, what it takes, and whether it may mean all desks at once.

    Where `reads` is set it changes nothing, and a desk at rest can answer it as well.
    """

    handler: _Handler
    given: Any
    of_all: bool = False
    reads: bool = False


METHODS: Final = {
    "orders": _Method(_orders, _Orders, of_all=True, reads=True),
    "order": _Method(_order, _Named, reads=True),
    "submit": _Method(_submit, dict[str, Any]),
    "cancel": _Method(_cancel, _Cancel),
    "cancel-all": _Method(_cancel_all, _CancelAll, of_all=True),
    "cancel-position": _Method(_cancel_position, _CancelPosition),
    "kill": _Method(_kill, _Kill, of_all=True),
    "release": _Method(_release, _Word, of_all=True),
    "close-breaker": _Method(_close_breaker, _Word, of_all=True),
    "resolve": _Method(_resolve, _Resolve),
    "manage": _Method(_manage, _Manage, of_all=True),
    "bracket": _Method(_bracket, _Bracket),
    "oco": _Method(_oco, _Oco),
    "close": _Method(_close, _Close),
    "protect": _Method(_protect, _Protect),
    "groups": _Method(_groups, _Groups, of_all=True, reads=True),
    "group": _Method(_group, _Group, reads=True),
    "trading-statistics": _Method(_trading, _Trading, of_all=True, reads=True),
    "close-group": _Method(_close_group, _CloseGroup),
    "positions": _Method(_positions, _Given, of_all=True, reads=True),
    "health": _Method(_health, _Given, of_all=True, reads=True),
    "statistics": _Method(_statistics, _Given, of_all=True),
}


async def carry_out(
    desks: Mapping[str, GroupReading], name: str, params: dict[str, Any], desk: str, wait_s: float
) -> dict[str, object]:
    """Do what is asked on a desk, or on all where that is possible; return the results by desk.

    Raises:
        InputError: no such method or desk, or parameters that it does not take; nothing was done.
        HoldfastError: it was refused. Of several desks, it may have been done on others.
    """
    method = METHODS.get(name)
    if method is None:
        raise InputError(f"there is no method {name!r}; there are: {', '.join(METHODS)}")
    names = _meant(desks, desk, method)
    try:
        given = msgspec.convert(params, method.given)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: {error}") from None
    works = [method.handler(desks[each], given, wait_s) for each in names]
    results = await asyncio.gather(*works, return_exceptions=True)
    for each, result in zip(names, results, strict=True):
        if isinstance(result, HoldfastError) and len(names) > 1:
            _log.warning("%s on desk %s: %s", name, each, result)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return dict(zip(names, results, strict=True))


def _meant(desks: Mapping[str, GroupReading], desk: str, method: _Method) -> list[str]:
    names = sorted(desks)
    listed = ", ".join(names) or "none yet"
    if desk:
        if desk not in desks:
            raise InputError(f"there is no desk {desk!r} here; there are: {listed}")
        return [desk]
    if len(names) != 1 and not method.of_all:
        raise InputError(f"there are several desks or none ({listed}); say which: --desk")
    return names
