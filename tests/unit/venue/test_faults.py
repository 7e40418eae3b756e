"""Fault plans, latency and the draws that both are made of."""

from typing import Any

import pytest

from holdfast.errors import InputError
from holdfast.venue.faults import FACES, Fault, FaultKind, FaultPlan
from holdfast.venue.latency import Latency
from holdfast.venue.seeded import Seeded, draw, mix


def kinds(plan: FaultPlan, face: str, passes: int) -> list[FaultKind | None]:
    """What goes wrong at each of the first passes of a face."""
    faults = [plan.at(face) for _ in range(passes)]
    return [fault.kind if fault else None for fault in faults]


def test_the_generator_gives_the_published_sequence() -> None:
    """The first outputs of SplitMix64 for seed 1234567, as published with its reference code."""
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    drawn = [mix(state + number * gamma) for number in range(3)]

    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_draw_depends_on_its_place_alone() -> None:
    """The same seed and place give the same draw, any other place another one."""
    assert draw(7, "submit", 3) == draw(7, "submit", 3)
    places = [
        draw(7, "submit", 3),
        draw(7, "submit", 4),
        draw(7, "cancel", 3),
        draw(8, "submit", 3),
    ]
    assert len(set(places)) == 4


def test_draws_stay_within_their_bounds_and_reach_them() -> None:
    """`below` and `between` cover their range, ends included as they say."""
    draws = Seeded(5)

    assert {draws.below(3) for _ in range(100)} == {0, 1, 2}
    assert {draws.between(-1, 1) for _ in range(100)} == {-1, 0, 1}
    assert not any(draws.chance(0.0) for _ in range(100))
    assert all(draws.chance(1.0) for _ in range(100))


def test_a_scripted_fault_happens_at_its_pass_and_no_other() -> None:
    """The second submit and the first cancel, whatever else is called between."""
    plan = FaultPlan(
        script=[
            Fault(kind=FaultKind.TIMEOUT_AFTER_ACCEPT, face="submit", nth=2),
            Fault(kind=FaultKind.NOT_SENT, face="cancel", nth=1),
        ]
    )

    assert kinds(plan, "submit", 3) == [None, FaultKind.TIMEOUT_AFTER_ACCEPT, None]
    assert kinds(plan, "cancel", 2) == [FaultKind.NOT_SENT, None]
    assert plan.injected == {FaultKind.TIMEOUT_AFTER_ACCEPT: 1, FaultKind.NOT_SENT: 1}


def test_drawn_faults_repeat_with_the_seed_and_do_not_depend_on_other_faces() -> None:
    """The n-th submit fares the same however many cancels came between (scenario 99)."""
    rates = {FaultKind.REFUSED: 0.2, FaultKind.NOT_SENT: 0.2}
    plain, mixed = FaultPlan(rates, seed=3), FaultPlan(rates, seed=3)

    expected = kinds(plain, "submit", 50)
    got = [(kinds(mixed, "cancel", 2), kinds(mixed, "submit", 1)[0])[1] for _ in range(50)]

    assert got == expected
    assert set(expected) == {None, FaultKind.REFUSED, FaultKind.NOT_SENT}
    assert kinds(FaultPlan(rates, seed=4), "submit", 50) != expected


def test_chances_come_out_about_as_often_as_they_say() -> None:
    """Of 2,000 reports a fifth is lost and a tenth repeated."""
    plan = FaultPlan({FaultKind.REPORT_LOST: 0.2, FaultKind.REPORT_REPEATED: 0.1}, seed=1)

    kinds(plan, "report", 2_000)

    assert 340 < plan.injected[FaultKind.REPORT_LOST] < 460
    assert 150 < plan.injected[FaultKind.REPORT_REPEATED] < 250


def test_a_chance_applies_only_where_the_fault_can_happen() -> None:
    """A certain lost report loses no call and no question."""
    plan = FaultPlan({FaultKind.REPORT_LOST: 1.0})

    assert {face: kinds(plan, face, 1) for face in FACES} == {
        face: [FaultKind.REPORT_LOST if face == "report" else None] for face in FACES
    }


def test_a_plan_can_be_quiet_for_a_while_and_goes_on_counting() -> None:
    """After a calm period the same passes meet the same faults."""
    script = [Fault(kind=FaultKind.REFUSED, face="submit", nth=nth) for nth in (1, 3)]
    plan = FaultPlan(script=script)
    plan.enabled = False

    assert kinds(plan, "submit", 2) == [None, None]
    plan.enabled = True
    assert kinds(plan, "submit", 2) == [FaultKind.REFUSED, None]


@pytest.mark.parametrize(
    "plan",
    [
        {"rates": {FaultKind.REFUSED: -0.1}},
        {"rates": {FaultKind.REFUSED: 1.1}},
        {"rates": {FaultKind.REFUSED: 0.6, FaultKind.NOT_SENT: 0.6}},
        {"script": [Fault(kind=FaultKind.REPORT_LOST, face="submit", nth=1)]},
        {"script": [Fault(kind=FaultKind.REFUSED, face="elsewhere", nth=1)]},
        {"script": [Fault(kind=FaultKind.REFUSED, face="submit", nth=0)]},
        {"script": [Fault(kind=FaultKind.REFUSED, face="submit", nth=1)] * 2},
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, Any]) -> None:
    """Chances outside 0 to 1 and faults at the wrong face say so at once."""
    with pytest.raises(InputError):
        FaultPlan(**plan)


def test_an_order_that_lands_late_does_so_after_its_caller_gave_up() -> None:
    """Whatever the duration, the timeout is shorter (scenario 106)."""
    for duration_ns in (None, 100, 30_000_000_000):
        fault = Fault(kind=FaultKind.LANDS_LATE, face="submit", nth=1, duration_ns=duration_ns)
        assert 0 < fault.timeout_ns < fault.lasts_ns


def test_latency_is_its_fixed_part_and_a_repeatable_jitter() -> None:
    """Each leg has its own delays, between the fixed part and that plus the jitter."""
    latency = Latency(seed=2, request_ns=100, answer_ns=200, report_ns=300, jitter_ns=50)

    requests = [latency.request(number) for number in range(200)]

    assert requests == [latency.request(number) for number in range(200)]
    assert 100 <= min(requests) < max(requests) <= 150
    assert 200 <= latency.answer(1) <= 250
    assert 300 <= latency.report(1) <= 350
    assert Latency().report(1) == 0
