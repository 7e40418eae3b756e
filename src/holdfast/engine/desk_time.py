"""Desk time: the one time that steps, events and deadlines are stated in.

It starts at the later of the wall clock and the last journaled moment and is then advanced by the
boot-time clock alone, so nobody can set it and it never falls. The wall clock is only watched:
where it drifts from desk time by a step, the desk is told, for display and for GTD.
"""

from typing import Final

from holdfast.clock import NS_PER_S, Clock

# Slewing by NTP moves a clock by far less between two looks; more than this is somebody's hand.
WALL_STEP_MIN_NS: Final = NS_PER_S


class DeskTime:
    """Reads desk time in UTC nanoseconds; rising, and close to the wall clock as of the start."""

    def __init__(self, clock: Clock, journaled_ns: int = 0) -> None:
        """Begin no earlier than the last journaled moment."""
        self._clock = clock
        wall_ns = clock.wall_ns()
        self._base_ns = max(wall_ns, journaled_ns) - clock.boot_ns()
        self.wall_offset_ns = wall_ns - self.now_ns()

    def now_ns(self) -> int:
        """Return the present desk time."""
        return self._base_ns + self._clock.boot_ns()

    def wall_step(self) -> int | None:
        """Return the new offset of the wall clock from desk time if somebody set the clock.

        None where it was not set; a step is told once.
        """
        offset_ns = self._clock.wall_ns() - self.now_ns()
        if abs(offset_ns - self.wall_offset_ns) < WALL_STEP_MIN_NS:
            return None
        self.wall_offset_ns = offset_ns
        return offset_ns
