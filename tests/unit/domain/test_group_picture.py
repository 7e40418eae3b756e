"""The phases of a group, pinned by a picture that nobody derived from the code."""

from copy import deepcopy
from decimal import Decimal

import pytest

from holdfast.domain import events as e
from holdfast.domain.desk import Desk
from holdfast.domain.group import FIRST, PHASES, Cause, Group, Phase
from holdfast.domain.group_events import ExitTerms
from holdfast.domain.transitions import DefectError
from holdfast.domain.values import Side

# Row: where a group is. Column: why it goes on. Cell: where it goes; "-" is refused.
PICTURE = """
.           entering    protecting  protected   flattening  excess   closing     closed
filled      protecting  -           -           -           -        protecting  protecting
unfilled    -           entering    entering    -           -        -           -
covered     -           protected   -           -           -        -           -
uncovered   -           -           protecting  -           -        -           -
too_long    -           flattening  -           -           -        -           -
refused     -           flattening  -           -           -        -           -
asked       flattening  flattening  flattening  -           -        flattening  flattening
exited      -           closing     closing     closing     -        -           -
ended       closing     -           -           -           -        -           -
over        excess      excess      excess      excess      -        excess      excess
corrected   -           -           -           -           closing  -           -
settled     -           -           -           -           -        closed      -
"""
BEGINNINGS = """
bracket   entering
oto       entering
oco       protecting
position  protecting
close     flattening
"""
# A shortest way to each phase, from where a bracket begins.
WAYS = {
    "entering": "",
    "protecting": "filled",
    "protected": "filled covered",
    "flattening": "asked",
    "excess": "over",
    "closing": "ended",
    "closed": "ended settled",
}


def cells() -> list[tuple[str, str, str]]:
    """Read the picture as (phase, cause, phase after)."""
    header, *rows = (line.split() for line in PICTURE.strip().splitlines())
    return [
        (phase, cause, cell)
        for cause, *row in rows
        for phase, cell in zip(header[1:], row, strict=True)
    ]


def opened(contingency: str = "bracket") -> tuple[Desk, Group]:
    """A desk that has folded the beginning of one group."""
    desk = Desk()
    stop = ExitTerms(role="stop", stop_price=Decimal(95))
    desk.apply(
        e.GroupOpened(
            at_ns=1, group=1, contingency=contingency, symbol="X", side=Side.SELL, exits=(stop,)
        )
    )
    return desk, desk.state.stored.groups[1]


def move(desk: Desk, cause: str, phase: str) -> None:
    """Fold one move."""
    desk.apply(e.GroupPhaseChanged(at_ns=2, group=1, phase=phase, cause=cause))


def brought_to(phase: str) -> tuple[Desk, Group]:
    """A desk whose group was led to a phase by legal moves alone."""
    desk, group = opened()
    legal = {(before, cause): after for before, cause, after in cells()}
    for cause in WAYS[phase].split():
        move(desk, cause, legal[group.phase, cause])
    assert group.phase == phase
    return desk, group


def test_the_table_is_the_picture() -> None:
    """Each phase and each cause is in the picture, and the table has its cells and no other."""
    drawn = {(phase, cause): cell for phase, cause, cell in cells()}
    assert {phase for phase, _ in drawn} == {str(phase) for phase in Phase}
    assert {cause for _, cause in drawn} == {str(cause) for cause in Cause}
    table = {
        (str(phase), str(cause)): str(after)
        for phase, row in PHASES.items()
        for cause, after in row.items()
    }
    assert table == {pair: cell for pair, cell in drawn.items() if cell != "-"}


@pytest.mark.parametrize(("phase", "cause", "after"), cells())
def test_a_group_moves_as_drawn_and_refuses_the_rest(phase: str, cause: str, after: str) -> None:
    """A drawn move leads where it is drawn; any other is a defect that changes nothing (P8)."""
    desk, group = brought_to(phase)
    if after != "-":
        move(desk, cause, after)
        assert (group.phase, group.cause) == (after, cause)
        return
    before = deepcopy(group)
    for wrong in Phase:
        with pytest.raises(DefectError, match="no move from"):
            move(desk, cause, wrong)
    assert group == before


@pytest.mark.parametrize(("phase", "cause", "after"), [c for c in cells() if c[2] != "-"])
def test_a_legal_cause_with_another_phase_is_refused(phase: str, cause: str, after: str) -> None:
    """An event whose phase is not where its cause leads is a defect, and is not folded."""
    desk, group = brought_to(phase)
    before = deepcopy(group)
    for wrong in {str(each) for each in Phase} - {after}:
        with pytest.raises(DefectError, match=f"from {phase} to {wrong} by {cause}"):
            move(desk, cause, wrong)
    assert group == before


def test_each_contingency_begins_as_drawn() -> None:
    """What has an entry waits for it, what protects is unprotected, what closes is closing."""
    drawn = dict(line.split() for line in BEGINNINGS.strip().splitlines())
    assert {name: str(phase) for name, phase in FIRST.items()} == drawn
    for contingency, phase in drawn.items():
        _, group = opened(contingency)
        assert group.phase == phase
        assert bool(group.naked_ns) is (phase == "protecting"), contingency


def test_no_phase_is_a_dead_end_but_the_last() -> None:
    """From every phase a group can be closed, and a closed one comes back only for money (P5)."""
    onward = {str(phase): {str(after) for after in row.values()} for phase, row in PHASES.items()}
    assert onward["closed"] == {"protecting", "flattening", "excess"}
    for phase in onward:
        reached, fresh = {phase}, {phase}
        while fresh:
            fresh = {after for each in fresh for after in onward[each]} - reached
            reached |= fresh
        assert "closed" in reached, phase
