"""What goes wrong between a broker and the desk: scripted, or drawn from a seed.

Each place where something can go wrong is a *face*: the calls `submit`, `cancel`, `replace` and
`cancel_batch`, in which each order passes `cancel` too; the questions `lookup`, `poll` and
`account`; the `page` that a list is read in; the `report` of the stream.
The n-th pass of a face meets the same fault in every run of a seed, whatever else happened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.domain.reports import RefusalCode
from holdfast.errors import InputError
from holdfast.venue.seeded import draw, share


class FaultKind(StrEnum):
    """One thing that goes wrong."""

    TIMEOUT_BEFORE_ACCEPT = "timeout_before_accept"  # lost on its way; never arrives
    TIMEOUT_AFTER_ACCEPT = "timeout_after_accept"  # arrives; the answer is lost
    LANDS_LATE = "lands_late"  # arrives only after the caller has given up
    ERROR_AFTER_ACCEPT = "error_after_accept"  # arrives; answered by a server error
    NOT_SENT = "not_sent"  # turned away by the rate limit
    REFUSED = "refused"  # the broker says no
    REPORT_LOST = "report_lost"
    REPORT_LATE = "report_late"
    REPORT_REPEATED = "report_repeated"
    REPORT_REORDERED = "report_reordered"  # comes after the next one
    STREAM_GAP = "stream_gap"  # nothing comes for a while, then the gap is noticed
    SNAPSHOT_STALE = "snapshot_stale"  # answered as of a while ago
    LOOKUP_INCOMPLETE = "lookup_incomplete"  # not everything could be read


_K = FaultKind
_CALL: Final = (
    _K.TIMEOUT_BEFORE_ACCEPT,
    _K.TIMEOUT_AFTER_ACCEPT,
    _K.LANDS_LATE,
    _K.ERROR_AFTER_ACCEPT,
    _K.NOT_SENT,
    _K.REFUSED,
)
FACES: Final[Mapping[str, tuple[FaultKind, ...]]] = {
    "submit": _CALL,
    "cancel": _CALL,
    "replace": _CALL,
    "cancel_batch": _CALL,
    "lookup": (_K.SNAPSHOT_STALE, _K.LOOKUP_INCOMPLETE),
    "poll": (_K.SNAPSHOT_STALE, _K.LOOKUP_INCOMPLETE),
    "account": (_K.LOOKUP_INCOMPLETE,),
    "page": (_K.LOOKUP_INCOMPLETE,),
    "report": (
        _K.REPORT_LOST,
        _K.REPORT_LATE,
        _K.REPORT_REPEATED,
        _K.REPORT_REORDERED,
        _K.STREAM_GAP,
    ),
}

# How long each takes where a fault does not say. A caller gives up after the first; what is stale
# or late is so for less time than a careful desk waits before it takes silence for absence.
_DURATION_NS: Final = {
    _K.TIMEOUT_BEFORE_ACCEPT: 5 * NS_PER_S,
    _K.TIMEOUT_AFTER_ACCEPT: 5 * NS_PER_S,
    _K.LANDS_LATE: 7 * NS_PER_S,
    _K.REPORT_LATE: 2 * NS_PER_S,
    _K.REPORT_REORDERED: 500 * NS_PER_MS,
    _K.STREAM_GAP: 3 * NS_PER_S,
    _K.SNAPSHOT_STALE: 2 * NS_PER_S,
}
_TIMEOUT_NS: Final = _DURATION_NS[_K.TIMEOUT_BEFORE_ACCEPT]
_RETRY_AFTER_MS: Final = 1_000


class Fault(Struct, frozen=True, kw_only=True):
    """One fault: what, where, and at which pass of that face, counted from 1.

    `duration_ns` is how long a call hangs or a report is held; for `lands_late` how long after
    the call the order arrives, the caller giving up after five seconds or at half of that time.
    `code` and `text` belong to a refusal, `retry_after_ms` to `not_sent`.
    """

    kind: FaultKind
    face: str
    nth: int
    duration_ns: int | None = None
    code: RefusalCode = RefusalCode.OTHER
    text: str = ""
    retry_after_ms: int = _RETRY_AFTER_MS

    @property
    def lasts_ns(self) -> int:
        """How long the fault lasts."""
        if self.duration_ns is not None:
            return self.duration_ns
        return _DURATION_NS.get(self.kind, 0)

    @property
    def timeout_ns(self) -> int:
        """After how long the caller of a call that hangs gives up."""
        if self.kind is FaultKind.LANDS_LATE:
            return min(_TIMEOUT_NS, self.lasts_ns // 2)
        return self.lasts_ns


class FaultPlan:
    """Says at each pass of a face whether something goes wrong there.

    Args:
        rates: the chance of each kind, at every face where it can happen.
        script: faults at given passes; they go before chance.
        seed: what the draws of chance derive from.

    Raises:
        InputError: a chance outside 0 to 1, chances of one face that sum to more than 1, or a
            scripted fault that cannot happen at its face, twice, or before the first pass.
    """

    def __init__(
        self,
        rates: Mapping[FaultKind, float] | None = None,
        script: Iterable[Fault] = (),
        *,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self.enabled = True
        self.injected: Counter[FaultKind] = Counter()
        self._passes: Counter[str] = Counter()
        self._script: dict[tuple[str, int], Fault] = {}
        for fault in script:
            self._add(fault)
        rates = rates or {}
        self._bounds = {face: _bounds(face, kinds, rates) for face, kinds in FACES.items()}

    def at(self, face: str) -> Fault | None:
        """Count one pass of a face and return what goes wrong at it, or None.

        While `enabled` is False passes are counted and nothing goes wrong.
        """
        self._passes[face] += 1
        number = self._passes[face]
        if not self.enabled:
            return None
        fault = self._script.get((face, number)) or self._drawn(face, number)
        if fault is not None:
            self.injected[fault.kind] += 1
        return fault

    def _add(self, fault: Fault) -> None:
        if fault.kind not in FACES.get(fault.face, ()):
            possible = ", ".join(face for face, kinds in FACES.items() if fault.kind in kinds)
            raise InputError(f"{fault.kind} cannot happen at {fault.face!r}; it can at {possible}")
        place = (fault.face, fault.nth)
        if fault.nth < 1 or place in self._script:
            raise InputError(
                f"a fault at pass {fault.nth} of {fault.face}; "
                "passes count from 1 and each has one fault at most"
            )
        self._script[place] = fault

    def _drawn(self, face: str, number: int) -> Fault | None:
        bounds = self._bounds[face]
        if not bounds:
            return None
        drawn = draw(self.seed, face, number)
        for bound, kind in bounds:
            if drawn < bound:
                return Fault(kind=kind, face=face, nth=number)
        return None


def _bounds(
    face: str, kinds: tuple[FaultKind, ...], rates: Mapping[FaultKind, float]
) -> list[tuple[int, FaultKind]]:
    """Lay the chances of a face end to end, each as the draw below which it happens."""
    bounds, total = [], 0.0
    for kind in kinds:
        chance = rates.get(kind, 0.0)
        if not 0.0 <= chance <= 1.0:
            raise InputError(f"the chance of {kind} is {chance}; it must be from 0 to 1")
        if chance:
            total += chance
            bounds.append((share(total), kind))
    if total > 1.0:
        raise InputError(f"the chances at {face} sum to {total}; they may sum to 1 at most")
    return bounds
