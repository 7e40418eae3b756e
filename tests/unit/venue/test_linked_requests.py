"""Linked exits as requests meet them: taken or refused, replaced, and what they hold."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.reports import Accepted, RefusalCode, Refused
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side, Status, TimeInForce
from holdfast.testing.floor import Floor, stop, target, terms


@pytest.mark.parametrize(
    ("new_ids", "carries", "quantity", "leaves", "shown"),
    [
        (False, True, 10, 8, ["open 0/8", "partial_fill 2/10"]),
        (False, True, 7, 5, ["open 0/5", "partial_fill 2/7"]),
        (True, True, 7, 5, ["open 0/5", "partial_fill 2/7"]),
        (True, False, 7, 5, ["open 0/5", "open 0/5"]),
    ],
)
def test_a_replaced_exit_stays_linked(
    new_ids: bool, carries: bool, quantity: int, leaves: int, shown: list[str]
) -> None:
    """The other follows its new size, and the two still sell no more than is left."""
    floor = Floor(new_id_on_replace=new_ids, replace_carries_fills=carries)
    floor.pair()
    floor.crowd.take(1, 2)

    answer = floor.replace("target", target(quantity, 108), "t2", leaves_quantity=D(leaves))

    assert isinstance(answer, Accepted), answer
    assert floor.state("stop", "t2") == shown
    assert floor.order("t2").snapshot().children == (*answer.children,)
    floor.crowd.take(1, 1)
    assert floor.order("stop").leaves == floor.order("t2").leaves == leaves - 1
    floor.crowd.take(1, 20)
    assert floor.order("stop").status is Status.CANCELED
    assert floor.venue.books("main").positions.get("ABC", D(0)) == 8 - leaves


def test_the_stop_of_a_pair_is_replaced_under_a_new_id_and_named_by_the_target() -> None:
    """The target keeps its child, under the id that it has now."""
    floor = Floor(new_id_on_replace=True)
    floor.pair()

    answer = floor.replace("stop", stop(10, 95), "s2")

    (child,) = floor.order("target").snapshot().children
    assert (child.broker_order_id, child.wire_id) == (answer.broker_order_id, "s2")


def test_a_pair_that_traded_is_not_raised_by_whoever_did_not_hear_of_it() -> None:
    """A replace for the old quantity is refused after a fill of the other, and works before one."""
    floor = Floor()
    floor.pair(8)
    raised = floor.replace("stop", stop(10), "s2")
    floor.crowd.take(1, 4)

    late = floor.replace("s2", stop(10, 95), "s3")

    assert isinstance(raised, Accepted)
    assert isinstance(late, Refused)
    assert late.text == "more than its linked orders have left to trade, which is 6"
    assert floor.state("s2", "target") == ["open 0/6", "partial_fill 4/10"]


def test_while_the_entry_works_a_replace_changes_the_price_of_an_exit_only() -> None:
    """An exit's size is what its entry filled, whatever a replace under way still thinks."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 4)

    floor.replace("stop", stop(10, 95), "s2")
    floor.replace("target", target(1, 120), "t2")

    assert floor.state("s2", "t2") == ["open 0/4"] * 2
    assert floor.order("s2").stop == 95
    assert floor.venue.depth("ABC", Side.SELL, 9) == [(D(120), D(4))]


@pytest.mark.parametrize("new_ids", [False, True])
def test_a_held_exit_with_another_price_is_not_in_the_market(new_ids: bool) -> None:
    """Neither a target that would trade nor a stop that would be due does anything yet."""
    floor = Floor(new_id_on_replace=new_ids)
    floor.crowd.place("bid", 1, 98, 5)
    floor.crowd.take(-1, 1)
    floor.bracket(limit=97)

    floor.replace("target", target(10, 96), "t2")
    floor.replace("stop", stop(10, 99), "s2")

    assert floor.state("s2", "t2") == ["open 0/10 held"] * 2
    assert floor.venue.depth("ABC", Side.SELL, 9) == []


def test_the_price_of_a_held_exit_can_be_replaced() -> None:
    """It stays held, at its size, and says so after the word that it was replaced."""
    floor = Floor(new_id_on_replace=True)
    floor.bracket()
    floor.told()

    answer = floor.replace("stop", stop(3, 95), "s2")

    assert floor.told() == ["s2 replaced 10", "s2 held 10"]
    assert floor.state("s2") == ["open 0/10 held"]
    named = {child.wire_id: child for child in floor.order("e").snapshot().children}
    assert named["s2"].broker_order_id == answer.broker_order_id
    floor.crowd.take(-1, 10)
    assert floor.state("s2", "target") == ["open 0/10"] * 2


@pytest.mark.parametrize("new_ids", [False, True])
@pytest.mark.parametrize("carries", [False, True])
@pytest.mark.parametrize("when", ["per_fill", "after_full_fill"])
def test_a_replaced_entry_keeps_its_exits(new_ids: bool, carries: bool, when: str) -> None:
    """They live for all that it filled, before and after the replace."""
    floor = Floor(
        native_bracket=when, new_id_on_replace=new_ids, replace_carries_fills=carries or not new_ids
    )
    before = floor.bracket().children
    floor.crowd.take(-1, 4)

    answer = floor.replace(
        "e", terms("buy", 12, kind=OrderType.LIMIT, limit=101), "e2", leaves_quantity=D(8)
    )
    held = floor.state("stop")
    floor.crowd.take(-1, 8)

    assert answer.children == before
    assert held == ["open 0/4" if when == "per_fill" else "open 0/12 held"]
    assert floor.state("stop", "target") == ["open 0/12"] * 2


def test_an_entry_replaced_down_to_what_it_filled_is_filled_whole() -> None:
    """Exits that wait for the whole entry come to life for what it is now."""
    floor = Floor(native_bracket="after_full_fill")
    floor.bracket()
    floor.crowd.take(-1, 4)

    floor.replace("e", terms("buy", 4, kind=OrderType.LIMIT, limit=100), "e2")

    assert floor.state("e2", "stop", "target") == ["filled 4/4", "open 0/4", "open 0/4"]


LIMIT = OrderType.LIMIT
ENTRY = terms("buy", 10, kind=LIMIT, limit=100)


@pytest.mark.parametrize(
    ("link", "main", "exits", "text"),
    [
        ("", ENTRY, {"stop": stop(10)}, "nothing says how"),
        ("pairs", ENTRY, {"stop": stop(10)}, "'pairs' is no link"),
        ("bracket", ENTRY, {}, "a bracket has a stop"),
        ("bracket", ENTRY, {"limit": target(10)}, "a bracket has a stop"),
        ("bracket", ENTRY, {"stop": stop(9)}, "sell 9 ABC, where sell 10 ABC would fit"),
        ("bracket", ENTRY, {"stop": stop(10, side="buy")}, "buy 10 ABC"),
        ("bracket", ENTRY, {"stop": target(10)}, "the attached stop cannot be limit, gtc"),
        ("bracket", ENTRY, {"target": stop(10)}, "the attached target cannot be stop, gtc"),
        ("bracket", ENTRY, {"target": target(10, post_only=True)}, "limit, gtc, post-only"),
        ("bracket", ENTRY, {"target": target(10, time_in_force=TimeInForce.FOK)}, "limit, fok"),
        ("bracket", ENTRY, {"stop": stop(10, D("90.5"))}, "not a multiple of the tick"),
        ("bracket", ENTRY, {"stop": stop(10, 110), "target": target(10)}, "on the wrong side"),
        ("oco", target(10), {"target": target(10)}, "a pair is a target with one stop"),
        ("oco", stop(10), {"stop": stop(10)}, "is a limit order that rests"),
        ("oco", target(10), {"stop": stop(10, side="buy")}, "where sell 10 ABC would fit"),
    ],
)
def test_exits_that_do_not_fit_are_refused_with_their_order(
    link: str, main: OrderTerms, exits: dict[str, OrderTerms], text: str
) -> None:
    """All are taken, or nothing is: no order is left, no id is spent."""
    floor = Floor()

    answer = floor.send("e", main, link, exits)

    assert isinstance(answer, Refused)
    assert text in answer.text
    assert floor.venue.orders("main") == []
    assert floor.told() == []
    assert isinstance(floor.bracket(), Accepted)


def test_an_id_of_an_exit_is_used_once() -> None:
    """A leg under an id that is spent, or that its own order has, is refused with all of them."""
    floor = Floor()
    floor.send("stop", terms("buy", 1, kind=LIMIT, limit=50))

    spent = floor.bracket()
    own = floor.send("target", ENTRY, "bracket", {"target": target(10)})

    assert [spent.code, own.code] == [RefusalCode.OTHER, RefusalCode.OTHER]
    assert spent.text == "the attached stop: client order id stop was used already"
    assert own.text == "client order id target is given twice"
    assert len(floor.venue.orders("main")) == 1


@pytest.mark.parametrize(
    ("can", "link"), [({"native_bracket": "none"}, "bracket"), ({"native_oco": False}, "oco")]
)
def test_links_that_the_account_has_not_are_refused(can: dict[str, Any], link: str) -> None:
    """Each kind of link is a capability of its own."""
    floor = Floor(**can)

    answer = floor.bracket() if link == "bracket" else floor.pair()

    assert isinstance(answer, Refused)
    assert answer.text.endswith("are not taken on this account")


def test_an_exit_for_what_others_hold_is_refused_where_they_cannot_share() -> None:
    """A stop beside a target for the same units is refused (scenario 107)."""
    floor = Floor(exits_share_quantity=False)
    floor.venue.endow("main", "ABC", D(10))
    floor.send("t", target(6))

    over = floor.send("s", stop(5))
    flatten = floor.send("m", terms("sell", 10, kind=OrderType.MARKET))

    assert over.code is RefusalCode.OTHER
    assert over.text == ("insufficient quantity, held by other orders: 5 wanted, 4 of 10 available")
    assert isinstance(flatten, Refused)
    assert isinstance(floor.send("s2", stop(4)), Accepted)
    assert isinstance(floor.replace("s2", stop(5), "s3"), Refused)
    assert isinstance(floor.replace("s2", stop(3), "s4"), Accepted)


def test_orders_that_open_are_nothing_to_what_exits_hold() -> None:
    """Buying more, selling past the position and selling short are not held up by it."""
    floor = Floor(exits_share_quantity=False)
    short = floor.send("short", target(10))
    floor.cancel("short")
    floor.venue.endow("main", "ABC", D(10))

    reversal = floor.send("reversal", target(15))

    assert isinstance(short, Accepted)
    assert isinstance(reversal, Accepted)
    assert isinstance(floor.send("more", ENTRY), Accepted)
    assert isinstance(floor.send("one", stop(1)), Refused)


def test_a_pair_holds_its_quantity_once() -> None:
    """Where exits cannot share, a pair may, and leaves the rest of the position to others."""
    floor = Floor(exits_share_quantity=False)

    pair = floor.pair(6)
    second = floor.send("t2", target(5), "oco", {"stop": stop(5)})

    assert isinstance(pair, Accepted)
    assert isinstance(second, Refused)
    assert isinstance(floor.send("t3", target(4)), Accepted)
    assert isinstance(floor.replace("stop", stop(6, 95), "s2"), Accepted)


def test_exits_of_a_bracket_hold_their_quantity_once_they_live() -> None:
    """Held exits hold nothing; living ones hold what the entry filled."""
    floor = Floor(exits_share_quantity=False)
    floor.venue.endow("main", "ABC", D(2))
    floor.bracket()

    before = floor.send("before", target(2, 130))
    floor.crowd.take(-1, 4)
    after = floor.send("after", target(1, 130))

    assert isinstance(before, Accepted)
    assert isinstance(after, Refused)


def test_linked_exits_need_no_cash() -> None:
    """Held exits and the second of a pair reserve nothing of what the account can pay for."""
    floor = Floor(cash=D(1000))

    taken = floor.bracket()

    assert isinstance(taken, Accepted)
    assert floor.venue.power("main") == 0
    floor.crowd.take(-1, 10)
    assert floor.venue.power("main") == 0
