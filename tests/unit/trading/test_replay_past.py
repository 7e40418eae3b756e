"""The venue of an earlier replay, rebuilt: no further than the journal goes, and no less far."""

from collections.abc import Iterator
from decimal import Decimal as D

import pytest

from holdfast.brokers.tape import TapeBroker, TapeOrder
from holdfast.domain.values import Side, Status
from holdfast.errors import InputError
from holdfast.trading.replay_past import Begun, rebuild
from holdfast.venue.flow import Cancel, Execution, Operation, Replace, Submit, Unknown

# Order 11 is raised and trades twice, 12 trades and is cancelled, 13 is cleared by the venue.
OPERATIONS: tuple[Operation, ...] = (
    Submit(1, 101, 11, Side.BUY, D(5), D(4800)),
    Submit(2, 102, 12, Side.SELL, D(4), D(4810)),
    Submit(3, 103, 13, Side.BUY, D(3), D(4799)),
    Unknown(4, 104, 99),
    Replace(5, 105, 11, D(9), D(4800)),
    Execution(6, 106, 11, D(5), D(4800), "x6"),
    Execution(7, 107, 12, D(1), D(4810), "x7"),
    Execution(8, 108, 11, D(2), D(4800), "x8"),
    Cancel(9, 109, 12),
    Cancel(10, 110, 11, unsolicited=True),
    Cancel(10, 110, 13, unsolicited=True, part=1),
)


def operations() -> Iterator[Operation]:
    return iter(OPERATIONS)


def begun(number: int, commands: int = 1, *executions: str, ended: bool = False) -> Begun:
    return Begun(number, f"w-{number}", commands, ended, set(executions))


def rebuilt(past: dict[int, Begun]) -> dict[int, TapeOrder]:
    broker = TapeBroker("ES")
    rebuild(broker, past, operations)
    found = {order_id: broker.order(each.wire_id) for order_id, each in past.items()}
    return {order_id: order for order_id, order in found.items() if order is not None}


def test_a_new_journal_has_a_new_venue() -> None:
    """Nothing was asked of it."""
    assert rebuilt({}) == {}


def test_what_was_journaled_has_arrived_and_nothing_later_has_happened() -> None:
    """The last row on record is a submit: no trade of a later row is there."""
    venue = rebuilt({11: begun(1), 12: begun(2)})

    assert [(each.quantity, each.filled, each.steps) for each in venue.values()] == [
        (D(5), D(0), 1),
        (D(4), D(0), 1),
    ]


def test_trades_up_to_the_last_row_on_record_have_happened_whether_known_or_not() -> None:
    """Order 12's trade of row 7 is on record, so order 11's of row 6 has happened too."""
    venue = rebuilt({11: begun(1, 2), 12: begun(2, 1, "x7"), 13: begun(3)})

    assert (venue[11].quantity, venue[11].filled) == (D(9), D(5))
    assert venue[12].filled == D(1)
    assert venue[13].status is Status.OPEN


def test_nothing_that_follows_a_request_which_was_not_made_has_happened() -> None:
    """Order 11 was not raised yet, so it did not trade on the raise, whatever others did."""
    venue = rebuilt({11: begun(1), 12: begun(2, 2, "x7")})

    assert (venue[11].quantity, venue[11].filled, venue[11].steps) == (D(5), D(0), 1)
    assert venue[12].status is Status.CANCELED


def test_an_end_that_nobody_asked_for_is_on_record_as_any_other() -> None:
    """Order 13's end proves that the venue has come to row 10."""
    venue = rebuilt({11: begun(1, 2, "x6", "x8"), 13: begun(3, 1, ended=True)})

    assert [each.status for each in venue.values()] == [Status.CANCELED, Status.CANCELED]
    assert venue[11].filled == D(7)


@pytest.mark.parametrize(
    "past",
    [
        {11: begun(1, 3)},
        {12: begun(2, 1, "x7", "x99")},
        {14: begun(4)},
    ],
)
def test_a_journal_that_is_further_than_the_rows_is_refused(past: dict[int, Begun]) -> None:
    """More requests, an execution that the rows lack, an order that they do not have."""
    with pytest.raises(InputError, match="further than these rows go"):
        rebuilt(past)
