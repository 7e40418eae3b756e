"""Changing what was ordered: one order, all of them, and the switches that hold everything back."""

import asyncio
from typing import Final, Literal

import msgspec

from holdfast.domain.alerts import TEXT_LENGTH_MAX
from holdfast.domain.effects import LookupOrder
from holdfast.domain.inputs import (
    Cancel,
    CancelAll,
    Checked,
    CloseBreaker,
    EngageKillSwitch,
    Flatten,
    ManageOrders,
    Polled,
    Raise,
    ReleaseKillSwitch,
    Replace,
    Resolve,
    StopFlatten,
    Tick,
)
from holdfast.domain.order import Order
from holdfast.domain.reports import LookupResult
from holdfast.domain.requests import Amount, check_text
from holdfast.domain.values import TERMINAL, Status
from holdfast.domain.wish import WishKind
from holdfast.engine.halted import Sweep, settled
from holdfast.engine.masking import masked
from holdfast.engine.placing import Placing
from holdfast.engine.results import CancelResult, cancel_result
from holdfast.engine.views import OrderStatus, OrderView, view_order, view_status
from holdfast.engine.waiting import WAIT_S, check_timeout
from holdfast.errors import Closed, Halted, HoldfastError, JournalUnwritable, OrderStatusError

# A question for an order's status is asked again so often, each time after twice the wait.
STATUS_RETRIES_MAX: Final = 3
STATUS_RETRY_FIRST_S: Final = 0.5


class Steering(Placing):
    """What a caller may change, one order at a time or all at once."""

    async def cancel_order(
        self, client_order_id: str, *, by: str = "", reason: str = ""
    ) -> OrderView:
        """Want an order gone; `wait` tells when it is. The order may still fill before that.

        Raises:
            OrderStatusError: there is no such order.
            OrderCancellationError: it has ended already.
        """
        name = check_text(client_order_id, "client_order_id")
        command = Cancel(
            client_order_id=name, by=check_text(by, "by"), reason=check_text(reason, "reason")
        )
        try:
            return await self._changed(command)
        except (Halted, JournalUnwritable):
            return await self._halted.cancel(name)

    async def replace_order(
        self,
        client_order_id: str,
        *,
        quantity: Amount | None = None,
        limit_price: Amount | None = None,
        stop_price: Amount | None = None,
    ) -> OrderView:
        """Want other terms for a working order; `quantity` is the new total, fills included.

        The old terms rule until the broker confirms. Terms that are as they were need no call.

        Raises:
            OrderStatusError: there is no such order.
            OrderCancellationError: it has ended or is being cancelled.
            InputError: terms that the order or its instrument does not allow.
        """
        return await self._changed(
            Replace(
                client_order_id=check_text(client_order_id, "client_order_id"),
                quantity=quantity,
                limit_price=limit_price,
                stop_price=stop_price,
            )
        )

    async def resolve(
        self,
        client_order_id: str,
        verdict: Literal["never_sent", "canceled", "look_again"],
        *,
        by: str,
        reason: str,
    ) -> OrderView:
        """Settle an order whose outcome nobody can tell, on a person's word; it is journaled.

        Raises:
            OrderStatusError: there is no such order.
            InputError: no name, no reason, or a verdict that does not fit the order.
        """
        return await self._changed(
            Resolve(
                client_order_id=check_text(client_order_id, "client_order_id"),
                verdict=verdict,
                by=check_text(by, "by"),
                reason=check_text(reason, "reason"),
            )
        )

    async def cancel_all_open_orders(
        self,
        *,
        symbol: str = "",
        strategy: str | None = None,
        leave_unprotected: bool = False,
        by: str = "",
        reason: str = "",
        timeout: float = WAIT_S,
    ) -> list[CancelResult]:
        """Cancel all working orders, of a symbol or strategy where one is named.

        Reduce-only orders protect positions and stay, unless `leave_unprotected` is set; who and
        why is journaled. It returns when each order came to its end, or after `timeout` seconds,
        with one result per order; what is still pending then is cancelled on.

        Raises:
            InputError: an unknown symbol, or no time to wait; nothing was cancelled.
        """
        check_timeout(timeout)
        command = CancelAll(
            symbol=check_text(symbol, "symbol"),
            strategy=strategy,
            leave_unprotected=leave_unprotected,
            by=check_text(by, "by"),
            reason=check_text(reason, "reason"),
        )
        return await self._swept(command, timeout)

    async def manage_open_orders(self, *, by: str = "") -> list[OrderView]:
        """Look now for orders that have waited too long; return those being cancelled for it.

        The desk does the same by itself, as often as its `stale` policy says.
        """
        return list(await self._runner.several(ManageOrders(by=check_text(by, "by"))))

    async def synchronize_open_orders(self, *, timeout: float = WAIT_S) -> list[OrderView]:
        """List the account's orders at the broker once, now, and return the desk's open ones.

        Raises:
            OrderStatusError: the broker did not list all of them in time.
            Closed: the account is not asked any more.
        """
        check_timeout(timeout)
        try:
            async with asyncio.timeout(timeout):
                answered = await self._link.poll_now()
        except TimeoutError:
            answered = False
        if not answered:
            raise OrderStatusError(
                f"the broker did not list the orders of account {self._link.account!r}; what is "
                "known here stands as it was, and it is asked again by itself",
                code="STATUS_UNAVAILABLE",
            )
        await self._runner.tell(Tick())
        return await self.orders(finished=False)

    async def engage_kill_switch(
        self,
        *,
        by: str,
        reason: str,
        action: Literal["cancel", "flatten"] = "cancel",
        timeout: float = WAIT_S,
    ) -> list[CancelResult]:
        """Let no entry out any more, until it is released, also over restarts.

        Entries that work are cancelled; "flatten" closes every position as well. It returns when
        each cancelled order came to its end, or after `timeout` seconds. While the journal cannot
        be written cancels go out all the same, and the switch is kept in `guard().unrecorded` and
        in the emergency log: it is engaged before any entry can go out again, here or at the next
        start.

        Raises:
            InputError: no name or reason, an unknown action, or no time to wait.
        """
        check_timeout(timeout)
        command = EngageKillSwitch(
            by=check_text(by, "by"), reason=check_text(reason, "reason"), action=action
        )
        return await self._swept(command, timeout)

    async def release_kill_switch(self, *, by: str, reason: str) -> None:
        """Let entries out again; who and why is journaled."""
        await self._runner.command(
            ReleaseKillSwitch(by=check_text(by, "by"), reason=check_text(reason, "reason"))
        )

    async def close_breaker(self, *, by: str, reason: str) -> None:
        """Close the circuit breaker on a person's word that its cause is gone."""
        await self._runner.command(
            CloseBreaker(by=check_text(by, "by"), reason=check_text(reason, "reason"))
        )

    async def flatten(self, symbol: str = "", *, by: str, reason: str) -> None:
        """Close the position of a symbol, or all: cancel what is open, confirm, exit the rest.

        It returns once that is on disk; it goes on, over restarts, until the symbol is flat. While
        the journal cannot be written only cancels go out; the rest is kept in `guard().unrecorded`
        and in the emergency log, and begins as soon as it can be.

        Raises:
            InputError: no name or reason, or an unknown symbol.
        """
        command = Flatten(
            symbol=check_text(symbol, "symbol"),
            by=check_text(by, "by"),
            reason=check_text(reason, "reason"),
        )
        try:
            await self._runner.command(command)
        except (Halted, JournalUnwritable):
            await self._halted.sweep(command)

    async def stop_flattening(self, symbol: str = "", *, by: str, reason: str) -> None:
        """Close the position of a symbol, or any, no further; what is held then stays.

        Raises:
            InputError: no name or reason, or an unknown symbol.
        """
        await self._runner.command(
            StopFlatten(
                symbol=check_text(symbol, "symbol"),
                by=check_text(by, "by"),
                reason=check_text(reason, "reason"),
            )
        )

    async def raise_alert(
        self, code: str, text: str, *, symbol: str = "", strategy: str = ""
    ) -> None:
        """Journal something that people should see, and tell whoever listens to alerts."""
        await self._runner.command(
            Raise(
                code=check_text(code, "code"),
                text=masked(check_text(text, "text"), TEXT_LENGTH_MAX),
                symbol=check_text(symbol, "symbol"),
                strategy=check_text(strategy, "strategy"),
            )
        )

    async def get_order_status(self, client_order_id: str) -> OrderStatus:
        """Ask the broker about one order and return what is known then; the asking is journaled.

        A question without a usable answer is repeated up to three times.

        Raises:
            OrderStatusError: there is no such order, or (`STATUS_UNAVAILABLE`) the broker gave no
                answer; `order` tells what is known here.
        """
        order = self._order(client_order_id)
        asked_ns = self._runner.now_ns()
        found, tries = await self._asked(order)
        polled = _as_poll(order, found, asked_ns) if found.sightings else None
        await self._runner.tell(Checked(number=order.number, tries=tries, polled=polled))
        if not found.sightings and not found.complete:
            raise OrderStatusError(
                f"the broker said nothing usable of order {client_order_id} in {tries} tries "
                f"({found.text or 'no answer'}); here it is {order.status} with "
                f"{order.filled_quantity} filled, which may be out of date: ask again later",
                client_order_id=client_order_id,
                code="STATUS_UNAVAILABLE",
            )
        raw: dict[str, object] = {}
        if found.sightings:
            said: dict[str, object] = msgspec.to_builtins(
                found.sightings[-1].snapshot, builtin_types=()
            )
            raw = {k: masked(v) if isinstance(v, str) else v for k, v in said.items()}
            body = msgspec.json.encode(raw)
            self._journal.keep_raw(self._name, order.number, asked_ns, body)
        return view_status(view_order(self._order(client_order_id)), raw)

    async def is_filled(
        self, client_order_id: str, *, timeout: float = WAIT_S
    ) -> Literal["yes", "no", "unknown"]:
        """Tell whether an order is filled: "no" is the broker's own word, never want of one.

        It is "unknown" where the broker gives no usable answer within `timeout` seconds, does not
        show an order that has not ended, or is not trusted because the circuit breaker is open. An
        order that is filled here is not asked for.

        Raises:
            OrderStatusError: there is no such order.
            InputError: no time to wait.
            Closed: the account is not asked any more.
        """
        check_timeout(timeout)
        if self._order(client_order_id).status is Status.FILLED:
            return "yes"
        try:
            async with asyncio.timeout(timeout):
                said = await self.get_order_status(client_order_id)
        except Closed:
            raise
        except (HoldfastError, TimeoutError):
            return "unknown"
        if Status.FILLED in {said.status, said.raw.get("status")}:
            return "yes"
        is_trusted = (await self.guard()).breaker != "open"
        is_told = said.fresh or said.status in TERMINAL
        return "no" if is_told and is_trusted else "unknown"

    async def _asked(self, order: Order) -> tuple[LookupResult, int]:
        replaces = [w.wish for w in order.wishes if w.kind is WishKind.REPLACE]
        question = LookupOrder(
            number=order.number,
            attempt=0,
            symbol=order.terms.symbol,
            wire_ids=(order.wire_id, *(order.wish_wire_id(wish) for wish in replaces)),
            broker_order_ids=tuple(
                leg.broker_order_id for leg in order.legs if leg.broker_order_id
            ),
        )
        wait_s = STATUS_RETRY_FIRST_S
        for tries in range(1, STATUS_RETRIES_MAX + 2):
            found = await self._link.look(question)
            if found.sightings or found.complete or tries > STATUS_RETRIES_MAX:
                break
            await asyncio.sleep(wait_s)
            wait_s *= 2
        return found, tries

    async def _swept(self, command: Sweep, timeout: float) -> list[CancelResult]:
        """Cancel what a command is about, past the journal while that cannot be written.

        With the journal each order ended by then, or its cancel was refused and looked into.
        """
        try:
            orders = await self._runner.several(command)
        except (Halted, JournalUnwritable):
            return await self._halted.sweep(command)
        answers = await settled([self._settled_cancel(order, timeout) for order in orders])
        return [
            cancel_result(answer)
            if isinstance(answer, OrderView)
            else CancelResult(
                client_order_id=order.client_order_id,
                outcome="pending",
                order=order,
                text=str(answer),
            )
            for order, answer in zip(orders, answers, strict=True)
        ]

    async def _settled_cancel(self, order: OrderView, timeout: float) -> OrderView:
        watcher = self._runner.watch(order.number, _cancel_is_settled)
        try:
            async with asyncio.timeout(timeout):
                return await watcher.future
        except TimeoutError:
            return await self.order(order.client_order_id)
        finally:
            self._runner.unwatch(watcher)


def _as_poll(order: Order, found: LookupResult, asked_ns: int) -> Polled:
    return Polled(
        asked_ns=asked_ns,
        snapshots=tuple(each.snapshot for each in found.sightings),
        executions=tuple(
            (order.wire_id, each.snapshot.broker_order_id, execution)
            for each in found.sightings
            for execution in each.executions
        ),
    )


def _cancel_is_settled(order: OrderView) -> bool:
    return order.is_terminal or ("cancel" not in order.pending and not order.asking)
