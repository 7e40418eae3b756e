"""A stop and a target around one position are for as much as each other."""

import pytest

from holdfast.domain.desk import Decision
from holdfast.domain.inputs import Protect
from holdfast.errors import InputError
from holdfast.testing.brokered import BrokeredDesk, both


def stop(bench: BrokeredDesk, quantity: str | None = None) -> Decision:
    """Want a stop for so much."""
    return bench.ask(Protect(symbol="X", role="stop", stop_price="95", quantity=quantity))


def target(bench: BrokeredDesk, quantity: str | None = None) -> Decision:
    """Want a target for so much."""
    return bench.ask(Protect(symbol="X", role="target", limit_price="110", quantity=quantity))


def holding() -> BrokeredDesk:
    """A desk that holds three."""
    bench = BrokeredDesk()
    bench.buy(3)
    return bench


@pytest.mark.parametrize("quantity", ["1", "2", "all"])
def test_a_target_of_another_size_than_its_stop_is_refused(quantity: str) -> None:
    """A part is to be sold at a price: the stop for all three is left alone, and the error says
    what to call instead (P6).
    """
    bench = holding()
    stop(bench, "3")
    with pytest.raises(InputError, match="close_position"):
        target(bench, quantity)
    assert bench.working() == {"stop": 3}


def test_a_target_that_stands_is_not_made_smaller_than_its_stop() -> None:
    """Both are for three: a target for one, asked for later, would take two from the stop (P6)."""
    bench = holding()
    stop(bench)
    target(bench)
    with pytest.raises(InputError, match="is for 3 X"):
        target(bench, "1")
    assert bench.working() == both(3)


def test_a_stop_beside_a_target_is_for_as_much() -> None:
    """A target for one stands: a stop for three would make it one for three; one without a
    quantity joins it (P6).
    """
    bench = holding()
    target(bench, "1")
    with pytest.raises(InputError, match="is for 1 X"):
        stop(bench, "3")
    stop(bench)
    assert bench.working() == both(1)


def test_a_stop_that_stands_decides_the_size_of_both() -> None:
    """Asked again for two, the stop takes its target along."""
    bench = holding()
    stop(bench)
    target(bench)
    stop(bench, "2")
    assert bench.working() == both(2)


def test_a_target_that_names_the_size_of_its_stop_changes_nothing() -> None:
    """The stop follows the position; a target for as much as that is now follows it as well."""
    bench = holding()
    stop(bench)
    target(bench, "3")
    assert (bench.working(), bench.group().quantity) == (both(3), None)
