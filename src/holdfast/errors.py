"""Every error that Holdfast raises, grouped by what the caller may do next.

HoldfastError
├── InputError                  fix the call; nothing was recorded
│   ├── AmountError             a price or quantity that cannot be traded
│   ├── UnknownSymbolError      no instrument of that name is defined
│   ├── UnsupportedOrderTypeError  the broker or the profile has no such order
│   ├── IdempotencyConflict     the id or key was used for another request
│   ├── ConfigError             a configuration that does not hold; the message has the path
│   └── TapeError               a market data file that cannot be read as it should be
├── OrderError                  the order named in the message did not do what was asked
│   ├── OrderSubmissionError    the order ended without ever working
│   ├── OrderRefused            a limit said no; carries the code
│   ├── OrderCancellationError  the cancel or replace was refused; the order stands as it was
│   └── OrderStatusError        no such order, or its state cannot be told
│       └── Missed              it stands, and cannot come to what was waited for
├── WaitTimeout                 the order is still where it was; wait again or cancel
│   └── Unanswered              the owner of the journal gave no answer; look what was done
├── Busy                        the inbox is full; slow down and repeat the same call
├── Closed                      the manager is shut down; open it again
├── Halted                      the journal cannot be written; only cancels and exits go out
└── JournalError                the journal needs a person
    ├── JournalUnwritable       a full disk, a read-only folder; mend it, then restart
    ├── JournalLocked           another process owns it; use that one, or end it
    ├── JournalDamaged          a record is not what was written; restore or verify
    ├── JournalVersionError     written by a newer Holdfast; upgrade this one
    └── SequenceConflict        a second writer appended; this one must stop
"""


class HoldfastError(Exception):
    """The common base: `except HoldfastError` catches all that Holdfast raises."""

    code = "HOLDFAST"


class InputError(HoldfastError, ValueError):
    """The call cannot be carried out as given; nothing was recorded or sent."""

    code = "INVALID_INPUT"


class AmountError(InputError):
    """A price or quantity that is not finite, not positive, off tick, off lot, or absurd."""

    code = "INVALID_AMOUNT"


class UnknownSymbolError(InputError):
    """No instrument of that symbol is defined on the desk."""

    code = "UNKNOWN_SYMBOL"


class UnsupportedOrderTypeError(InputError):
    """The broker or the desk's profile has no such order type or time in force."""

    code = "UNSUPPORTED_ORDER_TYPE"


class IdempotencyConflict(InputError):  # noqa: N818 - the name is part of the public contract
    """A client order id or idempotency key came back with another request behind it."""

    code = "IDEMPOTENCY_CONFLICT"


class ConfigError(InputError):
    """A configuration with an unknown key, a wrong value or a missing part; none of it was used."""

    code = "INVALID_CONFIG"


class TapeError(InputError):
    """A market data file that is truncated, damaged, unordered, or of no known format."""

    code = "BAD_TAPE"


class OrderError(HoldfastError):
    """Base of what can go wrong with one order; `client_order_id` names it."""

    code = "ORDER_ERROR"

    def __init__(self, message: str, *, client_order_id: str = "", code: str = "") -> None:
        """Keep the id and, where one is given, the stable code beside the message."""
        super().__init__(message)
        self.client_order_id = client_order_id
        if code:
            self.code = code


class OrderSubmissionError(OrderError):
    """The order was refused or provably never sent; it does not work at the broker."""

    code = "SUBMISSION_FAILED"


class OrderRefused(OrderError):  # noqa: N818 - the name is part of the public contract
    """A limit of this desk said no before anything was sent; `code` says which."""

    code = "REFUSED"


class OrderCancellationError(OrderError):
    """A cancel or replace could not be done; the order's own state is unchanged by it."""

    code = "CANCELLATION_FAILED"


class OrderStatusError(OrderError):
    """The named order is not known here, or its state cannot be told now."""

    code = "UNKNOWN_ORDER"


class Missed(OrderStatusError):  # noqa: N818 - reads as what happened
    """A group was taken and went another way: what was waited for cannot come any more."""

    code = "MISSED"


class WaitTimeout(HoldfastError):  # noqa: N818 - reads as what happened
    """What was waited for did not happen in time; nothing was changed by waiting."""

    code = "WAIT_TIMEOUT"


class Unanswered(WaitTimeout):
    """The process that owns the journal did not answer, or the question reached it too late."""

    code = "UNANSWERED"


class Busy(HoldfastError):  # noqa: N818 - the name is part of the public contract
    """The desk's inbox is full; the command was not taken and may be repeated as it is."""

    code = "BUSY"


class Closed(HoldfastError):  # noqa: N818 - reads as what happened
    """The order manager is shut down or was never opened."""

    code = "CLOSED"


class Halted(HoldfastError):  # noqa: N818 - reads as what happened
    """The journal cannot be written: entries and replaces are refused, exits still go out."""

    code = "HALTED"


class JournalError(HoldfastError):
    """Base of everything that is wrong with a journal."""

    code = "JOURNAL_ERROR"


class JournalUnwritable(JournalError):  # noqa: N818 - reads as what happened
    """A record could not be made durable: disk full, folder read-only, database locked."""

    code = "JOURNAL_UNWRITABLE"


class JournalLocked(JournalError):  # noqa: N818 - reads as what happened
    """Another live process owns the journal; the message names it."""

    code = "JOURNAL_LOCKED"


class JournalDamaged(JournalError):  # noqa: N818 - reads as what happened
    """A record differs from what was written, or is missing; `seq` is its number."""

    code = "JOURNAL_DAMAGED"

    def __init__(self, message: str, *, desk: str = "", seq: int = 0) -> None:
        """Keep the desk and the number of the first damaged record beside the message."""
        super().__init__(message)
        self.desk, self.seq = desk, seq


class JournalVersionError(JournalError):
    """The journal was written by a newer version of Holdfast."""

    code = "JOURNAL_VERSION"


class SequenceConflict(JournalError):  # noqa: N818 - reads as what happened
    """The journal has a record that this writer did not write: there are two writers."""

    code = "SEQUENCE_CONFLICT"
