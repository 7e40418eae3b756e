"""What was asked of a broker, and what a person or a lookup settled; rules in `events.py`."""

from decimal import Decimal

from holdfast.domain.desk_events import Event


class CancelRequested(Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody wants the order gone; `WishSent` follows when its turn comes.

    Orders of one `batch` are cancelled in one call where the broker has such a call. With
    `look_first` nothing is sent yet: nobody knows whether the broker has the order, which is asked
    for, cancelled if it is found to work, and not sent again if it is absent.
    """

    number: int
    wish: int
    by: str = ""
    reason: str = ""
    batch: int = 0
    look_first: bool = False


class ReplaceRequested(Event, frozen=True, kw_only=True, tag="replace_requested"):
    """Somebody wants other terms; None leaves a term as it is. `WishSent` follows in its turn.

    `opens` says that an order let through as an exit could then do more than close. `due` is what
    the role of a group's member was to come to with it.
    """

    number: int
    wish: int
    not_after_ns: int
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    opens: bool = False
    due: Decimal | None = None


class WishSent(Event, frozen=True, kw_only=True, tag="wish_sent"):
    """A queued request goes out, or one goes out again under the same wire id."""

    number: int
    wish: int
    attempt: int
    deadline_ns: int
    not_after_ns: int


class WishAcknowledged(Event, frozen=True, kw_only=True, tag="wish_acknowledged"):
    """The broker has the request and says it is pending."""

    number: int
    wish: int
    look_at_ns: int
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class WishDelayed(Event, frozen=True, kw_only=True, tag="wish_delayed"):
    """The request was provably not processed; it goes out again at `retry_at_ns`.

    Where it only `waited` for its turn, the broker has not failed and no repeat is counted.
    """

    number: int
    wish: int
    retry_at_ns: int
    text: str = ""
    waited: bool = False


class WishUnknown(Event, frozen=True, kw_only=True, tag="wish_unknown"):
    """Nobody can tell whether the request reached the broker; it is looked up at `look_at_ns`."""

    number: int
    wish: int
    look_at_ns: int
    text: str = ""
    duplicate: bool = False


class WishRefused(Event, frozen=True, kw_only=True, tag="wish_refused"):
    """The cancel or replace was refused, or was never sent; the order stands as it was."""

    number: int
    wish: int
    code: str = ""
    text: str = ""
    report_id: str = ""
    stamp_ns: int = 0
    sequence: int = 0


class WishClosed(Event, frozen=True, kw_only=True, tag="wish_closed"):
    """A request has nothing left to ask: the order ended without it."""

    number: int
    wish: int


class LookupStarted(Event, frozen=True, kw_only=True, tag="lookup_started"):
    """The broker is asked for the order by all its ids; without an answer, again at `again_ns`."""

    number: int
    attempt: int
    again_ns: int
    reason: str


class LookupEnded(Event, frozen=True, kw_only=True, tag="lookup_ended"):
    """An answer came; the next question is due at `again_ns`, 0 where none is needed.

    `alive` says that the broker shows the order as working.
    """

    number: int
    found: bool
    complete: bool
    alive: bool = False
    again_ns: int = 0


class OrderResolved(Event, frozen=True, kw_only=True, tag="order_resolved"):
    """A person's word on an order whose outcome could not be told."""

    number: int
    status: str
    by: str
    reason: str
