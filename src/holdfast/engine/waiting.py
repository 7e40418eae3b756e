"""Waiting for an order to come to something: judged on durable states, never by asking around."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from holdfast.domain.inputs import Command
from holdfast.domain.values import Status
from holdfast.engine.group_reading import GroupReading
from holdfast.engine.views import OrderView, view_order
from holdfast.errors import InputError, OrderStatusError, OrderSubmissionError, WaitTimeout

# How long a wait lasts unless the caller says so.
WAIT_S: Final = 30.0

# "terminal", "accepted", a status, or a check.
Until: TypeAlias = str | Callable[[OrderView], bool]


class Waiting(GroupReading):
    """What lets a caller wait for a command to be durable, and for an order to get somewhere."""

    async def wait(
        self, client_order_id: str, until: Until = "terminal", timeout: float = WAIT_S
    ) -> OrderView:
        """Wait until an order ended, was taken by the broker, has a status, or passes a check.

        An order that moved to another price goes on in its successor: that one is returned.

        Raises:
            InputError: a timeout or an `until` that cannot be waited for.
            WaitTimeout: it has not come to that in `timeout` seconds.
            OrderStatusError: no such order, or it ended otherwise and cannot come to that.
            OrderSubmissionError: waiting for "accepted", it was refused or never sent.
        """
        return await self._wait(await self.order(client_order_id), until, timeout)

    async def _changed(self, command: Command) -> OrderView:
        order = await self._runner.command(command)
        assert order is not None
        return order

    async def _wait(self, order: OrderView, until: Until, timeout: float) -> OrderView:
        check_timeout(timeout)
        check = _or_moved(_check(until))
        try:
            async with asyncio.timeout(timeout):
                found = await self._passed(order, check)
                while found.status is Status.CANCELED and found.successor:
                    order = view_order(self._numbered(found.successor))
                    found = await self._passed(order, check)
                return found
        except TimeoutError:
            now = self._runner.desk.order(order.number)
            wanted = until if isinstance(until, str) else "as waited for"
            raise WaitTimeout(
                f"order {order.client_order_id} is {now.status if now else order.status} after "
                f"{in_words(timeout)} and not {wanted}; wait again, or cancel it"
            ) from None

    async def _passed(self, order: OrderView, check: Callable[[OrderView], bool]) -> OrderView:
        if self._runner.desk.order(order.number) is None:  # archived: it changes no more by itself
            if check(order):
                return order
            watched = f"is {order.status} and archived"
            raise OrderStatusError(f"order {order.client_order_id} {watched}; it will not change")
        watcher = self._runner.watch(order.number, check)
        try:
            return await watcher.future
        finally:
            self._runner.unwatch(watcher)


def check_timeout(timeout: object, name: str = "timeout") -> None:
    """Refuse what is no time to wait, before anything happens.

    Raises:
        InputError: it is no number of seconds, zero or more.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InputError(f"{name} is {timeout!r}; give seconds, zero or more")


def in_words(seconds: float) -> str:
    """Say how long was waited, without figures that nobody can check."""
    return f"{round(seconds, 3):g} s"


def _or_moved(check: Callable[[OrderView], bool]) -> Callable[[OrderView], bool]:
    """An order that ended only to go on elsewhere is not judged: its successor is."""

    def moved_or_passed(order: OrderView) -> bool:
        if order.moving:
            return False
        return bool(order.successor and order.status is Status.CANCELED) or check(order)

    return moved_or_passed


def _check(until: Until) -> Callable[[OrderView], bool]:
    if until == "terminal":
        return lambda order: order.is_terminal
    if until == "accepted":
        return _is_accepted
    if callable(until):
        return until
    try:
        wanted = Status(until)
    except ValueError:
        known = ", ".join(Status)
        raise InputError(
            f"until is {until!r}; give 'terminal', 'accepted', a status ({known}), or a check"
        ) from None

    def reached(order: OrderView) -> bool:
        if order.status is not wanted and order.is_terminal:
            raise OrderStatusError(
                f"order {order.client_order_id} ended {order.status}; it does not become {wanted}",
                client_order_id=order.client_order_id,
            )
        return order.status is wanted

    return reached


def _is_accepted(order: OrderView) -> bool:
    if order.status in {Status.REJECTED, Status.FAILED}:
        raise OrderSubmissionError(
            f"order {order.client_order_id} is {order.status}: {order.text or order.code}; "
            "it does not work at the broker",
            client_order_id=order.client_order_id,
            code=order.code,
        )
    return order.status is not Status.NEW
