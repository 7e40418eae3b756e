"""What a strategy is: given the market, it says what it wants; it never touches an order.

    class Strategy:
        def decide(self, market: Market) -> Signal | Sequence[Signal] | None: ...

It runs in a thread of its own team. What it returns is checked there, so that whatever a strange
object does when it is looked at, it does to its own team alone.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from typing import Final, Literal, Protocol

from msgspec import Struct

from holdfast.domain.instruments import Instrument
from holdfast.domain.quotes import Quote
from holdfast.domain.requests import Amount
from holdfast.domain.values import amount, check_id
from holdfast.engine.group_views import GroupView
from holdfast.engine.views import OrderView, PositionView
from holdfast.errors import InputError

# A strategy that wants more at once is broken; a list that long is not even read to its end.
SIGNALS_MAX: Final = 100
REASON_LENGTH_MAX: Final = 200
SHOWN_LENGTH_MAX: Final = 120
# What makes a signal the entry of a bracket; the names are those of `place_bracket_order`.
EXITS: Final = ("stop_loss_price", "take_profit_price", "trail")


class Signal(Struct, frozen=True, kw_only=True):
    """One thing that a strategy wants; amounts are Decimals, ints or decimal strings.

    `quantity` is in instrument units. A limit order has a `limit_price`, or a `reference_price`
    of which the desk's pricing policy makes one; a market order has neither. `key` makes a signal
    that is given twice one order.

    With a `stop_loss_price`, or a `trail` in its place, or a `take_profit_price` it is the entry of
    a bracket: what it fills is protected from its first fill on. Such an entry is at the market or
    has a `limit_price`. A signal that is `reduce_only` closes, and gets its room among the exits
    of the groups that protect the position.
    """

    symbol: str
    action: Literal["buy", "sell"]
    quantity: Amount
    order_type: Literal["market", "limit"] = "market"
    limit_price: Amount | None = None
    reference_price: Amount | None = None
    time_in_force: str = "gtc"
    post_only: bool = False
    reduce_only: bool = False
    stop_loss_price: Amount | None = None
    take_profit_price: Amount | None = None
    trail: Amount | None = None
    key: str | None = None
    reason: str = ""

    @property
    def exits(self) -> dict[str, Amount]:
        """The exits that protect what it fills, by name; none where it is a plain order."""
        exits = {name: getattr(self, name) for name in EXITS}
        return {name: price for name, price in exits.items() if price is not None}


class Market(Struct, frozen=True, kw_only=True):
    """What a strategy is shown: copies, all of one moment, which it may keep.

    `now_ns` is UTC in nanoseconds. `instruments` has what the team may trade, with the steps of
    prices and quantities, `quotes` the symbols that have a price, `positions` those that were ever
    held. `groups` are the brackets and other groups of orders that are not closed, also while they
    have no order that works. `cash` is what is left of the team's capital, in the desk's currency;
    None where the team has none of its own. `buying_power` is the account's own figure, None where
    its broker tells none. `cycle` counts from 1.
    """

    team: str
    cycle: int
    now_ns: int
    quotes: dict[str, Quote]
    positions: dict[str, PositionView]
    orders: tuple[OrderView, ...] = ()
    groups: tuple[GroupView, ...] = ()
    instruments: dict[str, Instrument] = {}
    cash: Decimal | None = None
    buying_power: Decimal | None = None


class Strategy(Protocol):
    """What a plugin's class is: made once without arguments, then asked in every cycle."""

    def decide(self, market: Market) -> Signal | Sequence[Signal] | None:
        """Return what is wanted now. It may keep state, and must not call the order manager."""
        ...


class NonsenseError(InputError):
    """A strategy returned something that is no order that anybody could place."""

    code = "BAD_SIGNAL"


def signals_of(answer: object) -> tuple[Signal, ...]:
    """Return what a strategy wants, checked and copied.

    Raises:
        NonsenseError: it is neither a signal, nor a list or tuple of at most `SIGNALS_MAX` of
            them, nor None; or a signal that holds something which is no amount, side or text.
    """
    if answer is None:
        return ()
    if isinstance(answer, Signal):
        return (_checked(answer, "the signal"),)
    if not isinstance(answer, list | tuple):
        raise NonsenseError(
            f"decide returned {shown(answer)}, a {type(answer).__name__}; "
            "return a Signal, a list of them, or None"
        )
    found = list(islice(answer, SIGNALS_MAX + 1))
    if len(found) > SIGNALS_MAX:
        raise NonsenseError(
            f"decide returned more than {SIGNALS_MAX} signals at once; none of them was used: "
            "return fewer per cycle"
        )
    return tuple(_checked(signal, f"signal {nth}") for nth, signal in enumerate(found, 1))


def shown(value: object) -> str:
    """Show any object in a line of bounded length, also one that cannot be shown."""
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # noqa: BLE001 - a foreign __repr__ may raise whatever it likes
        text = f"something whose repr raises {type(error).__name__}"
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."


def _checked(signal: object, name: str) -> Signal:
    if not isinstance(signal, Signal):
        raise NonsenseError(
            f"{name} is {shown(signal)}, a {type(signal).__name__}; each must be a Signal"
        )
    try:
        return _copied(signal)
    except InputError as error:
        raise NonsenseError(f"{name}: {error}") from None


def _copied(signal: Signal) -> Signal:
    """Return a signal of plain, finite values; whether they can be traded is the desk's to say."""
    _one_of(signal.action, ("buy", "sell"), "action")
    _one_of(signal.order_type, ("market", "limit"), "order_type")
    prices = (signal.limit_price, signal.reference_price)
    given = [price for price in prices if price is not None]
    if signal.order_type == "limit" and len(given) != 1:
        raise NonsenseError(
            f"a limit order has a limit_price or a reference_price; {len(given)} of them are given"
        )
    if signal.order_type == "market" and given:
        raise NonsenseError("a market order takes no price; leave it out, or say limit")
    for name in ("post_only", "reduce_only"):
        if not isinstance(getattr(signal, name), bool):
            raise NonsenseError(f"{name} is {shown(getattr(signal, name))}; it is True or False")
    if signal.exits:
        _check_entry(signal)
    for name in ("time_in_force", "reason"):
        if not isinstance(getattr(signal, name), str):
            raise NonsenseError(f"{name} is {shown(getattr(signal, name))}; give a text")
    return Signal(
        symbol=check_id(signal.symbol, "symbol"),
        action=signal.action,
        quantity=amount(signal.quantity, "quantity"),
        order_type=signal.order_type,
        limit_price=_price(signal.limit_price, "limit_price"),
        reference_price=_price(signal.reference_price, "reference_price"),
        time_in_force=signal.time_in_force,
        post_only=signal.post_only,
        reduce_only=signal.reduce_only,
        **{name: _price(getattr(signal, name), name) for name in EXITS},
        key=None if signal.key is None else check_id(signal.key, "key"),
        reason=signal.reason[:REASON_LENGTH_MAX],
    )


def _check_entry(signal: Signal) -> None:
    """Refuse exits for what can have none; which prices go together is the desk's to say."""
    named = " and ".join(signal.exits)
    if signal.reduce_only:
        raise NonsenseError(f"a reduce_only signal closes, and {named} protects what one opens")
    if signal.reference_price is not None:
        raise NonsenseError(
            f"an entry with {named} has a limit_price, or is at the market; leave reference_price "
            "out"
        )
    if signal.post_only:
        raise NonsenseError(f"an entry with {named} cannot be post_only; leave that out")
    if signal.stop_loss_price is not None and signal.trail is not None:
        raise NonsenseError(
            "a stop is at a stop_loss_price or follows by a trail; give one of them"
        )


def _one_of(value: object, known: tuple[str, ...], name: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise NonsenseError(f"{name} is {shown(value)}; it must be {' or '.join(known)}")


def _price(value: Amount | None, name: str) -> Decimal | None:
    return None if value is None else amount(value, name)
