from holdfast.clock import NS_PER_S
from holdfast.engine.desk_time import DeskTime
from holdfast.testing.world import START_NS, VirtualClock

HOUR_NS = 3600 * NS_PER_S


def test_it_starts_at_the_wall_clock() -> None:
    """Without a journal, desk time is the wall clock's time."""
    assert DeskTime(VirtualClock()).now_ns() == START_NS


def test_it_starts_no_earlier_than_the_journal_ends() -> None:
    """A wall clock behind the journal does not turn the journal's time back (scenario 103)."""
    time = DeskTime(VirtualClock(), START_NS + HOUR_NS)

    assert time.now_ns() == START_NS + HOUR_NS
    assert time.wall_offset_ns == -HOUR_NS


def test_a_set_wall_clock_does_not_move_it_and_is_told_once() -> None:
    """An hour forward or back leaves desk time alone and is reported once (scenarios 89, 103)."""
    clock = VirtualClock()
    time = DeskTime(clock)

    clock.shift_wall(HOUR_NS)
    forward = (time.now_ns(), time.wall_step(), time.wall_step())
    clock.shift_wall(-2 * HOUR_NS)
    back = (time.now_ns(), time.wall_step(), time.wall_step())

    assert forward == (START_NS, HOUR_NS, None)
    assert back == (START_NS, -HOUR_NS, None)


def test_slewing_is_no_step() -> None:
    """A wall clock that is corrected by less than a second was not set by anybody."""
    clock = VirtualClock()
    time = DeskTime(clock)

    clock.shift_wall(NS_PER_S - 1)

    assert time.wall_step() is None


def test_suspended_time_passes() -> None:
    """Desk time counts the time in which the machine was suspended (scenario 103)."""
    clock = VirtualClock()
    time = DeskTime(clock)

    clock.suspend(HOUR_NS // 2)

    assert time.now_ns() == START_NS + HOUR_NS // 2
    assert time.wall_step() is None
