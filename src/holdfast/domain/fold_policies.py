"""What each event about a policy does to its order; the rest stands in `fold.py`."""

from decimal import Decimal
from typing import Final

from holdfast.domain import events as e
from holdfast.domain.executions import Change
from holdfast.domain.fold_wishes import Fold
from holdfast.domain.order import Order


def _requoted(order: Order, event: e.RequoteDecided, _lot: Decimal) -> list[Change]:
    order.requotes += 1
    order.requoted_ns = event.at_ns
    order.moving_to = None if event.native else event.price
    return []


def _dropped(order: Order, _event: e.RequoteDropped, _lot: Decimal) -> list[Change]:
    order.moving_to = None
    return []


def _checked(_order: Order, _event: e.StatusChecked, _lot: Decimal) -> list[Change]:
    return []


POLICY_FOLDS: Final[dict[type, Fold]] = {
    e.RequoteDecided: _requoted,
    e.RequoteDropped: _dropped,
    e.StatusChecked: _checked,
}
