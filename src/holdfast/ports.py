"""The contracts between the engine and the world: a broker, a journal, a source of quotes.

Whoever implements one of these is held to its words by the conformance kits in
`holdfast.testing`.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

from msgspec import Struct

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import CancelOrder, LookupOrder, ReplaceOrder, SubmitOrder
from holdfast.domain.events import AnyEvent
from holdfast.domain.quotes import Quote
from holdfast.domain.reports import Execution, LookupResult, Outcome, Report, Snapshot


class OpenOrders(Struct, frozen=True, kw_only=True):
    """One poll of an account: its working orders, and the executions since the last poll.

    `complete` is True only if every page was read; then a missing order is not working.
    `executions` are pairs of broker order id (with its wire id in `snapshots`, or empty) and
    execution.
    """

    snapshots: tuple[Snapshot, ...] = ()
    executions: tuple[tuple[str, str, Execution], ...] = ()
    complete: bool = False


class AccountFigures(Struct, frozen=True, kw_only=True):
    """What a broker says of the account as a whole: spendable money, and quantity by symbol.

    `buying_power` is in the account's currency; see `Capabilities.power_after_orders`.
    """

    buying_power: Decimal | None = None
    positions: dict[str, Decimal] = {}


class Broker(Protocol):
    """What the engine asks of a broker account; the simulators are held to the same words.

    Units: quantities in instrument units, prices in quote currency per unit, Decimals; times are
    UTC nanoseconds. An adapter converts once, at its edge.
    Errors: an adapter answers with the four outcomes. Its own types, errors of sockets and HTTP
    statuses stay inside it; an exception that gets out is taken as an unknown outcome.
    Types: every field has exactly the type that is declared, or the message cannot be read: a
    number is no id, a float no amount, a list no tuple, a subclass not the class, True no count.
    What cannot be read is counted, sampled and dropped (`mistyped` in `Health.unreadable`). An
    outcome is an unknown one then, and a poll or lookup with such a part is not complete; the order
    that a report, a snapshot or a trade still names is looked up.
    Cancellation: cancelling a call leaves its outcome unknown; the order may be live.
    Modes: a broker declares those it may be used in, and is refused in others: "live" if it can
    reach real money, "paper" if it cannot. One that is connected to either declares what it is
    connected to; one that declares nothing is not used at all.
    Source: beside the code that relies on a rule of a broker stands where it was read: page, date,
    and the reply that was recorded.
    """

    capabilities: Capabilities
    modes: frozenset[str]

    async def submit(self, order: SubmitOrder) -> Outcome:
        """Place a new order; accepted means taken for handling, not working."""
        ...

    async def cancel(self, order: CancelOrder) -> Outcome:
        """Ask for an order to be cancelled; accepted is not yet cancelled unless `final`."""
        ...

    async def replace(self, order: ReplaceOrder) -> Outcome:
        """Ask for new terms; accepted with `final` carries the new broker order id."""
        ...

    async def lookup(self, order: LookupOrder) -> LookupResult:
        """Ask for one order by every id it has had: by id, open, history and executions.

        Never raises for a missing order. A page or question that fails makes the answer
        incomplete, which proves nothing.
        """
        ...

    async def poll(self) -> OpenOrders:
        """List the account's working orders and its recent executions."""
        ...

    async def listen(self, on_report: Callable[[Report], None], on_gap: Callable[[], None]) -> None:
        """Deliver reports until cancelled; `on_gap` after every interruption of the stream."""
        ...


class BatchCanceller(Protocol):
    """What a broker can do besides, where its capabilities name `batch_cancel`."""

    async def cancel_batch(self, orders: Sequence[CancelOrder]) -> Sequence[Outcome]:
        """Ask for several orders to be cancelled in one call; one outcome each, in their order."""
        ...


class AccountTeller(Protocol):
    """What a broker can do besides, where its capabilities name `account_data`."""

    async def account(self) -> AccountFigures:
        """Tell buying power and positions; raises whatever kept it from being known."""
        ...


class Unreadable(Struct, frozen=True, kw_only=True):
    """A message of a broker, or a part of one, that could not be read: why, and what it was.

    `reason` is one of a few short words; `sample` is text from outside, bounded but not masked.
    """

    reason: str
    sample: str = ""


@runtime_checkable
class UnreadableTeller(Protocol):
    """What a broker can do besides, where its messages may hold what nobody can read."""

    def tell_unreadable(self, on_unreadable: Callable[[Unreadable], None]) -> None:
        """Call back, from now on, with whatever is dropped; the callback does not raise."""
        ...


class Quotes(Protocol):
    """A source of prices: latest bid, offer and last, conflated by whoever listens."""

    async def watch(self, on_quote: Callable[[Quote], None]) -> None:
        """Deliver quotes until cancelled; `at_ns` is left 0, the listener stamps what arrives.

        Returning or raising means that the source was interrupted: it is watched anew.
        """
        ...


class Head(Struct, frozen=True, kw_only=True):
    """Where a desk's journal ends: the number, time and hash of its last record; 0 when empty."""

    seq: int = 0
    at_ns: int = 0
    hash: bytes = bytes(32)


class Record(Struct, frozen=True):
    """One journaled event as stored; `hash` covers `prev` and every other stored field."""

    desk: str
    seq: int
    at_ns: int
    kind: str
    body: bytes
    prev: bytes
    hash: bytes


class OrderRow(Struct, frozen=True, kw_only=True):
    """One ended order for plain SQL and for recall; `body` is the whole order as JSON.

    `names` are all ids by which an input may name it, each prefixed by its kind: `c:` client
    order id, `i:` idempotency key, `b:` broker order id.
    """

    number: int
    names: tuple[str, ...]
    client_order_id: str
    symbol: str
    side: str
    order_type: str
    status: str
    quantity: Decimal | None
    filled_quantity: Decimal
    notional: Decimal
    strategy: str
    created_ns: int
    completed_ns: int
    body: bytes


class ExecutionRow(Struct, frozen=True, kw_only=True):
    """One execution for plain SQL; the newest version of it, quantity zero when busted."""

    account: str
    broker_order_id: str
    execution_id: str
    number: int
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    fee_currency: str
    at_ns: int
    inferred: bool


class Batch(Struct, kw_only=True):
    """The events of one or more steps with the rows that belong to them: one transaction.

    `first_seq` is the number the first event must get; another one is refused.
    """

    desk: str
    first_seq: int
    events: Sequence[AnyEvent]
    orders: Sequence[OrderRow] = ()
    executions: Sequence[ExecutionRow] = ()


class StoredSnapshot(Struct, frozen=True, kw_only=True):
    """A desk's state after record `seq`, in the given format."""

    seq: int
    format: int
    body: bytes


class Journal(Protocol):
    """The durable truth: append-only records per desk, chained by hash, and rows beside them.

    One owner at a time. A batch is durable when `done(None)` is called, and then all of it is; on
    `done(error)` none of it is, nor any batch appended after it, until the journal is reopened or
    `recover` says that it can be written again. `done` runs on a thread of the journal's choosing
    and must return at once. Batches become durable in the order of `append`.
    """

    def head(self, desk: str) -> Head:
        """Return where the desk's records end."""
        ...

    def append(self, batch: Batch, done: Callable[[BaseException | None], None]) -> None:
        """Queue a batch for the next commit.

        `done` gets SequenceConflict if `first_seq` is not the next number, JournalUnwritable if
        it could not be stored.
        """
        ...

    def records(self, desk: str, after_seq: int = 0) -> Iterator[Record]:
        """Read stored records in order, each checked against its predecessor's hash.

        Raises JournalDamaged, naming the record, where the chain does not hold.
        """
        ...

    def recall(self, desk: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of ended orders by any of their names (`c:`, `i:`, `b:`)."""
        ...

    def bodies(self, desk: str, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies of ended orders by their numbers."""
        ...

    def save_snapshot(self, desk: str, snapshot: StoredSnapshot) -> None:
        """Keep a snapshot, replacing an older one; losing it costs time, not truth."""
        ...

    def load_snapshot(self, desk: str) -> StoredSnapshot | None:
        """Return the newest snapshot, or None."""
        ...

    def recover(self) -> None:
        """Try to write again after a failure; raises JournalUnwritable while it cannot."""
        ...

    def keep_raw(self, desk: str, number: int, at_ns: int, body: bytes) -> None:
        """Keep the last raw broker body of an order, masked by the caller; not in the chain."""
        ...

    def statistics(self) -> dict[str, int]:
        """Return counters: records, commits, bytes, and whatever else tells how it fares."""
        ...

    def close(self) -> None:
        """Make everything queued durable, release the ownership and close."""
        ...
