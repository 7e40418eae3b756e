"""What the venue refuses of exits that come with an order; each function gives a refusal or None.

All of them are taken, or none is: a refusal of one is a refusal of the whole request.
"""

from collections.abc import Sequence
from typing import Final

from holdfast.domain.effects import Attached
from holdfast.domain.reports import Refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition, OrderType, Side, TimeInForce
from holdfast.venue import rules
from holdfast.venue.amend import draft
from holdfast.venue.matching import STOPS, Matcher
from holdfast.venue.orders import ENTRY, STOP, TARGET, Account, Listing, VenueOrder
from holdfast.venue.rules import refused

BRACKET: Final = "bracket"
PAIR: Final = "oco"

_RESTING: Final = frozenset({TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD})


def role_of(link: str) -> str:
    """Return the role of the order that the exits come with."""
    return {BRACKET: ENTRY, PAIR: TARGET}.get(link, "")


def exits_taken(
    account: Account,
    link: str,
    wire_id: str,
    terms: OrderTerms,
    exits: Sequence[Attached],
    now_ns: int,
) -> Refused | None:
    """Refuse exits that do not fit together, or that no account or not this one can have."""
    if not link and not exits:
        return None
    return (
        _untied(account, link, terms, exits)
        or _terms_taken(account, link, wire_id, terms, exits, now_ns)
        or _crossed(link, terms, exits)
    )


def draft_exits(
    account: Account, link: str, exits: Sequence[Attached], listing: Listing
) -> list[VenueOrder]:
    """Write the exits, not yet accepted; raises AmountError off the grid."""
    orders = []
    for each in exits:
        order = draft(account, each.wire_id, each.terms, listing)
        order.role = each.role
        order.condition = Condition.HELD if link == BRACKET else Condition.NONE
        orders.append(order)
    return orders


def market_taken(exits: Sequence[VenueOrder], matcher: Matcher) -> Refused | None:
    """Refuse exits that the market cannot take."""
    for each in exits:
        verdict = rules.entry(each, matcher)
        if verdict is not None:
            return refused(f"the attached {each.role}: {verdict.text}", verdict.code)
    return None


def _untied(
    account: Account, link: str, terms: OrderTerms, exits: Sequence[Attached]
) -> Refused | None:
    """Refuse exits that do not make a bracket or a pair, or that the account has not."""
    roles = sorted(each.role for each in exits)
    if not link:
        return (
            refused("exits are attached, and nothing says how they are linked") if exits else None
        )
    if link == BRACKET:
        if account.capabilities.native_bracket == "none":
            return refused("orders with attached exits are not taken on this account")
        if roles not in ([STOP], [TARGET], [STOP, TARGET]):
            return refused(f"a bracket has a stop, a target, or one of each, not {roles}")
    elif link == PAIR:
        if not account.capabilities.native_oco:
            return refused("linked pairs of exits are not taken on this account")
        if roles != [STOP]:
            return refused(f"a pair is a target with one stop attached, not {roles}")
        if terms.order_type is not OrderType.LIMIT or terms.time_in_force not in _RESTING:
            return refused("the target of a pair is a limit order that rests")
    else:
        return refused(f"{link!r} is no link; there are {BRACKET} and {PAIR}")
    if terms.quantity is None:
        return refused("an order with exits is sized by quantity")
    return None


def _terms_taken(
    account: Account,
    link: str,
    wire_id: str,
    terms: OrderTerms,
    exits: Sequence[Attached],
    now_ns: int,
) -> Refused | None:
    """Refuse exits whose terms no order of their own could have, or that do not fit their order."""
    side = terms.side.opposite if link == BRACKET else terms.side
    wires = {wire_id}
    for each in exits:
        own = each.terms
        verdict = rules.duplicate(account, each.wire_id) or rules.terms_taken(account, own, now_ns)
        if verdict is not None:
            return refused(f"the attached {each.role}: {verdict.text}")
        if each.wire_id and each.wire_id in wires:
            return refused(f"client order id {each.wire_id} is given twice")
        wires.add(each.wire_id)
        if (own.symbol, own.side, own.quantity) != (terms.symbol, side, terms.quantity):
            return refused(
                f"the attached {each.role} is to {own.side} {own.quantity} {own.symbol}, "
                f"where {side} {terms.quantity} {terms.symbol} would fit"
            )
        fits = own.order_type in STOPS if each.role == STOP else own.order_type is OrderType.LIMIT
        if not fits or own.time_in_force not in _RESTING or own.post_only:
            return refused(
                f"the attached {each.role} cannot be {own.order_type}, {own.time_in_force}"
                + (", post-only" if own.post_only else "")
            )
    return None


def _crossed(link: str, terms: OrderTerms, exits: Sequence[Attached]) -> Refused | None:
    """Refuse a stop and a target that would both be due at one price."""
    by_role = {each.role: each.terms for each in exits}
    if link == PAIR:
        by_role[TARGET] = terms
    if len(by_role) < len((STOP, TARGET)):
        return None
    stop, target = by_role[STOP].stop_price, by_role[TARGET].limit_price
    if stop is None or target is None:
        return None
    sells = by_role[STOP].side is Side.SELL
    if (stop >= target) if sells else (stop <= target):
        return refused(f"the stop at {stop} is on the wrong side of the target at {target}")
    return None
