"""What calls for groups may say, and what their views show of names, words and times."""

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest

from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import NotSent, RefusalCode, Refused
from holdfast.engine.control_methods import carry_out
from holdfast.engine.group_views import group_detail, group_row
from holdfast.engine.grouping import ENTRY_S_MAX
from holdfast.errors import AmountError, InputError, Missed, WaitTimeout
from holdfast.testing.scripted import EPOCH, Hang, ScriptedBroker, open_desk
from holdfast.testing.world import virtual
from holdfast.wiring import OrderManager

TERMS: dict[str, Any] = {"entry_price": "100", "stop_loss_price": "95", "take_profit_price": "110"}
LONG = "x" * 65


async def long(manager: OrderManager, broker: ScriptedBroker, quantity: int = 10) -> None:
    """Be long TSLA at 100."""
    order = await manager.place_market_order("TSLA", "buy", quantity, wait="accepted")
    broker.fill(order.wire_id, quantity, "100")
    await manager.wait(order.client_order_id)


async def protected(manager: OrderManager, broker: ScriptedBroker, quantity: int = 3) -> None:
    """Hold a bracket that is protected."""
    await manager.place_bracket_order("TSLA", "buy", quantity, **TERMS)
    entry = f"{EPOCH}-main-g1.entry.1"
    await manager.wait(entry, "accepted")
    broker.fill(entry, quantity, "100")
    await manager.wait_group(1, "protected")
    await asyncio.sleep(1)


def refused(method: str, said: str, *given: Any, **terms: Any) -> None:
    """Have a desk that is long refuse a call, and take nothing of it."""

    @virtual
    async def case() -> None:
        broker = ScriptedBroker()
        async with open_desk(broker) as manager:
            await long(manager, broker)
            with pytest.raises(InputError, match=said):
                await getattr(manager, method)(*given, **terms)
            assert await manager.groups() == []
            assert len(broker.calls) == 1

    case()


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"entry_timeout": ENTRY_S_MAX + 1}, "0 for never"),
        ({"entry_type": ""}, "entry_type is ''"),
        ({"entry_type": []}, r"entry_type is \[\]"),
        ({"strategy": LONG}, "strategy has 65 characters; at most 64"),
        ({"strategy": "two\nlines"}, r"strategy is 'two\\nlines'; give a name on one line"),
    ],
)
def test_a_term_that_is_none_is_not_taken_for_one(terms: dict[str, Any], said: str) -> None:
    """What was written is named, and what is long is not printed whole."""
    refused("place_bracket_order", said, "TSLA", "buy", 3, **{**TERMS, **terms})


@pytest.mark.parametrize(
    ("strategy", "said"),
    [("x" * 3_000, "3000 characters; at most 64"), ("\x1b[31m", "control codes")],
)
def test_a_plain_order_names_its_strategy_by_the_same_rule(strategy: str, said: str) -> None:
    """A journal's tables and logs keep each name on its line."""
    said = f"^(?!.*xxxx).*{said}"
    refused("place_market_order", said, "TSLA", "buy", 3, strategy=strategy)


@pytest.mark.parametrize("by", [LONG, "ann smith", "two\nlines"])
@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("add_stop_loss", ("TSLA", "95")),
        ("add_take_profit", ("TSLA", "110")),
        ("close_position", ("TSLA",)),
        ("cancel_position_orders", ("TSLA",)),
    ],
)
def test_a_name_is_kept_whole_or_refused(method: str, given: tuple[str, ...], by: str) -> None:
    """As for closing a group; nothing cuts it (P10)."""
    refused(method, "^by ", *given, by=by)


@pytest.mark.parametrize(
    ("method", "terms", "said"),
    [
        ("trading_statistics", {"strategy": 5}, "strategy is 5"),
        ("trading_statistics", {"symbol": None}, "symbol is None"),
        ("groups", {"closed": "no"}, "closed is 'no'; give True or False"),
        ("cancel_position_orders", {"symbol": "TSLA", "kinds": ()}, r"kinds is \(\)"),
    ],
)
def test_a_question_of_the_wrong_type_is_refused(
    method: str, terms: dict[str, Any], said: str
) -> None:
    """It is not answered with nothing found."""
    refused(method, said, **terms)


@virtual
async def test_a_price_below_the_first_tick_is_named_as_it_was_given() -> None:
    """Not by what it was moved to (scenario 60)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.define(Instrument.of("MES", tick="0.25"))
        with pytest.raises(AmountError, match=r"take_profit_price is 0\.1, .* tick of 0\.25"):
            await manager.place_bracket_order(
                "MES", "sell", 1, entry_price="5", take_profit_price="0.1"
            )
        held = await manager.place_bracket_order(
            "MES", "sell", 1, entry_price="5", take_profit_price="0.13"
        )

    assert held.target is not None
    assert held.target.limit_price == Decimal("0.25")


@virtual
async def test_an_entry_may_wait_for_a_year_or_hardly_at_all() -> None:
    """Less than a millisecond is a millisecond, and not for ever (scenario 64)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, entry_timeout=ENTRY_S_MAX)
        brief = await manager.place_bracket_order("TSLA", "buy", 3, **TERMS, entry_timeout=0.0001)
        with pytest.raises(Missed, match="will not be entered"):
            await manager.wait_group(brief.group, "entered", timeout=5)
        assert [each.group for each in await manager.groups(closed=False)] == [1]


@virtual
async def test_who_calls_an_exit_off_stands_in_the_history() -> None:
    """What a person did is told with name and reason, before what followed from it (P10)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await protected(manager, broker)
        await manager.replace_order(f"{EPOCH}-main-g1.stop.1", stop_price="96")
        await asyncio.sleep(1)
        await manager.cancel_position_orders(
            "TSLA", kinds=("target", "stop"), by="ann", reason="the news is out"
        )
        await asyncio.sleep(10)
        group = await manager.group(1)

    told = [(one.phase, one.cause, one.reason, one.by) for one in group.history[3:]]
    assert told == [
        ("protected", "stop_changed", "replaced", "caller"),
        ("protected", "stop_called_off", "the news is out", "ann"),
        ("protected", "target_called_off", "the news is out", "ann"),
        ("closing", "exited", "its exits were called off", "holdfast"),
        ("closed", "settled", told[-1][2], "holdfast"),
    ]


@virtual
async def test_what_is_shown_to_people_is_masked_and_keeps_up() -> None:
    """Reasons and names may hold a secret; figures in words do not outlive what they count."""
    broker = ScriptedBroker()
    broker.script("submit", NotSent(text="busy"))
    async with open_desk(broker) as manager:
        placed = await manager.place_bracket_order(
            "TSLA", "buy", 3, **TERMS, client_order_id="mine"
        )
        await manager.wait("mine", "accepted")
        working = await manager.group(1)
        broker.fill("0123456789ab-main-g1.entry.1", 1, "100")
        await manager.wait_group(1, "protected")
        await asyncio.sleep(1)
        reason = (await manager.group(1)).reason
        await manager.close_group(1, by="token=abc123", reason="password: hunter2")
        row, detail = group_row(placed), group_detail(await manager.group(1))

    assert placed.opened_ns == placed.updated_ns < working.updated_ns
    assert row["entry_client_order_id"] == "mine"
    assert not re.search(r"\d", reason)
    assert (detail["phase"], detail["reason"]) == ("flattening", "token=*** password: ***")
    assert [(one["by"], one["reason"]) for one in detail["history"][-1:]] == [
        ("token=***", "token=*** password: ***")
    ]


@virtual
async def test_the_longest_time_without_protection_is_told_while_it_runs() -> None:
    """A stretch that has not ended is as long as it is by now (P6)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await manager.place_bracket_order("TSLA", "buy", 3, **TERMS)
        await manager.wait(f"{EPOCH}-main-g1.entry.1", "accepted")
        broker.script("submit", Refused(text="no stops now", code=RefusalCode.OTHER))
        broker.fill(f"{EPOCH}-main-g1.entry.1", 3, "100")
        await asyncio.sleep(0.3)
        during = await manager.group(1)

    assert 290 <= during.longest_unprotected_ms == during.unprotected_ms <= 310


async def called(manager: OrderManager, method: str, wait_s: float = 5.0, **params: Any) -> Any:
    """Ask as the owner's socket does."""
    return (await carry_out({"main": manager}, method, params, "main", wait_s))["main"]


@virtual
async def test_a_protection_over_the_socket_has_all_of_its_terms() -> None:
    """A stop with its limit, and a target, each for as much as was said (scenario 109)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        await long(manager, broker)
        stop: dict[str, Any] = {"stop_price": "95", "stop_limit_price": "94", "quantity": "4"}
        await called(manager, "protect", symbol="TSLA", **stop)
        await asyncio.sleep(1)
        shown = broker.orders[f"{EPOCH}-main-g1.stop.1"]
        assert (shown.stop_price, shown.limit_price, shown.order_quantity) == (95, 94, 4)
        await manager.cancel_position_orders("TSLA")
        await asyncio.sleep(10)
        await called(manager, "protect", symbol="TSLA", target_price="110", quantity="3")
        await asyncio.sleep(1)
        shown = broker.orders[f"{EPOCH}-main-g2.target.1"]

    assert (shown.limit_price, shown.order_quantity) == (110, 3)


@virtual
async def test_a_wait_over_the_socket_ends_in_its_time() -> None:
    """It is said how long that was in figures that can be checked, and the group stands."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(WaitTimeout, match=r"entering after 2\.7 s and not protected"):
            await called(
                *(manager, "bracket", 2.69996731407),
                symbol="TSLA",
                side="buy",
                quantity=3,
                wait="protected",
                **TERMS,
            )
        took = asyncio.get_running_loop().time() - begun
        with pytest.raises(WaitTimeout, match=r"is open after 0\.9 s and not terminal"):
            await manager.wait(f"{EPOCH}-main-g1.entry.1", timeout=0.89998)
        assert len(await manager.groups()) == 1

    assert 2.69 < took < 2.71


@virtual
async def test_a_submit_over_the_socket_waits_no_longer_than_its_caller() -> None:
    """Who asks names no time of its own: it is how long somebody waits (scenario 109)."""
    broker = ScriptedBroker()
    async with open_desk(broker) as manager:
        broker.script("submit", *([Hang()] * 5))
        begun = asyncio.get_running_loop().time()
        with pytest.raises(WaitTimeout, match=r"after 2 s"):
            await called(
                *(manager, "submit", 2.0),
                symbol="TSLA",
                side="buy",
                quantity=3,
                order_type="market",
                wait="accepted",
            )

    assert asyncio.get_running_loop().time() - begun >= 2.0
