"""What the policies of a desk decided, and what people told it; rules in `events.py`."""

from decimal import Decimal

from holdfast.domain.desk_events import Event
from holdfast.domain.quotes import Quote
from holdfast.domain.requests import OrderTerms


class RefusalRecorded(Event, frozen=True, kw_only=True, tag="refusal_recorded"):
    """A limit, the breaker or the kill switch refused an entry; nothing was sent.

    `code` is stable. `repeats` counts the same refusals that came too fast to be written singly.
    """

    code: str
    text: str
    symbol: str
    side: str = ""
    quantity: str = ""
    strategy: str = ""
    client_order_id: str = ""
    repeats: int = 0


class KillSwitchEngaged(Event, frozen=True, kw_only=True, tag="kill_switch_engaged"):
    """No entry goes out until somebody releases it; `action` is `cancel` or `flatten`."""

    by: str
    reason: str
    action: str


class KillSwitchReleased(Event, frozen=True, kw_only=True, tag="kill_switch_released"):
    """Entries may go out again."""

    by: str
    reason: str


class BreakerOpened(Event, frozen=True, kw_only=True, tag="breaker_opened"):
    """Entries are refused until `until_ns`; then one may try. `reason` is a stable code."""

    reason: str
    until_ns: int
    text: str = ""


class BreakerProbed(Event, frozen=True, kw_only=True, tag="breaker_probed"):
    """The breaker is half open: the order of that number tries whether the broker works again."""

    number: int


class BreakerClosed(Event, frozen=True, kw_only=True, tag="breaker_closed"):
    """Entries pass again, because a probe was accepted or `by` said so."""

    reason: str
    by: str = ""


class DayBegan(Event, frozen=True, kw_only=True, tag="day_began"):
    """A trading day began: daily counts start anew, and loss is measured from `equity`.

    `equity` is realised profit less fees plus the open profit then, in the desk's currency;
    positions without any price are `unvalued` and in it at their cost. The day ends at `ends_ns`
    (UTC) as it looked when it began, which is `until_ns` in desk time, whoever sets the clock.
    """

    day: str
    equity: Decimal
    ends_ns: int
    until_ns: int = 0
    unvalued: tuple[str, ...] = ()


class DayValued(Event, frozen=True, kw_only=True, tag="day_valued"):
    """The first price of a position that the day began without; loss is measured from `equity`."""

    symbol: str
    equity: Decimal


class BuyingPowerSet(Event, frozen=True, kw_only=True, tag="buying_power_set"):
    """What the account may still spend, as the broker says; `opened` as in `Guard.opened`."""

    amount: Decimal
    asked_ns: int
    opened: Decimal


class AlertRaised(Event, frozen=True, kw_only=True, tag="alert_raised"):
    """Something that a person should look at; `code` is stable.

    `repeats` counts alerts of whatever code before it that came too fast to be written singly.
    """

    code: str
    text: str
    symbol: str = ""
    strategy: str = ""
    repeats: int = 0


class StatusChecked(Event, frozen=True, kw_only=True, tag="status_checked"):
    """A caller asked the broker for one order; `answered` tells whether it said anything."""

    number: int
    answered: bool
    tries: int = 1


class OrdersSwept(Event, frozen=True, kw_only=True, tag="orders_swept"):
    """These orders are cancelled in one go, under one batch number; `reason` says why.

    `unprotected` says that whoever asked wanted protective orders gone, too.
    """

    numbers: tuple[int, ...]
    reason: str
    by: str = ""
    batch: int = 0
    unprotected: bool = False


class RequoteDecided(Event, frozen=True, kw_only=True, tag="requote_decided"):
    """A pegged order moves to another price, by a replace or by cancelling it for a successor."""

    number: int
    price: Decimal
    quote: Quote
    native: bool


class RequoteDropped(Event, frozen=True, kw_only=True, tag="requote_dropped"):
    """The order that was to move gets no successor after all; `reason` says why."""

    number: int
    reason: str


class FlattenStarted(Event, frozen=True, kw_only=True, tag="flatten_started"):
    """The position of a symbol is to be closed: cancel what is open, then exit what is left.

    Written again where another person wants the same; that starts nothing anew.
    """

    symbol: str
    by: str
    reason: str


class FlattenEnded(Event, frozen=True, kw_only=True, tag="flatten_ended"):
    """The symbol is flat and nothing of it is open any more; or `by` stopped it, for a reason."""

    symbol: str
    by: str = ""
    reason: str = ""


class ExternalAdopted(Event, frozen=True, kw_only=True, tag="external_adopted"):
    """An order of the account that no desk placed: followed, counted, and it can be cancelled.

    An empty `client_order_id` is the wire id itself. `reducing` says that it could only close.
    """

    number: int
    broker_order_id: str
    wire_id: str
    terms: OrderTerms
    client_order_id: str = ""
    reducing: bool = False
