"""A book that follows messages and never matches."""

from decimal import Decimal as D

from holdfast.domain.values import Side
from holdfast.venue.feeds.lobster import DELETE, EXECUTION, HIDDEN, PARTIAL_CANCEL, SUBMIT
from holdfast.venue.feeds.records import LobsterMessage
from holdfast.venue.follow_book import FollowBook


def message(
    kind: int, order_id: int, size: int, price: int = 100, side: Side = Side.BUY
) -> LobsterMessage:
    return LobsterMessage("X", 1, 1, kind, order_id, D(size), D(price), side)


def test_the_top_sums_the_orders_of_the_best_price_and_falls_back_when_they_go() -> None:
    """Partial cancels, executions and deletions take from the level of the order they name."""
    book = FollowBook()
    book.apply(message(SUBMIT, 1, 10))
    book.apply(message(SUBMIT, 2, 5))
    book.apply(message(SUBMIT, 3, 7, 99))
    assert book.top is None

    book.apply(message(SUBMIT, 4, 8, 101, Side.SELL))
    assert book.top == (101, 8, 100, 15)
    book.apply(message(PARTIAL_CANCEL, 1, 4))
    book.apply(message(EXECUTION, 2, 5))
    assert book.top == (101, 8, 100, 6)
    book.apply(message(DELETE, 1, 6))
    assert book.top == (101, 8, 99, 7)


def test_messages_of_orders_it_does_not_know_change_nothing() -> None:
    """Orders from before the first message are not invented; hidden trades rest nowhere."""
    book = FollowBook()
    book.apply(message(SUBMIT, 1, 10))
    book.apply(message(SUBMIT, 4, 8, 101, Side.SELL))

    book.apply(message(EXECUTION, 77, 5))
    book.apply(message(DELETE, 77, 5))
    book.apply(message(HIDDEN, 0, 5))

    assert book.top == (101, 8, 100, 10)
