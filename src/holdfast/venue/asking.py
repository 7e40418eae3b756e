"""What an account asks for, judged before anything changes: drafts of orders, or a refusal."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from holdfast.domain.effects import Attached
from holdfast.domain.reports import Refused
from holdfast.domain.requests import OrderTerms
from holdfast.errors import AmountError
from holdfast.venue import attached, funds, rules
from holdfast.venue.amend import draft, draft_replacement, remainder
from holdfast.venue.matching import Matcher
from holdfast.venue.orders import Account, VenueOrder
from holdfast.venue.rules import refused


class Drafted(Struct, frozen=True):
    """An order that can be taken, and the exits that come with it."""

    order: VenueOrder
    exits: Sequence[VenueOrder] = ()


class Redrafted(Struct, frozen=True):
    """What an order can become; `leaves_quantity` is for accounts that count a new one anew."""

    order: VenueOrder
    leaves_quantity: Decimal | None


def asked(
    account: Account,
    wire_id: str,
    terms: OrderTerms,
    link: str,
    exits: Sequence[Attached],
    markets: Mapping[str, Matcher],
    now_ns: int,
) -> Drafted | Refused:
    """Draft a new order with its exits, all of which can be taken now; or refuse it."""
    matcher = markets.get(terms.symbol)
    if matcher is None:
        return refused(f"no symbol {terms.symbol!r} is listed here")
    verdict = (
        rules.duplicate(account, wire_id)
        or rules.terms_taken(account, terms, now_ns)
        or attached.exits_taken(account, link, wire_id, terms, exits, now_ns)
    )
    if verdict is not None:
        return verdict
    try:
        order = draft(account, wire_id, terms, matcher.listing)
        order.role = attached.role_of(link)
        drafted = Drafted(order, attached.draft_exits(account, link, exits, matcher.listing))
    except AmountError as error:
        return refused(str(error))
    verdict = (
        rules.entry(order, matcher)
        or attached.market_taken(drafted.exits, matcher)
        or rules.committed(order, order.lots, matcher)
        or funds.unfunded(order, order.lots, markets)
    )
    return verdict or drafted


def asked_instead(
    order: VenueOrder,
    wire_id: str,
    terms: OrderTerms,
    leaves_quantity: Decimal | None,
    markets: Mapping[str, Matcher],
) -> Redrafted | Refused:
    """Draft what a working order is to become, if it can be now; or refuse it."""
    account, can = order.account, order.account.capabilities
    matcher = markets[order.listing.instrument.symbol]
    verdict = rules.replacement(account, order, wire_id, terms, matcher)
    if verdict is not None:
        return verdict
    try:
        new = draft_replacement(order, wire_id, terms)
        if order.link is not None and order.link.sizes(order):
            new.lots, leaves_quantity = order.lots, order.listing.quantity(order.leaves)
        rest = remainder(order, new, leaves_quantity)
    except AmountError as error:
        return refused(str(error))
    counts_anew = can.new_id_on_replace and not can.replace_carries_fills
    if counts_anew and rest <= 0:
        return refused("nothing would be left to fill")
    lots = rest if counts_anew else new.lots - order.filled
    verdict = rules.entry(new, matcher)
    if verdict is None and order.link is not None:
        verdict = order.link.excess(order, lots)
    verdict = (
        verdict
        or rules.committed(new, lots, matcher, instead_of=order)
        or funds.unfunded(new, rest, markets, instead_of=order)
    )
    return verdict or Redrafted(new, leaves_quantity)
