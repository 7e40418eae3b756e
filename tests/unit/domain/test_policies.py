"""The values that policies and waits may have: nothing under which a desk would never rest."""

from collections.abc import Callable

import pytest

from holdfast.domain.policies import AlertRules, BreakerRules, Policies, RequoteRules, StaleRules
from holdfast.domain.settings import Settings
from holdfast.errors import InputError


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: AlertRules(window_minutes=0), "window_minutes is 0; give a whole number, 1 to 60"),
        (lambda: AlertRules(window_minutes=61), "window_minutes is 61"),
        (lambda: AlertRules(timeouts_max=-1), "timeouts_max is -1"),
        (lambda: BreakerRules(open_ms=0), "open_ms is 0; give a whole number, 1 or more"),
        (lambda: BreakerRules(failures_max=-1), "failures_max is -1"),
        (lambda: StaleRules(sweep_every_ms=0), "sweep_every_ms is 0"),
        (lambda: RequoteRules(interval_ms=-1), "interval_ms is -1"),
        (lambda: Policies(quote_age_max_ms=-1), "quote_age_max_ms is -1"),
        (lambda: Settings(retry_first_ms=0), "retry_first_ms is 0"),
        (lambda: Settings(retry_first_ms=2, retry_max_ms=1), "retry_max_ms is 1"),
        (lambda: Settings(ack_wait_ms=0), "ack_wait_ms is 0"),
        (lambda: Settings(ack_wait_ms=-1), "ack_wait_ms is -1"),
    ],
)
def test_a_value_that_would_never_let_a_desk_rest_is_refused(
    make: Callable[[], object], named: str
) -> None:
    """The error names the value, what it is, and what it may be (P9)."""
    with pytest.raises(InputError, match=named):
        make()
