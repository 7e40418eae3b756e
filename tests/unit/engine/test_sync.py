"""The twin for programs without an event loop."""

import asyncio
import gc
import inspect
import threading
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

import holdfast.sync
from holdfast.domain.instruments import Instrument
from holdfast.domain.values import Status
from holdfast.engine.feed import Notice
from holdfast.engine.manager import Manager
from holdfast.engine.sync import ManagerTwin
from holdfast.errors import Closed, HoldfastError, InputError, OrderStatusError
from holdfast.testing.scripted import ScriptedBroker
from holdfast.wiring import OrderManager

WAIT_S = 10.0


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_the_twin_has_every_method_with_the_same_arguments() -> None:
    """The two surfaces are compared name by name and argument by argument."""
    originals, twins = public(Manager), public(ManagerTwin)
    own = {"result_of"}

    assert set(twins) - own == set(originals)
    for name, original in originals.items():
        theirs = inspect.signature(original).parameters
        ours = inspect.signature(twins[name]).parameters
        assert list(theirs.values()) == list(ours.values()), name
        assert twins[name].__doc__ == original.__doc__ or name == "events"


def test_opening_takes_the_same_choices() -> None:
    """What `open` takes is the same, but for the clock of tests and where the broker is made."""
    theirs = set(inspect.signature(OrderManager.open).parameters)
    ours = set(inspect.signature(holdfast.sync.OrderManager.open).parameters)

    assert theirs - ours == {"clock", "epoch"}
    assert ours - theirs == set()


def opened(broker: ScriptedBroker) -> Any:
    return holdfast.sync.OrderManager.open(
        journal="memory://", broker=lambda: broker, instruments=[Instrument.of("TSLA")]
    )


def test_an_order_is_placed_and_followed_without_a_loop() -> None:
    """Submit, wait, fills and positions work as in the manager."""
    broker = ScriptedBroker()
    with opened(broker) as om:
        order = om.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")
        om.loop.call_soon_threadsafe(broker.fill, order.wire_id, 10, "249.5")
        filled = om.wait(order.client_order_id, timeout=WAIT_S)
        position = om.positions()["TSLA"]
        with pytest.raises(OrderStatusError):
            om.order("nobody")
        with pytest.raises(InputError):
            om.submit()

    assert (filled.status, filled.average_price) == (Status.FILLED, Decimal("249.5"))
    assert position.quantity == 10


def test_a_callback_may_call_the_twin() -> None:
    """A callback runs in a thread and may place orders and wait for them (scenario 74)."""
    broker = ScriptedBroker()
    done = threading.Event()
    placed: list[Any] = []
    with opened(broker) as om:

        def on_fill(fill: Any) -> None:
            placed.append(om.place_limit_order("TSLA", "sell", fill.quantity, "260"))
            done.set()

        om.on_fill(on_fill)
        order = om.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")
        om.loop.call_soon_threadsafe(broker.fill, order.wire_id, 10, "249.5")
        assert done.wait(WAIT_S)

    assert placed[0].quantity == 10


def test_events_are_read_from_a_thread() -> None:
    """The stream is an iterator that waits for its next notice."""
    with opened(ScriptedBroker()) as om, om.events() as events:
        om.place_market_order("TSLA", "buy", 1)
        first = next(events)

    assert isinstance(first, Notice)
    assert first.order is not None
    assert first.order.number == 1


def test_a_call_on_the_loops_own_thread_is_refused() -> None:
    """It could only wait for itself, so it says so instead."""
    raised: list[BaseException] = []
    done = threading.Event()
    with opened(ScriptedBroker()) as om:

        async def on_order(_order: Any) -> None:
            try:
                om.positions()
            except HoldfastError as error:
                raised.append(error)
            done.set()

        om.on_order(on_order)
        om.place_market_order("TSLA", "buy", 1)
        assert done.wait(WAIT_S)

    assert "wait for itself" in str(raised[0])


def test_an_opening_that_fails_ends_its_thread() -> None:
    """After an error nothing of it is left running."""
    before = threading.active_count()
    with (
        pytest.raises(InputError, match="is not known"),
        holdfast.sync.OrderManager.open(
            journal="oracle://x", broker=ScriptedBroker, instruments=[]
        ),
    ):
        pass
    assert threading.active_count() == before


@pytest.mark.parametrize("given", [ScriptedBroker, ScriptedBroker(), partial(ScriptedBroker)])
def test_a_broker_is_given_or_made(given: Any) -> None:
    """A broker, a class of brokers and a function that makes one all serve."""
    with holdfast.sync.OrderManager.open(
        journal="memory://", broker=given, instruments=[Instrument.of("TSLA")]
    ) as om:
        order = om.place_limit_order("TSLA", "buy", 10, "250", wait="accepted")

    assert order.status is Status.OPEN


def test_what_is_no_broker_is_refused() -> None:
    """The message names what was given, before anything is opened."""
    before = threading.active_count()
    nothing: Any = None
    with (
        pytest.raises(InputError, match="broker is None; give a broker"),
        holdfast.sync.OrderManager.open(journal="memory://", broker=nothing),
    ):
        pass
    assert threading.active_count() == before


def test_a_call_after_the_end_says_that_it_is_closed() -> None:
    """Every kind of call raises at once, and leaves no coroutine behind that nobody awaited."""
    with opened(ScriptedBroker()) as om:
        pass

    for call in (
        lambda: om.place_market_order("TSLA", "buy", 1),
        om.positions,
        om.events,
        lambda: om.on_fill(print),
    ):
        with pytest.raises(Closed, match="open it again"):
            call()
    gc.collect()  # a coroutine that was never awaited would warn now, which fails the test


def test_a_call_that_still_waits_at_the_end_is_closed() -> None:
    """Whoever waits in another thread hears of the end, and the `with` waits for nobody else."""
    heard: list[BaseException] = []
    asked = threading.Event()

    def wait_for(om: Any) -> None:
        async def ever() -> None:
            asked.set()
            await asyncio.Event().wait()

        try:
            om.result_of(ever())
        except HoldfastError as error:
            heard.append(error)

    with opened(ScriptedBroker()) as om:
        thread = threading.Thread(target=wait_for, args=(om,))
        thread.start()
        assert asked.wait(WAIT_S)
    thread.join(WAIT_S)

    assert [type(error) for error in heard] == [Closed]
