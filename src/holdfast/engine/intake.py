"""What a broker sent that nobody could use: counted by reason, sampled, told, and then dropped.

Rule 1: nothing here keeps a message from the desk. What was dropped may have been about money, so
the account is asked for everything, though not for each message of a flood.
Rule 2: counts are exact; samples are the newest, masked; alerts are one per stretch of time.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from holdfast.engine.masking import masked
from holdfast.ports import Unreadable

# Samples that are kept, and how much of each.
SAMPLES_MAX: Final = 20
SAMPLE_MAX: Final = 300
# Reasons that are counted apart; an adapter has a few, and what is beyond counts as another.
REASONS_MAX: Final = 64
OTHER: Final = "other"
# An alert tells of what came since the one before, at the earliest so much later.
ALERT_APART_S: Final = 300.0
# A flood asks for polls no oftener than this.
ASK_APART_S: Final = 5.0

ALERT: Final = "unreadable_messages"
# The reason of what came as another type than declared.
MISTYPED: Final = "mistyped"


class Sample(Struct, frozen=True):
    """A message that could not be used: why, and its masked text."""

    reason: str
    text: str

    def __str__(self) -> str:
        """Show it for people."""
        return f"{self.reason}: {self.text}"


class Intake:
    """The bin beside one account's stream, and what is known of what fell into it."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        alert: Callable[[str, str], None],
        ask: Callable[[], None],
    ) -> None:
        """Begin empty. `now` gives seconds, `alert` takes a code and a text, `ask` asks for a poll.

        None of them may raise.
        """
        self._now, self._alert, self._ask = now, alert, ask
        self._counts: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)
        self._alert_after = self._ask_after = float("-inf")

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The newest messages that could not be used, the newest last."""
        return tuple(self._samples)

    def drop(self, found: Unreadable) -> None:
        """Count a message that could not be used, keep a sample of it, and say so if it is time."""
        reason = masked(found.reason, 64)
        if reason not in self._counts and len(self._counts) >= REASONS_MAX:
            reason = OTHER
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._untold[reason] = self._untold.get(reason, 0) + 1
        self._samples.append(Sample(reason, masked(found.sample, SAMPLE_MAX)))
        now = self._now()
        if now >= self._ask_after:
            self._ask_after = now + ASK_APART_S
            self._ask()
        if now >= self._alert_after:
            self._alert_after = now + ALERT_APART_S
            self._alert(ALERT, self._told())

    def mistyped(self, said: object, why: str) -> None:
        """Drop a message, or a part of one, that is not of the declared types."""
        try:
            shown = repr(said)
        except Exception:  # noqa: BLE001 - what is no value of ours may raise whatever it likes
            shown = f"a {type(said).__name__}"
        self.drop(Unreadable(reason=MISTYPED, sample=f"{why}: {shown}"))

    def statistics(self) -> dict[str, int]:
        """Return how many were dropped, all told and by reason."""
        counts = {f"unreadable_{reason}": count for reason, count in self._counts.items()}
        return {"unreadable": sum(self._counts.values()), **counts}

    def _told(self) -> str:
        """Say what was dropped since somebody was last told, and what to do."""
        untold, self._untold = self._untold, {}
        often = sorted(untold.items(), key=lambda each: (-each[1], each[0]))
        reasons = ", ".join(f"{reason} {count}" for reason, count in often[:5])
        return (
            f"{sum(untold.values())} messages of the broker could not be used and were dropped "
            f"({reasons}), the last one: {self._samples[-1]}; the account is polled for what they "
            "said: compare its orders, and mend the adapter"
        )
