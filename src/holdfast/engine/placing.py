"""Placing orders: every way in ends in `submit`."""

from typing import Unpack

from holdfast.domain.inputs import Submit
from holdfast.domain.requests import Amount, OrderRequest
from holdfast.engine.options import OrderFields, PlaceOptions, WaitFor, request_of
from holdfast.engine.results import OrderEnvelope, envelope
from holdfast.engine.views import OrderView
from holdfast.engine.waiting import WAIT_S, Waiting, check_timeout
from holdfast.errors import Halted, InputError, JournalUnwritable


class Placing(Waiting):
    """What a caller may order."""

    async def submit(
        self,
        request: OrderRequest | None = None,
        *,
        wait: WaitFor = "durable",
        timeout: float = WAIT_S,
        **fields: Unpack[OrderFields],
    ) -> OrderView:
        """Take a new order; it is sent as soon as it is durable.

        The same client order id or idempotency key with the same request returns the first order.
        With `wait="accepted"` it returns once the broker took the order. Cancelling the call does
        not cancel the order.

        Raises:
            InputError, OrderRefused: the order is not possible; nothing was recorded.
            Busy, Halted, Closed, JournalError: the order was not taken.
            OrderSubmissionError: with `wait="accepted"`, it was refused or never sent.
            WaitTimeout: with `wait="accepted"`, nothing was heard in time; the order may be live.
        """
        if wait not in ("durable", "accepted"):
            raise InputError(f"wait is {wait!r}; give durable or accepted")
        check_timeout(timeout)
        request = request_of(request, fields)
        try:
            order = await self._changed(Submit(request))
        except (Halted, JournalUnwritable):
            if not request.reduce_only:
                raise
            return await self._halted.exit(request)
        if wait == "accepted":
            return await self._wait(order, "accepted", timeout)
        return order

    async def place_market_order(
        self, symbol: str, side: str, quantity: Amount, **options: Unpack[PlaceOptions]
    ) -> OrderView:
        """Submit a market order; see `submit`."""
        return await self.submit(symbol=symbol, side=side, quantity=quantity, **options)

    async def place_limit_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        limit_price: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a limit order; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="limit",
            limit_price=limit_price,
            **options,
        )

    async def place_stop_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        stop_price: Amount,
        *,
        limit_price: Amount | None = None,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a stop order, or with a limit price a stop limit order; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="stop" if limit_price is None else "stop_limit",
            stop_price=stop_price,
            limit_price=limit_price,
            **options,
        )

    async def place_trailing_stop_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        trail: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a stop order that follows the price at a distance of `trail`; see `submit`."""
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="trailing_stop",
            trail=trail,
            **options,
        )

    async def place_limit_buy(
        self,
        symbol: str,
        quantity: Amount,
        reference_price: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderEnvelope:
        """Buy at the reference price less the desk's or the strategy's offset, up to the tick.

        It returns once the broker took the order, unless `wait="durable"` says otherwise.

        Raises:
            InputError: a symbol, quantity or price that cannot be traded.
            OrderRefused: a limit said no, the slippage guard (`SLIPPAGE`) among them.
            OrderSubmissionError: the broker refused it, or it was never sent.
            WaitTimeout: nothing was heard in time; the order may be live: `wait` for it.
        """
        return await self._place_from("buy", symbol, quantity, reference_price, options)

    async def place_limit_sell(
        self,
        symbol: str,
        quantity: Amount,
        reference_price: Amount,
        **options: Unpack[PlaceOptions],
    ) -> OrderEnvelope:
        """Sell at the reference price plus the offset, up to the tick; see `place_limit_buy`."""
        return await self._place_from("sell", symbol, quantity, reference_price, options)

    async def _place_from(
        self,
        side: str,
        symbol: str,
        quantity: Amount,
        reference_price: Amount,
        options: PlaceOptions,
    ) -> OrderEnvelope:
        options.setdefault("wait", "accepted")
        order = await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="limit",
            reference_price=reference_price,
            **options,
        )
        stored = self._runner.desk.state.stored
        return envelope(order, stored.mode, stored.wall_offset_ns)

    async def place_pegged_order(
        self,
        symbol: str,
        side: str,
        quantity: Amount,
        peg: str,
        *,
        peg_offset: Amount = 0,
        **options: Unpack[PlaceOptions],
    ) -> OrderView:
        """Submit a limit order that follows the best `bid`, the best `ask` or the `mid`.

        `peg_offset` (signed, per unit) is added to that price. How often it moves, and how far at
        most, is in the desk's re-quote and pricing policies.

        Raises:
            OrderRefused: there is no fresh quote (`NO_QUOTE`), or a limit said no.
        """
        return await self.submit(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="limit",
            peg=peg,
            peg_offset=peg_offset,
            **options,
        )
