"""Everything that is ever journaled: facts, wishes and decisions, in the past tense.

Rule 1: a kind and a field are on disk for ever: fields are added with a default, never renamed
or removed; a kind is never reused.
Rule 2: folding events needs nothing but the events: whatever a configuration decided (a deadline,
a grace, a broker's way of counting) stands in the event itself.
Rule 3: `number` is the order's number on its desk; `wish` is the number of the request within the
order, 0 being its submit. Times are desk time in UTC nanoseconds; amounts are Decimal.
"""

from typing import Final, TypeAlias

from holdfast.domain.desk_events import (
    AnomalyRecorded,
    ClockStepped,
    DeskOpened,
    DeskResumed,
    Event,
    InstrumentDefined,
    OpeningBalanceSet,
    OrderRecalled,
    OrdersArchived,
)
from holdfast.domain.group_events import (
    ExitTerms,
    GroupExitChanged,
    GroupOpened,
    GroupPhaseChanged,
    GroupQuantityChanged,
    GroupReduced,
    GroupTookOver,
    HeldElsewhere,
)
from holdfast.domain.order_events import (
    AliveReported,
    BrokerOrderEnded,
    ConditionChanged,
    CumulativeReported,
    ExecutionCorrected,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderCompleted,
    OrderExpired,
    OrderFailed,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    OrderRestated,
    OrderRevived,
    OrderSubmitted,
    ReportNoted,
    SnapshotReleased,
)
from holdfast.domain.policy_events import (
    AlertRaised,
    BreakerClosed,
    BreakerOpened,
    BreakerProbed,
    BuyingPowerSet,
    DayBegan,
    DayValued,
    ExternalAdopted,
    FlattenEnded,
    FlattenStarted,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrdersSwept,
    RefusalRecorded,
    RequoteDecided,
    RequoteDropped,
    StatusChecked,
)
from holdfast.domain.wish_events import (
    CancelRequested,
    LookupEnded,
    LookupStarted,
    OrderResolved,
    ReplaceRequested,
    WishAcknowledged,
    WishClosed,
    WishDelayed,
    WishRefused,
    WishSent,
    WishUnknown,
)

AnyEvent: TypeAlias = (
    DeskOpened
    | InstrumentDefined
    | OpeningBalanceSet
    | ClockStepped
    | DeskResumed
    | OrderSubmitted
    | OrderAdopted
    | OrderAccepted
    | OrderRejected
    | OrderFailed
    | OrderFilled
    | ExecutionCorrected
    | CumulativeReported
    | SnapshotReleased
    | OrderCanceled
    | OrderExpired
    | OrderCompleted
    | OrderRestated
    | OrderReplaced
    | ConditionChanged
    | ReportNoted
    | BrokerOrderEnded
    | CancelRequested
    | ReplaceRequested
    | WishSent
    | WishAcknowledged
    | WishDelayed
    | WishUnknown
    | WishRefused
    | WishClosed
    | LookupStarted
    | LookupEnded
    | AliveReported
    | OrderRevived
    | OrderResolved
    | AnomalyRecorded
    | OrdersArchived
    | OrderRecalled
    | AlertRaised
    | BreakerClosed
    | BreakerOpened
    | BreakerProbed
    | BuyingPowerSet
    | DayBegan
    | DayValued
    | ExternalAdopted
    | FlattenEnded
    | FlattenStarted
    | KillSwitchEngaged
    | KillSwitchReleased
    | OrdersSwept
    | RefusalRecorded
    | RequoteDecided
    | RequoteDropped
    | StatusChecked
    | GroupOpened
    | GroupPhaseChanged
    | GroupExitChanged
    | GroupQuantityChanged
    | GroupReduced
    | GroupTookOver
    | HeldElsewhere
)

KINDS: Final[dict[type, str]] = {
    kind: str(kind.__struct_config__.tag) for kind in AnyEvent.__args__
}

__all__ = [
    "KINDS",
    "AlertRaised",
    "AliveReported",
    "AnomalyRecorded",
    "AnyEvent",
    "BreakerClosed",
    "BreakerOpened",
    "BreakerProbed",
    "BrokerOrderEnded",
    "BuyingPowerSet",
    "CancelRequested",
    "ClockStepped",
    "ConditionChanged",
    "CumulativeReported",
    "DayBegan",
    "DayValued",
    "DeskOpened",
    "DeskResumed",
    "Event",
    "ExecutionCorrected",
    "ExitTerms",
    "ExternalAdopted",
    "FlattenEnded",
    "FlattenStarted",
    "GroupExitChanged",
    "GroupOpened",
    "GroupPhaseChanged",
    "GroupQuantityChanged",
    "GroupReduced",
    "GroupTookOver",
    "HeldElsewhere",
    "InstrumentDefined",
    "KillSwitchEngaged",
    "KillSwitchReleased",
    "LookupEnded",
    "LookupStarted",
    "OpeningBalanceSet",
    "OrderAccepted",
    "OrderAdopted",
    "OrderCanceled",
    "OrderCompleted",
    "OrderExpired",
    "OrderFailed",
    "OrderFilled",
    "OrderRecalled",
    "OrderRejected",
    "OrderReplaced",
    "OrderResolved",
    "OrderRestated",
    "OrderRevived",
    "OrderSubmitted",
    "OrdersArchived",
    "OrdersSwept",
    "RefusalRecorded",
    "ReplaceRequested",
    "ReportNoted",
    "RequoteDecided",
    "RequoteDropped",
    "SnapshotReleased",
    "StatusChecked",
    "WishAcknowledged",
    "WishClosed",
    "WishDelayed",
    "WishRefused",
    "WishSent",
    "WishUnknown",
]
