"""What a demonstration is made of, all of it fixed by the seed: what is traded, how fast, and
what goes wrong.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from msgspec import Struct

from holdfast.clock import NS_PER_MS
from holdfast.domain.instruments import Instrument
from holdfast.domain.settings import Settings
from holdfast.venue.faults import Fault, FaultKind, FaultPlan
from holdfast.venue.fees import Fees
from holdfast.venue.latency import Latency
from holdfast.venue.market import MarketShape
from holdfast.venue.seeded import Seeded, draw

DESK: Final = "demo"
ACCOUNT: Final = "demo"
SYMBOL: Final = "ACME"
INSTRUMENT: Final = Instrument.of(SYMBOL, tick="0.01", lot="1")
MIDDLE_TICKS: Final = 10_000
FEES: Final = Fees(maker_bps=Decimal("0.5"), taker_bps=Decimal(2), decimals=4)
SHAPE: Final = MarketShape(spread=1, depth=6, lots_max=40, moves=0.4, takes=0.35)


class Pace(Struct, frozen=True, kw_only=True):
    """How fast everything goes, in milliseconds.

    `beat`: between two looks of the strategy; `step`: of the market. An order is cancelled when
    it is between `rest_least` and `rest_most` old. `before_kill` and `after_kill` are how long the
    strategy trades, `dead` how long nobody does. `settle` bounds the wait for orders to end, and
    `hold` the wait until answers enough are held back. The others are the desk's own settings.
    """

    beat: int
    step: int
    rest_least: int
    rest_most: int
    before_kill: int
    dead: int
    after_kill: int
    settle: int
    hold: int
    ack_wait: int
    absence_grace: int
    quiet: int
    poll: int


NORMAL: Final = Pace(
    beat=100,
    step=50,
    rest_least=400,
    rest_most=2_000,
    before_kill=8_000,
    dead=1_000,
    after_kill=6_000,
    settle=20_000,
    hold=8_000,
    ack_wait=1_000,
    absence_grace=2_000,
    quiet=1_000,
    poll=1_000,
)
FAST: Final = Pace(
    beat=25,
    step=20,
    rest_least=100,
    rest_most=500,
    before_kill=1_300,
    dead=300,
    after_kill=1_000,
    settle=20_000,
    hold=8_000,
    ack_wait=300,
    absence_grace=600,
    quiet=300,
    poll=500,
)

# Chances of what goes wrong, in percent, per pass of a face; see `FaultPlan`.
_CALL_FAULTS: Final = (
    (FaultKind.TIMEOUT_AFTER_ACCEPT, 4),
    (FaultKind.TIMEOUT_BEFORE_ACCEPT, 2),
    (FaultKind.ERROR_AFTER_ACCEPT, 2),
    (FaultKind.LANDS_LATE, 1),
    (FaultKind.NOT_SENT, 1),
)
_REPORT_FAULTS: Final = (
    (FaultKind.REPORT_LOST, 3),
    (FaultKind.REPORT_LATE, 3),
    (FaultKind.REPORT_REPEATED, 4),
    (FaultKind.REPORT_REORDERED, 3),
)
_LOOKUP_FAULTS: Final = ((FaultKind.LOOKUP_INCOMPLETE, 10),)
_CHANCES: Final = {
    "submit": _CALL_FAULTS,
    "cancel": _CALL_FAULTS,
    "report": _REPORT_FAULTS,
    "lookup": _LOOKUP_FAULTS,
}
# Timeouts that every seed has, early: what is to be shown is shown.
_SURE: Final = {
    ("submit", 4): FaultKind.TIMEOUT_AFTER_ACCEPT,
    ("submit", 8): FaultKind.TIMEOUT_BEFORE_ACCEPT,
    ("cancel", 3): FaultKind.TIMEOUT_AFTER_ACCEPT,
    ("cancel", 6): FaultKind.TIMEOUT_BEFORE_ACCEPT,
}
# More passes of a face than a demonstration ever makes.
_PASSES: Final = 5_000


class Plan(Struct, frozen=True, kw_only=True):
    """One demonstration: its seed, whether it is short, and whether the order manager is killed."""

    seed: int = 1
    fast: bool = False
    kill: bool = True

    @property
    def pace(self) -> Pace:
        """How fast everything goes."""
        return FAST if self.fast else NORMAL


def settings_of(pace: Pace) -> Settings:
    """Return the desk's settings: those of a desk at work, with shorter waits."""
    return Settings(
        ack_wait_ms=pace.ack_wait,
        absence_grace_ms=pace.absence_grace,
        quiet_ms=pace.quiet,
        inferred_grace_ms=pace.quiet,
        retry_first_ms=pace.absence_grace // 5,
        retry_max_ms=pace.absence_grace,
    )


def faults_of(plan: Plan) -> FaultPlan:
    """Return what goes wrong at which pass of each face."""
    return FaultPlan(script=_script(plan), seed=plan.seed)


def latency_of(plan: Plan) -> Latency:
    """Return how long messages take: a few milliseconds, jittered."""
    return Latency(
        seed=plan.seed,
        request_ns=2 * NS_PER_MS,
        answer_ns=2 * NS_PER_MS,
        report_ns=2 * NS_PER_MS,
        jitter_ns=4 * NS_PER_MS,
    )


def _script(plan: Plan) -> Iterator[Fault]:
    for face, chances in _CHANCES.items():
        draws = Seeded(draw(plan.seed, "faults", face))
        for nth in range(1, _PASSES + 1):
            drawn = draws.below(100)
            kind = _SURE.get((face, nth)) or _kind_at(drawn, chances)
            if kind is not None:
                ns = _lasts_ms(kind, plan.pace) * NS_PER_MS
                yield Fault(kind=kind, face=face, nth=nth, duration_ns=ns, retry_after_ms=200)


def _kind_at(drawn: int, chances: tuple[tuple[FaultKind, int], ...]) -> FaultKind | None:
    for kind, percent in chances:
        if drawn < percent:
            return kind
        drawn -= percent
    return None


def _lasts_ms(kind: FaultKind, pace: Pace) -> int:
    """A call hangs for longer than the desk waits; a late order lands within the grace."""
    if kind in {FaultKind.TIMEOUT_AFTER_ACCEPT, FaultKind.TIMEOUT_BEFORE_ACCEPT}:
        return 2 * pace.ack_wait
    if kind is FaultKind.LANDS_LATE:
        return pace.absence_grace // 2
    return pace.ack_wait // 3
