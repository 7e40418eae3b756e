"""Orders that are tied together: brackets, pairs, and what protects or closes a position."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from holdfast.domain.group import Phase
from holdfast.domain.inputs import (
    CancelPositionOrders,
    CloseGroup,
    ClosePosition,
    Input,
    PlaceBracket,
    PlaceOco,
    Protect,
)
from holdfast.domain.persons import check_by
from holdfast.domain.position_orders import KINDS, check_kinds
from holdfast.domain.requests import Amount, OrderRequest, check_text
from holdfast.domain.shares import closable
from holdfast.domain.values import ZERO, Side, Status
from holdfast.engine.group_views import GroupView, view_emergency_close
from holdfast.engine.results import CancelResult
from holdfast.engine.steering import Steering
from holdfast.engine.waiting import WAIT_S, check_timeout, in_words
from holdfast.errors import (
    Halted,
    InputError,
    JournalUnwritable,
    Missed,
    OrderStatusError,
    OrderSubmissionError,
    WaitTimeout,
)

# "entered", "protected", "closed", or a check.
GroupUntil: TypeAlias = str | Callable[[GroupView], bool]

# A year: whoever wants longer wants no end.
ENTRY_S_MAX: Final = 366 * 86_400
_MS: Final = 1_000
_ENTRY_WAITS: Final = ("durable", "entered", "protected", "closed")
_CLOSE_WAITS: Final = ("durable", "closed")
# Phases from which a group is not protected any more as it was meant to be.
_GOING: Final = frozenset({Phase.FLATTENING, Phase.EXCESS, Phase.CLOSING, Phase.CLOSED})


class Grouping(Steering):
    """What a caller may do with orders that are tied together, and with positions."""

    async def place_bracket_order(  # noqa: PLR0913 - one argument per term, all by name
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        *,
        entry_price: Amount | None = None,
        stop_loss_price: Amount | None = None,
        take_profit_price: Amount | None = None,
        stop_limit_price: Amount | None = None,
        trail: Amount | None = None,
        entry_type: Literal["limit", "market"] | None = None,
        entry_timeout: float | None = None,
        time_in_force: str = "gtc",
        strategy: str = "",
        client_order_id: str | None = None,
        idempotency_key: str | None = None,
        wait: Literal["durable", "entered", "protected", "closed"] = "durable",
        timeout: float = WAIT_S,
    ) -> GroupView:
        """Place an entry with the stop and the target that protect what it fills, or one of them.

        `side` is the entry's. Without `entry_price` it is a market order. Prices are moved to the
        tick, then compared: the stop loses and the target gains. What the entry fills is protected
        from its first fill on. The entry is cancelled after `entry_timeout` seconds; 0 is never,
        None leaves it to the desk. The same client order id (the entry's) or idempotency key with
        the same terms returns the first group. `wait` returns once it is durable, has filled
        something, is protected, or is closed.

        Raises:
            InputError: prices that contradict each other or the side, or that cannot be traded.
            UnsupportedOrderTypeError: the broker has no such orders and lets none be emulated.
            OrderRefused: `GROUP_OPPOSES`, or a limit said no to the entry.
            Busy, Halted, Closed, JournalError: nothing was taken.
            OrderSubmissionError: waiting, the entry was refused or never sent.
            Missed: waiting, it ended otherwise and cannot come to that.
            WaitTimeout: waiting, it has not come to that in `timeout` seconds; the group stands.
        """
        _check_wait(wait, _ENTRY_WAITS)
        check_timeout(timeout)
        given = PlaceBracket(
            symbol=check_text(symbol, "symbol"),
            side=side,
            quantity=quantity,
            entry_type=_guessed(entry_price) if entry_type is None else entry_type,
            entry_price=entry_price,
            stop_loss_price=stop_loss_price,
            stop_limit_price=stop_limit_price,
            trail=trail,
            take_profit_price=take_profit_price,
            entry_timeout_ms=_timeout_ms(entry_timeout),
            time_in_force=check_text(time_in_force, "time_in_force"),
            strategy=check_text(strategy, "strategy"),
            client_order_id=_maybe_text(client_order_id, "client_order_id"),
            idempotency_key=_maybe_text(idempotency_key, "idempotency_key"),
        )
        return await self._grouped(given, wait, timeout)

    async def place_oco_order(  # noqa: PLR0913 - one argument per term, all by name
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        *,
        limit_price: Amount,
        stop_price: Amount,
        stop_limit_price: Amount | None = None,
        strategy: str = "",
        idempotency_key: str | None = None,
    ) -> GroupView:
        """Place two exits for the same units of a position, of which one trades.

        `side` is theirs. What one of them trades the other one gives up.

        Raises:
            InputError: prices that contradict each other or the side, or that cannot be traded.
            UnsupportedOrderTypeError: the broker has no such orders and lets none be emulated.
            OrderRefused: `REDUCE_ONLY_EXCEEDED`: there is less to close than that.
            Busy, Halted, Closed, JournalError: nothing was taken.
        """
        return await self._runner.grouped(
            PlaceOco(
                symbol=check_text(symbol, "symbol"),
                side=side,
                quantity=quantity,
                limit_price=limit_price,
                stop_price=stop_price,
                stop_limit_price=stop_limit_price,
                strategy=check_text(strategy, "strategy"),
                idempotency_key=_maybe_text(idempotency_key, "idempotency_key"),
            )
        )

    async def close_position(  # noqa: PLR0913 - one argument per choice, all by name
        self,
        symbol: str,
        *,
        quantity: Amount | None = None,
        method: Literal["market", "limit"] = "market",
        limit_price: Amount | None = None,
        by: str = "",
        reason: str = "",
        strategy: str = "",
        idempotency_key: str | None = None,
        wait: Literal["durable", "closed"] = "durable",
        timeout: float = WAIT_S,
    ) -> GroupView:
        """Close a position, or `quantity` of it, at the market or by a limit order.

        What protects it shrinks by as much, so that nothing is closed twice. At the market it goes
        on, over restarts, until it is closed. While the journal cannot be written a close at the
        market goes out past it, for what no other exit may still close. It returns then once the
        order is sent, whatever `wait` says. The view has the number 0 and names the order, which
        the desk knows by its id once the journal is back.

        Raises:
            InputError: there is no position, or the method and the price do not fit.
            OrderRefused: `REDUCE_ONLY_EXCEEDED`: less than that is held and not being closed.
            Busy, Halted, Closed, JournalError: nothing was taken.
            WaitTimeout: with `wait="closed"`, it takes longer; it is gone on with.
        """
        _check_wait(wait, _CLOSE_WAITS)
        check_timeout(timeout)
        if method not in ("market", "limit"):
            raise InputError(f"method is {method!r}; give market or limit")
        if (method == "limit") is (limit_price is None):
            found = "missing" if limit_price is None else "given"
            raise InputError(f"method is {method} and limit_price is {found}; a limit has a price")
        given = ClosePosition(
            symbol=check_text(symbol, "symbol"),
            quantity=quantity,
            limit_price=limit_price,
            strategy=check_text(strategy, "strategy"),
            by=check_by(by),
            reason=check_text(reason, "reason"),
            idempotency_key=_maybe_text(idempotency_key, "idempotency_key"),
        )
        try:
            return await self._grouped(given, wait, timeout)
        except (Halted, JournalUnwritable):
            if method == "limit":
                raise
            return await self._close_past_journal(given)

    async def add_stop_loss(
        self,
        symbol: str,
        stop_price: Amount | None = None,
        *,
        trail: Amount | None = None,
        limit_price: Amount | None = None,
        quantity: Amount | None = None,
        strategy: str = "",
        by: str = "",
    ) -> GroupView:
        """Protect a position by a stop at a price, or one that follows the market by `trail`.

        Without a quantity it is for all that nothing else guards, and follows the position. Called
        again it moves the stop, for the same quantity unless another one is given; `"all"` follows
        the position again.

        Raises:
            InputError: there is no position, or the price is on its wrong side.
            UnsupportedOrderTypeError: the broker has no such order.
            OrderRefused: `REDUCE_ONLY_EXCEEDED`: other groups and exits look after all of it.
            Busy, Halted, Closed, JournalError: nothing was taken.
        """
        return await self._runner.grouped(
            Protect(
                symbol=check_text(symbol, "symbol"),
                role="stop",
                stop_price=stop_price,
                limit_price=limit_price,
                trail=trail,
                quantity=quantity,
                strategy=check_text(strategy, "strategy"),
                by=check_by(by),
            )
        )

    async def add_take_profit(
        self,
        symbol: str,
        limit_price: Amount,
        *,
        quantity: Amount | None = None,
        strategy: str = "",
        by: str = "",
    ) -> GroupView:
        """Close a position at a gain, beside its stop if it has one; see `add_stop_loss`."""
        return await self._runner.grouped(
            Protect(
                symbol=check_text(symbol, "symbol"),
                role="target",
                limit_price=limit_price,
                quantity=quantity,
                strategy=check_text(strategy, "strategy"),
                by=check_by(by),
            )
        )

    async def cancel_position_orders(
        self,
        symbol: str,
        *,
        kinds: Sequence[str] = KINDS,
        by: str = "",
        reason: str = "",
        timeout: float = WAIT_S,
    ) -> list[CancelResult]:
        """Cancel the stops, targets or entries of a symbol, as `kinds` names them.

        A stop or target that somebody cancels is not placed again, also where it is cancelled
        while the journal cannot be written. It returns as `cancel_all_open_orders` does.

        Raises:
            InputError: an unknown symbol, a kind that there is not, or no time to wait.
        """
        check_timeout(timeout)
        command = CancelPositionOrders(
            symbol=check_text(symbol, "symbol"),
            kinds=check_kinds(kinds),
            by=check_by(by),
            reason=check_text(reason, "reason"),
        )
        return await self._swept(command, timeout)

    async def close_group(
        self,
        group: int | str,
        *,
        by: str,
        reason: str,
        wait: Literal["durable", "closed"] = "durable",
        timeout: float = WAIT_S,
    ) -> GroupView:
        """Cancel what works of a group, and close at the market what it holds.

        It is named by its number, its id, or the client order id of one of its orders.

        Raises:
            OrderStatusError: there is no such group, or it closed so long ago that it left memory.
            InputError: no name or no reason.
            Halted: the journal cannot be written; `cancel_order` and `close_position` go past it.
            WaitTimeout: with `wait="closed"`, it takes longer; it is gone on with.
        """
        _check_wait(wait, _CLOSE_WAITS)
        check_timeout(timeout)
        number = self._group_number(group)
        if not number:
            raise self._no_group(group)
        if self._is_forgotten(number):
            raise OrderStatusError(
                f"group {number} is closed and left memory, so nothing of it is left to close; "
                f"`group({number})` reads it from the journal",
                code="UNKNOWN_GROUP",
            )
        given = CloseGroup(
            group=number, by=check_text(by, "by"), reason=check_text(reason, "reason")
        )
        return await self._grouped(given, wait, timeout)

    async def wait_group(
        self, group: int | str, until: GroupUntil = "closed", timeout: float = WAIT_S
    ) -> GroupView:
        """Wait until a group has filled something, is protected, is closed, or passes a check.

        "entered" is the entry's first fill; "protected" is also passed by a group that was so
        before it ended.

        Raises:
            InputError: a timeout or an `until` that cannot be waited for.
            WaitTimeout: it has not come to that in `timeout` seconds.
            OrderStatusError: no such group; `Missed` where it ended otherwise and cannot come to
                that.
            OrderSubmissionError: its entry was refused or never sent.
        """
        check_timeout(timeout)
        return await self._wait_group(await self.group(group), until, timeout)

    async def _grouped(self, given: Input, wait: str, timeout: float) -> GroupView:
        view = await self._runner.grouped(given)
        return view if wait == "durable" else await self._wait_group(view, wait, timeout)

    async def _wait_group(self, view: GroupView, until: GroupUntil, timeout: float) -> GroupView:
        check = _check(view, until)
        if self._runner.desk.state.groups.get(view.group) is None:  # it changes no more
            if check(view):
                return view
            watched = f"is {view.phase} and left memory"
            raise OrderStatusError(f"group {view.group} {watched}; it will not change")
        watcher = self._runner.watch_group(view.group, check)
        try:
            async with asyncio.timeout(timeout):
                return await watcher.future
        except TimeoutError:
            now = self._runner.desk.state.groups.get(view.group)
            wanted = until if isinstance(until, str) else "as waited for"
            raise WaitTimeout(
                f"group {view.group} is {now.phase if now else view.phase} after "
                f"{in_words(timeout)} and not {wanted}; wait again, or close it with `close_group`"
            ) from None
        finally:
            self._runner.unwatch(watcher)

    async def _close_past_journal(self, given: ClosePosition) -> GroupView:
        """Send the exit that a close at the market would send, as halted mode allows."""
        desk = self._runner.ahead()
        position = desk.positions.get(given.symbol)
        held = position.quantity if position is not None else ZERO
        side = Side.SELL if held > 0 else Side.BUY
        most = closable(desk, given.symbol, side)
        if not most:
            raise InputError(
                f"there is nothing to close in {given.symbol}: the position is {held}, what was "
                "closed by hand or is not booked yet left out; look at the broker"
            )
        request = OrderRequest(
            symbol=given.symbol,
            side=side,
            quantity=most if given.quantity is None else given.quantity,
            order_type="market",
            reduce_only=True,
            strategy=given.strategy,
        )
        return view_emergency_close(desk, await self._halted.exit(request))


def _check_wait(wait: str, known: Sequence[str]) -> None:
    if wait not in known:
        raise InputError(f"wait is {wait!r}; give one of {', '.join(known)}")


def _guessed(entry_price: Amount | None) -> str:
    """Return the type of an entry of which none was named."""
    return "market" if entry_price is None else "limit"


def _maybe_text(value: str | None, name: str) -> str | None:
    return None if value is None else check_text(value, name)


def _timeout_ms(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    check_timeout(seconds, "entry_timeout")
    if seconds > ENTRY_S_MAX:
        raise InputError(f"entry_timeout is {seconds!r} s; give 0 for never")
    return max(int(seconds * _MS), 1) if seconds else 0


def _check(view: GroupView, until: GroupUntil) -> Callable[[GroupView], bool]:
    if callable(until):
        return until
    if until == "closed":
        return lambda group: group.is_closed
    if until not in ("entered", "protected"):
        raise InputError(f"until is {until!r}; give entered, protected, closed, or a check")
    if until == "protected":
        return _is_protected
    if view.contingency not in {"bracket", "oto"}:
        raise InputError(
            f"group {view.group} is of kind {view.contingency} and has no entry; wait until it is "
            "protected or closed"
        )
    return _is_entered


def _is_entered(group: GroupView) -> bool:
    if not group.entered and group.phase in _GOING:
        raise _missed(group, "entered")
    return bool(group.entered)


def _is_protected(group: GroupView) -> bool:
    if group.phase is Phase.PROTECTED:
        return True
    if group.phase not in _GOING:
        return False
    if any(moment.phase == Phase.PROTECTED for moment in group.history):
        return True
    raise _missed(group, "protected")


def _missed(group: GroupView, wanted: str) -> Missed | OrderSubmissionError:
    """Word why a group does not come to what is waited for."""
    entry = group.entry
    if entry is not None and entry.status in {Status.REJECTED, Status.FAILED}:
        return OrderSubmissionError(
            f"the entry {entry.client_order_id} of group {group.group} is {entry.status}: "
            f"{entry.text or 'no reason given'}; it does not work at the broker",
            client_order_id=entry.client_order_id,
        )
    return Missed(
        f"group {group.group} is {group.phase} ({group.reason or group.cause}) and will not be "
        f"{wanted}; `group({group.group})` tells what became of it",
        client_order_id=entry.client_order_id if entry is not None else "",
    )
