"""Exits that belong to an entry or to each other: held, brought to life, shrunk, cancelled."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain.reports import Accepted, Report
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import Condition, OrderType, Side, Status, TimeInForce
from holdfast.errors import InputError
from holdfast.testing.floor import Floor, stop, target, terms


def test_a_bracket_is_taken_as_three_orders_with_ids_of_their_own() -> None:
    """The answer and the entry name the exits, which are found by either of their ids."""
    floor = Floor()

    answer = floor.bracket()

    children = {child.role: child for child in answer.children}
    assert [child.wire_id for child in answer.children] == ["stop", "target"]
    for role, child in children.items():
        assert floor.order(role).broker_order_id == child.broker_order_id
        assert floor.venue.find("main", [], [child.broker_order_id]) == [floor.order(role)]
        assert floor.order(role).snapshot().children == ()
    assert floor.order("e").snapshot().children == answer.children
    assert len({answer.broker_order_id, *(one.broker_order_id for one in answer.children)}) == 3
    assert floor.told() == [
        "e new 10",
        "stop new 10",
        "stop held 10",
        "target new 10",
        "target held 10",
    ]


def test_a_held_exit_neither_trades_nor_waits_for_its_price() -> None:
    """Prices pass the stop and the target of an entry that has not filled, and nothing happens."""
    floor = Floor()
    floor.bracket()

    floor.crowd.place("ask", -1, 120, 1)
    floor.crowd.take(1, 1)
    left = floor.crowd.take(1, 5)
    floor.crowd.place("low", 1, 80, 1)

    assert left == 5
    assert floor.state("stop", "target") == ["open 0/10 held"] * 2
    with pytest.raises(InputError, match="is held"):
        floor.venue.execute(floor.order("stop").broker_order_id, D(1), D(90))
    with pytest.raises(InputError, match="is held"):
        floor.venue.suspend(floor.order("stop").broker_order_id)


def test_exits_come_to_life_with_each_fill_for_what_is_filled() -> None:
    """Per fill, the first one releases them and each of them restates their size (scenario 62)."""
    floor = Floor()
    floor.bracket()
    floor.told()

    floor.crowd.take(-1, 4)
    first = floor.told()
    floor.crowd.take(-1, 3)

    assert first == ["e trade 10", "stop restated 4", "target restated 4"]
    assert floor.told() == ["e trade 10", "stop restated 7", "target restated 7"]
    assert floor.state("stop", "target") == ["open 0/7"] * 2
    assert floor.venue.depth("ABC", Side.SELL, 9) == [(D(110), D(7))]


def test_exits_come_to_life_only_once_the_entry_is_filled_whole() -> None:
    """After full fill, a part of the entry leaves them held, and the last releases them whole."""
    floor = Floor(native_bracket="after_full_fill")
    floor.bracket()

    floor.crowd.take(-1, 9)
    before = floor.state("stop", "target")
    floor.told()
    floor.crowd.take(-1, 1)

    assert before == ["open 0/10 held"] * 2
    assert floor.state("stop", "target") == ["open 0/10"] * 2
    assert floor.told() == ["e trade 10", "stop restated 10", "target restated 10"]


@pytest.mark.parametrize(
    ("when", "filled", "left"),
    [
        ("per_fill", 0, ["canceled 0/10", "canceled 0/10"]),
        ("per_fill", 4, ["open 0/4", "open 0/4"]),
        ("after_full_fill", 0, ["canceled 0/10", "canceled 0/10"]),
        ("after_full_fill", 4, ["canceled 0/10", "canceled 0/10"]),
    ],
)
@pytest.mark.parametrize("end", ["cancel", Status.EXPIRED, Status.REJECTED, "day"])
def test_an_entry_that_ends_early_leaves_what_it_filled(
    when: str, filled: int, left: list[str], end: str
) -> None:
    """Exits stay for a part only where they live with each fill; else they end (scenario 63)."""
    floor = Floor(native_bracket=when)
    entry = terms("buy", 10, kind=OrderType.LIMIT, limit=100, time_in_force=TimeInForce.DAY)
    answer = floor.send("e", entry, "bracket", {"stop": stop(10), "target": target(10)})
    floor.crowd.take(-1, filled)

    if end == "cancel":
        floor.cancel("e")
    elif end == "day":
        floor.venue.end_of_day(0)
    else:
        floor.venue.finish(answer.broker_order_id, Status(end))

    assert floor.state("stop", "target") == left


def test_exits_of_the_day_end_with_it_once() -> None:
    """An entry and exits that all expire at the end of the day are each ended once."""
    floor = Floor()
    day: dict[str, Any] = {"time_in_force": TimeInForce.DAY}
    entry = terms("buy", 10, kind=OrderType.LIMIT, limit=100, **day)
    floor.send("e", entry, "bracket", {"stop": stop(10, **day), "target": target(10, **day)})
    floor.told()

    floor.venue.end_of_day(0)

    assert floor.told() == ["e expired 10", "stop canceled 10 linked", "target canceled 10 linked"]


def test_a_market_entry_that_finds_too_little_keeps_its_exits_for_that() -> None:
    """The rest of the entry is cancelled in the act that filled the part, and the part is held."""
    floor = Floor()
    floor.crowd.place("ask", -1, 101, 4)

    floor.bracket(limit=None)

    assert floor.state("e", "stop", "target") == ["canceled 4/10", "open 0/4", "open 0/4"]


def test_a_released_exit_that_is_due_trades_after_the_fill_that_released_it() -> None:
    """A target below the market trades at once, at the end of the act, and the stop goes."""
    floor = Floor()
    floor.crowd.place("bid", 1, 112, 10)
    floor.crowd.place("ask", -1, 115, 10)

    floor.bracket(limit=None, target=target(10, 111))

    assert floor.state("e", "stop", "target") == ["filled 10/10", "canceled 0/10", "filled 10/10"]
    assert floor.venue.positions("main") == {}


def test_a_part_of_the_target_shrinks_the_stop_in_the_same_act() -> None:
    """What one exit trades is taken off the other before anything else happens (scenario 68)."""
    floor = Floor()
    floor.bracket(3)
    floor.crowd.take(-1, 3)
    floor.told()

    floor.crowd.take(1, 1)

    assert floor.state("stop", "target") == ["open 0/2", "partial_fill 1/3"]
    assert floor.told() == ["target trade 3", "stop restated 2"]


def test_an_exit_that_fills_whole_cancels_the_other() -> None:
    """The stop goes with the last fill of the target (scenario 67)."""
    floor = Floor()
    floor.bracket(3)
    floor.crowd.take(-1, 3)
    floor.told()

    floor.crowd.take(1, 3)

    assert floor.state("stop", "target") == ["canceled 0/3", "filled 3/3"]
    assert floor.told() == ["target trade 3", "stop canceled 3 linked"]


def test_a_triggered_stop_takes_the_target_along() -> None:
    """The stop trades at the market, in parts, and nothing of the target is left."""
    floor = Floor()
    floor.pair()
    floor.crowd.place("b1", 1, 90, 1)
    floor.crowd.place("b2", 1, 89, 4)
    floor.crowd.place("b3", 1, 88, 20)

    floor.crowd.take(-1, 1)

    assert floor.state("stop", "target") == ["filled 10/10", "canceled 0/6"]
    assert floor.venue.depth("ABC", Side.SELL, 9) == []
    assert floor.venue.positions("main") == {}


def test_an_exit_that_fills_whole_ends_what_is_left_of_its_entry() -> None:
    """A bracket whose exit is done does not open again without one."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 4)

    floor.crowd.take(1, 4)

    assert floor.state("e", "stop", "target") == ["canceled 4/10", "canceled 0/4", "filled 4/4"]


def test_fills_of_the_entry_after_an_exit_traded_add_to_what_is_left() -> None:
    """Exits are for the entry's fills less what either of them has traded."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 4)
    floor.crowd.take(1, 1)

    floor.crowd.take(-1, 2)

    assert floor.state("stop", "target") == ["open 0/5", "partial_fill 1/6"]


def test_a_held_exit_can_be_cancelled_alone() -> None:
    """Before they live the exits are two orders: the other is released alone."""
    floor = Floor()
    floor.bracket()

    floor.cancel("target")
    floor.crowd.take(-1, 10)

    assert floor.state("stop", "target") == ["open 0/10", "canceled 0/10"]


@pytest.mark.parametrize("link", ["bracket", "oco"])
@pytest.mark.parametrize("named", ["stop", "target"])
def test_a_pair_cancelled_at_one_end_is_cancelled_at_both(link: str, named: str) -> None:
    """Who cancels one exit that lives has cancelled the other."""
    floor = Floor()
    if link == "oco":
        floor.pair()
    else:
        floor.bracket()
        floor.crowd.take(-1, 4)

    answer = floor.cancel(named)

    assert isinstance(answer, Accepted)
    assert answer.final
    assert all(state.startswith("canceled") for state in floor.state("stop", "target"))
    assert floor.told()[-1].endswith("linked")


def test_an_exit_that_the_venue_ends_leaves_the_other_at_work() -> None:
    """A stop that expires does not take the target with it: one exit is better than none."""
    floor = Floor()
    answer = floor.pair()

    floor.venue.finish(answer.children[0].broker_order_id, Status.EXPIRED)
    floor.crowd.take(1, 3)

    assert floor.state("stop", "target") == ["expired 0/10", "partial_fill 3/10"]


def test_a_pair_may_be_sold_only_once() -> None:
    """A target that trades on arrival leaves the stop what it left (scenario 69)."""
    floor = Floor()
    floor.venue.endow("main", "ABC", D(10))
    floor.crowd.place("b1", 1, 96, 6)
    floor.crowd.place("b2", 1, 80, 20)

    floor.send("target", target(10, 95), "oco", {"stop": stop(10)})
    floor.crowd.take(-1, 1)

    assert floor.state("stop", "target") == ["filled 4/4", "canceled 6/10"]
    assert floor.venue.positions("main") == {}


def test_fill_or_kill_counts_a_pair_once() -> None:
    """An order that would need both of a pair finds too little and is killed untouched."""
    floor = Floor()
    floor.venue.endow("main", "ABC", D(5))
    leg = stop(5, kind=OrderType.STOP_LIMIT, limit=88)
    floor.send("target", target(5, 95), "oco", {"stop": leg})
    floor.crowd.place("bid", 1, 87, 9)
    floor.venue.open_account("other")
    floor.crowd.place("b90", 1, 90, 1)
    floor.crowd.take(-1, 1)

    def kill(wire_id: str, quantity: int) -> str:
        want = terms("buy", quantity, kind=OrderType.LIMIT, limit=95)
        exact = {name: getattr(want, name) for name in want.__struct_fields__}
        floor.venue.submit(
            "other", wire_id, OrderTerms(**exact | {"time_in_force": TimeInForce.FOK}), 0
        )
        return floor.venue.find("other", [wire_id], [])[0].status.value

    assert floor.venue.depth("ABC", Side.SELL, 9) == [(D(88), D(5)), (D(95), D(5))]
    assert [kill("six", 6), kill("five", 5)] == ["canceled", "filled"]
    assert floor.state("stop", "target") == ["filled 5/5", "canceled 0/5"]


def executions(floor: Floor, wire_id: str) -> list[str]:
    """The ids of an order's executions."""
    return [fill.execution.execution_id for fill in floor.order(wire_id).fills]


def test_a_bust_of_an_exit_gives_back_to_both_while_they_work() -> None:
    """What the target did not sell after all, the stop protects again."""
    floor = Floor()
    floor.pair()
    floor.crowd.take(1, 4)

    floor.venue.bust(executions(floor, "target")[0])

    assert floor.state("stop", "target") == ["open 0/10", "open 0/10"]


@pytest.mark.parametrize(("reinstate", "ends"), [(False, "canceled 0/10"), (True, "open 0/10")])
def test_a_bust_of_an_exit_that_ended_its_pair_revives_no_other(reinstate: bool, ends: str) -> None:
    """The stop stays cancelled, whether or not the target works again."""
    floor = Floor()
    floor.pair()
    floor.crowd.take(1, 10)

    floor.venue.bust(executions(floor, "target")[0], reinstate=reinstate)

    assert floor.state("stop", "target") == ["canceled 0/10", ends]


def test_a_bust_of_the_entry_takes_from_the_exits() -> None:
    """They never sell what was not bought: they shrink, and are held again when all is undone."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 4)
    floor.crowd.take(-1, 3)
    first, second = executions(floor, "e")

    floor.venue.bust(second)
    shrunk = floor.state("stop", "target")
    floor.venue.bust(first)
    held = floor.state("stop", "target")
    floor.crowd.take(-1, 2)

    assert shrunk == ["open 0/4"] * 2
    assert held == ["open 0/10 held"] * 2
    assert floor.state("stop", "target") == ["open 0/2"] * 2


@pytest.mark.parametrize(
    ("reinstate", "entry", "exits"),
    [(False, "canceled 0/10", "canceled 0/10"), (True, "open 0/10", "open 0/10 held")],
)
def test_a_bust_of_an_entry_that_was_filled(reinstate: bool, entry: str, exits: str) -> None:
    """Its exits end with it where nothing will be bought, else they are held for it again."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 10)

    floor.venue.bust(executions(floor, "e")[0], reinstate=reinstate)

    assert floor.state("e", "stop", "target") == [entry, exits, exits]


def test_an_exit_that_works_again_waits_for_an_entry_that_was_undone() -> None:
    """Nothing is held that it could sell: it is out of the market until the entry fills again."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 10)
    floor.crowd.take(1, 10)
    floor.venue.bust(executions(floor, "e")[0], reinstate=True)

    floor.venue.bust(executions(floor, "target")[0], reinstate=True)
    held = floor.state("e", "target")
    asked = floor.venue.depth("ABC", Side.SELL, 9)
    floor.crowd.take(-1, 4)

    assert (held, asked) == (["open 0/10", "open 0/10 held"], [])
    assert floor.state("e", "target") == ["partial_fill 4/10", "open 0/4"]


def test_an_exit_that_closed_what_was_undone_does_not_come_back() -> None:
    """The entry's fill and a part of what the target sold are undone: it ends, and says so once."""
    floor = Floor()
    floor.bracket()
    floor.crowd.take(-1, 10)
    floor.crowd.take(1, 6)
    floor.crowd.take(1, 4)
    floor.venue.bust(executions(floor, "e")[0], reinstate=True)

    floor.venue.bust(executions(floor, "target")[1], reinstate=True)

    ends = [one for one in floor.reports if one.kind == "canceled" and one.wire_id == "target"]
    assert (floor.state("target"), len(ends)) == (["canceled 6/10"], 1)
    assert floor.venue.depth("ABC", Side.SELL, 9) == []


def test_a_correction_of_an_exit_is_felt_by_the_other() -> None:
    """A trade that was larger than told shrinks the other, or ends it where nothing is left."""
    floor = Floor()
    floor.pair()
    floor.crowd.take(1, 4)
    (trade,) = executions(floor, "target")

    floor.venue.correct(trade, D(6), D(110))
    shrunk = floor.state("stop", "target")
    floor.venue.correct(trade, D(10), D(110))

    assert shrunk == ["open 0/4", "partial_fill 6/10"]
    assert floor.state("stop", "target") == ["canceled 0/4", "filled 10/10"]


def test_exits_follow_a_recorded_market_too() -> None:
    """Where trades are dictated, they release, shrink and cancel all the same."""
    floor = Floor(matching=False)
    entry = floor.bracket()
    stop_id, target_id = (child.broker_order_id for child in entry.children)

    floor.venue.execute(entry.broker_order_id, D(4), D(100))
    alive = floor.state("stop", "target")
    floor.venue.execute(target_id, D(1), D(110))
    shrunk = floor.state("stop", "target")
    floor.venue.execute(stop_id, D(3), D(90))

    assert alive == ["open 0/4"] * 2
    assert shrunk == ["open 0/3", "partial_fill 1/4"]
    assert floor.state("e", "stop", "target") == ["canceled 4/10", "filled 3/3", "canceled 1/4"]


def test_exits_released_in_a_halt_wait_for_its_end() -> None:
    """A fill that is told during a halt brings them to life; they arrive once it is over."""
    floor = Floor()
    entry = floor.bracket()
    floor.crowd.place("bid", 1, 112, 3)
    floor.venue.halt("ABC")

    floor.venue.execute(entry.broker_order_id, D(4), D(100))
    during = floor.venue.depth("ABC", Side.SELL, 9)
    floor.venue.resume("ABC")

    assert during == []
    assert floor.state("stop", "target") == ["open 0/1", "partial_fill 3/4"]


def test_an_exit_suspended_before_it_arrived_arrives_once() -> None:
    """One that is released in a halt, suspended and let go again waits and trades once."""
    floor = Floor()
    entry = floor.bracket()
    floor.venue.halt("ABC")
    floor.venue.execute(entry.broker_order_id, D(4), D(100))
    floor.cancel("e")

    floor.venue.suspend(floor.order("stop").broker_order_id)
    floor.venue.release(floor.order("stop").broker_order_id)
    floor.venue.resume("ABC")
    floor.crowd.place("low", 1, 85, 9)
    floor.crowd.take(-1, 1)

    assert floor.state("stop", "target") == ["filled 4/4", "canceled 0/4"]
    assert floor.crowd.take(-1, 9) == 5


def test_a_listener_may_cancel_the_entry_on_its_first_fill() -> None:
    """Acts of a listener come after the act that it hears of, with the exits sized by it."""
    floor = Floor()
    floor.bracket()

    def heard(report: Report) -> None:
        if report.wire_id == "e" and report.kind.value == "trade":
            floor.cancel("e")

    floor.venue.subscribe("main", heard)
    floor.crowd.take(-1, 4)

    assert floor.state("e", "stop", "target") == ["canceled 4/10", "open 0/4", "open 0/4"]
    assert floor.order("stop").condition is Condition.NONE
