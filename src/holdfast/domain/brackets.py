"""Brackets as callers ask for them: checked whole, then recorded, or refused untouched.

Rule 1: prices are aligned to the tick first, and compared with each other after that.
Rule 2: an entry meets every limit that any entry meets; its exits meet none.
Rule 3: what the broker can do itself it does; what it cannot is emulated where its rules allow
that, and refused where they do not.
Rule 4: groups of one symbol look the same way: one that opposes another, or the position, could
close what that protects.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from holdfast.domain import events as e
from holdfast.domain.breaker import note_probe
from holdfast.domain.commands import check_broker, existing_order, instrument_of, named
from holdfast.domain.days import counts_days, turn_day
from holdfast.domain.group import ENTRY, STOP, TARGET, Group
from holdfast.domain.group_asking import (
    by_key,
    check_direction,
    check_exits,
    check_market,
    check_rising,
    key_conflict,
    maybe_aligned,
    open_group,
    same_group,
)
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.inputs import PlaceBracket
from holdfast.domain.instruments import Instrument
from holdfast.domain.legs import exit_terms, submit_member
from holdfast.domain.limits import Entry, check_entry
from holdfast.domain.pricing import check_slippage
from holdfast.domain.quotes import Quote, fresh_quote
from holdfast.domain.requests import (
    OrderRequest,
    OrderTerms,
    check_plain,
    check_request,
    choice,
)
from holdfast.domain.values import (
    MOMENT_MAX,
    OrderType,
    Side,
)
from holdfast.domain.work import NS_PER_MS
from holdfast.errors import IdempotencyConflict, InputError, UnsupportedOrderTypeError

if TYPE_CHECKING:
    from holdfast.domain.desk import Desk

_ENTRY_TYPES = (OrderType.LIMIT, OrderType.MARKET)


def place_bracket(desk: "Desk", given: PlaceBracket) -> None:
    """Take an entry with its exits; the result names the group, a repeated call the first one.

    Raises:
        InputError: prices that contradict each other, the side or the market that the entry
            meets, no exit at all, or a field that no order could have; see `check_request`.
        UnknownSymbolError: the symbol is not defined on the desk.
        UnsupportedOrderTypeError: the broker has no such order, and does not let it be emulated.
        IdempotencyConflict: its id or key was used for another request.
        OrderRefused: `GROUP_OPPOSES`, or a limit said no to the entry.
    """
    instrument = instrument_of(desk, given.symbol)
    request, exits = _aligned(given, instrument)
    if desk.settings.policies.profile == "limit_only":
        check_plain(request)
    found = named(desk, request)
    terms = check_request(request, instrument)
    _check_relations(terms, exits)
    existing = existing_order(request, terms, *found)
    if existing is not None:
        number = same_group(desk, existing.group, exits)
        _check_repeat(desk, given, desk.state.stored.groups[number])
        desk.result_group(number, repeat=True)
        return
    if by_key(desk, request.idempotency_key or "") is not None:
        raise key_conflict(request.idempotency_key or "")
    check_broker(desk, terms)
    native = _check_means(desk, exits, terms)
    check_direction(desk, given.symbol, terms.side)
    quote = fresh_quote(desk, given.symbol)
    if _meets_market(terms, quote):
        check_market(_exit_side(terms), exits, quote)
    if terms.limit_price is not None:
        instrument.check_notional(_units(terms), terms.limit_price)
    check_slippage(terms, desk.settings.policies.pricing.of(request.strategy))
    check_entry(desk, Entry(terms=terms, instrument=instrument, quote=quote))
    group = _open(desk, given, terms, exits)
    note_probe(desk, _submit_entry(desk, group, request, terms, quote, native=native))
    desk.result_group(group.group)


def _aligned(
    given: PlaceBracket, instrument: Instrument
) -> tuple[OrderRequest, tuple[ExitTerms, ...]]:
    """Return the entry's request and the wanted exits, all prices on the tick."""
    entry_type = choice(OrderType, given.entry_type, "entry_type")
    if entry_type not in _ENTRY_TYPES:
        raise UnsupportedOrderTypeError(
            f"entry_type is {given.entry_type!r}; the entry of a bracket is a limit or market order"
        )
    price = maybe_aligned(given.entry_price, "entry_price", instrument)
    if (price is None) is not (entry_type is OrderType.MARKET):
        found = "given" if price is not None else "missing"
        raise InputError(
            f"entry_price is {found} and entry_type is {entry_type}; a limit entry has a price, a "
            "market entry has none"
        )
    request = OrderRequest(
        symbol=given.symbol,
        side=given.side,
        quantity=given.quantity,
        order_type=entry_type,
        limit_price=price,
        time_in_force=given.time_in_force,
        strategy=given.strategy,
        client_order_id=given.client_order_id,
        idempotency_key=given.idempotency_key,
    )
    return request, _exits(given, instrument)


def _exits(given: PlaceBracket, instrument: Instrument) -> tuple[ExitTerms, ...]:
    stop = maybe_aligned(given.stop_loss_price, "stop_loss_price", instrument)
    limit = maybe_aligned(given.stop_limit_price, "stop_limit_price", instrument)
    trail = maybe_aligned(given.trail, "trail", instrument)
    target = maybe_aligned(given.take_profit_price, "take_profit_price", instrument)
    if limit is not None and stop is None:
        raise InputError(f"stop_limit_price is {limit} and there is no stop_loss_price; give both")
    if stop is not None and trail is not None:
        raise InputError(f"the stop is at {stop} and trails by {trail}; give one of them")
    exits: list[ExitTerms] = []
    if stop is not None or trail is not None:
        exits.append(ExitTerms(role=STOP, stop_price=stop, limit_price=limit, trail=trail))
    if target is not None:
        exits.append(ExitTerms(role=TARGET, limit_price=target))
    if not exits:
        raise InputError(
            "a bracket needs a stop_loss_price, a trail or a take_profit_price; none was given"
        )
    return tuple(exits)


def _check_relations(terms: OrderTerms, exits: tuple[ExitTerms, ...]) -> None:
    """Compare prices that are on the tick already: the stop loses and the target gains.

    Raises:
        InputError: they do not, or two of them are the same.
    """
    by_role = {wanted.role: wanted for wanted in exits}
    stop = by_role[STOP].stop_price if STOP in by_role else None
    target = by_role[TARGET].limit_price if TARGET in by_role else None
    rising = [("stop_loss_price", stop), ("entry_price", terms.limit_price)]
    rising.append(("take_profit_price", target))
    trail = by_role[STOP].trail if STOP in by_role else None
    if trail is not None and terms.limit_price is not None and trail >= terms.limit_price:
        raise InputError(
            f"trail is {trail} and entry_price is {terms.limit_price}; a stop that far behind is "
            "below zero"
        )
    check_rising(_exit_side(terms), rising, f"a bracket that {terms.side}s")


def _exit_side(terms: OrderTerms) -> Side:
    return Side.SELL if terms.side is Side.BUY else Side.BUY


def _meets_market(terms: OrderTerms, quote: Quote | None) -> bool:
    """Tell whether an entry trades at once, at a price that only the market knows."""
    limit, offered = terms.limit_price, quote.taken(terms.side) if quote is not None else None
    if limit is None or offered is None:
        return limit is None
    return limit >= offered if terms.side is Side.BUY else limit <= offered


def _check_means(desk: "Desk", exits: tuple[ExitTerms, ...], terms: OrderTerms) -> bool:
    """Refuse a bracket that can be neither native nor emulated; tell whether it is native."""
    check_exits(desk, exits, _exit_side(terms))
    can = desk.capabilities
    plain = all(wanted.trail is None for wanted in exits)
    if can.native_bracket != "none" and len(exits) > 1 and plain:
        return True
    if len(exits) > 1 and not can.exits_share_quantity and not can.native_oco:
        raise UnsupportedOrderTypeError(
            "the broker has no brackets and no pairs of exits, and lets no two exits rest for the "
            f"same units of {terms.symbol}; place the entry with a stop alone"
        )
    return False


def _open(
    desk: "Desk", given: PlaceBracket, terms: OrderTerms, exits: tuple[ExitTerms, ...]
) -> Group:
    end_ns = _entry_end_ns(desk, given, desk.now_ns)
    return open_group(
        desk,
        contingency="bracket" if len(exits) > 1 else "oto",
        symbol=terms.symbol,
        side=_exit_side(terms),
        exits=exits,
        quantity=terms.quantity,
        strategy=given.strategy,
        entry_end_ns=end_ns,
    )


def _entry_end_ns(desk: "Desk", given: PlaceBracket, begun_ns: int) -> int:
    """Return when an entry that began at a moment is cancelled; 0 for never."""
    timeout_ms = given.entry_timeout_ms
    if timeout_ms is None:
        timeout_ms = desk.settings.policies.groups.entry_timeout_ms
    elif type(timeout_ms) is not int or timeout_ms < 0:
        raise InputError(f"entry_timeout_ms is {timeout_ms!r}; give 0 for never, or more")
    return min(begun_ns + timeout_ms * NS_PER_MS, MOMENT_MAX) if timeout_ms else 0


def _check_repeat(desk: "Desk", given: PlaceBracket, group: Group) -> None:
    """Refuse a repeat that names another time for its entry; what it leaves to the desk is that."""
    timed = given.entry_timeout_ms is not None
    if timed and _entry_end_ns(desk, given, group.opened_ns) != group.entry_end_ns:
        raise IdempotencyConflict(
            f"the id or key belongs to group {group.group}, whose entry has another "
            "entry_timeout_ms; use a new one"
        )


def _units(terms: OrderTerms) -> Decimal:
    assert terms.quantity is not None  # an entry is sized by quantity
    return terms.quantity


def _submit_entry(
    desk: "Desk",
    group: Group,
    request: OrderRequest,
    terms: OrderTerms,
    quote: Quote | None,
    *,
    native: bool,
) -> int:
    """Record the entry, with its exits in the same call where the broker takes brackets."""
    if counts_days(desk, terms):
        turn_day(desk)
    attached: tuple[int, ...] = ()
    if native:
        entry_number = desk.next_number + len(group.wanted)
        for slot in group.wanted:
            assert slot.exit is not None
            due = _units(terms)
            leg = exit_terms(desk, group, slot.exit, due)
            attached += (submit_member(desk, group, slot.role, leg, due=due, rides=entry_number),)
    number, now, settings = desk.next_number, desk.now_ns, desk.settings
    desk.out(
        e.OrderSubmitted(
            at_ns=now,
            number=number,
            terms=terms,
            deadline_ns=now + settings.ack_wait_ms * NS_PER_MS,
            not_after_ns=now + settings.send_wait_ms * NS_PER_MS,
            client_order_id=request.client_order_id or "",
            idempotency_key=request.idempotency_key or "",
            strategy=request.strategy,
            role=ENTRY,
            quote=quote,
            group=group.group,
            turn=1,
            link="bracket" if native else "",
            attached=attached,
        )
    )
    return number
