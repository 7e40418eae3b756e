"""What a strategy may return, and what is nonsense."""

from decimal import Decimal
from typing import Any

import pytest

from holdfast.trading.strategy import SIGNALS_MAX, NonsenseError, Signal, shown, signals_of

BUY = Signal(symbol="TSLA", action="buy", quantity="10")


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_signals_are_returned_with_exact_amounts() -> None:
    """A signal, a list or tuple of them, or None; amounts become Decimals."""
    limit = Signal(symbol="BTC-USD", action="sell", quantity=1, order_type="limit", limit_price="9")

    assert signals_of(None) == signals_of([]) == ()
    assert signals_of(BUY) == signals_of((BUY,))
    first, second = signals_of([BUY, limit])
    assert (first.quantity, second.limit_price) == (Decimal(10), Decimal(9))


def test_the_exits_of_a_bracket_are_amounts_too() -> None:
    """They become Decimals like any other price; a plain signal has none."""
    (signal,) = signals_of(
        Signal(
            symbol="X", action="buy", quantity=1, stop_loss_price="240", take_profit_price="270.5"
        )
    )
    assert signal.exits == {"stop_loss_price": Decimal(240), "take_profit_price": Decimal("270.5")}
    assert BUY.exits == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("buy", "a str"),
        (1.5, "a float"),
        ({"symbol": "TSLA"}, "a dict"),
        ([BUY, "sell"], "signal 2 is 'sell'"),
        (iter([BUY]), "list_iterator"),
        (Unshowable(), "repr raises ValueError"),
        ([BUY] * (SIGNALS_MAX + 1), "more than 100"),
    ],
)
def test_an_answer_that_is_no_signal_is_nonsense(answer: object, said: str) -> None:
    """Whatever it is, it is named in a line of bounded length."""
    with pytest.raises(NonsenseError, match=said) as caught:
        signals_of(answer)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "hold"}, "action is 'hold'"),
        ({"action": None}, "action is None"),
        ({"quantity": float("nan")}, "quantity nan is a float"),
        ({"quantity": Decimal("NaN")}, "must be a finite number"),
        ({"quantity": 0}, "above zero"),
        ({"quantity": True}, "is a bool"),
        ({"symbol": ""}, "symbol is ''"),
        ({"symbol": None}, "symbol is None"),
        ({"order_type": "stop"}, "order_type is 'stop'"),
        ({"order_type": "limit"}, "0 of them are given"),
        ({"order_type": "limit", "limit_price": 1, "reference_price": 1}, "2 of them are given"),
        ({"limit_price": "250"}, "takes no price"),
        ({"order_type": "limit", "limit_price": Decimal("Infinity")}, "finite"),
        ({"reduce_only": 1}, "reduce_only is 1"),
        ({"time_in_force": None}, "time_in_force is None"),
        ({"key": "two words"}, "has blanks"),
        ({"stop_loss_price": 0}, "stop_loss_price is 0"),
        ({"take_profit_price": 270.5}, "take_profit_price 270.5 is a float"),
        ({"trail": "-1"}, "trail"),
        ({"stop_loss_price": 240, "trail": 5}, "give one of them"),
        ({"stop_loss_price": 240, "reduce_only": True}, "stop_loss_price protects what one opens"),
        (
            {"order_type": "limit", "limit_price": 250, "trail": 5, "post_only": True},
            "cannot be post_only",
        ),
        (
            {"order_type": "limit", "reference_price": 250, "take_profit_price": 270},
            "leave reference_price out",
        ),
    ],
)
def test_a_signal_that_nobody_could_place_is_nonsense(fields: dict[str, Any], said: str) -> None:
    """Sides, amounts and prices are checked before the desk sees them."""
    given = {"symbol": "TSLA", "action": "buy", "quantity": "10", **fields}
    with pytest.raises(NonsenseError, match=said):
        signals_of(Signal(**given))


def test_a_long_reason_is_cut_and_a_long_value_shown_in_part() -> None:
    """What a strategy says cannot fill a disk."""
    (signal,) = signals_of(Signal(symbol="X", action="buy", quantity=1, reason="r" * 10_000))

    assert len(signal.reason) == 200
    assert len(shown("x" * 10_000)) < 130
